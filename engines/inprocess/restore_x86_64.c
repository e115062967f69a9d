/* How a handler ends. Here the kernel has no code of its own for that. */
#include "context_x86_64.h"

_Static_assert(__builtin_offsetof(struct context, mask) == 296, "as below");

__asm__(".text\n"
        ".globl restore_context\n"
        ".hidden restore_context\n"
        "restore_context:\n"
        "    movq $15, %rax\n" /* rt_sigreturn, in the form that unwinders know */
        "    syscall\n"
        ".globl restore_unblocked\n"
        ".hidden restore_unblocked\n"
        "restore_unblocked:\n"
        "    btrl $30, 296(%rsp)\n" /* SIGSYS, in the mask of struct context */
        "    movq $15, %rax\n"
        "    syscall\n");
