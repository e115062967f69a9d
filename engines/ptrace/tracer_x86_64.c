/*
 * The tracer. A thread that stops before a call which the engine carries out is sent into the
 * engine (entry_x86_64.c) and goes on there by itself: one stop for a call, and nothing of the
 * thread's memory is read or written from here.
 *
 * With a filter ("some") only those calls stop. Without ("all") every call stops, and the filter's
 * program is asked here.
 */
#include "bpf.h"
#include "entry_x86_64.h"
#include "guest_filter.h"
#include "judge.h"
#include "registers_x86_64.h"
#include "threads.h"
#include "trace.h"

enum {
    SIGTRAP = 5,
    SYS_SECCOMP = 1,
    RED_ZONE = 128,
    SYSCALL_SIZE = 2,
    SYSCALL_CODE = 0x050f,
    STACK_DISABLED = 2,              /* SS_DISABLE */
    STACK_DISARMS = (int)0x80000000, /* SS_AUTODISARM */
    CLONE_VM = 0x100,
    STOPPED = 0x7f,
    OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
              PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL,
};

struct tracer {
    struct threads threads;
    const struct program *filter; /* to be asked here; NULL: the kernel does */
    struct common *common;
    int front;
    bool has_stopped; /* the command, and so the front */
    unsigned waiting; /* threads that wait for their parent's word */
};

static bool is_stop(int signal) {
    return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

/* Every failure means that it was killed meanwhile, which wait4(2) will tell. */
static void resume(const struct tracer *tracer, const struct thread *thread, int signal) {
    bool stops = tracer->filter != NULL || thread->is_in_call;
    trace(stops ? PTRACE_SYSCALL : PTRACE_CONT, thread->id, 0, signal);
}

static void answer(const struct tracer *tracer, const struct thread *thread, struct registers *now,
                   long result) {
    now->number = -1; /* the kernel skips it */
    now->rax = result;
    trace(PTRACE_SETREGS, thread->id, 0, (long)now);
    resume(tracer, thread, 0);
}

/* As for a signal: on the stack that the thread has set for them, if it is not on that already. */
static uintptr_t stack_of(const struct thread *thread, uintptr_t present) {
    const struct signal_stack *own = &thread->own;
    bool has_own = own->size > 0 && !(own->flags & (STACK_DISABLED | STACK_DISARMS));
    bool is_there = present > own->base && present - own->base <= own->size;
    uintptr_t top = has_own && !is_there ? own->base + own->size : present - RED_ZONE;
    return top & -(uintptr_t)16;
}

/* Into the engine, which goes back to where the call was. */
static void send_in(const struct tracer *tracer, const struct thread *thread,
                    struct registers *now) {
    now->rax = now->number;
    now->number = -1;
    now->rcx = (long)now->rip;
    now->r11 = (long)now->rsp;
    now->rip = (uintptr_t)traced_entry;
    now->rsp = stack_of(thread, now->rsp);
    trace(PTRACE_SETREGS, thread->id, 0, (long)now);
    resume(tracer, thread, 0);
}

/* What a thread asks of sigaltstack(2) counts once the call has succeeded. */
static void begin_stack(struct thread *thread, const struct registers *now) {
    const struct {
        struct signal_stack *base;
        size_t size;
    } here = {&thread->asked, sizeof thread->asked};
    const struct {
        long base;
        size_t size;
    } there = {now->rdi, sizeof thread->asked};
    long size = kernel(NR_process_vm_readv, thread->id, (long)&here, 1, (long)&there, 1, 0);
    thread->changes_stack = size == sizeof thread->asked;
}

static void end_stack(struct thread *thread) {
    struct registers now;
    if (trace(PTRACE_GETREGS, thread->id, 0, (long)&now) == 0 && now.rax == 0) {
        thread->own = thread->asked;
    }
    thread->changes_stack = false;
}

/* The filter has stopped a call. What stops for a filter of the guest's has no tracer. */
static void on_filtered(const struct tracer *tracer, struct thread *thread) {
    struct registers now;
    unsigned long whose = 0;
    if (trace(PTRACE_GETREGS, thread->id, 0, (long)&now) < 0 ||
        trace(PTRACE_GETEVENTMSG, thread->id, 0, (long)&whose) < 0) {
        return;
    }
    if (whose != TRACED) {
        answer(tracer, thread, &now, -ENOSYS);
    } else if (now.number == NR_sigaltstack) {
        begin_stack(thread, &now);
        thread->is_in_call = true;
        resume(tracer, thread, 0);
    } else {
        send_in(tracer, thread, &now);
    }
}

/*
 * Calls of 32-bit programs have other numbers. Where the kernel does not tell, the instruction
 * does, but not in a process that may not be read (prctl(2), PR_SET_DUMPABLE).
 */
static bool is_native(const struct thread *thread, const struct registers *now) {
    struct {
        unsigned kind, architecture;
        long rest[10];
    } info = {.architecture = 0};
    long word = 0;
    long place = (long)(now->rip - SYSCALL_SIZE);
    if (trace(PTRACE_GET_SYSCALL_INFO, thread->id, sizeof info, (long)&info) > 0) {
        return info.architecture == (unsigned)ARCH_AUDIT;
    }
    return trace(PTRACE_PEEKTEXT, thread->id, place, (long)&word) < 0 ||
           (word & 0xffff) == SYSCALL_CODE;
}

static void on_any_call(const struct tracer *tracer, struct thread *thread) {
    struct registers now;
    if (trace(PTRACE_GETREGS, thread->id, 0, (long)&now) < 0) {
        return;
    }
    if (!is_native(thread, &now)) {
        answer(tracer, thread, &now, -ENOSYS);
        return;
    }
    const struct judged judged = {
        (int)now.number, ARCH_AUDIT, now.rip, {now.rdi, now.rsi, now.rdx, now.r10, now.r8, now.r9}};
    uint32_t verdict = judge(tracer->filter, &judged);
    if (verdict == ALLOW) {
        resume(tracer, thread, 0);
    } else if (verdict != STOP_TRACED) {
        answer(tracer, thread, &now, -(long)(verdict & 0xffff));
    } else if ((int)now.number == NR_sigaltstack) {
        begin_stack(thread, &now);
        resume(tracer, thread, 0);
    } else {
        send_in(tracer, thread, &now);
    }
}

static void on_call_stop(const struct tracer *tracer, struct thread *thread) {
    thread->is_in_call = !thread->is_in_call;
    if (!thread->is_in_call) {
        if (thread->changes_stack) {
            end_stack(thread);
        }
        resume(tracer, thread, 0);
    } else {
        on_any_call(tracer, thread);
    }
}

/* A thread with its parent's memory has no stack for signals, but a child of vfork(2) has. */
static bool keeps_stack(const struct thread *parent, int event) {
    struct registers now;
    if (event == PTRACE_EVENT_VFORK) {
        return true;
    }
    return trace(PTRACE_GETREGS, parent->id, 0, (long)&now) == 0 &&
           (now.number == NR_fork || !(now.rdi & CLONE_VM));
}

static void let_go(struct tracer *tracer, struct thread *thread) {
    tracer->waiting -= thread->is_waiting;
    thread->is_new = thread->is_waiting = false;
    resume(tracer, thread, 0);
}

/* What a parent tells of its child: that may have stopped already. */
static void on_birth(struct tracer *tracer, int parent_id, int event) {
    unsigned long id = 0;
    if (trace(PTRACE_GETEVENTMSG, parent_id, 0, (long)&id) == 0) {
        struct thread *child = threads_get(&tracer->threads, (int)id);
        struct thread *parent = threads_find(&tracer->threads, parent_id);
        if (child != NULL && parent != NULL) {
            child->own = keeps_stack(parent, event) ? parent->own : (struct signal_stack){0};
            child->is_told = !child->is_waiting;
            if (child->is_waiting) {
                let_go(tracer, child);
            }
        }
    }
    struct thread *parent = threads_find(&tracer->threads, parent_id);
    if (parent != NULL) {
        resume(tracer, parent, 0);
    }
}

/* Of the status of a process in proc(5): behind the name in parentheses and the state. */
static int parent_of(int id) {
    char path[32] = "/proc/";
    char text[256];
    size_t size = 6 + write_number(path + 6, (unsigned)id);
    copy_bytes(path + size, "/stat", 6);
    long file = kernel(NR_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (file < 0) {
        return 0;
    }
    long count = kernel(NR_read, file, (long)text, sizeof text - 1, 0, 0, 0);
    kernel(NR_close, file, 0, 0, 0, 0, 0);
    text[count > 0 ? count : 0] = '\0';
    const char *after = text;
    for (const char *byte = text; *byte != '\0'; byte++) {
        after = *byte == ')' ? byte + 1 : after;
    }
    int parent = 0;
    for (after += length_of(after) > 3 ? 3 : 0; *after >= '0' && *after <= '9'; after++) {
        parent = parent * 10 + (*after - '0');
    }
    return parent;
}

/* Those whose parent has been killed, or its thread by an execve(2), before it told of them. */
static void let_orphans_go(struct tracer *tracer, bool all) {
    for (size_t index = 0; index < tracer->threads.room && tracer->waiting > 0; index++) {
        struct thread *thread = &tracer->threads.all[index];
        if (thread->id != 0 && thread->is_waiting &&
            (all || threads_find(&tracer->threads, parent_of(thread->id)) == NULL)) {
            let_go(tracer, thread);
        }
    }
}

/* execve(2): the thread has the number of its process from now on. */
static void on_execution(struct tracer *tracer, int id) {
    unsigned long former = 0;
    if (trace(PTRACE_GETEVENTMSG, id, 0, (long)&former) == 0 && (int)former != id) {
        struct thread *old = threads_find(&tracer->threads, (int)former);
        bool was_in_call = old != NULL && old->is_in_call;
        threads_remove(&tracer->threads, (int)former);
        struct thread *present = threads_get(&tracer->threads, id);
        if (present != NULL) {
            present->is_in_call = was_in_call;
        }
    }
    struct thread *thread = threads_get(&tracer->threads, id);
    if (thread != NULL) {
        thread->own = (struct signal_stack){0};
        thread->changes_stack = false;
        resume(tracer, thread, 0);
    }
    let_orphans_go(tracer, true);
}

static void tell_front(struct tracer *tracer, bool has_stopped) {
    if (tracer->has_stopped != has_stopped) {
        tracer->has_stopped = has_stopped;
        kernel(NR_kill, tracer->front, has_stopped ? SIGSTOP : SIGCONT, 0, 0, 0, 0);
    }
}

/* It has begun, has been stopped by a signal, or goes on after that. */
static void on_job_stop(struct tracer *tracer, struct thread *thread, int signal) {
    bool is_command = thread->id == tracer->common->command;
    if (is_stop(signal)) {
        trace(PTRACE_LISTEN, thread->id, 0, 0);
        if (is_command) {
            tell_front(tracer, true);
        }
        return;
    }
    if (is_command) {
        tell_front(tracer, false);
    }
    if (thread->is_new) {
        thread->is_waiting = true;
        tracer->waiting++;
        return;
    }
    thread->is_told = false;
    resume(tracer, thread, 0);
}

/* What SIGSYS says of a call: that a probe met a filter of the guest's, or strict mode. */
static int on_sigsys(const struct thread *thread) {
    int info[32] = {0}; /* siginfo_t: number, error, code */
    struct registers now;
    if (trace(PTRACE_GETSIGINFO, thread->id, 0, (long)info) < 0 || info[2] != SYS_SECCOMP ||
        trace(PTRACE_GETREGS, thread->id, 0, (long)&now) < 0) {
        return SIGSYS;
    }
    if (guest_filter_is_probe(now.rip)) {
        now.rax = -PROBE_TRAPPED;
        trace(PTRACE_SETREGS, thread->id, 0, (long)&now);
        return 0;
    }
    return info[1] == STRICT ? SIGKILL : SIGSYS;
}

/* Who has sent a signal that the thread is about to get. */
static void note_sender(struct tracer *tracer, const struct thread *thread, int signal) {
    union {
        struct sent sent;
        int whole[32];
    } info = {.whole = {0}};
    if (signal <= 0 || signal >= TRACE_SIGNALS ||
        trace(PTRACE_GETSIGINFO, thread->id, 0, (long)&info) < 0 || info.sent.code != 0 ||
        info.sent.process == tracer->front) {
        return; /* 0: SI_USER, by kill(2) */
    }
    tracer->common->moments[signal] = trace_now();
    __atomic_store_n(&tracer->common->senders[signal], info.sent.process, __ATOMIC_RELEASE);
}

static void on_stop(struct tracer *tracer, int id, int status) {
    int signal = status >> 8 & 0xff;
    int event = status >> 16;
    struct thread *thread = threads_find(&tracer->threads, id);
    if (thread == NULL) {
        thread = threads_get(&tracer->threads, id);
        if (thread == NULL) {
            kernel(NR_kill, id, SIGKILL, 0, 0, 0, 0); /* no memory: it cannot go on untraced */
            return;
        }
        thread->is_new = event == PTRACE_EVENT_STOP;
    }
    switch (event) {
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE:
        on_birth(tracer, id, event);
        break;
    case PTRACE_EVENT_EXEC:
        on_execution(tracer, id);
        break;
    case PTRACE_EVENT_SECCOMP:
        on_filtered(tracer, thread);
        break;
    case PTRACE_EVENT_STOP:
        on_job_stop(tracer, thread, signal);
        break;
    default:
        if (signal == (SIGTRAP | CALL_STOP)) {
            on_call_stop(tracer, thread);
        } else {
            note_sender(tracer, thread, signal);
            resume(tracer, thread, signal == SIGSYS ? on_sigsys(thread) : signal);
        }
    }
}

static void on_end(struct tracer *tracer, int id, int status) {
    struct thread *thread = threads_find(&tracer->threads, id);
    if (thread != NULL) {
        tracer->waiting -= thread->is_waiting;
        threads_remove(&tracer->threads, id);
    }
    if (id == tracer->common->command) {
        tracer->common->status = status;
        __atomic_store_n(&tracer->common->has_ended, 1, __ATOMIC_RELEASE);
        for (;;) { /* and with the tracer all that the command left */
            kernel(NR_exit_group, 0, 0, 0, 0, 0, 0);
        }
    }
    if (tracer->waiting > 0) {
        let_orphans_go(tracer, false);
    }
}

/* The command waits for a byte; it must be traced before it gets that. */
static void seize(const struct tracer *tracer) {
    int command = tracer->common->command;
    long options = OPTIONS | (tracer->filter == NULL ? PTRACE_O_TRACESECCOMP : 0);
    long result = trace(PTRACE_SEIZE, command, 0, options);
    if (result == 0 && tracer->filter != NULL) {
        result = trace(PTRACE_INTERRUPT, command, 0, 0); /* so that it stops before the next call */
    }
    if (failed(result)) {
        give_up(FAILED, "trace", "the command with ptrace(2)", result);
    }
}

_Noreturn void tracer_run(const struct guest *guest, struct common *common, int ready) {
    static struct tracer tracer;
    tracer.common = common;
    tracer.front = (int)kernel(NR_getppid, 0, 0, 0, 0, 0, 0);
    tracer.filter = guest->tracing == TRACING_ALL ? filter_make(guest) : NULL;
    threads_get(&tracer.threads, common->command);
    seize(&tracer);
    kernel(NR_write, ready, (long)"", 1, 0, 0, 0);
    trace_close_all();
    for (;;) {
        int status = 0;
        long id = kernel(NR_wait4, -1, (long)&status, WAIT_ALL, 0, 0, 0);
        if (id < 0) {
            kernel(NR_exit_group, FAILED, 0, 0, 0, 0, 0); /* it has nobody left */
        } else if ((status & 0xff) == STOPPED) {
            on_stop(&tracer, (int)id, status);
        } else {
            on_end(&tracer, (int)id, status);
        }
    }
}
