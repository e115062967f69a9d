#include "calls.h"

#include "own.h"
#include "quick.h"
#include "table.h"

static enum last last_by(const struct row *row, const long *argument) {
    long flags = row->flags == NONE ? 0 : argument[row->flags];
    switch ((enum rule)row->last) {
    case RULE_KEEP:
        return KEEP;
    case RULE_FOLLOW:
        return FOLLOW;
    case RULE_ENTRY:
        return ENTRY;
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
    return path == NULL ||
           (row->flags != NONE && argument[row->flags] & AT_EMPTY_PATH && path_is_empty(path));
}

long host_exists(const char *host) {
    char byte;
    long result = kernel(NR_readlinkat, AT_FDCWD, (long)host, (long)&byte, 1, 0, 0);
    return result >= 0 || result == -EINVAL ? 0 : result;
}

long may_access(const struct process *process, const struct workspace *space, int access) {
    const struct guest *guest = &process->guest;
    long exists = 0;
    if (access == REMOVE && !space->mount->readonly) {
        size_t size = length_of(space->guest);
        bool is_busy = size == 1 || guest_is_target(guest, space->guest, size) ||
                       guest_has_target_below(guest, space->guest, size);
        return is_busy ? -EBUSY : 0;
    }
    if (access == CREATE && guest_is_target(guest, space->guest, length_of(space->guest))) {
        return -EEXIST; /* also when what is mounted has gone from the host */
    }
    if (access == READ || !space->mount->readonly) {
        return 0;
    }
    if (access != REMOVE) {
        exists = host_exists(space->host);
    }
    if (access == CREATE && (exists == 0 || exists == -ENOENT)) {
        return exists == 0 ? -EEXIST : -EROFS;
    }
    return exists < 0 ? exists : -EROFS;
}

long may_change_descriptor(const struct process *process, long descriptor) {
    if (!process->guest.has_readonly) {
        return 0;
    }
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return -ENOMEM;
    }
    long size = path_of_directory(&process->guest, descriptor, space);
    bool is_readonly =
        size > 0 &&
        guest_mount(&process->guest, space->guest, size == 1 ? 0 : (size_t)size)->readonly;
    workspace_give_back(space);
    return is_readonly ? -EROFS : 0;
}

/* A name in a directory that the guest has open: the kernel can be trusted with it. */
static bool is_plain_name(const struct process *process, const struct row *row, const char *path,
                          enum last last) {
    struct shape shape;
    return last != FOLLOW && !(row->access != READ && process->guest.has_readonly) &&
           quick_shape(&process->guest, path, &shape) && shape.is_single;
}

static long one_path(struct process *process, const struct row *row, const struct call *call,
                     struct workspace *space) {
    struct call changed = *call;
    long *argument = changed.argument;
    long dirfd = row->dirfd == NONE ? AT_FDCWD : argument[row->dirfd];
    if (means_descriptor(row, argument)) {
        long allowed = row->access == READ ? 0 : may_change_descriptor(process, dirfd);
        return allowed < 0 ? allowed : pass(call);
    }
    const char *path = (const char *)argument[row->path];
    enum last last = last_by(row, argument);
    if (is_plain_name(process, row, path, last)) {
        return pass(call);
    }
    long result = path_resolve(&process->guest, dirfd, path, last, space);
    if (result == 0) {
        result = may_access(process, space, row->access);
    }
    if (result < 0) {
        return result;
    }
    argument[row->path] = (long)space->host;
    if (row->dirfd != NONE) {
        argument[row->dirfd] = AT_FDCWD;
    }
    return pass(&changed);
}

/* Put the answer in place of a path and its descriptor. */
static void replace(long *argument, int dirfd, int path, const char *host) {
    argument[path] = (long)host;
    if (dirfd != NONE) {
        argument[dirfd] = AT_FDCWD;
    }
}

/* rename(2) and link(2), and what they became: both on one mount. */
static long two_paths(struct process *process, const struct row *row, const struct call *call,
                      struct workspace *space) {
    struct call changed = *call;
    long *argument = changed.argument;
    long dirfd = row->dirfd == NONE ? AT_FDCWD : argument[row->dirfd];
    long dirfd2 = row->dirfd2 == NONE ? AT_FDCWD : argument[row->dirfd2];
    bool moves = row->last == RULE_ENTRY;
    const struct mount *first = NULL;
    long result = 0;
    if (!means_descriptor(row, argument)) {
        result = path_resolve(&process->guest, dirfd, (const char *)argument[row->path],
                              last_by(row, argument), space);
        first = space->mount;
        if (result == 0 && moves) {
            result = may_access(process, space, REMOVE);
        }
        if (result < 0) {
            return result;
        }
        copy_bytes(space->kept, space->host, length_of(space->host) + 1);
        replace(argument, row->dirfd, row->path, space->kept);
    }
    result =
        path_resolve(&process->guest, dirfd2, (const char *)argument[row->path2], ENTRY, space);
    if (result == 0) {
        result = may_access(process, space, moves ? REMOVE : CREATE);
    }
    if (result == 0 && first != NULL && first != space->mount) {
        result = moves || host_exists(space->kept) == 0 ? -EXDEV : -ENOENT;
    }
    if (result < 0) {
        return result;
    }
    replace(argument, row->dirfd2, row->path2, space->host);
    return pass(&changed);
}

static long on_descriptor(struct process *process, const struct row *row, const struct call *call) {
    long allowed = may_change_descriptor(process, call->argument[row->dirfd]);
    return allowed < 0 ? allowed : pass(call);
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
    if (row->kind == ON_DESCRIPTOR) {
        return on_descriptor(process, row, call);
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
