#include "pin.h"

enum {
    MODE_BITS = 07777,
    NAME_SIZE = 255,
    NONE_LEFT = -1,
    KNOWN_FLAGS = 037777703,
    F_DUPFD_CLOEXEC = 1030,
    TRIES = 8, /* that something else may have been opened, or moved there */
    /*
     * A process begins with room for 64 descriptors, and one with threads waits some 15 ms when it
     * is given more.
     */
    HIGH = 48,
};

static const char BY_DESCRIPTOR[] = "/proc/self/fd/";

/*
 * openat2 minds what openat ignores: flags that nobody knows, and others beside O_PATH. Without
 * these it says what openat would, and no guest gets around RESOLVE_NO_SYMLINKS with them.
 */
static uint64_t flags_that_count(long flags) {
    const long with_path = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    return (uint64_t)(flags & (flags & O_PATH ? with_path : KNOWN_FLAGS));
}

static bool is_link_at(long dirfd, const char *name) {
    char byte;
    return kernel(NR_readlinkat, dirfd, (long)name, (long)&byte, 1, 0, 0) >= 0;
}

/* The last part of a path in its directory, and no link there. */
static long open_last(long dirfd, const char *name, long flags, long mode) {
    long result = kernel(NR_openat, dirfd, (long)name, flags | O_NOFOLLOW, mode, 0, 0);
    if (result >= 0 && flags & O_PATH && !(flags & O_NOFOLLOW) && is_link_at(result, "")) {
        pin_end(result);
        return -ELOOP;
    }
    return result;
}

/* The directory of that name in another one, which is closed. */
static long go_down(long dirfd, const char *name) {
    long result = kernel(NR_openat, dirfd, (long)name,
                         O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0, 0, 0);
    if (result == -ENOTDIR && is_link_at(dirfd, name)) {
        result = -ELOOP;
    }
    pin_end(dirfd);
    return result;
}

static bool is_slashes(const char *text) {
    while (*text == '/') {
        text++;
    }
    return *text == '\0';
}

/* As openat2(2) with RESOLVE_NO_SYMLINKS, part by part, where it is not to be had. */
static long open_by_parts(const char *host, long flags, long mode) {
    char name[NAME_SIZE + 1];
    long dirfd = host[0] == '/' ? kernel(NR_openat, AT_FDCWD, (long)"/",
                                         O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0, 0)
                                : AT_FDCWD;
    while (dirfd >= 0 || dirfd == AT_FDCWD) {
        size_t size = 0;
        while (*host == '/') {
            host++;
        }
        while (host[size] != '\0' && host[size] != '/') {
            size++;
        }
        if (host[size] == '\0' || size > NAME_SIZE) {
            const char *last = size == 0 ? "." : host;
            long result = size > NAME_SIZE ? -ENAMETOOLONG : open_last(dirfd, last, flags, mode);
            pin_end(dirfd);
            return result;
        }
        if (flags & O_CREAT && is_slashes(host + size)) {
            pin_end(dirfd);
            return -EISDIR;
        }
        copy_bytes(name, host, size);
        name[size] = '\0';
        host += size;
        dirfd = go_down(dirfd, name);
    }
    return dirfd;
}

/* The descriptor that host begins with, of which the rest is left; or AT_FDCWD. */
static long take_descriptor(const char **host) {
    const size_t size = sizeof BY_DESCRIPTOR - 1;
    if (!same_bytes(*host, BY_DESCRIPTOR, size)) {
        return AT_FDCWD;
    }
    long descriptor = 0;
    const char *byte = *host + size;
    for (; *byte >= '0' && *byte <= '9' && descriptor < 100000000; byte++) {
        descriptor = descriptor * 10 + (*byte - '0');
    }
    if (*byte != '/') {
        return AT_FDCWD;
    }
    *host = byte[1] == '\0' ? "." : byte + 1;
    return descriptor;
}

long open_resolved_how(const char *host, const struct open_how *how) {
    struct open_how without_links = *how;
    without_links.resolve |= RESOLVE_NO_SYMLINKS;
    long dirfd = take_descriptor(&host);
    return kernel(NR_openat2, dirfd, (long)host, (long)&without_links, sizeof without_links, 0, 0);
}

long open_resolved_host(const char *host, long flags, long mode) {
    struct open_how how = {.flags = flags_that_count(flags)};
    if (how.flags & (O_CREAT | O_TMPFILE_BIT)) {
        how.mode = (uint64_t)mode & MODE_BITS;
    }
    long result = open_resolved_how(host, &how);
    /* Some filters answer EPERM for what they do not know. */
    return result == -ENOSYS || result == -EPERM ? open_by_parts(host, flags, mode) : result;
}

/* Where the last part begins, whatever slashes follow it. */
static size_t last_part(const char *host) {
    size_t at = length_of(host);
    while (at > 1 && host[at - 1] == '/') {
        at--;
    }
    while (at > 0 && host[at - 1] != '/') {
        at--;
    }
    return at;
}

static bool is_open_on(long descriptor, long dirfd, const char *path, long flags) {
    struct status opened;
    struct status there;
    long keeps = flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0;
    return kernel(NR_fstat, descriptor, (long)&opened, 0, 0, 0, 0) == 0 &&
           kernel(NR_newfstatat, dirfd, (long)path, (long)&there, keeps, 0, 0) == 0 &&
           opened.inode == there.inode && opened.device == there.device;
}

/* A high number for what a low one is open on; the same one where there is none. */
static long raise_number(long low) {
    long high = low < HIGH ? kernel(NR_fcntl, low, F_DUPFD_CLOEXEC, HIGH, 0, 0, 0) : -EINVAL;
    if (high < 0) {
        return low;
    }
    pin_end(low);
    return high;
}

/*
 * Another thread may close what it has not opened, and then the next file that is opened gets the
 * number: the lowest that is free. So this one is high, and what is open there is looked at.
 */
static long open_high(long dirfd, const char *path, long flags, bool is_resolved) {
    for (int tries = 0; tries < TRIES; tries++) {
        long result = is_resolved
                          ? open_resolved_host(path, flags | O_CLOEXEC, 0)
                          : kernel(NR_openat, dirfd, (long)path, flags | O_CLOEXEC, 0, 0, 0);
        result = result < 0 ? result : raise_number(result);
        if (result < 0 || is_open_on(result, dirfd, path, flags)) {
            return result;
        }
        pin_end(result);
    }
    return -ELOOP;
}

long pin_open(const char *host, long flags) {
    return open_high(AT_FDCWD, host, flags | O_NOFOLLOW, true);
}

long pin_open_at(long dirfd, const char *path, long flags) {
    return open_high(dirfd, path, flags, false);
}

/* The directory of the first size bytes. */
static long hold_above(char *host, size_t size) {
    char kept = host[size];
    host[size] = '\0';
    long result = pin_open(host, O_PATH | O_DIRECTORY);
    host[size] = kept;
    return result;
}

/* A file has no name below its descriptor: then it is only seen that there is no link. */
static long pin_root(char *host) {
    long descriptor = pin_open(host, O_PATH | O_DIRECTORY);
    if (descriptor >= 0) {
        copy_bytes(host, BY_DESCRIPTOR, sizeof BY_DESCRIPTOR - 1);
        size_t size = sizeof BY_DESCRIPTOR - 1;
        size += write_number(host + size, (unsigned long)descriptor);
        copy_bytes(host + size, "/.", 3);
    }
    return descriptor == -ENOTDIR || descriptor == -EMFILE || descriptor == -ENFILE ? NONE_LEFT
                                                                                    : descriptor;
}

long pin(char *host, enum pinned pinned) {
    if (pinned == THE_ROOT) {
        return pin_root(host);
    }
    size_t at = pinned == THE_FILE ? length_of(host) : last_part(host);
    size_t left = length_of(host) - at;
    long descriptor = pinned == THE_FILE ? pin_open(host, O_PATH | O_NOFOLLOW)
                      : at == 0          ? NONE_LEFT
                                         : hold_above(host, at);
    if (descriptor == -EMFILE || descriptor == -ENFILE) {
        return pinned == THE_FILE && is_link_at(AT_FDCWD, host) ? -ELOOP : NONE_LEFT;
    }
    if (descriptor < 0) {
        return descriptor;
    }
    char path[48];
    copy_bytes(path, BY_DESCRIPTOR, sizeof BY_DESCRIPTOR - 1);
    size_t size = sizeof BY_DESCRIPTOR - 1;
    size += write_number(path + size, (unsigned long)descriptor);
    if (left > 0) {
        path[size++] = '/';
    }
    if (size + left + 1 > PATH_SIZE) {
        pin_end(descriptor);
        return -ENAMETOOLONG;
    }
    move_bytes(host + size, host + at, left + 1);
    copy_bytes(host, path, size);
    return descriptor;
}

void pin_end(long descriptor) {
    if (descriptor >= 0) {
        kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    }
}

long pass_held(const struct call *call, char *host) {
    long held = pin(host, THE_NAME);
    if (held < NONE_LEFT) {
        return held;
    }
    long result = pass(call);
    pin_end(held);
    return result;
}

long pin_check(char *host) {
    size_t at = last_part(host);
    if (at == 0) {
        return 0;
    }
    char kept = host[at];
    host[at] = '\0';
    long descriptor = open_resolved_host(host, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    host[at] = kept;
    pin_end(descriptor);
    return descriptor == -ELOOP ? -ELOOP : 0;
}
