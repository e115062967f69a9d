/*
 * sigsys [SECTION...]
 *
 * SIGSYS, which engines may use themselves, as a signal like others.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "masks.h"
#include "self.h"

static volatile sig_atomic_t caught;
static volatile siginfo_t last;

static void on_info(int number, siginfo_t *info, void *context) {
    struct stat status;
    (void)context;
    stat("/etc/passwd", &status);
    caught = caught + 1;
    last.si_signo = number;
    last.si_code = info->si_code;
    last.si_value.sival_int = info->si_value.sival_int;
}

static void take(int number, int flags) {
    struct sigaction action = {.sa_sigaction = on_info, .sa_flags = SA_SIGINFO | flags};
    sigaction(number, &action, NULL);
}

static int is_pending(int number) {
    sigset_t set;
    struct stat status;
    stat("/etc/passwd", &status);
    sigpending(&set);
    return sigismember(&set, number);
}

static void blocked_dies(void) {
    sigset_t set = only(SIGSYS);
    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGSYS);
    printf("survives while blocked\n");
    fflush(stdout);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void blocked_through_exec(void) {
    sigset_t set = only(SIGSYS);
    sigprocmask(SIG_BLOCK, &set, NULL);
    execl(self, self, "child-blocked", NULL);
}

static void blocked_through_spawn(void) {
    sigset_t set = only(SIGSYS);
    posix_spawnattr_t attributes;
    char *words[] = {self, "child-blocked", NULL};
    pid_t child;
    int status;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &set);
    posix_spawn(&child, self, NULL, &attributes, words, environ);
    waitpid(child, &status, 0);
    printf("after: %d\n", is_blocked(SIGSYS));
}

static void ignored_through_exec(void) {
    signal(SIGSYS, SIG_IGN);
    execl(self, self, "child-blocked", NULL);
}

static void *other_thread(void *unused) {
    sigset_t set = only(SIGSYS);
    printf("inherited: %d\n", is_blocked(SIGSYS));
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    printf("in the other: %d\n", is_blocked(SIGSYS));
    return unused;
}

static void section_sigsys(void) {
    sigset_t set = only(SIGSYS);
    sigset_t old;
    sigset_t all;
    siginfo_t info;
    struct timespec soon = {0, 50000000};
    take(SIGSYS, 0);
    SAY(sigprocmask(SIG_BLOCK, &set, &old));
    NUMBER(sigismember(&old, SIGSYS));
    NUMBER(is_blocked(SIGSYS));
    caught = 0;
    union sigval value = {.sival_int = 77};
    SAY(sigqueue(getpid(), SIGSYS, value));
    NUMBER(caught);
    NUMBER(is_pending(SIGSYS));
    SAY(sigprocmask(SIG_UNBLOCK, &set, NULL));
    NUMBER(caught);
    NUMBER(last.si_code);
    NUMBER(last.si_value.sival_int);
    NUMBER(is_pending(SIGSYS));
    NUMBER(is_blocked(SIGSYS));
    sigprocmask(SIG_BLOCK, &set, NULL);
    SAY(sigtimedwait(&set, &info, &soon));
    kill(getpid(), SIGSYS);
    SAY(sigtimedwait(&set, &info, &soon));
    NUMBER(info.si_signo);
    NUMBER(info.si_pid == getpid());
    NUMBER(is_pending(SIGSYS));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        printf("in the child: %d\n", is_blocked(SIGSYS));
        usleep(30000);
        kill(getppid(), SIGSYS);
        fflush(stdout);
        _exit(0);
    }
    struct timespec second = {5, 0};
    NUMBER(sigtimedwait(&set, &info, &second));
    waitpid(child, NULL, 0);
    NUMBER(info.si_pid == child);
    caught = 0;
    kill(getpid(), SIGSYS);
    sigset_t none;
    sigemptyset(&none);
    SAY(sigsuspend(&none));
    NUMBER(caught);
    NUMBER(is_blocked(SIGSYS));
    caught = 0;
    kill(getpid(), SIGSYS);
    SAY(ppoll(NULL, 0, &second, &none));
    NUMBER(caught);
    fflush(stdout);
    pthread_t thread;
    pthread_create(&thread, NULL, other_thread, NULL);
    pthread_join(thread, NULL);
    NUMBER(is_blocked(SIGSYS));
    CHILD(blocked_dies);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    CHILD(blocked_through_exec);
    CHILD(blocked_through_spawn);
    CHILD(ignored_through_exec);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    NUMBER(is_blocked(SIGSYS));
    struct stat status;
    SAY(stat("/etc/passwd", &status));
    signal(SIGSYS, SIG_IGN);
    kill(getpid(), SIGSYS);
    NUMBER(is_pending(SIGSYS));
    sigprocmask(SIG_SETMASK, &none, NULL);
    caught = 0;
    take(SIGSYS, 0);
    SAY(raise(SIGSYS));
    NUMBER(caught);
    NUMBER(last.si_code);
    struct sigaction action;
    sigaction(SIGSYS, NULL, &action);
    NUMBER(action.sa_sigaction == on_info);
    sigfillset(&action.sa_mask);
    sigaction(SIGSYS, &action, NULL);
    sigaction(SIGSYS, NULL, &action);
    NUMBER(sigismember(&action.sa_mask, SIGSYS));
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR1, NULL, &action);
    NUMBER(sigismember(&action.sa_mask, SIGSYS));
}

static const struct section sections[] = {
    {"sigsys", section_sigsys},
};

int main(int count, char **words) {
    find_self();
    if (count > 1 && strcmp(words[1], "child-blocked") == 0) {
        struct sigaction action;
        printf("blocked: %d\n", is_blocked(SIGSYS));
        sigaction(SIGSYS, NULL, &action);
        printf("ignored: %d\n", action.sa_handler == SIG_IGN);
        kill(getpid(), SIGSYS);
        printf("pending: %d\n", is_pending(SIGSYS));
        return 0;
    }
    run_sections(sections, sizeof sections / sizeof sections[0], count, words);
    return 0;
}
