#include "engine.h"
#include "table.h"

/* <linux/filter.h>, <linux/seccomp.h>, prctl(2) */
struct instruction {
    uint16_t code;
    uint8_t if_true;
    uint8_t if_false;
    uint32_t operand;
};

struct program {
    uint16_t size;
    const struct instruction *instructions;
};

enum {
    LOAD = 0x20,
    JUMP_EQUAL = 0x15,
    JUMP_AT_LEAST = 0x35,
    JUMP_IF_SET = 0x45,
    RETURN = 0x06,
    OF_NUMBER = 0, /* struct seccomp_data */
    OF_ARCHITECTURE = 4,
    OF_POINTER_LOW = 8,
    OF_POINTER_HIGH = 12,
    OF_THIRD_ARGUMENT = 32, /* its lower half */
    PROT_EXEC = 4,
    MOST = 1600,
    PR_SET_NO_NEW_PRIVS = 38,
    SET_MODE_FILTER = 1,
};

#define ALLOW 0x7fff0000U
#define TRAP 0x00030000U
#define KILL 0x80000000U
#define ERROR(number) (0x00050000U | (number))

struct writer {
    struct instruction out[MOST];
    size_t size;
};

static void put(struct writer *writer, uint16_t code, uint8_t if_true, uint8_t if_false,
                uint32_t operand) {
    writer->out[writer->size++] = (struct instruction){code, if_true, if_false, operand};
}

static uint32_t answer(long number) {
    const struct row *row = table_row(number);
    if (row == NULL) {
        return ERROR(ENOSYS);
    }
    if (row->kind == FREE_CALL) {
        return ALLOW;
    }
    return row->kind == REFUSED ? ERROR((uint32_t)row->error) : TRAP;
}

/* The first number after first that has another answer. */
static long end_of_range(long first) {
    long next = first + 1;
    while (next < NR_COUNT && answer(next) == answer(first)) {
        next++;
    }
    return next;
}

/*
 * A linear row of ranges: the kernel keeps a bitmap of the numbers that are always allowed, so only
 * the others pay for its length.
 */
static void put_ranges(struct writer *writer) {
    for (long first = 0; first < NR_COUNT;) {
        long next = end_of_range(first);
        put(writer, JUMP_AT_LEAST, 1, 0, (uint32_t)next);
        put(writer, RETURN, 0, 0, answer(first));
        first = next;
    }
    put(writer, RETURN, 0, 0, ERROR(ENOSYS)); /* newer than the table, and x32 */
}

/* Calls from the engine's own text pass, whatever they are. */
static void put_own(struct writer *writer) {
    uintptr_t begin = (uintptr_t)engine_text_begin;
    uintptr_t end = (uintptr_t)engine_text_end;
    put(writer, LOAD, 0, 0, OF_POINTER_HIGH);
    put(writer, JUMP_EQUAL, 0, 4, (uint32_t)(begin >> 32));
    put(writer, LOAD, 0, 0, OF_POINTER_LOW);
    put(writer, JUMP_AT_LEAST, 0, 2, (uint32_t)begin);
    put(writer, JUMP_AT_LEAST, 1, 0, (uint32_t)end);
    put(writer, RETURN, 0, 0, ALLOW);
}

/* Of the mappings only executable ones may have to be of another file. */
static void put_mappings(struct writer *writer) {
    put(writer, JUMP_EQUAL, 0, 4, NR_mmap);
    put(writer, LOAD, 0, 0, OF_THIRD_ARGUMENT);
    put(writer, JUMP_IF_SET, 1, 0, PROT_EXEC);
    put(writer, RETURN, 0, 0, ALLOW);
    put(writer, RETURN, 0, 0, TRAP);
}

long filter_install(void) {
    static struct writer writer;
    put(&writer, LOAD, 0, 0, OF_ARCHITECTURE);
    put(&writer, JUMP_EQUAL, 1, 0, (uint32_t)ARCH_AUDIT);
    put(&writer, RETURN, 0, 0, KILL); /* 32-bit calls have other numbers */
    put_own(&writer);
    put(&writer, LOAD, 0, 0, OF_NUMBER);
    put_mappings(&writer);
    put_ranges(&writer);
    struct program program = {(uint16_t)writer.size, writer.out};
    long result = kernel(NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
    if (result == 0) {
        result = kernel(NR_seccomp, SET_MODE_FILTER, 0, (long)&program, 0, 0, 0);
    }
    return result;
}
