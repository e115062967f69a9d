/*
 * Owners and modes that the host's file system does not hold.
 *
 * A file or directory whose owner is not what its owner on the host stands for, or whose mode had
 * to be another one on the host, has them in an extended attribute: "UID:GID" or "UID:GID:MODE",
 * MODE in octal. The name is one that the kernel's overlayfs keeps and does not show. Other kinds
 * of files can have no such attribute: their owners are not remembered.
 *
 * Which files have one is told by bits in a file that all processes of the container share. They
 * say "maybe": a bit stands for many files, and is never taken back.
 */
#ifndef UDOCKER_OWNERS_H
#define UDOCKER_OWNERS_H

#include "base.h"

struct guest;
struct marks;
struct image_owners;

struct owners {
    const char *path;       /* of the shared file, or NULL: nothing is remembered */
    const char *image_path; /* of the owners in the image's tree, which is never changed, or NULL */
    struct marks *marks;
    const struct image_owners *image;
    struct owner_hints *hints; /* NULL: both are mapped from the beginning */
    bool are_unmapped;
};

/*
 * What processes that share it know without mapping these files: hardly a program needs them. Bits
 * are never taken back, so that what they do not have is nowhere.
 */
enum { HINT_INODES = 64 * 64 };
enum hint { ARE_MADE, ARE_USED, HAVE_PEERS, HAVE_IMAGE, HINTS };
struct owner_hints {
    uint64_t of[HINTS];
    uint64_t inodes[HINT_INODES / 64]; /* of the image's files that have an owner */
};

enum { AS_THE_FILE = -1 };

/* To whom a file belongs, and its mode without the type: AS_THE_FILE when the host has the right
 * one. */
struct owner {
    unsigned uid, gid;
    int mode;
};

/* What stat(2) says of a file on the host. */
struct file {
    uint64_t device, inode;
    unsigned mode, uid, gid;
};

/* Map the files that the description names. Without them owners are as the host's. */
void owners_open(struct guest *guest);

/* The same when they are needed first, where hints tell; these are the first program's to make. */
void owners_open_later(struct guest *guest, struct owner_hints *hints);
void owners_make_hints(const struct guest *guest, struct owner_hints *hints);

/* What the guest is to be shown of a file, that is at path (as of openat(2), may be NULL or ""). */
struct owner owners_find(const struct guest *guest, const struct file *file, long dirfd,
                         const char *path);

/* Where a number is looked for; udocker/store/owners.py does the same. */
uint64_t owners_scatter(uint64_t number);

/* Whether anything has ever been remembered, or the image has something. */
bool owners_are_known(const struct guest *guest);

/* Whether the image has something. */
bool owners_are_of_image(const struct guest *guest);

/* Whether the file system of a file can hold what is to be remembered; path as above. */
bool owners_have_place(long dirfd, const char *path);

/* Whether files of this kind can be remembered. */
bool owners_can_be_kept(const struct file *file);

/*
 * Give a file, which descriptor is open on in any way, this owner and mode. is_inside: it lies in
 * the container, and not in a directory of the host that was mounted. takes_rights: on the host it
 * gets a mode that lets its owner do everything. 0 or -errno.
 */
long owners_set(const struct guest *guest, long descriptor, const struct file *file,
                struct owner owner, bool is_inside, bool takes_rights);

/* Give a copy, which descriptor is open on, what the image's own file has. 0 or -errno. */
long owners_copy(const struct guest *guest, const struct file *original, long descriptor);

/* stat(2) of what descriptor is open on. 0 or -errno. */
long owners_look(long descriptor, struct file *file);

/* Whether a name is one of those attributes that the guest must not meet. */
bool owners_hide(const char *name);

/* Who a process is, where it is not as the first one: told to others, and asked by its number. */
bool owners_have_peers(const struct guest *guest);
void owners_tell_peer(const struct guest *guest, unsigned pid, unsigned uid, unsigned gid);
bool owners_find_peer(const struct guest *guest, unsigned pid, unsigned *uid, unsigned *gid);

#endif
