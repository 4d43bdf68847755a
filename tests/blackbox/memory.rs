//! Clients that take without reading, or promise without end.
use std::{
    io::Write,
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::support::{
    Server, connect_from, echo, is_reset, memory_is_its_own, memory_of, read_line, read_to_end,
};

/// What may come and go beside the memory that is looked at.
const SLACK: usize = 1 << 20;

/// Writes until the connection fails, and never reads; tells how much was taken.
fn hog(mut client: TcpStream) -> JoinHandle<usize> {
    thread::spawn(move || {
        let (piece, mut taken) = (vec![b'x'; 64 << 10], 0);
        loop {
            match client.write(&piece) {
                Ok(size) => taken += size,
                Err(e) if is_reset(&e) => return taken,
                Err(e) => panic!("after {taken} bytes: {e}"),
            }
        }
    })
}

/// Looks at the memory of a server all the time.
struct Peak {
    done: Arc<AtomicBool>,
    most: JoinHandle<usize>,
    before: usize,
}

impl Peak {
    fn of(server: &Server) -> Self {
        let (pid, done) = (server.running.pid(), Arc::new(AtomicBool::new(false)));
        let (before, told) = (memory_of(pid), done.clone());
        let most = thread::spawn(move || {
            let mut most = 0;
            while !told.load(Ordering::Relaxed) {
                most = memory_of(pid).max(most);
                thread::sleep(Duration::from_millis(1));
            }
            most
        });
        Self { done, most, before }
    }

    /// It never grew by more.
    fn assert_within(self, bytes: usize) {
        self.done.store(true, Ordering::Relaxed);
        let grew = self.most.join().unwrap().saturating_sub(self.before);
        println!("memory grew by {grew} bytes");
        let fine = grew <= bytes || !memory_is_its_own();
        assert!(fine, "memory grew by {grew} bytes, and {bytes} were allowed");
    }
}

#[test]
fn case_037_who_never_reads_costs_little_is_cut_off_and_delays_nobody() {
    let server = Server::new("--protocol echo --write-stall 500ms --stats 1h");
    let mut polite = server.connect();
    (0..100).for_each(|_| echo(&mut polite, &[b'p'; 50_000]));
    let peak = Peak::of(&server);
    let hog = hog(connect_from("127.0.0.1", server.addr, 4096));
    while !hog.is_finished() {
        echo(&mut polite, b"am I served?");
    }
    let taken = hog.join().unwrap();
    echo(&mut polite, b"I am");
    drop(polite);
    // 64 KiB may wait and be answered once more; for the rest there is the kernel.
    peak.assert_within(SLACK);
    assert!(taken > 64 << 10, "only {taken} bytes were taken");
    let (stdout, _) = server.stop_and_tell();
    assert!(stdout.last().unwrap().contains(" ended_write_stalled 1"), "{stdout:#?}");
}

#[test]
fn case_037_a_gigabyte_that_nobody_keeps() {
    let server = Server::new("--protocol discard");
    let mut client = server.connect();
    let piece = vec![b'x'; 1 << 20];
    client.write_all(&piece).unwrap();
    let peak = Peak::of(&server);
    (0..1024).for_each(|_| client.write_all(&piece).unwrap());
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&mut client).is_empty());
    peak.assert_within(SLACK);
    let log = server.stop();
    let total = format!("{} bytes in, 0 bytes out", 1025 << 20);
    assert!(log.iter().any(|line| line.contains(&total)), "{log:#?}");
}

#[test]
fn case_021_a_line_without_end_is_not_collected() {
    let server = Server::new("--protocol chat --linger-bytes 32MiB --linger 1h");
    let mut other = server.connect();
    assert!(read_line(&mut other).starts_with("* you are"));
    let peak = Peak::of(&server);
    let taken = hog(server.connect()).join().unwrap();
    // It was told to go, and the rest was thrown away; but not for ever.
    assert!(taken >= 32 << 20, "{taken}");
    assert!(read_line(&mut other).ends_with(" joined"));
    assert!(read_line(&mut other).ends_with(" left"));
    peak.assert_within(SLACK);
    drop(other);
    server.stop();
}

#[test]
fn case_038_of_many_who_never_read_the_heaviest_go_and_the_polite_stay() {
    let mut server = Server::new("--protocol echo --memory-max 1MiB");
    let mut polite: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    polite.iter_mut().for_each(|client| echo(client, &[b'p'; 10_000]));
    let peak = Peak::of(&server);
    let hogs: Vec<_> = (0..60).map(|_| hog(connect_from("127.0.0.1", server.addr, 4096))).collect();
    // Each of them holds more than 64 KiB, and for so much there is no room sixteen times.
    while hogs.iter().filter(|hog| hog.is_finished()).count() < 44 {
        polite.iter_mut().for_each(|client| echo(client, b"am I served?"));
    }
    polite.iter_mut().for_each(|client| echo(client, b"I am"));
    // What went is kept for the next, up to a MiB of it. Without a limit it would be 8 MiB.
    peak.assert_within((2 << 20) + SLACK);
    server.running.signal("USR1");
    let line = server.running.stdout.find("seconds ");
    let (_, ended) = line.split_once(" ended_out_of_memory ").unwrap_or_default();
    let ended: usize = ended.split(' ').next().unwrap().parse().unwrap_or(0);
    assert!((44..=60).contains(&ended), "{line}");
    server.running.kill();
    for hog in hogs {
        hog.join().unwrap();
    }
}
