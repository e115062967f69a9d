#include "engine.h"

enum { SIG_IGN = 1, NUMBERS = 14 };

static size_t write_word(char *text, unsigned long number) {
    text[0] = ' ';
    return 1 + write_number(text + 1, number);
}

void passed_on_write(const struct process *process, const struct persona *persona, long descriptor,
                     char *text) {
    const struct capabilities *have = &persona->capabilities;
    const unsigned long numbers[NUMBERS] = {
        persona->user.real,
        persona->user.effective,
        persona->group.real,
        persona->group.effective,
        persona->sigsys.handler == SIG_IGN,
        (unsigned long)(descriptor + 1),
        have->inheritable,
        have->bounding,
        have->ambient,
        have->secure,
        process->has_filter,
        process->no_new_privs,
        sigsys_is_blocked(&process->sigsys),
        persona->group_count,
    };
    copy_bytes(text, "exec", 4);
    size_t used = 4;
    for (size_t index = 0; index < NUMBERS; index++) {
        used += write_word(text + used, numbers[index]);
    }
    for (unsigned index = 0; index < persona->group_count; index++) {
        used += write_word(text + used, persona->groups[index]);
    }
    text[used++] = ' ';
    copy_bytes(text + used, persona->root, persona->root_size);
    text[used + persona->root_size] = '\0';
}

static unsigned long read_word(const char **text) {
    unsigned long number = 0;
    *text += **text == ' ' ? 1 : 0;
    for (; **text >= '0' && **text <= '9'; (*text)++) {
        number = number * 10 + (unsigned long)(**text - '0');
    }
    return number;
}

static void read_root(struct persona *persona, const char *text) {
    size_t size = text[0] == ' ' ? length_of(text + 1) : 0;
    persona->root_size = size < PATH_SIZE ? size : 0;
    if (persona->root_size == 0) {
        return; /* and nothing has been there */
    }
    copy_bytes(persona->root, text + 1, persona->root_size);
    persona->root[persona->root_size] = '\0';
}

void passed_on_read(struct process *process, long *descriptor, const char *text) {
    struct persona *persona = &process->persona;
    unsigned long numbers[NUMBERS];
    text += 4;
    for (size_t index = 0; index < NUMBERS; index++) {
        numbers[index] = read_word(&text);
    }
    /* execve(2) makes the saved ones equal to the effective ones. */
    unsigned uid = (unsigned)numbers[1];
    unsigned gid = (unsigned)numbers[3];
    persona->user = (struct identity){(unsigned)numbers[0], uid, uid, uid};
    persona->group = (struct identity){(unsigned)numbers[2], gid, gid, gid};
    persona->sigsys.handler = numbers[4] != 0 ? SIG_IGN : 0;
    *descriptor = (long)numbers[5] - 1;
    persona->capabilities = (struct capabilities){.inheritable = numbers[6],
                                                  .bounding = numbers[7],
                                                  .ambient = numbers[8],
                                                  .secure = (unsigned)numbers[9]};
    process->has_filter = numbers[10] != 0;
    process->no_new_privs = numbers[11] != 0;
    process->sigsys.was_used = process->sigsys.blocked_at_exec = numbers[12] != 0;
    persona->group_count = numbers[13] < MAX_GROUPS ? (unsigned)numbers[13] : MAX_GROUPS;
    for (unsigned index = 0; index < persona->group_count; index++) {
        persona->groups[index] = (unsigned)read_word(&text);
    }
    read_root(persona, text);
    capabilities_of_program(persona);
}
