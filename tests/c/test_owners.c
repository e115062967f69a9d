/* Owners, modes and attributes that are the guest's only. */
#include "guests.h"

#include "calls.h"
#include "older.h"

enum {
    MAGIC = 0x31776f75,
    MARKS_SIZE = 32 + 4096 * 16 + (1 << 16),
    EOPNOTSUPP = 95,
    ENODATA = 61,
    STATX_BASIC = 0x7ff,
};

static struct process process;
static unsigned host_uid;

static long carry_out(long number, long a, long b, long c, long d, long e) {
    struct call call = {number, {a, b, c, d, e, 0}};
    older_to_newer(&call);
    return calls_carry_out(&process, &call, NULL);
}

static long on(long number, const char *path, long b, long c) {
    return carry_out(number, (long)path, b, c, 0, 0);
}

static long open_it(const char *path, long flags, long mode) {
    return carry_out(NR_openat, AT_FDCWD, (long)path, flags, mode, 0);
}

static void become(unsigned uid, unsigned gid) {
    persona_begin(&process);
    if (uid != 0) {
        CHECK_NUMBER(carry_out(NR_setresgid, gid, gid, gid, 0, 0), 0);
        CHECK_NUMBER(carry_out(NR_setresuid, uid, uid, uid, 0, 0), 0);
    }
}

/* "UID:GID MODE" as stat(2) has it. */
static const char *describe_status(long result, const struct status *status) {
    static char text[64];
    snprintf(text, sizeof text, "%u:%u %04o", status->uid, status->gid, status->mode & 07777);
    return result == 0 ? text : "error";
}

static const char *shown_at(long dirfd, const char *path, long flags) {
    struct status status;
    long result = carry_out(NR_newfstatat, dirfd, (long)path, (long)&status, flags, 0);
    return describe_status(result, &status);
}

static const char *shown(const char *path) {
    return shown_at(AT_FDCWD, path, 0);
}

static const char *shown_open(long descriptor) {
    struct status status;
    long result = carry_out(NR_fstat, descriptor, (long)&status, 0, 0, 0);
    return describe_status(result, &status);
}

static const char *shown_extended(const char *path) {
    union {
        char bytes[256];
        uint32_t words[64];
        uint16_t halves[128];
    } answer = {{0}};
    struct status status = {0};
    long result = carry_out(NR_statx, AT_FDCWD, (long)path, 0, STATX_BASIC, (long)answer.bytes);
    status.uid = answer.words[5];
    status.gid = answer.words[6];
    status.mode = answer.halves[14];
    return describe_status(result, &status);
}

/* The mode that the host has. */
static unsigned mode_on_host(const char *path) {
    struct status status;
    CHECK_NUMBER(kernel(NR_newfstatat, AT_FDCWD, (long)path, (long)&status, 0, 0, 0), 0);
    CHECK_NUMBER(status.uid, host_uid);
    return status.mode & 07777;
}

static bool has_attribute(const char *path) {
    char value[64];
    return kernel(NR_getxattr, (long)path, (long)"user.overlay.owner", (long)value, sizeof value, 0,
                  0) > 0;
}

static void make_world(void) {
    static char marks[MARKS_SIZE];
    const uint32_t magic = MAGIC;
    scratch();
    make_directory("root");
    make_directory("root/dir");
    make_directory("root/mnt");
    make_directory("data");
    make_file("data/file", "");
    make_file("root/file", "12345");
    make_file("root/other", "");
    make_link("root/link", "file");
    memcpy(marks, &magic, sizeof magic);
    make_bytes("marks", marks, sizeof marks);
    host_uid = (unsigned)kernel(NR_getuid, 0, 0, 0, 0, 0, 0);
    CHECK(GUEST(&process.guest, "root", "@root", "rw", "/mnt", "@data", "rw", "/proc", "/proc",
                "group", "4", "group", "9", "owners", "@marks"));
    owners_open(&process.guest);
    CHECK(process.guest.owners.marks != NULL);
    become(0, 0);
    enter("root");
}

static void test_owners_are_remembered(void) {
    CHECK(!owners_are_known(&process.guest));
    CHECK_NUMBER(on(NR_chown, "/file", 5, 7), 0);
    CHECK(owners_are_known(&process.guest));
    long directory = open_it("/", O_RDONLY | O_DIRECTORY, 0);
    long descriptor = open_it("/file", O_RDONLY, 0);
    long bare = open_it("/file", O_PATH, 0);
    CHECK_TEXT(shown("/file"), "5:7 0644");
    CHECK_TEXT(shown("file"), "5:7 0644");
    CHECK_TEXT(shown("dir/../file"), "5:7 0644");
    CHECK_TEXT(shown("link"), "5:7 0644");
    CHECK_TEXT(shown_at(directory, "file", 0), "5:7 0644");
    CHECK_TEXT(shown_at(descriptor, "", AT_EMPTY_PATH), "5:7 0644");
    CHECK_TEXT(shown_open(descriptor), "5:7 0644");
    CHECK_TEXT(shown_open(bare), "5:7 0644");
    CHECK_TEXT(shown_extended("/file"), "5:7 0644");
    CHECK_TEXT(shown_extended("file"), "5:7 0644");
    CHECK_TEXT(shown("/other"), "0:0 0644");
    CHECK_TEXT(shown_at(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW), "0:0 0777");
    CHECK_NUMBER(carry_out(NR_fchown, descriptor, 6, -1, 0, 0), 0);
    CHECK_TEXT(shown("/file"), "6:7 0644");
    CHECK_NUMBER(on(NR_rename, "/file", (long)"/dir/moved", 0), 0);
    CHECK_TEXT(shown("/dir/moved"), "6:7 0644");
    CHECK_NUMBER(on(NR_rename, "/dir/moved", (long)"/file", 0), 0);
    CHECK_NUMBER(on(NR_chown, "/link", 0, 0), 0);
    CHECK_TEXT(shown("/file"), "0:0 0644");
    CHECK(!has_attribute("file"));
    CHECK_NUMBER(on(NR_chown, "/absent", 0, 0), -ENOENT);
    CHECK_NUMBER(on(NR_chown, "/mnt/file", 3, 3), 0);
    CHECK_TEXT(shown("/mnt/file"), "3:3 0644");
    close_descriptor((int)directory);
    close_descriptor((int)descriptor);
    close_descriptor((int)bare);
}

static void test_modes(void) {
    CHECK_NUMBER(on(NR_chmod, "/file", 04755, 0), 0);
    CHECK_TEXT(shown("/file"), "0:0 4755");
    CHECK_NUMBER(mode_on_host("file"), 0755); /* it would give the user's rights to others */
    CHECK_NUMBER(on(NR_chown, "/file", 1, 1), 0);
    CHECK_TEXT(shown("/file"), "1:1 0755");
    CHECK_NUMBER(on(NR_chmod, "/file", 06711, 0), 0);
    CHECK_TEXT(shown("/file"), "1:1 6711");
    CHECK_NUMBER(on(NR_chmod, "/file", 0, 0), 0);
    CHECK_TEXT(shown("/file"), "1:1 0000");
    long descriptor = open_it("/file", O_RDWR, 0);
    CHECK(descriptor >= 0);
    CHECK_TEXT(shown_open(descriptor), "1:1 0000");
    CHECK_NUMBER(carry_out(NR_fchmod, descriptor, 0444, 0, 0, 0), 0);
    close_descriptor((int)descriptor);
    CHECK_TEXT(shown("/file"), "1:1 0444");
    CHECK_NUMBER(on(NR_access, "/file", 2, 0), 0);
    CHECK_NUMBER(on(NR_access, "/file", 1, 0), -EACCES);
    CHECK_NUMBER(on(NR_chown, "/file", 0, 0), 0);
    CHECK_NUMBER(on(NR_chmod, "/file", 0644, 0), 0);
    CHECK_TEXT(shown("/file"), "0:0 0644");
    CHECK(!has_attribute("file"));
    CHECK_NUMBER(on(NR_mkdir, "/dir/shut", 0, 0), 0);
    CHECK_TEXT(shown("/dir/shut"), "0:0 0000");
    CHECK_NUMBER(on(NR_mkdir, "/dir/shut/sub", 0755, 0), 0);
    CHECK_NUMBER(on(NR_chmod, "/dir/shut", 02555, 0), 0);
    CHECK_TEXT(shown("/dir/shut"), "0:0 2555");
    CHECK_NUMBER(on(NR_rmdir, "/dir/shut/sub", 0, 0), 0);
    CHECK_NUMBER(on(NR_chmod, "/mnt/file", 04755, 0), 0);
    CHECK_NUMBER(mode_on_host("../data/file"), 04755); /* the user's own file, on the host */
}

static void test_hidden_attributes(void) {
    char list[64];
    CHECK_NUMBER(on(NR_chown, "/file", 5, 7), 0);
    CHECK_NUMBER(on(NR_listxattr, "/file", (long)list, sizeof list), 0);
    CHECK_NUMBER(on(NR_listxattr, "/file", 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_setxattr, (long)"/file", (long)"user.a", (long)"1", 1, 0), 0);
    CHECK_NUMBER(on(NR_listxattr, "/file", (long)list, 7), 7);
    CHECK_TEXT(list, "user.a");
    CHECK_NUMBER(on(NR_llistxattr, "/file", (long)list, 6), -ERANGE);
    CHECK_NUMBER(on(NR_listxattr, "/file", (long)read_only_memory(7), 7), -EFAULT);
    long descriptor = open_it("/file", O_RDONLY, 0);
    CHECK_NUMBER(carry_out(NR_flistxattr, descriptor, (long)list, sizeof list, 0, 0), 7);
    const char *name = "user.overlay.owner";
    CHECK_NUMBER(carry_out(NR_fgetxattr, descriptor, (long)name, (long)list, 64, 0), -EOPNOTSUPP);
    CHECK_NUMBER(carry_out(NR_getxattr, (long)"/file", (long)name, (long)list, 64, 0), -EOPNOTSUPP);
    CHECK_NUMBER(carry_out(NR_setxattr, (long)"/file", (long)name, (long)"0:0", 3, 0), -EOPNOTSUPP);
    CHECK_NUMBER(on(NR_removexattr, "/file", (long)name, 0), -EOPNOTSUPP);
    CHECK_NUMBER(carry_out(NR_fremovexattr, descriptor, (long)name, 0, 0, 0), -EOPNOTSUPP);
    CHECK_NUMBER(carry_out(NR_getxattr, (long)"/file", (long)"user.a", (long)list, 64, 0), 1);
    CHECK_NUMBER(on(NR_removexattr, "/file", (long)"user.a", 0), 0);
    char *end = memory_at_the_end(13);
    memcpy(end, "user.overlay.", 13);
    CHECK_NUMBER(on(NR_removexattr, "/file", (long)end, 0), -EFAULT);
    CHECK_TEXT(shown("/file"), "5:7 0644");
    close_descriptor((int)descriptor);
}

static void test_others(void) {
    become(5, 7);
    CHECK_NUMBER(open_it("/dir/made", O_WRONLY | O_CREAT, 0600), -EACCES);
    CHECK_NUMBER(on(NR_mkdir, "/dir/own", 0750, 0), -EACCES);
    CHECK_NUMBER(on(NR_chmod, "/dir", 0777, 0), -EPERM);
    become(0, 0);
    CHECK_NUMBER(on(NR_chmod, "/dir", 0777, 0), 0);
    CHECK_NUMBER(on(NR_chmod, "/other", 0646, 0), 0);
    become(5, 7);
    long descriptor = open_it("/dir/made", O_WRONLY | O_CREAT, 0600);
    CHECK_TEXT(shown_open(descriptor), "5:7 0600");
    close_descriptor((int)descriptor);
    CHECK_NUMBER(open_it("/dir/made", O_WRONLY | O_CREAT | O_EXCL, 0600), -EEXIST);
    close_descriptor((int)open_it("/other", O_WRONLY | O_CREAT, 0600));
    CHECK_TEXT(shown("/other"), "0:0 0646");
    CHECK_NUMBER(on(NR_mkdir, "/dir/own", 0750, 0), 0);
    CHECK_TEXT(shown("/dir/own"), "5:7 0750");
    CHECK_NUMBER(on(NR_chown, "/dir/made", 0, -1), -EPERM);
    CHECK_NUMBER(on(NR_chown, "/dir/made", 5, 8), -EPERM);
    CHECK_NUMBER(on(NR_chown, "/dir/made", 5, 9), 0); /* a supplementary group */
    CHECK_NUMBER(on(NR_chown, "/other", 5, 7), -EPERM);
    CHECK_TEXT(shown("/dir/made"), "5:9 0600");
    CHECK_NUMBER(on(NR_chroot, "/dir", 0, 0), -EPERM);
    CHECK_NUMBER(carry_out(NR_setgroups, 0, 0, 0, 0, 0), -EPERM);
    become(0, 0);
    CHECK_NUMBER(on(NR_chmod, "/dir", 0755, 0), 0);
    CHECK_NUMBER(on(NR_chmod, "/other", 0644, 0), 0);
    become(5, 7);
    CHECK_NUMBER(open_it("/other", O_WRONLY | O_CREAT, 0600), -EACCES);
    become(0, 0);
    CHECK_NUMBER(on(NR_mknod, "/dir/white", S_IFCHR, 0), -EPERM);
    CHECK_NUMBER(on(NR_mknod, "/dir/plain", S_IFREG | 0600, 0), 0);
    CHECK_TEXT(shown("/dir/plain"), "0:0 0600");
}

static void test_groups(void) {
    unsigned groups[4] = {0};
    CHECK_NUMBER(carry_out(NR_getgroups, 0, 0, 0, 0, 0), 2);
    CHECK_NUMBER(carry_out(NR_getgroups, 1, (long)groups, 0, 0, 0), -EINVAL);
    CHECK_NUMBER(carry_out(NR_getgroups, 4, (long)groups, 0, 0, 0), 2);
    CHECK(groups[0] == 4 && groups[1] == 9);
    CHECK_NUMBER(carry_out(NR_setgroups, 1, (long)&(unsigned){77}, 0, 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_getgroups, 4, (long)groups, 0, 0, 0), 1);
    CHECK(groups[0] == 77);
    CHECK_NUMBER(carry_out(NR_setgroups, 65537, 0, 0, 0, 0), -EINVAL);
    CHECK_NUMBER(carry_out(NR_getgroups, 4, (long)read_only_memory(4), 0, 0, 0), -EFAULT);
    become(0, 0);
}

struct sets {
    uint32_t effective, permitted, inheritable;
};

static struct sets capabilities(void) {
    uint32_t header[2] = {0x20080522, 0};
    struct sets sets[2];
    CHECK_NUMBER(carry_out(NR_capget, (long)header, (long)sets, 0, 0, 0), 0);
    return sets[0];
}

static void test_capabilities(void) {
    enum { SET_KEEPCAPS = 8, CAPBSET_READ = 23, CAPBSET_DROP = 24, SETGID = 1 << 6 };
    uint32_t header[2] = {0x20080522, 0};
    struct sets some[2] = {{SETGID, SETGID, 0}};
    CHECK_NUMBER(capabilities().effective, 0xffffffff);
    CHECK_NUMBER(carry_out(NR_prctl, CAPBSET_READ, 3, 0, 0, 0), 1);
    CHECK_NUMBER(carry_out(NR_prctl, CAPBSET_DROP, 3, 0, 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_prctl, CAPBSET_READ, 3, 0, 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_prctl, SET_KEEPCAPS, 1, 0, 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_setresuid, 5, 5, 5, 0, 0), 0);
    CHECK_NUMBER(capabilities().effective, 0);
    CHECK_NUMBER(capabilities().permitted, 0xffffffff);
    CHECK_NUMBER(carry_out(NR_setresgid, 7, 7, 7, 0, 0), -EPERM);
    CHECK_NUMBER(carry_out(NR_capset, (long)header, (long)some, 0, 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_setresgid, 7, 7, 7, 0, 0), 0);
    CHECK_NUMBER(capabilities().permitted, SETGID);
    some[0].permitted = 1;
    CHECK_NUMBER(carry_out(NR_capset, (long)header, (long)some, 0, 0, 0), -EPERM);
    CHECK_NUMBER(carry_out(NR_prctl, CAPBSET_DROP, 4, 0, 0, 0), -EPERM);
    become(5, 7);
    CHECK_NUMBER(capabilities().permitted, 0);
    become(0, 0);
}

static const char *root_of(long dirfd, const char *path) {
    return leads(&process.guest, dirfd, path, FOLLOW);
}

static void test_chroot(void) {
    char text[PATH_SIZE];
    const struct guest *guest = &process.guest;
    make_directory("jail");
    make_directory("jail/in");
    make_directory("jailer");
    make_file("jail/file", "");
    make_link("jail/up", "../../dir");
    make_link("jail/absolute", "/file");
    long outside = open_it("/", O_RDONLY | O_DIRECTORY, 0);
    CHECK_NUMBER(on(NR_chroot, "/file", 0, 0), -ENOTDIR);
    CHECK_NUMBER(on(NR_chroot, "/absent", 0, 0), -ENOENT);
    CHECK_NUMBER(on(NR_chroot, "jail", 0, 0), 0);
    CHECK_TEXT(root_of(AT_FDCWD, "/file"), "root/jail/file");
    CHECK_TEXT(root_of(AT_FDCWD, "/absolute"), "root/jail/file");
    CHECK_TEXT(root_of(AT_FDCWD, "/../../in/../../file"), "root/jail/file");
    CHECK_TEXT(root_of(AT_FDCWD, "/up"), "root/jail/dir");
    CHECK_TEXT(leads_within(guest, AT_FDCWD, "/jail/file", FOLLOW, FROM_TOP), "root/jail/file");
    CHECK_TEXT(root_of(AT_FDCWD, "/proc/self/root/file"), "-ENOENT");
    CHECK_TEXT(leads_within(guest, AT_FDCWD, "/file", FOLLOW, RESOLVE_BENEATH), "-EXDEV");
    CHECK_NUMBER(on(NR_rmdir, "/", 0, 0), -EINVAL);
    /* The working directory stayed outside, as it does with the kernel. */
    CHECK_TEXT(root_of(AT_FDCWD, "file"), "root/file");
    CHECK_TEXT(root_of(AT_FDCWD, "jail/absolute"), "root/jail/file");
    CHECK_TEXT(root_of(AT_FDCWD, "jail/../../file"), "root/file");
    CHECK_TEXT(root_of(outside, "jailer/../dir"), "root/dir");
    CHECK_NUMBER(carry_out(NR_getcwd, (long)text, sizeof text, 0, 0, 0), -ENOENT);
    CHECK_NUMBER(on(NR_chdir, "/in", 0, 0), 0);
    CHECK_NUMBER(carry_out(NR_getcwd, (long)text, sizeof text, 0, 0, 0), 4);
    CHECK_TEXT(text, "/in");
    CHECK_TEXT(root_of(AT_FDCWD, "../../../file"), "root/jail/file");
    CHECK_NUMBER(on(NR_chroot, ".", 0, 0), 0);
    CHECK_TEXT(root_of(AT_FDCWD, "/../file"), "root/jail/in/file");
    CHECK_NUMBER(carry_out(NR_fchdir, outside, 0, 0, 0, 0), 0);
    CHECK_NUMBER(on(NR_chroot, ".", 0, 0), 0);
    CHECK_TEXT(root_of(AT_FDCWD, "/file"), "root/file");
    close_descriptor((int)outside);
    become(0, 0);
}

/* The image's own: nothing is asked of the kernel for them. */
static void test_image(void) {
    struct {
        uint32_t magic, padding;
        uint64_t device, root, count;
        struct {
            uint64_t inode;
            uint32_t uid, gid;
            int32_t mode;
            uint32_t padding;
        } owners[4];
    } table = {.magic = MAGIC, .count = 4};
    struct status status;
    CHECK_NUMBER(kernel(NR_newfstatat, AT_FDCWD, (long)"other", (long)&status, 0, 0, 0), 0);
    table.device = status.device;
    for (size_t index = 0; index < 4; index++) {
        table.owners[index].inode = index < 3 ? index + 1000000001 : 0;
        table.owners[index].mode = -1;
    }
    size_t place = owners_scatter(status.inode) & 3;
    place = table.owners[place].inode == 0 ? place : (place + 1) & 3;
    table.owners[place].inode = status.inode;
    table.owners[place].uid = 41;
    table.owners[place].gid = 42;
    table.owners[place].mode = 06711;
    make_bytes("../table", &table, sizeof table);
    static struct process with_table;
    CHECK(GUEST(&with_table.guest, "root", "@root", "image-owners", "@table"));
    owners_open(&with_table.guest);
    CHECK(with_table.guest.owners.image != NULL);
    persona_begin(&with_table);
    struct call call = {NR_newfstatat, {AT_FDCWD, (long)"/other", (long)&status}};
    CHECK_NUMBER(calls_carry_out(&with_table, &call, NULL), 0);
    CHECK_TEXT(describe_status(0, &status), "41:42 6711");
    call.argument[1] = (long)"/dir";
    CHECK_NUMBER(calls_carry_out(&with_table, &call, NULL), 0);
    CHECK_TEXT(describe_status(0, &status), "0:0 0755");
    /* A copy that may be changed has them by itself. */
    CHECK(GUEST(&with_table.guest, "root", "@root", "owners", "@marks", "image-owners", "@table"));
    owners_open(&with_table.guest);
    struct file original;
    int of_image = open_path("other");
    CHECK_NUMBER(owners_look(of_image, &original), 0);
    make_file("copied", "");
    int descriptor = open_path("copied");
    CHECK_NUMBER(owners_copy(&with_table.guest, &original, descriptor), 0);
    call.argument[1] = (long)"/copied";
    CHECK_NUMBER(calls_carry_out(&with_table, &call, NULL), 0);
    CHECK_TEXT(describe_status(0, &status), "41:42 6711");
    CHECK_NUMBER(mode_on_host("copied"), 0711);
    CHECK_NUMBER(owners_look(descriptor, &original), 0);
    CHECK_NUMBER(owners_copy(&with_table.guest, &original, of_image), 0);
    CHECK(!has_attribute("other"));
    close_descriptor(descriptor);
    close_descriptor(of_image);
    table.count = 3; /* damaged: it is not used */
    make_bytes("../damaged", &table, sizeof table);
    CHECK(GUEST(&with_table.guest, "root", "@root", "image-owners", "@damaged"));
    owners_open(&with_table.guest);
    CHECK(with_table.guest.owners.image == NULL);
}

static void test_peers(void) {
    unsigned uid = 9;
    unsigned gid = 9;
    const struct guest *guest = &process.guest;
    owners_tell_peer(guest, 5, 0, 0);
    CHECK(!owners_find_peer(guest, 5, &uid, &gid));
    owners_tell_peer(guest, 5, 101, 102);
    CHECK(owners_find_peer(guest, 5, &uid, &gid) && uid == 101 && gid == 102);
    CHECK(!owners_find_peer(guest, 5 + 4096, &uid, &gid));
    CHECK(!owners_find_peer(guest, 0, &uid, &gid));
    owners_tell_peer(guest, 5 + 4096, 0, 0); /* another process has that place */
    CHECK(owners_find_peer(guest, 5, &uid, &gid));
    owners_tell_peer(guest, 5, 0, 0);
    CHECK(owners_find_peer(guest, 5, &uid, &gid) && uid == 0);
}

struct message {
    void *name;
    long name_size;
    struct {
        void *base;
        size_t size;
    } * vectors;
    size_t vector_count;
    void *control;
    size_t control_size;
    long flags;
};

struct control {
    size_t size;
    int level, type;
    int pid;
    unsigned uid, gid, padding;
};

/* The result of sending ids; what arrives is in *received. */
static long send_ids(const int *sockets, unsigned uid, unsigned gid, struct control *received) {
    char byte = 'x';
    struct control control = {28, 1, 2, (int)kernel(NR_getpid, 0, 0, 0, 0, 0, 0), uid, gid, 0};
    struct message message = {
        NULL, 0, (void *)&(void *[2]){&byte, (void *)1}, 1, &control, sizeof control, 0};
    long result = carry_out(NR_sendmsg, sockets[0], (long)&message, 0, 0, 0);
    CHECK(control.uid == uid && control.gid == gid);
    if (result >= 0) {
        message.control = received;
        message.control_size = sizeof *received;
        result = carry_out(NR_recvmsg, sockets[1], (long)&message, 0, 0, 0);
    }
    return result;
}

static void test_credentials(void) {
    enum { UNIX = 1, STREAM = 1, SOL = 1, PASSCRED = 16 };
    int sockets[2];
    struct control received = {0};
    CHECK_NUMBER(kernel(NR_socketpair, UNIX, STREAM, 0, (long)sockets, 0, 0), 0);
    CHECK_NUMBER(kernel(NR_setsockopt, sockets[1], SOL, PASSCRED, (long)&(int){1}, sizeof(int), 0),
                 0);
    CHECK_NUMBER(send_ids(sockets, 0, 0, &received), 1);
    CHECK(received.uid == 0 && received.gid == 0);
    become(5, 7);
    CHECK_NUMBER(send_ids(sockets, 5, 7, &received), 1);
    CHECK(received.uid == 5 && received.gid == 7);
    CHECK_NUMBER(send_ids(sockets, 0, 7, &received), -EPERM);
    CHECK_NUMBER(send_ids(sockets, 5, 0, &received), -EPERM);
    become(0, 0);
    close_descriptor(sockets[0]);
    close_descriptor(sockets[1]);
}

static void test_processes(void) {
    char text[4096];
    char place[64];
    become(5, 7);
    long descriptor = open_it("/proc/self/status", O_RDONLY, 0);
    CHECK(read_descriptor((int)descriptor, text, sizeof text) > 0);
    CHECK(strstr(text, "\nUid:\t5\t5\t5\t5\nGid:\t7\t7\t7\t7\n") != NULL);
    CHECK(strstr(text, "\nGroups:\t4 9 \n") != NULL);
    CHECK(strstr(text, "\nCapEff:\t0000000000000000\n") != NULL);
    CHECK(strstr(text, "\nThreads:") != NULL);
    close_descriptor((int)descriptor);
    /* A child that has not told anything is its parent's. */
    long child = start_process(".");
    snprintf(place, sizeof place, "/proc/%ld", child);
    CHECK(strncmp(shown(place), "5:7 ", 4) == 0);
    CHECK(strncmp(shown("/proc/1"), "0:0 ", 4) == 0);
    snprintf(place, sizeof place, "/proc/%ld/status", child);
    descriptor = open_it(place, O_RDONLY, 0);
    CHECK(read_descriptor((int)descriptor, text, sizeof text) > 0);
    CHECK(strstr(text, "\nUid:\t5\t5\t5\t5\n") != NULL);
    close_descriptor((int)descriptor);
    end_process(child);
    become(0, 0);
    descriptor = open_it("/proc/self/status", O_RDONLY, 0);
    CHECK(read_descriptor((int)descriptor, text, sizeof text) > 0);
    CHECK(strstr(text, "\nCapEff:\t000001ffffffffff\n") != NULL);
    close_descriptor((int)descriptor);
}

int main(void) {
    /* The same numbers are in tests/store/test_owners.py. */
    CHECK(owners_scatter(1) == 0x9e3779b9 && owners_scatter(0x123456789abcdef) == 0xe8d28844);
    make_world();
    test_owners_are_remembered();
    test_modes();
    test_hidden_attributes();
    test_others();
    test_groups();
    test_capabilities();
    test_chroot();
    test_image();
    test_peers();
    test_credentials();
    test_processes();
    return harness_end();
}
