/*
 * paths [SECTION...]
 *
 * Paths at their edges: prints what came of each call, one line each, the same lines in every
 * engine. It works in the directory where it is started.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "files.h"

/* <linux/openat2.h>, which is not part of every libc's headers */
struct open_how {
    unsigned long flags, mode, resolve;
};

enum {
    RESOLVE_NO_MAGICLINKS = 2,
    RESOLVE_NO_SYMLINKS = 4,
    RESOLVE_BENEATH = 8,
    RESOLVE_IN_ROOT = 16,
};

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

static const struct section sections[] = {
    {"paths", section_paths},
    {"gone", section_gone},
    {"openat2", section_openat2},
};

int main(int count, char **words) {
    run_sections(sections, sizeof sections / sizeof sections[0], count, words);
    return 0;
}
