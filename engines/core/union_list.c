/*
 * Listings of directories that are in both layers. What is shown is gathered at once, and sorted by
 * a hash of the names, which is also an entry's place for lseek(2) and telldir(3): so a listing
 * goes on at its place whatever is removed or made meanwhile, in this process or another. The place
 * is kept where the kernel keeps it, at the open file.
 */
#include "hash.h"
#include "memory.h"
#include "pin.h"
#include "text.h"
#include "union.h"
#include "union_forbidden.h"
#include "union_shared.h"

enum {
    SEEK_SET = 0,
    SEEK_CUR = 1,
    DT_UNKNOWN = 0,
    DT_CHR = 2,
    DT_DIR = 4,
    WHITEOUT = 255,
    SNAPSHOTS = 8,
    SIZE_AT = 16, /* struct linux_dirent64: where its size is */
    TYPE_AT = 18,
    NAME_AT = 19,
    OLD_NAME_AT = 18, /* and of getdents(2), with the type in the last byte */
    ROUND = 8,
    PROT_READ_WRITE = 3,
    MAP_PRIVATE_ANONYMOUS = 0x22,
};

/*
 * Places: no file system that has fewer than 2^42 bytes to a file refuses them, and those that use
 * hashes themselves are unlikely to have one of these.
 */
static const uint64_t FIRST_PLACE = 1ULL << 42;
static const uint64_t PLACES = 1ULL << 41;

struct item {
    uint64_t place;
    uint64_t inode;
    uint32_t name; /* in the names */
    uint16_t name_size;
    uint8_t type;
    uint8_t layer;
};

struct snapshot {
    bool is_taken;
    bool is_there;
    long descriptor;
    uint64_t device, inode; /* of what it is open on */
    size_t count;
    struct text items;
    struct text names;
};

static struct snapshot snapshots[SNAPSHOTS];

static uint16_t size_of(const char *entry) {
    uint16_t size;
    copy_bytes((char *)&size, entry + SIZE_AT, sizeof size);
    return size;
}

static bool is_dots(const char *name) {
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* -EACCES: the directory does not let its owner know. */
static long look_for_whiteout(long folder, const char *name, unsigned type) {
    struct status status;
    if (type != DT_CHR && type != DT_UNKNOWN) {
        return false;
    }
    long result =
        kernel(NR_newfstatat, folder, (long)name, (long)&status, AT_SYMLINK_NOFOLLOW, 0, 0);
    return result == -EACCES ? result : result == 0 && union_is_whiteout(&status);
}

static bool is_whiteout(long folder, const char *name, unsigned type) {
    return look_for_whiteout(folder, name, type) > 0;
}

static struct item *items_of(const struct snapshot *snapshot) {
    return (struct item *)(void *)snapshot->items.bytes;
}

static uint64_t place_of(const char *name, size_t size) {
    uint64_t hash = hash_path(name, size);
    hash = (hash ^ hash >> 31) * 0x9e3779b97f4a7c15ULL;
    return FIRST_PLACE + 2 + (hash >> 16) % (PLACES - 4);
}

static void add_item(struct snapshot *snapshot, const char *name, uint64_t place, uint64_t inode,
                     unsigned type, enum layer layer) {
    size_t size = length_of(name);
    const struct item item = {
        .place = place,
        .inode = inode,
        .name = (uint32_t)snapshot->names.size,
        .name_size = (uint16_t)size,
        .type = (uint8_t)type,
        .layer = (uint8_t)layer,
    };
    text_add(&snapshot->names, name, size + 1);
    text_add(&snapshot->items, (const char *)&item, sizeof item);
}

/* All names of a directory of the host. 0 or -errno. */
static long add_layer(const struct guest *guest, struct snapshot *snapshot, const char *host,
                      enum layer layer) {
    struct status status;
    struct text buffer;
    long folder = open_resolved_host(host, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (folder < 0) {
        return folder;
    }
    kernel(NR_fstat, folder, (long)&status, 0, 0, 0, 0);
    text_make(&buffer);
    long size = buffer.bytes == NULL ? -ENOMEM : 1;
    while (size > 0) {
        size = kernel(NR_getdents64, folder, (long)buffer.bytes, (long)buffer.room, 0, 0, 0);
        for (long at = 0; at < size; at += size_of(buffer.bytes + at)) {
            const char *name = buffer.bytes + at + NAME_AT;
            unsigned type = (unsigned char)buffer.bytes[at + TYPE_AT];
            uint64_t inode;
            if (is_dots(name)) {
                continue;
            }
            copy_bytes((char *)&inode, buffer.bytes + at, sizeof inode);
            if (layer == UPPER) {
                type = is_whiteout(folder, name, type) ? WHITEOUT : type;
                inode = union_inode(guest, status.device, inode, folder, name, AT_SYMLINK_NOFOLLOW);
            }
            add_item(snapshot, name, place_of(name, length_of(name)), inode, type, layer);
        }
    }
    text_free(&buffer);
    kernel(NR_close, folder, 0, 0, 0, 0, 0);
    return size;
}

/* By place, then by name, then the upper one first. */
static bool comes_first(const struct snapshot *snapshot, const struct item *one,
                        const struct item *other) {
    if (one->place != other->place) {
        return one->place < other->place;
    }
    const unsigned char *name = (const unsigned char *)snapshot->names.bytes + one->name;
    const unsigned char *second = (const unsigned char *)snapshot->names.bytes + other->name;
    while (*name != '\0' && *name == *second) {
        name++;
        second++;
    }
    return *name != *second ? *name < *second : one->layer <= other->layer;
}

static void merge(const struct snapshot *snapshot, const struct item *from, struct item *to,
                  size_t begin, size_t middle, size_t end) {
    size_t left = begin;
    size_t right = middle;
    for (size_t at = begin; at < end; at++) {
        bool takes_left =
            right >= end || (left < middle && comes_first(snapshot, &from[left], &from[right]));
        to[at] = takes_left ? from[left++] : from[right++];
    }
}

static long sort(struct snapshot *snapshot) {
    size_t bytes = snapshot->items.room;
    long address = kernel(NR_mmap, 0, (long)bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (failed(address)) {
        return address;
    }
    struct item *from = items_of(snapshot);
    struct item *to = (struct item *)address;
    size_t count = snapshot->count;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * width) {
            size_t middle = begin + width < count ? begin + width : count;
            size_t end = begin + 2 * width < count ? begin + 2 * width : count;
            merge(snapshot, from, to, begin, middle, end);
        }
        struct item *other = from;
        from = to;
        to = other;
    }
    snapshot->items.bytes = (char *)from;
    kernel(NR_munmap, (long)to, (long)bytes, 0, 0, 0, 0);
    return 0;
}

/* Of each name the first one, if that is no whiteout; and no two in one place. */
static void drop_hidden(struct snapshot *snapshot) {
    struct item *items = items_of(snapshot);
    const char *names = snapshot->names.bytes;
    size_t used = 0;
    size_t last = 0; /* of its name, shown or not */
    uint64_t next = 0;
    for (size_t index = 0; index < snapshot->count; index++) {
        struct item item = items[index];
        bool is_double = index > 0 && same_text(names + last, names + item.name);
        last = item.name;
        if (is_double || item.type == WHITEOUT) {
            continue;
        }
        item.place = item.place < next ? next : item.place;
        next = item.place + 1;
        items[used++] = item;
    }
    snapshot->count = used;
}

/* The dots, whose inodes are those that stat(2) shows. */
static void add_dots(const struct guest *guest, struct snapshot *snapshot, struct workspace *space,
                     size_t size) {
    const struct mount *mount = guest_mount(guest, space->guest, size);
    for (size_t dots = 0; dots < 2; dots++) {
        struct status status = {.inode = 1};
        size_t at = size;
        while (dots == 1 && at > 0 && space->guest[--at] != '/') {
        }
        if (union_locate(guest, mount, space->guest, at, space->host, &status) > NOWHERE) {
            union_show(guest, &status, AT_FDCWD, space->host, AT_SYMLINK_NOFOLLOW);
        }
        add_item(snapshot, dots == 0 ? "." : "..", FIRST_PLACE + dots, status.inode, DT_DIR, UPPER);
    }
}

static void forget(struct snapshot *snapshot) {
    if (snapshot->is_there) {
        text_free(&snapshot->items);
        text_free(&snapshot->names);
        snapshot->is_there = false;
    }
}

/* Gather what the directory shows, of which the guest path, of that size, is in space->guest. */
static long gather(const struct guest *guest, struct snapshot *snapshot, struct workspace *space,
                   size_t size) {
    const struct mount *mount = guest_mount(guest, space->guest, size);
    text_make(&snapshot->items);
    text_make(&snapshot->names);
    snapshot->is_there = true;
    add_dots(guest, snapshot, space, size);
    long result = union_path(mount, UPPER, space->guest, size, space->host);
    result = result < 0 ? result : add_layer(guest, snapshot, space->host, UPPER);
    if (result == 0) {
        union_path(mount, LOWER, space->guest, size, space->host);
        result = add_layer(guest, snapshot, space->host, LOWER);
    }
    if (result == 0 && (snapshot->items.bytes == NULL || snapshot->names.bytes == NULL)) {
        result = -ENOMEM;
    }
    if (result == 0) {
        snapshot->count = snapshot->items.size / sizeof(struct item);
        result = sort(snapshot);
    }
    if (result < 0) {
        forget(snapshot);
        return result;
    }
    drop_hidden(snapshot);
    return 0;
}

static bool take(struct snapshot *snapshot) {
    return !__atomic_test_and_set(&snapshot->is_taken, __ATOMIC_ACQUIRE);
}

static void give_back(struct snapshot *snapshot) {
    __atomic_clear(&snapshot->is_taken, __ATOMIC_RELEASE);
}

/* The one of that descriptor, or else a place for one. NULL: all are in use. */
static struct snapshot *take_one(long descriptor, const struct status *status) {
    struct snapshot *free = NULL;
    for (size_t index = 0; index < SNAPSHOTS; index++) {
        struct snapshot *snapshot = &snapshots[index];
        if (!take(snapshot)) {
            continue;
        }
        if (snapshot->is_there && snapshot->descriptor == descriptor &&
            snapshot->device == status->device && snapshot->inode == status->inode) {
            if (free != NULL) {
                give_back(free);
            }
            return snapshot;
        }
        if (free == NULL || (free->is_there && !snapshot->is_there)) {
            if (free != NULL) {
                give_back(free);
            }
            free = snapshot;
        } else {
            give_back(snapshot);
        }
    }
    if (free != NULL) {
        forget(free);
        free->descriptor = descriptor;
        free->device = status->device;
        free->inode = status->inode;
    }
    return free;
}

static size_t room_for(const struct item *item, size_t name_at) {
    size_t more = name_at == NAME_AT ? 1 : 2;
    return (name_at + item->name_size + more + ROUND - 1) & ~(size_t)(ROUND - 1);
}

static void write_entry(const struct snapshot *snapshot, const struct item *item, char *entry,
                        size_t name_at) {
    uint64_t next = item->place + 1;
    uint16_t size = (uint16_t)room_for(item, name_at);
    for (size_t at = 0; at < size; at++) {
        entry[at] = 0;
    }
    copy_bytes(entry, (const char *)&item->inode, sizeof item->inode);
    copy_bytes(entry + 8, (const char *)&next, sizeof next);
    copy_bytes(entry + SIZE_AT, (const char *)&size, sizeof size);
    copy_bytes(entry + name_at, snapshot->names.bytes + item->name, item->name_size);
    entry[name_at == NAME_AT ? TYPE_AT : size - 1] = (char)item->type;
}

/* Entries from a place on, as many as fit. */
static long emit(const struct snapshot *snapshot, long descriptor, uint64_t from, char *target,
                 size_t room, size_t name_at) {
    const struct item *items = items_of(snapshot);
    size_t first = 0;
    for (size_t end = snapshot->count; first < end;) {
        size_t middle = (first + end) / 2;
        if (items[middle].place < from) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    size_t used = 0;
    size_t last = first;
    while (last < snapshot->count && used + room_for(&items[last], name_at) <= room) {
        used += room_for(&items[last++], name_at);
    }
    if (last == first) {
        return first < snapshot->count ? -EINVAL : 0;
    }
    if (!memory_is_writable(target, used)) {
        return -EFAULT;
    }
    for (size_t index = first; index < last; index++) {
        write_entry(snapshot, &items[index], target, name_at);
        target += room_for(&items[index], name_at);
    }
    long result =
        kernel(NR_lseek, descriptor, (long)(items[last - 1].place + 1), SEEK_SET, 0, 0, 0);
    return result < 0 ? result : (long)used;
}

/* Entries that the kernel has written: those that are whiteouts, by a directory of the host, go. */
static long without_whiteouts(const struct guest *guest, long descriptor, long hiding, char *entry,
                              long size, size_t name_at) {
    const struct shared *shared = guest->shared;
    struct status status;
    bool may_be_copies = hiding == descriptor && shared != NULL && shared->copied_count > 0 &&
                         kernel(NR_fstat, descriptor, (long)&status, 0, 0, 0, 0) == 0;
    long used = 0;
    for (long at = 0; at < size;) {
        uint16_t entry_size = size_of(entry + at);
        char *name = entry + at + name_at;
        unsigned type = (unsigned char)entry[at + (name_at == NAME_AT ? TYPE_AT : entry_size - 1)];
        unsigned hidden_type = hiding == descriptor && type != DT_CHR ? DT_DIR : DT_CHR;
        if (!is_whiteout(hiding, name, hidden_type)) {
            uint64_t inode;
            copy_bytes((char *)&inode, entry + at, sizeof inode);
            if (may_be_copies) {
                inode =
                    union_inode(guest, status.device, inode, descriptor, name, AT_SYMLINK_NOFOLLOW);
                copy_bytes(entry + at, (const char *)&inode, sizeof inode);
            }
            move_bytes(entry + used, entry + at, entry_size);
            used += entry_size;
        }
        at += entry_size;
    }
    return used;
}

/*
 * A listing of the lower directory that was begun before anything was made or removed: it goes on
 * as it began. What is new need not be shown.
 */
static long go_on(const struct guest *guest, const struct call *call, struct workspace *space,
                  size_t size, size_t name_at) {
    const struct mount *mount = guest_mount(guest, space->guest, size);
    long upper = union_path(mount, UPPER, space->guest, size, space->host);
    if (upper >= 0) {
        upper = open_resolved_host(space->host, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    }
    if (upper < 0) {
        return upper;
    }
    long result;
    long left = 0;
    do {
        result = pass(call);
        if (result > 0) {
            left = without_whiteouts(guest, call->argument[0], upper, (char *)call->argument[1],
                                     result, name_at);
        }
    } while (result > 0 && left == 0);
    kernel(NR_close, upper, 0, 0, 0, 0, 0);
    return result > 0 ? left : result;
}

static long list_merged(const struct guest *guest, const struct call *call, struct workspace *space,
                        size_t name_at) {
    const long *a = call->argument;
    struct status status;
    long size = path_of_directory(guest, a[0], space);
    long at = kernel(NR_lseek, a[0], 0, SEEK_CUR, 0, 0, 0);
    long result = kernel(NR_fstat, a[0], (long)&status, 0, 0, 0, 0);
    if (size < 0 || at < 0 || result < 0) {
        return size < 0 ? size : at < 0 ? at : result;
    }
    size = size == 1 ? 0 : size;
    uint64_t from = (uint64_t)at;
    if (from != 0 && (from < FIRST_PLACE || from > FIRST_PLACE + PLACES + UINT16_MAX)) {
        return go_on(guest, call, space, (size_t)size, name_at);
    }
    struct snapshot *snapshot = take_one((int)a[0], &status);
    if (snapshot == NULL) {
        return -EAGAIN;
    }
    if (from == 0) {
        forget(snapshot);
    }
    result = snapshot->is_there ? 0 : gather(guest, snapshot, space, (size_t)size);
    if (result == 0) {
        result = emit(snapshot, a[0], from, (char *)a[1], (unsigned)a[2], name_at);
    }
    if (result <= 0) {
        forget(snapshot);
    }
    give_back(snapshot);
    return result;
}

static long list_native(const struct guest *guest, const struct call *call, size_t name_at) {
    long result = pass(call);
    if (result <= 0) {
        return result;
    }
    long left = without_whiteouts(guest, call->argument[0], call->argument[0],
                                  (char *)call->argument[1], result, name_at);
    return left > 0 ? left : list_native(guest, call, name_at);
}

long union_list(const struct guest *guest, const struct call *call) {
    size_t name_at = call->number == NR_getdents64 ? NAME_AT : OLD_NAME_AT;
    enum folder folder =
        guest->has_union ? union_of_descriptor(guest, (int)call->argument[0]) : NATIVE;
    if (!guest->has_union || folder == ONLY_LOWER) {
        return pass(call);
    }
    if (folder == NATIVE) {
        return list_native(guest, call, name_at);
    }
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return -ENOMEM;
    }
    long result;
    if (folder == MERGED) {
        result = list_merged(guest, call, space, name_at);
    } else {
        /* No directory, or one that is gone; of the lower one the kernel does not know it. */
        long size = path_of_directory(guest, (int)call->argument[0], space);
        bool is_gone =
            size == -ENOENT && guest_is_lower(guest, space->link, length_of(space->link));
        result = is_gone ? -ENOENT : pass(call);
    }
    workspace_give_back(space);
    return result;
}

/*
 * Whether each name of a directory is that of a whiteout in a directory, this one or another: 0,
 * -ENOTEMPTY or another -errno. With removes it is gone then. Either may be what opening it said.
 */
static long each_is_hidden(long folder, long hiding, bool removes, struct workspace *space) {
    long size = folder < 0 ? folder : 1;
    while (size > 0) {
        size = kernel(NR_getdents64, folder, (long)space->rest, sizeof space->rest, 0, 0, 0);
        for (long at = 0; at < size; at += size_of(space->rest + at)) {
            const char *name = space->rest + at + NAME_AT;
            unsigned type = hiding == folder ? (unsigned char)space->rest[at + TYPE_AT] : DT_CHR;
            if (is_dots(name)) {
                continue;
            }
            long found = hiding < 0 ? 0 : look_for_whiteout(hiding, name, type);
            if (found <= 0) {
                return found < 0 ? found : -ENOTEMPTY;
            }
            if (removes) {
                kernel(NR_unlinkat, hiding, (long)name, 0, 0, 0, 0);
            }
        }
    }
    return size;
}

static long open_folder(long dirfd, const char *path, long flags) {
    flags |= O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    return kernel(NR_openat, dirfd, (long)path, flags, 0, 0, 0);
}

static void close_folder(long folder) {
    if (folder >= 0) {
        kernel(NR_close, folder, 0, 0, 0, 0, 0);
    }
}

static long clean(long dirfd, const char *path, bool only_look, struct workspace *space) {
    long folder = open_folder(dirfd, path, O_RDONLY);
    long result = each_is_hidden(folder, folder, !only_look, space);
    close_folder(folder);
    return result;
}

long union_clean(const char *host, bool only_look, struct workspace *space) {
    struct forbidden forbidden = NOT_FORBIDDEN;
    long result = clean(AT_FDCWD, host, only_look, space);
    if (result == -EACCES) {
        result = forbidden_begin(host, &forbidden);
        result = result < 0 ? result : clean(result, ".", only_look, space);
        forbidden_end(&forbidden);
    }
    return result;
}

/* Whether each name of the lower directory is hidden by the upper one. */
static long all_hidden(const struct mount *mount, const char *path, size_t path_size,
                       struct workspace *space) {
    union_path(mount, UPPER, path, path_size, space->host);
    long upper = open_folder(AT_FDCWD, space->host, O_PATH);
    union_path(mount, LOWER, path, path_size, space->host);
    long lower = open_folder(AT_FDCWD, space->host, O_RDONLY);
    long result = each_is_hidden(lower, upper, false, space);
    close_folder(upper);
    close_folder(lower);
    return result;
}

static long is_empty(const struct mount *mount, const char *path, size_t size, enum folder folder,
                     struct workspace *space) {
    long result = 0;
    if (folder != ONLY_LOWER) {
        union_path(mount, UPPER, path, size, space->host);
        result = union_clean(space->host, true, space);
    }
    return result == 0 && folder != NATIVE ? all_hidden(mount, path, size, space) : result;
}

long union_is_empty(const struct guest *guest, const struct mount *mount, const char *path,
                    size_t size, struct workspace *space) {
    struct forbidden forbidden = NOT_FORBIDDEN;
    enum folder folder = union_folder(guest, mount, path, size, space->host);
    if (folder == UNKNOWN_FOLDER) {
        return -ENOENT;
    }
    long result = is_empty(mount, path, size, folder, space);
    if (result == -EACCES && folder == MERGED) {
        union_path(mount, UPPER, path, size, space->host);
        result = forbidden_begin(space->host, &forbidden);
        result = result < 0 ? result : is_empty(mount, path, size, folder, space);
        forbidden_end(&forbidden);
    }
    return result;
}
