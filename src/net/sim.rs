//! A world made of a seed, for testing protocols without sockets, sleeps or luck.
//!
//! It is as stingy as a kernel: an edge is told only when something changed, and once. A reactor
//! that goes to sleep for ever while nobody is left to wake it gets an error, because that is what
//! a lost wake-up is. Time passes only when nothing else can happen. What the network does with
//! the bytes (pieces, delays, full windows) and what goes wrong is drawn from the seed, so the
//! same seed is the same world again.
//!
//! ```
//! use charkh::{Config, Input, Peer, Protocol, Reactor, Result, net::Sim};
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
//! for seed in 0..100 {
//!     let mut reactor = Reactor::with(Shout, Sim::new(seed), Config::default())?;
//!     reactor.listen("127.0.0.1:1")?;
//!     let client = reactor.net().client();
//!     reactor.net().send(client, b"hello\nwor");
//!     reactor.net().send(client, b"ld\n");
//!     reactor.net().finish_client(client);
//!     while reactor.turn().is_ok() {} // until nothing can happen any more
//!     assert_eq!(reactor.net().receive(client), b"HELLO\nWORLD\n", "seed {seed}");
//!     assert!(reactor.hub().is_empty());
//! }
//! # std::io::Result::Ok(())
//! ```
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Event, Net, SocketOptions, Token, Wake};

/// Names one end outside: a client, or what an outbound connection reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClientId(usize);

/// How often each thing goes wrong, in thousandths of the times it could.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Faults {
    /// A read gets a part of what is there, and the rest arrives at that moment.
    pub short_read: u32,
    /// A write is taken in part, or not at all, and there is room at that moment.
    pub short_write: u32,
    /// A call is interrupted.
    pub interrupted: u32,
    /// An edge comes for nothing.
    pub spurious: u32,
    /// An edge comes one look later, together with what happens meanwhile.
    pub late: u32,
    /// A connection dies between its arrival and `accept`.
    pub aborted: u32,
    /// The system is short of something for `accept` or `connect`, this once: of descriptors, its
    /// own or the process's, of memory or of buffers.
    pub shortage: u32,
    /// The system is short of memory or of buffers for a read or a write, this once.
    pub no_memory: u32,
    /// A connect is refused.
    pub refused: u32,
    /// A connect is never answered.
    pub unanswered: u32,
}

impl Faults {
    /// Nothing goes wrong; bytes still come in pieces, edges are still stingy.
    pub const NONE: Self = Self::all(0);

    /// Each at the same rate, which is enough to meet them all.
    pub const fn all(rate: u32) -> Self {
        Self {
            short_read: rate,
            short_write: rate,
            interrupted: rate,
            spurious: rate,
            late: rate,
            aborted: rate,
            shortage: rate,
            no_memory: rate,
            refused: rate,
            unanswered: rate,
        }
    }
}

/// The world's clock, for those who have no [`Sim`] at hand: a callback that blocks moves it.
#[derive(Clone, Debug)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Let time pass.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// The seeded world.
#[derive(Debug)]
pub struct Sim {
    /// What goes wrong from here on.
    pub faults: Faults,
    /// Streams that may be open at once; above it there is no descriptor.
    pub streams_max: usize,
    rng: u64,
    clock: Clock,
    woken: Arc<AtomicBool>,
    listeners: Vec<Backlog>,
    pipes: Vec<Pipe>,
    dialed: VecDeque<ClientId>,
    injected: Vec<Event>,
    fingerprint: u64,
}

#[derive(Debug)]
struct Backlog {
    token: Token,
    addr: SocketAddr,
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
    addr: Option<SocketAddr>,
    token: Option<Token>,
    state: Arc<AtomicU8>,
    /// How an outbound connection came out; `None` until it did.
    dial: Option<Dial>,

    in_flight: VecDeque<u8>,
    arrived: VecDeque<u8>,
    fin_sent: bool,
    fin_arrived: bool,
    reset_by_client: bool,

    to_client: Vec<u8>,
    window: usize,
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
}

/// The outside: what clients do, and what they see.
impl Sim {
    /// A world without faults.
    pub fn new(seed: u64) -> Self {
        Self {
            faults: Faults::NONE,
            streams_max: usize::MAX,
            rng: seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            clock: Clock(Arc::default()),
            woken: Arc::default(),
            listeners: Vec::new(),
            pipes: Vec::new(),
            dialed: VecDeque::new(),
            injected: Vec::new(),
            fingerprint: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// The next number of this world, less than `below`.
    pub fn random(&mut self, below: usize) -> usize {
        // xorshift64: enough chaos, no dependency.
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        (self.rng >> 11) as usize % below.max(1)
    }

    /// A client connects to the first listener, with room for a mebibyte of answers.
    pub fn client(&mut self) -> ClientId {
        self.client_of(0)
    }

    /// A client connects to the listener of that index.
    pub fn client_of(&mut self, listener: usize) -> ClientId {
        let pipe = self.pipes.len();
        let port = 10_000 + (pipe % 50_000) as u16;
        self.pipes.push(Pipe {
            addr: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            window: 1 << 20,
            ..Pipe::default()
        });
        let backlog = self.listeners.get_mut(listener);
        match backlog.filter(|backlog| backlog.open.load(Ordering::Relaxed)) {
            Some(backlog) => {
                backlog.waiting.push_back(pipe);
                backlog.edge = true;
            }
            None => self.pipes[pipe].reset_by_server = true,
        }
        ClientId(pipe)
    }

    /// The next end that an outbound connection reached. It talks like a client.
    pub fn dialed(&mut self) -> Option<ClientId> {
        self.dialed.pop_front()
    }

    /// The client sends. To a connection that the server has closed that brings a reset back.
    pub fn send(&mut self, client: ClientId, bytes: &[u8]) {
        self.settle(client.0);
        let pipe = &mut self.pipes[client.0];
        if pipe.state() >= CLOSED {
            pipe.reset_by_server = true;
            pipe.to_client.clear();
        } else if !pipe.fin_sent {
            pipe.in_flight.extend(bytes);
        }
    }

    /// The client ends its half.
    pub fn finish_client(&mut self, client: ClientId) {
        self.pipes[client.0].fin_sent = true;
    }

    /// The client resets the connection. What had arrived before may be lost, or not.
    pub fn reset_client(&mut self, client: ClientId) {
        let lost = self.random(2) == 0;
        let pipe = &mut self.pipes[client.0];
        (pipe.reset_by_client, pipe.edge_in, pipe.edge_out) = (true, true, true);
        pipe.in_flight.clear();
        if lost {
            pipe.arrived.clear();
        }
    }

    /// How many bytes may wait for the client to read them.
    pub fn set_window(&mut self, client: ClientId, bytes: usize) {
        let pipe = &mut self.pipes[client.0];
        pipe.window = bytes;
        pipe.edge_out |= pipe.blocked && pipe.to_client.len() < bytes;
    }

    /// What has come for the client since it last looked. Reading it makes room for more.
    pub fn receive(&mut self, client: ClientId) -> Vec<u8> {
        self.settle(client.0);
        let pipe = &mut self.pipes[client.0];
        let bytes = std::mem::take(&mut pipe.to_client);
        if !bytes.is_empty() && std::mem::take(&mut pipe.blocked) {
            pipe.edge_out = true;
        }
        bytes
    }

    /// Everything in flight arrives now, in one piece.
    pub fn deliver_all(&mut self) {
        for pipe in &mut self.pipes {
            pipe.edge_in |= !pipe.in_flight.is_empty() || pipe.fin_sent && !pipe.fin_arrived;
            let Pipe { in_flight, arrived, .. } = pipe;
            arrived.append(in_flight);
            pipe.fin_arrived |= pipe.fin_sent;
        }
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

    /// Streams that the server holds.
    pub fn open_streams(&self) -> usize {
        self.pipes.iter().filter(|pipe| pipe.state() == OPEN).count()
    }

    /// Clients that wait to be accepted.
    pub fn waiting(&self) -> usize {
        self.listeners.iter().map(|backlog| backlog.waiting.len()).sum()
    }

    /// Tell this with the next look: an event that comes late, or for nobody.
    pub fn inject(&mut self, event: Event) {
        self.injected.push(event);
    }

    /// The clock, to be moved from anywhere.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// A hash of every call and its answer: the same seed gives the same.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// See what closing did: unread input, or a reset, costs the client what it has not read.
    fn settle(&mut self, pipe: usize) {
        let pipe = &mut self.pipes[pipe];
        match pipe.state() {
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

    fn strikes(&mut self, rate: u32) -> bool {
        rate > 0 && self.random(1000) < rate as usize
    }

    fn note(&mut self, call: u8, pipe: usize, result: &io::Result<usize>) {
        let answer = match result {
            Ok(n) => *n as u64,
            Err(e) => u64::MAX - e.kind() as u64,
        };
        for word in [u64::from(call), pipe as u64, answer] {
            self.fingerprint = (self.fingerprint ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The network moves: some of what is in flight arrives, in pieces.
    fn deliver(&mut self) -> bool {
        let mut moved = false;
        for i in 0..self.pipes.len() {
            let flying = self.pipes[i].in_flight.len();
            let n = if flying == 0 { 0 } else { 1 + self.random(flying) };
            let pipe = &mut self.pipes[i];
            if n > 0 {
                pipe.arrived.extend(pipe.in_flight.drain(..n));
                pipe.edge_in = true;
                moved = true;
            }
            if pipe.in_flight.is_empty() && pipe.fin_sent && !pipe.fin_arrived {
                pipe.fin_arrived = true;
                pipe.edge_in = true;
                moved = true;
            }
            if pipe.dial == Some(Dial::Pending) {
                moved = true;
                self.answer_dial(i);
            }
        }
        moved
    }

    fn answer_dial(&mut self, pipe: usize) {
        if self.random(2) == 0 {
            return;
        }
        let dial = if self.strikes(self.faults.refused) {
            Dial::Refused
        } else if self.strikes(self.faults.unanswered) {
            Dial::Unanswered
        } else {
            self.dialed.push_back(ClientId(pipe));
            Dial::Up
        };
        self.pipes[pipe].dial = Some(dial);
        self.pipes[pipe].edge_out = dial != Dial::Unanswered;
    }

    fn tell(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.injected);
        for backlog in &mut self.listeners {
            let open = backlog.open.load(Ordering::Relaxed);
            if std::mem::take(&mut backlog.edge) && open {
                events.push(Event {
                    token: backlog.token,
                    readable: true,
                    writable: false,
                    ending: false,
                    failed: false,
                });
            }
        }
        for i in 0..self.pipes.len() {
            let (late, spurious) =
                (self.strikes(self.faults.late), self.strikes(self.faults.spurious));
            let pipe = &mut self.pipes[i];
            let Some(token) = pipe.token.filter(|_| pipe.state() == OPEN) else { continue };
            if late || !(pipe.edge_in || pipe.edge_out || spurious) {
                continue;
            }
            let failed = pipe.reset_by_client || pipe.dial == Some(Dial::Refused);
            // As epoll does: an edge tells all that is so, not only what changed.
            let is_up = pipe.dial.is_none_or(|dial| dial == Dial::Up);
            events.push(Event {
                token,
                readable: pipe.edge_in || spurious || !pipe.arrived.is_empty() || pipe.fin_arrived,
                writable: pipe.edge_out || spurious || failed || is_up && !pipe.blocked,
                ending: pipe.fin_arrived || failed,
                failed,
            });
            (pipe.edge_in, pipe.edge_out) = (false, false);
        }
    }

    fn open_stream(&mut self, pipe: usize) -> SimStream {
        let state = self.pipes[pipe].state.clone();
        state.store(OPEN, Ordering::Relaxed);
        SimStream { pipe, state }
    }

    fn is_short(&mut self) -> bool {
        self.open_streams() >= self.streams_max || self.strikes(self.faults.shortage)
    }

    fn shortage(&mut self, of: &[i32]) -> io::Error {
        io::Error::from_raw_os_error(of[self.random(of.len())])
    }

    fn try_accept(&mut self, index: usize) -> io::Result<usize> {
        if self.listeners[index].waiting.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.strikes(self.faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.is_short() {
            return Err(self.shortage(SHORTAGES));
        }
        let pipe = self.listeners[index].waiting.pop_front().ok_or(ErrorKind::WouldBlock)?;
        if self.strikes(self.faults.aborted) {
            self.pipes[pipe].reset_by_server = true;
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok(pipe)
    }

    fn try_read(&mut self, pipe: usize, into: &mut [u8]) -> io::Result<usize> {
        if self.strikes(self.faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.strikes(self.faults.no_memory) {
            return Err(self.shortage(&SHORTAGES[2..]));
        }
        let arrived = self.pipes[pipe].arrived.len();
        if arrived == 0 {
            return match &self.pipes[pipe] {
                pipe if pipe.reset_by_client => Err(ErrorKind::ConnectionReset.into()),
                pipe if pipe.fin_arrived => Ok(0),
                _ => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let mut n = arrived.min(into.len());
        if self.strikes(self.faults.short_read) {
            n = 1 + self.random(n);
            self.pipes[pipe].edge_in |= n < arrived;
        }
        for (to, from) in into.iter_mut().zip(self.pipes[pipe].arrived.drain(..n)) {
            *to = from;
        }
        Ok(n)
    }

    fn try_write(&mut self, pipe: usize, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.strikes(self.faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.strikes(self.faults.no_memory) {
            return Err(self.shortage(&SHORTAGES[2..]));
        }
        let short = self.strikes(self.faults.short_write);
        let size: usize = bytes.iter().map(|slice| slice.len()).sum();
        let part = if short { self.random(size) } else { size };
        let pipe = &mut self.pipes[pipe];
        if pipe.reset_by_client || pipe.server_finished {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let n = part.min(pipe.window.saturating_sub(pipe.to_client.len()));
        pipe.to_client.extend(bytes.iter().flat_map(|slice| slice.iter()).take(n));
        if n < size {
            // A part taken for no reason: the room is back at once, and so is the edge.
            pipe.edge_out |= n == part;
            pipe.blocked |= n < part;
        }
        if n == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(n) }
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

impl Net for Sim {
    type Listener = SimListener;
    type Stream = SimStream;

    const SHORT_MEANS_DONE: bool = true;

    fn now(&mut self) -> Duration {
        self.clock.now()
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let moved = self.deliver();
        self.tell(events);
        let pending = self
            .pipes
            .iter()
            .any(|p| p.token.is_some() && p.state() == OPEN && (p.edge_in || p.edge_out));
        let woken = self.woken.swap(false, Ordering::Relaxed);
        if events.is_empty() && !moved && !pending && !woken {
            match timeout {
                Some(timeout) => self.clock.advance(timeout),
                // The kernel would sleep for ever; so nothing after the sleep may run.
                None => return Err(ErrorKind::Deadlock.into()),
            }
        }
        self.note(0, events.len(), &Ok(usize::from(moved)));
        Ok(())
    }

    fn waker(&mut self) -> io::Result<Wake> {
        let woken = self.woken.clone();
        Ok(Arc::new(move || woken.store(true, Ordering::Relaxed)))
    }

    fn listen(
        &mut self,
        addr: SocketAddr,
        _: &SocketOptions,
        token: Token,
    ) -> io::Result<(SimListener, SocketAddr)> {
        let open = Arc::new(AtomicBool::new(true));
        let index = self.listeners.len();
        let waiting = VecDeque::new();
        self.listeners.push(Backlog { token, addr, waiting, edge: false, open: open.clone() });
        Ok((SimListener { index, open }, self.listeners[index].addr))
    }

    fn accept(&mut self, listener: &mut SimListener) -> io::Result<(SimStream, SocketAddr)> {
        let result = self.try_accept(listener.index);
        self.note(1, listener.index, &result);
        let pipe = result?;
        let addr = self.pipes[pipe].addr.ok_or(ErrorKind::NotConnected)?;
        Ok((self.open_stream(pipe), addr))
    }

    fn refuse(&mut self, listener: &mut SimListener) -> io::Result<()> {
        let waiting = &mut self.listeners[listener.index].waiting;
        let pipe = waiting.pop_front().ok_or(ErrorKind::WouldBlock)?;
        self.pipes[pipe].reset_by_server = true;
        Ok(())
    }

    fn connect(&mut self, addr: SocketAddr, _: &SocketOptions) -> io::Result<SimStream> {
        if self.is_short() {
            return Err(self.shortage(SHORTAGES));
        }
        let pipe = Pipe {
            addr: Some(addr),
            dial: Some(Dial::Pending),
            window: 1 << 20,
            ..Pipe::default()
        };
        self.pipes.push(pipe);
        Ok(self.open_stream(self.pipes.len() - 1))
    }

    fn watch(&mut self, stream: &mut SimStream, token: Token) -> io::Result<()> {
        let pipe = &mut self.pipes[stream.pipe];
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
        match self.pipes[stream.pipe].reset_by_client {
            true => Err(ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }

    fn read(&mut self, stream: &mut SimStream, into: &mut [u8]) -> io::Result<usize> {
        let result = self.try_read(stream.pipe, into);
        self.note(2, stream.pipe, &result);
        result
    }

    fn write(&mut self, stream: &mut SimStream, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        let result = self.try_write(stream.pipe, bytes);
        self.note(3, stream.pipe, &result);
        result
    }

    fn finish(&mut self, stream: &mut SimStream) -> io::Result<()> {
        self.pipes[stream.pipe].server_finished = true;
        Ok(())
    }

    fn reset(&mut self, stream: SimStream) {
        stream.state.store(RESET, Ordering::Relaxed);
        self.settle(stream.pipe);
    }
}
