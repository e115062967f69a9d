/* How a handler ends. */
#include "context_aarch64.h"

_Static_assert(SIGNAL_INFO_SIZE + __builtin_offsetof(struct context, mask) == 168, "as below");

__asm__(".text\n"
        ".globl restore_context\n"
        ".hidden restore_context\n"
        "restore_context:\n"
        "    mov x8, #139\n" /* rt_sigreturn, in the form that unwinders know */
        "    svc #0\n"
        ".globl restore_unblocked\n"
        ".hidden restore_unblocked\n"
        "restore_unblocked:\n"
        "    ldr x0, [sp, #168]\n" /* behind siginfo_t: the mask of struct context */
        "    and x0, x0, #0xffffffffbfffffff\n"
        "    str x0, [sp, #168]\n"
        "    mov x8, #139\n"
        "    svc #0\n");
