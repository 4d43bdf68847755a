//! The server in a world without sockets, and what one client hears.
use std::time::Duration;

use charkh::{
    Config, Reactor,
    http::Server,
    net::sim::{ClientId, Sim},
};

use crate::{
    common::{self, all_it_hears},
    example::{Files, Http, config},
};

pub use crate::common::turn;

/// A greeting for everybody.
pub const HELLO: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// The same second for ever.
pub fn greeter() -> Http {
    serving(None)
}

pub fn serving(files: Option<Files>) -> Http {
    let mut http = Http::new(files);
    http.http = Server::new("charkh", || Duration::from_secs(784_111_777));
    http
}

pub fn world(http: Http) -> Reactor<Http, Sim> {
    world_with(http, config())
}

pub fn world_with(http: Http, config: Config) -> Reactor<Http, Sim> {
    common::world(http, 1, config)
}

/// What somebody hears who says this, in these pieces, and then ends.
pub fn hears_of(http: Http, pieces: &[&[u8]]) -> String {
    // Between two looks of this client hours may pass.
    let mut reactor = world_with(http, Config { idle: None, write_stall: None, ..config() });
    String::from_utf8_lossy(&all_it_hears(&mut reactor, pieces)).into_owned()
}

pub fn hears(says: impl AsRef<[u8]>) -> String {
    hears_of(greeter(), &[says.as_ref()])
}

/// What it has heard by now.
pub fn heard(reactor: &mut Reactor<Http, Sim>, client: ClientId) -> String {
    String::from_utf8_lossy(&reactor.net().receive(client)).into_owned()
}

/// One answer: its status, its head, its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Read answers to requests with these methods, as a client has to that knows the rules. What is
/// left over is a fault.
pub fn answers(mut text: &str, methods: &[&str]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut methods = methods.iter();
    while !text.is_empty() {
        let (head, rest) = text.split_once("\r\n\r\n").expect("a head");
        let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
        let mut answer = Answer { status, head: head.into(), body: String::new() };
        let is_head = status >= 200 && methods.next() == Some(&"HEAD");
        text = rest;
        if is_head || matches!(status, 100..=199 | 204 | 304) {
        } else if let Some(length) = answer.header("Content-Length") {
            let (body, rest) = text.split_at(length.parse().unwrap());
            (answer.body, text) = (body.into(), rest);
        } else if answer.header("Transfer-Encoding") == Some("chunked") {
            loop {
                let (size, rest) = text.split_once("\r\n").unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                answer.body += &rest[..size];
                text = rest[size..].strip_prefix("\r\n").expect("the end of a chunk");
                if size == 0 {
                    break;
                }
            }
        } else {
            assert!(answer.header("Connection") == Some("close"), "a body without an end");
            (answer.body, text) = (text.into(), "");
        }
        answers.push(answer);
    }
    answers
}

/// The answer to one request.
pub fn answer(says: &str) -> Answer {
    let method = says.split(' ').next().unwrap();
    let mut answers = answers(&hears(says), &[method]);
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0)
}
