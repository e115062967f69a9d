/*
 * swap SENTINEL SECONDS
 *
 * Some threads change what is below a directory, which others make a link to SENTINEL now and then.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { WORKERS = 4, THREADS = WORKERS + 2 };

static const char *sentinel;
static char here[1024];
static volatile int done;

/* d is the directory, or is l. */
static void *exchange(void *nothing) {
    while (!done) {
        renameat2(AT_FDCWD, "d", AT_FDCWD, "l", RENAME_EXCHANGE);
    }
    return nothing;
}

/* e is removed, and then made as one or the other; so is the file h. */
static void *make_anew(void *nothing) {
    char file[1100];
    snprintf(file, sizeof file, "%s/f0", sentinel);
    while (!done) {
        mkdir("e", 0755);
        rename("e", "e2");
        symlink(sentinel, "e");
        symlink(file, "h");
        unlink("e");
        unlink("h");
        rmdir("e2");
    }
    return nothing;
}

static void work(unsigned what, const char *path, const char *to) {
    switch (what) {
    case 0:
        close(open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600));
        break;
    case 1:
        unlink(path);
        break;
    case 2:
        mkdir(to, 0700);
        break;
    case 3:
        rename(path, to);
        break;
    case 4:
        chmod(path, 0711);
        break;
    case 5:
        symlink("x", to);
        break;
    case 6:
        link(path, to);
        break;
    case 7:
        truncate(path, 3);
        break;
    case 8:
        setxattr(path, "user.x", "1", 1, 0);
        break;
    case 9:
        utimensat(AT_FDCWD, path, NULL, 0);
        break;
    case 10:
        rmdir(to);
        break;
    case 11:
        close(open("h", O_CREAT | O_WRONLY | O_TRUNC, 0600));
        unlink("h");
        break;
    }
}

static void *work_below(void *first) {
    static const char *const folders[] = {"d", "l", "e"};
    unsigned seed = (unsigned)(long)first;
    char path[2048], to[2048];
    while (!done) {
        const char *folder = folders[rand_r(&seed) % 3];
        const char *top = rand_r(&seed) % 2 ? here : ".";
        snprintf(path, sizeof path, "%s/%s/f%d", top, folder, rand_r(&seed) % 3);
        snprintf(to, sizeof to, "%s/%s/g%d", top, folder, rand_r(&seed) % 3);
        work(rand_r(&seed) % 12, path, to);
    }
    return NULL;
}

int main(int count, char **arguments) {
    pthread_t threads[THREADS];
    if (count < 3 || getcwd(here, sizeof here) == NULL) {
        return 2;
    }
    sentinel = arguments[1];
    mkdir("d", 0755);
    symlink(sentinel, "l");
    for (long index = 0; index < THREADS; index++) {
        pthread_create(&threads[index], NULL,
                       index == 0   ? exchange
                       : index == 1 ? make_anew
                                    : work_below,
                       (void *)index);
    }
    sleep((unsigned)atoi(arguments[2]));
    done = 1;
    for (int index = 0; index < THREADS; index++) {
        pthread_join(threads[index], NULL);
    }
    return 0;
}
