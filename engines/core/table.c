#include "table.h"

#define FREE(name) [NR_##name] = {.kind = FREE_CALL},
#define REFUSE(name, reason) [NR_##name] = {.kind = REFUSED, .error = (reason)},
#define ONE(name, fd, position, bits, link, what)                                                  \
    [NR_##name] = {.kind = ONE_PATH,                                                               \
                   .last = RULE_##link,                                                            \
                   .access = (what),                                                               \
                   .dirfd = (fd),                                                                  \
                   .path = (position),                                                             \
                   .flags = (bits)},
#define TWO(name, fd, position, fd2, position2, bits, link)                                        \
    [NR_##name] = {.kind = TWO_PATHS,                                                              \
                   .last = RULE_##link,                                                            \
                   .dirfd = (fd),                                                                  \
                   .path = (position),                                                             \
                   .dirfd2 = (fd2),                                                                \
                   .path2 = (position2),                                                           \
                   .flags = (bits)},
#define DESCRIPTOR(name, fd, what)                                                                 \
    [NR_##name] = {.kind = ON_DESCRIPTOR, .access = (what), .dirfd = (fd)},
#define OWN(name) [NR_##name] = {.kind = OWN_FUNCTION},

static const struct row rows[NR_COUNT] = {
#include "table_common.def"
#ifdef ARCH_HAS_LEGACY
#include "table_legacy.def"
#endif
};

const struct row *table_row(long number) {
    if (number < 0 || number >= NR_COUNT || rows[number].kind == UNKNOWN) {
        return NULL;
    }
    return &rows[number];
}

#define NUMBER(value, name) [value] = #name,
static const char *const names[NR_COUNT] = {
#include ARCH_NUMBERS
};

const char *table_name(long number) {
    return number < 0 || number >= NR_COUNT ? NULL : names[number];
}
