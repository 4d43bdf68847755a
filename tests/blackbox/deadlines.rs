//! Every deadline once, by the clock of the client: never early, and with the right end.
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Server, connect_from, echo, ends_well, is_reset, is_silent, read_line, read_to_end, until,
};

/// Long where this thread must be quicker than it, short where it only waits.
const LONG: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn case_019_who_says_nothing_is_shown_out() {
    let server = Server::new("--protocol echo --first-byte 1s");
    let mut talker = server.connect();
    echo(&mut talker, b"h");
    let start = Instant::now();
    let mut silent = server.connect();
    assert!(ends_well(&mut silent));
    assert!(start.elapsed() >= LONG, "after {:?}", start.elapsed());
    echo(&mut talker, b"I have said something");
    drop(talker);
    server.stop();
}

#[test]
fn case_073_who_is_idle_is_shown_out() {
    let server = Server::new("--protocol echo --idle 1s");
    let mut client = server.connect();
    // One byte now and then is enough, however long it goes on.
    let start = Instant::now();
    while start.elapsed() < LONG + SHORT {
        echo(&mut client, b"x");
        thread::sleep(Duration::from_millis(5));
    }
    let start = Instant::now();
    echo(&mut client, b"last");
    assert!(ends_well(&mut client));
    assert!(start.elapsed() >= LONG, "after {:?}", start.elapsed());
    server.stop();
}

#[test]
fn case_073_who_only_talks_is_not_idle() {
    let server = Server::new("--protocol discard --idle 1s");
    let (mut client, start) = (server.connect(), Instant::now());
    while start.elapsed() < LONG + SHORT {
        client.write_all(b"x").unwrap();
        assert!(is_silent(&client));
        thread::sleep(Duration::from_millis(5));
    }
    let start = Instant::now();
    client.write_all(b"last").unwrap();
    assert!(ends_well(&mut client));
    assert!(start.elapsed() >= LONG, "after {:?}", start.elapsed());
    server.stop();
}

#[test]
fn case_080_a_life_has_an_end_however_busy_it_is() {
    let server = Server::new("--protocol echo --lifetime 1s --idle 1h");
    let start = Instant::now();
    let mut client = server.connect();
    let mut answers = 0;
    loop {
        let result = client.write_all(b"x").and_then(|()| client.read(&mut [0]));
        match result {
            Ok(1) => answers += 1,
            Ok(_) => break,
            Err(e) if is_reset(&e) => break,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(start.elapsed() >= LONG, "after {:?}", start.elapsed());
    assert!(answers > 0);
    server.check_echo();
    server.stop();
}

#[test]
fn case_037_whose_output_stands_still_is_reset() {
    let server = Server::new("--protocol echo --write-stall 300ms");
    let start = Instant::now();
    let mut client = connect_from("127.0.0.1", server.addr, 4096);
    let error = loop {
        if let Err(e) = client.write_all(&[b'x'; 16 << 10]) {
            break e;
        }
    };
    assert!(is_reset(&error), "{error}");
    assert!(start.elapsed() >= SHORT, "after {:?}", start.elapsed());
    server.check_echo();
    server.stop();
}

#[test]
fn case_039_who_reads_slowly_is_not_taken_for_one_who_does_not() {
    read_slowly("--send-buffer 16KiB");
}

/// A kernel with a buffer of some megabytes asks for more only when a third of it is free, though
/// the client takes all it can: it is told to take less.
#[test]
fn case_039_who_reads_slowly_from_a_large_buffer_is_not_either() {
    read_slowly("");
}

fn read_slowly(options: &str) {
    let options = format!("--write-stall 2s --output-high 4096 --output-low 0 {options}");
    let server = Server::new(&format!("--protocol echo {options}"));
    let mut client = connect_from("127.0.0.1", server.addr, 4096);
    let total = fill(&mut client);
    let start = Instant::now();
    let (mut got, mut piece) = (0, [0; 2048]);
    // More than 50 kB a second, all the time.
    while start.elapsed() < Duration::from_secs(3) && got < total {
        got += client.read(&mut piece).unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    while got < total {
        got += client.read(&mut piece).unwrap();
    }
    echo(&mut client, b"still here");
    drop(client);
    server.stop();
}

/// Write until there is no room; tell how much was taken.
fn fill(client: &mut TcpStream) -> usize {
    let mut total = 0;
    client.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    loop {
        match client.write(&[b'x'; 64 << 10]) {
            Ok(size) => total += size,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(e) => panic!("{e}"),
        }
    }
    client.set_write_timeout(Some(crate::support::PATIENCE)).unwrap();
    total
}

#[test]
fn case_047_a_closed_connection_waits_for_the_clients_end_but_not_for_ever() {
    let server = Server::new("--protocol chat --linger 300ms");
    let mut client = server.connect();
    read_line(&mut client);
    let start = Instant::now();
    client.write_all(b"/quit\n").unwrap();
    // Our end comes at once, in good order, although the client has not ended.
    assert_eq!(read_to_end(&mut client), b"* goodbye\n");
    // From the server's point of view the client is still there, and may talk to the wall.
    let error = until("a lingering connection is given up", || client.write_all(b"x").err());
    assert!(is_reset(&error), "{error}");
    assert!(start.elapsed() >= SHORT, "after {:?}", start.elapsed());
    server.stop();
}

#[test]
fn without_deadlines_nobody_is_shown_out() {
    let server = Server::new("--protocol echo --stats 100ms");
    let mut clients: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    // Five lines are half a second.
    until("five lines have come", || {
        let lines = server.running.stdout.so_far();
        (lines.iter().filter(|line| line.contains("connections 10 ")).count() >= 5).then_some(())
    });
    assert!(clients.iter().all(is_silent));
    clients.iter_mut().for_each(|client| echo(client, b"still here"));
    drop(clients);
    server.stop();
}
