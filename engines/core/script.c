#include "elf.h"

static bool is_blank(char byte) {
    return byte == ' ' || byte == '\t';
}

static char *skip_blanks(char *text) {
    while (is_blank(*text)) {
        text++;
    }
    return text;
}

/* The end of the line, without the blanks there. */
static char *trimmed_end(char *text) {
    char *end = text;
    while (*end != '\0' && *end != '\n') {
        end++;
    }
    while (end > text && is_blank(end[-1])) {
        end--;
    }
    return end;
}

char *script_read(char *head, size_t size, size_t room, char **argument) {
    *argument = NULL;
    if (size < 2 || head[0] != '#' || head[1] != '!') {
        return NULL;
    }
    char *interpreter = skip_blanks(head + 2);
    char *end = interpreter;
    while (*end != '\0' && *end != '\n' && !is_blank(*end)) {
        end++;
    }
    bool is_cut = end == head + room; /* what is behind it may belong to it */
    if (end == interpreter || is_cut) {
        return NULL;
    }
    if (is_blank(*end)) {
        char *text = skip_blanks(end);
        char *text_end = trimmed_end(text);
        if (text_end > text) {
            *text_end = '\0';
            *argument = text;
        }
    }
    *end = '\0';
    return interpreter;
}
