/* A file that is changed by its descriptor, and that another process removes in the midst of it. */
#include "guests.h"

#include "calls.h"
#include "union.h"

enum { AT_FD = AT_FDCWD };

static struct process one;
static bool is_to_go; /* the other process is in time */

static long on(long number, long a, long b, long c, long d) {
    struct call call = {number, {a, b, c, d, 0, 0}};
    return calls_carry_out(&one, &call, NULL);
}

/* It has its copy, and then it is removed. */
static long copied_and_removed(const struct guest *guest, long descriptor,
                               struct workspace *space) {
    long result = union_descriptor_to_change(guest, descriptor, space);
    if (is_to_go) {
        is_to_go = false;
        CHECK_NUMBER(result, 1);
        CHECK_NUMBER(on(NR_unlinkat, AT_FD, (long)"/file", 0, 0), 0);
    }
    return result;
}

#define union_descriptor_to_change copied_and_removed
#define calls_carry_out carry_out_with_other
#define host_exists exists_with_other
#define may_access may_access_with_other
#define may_change_descriptor may_change_with_other
#define descriptor_is_inside is_inside_with_other
#include "calls.c"
#undef calls_carry_out

static long with_other(long number, long a, long b, long c, long d) {
    struct call call = {number, {a, b, c, d, 0, 0}};
    is_to_go = true;
    return carry_out_with_other(&one, &call, NULL);
}

static void make_union(const char *place) {
    static struct workspace space;
    enter(scratch());
    make_directory(place);
    enter(place);
    make_directory("lower");
    make_file("lower/file", "text");
    make_directory("upper");
    make_directory("work");
    char words[3][256];
    static const char *const names[] = {"upper", "lower", "work"};
    for (int index = 0; index < 3; index++) {
        snprintf(words[index], sizeof words[index], "@%s/%s", place, names[index]);
    }
    memset(&one, 0, sizeof one);
    CHECK(GUEST(&one.guest, "root", words[0], "lower", words[1], "work", words[2]));
    union_attach(&one.guest, NULL);
    CHECK_NUMBER(union_begin(&one.guest, &space), 0);
}

int main(void) {
    make_union("set");
    long file = on(NR_openat, AT_FD, (long)"/file", O_RDONLY, 0);
    long result = with_other(NR_fsetxattr, file, (long)"user.test", (long)"v", 1);
    CHECK_NUMBER(result, -ENOENT);
    make_union("remove");
    file = on(NR_openat, AT_FD, (long)"/file", O_RDONLY, 0);
    CHECK_NUMBER(with_other(NR_fremovexattr, file, (long)"user.test", 0, 0), -ENOENT);
    return harness_end();
}
