/* The calls of the table that have a function of their own. */
#ifndef UDOCKER_OWN_H
#define UDOCKER_OWN_H

#include "calls.h"

long own_carry_out(struct process *process, const struct call *call, uint64_t *mask);

/* From calls.c: 0 when something is at host, whatever it is; else -errno. */
long host_exists(const char *host);

/*
 * From calls.c: whether what was resolved last may be accessed so (enum access of table.h), as far
 * as that is a matter of mounts. 0 or -errno. The same for what a descriptor is open on, which is
 * to be changed.
 */
long may_access(const struct process *process, const struct workspace *space, int access);
long may_change_descriptor(const struct process *process, long descriptor);

/* From own_mappings.c: mmap(2) of a file, executable, or of its patched copy. */
long map_file(const struct guest *guest, const long *argument);

/* Where a link to the patched copy of a file is, if it has one; path: PATH_SIZE bytes. */
bool copy_path(const struct guest *guest, const struct status *status, char *path);

/* From own_open.c and own_links.c. */
long own_open_call(struct process *process, const struct call *call, struct workspace *space);
long own_link_call(struct process *process, const struct call *call, struct workspace *space);

/* From own_mappings.c, own_signals.c, own_identity.c and own_owner.c. */
long own_map_call(struct process *process, const struct call *call);
long own_identity_call(struct process *process, const struct call *call);
long own_owner_call(struct process *process, const struct call *call, struct workspace *space);
long own_signal_call(struct process *process, const struct call *call, uint64_t *mask);

/* From own_trace.c: ptrace(2) and wait4(2); and before the caller is another program. */
long own_trace_call(struct process *process, const struct call *call);
void own_trace_at_exec(struct process *process);

/* From own_sockets.c: what names an address, and what is told one; that may take long. */
long own_send_call(struct process *process, const struct call *call, struct workspace *space);
long own_receive_call(struct process *process, const struct call *call);

#endif
