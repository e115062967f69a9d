/* The filter's program, run here: where every call stops nobody else does. */
#ifndef UDOCKER_JUDGE_H
#define UDOCKER_JUDGE_H

#include "bpf.h"

/* struct seccomp_data of <linux/seccomp.h> */
struct judged {
    int number;
    unsigned architecture;
    uint64_t place;
    long argument[6];
};

/* What seccomp(2) would do with a call; programs of filter_make() only. */
uint32_t judge(const struct program *program, const struct judged *call);

#endif
