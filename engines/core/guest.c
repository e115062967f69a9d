#include "guest.h"

/* One string of the description; NULL at its end, or when the NUL is missing. */
static const char *next_string(const char **text, const char *end) {
    const char *start = *text;
    const char *byte = start;
    while (byte < end && *byte != '\0') {
        byte++;
    }
    if (byte == end) {
        return NULL;
    }
    *text = byte + 1;
    return start;
}

static bool read_number(const char *text, unsigned *number) {
    uint64_t value = 0;
    if (*text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(*text - '0');
        if (value > UINT32_MAX) {
            return false;
        }
    }
    *number = (unsigned)value;
    return true;
}

/* "/" as a source and as a target is "": what follows begins with a slash. */
static const char *without_slash(const char *path) {
    return same_text(path, "/") ? "" : path;
}

/* Absolute, and no part of it is empty, "." or "..". */
static bool is_canonical(const char *path) {
    if (path == NULL || path[0] != '/' || path[1] == '\0') {
        return path != NULL && path[0] == '/';
    }
    while (*path == '/') {
        const char *name = ++path;
        while (*path != '\0' && *path != '/') {
            path++;
        }
        size_t size = (size_t)(path - name);
        if (size == 0 || (size <= 2 && same_bytes(name, "..", size))) {
            return false;
        }
    }
    return true;
}

static bool add_mount(struct guest *guest, const char *target, const char *source, bool readonly) {
    if (guest->mount_count == MAX_MOUNTS || !is_canonical(target) || !is_canonical(source)) {
        return false;
    }
    struct mount mount = {.target = without_slash(target), .source = without_slash(source)};
    mount.target_size = length_of(mount.target);
    mount.source_size = length_of(mount.source);
    mount.readonly = readonly;
    guest->has_readonly = guest->has_readonly || readonly;
    size_t place = guest->mount_count++;
    while (place > 0 && guest->mounts[place - 1].target_size <= mount.target_size) {
        guest->mounts[place] = guest->mounts[place - 1];
        place--;
    }
    guest->mounts[place] = mount;
    return true;
}

static void add_origin(struct guest *guest, const char *path, size_t size,
                       const struct mount *mount) {
    size_t place = guest->origin_count++;
    struct mount *mounts = guest->mounts;
    while (place > 0 && mounts[place - 1].origin.size < size) {
        mounts[place].origin = mounts[place - 1].origin;
        place--;
    }
    mounts[place].origin = (struct origin){path, size, mount};
}

static void sort_origins(struct guest *guest) {
    guest->origin_count = 0;
    for (size_t index = 0; index < guest->mount_count; index++) {
        const struct mount *mount = &guest->mounts[index];
        add_origin(guest, mount->source, mount->source_size, mount);
        if (mount->lower != NULL) {
            add_origin(guest, mount->lower, mount->lower_size, mount);
        }
    }
}

void guest_uncover(struct guest *guest) {
    guest->mounts[0] = guest->mounts[guest->mount_count - 1];
    guest->mounts[0].readonly = false;
    guest->mount_count = 1;
    guest->has_readonly = false;
    sort_origins(guest);
}

/* The root becomes a union. */
static bool add_lower(struct guest *guest, const char *lower) {
    struct mount *root = &guest->mounts[guest->mount_count - 1];
    if (guest->work == NULL || !is_canonical(guest->work) || !is_canonical(lower)) {
        return false;
    }
    root->lower = without_slash(lower);
    root->lower_size = length_of(root->lower);
    guest->has_union = true;
    return true;
}

/* The words that are about one value. */
static bool read_setting(struct guest *guest, const char *word, const char *value,
                         const char **lower) {
    if (same_text(word, "directory")) {
        guest->directory = value;
        return value[0] == '/';
    }
    if (same_text(word, "uid")) {
        return read_number(value, &guest->uid);
    }
    if (same_text(word, "gid")) {
        return read_number(value, &guest->gid);
    }
    if (same_text(word, "make") || same_text(word, "point") || same_text(word, "touch")) {
        return value[0] == '/'; /* for the front, before the first program */
    }
    if (same_text(word, "traced")) {
        guest->tracing = same_text(value, "all") ? TRACING_ALL : TRACING_SOME;
        return true;
    }
    const char **place = same_text(word, "lower")   ? lower
                         : same_text(word, "work")  ? &guest->work
                         : same_text(word, "state") ? &guest->state
                                                    : NULL;
    if (place == NULL || *place != NULL) {
        return false;
    }
    *place = value;
    return true;
}

/* Who the guest is, and where its owners are. */
static bool read_identity(struct guest *guest, const char *word, const char *value) {
    if (same_text(word, "group")) {
        return guest->group_count < MAX_GROUPS &&
               read_number(value, &guest->groups[guest->group_count++]);
    }
    if (same_text(word, "owners")) {
        guest->owners.path = value;
        return true;
    }
    guest->owners.image_path = value;
    return same_text(word, "image-owners");
}

/* What follows the protocol of a port. */
static bool read_port(struct guest *guest, const char *protocol, const char **text,
                      const char *end) {
    unsigned number[3];
    for (int index = 0; index < 3; index++) {
        const char *word = next_string(text, end);
        if (word == NULL || !read_number(word, &number[index])) {
            return false;
        }
    }
    const char *address = next_string(text, end);
    return address != NULL && ports_add(&guest->ports, protocol, number, address);
}

bool guest_read(struct guest *guest, const char *text, size_t size) {
    const char *end = text + size;
    const char *lower = NULL;
    bool has_root = false;
    guest->mount_count = 0;
    guest->has_readonly = false;
    guest->has_union = false;
    guest->tracing = TRACING_NONE;
    guest->work = NULL;
    guest->state = NULL;
    guest->shared = NULL;
    guest->copies = NULL;
    guest->directory = "/";
    guest->group_count = 0;
    guest->ports.count = 0;
    guest->owners = (struct owners){0};
    guest->find_root = NULL;
    guest->uid = 0;
    guest->gid = 0;
    guest->host_uid = (unsigned)kernel(NR_getuid, 0, 0, 0, 0, 0, 0);
    guest->host_gid = (unsigned)kernel(NR_getgid, 0, 0, 0, 0, 0, 0);
    while (text < end) {
        const char *word = next_string(&text, end);
        const char *value = word == NULL ? NULL : next_string(&text, end);
        if (value == NULL) {
            return false;
        }
        bool good;
        bool is_readonly = same_text(word, "root-ro");
        if (is_readonly || same_text(word, "root")) {
            good = !has_root && add_mount(guest, "/", value, is_readonly);
            has_root = true;
        } else if (same_text(word, "rw") || same_text(word, "ro")) {
            good = !same_text(value, "/") &&
                   add_mount(guest, value, next_string(&text, end), word[1] == 'o');
        } else if (same_text(word, "port")) {
            good = read_port(guest, value, &text, end);
        } else if (same_text(word, "copies")) {
            guest->copies = value;
            good = value[0] == '/';
        } else {
            good = read_setting(guest, word, value, &lower) || read_identity(guest, word, value);
        }
        if (!good) {
            return false;
        }
    }
    if (!has_root || (lower != NULL && !add_lower(guest, lower))) {
        return false;
    }
    sort_origins(guest);
    return true;
}

/* Whether path is prefix, or lies below it. */
static bool is_below(const char *path, size_t size, const char *prefix, size_t prefix_size) {
    return size >= prefix_size && same_bytes(path, prefix, prefix_size) &&
           (size == prefix_size || path[prefix_size] == '/');
}

const struct mount *guest_mount(const struct guest *guest, const char *path, size_t size) {
    size_t index = 0;
    while (index + 1 < guest->mount_count &&
           !is_below(path, size, guest->mounts[index].target, guest->mounts[index].target_size)) {
        index++;
    }
    return &guest->mounts[index];
}

bool guest_is_target(const struct guest *guest, const char *path, size_t size) {
    return guest_mount(guest, path, size)->target_size == size;
}

bool guest_has_target_below(const struct guest *guest, const char *path, size_t size) {
    for (size_t index = 0; index < guest->mount_count; index++) {
        const struct mount *mount = &guest->mounts[index];
        if (mount->target_size > size && is_below(mount->target, mount->target_size, path, size)) {
            return true;
        }
    }
    return false;
}

/* head and tail, which may lie in out itself. */
static long join(char *out, const char *head, size_t head_size, const char *tail,
                 size_t tail_size) {
    size_t size = head_size + tail_size;
    if (size + 2 > PATH_SIZE) {
        return -ENAMETOOLONG;
    }
    move_bytes(out + head_size, tail, tail_size);
    copy_bytes(out, head, head_size);
    if (size == 0) {
        out[size++] = '/';
    }
    out[size] = '\0';
    return (long)size;
}

long guest_to_host(const struct guest *guest, const char *path, size_t size, char *host) {
    if (size == 1 && path[0] == '/') {
        size = 0;
    }
    const struct mount *mount = guest_mount(guest, path, size);
    return join(host, mount->source, mount->source_size, path + mount->target_size,
                size - mount->target_size);
}

/* Whether another mount hides what has this path below mount from the guest. */
static bool is_hidden(const struct guest *guest, const struct mount *mount, const char *below,
                      size_t size) {
    for (const struct mount *other = guest->mounts; other < mount; other++) {
        if (is_below(other->target, other->target_size, mount->target, mount->target_size) &&
            is_below(below, size, other->target + mount->target_size,
                     other->target_size - mount->target_size)) {
            return true;
        }
    }
    return false;
}

long guest_from_host(const struct guest *guest, const char *host, size_t size, char *path) {
    if (size == 1 && host[0] == '/') {
        size = 0;
    }
    for (size_t index = 0; index < guest->origin_count; index++) {
        const struct origin *origin = &guest->mounts[index].origin;
        const struct mount *mount = origin->mount;
        if (!is_below(host, size, origin->path, origin->size)) {
            continue;
        }
        const char *below = host + origin->size;
        size_t left = size - origin->size;
        if (!is_hidden(guest, mount, below, left)) {
            return join(path, mount->target, mount->target_size, below, left);
        }
    }
    return -ENOENT;
}

bool guest_is_lower(const struct guest *guest, const char *host, size_t size) {
    const struct mount *root = &guest->mounts[guest->mount_count - 1];
    return root->lower != NULL && is_below(host, size, root->lower, root->lower_size);
}

struct root guest_root(const struct guest *guest) {
    return guest->find_root == NULL ? (struct root){"", 0}
                                    : guest->find_root((struct guest *)(uintptr_t)guest);
}

bool root_has(struct root root, const char *path, size_t size) {
    return is_below(path, size, root.path, root.size);
}

long guest_from_root(const struct guest *guest, char *path, size_t size) {
    struct root root = guest_root(guest);
    if (root.size == 0) {
        return (long)size;
    }
    if (!root_has(root, path, size)) {
        return -ENOENT;
    }
    move_bytes(path, path + root.size, size - root.size);
    size -= root.size;
    if (size == 0) {
        path[size++] = '/';
    }
    path[size] = '\0';
    return (long)size;
}
