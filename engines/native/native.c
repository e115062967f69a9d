#define _GNU_SOURCE
#include <errno.h>
#include <linux/types.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "native.h"

/*
 * Written out, because the headers of older distributions lack them: the number is the same on
 * every architecture, and the structure is that of mount_setattr(2).
 */
enum { NR_MOUNT_SETATTR = 442 };
enum { RECURSIVE = 0x8000 };                  /* AT_RECURSIVE */
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

int udocker_set_hostname(const char *name, size_t size) {
    return sethostname(name, size);
}

int udocker_set_parent_death_signal(int signal) {
    return prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0);
}

int udocker_become_subreaper(void) {
    return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}
