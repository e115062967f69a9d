/* Where a path of the guest leads on the host. */
#ifndef UDOCKER_PATH_H
#define UDOCKER_PATH_H

#include "guest.h"
#include "memory.h"

/* Of a union: which directory has it. */
enum layer { NOWHERE, UPPER, LOWER };

/* Room for the work; too much for the small stacks that some programs give a thread. */
struct workspace {
    /* First, so that they lie in one page with the beginning of a path. */
    const struct mount *mount; /* that the answer lies on; of an ENTRY, that its directory does */
    bool is_magic; /* a link of /proc that the kernel is to follow, to what its text may not name */
    bool is_lower; /* and it is open on what is in the lower directory of the union */
    bool is_entry; /* of a union: host is the place in the upper one, whatever is there */
    bool has_end;  /* host ends in a slash, or in dots, that are not in guest */
    bool is_deep;  /* host begins with a descriptor, and guest is no more than near it: deep.h */
    int held[2];   /* descriptors that answers begin with, plus one; 0: none */
    enum layer layer; /* of a union, if it is no entry */

    char guest[PATH_SIZE]; /* the canonical guest path so far; at the end the whole one */
    char rest[2 * PATH_SIZE];
    char link[PATH_SIZE];
    char host[PATH_SIZE]; /* the answer */
    char kept[PATH_SIZE]; /* the callers': the first of two answers */
};

/* What the last part of a path means. */
enum last {
    KEEP,   /* a symbolic link there is meant itself, unless a slash follows it */
    FOLLOW, /* what such a link leads to is meant */
    ENTRY,  /* the name in its directory is meant, to be made or removed: see inode(7) */
};

/*
 * Resolve path, relative to dirfd unless absolute, as the kernel would inside the guest. The answer
 * is in space->host: an absolute host path of which no part is a symbolic link but, with KEEP and
 * ENTRY, the last. What it names may not exist. A slash or dots at the end of path are at the end
 * of the answer if they matter. Gives 0 or -errno.
 */
long path_resolve(const struct guest *guest, long dirfd, const char *path, enum last last,
                  struct workspace *space);

/* The same with the RESOLVE flags of openat2(2), which are obeyed here as far as they can be. */
long path_resolve_within(const struct guest *guest, long dirfd, const char *path, enum last last,
                         uint64_t limits, struct workspace *space);

/* A bit more of those: what is in no layer of a union is no error, but to be made. */
#define MAY_BE_MISSING (1ULL << 63)

/* Another one: an absolute path begins at the guest's own root, whatever chroot(2) has made of it.
 */
#define FROM_TOP (1ULL << 62)

/* The guest path of the directory that dirfd, or AT_FDCWD, stands for, in space->guest. Its size.
 */
long path_of_directory(const struct guest *guest, long dirfd, struct workspace *space);

#endif
