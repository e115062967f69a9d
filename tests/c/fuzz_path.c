/*
 * Random trees, mounts and paths against a model that knows no files: the resolver and the
 * shortcuts must find the node that the model finds, or fail as it does. Where nothing is mounted
 * the kernel must find it, too. SEED and ROUNDS are taken
 * from the environment; both have defaults, so that a run is like the one before.
 */
#include "guests.h"

#include "quick.h"

enum {
    NODES = 40,
    MOUNTS = 5,
    PATHS = 120,
    DEPTH = 4,
    STEPS = 400, /* no path of these takes the model more, unless in a loop */
};

enum kind { DIRECTORY, FILE_NODE, LINK };

/* A node of the host's tree below the scratch directory. */
struct node {
    enum kind kind;
    int parent; /* -1: the scratch directory itself */
    char name[8];
    char text[40]; /* of a link */
    char path[200];
};

static struct node nodes[NODES];
static int node_count;
static struct {
    char target[200]; /* canonical guest path, "" is the root */
    int source;       /* node */
} mounts[MOUNTS];
static int mount_count;
static uint64_t state;

static unsigned chance(unsigned below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state >> 33) % below;
}

static const char *some_name(void) {
    static const char *const names[] = {"a", "b", "c", "dd", "e", "m"};
    return names[chance(6)];
}

/* A path of a few parts. */
static void some_path(char *text, size_t room, bool is_link) {
    static const char *const separators[] = {"/", "/", "/", "/", "//", "/./"};
    unsigned parts = 1 + chance(is_link ? 3 : 6);
    size_t size = 0;
    text[0] = '\0';
    if (chance(3) > 0) {
        size += (size_t)snprintf(text + size, room - size, "%s", separators[chance(5)]);
    }
    for (unsigned part = 0; part < parts && size + 10 < room; part++) {
        const char *name = chance(5) == 0 ? ".." : chance(12) == 0 ? "." : some_name();
        size += (size_t)snprintf(text + size, room - size, "%s", name);
        if (part + 1 < parts || chance(6) == 0) {
            size += (size_t)snprintf(text + size, room - size, "%s", separators[chance(6)]);
        }
    }
}

static int child_of(int parent, const char *name) {
    for (int index = 0; index < node_count; index++) {
        if (nodes[index].parent == parent && strcmp(nodes[index].name, name) == 0) {
            return index;
        }
    }
    return -1;
}

static void add_node(int parent, const char *name, enum kind kind) {
    struct node *node = &nodes[node_count];
    if (child_of(parent, name) >= 0) {
        return;
    }
    *node = (struct node){.kind = kind, .parent = parent};
    snprintf(node->name, sizeof node->name, "%s", name);
    snprintf(node->path, sizeof node->path, "%s%s%s", parent < 0 ? "" : nodes[parent].path,
             parent < 0 ? "" : "/", name);
    if (kind == DIRECTORY) {
        make_directory(node->path);
    } else if (kind == FILE_NODE) {
        make_file(node->path, "");
    } else {
        some_path(node->text, sizeof node->text, true);
        make_link(node->path, node->text);
    }
    node_count++;
}

static int depth_of(int node) {
    return node < 0 ? 0 : 1 + depth_of(nodes[node].parent);
}

static void make_tree(const char *top) {
    node_count = 0;
    add_node(-1, top, DIRECTORY);
    add_node(0, "r", DIRECTORY); /* the root of the guest */
    add_node(0, "s", DIRECTORY); /* what else there is */
    while (node_count < NODES) {
        int parent = 1 + (int)chance((unsigned)node_count - 1);
        if (nodes[parent].kind == DIRECTORY && depth_of(parent) < DEPTH + 2) {
            enum kind kind = (enum kind)(chance(5) < 2 ? DIRECTORY : 1 + chance(2));
            add_node(parent, some_name(), kind);
        }
        if (chance(200) == 0) {
            break;
        }
    }
}

static bool is_below(const char *path, const char *prefix) {
    size_t size = strlen(prefix);
    return strncmp(path, prefix, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

/* Whether target is a place of that mount, not hidden by another one, and hides none. */
static bool is_free(const char *target, int mount) {
    for (int index = 1; index < mount_count; index++) {
        bool is_deeper = strlen(mounts[index].target) > strlen(mounts[mount].target);
        if (is_below(mounts[index].target, target) ||
            (is_deeper && is_below(target, mounts[index].target))) {
            return false;
        }
    }
    return true;
}

/* Mount points exist, as udocker makes them: a mount lies over something of another one. */
static void make_mounts(int most) {
    mount_count = 0;
    mounts[mount_count++].source = 1;
    mounts[0].target[0] = '\0';
    for (int tries = 0; tries < 40 && mount_count < most; tries++) {
        int mount = (int)chance((unsigned)mount_count);
        int place = 1 + (int)chance((unsigned)node_count - 1);
        int source = 1 + (int)chance((unsigned)node_count - 1);
        const char *above = nodes[mounts[mount].source].path;
        const char *path = nodes[place].path;
        if (place == mounts[mount].source || !is_below(path, above) || nodes[source].kind == LINK) {
            continue;
        }
        char target[sizeof mounts[0].target];
        snprintf(target, sizeof target, "%s%s", mounts[mount].target, path + strlen(above));
        if (!is_free(target, mount)) {
            continue;
        }
        mounts[mount_count].source = source;
        memcpy(mounts[mount_count++].target, target, sizeof target);
    }
}

static void describe_guest(struct guest *guest) {
    static char sources[MOUNTS][220];
    const char *words[3 * MOUNTS + 3];
    size_t count = 0;
    for (int index = 0; index < mount_count; index++) {
        snprintf(sources[index], sizeof sources[0], "@%s", nodes[mounts[index].source].path);
        words[count++] = index == 0 ? "root" : "rw";
        if (index > 0) {
            words[count++] = mounts[index].target;
        }
        words[count++] = sources[index];
    }
    words[count] = NULL;
    CHECK(describe(guest, words));
}

/* Where the model stands: the nodes from the root on. */
struct place {
    int trail[64];
    int depth;
};

/* What is mounted at the place that a trail and a name make. */
static int mounted_at(const struct place *place, const char *names[], const char *name) {
    char path[400] = "";
    for (int index = 1; index < place->depth; index++) {
        strcat(strcat(path, "/"), names[index]);
    }
    strcat(strcat(path, "/"), name);
    for (int index = 1; index < mount_count; index++) {
        if (strcmp(mounts[index].target, path) == 0) {
            return mounts[index].source;
        }
    }
    return -1;
}

/* The model: a node, or -errno. -1 as a node means that only the last name is missing. */
static int walk(const char *path, enum last last, bool *is_missing) {
    struct place place = {.trail = {1}, .depth = 1};
    static const char *names[64];
    static char storage[64][40];
    char rest[4096];
    int links = 0;
    bool wants_directory = false;
    *is_missing = false;
    snprintf(rest, sizeof rest, "%s", path);
    for (int step = 0; step < STEPS; step++) {
        char *name = rest + strspn(rest, "/");
        size_t size = strcspn(name, "/");
        int here = place.trail[place.depth - 1];
        if (size == 0) {
            return wants_directory && nodes[here].kind != DIRECTORY ? -ENOTDIR : here;
        }
        if (nodes[here].kind != DIRECTORY) {
            return -ENOTDIR;
        }
        char part[40];
        snprintf(part, sizeof part, "%.*s", (int)size, name);
        bool has_slash = name[size] == '/';
        char *after = name + size + strspn(name + size, "/");
        bool is_last = *after == '\0';
        memmove(rest, after, strlen(after) + 1);
        wants_directory = has_slash;
        if (strcmp(part, ".") == 0) {
            wants_directory = true;
            continue;
        }
        if (strcmp(part, "..") == 0) {
            place.depth -= place.depth > 1 ? 1 : 0;
            continue;
        }
        int mounted = mounted_at(&place, names, part);
        int node = mounted >= 0 ? mounted : child_of(here, part);
        if (node < 0) {
            *is_missing = is_last;
            return -ENOENT;
        }
        bool follows = !is_last || last == FOLLOW || (last == KEEP && has_slash);
        if (nodes[node].kind == LINK && follows) {
            if (++links > MAX_LINKS) {
                return -ELOOP;
            }
            char new_rest[4096 + sizeof nodes[0].text + 2];
            snprintf(new_rest, sizeof new_rest, "%s%s%s", nodes[node].text,
                     !is_last || has_slash ? "/" : "", rest);
            memcpy(rest, new_rest, strlen(new_rest) + 1);
            if (nodes[node].text[0] == '/') {
                place.depth = 1;
            }
            wants_directory = false;
            continue;
        }
        snprintf(storage[place.depth], sizeof storage[0], "%s", part);
        names[place.depth] = storage[place.depth];
        place.trail[place.depth++] = node;
    }
    return -ELOOP;
}

/* What a descriptor is open on, or the error, as one text. Closes it. */
static const char *answer_of(long descriptor) {
    static char answer[80];
    if (descriptor < 0) {
        snprintf(answer, sizeof answer, "%ld", descriptor);
        return answer;
    }
    snprintf(answer, sizeof answer, "%s", identity_of_descriptor((int)descriptor));
    close_descriptor((int)descriptor);
    return answer;
}

static const char *expected_at(int node) {
    static char answer[80];
    if (node < 0) {
        snprintf(answer, sizeof answer, "%d", node);
    } else {
        snprintf(answer, sizeof answer, "%s", identity_of(nodes[node].path));
    }
    return answer;
}

static void say_world(const char *path) {
    printf("path %s\n", path);
    for (int index = 0; index < mount_count; index++) {
        printf("mount %s of %s\n", mounts[index].target, nodes[mounts[index].source].path);
    }
    for (int index = 0; index < node_count; index++) {
        printf("node %s %d %s\n", nodes[index].path, nodes[index].kind, nodes[index].text);
    }
}

static void check_quick(const struct guest *guest, const char *path, bool follows, int node) {
    static char host[PATH_SIZE];
    struct shape shape;
    if (path[0] != '/' || !quick_shape(guest, path, &shape)) {
        return;
    }
    long flags = O_PATH | O_CLOEXEC | (follows ? 0 : O_NOFOLLOW);
    long descriptor = quick_open(guest, AT_FDCWD, path, &shape, flags, 0, host);
    if (descriptor == -ENOSYS || descriptor == -ELOOP) {
        return;
    }
    const char *answer = answer_of(descriptor);
    if (strcmp(answer, expected_at(node)) != 0) {
        say_world(path);
    }
    CHECK_TEXT(answer, expected_at(node));
}

/* The kernel, with the guest's root as its own; some emulators lack the call. */
static void check_kernel(const char *path, bool follows, int node) {
    struct open_how how = {.flags = O_PATH | O_CLOEXEC | (follows ? 0 : O_NOFOLLOW),
                           .resolve = RESOLVE_IN_ROOT};
    int root = open_path(nodes[1].path);
    long descriptor = open_within(root, path, &how);
    close_descriptor(root);
    if (descriptor != -ENOSYS) {
        CHECK_TEXT(answer_of(descriptor), expected_at(node));
    }
}

static void check_path(const struct guest *guest, const char *path, enum last last) {
    bool is_missing;
    int node = walk(path, last, &is_missing);
    bool follows = last == FOLLOW;
    long result = path_resolve(guest, AT_FDCWD, path, last, &last_space);
    char answer[80];
    if (result < 0) {
        snprintf(answer, sizeof answer, "%ld", result);
    } else {
        CHECK(strstr(last_space.host, "/../") == NULL);
        snprintf(answer, sizeof answer, "%s", answer_of(try_path(last_space.host, false)));
    }
    if (strcmp(answer, expected_at(node)) != 0) {
        say_world(path);
    }
    CHECK_TEXT(answer, expected_at(node));
    /* What does not exist yet can be made: its path is known. */
    CHECK(!is_missing || result == 0);
    check_quick(guest, path, follows, node);
    if (mount_count == 1) {
        check_kernel(path, follows, node);
    }
}

static void check_world(unsigned round) {
    char top[16];
    struct guest guest;
    snprintf(top, sizeof top, "w%u", round);
    make_tree(top);
    make_mounts(round % 3 == 0 ? 1 : MOUNTS);
    describe_guest(&guest);
    for (int count = 0; count < PATHS; count++) {
        char path[200] = "/";
        some_path(path + 1, sizeof path - 1, false);
        check_path(&guest, path, chance(2) == 0 ? FOLLOW : KEEP);
    }
    for (int index = node_count - 1; index >= 0; index--) {
        remove_entry(nodes[index].path);
    }
}

int main(void) {
    const char *seed = setting("SEED");
    const char *rounds = setting("ROUNDS");
    unsigned count = rounds == NULL ? 150 : (unsigned)atoi(rounds);
    state = seed == NULL ? 1 : (uint64_t)atoll(seed);
    scratch();
    for (unsigned round = 0; round < count; round++) {
        check_world(round);
    }
    return harness_end();
}
