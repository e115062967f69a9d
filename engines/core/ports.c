#include "ports.h"

#include "memory.h"

enum {
    AF_INET = 2,
    AF_INET6 = 10,
    PORT_AT = 2, /* in both, and the most significant byte comes first */
    V4_AT = 4,
    V4_SIZE = 4,
    V4_LEAST = 16, /* what the kernel takes: struct sockaddr_in, */
    V6_AT = 8,
    V6_SIZE = 16,
    V6_LEAST = 24,         /* and struct sockaddr_in6 without the scope */
    LARGEST_ADDRESS = 128, /* struct sockaddr_storage */
    LARGEST_PORT = 65535,
    PROTOCOL_TCP = 6,
    PROTOCOL_UDP = 17,
    PROTOCOL_MPTCP = 262, /* whose ports are those of TCP */
    LEVEL_SOCKET = 1,
    SO_PROTOCOL = 38,
    LEVEL_IPV6 = 41,
    IPV6_V6ONLY = 26,
    LOOPBACK_NET = 127,
};

static const unsigned char MAPPED[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}; /* ipv6(7) */

static int digit_of(char character) {
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    return character >= 'a' && character <= 'f' ? character - 'a' + 10 : -1;
}

static bool read_address(struct port *port, const char *text) {
    size_t digits = length_of(text);
    if (digits != 0 && digits != 2 * V4_SIZE && digits != 2 * V6_SIZE) {
        return false;
    }
    for (size_t index = 0; index < digits; index++) {
        int digit = digit_of(text[index]);
        if (digit < 0) {
            return false;
        }
        uint8_t *byte = &port->address[index / 2];
        *byte = (uint8_t)(*byte << 4 | digit);
    }
    port->address_size = (uint8_t)(digits / 2);
    return true;
}

static bool is_range(unsigned first, unsigned count) {
    return first > 0 && first <= LARGEST_PORT && count > 0 && count <= LARGEST_PORT - first + 1;
}

bool ports_add(struct ports *ports, const char *protocol, const unsigned number[3],
               const char *address) {
    bool is_udp = same_text(protocol, "udp");
    if (ports->count == MAX_PORTS || !(is_udp || same_text(protocol, "tcp")) ||
        !is_range(number[0], number[2]) || !is_range(number[1], number[2])) {
        return false;
    }
    struct port *port = &ports->all[ports->count];
    *port = (struct port){
        .container = (uint16_t)number[0],
        .host = (uint16_t)number[1],
        .count = (uint16_t)number[2],
        .protocol = is_udp ? PROTOCOL_UDP : PROTOCOL_TCP,
    };
    if (!read_address(port, address)) {
        return false;
    }
    ports->count++;
    return true;
}

static int option_of(long socket, int level, int name) {
    int found = -1;
    int size = sizeof found;
    long result = kernel(NR_getsockopt, socket, level, name, (long)&found, (long)&size, 0);
    return result == 0 ? found : -1;
}

/* Other sockets of the same families have ports, too, or what looks like them: ICMP, SCTP. */
static int protocol_of(long socket) {
    int protocol = option_of(socket, LEVEL_SOCKET, SO_PROTOCOL);
    return protocol == PROTOCOL_MPTCP ? PROTOCOL_TCP : protocol;
}

static uint16_t first_of(const struct port *port, bool is_host) {
    return is_host ? port->host : port->container;
}

/* What has this port of the host's, or of the container's, for the protocol of the socket. */
static const struct port *find(const struct ports *ports, long socket, unsigned number,
                               bool is_host) {
    int protocol = 0; /* not asked for yet: hardly any number is one of these */
    for (const struct port *port = ports->all; port < ports->all + ports->count; port++) {
        unsigned first = first_of(port, is_host);
        if (number < first || number - first >= port->count) {
            continue;
        }
        protocol = protocol == 0 ? protocol_of(socket) : protocol;
        if (port->protocol == protocol) {
            return port;
        }
    }
    return NULL;
}

static unsigned family_of(const unsigned char *address) {
    uint16_t family;
    copy_bytes((char *)&family, (const char *)address, sizeof family);
    return family;
}

static unsigned number_of(const unsigned char *address) {
    return (unsigned)address[PORT_AT] << 8 | address[PORT_AT + 1];
}

static void change_number(unsigned char *address, const struct port *port, bool to_host) {
    unsigned number = number_of(address) - first_of(port, !to_host) + first_of(port, to_host);
    address[PORT_AT] = (unsigned char)(number >> 8);
    address[PORT_AT + 1] = (unsigned char)number;
}

static bool same_as(const unsigned char *one, const unsigned char *other, size_t size) {
    return same_bytes((const char *)one, (const char *)other, size);
}

/* An IPv4 address, which may be within one of IPv6; NULL: it is none. */
static const unsigned char *v4_in(const unsigned char *address) {
    if (family_of(address) == AF_INET) {
        return address + V4_AT;
    }
    return same_as(address + V6_AT, MAPPED, sizeof MAPPED) ? address + V6_AT + sizeof MAPPED : NULL;
}

/* All zero but for the last byte. */
static bool is_v6_with(const unsigned char *address, unsigned char last) {
    for (int index = 0; index < V6_SIZE - 1; index++) {
        if (address[V6_AT + index] != 0) {
            return false;
        }
    }
    return address[V6_AT + V6_SIZE - 1] == last;
}

static bool is_any(const unsigned char *address) {
    static const unsigned char zeros[V4_SIZE];
    const unsigned char *v4 = v4_in(address);
    return v4 != NULL ? same_as(v4, zeros, V4_SIZE) : is_v6_with(address, 0);
}

static bool is_loopback(const unsigned char *address) {
    const unsigned char *v4 = v4_in(address);
    return v4 != NULL ? v4[0] == LOOPBACK_NET : is_v6_with(address, 1);
}

static bool is_published(const struct port *port, const unsigned char *address) {
    const unsigned char *v4 = v4_in(address);
    if (port->address_size == V4_SIZE) {
        return v4 != NULL && same_as(v4, port->address, V4_SIZE);
    }
    return port->address_size == V6_SIZE && family_of(address) == AF_INET6 &&
           same_as(address + V6_AT, port->address, V6_SIZE);
}

/* A whole address of one of the two families. */
static bool is_whole(const unsigned char *address, long size) {
    unsigned family = size < V4_LEAST ? 0 : family_of(address);
    return family == AF_INET || (family == AF_INET6 && size >= V6_LEAST);
}

/* The address that was published, in place of the one in result. */
static void put_published(const struct port *port, long socket, struct internet *result) {
    static const unsigned char loopback[V4_SIZE] = {LOOPBACK_NET, 0, 0, 1};
    bool is_v4 = port->address_size == V4_SIZE;
    if (family_of(result->bytes) == AF_INET) {
        copy_bytes((char *)result->bytes + V4_AT, (const char *)(is_v4 ? port->address : loopback),
                   V4_SIZE);
        return;
    }
    char *place = (char *)result->bytes + V6_AT;
    for (int index = V6_AT; index < INTERNET_SIZE; index++) {
        result->bytes[index] = 0;
    }
    if (!is_v4) {
        copy_bytes(place, (const char *)port->address, V6_SIZE);
    } else if (option_of(socket, LEVEL_IPV6, IPV6_V6ONLY) == 0) {
        copy_bytes(place, (const char *)MAPPED, sizeof MAPPED);
        copy_bytes(place + sizeof MAPPED, (const char *)port->address, V4_SIZE);
    } else {
        place[V6_SIZE - 1] = 1;
    }
}

bool ports_there(const struct ports *ports, long socket, const void *address, long size, bool binds,
                 struct internet *result) {
    if (ports->count == 0 || size < V4_LEAST || size > LARGEST_ADDRESS ||
        !memory_is_there(address, (size_t)size)) {
        return false;
    }
    result->size = size < INTERNET_SIZE ? size : INTERNET_SIZE;
    copy_bytes((char *)result->bytes, address, (size_t)result->size);
    if (!is_whole(result->bytes, result->size)) {
        return false;
    }
    bool any = is_any(result->bytes);
    if (!binds && !any && !is_loopback(result->bytes)) {
        return false;
    }
    const struct port *port = find(ports, socket, number_of(result->bytes), false);
    if (port == NULL) {
        return false;
    }
    change_number(result->bytes, port, true);
    if (port->address_size != 0 && (any || !binds)) {
        put_published(port, socket, result);
    }
    return true;
}

void ports_back(const struct ports *ports, long socket, void *address, long size, bool is_own) {
    if (ports->count == 0 || !is_whole(address, size)) {
        return;
    }
    const struct port *port = find(ports, socket, number_of(address), true);
    if (port != NULL && (is_own || is_loopback(address) || is_published(port, address))) {
        change_number(address, port, false);
    }
}
