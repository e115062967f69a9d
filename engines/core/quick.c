#include "quick.h"

#include "memory.h"
#include "proc_files.h"

enum { LONGEST = 1024, PAGE = 4096, MODE_BITS = 07777 };

static bool may_be_mount(const struct guest *guest, const char *name, size_t size) {
    for (size_t index = 0; index + 1 < guest->mount_count; index++) {
        const struct mount *mount = &guest->mounts[index];
        size_t begin = mount->target_size - size;
        if (mount->target_size > size && mount->target[begin - 1] == '/' &&
            same_bytes(mount->target + begin, name, size)) {
            return true;
        }
    }
    return false;
}

static bool is_dots(const char *name, size_t size) {
    return name[0] == '.' && (size == 1 || (size == 2 && name[1] == '.'));
}

/* One part of a path: false when it makes the path one for the walk. */
static bool take_part(const struct guest *guest, const char *name, size_t size,
                      struct shape *shape) {
    if (size == 0 || is_dots(name, size)) {
        return false;
    }
    if (!shape->is_absolute && may_be_mount(guest, name, size)) {
        shape->is_simple = false;
    }
    return true;
}

/* The last part has been taken, it is the only one or not. */
static void finish(struct shape *shape, const char *name, size_t size, size_t end, bool is_only) {
    shape->size = end;
    shape->is_single = is_only && !shape->is_absolute && shape->is_simple;
    shape->may_be_translated = proc_is_file(name, size);
}

bool quick_shape(const struct guest *guest, const char *path, struct shape *shape) {
    if (!page_is_there(path) || path[0] == '\0') {
        return false;
    }
    *shape = (struct shape){.is_simple = true, .is_absolute = path[0] == '/'};
    if (shape->is_absolute && guest->find_root != NULL) {
        return false;
    }
    if (path[0] == '.' && page_is_there(path + 1) && path[1] == '\0') {
        shape->is_single = true;
        return true;
    }
    size_t begin = shape->is_absolute ? 1 : 0;
    for (size_t at = begin; at < LONGEST; at++) {
        if (((uintptr_t)path + at) % PAGE == 0 && !page_is_there(path + at)) {
            return false;
        }
        if (path[at] != '/' && path[at] != '\0') {
            continue;
        }
        if (!take_part(guest, path + begin, at - begin, shape)) {
            return false;
        }
        if (path[at] == '\0') {
            finish(shape, path + begin, at - begin, at, begin == 0);
            return true;
        }
        begin = at + 1;
    }
    return false;
}

enum folder quick_folder(const struct guest *guest, long dirfd, const char *path,
                         const struct shape *shape) {
    if (!guest->has_union) {
        return NATIVE;
    }
    if (!shape->is_absolute) {
        return union_of_descriptor(guest, dirfd);
    }
    if (guest_mount(guest, path, shape->size)->lower == NULL) {
        return NATIVE;
    }
    size_t size = shape->size;
    while (size > 0 && path[size - 1] != '/') {
        size--;
    }
    return union_known(guest, path, size - 1);
}

long quick_path(const struct guest *guest, long dirfd, const char *path, const struct shape *shape,
                enum layer layer, char *host) {
    if (!shape->is_absolute) {
        bool is_name = shape->is_single && !(path[0] == '.' && path[1] == '\0');
        return is_name ? union_path_in(guest, dirfd, path, shape->size, layer, host) : -ENOSYS;
    }
    return union_path(guest_mount(guest, path, shape->size), layer, path, shape->size, host);
}

long quick_open(const struct guest *guest, long dirfd, const char *path, const struct shape *shape,
                long flags, long mode, char *host) {
    struct open_how how = {.flags = (uint32_t)flags, .resolve = RESOLVE_NO_SYMLINKS};
    if (flags & (O_CREAT | O_TMPFILE_BIT)) {
        how.mode = (uint64_t)mode & MODE_BITS;
    }
    if (shape->is_absolute) {
        const struct mount *mount = guest_mount(guest, path, shape->size);
        size_t left = shape->size - mount->target_size;
        if (mount->source_size + left + 1 > PATH_SIZE) {
            return -ENOSYS;
        }
        copy_bytes(host, mount->source, mount->source_size);
        copy_bytes(host + mount->source_size, path + mount->target_size, left);
        host[mount->source_size + left] = '\0';
        dirfd = AT_FDCWD;
        path = host;
    } else if (shape->is_simple) {
        how.resolve |= RESOLVE_BENEATH;
    } else {
        return -ENOSYS;
    }
    long result = kernel(NR_openat2, dirfd, (long)path, (long)&how, sizeof how, 0, 0);
    /* openat2 minds flags that openat ignores; leaving the directory is a link's work, too. */
    bool is_no_answer = result == -EINVAL || result == -EXDEV || result == -EAGAIN;
    return is_no_answer ? -ENOSYS : result;
}
