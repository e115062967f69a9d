/* What GCC asks of an environment without a C library: it calls these by itself. */
#include "base.h"

void *memcpy(void *target, const void *source, size_t size);
void *memmove(void *target, const void *source, size_t size);
void *memset(void *target, int value, size_t size);
int memcmp(const void *one, const void *other, size_t size);

void *memcpy(void *target, const void *source, size_t size) {
    copy_bytes(target, source, size);
    return target;
}

void *memmove(void *target, const void *source, size_t size) {
    move_bytes(target, source, size);
    return target;
}

void *memset(void *target, int value, size_t size) {
    for (size_t index = 0; index < size; index++) {
        ((unsigned char *)target)[index] = (unsigned char)value;
    }
    return target;
}

int memcmp(const void *one, const void *other, size_t size) {
    const unsigned char *first = one;
    const unsigned char *second = other;
    for (size_t index = 0; index < size; index++) {
        if (first[index] != second[index]) {
            return first[index] < second[index] ? -1 : 1;
        }
    }
    return 0;
}
