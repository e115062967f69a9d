/*
 * Puts files into a container that runs: the container's own engine executes it there, so what it
 * does is done by the engine's rules, and it sees the mounts that the run has.
 *
 * It is told what to do through its standard input, one struct request after the other, and gives
 * one long for each on its standard output: 0 or a negative errno, and before all of them a 0,
 * which says that it is there. The other end: udocker/engine/porter.py. Paths are absolute, and
 * end with a NUL. What was made and has not got its name by RENAME goes when the other end does.
 *
 * Freestanding, as hello: it needs nothing that the container must hold. What is closed, or is no
 * request, ends it.
 */
#include "base.h"

enum { INPUT = 0, OUTPUT = 1 };
enum { STATUS_OK = 0, STATUS_CONFUSED = 2 };
enum { NOT_OPEN = -1, ROOM = 1 << 16 };

enum what {
    KIND = 1, /* st_mode of stat(2) in place of 0; a link is not followed */
    FOLDER,   /* make a directory with this mode */
    OPEN,     /* make a file, which is written to from now on */
    WRITE,    /* in place of a path: bytes for it */
    SEAL,     /* of the open file: the mode and the times; it is closed */
    RENAME,   /* the first path to the second */
    LINK,     /* the first is where a symbolic link is made, the second what it says */
    MODE,
};

struct request {
    uint32_t what, mode;
    uint32_t first, second; /* bytes that follow: the NULs count */
    int64_t times[4];       /* access and change, in seconds and nanoseconds */
};

/* What has been made last: a file that may be open, or a link, until it has its name. */
struct aside {
    long file;
    char path[PATH_SIZE]; /* empty: there is nothing */
};

_Noreturn void porter(void);

#if defined(__x86_64__)
__asm__(".globl _start\n"
        "_start:\n"
        "    xorl %ebp, %ebp\n"
        "    andq $-16, %rsp\n"
        "    call porter\n");
#else
__asm__(".globl _start\n"
        "_start:\n"
        "    mov x29, #0\n"
        "    mov x30, #0\n"
        "    bl porter\n");
#endif

static _Noreturn void finish(int status) {
    for (;;) {
        kernel(NR_exit_group, status, 0, 0, 0, 0, 0);
    }
}

/* 0, or -errno when not all of it could be written. */
static long put(long descriptor, const char *data, size_t size) {
    while (size > 0) {
        long written = kernel(NR_write, descriptor, (long)data, (long)size, 0, 0, 0);
        if (written < 0 && written != -EINTR) {
            return written;
        }
        if (written > 0) {
            data += written;
            size -= (size_t)written;
        }
    }
    return 0;
}

/* False: the other end is gone. */
static bool get(char *data, size_t size) {
    while (size > 0) {
        long got = kernel(NR_read, INPUT, (long)data, (long)size, 0, 0, 0);
        if (got == 0 || (got < 0 && got != -EINTR)) {
            return false;
        }
        if (got > 0) {
            data += got;
            size -= (size_t)got;
        }
    }
    return true;
}

static long kind_of(const char *path) {
    struct status status;
    long result = host_status(path, &status);
    return failed(result) ? result : (long)status.mode;
}

static long make_folder(const char *path, uint32_t mode) {
    long result = kernel(NR_mkdirat, AT_FDCWD, (long)path, 0700, 0, 0, 0);
    /* Not by mkdir(2): that heeds the umask. */
    return failed(result) ? result : kernel(NR_fchmodat, AT_FDCWD, (long)path, (long)mode, 0, 0, 0);
}

static void remember(struct aside *aside, const char *path) {
    size_t size = length_of(path) + 1;
    copy_bytes(aside->path, path, size <= PATH_SIZE ? size : 0);
}

static void close_file(struct aside *aside) {
    if (aside->file != NOT_OPEN) {
        kernel(NR_close, aside->file, 0, 0, 0, 0, 0);
    }
    aside->file = NOT_OPEN;
}

static long open_file(const char *path, struct aside *aside) {
    long flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    close_file(aside);
    long result = kernel(NR_openat, AT_FDCWD, (long)path, flags, 0600, 0, 0);
    if (failed(result)) {
        return result;
    }
    aside->file = result;
    remember(aside, path);
    return 0;
}

static long make_link(const char *path, const char *target, struct aside *aside) {
    long result = kernel(NR_symlinkat, (long)target, AT_FDCWD, (long)path, 0, 0, 0);
    if (!failed(result)) {
        remember(aside, path);
    }
    return result;
}

static long seal_file(const struct request *request, struct aside *aside) {
    long result = kernel(NR_fchmod, aside->file, (long)request->mode, 0, 0, 0, 0);
    if (!failed(result)) {
        result = kernel(NR_utimensat, aside->file, 0, (long)request->times, 0, 0, 0);
    }
    close_file(aside);
    return result;
}

static long rename_to(const char *path, const char *target, struct aside *aside) {
    long result = kernel(NR_renameat2, AT_FDCWD, (long)path, AT_FDCWD, (long)target, 0, 0);
    if (!failed(result)) {
        aside->path[0] = '\0';
    }
    return result;
}

static long obey(const struct request *request, const char *first, struct aside *aside) {
    const char *second = first + request->first;
    switch (request->what) {
    case KIND:
        return kind_of(first);
    case FOLDER:
        return make_folder(first, request->mode);
    case OPEN:
        return open_file(first, aside);
    case WRITE:
        return put(aside->file, first, request->first);
    case SEAL:
        return seal_file(request, aside);
    case RENAME:
        return rename_to(first, second, aside);
    case LINK:
        return make_link(first, second, aside);
    case MODE:
        return kernel(NR_fchmodat, AT_FDCWD, (long)first, (long)request->mode, 0, 0, 0);
    default:
        finish(STATUS_CONFUSED);
    }
}

static bool answer(long result) {
    return !failed(put(OUTPUT, (const char *)&result, sizeof result));
}

/* One after the other; false when there are no more. */
static bool serve(struct aside *aside) {
    static char data[ROOM];
    struct request request;
    if (!get((char *)&request, sizeof request)) {
        return false;
    }
    if (request.first > ROOM || request.second > ROOM - request.first) {
        finish(STATUS_CONFUSED);
    }
    return get(data, request.first + request.second) && answer(obey(&request, data, aside));
}

_Noreturn void porter(void) {
    static struct aside aside;
    aside.file = NOT_OPEN;
    bool goes_on = answer(0);
    while (goes_on) {
        goes_on = serve(&aside);
    }
    if (aside.path[0] != '\0') {
        kernel(NR_unlinkat, AT_FDCWD, (long)aside.path, 0, 0, 0, 0);
    }
    finish(STATUS_OK);
}
