/* What a trap on x86_64 has interrupted: <asm/ucontext.h>, <asm/sigcontext.h>. */
#ifndef UDOCKER_CONTEXT_H
#define UDOCKER_CONTEXT_H

#include "engine.h"

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

static inline struct call context_call(const struct context *context, long number) {
    const struct context *c = context;
    return (struct call){number, {c->rdi, c->rsi, c->rdx, c->r10, c->r8, c->r9}};
}

static inline uintptr_t context_place(const struct context *context) {
    return (uintptr_t)context->rip;
}

/* The call is made again, with another first argument. */
static inline void context_repeat(struct context *context, long first) {
    context->rip -= 2;
    context->rdi = first;
}

static inline void context_answer(struct context *context, long result) {
    context->rax = result;
}

#endif
