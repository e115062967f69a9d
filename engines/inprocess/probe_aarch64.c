/* The only system call that is not made from the engine's text: see guest_filter.h. */
__asm__(".section .probe, \"ax\", @progbits\n"
        ".globl probe_call\n"
        ".hidden probe_call\n"
        "probe_call:\n"
        "    mov x9, x0\n" /* struct call */
        "    ldp x8, x0, [x9]\n"
        "    ldp x1, x2, [x9, #16]\n"
        "    ldp x3, x4, [x9, #32]\n"
        "    ldr x5, [x9, #48]\n"
        "    svc #0\n"
        "    ret\n"
        ".text\n");
