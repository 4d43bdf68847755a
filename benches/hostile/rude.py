"""Clients out of the list of hostile cases, drawn by a seed: what a soak has beside its load.

    rude.py PORT TLS_PORT SEED      until its standard input ends; then it prints what it did

They talk to a server that echoes. Each kind is a function below: it comes, does what it is named for,
and goes, or leaves its socket with [`Rude.kept`] for a while. Whoever behaves well enough for an
answer checks it, byte by byte.
"""
import collections
import contextlib
import json
import pathlib
import random
import select
import socket
import ssl
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from servers import HOST, hello, reset, stranger  # noqa: E402

THREADS = 4
PAUSE_S = 0.02  # between two of one thread
KEPT = 100  # sockets that one thread leaves open
PATIENCE_S = 30


class Rude:
    """One thread's clients."""

    def __init__(self, port, tls_port, seed):
        self.port, self.tls_port, self.dice = port, tls_port, random.Random(seed)
        self.kept = collections.deque()
        self.did, self.wrong = collections.Counter(), []

    def connect(self, port=None):
        source = f"127.0.{self.dice.randrange(1, 5)}.{self.dice.randrange(1, 250)}"
        return socket.create_connection((HOST, port or self.port), PATIENCE_S, (source, 0))

    def keep(self, sock):
        self.kept.append(sock)
        while len(self.kept) > KEPT:
            sock = self.kept.popleft()
            self.dice.choice([reset, socket.socket.close])(sock)

    def text(self, most):
        return self.dice.randbytes(self.dice.randrange(1, most))

    def one(self):
        kind = self.dice.choice(KINDS)
        try:
            kind(self)
        except (OSError, ssl.SSLError) as e:
            # Deadlines and limits may hit them; that is what they are for.
            self.did[f"{kind.__name__}: {type(e).__name__}"] += 1
            if kind in MUST_BE_ANSWERED:
                self.wrong.append(f"{kind.__name__}: {e!r}")
        else:
            self.did[kind.__name__] += 1


def cut_off():
    raise ConnectionError("an end in the midst of an answer")


def ends_at_once(rude):
    rude.connect().close()


def resets_at_once(rude):
    reset(rude.connect())


def resets_amidst_its_answer(rude):
    sock = rude.connect()
    sock.sendall(rude.text(100_000))
    reset(sock)


def leaves_without_reading(rude):
    sock = rude.connect()
    sock.sendall(rude.text(1000))
    sock.close()


def ends_its_half_and_reads(rude):
    with rude.connect() as sock:
        text = rude.text(100_000)

        def send():
            sock.sendall(text)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        heard = b"".join(iter(lambda: sock.recv(65536), b""))
        sender.join()
        if heard != text:
            rude.wrong.append(f"{len(heard)} of {len(text)} bytes, or others")


def sends_byte_by_byte(rude):
    with rude.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        text = rude.text(60)
        for at in range(len(text)):
            sock.send(text[at:at + 1])
        heard = b""
        while len(heard) < len(text):
            heard += sock.recv(100) or cut_off()
        if heard != text:
            rude.wrong.append("bytes one by one came back otherwise")


def never_reads(rude):
    sock = rude.connect()
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(200):
            sock.send(b"x" * 65536)
    rude.keep(sock)


def reads_little(rude):
    sock = rude.connect()
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        sock.send(b"x" * 300_000)
    for _ in range(3):
        if select.select([sock], [], [], 1)[0]:
            sock.recv(10)
    rude.keep(sock)


def says_nothing(rude):
    rude.keep(rude.connect())


def sends_urgently(rude):
    with rude.connect() as sock:
        sock.send(b"!", socket.MSG_OOB)
        sock.sendall(rude.text(100))
        sock.recv(10)


def comes_with_many(rude):
    for sock in [rude.connect() for _ in range(30)]:
        rude.dice.choice([reset, socket.socket.close])(sock)


def begins_a_handshake(rude):
    sock = rude.connect(rude.tls_port)
    said = hello()
    sock.sendall(said[:rude.dice.randrange(len(said))])
    rude.keep(sock)


def speaks_no_tls(rude):
    with rude.connect(rude.tls_port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        sock.recv(100)


def breaks_off_tls(rude):
    sock = stranger().wrap_socket(rude.connect(rude.tls_port))
    text = rude.text(1000)
    sock.sendall(text)
    heard = b""
    while len(heard) < len(text):
        heard += sock.recv(2000) or cut_off()
    if heard != text:
        rude.wrong.append("through TLS something else came back")
    reset(sock)


KINDS = [ends_at_once, resets_at_once, resets_amidst_its_answer, leaves_without_reading,
         ends_its_half_and_reads, sends_byte_by_byte, never_reads, reads_little, says_nothing,
         sends_urgently, comes_with_many, begins_a_handshake, speaks_no_tls, breaks_off_tls]

MUST_BE_ANSWERED = [ends_its_half_and_reads, sends_byte_by_byte, breaks_off_tls]


def main(port, tls_port, seed):
    over = threading.Event()
    all_rude = [Rude(port, tls_port, seed + n) for n in range(THREADS)]

    def act(rude):
        while not over.is_set():
            rude.one()
            time.sleep(PAUSE_S)
        while rude.kept:
            rude.kept.pop().close()

    threads = [threading.Thread(target=act, args=[rude]) for rude in all_rude]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    did = sum((rude.did for rude in all_rude), collections.Counter())
    print(json.dumps({"did": did, "wrong": [why for rude in all_rude for why in rude.wrong]}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
