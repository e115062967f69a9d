/* Four threads, each with a file of its own: open, fstat, pread, pwrite, close. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREADS = 4, ROUNDS = 15000, SIZE = 512 };

static void must(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static void *work(void *argument) {
    char path[64];
    char block[SIZE] = {0};
    struct stat status;
    snprintf(path, sizeof path, "/bench/threads/%ld", (long)argument);
    for (int round = 0; round < ROUNDS; round++) {
        int descriptor = open(path, O_RDWR | O_CREAT, 0644);
        must(descriptor >= 0, path);
        must(fstat(descriptor, &status) == 0, "fstat");
        must(pread(descriptor, block, SIZE, 0) >= 0, "pread");
        must(pwrite(descriptor, block, SIZE, 0) == SIZE, "pwrite");
        close(descriptor);
    }
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    for (long index = 0; index < THREADS; index++) {
        must(pthread_create(&threads[index], NULL, work, (void *)index) == 0, "pthread_create");
    }
    for (int index = 0; index < THREADS; index++) {
        pthread_join(threads[index], NULL);
    }
    return 0;
}
