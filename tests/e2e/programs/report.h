/* How the programs here say what came of something: a line each, the same ones in every engine. */
#ifndef REPORT_H
#define REPORT_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __GLIBC__
#define name_of_error strerrorname_np
#else
#define name_of_error strerror /* musl */
#endif

struct section {
    const char *name;
    void (*work)(void);
};

static inline void say(const char *what, long result) {
    printf("%s: %s\n", what, result >= 0 ? "ok" : name_of_error(errno));
}

static inline void say_number(const char *what, long number) {
    printf("%s: %ld\n", what, number);
}

static inline void say_text(const char *what, const char *text) {
    printf("%s: %s\n", what, text);
}

#define SAY(call) say(#call, call)
#define NUMBER(call) say_number(#call, call)

/* How a child ended that does this. */
static inline int status_of(void (*work)(void)) {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        work();
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, &status, 0);
    return status;
}

static inline void say_status(const char *what, int status) {
    if (WIFSIGNALED(status)) {
        printf("%s: signal %d%s\n", what, WTERMSIG(status), WCOREDUMP(status) ? " core" : "");
    } else {
        printf("%s: exit %d\n", what, WEXITSTATUS(status));
    }
}

#define CHILD(work) say_status(#work, status_of(work))

/* A line of what the kernel says of this process. */
static inline void say_status_field(const char *field) {
    char line[256];
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0) {
            printf("%s", line);
        }
    }
    fclose(file);
}

/* The sections that the words of the command line name, or all; each in a child. */
static inline void run_sections(const struct section *sections, size_t size, int count,
                                char **words) {
    for (size_t index = 0; index < size; index++) {
        int is_wanted = count == 1;
        for (int word = 1; word < count; word++) {
            is_wanted = is_wanted || strcmp(words[word], sections[index].name) == 0;
        }
        if (is_wanted) {
            printf("== %s\n", sections[index].name);
            say_status("section", status_of(sections[index].work));
        }
    }
}

#endif
