//! One datagram that came, in the hands of a callback.
use std::{fmt, net::SocketAddr, time::Duration};

use crate::{
    hub::{Hub, network},
    outbox::UdpId,
};

/// A datagram that came to a UDP socket of this reactor, for the length of a callback.
///
/// Nothing about it is proven: anybody can send one with anybody's address in it, and whoever
/// answers sends to whom a stranger chose. [`reply`](Datagram::reply) is made for that.
pub struct Datagram<'a> {
    hub: &'a mut Hub,
    socket: UdpId,
    /// The port that the socket is bound to.
    port: u16,
    addr: SocketAddr,
    bytes: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// The ports below are those of services, which answer.
    const UNPRIVILEGED: u16 = 1024;

    pub(crate) fn new(
        hub: &'a mut Hub,
        (socket, port): (UdpId, u16),
        addr: SocketAddr,
        bytes: &'a [u8],
    ) -> Self {
        Self { hub, socket, port, addr, bytes }
    }

    /// What it says; an empty one is a datagram too.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where it says that it comes from. An IPv4 sender to an IPv6 socket has its IPv4 address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The socket that it came to.
    pub fn socket(&self) -> UdpId {
        self.socket
    }

    /// Answer it, from the socket that it came to; `false` if that is not to be:
    ///
    /// - An answer is never longer than what it answers, or whoever invents a sender has a stranger
    ///   sent more than it costs to ask.
    /// - Nothing goes to a port below 1024, nor to the port that the socket itself has: those who
    ///   answer there would be answered in turn, for ever.
    /// - At most [`Config::replies_per_ip`](crate::Config::replies_per_ip) a second go to one
    ///   address. Two servers with other ports that answer each other end by that, for what one of
    ///   them does not answer is the last.
    /// - As with [`Hub::send_datagram`], there may be no room.
    ///
    /// A protocol that has proven the address in a way of its own, or must answer at length, uses
    /// `send_datagram`, which asks none of the first three.
    pub fn reply(&mut self, bytes: &[u8]) -> bool {
        let Self { hub, addr, .. } = self;
        let may_loop = addr.port() < Self::UNPRIVILEGED || addr.port() == self.port;
        if may_loop || bytes.len() > self.bytes.len() {
            hub.stats.replies_refused += 1;
            return false;
        }
        if let Some(max) = hub.config.replies_per_ip
            && !hub.replies.allow(network(addr.ip()), hub.now(), max)
        {
            hub.stats.replies_limited += 1;
            return false;
        }
        hub.send_datagram(self.socket, self.addr, bytes)
    }

    /// All connections, and the way to send any other datagram.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }

    /// The time of this turn; see [`Hub::now`].
    pub fn now(&self) -> Duration {
        self.hub.now()
    }
}

impl fmt::Debug for Datagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagram")
            .field("socket", &self.socket)
            .field("addr", &self.addr)
            .field("size", &self.bytes.len())
            .finish_non_exhaustive()
    }
}
