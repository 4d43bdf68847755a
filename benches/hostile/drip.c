/* Many clients that each send one byte every so often, and hold their connections as long as the
 * server lets them. In C, so that ten thousand of them take little of a processor that a client
 * whose latency is measured runs on too.
 *
 *     drip CLIENTS PORT EVERY_MS RAMP_MS AGAIN < TEXT
 *     drip sink
 *
 * TEXT is what each sends, byte by byte; its last byte is sent again and again. They come from
 * 127.0.0.2 and the addresses behind it, spread evenly over the ramp. AGAIN: one whose connection
 * has ended comes again. It says `all` when all are connected; it ends with SIGTERM, or when none
 * is left, and prints a line for each connection that the server has ended: nanoseconds from
 * connect to end, `end` or `reset`, and bytes heard. `sink` takes connections at a port that it
 * prints, and never reads: what a server costs that does nothing.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PER_ADDRESS = 1000, EVENTS = 256 };

struct client {
	long begun, due;
	int fd, said, heard;
};

static struct client *clients;
static int *queue; /* by the time when the next byte is due: all wait equally long */
static unsigned first, last;
static int size, wheel, port, again, alive;
static long every;
static char text[65536];
static int length;
static volatile sig_atomic_t over;

static long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void stop(int signal)
{
	(void)signal;
	over = 1;
}

static struct sockaddr_in address(int host, int at)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(at),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK + host) };
}

static void end(struct client *c, const char *how)
{
	printf("%ld %s %d\n", now() - c->begun, how, c->heard);
	close(c->fd);
	c->fd = -1;
	alive--;
}

/* The next byte, and the client's place in the queue for the one behind it. */
static void say(int n)
{
	struct client *c = &clients[n];
	if (send(c->fd, text + c->said, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
		return end(c, "reset");
	if (c->said + 1 < length)
		c->said++;
	c->due = now() + every;
	queue[last++ % size] = n;
}

static void come(int n)
{
	struct client *c = &clients[n];
	struct sockaddr_in from = address(1 + n / PER_ADDRESS, 0), to = address(0, port);
	int one = 1;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	c->begun = now();
	if (c->fd < 0 || bind(c->fd, (void *)&from, sizeof from)
	    || connect(c->fd, (void *)&to, sizeof to))
		die("connect");
	c->said = c->heard = 0;
	alive++;
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u32 = n };
	if (epoll_ctl(wheel, EPOLL_CTL_ADD, c->fd, &event))
		die("epoll_ctl");
	say(n);
}

static void hear(struct client *c)
{
	char heard[4096];
	ssize_t got;
	while ((got = recv(c->fd, heard, sizeof heard, MSG_DONTWAIT)) > 0)
		c->heard += got;
	if (got == 0 || errno != EAGAIN)
		end(c, got == 0 ? "end" : "reset");
}

static void sink(void)
{
	struct sockaddr_in at = address(0, 0);
	socklen_t len = sizeof at;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (void *)&at, len) || listen(listener, 4096)
	    || getsockname(listener, (void *)&at, &len))
		die("listen");
	printf("%d\n", ntohs(at.sin_port));
	fflush(stdout);
	while (accept(listener, NULL, NULL) >= 0)
		;
}

/* What is due by now: those who come for the first time, who come again, and bytes. */
static void act(long begun, long ramp, int *come_yet)
{
	while (*come_yet < size && now() >= begun + ramp / size * *come_yet)
		come((*come_yet)++);
	while (first != last) {
		int n = queue[first % size];
		if (clients[n].due > now())
			break;
		first++;
		if (clients[n].fd >= 0)
			say(n);
		if (clients[n].fd < 0 && again)
			come(n);
	}
}

int main(int count, char **args)
{
	if (count == 2 && !strcmp(args[1], "sink"))
		return sink(), 0;
	if (count != 6)
		return fprintf(stderr, "drip CLIENTS PORT EVERY_MS RAMP_MS AGAIN < TEXT\n"), 2;
	size = atoi(args[1]), port = atoi(args[2]), every = atol(args[3]) * 1000000;
	long ramp = atol(args[4]) * 1000000;
	again = atoi(args[5]);
	length = fread(text, 1, sizeof text, stdin);
	clients = calloc(size, sizeof *clients);
	queue = calloc(size, sizeof *queue);
	wheel = epoll_create1(EPOLL_CLOEXEC);
	signal(SIGTERM, stop);

	long begun = now();
	int come_yet = 0, told = 0;
	while (!over && (come_yet < size || alive > 0 || again)) {
		struct epoll_event events[EVENTS];
		int ready = epoll_wait(wheel, events, EVENTS, 1);
		for (int n = 0; n < ready; n++)
			if (clients[events[n].data.u32].fd >= 0)
				hear(&clients[events[n].data.u32]);
		act(begun, ramp, &come_yet);
		if (come_yet == size && !told++) {
			puts("all");
			fflush(stdout);
		}
	}
	return 0;
}
