"""No descriptor left: a server that may have 64, and 150, 1 000 or 10 000 clients more than that.

Those who wait have said what they want, but are not accepted: they are in the kernel's queue of
4096, or still ask to be in it. A server comes there in one of two ways. *At its limit*: it was
started with 64 and counts its clients, as `charkh serve` does. *Pressed*: the limit is lowered when
it is up, so that `accept` itself fails (EMFILE). Peers are pressed, all of them.

While it is full: at most 2 % of a processor, at most one line of log a second, and each of those
inside is served as before, to the byte. Then all inside leave at one moment: from the first close
it takes at most 20 ms until one of those who waited is served, and until 50 are, each of whom
leaves when served. In the end all were served. Asked of charkh; of others it is information.

Medians of rounds, in which all take turns, before all else on the machine if that is allowed.
"""
import contextlib
import errno
import resource
import select
import socket
import statistics
import time

import servers
from servers import common

LIMIT = 64
AT_LIMIT, PRESSED = "at its limit", "pressed"
CASES = [("echo", AT_LIMIT), ("tls", AT_LIMIT)] + [
    (name, PRESSED) for name in ["echo", "tls", "http", "redis", "nginx", "haproxy", "redis-server",
                                 "node", "asyncio", "tokio"]]
QUICK = [("echo", AT_LIMIT), ("echo", PRESSED), ("tls", PRESSED), ("http", PRESSED)]
CROWDS = [150, 1000, 10_000]
SOME = 50
CPU_MOST, BACK_MOST_MS = 2.0, 20.0
SETTLED_S = 0.5  # whoever is not answered for so long finds no room


def run(args):
    rounds, hold_s = (1, 0.3) if args.quick else (3, 3.0)
    crowds = CROWDS[:1] if args.quick else CROWDS
    cases = [(name, way) for name, way in (QUICK if args.quick else CASES)
             if name in (args.servers or servers.SERVERS) and servers.there(name)]
    results = {}
    for waiting in crowds:
        seen = {case: [] for case in cases}
        with contextlib.nullcontext() if args.quick else common.real_time():
            for name, way in cases * rounds:
                seen[name, way].append(round_of(name, way, waiting, hold_s))
        found = {case: sum_up(each) for case, each in seen.items()}
        show(f"descriptors: {LIMIT}, and {waiting} clients wait", found, args.quick)
        results[waiting] = {f"{name}, {way}": result for (name, way), result in found.items()}
    return results


def round_of(name, way, waiting, hold_s):
    """Fill it, look at it, let it go: what was seen."""
    with servers.serving(name, descriptors=LIMIT if way == AT_LIMIT else None) as server, \
            contextlib.ExitStack() as stack:
        if way == PRESSED:
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        inside = fill(server)
        for client in inside:
            stack.callback(client.close)
        crowd = stack.enter_context(Crowd(server, waiting, first_words(server)))
        crowd.listen(0.2)
        found = hold(server, inside, crowd, hold_s) | {"inside": len(inside), "waiting": waiting}
        return found | let_go(server, inside, crowd)


def fill(server):
    """Clients that it serves, as many as it can."""
    inside = []
    with contextlib.suppress(OSError):
        while len(inside) < LIMIT and not server.has_ended():
            client = server.connect(SETTLED_S)
            try:
                if not exchange(server, client):
                    raise ConnectionError
            except OSError:
                servers.reset(client)
                raise
            client.settimeout(servers.PATIENCE_S)
            inside.append(client)
    return inside


def exchange(server, client):
    """Ask, and hear: whether that is the answer, to its end."""
    request = servers.SERVERS[server.name][1]
    client.sendall(request)
    heard = client.recv(4096)
    if request == servers.HTTP:
        while heard and not heard.endswith(servers.BODY.encode()):
            more = client.recv(4096)
            heard = heard + more if more else b""
        return heard.startswith(b"HTTP/1.1 200")
    while heard and len(heard) < len(request) and request == servers.ECHO:
        heard += client.recv(4096)
    return heard == (request if request == servers.ECHO else b"+PONG\r\n")


def first_words(server):
    """What a client says before it hears anything."""
    return servers.hello() if server.name in servers.TLS else servers.SERVERS[server.name][1]


class Crowd:
    """Clients that connect and ask, and leave as soon as they hear something."""

    def __init__(self, server, size, words):
        self.words, self.clients = words, {}
        self.served, self.cut = [], 0  # when; and how many were sent away
        self.poll = select.epoll()
        for _ in range(size):
            client = socket.socket()
            client.setblocking(False)
            self.clients[client.fileno()] = client
            if client.connect_ex(server.address()) not in (0, errno.EINPROGRESS):
                self.leave(client.fileno())
                self.cut += 1
                continue
            self.poll.register(client, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for fd in list(self.clients):
            self.leave(fd)
        self.poll.close()

    def leave(self, fd):
        servers.reset(self.clients.pop(fd))

    def listen(self, for_s, until=lambda: False):
        """As long as that, or until it is true, or nobody is left."""
        end = time.monotonic() + for_s
        while self.clients and not until() and (left := end - time.monotonic()) > 0:
            for fd, event in self.poll.poll(left, 256):
                self.hear(fd, event)

    def hear(self, fd, event):
        client = self.clients[fd]
        try:
            heard = client.recv(4096) if event & ~select.EPOLLOUT else None
        except BlockingIOError:
            heard = None
        except OSError:
            heard = b""
        if heard is None:
            with contextlib.suppress(OSError):
                client.send(self.words)  # it is connected only now, and no other edge will come
            return
        self.leave(fd)
        if heard:
            self.served.append(time.monotonic())
        else:
            self.cut += 1


def hold(server, inside, crowd, hold_s):
    """It is full: what it does when nothing can be done, and how it serves those inside."""
    lines, cpu_s, begun = server.log_size(), server.cpu_s(), time.monotonic()
    crowd.listen(hold_s)
    time.sleep(max(0.0, begun + hold_s - time.monotonic()))
    took = time.monotonic() - begun
    cpu = 100 * (server.cpu_s() - cpu_s) / took if not server.has_ended() else 0.0
    exact = asked = 0
    for client in inside * 5:
        if time.monotonic() - begun > 3 * hold_s + 1 and asked >= len(inside) // 5:
            break  # whoever is so slow, is slow
        asked += 1
        with contextlib.suppress(OSError):
            exact += exchange(server, client)
    took, lines = time.monotonic() - begun, server.log_size() - lines
    return {"cpu": cpu, "lines": lines, "seconds": took,
            "wrong": asked - exact, "cut_while_full": crowd.cut, "let_in": len(crowd.served)}


def let_go(server, inside, crowd):
    """All inside leave at one moment: after how many ms others are served."""
    before = len(crowd.served)
    left = time.monotonic()
    for client in inside:
        client.close()
    crowd.listen(servers.PATIENCE_S)
    after = [1e3 * (when - left) for when in crowd.served[before:]]
    return {"first_ms": after[0] if after else None,
            "some_ms": after[SOME - 1] if len(after) >= SOME else None,
            "cut": crowd.cut, "unserved": len(crowd.clients), "ended": server.has_ended()}


def sum_up(rounds):
    """Of several rounds: what took time in the middle, what must not be at its worst."""
    def middle(key):
        values = [one[key] for one in rounds if one[key] is not None]
        return statistics.median(values) if len(values) == len(rounds) else None

    found = {key: middle(key) for key in ["cpu", "first_ms", "some_ms", "inside"]}
    for key in ["lines", "wrong", "cut", "unserved", "ended", "let_in"]:
        found[key] = max(one[key] for one in rounds)
    # A throttle counts by the second: a window of 3.2 s may have parts of five.
    found["too_many_lines"] = any(one["lines"] > one["seconds"] + 2 for one in rounds)
    return found | {"lines_a_s": found["lines"] / rounds[0]["seconds"], "rounds": rounds}


def complaints(found, quick):
    """What is not as it is asked of charkh."""
    late = [f"{key} {found[key]}" for key in ["first_ms", "some_ms"]
            if found[key] is None or found[key] > (5000 if quick else BACK_MOST_MS)]
    busy = [f"cpu {found['cpu']:.1f} %"] * (found["cpu"] > (50 if quick else CPU_MOST))
    log = [f"{found['lines']} lines of log"] * found["too_many_lines"]
    bad = [f"{key} {found[key]}" for key in ["wrong", "cut", "unserved", "ended"] if found[key]]
    return late + busy + log + bad + ["nobody was inside"] * (not found["inside"])


def show(title, results, quick):
    rows = []
    for (name, way), found in results.items():
        ours = name in servers.OURS
        bad = complaints(found, quick) if ours else []
        goal = (f"{CPU_MOST:.0f} %, 1 line/s, {BACK_MOST_MS:.0f} ms"
                if not quick else "all served, exactly") if ours else None
        figure = (f"{found['cpu']:.2f} %, {found['lines']} lines, "
                  f"{ms(found['first_ms'])}, {SOME}: {ms(found['some_ms'])}")
        if found["cut"] or found["unserved"]:
            figure += f", {found['cut']} cut, {found['unserved']} unserved"
        rows.append((f"{name}, {way}", figure + ", ended" * found["ended"], goal, not bad))
        if bad:
            print(f"  {name}, {way}: {', '.join(bad)}")
    common.show(f"{title}: processor, log; back after, of the first and of {SOME}", rows)


def ms(value):
    return "never" if value is None else f"{value:.1f} ms"
