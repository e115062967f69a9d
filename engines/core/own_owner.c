/* Owners: what is the user's on the host is the guest's own, and changing owners is not refused. */
#include "own.h"
#include "quick.h"
#include "table.h"

enum { AT_NO_AUTOMOUNT = 0x800, AT_STATX_SYNC_TYPE = 0x6000, STATX_TYPE = 1 };

/* struct statx up to the mode, of <linux/stat.h>. */
struct extended_status {
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t links, uid, gid;
    uint16_t mode;
};

/* A question about a file: stat(2) or statx(2). */
struct question {
    bool is_extended;
    long flags;
    long mask; /* of statx */
    void *answer;
};

static unsigned shown(unsigned id, unsigned host, unsigned guest) {
    return id == host ? guest : id;
}

static void show(const struct process *process, const struct question *question) {
    const struct guest *guest = &process->guest;
    if (question->is_extended) {
        struct extended_status *status = question->answer;
        status->uid = shown(status->uid, guest->host_uid, guest->uid);
        status->gid = shown(status->gid, guest->host_gid, guest->gid);
    } else {
        struct status *status = question->answer;
        status->uid = shown(status->uid, guest->host_uid, guest->uid);
        status->gid = shown(status->gid, guest->host_gid, guest->gid);
    }
}

static long ask(const struct guest *guest, const struct question *question, long dirfd,
                const char *path, long flags) {
    if (question->is_extended) {
        long result =
            kernel(NR_statx, dirfd, (long)path, flags, question->mask, (long)question->answer, 0);
        if (result == 0) {
            union_show_extended(guest, question->answer, dirfd, path, flags);
        }
        return result;
    }
    long result = kernel(NR_newfstatat, dirfd, (long)path, (long)question->answer, flags, 0, 0);
    if (result == 0) {
        union_show(guest, question->answer, dirfd, path, flags);
    }
    return result;
}

static bool is_kind(const struct question *question, unsigned kind) {
    unsigned mode = question->is_extended ? ((struct extended_status *)question->answer)->mode
                                          : ((struct status *)question->answer)->mode;
    return (mode & S_IFMT) == kind;
}

/*
 * A name in a directory of which the kind is known. A link is for the walk if it is to be followed,
 * and so is what may be a whiteout.
 */
static long ask_name(struct process *process, const struct question *question, long dirfd,
                     const char *path) {
    const struct guest *guest = &process->guest;
    bool keeps = question->flags & AT_SYMLINK_NOFOLLOW;
    long result = ask(guest, question, dirfd, path, question->flags | AT_SYMLINK_NOFOLLOW);
    bool is_no_answer = result == 0 && ((!keeps && is_kind(question, S_IFLNK)) ||
                                        (guest->has_union && is_kind(question, S_IFCHR)));
    return is_no_answer ? -ENOSYS : result;
}

/* An absolute path whose directory is in the lower one; in the upper one, too, if that is merged.
 */
static long ask_in_union(struct process *process, const struct question *question,
                         enum folder folder, long dirfd, const char *path,
                         const struct shape *shape, char *host) {
    long result = -ENOENT;
    if (folder == MERGED) {
        if (quick_path(&process->guest, dirfd, path, shape, UPPER, host) < 0) {
            return -ENOSYS;
        }
        result = ask_name(process, question, AT_FDCWD, host);
    }
    if (result == -ENOENT) {
        if (quick_path(&process->guest, dirfd, path, shape, LOWER, host) < 0) {
            return -ENOSYS;
        }
        result = ask_name(process, question, AT_FDCWD, host);
    }
    return result == -ENOTDIR ? -ENOSYS : result;
}

/* Without the walk, where there are no links; -ENOSYS where it is needed. */
static long quick_ask(struct process *process, const struct question *question, long dirfd,
                      const char *path, char *host) {
    struct shape shape;
    long flags = question->flags;
    bool keeps = flags & AT_SYMLINK_NOFOLLOW;
    bool is_known = !(flags & ~(long)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH |
                                      (question->is_extended ? AT_STATX_SYNC_TYPE : 0))) &&
                    (!question->is_extended || question->mask & STATX_TYPE);
    if (!is_known || !quick_shape(&process->guest, path, &shape)) {
        return -ENOSYS;
    }
    enum folder folder = quick_folder(&process->guest, dirfd, path, &shape);
    if (folder == UNKNOWN_FOLDER) {
        return -ENOSYS;
    }
    if (folder == MERGED || (folder == ONLY_LOWER && shape.is_absolute)) {
        return ask_in_union(process, question, folder, dirfd, path, &shape, host);
    }
    if (shape.is_single) {
        return ask_name(process, question, dirfd, path);
    }
    long open_flags = O_PATH | O_CLOEXEC | (keeps ? O_NOFOLLOW : 0);
    long descriptor = quick_open(&process->guest, dirfd, path, &shape, open_flags, 0, host);
    if (descriptor < 0) {
        bool is_no_answer = descriptor == -ELOOP || descriptor == -EMFILE || descriptor == -ENFILE;
        return is_no_answer ? -ENOSYS : descriptor;
    }
    long result = ask(&process->guest, question, descriptor, "", flags | AT_EMPTY_PATH);
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    return result;
}

static long status_at(struct process *process, const struct question *question, long dirfd,
                      const char *path, struct workspace *space) {
    long flags = question->flags;
    long result;
    if (path == NULL || (flags & AT_EMPTY_PATH && path_is_empty(path))) {
        result = ask(&process->guest, question, dirfd, path, flags);
    } else {
        result = quick_ask(process, question, dirfd, path, space->host);
        if (result == -ENOSYS) {
            enum last last = flags & AT_SYMLINK_NOFOLLOW ? KEEP : FOLLOW;
            result = path_resolve(&process->guest, dirfd, path, last, space);
            result =
                result < 0 ? result : ask(&process->guest, question, AT_FDCWD, space->host, flags);
        }
    }
    if (result == 0) {
        show(process, question);
    }
    return result;
}

static long call_fstat(struct process *process, const struct call *call) {
    long result = pass(call);
    if (result == 0) {
        union_show(&process->guest, (void *)call->argument[1], call->argument[0], "",
                   AT_EMPTY_PATH);
        show(process, &(struct question){.answer = (void *)call->argument[1]});
    }
    return result;
}

/* Whether the guest may give to uid and gid what is there: root may, others may change nothing. */
static long may_give(struct process *process, long uid, long gid) {
    const struct persona *persona = persona_of(process);
    bool is_same = ((int)uid == -1 || (unsigned)uid == persona->user.effective) &&
                   ((int)gid == -1 || (unsigned)gid == persona->group.effective);
    return persona->user.effective == 0 || is_same ? 0 : -EPERM;
}

static long give_descriptor(struct process *process, long descriptor, const long *owner) {
    long result = kernel(NR_fcntl, descriptor, 1 /* F_GETFD */, 0, 0, 0, 0);
    if (result >= 0) {
        result = may_change_descriptor(process, descriptor);
    }
    return result < 0 ? result : may_give(process, owner[0], owner[1]);
}

static long chown_at(struct process *process, long dirfd, const char *path, const long *owner,
                     long flags, struct workspace *space) {
    if (flags & ~(long)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) {
        return -EINVAL;
    }
    if (flags & AT_EMPTY_PATH && path_is_empty(path)) {
        return (int)dirfd == AT_FDCWD ? may_give(process, owner[0], owner[1])
                                      : give_descriptor(process, dirfd, owner);
    }
    long result = path_resolve(&process->guest, dirfd, path,
                               flags & AT_SYMLINK_NOFOLLOW ? KEEP : FOLLOW, space);
    if (result == 0) {
        result = host_exists(space->host);
    }
    if (result == 0) {
        result = may_access(process, space, CHANGE);
    }
    return result < 0 ? result : may_give(process, owner[0], owner[1]);
}

long own_owner_call(struct process *process, const struct call *call, struct workspace *space) {
    const long *a = call->argument;
    struct question question = {.answer = (void *)a[1]};
    switch (call->number) {
#ifdef ARCH_HAS_LEGACY
    case NR_stat:
        return status_at(process, &question, AT_FDCWD, (const char *)a[0], space);
    case NR_lstat:
        question.flags = AT_SYMLINK_NOFOLLOW;
        return status_at(process, &question, AT_FDCWD, (const char *)a[0], space);
    case NR_chown:
        return chown_at(process, AT_FDCWD, (const char *)a[0], a + 1, 0, space);
    case NR_lchown:
        return chown_at(process, AT_FDCWD, (const char *)a[0], a + 1, AT_SYMLINK_NOFOLLOW, space);
#endif
    case NR_newfstatat:
        question = (struct question){.flags = a[3], .answer = (void *)a[2]};
        return status_at(process, &question, a[0], (const char *)a[1], space);
    case NR_fstat:
        return call_fstat(process, call);
    case NR_statx:
        question = (struct question){true, a[2], a[3], (void *)a[4]};
        return status_at(process, &question, a[0], (const char *)a[1], space);
    case NR_fchownat:
        return chown_at(process, a[0], (const char *)a[1], a + 2, a[4], space);
    default: /* fchown */
        return give_descriptor(process, a[0], a + 1);
    }
}
