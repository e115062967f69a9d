/* Hashes: of text as it grows (FNV-1a), and of numbers. */
#ifndef UDOCKER_HASH_H
#define UDOCKER_HASH_H

#include "base.h"

#define HASH_BEGIN 0xcbf29ce484222325ULL
#define HASH_FACTOR 0x100000001b3ULL

static inline uint64_t hash_byte(uint64_t hash, char byte) {
    return (hash ^ (unsigned char)byte) * HASH_FACTOR;
}

/* So that each bit of a number counts for the last ones. */
static inline uint64_t hash_mixed(uint64_t hash) {
    hash ^= hash >> 32;
    hash *= 0x9e3779b97f4a7c15ULL;
    return hash ^ (hash >> 29);
}

/* Of text that follows what was hashed before, or HASH_BEGIN. */
static inline uint64_t hash_text(uint64_t before, const char *text, size_t size) {
    for (size_t at = 0; at < size; at++) {
        before = hash_byte(before, text[at]);
    }
    return before;
}

/* As Python makes it: udocker/engine/union.py. */
static inline uint64_t hash_path(const char *path, size_t size) {
    return hash_text(HASH_BEGIN, path, size);
}

#endif
