/*
 * The union of an upper directory and a lower one that is only read, in the format that overlayfs
 * has on disk (https://docs.kernel.org/filesystems/overlayfs.html): a character device 0:0 hides
 * what the lower directory has of that name, and so does a directory with the extended attribute
 * user.overlay.opaque all that lies below it.
 */
#ifndef UDOCKER_UNION_H
#define UDOCKER_UNION_H

#include "calls.h"

/* What a directory is: how its names are to be looked up. */
enum folder {
    UNKNOWN_FOLDER,
    ONLY_LOWER, /* and so all below it */
    MERGED,     /* in both, and both count */
    NATIVE,     /* the lower one has nothing to say, or it belongs to no union */
};

/* The host path of a guest path of a union in one of the layers; its size or -errno. */
long union_path(const struct mount *mount, enum layer layer, const char *path, size_t size,
                char *host);

/*
 * Where canonical guest path, of a mount that is a union, is: the layer, or -errno. host is given
 * the path there, and with NOWHERE the one in the upper directory, where there may be a whiteout.
 * No directory above it may be a symbolic link.
 */
long union_locate(const struct guest *guest, const struct mount *mount, const char *path,
                  size_t size, char *host, struct status *status);

/* Whether the lower directory has something at path, that nothing above it hides; not path itself.
 */
bool union_has_lower(const struct guest *guest, const struct mount *mount, const char *path,
                     size_t size, char *host, struct status *status);

bool union_is_whiteout(const struct status *status);

/* The attribute of a directory that hides what the lower one has; "y" in it. */
#define UNION_OPAQUE "user.overlay.opaque"

/* What the directory at a guest path is. UNKNOWN_FOLDER: none is there. */
enum folder union_folder(const struct guest *guest, const struct mount *mount, const char *path,
                         size_t size, char *host);

/* The directory at path (its host path in the upper one) is to hide the lower one's. 0 or -errno.
 */
long union_make_opaque(const struct guest *guest, const char *host, const char *path, size_t size);

/* From union_open.c. */

/* What a descriptor, or AT_FDCWD, is open on. UNKNOWN_FOLDER: no directory that has a path. */
enum folder union_of_descriptor(const struct guest *guest, long dirfd);

/*
 * The host path, in a layer, of a name in a merged directory that the guest has open. Its size, or
 * -ENOSYS: it is not to be had so quickly.
 */
long union_path_in(const struct guest *guest, long dirfd, const char *name, size_t name_size,
                   enum layer layer, char *host);

/* From union_begin.c. */

/* Map what is shared, at place unless that is NULL. Without it everything is looked up each time.
 */
void union_attach(struct guest *guest, struct shared *place);

/*
 * Before the first program: whether the file system of the union can hold one. 0 or -errno. Its
 * root is shown with the inode of the lower one, as all that is merged.
 */
long union_begin(const struct guest *guest, struct workspace *space);

/* From union_inodes.c. */

/* The inode that a file of the upper directory had before it was copied; inode if it was not. */
uint64_t union_inode(const struct guest *guest, uint64_t device, uint64_t inode, long dirfd,
                     const char *path, long flags);
void union_show(const struct guest *guest, struct status *status, long dirfd, const char *path,
                long flags);
void union_show_extended(const struct guest *guest, void *status, long dirfd, const char *path,
                         long flags); /* of statx(2) */

/* A copy at host has come into its place; under the lock. */
void union_note_copy(const struct guest *guest, const char *host, const struct status *before);

/* From union_copy.c. */

/*
 * What space names is to be changed: it comes to lie in the upper directory, where it is copied if
 * need be; without its data, if that is to be cut off. 0 or -errno.
 */
long union_to_change(const struct guest *guest, struct workspace *space, bool with_data);

/* The same for what a descriptor is open on: 1 when it was in the lower one, and space->host now
 * leads to the copy. */
long union_descriptor_to_change(const struct guest *guest, long descriptor,
                                struct workspace *space);

/* The directory that path lies in comes to lie in the upper one. 0 or -errno. */
long union_copy_parent(const struct guest *guest, const struct mount *mount, const char *path,
                       size_t size);

/* From union_change.c. Each takes what was resolved as an ENTRY. */

/* The call makes the entry: its path is argument number position. */
long union_create(const struct guest *guest, const struct call *call, int position,
                  struct workspace *space);

/* Make way for what cannot be made aside and renamed: 0, -EEXIST, or another -errno. */
long union_clear(const struct guest *guest, struct workspace *space);

/* unlink(2) and rmdir(2) */
long union_remove(const struct guest *guest, struct workspace *space, bool is_directory);

/* rename(2): the guest path of the first entry is in space->kept; has_end: a slash followed it. */
long union_rename(const struct guest *guest, struct workspace *space, bool has_end, uint64_t flags);

/* From union_list.c: getdents64(2), and getdents(2) where there is that. */
long union_list(const struct guest *guest, const struct call *call);

/*
 * Remove the whiteouts of a directory of the host. -ENOTEMPTY when something else is there; 0, or
 * another -errno. With only_look they stay.
 */
long union_clean(const char *host, bool only_look, struct workspace *space);

/* Whether the directory at path shows nothing: 0, -ENOTEMPTY or another -errno. space->host is
 * used. */
long union_is_empty(const struct guest *guest, const struct mount *mount, const char *path,
                    size_t size, struct workspace *space);

#endif
