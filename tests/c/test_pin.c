/* How places are held where there is no openat2(2). */
#include "harness.h"

#include "base.h"

#define NR_openat2 100000 /* the kernel has no such call */
#define open_resolved_host open_without_openat2
#define open_resolved_how how_without_openat2
#define pin pin_without_openat2
#define pin_end end_without_openat2
#define pass_held pass_without_openat2
#define pin_check check_without_openat2
#define pin_open pin_open_without_openat2
#define pin_open_at pin_open_at_without_openat2
#include "pin.c"

static char path[4096];

static char *below(const char *rest) {
    snprintf(path, sizeof path, "%s/%s", scratch(), rest);
    return path;
}

static long opened(const char *rest, long flags) {
    long descriptor = open_resolved_host(below(rest), flags | O_CLOEXEC, 0644);
    if (descriptor < 0) {
        return descriptor;
    }
    close_descriptor((int)descriptor);
    return 0;
}

int main(void) {
    scratch();
    make_directory("d");
    make_directory("d/e");
    make_file("d/e/f", "text");
    make_link("to", "d");
    make_link("d/e/l", "f");
    CHECK_NUMBER(opened("d/e/f", O_RDONLY), 0);
    CHECK_NUMBER(opened("d//e/./f", O_RDONLY), 0);
    CHECK_NUMBER(opened("d/e/", O_PATH), 0);
    CHECK_NUMBER(opened("d/e/f/", O_PATH), -ENOTDIR);
    CHECK_NUMBER(opened("d/none/", O_WRONLY | O_CREAT), -EISDIR);
    CHECK_NUMBER(opened("d/e/new", O_WRONLY | O_CREAT), 0);
    CHECK_NUMBER(opened("d/e/none", O_PATH), -ENOENT);
    CHECK_NUMBER(opened("none/f", O_PATH), -ENOENT);
    CHECK_NUMBER(opened("to/e/f", O_RDONLY), -ELOOP);
    CHECK_NUMBER(opened("to/", O_PATH), -ELOOP);
    CHECK_NUMBER(opened("to", O_PATH), -ELOOP);
    CHECK_NUMBER(opened("d/e/l", O_RDONLY), -ELOOP);
    CHECK_NUMBER(opened("d/e/l", O_PATH), -ELOOP);
    CHECK_NUMBER(opened("d/e/l", O_PATH | O_NOFOLLOW), 0);
    CHECK_NUMBER(pin(below("to/e/f"), THE_FILE), -ELOOP);
    CHECK_NUMBER(pin(below("to/e/f"), THE_NAME), -ELOOP);
    CHECK_NUMBER(pin(below("to/e"), THE_ROOT), -ELOOP);
    CHECK_NUMBER(pin(below("d/e/f"), THE_ROOT), -1);
    CHECK(memcmp(path + strlen(path) - 5, "d/e/f", 5) == 0);
    long root = pin(below("d"), THE_ROOT);
    CHECK(root >= 0 && memcmp(path + strlen(path) - 2, "/.", 2) == 0 && !is_link(path));
    pin_end(root);
    CHECK_NUMBER(pin_check(below("to/f")), -ELOOP);
    long held = pin(below("d/e/l"), THE_NAME);
    CHECK(held >= 0 && is_link(path));
    pin_end(held);
    const struct call call = {NR_unlinkat, {AT_FDCWD, (long)path}};
    CHECK_NUMBER(pass_held(&call, below("d/e/new")), 0);
    return harness_end();
}
