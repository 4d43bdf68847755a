//! `charkh send`, and servers that treat it badly.
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::support::{BINARY, Running, Said, Server, charkh, nobody, reset, run};

/// One sentence, and nothing that was never received.
#[track_caller]
fn assert_complains(said: &Said, parts: &[&str]) {
    assert_eq!(said.code, 1, "{said:?}");
    let lines: Vec<&str> = said.stderr.lines().collect();
    assert!(lines.len() == 1 && lines[0].starts_with("charkh: "), "{said:?}");
    assert!(parts.iter().all(|part| lines[0].contains(part)), "{said:?} and not {parts:?}");
    assert!(!lines[0].contains("os error"), "{said:?}");
}

/// A server for one client.
fn serve_one<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (addr, thread::spawn(move || serve(listener.accept().unwrap().0)))
}

fn send(addr: SocketAddr, more: &[&str]) -> Said {
    let to = addr.to_string();
    charkh(&[&["send", "--to", &to], more].concat())
}

#[test]
fn nobody_listens() {
    let (held, addr) = nobody();
    let said = send(addr, &["hello"]);
    assert_complains(&said, &["cannot connect to", &addr.to_string(), "refused"]);
    assert!(said.stdout.is_empty());
    drop(held);
}

#[test]
fn nobody_has_that_name() {
    let said = charkh(&["send", "--to", "no-such-host.invalid:7000", "hello"]);
    assert_complains(&said, &["no-such-host.invalid:7000"]);
    assert!(said.stdout.is_empty());
}

#[test]
fn the_server_resets() {
    let (addr, server) = serve_one(|mut client| {
        client.read_exact(&mut [0; 5]).unwrap();
        reset(client);
    });
    let said = send(addr, &["hello"]);
    assert_complains(&said, &["reset"]);
    server.join().unwrap();
}

#[test]
fn the_server_resets_after_a_part_of_the_answer() {
    let (shown, wait) = mpsc::channel();
    let (addr, server) = serve_one(move |mut client| {
        client.read_exact(&mut [0; 5]).unwrap();
        client.write_all(b"Hello\nCli").unwrap();
        // A reset takes away what has not been read.
        wait.recv().unwrap();
        reset(client);
    });
    let to = addr.to_string();
    let mut sending = Running::new(Command::new(BINARY).args(["send", "--to", &to, "hello"]));
    sending.stdout.find("Received from server: Hello");
    shown.send(()).unwrap();
    server.join().unwrap();
    assert_eq!(sending.exit_code(), 1);
    let errors = sending.stderr.to_end();
    assert!(errors.len() == 1 && errors[0].starts_with("charkh: "), "{errors:?}");
    assert!(errors[0].contains("reset"), "{errors:?}");
    assert_eq!(sending.stdout.to_end(), ["Received from server: Hello", "Cli"]);
}

#[test]
fn the_server_closes_without_an_answer() {
    let (addr, server) = serve_one(|mut client| drop(client.read_to_end(&mut Vec::new())));
    assert_complains(&send(addr, &["hello"]), &["closed without an answer"]);
    server.join().unwrap();
}

#[test]
fn the_server_never_answers() {
    // The kernel takes the connection, and nobody takes it from there.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let start = Instant::now();
    let said = send(silent.local_addr().unwrap(), &["--timeout", "300ms", "hello"]);
    assert_complains(&said, &["silent", "300ms"]);
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn the_server_takes_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let args = ["send", "--raw", "--to", &to, "--timeout", "300ms"];
    let said = run(Command::new(BINARY).args(args), &vec![b'x'; 64 << 20]);
    assert_complains(&said, &["silent"]);
}

#[test]
fn case_070_what_a_server_sends_cannot_paint() {
    let (addr, server) = serve_one(|mut client| {
        client.read_to_end(&mut Vec::new()).unwrap();
        client.write_all(b"\x1b[31mred\x07\r\n\xff").unwrap();
    });
    let said = send(addr, &["hello"]);
    let shown = "Received from server: \\u{1b}[31mred\\u{7}\\r\n\\xff\n";
    assert_eq!(String::from_utf8_lossy(&said.stdout), shown);
    server.join().unwrap();
    let (addr, server) = serve_one(|mut client| {
        client.read_to_end(&mut Vec::new()).unwrap();
        client.write_all(b"\x1b[31mred\x07\r\n\xff").unwrap();
    });
    let said = send(addr, &["--raw", "hello"]);
    assert_eq!((said.code, said.stdout.as_slice()), (0, &b"\x1b[31mred\x07\r\n\xff"[..]));
    server.join().unwrap();
}

#[test]
fn an_answer_in_pieces_is_one_answer() {
    let (addr, server) = serve_one(|mut client| {
        client.set_nodelay(true).unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        "Hello Клиент!".bytes().for_each(|byte| client.write_all(&[byte]).unwrap());
    });
    let said = send(addr, &["hello"]);
    assert_eq!(String::from_utf8_lossy(&said.stdout), "Received from server: Hello Клиент!\n");
    assert_eq!(said.code, 0);
    server.join().unwrap();
}

#[test]
fn standard_input_is_sent_and_what_comes_back_is_shown() {
    let server = Server::new("--protocol echo");
    let to = server.addr.to_string();
    let said = run(Command::new(BINARY).args(["send", "--to", &to]), b"one\ntwo\nthree");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "one\ntwo\nthree\n");
    assert_eq!((said.stderr.as_str(), said.code), ("", 0));
    let said = run(Command::new(BINARY).args(["send", "--raw", "--to", &to]), b"one\ntwo\nthree");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "one\ntwo\nthree");
    server.stop();
}

#[test]
#[cfg(unix)]
fn nobody_reads_what_it_shows() {
    let server = Server::new("--protocol echo");
    let to = server.addr.to_string();
    let mut command = Command::new(BINARY);
    let sending = command.args(["send", "--to", &to]);
    let mut sending = Running::heard(sending, 1, usize::MAX);
    let mut stdin = sending.stdin.take().unwrap();
    // As `charkh send | head -1`: it ends, and does not shout.
    while stdin.write_all(&b"a line\n".repeat(1000)).is_ok() {}
    sending.exit_code();
    assert_eq!(sending.stderr.to_end(), [""; 0]);
    server.check_echo();
    server.stop();
}
