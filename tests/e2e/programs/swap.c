/*
 * swap SENTINEL SECONDS
 *
 * Some threads change what is below a directory, which others make a link to SENTINEL now and then.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
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

/* What is read there is never the host's. */
static void check(int descriptor, const char *how) {
    char text[32];
    ssize_t size = descriptor < 0 ? 0 : read(descriptor, text, sizeof text - 1);
    text[size < 0 ? 0 : size] = '\0';
    if (strstr(text, "host") != NULL) {
        fprintf(stderr, "%s reached the host\n", how);
        _exit(3);
    }
    if (descriptor >= 0) {
        close(descriptor);
    }
}

static void enter(const char *folder) {
    pid_t child = fork();
    if (child == 0) {
        for (int count = 0; count < 50; count++) {
            if (syscall(SYS_chdir, here) == 0 && syscall(SYS_chdir, folder) == 0) {
                check(open("f0", O_RDONLY), "chdir");
            }
        }
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 3) {
        exit(3);
    }
}

static void name_socket(const char *path, bool binds) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int socket_ = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (binds) {
        bind(socket_, (struct sockaddr *)&address, sizeof address);
    } else if (connect(socket_, (struct sockaddr *)&address, sizeof address) == 0) {
        fprintf(stderr, "connect reached the host\n");
        _exit(3);
    }
    close(socket_);
}

static void ask_attribute(const char *path) {
    char text[32] = "";
    if (getxattr(path, "user.of", text, sizeof text) > 0 && strcmp(text, "host") == 0) {
        fprintf(stderr, "getxattr reached the host\n");
        _exit(3);
    }
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
    case 12:
        name_socket(to, true);
        break;
    case 13:
        check(open(path, O_RDONLY), "open");
        break;
    case 14:
        ask_attribute(path);
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
        unsigned what = rand_r(&seed) % 17;
        work(what, path, to);
        snprintf(path, sizeof path, "%s/%s", top, folder);
        if (what == 15) {
            enter(path);
        } else if (what == 16) {
            snprintf(to, sizeof to, "%s/s", path);
            name_socket(to, false);
        }
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
