//! What the kernel keeps for the server, and lets others see.
use std::{collections::BTreeSet, fs, net::TcpStream, process::Command};

use crate::support::{PATIENCE, Running, Server, echo, is_without, read, until, until_equal};

/// The flag of `/proc/PID/fdinfo` that a descriptor goes when another program is begun.
const CLOEXEC: u32 = 0o2_000_000;

/// Each descriptor: its number, and what the kernel says of it.
fn descriptors(server: &Server) -> Vec<(u32, String)> {
    let folder = format!("/proc/{}/fdinfo", server.running.pid());
    let numbers = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let numbers = numbers.map(|name| name.into_string().unwrap().parse().unwrap());
    // Some are closed while one looks.
    let text = |n: u32| Some((n, fs::read_to_string(format!("{folder}/{n}")).ok()?));
    numbers.filter_map(text).collect()
}

fn field<'a>(info: &'a str, name: &str) -> Vec<&'a str> {
    let lines = info.lines().filter_map(|line| line.strip_prefix(name));
    lines.map(|rest| rest.split_whitespace().next().unwrap()).collect()
}

#[test]
fn case_065_no_descriptor_is_left_to_another_program() {
    let server = Server::at("127.0.0.1:0", "--protocol echo udp:127.0.0.1:0 unix:@case-065");
    let mut client = server.connect();
    echo(&mut client, b"hello");
    let kept = descriptors(&server).into_iter().filter(|(n, info)| {
        let flags = u32::from_str_radix(field(info, "flags:")[0], 8).unwrap();
        // Whoever started the test may have left the server descriptors too.
        let path = fs::read_link(format!("/proc/{}/fd/{n}", server.running.pid())).unwrap();
        let path = path.to_string_lossy();
        let is_ours = path.starts_with("socket:") || path.starts_with("anon_inode:");
        *n > 2 && is_ours && flags & CLOEXEC == 0
    });
    assert_eq!(kept.collect::<Vec<_>>(), []);
    drop(client);
    server.stop();
}

#[test]
fn case_062_the_poll_forgets_whoever_has_gone() {
    let server = Server::new("--protocol echo");
    let watched = || -> BTreeSet<String> {
        let all = descriptors(&server);
        let of = all.iter().flat_map(|(_, info)| field(info, "tfd:"));
        of.map(String::from).collect()
    };
    let before = watched();
    assert!(!before.is_empty(), "the kernel does not tell");
    let mut clients: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| echo(client, b"hello"));
    assert_eq!(watched().len(), before.len() + 100);
    // Every other one goes, and its number is given to another.
    let mut stay = false;
    clients.retain(|_| {
        stay = !stay;
        stay
    });
    until_equal("those who are watched", before.len() + 50, || watched().len());
    clients.extend((0..50).map(|_| server.connect()));
    clients.iter_mut().for_each(|client| echo(client, b"hello again"));
    drop(clients);
    until_equal("those who are watched", before, watched);
    server.stop();
}

/// The kernel drops who comes to a full queue, and they try again.
#[test]
fn case_009_a_queue_that_overflows_loses_nobody() {
    let server = Server::new("--protocol echo --backlog 1");
    server.check_echo();
    server.running.halt();
    let addr = server.addr;
    let clients: Vec<_> = (0..20)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = TcpStream::connect_timeout(&addr, PATIENCE).unwrap();
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                echo(&mut client, b"at last");
            })
        })
        .collect();
    // No more fit than one and one.
    let queued = || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let port = format!(":{:04X} ", addr.port());
        let ours = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut ours = ours.filter(|row| format!("{} ", row[1]).ends_with(&port) && row[3] == "0A");
        let queues = ours.next().unwrap()[4];
        u32::from_str_radix(queues.split_once(':').unwrap().1, 16).unwrap()
    };
    until("the queue is full", || (queued() == 2).then_some(()));
    server.running.signal("CONT");
    clients.into_iter().for_each(|client| client.join().unwrap());
    server.stop();
}

/// A thousand clients from a thousand addresses, and not one number more in a report.
#[test]
fn case_072_what_is_counted_does_not_grow_with_those_who_come() {
    let server = Server::new("--protocol echo");
    let report = || {
        let seen = server.running.stdout.so_far().len();
        server.running.signal("USR1");
        let line = server.running.stdout.find_after(seen, "connections");
        line.split_whitespace().count()
    };
    server.check_echo();
    let before = report();
    for n in 0..1000_u32 {
        let from = format!("127.1.{}.{}", n / 250, n % 250 + 1);
        echo(&mut crate::support::connect_from(&from, server.addr, 0), b"hello");
    }
    // Limits that were reached meanwhile are told too, of those that there are.
    let after = report();
    assert!(after <= before + 20, "{before} words, then {after}");
    server.stop();
}

/// The runtime ignores SIGPIPE for programs in Rust. A library may be in another, so each write
/// says that it wants none.
#[test]
fn case_042_no_write_can_raise_sigpipe() {
    if is_without("strace") {
        return;
    }
    let server = Server::new("--protocol echo");
    let pid = server.running.pid().to_string();
    let calls = "trace=write,writev,sendto,sendmsg,sendmmsg";
    let mut strace = Running::new(Command::new("strace").args(["-p", &pid, "-e", calls]));
    let says = strace.stderr.find("ttach");
    assert!(says.contains(" attached") || std::env::var_os("CI").is_none(), "{says}");
    if !says.contains(" attached") {
        return;
    }
    let mut client = server.connect();
    echo(&mut client, b"hello");
    std::io::Write::write_all(&mut client, &[b'x'; 300_000]).unwrap();
    read(&mut client, 300_000);
    strace.stderr.find("xxxxx");
    strace.signal("INT");
    strace.exit_code();
    let writes = strace.stderr.to_end();
    let writes: Vec<_> = writes.iter().filter(|line| line.contains('(')).collect();
    assert!(writes.len() >= 2, "{writes:#?}");
    assert!(writes.iter().all(|line| line.contains("MSG_NOSIGNAL")), "{writes:#?}");
    server.stop();
}
