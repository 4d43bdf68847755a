//! Python's `ssl`, which is OpenSSL with the reins in the hands of whoever writes ten lines.
use std::net::SocketAddr;

use super::{Files, check_echo, failures};
use crate::support::{Said, is_without, python, run};

/// What they have in common. `wire(n)` is a connection whose bytes a script moves itself, at most
/// `n` at once.
const COMMON: &str = r#"
import socket, ssl, sys, threading
HOST, PORT, CA = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl.create_default_context(cafile=CA)

def connect():
    stream = socket.create_connection((HOST, PORT), 30)
    return context.wrap_socket(stream, server_hostname="localhost")

def read(s, size):
    got = b""
    while len(got) < size:
        piece = s.recv(size - len(got))
        assert piece, "an end after %d bytes of %d" % (len(got), size)
        got += piece
    return got

class Wire:
    def __init__(self, most):
        self.most = most
        self.socket = socket.create_connection((HOST, PORT), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.come, self.go = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self.come, self.go, server_hostname="localhost")

    def until(self, step):
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self.flush()
                piece = self.socket.recv(self.most)
                if piece: self.come.write(piece)
                else: self.come.write_eof()
            else:
                self.flush()
                return result

    def flush(self):
        while self.go.pending:
            self.socket.sendall(self.go.read(self.most))
"#;

fn script(files: &Files, addr: SocketAddr, script: &str) -> Said {
    let (host, port, ca) = (addr.ip().to_string(), addr.port().to_string(), files.path("ca.pem"));
    let said = run(&mut python(&format!("{COMMON}{script}"), &[&host, &port, &ca]), b"");
    assert_eq!(said.code, 0, "{said:?}");
    said
}

#[test]
fn case_091_bytes_one_by_one_are_a_handshake_too() {
    if is_without("python3") {
        return;
    }
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    script(
        &files,
        addr,
        r#"
for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
    context.minimum_version = context.maximum_version = version
    wire = Wire(1)
    wire.until(wire.ssl.do_handshake)
    wire.until(lambda: wire.ssl.write(b"drop by drop"))
    assert wire.until(lambda: wire.ssl.read(100)) == b"drop by drop"
    wire.until(wire.ssl.unwrap)
"#,
    );
    assert_eq!(failures(&server.stop()), [""; 0]);
}

#[test]
fn case_100_each_half_ends_with_a_goodbye() {
    if is_without("python3") {
        return;
    }
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    script(
        &files,
        addr,
        r#"
with connect() as s:
    for byte in range(250):
        s.sendall(bytes([byte]))  # each is a record
    assert read(s, 250) == bytes(range(250))
    s.sendall(b"the last")
    assert read(s, 8) == b"the last"
    raw = s.unwrap()  # says goodbye, and waits for the other's
    assert raw.recv(1) == b""
"#,
    );
    check_echo(&files, addr);
    server.stop();
}

#[test]
fn case_097_an_end_without_a_goodbye_is_one_that_was_cut_short() {
    if is_without("python3") {
        return;
    }
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo --log-level debug");
    script(
        &files,
        addr,
        r#"
s = connect()
s.sendall(b"hello")
assert read(s, 5) == b"hello"
socket.socket.shutdown(s, socket.SHUT_WR)  # of the wire, and nothing of TLS
s.settimeout(30)
try:
    while s.recv(100): pass
except (ssl.SSLEOFError, ConnectionResetError, ssl.SSLError): pass
"#,
    );
    server.log().find("is over: fault: the TLS stream was cut short");
    check_echo(&files, addr);
    server.stop();
}

#[test]
fn both_directions_are_full_at_once() {
    if is_without("python3") {
        return;
    }
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    script(
        &files,
        addr,
        r#"
import select
everything = b"".join(n.to_bytes(4, "big") for n in range(2_000_000))
s = connect()
s.setblocking(False)
sent, got = 0, bytearray()
while len(got) < len(everything):
    wants = [s] if sent < len(everything) else []
    if not s.pending(): select.select([s], wants, [], 30)
    try:
        if wants: sent += s.send(everything[sent:sent + 50_000])
    except (ssl.SSLWantWriteError, ssl.SSLWantReadError): pass
    try:
        got += s.recv(1 << 16)
    except (ssl.SSLWantWriteError, ssl.SSLWantReadError): pass
assert got == everything
s.setblocking(True)
s.unwrap()
"#,
    );
    server.stop();
}

#[test]
fn a_hundred_at_once() {
    if is_without("python3") {
        return;
    }
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    script(
        &files,
        addr,
        r#"
ready, good = threading.Barrier(100), []

def talk(n):
    with connect() as s:
        ready.wait(30)
        for round in range(20):
            message = b"%d of %d, " % (round, n) * (1 + n * 7)
            s.sendall(message)
            assert read(s, len(message)) == message
        s.unwrap()
        good.append(n)

threads = [threading.Thread(target=talk, args=(n,)) for n in range(100)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(good) == 100, len(good)
"#,
    );
    assert_eq!(failures(&server.stop()), [""; 0]);
}
