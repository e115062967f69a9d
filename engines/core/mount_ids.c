#include "mount_ids.h"

#include "calls.h"

enum {
    STATX_MNT_ID = 0x1000,
    STATX_SIZE = 256,
    MOUNT_ID_AT = 144, /* struct statx */
    AT_NO_AUTOMOUNT = 0x800,
    AT_HANDLE_MNT_ID_UNIQUE = 1,
    EOVERFLOW = 75,
};

/* Of the mount that a host path lies on; 0: the kernel does not tell. */
static unsigned long id_of(const char *host) {
    uint64_t status[STATX_SIZE / sizeof(uint64_t)];
    long result = kernel(NR_statx, AT_FDCWD, (long)(*host == '\0' ? "/" : host), AT_NO_AUTOMOUNT,
                         STATX_MNT_ID, (long)status, 0);
    bool is_told = result == 0 && status[0] & STATX_MNT_ID;
    return is_told ? status[MOUNT_ID_AT / sizeof(uint64_t)] : 0;
}

/* That shows something of the mount of the host; for what no path leads to. */
static const struct mount *that_shows(const struct guest *guest, unsigned long host_id) {
    for (size_t index = guest->mount_count; index > 0; index--) {
        const struct mount *mount = &guest->mounts[index - 1];
        if (id_of(mount->source) == host_id ||
            (mount->lower != NULL && id_of(mount->lower) == host_id)) {
            return mount;
        }
    }
    return NULL;
}

unsigned long mount_shown(const struct guest *guest, const struct mount *mount,
                          unsigned long host_id) {
    if (mount == NULL) {
        mount = that_shows(guest, host_id);
    }
    if (mount == NULL) { /* a pipe, say, whose mount nobody sees */
        return host_id * MAX_MOUNTS + MAX_MOUNTS - 1;
    }
    if (mount->lower != NULL) { /* a union is one mount */
        unsigned long upper = id_of(mount->source);
        host_id = upper != 0 && id_of(mount->lower) == host_id ? upper : host_id;
    }
    return mount_pair(guest, mount, host_id);
}

const struct mount *mount_of_link(const struct guest *guest, const char *link) {
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return NULL;
    }
    const struct mount *mount = NULL;
    long size = kernel(NR_readlinkat, AT_FDCWD, (long)link, (long)space->link, PATH_SIZE - 1, 0, 0);
    if (size > 0 && space->link[0] == '/') {
        size = guest_from_host(guest, space->link, (size_t)size, space->guest);
        if (size > 0) {
            mount = guest_mount(guest, space->guest, size == 1 ? 0 : (size_t)size);
        }
    }
    workspace_give_back(space);
    return mount;
}

const struct mount *mount_of_descriptor(const struct guest *guest, long descriptor) {
    char link[48] = "/proc/self/cwd";
    if ((int)descriptor != AT_FDCWD) {
        copy_bytes(link, "/proc/self/fd/", 14);
        write_number(link + 14, (unsigned)descriptor);
    }
    return mount_of_link(guest, link);
}

long mount_of_handle(const struct guest *guest, const struct call *call,
                     const struct mount *mount) {
    if (call->argument[4] & AT_HANDLE_MNT_ID_UNIQUE) {
        return -EINVAL; /* as before Linux 6.12: nothing takes these numbers here */
    }
    long result = pass(call);
    if (result == 0 || result == -EOVERFLOW) {
        int *id = (int *)call->argument[3];
        mount = mount != NULL ? mount : mount_of_descriptor(guest, call->argument[0]);
        *id = (int)mount_shown(guest, mount, (unsigned)*id);
    }
    return result;
}
