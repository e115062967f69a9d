/* Places that are held, while another thread closes what it has not opened. */
#include "harness.h"

#include "base.h"

static char meant[4096];
static char other[4096];
static int strays; /* how often the other thread is in time */

/* The number that a call gave is another file's at once. */
static long with_a_stray(long number, long a, long b, long c, long d, long e, long f) {
    long result = kernel(number, a, b, c, d, e, f);
    if ((number == NR_openat2 || number == NR_openat) && result >= 0 && strays > 0) {
        strays--;
        close_descriptor((int)result);
        long taken = kernel(NR_openat, AT_FDCWD, (long)other, O_PATH | O_DIRECTORY, 0, 0, 0);
        CHECK_NUMBER(taken, result);
    }
    return result;
}

#define kernel with_a_stray
#define open_resolved_host open_with_stray
#define open_resolved_how how_with_stray
#define pin pin_with_stray
#define pin_end end_with_stray
#define pass_held pass_with_stray
#define pin_check check_with_stray
#define pin_open pin_open_with_stray
#define pin_open_at open_at_with_stray
#include "pin.c"
#undef kernel

static bool is_meant(long descriptor) {
    struct status one;
    struct status wanted;
    return kernel(NR_fstat, descriptor, (long)&one, 0, 0, 0, 0) == 0 &&
           host_status(meant, &wanted) == 0 && one.inode == wanted.inode;
}

static void check_pins(int count) {
    char path[5000];
    for (int kind = THE_FILE; kind <= THE_ROOT; kind++) {
        snprintf(path, sizeof path, "%s%s", meant, kind == THE_NAME ? "/name" : "");
        strays = count;
        long held = pin(path, (enum pinned)kind);
        CHECK(held >= HIGH && is_meant(held));
        pin_end(held);
    }
}

static void check_strays(void) {
    check_pins(1);
    check_pins(TRIES - 1);
    strays = 1;
    long held = pin_open(meant, O_RDONLY);
    CHECK(held >= HIGH && is_meant(held));
    pin_end(held);
    strays = TRIES;
    CHECK_NUMBER(pin_open(meant, O_PATH), -ELOOP);
}

int main(void) {
    scratch();
    make_directory("meant");
    make_directory("other");
    snprintf(meant, sizeof meant, "%s/meant", scratch());
    snprintf(other, sizeof other, "%s/other", scratch());
    check_pins(0);
    if (getenv("EMULATED") == NULL) { /* there without openat2(2), which opens once */
        check_strays();
    }
    strays = 1;
    long held = pin_open_at(AT_FDCWD, meant, O_PATH);
    CHECK(held >= HIGH && is_meant(held));
    pin_end(held);
    strays = TRIES;
    CHECK_NUMBER(pin_open_at(AT_FDCWD, meant, O_PATH), -ELOOP);
    return harness_end();
}
