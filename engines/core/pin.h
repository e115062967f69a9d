/*
 * A place of the host is held while a call changes it. Between resolving a path and the call
 * another thread may put a symbolic link into that path; the kernel would follow it on the host.
 */
#ifndef UDOCKER_PIN_H
#define UDOCKER_PIN_H

#include "base.h"

enum pinned {
    THE_FILE, /* what is at the path, a link itself: calls that follow links get there */
    THE_NAME, /* the last part in its directory: for calls that do not follow it */
    THE_ROOT, /* of a mount, which is no link; the directory above is not the container's */
};

/*
 * host becomes another path of the same place, good until pin_end. A descriptor, -1 when there was
 * none to be had and host is the same, or another -errno: that it has a link in it is -ELOOP.
 */
long pin(char *host, enum pinned pinned);
void pin_end(long descriptor);

/*
 * open(2) of what is to be changed, until pin_end: of a host path, no link but the last, which
 * O_NOFOLLOW keeps; or as openat(2) has it. What other threads close or open meanwhile, the number
 * is not another file's.
 */
long pin_open(const char *host, long flags);
long pin_open_at(long dirfd, const char *path, long flags);

/* The call, of which host is an argument, the name of what it makes or moves. */
long pass_held(const struct call *call, char *host);

/* -ELOOP when a directory above is a symbolic link; else 0. */
long pin_check(char *host);

/* openat2(2) of one, with no link to be followed but a descriptor that it may begin with: deep.h.
 */
long open_resolved_how(const char *host, const struct open_how *how);

/* openat(2) of a host path that has no link but the last, which O_NOFOLLOW keeps. */
long open_resolved_host(const char *host, long flags, long mode);

#endif
