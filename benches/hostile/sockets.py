#!/usr/bin/env python3
"""Which connections a server has, as the kernel sees it: for servers that tell nothing of it.

As a program, with a process and a port, it looks every 20 ms and says who has come and who has gone.
It is a process of its own, before all else on its processor where that is allowed: whoever measures
may be busy.
"""
import subprocess
import sys
import threading
import time

LOOK_S = 0.02


class Sockets:
    """What is seen of a server's connections within a block, by the ports of clients."""

    def __init__(self, server):
        self.command = [sys.executable, __file__, str(server.pid), str(server.port)]
        self.since, self.longest = {}, 0.0
        # When each was seen for the last time, and when it was missed for the first.
        self.seen, self.missed = {}, {}

    def __enter__(self):
        import servers
        with servers.common.real_time():
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.listen, name="sockets")
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()

    def listen(self):
        for line in self.process.stdout:
            what, port, *times = line.split()
            port, times = int(port), [float(text) for text in times]
            if what == "came":
                self.since[port] = times[0]
            else:
                self.seen[port], self.missed[port] = times
                self.longest = max(self.longest, times[0] - self.since.pop(port))

    def oldest_s(self):
        """How long the longest of all lasted, or has lasted, as far as it was seen."""
        at = time.monotonic()
        return max([self.longest, *(at - began for began in list(self.since.values()))])


def nobody_is_there(server):
    return not look(server.pid, server.port)


def look(pid, port):
    """Those that a process has. What it has closed, and the kernel still sends, is nobody's."""
    found = set()
    with open(f"/proc/{pid}/net/tcp") as table:
        next(table)
        for line in table:
            _, local, remote, state, _, _, _, _, _, inode, *_ = line.split()
            is_ours = int(local.split(":")[1], 16) == port
            if is_ours and state != "0A" and inode != "0":
                found.add(int(remote.split(":")[1], 16))
    return found


def watch(pid, port):
    there, last = set(), 0.0
    while True:
        before = time.monotonic()  # who is seen was there
        found = look(pid, port)
        after = time.monotonic()  # who is not seen is gone
        for client in found - there:
            print("came", client, before)
        for client in there - found:
            print("went", client, last, after)
        sys.stdout.flush()
        there, last = found, before
        time.sleep(LOOK_S)


if __name__ == "__main__":
    try:
        watch(int(sys.argv[1]), int(sys.argv[2]))
    except (FileNotFoundError, ProcessLookupError, BrokenPipeError):
        pass  # the server, or whoever asked, has ended
