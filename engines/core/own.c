#include "own.h"

#include "quick.h"

enum {
    O_NOFOLLOW = 0400000,
    RESOLVE_NO_SYMLINKS = 4,
    RESOLVE_BENEATH = 8,
    RESOLVE_IN_ROOT = 16,
    PR_SET_SECCOMP = 22,
    SECCOMP_SET_MODE_FILTER = 1,
};

struct open_how {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};

/* Opening for writing is refused on a read-only mount; O_CREAT alone only where it would create. */
static long open_readonly(long flags, long mode, const char *host) {
    if ((flags & O_ACCMODE) != O_RDONLY || flags & (O_TRUNC | O_TMPFILE_BIT)) {
        return flags & O_PATH ? kernel(NR_openat, AT_FDCWD, (long)host, flags, mode, 0, 0) : -EROFS;
    }
    long result = kernel(NR_openat, AT_FDCWD, (long)host, flags & ~(long)O_CREAT, mode, 0, 0);
    return result == -ENOENT && flags & O_CREAT ? -EROFS : result;
}

/* Without the walk, where there are no links; -ENOSYS where it is needed. */
static long quick_open_at(struct process *process, long dirfd, const char *path, long flags,
                          long mode) {
    bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC | O_TMPFILE_BIT);
    struct shape shape;
    if ((writes && process->guest.has_readonly) || !quick_shape(&process->guest, path, &shape)) {
        return -ENOSYS;
    }
    long result;
    if (shape.is_single && !(flags & O_PATH)) {
        result = kernel(NR_openat, dirfd, (long)path, flags | O_NOFOLLOW, mode, 0, 0);
    } else {
        result = quick_open(&process->guest, dirfd, path, &shape, flags, mode);
    }
    return result == -ELOOP && !(flags & O_NOFOLLOW) ? -ENOSYS : result;
}

static long open_at(struct process *process, long dirfd, const char *path, long flags, long mode,
                    struct workspace *space) {
    long quick = quick_open_at(process, dirfd, path, flags, mode);
    if (quick != -ENOSYS) {
        return quick;
    }
    bool exclusive = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
    enum last last = flags & O_NOFOLLOW || exclusive ? KEEP : FOLLOW;
    long result = calls_resolve(process, dirfd, path, last, space);
    if (result < 0) {
        return result;
    }
    if (on_readonly_mount(process, space)) {
        return open_readonly(flags, mode, space->host);
    }
    return kernel(NR_openat, AT_FDCWD, (long)space->host, flags, mode, 0, 0);
}

static long call_openat2(struct process *process, const struct call *call,
                         struct workspace *space) {
    const long *a = call->argument;
    struct open_how how;
    if (a[3] < (long)sizeof how) {
        return -EINVAL;
    }
    if (!memory_is_there((const void *)a[2], sizeof how)) {
        return -EFAULT;
    }
    copy_bytes((char *)&how, (const char *)a[2], sizeof how);
    if (how.resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) {
        /* The kernel keeps the walk inside a directory that the guest has open. */
        return (int)a[0] == AT_FDCWD || ((const char *)a[1])[0] != '/' ||
                       how.resolve & RESOLVE_IN_ROOT
                   ? pass(call)
                   : -ENOENT;
    }
    enum last last = how.flags & O_NOFOLLOW || how.resolve & RESOLVE_NO_SYMLINKS ? KEEP : FOLLOW;
    long result = calls_resolve(process, a[0], (const char *)a[1], last, space);
    if (result < 0) {
        return result;
    }
    bool writes = (how.flags & O_ACCMODE) != O_RDONLY || how.flags & (O_CREAT | O_TRUNC);
    if (writes && on_readonly_mount(process, space)) {
        return -EROFS;
    }
    return kernel(NR_openat2, AT_FDCWD, (long)space->host, (long)&how, sizeof how, 0, 0);
}

static long call_getcwd(struct process *process, const struct call *call, struct workspace *space) {
    long size = path_of_directory(&process->guest, AT_FDCWD, space);
    if (size < 0) {
        return size;
    }
    if (call->argument[1] < size + 1) {
        return -ERANGE;
    }
    if (!memory_is_there((const void *)call->argument[0], (size_t)size + 1)) {
        return -EFAULT;
    }
    copy_bytes((char *)call->argument[0], space->guest, (size_t)size + 1);
    return size + 1;
}

/* The text of a link of /proc to a file is a host path: the guest has its own name for that. */
static long link_of_proc(struct process *process, struct workspace *space, long size) {
    if (own_program(space->host)) {
        size_t length = length_of(process->guest.executable);
        copy_bytes(space->link, process->guest.executable, length);
        return (long)length;
    }
    if (!same_bytes(space->host, "/proc/", 6) || space->link[0] != '/') {
        return size;
    }
    long found = guest_from_host(&process->guest, space->link, (size_t)size, space->kept);
    if (found < 0) {
        return size;
    }
    copy_bytes(space->link, space->kept, (size_t)found);
    return found;
}

static long read_link_at(struct process *process, long dirfd, const char *path, char *target,
                         long room, struct workspace *space) {
    if ((int)dirfd != AT_FDCWD && memory_is_there(path, 1) && path[0] == '\0') {
        return kernel(NR_readlinkat, dirfd, (long)path, (long)target, room, 0, 0);
    }
    long result = path_resolve(&process->guest, dirfd, path, KEEP, space);
    if (result < 0) {
        return result;
    }
    long size =
        kernel(NR_readlinkat, AT_FDCWD, (long)space->host, (long)space->link, PATH_SIZE, 0, 0);
    if (size < 0) {
        return size;
    }
    if (room <= 0) {
        return -EINVAL;
    }
    size = link_of_proc(process, space, size);
    size = size < room ? size : room;
    if (!memory_is_there(target, (size_t)size)) {
        return -EFAULT;
    }
    copy_bytes(target, space->link, (size_t)size);
    return size;
}

static long symlink_at(struct process *process, const char *text, long dirfd, const char *path,
                       struct workspace *space) {
    long result = path_resolve(&process->guest, dirfd, path, KEEP, space);
    if (result < 0) {
        return result;
    }
    if (on_readonly_mount(process, space)) {
        return -EROFS;
    }
    return kernel(NR_symlinkat, (long)text, AT_FDCWD, (long)space->host, 0, 0, 0);
}

/* The root that the guest has is the only one. */
static long call_chroot(struct process *process, const struct call *call, struct workspace *space) {
    const char *path = (const char *)call->argument[0];
    long result = path_resolve(&process->guest, AT_FDCWD, path, FOLLOW, space);
    if (result < 0) {
        return result;
    }
    return same_text(space->guest, "/") && process->user.effective == 0 ? 0 : -EPERM;
}

/* A filter of the guest's would meet the engine's calls as well: it is taken and not obeyed. */
static long call_seccomp(const struct call *call) {
    const long *a = call->argument;
    if (a[0] == SECCOMP_SET_MODE_FILTER) {
        return a[1] & ~7L ? -EINVAL : 0;
    }
    return pass(call);
}

static long call_prctl(const struct call *call) {
    return call->argument[0] == PR_SET_SECCOMP ? 0 : pass(call);
}

static long with_space(struct process *process, const struct call *call, struct workspace *space) {
    const long *a = call->argument;
    switch (call->number) {
#ifdef ARCH_HAS_LEGACY
    case NR_open:
        return open_at(process, AT_FDCWD, (const char *)a[0], a[1], a[2], space);
    case NR_creat:
        return open_at(process, AT_FDCWD, (const char *)a[0], O_CREAT | O_WRONLY | O_TRUNC, a[1],
                       space);
    case NR_readlink:
        return read_link_at(process, AT_FDCWD, (const char *)a[0], (char *)a[1], (int)a[2], space);
    case NR_symlink:
        return symlink_at(process, (const char *)a[0], AT_FDCWD, (const char *)a[1], space);
#endif
    case NR_openat:
        return open_at(process, a[0], (const char *)a[1], a[2], a[3], space);
    case NR_openat2:
        return call_openat2(process, call, space);
    case NR_readlinkat:
        return read_link_at(process, a[0], (const char *)a[1], (char *)a[2], (int)a[3], space);
    case NR_symlinkat:
        return symlink_at(process, (const char *)a[0], a[1], (const char *)a[2], space);
    case NR_getcwd:
        return call_getcwd(process, call, space);
    case NR_chroot:
        return call_chroot(process, call, space);
#ifdef ARCH_HAS_LEGACY
    case NR_stat:
    case NR_lstat:
    case NR_chown:
    case NR_lchown:
#endif
    case NR_fstat:
    case NR_newfstatat:
    case NR_statx:
    case NR_fchown:
    case NR_fchownat:
        return own_owner_call(process, call, space);
    default:
        return own_socket_call(process, call, space);
    }
}

long own_carry_out(struct process *process, const struct call *call, uint64_t *mask) {
    const long *a = call->argument;
    switch (call->number) {
    case NR_execve:
        return process->execute(process, AT_FDCWD, (const char *)a[0], (char *const *)a[1],
                                (char *const *)a[2], 0);
    case NR_execveat:
        return process->execute(process, a[0], (const char *)a[1], (char *const *)a[2],
                                (char *const *)a[3], a[4]);
    case NR_mmap:
        return own_map_call(process, call);
    case NR_prctl:
        return call_prctl(call);
    case NR_seccomp:
        return call_seccomp(call);
    case NR_getuid:
    case NR_getgid:
    case NR_geteuid:
    case NR_getegid:
    case NR_setuid:
    case NR_setgid:
    case NR_setreuid:
    case NR_setregid:
    case NR_setgroups:
    case NR_setresuid:
    case NR_getresuid:
    case NR_setresgid:
    case NR_getresgid:
    case NR_setfsuid:
    case NR_setfsgid:
        return own_identity_call(process, call);
    case NR_rt_sigaction:
    case NR_rt_sigprocmask:
    case NR_rt_sigsuspend:
    case NR_pselect6:
    case NR_ppoll:
    case NR_epoll_pwait:
    case NR_epoll_pwait2:
        return own_signal_call(process, call, mask);
    default:
        break;
    }
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return -ENOMEM;
    }
    long result = with_space(process, call, space);
    workspace_give_back(space);
    return result;
}
