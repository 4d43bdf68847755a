//! What may stand between the wire and the protocol: encryption, compression, a prologue.
use crate::Result;

/// A transformation of both streams of one connection. Bytes in, bytes out: a layer does no I/O,
/// keeps no more than the record that is not whole yet, and is told when the peer has ended.
///
/// Any error ends the connection with that error as its [`Reason`](crate::Reason).
///
/// ```
/// use charkh::{Layer, Result};
///
/// /// Hides nothing from anybody.
/// struct Xor(u8);
///
/// impl Layer for Xor {
///     fn receive(&mut self, wire: &[u8], plain: &mut Vec<u8>, _: &mut Vec<u8>) -> Result {
///         plain.extend(wire.iter().map(|byte| byte ^ self.0));
///         Ok(())
///     }
///     fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
///         wire.extend(plain.iter().map(|byte| byte ^ self.0));
///         Ok(())
///     }
/// }
/// ```
pub trait Layer {
    /// Bytes came off the wire. What they say to the protocol is appended to `plain`, and what
    /// the layer itself must answer (a handshake) to `answer`. Both may stay empty.
    fn receive(&mut self, wire: &[u8], plain: &mut Vec<u8>, answer: &mut Vec<u8>) -> Result;

    /// May [`send`](Layer::send) be called? Not during a handshake, for instance. Until this is
    /// `true`, which only a [`receive`](Layer::receive) can make it, what the protocol sends is
    /// kept for later, and our half does not end before it has left. A peer that ends before has
    /// cut the handshake short: the connection ends with a fault.
    fn is_ready(&self) -> bool {
        true
    }

    /// The protocol sent `plain`: append its form on the wire.
    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result;

    /// The peer has ended. An error tells the protocol that the stream was cut short.
    fn eof(&mut self) -> Result {
        Ok(())
    }

    /// Append the last words before our half ends (TLS `close_notify`).
    fn finish(&mut self, _wire: &mut Vec<u8>) {}
}

/// A layer in its place: one pointer in the table, which few connections need.
pub(crate) struct Layered(pub(crate) Box<dyn Layer>);
