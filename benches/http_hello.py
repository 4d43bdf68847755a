#!/usr/bin/env python3
"""The `http` example beside nginx: processor time of the server for each request for `Hello`.

    cargo build --release --example http
    benches/http_hello.py                          seven rounds of three cases: some three minutes
    benches/http_hello.py --rounds 3 --seconds 1 --cases 50
    benches/http_hello.py --json http.json

On Linux, with Python's own library, nginx and wrk (Debian: nginx-light, wrk). The server is
$CHARKH_HTTP, or the release build of the example; nginx has one worker, no log, and answers the
same body with `return 200`. Each measurement has a fresh server on one processor and wrk on the
other, and the two take turns, round by round, each round beginning with another. What is counted
is the processor time of the server's process, from its first connection to its last, by the
answers that wrk has counted. Exit status 1: a goal is missed.
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from common import (OURS, TARGET, THEIRS, cpu_s, free_port, misses, nginx_settings, running,
                    show)

HTTP = os.environ.get("CHARKH_HTTP", str(TARGET / "release" / "examples" / "http"))
BODY = "Hello, wheel!"
NGINX = nginx_settings("""listen 127.0.0.1:{port} backlog=4096;
        location / {{ default_type text/plain; return 200 "{body}"; }}""", 4096)
# Sixteen requests in one go, each counted by itself.
PIPELINE = """
init = function(args)
  local requests = {}
  for n = 1, 16 do requests[n] = wrk.format("GET", "/") end
  pipeline = table.concat(requests)
end
request = function() return pipeline end
"""

# What wrk is told, and the goal: so much of nginx's time at most.
CASES = {
    "50": ("50 connections", ["-c50"], 0.95),
    "1000": ("1 000 connections", ["-c1000"], 0.95),
    "pipelined": ("50 connections, 16 in flight on each", ["-c50", "-s"], 0.2),
}


def answers(port):
    """What a server says to the request that wrk makes, once it is there."""
    for _ in range(500):
        with contextlib.suppress(ConnectionRefusedError):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                return b"".join(iter(lambda: sock.recv(4096), b""))
        time.sleep(0.01)
    sys.exit("a server does not come up")


@contextlib.contextmanager
def serving(name, scratch):
    """A new process, and its port."""
    port = free_port()
    command = [HTTP, f"127.0.0.1:{port}"]
    if name == "nginx":
        conf = scratch / "nginx.conf"
        conf.write_text(NGINX.format(dir=scratch, port=port, body=BODY))
        command = ["nginx", "-e", scratch / "log", "-c", conf]
    with running(command, THEIRS, stderr=subprocess.DEVNULL) as server:
        if not answers(port).endswith(b"\r\n\r\n" + BODY.encode()):
            sys.exit(f"{name} says something else")
        yield server, port


def wrk(port, options, seconds):
    """Answers that were counted."""
    command = ["wrk", "-t1", f"-d{seconds}s", *options, f"http://127.0.0.1:{port}/"]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True,
                          preexec_fn=lambda: os.sched_setaffinity(0, OURS))
    count = re.search(r"(\d+) requests in", done.stdout)
    if done.returncode or count is None or "Non-2xx" in done.stdout:
        sys.exit(f"wrk has failed: {done.stdout}")
    return int(count.group(1))


def measure(name, case, seconds, scratch):
    _, options, _ = CASES[case]
    if options[-1] == "-s":
        script = scratch / "pipeline.lua"
        script.write_text(PIPELINE)
        options = [*options, script]
    with serving(name, scratch) as (server, port):
        before, begun = cpu_s(server.pid), time.monotonic()
        count = wrk(port, options, seconds)
        cpu, took = cpu_s(server.pid) - before, time.monotonic() - begun
    return {"cpu_us": 1e6 * cpu / count, "rate": count / took}


def spread(values, form):
    return f"{form.format(statistics.median(values))} " \
           f"({form.format(min(values))} - {form.format(max(values))})"


def report(case, rounds):
    """Of each round the ratio: what else the machine does hits both alike."""
    what, _, goal = CASES[case]
    ours, theirs = rounds["charkh"], rounds["nginx"]
    ratios = [one["cpu_us"] / other["cpu_us"] for one, other in zip(ours, theirs)]
    ratio = statistics.median(ratios)
    rows = [(f"{name}: CPU of a request", spread([r["cpu_us"] for r in found], "{:.2f}") + " µs",
             None, True) for name, found in rounds.items()]
    rows += [(f"{name}: answers a second", spread([r["rate"] for r in found], "{:.0f}"), None, True)
             for name, found in rounds.items()]
    rows.append(("CPU, to nginx's", spread(ratios, "{:.3f}"), f"<= {goal:.2f}", ratio <= goal))
    show(what, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3, help="of a measurement, whole ones")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE",
                        help=" ".join(CASES))
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="all rounds")
    options = parser.parse_args()
    for program in ["nginx", "wrk", HTTP]:
        if shutil.which(program) is None:
            sys.exit(f"{program} is not there")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, OURS)
    found = {case: {"charkh": [], "nginx": []} for case in options.cases}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(options.rounds):
            for case in options.cases:
                names = ["charkh", "nginx"]
                for name in names[::-1] if number % 2 else names:
                    print(f"\rround {number + 1}: {case} {name}\x1b[K", end="", file=sys.stderr)
                    found[case][name].append(
                        measure(name, case, options.seconds, pathlib.Path(scratch)))
    print("\r\x1b[K", end="", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    for case in options.cases:
        report(case, found[case])
    sys.exit(1 if misses else 0)


if __name__ == "__main__":
    main()
