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

static bool has_line(const char *text) {
    while (*text != '\0' && *text != '\n') {
        text++;
    }
    return *text == '\n';
}

char *script_read(char *head, size_t size, size_t room, char **argument) {
    *argument = NULL;
    if (size < 2 || head[0] != '#' || head[1] != '!') {
        return NULL;
    }
    const char *cut = NULL; /* what reaches to there may be longer */
    if (size == room && !has_line(head)) {
        cut = is_blank(head[size - 1]) ? NULL : head + size - 1;
        head[size - 1] = '\0'; /* the kernel takes that byte for the end only */
    }
    char *interpreter = skip_blanks(head + 2);
    char *end = interpreter;
    while (*end != '\0' && *end != '\n' && !is_blank(*end)) {
        end++;
    }
    if (end == interpreter || end == cut) {
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
