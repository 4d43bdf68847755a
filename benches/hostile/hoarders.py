"""Hoarders: clients that never read what they ask for, and those that promise much and send little.

Asked of charkh: that the server has at most what it is allowed and 5 % more (its peak resident
size, the program included), that the heaviest go first (some take ten times what the others take:
of the others none goes as long as one of those is left), and that polite clients beside them get
each of their answers, to the byte. `--memory-max` of `charkh serve` and of the example `http`, and
`--maxmemory-clients` of the example `redis`, are what is allowed; others are started as they are.

Blocks of a page and more are given back to the system when they are free, with
`MALLOC_MMAP_THRESHOLD_` set. Without it glibc keeps them in its heap, and the holes between them
were up to 17 % of what is allowed, above it; with 128 KiB, where buffers of all sizes grow, 36 %.

The kernel has buffers of its own for each connection. They are added up as `ss` tells them, with
the system's defaults and with `--send-buffer` and `--recv-buffer`, of which the kernel takes twice
what is asked for: the bound is their sum, doubled, for each connection.
"""
import contextlib
import re
import selectors
import socket
import subprocess
import threading
import time

import servers
from servers import common

MIB = 1 << 20
OVER = 1.05
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4096"}
CHUNK = b"x" * 65536


class Case:
    """What is done to a server: so many `light` clients say little, so many `heavy` ones much, or
    each what a function makes of its number; and `more` times 3 KB after that, in turn."""

    def __init__(self, name, what, light, heavy, cap, options=(), setup=b"", classes=True, more=0):
        self.name, self.what, self.cap, self.setup, self.classes = name, what, cap, setup, classes
        self.crowds, self.more = [light, heavy], more
        memory = {"redis": "--maxmemory-clients"}.get(name, "--memory-max")
        allowed = [memory, cap] if name in servers.OURS else []
        self.options = [*allowed, *options]


def bulk(*args):
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)


def cases(size, cap):
    """The attacks with `size` clients, 5 % of them heavy. Together they want more than the cap."""
    heavy, light = size // 20, size - size // 20
    unit = cap // size  # the light have less than this each, the heavy ten times as much and more
    much, little = 20 * unit, unit // 4
    http = (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n", b"x")
    half = (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\n", b"x")
    many = (b"*1000000\r\n", b"$0\r\n\r\n")
    # A handshake's record of 16 KiB, of which not all comes.
    record = b"\x16\x03\x03\x40\x00\x01\x00\x3f\xfc"
    stored = bulk(b"SET", b"much", b"x" * (much + 65536)) + bulk(b"SET", b"some", b"x" * 49152)

    def crowds(what, tail=unit // 2):
        front, piece = what
        return ((light, front + piece * (tail // len(piece))),
                (heavy, front + piece * (much // len(piece))))

    def mixed(what):
        """Each has more than the one before it: together twice the cap; and all grow then."""
        front, piece = what
        return size, lambda n: front + piece * (unit // 6 + n * 4 * unit // size)

    return [
        Case("redis", "bulks of all sizes, that grow", mixed(half), (0, b""), cap, classes=False,
             more=3),
        Case("http", "bodies of all sizes, that grow", mixed(http), (0, b""), cap, classes=False,
             more=3),
        Case("echo", "never read", (light, b"x" * (48 << 10)), (heavy, b"x" * (much + 65536)), cap,
             ["--output-high", "16MiB", "--output-max", "32MiB", "--write-stall", "off"]),
        Case("redis", "half a bulk of 500 MB", *crowds(half), cap),
        Case("redis", "a million arguments", *crowds(many, little), cap),
        Case("redis", "never read", (light, bulk(b"GET", b"some")), (heavy, bulk(b"GET", b"much")),
             cap, setup=stored),
        Case("http", "never read", (size, b"GET /numbers/100000000 HTTP/1.1\r\nHost: a\r\n\r\n"),
             (0, b""), cap, classes=False),
        Case("http", "half a body", *crowds(http), cap),
        Case("tls", "half a record", (size, record + b"x" * 16000), (0, b""),
             size * (128 * MIB // 10_000), ["--handshake-timeout", "1h"], classes=False),
        Case("redis-server", "half a bulk of 500 MB", *crowds(half), cap),
        Case("redis-server", "never read", (light, bulk(b"GET", b"some")),
             (heavy, bulk(b"GET", b"much")), cap, setup=stored),
        Case("nginx", "half a body", *crowds(http), cap),
        Case("node", "half a body", *crowds(http), cap),
    ]


class Hoarder:
    def __init__(self, address, number, kind, says):
        self.kind, self.left = kind, memoryview(says)
        self.sock = socket.socket()
        # What waits is to wait on the server's side.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        self.sock.bind((f"127.0.0.{2 + number // 1000}", 0))
        self.sock.connect(address)
        self.sock.setblocking(False)

    def say(self):
        """Whether it has said all."""
        with contextlib.suppress(BlockingIOError):
            try:
                self.left = self.left[self.sock.send(self.left[:262144]):]
            except OSError as e:
                if isinstance(e, BlockingIOError):
                    raise
                return True  # it was cut off
        return not self.left

    def is_here(self):
        """The server has not ended its connection: what TCP_INFO begins with."""
        return self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1


class Polite:
    """Asks and compares until it is told to stop."""

    def __init__(self, server):
        self.server, self.done, self.answers, self.wrong = server, threading.Event(), 0, []
        self.thread = threading.Thread(target=self.ask, daemon=True)
        self.thread.start()

    def exchange(self, client, n):
        text = b"%08d" % n * 50
        name = self.server.name
        if name.startswith("redis"):
            says, wants = bulk(b"ECHO", text), b"$%d\r\n%s\r\n" % (len(text), text)
        elif name in ("http", "nginx", "haproxy", "node"):
            size = len(text) if name == "http" else 0
            says = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
            says += text[:size]
            wants = text if size else servers.BODY.encode()
        else:
            says = wants = text
        client.sendall(says)
        heard = b""
        while not (heard.endswith(wants) or name == "node" and heard.endswith(b"0\r\n\r\n")):
            got = client.recv(65536)
            if not got:
                raise OSError(f"an end after {heard[-60:]!r}")
            heard += got
        self.answers += 1

    def ask(self):
        try:
            clients = [self.server.connect() for _ in range(5)]
            n = 0
            while not self.done.wait(0.002):
                self.exchange(clients[n % 5], n)
                n += 1
        except (OSError, ValueError) as e:
            self.wrong.append(f"{type(e).__name__}: {e}")

    def end(self):
        self.done.set()
        self.thread.join(servers.PATIENCE_S)
        return self.answers, self.wrong


def peak(pid):
    """Bytes that it has had at most, the program included."""
    with open(f"/proc/{pid}/status") as file:
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", file.read())[1])


def kernel(port):
    """Bytes of the kernel's buffers of a server's connections, and how many these are."""
    command = ["ss", "-tnmH", "state", "established", "sport", "=", f":{port}"]
    out = subprocess.run(command, capture_output=True, text=True).stdout
    found = re.findall(r"skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f\d+,w(\d+)", out)
    return sum(int(r) + int(w) for r, w in found), len(found)


def attack(server, case):
    """All hoarders come and say what they say; who is still here when nothing moves any more."""
    plan = [(kind, says(n) if callable(says) else says)
            for kind, (count, says) in zip(("light", "heavy"), case.crowds) for n in range(count)]
    hoarders = []
    with selectors.DefaultSelector() as selector:
        def talk(patience_s):
            for key, _ in selector.select(patience_s):
                if key.data.say():
                    selector.unregister(key.data.sock)

        for number, (kind, says) in enumerate(plan):
            hoarder = Hoarder(server.address(), number, kind, says)
            hoarders.append(hoarder)
            if not hoarder.say():
                selector.register(hoarder.sock, selectors.EVENT_WRITE, hoarder)
                talk(0)
        if case.more:
            servers.until("all have said theirs", lambda: talk(0) or not selector.get_map())
        for _ in range(case.more):
            for hoarder in hoarders:
                hoarder.left = memoryview(b"x" * 3000)
                hoarder.say()
            time.sleep(0.3)
        before, still = None, 0
        while still < 3:
            for _ in range(50 if len(plan) > 1000 else 5):
                talk(0.01) if selector.get_map() else time.sleep(0.01)
            now = (sum(one.is_here() for one in hoarders), sum(len(one.left) for one in hoarders),
                   peak(server.pid), kernel(server.port)[0])
            before, still = now, still + 1 if now == before else 0
    return hoarders


def run_case(case, spare=0):
    env = MALLOC if case.name in servers.OURS else None
    with servers.serving(case.name, *case.options, env=env) as server:
        if case.setup:
            with server.connect() as client:
                client.sendall(case.setup)
                client.recv(100)
        base, polite = peak(server.pid), Polite(server)
        hoarders = attack(server, case)
        most, (buffers, conns) = peak(server.pid), kernel(server.port)
        answers, wrong = polite.end()
        here = {kind: [one.is_here() for one in hoarders if one.kind == kind]
                for kind in ("light", "heavy")}
        for hoarder in hoarders:
            hoarder.sock.close()
        wrong += [why] if (why := server.is_well()) else []
    return show(case, spare, {"base": base, "peak": most, "kernel": buffers, "connections": conns,
                       "answers": answers, "wrong": wrong,
                       "here": {kind: sum(all_) for kind, all_ in here.items()},
                       "of": {kind: len(all_) for kind, all_ in here.items()}})


def mib(size):
    return f"{size / MIB:.1f} MiB"


def show(case, spare, got):
    ours = case.name in servers.OURS
    what = f"{case.name}: {case.what}"
    most = OVER * case.cap + spare
    cap = f"<= {mib(most)}" if ours else None
    gone = {kind: got["of"][kind] - got["here"][kind] for kind in got["of"]}
    rows = [(f"{case.name}: most memory (before: {mib(got['base'])})", mib(got["peak"]), cap,
             got["peak"] <= most),
            (f"{case.name}: the kernel's, {got['connections']} connections", mib(got["kernel"]),
             None, True),
            (f"{case.name}: light ones gone", f"{gone['light']} of {got['of']['light']}",
             "0" if ours and case.classes else None, gone["light"] == 0),
            (f"{case.name}: heavy ones gone", f"{gone['heavy']} of {got['of']['heavy']}",
             "some" if ours and case.classes else None, gone["heavy"] > 0),
            (f"{case.name}: answers to the polite", str(got["answers"]), None, True)]
    right = not got["wrong"] and got["answers"] > 0
    rows.append((f"{case.name}: polite ones harmed", "; ".join(got["wrong"])[:60] or "none",
                 "none" if ours else None, right))
    common.show(f"{what} ({mib(case.cap)} allowed)" if ours else what, rows)
    return got


def kernel_case(size, options, bound):
    """Echo, asked without end by who never reads: both of the kernel's buffers are full."""
    options = [*options, "--write-stall", "off"]
    with servers.serving("echo", *options) as server:
        case = Case("echo", "", (size, CHUNK * 64), (0, b""), 0)
        hoarders = attack(server, case)
        buffers, conns = kernel(server.port)
        for hoarder in hoarders:
            hoarder.sock.close()
    most = bound and bound * conns
    common.show(f"echo: the kernel's buffers, with {' '.join(options)}", [
        ("for each connection", f"{buffers / max(conns, 1) / 1024:.1f} KiB",
         bound and f"<= {bound / 1024:.0f} KiB", not bound or buffers <= most),
        ("connections that are left", str(conns), None, True)])
    return {"kernel": buffers, "connections": conns, "bound": bound}


def run(args):
    size, cap = (200, 16 * MIB) if args.quick else (10_000, 256 * MIB)
    results = {}
    for case in cases(size, cap):
        wanted = args.servers or (servers.OURS if args.quick else [case.name])
        if case.name in wanted and servers.there(case.name):
            # Of a cap that is small the program itself is more than a part.
            spare = 16 * MIB if args.quick else 0
            results[f"{case.name}: {case.what}"] = run_case(case, spare)
    if not args.servers or "echo" in args.servers:
        for options, bound in [([], None), (["--send-buffer", "16KiB", "--recv-buffer", "16KiB"],
                                            4 * 16 << 10)]:
            results[f"kernel: {' '.join(options)}"] = kernel_case(size, options, bound)
    return results
