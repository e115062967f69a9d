/*
 * What processes of a union share besides directories: what links say, which files have no patched
 * copy, and that nobody has an owner. Each is to be known, and to end when it is no longer so,
 * whoever has changed it.
 */
#include "guests.h"

#include "calls.h"
#include "quick.h"
#include "union_facts.h"

enum {
    AT_FD = AT_FDCWD,
    EXCHANGE = 2,
    NUMBER = 7,
    MAGIC = 0x31776f75,
    MARKS_SIZE = 32 + 4096 * 16 + (1 << 16),
};

static struct process one;
static struct process two; /* another process of the container */
static struct workspace space;

static long on(struct process *process, long number, long a, long b, long c, long d, long e) {
    struct call call = {number, {a, b, c, d, e, 0}};
    return calls_carry_out(process, &call, NULL);
}

static void make_state(void) {
    static struct shared shared;
    memset(&shared, 0, sizeof shared);
    shared.format = SHARED_FORMAT;
    shared.is_local = true;
    make_bytes("state", &shared, sizeof shared);
}

static void make_marks(void) {
    static char marks[MARKS_SIZE];
    const uint32_t magic = MAGIC;
    memcpy(marks, &magic, sizeof magic);
    make_bytes("marks", marks, sizeof marks);
}

/* "/dir" has a program and a link to it; "/link" leads to that directory, "/l" to the program. */
static void make_tree(const char *place) {
    enter(scratch());
    make_directory(place);
    enter(place);
    static const char *const folders[] = {"lower",     "lower/dir", "lower/other", "lower/jail",
                                          "lower/mnt", "lower/top", "upper",       "work"};
    for (size_t index = 0; index < sizeof folders / sizeof folders[0]; index++) {
        make_directory(folders[index]);
    }
    make_file("lower/dir/program", "of the image");
    make_file("lower/other/program", "another");
    make_link("lower/dir/l", "program");
    make_link("lower/link", "dir");
    make_link("lower/l", "/dir/program");
    make_link("lower/new", "other");
    make_directory("lower/jail/dir");
    make_file("lower/jail/dir/program", "of the jail");
    make_directory("host");
    make_file("host/program", "of the host");
    make_state();
    make_marks();
}

/* A process of the container, for which something of the host is at target unless that is NULL. */
static void make_process(struct process *process, const char *place, const char *target,
                         const char *source) {
    char words[6][PATH_SIZE];
    static const char *const names[] = {"upper", "lower", "work", "state", "marks", ""};
    for (size_t index = 0; index < 6; index++) {
        snprintf(words[index], sizeof words[index], "@%s/%s", place,
                 index == 5 && source != NULL ? source : names[index]);
    }
    memset(process, 0, sizeof *process);
    CHECK(GUEST(&process->guest, "root", words[0], "lower", words[1], "work", words[2], "state",
                words[3], "owners", words[4], target == NULL ? NULL : "rw", target, words[5]));
    union_attach(&process->guest, NULL);
    CHECK_NUMBER(union_begin(&process->guest, &space), 0);
    CHECK(process->guest.shared != NULL);
    persona_begin(process);
}

static void make_world(const char *place) {
    make_tree(place);
    make_process(&one, place, NULL, NULL);
    make_process(&two, place, NULL, NULL);
}

/* What a file has, or the name of an error. */
static const char *content(struct process *process, const char *path) {
    static char text[256];
    long descriptor = on(process, NR_openat, AT_FD, (long)path, O_RDONLY, 0, 0);
    if (descriptor < 0) {
        return told(descriptor, "");
    }
    long size = on(process, NR_read, descriptor, (long)text, sizeof text - 1, 0, 0);
    on(process, NR_close, descriptor, 0, 0, 0, 0);
    text[size < 0 ? 0 : size] = '\0';
    return text;
}

static long known(struct process *process, const char *path) {
    char text[PATH_SIZE];
    return union_known_link(&process->guest, path, strlen(path), text);
}

/* Until it is known: the walk that finds a directory out is not the one that finds the link. */
static void learn(void) {
    for (int times = 0; times < 3; times++) {
        CHECK_TEXT(content(&one, "/link/program"), "of the image");
        CHECK_TEXT(content(&one, "/l"), "of the image");
        CHECK_TEXT(content(&one, "/dir/l"), "of the image");
        CHECK_TEXT(content(&one, "/link/l"), "of the image");
    }
    CHECK_NUMBER(known(&one, "/link"), 3);
    CHECK_NUMBER(known(&one, "/l"), 12);
    CHECK_NUMBER(known(&one, "/dir/l"), 7);
    CHECK_NUMBER(known(&two, "/link"), 3);
    CHECK_NUMBER(known(&two, "/dir/l"), 7);
}

static bool finds_lower(struct process *process, const char *path) {
    return quick_find_lower(&process->guest, path, &space);
}

static void test_known(void) {
    make_world("known");
    learn();
    char out[PATH_SIZE];
    CHECK(quick_past_links(&two.guest, "/link/l", out));
    CHECK_TEXT(out, "/dir/program");
    CHECK(quick_past_links(&two.guest, "/l", out));
    CHECK_TEXT(out, "/dir/program");
    CHECK(!quick_past_links(&two.guest, "/dir/program", out));
    CHECK(!quick_past_links(&two.guest, "//link/program", out));
    CHECK(finds_lower(&two, "/link/l"));
    CHECK_TEXT(space.guest, "/dir/program");
    CHECK(!finds_lower(&two, "/link/../l"));
    CHECK(!finds_lower(&two, "/link//l"));
    /* Copied up the link is what it was. */
    CHECK_NUMBER(on(&two, NR_fchownat, AT_FD, (long)"/link", 0, 0, AT_SYMLINK_NOFOLLOW), 0);
    CHECK_TEXT(content(&one, "/link/program"), "of the image");
    CHECK_NUMBER(on(&two, NR_unlinkat, AT_FD, (long)"/link", 0, 0, 0), 0);
    CHECK_TEXT(content(&one, "/link/program"), "-ENOENT");
}

/* What takes "/link" away, by name or from an open directory, and what is there then. */
static void change(struct process *process, int way) {
    long root = on(process, NR_openat, AT_FD, (long)"/", O_RDONLY | O_DIRECTORY, 0, 0);
    long result = 0;
    switch (way) {
    case 0:
        result = on(process, NR_unlinkat, AT_FD, (long)"/link", 0, 0, 0);
        break;
    case 1:
        result = on(process, NR_unlinkat, root, (long)"link", 0, 0, 0);
        break;
    case 2:
        result = on(process, NR_renameat2, root, (long)"link", root, (long)"away", 0);
        break;
    case 3:
        result = on(process, NR_renameat2, AT_FD, (long)"/new", AT_FD, (long)"/link", 0);
        break;
    case 4:
        result = on(process, NR_renameat2, AT_FD, (long)"/new", AT_FD, (long)"/link", EXCHANGE);
        break;
    case 5:
        result = on(process, NR_unlinkat, AT_FD, (long)"/link", 0, 0, 0);
        result = result < 0 ? result : on(process, NR_mkdirat, AT_FD, (long)"/link", 0700, 0, 0);
        break;
    default:
        result = on(process, NR_symlinkat, (long)"other", AT_FD, (long)"/made", 0, 0);
        result = result < 0
                     ? result
                     : on(process, NR_renameat2, AT_FD, (long)"/made", root, (long)"link", 0);
    }
    CHECK_NUMBER(result, 0);
    on(process, NR_close, root, 0, 0, 0, 0);
}

static void test_link_of_root_goes(void) {
    static const char *const found[] = {"-ENOENT", "-ENOENT", "-ENOENT", "another",
                                        "another", "-ENOENT", "another"};
    for (int way = 0; way < 7; way++) {
        for (int who = 0; who < 2; who++) {
            char place[32];
            snprintf(place, sizeof place, "goes%d%d", way, who);
            make_world(place);
            learn();
            change(who ? &two : &one, way);
            CHECK_NUMBER(known(&one, "/link"), -ENOENT);
            CHECK(!finds_lower(&one, "/link/program"));
            for (int times = 0; times < 3; times++) {
                CHECK_TEXT(content(&one, "/link/program"), found[way]);
                CHECK_TEXT(content(&two, "/link/program"), found[way]);
            }
        }
    }
}

/* Of a directory that only the lower one has, until somebody writes there. */
static void test_link_of_a_directory_goes(void) {
    for (int who = 0; who < 2; who++) {
        make_world(who ? "folder1" : "folder0");
        struct process *process = who ? &two : &one;
        learn();
        CHECK_NUMBER(
            on(process, NR_renameat2, AT_FD, (long)"/other/program", AT_FD, (long)"/dir/l", 0), 0);
        CHECK_NUMBER(known(&one, "/dir/l"), -ENOENT);
        for (int times = 0; times < 3; times++) {
            CHECK_TEXT(content(&one, "/dir/l"), "another");
            CHECK_TEXT(content(&one, "/link/l"), "another");
        }
        CHECK_NUMBER(on(process, NR_unlinkat, AT_FD, (long)"/link/l", 0, 0, 0), 0);
        CHECK_TEXT(content(&one, "/link/l"), "-ENOENT");
    }
}

/* The upper one has something in the directory that the link leads to. */
static void test_merged(void) {
    make_world("merged");
    CHECK(on(&two, NR_openat, AT_FD, (long)"/dir/new", O_CREAT | O_WRONLY, 0600, 0) >= 0);
    for (int times = 0; times < 3; times++) {
        CHECK_TEXT(content(&one, "/link/program"), "of the image");
        CHECK_TEXT(content(&one, "/link/new"), "");
        CHECK_TEXT(content(&one, "/dir/l"), "of the image");
    }
    CHECK_NUMBER(known(&one, "/dir/l"), -ENOENT);
    CHECK_NUMBER(known(&one, "/link"), 3);
    CHECK_NUMBER(union_known(&one.guest, "/dir", 4), MERGED);
    CHECK(!finds_lower(&one, "/link/program"));
    CHECK_NUMBER(on(&two, NR_unlinkat, AT_FD, (long)"/link/program", 0, 0, 0), 0);
    CHECK_NUMBER(on(&two, NR_unlinkat, AT_FD, (long)"/dir/l", 0, 0, 0), 0);
    CHECK_TEXT(content(&one, "/link/program"), "-ENOENT");
    CHECK_TEXT(content(&one, "/dir/l"), "-ENOENT");
}

static void test_chroot(void) {
    make_world("chroot");
    learn();
    CHECK_NUMBER(on(&one, NR_symlinkat, (long)"/dir", AT_FD, (long)"/jail/link", 0, 0), 0);
    learn();
    CHECK_NUMBER(on(&one, NR_chroot, (long)"/jail", 0, 0, 0, 0), 0);
    for (int times = 0; times < 3; times++) {
        CHECK_TEXT(content(&one, "/link/program"), "of the jail");
        CHECK_TEXT(content(&one, "/l"), "-ENOENT");
    }
    CHECK(!finds_lower(&one, "/link/program"));
    CHECK(!finds_lower(&one, "/dir/program"));
    CHECK_TEXT(content(&two, "/link/program"), "of the image");
}

/* Another run of the container, at the same time, has volumes. */
static void test_volumes(void) {
    static const char *const targets[] = {"/dir", "/dir/program", "/link"};
    static const char *const sources[] = {"host", "host/program", "host"};
    for (int way = 0; way < 3; way++) {
        char place[32];
        snprintf(place, sizeof place, "volume%d", way);
        make_world(place);
        learn();
        make_process(&two, place, targets[way], sources[way]);
        CHECK(!finds_lower(&two, way == 2 ? "/link/program" : "/dir/program"));
        CHECK(!finds_lower(&two, "/link/program"));
        for (int times = 0; times < 3; times++) {
            CHECK_TEXT(content(&two, "/link/program"), "of the host");
            CHECK_TEXT(content(&two, "/l"), way == 2 ? "of the image" : "of the host");
        }
        CHECK_TEXT(content(&one, "/link/program"), "of the image");
    }
}

/* As many links as there is no room for, and texts that are too long. */
static void test_room(void) {
    char name[64];
    char text[128];
    make_tree("room");
    for (int index = 0; index < 4 * SHARED_LINKS; index++) {
        snprintf(name, sizeof name, "lower/n%d", index);
        snprintf(text, sizeof text, "%.*s", 2 * index % 120,
                 "./././././././././././././././././././././././././././././././././././././././"
                 "./././././././././././././././././././././././././");
        strcat(text, index % 2 ? "dir" : "other");
        make_link(name, text);
    }
    make_process(&one, "room", NULL, NULL);
    size_t count = 0;
    for (int times = 0; times < 3; times++) {
        for (int index = 0; index < 4 * SHARED_LINKS; index++) {
            snprintf(name, sizeof name, "/n%d/program", index);
            CHECK_TEXT(content(&one, name), index % 2 ? "of the image" : "another");
            name[strlen(name) - 8] = '\0';
            count += known(&one, name) > 0;
        }
    }
    CHECK(count > 0);
}

/* "No copy" is believed until a first program has begun, or something else is asked about. */
static void test_no_copy(void) {
    make_world("copies");
    CHECK(!union_knows_no_copy(&one.guest, NUMBER));
    union_learn_no_copy(&one.guest, NUMBER);
    CHECK(union_knows_no_copy(&one.guest, NUMBER));
    CHECK(union_knows_no_copy(&two.guest, NUMBER));
    CHECK(!union_knows_no_copy(&one.guest, NUMBER + 1));
    two.guest.shared->starts++;
    CHECK(!union_knows_no_copy(&one.guest, NUMBER));
}

static unsigned shown_uid(struct process *process, const char *path) {
    struct status status = {.uid = 99};
    CHECK_NUMBER(on(process, NR_newfstatat, AT_FD, (long)path, (long)&status, 0, 0), 0);
    return status.uid;
}

/* These map the files of owners when there is something in them. */
static void open_owners(struct process *process) {
    owners_open_later(&process->guest, &process->guest.shared->owners);
}

static void test_owners(void) {
    make_tree("owners");
    static struct process first;
    make_process(&first, "owners", NULL, NULL);
    owners_open(&first.guest);
    CHECK(first.guest.owners.marks != NULL);
    owners_make_hints(&first.guest, &first.guest.shared->owners);
    make_process(&one, "owners", NULL, NULL);
    make_process(&two, "owners", NULL, NULL);
    open_owners(&one);
    open_owners(&two);
    CHECK_NUMBER(shown_uid(&one, "/dir/program"), 0);
    CHECK_NUMBER(shown_uid(&one, "/dir"), 0);
    CHECK(one.guest.owners.marks == NULL); /* nothing was mapped for that */
    CHECK_NUMBER(on(&two, NR_fchownat, AT_FD, (long)"/dir/program", 5, 7, 0), 0);
    CHECK_NUMBER(shown_uid(&one, "/dir/program"), 5);
    CHECK_NUMBER(shown_uid(&two, "/dir/program"), 5);
    CHECK_NUMBER(shown_uid(&one, "/dir"), 0);
    /* A process that begins later, and one of another run. */
    make_process(&two, "owners", NULL, NULL);
    open_owners(&two);
    CHECK_NUMBER(shown_uid(&two, "/dir/program"), 5);
    unsigned uid = 99;
    unsigned gid = 99;
    CHECK(!owners_find_peer(&one.guest, NUMBER, &uid, &gid));
    owners_tell_peer(&two.guest, NUMBER, 3, 4);
    CHECK(owners_have_peers(&one.guest));
    CHECK(owners_find_peer(&one.guest, NUMBER, &uid, &gid));
    CHECK_NUMBER(uid, 3);
    CHECK_NUMBER(gid, 4);
}

int main(void) {
    test_known();
    test_link_of_root_goes();
    test_link_of_a_directory_goes();
    test_merged();
    test_chroot();
    test_volumes();
    test_room();
    test_no_copy();
    test_owners();
    return harness_end();
}
