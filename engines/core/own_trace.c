/*
 * Debuggers in the guest. What of the engine would stop a program that they trace they do not see:
 * the signals of traps, and the engine's own work after an execve(2), before the program is in
 * memory. strace(1) and others that ask for every system call see all of it.
 */
#include "own.h"

/* ptrace(2), waitpid(2) */
enum {
    TRACE_ME = 0,
    PEEK_TEXT = 1,
    PEEK_USER = 3,
    POKE_TEXT = 4,
    POKE_USER = 6,
    CONTINUE = 7,
    SINGLE_STEP = 9,
    SYSTEM_CALL = 24,
    GET_SIGNAL = 0x4202,
    EVENT_EXEC = 4,
    WAIT_ALL = 0x40000000, /* __WALL */
    STOPPED = 0x7f,
    SIGTRAP = 5,
    SYS_SECCOMP = 1,
    SI_KERNEL = 0x80,
};

static long trace(int request, int pid, uintptr_t place, long data) {
    return kernel(NR_ptrace, request, pid, (long)place, data, 0, 0);
}

static int signal_of(int status) {
    return (status & 0xff) == STOPPED ? status >> 8 & 0xff : 0;
}

static struct tracee *tracee_of(struct process *process, int pid) {
    return &process->tracees[(unsigned)pid % TRACEES];
}

static int request_of(struct process *process, int pid) {
    const struct tracee *tracee = tracee_of(process, pid);
    return tracee->pid == pid ? tracee->request : CONTINUE;
}

static bool is_trap(int pid, int status) {
    int info[SIGNAL_INFO_SIZE / sizeof(int)] = {0}; /* number, error, code */
    return signal_of(status) == SIGSYS && status >> 16 == 0 &&
           trace(GET_SIGNAL, pid, 0, (long)info) == 0 && info[2] == SYS_SECCOMP && info[1] == 0;
}

#if defined(__x86_64__)

/* struct user_regs_struct of <sys/user.h> */
enum { OF_RCX = 11 * 8, OF_RIP = 16 * 8, BREAKPOINT = 0xcc };

static uintptr_t register_of(int pid, uintptr_t which) {
    uintptr_t value = 0;
    trace(PEEK_USER, pid, which, (long)&value);
    return value;
}

/* Whether it met a breakpoint, and not the end of a step. */
static bool met_breakpoint(int pid, int status) {
    int info[SIGNAL_INFO_SIZE / sizeof(int)] = {0};
    return signal_of(status) == SIGTRAP && status >> 16 == 0 &&
           trace(GET_SIGNAL, pid, 0, (long)info) == 0 && info[2] == SI_KERNEL;
}

/*
 * Let it go on with signal until it is at place. False: it never came there; *status is what is to
 * be told instead, or 0.
 */
static bool run_to(int pid, uintptr_t place, int signal, int *status) {
    long word;
    *status = 0;
    if (trace(PEEK_TEXT, pid, place, (long)&word) < 0) {
        return false;
    }
    trace(POKE_TEXT, pid, place, (word & ~0xffL) | BREAKPOINT);
    do {
        trace(CONTINUE, pid, 0, signal);
        long result;
        do { /* a breakpoint of the engine's must not stay */
            result = kernel(NR_wait4, pid, (long)status, WAIT_ALL, 0, 0, 0);
        } while (result == -EINTR);
        if (result != pid || (*status & 0xff) != STOPPED) {
            return false;
        }
        signal = *status >> 16 == 0 ? signal_of(*status) : 0;
        signal = signal == SIGTRAP ? 0 : signal;
    } while (!met_breakpoint(pid, *status));
    trace(POKE_TEXT, pid, place, word);
    bool is_there = register_of(pid, OF_RIP) == place + 1;
    if (is_there) {
        trace(POKE_USER, pid, OF_RIP, (long)place);
    }
    return is_there;
}

/* A program that has just been executed: it is to be where it begins, and not where the engine is.
 */
static void go_to_program(const struct process *process, int pid, int *status) {
    int before = *status;
    bool is_there = run_to(pid, process->leave, 0, status);
    if (is_there) {
        trace(POKE_USER, pid, OF_RIP, (long)register_of(pid, OF_RCX));
    }
    if (is_there || *status == 0) {
        *status = before;
    }
}

static bool has_executed(const struct process *process, int pid, int status) {
    int event = status >> 16;
    return signal_of(status) == SIGTRAP && (event == 0 || event == EVENT_EXEC) &&
           register_of(pid, OF_RIP) == process->entry;
}

/* One step over a call that trapped ends behind it. */
static bool step_over(int pid, int *status) {
    bool is_there = run_to(pid, register_of(pid, OF_RIP), SIGSYS, status);
    if (is_there) {
        *status = SIGTRAP << 8 | STOPPED;
    }
    return is_there || *status != 0;
}

#else

static void go_to_program(const struct process *process, int pid, int *status) {
    (void)process;
    (void)pid;
    (void)status;
}

static bool has_executed(const struct process *process, int pid, int status) {
    (void)process;
    (void)pid;
    (void)status;
    return false;
}

static bool step_over(int pid, int *status) {
    (void)pid;
    (void)status;
    return false;
}

#endif

/* Whether the tracer is not to see this, and the tracee goes on. */
static bool is_hidden(struct process *process, int pid, int *status) {
    int request = request_of(process, pid);
    if (signal_of(*status) == 0 || request == SYSTEM_CALL) {
        return false;
    }
    if (is_trap(pid, *status)) {
        if (request == SINGLE_STEP && step_over(pid, status)) {
            return false;
        }
        return trace(request, pid, 0, SIGSYS) == 0;
    }
    if (has_executed(process, pid, *status)) {
        go_to_program(process, pid, status);
    }
    return false;
}

static long call_wait(struct process *process, const struct call *call) {
    const long *a = call->argument;
    int status = 0;
    long pid;
    do {
        pid = kernel(NR_wait4, a[0], (long)&status, a[2], a[3], 0, 0);
    } while (pid > 0 && is_hidden(process, (int)pid, &status));
    if (pid > 0 && a[1] != 0) {
        if (!memory_is_writable((void *)a[1], sizeof status)) {
            return -EFAULT;
        }
        copy_bytes((char *)a[1], (const char *)&status, sizeof status);
    }
    return pid;
}

/*
 * A child of vfork(2) that were traced from here on would stop at its first trap, while its tracer
 * waits for its execve(2).
 */
static long call_ptrace(struct process *process, const struct call *call) {
    const long *a = call->argument;
    if (process->guest.tracing != TRACING_NONE) {
        return -EPERM; /* who is traced already */
    }
    if (a[0] == TRACE_ME && persona_is_borrowed(process)) {
        persona_to_change(process)->traced_at_exec = true;
        return 0;
    }
    long result = pass(call);
    if (result < 0 || a[0] == TRACE_ME) {
        return result;
    }
    if (a[0] == CONTINUE || a[0] == SINGLE_STEP || a[0] == SYSTEM_CALL) {
        *tracee_of(process, (int)a[1]) = (struct tracee){(int)a[1], (int)a[0]};
    }
    return result;
}

void own_trace_at_exec(struct process *process) {
    if (persona_of(process)->traced_at_exec) {
        trace(TRACE_ME, 0, 0, 0);
    }
}

long own_trace_call(struct process *process, const struct call *call) {
    if (call->number == NR_ptrace) {
        return call_ptrace(process, call);
    }
    return process->guest.tracing != TRACING_NONE ? pass(call) : call_wait(process, call);
}
