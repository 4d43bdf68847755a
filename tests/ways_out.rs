//! Ways out of the traps that no other test needs by itself: what `tests/bite/run` takes away, and
//! what then fails. In the order of those files.
#![allow(clippy::field_reassign_with_default)] // a script is the usual one, but for a line

mod common;

use std::{
    io::{self, IoSlice, Read, Write},
    mem,
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, ThreadId},
    time::Duration,
};

use charkh::{
    Addr, Config, ConnId, Escaped, Handle, Input, Peer, Reactor, Result, WhenFull,
    codec::{Decode, Delimited, LengthPrefixed, Lines, Status, Width},
    net::{Clock, Event, Faults, Net, Os, Received, Sim, SocketOptions, Token, Wake, sim},
};
use common::{Echo, MS, Script, on_data, pattern, read_all, settle, swallow, world};

// --- what is logged ---

/// Keeps what each thread was told, and so each test.
struct Log(Mutex<Vec<(ThreadId, String)>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        let line = (thread::current().id(), record.args().to_string());
        self.0.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

impl Log {
    /// From here on. Each test has a thread, and there is one logger for all.
    fn listen() {
        let _ = log::set_logger(&LOG); // another test has done it
        log::set_max_level(log::LevelFilter::Warn);
    }

    /// The lines of this test with these words.
    fn lines(words: &str) -> Vec<String> {
        let (all, me) = (LOG.0.lock().unwrap(), thread::current().id());
        let mine = all.iter().filter(|(thread, line)| *thread == me && line.contains(words));
        mine.map(|(_, line)| line.clone()).collect()
    }
}

// --- a system with fewer edges ---

/// A simulated world that tells less: nothing of an end behind bytes, and of bytes only once a read
/// would have blocked, as mio does on Windows. What wakes it can be watched.
struct Terse {
    sim: Sim,
    /// Readable, and no read has blocked since.
    told: Vec<Token>,
    watched: Wake,
}

struct TerseStream(sim::SimStream, Option<Token>);

impl Terse {
    fn new(watched: impl Fn() + Send + Sync + 'static) -> Self {
        Self { sim: Sim::new(1), told: Vec::new(), watched: Arc::new(watched) }
    }
}

impl Net for Terse {
    type Listener = sim::SimListener;
    type Stream = TerseStream;
    type Udp = sim::SimUdp;

    const SHORT_MEANS_DONE: bool = false;

    fn now(&mut self) -> Duration {
        self.sim.now()
    }

    fn pause(&mut self, time: Duration) {
        self.sim.pause(time);
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.sim.wait(timeout, events)?;
        for event in events.iter_mut().filter(|event| matches!(event.token, Token::Conn { .. })) {
            event.ending = false;
            event.readable &= !self.told.contains(&event.token);
            self.told.extend(event.readable.then_some(event.token));
        }
        Ok(())
    }

    fn waker(&mut self) -> io::Result<Wake> {
        let (wake, watched) = (self.sim.waker()?, self.watched.clone());
        Ok(Arc::new(move || {
            wake();
            watched();
        }))
    }

    fn listen(
        &mut self,
        addr: &Addr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<(Self::Listener, Addr)> {
        self.sim.listen(addr, options, token)
    }

    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(TerseStream, Addr)> {
        self.sim.accept(listener).map(|(stream, addr)| (TerseStream(stream, None), addr))
    }

    fn refuse(&mut self, listener: &mut Self::Listener) -> io::Result<()> {
        self.sim.refuse(listener)
    }

    fn connect(
        &mut self,
        addr: &Addr,
        source: Option<IpAddr>,
        options: &SocketOptions,
    ) -> io::Result<TerseStream> {
        self.sim.connect(addr, source, options).map(|stream| TerseStream(stream, None))
    }

    fn watch(&mut self, stream: &mut TerseStream, token: Token) -> io::Result<()> {
        stream.1 = Some(token);
        self.sim.watch(&mut stream.0, token)
    }

    fn connected(&mut self, stream: &mut TerseStream) -> io::Result<()> {
        self.sim.connected(&mut stream.0)
    }

    fn take_error(&mut self, stream: &mut TerseStream) -> io::Result<()> {
        self.sim.take_error(&mut stream.0)
    }

    fn read(&mut self, stream: &mut TerseStream, into: &mut [u8]) -> io::Result<usize> {
        let result = self.sim.read(&mut stream.0, into);
        if result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock) {
            self.told.retain(|&token| Some(token) != stream.1);
        }
        result
    }

    fn write(&mut self, stream: &mut TerseStream, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.sim.write(&mut stream.0, bytes)
    }

    fn finish(&mut self, stream: &mut TerseStream) -> io::Result<()> {
        self.sim.finish(&mut stream.0)
    }

    fn reset(&mut self, stream: TerseStream) {
        self.sim.reset(stream.0);
    }

    fn bind_udp(
        &mut self,
        addr: SocketAddr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<(Self::Udp, SocketAddr)> {
        self.sim.bind_udp(addr, options, token)
    }

    fn recv_from(&mut self, socket: &mut Self::Udp, into: &mut [u8]) -> io::Result<Received> {
        self.sim.recv_from(socket, into)
    }

    fn send_to(&mut self, socket: &mut Self::Udp, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.sim.send_to(socket, to, bytes)
    }
}

// --- an accept budget with an edge-triggered listener ---

#[test]
fn a_budget_spent_on_those_who_are_turned_away_leaves_nothing_else_to_wake_the_loop() {
    let limits = Config { conns_per_ip: Some(1), accepts_max: 2, ..Config::default() };
    let mut reactor = world(Echo, 1, limits);
    reactor.net().client();
    settle(&mut reactor);
    (0..5).for_each(|_| {
        reactor.net().client();
    });
    settle(&mut reactor);
    assert_eq!((reactor.net().waiting(), reactor.hub().stats().refused_per_ip), (0, 5));
}

// --- EMFILE, ENFILE, ENOMEM on accept ---

#[test]
fn a_shortage_of_descriptors_is_one_failed_call_in_ten_milliseconds() {
    let mut reactor = world(Echo, 1, Config::default());
    reactor.net().streams_max = 0;
    reactor.net().client();
    (0..51).for_each(|_| reactor.turn().unwrap());
    assert!(reactor.net().now() >= 250 * MS, "{:?}", reactor.net().now());
    let pauses = reactor.hub().stats().accept_pauses;
    assert!(u128::from(pauses) <= reactor.net().now().as_millis() / 10 + 1, "{pauses}");
}

#[test]
fn who_leaves_gives_its_descriptor_to_the_next_at_once() {
    let mut reactor = world(Echo, 1, Config::default());
    reactor.net().streams_max = 1;
    let first = reactor.net().client();
    reactor.net().client();
    while reactor.hub().stats().accept_pauses == 0 {
        reactor.turn().unwrap();
    }
    let start = reactor.net().now();
    reactor.net().finish_client(first);
    reactor.net().deliver_all();
    while reactor.hub().stats().accepted < 2 {
        reactor.turn().unwrap();
    }
    assert_eq!(reactor.net().now(), start, "it waited for the timer");
}

/// In a process of its own, for it takes all the descriptors there are.
#[cfg(unix)]
#[test]
fn without_descriptors_real_clients_are_refused_politely() {
    if std::env::var_os("CHARKH_FEW_DESCRIPTORS").is_none() {
        let name = "without_descriptors_real_clients_are_refused_politely";
        let script = format!("ulimit -n 64; exec \"$0\" --exact {name}");
        let mut alone = std::process::Command::new("sh");
        alone.args(["-c", &script]).arg(std::env::current_exe().unwrap());
        let said = alone.env("CHARKH_FEW_DESCRIPTORS", "1").output().unwrap();
        return assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    }
    let config = Config { when_full: WhenFull::Refuse, ..Config::default() };
    let mut reactor = Reactor::with_config(Echo, config).unwrap();
    let addr = reactor.listen("127.0.0.1:0").unwrap().addr;
    let clients = [(); 3].map(|()| TcpStream::connect(&addr).unwrap());
    let all: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    for _ in 0..20 {
        reactor.turn_within(10 * MS).unwrap();
    }
    let stats = reactor.hub().stats();
    assert_eq!((stats.refused_full, stats.accepted), (3, 0));
    drop(all);
    for mut client in clients {
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "the end, not silence");
    }
}

#[test]
fn a_shortage_that_lasts_is_one_line_a_second() {
    Log::listen();
    let mut reactor = world(Echo, 1, Config::default());
    reactor.net().streams_max = 0;
    reactor.net().client();
    while reactor.net().now() < 2500 * MS {
        reactor.turn().unwrap();
    }
    let lines = Log::lines("cannot accept: ");
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].ends_with(" more like it)"), "{lines:?}");
}

// --- a stale event reaches a reused slot ---

#[test]
fn a_place_in_the_queue_is_not_inherited() {
    let script = on_data(|peer, input| {
        if input.take_all() == b"end them" {
            let me = peer.id();
            let ids: Vec<ConnId> = peer.hub().ids().filter(|&id| id != me).collect();
            ids.into_iter().for_each(|id| peer.to(id).unwrap().abort());
        }
        Ok(())
    });
    let mut reactor = world(script, 2, Config { read_max: 10, ..Config::default() });
    let (busy, other) = (reactor.net().client(), reactor.net().client());
    settle(&mut reactor);
    reactor.net().send(busy, &[0; 1000]);
    reactor.net().send(other, b"0123456789end them");
    reactor.net().deliver_all();
    reactor.turn().unwrap();
    // Neither is done. Busy is served first, and is in the queue again before it is ended.
    reactor.turn().unwrap();
    assert_eq!(reactor.hub().len(), 1);
    reactor.net().client();
    let served = reactor.hub().stats().served;
    reactor.turn().unwrap();
    assert_eq!((reactor.hub().len(), reactor.hub().stats().served), (2, served));
}

#[test]
fn case_012_a_slot_is_not_given_away_before_the_turn_is_over() {
    let mut reactor = world(Echo, 1, Config::default());
    reactor.net().client();
    settle(&mut reactor);
    let first = reactor.hub().ids().next().unwrap();
    let abort = move |_: &mut Echo, hub: &mut charkh::Hub| hub.peer(first).unwrap().abort();
    reactor.handle().run(abort).unwrap();
    reactor.net().client();
    reactor.turn().unwrap();
    let names: Vec<_> = reactor.hub().ids().map(|id| id.to_string()).collect();
    assert_eq!((first.to_string(), names), ("#0.1".into(), vec!["#1.2".into()]));
}

#[test]
fn case_012_closed_in_the_turn_it_came_with_and_the_next_of_that_turn_is_another() {
    let mut is_first = true;
    let mut script = Script::default();
    script.open = Box::new(move |peer| {
        if mem::take(&mut is_first) {
            peer.abort();
        }
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let [gone, stays] = [0; 2].map(|_| reactor.net().client());
    [gone, stays].into_iter().for_each(|client| reactor.net().send(client, b"hello"));
    reactor.net().deliver_all();
    reactor.turn().unwrap();
    let names: Vec<_> = reactor.hub().ids().map(|id| id.to_string()).collect();
    assert_eq!(names, ["#1.2"], "not in the slot that was free again in the same turn");
    assert_eq!(read_all(&mut reactor, stays), b"hello");
    assert!(reactor.net().sees_reset(gone));
    assert_eq!((diary.count("open"), diary.count("data"), diary.count("aborted")), (2, 1, 1));
}

// --- a short read hides an end ---

#[test]
fn the_end_behind_the_last_bytes_is_seen_on_real_sockets() {
    let script = Script::default();
    let diary = script.diary.clone();
    let mut reactor = Reactor::new(script).unwrap();
    let addr = reactor.listen("127.0.0.1:0").unwrap().addr;
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    for _ in 0..50 {
        reactor.turn_within(10 * MS).unwrap();
        if diary.count("closed") == 1 {
            break;
        }
    }
    assert_eq!(diary.lines(), ["open", "data", "eof with 0", "closed"]);
}

#[test]
fn without_edges_that_tell_of_an_end_reading_goes_on_until_it_would_block() {
    let mut reactor = Reactor::with(Echo, Terse::new(|| ()), Config::default()).unwrap();
    reactor.listen("127.0.0.1:1").unwrap();
    let client = reactor.net().sim.client();
    reactor.net().sim.send(client, b"hello");
    while reactor.turn().is_ok() {}
    assert_eq!(reactor.net().sim.receive(client), b"hello");
    reactor.net().sim.finish_client(client);
    while reactor.turn().is_ok() {}
    assert!(reactor.hub().is_empty());
}

// --- a length prefix of 2^63 ---

#[test]
fn a_promised_length_takes_no_memory() {
    let script = on_data(|_, input| {
        let mut codec = LengthPrefixed { width: Width::U64, ..LengthPrefixed::new(usize::MAX) };
        assert!(input.frame(&mut codec)?.is_none());
        Ok(())
    });
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().send(client, &(1_u64 << 63).to_be_bytes());
    reactor.net().send(client, &[0; 100]);
    settle(&mut reactor);
    let held = reactor.hub().stats().memory;
    assert!((108..=2048).contains(&held), "{held} bytes");
}

#[test]
fn a_length_over_the_limit_is_refused_before_its_first_byte() {
    let mut codec = LengthPrefixed { width: Width::U64, ..LengthPrefixed::new(1024) };
    for length in [1025, 1 << 32, 1 << 63, u64::MAX] {
        assert!(Input::new(&length.to_be_bytes()).frame(&mut codec).is_err());
    }
}

// --- one byte at a time ---

/// Lines, and how many bytes were searched for their ends.
struct Counted<'a>(&'a AtomicUsize);

impl Decode for Counted<'_> {
    type Frame<'a> = &'a [u8];

    fn decode<'a>(&mut self, bytes: &'a [u8], scanned: usize) -> Result<Status<&'a [u8]>> {
        self.0.fetch_add(bytes.len() - scanned, Ordering::Relaxed);
        Lines { max: 2000 }.decode(bytes, scanned)
    }
}

#[test]
fn a_line_byte_by_byte_is_searched_once() {
    let searched = Arc::new(AtomicUsize::new(0));
    let count = searched.clone();
    let script = on_data(move |peer, input| {
        while let Some(line) = input.frame(&mut Counted(&count))? {
            peer.send(line);
        }
        Ok(())
    });
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    let line = [&[b'x'; 999][..], b"\n"].concat();
    for byte in line.chunks(1) {
        reactor.net().send(client, byte);
        settle(&mut reactor);
    }
    assert_eq!(reactor.net().receive(client), line[..999]);
    assert_eq!(searched.load(Ordering::Relaxed), 1000);
}

/// An end where an earlier search has been is not found: nobody looks there.
#[test]
fn codecs_go_on_where_they_stopped() {
    let nothing = Status::Partial { scanned: 4 };
    assert_eq!(Lines { max: 9 }.decode(b"a\nbc", 3).unwrap(), nothing);
    assert_eq!(Delimited { end: b"\0", max: 9 }.decode(b"a\0bc", 3).unwrap(), nothing);
    assert_eq!(Delimited { end: b"--", max: 9 }.decode(b"a--bc", 3).unwrap(), nothing);
}

// --- one flooder ---

#[test]
fn one_download_does_not_take_more_than_its_part_of_a_turn() {
    let script = on_data(|peer, input| {
        input.take_all();
        peer.send(&pattern(50_000, 0));
        Ok(())
    });
    let mut reactor = world(script, 1, Config { write_max: 1000, ..Config::default() });
    let client = reactor.net().client();
    reactor.net().send(client, b"x");
    let mut got = Vec::new();
    while got.len() < 50_000 {
        let before = reactor.hub().stats().bytes_out;
        reactor.turn().unwrap();
        // One write before the read, one after it.
        assert!(reactor.hub().stats().bytes_out - before <= 2000);
        got.extend(reactor.net().receive(client));
    }
    assert_eq!(got, pattern(50_000, 0));
}

#[test]
fn a_backlog_of_many_messages_leaves_in_parts() {
    let mut script = Script::default();
    script.open = Box::new(|peer| {
        let payload: Arc<[u8]> = vec![7; 100].into();
        (0..1000).for_each(|_| assert!(peer.send_shared(&payload)));
        Ok(())
    });
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().set_window(client, 0);
    reactor.turn().unwrap();
    reactor.net().set_window(client, 1 << 20);
    while reactor.hub().stats().bytes_out < 100_000 {
        let before = reactor.hub().stats().bytes_out;
        reactor.turn().unwrap();
        let out = reactor.hub().stats().bytes_out - before;
        assert!(out <= 20_000, "{out} bytes in one turn, of 1000 messages of 100");
    }
}

#[test]
fn whoever_is_not_done_waits_behind_the_others() {
    let mut reactor = world(Echo, 1, Config { read_max: 10, ..Config::default() });
    let clients = [(); 3].map(|()| reactor.net().client());
    settle(&mut reactor);
    clients.iter().for_each(|&client| reactor.net().send(client, &[0; 1000]));
    reactor.net().deliver_all();
    for _ in 0..20 {
        reactor.turn().unwrap();
        let got = clients.map(|client| reactor.net().receive(client).len());
        assert_eq!(got, [10; 3]);
    }
}

const US: Duration = Duration::from_micros(1);

/// Echo; a callback takes 40 ns for each byte, as a read and a write of so much do.
fn echo_takes_time() -> (Script, Arc<Mutex<Option<Clock>>>) {
    let clock = Arc::new(Mutex::new(None::<Clock>));
    let passes = clock.clone();
    let script = on_data(move |peer, input| {
        let bytes = input.take_all();
        peer.send(bytes);
        let took = Duration::from_nanos(40 * bytes.len() as u64);
        passes.lock().unwrap().as_ref().unwrap().advance(took);
        Ok(())
    });
    (script, clock)
}

#[test]
fn case_053_whoever_asks_for_little_waits_for_one_of_sixteen_who_pipeline_without_pause() {
    let (script, clock) = echo_takes_time();
    let mut reactor = world(script, 1, Config { read_max: 1000, ..Config::default() });
    *clock.lock().unwrap() = Some(reactor.net().clock());
    let flooders = [(); 16].map(|()| reactor.net().client());
    let polite = reactor.net().client();
    settle(&mut reactor);
    flooders.iter().for_each(|&client| reactor.net().send(client, &pattern(30_000, 0)));
    reactor.net().deliver_all();
    // At first all are told of together.
    reactor.turn().unwrap();
    reactor.hub().take_longest_turn();
    for round in 0..200 {
        reactor.net().send(polite, b"x");
        reactor.net().deliver_all();
        reactor.turn().unwrap();
        assert_eq!(reactor.net().receive(polite), b"x", "round {round}");
    }
    assert!(reactor.hub().take_longest_turn() < 2 * 40 * US);
    assert!(reactor.hub().stats().share_budget >= 199);
    // One after the other, none is forgotten.
    let got = flooders.map(|client| reactor.net().receive(client).len());
    assert_eq!(got.iter().sum::<usize>(), (16 + 200) * 1000);
    assert!(got.iter().all(|&got| got == 13_000 || got == 14_000), "{got:?}");
    for client in flooders {
        assert!(read_all(&mut reactor, client).ends_with(&pattern(30_000, 0)[29_000..]));
    }
}

#[test]
fn many_who_ask_for_little_leave_half_of_the_time_to_those_who_ask_for_much() {
    let (script, clock) = echo_takes_time();
    let mut reactor = world(script, 1, Config { read_max: 1000, ..Config::default() });
    *clock.lock().unwrap() = Some(reactor.net().clock());
    let flooders = [(); 4].map(|()| reactor.net().client());
    let polite = [(); 5].map(|()| reactor.net().client());
    settle(&mut reactor);
    flooders.iter().for_each(|&client| reactor.net().send(client, &[0; 20_000]));
    reactor.net().deliver_all();
    reactor.turn().unwrap();
    for _ in 0..10 {
        // 5 of 20 us, then 3 of 40 us: the third begins before those 100 us are over.
        polite.iter().for_each(|&client| reactor.net().send(client, &[0; 500]));
        reactor.net().deliver_all();
        let before = reactor.hub().stats().bytes_in;
        reactor.turn().unwrap();
        assert_eq!(reactor.hub().stats().bytes_in - before, 5 * 500 + 3 * 1000);
    }
}

#[test]
fn whoever_had_much_in_its_last_turn_is_served_after_the_others() {
    // Of 64 KiB with what is answered, or a little less.
    let [much, less] = [32_768, 32_767];
    let first_of = |seed, size| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let noted = order.clone();
        let script = on_data(move |peer, input| {
            noted.lock().unwrap().push(input.len());
            peer.send(input.take_all());
            Ok(())
        });
        let mut reactor = world(script, seed, Config::default());
        let [large, small] = [(); 2].map(|()| reactor.net().client());
        settle(&mut reactor);
        for bytes in [&[0; 1][..], &[0; 2]] {
            reactor.net().send(large, &pattern(size, 0));
            reactor.net().send(small, bytes);
            reactor.net().deliver_all();
            settle(&mut reactor);
            assert_eq!(reactor.net().receive(large).len(), size);
        }
        // Whoever comes first in the second round.
        order.lock().unwrap()[2]
    };
    assert!((0..50).all(|seed| first_of(seed, much) == 2));
    assert!((0..50).any(|seed| first_of(seed, less) == less));
}

// --- closed inside a callback ---

#[test]
fn an_old_name_is_nobody_s() {
    let mut reactor = world(Echo, 1, Config::default());
    let first = reactor.net().client();
    settle(&mut reactor);
    let old = reactor.hub().ids().next().unwrap();
    reactor.net().reset_client(first);
    settle(&mut reactor);
    reactor.net().client();
    settle(&mut reactor);
    let new = reactor.hub().ids().next().unwrap();
    assert_eq!((old.to_string(), new.to_string()), ("#0.1".into(), "#0.2".into()));
    assert!(reactor.hub().peer(old).is_none() && reactor.hub().peer(new).is_some());
}

#[test]
fn what_a_callback_left_when_it_closed_is_not_kept() {
    let script = on_data(|peer, _| {
        peer.close();
        Ok(())
    });
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().send(client, &[0; 500]);
    while !reactor.net().sees_end(client) {
        reactor.turn().unwrap();
    }
    assert_eq!((reactor.hub().len(), reactor.hub().stats().memory), (1, 0));
}

// --- timers against slow handlers ---

/// A reactor whose first callback takes two seconds, and those of two others come after it in
/// the same turn; when that turn began.
fn a_slow_turn(mut then: impl FnMut(&mut Peer) + 'static) -> (Reactor<Script, Sim>, Duration) {
    let sim = Sim::new(1);
    let (clock, mut slow) = (sim.clock(), true);
    let script = on_data(move |peer, input| {
        input.take_all();
        clock.advance(2000 * MS * u32::from(std::mem::take(&mut slow)));
        then(peer);
        Ok(())
    });
    let mut reactor = Reactor::with(script, sim, Config::default()).unwrap();
    reactor.listen("127.0.0.1:1").unwrap();
    let clients = [(); 3].map(|()| reactor.net().client());
    settle(&mut reactor);
    clients.iter().for_each(|&client| reactor.net().send(client, b"x"));
    reactor.net().deliver_all();
    let start = reactor.net().now();
    reactor.turn().unwrap();
    assert_eq!(reactor.net().now(), start + 2000 * MS);
    (reactor, start)
}

#[test]
fn every_callback_of_a_turn_sees_the_same_time() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let times = seen.clone();
    let (_, start) = a_slow_turn(move |peer| times.lock().unwrap().push(peer.now()));
    assert_eq!(*seen.lock().unwrap(), [start; 3]);
}

#[test]
fn a_turn_fires_no_more_timers_than_its_slice() {
    let mut script = Script::default();
    script.open = Box::new(|peer| {
        peer.wake_in(10 * MS);
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config { timers_max: 3, ..Config::default() });
    (0..10).for_each(|_| {
        reactor.net().client();
    });
    reactor.turn().unwrap();
    reactor.net().clock().advance(1000 * MS);
    while diary.lines().len() < 20 {
        let before = diary.lines().len();
        reactor.turn().unwrap();
        assert!(diary.lines().len() - before <= 3);
    }
}

#[test]
fn a_timer_that_is_armed_after_a_slow_callback_is_not_early() {
    let (mut reactor, start) = a_slow_turn(|peer| peer.wake_in(1000 * MS));
    assert_eq!(start, Duration::ZERO);
    settle(&mut reactor);
    let lines = reactor.protocol().diary.lines();
    let at = |line: &String| line.strip_prefix("timer at ").and_then(|at| at.parse::<u64>().ok());
    let times: Vec<u64> = lines.iter().filter_map(at).collect();
    let [2000, second @ 3000..3003, third @ 3000..3003] = times[..] else { panic!("{times:?}") };
    assert_eq!(second, third);
}

// --- lost wake-up from another thread ---

#[test]
fn whoever_is_woken_finds_the_job() {
    let (woken, was_woken) = mpsc::channel();
    let (looked, has_looked) = mpsc::channel();
    let has_looked = Mutex::new(has_looked);
    // The loop looks while the other thread is still in the middle of waking it.
    let net = Terse::new(move || {
        woken.send(()).unwrap();
        has_looked.lock().unwrap().recv().unwrap();
    });
    let mut reactor = Reactor::with(Echo, net, Config::default()).unwrap();
    let handle = reactor.handle();
    let pusher = thread::spawn(move || handle.run(|_, _| ()));
    was_woken.recv().unwrap();
    reactor.turn_within(Duration::ZERO).unwrap();
    let found = reactor.hub().stats().jobs;
    looked.send(()).unwrap();
    pusher.join().unwrap().unwrap();
    assert_eq!(found, 1);
}

#[test]
fn a_job_that_comes_after_the_look_wakes_the_loop_again() {
    let handle = Arc::new(Mutex::new(None::<Handle<Script>>));
    let door = handle.clone();
    let script = on_data(move |_, input| {
        input.take_all();
        door.lock().unwrap().as_ref().unwrap().run(|_, _| ()).unwrap();
        Ok(())
    });
    let mut reactor = world(script, 1, Config::default());
    *handle.lock().unwrap() = Some(reactor.handle());
    let client = reactor.net().client();
    settle(&mut reactor);
    // One before the look of this turn, one after it.
    reactor.handle().run(|_, _| ()).unwrap();
    reactor.net().send(client, b"x");
    reactor.net().deliver_all();
    settle(&mut reactor);
    assert_eq!(reactor.hub().stats().jobs, 2);
}

// --- a connect that "succeeded" ---

#[test]
fn a_connect_that_nobody_wants_is_refused_on_real_sockets() {
    let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let addr = nobody.local_addr().unwrap().as_socket().unwrap();
    let script = Script::default();
    let diary = script.diary.clone();
    let mut reactor = Reactor::new(script).unwrap();
    reactor.hub().connect(addr);
    for _ in 0..50 {
        reactor.turn_within(10 * MS).unwrap();
        if reactor.hub().is_empty() {
            break;
        }
    }
    let lines = diary.lines();
    assert!(lines.len() == 1 && lines[0].starts_with("connect failed: broken: "), "{lines:?}");
}

/// A listener whose backlog is full answers nobody.
#[cfg(target_os = "linux")]
#[test]
fn a_connect_that_is_not_decided_is_not_connected() {
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let addr = full.local_addr().unwrap().as_socket().unwrap();
    let _first = TcpStream::connect(addr).unwrap();
    let mut os = Os::new().unwrap();
    let mut stream = os.connect(&addr.into(), None, &SocketOptions::default()).unwrap();
    let error = os.connected(&mut stream).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}

#[test]
fn an_edge_before_the_answer_decides_nothing() {
    let script = Script::default();
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    reactor.net().faults = Faults { unanswered: 1000, ..Faults::NONE };
    reactor.hub().connect(SocketAddr::from(([10, 0, 0, 1], 80)));
    reactor.turn().unwrap();
    let token = Token::Conn { slot: 0, serial: 1 };
    let edge = Event { token, readable: false, writable: true, ending: false, failed: false };
    reactor.net().inject(edge);
    settle(&mut reactor);
    assert_eq!(diary.lines(), ["connect failed: connect timeout"]);
}

// --- a log line per bad client ---

#[test]
fn bad_clients_are_one_line_a_second_and_the_rest_is_counted() {
    Log::listen();
    let config = Config { conns_per_ip: Some(1), ..Config::default() };
    let mut reactor = world(on_data(swallow), 1, config);
    for wave in 1..=3 {
        (0..100).for_each(|_| {
            reactor.net().client();
        });
        settle(&mut reactor);
        assert_eq!(Log::lines("too many connections from ").len(), wave);
        reactor.net().clock().advance(1000 * MS);
    }
    let lines = Log::lines("too many connections from ");
    assert!(lines[1].ends_with("(and 98 more like it)"), "{lines:?}");
    assert!(lines[2].ends_with("(and 99 more like it)"), "{lines:?}");
}

#[test]
fn one_cause_does_not_silence_another() {
    Log::listen();
    let limits = Config { conns_per_ip: Some(1), when_full: WhenFull::Refuse, ..Config::default() };
    let mut reactor = world(Echo, 1, Config { conns_max: 2, ..limits });
    for last in [1, 1, 2, 3] {
        reactor.net().client_from(SocketAddr::from(([10, 0, 0, last], 80)), 0);
        settle(&mut reactor);
    }
    assert_eq!(Log::lines("too many connections from 10.0.0.1").len(), 1);
    assert_eq!(Log::lines("refused a connection").len(), 1);
}

#[test]
fn what_a_client_sent_stays_in_its_line() {
    let sent = b"hi\r\n\0\x1b[2J\x7f\xff \xe2\x80\xae \xe2\x80\x8b \xe2\x81\xa6 \xc2\x85 \xc3\xa9";
    let line = Escaped::new(sent, 99).to_string();
    let unwanted = |c: char| c.is_control() || "\u{202e}\u{200b}\u{2066}".contains(c);
    assert!(!line.contains(unwanted) && line.ends_with('é'), "{line:?}");
}
