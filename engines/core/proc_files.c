#include "proc_files.h"

#include "mount_ids.h"
#include "own.h"
#include "proc.h"
#include "proc_mounts.h"
#include "text.h"

enum { PLACE_SIZE = 64 };

static const char *const names[] = {"maps", "smaps", "mounts", "mountinfo", "mountstats", "status"};

/* Those of fdinfo are numbers. */
static bool is_number(const char *name, size_t size) {
    for (size_t at = 0; at < size; at++) {
        if (name[at] < '0' || name[at] > '9') {
            return false;
        }
    }
    return size > 0;
}

static bool is_name_of_file(const char *name, size_t size) {
    if (is_number(name, size)) {
        return true;
    }
    for (size_t index = 0; index < sizeof names / sizeof names[0]; index++) {
        if (length_of(names[index]) == size && same_bytes(names[index], name, size)) {
            return true;
        }
    }
    return false;
}

bool proc_may_be_file(const char *path, size_t begin, size_t size) {
    static const char folder[] = "fdinfo";
    const char *name = path + begin;
    if (begin < 2 || !is_number(name, size)) {
        return is_name_of_file(name, size);
    }
    size_t at = begin - 1;
    while (at > 0 && path[at - 1] != '/') {
        at--;
    }
    size_t above = begin - 1 - at;
    bool is_dots = above <= 2; /* or nothing between slashes */
    return is_dots || (above == sizeof folder - 1 && same_bytes(path + at, folder, above));
}

static const char *end_of_line(const char *line, const char *end) {
    while (line < end && *line != '\n') {
        line++;
    }
    return line;
}

/* Of a line of maps: behind the address, the mode and the offset; there the file begins. */
static const char *file_of_line(const char *line, const char *end) {
    for (int count = 0; count < 3; count++) {
        while (line < end && *line != ' ') {
            line++;
        }
        line += line < end ? 1 : 0;
    }
    return line;
}

static const char *path_of_line(const char *line, const char *end) {
    while (line < end && *line != '/') {
        line++;
    }
    return line;
}

static const char *last_part(const char *text, const char *end) {
    const char *part = end;
    while (part > text && part[-1] != '/') {
        part--;
    }
    return part;
}

/* Whether it is a patched copy, by the last directory: the rest may be spelled otherwise. */
static bool is_copy(const struct guest *guest, const char *path, const char *end) {
    if (guest->copies == NULL || path == end) {
        return false;
    }
    const char *links = last_part(guest->copies, guest->copies + length_of(guest->copies));
    const char *name = last_part(path, end);
    if (links - guest->copies < 2 || name - path < 2) {
        return false;
    }
    const char *mine = last_part(guest->copies, links - 1);
    const char *other = last_part(path, name - 1);
    return links - mine == name - other && same_bytes(mine, other, (size_t)(links - mine));
}

/* Whether the file at path has the copy of that name. room: for two paths. */
static bool has_copy(const struct guest *guest, const char *path, const char *end, const char *name,
                     size_t size, char *room) {
    struct status status;
    if (path == end || end - path >= PATH_SIZE) {
        return false;
    }
    copy_bytes(room, path, (size_t)(end - path));
    room[end - path] = '\0';
    if (kernel(NR_newfstatat, AT_FDCWD, (long)room, (long)&status, 0, 0, 0) != 0 ||
        !copy_path(guest, &status, room)) {
        return false;
    }
    char *target = room + PATH_SIZE;
    long length = kernel(NR_readlinkat, AT_FDCWD, (long)room, (long)target, PATH_SIZE, 0, 0);
    return length > (long)size && target[length - (long)size - 1] == '/' &&
           same_bytes(target + length - size, name, size);
}

/*
 * Where a line of maps tells its file. The guest knows of no copies: of one, it is the line of the
 * file that it stands for, of which the other parts are mapped. *end is the end of that line.
 */
static const char *true_file(const struct guest *guest, const struct text *maps, const char *line,
                             const char **end) {
    const char *path = path_of_line(line, *end);
    if (!is_copy(guest, path, *end)) {
        return file_of_line(line, *end);
    }
    const char *name = last_part(path, *end);
    size_t size = (size_t)(*end - name);
    struct workspace *space = workspace_take();
    const char *end_of_maps = maps->bytes + maps->size;
    const char *found = file_of_line(line, *end);
    for (const char *other = maps->bytes; space != NULL && other < end_of_maps;) {
        const char *next = end_of_line(other, end_of_maps);
        if (has_copy(guest, path_of_line(other, next), next, name, size, space->rest)) {
            *end = next;
            found = file_of_line(other, next);
            break;
        }
        other = next + 1;
    }
    if (space != NULL) {
        workspace_give_back(space);
    }
    return found;
}

/* A line with the path that it may end in translated: those of maps and smaps. */
static void translate_line(const struct guest *guest, struct text *out, const struct text *in,
                           const char *line, const char *end, char *path) {
    const char *file = file_of_line(line, end);
    text_add(out, line, (size_t)(file - line));
    file = true_file(guest, in, line, &end);
    const char *begin = path_of_line(file, end);
    long found = -ENOENT;
    if (begin < end && end - begin < PATH_SIZE) {
        found = guest_from_host(guest, begin, (size_t)(end - begin), path);
    }
    if (found < 0) {
        text_add(out, file, (size_t)(end - file));
    } else {
        text_add(out, file, (size_t)(begin - file));
        text_add(out, path, (size_t)found);
    }
    text_add(out, "\n", 1);
}

static void translate_maps(const struct guest *guest, struct text *out, const struct text *in) {
    struct text path;
    text_make(&path);
    const char *end = in->bytes + in->size;
    for (const char *line = in->bytes; path.bytes != NULL && line < end;) {
        const char *next = end_of_line(line, end);
        translate_line(guest, out, in, line, next, path.bytes);
        line = next + 1;
    }
    text_free(&path);
}

static void write_place(char *place, unsigned long pid, const char *name) {
    copy_bytes(place, "/proc/", 6);
    size_t size = 6 + write_number(place + 6, pid);
    place[size++] = '/';
    copy_bytes(place + size, name, length_of(name) + 1);
}

/* fdinfo: the mount gets the number that mountinfo has. link: which the descriptor is at. */
static void translate_mount(const struct guest *guest, struct text *out, const struct text *in,
                            const char *link) {
    static const char field[] = "mnt_id:\t";
    const size_t size = sizeof field - 1;
    const char *end = in->bytes + in->size;
    for (const char *line = in->bytes; line < end;) {
        const char *next = end_of_line(line, end);
        next += next < end ? 1 : 0;
        if ((size_t)(next - line) > size && same_bytes(line, field, size)) {
            unsigned long id = 0;
            for (line += size; *line >= '0' && *line <= '9'; line++) {
                id = id * 10 + (unsigned long)(*line - '0');
            }
            text_add(out, field, size);
            text_add_number(out, mount_shown(guest, mount_of_link(guest, link), id));
        }
        text_add(out, line, (size_t)(next - line));
        line = next;
    }
}

static const char INFO[] = "fdinfo/";

/* The number of the descriptor, if name is one of fdinfo; else NULL. */
static const char *descriptor_of(const char *name) {
    const size_t size = sizeof INFO - 1;
    bool is_one = same_bytes(name, INFO, size) && is_number(name + size, length_of(name + size)) &&
                  length_of(name + size) <= 10;
    return is_one ? name + size : NULL;
}

static long open_info(const struct guest *guest, unsigned long pid, const char *name, long flags) {
    char place[PLACE_SIZE];
    char link[PLACE_SIZE] = "fd/";
    struct text in;
    struct text out;
    text_make(&in);
    text_make(&out);
    write_place(place, pid, name);
    copy_bytes(link + 3, descriptor_of(name), length_of(descriptor_of(name)) + 1);
    long result = text_read(&in, place);
    if (result == 0) {
        write_place(place, pid, link);
        translate_mount(guest, &out, &in, place);
        result = text_open(&out, !(flags & O_CLOEXEC));
    }
    text_free(&in);
    text_free(&out);
    return result;
}

long proc_open(const struct guest *guest, const char *host, long flags) {
    unsigned long pid;
    const char *name = proc_entry(host, &pid);
    if (name == NULL || (flags & (O_ACCMODE | O_PATH | O_DIRECTORY | O_TRUNC)) != O_RDONLY) {
        return -ENOSYS;
    }
    if (descriptor_of(name) != NULL) {
        return open_info(guest, pid, name, flags);
    }
    if (!is_name_of_file(name, length_of(name)) || same_text(name, "status")) {
        return -ENOSYS;
    }
    char place[PLACE_SIZE];
    bool is_maps = same_text(name, "maps") || same_text(name, "smaps");
    write_place(place, pid, is_maps ? name : "mountinfo");
    struct text in;
    struct text out;
    text_make(&in);
    text_make(&out);
    long result = text_read(&in, place);
    if (result == 0 && is_maps) {
        translate_maps(guest, &out, &in);
    } else if (result == 0) {
        proc_mounts(guest, &out, &in, name);
    }
    if (result == 0) {
        result = text_open(&out, !(flags & O_CLOEXEC));
    }
    text_free(&in);
    text_free(&out);
    return result;
}

static unsigned long read_hex(const char **text) {
    unsigned long value = 0;
    for (;; (*text)++) {
        char digit = **text;
        if (digit >= '0' && digit <= '9') {
            value = value * 16 + (unsigned long)(digit - '0');
        } else if (digit >= 'a' && digit <= 'f') {
            value = value * 16 + (unsigned long)(digit - 'a' + 10);
        } else {
            return value;
        }
    }
}

/* Where the code begins: field 26 of proc_pid_stat(5), the 24th behind the name. 0: unknown. */
static unsigned long begin_of_code(const struct text *stat) {
    const char *field = stat->bytes + stat->size;
    while (field > stat->bytes && *field != ')') {
        field--;
    }
    for (int count = 0; count < 24; count++) {
        while (*field != '\0' && *field != ' ') {
            field++;
        }
        field += *field == ' ' ? 1 : 0;
    }
    unsigned long value = 0;
    for (; *field >= '0' && *field <= '9'; field++) {
        value = value * 10 + (unsigned long)(*field - '0');
    }
    return value;
}

/* The path of the mapping that address lies in. */
static long path_of_mapping(const struct guest *guest, const struct text *maps,
                            unsigned long address, char *path) {
    const char *end = maps->bytes + maps->size;
    for (const char *line = maps->bytes; line < end;) {
        const char *next = end_of_line(line, end);
        const char *number = line;
        unsigned long from = read_hex(&number);
        number += *number == '-' ? 1 : 0;
        if (from <= address && address < read_hex(&number)) {
            const char *begin = path_of_line(true_file(guest, maps, line, &next), next);
            size_t size = (size_t)(next - begin);
            if (size == 0 || size >= PATH_SIZE) {
                return -ENOENT;
            }
            copy_bytes(path, begin, size);
            path[size] = '\0';
            return (long)size;
        }
        line = next + 1;
    }
    return -ENOENT;
}

long proc_program(const struct guest *guest, unsigned long pid, char *path) {
    char place[PLACE_SIZE];
    struct text stat;
    struct text maps;
    text_make(&stat);
    text_make(&maps);
    write_place(place, pid, "stat");
    long result = text_read(&stat, place);
    write_place(place, pid, "maps");
    if (result == 0) {
        result = text_read(&maps, place);
    }
    if (result == 0) {
        result = path_of_mapping(guest, &maps, begin_of_code(&stat), path);
    }
    text_free(&stat);
    text_free(&maps);
    return result;
}
