/* Whose a process is, to the guest. */
#ifndef UDOCKER_PROC_OWNER_H
#define UDOCKER_PROC_OWNER_H

#include "calls.h"
#include "text.h"

/*
 * The user and group that a process told, or else those that the nearest of its parents told.
 * False: none did, and it is as the guest's first process.
 */
bool proc_owner(const struct guest *guest, unsigned long pid, unsigned *uid, unsigned *gid);

/* The number of the process that a guest path is about; 0: none. */
unsigned long proc_of_path(const struct guest *guest, const char *path);

/* The line of the caller's own /proc/PID/status, without its end, if it is one of these. */
bool proc_add_own(struct text *out, const struct persona *persona, const char *line);

#endif
