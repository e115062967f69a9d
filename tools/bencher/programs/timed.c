/*
 * timed FILE COMMAND [ARGUMENT]...: run it, and write to FILE the microseconds on the clock, those
 * of the processors, and the KiB of the largest process. Ends as the command does. A process keeps
 * the peak of whoever it was before execve(2): hence a small one begins it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000LL + time.tv_nsec / 1000;
}

static long long of(struct timeval time) {
    return time.tv_sec * 1000000LL + time.tv_usec;
}

int main(int count, char **words) {
    if (count < 3) {
        fprintf(stderr, "usage: timed FILE COMMAND [ARGUMENT]...\n");
        return 2;
    }
    FILE *file = fopen(words[1], "we");
    if (file == NULL) {
        perror(words[1]);
        return 1;
    }
    long long start = now();
    pid_t child = fork();
    if (child == 0) {
        execvp(words[2], words + 2);
        perror(words[2]);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (child < 0 || wait4(child, &status, 0, &usage) < 0) {
        perror("timed");
        return 1;
    }
    fprintf(file, "%lld %lld %ld\n", now() - start, of(usage.ru_utime) + of(usage.ru_stime),
            usage.ru_maxrss);
    if (fclose(file) != 0) {
        perror(words[1]);
        return 1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
