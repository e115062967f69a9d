/*
 * Threads that change paths, while others close numbers that they have not opened and open
 * directories in another place, for some seconds: ARGV[1] the place, ARGV[2] the other, ARGV[3]
 * seconds. Both have the same names.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { FIRST = 3, LAST = 24 };

static atomic_int is_over;
static const char *other;

static void *closes(void *unused) {
    while (!is_over) {
        for (int number = FIRST; number <= LAST; number++) {
            close(number);
        }
    }
    return unused;
}

static void *opens(void *unused) {
    while (!is_over) {
        close(open(other, O_RDONLY | O_DIRECTORY));
    }
    return unused;
}

static void *changes(void *unused) {
    while (!is_over) {
        close(open("file", O_CREAT | O_RDWR, 0640));
        chmod("file", 0600);
        truncate("file", 1);
        setxattr("file", "user.mine", "1", 1, 0);
        rename("file", "moved");
        unlink("moved");
        unlink("file");
        mkdir("folder", 0700);
        chmod(".", 0700);
        rmdir("folder");
        symlink("file", "link");
        unlink("link");
    }
    return unused;
}

int main(int argc, char **argv) {
    pthread_t threads[4];
    if (argc != 4 || chdir(argv[1]) != 0) {
        return 2;
    }
    other = argv[2];
    pthread_create(&threads[0], NULL, closes, NULL);
    pthread_create(&threads[1], NULL, opens, NULL);
    pthread_create(&threads[2], NULL, opens, NULL);
    pthread_create(&threads[3], NULL, changes, NULL);
    sleep((unsigned)atoi(argv[3]));
    is_over = 1;
    for (int index = 0; index < 4; index++) {
        pthread_join(threads[index], NULL);
    }
    return 0;
}
