/* Clients that come and go in every way there is, one after the other, from many addresses, so that
 * no port is waited for.
 *
 * churn PORT COUNT SEED KINDS REQUEST REPLY SIZE
 *
 * KINDS are letters; each client is one of them, drawn. REQUEST is what clients say, in hex; its
 * answer begins with REPLY, in hex, and has SIZE bytes. After every 99 clients comes a polite one:
 * it is answered when all before it were accepted, so the kernel's queue never overflows.
 *
 *   f, r  ends at once, with FIN; with RST
 *   s, S  is silent while 64 others come, and ends so
 *   w, W  says its request, and ends so without reading
 *   c, C  says a part of its request, one byte longer each time, and ends so
 *   h     says its request, closes its half, and reads to the end
 *   p     is polite: it says its request, reads the answer, and ends with FIN
 *
 * Prints how many clients there were, and how many of h and p had another answer; exit status 1: a
 * call failed, which is told. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { SILENT = 64, POLITE_EVERY = 100, ADDRESSES = 200, ADDRESS_EACH = 4096, LONGEST = 65536 };

static long number;
static unsigned char request[LONGEST], reply[LONGEST], heard[LONGEST];
static size_t request_size, reply_size, answer_size;

static void die(const char *what) {
    fprintf(stderr, "client %ld: %s: %s\n", number, what, strerror(errno));
    exit(1);
}

static size_t from_hex(const char *hex, unsigned char *bytes) {
    size_t size = strlen(hex) / 2;
    for (size_t n = 0; n < size && n < LONGEST; n++) sscanf(hex + 2 * n, "%2hhx", &bytes[n]);
    return size;
}

static int dial(int port) {
    struct sockaddr_in here = {.sin_family = AF_INET}, there = {.sin_family = AF_INET};
    struct timeval patience = {.tv_sec = 30};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) die("socket");
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number / ADDRESS_EACH % ADDRESSES);
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    there.sin_port = htons((unsigned short)port);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (bind(fd, (struct sockaddr *)&here, sizeof here) < 0) die("bind");
    if (connect(fd, (struct sockaddr *)&there, sizeof there) < 0) die("connect");
    return fd;
}

static void say(int fd, size_t size) {
    if (size > 0 && send(fd, request, size, MSG_NOSIGNAL) != (ssize_t)size) die("send");
}

static void end(int fd, int with_reset) {
    struct linger reset = {.l_onoff = 1};
    if (with_reset) setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
}

/* Whether the answer is the right one; if there should be no more, whether there is none. */
static int is_answered(int fd, int to_the_end) {
    size_t size = 0;
    ssize_t got = 1;
    while (got > 0 && (size < answer_size || to_the_end) && size < LONGEST)
        if ((got = recv(fd, heard + size, LONGEST - size, 0)) > 0) size += (size_t)got;
    return got >= 0 && size >= answer_size && (size == answer_size || !to_the_end) &&
           memcmp(heard, reply, reply_size) == 0;
}

/* One client; whether it was served as it should be. */
static int come_and_go(int port, char kind) {
    static int silent[SILENT];
    static long silences, cuts;
    static char silent_kind[SILENT];
    int fd = dial(port), well = 1, is_capital = kind >= 'A' && kind <= 'Z';
    switch (kind) {
    case 'f': case 'r':
        end(fd, kind == 'r');
        break;
    case 's': case 'S': {
        long n = silences++ % SILENT;
        if (silences > SILENT) end(silent[n], silent_kind[n] == 'S');
        silent[n] = fd, silent_kind[n] = kind;
        break;
    }
    case 'c': case 'C':
        say(fd, 1 + (size_t)(cuts++ / 2) % request_size);
        end(fd, is_capital);
        break;
    case 'w': case 'W':
        say(fd, request_size);
        end(fd, is_capital);
        break;
    case 'h': case 'p':
        say(fd, request_size);
        if (kind == 'h') shutdown(fd, SHUT_WR);
        well = is_answered(fd, kind == 'h');
        if (!well && errno == EAGAIN) die("recv");
        end(fd, 0);
        break;
    default:
        errno = EINVAL, die("kind");
    }
    return well;
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "usage: churn PORT COUNT SEED KINDS REQUEST REPLY SIZE\n");
        return 1;
    }
    int port = atoi(argv[1]);
    long count = atol(argv[2]), wrong = 0;
    uint64_t seed = strtoull(argv[3], NULL, 10) * 0x9E3779B97F4A7C15u | 1;
    const char *kinds = argv[4];
    request_size = from_hex(argv[5], request);
    reply_size = from_hex(argv[6], reply);
    answer_size = (size_t)atol(argv[7]);
    for (number = 0; number < count; number++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        int is_polite = number % POLITE_EVERY == POLITE_EVERY - 1;
        char kind = is_polite && reply_size > 0 ? 'p' : kinds[(seed >> 33) % strlen(kinds)];
        wrong += !come_and_go(port, kind);
    }
    printf("%ld %ld\n", count, wrong);
    return 0;
}
