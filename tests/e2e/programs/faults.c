/* A preload for commands that are to meet each other: changes of a directory take their time, the
 * process may be killed before or after one, or while a file is written, and locks of files are
 * missing or of no use. Nothing is forced to a disk: no power fails, and more commands find time.
 *
 *   FAULT_DELAY   of a thousand changes so many are delayed
 *   FAULT_KILL    of ten thousand changes so many are the last; of removals, a tenth of that
 *   FAULT_LOCKS   "none": flock(2) fails; "mine": it excludes nobody, as between two hosts
 *   FAULT_MOUNTS  a file that is read in place of /proc/self/mountinfo
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define LONGEST 30000 /* microseconds */

static uint32_t dice(uint32_t sides) {
    uint32_t number = 0;
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number)
        return sides - 1;
    return number % sides;
}

static uint32_t setting(const char *name) {
    const char *text = getenv(name);
    return text ? (uint32_t)atoi(text) : 0;
}

static void maybe_die(uint32_t rare) {
    if (dice(20000 * rare) < setting("FAULT_KILL"))
        kill(getpid(), SIGKILL);
}

static void before(uint32_t rare) {
    int kept = errno;
    if (dice(1000) < setting("FAULT_DELAY")) {
        uint32_t most = dice(LONGEST); /* short ones are more likely */
        usleep(dice(most + 1));
    }
    maybe_die(rare);
    errno = kept;
}

static int after(int result, uint32_t rare) {
    int kept = errno;
    maybe_die(rare);
    errno = kept;
    return result;
}

#define CHANGE(rare, name, parameters, ...)                                                        \
    int name parameters {                                                                          \
        int(*next) parameters = (int(*) parameters)dlsym(RTLD_NEXT, #name);                        \
        before(rare);                                                                              \
        return after(next(__VA_ARGS__), rare);                                                     \
    }

CHANGE(1, rename, (const char *from, const char *to), from, to)
CHANGE(1, renameat, (int a, const char *from, int b, const char *to), a, from, b, to)
CHANGE(1, link, (const char *from, const char *to), from, to)
CHANGE(1, linkat, (int a, const char *from, int b, const char *to, int flags), a, from, b, to,
       flags)
CHANGE(1, symlink, (const char *target, const char *path), target, path)
CHANGE(1, symlinkat, (const char *target, int folder, const char *path), target, folder, path)
CHANGE(10, unlink, (const char *path), path)
CHANGE(10, unlinkat, (int folder, const char *path, int flags), folder, path, flags)
CHANGE(10, rmdir, (const char *path), path)
CHANGE(1, mkdir, (const char *path, mode_t mode), path, mode)
CHANGE(1, mkdirat, (int folder, const char *path, mode_t mode), folder, path, mode)

/* A half of the bytes, and the rest later or never. */
ssize_t write(int descriptor, const void *data, size_t size) {
    ssize_t (*next)(int, const void *, size_t) =
        (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    struct stat status;
    struct statfs disk;
    if (size < 2 || dice(1000) >= setting("FAULT_DELAY") || fstat(descriptor, &status) ||
        !S_ISREG(status.st_mode) || fstatfs(descriptor, &disk) || disk.f_type == PROC_SUPER_MAGIC)
        return next(descriptor, data, size);
    ssize_t first = next(descriptor, data, size / 2);
    if (first < 0)
        return first;
    before(1);
    ssize_t second = next(descriptor, (const char *)data + first, size - (size_t)first);
    return second < 0 ? first : first + second;
}

int fsync(int descriptor) {
    return (void)descriptor, 0;
}

int flock(int descriptor, int operation) {
    int (*next)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    const char *locks = getenv("FAULT_LOCKS");
    if (!locks)
        return next(descriptor, operation);
    errno = ENOSYS;
    return strcmp(locks, "none") ? 0 : -1;
}

int open64(const char *path, int flags, ...) {
    int (*next)(const char *, int, ...) =
        (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    const char *mounts = getenv("FAULT_MOUNTS");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (mounts && !strcmp(path, "/proc/self/mountinfo"))
        path = mounts;
    return next(path, flags, mode);
}
