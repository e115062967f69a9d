/* The filter's language, run by the tracer: every word of it that filter.c writes. */
#include "harness.h"

#include "judge.h"

static const struct judged a_call = {
    .number = 257,
    .architecture = 0xc000003e,
    .place = 0x123456789abcdef0,
    .argument = {0x1111111122222222, -1, 3, 4, 5, 0x6666666677777777},
};

static uint32_t run(const struct instruction *instructions, size_t size) {
    const struct program program = {(uint16_t)size, instructions};
    return judge(&program, &a_call);
}

#define RUN(...)                                                                                   \
    run((const struct instruction[]){__VA_ARGS__},                                                 \
        sizeof((const struct instruction[]){__VA_ARGS__}) / sizeof(struct instruction))

/* What is loaded from there, by one bit after the other. */
static uint32_t loaded(uint32_t place) {
    uint32_t value = 0;
    for (int bit = 0; bit < 32; bit++) {
        uint32_t mask = (uint32_t)1 << bit;
        value |= RUN({LOAD, 0, 0, place}, {JUMP_IF_SET, 0, 1, mask}, {RETURN, 0, 0, 1},
                     {RETURN, 0, 0, 0})
                 << bit;
    }
    return value;
}

static void test_places(void) {
    CHECK_NUMBER(loaded(OF_NUMBER), 257);
    CHECK_NUMBER(loaded(OF_ARCHITECTURE), 0xc000003e);
    CHECK_NUMBER(loaded(OF_POINTER_LOW), 0x9abcdef0);
    CHECK_NUMBER(loaded(OF_POINTER_HIGH), 0x12345678);
    CHECK_NUMBER(loaded(OF_ARGUMENTS), 0x22222222);
    CHECK_NUMBER(loaded(OF_ARGUMENTS + 4), 0x11111111);
    CHECK_NUMBER(loaded(OF_ARGUMENTS + 8), 0xffffffff);
    CHECK_NUMBER(loaded(OF_ARGUMENTS + 5 * 8 + 4), 0x66666666);
}

static uint32_t jumped(uint16_t code, uint32_t operand) {
    return RUN({LOAD, 0, 0, OF_NUMBER}, {code, 1, 2, operand}, {RETURN, 0, 0, 0}, {RETURN, 0, 0, 1},
               {RETURN, 0, 0, 2});
}

static void test_jumps(void) {
    CHECK_NUMBER(jumped(JUMP_EQUAL, 257), 1);
    CHECK_NUMBER(jumped(JUMP_EQUAL, 256), 2);
    CHECK_NUMBER(jumped(JUMP_AT_LEAST, 257), 1);
    CHECK_NUMBER(jumped(JUMP_AT_LEAST, 258), 2);
    CHECK_NUMBER(jumped(JUMP_AT_LEAST, 0), 1);
    CHECK_NUMBER(jumped(JUMP_AT_LEAST, 0xffffffff), 2);
    CHECK_NUMBER(jumped(JUMP_IF_SET, 0x101), 1);
    CHECK_NUMBER(jumped(JUMP_IF_SET, 0x2), 2);
    CHECK_NUMBER(RUN({JUMP, 0, 0, 1}, {RETURN, 0, 0, 1}, {RETURN, 0, 0, 2}), 2);
}

static void test_answers(void) {
    CHECK_NUMBER(RUN({RETURN, 0, 0, ALLOW}), ALLOW);
    CHECK_NUMBER(RUN({RETURN, 0, 0, ERROR(ENOSYS)}), ERROR(ENOSYS));
    CHECK_NUMBER(RUN({LOAD, 0, 0, 0}), ERROR(ENOSYS)); /* it has no end: nothing passes */
}

int main(void) {
    test_places();
    test_jumps();
    test_answers();
    return harness_end();
}
