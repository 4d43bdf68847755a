//! Clients that vanish, at every moment there is.
use std::{io::Write, net::Shutdown};

use crate::support::{Server, echo, read, read_line, reset};

/// Everything as before: it answers, it holds nothing, it rests, and it did not complain at length.
fn check_health(server: Server, #[cfg(target_os = "linux")] baseline: usize) {
    server.check_echo();
    #[cfg(target_os = "linux")]
    {
        server.assert_baseline(baseline);
        server.running.assert_rests();
    }
    let log = server.stop();
    assert!(log.len() < 20, "{} lines: {log:#?}", log.len());
}

#[test]
fn case_028_resets_in_the_middle_of_everything() {
    let server = Server::new("--protocol echo");
    #[cfg(target_os = "linux")]
    let baseline = server.baseline();
    let mut polite = server.connect();
    let long = vec![b'x'; 100_000];
    for n in 0..3000 {
        let mut client = server.connect();
        match n % 6 {
            // Before a word.
            0 => {}
            // With a request on its way.
            1 => client.write_all(b"hello").unwrap(),
            // With an answer that is not read.
            2 => {
                client.write_all(b"hello").unwrap();
                client.peek(&mut [0]).unwrap();
            }
            // With answers that do not fit.
            3 => client.write_all(&long).unwrap(),
            // After our end.
            4 => {
                client.write_all(b"hello").unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            }
            // In good order, for once; but without reading what came.
            _ => {
                client.write_all(b"hello").unwrap();
                client.peek(&mut [0]).unwrap();
                drop(client);
                continue;
            }
        }
        reset(client);
        if n % 100 == 0 {
            echo(&mut polite, b"still here?");
        }
    }
    echo(&mut polite, b"still here");
    drop(polite);
    #[cfg(target_os = "linux")]
    check_health(server, baseline);
    #[cfg(not(target_os = "linux"))]
    check_health(server);
}

#[test]
fn case_028_resets_in_the_middle_of_a_line_leave_the_room() {
    let server = Server::new("--protocol chat");
    let mut ann = server.connect();
    read_line(&mut ann);
    for n in 0..500 {
        let mut client = server.connect();
        client.write_all(&b"half a line"[..n % 12]).unwrap();
        reset(client);
    }
    // Whoever was accepted has left. Those that were reset before that were never there.
    let mut bob = server.connect();
    read_line(&mut bob);
    bob.write_all(b"/who\n").unwrap();
    loop {
        match read_line(&mut bob).as_str() {
            line if line.starts_with("* 2: ") => break,
            line if line.starts_with("* ") && line.ends_with(" left") => {
                bob.write_all(b"/who\n").unwrap();
            }
            _ => {}
        }
    }
    drop((ann, bob));
    server.stop();
}

#[test]
fn case_058_a_thousand_resets_at_one_moment() {
    let server = Server::new("--protocol echo");
    #[cfg(target_os = "linux")]
    let baseline = server.baseline();
    let mut polite = server.connect();
    for _ in 0..3 {
        let mut crowd: Vec<_> = (0..1000).map(|_| server.connect()).collect();
        crowd.iter_mut().for_each(|client| client.write_all(b"hello").unwrap());
        crowd.iter_mut().for_each(|client| assert_eq!(read(client, 5), b"hello"));
        crowd.into_iter().for_each(reset);
        echo(&mut polite, b"still here");
    }
    drop(polite);
    #[cfg(target_os = "linux")]
    check_health(server, baseline);
    #[cfg(not(target_os = "linux"))]
    check_health(server);
}

/// While the server is stopped by a signal the kernel alone accepts: all of this is over before
/// the server hears of it.
#[cfg(target_os = "linux")]
mod before_accept {
    use super::*;
    use crate::support::{Pattern, connect, read_to_end};

    #[test]
    fn case_005_connections_that_died_before_they_were_accepted() {
        let server = Server::new("--protocol echo");
        let baseline = server.baseline();
        let mut polite = server.connect();
        for _ in 0..5 {
            server.running.signal("STOP");
            for n in 0..2000 {
                let mut client = server.connect();
                if n % 2 == 0 {
                    client.write_all(b"hello").unwrap();
                }
                reset(client);
            }
            polite.write_all(b"still here").unwrap();
            server.running.signal("CONT");
            assert_eq!(read(&mut polite, 10), b"still here");
            // Whoever is answered now stood behind all of them.
            server.check_echo();
        }
        drop(polite);
        check_health(server, baseline);
    }

    #[test]
    fn case_005_ten_thousand_resets_as_fast_as_it_goes() {
        let server = Server::new("--protocol echo");
        let baseline = server.baseline();
        (0..10_000).for_each(|_| reset(server.connect()));
        check_health(server, baseline);
    }

    #[test]
    fn case_006_who_ended_before_being_accepted_is_answered() {
        let server = Server::new("--protocol echo");
        let baseline = server.baseline();
        server.running.signal("STOP");
        let mut clients = Vec::new();
        for n in 0..300 {
            let mut client = connect(server.addr);
            let bytes = Pattern::bytes(n, n as usize * 100);
            client.write_all(&bytes).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            clients.push((client, bytes));
        }
        server.running.signal("CONT");
        for (mut client, bytes) in clients {
            assert!(read_to_end(&mut client) == bytes);
        }
        check_health(server, baseline);
    }
}
