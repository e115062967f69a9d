/*
 * System calls as goroutines make them: the number in a register, and hardly any stack. Linked
 * statically, and with a section .gopclntab so that it is taken for a program of Go.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

enum { PAGE = 4096, ROOM = 64, THREADS = 24, ROUNDS = 2000, ALTERNATIVE = 65536 };

__asm__(".section .gopclntab,\"a\"\n.quad 0\n.text\n"
        ".globl moved_call\n.type moved_call, @function\n"
        "moved_call:\n" /* rax, rbx, rcx, rdi, rsi, r8, r9: as Syscall6 of Go */
        "    movq %rsi, %r10\n"
        "    movq %rdi, %rdx\n"
        "    movq %rcx, %rsi\n"
        "    movq %rbx, %rdi\n"
        "    syscall\n"
        "    ret\n"
        ".size moved_call, . - moved_call\n"
        ".globl on_stack\n.type on_stack, @function\n"
        "on_stack:\n" /* (stack, number, a, b, c, d) */
        "    pushq %rbx\n"
        "    pushq %rbp\n"
        "    movq %rsp, %rbp\n"
        "    movq %rdi, %rsp\n"
        "    movq %rsi, %rax\n"
        "    movq %rdx, %rbx\n"
        "    movq %r8, %rdi\n"
        "    movq %r9, %rsi\n"
        "    call moved_call\n"
        "    movq %rbp, %rsp\n"
        "    popq %rbp\n"
        "    popq %rbx\n"
        "    ret\n"
        ".size on_stack, . - on_stack\n");

long on_stack(void *stack, long number, long a, long b, long c, long d);

static volatile long ticks;

static void on_tick(int signal) {
    struct stat status;
    (void)signal;
    ticks += fstatat(AT_FDCWD, "/etc/passwd", &status, 0) == 0;
}

static void must(int good, const char *what) {
    if (!good) {
        printf("wrong: %s\n", what);
        exit(1);
    }
}

/* A few bytes, and below them nothing that could be written. */
static char *small_stack(void) {
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(pages != MAP_FAILED && mprotect(pages, PAGE, PROT_NONE) == 0, "mmap");
    return pages + PAGE + ROOM;
}

static void check(char *stack) {
    struct stat there = {0}, same;
    long at = AT_FDCWD, path = (long)"/etc/passwd";
    must(on_stack(stack, SYS_newfstatat, at, path, (long)&there, 0) == 0, "newfstatat");
    must(stat("/etc/passwd", &same) == 0 && same.st_ino == there.st_ino, "stat");
    must(on_stack(stack, SYS_newfstatat, at, (long)"/nowhere", (long)&there, 0) == -ENOENT, "none");
    long descriptor = on_stack(stack, SYS_openat, at, path, O_RDONLY | O_CLOEXEC, 0);
    must(descriptor >= 0 && on_stack(stack, SYS_close, descriptor, 0, 0, 0) == 0, "openat");
    must(on_stack(stack, SYS_getppid, 0, 0, 0, 0) == getppid(), "getppid");
}

static void *work(void *argument) {
    stack_t alternative = {.ss_sp = malloc(ALTERNATIVE), .ss_size = ALTERNATIVE};
    char *stack = small_stack();
    must(sigaltstack(&alternative, NULL) == 0, "sigaltstack");
    for (int round = 0; round < ROUNDS; round++) {
        check(stack);
    }
    return argument;
}

int main(int count, char **words) {
    pthread_t threads[THREADS];
    check(small_stack()); /* a trap would have no room, and no alternative stack */
    if (count > 1 && strcmp(words[1], "once") == 0) {
        puts("right");
        return 0;
    }
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_ONSTACK | SA_RESTART};
    struct itimerval often = {{0, 200}, {0, 200}};
    must(sigaction(SIGPROF, &action, NULL) == 0 && setitimer(ITIMER_PROF, &often, NULL) == 0,
         "timer");
    for (int index = 0; index < THREADS; index++) {
        must(pthread_create(&threads[index], NULL, work, NULL) == 0, "pthread_create");
    }
    for (int index = 0; index < THREADS; index++) {
        pthread_join(threads[index], NULL);
    }
    must(ticks > 0, "ticks");
    puts("right");
    return 0;
}
