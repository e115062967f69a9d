/* struct user_regs_struct of <sys/user.h>, and ptrace(2). */
#ifndef UDOCKER_REGISTERS_H
#define UDOCKER_REGISTERS_H

#include "base.h"

struct registers {
    long r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, number;
    uintptr_t rip;
    long cs, flags;
    uintptr_t rsp;
    long rest[7];
};
_Static_assert(sizeof(struct registers) == 27 * sizeof(long), "as the kernel has it");

enum {
    PTRACE_PEEKTEXT = 1,
    PTRACE_CONT = 7,
    PTRACE_GETREGS = 12,
    PTRACE_SETREGS = 13,
    PTRACE_SYSCALL = 24,
    PTRACE_GETEVENTMSG = 0x4201,
    PTRACE_GETSIGINFO = 0x4202,
    PTRACE_GET_SYSCALL_INFO = 0x420e, /* since Linux 5.3 */
    PTRACE_SEIZE = 0x4206,
    PTRACE_INTERRUPT = 0x4207,
    PTRACE_LISTEN = 0x4208,
    PTRACE_O_TRACESYSGOOD = 1,
    PTRACE_O_TRACEFORK = 2,
    PTRACE_O_TRACEVFORK = 4,
    PTRACE_O_TRACECLONE = 8,
    PTRACE_O_TRACEEXEC = 16,
    PTRACE_O_TRACESECCOMP = 128,
    PTRACE_O_EXITKILL = 0x100000,
    PTRACE_EVENT_FORK = 1,
    PTRACE_EVENT_VFORK = 2,
    PTRACE_EVENT_CLONE = 3,
    PTRACE_EVENT_EXEC = 4,
    PTRACE_EVENT_SECCOMP = 7,
    PTRACE_EVENT_STOP = 128,
    CALL_STOP = 0x80, /* with PTRACE_O_TRACESYSGOOD, in the signal */
};

static inline long trace(long request, int id, long place, long data) {
    return kernel(NR_ptrace, request, id, place, data, 0, 0);
}

#endif
