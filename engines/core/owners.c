#include "owners.h"

#include "guest.h"

enum {
    PROT_READ = 1,
    PROT_WRITE = 2,
    MAP_SHARED = 1,
    MAGIC = 0x31776f75, /* "uow1" */
    PEERS = 4096,
    BITS = 1 << 19,
    WORD_BITS = 64,
    VALUE_SIZE = 64,
    PLACE_SIZE = 320, /* /proc/self/fd/N/NAME */
    PERMISSIONS = 07777,
    GIVES_RIGHTS = 06000, /* setuid, setgid */
    READ_BIT = 0400,
    FILE_RIGHTS = 0600,
    DIRECTORY_RIGHTS = 0700,
    ENODATA = 61,
    EOPNOTSUPP = 95,
};

static const char NAME[] = "user.overlay.owner";
static const char HIDDEN[] = "user.overlay.";
static const char BY_DESCRIPTOR[] = "/proc/self/fd/";

struct peer {
    uint32_t pid, uid, gid, padding;
};

/* The shared file: udocker/store/owners.py makes it. */
struct marks {
    uint32_t magic, is_used;
    uint64_t device, root; /* of the root directory: its inode */
    uint64_t has_peers;
    struct peer peers[PEERS];
    uint64_t bits[BITS / WORD_BITS];
};

struct image_owner {
    uint64_t inode; /* 0: free */
    uint32_t uid, gid;
    int32_t mode;
    uint32_t padding;
};

/* The owners of an image's tree, by inode; where one is taken, the next place has it. */
struct image_owners {
    uint32_t magic, padding;
    uint64_t device, root; /* inode of the root directory */
    uint64_t count;        /* a power of two */
    struct image_owner owners[];
};

uint64_t owners_scatter(uint64_t number) {
    number ^= number >> 31;
    number *= 0x9e3779b97f4a7c15U; /* 2^64 by the golden ratio */
    return number >> 32;
}

static void *map_file(const char *path, long flags, long protection, size_t least, size_t *size) {
    long descriptor = kernel(NR_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, 0, 0, 0);
    if (descriptor < 0) {
        return NULL;
    }
    struct status status;
    long address = -EINVAL;
    long result = kernel(NR_fstat, descriptor, (long)&status, 0, 0, 0, 0);
    if (result == 0 && status.size >= least) {
        *size = status.size;
        address = kernel(NR_mmap, 0, (long)status.size, protection, MAP_SHARED, descriptor, 0);
    }
    kernel(NR_close, descriptor, 0, 0, 0, 0, 0);
    return failed(address) ? NULL : (void *)address;
}

static const struct image_owners *map_image(const char *path) {
    size_t size = 0;
    const struct image_owners *image = map_file(path, O_RDONLY, PROT_READ, sizeof *image, &size);
    if (image == NULL) {
        return NULL;
    }
    size_t room = (size - sizeof *image) / sizeof image->owners[0];
    bool is_good = image->magic == MAGIC && image->count != 0 &&
                   (image->count & (image->count - 1)) == 0 && image->count <= room;
    return is_good ? image : NULL;
}

void owners_open(struct guest *guest) {
    struct owners *owners = &guest->owners;
    size_t size = 0;
    if (owners->path != NULL) {
        owners->marks =
            map_file(owners->path, O_RDWR, PROT_READ | PROT_WRITE, sizeof *owners->marks, &size);
    }
    if (owners->image_path != NULL) {
        owners->image = map_image(owners->image_path);
    }
}

void owners_open_later(struct guest *guest, struct owner_hints *hints) {
    if (hints == NULL || !__atomic_load_n(&hints->of[ARE_MADE], __ATOMIC_ACQUIRE)) {
        owners_open(guest);
        return;
    }
    guest->owners.hints = hints;
    guest->owners.are_unmapped = true;
}

/* Of two threads that come here at once both may map: no harm is in that. */
__attribute__((noinline)) static void open_now(const struct guest *guest) {
    struct guest *changed = (struct guest *)(uintptr_t)guest;
    owners_open(changed);
    __atomic_store_n(&changed->owners.are_unmapped, false, __ATOMIC_RELEASE);
}

static struct marks *marks_of(const struct guest *guest) {
    if (__atomic_load_n(&guest->owners.are_unmapped, __ATOMIC_ACQUIRE)) {
        open_now(guest);
    }
    return guest->owners.marks;
}

static const struct image_owners *image_of(const struct guest *guest) {
    marks_of(guest);
    return guest->owners.image;
}

/* Whether a hint says that there is nothing of that kind. */
static bool is_nothing(const struct guest *guest, enum hint hint) {
    const struct owner_hints *hints = guest->owners.hints;
    return hints != NULL && __atomic_load_n(&hints->of[hint], __ATOMIC_ACQUIRE) == 0;
}

static void set_hint(const struct guest *guest, enum hint hint) {
    if (guest->owners.hints != NULL) {
        __atomic_store_n(&guest->owners.hints->of[hint], 1, __ATOMIC_RELEASE);
    }
}

static uint64_t inode_bit(uint64_t inode, size_t *word) {
    uint64_t number = owners_scatter(inode) % HINT_INODES;
    *word = number / WORD_BITS;
    return (uint64_t)1 << number % WORD_BITS;
}

void owners_make_hints(const struct guest *guest, struct owner_hints *hints) {
    const struct marks *marks = guest->owners.marks;
    const struct image_owners *image = guest->owners.image;
    for (uint64_t index = 0; image != NULL && index < image->count; index++) {
        size_t word;
        uint64_t bit = inode_bit(image->owners[index].inode, &word);
        if (image->owners[index].inode != 0) {
            __atomic_fetch_or(&hints->inodes[word], bit, __ATOMIC_RELAXED);
        }
    }
    __atomic_fetch_or(&hints->of[HAVE_IMAGE], image != NULL, __ATOMIC_RELAXED);
    if (marks != NULL) {
        __atomic_fetch_or(&hints->of[ARE_USED], marks->is_used != 0, __ATOMIC_RELAXED);
        __atomic_fetch_or(&hints->of[HAVE_PEERS], marks->has_peers != 0, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&hints->of[ARE_MADE], 1, __ATOMIC_RELEASE);
}

/* The bit of a file, in *word. */
static uint64_t bit_of(const struct file *file, size_t *word) {
    uint64_t number = owners_scatter(file->inode ^ file->device << 40) % BITS;
    *word = number / WORD_BITS;
    return (uint64_t)1 << number % WORD_BITS;
}

static bool is_marked(const struct guest *guest, const struct file *file) {
    size_t word;
    if (is_nothing(guest, ARE_USED)) {
        return false;
    }
    const struct marks *marks = marks_of(guest);
    if (marks == NULL || !__atomic_load_n(&marks->is_used, __ATOMIC_RELAXED)) {
        return false;
    }
    uint64_t bit = bit_of(file, &word);
    return __atomic_load_n(&marks->bits[word], __ATOMIC_RELAXED) & bit;
}

static void mark(const struct guest *guest, const struct file *file) {
    struct marks *marks = marks_of(guest);
    size_t word;
    uint64_t bit = bit_of(file, &word);
    __atomic_fetch_or(&marks->bits[word], bit, __ATOMIC_RELAXED);
    __atomic_store_n(&marks->is_used, 1, __ATOMIC_RELAXED);
    set_hint(guest, ARE_USED);
}

static const struct image_owner *of_image(const struct guest *guest, const struct file *file) {
    const struct owner_hints *hints = guest->owners.hints;
    size_t word;
    uint64_t bit = inode_bit(file->inode, &word);
    if (hints != NULL && !(__atomic_load_n(&hints->inodes[word], __ATOMIC_RELAXED) & bit)) {
        return NULL;
    }
    const struct image_owners *image = image_of(guest);
    if (image == NULL || image->device != file->device) {
        return NULL;
    }
    uint64_t last = image->count - 1;
    uint64_t place = owners_scatter(file->inode) & last;
    for (uint64_t tries = 0; tries <= last; tries++, place = (place + 1) & last) {
        const struct image_owner *owner = &image->owners[place];
        if (owner->inode == file->inode) {
            return owner;
        }
        if (owner->inode == 0) {
            break;
        }
    }
    return NULL;
}

/* A number of that base, and the sign behind it. */
static bool read_part(const char **text, unsigned base, char end, unsigned *number) {
    const char *digit = *text;
    uint64_t value = 0;
    for (; *digit >= '0' && *digit < (char)('0' + base); digit++) {
        value = value * base + (uint64_t)(*digit - '0');
        if (value > UINT32_MAX) {
            return false;
        }
    }
    if (digit == *text || *digit != end) {
        return false;
    }
    *text = digit + 1;
    *number = (unsigned)value;
    return true;
}

static bool read_value(const char *text, struct owner *owner) {
    unsigned mode;
    struct owner read = {.mode = AS_THE_FILE};
    if (!read_part(&text, 10, ':', &read.uid)) {
        return false;
    }
    const char *group = text;
    if (!read_part(&text, 10, '\0', &read.gid)) {
        if (!read_part(&group, 10, ':', &read.gid) || !read_part(&group, 8, '\0', &mode)) {
            return false;
        }
        read.mode = (int)(mode & PERMISSIONS);
    }
    *owner = read;
    return true;
}

static size_t write_octal(char *text, unsigned number) {
    for (int index = 3; index >= 0; index--) {
        text[index] = (char)('0' + (number & 7));
        number >>= 3;
    }
    return 4;
}

static size_t write_value(char *text, const struct owner *owner) {
    size_t size = write_number(text, owner->uid);
    text[size++] = ':';
    size += write_number(text + size, owner->gid);
    if (owner->mode != AS_THE_FILE) {
        text[size++] = ':';
        size += write_octal(text + size, (unsigned)owner->mode);
    }
    return size;
}

static void name_descriptor(long descriptor, char *place) {
    copy_bytes(place, BY_DESCRIPTOR, sizeof BY_DESCRIPTOR - 1);
    write_number(place + sizeof BY_DESCRIPTOR - 1, (unsigned)descriptor);
}

/* One path in place of a descriptor and a path; NULL when it is too long. */
static const char *place_of(long dirfd, const char *path, char *room) {
    bool is_empty = path == NULL || path[0] == '\0';
    if ((int)dirfd == AT_FDCWD || (!is_empty && path[0] == '/')) {
        return is_empty ? "." : path;
    }
    name_descriptor(dirfd, room);
    if (!is_empty) {
        size_t used = length_of(room);
        size_t size = length_of(path);
        if (used + size + 2 > PLACE_SIZE) {
            return NULL;
        }
        room[used++] = '/';
        copy_bytes(room + used, path, size + 1);
    }
    return room;
}

static bool read_attribute(const char *place, struct owner *owner) {
    char value[VALUE_SIZE];
    long size = kernel(NR_getxattr, (long)place, (long)NAME, (long)value, VALUE_SIZE - 1, 0, 0);
    if (size < 0) {
        return false;
    }
    value[size] = '\0';
    return read_value(value, owner);
}

static struct owner owner_on_host(const struct guest *guest, const struct file *file) {
    return (struct owner){file->uid == guest->host_uid ? guest->uid : file->uid,
                          file->gid == guest->host_gid ? guest->gid : file->gid, AS_THE_FILE};
}

/* Apart, so that its room is not on the stack of every stat(2). */
__attribute__((noinline)) static void find_remembered(long dirfd, const char *path,
                                                      struct owner *owner) {
    char room[PLACE_SIZE];
    const char *place = place_of(dirfd, path, room);
    if (place != NULL) {
        read_attribute(place, owner);
    }
}

struct owner owners_find(const struct guest *guest, const struct file *file, long dirfd,
                         const char *path) {
    struct owner owner = owner_on_host(guest, file);
    if (file->uid != guest->host_uid) {
        return owner;
    }
    const struct image_owner *known = of_image(guest, file);
    if (known != NULL) {
        return (struct owner){known->uid, known->gid, known->mode};
    }
    if (owners_can_be_kept(file) && is_marked(guest, file)) {
        find_remembered(dirfd, path, &owner);
    }
    return owner;
}

bool owners_are_known(const struct guest *guest) {
    if (owners_are_of_image(guest)) {
        return true;
    }
    const struct marks *marks = is_nothing(guest, ARE_USED) ? NULL : marks_of(guest);
    return marks != NULL && __atomic_load_n(&marks->is_used, __ATOMIC_RELAXED);
}

bool owners_are_of_image(const struct guest *guest) {
    return !is_nothing(guest, HAVE_IMAGE) && image_of(guest) != NULL;
}

bool owners_have_place(long dirfd, const char *path) {
    char room[PLACE_SIZE];
    const char *place = place_of(dirfd, path, room);
    return place != NULL && kernel(NR_getxattr, (long)place, (long)NAME, 0, 0, 0, 0) != -EOPNOTSUPP;
}

bool owners_can_be_kept(const struct file *file) {
    unsigned kind = file->mode & S_IFMT;
    return kind == S_IFREG || kind == S_IFDIR;
}

/* The mode that a file has on the host, for the one that the guest is to see. */
static unsigned mode_on_host(const struct file *file, unsigned mode, bool is_inside,
                             bool takes_rights, bool is_remembered) {
    bool is_directory = (file->mode & S_IFMT) == S_IFDIR;
    if (is_inside && !is_directory) {
        mode &= ~(unsigned)GIVES_RIGHTS; /* they would give this user's rights to others */
    }
    if (is_inside && takes_rights) {
        mode |= is_directory ? DIRECTORY_RIGHTS : FILE_RIGHTS;
    }
    return is_remembered ? mode | READ_BIT : mode; /* who may not read may not see attributes */
}

static long change_mode(const char *place, unsigned mode) {
    return kernel(NR_fchmodat, AT_FDCWD, (long)place, (long)mode, 0, 0, 0);
}

/* Write the attribute to a file that has that mode; who may not write may not do that either. */
static long write_attribute(const char *place, unsigned mode, const struct owner *owner) {
    char value[VALUE_SIZE];
    long size = owner == NULL ? 0 : (long)write_value(value, owner);
    long result = -EACCES;
    for (int tries = 0; tries < 2 && result == -EACCES; tries++) {
        if (tries > 0) {
            change_mode(place, mode | FILE_RIGHTS);
        }
        result = owner == NULL
                     ? kernel(NR_removexattr, (long)place, (long)NAME, 0, 0, 0, 0)
                     : kernel(NR_setxattr, (long)place, (long)NAME, (long)value, size, 0, 0);
        if (tries > 0) {
            change_mode(place, mode);
        }
    }
    bool is_none = result == -ENODATA && owner == NULL;
    return is_none || result == -EOPNOTSUPP ? 0 : result;
}

long owners_set(const struct guest *guest, long descriptor, const struct file *file,
                struct owner owner, bool is_inside, bool takes_rights) {
    struct owner host = owner_on_host(guest, file);
    unsigned before = file->mode & PERMISSIONS;
    unsigned wanted = owner.mode == AS_THE_FILE ? before : (unsigned)owner.mode;
    bool can_keep = file->uid == guest->host_uid && marks_of(guest) != NULL;
    bool is_other = owner.uid != host.uid || owner.gid != host.gid;
    unsigned mode =
        can_keep ? mode_on_host(file, wanted, is_inside, takes_rights, is_other) : wanted;
    char place[PLACE_SIZE];
    name_descriptor(descriptor, place);
    bool keeps = can_keep && (is_other || mode != wanted);
    bool had = can_keep && is_marked(guest, file);
    owner.mode = mode == wanted ? AS_THE_FILE : (int)wanted;
    long result = mode == before ? 0 : change_mode(place, mode);
    if (result < 0 || !(keeps || had)) {
        return result;
    }
    result = write_attribute(place, mode, keeps ? &owner : NULL);
    if (keeps) {
        mark(guest, file);
    }
    return result;
}

long owners_look(long descriptor, struct file *file) {
    struct status status;
    long result = kernel(NR_fstat, descriptor, (long)&status, 0, 0, 0, 0);
    *file = (struct file){status.device, status.inode, status.mode, status.uid, status.gid};
    return result;
}

long owners_copy(const struct guest *guest, const struct file *original, long descriptor) {
    const struct image_owner *known = of_image(guest, original);
    struct file file;
    long result = known == NULL ? 0 : owners_look(descriptor, &file);
    if (known == NULL || result < 0 || !owners_can_be_kept(&file)) {
        return result;
    }
    struct owner owner = {known->uid, known->gid, known->mode};
    return owners_set(guest, descriptor, &file, owner, true, false);
}

bool owners_hide(const char *name) {
    return same_bytes(name, HIDDEN, sizeof HIDDEN - 1);
}

void owners_tell_peer(const struct guest *guest, unsigned pid, unsigned uid, unsigned gid) {
    bool is_default = uid == guest->uid && gid == guest->gid;
    if (is_default && is_nothing(guest, HAVE_PEERS)) {
        return;
    }
    struct marks *marks = marks_of(guest);
    if (marks == NULL) {
        return;
    }
    struct peer *peer = &marks->peers[pid % PEERS];
    if (is_default && __atomic_load_n(&peer->pid, __ATOMIC_RELAXED) != pid) {
        return;
    }
    __atomic_store_n(&peer->pid, 0, __ATOMIC_RELEASE);
    peer->uid = uid;
    peer->gid = gid;
    __atomic_store_n(&peer->pid, pid, __ATOMIC_RELEASE);
    __atomic_store_n(&marks->has_peers, 1, __ATOMIC_RELEASE);
    set_hint(guest, HAVE_PEERS);
}

bool owners_have_peers(const struct guest *guest) {
    const struct marks *marks = is_nothing(guest, HAVE_PEERS) ? NULL : marks_of(guest);
    return marks != NULL && __atomic_load_n(&marks->has_peers, __ATOMIC_RELAXED);
}

bool owners_find_peer(const struct guest *guest, unsigned pid, unsigned *uid, unsigned *gid) {
    if (pid == 0 || is_nothing(guest, HAVE_PEERS)) {
        return false;
    }
    const struct marks *marks = marks_of(guest);
    if (marks == NULL) {
        return false;
    }
    const struct peer *peer = &marks->peers[pid % PEERS];
    if (__atomic_load_n(&peer->pid, __ATOMIC_ACQUIRE) != pid) {
        return false;
    }
    unsigned found_uid = peer->uid;
    unsigned found_gid = peer->gid;
    if (__atomic_load_n(&peer->pid, __ATOMIC_ACQUIRE) != pid) {
        return false;
    }
    *uid = found_uid;
    *gid = found_gid;
    return true;
}
