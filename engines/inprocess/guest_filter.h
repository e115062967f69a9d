/*
 * Filters that the guest installs for itself. The kernel has them, and they stop the calls that the
 * guest makes; those that the engine makes they let pass. Of a call that the engine's own filter
 * has stopped the kernel did not ask them, or did not tell: it is asked by making the call once
 * more, from a place where the engine's filter refuses every call with an error of its own.
 */
#ifndef UDOCKER_GUEST_FILTER_H
#define UDOCKER_GUEST_FILTER_H

#include "calls.h"

enum {
    PROBE_ALLOWED = 4093, /* errors that no call has: the guest's filters let it pass, */
    PROBE_TRAPPED = 4094, /* or SIGSYS is to tell the guest */
    STRICT = 0x7374,      /* what a SIGSYS says, of a call that strict mode does not allow */
};

/* As seccomp(2) with SET_MODE_FILTER; program 0 is strict mode. */
long guest_filter_install(long flags, long program);

/* What the guest's filters say to a call: -PROBE_ALLOWED, -PROBE_TRAPPED, or its result. */
long guest_filter_probe(const struct process *process, const struct call *call);

/* Whether a call that SIGSYS stopped was a probe. */
bool guest_filter_is_probe(uintptr_t place);

/* Of the architecture: the call, from the place of probes. */
long probe_call(const struct call *call);

#endif
