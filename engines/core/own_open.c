/* open(2) in all its forms. */
#include "own.h"
#include "proc_files.h"
#include "quick.h"

/* What is at host, of a mount that is read-only: devices and pipes may be written to all the same.
 */
static long open_readonly(const struct workspace *space, long flags, long mode) {
    const char *host = space->host;
    struct status status;
    bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_TRUNC | O_TMPFILE_BIT);
    if (flags & O_PATH || !(writes || flags & O_CREAT)) {
        return kernel(NR_openat, AT_FDCWD, (long)host, flags, mode, 0, 0);
    }
    long result = kernel(NR_newfstatat, AT_FDCWD, (long)host, (long)&status,
                         space->is_magic ? 0 : AT_SYMLINK_NOFOLLOW, 0, 0);
    if (result < 0) {
        return result == -ENOENT && flags & O_CREAT ? -EROFS : result;
    }
    if (flags & O_CREAT && flags & O_EXCL) {
        return -EEXIST;
    }
    unsigned kind = status.mode & S_IFMT;
    if (writes && (kind == S_IFREG || flags & O_TMPFILE_BIT)) {
        return kind == S_IFDIR || !(flags & O_TMPFILE_BIT) ? -EROFS : -ENOTDIR;
    }
    return kernel(NR_openat, AT_FDCWD, (long)host, flags & ~(long)O_CREAT, mode, 0, 0);
}

/* Without the walk, where there are no links; -ENOSYS where it is needed. */
static long quick_open_at(struct process *process, long dirfd, const char *path, long flags,
                          long mode, char *host) {
    bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC | O_TMPFILE_BIT);
    struct shape shape;
    if ((writes && process->guest.has_readonly) || !quick_shape(&process->guest, path, &shape) ||
        shape.may_be_translated) {
        return -ENOSYS;
    }
    if (shape.is_single && flags & O_NOFOLLOW) {
        return kernel(NR_openat, dirfd, (long)path, flags, mode, 0, 0);
    }
    /* With O_DIRECTORY a link is no directory, and the error does not tell. */
    bool is_plain = shape.is_single && !(flags & (O_PATH | O_DIRECTORY));
    long result = is_plain ? kernel(NR_openat, dirfd, (long)path, flags | O_NOFOLLOW, mode, 0, 0)
                           : quick_open(&process->guest, dirfd, path, &shape, flags, mode, host);
    return result == -ELOOP ? -ENOSYS : result;
}

static enum last last_of(long flags) {
    bool exclusive = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
    return flags & O_NOFOLLOW || exclusive ? KEEP : FOLLOW;
}

static long open_at(struct process *process, long dirfd, const char *path, long flags, long mode,
                    struct workspace *space) {
    long result = quick_open_at(process, dirfd, path, flags, mode, space->host);
    if (result != -ENOSYS) {
        return result;
    }
    result = path_resolve(&process->guest, dirfd, path, last_of(flags), space);
    if (result < 0) {
        return result;
    }
    result = proc_open(&process->guest, space->host, flags);
    if (result != -ENOSYS) {
        return result;
    }
    if (space->mount->readonly) {
        return open_readonly(space, flags, mode);
    }
    return kernel(NR_openat, AT_FDCWD, (long)space->host, flags, mode, 0, 0);
}

/* The argument that may grow: what this does not know of it must be zero. */
static long read_how(const struct call *call, struct open_how *how) {
    const char *given = (const char *)call->argument[2];
    size_t size = (size_t)call->argument[3];
    enum { PAGE = 4096 };
    if (size < sizeof *how || size > PAGE) {
        return size > PAGE ? -E2BIG : -EINVAL;
    }
    if (!memory_is_there(given, size)) {
        return -EFAULT;
    }
    copy_bytes((char *)how, given, sizeof *how);
    for (size_t at = sizeof *how; at < size; at++) {
        if (given[at] != 0) {
            return -E2BIG;
        }
    }
    return 0;
}

static long call_openat2(struct process *process, const struct call *call,
                         struct workspace *space) {
    const long *a = call->argument;
    const uint64_t unknown = ~(uint64_t)(RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS |
                                         RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_IN_ROOT);
    struct open_how how;
    long result = read_how(call, &how);
    if (result < 0) {
        return result;
    }
    /* The kernel knows what goes together, and says so before it looks at the path. */
    result = kernel(NR_openat2, AT_FDCWD, (long)"", (long)&how, sizeof how, 0, 0);
    if (result != -ENOENT) {
        return result;
    }
    long flags = (long)how.flags;
    result = path_resolve_within(&process->guest, a[0], (const char *)a[1], last_of(flags),
                                 how.resolve, space);
    if (result < 0) {
        return result;
    }
    if (space->mount->readonly) {
        return open_readonly(space, flags, (long)how.mode);
    }
    /* The path has no links any more, but from the root of the host it crosses mounts. */
    how.resolve &= unknown | RESOLVE_NO_MAGICLINKS;
    return kernel(NR_openat2, AT_FDCWD, (long)space->host, (long)&how, sizeof how, 0, 0);
}

long own_open_call(struct process *process, const struct call *call, struct workspace *space) {
    const long *a = call->argument;
    switch (call->number) {
#ifdef ARCH_HAS_LEGACY
    case NR_open:
        return open_at(process, AT_FDCWD, (const char *)a[0], a[1], a[2], space);
    case NR_creat:
        return open_at(process, AT_FDCWD, (const char *)a[0], O_CREAT | O_WRONLY | O_TRUNC, a[1],
                       space);
#endif
    case NR_openat2:
        return call_openat2(process, call, space);
    default:
        return open_at(process, a[0], (const char *)a[1], a[2], a[3], space);
    }
}
