/* What a trap on aarch64 has interrupted: <asm/ucontext.h>, <asm/sigcontext.h>. */
#ifndef UDOCKER_CONTEXT_H
#define UDOCKER_CONTEXT_H

#include "engine.h"

struct context {
    unsigned long flags;
    struct context *link;
    unsigned long stack[3];
    uint64_t mask;
    unsigned char unused[120]; /* a mask of 1024 signals */
    _Alignas(16) uint64_t fault_address;
    long registers[31];
    uint64_t stack_pointer, program_counter, state;
};

static inline struct call context_call(const struct context *context, long number) {
    const long *x = context->registers;
    return (struct call){number, {x[0], x[1], x[2], x[3], x[4], x[5]}};
}

static inline uintptr_t context_place(const struct context *context) {
    return (uintptr_t)context->program_counter;
}

/* The call is made again, with another first argument. */
static inline void context_repeat(struct context *context, long first) {
    context->program_counter -= 4;
    context->registers[0] = first;
}

static inline void context_answer(struct context *context, long result) {
    context->registers[0] = result;
}

#endif
