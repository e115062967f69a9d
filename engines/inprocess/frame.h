/* The frame of a trap, where the guest is to find its own: on the stack that was interrupted. */
#ifndef UDOCKER_FRAME_H
#define UDOCKER_FRAME_H

#include "engine.h"

struct context;

/* A handler of the guest's that is to run: with these signals blocked. */
struct handler {
    uintptr_t address;
    int signal;
    const void *info; /* SIGNAL_INFO_SIZE bytes */
    uint64_t mask;
};

/*
 * Traps are taken on the alternative stack that the guest has given for handlers which ask for it:
 * it may be small, and the next trap begins there from its top again. When the trap of context was,
 * and the guest was not on that stack, what the kernel has put there is copied to where the kernel
 * would have put it for a handler that does not ask, and that handler begins when the trap ends.
 * False: this stack is the handler's, it is to be called.
 */
bool frame_move(struct context *context, const struct handler *handler);

#endif
