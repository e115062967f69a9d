#define _GNU_SOURCE
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, ROOM = 4096 };

static int checks;
static int failures;
static char directory[ROOM];

static void note(bool good) {
    checks++;
    failures += good ? 0 : 1;
}

void check_true(bool good, const char *file, int line, const char *what) {
    note(good);
    if (!good) {
        printf("%s:%d: not so: %s\n", file, line, what);
    }
}

void check_number(long actual, long expected, const char *file, int line, const char *what) {
    note(actual == expected);
    if (actual != expected) {
        printf("%s:%d: %s is %ld, and not %ld\n", file, line, what, actual, expected);
    }
}

void check_text(const char *actual, const char *expected, const char *file, int line,
                const char *what) {
    bool good = strcmp(actual, expected) == 0;
    note(good);
    if (!good) {
        printf("%s:%d: %s is \"%s\", and not \"%s\"\n", file, line, what, actual, expected);
    }
}

static void must(bool good, const char *what) {
    if (!good) {
        printf("cannot set up %s: %s\n", what, strerror(errno));
        exit(2);
    }
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

void clean_scratch(void) {
    if (directory[0] != '\0') {
        enter("/");
        nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
}

int harness_failures(void) {
    return failures;
}

int harness_end(void) {
    clean_scratch();
    printf("%d checks, %d failures\n", checks, failures);
    return failures == 0 && checks > 0 ? 0 : 1;
}

const char *scratch(void) {
    if (directory[0] != '\0') {
        return directory;
    }
    const char *parent = getenv("TMPDIR");
    char name[ROOM];
    snprintf(name, sizeof name, "%s/core-XXXXXX", parent == NULL ? "/tmp" : parent);
    must(mkdtemp(name) != NULL && realpath(name, directory) != NULL, name);
    enter(directory);
    return directory;
}

void make_directory(const char *path) {
    must(mkdir(path, 0755) == 0, path);
}

void make_bytes(const char *path, const void *bytes, size_t size) {
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    must(descriptor >= 0 && write(descriptor, bytes, size) == (ssize_t)size, path);
    close(descriptor);
}

void make_file(const char *path, const char *content) {
    make_bytes(path, content, strlen(content));
}

void make_link(const char *path, const char *text) {
    must(symlink(text, path) == 0, path);
}

void make_hard_link(const char *path, const char *other) {
    must(link(other, path) == 0, path);
}

void make_executable(const char *path) {
    must(chmod(path, 0755) == 0, path);
}

void remove_entry(const char *path) {
    must(remove(path) == 0, path);
}

void enter(const char *path) {
    must(chdir(path) == 0, path);
}

static const char *identity(int result, const struct stat *status) {
    static char texts[4][64];
    static int next;
    char *text = texts[next++ % 4];
    text[0] = '\0';
    if (result == 0) {
        snprintf(text, sizeof texts[0], "%lu:%lu", (unsigned long)status->st_dev,
                 (unsigned long)status->st_ino);
    }
    return text;
}

const char *identity_of(const char *path) {
    struct stat status;
    return identity(lstat(path, &status), &status);
}

const char *identity_of_descriptor(int descriptor) {
    struct stat status;
    return identity(fstat(descriptor, &status), &status);
}

bool is_link(const char *path) {
    struct stat status;
    return lstat(path, &status) == 0 && S_ISLNK(status.st_mode);
}

int try_path(const char *path, bool follows) {
    int descriptor = open(path, O_PATH | O_CLOEXEC | (follows ? 0 : O_NOFOLLOW));
    return descriptor < 0 ? -errno : descriptor;
}

int open_path(const char *path) {
    int descriptor = open(path, O_PATH | O_CLOEXEC);
    must(descriptor >= 0, path);
    return descriptor;
}

int open_to_read(const char *path) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    must(descriptor >= 0, path);
    return descriptor;
}

void close_descriptor(int descriptor) {
    must(close(descriptor) == 0, "close");
}

long read_descriptor(int descriptor, char *text, size_t room) {
    ssize_t size = read(descriptor, text, room - 1);
    must(size >= 0, "read");
    text[size] = '\0';
    return size;
}

static char *pages(size_t count) {
    char *memory =
        mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(memory != MAP_FAILED, "memory");
    return memory;
}

char *memory_at_the_end(size_t size) {
    size_t count = (size + PAGE - 1) / PAGE;
    char *memory = pages(count + 2);
    must(mprotect(memory + (count + 1) * PAGE, PAGE, PROT_NONE) == 0, "memory");
    must(mprotect(memory, PAGE, PROT_NONE) == 0, "memory");
    return memory + (count + 1) * PAGE - size;
}

char *read_only_memory(size_t size) {
    size_t count = (size + PAGE - 1) / PAGE;
    char *memory = pages(count);
    must(mprotect(memory, count * PAGE, PROT_READ) == 0, "memory");
    return memory;
}

long start_process(const char *path) {
    int ready[2];
    char byte;
    must(pipe(ready) == 0, "a pipe");
    pid_t pid = fork();
    must(pid >= 0, "a process");
    if (pid == 0) {
        enter(path);
        must(write(ready[1], "x", 1) == 1, "a process");
        for (;;) {
            pause();
        }
    }
    must(read(ready[0], &byte, 1) == 1, "a process");
    close(ready[0]);
    close(ready[1]);
    return pid;
}

void end_process(long pid) {
    kill((pid_t)pid, SIGKILL);
    must(waitpid((pid_t)pid, NULL, 0) == pid, "the end of a process");
}

void map_page_of(const char *path) {
    int descriptor = open_to_read(path);
    must(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, descriptor, 0) != MAP_FAILED, path);
    close(descriptor);
}

const char *setting(const char *name) {
    return getenv(name);
}
