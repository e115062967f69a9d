/*
 * SIGSYS stays unblocked and the engine's own: it is taken out of every mask that the guest gives,
 * and its action is only remembered; see sigsys.h. That it is blocked while a handler runs is not
 * done, and signalfd(2) does not tell of it.
 */
#include "own.h"

enum { SIG_IGN = 1, SET_SIZE = 8, MOST_SIGNALS = 64 };
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
        if (given->handler == SIG_IGN) {
            process->sigsys.pending = 0;
        }
    }
    if (old != NULL) {
        copy_bytes((char *)old, (const char *)&before, sizeof before);
    }
    return 0;
}

/*
 * An emulator has its handlers change the mask that is in force after them, to all signals. It
 * would die of its next call.
 */
static void end_by(uintptr_t restorer, struct action *given) {
    enum { SA_RESTORER = 0x04000000 };
    if (restorer != 0) {
        given->restorer = restorer;
        given->flags |= SA_RESTORER;
    }
}

/* That a handler's mask has SIGSYS in it: who asks for the action is to see it. */
static void remember_masking(struct process *process, int signal, bool changes, bool masks,
                             struct action *old) {
    uint64_t bit = (uint64_t)1 << ((unsigned)signal - 1) % MOST_SIGNALS;
    bool was = persona_of(process)->masked & bit;
    if (changes && masks != was) {
        persona_to_change(process)->masked ^= bit;
    }
    if (old != NULL && was) {
        old->mask |= SIGSYS_BIT;
    }
}

static long call_sigaction(struct process *process, const struct call *call) {
    const long *a = call->argument;
    const struct action *given = (const struct action *)a[1];
    struct action changed = {.mask = 0};
    if (a[3] != SET_SIZE) {
        return -EINVAL;
    }
    if (given != NULL) {
        if (!memory_is_there(given, sizeof *given)) {
            return -EFAULT;
        }
        copy_bytes((char *)&changed, (const char *)given, sizeof changed);
        end_by(process->restorer, &changed);
        given = &changed;
    }
    if ((int)a[0] == SIGSYS) {
        return remember_action(process, given, (struct action *)a[2]);
    }
    bool masks = changed.mask & SIGSYS_BIT;
    changed.mask &= ~SIGSYS_BIT;
    long result = kernel(NR_rt_sigaction, a[0], (long)given, a[2], SET_SIZE, 0, 0);
    if (result == 0) {
        remember_masking(process, (int)a[0], given != NULL, masks, (struct action *)a[2]);
    }
    return result;
}

/*
 * A mask of the guest's without SIGSYS, in copy. NULL stays NULL. False: it is not there. *has is
 * whether there was SIGSYS.
 */
static bool stripped(long address, uint64_t *copy, long *result, bool *has) {
    *has = false;
    if (address == 0) {
        *result = 0;
        return true;
    }
    if (!memory_is_there((const void *)address, SET_SIZE)) {
        return false;
    }
    copy_bytes((char *)copy, (const char *)address, SET_SIZE);
    *has = *copy & SIGSYS_BIT;
    *copy &= ~SIGSYS_BIT;
    *result = (long)copy;
    return true;
}

enum { BLOCK, UNBLOCK, SET };

/* What a change of the mask, which has been made, means for SIGSYS. */
static void change_sigsys(struct process *process, int operation, bool has, uint64_t *old,
                          bool changes) {
    if (old != NULL && sigsys_is_blocked(&process->sigsys)) {
        *old |= SIGSYS_BIT;
    }
    if (changes && (has || operation == SET)) {
        sigsys_block(&process->sigsys, has && operation != UNBLOCK);
    }
}

/*
 * Where the caller goes on with another mask than the present one, it is enough to change that: the
 * kernel is asked for the old one only, which is the same, and writes it or says that it cannot.
 */
static long change_mask(const struct call *call, uint64_t *mask, long given, uint64_t set) {
    const long *a = call->argument;
    if (mask == NULL || (given != 0 && (unsigned)a[0] > SET)) {
        return kernel(NR_rt_sigprocmask, a[0], given, a[2], SET_SIZE, 0, 0);
    }
    long result = a[2] == 0 ? 0 : kernel(NR_rt_sigprocmask, 0, 0, a[2], SET_SIZE, 0, 0);
    if (result == 0 && given != 0) {
        *mask = a[0] == SET ? set : a[0] == BLOCK ? *mask | set : *mask & ~set;
    }
    return result;
}

static long call_sigprocmask(struct process *process, const struct call *call, uint64_t *mask) {
    const long *a = call->argument;
    uint64_t set = 0;
    long given;
    bool has;
    if (a[3] != SET_SIZE) {
        return -EINVAL;
    }
    if (!stripped(a[1], &set, &given, &has)) {
        return -EFAULT;
    }
    long result = change_mask(call, mask, given, set);
    if (result == 0) {
        change_sigsys(process, (int)a[0], has, (uint64_t *)a[2], given != 0);
    }
    return result;
}

/* Wait with another mask: for that time SIGSYS is blocked or not as it says. */
static long wait_with(struct process *process, const struct call *call, bool changes, bool blocks) {
    struct sigsys *sigsys = &process->sigsys;
    bool before = sigsys_is_blocked(sigsys);
    if (!changes || blocks == before) {
        return pass(call);
    }
    bool comes_at_once = !blocks && sigsys_is_pending(sigsys);
    sigsys_block(sigsys, blocks);
    long result = comes_at_once ? -EINTR : pass(call);
    sigsys_block(sigsys, before);
    return result;
}

/* ppoll, epoll_pwait, epoll_pwait2, rt_sigsuspend: the mask is argument number position. */
static long with_mask(struct process *process, const struct call *call, int position) {
    struct call changed = *call;
    uint64_t copy;
    bool has;
    if (!stripped(call->argument[position], &copy, &changed.argument[position], &has)) {
        return -EFAULT;
    }
    return wait_with(process, &changed, changed.argument[position] != 0, has);
}

/* The last argument of pselect6 points to a pointer to the mask, and its size. */
static long call_pselect(struct process *process, const struct call *call) {
    struct call changed = *call;
    long pair[2];
    uint64_t copy;
    bool has;
    if (call->argument[5] == 0) {
        return pass(call);
    }
    if (!memory_is_there((const void *)call->argument[5], sizeof pair)) {
        return -EFAULT;
    }
    copy_bytes((char *)pair, (const char *)call->argument[5], sizeof pair);
    if (!stripped(pair[0], &copy, &pair[0], &has)) {
        return -EFAULT;
    }
    changed.argument[5] = (long)pair;
    return wait_with(process, &changed, pair[0] != 0, has);
}

static long call_sigpending(struct process *process, const struct call *call) {
    long result = pass(call);
    if (result == 0 && call->argument[1] == SET_SIZE && sigsys_is_pending(&process->sigsys) &&
        sigsys_is_blocked(&process->sigsys)) {
        *(uint64_t *)call->argument[0] |= SIGSYS_BIT;
    }
    return result;
}

/* The one that is pending, for who waits for it. */
static long take_pending(struct process *process, void *info) {
    if (info != NULL && !memory_is_writable(info, SIGNAL_INFO_SIZE)) {
        return -EFAULT;
    }
    sigsys_take(&process->sigsys, info);
    return SIGSYS;
}

static long call_sigtimedwait(struct process *process, const struct call *call) {
    struct call changed = *call;
    struct sigsys *sigsys = &process->sigsys;
    uint64_t copy;
    bool has;
    if (!stripped(call->argument[0], &copy, &changed.argument[0], &has)) {
        return -EFAULT;
    }
    if (!has) {
        return pass(&changed);
    }
    sigsys->waiter = (int)kernel(NR_gettid, 0, 0, 0, 0, 0, 0);
    long result = -EINTR;
    if (!sigsys_is_pending(sigsys)) {
        result = pass(&changed);
    }
    sigsys->waiter = 0;
    bool is_there = result == -EINTR && sigsys_is_pending(sigsys);
    return is_there ? take_pending(process, (void *)call->argument[1]) : result;
}

long own_signal_call(struct process *process, const struct call *call, uint64_t *mask) {
    if (process->guest.tracing != TRACING_NONE) {
        return pass(call); /* SIGSYS is the guest's */
    }
    switch (call->number) {
    case NR_rt_sigaction:
        return call_sigaction(process, call);
    case NR_rt_sigprocmask:
        return call_sigprocmask(process, call, mask);
    case NR_rt_sigsuspend:
        return with_mask(process, call, 0);
    case NR_ppoll:
        return with_mask(process, call, 3);
    case NR_pselect6:
        return call_pselect(process, call);
    case NR_rt_sigpending:
        return call_sigpending(process, call);
    case NR_rt_sigtimedwait:
        return call_sigtimedwait(process, call);
    default:
        return with_mask(process, call, 4);
    }
}
