//! What several tests use.
#![allow(dead_code, unreachable_pub)]
use charkh::{
    Config, Input, Peer, Protocol, Reactor, Result,
    net::{ClientId, Sim},
};

/// Answers with what came.
pub struct Echo;

impl Protocol for Echo {
    type Session = ();

    fn open(&mut self, _: &mut Peer) {}

    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        peer.send(input.take_all());
        Ok(())
    }
}

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

/// Bytes that differ from place to place.
pub fn pattern(size: usize, salt: usize) -> Vec<u8> {
    (0..size).map(|i| ((i * 31 + salt * 7) % 251) as u8).collect()
}
