/*
 * The program of the image that comes with udocker: it says where it runs.
 *
 * Freestanding: no libc, no shared object, nothing that a container must hold for it to start. So
 * when it does not run, the engine is at fault and not the image. Building it takes a compiler and
 * a linker only: what it needs of the kernel's headers is written out here.
 *
 *   hello                 where it runs, in a few lines
 *   hello --env NAME      print a variable; status 1 when it is not set
 *   hello --cat PATH      print a file
 *   hello --write PATH    make a file with one line in it
 *   hello --exit N        end with status N
 *
 * Options are carried out in the order given. A failure ends the program: status 1, or 2 for a
 * wrong command line.
 */
#include <stdbool.h>
#include <stddef.h>

enum { STDOUT = 1, STDERR = 2 };
enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };

/* <linux/fcntl.h>: the same on both architectures. */
enum { AT_FDCWD = -100 };
enum { O_RDONLY = 0, O_WRONLY = 1, O_CREAT = 0100, O_TRUNC = 01000, O_CLOEXEC = 02000000 };

/* struct new_utsname of <linux/utsname.h>; the domain name follows the machine. */
struct system {
    char sysname[65];
    char nodename[65];
    char release[65];
    char version[65];
    char machine[65];
    char domainname[65];
};

/*
 * What is said goes out in one write, so that the lines of parallel containers do not mix.
 * A text starts by used = 0 and not by an initialiser: compilers clear the rest by memset, and
 * there is none here.
 */
struct text {
    size_t used;
    char data[2048];
};

#if defined(__x86_64__)

enum {
    SYS_READ = 0,
    SYS_WRITE = 1,
    SYS_CLOSE = 3,
    SYS_UNAME = 63,
    SYS_GETUID = 102,
    SYS_EXIT_GROUP = 231,
    SYS_OPENAT = 257,
};

static long call(long number, long a, long b, long c, long d) {
    register long fourth __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}

__asm__(".globl _start\n"
        "_start:\n"
        "    xorl %ebp, %ebp\n"
        "    movq %rsp, %rdi\n"
        "    andq $-16, %rsp\n"
        "    call hello\n");

#elif defined(__aarch64__)

enum {
    SYS_READ = 63,
    SYS_WRITE = 64,
    SYS_CLOSE = 57,
    SYS_UNAME = 160,
    SYS_GETUID = 174,
    SYS_EXIT_GROUP = 94,
    SYS_OPENAT = 56,
};

static long call(long number, long a, long b, long c, long d) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}

__asm__(".globl _start\n"
        "_start:\n"
        "    mov x29, #0\n"
        "    mov x30, #0\n"
        "    mov x0, sp\n"
        "    bl hello\n");

#else
#error "udocker runs on x86_64 and aarch64"
#endif

_Noreturn void hello(long *stack);

static _Noreturn void finish(int status) {
    for (;;) {
        call(SYS_EXIT_GROUP, status, 0, 0, 0);
    }
}

static size_t length(const char *string) {
    size_t size = 0;
    while (string[size] != '\0') {
        size++;
    }
    return size;
}

static bool same(const char *one, const char *other) {
    while (*one != '\0' && *one == *other) {
        one++;
        other++;
    }
    return *one == *other;
}

/* Text that does not fit is left out. */
static void add(struct text *text, const char *string) {
    while (*string != '\0' && text->used < sizeof text->data) {
        text->data[text->used++] = *string++;
    }
}

static void add_number(struct text *text, unsigned long number) {
    char digits[24];
    char *first = digits + sizeof digits;
    *--first = '\0';
    do {
        *--first = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    add(text, first);
}

/* False when not all of it could be written. */
static bool put(int descriptor, const char *data, size_t size) {
    while (size > 0) {
        long written = call(SYS_WRITE, descriptor, (long)data, (long)size, 0);
        if (written <= 0) {
            return false;
        }
        data += written;
        size -= (size_t)written;
    }
    return true;
}

/* error is what a system call gave back, a negative errno. */
static _Noreturn void fail(const char *what, const char *which, long error) {
    struct text text;
    text.used = 0;
    add(&text, "hello: cannot ");
    add(&text, what);
    add(&text, " ");
    add(&text, which);
    if (error < 0) {
        add(&text, ": errno ");
        add_number(&text, (unsigned long)-error);
    }
    add(&text, "\n");
    put(STDERR, text.data, text.used);
    finish(STATUS_FAILED);
}

static void copy(int descriptor, const char *path) {
    char data[4096];
    for (;;) {
        long got = call(SYS_READ, descriptor, (long)data, sizeof data, 0);
        if (got < 0) {
            fail("read", path, got);
        }
        if (got == 0) {
            return;
        }
        if (!put(STDOUT, data, (size_t)got)) {
            fail("print", path, 0);
        }
    }
}

static void print_file(const char *path) {
    long descriptor = call(SYS_OPENAT, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
    if (descriptor < 0) {
        fail("open", path, descriptor);
    }
    copy((int)descriptor, path);
    call(SYS_CLOSE, descriptor, 0, 0, 0);
}

static void write_file(const char *path) {
    static const char line[] = "written by hello\n";
    long flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
    long descriptor = call(SYS_OPENAT, AT_FDCWD, (long)path, flags, 0644);
    if (descriptor < 0) {
        fail("make", path, descriptor);
    }
    if (!put((int)descriptor, line, sizeof line - 1)) {
        fail("write", path, 0);
    }
    call(SYS_CLOSE, descriptor, 0, 0, 0);
}

static void print_variable(char **environment, const char *name) {
    size_t size = length(name);
    for (; *environment != NULL; environment++) {
        size_t same_bytes = 0;
        while (same_bytes < size && (*environment)[same_bytes] == name[same_bytes]) {
            same_bytes++;
        }
        if (same_bytes == size && (*environment)[size] == '=') {
            const char *value = *environment + size + 1;
            if (!put(STDOUT, value, length(value)) || !put(STDOUT, "\n", 1)) {
                fail("print", name, 0);
            }
            return;
        }
    }
    fail("find the variable", name, 0);
}

/* A status as the shell knows it; anything else is a wrong command line. */
static int status_of(const char *digits) {
    int status = 0;
    const char *digit = digits;
    for (; *digit >= '0' && *digit <= '9' && status <= 255; digit++) {
        status = status * 10 + (*digit - '0');
    }
    return digit == digits || *digit != '\0' || status > 255 ? STATUS_USAGE : status;
}

/* The first line of a small file; empty when there is none. */
static void add_line_of(struct text *text, const char *path) {
    char data[256];
    long descriptor = call(SYS_OPENAT, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
    if (descriptor < 0) {
        add(text, "(no ");
        add(text, path);
        add(text, ")");
        return;
    }
    long got = call(SYS_READ, descriptor, (long)data, sizeof data - 1, 0);
    call(SYS_CLOSE, descriptor, 0, 0, 0);
    long end = 0;
    while (end < got && data[end] != '\n') {
        end++;
    }
    data[end] = '\0';
    add(text, data);
}

static void greet(void) {
    struct text text;
    text.used = 0;
    struct system system;
    long error = call(SYS_UNAME, (long)&system, 0, 0, 0);
    if (error < 0) {
        fail("ask for", "the name of the system", error);
    }
    add(&text, "Hello from udocker: this program runs in a container.\n  image   ");
    add_line_of(&text, "/etc/image-name");
    add(&text, "\n  uid     ");
    add_number(&text, (unsigned long)call(SYS_GETUID, 0, 0, 0, 0));
    add(&text, "\n  host    ");
    add(&text, system.nodename);
    add(&text, "\n  kernel  ");
    add(&text, system.sysname);
    add(&text, " ");
    add(&text, system.release);
    add(&text, " ");
    add(&text, system.machine);
    add(&text, "\n");
    if (!put(STDOUT, text.data, text.used)) {
        fail("print", "the greeting", 0);
    }
}

static _Noreturn void explain(void) {
    static const char usage[] =
        "usage: hello [--env NAME] [--cat PATH] [--write PATH] [--exit N]\n";
    put(STDERR, usage, sizeof usage - 1);
    finish(STATUS_USAGE);
}

static void obey(const char *option, const char *operand, char **environment) {
    if (same(option, "--exit")) {
        finish(status_of(operand));
    } else if (same(option, "--env")) {
        print_variable(environment, operand);
    } else if (same(option, "--cat")) {
        print_file(operand);
    } else if (same(option, "--write")) {
        write_file(operand);
    } else {
        explain();
    }
}

/* stack is as the kernel leaves it: argc, argv, NULL, envp, NULL. */
_Noreturn void hello(long *stack) {
    long count = stack[0];
    char **arguments = (char **)(stack + 1);
    char **environment = arguments + count + 1;
    if (count <= 1) {
        greet();
        finish(STATUS_OK);
    }
    for (long index = 1; index < count; index += 2) {
        if (index + 1 == count) {
            explain();
        }
        obey(arguments[index], arguments[index + 1], environment);
    }
    finish(STATUS_OK);
}
