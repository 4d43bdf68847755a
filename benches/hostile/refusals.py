"""Refusals: ten thousand clients that are told what is wrong, and are still sending when it comes.

Where a server answers with an error and closes, and has not read all that came, its kernel sends a
reset, and that may take the answer with it. Asked of charkh: that at least 99.9 % of the clients
read the whole answer, and meet no reset before it. What others do is information.

Each client begins with what is wrong, and sends on behind it without pause. A half of them reads
meanwhile, and stops when the answer is there; the others read when a mebibyte or two are sent, as
many do who never think of errors.
"""
import collections
import errno
import random
import selectors
import socket
import time

import servers
from servers import common

CLIENTS = 10_000
AT_ONCE = 100
SEEN_MIN = 0.999
PIECE = b"x" * (64 << 10)
MORE = 1 << 20, 2 << 20  # bytes that are sent before anything is read
MORE_MAX = 64 << 20  # bytes that are sent by who reads meanwhile, and waits for an answer
CLIENT_S = 20

LONG = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1099511627776\r\n\r\n"
HEADERS = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 1000 + b"Y: "
WRONG = b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n"
TWO = b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
BULK = b"*1\r\n$999999999999\r\n"

# Server, what is refused, how it begins, and what is in the middle and at the end of the answer.
CASES = [
    ("http", "a body of 2^40 bytes", LONG, b"HTTP/1.1 413", b"\n"),
    ("http", "headers without end", HEADERS, b"HTTP/1.1 431", b"\n"),
    ("http", "a header that is none", WRONG, b"HTTP/1.1 400", b"\n"),
    ("redis", "a bulk of 10^12 bytes", BULK, b"-ERR Protocol error: ", b"\r\n"),
    ("redis", "a line without end", PIECE, b"-ERR Protocol error: ", b"\r\n"),
    ("chat", "a line without end", PIECE, b"a line has at most", b"goodbye\n"),
    ("tls", "no TLS", b"GET / HTTP/1.1\r\n", b"\x15\x03", b"\x02\x32"),
    ("nginx", "a body of 2^40 bytes", LONG, b"HTTP/1.1 413", b"</html>\r\n"),
    ("nginx", "two hosts", TWO, b"HTTP/1.1 400", b"</html>\r\n"),
    ("nginx-tls", "no TLS", TWO, b"HTTP/1.1 400", b"</html>\r\n"),
    ("redis-server", "a bulk of 10^12 bytes", BULK, b"-ERR Protocol error: ", b"\r\n"),
    ("redis-server", "a line without end", PIECE * 2, b"-ERR Protocol error: ", b"\r\n"),
    ("haproxy", "a header that is none", WRONG, b"HTTP/1.1 400", b"</html>\n"),
    ("node", "headers without end", HEADERS * 3, b"HTTP/1.1 431", b"\r\n\r\n"),
    ("node", "a header that is none", WRONG, b"HTTP/1.1 400", b"\r\n\r\n"),
]


class Client:
    """One that sends. `result` says how it ended: `seen`, or what came instead."""

    def __init__(self, address, case, more):
        _, _, front, self.middle, self.ending = case
        self.reads = more is None
        self.left = [front]
        self.size = MORE_MAX if self.reads else more
        self.sent, self.heard, self.result = 0, b"", None
        self.until = time.monotonic() + CLIENT_S
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.connect_ex(address)

    def interest(self):
        send = selectors.EVENT_WRITE if self.sent < self.size else 0
        return send | (selectors.EVENT_READ if self.reads or not send else 0)

    def go_on(self, events):
        call = "send"
        try:
            if events & selectors.EVENT_WRITE:
                self.send()
            call = "recv"
            if events & selectors.EVENT_READ:
                self.hear()
        except BlockingIOError:
            pass
        except OSError as e:
            self.result = f"{call}: {errno.errorcode[e.errno]}"

    def send(self):
        piece = self.left.pop() if self.left else PIECE
        size = self.sock.send(piece)
        self.sent += size
        if size < len(piece):
            self.left.append(piece[size:])

    def hear(self):
        heard = self.sock.recv(65536)
        self.heard += heard
        if self.middle in self.heard and self.heard.endswith(self.ending):
            self.result = "seen"
        elif not heard:
            self.result = f"an end after {len(self.heard)} bytes"


def attack(server, case, size, rng):
    """So many clients, some at once; how they ended, counted."""
    results, active, begun = collections.Counter(), set(), 0
    with selectors.DefaultSelector() as selector:
        while begun < size or active:
            while begun < size and len(active) < AT_ONCE:
                client = Client(server.address(), case, rng.choice([None, rng.randint(*MORE)]))
                selector.register(client.sock, client.interest(), client)
                active.add(client)
                begun += 1
            for key, events in selector.select(1):
                client, before = key.data, key.events
                client.go_on(events)
                if client.result is None and client.interest() != before:
                    selector.modify(client.sock, client.interest(), client)
            now = time.monotonic()
            for client in [one for one in active if one.result or one.until < now]:
                active.remove(client)
                selector.unregister(client.sock)
                client.sock.close()
                results["reads" if client.reads else "sends first",
                        client.result or f"nothing for {CLIENT_S} s"] += 1
    return results


def show(case, size, results):
    name, what = case[:2]
    ours = name in servers.OURS
    seen = sum(count for (_, how), count in results.items() if how == "seen")
    common.show(f"{name}: {what}; {size} clients that are still sending", [
        (f"{name}: {what}: refusals seen", f"{100 * seen / size:.2f} %",
         f">= {100 * SEEN_MIN:.1f} %" if ours else None, seen >= SEEN_MIN * size),
        *((f"  {who}: {how}"[:44], str(count), None, True)
          for (who, how), count in sorted(results.items()) if how != "seen")])
    return {"seen": seen, "of": size, **{f"{who}: {how}": n for (who, how), n in results.items()}}


def run(args):
    results, rng = {}, random.Random(args.seed)
    size = 60 if args.quick else CLIENTS
    wanted = args.servers or (servers.OURS if args.quick else list(servers.SERVERS))
    for name in [name for name in servers.SERVERS if name in wanted and servers.there(name)]:
        cases = [case for case in CASES if case[0] == name]
        if not cases:
            continue
        with servers.serving(name) as server:
            for case in cases:
                found = attack(server, case, size, rng)
                results[f"{name}: {case[1]}"] = show(case, size, found)
                if name in servers.OURS and (why := server.is_well()):
                    common.show(name, [(f"{name} afterwards", why, "well", False)])
    return results
