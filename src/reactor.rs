//! The wheel. Read [`Reactor::turn_within`] first: it is a list of verbs, each a function below.
//!
//! Two things keep it honest. Readiness is only noted when it is told, as bits on connections;
//! what a connection does is decided from its state by `Conn::has_work`, and whoever has work is
//! in a queue. And slots are freed in one place, at the end of a turn, so that nothing in a turn
//! can meet a stranger under a name it knows.
use std::{
    fmt, io, mem,
    net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs},
    time::Duration,
};

use log::{debug, error, info, warn};

use crate::{
    Fault, Result,
    addr::Addr,
    buf::Buf,
    config::{Config, WhenFull},
    conn::{Conn, Due, Ours, Reason, State, stamp, stamp_now},
    handle::{self, Handle, Jobs},
    hub::{ConnId, Dial, Ended, Hub, ListenerId, Stopping},
    input::Input,
    layer::{Layer, Layered, Next, Origin},
    logging::Throttle,
    net::{self, Event, Net, Os, SocketOptions, Token},
    peer::Peer,
    protocol::Protocol,
    timers::Step,
    trace::What,
};

mod datagrams;

pub use datagrams::Bound;
use datagrams::Udp;

/// How long accepting, reading or writing waits when the system is short of something. Sooner
/// would be a busy loop; later, and whoever waits would notice.
const SHORTAGE_MS: u64 = 10;

/// How long the system may fail in a way that it never should before it is believed: what is given
/// up then does not come back.
const DISBELIEF: Duration = Duration::from_secs(5);

/// Those who had much are served at least this long before the kernel is asked again who else is
/// ready: what that costs is little beside it.
const SHARE_MIN: Duration = Duration::from_micros(25);

/// Those that are over are closed at least this long.
const CLOSES_MIN: Duration = Duration::from_millis(1);

/// Connections looked at in one turn while stopping.
const SWEEP_MAX: u32 = 1024;

/// How long a stop waits for the first words of a connection that has just come. A client that
/// connects and asks at once must not be shown out between the two.
const FIRST_WORDS_MS: i32 = 500;

/// An event loop that serves one [`Protocol`] on the thread that runs it.
///
/// ```
/// # use charkh::{Input, Peer, Protocol, Reactor, Result};
/// # struct Echo;
/// # impl Protocol for Echo {
/// #     type Session = ();
/// #     fn open(&mut self, _: &mut Peer) {}
/// #     fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
/// #         peer.send(input.take_all());
/// #         Ok(())
/// #     }
/// # }
/// let mut reactor = Reactor::new(Echo)?;
/// let listening = reactor.listen("127.0.0.1:0")?;
/// println!("listening on {}", listening.addr);
/// # reactor.hub().stop();
/// let echo = reactor.run()?; // until somebody stops it
/// # std::io::Result::Ok(())
/// ```
pub struct Reactor<P: Protocol, N: Net = Os> {
    protocol: P,
    hub: Hub,
    net: N,
    // What callbacks cannot touch, under the same slot numbers as `hub.conns`.
    streams: Vec<Option<N::Stream>>,
    sessions: Vec<Option<P::Session>>,
    listeners: Vec<Listener<N::Listener>>,
    udp: Vec<Udp<N::Udp>>,
    events: Vec<Event>,
    jobs: Jobs<P>,
    handle: Handle<P>,
    /// Every read lands here first; only what a protocol leaves is copied.
    scratch: Box<[u8]>,
    /// What layers make of it.
    plain: Vec<u8>,
    /// Every datagram lands here.
    datagram: Vec<u8>,
    /// Until then nothing is accepted: the system is short of something.
    accept_at: Option<u64>,
    /// The listener that comes first in the next turn.
    accept_first: usize,
    /// Connections that met such a shortage, to be tried again then.
    starved: Vec<ConnId>,
    starved_at: Option<u64>,
    /// Since then the poll does nothing but fail.
    poll_fails_since: Option<Duration>,
    watch: Watch,
    complaints: Complaints,
}

struct Listener<L> {
    /// `None` once it is closed.
    socket: Option<L>,
    addr: Addr,
    /// Accepting may bring something: kept until the kernel says that it would not.
    ready: bool,
    /// Somebody may be waiting because there was no room.
    full: bool,
    /// Since then the system says nothing but that this is no listener.
    dead_since: Option<Duration>,
    layer: Option<LayerMaker>,
}

type LayerMaker = Box<dyn FnMut(&Addr) -> Result<Box<dyn Layer>>>;

/// A listener, and where it came to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listening {
    /// What [`Peer::listener`] says of connections that come by it.
    pub id: ListenerId,
    /// The address, with the port that was found for port 0.
    pub addr: Addr,
}

impl<P: Protocol> Reactor<P> {
    /// On real sockets, with the default limits.
    ///
    /// # Errors
    /// No descriptor for a poll.
    pub fn new(protocol: P) -> io::Result<Self> {
        Self::with(protocol, Os::new()?, Config::default())
    }

    /// On real sockets.
    ///
    /// # Errors
    /// No descriptor for a poll, or limits that contradict each other.
    pub fn with_config(protocol: P, config: Config) -> io::Result<Self> {
        Self::with(protocol, Os::new()?, config)
    }

    /// Listen at a socket that listens already: one that a service manager made, or the version of
    /// this program before this one. Its address, its backlog and whether its port is shared are
    /// whoever's who made it. That it does not block and what is accepted from it
    /// ([`Config::sockets`]) are ours from now on, for all who hold it.
    ///
    /// Several processes may hold one socket, and whoever accepts first has the connection. When
    /// the last lets go of it, those who wait in its queue are refused; so the next takes it before
    /// this one [stops](Hub::stop).
    ///
    /// ```
    /// # use charkh::{Input, Peer, Protocol, Reactor, Result};
    /// # struct Echo;
    /// # impl Protocol for Echo {
    /// #     type Session = ();
    /// #     fn open(&mut self, _: &mut Peer) {}
    /// #     fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
    /// #         peer.send(input.take_all());
    /// #         Ok(())
    /// #     }
    /// # }
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let addr = socket.local_addr()?;
    /// let mut reactor = Reactor::new(Echo)?;
    /// assert_eq!(reactor.listen_on(socket)?.addr, addr);
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for a socket that does not listen, or is no stream; what the system says.
    pub fn listen_on(&mut self, socket: TcpListener) -> io::Result<Listening> {
        self.add_listener(|net, options, token| net.adopt(socket, options, token))
    }

    /// [`listen_on`](Reactor::listen_on) a unix socket. Its file is left to whoever made it.
    ///
    /// # Errors
    /// Those of [`listen_on`](Reactor::listen_on).
    #[cfg(unix)]
    pub fn listen_on_unix(
        &mut self,
        socket: std::os::unix::net::UnixListener,
    ) -> io::Result<Listening> {
        self.add_listener(|net, options, token| net.adopt(socket, options, token))
    }
}

impl<P: Protocol, N: Net> Reactor<P, N> {
    /// In the world of your choice.
    ///
    /// # Errors
    /// Limits that contradict each other, or a world that cannot be woken.
    pub fn with(protocol: P, mut net: N, config: Config) -> io::Result<Self> {
        config.check()?;
        let (handle, jobs) = handle::channel(net.waker()?);
        let scratch = vec![0; config.read_max].into_boxed_slice();
        Ok(Self {
            protocol,
            hub: Hub::new(config, net.now()),
            net,
            streams: Vec::new(),
            sessions: Vec::new(),
            listeners: Vec::new(),
            udp: Vec::new(),
            events: Vec::new(),
            jobs,
            handle,
            scratch,
            plain: Vec::new(),
            datagram: Vec::new(),
            accept_at: None,
            accept_first: 0,
            starved: Vec::new(),
            starved_at: None,
            poll_fails_since: None,
            watch: Watch::default(),
            complaints: Complaints::default(),
        })
    }

    /// Listen at the first address that `addr` resolves to and that can be listened at.
    ///
    /// # Errors
    /// That of the last address tried, or `InvalidInput` if there was none.
    pub fn listen(&mut self, addr: impl ToSocketAddrs) -> io::Result<Listening> {
        at_first(addr, |addr| self.listen_at(addr))
    }

    /// Listen at every address that `addr` resolves to. Those of a family that this machine does
    /// not have are left out, as long as one is left. Port 0 takes a free port for each.
    ///
    /// # Errors
    /// Any other failure, of any address; none is listened at then.
    pub fn listen_all(&mut self, addr: impl ToSocketAddrs) -> io::Result<Vec<Listening>> {
        let before = self.listeners.len();
        let found = at_each(addr, |addr| self.listen_at(addr));
        found.inspect_err(|_| self.listeners.truncate(before))
    }

    /// Listen at this one, which may be a unix socket. The file of one is made here, in place of
    /// one that a server has left behind who listens no more; what is listened at, and what is no
    /// socket, is never replaced. It is removed when this reactor stops or is dropped, unless
    /// another has taken its place.
    ///
    /// ```
    /// # use charkh::{Input, Peer, Protocol, Reactor, Result, UnixAddr};
    /// # struct Echo;
    /// # impl Protocol for Echo {
    /// #     type Session = ();
    /// #     fn open(&mut self, _: &mut Peer) {}
    /// #     fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
    /// #         peer.send(input.take_all());
    /// #         Ok(())
    /// #     }
    /// # }
    /// # #[cfg(unix)] {
    /// # let path = std::env::temp_dir().join(format!("charkh.{}", std::process::id()));
    /// let mut reactor = Reactor::new(Echo)?;
    /// reactor.listen_at(UnixAddr::path(path))?; // such as "/run/echo.sock"
    /// # }
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `AddrInUse`: another server listens there. `AlreadyExists`: there is something else of that
    /// name. `InvalidInput`: a path of more than 107 bytes. All that the system says.
    pub fn listen_at(&mut self, addr: impl Into<Addr>) -> io::Result<Listening> {
        let addr = addr.into();
        self.add_listener(|net, options, token| net.listen(&addr, options, token))
    }

    fn add_listener(
        &mut self,
        open: impl FnOnce(&mut N, &SocketOptions, Token) -> io::Result<(N::Listener, Addr)>,
    ) -> io::Result<Listening> {
        let index = self.listeners.len();
        let id = ListenerId(u16::try_from(index).ok().filter(|&id| id != Conn::OUTBOUND).ok_or(
            io::Error::new(io::ErrorKind::InvalidInput, "more listeners than can be named"),
        )?);
        let token = Token::Listener(index as u32);
        let (socket, addr) = open(&mut self.net, &self.hub.config.sockets, token)?;
        let socket = Some(socket);
        debug!("listening on {addr}");
        let listening = Listening { id, addr: addr.clone() };
        let (ready, full, dead_since, layer) = (false, false, None, None);
        self.listeners.push(Listener { socket, addr, ready, full, dead_since, layer });
        Ok(listening)
    }

    /// Put a fresh [`Layer`] on every connection that comes by this listener from now on, made by
    /// this function of the peer's address. If that is an error, the connection is closed, before
    /// anything is read from it ([`Stats::refused_by_layer`](crate::Stats::refused_by_layer)).
    ///
    /// # Panics
    /// If this reactor has no such listener.
    pub fn layer(
        &mut self,
        listener: ListenerId,
        make: impl FnMut(&Addr) -> Result<Box<dyn Layer>> + 'static,
    ) {
        self.listeners[usize::from(listener.0)].layer = Some(Box::new(make));
    }

    /// Turn until stopped and empty; then give the protocol back.
    ///
    /// # Errors
    /// Those of [`turn`](Reactor::turn).
    pub fn run(mut self) -> io::Result<P> {
        while !self.is_done() {
            self.turn()?;
        }
        Ok(self.into_protocol())
    }

    /// One turn of the wheel: sleep until there is something to do, and do a bounded part of it.
    ///
    /// # Errors
    /// Only if the kernel's poll itself has failed for five seconds without a success;
    /// [`run`](Reactor::run) then ends without a call of `closed`. No error of a connection comes
    /// out here.
    pub fn turn(&mut self) -> io::Result<()> {
        self.turn_within(Duration::MAX)
    }

    /// [`turn`](Reactor::turn), with a sleep of at most this long: for those who have something
    /// to do beside it.
    ///
    /// # Errors
    /// Those of [`turn`](Reactor::turn).
    pub fn turn_within(&mut self, sleep_max: Duration) -> io::Result<()> {
        self.sleep(sleep_max)?;
        self.note_readiness();
        self.run_jobs();
        self.fire_timers();
        self.drain();
        self.accept();
        self.connect();
        self.receive_datagrams();
        self.serve();
        self.release();
        self.send_datagrams();
        self.end_turn();
        Ok(())
    }

    /// A way in for other threads.
    pub fn handle(&self) -> Handle<P> {
        self.handle.clone()
    }

    /// The table of connections.
    pub fn hub(&mut self) -> &mut Hub {
        &mut self.hub
    }

    /// The protocol.
    pub fn protocol(&mut self) -> &mut P {
        &mut self.protocol
    }

    /// The world.
    pub fn net(&mut self) -> &mut N {
        &mut self.net
    }

    /// Give the protocol back. Whatever is still open is closed, and `closed` is not called for
    /// it.
    pub fn into_protocol(self) -> P {
        self.protocol
    }

    /// Stopped, and nobody left.
    pub fn is_done(&self) -> bool {
        self.is_drained() && self.udp_is_closed()
    }

    /// Stopped, and nobody is connected or will be.
    fn is_drained(&self) -> bool {
        self.hub.is_stopping()
            && self.hub.is_empty()
            && self.listeners.iter().all(|listener| listener.socket.is_none())
    }
}

/// What comes of the first address that something comes of.
fn at_first<T>(
    addr: impl ToSocketAddrs,
    mut at: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut failed = no_address();
    for addr in addr.to_socket_addrs()? {
        match at(addr) {
            Ok(found) => return Ok(found),
            Err(e) => failed = e,
        }
    }
    Err(failed)
}

/// What comes of each address, but of those of a family that this machine does not have.
fn at_each<T>(
    addr: impl ToSocketAddrs,
    mut at: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<Vec<T>> {
    let (mut found, mut absent) = (Vec::new(), no_address());
    let mut addrs: Vec<SocketAddr> = Vec::new();
    for addr in addr.to_socket_addrs()? {
        if !addrs.contains(&addr) {
            addrs.push(addr); // a name may say the same twice
        }
    }
    for addr in addrs {
        match at(addr) {
            Ok(one) => found.push(one),
            Err(e) if family_is_absent(&e) => {
                debug!("not listening on {addr}: {e}");
                absent = e;
            }
            Err(e) => return Err(e),
        }
    }
    if found.is_empty() { Err(absent) } else { Ok(found) }
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no address to listen at")
}

/// An IPv4 client of an IPv6 listener has its IPv4 address.
fn unmap(addr: &mut Addr) {
    if let Addr::Ip(SocketAddr::V6(v6)) = addr
        && let Some(ip) = v6.ip().to_ipv4_mapped()
    {
        *addr = (ip, v6.port()).into();
    }
}

/// Addresses of IPv6 on a machine without it, and the like.
fn family_is_absent(e: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind: 97 on Linux, 47 on BSD and macOS, 10047 on Windows.
    e.kind() == io::ErrorKind::AddrNotAvailable || matches!(e.raw_os_error(), Some(97 | 47 | 10047))
}

/// The verbs of a turn, in their order.
impl<P: Protocol, N: Net> Reactor<P, N> {
    /// Not at all if anyone has work, else until the next deadline, else for ever.
    fn sleep(&mut self, sleep_max: Duration) -> io::Result<()> {
        let timeout = match self.has_work() {
            true => Some(Duration::ZERO),
            false => {
                let next = self.next_deadline();
                let sleep = next.map(|at| at.saturating_sub(self.net.now()));
                Some(sleep.unwrap_or(Duration::MAX).min(sleep_max)).filter(|&s| s < Duration::MAX)
            }
        };
        match self.net.wait(timeout, &mut self.events) {
            Ok(()) => self.poll_fails_since = None,
            Err(e) => self.outlast(e, timeout)?,
        }
        let now = self.net.now();
        self.hub.set_now(now);
        self.watch.begin(now);
        Ok(())
    }

    /// The kernel does not tell what happened. To end would cost all who are connected; so a
    /// moment's rest, if there is time for one, a turn for whatever needs no news, and then it is
    /// asked again.
    #[cold]
    fn outlast(&mut self, e: io::Error, timeout: Option<Duration>) -> io::Result<()> {
        let now = self.net.now();
        let since = *self.poll_fails_since.get_or_insert(now);
        // In a simulated world in which nothing can happen any more, nothing is to be waited for.
        if e.kind() == io::ErrorKind::Deadlock || now - since >= DISBELIEF {
            return Err(e);
        }
        self.hub.stats.poll_errors += 1;
        let rest = Duration::from_millis(SHORTAGE_MS);
        self.net.pause(timeout.map_or(rest, |timeout| timeout.min(rest)));
        self.complain(|c| &mut c.poll, format_args!("cannot ask the system what happened: {e}"));
        Ok(())
    }

    /// A connection is queued, *or a listener is ready and has room*, or something was cut short.
    fn has_work(&self) -> bool {
        let Hub { queue, heavy, shaking, ended, dials, stopping, .. } = &self.hub;
        let sweeping = match *stopping {
            Stopping::No | Stopping::Over => false,
            Stopping::Asked | Stopping::AtOnce => true,
            Stopping::Draining { swept, end, .. } => swept < end,
        };
        !queue.is_empty()
            || !heavy.is_empty()
            || !shaking.is_empty()
            || !ended.is_empty()
            || !dials.is_empty()
            || sweeping
            || self.has_datagrams()
            || self.jobs.has_more()
            || self.may_accept() && self.listeners.iter().any(|listener| listener.ready)
    }

    fn may_accept(&self) -> bool {
        let room = self.has_room() || self.hub.config.when_full == WhenFull::Refuse;
        room && self.accept_at.is_none()
    }

    fn has_room(&self) -> bool {
        self.hub.places() < self.hub.config.conns_max
    }

    fn next_deadline(&mut self) -> Option<Duration> {
        let grace = match self.hub.stopping {
            Stopping::Draining { until_ms, again_ms, .. } => Some(until_ms.min(again_ms)),
            _ => None,
        };
        let timers = self.hub.timers.next();
        let all = [timers, self.accept_at, self.starved_at, grace];
        let all = all.into_iter().chain([self.next_receive()]);
        let whole = all.flatten().min().map(Duration::from_millis);
        [whole, self.hub.tick_at].into_iter().flatten().min()
    }

    /// Bits are set and connections queued; nothing is acted on here.
    fn note_readiness(&mut self) {
        let Self { hub, events, listeners, udp, streams, .. } = self;
        hub.stats.events += events.len() as u64;
        for event in events.drain(..) {
            match event.token {
                Token::Wake => {}
                Token::Stop => hub.stop(),
                Token::Listener(n) => {
                    if let Some(listener) = listeners.get_mut(n as usize) {
                        listener.ready = true;
                    }
                }
                Token::Udp(n) => {
                    if let Some(udp) = udp.get_mut(n as usize) {
                        udp.ready = true;
                    }
                }
                Token::Conn { slot, serial } => {
                    let conn = hub.conns.get_mut(slot as usize);
                    // Who waits to be dialed has no socket that could have told of this.
                    let conn = conn.filter(|conn| {
                        conn.is_connected() || matches!(streams.get(slot as usize), Some(Some(_)))
                    });
                    let Some(conn) = conn.filter(|conn| serial == 0 || conn.serial == serial)
                    else {
                        hub.stats.stale_events += 1;
                        continue;
                    };
                    conn.note(event.bits());
                    hub.trace.note(What::Ready, slot, conn.serial, event.bits());
                    hub.touch(slot);
                }
            }
        }
    }

    fn run_jobs(&mut self) {
        self.jobs.begin();
        for n in 0..self.hub.config.jobs_max {
            let Some(job) = self.jobs.next() else { return };
            self.hub.stats.jobs += 1;
            if n == 0 {
                self.mark(); // each job ends where the next begins
            }
            job(&mut self.protocol, &mut self.hub);
            self.took(What::Job, ConnId::NOBODY);
            self.lap(Culprit::Job);
        }
        self.hub.stats.job_budget += 1;
        self.jobs.cut_short();
    }

    /// Those that are due now. None that this pass arms is: a timer is at least a millisecond away,
    /// and a tick later than now.
    fn fire_timers(&mut self) {
        let now = self.hub.now_ms();
        if self.hub.tick_at.is_some_and(|at| at <= self.hub.now()) {
            self.hub.tick_at = None;
            self.mark();
            self.protocol.tick(&mut self.hub);
            self.took(What::Tick, ConnId::NOBODY);
            self.lap(Culprit::Tick);
        }
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
        }
        if self.starved_at.is_some_and(|at| at <= now) {
            self.feed_starved();
        }
        self.end_pauses(now);
        for _ in 0..self.hub.config.timers_max {
            match self.hub.timers.step(now) {
                Step::Done => return,
                Step::Moved => {}
                Step::Due(slot) => self.timer(slot),
            }
        }
        self.hub.stats.timer_budget += 1;
    }

    fn timer(&mut self, slot: u32) {
        match self.hub.due(slot) {
            None => {}
            Some(due) if self.hub.conns[slot as usize].may_yet_keep(&due) => {
                let next = self.hub.now_ms() + 1;
                return self.hub.timers.arm(slot, next);
            }
            Some(Due::Dial) => self.hub.begin_dial(slot),
            Some(Due::Wake) => {
                self.hub.stats.timers += 1;
                self.hub.conns[slot as usize].wake = None;
                self.call(What::Timer, slot, |protocol, peer, own| protocol.timer(peer, own));
                self.lap(Culprit::Conn(slot));
            }
            Some(Due::End(reason)) => {
                self.hub.stats.timers += 1;
                if self.hub.conns[slot as usize].is_lingering() {
                    self.hub.stats.linger_expired += 1;
                }
                self.hub.note(What::Deadline, slot, reason.index());
                self.hub.end(slot, reason);
            }
        }
        self.hub.rearm(slot);
    }

    /// The system was short of memory for these; no edge will come for them.
    fn feed_starved(&mut self) {
        self.starved_at = None;
        for id in mem::take(&mut self.starved) {
            if let Some(conn) = self.hub.conns.get_mut(id.slot as usize)
                && conn.serial == id.serial
            {
                conn.set_readable(true);
                conn.set_writable(true);
                self.hub.touch(id.slot);
            }
        }
    }

    /// While stopping: look once more at every connection, a part of them in each turn; whoever
    /// then is quiet is told. Whoever has just come is waited for, and looked at again later. When
    /// the grace is over, or at the second request, all are ended.
    fn drain(&mut self) {
        let now = self.hub.now_ms();
        match self.hub.stopping {
            Stopping::No => {}
            Stopping::Asked => {
                info!("stopping: connections that are open: {}", self.hub.len());
                let until_ms = self.hub.ms_after(self.hub.config.grace).unwrap_or(u64::MAX);
                self.sweep_from_the_start(until_ms);
                for listener in &mut self.listeners {
                    listener.ready = true;
                    listener.socket.iter_mut().for_each(|socket| self.net.retire(socket));
                }
            }
            Stopping::Draining { until_ms, .. } if until_ms <= now => self.end_all(),
            Stopping::Draining { until_ms, again_ms, swept, end } => {
                let next = swept.saturating_add(SWEEP_MAX).min(end);
                for slot in swept..next {
                    self.look_once_more(slot);
                }
                self.hub.stopping = Stopping::Draining { until_ms, again_ms, swept: next, end };
                if next == end && again_ms <= now {
                    self.sweep_from_the_start(until_ms);
                }
            }
            Stopping::AtOnce => self.end_all(),
            Stopping::Over => self.close_doors(),
        }
    }

    fn sweep_from_the_start(&mut self, until_ms: u64) {
        let again_ms = self.hub.now_ms() + FIRST_WORDS_MS as u64;
        let end = self.hub.end_of_slots();
        self.hub.stopping = Stopping::Draining { until_ms, again_ms, swept: 0, end };
    }

    fn look_once_more(&mut self, slot: u32) {
        let now = stamp_now(self.hub.now_ms());
        let Some(conn) = self.hub.conns.get_mut(slot as usize) else { return };
        if conn.state == State::Waiting {
            return self.hub.end(slot, Reason::Stopped);
        }
        if conn.is_newcomer(now, FIRST_WORDS_MS) {
            return;
        }
        if conn.theirs_over() {
            self.farewell(slot, false); // nothing more will come to be read
            return self.lap(Culprit::Conn(slot));
        }
        conn.set_readable(true);
        self.hub.touch(slot);
    }

    fn end_all(&mut self) {
        self.hub.stopping = Stopping::Over;
        match self.hub.len() {
            0 => {}
            left => warn!("stopping: connections that were not done: {left}"),
        }
        self.close_doors();
        let slots: Vec<u32> = self.hub.conns.iter().map(|(slot, _)| slot as u32).collect();
        for slot in slots {
            self.hub.end(slot, Reason::Stopped);
        }
    }

    fn close_doors(&mut self) {
        for listener in &mut self.listeners {
            listener.socket = None;
            listener.ready = false;
        }
        self.close_udp();
    }

    /// What the kernel holds ready, a bounded number from each listener. The readiness bit stays
    /// until the kernel says that nothing is left: no other edge will come.
    fn accept(&mut self) {
        if self.accept_at.is_some() {
            return;
        }
        let count = self.listeners.len();
        let first = self.accept_first.min(count);
        for n in (first..count).chain(0..first) {
            let mut left = self.hub.config.accepts_max;
            let mut failures = 0;
            while self.listeners[n].ready && self.accept_at.is_none() {
                if left == 0 {
                    self.hub.stats.accept_budget += 1;
                    // A listener that does nothing but fail must not keep the loop awake.
                    if failures == self.hub.config.accepts_max {
                        self.pause_accepting();
                    }
                    break;
                }
                left -= 1;
                match self.has_room() {
                    true => failures += u32::from(!self.accept_one(n)),
                    false if self.hub.config.when_full == WhenFull::Refuse => {
                        if self.hub.len() < self.hub.config.conns_max {
                            break; // there is a place when this turn is over
                        }
                        failures += u32::from(!self.refuse_one(n));
                    }
                    false => {
                        self.leave_waiting(n);
                        break;
                    }
                }
            }
            if self.accept_at.is_some() {
                self.accept_first = n + 1; // or one that fails would be in the way of all behind it
                return;
            }
        }
    }

    /// There is no room: whoever is ready stays with the kernel, and the edge with us.
    fn leave_waiting(&mut self, n: usize) {
        if mem::replace(&mut self.listeners[n].full, true) {
            return;
        }
        self.hub.stats.accept_waits += 1;
        let open = self.hub.len();
        let text = format_args!("{open} connections are open, the most there may be: others wait");
        self.complain(|c| &mut c.full, text);
    }

    /// `false` if it failed in a way that says nothing of the next.
    fn accept_one(&mut self, n: usize) -> bool {
        let Self { listeners, net, hub, .. } = self;
        let listener = &mut listeners[n];
        let Some(socket) = &mut listener.socket else {
            listener.ready = false;
            return true;
        };
        let accepted = net.accept(socket);
        if !accepted.as_ref().is_err_and(net::is_dead_listener) {
            listener.dead_since = None;
        }
        match accepted {
            Ok((stream, mut addr)) => {
                listener.full = false;
                unmap(&mut addr);
                self.welcome(n, stream, &addr);
                return true;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.has_no_more(n);
                return true;
            }
            Err(e) if net::is_shortage(&e) => {
                if hub.config.when_full == WhenFull::Refuse {
                    self.refuse_one(n);
                } else {
                    self.pause_accepting();
                }
                self.complain(|c| &mut c.shortage, format_args!("cannot accept: {e}"));
                return true;
            }
            Err(e) if net::is_dead_listener(&e) => self.doubt(n, &e),
            // A connection that died in the queue, or a call that was interrupted. Leaving here
            // would lose the edge.
            Err(e) => debug!("accept: {e}"),
        }
        self.hub.stats.accept_errors += 1;
        false
    }

    /// The system says that this is no listener. If it says nothing else for some seconds, it is
    /// believed; while stopping, at once.
    fn doubt(&mut self, n: usize, e: &io::Error) {
        let now = self.hub.now();
        let listener = &mut self.listeners[n];
        let addr = listener.addr.clone();
        let since = *listener.dead_since.get_or_insert(now);
        if now - since < DISBELIEF && !self.hub.is_stopping() {
            let text = format_args!("cannot accept on {addr}: {e}");
            return self.complain(|c| &mut c.listener, text);
        }
        error!("no longer listening on {addr}: {e}");
        listener.ready = false;
        listener.socket = None;
    }

    /// The kernel has nobody ready. While stopping, that was the last of them.
    fn has_no_more(&mut self, n: usize) {
        let listener = &mut self.listeners[n];
        listener.ready = false;
        if self.hub.is_stopping() {
            listener.socket = None;
        }
    }

    /// An accepted connection, before anybody has met it.
    fn welcome(&mut self, n: usize, stream: N::Stream, addr: &Addr) {
        let layer = match self.listeners[n].layer.as_mut().map(|make| make(addr)) {
            Some(Ok(layer)) if !self.hub.has_memory_for(&*layer) => {
                self.hub.stats.refused_full += 1;
                let text = format_args!("refused a connection: layers take half of memory_max");
                return self.complain(|c| &mut c.layer, text);
            }
            Some(Ok(layer)) => Some(layer),
            Some(Err(fault)) => {
                self.hub.stats.refused_by_layer += 1;
                let text = format_args!("refused a connection from {addr}: {fault}");
                return self.complain(|c| &mut c.layer, text);
            }
            None => None,
        };
        let is_theirs = layer.as_ref().is_none_or(|layer| layer.origin() != Origin::Unknown);
        if is_theirs && let Some(ip) = addr.ip().filter(|&ip| self.hub.has_enough_from(ip)) {
            return self.turn_away(ip);
        }
        let slot = self.hub.insert(State::Handshake, n as u16, addr).slot;
        if is_theirs {
            self.hub.count(slot);
        }
        if let Some(layer) = layer {
            self.hub.put_layer(slot, layer);
        }
        // A socket that has just been accepted can be written to; its first edge says no more.
        self.hub.conns[slot as usize].set_writable(true);
        self.hub.stats.accepted += 1;
        self.hub.note(What::Accept, slot, n);
        if self.seat(slot, stream) {
            self.begin(slot);
        }
    }

    fn turn_away(&mut self, ip: IpAddr) {
        self.hub.stats.refused_per_ip += 1;
        self.complain(|c| &mut c.per_ip, format_args!("too many connections from {ip}"));
    }

    /// `false` as in `accept_one`.
    fn refuse_one(&mut self, n: usize) -> bool {
        let listener = &mut self.listeners[n];
        let Some(socket) = &mut listener.socket else {
            listener.ready = false;
            return true;
        };
        match self.net.refuse(socket) {
            Ok(()) => {
                self.hub.stats.refused_full += 1;
                let open = self.hub.len();
                let text = format_args!("refused a connection: connections that are open: {open}");
                self.complain(|c| &mut c.full, text);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.has_no_more(n),
            Err(e) if net::is_shortage(&e) => self.pause_accepting(),
            Err(_) => {
                self.hub.stats.accept_errors += 1;
                return false;
            }
        }
        true
    }

    /// The edge is kept; a timer or the next release tries again.
    fn pause_accepting(&mut self) {
        self.hub.stats.accept_pauses += 1;
        self.accept_at = Some(self.hub.now_ms() + SHORTAGE_MS);
    }

    /// What callbacks asked for.
    fn connect(&mut self) {
        for _ in 0..self.hub.config.connects_max {
            let Some(Dial { id, addr, source }) = self.hub.dials.pop_front() else { return };
            if self.hub.peer(id).is_none() {
                continue; // given up before it began
            }
            self.hub.note(What::Connect, id.slot, 0);
            match self.net.connect(&addr, source, &self.hub.config.sockets) {
                Ok(stream) => drop(self.seat(id.slot, stream)),
                Err(e) => self.hub.end(id.slot, Reason::Broken(e)),
            }
        }
        self.hub.stats.connect_budget += u64::from(!self.hub.dials.is_empty());
    }

    /// Give a socket its place, and have the kernel tell of it. `false` if it would not.
    fn seat(&mut self, slot: u32, stream: N::Stream) -> bool {
        let (id, slot) = (self.hub.id(slot), slot as usize);
        if self.streams.len() <= slot {
            self.streams.resize_with(slot + 1, || None);
            self.sessions.resize_with(slot + 1, || None);
        }
        let stream = self.streams[slot].insert(stream);
        let token = Token::Conn { slot: id.slot, serial: id.serial };
        match self.net.watch(stream, token) {
            Ok(()) => true,
            Err(e) => {
                self.hub.end(id.slot, Reason::Broken(e));
                false
            }
        }
    }

    /// There is a wire. The protocol meets whoever is at its end when the layer is ready, which at
    /// once is who has none.
    fn begin(&mut self, slot: u32) {
        self.hub.conns[slot as usize].state = State::Handshake;
        let Some(mut layered) = self.hub.conns[slot as usize].layer.take() else {
            return self.open(slot);
        };
        layered.until = self.hub.config.handshake.and_then(|t| self.hub.ms_after(t)).map(stamp);
        let mut answer = Vec::new();
        self.plain.clear();
        let result = layered.layer.start(&mut answer);
        match self.pass_on(slot, layered, result, answer) {
            Err(fault) => self.fault(slot, fault),
            Ok(()) => drop(self.open_if_ready(slot)),
        }
        self.hub.rearm(slot);
        self.hub.touch(slot);
    }

    /// `false` if the protocol does not hear of this connection yet, or never will.
    fn open_if_ready(&mut self, slot: u32) -> bool {
        let conn = &mut self.hub.conns[slot as usize];
        match (conn.state, &conn.layer) {
            (State::Up, _) => return true,
            (State::Handshake, Some(layered)) if !layered.layer.is_ready() => return false,
            (State::Handshake, Some(layered)) => {
                let origin = layered.layer.origin();
                if !self.learn_origin(slot, origin) {
                    return false;
                }
            }
            (State::Handshake, None) => {}
            (State::Waiting | State::Dialing | State::Ended, _) => return false,
        }
        // What the handshake said is not what the protocol waits for.
        self.hub.conns[slot as usize].set_heard(false);
        self.open(slot);
        self.hub.conns[slot as usize].state == State::Up
    }

    fn learn_origin(&mut self, slot: u32, origin: Origin) -> bool {
        let Origin::Named(mut addr) = origin else { return true };
        unmap(&mut addr);
        debug!("{} with {} is {addr}'s", self.hub.id(slot), self.hub.addr(slot));
        let has_room = self.hub.learn_origin(slot, addr);
        if !has_room {
            self.hub.addr(slot).ip().into_iter().for_each(|ip| self.turn_away(ip));
            self.hub.end(slot, Reason::Fault("too many connections from its address".into()));
        }
        has_room
    }

    fn open(&mut self, slot: u32) {
        let id = self.hub.id(slot);
        let conn = &mut self.hub.conns[slot as usize];
        conn.state = State::Up;
        self.hub.stats.connected += u64::from(conn.listener == Conn::OUTBOUND);
        debug!("{id} is up, with {}", self.hub.addr(slot));
        self.mark();
        let session = self.protocol.open(&mut Peer::new(&mut self.hub, id));
        self.took(What::Open, id);
        self.sessions[slot as usize] = Some(session);
        self.hub.rearm(slot);
        self.hub.touch(slot);
        self.lap(Culprit::Conn(slot));
    }

    /// A visit for everyone who was waiting when this began: first whoever had little in the one
    /// before, then those who had much, as long as all else in this turn has taken, or little more.
    /// Who asks for little therefore never waits for many who ask for much, and these have half of
    /// the time.
    fn serve(&mut self) {
        let (waiting, heavy) = (self.hub.queue.len(), self.hub.heavy.len());
        let shaking = self.hub.shaking.len();
        for _ in 0..waiting {
            let Some(id) = self.hub.queue.pop_front() else { break };
            self.visit(id);
        }
        let (until, share) = (self.watch.mark, self.watch.share(SHARE_MIN));
        for n in 0..heavy {
            if n > 0 && self.watch.mark.saturating_sub(until) > share {
                self.hub.stats.share_budget += 1;
                break;
            }
            let Some(id) = self.hub.heavy.pop_front() else { break };
            self.visit(id);
        }
        self.serve_shaking(shaking, share);
    }

    /// Handshakes, which cost a thousand times what a message does, have as long, and a number of
    /// their own.
    fn serve_shaking(&mut self, waiting: usize, share: Duration) {
        let until = self.watch.mark;
        for n in 0..waiting {
            let has_had = n > 0 && self.watch.mark.saturating_sub(until) > share;
            if has_had || n == self.hub.config.handshakes_max as usize {
                self.hub.stats.handshake_budget += 1;
                return;
            }
            let Some(id) = self.hub.shaking.pop_front() else { return };
            self.visit(id);
        }
    }

    #[inline(always)]
    fn visit(&mut self, ConnId { slot, serial }: ConnId) {
        let conn = self.hub.conns.get_mut(slot as usize);
        let Some(conn) = conn.filter(|conn| conn.serial == serial) else { return };
        conn.begin_visit();
        self.hub.stats.served += 1;
        self.serve_one(slot);
        self.lap(Culprit::Conn(slot));
    }

    /// One bounded write, one bounded read, its callbacks, one write.
    fn serve_one(&mut self, slot: u32) {
        if self.hub.conns[slot as usize].state == State::Dialing {
            self.settle_connect(slot);
        }
        self.flush(slot);
        // From here to the second write, which ends it, replies gather in the shared buffer.
        self.hub.hot.slot = Some(slot);
        let dry = self.receive(slot);
        self.flush(slot);
        if self.hub.is_stopping() {
            self.farewell(slot, dry);
        }
        self.hub.rearm(slot);
        self.hub.end_visit(slot);
    }

    /// Writable may mean connected, failed, or nothing yet.
    fn settle_connect(&mut self, slot: u32) {
        let now = self.hub.stamp();
        let conn = &mut self.hub.conns[slot as usize];
        let Some(stream) = self.streams[slot as usize].as_mut().filter(|_| conn.writable()) else {
            return;
        };
        match self.net.connected(stream) {
            Ok(()) => {
                conn.active = now;
                self.hub.note(What::Connected, slot, 0);
                self.begin(slot);
            }
            Err(e) if e.kind() == io::ErrorKind::NotConnected => conn.set_writable(false),
            Err(e) => self.hub.end(slot, Reason::Broken(e)),
        }
    }

    /// While stopping, whoever has nothing more to say or to hear is told. Whether there is
    /// something to hear only the kernel knows: it has been asked just now, or is asked next.
    fn farewell(&mut self, slot: u32, dry: bool) {
        let now = stamp_now(self.hub.now_ms());
        let conn = &mut self.hub.conns[slot as usize];
        if conn.is_newcomer(now, FIRST_WORDS_MS) {
            return;
        }
        if dry && conn.is_unheard_of() {
            return self.hub.end(slot, Reason::Stopped);
        }
        if !conn.is_quiet() || conn.told_to_stop() {
            return;
        }
        if !dry && !conn.theirs_over() {
            return conn.set_readable(true);
        }
        conn.set_told_to_stop(true);
        self.call(What::Stopping, slot, |protocol, peer, own| protocol.stopping(peer, own));
    }

    /// Free what is over: the only place where that happens. It has as long as all else in this
    /// turn, for others may be told of each, and longer if memory is short, or if there is nobody
    /// left to wait for it. What `closed` ends waits a turn.
    fn release(&mut self) {
        let until = self.watch.mark + self.watch.share(CLOSES_MIN);
        for n in 0..self.hub.ended.len() {
            let has_had = n > 0 && self.watch.mark > until;
            if has_had && !self.hub.is_short() && self.hub.stopping != Stopping::Over {
                self.hub.stats.close_budget += 1;
                return;
            }
            let Some(ended) = self.hub.ended.pop_front() else { return };
            self.close(ended);
        }
    }

    #[inline(always)]
    fn close(&mut self, ended: Ended) {
        let id = self.hub.id(ended.slot);
        let conn = &self.hub.conns[ended.slot as usize];
        let dialed = conn.listener == Conn::OUTBOUND;
        self.hub.note(What::Close, ended.slot, ended.reason.index());
        let addr = self.hub.remove(&ended);
        let Ended { slot, reason, .. } = ended;
        self.hub.stats.released += 1;
        let stream = self.streams.get_mut(slot as usize).and_then(Option::take);
        match stream {
            Some(stream) if reason.wants_reset() => self.net.reset(stream),
            stream => drop(stream),
        }
        // A descriptor is free again.
        self.accept_at = None;
        debug!("{id} with {addr} is over: {reason}");
        self.mark();
        match self.sessions.get_mut(slot as usize).and_then(Option::take) {
            Some(session) => {
                self.protocol.closed(&mut self.hub, id, session, reason);
                self.took(What::Closed, id);
            }
            None if dialed => {
                self.hub.stats.connect_failed += 1;
                self.protocol.connect_failed(&mut self.hub, id, reason);
                self.took(What::ConnectFailed, id);
            }
            None => {
                let why: &dyn fmt::Display = match &reason {
                    Reason::Handshake => &"it was not over in time",
                    Reason::Fault(fault) => fault,
                    other => other,
                };
                let text = format_args!("no handshake with {addr}: {why}");
                self.complain(|c| &mut c.handshake, text);
            }
        }
        self.lap(Culprit::Gone(id));
        if self.watch.culprit == Culprit::Gone(id) {
            self.watch.gone = Some(addr);
        }
    }

    fn end_turn(&mut self) {
        self.hub.stats.turns += 1;
        if N::HOLDS_TO_THE_LAWS {
            self.hub.check();
        }
        if self.hub.trace.is_on() {
            // The last lap may have ended with a callback, and left out the write after it.
            self.hub.trace.take_fresh();
            self.lap(Culprit::Nobody);
            self.hub.trace.end_turn(self.watch.began);
        }
        let Watch { began, mark, longest, culprit, .. } = self.watch;
        let turn = mark.saturating_sub(began);
        let Hub { stats, longest_turn, config, .. } = &mut self.hub;
        stats.busy += turn;
        stats.turn_times.record(turn);
        stats.longest_turn = stats.longest_turn.max(turn);
        *longest_turn = turn.max(*longest_turn);
        if turn > config.slow_turn {
            stats.slow_turns += 1;
            let who = self.name(culprit);
            let text = format_args!("a turn took {turn:.3?}, of that {longest:.3?} for {who}");
            self.complain(|c| &mut c.slow, text);
        }
    }
}

/// One connection's reads and writes. What returns behind a system call is inlined, as far as that
/// goes: `docs/speed.md` says why.
impl<P: Protocol, N: Net> Reactor<P, N> {
    /// At most one read; then the protocol. `true` if the kernel had nothing.
    fn receive(&mut self, slot: u32) -> bool {
        let Self { hub, net, streams, scratch, .. } = self;
        let conn = &mut hub.conns[slot as usize];
        let Some(stream) = &mut streams[slot as usize] else { return false };
        if !conn.wants_read() {
            return false;
        }
        if conn.failed() && !conn.wants_bytes() {
            // Nobody wants its bytes, so nobody would meet its error.
            conn.set_failed(false);
            if let Err(e) = net.take_error(stream) {
                hub.end(slot, Reason::Broken(e));
            }
            return false;
        }
        // What was kept back is finished first: whole messages may be waiting in it.
        if conn.reoffer() {
            conn.set_reoffer(false);
            self.mark();
            self.offer(slot, 0);
            return false;
        }
        if conn.layer_is_over() {
            self.end_of_input(slot);
            return false;
        }
        hub.stats.reads += 1;
        let result = match conn.is_unix() {
            false => net.read(stream, scratch),
            true => net.read_unix(stream, scratch).map(|(size, more)| {
                conn.set_ending(conn.ending() || more);
                size
            }),
        };
        hub.trace.was_read(slot, conn.serial, &result, || net.now());
        match result {
            Ok(0) => self.end_of_input(slot),
            Ok(size) => self.arrived(slot, size),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                conn.set_readable(false);
                conn.set_ending(false);
                conn.set_failed(false);
                return true;
            }
            Err(e) if net::is_shortage(&e) => self.starve(slot),
            Err(e) => hub.end(slot, Reason::Broken(e)),
        }
        false
    }

    #[inline(always)]
    fn arrived(&mut self, slot: u32, size: usize) {
        let active = self.hub.stamp();
        let Hub { conns, stats, .. } = &mut self.hub;
        let conn = &mut conns[slot as usize];
        stats.bytes_in += size as u64;
        if size == self.scratch.len() {
            conn.has_spent_its_visit();
            stats.read_budget += 1;
        } else if N::SHORT_MEANS_DONE && !conn.ending() {
            conn.set_readable(false);
        }
        conn.set_heard(true);
        conn.active = active;
        conn.has_moved(size);
        match conn.deaf() {
            false => self.offer(slot, size),
            true => self.throw_away(slot, size),
        }
    }

    fn throw_away(&mut self, slot: u32, size: usize) {
        let Hub { conns, stats, config, .. } = &mut self.hub;
        let conn = &mut conns[slot as usize];
        if conn.is_lingering() {
            if conn.bytes > config.linger_bytes {
                stats.linger_overflow += 1;
                self.hub.end(slot, Reason::Closed);
            }
            return;
        }
        // Nobody hears what it says, but a layer may need it to send what is waiting.
        match self.unwrap_layer(slot, size) {
            Ok(true) => drop(self.open_if_ready(slot)),
            Ok(false) => {}
            Err(fault) => self.layer_fault(slot, fault),
        }
    }

    /// The first `size` bytes of scratch, after whatever was kept, go to the protocol; what it
    /// does not take is kept.
    fn offer(&mut self, slot: u32, size: usize) {
        let unwrapped = match self.unwrap_layer(slot, size) {
            Ok(unwrapped) => unwrapped,
            Err(fault) => return self.layer_fault(slot, fault),
        };
        if unwrapped && !(self.open_if_ready(slot) && self.hub.conns[slot as usize].hears()) {
            return self.keep_plain(slot);
        }
        let Self { protocol, hub, net, sessions, scratch, plain, .. } = self;
        let Some(session) = &mut sessions[slot as usize] else { return };
        let id = hub.id(slot);
        let conn = &mut hub.conns[slot as usize];
        let fresh = if unwrapped { &plain[..] } else { &scratch[..size] };
        conn.set_heard(conn.heard() || !fresh.is_empty());

        // Kept bytes leave the table for the length of the call: a callback may change it.
        let mut kept = conn.take_input();
        let (bytes, scanned) = match &mut kept {
            None => (fresh, 0),
            Some((kept, scanned)) => {
                kept.push(fresh, &mut hub.pool);
                (kept.pending(), *scanned)
            }
        };
        let mut input = Input::with_budget(bytes, scanned, hub.config.frames_max);
        let mut result = Ok(());
        if !bytes.is_empty() {
            if !unwrapped {
                hub.hot.show(fresh);
            }
            result = protocol.data(&mut Peer::new(hub, id), session, &mut input);
            hub.hot.shown();
            hub.took(What::Data, id, || net.now());
        }
        hub.stats.messages += input.messages();
        let (taken, scanned, cut) = (input.taken(), input.scanned(), input.was_cut());
        match kept {
            None if taken == fresh.len() => {}
            None => {
                let mut kept = Buf::default();
                kept.push(&fresh[taken..], &mut hub.pool);
                self.keep(slot, kept, scanned, cut);
            }
            Some((mut kept, _)) => {
                kept.consume(taken, &mut hub.pool);
                self.keep(slot, kept, scanned, cut);
            }
        }
        if let Err(fault) = result {
            self.fault(slot, fault);
        }
    }

    /// What a layer made of what came, for a protocol that does not hear it now.
    fn keep_plain(&mut self, slot: u32) {
        let Self { hub, plain, .. } = self;
        let conn = &mut hub.conns[slot as usize];
        if !plain.is_empty() && conn.is_connected() && !conn.deaf() {
            let (mut kept, scanned) = conn.take_input().unwrap_or_default();
            kept.push(plain, &mut hub.pool);
            self.keep(slot, kept, scanned, false);
        }
    }

    fn keep(&mut self, slot: u32, kept: Buf, scanned: usize, cut: bool) {
        let Self { hub, .. } = self;
        let (len, max) = (kept.len(), hub.config.input_max);
        let conn = &mut hub.conns[slot as usize];
        if conn.state == State::Ended || conn.deaf() || kept.is_empty() {
            hub.reclaim(slot);
            return hub.give_input(kept);
        }
        conn.set_reoffer(conn.reoffer() || cut);
        if cut {
            conn.has_spent_its_visit();
            hub.stats.frame_budget += 1;
        }
        hub.hold(slot, |held, _| (held.input, held.scanned) = (kept, scanned));
        if len > max {
            hub.end(slot, Reason::InputOverflow);
        }
    }

    /// What came off the wire, through the layer. `false` without one: it is what it is.
    #[inline(always)]
    fn unwrap_layer(&mut self, slot: u32, size: usize) -> Result<bool> {
        match self.hub.conns[slot as usize].layer.take() {
            Some(layered) => self.unwrap_by(layered, slot, size).map(|()| true),
            None => Ok(false),
        }
    }

    fn unwrap_by(&mut self, mut layered: Box<Layered>, slot: u32, size: usize) -> Result {
        let mut answer = Vec::new();
        self.plain.clear();
        let result = match size {
            0 => Ok(()),
            _ => {
                let wire = &mut self.scratch[..size];
                layered.layer.receive(wire, &mut self.plain, &mut answer)
            }
        };
        self.mark();
        self.pass_on(slot, layered, result, answer)
    }

    /// A layer has done something. It is put back, or whatever comes after it; what they answer is
    /// kept for the wire, not least if they failed.
    fn pass_on(
        &mut self,
        slot: u32,
        mut layered: Box<Layered>,
        mut result: Result,
        mut answer: Vec<u8>,
    ) -> Result {
        let mut origin = Origin::Wire;
        let goes_on = loop {
            if result.is_err() {
                break true; // what waits for a layer must not leave without one
            }
            let before = layered.layer.origin();
            let next = layered.layer.next();
            if !matches!(next, Next::Same) && before != Origin::Wire {
                origin = before; // one that comes after it may know nobody better
            }
            match next {
                Next::Same => break true,
                Next::Nothing => {
                    self.hub.weigh_layer(&mut layered, 0);
                    break false;
                }
                Next::Layer(next) => {
                    self.hub.weigh_layer(&mut layered, next.size());
                    layered.layer = next;
                }
            }
            let mut wire = mem::take(&mut self.plain);
            result = layered.layer.start(&mut answer);
            if result.is_ok() && !wire.is_empty() {
                result = layered.layer.receive(&mut wire, &mut self.plain, &mut answer);
            }
        };
        let conn = &mut self.hub.conns[slot as usize];
        if layered.layer.is_over() {
            conn.set_readable(true); // there is an end to be read
        }
        let kept = if goes_on { layered.layer.held() } else { 0 };
        conn.layer = goes_on.then_some(layered);
        if conn.layer_holds() != kept {
            self.hub.hold(slot, |held, _| held.layer = kept);
        }
        let conn = &self.hub.conns[slot as usize];
        // After our end nothing can be said any more.
        if !answer.is_empty() && conn.ours != Ours::Finished {
            self.hub.hold(slot, |held, pool| held.wire.push(&answer, pool));
            self.hub.limit_output(slot, self.hub.unsent(slot));
        }
        self.learn_origin(slot, origin);
        result
    }

    fn end_of_input(&mut self, slot: u32) {
        let conn = &mut self.hub.conns[slot as usize];
        conn.set_readable(false);
        conn.set_failed(false);
        conn.set_theirs_over(true);
        if let Err(fault) = conn.end_of_layer() {
            return self.fault(slot, fault);
        }
        if !conn.deaf() {
            let (kept, _) = conn.take_input().unwrap_or_default();
            self.hub.reclaim(slot);
            let mut rest = Input::new(kept.pending());
            self.call(What::Eof, slot, |protocol, peer, own| protocol.eof(peer, own, &mut rest));
            if !kept.is_empty() {
                self.hub.give_input(kept);
            }
        }
        if self.hub.conns[slot as usize].ours == Ours::Finished {
            self.hub.end(slot, Reason::Closed);
        }
    }

    /// At most one write; then what follows from it: room for more, or our end.
    #[inline(always)]
    fn flush(&mut self, slot: u32) {
        let connected = self.hub.conns[slot as usize].is_connected();
        match connected && self.hub.wants_flush(slot) {
            true => self.flush_up(slot),
            false => self.hub.park_hot(slot, &self.scratch),
        }
    }

    #[inline(always)]
    fn flush_up(&mut self, slot: u32) {
        if let Err(fault) = self.hub.seal(slot) {
            return self.fault(slot, fault);
        }
        self.write(slot);
        self.hub.park_hot(slot, &self.scratch);
        self.hub.park_sealed(slot);

        if self.hub.has_room_again(slot) {
            let conn = &mut self.hub.conns[slot as usize];
            conn.set_full(false);
            // It may have stopped taking input because it was full.
            conn.set_reoffer(conn.reoffer() || conn.has_input());
            if conn.ours == Ours::Open {
                self.call(What::Drained, slot, |protocol, peer, own| protocol.drained(peer, own));
            }
        }
        self.finish(slot);
    }

    #[inline(always)]
    fn write(&mut self, slot: u32) {
        let Self { hub, net, streams, scratch, .. } = self;
        let Some(stream) = &mut streams[slot as usize] else { return };
        if !hub.conns[slot as usize].writable() {
            return;
        }
        let written = hub.front(slot, scratch, |slices| {
            let size: usize = slices.iter().map(|slice| slice.len()).sum();
            (size, net.write(stream, slices))
        });
        let Some((size, result)) = written else { return };
        hub.was_written(slot, &result);
        hub.stats.writes += 1;
        match result {
            Ok(n) => {
                if size == hub.config.write_max {
                    hub.conns[slot as usize].has_spent_its_visit();
                    hub.stats.write_budget += 1;
                }
                if n < size && N::SHORT_MEANS_DONE {
                    hub.conns[slot as usize].set_writable(false);
                }
                hub.wrote(slot, n);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                hub.conns[slot as usize].set_writable(false);
            }
            Err(e) if net::is_shortage(&e) => self.starve(slot),
            Err(e) => hub.end(slot, Reason::Broken(e)),
        }
    }

    /// With nothing left to send, our half ends.
    fn finish(&mut self, slot: u32) {
        let conn = &mut self.hub.conns[slot as usize];
        let last_words = conn.layer.is_none() || conn.layer_done();
        if conn.state != State::Up || conn.ours != Ours::Finishing || conn.has_unsent() {
            return;
        }
        if !last_words {
            return; // the next turn's write begins with them
        }
        conn.ours = Ours::Finished;
        if conn.theirs_over() {
            return self.hub.end(slot, Reason::Closed); // closing the socket says it
        }
        let stream = self.streams[slot as usize].as_mut();
        if let Some(Err(e)) = stream.map(|stream| self.net.finish(stream)) {
            self.hub.end(slot, Reason::Broken(e));
        } else if conn.deaf() {
            // To close with input unread would be a reset, and could overtake our last bytes.
            self.hub.linger(slot);
        }
    }

    /// A shortage of memory passes without an edge: try again by timer.
    fn starve(&mut self, slot: u32) {
        self.hub.stats.io_pauses += 1;
        let conn = &mut self.hub.conns[slot as usize];
        conn.set_readable(false);
        conn.set_writable(false);
        self.starved.push(self.hub.id(slot));
        self.starved_at.get_or_insert(self.hub.now_ms() + SHORTAGE_MS);
        let text = format_args!("the system is short of memory for sockets");
        self.complain(|c| &mut c.shortage, text);
    }

    /// Any callback about one connection but `open`, `data` and `closed`.
    fn call(
        &mut self,
        what: What,
        slot: u32,
        call: impl FnOnce(&mut P, &mut Peer<'_>, &mut P::Session) -> Result,
    ) {
        let Self { protocol, hub, net, sessions, .. } = self;
        let conn = &hub.conns[slot as usize];
        // A connection on its way has no session, and may have no row in the table yet.
        let session = sessions.get_mut(slot as usize).and_then(Option::as_mut);
        let Some(session) = session else { return };
        if conn.state == State::Ended || conn.deaf() {
            return;
        }
        let id = hub.id(slot);
        hub.trace.mark(|| net.now());
        let result = call(protocol, &mut Peer::new(hub, id), session);
        hub.took(what, id, || net.now());
        if let Err(fault) = result {
            self.fault(slot, fault);
        }
        self.hub.touch(slot);
    }

    /// The protocol gave up on this connection. What it said before that gets one write, whatever
    /// comes of it: the fault stays the reason.
    fn fault(&mut self, slot: u32, fault: Fault) {
        self.say_last(slot);
        self.hub.end(slot, Reason::Fault(fault));
    }

    /// A layer gave up on its peer. What it said of that to a stranger, an alert, has to arrive: to
    /// close with input unread would be a reset, and could overtake it. Of those whom the protocol
    /// knows, it is told at once.
    fn layer_fault(&mut self, slot: u32, fault: Fault) {
        let has_said = self.say_last(slot);
        let conn = &self.hub.conns[slot as usize];
        let is_stranger = conn.state == State::Handshake && !conn.is_known();
        let is_awaited = has_said && is_stranger && !conn.theirs_over();
        let stream = self.streams[slot as usize].as_mut().filter(|_| is_awaited);
        match stream.is_some_and(|stream| self.net.finish(stream).is_ok()) {
            true => self.hub.linger_with(slot, fault),
            false => self.hub.end(slot, Reason::Fault(fault)),
        }
    }

    /// One write of what waits; `true` if the kernel took it.
    fn say_last(&mut self, slot: u32) -> bool {
        let Self { hub, net, streams, scratch, .. } = self;
        let mut is_said = false;
        if let Some(stream) = &mut streams[slot as usize]
            && hub.conns[slot as usize].is_connected()
            && hub.seal(slot).is_ok()
            && let Some((size, result)) = hub.front(slot, scratch, |slices| {
                let size: usize = slices.iter().map(|slice| slice.len()).sum();
                (size, net.write(stream, slices))
            })
        {
            hub.was_written(slot, &result);
            let written = result.unwrap_or(0);
            hub.stats.bytes_out += written as u64;
            is_said = written == size;
        }
        self.hub.park_sealed(slot);
        is_said
    }
}

/// Whose work a part of a turn was.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Culprit {
    #[default]
    Nobody,
    Conn(u32),
    Gone(ConnId),
    Datagram(SocketAddr),
    Job,
    Tick,
}

/// How long this turn has worked, and on what it worked longest.
#[derive(Default, Debug)]
struct Watch {
    began: Duration,
    mark: Duration,
    longest: Duration,
    culprit: Culprit,
    /// The address of the culprit, if it is gone.
    gone: Option<Addr>,
}

impl Watch {
    fn begin(&mut self, now: Duration) {
        (self.began, self.mark) = (now, now);
        (self.longest, self.culprit) = (Duration::ZERO, Culprit::Nobody);
    }

    /// As long as this turn has taken so far, and this long at least: what those may take who are
    /// to hold up nobody for longer than all else did.
    fn share(&self, least: Duration) -> Duration {
        self.mark.saturating_sub(self.began).max(least)
    }
}

/// Log lines that strangers can cause, at most one a second of each kind.
struct Complaints {
    poll: Throttle,
    listener: Throttle,
    shortage: Throttle,
    full: Throttle,
    per_ip: Throttle,
    layer: Throttle,
    handshake: Throttle,
    udp: datagrams::Complaints,
    slow: Throttle,
}

impl Default for Complaints {
    fn default() -> Self {
        let [poll, listener, shortage, full, per_ip, layer, handshake, slow] =
            std::array::from_fn(|_| Throttle::new(1));
        let udp = Default::default();
        Self { poll, listener, shortage, full, per_ip, layer, handshake, udp, slow }
    }
}

impl<P: Protocol, N: Net> Reactor<P, N> {
    /// What was done since the last lap was this one's.
    fn lap(&mut self, culprit: Culprit) {
        let now = self.hub.trace.take_fresh().unwrap_or_else(|| self.net.now());
        self.hub.set_clock(now);
        let lap = now.saturating_sub(self.watch.mark);
        self.watch.mark = now;
        if lap > self.watch.longest {
            (self.watch.longest, self.watch.culprit) = (lap, culprit);
        }
    }

    /// A callback begins: while recording, that is worth a reading of the clock.
    fn mark(&mut self) {
        self.hub.trace.mark(|| self.net.now());
    }

    /// It has returned.
    fn took(&mut self, what: What, id: ConnId) {
        self.hub.took(what, id, || self.net.now());
    }

    fn name(&self, culprit: Culprit) -> String {
        match culprit {
            Culprit::Nobody => "nobody".into(),
            Culprit::Job => "a job of another thread".into(),
            Culprit::Datagram(from) => format!("a datagram from {from}"),
            Culprit::Tick => "the protocol's tick".into(),
            Culprit::Gone(id) => match &self.watch.gone {
                Some(addr) => format!("connection {id} with {addr}"),
                None => format!("connection {id}"),
            },
            Culprit::Conn(slot) => match self.hub.conns.contains(slot as usize) {
                true => {
                    format!("connection {} with {}", self.hub.id(slot), self.hub.addr(slot))
                }
                false => "a connection that is gone".into(),
            },
        }
    }

    fn complain(
        &mut self,
        kind: impl FnOnce(&mut Complaints) -> &mut Throttle,
        text: fmt::Arguments<'_>,
    ) {
        match kind(&mut self.complaints).allow(self.hub.now()) {
            None => {}
            Some(0) => warn!("{text}"),
            Some(suppressed) => warn!("{text} (and {suppressed} more like it)"),
        }
    }
}

impl<P: Protocol, N: Net> fmt::Debug for Reactor<P, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("hub", &self.hub).finish_non_exhaustive()
    }
}
