/* "#!" lines: any bytes. One byte chooses how much is read of a file. */
#include "fuzz.h"

#include "elf.h"

static bool is_one_of(const char *bytes, const char *text) {
    return strpbrk(text, bytes) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    size_t room = 3 + take(&input);
    input.size = input.size < room ? input.size : room;
    char *head = take_rest(&input, 1);
    char *whole = take_rest(&input, 1);
    char *argument;
    char *path = script_read(head, input.size, room, &argument);
    if (path != NULL) {
        char *end = path + strlen(path);
        DEMAND(input.size >= 2 && whole[0] == '#' && whole[1] == '!');
        DEMAND(path > head + 1 && end < head + input.size + 1);
        DEMAND(path[0] != '\0' && !is_one_of(" \t\n", path));
        DEMAND(memcmp(path, whole + (path - head), (size_t)(end - path)) == 0);
        for (const char *byte = whole + 2; byte < whole + (path - head); byte++) {
            DEMAND(*byte == ' ' || *byte == '\t');
        }
        /* All of the name: its end is there to be seen. */
        DEMAND(end < head + input.size || input.size < room);
        if (argument != NULL) {
            char *last = argument + strlen(argument);
            DEMAND(argument > end && last <= head + input.size && last > argument);
            DEMAND(!is_one_of("\n", argument));
            DEMAND(argument[0] != ' ' && last[-1] != ' ' && last[-1] != '\t');
        }
    } else {
        DEMAND(argument == NULL);
    }
    free(whole);
    free(head);
    return 0;
}
