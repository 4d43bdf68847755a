"""The cases of benches/peers.py that are about ten thousand connections and more: what all of them
together cost, and what they do to each other."""
import contextlib
import os
import pathlib
import select
import socket
import statistics
import struct
import sys
import time

from common import (OURS, anonymous, at_rest, awake, begin_load, cpu_s, end_load, load, port_of,
                    real_time, switches)
from peers_report import FLOODERS, by_flooders, median, ratios

CONNS = 10_000
MESSAGE = 100  # bytes of a broadcast
TIMES = 10  # broadcasts of a measurement, after those that make buffers
FIRST = 2
LARGE = 64 * 1024  # more than the kernel takes for a client that does not read
RECEIVE_SMALL = 4096
NAMED = 512  # bytes of memory that may say what waits for whom, without a copy of it
POLITE = ["-c", "10", "--rate", "1000", "--warmup", "200ms"]
FLOOD = ["--depth", "4096"]
FLOODED_S = 0.2  # of the server's processor, before a flood is one
GROWN = 19_000  # connections, of 20 000 descriptors
# From one address alone the kernel takes longer and longer to find a port that is free.
HOLD = ["--hold", "--source", "127.0.0.2-127.0.0.9", "-c"]
TURN_MS = 5
STILL_S = 1
WATCH_S = 0.02  # between two looks at a server


@contextlib.contextmanager
def crowd(server, receive_buffer=None):
    """Connections of this process, which the server has accepted. They end with a reset."""
    address, conns = ("127.0.0.1", port_of(server)), []
    with contextlib.ExitStack() as stack:
        for _ in range(CONNS):
            conn = stack.enter_context(socket.socket())
            if receive_buffer:
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            conn.settimeout(10)
            conn.connect(address)
            conns.append(conn)
        at_rest(server.pid)
        yield conns


def say(server, conns):
    """One says something, which makes the server send to all: seconds of its processor, until it
    is at rest. Nobody reads meanwhile, so that it is the sending alone."""
    before = cpu_s(server.pid)
    conns[0].send(b"x")
    last = select.poll()
    last.register(conns[-1], select.POLLIN)
    if not last.poll(10_000):
        raise TimeoutError("the last connection was sent nothing")
    at_rest(server.pid)
    return cpu_s(server.pid) - before


def in_kernel(port):
    """Bytes that wait in the kernel, for or from the connections of a port."""
    count = 0
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, ours, theirs, _, queues, *_ = line.split()
        if f":{port:04X}" in (ours[-5:], theirs[-5:]):
            count += sum(int(queue, 16) for queue in queues.split(":"))
    return count


def hear(conns):
    for conn in conns:
        size = len(conn.recv(2 * MESSAGE))
        if size != MESSAGE:
            raise ValueError(f"a broadcast of {MESSAGE} bytes came as {size}")


def broadcast(serve, name, _):
    """What one recipient costs; and the memory that a large message has while nobody reads."""
    with serve("--size", MESSAGE) as server, crowd(server) as conns:
        costs = []
        for _ in range(FIRST + TIMES):
            costs.append(say(server, conns))
            hear(conns)
    found = {"cpu_us": 1e6 * statistics.median(costs[FIRST:]) / CONNS}
    if name != "epoll":  # that one keeps nothing, it loses what the kernel does not take
        with serve("--size", LARGE) as server, crowd(server, RECEIVE_SMALL) as conns:
            before = anonymous(server.pid)
            say(server, conns)
            port = conns[0].getpeername()[1]
            found |= {"waiting": LARGE - in_kernel(port) / CONNS,
                      "memory": (anonymous(server.pid) - before) / CONNS}
    return found


def broadcast_goals(rounds):
    rows = []
    if "epoll" in rounds:
        many = ratios(rounds, "cpu_us", "charkh", "epoll")
        ratio = statistics.median(many)
        rows.append(("CPU, to that of bare calls",
                     f"{ratio:.3f} ({min(many):.2f} - {max(many):.2f})", "<= 1.10", ratio <= 1.1))
    memory, waiting = (median(rounds["charkh"], what) for what in ["memory", "waiting"])
    rows.append((f"memory of each, for whom {waiting:.0f} B wait", f"{memory:.0f} B",
                 f"no copy: <= {NAMED} B", memory <= NAMED < waiting))
    return rows


# Who waits for whom.


@contextlib.contextmanager
def loaded(port, *options):
    """A load under way for the length of the block. It is so nice that the kernel's own thread,
    which hands on what arrives when that is much, need not wait for it."""
    process, file = begin_load(port, "--reset", "-d", "1h", *options, cpus=OURS, nice=19)
    with file:
        try:
            yield
        finally:
            process.kill()
            process.wait()


def until(holds):
    give_up = time.monotonic() + 30
    while not holds():
        if time.monotonic() > give_up:
            raise TimeoutError("a server is not where it should be after 30 seconds")
        time.sleep(WATCH_S)


def has_conns(server, count):
    """Whether it has as many descriptors, of whatever kind."""
    return len(os.listdir(f"/proc/{server.pid}/fd")) > count


def told(server):
    """The lines of figures that `charkh serve --stats` has printed since they were last read."""
    fd, text = server.stdout.fileno(), b""
    os.set_blocking(fd, False)
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(fd, 64 * 1024):
            text += chunk
    lines = [line.split() for line in text.decode().splitlines() if line.startswith("seconds ")]
    return [dict(zip(words[::2], words[1::2])) for words in lines]


def micros(line, what):
    return int(line[what].removesuffix("us"))


def polite(port, seconds, speech):
    """How long those wait who ask for little. They have the processor before the flooders, which
    they share it with: it is the server that is asked about."""
    with real_time() as allowed:
        run = begin_load(port, *POLITE, *speech, "--reset", "-d", f"{seconds}s", cpus=OURS)
        results = end_load(run)
    service = results["service"]
    if not results["requests"]:
        sys.exit(f"no polite request was answered: {results['errors']} {results['examples']}")
    return {"p50_us": service["p50_ns"] / 1e3, "p99_us": service["p99_ns"] / 1e3,
            "steal": results["testimony"]["steal"] or 0, "real_time": allowed,
            "errors": sum(results["errors"].values())}


def turns(lines):
    """What charkh says of its turns. The 99th percentile is that of an interval in the middle."""
    if not lines:
        return {}
    return {"turn_p99_us": statistics.median(micros(line, "turn_p99") for line in lines),
            "turn_max_us": max(micros(line, "turn_max") for line in lines)}


def fairness(serve, name, seconds):
    """Beside as many as are idle, and no flooder, one, sixteen: all of the same server."""
    speech = ["--reply", "resp"] if name == "redis" else []
    found = {}
    with serve() as server, awake(), contextlib.ExitStack() as idle:
        port = port_of(server)
        idle.enter_context(loaded(port, *HOLD, str(CONNS)))
        until(lambda: has_conns(server, CONNS))
        for count in FLOODERS:
            with contextlib.ExitStack() as flood:
                if count:
                    begun = cpu_s(server.pid)
                    flood.enter_context(loaded(port, "-c", str(count), *FLOOD, *speech))
                    until(lambda: cpu_s(server.pid) - begun > FLOODED_S)
                told(server)
                found[str(count)] = polite(port, seconds, speech) | turns(told(server))
    for one in found.values():
        one["times"] = one["p99_us"] / found["0"]["p99_us"]
    return found


def fairness_goals(rounds):
    rows = []
    for label, each in by_flooders({"charkh": rounds["charkh"]}).items():
        label = label.removeprefix("charkh, ")
        many = [one["times"] for one in each]
        times, turns_us = statistics.median(many), 2 * median(each, "turn_p99_us")
        if label == "no flooder":
            continue
        rows += [(f"{label}: p99, to that without",
                  f"{times:.2f} ({min(many):.2f} - {max(many):.2f})", "<= 3", times <= 3),
                 (f"{label}: two turns at p99", f"{turns_us:.0f} µs", "<= 1000 µs",
                  turns_us <= 1000),
                 (f"{label}: longest turn", f"{median(each, 'turn_max_us'):.0f} µs", None, None)]
    return rows


# How many there can be.


def waited_s(pid):
    """For how long its first thread was ready and had no processor, by the word of the kernel."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def grow(serve, _, __):
    """From nobody to very many: how long a turn is that accepts them."""
    with serve() as server, awake():
        port, waited = port_of(server), waited_s(server.pid)
        results = load(port, *HOLD, str(GROWN), "-d", "300ms", "--reset", cpus=OURS)
        waited = waited_s(server.pid) - waited
        until(lambda: not has_conns(server, GROWN))
        lines = told(server)
    counts = [int(line["connections"]) for line in lines]
    if GROWN not in counts:
        sys.exit(f"{GROWN} connections were asked for: {max(counts, default=0)} came")
    growth = [(micros(line, "turn_max"), count)
              for line, count in zip(lines, counts[:counts.index(GROWN) + 1])]
    longest_us, at = max(growth)
    return {"rate": GROWN / results["connections"]["connecting_s"],
            "turn_max_ms": longest_us / 1e3, "at": at, "waited_ms": 1e3 * waited,
            "steal": results["testimony"]["steal"] or 0}


def grow_goals(rounds):
    many = [one["turn_max_ms"] for one in rounds["charkh"]]
    turn, kept = statistics.median(many), sum(one < TURN_MS for one in many)
    return [("longest turn", f"{turn:.2f} ms ({min(many):.2f} - {max(many):.2f})",
             f"< {TURN_MS} ms", turn < TURN_MS),
            ("rounds that kept it", f"{kept} of {len(many)}", None, None),
            ("where it was, in connections", " ".join(str(one["at"]) for one in rounds["charkh"]),
             None, None)]


def rest(serve, _, __):
    """What a server does whose clients do nothing."""
    with serve() as server, loaded(port_of(server), *HOLD, str(GROWN)):
        until(lambda: has_conns(server, GROWN))
        at_rest(server.pid, still_s=0.3)
        cpu, slept = cpu_s(server.pid), switches(server.pid)
        time.sleep(STILL_S)
        return {"ns": 1e9 * (cpu_s(server.pid) - cpu), "switches": switches(server.pid) - slept}


def rest_goals(rounds):
    most = {what: max(one[what] for one in rounds["charkh"]) for what in ["ns", "switches"]}
    return [(f"CPU in {STILL_S} s, at most", f"{most['ns']:.0f} ns", "0", most["ns"] == 0),
            (f"switches in {STILL_S} s, at most", str(most["switches"]), "0",
             most["switches"] == 0)]


# A case, and what it must have shown for charkh.
CROWDS = {"broadcast": broadcast, "fairness": fairness, "grow": grow, "rest": rest}
GOALS = {"broadcast": broadcast_goals, "fairness": fairness_goals, "grow": grow_goals,
         "rest": rest_goals}
