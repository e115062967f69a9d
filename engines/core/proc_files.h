/* Files of /proc that name files of the host: a guest reads a translation. */
#ifndef UDOCKER_PROC_FILES_H
#define UDOCKER_PROC_FILES_H

#include "guest.h"

/*
 * Whether the last part of a path, which begins there and is of that size, may be the name of such
 * a file. The parts above are no links: a number is one below fdinfo only, or below what the path
 * does not name.
 */
bool proc_may_be_file(const char *path, size_t begin, size_t size);

/*
 * Open the file of /proc at a host path for a guest that reads it, flags as of open(2). -ENOSYS
 * when it is none to be translated.
 */
long proc_open(const struct guest *guest, const char *host, long flags);

/* The host path of the program that pid runs, in path (PATH_SIZE bytes); its size, or -errno. */
long proc_program(const struct guest *guest, unsigned long pid, char *path);

#endif
