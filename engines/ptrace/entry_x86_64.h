/* Where the tracer sends a thread that has stopped before a call. */
#ifndef UDOCKER_ENTRY_H
#define UDOCKER_ENTRY_H

/*
 * To be entered with the number of the call in rax and its arguments where they were, the place
 * behind it in rcx, the stack pointer in r11, and rsp on a stack for the engine, a multiple of 16.
 * All registers come back but rcx and r11, which the call would have changed, and rax.
 */
extern const char traced_entry[];

#endif
