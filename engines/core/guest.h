/* What a guest is: which host path each part of its file tree has. Hardly changed once it is read.
 */
#ifndef UDOCKER_GUEST_H
#define UDOCKER_GUEST_H

#include "base.h"
#include "owners.h"
#include "ports.h"

enum { MAX_MOUNTS = 256, MAX_GROUPS = 64 };

/* Whether a tracer stops the calls of the guest, and which: those that matter, or all. */
enum tracing { TRACING_NONE, TRACING_SOME, TRACING_ALL };

/* Where on the host something of the guest may lie: mounts have one of them, unions two. */
struct origin {
    const char *path;
    size_t size;
    const struct mount *mount;
};

/*
 * A host file or directory that the guest sees at target. With a lower directory it is a union:
 * source is the upper one of overlayfs, see union.h.
 */
struct mount {
    const char *target; /* guest path, canonical; "" is the root */
    const char *source; /* host path, canonical, without a slash at its end */
    const char *lower;  /* the same; NULL: this is no union */
    size_t target_size;
    size_t source_size;
    size_t lower_size;
    bool readonly;
    struct origin origin; /* of some mount: see struct guest */
};

/* Of a process, after chroot(2): a guest path; empty when it is the guest's own. */
struct root {
    const char *path;
    size_t size;
};

struct guest {
    size_t mount_count;
    size_t origin_count;
    bool has_readonly;      /* one of the mounts is */
    bool has_union;         /* the root is */
    const char *work;       /* of the union: a directory on the device of the upper one, or NULL */
    const char *state;      /* of the union: the file that its processes share, or NULL */
    struct shared *shared;  /* that file in memory; NULL: there is none */
    const char *copies;     /* directory with patched copies of files; NULL: there are none */
    const char *executable; /* guest path of the program that runs */
    unsigned uid;           /* to the guest, the owner of what the user owns on the host */
    unsigned gid;
    unsigned host_uid;
    unsigned host_gid;
    unsigned groups[MAX_GROUPS]; /* supplementary ones, to begin with */
    unsigned group_count;
    const char *directory; /* guest path to start in */
    enum tracing tracing;
    struct owners owners;
    struct root (*find_root)(struct guest *guest); /* of the caller; NULL: nobody has one */
    /*
     * Longest target first; the last one is the root. Of each also an origin: these are sources and
     * the lower, longest first, and lie here so that a program touches few pages.
     */
    struct mount mounts[MAX_MOUNTS + 1];
    struct ports ports;
};

/*
 * Read a description: strings, each with its NUL. "root" PATH ("root-ro": read-only), "directory"
 * PATH, "uid" N, "gid" N; "group" N for each supplementary one, "owners" PATH and "image-owners"
 * PATH (owners.h); for a union "lower" PATH, "work" PATH, "state" PATH; "make" PATH and "point"
 * PATH for directories and "touch" PATH for files that are to be there before the first program
 * runs, the last two to mount on; for each mount "rw" or "ro", TARGET, SOURCE; "copies" PATH;
 * "traced" with "some" or "all"; "port" and what ports_add takes. The strings are used in place.
 * False when it is not one. Of two mounts with the same target the later one hides the other.
 */
bool guest_read(struct guest *guest, const char *text, size_t size);

/* Take away all mounts but the root, which may be written: to make what lies below them. */
void guest_uncover(struct guest *guest);

/* The mount that guest path (canonical, of that size; "" is the root) belongs to. */
const struct mount *guest_mount(const struct guest *guest, const char *path, size_t size);

/* Whether something is mounted at guest path, or further down. */
bool guest_is_target(const struct guest *guest, const char *path, size_t size);
bool guest_has_target_below(const struct guest *guest, const char *path, size_t size);

/* Write the host path of a canonical guest path to host, PATH_SIZE bytes. Its size, or -errno. */
long guest_to_host(const struct guest *guest, const char *path, size_t size, char *host);

/*
 * Write the guest path of a host path to path, PATH_SIZE bytes, which may be host itself. Its size,
 * or -ENOENT.
 */
long guest_from_host(const struct guest *guest, const char *host, size_t size, char *path);

/* Whether a host path is one of the lower directory, which nobody may change. */
bool guest_is_lower(const struct guest *guest, const char *host, size_t size);

/* The root of the caller, and whether the guest path lies there. */
struct root guest_root(const struct guest *guest);
bool root_has(struct root root, const char *path, size_t size);

/* Take the root of the caller off a guest path: what the caller knows it by. Its size, or -ENOENT.
 */
long guest_from_root(const struct guest *guest, char *path, size_t size);

#endif
