#!/usr/bin/env python3
"""charkh beside the servers that people would write instead: an echo, and what it costs.

    benches/peers.py                          everything, five rounds: some fifty minutes
    benches/peers.py --rounds 1 --seconds 1   the same in five, to see that it works
    benches/peers.py --servers epoll charkh tokio --cases 50 1000
    benches/peers.py --cases broadcast fairness grow rest      ten thousand connections at once
    benches/peers.py --json peers.json --markdown peers.md --svg peers.svg
    benches/peers.py --from peers.json --svg peers.svg      without a new run

On Linux, with Python's own library. All that is measured is built first; what is not installed is
skipped and named. benches/peers/README.md says what the servers are and what the figures mean. The
program is $CHARKH, or the release build, which is then made. Exit status 1: a goal is missed.
"""
import argparse
import collections
import datetime
import functools
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time

from common import (CHARKH, CPUS, HERE, OURS, TARGET, THEIRS, anonymous, begin_load, cpu_s,
                    end_load, finish, misses, port_of, running, show, start)
from peers_crowds import CROWDS, GOALS
from peers_report import REFERENCE, cost, markdown, median, ratios, svg, tables

PEERS = HERE / "peers"
BUILT = TARGET / "peers"
WARMUP_S = 0.5
WATCH_S = 0.05  # between two looks at a server
IDLE = 10_000  # connections that say one thing and are silent
ONCE = ["idle"]
CHURN = 64  # connections under way at once where they come and go
NOISE = 1.03  # a ratio up to here may as well be 1.00

# How each is made, how it is started, and whether it is told the buffer that suits the case.
Server = collections.namedtuple("Server", "build command has_buffer")
OWN = ["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", TARGET,
       "--manifest-path", HERE.parent / "Cargo.toml"]
CARGO = ["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", BUILT,
         "--manifest-path", PEERS / "rust" / "Cargo.toml"]
GO = ["go", "build", "-o", BUILT / "echo-go", PEERS / "echo.go"]


def c(name, *libraries):
    return ["cc", "-O2", "-o", BUILT / name, PEERS / f"{name}.c", *libraries]


def rust(name):
    return Server(CARGO, [BUILT / "release" / name], True)


SERVERS = {
    "epoll": Server(c("epoll"), [BUILT / "epoll", "--edge"], False),
    "control": Server(c("epoll"), [BUILT / "epoll", "--edge"], False),
    "epoll-level": Server(c("epoll"), [BUILT / "epoll"], False),
    "charkh": Server(None, [CHARKH, "serve", "--protocol", "echo", "127.0.0.1:0"], False),
    "tokio": rust("tokio"),
    "smol": rust("smol"),
    "monoio": rust("monoio"),
    "message-io": Server(CARGO, [BUILT / "release" / "message-io"], False),
    "libuv": Server(c("uv", "-luv"), [BUILT / "uv"], False),
    "libevent": Server(c("event", "-levent"), [BUILT / "event"], False),
    "go": Server(GO, [BUILT / "echo-go"], True),
    "node": Server(None, ["node", PEERS / "echo.js"], False),
}
BROADCASTS = {
    "epoll": Server(c("broadcast"), [BUILT / "broadcast"], False),
    "charkh": Server(CARGO, [BUILT / "release" / "broadcast-charkh"], False),
    "tokio": Server(CARGO, [BUILT / "release" / "broadcast-tokio"], False),
}
FAIR = {
    "epoll": SERVERS["epoll"],
    "charkh": SERVERS["charkh"]._replace(command=[*SERVERS["charkh"].command, "--stats", "200ms"]),
    "tokio": SERVERS["tokio"],
    "redis": Server(["redis-server", "--version"], [PEERS / "redis.py"], False),
}
GROWING = {
    "charkh": SERVERS["charkh"]._replace(command=[*SERVERS["charkh"].command, "--stats", "20ms"]),
}
AT_REST = {"charkh": SERVERS["charkh"], "epoll": SERVERS["epoll"], "tokio": SERVERS["tokio"]}

Case = collections.namedtuple("Case", "what servers load buffer", defaults=[None, None])
CASES = {
    "50": Case("50 connections, 64 bytes", SERVERS, ["-c", "50"], 1024),
    "1000": Case("1 000 connections, 64 bytes", SERVERS, ["-c", "1000"], 1024),
    "10000": Case("10 000 connections, 64 bytes", SERVERS, ["-c", "10000"], 1024),
    "depth": Case("50 connections, 16 × 64 bytes in flight", SERVERS,
                  ["-c", "50", "--depth", "16"], 4096),
    "16k": Case("50 connections, 16 KiB", SERVERS, ["-c", "50", "--size", "16KiB"], 16 * 1024),
    "idle": Case("10 000 idle connections", SERVERS, None, 1024),
    "churn": Case("connections that come and go", SERVERS, None, 1024),
    "broadcast": Case("100 bytes to 10 000 connections", BROADCASTS),
    "fairness": Case("1 000 polite requests a second, 10 000 idle connections, and flooders", FAIR,
                     None, 4096),
    "grow": Case("growth from 0 to 19 000 connections", GROWING),
    "rest": Case("a second with 19 000 idle connections", AT_REST, None, 1024),
}


# What is there.


def made(recipe):
    """Whether it could be; if not, why is said."""
    if shutil.which(recipe[0]) is None:
        print(f"{recipe[0]} is not installed", file=sys.stderr)
        return False
    done = subprocess.run([str(word) for word in recipe], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    return done.returncode == 0


def build(cases, names):
    """Those of the servers that are there now, of each case."""
    BUILT.mkdir(parents=True, exist_ok=True)
    if "CHARKH" not in os.environ and not made(OWN) or not made(c("churn")):
        sys.exit("the program and its load could not be built")
    able, done = {case: [] for case in cases}, {None: True}
    for case in cases:
        servers = CASES[case].servers
        for name in (name for name in names if name in servers):
            recipe, command, _ = servers[name]
            key = recipe and str(recipe)
            if key not in done:
                print(f"building {name}", file=sys.stderr)
                done[key] = made(recipe)
            if done[key] and shutil.which(command[0]):
                able[case].append(name)
    return able


def left_out(cases, names, able):
    """Those who cannot be built or run here."""
    return [name for name in names
            if any(name in CASES[case].servers and name not in able[case] for case in cases)]


def first_line(*command):
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.split("\n")[0]


def versions():
    lock = (PEERS / "rust" / "Cargo.lock").read_text()
    found = dict(re.findall(r'name = "(tokio|smol|monoio|message-io)"\nversion = "(.*)"', lock))
    return found | {"libuv": first_line("pkg-config", "--modversion", "libuv"),
                    "libevent": first_line("pkg-config", "--modversion", "libevent"),
                    "go": first_line("go", "env", "GOVERSION").removeprefix("go"),
                    "node": first_line("node", "--version").removeprefix("v"),
                    "redis": first_line("redis-server", "--version").partition(" sha")[0][15:],
                    "cc": first_line("cc", "-dumpfullversion"),
                    "rustc": first_line("rustc", "--version").partition(" (")[0][6:]}


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)", info, re.M)
    return {"cpu": model.group(1) if model else platform.machine(), "cpus": len(CPUS),
            "kernel": f"{platform.system()} {platform.release()}",
            "date": datetime.date.today().isoformat()}


# What a process has had.


def ticks(pid):
    """Its time as user and in the kernel, in ticks: too coarse for anything but a share."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]), int(fields[12])


def resident(pid):
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def at(samples, moment):
    """The processor time at a moment, between two looks."""
    for (t0, cpu0), (t1, cpu1) in zip(samples, samples[1:]):
        if t0 <= moment <= t1:
            return cpu0 + (cpu1 - cpu0) * (moment - t0) / (t1 - t0)
    sys.exit("a server was not watched for as long as it was measured")


# One server, once.


def serve(name, case, *more):
    """A new process for each measurement, so that none has the memory of the one before."""
    _, command, has_buffer = CASES[case].servers[name]
    command = [*command, *more]
    if has_buffer:
        command += ["--buffer", CASES[case].buffer]
    return running(command, THEIRS, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def echo(name, case, seconds):
    """Requests, for so long, and what each has cost while they were counted."""
    with serve(name, case) as server:
        run = begin_load(port_of(server), *CASES[case].load, "--reset",
                         "--warmup", f"{WARMUP_S}s", "-d", f"{seconds}s", cpus=OURS)
        samples, memory, before = [], 0, ticks(server.pid)
        over = None
        while over is None:
            over = os.waitid(os.P_PID, run[0].pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            samples.append((time.time(), cpu_s(server.pid)))
            memory = max(memory, resident(server.pid))
            time.sleep(WATCH_S)
        user, system = (late - early for early, late in zip(before, ticks(server.pid)))
    results = end_load(run)
    if results["errors"]:
        print(f"\n{name}, {case}: {results['errors']} {results['examples']}", file=sys.stderr)
    begin = results["began_unix"] + results["measured_from_s"]
    cpu = at(samples, begin + results["measured_s"]) - at(samples, begin)
    latency = results["latency"]
    return {"rate": results["requests"] / results["measured_s"],
            "cpu_us": 1e6 * cpu / results["requests"],
            "to_load": cpu / results["testimony"]["cpu_s"],
            "user_share": user / max(1, user + system),
            "busy": cpu / results["measured_s"],
            "load_busy": results["testimony"]["busiest"],
            "p50_us": latency["p50_ns"] / 1e3, "p99_us": latency["p99_ns"] / 1e3,
            "p99_9_us": latency["p99_9_ns"] / 1e3, "resident": memory,
            "steal": results["testimony"]["steal"] or 0,
            "errors": sum(results["errors"].values()), "verdict": results["verdict"]["trust"]}


def churn(name, case, seconds):
    """Connections that come, say one thing, and go."""
    with serve(name, case) as server:
        port, before = port_of(server), cpu_s(server.pid)
        load = start([BUILT / "churn", port, CHURN, seconds], OURS, stdout=subprocess.PIPE,
                     text=True)
        words = load.stdout.read().split()
        cpu, (status, load_cpu) = cpu_s(server.pid) - before, finish(load)
    if status:
        sys.exit(f"{name}, {case}: failed")
    count, took = int(words[0]), float(words[1])
    return {"rate": count / took, "cpu_us": 1e6 * cpu / count, "to_load": cpu / load_cpu,
            "busy": cpu / took, "load_busy": load_cpu / took}


def exchange(port):
    """A connection that has said one thing, and will end with a reset."""
    conn = socket.create_connection(("127.0.0.1", port))
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.sendall(bytes(64))
    assert conn.recv(64, socket.MSG_WAITALL) == bytes(64)
    return conn


def idle(name, case, _):
    """User memory of a connection: that of very many, less that of one."""
    with serve(name, case) as server:
        port, conns, sizes = port_of(server), [], []
        for count in [1, IDLE]:
            conns += [exchange(port) for _ in range(count - len(conns))]
            time.sleep(0.3)
            sizes.append(anonymous(server.pid))
        for conn in conns:
            conn.close()
    return {"bytes": (sizes[1] - sizes[0]) / (IDLE - 1)}


# All of them.


def measure(name, case, seconds):
    if case in CROWDS:
        return CROWDS[case](functools.partial(serve, name, case), name, seconds)
    return {"idle": idle, "churn": churn}.get(case, echo)(name, case, seconds)


def run(options):
    """Rounds of all cases, in each of which the servers take turns; each round begins with another
    one. What is not a matter of luck, as the memory of idle connections, is measured once."""
    able = build(options.cases, options.servers)
    skipped = left_out(options.cases, options.servers, able)
    if skipped:
        print(f"SKIPPED, cannot be built or run here: {', '.join(skipped)}", file=sys.stderr)
    os.sched_setaffinity(0, OURS)  # no look at a server takes its processor
    found = {case: {name: [] for name in able[case]} for case in options.cases}
    results = {"machine": machine(), "versions": versions(), "seconds": options.seconds,
               "skipped": skipped,
               "cases": {case: {"what": CASES[case].what, "rounds": found[case]}
                         for case in options.cases}}
    for number in range(options.rounds):
        for case in options.cases:
            names = able[case]
            first = number % max(1, len(names))
            for name in names[first:] + names[:first]:
                if case not in ONCE or number == 0:
                    print(f"\rround {number + 1}: {case} {name}\x1b[K", end="", file=sys.stderr)
                    found[case][name].append(measure(name, case, options.seconds))
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    print("\r\x1b[K", end="", file=sys.stderr)
    return results


# The goals.


def goals(results):
    """Of those cases that the results have, with the servers that the goals name."""
    for case, found in results["cases"].items():
        rounds, rows = found["rounds"], []
        if "charkh" in rounds and case in GOALS:
            rows = GOALS[case](rounds)
        elif "charkh" in rounds and case == "idle":
            size = median(rounds["charkh"], "bytes")
            rows.append(("user memory of each", f"{size:.0f} B", "<= 64 B", size <= 64))
        elif "charkh" in rounds:
            if REFERENCE in rounds:
                rows.append(to_bare("CPU", rounds, cost(results, case)))
                rows.append(to_bare("rate", rounds, "rate") if case == "churn" else
                            to_bare("p99", rounds, "p99_us"))
            if "tokio" in rounds and case != "churn":
                ratio = statistics.median(ratios(rounds, cost(results, case), "charkh", "tokio"))
                rows.append(("CPU, to tokio's", f"{ratio:.3f}", "< 1.00", ratio < 1))
        if rows:
            show(f"charkh: {found['what']}", rows)


def to_bare(figure, rounds, key):
    """The median of what each round says, which is held against 1.00 and what noise may do."""
    many = ratios(rounds, key, "charkh", REFERENCE)
    ratio = statistics.median(many)
    goal, met = (f"<= 1.00 (noise: {NOISE:.2f})", ratio <= NOISE) if key != "rate" else \
        (f">= 1.00 (noise: {1 / NOISE:.2f})", ratio >= 1 / NOISE)
    return (f"{figure}, to the bare loop's", f"{ratio:.3f} ({min(many):.2f} - {max(many):.2f})",
            goal, met)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of a measurement")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE",
                        help=" ".join(CASES))
    servers = dict.fromkeys(name for case in CASES.values() for name in case.servers)
    parser.add_argument("--servers", nargs="+", choices=servers,
                        default=[name for name in servers if name != "control"],
                        metavar="SERVER", help=" ".join(servers))
    parser.add_argument("--even", action="store_true",
                        help="divide CPU time by the load's own, where a machine is not steady")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="all rounds")
    parser.add_argument("--from", type=pathlib.Path, metavar="FILE", dest="saved",
                        help="what --json has written, instead of a run")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="the tables")
    parser.add_argument("--svg", type=pathlib.Path, metavar="FILE", help="the picture")
    return parser.parse_args()


def main():
    options = arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results = json.loads(options.saved.read_text()) if options.saved else run(options)
    results["even"] = options.even
    print(tables(results))
    goals(results)
    if options.markdown:
        options.markdown.write_text(markdown(results))
    if options.svg:
        options.svg.write_text(svg(results))
    sys.exit(1 if misses else 0)


if __name__ == "__main__":
    main()
