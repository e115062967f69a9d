#include "engine.h"

enum {
    SIGSYS = 31,
    SYS_SECCOMP = 1,
    SA_SIGINFO = 4,
    SA_RESTORER = 0x04000000,
    SA_ONSTACK = 0x08000000,
    SA_NODEFER = 0x40000000,
};

/* siginfo_t of a trap, and ucontext_t: <asm/ucontext.h>, <asm/sigcontext.h>. */
struct info {
    int number;
    int error;
    int code;
    int padding;
    void *address;
    int call;
    unsigned architecture;
};

struct context {
    unsigned long flags;
    struct context *link;
    unsigned long stack[3];
    long r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip;
    unsigned long registers_left[6];
    unsigned long floating;
    unsigned long reserved[8];
    uint64_t mask;
};

struct engine *the_engine;

void restore_context(void);
__asm__(".text\n"
        ".globl restore_context\n"
        ".hidden restore_context\n"
        "restore_context:\n"
        "    movl $15, %eax\n" /* rt_sigreturn */
        "    syscall\n");

static void on_trap(int signal, struct info *info, struct context *context) {
    (void)signal;
    if (info->code != SYS_SECCOMP) {
        return; /* sent by kill(2) */
    }
    struct call call = {
        .number = info->call,
        .argument = {context->rdi, context->rsi, context->rdx, context->r10, context->r8,
                     context->r9},
    };
    context->rax = calls_carry_out(&the_engine->process, &call, &context->mask);
}

long trap_install(struct engine *engine) {
    the_engine = engine;
    struct action action = {
        .handler = (uintptr_t)on_trap,
        .flags = SA_SIGINFO | SA_RESTORER | SA_ONSTACK | SA_NODEFER,
        .restorer = (uintptr_t)restore_context,
    };
    return kernel(NR_rt_sigaction, SIGSYS, (long)&action, 0, 8, 0, 0);
}
