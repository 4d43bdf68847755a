//! The server in a world without sockets; what a client says, and what it hears.
use std::time::Duration;

use charkh::{
    Config, Reactor,
    http::Server,
    net::sim::{ClientId, Sim},
};

use crate::{
    common::{self, all_it_hears},
    example::{Mask, WebSocket, config},
};

pub use crate::common::turn;

/// What a client with the key of RFC 6455 asks.
pub fn request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
         Connection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// The same second for ever.
pub fn server() -> WebSocket {
    let mut server = WebSocket::default();
    server.http = Server::new("charkh", || Duration::from_secs(784_111_777));
    server.http.limits.body_max = 0;
    server
}

pub type World = Reactor<WebSocket, Sim>;

pub fn world(server: WebSocket) -> World {
    world_with(server, config())
}

pub fn world_with(server: WebSocket, config: Config) -> World {
    common::world(server, 1, config)
}

/// What somebody hears who says this, in these pieces, and then ends.
pub fn hears_of(server: WebSocket, pieces: &[&[u8]]) -> Vec<u8> {
    // Between two looks of this client hours may pass.
    let mut reactor = world_with(server, Config { idle: None, write_stall: None, ..config() });
    all_it_hears(&mut reactor, pieces)
}

pub fn hears(says: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(&hears_of(server(), &[says.as_ref()])).into_owned()
}

/// Somebody who has shaken hands.
pub fn enter(reactor: &mut World, path: &str) -> ClientId {
    let client = reactor.net().client();
    reactor.net().send(client, request(path).as_bytes());
    turn(reactor);
    let (head, rest) = split(&reactor.net().receive(client));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // What the room says first is not of interest here.
    frames(&rest);
    client
}

/// What was said to it since it last listened, frame by frame.
pub fn listen(reactor: &mut World, client: ClientId) -> Vec<Heard> {
    turn(reactor);
    frames(&reactor.net().receive(client))
}

/// The same of one that could not read all of it at once.
pub fn listen_on(reactor: &mut World, client: ClientId) -> Vec<Heard> {
    let mut bytes = Vec::new();
    loop {
        turn(reactor);
        let more = reactor.net().receive(client);
        if more.is_empty() {
            return frames(&bytes);
        }
        bytes.extend(more);
    }
}

/// The head of an answer, and what stands behind it.
pub fn split(heard: &[u8]) -> (String, Vec<u8>) {
    let end = heard.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    (String::from_utf8(heard[..end].to_vec()).unwrap(), heard[end..].to_vec())
}

/// A frame as a client sends it: all bits of the first byte as they are given.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let (second, long) = match payload.len() {
        len @ ..126 => (len as u8, vec![]),
        len @ 126..=0xffff => (126, (len as u16).to_be_bytes().to_vec()),
        len => (127, (len as u64).to_be_bytes().to_vec()),
    };
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = [&[first, 0x80 | second], &long[..], &mask].concat();
    Mask(mask).take_off(payload, &mut bytes); // to lay it on is the same
    bytes
}

pub const MORE: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
pub const FINAL: u8 = 0x80;

pub fn text(words: &str) -> Vec<u8> {
    frame(FINAL | TEXT, words.as_bytes())
}

/// A frame of the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Heard {
    pub fn text(words: &str) -> Self {
        Self { opcode: TEXT, payload: words.into() }
    }

    pub fn close(code: u16, why: &str) -> Self {
        Self { opcode: CLOSE, payload: [&code.to_be_bytes(), why.as_bytes()].concat() }
    }

    pub fn words(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }
}

/// Read frames as a client has to that knows the rules. What is left over is a fault.
pub fn frames(mut bytes: &[u8]) -> Vec<Heard> {
    let mut found = Vec::new();
    while let Some((&[first, second], mut rest)) = bytes.split_first_chunk() {
        assert!(first & 0xf0 == FINAL && second < 0x80, "no head of a server: {bytes:?}");
        let len = match second {
            126 => {
                let (len, after) = rest.split_first_chunk().unwrap();
                rest = after;
                let len = u16::from_be_bytes(*len).into();
                assert!(len > 125);
                len
            }
            127 => {
                let (len, after) = rest.split_first_chunk().unwrap();
                rest = after;
                let len = u64::from_be_bytes(*len) as usize;
                assert!(len > 0xffff);
                len
            }
            len => len.into(),
        };
        let (payload, after) = rest.split_at(len);
        found.push(Heard { opcode: first & 0xf, payload: payload.into() });
        bytes = after;
    }
    assert!(bytes.is_empty());
    found
}
