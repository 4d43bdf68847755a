//! What goes wrong in loops like this one, trap by trap, each in a world that falls into it if the
//! loop does. The numbers are those of the list of hostile cases.
#![allow(clippy::field_reassign_with_default)] // a script is the usual one, but for a line

mod common;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use charkh::{
    Addr, Config, ConnId, Hub, Input, Layer, Peer, Protocol, Reactor, Reason, Result, WhenFull,
    net::{Clock, Event, Faults, Net, Sim, Token},
};
use common::{
    BOOKS, Diary, Echo, MS, Script, on_data, pattern, read_all, run_for, settle, swallow, world,
};

// --- asking what happened ---

#[test]
fn a_poll_that_fails_is_asked_again_and_ends_nobody() {
    let mut reactor = world(Echo, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().send(client, b"hello");
    reactor.net().faults = Faults { poll: 1000, ..Faults::NONE };
    (0..100).for_each(|_| reactor.turn().unwrap());
    assert_eq!((reactor.net().now(), reactor.hub().stats().poll_errors), (1000 * MS, 100));
    reactor.net().faults = Faults::NONE;
    settle(&mut reactor);
    assert_eq!(reactor.net().receive(client), b"hello");
}

#[test]
fn a_poll_that_does_nothing_but_fail_for_five_seconds_ends_the_loop() {
    let script = Script::default();
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    reactor.net().client();
    settle(&mut reactor);
    let id = reactor.hub().ids().next().unwrap();
    for fails in [4990, 5000] {
        let lines = diary.lines().len();
        reactor.hub().peer(id).unwrap().wake_in(100 * MS);
        reactor.net().faults = Faults { poll: 1000, ..Faults::NONE };
        let start = reactor.net().now();
        while reactor.net().now() < start + fails * MS {
            reactor.turn().unwrap();
        }
        // Whatever needs no news is done.
        assert_eq!(diary.lines()[lines..].len(), 1, "{:?}", diary.lines());
        if fails == 4990 {
            reactor.net().faults = Faults::NONE;
            reactor.turn_within(MS).unwrap();
        }
    }
    assert_eq!(reactor.turn().unwrap_err().raw_os_error(), Some(22));
}

// --- accepting ---

#[test]
fn case_001_without_descriptors_accepting_waits_and_is_back_in_20_ms() {
    let mut reactor = world(Echo, 1, Config::default());
    reactor.net().streams_max = 3;
    let clients: Vec<_> = (0..10).map(|_| reactor.net().client()).collect();
    for &client in &clients {
        reactor.net().send(client, b"hello");
    }
    // A descriptor that somebody else gives back makes no edge: only the timer can see it.
    (0..20).for_each(|_| reactor.turn().unwrap());
    assert_eq!(reactor.net().open_streams(), 3);
    let before = reactor.hub().stats();
    let start = reactor.net().now();
    while reactor.net().now() < start + 1000 * MS {
        reactor.turn().unwrap();
    }
    let turns = reactor.hub().stats().turns - before.turns;
    assert!(turns < 250, "{turns} turns in an idle second are a busy loop");
    reactor.net().streams_max = 4;
    let start = reactor.net().now();
    while reactor.net().receive(clients[3]).is_empty() {
        reactor.turn().unwrap();
    }
    assert!(reactor.net().now() - start <= 20 * MS);
    // One of ours closes: the next is served without waiting for the timer.
    reactor.net().finish_client(clients[0]);
    let start = reactor.net().now();
    while reactor.net().receive(clients[4]).is_empty() {
        reactor.turn().unwrap();
    }
    assert!(reactor.net().now() - start < 10 * MS);
    assert!(reactor.hub().stats().accept_pauses > 0);
}

#[test]
fn case_001_a_full_server_can_refuse_politely_instead() {
    let config = Config { when_full: WhenFull::Refuse, ..Config::default() };
    let mut reactor = world(Echo, 1, config);
    reactor.net().streams_max = 3;
    let clients: Vec<_> = (0..10).map(|_| reactor.net().client()).collect();
    settle(&mut reactor);
    assert_eq!(reactor.hub().stats().refused_full, 7);
    let refused = clients.iter().filter(|&&client| reactor.net().sees_end(client)).count();
    assert_eq!(refused, 7);
}

#[test]
fn case_003_a_connection_that_died_in_the_queue_does_not_lose_the_edge() {
    for seed in 0..200 {
        let mut reactor = world(Echo, seed, Config::default());
        reactor.net().faults = Faults { aborted: 400, interrupted: 200, ..Faults::NONE };
        let clients: Vec<_> = (0..20).map(|_| reactor.net().client()).collect();
        settle(&mut reactor);
        assert_eq!(reactor.net().waiting(), 0, "seed {seed}");
        let dead = clients.iter().filter(|&&client| reactor.net().sees_reset(client)).count();
        let stats = reactor.hub().stats();
        assert_eq!(stats.accepted as usize, 20 - dead);
        assert!(stats.accept_errors as usize >= dead);
    }
}

#[test]
fn case_057_who_was_there_before_a_storm_of_new_ones_is_served_amidst_it() {
    let config = Config { accepts_max: 2, ..Config::default() };
    let mut reactor = world(Echo, 1, config);
    let before = reactor.net().client();
    settle(&mut reactor);
    let _storm: Vec<_> = (0..1000).map(|_| reactor.net().client()).collect();
    reactor.net().send(before, b"hello");
    reactor.net().deliver_all();
    let mut heard = Vec::new();
    for _ in 0..3 {
        reactor.turn().unwrap();
        heard.extend(reactor.net().receive(before));
    }
    assert_eq!(heard, b"hello");
    assert!(reactor.net().waiting() > 900, "they wait, and not the one who was there");
}

#[test]
fn case_058_ten_thousand_resets_at_one_moment_delay_nobody() {
    let config = Config { conns_max: 10_001, ..Config::default() };
    let mut reactor = world(Echo, 1, config);
    let crowd: Vec<_> = (0..10_000).map(|_| reactor.net().client()).collect();
    let survivor = reactor.net().client();
    settle(&mut reactor);
    assert_eq!(reactor.hub().len(), 10_001);
    let turns = reactor.hub().stats().turns;
    crowd.into_iter().for_each(|client| reactor.net().reset_client(client));
    reactor.net().send(survivor, b"hello");
    reactor.net().deliver_all();
    let mut heard = Vec::new();
    while heard != b"hello" {
        reactor.turn().unwrap();
        heard.extend(reactor.net().receive(survivor));
        let turns = reactor.hub().stats().turns - turns;
        assert!(turns <= 3, "{turns} turns");
    }
    settle(&mut reactor);
    assert_eq!(reactor.hub().len(), 1);
}

#[test]
fn case_058_nor_do_as_many_ends_that_all_others_are_told_of() {
    let mut reactor = mourning(Config::default());
    let crowd: Vec<_> = (0..300).map(|_| reactor.net().client()).collect();
    let survivor = reactor.net().client();
    settle(&mut reactor);
    crowd.into_iter().for_each(|client| reactor.net().reset_client(client));
    for turn in 1..=100 {
        reactor.net().send(survivor, b"hello");
        reactor.net().deliver_all();
        reactor.turn().unwrap();
        // Each takes 400 us to tell, and all have 1 ms, for nothing else took any time.
        assert_eq!(reactor.hub().stats().released, 3 * turn);
        let before = if turn == 1 { "" } else { "..." }; // of the last turn
        reactor.net().deliver_all();
        let heard = reactor.net().receive(survivor);
        assert_eq!(String::from_utf8(heard).unwrap(), format!("{before}hello"));
    }
    assert_eq!(reactor.hub().stats().close_budget, 99);
}

#[test]
fn case_058_a_stop_that_is_out_of_patience_waits_for_no_share() {
    let mut reactor = mourning(Config::default());
    for _ in 0..300 {
        reactor.net().client();
    }
    settle(&mut reactor);
    reactor.hub().stop();
    reactor.hub().stop();
    reactor.turn().unwrap();
    assert_eq!((reactor.hub().stats().released, reactor.is_done()), (300, true));
}

/// An echo whose clients are sent a dot for each that has gone, which takes 400 us.
struct Mourners(Option<Clock>);

fn mourning(config: Config) -> Reactor<Mourners, Sim> {
    let mut reactor = world(Mourners(None), 1, config);
    reactor.protocol().0 = Some(reactor.net().clock());
    reactor
}

impl Protocol for Mourners {
    type Session = ();

    fn open(&mut self, _peer: &mut Peer<'_>) {}

    fn data(&mut self, peer: &mut Peer<'_>, (): &mut (), input: &mut Input<'_>) -> Result<()> {
        peer.send(input.take_all());
        Ok(())
    }

    fn closed(&mut self, hub: &mut Hub, _id: ConnId, (): (), _reason: Reason) {
        self.0.iter().for_each(|clock| clock.advance(Duration::from_micros(400)));
        hub.each(|mut peer| {
            peer.send(b".");
        });
    }
}

#[test]
fn whoever_comes_back_before_the_dead_are_closed_is_not_turned_away_for_them() {
    for config in [
        Config { conns_per_ip: Some(30), ..Config::default() },
        Config { conns_max: 30, when_full: WhenFull::Refuse, ..Config::default() },
    ] {
        let mut reactor = mourning(config);
        let crowd: Vec<_> = (0..30).map(|_| reactor.net().client()).collect();
        settle(&mut reactor);
        crowd.into_iter().for_each(|client| reactor.net().reset_client(client));
        reactor.net().deliver_all();
        reactor.turn().unwrap();
        assert_eq!(reactor.hub().stats().released, 3, "they were not to be closed at once");
        let again: Vec<_> = (0..30).map(|_| reactor.net().client()).collect();
        settle(&mut reactor);
        let stats = reactor.hub().stats();
        assert_eq!((stats.refused_full, stats.refused_per_ip, reactor.hub().len()), (0, 0, 30));
        assert!(again.into_iter().all(|client| !reactor.net().sees_end(client)));
    }
}

#[test]
fn case_007_more_than_the_accept_budget_then_silence() {
    let config = Config { accepts_max: 8, ..Config::default() };
    let mut reactor = world(Echo, 1, config);
    let _clients: Vec<_> = (0..33).map(|_| reactor.net().client()).collect();
    reactor.turn().unwrap();
    assert_eq!(reactor.hub().len(), 8);
    settle(&mut reactor);
    assert_eq!(reactor.hub().len(), 33);
    assert_eq!(reactor.hub().stats().accept_budget, 4);
}

#[test]
fn case_003_a_listener_that_does_nothing_but_fail_is_not_a_busy_loop() {
    let mut reactor = world(Echo, 1, Config { accepts_max: 4, ..Config::default() });
    reactor.net().faults = Faults { interrupted: 1000, ..Faults::NONE };
    reactor.net().client();
    (0..100).for_each(|_| reactor.turn().unwrap());
    assert!(reactor.net().now() >= 400 * MS, "{:?}", reactor.net().now());
    reactor.net().faults = Faults::NONE;
    settle(&mut reactor);
    assert_eq!(reactor.hub().len(), 1);
}

#[test]
fn case_007_a_budget_spent_on_the_dead_leaves_nothing_else_to_wake_the_loop() {
    let config = Config { accepts_max: 2, ..Config::default() };
    let mut reactor = world(Echo, 1, config);
    reactor.net().faults = Faults { aborted: 1000, ..Faults::NONE };
    for _ in 0..3 {
        reactor.net().client();
    }
    reactor.turn().unwrap();
    assert_eq!(reactor.net().waiting(), 1);
    settle(&mut reactor);
    assert_eq!(reactor.net().waiting(), 0);
}

#[test]
fn case_010_room_is_made_and_nothing_else_happens() {
    let script = Script {
        timer: Box::new(|peer| {
            peer.abort();
            Ok(())
        }),
        open: Box::new(|peer| {
            peer.wake_in(5 * MS);
            Ok(())
        }),
        ..Script::default()
    };
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config { conns_max: 1, ..Config::default() });
    for _ in 0..5 {
        reactor.net().client();
    }
    settle(&mut reactor);
    assert_eq!(diary.count("aborted"), 5);
}

#[test]
fn case_010_at_the_limit_nobody_is_forgotten() {
    for seed in 0..100 {
        let config = Config { conns_max: 1, ..Config::default() };
        let mut reactor = world(Echo, seed, config);
        let clients: Vec<_> = (0..4).map(|_| reactor.net().client()).collect();
        for &client in &clients {
            reactor.net().send(client, b"hello");
            reactor.net().finish_client(client);
        }
        for &client in &clients {
            assert_eq!(read_all(&mut reactor, client), b"hello", "seed {seed}");
        }
        assert!(reactor.hub().stats().accept_waits > 0);
    }
}

#[test]
fn case_011_too_many_from_one_address() {
    let config = Config { conns_per_ip: Some(2), ..Config::default() };
    let mut reactor = world(Echo, 1, config);
    let clients: Vec<_> = (0..5).map(|_| reactor.net().client()).collect();
    settle(&mut reactor);
    assert_eq!((reactor.hub().len(), reactor.hub().stats().refused_per_ip), (2, 3));
    // Who left makes room.
    reactor.net().finish_client(clients[0]);
    settle(&mut reactor);
    reactor.net().client();
    settle(&mut reactor);
    assert_eq!((reactor.hub().len(), reactor.hub().stats().refused_per_ip), (2, 3));
}

// --- reading ---

#[test]
fn case_027_an_end_behind_a_short_read_is_seen() {
    for size in 1..130 {
        let config = Config { read_max: 64, ..Config::default() };
        let mut reactor = world(Echo, size, config);
        let client = reactor.net().client();
        settle(&mut reactor);
        reactor.net().send(client, &pattern(size as usize, 0));
        reactor.net().finish_client(client);
        assert_eq!(read_all(&mut reactor, client).len(), size as usize);
        assert!(reactor.hub().is_empty());
    }
}

#[test]
fn case_026_the_front_of_a_message_is_offered_at_the_end() {
    let script = on_data(|_, input| {
        while input.line(99)?.is_some() {}
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().send(client, b"whole\npart");
    reactor.net().finish_client(client);
    settle(&mut reactor);
    assert!(diary.lines().contains(&"eof with 4".to_owned()), "{:?}", diary.lines());
    assert_eq!(diary.lines().last().unwrap(), "closed");
}

#[test]
fn case_034_a_reset_is_noticed_while_reading_is_paused() {
    let script = on_data(|peer, _| {
        peer.pause();
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    for _ in 0..10 {
        let client = reactor.net().client();
        reactor.net().send(client, b"hello");
        settle(&mut reactor);
        reactor.net().send(client, b"and more, which nobody wants");
        settle(&mut reactor);
        reactor.net().reset_client(client);
        settle(&mut reactor);
        assert!(reactor.hub().is_empty());
        assert!(diary.lines().last().unwrap().starts_with("broken"));
    }
    assert_eq!(diary.count("data"), 10);
}

#[test]
fn case_034_a_reset_is_noticed_after_the_end_too() {
    let mut script = Script::default();
    script.eof = Box::new(|_| Ok(())); // our half stays open, with nothing to say
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().finish_client(client);
    settle(&mut reactor);
    assert_eq!((diary.count("eof with 0"), reactor.hub().len()), (1, 1));
    reactor.net().reset_client(client);
    settle(&mut reactor);
    assert!(reactor.hub().is_empty());
    assert_eq!(diary.lines().len(), 3);
}

#[test]
fn resuming_offers_again_what_was_not_taken() {
    let mut first = true;
    let script = Script {
        data: Box::new(move |peer, input| {
            if std::mem::take(&mut first) {
                peer.pause();
                peer.wake_in(MS);
            } else {
                peer.send(input.take_all());
            }
            Ok(())
        }),
        timer: Box::new(|peer| {
            peer.resume();
            Ok(())
        }),
        ..Script::default()
    };
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    settle(&mut reactor);
    reactor.net().send(client, b"hello");
    reactor.net().deliver_all();
    assert_eq!(read_all(&mut reactor, client), b"hello");
}

#[test]
fn an_edge_that_hints_at_more_costs_one_look_and_not_one_for_ever() {
    let mut reactor = world(Echo, 1, Config::default());
    let client = reactor.net().client();
    settle(&mut reactor);
    let token = Token::Conn { slot: 0, serial: 1 };
    let hint = Event { token, readable: true, writable: false, ending: true, failed: false };
    reactor.net().inject(hint);
    settle(&mut reactor);
    let before = reactor.hub().stats().reads;
    for i in 0..100 {
        reactor.net().send(client, &pattern(1, i));
        reactor.net().deliver_all();
        assert_eq!(read_all(&mut reactor, client), pattern(1, i));
    }
    assert_eq!(reactor.hub().stats().reads - before, 100);
}

/// Readiness without anything to be ready for, of every kind: a look at the socket, and no end.
#[test]
fn case_029_031_an_event_without_a_cause_costs_one_look_and_no_connection() {
    let mut reactor = world(Echo, 1, Config::default());
    let client = reactor.net().client();
    settle(&mut reactor);
    let token = Token::Conn { slot: 0, serial: 1 };
    let [readable, writable, ending, failed] =
        [0, 1, 2, 3].map(|bit| move |n: u32| n >> bit & 1 == 1);
    for n in 0..16 {
        let [readable, writable] = [readable(n), writable(n)];
        let [ending, failed] = [ending(n), failed(n)];
        let before = reactor.hub().stats().reads;
        reactor.net().inject(Event { token, readable, writable, ending, failed });
        settle(&mut reactor);
        assert!(reactor.hub().stats().reads - before <= 1, "{n:04b}");
        reactor.net().send(client, &pattern(100, n as usize));
        assert_eq!(read_all(&mut reactor, client), pattern(100, n as usize));
    }
    assert_eq!(reactor.hub().len(), 1);
}

#[test]
fn case_035_a_read_budget_that_ends_exactly_at_the_last_byte() {
    for size in [63, 64, 65, 128, 192, 256] {
        let config = Config { read_max: 64, ..Config::default() };
        let mut reactor = world(Echo, 3, config);
        let client = reactor.net().client();
        reactor.net().send(client, &pattern(size, 0));
        assert_eq!(read_all(&mut reactor, client), pattern(size, 0));
        assert_eq!(reactor.hub().len(), 1);
    }
}

#[test]
fn what_is_not_taken_is_offered_again() {
    let script = on_data(|peer, input| {
        if let Some(bytes) = input.take(10) {
            peer.send(bytes);
        }
        Ok(())
    });
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    let mut got = Vec::new();
    for i in 0..30 {
        reactor.net().send(client, &pattern(3, i));
        got.extend(read_all(&mut reactor, client));
    }
    assert_eq!(got, (0..30).flat_map(|i| pattern(3, i)).collect::<Vec<_>>());
}

#[test]
fn case_066_a_protocol_that_takes_nothing_has_a_limit() {
    let script = on_data(|_, _| Ok(()));
    let diary = script.diary.clone();
    let config = Config { input_max: 1000, read_max: 64, ..Config::default() };
    let mut reactor = world(script, 1, config);
    let client = reactor.net().client();
    for _ in 0..40 {
        reactor.net().send(client, &[0; 50]);
        let _ = reactor.turn();
        assert!(reactor.hub().stats().memory <= 2 * (1000 + 64));
    }
    settle(&mut reactor);
    assert_eq!(diary.count("input overflow"), 1);
}

// --- writing ---

#[test]
fn a_write_that_was_taken_in_part_is_not_tried_again_without_an_edge() {
    let mut reactor = world(Echo, 1, Config { write_stall: None, ..Config::default() });
    let client = reactor.net().client();
    reactor.net().set_window(client, 100);
    reactor.net().send(client, &pattern(1000, 0));
    reactor.net().deliver_all();
    settle(&mut reactor);
    assert_eq!(reactor.hub().stats().writes, 1);
    assert_eq!(read_all(&mut reactor, client), pattern(1000, 0));
}

#[test]
fn case_039_whoever_reads_now_and_then_is_not_stalled() {
    let script = Script::default();
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().set_window(client, 10);
    reactor.net().send(client, &pattern(100, 0));
    let mut got = Vec::new();
    while got.len() < 100 && diary.count("write stalled") == 0 {
        // Forty seconds between two looks, of the sixty that are allowed.
        let until = reactor.net().now() + 40_000 * MS;
        while reactor.net().now() < until {
            let left = until - reactor.net().now();
            reactor.turn_within(left).unwrap();
        }
        got.extend(reactor.net().receive(client));
    }
    assert_eq!(got, pattern(100, 0));
}

#[test]
fn a_protocol_that_stops_taking_while_it_is_full_goes_on_when_there_is_room() {
    let script = on_data(|peer, input| {
        while !peer.is_full()
            && let Some(line) = input.line(9)?
        {
            peer.send(&line.repeat(1000));
        }
        Ok(())
    });
    let config = Config { output_high: 3000, output_low: 1000, ..Config::default() };
    let mut reactor = world(script, 1, config);
    let client = reactor.net().client();
    settle(&mut reactor);
    reactor.net().set_window(client, 100);
    reactor.net().send(client, &b"x\n".repeat(50));
    reactor.net().deliver_all();
    let mut got = 0;
    for _ in 0..5000 {
        let _ = reactor.turn();
        got += reactor.net().receive(client).len();
    }
    assert_eq!(got, 50_000);
}

#[test]
fn case_037_a_peer_that_never_reads_is_not_read_from() {
    let script = Script::default();
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config { read_max: 1000, ..Config::default() });
    let client = reactor.net().client();
    reactor.net().set_window(client, 100);
    reactor.net().send(client, &pattern(1 << 20, 0));
    reactor.net().deliver_all();
    for _ in 0..500 {
        let _ = reactor.turn_within(MS);
        // High watermark, one read, and what storage rounds up.
        assert!(reactor.hub().stats().memory <= 2 * (64 << 10) + 4000);
    }
    assert!(reactor.hub().stats().bytes_in <= (64 << 10) + 2000);
    settle(&mut reactor);
    assert_eq!(diary.count("write stalled"), 1);
    assert_eq!(reactor.hub().stats().memory, 0);
}

#[test]
fn case_039_a_slow_reader_gets_everything_and_the_watermarks_hold() {
    let script = Script::default();
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().set_window(client, 5000);
    let bytes = pattern(1 << 20, 0);
    reactor.net().send(client, &bytes);
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        reactor.turn().unwrap();
        got.extend(reactor.net().receive(client));
    }
    assert_eq!(got, bytes);
    let stats = reactor.hub().stats();
    assert!(stats.output_full > 0);
    assert_eq!(diary.count("drained") as u64, stats.output_full);
}

#[test]
fn case_037_output_has_a_hard_limit() {
    let script = on_data(|peer, _| {
        for _ in 0..9 {
            if !peer.send(&[0; 1000]) {
                return Ok(());
            }
        }
        panic!("more than output_max was taken");
    });
    let diary = script.diary.clone();
    let limits = Config { output_low: 10, output_high: 100, ..Config::default() };
    let mut reactor = world(script, 1, Config { output_max: 8000, ..limits });
    let client = reactor.net().client();
    reactor.net().send(client, b"x");
    settle(&mut reactor);
    assert_eq!(diary.count("output overflow"), 1);
    assert!(reactor.net().sees_reset(client));
}

/// A line is a number, and the answer is so many bytes.
fn says_so_many() -> Script {
    on_data(|peer, input| {
        if let Some(line) = input.line(9)? {
            peer.send(&vec![7; std::str::from_utf8(line)?.parse()?]);
        }
        Ok(())
    })
}

#[test]
fn case_038_the_heaviest_goes_first_and_the_polite_are_unharmed() {
    let heaviest = Arc::new(Mutex::new(None));
    let first = heaviest.clone();
    let limits = Config { output_low: 10, output_high: 1 << 20, ..Config::default() };
    let config = Config { memory_max: 1 << 20, write_stall: None, ..limits };
    let mut reactor = world(says_so_many(), 1, config);
    let mut clients = Vec::new();
    for i in 1..=30 {
        let client = reactor.net().client();
        reactor.net().set_window(client, 1);
        reactor.net().send(client, format!("{}\n", i * 4000).as_bytes());
        clients.push(client);
        settle(&mut reactor);
        assert!(reactor.hub().stats().memory <= 1 << 20);
        if first.lock().unwrap().is_none() {
            let gone = (0..clients.len()).find(|&n| reactor.net().sees_reset(clients[n]));
            *first.lock().unwrap() = gone.map(|n| (n + 1, i));
        }
    }
    let (gone, newest) = heaviest.lock().unwrap().expect("the cap was never reached");
    assert!(gone * 5 >= newest * 4, "{gone} of {newest} went first");
    // The light ones are all still there, and get what they are owed.
    for (i, &client) in clients.iter().enumerate().take(8) {
        reactor.net().set_window(client, 1 << 20);
        assert_eq!(read_all(&mut reactor, client).len(), (i + 1) * 4000);
    }
}

#[test]
fn case_067_spare_storage_goes_before_anybody_does() {
    let config = Config { memory_max: 90_000, write_stall: None, ..Config::default() };
    let mut reactor = world(says_so_many(), 1, config);
    let [first, second] = [(); 2].map(|()| reactor.net().client());
    let ask = |reactor: &mut Reactor<_, Sim>, client, size: usize| {
        reactor.net().set_window(client, 1);
        reactor.net().send(client, format!("{size}\n").as_bytes());
        settle(reactor);
        reactor.hub().stats().memory
    };
    // A block of 64 KiB is spare when the first has gone; what the second needs is one of 32.
    let held = ask(&mut reactor, first, 50_000);
    assert!(held > 60_000, "{held}");
    reactor.net().reset_client(first);
    settle(&mut reactor);
    assert_eq!(reactor.hub().stats().memory, 0);
    assert!((20_000..40_000).contains(&ask(&mut reactor, second, 20_000)));
    reactor.net().set_window(second, 1 << 20);
    assert_eq!(read_all(&mut reactor, second).len(), 20_000);
}

#[test]
fn case_066_what_sessions_keep_counts_too_and_is_free_when_they_go() {
    let script = Script {
        data: Box::new(|peer, input| {
            let mut told = None;
            while let Some(line) = input.line(9)? {
                told = Some(std::str::from_utf8(line)?.parse()?);
            }
            told.into_iter().for_each(|bytes| peer.set_held(bytes));
            Ok(())
        }),
        ..Script::default()
    };
    // A number that comes in two pieces takes a kibibyte beside.
    let mut reactor = world(script, 1, Config { memory_max: 100_000, ..Config::default() });
    let [light, heavy, other] = [(); 3].map(|()| reactor.net().client());
    for (client, bytes, all) in [
        (light, 20_000, 20_000 + BOOKS),
        (heavy, 70_000, 90_000 + 2 * BOOKS),
        (light, 28_000, 98_000 + 2 * BOOKS),
        (other, 10_000, 38_000 + 2 * BOOKS), // the heaviest has gone
        (light, 0, 10_000 + BOOKS),
        (other, 0, 0),
        (other, 100_001, 0), // the heaviest is whoever tells it
        (light, 98_000, 98_000 + BOOKS),
    ] {
        reactor.net().send(client, format!("{bytes}\n").as_bytes());
        settle(&mut reactor);
        assert_eq!(reactor.hub().stats().memory, all, "after {bytes}");
    }
    let gone = [light, heavy, other].map(|client| reactor.net().sees_reset(client));
    assert_eq!(gone, [false, true, true]);
    reactor.net().reset_client(light);
    settle(&mut reactor);
    assert_eq!(reactor.hub().stats().memory, 0);
}

#[test]
fn case_049_a_broadcast_shares_one_payload_and_the_stalled_delay_nobody() {
    let payload: Arc<[u8]> = pattern(100, 0).into();
    let shared = payload.clone();
    let script = on_data(move |peer, input| {
        if input.line(9)?.is_none() {
            return Ok(());
        }
        peer.hub().each(|mut peer| {
            peer.send_shared(&shared);
        });
        Ok(())
    });
    let mut reactor = world(script, 1, Config { write_stall: None, ..Config::default() });
    let clients: Vec<_> = (0..200).map(|_| reactor.net().client()).collect();
    for &client in clients.iter().take(20) {
        reactor.net().set_window(client, 0);
    }
    settle(&mut reactor);
    reactor.net().send(clients[100], b"tell them\n");
    settle(&mut reactor);
    for &client in &clients[20..] {
        assert_eq!(reactor.net().receive(client), &payload[..]);
    }
    // Twenty still hold it, beside the two names in this test.
    assert_eq!(Arc::strong_count(&payload), 22);
}

#[test]
fn case_037_a_listener_that_never_reads_what_others_say_is_stalled_too() {
    let script = on_data(|peer, input| {
        let line = input.take_all();
        peer.hub().each(|mut other| {
            other.send(line);
        });
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let (talker, deaf) = (reactor.net().client(), reactor.net().client());
    reactor.net().set_window(deaf, 0);
    settle(&mut reactor);
    reactor.net().send(talker, b"hello?");
    settle(&mut reactor);
    assert_eq!(diary.count("write stalled"), 1);
    assert_eq!((reactor.hub().len(), reactor.hub().stats().memory), (1, 0));
}

#[test]
fn reading_can_go_on_while_output_is_full() {
    for (on, bytes_in) in [(false, 100), (true, 1000)] {
        let mut script = on_data(|_, input| {
            input.take_all();
            Ok(())
        });
        script.open = Box::new(move |peer| {
            peer.read_while_full(on);
            Ok(())
        });
        script.timer = Box::new(|peer| {
            peer.send(&[0; 5000]);
            assert!(peer.is_full());
            Ok(())
        });
        let limits = Config { output_high: 2000, output_low: 1000, ..Config::default() };
        let config = Config { write_stall: None, ..limits };
        let mut reactor = world(script, 1, config);
        let client = reactor.net().client();
        reactor.net().set_window(client, 10);
        reactor.net().send(client, &[0; 100]);
        settle(&mut reactor);
        let id = reactor.hub().ids().next().unwrap();
        reactor.hub().peer(id).unwrap().wake_in(MS);
        settle(&mut reactor);
        reactor.net().send(client, &[0; 900]);
        settle(&mut reactor);
        assert_eq!(reactor.hub().stats().bytes_in, bytes_in);
    }
}

#[test]
fn what_drained_sends_is_its_own_connection_s() {
    let mut script = on_data(|peer, input| {
        match input.line(9)? {
            Some(b"big") => peer.send(&[b'A'; 100_000]),
            Some(_) => peer.send(b"hi"),
            None => true,
        };
        Ok(())
    });
    script.drained = Box::new(|peer| {
        peer.send(b"secret");
        Ok(())
    });
    let mut reactor = world(script, 1, Config::default());
    let (a, b) = (reactor.net().client(), reactor.net().client());
    reactor.net().send(a, b"big\n");
    settle(&mut reactor);
    assert_eq!(reactor.net().receive(a).len(), 100_006);
    reactor.net().send(b, b"small\n");
    assert_eq!(read_all(&mut reactor, b), b"hi");
}

#[test]
fn how_far_a_line_was_searched_is_forgotten_with_its_connection() {
    let script = on_data(|peer, input| {
        while let Some(line) = input.line(100)? {
            peer.send(&[line, b"\n"].concat());
        }
        Ok(())
    });
    let mut reactor = world(script, 1, Config { write_stall: None, ..Config::default() });
    let first = reactor.net().client();
    reactor.net().send(first, &[b'x'; 50]);
    settle(&mut reactor);
    reactor.net().reset_client(first);
    settle(&mut reactor);
    let second = reactor.net().client();
    reactor.net().set_window(second, 3); // its answer waits, in what the other one left
    reactor.net().send(second, b"hello\n");
    reactor.net().deliver_all();
    settle(&mut reactor);
    reactor.net().send(second, b"hi\n");
    reactor.net().deliver_all();
    settle(&mut reactor);
    reactor.net().set_window(second, 300);
    assert_eq!(read_all(&mut reactor, second), b"hello\nhi\n");
}

#[test]
fn case_047_what_comes_before_the_last_answer_has_left_is_not_lingering() {
    let script = on_data(|peer, _| {
        peer.send(&[b'a'; 100]);
        peer.close();
        Ok(())
    });
    let limits = Config { linger_bytes: 500, ..Config::default() };
    let mut reactor = world(script, 1, Config { write_stall: None, ..limits });
    let client = reactor.net().client();
    reactor.net().set_window(client, 3);
    reactor.net().send(client, b"x");
    settle(&mut reactor);
    reactor.net().send(client, &[b'x'; 600]);
    reactor.net().deliver_all();
    settle(&mut reactor);
    reactor.net().set_window(client, 1000);
    assert_eq!(read_all(&mut reactor, client).len(), 100);
}

/// The one edge that says a socket can be written to comes when it is new, and is over by then.
#[test]
fn case_044_what_is_sent_later_needs_no_edge_to_leave() {
    let mut reactor = world(Script::default(), 1, Config::default());
    let client = reactor.net().client();
    settle(&mut reactor);
    let id = reactor.hub().ids().next().unwrap();
    for n in 0..3 {
        reactor.hub().peer(id).unwrap().send(&[n]);
        reactor.turn().unwrap();
        reactor.net().deliver_all();
        assert_eq!(reactor.net().receive(client), [n]);
    }
}

#[test]
fn case_041_own_and_shared_bytes_leave_in_the_order_they_were_sent() {
    for window in [1, 7, 10_000] {
        let script = on_data(|peer, input| {
            for (i, &byte) in input.take_all().iter().enumerate() {
                match i % 3 {
                    1 => peer.send_shared(&Arc::from([byte].as_slice())),
                    _ => peer.send(&[byte]),
                };
            }
            Ok(())
        });
        let config = Config { write_stall: None, ..Config::default() };
        let mut reactor = world(script, window as u64, config);
        let client = reactor.net().client();
        reactor.net().set_window(client, window);
        reactor.net().send(client, &pattern(3000, 5));
        assert_eq!(read_all(&mut reactor, client), pattern(3000, 5));
    }
}

#[test]
fn case_050_a_shortage_of_memory_is_waited_for_and_costs_nobody_a_connection() {
    for seed in 0..100 {
        let mut reactor = world(Echo, seed, Config { write_stall: None, ..Config::default() });
        reactor.net().faults = Faults { no_memory: 500, ..Faults::NONE };
        let client = reactor.net().client();
        reactor.net().send(client, &pattern(3000, 1));
        assert_eq!(read_all(&mut reactor, client), pattern(3000, 1), "seed {seed}");
        // And while it lasts nobody turns the wheel for nothing.
        reactor.net().faults = Faults { no_memory: 1000, ..Faults::NONE };
        reactor.net().send(client, b"x");
        reactor.net().deliver_all();
        let before = reactor.hub().stats().turns;
        let until = reactor.net().now() + 1000 * MS;
        while reactor.net().now() < until {
            reactor.turn().unwrap();
        }
        let turns = reactor.hub().stats().turns - before;
        assert!(turns < 400, "{turns} turns in a second");
        reactor.net().faults = Faults::NONE;
        assert_eq!(read_all(&mut reactor, client), b"x");
        assert!(reactor.hub().stats().io_pauses > 50);
    }
}

#[test]
fn case_002_every_shortage_of_accept_is_waited_for() {
    for seed in 0..100 {
        let mut reactor = world(Echo, seed, Config::default());
        reactor.net().faults = Faults { shortage: 700, ..Faults::NONE };
        for _ in 0..20 {
            reactor.net().client();
        }
        settle(&mut reactor);
        assert_eq!((reactor.hub().len(), reactor.hub().stats().accept_errors), (20, 0));
    }
}

// --- closing ---

#[test]
fn case_045_what_was_sent_before_close_arrives_and_then_the_end() {
    let script = on_data(|peer, input| {
        input.take_all();
        peer.send(&pattern(10_000, 0));
        peer.close();
        assert!(!peer.send(b"too late"));
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config { write_stall: None, ..Config::default() });
    let client = reactor.net().client();
    reactor.net().set_window(client, 77);
    reactor.net().send(client, b"go");
    assert_eq!(read_all(&mut reactor, client), pattern(10_000, 0));
    assert!(reactor.net().sees_end(client) && !reactor.net().sees_reset(client));
    // The peer never ended its half: that is its affair, and no fault.
    assert_eq!(diary.lines(), ["open", "data", "closed"]);
    assert_eq!(reactor.hub().stats().linger_expired, 1);
}

#[test]
fn case_046_an_answer_is_not_lost_to_input_that_nobody_will_read() {
    for seed in 0..200 {
        let script = on_data(|peer, _| {
            peer.send(b"error: enough\n");
            peer.close();
            Ok(())
        });
        let mut reactor = world(script, seed, Config { read_max: 100, ..Config::default() });
        let client = reactor.net().client();
        for i in 0..20 {
            reactor.net().send(client, &pattern(300, i));
            let _ = reactor.turn();
        }
        assert!(!reactor.net().sees_reset(client), "seed {seed}");
        assert_eq!(reactor.net().receive(client), b"error: enough\n");
        reactor.net().finish_client(client);
        settle(&mut reactor);
        assert_eq!(reactor.hub().stats().linger_expired, 0);
    }
}

#[test]
fn case_047_lingering_has_a_limit_in_bytes_and_in_time() {
    let script = on_data(|peer, _| {
        peer.close();
        Ok(())
    });
    let config = Config { linger_bytes: 5000, read_max: 1000, ..Config::default() };
    let mut reactor = world(script, 1, config);
    let client = reactor.net().client();
    while !reactor.net().sees_end(client) || reactor.hub().len() == 1 {
        reactor.net().send(client, &[0; 500]);
        reactor.turn().unwrap();
        assert!(reactor.hub().stats().bytes_in < 8000);
    }
    assert_eq!(reactor.hub().stats().linger_overflow, 1);
    // One that is merely silent goes by the clock, also when its half was finished before.
    let client = reactor.net().client();
    reactor.net().send(client, b"x");
    settle(&mut reactor);
    assert!(reactor.hub().is_empty());
    assert_eq!(reactor.hub().stats().linger_expired, 1);
}

#[test]
fn a_finished_half_that_is_closed_later_lingers_no_longer_than_others() {
    let script = Script {
        data: Box::new(|peer, _| {
            peer.finish();
            peer.wake_in(1000 * MS);
            Ok(())
        }),
        timer: Box::new(|peer| {
            peer.close();
            Ok(())
        }),
        ..Script::default()
    };
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().send(client, b"x");
    settle(&mut reactor);
    assert!(reactor.hub().is_empty());
    assert!(reactor.net().now() < 7000 * MS);
}

#[test]
fn case_025_each_half_ends_by_itself() {
    let script = Script {
        // After the client's end the server goes on talking for a while.
        eof: Box::new(|peer| {
            peer.wake_in(10 * MS);
            Ok(())
        }),
        timer: Box::new(|peer| {
            peer.send(b"later");
            peer.finish();
            Ok(())
        }),
        ..Script::default()
    };
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().finish_client(client);
    assert_eq!(read_all(&mut reactor, client), b"later");
    assert!(!reactor.net().sees_reset(client) && reactor.hub().is_empty());

    // And the other way round: the server's half is over, the client still talks.
    let heard = Arc::new(Mutex::new(Vec::<u8>::new()));
    let ear = heard.clone();
    let mut script = on_data(move |_, input| {
        ear.lock().unwrap().extend(input.take_all());
        Ok(())
    });
    script.open = Box::new(|peer| {
        peer.finish();
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    settle(&mut reactor);
    assert!(reactor.net().sees_end(client));
    reactor.net().send(client, &pattern(500, 1));
    reactor.net().finish_client(client);
    settle(&mut reactor);
    assert_eq!(*heard.lock().unwrap(), pattern(500, 1));
    assert_eq!(diary.lines().last().unwrap(), "closed");
}

#[test]
fn case_048_closing_in_callbacks_is_safe_in_every_order() {
    let ids = Arc::new(Mutex::new(Vec::<ConnId>::new()));
    let all = ids.clone();
    let mut script = on_data(move |peer, _| {
        let me = peer.id();
        for &id in all.lock().unwrap().iter() {
            if let Some(mut other) = peer.to(id) {
                other.abort();
                other.abort();
                other.close();
                other.pause();
                other.resume();
                other.wake_in(MS);
                assert!(!other.send(b"to the dead"));
            }
            assert!(peer.to(id).is_none());
        }
        assert!(peer.to(me).is_none());
        Err("and then a fault".into())
    });
    script.open = Box::new(move |peer| {
        ids.lock().unwrap().push(peer.id());
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let clients: Vec<_> = (0..5).map(|_| reactor.net().client()).collect();
    settle(&mut reactor);
    clients.iter().for_each(|&client| reactor.net().send(client, b"x"));
    settle(&mut reactor);
    assert_eq!((diary.count("data"), diary.count("aborted")), (1, 5));
    assert!(reactor.hub().is_empty());
}

#[test]
fn case_061_a_late_event_does_not_reach_the_slot_s_next_connection() {
    let script = Script::default();
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let first = reactor.net().client();
    settle(&mut reactor);
    reactor.net().reset_client(first);
    settle(&mut reactor);
    reactor.net().client();
    settle(&mut reactor);
    let before = diary.lines();
    let token = Token::Conn { slot: 0, serial: 1 };
    let late = Event { token, readable: true, writable: true, ending: true, failed: true };
    reactor.net().inject(late);
    let served = reactor.hub().stats().served;
    reactor.turn().unwrap();
    assert_eq!(reactor.hub().stats().stale_events, 1);
    assert_eq!((reactor.hub().stats().served, diary.lines()), (served, before));
}

#[test]
fn case_061_nor_does_it_reach_one_that_waits_to_be_dialed() {
    let config = Config { connects_max: 1, ..Config::default() };
    let mut reactor = world(Script::default(), 1, config);
    for port in [8, 9] {
        reactor.hub().connect_in(Addr::from(([127, 0, 0, 1], port)), 10 * MS);
    }
    // Where an event names a slot alone, no serial tells this one from an earlier one.
    let token = Token::Conn { slot: 1, serial: 0 };
    let late = Event { token, readable: true, writable: true, ending: true, failed: true };
    reactor.net().inject(late);
    reactor.turn_within(MS).unwrap();
    assert_eq!(reactor.hub().stats().stale_events, 1);
    // A turn dials one: the laws that are looked at after each find none with work and no turn.
    run_for(&mut reactor, 20 * MS);
}

#[test]
fn case_061_nor_one_whose_dial_waits_for_its_turn() {
    let config = Config { connects_max: 1, ..Config::default() };
    let mut reactor = world(Script::default(), 1, config);
    for port in [8, 9] {
        reactor.hub().connect(Addr::from(([127, 0, 0, 1], port)));
    }
    let token = Token::Conn { slot: 1, serial: 0 };
    let late = Event { token, readable: true, writable: true, ending: true, failed: true };
    reactor.net().inject(late);
    reactor.turn_within(MS).unwrap();
    let stats = reactor.hub().stats();
    assert_eq!((stats.stale_events, stats.connect_budget), (1, 1));
    run_for(&mut reactor, 20 * MS);
}

#[test]
fn a_fault_ends_one_connection_and_its_last_words_arrive() {
    let script = on_data(|peer, input| match input.take_all() {
        b"bad" => {
            peer.send(b"I give up");
            Err("bad".into())
        }
        bytes => {
            peer.send(bytes);
            Ok(())
        }
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let (bad, good) = (reactor.net().client(), reactor.net().client());
    // All in one piece: what matters here is what comes after it.
    reactor.net().send(good, b"x");
    settle(&mut reactor);
    reactor.net().send(bad, b"bad");
    let mut heard = Vec::new();
    while reactor.turn().is_ok() {
        heard.extend(reactor.net().receive(bad));
    }
    if diary.count("fault: bad") == 1 {
        assert_eq!(heard, b"I give up");
    }
    reactor.net().send(good, b"y");
    assert_eq!(read_all(&mut reactor, good), b"xy");
}

#[test]
#[should_panic(expected = "the handler's own bug")]
fn case_036_a_panic_goes_to_the_caller() {
    let script = on_data(|_, _| panic!("the handler's own bug"));
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().send(client, b"x");
    settle(&mut reactor);
}

// --- fairness ---

#[test]
fn case_053_one_who_pipelines_without_pause_delays_nobody_by_more_than_a_turn() {
    let script = on_data(|peer, input| {
        while let Some(line) = input.line(9)? {
            peer.send(line);
        }
        Ok(())
    });
    let config = Config { frames_max: 10, ..Config::default() };
    let mut reactor = world(script, 1, config);
    let flooder = reactor.net().client();
    let polite = reactor.net().client();
    settle(&mut reactor);
    reactor.net().send(flooder, &b"x\n".repeat(5000));
    let mut answers = 0;
    for _ in 0..20 {
        reactor.net().send(polite, b"hi\n");
        let before = reactor.hub().stats();
        let mut turns = 0;
        while reactor.net().receive(polite).is_empty() {
            reactor.turn().unwrap();
            turns += 1;
        }
        // Pieces of the network's make may take a few looks; the flooder adds none to them.
        assert!(turns <= 6, "{turns} turns for a polite line");
        let messages = reactor.hub().stats().messages - before.messages;
        assert!(messages <= 10 * turns + 1);
        answers += 1;
    }
    assert_eq!(answers, 20);
    assert_eq!(read_all(&mut reactor, flooder), b"x".repeat(5000));
    assert!(reactor.hub().stats().frame_budget > 100);
}

#[test]
fn case_054_one_upload_does_not_take_more_than_its_part_of_a_turn() {
    let config = Config { read_max: 1000, ..Config::default() };
    let mut reactor = world(on_data(swallow), 1, config);
    let uploader = reactor.net().client();
    reactor.net().send(uploader, &pattern(1 << 20, 0));
    for _ in 0..50 {
        let before = reactor.hub().stats().bytes_in;
        reactor.turn().unwrap();
        assert!(reactor.hub().stats().bytes_in - before <= 1000);
    }
}

#[test]
fn case_054_one_download_does_not_take_more_than_its_part_of_a_turn() {
    let script = on_data(|peer, input| {
        match input.take_all() {
            b"much" => peer.send(&pattern(1 << 20, 0)),
            text => peer.send(text),
        };
        Ok(())
    });
    let mut reactor = world(script, 1, Config { write_max: 1000, ..Config::default() });
    let [downloader, polite] = [0; 2].map(|_| reactor.net().client());
    reactor.net().send(downloader, b"much");
    reactor.net().send(polite, b"hello");
    reactor.net().deliver_all();
    let mut heard = Vec::new();
    for _ in 0..50 {
        let before = reactor.hub().stats();
        reactor.turn().unwrap();
        let now = reactor.hub().stats();
        let served = now.served - before.served;
        assert!(now.bytes_out - before.bytes_out <= 2000 * served, "more than two writes each");
        reactor.net().receive(downloader);
        heard.extend(reactor.net().receive(polite));
    }
    assert_eq!(heard, b"hello", "long before the download is over");
    assert!(reactor.hub().stats().memory > 900_000);
}

#[test]
fn case_055_a_handler_that_blocks_is_counted() {
    let clock = Arc::new(Mutex::new(None::<charkh::net::Clock>));
    let moved = clock.clone();
    let script = on_data(move |peer, input| {
        if input.take_all() == b"z" {
            moved.lock().unwrap().as_ref().unwrap().advance(Duration::from_secs(2));
        }
        assert_eq!(peer.now(), peer.hub().now());
        Ok(())
    });
    let mut reactor = world(script, 1, Config::default());
    *clock.lock().unwrap() = Some(reactor.net().clock());
    let client = reactor.net().client();
    reactor.net().send(client, b"a");
    settle(&mut reactor);
    assert_eq!(reactor.hub().stats().slow_turns, 0);
    reactor.net().send(client, b"z");
    settle(&mut reactor);
    let stats = reactor.hub().stats();
    assert_eq!((stats.slow_turns, stats.longest_turn), (1, Duration::from_secs(2)));
    assert_eq!(reactor.hub().take_longest_turn(), Duration::from_secs(2));
    assert_eq!(reactor.hub().take_longest_turn(), Duration::ZERO);
}

// --- timers ---

#[test]
fn case_073_timers_are_never_early_and_at_most_a_millisecond_late() {
    for us in [0, 1, 999, 1000, 1001, 20_000, 3_600_000_000_u64] {
        let after = Duration::from_micros(us);
        let mut script = Script::default();
        script.open = Box::new(move |peer| {
            peer.wake_in(after);
            Ok(())
        });
        let at = Arc::new(Mutex::new(Duration::ZERO));
        let woken = at.clone();
        script.timer = Box::new(move |peer| {
            *woken.lock().unwrap() = peer.now();
            Ok(())
        });
        let mut reactor = world(script, 1, Config::default());
        reactor.net().clock().advance(Duration::from_nanos(777_777));
        reactor.net().client();
        reactor.turn().unwrap();
        let start = reactor.hub().now();
        settle(&mut reactor);
        let late = at.lock().unwrap().checked_sub(start + after).expect("early");
        assert!(late <= 2 * MS, "{late:?} late after {after:?}");
    }
}

#[test]
fn case_076_a_timer_that_is_cancelled_or_moved_does_not_fire() {
    let mut script = Script::default();
    script.open = Box::new(|peer| {
        peer.wake_in(10 * MS);
        peer.wake_in(50 * MS);
        Ok(())
    });
    let mut first = true;
    script.timer = Box::new(move |peer| {
        peer.wake_in(10 * MS);
        if !std::mem::take(&mut first) {
            peer.cancel_wake();
        }
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    reactor.net().client();
    settle(&mut reactor);
    assert_eq!(diary.lines(), ["open", "timer at 50", "timer at 60"]);
}

#[test]
fn case_077_a_timer_of_zero_fires_once_a_turn_and_lets_time_pass() {
    let again = |peer: &mut Peer| {
        peer.wake_in(Duration::ZERO);
        Ok(())
    };
    let script = Script { open: Box::new(again), timer: Box::new(again), ..Script::default() };
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    reactor.net().client();
    (0..100).for_each(|_| reactor.turn().unwrap());
    let fired = diary.lines().len() - 1;
    assert!((40..=100).contains(&fired), "{fired} times in 100 turns");
    assert!(reactor.net().now() >= 40 * MS);
}

#[test]
fn case_077_the_longest_durations_are_never() {
    let mut script = Script::default();
    script.open = Box::new(|peer| {
        peer.wake_in(Duration::MAX);
        peer.deadline_in(Duration::from_secs(u64::MAX));
        peer.hub().tick_in(Duration::MAX);
        Ok(())
    });
    let diary = script.diary.clone();
    let config = Config { idle: Some(Duration::MAX), ..Config::default() };
    let mut reactor = world(script, 1, config);
    reactor.net().client();
    settle(&mut reactor);
    assert_eq!((diary.lines(), reactor.hub().len()), (vec!["open".to_owned()], 1));
}

#[test]
fn case_075_a_jump_of_the_clock_fires_each_timer_once() {
    let mut script = Script::default();
    script.open = Box::new(|peer| {
        peer.wake_in(10 * MS);
        Ok(())
    });
    let diary = script.diary.clone();
    let config = Config { timers_max: 3, ..Config::default() };
    let mut reactor = world(script, 1, config);
    for _ in 0..20 {
        reactor.net().client();
    }
    reactor.turn().unwrap();
    reactor.net().clock().advance(Duration::from_secs(40 * 24 * 3600));
    settle(&mut reactor);
    assert_eq!(diary.lines().len(), 40, "{:?}", diary.lines());
    assert!(reactor.hub().stats().timer_budget >= 6);
}

#[test]
fn timers_still_work_when_the_clock_s_32_bits_wrap() {
    let mut script = Script::default();
    script.open = Box::new(|peer| {
        peer.wake_in(1000 * MS);
        Ok(())
    });
    script.timer = Box::new(|peer| {
        peer.wake_in(1000 * MS);
        Ok(())
    });
    let diary = script.diary.clone();
    let config = Config { lifetime: Some(5500 * MS), ..Config::default() };
    let mut reactor = world(script, 1, config);
    let wrap = u64::from(u32::MAX) - 2500;
    reactor.net().clock().advance(Duration::from_millis(wrap));
    reactor.net().client();
    settle(&mut reactor);
    let lines = diary.lines();
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert_eq!(lines[6], "deadline");
    for (i, line) in lines[1..6].iter().enumerate() {
        let at: u64 = line.strip_prefix("timer at ").unwrap().parse().unwrap();
        let planned = wrap + 1000 * (i as u64 + 1);
        assert!((planned..planned + 8).contains(&at), "{lines:?}");
    }
}

#[test]
fn case_080_an_absolute_deadline_is_not_moved_by_a_byte_now_and_then() {
    let mut script = Script::default();
    script.open = Box::new(|peer| {
        peer.deadline_in(1000 * MS);
        Ok(())
    });
    let diary = script.diary.clone();
    let config = Config { idle: Some(300 * MS), ..Config::default() };
    let mut reactor = world(script, 1, config);
    let client = reactor.net().client();
    while reactor.net().now() < 3000 * MS && diary.count("deadline") == 0 {
        reactor.net().send(client, b"x");
        reactor.turn().unwrap();
        reactor.net().clock().advance(50 * MS);
    }
    assert_eq!(diary.count("deadline"), 1);
    assert!(reactor.net().now() <= 1150 * MS);
}

#[test]
fn each_deadline_has_its_reason() {
    let second = Some(1000 * MS);
    let never = Config { write_stall: None, ..Config::default() };
    let run = |config: Config, bytes: &[u8]| {
        let script = Script::default();
        let diary = script.diary.clone();
        let mut reactor = world(script, 1, config);
        let client = reactor.net().client();
        reactor.net().set_window(client, 3);
        reactor.net().send(client, bytes);
        settle(&mut reactor);
        diary.lines().last().unwrap().clone()
    };
    assert_eq!(run(Config { idle: second, ..never.clone() }, b"x"), "idle");
    assert_eq!(run(Config { first_byte: second, ..never.clone() }, b""), "first byte");
    assert_eq!(run(Config { first_byte: second, ..never.clone() }, b"x"), "data");
    assert_eq!(run(Config { write_stall: second, ..never.clone() }, b"long"), "write stalled");
    assert_eq!(run(Config { write_stall: second, ..never.clone() }, b"x"), "data");
    assert_eq!(run(Config { lifetime: second, ..never }, b"x"), "deadline");
}

#[test]
fn the_server_s_own_timer_ticks() {
    let script = Script::default();
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    reactor.hub().tick_in(30 * MS);
    reactor.hub().tick_in(20 * MS);
    settle(&mut reactor);
    assert_eq!(diary.lines(), ["tick at 20"]);
}

// --- other threads ---

#[test]
fn case_059_a_flood_of_jobs_is_bounded_and_none_is_lost() {
    let config = Config { jobs_max: 10, ..Config::default() };
    let mut reactor = world(Echo, 1, config);
    let ran = Arc::new(Mutex::new(Vec::new()));
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let (handle, ran) = (reactor.handle(), ran.clone());
            thread::spawn(move || {
                for i in 0..250 {
                    let ran = ran.clone();
                    handle.run(move |_, _| ran.lock().unwrap().push((n, i))).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut before = 0;
    for _ in 0..101 {
        if reactor.turn().is_err() {
            break;
        }
        let now = ran.lock().unwrap().len();
        assert!(now - before <= 10);
        before = now;
    }
    let ran = ran.lock().unwrap();
    assert_eq!(ran.len(), 1000);
    for n in 0..4 {
        let own: Vec<i32> = ran.iter().filter(|job| job.0 == n).map(|job| job.1).collect();
        assert_eq!(own, (0..250).collect::<Vec<_>>(), "the order of one thread is kept");
    }
    assert!(reactor.hub().stats().job_budget >= 99);
}

#[test]
fn each_job_wakes_a_sleeping_loop() {
    let mut reactor = world(Echo, 1, Config::default());
    let ran = Arc::new(Mutex::new(0));
    for n in 1..=3 {
        settle(&mut reactor);
        let count = ran.clone();
        reactor.handle().run(move |_, _| *count.lock().unwrap() += 1).unwrap();
        settle(&mut reactor);
        assert_eq!(*ran.lock().unwrap(), n);
    }
}

#[test]
fn a_handle_outlives_its_reactor_without_harm() {
    let reactor = world(Echo, 1, Config::default());
    let handle = reactor.handle();
    drop(reactor);
    assert_eq!(handle.run(|_, _| ()), Err(charkh::Stopped));
    assert_eq!(handle.stop(), Err(charkh::Stopped));
}

// --- outbound ---

/// Dials once for each client, and notes what came of it.
fn dialer(faults: Faults) -> (Reactor<Script, Sim>, Diary) {
    let mut script = on_data(|peer, input| {
        input.take_all();
        let addr = SocketAddr::from(([10, 0, 0, 1], 80));
        let id = peer.hub().connect(addr);
        assert!(peer.to(id).is_some_and(|mut dialed| dialed.send(b"hello")));
        Ok(())
    });
    script.open = Box::new(|peer| {
        if peer.listener().is_none() {
            assert_eq!(peer.addr().to_string(), "10.0.0.1:80");
        }
        Ok(())
    });
    let diary = script.diary.clone();
    let mut reactor = world(script, 5, Config::default());
    reactor.net().faults = faults;
    let client = reactor.net().client();
    reactor.net().send(client, b"x");
    settle(&mut reactor);
    (reactor, diary)
}

#[test]
fn an_outbound_connection_comes_up_and_what_was_sent_before_leaves() {
    let (mut reactor, diary) = dialer(Faults::NONE);
    let remote = reactor.net().dialed().unwrap();
    assert_eq!(reactor.net().receive(remote), b"hello");
    assert_eq!(diary.count("open"), 2);
    assert_eq!(reactor.hub().stats().connected, 1);
}

#[test]
fn every_way_a_connect_can_fail_is_reported_once() {
    let always = 1000;
    let cases = [
        (Faults { refused: always, ..Faults::NONE }, "connect failed: broken: "),
        (Faults { unanswered: always, ..Faults::NONE }, "connect failed: connect timeout"),
    ];
    for (faults, line) in cases {
        let (mut reactor, diary) = dialer(faults);
        let failed: Vec<_> =
            diary.lines().into_iter().filter(|l| l.starts_with("connect failed")).collect();
        assert!(failed.len() == 1 && failed[0].starts_with(line), "{failed:?}");
        assert_eq!((reactor.hub().len(), reactor.hub().stats().connect_failed), (1, 1));
    }
    // No descriptor, no room, and a change of mind.
    let script = Script::default();
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config { conns_max: 2, ..Config::default() });
    reactor.net().streams_max = 0;
    let addr = SocketAddr::from(([10, 0, 0, 1], 80));
    let hub = reactor.hub();
    let aborted = hub.connect(addr);
    hub.connect(addr);
    hub.connect(addr);
    hub.peer(aborted).unwrap().abort();
    settle(&mut reactor);
    let mut lines = diary.lines();
    lines.sort();
    assert_eq!(lines[0], "connect failed: aborted");
    assert!(lines[1].starts_with("connect failed: broken: "));
    assert_eq!(lines[2], "connect failed: out of room");
    assert!(reactor.hub().is_empty());
}

#[test]
fn connects_are_bounded_per_turn() {
    let mut reactor = world(Script::default(), 1, Config { connects_max: 3, ..Config::default() });
    for _ in 0..10 {
        reactor.hub().connect(SocketAddr::from(([10, 0, 0, 1], 80)));
    }
    reactor.turn().unwrap();
    assert_eq!(reactor.net().open_streams(), 3);
    settle(&mut reactor);
    assert_eq!(reactor.hub().stats().connected, 10);
    assert_eq!(reactor.hub().stats().connect_budget, 3);
}

// --- stopping ---

#[test]
fn case_081_a_stop_loses_no_answer_that_was_owed() {
    for seed in 0..300 {
        let mut reactor = world(Echo, seed, Config { accepts_max: 2, ..Config::default() });
        // A kernel that says "nothing is here" when asked at the last moment is believed.
        reactor.net().faults = Faults { empty: 0, ..Faults::harmless(100) };
        let mut clients: Vec<_> = (0..6).map(|_| reactor.net().client()).collect();
        for _ in 0..seed % 20 {
            let _ = reactor.turn();
        }
        // Some are up, some wait to be accepted; all have asked.
        clients.extend((0..6).map(|_| reactor.net().client()));
        for (i, &client) in clients.iter().enumerate() {
            reactor.net().send(client, &pattern(100, i));
        }
        // What was asked has reached the kernel, not the reactor, when it is told to stop.
        reactor.net().deliver_all();
        reactor.hub().stop();
        settle(&mut reactor);
        assert!(reactor.is_done(), "seed {seed}");
        for (i, &client) in clients.iter().enumerate() {
            assert_eq!(reactor.net().receive(client), pattern(100, i), "seed {seed}");
        }
        let late = reactor.net().client();
        assert!(reactor.net().sees_reset(late), "the door is closed");
    }
}

#[test]
fn case_086_what_the_kernel_has_queued_is_still_accepted() {
    let mut reactor = world(Echo, 1, Config { accepts_max: 3, ..Config::default() });
    let clients: Vec<_> = (0..10).map(|_| reactor.net().client()).collect();
    for &client in &clients {
        reactor.net().send(client, b"hello");
        reactor.net().finish_client(client);
    }
    reactor.net().deliver_all();
    reactor.hub().stop();
    settle(&mut reactor);
    for &client in &clients {
        assert_eq!(reactor.net().receive(client), b"hello");
        assert!(!reactor.net().sees_reset(client));
    }
    assert!(reactor.is_done());
}

#[test]
fn case_086_a_connection_that_comes_while_stopping_is_waited_for() {
    let mut reactor = world(Echo, 1, Config::default());
    let old = reactor.net().client();
    settle(&mut reactor);
    // Its slot is free when the newcomer takes it.
    reactor.net().finish_client(old);
    settle(&mut reactor);
    let new = reactor.net().client();
    reactor.hub().stop();
    (0..5).for_each(|_| reactor.turn_within(MS).unwrap());
    reactor.net().send(new, b"hello");
    reactor.net().deliver_all();
    settle(&mut reactor);
    assert_eq!(reactor.net().receive(new), b"hello");
    assert!(reactor.is_done());
}

#[test]
fn case_081_whoever_came_just_before_a_stop_is_given_time_for_its_first_words() {
    for layered in [false, true] {
        let mut reactor = Reactor::with(Echo, Sim::new(1), Config::default()).unwrap();
        let listening = reactor.listen("127.0.0.1:1").unwrap();
        reactor.layer(listening.id, move |_| Ok(Box::new(Greeting(!layered))));
        let early = reactor.net().client();
        run_for(&mut reactor, 450 * MS);
        let late = reactor.net().client();
        run_for(&mut reactor, MS);
        reactor.hub().stop();
        run_for(&mut reactor, 450 * MS);
        // The first has been told by now, or is about to be; the other has not.
        assert!(!reactor.net().sees_end(late));
        let hello = if layered { "?hello" } else { "hello" };
        reactor.net().send(late, hello.as_bytes());
        reactor.net().deliver_all();
        settle(&mut reactor);
        assert!(reactor.is_done());
        assert_eq!(reactor.net().receive(late), b"hello");
        assert!(reactor.net().sees_end(early) && reactor.net().receive(early).is_empty());
    }
}

/// Ready from the start, or with the first byte, which is its own.
struct Greeting(bool);

impl Layer for Greeting {
    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, _: &mut Vec<u8>) -> Result {
        plain.extend(&wire[usize::from(!std::mem::replace(&mut self.0, true))..]);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.0
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
        wire.extend(plain);
        Ok(())
    }
}

#[test]
fn case_081_whoever_says_nothing_for_half_a_second_is_told_whenever_it_came() {
    for came in ["before", "long before", "after"] {
        let script = Script::default();
        let diary = script.diary.clone();
        let mut reactor = world(script, 1, Config::default());
        let client = (came != "after").then(|| reactor.net().client());
        run_for(&mut reactor, if came == "long before" { 501 * MS } else { 10 * MS });
        let start = reactor.net().now();
        let client = client.unwrap_or_else(|| reactor.net().client());
        reactor.hub().stop();
        while diary.count("stopping") == 0 {
            reactor.turn().unwrap();
        }
        let took = reactor.net().now() - start;
        let right = match came {
            "long before" => Duration::ZERO..=Duration::ZERO,
            _ => 490 * MS..=1002 * MS,
        };
        assert!(right.contains(&took), "{came}: {took:?}");
        reactor.net().finish_client(client);
        settle(&mut reactor);
        assert!(reactor.is_done());
        assert_eq!(diary.lines(), ["open", "stopping", "closed"]);
    }
}

#[test]
fn a_connection_whose_peer_has_finished_is_told_of_the_stop_too() {
    let mut script = Script::default();
    script.eof = Box::new(|_| Ok(())); // our half stays open, with nothing to say
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().finish_client(client);
    settle(&mut reactor);
    reactor.hub().stop();
    settle(&mut reactor);
    assert_eq!(diary.lines(), ["open", "eof with 0", "stopping", "closed"]);
    assert_eq!(reactor.net().now(), Duration::ZERO);
}

#[test]
fn an_idle_reactor_stops_at_once() {
    let mut reactor = world(Echo, 1, Config::default());
    let client = reactor.net().client();
    settle(&mut reactor);
    reactor.net().finish_client(client);
    settle(&mut reactor);
    reactor.hub().stop();
    settle(&mut reactor);
    assert!(reactor.is_done());
    assert_eq!(reactor.net().now(), Duration::ZERO);
}

#[test]
fn case_084_the_grace_ends_whoever_is_not_done() {
    let mut script = Script::default();
    script.stopping = Box::new(|_| Ok(())); // it owes an answer, it says
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    reactor.net().client();
    settle(&mut reactor);
    reactor.hub().stop();
    let start = reactor.net().now();
    settle(&mut reactor);
    assert!(reactor.is_done());
    let took = reactor.net().now() - start;
    assert!((10_000 * MS..10_010 * MS).contains(&took), "{took:?}");
    assert_eq!(diary.lines(), ["open", "stopping", "stopped"]);
}

#[test]
fn case_082_the_second_request_ends_at_once() {
    let mut script = Script::default();
    script.stopping = Box::new(|_| Ok(()));
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    reactor.net().client();
    settle(&mut reactor);
    reactor.hub().stop();
    (0..5).for_each(|_| reactor.turn_within(MS).unwrap());
    assert!(!reactor.is_done());
    reactor.hub().stop();
    reactor.turn().unwrap();
    assert!(reactor.is_done());
    assert_eq!(diary.lines().last().unwrap(), "stopped");
}

// --- layers ---

/// Says hello first, hides bytes from nobody, and says goodbye.
#[derive(Default)]
struct Xor {
    greeted: bool,
    said_goodbye: bool,
}

impl Layer for Xor {
    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, answer: &mut Vec<u8>) -> Result {
        if !std::mem::replace(&mut self.greeted, true) {
            answer.extend(b"<hello>");
        }
        for &mut byte in wire {
            match byte {
                b'!' => return Err("forbidden".into()),
                b'.' => self.said_goodbye = true,
                byte => plain.push(byte ^ 0x20),
            }
        }
        Ok(())
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
        wire.extend(plain.iter().map(|byte| byte ^ 0x20));
        Ok(())
    }

    fn eof(&mut self) -> Result {
        if self.said_goodbye { Ok(()) } else { Err("cut short".into()) }
    }

    fn finish(&mut self, wire: &mut Vec<u8>) {
        wire.push(b'.');
    }
}

fn layered(seed: u64) -> (Reactor<Script, Sim>, Diary) {
    let script = Script::default();
    let diary = script.diary.clone();
    let limits = Config { output_low: 0, write_stall: None, ..Config::default() };
    let config = Config { read_max: 50, write_max: 40, ..limits };
    let mut reactor = Reactor::with(script, Sim::new(seed), config).unwrap();
    let listener = reactor.listen("127.0.0.1:1").unwrap();
    reactor.layer(listener.id, |_| Ok(Box::new(Xor::default())));
    (reactor, diary)
}

#[test]
fn a_layer_is_seen_by_neither_side_and_has_the_last_word() {
    for seed in 0..200 {
        let (mut reactor, diary) = layered(seed);
        reactor.net().faults = Faults::harmless(100);
        let client = reactor.net().client();
        let window = 1 + reactor.net().random(100);
        reactor.net().set_window(client, window);
        let text = "Some Text ".repeat(1 + seed as usize % 50);
        reactor.net().send(client, text.as_bytes());
        let answer = [b"<hello>", text.as_bytes()].concat();
        assert_eq!(read_all(&mut reactor, client), answer, "seed {seed}");
        // Idle, it owns nothing.
        assert_eq!(reactor.hub().stats().memory, 0);
        reactor.net().send(client, b".");
        reactor.net().finish_client(client);
        assert_eq!(read_all(&mut reactor, client), b".", "seed {seed}");
        assert_eq!(diary.lines().last().unwrap(), "closed");
    }
}

#[test]
fn a_layer_has_the_last_word_also_when_the_end_comes_from_a_callback_of_the_write() {
    let (mut reactor, _) = layered(1);
    reactor.protocol().data = Box::new(|peer, input| {
        input.take_all();
        peer.send(&vec![0; 100_000]);
        Ok(())
    });
    reactor.protocol().drained = Box::new(|peer| {
        assert_eq!(peer.unsent(), 0);
        peer.finish();
        Ok(())
    });
    let client = reactor.net().client();
    reactor.net().send(client, b"x");
    let wire = read_all(&mut reactor, client);
    assert_eq!(wire.len(), 7 + 100_000 + 1);
    assert_eq!(wire.last(), Some(&b'.'));
}

#[test]
fn case_097_a_layer_knows_a_stream_that_was_cut_short() {
    for (bytes, reason) in [(&b"abc"[..], "fault: cut short"), (b"a!", "fault: forbidden")] {
        let (mut reactor, diary) = layered(1);
        let client = reactor.net().client();
        reactor.net().send(client, bytes);
        reactor.net().finish_client(client);
        settle(&mut reactor);
        assert_eq!(diary.lines().last().unwrap(), reason);
        assert!(reactor.hub().is_empty());
    }
}

#[test]
fn an_outbound_connection_can_have_a_layer() {
    let mut script = on_data(swallow);
    script.open = Box::new(|peer| {
        peer.send(b"Ping");
        Ok(())
    });
    let mut reactor = world(script, 1, Config::default());
    let addr = SocketAddr::from(([10, 0, 0, 1], 80));
    reactor.hub().connect_through(addr, Box::new(Xor::default()));
    settle(&mut reactor);
    let remote = reactor.net().dialed().unwrap();
    assert_eq!(reactor.net().receive(remote), b"pING");
}

// --- several listeners ---

#[test]
fn a_callback_can_ask_by_which_listener_a_connection_came() {
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let book = seen.clone();
    let mut script = Script::default();
    script.open = Box::new(move |peer| {
        *book.lock().unwrap().entry(peer.listener()).or_insert(0) += 1;
        Ok(())
    });
    let mut reactor = Reactor::with(script, Sim::new(1), Config::default()).unwrap();
    let ids: Vec<_> = (0..3).map(|_| reactor.listen("127.0.0.1:1").unwrap().id).collect();
    for n in [0, 1, 1, 2, 2, 2] {
        reactor.net().client_of(n);
    }
    settle(&mut reactor);
    let expected = ids.iter().enumerate().map(|(n, &id)| (Some(id), n + 1)).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn limits_that_contradict_each_other_are_one_sentence() {
    let config = Config { output_low: 2, output_high: 1, ..Config::default() };
    let error = Reactor::with(Echo, Sim::new(1), config).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "output_low must not be above output_high");
}
