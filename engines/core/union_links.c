/*
 * What links of the lower directory say, as long as it is known that nothing hides them: names in
 * the root directory, which the upper one has too, and names in directories that it has not. Who
 * removes or renames a name in the root directory ends the generation of facts, as who changes such
 * a directory does.
 */
#include "union_facts.h"

/* No fact is this: somebody writes there. */
enum { BEING_WRITTEN = 1 };

static struct known_link *place_of(const struct guest *guest, uint64_t fact) {
    return &guest->shared->links[(size_t)(fact >> 20) % SHARED_LINKS];
}

long union_known_link(const struct guest *guest, const char *path, size_t size, char *text) {
    uint64_t fact;
    if (!union_fact(guest, path, size, &fact)) {
        return -ENOENT;
    }
    const struct known_link *link = place_of(guest, fact);
    if (__atomic_load_n(&link->fact, __ATOMIC_ACQUIRE) != fact) {
        return -ENOENT;
    }
    size_t link_size = __atomic_load_n(&link->size, __ATOMIC_RELAXED);
    if (link_size == 0 || link_size > LONGEST_LINK) {
        return -ENOENT;
    }
    copy_bytes(text, link->text, link_size);
    text[link_size] = '\0';
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&link->fact, __ATOMIC_RELAXED) == fact ? (long)link_size : -ENOENT;
}

void union_learn_link(const struct guest *guest, uint64_t fact, const char *text, size_t size) {
    struct known_link *link = place_of(guest, fact);
    uint64_t before = __atomic_load_n(&link->fact, __ATOMIC_RELAXED);
    if (size == 0 || size > LONGEST_LINK || before == fact || before == BEING_WRITTEN ||
        !__atomic_compare_exchange_n(&link->fact, &before, BEING_WRITTEN, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED)) {
        return;
    }
    __atomic_thread_fence(__ATOMIC_RELEASE);
    copy_bytes(link->text, text, size);
    __atomic_store_n(&link->size, (uint8_t)size, __ATOMIC_RELAXED);
    __atomic_store_n(&link->fact, fact, __ATOMIC_RELEASE);
}

bool union_is_in_root(const char *path, size_t size) {
    size_t at = 1;
    while (at < size && path[at] != '/') {
        at++;
    }
    return at >= size;
}
