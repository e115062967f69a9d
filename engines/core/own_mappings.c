/*
 * Executable mappings: of a file that has a patched copy, the copy is mapped. Whoever reads the
 * file reads the file; only its code comes from the copy, whose places are the same.
 */
#include "own.h"

enum { PROT_EXEC = 4, MAP_ANONYMOUS = 0x20 };

static const struct copy *copy_of(const struct guest *guest, long descriptor) {
    struct status status;
    if (guest->copy_count == 0 || kernel(NR_fstat, descriptor, (long)&status, 0, 0, 0, 0) != 0) {
        return NULL;
    }
    for (size_t index = 0; index < guest->copy_count; index++) {
        const struct copy *copy = &guest->copies[index];
        if (copy->inode == status.inode && copy->device == status.device &&
            copy->size == status.size && copy->seconds == status.modified[0] &&
            copy->nanoseconds == status.modified[1]) {
            return copy;
        }
    }
    return NULL;
}

long map_file(const struct guest *guest, const long *argument) {
    const long *a = argument;
    const struct copy *copy = copy_of(guest, (int)a[4]);
    long descriptor = -1;
    if (copy != NULL) {
        descriptor = kernel(NR_openat, AT_FDCWD, (long)copy->path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    }
    if (descriptor < 0) {
        return kernel(NR_mmap, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
    long result = kernel(NR_mmap, a[0], a[1], a[2], a[3], descriptor, a[5]);
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    return result;
}

long own_map_call(struct process *process, const struct call *call) {
    const long *a = call->argument;
    if (!(a[2] & PROT_EXEC) || a[3] & MAP_ANONYMOUS) {
        return pass(call);
    }
    return map_file(&process->guest, a);
}
