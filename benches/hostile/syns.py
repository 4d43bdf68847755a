"""A flood of SYNs that nobody means (case 8), in a network namespace of its own.

Asked: meanwhile each real client connects and is answered within a second, and the server's
descriptors are theirs; what one of them costs it is told beside what it costs without the flood. As
root, for the namespace.
"""
import json
import os
import pathlib
import random
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import servers  # noqa: E402
from servers import common  # noqa: E402

HERE = "10.8.0.1"  # the server's address; the flood comes from 10.9.0.0/16, where nobody is
NETWORK = f"""
set -e
ip link set lo up
ip link add away type veth peer name nowhere
ip addr add {HERE}/32 dev lo
ip link set away arp off up
ip link set nowhere up
ip route add 10.9.0.0/16 dev away
sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.lo.rp_filter=0
"""


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def syn(port, dice):
    """An IP packet that asks for a connection, from somebody who is not there."""
    source = bytes([10, 9, dice.randrange(256), dice.randrange(1, 255)])
    target = socket.inet_aton(HERE)
    head = (dice.randrange(1024, 65536), port, dice.randrange(1 << 32), 0, 5 << 4, 2, 64240)
    tcp = struct.pack(">HHIIBBHHH", *head, 0, 0)
    pseudo = source + target + struct.pack(">HH", socket.IPPROTO_TCP, len(tcp))
    tcp = struct.pack(">HHIIBBHHH", *head, checksum(pseudo + tcp), 0)
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, source, target) + tcp


def flood(port, seconds, seed):
    """As fast as one process can, of packets that were made before."""
    dice = random.Random(seed)
    packets = [syn(port, dice) for _ in range(1 << 15)]  # more than any queue has room for
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    end, sent = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for packet in packets[:512]:
            raw.sendto(packet, (HERE, 0))
        packets = packets[512:] + packets[:512]
        sent += 512
    print(sent)


def visit(server):
    """A real client: how many seconds it took from the first SYN to the answer."""
    begun = time.monotonic()
    why = server.is_well(5)
    if why:
        sys.exit(f"a real client was not served: {why}")
    return time.monotonic() - begun


def cookies():
    """How many SYNs this namespace has answered with a cookie, for its queue was full."""
    names, counts = pathlib.Path("/proc/net/netstat").read_text().splitlines()[:2]
    return int(dict(zip(names.split(), counts.split()))["SyncookiesSent"])


def attacked(seconds, seed):
    """Within the namespace."""
    subprocess.run(["sh", "-c", NETWORK], check=True)
    servers.HOST = HERE
    with servers.serving("echo") as server:
        common.at_rest(server.pid)
        baseline, before = server.descriptors(), server.cpu_s()
        quiet = max(visit(server) for _ in range(50))
        each = (server.cpu_s() - before) / 50
        flooder = subprocess.Popen([sys.executable, __file__, "flood", str(server.port),
                                    str(seconds), str(seed)], stdout=subprocess.PIPE, text=True)
        before, visits = server.cpu_s(), []
        while flooder.poll() is None:
            visits.append(visit(server))
            time.sleep(0.01)
        worked = server.cpu_s() - before
        servers.until("all have gone", lambda: server.descriptors() == baseline)
    print(json.dumps({"syns": int(flooder.stdout.read()), "visits": len(visits),
                      "cookies": cookies(), "longest_s": max(visits), "longest_quiet_s": quiet,
                      "cpu_of_a_visit_us": 1e6 * worked / len(visits),
                      "cpu_of_a_visit_quiet_us": 1e6 * each}))


def run(args):
    command = ["unshare", "--net", sys.executable, __file__, "attacked",
               "1" if args.quick else "10", str(args.seed)]
    if os.geteuid():
        return servers.left_out("syns", "only root makes namespaces")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    common.show("A flood of SYNs, and real clients meanwhile", [
        ("SYNs, one after the other", f"{found['syns']:,}", None, None),
        ("of these answered with a cookie", f"{found['cookies']:,}", "some", found["cookies"] > 0),
        ("real clients, all answered", f"{found['visits']}", "some", found["visits"] > 5),
        ("the longest that one waited", f"{found['longest_s']:.3f} s", "1 s",
         args.quick or found["longest_s"] < 1),
        ("the longest without the flood", f"{found['longest_quiet_s']:.3f} s", None, None),
        ("processor time of the server for one", f"{found['cpu_of_a_visit_us']:.0f} us", None, None),
        ("the same without the flood", f"{found['cpu_of_a_visit_quiet_us']:.0f} us", None, None),
    ])
    return found


if __name__ == "__main__":
    if sys.argv[1] == "flood":
        flood(*map(int, sys.argv[2:]))
    else:
        attacked(*map(int, sys.argv[2:]))
