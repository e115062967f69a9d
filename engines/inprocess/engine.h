/* The in-process engine: a filter that stops the calls of the guest, and a handler for them. */
#ifndef UDOCKER_ENGINE_H
#define UDOCKER_ENGINE_H

#include "calls.h"

/* From the linker script. */
extern const char engine_text_begin[];
extern const char engine_text_end[];

struct engine {
    struct process process;
    const char *program;     /* host path of the engine */
    const char *description; /* host path of the guest's description */
};

/* The one of this process: neither a signal handler nor a patched place is given it. */
extern struct engine *the_engine;

/* Install the filter: from then on, and in every descendant, calls of the guest are trapped. */
long filter_install(void);

/* Take SIGSYS. To be done after every exec: the filter stays, the handler does not. */
long trap_install(struct engine *engine);

/* execve(2) and execveat(2) of the guest. Comes back with -errno only. */
long execute(struct process *process, long dirfd, const char *path, char *const *arguments,
             char *const *environment, long flags);

/* Take over who the guest was before execve(2): what execute writes as the engine's first word. */
void identity_read(struct process *process, const char *text);

/* A program in memory. */
struct image {
    uintptr_t bias; /* added to its addresses */
    uintptr_t entry;
    uintptr_t headers; /* its program headers */
    size_t header_count;
    char interpreter[PATH_SIZE]; /* guest path; empty when there is none */
};

/* Map the program that descriptor is open on. 0 or -errno. */
long image_map(const struct guest *guest, long descriptor, struct image *image);

/* End, with a message, what cannot go on. */
_Noreturn void give_up(const char *what, const char *on, long error);

#endif
