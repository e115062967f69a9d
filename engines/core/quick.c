#include "quick.h"

#include "memory.h"
#include "proc_files.h"
#include "union_facts.h"

enum { PAGE = 4096, MODE_BITS = 07777 };

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
static void finish(struct shape *shape, const char *path, size_t size, size_t end, bool is_only) {
    shape->size = end;
    shape->above = end - size;
    shape->is_single = is_only && !shape->is_absolute && shape->is_simple;
    shape->may_be_translated = proc_may_be_file(path, end - size, size);
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
    for (size_t at = begin; at < QUICK_LONGEST; at++) {
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
            finish(shape, path, at - begin, at, begin == 0);
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
    bool is_no_answer =
        result == -EINVAL || result == -EXDEV || result == -EAGAIN || result == -EPERM;
    return is_no_answer ? -ENOSYS : result;
}

enum { MOST_LINKS = 8 };

/* The first name of an absolute path: the size of the path up to its end. */
static size_t end_of_first(const char *path) {
    size_t end = 1;
    while (path[end] != '\0' && path[end] != '/') {
        end++;
    }
    return end;
}

/* Put the text of a link in place of the path's first part, of that size. 0 or -errno. */
static long replace_part(char *path, size_t size, size_t part, const char *text, size_t text_size) {
    size_t folder = 0;
    if (text[0] != '/') {
        folder = part;
        while (path[folder - 1] != '/') {
            folder--;
        }
    }
    if (folder + text_size + (size - part) >= PATH_SIZE) {
        return -ENAMETOOLONG;
    }
    move_bytes(path + folder + text_size, path + part, size - part + 1);
    copy_bytes(path + folder, text, text_size);
    return (long)(folder + text_size + (size - part));
}

/* The facts are of the union: other runs of the container may have had other mounts. */
static long known_link(const struct guest *guest, const char *path, size_t size, char *text) {
    return guest_mount(guest, path, size)->lower == NULL
               ? -ENOENT
               : union_known_link(guest, path, size, text);
}

bool quick_past_links(const struct guest *guest, const char *path, char *out) {
    char text[LONGEST_LINK + 1];
    bool is_changed = false;
    if (guest->shared == NULL || guest->find_root != NULL || !page_is_there(path) ||
        path[0] != '/') {
        return false;
    }
    long size = path_copy(out, path);
    for (int count = 0; count < MOST_LINKS && size > 1; count++) {
        size_t part = end_of_first(out);
        long link = known_link(guest, out, part, text);
        if (link < 0 && part < (size_t)size) {
            part = (size_t)size;
            link = known_link(guest, out, part, text);
        }
        if (link < 0) {
            break;
        }
        size = replace_part(out, (size_t)size, part, text, (size_t)link);
        is_changed = true;
    }
    return is_changed && size > 1;
}

bool quick_find_lower(const struct guest *guest, const char *path, struct workspace *space) {
    struct shape shape;
    if (!guest->has_union ||
        (!quick_past_links(guest, path, space->guest) && path_copy(space->guest, path) <= 0) ||
        !quick_shape(guest, space->guest, &shape) || !shape.is_absolute ||
        quick_folder(guest, AT_FDCWD, space->guest, &shape) != ONLY_LOWER) {
        return false;
    }
    space->mount = guest_mount(guest, space->guest, shape.size);
    space->is_magic = space->is_lower = space->is_entry = space->has_end = false;
    space->layer = LOWER;
    return union_path(space->mount, LOWER, space->guest, shape.size, space->host) >= 0;
}
