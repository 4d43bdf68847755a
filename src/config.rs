//! Every limit, with its name and its default.
use std::{io, time::Duration};

use crate::{conn::Patience, conn::whole_ms, net::SocketOptions};

/// What to do with a connection that there is no room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WhenFull {
    /// Leave it with the kernel until there is room. The client waits.
    #[default]
    Wait,
    /// Accept it and close it at once. The client knows.
    Refuse,
}

/// The limits of a reactor. Sizes are bytes; what one connection may have in one turn is what
/// keeps the others from waiting.
///
/// ```
/// use std::time::Duration;
/// let config = charkh::Config {
///     conns_max: 10_000,
///     idle: Some(Duration::from_secs(300)),
///     ..charkh::Config::default()
/// };
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// Connections at once, in both directions. Default 1 000 000. The process must be allowed as
    /// many descriptors, which is the program's to arrange; where it is not, accepting waits for
    /// one.
    pub conns_max: usize,
    /// Connections at once from one IPv4 address, or one IPv6 network of 64 bits. Default: no
    /// limit. One more is closed as soon as it is accepted.
    pub conns_per_ip: Option<u32>,
    /// What happens to connections that there is no room for. Default: they wait.
    pub when_full: WhenFull,

    /// Connections accepted from one listener in one turn. Default 64.
    pub accepts_max: u32,
    /// Outbound connections begun in one turn. Default 64.
    pub connects_max: u32,
    /// Connections served in one turn whose [`Layer`](crate::Layer) is not ready: a handshake may
    /// cost a thousand times what a message does. They are served after the others. Default 16.
    pub handshakes_max: u32,
    /// Bytes read from one connection in one turn; also the size of the one buffer that all read
    /// into. Default 64 KiB.
    pub read_max: usize,
    /// Bytes written to one connection in one write. Default 256 KiB.
    pub write_max: usize,
    /// Frames that one connection's [`Input`](crate::Input) gives out in one turn. Default 256.
    pub frames_max: u32,
    /// Jobs of other threads run in one turn. Default 256.
    pub jobs_max: u32,
    /// Timers looked at in one turn. Default 4096.
    pub timers_max: u32,

    /// Bytes that a protocol may leave untaken on one connection, give or take one read. Above
    /// it the connection ends with [`InputOverflow`](crate::Reason::InputOverflow). Default 1 MiB.
    pub input_max: usize,
    /// Bytes that one connection may have unsent. The `send` that would go above it ends the
    /// connection with [`OutputOverflow`](crate::Reason::OutputOverflow), so it must be more than
    /// one answer, and more than what one read may be answered with. What a layer adds to bytes
    /// that were sent is not refused, but counts against the next. Default 16 MiB.
    pub output_max: usize,
    /// Bytes unsent above which nothing more is read from this connection. Default 64 KiB.
    pub output_high: usize,
    /// Bytes unsent at which reading goes on and [`drained`](crate::Protocol::drained) is called.
    /// Default 16 KiB.
    pub output_low: usize,
    /// Bytes of memory that all connections together may hold, unread and unsent, with what
    /// sessions say they keep ([`Peer::set_held`](crate::Peer::set_held)) and what their layers
    /// take ([`Layer::size`](crate::Layer::size)), which is at most half of it: whoever would need
    /// more is refused (`refused_full`), unless it is we who connect. A payload that is shared
    /// counts for each that still has to send it. Above it the heaviest of those who hold
    /// something, give or take a fifth, ends with [`OutOfMemory`](crate::Reason::OutOfMemory), and
    /// the next, until it fits. Spare blocks are within it, and the first to go. Default 1 GiB.
    pub memory_max: usize,

    /// Datagrams received from one UDP socket in one turn. Default 64.
    pub datagrams_max: u32,
    /// The longest datagram that is received, in bytes; also the size of the one buffer that all
    /// come to. Longer ones are dropped and counted. Default 65 535: there are none.
    pub datagram_size: usize,
    /// Datagrams that callbacks may have sent before any of them has left: they leave when a
    /// callback that was called for a datagram returns, and at the end of the turn. One more is
    /// refused. Default 1024.
    pub datagrams_out_max: u32,
    /// How many bytes these may have, all together. Default 4 MiB.
    pub datagrams_out_bytes: usize,
    /// Answers ([`Datagram::reply`](crate::Datagram::reply)) to one IPv4 address, or one IPv6
    /// network of 64 bits, in one second; some 4096 of them have a number of their own. One more is
    /// not sent: the address may be a victim's, or that of a server that answers answers. Default
    /// 1000.
    pub replies_per_ip: Option<u32>,

    /// How long a connection may go without a byte, either way. As long as
    /// [`first_byte`](Config::first_byte) is waited for, what is sent does not count. Default: for
    /// ever.
    pub idle: Option<Duration>,
    /// How long an accepted connection may take to send its first byte. Default: for ever.
    pub first_byte: Option<Duration>,
    /// How long output may wait without a byte of it leaving. Default 60 s.
    pub write_stall: Option<Duration>,
    /// How long a connection may live. A protocol can set its own with
    /// [`Peer::deadline_in`](crate::Peer::deadline_in). Default: for ever.
    pub lifetime: Option<Duration>,
    /// How long an outbound connection may take to come up. Default 10 s.
    pub connect: Option<Duration>,
    /// How long a connection's [`Layer`](crate::Layer) may take to become ready, whatever its peer
    /// sends meanwhile; `None`: for ever. Default 10 s.
    pub handshake: Option<Duration>,
    /// How long a closed connection waits for the peer's end, reading and throwing away what
    /// still comes: a close with unread input would be a reset, and could take the last answer
    /// with it. Default 5 s.
    pub linger: Duration,
    /// How many bytes are thrown away meanwhile. Default 64 MiB.
    pub linger_bytes: u32,
    /// How long a stopping reactor waits for its connections. Default 10 s.
    pub grace: Duration,

    /// A turn that works longer than this is counted, and logged with whoever took the longest
    /// part of it. Default 100 ms.
    pub slow_turn: Duration,
    /// Records that the flight recorder keeps of what the loop did last ([`trace`](crate::trace)),
    /// rounded up to a power of two; 24 bytes of memory each, taken at the start. Default 0: it is
    /// off, and costs nothing.
    pub trace: usize,

    /// How sockets are set up.
    pub sockets: SocketOptions,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            conns_max: 1_000_000,
            conns_per_ip: None,
            when_full: WhenFull::Wait,
            accepts_max: 64,
            connects_max: 64,
            handshakes_max: 16,
            read_max: 64 << 10,
            write_max: 256 << 10,
            frames_max: 256,
            jobs_max: 256,
            timers_max: 4096,
            input_max: 1 << 20,
            output_max: 16 << 20,
            output_high: 64 << 10,
            output_low: 16 << 10,
            memory_max: 1 << 30,
            datagrams_max: 64,
            datagram_size: 65_535,
            datagrams_out_max: 1024,
            datagrams_out_bytes: 4 << 20,
            replies_per_ip: Some(1000),
            idle: None,
            first_byte: None,
            write_stall: Some(Duration::from_secs(60)),
            lifetime: None,
            connect: Some(Duration::from_secs(10)),
            handshake: Some(Duration::from_secs(10)),
            linger: Duration::from_secs(5),
            linger_bytes: 64 << 20,
            grace: Duration::from_secs(10),
            slow_turn: Duration::from_millis(100),
            trace: 0,
            sockets: SocketOptions::default(),
        }
    }
}

impl Config {
    /// One sentence about the first limit that cannot be kept, if there is one.
    pub(crate) fn check(&self) -> io::Result<()> {
        let mut wrong = None;
        let mut must = |holds: bool, says: &'static str| {
            if !holds {
                wrong.get_or_insert(says);
            }
        };
        must(self.conns_max > 0, "conns_max must be at least 1");
        must(self.conns_max < 1 << 30, "conns_max must be less than 2^30");
        must(self.conns_per_ip != Some(0), "conns_per_ip must be at least 1");
        must(self.accepts_max > 0, "accepts_max must be at least 1");
        must(self.connects_max > 0, "connects_max must be at least 1");
        must(self.handshakes_max > 0, "handshakes_max must be at least 1");
        must(self.read_max > 0, "read_max must be at least 1 byte");
        must(self.write_max > 0, "write_max must be at least 1 byte");
        must(self.frames_max > 0, "frames_max must be at least 1");
        must(self.jobs_max > 0, "jobs_max must be at least 1");
        must(self.timers_max > 0, "timers_max must be at least 1");
        must(self.memory_max > 0, "memory_max must be at least 1 byte");
        must(self.output_low <= self.output_high, "output_low must not be above output_high");
        must(self.output_high <= self.output_max, "output_high must not be above output_max");
        must(self.datagrams_max > 0, "datagrams_max must be at least 1");
        must(self.datagram_size <= 65_535, "datagram_size must be at most 65535 bytes");
        must(self.datagrams_out_max > 0, "datagrams_out_max must be at least 1");
        must(self.trace <= 1 << 30, "trace must be at most 2^30");
        match wrong {
            Some(says) => Err(io::Error::new(io::ErrorKind::InvalidInput, says)),
            None => Ok(()),
        }
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            idle: self.idle.and_then(whole_ms),
            first_byte: self.first_byte.and_then(whole_ms),
            write_stall: self.write_stall.and_then(whole_ms),
            connect: self.connect.and_then(whole_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_nonsense_is_named() {
        assert!(Config::default().check().is_ok());
        let says = |config: Config| config.check().unwrap_err().to_string();
        assert!(says(Config { read_max: 0, ..Config::default() }).contains("read_max"));
        assert!(says(Config { output_low: 99 << 20, ..Config::default() }).contains("output_low"));
        assert!(says(Config { output_max: 0, ..Config::default() }).contains("output_high"));
        assert!(says(Config { trace: usize::MAX, ..Config::default() }).contains("trace"));
    }
}
