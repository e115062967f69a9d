/* access(2) in all its forms. */
#include "own.h"
#include "quick.h"
#include "union_native.h"

enum { W_OK = 2, AT_EACCESS = 0x200 };

/* Root may do what the mode does not let a file's owner do, except to execute what nobody may. */
static bool root_may(struct process *process, const struct workspace *space, long mode,
                     long flags) {
    enum { EXECUTE = 1, EXECUTE_BITS = 0111 };
    struct status status;
    if (!persona_can(persona_of(process), CAP_DAC_OVERRIDE) ||
        kernel(NR_newfstatat, AT_FDCWD, (long)space->host, (long)&status,
               flags & AT_SYMLINK_NOFOLLOW, 0, 0) < 0) {
        return false;
    }
    bool is_directory = (status.mode & S_IFMT) == S_IFDIR;
    return status.uid == process->guest.host_uid && space->mount->target_size == 0 &&
           (!(mode & EXECUTE) || is_directory || status.mode & EXECUTE_BITS);
}

/*
 * Without the walk, where it is known that the kernel meets no link before the last name; -ENOSYS
 * where the walk is needed. Servers in Java ask this of each file that they send.
 */
static long quick_access(struct process *process, const char *path, long mode, char *host) {
    const struct guest *guest = &process->guest;
    struct shape shape;
    struct native native;
    if (!quick_shape(guest, path, &shape) || !shape.is_absolute || permission_is_asked(process) ||
        guest_mount(guest, path, shape.size)->lower == NULL ||
        quick_folder(guest, AT_FDCWD, path, &shape) != NATIVE ||
        !native_begin(guest, path, shape.above, true, &native) ||
        quick_path(guest, AT_FDCWD, path, &shape, UPPER, host) < 0) {
        return -ENOSYS;
    }
    struct status status;
    long result =
        kernel(NR_newfstatat, AT_FDCWD, (long)host, (long)&status, AT_SYMLINK_NOFOLLOW, 0, 0);
    unsigned kind = result == 0 ? status.mode & S_IFMT : 0;
    if (result == 0 && (kind == S_IFREG || kind == S_IFDIR)) {
        result = kernel(NR_faccessat, AT_FDCWD, (long)host, mode, 0, 0, 0);
    } else if (result == 0) {
        result = -ENOSYS;
    }
    bool is_answer = result == 0 || result == -ENOENT;
    return is_answer && native_holds(guest, &native) ? result : -ENOSYS;
}

static long access_at(struct process *process, long dirfd, const char *path, long mode, long flags,
                      struct workspace *space) {
    if (flags & AT_EMPTY_PATH && path_is_empty(path)) {
        return kernel(NR_faccessat2, dirfd, (long)path, mode, flags, 0, 0);
    }
    long result = flags == 0 ? quick_access(process, path, mode, space->host) : -ENOSYS;
    if (result != -ENOSYS) {
        return result;
    }
    enum last last = flags & AT_SYMLINK_NOFOLLOW ? KEEP : FOLLOW;
    result = path_resolve(&process->guest, dirfd, path, last, space);
    if (result < 0) {
        return result;
    }
    result = flags == 0 ? kernel(NR_faccessat, AT_FDCWD, (long)space->host, mode, 0, 0, 0)
                        : kernel(NR_faccessat2, AT_FDCWD, (long)space->host, mode, flags, 0, 0);
    if (result == -EACCES && root_may(process, space, mode, flags)) {
        result = 0;
    }
    bool is_for_root = !(flags & AT_EACCESS) && persona_of(process)->user.real == 0;
    if (result == 0 && !is_for_root) {
        result = permission_to_use(process, space, (unsigned)mode);
    }
    return result == 0 && mode & W_OK && space->mount->readonly ? -EROFS : result;
}

long own_access_call(struct process *process, const struct call *call, struct workspace *space) {
    const long *a = call->argument;
    switch (call->number) {
#ifdef ARCH_HAS_LEGACY
    case NR_access:
        return access_at(process, AT_FDCWD, (const char *)a[0], a[1], 0, space);
#endif
    case NR_faccessat:
        return access_at(process, a[0], (const char *)a[1], a[2], 0, space);
    default:
        return access_at(process, a[0], (const char *)a[1], a[2], a[3], space);
    }
}
