/* What is done to files besides opening them, as far as it is about owners, modes and attributes.
 */
#include "mount_ids.h"
#include "own.h"
#include "pin.h"
#include "table.h"
#include "union_native.h"

enum {
    PERMISSIONS = 07777,
    GIVES_RIGHTS = 06000,
    USUAL = 0600, /* such a mode is the same on the host */
    DIRECTORY_RIGHTS = 0700,
    ROOTS_DIRECTORY = 0x10000, /* beside taken rights: the umask may take some, too */
    EOPNOTSUPP = 95,
    HIDDEN_SIZE = 14,
    LONGEST_LIST = 1 << 16, /* XATTR_LIST_MAX, xattr(7) */
    PAGE = 4096,
};

/* A call about a mode: where its arguments are. */
struct place {
    long dirfd;
    const char *path; /* NULL: the descriptor itself */
    int mode;         /* position */
};

static bool is_root(struct process *process) {
    return persona_can(persona_of(process), CAP_DAC_OVERRIDE);
}

bool makes_for_others(struct process *process) {
    if (!process->is_changed) {
        return false;
    }
    const struct persona *persona = persona_of(process);
    return persona->user.filesystem != process->guest.uid ||
           persona->group.filesystem != process->guest.gid;
}

/* Give what was just made to its maker. taken: rights that it has on the host only. */
static void give_made(struct process *process, long descriptor, unsigned taken) {
    const struct persona *persona = persona_of(process);
    struct file file;
    if (owners_look(descriptor, &file) == 0 && owners_can_be_kept(&file)) {
        struct owner owner = {persona->user.filesystem, persona->group.filesystem, AS_THE_FILE};
        if (taken != 0) { /* it shows the mode that it was made with, and has more */
            owner.mode = (int)(file.mode & PERMISSIONS & ~taken);
        }
        owners_set(&process->guest, descriptor, &file, owner, taken != 0, taken != 0);
    }
}

void give_new(struct process *process, long descriptor) {
    give_made(process, descriptor, 0);
}

static long open_place(const struct place *place, long flags) {
    return pin_open_at(place->dirfd, place->path, flags | O_PATH);
}

/* Where the mode is in a call that makes a file or directory; NONE: it is another call. */
static int mode_position(const struct call *call, bool *is_directory) {
    *is_directory = call->number == NR_mkdirat;
    switch (call->number) {
#ifdef ARCH_HAS_LEGACY
    case NR_mkdir:
        *is_directory = true;
        return 1;
    case NR_mknod:
        return 1;
#endif
    case NR_mkdirat:
    case NR_mknodat:
        return 2;
    default:
        return NONE;
    }
}

/* mount: where it lies; NULL: where dirfd does. */
static bool is_of_container(const struct process *process, const struct mount *mount, long dirfd) {
    return mount != NULL ? mount->target_size == 0 : descriptor_is_inside(process, dirfd);
}

/*
 * Root gets into its directories always. A character device with the number 0 is a whiteout of
 * overlayfs, which needs no privilege.
 */
long make_begin(struct process *process, struct call *call, const struct mount *mount,
                unsigned *taken) {
    bool is_directory;
    int position = mode_position(call, &is_directory);
    *taken = 0;
    if (position == NONE) {
        return 0;
    }
    unsigned mode = (unsigned)call->argument[position];
    if (!is_directory) {
        bool is_whiteout = (mode & S_IFMT) == S_IFCHR && call->argument[position + 1] == 0;
        return is_whiteout ? -EPERM : 0;
    }
    long dirfd = position == 2 ? call->argument[0] : AT_FDCWD;
    unsigned lacking = DIRECTORY_RIGHTS & ~mode;
    if (is_root(process) && (lacking == 0 || is_of_container(process, mount, dirfd))) {
        *taken = lacking | ROOTS_DIRECTORY;
        call->argument[position] = (long)(mode | lacking);
    }
    return 0;
}

static bool lets_root_in(long dirfd, const char *path) {
    struct status status;
    return kernel(NR_newfstatat, dirfd, (long)path, (long)&status, AT_SYMLINK_NOFOLLOW, 0, 0) ==
               0 &&
           (status.mode & DIRECTORY_RIGHTS) == DIRECTORY_RIGHTS;
}

/* What was made is the caller's. */
void make_end(struct process *process, const struct mount *mount, long dirfd, const char *path,
              unsigned taken) {
    if (taken == ROOTS_DIRECTORY &&
        (lets_root_in(dirfd, path) || !is_of_container(process, mount, dirfd))) {
        taken = 0;
    }
    if (taken == 0 && !makes_for_others(process)) {
        return;
    }
    long descriptor = open_place(&(struct place){dirfd, path, 0}, O_NOFOLLOW);
    if (descriptor >= 0) {
        give_made(process, descriptor, taken);
        pin_end(descriptor);
    }
}

static long make(struct process *process, const struct call *call, const struct place *place,
                 const struct mount *mount) {
    struct call changed = *call;
    unsigned taken;
    long result = make_begin(process, &changed, mount, &taken);
    result = result < 0 ? result : pass(&changed);
    if (result == 0) {
        make_end(process, mount, place->dirfd, place->path, taken);
    }
    return result;
}

/* Whether the file that descriptor is open on has got the mode; -ENOSYS: that is for the kernel. */
static long set_mode(struct process *process, long descriptor, unsigned mode,
                     const struct mount *mount) {
    struct file file;
    long result = owners_look(descriptor, &file);
    if (result < 0 || !owners_can_be_kept(&file) || file.uid != process->guest.host_uid) {
        return -ENOSYS;
    }
    struct owner owner = owners_find(&process->guest, &file, descriptor, NULL);
    if (!permission_is_owner(process, owner.uid) && owners_have_place(descriptor, NULL)) {
        return -EPERM;
    }
    owner.mode = (int)(mode & PERMISSIONS);
    bool is_inside = is_of_container(process, mount, descriptor);
    /* Files get rights when root opens them. */
    bool takes_rights = (file.mode & S_IFMT) == S_IFDIR && is_root(process);
    return owners_set(&process->guest, descriptor, &file, owner, is_inside, takes_rights);
}

/* chmod(2) */
static long change_mode(struct process *process, const struct call *call, const struct place *place,
                        long flags, const struct mount *mount) {
    unsigned mode = (unsigned)call->argument[place->mode];
    if (!(mode & GIVES_RIGHTS) && (mode & USUAL) == USUAL && !owners_are_known(&process->guest) &&
        !permission_is_asked(process)) {
        return pass(call);
    }
    if (place->path == NULL || place->path[0] == '\0') {
        long result = set_mode(process, place->dirfd, mode, mount);
        return result == -ENOSYS ? pass(call) : result;
    }
    long descriptor = open_place(place, flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0);
    long result = -ENOSYS;
    if (descriptor >= 0) {
        result = set_mode(process, descriptor, mode, mount);
        pin_end(descriptor);
    }
    return result == -ENOSYS ? pass(call) : result;
}

/* Calls with the name of an attribute in that argument. */
static long with_name(const struct call *call, int position) {
    const char *name = (const char *)call->argument[position];
    bool is_there = page_is_there(name) && ((uintptr_t)name % PAGE < PAGE - HIDDEN_SIZE ||
                                            page_is_there(name + HIDDEN_SIZE));
    return is_there && owners_hide(name) ? -EOPNOTSUPP : pass(call);
}

/* Take the hidden names out of a list of that size. What is left. */
static long without_hidden(char *list, long size) {
    long kept = 0;
    for (long at = 0; at < size;) {
        long length = (long)length_of(list + at) + 1;
        if (!owners_hide(list + at)) {
            move_bytes(list + kept, list + at, (size_t)length);
            kept += length;
        }
        at += length;
    }
    return kept;
}

/* listxattr(2): the list is in argument number position, its size behind it. */
static long list_names(const struct call *call, int position) {
    enum { PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22 };
    struct call changed = *call;
    char *target = (char *)call->argument[position];
    unsigned long room = (unsigned long)call->argument[position + 1];
    long list = kernel(NR_mmap, 0, LONGEST_LIST, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (failed(list)) {
        return list;
    }
    changed.argument[position] = list;
    changed.argument[position + 1] = LONGEST_LIST;
    long size = pass(&changed);
    if (size > 0) {
        size = without_hidden((char *)list, size);
    }
    if (size > 0 && room > 0) {
        if ((unsigned long)size > room) {
            size = -ERANGE;
        } else if (!memory_is_writable(target, (size_t)size)) {
            size = -EFAULT;
        } else {
            copy_bytes(target, (const char *)list, (size_t)size);
        }
    }
    kernel(NR_munmap, list, LONGEST_LIST, 0, 0, 0, 0);
    return size;
}

static long about_attributes(const struct call *call) {
    switch (call->number) {
    case NR_listxattr:
    case NR_llistxattr:
    case NR_flistxattr:
        return list_names(call, 1);
    case NR_listxattrat:
        return list_names(call, 3);
    case NR_setxattrat:
    case NR_getxattrat:
    case NR_removexattrat:
        return with_name(call, 3);
    case NR_setxattr:
    case NR_lsetxattr:
    case NR_fsetxattr:
    case NR_getxattr:
    case NR_lgetxattr:
    case NR_fgetxattr:
    case NR_removexattr:
    case NR_lremovexattr:
    case NR_fremovexattr:
        return with_name(call, 1);
    default:
        return pass(call);
    }
}

bool let_root_in(struct process *process, long descriptor) {
    const struct guest *guest = &process->guest;
    struct file file;
    if (!is_root(process) || owners_look(descriptor, &file) < 0 || !owners_can_be_kept(&file) ||
        (file.mode & USUAL) == USUAL || file.uid != guest->host_uid) {
        return false;
    }
    struct owner owner = owners_find(guest, &file, descriptor, NULL);
    return owners_set(guest, descriptor, &file, owner, true, true) == 0;
}

/* Attributes are of those who may read the file, or write it; and root may. */
static bool take_rights(struct process *process, const struct call *call,
                        const struct mount *mount) {
    bool is_open = call->number == NR_fsetxattr || call->number == NR_fgetxattr ||
                   call->number == NR_fremovexattr;
    if (!is_open && call->number != NR_setxattr && call->number != NR_getxattr &&
        call->number != NR_removexattr) {
        return false;
    }
    const struct place place = {AT_FDCWD, (const char *)call->argument[0], NONE};
    if (!is_of_container(process, mount, is_open ? call->argument[0] : AT_FDCWD)) {
        return false;
    }
    long descriptor = is_open ? call->argument[0] : open_place(&place, 0);
    bool is_taken = descriptor >= 0 && let_root_in(process, descriptor);
    if (!is_open && descriptor >= 0) {
        pin_end(descriptor);
    }
    return is_taken;
}

long change_directory(const struct call *call) {
    working_directory_moves();
    long result = pass(call);
    working_directory_moved();
    return result;
}

long carry_out_on_host(struct process *process, const struct call *call,
                       const struct mount *mount) {
    const long *a = call->argument;
    const struct place first = {AT_FDCWD, (const char *)a[0], 1};
    const struct place second = {a[0], (const char *)a[1], 2};
    switch (call->number) {
#ifdef ARCH_HAS_LEGACY
    case NR_chmod:
        return change_mode(process, call, &first, 0, mount);
    case NR_mkdir:
        return make(process, call, &first, mount);
    case NR_mknod:
        return make(process, call, &first, mount);
#endif
    case NR_chdir:
        return change_directory(call);
    case NR_fchmodat:
        return change_mode(process, call, &second, 0, mount);
    case NR_fchmodat2:
        return change_mode(process, call, &second, a[3], mount);
    case NR_fchmod:
        return change_mode(process, call, &(struct place){a[0], NULL, 1}, 0, NULL);
    case NR_mkdirat:
        return make(process, call, &second, mount);
    case NR_mknodat:
        return make(process, call, &second, mount);
    case NR_name_to_handle_at:
        return mount_of_handle(&process->guest, call, mount);
    default:
        (void)first;
        break;
    }
    long result = about_attributes(call);
    return result == -EACCES && take_rights(process, call, mount) ? about_attributes(call) : result;
}
