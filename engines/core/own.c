#include "own.h"
#include "pin.h"
#include "union.h"

enum {
    PR_GET_SECCOMP = 21,
    PR_SET_SECCOMP = 22,
    PR_SET_NO_NEW_PRIVS = 38,
    PR_GET_NO_NEW_PRIVS = 39,
    SECCOMP_MODE_STRICT = 1,
    SECCOMP_MODE_FILTER = 2,
    SECCOMP_SET_MODE_STRICT = 0,
    SECCOMP_SET_MODE_FILTER = 1,
    SECCOMP_FLAGS = 0x17,         /* those that need no one to listen */
    FILTER_SIZE = 16,             /* of struct sock_fprog */
    FS_IOC_SETFLAGS = 0x40086602, /* <linux/fs.h>, <linux/fsverity.h> */
    FS_IOC_FSSETXATTR = 0x401c5820,
    FS_IOC_SETVERSION = 0x40087602,
    FS_IOC_ENABLE_VERITY = 0x40806685,
};

static long call_getcwd(struct process *process, const struct call *call, struct workspace *space) {
    long size = path_of_directory(&process->guest, AT_FDCWD, space);
    if (size < 0) {
        return size;
    }
    size = guest_from_root(&process->guest, space->guest, (size_t)size);
    if (size < 0) {
        return size;
    }
    if ((unsigned long)call->argument[1] < (unsigned long)size + 1) {
        return -ERANGE;
    }
    if (!memory_is_writable((void *)call->argument[0], (size_t)size + 1)) {
        return -EFAULT;
    }
    copy_bytes((char *)call->argument[0], space->guest, (size_t)size);
    ((char *)call->argument[0])[size] = '\0';
    return size + 1;
}

static long call_chroot(struct process *process, const struct call *call, struct workspace *space) {
    enum { X_OK = 1 };
    const char *path = (const char *)call->argument[0];
    struct status status;
    long result = path_resolve(&process->guest, AT_FDCWD, path, FOLLOW, space);
    if (result == 0) {
        result = kernel(NR_newfstatat, AT_FDCWD, (long)space->host, (long)&status, 0, 0, 0);
    }
    if (result == 0 && (space->is_deep || (status.mode & S_IFMT) != S_IFDIR)) {
        result = space->is_deep ? -ENAMETOOLONG : -ENOTDIR;
    }
    if (result == 0) {
        result = kernel(NR_faccessat, AT_FDCWD, (long)space->host, X_OK, 0, 0, 0);
    }
    if (result < 0 || !persona_can(persona_of(process), CAP_SYS_CHROOT)) {
        return result < 0 ? result : -EPERM;
    }
    struct persona *persona = persona_to_change(process);
    size_t size = length_of(space->guest);
    persona->root_size = size == 1 ? 0 : size;
    copy_bytes(persona->root, space->guest, persona->root_size);
    persona->root[persona->root_size] = '\0';
    persona_obey_root(process);
    return 0;
}

static long take_filter(struct process *process, unsigned mode, long flags, long program) {
    bool is_strict = mode == SECCOMP_SET_MODE_STRICT;
    if (flags & ~(long)SECCOMP_FLAGS || (is_strict && (flags != 0 || program != 0))) {
        return -EINVAL;
    }
    if (!is_strict && !memory_is_there((const void *)program, FILTER_SIZE)) {
        return -EFAULT;
    }
    if (!is_strict && !process->no_new_privs && persona_of(process)->user.effective != 0) {
        return -EACCES;
    }
    long result = process->restrict_calls(flags, program);
    process->has_filter = process->has_filter || result == 0;
    return result;
}

static long call_seccomp(struct process *process, const struct call *call) {
    const long *a = call->argument;
    unsigned mode = (unsigned)a[0];
    return mode > SECCOMP_SET_MODE_FILTER ? pass(call) : take_filter(process, mode, a[1], a[2]);
}

static long call_prctl(struct process *process, const struct call *call) {
    const long *a = call->argument;
    switch ((int)a[0]) {
    case PR_GET_SECCOMP:
        return process->has_filter ? SECCOMP_MODE_FILTER : 0;
    case PR_SET_SECCOMP:
        switch (a[1]) {
        case SECCOMP_MODE_STRICT:
            return take_filter(process, SECCOMP_SET_MODE_STRICT, 0, 0);
        case SECCOMP_MODE_FILTER:
            return take_filter(process, SECCOMP_SET_MODE_FILTER, 0, a[2]);
        default:
            return -EINVAL;
        }
    case PR_SET_NO_NEW_PRIVS: {
        long result = pass(call);
        process->no_new_privs = process->no_new_privs || result == 0;
        return result;
    }
    case PR_GET_NO_NEW_PRIVS:
        return process->no_new_privs;
    default: {
        long result = own_capability_prctl(process, call);
        return result == -ENOSYS ? pass(call) : result;
    }
    }
}

/* Requests that change the file itself, though it is open to be read only. */
static long call_ioctl(struct process *process, const struct call *call, struct workspace *space) {
    struct call changed = *call;
    long result = 0;
    switch ((unsigned)call->argument[1]) {
    case FS_IOC_SETFLAGS:
    case FS_IOC_FSSETXATTR:
    case FS_IOC_SETVERSION:
    case FS_IOC_ENABLE_VERITY:
        result = union_descriptor_to_change(&process->guest, call->argument[0], space);
    }
    if (result <= 0) {
        return result < 0 ? result : pass(call);
    }
    result = pin_open(space->host, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    if (result >= 0) {
        changed.argument[0] = result;
        result = pass(&changed);
        pin_end(changed.argument[0]);
    }
    return result;
}

static long with_space(struct process *process, const struct call *call, struct workspace *space) {
    switch (call->number) {
#ifdef ARCH_HAS_LEGACY
    case NR_open:
    case NR_creat:
#endif
    case NR_openat:
    case NR_openat2:
        return own_open_call(process, call, space);
#ifdef ARCH_HAS_LEGACY
    case NR_readlink:
    case NR_symlink:
#endif
    case NR_readlinkat:
    case NR_symlinkat:
        return own_link_call(process, call, space);
#ifdef ARCH_HAS_LEGACY
    case NR_access:
#endif
    case NR_faccessat:
    case NR_faccessat2:
        return own_access_call(process, call, space);
    case NR_getcwd:
        return call_getcwd(process, call, space);
    case NR_ioctl:
        return call_ioctl(process, call, space);
    case NR_chroot:
        return call_chroot(process, call, space);
#ifdef ARCH_HAS_LEGACY
    case NR_stat:
    case NR_lstat:
    case NR_chown:
    case NR_lchown:
#endif
    case NR_fstat:
    case NR_newfstatat:
    case NR_statx:
    case NR_fchown:
    case NR_fchownat:
        return own_owner_call(process, call, space);
    default:
        return own_send_call(process, call, space);
    }
}

static long with_new_space(struct process *process, const struct call *call) {
    struct workspace *space = workspace_take();
    if (space == NULL) {
        return -ENOMEM;
    }
    long result = with_space(process, call, space);
    workspace_give_back(space);
    return result;
}

long own_carry_out(struct process *process, const struct call *call, uint64_t *mask) {
    const long *a = call->argument;
    switch (call->number) {
    case NR_execve:
        return process->execute(process, AT_FDCWD, (const char *)a[0], (char *const *)a[1],
                                (char *const *)a[2], 0);
    case NR_execveat:
        return process->execute(process, a[0], (const char *)a[1], (char *const *)a[2],
                                (char *const *)a[3], a[4]);
    case NR_fchdir:
        return change_directory(call);
    case NR_mmap:
        return own_map_call(process, call);
    case NR_getdents64:
#ifdef ARCH_HAS_LEGACY
    case NR_getdents:
#endif
        return union_list(&process->guest, call);
    case NR_capget:
    case NR_capset:
        return own_capability_call(process, call);
    case NR_prctl:
        return call_prctl(process, call);
    case NR_seccomp:
        return call_seccomp(process, call);
    case NR_getuid:
    case NR_getgid:
    case NR_geteuid:
    case NR_getegid:
    case NR_setuid:
    case NR_setgid:
    case NR_setreuid:
    case NR_setregid:
    case NR_getgroups:
    case NR_setgroups:
    case NR_setresuid:
    case NR_getresuid:
    case NR_setresgid:
    case NR_getresgid:
    case NR_setfsuid:
    case NR_setfsgid:
        return own_identity_call(process, call);
    case NR_ptrace:
    case NR_wait4:
        return own_trace_call(process, call);
    case NR_rt_sigaction:
    case NR_rt_sigprocmask:
    case NR_rt_sigsuspend:
    case NR_rt_sigpending:
    case NR_rt_sigtimedwait:
    case NR_pselect6:
    case NR_ppoll:
    case NR_epoll_pwait:
    case NR_epoll_pwait2:
        return own_signal_call(process, call, mask);
    case NR_accept:
    case NR_accept4:
    case NR_getsockname:
    case NR_getpeername:
    case NR_recvfrom:
    case NR_recvmsg:
    case NR_recvmmsg:
    case NR_getsockopt:
        return own_receive_call(process, call);
    default:
        return with_new_space(process, call);
    }
}
