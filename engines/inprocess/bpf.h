/* The language of seccomp filters: <linux/filter.h>, <linux/seccomp.h>. */
#ifndef UDOCKER_BPF_H
#define UDOCKER_BPF_H

#include "base.h"

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
    LOAD_CONSTANT = 0x00,
    LOAD = 0x20,
    JUMP = 0x05,
    JUMP_EQUAL = 0x15,
    JUMP_AT_LEAST = 0x35,
    JUMP_IF_SET = 0x45,
    RETURN = 0x06,
    OF_NUMBER = 0, /* struct seccomp_data */
    OF_ARCHITECTURE = 4,
    OF_POINTER_LOW = 8,
    OF_POINTER_HIGH = 12,
    OF_ARGUMENTS = 16, /* of 8 bytes each */
    LONGEST = 4096,    /* BPF_MAXINSNS */
    SET_MODE_FILTER = 1,
};

#define ALLOW 0x7fff0000U
#define TRAP 0x00030000U
#define TRACE 0x7ff00000U
#define ERROR(number) (0x00050000U | (uint32_t)(number))

#endif
