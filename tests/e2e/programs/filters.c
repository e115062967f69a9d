/*
 * filters [SECTION...]
 *
 * Seccomp filters of a program's own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "masks.h"
#include "self.h"

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(number, answer)                                                                     \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, answer)
#define END BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static long filter(unsigned flags, struct sock_filter *code, unsigned short size) {
    struct sock_fprog program = {size, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

#define FILTER(flags, ...)                                                                         \
    filter(flags, (struct sock_filter[]){__VA_ARGS__},                                             \
           sizeof((struct sock_filter[]){__VA_ARGS__}) / sizeof(struct sock_filter))

static void filter_errno(void) {
    struct stat status;
    SAY(FILTER(0, LOAD(nr), ANSWER(SYS_mkdir, SECCOMP_RET_ERRNO | EBADF),
               ANSWER(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV),
               ANSWER(SYS_chdir, SECCOMP_RET_ERRNO | 0),
               ANSWER(SYS_execve, SECCOMP_RET_ERRNO | E2BIG), END));
    NUMBER(prctl(PR_GET_SECCOMP));
    say_status_field("Seccomp:");
    say_status_field("NoNewPrivs:");
    SAY(mkdir("never", 0755));
    SAY(stat("never", &status));
    SAY(syscall(SYS_getppid));
    SAY(chdir("/no/such"));
    SAY(stat("/etc/passwd", &status));
    SAY(execl("/bin/true", "true", NULL));
    SAY(FILTER(0, LOAD(nr), ANSWER(SYS_rmdir, SECCOMP_RET_ERRNO | EMLINK), END));
    SAY(rmdir("never"));
    SAY(mkdir("never", 0755));
    SAY(system("true") == 0 ? 0 : -1);
}

static void filter_argument(void) {
    SAY(FILTER(0, LOAD(args[1]), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, O_ACCMODE),
               BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, O_WRONLY, 0, 3), LOAD(nr),
               ANSWER(SYS_open, SECCOMP_RET_ERRNO | EROFS), END));
    SAY(syscall(SYS_open, "new-file", O_WRONLY | O_CREAT, 0600));
    SAY(syscall(SYS_open, "/etc/passwd", O_RDONLY));
}

static void filter_kill(void) {
    SAY(FILTER(0, LOAD(nr), ANSWER(SYS_mkdir, SECCOMP_RET_KILL_PROCESS), END));
    fflush(stdout);
    mkdir("never", 0755);
    printf("survived\n");
}

static void filter_kill_free(void) {
    SAY(FILTER(0, LOAD(nr), ANSWER(SYS_getppid, SECCOMP_RET_KILL_PROCESS), END));
    fflush(stdout);
    syscall(SYS_getppid);
    printf("survived\n");
}

static void filter_through_exec(void) {
    SAY(FILTER(0, LOAD(nr), ANSWER(SYS_mkdir, SECCOMP_RET_ERRNO | EMLINK),
               ANSWER(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV), END));
    fflush(stdout);
    execl(self, self, "child-filtered", NULL);
}

static void filter_through_fork(void) {
    SAY(FILTER(0, LOAD(nr), ANSWER(SYS_mkdir, SECCOMP_RET_ERRNO | EMLINK), END));
    fflush(stdout);
    if (fork() == 0) {
        SAY(mkdir("never", 0755));
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
}

static void on_filtered(int number, siginfo_t *info, void *context) {
    ucontext_t *state = context;
    struct stat status;
    printf("trap: %d code %d errno %d call %d arch %d\n", number, info->si_code, info->si_errno,
           info->si_syscall == SYS_mkdir     ? 1
           : info->si_syscall == SYS_getppid ? 2
                                             : 3,
           info->si_arch == AUDIT_ARCH_X86_64);
    const unsigned char *here = info->si_call_addr;
    printf("behind the instruction: %d\n", here[-2] == 0x0f && here[-1] == 0x05);
    printf("number in rax: %d\n", state->uc_mcontext.gregs[REG_RAX] == info->si_syscall);
    printf("first argument: %s\n",
           info->si_syscall == SYS_mkdir ? (char *)state->uc_mcontext.gregs[REG_RDI] : "");
    printf("stat in it: %d\n", stat("/etc/passwd", &status));
    state->uc_mcontext.gregs[REG_RAX] = info->si_syscall == SYS_mkdir ? 55 : -EXDEV;
}

static void filter_trap(void) {
    struct sigaction action = {.sa_sigaction = on_filtered, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &action, NULL);
    SAY(FILTER(0, LOAD(nr), ANSWER(SYS_mkdir, SECCOMP_RET_TRAP | 12),
               ANSWER(SYS_getppid, SECCOMP_RET_TRAP | 13), END));
    NUMBER(syscall(SYS_mkdir, "never", 0755));
    NUMBER(mkdir("never", 0755));
    NUMBER(syscall(SYS_getppid));
}

/* Rust's are of the small size: no room there for the handlers of sandboxes. */
enum { SMALL_ALTERNATE = 8192 };
static char alternate[65536] __attribute__((aligned(16)));
static sigjmp_buf way_out;

static int is_in_alternate(const void *place) {
    return (const char *)place >= alternate && (const char *)place < alternate + sizeof alternate;
}

static void say_stack(void) {
    stack_t stack;
    sigaltstack(NULL, &stack);
    printf("alternate: %d, here %d\n", stack.ss_sp == alternate && stack.ss_flags == 0,
           is_in_alternate(&stack));
}

static void on_filtered_large(int number, siginfo_t *info, void *context) {
    volatile char room[65536];
    struct stat status;
    ucontext_t *state = context;
    for (size_t index = 0; index < sizeof room; index += 512) {
        room[index] = (char)number;
    }
    __asm__ volatile("pcmpeqd %%xmm6, %%xmm6" ::: "xmm6");
    say_stack();
    printf("frame: info %d, context %d, to return to %d\n", is_in_alternate(info),
           is_in_alternate(context), is_in_alternate((void *)state->uc_mcontext.gregs[REG_RSP]));
    printf("calls: %d %d\n", stat("/etc/passwd", &status), open("/none", O_RDONLY));
    printf("blocked: %d %d\n", is_blocked(SIGUSR1), is_blocked(SIGUSR2));
    state->uc_mcontext.gregs[REG_RAX] = info->si_errno;
}

static void on_filtered_jump(int number) {
    say_stack();
    siglongjmp(way_out, number);
}

static void on_filtered_alternate(int number) {
    printf("%d there: %d\n", number, is_in_alternate(&number));
}

static void on_alternate(int number) {
    printf("%d there: %d, %ld\n", number, is_in_alternate(&number), syscall(SYS_rmdir, "never"));
}

/* mkdir(2), and whether registers are what they were. */
static void mkdir_among_registers(void) {
    const long number = SYS_mkdir;
    double before[2] = {1.5, -2.5}, after[2] = {0};
    long rbx = 77, result = number;
    __asm__ volatile("movupd %[before], %%xmm6\n\tsyscall\n\tmovupd %%xmm6, %[after]"
                     : "+a"(result), "+b"(rbx), [after] "=m"(after)
                     : "D"("never"), "S"(0755L), [before] "m"(before)
                     : "rcx", "r11", "xmm6", "memory");
    printf("result %ld, kept %d %ld\n", result, memcmp(before, after, sizeof after) == 0, rbx);
}

/* Which stack a handler has, where there is another one for those that ask for it. */
static void filter_trap_stacks(void) {
    stack_t stack = {.ss_sp = alternate, .ss_size = SMALL_ALTERNATE};
    struct sigaction large = {.sa_sigaction = on_filtered_large, .sa_flags = SA_SIGINFO};
    sigaddset(&large.sa_mask, SIGUSR1);
    sigset_t set = only(SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    SAY(sigaltstack(&stack, NULL));
    sigaction(SIGSYS, &large, NULL);
    SAY(FILTER(0, LOAD(nr), ANSWER(SYS_mkdir, SECCOMP_RET_TRAP | 12),
               ANSWER(SYS_rmdir, SECCOMP_RET_TRAP | 14), ANSWER(SYS_getppid, SECCOMP_RET_TRAP | 13),
               END));
    NUMBER(mkdir("never", 0755));
    NUMBER(syscall(SYS_getppid));
    mkdir_among_registers();
    SAY(raise(SIGSYS));
    printf("blocked: %d %d\n", is_blocked(SIGUSR1), is_blocked(SIGUSR2));
    stack.ss_size = sizeof alternate;
    SAY(sigaltstack(&stack, NULL));
    struct sigaction there = {.sa_handler = on_alternate, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &there, NULL);
    there.sa_handler = on_filtered_alternate;
    sigaction(SIGSYS, &there, NULL);
    mkdir("never", 0755);
    there.sa_flags = 0; /* but is called from there */
    sigaction(SIGSYS, &there, NULL);
    raise(SIGUSR1);
    there.sa_handler = on_filtered_jump;
    sigaction(SIGSYS, &there, NULL);
    for (volatile int round = 0; round < 3; round++) {
        if (sigsetjmp(way_out, 1) == 0) {
            mkdir("never", 0755);
        }
    }
    say_stack();
}

static void filter_trap_default(void) {
    SAY(FILTER(0, LOAD(nr), ANSWER(SYS_mkdir, SECCOMP_RET_TRAP), END));
    fflush(stdout);
    mkdir("never", 0755);
}

static void filter_trap_ignored(void) {
    signal(SIGSYS, SIG_IGN);
    filter_trap_default();
}

static void filter_trap_free_default(void) {
    SAY(FILTER(0, LOAD(nr), ANSWER(SYS_getppid, SECCOMP_RET_TRAP), END));
    fflush(stdout);
    syscall(SYS_getppid);
}

static void filter_trap_blocked(void) {
    struct sigaction action = {.sa_sigaction = on_filtered, .sa_flags = SA_SIGINFO};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    sigaction(SIGSYS, &action, NULL);
    sigprocmask(SIG_BLOCK, &set, NULL);
    filter_trap_default();
}

static void *in_thread(void *unused) {
    struct stat status;
    NUMBER(prctl(PR_GET_SECCOMP));
    SAY(mkdir("never", 0755));
    SAY(stat("/etc/passwd", &status));
    return unused;
}

static void *filtering_thread(void *unused) {
    SAY(FILTER(0, LOAD(nr), ANSWER(SYS_mkdir, SECCOMP_RET_ERRNO | EMLINK), END));
    return in_thread(unused);
}

static void filter_of_a_thread(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, filtering_thread, NULL);
    pthread_join(thread, NULL);
    SAY(mkdir("made", 0755));
    SAY(rmdir("made"));
}

static pthread_barrier_t barrier;

static void *waiting_thread(void *unused) {
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return in_thread(unused);
}

static void filter_for_all(void) {
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, waiting_thread, NULL);
    pthread_barrier_wait(&barrier);
    SAY(FILTER(SECCOMP_FILTER_FLAG_TSYNC, LOAD(nr), ANSWER(SYS_mkdir, SECCOMP_RET_ERRNO | EMLINK),
               END));
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
}

static void filter_wrong(void) {
    uint32_t action = SECCOMP_RET_TRAP;
    uint16_t sizes[3];
    SAY(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
    action = 0x12340000;
    SAY(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
    SAY(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 1, &action));
    SAY(syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, sizes));
    SAY(syscall(SYS_seccomp, 99, 0, NULL));
    SAY(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL));
    SAY(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL));
    SAY(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, 8));
    SAY(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 1 << 20, NULL));
    SAY(prctl(PR_SET_SECCOMP, 9, 0, 0, 0));
    struct sock_filter endless[] = {LOAD(nr)};
    SAY(filter(0, endless, 1));
    SAY(filter(0, endless, 0));
    struct sock_filter odd[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 3), END};
    SAY(filter(0, odd, 2));
    struct sock_fprog nowhere = {2, (struct sock_filter *)16};
    SAY(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &nowhere));
    NUMBER(prctl(PR_GET_SECCOMP));
    static struct sock_filter many[3000];
    for (int index = 0; index < 3000; index++) {
        many[index] = (struct sock_filter)END;
    }
    SAY(filter(0, many, 3000));
    NUMBER(prctl(PR_GET_SECCOMP));
}

static void strict(void) {
    static char byte;
    fflush(stdout);
    SAY(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
    fflush(stdout);
    read(-1, &byte, 1);
    syscall(SYS_exit, 7);
}

static void strict_call(void) {
    syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL);
    syscall(SYS_getpid);
    syscall(SYS_exit, 7);
}

static void strict_path(void) {
    struct stat status;
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    stat("/etc/passwd", &status);
    syscall(SYS_exit, 7);
}

static void section_filters(void) {
    NUMBER(prctl(PR_GET_SECCOMP));
    NUMBER(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    CHILD(filter_wrong);
    CHILD(filter_errno);
    CHILD(filter_argument);
    CHILD(filter_kill);
    CHILD(filter_kill_free);
    CHILD(filter_through_exec);
    CHILD(filter_through_fork);
    CHILD(filter_trap);
    CHILD(filter_trap_stacks);
    CHILD(filter_trap_default);
    CHILD(filter_trap_ignored);
    CHILD(filter_trap_free_default);
    CHILD(filter_trap_blocked);
    CHILD(filter_of_a_thread);
    CHILD(filter_for_all);
    CHILD(strict);
    CHILD(strict_call);
    CHILD(strict_path);
}

static const struct section sections[] = {
    {"filters", section_filters},
};

int main(int count, char **words) {
    find_self();
    if (count > 1 && strcmp(words[1], "child-filtered") == 0) {
        struct stat status;
        SAY(mkdir("never", 0755));
        SAY(syscall(SYS_getppid));
        SAY(stat("/etc/passwd", &status));
        NUMBER(prctl(PR_GET_SECCOMP));
        SAY(system("mkdir never 2>&1"));
        return 0;
    }
    run_sections(sections, sizeof sections / sizeof sections[0], count, words);
    return 0;
}
