/* Descriptions, and the two ways between guest paths and host paths. */
#include "guests.h"

static bool reads(const char *text, size_t size) {
    static struct guest guest;
    char *end = memory_at_the_end(size); /* not a byte more is read */
    memcpy(end, text, size);
    memset(&guest, 0xa5, sizeof guest);
    return guest_read(&guest, end, size);
}

#define READS(text) reads(text, sizeof(text) - 1)

static void test_descriptions(void) {
    CHECK(READS("root\0/r\0"));
    CHECK(READS("root\0/\0uid\0000\0gid\0004294967295\0directory\0/x\0rw\0/a\0/b\0ro\0/c/d\0/\0"));
    CHECK(READS("root\0/r\0copies\0/p\0"));
    CHECK(!READS("root\0/r\0copies\0p\0"));
    CHECK(!READS("root\0/r\0copies\0"));
    CHECK(!READS(""));
    CHECK(!READS("\0"));
    CHECK(!READS("root\0/r"));       /* no NUL at the end */
    CHECK(!READS("root\0/r\0rw\0")); /* words that are missing */
    CHECK(!READS("root\0/r\0rw\0/a\0"));
    CHECK(!READS("root\0/r\0rw\0/a\0/b"));
    CHECK(!READS("root\0"));
    CHECK(!READS("root"));
    CHECK(!READS("uid\0000\0"));           /* no root */
    CHECK(!READS("root\0/r\0root\0/s\0")); /* two of them */
    CHECK(!READS("root\0r\0"));            /* paths that are none */
    CHECK(!READS("root\0\0"));
    CHECK(!READS("root\0/r/\0"));
    CHECK(!READS("root\0//r\0"));
    CHECK(!READS("root\0/r/../s\0"));
    CHECK(!READS("root\0/r\0rw\0/a/.\0/b\0"));
    CHECK(!READS("root\0/r\0rw\0/a/..\0/b\0"));
    CHECK(!READS("root\0/r\0rw\0a\0/b\0"));
    CHECK(!READS("root\0/r\0rw\0\0/b\0"));
    CHECK(!READS("root\0/r\0rw\0/a\0b\0"));
    CHECK(!READS("root\0/r\0rw\0/\0/b\0")); /* the root is given by its own word */
    CHECK(!READS("root\0/r\0uid\0\0"));
    CHECK(!READS("root\0/r\0uid\0-1\0"));
    CHECK(!READS("root\0/r\0uid\0004294967296\0"));
    CHECK(!READS("root\0/r\0uid\00099999999999999999999999999\0"));
    CHECK(!READS("root\0/r\0uid\0001x\0"));
    CHECK(!READS("root\0/r\0directory\0x\0"));
    CHECK(!READS("root\0/r\0something\0x\0"));
    CHECK(READS("root\0/.../..x\0rw\0/...\0/.x\0")); /* these are names */
}

#define PORT(...) READS("root\0/r\0port\0" __VA_ARGS__)

static void test_ports(void) {
    static const char text[] =
        "root\0/r\0port\0tcp\00080\08080\0001\0\0port\0udp\00053\0005353\0002\0"
        "7f00000a\0";
    static struct guest guest;
    CHECK(guest_read(&guest, text, sizeof text - 1));
    CHECK_NUMBER((long)guest.ports.count, 2);
    CHECK_NUMBER(guest.ports.all[1].host, 5353);
    CHECK_NUMBER(guest.ports.all[1].address_size, 4);
    CHECK_NUMBER(guest.ports.all[1].address[3], 10);
    CHECK(PORT("tcp\0001\00065535\0001\000000102030405060708090a0b0c0d0e0f\0"));
    CHECK(PORT("tcp\0001\0001\00065535\0\0"));
    CHECK(!PORT("tcp\0001\0001\00065536\0\0"));
    CHECK(!PORT("tcp\0001\0002\00065535\0\0"));
    CHECK(!PORT("tcp\0002\0001\00065535\0\0"));
    CHECK(!PORT("tcp\0000\0001\0001\0\0"));
    CHECK(!PORT("tcp\0001\0000\0001\0\0"));
    CHECK(!PORT("tcp\0001\0001\0000\0\0"));
    CHECK(!PORT("tcp\0001\0001\0004294967295\0\0"));
    CHECK(!PORT("sctp\0001\0001\0001\0\0"));
    CHECK(!PORT("tcp\0001\0001\0x\0\0"));
    CHECK(!PORT("tcp\0001\0001\0001\0007f0000\0"));
    CHECK(!PORT("tcp\0001\0001\0001\0007F00000A\0"));
    CHECK(!PORT("tcp\0001\0001\0001\000127.0.0.1\0"));
    CHECK(!PORT("tcp\0001\0001\0001\0")); /* words that are missing */
    CHECK(!PORT("tcp\0001\0001\0"));
    CHECK(!PORT("tcp\0"));
}

static void test_many_ports(void) {
    static char text[1 << 12];
    for (int ports = MAX_PORTS - 1; ports <= MAX_PORTS + 1; ports++) {
        size_t size = 0;
        size += 1 + (size_t)sprintf(text + size, "root");
        size += 1 + (size_t)sprintf(text + size, "/r");
        for (int index = 1; index <= ports; index++) {
            size += 1 + (size_t)sprintf(text + size, "port");
            size += 1 + (size_t)sprintf(text + size, "tcp");
            size += 1 + (size_t)sprintf(text + size, "%d", index);
            size += 1 + (size_t)sprintf(text + size, "%d", 9000 + index);
            size += 1 + (size_t)sprintf(text + size, "1");
            size += 1 + (size_t)sprintf(text + size, "%s", "");
        }
        CHECK(reads(text, size) == (ports <= MAX_PORTS));
    }
}

static void test_a_read_only_root(void) {
    static const char text[] = "root-ro\0/r\0rw\0/v\0/w\0";
    static struct guest guest;
    CHECK(guest_read(&guest, text, sizeof text - 1));
    CHECK(guest.has_readonly);
    CHECK(guest_mount(&guest, "/a", 2)->readonly);
    CHECK(!guest_mount(&guest, "/v/a", 4)->readonly);
    guest_uncover(&guest); /* what is mounted on is made below */
    CHECK(!guest.has_readonly);
    CHECK(!guest_mount(&guest, "/v/a", 4)->readonly);
    CHECK(!READS("root-ro\0/r\0root\0/s\0"));
}

static void test_many(void) {
    static char text[1 << 16];
    for (int mounts = 250; mounts <= 260; mounts++) {
        size_t size = 0;
        size += 1 + (size_t)sprintf(text + size, "root");
        size += 1 + (size_t)sprintf(text + size, "/r");
        for (int index = 1; index < mounts; index++) {
            size += 1 + (size_t)sprintf(text + size, "rw");
            size += 1 + (size_t)sprintf(text + size, "/m%d", index);
            size += 1 + (size_t)sprintf(text + size, "/s%d", index);
        }
        CHECK(reads(text, size) == (mounts <= MAX_MOUNTS));
    }
}

static const char *to_host(const struct guest *guest, const char *path) {
    static char host[PATH_SIZE];
    long size = guest_to_host(guest, path, strlen(path), host);
    CHECK(size < 0 || (size_t)size == strlen(host));
    return told(size, host);
}

static const char *from_host(const struct guest *guest, const char *host) {
    static char path[PATH_SIZE];
    static char same[PATH_SIZE];
    long size = guest_from_host(guest, host, strlen(host), path);
    CHECK(size < 0 || (size_t)size == strlen(path));
    memcpy(same, host, strlen(host) + 1); /* in place as well */
    long again = guest_from_host(guest, same, strlen(same), same);
    CHECK_NUMBER(again, size);
    CHECK(size < 0 || strcmp(path, same) == 0);
    return told(size, path);
}

static void test_both_ways(void) {
    struct guest guest;
    CHECK(GUEST(&guest, "root", "/c/root", "rw", "/dev", "/dev", "ro", "/data", "/srv/data", "rw",
                "/data/in", "/srv/other", "rw", "/whole", "/", "rw", "/etc/hosts",
                "/c/files/hosts"));
    CHECK_TEXT(to_host(&guest, "/"), "/c/root");
    CHECK_TEXT(to_host(&guest, ""), "/c/root");
    CHECK_TEXT(to_host(&guest, "/dev"), "/dev");
    CHECK_TEXT(to_host(&guest, "/devil"), "/c/root/devil");
    CHECK_TEXT(to_host(&guest, "/data/x"), "/srv/data/x");
    CHECK_TEXT(to_host(&guest, "/data/in/x"), "/srv/other/x");
    CHECK_TEXT(to_host(&guest, "/data/inn"), "/srv/data/inn");
    CHECK_TEXT(to_host(&guest, "/whole"), "/");
    CHECK_TEXT(to_host(&guest, "/whole/etc"), "/etc");
    CHECK_TEXT(from_host(&guest, "/c/root"), "/");
    CHECK_TEXT(from_host(&guest, "/c/root/usr"), "/usr");
    CHECK_TEXT(from_host(&guest, "/c/rootless"), "/whole/c/rootless");
    CHECK_TEXT(from_host(&guest, "/dev/pts/1"), "/dev/pts/1");
    CHECK_TEXT(from_host(&guest, "/srv/data"), "/data");
    CHECK_TEXT(from_host(&guest, "/srv/data/in/x"),
               "/whole/srv/data/in/x"); /* hidden at /data/in */
    CHECK_TEXT(from_host(&guest, "/srv/other"), "/data/in");
    CHECK_TEXT(from_host(&guest, "/"), "/whole");
    CHECK_TEXT(from_host(&guest, "/c/root/dev/null"), "/whole/c/root/dev/null");
    CHECK_TEXT(from_host(&guest, "/c/files/hosts"), "/etc/hosts");
    CHECK(guest_is_target(&guest, "/data/in", 8));
    CHECK(guest_is_target(&guest, "", 0));
    CHECK(!guest_is_target(&guest, "/data/i", 7));
    CHECK(guest_has_target_below(&guest, "/etc", 4));
    CHECK(guest_has_target_below(&guest, "/data", 5));
    CHECK(guest_has_target_below(&guest, "", 0));
    CHECK(!guest_has_target_below(&guest, "/data/in", 8));
    CHECK(!guest_has_target_below(&guest, "/et", 3));
}

static void test_hidden(void) {
    struct guest guest;
    CHECK(GUEST(&guest, "root", "/r", "rw", "/a", "/x", "rw", "/a", "/y", "ro", "/r", "/r"));
    CHECK_TEXT(to_host(&guest, "/a/f"), "/y/f"); /* the later one */
    CHECK_TEXT(from_host(&guest, "/y/f"), "/a/f");
    CHECK_TEXT(from_host(&guest, "/x/f"), "-ENOENT");
    CHECK_TEXT(from_host(&guest, "/none"), "-ENOENT");
    CHECK(GUEST(&guest, "root", "/r"));
    CHECK_TEXT(from_host(&guest, "/"), "-ENOENT");
    CHECK_TEXT(from_host(&guest, "/rest"), "-ENOENT");
}

static void test_too_long(void) {
    struct guest guest;
    char path[PATH_SIZE];
    char host[PATH_SIZE];
    CHECK(GUEST(&guest, "root", "/0123456789"));
    memset(path, 'x', sizeof path);
    path[0] = '/';
    CHECK_NUMBER(guest_to_host(&guest, path, PATH_SIZE - 13, host), PATH_SIZE - 2);
    CHECK_NUMBER(guest_to_host(&guest, path, PATH_SIZE - 12, host), -ENAMETOOLONG);
    CHECK_NUMBER(guest_to_host(&guest, path, PATH_SIZE - 1, host), -ENAMETOOLONG);
}

int main(void) {
    test_descriptions();
    test_ports();
    test_many_ports();
    test_a_read_only_root();
    test_many();
    test_both_ways();
    test_hidden();
    test_too_long();
    return harness_end();
}
