"""Less memory than the machine has (case 68): a server in a memory cgroup, and clients that fill it.

It is told to use no more than a part of what the cgroup allows. Asked: it takes what it was told and
5 % more, beside the program itself, is not killed, and serves whoever is polite; the heaviest
connections end instead. As root.
"""
import contextlib
import os
import pathlib
import socket

import servers
from servers import common

MIB = 1 << 20
ALLOWED, TOLD = 64 * MIB, 32 * MIB
PROGRAM = 8 * MIB  # what it has before anybody comes
# Both versions of cgroups: where groups are made, the limit, and how many were killed.
PLACES = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control"),
          ("/sys/fs/cgroup", "memory.max", "memory.events")]


@contextlib.contextmanager
def cage(bytes_):
    """A cgroup that may have so much memory, or None where none can be made."""
    made = None
    for folder, limit, events in PLACES:
        group = pathlib.Path(folder) / f"charkh-hostile-{os.getpid()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            made = group
            (group / limit).write_text(str(bytes_))
            break
        if made:
            made.rmdir()
            made = None
    try:
        yield made and (made, events)
    finally:
        if made:
            servers.until("the cgroup is empty", lambda: not (made / "cgroup.procs").read_text())
            made.rmdir()


def killed(group, events):
    """How many processes the limit has killed."""
    lines = (group / events).read_text().splitlines()
    return int(dict(line.split() for line in lines)["oom_kill"])


def fill(server, clients):
    """Everyone sends, without reading, until no more is taken; how many the server has ended."""
    ended = 0
    for client in clients:
        try:
            while client.send(b"x" * 65536):
                pass
        except BlockingIOError:
            pass
        except OSError:
            ended += 1
    return ended


def run(args):
    count = 200 if args.quick else 2000
    with cage(ALLOWED) as caged:
        if not caged:
            return servers.left_out("cage", "no cgroup can be made")
        options = ["--memory-max", TOLD, "--output-high", "1MiB", "--write-stall", "off"]
        with servers.serving("echo", *options) as server:
            (caged[0] / "cgroup.procs").write_text(str(server.pid))
            clients = [socket.create_connection(server.address()) for _ in range(count)]
            for client in clients:
                client.setblocking(False)
            ended, most, polite = 0, 0, 0
            for _ in range(5):
                ended = max(ended, fill(server, clients))
                most = max(most, server.resident())
                polite += not server.is_well()
            kills = killed(*caged)
            lines = len(server.log_lines())
            for client in clients:
                client.close()
    bound = TOLD + TOLD // 20 + PROGRAM
    common.show(f"{count} clients that never read, and a cgroup of {ALLOWED // MIB} MiB", [
        ("killed by it", kills, 0, kills == 0),
        ("connections ended instead", ended, "some", ended > 0),
        (f"resident, told {TOLD // MIB} MiB", f"{most / MIB:.1f} MiB",
         f"{bound // MIB} MiB", most <= bound),
        ("polite clients served, of 5", polite, 5, polite == 5),
        ("lines in the log", lines, "< 40", lines < 40),
    ])
    return {"killed": kills, "ended": ended, "resident": most, "polite": polite, "lines": lines}
