/* What a guest's system call becomes on the host. */
#ifndef UDOCKER_CALLS_H
#define UDOCKER_CALLS_H

#include "guest.h"
#include "names.h"
#include "path.h"

/* struct sigaction of the kernel on 64-bit machines; not that of a libc. */
struct action {
    uintptr_t handler;
    unsigned long flags;
    uintptr_t restorer;
    uint64_t mask;
};

/* credentials(7), as the guest believes them to be: the kernel knows of one user only. */
struct identity {
    unsigned real, effective, saved, filesystem;
};

/* Once per process, shared by its threads. */
struct process {
    struct guest guest;
    struct identity user;
    struct identity group;
    struct action sigsys; /* what the guest believes to have set for SIGSYS */
    bool has_filter;      /* and that it has a seccomp filter */
    bool no_new_privs;    /* and that it gains no privileges */
    struct names sockets; /* whose addresses had to be shortened */
    /* execve(2) as the front does it. path is the guest's, as given. */
    long (*execute)(struct process *process, long dirfd, const char *path, char *const *arguments,
                    char *const *environment, long flags);
};

/*
 * Carry out a call, and give its result. mask: where the signal mask is kept that will be in force
 * when the caller goes on; NULL if that is the present one.
 */
long calls_carry_out(struct process *process, const struct call *call, uint64_t *mask);

/* Memory for resolving; to be given back. NULL when there is none. */
struct workspace *workspace_take(void);
void workspace_give_back(struct workspace *space);

#endif
