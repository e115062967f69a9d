/*
 * self [SECTION...]
 *
 * What a program finds in its memory and on its stack, and what it is to others.
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
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "self.h"

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
    SAY(prctl(PR_SET_MM, PR_SET_MM_ARG_START, 8, 0, 0) == -1 ? 0 : -1);
}

static const struct section sections[] = {
    {"shadows", section_shadows},
    {"self", section_self},
    {"odd", section_odd},
};

int main(int count, char **words) {
    find_self();
    run_sections(sections, sizeof sections / sizeof sections[0], count, words);
    return 0;
}
