/* The guest's memory, of which nothing is known: a bad pointer is an error and no crash. */
#ifndef UDOCKER_MEMORY_H
#define UDOCKER_MEMORY_H

#include "base.h"

/* Whether size bytes at address can be read. */
bool memory_is_there(const void *address, size_t size);

/*
 * Whether a path can be read at address, and on to the end of its page. Pages that have once been
 * readable are believed to be: who unmaps one and still passes a path there gets no EFAULT, but the
 * fault. To ask the kernel each time would cost a quarter of a stat(2).
 */
bool page_is_there(const char *address);

/* Whether size bytes at address can be written. They stay as they are. */
bool memory_is_writable(void *address, size_t size);

/*
 * Copy a string of the guest to text. -EFAULT when it is not there, -ENAMETOOLONG when it has not
 * ended after PATH_SIZE bytes, else its length.
 */
long path_copy(char *text, const char *guest_text);

/* Whether the text at guest_text is there and empty. */
bool path_is_empty(const char *guest_text);

#endif
