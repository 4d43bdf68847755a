//! A world made of a seed: for testing a protocol without sockets, sleeps or luck.
//!
//! [`Sim`] is a [`Net`], so a [`Reactor`](crate::Reactor) turns in it as it turns on
//! real sockets, line for line. It is as stingy as a kernel: an edge is told only when something
//! changed, and once. A reactor that goes to sleep for ever while nobody is left to wake it gets
//! an error ([`ErrorKind::Deadlock`]), because that is what a lost wake-up is, and nothing runs
//! after it. What the network does with the bytes (pieces, delays, full windows) and what goes
//! wrong ([`Faults`]) is drawn from the seed, so the same seed is the same world again.
//!
//! # A thousand worlds for a protocol of yours
//!
//! Have the feature `sim` in your tests: `charkh = { .., features = ["sim"] }` under
//! `[dev-dependencies]`. [`worlds`] runs a test in as many worlds as you like, on all processors,
//! and draws for each how often each thing goes wrong in it.
//!
//! ```
//! use charkh::{Config, Input, Peer, Protocol, Reactor, Result, net::sim};
//!
//! struct Shout;
//! impl Protocol for Shout {
//!     type Session = ();
//!     fn open(&mut self, _: &mut Peer) {}
//!     fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
//!         while let Some(line) = input.line(80)? {
//!             peer.send(&[&line.to_ascii_uppercase()[..], b"\n"].concat());
//!         }
//!         Ok(())
//!     }
//! }
//!
//! sim::worlds(1000, |mut net| {
//!     net.faults.jump = 0; // or a minute may pass, and deadlines come
//!     let mut reactor = Reactor::with(Shout, net, Config::default()).unwrap();
//!     reactor.listen("127.0.0.1:1").unwrap();
//!     let client = reactor.net().client();
//!     reactor.net().send(client, b"hello\nwor");
//!     reactor.net().send(client, b"ld\n");
//!     reactor.net().finish_client(client);
//!     while reactor.turn().is_ok() {} // until nothing can happen any more, time included
//!     let heard = reactor.net().receive(client);
//!     match reactor.net().was_harmed(client) {
//!         false => assert_eq!(heard, b"HELLO\nWORLD\n"),
//!         true => assert!(b"HELLO\nWORLD\n".starts_with(&heard)),
//!     }
//!     assert!(reactor.hub().is_empty(), "somebody was left behind");
//! });
//! ```
//!
//! When a world fails, its faults are taken away from the end until as few as possible are left
//! with which it still fails, and the test fails with a text like this:
//!
//! ```text
//! world 417 fails: panicked at tests/shout.rs:21:9: somebody was left behind
//! the first 2 of its 53 faults are enough:
//!   look 3: short read, connection 0
//!   look 9: half-close, connection 0
//! once more: CHARKH_SEED=417 CHARKH_FAULTS=2 cargo test --test shout a_thousand_worlds
//! ```
//!
//! `CHARKH_SEEDS=1000000` asks for more worlds than the test does by itself.
//!
//! # Time
//!
//! The clock of a world stands still while anything can happen, and then jumps to whatever comes
//! next: a day of timeouts takes no time to test. [`Sim::clock`] is for whoever must move it: a
//! callback that is meant to be slow, or a test that wants to be somewhere in between. In worlds
//! with [`Faults::jump`] or [`Faults::slow`] it moves by itself, and [`Sim::time_was_bent`] tells.
//!
//! # By hand
//!
//! [`Sim::new`] is a world in which nothing goes wrong. Its public fields are the faults and the
//! limits; clients are made, speak and listen by its methods. [`Config::trace`] makes the reactor
//! remember what it did, and [`Trace::hash`] tells two runs apart.
//!
//! Datagrams are sent with [`Sim::send_datagram`] and come with [`Sim::receive_datagram`]; all that
//! this takes is an address.
//!
//! [`Config::trace`]: crate::Config::trace
//! [`Trace::hash`]: crate::trace::Trace::hash
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
    mem,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::Addr;

use super::{Event, Net, Received, SocketOptions, Token, Wake};

mod faults;
mod udp;
mod worlds;

pub use faults::Faults;
use faults::{Kind, Random, Strike, Struck};
use udp::Mail;
pub use udp::SimUdp;
pub use worlds::{Tally, worlds};

/// Names one end outside: a client, or what an outbound connection reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClientId(usize);

/// The world's clock, for those who have no [`Sim`] at hand: a callback that blocks moves it.
#[derive(Clone, Debug)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Let time pass.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
    }

    /// What it says.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// What has gone through the server's end of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Moved {
    /// Bytes that it has read.
    pub read: usize,
    /// When it last read a byte, and when one of its own was last taken.
    pub read_at: Option<Duration>,
    /// See [`read_at`](Moved::read_at).
    pub written_at: Option<Duration>,
    /// It has read the client's end.
    pub end_read: bool,
}

/// The seeded world.
#[derive(Debug)]
pub struct Sim {
    /// What goes wrong from here on.
    pub faults: Faults,
    /// Streams that may be open at once; above it there is no descriptor. Default: no limit.
    pub streams_max: usize,
    /// How often the reactor may ask what happened; then the world panics, for a wheel that never
    /// comes to rest would turn for ever. Default a million; 100 000 in [`worlds`].
    pub looks_max: u64,
    seed: u64,
    random: Random,
    /// Apart from the other, so that one fault less leaves everything before it as it was.
    luck: Random,
    struck: Struck,
    /// Who wants to know, in the end, what struck.
    report: Option<worlds::Report>,
    looks: u64,
    clock: Clock,
    woken: Arc<AtomicBool>,
    short_until: Duration,
    listeners: Vec<Backlog>,
    pipes: Vec<Pipe>,
    /// Those that something can still happen to.
    live: Vec<usize>,
    dialed: VecDeque<ClientId>,
    mail: Mail,
    injected: Vec<Event>,
}

#[derive(Debug)]
struct Backlog {
    token: Token,
    waiting: VecDeque<usize>,
    edge: bool,
    open: Arc<AtomicBool>,
}

/// A listener of the simulated world.
#[derive(Debug)]
pub struct SimListener {
    index: usize,
    open: Arc<AtomicBool>,
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Relaxed);
    }
}

/// A stream of the simulated world.
#[derive(Debug)]
pub struct SimStream {
    pipe: usize,
    state: Arc<AtomicU8>,
}

/// What a stream's owner did with it; zero until it has one.
const OPEN: u8 = 1;
const CLOSED: u8 = 2;
const RESET: u8 = 3;

impl Drop for SimStream {
    fn drop(&mut self) {
        let _ = self.state.compare_exchange(OPEN, CLOSED, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// One connection, seen from above.
#[derive(Debug, Default)]
struct Pipe {
    addr: Option<Addr>,
    source: Option<IpAddr>,
    token: Option<Token>,
    state: Arc<AtomicU8>,
    /// How an outbound connection came out; `None` for one that came from outside.
    dial: Option<Dial>,
    /// Whether the listener that it waits at is open.
    door: Option<Arc<AtomicBool>>,
    /// Nothing is under way until then; for ever if that is [`Duration::MAX`].
    clogged_until: Option<Duration>,

    /// Bytes that the client has sent, those that a fault took back not counted.
    sent: usize,
    in_flight: VecDeque<u8>,
    arrived: VecDeque<u8>,
    fin_sent: bool,
    fin_arrived: bool,
    moved: Moved,
    reset_by_client: bool,
    /// A fault took bytes of it, or all of it.
    harmed: bool,
    /// Since which look the server has owed a read.
    owed: Option<u64>,

    to_client: VecDeque<u8>,
    window: usize,
    shut_until: Option<Duration>,
    blocked: bool,
    server_finished: bool,
    reset_by_server: bool,

    edge_in: bool,
    edge_out: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Dial {
    Pending,
    Unanswered,
    Refused,
    Up,
}

impl Pipe {
    fn state(&self) -> u8 {
        self.state.load(Ordering::Relaxed)
    }

    fn room(&self) -> usize {
        match self.shut_until {
            Some(_) => 0,
            None => self.window.saturating_sub(self.to_client.len()),
        }
    }

    /// There is room again: whoever met a full window is told, once.
    fn unblock(&mut self) -> bool {
        let unblocked = self.blocked && self.room() > 0;
        self.blocked &= !unblocked;
        self.edge_out |= unblocked;
        unblocked
    }

    fn break_off(&mut self) {
        (self.reset_by_client, self.edge_in, self.edge_out) = (true, true, true);
        self.sent -= self.in_flight.len();
        self.in_flight.clear();
    }
}

/// The outside: what clients do, and what they see.
impl Sim {
    /// A world without faults.
    pub fn new(seed: u64) -> Self {
        Self {
            faults: Faults::NONE,
            streams_max: usize::MAX,
            looks_max: 1_000_000,
            seed,
            random: Random::new(seed),
            luck: Random::new(!seed),
            struck: Struck::new(u64::MAX),
            report: None,
            looks: 0,
            clock: Clock(Arc::default()),
            woken: Arc::default(),
            short_until: Duration::ZERO,
            listeners: Vec::new(),
            pipes: Vec::new(),
            live: Vec::new(),
            dialed: VecDeque::new(),
            mail: Mail::default(),
            injected: Vec::new(),
        }
    }

    /// The same world once more, from its beginning, with the faults that this one has now.
    pub fn twin(&self) -> Self {
        let mut twin = Self::new(self.seed);
        twin.struck.max = self.struck.max;
        (twin.faults, twin.streams_max, twin.looks_max) =
            (self.faults, self.streams_max, self.looks_max);
        twin
    }

    /// What this world was made of.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next number of this world, less than `below`.
    pub fn random(&mut self, below: usize) -> usize {
        self.random.below(below)
    }

    /// A client connects to the first listener, with room for a mebibyte of answers.
    pub fn client(&mut self) -> ClientId {
        self.client_of(0)
    }

    /// A client connects to the listener of that index.
    pub fn client_of(&mut self, listener: usize) -> ClientId {
        let port = 10_000 + (self.pipes.len() % 50_000) as u16;
        self.client_from((Ipv4Addr::LOCALHOST, port), listener)
    }

    /// A client with this address connects to the listener of that index.
    pub fn client_from(&mut self, addr: impl Into<Addr>, listener: usize) -> ClientId {
        let pipe = self.add_pipe(addr.into(), None);
        let backlog = self.listeners.get_mut(listener);
        match backlog.filter(|backlog| backlog.open.load(Ordering::Relaxed)) {
            Some(backlog) => {
                backlog.waiting.push_back(pipe);
                backlog.edge = true;
                self.pipes[pipe].door = Some(backlog.open.clone());
            }
            None => self.pipes[pipe].reset_by_server = true,
        }
        ClientId(pipe)
    }

    /// The next end that an outbound connection reached. It talks like a client.
    pub fn dialed(&mut self) -> Option<ClientId> {
        self.dialed.pop_front()
    }

    /// The client's own address, or the one that was dialed.
    pub fn addr(&self, client: ClientId) -> Option<Addr> {
        self.pipes[client.0].addr.clone()
    }

    /// Where an outbound connection was to come from, if [`Hub::connect_from`] said so.
    ///
    /// [`Hub::connect_from`]: crate::Hub::connect_from
    pub fn source(&self, client: ClientId) -> Option<IpAddr> {
        self.pipes[client.0].source
    }

    /// The client sends. To a connection that the server has closed that brings a reset back.
    pub fn send(&mut self, client: ClientId, bytes: &[u8]) {
        self.settle(client.0);
        let pipe = &mut self.pipes[client.0];
        if pipe.fin_sent || pipe.reset_by_client {
            return;
        }
        if pipe.state() >= CLOSED {
            pipe.reset_by_server = true;
            pipe.to_client.clear();
        } else {
            pipe.in_flight.extend(bytes);
            pipe.sent += bytes.len();
        }
    }

    /// How many bytes this client has sent. Those that a fault kept from leaving do not count.
    pub fn sent(&self, client: ClientId) -> usize {
        self.pipes[client.0].sent
    }

    /// The client ends its half.
    pub fn finish_client(&mut self, client: ClientId) {
        self.pipes[client.0].fin_sent = true;
    }

    /// The client resets the connection. What had arrived before may be lost, or not.
    pub fn reset_client(&mut self, client: ClientId) {
        let lost = self.random(2) == 0;
        let pipe = &mut self.pipes[client.0];
        pipe.break_off();
        if lost {
            pipe.arrived.clear();
        }
    }

    /// How many bytes may wait for the client to read them.
    pub fn set_window(&mut self, client: ClientId, bytes: usize) {
        let pipe = &mut self.pipes[client.0];
        pipe.window = bytes;
        pipe.unblock();
    }

    /// What has come for the client since it last looked. Reading it makes room for more.
    pub fn receive(&mut self, client: ClientId) -> Vec<u8> {
        self.receive_some(client, usize::MAX)
    }

    /// The same, but no more than this: a client that reads slowly.
    pub fn receive_some(&mut self, client: ClientId, max: usize) -> Vec<u8> {
        self.settle(client.0);
        let now = self.clock.now();
        let pipe = &mut self.pipes[client.0];
        // For a connection that the server is done with no time will pass any more.
        let passes = pipe.state() >= CLOSED && pipe.clogged_until != Some(Duration::MAX);
        if !passes && pipe.clogged_until.is_some_and(|until| until > now) {
            return Vec::new();
        }
        let n = pipe.to_client.len().min(max);
        let bytes = pipe.to_client.drain(..n).collect();
        pipe.unblock();
        bytes
    }

    /// From here on nothing moves on this connection, in either direction, until
    /// [`release`](Sim::release).
    pub fn clog(&mut self, client: ClientId) {
        self.pipes[client.0].clogged_until = Some(Duration::MAX);
    }

    /// Things move again.
    pub fn release(&mut self, client: ClientId) {
        self.pipes[client.0].clogged_until = None;
    }

    /// Everything in flight arrives now, in one piece.
    pub fn deliver_all(&mut self) {
        for pipe in &mut self.pipes {
            pipe.edge_in |= !pipe.in_flight.is_empty() || pipe.fin_sent && !pipe.fin_arrived;
            let Pipe { in_flight, arrived, .. } = pipe;
            arrived.append(in_flight);
            pipe.fin_arrived |= pipe.fin_sent;
        }
        self.deliver_all_datagrams();
    }

    /// The server has ended its half, or closed.
    pub fn sees_end(&mut self, client: ClientId) -> bool {
        self.settle(client.0);
        let pipe = &self.pipes[client.0];
        pipe.server_finished || pipe.reset_by_server
    }

    /// The server has reset the connection, or closed it with input unread, or refused it. What
    /// the client had not read by then is lost.
    pub fn sees_reset(&mut self, client: ClientId) -> bool {
        self.settle(client.0);
        self.pipes[client.0].reset_by_server
    }

    /// The connection was reset from outside, by the client or by a fault.
    pub fn was_reset(&self, client: ClientId) -> bool {
        self.pipes[client.0].reset_by_client
    }

    /// A fault took bytes of this connection, or all of it.
    pub fn was_harmed(&self, client: ClientId) -> bool {
        self.pipes[client.0].harmed
    }

    /// The clock has jumped, or time has passed where none should: a deadline may have come that
    /// would not have.
    pub fn time_was_bent(&self) -> bool {
        [Kind::Slow, Kind::Jump].iter().any(|&kind| self.struck.counts[kind as usize] > 0)
    }

    /// For how many looks the server has known that there is something to read from this client,
    /// and has not read. Whoever pauses, or waits for room, has a reason.
    pub fn looks_owed(&self, client: ClientId) -> u64 {
        let pipe = &self.pipes[client.0];
        pipe.owed.filter(|_| pipe.state() == OPEN).map_or(0, |since| self.looks - since)
    }

    /// How many bytes this client would take now.
    pub fn room(&self, client: ClientId) -> usize {
        self.pipes[client.0].room()
    }

    /// How often each kind of fault has struck, in the order of [`Faults::NAMES`].
    pub fn struck(&self) -> [u64; Faults::KINDS] {
        self.struck.counts
    }

    /// What the server has read of this client, and written to it, and when.
    pub fn moved(&self, client: ClientId) -> Moved {
        self.pipes[client.0].moved
    }

    /// Streams that the server holds.
    pub fn open_streams(&self) -> usize {
        self.pipes.iter().filter(|pipe| pipe.state() == OPEN).count()
    }

    /// Clients that wait to be accepted.
    pub fn waiting(&self) -> usize {
        let open = self.listeners.iter().filter(|backlog| backlog.open.load(Ordering::Relaxed));
        open.map(|backlog| backlog.waiting.len()).sum()
    }

    /// Tell this with the next look: an event that comes late, or for nobody.
    pub fn inject(&mut self, event: Event) {
        self.injected.push(event);
    }

    /// The clock, to be moved from anywhere.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }
}

/// What the world does by itself.
impl Sim {
    fn add_pipe(&mut self, addr: Addr, dial: Option<Dial>) -> usize {
        let pipe = self.pipes.len();
        self.pipes.push(Pipe { addr: Some(addr), dial, window: 1 << 20, ..Pipe::default() });
        self.live.push(pipe);
        pipe
    }

    /// See what closing did: unread input, or a reset, costs the client what it has not read.
    fn settle(&mut self, pipe: usize) {
        let pipe = &mut self.pipes[pipe];
        let shut_out = pipe.door.as_ref().is_some_and(|open| !open.load(Ordering::Relaxed));
        match pipe.state() {
            0 if shut_out => pipe.reset_by_server = true,
            CLOSED if !pipe.server_finished || !pipe.fin_arrived => {
                let unread = !pipe.arrived.is_empty() || !pipe.in_flight.is_empty();
                pipe.server_finished = true;
                if unread && !pipe.reset_by_server {
                    pipe.reset_by_server = true;
                    pipe.to_client.clear();
                }
            }
            RESET if !pipe.reset_by_server => {
                pipe.reset_by_server = true;
                pipe.to_client.clear();
            }
            _ => {}
        }
    }

    fn strikes(&mut self, kind: Kind, pipe: Option<usize>) -> bool {
        let rate = self.faults.rate(kind);
        let look = self.looks;
        rate > 0
            && self.luck.below(1000) < rate as usize
            && self.struck.strike(Strike { look, kind, pipe })
    }

    /// A time from now, up to so many milliseconds away.
    fn soon(&mut self, ms: usize) -> Duration {
        self.clock.now() + Duration::from_millis(1 + self.luck.below(ms) as u64)
    }

    /// The network moves: some of what is in flight arrives, in pieces.
    fn deliver(&mut self) -> bool {
        let mut live = mem::take(&mut self.live);
        live.retain(|&i| self.pipes[i].state() < CLOSED && !self.pipes[i].reset_by_server);
        let mut moved = false;
        for &i in &live {
            moved |= self.deliver_to(i);
        }
        self.live = live;
        moved
    }

    fn deliver_to(&mut self, i: usize) -> bool {
        let now = self.clock.now();
        let pipe = &mut self.pipes[i];
        let mut moved = pipe.clogged_until.take_if(|&mut until| until <= now).is_some();
        if pipe.clogged_until.is_some() {
            return false;
        }
        if pipe.shut_until.take_if(|&mut until| until <= now).is_some() {
            pipe.unblock();
            moved = true;
        }
        let flying = pipe.in_flight.len();
        let busy = flying > 0 || pipe.dial == Some(Dial::Pending) || pipe.blocked;
        if busy && self.strikes(Kind::Clogged, Some(i)) {
            self.pipes[i].clogged_until = Some(self.soon(200));
            return true;
        }
        if flying > 0 {
            let n = 1 + self.random(flying);
            let pipe = &mut self.pipes[i];
            pipe.arrived.extend(pipe.in_flight.drain(..n));
            pipe.edge_in = true;
            moved = true;
            self.cut_off(i);
        }
        let pipe = &mut self.pipes[i];
        if pipe.in_flight.is_empty() && pipe.fin_sent && !pipe.fin_arrived {
            pipe.fin_arrived = true;
            pipe.edge_in = true;
            moved = true;
        }
        if pipe.dial == Some(Dial::Pending) {
            moved = true;
            self.answer_dial(i);
        }
        moved
    }

    /// A connection with bytes under way may end here, or its client's half may.
    fn cut_off(&mut self, i: usize) {
        if self.strikes(Kind::Reset, Some(i)) {
            self.reset_client(ClientId(i));
            self.pipes[i].harmed = true;
        } else if self.strikes(Kind::HalfClose, Some(i)) {
            let pipe = &mut self.pipes[i];
            pipe.sent -= pipe.in_flight.len();
            pipe.in_flight.clear();
            (pipe.fin_sent, pipe.harmed) = (true, true);
        }
    }

    fn answer_dial(&mut self, i: usize) {
        if self.random(2) == 0 {
            return;
        }
        let dial = if self.strikes(Kind::Refused, Some(i)) {
            Dial::Refused
        } else if self.strikes(Kind::Unanswered, Some(i)) {
            Dial::Unanswered
        } else {
            self.dialed.push_back(ClientId(i));
            Dial::Up
        };
        self.pipes[i].dial = Some(dial);
        self.pipes[i].edge_out = dial != Dial::Unanswered;
    }

    fn tell(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.injected);
        for backlog in &mut self.listeners {
            let open = backlog.open.load(Ordering::Relaxed);
            if mem::take(&mut backlog.edge) && open {
                let Backlog { token, .. } = *backlog;
                let [readable, writable, ending, failed] = [true, false, false, false];
                events.push(Event { token, readable, writable, ending, failed });
            }
        }
        self.tell_of_datagrams(events);
        // A kernel's list is in no order that one may rely on.
        let first = self.random(self.live.len());
        for n in 0..self.live.len() {
            let i = self.live[(first + n) % self.live.len()];
            if self.pipes[i].token.is_some() && self.pipes[i].state() == OPEN {
                events.extend(self.edge(i));
            }
        }
    }

    /// What there is to tell of one connection, if anything changed.
    fn edge(&mut self, i: usize) -> Option<Event> {
        let spurious = self.strikes(Kind::Spurious, Some(i));
        let pipe = &self.pipes[i];
        let changed = pipe.edge_in || pipe.edge_out;
        if !spurious && (!changed || self.strikes(Kind::Late, Some(i))) {
            return None;
        }
        let looks = self.looks;
        let pipe = &mut self.pipes[i];
        let token = pipe.token?;
        let failed = pipe.reset_by_client || pipe.dial == Some(Dial::Refused);
        let something = !pipe.arrived.is_empty() || pipe.fin_arrived || pipe.reset_by_client;
        if something && (pipe.reset_by_client || !pipe.moved.end_read) {
            pipe.owed.get_or_insert(looks);
        }
        // As epoll does: an edge tells all that is so, not only what changed.
        let is_up = pipe.dial.is_none_or(|dial| dial == Dial::Up);
        let event = Event {
            token,
            readable: pipe.edge_in || spurious || something,
            writable: pipe.edge_out || spurious || failed || is_up && !pipe.blocked,
            ending: pipe.fin_arrived || failed,
            failed,
        };
        (pipe.edge_in, pipe.edge_out) = (false, false);
        Some(event)
    }

    /// Nothing happens now: until when? Time passes up to there.
    fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let now = self.clock.now();
        let timeout = timeout.map(|timeout| now.saturating_add(timeout));
        // Whoever is clogged feels nothing of its window.
        let moves = self.live.iter().filter_map(|&i| {
            let Pipe { clogged_until, shut_until, .. } = self.pipes[i];
            clogged_until.or(shut_until).filter(|&at| at < Duration::MAX)
        });
        match moves.chain(timeout).min() {
            Some(at) => self.clock.advance(at.saturating_sub(now)),
            // Somebody's wake-up, which is late, is all that can still come.
            None if self.woken.swap(false, Ordering::Relaxed) => {}
            // The kernel would sleep for ever; so nothing after the sleep may run.
            None => return Err(ErrorKind::Deadlock.into()),
        }
        Ok(())
    }

    fn open_stream(&mut self, pipe: usize) -> SimStream {
        let state = self.pipes[pipe].state.clone();
        state.store(OPEN, Ordering::Relaxed);
        SimStream { pipe, state }
    }

    /// For `accept` and `connect`.
    fn is_short(&mut self) -> bool {
        if self.strikes(Kind::Shortage, None) {
            self.short_until = self.soon(50);
        }
        self.clock.now() < self.short_until || self.open_streams() >= self.streams_max
    }

    fn shortage(&mut self, of: &[i32]) -> io::Error {
        io::Error::from_raw_os_error(of[self.luck.below(of.len())])
    }

    fn try_accept(&mut self, index: usize) -> io::Result<usize> {
        if self.listeners[index].waiting.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.strikes(Kind::Interrupted, None) {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.is_short() {
            return Err(self.shortage(SHORTAGES));
        }
        let pipe = self.listeners[index].waiting.pop_front().ok_or(ErrorKind::WouldBlock)?;
        if self.strikes(Kind::Aborted, Some(pipe)) {
            (self.pipes[pipe].reset_by_server, self.pipes[pipe].harmed) = (true, true);
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok(pipe)
    }

    /// What may be in the way of a read or a write.
    fn hinder(&mut self, pipe: usize) -> io::Result<()> {
        if self.strikes(Kind::Slow, Some(pipe)) {
            self.clock.advance(Duration::from_millis(1 + self.luck.below(20) as u64));
        }
        if self.strikes(Kind::Interrupted, Some(pipe)) {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.strikes(Kind::NoMemory, Some(pipe)) {
            self.pipes[pipe].owed = None; // it will not be tried again at once
            return Err(self.shortage(&SHORTAGES[2..]));
        }
        Ok(())
    }

    fn try_read(&mut self, i: usize, into: &mut [u8]) -> io::Result<usize> {
        self.pipes[i].owed = self.pipes[i].owed.map(|_| self.looks);
        self.hinder(i)?;
        if self.strikes(Kind::Empty, Some(i)) {
            (self.pipes[i].edge_in, self.pipes[i].owed) = (true, None);
            return Err(ErrorKind::WouldBlock.into());
        }
        let arrived = self.pipes[i].arrived.len();
        if arrived == 0 {
            let pipe = &mut self.pipes[i];
            pipe.owed = None;
            return match pipe {
                pipe if pipe.reset_by_client => Err(ErrorKind::ConnectionReset.into()),
                pipe if pipe.fin_arrived => {
                    pipe.moved.end_read = true;
                    Ok(0)
                }
                _ => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let short = self.strikes(Kind::ShortRead, Some(i));
        let mut n = arrived.min(into.len());
        if short {
            n = 1 + self.luck.below(n);
        }
        let pipe = &mut self.pipes[i];
        for (to, from) in into.iter_mut().zip(pipe.arrived.drain(..n)) {
            *to = from;
        }
        pipe.moved.read += n;
        pipe.moved.read_at = Some(self.clock.now());
        if short && n < arrived {
            pipe.edge_in = true;
        }
        // A read that is not filled has emptied the socket; of an end behind it an edge has told,
        // or will.
        let told_of_end = (pipe.fin_arrived || pipe.reset_by_client) && !pipe.edge_in;
        if n < into.len() && !told_of_end {
            pipe.owed = None;
        }
        Ok(n)
    }

    fn try_write(&mut self, i: usize, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.hinder(i)?;
        let size: usize = bytes.iter().map(|slice| slice.len()).sum();
        if self.pipes[i].shut_until.is_none() && self.strikes(Kind::Shut, Some(i)) {
            self.pipes[i].shut_until = Some(self.soon(100));
        }
        let part = if self.strikes(Kind::Empty, Some(i)) {
            0
        } else if size > 1 && self.strikes(Kind::ShortWrite, Some(i)) {
            1 + self.luck.below(size - 1)
        } else {
            size
        };
        let pipe = &mut self.pipes[i];
        if pipe.reset_by_client || pipe.server_finished {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let n = part.min(pipe.room());
        pipe.to_client.extend(bytes.iter().flat_map(|slice| slice.iter()).take(n));
        if n < size {
            // A part taken for no reason: the room is back at once, and so is the edge.
            pipe.edge_out |= n == part && pipe.room() > 0;
            pipe.blocked |= pipe.room() == 0;
        }
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        pipe.moved.written_at = Some(self.clock.now());
        Ok(n)
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if let Some(report) = self.report.take() {
            report.hand_in(self.looks, &self.struck);
        }
    }
}

/// EMFILE, ENFILE, ENOMEM, ENOBUFS, by their numbers, as a kernel gives them.
const SHORTAGES: &[i32] = if cfg!(windows) {
    &[10024, 10024, 10055, 10055]
} else if cfg!(any(target_os = "linux", target_os = "android")) {
    &[24, 23, 12, 105]
} else {
    &[24, 23, 12, 55]
};

/// ENOSPC: more is watched than may be.
const UNWATCHED: i32 = 28;

/// EINVAL: what a poll says that is none.
const INVALID: i32 = if cfg!(windows) { 10022 } else { 22 };

impl Net for Sim {
    type Listener = SimListener;
    type Stream = SimStream;
    type Udp = SimUdp;

    const SHORT_MEANS_DONE: bool = true;
    const HOLDS_TO_THE_LAWS: bool = true;

    fn now(&mut self) -> Duration {
        self.clock.now()
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.looks += 1;
        let rests = self.looks <= self.looks_max;
        assert!(rests, "the wheel never comes to rest: it has turned {} times", self.looks_max);
        if self.strikes(Kind::Poll, None) {
            return Err(io::Error::from_raw_os_error(INVALID));
        }
        let moved = self.deliver() | self.deliver_datagrams();
        self.tell(events);
        let pending = self.live.iter().map(|&i| &self.pipes[i]).any(|pipe| {
            let watched = pipe.token.is_some() && pipe.state() == OPEN;
            watched && (pipe.edge_in || pipe.edge_out)
        });
        let pending = pending || self.has_news_of_datagrams();
        let woken = self.woken.load(Ordering::Relaxed)
            && !self.strikes(Kind::LateWake, None)
            && self.woken.swap(false, Ordering::Relaxed);
        if events.is_empty() && !moved && !pending && !woken {
            self.sleep(timeout)?;
        }
        if timeout.is_none_or(|timeout| !timeout.is_zero()) && self.strikes(Kind::Jump, None) {
            self.clock.advance(Duration::from_millis(self.luck.below(60_000) as u64));
        }
        Ok(())
    }

    fn pause(&mut self, time: Duration) {
        self.clock.advance(time);
    }

    fn waker(&mut self) -> io::Result<Wake> {
        let woken = self.woken.clone();
        Ok(Arc::new(move || woken.store(true, Ordering::Relaxed)))
    }

    fn listen(
        &mut self,
        addr: &Addr,
        _: &SocketOptions,
        token: Token,
    ) -> io::Result<(SimListener, Addr)> {
        let open = Arc::new(AtomicBool::new(true));
        let index = self.listeners.len();
        let waiting = VecDeque::new();
        self.listeners.push(Backlog { token, waiting, edge: false, open: open.clone() });
        Ok((SimListener { index, open }, addr.clone()))
    }

    fn accept(&mut self, listener: &mut SimListener) -> io::Result<(SimStream, Addr)> {
        let pipe = self.try_accept(listener.index)?;
        let addr = self.pipes[pipe].addr.clone().ok_or(ErrorKind::NotConnected)?;
        Ok((self.open_stream(pipe), addr))
    }

    fn refuse(&mut self, listener: &mut SimListener) -> io::Result<()> {
        let waiting = &mut self.listeners[listener.index].waiting;
        let pipe = waiting.pop_front().ok_or(ErrorKind::WouldBlock)?;
        self.pipes[pipe].reset_by_server = true;
        Ok(())
    }

    fn connect(
        &mut self,
        addr: &Addr,
        source: Option<IpAddr>,
        _: &SocketOptions,
    ) -> io::Result<SimStream> {
        if self.is_short() {
            return Err(self.shortage(SHORTAGES));
        }
        if source.is_some_and(|source| addr.ip().is_none_or(|ip| source.is_ipv4() != ip.is_ipv4()))
        {
            return Err(ErrorKind::InvalidInput.into());
        }
        let pipe = self.add_pipe(addr.clone(), Some(Dial::Pending));
        self.pipes[pipe].source = source;
        Ok(self.open_stream(pipe))
    }

    fn watch(&mut self, stream: &mut SimStream, token: Token) -> io::Result<()> {
        let unwatched = self.strikes(Kind::Unwatched, Some(stream.pipe));
        let pipe = &mut self.pipes[stream.pipe];
        if unwatched {
            pipe.harmed = true;
            return Err(io::Error::from_raw_os_error(UNWATCHED));
        }
        pipe.token = Some(token);
        pipe.edge_out = pipe.dial.is_none();
        pipe.edge_in = !pipe.arrived.is_empty() || pipe.fin_arrived || pipe.reset_by_client;
        Ok(())
    }

    fn connected(&mut self, stream: &mut SimStream) -> io::Result<()> {
        match self.pipes[stream.pipe].dial {
            Some(Dial::Refused) => Err(ErrorKind::ConnectionRefused.into()),
            Some(Dial::Pending | Dial::Unanswered) => Err(ErrorKind::NotConnected.into()),
            Some(Dial::Up) | None => self.take_error(stream),
        }
    }

    fn take_error(&mut self, stream: &mut SimStream) -> io::Result<()> {
        let pipe = &mut self.pipes[stream.pipe];
        pipe.owed = None;
        match pipe.reset_by_client {
            true => Err(ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }

    fn read(&mut self, stream: &mut SimStream, into: &mut [u8]) -> io::Result<usize> {
        self.try_read(stream.pipe, into)
    }

    fn write(&mut self, stream: &mut SimStream, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write(stream.pipe, bytes)
    }

    fn finish(&mut self, stream: &mut SimStream) -> io::Result<()> {
        let pipe = &mut self.pipes[stream.pipe];
        if pipe.reset_by_client {
            return Err(ErrorKind::NotConnected.into());
        }
        pipe.server_finished = true;
        Ok(())
    }

    fn reset(&mut self, stream: SimStream) {
        stream.state.store(RESET, Ordering::Relaxed);
        self.settle(stream.pipe);
    }

    fn bind_udp(
        &mut self,
        addr: SocketAddr,
        _: &SocketOptions,
        token: Token,
    ) -> io::Result<(SimUdp, SocketAddr)> {
        Ok(self.open_udp_at(addr, token))
    }

    fn recv_from(&mut self, socket: &mut SimUdp, into: &mut [u8]) -> io::Result<Received> {
        self.try_recv_from(socket, into)
    }

    fn send_to(&mut self, socket: &mut SimUdp, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.try_send_to(socket, to, bytes)
    }
}
