/* Connections that come and go: each connects, sends 64 bytes, reads them back, and ends with a
 * reset, so that no port waits. There are always as many under way as were asked for: the oldest
 * ends, a new one takes its place. Calls block: the server is told of the next ones meanwhile.
 *
 * churn PORT CONNECTIONS SECONDS; prints how many there were, and seconds. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, CONNS_MAX = 1024 };

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int dial(int port) {
    static const char message[SIZE];
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    struct linger reset = {.l_onoff = 1};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) die("connect");
    if (send(fd, message, SIZE, 0) != SIZE) die("send");
    return fd;
}

static void end(int fd) {
    char bytes[SIZE];
    if (recv(fd, bytes, SIZE, MSG_WAITALL) != SIZE) die("recv");
    close(fd);
}

int main(int argc, char **argv) {
    int conns[CONNS_MAX], count = argc == 4 ? atoi(argv[2]) : 0;
    unsigned long ended = 0;
    if (count < 1 || count > CONNS_MAX) {
        fprintf(stderr, "usage: churn PORT CONNECTIONS SECONDS; 1 to %d connections\n", CONNS_MAX);
        return 1;
    }
    int port = atoi(argv[1]);
    double start = now(), seconds = 0;
    for (int n = 0; n < count; n++) conns[n] = dial(port);
    for (int n = 0; seconds < atof(argv[3]); n = (n + 1) % count) {
        end(conns[n]);
        ended++;
        conns[n] = dial(port);
        seconds = now() - start;
    }
    printf("%lu %.6f\n", ended, seconds);
    return 0;
}
