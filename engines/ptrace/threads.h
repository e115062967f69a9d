/* What the tracer knows of each thread. */
#ifndef UDOCKER_THREADS_H
#define UDOCKER_THREADS_H

#include "base.h"

/* stack_t of sigaltstack(2) */
struct signal_stack {
    uintptr_t base;
    int flags;
    int padding;
    size_t size;
};

struct thread {
    int id;                  /* 0: nobody */
    bool is_new;             /* has not run yet: its parent has not told of it */
    bool is_waiting;         /* is_new, and has stopped */
    bool is_told;            /* its parent has told of it, and it has not stopped yet */
    bool is_in_call;         /* between the stop before a call and the one behind it */
    bool changes_stack;      /* that call is sigaltstack(2), and asked is what it wants */
    struct signal_stack own; /* what it has set; size 0: none */
    struct signal_stack asked;
};

struct threads {
    struct thread *all; /* at the place that the number says, or behind it */
    size_t room;        /* a power of two */
    size_t used;
};

/* The thread of that number, made if it is not there. NULL: there is no memory. */
struct thread *threads_get(struct threads *threads, int id);

/* NULL: it is not there. */
struct thread *threads_find(const struct threads *threads, int id);

void threads_remove(struct threads *threads, int id);

#endif
