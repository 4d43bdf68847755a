"""New servers in the place of others, under load; `stops.py` says of what this is a part.

- 200 takeovers, the next there before the last is stopped: by a socket that both are given
  (LISTEN_FDS), where nobody may notice; and by `--reuse-port`, where nobody may be refused or be
  left without an answer. There a handshake that is half way ends with the old one: counted.
- kill -9 at 200 random moments and a new start at the same address, of TCP and of a unix socket:
  it is there at once, not later than one started where nobody was killed (medians, interleaved, at
  most 1.2 times), and every client is served again.
- a second SIGTERM ends it within 100 ms, though a client holds it up.
"""
import contextlib
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import tempfile
import time

import servers
import visitors
from servers import common

# Of our own: whoever reconnects while nobody listens is never given the port that it looks for.
ADDRESS = "127.87.88.1"
HAND_OVER = ('exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@"')
TAKEOVERS, KILLS, SECONDS = 200, 200, 10
VISITS = 200  # from one takeover to the next
THINKS_S, TOO_SLOW_S = 0.005, 0.3  # the server waits half a second for a first word
AT_ONCE_S, START_TIMES = 0.1, 1.2


def run(args):
    wanted = args.servers or ["echo", "takeovers", "kills"]
    results = {}
    if "takeovers" in wanted:
        for how in ["inherited", "shared"]:
            results[how] = takeovers(how, 3 if args.quick else TAKEOVERS, args.seed)
    if "kills" in wanted:
        for kind in ["tcp", "unix"]:
            results[f"kill {kind}"] = kills(kind, 2 if args.quick else KILLS, args)
    for name in ["echo", "http"] if args.quick else ["echo", "http", "tls", "redis"]:
        if not args.servers or name in wanted:
            results[f"second {name}"] = second_signals(name, 1 if args.quick else SECONDS, args)
    return results


class Place:
    """Where servers are, one after the other."""
    name = "echo"

    def __init__(self, address):
        self.address = address

    def connect(self, timeout_s=servers.PATIENCE_S):
        if isinstance(self.address, tuple):
            return socket.create_connection(self.address, timeout_s)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout_s)
        sock.connect(self.address)
        return sock


def start(*options, inherits=None):
    """An echo server, once it says where it listens."""
    command = [servers.CHARKH, "serve", "--protocol", "echo", "--grace", "1h", *options]
    if inherits:
        command = ["sh", "-c", HAND_OVER, *command]
    process = subprocess.Popen(command, stdin=inherits or subprocess.DEVNULL, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.where = process.stdout.readline()
    return process


def port_of(process):
    return int(process.where.rsplit(":", 1)[1])


def stop(process, with_signal=signal.SIGTERM):
    process.send_signal(with_signal)
    code = process.wait(servers.PATIENCE_S)
    process.stdout.close()
    return code


@contextlib.contextmanager
def crowd_at(place, seed, thinks=True):
    """Clients that go on until the block ends, whatever happens to them."""
    crowd = visitors.Crowd(place, seed, leaves=False)
    crowd.add("comes and goes", visitors.comes_and_goes, 6)
    crowd.add("stays", visitors.stays, 0 if thinks else 2)
    crowd.add("thinks", thinks_first, 2 if thinks else 0)
    crowd.begin()
    try:
        yield crowd
    finally:
        crowd.over.set()
        crowd.end()


def thinks_first(crowd, asked, sock, rng):
    time.sleep(THINKS_S)
    return visitors.comes_and_goes(crowd, asked, sock, rng)


def takeovers(how, count, seed):
    listener = socket.socket()
    if how == "shared":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((ADDRESS, 0))  # not for others, even if it is not listened at
    place = Place(listener.getsockname())
    if how == "inherited":
        listener.listen(4096)

    def successor():
        if how == "inherited":
            return start(inherits=listener)
        return start("--reuse-port", "%s:%d" % place.address)

    codes, server = [], successor()
    try:
        with crowd_at(place, seed) as crowd:
            for _ in range(count):
                served = crowd.count("answered") + VISITS
                servers.until("they are served", lambda: crowd.count("answered") >= served)
                old, server = server, successor()
                codes.append(stop(old))
            served = crowd.count("answered") + VISITS
            servers.until("they are served", lambda: crowd.count("answered") >= served)
    finally:
        stop(server)
        listener.close()
    bad = [one for one in crowd.asked if one.outcome in ("ended", "reset")]
    for one in bad:
        if one.thought_s > TOO_SLOW_S:
            one.outcome = "too slow"  # nobody waits for that
    result = {what: crowd.count(what) for what in
              ["answered", "refused", "reset", "ended", "hung", "wrong", "too slow"]}
    others = result["ended"] + result["hung"] + result["wrong"]
    common.show(f"{count} takeovers, the socket is {how}", [
        ("visits, answered", result["answered"], None, True),
        ("refused", result["refused"], 0, result["refused"] == 0),
        ("reset", result["reset"], 0 if how == "inherited" else None, result["reset"] == 0),
        ("without an answer, or a wrong one", others, 0, others == 0),
        ("exits with another status than 0", len(codes) - codes.count(0), 0, not any(codes)),
    ])
    for one in bad:
        print(f"    {one}")
    return result | {"codes": codes}


def kills(kind, count, args):
    rng, after, beside, failed = random.Random(args.seed), [], [], []
    with tempfile.TemporaryDirectory() as folder:
        where = f"{ADDRESS}:0" if kind == "tcp" else f"unix:{folder}/echo"
        elsewhere = where if kind == "tcp" else f"unix:{folder}/other"
        server = start(where)
        if kind == "tcp":
            where = f"{ADDRESS}:{port_of(server)}"
        place = Place((ADDRESS, port_of(server)) if kind == "tcp" else f"{folder}/echo")
        with crowd_at(place, args.seed, thinks=False) as crowd:
            for n in range(count):
                everybody_is_served(crowd)
                time.sleep(rng.uniform(0, 0.05))
                stop(server, signal.SIGKILL)
                server = timed_start(where, after)
                if not server.where:
                    failed.append(f"seed {args.seed}, round {n}: exit status {server.wait()}")
                    server = start(where)
                stop(timed_start(elsewhere, beside))
            everybody_is_served(crowd)
        stop(server)
        left = [path.name for path in pathlib.Path(folder).iterdir() if path.is_socket()]
    result = {"failed": failed, "after s": after, "beside s": beside, "left": left,
              "answered": crowd.count("answered"), "wrong": crowd.count("wrong"),
              "hung": crowd.count("hung")}
    bad = result["wrong"] + result["hung"]
    rows = [
        ("starts that failed", len(failed), 0, not failed),
        ("visits, answered", result["answered"], None, True),
        ("never answered nor ended, or wrong", bad, 0, bad == 0),
        ("files left at the end", len(left), 0, not left),
    ]
    if not args.quick:
        times = statistics.median(after) / statistics.median(beside)
        rows.append(("until it listens, beside one without a kill", f"{times:.2f} times",
                     START_TIMES, times <= START_TIMES))
    common.show(f"kill -9 under load and a start at the same address, {count} times, {kind}", rows)
    for why in failed:
        print(f"    {why}")
    return result


def timed_start(where, times):
    begun = time.monotonic()
    process = start(where)
    times.append(time.monotonic() - begun)
    return process


def everybody_is_served(crowd):
    """Again, each of them."""
    before = dict(crowd.of_thread)
    servers.until("every client is served again", lambda: all(
        crowd.of_thread[n] > before.get(n, 0) for n in range(len(crowd.threads))))


def second_signals(name, count, args):
    took, codes = [], []
    for _ in range(count):
        options = ["--grace", "1h"] if name in ("echo", "tls") else []
        # Timed, so nobody is in the way.
        with common.real_time(), servers.serving(name, *options) as server:
            stalled = visitors.stall(server)
            server.process.terminate()
            time.sleep(0.3)
            codes.append(server.process.poll())
            begun = time.monotonic()
            server.process.terminate()
            servers.exit_of(server.process)
            took.append(time.monotonic() - begun)
            stalled.close()
    early = [code for code in codes if code is not None]
    rows = [("ended at the first, with a client that reads nothing", len(early), 0, not early)]
    if not args.quick:
        rows.append((f"at the second, {count} times: latest", f"{max(took):.3f} s",
                     f"{AT_ONCE_S} s", max(took) <= AT_ONCE_S))
    common.show(f"{name}, a second SIGTERM", rows)
    return {"s": took, "early": early}
