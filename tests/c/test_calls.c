/* Whole calls: what they give, and what they leave on the host. */
#include "guests.h"

#include "calls.h"
#include "older.h"

enum { W_OK = 2, SHORT_ADDRESS = 110 };

static struct process process;

static long carry_out(long number, long a, long b, long c, long d, long e) {
    struct call call = {number, {a, b, c, d, e, 0}};
    older_to_newer(&call);
    return calls_carry_out(&process, &call, NULL);
}

static long on(long number, const char *path, long b, long c) {
    return carry_out(number, (long)path, b, c, 0, 0);
}

static long at(long number, long dirfd, const char *path, long c, long d) {
    return carry_out(number, dirfd, (long)path, c, d, 0);
}

static long two(long number, const char *one, const char *other) {
    return carry_out(number, (long)one, (long)other, 0, 0, 0);
}

static bool is_there(const char *path) {
    return identity_of(path)[0] != '\0';
}

static void make_world(void) {
    make_directory("root");
    make_directory("root/etc");
    make_directory("root/mnt");
    make_directory("root/ro");
    make_directory("root/dir");
    make_directory("root/dir/sub");
    make_file("root/etc/hosts", "guest");
    make_file("root/etc/resolv.conf", "");
    make_file("root/file", "12345");
    make_link("root/link", "dir");
    make_link("root/file-link", "file");
    make_directory("data");
    make_directory("data/empty");
    make_directory("data/in");
    make_file("data/file", "data");
    make_directory("locked");
    make_directory("locked/dir");
    make_file("locked/file", "locked");
    make_link("locked/link", "file");
    make_file("host-file", "host");
    CHECK(GUEST(&process.guest, "root", "@root", "rw", "/mnt", "@data", "ro", "/ro", "@locked",
                "rw", "/etc/resolv.conf", "@host-file", "rw", "/proc", "/proc", "rw", "/dir/sub/m",
                "@data/empty", "ro", "/gone", "@locked/gone"));
    enter("root");
}

/* What is mounted can be neither removed nor moved; the source on the host must stay. */
static void test_mount_points(void) {
    CHECK_NUMBER(on(NR_unlink, "/etc/resolv.conf", 0, 0), -EBUSY);
    CHECK_NUMBER(on(NR_unlink, "etc/resolv.conf", 0, 0), -EBUSY);
    CHECK_NUMBER(at(NR_unlinkat, AT_FDCWD, "etc/../etc/resolv.conf", 0, 0), -EBUSY);
    CHECK_NUMBER(on(NR_rmdir, "/mnt", 0, 0), -EBUSY);
    CHECK_NUMBER(on(NR_rmdir, "mnt", 0, 0), -EBUSY);
    CHECK_NUMBER(on(NR_rmdir, "mnt/", 0, 0), -EBUSY);
    CHECK_NUMBER(at(NR_unlinkat, AT_FDCWD, "/dir/sub/m", AT_REMOVEDIR, 0), -EBUSY);
    CHECK_NUMBER(two(NR_rename, "/mnt", "/elsewhere"), -EBUSY);
    CHECK_NUMBER(two(NR_rename, "mnt", "elsewhere"), -EBUSY);
    CHECK_NUMBER(two(NR_rename, "/dir", "/elsewhere"), -EBUSY);
    CHECK_NUMBER(two(NR_rename, "/dir/sub", "/elsewhere"), -EBUSY);
    CHECK_NUMBER(two(NR_rename, "/file", "/etc/resolv.conf"), -EBUSY);
    CHECK_NUMBER(two(NR_rename, "/etc/resolv.conf", "/file"), -EBUSY);
    CHECK_NUMBER(on(NR_rmdir, "/", 0, 0), -EBUSY);
    CHECK_NUMBER(two(NR_rename, "/", "/x"), -EBUSY);
    CHECK_NUMBER(on(NR_mkdir, "/mnt", 0755, 0), -EEXIST);
    CHECK_NUMBER(two(NR_link, "/file", "/etc/resolv.conf"), -EEXIST);
    CHECK_NUMBER(two(NR_symlink, "x", "/etc/resolv.conf"), -EEXIST);
    CHECK_NUMBER(on(NR_mkdir, "/gone", 0755, 0), -EEXIST); /* and is not made on the host */
    CHECK_NUMBER(two(NR_symlink, "x", "/gone"), -EEXIST);
    CHECK(!is_there("../locked/gone"));
    CHECK(is_there("../data") && is_there("../host-file") && is_there("../data/empty"));
}

static void test_between_mounts(void) {
    CHECK_NUMBER(two(NR_rename, "/file", "/mnt/file2"), -EXDEV);
    CHECK_NUMBER(two(NR_rename, "/mnt/file", "/file2"), -EXDEV);
    CHECK_NUMBER(two(NR_link, "/file", "/mnt/file2"), -EXDEV);
    CHECK_NUMBER(two(NR_link, "/etc/resolv.conf", "/linked"), -EXDEV);
    CHECK_NUMBER(two(NR_link, "/none", "/mnt/file2"), -ENOENT);
    CHECK_NUMBER(carry_out(NR_renameat2, AT_FDCWD, (long)"/mnt/file", AT_FDCWD, (long)"/x", 0),
                 -EXDEV);
    CHECK_NUMBER(two(NR_rename, "/mnt/file", "/mnt/moved"), 0);
    CHECK_NUMBER(two(NR_rename, "/mnt/moved", "mnt/file"), 0);
    CHECK_NUMBER(two(NR_link, "/file", "/linked"), 0);
    CHECK_NUMBER(on(NR_unlink, "linked", 0, 0), 0);
    CHECK(is_there("file") && is_there("../data/file"));
}

/* A link at the end is never followed where a name is made or removed. */
static void test_names(void) {
    make_directory("victim");
    make_link("to-victim", "victim");
    make_link("to-none", "none");
    CHECK_NUMBER(on(NR_rmdir, "/to-victim", 0, 0), -ENOTDIR);
    CHECK_NUMBER(on(NR_rmdir, "/to-victim/", 0, 0), -ENOTDIR);
    CHECK_NUMBER(on(NR_unlink, "/to-victim/", 0, 0), -ENOTDIR);
    CHECK_NUMBER(two(NR_rename, "/to-victim/", "/moved"), -ENOTDIR);
    CHECK_NUMBER(on(NR_rmdir, "/victim/.", 0, 0), -EINVAL);
    CHECK_NUMBER(on(NR_rmdir, "/victim/..", 0, 0), -39 /* ENOTEMPTY */);
    CHECK_NUMBER(on(NR_mkdir, "/victim/.", 0755, 0), -EEXIST);
    CHECK_NUMBER(on(NR_mkdir, "/to-none", 0755, 0), -EEXIST);
    CHECK_NUMBER(on(NR_mkdir, "/to-none/", 0755, 0), -EEXIST);
    CHECK_NUMBER(two(NR_rename, "/victim/.", "/x"), -EBUSY);
    CHECK(is_there("victim") && is_there("to-victim") && !is_there("none"));
    CHECK_NUMBER(on(NR_mkdir, "/made/", 0755, 0), 0);
    CHECK_NUMBER(on(NR_mknod, "/node/", 0100644, 0), -ENOENT);
    CHECK_NUMBER(on(NR_rmdir, "/made/", 0, 0), 0);
    CHECK_NUMBER(on(NR_rmdir, "/file/..", 0, 0), -ENOTDIR);
    CHECK_NUMBER(on(NR_chdir, "/file/.", 0, 0), -ENOTDIR);
    CHECK_NUMBER(on(NR_chdir, "/file/..", 0, 0), -ENOTDIR);
    CHECK_NUMBER(on(NR_unlink, "/to-victim", 0, 0), 0);
    CHECK_NUMBER(on(NR_rmdir, "/victim", 0, 0), 0);
}

static long open_and_close(const char *path, long flags, long mode) {
    long descriptor = at(NR_openat, AT_FDCWD, path, flags, mode);
    if (descriptor >= 0) {
        close_descriptor((int)descriptor);
        return 0;
    }
    return descriptor;
}

static void test_opening(void) {
    CHECK_NUMBER(open_and_close("/link", O_RDONLY | O_DIRECTORY, 0), 0);
    CHECK_NUMBER(open_and_close("link", O_RDONLY | O_DIRECTORY, 0), 0);
    CHECK_NUMBER(open_and_close("link", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0), -ENOTDIR);
    CHECK_NUMBER(open_and_close("link", O_RDONLY | O_NOFOLLOW, 0), -ELOOP);
    CHECK_NUMBER(open_and_close("/link", O_RDONLY | O_NOFOLLOW, 0), -ELOOP);
    CHECK_NUMBER(open_and_close("link/", O_RDONLY | O_NOFOLLOW, 0), 0);
    CHECK_NUMBER(open_and_close("link", O_PATH | O_NOFOLLOW, 0), 0);
    CHECK_NUMBER(open_and_close("mnt", O_PATH | O_NOFOLLOW, 0), 0);
    CHECK_NUMBER(open_and_close("file/", O_RDONLY, 0), -ENOTDIR);
    CHECK_NUMBER(open_and_close("file/.", O_RDONLY, 0), -ENOTDIR);
    CHECK_NUMBER(open_and_close("/file/.", O_RDONLY, 0), -ENOTDIR);
    CHECK_NUMBER(open_and_close("", O_RDONLY, 0), -ENOENT);
    CHECK_NUMBER(open_and_close(NULL, O_RDONLY, 0), -EFAULT);
    CHECK_NUMBER(open_and_close((const char *)-1L, O_RDONLY, 0), -EFAULT);
    CHECK_NUMBER(open_and_close("new/", O_RDONLY | O_CREAT, 0644), -EISDIR);
    CHECK_NUMBER(open_and_close("to-none", O_WRONLY | O_CREAT | O_EXCL, 0644), -EEXIST);
    CHECK_NUMBER(open_and_close("to-none", O_WRONLY | O_CREAT, 0644), 0);
    CHECK(is_there("none"));
    CHECK_NUMBER(open_and_close(".", O_RDONLY, 0), 0);
    CHECK_NUMBER(open_and_close("..", O_RDONLY, 0), 0);
    CHECK_NUMBER(open_and_close("../../../../../../../../../../etc/passwd", O_RDONLY, 0), -ENOENT);
}

static void test_read_only(void) {
    CHECK_NUMBER(open_and_close("/ro/file", O_RDONLY, 0), 0);
    CHECK_NUMBER(open_and_close("/ro/file", O_RDONLY | O_CREAT, 0644), 0);
    CHECK_NUMBER(open_and_close("/ro/file", O_RDWR, 0), -EROFS);
    CHECK_NUMBER(open_and_close("/ro/link", O_WRONLY, 0), -EROFS);
    CHECK_NUMBER(open_and_close("/ro/file", O_RDONLY | O_TRUNC, 0), -EROFS);
    CHECK_NUMBER(open_and_close("/ro/none", O_WRONLY, 0), -ENOENT);
    CHECK_NUMBER(open_and_close("/ro/none", O_WRONLY | O_CREAT, 0644), -EROFS);
    CHECK_NUMBER(open_and_close("/ro/none", O_RDONLY | O_CREAT, 0644), -EROFS);
    CHECK_NUMBER(open_and_close("/ro/file", O_WRONLY | O_CREAT | O_EXCL, 0644), -EEXIST);
    CHECK_NUMBER(open_and_close("/ro", O_RDWR | O_TMPFILE_BIT | O_DIRECTORY, 0644), -EROFS);
    CHECK_NUMBER(open_and_close("/ro/dir", O_RDWR, 0), -EISDIR);
    CHECK_NUMBER(open_and_close("/ro/file", O_PATH, 0), 0);
    CHECK_NUMBER(on(NR_truncate, "/ro/file", 0, 0), -EROFS);
    CHECK_NUMBER(on(NR_truncate, "/ro/none", 0, 0), -ENOENT);
    CHECK_NUMBER(on(NR_chmod, "/ro/file", 0600, 0), -EROFS);
    CHECK_NUMBER(on(NR_chmod, "/ro/none", 0600, 0), -ENOENT);
    CHECK_NUMBER(on(NR_chown, "/ro/file", 0, 0), -EROFS);
    CHECK_NUMBER(on(NR_chown, "/ro/none", 0, 0), -ENOENT);
    CHECK_NUMBER(on(NR_mkdir, "/ro/new", 0755, 0), -EROFS);
    CHECK_NUMBER(on(NR_mkdir, "/ro/dir", 0755, 0), -EEXIST);
    CHECK_NUMBER(on(NR_mkdir, "/ro/none/x", 0755, 0), -ENOENT);
    CHECK_NUMBER(two(NR_symlink, "x", "/ro/new"), -EROFS);
    CHECK_NUMBER(two(NR_symlink, "x", "/ro/link"), -EEXIST);
    CHECK_NUMBER(two(NR_link, "/ro/file", "/ro/new"), -EROFS);
    CHECK_NUMBER(two(NR_rename, "/ro/file", "/ro/new"), -EROFS);
    CHECK_NUMBER(on(NR_unlink, "/ro/file", 0, 0), -EROFS);
    CHECK_NUMBER(on(NR_unlink, "/ro/none", 0, 0), -EROFS);
    CHECK_NUMBER(on(NR_rmdir, "/ro/dir", 0, 0), -EROFS);
    CHECK_NUMBER(at(NR_utimensat, AT_FDCWD, "/ro/file", 0, 0), -EROFS);
    CHECK_NUMBER(carry_out(NR_setxattr, (long)"/ro/file", (long)"user.x", (long)"y", 1, 0), -EROFS);
    CHECK_NUMBER(on(NR_access, "/ro/file", W_OK, 0), -EROFS);
    CHECK_NUMBER(on(NR_access, "/ro/file", 0, 0), 0);
    CHECK_NUMBER(on(NR_access, "/file", W_OK, 0), 0);
    enter("../locked"); /* and by names in it */
    CHECK_NUMBER(on(NR_unlink, "file", 0, 0), -EROFS);
    CHECK_NUMBER(on(NR_mkdir, "new", 0755, 0), -EROFS);
    CHECK_NUMBER(open_and_close("file", O_WRONLY, 0), -EROFS);
    CHECK_NUMBER(carry_out(NR_fchownat, AT_FDCWD, (long)"", 7, 7, AT_EMPTY_PATH), -EROFS);
    enter("../root");
    long descriptor = at(NR_openat, AT_FDCWD, "/ro/file", O_RDONLY, 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%ld", descriptor);
    CHECK_NUMBER(carry_out(NR_fchmod, descriptor, 0600, 0, 0, 0), -EROFS);
    CHECK_NUMBER(carry_out(NR_fchown, descriptor, 0, 0, 0, 0), -EROFS);
    CHECK_NUMBER(carry_out(NR_fsetxattr, descriptor, (long)"user.x", (long)"y", 1, 0), -EROFS);
    CHECK_NUMBER(carry_out(NR_fremovexattr, descriptor, (long)"user.x", 0, 0, 0), -EROFS);
    CHECK_NUMBER(at(NR_utimensat, descriptor, NULL, 0, 0), -EROFS);
    CHECK_NUMBER(carry_out(NR_fchownat, descriptor, (long)"", 0, 0, AT_EMPTY_PATH), -EROFS);
    CHECK_NUMBER(on(NR_chmod, path, 0600, 0), -EROFS);
    CHECK_NUMBER(open_and_close(path, O_RDWR, 0), -EROFS);
    CHECK_NUMBER(open_and_close(path, O_RDONLY, 0), 0);
    close_descriptor((int)descriptor);
    CHECK(is_there("../locked/file") && is_there("../locked/dir") && !is_there("../locked/new"));
}

/* What is made up for the guest is so however it is opened. */
static void test_made_up(void) {
    static const char *const paths[] = {"/proc/self/mountinfo", "/proc/self/status"};
    for (int index = 0; index < 2; index++) {
        char one[4096] = "";
        char other[4096] = "";
        struct open_how how = {.flags = O_RDONLY};
        long descriptor = at(NR_openat, AT_FDCWD, paths[index], O_RDONLY, 0);
        long size = read_descriptor((int)descriptor, one, sizeof one);
        close_descriptor((int)descriptor);
        descriptor = at(NR_openat2, AT_FDCWD, paths[index], (long)&how, sizeof how);
        if (descriptor == -ENOSYS &&
            at(NR_openat2, AT_FDCWD, "/", (long)&how, sizeof how) == -ENOSYS) {
            continue; /* the kernel has none */
        }
        read_descriptor((int)descriptor, other, sizeof other);
        close_descriptor((int)descriptor);
        /* Of the sizes in status only those at its beginning stay as they are. */
        CHECK(size > 200 && memcmp(one, other, index == 0 ? (size_t)size : 200) == 0);
    }
}

static void test_links(void) {
    char text[64] = "";
    char path[64];
    CHECK_NUMBER(carry_out(NR_readlink, (long)"/link", (long)text, sizeof text, 0, 0), 3);
    CHECK(memcmp(text, "dir", 3) == 0);
    CHECK_NUMBER(carry_out(NR_readlink, (long)"/link", (long)text, 2, 0, 0), 2);
    CHECK_NUMBER(carry_out(NR_readlink, (long)"/link", (long)text, 0, 0, 0), -EINVAL);
    CHECK_NUMBER(carry_out(NR_readlink, (long)"/link", (long)text, -1, 0, 0), -EINVAL);
    CHECK_NUMBER(carry_out(NR_readlink, (long)"/link", 0, sizeof text, 0, 0), -EFAULT);
    CHECK_NUMBER(carry_out(NR_readlink, (long)"/link", (long)read_only_memory(8), 8, 0, 0),
                 -EFAULT);
    CHECK_NUMBER(carry_out(NR_readlink, (long)"/link", (long)memory_at_the_end(2), 64, 0, 0),
                 -EFAULT);
    CHECK_NUMBER(carry_out(NR_readlink, (long)"/file", (long)text, sizeof text, 0, 0), -EINVAL);
    CHECK_NUMBER(carry_out(NR_readlink, (long)"/link/", (long)text, sizeof text, 0, 0), -EINVAL);
    memset(text, 0, sizeof text);
    CHECK_NUMBER(carry_out(NR_readlink, (long)"/proc/self/exe", (long)text, sizeof text, 0, 0), 16);
    CHECK_TEXT(text, "/usr/bin/program");
    memset(text, 0, sizeof text);
    CHECK_NUMBER(carry_out(NR_readlink, (long)"/proc/self/root", (long)text, sizeof text, 0, 0), 1);
    CHECK_TEXT(text, "/");
    long descriptor = at(NR_openat, AT_FDCWD, "/mnt/file", O_RDONLY, 0);
    snprintf(path, sizeof path, "/proc/self/fd/%ld", descriptor);
    memset(text, 0, sizeof text);
    carry_out(NR_readlink, (long)path, (long)text, sizeof text, 0, 0);
    CHECK_TEXT(text, "/mnt/file");
    close_descriptor((int)descriptor);
    if (setting("EMULATED") != NULL) {
        return; /* an emulator opens the program where the link is meant */
    }
    descriptor = at(NR_openat, AT_FDCWD, "/proc/self/exe", O_PATH | O_NOFOLLOW, 0);
    memset(text, 0, sizeof text);
    CHECK_NUMBER(carry_out(NR_readlinkat, descriptor, (long)"", (long)text, sizeof text, 0), 16);
    CHECK_TEXT(text, "/usr/bin/program");
    close_descriptor((int)descriptor);
}

static void test_directory(void) {
    char text[64] = "";
    CHECK_NUMBER(on(NR_chdir, "/mnt/in", 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_getcwd, (long)text, sizeof text, 0, 0, 0), 8);
    CHECK_TEXT(text, "/mnt/in");
    CHECK_NUMBER(carry_out(NR_getcwd, (long)text, 8, 0, 0, 0), 8);
    CHECK_NUMBER(carry_out(NR_getcwd, (long)text, 7, 0, 0, 0), -ERANGE);
    CHECK_NUMBER(carry_out(NR_getcwd, 0, 64, 0, 0, 0), -EFAULT);
    CHECK_NUMBER(carry_out(NR_getcwd, (long)read_only_memory(64), 64, 0, 0, 0), -EFAULT);
    CHECK_NUMBER(on(NR_chdir, "..", 0, 0), 0);
    CHECK_NUMBER(on(NR_chdir, "..", 0, 0), 0);
    CHECK_NUMBER(on(NR_chdir, "..", 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_getcwd, (long)text, sizeof text, 0, 0, 0), 2);
    CHECK_TEXT(text, "/");
    CHECK_NUMBER(on(NR_mkdir, "/leaves", 0755, 0), 0);
    CHECK_NUMBER(on(NR_chdir, "/leaves", 0, 0), 0);
    CHECK_NUMBER(on(NR_rmdir, "/leaves", 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_getcwd, (long)text, sizeof text, 0, 0, 0), -ENOENT);
    CHECK_NUMBER(open_and_close(".", O_RDONLY, 0), 0);
    CHECK_NUMBER(open_and_close("x", O_RDONLY | O_CREAT, 0644), -ENOENT);
    CHECK_NUMBER(on(NR_chdir, "/", 0, 0), 0);
}

static void test_masks(void) {
    uint64_t mask = 0x10;
    uint64_t set = ~(uint64_t)0;
    uint64_t old = 0;
    const uint64_t sigsys = (uint64_t)1 << 30;
    struct call call = {NR_rt_sigprocmask, {0, (long)&set, (long)&old, 8}};
    CHECK_NUMBER(calls_carry_out(&process, &call, &mask), 0);
    CHECK(mask == ~sigsys); /* of whoever goes on; the own one stays */
    call.argument[0] = 1;
    set = 0xf0;
    CHECK_NUMBER(calls_carry_out(&process, &call, &mask), 0);
    CHECK(mask == (~sigsys & ~(uint64_t)0xf0));
    call.argument[0] = 2;
    set = sigsys | 6;
    CHECK_NUMBER(calls_carry_out(&process, &call, &mask), 0);
    CHECK(mask == 6);
    call.argument[0] = 3;
    CHECK_NUMBER(calls_carry_out(&process, &call, &mask), -EINVAL);
    call.argument[0] = 2;
    call.argument[2] = (long)read_only_memory(8);
    CHECK_NUMBER(calls_carry_out(&process, &call, &mask), -EFAULT);
    call.argument[2] = 0;
    call.argument[1] = (long)memory_at_the_end(4);
    CHECK_NUMBER(calls_carry_out(&process, &call, &mask), -EFAULT);
    call.argument[3] = 4;
    CHECK_NUMBER(calls_carry_out(&process, &call, &mask), -EINVAL);
    CHECK(mask == 6);
    /* The action for SIGSYS is remembered, and is not the engine's to see. */
    struct action action = {.handler = 1, .mask = ~(uint64_t)0};
    struct action before = {.handler = 9};
    CHECK_NUMBER(carry_out(NR_rt_sigaction, 31, (long)&action, (long)&before, 8, 0), 0);
    CHECK(before.handler == 0);
    CHECK_NUMBER(carry_out(NR_rt_sigaction, 31, 0, (long)&before, 8, 0), 0);
    CHECK(before.handler == 1 && before.mask == ~(uint64_t)0);
    CHECK_NUMBER(carry_out(NR_rt_sigaction, 31, 1, 0, 8, 0), -EFAULT);
    CHECK_NUMBER(carry_out(NR_rt_sigaction, 31, 0, (long)read_only_memory(32), 8, 0), -EFAULT);
    CHECK_NUMBER(carry_out(NR_rt_sigaction, 31, 0, 0, 4, 0), -EINVAL);
}

struct address {
    unsigned short family;
    char path[108];
};

static long with_path(struct address *address, const char *path) {
    *address = (struct address){.family = 1};
    memcpy(address->path, path, strlen(path));
    return 2 + (long)strlen(path);
}

static void test_sockets(void) {
    struct address address;
    struct address other;
    unsigned size = sizeof other;
    long server = carry_out(NR_socket, 1, 1, 0, 0, 0);
    long client = carry_out(NR_socket, 1, 1, 0, 0, 0);
    char deep[80] = "/dir/sub/ddddddddddddddddddddddddddddddddddddddddddddddddd/socket";
    CHECK_NUMBER(
        on(NR_mkdir, "/dir/sub/ddddddddddddddddddddddddddddddddddddddddddddddddd", 0755, 0), 0);
    long length = with_path(&address, deep); /* on the host longer than an address can be */
    CHECK_NUMBER(carry_out(NR_connect, client, (long)&address, length, 0, 0), -ENOENT);
    CHECK_NUMBER(carry_out(NR_bind, server, (long)&address, length, 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_listen, server, 1, 0, 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_connect, client, (long)&address, length, 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_getsockname, server, (long)&other, (long)&size, 0, 0), 0);
    CHECK_TEXT(other.path, deep);
    CHECK_NUMBER(size, length + 1);
    size = sizeof other;
    CHECK_NUMBER(carry_out(NR_getpeername, client, (long)&other, (long)&size, 0, 0), 0);
    CHECK_TEXT(other.path, deep);
    long end = carry_out(NR_accept, server, 0, 0, 0, 0);
    memset(&other, 0, sizeof other);
    size = sizeof other;
    CHECK_NUMBER(carry_out(NR_getsockname, end, (long)&other, (long)&size, 0, 0), 0);
    CHECK_TEXT(other.path, deep);
    close_descriptor((int)end);
    close_descriptor((int)server);
    close_descriptor((int)client);
    server = carry_out(NR_socket, 1, 2, 0, 0, 0);
    client = carry_out(NR_socket, 1, 2, 0, 0, 0);
    length = with_path(&address, "/mnt/s");
    CHECK_NUMBER(carry_out(NR_bind, server, (long)&address, length, 0, 0), 0);
    CHECK(is_there("../data/s"));
    length = with_path(&address, "c");
    CHECK_NUMBER(carry_out(NR_bind, client, (long)&address, length, 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_bind, client, (long)&address, length, 0, 0) < 0, 1);
    length = with_path(&address, "/mnt/s");
    struct call send = {NR_sendto, {client, (long)"x", 1, 0, (long)&address, length}};
    CHECK_NUMBER(calls_carry_out(&process, &send, NULL), 1);
    char byte;
    memset(&other, 0x55, sizeof other);
    size = 20; /* less than there is on the host */
    struct call receive = {NR_recvfrom, {server, (long)&byte, 1, 0, (long)&other, (long)&size}};
    CHECK_NUMBER(calls_carry_out(&process, &receive, NULL), 1);
    CHECK_NUMBER(other.path[18], 0x55); /* nothing behind what it has room for */
    CHECK_NUMBER(calls_carry_out(&process, &send, NULL), 1);
    size = sizeof other;
    CHECK_NUMBER(calls_carry_out(&process, &receive, NULL), 1);
    CHECK_TEXT(other.path, "/c");
    length = with_path(&address, "/ro/s");
    CHECK_NUMBER(carry_out(NR_bind, client, (long)&address, length, 0, 0), -EROFS);
    close_descriptor((int)server);
    close_descriptor((int)client);
}

static long filters;

static long count_filter(long flags, long program) {
    (void)flags;
    (void)program;
    filters++;
    return 0;
}

static void test_refused(void) {
    CHECK_NUMBER(carry_out(NR_io_uring_setup, 1, 0, 0, 0, 0), -ENOSYS);
    CHECK_NUMBER(carry_out(NR_mount, 0, 0, 0, 0, 0), -EPERM);
    CHECK_NUMBER(carry_out(NR_clone3, 0, 0, 0, 0, 0), -ENOSYS);
    CHECK_NUMBER(carry_out(NR_open_by_handle_at, AT_FDCWD, 0, 0, 0, 0), -EPERM);
    CHECK_NUMBER(carry_out(100000, 0, 0, 0, 0, 0), -ENOSYS);
    CHECK_NUMBER(carry_out(-1, 0, 0, 0, 0, 0), -ENOSYS);
    process.restrict_calls = count_filter;
    CHECK_NUMBER(carry_out(NR_seccomp, 1, 0, 0, 0, 0), -EFAULT);
    CHECK_NUMBER(carry_out(NR_seccomp, 0, 0, (long)&process, 0, 0), -EINVAL);
    CHECK_NUMBER(carry_out(NR_prctl, 22, 3, 0, 0, 0), -EINVAL);
    CHECK_NUMBER(carry_out(NR_seccomp, 1, 8, (long)&process, 0, 0), -EINVAL);
    CHECK_NUMBER(carry_out(NR_prctl, 21, 0, 0, 0, 0), 0);
    CHECK_NUMBER(filters, 0);
    CHECK_NUMBER(carry_out(NR_seccomp, 1, 0, (long)&process, 0, 0), 0);
    CHECK_NUMBER(filters, 1);
    CHECK_NUMBER(carry_out(NR_prctl, 21, 0, 0, 0, 0), 2);
    CHECK_NUMBER(carry_out(NR_prctl, 39, 0, 0, 0, 0), 0);
}

int main(void) {
    scratch();
    make_world();
    test_mount_points();
    test_between_mounts();
    test_names();
    test_opening();
    test_read_only();
    test_made_up();
    test_links();
    test_directory();
    test_masks();
    test_sockets();
    test_refused();
    return harness_end();
}
