/* Every system call of the kernel's headers has a row, and none that takes a path passes as it is.
 */
#include "harness.h"

#include "table.h"

/* Calls with a path, or an address that is one; where it is hidden in a structure, too. */
static const char *const PATHS[] = {
    "openat",
    "openat2",
    "newfstatat",
    "statx",
    "faccessat",
    "faccessat2",
    "chdir",
    "chroot",
    "pivot_root",
    "mount",
    "umount2",
    "renameat",
    "renameat2",
    "mkdirat",
    "unlinkat",
    "linkat",
    "symlinkat",
    "readlinkat",
    "fchmodat",
    "fchmodat2",
    "fchownat",
    "mknodat",
    "truncate",
    "statfs",
    "utimensat",
    "execve",
    "execveat",
    "acct",
    "swapon",
    "swapoff",
    "quotactl",
    "setxattr",
    "lsetxattr",
    "getxattr",
    "lgetxattr",
    "listxattr",
    "llistxattr",
    "removexattr",
    "lremovexattr",
    "setxattrat",
    "getxattrat",
    "listxattrat",
    "removexattrat",
    "inotify_add_watch",
    "fanotify_mark",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "open_tree_attr",
    "move_mount",
    "fsconfig",
    "fsopen",
    "fspick",
    "mount_setattr",
    "statmount",
    "listmount",
    "file_getattr",
    "file_setattr",
    "bind",
    "connect",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "accept",
    "accept4",
    "getsockname",
    "getpeername",
    "getcwd",
    "bpf",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "setns",
    "unshare",
    "lookup_dcookie",
    "nfsservctl",
    "quotactl_fd",
#ifdef ARCH_HAS_LEGACY
    "open",
    "creat",
    "stat",
    "lstat",
    "access",
    "rename",
    "mkdir",
    "rmdir",
    "unlink",
    "link",
    "symlink",
    "readlink",
    "chmod",
    "chown",
    "lchown",
    "mknod",
    "utime",
    "utimes",
    "futimesat",
    "uselib",
    "_sysctl",
#endif
};

static long number_of(const char *name) {
    for (long number = 0; number < NR_COUNT; number++) {
        const char *other = table_name(number);
        if (other != NULL && strcmp(name, other) == 0) {
            return number;
        }
    }
    return -1;
}

static void test_headers(void) {
    const char *path = setting("HEADER"); /* what the kernel's headers say, one number a line */
    FILE *file = path == NULL ? NULL : fopen(path, "r");
    char line[256];
    char name[128];
    long number;
    int count = 0;
    CHECK(file != NULL);
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "#define __NR_%127s %ld", name, &number) != 2) {
            continue;
        }
        count++;
        if (table_row(number) == NULL) {
            printf("no row for %s\n", name);
        }
        CHECK(table_row(number) != NULL);
        CHECK_TEXT(table_name(number) == NULL ? "" : table_name(number), name);
    }
    CHECK(count > 300);
}

static void test_paths(void) {
    for (size_t index = 0; index < sizeof PATHS / sizeof PATHS[0]; index++) {
        long number = number_of(PATHS[index]);
        CHECK(number >= 0);
        const struct row *row = table_row(number);
        if (row == NULL || row->kind == FREE_CALL || row->kind == ON_DESCRIPTOR) {
            printf("passes as it is: %s\n", PATHS[index]);
        }
        CHECK(row != NULL && row->kind != FREE_CALL && row->kind != ON_DESCRIPTOR);
    }
}

static void test_rows(void) {
    for (long number = -10; number < NR_COUNT + 100; number++) {
        const struct row *row = table_row(number);
        if (number < 0 || number >= NR_COUNT) {
            CHECK(row == NULL);
            CHECK(table_name(number) == NULL);
            continue;
        }
        CHECK((row != NULL) == (table_name(number) != NULL));
        if (row == NULL) {
            continue;
        }
        CHECK(row->kind != REFUSED || row->error > 0);
        if (row->kind == ONE_PATH || row->kind == TWO_PATHS) {
            CHECK(row->path >= 0 && row->path < 6 && row->dirfd < row->path);
            CHECK(row->flags >= NONE && row->flags < 6);
        }
        if (row->kind == TWO_PATHS) {
            CHECK(row->path2 > row->path && row->path2 < 6);
            CHECK(row->dirfd == NONE || row->dirfd2 == row->path2 - 1);
        }
    }
    CHECK(table_row(0x40000000L) == NULL); /* x32 */
    CHECK(table_row(-1) == NULL);
}

int main(void) {
    test_headers();
    test_paths();
    test_rows();
    return harness_end();
}
