#include "guests.h"

struct workspace last_space;

static const char *error_name(long error) {
    static char other[32];
    switch (-error) {
    case ENOENT:
        return "-ENOENT";
    case EBADF:
        return "-EBADF";
    case EACCES:
        return "-EACCES";
    case EFAULT:
        return "-EFAULT";
    case EXDEV:
        return "-EXDEV";
    case ENOTDIR:
        return "-ENOTDIR";
    case EINVAL:
        return "-EINVAL";
    case ENAMETOOLONG:
        return "-ENAMETOOLONG";
    case ELOOP:
        return "-ELOOP";
    default:
        snprintf(other, sizeof other, "%ld", error);
        return other;
    }
}

bool describe(struct guest *guest, const char *const *words) {
    static char buffers[8][65536]; /* a guest uses its own as long as it lives */
    static size_t next;
    char *buffer = buffers[next++ % 8];
    size_t size = 0;
    memset(guest, 0xa5, sizeof *guest);
    guest->executable = "/usr/bin/program";
    for (; *words != NULL; words++) {
        bool is_host = (*words)[0] == '@';
        size += 1 + (size_t)snprintf(buffer + size, sizeof buffers[0] - size, "%s%s%s",
                                     is_host ? scratch() : "", is_host && (*words)[1] ? "/" : "",
                                     is_host ? *words + 1 : *words);
    }
    return guest_read(guest, buffer, size);
}

const char *told(long result, const char *host) {
    size_t size = strlen(scratch());
    if (result < 0) {
        return error_name(result);
    }
    return strncmp(host, scratch(), size) == 0 && host[size] == '/' ? host + size + 1 : host;
}

const char *leads_within(const struct guest *guest, long dirfd, const char *path, enum last last,
                         uint64_t limits) {
    memset(&last_space, 0xa5, sizeof last_space);
    return told(path_resolve_within(guest, dirfd, path, last, limits, &last_space),
                last_space.host);
}

const char *leads(const struct guest *guest, long dirfd, const char *path, enum last last) {
    return leads_within(guest, dirfd, path, last, 0);
}

int open_within(int directory, const char *path, const struct open_how *how) {
    long result;
    int loops = 0; /* a walk that the kernel begins anew goes on to count links */
    do {
        result = kernel(NR_openat2, directory, (long)path, (long)how, sizeof *how, 0, 0);
    } while (result == -EAGAIN || (result == -ELOOP && ++loops < 4));
    return (int)result;
}
