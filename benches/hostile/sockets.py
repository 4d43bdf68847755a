#!/usr/bin/env python3
"""Which connections a server has, as the kernel sees it: for servers that tell nothing of it.

As a program, with a process and a port, it looks every 20 ms and says who has come and who has
gone. It is a process of its own, for whoever measures may be busy. It looks at the descriptors of
the server, for the kernel's table of connections is slow to read: that is only asked whose a new
one is.
"""
import contextlib
import os
import subprocess
import sys
import threading
import time

LOOK_S = 0.02
# Whoever looks so rarely is kept from it by others on the machine, and so is the server.
STILL_S = 0.05


class Sockets:
    """What is seen of a server's connections within a block: by the ports of clients, or if these
    do not matter by numbers."""

    def __init__(self, server, by_port=False):
        self.command = [sys.executable, __file__, str(server.pid)]
        self.command += [str(server.port)] * by_port
        self.since, self.longest = {}, 0.0
        # When each was seen for the last time, and when it was missed for the first.
        self.seen, self.missed = {}, {}
        self.stills = []  # from when to when nobody looked

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()  # from here on nobody comes unseen
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
            what, name, *times = line.split()
            name, times = int(name), [float(text) for text in times]
            if what == "still":
                self.stills.append(times)
            elif what == "came":
                self.since[name] = times[0]
            else:
                self.seen[name], self.missed[name] = times
                self.longest = max(self.longest, times[0] - self.since.pop(name))

    def late_s(self, name, due):
        """How long after `due` it was seen, without the time in which the machine stood still."""
        seen = self.seen[name]
        stood = sum(max(0, min(end, seen) - max(begin, due)) for begin, end in self.stills)
        return seen - due - stood

    def oldest_s(self):
        """How long the longest of all lasted, or has lasted, as far as it was seen."""
        at = time.monotonic()
        return max([self.longest, *(at - began for began in list(self.since.values()))])


def sockets_of(pid):
    """Of all kinds, as the inodes that they are."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    return found


def clients_of(pid, port):
    """The ports of those that are connected, by their inodes."""
    ports = {}
    with open(f"/proc/{pid}/net/tcp") as table:
        next(table)
        for line in table:
            _, local, remote, _, _, _, _, _, _, inode, *_ = line.split()
            if int(local.split(":")[1], 16) == port and not remote.endswith(":0000"):
                ports[int(inode)] = int(remote.split(":")[1], 16)
    return ports


def watch(pid, port=None):
    known, names, last = sockets_of(pid), {}, 0.0  # no connections, to begin with
    print("ready", flush=True)
    while True:
        before = time.monotonic()  # who is seen was there
        found = sockets_of(pid)
        after = time.monotonic()  # who is not seen is gone
        if last and after - last > STILL_S:
            print("still", 0, last, after)
        if new := found - known:
            ports = clients_of(pid, port) if port else {inode: inode for inode in new}
            for inode in new & ports.keys():
                names[inode] = ports[inode]
                print("came", names[inode], before)
        for inode in known - found:
            if inode in names:
                print("went", names.pop(inode), last, after)
        sys.stdout.flush()
        known, last = found, before
        time.sleep(LOOK_S)


if __name__ == "__main__":
    try:
        watch(*map(int, sys.argv[1:]))
    except (FileNotFoundError, ProcessLookupError, BrokenPipeError):
        pass  # the server, or whoever asked, has ended
