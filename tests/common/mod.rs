//! What several tests use.
#![allow(dead_code, unreachable_pub, unused_imports)]
use std::{
    io::Write,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use charkh::{
    Config, ConnId, Hub, Input, Peer, Protocol, Reactor, Reason, Result,
    net::{ClientId, Net, Sim},
};

#[path = "../../examples/echo.rs"]
mod echo;
pub use echo::Echo;

/// A reactor in a seeded world, with one listener.
pub fn world<P: Protocol>(protocol: P, seed: u64, config: Config) -> Reactor<P, Sim> {
    let mut reactor = Reactor::with(protocol, Sim::new(seed), config).unwrap();
    reactor.listen("127.0.0.1:1").unwrap();
    reactor
}

/// Until nothing can happen any more, time included.
pub fn settle<P: Protocol>(reactor: &mut Reactor<P, Sim>) {
    for _ in 0..1_000_000 {
        if reactor.is_done() || reactor.turn().is_err() {
            return;
        }
    }
    panic!("the wheel never comes to rest");
}

/// Whatever happens in this time.
pub fn run_for<P: Protocol>(reactor: &mut Reactor<P, Sim>, time: Duration) {
    let until = reactor.net().now() + time;
    while let left = until.saturating_sub(reactor.net().now())
        && !left.is_zero()
    {
        reactor.turn_within(left).unwrap();
    }
}

/// Until nothing more comes out for this client.
pub fn read_all<P: Protocol>(reactor: &mut Reactor<P, Sim>, client: ClientId) -> Vec<u8> {
    let mut got = Vec::new();
    loop {
        settle(reactor);
        let more = reactor.net().receive(client);
        if more.is_empty() {
            return got;
        }
        got.extend(more);
    }
}

/// All that can happen without waiting: what was sent comes in several pieces.
pub fn turn<P: Protocol>(reactor: &mut Reactor<P, Sim>) {
    (0..60).for_each(|_| reactor.turn_within(Duration::ZERO).unwrap());
}

/// What somebody hears who says this, in these pieces, and then ends. Nobody is left behind.
pub fn all_it_hears<P: Protocol>(reactor: &mut Reactor<P, Sim>, pieces: &[&[u8]]) -> Vec<u8> {
    let client = reactor.net().client();
    for piece in pieces {
        reactor.net().send(client, piece);
        turn(reactor);
    }
    reactor.net().finish_client(client);
    let heard = read_all(reactor, client);
    assert!(reactor.net().sees_end(client) && !reactor.net().sees_reset(client));
    assert!(reactor.hub().is_empty(), "somebody was left behind");
    heard
}

/// What a program says, on both of its outputs. `None` if it is not installed.
pub fn says(program: &str, args: &[&str], input: &[u8]) -> Option<String> {
    let begun = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = begun else {
        eprintln!("not tested: {program} is not installed");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap(); // it may not have wanted all of it
    let said = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&said).into_owned())
}

/// Bytes that differ from place to place.
pub fn pattern(size: usize, salt: usize) -> Vec<u8> {
    (0..size).map(|i| ((i * 31 + salt * 7) % 251) as u8).collect()
}

pub const MS: Duration = Duration::from_millis(1);

/// Bytes that a connection takes as long as it holds something, beside what it holds.
pub const BOOKS: usize = 184;

/// What callbacks reported, for tests that ask afterwards.
#[derive(Clone, Default)]
pub struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    pub fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|l| *l == line).count()
    }
}

pub type OnPeer = Box<dyn FnMut(&mut Peer) -> Result>;
pub type OnData = Box<dyn FnMut(&mut Peer, &mut Input) -> Result>;

/// A protocol made of closures; it notes every callback.
pub struct Script {
    pub diary: Diary,
    pub open: OnPeer,
    pub data: OnData,
    pub eof: OnPeer,
    pub drained: OnPeer,
    pub timer: OnPeer,
    pub stopping: OnPeer,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            diary: Diary::default(),
            open: Box::new(|_| Ok(())),
            data: Box::new(|peer, input| {
                peer.send(input.take_all());
                Ok(())
            }),
            eof: Box::new(|peer| {
                peer.finish();
                Ok(())
            }),
            drained: Box::new(|_| Ok(())),
            timer: Box::new(|_| Ok(())),
            stopping: Box::new(|peer| {
                peer.close();
                Ok(())
            }),
        }
    }
}

impl Protocol for Script {
    type Session = ();

    fn open(&mut self, peer: &mut Peer) {
        self.diary.note("open");
        (self.open)(peer).unwrap();
    }

    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        self.diary.note("data");
        (self.data)(peer, input)
    }

    fn eof(&mut self, peer: &mut Peer, _: &mut (), rest: &mut Input) -> Result {
        self.diary.note(format!("eof with {}", rest.len()));
        (self.eof)(peer)
    }

    fn drained(&mut self, peer: &mut Peer, _: &mut ()) -> Result {
        self.diary.note("drained");
        (self.drained)(peer)
    }

    fn timer(&mut self, peer: &mut Peer, _: &mut ()) -> Result {
        self.diary.note(format!("timer at {}", peer.now().as_millis()));
        (self.timer)(peer)
    }

    fn stopping(&mut self, peer: &mut Peer, _: &mut ()) -> Result {
        self.diary.note("stopping");
        (self.stopping)(peer)
    }

    fn closed(&mut self, _: &mut Hub, _: ConnId, _: (), reason: Reason) {
        self.diary.note(reason.to_string());
    }

    fn connect_failed(&mut self, _: &mut Hub, _: ConnId, reason: Reason) {
        self.diary.note(format!("connect failed: {reason}"));
    }

    fn tick(&mut self, hub: &mut Hub) {
        self.diary.note(format!("tick at {}", hub.now().as_millis()));
    }
}

pub fn on_data(data: impl FnMut(&mut Peer, &mut Input) -> Result + 'static) -> Script {
    Script { data: Box::new(data), ..Script::default() }
}

pub fn swallow(_: &mut Peer, input: &mut Input) -> Result {
    input.take_all();
    Ok(())
}
