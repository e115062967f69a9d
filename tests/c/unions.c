#include "unions.h"

#include <stdarg.h>

#include "union.h"

enum { NO_REPLACE = 1, EXCHANGE = 2, TMPFILE = O_TMPFILE_BIT | O_DIRECTORY };

struct process one;
struct process other;
long failed_call;

long on(struct process *process, long number, long a, long b, long c, long d, long e) {
    struct call call = {number, {a, b, c, d, e, 0}};
    long result = calls_carry_out(process, &call, NULL);
    failed_call = result < 0 ? number : failed_call;
    return result;
}

bool with_times;
bool parents_are_known;

static void add(struct report *report, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    report->size +=
        (size_t)vsnprintf(report->bytes + report->size, LISTING - report->size, format, arguments);
    va_end(arguments);
    if (report->size >= LISTING) {
        printf("a report is too long\n");
        exit(2);
    }
}

static int by_name(const void *one_name, const void *other_name) {
    return strcmp(*(char *const *)one_name, *(char *const *)other_name);
}

/* What a listing says of a name is what its status and an open file say; or which of it is not. */
static void check_entry(struct process *process, long folder, const char *path, const char *entry) {
    struct status status = {0};
    const char *name = entry + 19;
    long result =
        on(process, NR_newfstatat, folder, (long)name, (long)&status, AT_SYMLINK_NOFOLLOW, 0);
    /* That of a parent which was copied up before anything was shared is not known. */
    bool is_known = path[1] != '\0' && (process == &other || parents_are_known);
    bool has_inode = (strcmp(name, "..") == 0 && !is_known) ||
                     status.inode == *(const uint64_t *)(const void *)entry;
    bool has_type = (status.mode & S_IFMT) >> 12 == (unsigned char)entry[18];
    struct status opened = status;
    long file = on(process, NR_openat, folder, (long)name, O_RDONLY | O_NOFOLLOW, 0, 0);
    on(process, NR_fstat, file, (long)&opened, 0, 0, 0);
    bool is_opened =
        opened.inode == status.inode && (file >= 0) == ((status.mode & S_IFMT) != S_IFLNK);
    if (result != 0 || !has_inode || !has_type || !is_opened) {
        printf("%s in %s: stat %ld, open %ld, mode %o, inodes %lu, %lu, %lu\n", name, path, result,
               file, status.mode, (unsigned long)*(const uint64_t *)(const void *)entry,
               (unsigned long)status.inode, (unsigned long)opened.inode);
    }
    CHECK_NUMBER(result, 0);
    CHECK(has_inode);
    CHECK(has_type);
    CHECK(is_opened);
    on(process, NR_close, file, 0, 0, 0, 0);
}

/* The names of a directory, sorted; read with so much room at a time. */
size_t names_of(struct process *process, const char *path, char **names, size_t most, size_t room) {
    char buffer[PATH_SIZE];
    size_t count = 0;
    long folder = on(process, NR_openat, AT_FD, (long)path, O_RDONLY | O_DIRECTORY, 0, 0);
    long size = folder < 0 ? folder : 1;
    while (size > 0) {
        size = on(process, NR_getdents64, folder, (long)buffer, (long)room, 0, 0);
        for (long at = 0; at < size; at += *(uint16_t *)(void *)(buffer + at + 16)) {
            char *name = buffer + at + 19;
            CHECK(count < most);
            if (count < most) {
                names[count] = malloc(strlen(name) + 1);
                strcpy(names[count++], name);
            }
            check_entry(process, folder, path, buffer + at);
        }
    }
    CHECK_NUMBER(size, 0);
    on(process, NR_close, folder, 0, 0, 0, 0);
    qsort(names, count, sizeof *names, by_name);
    return count;
}

static void report_file(struct report *report, const char *path) {
    char content[256];
    struct process *process = report->process;
    long descriptor = on(process, NR_openat, AT_FD, (long)path, O_RDONLY, 0, 0);
    long size = on(process, NR_read, descriptor, (long)content, sizeof content, 0, 0);
    add(report, " %ld:%.*s", size, size > 0 ? (int)size : 0, content);
    on(process, NR_close, descriptor, 0, 0, 0, 0);
    size =
        on(process, NR_getxattr, (long)path, (long)"user.test", (long)content, sizeof content, 0);
    add(report, " %ld:%.*s", size, size > 0 ? (int)size : 0, content);
}

static void report_on(struct report *report, const char *path) {
    struct status status;
    long result = on(report->process, NR_newfstatat, AT_FD, (long)(path[0] ? path : "/"),
                     (long)&status, AT_SYMLINK_NOFOLLOW, 0);
    add(report, "%s %ld", path, result);
    if (result < 0) {
        add(report, "\n");
        return;
    }
    add(report, " %o", status.mode);
    if (with_times) {
        add(report, " %lu.%lu %lu.%lu", (unsigned long)status.modified[0],
            (unsigned long)status.modified[1], (unsigned long)status.changed[0],
            (unsigned long)status.changed[1]);
    }
    unsigned kind = status.mode & S_IFMT;
    if (kind == S_IFREG) {
        add(report, " %lu %lu", (unsigned long)status.links, (unsigned long)status.size);
        if (status.modified[0] < 1000000000) {
            add(report, " %lu", (unsigned long)status.modified[0]);
        }
        report_file(report, path);
    } else if (kind == S_IFLNK) {
        char content[256];
        long size =
            on(report->process, NR_readlinkat, AT_FD, (long)path, (long)content, sizeof content, 0);
        add(report, " %.*s", (int)size, content);
    }
    add(report, "\n");
    if (kind == S_IFDIR) {
        char *names[64];
        size_t count = names_of(report->process, path[0] ? path : "/", names, 64, 128);
        for (size_t index = 0; index < count; index++) {
            char below[256];
            if (strcmp(names[index], ".") != 0 && strcmp(names[index], "..") != 0) {
                snprintf(below, sizeof below, "%s/%s", path, names[index]);
                report_on(report, below);
            }
            free(names[index]);
        }
    }
}

void fill(struct report *report, struct process *process) {
    report->process = process;
    report->size = 0;
    report_on(report, "");
}

struct report left = {.bytes = (char[LISTING]){0}};
struct report right = {.bytes = (char[LISTING]){0}};

bool is_same(void) {
    fill(&left, &one);
    fill(&right, &other);
    return left.size == right.size && memcmp(left.bytes, right.bytes, left.size) == 0;
}

/* A file is opened with these flags, something is written to it if that may be, and closed. */
long write_file(struct process *process, const char *path, long flags, unsigned number) {
    char content[16];
    long descriptor = on(process, NR_openat, AT_FD, (long)path, flags, 0640, 0);
    if (descriptor < 0) {
        return descriptor;
    }
    long size = snprintf(content, sizeof content, "%u", number);
    long written = on(process, NR_write, descriptor, (long)content, size, 0, 0);
    on(process, NR_close, descriptor, 0, 0, 0, 0);
    return written;
}

/* O_TMPFILE, and then a name by linkat(2) of /proc. */
static long name_file(struct process *process, const char *path) {
    char link[64];
    long descriptor = on(process, NR_openat, AT_FD, (long)"/a", TMPFILE | O_RDWR, 0600, 0);
    if (descriptor < 0) {
        return descriptor;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%ld", descriptor);
    long result = kernel(NR_write, descriptor, (long)"tmp", 3, 0, 0, 0);
    result = result < 0
                 ? result
                 : on(process, NR_linkat, AT_FD, (long)link, AT_FD, (long)path, AT_SYMLINK_FOLLOW);
    on(process, NR_close, descriptor, 0, 0, 0, 0);
    return result;
}

/* Of a file that is open to be read only: its mode, its times, and then by a link of /proc. */
static long change_open(struct process *process, const char *path, unsigned choice) {
    char link[64];
    const uint64_t times[4] = {1000, 0, 2000 + choice, 0};
    long descriptor = on(process, NR_openat, AT_FD, (long)path, O_RDONLY, 0, 0);
    if (descriptor < 0) {
        return descriptor;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%ld", descriptor);
    long result;
    if (choice % 4 == 0) {
        result = on(process, NR_fchmod, descriptor, 0700 + choice % 8, 0, 0, 0);
    } else if (choice % 4 == 1) {
        result = on(process, NR_utimensat, descriptor, 0, (long)times, 0, 0);
    } else if (choice % 4 == 2) {
        result = on(process, NR_fsetxattr, descriptor, (long)"user.test", (long)"fd", 2, 0);
    } else {
        result = on(process, NR_truncate, (long)link, 1, 0, 0, 0);
    }
    on(process, NR_close, descriptor, 0, 0, 0, 0);
    return result;
}

/* The same operation, on both. */
long operate(struct process *process, unsigned what, const char *path, const char *to,
             unsigned number) {
    const uint64_t times[4] = {1000, 0, 1000 + number, 0};
    static const long opens[] = {O_CREAT | O_WRONLY,
                                 O_CREAT | O_WRONLY | O_TRUNC,
                                 O_CREAT | O_EXCL | O_WRONLY,
                                 O_WRONLY | 02000 /* append */,
                                 O_RDWR,
                                 O_RDONLY | O_TRUNC,
                                 O_CREAT | O_RDONLY,
                                 O_CREAT | O_NOFOLLOW | O_RDWR};
    switch (what) {
    case 0:
    case 1:
        return on(process, NR_mkdirat, AT_FD, (long)path, 0755, 0, 0);
    case 2:
    case 3:
        return on(process, NR_unlinkat, AT_FD, (long)path, AT_REMOVEDIR, 0, 0);
    case 4:
    case 5:
        return on(process, NR_unlinkat, AT_FD, (long)path, 0, 0, 0);
    case 6:
    case 7:
        return on(process, NR_renameat, AT_FD, (long)path, AT_FD, (long)to, 0);
    case 8:
        return on(process, NR_renameat2, AT_FD, (long)path, AT_FD, (long)to, NO_REPLACE);
    case 9:
        return on(process, NR_renameat2, AT_FD, (long)path, AT_FD, (long)to, EXCHANGE);
    case 10:
        return on(process, NR_linkat, AT_FD, (long)path, AT_FD, (long)to, 0);
    case 11:
        return on(process, NR_symlinkat, (long)(to + 1), AT_FD, (long)path, 0, 0);
    case 12:
        return on(process, NR_fchmodat, AT_FD, (long)path, 0700 | (number & 077), 0, 0);
    case 13:
        return on(process, NR_utimensat, AT_FD, (long)path, (long)times,
                  number % 2 ? AT_SYMLINK_NOFOLLOW : 0, 0);
    case 14:
        return on(process, NR_setxattr, (long)path, (long)"user.test", (long)"value",
                  1 + number % 5, 0);
    case 15:
        return on(process, NR_truncate, (long)path, number % 4, 0, 0, 0);
    case 16:
        return name_file(process, path);
    case 17:
        return change_open(process, path, number);
    case 18:
        return on(process, NR_mknodat, AT_FD, (long)path, S_IFREG | 0600, 0, 0);
    default:
        return write_file(process, path, opens[number % 8], number);
    }
}

const char *operation_name(unsigned what) {
    static const char *const names[] = {
        "mkdir",
        "mkdir",
        "rmdir",
        "rmdir",
        "unlink",
        "unlink",
        "rename",
        "rename",
        "rename new",
        "exchange",
        "link",
        "symlink",
        "chmod",
        "utimens",
        "setxattr",
        "truncate",
        "name a temporary",
        "change what is open",
        "mknod",
    };
    return what < sizeof names / sizeof names[0] ? names[what] : "open and write";
}

bool is_lookup_error(long result) {
    return result == -ENOENT || result == -ENOTDIR || result == -ELOOP;
}
