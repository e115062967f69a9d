/* What directories that the guest has open are, and where their names lie on the host. */
#include "deep.h"
#include "quick.h"
#include "union_facts.h"
#include "union_native.h"

/* Whether the kernel itself says that a directory is deleted, of which there is no path. */
static bool is_deleted(long dirfd, struct workspace *space) {
    static const char deleted[] = " (deleted)";
    if ((int)dirfd == AT_FDCWD) {
        return kernel(NR_getcwd, (long)space->link, PATH_SIZE, 0, 0, 0, 0) == -ENOENT;
    }
    size_t size = length_of(space->link);
    size_t end = sizeof deleted - 1;
    return size > end && same_text(space->link + size - end, deleted);
}

/* The same in a workspace, of a directory that the guest has open. */
static enum folder folder_of(const struct guest *guest, long dirfd, struct workspace *space) {
    long size = path_of_directory(guest, dirfd, space);
    if (size == -ENAMETOOLONG) {
        return deep_mount_path(guest, dirfd, space) < 0 ? UNKNOWN_FOLDER : NATIVE;
    }
    if (size < 0) {
        return size == -ENOENT && is_deleted(dirfd, space) ? NATIVE : UNKNOWN_FOLDER;
    }
    size = size == 1 ? 0 : size;
    const struct mount *mount = guest_mount(guest, space->guest, (size_t)size);
    if (mount->lower == NULL) {
        return NATIVE;
    }
    enum folder folder = union_folder(guest, mount, space->guest, (size_t)size, space->host);
    /* What is opened below must have a path that tells that it is in the lower one. */
    bool is_far = mount->lower_size + (size_t)size + QUICK_LONGEST + 2 > PATH_SIZE;
    return folder == ONLY_LOWER && is_far ? UNKNOWN_FOLDER : folder;
}

static uint64_t fact_of_file(uint64_t device, uint64_t inode, uint64_t generation) {
    return fact_of(hash_mixed(inode + 1) + hash_mixed(device), generation);
}

enum folder union_of_descriptor(const struct guest *guest, long dirfd) {
    struct identity_of_file file;
    uint64_t generation = 0;
    if (!union_identify(dirfd, &file)) {
        return UNKNOWN_FOLDER;
    }
    bool may = facts_are_usable(guest, &generation);
    uint64_t fact = fact_of_file(file.device, file.inode, generation);
    enum folder folder = may ? fact_recall(guest, fact) : UNKNOWN_FOLDER;
    if (folder != UNKNOWN_FOLDER) {
        return folder;
    }
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return UNKNOWN_FOLDER;
    }
    folder = folder_of(guest, dirfd, space);
    workspace_give_back(space);
    if (may && folder != UNKNOWN_FOLDER) {
        fact_note(guest, fact, folder);
    }
    return folder;
}

void union_note_below(const struct guest *guest, long dirfd, uint64_t device, uint64_t inode,
                      uint64_t generation) {
    uint64_t fact = fact_of_file(device, inode, generation);
    if (fact_recall(guest, fact) == UNKNOWN_FOLDER &&
        union_of_descriptor(guest, dirfd) == ONLY_LOWER) {
        fact_note(guest, fact, ONLY_LOWER);
    }
}

/* Merged directories that were looked into: as long as the generation lasts none of them moves. */
enum { REMEMBERED = 16, LONGEST_REMEMBERED = 222 };

struct remembered {
    bool is_taken;
    uint8_t size;
    char path[LONGEST_REMEMBERED];
    uint64_t device, inode, generation;
};

static struct remembered remembered[REMEMBERED];

/* What is to be remembered of the directory; its path comes in place of what was there. */
static bool remember(const struct guest *guest, long dirfd, struct remembered *place,
                     const struct status *status, uint64_t generation) {
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return false;
    }
    long size = path_of_directory(guest, dirfd, space);
    place->generation = ~0ULL;
    bool fits = size > 0 && size <= LONGEST_REMEMBERED;
    if (fits) {
        copy_bytes(place->path, space->guest, (size_t)size);
        place->size = size == 1 ? 0 : (uint8_t)size;
        place->device = status->device;
        place->inode = status->inode;
        place->generation = generation;
    }
    workspace_give_back(space);
    return fits;
}

long union_path_in(const struct guest *guest, long dirfd, const char *name, size_t name_size,
                   enum layer layer, char *host) {
    struct status status;
    uint64_t generation = 0;
    if (!facts_are_usable(guest, &generation) ||
        kernel(NR_newfstatat, (int)dirfd, (long)"", (long)&status, AT_EMPTY_PATH, 0, 0) != 0) {
        return -ENOSYS;
    }
    struct remembered *place = &remembered[hash_mixed(status.inode) % REMEMBERED];
    if (__atomic_test_and_set(&place->is_taken, __ATOMIC_ACQUIRE)) {
        return -ENOSYS;
    }
    bool is_it = place->generation == generation && place->inode == status.inode &&
                 place->device == status.device && place->size > 0;
    long size = -ENOSYS;
    if (is_it || remember(guest, dirfd, place, &status, generation)) {
        const struct mount *mount = guest_mount(guest, place->path, place->size);
        size = mount->lower == NULL ? -ENOSYS
                                    : union_path(mount, layer, place->path, place->size, host);
    }
    __atomic_clear(&place->is_taken, __ATOMIC_RELEASE);
    if (size < 0 || (size_t)size + name_size + 2 > PATH_SIZE) {
        return -ENOSYS;
    }
    host[size++] = '/';
    copy_bytes(host + size, name, name_size);
    host[(size_t)size + name_size] = '\0';
    return size + (long)name_size;
}
