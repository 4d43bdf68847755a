"""The N-th call sweep: every system call that the running server makes fails, in every way that its
man page names, once and from then on, while clients come, talk and go.

A healthy exercise under strace tells which calls a server makes. Then, run by run, strace is
attached to the running server and has the N-th call from there fail (`-e inject`); or `partial.c`
is, where a kernel keeps a promise that strace breaks: `close` has freed the descriptor even if it
fails, and after EAGAIN an edge tells when to try again. Meanwhile clients of all kinds come: some
talk, pipeline, end their half, reset, ask for much, are shown out; two others have been connected
since before, and one of these talks on. What strace says tells whose connection was hit. Asked of
charkh (echo, greet, chat, tls, http with a folder, redis):

- whoever was not hit hears exactly what was asked for, and in time: with a fault that comes once
  also before it is over; nobody is harmed by a failing accept, epoll_wait, close, futex or mmap;
- whoever was hit hears that, or is cut off; never something else, never nothing. Who asks for a
  file that cannot be read is told so; without random numbers a handshake is given up;
- no panic, no exit; no descriptor more than before when all have left; at most ten log lines a
  second of one kind; and when the fault is over a new client is served within 200 ms.

That no memory is to be had at all ends a Rust program, by its own rules: what becomes of each when
`mmap`, `mremap` and `brk` fail together is told beside this, with how often they are called.

Last, whole streams are sent through a server whose every read and write takes 1 to 7 bytes, and of
whose calls a third is interrupted (`partial.c`): they must come out the same, byte for byte.

As root, or whoever may trace; on Linux on x86-64; with strace and cc. All: some tens of minutes.
"""
import hashlib
import math
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import servers
import sweep_faults
import sweep_talk
from servers import common
from sweep_once import ROUNDS_MAX, Run, Subject
from sweep_talk import Client, Visit

HERE = pathlib.Path(__file__).resolve().parent
SERVERS = ["echo", "greet", "chat", "tls", "http", "redis"]
RUNS_MIN = 10_000
CALLS = 50  # the first to this one
VERDICTS = ["hang", "panic", "exit", "leak", "harmed", "wrong", "log"]
BACK_S = 0.2
MEMORY = "mmap,brk,mremap"
STREAM = 64 << 10  # bytes
SAMPLES = 12  # of the fifty, for each error and both ways


def plan(counts, rng, samples):
    """What is done to a server that makes these calls so often in one exercise."""
    for call, count in sorted(counts.items()):
        # Several at once are served in fewer calls, some of them: not as many as would be expected.
        reach = max(1, min(CALLS, count * ROUNDS_MAX * 2 // 3))
        for error in sweep_faults.ERRORS[call].split():
            for goes_on in (False, True):
                some = rng.sample(range(1, reach + 1), min(samples, reach))
                for when in sorted({1, *some[1:]}):
                    rounds = min(ROUNDS_MAX, math.ceil(1.5 * when / count))
                    yield call, error, when, goes_on, rounds


def counts_of(subject):
    counts = sweep_faults.calls_of(subject.server, subject.exercise)
    for call in sweep_faults.UNFAILING:
        counts.pop(call, None)
    unknown = set(counts) - set(sweep_faults.ERRORS)
    if unknown:
        common.misses.append(f"{subject.name} makes calls that the table lacks: {unknown}")
    return {call: count for call, count in counts.items() if call not in unknown}


def sweep(name, runs, pool, partial, result):
    subject = Subject(name, pool)
    try:
        for call, error, when, goes_on, rounds in runs(subject):
            run = Run(subject, call, error, when, goes_on, rounds, partial)
            if not run.hits and not run.problems:
                result["not reached"] += 1
                continue
            result["runs"] += 1
            result["back"].append(run.back_s)
            label = f"{name} {call} {error} when={when}{'+' if goes_on else ''}"
            if run.back_s > BACK_S:
                print(f"    {label}: back after {1000 * run.back_s:.0f} ms", flush=True)
            for verdict, words in run.problems:
                result[verdict] += 1
                result["failures"].append(f"{label}: {verdict}: {words}")
                print(f"    {label}: {verdict}: {words}"[:400], flush=True)
            if run.problems:
                subject.start()
    finally:
        subject.end()


def fresh():
    return {"runs": 0, "not reached": 0, "back": [], "failures": [],
            **{verdict: 0 for verdict in VERDICTS}}


def rows_of(name, result, is_quick):
    rows = [(f"{name}: runs that were hit, not reached",
             f"{result['runs']}, {result['not reached']}", None, True)]
    rows += [(f"{name}: {verdict}", str(result[verdict]), "0", result[verdict] == 0)
             for verdict in VERDICTS]
    back = sorted(result["back"]) or [0]
    figure = f"{1000 * statistics.median(back):.1f}, {1000 * back[-1]:.0f} ms"
    # How long things take on a machine that has others to serve is no verdict.
    goal = None if is_quick else "200 ms"
    return [*rows, (f"{name}: back after, median and worst", figure, goal, back[-1] <= BACK_S)]


def stream(name, size, seed, partial):
    """A stream of so many bytes through a server whose calls are cut and interrupted."""
    with servers.serving(name) as server:
        tracer = common.start([partial, server.pid, seed], stdout=subprocess.PIPE, text=True)
        tracer.stdout.readline()
        tongue, rng = sweep_talk.TONGUES[name], random.Random(seed)
        begun, client = time.monotonic(), Client(server, 600)
        name = bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=997))
        client.say(tongue.ask(name, size))
        tongue.hear(client, name, size)  # or it is wrong
        client.close()
        took_s = time.monotonic() - begun
        tracer.send_signal(signal.SIGINT)
        said = tracer.communicate()[0].strip()
        well = server.is_well()
    if well:
        raise sweep_talk.Wrong(f"after it: {well}")
    digest = hashlib.sha256(sweep_talk.filled(name, size)).hexdigest()[:12]
    return {"bytes": size, "calls": said, "seconds": took_s, "sha256": digest}


def memory(name, pool, partial):
    """How often memory is asked for, and what becomes of who gets none at all."""
    subject, requests = Subject(name, pool), 200
    try:
        server, asked = subject.server, {}

        def talk():
            return [subject.standing[0].talk() for _ in range(requests)]

        talk()
        for what, do in ((f"{requests} requests", talk), ("an exercise", subject.exercise)):
            calls = sweep_faults.calls_of(server, do)
            asked[f"asked for in {what}"] = sum(calls.get(call, 0) for call in MEMORY.split(","))
        fault = sweep_faults.Fault(server, MEMORY, "ENOMEM", 1, True, partial, {})
        visits = [Visit(server, sweep_talk.asks_for_very_much, 2).go() for _ in range(2)]
        fault.lift()
        ended = server.process.wait() if server.has_ended() else None
        said = [line for line in server.log_lines() if "memory allocation of" in line]
        return {**asked, "refused": fault.hits, "clients": [visit.why for visit in visits],
                "exit status": ended, "last words": said[-1:]}
    finally:
        subject.end()


def sampled(rng, size):
    """A few runs of each server, of all calls."""
    def runs(subject):
        whole = list(plan(counts_of(subject), rng, samples=2))
        return rng.sample(whole, min(size, len(whole)))
    return runs


def whole(rng, samples):
    return lambda subject: plan(counts_of(subject), rng, samples)


def why_not():
    """Why this cannot be done here, or nothing."""
    if sys.platform != "linux" or not sweep_faults.IS_X86_64:
        return "it is made for Linux on x86-64"
    missing = [tool for tool in ("strace", "cc") if not shutil.which(tool)]
    return f"{' and '.join(missing)} is not there" if missing else ""


def run(args):
    if why := why_not():
        return servers.left_out("sweep", why)
    rng, results = random.Random(args.seed), {}
    names = args.servers or (["echo", "http"] if args.quick else SERVERS)
    names = [name for name in names if name in SERVERS and servers.there(name)]
    runs = sampled(rng, 10) if args.quick else whole(rng, SAMPLES)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(16) as pool:
        partial = common.compiled(HERE / "partial.c", folder)
        for name in names:
            results[name] = result = fresh()
            sweep(name, runs, pool, partial, result)
            rows = rows_of(name, result, args.quick)
            common.show(f"the N-th call sweep of {name}, seed {args.seed}", rows)
            if not args.quick:
                result["memory"] = memory(name, pool, partial)
                print(f"  {name}: memory: {result['memory']}")
        for name in names:
            if name not in ("greet", "chat"):
                size = 1 << 10 if args.quick else STREAM
                results[name]["stream"] = stream(name, size, args.seed, partial)
                print(f"  {name}: a stream in pieces: {results[name]['stream']}")
    if not args.quick and not args.servers:
        total = sum(result["runs"] for result in results.values())
        rows = [("runs in all", str(total), f"{RUNS_MIN}", total >= RUNS_MIN)]
        common.show("the N-th call sweep", rows)
    return results
