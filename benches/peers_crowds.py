"""The cases of benches/peers.py that are about ten thousand connections and more: what all of them
together cost, and what they do to each other."""
import contextlib
import pathlib
import select
import socket
import statistics
import struct
import time

from common import anonymous, at_rest, cpu_s, port_of
from peers_report import median, ratios

CONNS = 10_000
MESSAGE = 100  # bytes of a broadcast
TIMES = 10  # broadcasts of a measurement, after those that make buffers
FIRST = 2
LARGE = 64 * 1024  # more than the kernel takes for a client that does not read
RECEIVE_SMALL = 4096
NAMED = 512  # bytes of memory that may say what waits for whom, without a copy of it


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


# A case, and what it must have shown for charkh.
CROWDS = {"broadcast": broadcast}
GOALS = {"broadcast": broadcast_goals}
