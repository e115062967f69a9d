/* open(2) in all its forms. */
#include "own.h"
#include "pin.h"
#include "proc_files.h"
#include "proc_status.h"
#include "quick.h"

enum { R_OK = 4, W_OK = 2, TRIES = 8 };

/* What has been resolved. */
static long open_host(const struct workspace *space, long flags, long mode) {
    return space->is_magic ? kernel(NR_openat, AT_FDCWD, (long)space->host, flags, mode, 0, 0)
                           : open_resolved_host(space->host, flags, mode);
}

/* What is at host, of a mount that is read-only: devices and pipes may be written to all the same.
 */
static long open_readonly(const struct workspace *space, long flags, long mode) {
    const char *host = space->host;
    struct status status;
    bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_TRUNC | O_TMPFILE_BIT);
    if (flags & O_PATH || !(writes || flags & O_CREAT)) {
        return open_host(space, flags, mode);
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
    return open_host(space, flags & ~(long)O_CREAT, mode);
}

/* Of an image: its containers are not to meet in it. */
static bool is_pipe(long dirfd, const char *path, long flags) {
    struct status status;
    return kernel(NR_newfstatat, dirfd, (long)path, (long)&status, flags, 0, 0) == 0 &&
           (status.mode & S_IFMT) == S_IFIFO;
}

/* In a directory of which the kind is known; it is opened to be read only. */
static long quick_open_in_union(struct process *process, enum folder folder, long dirfd,
                                const char *path, const struct shape *shape, long flags,
                                char *host) {
    const struct guest *guest = &process->guest;
    if (flags & O_PATH) {
        return -ENOSYS;
    }
    long result = -ENOENT;
    if (folder == MERGED) {
        if (quick_path(guest, dirfd, path, shape, UPPER, host) < 0) {
            return -ENOSYS;
        }
        /* What is known may have changed just now, and any part of the path be a link. */
        result = open_resolved_host(host, flags | O_NOFOLLOW, 0);
    }
    if (result == -ENOENT) {
        if (quick_path(guest, dirfd, path, shape, LOWER, host) < 0 ||
            (!(flags & O_DIRECTORY) && is_pipe(AT_FDCWD, host, AT_SYMLINK_NOFOLLOW))) {
            return -ENOSYS;
        }
        result = kernel(NR_openat, AT_FDCWD, (long)host, flags | O_NOFOLLOW, 0, 0, 0);
    }
    /* A link; with O_DIRECTORY it is no directory; or a whiteout. */
    bool is_no_answer = result == -ELOOP || result == -ENOTDIR || result == -ENXIO ||
                        (result == -EACCES && folder == MERGED);
    return is_no_answer ? -ENOSYS : result;
}

/* Root opens what the mode does not let the owner open. */
static bool take_rights(struct process *process, struct workspace *space) {
    if (!persona_can(persona_of(process), CAP_DAC_OVERRIDE) || space->mount->target_size != 0 ||
        (process->guest.has_union && union_to_change(&process->guest, space, true) < 0)) {
        return false;
    }
    long descriptor = space->is_magic ? pin_open_at(AT_FDCWD, space->host, O_PATH)
                                      : pin_open(space->host, O_PATH | O_NOFOLLOW);
    if (descriptor < 0) {
        return false;
    }
    bool is_taken = let_root_in(process, descriptor);
    pin_end(descriptor);
    return is_taken;
}

/* Open what may not be there yet: if it is made, it belongs to the caller. */
static long open_for_others(struct process *process, const struct workspace *space, long flags,
                            long mode) {
    bool is_nameless = flags & O_TMPFILE_BIT;
    long only = is_nameless ? flags : flags | O_CREAT | O_EXCL;
    long result = open_host(space, only, mode);
    if (result >= 0) {
        give_new(process, result);
        return result;
    }
    if (result != -EEXIST || flags & O_EXCL) {
        return result;
    }
    return open_host(space, flags, mode);
}

/* Whether what is opened may be made, for somebody whom the host does not know. */
static bool makes_others(struct process *process, long flags) {
    return flags & (O_CREAT | O_TMPFILE_BIT) && !(flags & O_PATH) && makes_for_others(process);
}

/* Without the walk, where there are no links; -ENOSYS where it is needed. */
static long quick_open_at(struct process *process, long dirfd, const char *path, long flags,
                          long mode, char *host) {
    bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC | O_TMPFILE_BIT);
    struct shape shape;
    if ((writes && process->guest.has_readonly) || !quick_shape(&process->guest, path, &shape) ||
        shape.may_be_translated || makes_others(process, flags) ||
        (writes && permission_is_asked(process))) {
        return -ENOSYS;
    }
    enum folder folder = quick_folder(&process->guest, dirfd, path, &shape);
    if (folder == UNKNOWN_FOLDER || (writes && folder != NATIVE)) {
        return -ENOSYS;
    }
    if (folder == MERGED || (folder == ONLY_LOWER && shape.is_absolute)) {
        return quick_open_in_union(process, folder, dirfd, path, &shape, flags, host);
    }
    if (folder == ONLY_LOWER && !(flags & (O_PATH | O_DIRECTORY)) &&
        is_pipe(dirfd, path, AT_SYMLINK_NOFOLLOW)) {
        return -ENOSYS;
    }
    if (shape.is_single && flags & O_NOFOLLOW) {
        return kernel(NR_openat, dirfd, (long)path, flags, mode, 0, 0);
    }
    /* With O_DIRECTORY a link is no directory, and the error does not tell. */
    bool is_plain = shape.is_single && !(flags & (O_PATH | O_DIRECTORY));
    long result = is_plain ? kernel(NR_openat, dirfd, (long)path, flags | O_NOFOLLOW, mode, 0, 0)
                           : quick_open(&process->guest, dirfd, path, &shape, flags, mode, host);
    /* It may be a whiteout by now, or lie below one. */
    bool may_be_whiteout =
        (result == -ENXIO || result == -EACCES || result == -ENOTDIR) && process->guest.has_union;
    return result == -ELOOP || may_be_whiteout ? -ENOSYS : result;
}

static enum last last_of(long flags) {
    bool exclusive = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
    return flags & O_NOFOLLOW || exclusive ? KEEP : FOLLOW;
}

/* How a resolved path is opened: as openat(2) or as openat2(2) does it. */
struct opening {
    long flags, mode;
    const struct open_how *how; /* NULL: as openat(2) */
};

static struct call opening_call(const struct opening *opening, const char *host) {
    return opening->how != NULL
               ? (struct call){NR_openat2,
                               {AT_FDCWD, (long)host, (long)opening->how, sizeof *opening->how}}
               : (struct call){NR_openat, {AT_FDCWD, (long)host, opening->flags, opening->mode}};
}

static long open_as_told(const struct opening *opening, const struct workspace *space) {
    if (opening->how == NULL) {
        return open_host(space, opening->flags, opening->mode);
    }
    return space->is_magic ? kernel(NR_openat2, AT_FDCWD, (long)space->host, (long)opening->how,
                                    sizeof *opening->how, 0, 0)
                           : open_resolved_how(space->host, opening->how);
}

static bool is_written(long flags) {
    return !(flags & O_PATH) &&
           ((flags & O_ACCMODE) != O_RDONLY || flags & (O_TRUNC | O_TMPFILE_BIT));
}

/* What is in the lower directory is to be written: 0 when it is a copy in the upper one, or needs
 * none. */
static long prepare_to_write(struct process *process, const struct opening *opening,
                             struct workspace *space) {
    struct status status;
    bool is_temporary = opening->flags & O_TMPFILE_BIT;
    long result = kernel(NR_newfstatat, AT_FDCWD, (long)space->host, (long)&status,
                         space->is_magic ? 0 : AT_SYMLINK_NOFOLLOW, 0, 0);
    if (result < 0) {
        return result;
    }
    unsigned kind = status.mode & S_IFMT;
    if (kind == S_IFIFO) {
        return union_to_change(&process->guest, space, false);
    }
    if (kind != S_IFREG && !(kind == S_IFDIR && is_temporary)) {
        return kind == S_IFDIR ? -EISDIR : 0; /* a device holds nothing on the disk */
    }
    if (!is_temporary) {
        result = kernel(NR_faccessat, AT_FDCWD, (long)space->host, W_OK, 0, 0, 0);
    }
    if (result == -EACCES && status.mode & 0200) {
        result = 0; /* the tree is another user's, and the copy will be ours */
    }
    if (result < 0 && result != -EROFS) {
        return result;
    }
    /* Without the data only if nothing can go wrong any more. */
    bool cuts_off = opening->flags & O_TRUNC && !(opening->flags & O_DIRECTORY) && !space->has_end;
    return union_to_change(&process->guest, space, !cuts_off);
}

static uint64_t may_be_missing(long flags) {
    return flags & O_CREAT && !(flags & (O_PATH | O_TMPFILE_BIT)) ? MAY_BE_MISSING : 0;
}

/* A link that somebody else makes there meanwhile is not for the kernel to follow: -ELOOP. */
static long make_in_union(struct process *process, const struct opening *opening,
                          struct workspace *space) {
    struct open_how how;
    struct opening only = *opening;
    only.flags |= O_NOFOLLOW;
    if (opening->how != NULL) {
        how = *opening->how;
        how.flags |= O_NOFOLLOW;
        only.how = &how;
    }
    const struct call call = opening_call(&only, space->host);
    return union_create(&process->guest, &call, 1, space);
}

/* Open what has been resolved in a union. -EAGAIN: it is no more what it was then. */
static long open_in_union(struct process *process, struct opening *opening,
                          struct workspace *space) {
    bool may_create = may_be_missing(opening->flags) != 0;
    if (may_create && space->has_end) {
        return -EISDIR;
    }
    if (may_create && space->layer == NOWHERE && !space->is_magic) {
        long result = make_in_union(process, opening, space);
        if (result >= 0 && makes_others(process, opening->flags)) {
            give_new(process, result);
        }
        bool is_there = result == -EEXIST || result == -ELOOP;
        return is_there && !(opening->flags & O_EXCL) ? -EAGAIN : result;
    }
    bool is_lower = space->layer == LOWER || (space->is_magic && space->is_lower);
    if (is_lower && may_create) {
        struct status status;
        if (opening->flags & O_EXCL) {
            return -EEXIST;
        }
        if (kernel(NR_newfstatat, AT_FDCWD, (long)space->host, (long)&status,
                   space->is_magic ? 0 : AT_SYMLINK_NOFOLLOW, 0, 0) == 0 &&
            (status.mode & S_IFMT) == S_IFDIR) {
            return -EISDIR;
        }
    }
    if (is_lower && (is_written(opening->flags) ||
                     (!(opening->flags & (O_PATH | O_DIRECTORY)) &&
                      is_pipe(AT_FDCWD, space->host, space->is_magic ? 0 : AT_SYMLINK_NOFOLLOW)))) {
        long result = prepare_to_write(process, opening, space);
        if (result < 0) {
            return result == -ENOENT ? -EAGAIN : result;
        }
    }
    struct open_how how;
    if (is_lower && may_create && opening->how == NULL) {
        opening->flags &= ~(long)O_CREAT; /* it is there */
    } else if (is_lower && may_create) {
        how = *opening->how;
        how.mode = 0;
        how.flags &= ~(uint64_t)O_CREAT;
        opening->how = &how;
    }
    long result = open_as_told(opening, space);
    if (result >= 0 && opening->flags & O_TMPFILE_BIT && makes_others(process, opening->flags)) {
        give_new(process, result);
    }
    if ((result != -ENXIO && result != -EACCES) || space->layer != UPPER) {
        return result;
    }
    struct status status; /* it may have become a whiteout */
    bool is_whiteout = kernel(NR_newfstatat, AT_FDCWD, (long)space->host, (long)&status,
                              AT_SYMLINK_NOFOLLOW, 0, 0) == 0 &&
                       union_is_whiteout(&status);
    return is_whiteout ? -EAGAIN : result;
}

/* Whether the caller may open it, or make it. 0 or -errno. */
static long may_open(struct process *process, const struct opening *opening,
                     const struct workspace *space) {
    long flags = opening->flags;
    if (flags & O_PATH || !permission_is_asked(process)) {
        return 0;
    }
    if (may_be_missing(flags)) {
        long result = permission_to_make(process, space);
        if (result < 0) {
            return result;
        }
    }
    unsigned wanted = (flags & O_ACCMODE) == O_WRONLY ? 0 : R_OK;
    return permission_to_use(process, space, is_written(flags) ? wanted | W_OK : wanted);
}

static long open_resolved(struct process *process, struct opening *opening,
                          struct workspace *space) {
    long allowed = may_open(process, opening, space);
    if (allowed < 0) {
        return allowed;
    }
    if (space->mount->readonly) {
        return open_readonly(space, opening->flags, opening->mode);
    }
    if (process->guest.has_union && !space->is_deep &&
        (space->is_magic ? space->is_lower : space->mount->lower != NULL)) {
        return open_in_union(process, opening, space);
    }
    if (opening->how == NULL && makes_others(process, opening->flags)) {
        return open_for_others(process, space, opening->flags, opening->mode);
    }
    return open_as_told(opening, space);
}

/* The same, and what /proc says of the guest, and what only root may open. */
static long open_as_guest(struct process *process, long flags, long mode,
                          const struct open_how *how, struct workspace *space) {
    long result = proc_open(&process->guest, space->host, flags);
    if (result == -ENOSYS) {
        result = proc_status_open(process, space->host, flags);
    }
    if (result != -ENOSYS) {
        return result;
    }
    struct opening opening = {flags, mode, how};
    result = open_resolved(process, &opening, space);
    if (result == -EACCES && take_rights(process, space)) {
        opening = (struct opening){flags, mode, how};
        result = open_resolved(process, &opening, space);
    }
    return result;
}

static long open_at(struct process *process, long dirfd, const char *path, long flags, long mode,
                    struct workspace *space) {
    bool follows = last_of(flags) == FOLLOW;
    const char *straight =
        follows && quick_past_links(&process->guest, path, space->kept) ? space->kept : path;
    long result = quick_open_at(process, dirfd, straight, flags, mode, space->host);
    result = result == -EACCES ? -ENOSYS : result;
    if (result >= 0 && !(flags & O_PATH) && permission_may_lack(process, result)) {
        kernel(NR_close, result, 0, 0, 0, 0, 0);
        result = -ENOSYS;
    }
    for (int count = 0; count < TRIES && (result == -ENOSYS || result == -EAGAIN); count++) {
        result = path_resolve_within(&process->guest, dirfd, path, last_of(flags),
                                     may_be_missing(flags), space);
        if (result < 0) {
            return result;
        }
        result = open_as_guest(process, flags, mode, NULL, space);
        if (result == -ELOOP && last_of(flags) == FOLLOW) {
            result = -EAGAIN; /* a link came into the path just now */
            continue;
        }
        if (result == -ENOSYS || (result == -EAGAIN && !process->guest.has_union)) {
            return result;
        }
    }
    return result;
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
    uint64_t limits = how.resolve | may_be_missing(flags);
    /* The path will have no links any more, but from the root of the host it crosses mounts. */
    how.resolve &= unknown | RESOLVE_NO_MAGICLINKS;
    for (int count = 0; count < TRIES; count++) {
        result = path_resolve_within(&process->guest, a[0], (const char *)a[1], last_of(flags),
                                     limits, space);
        result = result < 0 ? result : open_as_guest(process, flags, (long)how.mode, &how, space);
        if (result != -EAGAIN || !process->guest.has_union) {
            break;
        }
    }
    return result;
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
