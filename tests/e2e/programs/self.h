/* Programs that look at themselves, and start themselves again. */
#ifndef SELF_H
#define SELF_H

#include <limits.h>
#include <sys/stat.h>

#include "report.h"

extern char **environ;
static char self[PATH_MAX];

static inline void find_self(void) {
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    self[size < 0 ? 0 : size] = '\0';
}

/* What one that was started again was given. */
static inline void say_given(int count) {
    struct stat status;
    unsigned long variables = 0;
    while (environ[variables] != NULL) {
        variables++;
    }
    printf("words: %d, variables: %lu\n", count, variables);
    SAY(stat("/etc/../etc/passwd", &status));
}

#endif
