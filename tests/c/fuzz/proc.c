/* Files of /proc, as the kernel might write them, and not: one byte chooses which. */
#include "fuzz.h"

#include "proc_files.c"

/* As many lines, each with what stands before the path. */
static void check_maps(const struct text *in, const struct text *out) {
    size_t lines[2] = {0, 0};
    for (size_t index = 0; index < in->size; index++) {
        lines[0] += in->bytes[index] == '\n';
    }
    lines[0] += in->size > 0 && in->bytes[in->size - 1] != '\n';
    for (size_t index = 0; index < out->size; index++) {
        lines[1] += out->bytes[index] == '\n';
    }
    DEMAND(lines[0] == lines[1]);
}

static void check_numbers(const struct guest *guest, const struct text *in) {
    char *path = malloc(PATH_SIZE);
    unsigned long begin = begin_of_code(in);
    long size = path_of_mapping(guest, in, begin, path);
    DEMAND(size == -ENOENT || (size > 0 && path[0] == '/' && path[size] == '\0'));
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct guest guest;
    struct input input = {data, size};
    if (guest.mount_count == 0) {
        DEMAND(GUEST(&guest, "root", "/h/r", "rw", "/d", "/h/o", "ro", "/d/e f", "/", "rw", "/p",
                     "/proc"));
    }
    unsigned choice = take(&input) % 5;
    /* Memory of exactly that size, to see what reads on; and one text for all answers. */
    const struct text in = {take_rest(&input, 1), input.size, input.size + 1};
    static struct text out;
    if (out.bytes == NULL) {
        text_make(&out);
    }
    out.size = 0;
    switch (choice) {
    case 0:
        translate_maps(&guest, &out, &in);
        check_maps(&in, &out);
        break;
    case 1:
        check_numbers(&guest, &in);
        break;
    default:
        proc_mounts(&guest, &out, &in, names[choice]);
        DEMAND(out.size == 0 || out.bytes[out.size - 1] == '\n');
        break;
    }
    char *line = take_line(&input);
    unsigned long pid;
    DEMAND(proc_link(line, &pid) == NOT_MAGIC || strncmp(line, "/proc/", 6) == 0);
    free(line);
    free(in.bytes);
    return 0;
}
