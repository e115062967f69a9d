/*
 * floor DIRECTORY TAR...: make what the plain members of each TAR say, with the fewest calls and
 * nothing checked: what no program that unpacks can be faster than.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 512 };

static void make_file(const char *path, const char *header, const char *data, size_t size) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0)
        return;
    if (write(file, data, size) != (ssize_t)size) {
        perror(path);
        exit(1);
    }
    struct timespec time = {.tv_sec = strtoll(header + 136, NULL, 8)};
    fchmod(file, (mode_t)(strtol(header + 100, NULL, 8) & 01777) | 0400);
    futimens(file, (struct timespec[]){time, time});
    close(file);
}

static void extract(const char *tar, size_t size) {
    char path[BLOCK];
    for (size_t at = 0; at + BLOCK <= size && tar[at] != '\0';) {
        const char *header = tar + at;
        size_t length = strtoull(header + 124, NULL, 8);
        int is_ustar = memcmp(header + 257, "ustar", 6) == 0 && header[345] != '\0';
        snprintf(path, sizeof path, "%.155s%s%.100s", is_ustar ? header + 345 : "",
                 is_ustar ? "/" : "", header);
        at += BLOCK;
        switch (header[156]) {
        case '0':
            make_file(path, header, tar + at, length);
            break;
        case '1':
            if (link(header + 157, path) != 0)
                continue;
            break;
        case '2':
            if (symlink(header + 157, path) != 0)
                continue;
            break;
        case '5':
            if (mkdir(path, 0755) != 0)
                continue;
            break;
        default:
            break;
        }
        at += header[156] == '0' || header[156] == 'x' ? (length + BLOCK - 1) / BLOCK * BLOCK : 0;
    }
}

int main(int count, char **words) {
    for (int i = 2; i < count; i++) {
        int file = open(words[i], O_RDONLY);
        struct stat facts;
        if (file < 0 || fstat(file, &facts) != 0) {
            perror(words[i]);
            return 1;
        }
        size_t size = (size_t)facts.st_size;
        const char *tar = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
        if (tar == MAP_FAILED || (i == 2 && chdir(words[1]) != 0)) {
            perror(words[1]);
            return 1;
        }
        extract(tar, size);
        close(file);
    }
    return 0;
}
