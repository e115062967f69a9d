#include "sigsys.h"

static int own_pid(void) {
    return (int)kernel(NR_getpid, 0, 0, 0, 0, 0, 0);
}

static int own_thread(void) {
    return (int)kernel(NR_gettid, 0, 0, 0, 0, 0, 0);
}

static size_t place_of(unsigned long thread) {
    return (thread >> 6 ^ thread >> 12 ^ thread >> 20) % BLOCKING_THREADS;
}

bool sigsys_is_blocked(const struct sigsys *sigsys) {
    if (!sigsys->was_used) {
        return false;
    }
    if (sigsys->blocked_at_exec && own_thread() == own_pid()) {
        return true;
    }
    unsigned long thread = arch_thread();
    return thread != 0 && sigsys->threads[place_of(thread)] == thread;
}

static void deliver(struct sigsys *sigsys) {
    char info[SIGNAL_INFO_SIZE];
    sigsys_take(sigsys, info);
    kernel(NR_rt_tgsigqueueinfo, own_pid(), own_thread(), SIGSYS, (long)info, 0, 0);
}

void sigsys_block(struct sigsys *sigsys, bool blocks) {
    if (!blocks && !sigsys->was_used) {
        return;
    }
    sigsys->was_used = true;
    if (sigsys->blocked_at_exec && own_thread() == own_pid()) {
        sigsys->blocked_at_exec = false;
    }
    unsigned long thread = arch_thread();
    unsigned long *place = &sigsys->threads[place_of(thread)];
    if (blocks) {
        *place = thread;
    } else if (*place == thread) {
        *place = 0;
    }
    if (!blocks && sigsys_is_pending(sigsys)) {
        deliver(sigsys);
    }
}

bool sigsys_keep(struct sigsys *sigsys, const void *info) {
    if (!sigsys_is_blocked(sigsys)) {
        return false;
    }
    int pid = own_pid();
    int waiter = sigsys->waiter;
    if (!sigsys_is_pending(sigsys)) {
        copy_bytes(sigsys->info, info, SIGNAL_INFO_SIZE);
        sigsys->pending = pid;
        if (waiter != 0 && waiter != own_thread()) {
            kernel(NR_tgkill, pid, waiter, SIGSYS, 0, 0, 0); /* to wake it */
        }
    }
    return true;
}

bool sigsys_is_pending(const struct sigsys *sigsys) {
    return sigsys->pending != 0 && sigsys->pending == own_pid();
}

void sigsys_take(struct sigsys *sigsys, void *info) {
    if (info != NULL) {
        copy_bytes(info, sigsys->info, SIGNAL_INFO_SIZE);
    }
    sigsys->pending = 0;
}
