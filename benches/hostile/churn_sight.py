"""What a server holds, and says of itself, as far as it can be seen."""
import signal
import socket
import time

import servers
from servers import common


class Sight:
    """A look at a server from outside. What is None, it does not tell."""

    def __init__(self, server):
        self.server = server
        self.words = self.answer = None
        self.asked = 0

    def resident(self):
        return self.server.resident()

    def first_look(self):
        """When nobody is there: whoever was has been seen to go."""
        common.at_rest(self.server.pid)
        servers.until("nobody is connected", lambda: not self.look()["connections"], look_s=0.05)
        return self.look()

    def look(self):
        """What should be as before when nobody is there: descriptors, connections, timers."""
        descriptors = self.server.descriptors()
        told = {"connections": None, "timers": None, "accepted": None}
        if self.server.name in {"echo", "tls", "greet", "chat", "discard"}:
            said = self.totals()
            told = {"connections": said["connections"], "timers": said["timers_armed"],
                    "accepted": said["accepts"]}
        elif self.server.name in {"redis", "redis-server"}:
            told = told | self.info()
        return {"descriptors": descriptors, **told}

    def totals(self):
        """What `charkh serve` prints when it is asked by a signal."""
        before = len(self.lines())
        self.server.process.send_signal(signal.SIGUSR1)
        servers.until("it says its totals", lambda: len(self.lines()) > before)
        words = self.lines()[-1].split(" ")
        return {name: int(value) for name, value in zip(words[::2], words[1::2])
                if value.isdigit()}

    def lines(self):
        text = self.server.log.read_text(errors="replace")
        return [line for line in text[:text.rfind("\n") + 1].splitlines()
                if line.startswith("seconds ")]

    def complaints(self):
        """Lines of log that nobody asked for."""
        return self.server.log_size() - len(self.lines())

    def info(self):
        """What Redis is asked; whoever asks is not counted."""
        with socket.create_connection(self.server.address(), servers.PATIENCE_S) as client:
            client.sendall(b"INFO\r\n")
            heard = b""
            while b"total_connections_received:" not in heard or not heard.endswith(b"\r\n"):
                heard += client.recv(65536)
        fields = dict(line.split(":", 1) for line in heard.decode().splitlines() if ":" in line)
        self.asked += 1
        return {"connections": int(fields["connected_clients"]) - 1,
                "accepted": int(fields["total_connections_received"]) - self.asked}

    def after_all_went(self, first):
        """A look when all is as at first; or, out of patience, as it is."""
        end = time.monotonic() + servers.PATIENCE_S
        while True:
            now = self.look()
            if not any(self.left(first, now).values()) or time.monotonic() > end:
                return now
            time.sleep(0.05)

    def left(self, first, last):
        """What is held now and was not at first."""
        counted = ["descriptors", "connections", "timers"]
        return {what: max(0, last[what] - first[what]) for what in counted
                if first[what] is not None}

    def sleeps(self):
        """It does not wake for a whole second, so no timer is armed. What the kernel or a thread
        of its own still has in hand may be done before."""
        end = time.monotonic() + servers.PATIENCE_S
        while time.monotonic() < end:
            before = common.switches(self.server.pid)
            time.sleep(1)
            if common.switches(self.server.pid) == before:
                return True
        return False

    def manners(self):
        """What a client says, what the answer begins with, and how long that is."""
        if self.words is None:
            self.words = servers.hello() if self.server.name in servers.TLS else \
                servers.SERVERS[self.server.name][1]
            self.answer = self.listen()
        return self.words, *self.answer

    def listen(self):
        if self.server.name in servers.TLS:
            return b"\x16\x03", 2  # a record of a handshake, whose rest is another each time
        with self.server.connect() as client:
            client.sendall(self.words)
            heard = client.recv(65536)
            client.settimeout(0.2)
            try:
                while more := client.recv(65536):
                    heard += more
            except TimeoutError:
                pass
        # A date may be another, later on.
        return heard if self.words != servers.HTTP else heard[:12], len(heard)
