/*
 * The plain members of a layer's archive, written without Python: new files, directories and
 * symbolic links with ustar headers, in directories that are there. The rules are Python's: a
 * member about which there is more to say is left to it, and what is done here is what Python
 * (udocker/unpack/apply.py) would have done.
 */
#ifndef UDOCKER_LAYER_H
#define UDOCKER_LAYER_H

struct udocker_layer;

/* What udocker_layer_write may do, and what it has done. */
struct udocker_step {
    unsigned long long entries; /* in: how many members may be written; out: how many were */
    unsigned long long bytes;   /* the same of the bytes in their files */
    size_t used;                /* out: how many bytes of the data are dealt with */
    size_t noted;               /* out: how many bytes there are in the notes */
    int open;                   /* out: whether there is more to come of a file's content */
};

/* What udocker_layer_write returns, besides a negative errno: the member cannot be written. */
enum { UDOCKER_MORE = 0, UDOCKER_YOURS = 1, UDOCKER_NOTES_FULL = 2 };

/*
 * For a layer in the directory of the descriptor root, which stays the caller's. In notes is kept
 * what the caller has to know of members, one record each: a struct udocker_note and the path.
 * NULL when there is no memory.
 */
struct udocker_layer *udocker_layer_begin(int root, char *notes, size_t size);

void udocker_layer_end(struct udocker_layer *layer);

struct udocker_note {
    long long mtime; /* seconds */
    unsigned uid;
    unsigned gid;
    unsigned short mode;
    unsigned short length; /* of the path behind it */
    char kind;             /* of the header: '0', '2' or '5' */
    char unused[3];
};

/*
 * Write members from data, which begins with a header, or with the content of the file that was
 * the last before. UDOCKER_MORE: there is no whole header any more. UDOCKER_YOURS: what is at used
 * is the caller's to deal with, who then says so by udocker_layer_forget. Directories are noted,
 * with tell_all everything, else what has an owner or a mode that the tree does not show.
 */
int udocker_layer_write(struct udocker_layer *layer, const char *data, size_t size, int tell_all,
                        struct udocker_step *step);

/* Directories may have been moved or removed: look them up again. */
void udocker_layer_forget(struct udocker_layer *layer);

/* The path of the member that was the last to be written, or that failed. */
const char *udocker_layer_path(struct udocker_layer *layer);

#endif
