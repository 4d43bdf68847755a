//! One connection, in the hands of a callback.
use std::{any::Any, io, sync::Arc, time::Duration};

use crate::{
    addr::Addr,
    conn::{Conn, Ours, Reason, State, stamp},
    hub::{ConnId, Hub, ListenerId},
    layer::Layer,
};

/// One connection, for the length of a callback. Keep its [`id`](Peer::id), not the peer.
///
/// Nothing here blocks and nothing here fails: what is sent is queued, and leaves in this turn if
/// the kernel takes it. A peer is also an [`io::Write`], so `write!(peer, ..)?` works.
#[derive(Debug)]
pub struct Peer<'a> {
    hub: &'a mut Hub,
    id: ConnId,
}

impl<'a> Peer<'a> {
    pub(crate) fn new(hub: &'a mut Hub, id: ConnId) -> Self {
        Self { hub, id }
    }

    /// Queue bytes; `false` if this connection takes no more, because its half is finished or it
    /// is over.
    ///
    /// More than [`Config::output_max`](crate::Config::output_max) unsent ends the connection.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.hub.admit(self.id.slot, bytes.len()) && self.hub.push_output(self.id.slot, bytes)
    }

    /// Queue a payload that others are sent too. It is kept once, however many it waits for; only
    /// one of 64 bytes or less is copied, which costs less. Otherwise like [`send`](Peer::send).
    pub fn send_shared(&mut self, payload: &Arc<[u8]>) -> bool {
        self.hub.admit(self.id.slot, payload.len()) && self.hub.push_shared(self.id.slot, payload)
    }

    /// Say no more: the peer reads our end after all that was sent. It may go on sending, and is
    /// heard.
    pub fn finish(&mut self) {
        let conn = self.conn_mut();
        if conn.state != State::Ended && conn.ours == Ours::Open {
            conn.ours = Ours::Finishing;
            self.hub.touch(self.id.slot);
        }
    }

    /// [`finish`](Peer::finish), and hear no more: no callback but `closed` follows (and before it
    /// the `open` of one that is on its way and was sent something). What was sent
    /// leaves first; then the peer is given [`Config::linger`](crate::Config::linger) to end its
    /// half, while what it still says is thrown away. One that is not up yet and was sent nothing
    /// is given up at once.
    pub fn close(&mut self) {
        let slot = self.id.slot;
        let nothing_sent = self.unsent() == 0;
        let conn = self.conn_mut();
        if conn.state != State::Up && nothing_sent {
            return self.hub.end(slot, Reason::Closed);
        }
        if conn.deaf() {
            return;
        }
        conn.set_deaf(true);
        conn.set_reoffer(false);
        conn.wake = None;
        let finished_before = conn.ours == Ours::Finished;
        if conn.held.is_some() {
            self.hub.hold(slot, |held, pool| held.take_input().0.clear(pool));
        }
        if finished_before {
            self.hub.linger(slot);
        }
        self.finish();
        self.hub.touch(slot);
    }

    /// End now, with a reset. What is unsent is lost. A unix socket has no resets: there the peer
    /// reads an end, unless it had said something that was not read.
    pub fn abort(&mut self) {
        self.hub.end(self.id.slot, Reason::Aborted);
    }

    /// Take no more input until [`resume`](Peer::resume). The kernel's buffer fills, and the peer
    /// feels it.
    pub fn pause(&mut self) {
        self.conn_mut().set_paused(true);
    }

    /// Take input again, first what was offered before and not taken.
    pub fn resume(&mut self) {
        let stopping = self.hub.is_stopping();
        let conn = self.conn_mut();
        if conn.paused() {
            conn.set_paused(false);
            // There may be nothing to offer, or it may be in the hands of this very callback.
            conn.set_reoffer(!conn.deaf());
            // Whoever is quiet now has to be found quiet.
            conn.set_readable(conn.readable() || stopping);
            self.hub.touch(self.id.slot);
        }
    }

    /// Go on reading from this peer while its output is above the high watermark, or, as at first,
    /// do not.
    ///
    /// Where input asks and output answers, who does not read answers should ask no more. Where
    /// the two have nothing to do with each other, as in a proxy, each waiting for the other could
    /// be for ever; there the protocol pauses whoever fills this output.
    pub fn read_while_full(&mut self, on: bool) {
        self.conn_mut().set_read_while_full(on);
        self.hub.touch(self.id.slot);
    }

    /// Call [`Protocol::timer`](crate::Protocol::timer) after this time, unless asked again
    /// before. Counted from the beginning of this callback, rounded up to the next millisecond;
    /// never early. Longer than 24 days is never. A connection that is on its way is woken when it
    /// is up; one that was closed is not woken.
    pub fn wake_in(&mut self, after: Duration) {
        let at = self.hub.ms_after(after).map(stamp);
        let conn = self.conn_mut();
        if !conn.deaf() {
            conn.wake = at;
            self.hub.rearm(self.id.slot);
        }
    }

    /// Forget what was asked of [`wake_in`](Peer::wake_in).
    pub fn cancel_wake(&mut self) {
        self.conn_mut().wake = None;
    }

    /// End this connection with [`Reason::Deadline`] after this time, whatever it does until
    /// then: the limit that a slow sender cannot move by sending one byte more.
    pub fn deadline_in(&mut self, after: Duration) {
        let at = self.hub.ms_after(after).map(stamp);
        let conn = self.conn_mut();
        if !conn.is_lingering() {
            conn.deadline = at;
            self.hub.rearm(self.id.slot);
        }
    }

    /// Forget what was asked of [`deadline_in`](Peer::deadline_in).
    pub fn clear_deadline(&mut self) {
        let conn = self.conn_mut();
        if !conn.is_lingering() {
            conn.deadline = None;
        }
    }

    /// Tell how many bytes of memory the session keeps beside what is unread and unsent: a message
    /// that is put together, say. They count towards
    /// [`Config::memory_max`](crate::Config::memory_max), and for who is the heaviest, until
    /// something else is told. If all together hold too much, this very connection may be over
    /// with the call.
    #[inline]
    pub fn set_held(&mut self, bytes: usize) {
        if self.conn().session_holds() != bytes {
            self.hub.hold(self.id.slot, |held, _| held.session = bytes);
        }
    }

    /// All connections.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }

    /// Another connection, by name, if it is still here.
    pub fn to(&mut self, id: ConnId) -> Option<Peer<'_>> {
        self.hub.peer(id)
    }

    /// This connection's name, which stays its own when it is gone.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// The other side's address. An IPv4 client of an IPv6 listener has its IPv4 address; most
    /// clients of a unix socket have none.
    pub fn addr(&self) -> Addr {
        self.hub.addr(self.id.slot)
    }

    /// The [`Layer`] of this connection, if it has one of that kind: what it knows of the peer. A
    /// connection that is over has none any more, though it be in this very callback.
    pub fn layer<L: Layer>(&self) -> Option<&L> {
        let layered = self.conn().layer.as_ref()?;
        let layer: &dyn Any = &*layered.layer;
        layer.downcast_ref()
    }

    /// Which listener it came by; `None` if it was dialed.
    pub fn listener(&self) -> Option<ListenerId> {
        let listener = self.conn().listener;
        (listener != Conn::OUTBOUND).then_some(ListenerId(listener))
    }

    /// The protocol has met it: it is not on its way, or waiting to be.
    pub fn is_up(&self) -> bool {
        self.conn().state == State::Up
    }

    /// Bytes that have not left.
    pub fn unsent(&self) -> usize {
        self.hub.unsent(self.id.slot)
    }

    /// Output went above the high watermark and has not fallen to the low one. A protocol that
    /// produces much stops here, and goes on in [`drained`](crate::Protocol::drained); one that
    /// answers what it reads takes no more of it: the rest is offered again when there is room.
    pub fn is_full(&self) -> bool {
        self.conn().full()
    }

    /// The time of this turn; see [`Hub::now`].
    pub fn now(&self) -> Duration {
        self.hub.now()
    }

    fn conn(&self) -> &Conn {
        &self.hub.conns[self.id.slot as usize]
    }

    fn conn_mut(&mut self) -> &mut Conn {
        &mut self.hub.conns[self.id.slot as usize]
    }
}

/// Never blocks: what is written is queued.
impl io::Write for Peer<'_> {
    /// # Errors
    /// `BrokenPipe`, if this connection takes no more.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.send(bytes) {
            true => Ok(bytes.len()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
