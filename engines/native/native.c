#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/types.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "native.h"

/*
 * Written out, because the headers of older distributions lack them: the number is the same on
 * every architecture, and the structure is that of mount_setattr(2).
 */
enum { NR_OPEN_TREE = 428, NR_MOVE_MOUNT = 429, NR_MOUNT_SETATTR = 442 };
enum { RECURSIVE = 0x8000 };                  /* AT_RECURSIVE */
enum { CLONE_TREE = 1 };                      /* OPEN_TREE_CLONE */
enum { FROM_EMPTY_PATH = 4 };                 /* MOVE_MOUNT_F_EMPTY_PATH */
static const uint64_t ATTRIBUTE_READONLY = 1; /* MOUNT_ATTR_RDONLY */

struct mount_attributes {
    uint64_t set;
    uint64_t clear;
    uint64_t propagation;
    uint64_t user_namespace;
};

int udocker_unshare(int flags) {
    return unshare(flags);
}

int udocker_setns(int descriptor, int kind) {
    return setns(descriptor, kind);
}

int udocker_mount(const char *source, const char *target, const char *kind, unsigned long flags,
                  const char *data) {
    return mount(source, target, kind, flags, data);
}

int udocker_mount_readonly(const char *target) {
    struct mount_attributes attributes = {.set = ATTRIBUTE_READONLY};
    return (int)syscall(NR_MOUNT_SETATTR, -100 /* AT_FDCWD */, target, RECURSIVE, &attributes,
                        sizeof attributes);
}

int udocker_unmount(const char *target) {
    return umount2(target, MNT_DETACH);
}

int udocker_pivot_here(void) {
    return (int)syscall(SYS_pivot_root, ".", ".");
}

/* In the child of udocker_clone_root: 0, or what went wrong. */
static int clone_root(int user_namespace, int mount_namespace, int slot) {
    /* The user namespace first: being its owner gives the capabilities that the rest wants. */
    if (setns(user_namespace, CLONE_NEWUSER) != 0 || setns(mount_namespace, CLONE_NEWNS) != 0)
        return errno;
    int tree = (int)syscall(NR_OPEN_TREE, -100 /* AT_FDCWD */, "/", CLONE_TREE | O_CLOEXEC);
    if (tree < 0)
        return errno;
    int result = dup3(tree, slot, O_CLOEXEC);
    int failed = result < 0 ? errno : 0;
    close(tree);
    return failed;
}

int udocker_clone_root(int user_namespace, int mount_namespace, int slot) {
    /*
     * Nobody comes back from another user namespace, so a child goes there; it has our descriptors
     * and not a copy of them. With no signal at its end it can be waited for even where SIGCHLD
     * is ignored.
     */
    pid_t child = (pid_t)syscall(SYS_clone, CLONE_FILES, NULL, NULL, NULL, NULL);
    if (child < 0)
        return -1;
    if (child == 0)
        _exit(clone_root(user_namespace, mount_namespace, slot));
    int status;
    while (waitpid(child, &status, __WALL) < 0)
        if (errno != EINTR)
            return -1;
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
    return errno == 0 ? 0 : -1;
}

int udocker_attach(int tree, const char *target) {
    return (int)syscall(NR_MOVE_MOUNT, tree, "", -100 /* AT_FDCWD */, target, FROM_EMPTY_PATH);
}

int udocker_set_hostname(const char *name, size_t size) {
    return sethostname(name, size);
}

int udocker_filter_calls(const char *instructions, unsigned short count) {
    struct sock_fprog program = {.len = count, .filter = (struct sock_filter *)instructions};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

int udocker_filter_refusal(void) {
    /* Asked for a filter at no address a kernel that has filters says EFAULT. */
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) == 0 || errno == EFAULT)
        return 0;
    return errno;
}

int udocker_set_parent_death_signal(int signal) {
    return prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0);
}

int udocker_become_subreaper(void) {
    return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}
