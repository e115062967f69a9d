/* What is open already when the guest begins. */
#include "engine.h"

enum { FIRST = 3, LISTING = 2048, NAME_AT = 19, SIZE_AT = 16 }; /* struct linux_dirent64 */

/* Whether descriptor is open on a directory that the guest has no path for. */
static bool is_outside(const struct guest *guest, long descriptor, struct workspace *space) {
    struct status status;
    return kernel(NR_fstat, descriptor, (long)&status, 0, 0, 0, 0) == 0 &&
           (status.mode & S_IFMT) == S_IFDIR && path_of_directory(guest, descriptor, space) < 0;
}

static long number_of(const char *name) {
    long number = 0;
    for (; *name >= '0' && *name <= '9'; name++) {
        number = number * 10 + (*name - '0');
    }
    return *name == '\0' ? number : -1;
}

/* From such a directory every file of the host could be reached. */
void close_outside(const struct guest *guest) {
    static char listing[LISTING];
    struct workspace *space = workspace_take();
    long own = kernel(NR_openat, AT_FDCWD, (long)"/proc/self/fd",
                      O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
    if (own < 0 || space == NULL) {
        give_up(FAILED, "list", "what is open", own < 0 ? own : -ENOMEM);
    }
    for (long size = 1; size > 0;) {
        size = kernel(NR_getdents64, own, (long)listing, LISTING, 0, 0, 0);
        for (long at = 0; at < size; at += *(uint16_t *)(void *)(listing + at + SIZE_AT)) {
            long descriptor = number_of(listing + at + NAME_AT);
            if (descriptor >= FIRST && descriptor != own && is_outside(guest, descriptor, space)) {
                kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
            }
        }
    }
    kernel(NR_close, own, 0, 0, 0, 0, 0);
    workspace_give_back(space);
}
