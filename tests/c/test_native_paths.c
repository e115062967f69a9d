/*
 * Paths of several parts that are known to have no links: other processes put links to the host in
 * the place of a directory, and nobody is shown what is there.
 */
/* <unistd.h>, <sys/wait.h>, <signal.h>: see harness.h; before the core, which hides names. */
int fork(void);
int vfork(void) __attribute__((returns_twice));
int getpid(void);
int waitpid(int child, int *status, int options);
int kill(int child, int signal);
_Noreturn void _exit(int status);

#include "guests.h"

#include "union_native.h"
#include "union_shared.h"

enum { SIGKILL = 9, SIGSTOP = 19, WUNTRACED = 2, STOPPED = 0x7f };

enum { AT_FD = AT_FDCWD, ROUNDS = 3000, OF_GUEST = 3, OF_HOST = 11 };

static struct process one;
static struct workspace space;
static char host_directory[PATH_SIZE];
static bool can_learn; /* there is openat2(2) */

static long on(long number, long a, long b, long c, long d, long e) {
    struct call call = {number, {a, b, c, d, e, 0}};
    return calls_carry_out(&one, &call, NULL);
}

static long size_of(const char *path) {
    struct status status;
    long result = on(NR_newfstatat, AT_FD, (long)path, (long)&status, AT_SYMLINK_NOFOLLOW, 0);
    return result < 0 ? result : (long)status.size;
}

enum { F_OK, X_OK = 1, R_OK = 4 };

static long access_to(const char *path, long mode) {
    return on(NR_faccessat, AT_FD, (long)path, mode, 0, 0);
}

static bool is_known(const char *path, size_t size) {
    struct native native;
    return native_begin(&one.guest, path, size, path[0] == '/', &native);
}

static bool has_openat2(void) {
    struct open_how how = {.flags = O_PATH};
    return kernel(NR_openat2, AT_FD, (long)".", (long)&how, sizeof how, 0, 0) >= 0;
}

static void make_it(void) {
    static struct shared shared;
    static const char *const folders[] = {"lower", "upper", "work", "host", "host/d"};
    for (size_t index = 0; index < sizeof folders / sizeof folders[0]; index++) {
        make_directory(folders[index]);
    }
    make_file("host/d/f", "of the host");
    snprintf(host_directory, sizeof host_directory, "%s/host/d", scratch());
    shared.format = SHARED_FORMAT;
    shared.is_local = true;
    make_bytes("state", &shared, sizeof shared);
    CHECK(
        GUEST(&one.guest, "root", "@upper", "lower", "@lower", "work", "@work", "state", "@state"));
    union_attach(&one.guest, NULL);
    CHECK_NUMBER(union_begin(&one.guest, &space), 0);
    CHECK(one.guest.shared != NULL);
    CHECK_NUMBER(on(NR_mkdirat, AT_FD, (long)"/n", 0700, 0, 0), 0);
    CHECK_NUMBER(on(NR_mkdirat, AT_FD, (long)"/n/away", 0700, 0, 0), 0);
    make_link("upper/n/away/d", host_directory);
    CHECK_NUMBER(on(NR_chdir, (long)"/n", 0, 0, 0, 0), 0);
}

static void make_folder(void) {
    CHECK_NUMBER(on(NR_mkdirat, AT_FD, (long)"d", 0700, 0, 0), 0);
    long file = on(NR_openat, AT_FD, (long)"d/f", O_CREAT | O_WRONLY, 0600, 0);
    CHECK(file >= 0);
    CHECK_NUMBER(kernel(NR_write, file, (long)"own", OF_GUEST, 0, 0, 0), OF_GUEST);
    kernel(NR_close, file, 0, 0, 0, 0, 0);
}

/* It is known from the second time on. */
static void learn(void) {
    for (int count = 0; count < 2; count++) {
        CHECK_NUMBER(size_of("d/f"), OF_GUEST);
        CHECK_NUMBER(size_of("/n/d/f"), OF_GUEST);
    }
    CHECK_NUMBER(is_known("d/", 2), can_learn);
    CHECK_NUMBER(is_known("/n/d/", 5), can_learn);
}

static void check_hidden(void) {
    CHECK_NUMBER(size_of("d/f"), -ENOENT);
    CHECK_NUMBER(size_of("/n/d/f"), -ENOENT);
    CHECK_NUMBER(access_to("/n/d/f", F_OK), -ENOENT);
}

/* What another process of the container does; status 0. */
static void in_other(void (*act)(void)) {
    int status = 0;
    int child = fork();
    if (child == 0) {
        act();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void must(long result) {
    if (result < 0) {
        _exit(1);
    }
}

static void remove_and_link(void) {
    must(on(NR_unlinkat, AT_FD, (long)"d/f", 0, 0, 0));
    must(on(NR_unlinkat, AT_FD, (long)"d", AT_REMOVEDIR, 0, 0));
    must(on(NR_symlinkat, (long)host_directory, AT_FD, (long)"d", 0, 0));
}

static void move_and_link(void) {
    must(on(NR_renameat2, AT_FD, (long)"d", AT_FD, (long)"moved", 0));
    must(on(NR_symlinkat, (long)host_directory, AT_FD, (long)"d", 0, 0));
}

static void exchange(void) {
    must(on(NR_renameat2, AT_FD, (long)"d", AT_FD, (long)"link", 2));
}

static void test_removed(void) {
    make_folder();
    learn();
    in_other(remove_and_link);
    check_hidden();
    CHECK_NUMBER(on(NR_unlinkat, AT_FD, (long)"d", 0, 0, 0), 0);
}

static void test_moved(void) {
    make_folder();
    learn();
    in_other(move_and_link);
    check_hidden();
    CHECK_NUMBER(size_of("moved/f"), OF_GUEST);
    CHECK_NUMBER(on(NR_unlinkat, AT_FD, (long)"d", 0, 0, 0), 0);
}

static void test_exchanged(void) {
    make_folder();
    learn();
    CHECK_NUMBER(on(NR_symlinkat, (long)host_directory, AT_FD, (long)"link", 0, 0), 0);
    struct native native;
    CHECK_NUMBER(native_begin(&one.guest, "d/", 2, false, &native), can_learn);
    CHECK_NUMBER(native_holds(&one.guest, &native), can_learn);
    in_other(exchange);
    CHECK(!native_holds(&one.guest, &native)); /* and what was looked up meanwhile is nothing */
    check_hidden();
    in_other(exchange);
    learn();
}

/* In another working directory the same words are another path. */
static void test_other_directory(void) {
    learn();
    CHECK_NUMBER(on(NR_chdir, (long)"away", 0, 0, 0, 0), 0);
    CHECK_NUMBER(size_of("d/f"), -ENOENT);
    long up = on(NR_openat, AT_FD, (long)"/n", O_PATH, 0, 0);
    CHECK_NUMBER(on(NR_fchdir, up, 0, 0, 0, 0), 0);
    CHECK_NUMBER(size_of("d/f"), OF_GUEST);
    long away = on(NR_openat, AT_FD, (long)"/n/away", O_PATH, 0, 0);
    CHECK_NUMBER(on(NR_fchdir, away, 0, 0, 0, 0), 0);
    CHECK_NUMBER(size_of("d/f"), -ENOENT);
    CHECK_NUMBER(on(NR_fchdir, up, 0, 0, 0, 0), 0);
    kernel(NR_close, up, 0, 0, 0, 0, 0);
    kernel(NR_close, away, 0, 0, 0, 0, 0);
}

static void begin_removal(void) {
    struct removal removal;
    removal_begin(&one.guest, &removal);
    kernel(NR_tkill, kernel(NR_gettid, 0, 0, 0, 0, 0, 0), SIGSTOP, 0, 0, 0, 0);
}

/* Where stat(2) has learned of a directory access(2) asks the kernel for the last name only. */
static void test_access(void) {
    learn();
    CHECK_NUMBER(access_to("/n/d/f", R_OK), 0);
    CHECK_NUMBER(access_to("/n/d/f", X_OK), -EACCES);
    CHECK_NUMBER(access_to("/n/d", X_OK), 0);
    CHECK_NUMBER(access_to("/n/d/none", F_OK), -ENOENT);
    CHECK_NUMBER(access_to("/n/d/f/none", F_OK), -ENOTDIR);
    char target[PATH_SIZE + 2];
    snprintf(target, sizeof target, "%s/f", host_directory);
    CHECK_NUMBER(on(NR_symlinkat, (long)target, AT_FD, (long)"d/out", 0, 0), 0);
    CHECK_NUMBER(on(NR_symlinkat, (long)"/n/d/f", AT_FD, (long)"d/in", 0, 0), 0);
    CHECK_NUMBER(access_to("/n/d/out", F_OK), -ENOENT);
    CHECK_NUMBER(access_to("/n/d/in", R_OK), 0);
    CHECK_NUMBER(on(NR_unlinkat, AT_FD, (long)"d/out", 0, 0, 0), 0);
    CHECK_NUMBER(on(NR_unlinkat, AT_FD, (long)"d/in", 0, 0, 0), 0);
}

/* While somebody removes nothing is learned; when it was killed in the middle, it is. */
static void test_killed(void) {
    int status = 0;
    learn();
    int child = fork();
    if (child == 0) {
        begin_removal();
        _exit(0);
    }
    CHECK(waitpid(child, &status, WUNTRACED) == child && (status & 0xff) == STOPPED);
    CHECK_NUMBER(size_of("d/f"), OF_GUEST);
    CHECK(!is_known("d/", 2));
    kill(child, SIGKILL);
    CHECK(waitpid(child, &status, 0) == child);
    learn();
}

/* A child of vfork(2) learns of its directory; in its parent's there is a link of that name. */
static void test_borrowed(void) {
    CHECK_NUMBER(on(NR_chdir, (long)"/n/away", 0, 0, 0, 0), 0);
    int child = vfork();
    if (child == 0) {
        bool is_good = on(NR_chdir, (long)"/n", 0, 0, 0, 0) == 0;
        for (int count = 0; count < 3; count++) {
            is_good = size_of("d/f") == OF_GUEST && is_good;
        }
        _exit(!is_good);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK_NUMBER(size_of("d/f"), -ENOENT);
    CHECK(!is_known("d/", 2));
    CHECK_NUMBER(on(NR_chdir, (long)"/n", 0, 0, 0, 0), 0);
}

/*
 * Another process exchanges directory and link all the time. What is known to hold was not the
 * host's; the walk, which comes otherwise, does not promise that.
 */
static void test_race(void) {
    int status = 0;
    long seen = 0;
    int child = fork();
    if (child == 0) {
        for (;;) {
            on(NR_renameat2, AT_FD, (long)"d", AT_FD, (long)"link", 2);
            kernel(NR_sched_yield, 0, 0, 0, 0, 0, 0);
        }
    }
    for (int count = 0; count < ROUNDS; count++) {
        struct native native;
        struct status found;
        size_of("/n/d/f"); /* learns it */
        bool is_known = native_begin(&one.guest, "/n/d/", 5, true, &native);
        long result = kernel(NR_newfstatat, AT_FD, (long)"d/f", (long)&found, 0, 0, 0);
        seen +=
            is_known && native_holds(&one.guest, &native) && result == 0 && found.size == OF_HOST;
    }
    kill(child, SIGKILL);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_NUMBER(seen, 0);
}

int main(void) {
    working_directory_begin(getpid());
    enter(scratch());
    can_learn = has_openat2();
    make_it();
    test_removed();
    test_moved();
    test_exchanged();
    test_other_directory();
    test_access();
    test_killed();
    test_borrowed();
    test_race();
    return harness_end();
}
