/* Where the kernel enters, and where the program of the guest is entered. */
__asm__(".text\n"
        ".globl _start\n"
        "_start:\n"
        "    xorl %ebp, %ebp\n"
        "    movq %rsp, %rdi\n"
        "    subq $24, %rsp\n"
        "    movq %rsp, %rsi\n"
        "    movq %rsi, %rbx\n"
        "    andq $-16, %rsp\n"
        "    call engine_begin\n"
        "    movq (%rbx), %rcx\n"
        "    movq %rax, %rsp\n"
        "    xorl %edx, %edx\n" /* no function to call at exit */
        "    xorl %ebp, %ebp\n"
        ".globl enter_program\n"
        ".hidden enter_program\n"
        "enter_program:\n"
        "    jmp *%rcx\n");
