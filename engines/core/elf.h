/* Programs in the ELF format, as execve(2) reads them: elf(5). */
#ifndef UDOCKER_ELF_H
#define UDOCKER_ELF_H

#include "base.h"

enum {
    ELF_TYPE_EXEC = 2,
    ELF_TYPE_DYN = 3,
    ELF_LOAD = 1, /* types of segments */
    ELF_INTERPRETER = 3,
    ELF_STACK = 0x6474e551,
    ELF_EXECUTE = 1, /* their flags */
    ELF_WRITE = 2,
    ELF_READ = 4,
    ELF_MOST_SEGMENTS = 65536 / 56, /* the kernel takes 64 KiB of headers */
};

struct elf_header {
    unsigned char identity[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, segment_offset, section_offset;
    uint32_t flags;
    uint16_t size, segment_size, segment_count, section_size, section_count, names;
};

struct elf_segment {
    uint32_t type, flags;
    uint64_t offset, address, physical, file_size, memory_size, align;
};

/* Where the program begins and ends, in whole pages, and how it wants to be aligned. */
struct elf_extent {
    uintptr_t begin, end, align;
};

static inline uintptr_t page_down(uintptr_t address, size_t page) {
    return address & ~(uintptr_t)(page - 1);
}

static inline uintptr_t page_up(uintptr_t address, size_t page) {
    return page_down(address + page - 1, page);
}

/* A file that is open, and the first bytes of it. */
struct elf_file {
    long descriptor;
    const char *head;
    size_t head_size;
    size_t page; /* what mappings are made of: on some machines the kernel's choice */
};

/*
 * Read the headers of the program that a file is. *segments is where they are among the first bytes
 * of the file, or room, which most of them fit in. 0, -ENOEXEC when it is no program of this
 * machine that can be loaded, -E2BIG when there are more segments, or another -errno.
 */
long elf_read(const struct elf_file *file, struct elf_header *header,
              const struct elf_segment **segments, struct elf_segment *room, size_t most);

/* The machine, of elf(5), that a program is for, by its first bytes; 0: this one, or no program. */
unsigned elf_foreign_machine(const char *head, size_t size);

/* Whether a file of that size has all that is to be loaded: to touch the rest is a SIGBUS. */
bool elf_is_whole(const struct elf_header *header, const struct elf_segment *segments,
                  uint64_t size, size_t page);

/* Whether it has something to be loaded, and all of that makes sense. */
bool elf_measure(const struct elf_header *header, const struct elf_segment *segments, size_t page,
                 struct elf_extent *extent);

/*
 * The interpreter that it names: *path is where that is among the first bytes of the file, or room,
 * of PATH_SIZE bytes; "" when there is none. 0 or -errno.
 */
long elf_interpreter(const struct elf_file *file, const struct elf_header *header,
                     const struct elf_segment *segments, const char **path, char *room);

/*
 * The interpreter of a script, from the first bytes of the file: head has size bytes, a NUL behind
 * them, and is changed. size less than room: the file ends there. *argument is the one behind it,
 * or NULL. NULL when there is no interpreter, or not all of it.
 */
char *script_read(char *head, size_t size, size_t room, char **argument);

#endif
