/* x86_64: how a system call is made, and the numbers. */
#ifndef UDOCKER_ARCH_H
#define UDOCKER_ARCH_H

enum {
#define NUMBER(value, name) NR_##name = (value),
#include "numbers_x86_64.def"
#undef NUMBER
    NR_COUNT
};

#define ARCH_NUMBERS "numbers_x86_64.def"

enum { ARCH_AUDIT = (int)0xc000003e }; /* AUDIT_ARCH_X86_64, <linux/audit.h> */
enum { ARCH_ELF_MACHINE = 62 };        /* EM_X86_64, elf(5) */
#define ARCH_HAS_LEGACY 1

static inline long arch_call(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#endif
