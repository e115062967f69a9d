/*
 * The program that the kernel starts in place of every program of the guest:
 *
 *   engine start DESCRIPTION PROGRAM ARGUMENT...    the first one: installs the filter
 *   engine "exec N..." DESCRIPTION PROGRAM INTERPRETER GIVEN ARGUMENT...
 *                                                   after an execve(2) of the guest
 *
 * The first one enters the guest's directory and executes PROGRAM, which may be a script. The
 * others read the guest's description, take SIGSYS, map PROGRAM and its interpreter, and jump.
 */
#include "engine.h"
#include "guest_filter.h"
#include "own.h"
#include "pin.h"
#include "quick.h"
#include "trace.h"
#include "union.h"
#include "union_native.h"
#include "union_shared.h"

enum {
    AUX_END = 0, /* getauxval(3) */
    AUX_HEADERS = 3,
    AUX_HEADER_COUNT = 5,
    AUX_PAGE_SIZE = 6,
    AUX_BASE = 7,
    AUX_ENTRY = 9,
    AUX_UID = 11,
    AUX_EUID = 12,
    AUX_GID = 13,
    AUX_EGID = 14,
    AUX_FILE_NAME = 31,
    PR_SET_NAME = 15,
    PR_SET_MM = 35,
    PR_SET_MM_MAP = 14,
    PROT_READ = 1,
    PROT_ALL = 7,
    PROT_GROWSDOWN = 0x01000000,
    MAP_PRIVATE = 2,
    SMALLEST_PAGE = 4096,
    SIG_UNBLOCK = 1,
};

/* From the linker script: where what the processes of a union share is mapped. */
extern struct shared engine_shared;
_Static_assert(sizeof(struct shared) <= 0x200000, "as there");

static struct process the_process;
static struct engine engine;
static struct image image;
static struct image interpreter;
static long program_descriptor; /* or -1 */
static const char *given;       /* the path that was executed */
static struct words { const char *begin, *end; } description;

static char short_description[2048];

/* The description, read or mapped: its strings are used where they are. */
static void read_description(const char *path, bool is_start) {
    long descriptor = kernel(NR_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (descriptor < 0) {
        give_up(FAILED, "open", path, descriptor);
    }
    long address = (long)short_description;
    long size = kernel(NR_pread64, descriptor, address, sizeof short_description, 0, 0, 0);
    if (size == sizeof short_description) {
        size = kernel(NR_lseek, descriptor, 0, 2 /* SEEK_END */, 0, 0, 0);
        address = kernel(NR_mmap, 0, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    }
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    long result = failed(address) ? address : size;
    if (failed(result) || !guest_read(&the_process.guest, (const char *)address, (size_t)size)) {
        give_up(FAILED, "read", path, failed(result) ? result : -EINVAL);
    }
    description = (struct words){(const char *)address, (const char *)address + size};
    union_attach(&the_process.guest, &engine_shared);
    struct shared *shared = the_process.guest.shared;
    bool has_hints = !is_start && shared != NULL && shared->is_local;
    owners_open_later(&the_process.guest, has_hints ? &shared->owners : NULL);
}

/* Open a file of the guest, whose path may be canonical already. */
static long open_file(const char *path, bool is_canonical) {
    const struct guest *guest = &the_process.guest;
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return -ENOMEM;
    }
    const long flags = O_RDONLY | O_CLOEXEC;
    long result =
        quick_find_lower(guest, path, space) ? open_resolved_host(space->host, flags, 0) : -ELOOP;
    if (result == -ELOOP) {
        space->is_magic = false;
        result = is_canonical && !guest->has_union
                     ? guest_to_host(guest, path, length_of(path), space->host)
                     : path_resolve_within(guest, AT_FDCWD, path, FOLLOW,
                                           is_canonical ? FROM_TOP : 0, space);
        if (result >= 0) {
            result = space->is_magic
                         ? kernel(NR_openat, AT_FDCWD, (long)space->host, flags, 0, 0, 0)
                         : open_resolved_host(space->host, flags, 0);
        }
    }
    workspace_give_back(space);
    return result;
}

static void map(const char *path, long descriptor, struct image *target) {
    if (descriptor < 0) {
        give_up(failure_of(descriptor), "open", path, descriptor);
    }
    long result = image_map(&engine, descriptor, target);
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    if (result < 0) {
        give_up(NOT_EXECUTABLE, "load", path, result);
    }
}

static void map_program(const char *path) {
    map(path, program_descriptor >= 0 ? program_descriptor : open_file(path, true), &image);
    if (engine.interpreter[0] != '\0') {
        map(engine.interpreter, open_file(engine.interpreter, false), &interpreter);
    }
}

/* Without the part that the kernel adds for what no path leads to any more. */
static size_t end_of_name(const char *name) {
    static const char deleted[] = " (deleted)";
    size_t size = length_of(name);
    size_t more = sizeof deleted - 1;
    bool is_deleted = size > more && same_bytes(name + size - more, deleted, more);
    return is_deleted ? size - more : size;
}

/* The last part of what was executed; of what has no path, the name that it has all the same. */
static void set_name(void) {
    char short_name[16]; /* TASK_COMM_LEN */
    const char *name = program_descriptor >= 0 ? the_process.guest.executable : given;
    for (const char *byte = name; *byte != '\0'; byte++) {
        name = *byte == '/' ? byte + 1 : name;
    }
    size_t size = program_descriptor >= 0 ? end_of_name(name) : length_of(name);
    size = size < sizeof short_name ? size : sizeof short_name - 1;
    copy_bytes(short_name, name, size);
    short_name[size] = '\0';
    kernel(NR_prctl, PR_SET_NAME, (long)short_name, 0, 0, 0, 0);
}

static unsigned long auxiliary(unsigned long key, unsigned long value) {
    switch (key) {
    case AUX_HEADERS:
        return image.headers;
    case AUX_HEADER_COUNT:
        return image.header_count;
    case AUX_BASE:
        return engine.interpreter[0] != '\0' ? interpreter.bias : 0;
    case AUX_ENTRY:
        return image.entry;
    case AUX_UID:
        return the_process.persona.user.real;
    case AUX_EUID:
        return the_process.persona.user.effective;
    case AUX_GID:
        return the_process.persona.group.real;
    case AUX_EGID:
        return the_process.persona.group.effective;
    case AUX_FILE_NAME:
        return (unsigned long)given;
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

/* Behind the arguments and the environment. */
static unsigned long *auxiliary_vector(char **words, size_t count) {
    unsigned long *vector = (unsigned long *)(words + count + 1);
    while (*vector != 0) {
        vector++;
    }
    return vector + 1;
}

static size_t page_size(const unsigned long *pair) {
    while (pair[0] != AUX_END && pair[0] != AUX_PAGE_SIZE) {
        pair += 2;
    }
    return pair[0] == AUX_END ? SMALLEST_PAGE : pair[1];
}

static void set_up_stack(char **words, size_t count) {
    unsigned long *vector = auxiliary_vector(words, count);
    unsigned long *pair = vector;
    for (; pair[0] != AUX_END; pair += 2) {
        pair[1] = auxiliary(pair[0], pair[1]);
    }
    show_guest(words, count, vector, (size_t)((char *)(pair + 2) - (char *)vector));
    if (image.wants_executable_stack) {
        long page = (long)words & ~(long)(engine.page - 1);
        kernel(NR_mprotect, page, (long)engine.page, PROT_ALL | PROT_GROWSDOWN, 0, 0, 0);
    }
}

/*
 * Take the engine's own words off the stack that the kernel made: argc, argv, NULL, envp, NULL, the
 * auxiliary vector.
 */
static unsigned long *without_own_words(unsigned long *stack) {
    unsigned long count = stack[0] - OWN_WORDS;
    stack += OWN_WORDS;
    stack[0] = count;
    return stack;
}

/*
 * Tells later what the run made to mount on: POINT of udocker/model/container.py. The descriptor is
 * that of a file, and is closed.
 */
static void mark_point(struct process *below, const char *part, bool is_file, long descriptor) {
    static const char NAME[] = "user.overlay.point";
    if (!is_file) {
        struct call call = {NR_openat,
                            {AT_FDCWD, (long)part, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0}};
        descriptor = calls_carry_out(below, &call, NULL);
    }
    if (descriptor >= 0) { /* where it cannot be marked it is taken for the user's */
        kernel(NR_fsetxattr, descriptor, (long)NAME, (long)part, (long)length_of(part), 0, 0);
        kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    }
}

/*
 * What is to be there, and the directories above it; below what is mounted. "make" is for the
 * user's sake, "point" and "touch" to mount on.
 */
static long make_point(struct process *below, const char *path, const char *word) {
    bool is_file = same_text(word, "touch");
    bool is_marked = !same_text(word, "make");
    static char part[PATH_SIZE];
    size_t size = length_of(path);
    if (size >= PATH_SIZE) {
        return -ENAMETOOLONG;
    }
    copy_bytes(part, path, size + 1);
    for (size_t at = 1; at <= size; at++) {
        if (path[at] != '/' && path[at] != '\0') {
            continue;
        }
        part[at] = '\0';
        bool is_last = at == size;
        struct call call = {NR_mkdirat, {AT_FDCWD, (long)part, 0755}};
        if (is_last && is_file) {
            call = (struct call){
                NR_openat, {AT_FDCWD, (long)part, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644}};
        }
        long result = calls_carry_out(below, &call, NULL);
        if (result < 0 && result != -EEXIST) {
            return result;
        }
        if (result >= 0 && is_marked) {
            mark_point(below, part, call.number == NR_openat, result);
        }
        if (result == 0 && is_last && same_text(path, "/tmp")) {
            call = (struct call){NR_fchmodat, {AT_FDCWD, (long)part, 01777}};
            calls_carry_out(below, &call, NULL);
        }
        part[at] = path[at];
    }
    return 0;
}

/* The union must work here, and have what things are mounted on. */
static void prepare_union(void) {
    static struct process below;
    struct workspace *space = workspace_take();
    long result = space == NULL ? -ENOMEM : union_begin(&the_process.guest, space);
    if (result < 0) {
        give_up(FAILED, "make a union in", the_process.guest.work, result);
    }
    workspace_give_back(space);
    below.guest = the_process.guest;
    guest_uncover(&below.guest);
    for (const char *word = description.begin; word < description.end;) {
        const char *value = word + length_of(word) + 1;
        if (same_text(word, "make") || same_text(word, "point") || same_text(word, "touch")) {
            result = make_point(&below, value, word);
            if (result < 0) {
                give_up(FAILED, "make", value, result);
            }
        }
        bool has_two = same_text(word, "rw") || same_text(word, "ro") || same_text(word, "copy");
        word = value + length_of(value) + 1;
        word += has_two ? length_of(word) + 1 : 0;
    }
    struct shared *shared = the_process.guest.shared;
    if (shared != NULL) {
        owners_make_hints(&the_process.guest, &shared->owners);
        __atomic_fetch_add(&shared->starts, 1, __ATOMIC_RELEASE);
    }
}

/* The first program: the filter, the directory, and then as the guest itself would execute it. */
static _Noreturn void enter_guest(char **words, size_t count) {
    struct process *process = &the_process;
    persona_begin(process);
    if (process->guest.tracing == TRACING_NONE) {
        uint64_t blocked = (uint64_t)1 << (SIGSYS - 1); /* and then it is never again */
        kernel(NR_rt_sigprocmask, SIG_UNBLOCK, (long)&blocked, 0, sizeof blocked, 0, 0);
    }
    close_outside(&process->guest);
    if (process->guest.has_union) {
        prepare_union();
    }
    long result = process->guest.tracing == TRACING_ALL ? 0 : filter_install(&process->guest);
    if (result < 0) {
        give_up(FAILED, "install", "the seccomp filter", result);
    }
    struct call enter = {NR_chdir, {(long)process->guest.directory}};
    result = calls_carry_out(process, &enter, NULL);
    if (result < 0) {
        give_up(FAILED, "enter", process->guest.directory, result);
    }
    char **environment = words + count + 1;
    engine.interpreter = "";
    result = execute(process, AT_FDCWD, words[3], words + START_WORDS, environment, 0);
    give_up(failure_of(result), "execute", words[3], result);
}

/* What the program before this one was. */
static void take_over(const char *text) {
    struct process *process = &the_process;
    struct persona *persona = &process->persona;
    passed_on_read(process, &program_descriptor, text);
    process->restorer = is_emulator(process->guest.executable) ? (uintptr_t)restore_unblocked : 0;
    process->is_changed = persona->user.filesystem != process->guest.uid ||
                          persona->group.filesystem != process->guest.gid;
    tell_peer(process);
    if (persona->root_size > 0) {
        persona_obey_root(process);
    }
}

/* Everything until the jump: gives the stack pointer, and where to jump to in *entry. */
unsigned long *engine_begin(unsigned long *stack, uintptr_t *entry);

unsigned long *engine_begin(unsigned long *stack, uintptr_t *entry) {
    char **words = (char **)(stack + 1);
    bool is_start = stack[0] > START_WORDS && same_text(words[1], "start");
    if (!is_start && stack[0] <= OWN_WORDS) {
        give_up(FAILED, "start", "without a program", -EINVAL);
    }
    engine.page = page_size(auxiliary_vector(words, stack[0]));
    engine.process = &the_process;
    engine.program = words[0];
    engine.description = words[2];
    the_process.guest.executable = words[3];
    the_process.execute = execute;
    the_process.entry = (uintptr_t)_start;
    the_process.leave = (uintptr_t)enter_program;
    the_process.restrict_calls = guest_filter_install;
    read_description(words[2], is_start);
    the_engine = &engine;
    bool is_traced = the_process.guest.tracing != TRACING_NONE;
    long result = is_traced ? 0 : trap_install();
    if (result < 0) {
        give_up(FAILED, "take", "SIGSYS", result);
    }
    if (is_start && is_traced) {
        trace_begin(&the_process.guest);
    }
    if (is_start) {
        enter_guest(words, stack[0]);
    }
    take_over(words[1]);
    the_process.pid = (int)kernel(NR_getpid, 0, 0, 0, 0, 0, 0); /* and no child of vfork(2) */
    working_directory_begin(the_process.pid);
    engine.interpreter = words[4];
    given = words[5];
    map_program(words[3]);
    set_name();
    set_up_stack(words, stack[0]);
    *entry = engine.interpreter[0] != '\0' ? interpreter.entry : image.entry;
    return without_own_words(stack);
}
