/* Handlers run on the stacks that threads have set for them, whoever makes calls meanwhile. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROOM = 32768, THREADS = 6, ROUNDS = 300 };

static _Thread_local char *own;
static volatile int bad;

static void look(void) {
    struct stat status;
    bad += stat("/etc/passwd", &status) != 0;
    bad += stat("/etc/../etc/./no-such", &status) == 0;
}

static void on_signal(int signal) {
    char here;
    (void)signal;
    bad += own != NULL && (&here < own || &here >= own + ROOM);
    look(); /* on that stack already */
}

static void set_stack(void) {
    own = malloc(ROOM);
    memset(own, 0x55, ROOM);
    stack_t stack = {.ss_sp = own, .ss_size = ROOM};
    bad += sigaltstack(&stack, NULL) != 0;
}

static void check_child(int is_set) {
    int status = -1;
    int child = fork();
    if (child == 0) {
        stack_t stack;
        sigaltstack(NULL, &stack);
        look();
        raise(SIGUSR1);
        _exit(bad + ((stack.ss_flags & SS_DISABLE) == is_set));
    }
    waitpid(child, &status, 0);
    bad += status != 0;
}

static void *work(void *sets) {
    stack_t stack;
    sigaltstack(NULL, &stack);
    bad += !(stack.ss_flags & SS_DISABLE);
    look();
    if (sets != NULL) {
        set_stack();
    }
    for (int round = 0; round < ROUNDS; round++) {
        look();
        pthread_kill(pthread_self(), SIGUSR1);
        if (round % 100 == 0) {
            check_child(sets != NULL);
        }
    }
    if (sets != NULL) {
        stack_t none = {.ss_flags = SS_DISABLE};
        bad += sigaltstack(&none, NULL) != 0;
        free(own); /* it is not the engine's any more, either */
        own = NULL;
        look();
    }
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    set_stack();
    pthread_t threads[THREADS];
    for (long number = 0; number < THREADS; number++) {
        pthread_create(&threads[number], NULL, work, (void *)(number % 2));
    }
    for (int number = 0; number < THREADS; number++) {
        pthread_join(threads[number], NULL);
    }
    check_child(1);
    puts(bad == 0 ? "right" : "wrong");
    return bad != 0;
}
