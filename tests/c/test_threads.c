/* What the tracer knows of threads, beside a list that is looked through. */
#include "harness.h"

#include "threads.h"

enum { MOST = 400, ROUNDS = 40000, NUMBERS = 3000 };

static int listed[MOST];
static size_t count;

static size_t place_of(int id) {
    size_t place = 0;
    while (place < count && listed[place] != id) {
        place++;
    }
    return place;
}

static unsigned next(unsigned *seed) {
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 8;
}

static void check_all(const struct threads *threads) {
    CHECK_NUMBER(threads->used, count);
    for (int id = 1; id < NUMBERS; id++) {
        const struct thread *thread = threads_find(threads, id);
        bool is_there = place_of(id) < count;
        CHECK((thread != NULL) == is_there);
        if (thread != NULL) {
            CHECK_NUMBER(thread->id, id);
            CHECK_NUMBER(thread->own.size, id);
        }
    }
}

static void step(struct threads *threads, unsigned *seed) {
    int id = 1 + (int)(next(seed) % (NUMBERS - 1));
    size_t place = place_of(id);
    if (place == count && count < MOST && next(seed) % 4 != 0) {
        struct thread *thread = threads_get(threads, id);
        CHECK(thread != NULL);
        thread->own.size = (size_t)id;
        listed[count++] = id;
    } else if (place < count) {
        CHECK(threads_get(threads, id) == threads_find(threads, id));
        threads_remove(threads, id);
        listed[place] = listed[--count];
    } else {
        threads_remove(threads, id); /* of what is not there nothing is removed */
        if (count > 0) {
            size_t other = next(seed) % count;
            threads_remove(threads, listed[other]);
            listed[other] = listed[--count];
        }
    }
}

static void test_nobody(void) {
    struct threads threads = {.room = 0};
    CHECK(threads_find(&threads, 7) == NULL);
    threads_remove(&threads, 7);
    CHECK_NUMBER(threads.used, 0);
}

static void test_many(void) {
    struct threads threads = {.room = 0};
    unsigned seed = 17;
    for (int round = 0; round < ROUNDS; round++) {
        step(&threads, &seed);
        if (round % 1000 == 0) {
            check_all(&threads);
        }
    }
    check_all(&threads);
}

int main(void) {
    test_nobody();
    test_many();
    return harness_end();
}
