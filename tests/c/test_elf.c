/* ELF headers and "#!" lines, good and broken. */
#include "harness.h"

#include "elf.h"

enum { PAGE = 4096, OTHER_MACHINE = ARCH_ELF_MACHINE == 62 ? 183 : 62 };

static struct elf_header good_header(void) {
    return (struct elf_header){
        .identity = {0x7f, 'E', 'L', 'F', 2, 1, 1},
        .type = ELF_TYPE_DYN,
        .machine = ARCH_ELF_MACHINE,
        .version = 1,
        .entry = 0x1000,
        .segment_offset = sizeof(struct elf_header),
        .size = sizeof(struct elf_header),
        .segment_size = sizeof(struct elf_segment),
        .segment_count = 2,
    };
}

static const struct elf_segment GOOD[2] = {
    {.type = ELF_LOAD, .flags = ELF_READ, .file_size = 0x200, .memory_size = 0x200, .align = 4096},
    {.type = ELF_LOAD,
     .flags = ELF_READ | ELF_WRITE,
     .offset = 0x100,
     .address = 0x2100,
     .file_size = 0x100,
     .memory_size = 0x3000,
     .align = 4096},
};

static struct elf_header got;
static struct elf_segment room_for_segments[ELF_MOST_SEGMENTS];
static const struct elf_segment *segments;

/* What elf_read says of a file of these bytes. */
static long result_of(const void *bytes, size_t size, size_t room) {
    make_bytes("program", bytes, size);
    int descriptor = open_to_read("program");
    /* Read from the file, and from its first bytes: both must say the same. */
    const struct elf_file file = {descriptor, bytes, size < 100 ? size : 100, PAGE};
    long result = elf_read(&file, &got, &segments, room_for_segments, room);
    const struct elf_file other = {descriptor, NULL, 0, PAGE};
    CHECK_NUMBER(elf_read(&other, &got, &segments, room_for_segments, room), result);
    close_descriptor(descriptor);
    return result == 0 && !elf_is_whole(&got, segments, size, PAGE) ? -ENOEXEC : result;
}

static long reads(const struct elf_header *header, const struct elf_segment *list, size_t count) {
    static char file[1 << 17];
    memset(file, 0, sizeof file);
    memcpy(file, header, sizeof *header);
    memcpy(file + sizeof *header, list, count * sizeof *list);
    return result_of(file,
                     0x200 > sizeof *header + count * sizeof *list
                         ? 0x200
                         : sizeof *header + count * sizeof *list,
                     ELF_MOST_SEGMENTS);
}

#define WITH_HEADER(change)                                                                        \
    do {                                                                                           \
        struct elf_header header = good_header();                                                  \
        change;                                                                                    \
        CHECK_NUMBER(reads(&header, GOOD, 2), -ENOEXEC);                                           \
    } while (0)

static void test_headers(void) {
    struct elf_header good = good_header();
    CHECK_NUMBER(reads(&good, GOOD, 2), 0);
    CHECK_NUMBER(got.segment_count, 2);
    CHECK_NUMBER(segments[1].address, 0x2100);
    good.type = ELF_TYPE_EXEC;
    CHECK_NUMBER(reads(&good, GOOD, 2), 0);
    WITH_HEADER(header.identity[0] = 0);
    WITH_HEADER(header.identity[3] = 'X');
    WITH_HEADER(header.identity[4] = 1); /* of 32 bits */
    WITH_HEADER(header.machine = 3);     /* i386 */
    WITH_HEADER(header.machine = OTHER_MACHINE);
    WITH_HEADER(header.type = 0);
    WITH_HEADER(header.type = 1); /* an object file */
    WITH_HEADER(header.type = 4); /* a core file */
    WITH_HEADER(header.segment_size = 32);
    WITH_HEADER(header.segment_count = 0);
    WITH_HEADER(header.segment_count = 65535);
    WITH_HEADER(header.segment_count = 40); /* the file is shorter */
    WITH_HEADER(header.segment_offset = 0x300);
    WITH_HEADER(header.segment_offset = UINT64_MAX);
    WITH_HEADER(header.segment_offset = INT64_MAX);
}

static void test_short_files(void) {
    char file[0x200];
    struct elf_header header = good_header();
    memset(file, 0, sizeof file);
    memcpy(file, &header, sizeof header);
    memcpy(file + sizeof header, GOOD, sizeof GOOD);
    for (size_t size = 0; size < sizeof header + sizeof GOOD; size++) {
        CHECK_NUMBER(result_of(file, size, ELF_MOST_SEGMENTS), -ENOEXEC);
    }
    CHECK_NUMBER(result_of(file, sizeof header + sizeof GOOD, ELF_MOST_SEGMENTS), 0);
    CHECK_NUMBER(result_of(file, sizeof file, 2), 0);
    CHECK_NUMBER(result_of(file, sizeof file, 1), -E2BIG);
    make_directory("directory");
    int descriptor = open_to_read("directory");
    const struct elf_file file_of_it = {descriptor, NULL, 0, PAGE};
    CHECK(elf_read(&file_of_it, &got, &segments, room_for_segments, 2) < 0);
    close_descriptor(descriptor);
}

#define WITH_SEGMENT(change)                                                                       \
    do {                                                                                           \
        struct elf_header header = good_header();                                                  \
        struct elf_segment list[2] = {GOOD[0], GOOD[1]};                                           \
        struct elf_segment *segment = &list[1];                                                    \
        change;                                                                                    \
        CHECK_NUMBER(reads(&header, list, 2), -ENOEXEC);                                           \
    } while (0)

static void test_segments(void) {
    WITH_SEGMENT(segment->file_size = 0x3001); /* more than in memory */
    WITH_SEGMENT(segment->address = 0x2101);   /* another place in its page than in the file */
    WITH_SEGMENT(segment->address = UINT64_MAX - 0xeff); /* around the end */
    WITH_SEGMENT(segment->address = (uint64_t)1 << 63 | 0x100);
    WITH_SEGMENT(segment->memory_size = UINT64_MAX);
    WITH_SEGMENT(segment->memory_size = (uint64_t)1 << 47);
    WITH_SEGMENT(segment->file_size = segment->memory_size = UINT64_MAX);
    WITH_SEGMENT(segment->offset = UINT64_MAX - 0xeff);
    WITH_SEGMENT(segment->offset = 0x100000100); /* behind the end of the file */
    WITH_SEGMENT(segment->align = (uint64_t)1 << 63);
    WITH_SEGMENT(list[0].type = segment->type = 2); /* nothing to load */
    WITH_SEGMENT(list[0].memory_size = list[0].file_size = 0; segment->type = 0);
}

static void test_extent(void) {
    struct elf_header header = good_header();
    struct elf_segment list[2] = {GOOD[0], GOOD[1]};
    struct elf_extent extent;
    CHECK(elf_measure(&header, list, PAGE, &extent));
    CHECK_NUMBER(extent.begin, 0);
    CHECK_NUMBER(extent.end, 0x6000);
    CHECK_NUMBER(extent.align, 4096);
    list[0].address = 0x8000;
    list[1].align = 0x200000;
    CHECK(elf_measure(&header, list, PAGE, &extent)); /* in no order */
    CHECK_NUMBER(extent.begin, 0x2000);
    CHECK_NUMBER(extent.end, 0x9000);
    CHECK_NUMBER(extent.align, 0x200000);
    list[1].align = 0x200001; /* no power of two is none */
    CHECK(elf_measure(&header, list, PAGE, &extent));
    CHECK_NUMBER(extent.align, 4096);
}

/* Of the same program on a machine with larger pages. */
static void test_pages(void) {
    enum { LARGE = 65536 };
    struct elf_header header = good_header();
    struct elf_segment list[2] = {GOOD[0], GOOD[1]};
    struct elf_extent extent;
    CHECK(!elf_measure(&header, list, LARGE, &extent)); /* two places in one page of memory */
    list[1].address = 0x20100;
    CHECK(elf_measure(&header, list, LARGE, &extent));
    CHECK_NUMBER(extent.begin, 0);
    CHECK_NUMBER(extent.end, 0x30000);
    CHECK_NUMBER(extent.align, LARGE);
    list[1].offset = 0x10100;
    CHECK(elf_is_whole(&header, list, 0x10001, LARGE));
    CHECK(!elf_is_whole(&header, list, 0x10000, LARGE));
    CHECK(!elf_is_whole(&header, list, 0xffff, PAGE));
    CHECK(elf_is_whole(&header, list, 0x10001, PAGE));
}

static long interpreter(const char *text, size_t size, uint64_t said) {
    static char room[PATH_SIZE];
    const char *path;
    struct elf_header header = good_header();
    struct elf_segment list[2] = {GOOD[0], {.type = ELF_INTERPRETER, .file_size = said}};
    make_bytes("text", text, size);
    int descriptor = open_to_read("text");
    const struct elf_file file = {descriptor, text, size < 5 ? size : 5, PAGE};
    long result = elf_interpreter(&file, &header, list, &path, room);
    close_descriptor(descriptor);
    CHECK(result < 0 || strcmp(path, text) == 0);
    return result;
}

static void test_interpreters(void) {
    static char many[2 * PATH_SIZE];
    memset(many, 'x', sizeof many);
    CHECK_NUMBER(interpreter("/lib/ld.so", 11, 11), 0);
    CHECK_NUMBER(interpreter("x", 2, 2), 0);
    CHECK_NUMBER(interpreter("/lib/ld.so", 10, 10), -ENOEXEC); /* no NUL */
    CHECK_NUMBER(interpreter("/lib/ld.so", 11, 12), -ENOEXEC); /* not there */
    CHECK_NUMBER(interpreter("", 1, 1), -ENOEXEC);
    CHECK_NUMBER(interpreter("", 1, 0), -ENOEXEC);
    CHECK_NUMBER(interpreter(many, sizeof many, UINT64_MAX), -ENOEXEC);
    CHECK_NUMBER(interpreter(many, sizeof many, PATH_SIZE + 1), -ENOEXEC);
    many[PATH_SIZE - 1] = '\0';
    CHECK_NUMBER(interpreter(many, PATH_SIZE, PATH_SIZE), 0);
}

/* Split a file that begins so: "interpreter|argument", or "" when it is no script. */
static const char *split(const char *text) {
    enum { ROOM = 64 };
    static char answer[2 * ROOM];
    char head[ROOM + 1];
    char *argument;
    size_t size = strlen(text) < ROOM ? strlen(text) : ROOM;
    memset(head, 0xa5, sizeof head);
    memcpy(head, text, size);
    head[size] = '\0';
    const char *path = script_read(head, size, ROOM, &argument);
    if (path == NULL) {
        return "";
    }
    snprintf(answer, sizeof answer, "%s|%s", path, argument == NULL ? "" : argument);
    return answer;
}

static void test_scripts(void) {
    CHECK_TEXT(split("#!/bin/sh\n"), "/bin/sh|");
    CHECK_TEXT(split("#!/bin/sh"), "/bin/sh|"); /* the file ends there */
    CHECK_TEXT(split("#! \t /bin/sh \t \n"), "/bin/sh|");
    CHECK_TEXT(split("#!/bin/sh -e\n"), "/bin/sh|-e");
    CHECK_TEXT(split("#!/bin/sh \t -e  x \t\nmore"), "/bin/sh|-e  x");
    CHECK_TEXT(split("#!/bin/sh -e"), "/bin/sh|-e");
    CHECK_TEXT(split("#!sh\n"), "sh|");
    CHECK_TEXT(split("#!/bin/sh\r\n"), "/bin/sh\r|"); /* as the kernel */
    CHECK_TEXT(split("#!\n"), "");
    CHECK_TEXT(split("#!  \t \n/bin/sh\n"), "");
    CHECK_TEXT(split("#!"), "");
    CHECK_TEXT(split("#"), "");
    CHECK_TEXT(split(""), "");
    CHECK_TEXT(split("echo\n"), "");
    /* 64 bytes are read: a path that may go on is none, an argument is cut off. */
    CHECK_TEXT(split("#!/23456789012345678901234567890123456789012345678901234567890123"), "");
    CHECK_TEXT(split("#!/234567890123456789012345678901234567890123456789012345678901\n"),
               "/234567890123456789012345678901234567890123456789012345678901|");
    CHECK_TEXT(split("#!/2345678901234567890123456789012345678901234567890123456789 -xy789012"),
               "/2345678901234567890123456789012345678901234567890123456789|-");
    CHECK_TEXT(split("#!/234567890123456789012345678901234567890123456789012345678901 x"),
               "/234567890123456789012345678901234567890123456789012345678901|");
}

static unsigned foreign(unsigned char class, unsigned char data, unsigned type, unsigned machine,
                        size_t size) {
    unsigned char head[20] = {0x7f, 'E', 'L', 'F', class, data, 1};
    unsigned high = data == 2 ? 0 : 1;
    head[16 + high] = (unsigned char)(type >> 8);
    head[17 - high] = (unsigned char)type;
    head[18 + high] = (unsigned char)(machine >> 8);
    head[19 - high] = (unsigned char)machine;
    return elf_foreign_machine((const char *)head, size);
}

static void test_foreign_machines(void) {
    CHECK_NUMBER(foreign(2, 1, ELF_TYPE_EXEC, OTHER_MACHINE, 20), OTHER_MACHINE);
    CHECK_NUMBER(foreign(2, 1, ELF_TYPE_DYN, OTHER_MACHINE, 20), OTHER_MACHINE);
    CHECK_NUMBER(foreign(2, 2, ELF_TYPE_DYN, 22, 20), 22);
    CHECK_NUMBER(foreign(1, 1, ELF_TYPE_DYN, 40, 20), 40);
    CHECK_NUMBER(foreign(2, 1, ELF_TYPE_DYN, 0x1234, 20), 0x1234);
    CHECK_NUMBER(foreign(1, 1, ELF_TYPE_DYN, ARCH_ELF_MACHINE, 20), ARCH_ELF_MACHINE);
    CHECK_NUMBER(foreign(2, 1, ELF_TYPE_DYN, ARCH_ELF_MACHINE, 20), 0);
    CHECK_NUMBER(foreign(2, 1, ELF_TYPE_DYN, OTHER_MACHINE, 19), 0);
    CHECK_NUMBER(foreign(2, 1, ELF_TYPE_DYN, OTHER_MACHINE, 0), 0);
    CHECK_NUMBER(foreign(2, 1, 1 /* an object */, OTHER_MACHINE, 20), 0);
    CHECK_NUMBER(foreign(2, 1, 0x302, OTHER_MACHINE, 20), 0);
    CHECK_NUMBER(elf_foreign_machine("#!/bin/sh -xxxxxxxxxxxxx", 24), 0);
}

int main(void) {
    scratch();
    test_headers();
    test_short_files();
    test_segments();
    test_extent();
    test_pages();
    test_interpreters();
    test_scripts();
    test_foreign_machines();
    return harness_end();
}
