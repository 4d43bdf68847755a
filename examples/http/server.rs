//! The protocol: requests come, are decided at their head, and answered at their end.
use std::{
    mem,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use charkh::{
    ConnId, Hub, Input, Peer, Protocol, Reason, Result,
    http::{Error, Framing, Limits, Part, Request, Requests, Responses, Status, Terms},
};

use super::{
    files::Files,
    routes::{self, Reply, Source},
};

/// Answers are gathered up to so many bytes before they go to the peer.
const GATHERED_MAX: usize = 16 << 10;

/// Bodies that are kept, of all connections together.
const BODIES_MAX: usize = 64 << 20;

/// Buffers of bodies that are kept for the next, and how large each may be.
const SPARE_MAX: usize = 64;
const SPARE_SIZE_MAX: usize = 64 << 10;

/// The server.
#[derive(Debug)]
pub struct Http {
    /// What a client may send.
    pub limits: Limits,
    /// How long a head may take, from its first byte to its last.
    pub head_time: Duration,
    /// How long a body may take, from the end of its head.
    pub body_time: Duration,
    /// The time of day, asked for once a second.
    pub clock: fn() -> Duration,
    files: Option<Files>,
    responses: Responses,
    /// The answers of one callback, until it returns.
    out: Vec<u8>,
    /// Bytes of bodies that are kept.
    bodies: usize,
    spare: Vec<Vec<u8>>,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    requests: Requests,
    waits_for: WaitsFor,
    terms: Terms,
    reply: Reply,
    /// An answer that is being sent. Until its end nothing more is read.
    source: Option<Box<Source>>,
}

/// What has a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WaitsFor {
    Nothing,
    Head,
    Body,
}

impl Http {
    /// One that serves these files, or a greeting.
    pub fn new(files: Option<Files>) -> Self {
        Self {
            limits: Limits::default(),
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(60),
            clock: || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            files,
            responses: Responses::new("charkh"),
            out: Vec::new(),
            bodies: 0,
            spare: Vec::new(),
        }
    }
}

impl Protocol for Http {
    type Session = Session;

    fn open(&mut self, _: &mut Peer) -> Session {
        Session {
            requests: Requests::default(),
            waits_for: WaitsFor::Nothing,
            terms: Terms::LAST,
            reply: Reply::None,
            source: None,
        }
    }

    fn data(&mut self, peer: &mut Peer, session: &mut Session, input: &mut Input) -> Result {
        self.responses.set_time(peer.now(), self.clock);
        let mut is_another = false;
        while session.source.is_none() && !peer.is_full() {
            match session.requests.next(&self.limits, input) {
                Ok(Some(Part::Head(request))) => {
                    is_another = true;
                    self.decide(peer, session, &request);
                }
                Ok(Some(Part::Data(bytes))) => self.keep(peer, session, bytes),
                Ok(Some(Part::End)) => {
                    is_another = true;
                    self.answer(session);
                    self.go_on(peer, session)?;
                }
                Ok(None) => break,
                Err(error) => self.refuse(peer, session, error),
            }
            if self.out.len() > GATHERED_MAX {
                self.flush(peer);
            }
        }
        self.flush(peer);
        self.set_deadline(peer, session, input, is_another);
        Ok(())
    }

    fn drained(&mut self, peer: &mut Peer, session: &mut Session) -> Result {
        self.go_on(peer, session)
    }

    /// A request has taken too long to come.
    fn timer(&mut self, peer: &mut Peer, session: &mut Session) -> Result {
        let status = Status::REQUEST_TIMEOUT;
        let why = match session.waits_for {
            WaitsFor::Nothing => return Ok(()),
            WaitsFor::Head => "the head of a request took too long",
            WaitsFor::Body => "the body of a request took too long",
        };
        self.responses.set_time(peer.now(), self.clock);
        self.refuse(peer, session, Error { status, why });
        Ok(())
    }

    fn closed(&mut self, _: &mut Hub, _: ConnId, session: Session, _: Reason) {
        self.forget(session.reply);
    }
}

impl Http {
    /// A head has come. A client that waits to be asked for the body is asked for what is wanted,
    /// and else answered at once: whether the body still comes nobody knows, so it was the last.
    fn decide(&mut self, peer: &mut Peer, session: &mut Session, request: &Request) {
        session.terms = request.terms();
        session.reply = routes::reply(request, self.files.as_ref());
        if request.expects_continue && !matches!(request.framing, Framing::None) {
            match session.reply {
                Reply::Echo(_) => Responses::go_on(&mut self.out),
                _ => {
                    session.terms.keep_alive = false;
                    self.answer(session);
                    session.source = None;
                    self.close(peer, session);
                }
            }
        }
    }

    /// A piece of a body. Nobody but the echo wants it.
    fn keep(&mut self, peer: &mut Peer, session: &mut Session, bytes: &[u8]) {
        let Reply::Echo(body) = &mut session.reply else { return };
        if self.bodies + bytes.len() > BODIES_MAX {
            let (status, why) = (Status::SERVICE_UNAVAILABLE, "too many bodies at once");
            return self.refuse(peer, session, Error { status, why });
        }
        self.bodies += bytes.len();
        if body.capacity() == 0 {
            *body = self.spare.pop().unwrap_or_default();
        }
        body.extend_from_slice(bytes);
    }

    /// All of a request has come.
    fn answer(&mut self, session: &mut Session) {
        let mut reply = mem::take(&mut session.reply);
        session.source = reply.write(&self.responses, session.terms, &mut self.out);
        self.forget(reply);
    }

    /// A body is needed no longer.
    fn forget(&mut self, reply: Reply) {
        if let Reply::Echo(mut body) = reply {
            self.bodies -= body.len();
            if body.capacity() > 0
                && body.capacity() <= SPARE_SIZE_MAX
                && self.spare.len() < SPARE_MAX
            {
                body.clear();
                self.spare.push(body);
            }
        }
    }

    /// Send as much of an answer as the client takes now; then, what is behind its end.
    fn go_on(&mut self, peer: &mut Peer, session: &mut Session) -> Result {
        while let Some(source) = &mut session.source {
            // Its length was announced: without its end, the end must not look like a good one.
            let is_over = source.fill(&mut self.out).inspect_err(|_| peer.abort())?;
            self.flush(peer);
            if is_over {
                session.terms.keep_alive &= source.is_framed();
                session.source = None;
                peer.resume();
            } else if peer.is_full() {
                peer.pause();
                return Ok(());
            }
        }
        if !session.terms.keep_alive && !session.requests.is_in_body() {
            self.close(peer, session);
        }
        Ok(())
    }

    fn refuse(&mut self, peer: &mut Peer, session: &mut Session, error: Error) {
        self.forget(mem::take(&mut session.reply));
        self.responses.refuse(&mut self.out, error);
        self.close(peer, session);
    }

    /// After what was answered. Whatever else comes is not looked at.
    fn close(&mut self, peer: &mut Peer, session: &mut Session) {
        self.flush(peer);
        session.requests.stop();
        peer.close();
    }

    fn flush(&mut self, peer: &mut Peer) {
        if !self.out.is_empty() {
            peer.send(&self.out);
            self.out.clear();
        }
    }

    /// Deadlines are those of a request: one that comes byte by byte does not move its own.
    fn set_deadline(
        &mut self,
        peer: &mut Peer,
        session: &mut Session,
        rest: &Input,
        is_another: bool,
    ) {
        let waits_for = match session.source {
            Some(_) => WaitsFor::Nothing,
            None if session.requests.is_in_body() => WaitsFor::Body,
            None if session.requests.is_within(rest) => WaitsFor::Head,
            None => WaitsFor::Nothing,
        };
        if waits_for == session.waits_for && !is_another {
            return;
        }
        match waits_for {
            WaitsFor::Nothing if session.waits_for == WaitsFor::Nothing => {}
            WaitsFor::Nothing => peer.cancel_wake(),
            WaitsFor::Head => peer.wake_in(self.head_time),
            WaitsFor::Body => peer.wake_in(self.body_time),
        }
        session.waits_for = waits_for;
    }
}
