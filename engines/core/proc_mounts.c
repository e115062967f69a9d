#include "proc_mounts.h"

#include "mount_ids.h"

/* A word of a line of mountinfo, as it stands there. */
struct word {
    const char *bytes;
    size_t size;
};

/* What a line says. */
struct entry {
    unsigned long id;
    struct word device, root, options, fields; /* fields: none or more words */
    struct word type, source, super_options;
    char *point; /* where it is mounted on the host, with nothing escaped */
    size_t point_size;
};

enum form { MOUNTINFO, MOUNTS, MOUNTSTATS };

struct writer {
    const struct guest *guest;
    struct text *out;
    enum form form;
    char *host; /* PATH_SIZE bytes each */
    char *path;
};

static struct word next_word(const char **text) {
    const char *begin = *text;
    const char *end = begin;
    while (*end != ' ' && *end != '\n' && *end != '\0') {
        end++;
    }
    *text = *end == ' ' ? end + 1 : end;
    return (struct word){begin, (size_t)(end - begin)};
}

static bool is_octal(const char *text) {
    return text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' &&
           text[2] <= '7' && text[3] >= '0' && text[3] <= '7';
}

/* Blanks, tabs, newlines and backslashes are octal numbers there. False when it is too long. */
static bool unescape(struct word word, char *path, size_t *size) {
    size_t used = 0;
    for (size_t at = 0; at < word.size; at++) {
        if (used + 1 == PATH_SIZE) {
            return false;
        }
        const char *text = word.bytes + at;
        if (at + 3 < word.size && is_octal(text)) {
            path[used++] = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
            at += 3;
        } else {
            path[used++] = *text;
        }
    }
    path[used] = '\0';
    *size = used;
    return true;
}

static void add_escaped(struct text *out, const char *path, size_t size) {
    for (size_t at = 0; at < size; at++) {
        unsigned char byte = (unsigned char)path[at];
        if (byte == ' ' || byte == '\t' || byte == '\n' || byte == '\\' || byte == '#') {
            const char octal[4] = {'\\', (char)('0' + byte / 64), (char)('0' + byte / 8 % 8),
                                   (char)('0' + byte % 8)};
            text_add(out, octal, sizeof octal);
        } else {
            text_add(out, path + at, 1);
        }
    }
}

static void add_word(struct text *out, struct word word) {
    text_add(out, word.bytes, word.size);
}

/* Read a line; *line goes on to the next one. False when it is none of these. */
static bool read_entry(const char **line, struct entry *entry) {
    const char *text = *line;
    struct word number = next_word(&text);
    next_word(&text); /* the number of the one above */
    entry->id = 0;
    for (size_t at = 0; at < number.size && number.bytes[at] >= '0' && number.bytes[at] <= '9';
         at++) {
        entry->id = entry->id * 10 + (unsigned long)(number.bytes[at] - '0');
    }
    entry->device = next_word(&text);
    entry->root = next_word(&text);
    struct word point = next_word(&text);
    entry->options = next_word(&text);
    entry->fields = (struct word){text, 0};
    struct word word = next_word(&text);
    while (word.size > 0 && !(word.size == 1 && word.bytes[0] == '-')) {
        entry->fields.size = (size_t)(word.bytes + word.size - entry->fields.bytes);
        word = next_word(&text);
    }
    entry->type = next_word(&text);
    entry->source = next_word(&text);
    entry->super_options = next_word(&text);
    while (*text != '\0' && *text != '\n') {
        text++;
    }
    *line = *text == '\n' ? text + 1 : text;
    if (point.size == 0 || !unescape(point, entry->point, &entry->point_size)) {
        return false;
    }
    if (entry->point_size == 1) {
        entry->point_size = 0; /* as the source of a mount */
    }
    return true;
}

/* Options of a mount: it is read-only if the guest's is, or both of the host's say so. */
static void add_options(struct writer *writer, const struct entry *entry, bool readonly,
                        bool with_super) {
    struct word options = entry->options;
    struct word more = entry->super_options;
    bool is_writable = options.size >= 2 && options.bytes[1] == 'w';
    bool super_writable = !with_super || (more.size >= 2 && more.bytes[1] == 'w');
    text_add(writer->out, is_writable && super_writable && !readonly ? "rw" : "ro", 2);
    if (options.size > 2) {
        text_add(writer->out, options.bytes + 2, options.size - 2);
    }
    if (with_super && more.size > 2) {
        text_add(writer->out, more.bytes + 2, more.size - 2);
    }
}

/* One line: entry, of which the part at root is mounted at path. */
static void add_line(struct writer *writer, const struct entry *entry, struct word below,
                     const char *path, size_t size, bool readonly, unsigned long id,
                     unsigned long parent) {
    struct text *out = writer->out;
    if (writer->form == MOUNTSTATS) {
        text_add_string(out, "device ");
        add_word(out, entry->source);
        text_add_string(out, " mounted on ");
        add_escaped(out, path, size);
        text_add_string(out, " with fstype ");
        add_word(out, entry->type);
    } else if (writer->form == MOUNTS) {
        add_word(out, entry->source);
        text_add(out, " ", 1);
        add_escaped(out, path, size);
        text_add(out, " ", 1);
        add_word(out, entry->type);
        text_add(out, " ", 1);
        add_options(writer, entry, readonly, true);
        text_add_string(out, " 0 0");
    } else {
        text_add_number(out, id);
        text_add(out, " ", 1);
        text_add_number(out, parent);
        text_add(out, " ", 1);
        add_word(out, entry->device);
        text_add(out, " ", 1);
        bool is_root = entry->root.size == 1 && below.size > 0;
        add_word(out, is_root ? (struct word){"", 0} : entry->root);
        add_escaped(out, below.bytes, below.size);
        text_add(out, " ", 1);
        add_escaped(out, path, size);
        text_add(out, " ", 1);
        add_options(writer, entry, readonly, false);
        text_add(out, " ", 1);
        add_word(out, entry->fields);
        text_add_string(out, entry->fields.size > 0 ? " - " : "- ");
        add_word(out, entry->type);
        text_add(out, " ", 1);
        add_word(out, entry->source);
        text_add(out, " ", 1);
        add_word(out, entry->super_options);
    }
    text_add(out, "\n", 1);
}

static const struct mount *above(const struct guest *guest, const struct mount *mount) {
    size_t size = mount->target_size;
    while (size > 0 && mount->target[size - 1] != '/') {
        size--;
    }
    return guest_mount(guest, mount->target, size > 0 ? size - 1 : 0);
}

static bool is_below(const char *path, size_t size, const char *prefix, size_t prefix_size) {
    return size >= prefix_size && same_bytes(path, prefix, prefix_size) &&
           (size == prefix_size || path[prefix_size] == '/');
}

/* What a mount of the guest shows belongs to the deepest mount of the host above its source. */
static bool find_entry(const struct writer *writer, const struct mount *mount, const char *lines,
                       struct entry *entry) {
    const char *found = NULL;
    size_t longest = 0;
    entry->point = writer->host;
    for (const char *line = lines; *line != '\0';) {
        const char *begin = line;
        if (read_entry(&line, entry) && entry->point_size >= longest &&
            is_below(mount->source, mount->source_size, entry->point, entry->point_size)) {
            found = begin;
            longest = entry->point_size;
        }
    }
    return found != NULL && read_entry(&found, entry);
}

static unsigned long number_of(const struct writer *writer, const struct mount *mount,
                               const char *lines) {
    struct entry entry;
    return find_entry(writer, mount, lines, &entry) ? mount_pair(writer->guest, mount, entry.id)
                                                    : 0;
}

static void add_mount(struct writer *writer, const struct mount *mount, const char *lines) {
    struct entry entry;
    bool is_root = mount->target_size == 0;
    unsigned long parent = is_root ? 0 : number_of(writer, above(writer->guest, mount), lines);
    if (!find_entry(writer, mount, lines, &entry)) {
        return;
    }
    struct word below = {mount->source + entry.point_size, mount->source_size - entry.point_size};
    add_line(writer, &entry, below, is_root ? "/" : mount->target, is_root ? 1 : mount->target_size,
             mount->readonly, mount_pair(writer->guest, mount, entry.id), parent);
}

/* What the host has mounted below the source of a mount. */
static void add_mounts_below(struct writer *writer, const struct mount *mount, const char *lines) {
    struct entry entry = {.point = writer->host};
    unsigned long number = number_of(writer, mount, lines);
    for (const char *line = lines; *line != '\0';) {
        if (!read_entry(&line, &entry) || entry.point_size <= mount->source_size ||
            !is_below(entry.point, entry.point_size, mount->source, mount->source_size)) {
            continue;
        }
        size_t left = entry.point_size - mount->source_size;
        if (mount->target_size + left >= PATH_SIZE) {
            continue;
        }
        copy_bytes(writer->path, mount->target, mount->target_size);
        copy_bytes(writer->path + mount->target_size, entry.point + mount->source_size, left);
        size_t size = mount->target_size + left;
        if (guest_mount(writer->guest, writer->path, size) == mount) {
            add_line(writer, &entry, (struct word){"", 0}, writer->path, size, mount->readonly,
                     mount_pair(writer->guest, mount, entry.id), number);
        }
    }
}

void proc_mounts(const struct guest *guest, struct text *out, const struct text *host,
                 const char *name) {
    struct text room;
    text_make(&room); /* 64 KiB to begin with */
    struct writer writer = {.guest = guest, .out = out, .host = room.bytes};
    writer.form = same_text(name, "mountinfo") ? MOUNTINFO
                  : same_text(name, "mounts")  ? MOUNTS
                                               : MOUNTSTATS;
    if (room.bytes != NULL) {
        writer.path = room.bytes + PATH_SIZE;
        for (size_t index = guest->mount_count; index > 0; index--) {
            add_mount(&writer, &guest->mounts[index - 1], host->bytes);
        }
        for (size_t index = guest->mount_count; index > 0; index--) {
            add_mounts_below(&writer, &guest->mounts[index - 1], host->bytes);
        }
    }
    text_free(&room);
}
