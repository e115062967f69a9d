#include "proc.h"

#include "proc_files.h"
#include "text.h"

static const char *skip_digits(const char *text) {
    while (*text >= '0' && *text <= '9') {
        text++;
    }
    return text;
}

/* Behind the prefix, if text begins with it; else NULL. */
static const char *after(const char *text, const char *prefix) {
    size_t size = length_of(prefix);
    return same_bytes(text, prefix, size) ? text + size : NULL;
}

const char *proc_entry(const char *host, unsigned long *pid) {
    const char *number = after(host, "/proc/");
    if (number == NULL) {
        return NULL;
    }
    const char *rest = skip_digits(number);
    if (rest == number || rest - number > 10 || *rest != '/') {
        return NULL;
    }
    *pid = 0;
    for (; number < rest; number++) {
        *pid = *pid * 10 + (unsigned long)(*number - '0');
    }
    rest++;
    const char *task = after(rest, "task/");
    if (task == NULL) {
        return rest;
    }
    const char *end = skip_digits(task);
    return end > task && *end == '/' ? end + 1 : NULL;
}

enum proc_link proc_link(const char *host, unsigned long *pid) {
    const char *name = proc_entry(host, pid);
    if (name == NULL) {
        return NOT_MAGIC;
    }
    if (same_text(name, "exe")) {
        return LINK_TO_PROGRAM;
    }
    if (same_text(name, "root")) {
        return LINK_TO_ROOT;
    }
    if (same_text(name, "cwd")) {
        return LINK_TO_DIRECTORY;
    }
    const char *number = after(name, "fd/");
    if (number != NULL && skip_digits(number) > number && *skip_digits(number) == '\0') {
        return LINK_TO_OPEN;
    }
    return after(name, "ns/") != NULL || after(name, "map_files/") != NULL ? LINK_TO_OTHER
                                                                           : NOT_MAGIC;
}

bool proc_is_own(unsigned long pid) {
    return pid == (unsigned long)kernel(NR_getpid, 0, 0, 0, 0, 0, 0);
}

/* Whether path, of that size, is where the engine is. */
static bool is_engine(const char *path, size_t size) {
    struct text own;
    text_make(&own);
    if (own.bytes == NULL) {
        return false;
    }
    long own_size =
        kernel(NR_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)own.bytes, PATH_SIZE, 0, 0);
    bool result = own_size == (long)size && same_bytes(own.bytes, path, size);
    text_free(&own);
    return result;
}

/*
 * The program of another process. Its link names the engine, if it is a guest too; but the engine
 * has told the kernel where the code of the program begins, and a mapping is there.
 */
static long other_program(const struct guest *guest, unsigned long pid, char *path, size_t size) {
    if (is_engine(path, size)) {
        long found = proc_program(guest, pid, path);
        if (found < 0) {
            return found;
        }
        size = (size_t)found;
    }
    return guest_from_host(guest, path, size, path);
}

/* A process has its own root after chroot(2); that of another one is not known. */
static long write_root(const struct guest *guest, char *text) {
    struct root root = guest_root(guest);
    if (root.size == 0) {
        return 1;
    }
    copy_bytes(text, root.path, root.size);
    text[root.size] = '\0';
    return (long)root.size;
}

long proc_target(const struct guest *guest, const char *host, char *text, size_t size) {
    unsigned long pid = 0;
    long found;
    switch (proc_link(host, &pid)) {
    case LINK_TO_PROGRAM:
        if (!proc_is_own(pid)) {
            found = other_program(guest, pid, text, size);
            break;
        }
        size = length_of(guest->executable);
        copy_bytes(text, guest->executable, size + 1);
        return (long)size;
    case LINK_TO_ROOT:
        copy_bytes(text, "/", 2);
        return proc_is_own(pid) ? write_root(guest, text) : 1;
    default:
        if (text[0] != '/') {
            return -ENOTDIR;
        }
        found = guest_from_host(guest, text, size, text);
    }
    return found < 0 ? -EACCES : found;
}
