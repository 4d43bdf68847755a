//! Layers: when a protocol meets a connection that has one, what a handshake may take, and how one
//! layer gives way to the next.
#![allow(clippy::field_reassign_with_default)] // a script is the usual one, but for a line

mod common;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use charkh::{
    Addr, Config, ConnId, Hub, Input, Layer, Next, Origin, Peer, Protocol, Reactor, Reason, Result,
    net::{ClientId, Clock, Sim},
};
use common::{Diary, MS, Script, on_data, read_all, settle, swallow};

/// Ready when it has read `H`; `X` is what it cannot read, `.` the peer's goodbye. What it seals is
/// in capitals; what it unseals, in small letters.
#[derive(Default)]
struct Capitals {
    ready: bool,
    over: bool,
    /// What a handshake costs.
    clock: Option<Clock>,
}

impl Layer for Capitals {
    fn start(&mut self, wire: &mut Vec<u8>) -> Result {
        wire.push(b'S');
        Ok(())
    }

    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, answer: &mut Vec<u8>) -> Result {
        for &mut byte in wire {
            match byte {
                b'H' => {
                    self.ready = true;
                    answer.push(b'R');
                    self.clock.take().into_iter().for_each(|clock| clock.advance(MS));
                }
                b'X' => {
                    answer.push(b'!');
                    return Err("unreadable".into());
                }
                b'.' => self.over = true,
                b'-' => {}
                byte => plain.push(byte.to_ascii_lowercase()),
            }
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.ready
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
        assert!(self.ready, "sent before it was ready");
        match plain.contains(&b'?') {
            true => Err("unspeakable".into()),
            false => {
                wire.extend(plain.to_ascii_uppercase());
                Ok(())
            }
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn eof(&mut self) -> Result {
        if self.over { Ok(()) } else { Err("cut short".into()) }
    }
}

/// Ready at once, and counted as long as it is there.
#[derive(Clone)]
struct Counted(#[expect(dead_code)] Arc<()>);

impl Layer for Counted {
    fn start(&mut self, _wire: &mut Vec<u8>) -> Result {
        Ok(())
    }

    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, _answer: &mut Vec<u8>) -> Result {
        plain.extend_from_slice(wire);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
        wire.extend(plain);
        Ok(())
    }
}

type World = Reactor<Script, Sim>;

fn world_of(
    script: Script,
    config: Config,
    make: impl FnMut(&Addr) -> Result<Box<dyn Layer>> + 'static,
) -> (World, Diary) {
    let diary = script.diary.clone();
    let mut reactor = Reactor::with(script, Sim::new(1), config).unwrap();
    let listening = reactor.listen("127.0.0.1:1").unwrap();
    reactor.layer(listening.id, make);
    (reactor, diary)
}

fn capitals(script: Script) -> (World, Diary) {
    world_of(script, Config::default(), |_| Ok(Box::<Capitals>::default()))
}

fn turns(reactor: &mut World, count: usize) {
    for _ in 0..count {
        let _ = reactor.turn_within(Duration::ZERO);
    }
}

#[test]
fn a_protocol_meets_a_connection_when_its_layer_is_ready() {
    let (mut reactor, diary) = capitals(Script::default());
    let client = reactor.net().client();
    reactor.net().send(client, b"-early");
    turns(&mut reactor, 3);
    assert!(diary.lines().is_empty());
    assert_eq!(reactor.hub().len(), 1);
    assert_eq!(reactor.hub().ids().count(), 0, "a name that nobody was told");
    let mut seen = 0;
    reactor.hub().each(|_| seen += 1);
    assert_eq!(seen, 0, "a stranger is told what all are told");

    reactor.net().send(client, b"Hello");
    assert_eq!(read_all(&mut reactor, client), b"SREARLYELLO");
    assert_eq!(diary.lines(), ["open", "data"]);
    let id = reactor.hub().ids().next().unwrap();
    let peer = reactor.hub().peer(id).unwrap();
    assert!(peer.layer::<Capitals>().unwrap().ready);
    assert!(peer.layer::<Prologue>().is_none());
}

#[test]
fn what_a_layer_takes_is_free_with_the_end_and_not_with_the_close() {
    let counted = Arc::new(());
    let layer = Counted(counted.clone());
    let mut reactor =
        Reactor::with(Census(counted, vec![]), Sim::new(1), Config::default()).unwrap();
    let listening = reactor.listen("127.0.0.1:1").unwrap();
    reactor.layer(listening.id, move |_| Ok(Box::new(layer.clone())));
    let clients = [0; 3].map(|_| reactor.net().client());
    settle(&mut reactor);
    clients.into_iter().for_each(|client| reactor.net().reset_client(client));
    settle(&mut reactor);
    assert_eq!(reactor.protocol().1, [0; 3], "of three that ended in one turn");
}

/// How many layers there are when one is closed.
struct Census(Arc<()>, Vec<usize>);

impl Protocol for Census {
    type Session = ();

    fn open(&mut self, _peer: &mut Peer<'_>) {}

    fn data(&mut self, _peer: &mut Peer<'_>, (): &mut (), _input: &mut Input<'_>) -> Result {
        Ok(())
    }

    fn closed(&mut self, _hub: &mut Hub, _id: ConnId, (): (), _reason: Reason) {
        self.1.push(Arc::strong_count(&self.0) - 2);
    }
}

#[test]
fn a_failed_handshake_is_nobodys_connection() {
    let (mut reactor, diary) = capitals(Script::default());
    for bytes in [&b"X"[..], b"-", b""] {
        let client = reactor.net().client();
        reactor.net().send(client, bytes);
        reactor.net().finish_client(client);
        let said = if bytes == b"X" { &b"S!"[..] } else { b"S" };
        assert_eq!(read_all(&mut reactor, client), said);
    }
    let stats = reactor.hub().stats();
    assert_eq!((stats.handshakes_failed, stats.accepted, stats.released), (3, 3, 3));
    assert!(diary.lines().is_empty(), "{:?}", diary.lines());
}

#[test]
fn an_outbound_connection_is_open_when_its_layer_is_ready_or_has_failed() {
    for (said, line) in [(&b"H"[..], "open"), (b"X", "connect failed: fault: unreadable")] {
        let (mut reactor, diary) = capitals(on_data(swallow));
        let addr = SocketAddr::from(([10, 0, 0, 1], 80));
        let id = reactor.hub().connect_through(addr, Box::<Capitals>::default());
        reactor.hub().peer(id).unwrap().send(b"early");
        turns(&mut reactor, 3);
        let remote = reactor.net().dialed().unwrap();
        assert_eq!(reactor.net().receive(remote), b"S");
        assert!(diary.lines().is_empty(), "it was not ready");
        assert!(reactor.hub().peer(id).is_some(), "it was asked for");
        reactor.net().send(remote, said);
        let got = read_all(&mut reactor, remote);
        assert_eq!(got, if line == "open" { &b"REARLY"[..] } else { b"!" });
        assert_eq!(diary.lines(), [line]);
        let stats = reactor.hub().stats();
        let [up, failed] = [stats.connected, stats.connect_failed];
        assert_eq!([up, failed], if line == "open" { [1, 0] } else { [0, 1] });
    }
}

/// Whoever sends a byte now and then does not move it.
#[test]
fn case_091_a_handshake_has_an_absolute_deadline() {
    let config = Config { handshake: Some(100 * MS), ..Config::default() };
    let (mut reactor, diary) =
        world_of(Script::default(), config, |_| Ok(Box::<Capitals>::default()));
    let client = reactor.net().client();
    let clock = reactor.net().clock();
    turns(&mut reactor, 2);
    for _ in 0..9 {
        clock.advance(10 * MS);
        reactor.net().send(client, b"-");
        turns(&mut reactor, 2);
        assert_eq!(reactor.hub().len(), 1);
    }
    clock.advance(12 * MS);
    turns(&mut reactor, 3);
    assert!(reactor.hub().is_empty());
    assert_eq!(reactor.hub().stats().ended_by("handshake"), 1);
    assert!(diary.lines().is_empty());

    // One that is ready has none.
    let client = reactor.net().client();
    reactor.net().send(client, b"H");
    turns(&mut reactor, 3);
    clock.advance(3600 * 1000 * MS);
    turns(&mut reactor, 3);
    assert_eq!(reactor.hub().len(), 1);
}

#[test]
fn without_one_a_handshake_must_still_not_be_silent() {
    let (idle, first_byte) = (Some(200 * MS), Some(50 * MS));
    let config = Config { handshake: None, idle, first_byte, ..Config::default() };
    let (mut reactor, _) = world_of(Script::default(), config, |_| Ok(Box::<Capitals>::default()));
    let (_silent, stuck) = (reactor.net().client(), reactor.net().client());
    reactor.net().send(stuck, b"-");
    let clock = reactor.net().clock();
    turns(&mut reactor, 3);
    for (after, ended) in [(40, [0, 0]), (20, [1, 0]), (120, [1, 0]), (40, [1, 1])] {
        clock.advance(after * MS);
        turns(&mut reactor, 3);
        let stats = reactor.hub().stats();
        assert_eq!(["first byte", "idle"].map(|why| stats.ended_by(why)), ended);
    }
}

fn handshakes(config: Config, cost: bool) -> (World, Diary, ClientId) {
    let clock = Arc::new(Mutex::new(None::<Clock>));
    let of_layers = clock.clone();
    let (mut reactor, diary) = world_of(Script::default(), config, move |_| {
        let clock = of_layers.lock().unwrap().clone();
        Ok(Box::new(Capitals { clock, ..Capitals::default() }))
    });
    let polite = reactor.net().client();
    reactor.net().send(polite, b"H");
    turns(&mut reactor, 3);
    let of_world = cost.then(|| reactor.net().clock());
    *clock.lock().unwrap() = of_world;
    for _ in 0..10 {
        let client = reactor.net().client();
        reactor.net().send(client, b"H");
    }
    reactor.net().receive(polite);
    (reactor, diary, polite)
}

/// How many more were opened in each of the next turns, in each of which the polite one is served.
fn opened(reactor: &mut World, diary: &Diary, polite: ClientId) -> Vec<usize> {
    let mut opened = Vec::new();
    while diary.count("open") < 11 {
        let before = diary.count("open");
        reactor.net().send(polite, b"a");
        turns(reactor, 1);
        assert_eq!(reactor.net().receive(polite), b"A", "it waited for handshakes");
        opened.push(diary.count("open") - before);
        assert!(opened.len() < 100, "{opened:?}");
    }
    opened.retain(|&n| n > 0);
    opened
}

#[test]
fn case_093_a_turn_has_few_handshakes() {
    let config = Config { handshakes_max: 4, ..Config::default() };
    let (mut reactor, diary, polite) = handshakes(config, false);
    assert_eq!(opened(&mut reactor, &diary, polite), [4, 4, 2]);
    assert!(reactor.hub().stats().handshake_budget >= 2);
}

/// A handshake may take as long as all else did, but one is served.
#[test]
fn case_094_a_flood_of_handshakes_has_half_of_the_time() {
    let (mut reactor, diary, polite) = handshakes(Config::default(), true);
    assert_eq!(opened(&mut reactor, &diary, polite), [1; 10]);
}

/// A line of its own before all else, then whatever is next; who the peer is stands in it.
struct Prologue {
    line: Vec<u8>,
    whole: bool,
    then_capitals: bool,
}

impl Prologue {
    fn before(then_capitals: bool) -> Box<dyn Layer> {
        Box::new(Self { line: Vec::new(), whole: false, then_capitals })
    }
}

impl Layer for Prologue {
    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, _: &mut Vec<u8>) -> Result {
        for (n, &mut byte) in wire.iter_mut().enumerate() {
            if byte == b'\n' {
                self.whole = true;
                plain.extend(&wire[n + 1..]);
                break;
            }
            self.line.push(byte);
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        false
    }

    fn send(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result {
        panic!("it sends nothing")
    }

    fn next(&mut self) -> Next {
        match (self.whole, self.then_capitals) {
            (false, _) => Next::Same,
            (true, true) => Next::Layer(Box::<Capitals>::default()),
            (true, false) => Next::Nothing,
        }
    }

    fn origin(&self) -> Origin {
        let named = String::from_utf8_lossy(&self.line).parse().ok();
        let named = named.filter(|_| self.whole);
        named.map_or(Origin::Unknown, |addr: SocketAddr| Origin::Named(addr.into()))
    }
}

#[test]
fn a_layer_gives_way_to_the_next_or_to_none_at_any_byte() {
    for (then_capitals, wire, answer) in [
        (false, &b"1.2.3.4:5\nHello"[..], &b"Hello"[..]),
        (true, b"[2001:db8::1]:5\nHello", b"SRELLO"),
    ] {
        for cut in 0..=wire.len() {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let (book, mut script) = (seen.clone(), Script::default());
            script.open = Box::new(move |peer| {
                book.lock().unwrap().push(peer.addr().to_string());
                Ok(())
            });
            let (mut reactor, _) =
                world_of(script, Config::default(), move |_| Ok(Prologue::before(then_capitals)));
            let client = reactor.net().client();
            reactor.net().send(client, &wire[..cut]);
            turns(&mut reactor, 3);
            reactor.net().send(client, &wire[cut..]);
            assert_eq!(read_all(&mut reactor, client), answer, "cut at {cut}");
            let name = String::from_utf8_lossy(wire.split(|&b| b == b'\n').next().unwrap());
            assert_eq!(*seen.lock().unwrap(), [name]);
            let id = reactor.hub().ids().next().unwrap();
            let peer = reactor.hub().peer(id).unwrap();
            assert_eq!(peer.layer::<Capitals>().is_some(), then_capitals);
        }
    }
}

/// A balancer is nobody's client; those whom it names are counted.
#[test]
fn limits_for_each_address_are_for_those_whom_a_layer_names() {
    let config = Config { conns_per_ip: Some(2), ..Config::default() };
    let (mut reactor, diary) = world_of(Script::default(), config, |_| Ok(Prologue::before(false)));
    for _ in 0..5 {
        reactor.net().client(); // they have not said whose they are
    }
    turns(&mut reactor, 5);
    assert_eq!(reactor.hub().len(), 5);
    let clients: Vec<_> = (0..6).map(|_| reactor.net().client()).collect();
    for (n, &client) in clients.iter().enumerate() {
        let name = format!("10.0.0.{}:{n}\n", n % 2);
        reactor.net().send(client, name.as_bytes());
        turns(&mut reactor, 5);
    }
    let stats = reactor.hub().stats();
    assert_eq!((diary.count("open"), stats.refused_per_ip), (4, 2));
    assert!(reactor.net().sees_reset(clients[5]) || reactor.net().sees_end(clients[5]));
    // Whoever goes makes room, and nobody is counted twice.
    reactor.net().reset_client(clients[0]);
    turns(&mut reactor, 5);
    for name in [&b"10.0.0.0:9\n"[..], b"10.0.0.0:10\n"] {
        let client = reactor.net().client();
        reactor.net().send(client, name);
        turns(&mut reactor, 5);
    }
    assert_eq!(diary.count("open"), 5);
}

#[test]
fn whoever_makes_layers_may_refuse() {
    let (mut reactor, diary) = world_of(Script::default(), Config::default(), |addr| {
        match addr.socket_addr().map(|addr| addr.port() % 2) {
            Some(0) => Ok(Box::<Capitals>::default()),
            _ => Err("odd".into()),
        }
    });
    let odd = reactor.net().client_from(([127, 0, 0, 9], 7), 0);
    let even = reactor.net().client_from(([127, 0, 0, 9], 8), 0);
    reactor.net().send(odd, b"H");
    reactor.net().send(even, b"H");
    settle(&mut reactor);
    assert_eq!(diary.lines(), ["open"]);
    assert_eq!(reactor.hub().stats().refused_by_layer, 1);
    assert!(reactor.net().receive(odd).is_empty());
    assert_eq!(reactor.net().moved(odd).read, 0, "it was heard");
}

#[test]
fn case_100_the_end_that_a_layer_reads_is_an_end() {
    let (mut reactor, diary) = capitals(Script::default());
    let client = reactor.net().client();
    reactor.net().send(client, b"Habc.");
    assert_eq!(read_all(&mut reactor, client), b"SRABC");
    assert_eq!(diary.lines(), ["open", "data", "eof with 0", "closed"]);
}

/// A budget of frames cuts the last data in pieces; the end comes after all of them.
#[test]
fn the_end_that_a_layer_reads_comes_after_all_that_was_kept() {
    let script = on_data(|peer, input| {
        while let Some(line) = input.line(10)? {
            peer.send(line);
        }
        Ok(())
    });
    let config = Config { frames_max: 2, ..Config::default() };
    let (mut reactor, diary) = world_of(script, config, |_| Ok(Box::<Capitals>::default()));
    let client = reactor.net().client();
    reactor.net().send(client, b"Ha\nb\nc\nd\ne\nrest.");
    assert_eq!(read_all(&mut reactor, client), b"SRABCDE");
    let lines = diary.lines();
    assert_eq!(lines[lines.len() - 2..], ["eof with 4", "closed"]);
}

/// What waits for a layer that fails leaves in its form, or not at all.
#[test]
fn nothing_leaves_unsealed_when_a_layer_fails() {
    for (open, bytes, said) in [
        (&b"secret"[..], &b"HX"[..], &b"SR!"[..]),
        (b"secret?", b"H", b"SR"),
        (b"", b"H-X", b"SR!"),
    ] {
        let mut script = Script::default();
        script.open = Box::new(move |peer| {
            peer.send(open);
            Ok(())
        });
        let (mut reactor, _) = capitals(script);
        let client = reactor.net().client();
        reactor.net().send(client, bytes);
        let got = read_all(&mut reactor, client);
        assert!(got.starts_with(said), "{}", String::from_utf8_lossy(&got));
        let rest = &got[said.len()..];
        assert!(rest.is_empty() || rest == b"SECRET", "{}", String::from_utf8_lossy(&got));
        assert!(reactor.hub().is_empty());
    }
}

/// What came with the handshake is kept for whoever does not want it yet, and nobody's if closed.
#[test]
fn open_may_say_no_to_what_came_with_the_handshake() {
    let mut script = Script::default();
    script.open = Box::new(|peer| {
        peer.pause();
        peer.wake_in(10 * MS);
        Ok(())
    });
    script.timer = Box::new(|peer| {
        peer.resume();
        Ok(())
    });
    let (mut reactor, diary) = capitals(script);
    let client = reactor.net().client();
    reactor.net().send(client, b"Habc");
    assert_eq!(read_all(&mut reactor, client), b"SRABC");
    let lines = diary.lines();
    assert!(lines[1].starts_with("timer at "), "{lines:?}");
    assert_eq!((lines.len(), lines[2].as_str()), (3, "data"));

    let mut script = Script::default();
    script.open = Box::new(|peer| {
        peer.send(b"no");
        peer.close();
        Ok(())
    });
    let (mut reactor, diary) = capitals(script);
    let client = reactor.net().client();
    reactor.net().send(client, b"Habc");
    assert_eq!(read_all(&mut reactor, client), b"SRNO");
    reactor.net().finish_client(client);
    settle(&mut reactor);
    assert_eq!(diary.lines(), ["open", "closed"]);
}

#[test]
fn a_stop_waits_for_a_handshake_that_has_begun() {
    let (mut reactor, diary) = capitals(Script::default());
    let [silent, begun] = [(); 2].map(|()| reactor.net().client());
    reactor.net().send(begun, b"-");
    turns(&mut reactor, 3);
    reactor.hub().stop();
    turns(&mut reactor, 6);
    assert_eq!(reactor.hub().len(), 1, "the silent one is not waited for");
    reactor.net().send(begun, b"H");
    turns(&mut reactor, 6);
    assert_eq!(diary.lines(), ["open", "stopping"]);
    reactor.net().finish_client(silent);
    reactor.net().finish_client(begun);
    while !reactor.is_done() {
        reactor.turn().unwrap();
    }
}
