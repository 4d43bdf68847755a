/* An echo server that answers at most so many requests a second, and counts them. A request is 64
 * bytes; a connection has one under way.
 *
 * Answers have times by a clock of tokens, 1/RATE apart, in the order in which requests came. The
 * clock is let fall behind by 10 ms and no more, so that a moment without a processor costs no
 * capacity, and idle time gives none.
 *
 * throttle RATE; 0: as fast as it can. Prints its port; on SIGTERM, how many requests came, and
 * the seconds between the first and the last. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, EVENTS = 256, CONNS_MAX = 4096 };
static const long long SECOND = 1000000000, BEHIND_MAX = 10000000;

struct conn {
    int got;
    int ended; /* while it stood in the queue: closed at its turn */
    char message[SIZE];
};

static struct conn conns[CONNS_MAX]; /* by descriptor */
static int queue[CONNS_MAX];         /* a ring of those that wait for an answer */
static unsigned head, waiting;
static volatile sig_atomic_t over;

static void stop(int signal) {
    (void)signal;
    over = 1;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static int listen_anywhere(void) {
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t size = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, size) < 0 || listen(fd, 1024) < 0)
        die("listen");
    getsockname(fd, (struct sockaddr *)&addr, &size);
    printf("%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    return fd;
}

static void take(int listener, int epoll) {
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (fd < 0) return;
    if (fd >= CONNS_MAX) {
        close(fd);
        return;
    }
    conns[fd].got = conns[fd].ended = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

/* Whether a request is whole, which then waits for its answer. */
static int receive(int fd, int epoll) {
    struct conn *conn = &conns[fd];
    if (conn->got == SIZE) {
        epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
        conn->ended = 1;
        return 0;
    }
    ssize_t size = read(fd, conn->message + conn->got, (size_t)(SIZE - conn->got));
    if (size == 0 || (size < 0 && errno != EAGAIN)) {
        close(fd);
        return 0;
    }
    if (size > 0) conn->got += (int)size;
    if (conn->got < SIZE) return 0;
    queue[(head + waiting++) % CONNS_MAX] = fd;
    return 1;
}

static void answer(void) {
    int fd = queue[head];
    head = (head + 1) % CONNS_MAX;
    waiting--;
    conns[fd].got = 0;
    if (conns[fd].ended) {
        close(fd);
    } else {
        send(fd, conns[fd].message, SIZE, MSG_NOSIGNAL); /* who is gone does not mind */
    }
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS];
    struct sigaction action = {.sa_handler = stop};
    double rate = argc == 2 ? atof(argv[1]) : -1;
    if (rate < 0) {
        fprintf(stderr, "usage: throttle RATE\n");
        return 1;
    }
    long long gap = rate > 0 ? (long long)((double)SECOND / rate) : 0;
    long long due = 0, first = 0, last = 0;
    unsigned long requests = 0;
    int epoll = epoll_create1(0), listener = listen_anywhere();
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    sigaction(SIGTERM, &action, NULL);
    prctl(PR_SET_TIMERSLACK, 1);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0) die("epoll");
    while (!over) {
        long long left = waiting ? due - now() : SECOND / 10;
        struct timespec sleep = {.tv_nsec = left > 0 ? left % SECOND : 0};
        int ready = epoll_pwait2(epoll, events, EVENTS, &sleep, NULL);
        for (int n = 0; n < ready; n++) {
            if (events[n].data.fd == listener) {
                take(listener, epoll);
            } else if (receive(events[n].data.fd, epoll)) {
                last = now();
                if (requests++ == 0) first = last;
            }
        }
        long long time = now();
        if (due < time - BEHIND_MAX) due = time - BEHIND_MAX;
        for (; waiting && due <= time; due += gap) answer();
    }
    printf("%lu %.9f\n", requests, (double)(last - first) / (double)SECOND);
    return 0;
}
