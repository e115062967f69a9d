/*
 * Executable mappings: of a file that has a patched copy, the copy is mapped. Whoever reads the
 * file reads the file; only its code comes from the copy, whose places are the same.
 */
#include "own.h"
#include "union_facts.h"

enum { PROT_EXEC = 4, MAP_ANONYMOUS = 0x20, ROOM_FOR_NAME = 96 };
static const uint64_t NANOSECONDS = 1000000000;

/* Copies are named by device, inode, size and time of the file: as long as these are, it is that.
 */
bool copy_path(const struct guest *guest, const struct status *status, char *path) {
    size_t size = guest->copies == NULL ? 0 : length_of(guest->copies);
    if (size == 0 || size + ROOM_FOR_NAME > PATH_SIZE) {
        return false;
    }
    const uint64_t numbers[] = {status->device, status->inode, status->size,
                                status->modified[0] * NANOSECONDS + status->modified[1]};
    copy_bytes(path, guest->copies, size);
    for (size_t index = 0; index < sizeof numbers / sizeof numbers[0]; index++) {
        path[size++] = index == 0 ? '/' : '-';
        size += write_number(path + size, numbers[index]);
    }
    return true;
}

/* What was cut off would be a bus error later: then the file itself it is. */
static bool is_whole(long copy, const struct status *original) {
    struct status status;
    return kernel(NR_fstat, copy, (long)&status, 0, 0, 0, 0) == 0 && status.size >= original->size;
}

/* What copies are named by, as one number. */
static uint64_t identity_of(const struct status *status) {
    const uint64_t factor = 0x9e3779b97f4a7c15U;
    uint64_t number = status->device;
    number = number * factor + status->inode;
    number = number * factor + status->size;
    return (number * factor + status->modified[0]) * factor + status->modified[1];
}

static long open_copy(const struct guest *guest, long descriptor) {
    struct status status;
    if (guest->copies == NULL || kernel(NR_fstat, descriptor, (long)&status, 0, 0, 0, 0) != 0 ||
        union_knows_no_copy(guest, identity_of(&status))) {
        return -ENOENT;
    }
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return -ENOMEM;
    }
    long result = -ENOENT;
    if (copy_path(guest, &status, space->host)) {
        result = kernel(NR_openat, AT_FDCWD, (long)space->host, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    }
    workspace_give_back(space);
    if (result == -ENOENT) {
        union_learn_no_copy(guest, identity_of(&status));
    }
    if (result >= 0 && !is_whole(result, &status)) {
        kernel(NR_close, result, 0, 0, 0, 0, 0);
        result = -ENOENT;
    }
    return result;
}

long map_file(const struct guest *guest, const long *argument) {
    const long *a = argument;
    long descriptor = open_copy(guest, (int)a[4]);
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
