/* Names that sockets were bound or connected to: the kernel was given other ones. */
#ifndef UDOCKER_NAMES_H
#define UDOCKER_NAMES_H

#include "base.h"

enum { UNIX_PATH_SIZE = 108, MAX_NAMES = 32 };

struct name {
    uint64_t inode; /* of the socket, 0: free */
    bool is_peer;   /* it was connected there, and not bound */
    char path[UNIX_PATH_SIZE + 1];
    char shown[UNIX_PATH_SIZE + 1]; /* what the kernel says of it */
};

/* The oldest one makes place for the newest. */
struct names {
    struct name names[MAX_NAMES];
    unsigned next, next_peer; /* peers have the second half */
};

#endif
