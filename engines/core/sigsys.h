/*
 * SIGSYS as the guest has it. To the kernel it is never blocked, because a trap that finds it so
 * kills the process: which threads block it, and that one is pending, is kept here.
 */
#ifndef UDOCKER_SIGSYS_H
#define UDOCKER_SIGSYS_H

#include "base.h"

enum { SIGSYS = 31, BLOCKING_THREADS = 64, SIGNAL_INFO_SIZE = 128 };

struct sigsys {
    /* Each at the place that its address says; of two that meet there the later one is known. */
    unsigned long threads[BLOCKING_THREADS];
    bool was_used;        /* some thread has blocked it once */
    bool blocked_at_exec; /* the first thread has, before it had anything of its own */
    int pending;          /* the process that one waits in, or 0 */
    int waiter;           /* a thread that waits for one, or 0 */
    char info[SIGNAL_INFO_SIZE];
};

bool sigsys_is_blocked(const struct sigsys *sigsys);

/* Block or not, in this thread. What is pending comes as soon as it is not. */
void sigsys_block(struct sigsys *sigsys, bool blocks);

/* One that came: true when it has to wait, and is pending. */
bool sigsys_keep(struct sigsys *sigsys, const void *info);

bool sigsys_is_pending(const struct sigsys *sigsys);

/* Take what is pending away, to info unless that is NULL. */
void sigsys_take(struct sigsys *sigsys, void *info);

#endif
