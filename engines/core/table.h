/* The table of system calls. */
#ifndef UDOCKER_TABLE_H
#define UDOCKER_TABLE_H

#include "base.h"

enum kind {
    UNKNOWN,
    FREE_CALL,
    REFUSED,
    ONE_PATH,
    TWO_PATHS,
    ON_DESCRIPTOR, /* about what a descriptor is open on */
    OWN_FUNCTION,
};

enum rule {
    RULE_KEEP, /* as of enum last */
    RULE_FOLLOW,
    RULE_ENTRY,
    RULE_AT_KEEP,    /* AT_SYMLINK_NOFOLLOW tells */
    RULE_AT_FOLLOW,  /* AT_SYMLINK_FOLLOW tells */
    RULE_WATCH_KEEP, /* IN_DONT_FOLLOW tells */
};

/* What is done to the place that a path names: on a read-only mount, and where one is mounted. */
enum access {
    READ,
    CHANGE, /* what is there, or there is nothing to do it to */
    CREATE,
    REMOVE,
};

enum { NONE = -1 };

struct row {
    unsigned char kind;
    unsigned char last;   /* enum rule */
    unsigned char access; /* enum access */
    signed char dirfd;    /* positions of arguments, or NONE */
    signed char path;
    signed char dirfd2;
    signed char path2;
    signed char flags;
    short error; /* of REFUSED */
};

/* The row of a number; NULL when there is none: the call is to be refused with ENOSYS. */
const struct row *table_row(long number);

/* The name of a number, for messages and tests; NULL when there is none. */
const char *table_name(long number);

#endif
