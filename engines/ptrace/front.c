/*
 * The front passes on what it is sent, stops and goes on with the command (the tracer tells it),
 * and ends as the command did. It closes its descriptors, since others may wait for the end of a
 * pipe.
 */
#include "trace.h"

enum {
    SA_SIGINFO = 4,
    SA_RESTORER = 0x04000000,
    SA_RESTART = 0x10000000,
    SI_KERNEL = 0x80, /* the terminal has sent it to the whole group */
    RLIMIT_CORE = 4,
    LATE = 100,   /* ms; until then all have what was sent to all */
    STALE = 2000, /* ms */
    PAUSE = 5,    /* ms */
};

void restore_context(void); /* of restore_*.c */

/* Of this process: a signal handler is given nothing else. */
static struct front {
    struct common *common;
    int tracer;
    int user;
} the_front;

static const char passed_on[] = {SIGHUP,  SIGINT,  SIGQUIT,  SIGTERM, SIGUSR1,
                                 SIGUSR2, SIGALRM, SIGWINCH, SIGCONT, SIGTSTP};

/*
 * Whether the same sender has sent it to the guest as well: slurmstepd does, to every process of a
 * step. It is root, so nobody waits for signals of one's own.
 */
static bool is_for_all(int signal, const struct sent *sent) {
    struct common *common = the_front.common;
    if (sent->user == the_front.user || signal >= TRACE_SIGNALS) {
        return false;
    }
    for (long waited = 0; waited < LATE; waited += PAUSE) {
        if (__atomic_load_n(&common->senders[signal], __ATOMIC_ACQUIRE) == sent->process &&
            trace_now() - common->moments[signal] < STALE) {
            __atomic_store_n(&common->senders[signal], 0, __ATOMIC_RELEASE);
            return true;
        }
        if (__atomic_load_n(&common->has_ended, __ATOMIC_ACQUIRE)) {
            return true;
        }
        const long pause[2] = {0, PAUSE * 1000000L};
        kernel(NR_nanosleep, (long)pause, 0, 0, 0, 0, 0);
    }
    return false;
}

static void on_signal(int signal, const struct sent *sent, void *context) {
    (void)context;
    if (sent->code != SI_KERNEL && sent->process != the_front.tracer && !is_for_all(signal, sent)) {
        kernel(NR_kill, the_front.common->command, signal, 0, 0, 0, 0);
    }
}

static void take_signals(void) {
    const struct action action = {
        .handler = (uintptr_t)on_signal,
        .flags = SA_SIGINFO | SA_RESTORER | SA_RESTART,
        .restorer = (uintptr_t)restore_context,
    };
    for (size_t index = 0; index < sizeof passed_on; index++) {
        kernel(NR_rt_sigaction, passed_on[index], (long)&action, 0, SIGNAL_SET_SIZE, 0, 0);
    }
}

/* By the same signal; of its memory there is nothing worth a dump. */
static void end_by(int signal) {
    const uint64_t none[2] = {0, 0};
    const struct action as_usual = {.handler = 0};
    kernel(NR_prlimit64, 0, RLIMIT_CORE, (long)none, 0, 0, 0);
    kernel(NR_rt_sigaction, signal, (long)&as_usual, 0, SIGNAL_SET_SIZE, 0, 0);
    kernel(NR_rt_sigprocmask, SIG_SETMASK, (long)none, 0, SIGNAL_SET_SIZE, 0, 0);
    kernel(NR_kill, kernel(NR_getpid, 0, 0, 0, 0, 0, 0), signal, 0, 0, 0, 0);
    kernel(NR_exit_group, 128 + signal, 0, 0, 0, 0, 0); /* where init ignores it */
}

static _Noreturn void end(int status) {
    if (trace_exit_signal(status) != 0) {
        end_by(trace_exit_signal(status));
    }
    for (;;) {
        kernel(NR_exit_group, status >> 8 & 0xff, 0, 0, 0, 0, 0);
    }
}

_Noreturn void front_run(struct common *common, int tracer, uint64_t mask) {
    int user = (int)kernel(NR_getuid, 0, 0, 0, 0, 0, 0);
    the_front = (struct front){common, tracer, user};
    trace_close_all();
    take_signals();
    /* What was sent before there was a command waits until there is one. */
    while (__atomic_load_n(&common->command, __ATOMIC_ACQUIRE) == 0 &&
           kernel(NR_kill, tracer, 0, 0, 0, 0, 0) == 0) {
        kernel(NR_sched_yield, 0, 0, 0, 0, 0, 0);
    }
    kernel(NR_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, SIGNAL_SET_SIZE, 0, 0);
    int status = 0;
    long ended;
    do {
        ended = kernel(NR_wait4, tracer, (long)&status, WAIT_ALL, 0, 0, 0);
    } while (ended == -EINTR);
    end(common->has_ended ? common->status : status);
}
