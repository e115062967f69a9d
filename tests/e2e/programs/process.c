/*
 * process [SECTION...]
 *
 * What a process is to itself and to others, at the edges: prints what came of it, one line each,
 * the same lines in every engine.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "report.h"

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif

extern char **environ;
static char self[PATH_MAX];

#define CHILD(work) say_status(#work, status_of(work))

/* Memory: what sanitizers want to be free. */

static void want(const char *what, uintptr_t begin, uintptr_t end) {
    void *got = mmap((void *)begin, end - begin, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    say_number(what, got == (void *)begin);
    munmap(got, end - begin);
}

static void section_shadows(void) {
    want("AddressSanitizer", 0x7fff7000, 0x10007fff8000);
    want("ThreadSanitizer", 0x10000000000, 0x550000000000);
    want("MemorySanitizer", 0x610000000000, 0x700000000000);
}

/* SIGSYS as a signal like others. */

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

static int is_blocked(int number) {
    sigset_t set;
    sigprocmask(SIG_SETMASK, NULL, &set);
    return sigismember(&set, number);
}

static int is_pending(int number) {
    sigset_t set;
    struct stat status;
    stat("/etc/passwd", &status);
    sigpending(&set);
    return sigismember(&set, number);
}

static sigset_t only(int number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    return set;
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

/* Filters of a program's own. */

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

static void say_status_field(const char *field) {
    char line[256];
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0) {
            printf("%s", line);
        }
    }
    fclose(file);
}

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
    sigset_t set = only(SIGSYS);
    take(SIGSYS, 0);
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

/* What a program finds on its stack, and is to others. */

static void say_field(const char *path, int field) {
    char text[4096] = "";
    int descriptor = open(path, O_RDONLY);
    ssize_t size = read(descriptor, text, sizeof text - 1);
    text[size < 0 ? 0 : size] = '\0';
    close(descriptor);
    char *at = strrchr(text, ')');
    for (int index = 2; at != NULL && index < field; index++) {
        at = strchr(at + 1, ' ');
    }
    printf("%s field %d: %.*s\n", path, field, at == NULL ? 0 : (int)strcspn(at + 1, " "), at + 1);
}

static int same_memory(const char *path, const char *begin, size_t size) {
    static char text[1 << 20];
    int descriptor = open(path, O_RDONLY);
    ssize_t got = 0;
    for (ssize_t more = 1; more > 0; got += more) {
        more = read(descriptor, text + got, sizeof text - (size_t)got);
        if (more < 0) {
            break;
        }
    }
    close(descriptor);
    if ((size_t)got != size) {
        printf("%s: %zd and not %zu bytes\n", path, got, size);
    }
    return (size_t)got == size && memcmp(text, begin, size) == 0;
}

static void section_self(void) {
    char name[16];
    char text[PATH_MAX];
    unsigned long *auxiliary = (unsigned long *)environ;
    while (*auxiliary++ != 0) {
    }
    unsigned long *end = auxiliary;
    while (*end != 0) {
        end += 2;
    }
    NUMBER(
        same_memory("/proc/self/auxv", (char *)auxiliary, (char *)(end + 2) - (char *)auxiliary));
    char *last_word = environ[0];
    for (char **word = environ; *word != NULL; word++) {
        last_word = *word;
    }
    NUMBER(same_memory("/proc/self/environ", environ[0],
                       (size_t)(last_word + strlen(last_word) + 1 - environ[0])));
    static const int keys[] = {AT_PHDR,         AT_PHENT,    AT_PHNUM,  AT_PAGESZ, AT_BASE,
                               AT_FLAGS,        AT_ENTRY,    AT_NOTELF, AT_UID,    AT_EUID,
                               AT_GID,          AT_EGID,     AT_CLKTCK, AT_SECURE, AT_RANDOM,
                               AT_EXECFN,       AT_PLATFORM, AT_HWCAP,  AT_HWCAP2, 26,
                               AT_SYSINFO_EHDR, 51,          27,        28,        29};
    for (size_t index = 0; index < sizeof keys / sizeof keys[0]; index++) {
        int is_there = 0;
        for (unsigned long *pair = auxiliary; *pair != 0; pair += 2) {
            is_there += *pair == (unsigned long)keys[index];
        }
        printf("auxiliary %d: %d\n", keys[index], is_there);
    }
    static const char *const fields[] = {"Name:", "Uid:", "Gid:", "NoNewPrivs:", "Seccomp"};
    for (size_t index = 0; index < sizeof fields / sizeof fields[0]; index++) {
        say_status_field(fields[index]);
    }
    NUMBER(getauxval(AT_SECURE));
    NUMBER(getauxval(AT_UID));
    NUMBER(getauxval(AT_EGID));
    NUMBER(getauxval(51));
    say_text("platform", (char *)getauxval(AT_PLATFORM));
    say_text("executed", strrchr((char *)getauxval(AT_EXECFN), '/'));
    NUMBER(memcmp((void *)getauxval(AT_SYSINFO_EHDR), "\177ELF", 4));
    Elf64_Phdr *headers = (Elf64_Phdr *)getauxval(AT_PHDR);
    for (unsigned long index = 0; index < getauxval(AT_PHNUM); index++) {
        printf("segment %lx %x\n", (long)headers[index].p_type, headers[index].p_flags);
    }
    prctl(PR_GET_NAME, name);
    say_text("name", name);
    SAY(prctl(PR_SET_NAME, "another name that is long"));
    prctl(PR_GET_NAME, name);
    say_text("name", name);
    say_field("/proc/self/stat", 3);
    say_field("/proc/self/stat", 20);
    int descriptor = open("/proc/self/comm", O_RDWR);
    SAY(write(descriptor, "third", 5));
    memset(text, 0, sizeof text);
    SAY(pread(descriptor, text, sizeof text, 0));
    say_text("name", text);
    static const char *const paths[] = {"/proc/self/exe",
                                        "/proc/thread-self/exe",
                                        "/proc/./self/exe",
                                        "/proc/self/task/../exe",
                                        "/proc/self/cwd/../../proc/self/exe",
                                        "/proc/self/root/proc/self/exe",
                                        "/dev/fd/../exe"};
    for (size_t index = 0; index < sizeof paths / sizeof paths[0]; index++) {
        ssize_t size = readlink(paths[index], text, sizeof text - 1);
        text[size < 0 ? 0 : size] = '\0';
        printf("%s: %d\n", paths[index], strcmp(text, self) == 0);
    }
    snprintf(text, sizeof text, "/proc/%d/task/%d/exe", getpid(), getpid());
    char other[PATH_MAX];
    ssize_t size = readlink(text, other, sizeof other - 1);
    other[size < 0 ? 0 : size] = '\0';
    NUMBER(strcmp(other, self) == 0);
    char *real = realpath("/proc/self/exe", NULL);
    NUMBER(real != NULL && strcmp(real, self) == 0);
    fflush(stdout);
}

/* Stacks. */

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
static void stack_tiny(void) {
    exec_with_limit(16 << 10);
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

/* Odd calls. */

static void vsyscall_time(void) {
    long (*old_time)(long *) = (long (*)(long *))0xffffffffff600400;
    NUMBER(old_time(NULL) - time(NULL) <= 1);
}

static void section_odd(void) {
    struct timespec now;
    SAY(clock_gettime(CLOCK_MONOTONIC, &now));
    CHILD(vsyscall_time);
    SAY(syscall(0x40000000 + 39));
    NUMBER(personality(0xffffffff));
    NUMBER(personality(ADDR_NO_RANDOMIZE));
    NUMBER(personality(0xffffffff));
    NUMBER(prctl(PR_GET_DUMPABLE));
    SAY(prctl(PR_SET_DUMPABLE, 0));
    struct stat status;
    SAY(stat("/proc/self/exe", &status));
    SAY(stat("/etc/passwd", &status));
    SAY(prctl(PR_SET_DUMPABLE, 1));
    SAY(prctl(PR_SET_PDEATHSIG, SIGTERM));
    int number = 0;
    SAY(prctl(PR_GET_PDEATHSIG, &number));
    NUMBER(number);
    SAY(prctl(PR_SET_CHILD_SUBREAPER, 1));
    SAY(prctl(PR_SET_KEEPCAPS, 0));
    SAY(prctl(PR_SET_TIMERSLACK, 1));
    SAY(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    SAY(prctl(12345));
    static char title[] = "a title";
    SAY(prctl(PR_SET_MM, PR_SET_MM_ARG_START, 8, 0, 0) == -1 ? 0 : -1);
}

/* Calls that wait. */

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
    static char area[4 << 20];
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

/* A debugger and what it debugs. */

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
    {"shadows", section_shadows}, {"sigsys", section_sigsys},   {"filters", section_filters},
    {"self", section_self},       {"stack", section_stack},     {"odd", section_odd},
    {"restart", section_restart}, {"threads", section_threads}, {"trace", section_trace},
};

static int child_section(int count, char **words) {
    struct stat status;
    char *here = (char *)&status;
    if (strcmp(words[1], "child-blocked") == 0) {
        struct sigaction action;
        printf("blocked: %d\n", is_blocked(SIGSYS));
        sigaction(SIGSYS, NULL, &action);
        printf("ignored: %d\n", action.sa_handler == SIG_IGN);
        kill(getpid(), SIGSYS);
        printf("pending: %d\n", is_pending(SIGSYS));
    } else if (strcmp(words[1], "child-filtered") == 0) {
        SAY(mkdir("never", 0755));
        SAY(syscall(SYS_getppid));
        SAY(stat("/etc/passwd", &status));
        NUMBER(prctl(PR_GET_SECCOMP));
        SAY(system("mkdir never 2>&1"));
    } else if (strcmp(words[1], "child-stack") == 0) {
        char text[64];
        struct rlimit limit;
        getrlimit(RLIMIT_STACK, &limit);
        NUMBER((long)limit.rlim_cur);
        SAY(stat("/etc/../etc/passwd", &status));
        SAY(readlink("/proc/self/exe", text, sizeof text));
    } else {
        unsigned long variables = 0;
        while (environ[variables] != NULL) {
            variables++;
        }
        printf("words: %d, variables: %lu\n", count, variables);
        SAY(stat("/etc/../etc/passwd", &status));
    }
    return here == NULL;
}

int main(int count, char **words) {
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    self[size < 0 ? 0 : size] = '\0';
    if (count > 1 && strncmp(words[1], "child-", 6) == 0) {
        return child_section(count, words);
    }
    if (count == 1 && words[0][0] == '\0') {
        return 3;
    }
    run_sections(sections, sizeof sections / sizeof sections[0], count, words);
    return 0;
}
