//! What the server asks of the kernel, as `strace` counts it.
use std::{collections::BTreeMap, io::Write, net::TcpStream, process::Command};

use crate::support::{Running, Server, connect, is_without, read};

const CONNECTIONS: u32 = 1000;
const ROUNDS: u32 = 10;
const REQUESTS: u32 = CONNECTIONS * ROUNDS;
/// Newer architectures have no other.
const WAIT: &str = if cfg!(target_arch = "x86_64") { "epoll_wait" } else { "epoll_pwait" };

/// A program's system calls, from here on.
struct Strace(Running);

impl Strace {
    /// `None` where nobody may look into another process; as with programs that are not installed,
    /// only where it is decided what lands is that an error.
    fn attach(pid: u32) -> Option<Self> {
        let pid = pid.to_string();
        let strace = Running::new(Command::new("strace").args(["-f", "-c", "-p", &pid]));
        let says = strace.stderr.find("ttach");
        let attached = says.contains(" attached");
        assert!(attached || std::env::var_os("CI").is_none(), "{says}");
        if !attached {
            eprintln!("not tested: {says}");
        }
        attached.then_some(Self(strace))
    }

    /// How often each was called.
    fn detach(mut self) -> BTreeMap<String, u32> {
        self.0.signal("INT");
        self.0.exit_code();
        let table = self.0.stderr.to_end();
        // % time, seconds, microseconds of each, calls, errors (or a blank), name.
        let rows = table.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let rows = rows.filter(|row| row.len() >= 5 && row[0].parse::<f64>().is_ok());
        let calls = rows.map(|row| (row[row.len() - 1].to_string(), row[3].parse().unwrap()));
        calls.filter(|(name, _)| name != "total").collect()
    }
}

/// Each of them says something while `stop` has stopped the server, which then finds all of them
/// waiting, whoever is quicker on this machine; and each hears it again.
fn exchange(clients: &mut [TcpStream], stop: impl FnOnce(), go_on: impl FnOnce()) {
    stop();
    for client in &mut *clients {
        client.write_all(&[b'x'; 64]).unwrap();
    }
    go_on();
    for client in clients {
        assert_eq!(read(client, 64), [b'x'; 64]);
    }
}

#[test]
fn two_calls_for_each_request_and_none_besides() {
    if is_without("strace") {
        return;
    }
    // A turn that is watched is slow, and to say so in the log would be a call.
    let server = Server::new("--protocol echo --slow-turn 1h");
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| connect(server.addr)).collect();
    // Before it is watched all are accepted, and have had work at once: no table has to grow later.
    exchange(&mut clients, || (), || ());
    exchange(&mut clients, || server.running.halt(), || server.running.signal("CONT"));
    let Some(strace) = Strace::attach(server.running.pid()) else { return };
    for _ in 0..ROUNDS {
        // Whom it watches stands still at its next call.
        exchange(&mut clients, || strace.0.halt(), || strace.0.signal("CONT"));
    }
    // Its last call is counted when it has returned.
    server.running.until_asleep();
    let mut calls = strace.detach();
    println!("{calls:?}");
    let waits = calls.remove(WAIT).unwrap_or(0);
    assert!(waits <= REQUESTS / 10, "{waits} sleeps for {REQUESTS} requests");
    let expected = BTreeMap::from(["recvfrom", "sendto"].map(|name| (name.into(), REQUESTS)));
    assert_eq!(calls, expected);
}
