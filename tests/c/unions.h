/* A union and its model, a plain directory: operations on both, and what is to be seen of them. */
#ifndef UNIONS_H
#define UNIONS_H

#include "guests.h"

#include "calls.h"

enum { LISTING = 1 << 16, AT_FD = AT_FDCWD, OPERATIONS = 24 };
enum { LINK_OPERATION = 10, OPEN_OPERATION = 17 };

extern struct process one;   /* the union */
extern struct process other; /* the model */

/* A call of the guest's; and the number of the last one that failed. */
extern long failed_call;
long on(struct process *process, long number, long a, long b, long c, long d, long e);

/* All that can be seen of a directory and what is below, as one text. */
struct report {
    char *bytes;
    size_t size;
    struct process *process;
};

extern bool with_times;        /* reports have them */
extern bool parents_are_known; /* all that was copied up in the union has been noted */
extern struct report left, right;

void fill(struct report *report, struct process *process);

/* Whether both show the same; left and right tell what. */
bool is_same(void);

/* The names of a directory, sorted; read with so much room at a time. */
size_t names_of(struct process *process, const char *path, char **names, size_t most, size_t room);

/* A file is opened with these flags, something is written to it if that may be, and closed. */
long write_file(struct process *process, const char *path, long flags, unsigned number);

/* One of the operations, chosen by a number below OPERATIONS. */
long operate(struct process *process, unsigned what, const char *path, const char *to,
             unsigned number);

/* What an operation is called. */
const char *operation_name(unsigned what);

bool is_lookup_error(long result);

#endif
