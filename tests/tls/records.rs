//! Records, cut and joined in every way.
use std::{cell::Cell, rc::Rc};

use charkh::{Config, tls};

use super::{
    common::{Script, on_data, pattern},
    peer::{BOTH, scene},
    raw::{self, Sealer},
};

#[test]
fn case_098_whatever_the_cuts_the_same_is_heard() {
    for version in BOTH {
        for size in [1, 2, 3, 5, 7, 100, 1000, 16_000] {
            let mut scene = scene(size as u64, Script::default(), Config::default());
            let mut peer = scene.client(version);
            let text = pattern(if size < 100 { 300 } else { 50_000 }, size);
            peer.say(&text);
            loop {
                let wire = peer.wire();
                wire.chunks(size).for_each(|piece| scene.deliver(peer.id, piece));
                let answer = scene.reactor.net().receive(peer.id);
                if wire.is_empty() && answer.is_empty() {
                    break;
                }
                answer.chunks(size).for_each(|piece| peer.hear(piece));
            }
            assert_eq!(peer.error, None);
            assert_eq!(peer.heard, text, "{version:?} in pieces of {size}");
            assert_eq!(scene.reactor.hub().stats().memory, 0);
        }
    }
}

#[test]
fn case_091_a_handshake_may_be_cut_at_each_byte() {
    for version in BOTH {
        for flight in 0..2 {
            let (mut cut, mut size) = (1, usize::MAX);
            while cut < size {
                let mut scene = scene(1, Script::default(), Config::default());
                let mut peer = scene.client(version);
                peer.say(b"hello");
                if flight == 1 {
                    let hello = peer.wire();
                    scene.deliver(peer.id, &hello);
                    let answer = scene.reactor.net().receive(peer.id);
                    peer.hear(&answer);
                }
                let wire = peer.wire();
                size = wire.len();
                scene.deliver(peer.id, &wire[..cut.min(size)]);
                let answer = scene.reactor.net().receive(peer.id);
                peer.hear(&answer);
                scene.deliver(peer.id, &wire[cut.min(size)..]);
                scene.pump(&mut peer);
                assert_eq!(peer.heard, b"hello", "{version:?}, flight {flight} cut at {cut}");
                cut += 1;
            }
            assert!((60..1000).contains(&size));
        }
    }
}

#[test]
fn case_091_a_handshake_in_records_of_a_byte() {
    for version in BOTH {
        let mut scene = scene(1, Script::default(), Config::default());
        let mut peer = scene.client(version);
        let hello = raw::in_pieces(&peer.wire(), 1);
        scene.deliver(peer.id, &hello[..800]);
        let memory = scene.reactor.hub().stats().memory;
        assert!((800..1800).contains(&memory), "{memory}");
        scene.deliver(peer.id, &hello[800..]);
        assert_eq!(scene.reactor.hub().stats().memory, 0);
        peer.say(b"hello");
        scene.pump(&mut peer);
        assert_eq!(peer.heard, b"hello");
    }
}

#[test]
fn case_104_what_came_with_the_end_of_the_handshake_is_heard_and_so_is_all_of_it() {
    for version in BOTH {
        // More than one read, and then silence: nothing of it may wait for more to come.
        for (size, read_max) in [(5, 65536), (60_000, 65536), (300_000, 65536), (10_000, 100)] {
            let config = Config { read_max, ..Config::default() };
            let mut scene = scene(1, Script::default(), config);
            let mut peer = scene.client(version);
            let text = pattern(size, 1);
            peer.say(&text);
            let hello = peer.wire();
            scene.deliver(peer.id, &hello);
            let answer = scene.reactor.net().receive(peer.id);
            peer.hear(&answer);
            let rest = peer.wire();
            assert!(rest.len() > size || version == BOTH[1]);
            scene.deliver(peer.id, &rest);
            scene.pump(&mut peer);
            assert_eq!(peer.heard, text);
        }
    }
}

#[test]
fn case_104_who_is_paused_reads_later_what_was_decrypted_before() {
    let script = Script {
        open: Box::new(|peer| {
            peer.pause();
            Ok(())
        }),
        ..Script::default()
    };
    let mut scene = scene(1, script, Config::default());
    let mut peer = scene.client(BOTH[0]);
    let text = pattern(3000, 1);
    peer.say(&text);
    scene.pump(&mut peer);
    assert_eq!(peer.heard, b"");
    let id = scene.reactor.hub().ids().next().unwrap();
    scene.reactor.hub().peer(id).unwrap().resume();
    scene.pump(&mut peer);
    assert_eq!(peer.heard, text);
}

#[test]
fn case_098_a_byte_in_each_record_costs_no_memory() {
    let heard = Rc::new(Cell::new(0));
    let count = heard.clone();
    let script = on_data(move |_, input| {
        count.set(count.get() + input.take_all().len());
        Ok(())
    });
    let mut scene = scene(1, script, Config::default());
    let peer = scene.shaken(BOTH[0]);
    let id = peer.id;
    let mut sealer = Sealer::of(peer.conn);
    let wire: Vec<u8> = (0..100_000).flat_map(|_| sealer.seal(raw::DATA, b"x")).collect();
    scene.deliver(id, &wire);
    assert_eq!(heard.get(), 100_000);
    assert!(scene.reactor.hub().stats().memory <= tls::RECORD_MAX);
    assert_eq!(scene.reactor.hub().len(), 1);
}

#[test]
fn case_098_records_of_nothing_are_endured_for_a_while() {
    for (count, version) in [(20, BOTH[0]), (1000, BOTH[0]), (20, BOTH[1]), (1000, BOTH[1])] {
        let mut scene = scene(1, Script::default(), Config::default());
        let peer = scene.shaken(version);
        let id = peer.id;
        let mut sealer = Sealer::of(peer.conn);
        let wire: Vec<u8> = (0..count).flat_map(|_| sealer.seal(raw::DATA, b"")).collect();
        scene.deliver(id, &wire);
        assert_eq!(scene.reactor.hub().len(), usize::from(count == 20), "{}", scene.end());
    }
}

/// rustls endures any number of these, as long as something comes in between.
#[test]
fn case_098_little_between_records_of_nothing_does_not_help() {
    for (size, lasts) in [(1, false), (1000, false), (30_000, true)] {
        let mut scene = scene(1, on_data(super::common::swallow), Config::default());
        let peer = scene.shaken(BOTH[0]);
        let id = peer.id;
        let mut sealer = Sealer::of(peer.conn);
        for _ in 0..100 {
            let mut wire: Vec<u8> = (0..20).flat_map(|_| sealer.seal(raw::DATA, b"")).collect();
            for part in vec![0; size].chunks(10_000) {
                wire.extend(sealer.seal(raw::DATA, part));
            }
            scene.deliver(id, &wire);
        }
        let expected = if lasts { "data" } else { "fault: too many TLS records that say nothing" };
        assert_eq!(scene.end(), expected);
        assert_eq!(scene.reactor.hub().len(), usize::from(lasts));
    }
}

#[test]
fn case_098_a_record_may_be_so_long_and_no_longer() {
    let (full, more) = (16 << 10, (16 << 10) + 1);
    for version in BOTH {
        for (size, heard) in [(full, full), (more, 0)] {
            let mut scene = scene(1, Script::default(), Config::default());
            let peer = scene.shaken(version);
            let id = peer.id;
            let mut sealer = Sealer::of(peer.conn);
            let wire = sealer.seal(raw::DATA, &vec![7; size]);
            scene.deliver(id, &wire);
            assert_eq!(scene.diary.count("data") * full, heard, "{size}");
            if heard == 0 {
                assert_eq!(
                    scene.end(),
                    "fault: the peer sent a record that is longer than TLS allows"
                );
                let answer = scene.reactor.net().receive(id);
                assert_eq!(raw::records(&answer).len(), 1, "an alert that nobody else can read");
            }
        }
        // Nobody waits for a body that is longer than there may be.
        let mut scene = scene(1, Script::default(), Config::default());
        let id = scene.shaken(version).id;
        scene.deliver(id, &[raw::DATA, 3, 3, 0x48, 1]);
        assert!(scene.end().starts_with("fault: "), "{}", scene.end());
    }
}

#[test]
fn case_093_a_record_that_never_ends_holds_no_more_than_itself() {
    let mut scene = scene(1, Script::default(), Config::default());
    let id = scene.shaken(BOTH[0]).id;
    scene.deliver(id, &[raw::DATA, 3, 3, 0x41, 0]);
    let mut sent = 5;
    while sent < 5 + 0x4100 - 1 {
        let more = 1.max(sent / 2).min(5 + 0x4100 - 1 - sent);
        scene.deliver(id, &vec![0; more]);
        sent += more;
        let memory = scene.reactor.hub().stats().memory;
        let most = (2 * sent).min(tls::RECORD_MAX) + 200; // and the books
        assert!(memory >= sent && memory <= most, "{memory} for {sent}");
    }
    scene.deliver(id, &[0]);
    assert_eq!(scene.end(), "fault: what came cannot be decrypted");
    assert_eq!(scene.reactor.hub().stats().memory, 0);
}
