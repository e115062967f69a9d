/*
 * execute [SECTION...]
 *
 * How programs are started: by path, by descriptor, as scripts, with too many words. It works in
 * the directory where it is started.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "running.h"
#include "self.h"

static void section_scripts(void) {
    char text[600];
    make_file("plain", "#!/bin/sh\necho plain \"$0\" \"$@\"\n", 0755);
    make_file("option", "#! /bin/sh  -eu \necho option \"$-\" \"$@\"\n", 0755);
    make_file("nothing", "#!/no/such/interpreter\n", 0755);
    make_file("blank", "#!\n", 0755);
    make_file("directory", "#!/tmp\n", 0755);
    make_file("empty", "", 0755);
    make_file("no-script", "echo no\n", 0755);
    make_file("locked", "#!/bin/sh\n", 0644);
    make_file("relative", "#!plain\n", 0755);
    make_file("no-newline", "#!/bin/echo", 0755);
    make_file("carriage", "#!/bin/echo\r\n", 0755);
    make_file("elf",
              "\x7f"
              "ELF\2\1\1",
              0755);
    RUN("./plain", "a", "b c", "");
    RUN("./option", "a");
    RUN("./nothing");
    RUN("./blank");
    RUN("./directory");
    RUN("./empty");
    RUN("./no-script");
    RUN("./locked");
    RUN("./relative", "x");
    RUN("./no-newline", "x");
    RUN("./carriage");
    RUN("./elf");
    RUN(".");
    RUN("./none");
    RUN("./plain/");
    RUN("");
    make_file("s0", "#!/bin/echo 0\n", 0755);
    for (int depth = 1; depth < 7; depth++) {
        char name[8];
        snprintf(name, sizeof name, "s%d", depth);
        snprintf(text, sizeof text, "#!./s%d %d\n", depth - 1, depth);
        make_file(name, text, 0755);
    }
    RUN("./s3", "end");
    RUN("./s4", "end");
    RUN("./s5", "end");
    RUN("./s6", "end");
    for (int size = 250; size < 260; size++) {
        memset(text, 0, sizeof text);
        strcpy(text, "#!/bin/echo ");
        memset(text + 12, 'x', (size_t)size - 12);
        text[size] = '\n';
        make_file("long", text, 0755);
        RUN("./long");
        strcpy(text, "#!");
        memset(text + 2, '/', (size_t)size - 10);
        strcpy(text + size - 8, "bin/echo\nmore");
        make_file("long", text, 0755);
        RUN("./long");
    }
    symlink("plain", "to-plain");
    RUN("./to-plain");
    int base = open(".", O_PATH | O_DIRECTORY);
    char *words[] = {"words", NULL};
    fflush(stdout);
    SAY(syscall(SYS_execveat, base, "to-plain", words, environ, AT_SYMLINK_NOFOLLOW));
    SAY(syscall(SYS_execveat, base, "none", words, environ, 0));
    SAY(syscall(SYS_execveat, base, "", words, environ, 0));
    SAY(syscall(SYS_execveat, base, "", words, environ, AT_EMPTY_PATH));
    SAY(syscall(SYS_execveat, 99, "", words, environ, AT_EMPTY_PATH));
    SAY(syscall(SYS_execveat, base, "plain", words, environ, 0x40000));
    mkfifo("pipe", 0755);
    SAY(execve("pipe", words, environ));
}

static int by_descriptor;

static void run_descriptor(void) {
    char *words[] = {"by-descriptor", "said", NULL};
    fexecve(by_descriptor, words, environ);
    say("fexecve", -1);
}

static void run_descriptor_itself(void) {
    char *words[] = {"by-descriptor", "said", NULL};
    int flags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW;
    syscall(SYS_execveat, by_descriptor, "", words, environ, flags);
    say("execveat", -1);
}

static int copy_of(const char *path, unsigned flags) {
    char bytes[65536];
    int from = open(path, O_RDONLY);
    int to = memfd_create("copy", flags);
    for (ssize_t size = 1; size > 0;) {
        size = read(from, bytes, sizeof bytes);
        if (size > 0 && write(to, bytes, (size_t)size) != size) {
            exit(2);
        }
    }
    close(from);
    return to;
}

static void say_command_line(void) {
    char text[4096];
    int descriptor = open("/proc/self/cmdline", O_RDONLY);
    ssize_t size = read(descriptor, text, sizeof text);
    for (ssize_t at = 0; at < size; at++) {
        text[at] = text[at] == '\0' ? '|' : text[at];
    }
    printf("command line: %.*s\n", (int)size, text);
    close(descriptor);
}

/* What a program sees of itself; this one, started again. */
static void child_section(int count, char **words) {
    char text[PATH_MAX];
    char name[20] = "";
    struct stat one;
    struct stat other;
    for (int index = 0; index < count; index++) {
        printf("word: %s\n", words[index]);
    }
    say_command_line();
    prctl(PR_GET_NAME, name);
    say_text("name", name);
    say_number("open", fcntl(3, F_GETFD) >= 0);
    ssize_t size = readlink("/proc/self/exe", text, sizeof text - 1);
    text[size < 0 ? 0 : size] = '\0';
    say_text("program", strrchr(text, '/') == NULL ? text : strrchr(text, '/'));
    if (strstr(text, "memfd") != NULL) {
        return; /* no path leads to it any more */
    }
    stat("/proc/self/exe", &one);
    int descriptor = open("/proc/self/exe", O_RDONLY);
    fstat(descriptor, &other);
    say_number("same program", one.st_ino == other.st_ino);
    say_number("variable", getenv("VARIABLE") != NULL);
}

static void section_exec(void) {
    char *no_words[] = {NULL};
    setenv("VARIABLE", "1", 1);
    RUN((char *)self, "child", "a", "", "b c");
    run("no words", self, no_words);
    symlink(self, "other-name");
    RUN("./other-name", "child");
    by_descriptor = open(self, O_RDONLY);
    say_status("descriptor", status_of(run_descriptor));
    say_status("descriptor itself", status_of(run_descriptor_itself));
    close(by_descriptor);
    by_descriptor = open(self, O_RDONLY | O_CLOEXEC);
    say_status("descriptor that closes", status_of(run_descriptor));
    close(by_descriptor);
    by_descriptor = open(self, O_PATH);
    say_status("descriptor of a path", status_of(run_descriptor));
    close(by_descriptor);
    by_descriptor = copy_of(self, 0);
    say_status("memory", status_of(run_descriptor));
    close(by_descriptor);
    by_descriptor = copy_of(self, MFD_CLOEXEC);
    say_status("memory that closes", status_of(run_descriptor));
    close(by_descriptor);
    make_file("script", "#!/bin/echo script\n", 0755);
    by_descriptor = open("script", O_RDONLY | O_CLOEXEC);
    say_status("script that closes", status_of(run_descriptor));
    close(by_descriptor);
    by_descriptor = open("script", O_RDONLY);
    while (by_descriptor != 9) {
        int higher = dup2(by_descriptor, 9);
        close(by_descriptor);
        by_descriptor = higher;
    }
    say_status("script by descriptor", status_of(run_descriptor));
    close(by_descriptor);
    SAY(execve("/bin/true", (char *const *)16, environ));
    char *bad[] = {"true", (char *)16, NULL};
    SAY(execve("/bin/true", bad, environ));
}

/* Many words, and long ones: no more than the kernel takes. */
static void section_size(void) {
    enum { MANY = 20000, LONGEST = 131072 };
    static char *words[MANY + 2];
    for (int index = 0; index < MANY; index++) {
        words[index] = index == 0 ? "true" : "a word of some length, again and again and again";
    }
    run("20000 words", "/bin/true", words);
    char *large = malloc(LONGEST + 1);
    memset(large, 'x', LONGEST);
    large[LONGEST] = '\0';
    char *too_long[] = {"true", large, NULL};
    run("a word too long", "/bin/true", too_long);
    large[LONGEST - 1] = '\0';
    run("the longest word", "/bin/true", too_long);
    for (int index = 1; index < 200; index++) {
        words[index] = large;
    }
    words[200] = NULL;
    run("too much", "/bin/true", words);
}

static void on_signal(int number) {
    (void)number;
}

static void spawn_one(const char *what, const char *program, int flags) {
    pid_t child = 0;
    int status = 0;
    posix_spawnattr_t attributes;
    sigset_t all;
    char *words[] = {(char *)program, "-c", "exit 7", NULL};
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, (short)flags);
    sigfillset(&all);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int error = posix_spawnp(&child, program, NULL, &attributes, words, environ);
    if (error == 0) {
        waitpid(child, &status, 0);
        say_status(what, status);
    } else {
        say_text(what, name_of_error(error));
    }
}

static void section_spawn(void) {
    signal(SIGSYS, on_signal);
    for (int count = 0; count < 3; count++) {
        spawn_one("spawn", "/bin/sh", 0);
        spawn_one("spawn by name", "sh", POSIX_SPAWN_SETSIGDEF);
        spawn_one("spawn a program that is not there", "/no/such", 0);
        spawn_one("spawn with ids", "sh", POSIX_SPAWN_RESETIDS | POSIX_SPAWN_SETPGROUP);
    }
    struct sigaction before;
    sigaction(SIGSYS, NULL, &before);
    say_number("handler still there", before.sa_handler == on_signal);
    pid_t child = vfork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exit 5", NULL);
        _exit(1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    say_status("vfork", status);
    say_number("system", system("exit 3") >> 8);
    FILE *stream = popen("echo from a pipe", "r");
    char line[64] = "";
    say_text("popen", fgets(line, sizeof line, stream) == NULL ? "" : line);
    pclose(stream);
}

static void section_closing(void) {
    for (int descriptor = 3; descriptor < 1024; descriptor++) {
        close(descriptor);
    }
    OPEN("/etc/passwd", O_RDONLY);
    int descriptor = open("/etc/passwd", O_RDONLY);
    say_number("the lowest", descriptor);
    close(descriptor);
    syscall(SYS_close_range, 3, ~0u, 0);
    RUN("/bin/true");
    struct rlimit limit = {4, 4};
    setrlimit(RLIMIT_NOFILE, &limit);
    descriptor = open("/etc/passwd", O_RDONLY);
    struct stat status;
    OPEN("/etc/group", O_RDONLY);
    SAY(stat("/etc/group", &status));
    SAY(stat("/etc/../etc/group", &status));
}

static const struct section sections[] = {
    {"scripts", section_scripts}, {"exec", section_exec},       {"size", section_size},
    {"spawn", section_spawn},     {"closing", section_closing},
};

int main(int count, char **words) {
    int is_child = count > 1 && strcmp(words[1], "child") == 0;
    if (count == 0 || words[0][0] == '\0' || strcmp(words[0], "by-descriptor") == 0 || is_child) {
        child_section(count, words);
        return 0;
    }
    find_self();
    run_sections(sections, sizeof sections / sizeof sections[0], count, words);
    return 0;
}
