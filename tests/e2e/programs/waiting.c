/*
 * waiting [SECTION...]
 *
 * Calls that wait, and go on after a signal. It works in the directory where it is started.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "report.h"

static volatile sig_atomic_t caught;

static void on_alarm(int number) {
    caught = number;
}

static void alarm_in(int milliseconds) {
    struct itimerval timer = {.it_value = {0, milliseconds * 1000}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void later(void (*work)(void)) {
    fflush(stdout);
    if (fork() == 0) {
        usleep(60000);
        work();
        _exit(0);
    }
}

static struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "waiting-socket"};

static void connect_there(void) {
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    connect(client, (struct sockaddr *)&address, sizeof address);
    usleep(50000);
}

static pid_t waiter;

static void stop_and_go(void) {
    kill(waiter, SIGSTOP);
    usleep(20000);
    kill(waiter, SIGCONT);
    usleep(20000);
    connect_there();
}

static int pair[2];

static void send_there(void) {
    send(pair[1], "x", 1, 0);
}

static void section_restart(void) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct sockaddr_un from;
    socklen_t size = sizeof from;
    waiter = getpid();
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    SAY(bind(server, (struct sockaddr *)&address, sizeof address));
    SAY(listen(server, 1));
    sigaction(SIGALRM, &action, NULL);
    caught = 0;
    alarm_in(20);
    later(connect_there);
    int end = accept(server, (struct sockaddr *)&from, &size);
    say("accept goes on", end);
    NUMBER(caught);
    wait(NULL);
    later(stop_and_go);
    size = sizeof from;
    end = accept(server, (struct sockaddr *)&from, &size);
    say("accept after a stop", end);
    wait(NULL);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    char byte;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    caught = 0;
    alarm_in(20);
    later(send_there);
    say("recvmsg goes on", recvmsg(pair[0], &message, 0));
    NUMBER(caught);
    wait(NULL);
    caught = 0;
    alarm_in(20);
    later(send_there);
    size = sizeof from;
    say("recvfrom goes on", recvfrom(pair[0], &byte, 1, 0, (struct sockaddr *)&from, &size));
    NUMBER(caught);
    wait(NULL);
    sigset_t none;
    sigemptyset(&none);
    struct timespec second = {1, 0};
    alarm_in(20);
    SAY(ppoll(NULL, 0, &second, &none));
    int watcher = epoll_create1(0);
    struct epoll_event event;
    alarm_in(20);
    SAY(epoll_pwait(watcher, &event, 1, 1000, &none));
    action.sa_flags = 0;
    sigaction(SIGALRM, &action, NULL);
    alarm_in(20);
    SAY(accept(server, (struct sockaddr *)&from, &size));
    alarm_in(20);
    SAY(recvmsg(pair[0], &message, 0));
    struct timespec short_time = {0, 60000000};
    later(send_there);
    struct pollfd poller = {.fd = pair[0], .events = POLLIN};
    NUMBER(ppoll(&poller, 1, &second, &none));
    NUMBER(ppoll(NULL, 0, &short_time, &none));
    wait(NULL);
    unlink("waiting-socket");
}

static const struct section sections[] = {
    {"restart", section_restart},
};

int main(int count, char **words) {
    run_sections(sections, sizeof sections / sizeof sections[0], count, words);
    return 0;
}
