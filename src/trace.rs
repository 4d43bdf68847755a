//! The flight recorder: a ring of what the wheel did last, off unless
//! [`Config::trace`](crate::Config::trace) says how many records to keep.
//!
//! A record is 24 bytes and says *when*, *what*, *to whom* and *how much*. Its time is the last one
//! that the loop had read: what takes no time of its own has that of what came before it.
//!
//! What a recorder costs is readings of the clock: one is two per cent of a short request. A loop
//! reads it after each connection that it serves. While it records it does so at the end of each
//! callback *instead*, before the rare callbacks *too*, but after a read only once in 50
//! microseconds. So the time of a [`data`](crate::Protocol::data) is exact while there is time for
//! that; under load most are counted from the reading before, and have a read and a write in them
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
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    time::Duration,
};

mod delays;

pub use delays::{Delay, Who};
use delays::{Delays, Turns, Wait};

/// After a read the clock is read no more often than this: a thousandth of the time.
const MARK_EVERY_NS: u64 = 50_000;

/// Who waits less is not shown in a file: some three short requests.
const WAIT_MIN_NS: u64 = 20_000;

/// Records that are hashed together.
#[cfg(feature = "sim")]
const BATCH: u64 = 64;

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
    /// [`Protocol::datagram`](crate::Protocol::datagram).
    Datagram,
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
            What::Datagram => "datagram()",
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

    /// One multiplication waits for the one before it; three would be felt.
    #[cfg(feature = "sim")]
    fn fold(hash: u64, record: &Self) -> u64 {
        let conn = u64::from(record.slot) << 32 | u64::from(record.serial);
        let what = record.value() << 8 | record.what as u64;
        let word = record.at ^ conn.rotate_left(20) ^ what.rotate_left(40);
        (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
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
    /// When a read last was worth a reading of the clock.
    marked_at: u64,
    /// The same time, if a callback's end read it and the loop has not used it yet.
    fresh: Option<Duration>,
    reasons: &'static [&'static str],
    /// Of all but those after the last whole batch: to add each when it comes would be felt.
    #[cfg(feature = "sim")]
    batches_hash: u64,
    /// How many are in it.
    #[cfg(feature = "sim")]
    hashed: u64,
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
            marked_at: 0,
            fresh: None,
            reasons,
            #[cfg(feature = "sim")]
            batches_hash: 0,
            #[cfg(feature = "sim")]
            hashed: 0,
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
        let mask = self.ring.len().wrapping_sub(1);
        let rest = self.hashed..self.written;
        rest.map(|n| &self.ring[n as usize & mask]).fold(self.batches_hash, Record::fold)
    }

    /// Records are kept: [`Config::trace`](crate::Config::trace) is not zero.
    #[inline]
    pub fn is_on(&self) -> bool {
        !self.ring.is_empty()
    }

    /// Who was served while others waited, and how long they waited for it: what cost the others
    /// most comes first. Costs a look at each record.
    ///
    /// A connection waits for those who are served before it in its turn: that is
    /// [`sure`](Delay::sure). It may have become ready in the turn before, and nobody was told: if
    /// the loop did not sleep in between (the time between them is all that says so), it counts as
    /// ready since its own last visit or the beginning of that turn, and
    /// [`total`](Delay::total) is an upper bound. Who was told of and not served in the same turn
    /// does not count, nor does waiting for what the kernel or the protocol does elsewhere. Where a
    /// time is not [exact](Record::is_exact), a write counts for whoever was served after it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use charkh::{Config, Input, Peer, Protocol, Reactor, Result, net::{Clock, Net, Sim}};
    /// use charkh::trace::Who;
    ///
    /// struct Slow(Clock);
    /// # impl Protocol for Slow {
    /// #     type Session = ();
    /// #     fn open(&mut self, _: &mut Peer) {}
    /// // A byte takes a millisecond.
    /// fn data(&mut self, _: &mut Peer, _: &mut (), input: &mut Input) -> Result {
    ///     self.0.advance(Duration::from_millis(input.take_all().len() as u64));
    ///     Ok(())
    /// }
    /// # }
    /// # let net = Sim::new(1);
    /// # let config = Config { trace: 1000, ..Config::default() };
    /// # let mut reactor = Reactor::with(Slow(net.clock()), net, config)?;
    /// # reactor.listen("127.0.0.1:1")?;
    /// # let clients: Vec<_> = (0..3).map(|_| reactor.net().client()).collect();
    /// # while reactor.turn().is_ok() {}
    /// // Of three that are ready together, the first says "slowly", the others say nothing.
    /// # reactor.net().send(clients[0], b"slowly");
    /// # reactor.net().deliver_all();
    /// # clients[1..].iter().for_each(|&quiet| reactor.net().finish_client(quiet));
    /// # reactor.net().deliver_all();
    /// # while reactor.turn().is_ok() {}
    /// let delays = reactor.hub().trace().delays();
    /// assert_eq!(delays[0].who, Who::Conn(0, 1));
    /// assert_eq!((delays[0].others, delays[0].longest.as_millis()), (2, 6));
    /// assert_eq!((delays[0].total.as_millis(), delays[0].sure.as_millis()), (12, 12));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn delays(&self) -> Vec<Delay> {
        let (mut turns, mut records) = (Turns::default(), self.iter());
        let mut delays = Delays::default();
        while turns.read(&mut records) {
            turns.add_to(&mut delays);
        }
        delays.sorted()
    }

    /// In the format of Chrome's traces, which <https://ui.perfetto.dev> opens: turns with the
    /// callbacks in them on one track, and a track for each connection. Of a connection that is
    /// older than the oldest record the track begins with its first; one that is not closed ends
    /// with the last of all; both say so. Some 150 bytes a record.
    ///
    /// Where one had to wait for others, as [`delays`](Trace::delays) counts it, its track says
    /// `waited`, and for whom longest (`for`), for how many microseconds of it (`for_us`), and
    /// whether it may have become ready later than that (`at_most`). Waits of less than 20
    /// microseconds are left out: they are many, and tell little.
    ///
    /// # Errors
    /// Those of `to`, which should have a buffer.
    pub fn write_chrome(&self, to: impl io::Write) -> io::Result<()> {
        let (tracks, waits, waiting) = Default::default();
        Chrome { to, reasons: self.reasons, tracks, waits, waiting }.write(self)
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

    /// A callback begins, or what may end in one.
    #[inline]
    pub(crate) fn mark(&mut self, clock: impl FnOnce() -> Duration) {
        if self.is_on() {
            self.set_now(clock());
            self.marked = true;
            self.fresh = None; // no longer the last
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
            if self.now.saturating_sub(self.marked_at) >= MARK_EVERY_NS {
                self.mark(clock);
                self.marked_at = self.now;
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
        if self.written - self.hashed == BATCH.min(mask as u64 + 1) {
            self.hash_batch();
        }
    }
}

#[cfg(feature = "sim")]
impl Trace {
    #[cold]
    fn hash_batch(&mut self) {
        self.batches_hash = self.hash();
        self.hashed = self.written;
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
    /// Of the turn that is written: those that nothing has been said of.
    waits: BTreeMap<(u32, u32), Wait>,
    /// Those that have begun, and when each will end.
    waiting: BTreeMap<(u32, u32), u64>,
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

    /// The record of a turn is its last; what holds others has to come before them. So does what
    /// only those that follow tell of.
    fn turns(&mut self, trace: &Trace) -> io::Result<()> {
        let (mut records, mut ahead) = (trace.iter(), trace.iter());
        let mut turns = Turns::default();
        while turns.read(&mut ahead) {
            // One that was asked for in its middle has none.
            if let Some(turn) = turns.record() {
                self.span(turn)?;
            }
            let long = turns.waits().filter(|wait| wait.took() >= WAIT_MIN_NS);
            self.waits.extend(long.map(|wait| (wait.conn, wait)));
            for record in records.by_ref().take_while(|record| record.what != What::Turn) {
                self.record(record)?;
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let what = record.what;
        if let Some(conn) = record.conn() {
            let wait = if what == What::Ready { self.waits.remove(&conn) } else { None };
            let began = what == What::Accept || what == What::Connect;
            // Of a connection that is closed nothing is shown but the last callback.
            let over = what == What::Closed || what == What::ConnectFailed;
            if !over && self.tracks.insert(conn) {
                let at = wait.map_or(record.span().0, |wait| wait.began);
                self.track("b", conn, at, format_args!("\"begins_before\":{}", !began))?;
            }
            match wait {
                Some(wait) => self.wait(&wait)?,
                None if what == What::Ready => {}
                None => self.end_wait(conn)?,
            }
            match what {
                _ if what.has_length() => {}
                What::Close => {
                    self.tracks.remove(&conn);
                    let reason = self.reason(record);
                    self.track("e", conn, record.at, format_args!("\"reason\":\"{reason}\""))?;
                }
                _ => self.instant(record, conn)?,
            }
        }
        if what.has_length() { self.span(record) } else { Ok(()) }
    }

    /// Somebody waits; [`end_wait`](Chrome::end_wait) follows.
    fn wait(&mut self, wait: &Wait) -> io::Result<()> {
        let Wait { conn, began, ended, longest: (who, took), at_most } = *wait;
        self.waiting.insert(conn, ended);
        self.on_track("b", conn, began)?;
        write!(self.to, "\"name\":\"waited\",\"args\":{{\"for\":\"{who}\",")?;
        writeln!(self.to, "\"for_us\":{},\"at_most\":{at_most}}}}},", Micros(took))
    }

    /// It is served, if it waited.
    fn end_wait(&mut self, conn: (u32, u32)) -> io::Result<()> {
        let Some(ended) = self.waiting.remove(&conn) else { return Ok(()) };
        self.on_track("e", conn, ended)?;
        writeln!(self.to, "\"name\":\"waited\",\"args\":{{}}}},")
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
        write!(
            self.to,
            "{{\"ph\":\"{phase}\",\"cat\":\"connection\",\"id2\":{{\"local\":\"{id:#x}\"}},"
        )?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["closed", "aborted"];

    fn ns(ns: u64) -> Duration {
        Duration::from_nanos(ns)
    }

    fn values(trace: &Trace) -> Vec<u64> {
        trace.iter().map(Record::value).collect()
    }

    #[test]
    fn the_ring_keeps_the_last_in_their_order() {
        let mut trace = Trace::new(5, NAMES);
        assert!(trace.is_empty() && values(&trace).is_empty());
        for n in 0..100 {
            trace.note(What::Read, 1, 2, n);
            let kept = (n + 1).min(8);
            assert_eq!(values(&trace), (n + 1 - kept..=n).collect::<Vec<_>>());
            assert_eq!((trace.len() as u64, trace.lost()), (kept, n + 1 - kept));
            assert!(!trace.is_empty());
        }
    }

    #[test]
    fn off_it_keeps_nothing_and_reads_no_clock() {
        let clock = || -> Duration { panic!("the clock was read") };
        let mut trace = Trace::new(0, NAMES);
        trace.set_now(ns(7));
        trace.mark(clock);
        trace.was_read(1, 2, &Ok(3), clock);
        trace.was_written(1, 2, &Ok(3));
        trace.took(What::Data, 1, 2, clock);
        trace.note(What::Close, 1, 2, 0);
        trace.end_turn(ns(0));
        assert!(trace.is_empty() && trace.iter().next().is_none() && trace.lost() == 0);
        assert_eq!(trace.take_fresh(), None);
        #[cfg(feature = "sim")]
        assert_eq!(trace.hash(), 0);
    }

    #[test]
    fn a_callback_is_timed_from_its_mark_and_an_hour_is_not_cut() {
        let mut trace = Trace::new(8, NAMES);
        let hour = 3600 * 1_000_000_000;
        trace.mark(|| ns(5));
        trace.took(What::Timer, 1, 2, || ns(5 + hour));
        trace.note(What::Read, 1, 2, u64::MAX);
        assert_eq!(values(&trace), [hour, (1 << 48) - 1]);
        assert_eq!(trace.iter().map(|r| r.at()).collect::<Vec<_>>(), [ns(5 + hour); 2]);
        assert_eq!(trace.take_fresh(), Some(ns(5 + hour)));
        assert_eq!(trace.take_fresh(), None);
        trace.took(What::Timer, 1, 2, || ns(6 + hour));
        trace.mark(|| ns(7 + hour));
        assert_eq!(trace.take_fresh(), None, "time would go back");
    }

    #[test]
    fn a_data_is_exact_if_there_is_time_for_that() {
        let mut trace = Trace::new(64, NAMES);
        for at in [50_000, 99_999, 100_010, 100_020] {
            trace.set_now(ns(at));
            trace.was_read(1, 1, &Ok(1), || ns(at + 10));
            trace.took(What::Data, 1, 1, || ns(at + 15));
        }
        let data = trace.iter().filter(|r| r.what() == What::Data);
        let data: Vec<_> = data.map(|r| (r.is_exact(), r.value())).collect();
        assert_eq!(data, [(true, 5), (false, 15), (true, 5), (false, 15)]);
        // Every other is marked, and told as it is.
        trace.took(What::Open, 1, 1, || ns(100_040));
        let lines: Vec<String> = trace.iter().skip(7).map(Record::to_string).collect();
        assert_eq!(lines, ["0.000100035 #1.1 data() <=15", "0.000100040 #1.1 open() 5"]);
    }

    #[test]
    fn what_came_of_a_call_is_told() {
        let mut trace = Trace::new(8, NAMES);
        let results = || {
            [
                Ok(7),
                Ok(0),
                Err(io::ErrorKind::WouldBlock.into()),
                Err(io::Error::from_raw_os_error(104)),
            ]
        };
        for result in results() {
            trace.was_read(1, 2, &result, || ns(0));
        }
        for result in results() {
            trace.was_written(1, 2, &result);
        }
        let lines: Vec<String> = trace.iter().map(|r| r.to_string()).collect();
        let expected = [
            "read 7",
            "read end 0",
            "read nothing 0",
            "read error 104",
            "write 7",
            "write 0",
            "write nothing 0",
            "write error 104",
        ];
        assert_eq!(lines, expected.map(|line| format!("0.000000000 #1.2 {line}")));
    }

    #[cfg(feature = "sim")]
    #[test]
    fn the_hash_is_of_every_record_and_of_every_part() {
        let hash = |size: usize, last: (What, u64, u32, u32, u64)| {
            let mut trace = Trace::new(size, NAMES);
            for n in 0..99 {
                trace.note(What::Read, 1, 2, n);
            }
            let (what, at, slot, serial, value) = last;
            trace.set_now(ns(at));
            trace.note(what, slot, serial, value);
            trace.hash()
        };
        let usual = hash(4, (What::Read, 1, 1, 1, 1));
        for size in [1, 8, 64, 1024] {
            assert_eq!(hash(size, (What::Read, 1, 1, 1, 1)), usual);
        }
        let others = [
            (What::Write, 1, 1, 1, 1),
            (What::Read, 2, 1, 1, 1),
            (What::Read, 1, 2, 1, 1),
            (What::Read, 1, 1, 2, 1),
            (What::Read, 1, 1, 1, 2),
        ];
        // Alike but for a bit that another part has in the same place of the mixture.
        let covered = [
            (What::Turn, 2, 0, 1, 0),
            (What::Turn, 1 << 20 | 2, 0, 1, 0),
            (What::Turn, 4, 0, 0, 1),
            (What::Turn, 1 << 48 | 4, 0, 0, 1),
        ];
        let mut all: Vec<u64> = others.iter().chain(&covered).map(|&one| hash(4, one)).collect();
        all.push(usual);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 10);
    }

    #[test]
    fn a_chrome_trace_has_turns_with_callbacks_in_them_and_a_track_for_each_connection() {
        let mut trace = Trace::new(64, NAMES);
        trace.set_now(ns(1_000));
        trace.note(What::Ready, 3, 9, 5);
        trace.mark(|| ns(2_000));
        trace.took(What::Data, 3, 9, || ns(4_500));
        trace.note(What::Accept, 4, 10, 1);
        trace.note(What::Close, 3, 9, 1);
        trace.end_turn(ns(1_000));
        let mut text = Vec::new();
        trace.write_chrome(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let events: Vec<&str> = text.lines().filter(|line| line.contains("\"ts\"")).collect();
        let track = |ph: &str, id: &str| {
            format!(
                r#"{{"ph":"{ph}","cat":"connection","id2":{{"local":"{id}"}},"pid":1,"tid":1,"ts":"#
            )
        };
        let span = |name: &str, times: &str, args: &str| {
            format!(r#"{{"ph":"X","pid":1,"tid":1,"name":"{name}",{times},"args":{{{args}}}}},"#)
        };
        let on = |track: &str, name: &str, args: &str| {
            format!(r#"{track}"name":"{name}","args":{{{args}}}}},"#)
        };
        let (old, new) = ("0x300000009", "0x40000000a");
        let bits = r#""readable":1,"writable":0,"ending":1,"failed":0"#;
        let whose = r##""connection":"#3.9","exact":true"##;
        let expected = [
            span("turn", r#""ts":1.000,"dur":3.500"#, ""),
            on(&(track("b", old) + "1.000,"), "#3.9", r#""begins_before":true"#),
            on(&(track("n", old) + "1.000,"), "ready", bits),
            span("data()", r#""ts":2.000,"dur":2.500"#, whose),
            on(&(track("b", new) + "4.500,"), "#4.10", r#""begins_before":false"#),
            on(&(track("n", new) + "4.500,"), "accept", r#""listener":1"#),
            on(&(track("e", old) + "4.500,"), "#3.9", r#""reason":"aborted""#),
            on(&(track("e", new) + "4.500,"), "#4.10", r#""open":true"#),
        ];
        assert_eq!(events, expected);
    }

    /// The track of one that nothing was known of begins with its waiting.
    #[test]
    fn a_chrome_trace_says_who_waited_and_for_whom() {
        let mut trace = Trace::new(64, NAMES);
        trace.set_now(ns(1_000));
        trace.took(What::Data, 3, 9, || ns(21_500));
        trace.end_turn(ns(1_000));
        trace.note(What::Ready, 4, 10, 3);
        trace.note(What::Ready, 3, 9, 3);
        trace.took(What::Data, 4, 10, || ns(41_499));
        trace.note(What::Read, 3, 9, 5);
        trace.end_turn(ns(21_500));
        let mut text = Vec::new();
        trace.write_chrome(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let track = text.lines().filter(|line| line.contains("0x40000000a"));
        let track: Vec<&str> = track.map(|line| line.split_once("\"ts\":").unwrap().1).collect();
        let expected = [
            r##"1.000,"name":"#4.10","args":{"begins_before":true}},"##,
            r##"1.000,"name":"waited","args":{"for":"#3.9","for_us":20.500,"at_most":true}},"##,
            r#"21.500,"name":"ready","args":{"readable":1,"writable":1,"ending":0,"failed":0}},"#,
            r#"21.500,"name":"waited","args":{}},"#,
            r##"41.499,"name":"#4.10","args":{"open":true}},"##,
        ];
        assert_eq!(track, expected);
        assert_eq!(text.matches("waited").count(), 2, "19.999 microseconds are no wait");
    }

    #[test]
    fn a_chrome_trace_says_how_much_and_why() {
        let mut trace = Trace::new(64, NAMES);
        for (what, value) in [
            (What::Read, 5),
            (What::Write, 6),
            (What::ReadError, 7),
            (What::WriteError, 8),
            (What::Deadline, 1),
            (What::Connect, 0),
        ] {
            trace.note(what, 3, 9, value);
        }
        let mut text = Vec::new();
        trace.write_chrome(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let args = |line: &str| line.split_once("\"args\":").map(|(_, args)| args.to_string());
        let notes = text.lines().filter(|line| line.contains(r#""ph":"n""#));
        let args: Vec<String> = notes.filter_map(args).collect();
        let expected = [
            r#"{"bytes":5}},"#,
            r#"{"bytes":6}},"#,
            r#"{"error":7}},"#,
            r#"{"error":8}},"#,
            r#"{"reason":"aborted"}},"#,
            "{}},",
        ];
        assert_eq!(args, expected);
    }
}
