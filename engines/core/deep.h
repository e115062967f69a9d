/*
 * Directories whose host path is longer than a path may be: a program gets there by relative
 * paths, and the kernel tells no path of them. They are reached by descriptors.
 */
#ifndef UDOCKER_DEEP_H
#define UDOCKER_DEEP_H

#include "path.h"

/* Beside 0 and -errno: the walk is to go on from *dirfd, with the path in space->rest. */
enum { WALK_ON = 1 };

/*
 * Resolve a relative path for which the walk said -ENAMETOOLONG. In the answer space->host begins
 * with a descriptor, which is held until the workspace is given back, and space->guest is only
 * something in the same mount: is_deep. Where a union has two layers, it stays -ENAMETOOLONG.
 */
long deep_resolve(const struct guest *guest, long *dirfd, const char *path, enum last last,
                  struct workspace *space);

/*
 * As path_of_directory, but of a deep directory it is only some path in the same mount: 1 and more.
 * Such a one lies in no union of two layers.
 */
long deep_mount_path(const struct guest *guest, long dirfd, struct workspace *space);

#endif
