/* The calls of the table that have a function of their own. */
#ifndef UDOCKER_OWN_H
#define UDOCKER_OWN_H

#include "calls.h"

long own_carry_out(struct process *process, const struct call *call, uint64_t *mask);

/* From calls.c: 0 when something is at host, whatever it is; else -errno. */
long host_exists(const char *host);

/*
 * From calls.c: whether what was resolved last may be accessed so (enum access of table.h), as far
 * as that is a matter of mounts and of owners. 0 or -errno. The same for what a descriptor is open
 * on, which is to be changed.
 */
long may_access(struct process *process, const struct workspace *space, int access);
long may_change_descriptor(const struct process *process, long descriptor);

/* From calls.c: whether a descriptor's file lies in the container, and not on a mount. */
bool descriptor_is_inside(const struct process *process, long descriptor);

/*
 * From own_files.c: the call with host paths in place of the guest's, or on a descriptor; modes,
 * owners and extended attributes are seen to. mount: that the path lies on; NULL: not known yet.
 */
long carry_out_on_host(struct process *process, const struct call *call, const struct mount *mount);

/* From own_files.c: chdir(2) or fchdir(2), as it is. */
long change_directory(const struct call *call);

/* From own_files.c: whether what the caller makes belongs to somebody whom the host does not know.
 */
bool makes_for_others(struct process *process);
void give_new(struct process *process, long descriptor);

/*
 * A file of the container's whose mode keeps its owner out gets one on the host that does not, if
 * the caller is root; its own is remembered. Whether it has.
 */
bool let_root_in(struct process *process, long descriptor);

/*
 * Before and after a call that makes an entry; others are left as they are. taken: rights that it
 * has on the host only. 0 or -errno.
 */
long make_begin(struct process *process, struct call *call, const struct mount *mount,
                unsigned *taken);
void make_end(struct process *process, const struct mount *mount, long dirfd, const char *path,
              unsigned taken);

/*
 * From own_permission.c: whether the caller may do what the kernel would let it do, by owners and
 * modes that the guest sees. 0 or -errno. Names are those of an ENTRY; wanted: as of access(2).
 */
bool permission_is_asked(struct process *process);
long permission_to_make(struct process *process, const struct workspace *space);
long permission_to_remove(struct process *process, const struct workspace *space);
long permission_to_use(struct process *process, const struct workspace *space, unsigned wanted);
bool permission_is_owner(struct process *process, unsigned uid);

/* Whether a file that was opened to be read is perhaps not the caller's to read. */
bool permission_may_lack(struct process *process, long descriptor);

/* From own_mappings.c: mmap(2) of a file, executable, or of its patched copy. */
long map_file(const struct guest *guest, const long *argument);

/* Where a link to the patched copy of a file is, if it has one; path: PATH_SIZE bytes. */
bool copy_path(const struct guest *guest, const struct status *status, char *path);

/* From own_open.c and own_links.c. */
long own_open_call(struct process *process, const struct call *call, struct workspace *space);
long own_link_call(struct process *process, const struct call *call, struct workspace *space);

/* From own_access.c, own_mappings.c, own_signals.c, own_identity.c and own_owner.c. */
long own_access_call(struct process *process, const struct call *call, struct workspace *space);
long own_map_call(struct process *process, const struct call *call);
long own_capability_call(struct process *process, const struct call *call);
long own_capability_prctl(struct process *process, const struct call *call); /* or -ENOSYS */
long own_identity_call(struct process *process, const struct call *call);
long own_owner_call(struct process *process, const struct call *call, struct workspace *space);
long own_signal_call(struct process *process, const struct call *call, uint64_t *mask);

/* From own_trace.c: ptrace(2) and wait4(2); and before the caller is another program. */
long own_trace_call(struct process *process, const struct call *call);
void own_trace_at_exec(struct process *process);

/* From own_credentials.c: struct ucred of unix(7). */
struct credentials {
    int pid;
    unsigned uid, gid;
};

/* Ids that the guest sends, while the host's are in their place; NULL: none. */
struct claim {
    struct credentials *place;
    struct credentials kept;
};

/* Who the caller is, for who is at the other end and will ask. */
void tell_peer(struct process *process);

/* Before and after a message is sent, and after one was received. 0 or -errno. */
long credentials_out(struct process *process, void *control, size_t size, struct claim *claim);
void credentials_back(const struct claim *claim);
void credentials_in(const struct guest *guest, void *control, size_t size);
void credentials_show(const struct guest *guest, struct credentials *peer);

/* From own_sockets.c: what names an address, and what is told one; that may take long. */
long own_send_call(struct process *process, const struct call *call, struct workspace *space);
long own_receive_call(struct process *process, const struct call *call);

#endif
