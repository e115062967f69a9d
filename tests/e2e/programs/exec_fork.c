/*
 * A thread forks while another one executes a program: what its children execute has no descriptor
 * that nobody gave them. Prints each that they find, and how many children there were.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 64, FOUND = 1 };

/* In a child of the thread, after its execve(2). */
static int look(void) {
    int found = 0;
    char name[64];
    char text[256];
    for (int descriptor = 3; descriptor < MOST; descriptor++) {
        if (fcntl(descriptor, F_GETFD) >= 0) {
            snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
            ssize_t size = readlink(name, text, sizeof text);
            printf("%d: %.*s\n", descriptor, (int)(size < 0 ? 0 : size), text);
            found = FOUND;
        }
    }
    return found;
}

static void *fork_on(void *unused) {
    for (;;) {
        if (fork() == 0) {
            execl("/proc/self/exe", "exec_fork", "look", NULL);
            _exit(2);
        }
    }
    return unused;
}

static void execute(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, fork_on, NULL) != 0) {
        _exit(2);
    }
    usleep(1000 + rand() % 2000);
    execl("/bin/true", "true", NULL);
    _exit(2);
}

int main(int count, char **words) {
    if (count > 1 && strcmp(words[1], "look") == 0) {
        return look();
    }
    int times = atoi(words[1]);
    int children = 0;
    int status;
    for (int descriptor = 3; descriptor < MOST; descriptor++) {
        close(descriptor);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int index = 0; index < times; index++) {
        srand((unsigned)index);
        fflush(stdout);
        if (fork() == 0) {
            execute();
        }
        while (wait(&status) > 0) {
            children++;
            if (status != 0 && status != FOUND << 8) {
                printf("status %x\n", status);
            }
        }
    }
    printf("%s\n", children > 2 * times ? "many" : "few");
    return 0;
}
