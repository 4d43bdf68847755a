/* The plainest load generator: one thread, one epoll, connections that each send 64 bytes, read
 * until 64 bytes are back, and begin again. It measures no latency and checks no byte: what a
 * generator has to do, and nothing else.
 *
 * epoll PORT CONNECTIONS SECONDS; prints requests and seconds. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, EVENTS = 1024, CONNS_MAX = 1024 };

struct conn {
    int fd;
    int got; /* bytes of the reply that have come */
};

static struct conn conns[CONNS_MAX];
static char message[SIZE];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void dial(struct conn *conn, int port, int epoll) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = conn};
    int on = 1;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    conn->got = 0;
    conn->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&addr, sizeof addr) < 0)
        die("connect");
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fcntl(conn->fd, F_SETFL, O_NONBLOCK) < 0) die("fcntl");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, conn->fd, &event) < 0) die("epoll_ctl");
}

static void ask(const struct conn *conn) {
    /* So few bytes always fit: the reply before has emptied the kernel's buffer. */
    if (write(conn->fd, message, SIZE) != SIZE) die("write");
}

/* Read what has come; whether the reply is whole. */
static int answered(struct conn *conn) {
    char bytes[SIZE];
    ssize_t size = read(conn->fd, bytes, (size_t)(SIZE - conn->got));
    if (size == 0) {
        fprintf(stderr, "the server has closed a connection\n");
        exit(1);
    }
    if (size < 0 && errno != EAGAIN) die("read");
    if (size > 0) conn->got += (int)size;
    if (conn->got < SIZE) return 0;
    conn->got = 0;
    return 1;
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS];
    unsigned long requests = 0;
    if (argc != 4) {
        fprintf(stderr, "usage: epoll PORT CONNECTIONS SECONDS\n");
        return 1;
    }
    int count = atoi(argv[2]), epoll = epoll_create1(0);
    if (count < 1 || count > CONNS_MAX || epoll < 0) {
        fprintf(stderr, "from 1 to %d connections\n", CONNS_MAX);
        return 1;
    }
    memset(message, 'x', SIZE);
    for (int n = 0; n < count; n++) dial(&conns[n], atoi(argv[1]), epoll);
    double start = now(), seconds = 0;
    for (int n = 0; n < count; n++) ask(&conns[n]);
    while (seconds < atof(argv[3])) {
        int ready = epoll_wait(epoll, events, EVENTS, 100);
        for (int n = 0; n < ready; n++) {
            struct conn *conn = events[n].data.ptr;
            if (answered(conn)) {
                requests++;
                ask(conn);
            }
        }
        seconds = now() - start;
    }
    printf("%lu %.6f\n", requests, seconds);
    return 0;
}
