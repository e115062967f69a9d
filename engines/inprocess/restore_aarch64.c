/* How a handler ends. */
__asm__(".text\n"
        ".globl restore_context\n"
        ".hidden restore_context\n"
        "restore_context:\n"
        "    mov x8, #139\n" /* rt_sigreturn, in the form that unwinders know */
        "    svc #0\n");
