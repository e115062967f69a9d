/*
 * behave [SECTION...]
 *
 * Does what programs do at the edges of the kernel's interface, and prints what came of it, one
 * line each: the same lines in every engine. It works in the directory where it is started.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "report.h"

/* <linux/openat2.h>, which is not part of every libc's headers */
struct open_how {
    unsigned long flags, mode, resolve;
};

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

enum {
    RESOLVE_NO_MAGICLINKS = 2,
    RESOLVE_NO_SYMLINKS = 4,
    RESOLVE_BENEATH = 8,
    RESOLVE_IN_ROOT = 16,
};

extern char **environ;
static const char *self;

#define OPEN(...)                                                                                  \
    do {                                                                                           \
        int opened = open(__VA_ARGS__);                                                            \
        say("open " #__VA_ARGS__, opened);                                                         \
        if (opened >= 0) {                                                                         \
            close(opened);                                                                         \
        }                                                                                          \
    } while (0)

static void make_file(const char *path, const char *content, int mode) {
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    if (descriptor < 0 || write(descriptor, content, strlen(content)) < 0) {
        perror(path);
        exit(2);
    }
    fchmod(descriptor, (mode_t)mode);
    close(descriptor);
}

/* Paths at their edges. */
static void section_paths(void) {
    char text[PATH_MAX];
    struct stat status;
    mkdir("d", 0755);
    mkdir("d/e", 0755);
    make_file("f", "12345", 0644);
    symlink("d", "l");
    symlink("d/", "ls");
    symlink("f", "lf");
    symlink("f/", "lfs");
    symlink("loop", "loop");
    symlink("nowhere", "dangling");
    symlink("/etc/passwd", "abs");
    OPEN("", O_RDONLY);
    OPEN("f/", O_RDONLY);
    OPEN("f/.", O_RDONLY);
    OPEN("f/..", O_RDONLY);
    OPEN("lf", O_RDONLY | O_NOFOLLOW);
    OPEN("lf/", O_RDONLY);
    OPEN("lfs", O_RDONLY);
    OPEN("l", O_RDONLY | O_DIRECTORY);
    OPEN("l", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    OPEN("l/", O_RDONLY | O_NOFOLLOW);
    OPEN("l", O_PATH | O_NOFOLLOW);
    OPEN("loop", O_RDONLY);
    OPEN("loop", O_PATH | O_NOFOLLOW);
    OPEN("abs", O_RDONLY);
    OPEN("d", O_WRONLY);
    OPEN("d", O_RDWR | O_CREAT, 0644);
    OPEN("new/", O_WRONLY | O_CREAT, 0644);
    OPEN("f", O_WRONLY | O_CREAT | O_EXCL, 0644);
    OPEN("dangling", O_WRONLY | O_CREAT | O_EXCL, 0644);
    OPEN("dangling", O_RDONLY);
    OPEN("dangling", O_WRONLY | O_CREAT, 0644);
    SAY(unlink("nowhere"));
    OPEN(".", O_TMPFILE | O_RDWR, 0600);
    OPEN("/proc/self/root", O_RDONLY | O_DIRECTORY);
    OPEN("/../../../etc/passwd", O_RDONLY);
    OPEN((const char *)8, O_RDONLY);
    OPEN(NULL, O_RDONLY);
    SAY(mkdir("d", 0755));
    SAY(mkdir("d/", 0755));
    SAY(mkdir("dangling", 0755));
    SAY(mkdir("dangling/", 0755));
    SAY(mkdir("n/", 0755));
    SAY(mkdir("n/m/o", 0755));
    SAY(mkdir("f/x", 0755));
    SAY(mkdir("/", 0755));
    SAY(mkdir("..", 0755));
    SAY(rmdir("n/"));
    SAY(rmdir("l"));
    SAY(rmdir("l/"));
    SAY(rmdir("d"));
    SAY(rmdir("d/e/."));
    SAY(rmdir("d/e/.."));
    SAY(rmdir("f"));
    SAY(rmdir("."));
    SAY(unlink("d"));
    SAY(unlink("f/"));
    SAY(unlink("l/"));
    SAY(unlink("nothing"));
    SAY(rename("f", "d"));
    SAY(rename("d", "f"));
    SAY(rename("d", "d/e/x"));
    SAY(rename("f", "g/"));
    SAY(rename("d/e", "x/"));
    SAY(rename("x", "d/e"));
    SAY(rename("nothing", "x"));
    SAY(rename("l/", "x"));
    SAY(rename("d/.", "x"));
    SAY(link("f", "f2"));
    SAY(link("f", "f2"));
    SAY(link("lf", "lf2"));
    SAY(link("d", "d2"));
    SAY(link("f/", "f3"));
    SAY(linkat(AT_FDCWD, "lf", AT_FDCWD, "f4", AT_SYMLINK_FOLLOW));
    SAY(stat("f4", &status));
    say_number("links", (long)status.st_nlink);
    SAY(lstat("lf2", &status));
    say_number("is a link", S_ISLNK(status.st_mode));
    SAY(lstat("l/", &status));
    say_number("is a directory", S_ISDIR(status.st_mode));
    SAY(stat("lfs", &status));
    SAY(stat("dangling", &status));
    SAY(lstat("dangling", &status));
    SAY(symlink("x", "f"));
    SAY(symlink("x", "y/"));
    SAY(symlink("", "y"));
    SAY(symlink("x", "no/y"));
    say_number("readlink", readlink("l", text, sizeof text));
    say_number("readlink short", readlink("ls", text, 1));
    SAY(readlink("f", text, sizeof text));
    SAY(readlink("l/", text, sizeof text));
    SAY(readlink("l", text, 0));
    SAY(access("f", X_OK));
    SAY(access("f/", F_OK));
    SAY(access("lf", R_OK | W_OK));
    SAY(faccessat(AT_FDCWD, "dangling", F_OK, AT_SYMLINK_NOFOLLOW));
    SAY(truncate("d", 0));
    SAY(truncate("f", 2));
    SAY(chdir("f"));
    SAY(chdir("l/../d/e"));
    say_number("cwd", (long)strlen(getcwd(text, sizeof text)) > 4);
    say_text("cwd ends", text + strlen(text) - 4);
    SAY(chdir("../.."));
    SAY(mkfifo("p", 0600));
    OPEN("p", O_WRONLY | O_NONBLOCK);
    SAY(chmod("f", 0600));
    SAY(chmod("dangling", 0600));
    SAY(utimensat(AT_FDCWD, "lf", NULL, 0));
    SAY(utimensat(AT_FDCWD, "dangling", NULL, AT_SYMLINK_NOFOLLOW));
    SAY(utimensat(AT_FDCWD, "dangling", NULL, 0));
    SAY(setxattr("dangling", "user.x", "", 0, 0));
    memset(text, 'x', sizeof text);
    text[256] = '\0';
    SAY(mkdir(text, 0755));
    text[255] = '\0';
    SAY(mkdir(text, 0755));
    SAY(rmdir(text));
    memset(text, '/', sizeof text);
    text[PATH_MAX - 1] = '\0';
    SAY(stat(text, &status));
    char longer[PATH_MAX + 10];
    memset(longer, '/', sizeof longer);
    longer[PATH_MAX + 8] = '\0';
    SAY(stat(longer, &status));
    int descriptor = open("d", O_PATH | O_DIRECTORY);
    SAY(fstatat(descriptor, "", &status, AT_EMPTY_PATH));
    SAY(fstatat(descriptor, "", &status, 0));
    SAY(fstatat(descriptor, "e", &status, 0));
    SAY(fstatat(descriptor, "../f", &status, 0));
    SAY(fstatat(descriptor, "nothing", &status, 0));
    SAY(fstatat(-1, "f", &status, 0));
    SAY(fstatat(-1, "/", &status, 0));
    SAY(fstatat(descriptor, "f", &status, 0x10000000));
    SAY(fchmodat(descriptor, "e", 0700, 0));
    SAY(fchownat(descriptor, "", (uid_t)-1, (gid_t)-1, AT_EMPTY_PATH));
    SAY(linkat(descriptor, "", AT_FDCWD, "d3", AT_EMPTY_PATH));
    close(descriptor);
    SAY(syscall(SYS_utimensat, AT_FDCWD, NULL, NULL, 0));
    SAY(syscall(SYS_statx, AT_FDCWD, "f", 0, 0xfff, NULL));
    SAY(syscall(SYS_newfstatat, AT_FDCWD, "f", NULL, 0));
}

/* A directory that is gone while one is in it. */
static void section_gone(void) {
    char text[PATH_MAX];
    struct stat status;
    mkdir("gone", 0755);
    SAY(chdir("gone"));
    int descriptor = open(".", O_RDONLY);
    SAY(rmdir("../gone"));
    SAY(getcwd(text, sizeof text) == NULL ? -1 : 0);
    SAY(stat(".", &status));
    SAY(stat("x", &status));
    OPEN("x", O_CREAT | O_WRONLY, 0600);
    SAY(mkdir("y", 0755));
    SAY(fstatat(descriptor, "x", &status, 0));
    SAY(fchdir(descriptor));
    close(descriptor);
    SAY(chdir("/proc/self/cwd"));
    ssize_t size = readlink("/proc/self/cwd", text, sizeof text);
    say_number("it says so", size > 10 && memcmp(text + size - 10, " (deleted)", 10) == 0);
}

static void section_openat2(void) {
    struct open_how how = {.flags = O_RDONLY};
    mkdir("in", 0755);
    make_file("in/f", "", 0644);
    make_file("out", "", 0644);
    symlink("../out", "in/leaves");
    symlink("/f", "in/absolute");
    symlink("f", "in/stays");
    int base = open("in", O_PATH | O_DIRECTORY);
    static const struct {
        const char *name;
        unsigned long limits;
    } kinds[] = {{"none", 0},
                 {"beneath", RESOLVE_BENEATH},
                 {"in-root", RESOLVE_IN_ROOT},
                 {"no-symlinks", RESOLVE_NO_SYMLINKS},
                 {"no-magic", RESOLVE_NO_MAGICLINKS}};
    static const char *const paths[] = {"f",      "leaves", "absolute", "stays",
                                        "../out", "/f",     "none",     "/proc/self/cwd"};
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
        for (size_t path = 0; path < sizeof paths / sizeof paths[0]; path++) {
            char name[64];
            how.resolve = kinds[kind].limits;
            long result = syscall(SYS_openat2, base, paths[path], &how, sizeof how);
            snprintf(name, sizeof name, "openat2 %s %s", kinds[kind].name, paths[path]);
            say(name, result);
            if (result >= 0) {
                close((int)result);
            }
        }
    }
    how = (struct open_how){.flags = O_RDONLY, .resolve = 1 << 20};
    SAY(syscall(SYS_openat2, base, "f", &how, sizeof how));
    SAY(syscall(SYS_openat2, base, "missing", &how, sizeof how));
    how.resolve = RESOLVE_BENEATH | RESOLVE_IN_ROOT;
    SAY(syscall(SYS_openat2, base, "missing", &how, sizeof how));
    how = (struct open_how){.flags = O_RDONLY, .mode = 0600};
    SAY(syscall(SYS_openat2, base, "f", &how, sizeof how));
    SAY(syscall(SYS_openat2, base, "missing", &how, sizeof how));
    how = (struct open_how){.flags = (unsigned long)1 << 40};
    SAY(syscall(SYS_openat2, base, "f", &how, sizeof how));
    struct {
        struct open_how how;
        unsigned long more;
    } larger = {{.flags = O_RDONLY}, 0};
    SAY(syscall(SYS_openat2, base, "f", &larger, sizeof larger));
    larger.more = 1;
    SAY(syscall(SYS_openat2, base, "f", &larger, sizeof larger));
    SAY(syscall(SYS_openat2, base, "f", &how, 8));
    SAY(syscall(SYS_openat2, base, "f", NULL, sizeof how));
}

/* Runs a program in a child, and says how it ended. */
static char *const *run_words;
static const char *run_path;

static void run_now(void) {
    execve(run_path, run_words, environ);
    say("execve", -1);
    fflush(stdout);
    _exit(99);
}

static void run(const char *what, const char *path, char *const *words) {
    run_path = path;
    run_words = words;
    say_status(what, status_of(run_now));
}

#define RUN(path, ...) run(path, path, (char *[]){path, ##__VA_ARGS__, NULL})

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
    say_number("variable", getenv("BEHAVE") != NULL);
}

static void section_exec(void) {
    char *no_words[] = {NULL};
    setenv("BEHAVE", "1", 1);
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

static volatile sig_atomic_t caught;

static void on_signal(int number) {
    caught = number;
}

static void on_signal_open(int number) {
    int descriptor = open("/etc/passwd", O_RDONLY);
    caught = descriptor >= 0 ? number : -1;
    close(descriptor);
}

static void die_of_sigsys(void) {
    raise(SIGSYS);
}

static void ignore_sigsys(void) {
    signal(SIGSYS, SIG_IGN);
    raise(SIGSYS);
    say("ignored", 0);
    RUN("/bin/sh", "-c", "kill -SYS $$; echo still ignored");
}

static void fault(void) {
    volatile int *volatile nowhere = (int *)16;
    *nowhere = 1;
}

static void give_up(void) {
    abort();
}

static void section_signals(void) {
    struct sigaction action;
    struct sigaction before;
    sigset_t all;
    sigset_t old;
    say_status("SIGSYS", status_of(die_of_sigsys));
    say_status("SIGSYS ignored", status_of(ignore_sigsys));
    sigaction(SIGSYS, NULL, &before);
    say_number("default", before.sa_handler == SIG_DFL);
    signal(SIGSYS, on_signal_open);
    sigaction(SIGSYS, NULL, &before);
    say_number("own handler", before.sa_handler == on_signal_open);
    caught = 0;
    raise(SIGSYS);
    say_number("caught", caught);
    say_status("after exec", status_of(die_of_sigsys) & ~0x80);
    action = (struct sigaction){.sa_handler = on_signal_open, .sa_flags = SA_RESETHAND};
    sigaction(SIGSYS, &action, NULL);
    caught = 0;
    kill(getpid(), SIGSYS);
    say_number("caught once", caught);
    sigaction(SIGSYS, NULL, &before);
    say_number("reset", before.sa_handler == SIG_DFL);
    say_status("SIGSEGV", status_of(fault));
    say_status("abort", status_of(give_up));
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    OPEN("/etc/passwd", O_RDONLY);
    raise(SIGUSR1);
    sigset_t pending;
    sigpending(&pending);
    say_number("pending", sigismember(&pending, SIGUSR1));
    signal(SIGUSR1, on_signal_open);
    caught = 0;
    sigprocmask(SIG_SETMASK, &old, NULL);
    say_number("caught then", caught == SIGUSR1);
    action = (struct sigaction){.sa_handler = on_signal_open};
    sigfillset(&action.sa_mask);
    sigaction(SIGUSR2, &action, NULL);
    caught = 0;
    raise(SIGUSR2);
    say_number("in a handler with all blocked", caught == SIGUSR2);
    SAY(sigprocmask(77, &all, NULL));
    SAY(sigprocmask(77, NULL, &old));
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8));
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, 8, 8));
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, 4));
    SAY(sigaction(SIGKILL, &action, NULL));
    SAY(sigaction(99, &action, NULL));
}

static void alarm_soon(void) {
    struct itimerval timer = {.it_value = {0, 20000}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* Calls that wait are interrupted, or go on, as they are told. */
static void section_waiting(void) {
    struct sigaction action = {.sa_handler = on_signal_open};
    sigset_t empty;
    sigset_t alarms;
    struct timespec second = {5, 0};
    sigemptyset(&empty);
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    sigaction(SIGALRM, &action, NULL);
    mkfifo("pipe", 0600);
    alarm_soon();
    OPEN("pipe", O_RDONLY);
    sigprocmask(SIG_BLOCK, &alarms, NULL);
    alarm_soon();
    SAY(ppoll(NULL, 0, &second, &empty));
    alarm_soon();
    SAY(pselect(0, NULL, NULL, NULL, &second, &empty));
    alarm_soon();
    SAY(sigsuspend(&empty));
    int watcher = epoll_create1(0);
    struct epoll_event event;
    alarm_soon();
    SAY(epoll_pwait(watcher, &event, 1, 5000, &empty));
    sigprocmask(SIG_UNBLOCK, &alarms, NULL);
    int pair[2];
    char byte;
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    alarm_soon();
    SAY(recvmsg(pair[0], &message, 0));
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, NULL);
    caught = 0;
    alarm_soon();
    pid_t child = fork();
    if (child == 0) {
        usleep(60000);
        close(open("pipe", O_WRONLY));
        _exit(0);
    }
    OPEN("pipe", O_RDONLY);
    say_number("and went on", caught == SIGALRM);
    waitpid(child, NULL, 0);
}

static sigjmp_buf escape;

static void on_alarm_jump(int number) {
    (void)number;
    siglongjmp(escape, 1);
}

/* A handler that never comes back, again and again: nothing may run out. */
static void section_jumps(void) {
    signal(SIGALRM, on_alarm_jump);
    mkfifo("pipe2", 0600);
    volatile int jumps = 0;
    for (volatile int count = 0; count < 40; count++) {
        if (sigsetjmp(escape, 1) == 0) {
            struct itimerval timer = {.it_value = {0, 2000}};
            setitimer(ITIMER_REAL, &timer, NULL);
            open("pipe2", O_RDONLY);
        } else {
            jumps = jumps + 1;
        }
    }
    say_number("jumps", jumps);
    OPEN("/etc/passwd", O_RDONLY);
}

static char alternate[65536];

static void on_alternate(int number) {
    char here;
    struct stat status;
    stat("/etc/passwd", &status);
    caught = &here > alternate && &here < alternate + sizeof alternate ? number : -1;
}

static void *small_stack(void *unused) {
    struct stat status;
    char text[64];
    long good = 0;
    for (int count = 0; count < 100; count++) {
        good += stat("/etc/../etc/passwd", &status) == 0;
        good += readlink("/proc/self/exe", text, sizeof text) > 0;
    }
    return (void *)good + (unused != NULL);
}

static void section_stacks(void) {
    size_t least = getauxval(AT_MINSIGSTKSZ);
    stack_t stack = {.ss_sp = alternate, .ss_size = least + 4096};
    struct sigaction action = {.sa_handler = on_alternate, .sa_flags = SA_ONSTACK};
    SAY(sigaltstack(&stack, NULL));
    sigaction(SIGUSR1, &action, NULL);
    caught = 0;
    raise(SIGUSR1);
    say_number("on the alternate stack", caught == SIGUSR1);
    stack.ss_flags = SS_DISABLE;
    SAY(sigaltstack(&stack, NULL));
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 16384);
    void *good = NULL;
    pthread_create(&thread, &attributes, small_stack, NULL);
    pthread_join(thread, &good);
    say_number("with a small stack", (long)good);
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

static void bind_and_connect(const char *path, int type) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct sockaddr_un other;
    socklen_t size = sizeof other;
    char byte = 0;
    strcpy(address.sun_path, path);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    int server = socket(AF_UNIX, type, 0);
    int client = socket(AF_UNIX, type, 0);
    SAY(connect(client, (struct sockaddr *)&address, length));
    SAY(bind(server, (struct sockaddr *)&address, length));
    SAY(bind(server, (struct sockaddr *)&address, length));
    SAY(bind(client, (struct sockaddr *)&address, length));
    if (type == SOCK_STREAM) {
        SAY(listen(server, 1));
    }
    SAY(connect(client, (struct sockaddr *)&address, length));
    memset(&other, 0, sizeof other);
    SAY(getsockname(server, (struct sockaddr *)&other, &size));
    say_text("name", other.sun_path);
    say_number("size", size);
    SAY(send(client, "x", 1, 0));
    if (type == SOCK_STREAM) {
        size = sizeof other;
        int end = accept(server, (struct sockaddr *)&other, &size);
        say_number("size of the other's", size);
        struct ucred credentials;
        socklen_t room = sizeof credentials;
        SAY(getsockopt(end, SOL_SOCKET, SO_PEERCRED, &credentials, &room));
        say_number("the same user", credentials.uid == getuid());
        SAY(recv(end, &byte, 1, 0));
        close(end);
    } else {
        SAY(recv(server, &byte, 1, 0));
        SAY(sendto(client, "y", 1, 0, (struct sockaddr *)&address, length));
        SAY(recv(server, &byte, 1, 0));
    }
    close(server);
    close(client);
    SAY(unlink(path));
}

static void section_sockets(void) {
    char path[108];
    bind_and_connect("stream", SOCK_STREAM);
    bind_and_connect("datagram", SOCK_DGRAM);
    mkdir("a-directory-with-a-name-that-is-rather-long-for-an-address", 0755);
    snprintf(path, sizeof path, "a-directory-with-a-name-that-is-rather-long-for-an-address/%s",
             "and-a-name-that-fills-up-all-the-room-there-is");
    bind_and_connect(path, SOCK_STREAM);
    snprintf(path, sizeof path, "/tmp/behave-%d", 1);
    bind_and_connect(path, SOCK_DGRAM);
    int answerer = socket(AF_UNIX, SOCK_DGRAM, 0);
    int asker = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_un one = {.sun_family = AF_UNIX, .sun_path = "/tmp/behave-answerer"};
    struct sockaddr_un two = {.sun_family = AF_UNIX, .sun_path = "/tmp/behave-asker"};
    struct sockaddr_un from;
    socklen_t size = sizeof from;
    char byte;
    SAY(bind(answerer, (struct sockaddr *)&one, sizeof one));
    SAY(bind(asker, (struct sockaddr *)&two, sizeof two));
    SAY(sendto(asker, "q", 1, 0, (struct sockaddr *)&one, sizeof one));
    memset(&from, 0, sizeof from);
    SAY(recvfrom(answerer, &byte, 1, 0, (struct sockaddr *)&from, &size));
    say_text("from", from.sun_path);
    SAY(sendto(answerer, "a", 1, 0, (struct sockaddr *)&from, size));
    struct iovec vector = {&byte, 1};
    struct msghdr message = {
        .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &vector, .msg_iovlen = 1};
    memset(&from, 0, sizeof from);
    SAY(recvmsg(asker, &message, 0));
    say_text("from", from.sun_path);
    unlink(one.sun_path);
    unlink(two.sun_path);
    struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0behave"};
    int named = socket(AF_UNIX, SOCK_STREAM, 0);
    SAY(bind(named, (struct sockaddr *)&abstract, 9));
    SAY(connect(named, NULL, 0));
    SAY(connect(named, (struct sockaddr *)8, 20));
    SAY(getsockname(named, NULL, NULL));
}

static void section_refused(void) {
    SAY(syscall(1000, 0));
    SAY(syscall(-5L, 0));
    SAY(chroot("/no/such"));
    SAY(chroot("/etc/passwd"));
}

static void say_fields(const char *path, const char *word) {
    char line[4096];
    FILE *stream = fopen(path, "r");
    long found = 0;
    while (stream != NULL && fgets(line, sizeof line, stream) != NULL) {
        found += strstr(line, word) != NULL;
    }
    printf("%s has %s: %d\n", path, word, found > 0);
    if (stream != NULL) {
        fclose(stream);
    }
}

/* Where debuggers and sanitizers look for symbols. */
static void say_code_of_libc(void) {
    char line[4096];
    FILE *stream = fopen("/proc/self/maps", "r");
    long found = 0;
    while (stream != NULL && fgets(line, sizeof line, stream) != NULL) {
        char *path = strchr(line, '/');
        if (path != NULL && strstr(path, "/libc.so") != NULL && strstr(line, " r-xp ") != NULL) {
            path[strcspn(path, "\n")] = '\0';
            found += access(path, R_OK) == 0;
        }
    }
    say_number("code of libc", found);
    if (stream != NULL) {
        fclose(stream);
    }
}

static void section_proc(void) {
    char text[PATH_MAX] = "";
    char path[64];
    struct stat one;
    struct stat other;
    snprintf(text, sizeof text, " %s\n", self);
    say_fields("/proc/self/maps", text);
    say_fields("/proc/thread-self/maps", text);
    say_code_of_libc();
    say_fields("/proc/mounts", " / ");
    say_fields("/proc/self/mountinfo", " / /proc ");
    memset(text, 0, sizeof text);
    say_number("root", readlink("/proc/self/root", text, sizeof text));
    stat("/", &one);
    stat("/proc/self/root", &other);
    say_number("same root", one.st_ino == other.st_ino && one.st_dev == other.st_dev);
    int descriptor = open("/etc/passwd", O_RDONLY);
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    memset(text, 0, sizeof text);
    readlink(path, text, sizeof text);
    say_text("descriptor", text);
    stat(path, &one);
    fstat(descriptor, &other);
    say_number("same file", one.st_ino == other.st_ino);
    OPEN(path, O_RDONLY);
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    snprintf(path, sizeof path, "/proc/%d/exe", child);
    memset(text, 0, sizeof text);
    readlink(path, text, sizeof text);
    say_number("program of another", strcmp(text, self) == 0);
    stat(path, &one);
    stat(self, &other);
    say_number("same program", one.st_ino == other.st_ino);
    snprintf(path, sizeof path, "/proc/%d/root", child);
    memset(text, 0, sizeof text);
    readlink(path, text, sizeof text);
    say_text("root of another", text);
    snprintf(path, sizeof path, "/proc/%d/cwd/.", child);
    SAY(stat(path, &one));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    SAY(stat("/proc/self/fd/99", &one));
    SAY(stat("/proc/self/fd/x", &one));
    SAY(open("/proc/self/ns/mnt", O_RDONLY));
    DIR *directory = opendir("/proc/self/fd");
    say_number("listed", directory != NULL && readdir(directory) != NULL);
    closedir(directory);
    SAY(prctl(PR_GET_SECCOMP) == 0 ? 0 : -1);
    SAY(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 ? 0 : -1);
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
    {"paths", section_paths},     {"gone", section_gone},       {"openat2", section_openat2},
    {"scripts", section_scripts}, {"exec", section_exec},       {"size", section_size},
    {"signals", section_signals}, {"waiting", section_waiting}, {"jumps", section_jumps},
    {"stacks", section_stacks},   {"spawn", section_spawn},     {"sockets", section_sockets},
    {"refused", section_refused}, {"proc", section_proc},       {"closing", section_closing},
};

int main(int count, char **words) {
    static char own[PATH_MAX];
    if (count > 1 && strcmp(words[1], "child") == 0) {
        child_section(count, words);
        return 0;
    }
    if (count > 0 && strcmp(words[0], "by-descriptor") == 0) {
        child_section(count, words);
        return 0;
    }
    if (count == 0 || words[0][0] == '\0') {
        child_section(count, words);
        return 0;
    }
    ssize_t size = readlink("/proc/self/exe", own, sizeof own - 1);
    own[size < 0 ? 0 : size] = '\0';
    self = own;
    run_sections(sections, sizeof sections / sizeof sections[0], count, words);
    return 0;
}
