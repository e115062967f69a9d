/*
 * trace [SECTION...]
 *
 * A debugger and what it debugs.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "self.h"

static void say_stop(const char *what, int status) {
    if (WIFSTOPPED(status)) {
        printf("%s: stop %d event %d\n", what, WSTOPSIG(status), status >> 16);
    } else {
        say_status(what, status);
    }
}

static uintptr_t place_of(pid_t child) {
    struct user_regs_struct registers;
    ptrace(PTRACE_GETREGS, child, NULL, &registers);
    return registers.rip;
}

/* Where its auxiliary vector says that the program begins, or its interpreter does. */
static int is_at_the_beginning(pid_t child) {
    char path[64];
    unsigned long pairs[128] = {0};
    uintptr_t base = 0;
    uintptr_t entry = 0;
    snprintf(path, sizeof path, "/proc/%d/auxv", child);
    int descriptor = open(path, O_RDONLY);
    read(descriptor, pairs, sizeof pairs - 16);
    close(descriptor);
    for (unsigned long *pair = pairs; *pair != AT_NULL; pair += 2) {
        base = *pair == AT_BASE ? pair[1] : base;
        entry = *pair == AT_ENTRY ? pair[1] : entry;
    }
    if (base == 0) {
        return place_of(child) == entry;
    }
    Elf64_Ehdr header;
    for (size_t at = 0; at < sizeof header; at += sizeof(long)) {
        ((long *)&header)[at / sizeof(long)] =
            ptrace(PTRACE_PEEKDATA, child, (void *)(base + at), NULL);
    }
    return place_of(child) == base + header.e_entry;
}

static void look_at_start(pid_t child) {
    char path[64];
    char text[PATH_MAX];
    int status;
    waitpid(child, &status, 0);
    say_stop("executed", status);
    NUMBER(is_at_the_beginning(child));
    snprintf(path, sizeof path, "/proc/%d/exe", child);
    ssize_t size = readlink(path, text, sizeof text - 1);
    text[size < 0 ? 0 : size] = '\0';
    NUMBER(strcmp(text, self) == 0);
    for (int stops = 0; WIFSTOPPED(status) && stops < 10; stops++) {
        ptrace(PTRACE_CONT, child, NULL, NULL);
        waitpid(child, &status, 0);
        say_stop("then", status);
    }
}

static void trace_spawned(void) {
    pid_t child = vfork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        execl(self, self, "child-count", NULL);
        _exit(9);
    }
    look_at_start(child);
}

static void trace_forked(void) {
    pid_t child = fork();
    struct stat status;
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        stat("/etc/passwd", &status);
        execl(self, self, "child-count", NULL);
        _exit(9);
    }
    int how;
    waitpid(child, &how, 0);
    say_stop("before", how);
    ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACEEXEC);
    ptrace(PTRACE_CONT, child, NULL, NULL);
    look_at_start(child);
}

static void trace_simple(void) {
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        execl(self, self, "child-count", NULL);
        _exit(9);
    }
    look_at_start(child);
}

static void trace_steps(void) {
    int status;
    int steps = 0;
    pid_t child = fork();
    if (child == 0) {
        struct stat found;
        long result;
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        __asm__ volatile("int3\n\tnop\n\tsyscall\n\tnop\n\tint3"
                         : "=a"(result)
                         : "0"(SYS_stat), "D"("/etc/passwd"), "S"(&found)
                         : "rcx", "r11", "memory");
        _exit(result == 0 ? 3 : 4);
    }
    waitpid(child, &status, 0);
    say_stop("at the first", status);
    do {
        ptrace(PTRACE_SINGLESTEP, child, NULL, NULL);
        waitpid(child, &status, 0);
        say_stop("step", status);
        steps++;
    } while (WIFSTOPPED(status) && steps < 20 &&
             (ptrace(PTRACE_PEEKTEXT, child, (void *)place_of(child), NULL) & 0xff) != 0xcc);
    NUMBER(steps);
    ptrace(PTRACE_CONT, child, NULL, NULL);
    waitpid(child, &status, 0);
    say_stop("at the last", status);
    ptrace(PTRACE_CONT, child, NULL, NULL);
    waitpid(child, &status, 0);
    say_stop("end", status);
}

static void trace_attached(void) {
    struct stat found;
    int status;
    int ready[2];
    pipe(ready);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        read(ready[0], &byte, 1);
        for (int count = 0; count < 20; count++) {
            stat("/etc/passwd", &found);
        }
        kill(getpid(), SIGSYS);
        _exit(3);
    }
    SAY(ptrace(PTRACE_ATTACH, child, NULL, NULL));
    waitpid(child, &status, 0);
    say_stop("attached", status);
    write(ready[1], "x", 1);
    ptrace(PTRACE_CONT, child, NULL, NULL);
    waitpid(child, &status, 0);
    say_stop("sent", status);
    SAY(ptrace(PTRACE_DETACH, child, NULL, NULL));
    waitpid(child, &status, 0);
    say_stop("end", status);
    NUMBER(waitpid(-1, &status, WNOHANG));
    SAY(waitpid(-1, NULL, 0));
    SAY(waitpid(-1, (int *)8, 0));
}

static void section_trace(void) {
    CHILD(trace_spawned);
    CHILD(trace_forked);
    CHILD(trace_simple);
    CHILD(trace_steps);
    CHILD(trace_attached);
}

static const struct section sections[] = {
    {"trace", section_trace},
};

int main(int count, char **words) {
    find_self();
    if (count > 1 && strcmp(words[1], "child-count") == 0) {
        say_given(count);
        return 0;
    }
    run_sections(sections, sizeof sections / sizeof sections[0], count, words);
    return 0;
}
