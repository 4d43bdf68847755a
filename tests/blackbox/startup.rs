//! What can be wrong before the first client comes, and what is printed from then on.
use std::{io::Write, net::TcpListener, process::Command};

use crate::support::{
    BINARY, Running, Said, Server, address_in, charkh, connect, echo, has_ipv6, read, run, until,
};

/// One sentence, on standard error alone.
#[track_caller]
fn assert_complains(said: &Said, code: i32, parts: &[&str]) {
    assert_eq!((said.code, said.stdout.len()), (code, 0), "{said:?}");
    let lines: Vec<&str> = said.stderr.lines().collect();
    assert!(lines.len() == 1 && lines[0].starts_with("charkh: "), "{said:?}");
    assert!(parts.iter().all(|part| lines[0].contains(part)), "{said:?} and not {parts:?}");
    assert!(!lines[0].contains("os error"), "{said:?}");
}

#[test]
fn case_013_a_busy_port_is_one_sentence() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = busy.local_addr().unwrap().to_string();
    let said = charkh(&["serve", &addr]);
    assert_complains(&said, 1, &["cannot listen on", &addr, "already in use"]);
}

#[test]
fn case_088_the_second_server_on_one_port_fails_and_the_first_does_not_notice() {
    let server = Server::new("--protocol echo");
    let addr = server.addr.to_string();
    assert_complains(&charkh(&["serve", &addr]), 1, &[&addr, "already in use"]);
    // Nor does it start if only one of them allows it.
    let said = charkh(&["serve", &addr, "--reuse-port"]);
    assert_complains(&said, 1, &[&addr, "already in use"]);
    server.check_echo();
    server.stop();
}

#[test]
fn case_013_of_two_addresses_one_that_fails_leaves_nothing_half_open() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = busy.local_addr().unwrap().to_string();
    let said = charkh(&["serve", "127.0.0.1:0", &addr]);
    assert_eq!((said.code, said.stdout.as_slice()), (1, &b""[..]), "{said:?}");
    let last = said.stderr.lines().last().unwrap();
    assert!(last.starts_with(&format!("charkh: cannot listen on {addr}: ")), "{said:?}");
    // The log may tell of the good one; it is closed by now.
    let other = said.stderr.lines().find(|line| line.contains("listening on tcp"));
    if let Some(line) = other {
        assert!(std::net::TcpStream::connect(address_in(line)).is_err(), "{said:?}");
    }
}

#[test]
fn case_013_addresses_that_are_none() {
    for (text, part) in [
        ("", "no address"),
        ("localhost", "no port"),
        ("localhost:", "no port"),
        ("localhost:http", "no number"),
        ("localhost:65536", "too large"),
        ("127.0.0.1:-1", "no number"),
        (":8080", "no host"),
        ("::1:80", "brackets"),
        ("[::1]", "no port"),
        ("[::1", "bracket"),
        ("http://localhost:80", "localhost:80"),
    ] {
        for args in [&["serve", text][..], &["send", "--to", text, "hello"]] {
            let said = charkh(args);
            assert!(said.code == 1 || said.code == 2, "{said:?}");
            assert!(said.stdout.is_empty() && said.stderr.contains(part), "{text:?}: {said:?}");
            assert!(said.stderr.lines().next().unwrap().len() < 200, "{said:?}");
        }
    }
}

#[test]
fn case_013_a_host_that_nobody_knows_and_an_address_of_somebody_else() {
    let said = charkh(&["serve", "no-such-host.invalid:7000"]);
    assert_complains(&said, 1, &["cannot find the host of no-such-host.invalid:7000"]);
    // Reserved for documents: no machine has it.
    let said = charkh(&["serve", "192.0.2.1:7000"]);
    assert_complains(&said, 1, &["cannot listen on 192.0.2.1:7000", "no such address"]);
}

#[test]
fn options_that_are_none() {
    for (args, part) in [
        (&["serve", "--protocol", "smtp"][..], "smtp"),
        (&["serve", "--no-such-option"], "--no-such-option"),
        (&["serve", "--idle", "soon"], "soon"),
        (&["serve", "--idle", "30"], "30s"),
        (&["serve", "--max-connections", "0"], "at least 1"),
        (&["serve", "--memory-max", "much"], "much"),
        (&["nothing"], "nothing"),
        (&[], "Usage"),
    ] {
        let said = charkh(args);
        assert_eq!((said.code, said.stdout.as_slice()), (2, &b""[..]), "{said:?}");
        assert!(said.stderr.contains(part), "{said:?}");
    }
    let said = charkh(&["serve", "127.0.0.1:0", "--output-low", "1M"]);
    assert_complains(&said, 1, &["--output-low", "--output-high"]);
    for args in [&["--help"][..], &["--version"], &["serve", "--help"], &["send", "--help"]] {
        let said = charkh(args);
        assert!(said.code == 0 && said.stderr.is_empty() && !said.stdout.is_empty(), "{said:?}");
    }
}

#[test]
#[cfg(unix)]
fn case_014_more_connections_than_descriptors_are_refused_at_the_start() {
    let said = charkh(&["serve", "127.0.0.1:0", "--max-connections", "1000000000"]);
    assert_complains(&said, 1, &["1000000000", "descriptors", "--max-connections"]);
    let script = "ulimit -n 64; exec \"$0\" serve 127.0.0.1:0 --max-connections 50";
    let said = run(Command::new("sh").args(["-c", script, BINARY]), b"");
    assert_complains(&said, 1, &["50 connections", "64 descriptors"]);
    let script = "ulimit -n 20; exec \"$0\" serve 127.0.0.1:0";
    let said = run(Command::new("sh").args(["-c", script, BINARY]), b"");
    assert_complains(&said, 1, &["20 descriptors"]);
    Server::with_descriptors(64, "--protocol echo --max-connections 32").check_echo();
}

#[test]
#[cfg(target_os = "linux")]
fn two_servers_share_a_port_if_both_say_so() {
    let one = Server::new("--protocol echo --reuse-port");
    let two = Server::at(&one.addr.to_string(), "--protocol echo --reuse-port");
    assert_eq!(one.addr, two.addr);
    let baselines = [&one, &two].map(|server| server.running.descriptors());
    let mut clients: Vec<_> = (0..200).map(|_| connect(one.addr)).collect();
    clients.iter_mut().for_each(|client| echo(client, b"hello"));
    let shares: Vec<usize> = [&one, &two]
        .iter()
        .zip(baselines)
        .map(|(server, before)| server.running.descriptors() - before)
        .collect();
    assert!(shares.iter().sum::<usize>() == 200 && !shares.contains(&0), "{shares:?}");
    drop(clients);
    // What the kernel gives to one that stops is answered or goes to the other.
    one.stop();
    two.check_echo();
    two.stop();
}

#[test]
fn case_015_several_addresses_and_both_families() {
    if !has_ipv6() {
        return;
    }
    let mut command = Command::new(BINARY);
    command.args(["serve", "127.0.0.1:0", "[::1]:0", "localhost:0", "--protocol", "echo"]);
    let server = Server::from(&mut command);
    let listening = until("three addresses are told", || {
        let lines = server.running.stdout.so_far();
        (lines.len() >= 3).then_some(lines)
    });
    assert!(listening.iter().all(|line| line.starts_with("listening on tcp ")), "{listening:?}");
    let addrs: Vec<_> = listening.iter().map(|line| address_in(line)).collect();
    assert!(addrs.iter().any(|addr| addr.is_ipv6()) && addrs.iter().any(|addr| addr.is_ipv4()));
    addrs.iter().for_each(|addr| echo(&mut connect(*addr), b"hello"));
    server.stop();
}

#[test]
fn case_015_every_interface_is_both_families_or_ipv6_alone() {
    if !has_ipv6() {
        return;
    }
    let server = Server::at("[::]:0", "--protocol echo");
    let port = server.addr.port();
    let both = [format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
    both.iter().for_each(|addr| echo(&mut connect(addr.parse().unwrap()), b"hello"));
    server.stop();
    let server = Server::at("[::]:0", "--protocol echo --only-v6");
    let port = server.addr.port();
    echo(&mut connect(format!("[::1]:{port}").parse().unwrap()), b"hello");
    assert!(std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err());
    server.stop();
}

#[test]
fn statistics_come_while_nothing_happens_and_say_what_happened() {
    let server = Server::new("--protocol echo --stats 100ms");
    // While nobody is there.
    server.running.stdout.find("connections 0 accepts 0 messages 0 ");
    let mut client = server.connect();
    echo(&mut client, b"hello");
    let line = server.running.stdout.find(" accepts 1 ");
    let fields: Vec<&str> = line.split(' ').collect();
    let names: Vec<&str> = fields.iter().step_by(2).copied().collect();
    assert_eq!(fields.len() % 2, 0, "{line}");
    assert_eq!(
        names[..12],
        [
            "seconds",
            "connections",
            "accepts",
            "messages",
            "bytes_in",
            "bytes_out",
            "turns",
            "turn_p50",
            "turn_p99",
            "turn_max",
            "memory",
            "timers_armed"
        ],
        "{line}"
    );
    drop(client);
    let (stdout, _) = server.stop_and_tell();
    let sum = |name: &str| -> u64 {
        let value = |line: &String| {
            let (_, rest) = line.split_once(&format!(" {name} "))?;
            rest.split(' ').next()?.parse::<u64>().ok()
        };
        stdout.iter().filter_map(value).sum()
    };
    assert_eq!((sum("accepts"), sum("messages")), (1, 1));
    assert_eq!((sum("bytes_in"), sum("bytes_out")), (5, 5));
}

#[test]
fn nobody_reads_its_standard_output_and_it_serves_on() {
    let mut command = Command::new(BINARY);
    command.args(["serve", "127.0.0.1:0", "--protocol", "echo", "--stats", "10ms"]);
    let server = Server::of(Running::heard(&mut command, 1, usize::MAX));
    let mut client = server.connect();
    // Lines are due all this time, and find a closed pipe.
    (0..200).for_each(|_| {
        echo(&mut client, b"still here");
        std::thread::sleep(std::time::Duration::from_millis(1));
    });
    drop(client);
    server.stop();
}

#[test]
#[cfg(unix)]
fn nobody_reads_its_standard_error_and_it_serves_on() {
    let mut command = Command::new(BINARY);
    command.args(["serve", "127.0.0.1:0", "--protocol", "echo", "--log-level", "debug"]);
    let mut server = Server::of(Running::heard(&mut command, usize::MAX, 1));
    for _ in 0..100 {
        server.check_echo();
    }
    server.running.signal("TERM");
    assert_eq!(server.running.exit_code(), 0);
}

#[test]
#[cfg(unix)]
fn case_069_a_log_that_stands_still_does_not_hold_up_the_loop() {
    // A pipe that is open and never read: it fills after some hundred lines.
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(BINARY);
    command.args(["serve", "127.0.0.1:0", "--protocol", "echo", "--log-level", "trace"]);
    let mut server = Server::of(Running::with_stderr(&mut command, writer, usize::MAX));
    for _ in 0..3000 {
        let mut client = server.connect();
        client.write_all(b"hello").unwrap();
        assert_eq!(read(&mut client, 5), b"hello");
    }
    server.running.signal("TERM");
    assert_eq!(server.running.exit_code(), 0);
    drop(reader);
}

#[test]
#[cfg(target_os = "linux")]
fn case_069_a_line_that_cannot_be_written_is_not_the_last() {
    use std::{fs::File, io::Read, os::fd::AsRawFd};
    let (reader, writer) = std::io::pipe().unwrap();
    let kept = writer.try_clone().unwrap();
    drop(reader);
    let mut command = Command::new(BINARY);
    command.args(["serve", "127.0.0.1:0"]);
    let mut server = Server::of(Running::with_stderr(&mut command, writer, usize::MAX));
    drop(command); // it holds the pipe as well
    server.running.until_asleep();
    // That it listens was for nobody. Here is somebody again.
    let mut reader = File::open(format!("/proc/self/fd/{}", kept.as_raw_fd())).unwrap();
    server.running.signal("TERM");
    assert_eq!(server.running.exit_code(), 0);
    drop(kept);
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert!(log.contains("stopped after"), "{log:?}");
}

#[test]
#[cfg(unix)]
fn case_069_ten_thousand_bad_clients_are_a_few_lines() {
    let server = Server::new("--protocol chat --max-per-ip 3");
    let start = std::time::Instant::now();
    let inside: Vec<_> = (0..3)
        .map(|_| {
            let mut client = server.connect();
            assert!(crate::support::read_line(&mut client).starts_with("* you are"));
            client
        })
        .collect();
    for _ in 0..10_000 {
        // Refused, with a reset if it was quick to talk.
        let mut client = server.connect();
        let _ = client.write_all(b"\x1b[2J\r\nGET / HTTP/1.1\r\n\r\n");
    }
    drop(inside);
    let most = 10 * (start.elapsed().as_secs() + 2);
    let log = server.stop();
    assert!((log.len() as u64) < most, "{} lines: {:#?}", log.len(), &log[..20]);
}
