#include "calls.h"

enum { KCMP_VM = 1 };

/*
 * The persona that is the caller's already, or NULL: then the memory is that of a parent, which a
 * child of vfork(2) must not change. A child of fork(2) has a copy, and takes that over.
 */
static struct persona *find(struct process *process, int pid) {
    if (process->pid == 0) {
        process->pid = pid;
    }
    if (process->pid == pid) {
        return &process->persona;
    }
    for (size_t index = 0; process->has_borrowers && index < BORROWERS; index++) {
        if (process->borrowers[index].pid == pid) {
            return &process->borrowers[index].persona;
        }
    }
    /* The parent need not have been here since it was made itself. */
    long parent = kernel(NR_getppid, 0, 0, 0, 0, 0, 0);
    if (kernel(NR_kcmp, pid, process->pid, KCMP_VM, 0, 0, 0) == 0 ||
        kernel(NR_kcmp, pid, parent, KCMP_VM, 0, 0, 0) == 0) {
        return NULL;
    }
    process->pid = pid;
    for (size_t index = 0; process->has_borrowers && index < BORROWERS; index++) {
        process->borrowers[index].pid = 0;
    }
    process->has_borrowers = false;
    return &process->persona;
}

const struct persona *persona_of(struct process *process) {
    if (!process->has_borrowers) {
        return &process->persona; /* whoever asks, there is no other */
    }
    const struct persona *found = find(process, (int)kernel(NR_getpid, 0, 0, 0, 0, 0, 0));
    return found == NULL ? &process->persona : found;
}

void persona_begin(struct process *process) {
    const struct guest *guest = &process->guest;
    struct persona *persona = &process->persona;
    persona->user = (struct identity){guest->uid, guest->uid, guest->uid, guest->uid};
    persona->group = (struct identity){guest->gid, guest->gid, guest->gid, guest->gid};
    persona->group_count = guest->group_count;
    for (unsigned index = 0; index < guest->group_count; index++) {
        persona->groups[index] = guest->groups[index];
    }
    capabilities_begin(&persona->capabilities);
    capabilities_of_program(persona);
}

bool persona_is_in_group(const struct persona *persona, unsigned gid) {
    for (unsigned index = 0; index < persona->group_count; index++) {
        if (persona->groups[index] == gid) {
            return true;
        }
    }
    return persona->group.filesystem == gid;
}

/* A guest is part of its process. */
static struct root root_of(struct guest *guest) {
    char *process = (char *)guest - offsetof(struct process, guest);
    const struct persona *persona = persona_of((struct process *)(void *)process);
    return (struct root){persona->root, persona->root_size};
}

void persona_obey_root(struct process *process) {
    process->guest.find_root = root_of;
}

struct persona *persona_to_change(struct process *process) {
    process->is_changed = true;
    int pid = (int)kernel(NR_getpid, 0, 0, 0, 0, 0, 0);
    struct persona *found = find(process, pid);
    if (found != NULL) {
        return found;
    }
    unsigned next = __atomic_fetch_add(&process->next_borrower, 1, __ATOMIC_RELAXED);
    struct borrower *borrower = &process->borrowers[next % BORROWERS];
    borrower->persona = process->persona;
    borrower->pid = pid;
    process->has_borrowers = true;
    return &borrower->persona;
}

bool persona_is_borrowed(struct process *process) {
    return persona_to_change(process) != &process->persona;
}
