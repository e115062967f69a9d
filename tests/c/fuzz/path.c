/*
 * The resolver, on a tree of links, dots and mounts. Two bytes choose the guest, the directory to
 * begin in, the limits and what is meant; then a line with the path, and lines with the texts of
 * links. The answer must be inside and have no link in it, and be what the kernel finds in a root
 * without mounts.
 */
#include "fuzz.h"

#include "quick.h"

enum { LINKS = 3, STARTS = 5, GUESTS = 3, OUTSIDE = 3 };

static const char *const link_names[LINKS] = {"root/a/x", "root/a/b/y", "root/z"};
static const char *const start_names[STARTS] = {"root", "root/a", "root/a/b", "out", "one/e"};
static const char *const start_paths[STARTS] = {"/", "/a/", "/a/b/", NULL, NULL};
static struct {
    struct guest guests[GUESTS];
    int starts[STARTS];
    char texts[LINKS][200];
} world;

static void make_world(void) {
    static const char *const directories[] = {
        "root", "root/a", "root/a/b", "root/a/b/c", "root/d", "root/i",
        "out",  "out/a",  "one",      "one/e",      "two",    "two/a",
    };
    static const char *const files[] = {"root/f", "root/a/f", "root/a/b/g",
                                        "out/f",  "one/h",    "two/f"};
    static const char *const links[][2] = {
        {"root/l", "a"},      {"root/m", "/a/b"},          {"root/n", "../.."},
        {"root/o", "o"},      {"root/p", "a/../p/f"},      {"root/r", "a/f"},
        {"root/s", "f/"},     {"root/t", "a/b/"},          {"root/u", "."},
        {"root/w", "none"},   {"root/v", "//a//./b/../b"}, {"root/a/k", "../d"},
        {"root/a/b/q", "/"},  {"root/i/l", "../a/b/y"},    {"one/k", "../.."},
        {"one/j", "/d/e"},    {"one/e/l", "../h"},         {"two/o", "../out"},
        {"out/r", "../root"},
    };
    scratch();
    for (size_t index = 0; index < sizeof directories / sizeof directories[0]; index++) {
        make_directory(directories[index]);
    }
    for (size_t index = 0; index < sizeof files / sizeof files[0]; index++) {
        make_file(files[index], "");
    }
    for (size_t index = 0; index < sizeof links / sizeof links[0]; index++) {
        make_link(links[index][0], links[index][1]);
    }
    for (size_t index = 0; index < LINKS; index++) {
        make_link(link_names[index], ".");
        strcpy(world.texts[index], ".");
    }
    for (size_t index = 0; index < STARTS; index++) {
        world.starts[index] = open_path(start_names[index]);
    }
    DEMAND(GUEST(&world.guests[0], "root", "@root"));
    DEMAND(GUEST(&world.guests[1], "root", "@root", "rw", "/d", "@one", "ro", "/a/b/c", "@two",
                 "rw", "/a/f", "@one/h"));
    DEMAND(GUEST(&world.guests[2], "root", "@root", "rw", "/d", "@one", "rw", "/d/e", "@two", "rw",
                 "/new/in", "@one", "ro", "/new/in/e/deep", "@out/a"));
}

static void change_links(struct input *input) {
    enter(scratch());
    for (size_t index = 0; index < LINKS; index++) {
        char *text = take_line(input);
        text[strlen(text) < sizeof world.texts[0] ? strlen(text) : sizeof world.texts[0] - 1] = 0;
        if (text[0] != '\0' && strcmp(text, world.texts[index]) != 0) {
            remove_entry(link_names[index]);
            make_link(link_names[index], text);
            strcpy(world.texts[index], text);
        }
        free(text);
    }
}

/* Whether path is one of those directories, or below it. */
static bool is_inside(const char *path) {
    static const char *const sources[] = {"root", "one", "two", "out/a"};
    size_t size = strlen(scratch());
    if (strncmp(path, scratch(), size) != 0 || path[size] != '/') {
        return false;
    }
    path += size + 1;
    for (size_t index = 0; index < sizeof sources / sizeof sources[0]; index++) {
        size = strlen(sources[index]);
        if (strncmp(path, sources[index], size) == 0 && (path[size] == '/' || path[size] == '\0')) {
            return true;
        }
    }
    return false;
}

/* No link, and no dots, in any part of path but the last ones that may be left to the kernel. */
static void check_parts(const char *path, enum last last) {
    char prefix[PATH_SIZE];
    for (const char *end = strchr(path + 1, '/');; end = strchr(end + 1, '/')) {
        size_t size = end == NULL ? strlen(path) : (size_t)(end - path);
        bool is_last = end == NULL || end[1] == '\0' || strcmp(end, "/.") == 0 ||
                       (last == ENTRY && strcmp(end, "/..") == 0);
        memcpy(prefix, path, size);
        prefix[size] = '\0';
        const char *name = strrchr(prefix, '/') + 1;
        DEMAND(name[0] != '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
        bool may_be_link = is_last && (last == ENTRY || (last == KEEP && end == NULL));
        DEMAND(may_be_link || !is_link(prefix));
        if (is_last) {
            return;
        }
    }
}

/* What is at a path, or the error, as one text. */
static const char *there(int descriptor) {
    static char answers[2][80];
    static unsigned next;
    char *answer = answers[next++ % 2];
    if (descriptor < 0) {
        snprintf(answer, sizeof answers[0], "%d", descriptor);
        return answer;
    }
    snprintf(answer, sizeof answers[0], "%s", identity_of_descriptor(descriptor));
    close_descriptor(descriptor);
    return answer;
}

static void compare(const char *ours, const char *theirs, const char *who, const char *path) {
    if (strcmp(ours, theirs) != 0) {
        fprintf(stderr, "%s: %s, and here %s, of \"%s\"\n", who, theirs, ours, path);
        for (size_t index = 0; index < LINKS; index++) {
            fprintf(stderr, "%s -> %s\n", link_names[index], world.texts[index]);
        }
        abort();
    }
}

/* The kernel in the same directory as its root. */
static const char *of_kernel(const char *path, int start, enum last last, uint64_t limits) {
    char whole[2 * PATH_SIZE];
    int descriptor = world.starts[start];
    snprintf(whole, sizeof whole, "%s", path);
    if (!(limits & (RESOLVE_BENEATH | RESOLVE_IN_ROOT))) {
        snprintf(whole, sizeof whole, "%s%s", path[0] == '/' ? "" : start_paths[start], path);
        descriptor = world.starts[0];
        limits |= RESOLVE_IN_ROOT;
    }
    struct open_how how = {.flags = O_PATH | O_CLOEXEC | (last == FOLLOW ? 0 : O_NOFOLLOW),
                           .resolve = limits};
    if (path[0] == '\0') {
        whole[0] = '\0';
    }
    return there(open_within(descriptor, whole, &how));
}

static void check_quick(const struct guest *guest, const char *path, int dirfd, enum last last,
                        const char *ours) {
    static char host[PATH_SIZE];
    struct shape shape;
    if (last == ENTRY || !quick_shape(guest, path, &shape)) {
        return;
    }
    long flags = O_PATH | O_CLOEXEC | (last == FOLLOW ? 0 : O_NOFOLLOW);
    long result = quick_open(guest, dirfd, path, &shape, flags, 0, host);
    if (result != -ENOSYS && result != -ELOOP) {
        compare(ours, there((int)result), "the shortcut", path);
    }
}

static void check(unsigned choice, unsigned more, const char *path) {
    static struct workspace space;
    const struct guest *guest = &world.guests[choice % 4 % GUESTS];
    enum last last = (enum last)(choice / 4 % 3);
    int start = (int)(more % 8 % STARTS);
    uint64_t limits = more / 8;
    if (limits & RESOLVE_BENEATH) {
        limits &= ~(uint64_t)RESOLVE_IN_ROOT;
    }
    bool is_descriptor = choice & 0x80;
    long dirfd = is_descriptor ? world.starts[start] : AT_FDCWD;
    enter(scratch());
    enter(start_names[start]);
    long result = path_resolve_within(guest, dirfd, path, last, limits, &space);
    const char *ours = there(result < 0 ? (int)result : try_path(space.host, false));
    if (result == 0) {
        DEMAND(is_inside(space.host));
        check_parts(space.host, last);
    }
    if (start == OUTSIDE) {
        DEMAND(result < 0 || (path[0] == '/' && !(limits & (RESOLVE_BENEATH | RESOLVE_IN_ROOT))) ||
               guest == &world.guests[2]);
        return;
    }
    /* What the kernel is given is longer by the directory. */
    bool fits = strlen(path) >= PATH_SIZE || strlen(path) + 8 < PATH_SIZE;
    if (guest == &world.guests[0] && last != ENTRY && start_paths[start] != NULL && fits) {
        compare(ours, of_kernel(path, start, last, limits), "the kernel", path);
    }
    if (limits == 0 && (start_paths[start] != NULL || guest != &world.guests[0])) {
        check_quick(guest, path, (int)dirfd, last, ours);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    if (world.guests[0].mount_count == 0) {
        make_world();
        atexit(clean_scratch);
    }
    unsigned choice = take(&input);
    unsigned more = take(&input);
    char *path = take_line(&input);
    change_links(&input);
    check(choice, more, path);
    free(path);
    return 0;
}
