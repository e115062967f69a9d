/* What the processes of a container share about its union: the format of the file. */
#ifndef UDOCKER_UNION_SHARED_H
#define UDOCKER_UNION_SHARED_H

#include "owners.h"

/*
 * What the processes of a container share, in a file: what they know of directories, and which
 * inode a copied file had. Python makes it (udocker/engine/union.py), all zero but for these.
 */
enum {
    SHARED_FORMAT = 4,
    SHARED_OPAQUE = 4096,
    SHARED_FACTS = 6144,
    SHARED_LINKS = 128,
    LONGEST_LINK = 55,
    SHARED_COPIED = 65536,
    SHARED_MARKS = 512,
    SHARED_REMOVING = 64,
};

struct copied {
    uint64_t inode;  /* of the copy; 0: none here */
    uint64_t before; /* what it is a copy of */
    uint64_t born;   /* when the copy was made: another file may have its number later */
};

/* What a link of the lower directory says: see union_links.c. */
struct known_link {
    uint64_t fact; /* which one it is, or 0 */
    uint8_t size;
    char text[LONGEST_LINK];
};

struct shared {
    uint64_t format;
    uint64_t opaque_count; /* of the hashes below; more than there is room for: any may be */
    uint64_t changing;     /* a directory is being moved, or was when somebody was killed */
    uint64_t generation;   /* of facts: what was learned in an earlier one is nothing */
    uint64_t upper_device; /* of those that were copied */
    uint64_t lower_device;
    uint64_t copied_count;
    uint64_t is_local; /* no other host writes there */
    uint64_t starts;   /* of first programs; each may find copies of files that were not there */
    uint64_t native_generation, removing_more; /* see union_native.h */
    uint64_t rest[5];
    struct owner_hints owners;
    /* What every program looks at lies in the first 64 KiB, which the kernel maps at one fault. */
    uint64_t marks[SHARED_MARKS]; /* a bit is set of each inode in copied */
    struct known_link links[SHARED_LINKS];
    uint32_t removing[SHARED_REMOVING];
    uint64_t facts[SHARED_FACTS];
    uint64_t opaque[SHARED_OPAQUE]; /* hashes of guest paths: what may hide the lower directory's */
    struct copied copied[SHARED_COPIED];
};

#endif
