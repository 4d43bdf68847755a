"""The servers that are attacked: charkh's own, and those that people would run instead.

Each is started by [`serving`] at a free port, with one worker, without a log of accesses, and is gone
with the block. What is not installed is skipped by whoever asks [`there`].
"""
import contextlib
import fcntl
import os
import pathlib
import resource
import select
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import common  # noqa: E402

CHARKH = common.CHARKH
EXAMPLES = pathlib.Path(CHARKH).parent / "examples"
HOST = "127.0.0.1"
BODY = "Hello, wheel!"
PATIENCE_S = 30  # whoever waits longer has failed

NGINX = common.nginx_settings("""listen {host}:{port} backlog=4096{ssl};
        ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {dir}/cert.pem;
        ssl_certificate_key {dir}/cert.pem;
        location / {{ default_type text/plain; return 200 "{body}"; }}""", 16384, "error")
HAPROXY = """
global
    maxconn 9900
    nbthread 1
    log stderr format raw local0 warning
defaults
    mode http
    timeout client 60s
    timeout http-request 10s
    timeout server 60s
    timeout connect 5s
frontend f
    bind {host}:{port}
    http-request return status 200 content-type text/plain string "{body}"
"""
ASYNCIO = """
import asyncio
async def echo(reader, writer):
    while text := await reader.read(65536):
        writer.write(text)
        await writer.drain()
    writer.close()
async def main():
    await (await asyncio.start_server(echo, {host!r}, {port}, backlog=4096)).serve_forever()
asyncio.run(main())
"""
NODE_HTTP = """
require('http').createServer((_, answer) => answer.end({body!r})).listen({port}, {host!r}, 4096);
"""


def certificate(folder):
    """A certificate for trying out, and its key, in one file."""
    file = folder / "cert.pem"
    if not file.exists():
        common.certificate(folder)
        with file.open("a") as both:
            both.write((folder / "key.pem").read_text())
    return file


def charkh(protocol, tls=False):
    def command(folder, port):
        cert = ["--tls-cert", certificate(folder), "--tls-key", folder / "cert.pem"] if tls else []
        address = f"{'tls:' if tls else ''}{HOST}:{port}"
        return [CHARKH, "serve", "--protocol", protocol, address, *cert]
    return command


def example(name):
    return lambda _, port: [EXAMPLES / name, f"{HOST}:{port}"]


def from_file(text, name, command, **more):
    """A server with a file of settings."""
    def made(folder, port):
        file = folder / name
        if "ssl_certificate" in text:
            certificate(folder)
        file.write_text(text.format(dir=folder, host=HOST, port=port, body=BODY, **more))
        return [*(word.format(dir=folder) for word in command), file]
    return made


def redis(_, port):
    return ["redis-server", "--bind", HOST, "--port", port, "--save", "", "--appendonly", "no",
            "--protected-mode", "no", "--tcp-backlog", 4096]


def tokio(_, port):
    """It takes a port of its own, and prints it: see [`serving`]."""
    return [common.TARGET / "peers" / "release" / "tokio"]


# How each is started, and the first exchange that it understands.
HTTP = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ECHO = b"are you there?\n"
SERVERS = {
    "echo": (charkh("echo"), ECHO),
    "greet": (charkh("greet"), b"Hello Server!"),
    "chat": (charkh("chat"), None),
    "discard": (charkh("discard"), None),
    "tls": (charkh("echo", tls=True), ECHO),
    "http": (example("http"), HTTP),
    "redis": (example("redis"), b"PING\r\n"),
    "nginx": (from_file(NGINX, "conf", ["nginx", "-e", "{dir}/log", "-c"], ssl=""), HTTP),
    "nginx-tls": (from_file(NGINX, "conf", ["nginx", "-e", "{dir}/log", "-c"], ssl=" ssl"), HTTP),
    "haproxy": (from_file(HAPROXY, "conf", ["haproxy", "-db", "-f"]), HTTP),
    "redis-server": (redis, b"PING\r\n"),
    "node": (from_file(NODE_HTTP, "server.js", ["node"]), HTTP),
    "asyncio": (from_file(ASYNCIO, "server.py", ["python3"]), ECHO),
    "tokio": (tokio, ECHO),
}
TLS = {"tls", "nginx-tls"}
OURS = ["echo", "greet", "chat", "discard", "tls", "http", "redis"]


def there(name):
    """Whether it is installed; says so if it is not. One of ours that is not built ends the run: what
    is left out in silence is not attacked."""
    with tempfile.TemporaryDirectory() as folder:
        program = str(SERVERS[name][0](pathlib.Path(folder), 0)[0])
    if shutil.which(program):
        return True
    if name in OURS:
        sys.exit(f"{name}: {program} is not there: `cargo build --bins --examples` makes it")
    print(f"  {name}: {program} is not there, and is left out")
    return False


def left_out(what, why):
    """This attack cannot be made here: said, and the end of the run where CI is set."""
    if "CI" in os.environ:
        sys.exit(f"{what}: {why}, and it must run where CI is set")
    print(f"\n{what}: {why}; left out")
    return {"left out": why}


class Server:
    """A process that serves, seen from outside."""

    def __init__(self, name, process, port, log):
        self.name, self.process, self.port, self.log = name, process, port, log
        self.pid = process.pid

    def address(self):
        return HOST, self.port

    def connect(self, timeout_s=PATIENCE_S):
        """A client: through TLS where that is spoken. Blocking, with a timeout."""
        sock = socket.create_connection(self.address(), timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stranger().wrap_socket(sock) if self.name in TLS else sock

    def is_well(self, timeout_s=PATIENCE_S):
        """Whether a new client is served as it should be; why not, in words, or nothing."""
        request = SERVERS[self.name][1]
        try:
            with self.connect(timeout_s) as client:
                if request is None:
                    return ""
                client.sendall(request)
                heard = client.recv(4096)
        except OSError as e:
            return f"{type(e).__name__}: {e}"
        wanted = {ECHO: ECHO, HTTP: b"HTTP/1.1 200", b"PING\r\n": b"+PONG"}.get(request, b"Hello")
        return "" if heard.startswith(wanted) else f"it said {heard[:60]!r}"

    def has_ended(self):
        return self.process.poll() is not None

    def cpu_s(self):
        return common.cpu_s(self.pid)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident(self):
        """Bytes of memory that it has, and no other process shares."""
        return common.anonymous(self.pid)

    def log_size(self):
        """How many lines of log, which may be gigabytes that still grow."""
        lines, left = 0, self.log.stat().st_size
        with self.log.open("rb") as file:
            while left > 0 and (piece := file.read(min(left, 1 << 20))):
                left -= len(piece)
                lines += piece.count(b"\n")
        return lines

    def log_lines(self):
        return self.log.read_text(errors="replace").splitlines()


def stranger():
    """One who believes every certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def hello():
    """What a client of TLS says first."""
    said = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        stranger().wrap_bio(ssl.MemoryBIO(), said).do_handshake()
    return said.read()


@contextlib.contextmanager
def serving(name, *options, descriptors=None, cpus=None, port=None, env=None, wait=True,
            is_first=False):
    """A new process of this server, at a free port; ended by SIGKILL if it does not heed SIGTERM. One
    that `is_first` comes before all else on its processor, if that is allowed."""
    port = port or common.free_port(HOST)
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        folder = pathlib.Path(folder)
        command = [str(word) for word in [*SERVERS[name][0](folder, port), *options]]

        def place():
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
            if cpus:
                os.sched_setaffinity(0, cpus)

        turn = common.real_time() if is_first else contextlib.nullcontext()
        with (folder / "log").open("ab") as log, turn:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       preexec_fn=place, env={**os.environ, **(env or {})})
        server = Server(name, process, port, folder / "log")
        try:
            if name == "tokio":
                until("it says its port", lambda: server.log.read_text().endswith("\n"))
                server.port = int(server.log_lines()[-1])
            if wait:
                until(f"{name} serves", lambda: not server.is_well() or process.poll() is not None)
                if process.poll() is not None:
                    sys.exit(f"{name} does not start: {' '.join(server.log_lines())}")
            yield server
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def exit_of(process):
    """Its exit status, at the moment it ends: `Popen.wait` looks only every 50 ms."""
    watched = os.pidfd_open(process.pid)
    try:
        if select.select([watched], [], [], PATIENCE_S)[0]:
            return process.wait()
    finally:
        os.close(watched)
    process.kill()
    return "none: killed"


def until(what, true, patience_s=PATIENCE_S, look_s=0.002):
    """Wait for it, and return how many seconds that took."""
    begun = time.monotonic()
    while not true():
        if time.monotonic() - begun > patience_s:
            sys.exit(f"it never came true that {what}")
        time.sleep(look_s)
    return time.monotonic() - begun


def reset(sock):
    """Close it with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def unsent(sock):
    """Bytes that the other side has not taken yet (SIOCOUTQ)."""
    return struct.unpack("i", fcntl.ioctl(sock, 0x5411, b"\0" * 4))[0]


def more_descriptors():
    """As many as this process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
