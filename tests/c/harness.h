/*
 * What the tests of the core share. The core has names of the kernel's that are macros of a libc:
 * a test includes this and the core, and no header of the system but those of C itself.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) check_true(condition, __FILE__, __LINE__, #condition)
#define CHECK_NUMBER(actual, expected)                                                             \
    check_number((long)(actual), (long)(expected), __FILE__, __LINE__, #actual)
#define CHECK_TEXT(actual, expected) check_text(actual, expected, __FILE__, __LINE__, #actual)

void check_true(bool good, const char *file, int line, const char *what);
void check_number(long actual, long expected, const char *file, int line, const char *what);
void check_text(const char *actual, const char *expected, const char *file, int line,
                const char *what);

/* How many of the checks so far have failed. */
int harness_failures(void);

/* Prints what was checked; the exit code of the program. */
int harness_end(void);

/*
 * A directory of the test's own, its path canonical, that goes at the end. The first call makes it
 * and enters it.
 */
const char *scratch(void);
void clean_scratch(void);

/* These end the program when they fail. Paths are relative to the directory the process is in. */
void make_directory(const char *path);
void make_file(const char *path, const char *content);
void make_bytes(const char *path, const void *bytes, size_t size);
void make_link(const char *path, const char *text);
void make_hard_link(const char *path, const char *other);
void make_executable(const char *path);
void remove_entry(const char *path);
void enter(const char *path);

/* Device and inode as one text, of a link itself; "" when there is nothing. */
const char *identity_of(const char *path);

const char *identity_of_descriptor(int descriptor);

bool is_link(const char *path);

/* Open with O_PATH: a descriptor or -errno. */
int try_path(const char *path, bool follows);

/* A descriptor, with O_PATH and nothing else; it must be closed. */
int open_path(const char *path);
int open_to_read(const char *path);
void close_descriptor(int descriptor);
long read_descriptor(int descriptor, char *text, size_t room);

/* size bytes that end where memory ends: what follows can be neither read nor written. */
char *memory_at_the_end(size_t size);
char *read_only_memory(size_t size);

/* A process that waits in that directory, until it is ended. */
long start_process(const char *path);
void end_process(long pid);

/* Maps the first page of a file, and leaves it so. */
void map_page_of(const char *path);

/* Of the environment; NULL when there is none. */
const char *setting(const char *name);

#endif
