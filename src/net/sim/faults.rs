//! What may go wrong in a simulated world, how often, and what did.
use std::fmt;

/// One list, from which come the rates, the names and the counts.
macro_rules! faults {
    ($($(#[$doc:meta])* $field:ident, $kind:ident, $name:literal, $harm:ident;)*) => {
        /// How often each thing goes wrong, in thousandths of the times it could.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct Faults {
            $($(#[$doc])* pub $field: u32,)*
        }

        /// One kind of fault, for those who count.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Kind {
            $($kind,)*
        }

        impl Faults {
            /// How many kinds there are.
            pub const KINDS: usize = [$($name),*].len();

            /// Their names, in the order of [`Sim::struck`](super::Sim::struck).
            pub const NAMES: [&'static str; Self::KINDS] = [$($name),*];

            /// Each at the same rate.
            pub const fn all(rate: u32) -> Self {
                Self { $($field: rate,)* }
            }

            /// Only those that delay: every byte still arrives, and no connection ends by them, as
            /// long as its deadlines are longer than a second or two.
            pub const fn harmless(rate: u32) -> Self {
                Self { $($field: rate * Harm::$harm.is_none(),)* }
            }

            /// Drawn from a seed: about half of them do not happen, and each of the others has a
            /// rate of its own, up to every time for those that can.
            pub fn drawn(seed: u64) -> Self {
                let mut random = Random::new(seed.rotate_left(32) ^ 1);
                Self { $($field: random.rate(Harm::$harm),)* }
            }

            pub(crate) fn rate(&self, kind: Kind) -> u32 {
                match kind {
                    $(Kind::$kind => self.$field,)*
                }
            }
        }
    };
}

faults! {
    /// A read gets a part of what is there, and the rest arrives at that moment.
    short_read, ShortRead, "short read", None;
    /// A write is taken in part, and there is room for the rest at that moment.
    short_write, ShortWrite, "short write", None;
    /// A call is interrupted.
    interrupted, Interrupted, "interrupted", Stubborn;
    /// A read or a write that readiness had promised finds nothing. An edge follows when there is
    /// something after all.
    empty, Empty, "empty readiness", Stubborn;
    /// An edge comes for nothing.
    spurious, Spurious, "spurious edge", Stubborn;
    /// An edge comes one look later, together with what happens meanwhile.
    late, Late, "late edge", Stubborn;
    /// The system is short of something for `accept` and `connect`, for up to 50 ms: of
    /// descriptors, its own or the process's, of memory or of buffers.
    shortage, Shortage, "shortage", Stubborn;
    /// The system is short of memory or of buffers for a read or a write, this once.
    no_memory, NoMemory, "no memory", Stubborn;
    /// The client takes nothing for up to 100 ms: its window closes, and opens.
    shut, Shut, "window shut", Stubborn;
    /// Nothing moves on a connection, in either direction, for up to 200 ms.
    clogged, Clogged, "clogged", Stubborn;
    /// A wake-up by another thread comes some looks later.
    late_wake, LateWake, "late wake-up", Stubborn;
    /// A connection dies between its arrival and `accept`.
    aborted, Aborted, "aborted", Some;
    /// The kernel will not watch a socket.
    unwatched, Unwatched, "unwatched", Some;
    /// A connect is refused.
    refused, Refused, "refused", Some;
    /// A connect is never answered.
    unanswered, Unanswered, "unanswered", Some;
    /// A connection that has bytes under way is reset, after any of them.
    reset, Reset, "reset", Some;
    /// A client's half ends after any of the bytes that it has under way; the others are never
    /// sent.
    half_close, HalfClose, "half-close", Some;
    /// A read or a write takes its time, up to 20 ms: somebody else had the processor.
    slow, Slow, "slow", Some;
    /// The clock jumps ahead during a sleep, up to a minute.
    jump, Jump, "clock jump", Some;
    /// A datagram does not arrive, in either direction.
    lost, Lost, "datagram lost", Some;
    /// A datagram arrives twice.
    duplicated, Duplicated, "datagram duplicated", Some;
    /// A datagram overtakes others.
    reordered, Reordered, "datagram reordered", Some;
    /// Only the front of a datagram is received.
    truncated, Truncated, "datagram truncated", Some;
    /// Nobody is there whom a datagram is sent to; a later call on the socket is told so.
    unreachable, Unreachable, "port unreachable", Some;
    /// The kernel does not take a datagram: it has no room, no buffers, or finds it too long.
    untaken, Untaken, "datagram not taken", Some;
    /// The kernel does not tell what happened: the call that asks for it fails.
    poll, Poll, "poll failed", Stubborn;
}

/// What a kind of fault costs whoever meets it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// Nothing: it may happen every time.
    None,
    /// Nothing, but if it happened every time nothing else would.
    Stubborn,
    /// A connection, a datagram, bytes, or a deadline.
    Some,
}

impl Harm {
    const fn is_none(self) -> u32 {
        match self {
            Harm::None | Harm::Stubborn => 1,
            Harm::Some => 0,
        }
    }
}

impl Faults {
    /// Nothing goes wrong; bytes still come in pieces, edges are still stingy.
    pub const NONE: Self = Self::all(0);
}

/// Numbers that look like chance: xorshift64 (Marsaglia, 2003). Enough chaos, no dependency.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Seeds are small and alike, and the first numbers would be too: splitmix64's mixing.
        let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self(mixed ^ mixed >> 31 | 1)
    }

    /// Less than `below`, or zero.
    pub(crate) fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }

    fn rate(&mut self, harm: Harm) -> u32 {
        let rates: &[u32] = match harm {
            Harm::None => &[10, 100, 300, 700, 1000],
            Harm::Stubborn => &[5, 20, 100, 300],
            Harm::Some => &[2, 10, 50, 200],
        };
        let often = rates[self.below(rates.len())];
        if self.below(2) == 0 { 0 } else { often }
    }
}

/// What struck in one world.
#[derive(Clone, Debug)]
pub(crate) struct Struck {
    /// Only so many may strike: the first of them.
    pub(crate) max: u64,
    pub(crate) total: u64,
    pub(crate) counts: [u64; Faults::KINDS],
    /// Each of them, in order, if that is wanted.
    pub(crate) log: Option<Vec<Strike>>,
}

/// One fault that struck.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    pub(crate) look: u64,
    pub(crate) kind: Kind,
    /// The connection, in the order in which they were made; `None` if it was nobody's.
    pub(crate) pipe: Option<usize>,
}

impl Struck {
    pub(crate) fn new(max: u64) -> Self {
        Self { max, total: 0, counts: [0; Faults::KINDS], log: None }
    }

    /// It may strike, and has.
    pub(crate) fn strike(&mut self, strike: Strike) -> bool {
        if self.total >= self.max {
            return false;
        }
        self.total += 1;
        self.counts[strike.kind as usize] += 1;
        if let Some(log) = &mut self.log {
            log.push(strike);
        }
        true
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { look, kind, pipe } = self;
        write!(f, "look {look}: {}", Faults::NAMES[*kind as usize])?;
        match pipe {
            Some(pipe) => write!(f, ", connection {pipe}"),
            None => Ok(()),
        }
    }
}
