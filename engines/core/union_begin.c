/* Where a union begins: what its processes share is mapped, and its file system tried. */
#include "union.h"
#include "union_shared.h"
#include "union_work.h"

enum { PROT_READ_WRITE = 3, MAP_SHARED = 1, MAP_FIXED = 0x10 };

void union_attach(struct guest *guest, struct shared *place) {
    if (!guest->has_union || guest->state == NULL) {
        return;
    }
    long descriptor = kernel(NR_openat, AT_FDCWD, (long)guest->state, O_RDWR | O_CLOEXEC, 0, 0, 0);
    if (descriptor < 0) {
        return;
    }
    struct status status;
    long address = -ENOENT;
    if (kernel(NR_fstat, descriptor, (long)&status, 0, 0, 0, 0) == 0 &&
        status.size == sizeof(struct shared)) {
        address = kernel(NR_mmap, (long)place, sizeof(struct shared), PROT_READ_WRITE,
                         MAP_SHARED | (place == NULL ? 0 : MAP_FIXED), descriptor, 0);
    }
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    if (!failed(address) && ((struct shared *)address)->format == SHARED_FORMAT) {
        guest->shared = (struct shared *)address;
    }
}

static long check(const struct guest *guest, struct workspace *space) {
    long size = union_temporary(guest, space->host);
    if (size < 0) {
        return size;
    }
    long result = kernel(NR_mkdirat, AT_FDCWD, (long)space->host, 0700, 0, 0, 0);
    if (result < 0) {
        return result;
    }
    result = kernel(NR_setxattr, (long)space->host, (long)UNION_OPAQUE, (long)"y", 1, 0, 0);
    kernel(NR_unlinkat, AT_FDCWD, (long)space->host, AT_REMOVEDIR, 0, 0, 0);
    if (result == 0) {
        result = kernel(NR_mknodat, AT_FDCWD, (long)space->host, S_IFCHR, 0, 0, 0);
        kernel(NR_unlinkat, AT_FDCWD, (long)space->host, 0, 0, 0, 0);
    }
    return result;
}

static long share_root(const struct guest *guest, struct workspace *space) {
    const struct mount *root = &guest->mounts[guest->mount_count - 1];
    struct union_lock lock;
    struct status upper;
    struct status lower;
    union_path(root, LOWER, "", 0, space->host);
    long result = host_status(space->host, &lower);
    union_path(root, UPPER, "", 0, space->host);
    result = result < 0 ? result : host_status(space->host, &upper);
    result = result < 0 ? result : union_lock(guest, &lock, false);
    if (result < 0) {
        return result;
    }
    if (union_inode(guest, upper.device, upper.inode, AT_FDCWD, space->host, 0) == upper.inode) {
        union_note_copy(guest, space->host, &lower);
    }
    union_unlock(guest, &lock);
    return 0;
}

long union_begin(const struct guest *guest, struct workspace *space) {
    long result = check(guest, space);
    return result < 0 ? result : share_root(guest, space);
}
