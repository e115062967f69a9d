/*
 * The union against a model: the same operations on a union and on a plain directory that holds the
 * same files must have the same results, and leave the same behind. Nothing may change the lower
 * directory.
 */
#include "guests.h"

#include "union_facts.h"
#include "union_work.h"
#include "unions.h"

enum {
    ROUNDS = 1200,
    TOGETHER = 4,
    TOGETHER_ROUNDS = 500,
    MANY = 700,
};

static uint64_t seed;

static unsigned dice(unsigned sides) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(seed >> 33) % sides;
}

/* The lower directory of the union, and all of the model. */
static void make_tree(const char *top) {
    static const char *const folders[] = {"", "/a", "/a/b", "/a/b/c", "/b", "/b/a", "/c", "/e"};
    char path[256];
    for (size_t index = 0; index < sizeof folders / sizeof folders[0]; index++) {
        snprintf(path, sizeof path, "%s%s", top, folders[index]);
        make_directory(path);
        for (int name = 0; index != 6 && name < 3; name++) {
            snprintf(path, sizeof path, "%s%s/%c", top, folders[index], "dfg"[name]);
            make_file(path, folders[index]);
        }
        snprintf(path, sizeof path, "%s%s/l", top, folders[index]);
        make_link(path, index % 2 ? "../a" : "d");
    }
}

static void make_state(bool is_local) {
    static struct shared shared;
    memset(&shared, 0, sizeof shared);
    shared.format = SHARED_FORMAT;
    shared.is_local = is_local;
    make_bytes("state", &shared, sizeof shared);
}

enum sharing { NOTHING, NOT_TRUSTED, TRUSTED };

static void make_guests(const char *place, enum sharing sharing) {
    enter(scratch());
    make_directory(place);
    enter(place);
    make_tree("lower");
    make_tree("plain");
    make_directory("upper");
    make_directory("work");
    char words[8][256];
    static const char *const names[] = {"upper", "lower", "work", "state", "plain"};
    for (int index = 0; index < 5; index++) {
        snprintf(words[index], sizeof words[index], "@%s/%s", place, names[index]);
    }
    if (sharing != NOTHING) {
        make_state(sharing == TRUSTED);
    }
    memset(&one, 0, sizeof one);
    memset(&other, 0, sizeof other);
    CHECK(GUEST(&one.guest, "root", words[0], "lower", words[1], "work", words[2], "state",
                words[3]));
    CHECK(GUEST(&other.guest, "root", words[4]));
    union_attach(&one.guest, NULL);
    parents_are_known = one.guest.shared != NULL;
    static struct workspace space;
    CHECK_NUMBER(union_begin(&one.guest, &space), 0);
    CHECK((one.guest.shared != NULL) == (sharing != NOTHING));
}

static void random_path(char *path) {
    unsigned depth = 1 + dice(3);
    size_t size = 0;
    for (unsigned index = 0; index < depth; index++) {
        path[size++] = '/';
        path[size++] = "abcdefgl"[dice(8)];
    }
    if (dice(30) == 0) {
        path[size++] = '/';
    }
    path[size] = '\0';
}

static void random_operations(uint64_t first, enum sharing sharing, const char *place) {
    make_guests(place, sharing);
    seed = first;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned what = dice(OPERATIONS);
        unsigned number = dice(1000);
        char path[64], to[64];
        random_path(path);
        random_path(to);
        long result = operate(&one, what, path, to, number);
        if (result == -EXDEV) {
            continue; /* a directory that the lower one has, too */
        }
        long expected = operate(&other, what, path, to, number);
        if (what == LINK_OPERATION && is_lookup_error(result) && is_lookup_error(expected)) {
            expected = result; /* of two paths that lead nowhere the first one counts, or not */
        }
        /* What is compared costs more than what is done. */
        bool good = result == expected && ((round % 16 && round < ROUNDS - 1) || is_same());
        if (!good) {
            printf("seed %lu, %d, round %u: operation %u %s %s %u: %ld, and not %ld\n%s--\n%s",
                   (unsigned long)first, (int)sharing, round, what, path, to, number, result,
                   expected, left.bytes, right.bytes);
        }
        CHECK(good);
        if (!good) {
            return;
        }
    }
}

/* What is in a directory of the host, with all times but those of reading. */
static void keep_lower(char *kept) {
    static struct process lower;
    memset(&lower, 0, sizeof lower);
    CHECK(GUEST(&lower.guest, "root", one.guest.mounts[0].lower));
    with_times = true;
    fill(&left, &lower);
    with_times = false;
    memcpy(kept, left.bytes, left.size + 1);
}

static size_t count_in(const char *host) {
    struct process plain = {.pid = 0};
    char *names[64];
    char path[256];
    snprintf(path, sizeof path, "%s", host);
    CHECK(GUEST(&plain.guest, "root", path));
    size_t count = names_of(&plain, "/", names, 64, 1024);
    for (size_t index = 0; index < count; index++) {
        free(names[index]);
    }
    return count;
}

/* Start a process; false in that one. */
static bool is_parent(long *pid) {
    enum { SIGCHLD = 17 };
    fflush(stdout);                                  /* or the child would say it again */
    *pid = kernel(NR_clone, SIGCHLD, 0, 0, 0, 0, 0); /* as fork(2) */
    return *pid != 0;
}

static void end(int code) {
    kernel(NR_exit_group, code, 0, 0, 0, 0, 0);
}

static int status_of_child(long pid) {
    int status = -1;
    CHECK_NUMBER(kernel(NR_wait4, pid, (long)&status, 0, 0, 0, 0), pid);
    return status;
}

/* Errors that no operation has on the model; nor have others any business to cause them. */
static bool is_odd(long result) {
    return result == -EAGAIN || result == -EIO || result == -ENOSYS || result == -EBUSY ||
           result == -EROFS || result == -ENXIO || result == -EPERM || result == -EACCES;
}

/*
 * What a rule of the union allows for: a link to a directory; and a file that is open, and that
 * another process has removed, is changed no more, for it has no copy yet and no place for one.
 * The kernel's overlayfs says EEXIST there.
 */
static bool is_allowed(unsigned what, long result) {
    return (what == LINK_OPERATION && result == -EPERM) ||
           (what == OPEN_OPERATION && result == -EROFS);
}

static int work_at_random(uint64_t first) {
    int odd = 0;
    seed = first;
    for (unsigned round = 0; round < TOGETHER_ROUNDS; round++) {
        unsigned what = dice(OPERATIONS);
        unsigned number = dice(1000);
        char path[64], to[64];
        random_path(path);
        random_path(to);
        long result = operate(&one, what, path, to, number);
        if (is_odd(result) && !is_allowed(what, result)) {
            printf("seed %lu, round %u: %s (%u) %s %s %u: call %ld: %s\n", (unsigned long)first,
                   round, operation_name(what), what, path, to, number, failed_call,
                   strerror((int)-result));
            fflush(stdout);
            odd++;
        }
    }
    return odd;
}

static void test_many_at_once(unsigned time) {
    static char before[LISTING], after[LISTING], shown[LISTING];
    char place[32];
    long pids[TOGETHER];
    snprintf(place, sizeof place, "together%u", time);
    make_guests(place, TRUSTED);
    keep_lower(before);
    for (unsigned index = 0; index < TOGETHER; index++) {
        if (!is_parent(&pids[index])) {
            end(work_at_random(1000 + TOGETHER * time + index));
        }
    }
    for (unsigned index = 0; index < TOGETHER; index++) {
        CHECK_NUMBER(status_of_child(pids[index]), 0);
    }
    fill(&left, &one);
    memcpy(shown, left.bytes, left.size + 1);
    one.guest.shared = NULL; /* who knows nothing sees the same */
    parents_are_known = false;
    fill(&left, &one);
    CHECK_TEXT(left.bytes, shown);
    CHECK_NUMBER(count_in(one.guest.work), 2);
    keep_lower(after);
    CHECK_TEXT(after, before);
}

/* Two that open one file to append to it: it is copied once, and has what both have written. */
static void test_copied_once(void) {
    make_guests("once", TRUSTED);
    static const char *const files[] = {"/a/d", "/a/b/d", "/a/b/c/d", "/b/d", "/b/a/d", "/e/d"};
    for (size_t index = 0; index < sizeof files / sizeof files[0]; index++) {
        struct status status;
        long pids[4];
        on(&one, NR_newfstatat, AT_FD, (long)files[index], (long)&status, 0, 0);
        uint64_t size = status.size;
        uint64_t inode = status.inode;
        for (int child = 0; child < 4; child++) {
            if (!is_parent(&pids[child])) {
                end(write_file(&one, files[index], O_WRONLY | 02000, 7) != 1);
            }
        }
        for (int child = 0; child < 4; child++) {
            CHECK_NUMBER(status_of_child(pids[child]), 0);
        }
        on(&one, NR_newfstatat, AT_FD, (long)files[index], (long)&status, 0, 0);
        CHECK_NUMBER(status.size, size + 4);
        CHECK_NUMBER(status.inode, inode);
    }
    CHECK_NUMBER(count_in(one.guest.work), 2);
}

/* A big directory, of which entries go while it is read: what stays is shown once. */
static void test_big_directory(bool is_merged) {
    static unsigned char seen[MANY];
    char path[64];
    char buffer[512];
    make_guests(is_merged ? "merged" : "lower", TRUSTED);
    make_directory("lower/big");
    for (int index = 0; index < MANY; index++) {
        snprintf(path, sizeof path, "lower/big/%d", index);
        make_file(path, "");
    }
    if (is_merged) {
        CHECK_NUMBER(on(&one, NR_unlinkat, AT_FD, (long)"/big/0", 0, 0, 0), 0);
    }
    memset(seen, 0, sizeof seen);
    long folder = on(&one, NR_openat, AT_FD, (long)"/big", O_RDONLY | O_DIRECTORY, 0, 0);
    int count = 0;
    for (long size = 1; size > 0;) {
        size = on(&one, NR_getdents64, folder, (long)buffer, sizeof buffer, 0, 0);
        for (long at = 0; at < size; at += *(uint16_t *)(void *)(buffer + at + 16)) {
            const char *name = buffer + at + 19;
            if (name[0] != '.') {
                seen[atoi(name)]++;
            }
            /* What has been shown goes, and so does something that may not have been. */
            if (name[0] != '.' && atoi(name) % 2) {
                CHECK_NUMBER(on(&one, NR_unlinkat, folder, (long)name, 0, 0, 0), 0);
                snprintf(path, sizeof path, "/big/new%d", count++);
                CHECK_NUMBER(write_file(&one, path, O_CREAT | O_WRONLY, 1), 1);
            }
        }
        CHECK(size >= 0);
    }
    for (int index = 1; index < MANY; index++) {
        CHECK_NUMBER(seen[index], 1);
    }
    CHECK_NUMBER(seen[0], is_merged ? 0 : 1);
    on(&one, NR_close, folder, 0, 0, 0, 0);
}

/* The place that an entry has is where a listing goes on, in another process as well. */
static void test_places(void) {
    char first[512], again[512];
    make_guests("places", TRUSTED);
    CHECK_NUMBER(write_file(&one, "/a/new", O_CREAT | O_WRONLY, 1), 1);
    long folder = on(&one, NR_openat, AT_FD, (long)"/a", O_RDONLY | O_DIRECTORY, 0, 0);
    long size = on(&one, NR_getdents64, folder, (long)first, 72, 0, 0);
    CHECK(size > 0 && size <= 72);
    long rest = on(&one, NR_getdents64, folder, (long)first, sizeof first, 0, 0);
    CHECK(rest > 0);
    CHECK_NUMBER(on(&one, NR_getdents64, folder, (long)again, sizeof again, 0, 0), 0);
    CHECK_NUMBER(kernel(NR_lseek, folder, 0, 0, 0, 0, 0), 0);
    CHECK_NUMBER(on(&one, NR_getdents64, folder, (long)again, 72, 0, 0), size);
    long pid;
    if (!is_parent(&pid)) {
        long more = on(&one, NR_getdents64, folder, (long)again, sizeof again, 0, 0);
        end(more != rest || memcmp(first, again, (size_t)rest) != 0);
    }
    CHECK_NUMBER(status_of_child(pid), 0);
    CHECK_NUMBER(on(&one, NR_getdents64, folder, (long)again, sizeof again, 0, 0), 0);
    CHECK_NUMBER(on(&one, NR_getdents64, folder, (long)again, 8, 0, 0), 0);
    kernel(NR_lseek, folder, 0, 0, 0, 0, 0);
    CHECK_NUMBER(on(&one, NR_getdents64, folder, (long)again, 8, 0, 0), -EINVAL);
    CHECK_NUMBER(on(&one, NR_getdents64, folder, 8, sizeof again, 0, 0), -EFAULT);
    CHECK_NUMBER(on(&one, NR_getdents64, 1000, (long)again, sizeof again, 0, 0), -EBADF);
    on(&one, NR_close, folder, 0, 0, 0, 0);
}

/* Directories that are open, or that a process is in, when they are copied or removed. */
static void test_open_directories(void) {
    char path[64];
    make_guests("open", TRUSTED);
    long folder = on(&one, NR_openat, AT_FD, (long)"/a/b", O_RDONLY | O_DIRECTORY, 0, 0);
    CHECK_NUMBER(on(&one, NR_chdir, (long)"/a/b/c", 0, 0, 0, 0), 0);
    CHECK_NUMBER(write_file(&one, "d", O_WRONLY | O_TRUNC, 5), 1);
    CHECK_NUMBER(on(&one, NR_mkdirat, folder, (long)"new", 0755, 0, 0), 0);
    CHECK_NUMBER(on(&one, NR_faccessat, AT_FD, (long)"/a/b/new", 0, 0, 0), 0);
    CHECK_NUMBER(on(&one, NR_getcwd, (long)path, sizeof path, 0, 0, 0), 7);
    CHECK_TEXT(path, "/a/b/c");
    static const char *const names[] = {"d", "f", "g", "l"};
    for (int index = 0; index < 4; index++) {
        CHECK_NUMBER(on(&one, NR_unlinkat, AT_FD, (long)names[index], 0, 0, 0), 0);
    }
    CHECK_NUMBER(on(&one, NR_unlinkat, AT_FD, (long)"/a/b/c", AT_REMOVEDIR, 0, 0), 0);
    CHECK_NUMBER(on(&one, NR_getcwd, (long)path, sizeof path, 0, 0, 0), -ENOENT);
    CHECK_NUMBER(on(&one, NR_openat, AT_FD, (long)"d", O_RDONLY, 0, 0), -ENOENT);
    CHECK_NUMBER(on(&one, NR_openat, AT_FD, (long)"d", O_CREAT | O_WRONLY, 0600, 0), -ENOENT);
    CHECK_NUMBER(on(&one, NR_mkdirat, AT_FD, (long)"/a/b/c", 0700, 0, 0), 0);
    CHECK_NUMBER(on(&one, NR_openat, AT_FD, (long)"d", O_RDONLY, 0, 0), -ENOENT);
    CHECK_NUMBER(on(&one, NR_openat, AT_FD, (long)"/a/b/c/d", O_RDONLY, 0, 0), -ENOENT);
    CHECK_NUMBER(on(&one, NR_renameat, AT_FD, (long)"/a/b", AT_FD, (long)"/z", 0), -EXDEV);
    CHECK_NUMBER(on(&one, NR_renameat, AT_FD, (long)"/a/b/c", AT_FD, (long)"/z", 0), 0);
    on(&one, NR_close, folder, 0, 0, 0, 0);
    enter(scratch());
}

/* Who opened a file before it was copied reads on what he opened; nothing is written there. */
static void test_open_files(void) {
    char content[16] = "";
    char link[64];
    make_guests("files", TRUSTED);
    long before = on(&one, NR_openat, AT_FD, (long)"/a/d", O_RDONLY, 0, 0);
    snprintf(link, sizeof link, "/proc/self/fd/%ld", before);
    CHECK_NUMBER(write_file(&one, "/a/d", O_WRONLY | O_TRUNC, 12345), 5);
    CHECK_NUMBER(kernel(NR_read, before, (long)content, sizeof content, 0, 0, 0), 2);
    CHECK_TEXT(content, "/a");
    struct status old, new;
    CHECK_NUMBER(on(&one, NR_fstat, before, (long)&old, 0, 0, 0), 0);
    CHECK_NUMBER(on(&one, NR_newfstatat, AT_FD, (long)"/a/d", (long)&new, 0, 0), 0);
    CHECK(old.inode == new.inode &&old.device == new.device &&new.size == 5);
    CHECK_NUMBER(on(&one, NR_fchmod, before, 0600, 0, 0, 0), 0);
    CHECK_NUMBER(on(&one, NR_newfstatat, AT_FD, (long)"/a/d", (long)&new, 0, 0), 0);
    CHECK_NUMBER(new.mode & 0777, 0600);
    on(&one, NR_unlinkat, AT_FD, (long)"/a/d", 0, 0, 0);
    CHECK_NUMBER(on(&one, NR_fchmod, before, 0666, 0, 0, 0), -EROFS);
    CHECK_TEXT(identity_of("upper/a/d")[0] ? "whiteout" : "", "whiteout");
    kernel(NR_fstat, before, (long)&old, 0, 0, 0, 0);
    CHECK_NUMBER(old.mode & 0777, 0644);
    on(&one, NR_close, before, 0, 0, 0, 0);
}

/* A child has come to an end within some seconds; its status, or -1. */
static int ends_soon(long pid) {
    enum { WNOHANG = 1, SIGKILL = 9 };
    const long pause[2] = {0, 10000000};
    int status = -1;
    for (int count = 0; count < 500; count++) {
        if (kernel(NR_wait4, pid, (long)&status, WNOHANG, 0, 0, 0) == pid) {
            return status;
        }
        kernel(NR_nanosleep, (long)pause, 0, 0, 0, 0, 0);
    }
    kernel(NR_kill, pid, SIGKILL, 0, 0, 0, 0);
    kernel(NR_wait4, pid, (long)&status, 0, 0, 0, 0);
    return -1;
}

static long start_to_remove(const char *path) {
    long pid;
    if (!is_parent(&pid)) {
        end(on(&one, NR_unlinkat, AT_FD, (long)path, 0, 0, 0) != 0);
    }
    return pid;
}

/* A child that takes the lock and is killed or stopped, by itself: it has it at once. */
static long start_to_hold(int signal) {
    enum { WUNTRACED = 2 };
    long pid;
    if (!is_parent(&pid)) {
        struct union_lock lock;
        union_lock(&one.guest, &lock, true);
        kernel(NR_kill, kernel(NR_getpid, 0, 0, 0, 0, 0, 0), signal, 0, 0, 0, 0);
        union_unlock(&one.guest, &lock);
        end(0);
    }
    int status;
    CHECK_NUMBER(kernel(NR_wait4, pid, (long)&status, WUNTRACED, 0, 0, 0), pid);
    return pid;
}

/*
 * Who has the lock keeps nobody waiting when he is dead, or has let go and has a child; nor from
 * signals when he is stopped.
 */
static void test_holders(void) {
    enum { SIGKILL = 9, SIGTERM = 15, SIGCONT = 18, SIGSTOP = 19, LONG = 60 };
    const long pause[2] = {LONG, 0};
    const long moment[2] = {0, 300000000};
    struct union_lock lock;
    long holder;
    make_guests("holders", TRUSTED);
    start_to_hold(SIGKILL);
    CHECK_NUMBER(ends_soon(start_to_remove("/a/d")), 0);

    CHECK_NUMBER(union_lock(&one.guest, &lock, true), 0);
    if (!is_parent(&holder)) { /* as a thread would that knows nothing of the lock */
        kernel(NR_nanosleep, (long)pause, 0, 0, 0, 0, 0);
        end(0);
    }
    union_unlock(&one.guest, &lock);
    CHECK_NUMBER(ends_soon(start_to_remove("/a/f")), 0);
    kernel(NR_kill, holder, SIGKILL, 0, 0, 0, 0);
    status_of_child(holder);

    holder = start_to_hold(SIGSTOP);
    long waiter = start_to_remove("/a/g");
    kernel(NR_nanosleep, (long)moment, 0, 0, 0, 0, 0); /* it waits now */
    kernel(NR_kill, waiter, SIGTERM, 0, 0, 0, 0);
    CHECK_NUMBER(ends_soon(waiter), SIGTERM);
    waiter = start_to_remove("/a/g");
    kernel(NR_kill, holder, SIGCONT, 0, 0, 0, 0);
    CHECK_NUMBER(ends_soon(waiter), 0);
    CHECK_NUMBER(status_of_child(holder), 0);
}

/*
 * A directory of the upper one becomes a link between what is known of it and the call: here behind
 * the engine's back, so that what is known stays wrong.
 */
static void test_known_directory_becomes_a_link(void) {
    static const long flags[] = {O_RDONLY, O_RDONLY | O_NOFOLLOW, 1L << 30, O_PATH};
    make_guests("swapped", TRUSTED);
    make_directory("outside");
    make_file("outside/d", "of the host");
    CHECK_NUMBER(write_file(&one, "/a/d", O_WRONLY | O_TRUNC, 5), 1);
    CHECK_NUMBER(write_file(&one, "/b/a/d", O_CREAT | O_WRONLY, 5), 1);
    long folder = on(&one, NR_openat, AT_FD, (long)"/a", O_RDONLY | O_DIRECTORY, 0, 0);
    for (int times = 0; times < 2; times++) { /* it is known then */
        on(&one, NR_close, on(&one, NR_openat, AT_FD, (long)"/a/d", O_RDONLY, 0, 0), 0, 0, 0, 0);
        on(&one, NR_close, on(&one, NR_openat, folder, (long)"d", O_RDONLY, 0, 0), 0, 0, 0, 0);
    }
    CHECK_NUMBER(union_known(&one.guest, "/a", 2), MERGED);
    CHECK_NUMBER(kernel(NR_renameat, AT_FD, (long)"upper/a", AT_FD, (long)"upper/was", 0, 0), 0);
    make_link("upper/a", "../outside");
    for (size_t index = 0; index < sizeof flags / sizeof flags[0]; index++) {
        for (int is_name = 0; is_name < 2; is_name++) {
            long dirfd = is_name ? folder : AT_FD;
            long found =
                on(&one, NR_openat, dirfd, (long)(is_name ? "d" : "/a/d"), flags[index], 0, 0);
            if (found >= 0) {
                CHECK(strcmp(identity_of_descriptor((int)found), identity_of("outside/d")) != 0);
            }
            on(&one, NR_close, found, 0, 0, 0, 0);
        }
    }
    on(&one, NR_close, folder, 0, 0, 0, 0);
}

/* Where no union can be, the front is told before a program runs. */
static void test_no_union(void) {
    static struct workspace space;
    make_guests("none", TRUSTED);
    remove_entry("work");
    CHECK_NUMBER(union_begin(&one.guest, &space), -ENOENT);
    make_file("work", "");
    CHECK_NUMBER(union_begin(&one.guest, &space), -ENOTDIR);
}

int main(void) {
    scratch();
    const char *given = setting("UNION_SEED");
    if (given != NULL) {
        random_operations(strtoul(given, NULL, 10), (enum sharing)atoi(setting("UNION_SHARING")),
                          "given");
        return harness_end();
    }
    const char *times = setting("UNION_TOGETHER"); /* each with other seeds */
    if (times != NULL) {
        for (unsigned time = 0; time < strtoul(times, NULL, 10); time++) {
            test_many_at_once(time);
        }
        return harness_end();
    }
    for (unsigned index = 0; index < 9; index++) {
        char place[16];
        snprintf(place, sizeof place, "random%u", index);
        random_operations(index + 1, (enum sharing)(index % 3), place);
    }
    test_many_at_once(0);
    test_copied_once();
    test_big_directory(true);
    test_big_directory(false);
    test_places();
    test_open_directories();
    test_open_files();
    test_holders();
    test_known_directory_becomes_a_link();
    test_no_union();
    return harness_end();
}
