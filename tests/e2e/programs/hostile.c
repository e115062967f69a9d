/*
 * hostile DIRECTORY [control]
 *
 * Makes every system call that takes a path, with every spelling of paths into DIRECTORY: one of
 * the host that is not in the container. Prints "NAME SPELLING" for each call that got there, and
 * "done COUNT" at the end. With "control" it makes what it looks for before each call, so that all
 * of them get there: then it is known that each could.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    NR_fchmodat2 = 452,
    NR_setxattrat = 463,
    NR_getxattrat = 464,
    NR_listxattrat = 465,
    NR_removexattrat = 466,
    NR_open_tree_attr = 467,
    NR_file_getattr = 468,
    NR_file_setattr = 469,
    RAN = 77, /* exit code of the script */
    HANDLE = 128,
};

static const char *directory;
static int is_control;
static char buffer[8192];
static long count;

/* A path into the directory, spelled somehow: relative ones belong to base. */
struct spelling {
    const char *name;
    char prefix[1024];
    int base;
};

static struct spelling spellings[20];
static int spelling_count;

static void must(long result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(2);
    }
}

static void spell(const char *name, int base, const char *prefix) {
    struct spelling *spelling = &spellings[spelling_count++];
    spelling->name = name;
    spelling->base = base;
    snprintf(spelling->prefix, sizeof spelling->prefix, "%s%s", prefix, directory);
}

static void make_spellings(void) {
    char text[128];
    int top = open("/", O_RDONLY | O_DIRECTORY);
    int deep = open("/proc/self", O_RDONLY | O_DIRECTORY);
    int root = open("/proc/self/root", O_RDONLY | O_DIRECTORY);
    must(top < 0 || deep < 0 || root < 0 ? -1 : 0, "open");
    unlink("to-top");
    unlink("to-directory");
    unlink("up");
    must(symlink("/", "to-top"), "symlink");
    must(symlink(directory, "to-directory"), "symlink");
    must(symlink("../../../../../../../../..", "up"), "symlink");
    spell("absolute", AT_FDCWD, "");
    spell("dots", AT_FDCWD, "../../../../../../../../../../../..");
    spell("absolute-dots", AT_FDCWD, "/../../..");
    spell("link-to-top", AT_FDCWD, "to-top");
    spell("link-up", AT_FDCWD, "up");
    spell("descriptor-dots", top, "../../../../../..");
    spell("descriptor-absolute", top, "/");
    spell("proc-descriptor-dots", deep, "../../../../..");
    spell("root-descriptor", root, ".");
    spell("root-descriptor-name", root, "");
    memmove(spellings[spelling_count - 1].prefix, directory + 1, strlen(directory));
    spell("proc-root", AT_FDCWD, "/proc/self/root");
    spell("proc-thread-root", AT_FDCWD, "/proc/thread-self/root");
    spell("proc-cwd", AT_FDCWD, "/proc/self/cwd/../../../../../../../..");
    snprintf(text, sizeof text, "/proc/%d/root", getppid());
    spell("parent-root", AT_FDCWD, text);
    snprintf(text, sizeof text, "/proc/self/fd/%d/../../../..", top);
    spell("proc-descriptor", AT_FDCWD, text);
    snprintf(text, sizeof text, "/dev/fd/%d", top);
    spell("dev-descriptor", AT_FDCWD, text);
    struct spelling *last = &spellings[spelling_count++];
    last->name = "link-to-directory";
    last->base = AT_FDCWD;
    strcpy(last->prefix, "to-directory");
}

static void make_file(const char *path, int mode, const char *content) {
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    must(descriptor, path);
    must(write(descriptor, content, strlen(content)), path);
    fchmod(descriptor, (mode_t)mode);
    close(descriptor);
}

/* What the calls look for. */
static void make_targets(void) {
    char home[PATH_MAX];
    must(getcwd(home, sizeof home) == NULL ? -1 : 0, "getcwd");
    must(chdir(directory), directory);
    static const char *const names[] = {"file", "link", "script", "pipe", "socket", "new"};
    for (size_t index = 0; index < sizeof names / sizeof names[0]; index++) {
        unlink(names[index]);
        rmdir(names[index]);
    }
    rmdir("empty");
    make_file("file", 0600, "sentinel");
    make_file("script", 0700, "#!/bin/sh\nexit 77\n");
    must(mkdir("empty", 0700), "mkdir");
    must(symlink("file", "link"), "symlink");
    must(mkfifo("pipe", 0600), "mkfifo");
    int server = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
    must(bind(server, (struct sockaddr *)&address, sizeof address), "bind");
    close(server);
    must(chdir(home), home);
}

static char *path_to(const struct spelling *spelling, const char *name) {
    static char paths[4][2048];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", spelling->prefix, name);
    return path;
}

/* Errors that a call gives only of what it has found. */
static int is_reached(long result) {
    static const int errors[] = {ECONNREFUSED, EPROTOTYPE, ENODATA,  EOPNOTSUPP, EEXIST,
                                 ENOTEMPTY,    EISDIR,     ETXTBSY,  ENXIO,      EADDRINUSE,
                                 ENOTTY,       EOVERFLOW,  EMSGSIZE, EXDEV};
    if (result >= 0) {
        return 1;
    }
    for (size_t index = 0; index < sizeof errors / sizeof errors[0]; index++) {
        if (errno == errors[index]) {
            return 1;
        }
    }
    return 0;
}

static const struct spelling *now;

static void before(void) {
    if (is_control) {
        make_targets();
    }
}

static void after(const char *name, long result) {
    count++;
    if (is_reached(result)) {
        printf("%s %s\n", name, now->name);
    }
    unlink("moved");
    unlink("linked");
}

static void after_open(const char *name, long descriptor) {
    after(name, descriptor);
    if (descriptor >= 0) {
        close((int)descriptor);
    }
}

#define TRY(name, ...)                                                                             \
    do {                                                                                           \
        before();                                                                                  \
        after(#name, syscall(__VA_ARGS__));                                                        \
    } while (0)

#define TRY_OPEN(name, ...)                                                                        \
    do {                                                                                           \
        before();                                                                                  \
        after_open(#name, syscall(__VA_ARGS__));                                                   \
    } while (0)

#define FILE_PATH path_to(now, "file")
#define LINK_PATH path_to(now, "link")
#define NEW_PATH path_to(now, "new")
#define EMPTY_PATH path_to(now, "empty")

static void try_opening(int base) {
    struct open_how how = {.flags = O_RDONLY};
    TRY_OPEN(openat, SYS_openat, base, FILE_PATH, O_RDONLY, 0);
    TRY_OPEN(openat_write, SYS_openat, base, FILE_PATH, O_WRONLY | O_TRUNC, 0);
    TRY_OPEN(openat_create, SYS_openat, base, NEW_PATH, O_WRONLY | O_CREAT, 0600);
    TRY_OPEN(openat_exclusive, SYS_openat, base, NEW_PATH, O_WRONLY | O_CREAT | O_EXCL, 0600);
    TRY_OPEN(openat_path, SYS_openat, base, EMPTY_PATH, O_PATH | O_DIRECTORY, 0);
    TRY_OPEN(openat_link, SYS_openat, base, LINK_PATH, O_PATH | O_NOFOLLOW, 0);
    TRY_OPEN(openat_temporary, SYS_openat, base, EMPTY_PATH, O_TMPFILE | O_WRONLY, 0600);
    TRY_OPEN(openat_pipe, SYS_openat, base, path_to(now, "pipe"), O_RDONLY | O_NONBLOCK, 0);
    TRY_OPEN(openat2, SYS_openat2, base, FILE_PATH, &how, sizeof how);
}

static void try_reading(int base) {
    struct {
        unsigned bytes;
        int type;
        char handle[HANDLE];
    } handle = {.bytes = HANDLE};
    int mount;
    struct {
        unsigned long value;
        unsigned size, flags;
    } attribute = {(unsigned long)buffer, sizeof buffer, 0};
    TRY(newfstatat, SYS_newfstatat, base, FILE_PATH, buffer, 0);
    TRY(newfstatat_link, SYS_newfstatat, base, LINK_PATH, buffer, AT_SYMLINK_NOFOLLOW);
    TRY(statx, SYS_statx, base, FILE_PATH, 0, 0xfff, buffer);
    TRY(readlinkat, SYS_readlinkat, base, LINK_PATH, buffer, sizeof buffer);
    TRY(faccessat, SYS_faccessat, base, FILE_PATH, R_OK);
    TRY(faccessat2, SYS_faccessat2, base, FILE_PATH, R_OK, AT_EACCESS);
    TRY(name_to_handle_at, SYS_name_to_handle_at, base, FILE_PATH, &handle, &mount, 0);
    TRY(getxattrat, NR_getxattrat, base, FILE_PATH, 0, "user.x", &attribute, sizeof attribute);
    TRY(listxattrat, NR_listxattrat, base, FILE_PATH, 0, buffer, sizeof buffer);
    TRY(file_getattr, NR_file_getattr, base, FILE_PATH, buffer, 24, 0);
    TRY_OPEN(open_tree, SYS_open_tree, base, EMPTY_PATH, 0);
}

static void try_changing(int base) {
    struct timespec times[2] = {{1, 1}, {1, 1}};
    struct timeval old_times[2] = {{1, 1}, {1, 1}};
    struct {
        unsigned long value;
        unsigned size, flags;
    } attribute = {(unsigned long)"y", 1, 0};
    TRY(mkdirat, SYS_mkdirat, base, NEW_PATH, 0700);
    TRY(mknodat, SYS_mknodat, base, NEW_PATH, S_IFIFO | 0600, 0);
    TRY(unlinkat, SYS_unlinkat, base, FILE_PATH, 0);
    TRY(unlinkat_directory, SYS_unlinkat, base, EMPTY_PATH, AT_REMOVEDIR);
    TRY(symlinkat, SYS_symlinkat, "text", base, NEW_PATH);
    TRY(fchmodat, SYS_fchmodat, base, FILE_PATH, 0644);
    TRY(fchmodat2, NR_fchmodat2, base, FILE_PATH, 0644, 0);
    TRY(fchownat, SYS_fchownat, base, FILE_PATH, getuid(), -1, 0);
    TRY(utimensat, SYS_utimensat, base, FILE_PATH, times, 0);
    TRY(futimesat, SYS_futimesat, base, FILE_PATH, old_times);
    TRY(linkat_from, SYS_linkat, base, FILE_PATH, AT_FDCWD, "linked", 0);
    TRY(linkat_followed, SYS_linkat, base, LINK_PATH, AT_FDCWD, "linked", AT_SYMLINK_FOLLOW);
    TRY(linkat_to, SYS_linkat, AT_FDCWD, "own", base, NEW_PATH, 0);
    TRY(renameat_from, SYS_renameat, base, FILE_PATH, AT_FDCWD, "moved");
    TRY(renameat2_from, SYS_renameat2, base, FILE_PATH, AT_FDCWD, "moved", 0);
    TRY(setxattrat, NR_setxattrat, base, FILE_PATH, 0, "user.x", &attribute, sizeof attribute);
    TRY(removexattrat, NR_removexattrat, base, FILE_PATH, 0, "user.x");
    make_file("moving", 0600, "");
    TRY(renameat_to, SYS_renameat, AT_FDCWD, "moving", base, NEW_PATH);
    make_file("moving", 0600, "");
    TRY(renameat2_to, SYS_renameat2, AT_FDCWD, "moving", base, NEW_PATH, 0);
}

/* Calls without a descriptor: only spellings that need none. */
static void try_old_reading(void) {
    TRY_OPEN(open, SYS_open, FILE_PATH, O_RDONLY, 0);
    TRY_OPEN(creat, SYS_creat, NEW_PATH, 0600);
    TRY(stat, SYS_stat, FILE_PATH, buffer);
    TRY(lstat, SYS_lstat, LINK_PATH, buffer);
    TRY(access, SYS_access, FILE_PATH, R_OK);
    TRY(readlink, SYS_readlink, LINK_PATH, buffer, sizeof buffer);
    TRY(statfs, SYS_statfs, EMPTY_PATH, buffer);
    TRY(getxattr, SYS_getxattr, FILE_PATH, "user.x", buffer, sizeof buffer);
    TRY(lgetxattr, SYS_lgetxattr, FILE_PATH, "user.x", buffer, sizeof buffer);
    TRY(listxattr, SYS_listxattr, FILE_PATH, buffer, sizeof buffer);
    TRY(llistxattr, SYS_llistxattr, FILE_PATH, buffer, sizeof buffer);
    int watcher = inotify_init();
    TRY(inotify_add_watch, SYS_inotify_add_watch, watcher, FILE_PATH, IN_OPEN);
    close(watcher);
}

static void try_old_changing(void) {
    struct timeval times[2] = {{1, 1}, {1, 1}};
    long old_times[2] = {1, 1};
    TRY(mkdir, SYS_mkdir, NEW_PATH, 0700);
    TRY(rmdir, SYS_rmdir, EMPTY_PATH);
    TRY(unlink, SYS_unlink, FILE_PATH);
    TRY(symlink, SYS_symlink, "text", NEW_PATH);
    TRY(link_from, SYS_link, FILE_PATH, "linked");
    TRY(link_to, SYS_link, "own", NEW_PATH);
    TRY(rename_from, SYS_rename, FILE_PATH, "moved");
    make_file("moving", 0600, "");
    TRY(rename_to, SYS_rename, "moving", NEW_PATH);
    TRY(mknod, SYS_mknod, NEW_PATH, S_IFIFO | 0600, 0);
    TRY(chmod, SYS_chmod, FILE_PATH, 0644);
    TRY(chown, SYS_chown, FILE_PATH, getuid(), -1);
    TRY(lchown, SYS_lchown, LINK_PATH, getuid(), -1);
    TRY(truncate, SYS_truncate, FILE_PATH, 1);
    TRY(utime, SYS_utime, FILE_PATH, old_times);
    TRY(utimes, SYS_utimes, FILE_PATH, times);
    TRY(setxattr, SYS_setxattr, FILE_PATH, "user.x", "y", 1, 0);
    TRY(lsetxattr, SYS_lsetxattr, FILE_PATH, "user.x", "y", 1, 0);
    TRY(removexattr, SYS_removexattr, FILE_PATH, "user.x");
    TRY(lremovexattr, SYS_lremovexattr, FILE_PATH, "user.x");
}

static void try_sockets(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char *path = path_to(now, "socket");
    if (strlen(path) >= sizeof address.sun_path) {
        return;
    }
    strcpy(address.sun_path, path);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    struct iovec vector = {"x", 1};
    struct mmsghdr message = {.msg_hdr = {&address, size, &vector, 1, NULL, 0, 0}};
    int own = socket(AF_UNIX, SOCK_DGRAM, 0);
    TRY(connect, SYS_connect, own, &address, size);
    TRY(sendto, SYS_sendto, own, "x", 1, 0, &address, size);
    TRY(sendmsg, SYS_sendmsg, own, &message.msg_hdr, 0);
    TRY(sendmmsg, SYS_sendmmsg, own, &message, 1, 0);
    strcpy(address.sun_path, NEW_PATH);
    TRY(bind, SYS_bind, own, &address, size);
    close(own);
}

/* Runs the script: in a child, whose exit code tells. */
static void try_program(const char *name, int base) {
    static char *const no_words[] = {"script", NULL};
    before();
    pid_t child = fork();
    if (child == 0) {
        if (base == AT_FDCWD && strcmp(name, "execve") == 0) {
            syscall(SYS_execve, path_to(now, "script"), no_words, no_words + 1);
        } else {
            syscall(SYS_execveat, base, path_to(now, "script"), no_words, no_words + 1, 0);
        }
        _exit(1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    errno = ENOENT;
    after(name, WIFEXITED(status) && WEXITSTATUS(status) == RAN ? 0 : -1);
}

/* Changes the directory: in a child as well. */
static void try_directory(const char *name, long number) {
    before();
    pid_t child = fork();
    if (child == 0) {
        _exit(syscall(number, EMPTY_PATH) == 0 ? RAN : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    errno = ENOENT;
    after(name, WIFEXITED(status) && WEXITSTATUS(status) == RAN ? 0 : -1);
}

/* What an ordinary user is refused anyway must not get there with whatever the engine pretends. */
static void try_refused(void) {
    TRY(mount, SYS_mount, EMPTY_PATH, "/tmp", NULL, 4096, NULL);
    TRY(umount2, SYS_umount2, EMPTY_PATH, 0);
    TRY(pivot_root, SYS_pivot_root, EMPTY_PATH, EMPTY_PATH);
    TRY(acct, SYS_acct, FILE_PATH);
    TRY(swapon, SYS_swapon, FILE_PATH, 0);
    TRY(swapoff, SYS_swapoff, FILE_PATH);
    TRY(uselib, SYS_uselib, FILE_PATH);
    TRY_OPEN(fspick, SYS_fspick, now->base, EMPTY_PATH, 0);
    TRY(mount_setattr, SYS_mount_setattr, now->base, EMPTY_PATH, 0, buffer, 32);
    TRY_OPEN(open_tree_attr, NR_open_tree_attr, now->base, EMPTY_PATH, 1, buffer, 32);
    try_directory("chroot", SYS_chroot);
}

int main(int argument_count, char **arguments) {
    if (argument_count < 2) {
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    directory = arguments[1];
    is_control = argument_count > 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    make_file("own", 0600, "own");
    make_spellings();
    for (int index = 0; index < spelling_count; index++) {
        now = &spellings[index];
        try_opening(now->base);
        try_reading(now->base);
        try_changing(now->base);
        try_program("execveat", now->base);
        try_refused();
        if (now->base == AT_FDCWD) {
            try_old_reading();
            try_old_changing();
            try_sockets();
            try_program("execve", AT_FDCWD);
            try_directory("chdir", SYS_chdir);
        }
    }
    if (is_control) {
        make_targets();
    }
    printf("done %ld\n", count);
    return 0;
}
