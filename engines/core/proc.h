/* What of /proc is not the same for a guest: links and files that name files of the host. */
#ifndef UDOCKER_PROC_H
#define UDOCKER_PROC_H

#include "path.h"

/* The links that are more than their text: proc_pid_exe(5) and its neighbours. */
enum proc_link {
    NOT_MAGIC,
    LINK_TO_PROGRAM,
    LINK_TO_ROOT,
    LINK_TO_DIRECTORY,
    LINK_TO_OPEN,  /* of fd */
    LINK_TO_OTHER, /* of ns and map_files: to what is no file of the guest's */
};

/*
 * The part of a host path behind /proc/PID/ or /proc/PID/task/TID/; NULL when it is none of these.
 * *pid is the process.
 */
const char *proc_entry(const char *host, unsigned long *pid);

enum proc_link proc_link(const char *host, unsigned long *pid);

/* Whether pid is this process. */
bool proc_is_own(unsigned long pid);

/*
 * Where the link at host, whose text of that size is in text (PATH_SIZE bytes), leads in the guest:
 * its path comes in place of the text. The size of that, or -errno.
 */
long proc_target(const struct guest *guest, const char *host, char *text, size_t size);

#endif
