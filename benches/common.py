"""What the programs that measure share: processes on chosen processors, and `charkh load`."""
import contextlib
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target"))
CHARKH = os.environ.get("CHARKH", str(TARGET / "release" / "charkh"))
CPUS = sorted(os.sched_getaffinity(0))
OURS, THEIRS = {CPUS[0]}, {CPUS[-1]}  # processors of generators, of servers

misses = []  # goals that were shown and not met


def show(title, rows):
    """A table of (what, figure, goal, whether it is met); goal None: for information."""
    print(f"\n{title}")
    for what, figure, goal, met in rows:
        verdict = "" if goal is None else f"goal {goal}: {'met' if met else 'MISSED'}"
        print(f"  {what:<44} {figure:>20}   {verdict}".rstrip())
        if goal is not None and not met:
            misses.append(what)
    sys.stdout.flush()


def start(command, cpus=None, nice=0, **options):
    """A process, on these processors; it gives way by as much as it is nice."""
    def place():
        if cpus is not None:
            os.sched_setaffinity(0, cpus)
        os.nice(nice)

    return subprocess.Popen([str(arg) for arg in command], preexec_fn=place, **options)


def finish(process):
    """Wait for it: its exit status, and the processor time it took, user and system."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def running(command, cpus=None, **options):
    """A process that is ended with the block."""
    process = start(command, cpus, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def port_of(server):
    """charkh says `listening on tcp 127.0.0.1:7000`, others the number alone."""
    return int(server.stdout.readline().rsplit(":", 1)[-1])


def free_port(host="127.0.0.1"):
    """One that nobody has at this moment, for servers that take no 0."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        return sock.getsockname()[1]


def compiled(source, folder):
    """The program in the folder that is made of a file in C."""
    program = pathlib.Path(folder) / source.stem
    if not program.exists():
        subprocess.run(["cc", "-O2", "-o", program, source], check=True)
    return program


def certificate(folder):
    """For trying out: ECDSA on P-256, in cert.pem, and its key in key.pem."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
                    "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
                   check=True, capture_output=True)


def nginx_settings(server, connections, log_level="crit"):
    """Of one process that speaks HTTP and keeps no log of accesses, with this as its server; a text
    to be formatted, in which `{dir}` is where its files go."""
    return f"""
daemon off; master_process off; worker_processes 1; pid {{dir}}/pid;
error_log {{dir}}/log {log_level};
events {{{{ worker_connections {connections}; }}}}
http {{{{
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path {{dir}}/body; proxy_temp_path {{dir}}/proxy;
    fastcgi_temp_path {{dir}}/fastcgi; uwsgi_temp_path {{dir}}/uwsgi; scgi_temp_path {{dir}}/scgi;
    server {{{{
        {server}
    }}}}
}}}}
"""


@contextlib.contextmanager
def real_time():
    """Whatever is started within the block comes before all else on its processor, if that is
    allowed; yields whether it is."""
    ours = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, *ours)


@contextlib.contextmanager
def awake():
    """Neither processor sleeps within the block: on each runs what gives way to all else. A virtual
    one that sleeps is woken when its host finds the time, and those look slow who have little to
    do."""
    with contextlib.ExitStack() as spinners:
        for cpu in OURS | THEIRS:
            spin = [sys.executable, "-c", "while True: pass"]
            spinner = spinners.enter_context(running(spin, {cpu}))
            os.sched_setscheduler(spinner.pid, os.SCHED_IDLE, os.sched_param(0))
        yield


@contextlib.contextmanager
def serving(protocol, cpus=None):
    """`charkh serve`: the process and its port."""
    command = [CHARKH, "serve", "--protocol", protocol, "127.0.0.1:0"]
    with running(command, cpus, stdout=subprocess.PIPE, text=True) as server:
        yield server, port_of(server)


def begin_load(port, *options, cpus=None, nice=0):
    """A `charkh load` under way, which [`end_load`] waits for."""
    file = tempfile.NamedTemporaryFile(suffix=".json")
    command = [CHARKH, "load", f"127.0.0.1:{port}", "--quiet", "--json", file.name, *options]
    return start(command, cpus, nice, stdout=subprocess.DEVNULL), file


def end_load(run):
    """Its results, with the exit status and the processor time as `status` and `cpu`."""
    process, file = run
    status, cpu = finish(process)
    with file:
        text = pathlib.Path(file.name).read_text()
    if not text:
        sys.exit(f"charkh load has failed with status {status}: {process.args}")
    return json.loads(text) | {"status": status, "cpu": cpu}


def load(port, *options, cpus=None):
    return end_load(begin_load(port, *options, cpus=cpus))


def band_end_ms(band):
    """Latencies in the series are counted in bands, four for each doubling of a microsecond."""
    return 250e-6 * ((band % 4 + 5) << band // 4)


def p99_us(part):
    """The p99 of a slice of the load's series, by a straight line within its band."""
    bands = sorted((int(band), count) for band, count in part["latency"].items())
    below, wanted = 0, 0.99 * sum(count for _, count in bands)
    for band, count in bands:
        if below + count >= wanted:
            break
        below += count
    begin, end = (1000 * band_end_ms(at) if at >= 0 else 0 for at in (band - 1, band))
    return begin + (end - begin) * (wanted - below) / count


def p99_of_slices_us(results):
    """The median of the p99 of each slice, a tenth of a second or more: where a host stands still
    for a hundredth of a whole run, the p99 of that tells of nothing else."""
    parts = results["series"]["slices"]
    return statistics.median(p99_us(part) for part in parts if part["latency"])


def cpu_s(pid):
    """Seconds of processor time of all its threads, to the nanosecond: its CPU-time clock."""
    return time.clock_gettime(~pid << 3 | 2)


def at_rest(pid, still_s=0.02):
    """Wait until a process takes no more processor time, for so long."""
    last = None
    while last != (now := cpu_s(pid)):
        last = now
        time.sleep(still_s)


def switches(pid):
    """How often it left a processor, by itself or not: each waking is one more."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return sum(int(count) for count in re.findall(r"voluntary_ctxt_switches:\s*(\d+)", text))


def anonymous(pid):
    """Bytes of memory that are the process's own; none once it has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Anonymous:"):
                return 1024 * int(line.split()[1])
    return 0
