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
#define ARCH_NAME "x86_64"
#define ARCH_HAS_LEGACY 1

/* <asm/fcntl.h> */
enum {
    O_DIRECTORY = 0200000,
    O_NOFOLLOW = 0400000,
};

/* struct stat of <asm/stat.h>, with the names of stat(3type). */
struct status {
    uint64_t device, inode, links;
    uint32_t mode, uid, gid, padding;
    uint64_t special, size, block_size, blocks;
    uint64_t accessed[2], modified[2], changed[2]; /* seconds and nanoseconds */
    uint64_t rest[3];
};

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

/* What each thread has of its own, for its libc; a child has that of its parent. */
static inline unsigned long arch_thread(void) {
    enum { ARCH_GET_FS = 0x1003 };
    unsigned long thread = 0;
    arch_call(NR_arch_prctl, ARCH_GET_FS, (long)&thread, 0, 0, 0, 0);
    return thread;
}

#endif
