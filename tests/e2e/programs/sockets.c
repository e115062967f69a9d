/*
 * sockets [SECTION...]
 *
 * Sockets that have names. It works in the directory where it is started.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "report.h"

static void bind_and_connect(const char *path, int type) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct sockaddr_un other;
    socklen_t size = sizeof other;
    char byte = 0;
    strcpy(address.sun_path, path);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    int server = socket(AF_UNIX, type, 0);
    int client = socket(AF_UNIX, type, 0);
    SAY(connect(client, (struct sockaddr *)&address, length));
    SAY(bind(server, (struct sockaddr *)&address, length));
    SAY(bind(server, (struct sockaddr *)&address, length));
    SAY(bind(client, (struct sockaddr *)&address, length));
    if (type == SOCK_STREAM) {
        SAY(listen(server, 1));
    }
    SAY(connect(client, (struct sockaddr *)&address, length));
    memset(&other, 0, sizeof other);
    SAY(getsockname(server, (struct sockaddr *)&other, &size));
    say_text("name", other.sun_path);
    say_number("size", size);
    SAY(send(client, "x", 1, 0));
    if (type == SOCK_STREAM) {
        size = sizeof other;
        int end = accept(server, (struct sockaddr *)&other, &size);
        say_number("size of the other's", size);
        struct ucred credentials;
        socklen_t room = sizeof credentials;
        SAY(getsockopt(end, SOL_SOCKET, SO_PEERCRED, &credentials, &room));
        say_number("the same user", credentials.uid == getuid());
        SAY(recv(end, &byte, 1, 0));
        close(end);
    } else {
        SAY(recv(server, &byte, 1, 0));
        SAY(sendto(client, "y", 1, 0, (struct sockaddr *)&address, length));
        SAY(recv(server, &byte, 1, 0));
    }
    close(server);
    close(client);
    SAY(unlink(path));
}

static void section_sockets(void) {
    char path[108];
    bind_and_connect("stream", SOCK_STREAM);
    bind_and_connect("datagram", SOCK_DGRAM);
    mkdir("a-directory-with-a-name-that-is-rather-long-for-an-address", 0755);
    snprintf(path, sizeof path, "a-directory-with-a-name-that-is-rather-long-for-an-address/%s",
             "and-a-name-that-fills-up-all-the-room-there-is");
    bind_and_connect(path, SOCK_STREAM);
    snprintf(path, sizeof path, "/tmp/sockets-%d", 1);
    bind_and_connect(path, SOCK_DGRAM);
    int answerer = socket(AF_UNIX, SOCK_DGRAM, 0);
    int asker = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_un one = {.sun_family = AF_UNIX, .sun_path = "/tmp/sockets-answerer"};
    struct sockaddr_un two = {.sun_family = AF_UNIX, .sun_path = "/tmp/sockets-asker"};
    struct sockaddr_un from;
    socklen_t size = sizeof from;
    char byte;
    SAY(bind(answerer, (struct sockaddr *)&one, sizeof one));
    SAY(bind(asker, (struct sockaddr *)&two, sizeof two));
    SAY(sendto(asker, "q", 1, 0, (struct sockaddr *)&one, sizeof one));
    memset(&from, 0, sizeof from);
    SAY(recvfrom(answerer, &byte, 1, 0, (struct sockaddr *)&from, &size));
    say_text("from", from.sun_path);
    SAY(sendto(answerer, "a", 1, 0, (struct sockaddr *)&from, size));
    struct iovec vector = {&byte, 1};
    struct msghdr message = {
        .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &vector, .msg_iovlen = 1};
    memset(&from, 0, sizeof from);
    SAY(recvmsg(asker, &message, 0));
    say_text("from", from.sun_path);
    unlink(one.sun_path);
    unlink(two.sun_path);
    struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0sockets"};
    int named = socket(AF_UNIX, SOCK_STREAM, 0);
    SAY(bind(named, (struct sockaddr *)&abstract, 10));
    SAY(connect(named, NULL, 0));
    SAY(connect(named, (struct sockaddr *)8, 20));
    SAY(getsockname(named, NULL, NULL));
}

static const struct section sections[] = {
    {"sockets", section_sockets},
};

int main(int count, char **words) {
    run_sections(sections, sizeof sections / sizeof sections[0], count, words);
    return 0;
}
