/* What of /proc is translated: links, and files that name files. */
#include "guests.h"

#include "proc.h"
#include "proc_files.h"
#include "proc_mounts.h"

static void check_link(const char *host, enum proc_link kind, unsigned long pid) {
    unsigned long found = 0;
    if (proc_link(host, &found) != kind) {
        printf("link %s\n", host);
    }
    CHECK_NUMBER(proc_link(host, &found), kind);
    if (kind != NOT_MAGIC) {
        CHECK_NUMBER(found, pid);
    }
}

static void test_kinds(void) {
    check_link("/proc/12/exe", LINK_TO_PROGRAM, 12);
    check_link("/proc/12/root", LINK_TO_ROOT, 12);
    check_link("/proc/12/cwd", LINK_TO_DIRECTORY, 12);
    check_link("/proc/12/fd/0", LINK_TO_OPEN, 12);
    check_link("/proc/12/fd/1234567", LINK_TO_OPEN, 12);
    check_link("/proc/12/task/13/exe", LINK_TO_PROGRAM, 12);
    check_link("/proc/12/task/13/fd/1", LINK_TO_OPEN, 12);
    check_link("/proc/12/task/13/root", LINK_TO_ROOT, 12);
    check_link("/proc/12/ns/mnt", LINK_TO_OTHER, 12);
    check_link("/proc/12/map_files/400000-401000", LINK_TO_OTHER, 12);
    check_link("/proc/4294967295/exe", LINK_TO_PROGRAM, 4294967295);
    const char *const none[] = {
        "/",
        "",
        "/proc",
        "/proc/",
        "/proc/exe",
        "/proc/12",
        "/proc/12/",
        "/proc/12/exe/x",
        "/proc/12/exec",
        "/proc/12x/exe",
        "/proc/x/exe",
        "/proc/12/fd",
        "/proc/12/fd/",
        "/proc/12/fd/x",
        "/proc/12/fd/1/x",
        "/proc/12/task",
        "/proc/12/task/13",
        "/proc/12/task/x/exe",
        "/proc/12/net/tcp",
        "/proc/sys/exe",
        "/process/12/exe",
        "/x/proc/12/exe",
        "/proc/12/fdinfo/1",
        "/proc/12345678901/exe",
    };
    for (size_t index = 0; index < sizeof none / sizeof none[0]; index++) {
        check_link(none[index], NOT_MAGIC, 0);
    }
}

static struct guest guest;

/* Paths below /proc/self, as an ordinary program may use them. */
static void test_own_links(void) {
    char path[64];
    char number[32];
    CHECK(GUEST(&guest, "root", "@root", "rw", "/proc", "/proc", "rw", "/mnt", "@data"));
    enter("root/usr");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/proc/self/exe", FOLLOW), "root/usr/bin/program");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/proc/self/root", FOLLOW), "root");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/proc/self/root/etc", FOLLOW), "root/etc");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/proc/self/root/../../secret", FOLLOW), "root/secret");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/proc/self/cwd/bin", FOLLOW), "root/usr/bin");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/proc/self/cwd/..", FOLLOW), "root");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/proc/thread-self/root", FOLLOW), "root");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/proc/self/exe/x", FOLLOW), "-ENOTDIR");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/proc/self/../../secret", FOLLOW), "root/secret");
    leads(&guest, AT_FDCWD, "/proc/self/cwd", FOLLOW);
    CHECK(last_space.is_magic);
    CHECK_TEXT(last_space.guest, "/usr");
    CHECK_NUMBER(last_space.mount->target_size, 0);
    leads(&guest, AT_FDCWD, "/proc/self/root", KEEP);
    CHECK(strncmp(last_space.host, "/proc/", 6) == 0); /* the link itself */
    enter(scratch());
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/proc/self/cwd/secret", FOLLOW), "-EACCES");
    int descriptor = open_path("data/deep");
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    leads(&guest, AT_FDCWD, path, FOLLOW);
    CHECK(last_space.is_magic);
    CHECK_TEXT(last_space.guest, "/mnt/deep");
    CHECK_TEXT(last_space.mount->target, "/mnt");
    CHECK_TEXT(identity_of(last_space.host)[0] == '\0' ? "" : "there", "there");
    snprintf(path, sizeof path, "/proc/self/fd/%d/..", descriptor);
    CHECK_TEXT(leads(&guest, AT_FDCWD, path, FOLLOW), "data");
    CHECK_TEXT(leads_within(&guest, AT_FDCWD, path, FOLLOW, RESOLVE_NO_MAGICLINKS), "-ELOOP");
    close_descriptor(descriptor);
    snprintf(number, sizeof number, "/proc/self/fd/%d/x", descriptor);
    CHECK_TEXT(leads(&guest, AT_FDCWD, number, FOLLOW), "-ENOENT");
    CHECK_TEXT(leads(&guest, AT_FDCWD, "/proc/self/ns/mnt", FOLLOW)[0] == '/' ? "/" : "", "/");
    CHECK(last_space.is_magic);
}

/* Those of another process, which is no guest. */
static void test_other_links(void) {
    char path[64];
    long pid = start_process(scratch());
    snprintf(path, sizeof path, "/proc/%ld/cwd", pid);
    CHECK_TEXT(leads(&guest, AT_FDCWD, path, FOLLOW), "-EACCES");
    snprintf(path, sizeof path, "/proc/%ld/cwd/secret", pid);
    CHECK_TEXT(leads(&guest, AT_FDCWD, path, FOLLOW), "-EACCES");
    snprintf(path, sizeof path, "/proc/%ld/root", pid);
    CHECK_TEXT(leads(&guest, AT_FDCWD, path, FOLLOW), "root");
    snprintf(path, sizeof path, "/proc/%ld/root/etc", pid);
    CHECK_TEXT(leads(&guest, AT_FDCWD, path, FOLLOW), "root/etc");
    end_process(pid);
    pid = start_process("data/deep");
    snprintf(path, sizeof path, "/proc/%ld/cwd/..", pid);
    CHECK_TEXT(leads(&guest, AT_FDCWD, path, FOLLOW), "data");
    end_process(pid);
}

static const char HOST_MOUNTS[] =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,discard\n"
    "23 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=4k\n"
    "24 23 0:20 / /dev/pts rw,nosuid shared:3 master:1 - devpts devpts rw,gid=5\n"
    "25 22 0:21 / /proc rw,relatime - proc proc rw\n"
    "30 22 0:40 /vol /srv/with\\040blank rw,relatime - nfs server:/vol ro,vers=4\n"
    "31 22 0:41 / /c/root/usr rw - tmpfs tmpfs rw\n"
    "broken line\n";

static const char *mounts_of(const char *name) {
    static char answer[8192];
    struct text in = {(char *)HOST_MOUNTS, sizeof HOST_MOUNTS - 1, sizeof HOST_MOUNTS};
    struct text out;
    text_make(&out);
    proc_mounts(&guest, &out, &in, name);
    memcpy(answer, out.bytes, out.size);
    answer[out.size] = '\0';
    text_free(&out);
    return answer;
}

static void test_mounts(void) {
    CHECK(GUEST(&guest, "root", "/c/root", "rw", "/dev", "/dev", "ro", "/data",
                "/srv/with blank/in", "rw", "/etc/hosts", "/c/files/hosts"));
    /* The host's number times 256, and the place in the list of mounts. */
    CHECK_TEXT(mounts_of("mountinfo"),
               "5635 0 8:1 /c/root / rw,relatime shared:1 - ext4 /dev/sda1 rw,discard\n"
               "5890 5635 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=4k\n"
               "7681 5635 0:40 /vol/in /data ro,relatime - nfs server:/vol ro,vers=4\n"
               "5632 5635 8:1 /c/files/hosts /etc/hosts rw,relatime shared:1 - ext4 /dev/sda1 "
               "rw,discard\n"
               "7939 5635 0:41 / /usr rw - tmpfs tmpfs rw\n"
               "6146 5890 0:20 / /dev/pts rw,nosuid shared:3 master:1 - devpts devpts rw,gid=5\n");
    CHECK_TEXT(mounts_of("mounts"), "/dev/sda1 / ext4 rw,relatime,discard 0 0\n"
                                    "udev /dev devtmpfs rw,nosuid,size=4k 0 0\n"
                                    "server:/vol /data nfs ro,relatime,vers=4 0 0\n"
                                    "/dev/sda1 /etc/hosts ext4 rw,relatime,discard 0 0\n"
                                    "tmpfs /usr tmpfs rw 0 0\n"
                                    "devpts /dev/pts devpts rw,nosuid,gid=5 0 0\n");
    CHECK(strstr(mounts_of("mountstats"), "device udev mounted on /dev with fstype devtmpfs\n") !=
          NULL);
}

static const char *maps_of(const struct guest *its) {
    static char text[65536];
    leads(its, AT_FDCWD, "/proc/self/maps", FOLLOW);
    long descriptor = proc_open(its, last_space.host, O_RDONLY | O_CLOEXEC);
    CHECK(descriptor >= 0);
    size_t size = 0;
    for (long got = 1; got > 0; size += (size_t)got) {
        got = read_descriptor((int)descriptor, text + size, sizeof text - size - 1);
    }
    text[size] = '\0';
    close_descriptor((int)descriptor);
    return text;
}

static void test_maps(void) {
    CHECK(GUEST(&guest, "root", "@root", "rw", "/proc", "/proc"));
    map_page_of("root/etc/mapped file");
    const char *text = maps_of(&guest);
    CHECK(strstr(text, " /etc/mapped file\n") != NULL);
    CHECK(strstr(text, "root/etc/mapped file") == NULL);
    CHECK_NUMBER(proc_open(&guest, last_space.host, 1 /* O_WRONLY */), -ENOSYS);
    CHECK_NUMBER(proc_open(&guest, "/etc/maps", O_RDONLY), -ENOSYS);
    CHECK_NUMBER(proc_open(&guest, "/proc/self/stat", O_RDONLY), -ENOSYS);
    CHECK(proc_open(&guest, "/proc/4000000000/maps", O_RDONLY) < 0);
}

/* A link that says: the copy stands for the file. */
static void make_copy(const char *file, const char *copy) {
    char link[160];
    struct status status;
    kernel(NR_newfstatat, AT_FDCWD, (long)file, (long)&status, 0, 0, 0);
    snprintf(link, sizeof link, "copies/files/%lu-%lu-%lu-%lu", (unsigned long)status.device,
             (unsigned long)status.inode, (unsigned long)status.size,
             (unsigned long)(status.modified[0] * 1000000000 + status.modified[1]));
    CHECK_NUMBER(kernel(NR_symlinkat, (long)copy, AT_FDCWD, (long)link, 0, 0, 0), 0);
}

/* The guest sees the file that a copy of it stands for, where something of both is mapped. */
static void test_maps_of_copies(void) {
    const char *original = "root/usr/bin/program";
    make_copy(original, "../abcdef");
    CHECK(GUEST(&guest, "root", "@root", "rw", "/proc", "/proc", "copies", "@copies/files"));
    map_page_of("copies/abcdef");
    const char *maps = maps_of(&guest);
    CHECK(strstr(maps, "copies/abcdef\n") != NULL); /* of what, does not show */
    map_page_of(original);
    maps = maps_of(&guest);
    CHECK(strstr(maps, "copies/abcdef") == NULL);
    const char *first = strstr(maps, " /usr/bin/program\n");
    CHECK(first != NULL && strstr(first + 1, " /usr/bin/program\n") != NULL);
}

static bool may_be_file(const char *path) {
    const char *slash = strrchr(path, '/');
    size_t begin = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    return proc_may_be_file(path, begin, strlen(path + begin));
}

/* For all others the kernel may look the path up by itself. */
static void test_names(void) {
    CHECK(may_be_file("/proc/1/maps"));
    CHECK(may_be_file("maps"));
    CHECK(may_be_file("/proc/1/fdinfo/5"));
    CHECK(may_be_file("fdinfo/5"));
    CHECK(may_be_file("5"));
    CHECK(may_be_file("/5"));
    CHECK(may_be_file("./5"));
    CHECK(may_be_file("../5"));
    CHECK(may_be_file("x//5"));
    CHECK(!may_be_file("/data/5"));
    CHECK(!may_be_file("/data/xfdinfo/5"));
    CHECK(!may_be_file("/proc/1/fdinfo/x5"));
}

int main(void) {
    test_names();
    scratch();
    make_directory("root");
    make_directory("root/etc");
    make_directory("root/usr");
    make_directory("root/usr/bin");
    make_directory("data");
    make_directory("data/deep");
    make_file("root/etc/mapped file", "x");
    make_file("root/usr/bin/program", "x");
    make_file("secret", "host\n");
    make_directory("copies");
    make_directory("copies/files");
    make_file("copies/abcdef", "x");
    test_kinds();
    test_own_links();
    test_other_links();
    test_mounts();
    test_maps();
    test_maps_of_copies();
    return harness_end();
}
