/* The seccomp filter: which calls of a guest stop, and which are refused at once. */
#include "bpf.h"
#include "engine.h"
#include "guest_filter.h"
#include "table.h"

/* prctl(2), <linux/sched.h> */
enum {
    MOST = 2048,
    PROT_EXEC = 4,
    SO_PEERCRED = 17,
    NETLINK_AUDIT = 9,
    EPROTONOSUPPORT = 93,
    PR_GET_KEEPCAPS = 7,
    PR_SET_KEEPCAPS = 8,
    PR_GET_SECCOMP = 21,
    PR_SET_SECCOMP = 22,
    PR_CAPBSET_READ = 23,
    PR_CAPBSET_DROP = 24,
    PR_GET_SECUREBITS = 27,
    PR_SET_SECUREBITS = 28,
    PR_SET_NO_NEW_PRIVS = 38,
    PR_GET_NO_NEW_PRIVS = 39,
    PR_CAP_AMBIENT = 47,
    ENOTTY = 25,
    PR_SET_SYSCALL_USER_DISPATCH = 59,
    CLONE_VM = 0x100,
    CLONE_FS = 0x200,
    CLONE_VFORK = 0x4000,
    CLONE_THREAD = 0x10000,
    CLONE_NEW = 0x7e020000, /* namespaces of its own, of any kind that clone(2) makes */
};

/*
 * Calls that stop only with certain arguments, and pass with others: most of them are about
 * something else, and a null pointer names nothing.
 */
enum test { IF_SET, IF_EQUAL, IF_NOT_NULL, IF_APART };

struct condition {
    long number;
    int argument;
    enum test test;
    uint32_t value;
    uint32_t answer;
};

static const struct condition conditions[] = {
    {NR_mmap, 2, IF_SET, PROT_EXEC, TRAP},     /* code may have to come from another file */
    {NR_ioctl, 1, IF_EQUAL, 0x40086602, TRAP}, /* see call_ioctl */
    {NR_ioctl, 1, IF_EQUAL, 0x401c5820, TRAP},
    {NR_ioctl, 1, IF_EQUAL, 0x40087602, TRAP},
    {NR_ioctl, 1, IF_EQUAL, 0x40806685, TRAP},
    /* Of btrfs: what names subvolumes or devices knows no union, and no read-only volume. */
    {NR_ioctl, 1, IF_EQUAL, 0x50009401, ERROR(ENOTTY)}, /* SNAP_CREATE */
    {NR_ioctl, 1, IF_EQUAL, 0x50009403, ERROR(ENOTTY)}, /* RESIZE */
    {NR_ioctl, 1, IF_EQUAL, 0x50009404, ERROR(ENOTTY)}, /* SCAN_DEV */
    {NR_ioctl, 1, IF_EQUAL, 0x50009405, ERROR(ENOTTY)}, /* FORGET_DEV */
    {NR_ioctl, 1, IF_EQUAL, 0x5000940a, ERROR(ENOTTY)}, /* ADD_DEV */
    {NR_ioctl, 1, IF_EQUAL, 0x5000940b, ERROR(ENOTTY)}, /* RM_DEV */
    {NR_ioctl, 1, IF_EQUAL, 0x5000940e, ERROR(ENOTTY)}, /* SUBVOL_CREATE */
    {NR_ioctl, 1, IF_EQUAL, 0x5000940f, ERROR(ENOTTY)}, /* SNAP_DESTROY */
    {NR_ioctl, 1, IF_EQUAL, 0x50009417, ERROR(ENOTTY)}, /* SNAP_CREATE_V2 */
    {NR_ioctl, 1, IF_EQUAL, 0x50009418, ERROR(ENOTTY)}, /* SUBVOL_CREATE_V2 */
    {NR_ioctl, 1, IF_EQUAL, 0x90009427, ERROR(ENOTTY)}, /* DEVICES_READY */
    {NR_ioctl, 1, IF_EQUAL, 0xca289435, ERROR(ENOTTY)}, /* DEV_REPLACE */
    {NR_ioctl, 1, IF_EQUAL, 0x5000943a, ERROR(ENOTTY)}, /* RM_DEV_V2 */
    {NR_ioctl, 1, IF_EQUAL, 0x5000943f, ERROR(ENOTTY)}, /* SNAP_DESTROY_V2 */
    {NR_clone, 0, IF_SET, CLONE_NEW, ERROR(EPERM)},
    {NR_clone, 0, IF_APART, 0, TRAP}, /* see make_apart */
    /* Who is root sends audit records, and takes it ill when that is refused: there is no audit. */
    {NR_socket, 2, IF_EQUAL, NETLINK_AUDIT, ERROR(EPROTONOSUPPORT)},
    {NR_sendto, 4, IF_NOT_NULL, 0, TRAP},
    {NR_recvfrom, 4, IF_NOT_NULL, 0, TRAP},
    {NR_accept, 1, IF_NOT_NULL, 0, TRAP},
    {NR_accept4, 1, IF_NOT_NULL, 0, TRAP},
    {NR_getsockopt, 2, IF_EQUAL, SO_PEERCRED, TRAP},
    {NR_ppoll, 3, IF_NOT_NULL, 0, TRAP},
    {NR_pselect6, 5, IF_NOT_NULL, 0, TRAP},
    {NR_epoll_pwait, 4, IF_NOT_NULL, 0, TRAP},
    {NR_epoll_pwait2, 4, IF_NOT_NULL, 0, TRAP},
    {NR_prctl, 0, IF_EQUAL, PR_GET_SECCOMP, TRAP},
    {NR_prctl, 0, IF_EQUAL, PR_SET_SECCOMP, TRAP},
    {NR_prctl, 0, IF_EQUAL, PR_SET_NO_NEW_PRIVS, TRAP},
    {NR_prctl, 0, IF_EQUAL, PR_GET_NO_NEW_PRIVS, TRAP},
    {NR_prctl, 0, IF_EQUAL, PR_GET_KEEPCAPS, TRAP},
    {NR_prctl, 0, IF_EQUAL, PR_SET_KEEPCAPS, TRAP},
    {NR_prctl, 0, IF_EQUAL, PR_CAPBSET_READ, TRAP},
    {NR_prctl, 0, IF_EQUAL, PR_CAPBSET_DROP, TRAP},
    {NR_prctl, 0, IF_EQUAL, PR_GET_SECUREBITS, TRAP},
    {NR_prctl, 0, IF_EQUAL, PR_SET_SECUREBITS, TRAP},
    {NR_prctl, 0, IF_EQUAL, PR_CAP_AMBIENT, TRAP},
    /* It would stop the engine's calls; kernels before 5.11 have none. */
    {NR_prctl, 0, IF_EQUAL, PR_SET_SYSCALL_USER_DISPATCH, ERROR(EINVAL)},
};

enum { CONDITIONS = sizeof conditions / sizeof conditions[0], CONDITIONAL = 1 };

struct writer {
    const struct guest *guest;
    struct instruction out[MOST];
    size_t size;
    long begins[NR_COUNT + 1]; /* of ranges of numbers that have the same answer */
    size_t range_count;
};

static void put(struct writer *writer, uint16_t code, uint8_t if_true, uint8_t if_false,
                uint32_t operand) {
    if (writer->size < MOST) {
        writer->out[writer->size] = (struct instruction){code, if_true, if_false, operand};
    }
    writer->size++;
}

/* Calls that stop for the sake of a union only. */
static bool lists(long number) {
#ifdef ARCH_HAS_LEGACY
    if (number == NR_getdents) {
        return true;
    }
#endif
    return number == NR_getdents64;
}

/* What the engine sees only because SIGSYS is its own, and debuggers must not see its traps. */
static bool is_about_traps(long number) {
    static const long numbers[] = {
        NR_rt_sigaction, NR_rt_sigprocmask, NR_rt_sigsuspend, NR_rt_sigpending, NR_rt_sigtimedwait,
        NR_ppoll,        NR_pselect6,       NR_epoll_pwait,   NR_epoll_pwait2,  NR_wait4,
    };
    for (size_t index = 0; index < sizeof numbers / sizeof numbers[0]; index++) {
        if (numbers[index] == number) {
            return true;
        }
    }
    return false;
}

/* Where a tracer stops calls; CONDITIONAL: as elsewhere. */
static uint64_t traced_answer(const struct guest *guest, long number) {
    if (is_about_traps(number)) {
        return ALLOW;
    }
    if (number == NR_sigaltstack) {
        return STOP_TRACED; /* the tracer must know that stack */
    }
    if (number == NR_ptrace) {
        return ERROR(EPERM); /* who is traced already */
    }
    bool has_filters = guest->tracing == TRACING_SOME;
    return number == NR_seccomp && !has_filters ? ERROR(ENOSYS) : CONDITIONAL;
}

static uint32_t stop_of(const struct guest *guest) {
    return guest->tracing == TRACING_NONE ? TRAP : STOP_TRACED;
}

/* What the filter says to a number; CONDITIONAL and the number when its arguments count. */
static uint64_t answer(const struct guest *guest, long number) {
    uint64_t traced = guest->tracing == TRACING_NONE ? CONDITIONAL : traced_answer(guest, number);
    if (traced != CONDITIONAL) {
        return traced;
    }
    for (size_t index = 0; index < CONDITIONS; index++) {
        if (conditions[index].number == number) {
            return (uint64_t)number << 32 | CONDITIONAL;
        }
    }
    if (!guest->has_union && lists(number)) {
        return ALLOW;
    }
    const struct row *row = table_row(number);
    if (row == NULL) {
        return ERROR(ENOSYS);
    }
    switch ((enum kind)row->kind) {
    case FREE_CALL:
        return ALLOW;
    case REFUSED:
        return ERROR(row->error);
    default:
        return stop_of(guest);
    }
}

/*
 * Whether a clone(2) parts the memory from the working directory, and has not been here before. As
 * vfork(2) it may do so, and threads have both, new processes none. To the next instruction, or to
 * the one behind it.
 */
static void put_apart(struct writer *writer, uint32_t place) {
    put(writer, LOAD, 0, 0, place + 4);
    put(writer, JUMP_EQUAL, 0, 7, 0);
    put(writer, LOAD, 0, 0, place);
    put(writer, JUMP_IF_SET, 0, 3, CLONE_VM);
    put(writer, JUMP_IF_SET, 4, 0, CLONE_VFORK);
    put(writer, JUMP_IF_SET, 0, 2, CLONE_FS);
    put(writer, JUMP_IF_SET, 2, 1, CLONE_THREAD);
    put(writer, JUMP_IF_SET, 0, 1, CLONE_FS);
}

static uint32_t answer_of(const struct guest *guest, const struct condition *condition) {
    bool restricts = condition->number == NR_prctl && condition->value == PR_SET_SECCOMP;
    if (restricts && guest->tracing == TRACING_ALL) {
        return ERROR(EINVAL); /* a call that is carried out here would pass it by */
    }
    return condition->answer == TRAP ? stop_of(guest) : condition->answer;
}

static void put_condition(struct writer *writer, const struct condition *condition) {
    uint32_t answered = answer_of(writer->guest, condition);
    uint32_t place = OF_ARGUMENTS + 8 * (uint32_t)condition->argument;
    put(writer, LOAD, 0, 0, place);
    if (condition->test == IF_NOT_NULL) {
        put(writer, JUMP_EQUAL, 1, 0, 0);
        put(writer, RETURN, 0, 0, answered);
        put(writer, LOAD, 0, 0, place + 4);
        put(writer, JUMP_EQUAL, 1, 0, 0);
    } else if (condition->test == IF_APART) {
        put_apart(writer, place);
    } else {
        uint16_t test = condition->test == IF_SET ? JUMP_IF_SET : JUMP_EQUAL;
        put(writer, test, 0, 1, condition->value);
    }
    put(writer, RETURN, 0, 0, answered);
}

static void put_answer(struct writer *writer, long number) {
    uint64_t answered = answer(writer->guest, number);
    if ((uint32_t)answered != CONDITIONAL) {
        put(writer, RETURN, 0, 0, (uint32_t)answered);
        return;
    }
    for (size_t index = 0; index < CONDITIONS; index++) {
        if (conditions[index].number == number) {
            put_condition(writer, &conditions[index]);
        }
    }
    put(writer, RETURN, 0, 0, ALLOW);
}

/* The ranges from first to before last, by halves. */
static void put_ranges(struct writer *writer, size_t first, size_t last) {
    if (last - first == 1) {
        put_answer(writer, writer->begins[first]);
        return;
    }
    size_t middle = (first + last) / 2;
    put(writer, JUMP_AT_LEAST, 0, 1, (uint32_t)writer->begins[middle]);
    size_t jump = writer->size;
    put(writer, JUMP, 0, 0, 0);
    put_ranges(writer, first, middle);
    if (jump < MOST) {
        writer->out[jump].operand = (uint32_t)(writer->size - jump - 1);
    }
    put_ranges(writer, middle, last);
}

/* From NR_COUNT on is what is newer than the table, and what x32 has. */
static void find_ranges(struct writer *writer) {
    for (long number = 0; number <= NR_COUNT; number++) {
        if (number == 0 || answer(writer->guest, number) != answer(writer->guest, number - 1)) {
            writer->begins[writer->range_count++] = number;
        }
    }
}

/* Calls from the engine's own text pass, whatever they are; of what is probed none is made. */
static void put_own(struct writer *writer) {
    uintptr_t begin = (uintptr_t)engine_text_begin;
    uintptr_t end = (uintptr_t)engine_text_end;
    put(writer, LOAD, 0, 0, OF_POINTER_HIGH);
    put(writer, JUMP_EQUAL, 0, 6, (uint32_t)(begin >> 32));
    put(writer, LOAD, 0, 0, OF_POINTER_LOW);
    put(writer, JUMP_AT_LEAST, 0, 4, (uint32_t)begin);
    put(writer, JUMP_AT_LEAST, 1, 0, (uint32_t)end);
    put(writer, RETURN, 0, 0, ALLOW);
    put(writer, JUMP_AT_LEAST, 1, 0, (uint32_t)(uintptr_t)engine_probe_end);
    put(writer, RETURN, 0, 0, ERROR(PROBE_ALLOWED));
}

const struct program *filter_make(const struct guest *guest) {
    static struct writer writer;
    static struct program program;
    writer.guest = guest;
    put(&writer, LOAD, 0, 0, OF_ARCHITECTURE);
    put(&writer, JUMP_EQUAL, 1, 0, (uint32_t)ARCH_AUDIT);
    put(&writer, RETURN, 0, 0, ERROR(ENOSYS)); /* 32-bit calls have other numbers */
    put_own(&writer);
    put(&writer, LOAD, 0, 0, OF_NUMBER);
    find_ranges(&writer);
    put_ranges(&writer, 0, writer.range_count);
    program = (struct program){(uint16_t)writer.size, writer.out};
    return writer.size > MOST ? NULL : &program;
}

long filter_install(const struct guest *guest) {
    const struct program *program = filter_make(guest);
    if (program == NULL) {
        return -E2BIG;
    }
    long result = kernel(NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
    if (result == 0) {
        result = kernel(NR_seccomp, SET_MODE_FILTER, 0, (long)program, 0, 0, 0);
    }
    return result;
}
