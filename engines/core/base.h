/*
 * The ground that the core stands on: no libc, no state. Types, the system call itself, and the
 * few words of the kernel's interface that it uses.
 */
#ifndef UDOCKER_BASE_H
#define UDOCKER_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All of it is linked into one program: without this the compiler reaches for a GOT. */
#pragma GCC visibility push(hidden)

#if defined(__x86_64__)
#include "arch_x86_64.h"
#elif defined(__aarch64__)
#include "arch_aarch64.h"
#else
#error "the engine is written for x86_64 and aarch64"
#endif

/* <linux/limits.h>, <linux/fcntl.h>, <linux/stat.h>; <linux/sched.h> */
enum {
    PATH_SIZE = 4096,
    MAX_LINKS = 40, /* path_resolution(7) */
    AT_FDCWD = -100,
    AT_SYMLINK_NOFOLLOW = 0x100,
    AT_SYMLINK_FOLLOW = 0x400,
    AT_REMOVEDIR = 0x200,
    AT_EMPTY_PATH = 0x1000,
    IN_DONT_FOLLOW = 0x02000000,
    O_ACCMODE = 03,
    O_RDONLY = 0,
    O_WRONLY = 01,
    O_RDWR = 02,
    O_CREAT = 0100,
    O_EXCL = 0200,
    O_TRUNC = 01000,
    O_NONBLOCK = 04000,
    O_CLOEXEC = 02000000,
    O_PATH = 010000000,
    O_TMPFILE_BIT = 020000000,
    S_IFMT = 0170000,
    S_IFIFO = 0010000,
    S_IFDIR = 0040000,
    S_IFREG = 0100000,
    S_IFCHR = 0020000,
    S_IFLNK = 0120000,
};

/* <linux/openat2.h> */
enum {
    RESOLVE_NO_XDEV = 1,
    RESOLVE_NO_MAGICLINKS = 2,
    RESOLVE_NO_SYMLINKS = 4,
    RESOLVE_BENEATH = 8,
    RESOLVE_IN_ROOT = 16,
};

struct open_how {
    uint64_t flags, mode, resolve;
};

/* <asm-generic/errno.h>; results of system calls are these, negative. */
enum {
    EPERM = 1,
    ENOENT = 2,
    ESRCH = 3,
    EINTR = 4,
    EIO = 5,
    ENXIO = 6,
    E2BIG = 7,
    ENOEXEC = 8,
    EBADF = 9,
    EAGAIN = 11,
    ENOMEM = 12,
    EACCES = 13,
    EFAULT = 14,
    EBUSY = 16,
    EEXIST = 17,
    EXDEV = 18,
    ENOTDIR = 20,
    EISDIR = 21,
    EINVAL = 22,
    ENFILE = 23,
    EMFILE = 24,
    EFBIG = 27,
    EROFS = 30,
    ERANGE = 34,
    ENAMETOOLONG = 36,
    ENOSYS = 38,
    ENOTEMPTY = 39,
    ELOOP = 40,
    ELIBBAD = 80,
    EADDRINUSE = 98,
    EINPROGRESS = 115,
};

/* What a system call was given: its number and six arguments. */
struct call {
    long number;
    long argument[6];
};

static inline long kernel(long number, long a, long b, long c, long d, long e, long f) {
    return arch_call(number, a, b, c, d, e, f);
}

/* The call as it is. */
static inline long pass(const struct call *call) {
    const long *a = call->argument;
    return kernel(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static inline bool failed(long result) {
    return result < 0 && result >= -4095;
}

/* lstat(2) of a path of the host. 0 or -errno. */
static inline long host_status(const char *host, struct status *status) {
    return kernel(NR_newfstatat, AT_FDCWD, (long)host, (long)status, AT_SYMLINK_NOFOLLOW, 0, 0);
}

static inline bool is_folder(const struct status *status) {
    return (status->mode & S_IFMT) == S_IFDIR;
}

static inline size_t length_of(const char *text) {
    size_t length = 0;
    while (text[length] != '\0') {
        length++;
    }
    return length;
}

static inline bool same_bytes(const char *one, const char *other, size_t size) {
    for (size_t index = 0; index < size; index++) {
        if (one[index] != other[index]) {
            return false;
        }
    }
    return true;
}

static inline bool same_text(const char *one, const char *other) {
    size_t length = length_of(one);
    return length == length_of(other) && same_bytes(one, other, length);
}

static inline void copy_bytes(char *target, const char *source, size_t size) {
    for (size_t index = 0; index < size; index++) {
        target[index] = source[index];
    }
}

/* As memmove(3). */
static inline void move_bytes(char *target, const char *source, size_t size) {
    if (target < source) {
        copy_bytes(target, source, size);
        return;
    }
    while (size > 0) {
        size--;
        target[size] = source[size];
    }
}

/* Decimal digits of number at text, with the NUL; text has room for 24 bytes. Gives the length. */
static inline size_t write_number(char *text, unsigned long number) {
    char digits[24];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    for (size_t index = 0; index < count; index++) {
        text[index] = digits[count - 1 - index];
    }
    text[count] = '\0';
    return count;
}

#endif
