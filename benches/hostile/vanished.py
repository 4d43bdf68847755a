"""Clients of which from some moment on no packet passes, and when the server lets go of them."""
import contextlib
import random
import socket
import threading
import time

import servers
from sockets import Sockets

LATE_S = 0.1
EARLY_S = 1.0  # what is looked at now and then; before that it was cut off
LONGEST_S = 200
TRIES_MAX = 20  # to do all that comes before it vanishes
SILENCE_S, LIFETIME_S = 3, 12
QUICK_S = 2, 4  # both longer than what is early
# What the http example waits for: its own, and the library's. Who is too slow is told so, and then
# has some time to read that.
HTTP_HEAD_S, HTTP_BODY_S, HTTP_IDLE_S, WRITE_STALL_S, LINGER_S = 10, 60, 75, 60, 5
HEAD = b"POST /echo HTTP/1.1\r\nHost: a\r\n"
HALF_A_BODY = HEAD + b"Content-Length: 9\r\n\r\nhalf"


def options(name, quick):
    if name == "http":
        return []
    silence, lifetime = QUICK_S if quick else (SILENCE_S, LIFETIME_S)
    return ["--first-byte", f"{silence}s", "--idle", f"{silence}s", "--write-stall", f"{silence}s",
            "--handshake-timeout", f"{silence}s", "--lifetime", f"{lifetime}s"]


def kinds(name, quick):
    """What they do before they vanish, and how long the server may then wait for them."""
    if name == "http":
        slow = [] if quick else [
            ("silent", silent, HTTP_IDLE_S), ("after an answer", answered, HTTP_IDLE_S),
            ("within a body", says(HALF_A_BODY), HTTP_BODY_S + LINGER_S),
            ("does not read", unread, WRITE_STALL_S),
        ]
        return [("within a head", says(HEAD), HTTP_HEAD_S + LINGER_S)] * (not quick) + slow
    silence, lifetime = QUICK_S if quick else (SILENCE_S, LIFETIME_S)
    all_kinds = [("silent", silent, silence), ("after an answer", answered, silence),
                 ("does not read", unread, silence), ("talks on", talks, lifetime)]
    if name == "tls":
        all_kinds += [("within a handshake", says(b"\x16\x03\x01\x02\0\x01"), silence)]
    return all_kinds[:2] if quick else all_kinds


def all_of(server, line, baseline, quick):
    """Some of each kind at once. For each kind, how long after its deadline each was still seen,
    and was seen no more."""
    each, late, gone, threads, lock = 2 if quick else 5, {}, [], [], threading.Lock()

    def one(what, do, deadline_s):
        for _ in range(TRIES_MAX):
            # It ended, or never came to be, while it was still at it.
            with contextlib.suppress(EOFError, OSError, SystemExit):
                sock, port, since = vanish(server, line, sockets, do)
                with lock:
                    gone.append((what, sock, port, since + deadline_s))
                return

    with Sockets(server, by_port=True) as sockets:
        for kind in kinds(server.name, quick):
            threads += [threading.Thread(target=one, args=kind) for _ in range(each)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        servers.until("the server has nobody", lambda: not sockets.since, LONGEST_S, look_s=0.1)
        for what, sock, port, due in gone:
            times = [sockets.late_s(port, due), sockets.missed[port] - due]
            late.setdefault(what, []).append([round(time, 3) for time in times])
            sock.close()
    asked = [what for what, _, _ in kinds(server.name, quick)]
    return {"late s": {what: late.get(what, []) for what in asked}, "each": each,
            "descriptors": server.descriptors() - baseline, "log lines": len(server.log_lines())}


def vanish(server, line, sockets, do):
    """One of them: itself, its port, and from when on the server has waited for it."""
    sock = socket.socket()
    port = None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(servers.PATIENCE_S)
        sock.connect(server.address())
        port = sock.getsockname()[1]
        # Our last word of three may have been lost, and then it has nobody to wait for.
        servers.until("the server has it", lambda: port in sockets.since)
        came = sockets.since[port]
        sock = do(sock, server)
        vanished = line.vanish(port)
        since = came if do is talks else vanished
        if port not in sockets.since and do is not talks:
            raise EOFError
        return sock, port, since
    except BaseException:
        line.vanish(port)
        sock.close()
        raise


def secured(sock, server):
    return servers.stranger().wrap_socket(sock) if server.name in servers.TLS else sock


def silent(sock, _):
    return sock


def answered(sock, server):
    sock = secured(sock, server)
    sock.sendall(servers.SERVERS[server.name][1])
    if not sock.recv(4096):
        raise EOFError
    return sock


def says(text):
    """This, of which the server waits for the rest; it has arrived when it is acknowledged."""
    def do(sock, _):
        sock.sendall(text)
        servers.until("it is acknowledged", lambda: servers.unsent(sock) == 0)
        return sock
    return do


def unread(sock, server):
    """It asks for more than it reads, and vanishes with what it asked for on its way."""
    sock = secured(sock, server)
    if server.name == "http":
        sock.sendall(b"GET /numbers/9999999 HTTP/1.1\r\nHost: a\r\n\r\n")
    else:
        sock.sendall(random.Random(1).randbytes(96 << 10))
    if not sock.recv(1):
        raise EOFError
    time.sleep(1)
    return sock


def talks(sock, server):
    """Never silent, so that only the lifetime ends it."""
    sock = secured(sock, server)
    with contextlib.suppress(OSError):
        while True:
            sock.sendall(b"still here\n")
            if not sock.recv(4096):
                return sock
            time.sleep(0.05)
    return sock


def rows(result, quick):
    rows = [("descriptors more after the vanished", result["descriptors"], 0,
             result["descriptors"] <= 0)]
    for what, late in result["late s"].items():
        are_all = len(late) == result["each"]
        goal, limit = ("gone", 9) if quick else (f"+{LATE_S} s", LATE_S)
        seen, missed = max(late) if late else (0, 0)
        rows.append((f"vanished, {what}: latest seen, missed",
                     f"{seen:+.2f}, {missed:+.2f} s", goal,
                     are_all and seen <= limit and min(late)[0] >= -EARLY_S))
    return rows
