/* Paths in the work directory. */
#include "union_work.h"

enum { NAME_ROOM = 32 };

static long in_work(const struct guest *guest, const char *name, char *host) {
    size_t size = length_of(guest->work);
    size_t name_size = length_of(name);
    if (size + name_size + 2 > PATH_SIZE) {
        return -ENAMETOOLONG;
    }
    copy_bytes(host, guest->work, size);
    host[size++] = '/';
    copy_bytes(host + size, name, name_size + 1);
    return (long)(size + name_size);
}

long union_nowhere(const struct guest *guest, char *host) {
    long size = in_work(guest, "nothing", host);
    return size < 0 ? -ENOENT : size;
}

long union_temporary(const struct guest *guest, char *host) {
    char name[NAME_ROOM] = "t";
    uint64_t number = 0;
    if (kernel(NR_getrandom, (long)&number, sizeof number, 0, 0, 0, 0) != sizeof number) {
        number = (uint64_t)kernel(NR_gettid, 0, 0, 0, 0, 0, 0) << 32 | (uint32_t)(uintptr_t)host;
    }
    write_number(name + 1, number);
    return in_work(guest, name, host);
}
