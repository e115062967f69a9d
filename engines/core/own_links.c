/* readlink(2) and symlink(2). */
#include "own.h"
#include "pin.h"
#include "proc.h"
#include "table.h"
#include "union.h"

/* The text of a link of /proc to a file is a host path: the guest has its own name for that. */
static long link_of_proc(struct process *process, struct workspace *space, long size) {
    unsigned long pid;
    if (proc_link(space->host, &pid) == NOT_MAGIC) {
        return size;
    }
    copy_bytes(space->kept, space->link, (size_t)size + 1);
    long found = proc_target(&process->guest, space->host, space->kept, (size_t)size);
    if (found >= 0) {
        found = guest_from_root(&process->guest, space->kept, (size_t)found);
    }
    if (found < 0) {
        return size;
    }
    copy_bytes(space->link, space->kept, (size_t)found);
    return found;
}

/* The link that a descriptor is open on, with O_PATH and O_NOFOLLOW. */
static long host_of_descriptor(long descriptor, struct workspace *space) {
    char name[48] = "/proc/self/fd/";
    write_number(name + 14, (unsigned)descriptor);
    long size = kernel(NR_readlinkat, AT_FDCWD, (long)name, (long)space->host, PATH_SIZE - 1, 0, 0);
    space->host[size < 0 ? 0 : size] = '\0';
    return kernel(NR_readlinkat, descriptor, (long)"", (long)space->link, PATH_SIZE - 1, 0, 0);
}

static long read_link_at(struct process *process, long dirfd, const char *path, char *target,
                         long room, struct workspace *space) {
    long size;
    if (room <= 0) {
        return -EINVAL;
    }
    if ((int)dirfd >= 0 && path_is_empty(path)) {
        size = host_of_descriptor(dirfd, space);
    } else {
        size = path_resolve(&process->guest, dirfd, path, KEEP, space);
        if (size == 0) {
            size = kernel(NR_readlinkat, AT_FDCWD, (long)space->host, (long)space->link,
                          PATH_SIZE - 1, 0, 0);
        }
    }
    if (size < 0) {
        return size;
    }
    space->link[size] = '\0';
    size = link_of_proc(process, space, size);
    size = size < room ? size : room;
    if (!memory_is_writable(target, (size_t)size)) {
        return -EFAULT;
    }
    copy_bytes(target, space->link, (size_t)size);
    return size;
}

static long symlink_at(struct process *process, const char *text, long dirfd, const char *path,
                       struct workspace *space) {
    long result = path_resolve(&process->guest, dirfd, path, ENTRY, space);
    if (result == 0) {
        result = may_access(process, space, CREATE);
    }
    if (result < 0) {
        return result;
    }
    const struct call call = {NR_symlinkat, {(long)text, AT_FDCWD, (long)space->host}};
    return space->is_entry ? union_create(&process->guest, &call, 2, space)
                           : pass_held(&call, space->host);
}

long own_link_call(struct process *process, const struct call *call, struct workspace *space) {
    const long *a = call->argument;
    switch (call->number) {
#ifdef ARCH_HAS_LEGACY
    case NR_readlink:
        return read_link_at(process, AT_FDCWD, (const char *)a[0], (char *)a[1], (int)a[2], space);
    case NR_symlink:
        return symlink_at(process, (const char *)a[0], AT_FDCWD, (const char *)a[1], space);
#endif
    case NR_symlinkat:
        return symlink_at(process, (const char *)a[0], a[1], (const char *)a[2], space);
    default:
        return read_link_at(process, a[0], (const char *)a[1], (char *)a[2], (int)a[3], space);
    }
}
