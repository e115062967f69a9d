/*
 * The tracing engine. The in-process engine is in every process of the guest here, too; but what
 * stops a call is a tracer, which sends the thread to the engine, and no signal. So SIGSYS is the
 * guest's own, and a kernel without seccomp filters will do.
 *
 *   the front     is the process that was started: passes signals on, gives the status
 *   the tracer    its child, and the parent of
 *   the command   and so, by ptrace(2), of what that starts
 */
#ifndef UDOCKER_TRACE_H
#define UDOCKER_TRACE_H

#include "engine.h"

/*
 * Part into the three processes. Returns in the command, which is traced then, before any call of
 * the guest. Where it cannot be traced, the front ends with a message.
 */
void trace_begin(const struct guest *guest);

/* siginfo_t of a signal that a process has sent: sigaction(2) */
struct sent {
    int number, error, code, padding;
    int process, user;
};

enum {
    TRACE_SIGNALS = 32, /* those that have a name */
};

/* What the three have in common. */
struct common {
    int command;   /* its process id; 0: it has not begun */
    int status;    /* as wait4(2) gives it, once has_ended */
    int has_ended; /* the command; else the tracer failed */
    /*
     * Of each signal who has sent it to a process of the guest last, and is not the front; and
     * when, in ms of no certain beginning. A batch system sends to all processes of a job.
     */
    int senders[TRACE_SIGNALS];
    long moments[TRACE_SIGNALS];
};

/* signal(7), sigaction(2), wait4(2): what the front and the tracer use of them */
enum {
    SIGHUP = 1,
    SIGINT = 2,
    SIGQUIT = 3,
    SIGKILL = 9,
    SIGUSR1 = 10,
    SIGUSR2 = 12,
    SIGALRM = 14,
    SIGTERM = 15,
    SIGCONT = 18,
    SIGSTOP = 19,
    SIGTSTP = 20,
    SIGTTIN = 21,
    SIGTTOU = 22,
    SIGWINCH = 28,
    SIGNAL_SET_SIZE = 8,
    SIG_BLOCK = 0,
    SIG_SETMASK = 2,
    WAIT_ALL = 0x40000000, /* __WALL */
};

static inline int trace_exit_signal(int status) {
    return status & 0x7f;
}

long trace_now(void); /* in ms, as of moments */

/* To the end of the command: its parent, which traces it and all that it starts. */
_Noreturn void tracer_run(const struct guest *guest, struct common *common, int ready);

/* The same, for whom udocker started. The signals of before are blocked, and mask was in force. */
_Noreturn void front_run(struct common *common, int tracer, uint64_t mask);

/* Close all descriptors: a pipe ends when the command has closed it. */
void trace_close_all(void);

#endif
