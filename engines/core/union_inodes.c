/* Inodes: a copy is shown with the one of what it was made of. */
#include "hash.h"
#include "union.h"
#include "union_shared.h"

enum { STATX_BTIME = 0x800 };

/* struct statx of <linux/stat.h>, as far as it is needed. */
struct birth {
    uint32_t mask, block_size;
    uint64_t rest[9];
    uint64_t born_seconds;
    uint32_t born_nanoseconds, padding;
    uint64_t more[20];
};

static uint64_t born(long dirfd, const char *path, long flags) {
    struct birth birth = {.mask = 0};
    long result = kernel(NR_statx, dirfd, (long)path, flags, STATX_BTIME, (long)&birth, 0);
    if (result < 0 || !(birth.mask & STATX_BTIME)) {
        return 0;
    }
    return birth.born_seconds * 1000000000ULL + birth.born_nanoseconds;
}

/* The word of marks that tells of an inode, and the bit in it. Bits are never taken back. */
static size_t mark_of(uint64_t inode, uint64_t *bit) {
    size_t place = hash_mixed(inode) % (SHARED_MARKS * 64);
    *bit = 1ULL << (place % 64);
    return place / 64;
}

static bool may_be_copy(const struct shared *shared, uint64_t inode) {
    uint64_t bit;
    size_t place = mark_of(inode, &bit);
    return __atomic_load_n(&shared->marks[place], __ATOMIC_ACQUIRE) & bit;
}

void union_note_copy(const struct guest *guest, const char *host, const struct status *before) {
    struct shared *shared = guest->shared;
    struct status status;
    if (shared == NULL || shared->copied_count >= SHARED_COPIED / 2 ||
        host_status(host, &status) != 0) {
        return;
    }
    uint64_t when = born(AT_FDCWD, host, AT_SYMLINK_NOFOLLOW);
    if (when == 0) {
        return;
    }
    shared->upper_device = status.device;
    shared->lower_device = before->device;
    for (size_t step = 0; step < SHARED_COPIED; step++) {
        struct copied *copied = &shared->copied[(hash_mixed(status.inode) + step) % SHARED_COPIED];
        if (copied->inode == 0) { /* nobody else adds one: this is done under the lock */
            copied->before = before->inode;
            copied->born = when;
            uint64_t bit;
            size_t place = mark_of(status.inode, &bit);
            __atomic_fetch_or(&shared->marks[place], bit, __ATOMIC_RELEASE);
            __atomic_store_n(&copied->inode, status.inode, __ATOMIC_RELEASE);
            __atomic_fetch_add(&shared->copied_count, 1, __ATOMIC_RELEASE);
            return;
        }
    }
}

uint64_t union_inode(const struct guest *guest, uint64_t device, uint64_t inode, long dirfd,
                     const char *path, long flags) {
    const struct shared *shared = guest->shared;
    if (shared == NULL || __atomic_load_n(&shared->copied_count, __ATOMIC_ACQUIRE) == 0 ||
        device != shared->upper_device || !may_be_copy(shared, inode)) {
        return inode;
    }
    uint64_t when = 0;
    for (size_t step = 0; step < SHARED_COPIED; step++) {
        const struct copied *copied = &shared->copied[(hash_mixed(inode) + step) % SHARED_COPIED];
        uint64_t found = __atomic_load_n(&copied->inode, __ATOMIC_ACQUIRE);
        if (found == 0) {
            break;
        }
        if (found == inode) {
            when = when == 0 ? born(dirfd, path, flags) : when;
            if (copied->born == when) {
                return copied->before;
            }
        }
    }
    return inode;
}

void union_show(const struct guest *guest, struct status *status, long dirfd, const char *path,
                long flags) {
    uint64_t inode = union_inode(guest, status->device, status->inode, dirfd, path, flags);
    if (inode != status->inode) {
        status->inode = inode;
        status->device = guest->shared->lower_device;
    }
}

/* The device of statx(2), as stat(2) has it. */
static uint64_t device_of(const uint32_t *pair) {
    return (pair[1] & 0xff) | (uint64_t)pair[0] << 8 | (uint64_t)(pair[1] & ~0xffU) << 12;
}

void union_show_extended(const struct guest *guest, void *status, long dirfd, const char *path,
                         long flags) {
    enum { INODE_AT = 32, DEVICE_AT = 136 }; /* struct statx */
    uint64_t *inode = (uint64_t *)(void *)((char *)status + INODE_AT);
    uint32_t *device = (uint32_t *)(void *)((char *)status + DEVICE_AT);
    uint64_t before = union_inode(guest, device_of(device), *inode, dirfd, path, flags);
    if (before != *inode) {
        uint64_t lower = guest->shared->lower_device;
        *inode = before;
        device[0] = (uint32_t)(lower >> 8) & 0xfff;
        device[1] = (uint32_t)((lower & 0xff) | (lower >> 12 & 0xfff00));
    }
}
