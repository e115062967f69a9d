/* A text that grows, in memory of its own. */
#ifndef UDOCKER_TEXT_H
#define UDOCKER_TEXT_H

#include "base.h"

struct text {
    char *bytes; /* NULL when there was no memory: then nothing is added any more */
    size_t size;
    size_t room;
};

/* Empty; to be given back by text_free. */
void text_make(struct text *text);
void text_free(struct text *text);

void text_add(struct text *text, const char *bytes, size_t size);
void text_add_string(struct text *text, const char *string);
void text_add_number(struct text *text, unsigned long number);

/* All of a file of the host, with a NUL behind it that is not counted. 0 or -errno. */
long text_read(struct text *text, const char *host);

/* An open file that holds the text, to be read from its beginning. Its descriptor, or -errno. */
long text_open(const struct text *text, bool is_kept_at_exec);

#endif
