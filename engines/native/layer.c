#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layer.h"

enum { BLOCK = 512, MAX_PATH = 512, MAX_DEPTH = 32 };
enum { IN_TREE = 01777 }; /* setuid and setgid would give this user's rights to others */
static const char WHITEOUT[] = ".wh.";
static const long long MAX_TIME = (1LL << 34) - (1LL << 31) - 1; /* header.py: _MAX_TIME */

struct member {
    char kind;
    unsigned mode, uid, gid;
    long long mtime;
    unsigned long long size;
    size_t length;       /* of the path */
    size_t name;         /* where the last part of the path begins */
    int depth;           /* parts before that */
    char path[MAX_PATH]; /* parts with one slash between them */
    char link[101];
};

struct udocker_layer {
    int root;
    char *notes;
    size_t notes_size;
    /* The directory that was the last, and those above it: where each part ends, and open. */
    int depth;
    size_t ends[MAX_DEPTH];
    int open[MAX_DEPTH];
    char directory[MAX_PATH];
    /* The file whose content is being written. */
    int file;
    unsigned long long left, padding;
    struct member member;
};

struct udocker_layer *udocker_layer_begin(int root, char *notes, size_t size) {
    struct udocker_layer *layer = calloc(1, sizeof *layer);
    if (layer != NULL) {
        layer->root = root;
        layer->notes = notes;
        layer->notes_size = size;
        layer->file = -1;
    }
    return layer;
}

void udocker_layer_end(struct udocker_layer *layer) {
    udocker_layer_forget(layer);
    if (layer->file >= 0)
        close(layer->file);
    free(layer);
}

void udocker_layer_forget(struct udocker_layer *layer) {
    while (layer->depth > 0)
        close(layer->open[--layer->depth]);
}

const char *udocker_layer_path(struct udocker_layer *layer) {
    return layer->member.path;
}

/* Octal digits with blanks around them; false for anything else, which may still be a number. */
static int octal(const char *field, size_t size, unsigned long long *number) {
    const char *end = field + size;
    while (field < end && (*field == ' ' || *field == '\0'))
        field++;
    *number = 0;
    for (; field < end && *field >= '0' && *field <= '7'; field++)
        *number = *number << 3 | (unsigned long long)(*field - '0');
    while (field < end && (*field == ' ' || *field == '\0'))
        field++;
    return field == end;
}

static int has_checksum(const char *block) {
    unsigned long long stored;
    unsigned sum = 8 * ' ';
    for (int i = 0; i < BLOCK; i++)
        sum += (unsigned char)block[i];
    for (int i = 148; i < 156; i++)
        sum -= (unsigned char)block[i];
    return octal(block + 148, 8, &stored) && stored == sum;
}

/* Add the parts of text to the path; false for a name with "..", or one that is too deep. */
static int add_parts(struct member *member, const char *text, size_t size) {
    for (size_t at = 0; at < size;) {
        const char *part = text + at;
        const char *slash = memchr(part, '/', size - at);
        size_t length = slash ? (size_t)(slash - part) : size - at;
        at += length + 1;
        if (length == 0 || (length == 1 && part[0] == '.'))
            continue;
        if (length == 2 && part[0] == '.' && part[1] == '.')
            return 0;
        if (member->length > 0) {
            if (++member->depth > MAX_DEPTH)
                return 0;
            member->path[member->length++] = '/';
        }
        member->name = member->length;
        memcpy(member->path + member->length, part, length);
        member->length += length;
    }
    return 1;
}

/* The path of a header, as name_of() in header.py has it. */
static int take_path(struct member *member, const char *block) {
    member->length = member->name = 0;
    member->depth = 0;
    int is_ustar = memcmp(block + 257, "ustar", 6) == 0;
    if (is_ustar && block[345] != '\0' &&
        !add_parts(member, block + 345, strnlen(block + 345, 155)))
        return 0;
    if (!add_parts(member, block, strnlen(block, 100)) || member->length == 0)
        return 0;
    member->path[member->length] = '\0';
    return strstr(member->path, WHITEOUT) == NULL;
}

/* Whether the header is one of those that are written here. */
static int parse(struct member *member, const char *block) {
    unsigned long long mode, uid, gid, size, mtime;
    member->kind = block[156];
    if (member->kind != '0' && member->kind != '2' && member->kind != '5')
        return 0;
    if (!has_checksum(block) || !octal(block + 100, 8, &mode) || !octal(block + 108, 8, &uid) ||
        !octal(block + 116, 8, &gid) || !octal(block + 124, 12, &size) ||
        !octal(block + 136, 12, &mtime) || (long long)mtime > MAX_TIME)
        return 0;
    member->mode = mode & 07777;
    member->uid = (unsigned)uid;
    member->gid = (unsigned)gid;
    member->mtime = (long long)mtime;
    member->size = member->kind == '0' ? size : 0; /* of others it means nothing */
    if (member->kind == '2') {
        size_t length = strnlen(block + 157, 100);
        if (length == 0)
            return 0;
        memcpy(member->link, block + 157, length);
        member->link[length] = '\0';
    }
    return take_path(member, block);
}

/* A descriptor of the directory that the member is in; -1 where it is not there. */
static int open_parent(struct udocker_layer *layer, const char *path, int depth) {
    size_t at = 0;
    int level = 0;
    while (level < layer->depth && level < depth) {
        size_t end = layer->ends[level];
        if (memcmp(layer->directory + at, path + at, end - at) != 0 || path[end] != '/')
            break;
        level++;
        at = end;
    }
    while (layer->depth > level)
        close(layer->open[--layer->depth]);
    for (; level < depth; level++) {
        size_t begin = at > 0 ? at + 1 : 0;
        size_t end = (size_t)(strchr(path + begin, '/') - path);
        memcpy(layer->directory + at, path + at, end - at);
        layer->directory[end] = '\0';
        int above = level > 0 ? layer->open[level - 1] : layer->root;
        int opened =
            openat(above, layer->directory + begin, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (opened < 0)
            return -1;
        layer->open[level] = opened;
        layer->ends[level] = end;
        layer->depth = level + 1;
        at = end;
    }
    return depth > 0 ? layer->open[depth - 1] : layer->root;
}

static unsigned mode_in_tree(const struct member *member) {
    if (member->kind == '5')
        return (member->mode & IN_TREE) | 0700;
    return member->kind == '0' ? (member->mode & IN_TREE) | 0400 : member->mode;
}

static void note(struct udocker_layer *layer, int tell_all, struct udocker_step *step) {
    const struct member *member = &layer->member;
    if (!tell_all && member->kind != '5' && member->uid == 0 && member->gid == 0 &&
        member->mode == mode_in_tree(member))
        return;
    struct udocker_note made = {
        .mtime = member->mtime,
        .uid = member->uid,
        .gid = member->gid,
        .mode = (unsigned short)member->mode,
        .length = (unsigned short)member->length,
        .kind = member->kind,
    };
    memcpy(layer->notes + step->noted, &made, sizeof made);
    memcpy(layer->notes + step->noted + sizeof made, member->path, member->length);
    step->noted += sizeof made + member->length;
}

/* Both times: that of access is not looked at by anyone. */
static int set_time(int descriptor, const char *name, long long seconds) {
    struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    if (name == NULL)
        return futimens(descriptor, times);
    return utimensat(descriptor, name, times, AT_SYMLINK_NOFOLLOW);
}

/* Make a directory, and keep it open: what is in it comes next. */
static int make_directory(struct udocker_layer *layer, int parent) {
    const struct member *member = &layer->member;
    const char *name = member->path + member->name;
    if (mkdirat(parent, name, 0700) != 0)
        return 0;
    /* chmod(2) by name would follow a link that was put there just now. */
    int made = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (made < 0) { /* a umask that takes even this user's rights */
        unlinkat(parent, name, AT_REMOVEDIR);
        return 0;
    }
    int result = fchmod(made, mode_in_tree(member));
    if (result != 0 || member->depth == MAX_DEPTH) {
        close(made);
        return result == 0;
    }
    memcpy(layer->directory, member->path, member->length + 1);
    layer->ends[layer->depth] = member->length;
    layer->open[layer->depth++] = made;
    return 1;
}

/* Make what has no content, or the beginning of what has; false where Python is to try. */
static int make(struct udocker_layer *layer, int parent) {
    const struct member *member = &layer->member;
    const char *name = member->path + member->name;
    if (member->kind == '5')
        return make_directory(layer, parent);
    if (member->kind == '2')
        return symlinkat(member->link, parent, name) == 0 &&
               set_time(parent, name, member->mtime) == 0;
    layer->file = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (layer->file < 0)
        return 0;
    layer->left = member->size;
    layer->padding = -member->size % BLOCK;
    return 1;
}

/* Go on with the content of the open file: the bytes that were taken, or a negative errno. */
static ssize_t write_content(struct udocker_layer *layer, const char *data, size_t size) {
    size_t wanted = layer->left < size ? (size_t)layer->left : size;
    for (size_t done = 0; done < wanted;) {
        ssize_t written = write(layer->file, data + done, wanted - done);
        if (written < 0 && errno != EINTR)
            return -errno;
        done += written > 0 ? (size_t)written : 0;
    }
    layer->left -= wanted;
    if (layer->left > 0)
        return (ssize_t)wanted;
    /* The mode after the last write, which clears bits of it on some filesystems. */
    if (fchmod(layer->file, mode_in_tree(&layer->member)) != 0 ||
        set_time(layer->file, NULL, layer->member.mtime) != 0)
        return -errno;
    int result = close(layer->file);
    layer->file = -1;
    return result == 0 || errno == EINTR ? (ssize_t)wanted : -errno;
}

/* Deal with what is left of the member that was begun; 0, or a negative errno. */
static int finish(struct udocker_layer *layer, const char *data, size_t size,
                  struct udocker_step *step) {
    if (layer->file >= 0) {
        ssize_t taken = write_content(layer, data + step->used, size - step->used);
        if (taken < 0)
            return (int)taken;
        step->used += (size_t)taken;
        if (layer->file >= 0)
            return 0;
    }
    size_t there = size - step->used;
    size_t passed = layer->padding < there ? (size_t)layer->padding : there;
    layer->padding -= passed;
    step->used += passed;
    return 0;
}

int udocker_layer_write(struct udocker_layer *layer, const char *data, size_t size, int tell_all,
                        struct udocker_step *step) {
    struct member *member = &layer->member;
    unsigned long long entries = step->entries, bytes = step->bytes;
    step->entries = step->bytes = 0;
    step->used = step->noted = 0;
    for (;;) {
        int failed = finish(layer, data, size, step);
        step->open = layer->file >= 0 || layer->padding > 0;
        if (failed != 0)
            return failed;
        if (step->open || size - step->used < BLOCK)
            return UDOCKER_MORE;
        if (layer->notes_size - step->noted < sizeof(struct udocker_note) + MAX_PATH)
            return UDOCKER_NOTES_FULL;
        if (step->entries == entries || !parse(member, data + step->used) ||
            member->size > bytes - step->bytes)
            return UDOCKER_YOURS;
        int parent = open_parent(layer, member->path, member->depth);
        if (parent < 0 || !make(layer, parent))
            return UDOCKER_YOURS;
        step->entries++;
        step->bytes += member->size;
        step->used += BLOCK;
        note(layer, tell_all, step);
    }
}
