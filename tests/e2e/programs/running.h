/* Other programs that the programs here run: each in a child, and how it ended is said. */
#ifndef RUNNING_H
#define RUNNING_H

#include "report.h"

extern char **environ;
static char *const *run_words;
static const char *run_path;

static inline void run_now(void) {
    execve(run_path, run_words, environ);
    say("execve", -1);
    fflush(stdout);
    _exit(99);
}

static inline void run(const char *what, const char *path, char *const *words) {
    run_path = path;
    run_words = words;
    say_status(what, status_of(run_now));
}

#define RUN(path, ...) run(path, path, (char *[]){path, ##__VA_ARGS__, NULL})

#endif
