//! The seam: everything the reactor asks of the world, and nothing else.
//!
//! [`Os`] answers with mio and real sockets; `Sim` (feature `sim`) answers with a seed. A
//! reactor is generic over [`Net`], so the code that serves real clients is, line for line, the
//! code that the simulator tests.
use std::{
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use crate::Addr;

mod os;
#[cfg(feature = "sim")]
pub mod sim;

pub use os::Os;
#[cfg(feature = "sim")]
#[doc(no_inline)]
pub use sim::{ClientId, Clock, Faults, Sim};

/// Makes [`Net::wait`] return, from any thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What an [`Event`] is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token {
    /// Another thread called the [`Wake`] function, or a watched signal came.
    Wake,
    /// Somebody outside asks the reactor to stop: a signal, such as Ctrl-C.
    Stop,
    /// The listener of that index.
    Listener(u32),
    /// The UDP socket of that index.
    Udp(u32),
    /// The connection in `slot`, if it is still the one of that `serial`.
    Conn {
        /// Index in the table of connections; reused.
        slot: u32,
        /// Which of the slot's connections; a late event for an earlier one is recognised by it.
        serial: u32,
    },
}

/// Something became possible. Told once per change, as an edge-triggered kernel does.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Who it is about.
    pub token: Token,
    /// A read would say something new.
    pub readable: bool,
    /// A write would say something new.
    pub writable: bool,
    /// More than bytes is waiting: the peer's end, an error, urgent data. A short read then does
    /// not mean that the socket is empty; reading must go on until it says so.
    pub ending: bool,
    /// The socket failed, in both directions.
    pub failed: bool,
}

impl Event {
    /// What is told, as the recorder and connections keep it.
    #[inline]
    pub(crate) fn bits(&self) -> u64 {
        let bit = |on: bool, at: u32| u64::from(on) << at;
        bit(self.readable, 0) | bit(self.writable, 1) | bit(self.ending, 2) | bit(self.failed, 3)
    }
}

/// How sockets are set up. Accepted connections have it from their listener; outbound ones as soon
/// as they have begun to connect. A UDP socket has what is not about connections.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Connections that the kernel may hold ready for `accept`. The kernel cuts it to its own
    /// limit (`net.core.somaxconn` on Linux). Default 4096.
    pub backlog: u32,
    /// `SO_REUSEPORT`: several processes may listen on one port. Default off; an error where the
    /// system has no such thing.
    pub reuse_port: bool,
    /// An IPv6 listener on `[::]` takes IPv6 alone. Default off: it takes IPv4 too.
    pub only_v6: bool,
    /// Permission bits of the file of a unix socket, as `chmod` has them, from before anybody can
    /// connect: whoever may write to it may connect. Default: what the process's umask leaves.
    pub unix_mode: Option<u32>,
    /// `TCP_NODELAY`: small answers leave at once. Default on.
    pub nodelay: bool,
    /// Ask a silent peer after this long whether it is there. Default off.
    pub keepalive: Option<Duration>,
    /// `SO_RCVBUF`, bytes. Default: the system's own, which adapts. Linux lets it take twice as
    /// much memory, and so the next: with both, the kernel's memory for all connections is at most
    /// their number times twice the sum. [`Config::memory_max`](crate::Config::memory_max) does not
    /// count it.
    pub recv_buffer: Option<usize>,
    /// `SO_SNDBUF`, bytes. Default: the system's own, which adapts.
    pub send_buffer: Option<usize>,
    /// `TCP_NOTSENT_LOWAT`, bytes: what the kernel takes beyond what the peer has room for. Little
    /// keeps memory in sight, and tells a slow reader from one who has stopped: a kernel with
    /// megabytes to give says nothing until a third of them is read. Default 32 KiB; Linux alone
    /// heeds it.
    pub unsent_max: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            backlog: 4096,
            reuse_port: false,
            only_v6: false,
            unix_mode: None,
            nodelay: true,
            keepalive: None,
            recv_buffer: None,
            send_buffer: None,
            unsent_max: Some(32 << 10),
        }
    }
}

/// A datagram that came, in the buffer that was given for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// How many bytes of it are there.
    pub size: usize,
    /// Who says that it sent it. Anybody can write anybody's address there.
    pub from: SocketAddr,
    /// It was longer than the buffer, and what did not fit is lost. Where the system does not say,
    /// one that fills the buffer counts as such: give one byte more than is wanted.
    pub truncated: bool,
}

/// The system calls and the clock.
///
/// Errors are those of the call, unchanged. No call blocks but [`wait`](Net::wait), and
/// [`pause`](Net::pause), which is for when that fails.
pub trait Net {
    /// A socket that accepts.
    type Listener;
    /// A connected socket, or one on its way. Dropping it closes it in the kernel's usual way.
    type Stream;
    /// A socket that datagrams come to and go from. Dropping it closes it.
    type Udp;

    /// A read that fills less than its buffer has emptied the socket, and a write that is taken
    /// in part has filled it: an edge will tell when that changes. Where it is `false` only
    /// `WouldBlock` says so.
    const SHORT_MEANS_DONE: bool;

    /// The reactor holds itself to its laws after every turn, as long as its table is a test's,
    /// and panics if one is broken. At first in debug builds.
    const HOLDS_TO_THE_LAWS: bool = cfg!(debug_assertions);

    /// Monotonic time since this world began.
    fn now(&mut self) -> Duration;

    /// Sleep until something happens or `timeout` has passed (`None`: for ever), and append what
    /// happened to `events`. An interrupted sleep is not an error, only a short one.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;

    /// Let that much time pass, whatever happens.
    fn pause(&mut self, time: Duration);

    /// A function that ends [`wait`](Net::wait) from any thread.
    fn waker(&mut self) -> io::Result<Wake>;

    /// Listen at `addr` (port 0 takes a free one) and tell of it under `token`.
    fn listen(
        &mut self,
        addr: &Addr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<(Self::Listener, Addr)>;

    /// Those who are queued by now are still accepted, and nobody else is wanted: whoever can be
    /// kept from coming is.
    fn retire(&mut self, _: &mut Self::Listener) {}

    /// The next connection that the kernel holds ready.
    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, Addr)>;

    /// Accept one connection only to close it, even when no descriptor is left.
    fn refuse(&mut self, listener: &mut Self::Listener) -> io::Result<()>;

    /// Begin to connect, from the local address `source` or (`None`) whichever leads there;
    /// [`connected`](Net::connected) tells how it came out.
    fn connect(
        &mut self,
        addr: &Addr,
        source: Option<IpAddr>,
        options: &SocketOptions,
    ) -> io::Result<Self::Stream>;

    /// Once per stream, both directions, edge-triggered; never changed after.
    fn watch(&mut self, stream: &mut Self::Stream, token: Token) -> io::Result<()>;

    /// `Ok` if the stream is connected, `NotConnected` if that is not decided yet, and any other
    /// error if it failed.
    fn connected(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// Take the error that the kernel keeps for this stream, if it keeps one.
    fn take_error(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// Read what is there; `Ok(0)` is the peer's end.
    fn read(&mut self, stream: &mut Self::Stream, into: &mut [u8]) -> io::Result<usize>;

    /// The same of a unix socket, and whether more may be there although less came than there was
    /// room for: what was sent with descriptors is read by itself. These are closed, unseen.
    fn read_unix(
        &mut self,
        stream: &mut Self::Stream,
        into: &mut [u8],
    ) -> io::Result<(usize, bool)> {
        Ok((self.read(stream, into)?, true))
    }

    /// Write what fits, the slices one after the other.
    fn write(&mut self, stream: &mut Self::Stream, bytes: &[IoSlice<'_>]) -> io::Result<usize>;

    /// End our half: the peer reads an end after what was written.
    fn finish(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// Close at once with a reset; what the kernel still holds is dropped.
    fn reset(&mut self, stream: Self::Stream);

    /// Take datagrams at `addr` (port 0 takes a free one) and tell of them under `token`,
    /// edge-triggered, as of all else.
    fn bind_udp(
        &mut self,
        addr: SocketAddr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<(Self::Udp, SocketAddr)>;

    /// The next datagram that the kernel holds. An error other than `WouldBlock` may be about one
    /// that was sent before (ICMP); it says nothing of the next.
    fn recv_from(&mut self, socket: &mut Self::Udp, into: &mut [u8]) -> io::Result<Received>;

    /// Give the kernel a datagram, whole or not at all.
    fn send_to(&mut self, socket: &mut Self::Udp, to: SocketAddr, bytes: &[u8]) -> io::Result<()>;
}

/// The system has run out of something that comes back by itself: descriptors, memory, buffers.
///
/// `std` gives most of these no kind of their own, so they are known by number: EMFILE, ENFILE,
/// ENOMEM and ENOBUFS (which differs between systems), and Windows' names for the same.
pub(crate) fn is_shortage(e: &io::Error) -> bool {
    let enobufs = if cfg!(any(target_os = "linux", target_os = "android")) { 105 } else { 55 };
    match e.raw_os_error() {
        Some(12 | 23 | 24) if cfg!(unix) => true,
        Some(10024 | 10055) if cfg!(windows) => true,
        Some(code) => cfg!(unix) && code == enobufs,
        None => e.kind() == io::ErrorKind::OutOfMemory,
    }
}

/// The listener itself is of no use any more, says the system: EBADF, EINVAL.
pub(crate) fn is_dead_listener(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(9 | 22 | 10009 | 10022))
}
