/* Guests for the tests. */
#ifndef GUESTS_H
#define GUESTS_H

#include "harness.h"

#include "guest.h"
#include "path.h"

/*
 * Read a description made of these words, until NULL; "@" in front of one becomes the scratch
 * directory and a slash.
 */
bool describe(struct guest *guest, const char *const *words);

#define GUEST(guest, ...) describe(guest, (const char *const[]){__VA_ARGS__, NULL})

/*
 * Where a path leads: the host path, without the scratch directory and a slash where it begins so,
 * or a minus and the name of the error. Good until the next call.
 */
const char *leads(const struct guest *guest, long dirfd, const char *path, enum last last);

/* The same with limits as of openat2(2). */
const char *leads_within(const struct guest *guest, long dirfd, const char *path, enum last last,
                         uint64_t limits);

/* The same of a result. */
const char *told(long result, const char *host);

/* openat2(2), once more when something else was renamed meanwhile. A descriptor, or -errno. */
int open_within(int directory, const char *path, const struct open_how *how);

/* Of the last call. */
extern struct workspace last_space;

#endif
