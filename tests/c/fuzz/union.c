/*
 * Changes of a union and of a plain directory that shows the same: a byte chooses what is shared of
 * the union, then a byte each an operation and its variant, with a line for each of its two paths.
 * The results must be the same, and what there is afterwards; nothing may be found or changed
 * outside, and nothing changed in the lower directory.
 */
#include "fuzz.h"

#include "union_shared.h"
#include "unions.h"

enum { MOST = 12 };

static struct {
    struct shared shared;
    char top[256];
    struct guest clean; /* without what is shared */
    bool is_changed;
    struct process hosts[2];
    char kept[2 * LISTING]; /* of what may not change */
} world;

/* What both show in the beginning; 'l' is in the lower directory, 'u' in the upper, 'b' in both. */
static const struct entry {
    char layer;
    const char *path, *text; /* NULL: a directory; "@": a link, to what follows */
} entries[] = {
    {'b', "", NULL},         {'b', "/a", NULL},         {'l', "/a/d", "1"},
    {'l', "/a/l", "@../b"},  {'l', "/a/e", NULL},       {'l', "/a/e/f", "22"},
    {'u', "/b", NULL},       {'u', "/b/d", "333"},      {'l', "/c", NULL},
    {'l', "/c/d", "4"},      {'l', "/c/l", "@/a/e"},    {'u', "/f", "upper"},
    {'u', "/u", "@../../a"}, {'l', "/o", "@/../out/f"}, {'u', "/g", NULL},
};

static void make_entry(const char *top, const struct entry *entry) {
    char path[256];
    snprintf(path, sizeof path, "%s%s", top, entry->path);
    if (entry->text == NULL) {
        make_directory(path);
    } else if (entry->text[0] == '@') {
        make_link(path, entry->text + 1);
    } else {
        make_file(path, entry->text);
    }
}

static void make_whiteout(const char *path) {
    DEMAND(kernel(NR_mknodat, AT_FD, (long)path, S_IFCHR, 0, 0, 0) == 0);
}

/* The lower directory has more than is shown. */
static void make_lower(void) {
    static const struct entry hidden[] = {
        {'l', "/h", NULL}, {'l', "/h/d", "hidden"}, {'l', "/a/w", "hidden"},
        {'l', "/b", NULL}, {'l', "/b/w", "hidden"}, {'l', "/f", NULL},
    };
    for (size_t index = 0; index < sizeof entries / sizeof entries[0]; index++) {
        if (entries[index].layer != 'u') {
            make_entry("lower", &entries[index]);
        }
    }
    for (size_t index = 0; index < sizeof hidden / sizeof hidden[0]; index++) {
        make_entry("lower", &hidden[index]);
    }
}

static void make_upper(void) {
    for (size_t index = 0; index < sizeof entries / sizeof entries[0]; index++) {
        if (entries[index].layer != 'l') {
            make_entry("upper", &entries[index]);
        }
        make_entry("plain", &entries[index]);
    }
    make_whiteout("upper/h");
    make_whiteout("upper/a/w");
    DEMAND(kernel(NR_setxattr, (long)"upper/b", (long)"user.overlay.opaque", (long)"y", 1, 0, 0) ==
           0);
}

static void remove_tree(const char *path) {
    char buffer[4096];
    char below[300];
    int folder = open_to_read(path);
    long size;
    while ((size = kernel(NR_getdents64, folder, (long)buffer, sizeof buffer, 0, 0, 0)) > 0) {
        for (long at = 0; at < size; at += *(uint16_t *)(void *)(buffer + at + 16)) {
            const char *name = buffer + at + 19;
            snprintf(below, sizeof below, "%s/%s", path, name);
            if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
                continue;
            }
            if (buffer[at + 18] == 4) {
                remove_tree(below);
            } else {
                kernel(NR_unlinkat, AT_FD, (long)below, 0, 0, 0, 0);
            }
        }
    }
    close_descriptor(folder);
    DEMAND(kernel(NR_unlinkat, AT_FD, (long)path, AT_REMOVEDIR, 0, 0, 0) == 0);
}

/* The lower directory and what is outside, with all times. */
static void what_may_not_change(char *text) {
    with_times = true;
    fill(&left, &world.hosts[0]);
    memcpy(text, left.bytes, left.size);
    text += left.size;
    fill(&left, &world.hosts[1]);
    memcpy(text, left.bytes, left.size + 1);
    with_times = false;
}

static void make_world(void) {
    snprintf(world.top, sizeof world.top, "%s/", scratch());
    make_directory("out");
    make_file("out/f", "outside");
    make_lower();
    make_upper();
    make_directory("work");
    make_bytes("state", &world.shared, sizeof world.shared);
    DEMAND(
        GUEST(&one.guest, "root", "@upper", "lower", "@lower", "work", "@work", "state", "@state"));
    DEMAND(GUEST(&other.guest, "root", "@plain"));
    DEMAND(GUEST(&world.hosts[0].guest, "root", "@lower"));
    DEMAND(GUEST(&world.hosts[1].guest, "root", "@out"));
    world.clean = one.guest;
    what_may_not_change(world.kept);
}

/* As it was in the beginning; of what is shared, the opaque directory is known to those who trust.
 */
static void begin_anew(unsigned sharing) {
    enter(world.top);
    if (world.is_changed) {
        remove_tree("upper");
        remove_tree("plain");
        make_upper();
    }
    world.is_changed = false;
    one.guest = world.clean;
    if (sharing == 0) {
        return;
    }
    uint64_t generation = world.shared.generation + 1; /* never an earlier one: inodes come again */
    memset(&world.shared, 0, sizeof world.shared);
    world.shared.generation = generation;
    world.shared.format = SHARED_FORMAT;
    world.shared.is_local = sharing == 2;
    world.shared.opaque_count = SHARED_OPAQUE; /* more than there is room for: all are looked at */
    one.guest.shared = &world.shared;
}

/* Where the walk leads is in one of the layers. */
static void check_place(const char *path) {
    static const char *const places[] = {"upper", "lower", "work"};
    static struct workspace space;
    for (int last = KEEP; last <= ENTRY; last++) {
        if (path_resolve(&one.guest, AT_FD, path, (enum last)last, &space) < 0) {
            continue;
        }
        size_t size = strlen(world.top);
        bool is_inside = false;
        for (size_t index = 0; index < 3; index++) {
            size_t more = strlen(places[index]);
            is_inside = is_inside || (strncmp(space.host, world.top, size) == 0 &&
                                      strncmp(space.host + size, places[index], more) == 0 &&
                                      strchr("/", space.host[size + more]) != NULL);
        }
        DEMAND(is_inside);
    }
}

static void tell(const char *what, unsigned operation, const char *path, const char *to,
                 unsigned number, long ours, long theirs) {
    fprintf(stderr, "%s: operation %u \"%s\" \"%s\" %u: %ld, and not %ld\n%s--\n%s", what,
            operation, path, to, number, ours, theirs, left.bytes, right.bytes);
    abort();
}

/* False: the union refuses what the model would do. */
static bool change(struct input *input) {
    unsigned operation = take(input) % OPERATIONS;
    unsigned number = take(input);
    char *path = take_line(input);
    char *to = take_line(input);
    bool goes_on = true;
    /* A symbolic link gets the second path but for its first byte. */
    if (path[0] == '/' && to[0] == '/') {
        check_place(path);
        check_place(to);
        long ours = operate(&one, operation, path, to, number);
        goes_on = ours != -EXDEV;
        long theirs = goes_on ? operate(&other, operation, path, to, number) : ours;
        world.is_changed = true; /* what fails may have, too */
        bool is_either =
            operation == LINK_OPERATION && is_lookup_error(ours) && is_lookup_error(theirs);
        if (ours != theirs && !is_either) {
            tell("the results", operation, path, to, number, ours, theirs);
        }
    }
    free(path);
    free(to);
    return goes_on;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char now[2 * LISTING];
    struct input input = {data, size};
    if (world.top[0] == '\0') {
        make_world();
        atexit(clean_scratch);
    }
    begin_anew(take(&input) % 3);
    for (int count = 0; count < MOST && input.size > 0 && change(&input); count++) {
    }
    if (!is_same() || harness_failures() != 0) {
        tell("what is shown", 0, "", "", 0, harness_failures(), 0);
    }
    if (world.is_changed) {
        what_may_not_change(now);
        DEMAND(strcmp(now, world.kept) == 0);
    }
    return 0;
}
