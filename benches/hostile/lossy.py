"""A lossy network: 1, 10 and 30 % of all packets dropped, 1 Mbit/s each way, 10 ms there and 10
back; some come twice, some late. `badline.py` makes it: two namespaces for each line and server,
and a process between them that draws from the seed (not `tc netem`, which not every kernel has).

Asked of charkh (echo, TLS, and the http example's POST /echo), for each line:
- transfers: pieces of 1 B to 16 KiB, seeded, go there and back, one to four on a connection, by
  many clients at once. Every piece comes back byte for byte; none is given up. A connection may end
  before its last answer only by a deadline, and then its piece is sent again on another.
- the vanished: clients of which from some moment on no packet passes: before their first byte, in
  a handshake, after an answer, within a request, with an answer under way that they have not read;
  and one that never stops talking, for the lifetime. None is seen among the server's sockets 100 ms
  after its deadline. There is a look every 20 ms; where the machine does not allow one for 50 ms,
  it has stood still, and that time does not count.
- no connection is older than its lifetime, and at the end the server has the descriptors it began
  with, and is well.

`--quick`: one line each, 5 %, few pieces; when they vanish, that they are gone at all. It needs
root or user namespaces, and /dev/net/tun: where they are missing it is left out, but not where CI
is set in the environment.
"""
import collections
import concurrent.futures
import multiprocessing
import os
import random
import ssl
import subprocess
import threading
import time

import badline
import servers
import vanished
from sockets import Sockets

SIZE_MAX = 16 << 10
TRIES_MAX = 50  # for one piece
LOSSES = [0.01, 0.1, 0.3]
SERVERS = ["echo", "http", "tls"]
# For transfers: far more than TCP needs at 30 %, nearly always.
SOON_S = 60
LIFETIME_S = 300
DEADLINES = {
    name: ["--idle", f"{SOON_S}s", "--first-byte", f"{SOON_S}s", "--write-stall", f"{SOON_S}s",
           "--handshake-timeout", f"{SOON_S}s", "--lifetime", f"{LIFETIME_S}s"]
    for name in ["echo", "tls"]
} | {"http": []}
# Of one line: clients, and pieces of all together; 9 lines have 10 000.
CLIENTS, PIECES = 32, 1112


def run(args):
    if why := unable():
        return servers.left_out("lossy", why)
    names = [name for name in args.servers or SERVERS if name in SERVERS and servers.there(name)]
    losses = [0.05] if args.quick else LOSSES
    jobs = [(name, loss, args.seed * 1000 + n, args.quick)
            for n, (name, loss) in enumerate((name, loss) for loss in losses for name in names)]
    context = multiprocessing.get_context("fork")
    pool = concurrent.futures.ProcessPoolExecutor(len(jobs), context, badline.end_with_parent)
    with pool:
        results = list(pool.map(on_a_line, jobs))
    for (name, loss, seed, quick), result in zip(jobs, results):
        show(name, loss, seed, quick, result)
    if not args.quick:
        total = sum(result["exact"] for result in results)
        servers.common.show("all lines", [
            ("transfers, all byte-exact", total, "10 000", total >= 10_000 or len(jobs) < 9)])
    return {f"{name} {loss}": result for (name, loss, _, _), result in zip(jobs, results)}


def unable():
    """Why there can be no such network here, or nothing; a process finds out that ends with it."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "there is no /dev/net/tun for us"
    child = os.fork()
    if child == 0:
        try:
            badline.may_make_namespaces()
            badline.Side(badline.SERVER)
        except (OSError, subprocess.CalledProcessError) as e:
            print(f"lossy: {e}")
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return "" if status == 0 else "no network namespace can be made without root"


def on_a_line(job):
    """In a process of its own."""
    name, loss, seed, quick = job
    badline.may_make_namespaces()
    servers.HOST = badline.SERVER
    with badline.Line(seed, loss) as line:
        with line.server.entered(), servers.serving(name, *DEADLINES[name]) as server:
            with line.client.entered():
                result = transfers(server, seed, quick)
            result["well"] = server.is_well()
        options = vanished.options(name, quick)
        with line.server.entered(), servers.serving(name, *options) as server:
            with line.client.entered():
                result["vanished"] = vanished.all_of(server, line, at_rest(server), quick)
        return result | {"line": dict(line.counts)}


def at_rest(server):
    """Its descriptors, when whoever asked whether it serves is gone."""
    servers.common.at_rest(server.pid, still_s=0.1)
    return server.descriptors()


def transfers(server, seed, quick):
    baseline = at_rest(server)
    crowd = Crowd(server, seed, 12 if quick else PIECES)
    began = time.monotonic()
    with Sockets(server) as sockets:
        crowd.run(6 if quick else CLIENTS)
        took = time.monotonic() - began
        # Whom a client has given up the server still believes in, until a deadline.
        servers.until("all sockets are closed", lambda: server.descriptors() <= baseline,
                      patience_s=LIFETIME_S + 10)
        oldest = sockets.oldest_s()
    with crowd.lock:
        return {
            "exact": crowd.counts["exact"], "wrong": crowd.wrong, "given up": crowd.given_up,
            "again": dict(crowd.again), "too soon": crowd.too_soon, "seconds": round(took, 1),
            "bytes": crowd.counts["bytes"], "connections": crowd.counts["connections"],
            "longest s": round(max(crowd.times, default=0), 1),
            "oldest s": round(oldest, 2), "descriptors": server.descriptors() - baseline,
            "log lines": len(server.log_lines()),
        }


class Crowd:
    """Clients that take one piece after the other, until there are none."""

    def __init__(self, server, seed, pieces):
        self.server, self.seed, self.left = server, seed, pieces
        self.lock = threading.Lock()
        self.counts, self.again = collections.Counter(), collections.Counter()
        self.wrong, self.given_up, self.too_soon, self.times = [], [], [], []

    def run(self, clients):
        threads = [threading.Thread(target=self.client, args=[n]) for n in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def next_piece(self):
        with self.lock:
            self.left -= 1
            return self.left

    def client(self, n):
        rng = random.Random(self.seed * 100 + n)
        piece = self.next_piece()
        while piece >= 0:
            size = round(SIZE_MAX ** rng.random())
            content = random.Random(self.seed << 32 | piece).randbytes(size)
            conn, tries = None, 0
            begun, uses = time.monotonic(), rng.randint(1, 4)
            while tries < TRIES_MAX:
                tries += 1
                try:
                    conn = conn or Conversation(self.server)
                    back = conn.transfer(content)
                except (OSError, EOFError) as e:
                    self.note_end(conn, e, f"seed {self.seed}, client {n}, piece {piece}")
                    conn = conn and conn.close()
                    continue
                self.note_answer(back == content, f"seed {self.seed}, piece {piece}", size)
                uses -= 1
                piece, size = self.next_piece(), round(SIZE_MAX ** rng.random())
                self.times.append(time.monotonic() - begun)
                if uses == 0 or piece < 0:
                    break
                content = random.Random(self.seed << 32 | piece).randbytes(size)
                begun, tries = time.monotonic(), 0
            else:
                with self.lock:
                    self.given_up.append(f"seed {self.seed}, piece {piece}")
                piece = self.next_piece()
            if conn:
                conn.close()
                with self.lock:
                    self.counts["connections"] += 1

    def note_answer(self, is_exact, which, size):
        with self.lock:
            self.counts["exact"] += is_exact
            self.counts["bytes"] += size
            if not is_exact:
                self.wrong.append(which)

    def note_end(self, conn, error, which):
        """It ended before the answer. Earlier than a deadline it must not."""
        lasted = time.monotonic() - conn.began if conn else 0
        with self.lock:
            self.again[f"{type(error).__name__}: {error}"] += 1
            # Our own patience is longer than that, and a connect has its own.
            if conn and lasted < conn.soonest_s and not isinstance(error, TimeoutError):
                self.too_soon.append(f"{which}: after {lasted:.1f} s, {error!r}")


class Conversation:
    """A connection on which pieces are sent and come back."""

    def __init__(self, server):
        self.is_http = server.name == "http"
        self.soonest_s = 10 if self.is_http else SOON_S  # the http example's, for a head
        self.began = time.monotonic()
        self.sock = server.connect(timeout_s=2 * SOON_S)
        self.began = time.monotonic()

    def close(self):
        """In good order where TLS is spoken, as far as that is heard."""
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.settimeout(SOON_S)
            try:
                self.sock = self.sock.unwrap()
            except OSError:
                pass
        self.sock.close()

    def transfer(self, content):
        size = len(content)
        if self.is_http:
            head = f"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode()
            self.sock.sendall(head + content)
            return self.answer()
        self.sock.sendall(content)
        return self.exactly(size)

    def exactly(self, size, back=b""):
        while len(back) < size:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError("the end in the place of an answer")
            back += more
        return back

    def answer(self):
        text = b""
        while b"\r\n\r\n" not in text:
            text = self.exactly(len(text) + 1, text)
        head, body = text.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise EOFError(head.split(b"\r\n")[0].decode())
        size = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:"))
        return self.exactly(size, body)


def show(name, loss, seed, quick, result):
    asked = 12 if quick else PIECES
    again = sum(result["again"].values())
    rows = [
        ("transfers, byte for byte", result["exact"], asked, result["exact"] == asked),
        ("wrong, given up", len(result["wrong"] + result["given up"]), 0,
         not result["wrong"] and not result["given up"]),
        ("ended before a deadline", len(result["too soon"]), 0, not result["too soon"]),
        ("ended at one, and sent again", again, None, True),
        ("descriptors more at the end", result["descriptors"], 0, result["descriptors"] <= 0),
        ("still serves", result["well"] or "yes", "yes", not result["well"]),
    ]
    if not quick:
        rows += [
            ("oldest connection", f"{result['oldest s']} s", f"{LIFETIME_S}.1 s",
             result["oldest s"] < LIFETIME_S + 0.1),
            ("longest transfer", f"{result['longest s']} s", None, True),
            ("all transfers", f"{result['seconds']} s", None, True),
        ]
    counts = result["line"]
    rows.append(("packets, of these dropped", f"{counts['packets']}, {counts.get('lost', 0)}",
                 None, True))
    rows += vanished.rows(result["vanished"], quick)
    servers.common.show(f"{name}, {loss:.0%} of the packets lost, seed {seed}", rows)
    for why in [*result["wrong"], *result["given up"], *result["too soon"]]:
        print(f"    {why}")
    for why, times in result["again"].items():
        print(f"    sent again, {times} times: {why}")
