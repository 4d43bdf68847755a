//! The flight recorder: a ring of what the wheel did last, off unless
//! [`Config::trace`](crate::Config::trace) says how many records to keep.
//!
//! A record is 24 bytes and says *when*, *what*, *to whom* and *how much*. Its time is the last one
//! that the loop had read. To be exact where it matters, a loop that records reads the clock more
//! often than one that does not: after each read and each write, and around each callback.
//!
//! ```
//! # use charkh::{Config, Input, Peer, Protocol, Reactor, Result, net::Sim, trace::What};
//! # struct Echo;
//! # impl Protocol for Echo {
//! #     type Session = ();
//! #     fn open(&mut self, _: &mut Peer) {}
//! #     fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
//! #         peer.send(input.take_all());
//! #         Ok(())
//! #     }
//! # }
//! let config = Config { trace: 1000, ..Config::default() };
//! let mut reactor = Reactor::with(Echo, Sim::new(7), config)?;
//! reactor.listen("127.0.0.1:1")?;
//! let client = reactor.net().client();
//! reactor.net().send(client, b"hello");
//! while reactor.turn().is_ok() {}
//!
//! let trace = reactor.hub().trace();
//! let read: u64 = trace.iter().filter(|r| r.what() == What::Read).map(|r| r.value()).sum();
//! assert_eq!(read, 5);
//! for record in trace.iter() {
//!     println!("{record}"); // 0.000000000 #0.1 accept 0
//! }
//! # std::io::Result::Ok(())
//! ```
use std::{fmt, io, time::Duration};

/// What a [`Record`] tells of, and what its [`value`](Record::value) means.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum What {
    /// A turn has ended. Value: the nanoseconds it worked, its sleep not counted.
    Turn,
    /// The kernel told of a connection. Value: 1 readable, 2 writable, 4 more than bytes is
    /// waiting, 8 failed, or a sum of these.
    Ready,
    /// Bytes were read. Value: how many.
    Read,
    /// A read found nothing.
    ReadBlocked,
    /// A read found the peer's end.
    ReadEnd,
    /// A read failed. Value: the system's number of the error; 0 if it has none.
    ReadError,
    /// The kernel took bytes. Value: how many.
    Write,
    /// A write found no room.
    WriteBlocked,
    /// A write failed. Value: as for [`ReadError`](What::ReadError).
    WriteError,
    /// A connection was accepted. Value: the index of its listener.
    Accept,
    /// An outbound connection was begun.
    Connect,
    /// An outbound connection is up.
    Connected,
    /// A deadline of a connection has come, and ends it. Value: the index of its
    /// [`Reason`](crate::Reason::NAMES).
    Deadline,
    /// A connection was released; nothing but its last callback follows. Value: the index of its
    /// [`Reason`](crate::Reason::NAMES).
    Close,
    /// [`Protocol::open`](crate::Protocol::open) has returned. Value, as for all below: the
    /// nanoseconds it took.
    Open,
    /// [`Protocol::data`](crate::Protocol::data).
    Data,
    /// [`Protocol::eof`](crate::Protocol::eof).
    Eof,
    /// [`Protocol::drained`](crate::Protocol::drained).
    Drained,
    /// [`Protocol::timer`](crate::Protocol::timer): the other kind of timer that fires.
    Timer,
    /// [`Protocol::stopping`](crate::Protocol::stopping).
    Stopping,
    /// [`Protocol::closed`](crate::Protocol::closed).
    Closed,
    /// [`Protocol::connect_failed`](crate::Protocol::connect_failed).
    ConnectFailed,
    /// [`Protocol::tick`](crate::Protocol::tick).
    Tick,
    /// A job that came through a [`Handle`](crate::Handle).
    Job,
}

impl What {
    /// In a word or two.
    pub const fn name(self) -> &'static str {
        match self {
            What::Turn => "turn",
            What::Ready => "ready",
            What::Read => "read",
            What::ReadBlocked => "read nothing",
            What::ReadEnd => "read end",
            What::ReadError => "read error",
            What::Write => "write",
            What::WriteBlocked => "write nothing",
            What::WriteError => "write error",
            What::Accept => "accept",
            What::Connect => "connect",
            What::Connected => "connected",
            What::Deadline => "deadline",
            What::Close => "close",
            What::Open => "open()",
            What::Data => "data()",
            What::Eof => "eof()",
            What::Drained => "drained()",
            What::Timer => "timer()",
            What::Stopping => "stopping()",
            What::Closed => "closed()",
            What::ConnectFailed => "connect_failed()",
            What::Tick => "tick()",
            What::Job => "job()",
        }
    }

    /// Code of the user's ran; the record was made when it returned.
    pub const fn is_callback(self) -> bool {
        self as u8 >= What::Open as u8
    }
}

/// One thing that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    at: u64,
    slot: u32,
    serial: u32,
    // The value, in the 48 bits that are left: nanoseconds of three days.
    low: u32,
    high: u16,
    what: What,
}

const _: () = assert!(size_of::<Record>() <= 24);

impl Record {
    const VALUE_MAX: u64 = (1 << 48) - 1;
    const BLANK: Self = Self { at: 0, slot: 0, serial: 0, low: 0, high: 0, what: What::Turn };

    /// When: since the reactor's world began, as [`Hub::now`](crate::Hub::now). Of a turn and of a
    /// callback it is the end.
    pub fn at(&self) -> Duration {
        Duration::from_nanos(self.at)
    }

    /// What happened.
    pub fn what(&self) -> What {
        self.what
    }

    /// How much; [`What`] says of what. More than 2^48 - 1 is that.
    pub fn value(&self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }

    /// Slot and serial of the connection, if it was about one: the two parts of a
    /// [`ConnId`](crate::ConnId) as it is shown.
    pub fn conn(&self) -> Option<(u32, u32)> {
        (self.serial != 0).then_some((self.slot, self.serial))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09} ", self.at / 1_000_000_000, self.at % 1_000_000_000)?;
        if let Some((slot, serial)) = self.conn() {
            write!(f, "#{slot}.{serial} ")?;
        }
        write!(f, "{} {}", self.what.name(), self.value())
    }
}

/// The last records of a reactor, and how many there ever were. [`Hub::trace`](crate::Hub::trace)
/// has it; a clone is a copy of the ring, to be looked at elsewhere.
#[derive(Clone)]
pub struct Trace {
    /// Empty: off. Else a power of two, so that the next place is a mask away.
    ring: Box<[Record]>,
    /// Also the place of the next one, but for the mask.
    written: u64,
    /// The last time that the loop read.
    now: u64,
    reasons: &'static [&'static str],
    #[cfg(feature = "sim")]
    hash: u64,
}

impl Trace {
    /// Room for `records`, or some more.
    pub(crate) fn new(records: usize, reasons: &'static [&'static str]) -> Self {
        let size = if records == 0 { 0 } else { records.next_power_of_two() };
        Self {
            ring: vec![Record::BLANK; size].into_boxed_slice(),
            written: 0,
            now: 0,
            reasons,
            #[cfg(feature = "sim")]
            hash: 0,
        }
    }

    /// What is kept, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Record> + Clone {
        let (newer, older) = match self.lost() {
            0 => (&self.ring[..self.written as usize], &[][..]),
            _ => self.ring.split_at(self.written as usize & (self.ring.len() - 1)),
        };
        older.iter().chain(newer)
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        (self.written - self.lost()) as usize
    }

    /// None is kept.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// How many there were that younger ones have taken the place of.
    pub fn lost(&self) -> u64 {
        self.written.saturating_sub(self.ring.len() as u64)
    }

    /// Of every record that ever was, those that were lost included: in a seeded world the same
    /// seed gives the same.
    #[cfg(feature = "sim")]
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("records", &self.len())
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}

/// Taking notes. Each of these is one branch if the recorder is off, and reads no clock then.
impl Trace {
    pub(crate) fn is_on(&self) -> bool {
        !self.ring.is_empty()
    }

    /// The loop has read the clock.
    #[inline]
    pub(crate) fn set_now(&mut self, now: Duration) {
        if self.is_on() {
            self.now = now.as_secs() * 1_000_000_000 + u64::from(now.subsec_nanos());
        }
    }

    /// Something begins that is worth a reading of the clock.
    #[inline]
    pub(crate) fn mark(&mut self, clock: impl FnOnce() -> Duration) {
        if self.is_on() {
            self.set_now(clock());
        }
    }

    /// A serial of zero is nobody's.
    #[inline]
    pub(crate) fn note(&mut self, what: What, slot: u32, serial: u32, value: u64) {
        if self.is_on() {
            self.push(what, slot, serial, value);
        }
    }

    /// What began with a mark has ended.
    #[inline]
    pub(crate) fn took(
        &mut self,
        what: What,
        slot: u32,
        serial: u32,
        clock: impl FnOnce() -> Duration,
    ) {
        if self.is_on() {
            let began = self.now;
            self.set_now(clock());
            self.push(what, slot, serial, self.now.saturating_sub(began));
        }
    }

    /// A turn that began then has ended.
    #[inline]
    pub(crate) fn turned(&mut self, began: Duration, clock: impl FnOnce() -> Duration) {
        if self.is_on() {
            let now = clock();
            self.set_now(now);
            self.push(What::Turn, 0, 0, now.saturating_sub(began).as_nanos() as u64);
        }
    }

    /// A read has returned.
    #[inline]
    pub(crate) fn was_read(
        &mut self,
        slot: u32,
        serial: u32,
        result: &io::Result<usize>,
        clock: impl FnOnce() -> Duration,
    ) {
        if self.is_on() {
            self.set_now(clock());
            let (what, value) = match result {
                Ok(0) => (What::ReadEnd, 0),
                result => outcome(result, [What::Read, What::ReadBlocked, What::ReadError]),
            };
            self.push(what, slot, serial, value);
        }
    }

    /// A write has returned.
    #[inline]
    pub(crate) fn was_written(
        &mut self,
        slot: u32,
        serial: u32,
        result: &io::Result<usize>,
        clock: impl FnOnce() -> Duration,
    ) {
        if self.is_on() {
            self.set_now(clock());
            let kinds = [What::Write, What::WriteBlocked, What::WriteError];
            let (what, value) = outcome(result, kinds);
            self.push(what, slot, serial, value);
        }
    }

    fn push(&mut self, what: What, slot: u32, serial: u32, value: u64) {
        let value = value.min(Record::VALUE_MAX);
        let (low, high) = (value as u32, (value >> 32) as u16);
        let mask = self.ring.len() - 1;
        self.ring[self.written as usize & mask] =
            Record { at: self.now, slot, serial, low, high, what };
        self.written += 1;
        #[cfg(feature = "sim")]
        for word in
            [self.now, u64::from(slot) << 32 | u64::from(serial), (what as u64) << 48 ^ value]
        {
            self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }
}

fn outcome(result: &io::Result<usize>, [done, blocked, failed]: [What; 3]) -> (What, u64) {
    match result {
        Ok(n) => (done, *n as u64),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => (blocked, 0),
        Err(e) => (failed, e.raw_os_error().map_or(0, |code| u64::from(code.unsigned_abs()))),
    }
}
