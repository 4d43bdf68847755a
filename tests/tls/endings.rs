//! How the two halves end, and what floods and stalls do before that.
use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use charkh::{Config, ConnId, Hub, Input, Peer, Protocol, Reason, Result, net::ClientId, tls};
use rustls::{AlertDescription, Connection, Error};

use super::{
    ca::Authority,
    common::{Script, on_data, pattern, swallow, world},
    peer::{self, BOTH, Scene, pump, pump_whole, scene, server_peer, turns},
    raw::{self, Sealer},
};

const CUT_SHORT: &str = "fault: the TLS stream was cut short: it ended without close_notify";

fn finish(scene: &mut Scene, id: ClientId) {
    scene.reactor.net().finish_client(id);
    scene.turns();
}

#[test]
fn case_097_an_end_without_close_notify_is_a_truncation() {
    for version in BOTH {
        let mut scene = scene(1, Script::default(), Config::default());
        let mut peer = scene.shaken(version);
        peer.say(b"the first half of");
        scene.pump(&mut peer);
        finish(&mut scene, peer.id);
        assert_eq!(scene.diary.lines(), ["open", "data", CUT_SHORT]);
        assert!(scene.reactor.hub().is_empty());

        let mut peer = scene.shaken(version);
        peer.conn.send_close_notify();
        scene.pump(&mut peer);
        finish(&mut scene, peer.id);
        assert_eq!(scene.diary.lines()[3..], ["open", "eof with 0", "closed"]);
    }
}

/// A record that is not whole does not make an end a good one.
#[test]
fn case_097_half_a_close_notify_is_none() {
    let mut scene = scene(1, Script::default(), Config::default());
    let mut peer = scene.shaken(BOTH[0]);
    peer.conn.send_close_notify();
    let wire = peer.wire();
    scene.deliver(peer.id, &wire[..wire.len() - 1]);
    assert!(scene.reactor.hub().stats().memory > 0);
    finish(&mut scene, peer.id);
    assert_eq!(scene.end(), CUT_SHORT);
}

/// Somebody in between cannot end a stream with an alert of his own.
#[test]
fn case_097_an_alert_in_the_clear_is_no_end() {
    for version in BOTH {
        let mut scene = scene(1, Script::default(), Config::default());
        let id = scene.shaken(version).id;
        scene.deliver(id, &raw::record(raw::ALERT, &raw::CLOSE_NOTIFY));
        assert_eq!(scene.diary.count("eof with 0"), 0);
        assert!(scene.end().starts_with("fault: "), "{}", scene.end());
    }
}

/// Tells a truncation from other faults, as a protocol may want to.
struct Telling(Rc<RefCell<Vec<bool>>>);

impl Protocol for Telling {
    type Session = ();
    fn open(&mut self, _: &mut Peer) {}
    fn data(&mut self, _: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        input.take_all();
        Ok(())
    }
    fn closed(&mut self, _: &mut Hub, _: ConnId, (): (), reason: Reason) {
        let Reason::Fault(fault) = reason else { panic!("{reason}") };
        self.0.borrow_mut().push(fault.is::<tls::Truncated>());
    }
}

#[test]
fn case_097_a_protocol_can_tell_it_from_other_faults() {
    let told = Rc::default();
    let ca = Authority::new("the authority");
    let server = tls::Server::new(&peer::server_config(&ca.sign(&["localhost"]))).unwrap();
    let mut reactor = world(Telling(Rc::clone(&told)), 1, Config::default());
    let listening = reactor.listen("127.0.0.1:2").unwrap();
    reactor.layer(listening.id, move |_| server.layer());
    for is_cut in [true, false] {
        let id = reactor.net().client_of(1);
        let config = Arc::new(peer::client_config(&ca, BOTH[0], None));
        let conn = Connection::Client(peer::bare_client(config, "localhost"));
        pump(&mut reactor, &mut peer::Peer::new(id, conn));
        match is_cut {
            true => reactor.net().finish_client(id),
            false => reactor.net().send(id, b"nonsense"),
        }
        turns(&mut reactor);
    }
    assert_eq!(*told.borrow(), [true, false]);
}

#[test]
fn what_was_changed_on_the_way_is_told_to_the_peer() {
    for version in BOTH {
        let mut scene = scene(1, Script::default(), Config::default());
        let mut peer = scene.shaken(version);
        peer.say(b"hello");
        let mut wire = peer.wire();
        *wire.last_mut().unwrap() ^= 1;
        scene.deliver(peer.id, &wire);
        let answer = scene.reactor.net().receive(peer.id);
        peer.hear(&answer);
        assert_eq!(peer.error, Some(Error::AlertReceived(AlertDescription::BadRecordMac)));
        assert_eq!(scene.diary.lines(), ["open", "fault: what came cannot be decrypted"]);
    }
}

#[test]
fn case_100_they_end_and_we_go_on() {
    for version in BOTH {
        let script = Script { eof: Box::new(|_| Ok(())), ..Script::default() };
        let mut scene = scene(1, script, Config::default());
        let mut peer = scene.shaken(version);
        peer.say(b"question");
        peer.conn.send_close_notify();
        scene.pump(&mut peer);
        assert_eq!(peer.take_heard(), b"question");
        assert_eq!(scene.end(), "eof with 0");
        // They have said their last word; we have not.
        let text = pattern(100_000, 1);
        let id = scene.reactor.hub().ids().next().unwrap();
        let mut ours = scene.reactor.hub().peer(id).unwrap();
        ours.send(&text);
        ours.finish();
        scene.pump(&mut peer);
        assert!(peer.heard == text && peer.over, "{version:?}");
        assert_eq!(scene.end(), "closed");
        assert!(scene.reactor.net().sees_end(peer.id) && !scene.reactor.net().sees_reset(peer.id));
    }
}

#[test]
fn case_100_we_end_and_they_go_on() {
    for version in BOTH {
        let mut scene = scene(1, on_data(swallow), Config::default());
        let mut peer = scene.shaken(version);
        let id = scene.reactor.hub().ids().next().unwrap();
        let mut ours = scene.reactor.hub().peer(id).unwrap();
        ours.send(b"bye");
        ours.finish();
        assert!(!ours.send(b"more"));
        scene.pump(&mut peer);
        assert!(peer.heard == b"bye" && peer.over);
        assert!(scene.reactor.net().sees_end(peer.id));
        let before = scene.diary.count("data");
        peer.say(&pattern(1000, 1));
        scene.pump(&mut peer);
        assert!(scene.diary.count("data") > before);
        assert_eq!(scene.reactor.hub().len(), 1);
        peer.conn.send_close_notify();
        scene.pump(&mut peer);
        assert_eq!(scene.end(), "closed");
    }
}

#[test]
fn case_100_what_comes_after_their_close_notify_is_not_heard() {
    for version in BOTH {
        let script = Script { eof: Box::new(|_| Ok(())), ..Script::default() };
        let mut scene = scene(1, script, Config::default());
        let peer = scene.shaken(version);
        let id = peer.id;
        let mut sealer = Sealer::of(peer.conn);
        let parts =
            [(raw::DATA, &b"one"[..]), (raw::ALERT, &raw::CLOSE_NOTIFY), (raw::DATA, b"two")];
        let wire = parts.map(|(kind, body)| sealer.seal(kind, body)).concat();
        scene.deliver(id, &wire);
        scene.deliver(id, &sealer.seal(raw::DATA, b"three"));
        assert_eq!(scene.diary.lines(), ["open", "data", "eof with 0"]);
        assert_eq!(scene.reactor.hub().stats().memory, 0);
    }
}

#[test]
fn a_stop_is_told_in_the_words_of_tls() {
    let mut scene = scene(1, Script::default(), Config::default());
    let mut peer = scene.shaken(BOTH[0]);
    scene.reactor.hub().stop();
    scene.pump(&mut peer);
    assert!(peer.over);
    assert!(scene.diary.lines().contains(&"stopping".into()));
}

#[test]
fn case_099_keys_may_change_now_and_then() {
    let mut scene = scene(1, Script::default(), Config::default());
    let mut peer = scene.shaken(BOTH[0]);
    for round in 0..200 {
        let text = pattern(3000, round);
        let Connection::Client(conn) = &mut peer.conn else { panic!() };
        conn.refresh_traffic_keys().unwrap();
        peer.say(&text);
        scene.pump(&mut peer);
        assert_eq!(peer.take_heard(), text, "{:?}", scene.diary.lines());
    }
}

#[test]
fn case_099_a_flood_of_new_keys_ends() {
    for (say, ends) in [(0, "fault: "), (1, "fault: too many TLS records that say nothing")] {
        let mut scene = scene(1, on_data(swallow), Config::default());
        let mut peer = scene.shaken(BOTH[0]);
        let mut sent = 0;
        while !scene.reactor.hub().is_empty() {
            for _ in 0..10 {
                let Connection::Client(conn) = &mut peer.conn else { panic!() };
                conn.refresh_traffic_keys().unwrap();
                sent += 1;
            }
            peer.say(&vec![0; say]);
            let wire = peer.wire();
            scene.deliver(peer.id, &wire);
            assert!(sent < 200);
        }
        assert!(scene.end().starts_with(ends), "{}", scene.end());
        // Whoever does not read the answers to it makes us keep one, not hundreds.
        assert!(scene.reactor.hub().stats().bytes_out < 10_000);
    }
}

#[test]
fn case_099_a_flood_of_tickets_ends() {
    let ca = Authority::new("the authority");
    let config = tls::ClientConfig::new(tls::Trust::Ca(ca.pem()));
    let client = tls::Client::new(&config).unwrap();
    let script = on_data(swallow);
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let layer = client.layer("localhost").unwrap();
    reactor.hub().connect_through(([10, 0, 0, 1], 443), layer);
    turns(&mut reactor);
    let id = reactor.net().dialed().unwrap();
    let mut peer = server_peer(id, &ca.sign(&["localhost"]), BOTH[0], |_| ());
    let hello = reactor.net().receive(id);
    peer.hear(&hello);
    pump_whole(&mut reactor, &mut peer);
    let mut sealer = Sealer::of(peer.conn);
    let mut ticket = |n: u32| {
        let body = [&[0, 0, 1, 0][..], &[0; 4], &[1, 7, 0, 4], &n.to_be_bytes(), &[0, 0]].concat();
        sealer.seal(raw::HANDSHAKE, &raw::handshake(4, &body))
    };
    for (tickets, end) in [(40, "open"), (40, "fault: too many TLS records that say nothing")] {
        let wire: Vec<u8> = (0..tickets).flat_map(&mut ticket).collect();
        reactor.net().send(id, &wire);
        turns(&mut reactor);
        assert_eq!(diary.lines().last().unwrap(), end);
    }
}

#[test]
fn case_105_who_does_not_read_is_felt_through_tls() {
    let config = Config { output_max: 400_000, write_stall: None, ..Config::default() };
    let mut scene = scene(1, Script::default(), config);
    let mut peer = scene.shaken(BOTH[0]);
    scene.reactor.net().set_window(peer.id, 10_000);
    // An echo that is not read stops reading: nothing is lost, and little is kept.
    let text = pattern(1_000_000, 1);
    peer.say(&text);
    let wire = peer.wire();
    scene.reactor.net().send(peer.id, &wire);
    scene.turns();
    let stats = scene.reactor.hub().stats();
    assert!(stats.output_full > 0 && stats.memory < 400_000, "{}", stats.memory);
    assert!(stats.bytes_in < 300_000);
    let id = scene.reactor.hub().ids().next().unwrap();
    let ours = scene.reactor.hub().peer(id).unwrap();
    assert!(ours.is_full() && ours.unsent() > 60_000);
    while peer.heard.len() < text.len() {
        let more = scene.reactor.net().receive(peer.id);
        peer.hear(&more);
        scene.turns();
    }
    assert!(peer.heard == text);
    assert_eq!(scene.reactor.hub().stats().memory, 0);
}

#[test]
fn case_105_what_tls_adds_counts_and_there_is_a_limit() {
    let config = Config { output_max: 100_000, write_stall: None, ..Config::default() };
    let mut scene = scene(1, on_data(swallow), config);
    let peer = scene.shaken(BOTH[0]);
    scene.reactor.net().set_window(peer.id, 0);
    let id = scene.reactor.hub().ids().next().unwrap();
    let mut sent = 0;
    while let Some(mut ours) = scene.reactor.hub().peer(id) {
        ours.send(&[7; 10_000]);
        sent += 10_000;
        scene.turns();
        if let Some(ours) = scene.reactor.hub().peer(id) {
            assert!(ours.unsent() > sent || sent < 20_000, "records have headers");
        }
    }
    assert_eq!((scene.end(), sent), ("output overflow".into(), 100_000));
}

/// Not even new keys are answered then.
#[test]
fn nothing_follows_our_close_notify() {
    let mut scene = scene(1, on_data(swallow), Config::default());
    let mut peer = scene.shaken(BOTH[0]);
    scene.reactor.net().set_window(peer.id, 0);
    let id = scene.reactor.hub().ids().next().unwrap();
    let mut ours = scene.reactor.hub().peer(id).unwrap();
    ours.send(b"bye");
    ours.finish();
    scene.turns();
    let Connection::Client(conn) = &mut peer.conn else { panic!() };
    conn.refresh_traffic_keys().unwrap();
    let wire = peer.wire();
    scene.deliver(peer.id, &wire);
    scene.reactor.net().set_window(peer.id, 1000);
    scene.turns();
    let answer = scene.reactor.net().receive(peer.id);
    assert_eq!(raw::records(&answer).len(), 2, "its data and its last word");
    peer.hear(&answer);
    assert!(peer.heard == b"bye" && peer.over && peer.error.is_none());
    scene.reactor.turn_within(Duration::ZERO).unwrap();
}
