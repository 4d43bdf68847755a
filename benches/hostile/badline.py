"""A bad line: two network namespaces, and between them a process that carries their packets,
late, in the wrong order, twice, or not at all.

Each side has a TUN device, and whoever carries reads from one and writes to the other. So it needs
no `tc netem`, which many kernels lack; what is dropped is drawn from a seed; and all of it is gone
with the process that made it, however that ends. Without root it makes a user namespace of its own,
where that is allowed.
"""
import collections
import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import selectors
import signal
import struct
import subprocess
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
PR_SET_PDEATHSIG = 1
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SERVER, CLIENT = "10.86.0.1", "10.86.0.2"
MTU = 1500


def call(name, *args):
    if getattr(LIBC, name)(*args) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{name}{args}: {os.strerror(errno)}")


def end_with_parent():
    """In a process that a line is made in: SIGTERM when its parent has ended, however that was."""
    signal.signal(signal.SIGTERM, lambda *_: exit(1))
    call("prctl", PR_SET_PDEATHSIG, signal.SIGTERM)


def may_make_namespaces():
    """Root, or a user namespace in which this process is taken for root."""
    if os.geteuid() == 0:
        return
    user, group = os.geteuid(), os.getegid()
    # With a network of its own, to come back to: the old one is another's.
    call("unshare", CLONE_NEWUSER | CLONE_NEWNET)
    maps = [("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")]
    for file, text in maps:
        with open(f"/proc/self/{file}", "w") as f:
            f.write(text)


class Side:
    """One namespace, with one device in it. The calling thread comes back from there."""

    def __init__(self, address):
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            call("unshare", CLONE_NEWNET)
            try:
                self.namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
                self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                request = struct.pack("16sH14x", b"bad0", IFF_TUN | IFF_NO_PI)
                fcntl.ioctl(self.tun, TUNSETIFF, request)
                for command in ["link set lo up", f"addr add {address}/24 dev bad0",
                                f"link set bad0 mtu {MTU} up"]:
                    subprocess.run(["ip", *command.split()], check=True)
            finally:
                call("setns", home, CLONE_NEWNET)
        finally:
            os.close(home)

    @contextlib.contextmanager
    def entered(self):
        """Whatever the calling thread makes within the block, sockets, processes and threads, is
        on this side."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        call("setns", self.namespace, CLONE_NEWNET)
        try:
            yield
        finally:
            call("setns", home, CLONE_NEWNET)
            os.close(home)

    def close(self):
        os.close(self.tun)
        os.close(self.namespace)


class Way:
    """One direction: what is on it, and when the next packet can enter."""

    def __init__(self, out):
        self.out, self.free_at = out, 0.0


class Line:
    """From `self.server` to `self.client` and back.

    loss, twice, late: shares of the packets that are dropped, come again, or are overtaken
    rate: bits in a second, each way
    delay_s: how long a packet takes beside that; late_s: one that is overtaken, beside both
    queue_s: what would wait longer than this to enter is dropped too, as by any router
    """

    def __init__(self, seed, loss, twice=0.01, late=0.02, rate=1_000_000, delay_s=0.01,
                 late_s=0.03, queue_s=0.5):
        self.chance = random.Random(seed)
        self.loss, self.twice, self.late = loss, twice, late
        self.rate, self.delay_s, self.late_s, self.queue_s = rate, delay_s, late_s, queue_s
        self.counts = collections.Counter()
        self.gone = set()  # ports of clients that have vanished
        self.server, self.client = Side(SERVER), Side(CLIENT)
        self.under_way = []  # (when it arrives, number, where, packet)
        self.number = 0
        self.over, self.ends = os.pipe()
        self.thread = threading.Thread(target=self.carry, name="line")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        os.close(self.ends)
        self.thread.join()
        for end in self.server, self.client:
            end.close()
        os.close(self.over)

    def vanish(self, port):
        """Nothing passes any more from or to this port of a client; what is under way is lost. The
        moment of it."""
        self.gone.add(port)
        return time.monotonic()

    def carry(self):
        with selectors.DefaultSelector() as ready:
            ready.register(self.over, selectors.EVENT_READ)
            for here, there in (self.server, self.client), (self.client, self.server):
                ready.register(here.tun, selectors.EVENT_READ, Way(there.tun))
            while True:
                due = self.under_way[0][0] - time.monotonic() if self.under_way else None
                for key, _ in ready.select(due if due is None else max(due, 0)):
                    if key.data is None:
                        return
                    self.take(key.fd, key.data)
                while self.under_way and self.under_way[0][0] <= time.monotonic():
                    _, _, out, packet = heapq.heappop(self.under_way)
                    if self.is_of_the_vanished(packet):
                        continue
                    with contextlib.suppress(OSError):  # the device's own queue may be full
                        os.write(out, packet)

    def take(self, tun, way):
        with contextlib.suppress(BlockingIOError):
            while packet := os.read(tun, 65536):
                self.send(packet, way)

    def is_of_the_vanished(self, packet):
        is_one = bool(self.gone) and not self.gone.isdisjoint(ports(packet))
        self.counts["of the vanished"] += is_one
        return is_one

    def send(self, packet, way):
        """Draw what becomes of a packet. As many numbers are drawn for each, whatever it is."""
        lost, again, behind = (self.chance.random() for _ in range(3))
        if packet[0] >> 4 != 4:
            return  # IPv6 looks for neighbours
        if self.is_of_the_vanished(packet):
            return
        now = time.monotonic()
        self.counts["packets"] += 1
        if way.free_at - now > self.queue_s:
            self.counts["no room"] += 1
            return
        way.free_at = max(way.free_at, now) + 8 * len(packet) / self.rate
        if lost < self.loss:
            self.counts["lost"] += 1
            return
        at = way.free_at + self.delay_s
        if behind < self.late:
            self.counts["late"] += 1
            at += self.late_s
        copies = 2 if again < self.twice else 1
        self.counts["twice"] += copies - 1
        for _ in range(copies):
            self.number += 1
            heapq.heappush(self.under_way, (at, self.number, way.out, packet))


def ports(packet):
    """The source's and the target's, of TCP."""
    return struct.unpack_from("!HH", packet, 4 * (packet[0] & 15))
