/*
 * Where patched places of the guest arrive, at addresses that udocker/engine/patch.py knows. The
 * island has put the way back into rcx; the syscall instruction that it stands for would have
 * changed rcx and r11, so nothing else may change but rax.
 *
 * What the engine has nothing to do for, and what must not return through it (a new thread, a
 * child of vfork), goes on at the syscall instruction itself: it is still there.
 */
#include "engine.h"
#include "guest_filter.h"

enum { SYSCALL_SIZE = 2 };

long patched_call(const struct call *call, uintptr_t *back);

/* What SIGSYS is to tell the guest about, the instruction itself does, which is still there. */
long patched_call(const struct call *call, uintptr_t *back) {
    long result = guest_filter_probe(the_engine->process, call);
    if (result == -PROBE_TRAPPED) {
        *back -= SYSCALL_SIZE;
        return call->number;
    }
    return result == -PROBE_ALLOWED ? calls_carry_out(the_engine->process, call, NULL) : result;
}

/* Of each number, whether it is carried out here. */
#define FREE(name)
#define REFUSE(name, reason)
#define ONE(name, ...) [NR_##name] = 1,
#define TWO(name, ...) [NR_##name] = 1,
#define DESCRIPTOR(name, ...) [NR_##name] = 1,
#define OWN(name) [NR_##name] = 1,
#define NUMBERS 512
extern const unsigned char patched_numbers[NUMBERS];
const unsigned char patched_numbers[NUMBERS] = {
#include "table_common.def"
#include "table_legacy.def"
};
_Static_assert(NR_COUNT <= NUMBERS && NR_execve == 59 && NR_execveat == 322, "as below");

/*
 * Stacks for callers whose own are small: goroutines have 2 KiB. All signals of such a program are
 * handled on an alternative stack, so these need not be large. execve(2) does not come here: it
 * would not give back its stack where the memory is shared with the parent. Nor does one that finds
 * all of them taken: it traps.
 */
enum { STACKS = 16, STACK_SIZE = 16384 };
extern char patched_stacks[STACKS][STACK_SIZE];
char patched_stacks[STACKS][STACK_SIZE] __attribute__((aligned(16)));
extern unsigned patched_stacks_taken; /* a bit for each */
unsigned patched_stacks_taken;

/* To where_free unless the number is one of patched_numbers. Changes r11. */
#define CHECK(where_free)                                                                          \
    "    cmpq $512, %rax\n"                                                                        \
    "    jae " where_free "\n"                                                                     \
    "    leaq patched_numbers(%rip), %r11\n"                                                       \
    "    cmpb $0, (%r11,%rax)\n"                                                                   \
    "    je " where_free "\n"

/* Call the engine. All registers come back but r11; way_back: the offset of the rcx that was kept.
 */
#define CARRY_OUT(way_back)                                                                        \
    "    pushq %rdx\n"                                                                             \
    "    pushq %rsi\n"                                                                             \
    "    pushq %rdi\n"                                                                             \
    "    pushq %r8\n"                                                                              \
    "    pushq %r9\n"                                                                              \
    "    pushq %r10\n"                                                                             \
    "    subq $64, %rsp\n" /* struct call, and the alignment */                                    \
    "    movq %rax, (%rsp)\n"                                                                      \
    "    movq %rdi, 8(%rsp)\n"                                                                     \
    "    movq %rsi, 16(%rsp)\n"                                                                    \
    "    movq %rdx, 24(%rsp)\n"                                                                    \
    "    movq %r10, 32(%rsp)\n"                                                                    \
    "    movq %r8, 40(%rsp)\n"                                                                     \
    "    movq %r9, 48(%rsp)\n"                                                                     \
    "    movq %rsp, %rdi\n"                                                                        \
    "    leaq " way_back "(%rsp), %rsi\n"                                                          \
    "    cld\n"                                                                                    \
    "    call patched_call\n"                                                                      \
    "    addq $64, %rsp\n"                                                                         \
    "    popq %r10\n"                                                                              \
    "    popq %r9\n"                                                                               \
    "    popq %r8\n"                                                                               \
    "    popq %rdi\n"                                                                              \
    "    popq %rsi\n"                                                                              \
    "    popq %rdx\n"

/* Where the entries are is fixed. */
__asm__(".section .entry, \"ax\", @progbits\n"
        "    jmp patched_entry\n"
        "    .balign 16\n"
        "    jmp patched_entry_small_stack\n");

__asm__(".text\n"
        "patched_entry:\n" CHECK("patched_free") /**/
        "    movq %rsp, %r11\n"
        "    leaq -128(%rsp), %rsp\n" /* the red zone of the function that is here */
        "    andq $-16, %rsp\n"
        "    pushq %r11\n"
        "    pushq %rcx\n" CARRY_OUT("112") /**/
        "    popq %rcx\n"
        "    popq %rsp\n"
        "    jmp *%rcx\n"
        "patched_free:\n"
        "    subq $2, %rcx\n"
        "    jmp *%rcx\n");

/* The first stack that is free; the stack of the caller is not touched. */
__asm__(".text\n"
        "patched_entry_small_stack:\n" CHECK("patched_free") /**/
        "    cmpl $59, %eax\n"
        "    je patched_free\n"
        "    cmpl $322, %eax\n"
        "    je patched_free\n"
        ".set number, 0\n"
        ".rept 16\n"
        "    lock btsl $number, patched_stacks_taken(%rip)\n"
        "    jc 1f\n"
        "    leaq patched_stacks + 16384 * (number + 1)(%rip), %r11\n"
        "    xchgq %rsp, %r11\n"
        "    pushq %r11\n"
        "    pushq %rcx\n"
        "    leaq 2f(%rip), %r11\n"
        "    pushq %r11\n"
        "    pushq %r11\n" /* the alignment */
        "    jmp patched_on_stack\n"
        "2:  popq %rcx\n"
        "    popq %rsp\n"
        "    lock btrl $number, patched_stacks_taken(%rip)\n"
        "    jmp *%rcx\n"
        "1:\n"
        ".set number, number + 1\n"
        ".endr\n"
        "    jmp patched_free\n"
        "patched_on_stack:\n" CARRY_OUT("128") /**/
        "    popq %r11\n"
        "    popq %r11\n"
        "    jmp *%r11\n");
