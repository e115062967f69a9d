/* What is mounted, as a guest sees it: proc_pid_mountinfo(5) and its older forms. */
#ifndef UDOCKER_PROC_MOUNTS_H
#define UDOCKER_PROC_MOUNTS_H

#include "guest.h"
#include "text.h"

/* Write the file of that name ("mountinfo", "mounts", "mountstats"), from the host's mountinfo. */
void proc_mounts(const struct guest *guest, struct text *out, const struct text *host,
                 const char *name);

#endif
