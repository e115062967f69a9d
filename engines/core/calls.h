/* What a guest's system call becomes on the host. */
#ifndef UDOCKER_CALLS_H
#define UDOCKER_CALLS_H

#include "guest.h"
#include "names.h"
#include "path.h"
#include "sigsys.h"

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

/* capabilities(7); secure are the bits of prctl(PR_SET_SECUREBITS). */
struct capabilities {
    uint64_t effective, permitted, inheritable, bounding, ambient;
    unsigned secure;
};

/* What a process believes to be and to have set, and the kernel does not know. */
struct persona {
    char root[PATH_SIZE]; /* first: what hardly any program needs is not among what each does */
    struct identity user;
    struct identity group;
    unsigned groups[MAX_GROUPS]; /* supplementary ones */
    unsigned group_count;
    struct capabilities capabilities;
    struct action sigsys;
    bool traced_at_exec; /* it has asked for that in a place where it cannot be */
    uint64_t masked;     /* signals whose handlers were to run with SIGSYS blocked */
    size_t root_size;    /* 0: the guest's own root; see chroot(2) */
};

/* A child of vfork(2) has one of its own, though its memory is its parent's. */
struct borrower {
    int pid;
    struct persona persona;
};

enum { BORROWERS = 4, TRACEES = 64 };

/* How another process, which this one traces, was last told to go on: a request of ptrace(2). */
struct tracee {
    int pid, request;
};

/* Once per process, shared by its threads. What every program needs lies close together. */
struct process {
    struct persona persona;
    int pid;                /* whose persona the first one is; 0: not known yet */
    uintptr_t entry, leave; /* the engine's first instruction, and its last before a program */
    uintptr_t restorer;     /* what ends the guest's handlers in place of its own; 0: its own */
    bool has_filter;        /* whether the guest has installed a seccomp filter */
    bool no_new_privs;      /* and that it gains no privileges */
    struct sigsys sigsys;   /* that is blocked, or pending */
    bool is_changed;        /* a persona may not be the first one any more */
    bool has_borrowers;     /* or have had */
    /* A filter of the guest's own, or strict mode where program is 0. */
    long (*restrict_calls)(long flags, long program);
    /* execve(2) as the front does it. path is the guest's, as given. */
    long (*execute)(struct process *process, long dirfd, const char *path, char *const *arguments,
                    char *const *environment, long flags);
    struct guest guest;
    struct borrower borrowers[BORROWERS];
    unsigned next_borrower;
    struct tracee tracees[TRACEES]; /* each at the place that its number says */
    struct names sockets;           /* whose addresses had to be shortened */
};

/*
 * Carry out a call, and give its result. mask: where the signal mask is kept that will be in force
 * when the caller goes on; NULL if that is the present one.
 */
long calls_carry_out(struct process *process, const struct call *call, uint64_t *mask);

/* The persona of the caller: to be read, and to be changed. */
const struct persona *persona_of(struct process *process);
struct persona *persona_to_change(struct process *process);

bool persona_is_in_group(const struct persona *persona, unsigned gid);

/* Whether the caller is a child of vfork(2), with its parent's memory. */
bool persona_is_borrowed(struct process *process);

/* The first program's persona; and what is set at each execve(2). */
void persona_begin(struct process *process);
void capabilities_begin(struct capabilities *capabilities);
void capabilities_of_program(struct persona *persona);

/* After the user has changed. */
void capabilities_follow(struct persona *persona, const struct identity *before);

/* Let paths begin where the persona's root is. */
void persona_obey_root(struct process *process);

/* <linux/capability.h> */
enum { CAP_DAC_OVERRIDE = 1, CAP_SETGID = 6, CAP_SETUID = 7, CAP_SETPCAP = 8, CAP_SYS_CHROOT = 18 };

static inline bool persona_can(const struct persona *persona, int capability) {
    return persona->capabilities.effective >> capability & 1;
}

/* Memory for resolving; to be given back. NULL when there is none. */
struct workspace *workspace_take(void);
void workspace_give_back(struct workspace *space);

/* A descriptor to be closed when the workspace is given back, or two more were held since. */
void workspace_hold(struct workspace *space, long descriptor);
void workspace_let_go(struct workspace *space); /* of all that it holds */

#endif
