/* A program without a C library, for addresses that none is made for: it reads /etc/passwd. */
__asm__(".globl _start\n"
        "_start:\n"
        "    leaq path(%rip), %rdi\n"
        "    xorl %esi, %esi\n"
        "    movl $2, %eax\n" /* open(2) */
        "    syscall\n"
        "    movl %eax, %edi\n" /* the lowest that is free, as the exit code */
        "    addl $20, %edi\n"
        "    addl count(%rip), %edi\n"
        "    movl $231, %eax\n"
        "    syscall\n"
        "path: .asciz \"/etc/passwd\"\n"
        ".data\n"
        "count: .long 4\n");
