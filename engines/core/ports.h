/*
 * Ports of the guest that are others of the host's: addresses of AF_INET and AF_INET6 on their way
 * to the kernel, and back. Nothing is remembered: that a port of the host's is one of the guest's
 * is all that has to be known.
 */
#ifndef UDOCKER_PORTS_H
#define UDOCKER_PORTS_H

#include "base.h"

enum { MAX_PORTS = 64, INTERNET_SIZE = 28 }; /* sizeof(struct sockaddr_in6) */

/* As many as count, from the first ones on. */
struct port {
    uint16_t container, host, count;
    uint8_t protocol;     /* of the header of IP: TCP or UDP */
    uint8_t address_size; /* 4 or 16; 0: every address of the host's */
    uint8_t address[16];  /* that the guest is to listen on */
};

struct ports {
    size_t count;
    struct port all[MAX_PORTS];
};

/* An address for the kernel in place of the guest's. */
struct internet {
    unsigned char bytes[INTERNET_SIZE];
    long size;
};

/*
 * One more: "tcp" or "udp", the first port of the container and of the host, how many; and the
 * bytes of an address as hexadecimal digits, or "". False when it is none, or one too many.
 */
bool ports_add(struct ports *ports, const char *protocol, const unsigned number[3],
               const char *address);

/*
 * What the kernel is to be given for an address that the guest binds a socket to, or sends to: that
 * is the guest itself where it is a loopback address. False: the address as it is. Where one was
 * published that is not of the socket's family, it is the loopback address of that family: programs
 * that serve both begin, and nobody on the network reaches what was not to be reached.
 */
bool ports_there(const struct ports *ports, long socket, const void *address, long size, bool binds,
                 struct internet *result);

/*
 * Let the guest see its port in an address of size bytes that the kernel has written; is_own: of
 * the socket's own end.
 */
void ports_back(const struct ports *ports, long socket, void *address, long size, bool is_own);

#endif
