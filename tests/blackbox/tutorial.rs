//! The first lesson in sockets, as everybody writes it, against either end of ours.
use std::{
    io::Write,
    process::Command,
    time::{Duration, Instant},
};

use crate::support::{
    BINARY, Running, Server, address_in, is_without, python, read, read_to_end, run,
};

const CLIENT: &str = r#"
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.connect(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"Hello Server!")
data = s.recv(1024)
print("Received from server:", data.decode())
s.close()
"#;

const SERVER: &str = r#"
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.bind(("127.0.0.1", 0))
s.listen(5)
print("listening on 127.0.0.1:%d" % s.getsockname()[1])
client, address = s.accept()
print("Connection from", address, "has been established!")
data = client.recv(1024)
print("Received from client:", data.decode())
client.sendall(b"Hello Client!")
client.close()
s.close()
"#;

#[test]
fn the_classic_client_is_greeted() {
    if is_without("python3") {
        return;
    }
    let server = Server::new("");
    let port = server.addr.port().to_string();
    for _ in 0..2 {
        let said = run(&mut python(CLIENT, &[&port]), b"");
        assert_eq!(String::from_utf8_lossy(&said.stdout), "Received from server: Hello Client!\n");
        assert_eq!(said.stderr, "");
    }
    let log = server.stop();
    let lines = |part: &str| log.iter().filter(|line| line.contains(part)).count();
    assert_eq!(lines("Received from client: Hello Server!"), 2, "{log:#?}");
    let established = |line: &&String| {
        let (_, line) = line.split_once("Connection from 127.0.0.1:").unwrap_or_default();
        let port = line.strip_suffix(" has been established!");
        port.is_some_and(|port| port.parse::<u16>().is_ok())
    };
    assert_eq!(log.iter().filter(established).count(), 2, "{log:#?}");
}

#[test]
fn the_classic_server_is_understood() {
    if is_without("python3") {
        return;
    }
    let mut classic = Running::new(&mut python(SERVER, &[]));
    let addr = address_in(&classic.stdout.find("listening on "));
    let to = addr.to_string();
    let said = run(Command::new(BINARY).args(["send", "--to", &to, "Hello Server!"]), b"");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "Received from server: Hello Client!\n");
    assert_eq!((said.stderr.as_str(), said.code), ("", 0));
    assert_eq!(classic.exit_code(), 0);
    classic.stdout.find("Received from client: Hello Server!");
}

#[test]
fn both_ends_of_ours_understand_each_other() {
    let server = Server::new("");
    let to = server.addr.to_string();
    let said = run(Command::new(BINARY).args(["send", "--to", &to, "Hello Server!"]), b"");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "Received from server: Hello Client!\n");
    assert_eq!((said.stderr.as_str(), said.code), ("", 0));
    server.stop();
}

#[test]
fn case_070_what_a_client_sends_cannot_forge_a_log() {
    let server = Server::new("");
    let mut client = server.connect();
    let forged = "x\r\n2026-01-01 INFO forged\x1b[2J\x07\0\u{202e}\u{85}";
    client.write_all(&[forged.as_bytes(), b"\xff\xfe"].concat()).unwrap();
    read(&mut client, 13);
    let line = server.log().find("Received from client: ");
    assert!(
        line.ends_with(
            r"client: x\r\n2026-01-01 INFO forged\u{1b}[2J\u{7}\u{0}\u{202e}\u{85}\xff\xfe"
        ),
        "{line}"
    );
    drop(client);
    for line in server.stop() {
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        assert!(!line.starts_with("2026-01-01 INFO forged"), "{line:?}");
    }
}

#[test]
fn a_long_message_is_cut_in_the_log_and_nowhere_else() {
    let server = Server::new("");
    let mut client = server.connect();
    client.write_all(&[b'a'; 5000]).unwrap();
    read(&mut client, 13);
    let line = server.log().find("Received from client: aaa");
    assert!(line.len() < 400 && line.contains("a... (5000 bytes)"), "{line}");
    drop(client);
    server.stop();
}

#[test]
fn case_069_a_thousand_messages_are_a_few_lines() {
    let server = Server::new("");
    let (mut client, start) = (server.connect(), Instant::now());
    let mut sent: u64 = 0;
    let mut greet = || {
        client.write_all(b"Hello Server!").unwrap();
        assert_eq!(read(&mut client, 13), b"Hello Client!");
        sent += 1;
    };
    (0..1000).for_each(|_| greet());
    // The next line that is written says how many were not; it comes with the next second.
    let kept_back = |line: &String| -> u64 {
        let (_, more) = line.split_once("(and ").unwrap_or_default();
        more.split(' ').next().unwrap_or_default().parse().unwrap_or(0)
    };
    loop {
        greet();
        if server.log().so_far().iter().any(|line| kept_back(line) > 0) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let most = 10 * (start.elapsed().as_secs() + 2);
    drop(client);
    let log = server.stop();
    let lines: Vec<_> = log.iter().filter(|line| line.contains("Received from client")).collect();
    assert!(lines.len() as u64 <= most, "{} lines, and at most {most} expected", lines.len());
    let counted = lines.len() as u64 + lines.iter().map(|line| kept_back(line)).sum::<u64>();
    assert!(counted >= 1000 && counted <= sent, "{counted} of {sent} messages");
}

#[test]
fn a_request_and_an_end_are_answered_with_an_answer_and_an_end() {
    let server = Server::new("");
    let mut client = server.connect();
    client.write_all(b"Hello Server!").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client), b"Hello Client!");
    drop(client);
    server.stop();
}
