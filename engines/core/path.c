#include "path.h"

#include "deep.h"
#include "proc.h"
#include "union_facts.h"
#include "union_work.h"

enum { NAME_SIZE = 255, DONE = 1 };

static long read_link(const char *host, char *target) {
    long size = kernel(NR_readlinkat, AT_FDCWD, (long)host, (long)target, PATH_SIZE - 1, 0, 0);
    if (size >= 0) {
        target[size] = '\0';
    }
    return size;
}

/*
 * The guest path of the directory that has the host path in space->link. What is removed from a
 * union, or made anew, is there no more, though the lower directory has it for ever.
 */
static long from_directory(const struct guest *guest, size_t size, struct workspace *space) {
    long found = guest_from_host(guest, space->link, size, space->guest);
    if (found <= 1 || !guest->has_union || !guest_is_lower(guest, space->link, size)) {
        return found;
    }
    enum folder folder = union_known(guest, space->guest, (size_t)found);
    if (folder == UNKNOWN_FOLDER) {
        const struct mount *mount = guest_mount(guest, space->guest, (size_t)found);
        folder = union_folder(guest, mount, space->guest, (size_t)found, space->host);
    }
    return folder == ONLY_LOWER || folder == MERGED ? found : -ENOENT;
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
        /* A pipe, a socket; or a working directory that no path leads to. */
        return (int)dirfd == AT_FDCWD ? -ENOENT : -ENOTDIR;
    }
    return from_directory(guest, (size_t)size, space);
}

/* A walk in progress. */
struct walk {
    const struct guest *guest;
    struct workspace *space;
    enum last last;
    uint64_t limits;
    size_t size;       /* of space->guest; 0 is the root */
    size_t floor;      /* of the directory above which nothing is: the root, as a rule */
    struct root root;  /* where absolute paths begin */
    const char *next;  /* in space->rest */
    const char *tail;  /* dots at the end that are left to the kernel, or "" */
    bool has_slash;    /* a slash at the end */
    bool is_directory; /* what space->guest names is known to be one */
    bool is_name;      /* the last part was a name, of which nothing is known */
    size_t found_size; /* of the path of which layer is known */
    enum layer layer;
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
    if (name_size > NAME_SIZE || walk->size + name_size + 2 > PATH_SIZE) {
        return -ENAMETOOLONG;
    }
    walk->found_size = PATH_SIZE;
    walk->space->guest[walk->size++] = '/';
    copy_bytes(walk->space->guest + walk->size, name, name_size);
    walk->size += name_size;
    return 0;
}

static void begin_at_root(struct walk *walk) {
    copy_bytes(walk->space->guest, walk->root.path, walk->root.size);
    walk->size = walk->floor = walk->root.size;
}

static bool is_within(const struct walk *walk) {
    return walk->limits & (RESOLVE_BENEATH | RESOLVE_IN_ROOT);
}

/* Go on with the text of a link, in space->link, in front of what is left of the path. */
static long follow_text(struct walk *walk, size_t name_size, size_t link_size) {
    struct workspace *space = walk->space;
    size_t left = length_of(walk->next);
    bool is_absolute = space->link[0] == '/';
    if (walk->limits & RESOLVE_NO_SYMLINKS || ++walk->links > MAX_LINKS) {
        return -ELOOP;
    }
    if (link_size == 0) {
        return -ENOENT;
    }
    if (is_absolute && walk->limits & RESOLVE_BENEATH) {
        return -EXDEV;
    }
    if (link_size + left + 2 > sizeof space->rest) {
        return -ENAMETOOLONG;
    }
    move_bytes(space->rest + link_size + 1, walk->next, left + 1);
    copy_bytes(space->rest, space->link, link_size);
    if (left > 0 || walk->has_slash) {
        space->rest[link_size] = '/';
    } else {
        space->rest[link_size] = '\0';
    }
    walk->next = space->rest;
    walk->found_size = PATH_SIZE;
    if (!is_absolute) {
        walk->size -= name_size + 1;
    } else if (is_within(walk)) {
        walk->size = walk->floor;
    } else {
        begin_at_root(walk);
    }
    walk->is_directory = true;
    return 0;
}

/* Go on from a guest path, wherever that lies. */
static void jump(struct walk *walk, const char *path, size_t size) {
    walk->size = size == 1 ? 0 : size;
    copy_bytes(walk->space->guest, path, walk->size);
    bool is_inside = root_has(walk->root, walk->space->guest, walk->size);
    walk->floor = is_inside ? walk->root.size : 0;
    walk->is_directory = false;
    walk->found_size = PATH_SIZE;
}

/* What the directory is that the last part of the path so far lies in, as far as it is known. */
static enum folder folder_above(const struct walk *walk) {
    size_t size = walk->size;
    while (size > 0 && walk->space->guest[size - 1] != '/') {
        size--;
    }
    return size == 0 ? UNKNOWN_FOLDER : union_known(walk->guest, walk->space->guest, size - 1);
}

static long found(struct walk *walk, enum layer layer) {
    walk->layer = layer;
    walk->found_size = walk->size;
    return layer;
}

/* Where in its union the path so far is; in space->host, too. The layer, or -errno. */
static long locate(struct walk *walk, const struct mount *mount, struct status *status) {
    struct workspace *space = walk->space;
    if (folder_above(walk) == ONLY_LOWER) {
        long size = union_path(mount, LOWER, space->guest, walk->size, space->host);
        long result = size < 0 ? size
                               : kernel(NR_newfstatat, AT_FDCWD, (long)space->host, (long)status,
                                        AT_SYMLINK_NOFOLLOW, 0, 0);
        if (result == -ENOENT) {
            size = union_path(mount, UPPER, space->guest, walk->size, space->host);
            return size < 0 ? size : found(walk, NOWHERE);
        }
        return result < 0 ? result : found(walk, LOWER);
    }
    long layer = union_locate(walk->guest, mount, space->guest, walk->size, space->host, status);
    return layer < 0 ? layer : found(walk, (enum layer)layer);
}

/* As read_link, in a union. */
static long read_link_in_union(struct walk *walk, const struct mount *mount, bool is_last) {
    struct workspace *space = walk->space;
    uint64_t fact = 0;
    long known = union_known_link(walk->guest, space->guest, walk->size, space->link);
    if (known >= 0) {
        space->host[0] = '\0';
        return known;
    }
    union_fact(walk->guest, space->guest, walk->size, &fact);
    enum folder folder = union_known(walk->guest, space->guest, walk->size);
    if (folder == ONLY_LOWER || folder == MERGED) { /* a directory, and it stays one */
        found(walk, folder == MERGED ? UPPER : LOWER);
        return union_path(mount, walk->layer, space->guest, walk->size, space->host) < 0
                   ? -ENAMETOOLONG
                   : -EINVAL;
    }
    if (folder_above(walk) == ONLY_LOWER) {
        long size = union_path(mount, LOWER, space->guest, walk->size, space->host);
        size = size < 0 ? size : read_link(space->host, space->link);
        if (size >= 0 || size == -EINVAL) {
            found(walk, LOWER);
        }
        if (size > 0 && fact != 0) {
            union_learn_link(walk->guest, fact, space->link, (size_t)size);
        }
        if (size == -EINVAL && !is_last) {
            union_learn(walk->guest, mount, space->guest, walk->size, space->host);
        }
        return size;
    }
    struct status status;
    long layer = locate(walk, mount, &status);
    if (layer <= NOWHERE) {
        return layer == NOWHERE ? -ENOENT : layer;
    }
    if ((status.mode & S_IFMT) == S_IFLNK) {
        long size = read_link(space->host, space->link);
        bool is_kept = layer == LOWER && union_is_in_root(space->guest, walk->size);
        if (is_kept && size > 0 && fact != 0) {
            union_learn_link(walk->guest, fact, space->link, (size_t)size);
        }
        return size;
    }
    if (!is_last && (status.mode & S_IFMT) == S_IFDIR) {
        union_learn(walk->guest, mount, space->guest, walk->size, space->host);
    }
    return -EINVAL;
}

/* The text of the link that is at the path so far, in space->link: its size; and the host path. */
static long read_link_here(struct walk *walk, bool is_last) {
    struct workspace *space = walk->space;
    const struct mount *mount = guest_mount(walk->guest, space->guest, walk->size);
    if (mount->lower != NULL) {
        return read_link_in_union(walk, mount, is_last);
    }
    long size = guest_to_host(walk->guest, space->guest, walk->size, space->host);
    return size < 0 ? size : read_link(space->host, space->link);
}

/* A link of /proc leads to a host path: go on from where the guest has that. */
static long follow_magic(struct walk *walk, size_t link_size, bool is_last) {
    struct workspace *space = walk->space;
    unsigned long pid;
    enum proc_link kind = proc_link(space->host, &pid);
    if (walk->limits & (RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)) {
        return -ELOOP;
    }
    if (walk->limits & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) {
        return -EXDEV;
    }
    space->is_lower = guest_is_lower(walk->guest, space->link, link_size);
    long size = proc_target(walk->guest, space->host, space->link, link_size);
    bool is_open = kind == LINK_TO_OPEN || kind == LINK_TO_DIRECTORY || kind == LINK_TO_OTHER;
    if (is_last && is_open && (size >= 0 || proc_is_own(pid) || space->link[0] != '/')) {
        /* It may be deleted, or have no name at all: that is the kernel's to know. */
        space->is_magic = true;
        if (size >= 0) {
            jump(walk, space->link, (size_t)size);
        }
        return 0;
    }
    if (size < 0 || ++walk->links > MAX_LINKS) {
        return size < 0 ? size : -ELOOP;
    }
    jump(walk, space->link, (size_t)size);
    return 0;
}

/* One part of the path has been added: see what it is. */
static long look(struct walk *walk, size_t name_size, bool is_last) {
    struct workspace *space = walk->space;
    if (guest_is_target(walk->guest, space->guest, walk->size)) {
        return walk->limits & RESOLVE_NO_XDEV ? -EXDEV : 0; /* what is mounted is no link */
    }
    long link_size = read_link_here(walk, is_last);
    if (link_size == -EINVAL) {
        return 0;
    }
    if (link_size == -ENOENT &&
        (is_last || guest_has_target_below(walk->guest, space->guest, walk->size))) {
        return 0;
    }
    if (link_size < 0) {
        return link_size;
    }
    unsigned long pid;
    if (proc_link(space->host, &pid) != NOT_MAGIC) {
        return follow_magic(walk, (size_t)link_size, is_last);
    }
    return follow_text(walk, name_size, (size_t)link_size);
}

/* Whether the directory so far can be searched: 0 or -errno. */
static long search(struct walk *walk) {
    struct workspace *space = walk->space;
    const struct mount *mount = guest_mount(walk->guest, space->guest, walk->size);
    long size;
    if (mount->lower != NULL) {
        struct status status;
        long layer = locate(walk, mount, &status);
        size = layer == NOWHERE ? -ENOENT : layer < 0 ? layer : (long)length_of(space->host);
    } else {
        size = guest_to_host(walk->guest, space->guest, walk->size, space->host);
    }
    if (size < 0 || size + 3 > PATH_SIZE) {
        return size < 0 ? size : -ENAMETOOLONG;
    }
    copy_bytes(space->host + size, "/.", 3);
    return kernel(NR_faccessat, AT_FDCWD, (long)space->host, 0, 0, 0, 0);
}

/* What space->guest names must be a directory that can be searched: only then has it a parent. */
static long demand_directory(struct walk *walk) {
    if (walk->is_directory) {
        return 0;
    }
    long result = search(walk);
    bool is_made_up =
        result == -ENOENT && guest_has_target_below(walk->guest, walk->space->guest, walk->size);
    return is_made_up ? 0 : result;
}

static long step_up(struct walk *walk, bool is_last) {
    long result = demand_directory(walk);
    if (result < 0) {
        return result;
    }
    walk->is_directory = true;
    if (is_last && walk->last == ENTRY) {
        walk->tail = "/..";
        return 0;
    }
    if (walk->size == walk->floor) {
        return walk->limits & RESOLVE_BENEATH ? -EXDEV : 0;
    }
    if (walk->limits & RESOLVE_NO_XDEV &&
        guest_is_target(walk->guest, walk->space->guest, walk->size)) {
        return -EXDEV;
    }
    go_up(walk);
    return 0;
}

static const char *skip_slashes(const char *text) {
    while (*text == '/') {
        text++;
    }
    return text;
}

/* The next part of the path. DONE when there was none left, 0, or -errno. */
static long step(struct walk *walk) {
    const char *name = skip_slashes(walk->next);
    size_t size = 0;
    while (name[size] != '\0' && name[size] != '/') {
        size++;
    }
    if (size == 0) {
        return DONE;
    }
    walk->has_slash = name[size] == '/';
    walk->next = skip_slashes(name + size);
    walk->is_name = false;
    bool is_last = *walk->next == '\0';
    if (size == 1 && name[0] == '.') {
        walk->tail = is_last ? "/." : "";
        return 0;
    }
    if (size == 2 && name[0] == '.' && name[1] == '.') {
        return step_up(walk, is_last);
    }
    long result = go_down(walk, name, size);
    if (result < 0) {
        long parent = demand_directory(walk);
        return parent < 0 ? parent : result;
    }
    walk->is_directory = false;
    walk->is_name = true;
    bool is_meant = walk->last == ENTRY || (walk->last == KEEP && !walk->has_slash);
    return is_last && is_meant ? 0 : look(walk, size, is_last);
}

/* The mount that the answer lies on. */
static const struct mount *mount_of(const struct walk *walk) {
    size_t size = walk->size;
    if (walk->last == ENTRY && walk->is_name) {
        while (size > 0 && walk->space->guest[size - 1] != '/') {
            size--;
        }
        size -= size > 0 ? 1 : 0;
    }
    return guest_mount(walk->guest, walk->space->guest, size);
}

/* The host path in a union; its size. */
static long finish_in_union(struct walk *walk, const struct mount *mount) {
    struct workspace *space = walk->space;
    space->is_entry = walk->last == ENTRY && walk->is_name;
    if (space->is_entry) {
        return union_path(mount, UPPER, space->guest, walk->size, space->host);
    }
    struct status status;
    long layer = walk->layer;
    if (walk->found_size != walk->size || walk->size == 0) {
        layer = locate(walk, mount, &status);
    }
    if (layer < 0) {
        return layer;
    }
    space->layer = (enum layer)layer;
    size_t parent = walk->size;
    while (parent > 0 && space->guest[parent - 1] != '/') {
        parent--;
    }
    if (parent > 0) {
        union_learn(walk->guest, mount, space->guest, parent - 1, space->host);
    }
    if (layer == NOWHERE && !(walk->limits & MAY_BE_MISSING)) {
        return union_nowhere(walk->guest, space->host);
    }
    return union_path(mount, layer == LOWER ? LOWER : UPPER, space->guest, walk->size, space->host);
}

/* The host path; its size. */
static long host_path(struct walk *walk) {
    struct workspace *space = walk->space;
    if (space->is_magic) {
        return (long)length_of(space->host);
    }
    const struct mount *mount = guest_mount(walk->guest, space->guest, walk->size);
    bool is_mounted = mount->target_size == walk->size && walk->size > 0;
    return mount->lower != NULL && !is_mounted
               ? finish_in_union(walk, mount)
               : guest_to_host(walk->guest, space->guest, walk->size, space->host);
}

/* The host path, with what the guest's path ended in. */
static long finish(struct walk *walk) {
    struct workspace *space = walk->space;
    space->mount = mount_of(walk);
    long size = host_path(walk);
    if (size < 0) {
        return size;
    }
    if (walk->size == 0) {
        space->guest[walk->size++] = '/';
    }
    space->guest[walk->size] = '\0';
    if (walk->last == ENTRY && !walk->is_name && *walk->tail == '\0') {
        walk->tail = "/."; /* the root has no name */
    }
    const char *end = *walk->tail == '\0' && walk->has_slash ? "/" : walk->tail;
    size_t end_size = length_of(end);
    if ((size_t)size + end_size + 1 > PATH_SIZE) {
        return -ENAMETOOLONG;
    }
    copy_bytes(space->host + size, end, end_size + 1);
    space->has_end = end_size > 0;
    return 0;
}

/* Where the walk begins. */
static long begin(struct walk *walk, long dirfd) {
    struct workspace *space = walk->space;
    bool is_absolute = space->rest[0] == '/';
    walk->is_directory = is_absolute || (int)dirfd == AT_FDCWD;
    if (is_absolute && walk->limits & RESOLVE_BENEATH) {
        return -EXDEV;
    }
    if (is_absolute && !is_within(walk)) {
        begin_at_root(walk);
        return 0;
    }
    long start = path_of_directory(walk->guest, dirfd, space);
    if (start < 0) {
        return start;
    }
    walk->size = start == 1 ? 0 : (size_t)start;
    bool is_inside = root_has(walk->root, space->guest, walk->size);
    walk->floor = is_within(walk) ? walk->size : is_inside ? walk->root.size : 0;
    return 0;
}

static long walk_path(const struct guest *guest, long dirfd, const char *path, enum last last,
                      uint64_t limits, struct workspace *space) {
    struct walk walk = {.guest = guest, .space = space, .last = last, .limits = limits, .tail = ""};
    space->is_magic = false;
    space->is_lower = false;
    space->is_entry = false;
    space->is_deep = false;
    space->layer = NOWHERE;
    walk.found_size = PATH_SIZE;
    long result = path_copy(space->rest, path);
    if (result <= 0) {
        return result < 0 ? result : -ENOENT;
    }
    walk.next = space->rest;
    walk.root = limits & FROM_TOP ? (struct root){"", 0} : guest_root(guest);
    result = begin(&walk, dirfd);
    while (result == 0) {
        result = step(&walk);
    }
    return result < 0 ? result : finish(&walk);
}

long path_resolve_within(const struct guest *guest, long dirfd, const char *path, enum last last,
                         uint64_t limits, struct workspace *space) {
    long result = walk_path(guest, dirfd, path, last, limits, space);
    if (result != -ENAMETOOLONG || limits & ~MAY_BE_MISSING) {
        return result;
    }
    result = deep_resolve(guest, &dirfd, path, last, space);
    return result == WALK_ON ? walk_path(guest, dirfd, space->rest, last, limits, space) : result;
}

long path_resolve(const struct guest *guest, long dirfd, const char *path, enum last last,
                  struct workspace *space) {
    return path_resolve_within(guest, dirfd, path, last, 0, space);
}
