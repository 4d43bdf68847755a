//! Connections: whatever clients and protocol do to each other, everybody who was opened is closed
//! once, nothing is left behind, and whoever was treated well read what was sent, byte for byte.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use charkh::{
    Config, ConnId, Hub, Input, Peer, Protocol, Reactor, Reason, Result, WhenFull,
    net::{ClientId, Faults, Sim},
};

use super::Script;

const CLIENTS_MAX: usize = 8;
const ACTIONS_MAX: usize = 300;

pub fn run(data: &[u8]) {
    let mut script = Script(data);
    let seed = u64::from(script.byte());
    let limits = script.byte();
    let moods = script.take(12).to_vec();
    let rude = Rude { moods, ..Rude::default() };
    let mut reactor = match Reactor::with(rude, Sim::new(seed), config(limits)) {
        Ok(reactor) => reactor,
        Err(e) => panic!("these limits are sound: {e}"),
    };
    reactor.listen("127.0.0.1:1").expect("the seeded world has every address");
    let mut clients = Vec::new();
    for _ in 0..ACTIONS_MAX {
        if script.is_empty() || reactor.is_done() {
            break;
        }
        act(&mut reactor, &mut clients, &mut script);
        turn(&mut reactor);
    }
    finish(&mut reactor, &mut clients);
}

fn config(bits: u8) -> Config {
    let on = |bit: u8| bits & 1 << bit != 0;
    let after = |bit, ms| on(bit).then_some(Duration::from_millis(ms));
    Config {
        conns_max: if on(0) { 3 } else { 20 },
        conns_per_ip: on(1).then_some(4),
        when_full: if on(2) { WhenFull::Refuse } else { WhenFull::Wait },
        accepts_max: 2,
        timers_max: 2,
        jobs_max: 2,
        frames_max: 3,
        read_max: if on(3) { 16 } else { 100 },
        write_max: 30,
        input_max: 120,
        output_max: if on(4) { 400 } else { 1 << 20 },
        output_high: 100,
        output_low: 20,
        memory_max: if on(5) { 3000 } else { 1 << 20 },
        idle: after(6, 2000),
        first_byte: after(6, 700),
        write_stall: after(7, 1500),
        linger: Duration::from_millis(300),
        linger_bytes: 500,
        grace: Duration::from_millis(900),
        ..Config::default()
    }
}

/// One end outside.
struct Client {
    id: ClientId,
    got: Vec<u8>,
    reset: bool,
}

/// A turn of a world where nothing can happen any more is no fault.
fn turn(reactor: &mut Reactor<Rude, Sim>) -> bool {
    match reactor.turn() {
        Ok(()) => true,
        Err(e) if e.kind() == std::io::ErrorKind::Deadlock => false,
        Err(e) => panic!("a turn failed: {e}"),
    }
}

/// One thing that the outside does.
fn act(reactor: &mut Reactor<Rude, Sim>, clients: &mut Vec<Client>, script: &mut Script) {
    let handle = reactor.handle();
    let (action, chosen, size) = (script.byte(), script.byte(), script.byte());
    let chosen = usize::from(chosen) % clients.len().max(1);
    let net = reactor.net();
    if clients.is_empty() || action % 16 == 0 && clients.len() < CLIENTS_MAX {
        let (id, got) = (net.client(), Vec::new());
        clients.push(Client { id, got, reset: false });
        return;
    }
    let client = &mut clients[chosen];
    match action % 16 {
        1..=4 => {
            let bytes: Vec<u8> = (0..size).map(|n| if n % 9 == 8 { b'\n' } else { n }).collect();
            net.send(client.id, &bytes);
        }
        5..=7 => client.got.extend(net.receive(client.id)),
        8 => net.finish_client(client.id),
        9 => {
            client.reset = true;
            net.reset_client(client.id);
        }
        10 => net.set_window(client.id, usize::from(size)),
        11 => net.clock().advance(Duration::from_millis(u64::from(size) * 10)),
        12 => net.faults = Faults::all(u32::from(size) * 2),
        13 => net.deliver_all(),
        14 => {
            let check = |rude: &mut Rude, hub: &mut Hub| {
                hub.each(|peer| assert!(rude.alive.contains(&peer.id())));
            };
            (0..3).for_each(|_| handle.run(check).expect("the reactor is here"));
        }
        15 if size == 255 => reactor.hub().stop(),
        _ => {}
    }
}

/// The faults stop, the clients read what there is and end; then nothing may be left.
fn finish(reactor: &mut Reactor<Rude, Sim>, clients: &mut [Client]) {
    reactor.net().faults = Faults::NONE;
    reactor.protocol().moods.clear();
    for round in 0.. {
        let mut turns = 0;
        while !reactor.is_done() && turn(reactor) {
            turns += 1;
            assert!(turns < 100_000, "the wheel never comes to rest");
        }
        let net = reactor.net();
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
    assert!(reactor.hub().is_empty(), "{:?} never ends", reactor.hub());
    assert_eq!(reactor.net().open_streams(), 0, "a socket leaks");
    if !reactor.is_done() {
        assert_eq!(reactor.net().waiting(), 0, "a client was forgotten");
    }
    let stats = reactor.hub().stats();
    assert_eq!((stats.memory, stats.armed), (0, 0));
    assert_eq!(stats.released, stats.accepted);
    let Rude { alive, opened, closed, promised, .. } = std::mem::take(reactor.protocol());
    assert!(alive.is_empty(), "never closed: {alive:?}");
    assert_eq!((opened, stats.accepted), (closed, opened));
    for (n, Client { id, got, reset }) in clients.iter().enumerate() {
        let Some((promised, kept)) = promised.get(&(FIRST_PORT + n as u16)) else {
            assert!(got.is_empty(), "a stranger spoke to client {n}");
            continue;
        };
        assert!(promised.starts_with(got), "client {n} got what it was never sent");
        if *kept && !reset && !reactor.net().sees_reset(*id) {
            assert_eq!(got.len(), promised.len(), "client {n} lost its last bytes");
        }
    }
    reactor.hub().stop();
    while !reactor.is_done() {
        assert!(turn(reactor), "it does not stop");
    }
}

/// Clients of the seeded world have the ports from here on, in their order.
const FIRST_PORT: u16 = 10_000;

/// Echoes lines, and behaves as its script says.
#[derive(Default)]
struct Rude {
    moods: Vec<u8>,
    next: usize,
    alive: BTreeSet<ConnId>,
    opened: u64,
    closed: u64,
    /// What each client was sent, and whether its connection ended well.
    promised: BTreeMap<u16, (Vec<u8>, bool)>,
}

struct Session {
    port: u16,
    paused: bool,
    eof: bool,
}

impl Rude {
    fn mood(&mut self) -> u8 {
        self.next += 1;
        if self.moods.is_empty() { 0 } else { self.moods[self.next % self.moods.len()] }
    }

    fn say(&mut self, peer: &mut Peer, bytes: &[u8], shared: bool) {
        let taken = if shared { peer.send_shared(&Arc::from(bytes)) } else { peer.send(bytes) };
        if taken && let Some((promised, _)) = self.promised.get_mut(&peer.addr().port()) {
            promised.extend_from_slice(bytes);
        }
    }

    /// Something that a callback may do, to its own connection or to another.
    fn misbehave(&mut self, peer: &mut Peer, session: &mut Session) -> Result {
        let mood = self.mood();
        let other = self.alive.iter().nth(usize::from(mood >> 4)).copied();
        let ms = Duration::from_millis(u64::from(mood >> 4) * 20);
        match mood % 16 {
            1 => peer.close(),
            2 => peer.abort(),
            3 => peer.finish(),
            4 => return Err("because".into()),
            5 => peer.deadline_in(ms),
            6 => peer.clear_deadline(),
            7 if !session.eof => {
                session.paused = true;
                peer.pause();
                peer.wake_in(ms);
            }
            8 | 9 => {
                let everyone: Vec<ConnId> = self.alive.iter().copied().collect();
                for id in everyone {
                    if let Some(mut other) = peer.to(id) {
                        self.say(&mut other, b"to all\n", mood % 16 == 8);
                    }
                }
            }
            10..=12 => {
                let Some(mut other) = other.and_then(|id| peer.to(id)) else { return Ok(()) };
                match mood % 16 {
                    10 => other.close(),
                    11 => other.abort(),
                    _ => self.say(&mut other, b"psst\n", false),
                }
                assert!(mood % 16 == 12 || !other.send(b"to one that is over"));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Protocol for Rude {
    type Session = Session;

    fn open(&mut self, peer: &mut Peer) -> Session {
        self.opened += 1;
        assert!(self.alive.insert(peer.id()), "opened twice");
        let port = peer.addr().port();
        let before = self.promised.insert(port, (Vec::new(), false));
        assert!(before.is_none(), "accepted twice");
        let mut session = Session { port, paused: false, eof: false };
        match self.mood() % 4 {
            1 => self.say(peer, b"welcome\n", false),
            2 => drop(self.misbehave(peer, &mut session)),
            _ => {}
        }
        session
    }

    fn data(&mut self, peer: &mut Peer, session: &mut Session, input: &mut Input) -> Result {
        assert!(!input.is_empty(), "called for nothing");
        assert!(!session.paused && !session.eof, "offered out of season");
        if self.mood().is_multiple_of(2) {
            while let Some(line) = input.line(90)? {
                self.say(peer, line, false);
                self.say(peer, b"\n", false);
            }
        } else {
            let bytes = input.take_all();
            self.say(peer, bytes, true);
        }
        self.misbehave(peer, session)
    }

    fn eof(&mut self, peer: &mut Peer, session: &mut Session, rest: &mut Input) -> Result {
        assert!(!session.eof, "two ends");
        session.eof = true;
        let bytes = rest.take_all();
        self.say(peer, bytes, false);
        self.misbehave(peer, session)?;
        peer.finish();
        Ok(())
    }

    fn drained(&mut self, peer: &mut Peer, session: &mut Session) -> Result {
        assert!(!peer.is_full());
        self.misbehave(peer, session)
    }

    fn timer(&mut self, peer: &mut Peer, session: &mut Session) -> Result {
        assert!(session.paused, "woken without having asked");
        session.paused = false;
        peer.resume();
        self.misbehave(peer, session)
    }

    fn stopping(&mut self, peer: &mut Peer, _: &mut Session) -> Result {
        peer.close();
        Ok(())
    }

    fn closed(&mut self, hub: &mut Hub, id: ConnId, session: Session, reason: Reason) {
        self.closed += 1;
        assert!(self.alive.remove(&id), "closed twice");
        assert!(hub.peer(id).is_none(), "a dead name names somebody");
        if let Some((_, kept)) = self.promised.get_mut(&session.port) {
            *kept = matches!(reason, Reason::Closed);
        }
    }
}
