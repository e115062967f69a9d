/*
 * Who may do what, where the kernel cannot tell: the guest began as one user and is another one
 * now, to whom files belong that on the host are all the same user's. On mounts, about files whose
 * owners cannot be remembered, and where the file system cannot, the kernel has the only say.
 */
#include "own.h"
#include "union.h"

enum { STICKY = 01000, OTHERS = 07, CAP_FOWNER = 3 };

/* What is at a path of the host, as the guest is to see it. */
struct seen {
    struct owner owner;
    unsigned mode;
};

bool permission_is_asked(struct process *process) {
    if (!process->is_changed || process->guest.owners.marks == NULL) {
        return false;
    }
    const struct persona *persona = persona_of(process);
    return persona->user.filesystem != process->guest.uid &&
           !persona_can(persona, CAP_DAC_OVERRIDE);
}

static bool see(const struct guest *guest, long dirfd, const char *path, struct seen *seen) {
    struct status status;
    long flags = AT_SYMLINK_NOFOLLOW | (path[0] == '\0' ? AT_EMPTY_PATH : 0);
    if (kernel(NR_newfstatat, dirfd, (long)path, (long)&status, flags, 0, 0) != 0) {
        return false;
    }
    struct file file = {status.device, status.inode, status.mode, status.uid, status.gid};
    if (file.uid != guest->host_uid || !owners_can_be_kept(&file)) {
        return false;
    }
    seen->owner = owners_find(guest, &file, dirfd, path);
    seen->mode = seen->owner.mode == AS_THE_FILE ? file.mode : (unsigned)seen->owner.mode;
    return true;
}

static bool allows(const struct persona *persona, const struct seen *seen, unsigned wanted) {
    unsigned mode = seen->mode & OTHERS;
    if (seen->owner.uid == persona->user.filesystem) {
        mode = seen->mode >> 6 & OTHERS;
    } else if (persona_is_in_group(persona, seen->owner.gid)) {
        mode = seen->mode >> 3 & OTHERS;
    }
    return (mode & wanted) == wanted;
}

/* Where a path of the guest, on that mount, is on the host. */
static bool find(const struct guest *guest, const struct mount *mount, const char *path,
                 size_t size, char *host) {
    struct status status;
    if (mount->lower == NULL) {
        return guest_to_host(guest, path, size, host) >= 0;
    }
    return union_locate(guest, mount, path, size, host, &status) > NOWHERE;
}

/* Whether the sticky bit keeps an entry in its directory. */
static bool is_stuck(const struct persona *persona, const struct seen *directory,
                     const struct seen *entry) {
    unsigned user = persona->user.filesystem;
    return directory->mode & STICKY && directory->owner.uid != user && entry->owner.uid != user &&
           !persona_can(persona, CAP_FOWNER);
}

static long ask_directory(struct process *process, const struct workspace *space, char *host,
                          bool must_be_there) {
    enum { WRITE_SEARCH = 3 };
    const struct guest *guest = &process->guest;
    const struct persona *persona = persona_of(process);
    struct seen directory;
    struct seen entry;
    size_t size = length_of(space->guest);
    size_t end = size;
    bool is_there = find(guest, space->mount, space->guest, size, host) && host_exists(host) == 0;
    if (is_there != must_be_there) {
        return 0; /* the kernel will say so */
    }
    bool has_entry = is_there && see(guest, AT_FDCWD, host, &entry);
    while (end > 0 && space->guest[end - 1] != '/') {
        end--;
    }
    if (end == 0 || !find(guest, space->mount, space->guest, end - 1, host) ||
        !see(guest, AT_FDCWD, host, &directory)) {
        return 0;
    }
    long result = has_entry && is_stuck(persona, &directory, &entry) ? -EPERM : 0;
    result = allows(persona, &directory, WRITE_SEARCH) ? result : -EACCES;
    return result < 0 && owners_have_place(AT_FDCWD, host) ? result : 0;
}

static long permission_of_name(struct process *process, const struct workspace *space,
                               bool must_be_there) {
    if (!permission_is_asked(process) || space->mount->target_size != 0) {
        return 0;
    }
    struct workspace *other = workspace_take();
    if (other == NULL) {
        return -ENOMEM;
    }
    long result = ask_directory(process, space, other->host, must_be_there);
    workspace_give_back(other);
    return result;
}

long permission_to_make(struct process *process, const struct workspace *space) {
    return permission_of_name(process, space, false);
}

long permission_to_remove(struct process *process, const struct workspace *space) {
    return permission_of_name(process, space, true);
}

long permission_to_use(struct process *process, const struct workspace *space, unsigned wanted) {
    struct seen seen;
    if (!permission_is_asked(process) || space->mount->target_size != 0 || space->is_magic ||
        !see(&process->guest, AT_FDCWD, space->host, &seen)) {
        return 0;
    }
    bool is_kept_out =
        !allows(persona_of(process), &seen, wanted) && owners_have_place(AT_FDCWD, space->host);
    return is_kept_out ? -EACCES : 0;
}

bool permission_may_lack(struct process *process, long descriptor) {
    enum { READ_BIT = 4 };
    struct seen seen;
    return permission_is_asked(process) && see(&process->guest, descriptor, "", &seen) &&
           !allows(persona_of(process), &seen, READ_BIT);
}

bool permission_is_owner(struct process *process, unsigned uid) {
    const struct persona *persona = persona_of(process);
    return !permission_is_asked(process) || persona->user.filesystem == uid ||
           persona_can(persona, CAP_FOWNER);
}
