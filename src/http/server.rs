//! What every server of HTTP would else write: requests out of `Protocol::data`, their deadlines,
//! errors that the client can read, and answers that are gathered for one write.
use std::time::Duration;

use super::{Error, Framing, Limits, Part, Requests, Response, Responses, Status, Terms};
use crate::{ConnId, Input, Peer};

/// What a server of HTTP keeps for all of its connections. Each has a [`Conn`] in its session.
///
/// [`data`](crate::Protocol::data) asks for [`next`](Server::next) until it is `None`, and ends
/// with [`end_of_data`](Server::end_of_data); [`timer`](crate::Protocol::timer) is
/// [`timer`](Server::timer), so that [`Peer::wake_in`] is not the protocol's to use as long as
/// requests are read.
#[derive(Debug)]
pub struct Server {
    /// What a client may send.
    pub limits: Limits,
    /// How long a head may take, from its first byte to its last, whatever comes meanwhile. Then
    /// the answer is 408. Default 10 s.
    pub head_time: Duration,
    /// How long a body may take, from the end of its head. Default 60 s.
    pub body_time: Duration,
    responses: Responses,
    unix_time: fn() -> Duration,
    /// Answers that have not gone to the peer yet.
    out: Vec<u8>,
    /// Whose they are. A callback that gave up on its connection may have left some: they are
    /// nobody else's.
    owner: ConnId,
}

/// Where one connection is.
#[derive(Clone, Copy, Debug)]
pub struct Conn {
    requests: Requests,
    terms: Terms,
    /// The head of a request was shown, and its end was not.
    is_within: bool,
    /// The client waits to be asked for a body, and was neither asked nor answered.
    waits_to_be_asked: bool,
    waits_for: WaitsFor,
    /// A head has begun, or ended, since the deadline was set.
    moved_on: bool,
}

/// What has a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WaitsFor {
    Nothing,
    Head,
    Body,
}

impl Default for Conn {
    fn default() -> Self {
        Self {
            requests: Requests::default(),
            terms: Terms::LAST,
            is_within: false,
            waits_to_be_asked: false,
            waits_for: WaitsFor::Nothing,
            moved_on: false,
        }
    }
}

impl Conn {
    /// How an answer to the request at hand may be framed.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// No other request may follow the one at hand, whatever its head has said. To be called before
    /// the [answer](Server::answer), which says so.
    pub fn set_last(&mut self) {
        self.terms.keep_alive = false;
    }
}

impl Server {
    /// Answers are gathered up to so many bytes before they go to the peer.
    const GATHERED_MAX: usize = 16 << 10;

    /// `name` is what the header `Server` says; `unix_time` tells the time of day, and is asked
    /// once a second.
    pub fn new(name: &'static str, unix_time: fn() -> Duration) -> Self {
        Self {
            limits: Limits::default(),
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(60),
            responses: Responses::new(name),
            unix_time,
            out: Vec::new(),
            owner: ConnId::NOBODY,
        }
    }

    /// The next part of what `conn` has sent; a client that waits to be asked for its body
    /// ([`expects_continue`](super::Request::expects_continue)) is asked, unless it was
    /// [answered](Server::answer) at its head. `None` if it is not here, or not wanted: the last
    /// answer ends the connection, or the client should read before it asks for more. What cannot
    /// be read is answered here.
    ///
    /// A protocol whose answer to a request is not complete at its [`End`](Part::End) does not ask
    /// for the next part before it is, and [pauses](Peer::pause) the peer for that time. Then it
    /// calls [`end_of_answer`](Server::end_of_answer).
    pub fn next<'a>(
        &mut self,
        peer: &mut Peer<'_>,
        conn: &mut Conn,
        input: &mut Input<'a>,
    ) -> Option<Part<'a>> {
        if self.out.len() > Self::GATHERED_MAX {
            self.flush(peer);
        }
        if peer.is_full() {
            return None;
        }
        if std::mem::take(&mut conn.waits_to_be_asked) {
            Responses::go_on(self.out(peer));
        }
        match conn.requests.next(&self.limits, input) {
            Ok(Some(part)) => {
                match &part {
                    Part::Head(request) => {
                        conn.terms = request.terms();
                        // A server that stops says so to those who would ask on.
                        conn.terms.keep_alive &= !peer.hub().is_stopping();
                        (conn.is_within, conn.moved_on) = (true, true);
                        conn.waits_to_be_asked =
                            request.expects_continue && request.framing != Framing::None;
                    }
                    Part::End => (conn.is_within, conn.moved_on) = (false, true),
                    Part::Data(_) => {}
                }
                Some(part)
            }
            Ok(None) => None,
            Err(error) => {
                self.refuse(peer, conn, error);
                None
            }
        }
    }

    /// Begin an answer to the request at hand. It leaves with the callback, at
    /// [`end_of_data`](Server::end_of_data) or [`flush`](Server::flush).
    #[inline]
    pub fn answer(&mut self, peer: &Peer<'_>, conn: &mut Conn, status: Status) -> Response<'_> {
        conn.waits_to_be_asked = false;
        self.responses.set_time(peer.now(), self.unix_time);
        self.own(peer);
        self.responses.begin(&mut self.out, status, conn.terms)
    }

    /// Answers to this peer that it has not been given yet, to append a body to.
    pub fn out(&mut self, peer: &Peer<'_>) -> &mut Vec<u8> {
        self.own(peer);
        &mut self.out
    }

    #[inline]
    fn own(&mut self, peer: &Peer<'_>) {
        if self.owner != peer.id() {
            self.owner = peer.id();
            self.out.clear();
        }
    }

    /// Give what was answered to the peer.
    pub fn flush(&mut self, peer: &mut Peer<'_>) {
        if !self.out.is_empty() && self.owner == peer.id() {
            peer.send(&self.out);
            self.out.clear();
            self.out.shrink_to(4 * Self::GATHERED_MAX);
        }
    }

    /// The answer to a request that has [ended](Part::End) is complete: close, if it was the last.
    pub fn end_of_answer(&mut self, peer: &mut Peer<'_>, conn: &mut Conn) {
        if !conn.terms.keep_alive {
            self.close(peer, conn);
        }
    }

    /// Answer with an error, and close.
    pub fn refuse(&mut self, peer: &mut Peer<'_>, conn: &mut Conn, error: Error) {
        self.responses.set_time(peer.now(), self.unix_time);
        let terms = if conn.is_within { conn.terms } else { Terms::LAST };
        self.own(peer);
        self.responses.refuse(&mut self.out, error, terms);
        self.close(peer, conn);
    }

    /// Close when all that was answered has left. Whatever else comes is not looked at.
    pub fn close(&mut self, peer: &mut Peer<'_>, conn: &mut Conn) {
        self.flush(peer);
        conn.requests.stop();
        peer.close();
    }

    /// The connection speaks another protocol from here on, after the answer (with 101). What is
    /// left of the input is its.
    pub fn leave(&mut self, peer: &mut Peer<'_>, conn: &mut Conn) {
        self.flush(peer);
        conn.requests.stop();
        peer.cancel_wake();
        conn.waits_for = WaitsFor::Nothing;
    }

    /// Let go of what was answered, and set the deadline of what has begun to come: one that comes
    /// byte by byte does not move its own. `is_answering`: an answer is under way, and nothing is
    /// read meanwhile. As long as the client does not read what it was answered, nothing is due.
    pub fn end_of_data(
        &mut self,
        peer: &mut Peer<'_>,
        conn: &mut Conn,
        rest: &Input<'_>,
        is_answering: bool,
    ) {
        self.flush(peer);
        let waits_for = match is_answering || peer.is_full() {
            true => WaitsFor::Nothing,
            false if conn.requests.is_in_body() => WaitsFor::Body,
            false if conn.requests.is_within(rest) => WaitsFor::Head,
            false => WaitsFor::Nothing,
        };
        if waits_for != conn.waits_for || conn.moved_on && waits_for != WaitsFor::Nothing {
            match waits_for {
                WaitsFor::Nothing => peer.cancel_wake(),
                WaitsFor::Head => peer.wake_in(self.head_time),
                WaitsFor::Body => peer.wake_in(self.body_time),
            }
        }
        (conn.waits_for, conn.moved_on) = (waits_for, false);
    }

    /// A request has taken too long to come: it is answered with 408.
    pub fn timer(&mut self, peer: &mut Peer<'_>, conn: &mut Conn) {
        let why = match conn.waits_for {
            WaitsFor::Nothing => return,
            WaitsFor::Head => "the head of a request took too long",
            WaitsFor::Body => "the body of a request took too long",
        };
        self.refuse(peer, conn, Error { status: Status::REQUEST_TIMEOUT, why });
    }
}
