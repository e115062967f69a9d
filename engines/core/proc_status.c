#include "proc_status.h"

#include "proc.h"
#include "proc_owner.h"
#include "text.h"

enum { NOBODY = 65534 }; /* who is not of the guest's: /proc/sys/kernel/overflowuid */

/* Behind the name of a field and its blank, if line begins with that; else NULL. */
static const char *field(const char *line, const char *name) {
    size_t size = length_of(name);
    return same_bytes(line, name, size) ? line + size : NULL;
}

static const char *read_digits(const char *text, unsigned long *number) {
    *number = 0;
    for (; *text >= '0' && *text <= '9'; text++) {
        *number = *number * 10 + (unsigned long)(*text - '0');
    }
    return text;
}

/* Four numbers of users or groups. own is who the reader is, if it is about that; else NULL. */
static void add_ids(struct text *out, const char *numbers, unsigned host, unsigned guest,
                    const struct identity *own) {
    const unsigned owns[] = {own != NULL ? own->real : 0, own != NULL ? own->effective : 0,
                             own != NULL ? own->saved : 0, own != NULL ? own->filesystem : 0};
    for (int index = 0; index < 4; index++) {
        unsigned long number;
        numbers = read_digits(numbers + (index > 0), &number);
        text_add(out, "\t", index > 0);
        text_add_number(out, own != NULL ? owns[index] : number == host ? guest : NOBODY);
    }
}

/* The field that begins at line, if it is one that differs. */
static bool translate(struct process *process, struct text *out, const char *line,
                      unsigned long pid) {
    const struct guest *guest = &process->guest;
    bool is_own = proc_is_own(pid);
    unsigned uid = guest->uid;
    unsigned gid = guest->gid;
    const struct persona *persona = persona_of(process);
    const char *value;
    if ((value = field(line, "Uid:\t")) != NULL) {
        text_add_string(out, "Uid:\t");
        proc_owner(guest, pid, &uid, &gid);
        add_ids(out, value, guest->host_uid, uid, is_own ? &persona->user : NULL);
    } else if ((value = field(line, "Gid:\t")) != NULL) {
        text_add_string(out, "Gid:\t");
        proc_owner(guest, pid, &uid, &gid);
        add_ids(out, value, guest->host_gid, gid, is_own ? &persona->group : NULL);
    } else if (is_own && field(line, "NoNewPrivs:\t") != NULL) {
        text_add_string(out, process->no_new_privs ? "NoNewPrivs:\t1" : "NoNewPrivs:\t0");
    } else if (is_own && field(line, "Seccomp:\t") != NULL) {
        text_add_string(out, process->has_filter ? "Seccomp:\t2" : "Seccomp:\t0");
    } else if (is_own && (value = field(line, "Seccomp_filters:\t")) != NULL) {
        unsigned long count;
        read_digits(value, &count);
        text_add_string(out, "Seccomp_filters:\t");
        bool has_filter = count > 0 && guest->tracing != TRACING_ALL;
        text_add_number(out, count - has_filter);
    } else if (guest->tracing != TRACING_NONE && field(line, "TracerPid:\t") != NULL) {
        text_add_string(out, "TracerPid:\t0");
    } else if (!is_own || !proc_add_own(out, persona, line)) {
        return false;
    }
    text_add(out, "\n", 1);
    return true;
}

static void translate_all(struct process *process, struct text *out, const struct text *in,
                          unsigned long pid) {
    const char *end = in->bytes + in->size;
    for (const char *line = in->bytes; line < end;) {
        const char *next = line;
        while (next < end && *next != '\n') {
            next++;
        }
        next += next < end;
        if (!translate(process, out, line, pid)) {
            text_add(out, line, (size_t)(next - line));
        }
        line = next;
    }
}

long proc_status_open(struct process *process, const char *host, long flags) {
    unsigned long pid;
    const char *name = proc_entry(host, &pid);
    if (name == NULL || !same_text(name, "status") ||
        (flags & (O_ACCMODE | O_PATH | O_DIRECTORY | O_TRUNC)) != O_RDONLY) {
        return -ENOSYS;
    }
    struct text in;
    struct text out;
    text_make(&in);
    text_make(&out);
    long result = text_read(&in, host);
    if (result == 0) {
        translate_all(process, &out, &in, pid);
        result = text_open(&out, !(flags & O_CLOEXEC));
    }
    text_free(&in);
    text_free(&out);
    return result;
}
