"""Clients that ask and know exactly what became of it: for servers that are stopped meanwhile."""
import collections
import dataclasses
import random
import socket
import threading
import time

import servers

SMALL_MAX = 200
BIG = {"echo": 100 << 10, "tls": 100 << 10, "http": 400 << 10, "redis": 400 << 10,
       "redis-server": 400 << 10}
STALL = 16 << 20  # an answer that no kernel holds


class Speech:
    """What is said to a server, and what is wanted back: the payload where it echoes."""

    def __init__(self, name):
        self.name, self.is_http = name, servers.SERVERS[name][1] == servers.HTTP
        self.is_redis = name.startswith("redis")
        self.echoes = not self.is_http or name == "http"
        # One that has no messages answers whatever has come; so a part may be the whole.
        self.is_stream = not self.is_http and not self.is_redis

    def request(self, payload):
        if self.is_redis:
            return b"*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n" % (len(payload), payload)
        if self.is_http and self.echoes:
            return b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (
                len(payload), payload)
        return servers.HTTP if self.is_http else payload

    def is_whole(self, heard, payload):
        """Whether all of the answer is there; whether it is wrong comes after that."""
        if not self.is_http:
            return len(heard) >= len(self.answer(payload))
        head, found, body = heard.partition(b"\r\n\r\n")
        if not found:
            return False
        sizes = [int(line[15:]) for line in head.lower().split(b"\r\n")
                 if line.startswith(b"content-length:")]
        return bool(sizes) and len(body) >= sizes[0]

    def is_right(self, heard, payload):
        if not self.is_http:
            return heard == self.answer(payload)
        wanted = payload if self.echoes else servers.BODY.encode()
        return heard.startswith(b"HTTP/1.1 200") and heard.partition(b"\r\n\r\n")[2] == wanted

    def answer(self, payload):
        return b"$%d\r\n%s\r\n" % (len(payload), payload) if self.is_redis else payload


@dataclasses.dataclass
class Asked:
    """One request. `sent`: when all of it was acknowledged by the server's kernel, if it was."""
    who: str
    came: float
    number: int  # of the client
    sent: float = 0.0
    thought_s: float = 0.0  # from when it came to when it asked
    heard: int = 0
    outcome: str = "answered"  # or: refused, ended, reset, hung, wrong


def outcome_of(error):
    for kinds, outcome in [(ConnectionRefusedError, "refused"), (TimeoutError, "hung"),
                           (FileNotFoundError, "refused")]:
        if isinstance(error, kinds):
            return outcome
    # TLS says the end in its own way; a write finds a pipe broken after a reset or a close.
    return "reset" if isinstance(error, (ConnectionResetError, BrokenPipeError)) else "ended"


class Crowd:
    """Visitors on threads, from `begin` until `over` is set, or nobody listens any more, if they
    leave then."""

    def __init__(self, server, seed, leaves=True):
        self.server, self.seed, self.speech = server, seed, Speech(server.name)
        self.leaves, self.left_at = leaves, 0.0
        self.asked, self.of_thread = [], collections.Counter()  # all others; answered
        self.over, self.threads, self.lock = threading.Event(), [], threading.Lock()

    def count(self, outcome):
        with self.lock:
            if outcome == "answered":
                return sum(self.of_thread.values())
            return sum(one.outcome == outcome for one in self.asked)

    def add(self, who, visit, times=1):
        for n in range(times):
            rng = random.Random(f"{self.seed} {who} {n}")
            number = len(self.threads)
            thread = threading.Thread(target=self.visits, args=[who, visit, rng, number])
            self.threads.append(thread)

    def begin(self):
        for thread in self.threads:
            thread.start()

    def end(self):
        for thread in self.threads:
            thread.join()
        return self

    def visits(self, who, visit, rng, number):
        while not self.over.is_set():
            asked = Asked(who, time.monotonic(), number)
            try:
                with self.server.connect() as sock:
                    asked.came = time.monotonic()
                    asked = visit(self, asked, sock, rng)
            except OSError as e:
                asked.outcome = outcome_of(e)
            if asked.outcome != "refused":
                self.left_at = time.monotonic()  # the last of all threads has the last word
            self.note(asked)
            if who == "once" or asked.outcome in ("refused", "hung") and self.leaves:
                return
            if asked.outcome == "refused":
                time.sleep(0.001)

    def note(self, asked):
        with self.lock:
            if asked.outcome == "answered":
                self.of_thread[asked.number] += 1
            else:
                self.asked.append(asked)

    def ask(self, asked, sock, payload, pause_s=0.0):
        """One exchange; what became of it stands in `asked`."""
        heard = bytearray()
        asked.thought_s = time.monotonic() - asked.came
        try:
            sock.sendall(self.speech.request(payload))
            if servers.unsent(sock) == 0:
                asked.sent = time.monotonic()
            while not self.speech.is_whole(heard, payload):
                if not asked.sent and servers.unsent(sock) == 0:
                    asked.sent = time.monotonic()  # a moment late: it counts as accepted no sooner
                if pause_s:
                    time.sleep(pause_s)
                more = sock.recv(16384)
                if not more:
                    asked.outcome = "ended"
                    break
                heard += more
                asked.heard = len(heard)
            else:
                asked.outcome = "answered"
                if not self.speech.is_right(heard, payload):
                    asked.outcome = "wrong"
        except OSError as e:
            asked.outcome = outcome_of(e)
        return asked


def small(rng):
    return rng.randbytes(rng.randint(1, SMALL_MAX))


def comes_and_goes(crowd, asked, sock, rng):
    return crowd.ask(asked, sock, small(rng))


def stays(crowd, asked, sock, rng):
    """One request after the other on one connection."""
    while crowd.ask(asked, sock, small(rng)).outcome == "answered" and not crowd.over.is_set():
        crowd.note(asked)
        asked = Asked(asked.who, asked.came, asked.number)
    return asked


def asks_for_much(crowd, asked, sock, rng):
    """And reads it slowly, so that it is under way when the signal comes."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    return crowd.ask(asked, sock, rng.randbytes(BIG[crowd.server.name]), pause_s=0.002)


def rests(crowd, asked, sock, rng):
    """It has asked once, and waits for the end, which is to be a good one."""
    if crowd.ask(asked, sock, small(rng)).outcome != "answered":
        return asked
    crowd.note(asked)
    asked = Asked("rests", asked.came, asked.number, asked.sent)
    try:
        asked.outcome = "wrong" if sock.recv(1) else "ended"
    except OSError as e:
        asked.outcome = outcome_of(e)
    return asked


def stall(server):
    """A client that asks for more than any kernel holds, and reads nothing; it has to be closed."""
    speech, sock = Speech(server.name), server.connect()
    sock.setblocking(False)
    request, taken, still = speech.request(bytes(1 << 20)) * (STALL >> 20), 0, 0
    while still < 20 and taken < len(request):
        try:
            taken, still = taken + sock.send(memoryview(request)[taken:taken + 65536]), 0
        except OSError:
            still += 1
            time.sleep(0.005)
    return sock
