#include "text.h"

enum {
    FIRST = 65536,
    PROT_READ_WRITE = 3,
    MAP_PRIVATE_ANONYMOUS = 0x22,
    MREMAP_MAYMOVE = 1,
    MFD_CLOEXEC = 1,
};

void text_make(struct text *text) {
    long address = kernel(NR_mmap, 0, FIRST, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    *text = (struct text){.room = FIRST};
    if (!failed(address)) {
        text->bytes = (char *)address;
    }
}

void text_free(struct text *text) {
    if (text->bytes != NULL) {
        kernel(NR_munmap, (long)text->bytes, (long)text->room, 0, 0, 0, 0);
        text->bytes = NULL;
    }
}

/* Room for more bytes, and one behind them. */
static bool make_room(struct text *text, size_t more) {
    while (text->bytes != NULL && text->size + more >= text->room) {
        long address = kernel(NR_mremap, (long)text->bytes, (long)text->room,
                              (long)(2 * text->room), MREMAP_MAYMOVE, 0, 0);
        if (failed(address)) {
            text_free(text);
        } else {
            text->bytes = (char *)address;
            text->room *= 2;
        }
    }
    return text->bytes != NULL;
}

void text_add(struct text *text, const char *bytes, size_t size) {
    if (make_room(text, size)) {
        copy_bytes(text->bytes + text->size, bytes, size);
        text->size += size;
    }
}

void text_add_string(struct text *text, const char *string) {
    text_add(text, string, length_of(string));
}

void text_add_number(struct text *text, unsigned long number) {
    char digits[24];
    text_add(text, digits, write_number(digits, number));
}

long text_read(struct text *text, const char *host) {
    enum { PIECE = 16384 };
    long descriptor = kernel(NR_openat, AT_FDCWD, (long)host, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (descriptor < 0) {
        return descriptor;
    }
    long result = -ENOMEM;
    while (make_room(text, PIECE)) {
        result = kernel(NR_read, descriptor, (long)(text->bytes + text->size), PIECE, 0, 0, 0);
        if (result <= 0) {
            break;
        }
        text->size += (size_t)result;
        result = -ENOMEM;
    }
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    if (result == 0) {
        text->bytes[text->size] = '\0';
    }
    return result;
}

/* The same file once more, but only to be read; the first one is closed. */
static long reopened(long descriptor, long flags) {
    char path[48] = "/proc/self/fd/";
    write_number(path + 14, (unsigned long)descriptor);
    long result = kernel(NR_openat, AT_FDCWD, (long)path, O_RDONLY | flags, 0, 0, 0);
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    return result;
}

long text_open(const struct text *text, bool is_kept_at_exec) {
    if (text->bytes == NULL) {
        return -ENOMEM;
    }
    long descriptor = kernel(NR_memfd_create, (long)"proc", MFD_CLOEXEC, 0, 0, 0, 0);
    if (descriptor < 0) {
        return descriptor;
    }
    for (size_t done = 0; done < text->size;) {
        long written = kernel(NR_write, descriptor, (long)(text->bytes + done),
                              (long)(text->size - done), 0, 0, 0);
        if (written <= 0) {
            kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
            return written < 0 ? written : -ENOMEM;
        }
        done += (size_t)written;
    }
    return reopened(descriptor, is_kept_at_exec ? 0 : O_CLOEXEC);
}
