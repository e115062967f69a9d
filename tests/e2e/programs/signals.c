/*
 * signals [SECTION...]
 *
 * Signals, and the stacks that their handlers have. It works in the directory where it is started.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "running.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

static volatile sig_atomic_t caught;

static void on_signal_open(int number) {
    int descriptor = open("/etc/passwd", O_RDONLY);
    caught = descriptor >= 0 ? number : -1;
    close(descriptor);
}

static void die_of_sigsys(void) {
    raise(SIGSYS);
}

static void ignore_sigsys(void) {
    signal(SIGSYS, SIG_IGN);
    raise(SIGSYS);
    say("ignored", 0);
    RUN("/bin/sh", "-c", "kill -SYS $$; echo still ignored");
}

static void fault(void) {
    volatile int *volatile nowhere = (int *)16;
    *nowhere = 1;
}

static void give_up(void) {
    abort();
}

static void section_signals(void) {
    struct sigaction action;
    struct sigaction before;
    sigset_t all;
    sigset_t old;
    say_status("SIGSYS", status_of(die_of_sigsys));
    say_status("SIGSYS ignored", status_of(ignore_sigsys));
    sigaction(SIGSYS, NULL, &before);
    say_number("default", before.sa_handler == SIG_DFL);
    signal(SIGSYS, on_signal_open);
    sigaction(SIGSYS, NULL, &before);
    say_number("own handler", before.sa_handler == on_signal_open);
    caught = 0;
    raise(SIGSYS);
    say_number("caught", caught);
    say_status("after exec", status_of(die_of_sigsys) & ~0x80);
    action = (struct sigaction){.sa_handler = on_signal_open, .sa_flags = SA_RESETHAND};
    sigaction(SIGSYS, &action, NULL);
    caught = 0;
    kill(getpid(), SIGSYS);
    say_number("caught once", caught);
    sigaction(SIGSYS, NULL, &before);
    say_number("reset", before.sa_handler == SIG_DFL);
    say_status("SIGSEGV", status_of(fault));
    say_status("abort", status_of(give_up));
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    OPEN("/etc/passwd", O_RDONLY);
    raise(SIGUSR1);
    sigset_t pending;
    sigpending(&pending);
    say_number("pending", sigismember(&pending, SIGUSR1));
    signal(SIGUSR1, on_signal_open);
    caught = 0;
    sigprocmask(SIG_SETMASK, &old, NULL);
    say_number("caught then", caught == SIGUSR1);
    action = (struct sigaction){.sa_handler = on_signal_open};
    sigfillset(&action.sa_mask);
    sigaction(SIGUSR2, &action, NULL);
    caught = 0;
    raise(SIGUSR2);
    say_number("in a handler with all blocked", caught == SIGUSR2);
    SAY(sigprocmask(77, &all, NULL));
    SAY(sigprocmask(77, NULL, &old));
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8));
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, 8, 8));
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, 4));
    SAY(sigaction(SIGKILL, &action, NULL));
    SAY(sigaction(99, &action, NULL));
}

static void alarm_soon(void) {
    struct itimerval timer = {.it_value = {0, 20000}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* Calls that wait are interrupted, or go on, as they are told. */
static void section_waiting(void) {
    struct sigaction action = {.sa_handler = on_signal_open};
    sigset_t empty;
    sigset_t alarms;
    struct timespec second = {5, 0};
    sigemptyset(&empty);
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    sigaction(SIGALRM, &action, NULL);
    mkfifo("pipe", 0600);
    alarm_soon();
    OPEN("pipe", O_RDONLY);
    sigprocmask(SIG_BLOCK, &alarms, NULL);
    alarm_soon();
    SAY(ppoll(NULL, 0, &second, &empty));
    alarm_soon();
    SAY(pselect(0, NULL, NULL, NULL, &second, &empty));
    alarm_soon();
    SAY(sigsuspend(&empty));
    int watcher = epoll_create1(0);
    struct epoll_event event;
    alarm_soon();
    SAY(epoll_pwait(watcher, &event, 1, 5000, &empty));
    sigprocmask(SIG_UNBLOCK, &alarms, NULL);
    int pair[2];
    char byte;
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    alarm_soon();
    SAY(recvmsg(pair[0], &message, 0));
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, NULL);
    caught = 0;
    alarm_soon();
    pid_t child = fork();
    if (child == 0) {
        usleep(60000);
        close(open("pipe", O_WRONLY));
        _exit(0);
    }
    OPEN("pipe", O_RDONLY);
    say_number("and went on", caught == SIGALRM);
    waitpid(child, NULL, 0);
}

static sigjmp_buf escape;

static void on_alarm_jump(int number) {
    (void)number;
    siglongjmp(escape, 1);
}

/* A handler that never comes back, again and again: nothing may run out. */
static void section_jumps(void) {
    signal(SIGALRM, on_alarm_jump);
    mkfifo("pipe2", 0600);
    volatile int jumps = 0;
    for (volatile int count = 0; count < 40; count++) {
        if (sigsetjmp(escape, 1) == 0) {
            struct itimerval timer = {.it_value = {0, 2000}};
            setitimer(ITIMER_REAL, &timer, NULL);
            open("pipe2", O_RDONLY);
        } else {
            jumps = jumps + 1;
        }
    }
    say_number("jumps", jumps);
    OPEN("/etc/passwd", O_RDONLY);
}

static char alternate[65536];

static void on_alternate(int number) {
    char here;
    struct stat status;
    stat("/etc/passwd", &status);
    caught = &here > alternate && &here < alternate + sizeof alternate ? number : -1;
}

static void *small_stack(void *unused) {
    struct stat status;
    char text[64];
    long good = 0;
    for (int count = 0; count < 100; count++) {
        good += stat("/etc/../etc/passwd", &status) == 0;
        good += readlink("/proc/self/exe", text, sizeof text) > 0;
    }
    return (void *)good + (unused != NULL);
}

static void section_stacks(void) {
    size_t least = getauxval(AT_MINSIGSTKSZ);
    stack_t stack = {.ss_sp = alternate, .ss_size = least + 4096};
    struct sigaction action = {.sa_handler = on_alternate, .sa_flags = SA_ONSTACK};
    SAY(sigaltstack(&stack, NULL));
    sigaction(SIGUSR1, &action, NULL);
    caught = 0;
    raise(SIGUSR1);
    say_number("on the alternate stack", caught == SIGUSR1);
    stack.ss_flags = SS_DISABLE;
    SAY(sigaltstack(&stack, NULL));
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 16384);
    void *good = NULL;
    pthread_create(&thread, &attributes, small_stack, NULL);
    pthread_join(thread, &good);
    say_number("with a small stack", (long)good);
}

static const struct section sections[] = {
    {"signals", section_signals},
    {"waiting", section_waiting},
    {"jumps", section_jumps},
    {"stacks", section_stacks},
};

int main(int count, char **words) {
    run_sections(sections, sizeof sections / sizeof sections[0], count, words);
    return 0;
}
