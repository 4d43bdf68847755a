//! The protocol: HTTP until somebody asks for WebSocket, messages from there on.
use std::{
    mem,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use charkh::{
    ConnId, Hub, Input, Peer, Protocol, Reason, Result,
    http::{Conn, Error, Part, Request, Server, Status},
};

use super::{
    close,
    frame::{self, Announcement, Opcode},
    handshake::{self, Accept},
    messages::{Buffer, Event, Limits, Messages},
    page::Page,
    room::{Person, Room},
};

/// The server.
#[derive(Debug)]
pub struct WebSocket {
    /// With limits and deadlines of the part that is HTTP.
    pub http: Server,
    /// What may be sent to `/echo`.
    pub echo_limits: Limits,
    /// What may be sent to `/chat`: 4 KiB and 16 fragments a message by default.
    pub chat_limits: Limits,
    /// Bytes of unfinished messages, of all connections together. The connection with which there
    /// were more is ended with 1013. Default 256 MiB.
    pub unfinished_max: usize,
    /// How often everybody is asked whether they are there. Who says nothing until the next time is
    /// gone. Default 25 s.
    pub ping_every: Duration,
    /// How long a message may take from its first fragment to its last, whatever comes meanwhile;
    /// looked at as often as pings are sent. Then it is ended with 1008. Default 60 s.
    pub message_time: Duration,
    /// Whose pages may talk here, beside those of the host itself: `https://example.org`.
    pub origins: Vec<String>,
    /// With its limits.
    pub room: Room,
    page: Page,
    /// Lent to whoever is served; only who is in the middle of a message has one of their own.
    buffer: Buffer,
    unfinished: usize,
    out: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub enum Session {
    /// As all of them begin.
    Http(Conn, Reply),
    /// From the handshake on.
    Socket(Box<Socket>),
}

/// What a request is answered with, when all of it has come.
#[derive(Clone, Copy, Default, Debug)]
pub enum Reply {
    /// Nothing was asked.
    #[default]
    None,
    /// The page.
    Page,
    /// Nothing is there.
    NotFound,
    /// Something is, but not for this method.
    Methods,
    /// Something is, but not in HTTP.
    NoPage,
    /// Speak WebSocket.
    Upgrade(Place, Accept),
}

/// What WebSocket is spoken with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// What says the same.
    Echo,
    /// The room.
    Chat,
}

/// One conversation.
#[derive(Debug)]
pub struct Socket {
    messages: Messages,
    /// Of a message that is under way.
    buffer: Option<Buffer>,
    /// Who is in the room; nobody else's word is heard by others.
    person: Option<Person>,
    /// When that began to come.
    begun: Option<Duration>,
    /// Something came since the last ping.
    is_heard: bool,
}

impl Default for WebSocket {
    fn default() -> Self {
        let mut http = Server::new("charkh", unix_time);
        http.limits.body_max = 0; // nobody wants one
        Self {
            http,
            echo_limits: Limits::default(),
            chat_limits: Limits { message_max: 4 << 10, fragments_max: 16 },
            unfinished_max: 256 << 20,
            ping_every: Duration::from_secs(25),
            message_time: Duration::from_secs(60),
            origins: Vec::new(),
            room: Room::default(),
            page: Page::default(),
            buffer: Buffer::default(),
            unfinished: 0,
            out: Vec::new(),
        }
    }
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Protocol for WebSocket {
    type Session = Session;

    fn open(&mut self, _: &mut Peer) -> Session {
        Session::Http(Conn::default(), Reply::None)
    }

    fn data(&mut self, peer: &mut Peer, session: &mut Session, input: &mut Input) -> Result {
        let is_behind = peer.unsent() > 0;
        if let Session::Http(conn, reply) = session {
            match self.requests(peer, conn, reply, input) {
                Some(socket) => *session = Session::Socket(socket),
                None => self.http.end_of_data(peer, conn, input, false),
            }
        }
        // What came in one piece with the request is read, too.
        if let Session::Socket(socket) = session {
            self.frames(peer, socket, input, is_behind);
        }
        Ok(())
    }

    fn timer(&mut self, peer: &mut Peer, session: &mut Session) -> Result {
        match session {
            Session::Http(conn, _) => self.http.timer(peer, conn),
            Session::Socket(socket) => self.ask(peer, socket),
        }
        Ok(())
    }

    fn stopping(&mut self, peer: &mut Peer, session: &mut Session) -> Result {
        match session {
            Session::Http(..) => peer.close(),
            Session::Socket(socket) => {
                self.hang_up(peer, socket, Some(close::GOING_AWAY), "the server stops");
            }
        }
        Ok(())
    }

    fn closed(&mut self, hub: &mut Hub, id: ConnId, session: Session, _: Reason) {
        let Session::Socket(socket) = session else { return };
        self.unfinished -= socket.buffer.map_or(0, |buffer| buffer.held());
        if let Some(person) = socket.person {
            self.room.leave(hub, id, &person);
        }
    }
}

/// Before the handshake.
impl WebSocket {
    /// Answer requests. What it returns speaks WebSocket from here on.
    fn requests(
        &mut self,
        peer: &mut Peer,
        conn: &mut Conn,
        reply: &mut Reply,
        input: &mut Input,
    ) -> Option<Box<Socket>> {
        while let Some(part) = self.http.next(peer, conn, input) {
            match part {
                Part::Head(request) => match self.decide(&request) {
                    Ok(found) => *reply = found,
                    Err(error) => self.refuse(peer, conn, error),
                },
                Part::Data(_) => {}
                Part::End => match mem::take(reply) {
                    Reply::Upgrade(place, accept) => {
                        return Some(self.upgrade(peer, conn, place, accept));
                    }
                    reply => self.answer(peer, conn, reply),
                },
            }
        }
        None
    }

    fn decide(&self, request: &Request) -> Result<Reply, Error> {
        let place = match request.path {
            "/echo" => Some(Place::Echo),
            "/chat" => Some(Place::Chat),
            _ => None,
        };
        if !handshake::is_asked_for(request) {
            return Ok(match (request.method, request.path) {
                ("GET" | "HEAD", "/") => Reply::Page,
                ("GET" | "HEAD", _) if place.is_some() => Reply::NoPage,
                ("GET" | "HEAD", _) => Reply::NotFound,
                _ => Reply::Methods,
            });
        }
        let refuse = |status, why| Err(Error { status, why });
        let Some(place) = place else {
            return refuse(Status::NOT_FOUND, "no WebSocket is spoken here");
        };
        let accept = handshake::check(request)?;
        if place == Place::Chat {
            if !handshake::is_from_here(request, &self.origins) {
                return refuse(Status::FORBIDDEN, "the page of another host");
            }
            if self.room.is_full() {
                return refuse(Status::SERVICE_UNAVAILABLE, "the room is full");
            }
        }
        Ok(Reply::Upgrade(place, accept))
    }

    /// The answer is the last: what the client takes for a tunnel is none, and must not be taken
    /// for requests either.
    fn refuse(&mut self, peer: &mut Peer, conn: &mut Conn, error: Error) {
        if error.status != Status::UPGRADE_REQUIRED {
            return self.http.refuse(peer, conn, error);
        }
        conn.set_last();
        self.answer(peer, conn, Reply::NoPage);
    }

    fn answer(&mut self, peer: &mut Peer, conn: &mut Conn, reply: Reply) {
        let text = ("Content-Type", &b"text/plain; charset=utf-8"[..]);
        match reply {
            Reply::Page => self.page.put(self.http.answer(peer, conn, Status::OK)),
            Reply::NoPage => {
                let response = self.http.answer(peer, conn, Status::UPGRADE_REQUIRED);
                let response = handshake::require(response).header(text.0, text.1);
                response.body(b"WebSocket is spoken here, version 13.\n");
            }
            Reply::Methods => {
                let response = self.http.answer(peer, conn, Status::METHOD_NOT_ALLOWED);
                response.header("Allow", b"GET, HEAD").header(text.0, text.1).body(b"GET, HEAD\n");
            }
            _ => {
                let response = self.http.answer(peer, conn, Status::NOT_FOUND);
                response.header(text.0, text.1).body(b"There is nothing here.\n");
            }
        }
        self.http.end_of_answer(peer, conn);
    }

    fn upgrade(
        &mut self,
        peer: &mut Peer,
        conn: &mut Conn,
        place: Place,
        accept: Accept,
    ) -> Box<Socket> {
        handshake::accept(self.http.answer(peer, conn, Status::SWITCHING_PROTOCOLS), accept);
        self.http.leave(peer, conn);
        peer.wake_in(self.ping_every);
        let person = (place == Place::Chat).then(|| self.room.enter(peer));
        let messages = Messages::default();
        Box::new(Socket { messages, buffer: None, begun: None, person, is_heard: true })
    }
}

/// Behind it.
impl WebSocket {
    /// Whoever `is_behind`, because the last answers have not left, is answered only the last of
    /// the pings that came together. The RFC allows it, and a flood of them stays with who sends
    /// it.
    fn frames(&mut self, peer: &mut Peer, socket: &mut Socket, input: &mut Input, is_behind: bool) {
        socket.is_heard = true;
        let mut is_pinged = false;
        let mut buffer = socket.buffer.take().unwrap_or_else(|| mem::take(&mut self.buffer));
        self.unfinished -= buffer.held();
        let limits = match socket.person {
            Some(_) => self.chat_limits,
            None => self.echo_limits,
        };
        while !peer.is_full() {
            match socket.messages.next(&limits, input, &mut buffer) {
                Ok(None) => break,
                Ok(Some(Event::Ping(payload))) => {
                    self.out.clear();
                    frame::put(&mut self.out, Opcode::Pong, payload);
                    is_pinged = true;
                }
                Ok(Some(event)) => self.react(peer, socket, event),
                Err(error) => self.hang_up(peer, socket, Some(error.code), error.why),
            }
            if is_pinged && !is_behind {
                peer.send(&self.out);
                is_pinged = false;
            }
        }
        if is_pinged {
            peer.send(&self.out);
        }
        self.keep(peer, socket, buffer);
    }

    /// Others get the buffer, if there is nothing in it.
    fn keep(&mut self, peer: &mut Peer, socket: &mut Socket, buffer: Buffer) {
        if socket.messages.is_within() {
            socket.begun.get_or_insert(peer.now());
        }
        peer.set_held(if buffer.held() == 0 { 0 } else { buffer.capacity() });
        match buffer.held() {
            0 => self.buffer = buffer,
            held if self.unfinished + held > self.unfinished_max => {
                let why = "too many unfinished messages";
                self.hang_up(peer, socket, Some(close::TRY_AGAIN), why);
            }
            held => {
                self.unfinished += held;
                socket.buffer = Some(buffer);
            }
        }
    }

    fn react(&mut self, peer: &mut Peer, socket: &mut Socket, event: Event) {
        match event {
            Event::Message { is_text, bytes } => {
                socket.begun = None;
                self.message(peer, socket, is_text, bytes);
            }
            Event::Close(code) => self.hang_up(peer, socket, code, ""),
            Event::Ping(_) | Event::Pong(_) => {}
        }
    }

    fn message(&mut self, peer: &mut Peer, socket: &mut Socket, is_text: bool, bytes: &[u8]) {
        let Some(person) = &mut socket.person else {
            let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
            peer.send(Announcement::new(opcode, bytes.len()).bytes());
            peer.send(bytes);
            return;
        };
        let text = std::str::from_utf8(bytes).ok().filter(|_| is_text);
        self.room.hear(peer, person, text.unwrap_or_default());
    }

    /// Say why, and end.
    fn hang_up(&mut self, peer: &mut Peer, socket: &mut Socket, code: Option<u16>, why: &str) {
        self.out.clear();
        frame::put_close(&mut self.out, code, why);
        peer.send(&self.out);
        peer.close();
        socket.messages.stop();
        if let Some(person) = &socket.person {
            let id = peer.id();
            self.room.leave(peer.hub(), id, person);
        }
    }

    /// Is it still there? As long as it reads what it was sent, nothing else is expected of it.
    fn ask(&mut self, peer: &mut Peer, socket: &mut Socket) {
        if !mem::take(&mut socket.is_heard) && peer.unsent() == 0 {
            return peer.abort();
        }
        if socket.begun.is_some_and(|begun| peer.now() - begun >= self.message_time) {
            return self.hang_up(peer, socket, Some(close::POLICY), "a message took too long");
        }
        self.out.clear();
        frame::put(&mut self.out, Opcode::Ping, b"");
        peer.send(&self.out);
        peer.wake_in(self.ping_every);
    }
}
