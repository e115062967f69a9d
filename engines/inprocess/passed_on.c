#include "engine.h"

enum { ID_COUNT = 4 };

static size_t write_word(char *text, unsigned long number) {
    text[0] = ' ';
    return 1 + write_number(text + 1, number);
}

void passed_on_write(const struct passed_on *passed, char *text) {
    const unsigned ids[ID_COUNT] = {passed->user.real, passed->user.effective, passed->group.real,
                                    passed->group.effective};
    copy_bytes(text, "exec", 4);
    size_t used = 4;
    for (size_t index = 0; index < ID_COUNT; index++) {
        used += write_word(text + used, ids[index]);
    }
    used += write_word(text + used, passed->ignores_sigsys);
    used += write_word(text + used, passed->blocks_sigsys);
    used += write_word(text + used, passed->has_filter);
    used += write_word(text + used, passed->no_new_privs);
    used += write_word(text + used, (unsigned long)(passed->descriptor + 1));
    text[used] = '\0';
}

static unsigned long read_word(const char **text) {
    unsigned long number = 0;
    *text += **text == ' ' ? 1 : 0;
    for (; **text >= '0' && **text <= '9'; (*text)++) {
        number = number * 10 + (unsigned long)(**text - '0');
    }
    return number;
}

void passed_on_read(struct passed_on *passed, const char *text) {
    unsigned ids[ID_COUNT];
    text += 4;
    for (size_t index = 0; index < ID_COUNT; index++) {
        ids[index] = (unsigned)read_word(&text);
    }
    /* execve(2) makes the saved ones equal to the effective ones. */
    passed->user = (struct identity){ids[0], ids[1], ids[1], ids[1]};
    passed->group = (struct identity){ids[2], ids[3], ids[3], ids[3]};
    passed->ignores_sigsys = read_word(&text) != 0;
    passed->blocks_sigsys = read_word(&text) != 0;
    passed->has_filter = read_word(&text) != 0;
    passed->no_new_privs = read_word(&text) != 0;
    passed->descriptor = (long)read_word(&text) - 1;
}
