/* Pointers of the guest that lead nowhere. */
#include "harness.h"

#include "memory.h"

static void test_borders(void) {
    enum { SIZE = 3 * 4096 };
    char *memory = memory_at_the_end(SIZE);
    for (size_t at = 0; at < SIZE; at += 511) {
        for (size_t size = 0; size <= SIZE - at; size += 510) {
            CHECK(memory_is_there(memory + at, size));
        }
    }
    CHECK(memory_is_there(memory, SIZE));
    CHECK(memory_is_there(memory + SIZE - 1, 1));
    CHECK(memory_is_there(memory + SIZE, 0));
    CHECK(!memory_is_there(memory, SIZE + 1));
    CHECK(!memory_is_there(memory + SIZE - 1, 2));
    CHECK(!memory_is_there(memory + SIZE - 8, 16));
    CHECK(!memory_is_there(memory + SIZE, 1));
    CHECK(!memory_is_there(memory - 1, 1));
    CHECK(!memory_is_there(memory - 1, 2));
    CHECK(!memory_is_there(memory - 8, 4096));
}

static void test_nowhere(void) {
    CHECK(!memory_is_there(NULL, 1));
    CHECK(!memory_is_there((void *)1, 1));
    CHECK(!memory_is_there((void *)4095, 1));
    CHECK(!memory_is_there((void *)-1L, 1));
    CHECK(!memory_is_there((void *)-8L, 8));
    CHECK(!memory_is_there((void *)-8L, 16)); /* around the end of all memory */
    CHECK(!memory_is_there((void *)0xffff800000000000, 8));
    CHECK(!memory_is_there((void *)0x1234567812345678, 8)); /* no address at all */
    CHECK(!memory_is_writable(NULL, 8));
    CHECK(!memory_is_writable((void *)-8L, 8));
}

static void test_writable(void) {
    enum { SIZE = 2 * 4096 };
    char *memory = memory_at_the_end(SIZE);
    for (size_t at = 0; at < SIZE; at++) {
        memory[at] = (char)at;
    }
    CHECK(memory_is_writable(memory, SIZE));
    CHECK(memory_is_writable(memory + 4000, 200));
    CHECK(memory_is_writable(memory + SIZE - 1, 1));
    CHECK(memory_is_writable(memory + SIZE, 0));
    CHECK(!memory_is_writable(memory + SIZE - 1, 2));
    CHECK(!memory_is_writable(memory - 1, 1));
    int changed = 0;
    for (size_t at = 0; at < SIZE; at++) {
        changed += memory[at] == (char)at ? 0 : 1;
    }
    CHECK_NUMBER(changed, 0);
    char *readable = read_only_memory(4096);
    CHECK(memory_is_there(readable, 4096));
    CHECK(!memory_is_writable(readable, 1));
    CHECK(!memory_is_writable(readable + 100, 4000));
    CHECK(!memory_is_writable("constant", 9));
}

static void test_copies(void) {
    static char text[PATH_SIZE];
    char *end = memory_at_the_end(5000);
    memset(end, 'x', 5000);
    CHECK_NUMBER(path_copy(text, end + 4990), -EFAULT); /* it goes on where nothing is */
    CHECK_NUMBER(path_copy(text, end), -ENAMETOOLONG);  /* long enough before that */
    CHECK_NUMBER(path_copy(text, end + 5000), -EFAULT);
    CHECK_NUMBER(path_copy(text, NULL), -EFAULT);
    CHECK_NUMBER(path_copy(text, (char *)-5L), -EFAULT);
    end[4999] = '\0';
    CHECK_NUMBER(path_copy(text, end + 4999), 0);
    CHECK_TEXT(text, "");
    CHECK_NUMBER(path_copy(text, end + 4990), 9);
    CHECK_TEXT(text, "xxxxxxxxx");
    CHECK_NUMBER(path_copy(text, end + 4999 - 4095), 4095);
    CHECK_NUMBER(path_copy(text, end + 4999 - 4096), -ENAMETOOLONG);
    CHECK(path_is_empty(end + 4999));
    CHECK(!path_is_empty(end + 4998));
    CHECK(!path_is_empty(NULL));
    CHECK(!path_is_empty(end + 5000));
}

int main(void) {
    test_borders();
    test_nowhere();
    test_writable();
    test_copies();
    return harness_end();
}
