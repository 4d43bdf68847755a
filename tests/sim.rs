//! Whole runs in a seeded world: rude clients, faults, a protocol that does everything a callback
//! may do; and after each run the same questions.
mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use charkh::{
    Config, ConnId, Hub, Input, Peer, Protocol, Reactor, Reason, Result,
    net::{ClientId, Faults, Sim},
};
use common::{Echo, pattern, read_all, settle, world};

/// As many as fit into a few seconds; `CHARKH_SEEDS` runs more.
fn seeds(default: u64) -> u64 {
    std::env::var("CHARKH_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn case_040_echo_gives_back_every_byte_whatever_the_pieces() {
    for seed in 0..seeds(500) {
        // Between two looks of the client virtual hours may pass.
        let limits = Config { read_max: 64, write_max: 50, ..Config::default() };
        let config = Config { write_stall: None, ..limits };
        let mut reactor = world(Echo, seed, config);
        reactor.net().faults = Faults { aborted: 0, ..Faults::all((seed % 5 * 100) as u32) };
        let client = reactor.net().client();
        let window = 1 + reactor.net().random(100);
        reactor.net().set_window(client, window);
        let size = reactor.net().random(2000);
        let bytes = pattern(size, 1);
        reactor.net().send(client, &bytes);
        reactor.net().finish_client(client);
        assert_eq!(read_all(&mut reactor, client), bytes, "seed {seed}");
        assert!(reactor.net().sees_end(client) && !reactor.net().sees_reset(client));
        assert!(reactor.hub().is_empty(), "seed {seed}");
    }
}

#[test]
fn the_same_seed_turns_the_same_wheel() {
    let run = |seed| Chaos::run(seed, 300).fingerprint;
    assert_eq!(run(42), run(42));
    assert_ne!(run(42), run(43));
}

#[test]
fn chaos_keeps_the_laws() {
    let mut reasons = BTreeMap::<&str, u64>::new();
    for seed in 0..seeds(1500) {
        let outcome = Chaos::run(seed, 200 + seed as usize % 300);
        for (name, count) in outcome.reasons {
            *reasons.entry(name).or_default() += count;
        }
    }
    // A world in which these never happen tests nothing.
    for name in ["closed", "aborted", "broken", "fault", "idle", "deadline", "connect timeout"] {
        assert!(reasons.get(name).is_some_and(|&n| n > 0), "no connection ended {name}");
    }
}

/// What is said to others; no client sends it.
const GOSSIP: u8 = 255;

/// Echoes, and does at random everything that a callback may do.
struct Chaos {
    rng: u64,
    /// How wild, in thousandths.
    violence: usize,
    alive: BTreeSet<ConnId>,
    dialing: BTreeSet<ConnId>,
    opened: u64,
    closed: u64,
    reasons: BTreeMap<&'static str, u64>,
}

/// What the server promised to one connection, by the port of its peer.
#[derive(Default)]
struct Books {
    /// Echoed.
    taken: usize,
    paused: bool,
}

/// One end outside: what it sent, and what it got back.
struct Client {
    id: ClientId,
    sent: Vec<u8>,
    got: Vec<u8>,
    finished: bool,
    reset: bool,
}

impl Client {
    fn new(id: ClientId) -> Self {
        Self { id, sent: Vec::new(), got: Vec::new(), finished: false, reset: false }
    }
}

struct Outcome {
    fingerprint: u64,
    reasons: BTreeMap<&'static str, u64>,
}

impl Chaos {
    fn random(&mut self, below: usize) -> usize {
        self.rng = self.rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.rng >> 33) as usize % below.max(1)
    }

    fn strikes(&mut self) -> bool {
        self.random(1000) < self.violence
    }

    /// Something rude, to this connection or another.
    fn misbehave(&mut self, peer: &mut Peer) -> Result {
        if !self.strikes() {
            return Ok(());
        }
        let chosen = self.random(self.alive.len());
        let victim = self.alive.iter().nth(chosen).copied();
        match self.random(11) {
            0 => peer.close(),
            1 => peer.abort(),
            2 => peer.finish(),
            3 => return Err("because".into()),
            4 => {
                let id = peer.hub().connect("127.0.0.1:9".parse()?);
                self.dialing.insert(id);
            }
            5 => peer.deadline_in(Duration::from_millis(self.random(500) as u64)),
            6 => peer.clear_deadline(),
            8 => peer.read_while_full(self.random(2) == 0),
            9 => {
                let gossip = vec![GOSSIP; self.random(60)];
                if let Some(mut other) = victim.and_then(|id| peer.to(id)) {
                    other.send(&gossip);
                }
            }
            7 => {
                if let Some(mut other) = victim.and_then(|id| peer.to(id)) {
                    other.abort();
                    assert!(!other.send(b"to the dead"));
                }
            }
            _ => {
                if let Some(mut other) = victim.and_then(|id| peer.to(id)) {
                    other.close();
                    other.close();
                    assert!(!other.send(b"to the closed"));
                }
            }
        }
        Ok(())
    }

    fn run(seed: u64, steps: usize) -> Outcome {
        let rates = [0, 20, 200];
        let chaos = Chaos {
            rng: seed,
            violence: rates[seed as usize / 3 % 3],
            alive: BTreeSet::new(),
            dialing: BTreeSet::new(),
            opened: 0,
            closed: 0,
            reasons: BTreeMap::new(),
        };
        let config = Config {
            conns_max: 12,
            accepts_max: 2,
            connects_max: 1,
            timers_max: 3,
            jobs_max: 2,
            read_max: 40,
            write_max: 30,
            output_high: 100,
            output_low: 20,
            linger: Duration::from_millis(300),
            connect: Some(Duration::from_millis(400)),
            idle: (seed % 4 == 3).then_some(Duration::from_secs(20)),
            write_stall: (seed % 2 == 1).then_some(Duration::from_secs(9)),
            ..Config::default()
        };
        let mut reactor = world(chaos, seed, config);
        reactor.net().faults = Faults::all(rates[seed as usize % 3] as u32);
        let mut clients = Vec::new();
        for step in 0..steps {
            Self::act(&mut reactor, &mut clients, step);
            if let Err(e) = reactor.turn() {
                assert_eq!(e.kind(), std::io::ErrorKind::Deadlock, "seed {seed}");
            }
        }
        Self::finish(&mut reactor, &mut clients, seed);
        let fingerprint = reactor.net().fingerprint();
        Outcome { fingerprint, reasons: std::mem::take(&mut reactor.protocol().reasons) }
    }

    /// One thing that the outside does.
    fn act(reactor: &mut Reactor<Chaos, Sim>, clients: &mut Vec<Client>, step: usize) {
        let handle = reactor.handle();
        let net = reactor.net();
        while let Some(remote) = net.dialed() {
            clients.push(Client::new(remote));
        }
        let action = net.random(20);
        if action < 3 && clients.len() < 40 {
            clients.push(Client::new(net.client()));
        }
        let chosen = net.random(clients.len());
        let Some(client) = clients.get_mut(chosen) else { return };
        match action {
            3..=8 if !client.finished => {
                let bytes = pattern(net.random(150), step);
                net.send(client.id, &bytes);
                client.sent.extend(bytes);
            }
            9..=13 => client.got.extend(net.receive(client.id)),
            14 => {
                client.finished = true;
                net.finish_client(client.id);
            }
            15 if net.random(8) == 0 => {
                client.reset = true;
                net.reset_client(client.id);
            }
            16 => {
                let window = net.random(200);
                net.set_window(client.id, window);
            }
            17 => {
                let ms = net.random(50) as u64;
                net.clock().advance(Duration::from_millis(ms));
            }
            18 => {
                let check = |chaos: &mut Chaos, hub: &mut Hub| {
                    hub.each(|peer| assert!(chaos.alive.contains(&peer.id())));
                };
                (0..5).for_each(|_| handle.run(check).unwrap());
            }
            _ => {}
        }
    }

    /// The faults stop, the clients read what there is and end; then nothing may be left.
    fn finish(reactor: &mut Reactor<Chaos, Sim>, clients: &mut Vec<Client>, seed: u64) {
        reactor.net().faults = Faults::NONE;
        reactor.protocol().violence = 0;
        for round in 0.. {
            settle(reactor);
            let net = reactor.net();
            while let Some(remote) = net.dialed() {
                clients.push(Client::new(remote));
            }
            let mut quiet = true;
            for client in clients.iter_mut() {
                net.finish_client(client.id);
                net.set_window(client.id, 1 << 20);
                let more = net.receive(client.id);
                quiet &= more.is_empty();
                client.got.extend(more);
            }
            if quiet && round > 2 {
                break;
            }
        }
        assert!(reactor.hub().is_empty(), "seed {seed}: {:?} never ends", reactor.hub());
        assert_eq!(reactor.net().waiting(), 0, "seed {seed}: a client was forgotten");
        assert_eq!(reactor.net().open_streams(), 0, "seed {seed}: a socket leaks");
        let stats = reactor.hub().stats();
        assert_eq!((stats.memory, stats.armed), (0, 0), "seed {seed}");
        assert_eq!(stats.accepted + stats.connected + stats.connect_failed, stats.released);
        let chaos = reactor.protocol();
        assert!(chaos.alive.is_empty() && chaos.dialing.is_empty(), "seed {seed}");
        assert_eq!(chaos.opened, chaos.closed, "seed {seed}");
        // Where nobody was rude and time was not short, every byte came back.
        let peaceful = matches!((seed / 3 % 3, seed % 2), (0, 0));
        for Client { id, sent, got, reset, .. } in clients {
            got.retain(|&byte| byte != GOSSIP);
            assert!(sent.starts_with(&got[..]), "seed {seed}: {id:?} got what it never sent");
            if peaceful && !*reset && !reactor.net().sees_reset(*id) {
                assert_eq!(sent.len(), got.len(), "seed {seed}: {id:?} waits for ever");
            }
        }
        reactor.hub().stop();
        settle(reactor);
        assert!(reactor.is_done(), "seed {seed}: it does not stop");
    }
}

impl Protocol for Chaos {
    type Session = Books;

    fn open(&mut self, peer: &mut Peer) -> Books {
        self.opened += 1;
        assert!(self.alive.insert(peer.id()), "opened twice");
        let dialed = self.dialing.remove(&peer.id());
        assert_eq!(dialed, peer.listener().is_none());
        Books::default()
    }

    fn data(&mut self, peer: &mut Peer, books: &mut Books, input: &mut Input) -> Result {
        assert!(!input.is_empty(), "called for nothing");
        assert!(!books.paused, "offered while paused");
        let n = if self.random(4) == 0 { self.random(input.len()) } else { input.len() };
        let bytes = input.take(n).unwrap_or_default();
        books.taken += n;
        match self.random(3) {
            0 => peer.send_shared(&Arc::from(bytes)),
            _ => peer.send(bytes),
        };
        if self.random(5) == 0 {
            books.paused = true;
            peer.pause();
            peer.wake_in(Duration::from_millis(self.random(40) as u64));
        }
        self.misbehave(peer)
    }

    fn eof(&mut self, peer: &mut Peer, _: &mut Books, rest: &mut Input) -> Result {
        peer.send(rest.take_all());
        peer.finish();
        self.misbehave(peer)
    }

    fn drained(&mut self, peer: &mut Peer, _: &mut Books) -> Result {
        assert!(!peer.is_full());
        self.misbehave(peer)
    }

    fn timer(&mut self, peer: &mut Peer, books: &mut Books) -> Result {
        assert!(books.paused, "woken without having asked");
        books.paused = false;
        peer.resume();
        self.misbehave(peer)
    }

    fn closed(&mut self, _: &mut Hub, id: ConnId, _: Books, reason: Reason) {
        self.closed += 1;
        assert!(self.alive.remove(&id), "closed twice");
        let index = Reason::NAMES.iter().position(|name| reason.to_string().starts_with(name));
        *self.reasons.entry(Reason::NAMES[index.unwrap()]).or_default() += 1;
    }

    fn connect_failed(&mut self, _: &mut Hub, id: ConnId, reason: Reason) {
        assert!(self.dialing.remove(&id), "failed twice");
        let index = Reason::NAMES.iter().position(|name| reason.to_string().starts_with(name));
        *self.reasons.entry(Reason::NAMES[index.unwrap()]).or_default() += 1;
    }
}
