/*
 * timed FILE COMMAND [ARGUMENT]...: run it, and write to FILE the microseconds on the clock, those
 * of the processors, and the KiB of the largest process. Ends as the command does. A process keeps
 * the peak of whoever it was before execve(2): hence a small one begins it. What the command leaves
 * to others (podman its container) is counted if it ends soon.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
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

/* The processor time of orphans, in microseconds; those that stay are not waited for longer. */
static long long of_orphans(void) {
    const struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};
    long long sum = 0;
    for (int patience = 300; patience > 0;) {
        struct rusage usage;
        pid_t ended = wait4(-1, NULL, WNOHANG, &usage);
        if (ended < 0)
            break;
        if (ended > 0) {
            sum += of(usage.ru_utime) + of(usage.ru_stime);
        } else {
            nanosleep(&moment, NULL);
            patience--;
        }
    }
    return sum;
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
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        perror("timed");
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
    long long took = now() - start;
    long long used = of(usage.ru_utime) + of(usage.ru_stime) + of_orphans();
    fprintf(file, "%lld %lld %ld\n", took, used, usage.ru_maxrss);
    if (fclose(file) != 0) {
        perror(words[1]);
        return 1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
