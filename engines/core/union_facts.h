/* Facts, as union.c keeps them: a word for each, in what the processes of a container share. */
#ifndef UDOCKER_UNION_FACTS_H
#define UDOCKER_UNION_FACTS_H

#include "union.h"

/* Whether facts of the union may be believed and learned, and in which generation. */
bool facts_are_usable(const struct guest *guest, uint64_t *generation);

/* The word of what has this hash, in a generation. */
uint64_t fact_of(uint64_t hash, uint64_t generation);

enum folder fact_recall(const struct guest *guest, uint64_t fact);
void fact_note(const struct guest *guest, uint64_t fact, enum folder folder);

/*
 * A directory was found in one that only the lower directory has: so is that one, unless dirfd has
 * become another one meanwhile.
 */
void union_note_below(const struct guest *guest, long dirfd, uint64_t device, uint64_t inode,
                      uint64_t generation);

/* Hashes of numbers, and of text that follows what was hashed before. */
uint64_t fact_mixed(uint64_t number);
uint64_t fact_hash(uint64_t before, const char *text, size_t size);

#endif
