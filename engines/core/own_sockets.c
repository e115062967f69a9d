/* Addresses of AF_UNIX sockets are paths (unix(7)); other families name no files. */
#include "own.h"

enum { AF_UNIX = 1, FAMILY_SIZE = 2, UNIX_PATH_SIZE = 108 };

struct unix_address {
    uint16_t family;
    char path[UNIX_PATH_SIZE];
};

struct message {
    void *name;
    int name_size;
    void *vectors;
    size_t vector_count;
    void *control;
    size_t control_size;
    int flags;
};

/* An address for the kernel, and the directory that is open while it is in use. */
struct translated {
    struct unix_address address;
    long size;
    long directory; /* a descriptor, or -1 */
};

static bool is_path(long address, long size) {
    const struct unix_address *given = (const struct unix_address *)address;
    return size > FAMILY_SIZE && size <= (long)sizeof *given &&
           memory_is_there(given, (size_t)size) && given->family == AF_UNIX &&
           given->path[0] != '\0';
}

/* A host path too long for an address: its directory by descriptor, in /proc/self/fd. */
static long shorten(struct workspace *space, struct translated *result) {
    size_t size = length_of(space->host);
    size_t slash = size;
    while (space->host[slash - 1] != '/') {
        slash--;
    }
    space->host[slash - 1] = '\0';
    long descriptor = kernel(NR_openat, AT_FDCWD, (long)space->host, O_PATH | O_CLOEXEC, 0, 0, 0);
    space->host[slash - 1] = '/';
    if (descriptor < 0) {
        return descriptor;
    }
    char *path = result->address.path;
    copy_bytes(path, "/proc/self/fd/", 14);
    size_t used = 14 + write_number(path + 14, (unsigned long)descriptor);
    if (used + 1 + size - slash + 1 > UNIX_PATH_SIZE) {
        kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
        return -ENAMETOOLONG;
    }
    path[used++] = '/';
    copy_bytes(path + used, space->host + slash, size - slash + 1);
    result->size = FAMILY_SIZE + (long)(used + size - slash) + 1;
    result->directory = descriptor;
    return 0;
}

static long translate(struct process *process, long address, long size, enum last last,
                      struct workspace *space, struct translated *result) {
    const struct unix_address *given = (const struct unix_address *)address;
    char path[UNIX_PATH_SIZE + 1];
    size_t length = (size_t)size - FAMILY_SIZE;
    copy_bytes(path, given->path, length);
    path[length] = '\0';
    long error = calls_resolve(process, AT_FDCWD, path, last, space);
    if (error < 0) {
        return error;
    }
    result->directory = -1;
    result->address.family = AF_UNIX;
    length = length_of(space->host);
    if (length >= UNIX_PATH_SIZE) {
        return shorten(space, result);
    }
    copy_bytes(result->address.path, space->host, length + 1);
    result->size = FAMILY_SIZE + (long)length + 1;
    return 0;
}

/* The call with the address in argument number position, its size behind it. */
static long with_address(struct process *process, const struct call *call, int position,
                         struct workspace *space) {
    struct call changed = *call;
    long address = call->argument[position];
    long size = (int)call->argument[position + 1];
    if (address == 0 || !is_path(address, size)) {
        return pass(call);
    }
    struct translated result;
    enum last last = call->number == NR_bind ? KEEP : FOLLOW;
    long error = translate(process, address, size, last, space, &result);
    if (error < 0) {
        return error;
    }
    changed.argument[position] = (long)&result.address;
    changed.argument[position + 1] = result.size;
    long done = pass(&changed);
    if (result.directory >= 0) {
        kernel(NR_close, result.directory, 0, 0, 0, 0, 0);
    }
    return done;
}

static long send_message(struct process *process, long socket, long address, long flags,
                         struct workspace *space) {
    struct message message;
    if (!memory_is_there((const void *)address, sizeof message)) {
        return -EFAULT;
    }
    copy_bytes((char *)&message, (const char *)address, sizeof message);
    if (message.name == NULL || !is_path((long)message.name, message.name_size)) {
        return kernel(NR_sendmsg, socket, address, flags, 0, 0, 0);
    }
    struct translated result;
    long error = translate(process, (long)message.name, message.name_size, FOLLOW, space, &result);
    if (error < 0) {
        return error;
    }
    message.name = &result.address;
    message.name_size = (int)result.size;
    long done = kernel(NR_sendmsg, socket, (long)&message, flags, 0, 0, 0);
    if (result.directory >= 0) {
        kernel(NR_close, result.directory, 0, 0, 0, 0, 0);
    }
    return done;
}

/* One after the other: each may have an address of its own. */
static long send_messages(struct process *process, const struct call *call,
                          struct workspace *space) {
    enum { ENTRY = 64 }; /* struct mmsghdr: the message, and at 56 how much was sent */
    const long *a = call->argument;
    unsigned count = (unsigned)a[2] < 1024 ? (unsigned)a[2] : 1024; /* UIO_MAXIOV, sendmmsg(2) */
    for (unsigned index = 0; index < count; index++) {
        long entry = a[1] + (long)index * ENTRY;
        long sent = send_message(process, a[0], entry, a[3], space);
        if (sent < 0) {
            return index > 0 ? (long)index : sent;
        }
        *(unsigned *)(entry + 56) = (unsigned)sent;
    }
    return count;
}

/* What the kernel tells of an address is a host path. */
static long read_address(struct process *process, const struct call *call,
                         struct workspace *space) {
    const long *a = call->argument;
    long done = pass(call);
    unsigned *size = (unsigned *)a[2];
    struct unix_address *address = (struct unix_address *)a[1];
    if (done < 0 || *size <= FAMILY_SIZE || *size > sizeof *address || address->family != AF_UNIX ||
        address->path[0] != '/') {
        return done;
    }
    size_t room = *size - FAMILY_SIZE;
    size_t length = 0;
    while (length < room && address->path[length] != '\0') {
        length++;
    }
    long found = guest_from_host(&process->guest, address->path, length, space->guest);
    if (found > 0 && found < UNIX_PATH_SIZE && (size_t)found < room + 1) {
        copy_bytes(address->path, space->guest, (size_t)found);
        if ((size_t)found < room) {
            address->path[found] = '\0';
        }
        *size = FAMILY_SIZE + (unsigned)found + 1;
    }
    return done;
}

long own_socket_call(struct process *process, const struct call *call, struct workspace *space) {
    switch (call->number) {
    case NR_bind:
    case NR_connect:
        return with_address(process, call, 1, space);
    case NR_sendto:
        return with_address(process, call, 4, space);
    case NR_sendmsg:
        return send_message(process, call->argument[0], call->argument[1], call->argument[2],
                            space);
    case NR_sendmmsg:
        return send_messages(process, call, space);
    case NR_getsockname:
    case NR_getpeername:
        return read_address(process, call, space);
    default:
        return -ENOSYS;
    }
}
