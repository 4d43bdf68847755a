#!/usr/bin/env python3
"""TLS beside nginx: a proxy with TLS in front of it, and what it costs.

    benches/tls.py                          everything, seven rounds: some three minutes
    benches/tls.py --rounds 1 --seconds 0.5 to see that it works

Two do the same: nginx's `stream` module with `ssl` and one worker (Debian's nginx-light and
libnginx-mod-stream), and `examples/proxy.rs` with a TLS layer (peers/rust/src/bin/tls-proxy.rs).
Each has a processor of its own; on the other are `charkh load` and the echo behind them. Rounds are
interleaved, and each figure is of a fresh server. What is compared is the processor time of the
server for each request or handshake (what the first handshakes take, a hundredth, is in it); which cipher it was, the load has seen, and it must be the same.

On Linux, with Python's own library and openssl. Exit status 1: a goal is missed.
"""
import argparse
import contextlib
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from common import (CHARKH, HERE, OURS, TARGET, THEIRS, begin_load, certificate, cpu_s, end_load,
                    free_port, misses, port_of, running, show)

BUILT = TARGET / "peers" / "release" / "tls-proxy"
GOAL = 1.0
WARMUP_S = 0.3

# What is counted, and what the load is asked for.
CASES = {
    "64 B, 50 connections": ("requests", ["-c", "50"]),
    "16 KiB, 50 connections": ("requests", ["-c", "50", "--size", "16KiB"]),
    "full handshakes": ("handshakes", ["-c", "32", "--per-connection", "1"]),
    "resumed handshakes": ("handshakes", ["-c", "32", "--per-connection", "1", "--resume"]),
}

NGINX = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
worker_processes 1;
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
stream {{
  server {{
    listen 127.0.0.1:{port} ssl backlog=1024;
    ssl_certificate {folder}/cert.pem;
    ssl_certificate_key {folder}/key.pem;
    ssl_protocols TLSv1.3;
    ssl_session_cache shared:tls:10m;
    tcp_nodelay on;
    proxy_pass 127.0.0.1:{upstream};
  }}
}}
"""


def wait_for(port, server):
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if server.poll() is not None:
            break
        time.sleep(0.01)
    sys.exit(f"it does not listen: {server.args}")


@contextlib.contextmanager
def nginx(folder, upstream):
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, upstream=upstream))
    command = ["nginx", "-p", folder, "-e", folder / "error.log", "-c", config]
    with running(command, THEIRS, stderr=subprocess.DEVNULL) as server:
        wait_for(port, server)
        yield server.pid, port


@contextlib.contextmanager
def charkh(folder, upstream):
    command = [BUILT, f"127.0.0.1:{upstream}", folder / "cert.pem", folder / "key.pem"]
    with running(command, THEIRS, stdout=subprocess.PIPE, text=True) as server:
        yield server.pid, port_of(server)


@contextlib.contextmanager
def echo():
    command = [CHARKH, "serve", "--protocol", "echo", "127.0.0.1:0", "--log-level", "error"]
    with running(command, OURS, stdout=subprocess.PIPE, text=True) as server:
        yield port_of(server)


SERVERS = {"nginx": nginx, "charkh": charkh}


def measure(server, case, folder, seconds):
    """Microseconds of the server for each, and how many of them there were in a second."""
    counted, options = CASES[case]
    with echo() as upstream, SERVERS[server](folder, upstream) as (pid, port):
        options = ["--tls", "--insecure", *options]
        end_load(begin_load(port, *options, "-d", f"{WARMUP_S}s", cpus=OURS))
        before = cpu_s(pid)
        found = end_load(begin_load(port, *options, "-d", f"{seconds}s", cpus=OURS))
        used = cpu_s(pid) - before
    if found["errors"]:
        sys.exit(f"{server}, {case}: {found['errors']}")
    agreed, resumed = found["tls"]["agreed"], found["tls"]["resumed"]
    handshakes = sum(agreed.values())
    if "--resume" in options and resumed < 0.9 * handshakes or "--resume" not in options and resumed:
        sys.exit(f"{server}, {case}: {resumed} of {handshakes} handshakes were resumed")
    done = found["requests"] if counted == "requests" else handshakes
    return 1e6 * used / done, done / seconds, set(agreed)


def main():
    about = argparse.ArgumentParser(description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("--rounds", type=int, default=7)
    about.add_argument("--seconds", type=float, default=1.5)
    about.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    args = about.parse_args()
    build()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        certificate(folder)
        for case in args.cases:
            compare(case, folder, args)
    sys.exit(bool(misses))


def build():
    common = ["cargo", "build", "--release", "--locked", "--quiet"]
    subprocess.run([*common, "--manifest-path", HERE.parent / "Cargo.toml"], check=True)
    subprocess.run([*common, "--target-dir", TARGET / "peers", "--bin", "tls-proxy",
                    "--manifest-path", HERE / "peers" / "rust" / "Cargo.toml"], check=True)


def compare(case, folder, args):
    costs = {server: [] for server in SERVERS}
    rates = {server: [] for server in SERVERS}
    ciphers = set()
    for n in range(args.rounds):
        for server in sorted(SERVERS, reverse=n % 2 == 1):
            us, rate, agreed = measure(server, case, folder, args.seconds)
            costs[server].append(us)
            rates[server].append(rate)
            ciphers |= agreed
    if len(ciphers) != 1:
        sys.exit(f"{case}: not the same cipher: {ciphers}")
    ratio = statistics.median(costs["charkh"]) / statistics.median(costs["nginx"])
    rows = [(f"{server}: CPU for each, us", spread(costs[server]), None, True) for server in SERVERS]
    rows += [(f"{server}: a second", spread(rates[server], 0), None, True) for server in SERVERS]
    rows.append(("charkh's CPU to nginx's", f"{ratio:.2f}", f"<= {GOAL}", ratio <= GOAL))
    show(f"{case} ({ciphers.pop()})", rows)


def spread(values, digits=1):
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


main()
