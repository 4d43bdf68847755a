//! Datagrams, from the clients that everybody has, and from those who mean no good.
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::support::{
    BINARY, PATIENCE, Running, Said, Server, address_in, charkh, echo, has_ipv6, is_without,
    nobody, python, read, run, until,
};

const GREETING: &[u8] = b"Hello Client!";

/// By TCP and by UDP, each at a free port.
fn serve(options: &str) -> (Server, SocketAddr) {
    let mut command = Command::new(BINARY);
    command.args(["serve", "127.0.0.1:0", "udp:127.0.0.1:0"]).args(options.split_whitespace());
    let server = Server::from(&mut command);
    let addr = address_in(&server.running.stdout.find("listening on udp "));
    (server, addr)
}

/// Somebody at this address.
fn client_at(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn client() -> UdpSocket {
    client_at("127.0.0.1:0")
}

/// The next datagram, from where it must come.
#[track_caller]
fn hear(client: &UdpSocket, from: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 16];
    let (size, sender) = client.recv_from(&mut bytes).expect("no answer");
    assert_eq!(sender, from);
    bytes.truncate(size);
    bytes
}

#[track_caller]
fn ask(client: &UdpSocket, server: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    client.send_to(bytes, server).unwrap();
    hear(client, server)
}

/// Nothing has come, and nothing of what was sent before this was asked will.
fn is_silent(client: &UdpSocket) -> bool {
    client.set_nonblocking(true).unwrap();
    let silent = client.recv_from(&mut [0]).is_err();
    client.set_nonblocking(false).unwrap();
    silent
}

/// A counter of the server, since its start.
fn count(server: &Server, name: &str) -> u64 {
    let seen = server.running.stdout.so_far().len();
    server.running.signal("USR1");
    let line = server.running.stdout.find_after(seen, "seconds ");
    let mut words = line.split(' ').skip_while(|word| *word != name);
    words.nth(1).map_or(0, |count| count.parse().unwrap())
}

/// One sentence, on standard error alone.
#[track_caller]
fn assert_complains(said: &Said, parts: &[&str]) {
    assert_eq!((said.code, said.stdout.as_slice()), (1, &b""[..]), "{said:?}");
    let lines: Vec<&str> = said.stderr.lines().collect();
    assert!(lines.len() == 1 && lines[0].starts_with("charkh: "), "{said:?}");
    assert!(parts.iter().all(|part| lines[0].contains(part)), "{said:?} and not {parts:?}");
    assert!(!lines[0].contains("os error"), "{said:?}");
}

// --- clients that everybody has ---

const PYTHON_CLIENT: &str = r#"
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(30)
s.sendto(b"Hello Server!", ("127.0.0.1", int(sys.argv[1])))
data, address = s.recvfrom(1024)
print("Received from server:", data.decode(), address[1] == int(sys.argv[1]))
"#;

const PYTHON_SERVER: &str = r#"
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
print("listening on 127.0.0.1:%d" % s.getsockname()[1])
for n in range(3):
    data, address = s.recvfrom(1 << 16)
    print("Received from client:", len(data))
    s.sendto(b"Hello Client!", address)
"#;

#[test]
fn the_lesson_with_datagrams() {
    if is_without("python3") {
        return;
    }
    let (server, addr) = serve("");
    let said = run(&mut python(PYTHON_CLIENT, &[&addr.port().to_string()]), b"");
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let stdout = String::from_utf8_lossy(&said.stdout);
    assert_eq!(stdout, "Received from server: Hello Client! True\n");
    server.log().find("Received from client: Hello Server!");
    let log = server.stop();
    assert!(log.last().unwrap().ends_with("; 1 datagrams in, 1 datagrams out"), "{log:#?}");
}

#[test]
fn our_client_and_pythons_server() {
    if is_without("python3") {
        return;
    }
    let mut server = Running::new(&mut python(PYTHON_SERVER, &[]));
    let to = address_in(&server.stdout.find("listening on ")).to_string();
    let said = charkh(&["send", "--udp", "--to", &to, "Hello Server!"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert_eq!(said.stdout, b"Received from server: Hello Client!\n");
    // Each line is a datagram, an empty one too.
    let to = format!("udp:{to}");
    let said = run(Command::new(BINARY).args(["send", "--to", &to]), b"\nlast");
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert_eq!(said.stdout, b"Hello Client!\nHello Client!\n");
    assert_eq!(server.exit_code(), 0);
    let lines = server.stdout.to_end();
    assert_eq!(lines[1..], ["13", "0", "4"].map(|n| format!("Received from client: {n}")));
}

/// `nc` and `socat` send what they read, and wait for more: what comes back is looked for.
#[test]
fn netcat_and_socat_hear_the_echo() {
    let (server, addr) = serve("--protocol echo");
    let (host, port) = (addr.ip().to_string(), addr.port().to_string());
    let to = format!("UDP:{addr}");
    for args in [&["nc", "-u", &host, &port][..], &["socat", "-", &to]] {
        if is_without(args[0]) {
            continue;
        }
        let mut client = Running::new(Command::new(args[0]).args(&args[1..]));
        for line in ["one", "two"] {
            writeln!(client.stdin.as_mut().unwrap(), "{line}").unwrap();
            client.stdout.find(line);
        }
    }
    server.stop();
}

#[test]
fn both_ends_of_ours_and_both_families() {
    let mut all = vec!["127.0.0.1:0"];
    all.extend(has_ipv6().then_some("[::1]:0"));
    for at in all {
        let mut command = Command::new(BINARY);
        command.args(["serve", &format!("udp:{at}"), "127.0.0.1:0", "--protocol", "echo"]);
        let server = Server::from(&mut command);
        let addr = address_in(&server.running.stdout.find("listening on udp "));
        let to = format!("udp:{addr}");
        let said = charkh(&["send", "--to", &to, "héllo\x1b[31m"]);
        assert_eq!(said.code, 0, "{said:?}");
        let shown = String::from_utf8_lossy(&said.stdout);
        assert_eq!(shown, "Received from server: héllo\\u{1b}[31m\n");
        let raw = charkh(&["send", "--raw", "--udp", "--to", &to, "héllo\x1b[31m"]);
        assert_eq!(raw.stdout, "héllo\x1b[31m".as_bytes());
        // The longest there is.
        let longest = vec![b'x'; 65_507];
        let said = run(Command::new(BINARY).args(["send", "--raw", "--to", &to]), &longest);
        assert!(said.code == 0 && said.stdout == longest, "{}", said.stderr);
        server.check_echo();
        server.stop();
    }
}

#[test]
fn every_address_of_one_port() {
    if !has_ipv6() {
        return;
    }
    let mut command = Command::new(BINARY);
    command.args(["serve", "127.0.0.1:0", "udp:[::]:0", "--protocol", "echo"]);
    let server = Server::from(&mut command);
    let port = address_in(&server.running.stdout.find("listening on udp ")).port();
    for (own, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "[::1]")] {
        let to = format!("{to}:{port}").parse().unwrap();
        assert_eq!(ask(&client_at(own), to, b"who is there?"), b"who is there?");
    }
    server.stop();
}

// --- clients that mean no good ---

#[test]
fn case_106_a_greeting_is_for_those_who_say_as_much() {
    let (server, addr) = serve("");
    let client = client();
    for short in [&b""[..], b"x", b"Hello Server"] {
        client.send_to(short, addr).unwrap();
    }
    // Nor is a greeting greeted.
    client.send_to(GREETING, addr).unwrap();
    assert_eq!(ask(&client, addr, b"Hello Server!"), GREETING);
    assert!(is_silent(&client));
    assert_eq!(count(&server, "replies_refused"), 3);
    let port = client.local_addr().unwrap().port();
    let unanswered = format!("Not answered: a datagram of 12 bytes from 127.0.0.1:{port}");
    server.log().find(&unanswered);
    let log = server.stop();
    assert_eq!(log.iter().filter(|line| line.contains("Not answered")).count(), 4, "{log:#?}");
}

#[test]
#[cfg(target_os = "linux")]
fn case_106_ports_of_servers_are_not_answered() {
    let (server, addr) = serve("--protocol echo");
    // The same port at another address: the other may be a server like this one.
    let twin = client_at(&format!("127.0.0.2:{}", addr.port()));
    twin.send_to(b"hello", addr).unwrap();
    let mut refused = 1;
    // Only some may have such a port.
    let privileged = (900..1024).find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok());
    if let Some(privileged) = &privileged {
        privileged.send_to(b"hello", addr).unwrap();
        refused += 1;
    } else {
        println!("not tested: only root has a port below 1024");
    }
    assert_eq!(ask(&client(), addr, b"are you well?"), b"are you well?");
    assert!(is_silent(&twin) && privileged.is_none_or(|privileged| is_silent(&privileged)));
    assert_eq!(count(&server, "replies_refused"), refused);
    server.stop();
}

#[test]
fn case_106_an_address_is_answered_so_often_and_another_is_not_kept_waiting() {
    let (server, addr) = serve("--protocol echo --replies-per-ip 10");
    let (client, mut answers) = (client(), 0);
    server.running.halt();
    for _ in 0..100 {
        client.send_to(b"hello", addr).unwrap();
    }
    server.running.signal("CONT");
    until("all are counted", || (count(&server, "datagrams_in") == 100).then_some(()));
    while !is_silent(&client) {
        answers += 1;
    }
    // A second may have ended in between.
    assert!((10..=20).contains(&answers), "{answers}");
    assert_eq!(count(&server, "replies_limited"), 100 - answers);
    server.log().find("127.0.0.1 is not answered more often");
    let mut others = BTreeSet::from([2_u8, 3, 4]);
    if cfg!(target_os = "linux") {
        others.retain(|host| {
            let other = client_at(&format!("127.0.0.{host}:0"));
            ask(&other, addr, b"hello") != b"hello"
        });
        assert!(others.is_empty());
    }
    server.stop();
}

/// One of them is asked with the other's address, by somebody who had it a moment before; no other
/// test takes a port there.
#[test]
#[cfg(target_os = "linux")]
fn case_106_two_echo_servers_that_are_set_on_each_other_come_to_rest() {
    let (one, addr) = serve("--protocol echo --replies-per-ip 50");
    one.running.halt();
    let forger = client_at("127.77.0.2:0");
    let forged = forger.local_addr().unwrap();
    forger.send_to(b"who are you?", addr).unwrap();
    drop(forger);
    let mut command = Command::new(BINARY);
    command.args(["serve", "127.0.0.1:0", &format!("udp:{forged}"), "--protocol", "echo"]);
    let other = Server::from(&mut command);
    one.running.signal("CONT");
    until("one of them has enough", || (count(&one, "replies_limited") == 1).then_some(()));
    // Each bounce is counted here and there; the last is not answered.
    let bounces = count(&one, "datagrams_out");
    assert!(bounces >= 50 && count(&one, "datagrams_in") == bounces + 1, "{bounces}");
    assert_eq!(count(&other, "datagrams_in"), bounces);
    one.running.until_asleep();
    assert_eq!(count(&one, "datagrams_out"), bounces);
    one.stop();
    other.stop();
}

#[test]
fn case_107_what_is_longer_than_it_may_be_is_dropped_and_counted() {
    let (server, addr) = serve("--protocol echo --datagram-size 1000");
    let client = client();
    for size in [1001, 5000, 65_507] {
        client.send_to(&vec![b'x'; size], addr).unwrap();
    }
    assert_eq!(ask(&client, addr, &[b'y'; 1000]), [b'y'; 1000]);
    assert!(is_silent(&client));
    assert_eq!((count(&server, "datagrams_truncated"), count(&server, "datagrams_in")), (3, 1));
    server.log().find("of more than 1000 bytes");
    let log = server.stop();
    let told = log.iter().filter(|line| line.contains("of more than 1000 bytes"));
    assert!(told.count() <= 3, "{log:#?}");
}

#[test]
fn case_108_an_empty_datagram_is_echoed() {
    let (server, addr) = serve("--protocol echo");
    let client = client();
    for _ in 0..3 {
        assert_eq!(ask(&client, addr, b""), b"");
    }
    assert_eq!(count(&server, "datagrams_in"), 3);
    let said = charkh(&["send", "--to", &format!("udp:{addr}"), ""]);
    assert_eq!((said.code, said.stdout.as_slice()), (0, &b"Received from server: \n"[..]));
    server.stop();
}

#[test]
#[cfg(target_os = "linux")]
fn case_109_an_answer_to_a_closed_port_is_an_error_of_nobody_else() {
    let (server, addr) = serve("--protocol echo");
    for _ in 0..20 {
        server.running.halt();
        for _ in 0..10 {
            // Gone before it is answered: the answer brings an ICMP message back.
            client().send_to(b"hello?", addr).unwrap();
        }
        server.running.signal("CONT");
        assert_eq!(ask(&client(), addr, b"are you well?"), b"are you well?");
    }
    server.check_echo();
    assert_eq!(count(&server, "datagrams_in"), 220);
    server.stop();
}

#[test]
#[cfg(target_os = "linux")]
fn case_110_more_than_a_turns_share_then_silence() {
    let (server, addr) = serve("--protocol echo --datagrams-per-turn 8");
    let client = client();
    server.running.halt();
    for n in 0..100_u8 {
        client.send_to(&[n], addr).unwrap();
    }
    server.running.signal("CONT");
    // No more come, so nothing but the bit that it kept makes it go on.
    for n in 0..100 {
        assert_eq!(hear(&client, addr), [n]);
    }
    assert!(count(&server, "datagram_budget") >= 100 / 8);
    server.running.assert_sleeps();
    server.stop();
}

#[test]
fn case_110_a_flood_leaves_connections_served() {
    let (server, addr) = serve("--protocol echo --replies-per-ip off");
    let stop = Arc::new(AtomicBool::new(false));
    let flooders: Vec<_> = (0..2)
        .map(|_| {
            let stop = stop.clone();
            thread::spawn(move || {
                let socket = client();
                while !stop.load(Ordering::Relaxed) {
                    // It may well be refused here already.
                    let _ = socket.send_to(&[b'x'; 1000], addr);
                }
            })
        })
        .collect();
    until("the flood is there", || (count(&server, "datagram_budget") > 0).then_some(()));
    let mut clients: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    for _ in 0..50 {
        clients.iter_mut().for_each(|client| echo(client, b"still served"));
    }
    stop.store(true, Ordering::Relaxed);
    flooders.into_iter().for_each(|flooder| flooder.join().unwrap());
    drop(clients);
    server.stop();
}

#[test]
fn case_111_what_is_too_long_to_be_sent_is_told_by_our_client() {
    let (server, addr) = serve("--protocol echo");
    let too_long = vec![b'x'; 65_508];
    let args = ["send", "--to", &format!("udp:{addr}")];
    let said = run(Command::new(BINARY).args(args), &too_long);
    assert_complains(&said, &["at most 65507 bytes"]);
    server.stop();
}

// --- beginning and end ---

#[test]
#[cfg(target_os = "linux")]
fn a_server_that_stops_answers_what_has_come() {
    let (server, addr) = serve("--protocol echo");
    let client = client();
    server.running.halt();
    for n in 0..20_u8 {
        client.send_to(&[n], addr).unwrap();
    }
    server.running.signal("TERM");
    server.running.signal("CONT");
    for n in 0..20 {
        assert_eq!(hear(&client, addr), [n]);
    }
    let mut server = server;
    server.ended(0);
    // Its port is free again.
    UdpSocket::bind(addr).unwrap();
}

#[test]
fn what_is_not_served_by_udp_is_said_in_a_sentence() {
    let said = charkh(&["serve", "--protocol", "chat", "udp:127.0.0.1:0"]);
    assert_complains(&said, &["cannot listen on udp:127.0.0.1:0", "greet, echo and discard"]);
    let busy = client();
    let addr = format!("udp:{}", busy.local_addr().unwrap());
    let said = charkh(&["serve", "--protocol", "echo", &addr]);
    assert_complains(&said, &["cannot listen on", &addr, "already in use"]);
    let said = charkh(&["serve", "udp:localhost"]);
    assert_complains(&said, &["has no port"]);
}

/// At an address of its own, where no other test takes a port.
#[test]
#[cfg(target_os = "linux")]
fn one_port_may_be_both() {
    let addr = client_at("127.77.0.1:0").local_addr().unwrap();
    let mut command = Command::new(BINARY);
    let (tcp, udp) = (addr.to_string(), format!("udp:{addr}"));
    command.args(["serve", "--protocol", "echo", &tcp, &udp]);
    let server = Server::from(&mut command);
    server.check_echo();
    assert_eq!(ask(&client(), addr, b"hello"), b"hello");
    server.stop();
}

#[test]
fn what_is_discarded_is_counted() {
    let (server, addr) = serve("--protocol discard");
    client().send_to(b"hello", addr).unwrap();
    until("it is counted", || (count(&server, "datagrams_in") == 1).then_some(()));
    assert_eq!((count(&server, "datagram_bytes_in"), count(&server, "datagrams_out")), (5, 0));
    server.stop();
}

#[test]
fn our_client_says_that_nobody_is_there_and_that_nobody_answers() {
    let (held, addr) = nobody(); // of TCP; by UDP nobody is there either
    let to = format!("udp:{addr}");
    let said = charkh(&["send", "--to", &to, "hello"]);
    assert_complains(&said, &["nobody listens on", &to, "closed"]);
    drop(held);
    let silent = client();
    let to = format!("udp:{}", silent.local_addr().unwrap());
    let said = charkh(&["send", "--to", &to, "--timeout", "300ms", "hello"]);
    assert_complains(&said, &["no answer from", &to, "300ms"]);
    let said = charkh(&["send", "--udp", "--to", "no-such-host.invalid:7000", "hello"]);
    assert_complains(&said, &["cannot find the host"]);
}

/// A name may have an address where nobody listens.
#[test]
fn every_address_of_a_name_is_tried() {
    let (server, addr) = serve("--protocol echo");
    let said = charkh(&["send", "--udp", "--to", &format!("localhost:{}", addr.port()), "hello"]);
    assert_eq!((said.code, said.stdout.as_slice()), (0, &b"Received from server: hello\n"[..]));
    server.stop();
}

#[test]
fn an_answer_from_elsewhere_is_none() {
    let (asked, other) = (client(), client());
    let to = format!("udp:{}", asked.local_addr().unwrap());
    let mut sending = Command::new(BINARY)
        .args(["send", "--to", &to, "hello"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (_, from) = asked.recv_from(&mut [0; 99]).unwrap();
    other.send_to(b"I am another", from).unwrap();
    asked.send_to(b"it is me", from).unwrap();
    let mut said = String::new();
    sending.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(sending.wait().unwrap().success());
    assert_eq!(said, "Received from server: it is me\n");
}

/// Two servers take turns at one port, if both say so.
#[test]
#[cfg(target_os = "linux")]
fn a_port_is_shared_if_all_say_so() {
    let (one, addr) = serve("--protocol echo --reuse-port");
    let mut command = Command::new(BINARY);
    let udp = format!("udp:{addr}");
    command.args(["serve", "127.0.0.1:0", &udp, "--protocol", "echo", "--reuse-port"]);
    let two = Server::from(&mut command);
    let clients: Vec<_> = (0..100).map(|_| client()).collect();
    clients.iter().for_each(|client| assert_eq!(ask(client, addr, b"hello"), b"hello"));
    let shares = [&one, &two].map(|server| count(server, "datagrams_in"));
    assert!(shares.iter().sum::<u64>() == 100 && !shares.contains(&0), "{shares:?}");
    one.stop();
    two.stop();
}

/// What is recorded of them can be opened.
#[test]
fn a_server_of_both_kinds_is_traced() {
    let path = crate::support::scratch("udp-trace");
    let (server, addr) = serve(&format!("--protocol echo --trace {}", path.display()));
    (0..3).for_each(|_| assert_eq!(ask(&client(), addr, b"hello"), b"hello"));
    let mut peer = server.connect();
    peer.write_all(b"hello").unwrap();
    assert_eq!(read(&mut peer, 5), b"hello");
    drop(peer);
    server.stop();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches(r#""name":"datagram()""#).count(), 3);
    std::fs::remove_file(path).unwrap();
}
