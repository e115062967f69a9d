/*
 * Where patched places of the guest arrive, at an address that udocker/engine/patch.py knows. The
 * island has put the way back into rcx and the number into eax; the syscall instruction that it
 * stands for would have changed rcx and r11, so nothing else may change but rax.
 */
#include "engine.h"
#include "guest_filter.h"

enum { SYSCALL_SIZE = 2 };

long patched_call(const struct call *call, uintptr_t *back);

/* What SIGSYS is to tell the guest about, the instruction itself does, which is still there. */
long patched_call(const struct call *call, uintptr_t *back) {
    long result = guest_filter_probe(&the_engine->process, call);
    if (result == -PROBE_TRAPPED) {
        *back -= SYSCALL_SIZE;
        return call->number;
    }
    return result == -PROBE_ALLOWED ? calls_carry_out(&the_engine->process, call, NULL) : result;
}

__asm__(".section .entry, \"ax\", @progbits\n"
        "    movq %rsp, %r11\n"
        "    leaq -128(%rsp), %rsp\n" /* the red zone of the function that is here */
        "    andq $-16, %rsp\n"
        "    pushq %r11\n"
        "    pushq %rcx\n"
        "    pushq %rdx\n"
        "    pushq %rsi\n"
        "    pushq %rdi\n"
        "    pushq %r8\n"
        "    pushq %r9\n"
        "    pushq %r10\n"
        "    subq $64, %rsp\n" /* struct call, and the alignment */
        "    movl %eax, %eax\n"
        "    movq %rax, (%rsp)\n"
        "    movq %rdi, 8(%rsp)\n"
        "    movq %rsi, 16(%rsp)\n"
        "    movq %rdx, 24(%rsp)\n"
        "    movq %r10, 32(%rsp)\n"
        "    movq %r8, 40(%rsp)\n"
        "    movq %r9, 48(%rsp)\n"
        "    movq %rsp, %rdi\n"
        "    leaq 112(%rsp), %rsi\n" /* where rcx is */
        "    cld\n"
        "    call patched_call\n"
        "    addq $64, %rsp\n"
        "    popq %r10\n"
        "    popq %r9\n"
        "    popq %r8\n"
        "    popq %rdi\n"
        "    popq %rsi\n"
        "    popq %rdx\n"
        "    popq %rcx\n"
        "    popq %r11\n"
        "    movq %r11, %rsp\n"
        "    jmp *%rcx\n"
        ".text\n");
