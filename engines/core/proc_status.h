/* /proc/PID/status: who a process is, as the guest has it, and without the engine's filter. */
#ifndef UDOCKER_PROC_STATUS_H
#define UDOCKER_PROC_STATUS_H

#include "calls.h"

/* As proc_open of proc_files.h. */
long proc_status_open(struct process *process, const char *host, long flags);

#endif
