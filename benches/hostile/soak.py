"""A soak: an hour at half load, with rude clients (rude.py) all the time.

The server is `charkh serve --protocol echo` at a TCP and a TLS port. A polite load is half of the
highest rate at which p99 is below 5 ms, looked for at the start. Server and load are real time:
where `kernel.sched_rt_runtime_us` is not -1 the kernel stops whoever takes a whole processor for
50 ms of each second, which is then what is measured. Minute by minute it is measured at charkh, and
for some seconds at a bare epoll loop in C, which nobody is rude to: it tells what the machine did.
Before the first minute the server is stopped for a second, ten times: what a host that is busy
elsewhere makes of it sooner or later. Then as much is under way as ever, and malloc keeps the room.
p99 is that of each slice of a tenth of a second or more, and the median of these: where a host
stands still for a hundredth of a minute, the p99 of all the minute tells of nothing else (shown as
well, and the processor time that the server takes, which is the steadiest of all).
Asked: no slope in memory (from the second quarter to the last at most 256 KiB more in the median, and
64 KiB more at the lowest), p99 of the last quarter at most 1.05 times that of
the first, all answers right, descriptors back where they were. Where the bare loop drifts more than
that by itself, the machine did: then the ratio of both is judged.
"""
import contextlib
import json
import operator
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import servers
from servers import common

RUDE = pathlib.Path(__file__).resolve().parent / "rude.py"
CONNECTIONS = 50
OPTIONS = ["--idle", "20s", "--first-byte", "10s", "--write-stall", "10s", "--memory-max", "256MiB"]
SLOPE_MAX, FLOOR_MAX = 256 << 10, 64 << 10
DRIFT_MAX = 1.05
PAUSES, PAUSE_S = 10, 1


@contextlib.contextmanager
def rude(server, tls_port, seed):
    """Rude clients within the block; yields a function that ends them and says what they did."""
    command = [sys.executable, RUDE, server.port, tls_port, seed]
    process = common.start(command, common.OURS, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           text=True)
    try:
        yield lambda: json.loads(process.communicate()[0])
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def bare():
    """The bare loop, and its port; None where no compiler is."""
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "epoll"
        source = common.HERE / "peers" / "epoll.c"
        if subprocess.run(["cc", "-O2", "-o", program, source], check=False).returncode:
            yield None
            return
        with common.running([program, "--edge"], common.THEIRS, stdout=subprocess.PIPE,
                            text=True) as process:
            yield common.port_of(process)


def first(args):
    """What else this machine does is not the server's: nobody comes before it, or its load."""
    return contextlib.nullcontext() if args.quick else common.real_time()


def polite(port, rate, seconds, args):
    """A polite load: its p99 in microseconds as in the module's words and of all its requests, and
    how many of these were not served well."""
    shape = ["--rate", str(rate), "-d", f"{seconds}s", "--warmup", "1s"]
    if args.quick:
        shape = ["-n", str(rate), "--timeout", "60s"]
    with first(args):
        found = common.load(port, "-c", str(CONNECTIONS), *shape, cpus=common.OURS)
    # What was under way when the time was over, one on each connection, is nobody's failure.
    under_way = min(found["errors"].get("unanswered", 0), CONNECTIONS)
    failed = sum(found["errors"].values()) - under_way
    return common.p99_of_slices_us(found), found["latency"]["p99_ns"] / 1000, failed


def quarter(values, which, what=statistics.median):
    size = len(values)
    return what(values[size * which // 4:size * (which + 1) // 4] or values)


def minutes(server, control, seconds, args):
    """The soak itself: what was seen in each round."""
    rate = 1000 if args.quick else half_load(server, args)
    if not args.quick:
        paused(server, rate)
    span, look = (2, 1) if args.quick else (45, 10)
    begun, rounds = time.monotonic(), []
    while time.monotonic() < begun + seconds:
        before = common.cpu_s(server.pid)
        ours, of_all, failed = polite(server.port, rate, span, args)
        cpu_s = common.cpu_s(server.pid) - before
        bare, _, _ = polite(control, rate, look, args) if control else (None, 0, 0)
        found = {"ours": ours, "of all": of_all, "bare": bare, "failed": failed,
                 "cpu": cpu_s, "at": time.monotonic() - begun, "resident": server.resident(),
                 "descriptors": server.descriptors()}
        rounds.append(found)
        if not args.quick:
            print(f"  {found['at']:6.0f} s: p99 {ours:.0f} us, of all {of_all:.0f} us, bare "
                  f"{bare or 0:.0f} us, {found['resident'] >> 10} KiB, "
                  f"{found['descriptors']} descriptors")
    return rate, rounds


def paused(server, rate):
    """The server stops as with its machine, again and again: everybody's requests pile up."""
    shape = ["--rate", str(rate), "-d", f"{2 * PAUSES * PAUSE_S}s", "--timeout", "60s"]
    load = common.begin_load(server.port, "-c", str(CONNECTIONS), *shape, cpus=common.OURS)
    for _ in range(PAUSES):
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(PAUSE_S)
        os.kill(server.pid, signal.SIGCONT)
        time.sleep(PAUSE_S)
    common.end_load(load)


def half_load(server, args):
    """Half of the highest rate that is served well on this machine, the generator's part included;
    a closed loop would tell of more than can be asked at planned times."""
    with first(args):
        found = common.load(server.port, "-c", str(CONNECTIONS), "--find-max", "p99<5ms", "-d", "1s",
                            cpus=common.OURS)
    return int(found["search"]["rate"] / 2)


def run(args):
    seconds = 4 if args.quick else int(os.environ.get("CHARKH_SOAK_S", 3600))
    with contextlib.ExitStack() as stack:
        tls_port = common.free_port()
        tls = [f"tls:{servers.HOST}:{tls_port}", "--tls-self-signed"]
        with first(args):
            served = servers.serving("echo", *tls, *OPTIONS, cpus=common.THEIRS)
            server = stack.enter_context(served)
            control = stack.enter_context(bare())
        common.at_rest(server.pid)
        baseline = server.descriptors()
        end = stack.enter_context(rude(server, tls_port, args.seed))
        rate, rounds = minutes(server, control, seconds, args)
        did = end()
        back = servers.until("everybody has gone",
                             lambda: server.descriptors() <= baseline, look_s=0.05)
        well = server.is_well()
        lines = len(server.log_lines())
    return judged(args, seconds, rate, rounds, did, back, well, lines)


def drifts(rounds, args):
    """How p99 drifted: by itself, and, where the bare loop did too, beside it."""
    def drift(of):
        values = [of(found) for found in rounds]
        return quarter(values, 3) / quarter(values, 0)

    ours, of_all, cpu = (drift(operator.itemgetter(what)) for what in ["ours", "of all", "cpu"])
    asked = ours <= DRIFT_MAX
    rows = []
    if all(found["bare"] for found in rounds):
        bare = drift(operator.itemgetter("bare"))
        beside = drift(lambda found: found["ours"] / found["bare"])
        rows = [("the bare loop's drift", f"{bare:.3f}", None, None),
                ("drift beside the bare loop's", f"{beside:.3f}", None, None)]
        asked = asked or bare > DRIFT_MAX and beside <= DRIFT_MAX
    most = None if args.quick else DRIFT_MAX
    return [("p99, last quarter to first", f"{ours:.3f}", most, asked), *rows,
            ("p99 of whole minutes, last quarter to first", f"{of_all:.3f}", None, None),
            ("processor time, last quarter to first", f"{cpu:.3f}", None, None)]


def judged(args, seconds, rate, rounds, did, back, well, lines):
    sizes = [found["resident"] for found in rounds]
    ours = [found["ours"] for found in rounds]
    grew = quarter(sizes, 3) - quarter(sizes, 1)
    # malloc gives back what a crowded moment took when it can: what it comes down to is in use.
    floor = quarter(sizes, 3, min) - quarter(sizes, 1, min)
    failed = sum(found["failed"] for found in rounds)
    most = None if args.quick else f"{SLOPE_MAX >> 10} KiB"
    lowest = None if args.quick else f"{FLOOR_MAX >> 10} KiB"
    rows = [
        ("polite requests a second, half of the most", rate, None, None),
        ("rude clients", sum(did["did"].values()), "some", sum(did["did"].values()) > 50),
        ("polite requests that were not served well", failed, 0, not failed),
        ("answers to the rude that were wrong", len(did["wrong"]), 0, not did["wrong"]),
        ("served well at the end", well or "yes", "yes", not well),
        ("memory grown, second quarter to last", f"{grew / 1024:.0f} KiB", most,
         grew <= SLOPE_MAX),
        ("the lowest, second quarter to last", f"{floor / 1024:.0f} KiB", lowest,
         floor <= FLOOR_MAX),
        ("resident at the end", f"{sizes[-1] / 2**20:.1f} MiB", None, None),
        ("p99, first quarter", f"{quarter(ours, 0):.0f} us", None, None),
        ("descriptors back after", f"{back:.1f} s", None, None),
        ("lines in the log", lines, f"{seconds * 10 + 50}", lines <= seconds * 10 + 50),
    ]
    rows += drifts(rounds, args)
    common.show(f"A soak of {seconds} s", rows)
    return {"rate": rate, "rounds": rounds, "did": did, "seconds": seconds}
