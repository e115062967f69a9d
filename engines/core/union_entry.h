/* Changes of entries of the host, as a union makes them; all of host paths that are held. */
#ifndef UDOCKER_UNION_ENTRY_H
#define UDOCKER_UNION_ENTRY_H

#include "base.h"

/* Whiteouts are as those of overlayfs. 0 or -errno. */
long make_whiteout(const char *host);
long rename_host(const char *from, const char *to, long flags);
void remove_host(const char *host, bool is_directory);

/* Whether a file system, or the kernel, does not know what was asked for. */
bool is_refused(long result);

/* A directory at from takes the place of the whiteout at to, which then is gone. 0 or -errno. */
long over_whiteout(const char *from, const char *to);

#endif
