#!/usr/bin/env python3
"""The redis example beside Redis: processor time of the server for each request.

    benches/redis.py                      five rounds of all cases: some three minutes
    benches/redis.py --rounds 1 --requests 100000
    benches/redis.py --cases get16 --rounds 9 --keys 0

On Linux, with `redis-server` and `redis-benchmark` installed. In each round the servers take turns,
each a new process on a processor of its own; redis-benchmark has the other, with 50 connections and
a million keys. Redis writes nothing to a disk, as the example does. With one key alone (--keys 0)
nearly all that is left to either is the kernel's. The example is $REDIS_EXAMPLE, or the release
build, which is then made. Exit status 1: a goal is missed.
"""
import argparse
import collections
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time

from common import (HERE, OURS, TARGET, THEIRS, at_rest, cpu_s, free_port, misses, running,
                    show)

OWN = os.environ.get("REDIS_EXAMPLE", str(TARGET / "release" / "examples" / "redis"))
BUILD = ["cargo", "build", "--release", "--locked", "--quiet", "--example", "redis",
         "--manifest-path", HERE.parent / "Cargo.toml"]
SERVERS = {
    "redis": lambda port: ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "",
                           "--appendonly", "no"],
    "charkh": lambda port: [OWN, f"127.0.0.1:{port}"],
}

Case = collections.namedtuple("Case", "what test depth goal")
CASES = {
    "set1": Case("SET, one at a time", "set", 1, 0.95),
    "get1": Case("GET, one at a time", "get", 1, 0.95),
    "set16": Case("SET, 16 in flight", "set", 16, 0.5),
    "get16": Case("GET, 16 in flight", "get", 16, 0.7),
}


def wait_for(port):
    """Until somebody listens there."""
    end = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if time.monotonic() > end:
            sys.exit(f"nobody listens at port {port}")
        time.sleep(0.01)


def ask(port, case, requests, options):
    """Keys are those of `-r`, so that there are many; 50 connections."""
    command = ["redis-benchmark", "-p", port, "-t", case.test, "-P", case.depth, "-n", requests,
               "-q", *options]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL,
                   preexec_fn=lambda: os.sched_setaffinity(0, OURS))


def measure(name, case, requests, options):
    """Microseconds for each request, by a server that has met as many before."""
    port = free_port()
    with running(SERVERS[name](port), THEIRS, stdout=subprocess.DEVNULL,
                 stderr=subprocess.DEVNULL) as server:
        wait_for(port)
        ask(port, CASES["set16"], requests // 4, options)  # what GET finds
        ask(port, case, requests // 4, options)
        at_rest(server.pid)
        before = cpu_s(server.pid)
        ask(port, case, requests, options)
        return 1e6 * (cpu_s(server.pid) - before) / requests


def run(options):
    found = {case: {name: [] for name in SERVERS} for case in options.cases}
    more = ["-r", str(options.keys)] if options.keys else []
    for number in range(options.rounds):
        for key in options.cases:
            case = CASES[key]
            requests = options.requests * (4 if case.depth > 1 else 1)
            names = list(SERVERS) if number % 2 == 0 else list(SERVERS)[::-1]
            for name in names:
                print(f"\rround {number + 1}: {key} {name}\x1b[K", end="", file=sys.stderr)
                found[key][name].append(measure(name, case, requests, more))
    print("\r\x1b[K", end="", file=sys.stderr)
    return found


def report(found):
    rows = []
    for key, rounds in found.items():
        case = CASES[key]
        for name, all_us in rounds.items():
            low, high = min(all_us), max(all_us)
            figure = f"{statistics.median(all_us):.2f} µs ({low:.2f} - {high:.2f})"
            rows.append((f"{case.what}: {name}", figure, None, None))
        ratios = [ours / theirs for ours, theirs in zip(rounds["charkh"], rounds["redis"])]
        ratio = statistics.median(ratios)
        figure = f"{ratio:.2f} ({min(ratios):.2f} - {max(ratios):.2f})"
        rows.append((f"{case.what}: to Redis'", figure, f"<= {case.goal}", ratio <= case.goal))
    show("processor time of the server for each request", rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200_000,
                        help="of a measurement; four times as many where 16 are in flight")
    parser.add_argument("--keys", type=int, default=1_000_000, help="different ones; 0: one")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE",
                        help=" ".join(CASES))
    options = parser.parse_args()
    for tool in ["redis-server", "redis-benchmark"]:
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not installed")
    if "REDIS_EXAMPLE" not in os.environ:
        subprocess.run([str(word) for word in BUILD], check=True)
    report(run(options))
    sys.exit(1 if misses else 0)


if __name__ == "__main__":
    main()
