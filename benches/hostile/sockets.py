"""Which connections a server has, as the kernel sees it: for servers that tell nothing of it."""
import threading
import time

LOOK_S = 0.02


class Sockets:
    """Looks at them every 20 ms, within a block. By the ports of clients."""

    def __init__(self, server):
        self.table, self.port = f"/proc/{server.pid}/net/tcp", server.port
        self.since, self.ended, self.longest = {}, {}, 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, name="sockets")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def now(self):
        """Those that a process has. What it has closed, and the kernel still sends, is not."""
        found = set()
        with open(self.table) as table:
            next(table)
            for line in table:
                _, local, remote, state, _, _, _, _, _, inode, *_ = line.split()
                is_ours = int(local.split(":")[1], 16) == self.port
                if is_ours and state != "0A" and inode != "0":
                    found.add(int(remote.split(":")[1], 16))
        return found

    def watch(self):
        while not self.over.wait(LOOK_S):
            found, at = self.now(), time.monotonic()
            for port in self.since.keys() - found:
                self.longest = max(self.longest, at - self.since.pop(port))
                self.ended[port] = at
            for port in found - self.since.keys():
                self.since[port] = at
                self.ended.pop(port, None)

    def oldest_s(self):
        """How long the longest of all lasted, or has lasted."""
        at = time.monotonic()
        return max([self.longest, *(at - began for began in list(self.since.values()))])
