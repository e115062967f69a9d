/* Where paths lead, case by case. */
#include "guests.h"

struct expected {
    const char *path;
    enum last last;
    const char *answer;
};

static void check_all(const struct guest *guest, long dirfd, const struct expected *cases,
                      size_t count) {
    for (size_t index = 0; index < count; index++) {
        const char *answer = leads(guest, dirfd, cases[index].path, cases[index].last);
        if (strcmp(answer, cases[index].answer) != 0) {
            printf("case \"%s\" (%d):\n", cases[index].path, cases[index].last);
        }
        CHECK_TEXT(answer, cases[index].answer);
    }
}

#define CHECK_ALL(guest, dirfd, cases)                                                             \
    check_all(guest, dirfd, cases, sizeof(cases) / sizeof((cases)[0]))

static void make_tree(void) {
    make_directory("root");
    make_directory("root/etc");
    make_directory("root/usr");
    make_directory("root/usr/bin");
    make_directory("root/empty");
    make_file("root/etc/hosts", "guest\n");
    make_file("root/usr/bin/sh", "#!");
    make_file("secret", "host\n");
    make_link("root/bin", "usr/bin");
    make_link("root/absolute", "/etc/hosts");
    make_link("root/etc/up", "../../../../../etc/hosts");
    make_link("root/out", "../secret");
    make_link("root/loop", "loop");
    make_link("root/one", "two");
    make_link("root/two", "one");
    make_link("root/dangling", "/nothing/here");
    make_link("root/new", "etc/created");
    make_link("root/slash", "etc/");
    make_link("root/dot", "etc/.");
    make_link("root/file-slash", "etc/hosts/");
    make_link("root/chain", "slash/../bin/sh");
    make_link("root/top", "/");
}

static void test_plain(void) {
    struct guest guest;
    CHECK(GUEST(&guest, "root", "@root"));
    const struct expected cases[] = {
        {"/", FOLLOW, "root"},
        {"/", KEEP, "root"},
        {"//", FOLLOW, "root"},
        {"/etc/hosts", FOLLOW, "root/etc/hosts"},
        {"/etc//hosts", FOLLOW, "root/etc/hosts"},
        {"/./etc/././hosts", FOLLOW, "root/etc/hosts"},
        {"/etc/", FOLLOW, "root/etc/"},
        {"/etc/.", FOLLOW, "root/etc/."},
        {"/etc/./", FOLLOW, "root/etc/."},
        {"/..", FOLLOW, "root"},
        {"/../../../secret", FOLLOW, "root/secret"},
        {"/etc/../../../secret", FOLLOW, "root/secret"},
        {"/etc/..", FOLLOW, "root"},
        {"/empty/../etc/hosts", KEEP, "root/etc/hosts"},
        {"/none", FOLLOW, "root/none"},
        {"/none/..", FOLLOW, "-ENOENT"},
        {"/none/x", FOLLOW, "-ENOENT"},
        {"/none/.", FOLLOW, "-ENOENT"},
        {"/none/", FOLLOW, "root/none/"}, /* mkdir(2) takes that */
        {"/etc/hosts/", FOLLOW, "root/etc/hosts/"},
        {"/etc/hosts/.", FOLLOW, "root/etc/hosts/."},
        {"/etc/hosts/..", FOLLOW, "-ENOTDIR"},
        {"/etc/hosts/x", FOLLOW, "-ENOTDIR"},
        {"/etc/hosts/../hosts", FOLLOW, "-ENOTDIR"},
        {"", FOLLOW, "-ENOENT"},
    };
    CHECK_ALL(&guest, AT_FDCWD, cases);
    leads(&guest, AT_FDCWD, "/bin/../bin/./sh", FOLLOW);
    CHECK_TEXT(last_space.guest, "/usr/bin/sh");
    leads(&guest, AT_FDCWD, "/..", FOLLOW);
    CHECK_TEXT(last_space.guest, "/");
}

static void test_links(void) {
    struct guest guest;
    CHECK(GUEST(&guest, "root", "@root"));
    const struct expected cases[] = {
        {"/bin/sh", FOLLOW, "root/usr/bin/sh"},
        {"/bin", FOLLOW, "root/usr/bin"},
        {"/bin", KEEP, "root/bin"},
        {"/bin/", KEEP, "root/usr/bin/"},
        {"/bin/.", KEEP, "root/usr/bin/."},
        {"/bin/..", KEEP, "root/usr"},
        {"/absolute", FOLLOW, "root/etc/hosts"},
        {"/etc/up", FOLLOW, "root/etc/hosts"},
        {"/out", FOLLOW, "root/secret"},
        {"/out", KEEP, "root/out"},
        {"/loop", FOLLOW, "-ELOOP"},
        {"/loop", KEEP, "root/loop"},
        {"/loop/x", KEEP, "-ELOOP"},
        {"/one", FOLLOW, "-ELOOP"},
        {"/dangling", FOLLOW, "-ENOENT"},
        {"/dangling", KEEP, "root/dangling"},
        {"/new", FOLLOW, "root/etc/created"},
        {"/new/", FOLLOW, "root/etc/created/"},
        {"/slash", FOLLOW, "root/etc/"},
        {"/slash/hosts", FOLLOW, "root/etc/hosts"},
        {"/dot", FOLLOW, "root/etc/."},
        {"/file-slash", FOLLOW, "root/etc/hosts/"},
        {"/chain", FOLLOW, "root/usr/bin/sh"},
        {"/top", FOLLOW, "root"},
        {"/top/top/etc/hosts", FOLLOW, "root/etc/hosts"},
        {"/top/../../secret", FOLLOW, "root/secret"},
    };
    CHECK_ALL(&guest, AT_FDCWD, cases);
}

/* What makes and removes names means the name, whatever is behind it: no link is followed. */
static void test_entries(void) {
    struct guest guest;
    CHECK(GUEST(&guest, "root", "@root", "rw", "/mnt", "@data"));
    const struct expected cases[] = {
        {"/bin", ENTRY, "root/bin"},
        {"/bin/", ENTRY, "root/bin/"},
        {"/bin/sh", ENTRY, "root/usr/bin/sh"},
        {"/loop", ENTRY, "root/loop"},
        {"/etc/.", ENTRY, "root/etc/."},
        {"/etc/..", ENTRY, "root/etc/.."},
        {"/etc/../", ENTRY, "root/etc/.."},
        {"/bin/..", ENTRY, "root/usr/bin/.."},
        {"/", ENTRY, "root/."},
        {"/..", ENTRY, "root/.."},
        {"/etc/hosts/..", ENTRY, "-ENOTDIR"},
        {"/none/x", ENTRY, "-ENOENT"},
        {"/mnt", ENTRY, "data"},
        {"/mnt/x", ENTRY, "data/x"},
    };
    CHECK_ALL(&guest, AT_FDCWD, cases);
    leads(&guest, AT_FDCWD, "/mnt", ENTRY);
    CHECK_NUMBER(last_space.mount->target_size, 0); /* the name is of the root's */
    leads(&guest, AT_FDCWD, "/mnt/x", ENTRY);
    CHECK_TEXT(last_space.mount->target, "/mnt");
    leads(&guest, AT_FDCWD, "/mnt/x", FOLLOW);
    CHECK_TEXT(last_space.mount->target, "/mnt");
    leads(&guest, AT_FDCWD, "/mnt", FOLLOW);
    CHECK_TEXT(last_space.mount->target, "/mnt");
}

static void test_mounts(void) {
    struct guest guest;
    make_directory("data");
    make_directory("data/deep");
    make_directory("data/usr");
    make_directory("inner");
    make_file("data/file", "");
    make_file("one-file", "");
    make_link("data/deep/back", "../../../etc/hosts");
    make_link("data/to-root", "/etc/hosts");
    make_link("data/to-self", "/mnt/deep");
    CHECK(GUEST(&guest, "root", "@root", "rw", "/mnt", "@data", "rw", "/mnt/deep/in", "@inner",
                "ro", "/etc/hosts", "@one-file", "rw", "/bin", "@inner", "rw", "/loop", "@one-file",
                "rw", "/a/b/c", "@inner"));
    const struct expected cases[] = {
        {"/mnt", FOLLOW, "data"},
        {"/mnt/", FOLLOW, "data/"},
        {"/mnt/file", FOLLOW, "data/file"},
        {"/mnt/..", FOLLOW, "root"},
        {"/mnt/../etc", FOLLOW, "root/etc"},
        {"/mnt/deep/..", FOLLOW, "data"},
        {"/mnt/deep/../..", FOLLOW, "root"},
        {"/mnt/deep/../../..", FOLLOW, "root"},
        {"/mnt/deep/in", FOLLOW, "inner"},
        {"/mnt/deep/in/x", FOLLOW, "inner/x"},
        {"/mnt/deep/in/../x", FOLLOW, "data/deep/x"},
        {"/mnt/deep/inx", FOLLOW, "data/deep/inx"},
        {"/mntx", FOLLOW, "root/mntx"},
        {"/etc/hosts", FOLLOW, "one-file"},
        {"/etc/hosts", KEEP, "one-file"},
        {"/etc/hosts/..", FOLLOW, "-ENOTDIR"},
        {"/absolute", FOLLOW, "one-file"}, /* a link of the root to what is mounted */
        {"/mnt/deep/back", FOLLOW, "one-file"},
        {"/mnt/to-root", FOLLOW, "one-file"},
        {"/mnt/to-root", KEEP, "data/to-root"},
        {"/mnt/to-self/in", FOLLOW, "inner"},
        {"/bin", FOLLOW, "inner"}, /* mounted over a link */
        {"/bin", KEEP, "inner"},
        {"/bin/..", FOLLOW, "root"},
        {"/loop", FOLLOW, "one-file"},
        {"/a/b/c", FOLLOW, "inner"}, /* nothing in the root leads there */
        {"/a/b/c/../c/x", FOLLOW, "inner/x"},
        {"/a/b/none", FOLLOW, "root/a/b/none"},
        {"/a/none/c", FOLLOW, "-ENOENT"},
    };
    CHECK_ALL(&guest, AT_FDCWD, cases);
    leads(&guest, AT_FDCWD, "/absolute", FOLLOW);
    CHECK(last_space.mount->readonly);
}

static void test_directories(void) {
    struct guest guest;
    CHECK(GUEST(&guest, "root", "@root", "rw", "/mnt", "@data"));
    const struct expected in_usr[] = {
        {"bin/sh", FOLLOW, "root/usr/bin/sh"},
        {".", FOLLOW, "root/usr/."},
        {"..", FOLLOW, "root"},
        {"../..", FOLLOW, "root"},
        {"../../secret", FOLLOW, "root/secret"},
        {"../bin/sh", FOLLOW, "root/usr/bin/sh"},
        {"/etc/hosts", FOLLOW, "root/etc/hosts"},
    };
    int descriptor = open_path("root/usr");
    CHECK_ALL(&guest, descriptor, in_usr);
    close_descriptor(descriptor);
    descriptor = open_path("data/deep");
    CHECK_TEXT(leads(&guest, descriptor, "..", FOLLOW), "data");
    CHECK_TEXT(leads(&guest, descriptor, "../../etc", FOLLOW), "root/etc");
    close_descriptor(descriptor);
    descriptor = open_path("secret"); /* of the host: the guest has no path for it */
    CHECK_TEXT(leads(&guest, descriptor, "x", FOLLOW), "-ENOENT");
    CHECK_TEXT(leads(&guest, descriptor, "/etc/hosts", FOLLOW), "root/etc/hosts");
    close_descriptor(descriptor);
    descriptor = open_path(".");
    CHECK_TEXT(leads(&guest, descriptor, "secret", KEEP), "-ENOENT");
    close_descriptor(descriptor);
    descriptor = open_path("root/etc/hosts");
    CHECK_TEXT(leads(&guest, descriptor, "x", FOLLOW), "-ENOTDIR");
    CHECK_TEXT(leads(&guest, descriptor, "..", FOLLOW), "-ENOTDIR");
    close_descriptor(descriptor);
    CHECK_TEXT(leads(&guest, descriptor, "x", FOLLOW), "-EBADF");
    CHECK_TEXT(leads(&guest, -1, "x", FOLLOW), "-EBADF");
    CHECK_TEXT(leads(&guest, -1, "/etc", FOLLOW), "root/etc");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "x", FOLLOW),
               "-ENOENT"); /* it is in the scratch directory */
    enter("root/usr");
    CHECK_ALL(&guest, AT_FDCWD, in_usr);
    CHECK_ALL(&guest, (long)(unsigned)AT_FDCWD, in_usr); /* as 32 bits of a register */
    make_directory("../gone");
    enter("../gone");
    remove_entry("../gone");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "x", FOLLOW), "-ENOENT");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/etc", FOLLOW), "root/etc");
    enter(scratch());
}

/* Above the root is the root, also where a name is too long for the walk. */
static void test_too_long_above_the_root(void) {
    struct guest guest;
    CHECK(GUEST(&guest, "root", "@root"));
    char path[400] = "../../";
    memset(path + strlen(path), 'n', 300);
    enter("root");
    CHECK_TEXT(leads(&guest, AT_FDCWD, path, FOLLOW), "-ENAMETOOLONG");
    enter(scratch());
}

static void test_within(void) {
    struct guest guest;
    CHECK(GUEST(&guest, "root", "@root", "rw", "/mnt", "@data", "rw", "/usr/bin", "@inner"));
    int descriptor = open_path("root/usr");
    make_link("root/usr/abs", "/bin");
    make_link("root/usr/rel", "bin/x");
    make_link("root/usr/leave", "../etc/hosts");
    CHECK_TEXT(leads_within(&guest, descriptor, "/bin", FOLLOW, RESOLVE_IN_ROOT), "inner");
    CHECK_TEXT(leads_within(&guest, descriptor, "..", FOLLOW, RESOLVE_IN_ROOT), "root/usr");
    CHECK_TEXT(leads_within(&guest, descriptor, "abs", FOLLOW, RESOLVE_IN_ROOT), "inner");
    CHECK_TEXT(leads_within(&guest, descriptor, "leave", FOLLOW, RESOLVE_IN_ROOT), "-ENOENT");
    CHECK_TEXT(leads_within(&guest, descriptor, "abs", FOLLOW, RESOLVE_BENEATH), "-EXDEV");
    CHECK_TEXT(leads_within(&guest, descriptor, "/bin", FOLLOW, RESOLVE_BENEATH), "-EXDEV");
    CHECK_TEXT(leads_within(&guest, descriptor, "leave", FOLLOW, RESOLVE_BENEATH), "-EXDEV");
    CHECK_TEXT(leads_within(&guest, descriptor, "bin/../rel", FOLLOW, RESOLVE_BENEATH), "inner/x");
    CHECK_TEXT(leads_within(&guest, descriptor, "rel", FOLLOW, RESOLVE_NO_SYMLINKS), "-ELOOP");
    CHECK_TEXT(leads_within(&guest, descriptor, "rel", KEEP, RESOLVE_NO_SYMLINKS), "root/usr/rel");
    CHECK_TEXT(leads_within(&guest, descriptor, "rel", FOLLOW, RESOLVE_NO_XDEV), "-EXDEV");
    CHECK_TEXT(leads_within(&guest, descriptor, "../etc", FOLLOW, RESOLVE_NO_XDEV), "root/etc");
    close_descriptor(descriptor);
}

/* A path of that size: a name, over and over. */
static char *long_path(size_t size, size_t name_size) {
    static char path[8192];
    memset(path, 'n', size);
    for (size_t at = 0; at < size; at += name_size + 1) {
        path[at] = '/';
    }
    path[size - 1] = 'n';
    path[size] = '\0';
    return path;
}

static void test_limits(void) {
    struct guest guest;
    char name[400];
    CHECK(GUEST(&guest, "root", "@root"));
    CHECK_TEXT(leads(&guest, AT_FDCWD, long_path(4096, 200), FOLLOW), "-ENAMETOOLONG");
    CHECK_TEXT(leads(&guest, AT_FDCWD, long_path(5000, 200), FOLLOW), "-ENAMETOOLONG");
    CHECK_TEXT(leads(&guest, AT_FDCWD, long_path(4095, 200), FOLLOW), "-ENOENT");
    CHECK_TEXT(leads(&guest, AT_FDCWD, long_path(256, 300), FOLLOW) + 4, long_path(256, 300));
    CHECK_TEXT(leads(&guest, AT_FDCWD, long_path(257, 300), FOLLOW), "-ENAMETOOLONG");
    snprintf(name, sizeof name, "/etc/hosts%s", long_path(257, 300)); /* below a file */
    CHECK_TEXT(leads(&guest, AT_FDCWD, name, FOLLOW), "-ENOTDIR");
    /* Slashes and dots take no room in the answer. */
    char path[4096];
    memset(path, '/', sizeof path);
    memcpy(path + sizeof path - 10, "etc/hosts", 10);
    CHECK_TEXT(leads(&guest, AT_FDCWD, path, FOLLOW), "root/etc/hosts");
    for (size_t at = 0; at + 3 < sizeof path; at += 2) {
        memcpy(path + at, "/.", 3);
    }
    CHECK_TEXT(leads(&guest, AT_FDCWD, path, FOLLOW), "root/.");
    for (size_t at = 0; at + 4 < sizeof path; at += 3) {
        memcpy(path + at, "/..", 4);
    }
    CHECK_TEXT(leads(&guest, AT_FDCWD, path, FOLLOW), "root");
    /* As many links as the kernel follows, and one more. */
    make_file("root/l0", "");
    for (int link = 1; link <= 41; link++) {
        char text[16];
        snprintf(name, sizeof name, "root/l%d", link);
        snprintf(text, sizeof text, "l%d", link - 1);
        make_link(name, text);
    }
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/l40", FOLLOW), "root/l0");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/l41", FOLLOW), "-ELOOP");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/l41", KEEP), "root/l41");
}

/* Links with the longest text there is, and paths that grow by them. */
static void test_long_links(void) {
    struct guest guest;
    CHECK(GUEST(&guest, "root", "@root"));
    char text[4096];
    for (size_t at = 0; at < sizeof text - 1; at += 2) {
        memcpy(text + at, "./", 2);
    }
    memcpy(text + sizeof text - 6, "/usr/", 6);
    make_link("root/long", text);
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/long/bin/sh", FOLLOW), "root/usr/bin/sh");
    char path[4096] = "/long/";
    for (size_t at = 6; at + 3 < sizeof path; at += 2) {
        memcpy(path + at, "./", 3);
    }
    CHECK_TEXT(leads(&guest, AT_FDCWD, path, FOLLOW), "root/usr/.");
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    make_link("root/too-long", text);
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/too-long", FOLLOW), "-ENAMETOOLONG");
}

int main(void) {
    scratch();
    make_tree();
    test_plain();
    test_links();
    test_mounts();
    test_entries();
    test_directories();
    test_too_long_above_the_root();
    test_within();
    test_limits();
    test_long_links();
    return harness_end();
}
