//! The flight recorder: a ring of what the wheel did last, off unless
//! [`Config::trace`](crate::Config::trace) says how many records to keep.
//!
//! A record is 24 bytes and says *when*, *what*, *to whom* and *how much*. Its time is the last that
//! the loop has read: what takes no time of its own has that of what came before it.
//!
//! What a recorder costs is readings of the clock: one is two per cent of a short request. A loop
//! reads it after each connection that it serves. While it records it does so at the end of each
//! callback *instead*, before the rare callbacks *too*, but after a read only once in a turn. So the
//! time of a [`data`](crate::Protocol::data) is exact for the first of each turn; for the others it
//! is counted from the reading before, and has one read and one write in it
//! ([`Record::is_exact`]).
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
//! trace.write_chrome(std::io::sink())?; // or a file, for https://ui.perfetto.dev
//! # std::io::Result::Ok(())
//! ```
use std::{collections::BTreeSet, fmt, io, mem, time::Duration};

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
    /// The kernel took bytes. Value: how many. Its time is that of its beginning.
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

    const fn has_length(self) -> bool {
        matches!(self, What::Turn) || self.is_callback()
    }
}

/// One thing that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    at: u64,
    slot: u32,
    serial: u32,
    // The value, in 48 bits: nanoseconds of three days.
    low: u32,
    high: u16,
    what: What,
    exact: bool,
}

const _: () = assert!(size_of::<Record>() <= 24);

impl Record {
    const VALUE_MAX: u64 = (1 << 48) - 1;

    #[inline]
    fn new(what: What, at: u64, slot: u32, serial: u32, value: u64) -> Self {
        let value = value.min(Self::VALUE_MAX);
        let (low, high) = (value as u32, (value >> 32) as u16);
        Self { at, slot, serial, low, high, what, exact: true }
    }

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

    /// `false`: the value is the time of a [`Data`](What::Data) together with a read, and with a
    /// write of whoever was served before.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Slot and serial of the connection, if it was about one: the two parts of a
    /// [`ConnId`](crate::ConnId) as it is shown.
    pub fn conn(&self) -> Option<(u32, u32)> {
        (self.serial != 0).then_some((self.slot, self.serial))
    }

    /// When what took time began, and how long it took; other records have no length.
    fn span(&self) -> (u64, u64) {
        let took = if self.what.has_length() { self.value() } else { 0 };
        (self.at.saturating_sub(took), took)
    }

    #[cfg(feature = "sim")]
    fn fold(&self, hash: u64) -> u64 {
        let what = self.value() << 8 | self.what as u64;
        let words = [u64::from(self.slot) << 32 | u64::from(self.serial), self.at, what];
        words.iter().fold(hash, |hash, word| {
            (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
        })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09} ", self.at / 1_000_000_000, self.at % 1_000_000_000)?;
        if let Some((slot, serial)) = self.conn() {
            write!(f, "#{slot}.{serial} ")?;
        }
        let at_most = if self.exact { "" } else { "<=" };
        write!(f, "{} {at_most}{}", self.what.name(), self.value())
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
    /// The last time that was read.
    now: u64,
    /// It was read for what comes now, and nothing else has happened since.
    marked: bool,
    /// The next read is worth a reading of the clock.
    may_mark: bool,
    /// The same time, if a callback's end read it and the loop has not used it yet.
    fresh: Option<Duration>,
    reasons: &'static [&'static str],
    #[cfg(feature = "sim")]
    hash: u64,
}

impl Trace {
    /// Room for `records`, or some more. `reasons` are the names of what a
    /// [`Close`](What::Close) counts.
    pub(crate) fn new(records: usize, reasons: &'static [&'static str]) -> Self {
        let size = if records == 0 { 0 } else { records.next_power_of_two() };
        let blank = Record::new(What::Turn, 0, 0, 0, 0);
        Self {
            ring: vec![blank; size].into_boxed_slice(),
            written: 0,
            now: 0,
            marked: false,
            may_mark: false,
            fresh: None,
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
    /// seed gives the same. Zero if none was.
    #[cfg(feature = "sim")]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Records are kept: [`Config::trace`](crate::Config::trace) is not zero.
    #[inline]
    pub fn is_on(&self) -> bool {
        !self.ring.is_empty()
    }

    /// In the format of Chrome's traces, which <https://ui.perfetto.dev> opens: turns with the
    /// callbacks in them on one track, and a track for each connection. Of a connection that is
    /// older than the oldest record the track begins with its first; one that is not closed ends
    /// with the last of all; both say so. Some 150 bytes a record.
    ///
    /// # Errors
    /// Those of `to`, which should have a buffer.
    pub fn write_chrome(&self, to: impl io::Write) -> io::Result<()> {
        Chrome { to, reasons: self.reasons, tracks: BTreeSet::new() }.write(self)
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
    /// The loop has read the clock.
    #[inline]
    pub(crate) fn set_now(&mut self, now: Duration) {
        if self.is_on() {
            self.now = now.as_secs() * 1_000_000_000 + u64::from(now.subsec_nanos());
            self.marked = false;
        }
    }

    #[inline]
    pub(crate) fn begin_turn(&mut self) {
        self.may_mark = true;
    }

    /// A callback begins, or what may end in one.
    #[inline]
    pub(crate) fn mark(&mut self, clock: impl FnOnce() -> Duration) {
        if self.is_on() {
            self.set_now(clock());
            self.marked = true;
        }
    }

    /// A serial of zero is nobody's.
    #[inline]
    pub(crate) fn note(&mut self, what: What, slot: u32, serial: u32, value: u64) {
        if self.is_on() {
            self.push(Record::new(what, self.now, slot, serial, value));
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
            if mem::take(&mut self.may_mark) {
                self.mark(clock);
            }
            let (what, value) = match result {
                Ok(0) => (What::ReadEnd, 0),
                result => outcome(result, [What::Read, What::ReadBlocked, What::ReadError]),
            };
            self.note(what, slot, serial, value);
        }
    }

    /// A write has returned.
    #[inline]
    pub(crate) fn was_written(&mut self, slot: u32, serial: u32, result: &io::Result<usize>) {
        if self.is_on() {
            let kinds = [What::Write, What::WriteBlocked, What::WriteError];
            let (what, value) = outcome(result, kinds);
            self.note(what, slot, serial, value);
        }
    }

    /// A callback has returned.
    #[inline]
    pub(crate) fn took(
        &mut self,
        what: What,
        slot: u32,
        serial: u32,
        clock: impl FnOnce() -> Duration,
    ) {
        if self.is_on() {
            let (began, now) = (self.now, clock());
            let exact = self.marked || what != What::Data;
            self.set_now(now);
            self.fresh = Some(now);
            let record = Record::new(what, self.now, slot, serial, self.now.saturating_sub(began));
            self.push(Record { exact, ..record });
        }
    }

    /// A reading that was taken at the end of a callback, once: it will do for the loop's next.
    #[inline]
    pub(crate) fn take_fresh(&mut self) -> Option<Duration> {
        self.fresh.take()
    }

    /// A turn has ended that began then.
    pub(crate) fn end_turn(&mut self, began: Duration) {
        let value = Duration::from_nanos(self.now).saturating_sub(began).as_nanos() as u64;
        self.note(What::Turn, 0, 0, value);
    }

    // A call costs more than what is done here.
    #[inline(always)]
    fn push(&mut self, record: Record) {
        let mask = self.ring.len() - 1;
        self.ring[self.written as usize & mask] = record;
        self.written += 1;
        #[cfg(feature = "sim")]
        {
            self.hash = record.fold(self.hash);
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

/// A trace on its way into JSON. Numbers and fixed words are all there is, so nothing is escaped.
struct Chrome<W> {
    to: W,
    reasons: &'static [&'static str],
    /// Connections whose track has begun and not ended: in the order of their names.
    tracks: BTreeSet<(u32, u32)>,
}

impl<W: io::Write> Chrome<W> {
    fn write(mut self, trace: &Trace) -> io::Result<()> {
        let (kept, lost) = (trace.len(), trace.lost());
        writeln!(self.to, "{{\"displayTimeUnit\":\"ns\",")?;
        writeln!(self.to, "\"otherData\":{{\"records\":{kept},\"lost\":{lost}}},")?;
        writeln!(self.to, "\"traceEvents\":[")?;
        for (what, name) in [("process_name", "charkh"), ("thread_name", "the wheel")] {
            write!(self.to, "{{\"ph\":\"M\",\"pid\":1,\"tid\":1,\"name\":\"{what}\",")?;
            writeln!(self.to, "\"args\":{{\"name\":\"{name}\"}}}},")?;
        }
        self.turns(trace)?;
        while let Some(conn) = self.tracks.pop_first() {
            self.track("e", conn, trace.now, format_args!("\"open\":true"))?;
        }
        // The last, so that each before it can end with a comma.
        writeln!(self.to, "{{\"ph\":\"M\",\"pid\":1,\"name\":\"process_sort_index\",")?;
        writeln!(self.to, "\"args\":{{\"sort_index\":0}}}}]}}")?;
        self.to.flush()
    }

    /// The record of a turn is its last; what holds others has to come before them.
    fn turns(&mut self, trace: &Trace) -> io::Result<()> {
        let (mut records, mut turns) = (trace.iter(), trace.iter());
        let is_turn = |record: &&Record| record.what == What::Turn;
        while let Some(turn) = turns.find(is_turn) {
            self.span(turn)?;
            for record in records.by_ref().take_while(|record| !is_turn(record)) {
                self.record(record)?;
            }
        }
        // Asked for in the middle of a turn.
        records.try_for_each(|record| self.record(record))
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let what = record.what;
        if let Some(conn) = record.conn() {
            let began = what == What::Accept || what == What::Connect;
            // Of a connection that is closed nothing is shown but the last callback.
            let over = what == What::Closed || what == What::ConnectFailed;
            if !over && self.tracks.insert(conn) {
                let args = format_args!("\"begins_before\":{}", !began);
                self.track("b", conn, record.span().0, args)?;
            }
            match what {
                _ if what.has_length() => {}
                What::Close => {
                    let reason = self.reason(record);
                    self.tracks.remove(&conn);
                    return self.track(
                        "e",
                        conn,
                        record.at,
                        format_args!("\"reason\":\"{reason}\""),
                    );
                }
                _ => self.instant(record, conn)?,
            }
        }
        if what.has_length() { self.span(record) } else { Ok(()) }
    }

    /// A turn or a callback.
    fn span(&mut self, record: &Record) -> io::Result<()> {
        let ((began, took), name) = (record.span(), record.what.name());
        write!(self.to, "{{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"name\":\"{name}\",")?;
        write!(self.to, "\"ts\":{},\"dur\":{},", Micros(began), Micros(took))?;
        match record.conn() {
            Some((slot, serial)) => {
                let exact = record.exact;
                write!(self.to, "\"args\":{{\"connection\":\"#{slot}.{serial}\",")?;
                writeln!(self.to, "\"exact\":{exact}}}}},")
            }
            None => writeln!(self.to, "\"args\":{{}}}},"),
        }
    }

    /// The beginning or the end of a connection.
    fn track(
        &mut self,
        phase: &str,
        conn: (u32, u32),
        at: u64,
        args: fmt::Arguments<'_>,
    ) -> io::Result<()> {
        let (slot, serial) = conn;
        self.on_track(phase, conn, at)?;
        writeln!(self.to, "\"name\":\"#{slot}.{serial}\",\"args\":{{{args}}}}},")
    }

    fn instant(&mut self, record: &Record, conn: (u32, u32)) -> io::Result<()> {
        let (name, value) = (record.what.name(), record.value());
        self.on_track("n", conn, record.at)?;
        write!(self.to, "\"name\":\"{name}\",\"args\":{{")?;
        match record.what {
            What::Read | What::Write => write!(self.to, "\"bytes\":{value}")?,
            What::ReadError | What::WriteError => write!(self.to, "\"error\":{value}")?,
            What::Accept => write!(self.to, "\"listener\":{value}")?,
            What::Deadline => write!(self.to, "\"reason\":\"{}\"", self.reason(record))?,
            What::Ready => {
                let names = ["readable", "writable", "ending", "failed"];
                for (bit, name) in names.iter().enumerate() {
                    let comma = if bit == 0 { "" } else { "," };
                    write!(self.to, "{comma}\"{name}\":{}", value >> bit & 1)?;
                }
            }
            _ => {}
        }
        writeln!(self.to, "}}}},")
    }

    fn on_track(&mut self, phase: &str, (slot, serial): (u32, u32), at: u64) -> io::Result<()> {
        let id = u64::from(slot) << 32 | u64::from(serial);
        write!(self.to, "{{\"ph\":\"{phase}\",\"cat\":\"connection\",\"id\":\"{id:#x}\",")?;
        write!(self.to, "\"pid\":1,\"tid\":1,\"ts\":{},", Micros(at))
    }

    fn reason(&self, record: &Record) -> &'static str {
        self.reasons.get(record.value() as usize).unwrap_or(&"unknown")
    }
}

/// Nanoseconds, shown in the unit of the format.
struct Micros(u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
