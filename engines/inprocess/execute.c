/* execve(2): the engine is executed in place of the program, and given that by its path. */
#include "elf.h"
#include "engine.h"
#include "own.h"
#include "pin.h"
#include "quick.h"

enum {
    X_OK = 1,
    HEAD = 1024,       /* what is read of a program: its headers, mostly */
    SCRIPT_HEAD = 256, /* and of a script: BINPRM_BUF_SIZE of <linux/binfmts.h> */
    MAX_SCRIPTS = 5,
    AT_HAND = 1024, /* arguments; more go to memory of their own */
    EMULATOR_WORDS = 3,
    WORDS = 2 * MAX_SCRIPTS + 1 + EMULATOR_WORDS, /* in place of argv[0] */
    SPACES = 4,
    PROT_READ_WRITE = 3,
    MAP_PRIVATE_ANONYMOUS = 0x22,
    KCMP_VM = 1,
    WORD = sizeof(char *),
    NO_DESCRIPTOR = -1,
    F_GETFD = 1,
    F_SETFD = 2,
    FD_CLOEXEC = 1,
    SMALLEST_PAGE = 4096,
};

/*
 * Where a guest has the emulators of other machines, each with the number of its machine behind
 * this: udocker/engine/inprocess.py. They are static programs of this machine.
 */
static const char EMULATOR[] = "/.udocker-qemu-";

/*
 * Room for the work: the stack may be small. A child of vfork(2) leaves it behind in its parent's
 * memory when it succeeds.
 */
struct exec {
    /* The words to execute, at the end of this room: then most programs touch one page from here to
     * the beginning of what is passed on. */
    const char *room[AT_HAND + OWN_WORDS + WORDS + 2];
    int owner;  /* the thread that works here, 0: none */
    long extra; /* memory for many arguments */
    size_t extra_size;
    struct process *process;
    const char *given; /* the path that was executed */
    char *const *arguments;
    size_t word_count;
    long descriptor;     /* open on the ELF file, that no path leads to; or NO_DESCRIPTOR */
    bool closes;         /* the descriptor that was given: no script's interpreter could open it */
    const char *program; /* guest path of the ELF file */
    const char *interpreter; /* that it names */
    struct status status;    /* of the file that was opened last */
    struct elf_header header;
    const struct elf_segment *segments;
    const char *words[WORDS]; /* what stands in place of argv[0] */
    _Alignas(struct elf_segment) char head[HEAD];
    char passed[PASSED_ON_SIZE];
    struct workspace space;
    char kept[PATH_SIZE]; /* the program's path, when the workspace is needed for more */
    char name[PATH_SIZE]; /* a path in place of a descriptor */
    char scripts[MAX_SCRIPTS + 1][SCRIPT_HEAD + 1];
    char other_head[HEAD]; /* of the interpreter */
    char interpreter_room[PATH_SIZE];
    char foreign[PATH_SIZE];            /* the program that the emulator is to run */
    char emulator[sizeof EMULATOR + 8]; /* its guest path */
    struct elf_segment segments_room[ELF_MOST_SEGMENTS];
};

static struct exec spaces[SPACES];

bool is_emulator(const char *program) {
    size_t size = sizeof EMULATOR - 1;
    return length_of(program) > size && same_bytes(program, EMULATOR, size);
}

/* Whether the thread that has worked there does so no more: it has ended, or is another program. */
static bool is_left(int owner, int self) {
    long result = kernel(NR_kcmp, self, owner, KCMP_VM, 0, 0, 0);
    if (result == -ENOSYS || result == -EPERM) {
        result = kernel(NR_kill, owner, 0, 0, 0, 0, 0);
    }
    return result > 0 || result == -ESRCH;
}

static void free_extra(struct exec *exec) {
    if (exec->extra_size > 0) {
        kernel(NR_munmap, exec->extra, (long)exec->extra_size, 0, 0, 0, 0);
        exec->extra_size = 0;
    }
}

static struct exec *exec_take(struct process *process) {
    int self = (int)kernel(NR_gettid, 0, 0, 0, 0, 0, 0);
    struct exec *found = NULL;
    for (size_t index = 0; index < SPACES && found == NULL; index++) {
        struct exec *exec = &spaces[index];
        int owner = __atomic_load_n(&exec->owner, __ATOMIC_RELAXED);
        if ((owner == 0 || is_left(owner, self)) &&
            __atomic_compare_exchange_n(&exec->owner, &owner, self, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED)) {
            found = exec;
            free_extra(exec);
        }
    }
    if (found == NULL) {
        long address =
            kernel(NR_mmap, 0, sizeof *found, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
        if (failed(address)) {
            return NULL;
        }
        found = (struct exec *)address;
    }
    found->process = process;
    found->word_count = 0;
    found->descriptor = NO_DESCRIPTOR;
    found->closes = false;
    return found;
}

static void exec_give_back(struct exec *exec) {
    if (exec->descriptor != NO_DESCRIPTOR) {
        kernel(NR_close, exec->descriptor, 0, 0, 0, 0, 0);
    }
    free_extra(exec);
    workspace_let_go(&exec->space);
    if (exec >= spaces && exec < spaces + SPACES) {
        __atomic_store_n(&exec->owner, 0, __ATOMIC_RELEASE);
    } else {
        kernel(NR_munmap, (long)exec, sizeof *exec, 0, 0, 0, 0);
    }
}

/* The engine of the next program is told a path, and a deep directory has none. */
static long resolve(struct exec *exec, long dirfd, const char *path, enum last last) {
    long result = path_resolve(&exec->process->guest, dirfd, path, last, &exec->space);
    return result == 0 && exec->space.is_deep ? -ENAMETOOLONG : result;
}

/* faccessat(2) by what is open, which takes no walk over a long path; Linux 5.8 can. */
static long may_execute(const struct workspace *space, long descriptor) {
    long result = kernel(NR_faccessat2, descriptor, (long)"", X_OK, AT_EMPTY_PATH, 0, 0);
    return result == -ENOSYS || result == -EPERM
               ? kernel(NR_faccessat, AT_FDCWD, (long)space->host, X_OK, 0, 0, 0)
               : result;
}

/* Open the executable file that was resolved last. */
static long open_executable(struct exec *exec) {
    struct workspace *space = &exec->space;
    bool is_lower = space->layer == LOWER && !space->is_magic; /* no devices are there */
    long result = is_lower ? 0 : kernel(NR_faccessat, AT_FDCWD, (long)space->host, X_OK, 0, 0, 0);
    if (result < 0) {
        return result;
    }
    /* A pipe would wait for its writer. */
    long flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    long descriptor = space->is_magic
                          ? kernel(NR_openat, AT_FDCWD, (long)space->host, flags, 0, 0, 0)
                          : open_resolved_host(space->host, flags, 0);
    if (descriptor < 0) {
        return descriptor == -ENXIO ? -EACCES : descriptor; /* a socket, a device with no driver */
    }
    if (is_lower) {
        result = may_execute(space, descriptor);
    }
    if (result == 0) {
        result = kernel(NR_fstat, descriptor, (long)&exec->status, 0, 0, 0, 0);
    }
    if (result == 0 && (exec->status.mode & S_IFMT) != S_IFREG) {
        result = -EACCES;
    }
    if (result < 0) {
        kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
        return result;
    }
    return descriptor;
}

/* The first bytes of a file. How many, or -errno. */
static long read_head(long descriptor, char *head) {
    return kernel(NR_pread64, descriptor, (long)head, HEAD, 0, 0, 0);
}

/* Whether a file can be loaded, of which the first bytes have been read. */
static long check_headers(struct exec *exec, const struct elf_file *file) {
    long result =
        elf_read(file, &exec->header, &exec->segments, exec->segments_room, ELF_MOST_SEGMENTS);
    if (result < 0) {
        return result;
    }
    return elf_is_whole(&exec->header, exec->segments, exec->status.size, file->page) ? 0
                                                                                      : -ENOEXEC;
}

/*
 * The interpreter must be there now, and be a program: later there is nobody to be told. The one
 * that this process has itself is.
 */
static long check_interpreter(struct exec *exec, const struct elf_file *file) {
    long result = elf_interpreter(file, &exec->header, exec->segments, &exec->interpreter,
                                  exec->interpreter_room);
    if (result < 0 || exec->interpreter[0] == '\0' ||
        same_text(exec->interpreter, the_engine->interpreter)) {
        return result;
    }
    copy_bytes(exec->kept, exec->program, length_of(exec->program) + 1);
    exec->program = exec->kept;
    result = resolve(exec, AT_FDCWD, exec->interpreter, FOLLOW);
    if (result < 0) {
        return result;
    }
    long other = open_executable(exec);
    if (other < 0) {
        return other;
    }
    result = read_head(other, exec->other_head);
    if (result >= 0) {
        const struct elf_file its = {other, exec->other_head, (size_t)result, the_engine->page};
        result = check_headers(exec, &its);
    }
    kernel(NR_close, other, 0, 0, 0, 0, 0);
    return result == -ENOEXEC ? -ELIBBAD : result;
}

/* Where no path leads to it: its path is what the kernel says, though that may lead nowhere. */
static long take_name(struct exec *exec, long descriptor) {
    char *link = exec->space.rest;
    copy_bytes(link, "/proc/self/fd/", 14);
    write_number(link + 14, (unsigned long)descriptor);
    long size = kernel(NR_readlinkat, AT_FDCWD, (long)link, (long)exec->kept, PATH_SIZE - 1, 0, 0);
    if (size < 0) {
        return size;
    }
    exec->kept[size] = '\0';
    guest_from_host(&exec->process->guest, exec->kept, (size_t)size, exec->kept);
    exec->program = exec->kept;
    return 0;
}

/*
 * Whether the file is a program that can be loaded. Its descriptor is handed over only where no
 * path leads to it: until execve(2) a child that another thread forks would keep it.
 */
static long check_program(struct exec *exec, const struct elf_file *file, bool is_magic) {
    long result = check_headers(exec, file);
    if (result == 0) {
        result = check_interpreter(exec, file);
    }
    if (result == 0 && is_magic) {
        result = take_name(exec, file->descriptor);
    }
    if (result == 0 && is_magic) {
        exec->descriptor = file->descriptor;
    } else {
        kernel(NR_close, file->descriptor, 0, 0, 0, 0, 0);
    }
    return result;
}

/* Put a word between those that are there. */
static void put_at(struct exec *exec, size_t place, const char *word) {
    for (size_t index = exec->word_count; index > place; index--) {
        exec->words[index] = exec->words[index - 1];
    }
    exec->words[place] = word;
    exec->word_count++;
}

/* Put words in front of those that are there. */
static void put_first(struct exec *exec, const char *word) {
    put_at(exec, 0, word);
}

/* What a script's interpreter is given for its path. */
static const char *name_of_script(const struct exec *exec, long dirfd, const char *path) {
    bool is_relative = (int)dirfd != AT_FDCWD && path[0] != '/';
    return is_relative ? exec->name : path;
}

static bool is_link(const char *host) {
    char byte;
    return kernel(NR_readlinkat, AT_FDCWD, (long)host, (long)&byte, 1, 0, 0) >= 0;
}

static long resolve_and_open(struct exec *exec, long dirfd, const char *path, enum last last) {
    long result = resolve(exec, dirfd, path, last);
    if (result < 0) {
        return result;
    }
    return last == KEEP && is_link(exec->space.host) ? -ELOOP : open_executable(exec);
}

/* Open the emulator: no chroot(2) of the guest hides it. Its descriptor, or -ENOEXEC: none. */
static long open_emulator(struct exec *exec, unsigned machine) {
    copy_bytes(exec->emulator, EMULATOR, sizeof EMULATOR - 1);
    write_number(exec->emulator + sizeof EMULATOR - 1, machine);
    long result = path_resolve_within(&exec->process->guest, AT_FDCWD, exec->emulator, FOLLOW,
                                      FROM_TOP, &exec->space);
    long descriptor = result == 0 ? open_executable(exec) : result;
    return descriptor == -ENOENT || descriptor == -ENOTDIR ? -ENOEXEC : descriptor;
}

/* As take_name; -ENOEXEC where the name does not lead to the file: qemu would end without a word.
 */
static long take_name_that_leads(struct exec *exec, long descriptor) {
    struct status status = exec->status;
    long result = take_name(exec, descriptor);
    long found = result < 0 ? result
                            : path_resolve_within(&exec->process->guest, AT_FDCWD, exec->kept,
                                                  FOLLOW, FROM_TOP, &exec->space);
    found = found < 0 ? found : open_executable(exec);
    if (found < 0) {
        return -ENOEXEC;
    }
    kernel(NR_close, found, 0, 0, 0, 0, 0);
    bool is_same = status.device == exec->status.device && status.inode == exec->status.inode;
    return is_same ? 0 : -ENOEXEC;
}

/* It must be a static program: the interpreter of another one would be one of the guest's. */
static long check_emulator(struct exec *exec, long descriptor) {
    long size = read_head(descriptor, exec->head);
    if (size < 0) {
        return size;
    }
    const struct elf_file file = {descriptor, exec->head, (size_t)size, the_engine->page};
    long result = check_headers(exec, &file);
    if (result == 0) {
        result = elf_interpreter(&file, &exec->header, exec->segments, &exec->interpreter,
                                 exec->interpreter_room);
    }
    return result == 0 && exec->interpreter[0] != '\0' ? -ENOEXEC : result;
}

/* The name that the program was given, which qemu is told by -0. */
static const char *first_word(const struct exec *exec) {
    bool has_one = exec->arguments != NULL && memory_is_there(exec->arguments, WORD);
    return has_one && exec->arguments[0] != NULL ? exec->arguments[0] : "";
}

/*
 * The program is for another machine: qemu-user of the host goes in front, as the interpreter of a
 * script does. It opens the program by the path that the caller has for it. Closes descriptor.
 */
static long take_emulator(struct exec *exec, long descriptor, unsigned machine) {
    long result = exec->space.is_magic ? take_name_that_leads(exec, descriptor) : 0;
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    size_t size = length_of(exec->program);
    copy_bytes(exec->foreign, exec->program, size + 1);
    if (result == 0) {
        result = guest_from_root(&exec->process->guest, exec->foreign, size);
    }
    long emulator = result < 0 ? result : open_emulator(exec, machine);
    if (emulator < 0) {
        return emulator;
    }
    result = check_emulator(exec, emulator);
    kernel(NR_close, emulator, 0, 0, 0, 0, 0);
    exec->program = exec->emulator;
    if (exec->word_count == 0) {
        put_first(exec, first_word(exec));
    }
    put_at(exec, 1, exec->foreign);
    put_first(exec, "-0");
    put_first(exec, exec->emulator);
    return result;
}

/* A file of the chain: 1 and *path goes on to the interpreter of a script, 0 at its end. */
static long next_program(struct exec *exec, long dirfd, const char **path, enum last last,
                         char *script) {
    struct workspace *space = &exec->space;
    long descriptor = last == FOLLOW && quick_find_lower(&exec->process->guest, *path, space)
                          ? open_executable(exec)
                          : -ELOOP;
    if (descriptor == -ELOOP) {
        descriptor = resolve_and_open(exec, dirfd, *path, last);
    }
    if (descriptor < 0) {
        return descriptor;
    }
    bool is_magic = space->is_magic;
    exec->program = space->guest;
    char *argument;
    long size = read_head(descriptor, exec->head);
    if (size < 2 || exec->head[0] != '#' || exec->head[1] != '!') {
        const struct elf_file file = {descriptor, exec->head, (size_t)size, the_engine->page};
        if (size < 0) {
            kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
            return size;
        }
        unsigned machine = elf_foreign_machine(exec->head, (size_t)size);
        return machine == 0 ? check_program(exec, &file, is_magic)
                            : take_emulator(exec, descriptor, machine);
    }
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    size = size < SCRIPT_HEAD ? size : SCRIPT_HEAD;
    copy_bytes(script, exec->head, (size_t)size);
    script[size] = '\0';
    char *interpreter = script_read(script, (size_t)size, SCRIPT_HEAD, &argument);
    if (interpreter == NULL || (is_magic && exec->closes)) {
        return interpreter == NULL ? -ENOEXEC : -ENOENT;
    }
    if (exec->word_count == 0) {
        if (!is_magic) {
            copy_bytes(exec->name, exec->program, length_of(exec->program) + 1);
        }
        put_first(exec, name_of_script(exec, dirfd, *path));
    }
    if (argument != NULL) {
        put_first(exec, argument);
    }
    put_first(exec, interpreter);
    *path = interpreter;
    return 1;
}

/* Follow "#!" lines to the program. */
static long find_program(struct exec *exec, long dirfd, const char *path, enum last last) {
    for (int depth = 0; depth <= MAX_SCRIPTS; depth++) {
        long result = next_program(exec, dirfd, &path, last, exec->scripts[depth]);
        if (result <= 0) {
            return result;
        }
        dirfd = AT_FDCWD;
        last = FOLLOW;
    }
    return -ELOOP;
}

/* How many words there are, or -errno. */
static long count_of(char *const *words) {
    long count = 0;
    if (words == NULL) {
        return 0;
    }
    do {
        if ((count == 0 || (uintptr_t)(words + count) % SMALLEST_PAGE < WORD) &&
            !memory_is_there(words + count, WORD)) {
            return -EFAULT;
        }
    } while (words[count++] != NULL);
    return count - 1;
}

static long start(struct exec *exec, char *const *arguments, size_t count, char *const *environment,
                  const char **room) {
    size_t used = 0;
    if (exec->descriptor != NO_DESCRIPTOR) {
        kernel(NR_fcntl, exec->descriptor, F_SETFD, 0, 0, 0, 0); /* the program finds it open */
    }
    room[used++] = the_engine->program;
    room[used++] = exec->passed;
    room[used++] = the_engine->description;
    room[used++] = exec->program;
    room[used++] = exec->interpreter;
    room[used++] = exec->given;
    for (size_t index = 0; index < exec->word_count; index++) {
        room[used++] = exec->words[index];
    }
    for (size_t index = exec->word_count > 0 ? 1 : 0; index < count; index++) {
        room[used++] = arguments[index];
    }
    if (used == OWN_WORDS) {
        room[used++] = ""; /* as Linux does since 5.18 */
    }
    room[used] = NULL;
    return kernel(NR_execve, (long)the_engine->program, (long)room, (long)environment, 0, 0, 0);
}

static long start_with_room(struct exec *exec, char *const *arguments, char *const *environment) {
    long count = count_of(arguments);
    if (count < 0) {
        return count;
    }
    if (count <= AT_HAND) {
        const size_t most = sizeof exec->room / sizeof exec->room[0];
        size_t needed = (size_t)count + OWN_WORDS + exec->word_count + 2;
        return start(exec, arguments, (size_t)count, environment, exec->room + most - needed);
    }
    size_t size = ((size_t)count + OWN_WORDS + WORDS + 2) * WORD;
    long address = kernel(NR_mmap, 0, (long)size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (failed(address)) {
        return address;
    }
    exec->extra = address;
    exec->extra_size = size;
    return start(exec, arguments, (size_t)count, environment, (const char **)address);
}

static void pass_on(struct exec *exec) {
    struct process *process = exec->process;
    passed_on_write(process, persona_of(process), exec->descriptor, exec->passed);
}

/* The path to execute: a descriptor, for fexecve(3), has one as well. */
static long take_path(struct exec *exec, long *dirfd, const char **path, long flags) {
    if (!(flags & AT_EMPTY_PATH) || !path_is_empty(*path)) {
        return 0;
    }
    if ((int)*dirfd == AT_FDCWD) {
        return -EACCES; /* a directory */
    }
    long result = kernel(NR_fcntl, *dirfd, F_GETFD, 0, 0, 0, 0);
    if (result < 0) {
        return result;
    }
    exec->closes = result & FD_CLOEXEC;
    copy_bytes(exec->name, "/dev/fd/", 8);
    write_number(exec->name + 8, (unsigned)*dirfd);
    *path = exec->name;
    *dirfd = AT_FDCWD;
    return 0;
}

long execute(struct process *process, long dirfd, const char *path, char *const *arguments,
             char *const *environment, long flags) {
    if (flags & ~(long)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) {
        return -EINVAL;
    }
    struct exec *exec = exec_take(process);
    if (exec == NULL) {
        return -ENOMEM;
    }
    exec->arguments = arguments;
    long result = take_path(exec, &dirfd, &path, flags);
    bool keeps = flags & AT_SYMLINK_NOFOLLOW && path != exec->name;
    enum last last = keeps ? KEEP : FOLLOW;
    if (result == 0) {
        result = find_program(exec, dirfd, path, last);
    }
    if (result == 0) {
        exec->given = path;
        pass_on(exec);
        own_trace_at_exec(process);
        result = start_with_room(exec, arguments, environment);
    }
    exec_give_back(exec);
    return result;
}
