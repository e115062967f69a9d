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
    AUX_FILE_NAME = 31,
    OWN_WORDS = 4,
    PR_SET_NAME = 15,
    PROT_READ = 1,
    MAP_PRIVATE = 2,
    NOT_EXECUTABLE = 126,
    NOT_FOUND = 127,
};

static struct engine engine;
static struct image image;
static struct image interpreter;
static char executable[PATH_SIZE];

_Noreturn void give_up(const char *what, const char *on, long error) {
    char number[24];
    write_number(number, (unsigned long)-error);
    const char *parts[] = {"udocker: cannot ", what, " ", on, ": errno ", number, "\n"};
    for (size_t index = 0; index < sizeof parts / sizeof parts[0]; index++) {
        kernel(NR_write, 2, (long)parts[index], (long)length_of(parts[index]), 0, 0, 0);
    }
    for (;;) {
        kernel(NR_exit_group, error == -ENOENT ? NOT_FOUND : NOT_EXECUTABLE, 0, 0, 0, 0, 0);
    }
}

/* The description, mapped: its strings are used where they are. */
static void read_description(const char *path) {
    long descriptor = kernel(NR_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (descriptor < 0) {
        give_up("open", path, descriptor);
    }
    long size = kernel(NR_lseek, descriptor, 0, 2 /* SEEK_END */, 0, 0, 0);
    long address = kernel(NR_mmap, 0, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    if (failed(address) ||
        !guest_read(&engine.process.guest, (const char *)address, (size_t)size)) {
        give_up("read", path, failed(address) ? address : -EINVAL);
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

static void map(const char *path, struct image *target, char *name) {
    long descriptor = open_program(path, name);
    if (descriptor < 0) {
        give_up("open", path, descriptor);
    }
    long result = image_map(&engine.process.guest, descriptor, target);
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    if (result < 0) {
        give_up("load", path, result);
    }
}

static void set_name(void) {
    const char *name = executable;
    for (const char *byte = executable; *byte != '\0'; byte++) {
        name = *byte == '/' ? byte + 1 : name;
    }
    kernel(NR_prctl, PR_SET_NAME, (long)name, 0, 0, 0, 0);
}

static void set_auxiliary(unsigned long *vector) {
    bool has_interpreter = image.interpreter[0] != '\0';
    for (; vector[0] != AUX_END; vector += 2) {
        switch (vector[0]) {
        case AUX_HEADERS:
            vector[1] = image.headers;
            break;
        case AUX_HEADER_COUNT:
            vector[1] = image.header_count;
            break;
        case AUX_BASE:
            vector[1] = has_interpreter ? interpreter.bias : 0;
            break;
        case AUX_ENTRY:
            vector[1] = image.entry;
            break;
        case AUX_FILE_NAME:
            vector[1] = (unsigned long)executable;
            break;
        default:
            break;
        }
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
    process->user =
        (struct identity){process->guest.uid, process->guest.uid, process->guest.uid, 0};
    process->group =
        (struct identity){process->guest.gid, process->guest.gid, process->guest.gid, 0};
    long result = filter_install();
    if (result < 0) {
        give_up("install", "the seccomp filter", result);
    }
    struct call enter = {NR_chdir, {(long)process->guest.directory}};
    result = calls_carry_out(process, &enter, NULL);
    if (result < 0) {
        give_up("enter", process->guest.directory, result);
    }
    char **environment = words + count + 1;
    result = execute(process, AT_FDCWD, words[3], words + OWN_WORDS, environment, 0);
    give_up("execute", words[3], result);
}

/* Everything until the jump: gives the stack pointer, and where to jump to in *entry. */
unsigned long *engine_begin(unsigned long *stack, uintptr_t *entry);

unsigned long *engine_begin(unsigned long *stack, uintptr_t *entry) {
    char **words = (char **)(stack + 1);
    if (stack[0] <= OWN_WORDS) {
        give_up("start", "without a program", -EINVAL);
    }
    engine.program = words[0];
    engine.description = words[2];
    engine.process.guest.executable = executable;
    engine.process.execute = execute;
    read_description(words[2]);
    long result = trap_install(&engine);
    if (result < 0) {
        give_up("take", "SIGSYS", result);
    }
    if (same_text(words[1], "start")) {
        enter_guest(words, stack[0]);
    }
    identity_read(&engine.process, words[1]);
    map(words[3], &image, executable);
    if (image.interpreter[0] != '\0') {
        map(image.interpreter, &interpreter, NULL);
    }
    set_name();
    unsigned long *vector = (unsigned long *)(words + stack[0] + 1);
    while (*vector != 0) {
        vector++;
    }
    set_auxiliary(vector + 1);
    *entry = image.interpreter[0] != '\0' ? interpreter.entry : image.entry;
    return without_own_words(stack);
}
