"""What clients of the sweep say to each server, what they must hear, how they come and go."""
import re
import ssl
import threading

import servers

BIG = 100_000  # bytes of an answer that takes more than one read and write
PIPELINE = 5


class Wrong(Exception):
    """An answer that is not the one to what was asked."""


class Client:
    """One connection: it knows its port, and how to wait for exactly so much."""

    def __init__(self, server, patience_s):
        self.sock, self.port, self.heard = None, None, b""
        sock = servers.socket.create_connection(server.address(), patience_s)
        self.port = sock.getsockname()[1]
        sock.setsockopt(servers.socket.IPPROTO_TCP, servers.socket.TCP_NODELAY, 1)
        try:
            is_secured = server.name in servers.TLS
            self.sock = STRANGER.wrap_socket(sock) if is_secured else sock
        except OSError as e:
            sock.close()
            e.port = self.port
            raise

    def say(self, text):
        self.sock.sendall(text)

    def more(self):
        text = self.sock.recv(65536)
        if not text:
            raise EOFError("it ended early")
        self.heard += text

    def exactly(self, size):
        while len(self.heard) < size:
            self.more()
        text, self.heard = self.heard[:size], self.heard[size:]
        return text

    def through(self, end):
        while end not in self.heard:
            self.more()
        return self.exactly(self.heard.index(end) + len(end))

    def to_end(self):
        try:
            while True:
                self.more()
        except EOFError:
            text, self.heard = self.heard, b""
            return text

    def close(self):
        if self.sock:
            self.sock.close()


STRANGER = servers.stranger()


def same(heard, wanted):
    if heard != wanted:
        sizes = f"{len(heard)} bytes instead of {len(wanted)}"
        raise Wrong(f"{sizes}: {heard[:80]!r} instead of {wanted[:80]!r}")


def filled(name, size):
    """So many bytes, like no others."""
    return (name * (size // len(name) + 1))[:size]


class Echo:
    """What is said is heard."""

    bad = None  # what is so wrong that the server ends the connection

    def begin(self, client):
        """What it says first."""

    def ask(self, name, size=0):
        return filled(name, size) if size else name + b"\n"

    def hear(self, client, name, size=0):
        wanted = self.ask(name, size)
        same(client.exactly(len(wanted)), wanted)


class Secured(Echo):
    bad = b"this is no TLS at all\n"


class Greet(Echo):
    """A greeting for whatever one read brings, so the number of them is not known."""

    def ask(self, name, size=0):
        return name

    def hear(self, client, name, size=0):
        same(client.exactly(13), b"Hello Client!")


class Chat(Echo):
    """Lines of others come at any time; who takes a name is told so."""

    bad = b"/quit\n"
    others = re.compile(rb"(\* .* (joined|left|is now .*)|\S+: said \S+)\n")

    def begin(self, client):
        if not (line := client.through(b"\n")).startswith(b"* you are guest-"):
            raise Wrong(f"{line!r} instead of a welcome")

    def ask(self, name, size=0):
        return b"said " + name + b"\n/nick " + name + b"\n" + b"/who\n" * (size // 1000)

    def hear(self, client, name, size=0):
        wanted, people = b"* you are " + name + b"\n", size // 1000
        while wanted or people:
            line = client.through(b"\n")
            if line == wanted:
                wanted = None
            elif not wanted and re.fullmatch(rb"\* \d+: .*\n", line):
                people -= 1
            elif not self.others.fullmatch(line):
                raise Wrong(f"{line!r} instead of {wanted!r}")


class Http(Echo):
    bad = b"BAD\r\n\r\n"
    text = filled(b"of the file; ", 3 * BIG)

    def ask(self, name, size=0):
        body = filled(name, size or len(name))
        head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        return head + body

    def answer(self, client):
        head = client.through(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = re.search(rb"\r\nContent-Length: (\d+)\r\n", head)
        return status, client.exactly(int(length[1])) if length else b""

    def hear(self, client, name, size=0):
        status, body = self.answer(client)
        if status != 200:
            raise Wrong(f"status {status}")
        same(body, filled(name, size or len(name)))

    def file(self, client):
        client.say(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
        status, body = self.answer(client)
        if status in (404, 503):
            raise EOFError(f"the file was answered with {status}")
        if status != 200:
            raise Wrong(f"status {status}")
        same(body, self.text)


class Redis(Echo):
    bad = b"*1\r\nfoo\r\n"

    def ask(self, name, size=0):
        words = [b"SET", name, filled(name, size or 9)], [b"GET", name], [b"DEL", name]
        parts = ([b"$%d\r\n%s\r\n" % (len(word), word) for word in some] for some in words)
        return b"".join(b"*%d\r\n" % len(some) + b"".join(some) for some in parts)

    def hear(self, client, name, size=0):
        text = filled(name, size or 9)
        wanted = b"+OK\r\n$%d\r\n%s\r\n:1\r\n" % (len(text), text)
        same(client.exactly(len(wanted)), wanted)


TONGUES = {"echo": Echo(), "tls": Secured(), "greet": Greet(), "chat": Chat(), "http": Http(),
           "redis": Redis()}


# How clients come and go. Each is told whom it visits, and a name that nobody else has.

def talks(client, tongue, name):
    for part in (name + b"a", name + b"b"):
        client.say(tongue.ask(part))
        tongue.hear(client, part)


def pipelines(client, tongue, name):
    names = [name + b"%d" % n for n in range(PIPELINE)]
    client.say(b"".join(map(tongue.ask, names)))
    if isinstance(tongue, Greet):
        return tongue.hear(client, name)
    for part in names:
        tongue.hear(client, part)


def half_closes(client, tongue, name):
    client.say(tongue.ask(name))
    if isinstance(client.sock, ssl.SSLSocket):
        tongue.hear(client, name)
        client.sock.unwrap()
        return
    client.sock.shutdown(servers.socket.SHUT_WR)
    tongue.hear(client, name)
    rest = client.to_end()
    if rest and not isinstance(tongue, Chat):
        raise Wrong(f"{rest[:80]!r} after the last answer")


def resets(client, tongue, name):
    client.say(tongue.ask(name))
    servers.reset(client.sock)


def asks_for_much(client, tongue, name):
    client.say(tongue.ask(name, BIG))
    tongue.hear(client, name, BIG)


def asks_for_very_much(client, tongue, name):
    client.say(tongue.ask(name, 40 * BIG))
    tongue.hear(client, name, 40 * BIG)


def is_rude(client, tongue, name):
    """It is shown out, and sees that."""
    client.say(tongue.bad)
    client.to_end()


def wants_a_file(client, tongue, name):
    tongue.file(client)


KINDS = [talks, pipelines, half_closes, resets, asks_for_much, is_rude, wants_a_file]


def kinds_for(name):
    tongue = TONGUES[name]
    return [kind for kind in KINDS if (kind is not is_rude or tongue.bad)
            and (kind is not wants_a_file or name == "http")]


class Visit:
    """What came of one client: it is well, or it says why not."""

    counter = iter(range(1, 1 << 62))
    lock = threading.Lock()

    def __init__(self, server, kind, patience_s):
        self.server, self.kind, self.patience_s = server, kind, patience_s
        self.port, self.why, self.client = None, "", None
        with self.lock:
            self.name = b"v%d." % next(self.counter)

    def go(self):
        tongue = TONGUES[self.server.name]
        try:
            if self.kind is is_rude and self.server.name in servers.TLS:
                # It never comes to a handshake.
                plain = type(self.server)("", self.server.process, self.server.port, None)
                self.client = Client(plain, self.patience_s)
            else:
                self.client = Client(self.server, self.patience_s)
            self.port = self.client.port
            tongue.begin(self.client)
            self.kind(self.client, tongue, self.name)
        except Wrong as e:
            self.why = f"wrong: {e}"
        except TimeoutError:
            self.why = "hang: no answer"
        except (OSError, EOFError) as e:
            self.port = self.port or getattr(e, "port", None)
            self.why = f"lost: {type(e).__name__}: {e}"
            if self.kind is is_rude:
                self.why = ""  # that is one way to be shown out
        finally:
            if self.client:
                self.client.close()
        return self
