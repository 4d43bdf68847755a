/* Echo on libevent: what a bufferevent has read moves to what it writes, without a copy.
 *
 * event; prints its port. Buffers are libevent's own affair. */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>

static void echo(struct bufferevent *client, void *unused) {
    (void)unused;
    evbuffer_add_buffer(bufferevent_get_output(client), bufferevent_get_input(client));
}

static void ended(struct bufferevent *client, short what, void *unused) {
    (void)unused;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) bufferevent_free(client);
}

static void accepted(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr,
                     int size, void *base) {
    int on = 1;
    (void)listener, (void)addr, (void)size;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct bufferevent *client = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(client, echo, NULL, ended, NULL);
    bufferevent_enable(client, EV_READ | EV_WRITE);
}

int main(void) {
    struct event_base *base = event_base_new();
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t size = sizeof addr;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    signal(SIGPIPE, SIG_IGN);
    struct evconnlistener *listener = evconnlistener_new_bind(
        base, accepted, base, LEV_OPT_CLOSE_ON_FREE, 4096, (struct sockaddr *)&addr, sizeof addr);
    if (!listener) return 1;
    getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&addr, &size);
    printf("%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    return event_base_dispatch(base);
}
