/* The work directory of a union: its lock, and paths that are nobody's. */
#ifndef UDOCKER_UNION_WORK_H
#define UDOCKER_UNION_WORK_H

#include "union.h"

/* From union_lock.c. */

/*
 * Keep others, threads and processes, from changing the union; moves_folders: what a directory is
 * may change meanwhile. No signal handler runs until the end.
 */
struct union_lock {
    long descriptor;
    uint64_t signals;
    bool moves_folders;
};

long union_lock(const struct guest *guest, struct union_lock *lock, bool moves_folders);
void union_unlock(const struct guest *guest, struct union_lock *lock);

/* From union_work.c. */

/*
 * A path where nothing is: for the kernel to say so, after what else it has to say of a call. There
 * may be a whiteout at the one in the upper directory. Its size, or -ENOENT.
 */
long union_nowhere(const struct guest *guest, char *host);

/* A path in the work directory that nobody else has, in host. Its size, or -errno. */
long union_temporary(const struct guest *guest, char *host);

#endif
