/*
 * Directories of the upper layer that their owner may not list or write to. The kernel asks for no
 * such right of who removes one or renames it; what a union has to look up and note there must not
 * either.
 */
#ifndef UDOCKER_UNION_FORBIDDEN_H
#define UDOCKER_UNION_FORBIDDEN_H

#include "base.h"

struct forbidden {
    long place;
    unsigned mode;
};

#define NOT_FORBIDDEN ((struct forbidden){-1, 0})

/* From here to forbidden_end its owner has all rights. A descriptor with O_PATH, or -errno. */
long forbidden_begin(const char *host, struct forbidden *forbidden);
void forbidden_end(const struct forbidden *forbidden);

#endif
