//! One connection, as state: no socket here, no callback, no clock.
//!
//! ```text
//!   Dialing ──connected──▶ Handshake ──layer ready──▶ Up ──both halves over──▶ Ended ──▶ released
//!      ▲─ Waiting, to dial later ▲      or no layer ──▲ │       (any failure) ──▲
//!      accepted, with a layer ───┘                    │ │
//!                          ┌────────────────────────────┘
//!                          ├─ ours:   Open ──finish()──▶ Finishing ──all sent──▶ Finished
//!                          └─ theirs: open ────────── their end was read ──────▶ over
//! ```
//! The two halves end apart. `has_work` is the one place that decides, from state alone, whether
//! a connection needs a turn.
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    time::Duration,
};

use crate::{
    Fault,
    buf::{Buf, Held},
    layer::Layered,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Outbound, and not begun: that is for later. `active` says when.
    Waiting,
    /// Outbound, and not decided yet.
    Dialing,
    /// Connected; its layer is not ready, and the protocol has not met it.
    Handshake,
    Up,
    /// Over; waiting for its release at the end of a turn.
    Ended,
}

/// Our half: what we may still send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ours {
    Open,
    /// No more is taken; what is unsent is on its way.
    Finishing,
    Finished,
}

/// How a connection ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// In good order: both halves ended, or ours did and the peer was given
    /// [`linger`](crate::Config::linger) to end its own.
    Closed,
    /// [`Peer::abort`](crate::Peer::abort).
    Aborted,
    /// The kernel reported an error: a reset, a broken route, a refused connect.
    Broken(io::Error),
    /// A callback returned this error.
    Fault(Fault),
    /// [`Config::output_max`](crate::Config::output_max): the peer does not read what it is sent.
    OutputOverflow,
    /// [`Config::input_max`](crate::Config::input_max): the protocol leaves too much untaken.
    InputOverflow,
    /// [`Config::memory_max`](crate::Config::memory_max): all connections together held too much,
    /// and this one held the most.
    OutOfMemory,
    /// [`Config::conns_max`](crate::Config::conns_max): no room for an outbound connection.
    OutOfRoom,
    /// [`Config::idle`](crate::Config::idle): no byte moved, either way, for that long.
    Idle,
    /// [`Config::first_byte`](crate::Config::first_byte): the peer connected and said nothing.
    FirstByte,
    /// [`Config::write_stall`](crate::Config::write_stall): output waited and no byte of it left.
    WriteStalled,
    /// [`Peer::deadline_in`](crate::Peer::deadline_in) or
    /// [`Config::lifetime`](crate::Config::lifetime).
    Deadline,
    /// [`Config::connect`](crate::Config::connect): nobody answered.
    ConnectTimeout,
    /// The reactor stopped before this connection was done.
    Stopped,
    /// [`Config::handshake`](crate::Config::handshake): the layer was not ready in time.
    Handshake,
}

impl Reason {
    /// How many kinds there are: the length of [`Stats::ended`](crate::Stats::ended).
    pub const KINDS: usize = 15;

    /// Names, in the order of [`Stats::ended`](crate::Stats::ended).
    pub const NAMES: [&'static str; Self::KINDS] = [
        "closed",
        "aborted",
        "broken",
        "fault",
        "output overflow",
        "input overflow",
        "out of memory",
        "out of room",
        "idle",
        "first byte",
        "write stalled",
        "deadline",
        "connect timeout",
        "stopped",
        "handshake",
    ];

    pub(crate) fn index(&self) -> usize {
        match self {
            Reason::Closed => 0,
            Reason::Aborted => 1,
            Reason::Broken(_) => 2,
            Reason::Fault(_) => 3,
            Reason::OutputOverflow => 4,
            Reason::InputOverflow => 5,
            Reason::OutOfMemory => 6,
            Reason::OutOfRoom => 7,
            Reason::Idle => 8,
            Reason::FirstByte => 9,
            Reason::WriteStalled => 10,
            Reason::Deadline => 11,
            Reason::ConnectTimeout => 12,
            Reason::Stopped => 13,
            Reason::Handshake => 14,
        }
    }

    /// Where nobody can be hurt by it a reset is the better end: it frees at once what the kernel
    /// holds for a peer that does not read.
    pub(crate) fn wants_reset(&self) -> bool {
        matches!(
            self,
            Reason::Aborted | Reason::OutputOverflow | Reason::OutOfMemory | Reason::WriteStalled
        )
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Broken(e) => write!(f, "broken: {e}"),
            Reason::Fault(e) => write!(f, "fault: {e}"),
            _ => f.write_str(Self::NAMES[self.index()]),
        }
    }
}

/// Everything about a connection but its socket and its session, which are the reactor's.
pub(crate) struct Conn {
    pub(crate) serial: u32,
    bits: u16,
    pub(crate) state: State,
    pub(crate) ours: Ours,
    /// When a byte last moved either way, or the connection began, or will begin.
    pub(crate) active: Stamp,
    /// When it must be over, whatever happens.
    pub(crate) deadline: Option<Stamp>,
    /// When `Protocol::timer` is wanted.
    pub(crate) wake: Option<Stamp>,
    /// Bytes of its last visit, both ways; once it lingers, all that were thrown away.
    pub(crate) bytes: u32,
    /// The peer's IPv4 address, or where `Hub` keeps the longer one; then the port says whether
    /// the wire is a unix socket.
    ip: [u8; 4],
    port: u16,
    /// Which listener it came by; `u16::MAX` for an outbound one.
    pub(crate) listener: u16,
    pub(crate) held: Option<Box<Held>>,
    pub(crate) layer: Option<Box<Layered>>,
}

/// The same, seen by the compiler: a million idle connections are a million of these, so nothing
/// that only busy ones need may live here. The second line is the table's entry: free ones are
/// told from taken ones without a byte more.
const _: () = assert!(size_of::<Conn>() <= 48);
const _: () = assert!(size_of::<Option<Conn>>() <= 48);

/// A time in whole milliseconds of the timers' clock, cut to 32 bits: times up to 24 days apart
/// are told apart, and 50 days of running do no harm. Never zero, so that `None` costs nothing.
pub(crate) type Stamp = NonZeroU32;

/// Bytes of one visit, both ways. An echo of 16 KiB is well below, whoever fills its read buffer is
/// not.
const HEAVY: u32 = 64 << 10;

/// Times further away than this count as never. (2^31 milliseconds are 24.8 days.)
pub(crate) const DELAY_MAX: Duration = Duration::from_secs(24 * 24 * 60 * 60);

/// The low bits of a time from which a deadline counts, or of the deadline; zero becomes one, a
/// millisecond late rather than early.
pub(crate) fn stamp(ms: u64) -> Stamp {
    Stamp::new(ms as u32).unwrap_or(Stamp::MIN)
}

fn after(from: Stamp, ms: u32) -> Stamp {
    stamp(u64::from(from.get().wrapping_add(ms)))
}

/// The low bits of the time that deadlines are compared with; zero becomes the millisecond before.
pub(crate) fn stamp_now(ms: u64) -> Stamp {
    Stamp::new(ms as u32).unwrap_or(Stamp::MAX)
}

/// From `from` to `to`, which are at most 24 days apart; negative if `to` came first.
pub(crate) fn ms_between(from: Stamp, to: Stamp) -> i32 {
    to.get().wrapping_sub(from.get()) as i32
}

/// Round up: a deadline may be late by a millisecond, never early. `None`: never.
pub(crate) fn whole_ms(after: Duration) -> Option<u32> {
    (after <= DELAY_MAX).then(|| after.as_nanos().div_ceil(1_000_000) as u32)
}

/// How long each thing may take, in milliseconds; `None`: for ever.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Patience {
    pub(crate) idle: Option<u32>,
    pub(crate) first_byte: Option<u32>,
    pub(crate) write_stall: Option<u32>,
    pub(crate) connect: Option<u32>,
}

/// What a deadline that has come asks for.
#[derive(Debug)]
pub(crate) enum Due {
    Dial,
    Wake,
    End(Reason),
}

macro_rules! bits {
    ($($(#[$doc:meta])* $get:ident, $set:ident = $bit:expr;)*) => {
        impl Conn {$(
            $(#[$doc])*
            #[inline]
            pub(crate) fn $get(&self) -> bool {
                self.bits & 1 << $bit != 0
            }

            #[inline]
            pub(crate) fn $set(&mut self, on: bool) {
                self.bits = self.bits & !(1 << $bit) | u16::from(on) << $bit;
            }
        )*}
    };
}

// All sixteen are taken: the next one costs a wider field, and the assertions below a thought.
bits! {
    /// What the last edges told, until a call would block. These four are as `net::Event::bits`
    /// has them.
    readable, set_readable = 0;
    writable, set_writable = 1;
    /// More than bytes is waiting: a short read does not mean that nothing is left.
    ending, set_ending = 2;
    /// The socket failed; take the error even while reading is paused.
    failed, set_failed = 3;
    /// Their half is over: the end was read.
    theirs_over, set_theirs_over = 4;
    /// Closed by the protocol: what still comes is read and thrown away.
    deaf, set_deaf = 5;
    paused, set_paused = 6;
    /// Output went above the high watermark and has not fallen to the low one.
    full, set_full = 7;
    /// Offer the kept input again although nothing new has come.
    reoffer, set_reoffer = 8;
    /// In one of the three queues, or being served.
    queued, set_queued = 9;
    /// At least one byte has come.
    heard, set_heard = 10;
    /// The protocol was told that the reactor is stopping.
    told_to_stop, set_told_to_stop = 11;
    /// The address is too long to be kept here.
    long_addr, set_long_addr = 12;
    /// Counted against its address.
    counted, set_counted = 13;
    /// The last words of the layer are on their way.
    layer_done, set_layer_done = 14;
    /// Reading and writing have nothing to do with each other here.
    read_while_full, set_read_while_full = 15;
}

impl Conn {
    pub(crate) const OUTBOUND: u16 = u16::MAX;

    /// The key of a unix socket without a name: nothing is kept for it.
    pub(crate) const UNNAMED: u32 = u32::MAX;

    /// The port of whoever has a unix socket.
    const UNIX: u16 = 1;

    pub(crate) fn new(serial: u32, state: State, listener: u16, now: Stamp) -> Self {
        Self {
            serial,
            bits: 0,
            state,
            ours: Ours::Open,
            active: now,
            deadline: None,
            wake: None,
            bytes: 0,
            ip: [0; 4],
            port: 0,
            listener,
            held: None,
            layer: None,
        }
    }

    /// Add what an event tells to what is known.
    #[inline]
    pub(crate) fn note(&mut self, told: u64) {
        self.bits |= told as u16;
    }

    pub(crate) fn set_v4(&mut self, ip: Ipv4Addr, port: u16) {
        (self.ip, self.port) = (ip.octets(), port);
        self.set_long_addr(false);
    }

    pub(crate) fn set_long(&mut self, key: u32, is_unix: bool) {
        (self.ip, self.port) = (key.to_ne_bytes(), if is_unix { Self::UNIX } else { 0 });
        self.set_long_addr(true);
    }

    /// The wire is a unix socket, whatever a layer has said of who is behind it.
    #[inline]
    pub(crate) fn is_unix(&self) -> bool {
        self.long_addr() && self.port == Self::UNIX
    }

    /// The IPv4 address, or the key under which the longer one is kept.
    pub(crate) fn addr(&self) -> Result<SocketAddr, u32> {
        match self.long_addr() {
            true => Err(u32::from_ne_bytes(self.ip)),
            false => Ok(SocketAddr::new(IpAddr::from(self.ip), self.port)),
        }
    }

    /// Bytes that wait for the kernel.
    pub(crate) fn unsent(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.output.len() + held.wire.len())
    }

    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.has_unsent())
    }

    /// A layer keeps what was sent: it waits for something to read.
    fn held_back(&self) -> bool {
        self.layer.as_ref().is_some_and(|layered| !layered.layer.is_ready())
    }

    /// Something waits for the kernel, and no layer holds it back.
    #[inline]
    fn can_send(&self) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|held| {
            !held.wire.is_empty() || !self.held_back() && !held.output.is_empty()
        })
    }

    /// The layer has read the peer's end, and nobody has been told.
    #[inline]
    pub(crate) fn layer_is_over(&self) -> bool {
        let over = self.layer.as_ref().is_some_and(|layered| layered.layer.is_over());
        over && !self.theirs_over() && !self.is_lingering()
    }

    /// The layer hears of their end. One that is not ready then will never be, and what waits for
    /// it will never leave.
    pub(crate) fn end_of_layer(&mut self) -> crate::Result {
        let (deaf, waiting) = (self.deaf(), self.has_unsent());
        let Some(Layered { layer, .. }) = self.layer.as_deref_mut() else { return Ok(()) };
        if !deaf {
            layer.eof()?;
        }
        match layer.is_ready() || deaf && !waiting {
            true => Ok(()),
            false => Err("the peer ended before the handshake did".into()),
        }
    }

    /// The input that was kept and how much of it was searched, for whoever takes it now.
    #[inline]
    pub(crate) fn take_input(&mut self) -> Option<(Buf, usize)> {
        let held = self.held.as_mut().filter(|held| !held.input.is_empty());
        held.map(|held| held.take_input())
    }

    /// What the layer keeps of a record that is not whole yet.
    pub(crate) fn layer_holds(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.layer)
    }

    /// What the session says it keeps.
    #[inline]
    pub(crate) fn session_holds(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.session)
    }

    pub(crate) fn has_input(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.input.is_empty())
    }

    /// There is a wire, and something may be read and written.
    #[inline]
    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.state, State::Up | State::Handshake)
    }

    /// The protocol knows of it: it was opened, or asked for.
    pub(crate) fn is_known(&self) -> bool {
        match self.state {
            State::Waiting | State::Dialing | State::Up => true,
            State::Handshake => self.listener == Self::OUTBOUND,
            State::Ended => false,
        }
    }

    /// The protocol may be told what came: `open` may have said no to that.
    pub(crate) fn hears(&self) -> bool {
        !self.deaf() && !self.paused()
    }

    /// Accepted, and nothing said yet: not even a handshake would be missed.
    pub(crate) fn is_unheard_of(&self) -> bool {
        self.state == State::Handshake && !self.heard() && self.listener != Self::OUTBOUND
    }

    /// Accepted less than `patience` milliseconds ago, or sent something since, and not heard yet:
    /// what it came to say may be on its way.
    pub(crate) fn is_newcomer(&self, now: Stamp, patience: i32) -> bool {
        let silent = self.is_connected() && !self.heard() && !self.theirs_over();
        // A stamp is up to a millisecond ahead.
        let since = ms_between(self.active, now);
        silent && self.listener != Self::OUTBOUND && (-1..patience).contains(&since)
    }

    /// The question that the run queue asks.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        self.wants_read() || self.wants_write()
    }

    #[inline]
    pub(crate) fn wants_read(&self) -> bool {
        // Most connections, most of the time.
        if !(self.readable() || self.reoffer() || self.failed()) {
            return false;
        }
        // A failed socket is looked at even if nobody wants its bytes: nothing else would notice.
        self.is_connected() && (self.failed() || self.wants_bytes())
    }

    /// There may be bytes, and they may go to the protocol, or to nobody once it has closed. That
    /// output waits is no reason not to read if it waits for just that.
    #[inline]
    pub(crate) fn wants_bytes(&self) -> bool {
        if self.state == State::Handshake {
            return !self.theirs_over(); // the protocol has no say in it yet
        }
        let full = self.full() && !self.read_while_full() && !self.held_back();
        !self.theirs_over() && (self.deaf() || !self.paused() && !full)
    }

    #[inline]
    pub(crate) fn wants_write(&self) -> bool {
        match (self.state, self.ours) {
            (State::Dialing, _) => self.writable(),
            (State::Handshake, _) | (State::Up, Ours::Open) => self.can_send() && self.writable(),
            // With nothing left to send, the end itself is the work.
            (State::Up, Ours::Finishing) => {
                !self.has_unsent() || self.writable() && self.can_send()
            }
            (State::Up, Ours::Finished) | (State::Waiting | State::Ended, _) => false,
        }
    }

    /// It is served. Until that is over it counts as queued.
    #[inline]
    pub(crate) fn begin_visit(&mut self) {
        if !self.is_lingering() {
            self.bytes = 0;
        }
    }

    #[inline]
    pub(crate) fn has_moved(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u32);
    }

    /// It had all that it may have in one visit, however little that is.
    pub(crate) fn has_spent_its_visit(&mut self) {
        if !self.is_lingering() {
            self.bytes = self.bytes.max(HEAVY);
        }
    }

    /// It had so much in its last visit that whoever asks for little goes first.
    #[inline]
    pub(crate) fn is_heavy(&self) -> bool {
        self.bytes >= HEAVY
    }

    /// Nothing unread, nothing unsent, nothing begun: nobody would miss an answer.
    pub(crate) fn is_quiet(&self) -> bool {
        self.state == State::Up
            && self.ours != Ours::Finishing
            && !self.deaf()
            && !self.paused()
            && (self.theirs_over() || !self.readable())
            && !self.has_input()
            && self.layer_holds() == 0
            && !self.has_unsent()
    }

    /// Closed by us, all sent: only the peer's end is awaited.
    pub(crate) fn is_lingering(&self) -> bool {
        self.deaf() && self.ours == Ours::Finished
    }

    /// It is up and nothing can be due: only output that waits has a deadline here, or what a
    /// protocol has asked for.
    #[inline]
    pub(crate) fn is_in_no_hurry(&self, patience: &Patience) -> bool {
        self.state == State::Up
            && self.held.is_none()
            && self.deadline.is_none()
            && self.wake.is_none()
            && patience.idle.is_none()
            && patience.first_byte.is_none()
    }

    /// The first time at which something is due.
    #[inline]
    pub(crate) fn next_due(&self, patience: &Patience) -> Option<Stamp> {
        let mut first = None;
        self.each_due(patience, |at, _| {
            if first.is_none_or(|first| ms_between(first, at) < 0) {
                first = Some(at);
            }
        });
        first
    }

    /// What is due at `now`, an end before a wake-up.
    pub(crate) fn due(&self, patience: &Patience, now: Stamp) -> Option<Due> {
        let mut due = None;
        self.each_due(patience, |at, what| {
            if ms_between(at, now) >= 0 && !matches!(due, Some(Due::End(_))) {
                due = Some(what);
            }
        });
        due
    }

    /// All the deadlines of this connection, each computed from the state it depends on: nothing
    /// has to be re-armed when that state moves it further away.
    #[inline]
    fn each_due(&self, patience: &Patience, mut each: impl FnMut(Stamp, Due)) {
        match self.state {
            State::Ended => return,
            State::Waiting => each(self.active, Due::Dial),
            State::Dialing => {
                if let Some(ms) = patience.connect {
                    each(after(self.active, ms), Due::End(Reason::ConnectTimeout));
                }
            }
            State::Handshake => {
                if let Some(at) = self.layer.as_ref().and_then(|layered| layered.until) {
                    each(at, Due::End(Reason::Handshake));
                }
                self.silence_due(patience, &mut each);
            }
            // Here the deadline is the end of the lingering, which is a good one.
            State::Up if self.is_lingering() => {
                if let Some(at) = self.deadline {
                    each(at, Due::End(Reason::Closed));
                }
                return;
            }
            State::Up => {
                self.silence_due(patience, &mut each);
                if let (Some(ms), Some(moved)) = (patience.write_stall, self.output_moved()) {
                    each(after(moved, ms), Due::End(Reason::WriteStalled));
                }
            }
        }
        if let Some(at) = self.deadline {
            each(at, Due::End(Reason::Deadline));
        }
        // A connection that is not up yet has no session to wake.
        if let Some(at) = self.wake.filter(|_| self.state == State::Up) {
            each(at, Due::Wake);
        }
    }

    #[inline]
    fn silence_due(&self, patience: &Patience, each: &mut impl FnMut(Stamp, Due)) {
        if let Some(ms) = patience.idle {
            each(after(self.active, ms), Due::End(Reason::Idle));
        }
        if let Some(ms) = patience.first_byte
            && !self.heard()
            && self.listener != Self::OUTBOUND
        {
            each(after(self.active, ms), Due::End(Reason::FirstByte));
        }
    }

    /// It is about to be served, and that may show that this deadline was kept after all: what
    /// the kernel has told is not judged before it was looked at.
    pub(crate) fn may_yet_keep(&self, deadline: &Due) -> bool {
        self.queued()
            && match deadline {
                Due::End(Reason::Idle) => self.readable() || self.writable() && self.has_unsent(),
                Due::End(Reason::FirstByte) => self.readable(),
                Due::End(Reason::WriteStalled | Reason::ConnectTimeout) => self.writable(),
                _ => false,
            }
    }

    /// When waiting output last moved; `None` if none waits.
    #[inline]
    fn output_moved(&self) -> Option<Stamp> {
        self.held.as_ref().filter(|held| held.has_unsent()).and_then(|held| Stamp::new(held.moved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::Pool;

    fn up() -> Conn {
        Conn::new(1, State::Up, 0, stamp(100))
    }

    #[test]
    fn each_bit_is_its_own() {
        let mut conn = up();
        conn.set_full(true);
        conn.set_queued(true);
        assert!(conn.full() && conn.queued() && !conn.reoffer() && !conn.paused());
        conn.set_full(false);
        assert!(!conn.full() && conn.queued());
    }

    #[test]
    fn names_match_the_kinds() {
        let last = Reason::Handshake;
        assert_eq!(last.index(), Reason::KINDS - 1);
        assert_eq!(last.to_string(), "handshake");
        assert_eq!(Reason::Broken(io::Error::other("reset")).to_string(), "broken: reset");
        assert_eq!(Reason::Fault("bad line".into()).to_string(), "fault: bad line");
    }

    #[test]
    fn stamps_survive_the_wrap() {
        let before = stamp(u64::from(u32::MAX) - 10);
        let after = stamp(u64::from(u32::MAX) + 20);
        assert_eq!(ms_between(before, after), 30);
        assert_eq!(ms_between(after, before), -30);
        assert_eq!(stamp(1 << 32), Stamp::MIN);
    }

    #[test]
    fn case_077_durations_are_rounded_up_and_the_endless_ones_are_never() {
        assert_eq!(whole_ms(Duration::ZERO), Some(0));
        assert_eq!(whole_ms(Duration::from_nanos(1)), Some(1));
        assert_eq!(whole_ms(Duration::from_micros(1500)), Some(2));
        assert_eq!(whole_ms(Duration::MAX), None);
        let days = Duration::from_secs(24 * 86_400);
        assert_eq!(whole_ms(days), Some(2_073_600_000));
        assert_eq!(whole_ms(days + Duration::from_nanos(1)), None);
    }

    #[test]
    fn a_deadline_is_compared_with_a_time_that_is_not_after_it() {
        assert_eq!(stamp_now(5), stamp(5));
        assert_eq!(ms_between(stamp_now(1 << 32), stamp(1 << 32)), 2);
    }

    #[test]
    fn an_address_is_kept_here_or_its_key_is() {
        let mut conn = up();
        conn.set_v4(Ipv4Addr::new(10, 1, 2, 3), 4567);
        assert_eq!(conn.addr(), Ok(SocketAddr::from(([10, 1, 2, 3], 4567))));
        for is_unix in [false, true] {
            conn.set_v4(Ipv4Addr::new(10, 1, 2, 3), 1);
            assert!(!conn.is_unix());
            conn.set_long(89, is_unix);
            assert_eq!((conn.addr(), conn.is_unix()), (Err(89), is_unix));
        }
    }

    #[test]
    fn idle_follows_activity_and_deadlines_do_not() {
        let patience = Patience { idle: Some(50), ..Patience::default() };
        let mut conn = up();
        assert_eq!(conn.next_due(&patience), Some(stamp(150)));
        conn.active = stamp(140);
        conn.deadline = Some(stamp(160));
        assert_eq!(conn.next_due(&patience), Some(stamp(160)));
        assert!(conn.due(&patience, stamp(159)).is_none());
        assert!(matches!(conn.due(&patience, stamp(160)), Some(Due::End(Reason::Deadline))));
    }

    /// What is due first, and when; nothing is a millisecond earlier.
    fn next(conn: &Conn, patience: Patience) -> Option<(u32, String)> {
        let at = conn.next_due(&patience)?;
        assert!(conn.due(&patience, stamp(u64::from(at.get()) - 1)).is_none());
        let due = match conn.due(&patience, at).unwrap() {
            Due::Dial => "dial".to_owned(),
            Due::Wake => "wake".to_owned(),
            Due::End(reason) => reason.to_string(),
        };
        Some((at.get(), due))
    }

    #[test]
    fn each_deadline_depends_on_the_state_it_is_about() {
        let says = |at: u32, due: &str| Some((at, due.to_owned()));
        let four = Patience {
            idle: Some(40),
            first_byte: Some(30),
            write_stall: Some(20),
            connect: Some(10),
        };
        let mut conn = up();
        assert_eq!(next(&conn, Patience::default()), None);
        assert_eq!(next(&conn, four), says(130, "first byte"));
        send(&mut conn, 105);
        assert_eq!(next(&conn, four), says(125, "write stalled"));
        conn.held = None;
        conn.listener = Conn::OUTBOUND;
        assert_eq!(next(&conn, four), says(140, "idle"));
        conn.listener = 0;
        conn.set_heard(true);
        assert_eq!(next(&conn, four), says(140, "idle"));
        conn.deadline = Some(stamp(135));
        assert_eq!(next(&conn, four), says(135, "deadline"));
        conn.wake = Some(stamp(134));
        assert_eq!(next(&conn, four), says(134, "wake"));
        conn.deadline = Some(stamp(134));
        assert_eq!(next(&conn, four), says(134, "deadline"));
        conn.state = State::Waiting;
        assert_eq!(next(&conn, four), says(100, "dial"));
        conn.state = State::Dialing;
        assert_eq!(next(&conn, four), says(110, "connect timeout"));
        let no = Patience::default();
        assert_eq!(next(&conn, no), says(134, "deadline"));
        conn.deadline = None;
        assert_eq!(next(&conn, no), None);
        conn.state = State::Up;
        (conn.deadline, conn.ours) = (Some(stamp(125)), Ours::Finished);
        assert_eq!(next(&conn, four), says(125, "deadline"));
        (conn.deadline, conn.ours) = (Some(stamp(125)), Ours::Finishing);
        conn.set_deaf(true);
        assert_eq!(next(&conn, four), says(125, "deadline"));
        (conn.deadline, conn.ours) = (Some(stamp(150)), Ours::Finished);
        assert_eq!(next(&conn, four), says(150, "closed"));
        conn.state = State::Ended;
        assert_eq!(next(&conn, four), None);
    }

    fn send(conn: &mut Conn, moved: u32) {
        let held = conn.held.get_or_insert_default();
        held.output.push(b"x", &mut Pool::default());
        held.moved = moved;
    }

    #[test]
    fn a_deadline_waits_for_what_the_kernel_has_told() {
        let end = |reason| Due::End(reason);
        let keeps = |conn: &Conn| {
            let all = [Reason::Idle, Reason::FirstByte, Reason::WriteStalled, Reason::Deadline];
            all.map(|reason| conn.may_yet_keep(&end(reason)))
        };
        let mut conn = up();
        conn.set_readable(true);
        assert_eq!(keeps(&conn), [false; 4]);
        conn.set_queued(true);
        assert_eq!(keeps(&conn), [true, true, false, false]);
        conn.set_readable(false);
        assert_eq!(keeps(&conn), [false; 4]);
        conn.set_writable(true);
        assert_eq!(keeps(&conn), [false, false, true, false]);
        assert!(conn.may_yet_keep(&end(Reason::ConnectTimeout)));
        send(&mut conn, 100);
        assert_eq!(keeps(&conn), [true, false, true, false]);
        conn.set_writable(false);
        assert_eq!(keeps(&conn), [false; 4]);
    }

    #[test]
    fn whoever_has_just_come_and_said_nothing_is_a_newcomer() {
        let is = |conn: &Conn, now| conn.is_newcomer(stamp_now(now), 50);
        let mut conn = up();
        assert!(is(&conn, 99) && is(&conn, 149) && !is(&conn, 150) && !is(&conn, 98));
        conn.state = State::Handshake;
        assert!(is(&conn, 100));
        for change in [
            (|conn| conn.set_heard(true)) as fn(&mut Conn),
            |conn| conn.set_theirs_over(true),
            |conn| conn.listener = Conn::OUTBOUND,
            |conn| conn.state = State::Dialing,
        ] {
            let mut conn = up();
            change(&mut conn);
            assert!(!is(&conn, 100));
        }
    }

    #[test]
    fn quiet_is_nothing_unread_unsent_or_begun() {
        let changed = |change: fn(&mut Conn)| {
            let mut conn = up();
            change(&mut conn);
            conn.is_quiet()
        };
        assert!(changed(|_| ()));
        assert!(changed(|conn| conn.ours = Ours::Finished));
        assert!(changed(|conn| {
            conn.set_readable(true);
            conn.set_theirs_over(true);
        }));
        assert!(!changed(|conn| conn.state = State::Dialing));
        assert!(!changed(|conn| conn.ours = Ours::Finishing));
        assert!(!changed(|conn| conn.set_deaf(true)));
        assert!(!changed(|conn| conn.set_paused(true)));
        assert!(!changed(|conn| conn.set_readable(true)));
        assert!(!changed(|conn| send(conn, 100)));
        assert!(!changed(|conn| {
            let input = &mut conn.held.get_or_insert_default().input;
            input.push(b"x", &mut Pool::default());
        }));
    }

    #[test]
    fn bytes_are_wanted_while_somebody_hears_them_and_there_is_room() {
        let mut conn = up();
        conn.set_readable(true);
        assert!(conn.has_work());
        conn.set_full(true);
        assert!(!conn.has_work());
        conn.set_read_while_full(true);
        assert!(conn.has_work());
        conn.set_paused(true);
        assert!(!conn.has_work());
        conn.set_deaf(true);
        assert!(conn.has_work());
        conn.set_readable(false);
        assert!(!conn.has_work());
        conn.set_reoffer(true);
        assert!(conn.has_work());
        conn.set_theirs_over(true);
        assert!(!conn.has_work());
    }

    #[test]
    fn a_write_is_wanted_when_the_kernel_takes_it_and_our_end_when_all_is_sent() {
        let mut conn = up();
        conn.set_writable(true);
        assert!(!conn.has_work());
        send(&mut conn, 100);
        assert!(conn.has_work());
        conn.set_writable(false);
        assert!(!conn.has_work());
        conn.ours = Ours::Finishing;
        assert!(!conn.has_work());
        conn.set_writable(true);
        assert!(conn.has_work());
        (conn.held, conn.ours) = (None, Ours::Finishing);
        conn.set_writable(false);
        assert!(conn.has_work());
        conn.ours = Ours::Finished;
        assert!(!conn.has_work());
        conn.state = State::Dialing;
        assert!(!conn.has_work());
        conn.set_writable(true);
        assert!(conn.has_work());
        conn.state = State::Ended;
        assert!(!conn.has_work());
    }

    #[test]
    fn what_waits_for_the_layer_and_for_the_kernel_is_unsent() {
        let mut conn = up();
        assert_eq!(conn.unsent(), 0);
        send(&mut conn, 100);
        conn.held.get_or_insert_default().wire.push(b"12", &mut Pool::default());
        assert_eq!(conn.unsent(), 3);
    }

    #[test]
    fn a_failed_socket_has_work_even_while_paused() {
        let mut conn = up();
        conn.set_paused(true);
        conn.set_readable(true);
        assert!(!conn.has_work());
        conn.set_failed(true);
        assert!(conn.has_work());
    }
}
