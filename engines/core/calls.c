#include "calls.h"

#include "own.h"
#include "quick.h"
#include "table.h"

/* Whether host is the link to this process's own program: /proc/self/exe or /proc/PID/exe. */
static bool is_own_program(const char *host) {
    if (!same_bytes(host, "/proc/", 6)) {
        return false;
    }
    const char *rest = host + 6;
    char pid[24];
    size_t size = write_number(pid, (unsigned long)kernel(NR_getpid, 0, 0, 0, 0, 0, 0));
    if (same_bytes(rest, pid, size)) {
        rest += size;
    } else if (same_bytes(rest, "self", 4)) {
        rest += 4;
    } else if (same_bytes(rest, "thread-self", 11)) {
        rest += 11;
    } else {
        return false;
    }
    return same_text(rest, "/exe");
}

long calls_resolve(const struct process *process, long dirfd, const char *path, enum last last,
                   struct workspace *space) {
    long result = path_resolve(&process->guest, dirfd, path, last, space);
    if (result == 0 && last == FOLLOW && is_own_program(space->host)) {
        result = path_resolve(&process->guest, AT_FDCWD, process->guest.executable, FOLLOW, space);
    }
    return result;
}

bool own_program(const char *host) {
    return is_own_program(host);
}

bool on_readonly_mount(const struct process *process, const struct workspace *space) {
    size_t size = length_of(space->guest);
    return guest_mount(&process->guest, space->guest, size == 1 ? 0 : size)->readonly;
}

static enum last last_by(const struct row *row, const long *argument) {
    long flags = row->flags == NONE ? 0 : argument[row->flags];
    switch ((enum rule)row->last) {
    case RULE_KEEP:
        return KEEP;
    case RULE_FOLLOW:
        return FOLLOW;
    case RULE_AT_KEEP:
        return flags & AT_SYMLINK_NOFOLLOW ? KEEP : FOLLOW;
    case RULE_AT_FOLLOW:
        return flags & AT_SYMLINK_FOLLOW ? FOLLOW : KEEP;
    case RULE_WATCH_KEEP:
        return flags & IN_DONT_FOLLOW ? KEEP : FOLLOW;
    }
    return KEEP;
}

/* A null or, where that is allowed, empty path means the descriptor: nothing to translate. */
static bool means_descriptor(const struct row *row, const long *argument) {
    const char *path = (const char *)argument[row->path];
    if (row->dirfd == NONE) {
        return false;
    }
    if (path == NULL) {
        return true;
    }
    return row->flags != NONE && argument[row->flags] & AT_EMPTY_PATH && memory_is_there(path, 1) &&
           path[0] == '\0';
}

static long one_path(struct process *process, const struct row *row, const struct call *call,
                     struct workspace *space) {
    struct call changed = *call;
    long *argument = changed.argument;
    if (means_descriptor(row, argument)) {
        return pass(call);
    }
    long dirfd = row->dirfd == NONE ? AT_FDCWD : argument[row->dirfd];
    const char *path = (const char *)argument[row->path];
    enum last last = last_by(row, argument);
    struct shape shape;
    if (last == KEEP && !(row->writes && process->guest.has_readonly) &&
        quick_shape(&process->guest, path, &shape) && shape.is_single) {
        return pass(call); /* a name in a directory that the guest has */
    }
    long result = calls_resolve(process, dirfd, path, last, space);
    if (result < 0) {
        return result;
    }
    if (row->writes && on_readonly_mount(process, space)) {
        return -EROFS;
    }
    argument[row->path] = (long)space->host;
    if (row->dirfd != NONE) {
        argument[row->dirfd] = AT_FDCWD;
    }
    return pass(&changed);
}

static long two_paths(struct process *process, const struct row *row, const struct call *call,
                      struct workspace *space) {
    struct call changed = *call;
    long *argument = changed.argument;
    long dirfd = row->dirfd == NONE ? AT_FDCWD : argument[row->dirfd];
    long dirfd2 = row->dirfd2 == NONE ? AT_FDCWD : argument[row->dirfd2];
    bool of_descriptor = means_descriptor(row, argument);
    if (!of_descriptor) {
        const char *path = (const char *)argument[row->path];
        long result = calls_resolve(process, dirfd, path, last_by(row, argument), space);
        if (result < 0) {
            return result;
        }
        if (on_readonly_mount(process, space)) {
            return -EROFS;
        }
        copy_bytes(space->kept, space->host, PATH_SIZE);
        argument[row->path] = (long)space->kept;
        if (row->dirfd != NONE) {
            argument[row->dirfd] = AT_FDCWD;
        }
    }
    long result = calls_resolve(process, dirfd2, (const char *)argument[row->path2], KEEP, space);
    if (result < 0) {
        return result;
    }
    if (on_readonly_mount(process, space)) {
        return -EROFS;
    }
    argument[row->path2] = (long)space->host;
    if (row->dirfd2 != NONE) {
        argument[row->dirfd2] = AT_FDCWD;
    }
    return pass(&changed);
}

long calls_carry_out(struct process *process, const struct call *call, uint64_t *mask) {
    const struct row *row = table_row(call->number);
    if (row == NULL) {
        return -ENOSYS;
    }
    if (row->kind == FREE_CALL) {
        return pass(call);
    }
    if (row->kind == REFUSED) {
        return -row->error;
    }
    if (row->kind == OWN_FUNCTION) {
        return own_carry_out(process, call, mask);
    }
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return -ENOMEM;
    }
    long result = row->kind == ONE_PATH ? one_path(process, row, call, space)
                                        : two_paths(process, row, call, space);
    workspace_give_back(space);
    return result;
}
