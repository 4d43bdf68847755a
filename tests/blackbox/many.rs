//! Fifteen thousand at once.
use std::{io::Write, net::TcpStream};

use crate::support::{Server, connect, memory_is_its_own, read};

const CONNECTIONS: usize = 15_000;

/// As many as a small machine has descriptors for, but all of them where it is decided what lands.
/// Other tests run beside this one, in this process.
fn affordable() -> usize {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let left = usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(3000);
    let ci = std::env::var_os("CI").is_some();
    assert!(left >= if ci { CONNECTIONS } else { 1000 }, "only {descriptors} descriptors");
    if left < CONNECTIONS {
        eprintln!("tested with {left} connections: only {descriptors} descriptors");
    }
    left.min(CONNECTIONS)
}

/// Everybody says something, then everybody hears it.
fn exchange(clients: &mut [TcpStream], salt: usize) {
    let message = |n: usize| format!("{salt} {n:6}");
    for (n, client) in clients.iter_mut().enumerate() {
        client.write_all(message(n).as_bytes()).unwrap();
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let message = message(n);
        assert_eq!(read(client, message.len()), message.as_bytes());
    }
}

#[test]
fn case_060_064_fifteen_thousand_at_once_cost_little_and_leave_nothing() {
    let connections = affordable();
    let server = Server::new("--protocol echo");
    let baseline = server.baseline();
    let mut clients: Vec<TcpStream> = Vec::new();
    let grow = |clients: &mut Vec<TcpStream>, size| {
        while clients.len() < size {
            let from = clients.len();
            let to = size.min(from + 500);
            clients.extend((from..to).map(|_| connect(server.addr)));
            exchange(&mut clients[from..to], 0);
        }
    };

    grow(&mut clients, 500);
    let before = server.running.memory();
    grow(&mut clients, connections);
    let after = server.running.memory();
    assert_eq!(server.running.descriptors(), baseline + connections);
    let each = after.saturating_sub(before) as f64 / (connections - 500) as f64;
    println!("{each:.1} bytes of memory for each idle connection");
    // In a debug build mio keeps more with each socket.
    let most = if cfg!(debug_assertions) { 200.0 } else { 80.0 };
    assert!(each <= most || !memory_is_its_own(), "{each:.1} bytes for each idle connection");

    server.running.assert_sleeps();
    exchange(&mut clients, 1);
    exchange(&mut clients, 2);

    // Half in good order, half with a word that nobody will hear the answer of.
    for (n, client) in clients.iter_mut().enumerate() {
        if n % 2 == 0 {
            client.write_all(b"bye").unwrap();
        }
    }
    drop(clients);
    server.assert_baseline(baseline);
    server.check_echo();
    server.running.assert_rests();
    let log = server.stop();
    assert!(log.len() < 20, "{log:#?}");
}

/// A table of descriptors that grows while it is shared by threads stops the loop for milliseconds,
/// so it is made at the start. (It may be larger: a child begins with as much as its parent had.)
#[cfg(target_os = "linux")]
#[test]
fn room_for_descriptors_is_made_before_anybody_comes() {
    let size = |options: &str| -> usize {
        let server = Server::new(options);
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", server.running.pid())).unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        size.unwrap().trim().parse().unwrap()
    };
    assert!(size("--max-connections 700") >= 700);
    assert!(size("--protocol echo") >= affordable());
}
