/* The in-process engine: a filter that stops the calls of the guest, and a handler for them. */
#ifndef UDOCKER_ENGINE_H
#define UDOCKER_ENGINE_H

#include "calls.h"

/* From the linker script. */
extern const char engine_text_begin[];
extern const char engine_text_end[];
extern const char engine_probe_end[]; /* from the end of the text to there: probe.h */

struct engine {
    struct process *process;
    const char *program;     /* host path of the engine */
    const char *description; /* host path of the guest's description */
    const char *interpreter; /* of the program, as that names it; "" when there is none */
    size_t page;             /* its size, of the auxiliary vector */
};

/* Where the kernel enters, and where the program of the guest is jumped to. */
extern const char _start[];
extern const char enter_program[];

/* The one of this process: neither a signal handler nor a patched place is given it. */
extern struct engine *the_engine;

/* Install the filter: from then on, and in every descendant, calls of the guest stop. */
long filter_install(const struct guest *guest);

/* Its program. NULL: it is too long. */
const struct program *filter_make(const struct guest *guest);

/* What it says of a call that stops in a tracer: with a word that guests' own filters do not say.
 */
enum { TRACED = 0x7564 };
#define STOP_TRACED (TRACE | TRACED)

/* Take SIGSYS. To be done after every exec: the filter stays, the handler does not. */
long trap_install(void);

/* execve(2) and execveat(2) of the guest. Comes back with -errno only. */
long execute(struct process *process, long dirfd, const char *path, char *const *arguments,
             char *const *environment, long flags);

/* Whether the guest path is that of an emulator for programs of another machine. */
bool is_emulator(const char *program);

/* Of restore_*.c: how its handlers end, whatever they have done to the mask. */
extern const char restore_unblocked[];

/*
 * The words of its own that the engine is executed with, before the arguments of the guest: itself,
 * what is passed on, the description, the program, its interpreter or "", and the path that was
 * executed, as it was given. The first time it is only itself, "start", the description and the
 * program. Both are even numbers: the stack must stay a multiple of 16.
 */
enum { OWN_WORDS = 6, START_WORDS = 4 };

/*
 * What an execve(2) hands on besides the program, as one word: "exec", numbers, and the root of the
 * process. descriptor: the program is open there, no path leads to it; or -1.
 */
enum { PASSED_ON_SIZE = PATH_SIZE + 2048 };
void passed_on_write(const struct process *process, const struct persona *persona, long descriptor,
                     char *text);
void passed_on_read(struct process *process, long *descriptor, const char *text);

/* A program in memory. */
struct image {
    uintptr_t bias; /* added to its addresses */
    uintptr_t entry;
    uintptr_t headers; /* its program headers */
    size_t header_count;
    uintptr_t code_begin, code_end;
    uintptr_t data_begin, data_end;
    bool wants_executable_stack;
};

/* Map the program that descriptor is open on. 0 or -errno. */
long image_map(const struct engine *engine, long descriptor, struct image *image);

/* Close directories of the host that were left open: before the guest begins. */
void close_outside(const struct guest *guest);

/* Exit codes: of udocker itself, and what shells use for commands that do not start. */
enum { FAILED = 125, NOT_EXECUTABLE = 126, NOT_FOUND = 127 };

/* The code for a program that cannot be executed. */
int failure_of(long error);

/* End, with a message, what cannot go on. */
_Noreturn void give_up(int code, const char *what, const char *on, long error);

#endif
