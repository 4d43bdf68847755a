//! UDP: sockets that are bound, what comes to them, and what callbacks send from them.
use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
};

use log::debug;

use super::{Culprit, Reactor, SHORTAGE_MS, at_each, at_first};
use crate::{
    datagram::Datagram,
    hub::ConnId,
    logging::Throttle,
    net::{Net, Received, Token},
    outbox::UdpId,
    protocol::Protocol,
    trace::What,
};

pub(super) struct Udp<S> {
    /// `None` once it is closed.
    socket: Option<S>,
    addr: SocketAddr,
    /// A receive may bring something: kept until the kernel says that it would not.
    pub(super) ready: bool,
    /// Until then nothing is received: it did nothing but fail.
    pause: Option<u64>,
}

impl<S> Udp<S> {
    fn has_work(&self) -> bool {
        self.ready && self.pause.is_none() && self.socket.is_some()
    }
}

/// Log lines about datagrams, at most one a second of each kind.
pub(super) struct Complaints {
    receive: Throttle,
    long: Throttle,
    replies: Throttle,
    send: Throttle,
}

impl Default for Complaints {
    fn default() -> Self {
        let [receive, long, replies, send] = std::array::from_fn(|_| Throttle::new(1));
        Self { receive, long, replies, send }
    }
}

/// A UDP socket, and where it came to be bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// What [`Datagram::socket`] says of datagrams that come to it.
    pub id: UdpId,
    /// The address, with the port that was found for port 0.
    pub addr: SocketAddr,
}

impl<P: Protocol, N: Net> Reactor<P, N> {
    /// Take datagrams at the first address that `addr` resolves to and that can be bound:
    /// [`Protocol::datagram`] is called for each that comes.
    ///
    /// A socket that is bound to every address of this machine (`0.0.0.0`, `[::]`) answers from the
    /// one that leads to the sender, which where there are several need not be the one that was
    /// asked. There each is bound by itself.
    ///
    /// # Errors
    /// That of the last address tried, or `InvalidInput` if there was none.
    pub fn bind_udp(&mut self, addr: impl ToSocketAddrs) -> io::Result<Bound> {
        at_first(addr, |addr| self.bind_udp_at(addr))
    }

    /// Take datagrams at every address that `addr` resolves to, as
    /// [`listen_all`](Reactor::listen_all) listens.
    ///
    /// # Errors
    /// Any failure of any address, but that this machine does not have its family; none is bound
    /// then.
    pub fn bind_udp_all(&mut self, addr: impl ToSocketAddrs) -> io::Result<Vec<Bound>> {
        let before = self.udp.len();
        at_each(addr, |addr| self.bind_udp_at(addr)).inspect_err(|_| {
            self.udp.truncate(before);
            self.hub.outbox.sockets = before as u16;
        })
    }

    fn bind_udp_at(&mut self, addr: SocketAddr) -> io::Result<Bound> {
        let id = u16::try_from(self.udp.len()).ok().filter(|&id| id < u16::MAX);
        let too_many = "more UDP sockets than can be named";
        let id = id.ok_or(io::Error::new(io::ErrorKind::InvalidInput, too_many))?;
        let token = Token::Udp(id.into());
        let (socket, addr) = self.net.bind_udp(addr, &self.hub.config.sockets, token)?;
        self.udp.push(Udp { socket: Some(socket), addr, ready: false, pause: None });
        self.hub.outbox.sockets = id + 1;
        // A byte more than the longest: what fills it is too long, truncated or not.
        self.datagram.resize(self.hub.config.datagram_size + 1, 0);
        debug!("listening on udp {addr}");
        Ok(Bound { id: UdpId(id), addr })
    }

    /// A socket has something, or something waits to leave, or it is time for the last look.
    pub(super) fn has_datagrams(&self) -> bool {
        let open = |udp: &Udp<N::Udp>| udp.socket.is_some();
        self.udp.iter().any(Udp::has_work)
            || !self.hub.outbox.is_empty()
            || self.is_drained() && self.udp.iter().any(open)
    }

    /// When a pause ends.
    pub(super) fn next_receive(&self) -> Option<u64> {
        self.udp.iter().filter_map(|udp| udp.pause).min()
    }

    pub(super) fn end_pauses(&mut self, now: u64) {
        for udp in &mut self.udp {
            udp.pause = udp.pause.filter(|&until| until > now);
        }
    }

    pub(super) fn udp_is_closed(&self) -> bool {
        self.udp.iter().all(|udp| udp.socket.is_none())
    }

    pub(super) fn close_udp(&mut self) {
        self.send_datagrams(); // what was promised
        self.udp.iter_mut().for_each(|udp| udp.socket = None);
        self.hub.outbox.sockets = 0;
    }

    /// What the kernel holds, a bounded number from each socket. The readiness bit stays until the
    /// kernel says that nothing is left: no other edge will come. While stopping, once nobody is
    /// connected any more, each is looked at a last time, and closed.
    pub(super) fn receive_datagrams(&mut self) {
        let last = self.is_drained();
        for n in 0..self.udp.len() {
            self.udp[n].ready |= last;
            self.receive_from(n);
        }
        if last {
            self.close_udp();
        }
    }

    fn receive_from(&mut self, n: usize) {
        let max = self.hub.config.datagrams_max;
        let (mut left, mut failures) = (max, 0);
        while self.udp[n].has_work() {
            if left == 0 {
                self.hub.stats.datagram_budget += 1;
                // A socket that does nothing but fail must not keep the loop awake.
                if failures == max {
                    self.udp[n].pause = Some(self.hub.now_ms() + SHORTAGE_MS);
                }
                return;
            }
            left -= 1;
            failures += u32::from(!self.receive_one(n));
        }
    }

    /// `false` if it failed in a way that says nothing of the next.
    fn receive_one(&mut self, n: usize) -> bool {
        let Self { udp, net, hub, datagram, .. } = self;
        let Udp { socket: Some(socket), addr, ready, .. } = &mut udp[n] else { return true };
        match net.recv_from(socket, datagram) {
            Ok(Received { size, from, truncated }) if truncated || size == datagram.len() => {
                hub.stats.datagrams_truncated += 1;
                let (from, max) = (unmapped(from), hub.config.datagram_size);
                let text = format_args!("dropped a datagram from {from} of more than {max} bytes");
                self.complain(|c| &mut c.udp.long, text);
            }
            Ok(Received { size, from, .. }) => self.received(n, size, unmapped(from)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => *ready = false,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return false,
            // Of a datagram that was sent before, or of the system: the next may be here all the
            // same, and leaving would lose the edge.
            Err(e) => {
                hub.stats.datagram_errors += 1;
                let addr = *addr;
                let text = format_args!("a receive on udp {addr} failed: {e}");
                self.complain(|c| &mut c.udp.receive, text);
                return false;
            }
        }
        true
    }

    fn received(&mut self, n: usize, size: usize, from: SocketAddr) {
        self.hub.stats.datagrams_in += 1;
        self.hub.stats.datagram_bytes_in += size as u64;
        self.mark();
        let Self { protocol, hub, udp, datagram, .. } = self;
        let limited = hub.stats.replies_limited;
        let socket = (UdpId(n as u16), udp[n].addr.port());
        protocol.datagram(&mut Datagram::new(hub, socket, from, &datagram[..size]));
        let limited = hub.stats.replies_limited > limited;
        self.took(What::Datagram, ConnId::NOBODY);
        if limited {
            let (ip, max) = (from.ip(), self.hub.config.replies_per_ip.unwrap_or_default());
            let text = format_args!("{ip} is not answered more often than {max} times a second");
            self.complain(|c| &mut c.udp.replies, text);
        }
        // An answer is hot, and does not take the room of the next.
        self.send_datagrams();
        self.lap(Culprit::Datagram(from));
    }

    /// What callbacks have sent is given to the kernel. What it does not take is thrown away, as
    /// any network may do: one that waited would keep those behind it, which may go elsewhere.
    pub(super) fn send_datagrams(&mut self) {
        let Self { hub, net, udp, .. } = self;
        let mut failed = None;
        for (UdpId(n), to, bytes) in hub.outbox.iter() {
            let Udp { socket: Some(socket), addr, .. } = &mut udp[usize::from(n)] else { continue };
            let address = if addr.is_ipv6() { mapped(to) } else { to };
            match send_once_more(|| net.send_to(socket, address, bytes)) {
                Ok(()) => {
                    hub.stats.datagrams_out += 1;
                    hub.stats.datagram_bytes_out += bytes.len() as u64;
                }
                Err(e) => {
                    hub.stats.datagrams_unsent += 1;
                    failed = Some((to, bytes.len(), e));
                }
            }
        }
        hub.outbox.clear();
        if let Some((to, size, e)) = failed {
            let text = format_args!("a datagram of {size} bytes to {to} was not sent: {e}");
            self.complain(|c| &mut c.udp.send, text);
        }
    }
}

/// The first try may be told of an error that an earlier datagram met (ICMP), or be interrupted.
fn send_once_more(mut send: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted};
    match send() {
        Err(e) if matches!(e.kind(), ConnectionRefused | ConnectionReset | Interrupted) => send(),
        result => result,
    }
}

/// What an IPv6 socket calls an IPv4 address, back in its own form.
fn unmapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, addr.port())),
        IpAddr::V6(_) => addr, // with its scope
    }
}

/// An IPv6 socket knows IPv4 addresses by another name.
fn mapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::from((ip.to_ipv6_mapped(), addr.port())),
        IpAddr::V6(_) => addr,
    }
}
