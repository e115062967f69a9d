/*
 * stacks [SECTION...]
 *
 * Stacks of programs and of threads: as little as there is, and as much as they hold.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "self.h"

static void exec_with_limit(rlim_t limit) {
    struct rlimit old;
    getrlimit(RLIMIT_STACK, &old);
    old.rlim_cur = limit;
    setrlimit(RLIMIT_STACK, &old);
    execl(self, self, "child-stack", NULL);
    say("execl", -1);
}

static void stack_small(void) {
    exec_with_limit(128 << 10);
}
/* The kernel begins up to 8 KiB below the end, and a trap takes another four of what is left. */
static void stack_tiny(void) {
    exec_with_limit(20 << 10);
}
static void stack_unlimited(void) {
    exec_with_limit(RLIM_INFINITY);
}
static void stack_usual(void) {
    exec_with_limit(8 << 20);
}

static void many_words(size_t total, size_t each) {
    size_t count = total / (each + 1 + sizeof(char *));
    char **words = calloc(count + 3, sizeof *words);
    char *word = malloc(each + 1);
    memset(word, 'w', each);
    word[each] = '\0';
    words[0] = self;
    words[1] = "child-count";
    for (size_t index = 2; index < count; index++) {
        words[index] = word;
    }
    execv(self, words);
    say("execv", -1);
}

static void words_2m(void) {
    many_words(2000000, 20);
}
static void words_edge_below(void) {
    many_words((2 << 20) - 8192, 1000);
}
static void words_edge_above(void) {
    many_words((2 << 20) + 8192, 1000);
}
static void words_long(void) {
    many_words(1800000, 131071);
}
static void words_short(void) {
    many_words(1500000, 1);
}
static void words_too_many(void) {
    many_words(4000000, 20);
}
static void no_environment(void) {
    char *words[] = {self, "child-count", NULL};
    execve(self, words, NULL);
}
static void no_words(void) {
    execve(self, NULL, NULL);
}

static void recurse(int depth) {
    volatile char here[4096];
    here[0] = (char)depth;
    if (depth > 0) {
        recurse(depth - 1);
    }
    here[1] = here[0];
}

static void overflow(void) {
    recurse(1 << 20);
}

static void on_fault(int number, siginfo_t *info, void *context) {
    struct stat status;
    (void)context;
    (void)info;
    _exit(stat("/etc/passwd", &status) == 0 ? number : 0);
}

static void overflow_caught(void) {
    static char alternate[65536];
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    recurse(1 << 20);
}

static void section_stack(void) {
    CHILD(stack_usual);
    CHILD(stack_small);
    CHILD(stack_tiny);
    CHILD(stack_unlimited);
    CHILD(words_2m);
    CHILD(words_edge_below);
    CHILD(words_edge_above);
    CHILD(words_long);
    CHILD(words_short);
    CHILD(words_too_many);
    CHILD(no_environment);
    CHILD(no_words);
    CHILD(overflow);
    CHILD(overflow_caught);
}

/* Threads on as little as there is. */

static void *stat_thread(void *unused) {
    struct stat status;
    return (void *)(long)(stat("/etc/passwd", &status) == 0) + (unused != NULL);
}

static int raw_child(void *unused) {
    struct stat status;
    syscall(SYS_exit, syscall(SYS_stat, "/etc/passwd", &status) == 0 ? 5 : 6);
    return unused != NULL;
}

static void raw_stack(size_t size) {
    char what[64];
    int status = 0;
    char *area = mmap(NULL, size + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(area + 4096, size, PROT_READ | PROT_WRITE);
    pid_t child = clone(raw_child, area + 4096 + size, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    waitpid(child, &status, 0);
    snprintf(what, sizeof what, "a stack of %zu", size);
    say_status(what, status);
}

static void section_threads(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    void *good = NULL;
    pthread_attr_init(&attributes);
    SAY(-pthread_attr_setstacksize(&attributes, 16384));
    pthread_create(&thread, &attributes, stat_thread, NULL);
    pthread_join(thread, &good);
    NUMBER((long)good);
    raw_stack(16384);
    raw_stack(8192);
    for (int count = 0; count < 50; count++) {
        pthread_create(&thread, NULL, stat_thread, NULL);
        pthread_detach(thread);
    }
    /* Generations, each of which forks while a thread is in the middle of a call. */
    for (int generation = 0; generation < 30; generation++) {
        mkfifo("stays", 0600);
        pthread_create(&thread, NULL, (void *(*)(void *))(void *)open, "stays");
        usleep(2000);
        fflush(stdout);
        pid_t child = fork();
        if (child != 0) {
            int status;
            waitpid(child, &status, 0);
            fflush(stdout);
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
        }
    }
    struct stat status;
    SAY(stat("/etc/passwd", &status));
    SAY(system("exit 0"));
}

static const struct section sections[] = {
    {"stack", section_stack},
    {"threads", section_threads},
};

int main(int count, char **words) {
    find_self();
    if (count > 1 && strcmp(words[1], "child-stack") == 0) {
        struct stat status;
        char text[64];
        struct rlimit limit;
        getrlimit(RLIMIT_STACK, &limit);
        NUMBER((long)limit.rlim_cur);
        SAY(stat("/etc/../etc/passwd", &status));
        SAY(readlink("/proc/self/exe", text, sizeof text));
        return 0;
    }
    if (count > 1 && strcmp(words[1], "child-count") == 0) {
        say_given(count);
        return 0;
    }
    if (count == 1 && words[0][0] == '\0') {
        return 3;
    }
    run_sections(sections, sizeof sections / sizeof sections[0], count, words);
    return 0;
}
