/* Copying up: before anything of the lower directory is changed, the upper one is given a copy. */
#include "calls.h"
#include "pin.h"
#include "text.h"
#include "union_work.h"

enum {
    SEEK_SET = 0,
    SEEK_DATA = 3,
    SEEK_HOLE = 4,
    RENAME_NOREPLACE = 1,
    MODE_BITS = 07777,
    ALL_OF_OWNER = 0700,
    TRIES = 8, /* that others may have been faster */
    F_DUPFD_CLOEXEC = 1030,
    RLIMIT_FSIZE = 1,
};

static const long FICLONE = 0x40049409; /* ioctl_ficlone(2) */
static const size_t MOST_AT_ONCE = 1 << 30;
static const char OVERLAY[] = "user.overlay.";

/* A copy in progress: in space, guest is the path, kept the original, link the place in work. */
struct copying {
    const struct guest *guest;
    const struct mount *mount;
    struct workspace *space;
    size_t size; /* of space->guest */
    struct status status;
};

/*
 * Descriptors while data is copied. Another thread may close what it has not opened, and then its
 * next file would get the number, and the data. That takes the lowest number that is free: these
 * are high, and looked at before each use. What a program puts on a number on purpose, between
 * that look and the use, it could have written to itself.
 */
struct opened {
    long descriptor;
    uint64_t device, inode;
};

static bool is_still(const struct opened *opened) {
    struct status status;
    return kernel(NR_fstat, opened->descriptor, (long)&status, 0, 0, 0, 0) == 0 &&
           status.device == opened->device && status.inode == opened->inode;
}

static void end(const struct opened *opened) {
    if (is_still(opened)) {
        kernel(NR_close, opened->descriptor, 0, 0, 0, 0, 0);
    }
}

/* Open what nobody replaces at that path meanwhile. 0 or -errno. */
static long open_high(struct opened *opened, const char *host, long flags) {
    static const long numbers[] = {960, 200}; /* limits are 1024 or 256, if they are low */
    struct status status;
    long low = kernel(NR_openat, AT_FDCWD, (long)host, flags | O_NOFOLLOW | O_CLOEXEC, 0600, 0, 0);
    long result = low < 0 ? low
                          : kernel(NR_newfstatat, AT_FDCWD, (long)host, (long)&status,
                                   AT_SYMLINK_NOFOLLOW, 0, 0);
    if (result < 0) {
        return result;
    }
    *opened = (struct opened){low, status.device, status.inode};
    struct opened high = *opened;
    high.descriptor = -EINVAL;
    for (int index = 0; index < 2 && high.descriptor == -EINVAL; index++) {
        high.descriptor = kernel(NR_fcntl, low, F_DUPFD_CLOEXEC, numbers[index], 0, 0, 0);
    }
    if (high.descriptor >= 0) {
        end(opened);
        *opened = high;
    }
    return 0;
}

/* No more of a file: it would end the program by SIGXFSZ. */
static bool may_be_so_large(uint64_t size) {
    uint64_t limits[2];
    long result = kernel(NR_prlimit64, 0, RLIMIT_FSIZE, 0, (long)limits, 0, 0);
    return result < 0 || size <= limits[0];
}

/* How data is copied: the first of these that works. */
enum method { IN_KERNEL, BY_PAGES, BY_HAND };

static long copy_some(enum method *method, long from, long to, uint64_t position, size_t most,
                      struct workspace *space) {
    int64_t at = (int64_t)position;
    most = most < MOST_AT_ONCE ? most : MOST_AT_ONCE;
    if (*method == IN_KERNEL) {
        int64_t there = at;
        long done = kernel(NR_copy_file_range, from, (long)&at, to, (long)&there, (long)most, 0);
        if (done > 0) {
            return done;
        }
        *method = BY_PAGES;
    }
    long result = kernel(NR_lseek, to, (long)position, SEEK_SET, 0, 0, 0);
    if (result < 0) {
        return result;
    }
    if (*method == BY_PAGES) {
        at = (int64_t)position;
        long done = kernel(NR_sendfile, to, from, (long)&at, (long)most, 0, 0);
        if (done > 0 || (done < 0 && done != -EINVAL && done != -ENOSYS)) {
            return done;
        }
        *method = BY_HAND;
    }
    most = most < sizeof space->rest ? most : sizeof space->rest;
    long got = kernel(NR_pread64, from, (long)space->rest, (long)most, (long)position, 0, 0);
    return got <= 0 ? got : kernel(NR_write, to, (long)space->rest, got, 0, 0, 0);
}

/* From one position to another; -EAGAIN: the descriptors have become others. */
static long copy_piece(enum method *method, const struct opened *from, const struct opened *to,
                       uint64_t position, uint64_t end, struct workspace *space) {
    while (position < end) {
        if (!is_still(from) || !is_still(to)) {
            return -EAGAIN;
        }
        long done =
            copy_some(method, from->descriptor, to->descriptor, position, end - position, space);
        if (done <= 0) {
            return done < 0 ? done : -EIO;
        }
        position += (uint64_t)done;
    }
    return 0;
}

/* Holes stay holes. The size is given at the end. */
static long copy_pieces(const struct opened *from, const struct opened *to, uint64_t size,
                        struct workspace *space) {
    enum method method = IN_KERNEL;
    uint64_t position = 0;
    while (position < size) {
        long begin = kernel(NR_lseek, from->descriptor, (long)position, SEEK_DATA, 0, 0, 0);
        if (begin == -ENXIO) {
            break; /* a hole up to the end */
        }
        position = begin < 0 ? position : (uint64_t)begin;
        long hole = kernel(NR_lseek, from->descriptor, (long)position, SEEK_HOLE, 0, 0, 0);
        uint64_t end = hole <= (long)position ? size : (uint64_t)hole;
        long result = copy_piece(&method, from, to, position, end, space);
        if (result < 0) {
            return result;
        }
        position = end;
    }
    return 0;
}

static long copy_data(const struct opened *from, const struct opened *to, const char *host,
                      uint64_t size, struct workspace *space) {
    if (!is_still(from) || !is_still(to)) {
        return -EAGAIN;
    }
    if (kernel(NR_ioctl, to->descriptor, FICLONE, from->descriptor, 0, 0, 0) != 0) {
        long result = copy_pieces(from, to, size, space);
        result = result < 0 ? result : kernel(NR_truncate, (long)host, (long)size, 0, 0, 0, 0);
        if (result < 0) {
            return is_still(from) && is_still(to) ? result : -EAGAIN;
        }
    }
    /* If they are so now, they were when they were read. */
    return is_still(from) && is_still(to) ? 0 : -EAGAIN;
}

/* Attributes of the user's; those of overlayfs are about the place, and not the file. */
static void copy_attributes(struct workspace *space, const char *from, const char *to) {
    long size = kernel(NR_llistxattr, (long)from, (long)space->rest, sizeof space->rest, 0, 0, 0);
    if (size <= 0) {
        return;
    }
    /* Whatever the umask is; the mode comes last. */
    kernel(NR_fchmodat, AT_FDCWD, (long)to, ALL_OF_OWNER, 0, 0, 0);
    struct text value;
    text_make(&value);
    for (const char *name = space->rest; value.bytes != NULL && name < space->rest + size;
         name += length_of(name) + 1) {
        if (same_bytes(name, OVERLAY, sizeof OVERLAY - 1)) {
            continue;
        }
        long got =
            kernel(NR_lgetxattr, (long)from, (long)name, (long)value.bytes, (long)value.room, 0, 0);
        if (got >= 0) { /* what only root may set stays behind */
            kernel(NR_lsetxattr, (long)to, (long)name, (long)value.bytes, got, 0, 0);
        }
    }
    text_free(&value);
}

static void copy_times(const char *host, const struct status *status, long flags) {
    const uint64_t times[4] = {status->accessed[0], status->accessed[1], status->modified[0],
                               status->modified[1]};
    kernel(NR_utimensat, AT_FDCWD, (long)host, (long)times, flags, 0, 0);
}

static long copy_content(const struct copying *copying) {
    struct workspace *space = copying->space;
    const struct status *status = &copying->status;
    struct opened from;
    struct opened to;
    if (!may_be_so_large(status->size)) {
        return -EFBIG;
    }
    long result = open_high(&from, space->kept, O_RDONLY);
    if (result < 0) {
        return result;
    }
    result = open_high(&to, space->link, O_WRONLY | O_CREAT | O_EXCL);
    if (result == 0) {
        result = copy_data(&from, &to, space->link, status->size, space);
        end(&to);
    }
    end(&from);
    return result;
}

static long make_file_copy(const struct copying *copying, bool with_data) {
    struct workspace *space = copying->space;
    const struct status *status = &copying->status;
    bool has_content = with_data && status->size > 0;
    long result = has_content ? copy_content(copying)
                              : kernel(NR_mknodat, AT_FDCWD, (long)space->link, S_IFREG, 0, 0, 0);
    if (result == 0) {
        copy_attributes(space, space->kept, space->link);
        result =
            kernel(NR_fchmodat, AT_FDCWD, (long)space->link, status->mode & MODE_BITS, 0, 0, 0);
    }
    return result;
}

static long make_link_copy(struct copying *copying) {
    struct workspace *space = copying->space;
    long size =
        kernel(NR_readlinkat, AT_FDCWD, (long)space->kept, (long)space->host, PATH_SIZE - 1, 0, 0);
    if (size < 0) {
        return size;
    }
    space->host[size] = '\0';
    return kernel(NR_symlinkat, (long)space->host, AT_FDCWD, (long)space->link, 0, 0, 0);
}

/* Owners that the image has, and its tree does not. */
static long copy_owner(const struct copying *copying) {
    const struct status *status = &copying->status;
    const struct file original = {status->device, status->inode, status->mode, status->uid,
                                  status->gid};
    if (!owners_are_of_image(copying->guest)) {
        return 0;
    }
    long copy = pin_open_at(AT_FDCWD, copying->space->link, O_PATH | O_NOFOLLOW);
    if (copy < 0) {
        return copy;
    }
    owners_copy(copying->guest, &original, copy);
    pin_end(copy);
    return 0;
}

/* The copy, in the work directory. */
static long make_copy(struct copying *copying, bool with_data) {
    struct workspace *space = copying->space;
    const struct status *status = &copying->status;
    space->link[0] = '\0';
    long result = union_temporary(copying->guest, space->link);
    if (result < 0) {
        return result;
    }
    unsigned mode = status->mode & MODE_BITS;
    switch (status->mode & S_IFMT) {
    case S_IFREG:
        result = make_file_copy(copying, with_data);
        break;
    case S_IFLNK:
        result = make_link_copy(copying);
        break;
    case S_IFDIR:
        result = kernel(NR_mkdirat, AT_FDCWD, (long)space->link, ALL_OF_OWNER, 0, 0, 0);
        if (result == 0) {
            copy_attributes(space, space->kept, space->link);
            result = kernel(NR_fchmodat, AT_FDCWD, (long)space->link, mode | ALL_OF_OWNER, 0, 0, 0);
        }
        break;
    default:
        result = kernel(NR_mknodat, AT_FDCWD, (long)space->link, status->mode,
                        (long)status->special, 0, 0);
        if (result == 0) {
            result = kernel(NR_fchmodat, AT_FDCWD, (long)space->link, mode, 0, 0, 0);
        }
    }
    result = result < 0 ? result : copy_owner(copying);
    if (result == 0) {
        copy_times(space->link, status, AT_SYMLINK_NOFOLLOW);
    }
    return result;
}

static void discard(const struct copying *copying) {
    bool is_directory = (copying->status.mode & S_IFMT) == S_IFDIR;
    kernel(NR_unlinkat, AT_FDCWD, (long)copying->space->link, is_directory ? AT_REMOVEDIR : 0, 0, 0,
           0);
}

/* From the work directory to its place, unless somebody was faster: that is -EEXIST. */
static long place(const char *from, const char *to, bool is_directory) {
    long result =
        kernel(NR_renameat2, AT_FDCWD, (long)from, AT_FDCWD, (long)to, RENAME_NOREPLACE, 0);
    if (result != -EINVAL && result != -ENOSYS) {
        return result;
    }
    if (is_directory) { /* one that is there would have to be empty to be replaced by this */
        result = kernel(NR_mkdirat, AT_FDCWD, (long)to, ALL_OF_OWNER, 0, 0, 0);
        return result < 0 ? result
                          : kernel(NR_renameat, AT_FDCWD, (long)from, AT_FDCWD, (long)to, 0, 0);
    }
    result = kernel(NR_linkat, AT_FDCWD, (long)from, AT_FDCWD, (long)to, 0, 0);
    if (result == 0) {
        kernel(NR_unlinkat, AT_FDCWD, (long)from, 0, 0, 0, 0);
    }
    return result;
}

static size_t parent_of(const char *path, size_t size) {
    while (size > 0 && path[size - 1] != '/') {
        size--;
    }
    return size > 0 ? size - 1 : 0;
}

/* Put the copy in its place. The directory it is in has the times that it had. */
static long install(struct copying *copying) {
    struct workspace *space = copying->space;
    struct union_lock lock;
    struct status above;
    bool is_directory = (copying->status.mode & S_IFMT) == S_IFDIR;
    size_t parent = parent_of(space->guest, copying->size);
    long result = union_lock(copying->guest, &lock, is_directory);
    if (result < 0) {
        return result;
    }
    union_path(copying->mount, UPPER, space->guest, copying->size, space->host);
    union_path(copying->mount, UPPER, space->guest, parent, space->kept);
    long above_held = pin(space->kept, THE_FILE);
    long held = above_held < -1 ? above_held : pin(space->host, THE_NAME);
    result = held < -1 ? held
                       : kernel(NR_newfstatat, AT_FDCWD, (long)space->kept, (long)&above, 0, 0, 0);
    if (result == 0) {
        result = place(space->link, space->host, is_directory);
    }
    if (result == 0) {
        copy_times(space->kept, &above, 0);
        union_note_copy(copying->guest, space->host, &copying->status);
        if (is_directory && (copying->status.mode & ALL_OF_OWNER) != ALL_OF_OWNER) {
            /* To be moved it had to be writable. */
            kernel(NR_fchmodat, AT_FDCWD, (long)space->host, copying->status.mode & MODE_BITS, 0, 0,
                   0);
        }
    }
    pin_end(held);
    pin_end(above_held);
    union_unlock(copying->guest, &lock);
    return result;
}

/* Copy what is at the first size bytes of space->guest; its directory is in the upper one. */
static long copy_one(struct copying *copying, size_t size, bool with_data) {
    struct workspace *space = copying->space;
    copying->size = size;
    if (!union_has_lower(copying->guest, copying->mount, space->guest, size, space->kept,
                         &copying->status)) {
        return -ENOENT;
    }
    long result = make_copy(copying, with_data);
    if (result == 0) {
        result = install(copying);
    }
    if (result < 0) {
        discard(copying);
    }
    return result == -EEXIST ? 0 : result;
}

/* Every directory above size bytes of space->guest that is in the lower one only. */
static long copy_above(struct copying *copying, size_t size) {
    struct workspace *space = copying->space;
    struct status status;
    size_t parent = parent_of(space->guest, size);
    long result = union_path(copying->mount, UPPER, space->guest, parent, space->host);
    result = result < 0 ? result
                        : kernel(NR_newfstatat, AT_FDCWD, (long)space->host, (long)&status,
                                 AT_SYMLINK_NOFOLLOW, 0, 0);
    if (result == 0 && !is_folder(&status)) {
        return union_is_whiteout(&status) ? -ENOENT : -ENOTDIR;
    }
    if (result != -ENOENT) {
        return result;
    }
    for (size_t at = 1; at <= parent; at++) {
        if (at < parent && space->guest[at] != '/') {
            continue;
        }
        long layer =
            union_locate(copying->guest, copying->mount, space->guest, at, space->host, &status);
        if (layer <= NOWHERE) {
            return layer == NOWHERE ? -ENOENT : layer;
        }
        if ((status.mode & S_IFMT) != S_IFDIR) {
            return -ENOTDIR;
        }
        result = layer == LOWER ? copy_one(copying, at, true) : 0;
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static bool begin(struct copying *copying, const struct guest *guest, const struct mount *mount,
                  const char *path, size_t size) {
    *copying = (struct copying){.guest = guest, .mount = mount, .space = workspace_take()};
    if (copying->space == NULL) {
        return false;
    }
    copy_bytes(copying->space->guest, path, size);
    copying->space->guest[size] = '\0';
    return true;
}

long union_copy_parent(const struct guest *guest, const struct mount *mount, const char *path,
                       size_t size) {
    struct copying copying;
    if (!begin(&copying, guest, mount, path, size)) {
        return -ENOMEM;
    }
    long result = copy_above(&copying, size);
    workspace_give_back(copying.space);
    return result;
}

static long copy_up(const struct guest *guest, const struct mount *mount, const char *path,
                    size_t size, bool with_data) {
    struct copying copying;
    if (!begin(&copying, guest, mount, path, size)) {
        return -ENOMEM;
    }
    long result = copy_above(&copying, size);
    if (result == 0) {
        result = copy_one(&copying, size, with_data);
    }
    workspace_give_back(copying.space);
    return result;
}

/* The path of the upper directory, with the slash or the dots that host ends in. */
static long to_upper(struct workspace *space, size_t size) {
    size_t host_size = length_of(space->host);
    size_t end_size = 0;
    if (space->has_end) {
        size_t lower = space->mount->lower_size + (size == 1 ? 0 : size);
        end_size = host_size - (lower < host_size ? lower : host_size);
    }
    copy_bytes(space->link, space->host + host_size - end_size, end_size);
    long used = union_path(space->mount, UPPER, space->guest, size, space->host);
    if (used < 0 || (size_t)used + end_size + 1 > PATH_SIZE) {
        return used < 0 ? used : -ENAMETOOLONG;
    }
    copy_bytes(space->host + used, space->link, end_size);
    space->host[(size_t)used + end_size] = '\0';
    space->layer = UPPER;
    return 0;
}

long union_to_change(const struct guest *guest, struct workspace *space, bool with_data) {
    struct status status;
    size_t size = length_of(space->guest);
    if (space->is_magic && space->is_lower) {
        /* What is open there is changed by its path, if it still has one. */
        space->mount = guest_mount(guest, space->guest, size == 1 ? 0 : size);
        long layer = union_locate(guest, space->mount, space->guest, size, space->host, &status);
        if (layer <= NOWHERE) {
            return layer == NOWHERE ? -EROFS : layer;
        }
        space->layer = (enum layer)layer;
        space->is_magic = false;
        space->has_end = false;
    }
    if (space->is_magic || space->mount->lower == NULL || space->layer != LOWER) {
        return 0;
    }
    for (int count = 0; count < TRIES; count++) {
        long result = copy_up(guest, space->mount, space->guest, size, with_data);
        if (result < 0) {
            return result;
        }
        long layer = union_locate(guest, space->mount, space->guest, size, space->kept, &status);
        if (layer != LOWER) {
            return layer == UPPER ? to_upper(space, size) : layer < 0 ? layer : -ENOENT;
        }
    }
    return -EAGAIN;
}

long union_descriptor_to_change(const struct guest *guest, long descriptor,
                                struct workspace *space) {
    char name[48] = "/proc/self/fd/";
    bool is_working = (int)descriptor == AT_FDCWD;
    if (!guest->has_union || ((int)descriptor < 0 && !is_working)) {
        return 0;
    }
    if (is_working) {
        copy_bytes(name, "/proc/self/cwd", 15);
    } else {
        write_number(name + 14, (unsigned)descriptor);
    }
    long size = kernel(NR_readlinkat, AT_FDCWD, (long)name, (long)space->link, PATH_SIZE - 1, 0, 0);
    if (size <= 0 || !guest_is_lower(guest, space->link, (size_t)size)) {
        return 0;
    }
    long found = guest_from_host(guest, space->link, (size_t)size, space->guest);
    if (found < 0) {
        return -EROFS;
    }
    space->guest[found] = '\0';
    space->is_magic = space->is_lower = true;
    long result = union_to_change(guest, space, true);
    return result < 0 ? result : 1;
}
