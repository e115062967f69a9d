/*
 * Shortcuts past the walk: where the kernel can be trusted to stay inside, because there is one
 * name only, or because it is told to follow no links.
 */
#ifndef UDOCKER_QUICK_H
#define UDOCKER_QUICK_H

#include "union.h"

enum { QUICK_LONGEST = 1024 }; /* a longer path is one for the walk */

/* What can be said of a path without looking at a file. */
struct shape {
    bool is_single;         /* one name, or ".", and not that of a mount */
    bool is_simple;         /* no "..", and nothing that may be a mount's */
    bool is_absolute;       /* and then only that no part is "..", "." or empty */
    bool may_be_translated; /* to read it is for proc_open */
    size_t size;
    size_t above; /* of it, all before the last part */
};

/* Read a path of the guest's. False when the walk should see to it: it is not there, or long. */
bool quick_shape(const struct guest *guest, const char *path, struct shape *shape);

/*
 * How the last name of the path is to be looked up: what its directory is. UNKNOWN_FOLDER leaves it
 * to the walk.
 */
enum folder quick_folder(const struct guest *guest, long dirfd, const char *path,
                         const struct shape *shape);

/*
 * The host path in a layer of the union that the path lies in: it is absolute, or a single name in
 * a merged directory. Its size, or -errno.
 */
long quick_path(const struct guest *guest, long dirfd, const char *path, const struct shape *shape,
                enum layer layer, char *host);

/*
 * The same path without links that are known, in out, PATH_SIZE bytes: of the root directory, and
 * at its end. False: there are none, and out may be changed.
 */
bool quick_past_links(const struct guest *guest, const char *path, char *out);

/*
 * An absolute path in a directory of which the lower one alone has something, as path_resolve gives
 * it; but at its end there may be a link. False: that is for the walk.
 */
bool quick_find_lower(const struct guest *guest, const char *path, struct workspace *space);

/*
 * Open path following no links. -ELOOP when there are some; -ENOSYS when the kernel cannot, or the
 * path is none of which this can be told. host is room for a path, PATH_SIZE bytes.
 */
long quick_open(const struct guest *guest, long dirfd, const char *path, const struct shape *shape,
                long flags, long mode, char *host);

#endif
