//! Replies that begin with what was read, in many worlds: pieces above 1 KiB, which are sent from
//! the read buffer, mixed with all else that a callback may send, to itself and to others.
mod common;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use charkh::{
    Config, ConnId, Hub, Input, Peer, Protocol, Reactor, Reason, Result,
    net::{Faults, sim},
};
use common::pattern;

struct Rng(u64);
impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

#[derive(Default)]
struct Said {
    /// By port: what was said, and whether it was all to arrive.
    said: HashMap<u16, Vec<u8>>,
    cut: HashMap<u16, bool>,
}

struct Wild {
    rng: Rng,
    said: Arc<Mutex<Said>>,
    alive: Vec<ConnId>,
    n: usize,
}

fn say(said: &Mutex<Said>, peer: &mut Peer, bytes: &[u8], shared: bool) {
    let port = peer.addr().port().unwrap();
    let before = peer.unsent();
    let ok = match shared {
        true => peer.send_shared(&Arc::from(bytes)),
        false => peer.send(bytes),
    };
    if ok {
        assert_eq!(peer.unsent(), before + bytes.len());
        said.lock().unwrap().said.entry(port).or_default().extend(bytes);
    }
}

impl Protocol for Wild {
    type Session = u16;

    fn open(&mut self, peer: &mut Peer) -> u16 {
        self.alive.push(peer.id());
        peer.addr().port().unwrap()
    }

    fn data(&mut self, peer: &mut Peer, _: &mut u16, input: &mut Input) -> Result {
        let rng = &mut self.rng;
        let take = if rng.below(3) == 0 { rng.below(input.len() + 1) } else { input.len() };
        let read = input.take(take).unwrap();
        let rest = input.peek();
        for _ in 0..rng.below(6) {
            self.n += 1;
            let fresh = pattern(1 + rng.below(4000), self.n);
            let from = rng.below(read.len() + 1);
            let to = from + rng.below(read.len() - from + 1);
            let piece = match rng.below(7) {
                0 | 1 => read,
                2 => &read[from..to],
                3 => rest,
                4 => &fresh[..],
                5 => &fresh[..fresh.len().min(70)],
                _ => &[],
            };
            let shared = rng.below(4) == 0;
            match rng.below(12) {
                0..=5 => say(&self.said, peer, piece, shared),
                6 => {
                    let id = peer.id();
                    if let Some(mut own) = peer.to(id) {
                        say(&self.said, &mut own, piece, shared)
                    }
                }
                7 | 8 => {
                    let id = self.alive[rng.below(self.alive.len())];
                    if let Some(mut other) = peer.to(id) {
                        say(&self.said, &mut other, piece, shared)
                    }
                }
                9 if rng.below(2) == 0 => {
                    let said = &self.said;
                    peer.hub().each(|mut other| say(said, &mut other, piece, shared));
                }
                10 if rng.below(10) == 0 => match rng.below(4) {
                    0 => peer.close(),
                    1 => peer.finish(),
                    2 => peer.abort(),
                    _ => return Err("fault".into()),
                },
                11 => {
                    peer.pause();
                    peer.resume();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn drained(&mut self, peer: &mut Peer, _: &mut u16) -> Result {
        if self.rng.below(2) == 0 {
            self.n += 1;
            say(&self.said, peer, &pattern(500, self.n), false);
        }
        Ok(())
    }

    fn eof(&mut self, peer: &mut Peer, _: &mut u16, rest: &mut Input) -> Result {
        say(&self.said, peer, rest.take_all(), false);
        peer.finish();
        Ok(())
    }

    fn closed(&mut self, _: &mut Hub, id: ConnId, port: u16, reason: Reason) {
        self.alive.retain(|&alive| alive != id);
        let cut = !matches!(reason, Reason::Closed);
        self.said.lock().unwrap().cut.insert(port, cut);
    }
}

#[test]
fn what_was_read_is_lent_to_its_own_reply_alone() {
    sim::worlds(300, |mut net| {
        let seed = net.seed();
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        net.faults = Faults::harmless((seed % 4 * 80) as u32);
        net.faults.jump = 0;
        let config = Config {
            read_max: [1500, 3000, 65536, 1024][rng.below(4)],
            write_max: [700, 2000, 1 << 18][rng.below(3)],
            output_high: 6000,
            output_low: 2000,
            output_max: [40_000, 16 << 20][rng.below(2)],
            memory_max: [60_000, 1 << 30][rng.below(2)],
            write_stall: None,
            ..Config::default()
        };
        let said = Arc::new(Mutex::new(Said::default()));
        let wild = Wild { rng: Rng(rng.0 ^ 77), said: said.clone(), alive: Vec::new(), n: 0 };
        let mut reactor = Reactor::with(wild, net, config).unwrap();
        reactor.listen("127.0.0.1:1").unwrap();
        let clients = [(); 4].map(|()| reactor.net().client());
        let mut got = [(); 4].map(|()| Vec::new());
        for step in 0..120 {
            for (i, &client) in clients.iter().enumerate() {
                match rng.below(8) {
                    0..=2 => {
                        let size = rng.below(5000);
                        reactor.net().send(client, &pattern(size, step * 4 + i));
                    }
                    3 => reactor.net().deliver_all(),
                    4 => reactor.net().set_window(client, 1 + rng.below(4000)),
                    5 | 6 => {
                        got[i].extend(reactor.net().receive_some(client, rng.0 as usize % 6000))
                    }
                    _ if step > 100 => reactor.net().finish_client(client),
                    _ => {}
                }
            }
            let _ = reactor.turn_within(std::time::Duration::ZERO);
        }
        for _ in 0..20_000 {
            for (i, &client) in clients.iter().enumerate() {
                reactor.net().set_window(client, 1 << 20);
                reactor.net().finish_client(client);
                got[i].extend(reactor.net().receive(client));
            }
            let _ = reactor.turn_within(std::time::Duration::from_millis(50));
            if reactor.hub().is_empty() {
                break;
            }
        }
        assert!(reactor.hub().is_empty(), "somebody stays");
        assert_eq!(reactor.hub().stats().memory, 0);
        for (&client, got) in clients.iter().zip(&mut got) {
            got.extend(reactor.net().receive(client));
            let port = reactor.net().addr(client).unwrap().port().unwrap();
            let said = said.lock().unwrap();
            let blank = Vec::new();
            let all = said.said.get(&port).unwrap_or(&blank);
            assert!(all.starts_with(got), "wrong bytes for {port}");
            if said.cut.get(&port) == Some(&false) && !reactor.net().sees_reset(client) {
                assert_eq!(all.len(), got.len(), "{port} lost something");
            }
        }
    });
}
