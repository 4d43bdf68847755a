"""Connects and disconnects of all kinds against one process: nothing may be left of them.

A client in C (churn.c) comes from many addresses and goes with FIN and RST: at once, in silence, in
the middle of a request at each of its bytes, after it without reading, after a half-close that it
reads to the end; one of a hundred is reset while the server stands still, before it can be
accepted. TLS is given up at each byte of the ClientHello and of what comes after it, in both
versions, and gets plain text. A polite client comes between, and hears what it should, exactly.

A million for each of ours. After each 20 000 and at the end: descriptors, connections and armed
timers as at the start; at most 1 MiB more resident than after the first 20 000; as many accepted as
came.
The examples do not tell of their timers: they sleep for a whole second, without waking once.
Of peers, and of processor time, it is information. It needs `cc`, and no rights.
"""
import contextlib
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import servers
from churn_sight import Sight
from churn_tls import cut_short
from servers import common

HERE = pathlib.Path(__file__).resolve().parent
KINDS = "frsSwWcCh"
KINDS_TLS = "frsScC"
MORE_MOST = 1 << 20
# How many come: in all, and until it counts as warm.
FULL = dict.fromkeys(["echo", "tls", "http", "redis"], 1_000_000)
OTHERS = 100_000
TIMERS = ["--idle", "1h", "--first-byte", "10m"]  # so that each connection has a timer
WARM = 20_000
PARTS = 49  # each as many as until then: a larger crowd at once has larger tables, and keeps them
QUICK = {"echo": 2500, "tls": 1300, "http": 900}
QUICK_WARM = 500
QUICK_PARTS = 2
BEFORE_ACCEPT = 0.01  # this part of all
QUEUE = 100  # so many fit in everybody's


def run(args):
    names = args.servers or (QUICK if args.quick else [*FULL, "nginx", "nginx-tls", "haproxy",
                                                       "redis-server", "node", "tokio"])
    results = {}
    with tempfile.TemporaryDirectory(prefix="churn-") as folder:
        program = common.compiled(HERE / "churn.c", folder)
        for name in filter(servers.there, names):
            count = QUICK.get(name, 1000) if args.quick else FULL.get(name, OTHERS)
            plan = (QUICK_WARM, QUICK_PARTS) if args.quick else (WARM, PARTS)
            options = TIMERS if name in {"echo", "tls"} else []
            with servers.serving(name, *options) as server:
                churn = Churn(server, program, args.seed)
                results[name] = churn.all(count, *plan)
            show(name, results[name], args.quick)
    return results


class Churn:
    """All who come to one server."""

    def __init__(self, server, program, seed):
        self.server, self.program, self.seed = server, program, seed
        self.came = self.wrong = 0
        self.sight = Sight(server)

    def all(self, count, warm, parts):
        sight, start = self.sight, self.sight.resident()
        sight.manners()
        begun, cpu_s, embryos = time.monotonic(), self.server.cpu_s(), embryonic_resets()
        first, lines = sight.first_look(), sight.complaints()
        sizes, held = [], []
        for part in [warm] + [(count - warm) // parts] * parts:
            self.some(part)
            held.append(sight.left(first, sight.after_all_went(first)))
            sizes.append(sight.resident())
            if count >= OTHERS:
                print(f"  {self.server.name}: {self.came} came, resident {sizes[-1] // 1024} KiB")
        took = time.monotonic() - begun
        self.check_well()
        last = sight.after_all_went(first)
        accepted = None if first["accepted"] is None else last["accepted"] - first["accepted"]
        return {"came": self.came, "wrong": self.wrong, "accepted": accepted, "seconds": took,
                "embryos": embryonic_resets() - embryos,
                "cpu_us": 1e6 * (self.server.cpu_s() - cpu_s) / self.came,
                "first": first, "last": last, "start": start, "warm": sizes[0], "sizes": sizes,
                "left": worst([*held, sight.left(first, last)]),
                # Whoever tells of its timers need not show that there are none.
                "sleeps": None if last["timers"] == 0 and count < OTHERS else sight.sleeps(),
                "lines": sight.complaints() - lines}

    def some(self, count):
        before_accept = int(count * BEFORE_ACCEPT)
        for done in range(0, before_accept, QUEUE):
            with self.standing_still():
                self.client(min(QUEUE, before_accept - done), "rW", polite=False)
        by_hand = 0
        if self.server.name in servers.TLS:
            by_hand = cut_short(self.server, at_most=count // 20)
            self.came += by_hand
            plain = count // 20
            self.client(plain, "wWcCh", request=servers.HTTP, polite=False)
            by_hand += plain
        kinds = KINDS_TLS if self.server.name in servers.TLS else KINDS
        self.client(count - before_accept - by_hand, kinds)
        self.seed += 1

    @contextlib.contextmanager
    def standing_still(self):
        """The kernel alone takes connections, and they are over before the server hears of it."""
        self.server.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.server.process.send_signal(signal.SIGCONT)

    def client(self, count, kinds, request=None, polite=True):
        request, reply, size = (request, b"", 0) if request else self.sight.manners()
        command = [self.program, self.server.port, count, self.seed, kinds, request.hex(),
                   reply.hex() if polite else "", size]
        # On one processor: from two, a reset may overtake what makes the connection.
        client = common.start(command, common.OURS, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        said, complaint = client.communicate()
        if client.returncode:
            sys.exit(f"churn: {self.server.name}, after {self.came}, seed {self.seed}, kinds "
                     f"{kinds}: {complaint.strip()}")
        came, wrong = map(int, said.split())
        self.came += came
        self.wrong += wrong if polite else 0

    def check_well(self):
        if why := self.server.is_well():
            sys.exit(f"churn: {self.server.name} is not well after {self.came}: {why}")
        self.came += 1


def embryonic_resets():
    """Resets that came, anywhere on this machine, before the kernel had shaken hands: of these no
    server hears. A busy machine drops packets of its own, and what is dropped may be that."""
    names, values = [line.split() for line in open("/proc/net/netstat")
                     if line.startswith("TcpExt:")]
    return int(dict(zip(names, values))["EmbryonicRsts"])


def worst(looks):
    return {what: max((look[what] for look in looks), key=abs) for what in looks[0]}


def show(name, found, quick):
    ours = name in servers.OURS
    rows = [(f"{name}: came and went", f"{found['came']} in {found['seconds']:.0f} s", None, True),
            (f"{name}: processor time of each", f"{found['cpu_us']:.0f} µs", None, True)]

    def asked(what, figure, goal, met):
        rows.append((f"{name}: {what}", figure, goal if ours else None, met))

    if found["accepted"] is not None:
        missing = found["came"] - found["accepted"]
        figure = f"{-missing:+}" + f" of {found['embryos']} reset too soon" * bool(missing)
        asked("accepted, beside those who came", figure, "+0", 0 <= missing <= found["embryos"])
    left = found["left"]
    asked(" and ".join(left) + " left", ", ".join(map(str, left.values())), "none",
          not any(left.values()))
    asked("polite ones with another answer", str(found["wrong"]), "0", not found["wrong"])
    if ours and found["sleeps"] is not None:
        asked("asleep, for a whole second", "yes" if found["sleeps"] else "no", "yes",
              found["sleeps"])
    most = max(found["sizes"]) - found["warm"]
    asked(f"resident, since {QUICK_WARM if quick else WARM}", f"{most / 1024:+.0f} KiB", "1 MiB",
          most <= MORE_MOST)
    at_end = (found["sizes"][-1] - found["start"]) / 1024
    rows.append((f"{name}: resident, since the start", f"{at_end:+.0f} KiB", None, True))
    few = found["lines"] <= 2 * found["seconds"] + 20
    asked("lines of log", str(found["lines"]), "2 a second", few)
    common.show(f"churn: {name}, resident at the start {found['start'] // 1024} KiB", rows)
