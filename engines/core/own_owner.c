/* Owners: what is the user's on the host is the guest's own, and changing owners is not refused. */
#include "own.h"
#include "quick.h"

enum { F_OK = 0, S_IFMT = 0170000, S_IFLNK = 0120000, O_NOFOLLOW = 0400000 };

/* struct stat of x86_64 and struct statx, up to the owner. */
struct status {
    uint64_t device, inode, links;
    uint32_t mode, uid, gid;
};

struct extended_status {
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t links, uid, gid;
};

static unsigned shown(unsigned id, unsigned host, unsigned guest) {
    return id == host ? guest : id;
}

static void show(const struct process *process, uint32_t *uid, uint32_t *gid) {
    const struct guest *guest = &process->guest;
    *uid = shown(*uid, guest->host_uid, guest->uid);
    *gid = shown(*gid, guest->host_gid, guest->gid);
}

/* Without the walk, where there are no links; -ENOSYS where it is needed. */
static long quick_stat(struct process *process, long dirfd, const char *path, struct status *status,
                       long flags) {
    struct shape shape;
    bool keeps = flags & AT_SYMLINK_NOFOLLOW;
    if (!quick_shape(&process->guest, path, &shape)) {
        return -ENOSYS;
    }
    if (shape.is_single) {
        long result = kernel(NR_newfstatat, dirfd, (long)path, (long)status,
                             flags | AT_SYMLINK_NOFOLLOW, 0, 0);
        return result == 0 && !keeps && (status->mode & S_IFMT) == S_IFLNK ? -ENOSYS : result;
    }
    long descriptor = quick_open(&process->guest, dirfd, path, &shape,
                                 O_PATH | O_CLOEXEC | (keeps ? O_NOFOLLOW : 0), 0);
    if (descriptor < 0) {
        return descriptor == -ELOOP ? -ENOSYS : descriptor;
    }
    long result = kernel(NR_newfstatat, descriptor, (long)"", (long)status, AT_EMPTY_PATH, 0, 0);
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    return result;
}

static long stat_at(struct process *process, long dirfd, const char *path, struct status *status,
                    long flags, struct workspace *space) {
    bool of_descriptor =
        path == NULL || (flags & AT_EMPTY_PATH && memory_is_there(path, 1) && path[0] == '\0');
    long quick = of_descriptor ? -ENOSYS : quick_stat(process, dirfd, path, status, flags);
    if (quick != -ENOSYS) {
        if (quick == 0) {
            show(process, &status->uid, &status->gid);
        }
        return quick;
    }
    if (!of_descriptor) {
        long result =
            calls_resolve(process, dirfd, path, flags & AT_SYMLINK_NOFOLLOW ? KEEP : FOLLOW, space);
        if (result < 0) {
            return result;
        }
        dirfd = AT_FDCWD;
        path = space->host;
    }
    long result = kernel(NR_newfstatat, dirfd, (long)path, (long)status, flags, 0, 0);
    if (result == 0) {
        show(process, &status->uid, &status->gid);
    }
    return result;
}

static long call_fstat(struct process *process, const struct call *call) {
    long result = pass(call);
    if (result == 0) {
        struct status *status = (struct status *)call->argument[1];
        show(process, &status->uid, &status->gid);
    }
    return result;
}

static long call_statx(struct process *process, const struct call *call, struct workspace *space) {
    struct call changed = *call;
    const char *path = (const char *)call->argument[1];
    long flags = call->argument[2];
    bool of_descriptor =
        path == NULL || (flags & AT_EMPTY_PATH && memory_is_there(path, 1) && path[0] == '\0');
    if (!of_descriptor) {
        long result = calls_resolve(process, call->argument[0], path,
                                    flags & AT_SYMLINK_NOFOLLOW ? KEEP : FOLLOW, space);
        if (result < 0) {
            return result;
        }
        changed.argument[0] = AT_FDCWD;
        changed.argument[1] = (long)space->host;
    }
    long result = pass(&changed);
    if (result == 0) {
        struct extended_status *status = (struct extended_status *)call->argument[4];
        show(process, &status->uid, &status->gid);
    }
    return result;
}

/* Whether the guest may give to uid and gid what is there: root may, others may change nothing. */
static long may_give(const struct process *process, long uid, long gid) {
    bool is_same = ((int)uid == -1 || (unsigned)uid == process->user.effective) &&
                   ((int)gid == -1 || (unsigned)gid == process->group.effective);
    return process->user.effective == 0 || is_same ? 0 : -EPERM;
}

static long chown_at(struct process *process, long dirfd, const char *path, const long *owner,
                     long flags, struct workspace *space) {
    if (flags & AT_EMPTY_PATH && memory_is_there(path, 1) && path[0] == '\0') {
        return may_give(process, owner[0], owner[1]);
    }
    long result =
        calls_resolve(process, dirfd, path, flags & AT_SYMLINK_NOFOLLOW ? KEEP : FOLLOW, space);
    if (result < 0) {
        return result;
    }
    if (on_readonly_mount(process, space)) {
        return -EROFS;
    }
    result = kernel(NR_faccessat2, AT_FDCWD, (long)space->host, F_OK, AT_SYMLINK_NOFOLLOW, 0, 0);
    return result < 0 ? result : may_give(process, owner[0], owner[1]);
}

long own_owner_call(struct process *process, const struct call *call, struct workspace *space) {
    const long *a = call->argument;
    switch (call->number) {
#ifdef ARCH_HAS_LEGACY
    case NR_stat:
        return stat_at(process, AT_FDCWD, (const char *)a[0], (struct status *)a[1], 0, space);
    case NR_lstat:
        return stat_at(process, AT_FDCWD, (const char *)a[0], (struct status *)a[1],
                       AT_SYMLINK_NOFOLLOW, space);
    case NR_chown:
        return chown_at(process, AT_FDCWD, (const char *)a[0], a + 1, 0, space);
    case NR_lchown:
        return chown_at(process, AT_FDCWD, (const char *)a[0], a + 1, AT_SYMLINK_NOFOLLOW, space);
#endif
    case NR_newfstatat:
        return stat_at(process, a[0], (const char *)a[1], (struct status *)a[2], a[3], space);
    case NR_fstat:
        return call_fstat(process, call);
    case NR_statx:
        return call_statx(process, call, space);
    case NR_fchownat:
        return chown_at(process, a[0], (const char *)a[1], a + 2, a[4], space);
    default: { /* fchown */
        long result = kernel(NR_fcntl, a[0], 1 /* F_GETFD */, 0, 0, 0, 0);
        return result < 0 ? result : may_give(process, a[1], a[2]);
    }
    }
}
