/* Making and removing entries of a union. */
#include "pin.h"
#include "union_entry.h"
#include "union_facts.h"
#include "union_work.h"

enum {
    RENAME_EXCHANGE = 2,
    MODE_BITS = 07777,
    ALL_OF_OWNER = 0700,
    W_OF_OWNER = 0200,
    TRIES = 16,   /* that others may have been faster */
    ONCE_MORE = 1 /* they were */
};

static void change_mode(const char *host, unsigned mode) {
    kernel(NR_fchmodat, AT_FDCWD, (long)host, mode & MODE_BITS, 0, 0, 0);
}

/* What was made at space->link comes into its place, where there is a whiteout. */
static long put(const struct guest *guest, struct workspace *space) {
    struct status status;
    long result = host_status(space->link, &status);
    if (result < 0 || !is_folder(&status)) {
        return result < 0 ? result : rename_host(space->link, space->host, 0);
    }
    bool is_closed = (status.mode & ALL_OF_OWNER) != ALL_OF_OWNER;
    if (is_closed) { /* to be moved it must be writable */
        change_mode(space->link, status.mode | ALL_OF_OWNER);
    }
    result = union_make_opaque(guest, space->link, space->guest, length_of(space->guest));
    if (result == 0) {
        result = over_whiteout(space->link, space->host);
    }
    if (is_closed && result == 0) {
        change_mode(space->host, status.mode);
    }
    return result;
}

static bool opens(const struct call *call) {
    return call->number == NR_openat || call->number == NR_openat2;
}

/* Carry the call out in the work directory, and rename what it made over the whiteout. */
static long create_over(const struct guest *guest, const struct call *call, int position,
                        struct workspace *space) {
    struct call changed = *call;
    struct union_lock lock;
    struct status status;
    long result = union_temporary(guest, space->link);
    if (result >= 0) {
        result = union_lock(guest, &lock, true);
    }
    if (result < 0) {
        return result;
    }
    long held = pin(space->host, THE_NAME);
    if (held < -1) {
        union_unlock(guest, &lock);
        return held;
    }
    if (host_status(space->host, &status) == 0 && union_is_whiteout(&status)) {
        changed.argument[position] = (long)space->link;
        result = pass(&changed);
        long placed = result < 0 ? result : put(guest, space);
        if (placed < 0 && result >= 0) {
            if (opens(call)) {
                kernel(NR_close, result, 0, 0, 0, 0, 0);
            }
            remove_host(space->link, host_status(space->link, &status) == 0 && is_folder(&status));
            result = placed;
        }
    } else {
        result = -EAGAIN;
    }
    pin_end(held);
    /* The caller goes on with it, and what was held has no path any more. */
    union_path(space->mount, UPPER, space->guest, length_of(space->guest), space->host);
    union_unlock(guest, &lock);
    return result;
}

static long try_to_prepare(const struct guest *guest, struct workspace *space) {
    struct status status;
    size_t size = length_of(space->guest);
    long result = union_locate(guest, space->mount, space->guest, size, space->host, &status);
    if (result != NOWHERE) {
        return result < 0 ? result : -EEXIST;
    }
    result = union_copy_parent(guest, space->mount, space->guest, size);
    if (result < 0) {
        return result;
    }
    result = host_status(space->host, &status);
    if (result == 0) {
        return union_is_whiteout(&status) ? ONCE_MORE : -EEXIST;
    }
    return result == -ENOENT ? 0 : result;
}

/*
 * Nothing is to be there, and its directory in the upper one. 0, ONCE_MORE: a whiteout is there.
 * Where the directory was removed meanwhile there is a whiteout, too, which is none: once more.
 */
static long prepare(const struct guest *guest, struct workspace *space) {
    long result = -ENOTDIR;
    for (int count = 0; count < TRIES && result == -ENOTDIR; count++) {
        result = try_to_prepare(guest, space);
    }
    return result;
}

/* As a call, but it follows no link, and takes one descriptor only: there may be no other left. */
static long open_in_place(const struct call *call, const char *host) {
    enum { KNOWN = 037777703 }; /* the kernel minds others only in openat2(2) */
    if (call->number == NR_openat) {
        return open_resolved_host(host, call->argument[2] & KNOWN, call->argument[3]);
    }
    struct open_how how = *(const struct open_how *)call->argument[2];
    how.resolve |= RESOLVE_NO_SYMLINKS;
    return kernel(NR_openat2, AT_FDCWD, (long)host, (long)&how, sizeof how, 0, 0);
}

/* What space->link is used for is over then. */
static long create_in_place(struct call *call, int position, struct workspace *space) {
    if (opens(call)) {
        return open_in_place(call, space->host);
    }
    copy_bytes(space->link, space->host, length_of(space->host) + 1);
    call->argument[position] = (long)space->link;
    return pass_held(call, space->link);
}

long union_create(const struct guest *guest, const struct call *call, int position,
                  struct workspace *space) {
    struct call changed = *call;
    bool has_end = space->has_end;
    bool makes_folder = call->number == NR_mkdirat
#ifdef ARCH_HAS_LEGACY
                        || call->number == NR_mkdir
#endif
        ;
    long result = -EAGAIN;
    for (int count = 0; count < TRIES; count++) {
        result = prepare(guest, space);
        if (result < 0) {
            return result;
        }
        if (has_end && !makes_folder) {
            return opens(call) ? -EISDIR : -ENOENT;
        }
        if (result == ONCE_MORE) {
            result = create_over(guest, call, position, space);
        } else {
            result = create_in_place(&changed, position, space);
        }
        /*
         * Somebody was faster: it is there now, or is a whiteout, which nobody may open, or is to
         * lie below one.
         */
        if (result != -EEXIST && result != -EAGAIN && result != -ENXIO && result != -EACCES &&
            result != -ENOTDIR) {
            break;
        }
    }
    return result;
}

long union_clear(const struct guest *guest, struct workspace *space) {
    struct union_lock lock;
    struct status status;
    long result = prepare(guest, space);
    if (result != ONCE_MORE) {
        return result;
    }
    result = union_lock(guest, &lock, false);
    if (result < 0) {
        return result;
    }
    if (host_status(space->host, &status) == 0 && union_is_whiteout(&status)) {
        copy_bytes(space->link, space->host, length_of(space->host) + 1);
        const struct call call = {NR_unlinkat, {AT_FDCWD, (long)space->link, 0}};
        result = pass_held(&call, space->link);
    }
    union_unlock(guest, &lock);
    return result;
}

/* A directory of the upper one, which is shown empty, goes; a whiteout remains. */
static long remove_folder(const struct guest *guest, const struct status *status,
                          struct workspace *space) {
    long result = make_whiteout(space->link);
    if (result < 0) {
        return result;
    }
    if (!(status->mode & W_OF_OWNER)) {
        change_mode(space->host, status->mode | ALL_OF_OWNER);
    }
    result = rename_host(space->link, space->host, RENAME_EXCHANGE);
    if (is_refused(result)) {
        remove_host(space->link, false);
        result = rename_host(space->host, space->link, 0);
        result = result < 0 ? result : make_whiteout(space->host);
    }
    if (result < 0) {
        remove_host(space->link, false);
        return result;
    }
    result = union_clean(space->link, true, space);
    if (result == -ENOTEMPTY) { /* somebody put something there just now */
        over_whiteout(space->link, space->host);
        return result;
    }
    union_clean(space->link, false, space);
    result = kernel(NR_unlinkat, AT_FDCWD, (long)space->link, AT_REMOVEDIR, 0, 0, 0);
    if (result == -ENOTEMPTY) {
        /* Something was put there only now. Whiteouts have gone: the attribute hides instead. */
        result = union_make_opaque(guest, space->link, space->guest, length_of(space->guest));
        over_whiteout(space->link, space->host);
        return result < 0 ? result : -ENOTEMPTY;
    }
    return 0;
}

/* What is in the upper one goes, and is found. Under the lock. */
static long remove_upper(const struct guest *guest, const struct status *status, bool has_lower,
                         struct workspace *space) {
    bool is_directory = is_folder(status);
    if (!has_lower) {
        long result = is_directory ? union_clean(space->host, false, space) : 0;
        return result < 0 ? result
                          : kernel(NR_unlinkat, AT_FDCWD, (long)space->host,
                                   is_directory ? AT_REMOVEDIR : 0, 0, 0, 0);
    }
    long result = union_temporary(guest, space->link);
    if (result < 0 || is_directory) {
        return result < 0 ? result : remove_folder(guest, status, space);
    }
    result = make_whiteout(space->link);
    if (result == 0) {
        result = rename_host(space->link, space->host, 0);
        if (result < 0) {
            remove_host(space->link, false);
        }
    }
    return result;
}

/* Whether what is there may be removed so. */
static long check_kind(const struct guest *guest, const struct status *status, bool is_directory,
                       struct workspace *space) {
    if (is_folder(status) != is_directory) {
        return is_directory ? -ENOTDIR : -EISDIR;
    }
    if (!is_directory) {
        return space->has_end ? -ENOTDIR : 0;
    }
    return union_is_empty(guest, space->mount, space->guest, length_of(space->guest), space);
}

/* Under the lock, or before it is taken: then only what needs none. */
static long try_to_remove(const struct guest *guest, struct workspace *space, bool is_directory,
                          bool is_locked) {
    struct status status;
    struct status lower;
    size_t size = length_of(space->guest);
    union_path(space->mount, UPPER, space->guest, size, space->host);
    long layer = pin_check(space->host);
    layer = layer < 0 ? layer
                      : union_locate(guest, space->mount, space->guest, size, space->host, &status);
    if (layer <= NOWHERE) {
        return layer == NOWHERE ? -ENOENT : layer;
    }
    long result = check_kind(guest, &status, is_directory, space);
    if (result < 0) {
        return result;
    }
    bool has_lower = union_has_lower(guest, space->mount, space->guest, size, space->host, &lower);
    union_path(space->mount, UPPER, space->guest, size, space->host);
    if (layer == UPPER) {
        long held = pin(space->host, THE_NAME);
        if (held < -1) { /* the directory above may have been removed just now */
            return held == -ENOTDIR ? ONCE_MORE : held;
        }
        bool needs_lock = has_lower || is_directory;
        result =
            needs_lock && !is_locked ? ONCE_MORE : remove_upper(guest, &status, has_lower, space);
        pin_end(held);
        return result;
    }
    if (!is_locked) {
        result = union_copy_parent(guest, space->mount, space->guest, size);
        return result < 0 ? result : ONCE_MORE;
    }
    const struct call call = {NR_mknodat, {AT_FDCWD, (long)space->host, S_IFCHR, 0}};
    result = pass_held(&call, space->host);
    return result == -EEXIST || result == -ENOENT ? ONCE_MORE : result;
}

long union_remove(const struct guest *guest, struct workspace *space, bool is_directory) {
    const char *path = space->guest;
    size_t size = length_of(path);
    long result = ONCE_MORE;
    for (int count = 0; count < TRIES && result == ONCE_MORE; count++) {
        result = try_to_remove(guest, space, is_directory, false);
        if (result == ONCE_MORE) {
            struct union_lock lock;
            result = union_lock(guest, &lock, is_directory || union_is_in_root(path, size));
            if (result < 0) {
                return result;
            }
            result = try_to_remove(guest, space, is_directory, true);
            union_unlock(guest, &lock);
        }
    }
    return result == ONCE_MORE ? -EAGAIN : result;
}
