/* capabilities(7), as they are of who the guest believes to be. They move nothing on the host. */
#include "own.h"

enum {
    VERSION_1 = 0x19980330,
    VERSION_2 = 0x20071026,
    VERSION_3 = 0x20080522,
    PR_GET_KEEPCAPS = 7,
    PR_SET_KEEPCAPS = 8,
    PR_CAPBSET_READ = 23,
    PR_CAPBSET_DROP = 24,
    PR_GET_SECUREBITS = 27,
    PR_SET_SECUREBITS = 28,
    PR_CAP_AMBIENT = 47,
    AMBIENT_IS_SET = 1,
    AMBIENT_RAISE = 2,
    AMBIENT_LOWER = 3,
    AMBIENT_CLEAR_ALL = 4,
    NO_ROOT = 1,
    NO_FIXUP = 1 << 2,
    KEEP_CAPS = 1 << 4,
    NO_AMBIENT_RAISE = 1 << 6,
    SECURE_BITS = 0xff,
    COUNT = 41,
};

static const uint64_t ALL = ((uint64_t)1 << COUNT) - 1;

/* capget(2) */
struct header {
    uint32_t version;
    int32_t pid;
};

struct sets {
    uint32_t effective, permitted, inheritable;
};

void capabilities_begin(struct capabilities *capabilities) {
    *capabilities = (struct capabilities){.bounding = ALL};
}

void capabilities_of_program(struct persona *persona) {
    struct capabilities *have = &persona->capabilities;
    bool is_root =
        !(have->secure & NO_ROOT) && (persona->user.effective == 0 || persona->user.real == 0);
    have->secure &= ~(unsigned)KEEP_CAPS;
    have->permitted = is_root ? have->inheritable | have->bounding : have->ambient;
    have->effective = is_root && persona->user.effective != 0 ? 0 : have->permitted;
}

static bool is_any_root(const struct identity *user) {
    return user->real == 0 || user->effective == 0 || user->saved == 0;
}

void capabilities_follow(struct persona *persona, const struct identity *before) {
    struct capabilities *have = &persona->capabilities;
    const struct identity *user = &persona->user;
    if (have->secure & NO_FIXUP) {
        return;
    }
    if (is_any_root(before) && !is_any_root(user)) {
        have->ambient = 0;
        if (!(have->secure & KEEP_CAPS)) {
            have->permitted = have->effective = 0;
        }
    }
    if (before->effective == 0 && user->effective != 0) {
        have->effective = 0;
    }
    if (before->effective != 0 && user->effective == 0) {
        have->effective = have->permitted;
    }
}

static void put(struct sets *sets, const struct capabilities *have, int shift) {
    *sets =
        (struct sets){(uint32_t)(have->effective >> shift), (uint32_t)(have->permitted >> shift),
                      (uint32_t)(have->inheritable >> shift)};
}

/* The kernel sees to what is wrong with the question; the answer is another one. */
static long get(struct process *process, const struct call *call) {
    const struct header *header = (const struct header *)call->argument[0];
    struct sets *sets = (struct sets *)call->argument[1];
    long result = pass(call);
    if (result == 0 && sets != NULL) {
        const struct capabilities *have = &persona_of(process)->capabilities;
        put(&sets[0], have, 0);
        if (header->version != VERSION_1) {
            put(&sets[1], have, 32);
        }
    }
    return result;
}

static uint64_t joined(uint32_t low, uint32_t high) {
    return low | (uint64_t)high << 32;
}

static long set(struct process *process, const struct call *call) {
    struct header *header = (struct header *)call->argument[0];
    const struct sets *given = (const struct sets *)call->argument[1];
    if (!memory_is_there(header, sizeof *header)) {
        return -EFAULT;
    }
    bool is_short = header->version == VERSION_1;
    if (!is_short && header->version != VERSION_2 && header->version != VERSION_3) {
        return pass(call); /* the kernel tells the version that it has */
    }
    if (header->pid != 0 && !((long)header->pid == kernel(NR_getpid, 0, 0, 0, 0, 0, 0))) {
        return -EPERM;
    }
    if (!memory_is_there(given, (is_short ? 1 : 2) * sizeof *given)) {
        return -EFAULT;
    }
    struct sets high = is_short ? (struct sets){0} : given[1];
    uint64_t effective = joined(given->effective, high.effective) & ALL;
    uint64_t permitted = joined(given->permitted, high.permitted) & ALL;
    uint64_t inheritable = joined(given->inheritable, high.inheritable) & ALL;
    struct capabilities *have = &persona_to_change(process)->capabilities;
    bool may_all = have->effective >> CAP_SETPCAP & 1;
    if (permitted & ~have->permitted || effective & ~permitted ||
        inheritable & ~(have->inheritable | have->bounding) ||
        (!may_all && inheritable & ~(have->inheritable | have->permitted))) {
        return -EPERM;
    }
    have->effective = effective;
    have->permitted = permitted;
    have->inheritable = inheritable;
    have->ambient &= permitted & inheritable;
    return 0;
}

long own_capability_call(struct process *process, const struct call *call) {
    return call->number == NR_capget ? get(process, call) : set(process, call);
}

static long ambient(struct capabilities *have, long what, uint64_t bit) {
    switch (what) {
    case AMBIENT_CLEAR_ALL:
        have->ambient = 0;
        return 0;
    case AMBIENT_IS_SET:
        return (have->ambient & bit) != 0;
    case AMBIENT_LOWER:
        have->ambient &= ~bit;
        return 0;
    case AMBIENT_RAISE:
        if (!(have->permitted & have->inheritable & bit) || have->secure & NO_AMBIENT_RAISE) {
            return -EPERM;
        }
        have->ambient |= bit;
        return 0;
    default:
        return -EINVAL;
    }
}

static long set_secure(struct capabilities *have, bool may, unsigned bits) {
    if (!may || bits & ~(unsigned)SECURE_BITS) {
        return -EPERM;
    }
    have->secure = bits;
    return 0;
}

static long with_bit(struct capabilities *have, const long *a) {
    long which = a[0] == PR_CAP_AMBIENT ? a[2] : a[1];
    bool needs_none = a[0] == PR_CAP_AMBIENT && a[1] == AMBIENT_CLEAR_ALL;
    if (!needs_none && (which < 0 || which >= COUNT)) {
        return -EINVAL;
    }
    uint64_t bit = needs_none ? 0 : (uint64_t)1 << which;
    if (a[0] == PR_CAP_AMBIENT) {
        return ambient(have, a[1], bit);
    }
    if (a[0] == PR_CAPBSET_READ) {
        return (have->bounding & bit) != 0;
    }
    if (!(have->effective >> CAP_SETPCAP & 1)) {
        return -EPERM;
    }
    have->bounding &= ~bit;
    return 0;
}

long own_capability_prctl(struct process *process, const struct call *call) {
    const long *a = call->argument;
    struct capabilities *have = &persona_to_change(process)->capabilities;
    switch ((int)a[0]) {
    case PR_GET_KEEPCAPS:
        return (have->secure & KEEP_CAPS) != 0;
    case PR_SET_KEEPCAPS:
        if ((unsigned long)a[1] > 1) {
            return -EINVAL;
        }
        have->secure = a[1] ? have->secure | KEEP_CAPS : have->secure & ~(unsigned)KEEP_CAPS;
        return 0;
    case PR_GET_SECUREBITS:
        return have->secure;
    case PR_SET_SECUREBITS:
        return set_secure(have, have->effective >> CAP_SETPCAP & 1, (unsigned)a[1]);
    case PR_CAPBSET_READ:
    case PR_CAPBSET_DROP:
    case PR_CAP_AMBIENT:
        return with_bit(have, a);
    default:
        return -ENOSYS;
    }
}
