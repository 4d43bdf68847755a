"""Which system calls may fail how, and who makes them fail in a process that runs.

The errors are those that the man page of each call names (section 2; Debian's manpages-dev 6.03),
those of tcp(7) and ip(7) for sockets, and EINTR and EIO where a page leaves them to the file.
"""
import contextlib
import errno
import os
import pathlib
import platform
import re
import signal
import subprocess
import tempfile

from servers import common
from sockets import clients_of

SOCKET = "EBADF EFAULT EINTR EINVAL ENOTSOCK"
NETWORK = "ECONNREFUSED ECONNRESET EHOSTUNREACH ENETDOWN ENETRESET ENETUNREACH ETIMEDOUT"
RECEIVE = f"EAGAIN {SOCKET} {NETWORK} EIO ENOBUFS ENOMEM ENOTCONN"
SEND = (f"EACCES EAGAIN EALREADY {SOCKET} {NETWORK} EDESTADDRREQ EISCONN EMSGSIZE ENOBUFS ENOMEM "
        "ENOTCONN EOPNOTSUPP EPIPE")
OPTION = "EBADF EFAULT EINVAL ENOBUFS ENOMEM ENOPROTOOPT ENOTSOCK"
OPEN = ("EACCES EAGAIN EBADF EBUSY EFAULT EINTR EINVAL EIO ELOOP EMFILE ENAMETOOLONG ENFILE ENODEV "
        "ENOENT ENOMEM ENOTDIR ENXIO EOPNOTSUPP EOVERFLOW EPERM ETXTBSY EXDEV")
STAT = "EACCES EBADF EFAULT EINVAL ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR EOVERFLOW"
WRITE = ("EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EPERM EPIPE")
FUTEX = "EACCES EAGAIN EFAULT EINTR EINVAL ENOSYS EPERM ETIMEDOUT"
ERRORS = {
    "accept4": f"EAGAIN {SOCKET} ECONNABORTED EHOSTDOWN EHOSTUNREACH EMFILE ENETDOWN ENETUNREACH "
               "ENFILE ENOBUFS ENOMEM ENONET ENOPROTOOPT EOPNOTSUPP EPERM EPROTO",
    "epoll_wait": "EBADF EFAULT EINTR EINVAL",
    "epoll_pwait": "EBADF EFAULT EINTR EINVAL",
    "epoll_ctl": "EBADF EEXIST EINVAL ELOOP ENOENT ENOMEM ENOSPC EPERM",
    "recvfrom": RECEIVE, "recvmsg": RECEIVE, "sendto": SEND, "sendmsg": SEND,
    "read": "EAGAIN EBADF EFAULT EINTR EINVAL EIO EISDIR",
    "pread64": "EAGAIN EBADF EFAULT EINTR EINVAL EIO EISDIR ENXIO EOVERFLOW ESPIPE",
    "write": WRITE, "writev": WRITE,
    "close": "EBADF EDQUOT EINTR EIO ENOSPC",
    "shutdown": "EBADF EINVAL ENOTCONN ENOTSOCK",
    "setsockopt": OPTION, "getsockopt": OPTION,
    "getpeername": "EBADF EFAULT EINVAL ENOBUFS ENOTCONN ENOTSOCK",
    "openat": OPEN, "openat2": OPEN, "fstat": STAT, "newfstatat": STAT, "statx": STAT,
    "lseek": "EBADF EINVAL ENXIO EOVERFLOW ESPIPE",
    "futex": FUTEX,
    "mmap": "EACCES EAGAIN EINVAL ENFILE ENOMEM EOVERFLOW EPERM",
    "mremap": "EAGAIN EFAULT EINVAL ENOMEM",
    "munmap": "EINVAL ENOMEM",
    "mprotect": "EACCES EINVAL ENOMEM",
    "brk": "ENOMEM",
    "madvise": "EAGAIN EBADF EINVAL EIO ENOMEM EPERM",
    "getrandom": "EAGAIN EFAULT EINTR EINVAL ENOSYS",
}
# These only come back from a signal, or never fail.
# The last is the standard library's, in builds with assertions: it asks before it closes whether
# there is something to close, and ends the program if not.
UNFAILING = {"rt_sigreturn", "restart_syscall", "sched_yield", "getpid", "gettid", "fcntl"}
# Whoever wants a file is hit by what happens to it.
OF_FILES = {"openat", "openat2", "fstat", "newfstatat", "statx", "lseek", "read", "pread64"}
IS_X86_64 = platform.machine() == "x86_64"
LETS_GO_S = 10
# Of no descriptor, and yet somebody's: without it a handshake fails.
OF_HANDSHAKES = {"getrandom"}
# A thread's call, and which descriptor it is about: for epoll_ctl that is the third argument.
ENTRY = re.compile(r"\d+ +\w+\((\d+), (?:EPOLL_CTL_\w+, (\d+))?")
# What strace cannot do as a kernel does: partial.c says why.
EDGED = {"accept4", "recvfrom", "recvmsg", "sendto", "sendmsg"}


def keeps_a_promise(call, error):
    return call == "close" or error == "EAGAIN" and call in EDGED


class Fault:
    """From here to [`lift`] this call of that process fails: `when` is the number of the call, in
    each thread; only that one, or (`goes_on`) all from there. How many were hit is in `hits` after
    it, and the ports of the clients that these calls were about in `ports`; `standing` are the
    descriptors and ports of those that have been there before."""

    def __init__(self, server, call, error, when, goes_on, partial, standing):
        self.ports, self.hits, self.goes_on = set(), 0, goes_on
        self.standing = standing
        self.folder = tempfile.TemporaryDirectory(prefix="hostile-")
        self.says = pathlib.Path(self.folder.name) / "strace"
        self.is_ours = keeps_a_promise(call, error)
        if self.is_ours:
            command = [partial, server.pid, call, getattr(errno, error), when,
                       "on" if goes_on else "once"]
        else:
            # Not -yy, which says the ports, but looks at all sockets of the machine for them.
            command = ["strace", "-f", "-p", server.pid, "-e", f"trace=accept4,{call}",
                       "-o", self.says]
            for one in call.split(","):
                # brk has no errors: it says where the end is, and not where it was asked for.
                how = "retval=0" if one == "brk" else f"error={error}"
                command += ["-e", f"inject={one}:{how}:when={when}{'+' if goes_on else ''}"]
        self.tracer = common.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True)
        said = self.tracer.stdout.readline()
        if "attached" not in said:
            raise SystemExit(f"{command[0]} cannot watch {server.name}: {said}")

    def lift(self):
        self.tracer.send_signal(signal.SIGINT)
        try:
            said = self.tracer.communicate(timeout=LETS_GO_S)[0]
        except subprocess.TimeoutExpired:
            self.tracer.kill()  # one whose process has ended may wait for ever
            said = self.tracer.communicate()[0]
        if self.is_ours:
            self.hits = int(re.search(r"(\d+) told", said)[1])
        elif self.says.exists():
            self.read(self.says.read_text(errors="replace"))
        self.folder.cleanup()

    def read(self, text):
        ports, begun = dict(self.standing), {}
        for line in text.splitlines():
            thread = line.split(" ", 1)[0]
            if entry := ENTRY.match(line):
                begun[thread] = int(entry[2] or entry[1])
            if accepted := re.search(r"accept4.*htons\((\d+)\).* = (\d+)$", line):
                ports[int(accepted[2])] = int(accepted[1])
            # One that was to fail when strace let go may be told ENOSYS, by its doing.
            was_hit = "(INJECTED)" in line
            if was_hit or self.goes_on and "<detached" in line:
                self.hits += was_hit
                self.ports |= {ports[fd] for fd in [begun.get(thread)] if fd in ports}


def sockets_of(server, wanted):
    """The port of whoever is at the other end, by descriptor; these ports at least are wanted."""
    found = {}
    # Not all of the kernel's table is read at one time, and one that does not move may be missed.
    for _ in range(100):
        if wanted <= set(found.values()) or server.has_ended():
            break
        clients = clients_of(server.pid, server.port)
        ports = {f"socket:[{inode}]": port for inode, port in clients.items()}
        for fd in os.listdir(f"/proc/{server.pid}/fd"):
            with contextlib.suppress(OSError):
                to = os.readlink(f"/proc/{server.pid}/fd/{fd}")
                if ports.get(to) in wanted:
                    found[int(fd)] = ports[to]
    return found


def calls_of(server, exercise):
    """How often each call is made while this is done."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        says = os.path.join(folder, "strace")
        strace = common.start(["strace", "-f", "-p", server.pid, "-o", says],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        strace.stdout.readline()
        exercise()
        strace.send_signal(signal.SIGINT)
        strace.communicate()
        counts = {}
        for line in open(says, errors="replace"):
            # Not the second half of one that was unfinished.
            if found := re.match(r"\d+ +(\w+)\(", line):
                counts[found[1]] = counts.get(found[1], 0) + 1
    return counts
