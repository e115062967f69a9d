/*
 * SIGSYS must stay unblocked and the engine's own: a trap that meets it blocked kills the process.
 * So it is taken out of every mask that the guest gives, and its action is only remembered.
 */
#include "own.h"

enum { SIGSYS = 31, SET_SIZE = 8 };
static const uint64_t SIGSYS_BIT = 1ULL << (SIGSYS - 1);

/* What the guest sets for SIGSYS is kept for when somebody sends it one: see the front. */
static long remember_action(struct process *process, const struct action *given,
                            struct action *old) {
    struct action before = persona_of(process)->sigsys;
    if (old != NULL && !memory_is_writable(old, sizeof *old)) {
        return -EFAULT;
    }
    if (given != NULL) {
        persona_to_change(process)->sigsys = *given;
    }
    if (old != NULL) {
        copy_bytes((char *)old, (const char *)&before, sizeof before);
    }
    return 0;
}

static long call_sigaction(struct process *process, const struct call *call) {
    const long *a = call->argument;
    const struct action *given = (const struct action *)a[1];
    struct action changed;
    if (a[3] != SET_SIZE) {
        return -EINVAL;
    }
    if (given != NULL) {
        if (!memory_is_there(given, sizeof *given)) {
            return -EFAULT;
        }
        copy_bytes((char *)&changed, (const char *)given, sizeof changed);
        changed.mask &= ~SIGSYS_BIT;
        given = &changed;
    }
    if ((int)a[0] == SIGSYS) {
        return remember_action(process, given, (struct action *)a[2]);
    }
    return kernel(NR_rt_sigaction, a[0], (long)given, a[2], SET_SIZE, 0, 0);
}

/* A mask of the guest's without SIGSYS, in copy. NULL stays NULL. False: it is not there. */
static bool stripped(long address, uint64_t *copy, long *result) {
    if (address == 0) {
        *result = 0;
        return true;
    }
    if (!memory_is_there((const void *)address, SET_SIZE)) {
        return false;
    }
    copy_bytes((char *)copy, (const char *)address, SET_SIZE);
    *copy &= ~SIGSYS_BIT;
    *result = (long)copy;
    return true;
}

/*
 * Where the caller goes on with another mask than the present one, it is enough to change that: the
 * kernel is asked for the old one only, which is the same, and writes it or says that it cannot.
 */
static long call_sigprocmask(const struct call *call, uint64_t *mask) {
    enum { BLOCK, UNBLOCK, SET };
    const long *a = call->argument;
    uint64_t set;
    long given;
    if (a[3] != SET_SIZE) {
        return -EINVAL;
    }
    if (!stripped(a[1], &set, &given)) {
        return -EFAULT;
    }
    if (mask == NULL || (given != 0 && (unsigned)a[0] > SET)) {
        return kernel(NR_rt_sigprocmask, a[0], given, a[2], SET_SIZE, 0, 0);
    }
    long result = a[2] == 0 ? 0 : kernel(NR_rt_sigprocmask, 0, 0, a[2], SET_SIZE, 0, 0);
    if (result == 0 && given != 0) {
        *mask = a[0] == SET ? set : a[0] == BLOCK ? *mask | set : *mask & ~set;
    }
    return result;
}

/* ppoll, epoll_pwait, epoll_pwait2, rt_sigsuspend: the mask is argument number position. */
static long with_mask(const struct call *call, int position) {
    struct call changed = *call;
    uint64_t copy;
    if (!stripped(call->argument[position], &copy, &changed.argument[position])) {
        return -EFAULT;
    }
    return pass(&changed);
}

/* The last argument of pselect6 points to a pointer to the mask, and its size. */
static long call_pselect(const struct call *call) {
    struct call changed = *call;
    long pair[2];
    uint64_t copy;
    if (call->argument[5] == 0) {
        return pass(call);
    }
    if (!memory_is_there((const void *)call->argument[5], sizeof pair)) {
        return -EFAULT;
    }
    copy_bytes((char *)pair, (const char *)call->argument[5], sizeof pair);
    if (!stripped(pair[0], &copy, &pair[0])) {
        return -EFAULT;
    }
    changed.argument[5] = (long)pair;
    return pass(&changed);
}

long own_signal_call(struct process *process, const struct call *call, uint64_t *mask) {
    switch (call->number) {
    case NR_rt_sigaction:
        return call_sigaction(process, call);
    case NR_rt_sigprocmask:
        return call_sigprocmask(call, mask);
    case NR_rt_sigsuspend:
        return with_mask(call, 0);
    case NR_ppoll:
        return with_mask(call, 3);
    case NR_pselect6:
        return call_pselect(call);
    default:
        return with_mask(call, 4);
    }
}
