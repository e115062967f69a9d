/* Where the names of a union are: in the upper directory, in the lower one, or hidden. */
#include "union.h"

#include "hash.h"
#include "union_forbidden.h"
#include "union_shared.h"

enum { TRIES = 8 }; /* that others may have been faster */

long union_path(const struct mount *mount, enum layer layer, const char *path, size_t size,
                char *host) {
    const char *head = layer == LOWER ? mount->lower : mount->source;
    size_t head_size = layer == LOWER ? mount->lower_size : mount->source_size;
    size_t left = size - mount->target_size;
    if (size == 1 && path[0] == '/') {
        left = 0;
    }
    if (head_size + left + 2 > PATH_SIZE) {
        return -ENAMETOOLONG;
    }
    move_bytes(host + head_size, path + mount->target_size, left);
    copy_bytes(host, head, head_size);
    left += head_size;
    if (left == 0) {
        host[left++] = '/';
    }
    host[left] = '\0';
    return (long)left;
}

bool union_is_whiteout(const struct status *status) {
    return (status->mode & S_IFMT) == S_IFCHR && status->special == 0;
}

static bool is_opaque(const char *host) {
    char value = 0;
    long result = kernel(NR_lgetxattr, (long)host, (long)UNION_OPAQUE, (long)&value, 1, 0, 0);
    if (result == -EACCES) {
        struct forbidden forbidden = NOT_FORBIDDEN;
        result = forbidden_begin(host, &forbidden);
        if (result >= 0) {
            result = kernel(NR_lgetxattr, (long)host, (long)UNION_OPAQUE, (long)&value, 1, 0, 0);
        }
        forbidden_end(&forbidden);
    }
    return result == 1 && value == 'y';
}

/*
 * Whether the upper directory at path hides the one in the lower: it says so, or that is none, and
 * looking below it would follow a link.
 */
static bool hides(const struct mount *mount, const char *path, size_t size, char *host) {
    struct status status;
    if (union_path(mount, UPPER, path, size, host) < 0 || host_status(host, &status) != 0) {
        return false;
    }
    if (!is_folder(&status)) {
        return true;
    }
    if (is_opaque(host)) {
        return true;
    }
    union_path(mount, LOWER, path, size, host);
    return host_status(host, &status) == 0 && !is_folder(&status);
}

/* Whether what is shared can be believed to know all that may hide. */
static bool knows_opaque(const struct guest *guest) {
    const struct shared *shared = guest->shared;
    return shared != NULL && shared->is_local &&
           __atomic_load_n(&shared->opaque_count, __ATOMIC_ACQUIRE) <= SHARED_OPAQUE / 2;
}

static bool may_hide(const struct guest *guest, uint64_t hash) {
    const struct shared *shared = guest->shared;
    for (size_t step = 0; step < SHARED_OPAQUE; step++) {
        uint64_t found =
            __atomic_load_n(&shared->opaque[(hash + step) % SHARED_OPAQUE], __ATOMIC_RELAXED);
        if (found == hash || found == 0) {
            return found != 0;
        }
    }
    return true;
}

static void note_opaque(struct shared *shared, uint64_t hash) {
    if (__atomic_fetch_add(&shared->opaque_count, 1, __ATOMIC_ACQ_REL) >= SHARED_OPAQUE / 2) {
        return; /* too many: nobody asks any more */
    }
    for (size_t step = 0; step < SHARED_OPAQUE; step++) {
        uint64_t expected = 0;
        uint64_t *place = &shared->opaque[(hash + step) % SHARED_OPAQUE];
        if (__atomic_compare_exchange_n(place, &expected, hash, false, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED) ||
            expected == hash) {
            return;
        }
    }
}

/* Whether a directory above path, or itself with_self, hides the lower one. */
static bool is_hidden(const struct guest *guest, const struct mount *mount, const char *path,
                      size_t size, bool with_self, char *host) {
    bool knows = knows_opaque(guest);
    if (knows && guest->shared->opaque_count == 0) {
        return false;
    }
    uint64_t hash = HASH_BEGIN;
    for (size_t at = 0; at <= size; at++) {
        bool is_end = at == size;
        if (at > 1 && (is_end ? with_self : path[at] == '/') && (!knows || may_hide(guest, hash)) &&
            hides(mount, path, at, host)) {
            return true;
        }
        if (!is_end) {
            hash = hash_byte(hash, path[at]);
        }
    }
    return false;
}

/*
 * A directory above is none: a file, or hidden with a whiteout. -EAGAIN: another process has made
 * one there since.
 */
static long behind_a_file(const struct mount *mount, const char *path, size_t size, char *host) {
    struct status status;
    for (size_t at = 1; at < size; at++) {
        if (path[at] != '/') {
            continue;
        }
        long result = union_path(mount, UPPER, path, at, host);
        result = result < 0 ? result : host_status(host, &status);
        if (result < 0) {
            return result == -ENOENT ? NOWHERE : result;
        }
        if (!is_folder(&status)) {
            return union_is_whiteout(&status) ? NOWHERE : -ENOTDIR;
        }
    }
    return -EAGAIN;
}

bool union_has_lower(const struct guest *guest, const struct mount *mount, const char *path,
                     size_t size, char *host, struct status *status) {
    return !is_hidden(guest, mount, path, size, false, host) &&
           union_path(mount, LOWER, path, size, host) >= 0 && host_status(host, status) == 0;
}

static long try_to_locate(const struct guest *guest, const struct mount *mount, const char *path,
                          size_t size, char *host, struct status *status) {
    long result = union_path(mount, UPPER, path, size, host);
    result = result < 0 ? result : host_status(host, status);
    if (result == 0) {
        return union_is_whiteout(status) ? NOWHERE : UPPER;
    }
    if (result == -ENOENT && !is_hidden(guest, mount, path, size, false, host)) {
        union_path(mount, LOWER, path, size, host);
        result = host_status(host, status);
        if (result != -ENOENT) {
            return result == 0 ? LOWER : result;
        }
    }
    if (result == -ENOTDIR) {
        result = behind_a_file(mount, path, size, host);
        if (result < 0) {
            return result;
        }
    }
    long left = union_path(mount, UPPER, path, size, host);
    return left < 0 ? left : result == -ENOENT || result >= 0 ? NOWHERE : result;
}

long union_locate(const struct guest *guest, const struct mount *mount, const char *path,
                  size_t size, char *host, struct status *status) {
    long result = -EAGAIN;
    for (int count = 0; count < TRIES && result == -EAGAIN; count++) {
        result = try_to_locate(guest, mount, path, size, host, status);
    }
    return result == -EAGAIN ? -ENOTDIR : result;
}

enum folder union_folder(const struct guest *guest, const struct mount *mount, const char *path,
                         size_t size, char *host) {
    struct status status;
    long layer = union_locate(guest, mount, path, size, host, &status);
    if (layer <= NOWHERE || !is_folder(&status)) {
        return UNKNOWN_FOLDER;
    }
    if (layer == LOWER) {
        return ONLY_LOWER;
    }
    bool has_lower = !is_hidden(guest, mount, path, size, true, host) &&
                     union_path(mount, LOWER, path, size, host) >= 0 &&
                     host_status(host, &status) == 0 && is_folder(&status);
    return has_lower ? MERGED : NATIVE;
}

long union_make_opaque(const struct guest *guest, const char *host, const char *path, size_t size) {
    long result = kernel(NR_setxattr, (long)host, (long)UNION_OPAQUE, (long)"y", 1, 0, 0);
    if (result == -EACCES) {
        struct forbidden forbidden = NOT_FORBIDDEN;
        result = forbidden_begin(host, &forbidden);
        if (result >= 0) {
            result = kernel(NR_setxattr, (long)host, (long)UNION_OPAQUE, (long)"y", 1, 0, 0);
        }
        forbidden_end(&forbidden);
    }
    if (result == 0 && guest->shared != NULL) {
        note_opaque(guest->shared, hash_path(path, size));
    }
    return result;
}
