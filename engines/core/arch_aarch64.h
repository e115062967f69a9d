/* aarch64: how a system call is made, and the numbers. */
#ifndef UDOCKER_ARCH_H
#define UDOCKER_ARCH_H

enum {
#define NUMBER(value, name) NR_##name = (value),
#include "numbers_aarch64.def"
#undef NUMBER
    NR_COUNT
};

#define ARCH_NUMBERS "numbers_aarch64.def"

enum { ARCH_AUDIT = (int)0xc00000b7 }; /* AUDIT_ARCH_AARCH64, <linux/audit.h> */
enum { ARCH_ELF_MACHINE = 183 };       /* EM_AARCH64, elf(5) */
#define ARCH_NAME "aarch64"

/* <asm/fcntl.h> */
enum {
    O_DIRECTORY = 040000,
    O_NOFOLLOW = 0100000,
};

/* struct stat of <asm/stat.h>, with the names of stat(3type). */
struct status {
    uint64_t device, inode;
    uint32_t mode, links, uid, gid;
    uint64_t special, padding, size;
    uint32_t block_size, padding2;
    uint64_t blocks;
    uint64_t accessed[2], modified[2], changed[2]; /* seconds and nanoseconds */
    uint32_t rest[2];
};

static inline long arch_call(long number, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

/* What each thread has of its own, for its libc; a child has that of its parent. */
static inline unsigned long arch_thread(void) {
    unsigned long thread;
    __asm__("mrs %0, tpidr_el0" : "=r"(thread));
    return thread;
}

#endif
