#include "entry_x86_64.h"

#include "engine.h"
#include "union_native.h"

enum { SYSCALL_SIZE = 2 };

/* What the entry below has put on the stack. */
struct saved {
    struct call call;
    long alignment[2];
    long r10, r9, r8, rdi, rsi, rdx, flags;
    uintptr_t back;
};

long traced_call(struct saved *saved);

/*
 * A clone(2) that parts memory and working directory is made by the guest itself, see trap.c: with
 * that bit set it does not stop again.
 */
static long make_apart(struct saved *saved) {
    working_directory_is_shared();
    saved->rdi |= (long)((uint64_t)1 << 63);
    saved->back -= SYSCALL_SIZE;
    return saved->call.number;
}

/* The filters of the guest's have been asked before the tracer was. */
long traced_call(struct saved *saved) {
    if (saved->call.number == NR_clone) {
        return make_apart(saved);
    }
    return calls_carry_out(the_engine->process, &saved->call, NULL);
}

__asm__(".text\n"
        ".globl traced_entry\n"
        ".hidden traced_entry\n"
        "traced_entry:\n"
        "    pushq %r11\n"
        "    pushq %rcx\n"
        "    pushfq\n"
        "    pushq %rdx\n"
        "    pushq %rsi\n"
        "    pushq %rdi\n"
        "    pushq %r8\n"
        "    pushq %r9\n"
        "    pushq %r10\n"
        "    subq $72, %rsp\n" /* struct call, and the alignment */
        "    movq %rax, (%rsp)\n"
        "    movq %rdi, 8(%rsp)\n"
        "    movq %rsi, 16(%rsp)\n"
        "    movq %rdx, 24(%rsp)\n"
        "    movq %r10, 32(%rsp)\n"
        "    movq %r8, 40(%rsp)\n"
        "    movq %r9, 48(%rsp)\n"
        "    movq %rsp, %rdi\n"
        "    cld\n"
        "    call traced_call\n"
        "    addq $72, %rsp\n"
        "    popq %r10\n"
        "    popq %r9\n"
        "    popq %r8\n"
        "    popq %rdi\n"
        "    popq %rsi\n"
        "    popq %rdx\n"
        "    popfq\n"
        "    popq %rcx\n"
        "    popq %rsp\n"
        "    jmp *%rcx\n");
