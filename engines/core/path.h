/* Where a path of the guest leads on the host. */
#ifndef UDOCKER_PATH_H
#define UDOCKER_PATH_H

#include "guest.h"

/* Room for the work; too much for the small stacks that some programs give a thread. */
struct workspace {
    char guest[PATH_SIZE]; /* the canonical guest path so far; at the end the whole one */
    char rest[2 * PATH_SIZE];
    char link[PATH_SIZE];
    char host[PATH_SIZE]; /* the answer */
    char kept[PATH_SIZE]; /* the callers': the first of two answers */
};

enum last { KEEP, FOLLOW }; /* a symbolic link as the last part of the path */

/*
 * Resolve path, relative to dirfd unless absolute, as the kernel would inside the guest. The answer
 * is in space->host: an absolute host path of which no part is a symbolic link but, with KEEP, the
 * last. What it names may not exist. Gives 0 or -errno.
 */
long path_resolve(const struct guest *guest, long dirfd, const char *path, enum last last,
                  struct workspace *space);

/* The guest path of the directory that dirfd, or AT_FDCWD, stands for, in space->guest. Its size.
 */
long path_of_directory(const struct guest *guest, long dirfd, struct workspace *space);

/*
 * Copy a string of the guest to text. -EFAULT when it is not there, -ENAMETOOLONG when it has not
 * ended after PATH_SIZE bytes, else its length.
 */
long path_copy(char *text, const char *guest_text);

/* Whether size bytes at address can be read. */
bool memory_is_there(const void *address, size_t size);

#endif
