/*
 * Facts: a word for each, in what the processes of a container share. It has the hash of what it is
 * about and of the generation, and in its last two bits the answer. Whoever moves a directory says
 * so before, and ends the generation afterwards.
 */
#ifndef UDOCKER_UNION_FACTS_H
#define UDOCKER_UNION_FACTS_H

#include "hash.h"
#include "union.h"
#include "union_shared.h"

/* Whether facts of the union may be believed and learned, and in which generation. */
static inline bool facts_are_usable(const struct guest *guest, uint64_t *generation) {
    const struct shared *shared = guest->shared;
    if (shared == NULL || !shared->is_local) {
        return false;
    }
    bool is_changing = __atomic_load_n(&shared->changing, __ATOMIC_ACQUIRE) != 0;
    *generation = __atomic_load_n(&shared->generation, __ATOMIC_ACQUIRE);
    return !is_changing;
}

/* The word of what has this hash, in a generation. */
static inline uint64_t fact_of(uint64_t hash, uint64_t generation) {
    return hash_mixed(hash + generation * 0xd6e8feb86659fd93ULL) & ~3ULL;
}

static inline enum folder fact_recall(const struct guest *guest, uint64_t fact) {
    const uint64_t *facts = guest->shared->facts;
    size_t place = (size_t)(fact >> 20) % SHARED_FACTS;
    for (size_t way = 0; way < 2; way++) {
        uint64_t found = __atomic_load_n(&facts[place ^ way], __ATOMIC_RELAXED);
        if ((found & ~3ULL) == fact) {
            return (enum folder)(found & 3);
        }
    }
    return UNKNOWN_FOLDER;
}

void fact_note(const struct guest *guest, uint64_t fact, enum folder folder);

/* union_folder, when that is known already; or else to be remembered for the next time. */
enum folder union_known(const struct guest *guest, const char *path, size_t size);
void union_learn(const struct guest *guest, const struct mount *mount, const char *path,
                 size_t size, char *host);

/* The word that stands for a path among the facts. False: nothing is believed. */
bool union_fact(const struct guest *guest, const char *path, size_t size, uint64_t *fact);

/*
 * What a link of the lower directory says, if that is known: its size, or -ENOENT; text has room
 * for a path. And to be remembered: fact is what union_fact gave before the link was read.
 */
long union_known_link(const struct guest *guest, const char *path, size_t size, char *text);
void union_learn_link(const struct guest *guest, uint64_t fact, const char *text, size_t size);

/* That a file has no patched copy, as far as this and other programs have looked. */
bool union_knows_no_copy(const struct guest *guest, uint64_t file);
void union_learn_no_copy(const struct guest *guest, uint64_t file);

/* Whether a guest path is that of a name in the root directory. */
bool union_is_in_root(const char *path, size_t size);

/* From union_open.c. */

/*
 * A directory was found in one that only the lower directory has: so is that one, unless dirfd has
 * become another one meanwhile.
 */
void union_note_below(const struct guest *guest, long dirfd, uint64_t device, uint64_t inode,
                      uint64_t generation);

#endif
