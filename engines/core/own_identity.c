/* Who the guest believes to be. The kernel is never asked: to it the user is always the same. */
#include "own.h"

enum { UNCHANGED = -1, MOST_GROUPS = 65536 };

/* Whether an identity of the persona's may be changed to any other. */
static bool may_all(const struct persona *persona, const struct identity *identity) {
    return persona_can(persona, identity == &persona->user ? CAP_SETUID : CAP_SETGID);
}

static bool may_become(const struct persona *persona, const struct identity *identity,
                       unsigned id) {
    return may_all(persona, identity) || id == identity->real || id == identity->effective ||
           id == identity->saved;
}

/* Every change of the effective one, also to what it was, takes that of the file system along. */
static void set_effective(struct identity *identity, int id) {
    if (id != UNCHANGED) {
        identity->effective = (unsigned)id;
    }
    identity->filesystem = identity->effective;
}

/* setuid(2), setgid(2) */
static long set_one(const struct persona *persona, struct identity *identity, int id) {
    if (id == UNCHANGED) {
        return -EINVAL;
    }
    bool is_free = may_all(persona, identity);
    if (!is_free && (unsigned)id != identity->real && (unsigned)id != identity->saved) {
        return -EPERM;
    }
    if (is_free) {
        identity->real = (unsigned)id;
        identity->saved = (unsigned)id;
    }
    set_effective(identity, id);
    return 0;
}

/* setreuid(2), setregid(2) */
static long set_two(const struct persona *persona, struct identity *identity, int real,
                    int effective) {
    bool may_real = real == UNCHANGED || may_all(persona, identity) ||
                    (unsigned)real == identity->real || (unsigned)real == identity->effective;
    if (!may_real ||
        (effective != UNCHANGED && !may_become(persona, identity, (unsigned)effective))) {
        return -EPERM;
    }
    unsigned before = identity->real;
    if (real != UNCHANGED) {
        identity->real = (unsigned)real;
    }
    set_effective(identity, effective);
    if (real != UNCHANGED || (effective != UNCHANGED && (unsigned)effective != before)) {
        identity->saved = identity->effective;
    }
    return 0;
}

/* setresuid(2), setresgid(2) */
static long set_three(const struct persona *persona, struct identity *identity, const long *ids) {
    for (int index = 0; index < 3; index++) {
        if ((int)ids[index] != UNCHANGED && !may_become(persona, identity, (unsigned)ids[index])) {
            return -EPERM;
        }
    }
    if ((int)ids[0] != UNCHANGED) {
        identity->real = (unsigned)ids[0];
    }
    set_effective(identity, (int)ids[1]);
    if ((int)ids[2] != UNCHANGED) {
        identity->saved = (unsigned)ids[2];
    }
    return 0;
}

static long get_three(const struct identity *identity, const long *addresses) {
    for (int index = 0; index < 3; index++) {
        if (!memory_is_writable((void *)addresses[index], sizeof(unsigned))) {
            return -EFAULT;
        }
    }
    *(unsigned *)addresses[0] = identity->real;
    *(unsigned *)addresses[1] = identity->effective;
    *(unsigned *)addresses[2] = identity->saved;
    return 0;
}

/* setfsuid(2), setfsgid(2): the one before is given back, changed or not. */
static long set_filesystem(const struct persona *persona, struct identity *identity, unsigned id) {
    unsigned before = identity->filesystem;
    if (id != (unsigned)UNCHANGED && (may_become(persona, identity, id) || id == before)) {
        identity->filesystem = id;
    }
    return before;
}

static long get_groups(const struct persona *persona, int room, unsigned *groups) {
    int count = (int)persona->group_count;
    if (room != 0 && room < count) {
        return -EINVAL;
    }
    if (room == 0 || count == 0) {
        return count;
    }
    if (!memory_is_writable(groups, (size_t)count * sizeof *groups)) {
        return -EFAULT;
    }
    for (int index = 0; index < count; index++) {
        groups[index] = persona->groups[index];
    }
    return count;
}

/* setgroups(2): of very many there is no room for all. */
static long set_groups(struct persona *persona, unsigned count, const unsigned *groups) {
    if (!persona_can(persona, CAP_SETGID)) {
        return -EPERM;
    }
    if (count > MOST_GROUPS) {
        return -EINVAL;
    }
    if (count > MAX_GROUPS) {
        return -ENOMEM;
    }
    if (!memory_is_there(groups, count * sizeof *groups)) {
        return -EFAULT;
    }
    for (unsigned index = 0; index < count; index++) {
        persona->groups[index] = groups[index];
    }
    persona->group_count = count;
    return 0;
}

static long get_identity(const struct persona *persona, const struct call *call) {
    switch (call->number) {
    case NR_getuid:
        return persona->user.real;
    case NR_geteuid:
        return persona->user.effective;
    case NR_getgid:
        return persona->group.real;
    case NR_getegid:
        return persona->group.effective;
    case NR_getresuid:
        return get_three(&persona->user, call->argument);
    case NR_getresgid:
        return get_three(&persona->group, call->argument);
    default:
        return get_groups(persona, (int)call->argument[0], (unsigned *)call->argument[1]);
    }
}

static long set_user(struct process *process, const struct call *call) {
    struct persona *persona = persona_to_change(process);
    const long *a = call->argument;
    struct identity before = persona->user;
    long result;
    switch (call->number) {
    case NR_setuid:
        result = set_one(persona, &persona->user, (int)a[0]);
        break;
    case NR_setreuid:
        result = set_two(persona, &persona->user, (int)a[0], (int)a[1]);
        break;
    default: /* setresuid */
        result = set_three(persona, &persona->user, a);
    }
    capabilities_follow(persona, &before);
    if (persona->user.effective != before.effective) {
        tell_peer(process);
    }
    return result;
}

long own_identity_call(struct process *process, const struct call *call) {
    const long *a = call->argument;
    struct persona *persona;
    switch (call->number) {
    case NR_setuid:
    case NR_setreuid:
    case NR_setresuid:
        return set_user(process, call);
    case NR_setgid:
        persona = persona_to_change(process);
        return set_one(persona, &persona->group, (int)a[0]);
    case NR_setregid:
        persona = persona_to_change(process);
        return set_two(persona, &persona->group, (int)a[0], (int)a[1]);
    case NR_setresgid:
        persona = persona_to_change(process);
        return set_three(persona, &persona->group, a);
    case NR_setgroups:
        return set_groups(persona_to_change(process), (unsigned)a[0], (const unsigned *)a[1]);
    case NR_setfsuid:
        persona = persona_to_change(process);
        return set_filesystem(persona, &persona->user, (unsigned)a[0]);
    case NR_setfsgid:
        persona = persona_to_change(process);
        return set_filesystem(persona, &persona->group, (unsigned)a[0]);
    default:
        return get_identity(persona_of(process), call);
    }
}
