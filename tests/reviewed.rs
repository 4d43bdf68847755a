//! What a review of the loop found: each was a defect once.
#![allow(clippy::field_reassign_with_default)] // a script is the usual one, but for a line

mod common;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use charkh::{
    Config, ConnId, Hub, Input, Layer, Next, Origin, Peer, Protocol, Reactor, Reason, Result,
    WhenFull,
    net::{Net, Sim},
};
use common::{MS, Script, on_data, pattern, read_all, settle, swallow, world};

fn elapsed_to_done<P: Protocol>(reactor: &mut Reactor<P, Sim>) -> Duration {
    let start = reactor.net().now();
    for _ in 0..10_000 {
        if reactor.is_done() {
            return reactor.net().now() - start;
        }
        reactor.turn().unwrap();
    }
    panic!("not done after 10000 turns");
}

#[test]
fn wake_of_a_dial_that_waits_its_turn_panics() {
    let script = on_data(|peer, input| {
        input.take_all();
        for _ in 0..3 {
            let id = peer.hub().connect(([10, 0, 0, 1], 80));
            peer.to(id).unwrap().wake_in(MS); // a connect timeout of one's own
        }
        Ok(())
    });
    let mut reactor = world(script, 1, Config { connects_max: 1, ..Config::default() });
    let client = reactor.net().client();
    reactor.net().send(client, b"x");
    let clock = reactor.net().clock();
    for _ in 0..50 {
        clock.advance(MS);
        let _ = reactor.turn();
    }
}

#[test]
fn wake_of_a_dial_from_data_panics_in_a_slow_turn() {
    let clock = Arc::new(Mutex::new(None::<charkh::net::Clock>));
    let c2 = clock.clone();
    let script = on_data(move |peer, input| {
        input.take_all();
        let id = peer.hub().connect(([10, 0, 0, 1], 80));
        peer.to(id).unwrap().wake_in(MS);
        c2.lock().unwrap().as_ref().unwrap().advance(2 * MS);
        Ok(())
    });
    let mut reactor = world(script, 1, Config::default());
    *clock.lock().unwrap() = Some(reactor.net().clock());
    let client = reactor.net().client();
    reactor.net().send(client, b"x");
    settle(&mut reactor);
}

#[test]
fn a_wake_asked_while_dialing_is_not_lost() {
    let script = on_data(|peer, input| {
        input.take_all();
        let id = peer.hub().connect(([10, 0, 0, 1], 80));
        peer.to(id).unwrap().wake_in(5 * MS);
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().send(client, b"x");
    let clock = reactor.net().clock();
    // the dial takes longer than the wake
    for _ in 0..30 {
        if diary.count("open") == 2 {
            break;
        }
        let _ = reactor.turn_within(MS);
        clock.advance(6 * MS);
    }
    settle(&mut reactor);
    assert_eq!(diary.count("open"), 2);
    assert!(diary.lines().iter().any(|l| l.starts_with("timer")), "{:?}", diary.lines());
}

#[test]
fn a_wake_asked_while_dialing_is_not_lost_however_far_it_is() {
    for seed in 0..20 {
        let mut script2 = Script::default();
        script2.open = Box::new(|peer: &mut Peer| {
            if peer.listener().is_some() {
                let id = peer.hub().connect(([10, 0, 0, 1], 80));
                peer.to(id).unwrap().wake_in(MS);
            }
            Ok(())
        });
        let diary = script2.diary.clone();
        let mut reactor = world(script2, seed, Config::default());
        reactor.net().client();
        let clock = reactor.net().clock();
        for _ in 0..30 {
            let _ = reactor.turn_within(MS);
            clock.advance(2 * MS);
        }
        settle(&mut reactor);
        assert_eq!(diary.count("open"), 2);
        assert!(
            diary.lines().iter().any(|l| l.starts_with("timer")),
            "seed {seed} {:?}",
            diary.lines()
        );
    }
}

struct Keeper {
    tries: u64,
}
impl Protocol for Keeper {
    type Session = ();
    fn open(&mut self, _: &mut Peer) {}
    fn data(&mut self, _: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        input.take_all();
        Ok(())
    }
    fn closed(&mut self, hub: &mut Hub, _: ConnId, _: (), _: Reason) {
        self.tries += 1;
        hub.connect(([10, 0, 0, 1], 80));
    }
    fn connect_failed(&mut self, hub: &mut Hub, _: ConnId, _: Reason) {
        self.tries += 1;
        hub.connect(([10, 0, 0, 1], 80));
    }
}

#[test]
fn a_protocol_that_reconnects_can_be_stopped() {
    let mut reactor = world(Keeper { tries: 0 }, 1, Config::default());
    reactor.hub().connect(([10, 0, 0, 1], 80));
    settle(&mut reactor);
    reactor.hub().stop();
    reactor.hub().stop();
    for _ in 0..10_000 {
        if reactor.is_done() {
            return;
        }
        reactor.turn().unwrap();
    }
    let (tries, now) = (reactor.protocol().tries, reactor.net().now());
    panic!("10000 turns after `stop; stop`: not done, {tries} tries, virtual time {now:?}");
}

#[test]
fn refuse_mode_full_at_stop_ends_when_the_last_leaves() {
    let mut script = on_data(|peer, input| {
        input.take_all();
        peer.pause(); // a thread works
        peer.wake_in(100 * MS);
        Ok(())
    });
    script.timer = Box::new(|peer| {
        peer.send(b"answer");
        peer.resume();
        Ok(())
    });
    let config = Config { conns_max: 1, when_full: WhenFull::Refuse, ..Config::default() };
    let mut reactor = world(script, 1, config);
    let client = reactor.net().client();
    reactor.net().send(client, b"question");
    (0..5).for_each(|_| reactor.turn_within(MS).unwrap());
    reactor.hub().stop();
    let took = elapsed_to_done(&mut reactor);
    assert_eq!(reactor.net().receive(client), b"answer");
    assert!(reactor.hub().is_empty());
    assert!(took < 6000 * MS, "took {took:?}");
}

#[test]
fn idle_counts_bytes_that_leave_to_a_silent_peer() {
    let mut script = Script::default();
    script.open = Box::new(|peer| {
        peer.wake_in(50 * MS);
        Ok(())
    });
    script.timer = Box::new(|peer| {
        peer.send(b"tick\n");
        peer.wake_in(50 * MS);
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config { idle: Some(200 * MS), ..Config::default() });
    let client = reactor.net().client();
    let start = reactor.net().now();
    while reactor.net().now() < start + 2000 * MS {
        reactor.turn().ok();
        if reactor.hub().is_empty() && diary.count("idle") > 0 {
            break;
        }
    }
    let got = reactor.net().receive(client).len();
    assert_eq!(
        diary.count("idle"),
        0,
        "idle after {:?}, {got} bytes had moved",
        reactor.net().now()
    );
}

#[test]
fn pause_and_resume_in_one_data_offers_the_rest_again() {
    let script = on_data(|peer, input| {
        if let Some(line) = input.line(80)? {
            peer.pause(); // one at a time
            let line = line.to_vec();
            peer.send(&line); // the answer was in the cache
            peer.resume();
        }
        Ok(())
    });
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().send(client, b"a\nb\nc\n");
    reactor.net().deliver_all();
    assert_eq!(read_all(&mut reactor, client), b"abc");
}

#[test]
fn whoever_resumes_while_stopping_is_told() {
    let mut script = on_data(|peer, input| {
        input.take_all();
        peer.pause(); // a rate limit
        peer.wake_in(50 * MS);
        Ok(())
    });
    script.timer = Box::new(|peer| {
        peer.resume();
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    settle(&mut reactor);
    reactor.hub().stop();
    reactor.turn().unwrap();
    reactor.net().send(client, b"x"); // between the request and the look at this connection
    reactor.net().deliver_all();
    let took = elapsed_to_done(&mut reactor);
    assert_eq!(diary.count("stopping"), 1, "{:?} after {took:?}", diary.lines());
}

struct Ping;
impl Layer for Ping {
    fn receive(&mut self, wire: &mut [u8], _: &mut Vec<u8>, answer: &mut Vec<u8>) -> Result {
        answer.extend(std::iter::repeat_n(7, wire.len() * 20)); // pongs
        Ok(())
    }
    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
        wire.extend(plain);
        Ok(())
    }
}

#[test]
fn what_a_layer_answers_has_a_limit() {
    let script = Script::default();
    let config = Config { output_max: 1 << 20, ..Config::default() };
    let mut reactor = Reactor::with(script, Sim::new(1), config).unwrap();
    let listener = reactor.listen("127.0.0.1:1").unwrap();
    reactor.layer(listener.id, |_| Ok(Box::new(Ping)));
    let client = reactor.net().client();
    reactor.net().set_window(client, 0);
    let mut most = 0;
    for _ in 0..100 {
        reactor.net().send(client, &[1; 60_000]);
        reactor.net().deliver_all();
        for _ in 0..5 {
            let _ = reactor.turn_within(Duration::ZERO);
        }
        most = most.max(reactor.hub().stats().memory);
    }
    assert!(most <= 4 << 20, "held {most} bytes, output_max is 1 MiB");
}

#[test]
fn data_that_has_come_is_seen_before_the_deadline() {
    let clock = Arc::new(Mutex::new(None::<charkh::net::Clock>));
    let c2 = clock.clone();
    let script = on_data(move |peer, input| {
        let bytes = input.take_all();
        peer.send(bytes);
        if bytes == b"slow" {
            c2.lock().unwrap().as_ref().unwrap().advance(300 * MS);
        }
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config { idle: Some(200 * MS), ..Config::default() });
    *clock.lock().unwrap() = Some(reactor.net().clock());
    let (a, b) = (reactor.net().client(), reactor.net().client());
    for _ in 0..10 {
        reactor.turn_within(MS).unwrap();
    }
    reactor.net().send(a, b"slow");
    reactor.net().deliver_all();
    reactor.turn_within(Duration::ZERO).unwrap(); // 300 ms pass in here...
    reactor.net().send(b, b"hello"); // ...and meanwhile b spoke (it was 10 ms idle)
    reactor.net().deliver_all();
    (0..5).for_each(|_| reactor.turn_within(MS).unwrap());
    assert_eq!(reactor.net().receive(b), b"hello", "{:?}", diary.lines());
}

/// What a payload takes in the queue is counted beside its bytes, and one that is not worth a place
/// of its own is copied.
#[test]
fn the_books_hold_for_short_shared_payloads() {
    for (size, least, most) in [(1, 10_000, 30_000), (65, 1_000_000, 2_000_000)] {
        let mut script = Script::default();
        script.open = Box::new(move |peer| {
            let payload: Arc<[u8]> = vec![b'x'; size].into();
            for _ in 0..10_000 {
                peer.send_shared(&payload);
            }
            assert_eq!(Arc::strong_count(&payload), if size == 1 { 1 } else { 10_001 });
            Ok(())
        });
        let mut reactor = world(script, 1, Config::default());
        let client = reactor.net().client();
        reactor.net().set_window(client, 0);
        (0..5).for_each(|_| reactor.turn_within(Duration::ZERO).unwrap());
        let booked = reactor.hub().stats().memory;
        assert!((least..=most).contains(&booked), "{booked} for payloads of {size}");
    }
}

#[test]
fn no_data_for_whoever_was_evicted_by_its_own_layer() {
    struct Big;
    impl Layer for Big {
        fn receive(
            &mut self,
            wire: &mut [u8],
            plain: &mut Vec<u8>,
            answer: &mut Vec<u8>,
        ) -> Result {
            plain.extend_from_slice(wire);
            answer.extend([0; 100_000]);
            Ok(())
        }
        fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
            wire.extend(plain);
            Ok(())
        }
    }
    let ok = Arc::new(Mutex::new(true));
    let ok2 = ok.clone();
    let script = on_data(move |peer, input| {
        input.take_all();
        let id = peer.id();
        *ok2.lock().unwrap() &= peer.to(id).is_some();
        Ok(())
    });
    let mut reactor =
        Reactor::with(script, Sim::new(1), Config { memory_max: 50_000, ..Config::default() })
            .unwrap();
    let listener = reactor.listen("127.0.0.1:1").unwrap();
    reactor.layer(listener.id, |_| Ok(Box::new(Big)));
    let c = reactor.net().client();
    reactor.net().send(c, b"x");
    settle(&mut reactor);
    assert!(*ok.lock().unwrap(), "data was called for a connection that is over");
}

#[test]
#[cfg_attr(miri, ignore = "it needs real sockets")]
fn told_to_stop_after_an_edge_that_came_behind_their_end() {
    let mut script = Script::default();
    script.eof = Box::new(|peer| {
        peer.send(&[7; 8 << 20]);
        Ok(())
    });
    let diary = script.diary.clone();
    let config = Config { grace: 3000 * MS, ..Config::default() };
    let mut reactor = Reactor::with_config(script, config).unwrap();
    let at = reactor.listen("127.0.0.1:0").unwrap().addr;
    let mut client = std::net::TcpStream::connect(at).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let reader = thread::spawn(move || {
        use std::io::Read;
        thread::sleep(100 * MS);
        let mut left = 8 << 20;
        let mut buf = [0; 65536];
        while left > 0 {
            left -= client.read(&mut buf).unwrap();
        }
        client
    });
    let t = std::time::Instant::now();
    while t.elapsed() < 1000 * MS {
        reactor.turn_within(10 * MS).unwrap();
    }
    let client = reader.join().unwrap();
    assert_eq!(diary.count("drained"), 1);
    let handle = reactor.handle();
    handle.stop().unwrap();
    let t = std::time::Instant::now();
    reactor.run().unwrap();
    drop(client);
    assert_eq!(diary.count("stopping"), 1, "{:?} {:?}", diary.lines(), t.elapsed());
}

#[test]
fn send_says_when_it_ended_the_connection() {
    let said = Arc::new(Mutex::new(None));
    let s2 = said.clone();
    let mut script = Script::default();
    script.open = Box::new(move |peer| {
        let ok = peer.send(&[0; 100_000]);
        let id = peer.id();
        *s2.lock().unwrap() = Some((ok, peer.to(id).is_some()));
        Ok(())
    });
    let mut reactor = world(script, 1, Config { memory_max: 50_000, ..Config::default() });
    reactor.net().client();
    settle(&mut reactor);
    let (ok, alive) = said.lock().unwrap().unwrap();
    assert_eq!(ok, alive);
}

/// Says nothing before the other side has said a byte.
#[derive(Default)]
struct Shake {
    ready: bool,
}
impl Layer for Shake {
    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, answer: &mut Vec<u8>) -> Result {
        if !self.ready {
            self.ready = true;
            answer.extend(b"<server hello>");
            plain.extend(&wire[1..]);
        } else {
            plain.extend_from_slice(wire);
        }
        Ok(())
    }
    fn is_ready(&self) -> bool {
        self.ready
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
        assert!(self.ready);
        wire.extend(plain);
        Ok(())
    }
}

#[test]
fn what_waits_for_a_handshake_is_not_lost_to_close() {
    for finish in [true, false] {
        let mut script = Script::default();
        script.open = Box::new(move |peer| {
            peer.send(b"busy, go away");
            if finish {
                peer.finish()
            } else {
                peer.close()
            };
            Ok(())
        });
        let mut reactor = Reactor::with(script, Sim::new(1), Config::default()).unwrap();
        let listener = reactor.listen("127.0.0.1:1").unwrap();
        reactor.layer(listener.id, |_| Ok(Box::new(Shake::default())));
        let client = reactor.net().client();
        for _ in 0..5 {
            let _ = reactor.turn_within(Duration::ZERO);
        }
        reactor.net().send(client, b"H"); // the handshake
        let got = read_all(&mut reactor, client);
        assert!(
            got.ends_with(b"busy, go away"),
            "finish {finish}: got {:?}",
            String::from_utf8_lossy(&got)
        );
    }
}

#[test]
#[cfg_attr(miri, ignore = "it needs real sockets")]
fn what_waits_for_a_handshake_is_not_lost_to_close_on_real_sockets() {
    use std::io::{Read, Write};
    let mut script = Script::default();
    script.open = Box::new(|peer| {
        peer.send(b"busy, go away");
        peer.finish();
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = Reactor::new(script).unwrap();
    let l = reactor.listen("127.0.0.1:0").unwrap();
    reactor.layer(l.id, |_| Ok(Box::new(Shake::default())));
    let mut client = std::net::TcpStream::connect(l.addr).unwrap();
    for _ in 0..5 {
        reactor.turn_within(10 * MS).unwrap();
    }
    client.write_all(b"H").unwrap();
    for _ in 0..5 {
        reactor.turn_within(10 * MS).unwrap();
    }
    let mut got = Vec::new();
    let _ = client.read_to_end(&mut got);
    assert!(
        got.ends_with(b"busy, go away"),
        "got {:?}, {:?}",
        String::from_utf8_lossy(&got),
        diary.lines()
    );
}

/// What is echoed leaves from where it was read; what follows it stays behind it, however little
/// the kernel takes at once.
#[test]
fn a_reply_that_begins_with_what_was_read_is_in_order() {
    for seed in 0..100 {
        let said = Arc::new(Mutex::new(Vec::new()));
        let (keeps, shared) = (said.clone(), Arc::from([b's'; 200]));
        let script = on_data(move |peer, input| {
            let first = &b"<"[..input.len() % 2];
            let read = input.take_all();
            peer.send(first);
            peer.send(read);
            peer.send_shared(&shared);
            peer.send(b">");
            keeps.lock().unwrap().extend([first, read, &shared, b">"].concat());
            Ok(())
        });
        let config = Config { write_stall: None, ..Config::default() };
        let mut reactor = world(script, seed, config);
        let client = reactor.net().client();
        settle(&mut reactor);
        for size in [3000, 1023, 1024, 1025, 4001] {
            reactor.net().set_window(client, 700);
            reactor.net().send(client, &pattern(size, seed as usize));
            reactor.net().deliver_all();
            let got = read_all(&mut reactor, client);
            let said = std::mem::take(&mut *said.lock().unwrap());
            assert!(got == said && got.len() > size + 200, "seed {seed}, {size} bytes");
        }
        reactor.net().finish_client(client);
        settle(&mut reactor);
        assert_eq!((reactor.hub().len(), reactor.hub().stats().memory), (0, 0));
    }
}

/// What is asked for before the first turn begins then, and not when the world did.
#[test]
fn a_dial_before_the_first_turn_has_its_ten_seconds() {
    let net = Sim::new(1);
    net.clock().advance(Duration::from_secs(11)); // the program has read its tables meanwhile
    let script = Script::default();
    let diary = script.diary.clone();
    let mut reactor = Reactor::with(script, net, Config::default()).unwrap();
    reactor.hub().connect(([10, 0, 0, 1], 80));
    for _ in 0..10 {
        let _ = reactor.turn();
    }
    assert_eq!(diary.lines(), ["open"], "at {:?}", reactor.net().now());
}

/// Answers all that it hears.
struct Pongs;

impl Layer for Pongs {
    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, answer: &mut Vec<u8>) -> Result {
        plain.extend_from_slice(wire);
        answer.extend(b"pong");
        Ok(())
    }
    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
        wire.extend(plain);
        Ok(())
    }
}

/// What it answers after our half has ended goes nowhere; it is not kept for a peer who is then
/// said not to read.
#[test]
fn a_layer_may_answer_after_our_half_has_ended() {
    let mut script = on_data(swallow);
    script.open = Box::new(|peer| {
        peer.finish();
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = Reactor::with(script, Sim::new(1), Config::default()).unwrap();
    let listening = reactor.listen("127.0.0.1:1").unwrap();
    reactor.layer(listening.id, |_| Ok(Box::new(Pongs)));
    let client = reactor.net().client();
    let clock = reactor.net().clock();
    for _ in 0..30 {
        for _ in 0..3 {
            let _ = reactor.turn_within(Duration::ZERO);
        }
        reactor.net().send(client, b"more");
        reactor.net().deliver_all();
        clock.advance(3000 * MS);
    }
    reactor.net().finish_client(client);
    settle(&mut reactor);
    let lines = diary.lines();
    assert_eq!(lines.last().unwrap(), "closed", "{lines:?}");
}

/// Reads one byte, and knows then who the peer is; the rest is the next one's.
struct Names(Option<SocketAddr>, Option<Box<dyn Layer>>, bool);

impl Layer for Names {
    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, _: &mut Vec<u8>) -> Result {
        plain.extend(&wire[1..]);
        self.2 = true;
        Ok(())
    }
    fn is_ready(&self) -> bool {
        self.2
    }
    fn send(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result {
        Err("it has given way".into())
    }
    fn next(&mut self) -> Next {
        match self.2 {
            true => self.1.take().map_or(Next::Nothing, Next::Layer),
            false => Next::Same,
        }
    }
    fn origin(&self) -> Origin {
        match (self.2, self.0) {
            (false, _) => Origin::Unknown,
            (true, None) => Origin::Wire,
            (true, Some(addr)) => Origin::Named(addr.into()),
        }
    }
}

/// A second prologue that knows nobody does not make the first one's word forgotten, and IPv4 in
/// IPv6's clothes is IPv4.
#[test]
fn whom_a_layer_has_named_the_next_one_leaves_alone() {
    for stays in [false, true] {
        let mut script = Script::default();
        script.open = Box::new(|peer| {
            assert_eq!(peer.addr(), std::net::SocketAddr::from(([192, 0, 2, 7], 7)));
            Ok(())
        });
        let diary = script.diary.clone();
        let mut reactor = Reactor::with(script, Sim::new(1), Config::default()).unwrap();
        let listening = reactor.listen("127.0.0.1:1").unwrap();
        reactor.layer(listening.id, move |_| {
            let last: Option<Box<dyn Layer>> = stays.then(|| Box::new(Shake::default()) as _);
            let second = Names(None, last, false);
            let first = Some("[::ffff:192.0.2.7]:7".parse().unwrap());
            Ok(Box::new(Names(first, Some(Box::new(second)), false)))
        });
        let client = reactor.net().client();
        reactor.net().send(client, b"12Hello");
        let hello = if stays { "<server hello>ello" } else { "Hello" };
        assert_eq!(read_all(&mut reactor, client), hello.as_bytes());
        assert_eq!(diary.count("open"), 1);
    }
}
