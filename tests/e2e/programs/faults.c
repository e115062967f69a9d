/* A preload for commands that are to meet each other: changes of a directory take their time, the
 * process may be killed before or after one, and locks of files are missing or of no use. Nothing
 * is forced to a disk: no power fails, and more commands find time.
 *
 *   FAULT_DELAY   of a thousand changes so many are delayed
 *   FAULT_KILL    of ten thousand changes so many are the last
 *   FAULT_LOCKS   "none": flock(2) fails; "mine": it excludes nobody, as between two hosts
 *   FAULT_MOUNTS  a file that is read in place of /proc/self/mountinfo
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
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

static void maybe_die(void) {
    if (dice(20000) < setting("FAULT_KILL"))
        kill(getpid(), SIGKILL);
}

static void before(void) {
    int kept = errno;
    if (dice(1000) < setting("FAULT_DELAY")) {
        uint32_t most = dice(LONGEST); /* short ones are more likely */
        usleep(dice(most + 1));
    }
    maybe_die();
    errno = kept;
}

static int after(int result) {
    int kept = errno;
    maybe_die();
    errno = kept;
    return result;
}

#define CHANGE(name, parameters, ...)                                                              \
    int name parameters {                                                                          \
        int(*next) parameters = (int(*) parameters)dlsym(RTLD_NEXT, #name);                        \
        before();                                                                                  \
        return after(next(__VA_ARGS__));                                                           \
    }

CHANGE(rename, (const char *from, const char *to), from, to)
CHANGE(renameat, (int a, const char *from, int b, const char *to), a, from, b, to)
CHANGE(link, (const char *from, const char *to), from, to)
CHANGE(linkat, (int a, const char *from, int b, const char *to, int flags), a, from, b, to, flags)
CHANGE(symlink, (const char *target, const char *path), target, path)
CHANGE(symlinkat, (const char *target, int folder, const char *path), target, folder, path)
CHANGE(unlink, (const char *path), path)
CHANGE(unlinkat, (int folder, const char *path, int flags), folder, path, flags)
CHANGE(rmdir, (const char *path), path)
CHANGE(mkdir, (const char *path, mode_t mode), path, mode)
CHANGE(mkdirat, (int folder, const char *path, mode_t mode), folder, path, mode)

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
