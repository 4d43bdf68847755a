/* Echo on libuv: one buffer for all, lent for the time of a read, and an attempt to write at once.
 *
 * uv [--buffer BYTES]; prints its port. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static char *buffer;
static size_t buffer_size = 64 * 1024;

struct rest {
    uv_write_t write;
    char bytes[];
};

static void freed(uv_handle_t *handle) { free(handle); }

static void written(uv_write_t *write, int status) {
    (void)status; /* the reading side hears of it too */
    free(write);
}

static void lend(uv_handle_t *handle, size_t size, uv_buf_t *lent) {
    (void)handle, (void)size;
    *lent = uv_buf_init(buffer, (unsigned)buffer_size);
}

/* What the kernel does not take at once waits in a copy. */
static void echo(uv_stream_t *client, ssize_t size, const uv_buf_t *lent) {
    if (size == 0) return;
    uv_buf_t bytes = uv_buf_init(lent->base, (unsigned)size);
    int sent = size < 0 ? (int)size : uv_try_write(client, &bytes, 1);
    if (sent == UV_EAGAIN) sent = 0;
    if (sent < 0) {
        uv_close((uv_handle_t *)client, freed);
    } else if (sent < size) {
        size_t left = (size_t)(size - sent);
        struct rest *rest = malloc(sizeof *rest + left);
        memcpy(rest->bytes, lent->base + sent, left);
        bytes = uv_buf_init(rest->bytes, (unsigned)left);
        uv_write(&rest->write, client, &bytes, 1, written);
    }
}

static void accepted(uv_stream_t *listener, int status) {
    uv_tcp_t *client = malloc(sizeof *client);
    uv_tcp_init(listener->loop, client);
    if (status < 0 || uv_accept(listener, (uv_stream_t *)client) < 0) {
        uv_close((uv_handle_t *)client, freed);
        return;
    }
    uv_tcp_nodelay(client, 1);
    uv_read_start((uv_stream_t *)client, lend, echo);
}

int main(int argc, char **argv) {
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in addr;
    int size = sizeof addr;
    if (argc == 3 && !strcmp(argv[1], "--buffer")) buffer_size = (size_t)atol(argv[2]);
    buffer = malloc(buffer_size);
    uv_ip4_addr("127.0.0.1", 0, &addr);
    uv_tcp_init(loop, &listener);
    uv_tcp_bind(&listener, (struct sockaddr *)&addr, 0);
    if (uv_listen((uv_stream_t *)&listener, 4096, accepted) < 0) return 1;
    uv_tcp_getsockname(&listener, (struct sockaddr *)&addr, &size);
    printf("%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
