"""SIGTERM at random moments under load; then others take over, or come back from kill -9.

In each round a new server has clients that come, ask and go, that stay and ask on, that read a big
answer slowly, that rest, and 16 who connect in the moment of the signal. A request counts as
*accepted* if the server's kernel had acknowledged all of it before the signal was sent: its
connection may still have waited in the queue of the listener. Asked of charkh (echo, tls, and the
examples http and redis), at 1 000 moments drawn from the seed:
- every accepted request is answered, whole and right;
- an answer of which one byte came, to whomever, is read to its end, without a reset;
- who rests between two requests sees an end, not a reset;
- the exit status is 0. With a client that reads nothing, it comes within the grace + 100 ms, in the
  midst of the crowd too (the server is real time then, or it would be measured whose turn on the
  processor it is); without one, within 100 ms after the last client has gone (timed without the
  crowd, for the same reason).
Whoever comes after the signal may be answered, or be shown out with an end in the place of an
answer, and is refused from some moment on. Whose handshake is half way when the listener ends sees
a reset in the place of an answer: counted, for information.

`takeovers.py`: new servers that take over under load, kill -9 and restarts, and a second SIGTERM.

Peers, for information: nginx (with a master; SIGQUIT, its graceful stop, and SIGTERM), haproxy
(SIGUSR1, its soft stop), redis-server and node (SIGTERM). Their clients ask for nothing big where
they have nothing big to say.

`--quick`: a few rounds of each, only what is lost; the exits are not timed.
"""
import random
import signal
import threading
import time

import servers
import takeovers
import visitors
from servers import common

OURS = ["echo", "http", "tls", "redis"]
ROUNDS, PEER_ROUNDS = 250, 50
GRACE_S, LATE_S = 1, 0.1
EXAMPLE_GRACE_S = 10  # the library's default
MOMENTS_S = 0.12  # after the load began
BURST = 16
NEVER = 1 << 30
# Nothing of it waits for this: a slow machine is no fault.
LONG = "1h"

NGINX_MASTER = servers.NGINX.replace("master_process off;", "user root;")
NGINX = servers.from_file(NGINX_MASTER, "conf", ["nginx", "-e", "{dir}/log", "-c"], ssl="")
servers.SERVERS.setdefault("nginx-master", (NGINX, servers.HTTP))
PEERS = [("nginx-master", signal.SIGQUIT), ("nginx-master", signal.SIGTERM),
         ("haproxy", signal.SIGUSR1), ("redis-server", signal.SIGTERM), ("node", signal.SIGTERM)]


def run(args):
    results = {}
    wanted = args.servers or [*OURS, *(name for name, _ in PEERS)]
    for name in [name for name in OURS if name in wanted]:
        results[name] = rounds(name, signal.SIGTERM, args.seed, 2 if args.quick else ROUNDS,
                               args.quick)
        show(name, results[name], is_ours=True, quick=args.quick)
        if not args.quick:
            results[f"exit {name}"] = exits_in_time(name)
    for name, with_signal in PEERS:
        if not args.quick and name in wanted and servers.there(name):
            what = f"{name}, {with_signal.name}"
            results[what] = rounds(name, with_signal, args.seed, PEER_ROUNDS, False)
            show(what, results[what], is_ours=False)
    results |= takeovers.run(args)
    return results


def rounds(name, with_signal, seed, count, quick):
    total = {"rounds": count, "answered": 0, "lost": [], "cut": [], "resting reset": [],
             "hung": [], "codes": [], "s": [], "stalled s": [],
             "after": dict.fromkeys(["answered", "ended", "reset", "refused"], 0)}
    for n in range(count):
        rng = random.Random(f"{name} {seed} {n}")
        with_stall = (n + 1) % stall_every(name, quick) == 0
        one_round(name, with_signal, rng, with_stall, total, f"seed {seed}, round {n}")
    return total


def stall_every(name, quick):
    """In how many rounds one has a client that reads nothing: the examples wait long for it."""
    if quick:
        return 2 if name == "echo" else NEVER
    return 5 if name in ("echo", "tls") else 50 if name in OURS else NEVER


def one_round(name, with_signal, rng, with_stall, total, which):
    options = []
    if name in ("echo", "tls"):
        options = ["--grace", f"{GRACE_S}s" if with_stall else LONG]
    # Its exit is timed then.
    with servers.serving(name, *options, is_first=with_stall) as server:
        crowd = visitors.Crowd(server, which)
        crowd.add("comes and goes", visitors.comes_and_goes, 4)
        crowd.add("stays", visitors.stays, 4)
        crowd.add("rests", visitors.rests, 4)
        if name in visitors.BIG:
            crowd.add("asks for much", visitors.asks_for_much, 2)
        burst = visitors.Crowd(server, which)
        burst.add("once", visitors.comes_and_goes, BURST)
        stalled = visitors.stall(server) if with_stall else None
        crowd.begin()
        time.sleep(rng.uniform(0, MOMENTS_S))
        beside = threading.Timer(rng.uniform(0, 0.004), burst.begin)
        beside.start()
        time.sleep(rng.uniform(0, 0.004))
        signalled = time.monotonic()
        server.process.send_signal(with_signal)
        code = servers.exit_of(server.process)
        ended = time.monotonic()
        beside.join()
        crowd.end(), burst.end()
        if stalled:
            stalled.close()
    last = max(crowd.left_at, burst.left_at, signalled)
    since = signalled if with_stall else min(last, ended)
    total["stalled s" if with_stall else "s"].append(round(ended - since, 4))
    if code != 0:
        total["codes"].append((which, code))
    judge([*crowd.asked, *burst.asked], crowd.speech, signalled, total, which)
    total["answered"] += crowd.count("answered") + burst.count("answered")


def judge(asked, speech, signalled, total, which):
    for one in asked:
        accepted = 0 < one.sent < signalled
        what = (which, one.who, one.outcome, f"{one.heard} bytes heard",
                f"came {signalled - one.came:+.4f} s before the signal, sent "
                + (f"{signalled - one.sent:+.4f} s" if one.sent else "not whole"))
        if one.outcome in ("hung", "wrong"):
            total["hung"].append(what)
        elif one.who == "rests" and one.sent and one.heard == 0:
            if one.outcome != "ended":
                total["resting reset"].append(what)
        elif one.heard and (accepted or not speech.is_stream):
            total["cut"].append(what)
        elif accepted:
            total["lost"].append(what)
        else:
            total["after"][one.outcome] += 1


def show(name, total, is_ours, quick=False):
    def row(what, bad):
        return (what, len(bad), 0 if is_ours else None, not bad)

    count, after = total["rounds"], total["after"]
    rows = [
        ("stops at random moments; requests answered", f"{count}; {total['answered']}", None, True),
        row("accepted requests lost", total["lost"]),
        row("answers begun and not finished", total["cut"]),
        row("reset while they rested", total["resting reset"]),
        row("never answered nor ended, or wrong", total["hung"]),
        row("exits with another status than 0", total["codes"]),
        ("after the signal: ended, reset, refused",
         f"{after['ended']}, {after['reset']}, {after['refused']}", None, True),
    ]
    if not quick:
        rows += exits(name, total, is_ours)
    common.show(name, rows)
    for what in ["lost", "cut", "resting reset", "hung", "codes"]:
        for one in total[what][:5]:
            print(f"    {what}: {', '.join(map(str, one))}")


def exits(name, total, is_ours):
    """Under the crowd. After the last client: for information, for it may keep the server from its
    processor."""
    rows, late = [], grace_s(name) + LATE_S
    for what, times, most in [("after the last client", total["s"], None),
                              ("with a stalled client", total["stalled s"], is_ours and late)]:
        if times:
            times = sorted(times)
            shares = [times[len(times) * share // 100] for share in (50, 95)]
            figure = ", ".join(f"{time:.3f}" for time in [*shares, times[-1]]) + " s"
            rows.append((f"exit {what}: 50 %, 95 %, latest", figure,
                         f"{most} s" if most else None, not most or times[-1] <= most))
    return rows


def grace_s(name):
    return GRACE_S if name in ("echo", "tls") else EXAMPLE_GRACE_S


def exits_in_time(name):
    """The same without a crowd, and nobody in the way: a client that reads nothing, and others who
    rest and go when they are told to."""
    grace = grace_s(name)
    options = ["--grace", f"{GRACE_S}s"] if name in ("echo", "tls") else []
    times = {True: [], False: []}
    with common.real_time():
        for with_stall in [True, False] * (20 if options else 3):
            with servers.serving(name, *options) as server:
                stalled = visitors.stall(server) if with_stall else None
                resting = [server.connect() for _ in range(16)]
                for client in resting:
                    client.sendall(servers.SERVERS[name][1])
                    client.recv(4096)
                since = time.monotonic()
                server.process.terminate()
                for client in resting:
                    client.recv(1)
                    client.close()
                since = since if with_stall else time.monotonic()
                servers.exit_of(server.process)
                times[with_stall].append(round(time.monotonic() - since, 4))
                if stalled:
                    stalled.close()
    first, late, plain = min(times[True]), max(times[True]), max(times[False])
    common.show(f"{name}, the exit, {len(times[True])} times each", [
        (f"with a stalled client, the grace is {grace} s", f"{first:.3f} to {late:.3f} s",
         f"{grace} to {grace + LATE_S} s", grace <= first and late <= grace + LATE_S),
        ("after the last client: latest", f"{plain:.3f} s", f"{LATE_S} s", plain <= LATE_S),
    ])
    return {"stalled s": times[True], "s": times[False]}
