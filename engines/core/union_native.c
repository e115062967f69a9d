#include "union_native.h"

#include "union_facts.h"

enum { CLONE_FS = 0x200, KCMP_VM = 1, ENTRIES_OF_ONE_THREAD = 3 };

/*
 * Who is removing or renaming: a thread each. The place of one that was killed meanwhile is free
 * again when somebody sees that there is no such thread.
 */
static uint32_t *take_place(struct shared *shared, uint32_t thread) {
    for (size_t index = 0; index < SHARED_REMOVING; index++) {
        uint32_t expected = 0;
        if (__atomic_compare_exchange_n(&shared->removing[index], &expected, thread, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
            return &shared->removing[index];
        }
    }
    return NULL;
}

void removal_begin(const struct guest *guest, struct removal *removal) {
    struct shared *shared = guest->shared;
    *removal = (struct removal){NULL, false};
    if (shared == NULL) {
        return;
    }
    removal->place = take_place(shared, (uint32_t)kernel(NR_gettid, 0, 0, 0, 0, 0, 0));
    if (removal->place == NULL) {
        removal->is_counted = true;
        __atomic_fetch_add(&shared->removing_more, 1, __ATOMIC_SEQ_CST);
    }
    __atomic_fetch_add(&shared->native_generation, 1, __ATOMIC_SEQ_CST);
}

/* In another pid namespace nobody knew that this thread lives, and may have learned: that ends. */
void removal_end(const struct guest *guest, const struct removal *removal) {
    if (removal->place == NULL && !removal->is_counted) {
        return;
    }
    __atomic_fetch_add(&guest->shared->native_generation, 1, __ATOMIC_SEQ_CST);
    if (removal->place != NULL) {
        __atomic_store_n(removal->place, 0, __ATOMIC_SEQ_CST);
    } else {
        __atomic_fetch_sub(&guest->shared->removing_more, 1, __ATOMIC_SEQ_CST);
    }
}

static bool is_quiet(struct shared *shared) {
    if (__atomic_load_n(&shared->removing_more, __ATOMIC_SEQ_CST) != 0) {
        return false;
    }
    for (size_t index = 0; index < SHARED_REMOVING; index++) {
        uint32_t thread = __atomic_load_n(&shared->removing[index], __ATOMIC_SEQ_CST);
        if (thread == 0) {
            continue;
        }
        if (kernel(NR_tkill, (long)thread, 0, 0, 0, 0, 0) != -ESRCH) {
            return false;
        }
        __atomic_fetch_add(&shared->native_generation, 1, __ATOMIC_SEQ_CST);
        __atomic_compare_exchange_n(&shared->removing[index], &thread, 0, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_RELAXED);
    }
    return true;
}

/*
 * The working directory is asked for once, and again after each change of one in this memory. Who
 * has the memory without the directory must not believe what others have found, nor they what he
 * has. Children of vfork(2) are such ones, while the thread that made them waits. So when a thread
 * has changed the directory, all of them share it if it is the only one of its process and that
 * process no such child; or else it is asked for each time from then on.
 */
static struct {
    uint64_t begun, ended; /* changes of it */
    int owner;             /* the process whose memory this was to begin with */
    bool is_shared;        /* it is asked for each time */
    uint64_t writes;       /* odd: it is being written */
    uint64_t at;           /* begun, when the rest was true; not known with writes of 0 */
    struct identity_of_file file;
} working;

void working_directory_begin(int owner) {
    working.owner = owner;
    if (kernel(NR_unshare, CLONE_FS, 0, 0, 0, 0, 0) != 0) {
        working_directory_is_shared();
    }
}

void working_directory_is_shared(void) {
    __atomic_store_n(&working.is_shared, true, __ATOMIC_SEQ_CST);
}

static bool is_shared(void) {
    return __atomic_load_n(&working.is_shared, __ATOMIC_SEQ_CST);
}

static bool is_only_thread(void) {
    struct status status;
    return kernel(NR_newfstatat, AT_FDCWD, (long)"/proc/self/task", (long)&status, 0, 0, 0) == 0 &&
           status.links == ENTRIES_OF_ONE_THREAD;
}

/*
 * A child of fork(2) is not the owner either. The number alone would not do: a killed owner leaves
 * it to others, and the memory to its child, whose own child may come to have it.
 */
static bool is_owner(void) {
    long pid = kernel(NR_getpid, 0, 0, 0, 0, 0, 0);
    long parent = kernel(NR_getppid, 0, 0, 0, 0, 0, 0);
    return (int)pid == working.owner && kernel(NR_kcmp, pid, parent, KCMP_VM, 0, 0, 0) > 0;
}

void working_directory_moves(void) {
    __atomic_fetch_add(&working.begun, 1, __ATOMIC_SEQ_CST);
}

void working_directory_moved(void) {
    if (!is_shared() && !(is_owner() && is_only_thread())) {
        working_directory_is_shared();
    }
    __atomic_fetch_add(&working.ended, 1, __ATOMIC_SEQ_CST);
}

static uint64_t moves(void) {
    return __atomic_load_n(&working.begun, __ATOMIC_SEQ_CST);
}

/* Not while it changes. */
static bool may_remember(uint64_t at) {
    return __atomic_load_n(&working.ended, __ATOMIC_SEQ_CST) == at && !is_shared();
}

static bool read_working(uint64_t at, struct identity_of_file *file) {
    uint64_t writes = __atomic_load_n(&working.writes, __ATOMIC_SEQ_CST);
    if (writes == 0 || writes & 1 || __atomic_load_n(&working.at, __ATOMIC_SEQ_CST) != at) {
        return false;
    }
    file->device = __atomic_load_n(&working.file.device, __ATOMIC_SEQ_CST);
    file->inode = __atomic_load_n(&working.file.inode, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&working.writes, __ATOMIC_SEQ_CST) == writes && moves() == at &&
           !is_shared();
}

static void write_working(uint64_t at, const struct identity_of_file *file) {
    uint64_t writes = __atomic_load_n(&working.writes, __ATOMIC_SEQ_CST);
    if (writes & 1 || !__atomic_compare_exchange_n(&working.writes, &writes, writes + 1, false,
                                                   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        return;
    }
    __atomic_store_n(&working.at, at, __ATOMIC_SEQ_CST);
    __atomic_store_n(&working.file.device, file->device, __ATOMIC_SEQ_CST);
    __atomic_store_n(&working.file.inode, file->inode, __ATOMIC_SEQ_CST);
    __atomic_store_n(&working.writes, writes + 2, __ATOMIC_SEQ_CST);
}

bool union_identify(long dirfd, struct identity_of_file *file) {
    uint64_t at = moves();
    bool remembers = (int)dirfd == AT_FDCWD && may_remember(at);
    if (remembers && read_working(at, file)) {
        return true;
    }
    struct status status;
    long result = kernel(NR_newfstatat, (int)dirfd, (long)"", (long)&status, AT_EMPTY_PATH, 0, 0);
    if (result < 0 || (status.mode & S_IFMT) != S_IFDIR) {
        return false;
    }
    *file = (struct identity_of_file){status.device, status.inode};
    if (remembers && moves() == at && !is_shared()) {
        write_working(at, file);
    }
    return true;
}

/* The generation is part of the hash from its first byte on, and begins with a random number. */
static uint64_t fact_about(uint64_t generation, const struct identity_of_file *base,
                           const char *path, size_t size) {
    uint64_t begin = hash_mixed(generation) + hash_mixed(base->inode + 1);
    return fact_of(hash_text(hash_mixed(begin + base->device), path, size), generation);
}

bool native_begin(const struct guest *guest, const char *path, size_t size, bool is_absolute,
                  struct native *native) {
    struct shared *shared = guest->shared;
    struct identity_of_file base = {0, 0};
    native->can_be_known = false;
    native->is_absolute = is_absolute;
    if (shared == NULL || !shared->is_local) {
        return false;
    }
    native->moves = moves();
    native->generation = __atomic_load_n(&shared->native_generation, __ATOMIC_SEQ_CST);
    if (!is_absolute && (!may_remember(native->moves) || !union_identify(AT_FDCWD, &base))) {
        return false;
    }
    native->can_be_known = true;
    native->fact = fact_about(native->generation, &base, path, size);
    return fact_recall(guest, native->fact) == NATIVE;
}

bool native_holds(const struct guest *guest, const struct native *native) {
    return __atomic_load_n(&guest->shared->native_generation, __ATOMIC_SEQ_CST) ==
               native->generation &&
           (native->is_absolute || may_remember(native->moves));
}

bool native_may_learn(const struct guest *guest, const struct native *native) {
    return native->can_be_known && native_holds(guest, native) && is_quiet(guest->shared);
}

/* Whether the working directory lies in the union, and not on what else is mounted. */
static bool is_of_union(const struct guest *guest) {
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return false;
    }
    long size = path_of_directory(guest, AT_FDCWD, space);
    bool is_it =
        size > 0 && guest_mount(guest, space->guest, size == 1 ? 0 : (size_t)size)->lower != NULL;
    workspace_give_back(space);
    return is_it;
}

void native_learn(const struct guest *guest, const struct native *native) {
    bool is_it = native->is_absolute ||
                 (union_of_descriptor(guest, AT_FDCWD) == NATIVE && is_of_union(guest));
    if (is_it && native_holds(guest, native)) {
        fact_note(guest, native->fact, NATIVE);
    }
}
