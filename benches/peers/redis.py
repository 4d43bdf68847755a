#!/usr/bin/env python3
"""redis-server as it comes, but for its files, at a port that is free. The port is printed when
somebody answers there, as the others do it; the process becomes the server's."""
import os
import socket
import sys
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)


port = free_port()
if os.fork() == 0:
    wait_for(port)
    print(port, flush=True)
    sys.exit()
os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
os.execvp("redis-server", ["redis-server", "--port", str(port), "--bind", "127.0.0.1",
                           "--maxclients", "15000", "--save", "", "--appendonly", "no"])
