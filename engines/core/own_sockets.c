/* Addresses of AF_UNIX sockets are paths (unix(7)); those of others may name ports: ports.h. */
#include "own.h"
#include "pin.h"
#include "table.h"
#include "union.h"

enum {
    AF_UNIX = 1,
    FAMILY_SIZE = 2,
    SOL_SOCKET = 1,
    SO_PEERCRED = 17,
    MOST_MESSAGES = 1024, /* UIO_MAXIOV, sendmmsg(2) */
    ENTRY_SIZE = 64,      /* struct mmsghdr: the message, and at 56 how much was sent */
    COUNT_AT = 56,
};

static const char BY_DESCRIPTOR[] = "/proc/self/fd/";

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

/* An address for the kernel, and what is held while it is in use. */
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

enum { SO_TYPE = 3, SOCK_DGRAM = 2, NOT_HELD = -1 };

/*
 * Whether other processes will send to the address that a socket is bound to: they must be able to
 * understand it, which nobody else's descriptor can be.
 */
static bool is_answered(long socket) {
    int type = 0;
    int size = sizeof type;
    return kernel(NR_getsockopt, socket, SOL_SOCKET, SO_TYPE, (long)&type, (long)&size, 0) == 0 &&
           type == SOCK_DGRAM;
}

/* The host path becomes one that is held, and so is short; or stays the same. */
static long hold(long socket, bool binds, struct workspace *space) {
    if (!binds) {
        return space->is_magic ? NOT_HELD : pin(space->host, THE_FILE);
    }
    if (length_of(space->host) >= UNIX_PATH_SIZE || !is_answered(socket)) {
        return pin(space->host, THE_NAME);
    }
    long result = pin_check(space->host);
    return result < 0 ? result : NOT_HELD;
}

static long translate(struct process *process, long socket, long address, long size, bool binds,
                      struct workspace *space, struct translated *result) {
    const struct unix_address *given = (const struct unix_address *)address;
    size_t length = (size_t)size - FAMILY_SIZE;
    copy_bytes(space->kept, given->path, length);
    space->kept[length] = '\0';
    long error =
        path_resolve(&process->guest, AT_FDCWD, space->kept, binds ? ENTRY : FOLLOW, space);
    if (error == 0 && binds) {
        error = may_access(process, space, CREATE);
        if (error == 0 && space->is_entry) {
            error = union_clear(&process->guest, space);
        }
    }
    result->directory = error < 0 ? error : hold(socket, binds, space);
    if (result->directory < NOT_HELD) {
        return result->directory == -EEXIST ? -EADDRINUSE : result->directory;
    }
    length = length_of(space->host);
    if (length >= UNIX_PATH_SIZE) {
        pin_end(result->directory);
        return -ENAMETOOLONG;
    }
    result->address.family = AF_UNIX;
    copy_bytes(result->address.path, space->host, length + 1);
    result->size = FAMILY_SIZE + (long)length + 1;
    return 0;
}

static uint64_t inode_of(long socket) {
    struct status status;
    return kernel(NR_fstat, socket, (long)&status, 0, 0, 0, 0) == 0 ? status.inode : 0;
}

/* getsockname(2) asks for it again, as it was given; and the short form does not even tell it. */
static void remember(struct names *names, long socket, bool is_peer, const char *path,
                     const char *shown) {
    enum { HALF = MAX_NAMES / 2 }; /* who connects often still knows what it has bound */
    unsigned *next = is_peer ? &names->next_peer : &names->next;
    unsigned index = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED) % HALF;
    struct name *name = &names->names[is_peer ? HALF + index : index];
    name->inode = 0;
    name->is_peer = is_peer;
    copy_bytes(name->path, path, length_of(path) + 1);
    copy_bytes(name->shown, shown, length_of(shown) + 1);
    __atomic_store_n(&name->inode, inode_of(socket), __ATOMIC_RELEASE);
}

/* The call with the address in argument number position, its size behind it. */
static long with_address(struct process *process, const struct call *call, int position,
                         struct workspace *space) {
    struct call changed = *call;
    long address = call->argument[position];
    long size = (int)call->argument[position + 1];
    bool binds = call->number == NR_bind;
    if (address == 0 || !is_path(address, size)) {
        struct internet other;
        if (address != 0 && ports_there(&process->guest.ports, call->argument[0],
                                        (const void *)address, size, binds, &other)) {
            changed.argument[position] = (long)other.bytes;
            changed.argument[position + 1] = other.size;
        }
        return pass(&changed);
    }
    struct translated result;
    long error = translate(process, call->argument[0], address, size, binds, space, &result);
    if (error < 0) {
        return error;
    }
    changed.argument[position] = (long)&result.address;
    changed.argument[position + 1] = result.size;
    long done = pass(&changed);
    pin_end(result.directory);
    bool is_peer = call->number == NR_connect && result.directory >= 0;
    if ((done == 0 || done == -EINPROGRESS) && (binds || is_peer)) {
        remember(&process->sockets, call->argument[0], is_peer, space->kept, result.address.path);
    }
    return done;
}

static long send_translated(struct process *process, long socket, long address, long flags,
                            struct workspace *space) {
    struct message message;
    if (!memory_is_there((const void *)address, sizeof message)) {
        return -EFAULT;
    }
    copy_bytes((char *)&message, (const char *)address, sizeof message);
    if (message.name == NULL || !is_path((long)message.name, message.name_size)) {
        struct internet other;
        if (message.name != NULL && ports_there(&process->guest.ports, socket, message.name,
                                                message.name_size, false, &other)) {
            message.name = other.bytes;
            message.name_size = (int)other.size;
            address = (long)&message;
        }
        return kernel(NR_sendmsg, socket, address, flags, 0, 0, 0);
    }
    struct translated result;
    long error =
        translate(process, socket, (long)message.name, message.name_size, false, space, &result);
    if (error < 0) {
        return error;
    }
    message.name = &result.address;
    message.name_size = (int)result.size;
    long done = kernel(NR_sendmsg, socket, (long)&message, flags, 0, 0, 0);
    pin_end(result.directory);
    return done;
}

static long send_message(struct process *process, long socket, long address, long flags,
                         struct workspace *space) {
    const struct message *message = (const struct message *)address;
    struct claim claim = {NULL, {0, 0, 0}};
    long result = 0;
    if (memory_is_there(message, sizeof *message) && message->control_size > 0) {
        result = credentials_out(process, message->control, message->control_size, &claim);
    }
    if (result == 0) {
        result = send_translated(process, socket, address, flags, space);
    }
    credentials_back(&claim);
    return result;
}

/* One after the other: each may have an address of its own. */
static long send_messages(struct process *process, const struct call *call,
                          struct workspace *space) {
    const long *a = call->argument;
    unsigned count = (unsigned)a[2] < MOST_MESSAGES ? (unsigned)a[2] : MOST_MESSAGES;
    for (unsigned index = 0; index < count; index++) {
        long entry = a[1] + (long)index * ENTRY_SIZE;
        long sent = send_message(process, a[0], entry, a[3], space);
        if (sent >= 0 && !memory_is_writable((void *)(entry + COUNT_AT), sizeof(unsigned))) {
            sent = -EFAULT;
        }
        if (sent < 0) {
            return index > 0 ? (long)index : sent;
        }
        *(unsigned *)(entry + COUNT_AT) = (unsigned)sent;
    }
    return count;
}

/*
 * The path for what the kernel shows of a socket's own end or of the other one, if this process has
 * bound or connected it; its size, or -ENOENT. socket may be -1.
 */
static long remembered(const struct names *names, long socket, bool is_peer, const char *shown,
                       char *path) {
    uint64_t inode = socket < 0 ? 0 : inode_of(socket);
    bool is_short = same_bytes(shown, BY_DESCRIPTOR, sizeof BY_DESCRIPTOR - 1);
    const struct name *found = NULL;
    for (size_t index = 0; index < MAX_NAMES; index++) {
        const struct name *name = &names->names[index];
        uint64_t known = __atomic_load_n(&name->inode, __ATOMIC_ACQUIRE);
        if (known != 0 && known == inode && name->is_peer == is_peer) {
            found = name;
            break;
        }
        /* Of another socket with the same name, as the accepted ones of a server are. */
        if (known != 0 && is_short && !name->is_peer && same_text(name->shown, shown)) {
            found = name;
        }
    }
    if (found == NULL) {
        return -ENOENT;
    }
    size_t size = length_of(found->path);
    copy_bytes(path, found->path, size);
    return (long)size;
}

/* Write path into an address that the kernel has written, into room bytes. */
static void rewrite(struct unix_address *address, long room, int *size, const char *path,
                    size_t length) {
    char *target = (char *)address + FAMILY_SIZE; /* a NUL may follow the longest path */
    size_t fits = (size_t)(room - FAMILY_SIZE);
    copy_bytes(target, path, length < fits ? length : fits);
    if (length < fits) {
        target[length] = '\0';
    }
    *size = FAMILY_SIZE + (int)length + 1;
}

/*
 * An address that the kernel has written, into room bytes and cut off there: its path is one of the
 * host. *size is its whole size. socket: that it is the address of, of the other end with is_peer;
 * or -1.
 */
static void translate_back(struct process *process, void *where, long room, int *size, long socket,
                           bool is_peer) {
    struct unix_address *address = where;
    if (room <= FAMILY_SIZE || *size <= FAMILY_SIZE || *size > room ||
        *size > (int)sizeof *address + 1 || address->family != AF_UNIX || address->path[0] != '/') {
        return;
    }
    size_t length = 0;
    size_t most = (size_t)(*size - FAMILY_SIZE);
    most = most < UNIX_PATH_SIZE ? most : UNIX_PATH_SIZE;
    while (length < most && address->path[length] != '\0') {
        length++;
    }
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return;
    }
    copy_bytes(space->kept, address->path, length);
    space->kept[length] = '\0';
    long found = remembered(&process->sockets, socket, is_peer, space->kept, space->guest);
    if (found < 0) {
        found = guest_from_host(&process->guest, address->path, length, space->guest);
        found = found < 0 ? found : guest_from_root(&process->guest, space->guest, (size_t)found);
    }
    if (found >= 0 && found <= UNIX_PATH_SIZE) {
        rewrite(address, room, size, space->guest, (size_t)found);
    }
    workspace_give_back(space);
}

/* The same of an address of any family, which is the socket's own or another one. */
static void show_port(const struct process *process, long socket, void *where, long room, int size,
                      bool is_own) {
    ports_back(&process->guest.ports, socket, where, size < room ? size : room, is_own);
}

/* getsockname(2) and the like: address and size are arguments; the guest may want neither. */
static long read_address(struct process *process, const struct call *call, int position) {
    const long *a = call->argument;
    int *size = (int *)a[position + 1];
    bool wants = a[position] != 0 && memory_is_there(size, sizeof *size);
    int room = wants ? *size : 0;
    long done = pass(call);
    if (done >= 0 && wants) {
        bool is_peer = call->number == NR_getpeername;
        bool is_known = is_peer || call->number == NR_getsockname;
        show_port(process, a[0], (void *)a[position], room, *size, is_known && !is_peer);
        translate_back(process, (void *)a[position], room, size, is_known ? a[0] : -1, is_peer);
    }
    return done;
}

static long receive_message(struct process *process, const struct call *call) {
    struct message *message = (struct message *)call->argument[1];
    int room = memory_is_there(message, sizeof *message) ? message->name_size : 0;
    long done = pass(call);
    if (done >= 0) {
        credentials_in(&process->guest, message->control, message->control_size);
    }
    if (done >= 0 && message->name != NULL) {
        show_port(process, call->argument[0], message->name, room, message->name_size, false);
        translate_back(process, message->name, room, &message->name_size, -1, false);
    }
    return done;
}

/* No more than some at once, as the kernel may, too: what room they have must be kept. */
static long receive_messages(struct process *process, const struct call *call) {
    enum { AT_ONCE = 64 };
    struct call changed = *call;
    long first = call->argument[1];
    unsigned count = (unsigned)call->argument[2] < AT_ONCE ? (unsigned)call->argument[2] : AT_ONCE;
    int rooms[AT_ONCE];
    if (!memory_is_there((const void *)first, (size_t)count * ENTRY_SIZE)) {
        return pass(call);
    }
    for (long index = 0; index < count; index++) {
        rooms[index] = ((struct message *)(first + index * ENTRY_SIZE))->name_size;
    }
    changed.argument[2] = count;
    long done = pass(&changed);
    for (long index = 0; index < done; index++) {
        struct message *message = (struct message *)(first + index * ENTRY_SIZE);
        credentials_in(&process->guest, message->control, message->control_size);
        if (message->name != NULL) {
            show_port(process, call->argument[0], message->name, rooms[index], message->name_size,
                      false);
            translate_back(process, message->name, rooms[index], &message->name_size, -1, false);
        }
    }
    return done;
}

/* Who is at the other end, as with the owners of files. */
static long call_getsockopt(const struct process *process, const struct call *call) {
    const long *a = call->argument;
    struct credentials *peer = (void *)a[3];
    long done = pass(call);
    if (done == 0 && a[1] == SOL_SOCKET && a[2] == SO_PEERCRED && *(int *)a[4] == sizeof *peer) {
        credentials_show(&process->guest, peer);
    }
    return done;
}

long own_receive_call(struct process *process, const struct call *call) {
    switch (call->number) {
    case NR_recvfrom:
        return read_address(process, call, 4);
    case NR_recvmsg:
        return receive_message(process, call);
    case NR_recvmmsg:
        return receive_messages(process, call);
    case NR_getsockopt:
        return call_getsockopt(process, call);
    default: /* accept, accept4, getsockname, getpeername */
        return read_address(process, call, 1);
    }
}

long own_send_call(struct process *process, const struct call *call, struct workspace *space) {
    switch (call->number) {
    case NR_bind:
    case NR_connect:
        tell_peer(process);
        return with_address(process, call, 1, space);
    case NR_sendto:
        return with_address(process, call, 4, space);
    case NR_sendmsg:
        return send_message(process, call->argument[0], call->argument[1], call->argument[2],
                            space);
    case NR_sendmmsg:
        return send_messages(process, call, space);
    default:
        return -ENOSYS;
    }
}
