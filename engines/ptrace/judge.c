#include "judge.h"

uint32_t judge(const struct program *program, const struct judged *call) {
    uint32_t value = 0;
    for (size_t at = 0; at < program->size; at++) {
        const struct instruction *now = &program->instructions[at];
        bool is_true = false;
        switch (now->code) {
        case RETURN:
            return now->operand;
        case LOAD:
            copy_bytes((char *)&value, (const char *)call + now->operand, sizeof value);
            continue;
        case JUMP:
            at += now->operand;
            continue;
        case JUMP_EQUAL:
            is_true = value == now->operand;
            break;
        case JUMP_AT_LEAST:
            is_true = value >= now->operand;
            break;
        default: /* JUMP_IF_SET */
            is_true = value & now->operand;
        }
        at += is_true ? now->if_true : now->if_false;
    }
    return ERROR(ENOSYS);
}
