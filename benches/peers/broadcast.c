/* A broadcast by bare calls: whatever anyone says, every connection is sent the same payload, with
 * a `send` for each and no other work.
 *
 * broadcast [--size BYTES]; prints its port. Edge-triggered, as the loop of `epoll --edge`. What
 * the kernel does not take is lost, and nobody who has gone is struck off: only for clients who
 * read, and who stay to the end. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 1024, CONNS_MAX = 65536 };

static struct epoll_event events[EVENTS];
static int conns[CONNS_MAX], conns_count;
static char *payload;
static size_t payload_size = 100;

static int listen_anywhere(void) {
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t size = sizeof addr;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&addr, size) < 0 || listen(fd, 4096) < 0) {
        perror("listen");
        exit(1);
    }
    getsockname(fd, (struct sockaddr *)&addr, &size);
    printf("%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    return fd;
}

static void accept_all(int listener, int epoll) {
    int fd;
    while (conns_count < CONNS_MAX && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        conns[conns_count++] = fd;
    }
}

static void broadcast(int fd) {
    char said[64];
    if (recv(fd, said, sizeof said, 0) <= 0) return;
    for (int n = 0; n < conns_count; n++) send(conns[n], payload, payload_size, MSG_NOSIGNAL);
}

int main(int argc, char **argv) {
    for (int n = 1; n + 1 < argc; n++) {
        if (!strcmp(argv[n], "--size")) payload_size = (size_t)atol(argv[n + 1]);
    }
    payload = malloc(payload_size);
    memset(payload, 'x', payload_size);
    int epoll = epoll_create1(0), listener = listen_anywhere();
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int n = 0; n < ready; n++) {
            if (events[n].data.fd == listener) {
                accept_all(listener, epoll);
            } else {
                broadcast(events[n].data.fd);
            }
        }
    }
}
