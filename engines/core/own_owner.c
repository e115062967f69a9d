/* stat(2) and chown(2) in all their forms: owners are the guest's own. */
#include "mount_ids.h"
#include "own.h"
#include "pin.h"
#include "proc_owner.h"
#include "quick.h"
#include "table.h"
#include "union.h"
#include "union_facts.h"
#include "union_native.h"

enum {
    AT_NO_AUTOMOUNT = 0x800,
    AT_STATX_SYNC_TYPE = 0x6000,
    STATX_NEEDED = 0x11b, /* the type, the mode, the owners and the inode */
    STATX_MNT_ID = 0x1000,
    STATX_MNT_ID_UNIQUE = 0x4000,
    PERMISSIONS = 07777,
    SETUID = 04000,
    SETGID = 02000,
    MAY_EXECUTE = 0111,
    GROUP_MAY_EXECUTE = 0010,
};

/* struct statx of <linux/stat.h>. */
struct extended_status {
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t links, uid, gid;
    uint16_t mode, padding;
    uint64_t inode, size, blocks, known_attributes;
    uint64_t times[8];
    uint32_t special[2];
    uint32_t device_major, device_minor;
    uint64_t mount_id;
};

/* A question about a file: stat(2) or statx(2). */
struct question {
    bool is_extended;
    long flags;
    long mask; /* of statx */
    void *answer;
};

/* As the kernel writes it for stat(2): new_encode_dev of <linux/kdev_t.h>. */
static uint64_t device_of(uint32_t major, uint32_t minor) {
    return (minor & 0xff) | (uint64_t)major << 8 | (uint64_t)(minor & ~(uint32_t)0xff) << 12;
}

static unsigned shown_mode(unsigned mode, const struct owner *owner) {
    return owner->mode == AS_THE_FILE ? mode
                                      : (mode & ~(unsigned)PERMISSIONS) | (unsigned)owner->mode;
}

/* Put the guest's owners into the answer; dirfd and path are what was asked about. */
static void show(const struct process *process, const struct question *question, long dirfd,
                 const char *path) {
    if (question->is_extended) {
        struct extended_status *status = question->answer;
        struct file file = {device_of(status->device_major, status->device_minor), status->inode,
                            status->mode, status->uid, status->gid};
        struct owner owner = owners_find(&process->guest, &file, dirfd, path);
        status->uid = owner.uid;
        status->gid = owner.gid;
        status->mode = (uint16_t)shown_mode(status->mode, &owner);
    } else {
        struct status *status = question->answer;
        struct file file = {status->device, status->inode, status->mode, status->uid, status->gid};
        struct owner owner = owners_find(&process->guest, &file, dirfd, path);
        status->uid = owner.uid;
        status->gid = owner.gid;
        status->mode = shown_mode(status->mode, &owner);
    }
}

static bool asks_for_mount(const struct question *question) {
    return question->is_extended && question->mask & (STATX_MNT_ID | STATX_MNT_ID_UNIQUE);
}

/* Numbers that are never used again go with calls that the guest has not. */
static long mask_of(const struct question *question) {
    return (question->mask & ~(long)STATX_MNT_ID_UNIQUE) | STATX_NEEDED;
}

/* The kernel tells the number of the host's mount, asked or not. mount: NULL, not known. */
static void show_mount(const struct process *process, const struct question *question,
                       const struct mount *mount) {
    struct extended_status *status = question->answer;
    if (status->mask & STATX_MNT_ID) {
        status->mount_id = mount_shown(&process->guest, mount, status->mount_id);
    }
}

static long ask(const struct process *process, const struct question *question, long dirfd,
                const char *path, long flags) {
    const struct guest *guest = &process->guest;
    if (question->is_extended) {
        long result = kernel(NR_statx, dirfd, (long)path, flags, mask_of(question),
                             (long)question->answer, 0);
        if (result == 0 && !asks_for_mount(question)) {
            ((struct extended_status *)question->answer)->mask &= ~(uint32_t)STATX_MNT_ID;
        }
        if (result == 0) {
            show(process, question, dirfd, path);
            union_show_extended(guest, question->answer, dirfd, path, flags);
        }
        return result;
    }
    long result = kernel(NR_newfstatat, dirfd, (long)path, (long)question->answer, flags, 0, 0);
    if (result == 0) {
        show(process, question, dirfd, path);
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
    long result = ask(process, question, dirfd, path, question->flags | AT_SYMLINK_NOFOLLOW);
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

/* By opening it: the kernel sees to it that there is no link. */
static long ask_opened(struct process *process, const struct question *question, long dirfd,
                       const char *path, const struct shape *shape, char *host) {
    long flags = question->flags;
    long open_flags = O_PATH | O_CLOEXEC | (flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0);
    long descriptor = quick_open(&process->guest, dirfd, path, shape, open_flags, 0, host);
    if (descriptor < 0) {
        bool is_no_answer = descriptor == -ELOOP || descriptor == -EMFILE || descriptor == -ENFILE;
        return is_no_answer ? -ENOSYS : descriptor;
    }
    long result = ask(process, question, descriptor, "", flags | AT_EMPTY_PATH);
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    return result;
}

/* A path of several parts of which it is known that the kernel meets no link before the last. */
static long ask_native(struct process *process, const struct question *question, const char *path,
                       const struct shape *shape, const struct native *native, char *host) {
    if (shape->is_absolute) {
        if (quick_path(&process->guest, AT_FDCWD, path, shape, UPPER, host) < 0) {
            return -ENOSYS;
        }
        path = host;
    }
    long result = ask_name(process, question, AT_FDCWD, path);
    return native_holds(&process->guest, native) ? result : -ENOSYS;
}

/* Without the walk, where there are no links; -ENOSYS where it is needed. */
static long quick_ask(struct process *process, const struct question *question, long dirfd,
                      const char *path, char *host) {
    const struct guest *guest = &process->guest;
    struct shape shape;
    bool is_known =
        !(question->flags & ~(long)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH |
                                    (question->is_extended ? AT_STATX_SYNC_TYPE : 0)));
    if (!is_known || !quick_shape(guest, path, &shape)) {
        return -ENOSYS;
    }
    struct native native = {.can_be_known = false};
    bool is_below = (int)dirfd == AT_FDCWD && shape.is_simple && !shape.is_single;
    if (!shape.is_absolute && is_below && native_begin(guest, path, shape.above, false, &native)) {
        return ask_native(process, question, path, &shape, &native, host);
    }
    uint64_t generation = 0;
    bool may_note = facts_are_usable(guest, &generation);
    enum folder folder = quick_folder(guest, dirfd, path, &shape);
    if (folder == UNKNOWN_FOLDER) {
        return -ENOSYS;
    }
    if (folder == MERGED || (folder == ONLY_LOWER && shape.is_absolute)) {
        return ask_in_union(process, question, folder, dirfd, path, &shape, host);
    }
    if (shape.is_single) {
        long result = ask_name(process, question, dirfd, path);
        if (result == 0 && folder == ONLY_LOWER && may_note && !question->is_extended &&
            is_kind(question, S_IFDIR)) {
            const struct status *status = question->answer;
            union_note_below(guest, dirfd, status->device, status->inode, generation);
        }
        return result;
    }
    if (shape.is_absolute && guest_mount(guest, path, shape.size)->lower != NULL &&
        native_begin(guest, path, shape.above, true, &native)) {
        return ask_native(process, question, path, &shape, &native, host);
    }
    bool may_learn = folder == NATIVE && native_may_learn(guest, &native);
    long result = ask_opened(process, question, dirfd, path, &shape, host);
    if (may_learn && result == 0) {
        native_learn(guest, &native);
    }
    return result;
}

static unsigned *uid_of(const struct question *question) {
    return question->is_extended ? &((struct extended_status *)question->answer)->uid
                                 : &((struct status *)question->answer)->uid;
}

static unsigned *gid_of(const struct question *question) {
    return question->is_extended ? &((struct extended_status *)question->answer)->gid
                                 : &((struct status *)question->answer)->gid;
}

/* What is below /proc/PID belongs to whom the process runs as. */
static void show_process(const struct process *process, const struct question *question,
                         long result, const char *path) {
    unsigned long pid = result == 0 ? proc_of_path(&process->guest, path) : 0;
    if (pid != 0 && *uid_of(question) == process->guest.uid) {
        proc_owner(&process->guest, pid, uid_of(question), gid_of(question));
    }
}

static long status_at(struct process *process, const struct question *question, long dirfd,
                      const char *path, struct workspace *space) {
    long flags = question->flags;
    if (path == NULL || (flags & AT_EMPTY_PATH && path_is_empty(path))) {
        long result = ask(process, question, dirfd, path, flags);
        if (result == 0 && asks_for_mount(question)) {
            show_mount(process, question, mount_of_descriptor(&process->guest, dirfd));
        }
        return result;
    }
    bool with_mount = asks_for_mount(question);
    long result = with_mount ? -ENOSYS : quick_ask(process, question, dirfd, path, space->host);
    if (result == -ENOSYS) {
        enum last last = flags & AT_SYMLINK_NOFOLLOW ? KEEP : FOLLOW;
        result = path_resolve(&process->guest, dirfd, path, last, space);
        result = result < 0 ? result : ask(process, question, AT_FDCWD, space->host, flags);
        if (result == 0 && with_mount) {
            show_mount(process, question, space->mount);
        }
    }
    show_process(process, question, result, path);
    return result;
}

static long call_fstat(struct process *process, const struct call *call) {
    const struct question question = {.answer = (void *)call->argument[1]};
    long result = pass(call);
    if (result == 0) {
        show(process, &question, call->argument[0], NULL);
        union_show(&process->guest, question.answer, call->argument[0], "", AT_EMPTY_PATH);
    }
    return result;
}

/* Whether the guest may give to new what is old's: root may, others may change their own group. */
static bool may_give(const struct persona *persona, const struct owner *old,
                     const struct owner *new) {
    unsigned user = persona->user.filesystem;
    return user == 0 || (old->uid == user && new->uid == user &&
                         (new->gid == old->gid || persona_is_in_group(persona, new->gid)));
}

/* A program that changes hands gives its rights to nobody: chown(2). */
static unsigned mode_without_rights(unsigned mode) {
    if ((mode & S_IFMT) != S_IFREG || !(mode & MAY_EXECUTE)) {
        return mode & PERMISSIONS;
    }
    mode &= ~(unsigned)SETUID;
    return (mode & GROUP_MAY_EXECUTE ? mode & ~(unsigned)SETGID : mode) & PERMISSIONS;
}

enum { NONE_COPIED = -4096 };

/* What descriptor is open on is to be changed: a descriptor of the copy, if that had to be made. */
static long copied_up(struct process *process, long descriptor) {
    struct workspace *space = process->guest.has_union ? workspace_take() : NULL;
    if (space == NULL) {
        return process->guest.has_union ? -ENOMEM : NONE_COPIED;
    }
    long result = union_descriptor_to_change(&process->guest, descriptor, space);
    if (result > 0) {
        result = pin_open(space->host, O_PATH | O_NOFOLLOW);
    } else if (result == 0) {
        result = NONE_COPIED;
    }
    workspace_give_back(space);
    return result;
}

/* Change the owner of what descriptor is open on, with O_PATH, too. */
static long give(struct process *process, long descriptor, const long *ids) {
    const struct guest *guest = &process->guest;
    const struct persona *persona = persona_of(process);
    struct file file;
    long result = owners_look(descriptor, &file);
    if (result < 0) {
        return result;
    }
    struct owner old = owners_find(guest, &file, descriptor, NULL);
    struct owner new = old;
    new.uid = (int)ids[0] == -1 ? old.uid : (unsigned)ids[0];
    new.gid = (int)ids[1] == -1 ? old.gid : (unsigned)ids[1];
    if (!may_give(persona, &old, &new)) {
        return -EPERM;
    }
    if (!owners_can_be_kept(&file) || file.uid != guest->host_uid) {
        return 0;
    }
    unsigned mode = shown_mode(file.mode, &old);
    new.mode = (int)mode_without_rights(mode);
    if (new.uid == old.uid &&new.gid == old.gid &&new.mode == (int)(mode & PERMISSIONS)) {
        return 0;
    }
    bool is_inside = descriptor_is_inside(process, descriptor);
    bool takes_rights = (file.mode & S_IFMT) == S_IFDIR && persona_can(persona, CAP_DAC_OVERRIDE);
    long copy = copied_up(process, descriptor);
    if (copy < 0 && copy != NONE_COPIED) {
        return copy;
    }
    if (copy == NONE_COPIED) {
        return owners_set(guest, descriptor, &file, new, is_inside, takes_rights);
    }
    result = owners_look(copy, &file);
    if (result == 0) {
        result = owners_set(guest, copy, &file, new, is_inside, takes_rights);
    }
    pin_end(copy);
    return result;
}

static long give_descriptor(struct process *process, long descriptor, const long *ids) {
    long result = kernel(NR_fcntl, descriptor, 1 /* F_GETFD */, 0, 0, 0, 0);
    if (result >= 0) {
        result = may_change_descriptor(process, descriptor);
    }
    return result < 0 ? result : give(process, descriptor, ids);
}

static long give_host(struct process *process, const char *host, long flags, const long *ids) {
    long descriptor =
        flags & O_NOFOLLOW ? pin_open(host, O_PATH | flags) : pin_open_at(AT_FDCWD, host, O_PATH);
    if (descriptor < 0) {
        return descriptor;
    }
    long result = give(process, descriptor, ids);
    pin_end(descriptor);
    return result;
}

static long give_working_directory(struct process *process, const long *ids) {
    long result = may_change_descriptor(process, AT_FDCWD);
    return result < 0 ? result : give_host(process, ".", 0, ids);
}

static long chown_at(struct process *process, long dirfd, const char *path, const long *ids,
                     long flags, struct workspace *space) {
    if (flags & ~(long)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) {
        return -EINVAL;
    }
    if (flags & AT_EMPTY_PATH && path_is_empty(path)) {
        return (int)dirfd == AT_FDCWD ? give_working_directory(process, ids)
                                      : give_descriptor(process, dirfd, ids);
    }
    bool keeps = flags & AT_SYMLINK_NOFOLLOW;
    long result = path_resolve(&process->guest, dirfd, path, keeps ? KEEP : FOLLOW, space);
    if (result == 0) {
        result = may_access(process, space, CHANGE);
    }
    if (result < 0) {
        return result;
    }
    return give_host(process, space->host, keeps || !space->is_magic ? O_NOFOLLOW : 0, ids);
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
