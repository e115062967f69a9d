#include "elf.h"

/* A part of the file that is among its first bytes; else NULL. */
static const char *at_hand(const struct elf_file *file, size_t size, uint64_t offset) {
    bool is_there = offset <= file->head_size && size <= file->head_size - offset;
    return is_there ? file->head + offset : NULL;
}

static long read_at(const struct elf_file *file, void *target, size_t size, uint64_t offset) {
    if (offset > INT64_MAX) {
        return -ENOEXEC;
    }
    const char *found = at_hand(file, size, offset);
    if (found != NULL) {
        copy_bytes(target, found, size);
        return 0;
    }
    long result =
        kernel(NR_pread64, file->descriptor, (long)target, (long)size, (long)offset, 0, 0);
    if (result < 0) {
        return result == -EINVAL ? -ENOEXEC : result;
    }
    return (size_t)result == size ? 0 : -ENOEXEC;
}

enum { BITS_64 = 2, LITTLE_ENDIAN = 1 };

static bool is_program(const struct elf_header *header) {
    static const unsigned char magic[] = {0x7f, 'E', 'L', 'F', BITS_64};
    return same_bytes((const char *)header->identity, (const char *)magic, sizeof magic) &&
           header->machine == ARCH_ELF_MACHINE &&
           (header->type == ELF_TYPE_EXEC || header->type == ELF_TYPE_DYN) &&
           header->segment_size == sizeof(struct elf_segment) && header->segment_count > 0 &&
           header->segment_count <= ELF_MOST_SEGMENTS;
}

long elf_read(const struct elf_file *file, struct elf_header *header,
              const struct elf_segment **segments, struct elf_segment *room, size_t most) {
    long result = read_at(file, header, sizeof *header, 0);
    if (result < 0) {
        return result;
    }
    if (!is_program(header)) {
        return -ENOEXEC;
    }
    if (header->segment_count > most) {
        return -E2BIG;
    }
    size_t size = header->segment_count * sizeof(struct elf_segment);
    const char *found = at_hand(file, size, header->segment_offset);
    if (found != NULL && (uintptr_t)found % _Alignof(struct elf_segment) == 0) {
        *segments = (const struct elf_segment *)(const void *)found;
    } else {
        *segments = room;
        result = read_at(file, room, size, header->segment_offset);
    }
    struct elf_extent extent;
    return result == 0 && !elf_measure(header, *segments, file->page, &extent) ? -ENOEXEC : result;
}

static unsigned half(const char *bytes, bool is_little) {
    unsigned first = (unsigned char)bytes[0];
    unsigned second = (unsigned char)bytes[1];
    return is_little ? second << 8 | first : first << 8 | second;
}

unsigned elf_foreign_machine(const char *head, size_t size) {
    static const unsigned char magic[] = {0x7f, 'E', 'L', 'F'};
    enum { CLASS = 4, DATA, TYPE = 16, MACHINE = 18, END = 20 };
    if (size < END || !same_bytes(head, (const char *)magic, sizeof magic)) {
        return 0;
    }
    unsigned type = half(head + TYPE, head[DATA] == LITTLE_ENDIAN);
    unsigned machine = half(head + MACHINE, head[DATA] == LITTLE_ENDIAN);
    bool is_here = machine == ARCH_ELF_MACHINE && head[CLASS] == BITS_64;
    return is_here || (type != ELF_TYPE_EXEC && type != ELF_TYPE_DYN) ? 0 : machine;
}

bool elf_is_whole(const struct elf_header *header, const struct elf_segment *segments,
                  uint64_t size, size_t page) {
    for (size_t index = 0; index < header->segment_count; index++) {
        const struct elf_segment *segment = &segments[index];
        if (segment->type == ELF_LOAD &&
            segment->offset + segment->file_size > page_up(size, page)) {
            return false;
        }
    }
    return true;
}

static bool is_loadable(const struct elf_segment *segment, size_t page) {
    const uint64_t most = (uint64_t)1 << 47; /* a size or place that no memory has */
    return segment->address < most && segment->memory_size < most && segment->offset < most &&
           segment->file_size <= segment->memory_size &&
           segment->address % page == segment->offset % page && segment->align < most / 2;
}

bool elf_measure(const struct elf_header *header, const struct elf_segment *segments, size_t page,
                 struct elf_extent *extent) {
    *extent = (struct elf_extent){.begin = UINTPTR_MAX, .align = page};
    for (size_t index = 0; index < header->segment_count; index++) {
        const struct elf_segment *segment = &segments[index];
        if (segment->type != ELF_LOAD) {
            continue;
        }
        if (!is_loadable(segment, page)) {
            return false;
        }
        uintptr_t end = segment->address + segment->memory_size;
        extent->begin = segment->address < extent->begin ? segment->address : extent->begin;
        extent->end = end > extent->end ? end : extent->end;
        bool is_power = segment->align != 0 && (segment->align & (segment->align - 1)) == 0;
        extent->align = is_power && segment->align > extent->align ? segment->align : extent->align;
    }
    extent->begin = page_down(extent->begin, page);
    extent->end = page_up(extent->end, page);
    return extent->begin < extent->end;
}

long elf_interpreter(const struct elf_file *file, const struct elf_header *header,
                     const struct elf_segment *segments, const char **path, char *room) {
    *path = "";
    for (size_t index = 0; index < header->segment_count; index++) {
        const struct elf_segment *segment = &segments[index];
        if (segment->type != ELF_INTERPRETER) {
            continue;
        }
        if (segment->file_size < 2 || segment->file_size > PATH_SIZE) {
            return -ENOEXEC;
        }
        *path = at_hand(file, segment->file_size, segment->offset);
        long result = 0;
        if (*path == NULL) {
            *path = room;
            result = read_at(file, room, segment->file_size, segment->offset);
        }
        return result == 0 && (*path)[segment->file_size - 1] != '\0' ? -ENOEXEC : result;
    }
    return 0;
}
