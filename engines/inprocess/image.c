/* Programs in the ELF format, mapped as the kernel maps them: elf(5). */
#include "engine.h"
#include "own.h"

enum {
    PAGE = 4096,
    TYPE_EXEC = 2,
    TYPE_DYN = 3,
    SEGMENT_LOAD = 1,
    SEGMENT_INTERPRETER = 3,
    MOST_SEGMENTS = 64,
    FLAG_EXECUTE = 1,
    FLAG_WRITE = 2,
    FLAG_READ = 4,
    PROT_READ = 1,
    PROT_WRITE = 2,
    PROT_EXEC = 4,
    MAP_PRIVATE = 0x02,
    MAP_FIXED = 0x10,
    MAP_ANONYMOUS = 0x20,
    MAP_FIXED_NOREPLACE = 0x100000,
};

struct header {
    unsigned char identity[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, segment_offset, section_offset;
    uint32_t flags;
    uint16_t size, segment_size, segment_count, section_size, section_count, names;
};

struct segment {
    uint32_t type, flags;
    uint64_t offset, address, physical, file_size, memory_size, align;
};

static uintptr_t page_down(uintptr_t address) {
    return address & ~(uintptr_t)(PAGE - 1);
}

static uintptr_t page_up(uintptr_t address) {
    return page_down(address + PAGE - 1);
}

static int protection(uint32_t flags) {
    return (flags & FLAG_READ ? PROT_READ : 0) | (flags & FLAG_WRITE ? PROT_WRITE : 0) |
           (flags & FLAG_EXECUTE ? PROT_EXEC : 0);
}

static long read_at(long descriptor, void *target, size_t size, uint64_t offset) {
    long result = kernel(NR_pread64, descriptor, (long)target, (long)size, (long)offset, 0, 0);
    if (result < 0) {
        return result;
    }
    return (size_t)result == size ? 0 : -ENOEXEC;
}

static long read_headers(long descriptor, struct header *header, struct segment *segments) {
    long result = read_at(descriptor, header, sizeof *header, 0);
    if (result < 0) {
        return result;
    }
    bool good = same_bytes((const char *)header->identity,
                           "\x7f"
                           "ELF",
                           4) &&
                header->identity[4] == 2 && header->machine == ARCH_ELF_MACHINE &&
                (header->type == TYPE_EXEC || header->type == TYPE_DYN) &&
                header->segment_size == sizeof(struct segment) && header->segment_count > 0 &&
                header->segment_count <= MOST_SEGMENTS;
    if (!good) {
        return -ENOEXEC;
    }
    return read_at(descriptor, segments, header->segment_count * sizeof(struct segment),
                   header->segment_offset);
}

/* Where the program begins and ends, and how it wants to be aligned. */
struct extent {
    uintptr_t begin, end, align;
};

static bool measure(const struct header *header, const struct segment *segments,
                    struct extent *extent) {
    *extent = (struct extent){.begin = UINTPTR_MAX, .align = PAGE};
    for (size_t index = 0; index < header->segment_count; index++) {
        const struct segment *segment = &segments[index];
        if (segment->type != SEGMENT_LOAD) {
            continue;
        }
        uintptr_t end = segment->address + segment->memory_size;
        if (end < segment->address || segment->file_size > segment->memory_size ||
            segment->address % PAGE != segment->offset % PAGE) {
            return false;
        }
        extent->begin = segment->address < extent->begin ? segment->address : extent->begin;
        extent->end = end > extent->end ? end : extent->end;
        bool is_power = segment->align != 0 && (segment->align & (segment->align - 1)) == 0;
        extent->align = is_power && segment->align > extent->align ? segment->align : extent->align;
    }
    extent->begin = page_down(extent->begin);
    extent->end = page_up(extent->end);
    return extent->begin < extent->end;
}

/* Keep room for a program that may lie anywhere; its bias, or -errno. */
static long reserve(const struct extent *extent) {
    size_t size = extent->end - extent->begin;
    long address = kernel(NR_mmap, 0, (long)(size + extent->align - PAGE), 0,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (failed(address)) {
        return address;
    }
    uintptr_t wanted = ((uintptr_t)address + extent->align - 1) & ~(extent->align - 1);
    if (wanted > (uintptr_t)address) {
        kernel(NR_munmap, address, (long)(wanted - (uintptr_t)address), 0, 0, 0, 0);
    }
    uintptr_t end = (uintptr_t)address + size + extent->align - PAGE;
    if (end > wanted + size) {
        kernel(NR_munmap, (long)(wanted + size), (long)(end - wanted - size), 0, 0, 0, 0);
    }
    return (long)(wanted - extent->begin);
}

static long map_plain(const long *a) {
    return kernel(NR_mmap, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static long map_segment(const struct guest *guest, long descriptor, const struct segment *segment,
                        uintptr_t bias, int placement) {
    uintptr_t begin = page_down(bias + segment->address);
    uintptr_t file_end = bias + segment->address + segment->file_size;
    uintptr_t end = page_up(bias + segment->address + segment->memory_size);
    int access = protection(segment->flags);
    uintptr_t mapped_end = begin;
    if (segment->file_size > 0) {
        size_t skew = (bias + segment->address) - begin;
        const long argument[] = {
            (long)begin, (long)(segment->file_size + skew), access, MAP_PRIVATE | placement,
            descriptor,  (long)(segment->offset - skew),
        };
        long result = access & PROT_EXEC ? map_file(guest, argument) : map_plain(argument);
        if (failed(result)) {
            return result;
        }
        mapped_end = page_up(file_end);
        if (segment->memory_size > segment->file_size && access & PROT_WRITE) {
            for (char *byte = (char *)file_end; byte < (char *)mapped_end; byte++) {
                *byte = 0;
            }
        }
    }
    if (end <= mapped_end) {
        return 0;
    }
    long result = kernel(NR_mmap, (long)mapped_end, (long)(end - mapped_end), access,
                         MAP_PRIVATE | MAP_ANONYMOUS | placement, -1, 0);
    return failed(result) ? result : 0;
}

static long read_interpreter(long descriptor, const struct segment *segment, char *path) {
    if (segment->file_size < 2 || segment->file_size >= PATH_SIZE) {
        return -ENOEXEC;
    }
    long result = read_at(descriptor, path, segment->file_size, segment->offset);
    if (result == 0 && path[segment->file_size - 1] != '\0') {
        return -ENOEXEC;
    }
    return result;
}

long image_map(const struct guest *guest, long descriptor, struct image *image) {
    struct header header;
    struct segment segments[MOST_SEGMENTS];
    struct extent extent;
    image->interpreter[0] = '\0';
    image->headers = 0;
    image->bias = 0;
    long result = read_headers(descriptor, &header, segments);
    if (result < 0) {
        return result;
    }
    if (!measure(&header, segments, &extent)) {
        return -ENOEXEC;
    }
    int placement = MAP_FIXED_NOREPLACE;
    if (header.type == TYPE_DYN) {
        result = reserve(&extent);
        if (failed(result)) {
            return result;
        }
        image->bias = (uintptr_t)result;
        placement = MAP_FIXED;
    }
    result = 0;
    for (size_t index = 0; index < header.segment_count && result == 0; index++) {
        const struct segment *segment = &segments[index];
        if (segment->type == SEGMENT_INTERPRETER) {
            result = read_interpreter(descriptor, segment, image->interpreter);
        } else if (segment->type == SEGMENT_LOAD) {
            result = map_segment(guest, descriptor, segment, image->bias, placement);
            if (header.segment_offset >= segment->offset &&
                header.segment_offset < segment->offset + segment->file_size) {
                image->headers =
                    image->bias + segment->address + header.segment_offset - segment->offset;
            }
        }
    }
    image->entry = image->bias + header.entry;
    image->header_count = header.segment_count;
    return result;
}
