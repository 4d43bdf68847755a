//! What may stand between the wire and the protocol: encryption, compression, a prologue.
use std::{any::Any, fmt, num::NonZeroU32};

use crate::{Addr, Result};

/// A transformation of both streams of one connection. Bytes in, bytes out: a layer does no I/O,
/// keeps no more than the record that is not whole yet, and is told when the peer has ended.
///
/// The protocol meets a connection when its layer is ready: [`open`](crate::Protocol::open) comes
/// after the handshake, and never for one whose handshake fails. Until then
/// [`Config::handshake`](crate::Config::handshake) is its deadline, whatever comes.
///
/// Any error ends the connection with that error as its [`Reason`](crate::Reason); what the layer
/// answered before it (an alert) gets one write. A client that the protocol has not met may read it
/// in peace: its end is waited for, as after [`Peer::close`](crate::Peer::close).
///
/// ```
/// use charkh::{Layer, Result};
///
/// /// Hides nothing from anybody.
/// struct Xor(u8);
///
/// impl Layer for Xor {
///     fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, _: &mut Vec<u8>) -> Result {
///         plain.extend(wire.iter().map(|byte| byte ^ self.0));
///         Ok(())
///     }
///     fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
///         wire.extend(plain.iter().map(|byte| byte ^ self.0));
///         Ok(())
///     }
/// }
/// ```
pub trait Layer: Any {
    /// The connection is there, and nothing has come yet: append what this side says first, if it
    /// speaks first.
    ///
    /// # Errors
    /// As everywhere here: the end of the connection.
    fn start(&mut self, _wire: &mut Vec<u8>) -> Result {
        Ok(())
    }

    /// Bytes came off the wire; the layer may change them where they lie. What they say to the
    /// protocol is appended to `plain`, and what the layer itself must answer (a handshake) to
    /// `answer`. Both may stay empty. What is in `plain` before the layer is ready is kept until it
    /// is.
    ///
    /// # Errors
    /// The end of the connection. What is in `plain` then is not heard any more: it could not be
    /// answered.
    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, answer: &mut Vec<u8>) -> Result;

    /// Bytes of memory that it keeps until more comes: what it has of a record. They count against
    /// [`Config::memory_max`](crate::Config::memory_max). Asked after each
    /// [`receive`](Layer::receive).
    fn held(&self) -> usize {
        0
    }

    /// Bytes of memory that it takes itself for as long as it is there, whatever comes; they count
    /// against [`Config::memory_max`](crate::Config::memory_max) too. Asked once, when it is put in
    /// its place. Its own size if it does not say more, which who keeps a state elsewhere should.
    fn size(&self) -> usize {
        size_of_val(self)
    }

    /// May [`send`](Layer::send) be called? Not during a handshake, for instance. Until this is
    /// `true`, which only [`start`](Layer::start) and [`receive`](Layer::receive) can make it, the
    /// protocol has not met the connection. A peer that ends before has cut the handshake short:
    /// the connection ends with a fault.
    fn is_ready(&self) -> bool {
        true
    }

    /// The protocol sent `plain`: append its form on the wire.
    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result;

    /// The peer has said, in the layer's own words, that it sends no more (TLS `close_notify`): the
    /// protocol reads its end, and the wire is not read any more. Asked after each
    /// [`receive`](Layer::receive).
    fn is_over(&self) -> bool {
        false
    }

    /// The peer has ended. An error says that the stream was cut short.
    fn eof(&mut self) -> Result {
        Ok(())
    }

    /// Append the last words before our half ends (TLS `close_notify`).
    fn finish(&mut self, _wire: &mut Vec<u8>) {}

    /// Whether this layer goes on, asked after [`start`](Layer::start) and after each
    /// [`receive`](Layer::receive). One that was only a prologue gives way to the next: what it
    /// appended to `plain` last is then the first that the next one reads.
    fn next(&mut self) -> Next {
        Next::Same
    }

    /// Who the peer is, as this layer knows it. Asked when the connection is made, and before the
    /// layer gives way.
    fn origin(&self) -> Origin {
        Origin::Wire
    }
}

/// What comes after a [`Layer`].
pub enum Next {
    /// It stays.
    Same,
    /// Nothing: bytes pass as they are, and cost what they cost without a layer.
    Nothing,
    /// Another one.
    Layer(Box<dyn Layer>),
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Next::Same => "Same",
            Next::Nothing => "Nothing",
            Next::Layer(_) => "Layer",
        })
    }
}

/// Who is at the other end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Whoever the socket is connected to.
    Wire,
    /// The layer will be told. Until then the address is not counted against
    /// [`Config::conns_per_ip`](crate::Config::conns_per_ip): a balancer is nobody's client.
    Unknown,
    /// This one: [`Peer::addr`](crate::Peer::addr) says so from now on, and it is counted. A layer
    /// that comes after need not repeat it.
    Named(Addr),
}

/// A layer in its place: one pointer in the table, which few connections need.
pub(crate) struct Layered {
    pub(crate) layer: Box<dyn Layer>,
    /// It has to be ready by then: a stamp of the timers' clock.
    pub(crate) until: Option<NonZeroU32>,
    /// Bytes that it takes itself, as the hub counts them.
    pub(crate) size: usize,
}
