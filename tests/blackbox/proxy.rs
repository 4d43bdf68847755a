//! Behind a balancer: HAProxy in front, with each kind of header that it sends; and headers written
//! by hand, as a stranger would.
use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::{self, Child, Command, Stdio},
};

use crate::support::{
    BINARY, Running, Said, Server, address_in, charkh, connect_from, ends_well, has_ipv6,
    is_silent, is_without, python, read, run, until,
};

const BEHIND: &str = "--proxy-protocol --proxy-from 127.0.0.1";

/// HAProxy, in front of one server.
struct Balancer {
    child: Child,
    addr: SocketAddr,
    folder: PathBuf,
}

impl Balancer {
    /// Listens at a free port of this host, and sends on to `server`, both as these words say.
    fn new(name: &str, host: &str, bind: &str, server: SocketAddr, options: &str) -> Self {
        // Where paths are short: that of a socket may have 107 bytes.
        let folder = env::temp_dir().join(format!("charkh-{name}-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let listener = TcpListener::bind((host, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let config = format!(
            "global\n stats socket {folder}/stats\n maxconn 100\n\
             defaults\n mode tcp\n timeout connect 30s\n timeout client 30s\n timeout server 30s\n\
             frontend clients\n bind fd@0 {bind}\n unique-id-format %ci-%cp\n\
             default_backend servers\n\
             backend servers\n option tcp-check\n tcp-check send Health\n\
             tcp-check expect string Client!\n server one {server} {options}\n",
            folder = folder.display()
        );
        let path = folder.join("haproxy.cfg");
        fs::write(&path, config).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        // It is given the socket, so that the port is nobody else's from the beginning.
        let child = Command::new("haproxy")
            .args(["-db".as_ref(), "-f".as_ref(), path.as_os_str()])
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, addr, folder }
    }

    /// What it says of the server's health.
    fn health(&self) -> Option<String> {
        let mut stats = UnixStream::connect(self.folder.join("stats")).ok()?;
        stats.write_all(b"show stat\n").ok()?;
        let mut text = String::new();
        stats.read_to_string(&mut text).ok()?;
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next()?.split(',').collect();
        let place = names.iter().position(|&name| name == "check_status")?;
        let line = lines.find(|line| line.starts_with("servers,one,"))?;
        line.split(',').nth(place).map(String::from)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        println!("{log}"); // shown if the test fails
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Says hello, and is greeted.
fn is_greeted(client: &mut TcpStream) {
    client.write_all(b"Hello Server!").unwrap();
    assert_eq!(read(client, 13), b"Hello Client!");
}

fn established(client: impl std::fmt::Display) -> String {
    format!("Connection from {client} has been established!")
}

#[test]
fn case_116_behind_haproxy_the_client_is_the_true_one() {
    if is_without("haproxy") {
        return;
    }
    for (name, options) in [
        ("haproxy-v1", "send-proxy"),
        ("haproxy-v2", "send-proxy-v2"),
        // With a checksum, which has to be right.
        ("haproxy-v2-fields", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"),
    ] {
        let server = Server::new(BEHIND);
        let balancer = Balancer::new(name, "127.0.0.1", "", server.addr, options);
        for from in ["127.0.0.1", "127.0.0.5", "127.9.9.9"] {
            let mut client = connect_from(from, balancer.addr, 0);
            is_greeted(&mut client);
            server.log().find(&established(client.local_addr().unwrap()));
        }
        let log = server.stop();
        assert!(!log.iter().any(|line| line.contains("no handshake")), "{log:#?}");
    }
}

#[test]
fn case_116_behind_haproxy_a_client_may_have_ipv6() {
    if is_without("haproxy") || !has_ipv6() {
        return;
    }
    for (name, options) in [("haproxy6-v1", "send-proxy"), ("haproxy6-v2", "send-proxy-v2")] {
        let server = Server::new(BEHIND);
        let balancer = Balancer::new(name, "::1", "", server.addr, options);
        let mut client = connect_from("[::1]", balancer.addr, 0);
        is_greeted(&mut client);
        server.log().find(&established(client.local_addr().unwrap()));
        drop(client);
        server.stop();
    }
}

/// The header comes first, and TLS after it, from the client itself.
#[test]
fn behind_haproxy_tls_may_be_spoken() {
    if is_without("haproxy") {
        return;
    }
    let mut command = Command::new(BINARY);
    command.args(["serve", "tls:127.0.0.1:0", "--tls-self-signed"]).args(BEHIND.split(' '));
    let running = Running::new(command.env_remove("RUST_LOG"));
    let addr = address_in(&running.stdout.find("listening on tls "));
    let balancer = Balancer::new("haproxy-tls", "127.0.0.1", "accept-proxy", addr, "send-proxy-v2");
    for client in ["192.0.2.7:5001", "[2001:db8::7]:5003"] {
        let to = format!("tls:{}", balancer.addr);
        let options = ["--insecure", "--proxy-header", "v2", "--proxy-client", client];
        greeted(&[&["send", "--to", &to][..], &options].concat());
        running.stderr.find(&established(client));
    }
}

/// They are HAProxy's own connections, `LOCAL` and `UNKNOWN`; no limit of a client counts them.
#[test]
fn case_117_haproxys_health_checks_are_answered() {
    if is_without("haproxy") {
        return;
    }
    for (name, options) in
        [("haproxy-check-v1", "send-proxy"), ("haproxy-check-v2", "send-proxy-v2")]
    {
        let server = Server::new(&format!("{BEHIND} --max-per-ip 1"));
        let options = format!("{options} check inter 10ms fall 1");
        let balancer = Balancer::new(name, "127.0.0.1", "", server.addr, &options);
        until("the check is passed", || balancer.health().filter(|health| health == "L7OK"));
        let mut clients: Vec<_> =
            ["127.0.0.5", "127.0.0.6"].map(|from| connect_from(from, balancer.addr, 0)).into();
        clients.iter_mut().for_each(is_greeted);
        // The second of one client is too many.
        assert!(ends_well(&mut connect_from("127.0.0.5", balancer.addr, 0)));
        clients.iter_mut().for_each(is_greeted);
        assert_eq!(balancer.health().as_deref(), Some("L7OK"));
        drop((clients, balancer));
        let log = server.stop();
        assert!(log.iter().any(|line| line.contains("too many connections from 127.0.0.5")));
        assert!(!log.iter().any(|line| line.contains("no PROXY header")), "{log:#?}");
    }
}

/// HAProxy reads it, and sends it on.
#[test]
fn what_send_says_of_its_client_is_understood_by_haproxy() {
    if is_without("haproxy") {
        return;
    }
    let server = Server::new(BEHIND);
    let balancer =
        Balancer::new("haproxy-accept", "127.0.0.1", "accept-proxy", server.addr, "send-proxy-v2");
    let to = balancer.addr.to_string();
    for (version, client) in
        [("v1", "192.0.2.7:5001"), ("v2", "192.0.2.7:5002"), ("v2", "[2001:db8::7]:5003")]
    {
        let args = ["send", "--to", &to, "--proxy-header", version, "--proxy-client", client];
        assert_eq!(greeted(&args), "");
        server.log().find(&established(client));
    }
    server.stop();
}

/// What `charkh send` complains of, if it is greeted.
fn greeted(args: &[&str]) -> String {
    let said = charkh(&[args, &["Hello Server!"]].concat());
    assert_eq!(String::from_utf8_lossy(&said.stdout), "Received from server: Hello Client!\n");
    said.stderr
}

#[test]
fn send_says_for_whom_it_speaks() {
    let server = Server::new(BEHIND);
    let to = server.addr.to_string();
    let client = "[2001:db8::7]:5003";
    for version in ["v1", "v2"] {
        let args = ["send", "--to", &to, "--proxy-header", version];
        assert_eq!(greeted(&args), "");
        assert_eq!(greeted(&[&args[..], &["--proxy-client", client]].concat()), "");
        server.log().find(&established(client));
    }
    // Without one it is closed.
    let said = charkh(&["send", "--to", &to, "Hello Server!"]);
    assert!(said.code == 1 && said.stdout.is_empty(), "{said:?}");
    server.log().find("no PROXY header came first");
    let said = charkh(&["send", "--to", &to, "--proxy-client", client, "hello"]);
    assert!(said.code == 2 && said.stderr.contains("--proxy-header"), "{said:?}");
    server.stop();
}

/// From each address of a list, these bytes, one at a time; what comes back is shown.
const BYTE_BY_BYTE: &str = r#"
import socket, sys
for source in sys.argv[2:]:
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), source_address=(source, 0))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for byte in b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\nHello Server!":
            s.send(bytes([byte]))
        print(source, s.recv(13, socket.MSG_WAITALL).decode())
    except OSError:
        print(source)
"#;

#[test]
fn case_117_a_header_may_come_byte_by_byte() {
    if is_without("python3") {
        return;
    }
    let server = Server::new(&format!("{BEHIND} --proxy-from 127.0.1.0/24,::1 --protocol echo"));
    let port = server.addr.port().to_string();
    let sources = ["127.0.0.1", "127.0.1.77", "127.0.0.2"];
    let said = run(&mut python(BYTE_BY_BYTE, &[&[&*port], &sources[..]].concat()), b"");
    let lines = String::from_utf8_lossy(&said.stdout).replace(" \n", "\n");
    let expected = "127.0.0.1 Hello Server!\n127.0.1.77 Hello Server!\n127.0.0.2\n";
    assert_eq!((&*lines, &*said.stderr), (expected, ""));
    let log = server.stop();
    let refused = |line: &&String| {
        line.contains("refused a connection from 127.0.0.2:")
            && line.ends_with(": it is not a trusted proxy")
    };
    assert_eq!(log.iter().filter(refused).count(), 1, "{log:#?}");
}

/// At both of its addresses, as everywhere.
#[test]
fn case_116_strangers_are_refused_whatever_they_say() {
    let mut command = Command::new(BINARY);
    command.args(["serve", "127.0.0.1:0", "127.0.0.1:0"]).args(BEHIND.split(' '));
    let server = Server::from(&mut command);
    let lines = until("both listen", || {
        let lines = server.running.stdout.so_far();
        (lines.len() == 2).then_some(lines)
    });
    for line in lines {
        let addr = address_in(&line);
        for first in [&b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nHello"[..], b"Hello", b""] {
            let mut stranger = connect_from("127.0.0.2", addr, 0);
            // It may be closed by now.
            let _ = stranger.write_all(first);
            let mut answer = Vec::new();
            let _ = stranger.read_to_end(&mut answer);
            assert_eq!(answer, b"");
        }
        is_greeted(&mut with_header(addr, b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n"));
    }
    server.running.signal("USR1");
    let totals = server.running.stdout.find("accepts 2 ");
    assert!(totals.contains(" refused_by_layer 6"), "{totals}");
    server.log().find(&established("203.0.113.7:51000"));
    let log = server.stop();
    assert!(!log.iter().any(|line| line.contains("Connection from 127.0.0")), "{log:#?}");
}

fn with_header(addr: SocketAddr, header: &[u8]) -> TcpStream {
    let mut client = crate::support::connect(addr);
    client.write_all(header).unwrap();
    client
}

#[test]
fn case_117_whoever_sends_no_header_is_closed_in_time() {
    let server = Server::new(&format!("{BEHIND} --handshake-timeout 1s --proxy-header-max 300"));
    let mut silent = server.connect();
    let mut slow = with_header(server.addr, b"PROXY TCP4 203.0.113.7 ");
    let mut large = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 100]].concat();
    let mut wrong = with_header(server.addr, &large);
    ends(&mut wrong);
    server.log().find("a PROXY header of 65551 bytes, where 300 may be");
    large[14..16].copy_from_slice(&284_u16.to_be_bytes());
    let mut waiting = with_header(server.addr, &large);
    assert!(is_silent(&waiting));
    [&mut silent, &mut slow, &mut waiting].into_iter().for_each(ends);
    is_greeted(&mut with_header(server.addr, b"PROXY UNKNOWN\r\n"));
    server.running.signal("USR1");
    let totals = server.running.stdout.find("accepts 5 ");
    assert!(totals.contains(" handshakes_failed 4 "), "{totals}");
    assert!(totals.contains(" ended_handshake 3"), "{totals}");
    server.stop();
}

/// Well or with a reset: what it had sent may be unread.
fn ends(client: &mut TcpStream) {
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    assert_eq!(answer, b"");
}

#[test]
fn options_that_believe_nobody_or_nothing_are_refused() {
    let complains = |said: Said, code: i32, part: &str| {
        assert_eq!((said.code, said.stdout.len()), (code, 0), "{said:?}");
        assert!(said.stderr.lines().next().unwrap().contains(part), "{said:?}");
    };
    let serve = |options: &str| {
        let options: Vec<&str> = options.split(' ').collect();
        charkh(&[&["serve", "127.0.0.1:0"], &options[..]].concat())
    };
    complains(serve("--proxy-protocol"), 1, "charkh: --proxy-protocol needs --proxy-from: say");
    complains(serve("--proxy-from 10.0.0.0/8"), 2, "required arguments");
    for (networks, part) in [
        ("localhost", "\"localhost\" is no network: write 10.0.0.0/8"),
        ("10.0.0.0/8,10.0.0.1/33", "\"10.0.0.1/33\" is no network"),
        ("10.1.2.3/8", "write 10.0.0.0/8"),
        ("10.0.0.0/8,", "\"\" is no network"),
    ] {
        let said = serve(&format!("--proxy-protocol --proxy-from {networks}"));
        complains(said, 2, part);
    }
    // Who comes by another way would need no header.
    for address in ["unix:guarded.sock", "udp:127.0.0.1:0"] {
        let said = serve(&format!("{address} --proxy-protocol --proxy-from 10.0.0.0/8"));
        complains(said, 1, &format!("cannot listen on {address}: --proxy-protocol is for TCP"));
    }
}
