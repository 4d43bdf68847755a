/* The bare loop: epoll_wait, recv, send, and no work between them. What every other server is
 * measured against.
 *
 * epoll [--edge] [--buffer BYTES]; prints its port. --edge: readiness is told once, not for as long
 * as it lasts. A buffer that was not filled has left nothing in the kernel: nobody asks again.
 *
 * An answer that the kernel does not take whole ends its connection. An echo whose client reads
 * never sees that, and all that would be needed to wait stays out of the loop. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 1024, GONE = EPOLLRDHUP | EPOLLHUP | EPOLLERR };

static struct epoll_event events[EVENTS];
static char *buffer; /* everybody's */
static size_t buffer_size = 64 * 1024;

static int listen_anywhere(void) {
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t size = sizeof addr;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* Whoever is accepted has this from the listener. */
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

static void accept_all(int listener, int epoll, unsigned wanted) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event event = {.events = wanted, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static void echo(int fd, unsigned seen) {
    ssize_t size;
    do {
        size = recv(fd, buffer, buffer_size, 0);
        if (size < 0 && errno == EAGAIN) return;
        if (size <= 0 || send(fd, buffer, (size_t)size, MSG_NOSIGNAL) != size) {
            close(fd);
            return;
        }
    } while ((size_t)size == buffer_size || seen & GONE);
}

int main(int argc, char **argv) {
    unsigned wanted = EPOLLIN | EPOLLRDHUP;
    for (int n = 1; n < argc; n++) {
        if (!strcmp(argv[n], "--edge")) wanted |= EPOLLET;
        if (!strcmp(argv[n], "--buffer") && n + 1 < argc) buffer_size = (size_t)atol(argv[n + 1]);
    }
    buffer = malloc(buffer_size);
    int epoll = epoll_create1(0), listener = listen_anywhere();
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int n = 0; n < ready; n++) {
            if (events[n].data.fd == listener) {
                accept_all(listener, epoll, wanted);
            } else {
                echo(events[n].data.fd, events[n].events);
            }
        }
    }
}
