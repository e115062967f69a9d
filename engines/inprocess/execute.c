#include "engine.h"

enum {
    X_OK = 1,
    HEAD = 256, /* BINPRM_BUF_SIZE of <linux/binfmts.h> */
    MAX_SCRIPTS = 5,
    ON_STACK = 1024, /* arguments; more go to memory of their own */
    OWN_WORDS = 4,   /* the engine, "exec", the description, the program */
    SCRIPT_WORDS = 2 * MAX_SCRIPTS + 2,
    PROT_READ_WRITE = 3,
    MAP_PRIVATE_ANONYMOUS = 0x22,
    IDENTITY_COUNT = 6,
    IDENTITY_SIZE = 5 + IDENTITY_COUNT * 24,
};

/* The program that is to run, after the scripts in front of it. */
struct target {
    char heads[MAX_SCRIPTS][HEAD + 1];
    const char *words[SCRIPT_WORDS]; /* what stands in place of argv[0] */
    size_t word_count;
    const char *path; /* of the ELF file, for the guest */
    long dirfd;
};

/* A path below a descriptor, which may close at the exec, or below /proc/self becomes absolute. */
static long keep_path(struct process *process, struct target *target,
                      const struct workspace *space) {
    bool is_relative = (int)target->dirfd != AT_FDCWD && target->path[0] != '/';
    if (!is_relative && !same_bytes(target->path, "/proc/", 6)) {
        return 0;
    }
    target->dirfd = AT_FDCWD;
    if (same_text(space->guest, process->guest.executable)) {
        target->path = process->guest.executable;
        return 0;
    }
    long address = kernel(NR_mmap, 0, PATH_SIZE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (failed(address)) {
        return address;
    }
    copy_bytes((char *)address, space->guest, length_of(space->guest) + 1);
    target->path = (const char *)address;
    return 0;
}

/*
 * The first bytes of an executable file; -errno if it is none. The new process finds the program by
 * its path: where that would mean something else to it, target gets another one.
 */
static long read_head(struct process *process, struct target *target, enum last last, char *head) {
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return -ENOMEM;
    }
    long result = calls_resolve(process, target->dirfd, target->path, last, space);
    if (result == 0) {
        result = keep_path(process, target, space);
    }
    if (result == 0) {
        result = kernel(NR_faccessat, AT_FDCWD, (long)space->host, X_OK, 0, 0, 0);
    }
    if (result == 0) {
        result = kernel(NR_openat, AT_FDCWD, (long)space->host, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    }
    workspace_give_back(space);
    if (result < 0) {
        return result;
    }
    long descriptor = result;
    result = kernel(NR_pread64, descriptor, (long)head, HEAD, 0, 0, 0);
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    if (result >= 0) {
        head[result] = '\0';
        return result;
    }
    return result == -21 /* EISDIR */ ? -EACCES : result;
}

static bool is_blank(char byte) {
    return byte == ' ' || byte == '\t';
}

/* Split "#! interpreter argument": the interpreter, or NULL; argument is NULL if there is none. */
static char *read_script(char *head, char **argument) {
    char *interpreter = head + 2;
    while (is_blank(*interpreter)) {
        interpreter++;
    }
    char *end = interpreter;
    while (*end != '\0' && *end != '\n' && !is_blank(*end)) {
        end++;
    }
    *argument = NULL;
    if (end == interpreter) {
        return NULL;
    }
    if (is_blank(*end)) {
        char *text = end;
        while (is_blank(*text)) {
            text++;
        }
        char *last = text;
        while (*last != '\0' && *last != '\n') {
            last++;
        }
        while (last > text && is_blank(last[-1])) {
            last--;
        }
        if (last > text) {
            *last = '\0';
            *argument = text;
        }
    }
    *end = '\0';
    return interpreter;
}

/* Put words in front of those that are there. */
static void put_first(struct target *target, const char *word) {
    for (size_t index = target->word_count; index > 0; index--) {
        target->words[index] = target->words[index - 1];
    }
    target->words[0] = word;
    target->word_count++;
}

/* Whether head begins a program of this machine. */
static long check_elf(const char *head, long size) {
    if (size < 20 || !same_bytes(head,
                                 "\x7f"
                                 "ELF",
                                 4)) {
        return -ENOEXEC;
    }
    unsigned machine = (unsigned char)head[18] | (unsigned)(unsigned char)head[19] << 8;
    return head[4] == 2 && machine == ARCH_ELF_MACHINE ? 0 : -ENOEXEC;
}

/* Follow "#!" lines to the program. */
static long find_program(struct process *process, struct target *target, enum last last) {
    for (int depth = 0; depth < MAX_SCRIPTS; depth++) {
        char *head = target->heads[depth];
        long size = read_head(process, target, last, head);
        if (size < 0) {
            return size;
        }
        if (size < 2 || head[0] != '#' || head[1] != '!') {
            return check_elf(head, size);
        }
        char *argument;
        char *interpreter = read_script(head, &argument);
        if (interpreter == NULL) {
            return -ENOEXEC;
        }
        if (target->word_count == 0) {
            put_first(target, target->path);
        } else {
            target->words[0] = target->path;
        }
        if (argument != NULL) {
            put_first(target, argument);
        }
        put_first(target, interpreter);
        target->path = interpreter;
        target->dirfd = AT_FDCWD;
        last = FOLLOW;
    }
    return -ELOOP;
}

static size_t count_of(char *const *words) {
    size_t count = 0;
    while (words != NULL && words[count] != NULL) {
        count++;
    }
    return count;
}

/* "exec" and the six numbers that identity_read takes. */
static void write_identity(const struct process *process, char *text) {
    const unsigned ids[IDENTITY_COUNT] = {
        process->user.real,  process->user.effective,  process->user.saved,
        process->group.real, process->group.effective, process->group.saved,
    };
    copy_bytes(text, "exec", 5);
    size_t used = 4;
    for (size_t index = 0; index < IDENTITY_COUNT; index++) {
        text[used++] = ' ';
        used += write_number(text + used, ids[index]);
    }
}

void identity_read(struct process *process, const char *text) {
    unsigned *const ids[IDENTITY_COUNT] = {
        &process->user.real,  &process->user.effective,  &process->user.saved,
        &process->group.real, &process->group.effective, &process->group.saved,
    };
    text += 4;
    for (size_t index = 0; index < IDENTITY_COUNT && *text == ' '; index++) {
        unsigned number = 0;
        for (text++; *text >= '0' && *text <= '9'; text++) {
            number = number * 10 + (unsigned)(*text - '0');
        }
        *ids[index] = number;
    }
    process->user.filesystem = process->user.effective;
    process->group.filesystem = process->group.effective;
}

static long start(struct engine *engine, const struct target *target, char *const *arguments,
                  size_t count, char *const *environment, const char **room) {
    char identity[IDENTITY_SIZE];
    size_t used = 0;
    write_identity(&engine->process, identity);
    room[used++] = engine->program;
    room[used++] = identity;
    room[used++] = engine->description;
    room[used++] = target->path;
    size_t skipped = 0;
    if (target->word_count > 0) {
        for (size_t index = 0; index < target->word_count; index++) {
            room[used++] = target->words[index];
        }
        skipped = count > 0 ? 1 : 0;
    }
    for (size_t index = skipped; index < count; index++) {
        room[used++] = arguments[index];
    }
    if (count == 0 && target->word_count == 0) {
        room[used++] = ""; /* as Linux does since 5.18 */
    }
    room[used] = NULL;
    return kernel(NR_execve, (long)engine->program, (long)room, (long)environment, 0, 0, 0);
}

static long start_with_room(struct engine *engine, const struct target *target,
                            char *const *arguments, char *const *environment) {
    size_t count = count_of(arguments);
    size_t words = count + OWN_WORDS + SCRIPT_WORDS + 2;
    if (words <= ON_STACK) {
        const char *room[words];
        return start(engine, target, arguments, count, environment, room);
    }
    long address = kernel(NR_mmap, 0, (long)(words * sizeof(char *)), PROT_READ_WRITE,
                          MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (failed(address)) {
        return address;
    }
    long result = start(engine, target, arguments, count, environment, (const char **)address);
    kernel(NR_munmap, address, (long)(words * sizeof(char *)), 0, 0, 0, 0);
    return result;
}

long execute(struct process *process, long dirfd, const char *path, char *const *arguments,
             char *const *environment, long flags) {
    struct engine *engine = (struct engine *)process;
    struct target target = {.path = path, .dirfd = dirfd};
    enum last last = flags & AT_SYMLINK_NOFOLLOW ? KEEP : FOLLOW;
    char descriptor[48];
    if (!memory_is_there(path, 1)) {
        return -EFAULT;
    }
    if (path[0] == '\0' && flags & AT_EMPTY_PATH) {
        /* By descriptor: fexecve(3), memfd_create(2). */
        copy_bytes(descriptor, "/proc/self/fd/", 14);
        write_number(descriptor + 14, (unsigned long)dirfd);
        target.path = descriptor;
        target.dirfd = AT_FDCWD;
    }
    long result = find_program(process, &target, last);
    if (result < 0) {
        return result;
    }
    return start_with_room(engine, &target, arguments, environment);
}
