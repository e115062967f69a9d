/*
 * proc [SECTION...]
 *
 * What /proc says, and what no program here may do.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "self.h"

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

static const struct section sections[] = {
    {"refused", section_refused},
    {"proc", section_proc},
};

int main(int count, char **words) {
    find_self();
    run_sections(sections, sizeof sections / sizeof sections[0], count, words);
    return 0;
}
