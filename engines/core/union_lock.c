/* The lock of a union: what whiteouts are part of happens under it. */
#include "union_work.h"

#include "pin.h"
#include "union_shared.h"

enum {
    LOCK_EX = 2,
    LOCK_NB = 4,
    LOCK_UN = 8,
    FIRST_PAUSE = 50000, /* nanoseconds */
    LONGEST_PAUSE = 4000000,
    SIG_SETMASK = 2,
    SET_SIZE = 8,
};

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
    long descriptor = pin_open_at(AT_FDCWD, place, O_RDONLY);
    if (descriptor == -ENOENT) {
        place = guest->work;
        descriptor = pin_open_at(AT_FDCWD, place, O_RDONLY);
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
    bool is_same = guest->state != NULL && host_status(guest->state, &place) == 0 &&
                   place.inode == opened.inode && place.device == opened.device;
    return is_same || (host_status(guest->work, &place) == 0 && place.inode == opened.inode &&
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
