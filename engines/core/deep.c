#include "deep.h"

#include "calls.h"
#include "union.h"

enum { MOST_STEPS = 4096, NAME_SIZE = 255 };

static const char BY_DESCRIPTOR[] = "/proc/self/fd/";
static const char SOMETHING[] = "/..."; /* a name below a directory, in place of the true one */
static const char SOME_STEPS[] = "../../../../../../../..";

static void close_it(long descriptor) {
    if (descriptor >= 0) {
        kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    }
}

static long open_directory(long dirfd, const char *path) {
    return kernel(NR_openat, dirfd, (long)path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
}

/* The host path of a descriptor in space->link; -ENAMETOOLONG when it has none. */
static long host_of(long descriptor, struct workspace *space) {
    char name[48];
    copy_bytes(name, BY_DESCRIPTOR, sizeof BY_DESCRIPTOR - 1);
    write_number(name + sizeof BY_DESCRIPTOR - 1, (unsigned long)descriptor);
    return kernel(NR_readlinkat, AT_FDCWD, (long)name, (long)space->link, PATH_SIZE - 1, 0, 0);
}

/* Whether all below a directory is the guest's, on one mount, and in one layer. */
static long check(const struct guest *guest, size_t host_size, struct workspace *space) {
    long size = space->link[0] == '/' ? guest_from_host(guest, space->link, host_size, space->guest)
                                      : -ENOENT;
    if (size < 0) {
        return -ENOENT;
    }
    if ((size_t)size + sizeof SOMETHING > PATH_SIZE) {
        return 0; /* further up */
    }
    size = size == 1 ? 0 : size;
    const struct mount *mount = guest_mount(guest, space->guest, (size_t)size);
    if (guest_has_target_below(guest, space->guest, (size_t)size) ||
        !root_has(guest_root(guest), space->guest, (size_t)size)) {
        return -ENAMETOOLONG;
    }
    if (mount->lower != NULL &&
        (guest_is_lower(guest, space->link, host_size) ||
         union_folder(guest, mount, space->guest, (size_t)size, space->host) != NATIVE)) {
        return -ENAMETOOLONG;
    }
    space->mount = mount;
    copy_bytes(space->guest + size, SOMETHING, sizeof SOMETHING);
    return size + (long)sizeof SOMETHING - 1;
}

/*
 * Where a directory is that is open, by one above it that has a path. space->guest is something
 * there; its size. What the guest may not see is -ENOENT.
 */
static long find_above(const struct guest *guest, long dirfd, struct workspace *space) {
    long at = open_directory(dirfd, ".");
    for (int count = 0; at >= 0 && count < MOST_STEPS; count++) {
        long size = host_of(at, space);
        long result = size == -ENAMETOOLONG ? 0
                      : size < 0            ? size
                                            : check(guest, (size_t)size, space);
        if (result != 0) {
            close_it(at);
            return result;
        }
        long above = open_directory(at, SOME_STEPS);
        close_it(at);
        at = above;
    }
    close_it(at);
    return at < 0 ? at : -ENAMETOOLONG;
}

long deep_mount_path(const struct guest *guest, long dirfd, struct workspace *space) {
    long size = path_of_directory(guest, dirfd, space);
    return size == -ENAMETOOLONG ? find_above(guest, dirfd, space) : size;
}

/* A walk in progress. */
struct deep {
    const struct guest *guest;
    struct workspace *space;
    long at; /* the directory so far */
    const char *next;
    int links;
};

/* Go on with what a link says, which is in space->link: 0, WALK_ON or -errno. */
static long follow(struct deep *deep, size_t size, bool has_slash) {
    struct workspace *space = deep->space;
    size_t left = length_of(deep->next);
    if (++deep->links > MAX_LINKS || size == 0) {
        return size == 0 ? -ENOENT : -ELOOP;
    }
    if (size + left + 2 > PATH_SIZE) {
        return -ENAMETOOLONG;
    }
    move_bytes(space->rest + size + 1, deep->next, left + 1);
    copy_bytes(space->rest, space->link, size);
    space->rest[size] = left > 0 || has_slash ? '/' : '\0';
    deep->next = space->rest;
    return space->rest[0] == '/' ? WALK_ON : 0;
}

/* ".." may lead to where the walk finds its way again. */
static long go_up(struct deep *deep) {
    if (path_of_directory(deep->guest, deep->at, deep->space) >= 0) {
        /* It may be the guest's root: the walk knows what is above. */
        move_bytes(deep->space->rest + 3, deep->next, length_of(deep->next) + 1);
        copy_bytes(deep->space->rest, "../", 3);
        return WALK_ON;
    }
    long above = open_directory(deep->at, "..");
    if (above < 0) {
        return above;
    }
    close_it(deep->at);
    deep->at = above;
    long size = path_of_directory(deep->guest, above, deep->space);
    if (size >= 0) {
        size_t left = length_of(deep->next);
        move_bytes(deep->space->rest + 2, deep->next, left + 1);
        copy_bytes(deep->space->rest, "./", 2);
        return WALK_ON;
    }
    size = size == -ENAMETOOLONG ? find_above(deep->guest, above, deep->space) : size;
    return size < 0 ? size : 0;
}

/* The answer: a name in the directory so far. */
static long finish(struct deep *deep, const char *name, size_t size, bool has_end) {
    struct workspace *space = deep->space;
    long found = find_above(deep->guest, deep->at, space);
    if (found < 0) {
        return found;
    }
    size_t used = sizeof BY_DESCRIPTOR - 1;
    copy_bytes(space->host, BY_DESCRIPTOR, used);
    used += write_number(space->host + used, (unsigned long)deep->at);
    space->host[used++] = '/';
    copy_bytes(space->host + used, name, size);
    used += size;
    space->has_end = has_end;
    space->is_entry = space->is_magic = false; /* what the walk found before it gave up */
    if (has_end && name[size - 1] != '.') {
        space->host[used++] = '/';
    }
    space->host[used] = '\0';
    space->is_deep = true;
    space->layer = UPPER;
    workspace_hold(space, deep->at);
    deep->at = -1;
    return 0;
}

/* One part: DONE, or as deep_resolve with 0 for going on. */
enum { DONE = 2 };

static long done(long result) {
    return result < 0 ? result : DONE;
}

static long step(struct deep *deep, enum last last) {
    char name[NAME_SIZE + 1];
    size_t size = 0;
    while (deep->next[size] != '\0' && deep->next[size] != '/') {
        size++;
    }
    if (size > NAME_SIZE) {
        return -ENAMETOOLONG;
    }
    copy_bytes(name, deep->next, size);
    name[size] = '\0';
    deep->next += size;
    bool has_slash = *deep->next == '/';
    while (*deep->next == '/') {
        deep->next++;
    }
    bool is_last = *deep->next == '\0';
    bool is_dots = same_text(name, ".") || same_text(name, "..");
    if (is_last && is_dots && (size == 1 || last == ENTRY)) {
        return done(finish(deep, name, size, true));
    }
    if (is_dots) {
        return size == 1 ? 0 : go_up(deep);
    }
    if (is_last && (last == ENTRY || (last == KEEP && !has_slash))) {
        return done(finish(deep, name, size, has_slash));
    }
    long there = kernel(NR_openat, deep->at, (long)name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, 0, 0);
    if (there < 0) {
        return there == -ENOENT && is_last ? done(finish(deep, name, size, has_slash)) : there;
    }
    long link =
        kernel(NR_readlinkat, there, (long)"", (long)deep->space->link, PATH_SIZE - 1, 0, 0);
    if (link >= 0 || is_last) {
        close_it(there);
        return link >= 0 ? follow(deep, (size_t)link, has_slash)
                         : done(finish(deep, name, size, has_slash));
    }
    close_it(deep->at);
    deep->at = there;
    return 0;
}

long deep_resolve(const struct guest *guest, long *dirfd, const char *path, enum last last,
                  struct workspace *space) {
    struct deep deep = {guest, space, -1, space->rest, 0};
    long result = path_copy(space->rest, path);
    if (result <= 0) {
        return result < 0 ? result : -ENOENT;
    }
    if (space->rest[0] == '/') {
        return -ENAMETOOLONG;
    }
    result = find_above(guest, *dirfd, space); /* or it is no place of the guest's */
    if (result < 0) {
        return result;
    }
    deep.at = open_directory(*dirfd, ".");
    result = deep.at < 0 ? deep.at : 0;
    while (result == 0) {
        result = *deep.next == '\0' ? done(finish(&deep, ".", 1, true)) : step(&deep, last);
    }
    if (result == WALK_ON) {
        workspace_hold(space, deep.at);
        *dirfd = deep.at;
        return WALK_ON;
    }
    close_it(deep.at);
    return result == DONE ? 0 : result;
}
