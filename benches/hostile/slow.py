"""Slow clients: ten thousand that each second send one byte of a head, or of a TLS handshake.

Asked of charkh: that a polite client beside them is served as if they were not there (the 99th
percentile of its latency, from the planned time, at most 1.3 times what it is without them; the
median of slices of a tenth of a second, for a host may stand still for a hundredth of it all), and
that each is gone when its deadline is over, 0.1 s more or less, whatever it sends. Others have other
deadlines, or none: what they do is information.

The server has one processor for itself; `drip.c`, which plays the slow, and the polite (`charkh
load`, an open loop) share the other, where the polite comes first. With and without the slow take
turns. In a third turn they send to a sink that never reads, so that what they cost as neighbours of
the polite, and not as clients of the server, can be told.
"""
import contextlib
import os
import pathlib
import signal
import statistics
import subprocess
import tempfile

import servers
from servers import common

HERE = pathlib.Path(__file__).resolve().parent

# How many slow clients each has room for beside the polite.
WHOM = {"http": 10_000, "tls": 10_000, "nginx": 10_000, "nginx-tls": 10_000, "haproxy": 9_700,
        "node": 10_000}
DEADLINE_S = {"http": 10, "tls": 10}
WITHIN_S = 0.1
RATIO_MAX = 1.3
EVERY_MS = 1000
PATIENCE_S = 150  # who has not ended a slow client by then does not end it
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 2000


class Slow:
    """They have all come, over this time, and go on until [`gone`](Slow.gone)."""

    def __init__(self, program, name, port, size, ramp_s, again=False):
        self.out = tempfile.TemporaryFile()
        command = [program, size, port, EVERY_MS, int(1000 * ramp_s), int(again)]
        self.process = common.start(command, common.OURS, stdin=subprocess.PIPE, stdout=self.out)
        with contextlib.suppress(PermissionError):  # behind the polite, and before all else
            os.sched_setscheduler(self.process.pid, os.SCHED_FIFO, os.sched_param(5))
        self.process.stdin.write(servers.hello() if name in servers.TLS else HEAD)
        self.process.stdin.close()
        all_here = lambda: b"all\n" in self.said()  # noqa: E731
        servers.until("all slow clients are here", all_here, PATIENCE_S, look_s=0.05)

    def said(self):
        return pathlib.Path(f"/proc/self/fd/{self.out.fileno()}").read_bytes()

    def gone(self, patience_s=0):
        """Wait for their ends. Of each that the server has ended by then: seconds, how, and how
        many bytes it heard."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        ends = (line.split() for line in self.said().splitlines() if line != b"all")
        return [(int(took) / 1e9, how.decode(), int(heard)) for took, how, heard in ends]


@contextlib.contextmanager
def sink(program):
    with common.running([program, "sink"], common.OURS, stdout=subprocess.PIPE) as process:
        yield int(process.stdout.readline())


def polite(server, seconds, rate):
    """The latency of who asks by the clock, in microseconds, and how many were answered."""
    kind = {"tls": ["--tls", "--insecure"],
            "nginx-tls": ["--tls", "--insecure", "--reply", "http"]}.get(server.name)
    options = [*(kind or ["--reply", "http"]), "-c", "20", "--rate", str(rate), "-d", f"{seconds}s",
               "--warmup", "300ms"]
    with common.real_time():
        run = common.begin_load(server.port, *options, cpus=common.OURS)
    results = common.end_load(run)
    lost = results["unsent"] + sum(results["errors"].values())
    return {"p99": common.p99_of_slices_us(results), "p50": results["latency"]["p50_ns"] / 1e3,
            "p99 of all": results["latency"]["p99_ns"] / 1e3, "lost": lost}


def beside(program, server, size, rounds, seconds, rate):
    """The latency of the polite: alone, beside the slow of a sink, beside the slow of this server;
    and how long the slow were let be."""
    runs, ends = {"alone": [], "sink": [], "slow": []}, []
    for _ in range(rounds):
        runs["alone"].append(polite(server, seconds, rate))
        with sink(program) as port:
            slow = Slow(program, server.name, port, size, ramp_s=3)
            runs["sink"].append(polite(server, seconds, rate))
            slow.gone()
        # They come as evenly as they will go, and come again: there are always as many.
        slow = Slow(program, server.name, server.port, size, ramp_s=10, again=True)
        runs["slow"].append(polite(server, seconds, rate))
        ends += slow.gone()
        servers.until("the server has seen them go", lambda: server.descriptors() < 200)
    return runs, ends


def show_latency(name, size, runs):
    ours = name in servers.OURS
    median = {turn: {what: statistics.median(one[what] for one in all_) for what in all_[0]}
              for turn, all_ in runs.items()}
    ratios = [slow["p99"] / alone["p99"] for slow, alone in zip(runs["slow"], runs["alone"])]
    ratio = statistics.median(ratios)
    beside_sink = median["slow"]["p99"] / median["sink"]["p99"]
    p99 = {turn: f"{of['p99']:.0f} us" for turn, of in median.items()}
    spread = f"{ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    of_all = " and ".join(f"{median[turn]['p99 of all']:.0f} us" for turn in ["slow", "alone"])
    lost = sum(one["lost"] for all_ in runs.values() for one in all_)
    rows = [(f"{name}: p99 of the polite, alone", p99["alone"], None, True),
            (f"{name}: beside slow clients of a sink", p99["sink"], None, True),
            (f"{name}: beside {size} slow clients", p99["slow"], None, True),
            (f"{name}: the last beside the first", spread, f"<= {RATIO_MAX}" if ours else None,
             ratio <= RATIO_MAX),
            (f"{name}: the last beside the second", f"{beside_sink:.2f}", None, True),
            (f"{name}: p99 of all, beside them and alone", of_all, None, True),
            (f"{name}: polite requests not answered", str(lost), "0" if ours else None, lost == 0)]
    common.show(f"{name}: {size} slow clients, a polite one beside them", rows)
    return {"median": median, "ratios": ratios, "beside_sink": beside_sink, "runs": runs}


def show_ends(name, size, ends, again, deadline_s, late_s=WITHIN_S):
    """How long each slow client was let be: those who came once, and those who came `again`."""
    took = sorted(seconds for seconds, _, _ in ends + again) or [0]
    resets = sum(how == "reset" for _, how, _ in ends + again)
    goal = deadline_s and f"{deadline_s} s - {WITHIN_S} + {late_s} s"
    within = deadline_s and deadline_s - WITHIN_S <= took[0] and took[-1] <= deadline_s + late_s
    common.show(f"{name}: {size} slow clients and their ends", [
        (f"{name}: slow clients ended by the server", f"{len(ends)} of {size}",
         deadline_s and "all", len(ends) == size),
        (f"{name}: from connect to end", f"{took[0]:.3f}-{took[-1]:.3f} s", goal, within),
        (f"{name}: ends of all rounds", str(len(ends + again)), None, True),
        (f"{name}: of them by a reset", str(resets), None, True)])
    return {"ended": len(ends), "shortest_s": took[0], "longest_s": took[-1], "resets": resets}


def quick(program):
    """Few, with a deadline of a second; latency and the exact end are not looked at."""
    results = {}
    soon = ["--handshake-timeout", "1s"]
    for name, options, deadline_s in [("tls", soon, 1), ("http", [], None)]:
        with servers.serving(name, *options) as server:
            slow = Slow(program, name, server.port, 300, ramp_s=0.2)
            lost = polite(server, 0.5, 100)["lost"]
            rows = [(f"{name}: polite requests not answered", str(lost), "0", lost == 0)]
            common.show(f"{name}: slow clients, a polite one beside them", rows)
            ends = slow.gone(servers.PATIENCE_S if deadline_s else 0)
            results[name] = show_ends(name, 300, ends, [], deadline_s, servers.PATIENCE_S)
    return results


def run(args):
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        program = common.compiled(HERE / "drip.c", folder)
        if args.quick:
            return quick(program)
        for name in filter(servers.there, args.servers or WHOM):
            size = WHOM[name]
            serving = servers.serving(name, cpus=common.THEIRS, is_first=True)
            with common.awake(), serving as server:
                slow = Slow(program, name, server.port, size, ramp_s=2)
                ends = slow.gone(PATIENCE_S)
                rounds = 9 if name in servers.OURS else 3
                runs, again = beside(program, server, size, rounds, seconds=4, rate=1000)
            results[name] = show_ends(name, size, ends, again, DEADLINE_S.get(name))
            results[name] |= show_latency(name, size, runs)
    return results
