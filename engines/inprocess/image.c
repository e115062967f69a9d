/* Programs, mapped as the kernel maps them. */
#include "elf.h"
#include "engine.h"
#include "own.h"

enum {
    PROT_READ = 1,
    PROT_WRITE = 2,
    PROT_EXEC = 4,
    MAP_PRIVATE = 0x02,
    MAP_FIXED = 0x10,
    MAP_ANONYMOUS = 0x20,
    MAP_FIXED_NOREPLACE = 0x100000,
};

/* One image is mapped after the other. */
static char head[1024];
static struct elf_segment room[ELF_MOST_SEGMENTS]; /* for headers that lie further behind */

static int protection(uint32_t flags) {
    return (flags & ELF_READ ? PROT_READ : 0) | (flags & ELF_WRITE ? PROT_WRITE : 0) |
           (flags & ELF_EXECUTE ? PROT_EXEC : 0);
}

/*
 * Whether the first segment can keep the room for all of them: its mapping is made as large as the
 * program, and the others cover what is too much.
 */
static bool is_dense(const struct elf_header *header, const struct elf_segment *segments,
                     const struct elf_extent *extent, size_t page) {
    uintptr_t end = extent->begin;
    for (size_t index = 0; index < header->segment_count; index++) {
        const struct elf_segment *segment = &segments[index];
        if (segment->type != ELF_LOAD) {
            continue;
        }
        bool is_plain = !(segment->flags & (ELF_WRITE | ELF_EXECUTE)) && segment->file_size > 0 &&
                        segment->file_size == segment->memory_size;
        if (page_down(segment->address, page) > end || (end == extent->begin && !is_plain)) {
            return false;
        }
        uintptr_t its_end = page_up(segment->address + segment->memory_size, page);
        end = its_end > end ? its_end : end;
    }
    return extent->align == page;
}

/* Keep room for a program that may lie anywhere; its bias, or -errno. */
static long reserve(const struct elf_extent *extent, size_t page) {
    size_t size = extent->end - extent->begin;
    long address = kernel(NR_mmap, 0, (long)(size + extent->align - page), 0,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (failed(address)) {
        return address;
    }
    uintptr_t wanted = ((uintptr_t)address + extent->align - 1) & ~(extent->align - 1);
    if (wanted > (uintptr_t)address) {
        kernel(NR_munmap, address, (long)(wanted - (uintptr_t)address), 0, 0, 0, 0);
    }
    uintptr_t end = (uintptr_t)address + size + extent->align - page;
    if (end > wanted + size) {
        kernel(NR_munmap, (long)(wanted + size), (long)(end - wanted - size), 0, 0, 0, 0);
    }
    return (long)(wanted - extent->begin);
}

/* The first segment, and room for the others behind it; the bias, or -errno. */
static long map_first(long descriptor, const struct elf_segment *segment,
                      const struct elf_extent *extent, size_t page) {
    while (segment->type != ELF_LOAD) {
        segment++;
    }
    long result =
        kernel(NR_mmap, 0, (long)(extent->end - extent->begin), protection(segment->flags),
               MAP_PRIVATE, descriptor, (long)page_down(segment->offset, page));
    return failed(result) ? result : result - (long)extent->begin;
}

/* mmap(2), and nowhere else than asked for: kernels before 4.17 take the place for a wish. */
static long map_at(const struct guest *guest, const long *a) {
    bool is_code = a[2] & PROT_EXEC && !(a[3] & MAP_ANONYMOUS);
    long result =
        is_code ? map_file(guest, a) : kernel(NR_mmap, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (failed(result) || result == a[0]) {
        return failed(result) ? result : 0;
    }
    kernel(NR_munmap, result, a[1], 0, 0, 0, 0);
    return -ENOMEM;
}

/* Up to the end of a page. */
static void clear(uintptr_t begin, uintptr_t end) {
    for (; begin < end && begin % sizeof(uint64_t) != 0; begin++) {
        *(char *)begin = 0;
    }
    for (; begin < end; begin += sizeof(uint64_t)) {
        *(uint64_t *)begin = 0;
    }
}

static long map_segment(const struct engine *engine, long descriptor,
                        const struct elf_segment *segment, uintptr_t bias, int placement) {
    const struct guest *guest = &engine->process->guest;
    uintptr_t begin = page_down(bias + segment->address, engine->page);
    uintptr_t file_end = bias + segment->address + segment->file_size;
    uintptr_t end = page_up(bias + segment->address + segment->memory_size, engine->page);
    int access = protection(segment->flags);
    uintptr_t mapped_end = begin;
    if (segment->file_size > 0) {
        size_t skew = (bias + segment->address) - begin;
        const long argument[] = {
            (long)begin, (long)(segment->file_size + skew), access, MAP_PRIVATE | placement,
            descriptor,  (long)(segment->offset - skew),
        };
        long result = map_at(guest, argument);
        if (result < 0) {
            return result;
        }
        mapped_end = page_up(file_end, engine->page);
        if (segment->memory_size > segment->file_size && access & PROT_WRITE) {
            clear(file_end, mapped_end);
        }
    }
    if (end <= mapped_end) {
        return 0;
    }
    const long argument[] = {(long)mapped_end,
                             (long)(end - mapped_end),
                             access,
                             MAP_PRIVATE | MAP_ANONYMOUS | placement,
                             -1,
                             0};
    return map_at(guest, argument);
}

/* What of the program is where, for the auxiliary vector and for prctl(2). */
static void note_segment(struct image *image, const struct elf_header *header,
                         const struct elf_segment *segment) {
    uintptr_t begin = image->bias + segment->address;
    uintptr_t end = begin + segment->file_size;
    if (header->segment_offset >= segment->offset &&
        header->segment_offset < segment->offset + segment->file_size) {
        image->headers = begin + header->segment_offset - segment->offset;
    }
    bool is_code = segment->flags & ELF_EXECUTE;
    uintptr_t *first = is_code ? &image->code_begin : &image->data_begin;
    uintptr_t *last = is_code ? &image->code_end : &image->data_end;
    *first = *first == 0 || begin < *first ? begin : *first;
    *last = end > *last ? end : *last;
}

long image_map(const struct engine *engine, long descriptor, struct image *image) {
    struct elf_header header;
    struct elf_extent extent;
    const struct elf_segment *segments = room;
    *image = (struct image){.bias = 0};
    long result = kernel(NR_pread64, descriptor, (long)head, sizeof head, 0, 0, 0);
    if (result >= 0) {
        const struct elf_file file = {descriptor, head, (size_t)result, engine->page};
        result = elf_read(&file, &header, &segments, room, ELF_MOST_SEGMENTS);
    }
    if (result < 0 || !elf_measure(&header, segments, engine->page, &extent)) {
        return result < 0 ? result : -ENOEXEC;
    }
    int placement = MAP_FIXED_NOREPLACE;
    bool is_first = false; /* the first segment is there already */
    if (header.type == ELF_TYPE_DYN) {
        is_first = is_dense(&header, segments, &extent, engine->page);
        result = is_first ? map_first(descriptor, segments, &extent, engine->page)
                          : reserve(&extent, engine->page);
        if (failed(result)) {
            return result;
        }
        image->bias = (uintptr_t)result;
        placement = MAP_FIXED;
    }
    result = 0;
    for (size_t index = 0; index < header.segment_count && result == 0; index++) {
        const struct elf_segment *segment = &segments[index];
        if (segment->type == ELF_LOAD) {
            result =
                is_first ? 0 : map_segment(engine, descriptor, segment, image->bias, placement);
            is_first = false;
            placement = MAP_FIXED; /* segments may share a page */
            note_segment(image, &header, segment);
        }
        if (segment->type == ELF_STACK) {
            image->wants_executable_stack = segment->flags & ELF_EXECUTE;
        }
    }
    image->entry = image->bias + header.entry;
    image->header_count = header.segment_count;
    return result;
}
