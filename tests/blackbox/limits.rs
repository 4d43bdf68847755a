//! More clients than there is room for.
use std::{io::Write, net::TcpStream};

use crate::support::{Server, echo, ends_well, is_silent, read, until_equal};

/// Connects, and says something.
fn ask(server: &Server) -> TcpStream {
    let mut client = server.connect();
    client.write_all(b"hello").unwrap();
    client
}

#[test]
fn case_010_one_too_many_waits_until_there_is_room() {
    let server = Server::new("--protocol echo --max-connections 3");
    let mut inside: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    inside.iter_mut().for_each(|client| echo(client, b"hello"));
    let mut outside = ask(&server);
    for _ in 0..20 {
        inside.iter_mut().for_each(|client| echo(client, b"busy"));
    }
    assert!(is_silent(&outside));
    inside.pop();
    assert_eq!(read(&mut outside, 5), b"hello");
    inside.iter_mut().for_each(|client| echo(client, b"still here"));
    drop((inside, outside));
    server.stop();
}

#[test]
fn case_010_one_too_many_is_refused_at_once_where_that_was_asked_for() {
    let server = Server::new("--protocol echo --max-connections 3 --when-full refuse");
    let mut inside: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    inside.iter_mut().for_each(|client| echo(client, b"hello"));
    assert!(ends_well(&mut server.connect()));
    for _ in 0..1000 {
        ends_well(&mut server.connect());
    }
    inside.iter_mut().for_each(|client| echo(client, b"still here"));
    inside.pop();
    until_equal("an answer", true, || {
        let mut client = server.connect();
        // It may still be full; then a reset or an end comes instead of an answer.
        let answer = client.write_all(b"x").and_then(|()| client.peek(&mut [0]));
        answer.is_ok_and(|size| size == 1)
    });
    drop(inside);
    let log = server.stop();
    let lines = log.iter().filter(|line| line.contains("refused a connection")).count();
    assert!((1..10).contains(&lines), "{log:#?}");
}

#[test]
#[cfg(target_os = "linux")]
fn case_011_one_address_cannot_take_all() {
    use crate::support::connect_from;
    let server = Server::new("--protocol echo --max-per-ip 2");
    let mut inside: Vec<TcpStream> =
        (0..2).map(|_| connect_from("127.0.0.1", server.addr, 0)).collect();
    inside.iter_mut().for_each(|client| echo(client, b"hello"));
    for _ in 0..100 {
        assert!(ends_well(&mut connect_from("127.0.0.1", server.addr, 0)));
    }
    echo(&mut connect_from("127.0.0.2", server.addr, 0), b"I am somebody else");
    inside.iter_mut().for_each(|client| echo(client, b"still here"));
    inside.pop();
    until_equal("an answer", true, || {
        let mut client = connect_from("127.0.0.1", server.addr, 0);
        let answer = client.write_all(b"x").and_then(|()| client.peek(&mut [0]));
        answer.is_ok_and(|size| size == 1)
    });
    drop(inside);
    let log = server.stop();
    let lines = log.iter().filter(|line| line.contains("too many connections from")).count();
    assert!((1..10).contains(&lines), "{log:#?}");
}

#[test]
#[cfg(target_os = "linux")]
fn case_011_an_address_is_the_same_in_ipv4_and_in_ipv6() {
    use crate::support::{connect_from, has_ipv6};
    if !has_ipv6() {
        return;
    }
    let server = Server::at("[::]:0", "--protocol echo --max-per-ip 1");
    let port = server.addr.port();
    let v4 = format!("127.0.0.1:{port}").parse().unwrap();
    let v6 = format!("[::ffff:127.0.0.1]:{port}").parse().unwrap();
    let mut first = connect_from("127.0.0.1", v4, 0);
    echo(&mut first, b"hello");
    assert!(ends_well(&mut connect_from("[::ffff:127.0.0.1]", v6, 0)));
    echo(&mut connect_from("[::1]", format!("[::1]:{port}").parse().unwrap(), 0), b"another");
    echo(&mut first, b"still here");
    drop(first);
    server.stop();
}

/// The kernel's own limit, which comes without warning.
#[cfg(target_os = "linux")]
mod descriptors {
    use super::*;
    use crate::support::connect;

    const CLIENTS: usize = 150;

    /// From now on the server may have so many descriptors, whatever it was told at its start.
    fn allow(server: &Server, descriptors: u64) {
        let (pid, nofile) = (server.running.pid() as _, rlimit::Resource::NOFILE);
        let (mut soft, mut hard) = (0, 0);
        rlimit::prlimit(pid, nofile, None, Some((&mut soft, &mut hard))).unwrap();
        rlimit::prlimit(pid, nofile, Some((descriptors, hard)), None).unwrap();
    }

    fn answered(clients: &[TcpStream]) -> usize {
        clients.iter().filter(|client| !is_silent(client)).count()
    }

    /// As clients go, those who wait are served, until all were.
    fn serve_all(clients: Vec<TcpStream>) {
        let mut waiting = clients;
        while !waiting.is_empty() {
            let (ready, silent): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|client| !is_silent(client));
            for mut client in ready {
                assert_eq!(read(&mut client, 5), b"hello");
            }
            waiting = silent;
            // Whoever is first now has somebody's place, or will have it.
            if let Some(client) = waiting.first() {
                client.peek(&mut [0]).unwrap();
            }
        }
    }

    #[test]
    fn case_014_with_few_descriptors_it_serves_as_many_as_it_can_and_all_in_the_end() {
        let server = Server::with_descriptors(64, "--protocol echo");
        let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| ask(&server)).collect();
        // Of 64, what is left beside its own; whoever started this test may have left it some more.
        until_equal("some 40 clients are served", true, || answered(&clients) >= 32);
        server.running.assert_rests();
        assert!((32..=48).contains(&answered(&clients)), "{}", answered(&clients));
        serve_all(clients);
        let log = server.stop();
        assert!(log.len() < 20, "{log:#?}");
    }

    #[test]
    fn case_001_out_of_descriptors_it_rests_and_serves_all_in_the_end() {
        let server = Server::new("--protocol echo");
        let baseline = server.baseline();
        let room = 64 - server.running.descriptors_below(64);
        allow(&server, 64);
        let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| ask(&server)).collect();
        until_equal("clients served", room, || answered(&clients));
        server.running.assert_rests();
        assert_eq!(server.running.descriptors_below(64), 64);
        serve_all(clients);
        server.assert_baseline(baseline);
        let log = server.stop();
        let lines = log.iter().filter(|line| line.contains("cannot accept")).count();
        assert!(lines >= 1 && log.len() < 40, "{log:#?}");
    }

    #[test]
    fn case_001_a_descriptor_that_comes_back_without_an_event_is_used() {
        let server = Server::new("--protocol echo");
        server.baseline();
        // Not even one client fits, so none can go and make room.
        let free = (0..).find(|&n| server.running.descriptors_below(n + 1) <= n).unwrap();
        allow(&server, free as u64);
        let clients: Vec<TcpStream> = (0..5).map(|_| ask(&server)).collect();
        server.log().find("cannot accept");
        server.running.assert_rests();
        assert_eq!(answered(&clients), 0);
        // Nobody tells the server of this.
        allow(&server, 1000);
        until_equal("clients served", 5, || answered(&clients));
        drop(clients);
        server.stop();
    }

    #[test]
    fn case_001_out_of_descriptors_clients_are_refused_where_that_was_asked_for() {
        let server = Server::new("--protocol echo --when-full refuse");
        let baseline = server.baseline();
        let room = 64 - server.running.descriptors_below(64);
        allow(&server, 64);
        let mut inside: Vec<TcpStream> = (0..room).map(|_| connect(server.addr)).collect();
        inside.iter_mut().for_each(|client| echo(client, b"hello"));
        for _ in 0..CLIENTS {
            assert!(ends_well(&mut connect(server.addr)));
        }
        server.running.assert_rests();
        inside.iter_mut().for_each(|client| echo(client, b"still here"));
        drop(inside);
        server.assert_baseline(baseline);
        server.check_echo();
        let log = server.stop();
        assert!(log.len() < 40, "{log:#?}");
    }
}
