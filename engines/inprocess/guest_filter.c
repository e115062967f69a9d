#include "guest_filter.h"

#include "bpf.h"
#include "engine.h"

enum { PROLOGUE = 7, PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22 };

/* The calls of the engine's own text pass; then what the program finds is as it would be. */
static void write_prologue(struct instruction *out) {
    uintptr_t begin = (uintptr_t)engine_text_begin;
    uintptr_t end = (uintptr_t)engine_text_end;
    const struct instruction prologue[PROLOGUE] = {
        {LOAD, 0, 0, OF_POINTER_HIGH},
        {JUMP_EQUAL, 0, 4, (uint32_t)(begin >> 32)},
        {LOAD, 0, 0, OF_POINTER_LOW},
        {JUMP_AT_LEAST, 0, 2, (uint32_t)begin},
        {JUMP_AT_LEAST, 1, 0, (uint32_t)end},
        {RETURN, 0, 0, ALLOW},
        {LOAD_CONSTANT, 0, 0, 0},
    };
    copy_bytes((char *)out, (const char *)prologue, sizeof prologue);
}

static const struct instruction strict_mode[] = {
    {LOAD, 0, 0, OF_NUMBER},
    {JUMP_EQUAL, 3, 0, NR_read},
    {JUMP_EQUAL, 2, 0, NR_write},
    {JUMP_EQUAL, 1, 0, NR_exit},
    {JUMP_EQUAL, 0, 1, NR_rt_sigreturn},
    {RETURN, 0, 0, ALLOW},
    {RETURN, 0, 0, TRAP | STRICT},
};

static long install(long flags, const struct program *given) {
    size_t size = (PROLOGUE + (size_t)given->size) * sizeof(struct instruction);
    long address = kernel(NR_mmap, 0, (long)size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (failed(address)) {
        return address;
    }
    struct instruction *code = (struct instruction *)address;
    write_prologue(code);
    copy_bytes((char *)(code + PROLOGUE), (const char *)given->instructions,
               given->size * sizeof(struct instruction));
    const struct program program = {(uint16_t)(PROLOGUE + given->size), code};
    long result = kernel(NR_seccomp, SET_MODE_FILTER, flags, (long)&program, 0, 0, 0);
    kernel(NR_munmap, address, (long)size, 0, 0, 0, 0);
    return result;
}

long guest_filter_install(long flags, long program) {
    const struct program strict = {sizeof strict_mode / sizeof strict_mode[0], strict_mode};
    struct program given = strict;
    if (program != 0) {
        copy_bytes((char *)&given, (const char *)program, sizeof given);
        if (given.size == 0 || given.size > LONGEST - PROLOGUE) {
            return -EINVAL;
        }
        if (!memory_is_there(given.instructions, given.size * sizeof(struct instruction))) {
            return -EFAULT;
        }
    }
    return install(flags, &given);
}

long guest_filter_probe(const struct process *process, const struct call *call) {
    return process->has_filter ? probe_call(call) : -PROBE_ALLOWED;
}

bool guest_filter_is_probe(uintptr_t place) {
    return place > (uintptr_t)engine_text_end && place <= (uintptr_t)engine_probe_end;
}
