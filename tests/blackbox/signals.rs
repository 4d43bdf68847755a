//! Signals: stopping without losing an answer, and everything that must not stop it.
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    process::Command,
    thread,
};

use crate::support::{
    PATIENCE, Pattern, Server, connect, echo, ends_well, is_reset, read, read_line, read_to_end,
    until,
};

/// Nothing may depend on these running out.
const FOR_EVER: &str = "--grace 1h --linger 1h";

#[test]
fn case_081_who_is_idle_is_told_and_the_exit_is_clean() {
    for name in ["TERM", "INT"] {
        let mut server = Server::new(&format!("--protocol echo {FOR_EVER}"));
        let mut clients: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
        clients.iter_mut().step_by(2).for_each(|client| echo(client, b"hello"));
        server.running.signal(name);
        assert!(clients.iter_mut().all(|client| read_to_end(client).is_empty()));
        drop(clients);
        let log = server.ended(0);
        assert!(log.iter().any(|line| line.contains("stopped after")), "{log:#?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn case_086_whoever_asked_before_the_signal_is_answered_even_from_the_backlog() {
    for round in 0..20 {
        let mut server = Server::new(&format!("--protocol echo {FOR_EVER}"));
        let mut clients: Vec<TcpStream> = (0..30).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| echo(client, b"hello"));
        // Stand still, so that all of this is there when the signal is.
        server.running.signal("STOP");
        clients.extend((0..30).map(|_| server.connect()));
        let requests: Vec<Vec<u8>> =
            (0..clients.len()).map(|n| Pattern::bytes(round, 1 + n * 100)).collect();
        for (client, request) in clients.iter_mut().zip(&requests) {
            client.write_all(request).unwrap();
        }
        // Some have also said that this was all.
        clients.iter().step_by(3).for_each(|client| client.shutdown(Shutdown::Write).unwrap());
        server.running.signal("TERM");
        server.running.signal("CONT");
        for (client, request) in clients.iter_mut().zip(&requests) {
            assert!(read_to_end(client) == *request, "round {round}");
        }
        drop(clients);
        server.ended(0);
    }
}

#[test]
fn case_086_whoever_waited_for_room_is_answered_too() {
    let mut server = Server::new(&format!("--protocol echo --max-connections 3 {FOR_EVER}"));
    let mut inside: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    inside.iter_mut().for_each(|client| echo(client, b"hello"));
    let mut outside: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    outside.iter_mut().for_each(|client| client.write_all(b"hello").unwrap());
    server.running.signal("TERM");
    assert!(inside.iter_mut().all(|client| read_to_end(client).is_empty()));
    drop(inside);
    for mut client in outside {
        assert_eq!(read_to_end(&mut client), b"hello");
    }
    server.ended(0);
}

/// Ask and hear, one after the other, until the server ends; tell how many were answered.
fn keep_asking(mut client: TcpStream, salt: usize) -> usize {
    for n in 0.. {
        let request = format!("{salt:4} {n:8}\n");
        // The server may have ended its half; it still lets us talk.
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 14];
        // An end in the place of an answer is clear. An end within one is a lost answer.
        if client.read(&mut answer[..1]).unwrap() == 0 {
            return n;
        }
        client.read_exact(&mut answer[1..]).unwrap();
        assert_eq!(answer, request.as_bytes());
    }
    unreachable!()
}

#[test]
fn case_081_under_load_every_connection_ends_between_two_answers() {
    for round in 0..20 {
        let mut server = Server::new(&format!("--protocol echo {FOR_EVER}"));
        let asking: Vec<_> = (0..8)
            .map(|salt| {
                let client = server.connect();
                thread::spawn(move || keep_asking(client, salt))
            })
            .collect();
        // Connections come and go meanwhile; from some moment on they are refused.
        let addr = server.addr;
        let coming = thread::spawn(move || {
            for n in 0.. {
                let Ok(mut client) = TcpStream::connect(addr) else { return n };
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                let asked = client.write_all(b"x").and_then(|()| client.read(&mut [0]));
                match asked {
                    Ok(1) => {}
                    // It had said nothing yet when the server looked.
                    Ok(0) => {}
                    // It came after the last look at the queue; the kernel told it.
                    Err(e) if is_reset(&e) => {}
                    other => panic!("{other:?} in the place of an answer"),
                }
            }
            unreachable!()
        });
        // Some moment: it differs from round to round.
        for _ in 0..round * 10 {
            echo(&mut connect(addr), b"?");
        }
        server.running.signal("TERM");
        for thread in asking {
            thread.join().unwrap();
        }
        coming.join().unwrap();
        server.ended(0);
    }
}

/// Holds a stopping server up: it wants an answer of which it reads nothing.
fn hold_up(server: &Server) -> TcpStream {
    let client = server.connect();
    client.set_nonblocking(true).unwrap();
    let piece = [b'x'; 64 << 10];
    // The server has stopped reading when it takes no more for a while.
    let (mut taken, mut full) = (0, 0);
    while full < 100 {
        match (&client).write(&piece) {
            Ok(size) => (taken, full) = (taken + size, 0),
            Err(_) => {
                full += 1;
                thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }
    assert!(taken > 0);
    client
}

#[test]
fn case_082_a_second_signal_ends_it_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT"), ("INT", "TERM")] {
        let mut server = Server::new(&format!("--protocol echo --write-stall off {FOR_EVER}"));
        let client = hold_up(&server);
        server.running.signal(first);
        server.log().find("stopping: ");
        assert!(server.running.is_running());
        server.running.signal(second);
        assert_eq!(server.running.exit_code(), 130, "{first}, then {second}");
        drop(client);
    }
}

#[test]
fn case_084_the_grace_ends_what_does_not_end() {
    let options = "--protocol echo --write-stall off --linger 1h --grace 300ms";
    let mut server = Server::new(options);
    let client = hold_up(&server);
    let start = std::time::Instant::now();
    server.running.signal("TERM");
    let log = server.ended(0);
    assert!(start.elapsed().as_millis() >= 300);
    assert!(log.iter().any(|line| line.contains("connections that were not done: 1")), "{log:#?}");
    drop(client);
}

#[test]
fn case_085_other_signals_harm_nobody() {
    let server = Server::new("--protocol echo --idle 1h");
    let mut client = server.connect();
    for name in ["HUP", "PIPE", "CHLD", "URG", "WINCH", "CONT"] {
        server.running.signal(name);
        echo(&mut client, name.as_bytes());
    }
    server.log().find("SIGHUP");
    server.running.signal("USR1");
    let line = server.running.stdout.find("seconds ");
    assert!(line.contains(" connections 1 accepts 1 messages "), "{line}");
    drop(client);
    server.stop();
}

#[test]
#[cfg(target_os = "linux")]
fn case_085_stopped_and_continued_it_goes_on() {
    let server = Server::new("--protocol echo --idle 20s --stats 50ms");
    let mut client = server.connect();
    for _ in 0..3 {
        echo(&mut client, b"before");
        server.running.signal("STOP");
        client.write_all(b"while").unwrap();
        // It stands still, and time goes by.
        thread::sleep(std::time::Duration::from_millis(200));
        server.running.signal("CONT");
        assert_eq!(read(&mut client, 5), b"while");
    }
    let seen = server.running.stdout.so_far().len();
    server.running.stdout.find_after(seen, "seconds ");
    drop(client);
    server.stop();
}

#[test]
fn case_032_a_storm_of_signals_disturbs_nobody() {
    let server = Server::new("--protocol echo");
    let pid = server.running.pid();
    let storm = format!(
        "i=0; while [ $i -lt 3000 ]; do kill -USR1 {pid}; kill -HUP {pid}; i=$((i+1)); done"
    );
    let mut storm = Command::new("sh").args(["-c", &storm]).spawn().unwrap();
    let (mut client, mut n) = (server.connect(), 0);
    while storm.try_wait().unwrap().is_none() {
        echo(&mut client, &Pattern::bytes(n, 1000));
        n += 1;
    }
    assert!(storm.wait().unwrap().success());
    server.running.stdout.find("seconds ");
    let seen = server.running.stdout.so_far().len();
    server.running.signal("USR1");
    server.running.stdout.find_after(seen, "seconds ");
    drop(client);
    server.stop();
}

/// Addresses of their own: a client that reconnects while nobody listens could otherwise be given
/// the very port that it looks for, and be its own server.
#[test]
#[cfg(target_os = "linux")]
fn case_087_killed_under_load_it_is_back_at_once() {
    let mut server = Server::at("127.87.87.1:0", "--protocol echo");
    let addr = server.addr;
    let clients: Vec<_> = (0..8)
        .map(|salt: u8| {
            thread::spawn(move || {
                let mut lives = 0;
                while lives < 5 {
                    let Ok(client) = TcpStream::connect(addr) else { continue };
                    lives += 1;
                    talk(client, salt);
                }
            })
        })
        .collect();
    for _ in 0..5 {
        // They are at it, all of them or not.
        for _ in 0..50 {
            server.check_echo();
        }
        // The kernel remembers those that end in good order, and would keep the port for them.
        let mut calm: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
        calm.iter_mut().for_each(|client| echo(client, b"hello"));
        server.running.kill();
        assert!(calm.iter_mut().all(ends_well));
        drop(calm);
        server = Server::at(&addr.to_string(), "--protocol echo");
        server.check_echo();
    }
    while clients.iter().any(|client| !client.is_finished()) {
        server.running.kill();
        server = Server::at(&addr.to_string(), "--protocol echo");
        server.check_echo();
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    server.stop();
}

/// Until the server dies.
#[cfg(target_os = "linux")]
fn talk(mut client: TcpStream, salt: u8) {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        let mut answer = [0];
        match client.write_all(&[salt]).and_then(|()| client.read(&mut answer)) {
            Ok(1) => assert_eq!(answer, [salt]),
            Ok(_) => return,
            Err(e) => {
                assert!(is_reset(&e), "{e}");
                return;
            }
        }
    }
}

#[test]
fn a_room_is_closed_in_good_order() {
    let mut server = Server::new(&format!("--protocol chat {FOR_EVER}"));
    let mut clients: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| assert!(read_line(client).starts_with("* you are")));
    // Half a question is waited for, and the whole of it is answered.
    let mut asking = clients.pop().unwrap();
    asking.write_all(b"/nick ann\n/wh").unwrap();
    until("the half has come", || (read_line(&mut asking) == "* you are ann").then_some(()));
    server.running.signal("TERM");
    assert!(clients.iter_mut().all(ends_well));
    drop(clients);
    asking.write_all(b"o\n").unwrap();
    let answer = String::from_utf8(read_to_end(&mut asking)).unwrap();
    assert!(answer.contains("ann"), "{answer}");
    drop(asking);
    server.ended(0);
}
