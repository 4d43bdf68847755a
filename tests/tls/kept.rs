//! A connection that is kept, through TLS: each try shakes hands anew, and one that fails is a try
//! that failed.
use charkh::{
    Backoff, Config, ConnId, Hub, Input, Keeper, Peer, Protocol, Reactor, Reason, Result, net::Sim,
    tls,
};

use super::{
    ca::Authority,
    peer::{BOTH, pump_whole, server_peer},
};

struct Kept {
    keeper: Keeper,
    lines: Vec<String>,
}

impl Protocol for Kept {
    type Session = ();

    fn open(&mut self, peer: &mut Peer) {
        peer.send(b"hello");
        self.lines.push("open".into());
    }

    fn data(&mut self, _: &mut Peer, (): &mut (), input: &mut Input) -> Result {
        input.take_all();
        Ok(())
    }

    fn closed(&mut self, hub: &mut Hub, id: ConnId, (): (), _: Reason) {
        assert!(self.keeper.closed(hub, id).is_some());
        self.lines.push("closed".into());
    }

    fn connect_failed(&mut self, hub: &mut Hub, id: ConnId, reason: Reason) {
        assert!(self.keeper.connect_failed(hub, id).is_some());
        self.lines.push(reason.to_string());
    }
}

#[test]
fn each_try_shakes_hands_anew_and_whom_it_does_not_believe_it_tries_again() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let (good, bad) = (ours.sign(&["localhost"]), others.sign(&["localhost"]));
    let client = tls::Client::new(&tls::ClientConfig::new(tls::Trust::Ca(ours.pem()))).unwrap();
    let layer = move || Ok(client.layer("localhost")? as _);
    let keeper = Keeper::through(([10, 0, 0, 1], 443), Backoff::new(1), layer);
    let kept = Kept { keeper, lines: Vec::new() };
    let mut reactor = Reactor::with(kept, Sim::new(1), Config::default()).unwrap();
    reactor.handle().run(|kept, hub| kept.keeper.connect(hub)).unwrap();
    for (n, identity) in (1..).zip([&bad, &good, &bad, &bad, &good]) {
        let id = loop {
            reactor.turn().unwrap();
            if let Some(id) = reactor.net().dialed() {
                break id;
            }
        };
        let mut peer = server_peer(id, identity, BOTH[n % 2], |_| ());
        pump_whole(&mut reactor, &mut peer);
        if std::ptr::eq(identity, &good) {
            assert_eq!(peer.heard, b"hello");
            reactor.net().reset_client(id);
        }
        while reactor.hub().stats().released < n as u64 {
            reactor.turn().unwrap();
        }
    }
    let lines = &reactor.protocol().lines;
    let ends: Vec<&str> = lines.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(ends, ["fault", "open", "closed", "fault", "fault", "open", "closed"], "{lines:?}");
    assert!(lines[0].contains("signed by nobody who is trusted"), "{lines:?}");
}
