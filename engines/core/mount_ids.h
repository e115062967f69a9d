/*
 * The number of a mount, as mountinfo, statx(2), name_to_handle_at(2) and fdinfo tell it. The guest
 * may have one mount of the host at several places, and other mounts below each.
 */
#ifndef UDOCKER_MOUNT_IDS_H
#define UDOCKER_MOUNT_IDS_H

#include "path.h"

/* Of what mount shows of a mount of the host: unlike any other pair's. */
static inline unsigned long mount_pair(const struct guest *guest, const struct mount *mount,
                                       unsigned long host_id) {
    return host_id * MAX_MOUNTS + (unsigned long)(mount - guest->mounts);
}

/* The number that the guest knows, of a file on the host's mount host_id; mount may be NULL. */
unsigned long mount_shown(const struct guest *guest, const struct mount *mount,
                          unsigned long host_id);

/* Where what a link of /proc leads to is mounted; NULL: nowhere. */
const struct mount *mount_of_link(const struct guest *guest, const char *link);
const struct mount *mount_of_descriptor(const struct guest *guest, long descriptor);

/* After name_to_handle_at(2) of that mount, NULL: not known yet. */
long mount_of_handle(const struct guest *guest, const struct call *call, const struct mount *mount);

#endif
