/*
 * What the engine says of the kernel's structures and numbers, against the headers of the system.
 * Those come last: their macros take names of the engine away.
 */
#define _GNU_SOURCE
#include "harness.h"

#if defined(__x86_64__)
#include "context_x86_64.h"
#else
#include "context_aarch64.h"
#endif

static const struct {
    int directory, no_follow, create, exclusive, truncate, close_on_exec, path, temporary;
} OURS = {O_DIRECTORY, O_NOFOLLOW, O_CREAT, O_EXCL, O_TRUNC, O_CLOEXEC, O_PATH, O_TMPFILE_BIT};

#include <fcntl.h>
#include <sys/stat.h>
#include <ucontext.h>

#define SAME(ours, our_field, theirs, their_field)                                                 \
    do {                                                                                           \
        CHECK_NUMBER(offsetof(ours, our_field), offsetof(theirs, their_field));                    \
        CHECK_NUMBER(sizeof((ours *)0)->our_field, sizeof((theirs *)0)->their_field);              \
    } while (0)

static void test_flags(void) {
    CHECK_NUMBER(OURS.directory, O_DIRECTORY);
    CHECK_NUMBER(OURS.no_follow, O_NOFOLLOW);
    CHECK_NUMBER(OURS.create, O_CREAT);
    CHECK_NUMBER(OURS.exclusive, O_EXCL);
    CHECK_NUMBER(OURS.truncate, O_TRUNC);
    CHECK_NUMBER(OURS.close_on_exec, O_CLOEXEC);
    CHECK_NUMBER(OURS.path, O_PATH);
    CHECK_NUMBER(OURS.temporary | OURS.directory, O_TMPFILE);
}

static void test_status(void) {
    CHECK_NUMBER(sizeof(struct status), sizeof(struct stat));
    SAME(struct status, device, struct stat, st_dev);
    SAME(struct status, inode, struct stat, st_ino);
    SAME(struct status, links, struct stat, st_nlink);
    SAME(struct status, mode, struct stat, st_mode);
    SAME(struct status, uid, struct stat, st_uid);
    SAME(struct status, gid, struct stat, st_gid);
    SAME(struct status, special, struct stat, st_rdev);
    SAME(struct status, size, struct stat, st_size);
    SAME(struct status, block_size, struct stat, st_blksize);
    SAME(struct status, blocks, struct stat, st_blocks);
    SAME(struct status, accessed, struct stat, st_atim);
    SAME(struct status, modified, struct stat, st_mtim);
    SAME(struct status, changed, struct stat, st_ctim);
}

static void test_context(void) {
    static ucontext_t theirs;
    struct context *ours = (struct context *)&theirs;
    CHECK_NUMBER(offsetof(struct context, mask), offsetof(ucontext_t, uc_sigmask));
#if defined(__x86_64__)
    static const int arguments[6] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
    const int answer = REG_RAX;
    greg_t *registers = theirs.uc_mcontext.gregs;
    SAME(struct context, rip, ucontext_t, uc_mcontext.gregs[REG_RIP]);
#else
    static const int arguments[6] = {0, 1, 2, 3, 4, 5};
    const int answer = 0;
    unsigned long long *registers = theirs.uc_mcontext.regs;
    SAME(struct context, registers, ucontext_t, uc_mcontext.regs);
    SAME(struct context, program_counter, ucontext_t, uc_mcontext.pc);
#endif
    for (int index = 0; index < 6; index++) {
        registers[arguments[index]] = 100 + index;
    }
    struct call call = context_call(ours, 42);
    CHECK_NUMBER(call.number, 42);
    for (int index = 0; index < 6; index++) {
        CHECK_NUMBER(call.argument[index], 100 + index);
    }
    context_answer(ours, -5);
    CHECK_NUMBER(registers[answer], -5);
}

int main(void) {
    test_flags();
    test_status();
    test_context();
    return harness_end();
}
