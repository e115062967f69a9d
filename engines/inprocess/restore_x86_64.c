/* How a handler ends. Here the kernel has no code of its own for that. */
__asm__(".text\n"
        ".globl restore_context\n"
        ".hidden restore_context\n"
        "restore_context:\n"
        "    movq $15, %rax\n" /* rt_sigreturn, in the form that unwinders know */
        "    syscall\n");
