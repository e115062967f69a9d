#include "calls.h"

#include "deep.h"
#include "own.h"
#include "pin.h"
#include "quick.h"
#include "table.h"
#include "union.h"
#include "union_native.h"

enum {
    LOOK_AGAIN = -4000, /* no errno: what was found is not there any more */
    MOST_TRIES = 8,
};

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

static long may_by_mounts(const struct process *process, const struct workspace *space,
                          int access) {
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

long may_access(struct process *process, const struct workspace *space, int access) {
    long result = may_by_mounts(process, space, access);
    if (result == 0 && access == CREATE) {
        result = permission_to_make(process, space);
    } else if (result == 0 && access == REMOVE) {
        result = permission_to_remove(process, space);
    }
    return result;
}

static bool is_path_only(long descriptor) {
    enum { F_GETFL = 3 };
    return kernel(NR_fcntl, descriptor, F_GETFL, 0, 0, 0, 0) & O_PATH;
}

/*
 * Whether another process has put something since in place of a file that is no link: what is there
 * is held. Only in the upper directory is such a device a whiteout.
 */
static bool is_another(const char *host, bool is_upper) {
    struct status status;
    return kernel(NR_newfstatat, AT_FDCWD, (long)host, (long)&status, 0, 0, 0) == 0 &&
           ((is_upper && union_is_whiteout(&status)) || (status.mode & S_IFMT) == S_IFLNK);
}

/* The kernel's own row for what a descriptor is open on, by its path: that of a copy. */
static long by_path(struct process *process, const struct call *call, char *host) {
    const long *a = call->argument;
    struct call changed;
    if (is_path_only(a[0])) {
        return -EBADF;
    }
    switch (call->number) {
    case NR_fchmod:
        changed = (struct call){NR_fchmodat, {AT_FDCWD, (long)host, a[1]}};
        break;
    case NR_fsetxattr:
        changed = (struct call){NR_setxattr, {(long)host, a[1], a[2], a[3], a[4]}};
        break;
    case NR_fremovexattr:
        changed = (struct call){NR_removexattr, {(long)host, a[1]}};
        break;
    default:
        return -EROFS;
    }
    long held = pin(host, THE_FILE);
    if (held < -1) {
        return held;
    }
    long result = carry_out_on_host(process, &changed, NULL);
    if (result < 0 && is_another(host, true)) {
        result = -ENOENT;
    }
    pin_end(held);
    return result;
}

/* Of what has no path: a file with a long one is refused where it may lie on a read-only mount. */
static bool may_be_readonly(const struct guest *guest, long descriptor) {
    struct status status;
    struct status other;
    if (kernel(NR_newfstatat, descriptor, (long)"", (long)&status, AT_EMPTY_PATH, 0, 0) < 0) {
        return false;
    }
    for (size_t index = 0; index < guest->mount_count; index++) {
        const struct mount *mount = &guest->mounts[index];
        if (mount->readonly &&
            kernel(NR_newfstatat, AT_FDCWD, (long)mount->source, (long)&other, 0, 0, 0) == 0 &&
            other.device == status.device) {
            return true;
        }
    }
    return false;
}

long may_change_descriptor(const struct process *process, long descriptor) {
    if (!process->guest.has_readonly) {
        return 0;
    }
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return -ENOMEM;
    }
    long size = deep_mount_path(&process->guest, descriptor, space);
    bool is_readonly =
        size > 0
            ? guest_mount(&process->guest, space->guest, size == 1 ? 0 : (size_t)size)->readonly
            : (size == -ENOTDIR || size == -ENAMETOOLONG) &&
                  may_be_readonly(&process->guest, descriptor);
    workspace_give_back(space);
    return is_readonly ? -EROFS : 0;
}

bool descriptor_is_inside(const struct process *process, long descriptor) {
    const struct guest *guest = &process->guest;
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return false;
    }
    long size = deep_mount_path(guest, descriptor, space);
    bool is_inside =
        size > 0 &&
        guest_mount(guest, space->guest, size == 1 ? 0 : (size_t)size)->target_size == 0;
    workspace_give_back(space);
    return is_inside;
}

/* A name in a directory that the guest has open: the kernel can be trusted with it. */
static bool is_plain_name(struct process *process, const struct row *row, long dirfd,
                          const char *path, enum last last) {
    struct shape shape;
    if (last == FOLLOW || (row->access != READ && process->guest.has_readonly) ||
        (row->access != READ && permission_is_asked(process)) ||
        !quick_shape(&process->guest, path, &shape) || !shape.is_single) {
        return false;
    }
    enum folder folder = quick_folder(&process->guest, dirfd, path, &shape);
    return folder == NATIVE || (folder == ONLY_LOWER && row->access == READ);
}

/* The call on what a descriptor is open on, which may have to be copied up before. */
static long one_descriptor(struct process *process, const struct row *row, struct call *call,
                           long dirfd, struct workspace *space) {
    long result = row->access == READ ? 0 : may_change_descriptor(process, dirfd);
    if (result == 0 && row->access != READ) {
        result = union_descriptor_to_change(&process->guest, dirfd, space);
    }
    if (result <= 0) {
        return result < 0 ? result : carry_out_on_host(process, call, NULL);
    }
    bool has_path = call->argument[row->path] != 0;
    if (!has_path && is_path_only(dirfd)) {
        return -EBADF;
    }
    long copy = pin_open(space->host, O_PATH | O_NOFOLLOW);
    if (copy < 0) {
        return copy;
    }
    call->argument[row->dirfd] = copy;
    if (!has_path) { /* which the kernel does not take for such a descriptor */
        copy_bytes(space->host, "/proc/self/fd/", 14);
        write_number(space->host + 14, (unsigned long)copy);
        call->argument[row->path] = (long)space->host;
    }
    result = carry_out_on_host(process, call, NULL);
    pin_end(copy);
    return result;
}

/* A watch on a directory is told of what is made there: that will be in the upper one. */
static long prepare_watch(struct process *process, struct workspace *space) {
    struct status status;
    if (space->layer != LOWER ||
        kernel(NR_newfstatat, AT_FDCWD, (long)space->host, (long)&status, AT_SYMLINK_NOFOLLOW, 0,
               0) != 0 ||
        (status.mode & S_IFMT) != S_IFDIR) {
        return 0;
    }
    return union_to_change(&process->guest, space, true);
}

static bool is_rmdir(const struct call *call) {
#ifdef ARCH_HAS_LEGACY
    if (call->number == NR_rmdir) {
        return true;
    }
#endif
    return call->number == NR_unlinkat && call->argument[2] & AT_REMOVEDIR;
}

static bool is_source(const char *source, size_t size, const char *host) {
    return source != NULL && same_bytes(host, source, size) && host[size] == '\0';
}

static enum pinned what_to_hold(const struct mount *mount, const char *host, enum last last) {
    if (last == FOLLOW) {
        return THE_FILE;
    }
    return is_source(mount->source, mount->source_size, host) ||
                   is_source(mount->lower, mount->lower_size, host)
               ? THE_ROOT
               : THE_NAME;
}

/* The call on a host path, which is held meanwhile. */
static long on_host(struct process *process, const struct call *call, enum last last,
                    struct workspace *space) {
    if (space->is_magic) {
        return carry_out_on_host(process, call, space->mount);
    }
    long held = pin(space->host, what_to_hold(space->mount, space->host, last));
    if (held < -1) {
        return held;
    }
    long result = carry_out_on_host(process, call, space->mount);
    if (result < 0 && last == FOLLOW && is_another(space->host, space->layer == UPPER)) {
        result = LOOK_AGAIN;
    }
    pin_end(held);
    return result;
}

/* The call, whose path has been resolved and may be that of a union. */
static long on_resolved(struct process *process, const struct row *row, struct call *call,
                        enum last last, struct workspace *space) {
    const struct guest *guest = &process->guest;
    if (space->is_entry && row->access == CREATE) {
        unsigned taken = 0;
        long result = make_begin(process, call, space->mount, &taken);
        result = result < 0 ? result : union_create(guest, call, row->path, space);
        long held = result == 0 ? pin(space->host, THE_NAME) : result;
        if (held >= -1 && result == 0) {
            make_end(process, space->mount, AT_FDCWD, space->host, taken);
            pin_end(held);
        }
        return result;
    }
    if (space->is_entry && row->access == REMOVE) {
        bool is_bad = call->number == NR_unlinkat && (int)call->argument[2] & ~AT_REMOVEDIR;
        return is_bad ? -EINVAL : union_remove(guest, space, is_rmdir(call));
    }
    long result = 0;
    if (row->access == CHANGE) {
        bool cuts_off = call->number == NR_truncate && call->argument[1] == 0 && !space->has_end;
        result = union_to_change(guest, space, !cuts_off);
    } else if (call->number == NR_inotify_add_watch) {
        result = prepare_watch(process, space);
    }
    return result < 0 ? result : on_host(process, call, last, space);
}

static long find_and_do(struct process *process, const struct row *row, const struct call *call,
                        struct workspace *space) {
    struct call changed = *call;
    long *argument = changed.argument;
    long dirfd = row->dirfd == NONE ? AT_FDCWD : argument[row->dirfd];
    if (means_descriptor(row, argument)) {
        return one_descriptor(process, row, &changed, dirfd, space);
    }
    const char *path = (const char *)argument[row->path];
    enum last last = last_by(row, argument);
    if (is_plain_name(process, row, dirfd, path, last)) {
        return carry_out_on_host(process, call, NULL);
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
    return on_resolved(process, row, &changed, last, space);
}

static long one_path(struct process *process, const struct row *row, const struct call *call,
                     struct workspace *space) {
    long result = LOOK_AGAIN;
    for (int tries = 0; result == LOOK_AGAIN && tries < MOST_TRIES; tries++) {
        result = find_and_do(process, row, call, space);
    }
    return result == LOOK_AGAIN ? -ENOENT : result;
}

/* Put the answer in place of a path and its descriptor. */
static void replace(long *argument, int dirfd, int path, const char *host) {
    argument[path] = (long)host;
    if (dirfd != NONE) {
        argument[dirfd] = AT_FDCWD;
    }
}

/* Where the first of two paths leads. */
struct first {
    const struct mount *mount; /* NULL: a descriptor stands for it */
    bool is_magic;
    bool is_entry;
    bool is_deep;
    bool is_upper; /* of a union */
    bool has_end;
    long allowed; /* whether the caller may take it from there: 0 or -errno */
};

/* It is put into the call, or if it is an entry of a union kept as a path of the guest. */
static long resolve_first(struct process *process, const struct row *row, struct call *call,
                          struct first *first, struct workspace *space) {
    long *argument = call->argument;
    long dirfd = row->dirfd == NONE ? AT_FDCWD : argument[row->dirfd];
    bool moves = row->last == RULE_ENTRY;
    long result;
    if (means_descriptor(row, argument)) {
        result = union_descriptor_to_change(&process->guest, dirfd, space);
        if (result <= 0) {
            return result;
        }
        argument[row->flags] &= ~(long)AT_SYMLINK_FOLLOW; /* what is open is meant, even a link */
    } else {
        result = path_resolve(&process->guest, dirfd, (const char *)argument[row->path],
                              last_by(row, argument), space);
        first->mount = space->mount;
        if (result == 0) {
            first->allowed = moves ? permission_to_remove(process, space) : 0;
            result = moves ? may_by_mounts(process, space, REMOVE)
                           : union_to_change(&process->guest, space, true);
        }
        if (result == 0 && !moves && process->guest.has_union) {
            result = host_exists(space->host);
        }
        if (result < 0) {
            return result;
        }
    }
    first->is_magic = space->is_magic;
    first->is_entry = space->is_entry;
    first->is_deep = space->is_deep;
    first->is_upper = space->layer == UPPER && !space->is_entry;
    first->has_end = space->has_end;
    const char *kept = space->is_entry ? space->guest : space->host;
    copy_bytes(space->kept, kept, length_of(kept) + 1);
    replace(argument, row->dirfd, row->path, space->kept);
    return 0;
}

/* Whether the caller may put something there; when it moves, in place of what is there. */
static long may_put(struct process *process, const struct workspace *space, bool moves) {
    long result = permission_to_make(process, space);
    return result == 0 && moves ? permission_to_remove(process, space) : result;
}

/*
 * link(2) of what was found in the upper directory. That is held itself, and not its name: if
 * another process removes it now, there is a whiteout, and a link to that would be no file.
 */
static long link_in_union(struct process *process, const struct row *row, const struct call *call,
                          struct workspace *space) {
    struct call changed = *call;
    int position = row->path2;
    long held = pin(space->kept, THE_FILE);
    if (held < -1) {
        return held;
    }
    if (held >= 0) {
        long flags = row->flags == NONE ? 0 : call->argument[row->flags];
        changed = (struct call){
            NR_linkat,
            {AT_FDCWD, (long)space->kept, AT_FDCWD, (long)space->host, flags | AT_SYMLINK_FOLLOW}};
        position = 3;
    }
    long result = -ENOENT;
    struct status status;
    if (held < 0 ||
        (kernel(NR_fstat, held, (long)&status, 0, 0, 0, 0) == 0 && !union_is_whiteout(&status))) {
        result = space->is_entry ? union_create(&process->guest, &changed, position, space)
                                 : pass_held(&changed, space->host);
    }
    pin_end(held);
    return result;
}

/* rename(2) and link(2), and what they became: both on one mount. */
static long two_paths(struct process *process, const struct row *row, const struct call *call,
                      struct workspace *space) {
    struct call changed = *call;
    long *argument = changed.argument;
    long dirfd2 = row->dirfd2 == NONE ? AT_FDCWD : argument[row->dirfd2];
    bool moves = row->last == RULE_ENTRY;
    struct first first = {.mount = NULL};
    long result = resolve_first(process, row, &changed, &first, space);
    if (result < 0) {
        return result;
    }
    result =
        path_resolve(&process->guest, dirfd2, (const char *)argument[row->path2], ENTRY, space);
    if (result == 0) {
        result = may_by_mounts(process, space, moves ? REMOVE : CREATE);
    }
    if (result == 0 && first.mount != NULL && first.mount != space->mount) {
        bool is_there = moves || host_exists(space->kept) == 0;
        result = is_there ? -EXDEV : -ENOENT;
    }
    result = result == 0 ? first.allowed : result;
    if (result == 0) {
        result = may_put(process, space, moves);
    }
    if (result < 0) {
        return result;
    }
    replace(argument, row->dirfd2, row->path2, space->host);
    if (moves && first.is_entry && space->is_entry) {
        uint64_t flags = call->number == NR_renameat2 ? (unsigned)argument[4] : 0;
        return union_rename(&process->guest, space, first.has_end, flags);
    }
    if (moves && first.is_deep != space->is_deep && (first.is_entry || space->is_entry)) {
        return -EXDEV; /* what a union has to remember of it has no path */
    }
    if (first.is_entry) {
        return -EBUSY; /* the second one ends in dots */
    }
    bool follows = !moves && last_by(row, argument) == FOLLOW;
    bool has_first = first.mount != NULL && !first.is_magic;
    if (!moves && has_first && first.is_upper) {
        return link_in_union(process, row, &changed, space);
    }
    long held = has_first ? pin(space->kept, follows ? THE_FILE : THE_NAME) : -1;
    if (held < -1) {
        return held;
    }
    result = !moves && space->is_entry ? union_create(&process->guest, &changed, row->path2, space)
                                       : pass_held(&changed, space->host);
    pin_end(held);
    return result;
}

static long on_descriptor(struct process *process, const struct row *row, const struct call *call) {
    long descriptor = call->argument[row->dirfd];
    if (row->access == READ) {
        return carry_out_on_host(process, call, NULL);
    }
    long result = may_change_descriptor(process, descriptor);
    if (result < 0 || !process->guest.has_union) {
        return result < 0 ? result : carry_out_on_host(process, call, NULL);
    }
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return -ENOMEM;
    }
    result = union_descriptor_to_change(&process->guest, descriptor, space);
    result = result < 0   ? result
             : result > 0 ? by_path(process, call, space->host)
                          : carry_out_on_host(process, call, NULL);
    workspace_give_back(space);
    return result;
}

/* rename(2) and rmdir(2): something else may come in the place of a directory. */
static bool moves_directories(const struct call *call) {
    switch (call->number) {
#ifdef ARCH_HAS_LEGACY
    case NR_rename:
#endif
#ifdef NR_renameat
    case NR_renameat:
#endif
    case NR_renameat2:
        return true;
    default:
        return is_rmdir(call);
    }
}

static long on_paths(struct process *process, const struct row *row, const struct call *call) {
    struct removal removal;
    bool moves = moves_directories(call);
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return -ENOMEM;
    }
    if (moves) {
        removal_begin(&process->guest, &removal);
    }
    long result = row->kind == ONE_PATH ? one_path(process, row, call, space)
                                        : two_paths(process, row, call, space);
    if (moves) {
        removal_end(&process->guest, &removal);
    }
    workspace_give_back(space);
    return result;
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
    return row->kind == ON_DESCRIPTOR ? on_descriptor(process, row, call)
                                      : on_paths(process, row, call);
}
