/*
 * The program of the image `musl`: linked against musl, and run by its loader. It shows what it
 * was given; with words, it runs them as a command in a child, as a shell would.
 */
#include <dirent.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void *count_entries(void *path) {
    long count = 0;
    DIR *directory = opendir(path);
    if (directory != NULL) {
        while (readdir(directory) != NULL) {
            count++;
        }
        closedir(directory);
    }
    return (void *)count;
}

static void show(void) {
    char cwd[4096] = "?";
    void *count = NULL;
    pthread_t thread;
    const struct passwd *user = getpwuid(getuid());
    if (getcwd(cwd, sizeof cwd) == NULL || pthread_create(&thread, NULL, count_entries, "/") != 0 ||
        pthread_join(thread, &count) != 0) {
        perror("probe");
        exit(1);
    }
    const char *word = getenv("PROBE");
    printf("musl cwd=%s uid=%d gid=%d user=%s PROBE=%s root=%s\n", cwd, (int)getuid(),
           (int)getgid(), user != NULL ? user->pw_name : "?", word != NULL ? word : "",
           count != NULL ? "readable" : "unreadable");
    fflush(stdout);
}

int main(int argc, char **argv) {
    int status = 0;
    show();
    if (argc > 1) {
        pid_t child = fork();
        if (child == 0) {
            execvp(argv[1], argv + 1);
            perror(argv[1]);
            _exit(127);
        }
        if (child < 0 || waitpid(child, &status, 0) < 0) {
            perror("probe");
            return 1;
        }
    }
    return WEXITSTATUS(status);
}
