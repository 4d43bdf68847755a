#!/usr/bin/env python3
"""charkh beside the servers that people would write instead: an echo, and what it costs.

    cargo build --release
    benches/peers.py                          everything, five rounds: some forty minutes
    benches/peers.py --rounds 1 --seconds 1   the same, to see that it works
    benches/peers.py --servers epoll charkh tokio --cases 50 1000

On Linux, with Python's own library. What is measured is built first; what is not installed is
skipped and named. benches/peers/README.md says what the servers are and what the figures mean.
Exit status 1: a goal is missed.
"""
import argparse
import collections
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import time

from common import CHARKH, HERE, OURS, TARGET, THEIRS, begin_load, end_load, running

PEERS = HERE / "peers"
BUILT = TARGET / "peers"
RUST = BUILT / "release"
REFERENCE = "epoll"
WARMUP_S = 0.5
NOISE = 1.03  # a ratio up to here may be 1.00

Case = collections.namedtuple("Case", "name what load buffer")
CASES = {case.name: case for case in [
    Case("50", "50 connections, 64 B", ["-c", "50"], 1024),
    Case("1000", "1 000 connections, 64 B", ["-c", "1000"], 1024),
    Case("10000", "10 000 connections, 64 B", ["-c", "10000"], 1024),
    Case("depth", "50 connections, 16 x 64 B in flight", ["-c", "50", "--depth", "16"], 4096),
    Case("16k", "50 connections, 16 KiB", ["-c", "50", "--size", "16KiB"], 16 * 1024),
]}

# How each is made, how it is started, and whether it is told the buffer that suits the case.
Server = collections.namedtuple("Server", "build command has_buffer")
CARGO = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path",
         PEERS / "rust" / "Cargo.toml", "--target-dir", BUILT]


def in_c(name, *libraries):
    return ["cc", "-O2", "-o", BUILT / name, PEERS / f"{name}.c", *libraries]


SERVERS = {
    "epoll": Server(in_c("epoll"), [BUILT / "epoll", "--edge"], False),
    "epoll-level": Server(in_c("epoll"), [BUILT / "epoll"], False),
    "charkh": Server(None, [CHARKH, "serve", "--protocol", "echo", "127.0.0.1:0"], False),
    "tokio": Server(CARGO, [RUST / "tokio"], True),
    "monoio": Server(CARGO, [RUST / "monoio"], False),
    "smol": Server(CARGO, [RUST / "smol"], False),
    "message-io": Server(CARGO, [RUST / "message-io"], False),
}


def build(names):
    """Those of the servers that could be built; the others are named."""
    BUILT.mkdir(parents=True, exist_ok=True)
    able, done = [], {}
    for name in names:
        recipe = SERVERS[name].build
        key = str(recipe)
        if key not in done:
            print(f"building {name}", file=sys.stderr)
            done[key] = recipe is None or shutil.which(recipe[0]) is not None and \
                subprocess.run([str(word) for word in recipe], check=False).returncode == 0
        if done[key]:
            able.append(name)
        else:
            print(f"skipped: {name}, which cannot be built here", file=sys.stderr)
    return able


# What a process has had.


def cpu_s(pid):
    """Seconds of processor time of all its threads, to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)


def ticks(pid):
    """Its time as user and in the kernel, in ticks: too coarse for anything but a share."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = text.rsplit(")", 1)[1].split()
    return int(fields[11]), int(fields[12])


def resident(pid):
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def at(samples, moment):
    """The processor time at a moment, between those that were looked up."""
    for (t0, c0), (t1, c1) in zip(samples, samples[1:]):
        if t0 <= moment <= t1:
            return c0 + (c1 - c0) * (moment - t0) / (t1 - t0)
    sys.exit("a server was not watched for as long as it was measured")


def command_of(name, buffer):
    server = SERVERS[name]
    return [*server.command, *(["--buffer", buffer] if server.has_buffer else [])]


def serve(name, buffer):
    """A server, on its processor."""
    return running(command_of(name, buffer), THEIRS, stdout=subprocess.PIPE,
                   stderr=subprocess.DEVNULL, text=True)


def port_of(server):
    """charkh says `listening on tcp 127.0.0.1:7000`, the others the number alone."""
    return int(server.stdout.readline().rsplit(":", 1)[-1])


def measure(name, case, seconds):
    """One server's round of a case."""
    with serve(name, case.buffer) as server:
        run = begin_load(port_of(server), *case.load, "-t", "1", "--reset",
                         "--warmup", f"{WARMUP_S}s", "-d", f"{seconds}s", cpus=OURS)
        samples, memory = [], 0
        before = ticks(server.pid)
        while os.waitid(os.P_PID, run[0].pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            samples.append((time.time(), cpu_s(server.pid)))
            memory = max(memory, resident(server.pid))
            time.sleep(0.05)
        samples.append((time.time(), cpu_s(server.pid)))
        user, system = (after - at_first for at_first, after in zip(before, ticks(server.pid)))
    results = end_load(run)
    if results["errors"]:
        print(f"{name}, {case.name}: {results['errors']}", file=sys.stderr)
    begin = results["began_unix"] + results["measured_from_s"]
    cpu = at(samples, begin + results["measured_s"]) - at(samples, begin)
    latency = results["latency"]
    return {"rate": results["requests"] / results["measured_s"],
            "cpu_us": 1e6 * cpu / results["requests"],
            "busy": cpu / results["measured_s"],
            "load_busy": results["testimony"]["busiest"],
            "user_share": user / max(1, user + system),
            "p50_us": latency["p50_ns"] / 1e3, "p99_us": latency["p99_ns"] / 1e3,
            "p99_9_us": latency["p99_9_ns"] / 1e3, "resident": memory,
            "errors": results["errors"], "verdict": results["verdict"]["trust"]}


def in_turn(names, number):
    """Each round begins with another one."""
    shift = number % len(names)
    return names[shift:] + names[:shift]


def run(options, names):
    rounds = {case: {name: [] for name in names} for case in options.cases}
    for number in range(options.rounds):
        for case in options.cases:
            for name in in_turn(names, number):
                print(f"\rround {number + 1}: {case} {name}\x1b[K", end="", file=sys.stderr)
                rounds[case][name].append(measure(name, CASES[case], options.seconds))
    print("\r\x1b[K", end="", file=sys.stderr)
    return rounds


# The tables.


def ratios(rounds, what, name, other):
    """Of one to another, round by round."""
    return [a[what] / b[what] for a, b in zip(rounds[name], rounds[other])]


def table(case, rounds):
    print(f"\n{CASES[case].what}")
    print(f"  {'':<12}{'req/s':>9}{'CPU us':>9}{'ratio':>7} (min-max)   {'user':>5}{'busy':>6}"
          f"{'load':>6}{'p50 us':>9}{'p99 us':>9}{'p99.9':>9}{'RSS MiB':>9}")
    for name, each in rounds.items():
        median = {what: statistics.median(one[what] for one in each)
                  for what, first in each[0].items() if isinstance(first, (int, float))}
        row = f"  {name:<12}{median['rate']:>9.0f}{median['cpu_us']:>9.3f}"
        if REFERENCE in rounds:
            many = ratios(rounds, "cpu_us", name, REFERENCE)
            row += f"{statistics.median(many):>7.3f} ({min(many):.2f}-{max(many):.2f}) "
        row += (f"{100 * median['user_share']:>5.0f}%{100 * median['busy']:>5.0f}%"
                f"{100 * median['load_busy']:>5.0f}%{median['p50_us']:>9.1f}{median['p99_us']:>9.1f}"
                f"{median['p99_9_us']:>9.1f}{median['resident'] / 2 ** 20:>9.1f}")
        print(row)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--json", type=pathlib.Path)
    return parser.parse_args()


def main():
    options = arguments()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    names = build(options.servers)
    rounds = run(options, names)
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=1))
    for case in options.cases:
        table(case, rounds[case])


if __name__ == "__main__":
    main()
