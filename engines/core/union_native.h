/*
 * Paths of several parts below directories that the lower one has no say in: the kernel may look
 * them up by itself while it is known that no part but the last is a link.
 *
 * Only rmdir(2) and rename(2) put something else in the place of a directory. Each of them is
 * registered in what the processes of the container share, and ends all that is known of such
 * paths, before it begins. While one is going on nothing is learned.
 */
#ifndef UDOCKER_UNION_NATIVE_H
#define UDOCKER_UNION_NATIVE_H

#include "union.h"

/* Around each rmdir(2) and rename(2), wherever it is. */
struct removal {
    uint32_t *place; /* NULL: there was none left, or nothing is shared */
    bool is_counted;
};

void removal_begin(const struct guest *guest, struct removal *removal);
void removal_end(const struct guest *guest, const struct removal *removal);

/*
 * After execve(2): owner is the process that this memory belongs to. When processes come to share
 * the directory without the memory, or threads to have several. Around each chdir(2) and fchdir(2).
 */
void working_directory_begin(int owner);
void working_directory_is_shared(void);
void working_directory_moves(void);
void working_directory_moved(void);

/* Which directory a descriptor, or AT_FDCWD, is open on. False: none. */
struct identity_of_file {
    uint64_t device, inode;
};
bool union_identify(long dirfd, struct identity_of_file *file);

/* A question about a path and, as long as nothing was changed, its answer. */
struct native {
    uint64_t generation, moves, fact;
    bool is_absolute, can_be_known;
};

/*
 * Whether it is known that the first size bytes of a path, up to its last name, lead into the upper
 * directory without links, from the root or from the working directory.
 */
bool native_begin(const struct guest *guest, const char *path, size_t size, bool is_absolute,
                  struct native *native);

/* Whether what was known still holds: what was looked up meanwhile is the guest's. */
bool native_holds(const struct guest *guest, const struct native *native);

/* Before it is looked up whether there are links; and when there were none. */
bool native_may_learn(const struct guest *guest, const struct native *native);
void native_learn(const struct guest *guest, const struct native *native);

#endif
