#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "feign.h"

enum { ROOM = 192 };            /* instructions */
enum { FILTER_SPEC_ALLOW = 4 }; /* of seccomp(2), Linux 4.17 */

/* No new id: chown(2). Of 16 bits in the oldest calls. */
static const uint32_t unchanged = 0xFFFFFFFF, unchanged_16 = 0xFFFF;

#ifdef __aarch64__
static const int is_arm_here = 1;
#else
static const int is_arm_here = 0;
#endif

/* What is to be looked at in a call; AT: a directory is its first argument. */
enum kind { BECOMES, OWNER, OWNER_AT, OWNER_16, DEVICE, DEVICE_AT, KINDS };

struct call {
    uint16_t number;
    uint8_t kind;
};

/* Numbers as the kernel's tables have them. Ids of 16 bits are those of the first Linux. */
static const struct call x86_64[] = {
    {92, OWNER},      /* chown */
    {93, OWNER},      /* fchown */
    {94, OWNER},      /* lchown */
    {105, BECOMES},   /* setuid */
    {106, BECOMES},   /* setgid */
    {113, BECOMES},   /* setreuid */
    {114, BECOMES},   /* setregid */
    {116, BECOMES},   /* setgroups */
    {117, BECOMES},   /* setresuid */
    {119, BECOMES},   /* setresgid */
    {133, DEVICE},    /* mknod */
    {259, DEVICE_AT}, /* mknodat */
    {260, OWNER_AT},  /* fchownat */
};
static const struct call aarch64[] = {
    {33, DEVICE_AT}, /* mknodat */
    {54, OWNER_AT},  /* fchownat */
    {55, OWNER},     /* fchown */
    {143, BECOMES},  /* setregid */
    {144, BECOMES},  /* setgid */
    {145, BECOMES},  /* setreuid */
    {146, BECOMES},  /* setuid */
    {147, BECOMES},  /* setresuid */
    {149, BECOMES},  /* setresgid */
    {159, BECOMES},  /* setgroups */
};
static const struct call of_32_bits[] = {
    {14, DEVICE},   /* mknod */
    {198, OWNER},   /* lchown32 */
    {203, BECOMES}, /* setreuid32 */
    {204, BECOMES}, /* setregid32 */
    {206, BECOMES}, /* setgroups32 */
    {207, OWNER},   /* fchown32 */
    {208, BECOMES}, /* setresuid32 */
    {210, BECOMES}, /* setresgid32 */
    {212, OWNER},   /* chown32 */
    {213, BECOMES}, /* setuid32 */
    {214, BECOMES}, /* setgid32 */
    {16, OWNER_16}, /* lchown, and so on with 16 bits */
    {95, OWNER_16}, {182, OWNER_16}, {23, BECOMES},  {46, BECOMES},  {70, BECOMES},
    {71, BECOMES},  {81, BECOMES},   {164, BECOMES}, {170, BECOMES},
};
static const struct call i386[] = {{297, DEVICE_AT}, {298, OWNER_AT}};
static const struct call arm[] = {{324, DEVICE_AT}, {325, OWNER_AT}};

#define COUNT(calls) (sizeof(calls) / sizeof((calls)[0]))

struct list {
    const struct call *calls;
    size_t count;
};

/* A machine of <linux/audit.h>, and the calls that it has. */
struct machine {
    uint32_t name;
    struct list lists[2];
};

static const struct machine machines[2][2] = {
    {{AUDIT_ARCH_X86_64, {{x86_64, COUNT(x86_64)}, {0}}},
     {AUDIT_ARCH_I386, {{of_32_bits, COUNT(of_32_bits)}, {i386, COUNT(i386)}}}},
    {{AUDIT_ARCH_AARCH64, {{aarch64, COUNT(aarch64)}, {0}}},
     {AUDIT_ARCH_ARM, {{of_32_bits, COUNT(of_32_bits)}, {arm, COUNT(arm)}}}},
};

struct program {
    struct sock_filter *instructions;
    unsigned count;
    unsigned room;
};

static void add(struct program *program, uint16_t code, uint32_t value, uint8_t yes, uint8_t no) {
    if (program->count < program->room)
        program->instructions[program->count] = (struct sock_filter){code, yes, no, value};
    program->count++;
}

static void load(struct program *program, size_t offset) {
    add(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* The lower half of an argument: these machines have it first. */
static void load_argument(struct program *program, unsigned index) {
    load(program, offsetof(struct seccomp_data, args) + index * sizeof(uint64_t));
}

static void mask(struct program *program, uint32_t bits) {
    add(program, BPF_ALU | BPF_AND | BPF_K, bits, 0, 0);
}

static void if_equal(struct program *program, uint32_t value, uint8_t yes, uint8_t no) {
    add(program, BPF_JMP | BPF_JEQ | BPF_K, value, yes, no);
}

static void answer(struct program *program, uint32_t action) {
    add(program, BPF_RET | BPF_K, action, 0, 0);
}

static void feign(struct program *program) {
    answer(program, SECCOMP_RET_ERRNO | 0);
}

/* Left to the kernel if both ids are mapped, or none at all. */
static void judge_owner(struct program *program, unsigned index, uint32_t bits, uint32_t group) {
    uint8_t masks = bits != unchanged; /* instructions */
    load_argument(program, index);
    if (masks)
        mask(program, bits);
    if_equal(program, 0, 1, 0);
    if_equal(program, bits, 0, 4 + masks);
    load_argument(program, index + 1);
    if (masks)
        mask(program, bits);
    if_equal(program, group, 1, 0);
    if_equal(program, bits, 0, 1);
    answer(program, SECCOMP_RET_ALLOW);
    feign(program);
}

/* Feigned if a device is to be made, but for a whiteout of overlayfs. */
static void judge_device(struct program *program, unsigned mode) {
    load_argument(program, mode);
    mask(program, S_IFMT);
    if_equal(program, S_IFBLK, 4, 0);
    if_equal(program, S_IFCHR, 0, 2);
    load_argument(program, mode + 1);
    if_equal(program, 0, 0, 1);
    answer(program, SECCOMP_RET_ALLOW);
    feign(program);
}

static void judge(struct program *program, enum kind kind, uint32_t group) {
    switch (kind) {
    case OWNER:
        judge_owner(program, 1, unchanged, group);
        break;
    case OWNER_AT:
        judge_owner(program, 2, unchanged, group);
        break;
    case OWNER_16:
        judge_owner(program, 1, unchanged_16, group);
        break;
    case DEVICE:
        judge_device(program, 1);
        break;
    case DEVICE_AT:
        judge_device(program, 2);
        break;
    default:
        feign(program);
    }
}

/* Make the jump at place one to the instruction that comes next. */
static void land(struct program *program, unsigned place, int if_not) {
    if (place >= program->room)
        return;
    struct sock_filter *jump = &program->instructions[place];
    *(if_not ? &jump->jf : &jump->jt) = (uint8_t)(program->count - place - 1);
}

static void add_machine(struct program *program, const struct machine *machine, uint32_t group) {
    unsigned start = program->count;
    if_equal(program, machine->name, 0, 0);
    load(program, offsetof(struct seccomp_data, nr));
    unsigned first = program->count;
    for (unsigned i = 0; i < 2; i++)
        for (size_t j = 0; j < machine->lists[i].count; j++)
            if_equal(program, machine->lists[i].calls[j].number, 0, 0);
    answer(program, SECCOMP_RET_ALLOW);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        unsigned place = first;
        for (unsigned i = 0; i < 2; i++)
            for (size_t j = 0; j < machine->lists[i].count; j++, place++)
                if (machine->lists[i].calls[j].kind == kind)
                    land(program, place, 0);
        judge(program, (enum kind)kind, group);
    }
    land(program, start, 1);
}

int udocker_feigning(int is_arm, unsigned group, char *instructions, unsigned room) {
    struct program program = {.instructions = (struct sock_filter *)instructions, .room = room};
    load(&program, offsetof(struct seccomp_data, arch));
    for (unsigned i = 0; i < 2; i++)
        add_machine(&program, &machines[is_arm != 0][i], group);
    answer(&program, SECCOMP_RET_ALLOW);
    return program.count <= room ? (int)program.count : -1;
}

int udocker_feign_ids(unsigned group) {
    struct sock_filter instructions[ROOM];
    int count = udocker_feigning(is_arm_here, group, (char *)instructions, ROOM);
    if (count < 0) {
        errno = ENOSPC;
        return -1;
    }
    struct sock_fprog program = {.len = (unsigned short)count, .filter = instructions};
#ifdef __NR_seccomp /* not in headers before 3.17 */
    if (syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, FILTER_SPEC_ALLOW, &program) == 0)
        return 0;
#endif
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}
