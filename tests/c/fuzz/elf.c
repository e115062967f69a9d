/* The headers of programs: any bytes. One byte chooses the size of a page, one the room. */
#include "fuzz.h"

#include "elf.h"

enum { HEAD = 1024 };

static void check_extent(const struct elf_header *header, const struct elf_segment *segments,
                         size_t page) {
    struct elf_extent extent;
    DEMAND(elf_measure(header, segments, page, &extent));
    DEMAND(extent.begin < extent.end && extent.begin % page == 0 && extent.end % page == 0);
    DEMAND(extent.align >= page && (extent.align & (extent.align - 1)) == 0);
    DEMAND(extent.end < (uintptr_t)1 << 49 && extent.align < (uintptr_t)1 << 47);
    for (size_t index = 0; index < header->segment_count; index++) {
        const struct elf_segment *segment = &segments[index];
        if (segment->type == ELF_LOAD) {
            DEMAND(segment->address >= extent.begin);
            DEMAND(segment->memory_size <= extent.end - segment->address);
            DEMAND(segment->file_size <= segment->memory_size);
            DEMAND(segment->offset % page == segment->address % page);
        }
    }
}

static void check_file(const struct elf_file *file, size_t room, uint64_t size) {
    struct elf_header header;
    struct elf_segment *list = malloc(room * sizeof *list);
    const struct elf_segment *segments;
    char *text = malloc(PATH_SIZE);
    const char *path;
    long result = elf_read(file, &header, &segments, list, room);
    DEMAND(result == 0 || result == -ENOEXEC || result == -E2BIG);
    if (result == 0) {
        DEMAND(header.segment_count <= room);
        check_extent(&header, segments, file->page);
        elf_is_whole(&header, segments, size, file->page);
        result = elf_interpreter(file, &header, segments, &path, text);
        DEMAND(result == 0 || result == -ENOEXEC);
        DEMAND(result < 0 || memchr(path, '\0', PATH_SIZE) != NULL);
    }
    free(text);
    free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int descriptor = -1;
    struct input input = {data, size};
    if (descriptor < 0) {
        descriptor = (int)kernel(NR_memfd_create, (long)"program", 0, 0, 0, 0, 0);
    }
    size_t page = (size_t)4096 << take(&input) % 3 * 2;
    size_t room = 1 + take(&input) % 8;
    char *bytes = take_rest(&input, 0);
    kernel(NR_ftruncate, descriptor, 0, 0, 0, 0, 0);
    kernel(NR_pwrite64, descriptor, (long)bytes, (long)input.size, 0, 0, 0);
    const struct elf_file file = {descriptor, bytes, input.size < HEAD ? input.size : HEAD, page};
    check_file(&file, room, input.size);
    free(bytes);
    return 0;
}
