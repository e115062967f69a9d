/*
 * Facts. A word has the hash of what it is about and of the generation, and in its last two bits
 * the answer. Whoever moves a directory says so before, and ends the generation afterwards.
 */
#include "union_facts.h"

void fact_note(const struct guest *guest, uint64_t fact, enum folder folder) {
    uint64_t *facts = guest->shared->facts;
    size_t place = (size_t)(fact >> 20) % SHARED_FACTS;
    uint64_t first = __atomic_load_n(&facts[place], __ATOMIC_RELAXED);
    if (first != 0) {
        __atomic_store_n(&facts[place ^ 1], first, __ATOMIC_RELAXED); /* the older one goes */
    }
    __atomic_store_n(&facts[place], fact | folder, __ATOMIC_RELAXED);
}

bool union_fact(const struct guest *guest, const char *path, size_t size, uint64_t *fact) {
    uint64_t generation = 0;
    if (!facts_are_usable(guest, &generation)) {
        return false;
    }
    *fact = fact_of(hash_path(path, size), generation);
    return true;
}

enum folder union_known(const struct guest *guest, const char *path, size_t size) {
    uint64_t fact;
    return union_fact(guest, path, size, &fact) ? fact_recall(guest, fact) : UNKNOWN_FOLDER;
}

void union_learn(const struct guest *guest, const struct mount *mount, const char *path,
                 size_t size, char *host) {
    uint64_t generation = 0;
    if (!facts_are_usable(guest, &generation)) {
        return;
    }
    uint64_t fact = fact_of(hash_path(path, size), generation);
    if (fact_recall(guest, fact) == UNKNOWN_FOLDER) {
        enum folder folder = union_folder(guest, mount, path, size, host);
        if (folder != UNKNOWN_FOLDER) {
            fact_note(guest, fact, folder);
        }
    }
}

/* The word for a file; the first program of each run may have found more copies than there were. */
static bool copy_fact(const struct guest *guest, uint64_t file, uint64_t *fact) {
    uint64_t generation = 0;
    if (!facts_are_usable(guest, &generation)) {
        return false;
    }
    uint64_t starts = __atomic_load_n(&guest->shared->starts, __ATOMIC_ACQUIRE);
    *fact = fact_of(hash_mixed(file) + hash_mixed(starts + HASH_FACTOR), generation);
    return true;
}

bool union_knows_no_copy(const struct guest *guest, uint64_t file) {
    uint64_t fact;
    return copy_fact(guest, file, &fact) && fact_recall(guest, fact) != UNKNOWN_FOLDER;
}

void union_learn_no_copy(const struct guest *guest, uint64_t file) {
    uint64_t fact;
    if (copy_fact(guest, file, &fact)) {
        fact_note(guest, fact, NATIVE);
    }
}
