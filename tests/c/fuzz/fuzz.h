/*
 * Targets of libFuzzer: each file here is one. tests/c/corpus has what was found to matter, a line
 * of hexadecimal bytes for each input; tools/fuzz adds to it.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "guests.h"

/* What must hold, whatever the input is. */
#define DEMAND(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Input that is used up from its beginning; zeros when there is no more. */
struct input {
    const uint8_t *data;
    size_t size;
};

static inline unsigned take(struct input *input) {
    if (input->size == 0) {
        return 0;
    }
    input->size--;
    return *input->data++;
}

/* Up to the next newline, without it, with a NUL behind, in memory of exactly that size. */
static inline char *take_line(struct input *input) {
    const uint8_t *end = input->size == 0 ? NULL : memchr(input->data, '\n', input->size);
    size_t size = end == NULL ? input->size : (size_t)(end - input->data);
    char *line = malloc(size + 1);
    if (size > 0) {
        memcpy(line, input->data, size);
    }
    line[size] = '\0';
    input->data += size + (end == NULL ? 0 : 1);
    input->size -= size + (end == NULL ? 0 : 1);
    return line;
}

/* All that is left, in memory of exactly that size, with extra bytes of zeros behind. */
static inline char *take_rest(struct input *input, size_t extra) {
    char *rest = calloc(1, input->size + extra + (input->size + extra == 0));
    if (input->size > 0) {
        memcpy(rest, input->data, input->size);
    }
    return rest;
}

#endif
