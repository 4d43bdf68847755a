//! What you write.
use crate::{ConnId, Datagram, Hub, Input, Peer, Reason, Result};

/// A protocol: `self` is the whole server, [`Session`](Protocol::Session) is one connection of it.
///
/// All callbacks run on the reactor's thread, one at a time, so `&mut self` is all the sharing
/// there is. They must not block: while one runs nobody else is served, and one that takes longer
/// than [`Config::slow_turn`](crate::Config::slow_turn) is counted and named in the log. Blocking
/// work goes to a thread, and its answer comes back through a [`Handle`](crate::Handle).
///
/// What a callback does (send, close, connect) is an edit of a table; the reactor makes the kernel
/// agree with it later in the same turn. So nothing here can fail because of the network, and a
/// connection never vanishes under a callback's feet.
///
/// An `Err` ends that one connection, with the error as its [`Reason`]. What was sent before it is
/// written once, as far as the kernel takes it; to be sure that a last message arrives,
/// [`close`](Peer::close) and return `Ok`.
///
/// A panic is not caught: it leaves `self` in a state that nobody can vouch for, for every other
/// connection too, so it goes on through [`Reactor::run`](crate::Reactor::run) to the caller.
///
/// ```
/// use charkh::{Input, Peer, Protocol, Result};
///
/// /// Counts lines, for each connection and for all.
/// struct Count { total: u64 }
///
/// impl Protocol for Count {
///     type Session = u64;
///
///     fn open(&mut self, _: &mut Peer) -> u64 {
///         0
///     }
///
///     fn data(&mut self, peer: &mut Peer, own: &mut u64, input: &mut Input) -> Result {
///         while input.line(1024)?.is_some() {
///             *own += 1;
///             self.total += 1;
///             peer.send(format!("{own} of {}\n", self.total).as_bytes());
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Protocol {
    /// What one connection remembers from one call to the next.
    type Session;

    /// A connection is up, accepted or dialed: [`Peer::listener`] tells which.
    fn open(&mut self, peer: &mut Peer<'_>) -> Self::Session;

    /// Bytes came. Take what can be used; the rest is offered again with the next ones.
    ///
    /// # Errors
    /// Any error ends this connection.
    fn data(
        &mut self,
        peer: &mut Peer<'_>,
        session: &mut Self::Session,
        input: &mut Input<'_>,
    ) -> Result;

    /// The peer has finished sending; `rest` is what was never taken, the front of a message that
    /// will not be whole. Our half is still open. By default it is finished too, after all that
    /// was sent has left.
    ///
    /// # Errors
    /// Any error ends this connection.
    fn eof(
        &mut self,
        peer: &mut Peer<'_>,
        _session: &mut Self::Session,
        _rest: &mut Input<'_>,
    ) -> Result {
        peer.finish();
        Ok(())
    }

    /// Output was above [`Config::output_high`](crate::Config::output_high) and has fallen to
    /// [`Config::output_low`](crate::Config::output_low): there is room for more.
    ///
    /// # Errors
    /// Any error ends this connection.
    fn drained(&mut self, _peer: &mut Peer<'_>, _session: &mut Self::Session) -> Result {
        Ok(())
    }

    /// The time that was given to [`Peer::wake_in`] has come.
    ///
    /// # Errors
    /// Any error ends this connection.
    fn timer(&mut self, _peer: &mut Peer<'_>, _session: &mut Self::Session) -> Result {
        Ok(())
    }

    /// The reactor is stopping, and this connection looks idle: nothing of it is unread or unsent,
    /// and it is not paused. Called once. By default it is closed. A protocol that still owes an
    /// answer, because a thread is working on it, does nothing here and closes once it has sent
    /// it; [`Config::grace`](crate::Config::grace) ends the waiting.
    ///
    /// # Errors
    /// Any error ends this connection.
    fn stopping(&mut self, peer: &mut Peer<'_>, _session: &mut Self::Session) -> Result {
        peer.close();
        Ok(())
    }

    /// A connection that was opened is gone, and `id` names nothing any more. Called exactly once
    /// for each [`open`](Protocol::open), at the end of the turn in which it ended; or, where so
    /// many have ended that this takes longer than all else in a turn, of one of the next.
    fn closed(&mut self, _hub: &mut Hub, _id: ConnId, _session: Self::Session, _reason: Reason) {}

    /// A connection that was asked for with [`Hub::connect`] did not come up. Called exactly once
    /// for each that is never opened.
    fn connect_failed(&mut self, _hub: &mut Hub, _id: ConnId, _reason: Reason) {}

    /// A datagram came to a socket of [`Reactor::bind_udp`](crate::Reactor::bind_udp): whole, or it
    /// would not be shown. By default nothing is done with it. There is no connection that an error
    /// could end, so there is no error.
    ///
    /// ```
    /// # use charkh::{Datagram, Input, Peer, Protocol, Result};
    /// # struct Echo;
    /// # impl Protocol for Echo {
    /// #     type Session = ();
    /// #     fn open(&mut self, _: &mut Peer) {}
    /// #     fn data(&mut self, _: &mut Peer, _: &mut (), _: &mut Input) -> Result { Ok(()) }
    /// fn datagram(&mut self, datagram: &mut Datagram) {
    ///     datagram.reply(datagram.bytes());
    /// }
    /// # }
    /// ```
    fn datagram(&mut self, _datagram: &mut Datagram<'_>) {}

    /// The time that was given to [`Hub::tick_in`] or [`Hub::tick_at`] has come.
    fn tick(&mut self, _hub: &mut Hub) {}
}
