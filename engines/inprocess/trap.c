#include "engine.h"
#include "frame.h"
#include "guest_filter.h"
#include "union_native.h"

#if defined(__x86_64__)
#include "context_x86_64.h"
#else
#include "context_aarch64.h"
#endif

enum {
    SIGKILL = 9,
    SYS_SECCOMP = 1,
    SA_SIGINFO = 4,
    SA_RESTORER = 0x04000000,
    SA_ONSTACK = 0x08000000,
    SA_NODEFER = 0x40000000,
    SA_RESETHAND = (int)0x80000000,
    SIG_DFL = 0,
    SIG_IGN = 1,
    SIG_SETMASK = 2,
    SET_SIZE = 8,
};

/* siginfo_t of a trap */
struct info {
    int number;
    int error;
    int code;
    int padding;
    void *address;
    int call;
    unsigned architecture;
};

struct engine *the_engine;

void restore_context(void); /* of restore_*.c */

/* Die as the guest would: by SIGSYS, with nobody to catch it. */
static void die(void) {
    struct action action = {.handler = SIG_DFL};
    kernel(NR_rt_sigaction, SIGSYS, (long)&action, 0, SET_SIZE, 0, 0);
    long pid = kernel(NR_getpid, 0, 0, 0, 0, 0, 0);
    long thread = kernel(NR_gettid, 0, 0, 0, 0, 0, 0);
    kernel(NR_tgkill, pid, thread, SIGSYS, 0, 0, 0);
}

/* The guest's handler runs: when this one has ended, or in the middle of it. */
static void hand_over(const struct action *taken, int signal, struct info *info,
                      struct context *context) {
    uint64_t mask = (context->mask | taken->mask) & ~((uint64_t)1 << (SIGSYS - 1));
    const struct handler handler = {taken->handler, signal, info, mask};
    if (!(taken->flags & SA_ONSTACK) && frame_move(context, &handler)) {
        return;
    }
    kernel(NR_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, SET_SIZE, 0, 0);
    ((void (*)(int, struct info *, struct context *))taken->handler)(signal, info, context);
}

/* A SIGSYS that somebody sent: what the guest has set for it happens. */
static void on_sent(int signal, struct info *info, struct context *context) {
    if (sigsys_keep(&the_engine->process->sigsys, info)) {
        return;
    }
    struct action *action = &persona_to_change(the_engine->process)->sigsys;
    struct action taken = *action;
    if (taken.handler == SIG_IGN) {
        return;
    }
    if (taken.handler == SIG_DFL) {
        die();
        return;
    }
    if (taken.flags & SA_RESETHAND) {
        action->handler = SIG_DFL;
    }
    hand_over(&taken, signal, info, context);
}

/* A SIGSYS of a filter that the guest has installed: nobody can ignore that. */
static void on_filtered(int signal, struct info *info, struct context *context) {
    if (info->error == STRICT) {
        kernel(NR_kill, kernel(NR_getpid, 0, 0, 0, 0, 0, 0), SIGKILL, 0, 0, 0, 0);
    }
    if (sigsys_is_blocked(&the_engine->process->sigsys) ||
        persona_of(the_engine->process)->sigsys.handler == SIG_IGN) {
        die();
    }
    on_sent(signal, info, context);
}

/*
 * A clone(2) after which memory and working directory do not belong together any more. The guest
 * makes it itself, since it may return twice, once more: of the flags the kernel looks at the lower
 * half only, and with a bit in the upper one the filter lets it pass.
 */
static void make_apart(const struct call *call, struct context *context) {
    working_directory_is_shared();
    context_repeat(context, call->argument[0] | (long)((uint64_t)1 << 63));
}

static void on_trap(int signal, struct info *info, struct context *context) {
    if (info->code != SYS_SECCOMP) {
        on_sent(signal, info, context);
        return;
    }
    if (guest_filter_is_probe(context_place(context))) {
        context_answer(context, -PROBE_TRAPPED);
        return;
    }
    struct call call = context_call(context, info->call);
    long result = guest_filter_probe(the_engine->process, &call);
    if (result == -PROBE_TRAPPED) {
        on_filtered(signal, info, context);
        return;
    }
    if (result == -PROBE_ALLOWED && call.number == NR_clone) {
        make_apart(&call, context);
        return;
    }
    if (result == -PROBE_ALLOWED) {
        result = calls_carry_out(the_engine->process, &call, &context->mask);
    }
    context_answer(context, result);
}

long trap_install(void) {
    struct action action = {
        .handler = (uintptr_t)on_trap,
        .flags = SA_SIGINFO | SA_RESTORER | SA_ONSTACK | SA_NODEFER,
        .restorer = (uintptr_t)restore_context,
    };
    return kernel(NR_rt_sigaction, SIGSYS, (long)&action, 0, SET_SIZE, 0, 0);
}
