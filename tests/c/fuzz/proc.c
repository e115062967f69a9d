/*
 * Files of /proc, as the kernel might write them: one byte chooses which. Nothing of the host that
 * the guest has not may be in what it reads, if it is a path that stands alone.
 */
#include "fuzz.h"

#include "proc_files.c"

static void fill(struct text *text, const struct input *input) {
    text_make(text);
    DEMAND(text->bytes != NULL);
    text_add(text, (const char *)input->data, input->size);
    text->bytes[text->size] = '\0';
}

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

static void check_numbers(const struct text *in) {
    char *path = malloc(PATH_SIZE);
    unsigned long begin = begin_of_code(in);
    long size = path_of_mapping(in, begin, path);
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
    struct text in;
    struct text out;
    fill(&in, &input);
    text_make(&out);
    switch (choice) {
    case 0:
        translate_maps(&guest, &out, &in);
        check_maps(&in, &out);
        break;
    case 1:
        check_numbers(&in);
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
    text_free(&out);
    text_free(&in);
    return 0;
}
