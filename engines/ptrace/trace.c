#include "trace.h"

enum {
    PR_SET_PDEATHSIG = 1,
    PROT_READ_WRITE = 3,
    MAP_SHARED_ANONYMOUS = 0x21,
    CLONE_CHILD = 17, /* as fork(2): SIGCHLD at its end */
};

static long fork(void) {
    return kernel(NR_clone, CLONE_CHILD, 0, 0, 0, 0, 0);
}

static void must(long result, const char *what) {
    if (failed(result)) {
        give_up(FAILED, what, "the command, to trace it", result);
    }
}

void trace_close_all(void) {
    if (kernel(NR_close_range, 0, (long)~0U, 0, 0, 0, 0) != -ENOSYS) {
        return;
    }
    enum { MOST = 4096 }; /* before Linux 5.9; what is above that number stays open */
    for (int descriptor = 0; descriptor < MOST; descriptor++) {
        kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    }
}

/* Until the other end of the pipe has written, or is gone: whether it has written. */
static bool wait_for(int descriptor) {
    char byte;
    long count;
    do {
        count = kernel(NR_read, descriptor, (long)&byte, 1, 0, 0, 0);
    } while (count == -EINTR);
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    return count == 1;
}

/* In the child of the tracer: goes on as the command once it is traced. */
static void begin_command(const int *traced, uint64_t mask) {
    kernel(NR_close, traced[1], 0, 0, 0, 0, 0);
    if (!wait_for(traced[0])) {
        kernel(NR_exit_group, FAILED, 0, 0, 0, 0, 0); /* the tracer has said why */
    }
    kernel(NR_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, SIGNAL_SET_SIZE, 0, 0);
}

/* In the child of the front. It comes back in its own child only. */
static void begin_tracer(const struct guest *guest, struct common *common, long front,
                         uint64_t mask) {
    int traced[2];
    kernel(NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0);
    if (kernel(NR_getppid, 0, 0, 0, 0, 0, 0) != front) {
        kernel(NR_exit_group, FAILED, 0, 0, 0, 0, 0);
    }
    must(kernel(NR_pipe2, (long)traced, O_CLOEXEC, 0, 0, 0, 0), "begin");
    long command = fork();
    must(command, "begin");
    if (command == 0) {
        begin_command(traced, mask);
        return;
    }
    kernel(NR_close, traced[0], 0, 0, 0, 0, 0);
    common->command = (int)command;
    tracer_run(guest, common, traced[1]);
}

long trace_now(void) {
    long now[2] = {0, 0}; /* seconds, and ns */
    kernel(NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, (long)now, 0, 0, 0, 0);
    return now[0] * 1000 + now[1] / 1000000;
}

void trace_begin(const struct guest *guest) {
    uint64_t all = ~0UL;
    uint64_t mask = 0;
    kernel(NR_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&mask, SIGNAL_SET_SIZE, 0, 0);
    long front = kernel(NR_getpid, 0, 0, 0, 0, 0, 0);
    long common =
        kernel(NR_mmap, 0, sizeof(struct common), PROT_READ_WRITE, MAP_SHARED_ANONYMOUS, -1, 0);
    must(common, "begin");
    long tracer = fork();
    must(tracer, "begin");
    if (tracer != 0) {
        front_run((struct common *)common, (int)tracer, mask);
    }
    begin_tracer(guest, (struct common *)common, front, mask);
}
