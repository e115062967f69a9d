/*
 * Symbolic links of a union whose text is a path of the host, and descriptors of what is in the
 * lower directory: no call gets at the host's file or changes the lower directory.
 */
#include "guests.h"

#include "union.h"

enum { AT_FD = AT_FDCWD, NOT_WRITTEN = 86400 };

static struct process one;
static struct workspace space;

static long on(long number, long a, long b, long c, long d, long e) {
    struct call call = {number, {a, b, c, d, e, 0}};
    return calls_carry_out(&one, &call, NULL);
}

static void make_union(void) {
    char target[PATH_SIZE];
    make_directory("lower");
    make_directory("lower/dir");
    make_directory("upper");
    make_directory("work");
    make_directory("host");
    make_file("host/file", "of the host");
    make_file("lower/dir/file", "of the image");
    CHECK_NUMBER(kernel(NR_mknodat, AT_FD, (long)"lower/pipe", S_IFIFO | 0600, 0, 0, 0), 0);
    make_directory("lower/deep");
    CHECK_NUMBER(kernel(NR_mknodat, AT_FD, (long)"lower/deep/pipe", S_IFIFO | 0600, 0, 0, 0), 0);
    CHECK_NUMBER(kernel(NR_mknodat, AT_FD, (long)"lower/deep/pipe2", S_IFIFO | 0600, 0, 0, 0), 0);
    snprintf(target, sizeof target, "%s/host/file", scratch());
    static const char *const links[] = {"lower/link", "lower/link1", "lower/link2", "lower/link3",
                                        "lower/link4"};
    for (size_t index = 0; index < sizeof links / sizeof links[0]; index++) {
        make_link(links[index], target);
    }
    CHECK(GUEST(&one.guest, "root", "@upper", "lower", "@lower", "work", "@work", "rw", "/proc",
                "/proc"));
    CHECK_NUMBER(union_begin(&one.guest, &space), 0);
}

/* What must stay as it is, of a place on the host. */
struct state {
    struct status status;
    char xattrs[16];
};

static struct state state_of(const char *host) {
    struct state state;
    memset(&state, 0, sizeof state);
    CHECK_NUMBER(
        kernel(NR_newfstatat, AT_FD, (long)host, (long)&state.status, AT_SYMLINK_NOFOLLOW, 0, 0),
        0);
    kernel(NR_lgetxattr, (long)host, (long)"user.x", (long)state.xattrs, 8, 0, 0);
    return state;
}

static void check_same(const char *host, const struct state *before) {
    struct state now = state_of(host);
    CHECK_NUMBER(now.status.mode, before->status.mode);
    CHECK_NUMBER(now.status.links, before->status.links);
    CHECK_NUMBER(now.status.modified[0], before->status.modified[0]);
    CHECK_NUMBER(now.status.changed[0], before->status.changed[0]);
    CHECK_NUMBER(now.status.changed[1], before->status.changed[1]);
    CHECK_TEXT(now.xattrs, before->xattrs);
}

static const uint64_t times[4] = {NOT_WRITTEN, 0, NOT_WRITTEN, 0};

/* The link itself is changed, as the kernel does it. */
static void test_open_link(void) {
    struct state host = state_of("host/file");
    struct status status;
    long link = on(NR_openat, AT_FD, (long)"/link", O_PATH | O_NOFOLLOW, 0, 0);
    CHECK_NUMBER(on(NR_utimensat, link, (long)"", (long)times, AT_EMPTY_PATH, 0), 0);
    check_same("host/file", &host);
    CHECK_NUMBER(on(NR_newfstatat, AT_FD, (long)"/link", (long)&status, AT_SYMLINK_NOFOLLOW, 0), 0);
    CHECK_NUMBER(status.modified[0], NOT_WRITTEN);

    link = on(NR_openat, AT_FD, (long)"/link1", O_PATH | O_NOFOLLOW, 0, 0);
    CHECK(on(NR_linkat, link, (long)"", AT_FD, (long)"/new", AT_EMPTY_PATH | AT_SYMLINK_FOLLOW) <=
          0);
    check_same("host/file", &host);

    link = on(NR_openat, AT_FD, (long)"/link2", O_PATH | O_NOFOLLOW, 0, 0);
    CHECK_NUMBER(on(NR_fchmod, link, 0777, 0, 0, 0), -EBADF);
    CHECK_NUMBER(on(NR_fsetxattr, link, (long)"user.x", (long)"1", 1, 0), -EBADF);
    CHECK_NUMBER(on(NR_fremovexattr, link, (long)"user.x", 0, 0, 0), -EBADF);
    check_same("host/file", &host);
}

/* The same by the magic link of /proc, which calls follow, and only that. */
static void test_magic_link(void) {
    char path[64];
    struct state host = state_of("host/file");
    long link = on(NR_openat, AT_FD, (long)"/link3", O_PATH | O_NOFOLLOW, 0, 0);
    snprintf(path, sizeof path, "/proc/self/fd/%ld", link);
    on(NR_utimensat, AT_FD, (long)path, (long)times, 0, 0);
    on(NR_fchmodat, AT_FD, (long)path, 0777, 0, 0);
    on(NR_setxattr, (long)path, (long)"user.x", (long)"1", 1, 0);
    on(NR_truncate, (long)path, 0, 0, 0, 0);
    on(NR_linkat, AT_FD, (long)path, AT_FD, (long)"/other", AT_SYMLINK_FOLLOW);
    check_same("host/file", &host);
}

/* A process is in a directory of the lower one. */
static void test_working_directory(void) {
    struct state lower = state_of("lower/dir");
    CHECK_NUMBER(on(NR_chdir, (long)"/dir", 0, 0, 0, 0), 0);
    CHECK_NUMBER(on(NR_utimensat, AT_FD, (long)"", (long)times, AT_EMPTY_PATH, 0), 0);
    on(NR_fchmodat2, AT_FD, (long)"", 0700, AT_EMPTY_PATH, 0);
    enter(scratch());
    check_same("lower/dir", &lower);
    CHECK_NUMBER(state_of("upper/dir").status.modified[0], NOT_WRITTEN);
}

/* A call that fails leaves the content as it was. */
static void test_failing_truncation(void) {
    struct status status;
    make_file("lower/cut", "content");
    make_file("lower/cut1", "content");
    CHECK_NUMBER(on(NR_truncate, (long)"/cut/", 0, 0, 0, 0), -ENOTDIR);
    CHECK_NUMBER(on(NR_newfstatat, AT_FD, (long)"/cut", (long)&status, 0, 0), 0);
    CHECK_NUMBER(status.size, 7);
    CHECK_NUMBER(on(NR_openat, AT_FD, (long)"/cut1", O_WRONLY | O_TRUNC | O_DIRECTORY, 0, 0),
                 -ENOTDIR);
    CHECK_NUMBER(on(NR_newfstatat, AT_FD, (long)"/cut1", (long)&status, 0, 0), 0);
    CHECK_NUMBER(status.size, 7);
}

/* Two containers of an image do not meet in its pipes. */
static void test_pipe(void) {
    struct state lower = state_of("lower/pipe");
    struct status status;
    long pipe = on(NR_openat, AT_FD, (long)"/pipe", O_RDONLY | O_NONBLOCK, 0, 0);
    CHECK(pipe >= 0);
    CHECK_NUMBER(kernel(NR_fstat, pipe, (long)&status, 0, 0, 0, 0), 0);
    CHECK(status.inode != lower.status.inode);
    check_same("lower/pipe", &lower);

    /* By its name alone, or by way of /proc, it is a pipe of the image, too. */
    struct state deep = state_of("lower/deep/pipe");
    long directory = on(NR_openat, AT_FD, (long)"/deep", O_RDONLY | O_DIRECTORY, 0, 0);
    long place = on(NR_openat, directory, (long)"pipe2", O_PATH, 0, 0);
    CHECK(directory >= 0 && place >= 0);
    long named = on(NR_openat, directory, (long)"pipe", O_RDONLY | O_NONBLOCK, 0, 0);
    CHECK_NUMBER(kernel(NR_fstat, named, (long)&status, 0, 0, 0, 0), 0);
    CHECK(status.inode != deep.status.inode);
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%ld", place);
    deep = state_of("lower/deep/pipe2");
    long again = on(NR_openat, AT_FD, (long)path, O_RDONLY | O_NONBLOCK, 0, 0);
    CHECK_NUMBER(kernel(NR_fstat, again, (long)&status, 0, 0, 0, 0), 0);
    CHECK(status.inode != deep.status.inode);
}

int main(void) {
    enter(scratch());
    make_union();
    test_open_link();
    test_magic_link();
    test_working_directory();
    test_failing_truncation();
    test_pipe();
    return harness_end();
}
