/*
 * Two processes of a union at once: one makes and removes, again and again, what the other one
 * changes. Each answer must be one that a single file system could have given: a name that was made
 * is there, and what has been found is not forbidden, but changed or gone.
 */
#include "guests.h"

#include "union.h"
#include "union_shared.h"
#include "unions.h"

enum {
    ROUNDS = 500,
    PATIENCE = 5000, /* milliseconds */
    SHOWN = 3,
    SIGCHLD = 17,
    WNOHANG = 1,
};

static void make_union(const char *place) {
    static struct shared shared;
    static struct workspace space;
    static const char *const names[] = {"upper", "lower", "work", "state"};
    char words[4][256];
    enter(scratch());
    make_directory(place);
    enter(place);
    make_directory("lower");
    make_directory("lower/dir");
    make_directory("lower/dir/sub");
    make_file("lower/dir/file", "of the image");
    make_file("lower/dir/other", "of the image");
    make_directory("upper");
    make_directory("work");
    memset(&shared, 0, sizeof shared);
    shared.format = SHARED_FORMAT;
    shared.is_local = true;
    make_bytes("state", &shared, sizeof shared);
    for (size_t index = 0; index < 4; index++) {
        snprintf(words[index], sizeof words[index], "@%s/%s", place, names[index]);
    }
    memset(&one, 0, sizeof one);
    CHECK(GUEST(&one.guest, "root", words[0], "lower", words[1], "work", words[2], "state",
                words[3]));
    union_attach(&one.guest, NULL);
    CHECK_NUMBER(union_begin(&one.guest, &space), 0);
}

static long unlink_at(const char *path) {
    return on(&one, NR_unlinkat, AT_FD, (long)path, 0, 0, 0);
}

static long create(const char *path) {
    return write_file(&one, path, O_CREAT | O_EXCL | O_WRONLY, 1);
}

static long rename_to(const char *from, const char *to) {
    return on(&one, NR_renameat, AT_FD, (long)from, AT_FD, (long)to, 0);
}

/* What one process does in each round: the name of a call that gave a wrong answer, or NULL. */
typedef const char *round_of(long *result);

static bool is_one_of(long result, long good, long other_good) {
    return result == good || result == other_good;
}

static const char *removes_file(long *result) {
    *result = unlink_at("/dir/file");
    if (*result != 0) {
        return "unlink";
    }
    *result = create("/dir/file");
    return *result == 1 ? NULL : "open";
}

static const char *replaces_file(long *result) {
    *result = on(&one, NR_symlinkat, (long)"other", AT_FD, (long)"/dir/new", 0, 0);
    if (*result != 0) {
        return "symlink";
    }
    *result = rename_to("/dir/new", "/dir/file");
    if (*result != 0) {
        return "rename of a link";
    }
    *result = create("/dir/new");
    if (*result != 1) {
        return "open";
    }
    *result = rename_to("/dir/new", "/dir/file");
    return *result == 0 ? NULL : "rename of a file";
}

static const char *removes_folder(long *result) {
    *result = on(&one, NR_unlinkat, AT_FD, (long)"/dir/sub", AT_REMOVEDIR, 0, 0);
    if (!is_one_of(*result, 0, -ENOTEMPTY)) {
        return "rmdir";
    }
    *result = on(&one, NR_mkdirat, AT_FD, (long)"/dir/sub", 0755, 0, 0);
    return is_one_of(*result, 0, -EEXIST) ? NULL : "mkdir";
}

/* Whoever is at the path; it may be missing. */
static const char *changes(long *result, long missing) {
    const char *const path = "/dir/file";
    *result = on(&one, NR_setxattr, (long)path, (long)"user.test", (long)"value", 5, 0);
    if (!is_one_of(*result, 0, missing)) {
        return "setxattr";
    }
    *result = on(&one, NR_fchmodat, AT_FD, (long)path, 0640, 0, 0);
    if (!is_one_of(*result, 0, missing)) {
        return "chmod";
    }
    *result = on(&one, NR_truncate, (long)path, 3, 0, 0, 0);
    return is_one_of(*result, 0, missing) ? NULL : "truncate";
}

static const char *changes_what_may_go(long *result) {
    return changes(result, -ENOENT);
}

static const char *changes_what_stays(long *result) {
    return changes(result, 0);
}

static const char *links(long *result) {
    *result = on(&one, NR_linkat, AT_FD, (long)"/dir/file", AT_FD, (long)"/dir/link", 0);
    if (*result != 0) {
        return *result == -ENOENT ? NULL : "link";
    }
    *result = unlink_at("/dir/link");
    return *result == 0 ? NULL : "unlink of a link";
}

/* What was made is there. */
static const char *take_away(long *result) {
    /* A directory that was filled just when it was to go is away for a moment, and comes back. */
    const long pause[2] = {0, 1000000};
    *result = unlink_at("/dir/sub/new");
    for (int count = 0; count < PATIENCE && *result == -ENOENT; count++) {
        kernel(NR_nanosleep, (long)pause, 0, 0, 0, 0, 0);
        *result = unlink_at("/dir/sub/new");
    }
    return *result == 0 ? NULL : "unlink of what was made";
}

static const char *fills_folder(long *result) {
    *result = create("/dir/sub/new");
    if (*result != 1) {
        return *result == -ENOENT ? NULL : "open";
    }
    return take_away(result);
}

/* The engine holds the directory meanwhile, wherever that goes. */
static const char *fills_folder_that_is_held(long *result) {
    *result = on(&one, NR_symlinkat, (long)"text", AT_FD, (long)"/dir/sub/new", 0, 0);
    if (*result != 0) {
        return *result == -ENOENT ? NULL : "symlink";
    }
    return take_away(result);
}

static int wrong_answers(round_of *round) {
    int count = 0;
    long result;
    for (int number = 0; number < ROUNDS; number++) {
        const char *call = round(&result);
        if (call != NULL && count++ < SHOWN) {
            printf("%s: %ld, %s\n", call, result, strerror((int)(result < 0 ? -result : 0)));
            fflush(stdout);
        }
    }
    return count;
}

/* One process does its rounds, and this one others, until that has done. */
static void race(const char *place, round_of *change, round_of *work) {
    make_union(place);
    fflush(stdout);                                      /* or the child would say it again */
    long pid = kernel(NR_clone, SIGCHLD, 0, 0, 0, 0, 0); /* as fork(2) */
    if (pid == 0) {
        kernel(NR_exit_group, wrong_answers(work) != 0, 0, 0, 0, 0, 0);
    }
    int status = -1;
    int wrong = 0;
    long result;
    while (kernel(NR_wait4, pid, (long)&status, WNOHANG, 0, 0, 0) == 0) {
        const char *call = change(&result);
        if (call != NULL && wrong++ < SHOWN) {
            printf("%s: %s: %ld\n", place, call, result);
        }
    }
    CHECK_NUMBER(status, 0);
    CHECK_NUMBER(wrong, 0);
    struct process plain = {.pid = 0};
    char *names[8];
    char path[256];
    snprintf(path, sizeof path, "@%s/work", place);
    CHECK(GUEST(&plain.guest, "root", path));
    CHECK_NUMBER(names_of(&plain, "/", names, 8, 1024), 2); /* nothing is left there */
}

int main(void) {
    scratch();
    race("removed", removes_file, changes_what_may_go);
    race("replaced", replaces_file, changes_what_stays);
    race("linked", removes_file, links);
    race("filled", removes_folder, fills_folder);
    race("held", removes_folder, fills_folder_that_is_held);
    return harness_end();
}
