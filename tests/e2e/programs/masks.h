/* Signals that are blocked, and sets of one. */
#ifndef MASKS_H
#define MASKS_H

#include <signal.h>
#include <stddef.h>

static inline int is_blocked(int number) {
    sigset_t set;
    sigprocmask(SIG_SETMASK, NULL, &set);
    return sigismember(&set, number);
}

static inline sigset_t only(int number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    return set;
}

#endif
