/* Renaming entries of a union. */
#include "pin.h"
#include "union_entry.h"
#include "union_facts.h"
#include "union_work.h"

enum {
    RENAME_NOREPLACE = 1,
    RENAME_EXCHANGE = 2,
    RENAME_WHITEOUT = 4,
    TRIES = 16,   /* that others may have been faster */
    ONCE_MORE = 1 /* they were */
};

/* One of the two entries of a rename. */
struct side {
    const char *path; /* of the guest */
    size_t size;
    bool has_end; /* a slash followed it */
    char *host;   /* in the upper directory */
    long layer;
    struct status status; /* if it is anywhere */
    bool has_lower;       /* there is something in the lower directory to be hidden or shown */
};

struct renaming {
    const struct guest *guest;
    struct workspace *space; /* of the second path */
    struct workspace *more;  /* of the first one's host path */
    const struct mount *mount;
    uint64_t flags;
    struct side from, to;
};

static long look_at(struct renaming *renaming, struct side *side) {
    struct status lower;
    const struct guest *guest = renaming->guest;
    side->layer =
        union_locate(guest, renaming->mount, side->path, side->size, side->host, &side->status);
    if (side->layer < 0) {
        return side->layer;
    }
    side->has_lower =
        union_has_lower(guest, renaming->mount, side->path, side->size, side->host, &lower);
    union_path(renaming->mount, UPPER, side->path, side->size, side->host);
    return 0;
}

/* A directory that the lower one has, too, is not renamed: mv(1) copies it then. */
static long check_folder(const struct renaming *renaming, const struct side *side) {
    if (!is_folder(&side->status)) {
        return 0;
    }
    enum folder folder = union_folder(renaming->guest, renaming->mount, side->path, side->size,
                                      renaming->more->link);
    return folder == NATIVE ? 0 : -EXDEV;
}

static bool is_inside(const struct side *inner, const struct side *outer) {
    return inner->size > outer->size && same_bytes(inner->path, outer->path, outer->size) &&
           inner->path[outer->size] == '/';
}

static bool is_same_file(const struct renaming *renaming) {
    const struct side *from = &renaming->from;
    const struct side *to = &renaming->to;
    bool is_same_path = from->size == to->size && same_bytes(from->path, to->path, from->size);
    return is_same_path ||
           (from->layer == to->layer && !is_folder(&from->status) &&
            from->status.inode == to->status.inode && from->status.device == to->status.device);
}

/* Whether what is at the second place may be replaced. ONCE_MORE: there is nothing to do. */
static long check_replaced(const struct renaming *renaming) {
    const struct side *from = &renaming->from;
    const struct side *to = &renaming->to;
    if (is_same_file(renaming)) {
        return ONCE_MORE;
    }
    if (is_folder(&from->status) != is_folder(&to->status)) {
        return is_folder(&from->status) ? -ENOTDIR : -EISDIR;
    }
    return is_folder(&to->status) ? union_is_empty(renaming->guest, renaming->mount, to->path,
                                                   to->size, renaming->more)
                                  : 0;
}

/* 0, ONCE_MORE when there is nothing to do, or -errno. */
static long check(struct renaming *renaming) {
    struct side *from = &renaming->from;
    struct side *to = &renaming->to;
    bool exchanges = renaming->flags & RENAME_EXCHANGE;
    long result = look_at(renaming, from);
    result = result < 0 ? result : look_at(renaming, to);
    if (result < 0) {
        return result;
    }
    if (from->layer == NOWHERE || (exchanges && to->layer == NOWHERE)) {
        return -ENOENT;
    }
    if (to->layer != NOWHERE && renaming->flags & RENAME_NOREPLACE) {
        return -EEXIST;
    }
    bool demands_folder = from->has_end || (to->has_end && !exchanges);
    if ((demands_folder && !is_folder(&from->status)) ||
        (exchanges && to->has_end && !is_folder(&to->status))) {
        return -ENOTDIR;
    }
    if (is_inside(to, from) || is_inside(from, to)) {
        return exchanges || is_inside(to, from) ? -EINVAL : -ENOTEMPTY;
    }
    if (to->layer != NOWHERE && !exchanges) {
        result = check_replaced(renaming);
        /* The check has used the place. */
        union_path(renaming->mount, UPPER, from->path, from->size, from->host);
    } else if (exchanges && is_same_file(renaming)) {
        result = ONCE_MORE;
    }
    if (result == 0) {
        result = check_folder(renaming, from);
    }
    return result == 0 && exchanges ? check_folder(renaming, to) : result;
}

/* To be called without the lock. */
static long copy_side(struct renaming *renaming, struct side *side) {
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return -ENOMEM;
    }
    copy_bytes(space->guest, side->path, side->size + 1);
    space->mount = renaming->mount;
    space->layer = LOWER;
    space->is_magic = space->has_end = false;
    long result = union_to_change(renaming->guest, space, true);
    workspace_give_back(space);
    return result;
}

static long copy_sides(struct renaming *renaming) {
    struct side *from = &renaming->from;
    struct side *to = &renaming->to;
    long result = from->layer == LOWER ? copy_side(renaming, from) : 0;
    if (result == 0) {
        result = (renaming->flags & RENAME_EXCHANGE) && to->layer == LOWER
                     ? copy_side(renaming, to)
                     : union_copy_parent(renaming->guest, renaming->mount, to->path, to->size);
    }
    return result;
}

/* A directory comes to where the lower one has something: that is not to be merged with it. */
static long hide(const struct renaming *renaming, const struct side *moved,
                 const struct side *place) {
    return is_folder(&moved->status) && place->has_lower
               ? union_make_opaque(renaming->guest, moved->host, place->path, place->size)
               : 0;
}

/* The first entry comes in place of the second, and leaves a whiteout if it has to. */
static long move(const struct renaming *renaming) {
    const struct side *from = &renaming->from;
    const struct side *to = &renaming->to;
    struct status status;
    bool is_nothing = host_status(to->host, &status) == -ENOENT;
    bool is_whiteout = !is_nothing && union_is_whiteout(&status);
    if (is_whiteout && is_folder(&from->status)) {
        if (!from->has_lower) {
            return over_whiteout(from->host, to->host);
        }
        long result = rename_host(from->host, to->host, RENAME_EXCHANGE);
        if (is_refused(result)) {
            remove_host(to->host, false);
            result = rename_host(from->host, to->host, 0);
            result = result < 0 ? result : make_whiteout(from->host);
        }
        return result;
    }
    long flags = is_nothing ? (long)renaming->flags & RENAME_NOREPLACE : 0;
    if (!from->has_lower) {
        return rename_host(from->host, to->host, flags);
    }
    long result = rename_host(from->host, to->host, flags | RENAME_WHITEOUT);
    if (is_refused(result)) {
        result = rename_host(from->host, to->host, flags);
        result = result < 0 ? result : make_whiteout(from->host);
    }
    return result;
}

static long rename_held(struct renaming *renaming) {
    struct side *from = &renaming->from;
    struct side *to = &renaming->to;
    bool exchanges = renaming->flags & RENAME_EXCHANGE;
    long result = hide(renaming, from, to);
    if (result < 0) {
        return result;
    }
    if (exchanges) {
        result = hide(renaming, to, from);
        return result < 0 ? result : rename_host(from->host, to->host, RENAME_EXCHANGE);
    }
    if (to->layer == UPPER && is_folder(&to->status)) {
        result = union_make_opaque(renaming->guest, to->host, to->path, to->size);
        result = result < 0 ? result : union_clean(to->host, false, renaming->space);
        if (result < 0) {
            return result;
        }
    }
    return move(renaming);
}

/* Under the lock. ONCE_MORE: something has to be copied before. */
static long rename_sides(struct renaming *renaming) {
    bool exchanges = renaming->flags & RENAME_EXCHANGE;
    if (renaming->from.layer == LOWER || (exchanges && renaming->to.layer == LOWER)) {
        return ONCE_MORE;
    }
    long from = pin(renaming->from.host, THE_NAME);
    if (from < -1) {
        return from;
    }
    long to = pin(renaming->to.host, THE_NAME);
    long result = to < -1 ? to : rename_held(renaming);
    pin_end(to);
    pin_end(from);
    return result;
}

/* Whether what is known of directories may be true no more afterwards. */
static bool moves_folders(const struct renaming *renaming) {
    const struct side *from = &renaming->from;
    const struct side *to = &renaming->to;
    return is_folder(&from->status) || (to->layer != NOWHERE && is_folder(&to->status)) ||
           union_is_in_root(from->path, from->size) || union_is_in_root(to->path, to->size);
}

static long try_to_rename(struct renaming *renaming) {
    struct union_lock lock;
    long result = check(renaming);
    if (result != 0) {
        return result == ONCE_MORE ? 0 : result;
    }
    bool said_so = moves_folders(renaming);
    result = copy_sides(renaming);
    if (result < 0) {
        return result;
    }
    result = union_lock(renaming->guest, &lock, said_so);
    if (result < 0) {
        return result;
    }
    result = check(renaming);
    if (result == 0 && moves_folders(renaming) && !said_so) {
        result = ONCE_MORE; /* there was a file */
    } else if (result == 0) {
        result = rename_sides(renaming);
    } else if (result == ONCE_MORE) {
        result = 0;
    }
    union_unlock(renaming->guest, &lock);
    return result;
}

long union_rename(const struct guest *guest, struct workspace *space, bool has_end,
                  uint64_t flags) {
    struct renaming renaming = {.guest = guest, .space = space, .mount = space->mount};
    if (flags & ~(uint64_t)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
        flags == (RENAME_NOREPLACE | RENAME_EXCHANGE)) {
        return -EINVAL;
    }
    renaming.more = workspace_take();
    if (renaming.more == NULL) {
        return -ENOMEM;
    }
    renaming.flags = flags;
    renaming.from.has_end = has_end;
    renaming.to.has_end = space->has_end;
    renaming.from.path = space->kept;
    renaming.from.size = length_of(space->kept);
    renaming.from.host = renaming.more->host;
    renaming.to.path = space->guest;
    renaming.to.size = length_of(space->guest);
    renaming.to.host = space->host;
    long result = ONCE_MORE;
    for (int count = 0; count < TRIES && (result == ONCE_MORE || result == -EAGAIN); count++) {
        result = try_to_rename(&renaming);
    }
    workspace_give_back(renaming.more);
    return result == ONCE_MORE ? -EAGAIN : result;
}
