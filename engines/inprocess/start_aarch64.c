/* Where the kernel enters, and where the program of the guest is entered. */
__asm__(".text\n"
        ".globl _start\n"
        "_start:\n"
        "    mov x29, xzr\n"
        "    mov x30, xzr\n"
        "    mov x0, sp\n"
        "    sub sp, sp, #16\n"
        "    mov x1, sp\n"
        "    mov x19, sp\n"
        "    bl engine_begin\n"
        "    ldr x16, [x19]\n" /* a register that may jump to where BTI guards */
        "    mov sp, x0\n"
        "    mov x0, xzr\n" /* no function to call at exit */
        "    mov x29, xzr\n"
        "    mov x30, xzr\n"
        ".globl enter_program\n"
        ".hidden enter_program\n"
        "enter_program:\n"
        "    br x16\n");
