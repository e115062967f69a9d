/* Names that sockets were bound to, where the kernel had to be given another one. */
#ifndef UDOCKER_NAMES_H
#define UDOCKER_NAMES_H

#include "base.h"

enum { UNIX_PATH_SIZE = 108, MAX_NAMES = 32 };

struct name {
    uint64_t inode; /* of the socket, 0: free */
    char path[UNIX_PATH_SIZE + 1];
};

/* The oldest one makes place for the newest. */
struct names {
    struct name names[MAX_NAMES];
    unsigned next;
};

#endif
