/*
 * The program that the kernel starts in place of every program of the guest:
 *
 *   engine start DESCRIPTION PROGRAM ARGUMENT...    the first one: installs the filter
 *   engine "exec N..." DESCRIPTION PROGRAM ARGUMENT...    after an execve(2) of the guest
 *
 * The first one enters the guest's directory and executes PROGRAM, which may be a script. The
 * others read the guest's description, take SIGSYS, map PROGRAM and its interpreter, and jump.
 */
#include "engine.h"

enum {
    AUX_END = 0, /* getauxval(3) */
    AUX_HEADERS = 3,
    AUX_HEADER_COUNT = 5,
    AUX_BASE = 7,
    AUX_ENTRY = 9,
    AUX_UID = 11,
    AUX_EUID = 12,
    AUX_GID = 13,
    AUX_EGID = 14,
    AUX_FILE_NAME = 31,
    OWN_WORDS = 4,
    PR_SET_NAME = 15,
    PR_SET_MM = 35,
    PR_SET_MM_MAP = 14,
    PROT_READ = 1,
    PROT_ALL = 7,
    PROT_GROWSDOWN = 0x01000000,
    PAGE = 4096,
    MAP_PRIVATE = 2,
    SIG_IGN = 1,
};

static struct engine engine;
static struct image image;
static struct image interpreter;
static struct passed_on passed;
static char executable[PATH_SIZE];

/* The description, mapped: its strings are used where they are. */
static void read_description(const char *path) {
    long descriptor = kernel(NR_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (descriptor < 0) {
        give_up(FAILED, "open", path, descriptor);
    }
    long size = kernel(NR_lseek, descriptor, 0, 2 /* SEEK_END */, 0, 0, 0);
    long address = kernel(NR_mmap, 0, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    if (failed(address) ||
        !guest_read(&engine.process.guest, (const char *)address, (size_t)size)) {
        give_up(FAILED, "read", path, failed(address) ? address : -EINVAL);
    }
}

/* Open a file of the guest; its canonical guest path goes to name unless that is NULL. */
static long open_program(const char *path, char *name) {
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return -ENOMEM;
    }
    long result = path_resolve(&engine.process.guest, AT_FDCWD, path, FOLLOW, space);
    if (result == 0) {
        result = kernel(NR_openat, AT_FDCWD, (long)space->host, O_RDONLY | O_CLOEXEC, 0, 0, 0);
        if (name != NULL) {
            copy_bytes(name, space->guest, length_of(space->guest) + 1);
        }
    }
    workspace_give_back(space);
    return result;
}

static void map(const char *path, long descriptor, struct image *target) {
    if (descriptor < 0) {
        give_up(failure_of(descriptor), "open", path, descriptor);
    }
    long result = image_map(&engine.process.guest, descriptor, target);
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    if (result < 0) {
        give_up(NOT_EXECUTABLE, "load", path, result);
    }
}

static void map_program(const char *path) {
    if (passed.descriptor >= 0) {
        copy_bytes(executable, path, length_of(path) + 1);
        map(path, passed.descriptor, &image);
    } else {
        map(path, open_program(path, executable), &image);
    }
    if (image.interpreter[0] != '\0') {
        map(image.interpreter, open_program(image.interpreter, NULL), &interpreter);
    }
}

static void set_name(void) {
    const char *name = passed.name;
    for (const char *byte = name; *byte != '\0'; byte++) {
        name = *byte == '/' ? byte + 1 : name;
    }
    kernel(NR_prctl, PR_SET_NAME, (long)name, 0, 0, 0, 0);
}

static unsigned long auxiliary(unsigned long key, unsigned long value) {
    switch (key) {
    case AUX_HEADERS:
        return image.headers;
    case AUX_HEADER_COUNT:
        return image.header_count;
    case AUX_BASE:
        return image.interpreter[0] != '\0' ? interpreter.bias : 0;
    case AUX_ENTRY:
        return image.entry;
    case AUX_UID:
        return passed.user.real;
    case AUX_EUID:
        return passed.user.effective;
    case AUX_GID:
        return passed.group.real;
    case AUX_EGID:
        return passed.group.effective;
    case AUX_FILE_NAME:
        return (unsigned long)passed.name;
    default:
        return value;
    }
}

/* struct prctl_mm_map of <linux/prctl.h> */
struct memory_map {
    uint64_t code_begin, code_end, data_begin, data_end, brk_begin, brk, stack;
    uint64_t arguments_begin, arguments_end, environment_begin, environment_end;
    const unsigned long *auxiliary;
    uint32_t auxiliary_size;
    int32_t program;
};

static uint64_t end_of(char *const *words, size_t count, uint64_t otherwise) {
    return count == 0 ? otherwise : (uint64_t)(words[count - 1] + length_of(words[count - 1]) + 1);
}

/*
 * Tell the kernel what /proc/PID/cmdline and its neighbours are to show. Some kernels refuse, and
 * those before 5.3 want data to lie before the heap: it is the guest that they show wrong then.
 */
static void show_guest(char *const *words, size_t count, const unsigned long *vector, size_t size) {
    char *const *environment = words + count + 1;
    size_t variables = 0;
    while (environment[variables] != NULL) {
        variables++;
    }
    uint64_t brk = (uint64_t)kernel(NR_brk, 0, 0, 0, 0, 0, 0);
    struct memory_map map = {
        .code_begin = image.code_begin,
        .code_end = image.code_end,
        .data_begin = image.data_begin,
        .data_end = image.data_end,
        .brk_begin = brk,
        .brk = brk,
        .stack = (uint64_t)words,
        .arguments_begin = (uint64_t)words[OWN_WORDS],
        .arguments_end = end_of(words, count, 0),
        .auxiliary = vector,
        .auxiliary_size = (uint32_t)size,
        .program = -1,
    };
    map.environment_begin = variables == 0 ? map.arguments_end : (uint64_t)environment[0];
    map.environment_end = end_of(environment, variables, map.arguments_end);
    if (kernel(NR_prctl, PR_SET_MM, PR_SET_MM_MAP, (long)&map, sizeof map, 0, 0) == -EINVAL) {
        map.data_begin = map.data_end = (uint64_t)engine_text_end;
        kernel(NR_prctl, PR_SET_MM, PR_SET_MM_MAP, (long)&map, sizeof map, 0, 0);
    }
}

static void set_up_stack(char **words, size_t count) {
    unsigned long *vector = (unsigned long *)(words + count + 1);
    while (*vector != 0) {
        vector++;
    }
    unsigned long *pair = ++vector;
    for (; pair[0] != AUX_END; pair += 2) {
        pair[1] = auxiliary(pair[0], pair[1]);
    }
    show_guest(words, count, vector, (size_t)((char *)(pair + 2) - (char *)vector));
    if (image.wants_executable_stack) {
        long page = (long)words & ~(long)(PAGE - 1);
        kernel(NR_mprotect, page, PAGE, PROT_ALL | PROT_GROWSDOWN, 0, 0, 0);
    }
}

/*
 * Take the engine's own words off the stack that the kernel made: argc, argv, NULL, envp, NULL, the
 * auxiliary vector. There is an even number of them, so the stack stays aligned.
 */
static unsigned long *without_own_words(unsigned long *stack) {
    _Static_assert(OWN_WORDS % 2 == 0, "the stack pointer must stay a multiple of 16");
    unsigned long count = stack[0] - OWN_WORDS;
    stack += OWN_WORDS;
    stack[0] = count;
    return stack;
}

/* The first program: the filter, the directory, and then as the guest itself would execute it. */
static _Noreturn void enter_guest(char **words, size_t count) {
    struct process *process = &engine.process;
    unsigned uid = process->guest.uid;
    unsigned gid = process->guest.gid;
    process->user = (struct identity){uid, uid, uid, uid};
    process->group = (struct identity){gid, gid, gid, gid};
    close_outside(&process->guest);
    long result = filter_install(&process->guest);
    if (result < 0) {
        give_up(FAILED, "install", "the seccomp filter", result);
    }
    struct call enter = {NR_chdir, {(long)process->guest.directory}};
    result = calls_carry_out(process, &enter, NULL);
    if (result < 0) {
        give_up(FAILED, "enter", process->guest.directory, result);
    }
    char **environment = words + count + 1;
    result = execute(process, AT_FDCWD, words[3], words + OWN_WORDS, environment, 0);
    give_up(failure_of(result), "execute", words[3], result);
}

/* Everything until the jump: gives the stack pointer, and where to jump to in *entry. */
unsigned long *engine_begin(unsigned long *stack, uintptr_t *entry);

unsigned long *engine_begin(unsigned long *stack, uintptr_t *entry) {
    char **words = (char **)(stack + 1);
    if (stack[0] <= OWN_WORDS) {
        give_up(FAILED, "start", "without a program", -EINVAL);
    }
    engine.program = words[0];
    engine.description = words[2];
    engine.process.guest.executable = executable;
    engine.process.execute = execute;
    read_description(words[2]);
    long result = trap_install(&engine);
    if (result < 0) {
        give_up(FAILED, "take", "SIGSYS", result);
    }
    if (same_text(words[1], "start")) {
        enter_guest(words, stack[0]);
    }
    passed_on_read(&passed, words[1]);
    engine.process.user = passed.user;
    engine.process.group = passed.group;
    engine.process.sigsys.handler = passed.ignores_sigsys ? SIG_IGN : 0;
    map_program(words[3]);
    set_name();
    set_up_stack(words, stack[0]);
    *entry = image.interpreter[0] != '\0' ? interpreter.entry : image.entry;
    return without_own_words(stack);
}
