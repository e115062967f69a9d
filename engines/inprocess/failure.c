#include "engine.h"

/* In words, what a user may meet. */
static const char *meaning_of(long error) {
    switch (-error) {
    case EPERM:
        return "Operation not permitted";
    case ENOENT:
        return "No such file or directory";
    case E2BIG:
        return "Argument list too long";
    case ENOEXEC:
        return "no program for " ARCH_NAME ", and no script";
    case ENOMEM:
        return "Cannot allocate memory";
    case EACCES:
        return "Permission denied";
    case EEXIST:
        return "it is made for a place in memory where the engine is; another mode runs it";
    case ENOTDIR:
        return "Not a directory";
    case EINVAL:
        return "Invalid argument";
    case ELOOP:
        return "Too many symbolic links, or scripts that start scripts";
    case ENOSYS:
        return "this kernel cannot do it";
    case ELIBBAD:
        return "its interpreter is no program for " ARCH_NAME;
    default:
        return NULL;
    }
}

static void say(const char *text) {
    kernel(NR_write, 2, (long)text, (long)length_of(text), 0, 0, 0);
}

int failure_of(long error) {
    return error == -ENOENT || error == -ENOTDIR ? NOT_FOUND : NOT_EXECUTABLE;
}

_Noreturn void give_up(int code, const char *what, const char *on, long error) {
    char number[24];
    write_number(number, (unsigned long)-error);
    const char *meaning = meaning_of(error);
    const char *parts[] = {
        "udocker: cannot ",
        what,
        " ",
        on,
        meaning == NULL ? ": errno " : ": ",
        meaning == NULL ? number : meaning,
    };
    for (size_t index = 0; index < sizeof parts / sizeof parts[0]; index++) {
        say(parts[index]);
    }
    say("\n");
    for (;;) {
        kernel(NR_exit_group, code, 0, 0, 0, 0, 0);
    }
}
