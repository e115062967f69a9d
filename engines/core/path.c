#include "path.h"

enum { PAGE = 4096, WORD = 8 };

/*
 * rt_sigprocmask(2) with an operation that does not exist reads the set first: EFAULT tells that it
 * cannot, EINVAL that it could. So a bad pointer of the guest is an error and no crash.
 */
static bool word_is_there(uintptr_t address) {
    long result = kernel(NR_rt_sigprocmask, -1, (long)address, 0, WORD, 0, 0);
    return result != -EFAULT;
}

bool memory_is_there(const void *address, size_t size) {
    if (size == 0) {
        return true;
    }
    uintptr_t first = (uintptr_t)address & ~(uintptr_t)(WORD - 1);
    uintptr_t last = ((uintptr_t)address + size - 1) & ~(uintptr_t)(WORD - 1);
    if (last < first) {
        return false;
    }
    for (uintptr_t page = first; page < last; page = (page & ~(uintptr_t)(PAGE - 1)) + PAGE) {
        if (!word_is_there(page)) {
            return false;
        }
    }
    return word_is_there(last);
}

long path_copy(char *text, const char *guest_text) {
    uintptr_t address = (uintptr_t)guest_text;
    for (size_t size = 0; size < PATH_SIZE; size++, address++) {
        bool is_new_page = size == 0 || address % PAGE == 0;
        if (is_new_page && !word_is_there(address & ~(uintptr_t)(WORD - 1))) {
            return -EFAULT;
        }
        text[size] = guest_text[size];
        if (text[size] == '\0') {
            return (long)size;
        }
    }
    return -ENAMETOOLONG;
}

static long read_link(const char *host, char *target) {
    long size = kernel(NR_readlinkat, AT_FDCWD, (long)host, (long)target, PATH_SIZE - 1, 0, 0);
    if (size >= 0) {
        target[size] = '\0';
    }
    return size;
}

long path_of_directory(const struct guest *guest, long dirfd, struct workspace *space) {
    long size;
    if ((int)dirfd == AT_FDCWD) {
        size = kernel(NR_getcwd, (long)space->link, PATH_SIZE, 0, 0, 0, 0);
        size = size > 0 ? size - 1 : size;
    } else {
        char name[48] = "/proc/self/fd/";
        if ((int)dirfd < 0) {
            return -EBADF;
        }
        write_number(name + 14, (unsigned)dirfd);
        size = read_link(name, space->link);
        if (size == -ENOENT) {
            return -EBADF;
        }
    }
    if (size < 0) {
        return size;
    }
    if (space->link[0] != '/') {
        return -ENOTDIR; /* a pipe, a socket; or a directory outside of what is mounted */
    }
    return guest_from_host(guest, space->link, (size_t)size, space->guest);
}

/* A walk in progress. */
struct walk {
    const struct guest *guest;
    struct workspace *space;
    size_t size;      /* of space->guest; 0 is the root */
    const char *next; /* in space->rest */
    int links;
};

static void go_up(struct walk *walk) {
    while (walk->size > 0 && walk->space->guest[walk->size - 1] != '/') {
        walk->size--;
    }
    if (walk->size > 0) {
        walk->size--;
    }
}

static long go_down(struct walk *walk, const char *name, size_t name_size) {
    if (name_size > 255 || walk->size + name_size + 2 > PATH_SIZE) {
        return -ENAMETOOLONG;
    }
    walk->space->guest[walk->size++] = '/';
    copy_bytes(walk->space->guest + walk->size, name, name_size);
    walk->size += name_size;
    return 0;
}

/* Whether the walk stands in /proc, where links may be more than their text. */
static bool is_magic(const struct walk *walk, const char *name, size_t name_size) {
    static const char *const magic[] = {"exe", "cwd", "root"};
    const char *path = walk->space->guest;
    size_t size = walk->size - name_size - 1;
    if (size < 7 || !same_bytes(path, "/proc/", 6)) {
        return false;
    }
    if (size > 3 && same_bytes(path + size - 3, "/fd", 3)) {
        return true;
    }
    for (size_t index = 0; index < sizeof magic / sizeof magic[0]; index++) {
        if (name_size == length_of(magic[index]) && same_bytes(name, magic[index], name_size)) {
            return true;
        }
    }
    return false;
}

/* Go on with the text of a link in front of what is left of the path. */
static long follow_text(struct walk *walk, size_t name_size, size_t link_size) {
    struct workspace *space = walk->space;
    size_t left = length_of(walk->next);
    if (++walk->links > MAX_LINKS) {
        return -ELOOP;
    }
    if (link_size == 0) {
        return -ENOENT;
    }
    if (link_size + left + 2 > sizeof space->rest) {
        return -ENAMETOOLONG;
    }
    move_bytes(space->rest + link_size + 1, walk->next, left + 1);
    copy_bytes(space->rest, space->link, link_size);
    space->rest[link_size] = '/';
    if (left == 0) {
        space->rest[link_size] = '\0';
    }
    walk->next = space->rest;
    walk->size = space->link[0] == '/' ? 0 : walk->size - name_size - 1;
    return 0;
}

/* A link of /proc leads to a host path: go on from where the guest has that. */
static long follow_magic(struct walk *walk, size_t name_size, size_t link_size, bool is_last) {
    struct workspace *space = walk->space;
    if (is_last) {
        return 0; /* the kernel follows it, to what the guest has open already */
    }
    if (space->link[0] != '/') {
        return -ENOTDIR;
    }
    copy_bytes(space->host, space->link, link_size + 1);
    long size = guest_from_host(walk->guest, space->host, link_size, space->link);
    return size < 0 ? size : follow_text(walk, name_size, (size_t)size);
}

/* One part of the path has been added: see what it is. */
static long look(struct walk *walk, size_t name_size, bool is_last) {
    struct workspace *space = walk->space;
    const struct mount *mount = guest_mount(walk->guest, space->guest, walk->size);
    if (mount->target_size == walk->size) {
        return 0; /* what is mounted is no link */
    }
    long size = guest_to_host(walk->guest, space->guest, walk->size, space->host);
    if (size < 0) {
        return size;
    }
    long link_size = read_link(space->host, space->link);
    if (link_size == -EINVAL || (link_size == -ENOENT && is_last)) {
        return 0;
    }
    if (link_size < 0) {
        return link_size;
    }
    if (is_magic(walk, space->guest + walk->size - name_size, name_size)) {
        return follow_magic(walk, name_size, (size_t)link_size, is_last);
    }
    return follow_text(walk, name_size, (size_t)link_size);
}

static const char *skip_slashes(const char *text) {
    while (*text == '/') {
        text++;
    }
    return text;
}

/* The next part of the path. 1 when there was none left, 0, or -errno. */
static long step(struct walk *walk, enum last last) {
    const char *name = skip_slashes(walk->next);
    size_t size = 0;
    while (name[size] != '\0' && name[size] != '/') {
        size++;
    }
    if (size == 0) {
        return 1;
    }
    bool has_slash = name[size] == '/';
    walk->next = skip_slashes(name + size);
    bool is_last = *walk->next == '\0';
    if (size == 1 && name[0] == '.') {
        return 0;
    }
    if (size == 2 && name[0] == '.' && name[1] == '.') {
        go_up(walk);
        return 0;
    }
    long result = go_down(walk, name, size);
    if (result < 0 || (is_last && last == KEEP && !has_slash)) {
        return result;
    }
    return look(walk, size, is_last);
}

/* The host path, with the slash that the guest's path ended in: it demands a directory. */
static long finish(struct walk *walk, bool has_slash) {
    struct workspace *space = walk->space;
    long size = guest_to_host(walk->guest, space->guest, walk->size, space->host);
    if (size < 0) {
        return size;
    }
    if (walk->size == 0) {
        space->guest[walk->size++] = '/';
    }
    space->guest[walk->size] = '\0';
    if (has_slash && space->host[size - 1] != '/') {
        if (size + 2 > PATH_SIZE) {
            return -ENAMETOOLONG;
        }
        space->host[size] = '/';
        space->host[size + 1] = '\0';
    }
    return 0;
}

long path_resolve(const struct guest *guest, long dirfd, const char *path, enum last last,
                  struct workspace *space) {
    struct walk walk = {.guest = guest, .space = space};
    long size = path_copy(space->rest, path);
    if (size < 0) {
        return size;
    }
    if (size == 0) {
        return -ENOENT;
    }
    bool has_slash = space->rest[size - 1] == '/';
    if (space->rest[0] != '/') {
        long start = path_of_directory(guest, dirfd, space);
        if (start < 0) {
            return start;
        }
        walk.size = start == 1 ? 0 : (size_t)start;
    }
    walk.next = space->rest;
    long result;
    do {
        result = step(&walk, last);
    } while (result == 0);
    return result < 0 ? result : finish(&walk, has_slash);
}
