/*
 * What Python's standard library of 3.9 does not offer of the kernel: namespaces, mounts, and the
 * life of a child. Each function gives 0, or -1 with errno set; nearly all are one system call.
 */
#ifndef UDOCKER_NATIVE_H
#define UDOCKER_NATIVE_H

/* unshare(2) */
int udocker_unshare(int flags);

/* setns(2) */
int udocker_setns(int descriptor, int kind);

/* mount(2). NULL is allowed for source, kind and data, as the kernel allows it. */
int udocker_mount(const char *source, const char *target, const char *kind, unsigned long flags,
                  const char *data);

/* Make every mount at and below target read-only: mount_setattr(2), Linux 5.12; ENOSYS before. */
int udocker_mount_readonly(const char *target);

/* umount2(2) with MNT_DETACH. */
int udocker_unmount(const char *target);

/* pivot_root(2) with the old root put on top of the new one; "." is the new root. */
int udocker_pivot_here(void);

/*
 * Make the descriptor slot, which is open, one of a new mount of what is mounted at "/" in another
 * user namespace and mount namespace, given by descriptors. It is not mounted anywhere yet.
 */
int udocker_clone_root(int user_namespace, int mount_namespace, int slot);

/* Mount such a descriptor at target: move_mount(2), Linux 5.2. */
int udocker_attach(int tree, const char *target);

/* sethostname(2) */
int udocker_set_hostname(const char *name, size_t size);

/*
 * seccomp(2): from now on system calls are put to the filter of count instructions, in this process
 * and in all that come of it. Set-user-ID programs do nothing special there any more.
 */
int udocker_filter_calls(const char *instructions, unsigned short count);

/* Why seccomp(2) would take no filter from this process, as an errno; 0: it would. */
int udocker_filter_refusal(void);

/* prctl(2): the signal that this process gets when the thread that made it ends. */
int udocker_set_parent_death_signal(int signal);

/* prctl(2): orphans among the descendants become children of this process. */
int udocker_become_subreaper(void);

#endif
