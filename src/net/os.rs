//! The real world, by way of mio. The only file, with the one below it, that names mio, socket2,
//! rustix, nix and the real clock.
#[cfg(all(target_os = "linux", feature = "fine-sleep"))]
use std::num::NonZeroU64;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::{
    fmt, fs,
    io::{self, IoSlice},
    net::{IpAddr, Shutdown, SocketAddr},
    sync::Arc,
    thread,
    time::Duration,
};

#[cfg(unix)]
use mio::net::UnixListener;
use mio::{
    Events, Interest, Poll,
    net::{TcpListener, TcpStream, UdpSocket},
};
#[cfg(all(target_os = "linux", feature = "fine-sleep"))]
use rustix::{
    event::{PollFd, PollFlags},
    io::Errno,
};
#[cfg(target_os = "linux")]
use rustix::{
    net::{RecvFlags, SendAncillaryBuffer, SendFlags},
    time::{ClockId, Timespec, clock_gettime},
};
#[cfg(target_os = "linux")]
use socket2::SockFilter;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::Addr;

use super::{Event, Net, Received, SocketOptions, Token, Wake};

#[cfg(unix)]
mod unix;

/// Events taken from the kernel in one [`wait`](Net::wait); the rest come with the next.
const EVENTS_MAX: usize = 1024;

/// The longest sleep; whoever wants more sleeps again.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Up to here a fine sleep is slept whole. The kernel may be late by a thousandth of the sleep, or
/// five thousandths for who is nice, so the beginning of a longer one is slept by itself.
#[cfg(all(target_os = "linux", feature = "fine-sleep"))]
const FINE_MAX: Duration = Duration::from_millis(8);

/// Real sockets and the real clock.
pub struct Os {
    poll: Poll,
    events: Events,
    start: Clock,
    waker: Option<Arc<mio::Waker>>,
    /// Held so that one connection can be taken, and closed, when no other descriptor is left.
    spare: Option<fs::File>,
    #[cfg(all(target_os = "linux", feature = "fine-sleep"))]
    fine: bool,
    #[cfg(all(unix, feature = "signals"))]
    signals: Option<signal_hook_mio::v1_0::Signals>,
    #[cfg(all(unix, feature = "signals"))]
    stops: Option<signal_hook_mio::v1_0::Signals>,
}

impl fmt::Debug for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Os").field("poll", &self.poll).finish_non_exhaustive()
    }
}

impl Os {
    /// A new `Poll`, and the clock at zero.
    ///
    /// # Errors
    /// What the kernel says when it has no descriptor for it.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            start: Clock::now(),
            waker: None,
            spare: open_spare(),
            #[cfg(all(target_os = "linux", feature = "fine-sleep"))]
            fine: false,
            #[cfg(all(unix, feature = "signals"))]
            signals: None,
            #[cfg(all(unix, feature = "signals"))]
            stops: None,
        })
    }

    /// [`listen`](Net::listen) at a socket that somebody else has made.
    pub(crate) fn adopt(
        &mut self,
        socket: impl Into<Socket>,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<(Listener, Addr)> {
        let socket = socket.into();
        let wrong = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if socket.r#type()? != Type::STREAM {
            return wrong("it is no stream of bytes");
        }
        if !listens(&socket)? {
            return wrong("it does not listen");
        }
        socket.set_nonblocking(true)?;
        let addr = socket.local_addr()?;
        let (door, addr) = match addr.as_socket() {
            Some(addr) => {
                set_options(&SockRef::from(&socket), options)?;
                (Door::Tcp(TcpListener::from_std(socket.into())), addr.into())
            }
            // Its file is whoever's who made it.
            #[cfg(unix)]
            None if addr.is_unix() => {
                let socket = UnixListener::from_std(socket.into());
                (Door::Unix(None, socket), unix::name_of(&addr).into())
            }
            None => return wrong("it is neither of TCP nor a unix socket"),
        };
        let (listener, addr) = self.watch_door(door, addr, options, token)?;
        Ok((Listener { is_lent: true, ..listener }, addr))
    }

    fn watch_door(
        &mut self,
        mut socket: Door,
        addr: Addr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<(Listener, Addr)> {
        let (registry, token) = (self.poll.registry(), pack(token));
        match &mut socket {
            Door::Tcp(socket) => registry.register(socket, token, Interest::READABLE)?,
            #[cfg(unix)]
            Door::Unix(_, socket) => registry.register(socket, token, Interest::READABLE)?,
        }
        Ok((Listener { socket, is_lent: false, options: options.clone() }, addr))
    }

    /// Whether sleeps end within some tens of microseconds of their time (on an idle machine),
    /// instead of with a whole millisecond; at first they do not. Costs a system call a sleep.
    ///
    /// To be called on the thread that turns the loop: its timer slack becomes one nanosecond, or
    /// what the thread began with. Elsewhere than on Linux this does nothing.
    #[cfg(feature = "fine-sleep")]
    pub fn sleep_finely(&mut self, on: bool) {
        #[cfg(target_os = "linux")]
        {
            self.fine = on;
            let slack = on.then_some(NonZeroU64::MIN);
            if let Err(e) = rustix::thread::set_current_timer_slack(slack) {
                log::debug!("the timer slack stays as it is: {e}");
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = on;
    }

    /// Sleep as `timeout` says, if that is to be finer than mio can: it takes whole milliseconds,
    /// rounded up. What is left for mio to sleep comes back.
    #[cfg(all(target_os = "linux", feature = "fine-sleep"))]
    fn doze(&self, timeout: Option<Duration>) -> io::Result<Option<Duration>> {
        let Some(sleep) = timeout.filter(|sleep| self.fine && !sleep.is_zero()) else {
            return Ok(timeout);
        };
        if sleep > FINE_MAX {
            return Ok(Some(sleep * 3 / 4)); // with the millisecond of mio's, still too short
        }
        let mut fds = [PollFd::new(self.poll.registry(), PollFlags::IN)];
        let sleep = Timespec { tv_sec: 0, tv_nsec: sleep.subsec_nanos().into() };
        match rustix::event::poll(&mut fds, Some(&sleep)) {
            Ok(_) | Err(Errno::INTR) => Ok(Some(Duration::ZERO)),
            Err(e) => Err(e.into()),
        }
    }

    #[cfg(not(all(target_os = "linux", feature = "fine-sleep")))]
    fn doze(&self, timeout: Option<Duration>) -> io::Result<Option<Duration>> {
        Ok(timeout)
    }

    /// From now on these signals end a sleep of the loop instead of what they did before;
    /// [`take_signals`](Os::take_signals) says which came. No thread is started.
    ///
    /// # Errors
    /// A signal that must not be caught, or no descriptor left.
    #[cfg(all(unix, feature = "signals"))]
    pub fn watch_signals(&mut self, signals: &[i32]) -> io::Result<()> {
        let mut source = signal_hook_mio::v1_0::Signals::new(signals)?;
        self.poll.registry().register(&mut source, pack(Token::Wake), Interest::READABLE)?;
        self.signals = Some(source);
        Ok(())
    }

    /// The watched signals that came since the last call, each at most once.
    #[cfg(all(unix, feature = "signals"))]
    pub fn take_signals(&mut self) -> Vec<i32> {
        self.signals.as_mut().map(|signals| signals.pending().collect()).unwrap_or_default()
    }

    /// From now on SIGTERM and SIGINT (Ctrl-C) stop the reactor, as
    /// [`Hub::stop`](crate::Hub::stop) does: the first in good order, a second one at once. To be
    /// called before anybody is told that there is a server, so that whoever then stops it stops it
    /// well. No thread is started, and from now on these signals do nothing else. Where there are
    /// none, nothing changes.
    ///
    /// # Errors
    /// No descriptor left.
    #[cfg(feature = "signals")]
    pub fn stop_at_signals(&mut self) -> io::Result<()> {
        #[cfg(unix)]
        {
            let stops = [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT];
            let mut source = signal_hook_mio::v1_0::Signals::new(stops)?;
            // What it holds is never taken out: each signal is an edge, and after the second there
            // is nothing more to be asked for.
            self.poll.registry().register(&mut source, pack(Token::Stop), Interest::READABLE)?;
            self.stops = Some(source);
        }
        Ok(())
    }
}

/// The monotonic clock. What std has does the same in twice as many steps, and the loop asks after
/// each connection that it serves.
#[cfg(target_os = "linux")]
struct Clock(Timespec);

#[cfg(target_os = "linux")]
impl Clock {
    fn now() -> Self {
        Self(clock_gettime(ClockId::Monotonic))
    }

    #[inline]
    fn elapsed(&self) -> Duration {
        const SECOND: i64 = 1_000_000_000;
        let now = clock_gettime(ClockId::Monotonic);
        let (mut secs, mut nanos) = (now.tv_sec - self.0.tv_sec, now.tv_nsec - self.0.tv_nsec);
        if nanos < 0 {
            (secs, nanos) = (secs - 1, nanos + SECOND);
        }
        Duration::new(secs as u64, nanos as u32)
    }
}

#[cfg(not(target_os = "linux"))]
type Clock = std::time::Instant;

fn open_spare() -> Option<fs::File> {
    fs::File::open(if cfg!(windows) { "NUL" } else { "/dev/null" }).ok()
}

/// [`Token::Stop`]'s: a number that no slot has.
const STOP: u32 = u32::MAX - 1;

/// Wake is 0, connections are even, with the serial in the upper half; listeners and UDP sockets
/// take turns at the odd numbers. Where a `usize` has 32 bits the serial is cut off, and with it
/// the recognition of late events.
fn pack(token: Token) -> mio::Token {
    let (tag, serial) = match token {
        Token::Wake => (0, 0),
        Token::Stop => (u64::from(STOP), 0),
        Token::Listener(index) => (1 + 4 * u64::from(index), 0),
        Token::Udp(index) => (3 + 4 * u64::from(index), 0),
        Token::Conn { slot, serial } => (2 + 2 * u64::from(slot), u64::from(serial)),
    };
    debug_assert!(tag <= u64::from(u32::MAX));
    mio::Token((serial << 32 | tag) as usize)
}

fn unpack(token: mio::Token) -> Token {
    let (serial, tag) = ((token.0 as u64 >> 32) as u32, token.0 as u32);
    match tag {
        0 => Token::Wake,
        STOP => Token::Stop,
        tag if tag % 4 == 1 => Token::Listener(tag / 4),
        tag if tag % 4 == 3 => Token::Udp(tag / 4),
        tag => Token::Conn { slot: tag / 2 - 1, serial },
    }
}

/// Urgent data stops a read short of what lies behind it, so its edge is wanted too.
fn interest() -> Interest {
    let both = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return both | Interest::PRIORITY;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    both
}

fn note(event: &mio::event::Event) -> Event {
    // Both halves closed is no failure: that is how every good end looks.
    let failed = event.is_error();
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let urgent = event.is_priority();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let urgent = false;
    let ending = event.is_read_closed() || failed || urgent;
    Event {
        token: unpack(event.token()),
        readable: event.is_readable() || ending,
        writable: event.is_writable() || event.is_write_closed() || failed,
        ending,
        failed,
    }
}

fn set_options(socket: &SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(idle) = options.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    }
    set_buffers(socket, options)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(size) = options.unsent_max {
        socket.set_tcp_notsent_lowat(u32::try_from(size).unwrap_or(u32::MAX))?;
    }
    Ok(())
}

fn set_buffers(socket: &SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    if let Some(size) = options.recv_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    if let Some(size) = options.send_buffer {
        socket.set_send_buffer_size(size)?;
    }
    Ok(())
}

#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))))]
fn set_reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(all(
    unix,
    not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))
)))]
fn set_reuse_port(_: &Socket) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no SO_REUSEPORT"))
}

#[cfg(any(target_os = "android", target_os = "freebsd", target_os = "linux"))]
fn listens(socket: &Socket) -> io::Result<bool> {
    socket.is_listener()
}

/// The first `accept` will say.
#[cfg(not(any(target_os = "android", target_os = "freebsd", target_os = "linux")))]
fn listens(_: &Socket) -> io::Result<bool> {
    Ok(true)
}

/// A filter (BPF) for a listening socket, which lets no segment in that begins a connection.
/// Whoever sends it hears nothing, and tries again in a second: by then it is refused, or finds
/// somebody else at the port. Let in after the last accept, it would be reset with the socket.
#[cfg(target_os = "linux")]
const NOBODY_NEW: [SockFilter; 5] = {
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    [
        SockFilter::new(0x30, 0, 0, 13), // load byte 13 of the TCP header, the flags
        SockFilter::new(0x54, 0, 0, SYN | ACK), // of which only these two matter
        SockFilter::new(0x15, 0, 1, SYN), // if they are other than SYN alone, skip one
        SockFilter::new(0x06, 0, 0, 0),  // drop it
        SockFilter::new(0x06, 0, 0, u32::MAX), // take all of it
    ]
};

#[cfg(target_os = "linux")]
fn let_nobody_in(socket: &TcpListener) {
    // Where that fails, who comes just before the end is reset.
    if let Err(e) = SockRef::from(socket).attach_filter(&NOBODY_NEW) {
        log::debug!("the kernel cannot be told to let nobody in: {e}");
    }
}

#[cfg(not(target_os = "linux"))]
fn let_nobody_in(_: &TcpListener) {}

/// A socket that listens and is known to nobody yet.
fn listen_tcp(addr: SocketAddr, options: &SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    set_options(&SockRef::from(&socket), options)?;
    // On Windows this would let another program take the port away.
    socket.set_reuse_address(cfg!(unix))?;
    if options.reuse_port {
        set_reuse_port(&socket)?;
    }
    if addr.is_ipv6() {
        socket.set_only_v6(options.only_v6)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(TcpListener::from_std(socket.into()))
}

fn connect_tcp(
    addr: SocketAddr,
    source: Option<IpAddr>,
    options: &SocketOptions,
) -> io::Result<TcpStream> {
    let stream = match source {
        None => TcpStream::connect(addr)?,
        Some(source) => connect_from(addr, source)?,
    };
    set_options(&SockRef::from(&stream), options)?;
    Ok(stream)
}

/// What mio's `connect` does, which knows no source.
fn connect_from(addr: SocketAddr, source: IpAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    choose_port_late(&socket);
    socket.bind(&SocketAddr::new(source, 0).into())?;
    match socket.connect(&addr.into()) {
        Err(e) if !is_on_its_way(&e) => Err(e),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// A port that is chosen by `bind` is nobody else's, wherever it leads, and for a minute after; one
/// that is chosen by `connect` is only not to lead to the same place twice.
#[cfg(all(target_os = "linux", feature = "late-ports"))]
fn choose_port_late(socket: &Socket) {
    use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
    if let Err(e) = setsockopt(socket, IpBindAddressNoPort, &true) {
        log::debug!("a port is chosen early: {e}"); // older than Linux 4.2
    }
}

#[cfg(not(all(target_os = "linux", feature = "late-ports")))]
fn choose_port_late(_: &Socket) {}

/// EINPROGRESS has no kind: 115 on Linux (150 on MIPS), 36 on BSD and macOS. Windows would block.
fn is_on_its_way(e: &io::Error) -> bool {
    match e.raw_os_error() {
        Some(115 | 150) => cfg!(any(target_os = "linux", target_os = "android")),
        Some(36) => cfg!(not(any(target_os = "linux", target_os = "android"))),
        _ => cfg!(windows) && e.kind() == io::ErrorKind::WouldBlock,
    }
}

/// `recv`, without a call into the C library. After a system call the processor no longer knows
/// where the functions around it return to, and finds out the slow way: `docs/speed.md`.
#[cfg(target_os = "linux")]
#[inline]
fn recv(stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::net::recv(stream, into, RecvFlags::empty())?.0)
}

/// `send`, as [`recv`].
#[cfg(target_os = "linux")]
#[inline]
fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(stream, bytes, SendFlags::NOSIGNAL)?)
}

/// The same of several: `writev` would raise a signal where the peer is gone.
#[cfg(target_os = "linux")]
fn send_vectored(stream: &mut TcpStream, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut nothing_else = SendAncillaryBuffer::default();
    Ok(rustix::net::sendmsg(stream, bytes, &mut nothing_else, SendFlags::NOSIGNAL)?)
}

/// With TRUNC the size that is returned is the datagram's own.
#[cfg(target_os = "linux")]
fn recv_from(socket: &UdpSocket, into: &mut [u8]) -> io::Result<Received> {
    let (_, size, from) = rustix::net::recvfrom(socket, &mut *into, RecvFlags::TRUNC)?;
    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
    let from = from.ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(Received { size: size.min(into.len()), from, truncated: size > into.len() })
}

#[cfg(target_os = "linux")]
fn send_to(socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    rustix::net::sendto(socket, bytes, SendFlags::empty(), &to)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn recv_from(socket: &UdpSocket, into: &mut [u8]) -> io::Result<Received> {
    let (size, from) = socket.recv_from(into)?;
    Ok(Received { size, from, truncated: size == into.len() })
}

#[cfg(not(target_os = "linux"))]
fn send_to(socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    socket.send_to(bytes, to).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn recv(stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
    io::Read::read(stream, into)
}

#[cfg(not(target_os = "linux"))]
fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    io::Write::write(stream, bytes)
}

#[cfg(not(target_os = "linux"))]
fn send_vectored(stream: &mut TcpStream, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
    io::Write::write_vectored(stream, bytes)
}

#[cfg(unix)]
#[inline(never)]
fn accept_unix(socket: &UnixListener, options: &SocketOptions) -> io::Result<(TcpStream, Addr)> {
    let (stream, addr) = unix::accept(socket)?;
    set_buffers(&SockRef::from(&stream), options)?;
    Ok((stream.into(), addr.into()))
}

#[cfg(not(unix))]
fn no_unix_sockets() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "unix sockets are not for this system")
}

impl Net for Os {
    type Listener = Listener;
    // Of a unix socket too: what is asked of a stream here (send, receive, end, register) is the
    // same call for both, and one type is four bytes for each connection less than two.
    type Stream = TcpStream;
    type Udp = UdpSocket;

    // epoll and kqueue tell of every change; mio's Windows must hear `WouldBlock` first.
    const SHORT_MEANS_DONE: bool = cfg!(unix);

    #[inline]
    fn now(&mut self) -> Duration {
        self.start.elapsed()
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        // mio passes it on, and Darwin refuses a sleep of years.
        let timeout = self.doze(timeout.map(|timeout| timeout.min(SLEEP_MAX)))?;
        match self.poll.poll(&mut self.events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        events.extend(self.events.iter().map(note));
        Ok(())
    }

    fn pause(&mut self, time: Duration) {
        thread::sleep(time);
    }

    fn waker(&mut self) -> io::Result<Wake> {
        // mio allows one waker a poll; every caller shares it.
        let waker = match &self.waker {
            Some(waker) => waker.clone(),
            None => {
                let waker = mio::Waker::new(self.poll.registry(), pack(Token::Wake))?;
                self.waker.insert(Arc::new(waker)).clone()
            }
        };
        Ok(Arc::new(move || {
            if let Err(e) = waker.wake() {
                log::error!("the loop cannot be woken: {e}");
            }
        }))
    }

    fn listen(
        &mut self,
        addr: &Addr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<(Listener, Addr)> {
        let (socket, addr) = match addr {
            Addr::Ip(addr) => {
                let socket = listen_tcp(*addr, options)?;
                let addr = socket.local_addr()?.into();
                (Door::Tcp(socket), addr)
            }
            #[cfg(unix)]
            Addr::Unix(addr) => {
                let (socket, file) = unix::listen(addr, options)?;
                (Door::Unix(file, UnixListener::from_std(socket.into())), addr.clone().into())
            }
            #[cfg(not(unix))]
            Addr::Unix(_) => return Err(no_unix_sockets()),
        };
        self.watch_door(socket, addr, options, token)
    }

    fn retire(&mut self, listener: &mut Listener) {
        match &mut listener.socket {
            Door::Tcp(_) if listener.is_lent => {}
            Door::Tcp(socket) => let_nobody_in(socket),
            #[cfg(unix)]
            Door::Unix(file, _) => *file = None,
        }
    }

    #[inline]
    fn accept(&mut self, listener: &mut Listener) -> io::Result<(TcpStream, Addr)> {
        let Listener { socket, options, .. } = listener;
        match socket {
            Door::Tcp(socket) => {
                let (stream, addr) = socket.accept()?;
                // Linux' accepted sockets have their listener's options: no call is needed.
                if !cfg!(target_os = "linux") {
                    set_options(&SockRef::from(&stream), options)?;
                }
                Ok((stream, addr.into()))
            }
            #[cfg(unix)]
            Door::Unix(_, socket) => accept_unix(socket, options),
        }
    }

    fn refuse(&mut self, listener: &mut Listener) -> io::Result<()> {
        drop(self.spare.take());
        let accepted = match &listener.socket {
            Door::Tcp(socket) => socket.accept().map(drop),
            #[cfg(unix)]
            Door::Unix(_, socket) => socket.accept().map(drop),
        };
        self.spare = open_spare();
        accepted
    }

    fn connect(
        &mut self,
        addr: &Addr,
        source: Option<IpAddr>,
        options: &SocketOptions,
    ) -> io::Result<TcpStream> {
        match addr {
            Addr::Ip(addr) => connect_tcp(*addr, source, options),
            #[cfg(unix)]
            Addr::Unix(addr) => {
                let socket = unix::connect(addr)?;
                set_buffers(&SockRef::from(&socket), options)?;
                Ok(OwnedFd::from(socket).into())
            }
            #[cfg(not(unix))]
            Addr::Unix(_) => Err(no_unix_sockets()),
        }
    }

    fn watch(&mut self, stream: &mut TcpStream, token: Token) -> io::Result<()> {
        self.poll.registry().register(stream, pack(token), interest())
    }

    fn connected(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        // A socket that is writable may have failed, or not be decided yet.
        self.take_error(stream)?;
        // Not what std has for it: that wants an address of the internet.
        SockRef::from(&*stream).peer_addr().map(drop)
    }

    fn take_error(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        stream.take_error()?.map_or(Ok(()), Err)
    }

    #[inline]
    fn read(&mut self, stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
        recv(stream, into)
    }

    #[cfg(target_os = "linux")]
    fn read_unix(&mut self, stream: &mut TcpStream, into: &mut [u8]) -> io::Result<(usize, bool)> {
        unix::recv(stream, into)
    }

    #[inline]
    fn write(&mut self, stream: &mut TcpStream, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        match bytes {
            [bytes] => send(stream, bytes),
            bytes => send_vectored(stream, bytes),
        }
    }

    fn finish(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        stream.shutdown(Shutdown::Write)
    }

    fn reset(&mut self, stream: TcpStream) {
        // The reset is a courtesy to the kernel's memory; a plain close serves as well.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }

    fn bind_udp(
        &mut self,
        addr: SocketAddr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<(UdpSocket, SocketAddr)> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if let Some(size) = options.recv_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        if let Some(size) = options.send_buffer {
            socket.set_send_buffer_size(size)?;
        }
        // No SO_REUSEADDR: with datagrams it would let another program take the port away.
        if options.reuse_port {
            set_reuse_port(&socket)?;
        }
        if addr.is_ipv6() {
            socket.set_only_v6(options.only_v6)?;
        }
        socket.bind(&addr.into())?;
        let mut socket = UdpSocket::from_std(socket.into());
        self.poll.registry().register(&mut socket, pack(token), Interest::READABLE)?;
        let addr = socket.local_addr()?;
        Ok((socket, addr))
    }

    fn recv_from(&mut self, socket: &mut UdpSocket, into: &mut [u8]) -> io::Result<Received> {
        recv_from(socket, into)
    }

    fn send_to(&mut self, socket: &mut UdpSocket, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        send_to(socket, to, bytes)
    }
}

/// A listening socket, with what connections accepted from it should be like.
#[derive(Debug)]
pub struct Listener {
    socket: Door,
    /// Others may listen at it too, now or later.
    is_lent: bool,
    options: SocketOptions,
}

#[derive(Debug)]
enum Door {
    Tcp(TcpListener),
    /// The file is first, to be dropped first.
    #[cfg(unix)]
    Unix(Option<unix::SocketFile>, UnixListener),
}
