"""One run of the sweep: a server, used as long as it is well; a fault; and what came of it."""
import concurrent.futures
import contextlib
import math
import pathlib
import re
import tempfile
import time

import servers
import sweep_faults
import sweep_talk
from sweep_talk import Client, Visit

ROUNDS_MAX = 8  # how often the exercise is repeated to come to a late call
PATIENCE_S = 30  # whoever waits longer hangs
WINDOW_S = 0.06  # how long a fault goes on that holds all up
LINES_A_SECOND = 10


class Standing:
    """Connected since before the fault."""

    def __init__(self, server):
        self.client = Client(server, PATIENCE_S)
        self.tongue, self.count = sweep_talk.TONGUES[server.name], 0
        self.tongue.begin(self.client)

    def talk(self):
        """Why it cannot, or nothing."""
        self.count += 1
        name = b"s%d." % self.client.port + b"%d." % self.count
        try:
            self.client.say(self.tongue.ask(name))
            self.tongue.hear(self.client, name)
        except sweep_talk.Wrong as e:
            return f"wrong: {e}"
        except TimeoutError:
            return "hang: no answer"
        except (OSError, EOFError) as e:
            return f"lost: {type(e).__name__}: {e}"
        return ""


class Subject:
    """A server, used from run to run as long as it is well."""

    def __init__(self, name, pool):
        self.name, self.pool = name, pool
        self.kinds = sweep_talk.kinds_for(name)
        self.stack, self.standing = contextlib.ExitStack(), []
        self.start()

    def end(self):
        for one in self.standing:
            one.client.close()  # or the server waits for them
        self.stack.close()

    def start(self):
        self.end()
        options = []
        if self.name == "http":
            folder = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
            (folder / "index.html").write_text(servers.BODY)
            (folder / "file").write_bytes(sweep_talk.Http.text)
            options = [folder]
        serving = servers.serving(self.name, *options)
        self.server = self.stack.enter_context(serving)
        self.standing = [Standing(self.server), Standing(self.server)]
        self.sockets = {}
        self.look_around()
        self.exercise()
        self.baseline = self.settled()
        self.logged = self.server.log.stat().st_size

    def look_around(self):
        wanted = {one.client.port for one in self.standing}
        if wanted <= set(self.sockets.values()):
            return
        self.sockets = sweep_faults.sockets_of(self.server, wanted)

    def settled(self, wanted=None):
        """How many descriptors there are, once that is as wanted; or the least of a while."""
        least, until = 1 << 30, time.monotonic() + (0.1 if wanted is None else PATIENCE_S)
        while time.monotonic() < until and not self.server.has_ended():
            least = min(least, self.server.descriptors())
            if wanted is not None and least <= wanted:
                break
            time.sleep(0.001)
        return least

    def begin(self, rounds):
        """Clients of each kind, each kind `rounds` of them in a row."""
        self.is_over = False

        def come(kind):
            visits = []
            for _ in range(rounds):
                if self.is_over:
                    break
                visits.append(Visit(self.server, kind, PATIENCE_S).go())
            return visits

        def stay():
            for _ in range(rounds):
                if why := self.standing[0].talk():
                    return why
            return ""

        self.steady = self.pool.submit(stay)
        self.coming = [self.pool.submit(come, kind) for kind in self.kinds]

    def wait(self, timeout_s):
        everybody = [self.steady, *self.coming]
        return not concurrent.futures.wait(everybody, timeout_s).not_done

    def exercise(self, rounds=1):
        self.begin(rounds)
        self.wait(PATIENCE_S)
        return [visit for coming in self.coming for visit in coming.result()]

    def log_since(self):
        with self.server.log.open("rb") as log:
            log.seek(self.logged)
            text = log.read()
        self.logged += len(text)
        return text.decode(errors="replace")


class Run:
    """One fault, and what came of it: `problems` as (verdict, words)."""

    def __init__(self, subject, call, error, when, goes_on, rounds, partial):
        self.problems, self.back_s = [], None
        self.call, self.handshakes = call, 0
        server = subject.server
        began = time.monotonic()
        fault = sweep_faults.Fault(server, call, error, when, goes_on, partial, subject.sockets)
        subject.begin(rounds)
        if not subject.wait(WINDOW_S if goes_on else PATIENCE_S) and not goes_on:
            self.problem("hang", "somebody waits, and the fault was once")
        subject.is_over = True
        fault.lift()
        self.hits, self.ports = fault.hits, fault.ports
        self.see_whether_it_is_back(subject)
        if not subject.wait(2 * PATIENCE_S):
            self.problem("hang", "somebody waits after the fault")
        self.judge_clients(subject)
        self.judge_server(subject, time.monotonic() - began)

    def problem(self, verdict, words):
        self.problems.append((verdict, words))

    def see_whether_it_is_back(self, subject):
        begun = time.monotonic()
        visit = Visit(subject.server, sweep_talk.talks, PATIENCE_S).go()
        self.back_s = time.monotonic() - begun
        if visit.why:
            self.problem("hang" if "hang" in visit.why else "harmed", f"after it: {visit.why}")

    def may_be_lost(self, port, kind=None):
        hit_a_file = kind is sweep_talk.wants_a_file and self.call in sweep_faults.OF_FILES
        if kind and self.call in sweep_faults.OF_HANDSHAKES:
            self.handshakes += 1
            return self.handshakes <= self.hits
        return port in self.ports or hit_a_file

    def judge(self, who, port, why, kind=None):
        verdict = why.split(":")[0]
        if verdict == "lost":
            verdict = "" if self.may_be_lost(port, kind) else "harmed"
        if verdict:
            self.problem(verdict, f"{who}: {why}")

    def judge_clients(self, subject):
        for coming in subject.coming:
            for visit in coming.result(PATIENCE_S) if coming.done() else []:
                self.judge(visit.kind.__name__, visit.port, visit.why, visit.kind)
        if subject.steady.done():
            self.judge("the steady one", subject.standing[0].client.port, subject.steady.result())
        for n, one in enumerate(subject.standing):
            was_lost = n == 0 and subject.steady.done() and subject.steady.result()
            why = "" if was_lost else one.talk()
            if n == 1:
                self.judge("the idle one", one.client.port, why)
            if was_lost or why:
                one.client.close()
                with contextlib.suppress(OSError, EOFError, sweep_talk.Wrong):
                    subject.standing[n] = Standing(subject.server)
        subject.look_around()

    def judge_server(self, subject, took_s):
        server = subject.server
        left = subject.settled(subject.baseline)
        text = subject.log_since()
        if server.has_ended():
            self.problem("exit", f"status {server.process.returncode}: {text[-300:]}")
        elif left > subject.baseline:
            self.problem("leak", f"{left} descriptors, and {subject.baseline} before")
        subject.baseline = min(left, subject.baseline)
        if "panicked" in text:
            self.problem("panic", text[:300])
        causes = {}
        for line in text.splitlines():
            cause = re.sub(r"v?\d+", "#", line)
            causes[cause] = causes.get(cause, 0) + 1
        if causes and max(causes.values()) > LINES_A_SECOND * (math.ceil(took_s) + 1):
            self.problem("log", f"{max(causes.values())} lines: {max(causes, key=causes.get)}")
