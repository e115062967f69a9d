#include "proc_owner.h"

#include "proc.h"

enum { GENERATIONS = 8, PLACE_SIZE = 32, HEX_DIGITS = 16 };

static const char PROC[] = "/proc/";

static unsigned long read_decimal(const char *text, const char **end) {
    unsigned long number = 0;
    while (*text >= '0' && *text <= '9' && number < UINT32_MAX) {
        number = number * 10 + (unsigned long)(*text++ - '0');
    }
    *end = text;
    return number;
}

/* The second field behind the name: proc_pid_stat(5). 0: unknown. */
static unsigned long parent_of(unsigned long pid) {
    char place[PLACE_SIZE];
    struct text stat;
    copy_bytes(place, PROC, sizeof PROC - 1);
    size_t size = sizeof PROC - 1 + write_number(place + sizeof PROC - 1, pid);
    copy_bytes(place + size, "/stat", 6);
    text_make(&stat);
    unsigned long parent = 0;
    if (text_read(&stat, place) == 0) {
        const char *field = stat.bytes + stat.size;
        while (field > stat.bytes && *field != ')') {
            field--;
        }
        if (stat.bytes + stat.size - field > 4) {
            parent = read_decimal(field + 4, &field); /* ") S 1" */
        }
    }
    text_free(&stat);
    return parent;
}

bool proc_owner(const struct guest *guest, unsigned long pid, unsigned *uid, unsigned *gid) {
    if (!owners_have_peers(guest)) {
        return false;
    }
    for (int count = 0; pid > 1 && count < GENERATIONS; count++) {
        if (owners_find_peer(guest, (unsigned)pid, uid, gid)) {
            return true;
        }
        pid = parent_of(pid);
    }
    return false;
}

unsigned long proc_of_path(const struct guest *guest, const char *path) {
    if (!same_bytes(path, PROC, sizeof PROC - 1) || guest_root(guest).size > 0) {
        return 0;
    }
    const char *end;
    unsigned long pid = read_decimal(path + sizeof PROC - 1, &end);
    const struct mount *mount = guest_mount(guest, path, sizeof PROC - 2);
    bool is_host =
        mount->source_size == sizeof PROC - 2 && same_bytes(mount->source, PROC, sizeof PROC - 2);
    return is_host && (*end == '\0' || *end == '/') ? pid : 0;
}

static void add_groups(struct text *out, const struct persona *persona) {
    text_add_string(out, "Groups:\t");
    for (unsigned index = 0; index < persona->group_count; index++) {
        text_add_number(out, persona->groups[index]);
        text_add(out, " ", 1);
    }
}

static void add_set(struct text *out, const char *name, uint64_t set) {
    static const char digits[] = "0123456789abcdef";
    text_add_string(out, name);
    for (int shift = 4 * (HEX_DIGITS - 1); shift >= 0; shift -= 4) {
        text_add(out, &digits[set >> shift & 0xf], 1);
    }
}

static bool begins(const char *line, const char *name) {
    return same_bytes(line, name, length_of(name));
}

bool proc_add_own(struct text *out, const struct persona *persona, const char *line) {
    const struct capabilities *have = &persona->capabilities;
    if (begins(line, "Groups:")) {
        add_groups(out, persona);
    } else if (begins(line, "CapInh:")) {
        add_set(out, "CapInh:\t", have->inheritable);
    } else if (begins(line, "CapPrm:")) {
        add_set(out, "CapPrm:\t", have->permitted);
    } else if (begins(line, "CapEff:")) {
        add_set(out, "CapEff:\t", have->effective);
    } else if (begins(line, "CapBnd:")) {
        add_set(out, "CapBnd:\t", have->bounding);
    } else if (begins(line, "CapAmb:")) {
        add_set(out, "CapAmb:\t", have->ambient);
    } else {
        return false;
    }
    return true;
}
