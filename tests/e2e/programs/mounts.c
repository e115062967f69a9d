/*
 * mounts PATH... : what statx(2), name_to_handle_at(2) and fdinfo tell of the mount that each path
 * lies on must be the number of the line of mountinfo for the deepest mount above it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000
#endif
enum { WITH_UNIQUE = 0x4000 | STATX_MNT_ID, MOUNT_AT = 144, LINES = 1024 };

static int count;
static int numbers[LINES];

/* The last line of a point is what lies on top. */
static int expected(const char *path) {
    char line[8192];
    int found = -1;
    size_t longest = 0;
    FILE *stream = fopen("/proc/self/mountinfo", "r");
    count = 0;
    while (fgets(line, sizeof line, stream) != NULL) {
        int number;
        char point[PATH_MAX];
        sscanf(line, "%d %*d %*s %*s %4095s", &number, point);
        for (int other = 0; other < count; other++) {
            if (numbers[other] == number) {
                printf("%d is there twice\n", number);
            }
        }
        numbers[count++] = number;
        size_t size = strcmp(point, "/") == 0 ? 0 : strlen(point);
        if (size >= longest && strncmp(path, point, size) == 0 &&
            (path[size] == '/' || path[size] == '\0')) {
            found = number;
            longest = size;
        }
    }
    fclose(stream);
    return found;
}

static void check(const char *path, const char *how, long got, long wanted) {
    if (got != wanted) {
        printf("%s by %s: %ld, not %ld\n", path, how, got, wanted);
    }
}

static long by_status(int dirfd, const char *path, int flags, unsigned mask) {
    struct statx status;
    memset(&status, 0, sizeof status);
    if (statx(dirfd, path, flags, mask, &status) != 0) {
        return -errno;
    }
    unsigned long number;
    memcpy(&number, (char *)&status + MOUNT_AT, sizeof number);
    return status.stx_mask & STATX_MNT_ID ? (long)number : -1;
}

static long by_handle(int dirfd, const char *path, int flags) {
    union {
        struct file_handle handle;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } space;
    int number = -1;
    space.handle.handle_bytes = MAX_HANDLE_SZ;
    int result = name_to_handle_at(dirfd, path, &space.handle, &number, flags);
    return result != 0 ? -errno : number;
}

static long by_info(int descriptor) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", descriptor);
    int info = open(path, O_RDONLY);
    ssize_t size = read(info, text, sizeof text - 1);
    close(info);
    text[size < 0 ? 0 : size] = '\0';
    const char *field = strstr(text, "mnt_id:");
    return field == NULL ? -1 : atol(field + 7);
}

static void check_handle(const char *path, const char *how, long got, long wanted) {
    if (got != -EOPNOTSUPP) { /* proc has none */
        check(path, how, got, wanted);
    }
}

int main(int argument_count, char **arguments) {
    for (int index = 1; index < argument_count; index++) {
        char path[PATH_MAX];
        if (realpath(arguments[index], path) == NULL) {
            printf("%s: %s\n", arguments[index], strerror(errno));
            continue;
        }
        long wanted = expected(path);
        int descriptor = open(path, O_PATH);
        check(path, "path", by_status(AT_FDCWD, arguments[index], 0, STATX_MNT_ID), wanted);
        check(path, "descriptor", by_status(descriptor, "", AT_EMPTY_PATH, STATX_MNT_ID), wanted);
        check(path, "fdinfo", by_info(descriptor), wanted);
        check_handle(path, "handle", by_handle(AT_FDCWD, path, 0), wanted);
        check_handle(path, "handle of a descriptor", by_handle(descriptor, "", AT_EMPTY_PATH),
                     wanted);
        struct stat status;
        fstat(descriptor, &status);
        if (S_ISDIR(status.st_mode) && chdir(path) == 0) {
            check(path, "dot", by_status(AT_FDCWD, ".", 0, STATX_MNT_ID), wanted);
            check(path, "the working directory",
                  by_status(AT_FDCWD, "", AT_EMPTY_PATH, STATX_MNT_ID), wanted);
            check_handle(path, "handle of dot", by_handle(AT_FDCWD, ".", 0), wanted);
        }
        close(descriptor);
    }
    printf("%s\n", count > 3 ? "done" : "too few mounts");
}
