/* Published ports: sockets of this host's loopback interface, as the guest sees them. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* Behind those of the C library: what it declares is hidden. */
#include "guests.h"

#include "calls.h"
#include "older.h"

enum { MPTCP = 262, PORT = 80, RANGE = 8000, BOUND = 81 };

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage room;
};

/* struct mmsghdr of sendmmsg(2). */
struct many {
    struct msghdr msg_hdr;
    unsigned msg_len;
};

static struct process process;
static int
    free_ports[4];     /* of the host, for: 80/tcp, 80/udp, 81/tcp on one address, 82/tcp on ::1 */
static int free_range; /* for 8000-8002/tcp */
static bool has_v6;

static long carry_out(long number, long a, long b, long c, long d, long e, long f) {
    struct call call = {number, {a, b, c, d, e, f}};
    older_to_newer(&call);
    return calls_carry_out(&process, &call, NULL);
}

static int new_socket(int family, int type, int protocol) {
    return (int)carry_out(NR_socket, family, type, protocol, 0, 0, 0);
}

static unsigned at(union address *address, const char *text, int port) {
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons((uint16_t)port);
        return sizeof address->v4;
    }
    CHECK(inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1);
    address->v6.sin6_family = AF_INET6;
    address->v6.sin6_port = htons((uint16_t)port);
    return sizeof address->v6;
}

/* "ADDRESS PORT" */
static const char *told_of(const union address *address) {
    static char text[INET6_ADDRSTRLEN + 8];
    bool is_v4 = address->any.sa_family == AF_INET;
    const void *bytes = is_v4 ? (const void *)&address->v4.sin_addr : &address->v6.sin6_addr;
    inet_ntop(address->any.sa_family, bytes, text, sizeof text);
    int port = ntohs(is_v4 ? address->v4.sin_port : address->v6.sin6_port);
    sprintf(text + strlen(text), " %d", port);
    return text;
}

static long name_call(long number, int socket, const char *text, int port) {
    union address address;
    union address before;
    unsigned size = at(&address, text, port);
    before = address;
    long result = carry_out(number, socket, (long)&address, size, 0, 0, 0);
    CHECK(memcmp(&before, &address, sizeof before) == 0); /* the guest's memory is its own */
    return result;
}

/* What the guest is told by getsockname(2) and getpeername(2). */
static const char *shown(long number, int socket) {
    union address address;
    unsigned size = sizeof address;
    memset(&address, 0, sizeof address);
    CHECK_NUMBER(carry_out(number, socket, (long)&address, (long)&size, 0, 0, 0), 0);
    return told_of(&address);
}

/* What the kernel knows. */
static const char *really(int socket) {
    union address address;
    socklen_t size = sizeof address;
    memset(&address, 0, sizeof address);
    CHECK(getsockname(socket, &address.any, &size) == 0);
    return told_of(&address);
}

static const char *with(const char *address, int port) {
    static char text[64];
    snprintf(text, sizeof text, "%s %d", address, port);
    return text;
}

/* The first of so many ports that are free now. */
static int find_free(int type, int count) {
    for (int tries = 0; tries < 100; tries++) {
        int held[4];
        int good = 0;
        int first = 0;
        for (int index = 0; index < count; index++) {
            union address address;
            socklen_t size = at(&address, "127.0.0.1", index == 0 ? 0 : first + index);
            held[index] = socket(AF_INET, type, 0);
            good += bind(held[index], &address.any, size) == 0;
            CHECK(getsockname(held[index], &address.any, &size) == 0);
            first = index == 0 ? ntohs(address.v4.sin_port) : first;
        }
        for (int index = 0; index < count; index++) {
            close(held[index]);
        }
        if (good == count && first + count < 65536) {
            return first;
        }
    }
    return -1;
}

static void make_world(void) {
    char numbers[5][8];
    make_directory("root");
    for (int index = 0; index < 4; index++) {
        free_ports[index] = find_free(index == 1 ? SOCK_DGRAM : SOCK_STREAM, 1);
        sprintf(numbers[index], "%d", free_ports[index]);
    }
    free_range = find_free(SOCK_STREAM, 3);
    sprintf(numbers[4], "%d", free_range);
    CHECK(GUEST(&process.guest, "root", "@root", "port", "tcp", "80", numbers[0], "1", "", "port",
                "udp", "80", numbers[1], "1", "", "port", "tcp", "81", numbers[2], "1", "7f000005",
                "port", "tcp", "82", numbers[3], "1", "00000000000000000000000000000001", "port",
                "tcp", "8000", numbers[4], "3", ""));
    int probe = socket(AF_INET6, SOCK_STREAM, 0);
    union address address;
    has_v6 = probe >= 0 && bind(probe, &address.any, at(&address, "::1", 0)) == 0;
    close(probe);
    if (!has_v6) {
        printf("without IPv6\n");
    }
}

/* A server and a client of it, both inside. */
static void meet(int family, int protocol, const char *bound, const char *to, const char *peer) {
    union address address;
    unsigned size = sizeof address;
    int server = new_socket(family, SOCK_STREAM, protocol);
    int client = new_socket(family, SOCK_STREAM, protocol);
    int on = 1;
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    CHECK_NUMBER(name_call(NR_bind, server, bound, PORT), 0);
    CHECK_TEXT(really(server), with(bound, free_ports[0]));
    CHECK_TEXT(shown(NR_getsockname, server), with(bound, PORT));
    CHECK_NUMBER(carry_out(NR_listen, server, 1, 0, 0, 0, 0), 0);
    CHECK_NUMBER(name_call(NR_connect, client, to, PORT), 0);
    CHECK_TEXT(shown(NR_getpeername, client), with(peer, PORT));
    int end = (int)carry_out(NR_accept4, server, (long)&address, (long)&size, 0, 0, 0);
    CHECK(end >= 0);
    CHECK_TEXT(told_of(&address), really(client)); /* a port that is nobody's stays */
    CHECK_TEXT(shown(NR_getsockname, end), with(peer, PORT));
    CHECK_TEXT(shown(NR_getpeername, end), really(client));
    close(end);
    close(client);
    close(server);
}

static void test_streams(void) {
    meet(AF_INET, 0, "0.0.0.0", "127.0.0.1", "127.0.0.1");
    meet(AF_INET, 0, "127.0.0.1", "0.0.0.0", "127.0.0.1");
    if (has_v6) {
        meet(AF_INET6, 0, "::", "::1", "::1");
        meet(AF_INET6, 0, "::1", "::", "::1");
        meet(AF_INET6, 0, "::", "::ffff:127.0.0.1", "::ffff:127.0.0.1");
    }
    int multipath = new_socket(AF_INET, SOCK_STREAM, MPTCP);
    if (multipath >= 0) {
        close(multipath);
        meet(AF_INET, MPTCP, "0.0.0.0", "127.0.0.1", "127.0.0.1");
    }
}

static void test_ranges(void) {
    for (int index = -1; index < 4; index++) {
        int server = new_socket(AF_INET, SOCK_STREAM, 0);
        long bound = name_call(NR_bind, server, "127.0.0.1", RANGE + index);
        bool is_published = index >= 0 && index < 3;
        if (bound == 0) { /* what is not published may be taken */
            CHECK_TEXT(really(server),
                       with("127.0.0.1", is_published ? free_range + index : RANGE + index));
            CHECK_TEXT(shown(NR_getsockname, server), with("127.0.0.1", RANGE + index));
        }
        CHECK(bound == 0 || !is_published);
        close(server);
    }
}

/* To this address only, whatever the program says; but what says loopback means it. */
static void test_one_address(void) {
    int server = new_socket(AF_INET, SOCK_STREAM, 0);
    int client = new_socket(AF_INET, SOCK_STREAM, 0);
    CHECK_NUMBER(name_call(NR_bind, server, "0.0.0.0", BOUND), 0);
    CHECK_TEXT(really(server), with("127.0.0.5", free_ports[2]));
    CHECK_TEXT(shown(NR_getsockname, server), with("127.0.0.5", BOUND));
    CHECK_NUMBER(carry_out(NR_listen, server, 1, 0, 0, 0, 0), 0);
    CHECK_NUMBER(name_call(NR_connect, client, "127.0.0.1", BOUND), 0);
    CHECK_TEXT(shown(NR_getpeername, client), with("127.0.0.5", BOUND));
    close(client);
    close(server);
    server = new_socket(AF_INET, SOCK_STREAM, 0);
    CHECK_NUMBER(name_call(NR_bind, server, "127.0.0.1", BOUND), 0);
    CHECK_TEXT(really(server), with("127.0.0.1", free_ports[2]));
    close(server);
    server = new_socket(AF_INET, SOCK_STREAM, 0); /* an address of the other family */
    CHECK_NUMBER(name_call(NR_bind, server, "0.0.0.0", 82), 0);
    CHECK_TEXT(really(server), with("127.0.0.1", free_ports[3]));
    close(server);
}

static void test_one_address_v6(void) {
    int on = 1;
    int server = new_socket(AF_INET6, SOCK_STREAM, 0);
    int client = new_socket(AF_INET6, SOCK_STREAM, 0);
    CHECK_NUMBER(name_call(NR_bind, server, "::", BOUND), 0);
    CHECK_TEXT(really(server), with("::ffff:127.0.0.5", free_ports[2]));
    CHECK_NUMBER(carry_out(NR_listen, server, 1, 0, 0, 0, 0), 0);
    CHECK_NUMBER(name_call(NR_connect, client, "::1", BOUND), 0);
    CHECK_TEXT(shown(NR_getpeername, client), with("::ffff:127.0.0.5", BOUND));
    close(client);
    close(server);
    server = new_socket(AF_INET6, SOCK_STREAM, 0);
    CHECK(setsockopt(server, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0);
    CHECK_NUMBER(name_call(NR_bind, server, "::", BOUND), 0);
    CHECK_TEXT(really(server), with("::1", free_ports[2]));
    close(server);
    server = new_socket(AF_INET6, SOCK_STREAM, 0);
    CHECK_NUMBER(name_call(NR_bind, server, "::", 82), 0);
    CHECK_TEXT(really(server), with("::1", free_ports[3]));
    close(server);
}

static struct msghdr message_of(union address *address, struct iovec *vector) {
    return (struct msghdr){
        .msg_name = address, .msg_namelen = sizeof *address, .msg_iov = vector, .msg_iovlen = 1};
}

/* A datagram arrives, and seems to be from there. */
static void check_arrived(int socket, int way, const char *from) {
    union address address;
    char byte = 0;
    struct iovec vector = {&byte, 1};
    unsigned size = sizeof address;
    memset(&address, 0, sizeof address);
    struct many many = {.msg_hdr = message_of(&address, &vector)};
    long told = way == 0
                    ? carry_out(NR_recvfrom, socket, (long)&byte, 1, 0, (long)&address, (long)&size)
                : way == 1 ? carry_out(NR_recvmsg, socket, (long)&many.msg_hdr, 0, 0, 0, 0)
                           : carry_out(NR_recvmmsg, socket, (long)&many, 1, 0, 0, 0);
    CHECK_NUMBER(told, 1);
    CHECK_NUMBER(byte, 'x');
    CHECK_TEXT(told_of(&address), from);
}

static void check_sent(int socket, int way, const char *to, int port) {
    union address address;
    char byte = 'x';
    struct iovec vector = {&byte, 1};
    unsigned size = at(&address, to, port);
    struct many many = {.msg_hdr = message_of(&address, &vector)};
    many.msg_hdr.msg_namelen = size;
    long told = way == 0   ? carry_out(NR_sendto, socket, (long)&byte, 1, 0, (long)&address, size)
                : way == 1 ? carry_out(NR_sendmsg, socket, (long)&many.msg_hdr, 0, 0, 0, 0)
                           : carry_out(NR_sendmmsg, socket, (long)&many, 1, 0, 0, 0);
    CHECK_NUMBER(told, 1);
    CHECK(many.msg_hdr.msg_name == &address);
}

static void test_datagrams(int family, const char *any, const char *loopback) {
    int server = new_socket(family, SOCK_DGRAM, 0);
    int client = new_socket(family, SOCK_DGRAM, 0);
    CHECK_NUMBER(name_call(NR_bind, server, any, PORT), 0);
    CHECK_TEXT(really(server), with(any, free_ports[1]));
    CHECK_NUMBER(name_call(NR_bind, client, loopback, 0), 0);
    for (int way = 0; way < 3; way++) {
        char back[64];
        check_sent(client, way, loopback, PORT);
        snprintf(back, sizeof back, "%s", really(client));
        check_arrived(server, way, back);
        check_sent(server, way, loopback, atoi(strchr(back, ' ')));
        check_arrived(client, way, with(loopback, PORT)); /* whom it was sent to */
    }
    CHECK_NUMBER(name_call(NR_connect, client, loopback, PORT), 0);
    CHECK_TEXT(shown(NR_getpeername, client), with(loopback, PORT));
    CHECK_NUMBER(carry_out(NR_sendto, client, (long)"x", 1, 0, 0, 0), 1);
    check_arrived(server, 0, really(client));
    close(client);
    close(server);
}

/* Other protocols, other ports and other hosts are none of ours. */
static void test_left_alone(void) {
    union address address;
    struct internet result;
    const struct ports *ports = &process.guest.ports;
    int stream = new_socket(AF_INET, SOCK_STREAM, 0);
    int datagrams = new_socket(AF_INET, SOCK_DGRAM, 0);
    int local = new_socket(AF_UNIX, SOCK_STREAM, 0);
    unsigned size = at(&address, "127.0.0.1", PORT);
    CHECK(ports_there(ports, stream, &address, size, false, &result));
    CHECK(ports_there(ports, stream, &address, sizeof address, false, &result));
    CHECK_NUMBER(result.size, INTERNET_SIZE);
    CHECK(!ports_there(ports, stream, &address, (long)sizeof address + 1, false, &result));
    CHECK(!ports_there(ports, stream, &address, size - 1, false, &result));
    CHECK(!ports_there(ports, stream, &address, -1, false, &result));
    CHECK(!ports_there(ports, stream, &address, 0, false, &result));
    CHECK(!ports_there(ports, stream, (void *)8, size, false, &result));
    CHECK(!ports_there(ports, local, &address, size, false, &result));
    CHECK(!ports_there(ports, -1, &address, size, false, &result));
    address.v4.sin_family = AF_UNSPEC;
    CHECK(!ports_there(ports, stream, &address, size, false, &result));
    for (int index = 0; index < 2; index++) {
        const char *other = index == 0 ? "192.0.2.1" : "2001:db8::1";
        size = at(&address, other, PORT);
        CHECK(!ports_there(ports, stream, &address, size, false, &result)); /* another host's */
        CHECK(ports_there(ports, stream, &address, size, true, &result));
        size = at(&address, other, free_ports[0]);
        union address before = address;
        ports_back(ports, stream, &address, size, false);
        CHECK(memcmp(&before, &address, sizeof before) == 0);
        ports_back(ports, stream, &address, size, true);
        CHECK_TEXT(told_of(&address), with(other, PORT));
    }
    size = at(&address, "::1", PORT);
    CHECK(ports_there(ports, stream, &address, 24, false, &result)); /* without a scope */
    CHECK_NUMBER(result.size, 24);
    CHECK(!ports_there(ports, stream, &address, 23, false, &result));
    for (int port = 0; port < 65536; port++) {
        bool is_published = port == PORT || (port >= RANGE && port < RANGE + 3);
        size = at(&address, "127.0.0.1", port);
        bool found = ports_there(ports, stream, &address, size, true, &result);
        if (found != (is_published || port == BOUND || port == 82)) {
            CHECK_NUMBER(port, found);
        }
    }
    at(&address, "127.0.0.1", free_ports[0]);
    ports_back(ports, stream, &address, 8, true); /* it is not there as a whole */
    CHECK_TEXT(told_of(&address), with("127.0.0.1", free_ports[0]));
    if (free_ports[0] != free_ports[1]) {
        ports_back(ports, datagrams, &address, sizeof address.v4, true);
        CHECK_TEXT(told_of(&address), with("127.0.0.1", free_ports[0]));
    }
    CHECK_NUMBER(carry_out(NR_bind, stream, 8, 16, 0, 0, 0), -EFAULT);
    CHECK_NUMBER(carry_out(NR_connect, stream, 8, 16, 0, 0, 0), -EFAULT);
    CHECK_NUMBER(carry_out(NR_bind, stream, (long)&address, 15, 0, 0, 0), -EINVAL);
    CHECK_NUMBER(carry_out(NR_sendto, datagrams, (long)"x", 1, 0, 8, 16), -EFAULT);
    close(local);
    close(datagrams);
    close(stream);
}

/* Who is at the other end has an address that was published: the guest itself. */
static void test_peers(void) {
    static const unsigned here[][3] = {{PORT, 8080, 1}, {PORT + 1, 8081, 1}};
    static const struct peer {
        const char *from;
        int port, shown;
    } peers[] = {
        {"192.0.2.1", 8080, PORT},
        {"::ffff:192.0.2.1", 8080, PORT},
        {"192.0.2.2", 8080, 8080},
        {"2001:db8::1", 8080, 8080},
        {"2001:db8::1", 8081, PORT + 1},
        {"2001:db8::2", 8081, 8081},
        {"192.0.2.1", 8081, 8081},
        {"127.0.0.1", 8081, PORT + 1},
        {"127.9.9.9", 8080, PORT},
        {"::ffff:127.0.0.1", 8080, PORT},
        {"::1", 8080, PORT},
        {"::1", 8082, 8082},
    };
    struct ports ports = {.count = 0};
    union address address;
    int stream = new_socket(AF_INET, SOCK_STREAM, 0);
    CHECK(ports_add(&ports, "tcp", here[0], "c0000201"));
    CHECK(ports_add(&ports, "tcp", here[1], "20010db8000000000000000000000001"));
    for (const struct peer *peer = peers; peer < peers + sizeof peers / sizeof peers[0]; peer++) {
        unsigned size = at(&address, peer->from, peer->port);
        ports_back(&ports, stream, &address, size, false);
        CHECK_TEXT(told_of(&address), with(peer->from, peer->shown));
    }
    close(stream);
}

static void test_taken(void) {
    int one = new_socket(AF_INET, SOCK_STREAM, 0);
    int other = new_socket(AF_INET, SOCK_STREAM, 0);
    int on = 1;
    setsockopt(one, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* what was there before */
    CHECK_NUMBER(name_call(NR_bind, one, "127.0.0.1", PORT), 0);
    CHECK_NUMBER(carry_out(NR_listen, one, 1, 0, 0, 0, 0), 0);
    CHECK_NUMBER(name_call(NR_bind, other, "127.0.0.1", PORT), -EADDRINUSE);
    close(other);
    close(one);
}

int main(void) {
    scratch();
    make_world();
    test_streams();
    test_ranges();
    test_one_address();
    test_datagrams(AF_INET, "0.0.0.0", "127.0.0.1");
    if (has_v6) {
        test_one_address_v6();
        test_datagrams(AF_INET6, "::", "::1");
    }
    test_left_alone();
    test_peers();
    test_taken();
    return harness_end();
}
