#include "union.h"

#include "deep.h"
#include "quick.h"
#include "union_facts.h"
#include "union_forbidden.h"
#include "union_native.h"

enum {
    PROT_READ_WRITE = 3,
    MAP_SHARED = 1,
    MAP_FIXED = 0x10,
    LOCK_EX = 2,
    LOCK_NB = 4,
    LOCK_UN = 8,
    FIRST_PAUSE = 50000, /* nanoseconds */
    LONGEST_PAUSE = 4000000,
    SIG_SETMASK = 2,
    SET_SIZE = 8,
    STATX_BTIME = 0x800,
    NAME_ROOM = 32,
};

static const char OPAQUE[] = "user.overlay.opaque";

/* struct statx of <linux/stat.h>, as far as it is needed. */
struct birth {
    uint32_t mask, block_size;
    uint64_t rest[9];
    uint64_t born_seconds;
    uint32_t born_nanoseconds, padding;
    uint64_t more[20];
};

void union_attach(struct guest *guest, struct shared *place) {
    if (!guest->has_union || guest->state == NULL) {
        return;
    }
    long descriptor = kernel(NR_openat, AT_FDCWD, (long)guest->state, O_RDWR | O_CLOEXEC, 0, 0, 0);
    if (descriptor < 0) {
        return;
    }
    struct status status;
    long address = -ENOENT;
    if (kernel(NR_fstat, descriptor, (long)&status, 0, 0, 0, 0) == 0 &&
        status.size == sizeof(struct shared)) {
        address = kernel(NR_mmap, (long)place, sizeof(struct shared), PROT_READ_WRITE,
                         MAP_SHARED | (place == NULL ? 0 : MAP_FIXED), descriptor, 0);
    }
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    if (!failed(address) && ((struct shared *)address)->format == SHARED_FORMAT) {
        guest->shared = (struct shared *)address;
    }
}

long union_path(const struct mount *mount, enum layer layer, const char *path, size_t size,
                char *host) {
    const char *head = layer == LOWER ? mount->lower : mount->source;
    size_t head_size = layer == LOWER ? mount->lower_size : mount->source_size;
    size_t left = size - mount->target_size;
    if (size == 1 && path[0] == '/') {
        left = 0;
    }
    if (head_size + left + 2 > PATH_SIZE) {
        return -ENAMETOOLONG;
    }
    move_bytes(host + head_size, path + mount->target_size, left);
    copy_bytes(host, head, head_size);
    left += head_size;
    if (left == 0) {
        host[left++] = '/';
    }
    host[left] = '\0';
    return (long)left;
}

bool union_is_whiteout(const struct status *status) {
    return (status->mode & S_IFMT) == S_IFCHR && status->special == 0;
}

static long status_of(const char *host, struct status *status) {
    return kernel(NR_newfstatat, AT_FDCWD, (long)host, (long)status, AT_SYMLINK_NOFOLLOW, 0, 0);
}

static bool is_directory(const struct status *status) {
    return (status->mode & S_IFMT) == S_IFDIR;
}

/* Hashes: of paths as they grow (FNV-1a, as Python makes it), and of words. */
#define HASH_BEGIN 0xcbf29ce484222325ULL
#define HASH_FACTOR 0x100000001b3ULL

static uint64_t hash_byte(uint64_t hash, char byte) {
    return (hash ^ (unsigned char)byte) * HASH_FACTOR;
}

uint64_t fact_mixed(uint64_t hash) {
    hash ^= hash >> 32;
    hash *= 0x9e3779b97f4a7c15ULL;
    return hash ^ (hash >> 29);
}

uint64_t fact_hash(uint64_t before, const char *text, size_t size) {
    for (size_t at = 0; at < size; at++) {
        before = hash_byte(before, text[at]);
    }
    return before;
}

static uint64_t hash_path(const char *path, size_t size) {
    return fact_hash(HASH_BEGIN, path, size);
}

/* What hides the lower directory. */

static bool is_opaque(const char *host) {
    char value = 0;
    long result = kernel(NR_lgetxattr, (long)host, (long)OPAQUE, (long)&value, 1, 0, 0);
    if (result == -EACCES) {
        struct forbidden forbidden = NOT_FORBIDDEN;
        result = forbidden_begin(host, &forbidden);
        result = result < 0 ? result
                            : kernel(NR_lgetxattr, (long)host, (long)OPAQUE, (long)&value, 1, 0, 0);
        forbidden_end(&forbidden);
    }
    return result == 1 && value == 'y';
}

/*
 * Whether the upper directory at path hides the one in the lower: it says so, or that is none, and
 * looking below it would follow a link.
 */
static bool hides(const struct mount *mount, const char *path, size_t size, char *host) {
    struct status status;
    if (union_path(mount, UPPER, path, size, host) < 0 || status_of(host, &status) != 0) {
        return false;
    }
    if (!is_directory(&status)) {
        return true;
    }
    if (is_opaque(host)) {
        return true;
    }
    union_path(mount, LOWER, path, size, host);
    return status_of(host, &status) == 0 && !is_directory(&status);
}

/* Whether what is shared can be believed to know all that may hide. */
static bool knows_opaque(const struct guest *guest) {
    const struct shared *shared = guest->shared;
    return shared != NULL && shared->is_local &&
           __atomic_load_n(&shared->opaque_count, __ATOMIC_ACQUIRE) <= SHARED_OPAQUE / 2;
}

static bool may_hide(const struct guest *guest, uint64_t hash) {
    const struct shared *shared = guest->shared;
    for (size_t step = 0; step < SHARED_OPAQUE; step++) {
        uint64_t found =
            __atomic_load_n(&shared->opaque[(hash + step) % SHARED_OPAQUE], __ATOMIC_RELAXED);
        if (found == hash || found == 0) {
            return found != 0;
        }
    }
    return true;
}

static void note_opaque(struct shared *shared, uint64_t hash) {
    if (__atomic_fetch_add(&shared->opaque_count, 1, __ATOMIC_ACQ_REL) >= SHARED_OPAQUE / 2) {
        return; /* too many: nobody asks any more */
    }
    for (size_t step = 0; step < SHARED_OPAQUE; step++) {
        uint64_t expected = 0;
        uint64_t *place = &shared->opaque[(hash + step) % SHARED_OPAQUE];
        if (__atomic_compare_exchange_n(place, &expected, hash, false, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED) ||
            expected == hash) {
            return;
        }
    }
}

/* Whether a directory above path, or itself with_self, hides the lower one. */
static bool is_hidden(const struct guest *guest, const struct mount *mount, const char *path,
                      size_t size, bool with_self, char *host) {
    bool knows = knows_opaque(guest);
    if (knows && guest->shared->opaque_count == 0) {
        return false;
    }
    uint64_t hash = HASH_BEGIN;
    for (size_t at = 0; at <= size; at++) {
        bool is_end = at == size;
        if (at > 1 && (is_end ? with_self : path[at] == '/') && (!knows || may_hide(guest, hash)) &&
            hides(mount, path, at, host)) {
            return true;
        }
        if (!is_end) {
            hash = hash_byte(hash, path[at]);
        }
    }
    return false;
}

/* What no directory above is one of: a file, or what is hidden with a whiteout. */
static long behind_a_file(const struct mount *mount, const char *path, size_t size, char *host) {
    struct status status;
    for (size_t at = 1; at < size; at++) {
        if (path[at] != '/') {
            continue;
        }
        long result = union_path(mount, UPPER, path, at, host);
        result = result < 0 ? result : status_of(host, &status);
        if (result < 0) {
            return result == -ENOENT ? NOWHERE : result;
        }
        if (!is_directory(&status)) {
            return union_is_whiteout(&status) ? NOWHERE : -ENOTDIR;
        }
    }
    return -ENOTDIR;
}

bool union_has_lower(const struct guest *guest, const struct mount *mount, const char *path,
                     size_t size, char *host, struct status *status) {
    return !is_hidden(guest, mount, path, size, false, host) &&
           union_path(mount, LOWER, path, size, host) >= 0 && status_of(host, status) == 0;
}

long union_locate(const struct guest *guest, const struct mount *mount, const char *path,
                  size_t size, char *host, struct status *status) {
    long result = union_path(mount, UPPER, path, size, host);
    result = result < 0 ? result : status_of(host, status);
    if (result == 0) {
        return union_is_whiteout(status) ? NOWHERE : UPPER;
    }
    if (result == -ENOENT && !is_hidden(guest, mount, path, size, false, host)) {
        union_path(mount, LOWER, path, size, host);
        result = status_of(host, status);
        if (result != -ENOENT) {
            return result == 0 ? LOWER : result;
        }
    }
    if (result == -ENOTDIR) {
        result = behind_a_file(mount, path, size, host);
        if (result < 0) {
            return result;
        }
    }
    long left = union_path(mount, UPPER, path, size, host);
    return left < 0 ? left : result == -ENOENT || result >= 0 ? NOWHERE : result;
}

enum folder union_folder(const struct guest *guest, const struct mount *mount, const char *path,
                         size_t size, char *host) {
    struct status status;
    long layer = union_locate(guest, mount, path, size, host, &status);
    if (layer <= NOWHERE || !is_directory(&status)) {
        return UNKNOWN_FOLDER;
    }
    if (layer == LOWER) {
        return ONLY_LOWER;
    }
    bool has_lower = !is_hidden(guest, mount, path, size, true, host) &&
                     union_path(mount, LOWER, path, size, host) >= 0 &&
                     status_of(host, &status) == 0 && is_directory(&status);
    return has_lower ? MERGED : NATIVE;
}

/*
 * Facts. A word has the hash of what it is about and of the generation, and in its last two bits
 * the answer. Whoever moves a directory says so before, and ends the generation afterwards.
 */

bool facts_are_usable(const struct guest *guest, uint64_t *generation) {
    const struct shared *shared = guest->shared;
    if (shared == NULL || !shared->is_local) {
        return false;
    }
    bool is_changing = __atomic_load_n(&shared->changing, __ATOMIC_ACQUIRE) != 0;
    *generation = __atomic_load_n(&shared->generation, __ATOMIC_ACQUIRE);
    return !is_changing;
}

uint64_t fact_of(uint64_t hash, uint64_t generation) {
    return fact_mixed(hash + generation * 0xd6e8feb86659fd93ULL) & ~3ULL;
}

enum folder fact_recall(const struct guest *guest, uint64_t fact) {
    const uint64_t *facts = guest->shared->facts;
    size_t place = (size_t)(fact >> 20) % SHARED_FACTS;
    for (size_t way = 0; way < 2; way++) {
        uint64_t found = __atomic_load_n(&facts[place ^ way], __ATOMIC_RELAXED);
        if ((found & ~3ULL) == fact) {
            return (enum folder)(found & 3);
        }
    }
    return UNKNOWN_FOLDER;
}

void fact_note(const struct guest *guest, uint64_t fact, enum folder folder) {
    uint64_t *facts = guest->shared->facts;
    size_t place = (size_t)(fact >> 20) % SHARED_FACTS;
    uint64_t first = __atomic_load_n(&facts[place], __ATOMIC_RELAXED);
    if (first != 0) {
        __atomic_store_n(&facts[place ^ 1], first, __ATOMIC_RELAXED); /* the older one goes */
    }
    __atomic_store_n(&facts[place], fact | folder, __ATOMIC_RELAXED);
}

bool union_fact(const struct guest *guest, const char *path, size_t size, uint64_t *fact) {
    uint64_t generation = 0;
    if (!facts_are_usable(guest, &generation)) {
        return false;
    }
    *fact = fact_of(hash_path(path, size), generation);
    return true;
}

enum folder union_known(const struct guest *guest, const char *path, size_t size) {
    uint64_t fact;
    return union_fact(guest, path, size, &fact) ? fact_recall(guest, fact) : UNKNOWN_FOLDER;
}

void union_learn(const struct guest *guest, const struct mount *mount, const char *path,
                 size_t size, char *host) {
    uint64_t generation = 0;
    if (!facts_are_usable(guest, &generation)) {
        return;
    }
    uint64_t fact = fact_of(hash_path(path, size), generation);
    if (fact_recall(guest, fact) == UNKNOWN_FOLDER) {
        enum folder folder = union_folder(guest, mount, path, size, host);
        if (folder != UNKNOWN_FOLDER) {
            fact_note(guest, fact, folder);
        }
    }
}

/* The word for a file; the first program of each run may have found more copies than there were. */
static bool copy_fact(const struct guest *guest, uint64_t file, uint64_t *fact) {
    uint64_t generation = 0;
    if (!facts_are_usable(guest, &generation)) {
        return false;
    }
    uint64_t starts = __atomic_load_n(&guest->shared->starts, __ATOMIC_ACQUIRE);
    *fact = fact_of(fact_mixed(file) + fact_mixed(starts + HASH_FACTOR), generation);
    return true;
}

bool union_knows_no_copy(const struct guest *guest, uint64_t file) {
    uint64_t fact;
    return copy_fact(guest, file, &fact) && fact_recall(guest, fact) != UNKNOWN_FOLDER;
}

void union_learn_no_copy(const struct guest *guest, uint64_t file) {
    uint64_t fact;
    if (copy_fact(guest, file, &fact)) {
        fact_note(guest, fact, NATIVE);
    }
}

/* Whether the kernel itself says that a directory is deleted, of which there is no path. */
static bool is_deleted(long dirfd, struct workspace *space) {
    static const char deleted[] = " (deleted)";
    if ((int)dirfd == AT_FDCWD) {
        return kernel(NR_getcwd, (long)space->link, PATH_SIZE, 0, 0, 0, 0) == -ENOENT;
    }
    size_t size = length_of(space->link);
    size_t end = sizeof deleted - 1;
    return size > end && same_text(space->link + size - end, deleted);
}

/* The same in a workspace, of a directory that the guest has open. */
static enum folder folder_of(const struct guest *guest, long dirfd, struct workspace *space) {
    long size = path_of_directory(guest, dirfd, space);
    if (size == -ENAMETOOLONG) {
        return deep_mount_path(guest, dirfd, space) < 0 ? UNKNOWN_FOLDER : NATIVE;
    }
    if (size < 0) {
        return size == -ENOENT && is_deleted(dirfd, space) ? NATIVE : UNKNOWN_FOLDER;
    }
    size = size == 1 ? 0 : size;
    const struct mount *mount = guest_mount(guest, space->guest, (size_t)size);
    if (mount->lower == NULL) {
        return NATIVE;
    }
    enum folder folder = union_folder(guest, mount, space->guest, (size_t)size, space->host);
    /* What is opened below must have a path that tells that it is in the lower one. */
    bool is_far = mount->lower_size + (size_t)size + QUICK_LONGEST + 2 > PATH_SIZE;
    return folder == ONLY_LOWER && is_far ? UNKNOWN_FOLDER : folder;
}

static uint64_t fact_of_file(uint64_t device, uint64_t inode, uint64_t generation) {
    return fact_of(fact_mixed(inode + 1) + fact_mixed(device), generation);
}

enum folder union_of_descriptor(const struct guest *guest, long dirfd) {
    struct identity_of_file file;
    uint64_t generation = 0;
    if (!union_identify(dirfd, &file)) {
        return UNKNOWN_FOLDER;
    }
    bool may = facts_are_usable(guest, &generation);
    uint64_t fact = fact_of_file(file.device, file.inode, generation);
    enum folder folder = may ? fact_recall(guest, fact) : UNKNOWN_FOLDER;
    if (folder != UNKNOWN_FOLDER) {
        return folder;
    }
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return UNKNOWN_FOLDER;
    }
    folder = folder_of(guest, dirfd, space);
    workspace_give_back(space);
    if (may && folder != UNKNOWN_FOLDER) {
        fact_note(guest, fact, folder);
    }
    return folder;
}

void union_note_below(const struct guest *guest, long dirfd, uint64_t device, uint64_t inode,
                      uint64_t generation) {
    uint64_t fact = fact_of_file(device, inode, generation);
    if (fact_recall(guest, fact) == UNKNOWN_FOLDER &&
        union_of_descriptor(guest, dirfd) == ONLY_LOWER) {
        fact_note(guest, fact, ONLY_LOWER);
    }
}

/* Merged directories that were looked into: as long as the generation lasts none of them moves. */
enum { REMEMBERED = 16, LONGEST_REMEMBERED = 222 };

struct remembered {
    bool is_taken;
    uint8_t size;
    char path[LONGEST_REMEMBERED];
    uint64_t device, inode, generation;
};

static struct remembered remembered[REMEMBERED];

/* What is to be remembered of the directory; its path comes in place of what was there. */
static bool remember(const struct guest *guest, long dirfd, struct remembered *place,
                     const struct status *status, uint64_t generation) {
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return false;
    }
    long size = path_of_directory(guest, dirfd, space);
    place->generation = ~0ULL;
    bool fits = size > 0 && size <= LONGEST_REMEMBERED;
    if (fits) {
        copy_bytes(place->path, space->guest, (size_t)size);
        place->size = size == 1 ? 0 : (uint8_t)size;
        place->device = status->device;
        place->inode = status->inode;
        place->generation = generation;
    }
    workspace_give_back(space);
    return fits;
}

long union_path_in(const struct guest *guest, long dirfd, const char *name, size_t name_size,
                   enum layer layer, char *host) {
    struct status status;
    uint64_t generation = 0;
    if (!facts_are_usable(guest, &generation) ||
        kernel(NR_newfstatat, (int)dirfd, (long)"", (long)&status, AT_EMPTY_PATH, 0, 0) != 0) {
        return -ENOSYS;
    }
    struct remembered *place = &remembered[fact_mixed(status.inode) % REMEMBERED];
    if (__atomic_test_and_set(&place->is_taken, __ATOMIC_ACQUIRE)) {
        return -ENOSYS;
    }
    bool is_it = place->generation == generation && place->inode == status.inode &&
                 place->device == status.device && place->size > 0;
    long size = -ENOSYS;
    if (is_it || remember(guest, dirfd, place, &status, generation)) {
        const struct mount *mount = guest_mount(guest, place->path, place->size);
        size = mount->lower == NULL ? -ENOSYS
                                    : union_path(mount, layer, place->path, place->size, host);
    }
    __atomic_clear(&place->is_taken, __ATOMIC_RELEASE);
    if (size < 0 || (size_t)size + name_size + 2 > PATH_SIZE) {
        return -ENOSYS;
    }
    host[size++] = '/';
    copy_bytes(host + size, name, name_size);
    host[(size_t)size + name_size] = '\0';
    return size + (long)name_size;
}

/* Locks. */

static long in_work(const struct guest *guest, const char *name, char *host) {
    size_t size = length_of(guest->work);
    size_t name_size = length_of(name);
    if (size + name_size + 2 > PATH_SIZE) {
        return -ENAMETOOLONG;
    }
    copy_bytes(host, guest->work, size);
    host[size++] = '/';
    copy_bytes(host + size, name, name_size + 1);
    return (long)(size + name_size);
}

static void mask_signals(const uint64_t *set, uint64_t *old) {
    kernel(NR_rt_sigprocmask, SIG_SETMASK, (long)set, (long)old, SET_SIZE, 0, 0);
}

/*
 * Whoever has the lock may have been stopped, or be debugged: then waiting lasts, and what signals
 * the caller lets through must get through, or nothing but SIGKILL would end it. Not while flock(2)
 * waits: a handler that ran with the lock taken would wait for itself.
 */
static long wait_for_lock(long descriptor, const uint64_t *signals) {
    long pause[2] = {0, FIRST_PAUSE};
    for (;;) {
        long result = kernel(NR_flock, descriptor, LOCK_EX | LOCK_NB, 0, 0, 0, 0);
        if (result != -EAGAIN && result != -EINTR) {
            return result;
        }
        long left[2] = {pause[0], pause[1]}; /* the kernel writes there */
        kernel(NR_ppoll, 0, 0, (long)left, (long)signals, SET_SIZE, 0);
        pause[1] = pause[1] * 2 < LONGEST_PAUSE ? pause[1] * 2 : LONGEST_PAUSE;
    }
}

/* The lock is of the file that is shared, or where that is not, of the work directory. */
static long take_lock(const struct guest *guest, const uint64_t *signals) {
    const char *place = guest->state != NULL ? guest->state : guest->work;
    long descriptor = kernel(NR_openat, AT_FDCWD, (long)place, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (descriptor == -ENOENT) {
        place = guest->work;
        descriptor = kernel(NR_openat, AT_FDCWD, (long)place, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    }
    if (descriptor < 0) {
        return descriptor;
    }
    long result = wait_for_lock(descriptor, signals);
    if (result < 0 && result != -ENOSYS && result != -95 /* EOPNOTSUPP: there are no locks */) {
        kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
        return result;
    }
    return descriptor;
}

static bool is_lock(const struct guest *guest, long descriptor) {
    struct status opened;
    struct status place;
    if (kernel(NR_fstat, descriptor, (long)&opened, 0, 0, 0, 0) != 0) {
        return false;
    }
    bool is_same = guest->state != NULL && status_of(guest->state, &place) == 0 &&
                   place.inode == opened.inode && place.device == opened.device;
    return is_same || (status_of(guest->work, &place) == 0 && place.inode == opened.inode &&
                       place.device == opened.device);
}

long union_lock(const struct guest *guest, struct union_lock *lock, bool moves_folders) {
    const uint64_t all = ~0ULL;
    mask_signals(&all, &lock->signals);
    lock->moves_folders = moves_folders;
    lock->descriptor = take_lock(guest, &lock->signals);
    if (lock->descriptor < 0) {
        mask_signals(&lock->signals, NULL);
        return lock->descriptor;
    }
    if (guest->shared != NULL) {
        if (moves_folders) {
            __atomic_store_n(&guest->shared->changing, 1, __ATOMIC_SEQ_CST);
        } else if (__atomic_load_n(&guest->shared->changing, __ATOMIC_RELAXED) != 0) {
            lock->moves_folders = true; /* who had said so is dead: this one ends it */
        }
    }
    return 0;
}

void union_unlock(const struct guest *guest, struct union_lock *lock) {
    if (guest->shared != NULL && lock->moves_folders) {
        __atomic_fetch_add(&guest->shared->generation, 1, __ATOMIC_SEQ_CST);
        __atomic_store_n(&guest->shared->changing, 0, __ATOMIC_SEQ_CST);
    }
    /* Another thread may have closed what it has not opened: then the number may be a file of its.
     */
    if (is_lock(guest, lock->descriptor)) {
        /* A child that another thread has made meanwhile has the open file, too. */
        kernel(NR_flock, lock->descriptor, LOCK_UN, 0, 0, 0, 0);
        kernel(NR_close, lock->descriptor, 0, 0, 0, 0, 0);
    }
    mask_signals(&lock->signals, NULL);
}

long union_nowhere(const struct guest *guest, char *host) {
    long size = in_work(guest, "nothing", host);
    return size < 0 ? -ENOENT : size;
}

long union_temporary(const struct guest *guest, char *host) {
    char name[NAME_ROOM] = "t";
    uint64_t number = 0;
    if (kernel(NR_getrandom, (long)&number, sizeof number, 0, 0, 0, 0) != sizeof number) {
        number = (uint64_t)kernel(NR_gettid, 0, 0, 0, 0, 0, 0) << 32 | (uint32_t)(uintptr_t)host;
    }
    write_number(name + 1, number);
    return in_work(guest, name, host);
}

long union_make_opaque(const struct guest *guest, const char *host, const char *path, size_t size) {
    long result = kernel(NR_setxattr, (long)host, (long)OPAQUE, (long)"y", 1, 0, 0);
    if (result == -EACCES) {
        struct forbidden forbidden = NOT_FORBIDDEN;
        result = forbidden_begin(host, &forbidden);
        result =
            result < 0 ? result : kernel(NR_setxattr, (long)host, (long)OPAQUE, (long)"y", 1, 0, 0);
        forbidden_end(&forbidden);
    }
    if (result == 0 && guest->shared != NULL) {
        note_opaque(guest->shared, hash_path(path, size));
    }
    return result;
}

/* Inodes. */

static uint64_t born(long dirfd, const char *path, long flags) {
    struct birth birth = {.mask = 0};
    long result = kernel(NR_statx, dirfd, (long)path, flags, STATX_BTIME, (long)&birth, 0);
    if (result < 0 || !(birth.mask & STATX_BTIME)) {
        return 0;
    }
    return birth.born_seconds * 1000000000ULL + birth.born_nanoseconds;
}

/* The word of marks that tells of an inode, and the bit in it. Bits are never taken back. */
static size_t mark_of(uint64_t inode, uint64_t *bit) {
    size_t place = fact_mixed(inode) % (SHARED_MARKS * 64);
    *bit = 1ULL << (place % 64);
    return place / 64;
}

static bool may_be_copy(const struct shared *shared, uint64_t inode) {
    uint64_t bit;
    size_t place = mark_of(inode, &bit);
    return __atomic_load_n(&shared->marks[place], __ATOMIC_ACQUIRE) & bit;
}

void union_note_copy(const struct guest *guest, const char *host, const struct status *before) {
    struct shared *shared = guest->shared;
    struct status status;
    if (shared == NULL || shared->copied_count >= SHARED_COPIED / 2 ||
        status_of(host, &status) != 0) {
        return;
    }
    uint64_t when = born(AT_FDCWD, host, AT_SYMLINK_NOFOLLOW);
    if (when == 0) {
        return;
    }
    shared->upper_device = status.device;
    shared->lower_device = before->device;
    for (size_t step = 0; step < SHARED_COPIED; step++) {
        struct copied *copied = &shared->copied[(fact_mixed(status.inode) + step) % SHARED_COPIED];
        if (copied->inode == 0) { /* nobody else adds one: this is done under the lock */
            copied->before = before->inode;
            copied->born = when;
            uint64_t bit;
            size_t place = mark_of(status.inode, &bit);
            __atomic_fetch_or(&shared->marks[place], bit, __ATOMIC_RELEASE);
            __atomic_store_n(&copied->inode, status.inode, __ATOMIC_RELEASE);
            __atomic_fetch_add(&shared->copied_count, 1, __ATOMIC_RELEASE);
            return;
        }
    }
}

uint64_t union_inode(const struct guest *guest, uint64_t device, uint64_t inode, long dirfd,
                     const char *path, long flags) {
    const struct shared *shared = guest->shared;
    if (shared == NULL || __atomic_load_n(&shared->copied_count, __ATOMIC_ACQUIRE) == 0 ||
        device != shared->upper_device || !may_be_copy(shared, inode)) {
        return inode;
    }
    uint64_t when = 0;
    for (size_t step = 0; step < SHARED_COPIED; step++) {
        const struct copied *copied = &shared->copied[(fact_mixed(inode) + step) % SHARED_COPIED];
        uint64_t found = __atomic_load_n(&copied->inode, __ATOMIC_ACQUIRE);
        if (found == 0) {
            break;
        }
        if (found == inode) {
            when = when == 0 ? born(dirfd, path, flags) : when;
            if (copied->born == when) {
                return copied->before;
            }
        }
    }
    return inode;
}

void union_show(const struct guest *guest, struct status *status, long dirfd, const char *path,
                long flags) {
    uint64_t inode = union_inode(guest, status->device, status->inode, dirfd, path, flags);
    if (inode != status->inode) {
        status->inode = inode;
        status->device = guest->shared->lower_device;
    }
}

/* The device of statx(2), as stat(2) has it. */
static uint64_t device_of(const uint32_t *pair) {
    return (pair[1] & 0xff) | (uint64_t)pair[0] << 8 | (uint64_t)(pair[1] & ~0xffU) << 12;
}

void union_show_extended(const struct guest *guest, void *status, long dirfd, const char *path,
                         long flags) {
    enum { INODE_AT = 32, DEVICE_AT = 136 }; /* struct statx */
    uint64_t *inode = (uint64_t *)(void *)((char *)status + INODE_AT);
    uint32_t *device = (uint32_t *)(void *)((char *)status + DEVICE_AT);
    uint64_t before = union_inode(guest, device_of(device), *inode, dirfd, path, flags);
    if (before != *inode) {
        uint64_t lower = guest->shared->lower_device;
        *inode = before;
        device[0] = (uint32_t)(lower >> 8) & 0xfff;
        device[1] = (uint32_t)((lower & 0xff) | (lower >> 12 & 0xfff00));
    }
}

static long check(const struct guest *guest, struct workspace *space) {
    long size = union_temporary(guest, space->host);
    if (size < 0) {
        return size;
    }
    long result = kernel(NR_mkdirat, AT_FDCWD, (long)space->host, 0700, 0, 0, 0);
    if (result < 0) {
        return result;
    }
    result = kernel(NR_setxattr, (long)space->host, (long)OPAQUE, (long)"y", 1, 0, 0);
    kernel(NR_unlinkat, AT_FDCWD, (long)space->host, AT_REMOVEDIR, 0, 0, 0);
    if (result == 0) {
        result = kernel(NR_mknodat, AT_FDCWD, (long)space->host, S_IFCHR, 0, 0, 0);
        kernel(NR_unlinkat, AT_FDCWD, (long)space->host, 0, 0, 0, 0);
    }
    return result;
}

static long share_root(const struct guest *guest, struct workspace *space) {
    const struct mount *root = &guest->mounts[guest->mount_count - 1];
    struct union_lock lock;
    struct status upper;
    struct status lower;
    union_path(root, LOWER, "", 0, space->host);
    long result = status_of(space->host, &lower);
    union_path(root, UPPER, "", 0, space->host);
    result = result < 0 ? result : status_of(space->host, &upper);
    result = result < 0 ? result : union_lock(guest, &lock, false);
    if (result < 0) {
        return result;
    }
    if (union_inode(guest, upper.device, upper.inode, AT_FDCWD, space->host, 0) == upper.inode) {
        union_note_copy(guest, space->host, &lower);
    }
    union_unlock(guest, &lock);
    return 0;
}

long union_begin(const struct guest *guest, struct workspace *space) {
    long result = check(guest, space);
    return result < 0 ? result : share_root(guest, space);
}
