#!/usr/bin/env python3
"""What `charkh load` promises, shown: figures beside their goals.

    cargo build --release
    benches/load.py wrk        CPU time per request beside wrk's, against nginx
    benches/load.py epoll      the rate that an echo server is driven to, beside a loop in C
    benches/load.py stop       an open loop, and a server that stands still for 200 ms
    benches/load.py busy       a generator that is short of a processor says so
    benches/load.py rate       10 000 requests a second, as planned and as they arrive
    benches/load.py many       19 000 connections and twice as many: memory and time
    benches/load.py find-max   a server's known rate, found
    benches/load.py            all of them: some five minutes

On Linux, with Python's own library; `wrk` wants wrk and nginx (Debian: wrk, nginx-light), the
others a C compiler. The program is $CHARKH, or the release build. Two programs that are compared
take turns, round by round, and medians are printed, so that what else the machine does hits both
alike; where there are two processors, generators run on one and servers on the other. Exit status
1: a goal is missed.
"""
import contextlib
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from common import (HERE, OURS, THEIRS, anonymous, band_end_ms, begin_load, compiled, end_load,
                    finish, free_port, load, misses, nginx_settings, running, serving, show, start)

ROUNDS = 7
SECONDS = 3  # of a round

NGINX = nginx_settings("listen 127.0.0.1:{port}; location / {{ return 200; }}", 1024)


@contextlib.contextmanager
def throttled(rate, cpus=None):
    """The server of throttle.c: the process and its port."""
    command = [compiled(HERE / "load" / "throttle.c", SCRATCH), rate]
    with running(command, cpus, stdout=subprocess.PIPE, text=True) as server:
        yield server, int(server.stdout.readline())


# 1. Processor time per request.


def cpu_of(process):
    """Seconds of processor time that a process of one thread has had."""
    return int(pathlib.Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e9


def beside(title, server, generators, rate_goal, cost_goal):
    """Rounds of two generators in turn; each is a call that returns (requests, seconds, cpu)."""
    rounds = {name: [] for name in generators}
    for _ in range(ROUNDS):
        for name, generator in generators.items():
            before = cpu_of(server)
            requests, seconds, cpu = generator()
            served = cpu_of(server) - before
            rounds[name].append(
                (requests / seconds, 1e6 * cpu / requests, 100 * served / seconds))
    rates, costs, shares = ([statistics.median(one[at] for one in each) for each in rounds.values()]
                            for at in range(3))
    rows = []
    for name, rate, cost, share in zip(rounds, rates, costs, shares):
        rows += [(f"{name}: requests/s", f"{rate:.0f}", None, True),
                 (f"{name}: CPU per request", f"{cost:.2f} us", None, True),
                 (f"{name}: the server's processor", f"{share:.0f} %", None, True)]
    rate, cost = rates[1] / rates[0], costs[1] / costs[0]
    rows.append(("ratio of requests/s", f"{rate:.3f}", rate_goal and f">= {rate_goal}",
                 rate >= (rate_goal or 0)))
    rows.append(("ratio of CPU per request", f"{cost:.3f}", cost_goal and f"<= {cost_goal}",
                 cost <= (cost_goal or cost)))
    show(f"{title} ({ROUNDS} rounds of {SECONDS} s each, medians)", rows)


def reach(port):
    """Until somebody listens there."""
    for _ in range(500):
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", port)).close()
        time.sleep(0.01)
    sys.exit(f"nobody listens at port {port}")


def ours(port, *options):
    def once():
        results = load(port, "-c", 50, "-t", 1, "-d", f"{SECONDS}s", *options, cpus=OURS)
        assert not results["errors"], results["examples"]
        return results["requests"], results["measured_s"], results["cpu"]
    return once


def wrk():
    port = free_port()
    conf = pathlib.Path(SCRATCH) / "nginx.conf"
    conf.write_text(NGINX.format(dir=SCRATCH, port=port))
    nginx = ["nginx", "-c", conf, "-p", SCRATCH, "-e", f"{SCRATCH}/log"]
    with running(nginx, THEIRS) as server:
        reach(port)

        def theirs():
            command = ["wrk", "-t1", "-c50", f"-d{SECONDS}s", f"http://127.0.0.1:{port}/"]
            process = start(command, OURS, stdout=subprocess.PIPE, text=True)
            text = process.stdout.read()
            _, cpu = finish(process)
            words = next(line for line in text.splitlines() if " requests in " in line).split()
            return int(words[0]), float(words[3].strip("s,")), cpu

        beside("wrk: nginx, `return 200`, 50 connections, 1 thread", server,
               {"wrk": theirs, "charkh load": ours(port, "--reply", "http")}, None, 1.2)


def epoll():
    with serving("echo", THEIRS) as (server, port):

        def theirs():
            bare = compiled(HERE / "load" / "epoll.c", SCRATCH)
            process = start([bare, port, 50, SECONDS], OURS, stdout=subprocess.PIPE,
                            text=True)
            requests, seconds = process.stdout.read().split()
            return int(requests), float(seconds), finish(process)[1]

        beside("epoll: an echo server, 50 connections, depth 1, 64 B", server,
               {"C epoll loop": theirs, "charkh load": ours(port)}, 0.97, None)


# 2. Delays that are seen, and a generator that testifies against itself.


def stop():
    """Delays are counted from 16 ms on: shorter ones may be those of a busy machine."""
    with serving("echo", THEIRS) as (server, port):
        run = begin_load(port, "--rate", 1000, "-d", "3s", cpus=OURS)
        time.sleep(1.5)
        server.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        server.send_signal(signal.SIGCONT)
        results = end_load(run)
    delays = {}
    for part in results["series"]["slices"]:
        for band, count in part["latency"].items():
            delays[int(band)] = delays.get(int(band), 0) + count
    late = sum(count for band, count in delays.items() if band_end_ms(band - 1) >= 16)
    longest = results["latency"]["max_ns"] / 1e6
    rows = [("requests of 16 ms and more", late, "184 +- 20", abs(late - 184) <= 20),
            ("the longest", f"{longest:.1f} ms", "200 +- 20 ms", abs(longest - 200) <= 20)]
    # At 1 000 a second, as many requests as there are milliseconds in a band.
    for begin, end in zip(range(55, 71, 2), range(57, 73, 2)):
        from_ms, to_ms = band_end_ms(begin), min(band_end_ms(end), longest)
        if to_ms > from_ms:
            count = sum(delays.get(band, 0) for band in range(begin + 1, end + 1))
            planned = to_ms - from_ms
            rows.append((f"of {from_ms:.0f} to {to_ms:.0f} ms", count, f"about {planned:.0f}",
                         abs(count - planned) <= 5 + planned / 10))
    verdict = results["verdict"]["trust"]
    rows.append(("verdict", verdict, "VALID", verdict == "VALID"))
    show("stop: 1 000/s, the server stopped for 200 ms", rows)
    tell(results)


def busy():
    with serving("echo", THEIRS) as (_, port), contextlib.ExitStack() as loops:
        for _ in range(2):
            loops.enter_context(running([sys.executable, "-c", "while True: pass"], OURS))
        results = load(port, "--rate", 1000, "-d", "5s", cpus=OURS)
    verdict = results["verdict"]["trust"]
    show("busy: 1 000/s, two busy loops on the generator's processor", [
        ("verdict", verdict, "INVALID", verdict == "INVALID"),
        ("exit status", results["status"], "4", results["status"] == 4)])
    tell(results)


def tell(results):
    for reason in results["verdict"]["reasons"]:
        print(f"  {results['verdict']['trust']}: {reason}")


# 3. A rate that is held.


def rate():
    with throttled(0, THEIRS) as (server, port):
        results = load(port, "--rate", 10_000, "-d", "10s", cpus=OURS)
        server.terminate()
        count, seconds = server.stdout.read().split()
    told = results["requests"] / results["measured_s"]
    seen = (int(count) - 1) / float(seconds)
    goal = "10 000 +- 0.5 %"
    show("rate: --rate 10000 for 10 s", [
        ("requests / time, as it reports", f"{told:.1f}/s", goal, abs(told - 10_000) <= 50),
        ("arrivals, as a server counts them", f"{seen:.1f}/s", goal, abs(seen - 10_000) <= 50),
        ("requests that the server counted", count, "100 000 +- 0.5 %",
         abs(int(count) - 100_000) <= 500),
        ("verdict", results["verdict"]["trust"], None, True)])
    tell(results)


# 4. As many connections as there can be.


def hold(counts):
    """So many connections, each number by a process against a server of its own, all at once: for
    each the most memory that it had, and its results."""
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(serving("discard"))[1] for _ in counts]
        runs = [begin_load(port, "-c", count, "--hold", "-d", "3s", "--reset")
                for port, count in zip(ports, counts)]
        most = [0 for _ in counts]
        sizes = [1]
        while any(sizes):
            time.sleep(0.1)
            sizes = [anonymous(process.pid) for process, _ in runs]
            most = [max(pair) for pair in zip(most, sizes)]
        return [(size, end_load(run)) for size, run in zip(most, runs)]


def many():
    count = 19_000
    (base, _), = hold([1])
    (memory, one), = hold([count])
    (_, fast), = hold([10_000])
    two = [results for _, results in hold([count, count])]
    each = (memory - base) / (count - 1)
    up, fast_s = one["connections"]["up_max"], fast["connections"]["connecting_s"]
    both = sum(results["connections"]["up_max"] for results in two)
    show("many: connections of one process and of two, held", [
        ("one process: connections up", up, f">= {count}", up >= count),
        ("user memory of each", f"{each:.0f} B", "< 150 B", each < 150),
        ("10 000 connections up within", f"{fast_s:.2f} s", "< 3 s", fast_s < 3),
        ("two processes: connections up", both, f">= {2 * count}", both >= 2 * count),
        ("errors of all", sum(sum(r["errors"].values()) for r in [one, fast, *two]), "0",
         not any(r["errors"] for r in [one, fast, *two])),
        ("verdicts", " ".join(r["verdict"]["trust"] for r in [one, fast, *two]), None, True)])


# 5. A known rate, found.


def find_max():
    known = 5000
    with throttled(known, THEIRS) as (_, port):
        results = load(port, "--find-max", "p99<5ms", cpus=OURS)
    search = results["search"]
    off = 100 * (search["rate"] / known - 1)
    show(f"find-max: p99<5ms of a server that answers {known} a second", [
        ("found", f"{search['rate']:.0f}/s", f"{known} +- 3 %", abs(off) <= 3),
        ("off by", f"{off:+.2f} %", None, True),
        ("interval", f"{search['low']:.0f} to {search['high']:.0f}", None, True),
        ("trials", len(search["trials"]), None, True)])


ALL = {"wrk": wrk, "epoll": epoll, "stop": stop, "busy": busy, "rate": rate, "many": many,
       "find-max": find_max}

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(ALL)
    if not set(wanted) <= set(ALL):
        sys.exit(f"what is to be shown? {', '.join(ALL)}, or nothing for all of them")
    with tempfile.TemporaryDirectory() as SCRATCH:
        for name in wanted:
            ALL[name]()
    sys.exit(1 if misses else 0)
