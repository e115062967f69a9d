/* The only system call that is not made from the engine's text: see guest_filter.h. */
__asm__(".section .probe, \"ax\", @progbits\n"
        ".globl probe_call\n"
        ".hidden probe_call\n"
        "probe_call:\n"
        "    movq (%rdi), %rax\n" /* struct call */
        "    movq 16(%rdi), %rsi\n"
        "    movq 24(%rdi), %rdx\n"
        "    movq 32(%rdi), %r10\n"
        "    movq 40(%rdi), %r8\n"
        "    movq 48(%rdi), %r9\n"
        "    movq 8(%rdi), %rdi\n"
        "    syscall\n"
        "    ret\n"
        ".text\n");
