//! The protocol: requests come, are decided at their head, and answered at their end.
use std::{
    mem,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use charkh::{
    ConnId, Hub, Input, Peer, Protocol, Reason, Result,
    http::{Conn, Error, Framing, Part, Request, Server, Status},
};

use super::{
    files::Files,
    routes::{self, Reply, Source},
};

/// Buffers of bodies that are kept for the next, and how large each may be.
const SPARE_MAX: usize = 64;
const SPARE_SIZE_MAX: usize = 64 << 10;

/// The server.
#[derive(Debug)]
pub struct Http {
    /// With limits and deadlines.
    pub http: Server,
    /// Bytes of bodies that are kept, of all connections together. More is answered with 503.
    /// Default 64 MiB.
    pub bodies_max: usize,
    /// What is served, if anything is.
    pub files: Option<Files>,
    /// Bytes of bodies that are kept.
    bodies: usize,
    spare: Vec<Vec<u8>>,
}

/// One connection.
#[derive(Debug, Default)]
pub struct Session {
    conn: Conn,
    reply: Reply,
    /// An answer that is being sent. Until its end nothing more is read.
    source: Option<Box<Source>>,
}

impl Http {
    /// One that serves these files, or a greeting.
    pub fn new(files: Option<Files>) -> Self {
        Self {
            http: Server::new("charkh", unix_time),
            bodies_max: 64 << 20,
            files,
            bodies: 0,
            spare: Vec::new(),
        }
    }
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Protocol for Http {
    type Session = Session;

    fn open(&mut self, _: &mut Peer) -> Session {
        Session::default()
    }

    fn data(&mut self, peer: &mut Peer, session: &mut Session, input: &mut Input) -> Result {
        while session.source.is_none()
            && let Some(part) = self.http.next(peer, &mut session.conn, input)
        {
            match part {
                Part::Head(request) => self.decide(peer, session, &request),
                Part::Data(bytes) => self.keep(peer, session, bytes),
                Part::End => {
                    self.answer(peer, session);
                    self.go_on(peer, session)?;
                }
            }
        }
        self.http.end_of_data(peer, &mut session.conn, input, session.source.is_some());
        peer.set_held(session.reply.memory());
        Ok(())
    }

    fn drained(&mut self, peer: &mut Peer, session: &mut Session) -> Result {
        match session.source {
            Some(_) => self.go_on(peer, session),
            None => Ok(()),
        }
    }

    /// A request has taken too long to come.
    fn timer(&mut self, peer: &mut Peer, session: &mut Session) -> Result {
        self.http.timer(peer, &mut session.conn);
        Ok(())
    }

    fn closed(&mut self, _: &mut Hub, _: ConnId, session: Session, _: Reason) {
        if let Reply::Echo(body) = session.reply {
            self.forget(body);
        }
    }
}

impl Http {
    /// A head has come. A client that waits to be asked for a body that nobody wants is refused at
    /// once: whether it still comes then nobody knows, so it was the last request.
    fn decide(&mut self, peer: &mut Peer, session: &mut Session, request: &Request) {
        session.reply = routes::reply(request, self.files.as_ref());
        let waits = request.expects_continue && request.framing != Framing::None;
        if waits && matches!(session.reply, Reply::Text(..) | Reply::Methods(..)) {
            session.conn.set_last();
            self.answer(peer, session);
            self.http.close(peer, &mut session.conn);
        }
    }

    /// A piece of a body. Nobody but the echo wants it.
    fn keep(&mut self, peer: &mut Peer, session: &mut Session, bytes: &[u8]) {
        let Reply::Echo(body) = &mut session.reply else { return };
        if self.bodies + bytes.len() > self.bodies_max {
            let (status, why) = (Status::SERVICE_UNAVAILABLE, "too many bodies at once");
            return self.http.refuse(peer, &mut session.conn, Error { status, why });
        }
        self.bodies += bytes.len();
        if body.capacity() == 0 {
            *body = self.spare.pop().unwrap_or_default();
        }
        body.extend_from_slice(bytes);
    }

    /// A body is needed no longer.
    fn forget(&mut self, mut body: Vec<u8>) {
        self.bodies -= body.len();
        let is_useful = (1..=SPARE_SIZE_MAX).contains(&body.capacity());
        if is_useful && self.spare.len() < SPARE_MAX {
            body.clear();
            self.spare.push(body);
        }
    }

    /// All of a request has come.
    fn answer(&mut self, peer: &mut Peer, session: &mut Session) {
        let mut reply = mem::take(&mut session.reply);
        session.source = reply.write(&mut self.http, peer, &mut session.conn);
        if let Reply::Echo(body) = reply {
            self.forget(body);
        }
    }

    /// Send as much of an answer as the client takes now; then, what is behind its end.
    fn go_on(&mut self, peer: &mut Peer, session: &mut Session) -> Result {
        let Some(source) = &mut session.source else {
            self.http.end_of_answer(peer, &mut session.conn);
            return Ok(());
        };
        loop {
            // Its length was announced: where it cannot be kept, the end must not look like a good
            // one.
            let is_over = source.fill(self.http.out(peer)).inspect_err(|_| peer.abort())?;
            self.http.flush(peer);
            if is_over {
                break;
            }
            if peer.is_full() {
                peer.pause();
                return Ok(());
            }
        }
        if !source.is_framed() {
            session.conn.set_last();
        }
        session.source = None;
        peer.resume();
        self.http.end_of_answer(peer, &mut session.conn);
        Ok(())
    }
}
