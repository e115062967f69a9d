/* The calls of the table that have a function of their own. */
#ifndef UDOCKER_OWN_H
#define UDOCKER_OWN_H

#include "calls.h"

long own_carry_out(struct process *process, const struct call *call, uint64_t *mask);

/* From calls.c: whether host is the link to this process's program in /proc. */
bool own_program(const char *host);

/* From calls.c: whether what was resolved last lies on a read-only mount. */
bool on_readonly_mount(const struct process *process, const struct workspace *space);

/* From own_mappings.c: mmap(2) of a file, executable, or of its patched copy. */
long map_file(const struct guest *guest, const long *argument);

/* From own_mappings.c, own_signals.c, own_sockets.c, own_identity.c and own_owner.c. */
long own_map_call(struct process *process, const struct call *call);
long own_identity_call(struct process *process, const struct call *call);
long own_owner_call(struct process *process, const struct call *call, struct workspace *space);
long own_signal_call(struct process *process, const struct call *call, uint64_t *mask);
long own_socket_call(struct process *process, const struct call *call, struct workspace *space);

#endif
