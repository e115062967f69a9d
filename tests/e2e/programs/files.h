/* Files as the programs here make and open them. */
#ifndef FILES_H
#define FILES_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "report.h"

#define OPEN(...)                                                                                  \
    do {                                                                                           \
        int opened = open(__VA_ARGS__);                                                            \
        say("open " #__VA_ARGS__, opened);                                                         \
        if (opened >= 0) {                                                                         \
            close(opened);                                                                         \
        }                                                                                          \
    } while (0)

static inline void make_file(const char *path, const char *content, int mode) {
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    if (descriptor < 0 || write(descriptor, content, strlen(content)) < 0) {
        perror(path);
        exit(2);
    }
    fchmod(descriptor, (mode_t)mode);
    close(descriptor);
}

#endif
