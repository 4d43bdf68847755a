//! The flight recorder in the simulated world: what happens is recorded when it happens, with the
//! right values, and nothing changes by it.
#![cfg(feature = "sim")]
mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use charkh::{
    Config, Protocol, Reactor, Reason,
    net::{Faults, Sim},
    trace::What,
};
use common::{MS, Script, on_data, settle, swallow, world};

fn recording() -> Config {
    Config { trace: 4096, ..Config::default() }
}

/// What was recorded, without its times; of what tells nothing new, only the first.
fn story<P: Protocol>(reactor: &mut Reactor<P, Sim>) -> Vec<String> {
    let trace = reactor.hub().trace();
    assert_eq!(trace.lost(), 0);
    let quiet = [What::Turn, What::Ready, What::ReadBlocked];
    let told = trace.iter().filter(|record| !quiet.contains(&record.what()));
    told.map(|record| record.to_string().split_once(' ').unwrap().1.into()).collect()
}

fn values(reactor: &mut Reactor<impl Protocol, Sim>, what: What) -> Vec<u64> {
    let records = reactor.hub().trace().iter().filter(|record| record.what() == what);
    records.map(|record| record.value()).collect()
}

fn reason(name: &str) -> u64 {
    Reason::NAMES.iter().position(|&n| n == name).unwrap() as u64
}

#[test]
fn a_connection_from_its_accept_to_its_close() {
    let mut reactor = world(Script::default(), 1, recording());
    let client = reactor.net().client();
    reactor.net().send(client, b"hello");
    reactor.net().finish_client(client);
    reactor.net().deliver_all();
    settle(&mut reactor);
    assert_eq!(
        story(&mut reactor),
        [
            "#0.1 accept 0",
            "#0.1 open() 0",
            "#0.1 read 5",
            "#0.1 data() <=0", // in a world where no time passes none is worth a reading
            "#0.1 write 5",
            "#0.1 read end 0",
            "#0.1 eof() 0",
            "#0.1 close 0",
            "#0.1 closed() 0",
        ]
    );
    // Ready for reading and writing, and more than bytes is waiting.
    assert!(values(&mut reactor, What::Ready).contains(&7));
    let turns = reactor.hub().stats().turns;
    assert_eq!(values(&mut reactor, What::Turn).len() as u64, turns);
}

#[test]
fn callbacks_and_their_turns_have_the_time_they_took() {
    let mut reactor = world(Script::default(), 1, recording());
    let clock = reactor.net().clock();
    let (open, data, eof) = (clock.clone(), clock.clone(), clock);
    let script = reactor.protocol();
    script.open = Box::new(move |_| {
        open.advance(2 * MS);
        Ok(())
    });
    script.data = Box::new(move |_, input| {
        input.take_all();
        data.advance(Duration::from_secs(10));
        Ok(())
    });
    script.eof = Box::new(move |peer| {
        peer.close();
        eof.advance(3 * MS);
        Ok(())
    });
    let client = reactor.net().client();
    reactor.net().send(client, b"hello");
    reactor.net().deliver_all();
    reactor.net().finish_client(client);
    settle(&mut reactor);
    assert_eq!(values(&mut reactor, What::Open), [2_000_000]);
    assert_eq!(values(&mut reactor, What::Data), [10_000_000_000]);
    assert_eq!(values(&mut reactor, What::Eof), [3_000_000]);
    assert_eq!(values(&mut reactor, What::Turn).iter().sum::<u64>(), 10_005_000_000);
    // Each at its end, and that is when the next begins.
    let trace = reactor.hub().trace();
    let at = |what| trace.iter().find(|record| record.what() == what).unwrap().at();
    assert_eq!((at(What::Open), at(What::Read)), (2 * MS, 2 * MS));
    assert_eq!((at(What::Data), at(What::Eof)), (10_002 * MS, 10_005 * MS));
}

#[test]
fn the_statistics_are_the_same_with_and_without() {
    let run = |trace| {
        let mut reactor = world(Script::default(), 5, Config { trace, ..Config::default() });
        let clock = reactor.net().clock();
        reactor.protocol().data = Box::new(move |peer, input| {
            clock.advance(MS);
            peer.wake_in(2 * MS);
            peer.send(input.take_all());
            Ok(())
        });
        for n in 0..20 {
            let client = reactor.net().client();
            reactor.net().send(client, &vec![7; 100 * n]);
        }
        settle(&mut reactor);
        (reactor.hub().stats(), reactor.net().struck(), reactor.net().random(1 << 30))
    };
    assert_eq!(run(0), run(64));
}

#[test]
fn what_fires_is_a_timer_or_a_deadline() {
    let config = Config { idle: Some(50 * MS), ..recording() };
    let mut reactor = world(Script::default(), 1, config);
    reactor.protocol().open = Box::new(|peer| {
        peer.wake_in(20 * MS);
        Ok(())
    });
    reactor.net().client();
    settle(&mut reactor);
    let idle = reason("idle");
    assert_eq!(
        story(&mut reactor)[2..],
        [
            "#0.1 timer() 0".to_string(),
            format!("#0.1 deadline {idle}"),
            format!("#0.1 close {idle}"),
            "#0.1 closed() 0".into()
        ]
    );
    let trace = reactor.hub().trace();
    let fired = trace.iter().filter(|r| matches!(r.what(), What::Timer | What::Deadline));
    let at: Vec<u128> = fired.map(|record| record.at().as_millis()).collect();
    assert!(at[0] >= 20 && at[1] >= 50 && at[1] < 60, "{at:?}");
}

#[test]
fn what_is_dialed_comes_up_or_fails() {
    let mut reactor = world(Script::default(), 1, recording());
    let addr: SocketAddr = "127.0.0.1:9".parse().unwrap();
    reactor.hub().connect(addr);
    settle(&mut reactor);
    assert_eq!(story(&mut reactor), ["#0.1 connect 0", "#0.1 connected 0", "#0.1 open() 0"]);
    reactor.net().faults = Faults { refused: 1000, ..Faults::NONE };
    reactor.hub().connect(addr);
    settle(&mut reactor);
    let broken = reason("broken");
    assert_eq!(
        story(&mut reactor)[3..],
        ["#1.2 connect 0".into(), format!("#1.2 close {broken}"), "#1.2 connect_failed() 0".into()]
    );
}

#[test]
fn jobs_ticks_and_a_farewell() {
    let mut reactor = world(Script::default(), 1, recording());
    reactor.net().client();
    settle(&mut reactor);
    let clock = reactor.net().clock();
    for _ in 0..2 {
        let clock = clock.clone();
        reactor.handle().run(move |_, _| clock.advance(3 * MS)).unwrap();
    }
    reactor.hub().tick_in(MS);
    settle(&mut reactor);
    assert_eq!(values(&mut reactor, What::Job), [3_000_000; 2]);
    assert_eq!(values(&mut reactor, What::Tick), [0]);
    let trace = reactor.hub().trace();
    assert!(
        trace
            .iter()
            .all(|r| r.conn().is_none() == matches!(r.what(), What::Turn | What::Job | What::Tick))
    );
    reactor.hub().stop();
    settle(&mut reactor);
    assert_eq!(values(&mut reactor, What::Stopping), [0]);
}

#[test]
fn a_reader_that_stands_still_is_seen_until_it_goes_on() {
    let config = Config { output_high: 10, output_low: 5, write_stall: None, ..recording() };
    let mut reactor = world(
        on_data(|peer, input| {
            input.take_all();
            peer.send(&[7; 100]);
            Ok(())
        }),
        1,
        config,
    );
    let client = reactor.net().client();
    reactor.net().set_window(client, 30);
    reactor.net().send(client, b"x");
    settle(&mut reactor);
    assert_eq!(values(&mut reactor, What::Write), [30]);
    assert!(values(&mut reactor, What::Drained).is_empty());
    while !reactor.net().receive(client).is_empty() {
        settle(&mut reactor);
    }
    assert_eq!(values(&mut reactor, What::Write).iter().sum::<u64>(), 100);
    assert_eq!(values(&mut reactor, What::Drained), [0]);
}

#[test]
fn a_reset_is_a_failed_read_or_a_failed_write() {
    let mut reactor = world(on_data(swallow), 1, recording());
    let client = reactor.net().client();
    settle(&mut reactor);
    reactor.net().reset_client(client);
    settle(&mut reactor);
    assert_eq!(values(&mut reactor, What::ReadError), [0]); // a simulated one has no number
    assert_eq!(values(&mut reactor, What::Close), [reason("broken")]);
}

/// The last words of a protocol that gives up are written, and recorded.
#[test]
fn the_write_of_a_fault_is_told_too() {
    let mut reactor = world(
        on_data(|peer, _| {
            peer.send(b"bad");
            Err("no".into())
        }),
        1,
        recording(),
    );
    let client = reactor.net().client();
    reactor.net().send(client, b"x");
    settle(&mut reactor);
    assert_eq!(reactor.net().receive(client), b"bad");
    assert_eq!(values(&mut reactor, What::Write), [3]);
    assert_eq!(values(&mut reactor, What::Close), [reason("fault")]);
}

#[test]
fn off_nothing_is_recorded() {
    let mut reactor = busy(1, 0);
    assert!(reactor.hub().trace().is_empty() && !reactor.hub().trace().is_on());
    assert_eq!(reactor.hub().trace().hash(), 0);
}

/// The first of three that are told of in one turn is slow; a fourth speaks meanwhile, and nobody
/// knows until the next.
#[test]
fn the_slow_one_is_named_with_exactly_the_time_that_others_waited_for_it() {
    for seed in 0..20 {
        let mut reactor = world(Script::default(), seed, recording());
        let clock = reactor.net().clock();
        let diary = reactor.protocol().diary.clone();
        reactor.protocol().data = Box::new(move |peer, input| {
            input.take_all();
            let is_first = diary.count("data") == 1;
            clock.advance(if is_first { 7 * MS } else { 2 * MS });
            if is_first {
                diary.note(format!("slow: {}", peer.id()));
            }
            Ok(())
        });
        let clients: Vec<_> = (0..4).map(|_| reactor.net().client()).collect();
        settle(&mut reactor);
        for &client in &clients[1..] {
            reactor.net().send(client, b"x");
        }
        reactor.net().deliver_all();
        reactor.turn().unwrap();
        reactor.net().send(clients[0], b"x");
        reactor.net().deliver_all();
        reactor.turn().unwrap();
        let slow = reactor.protocol().diary.lines().into_iter().find(|l| l.starts_with("slow"));
        let told = reactor.hub().trace().delays();
        let ms: Vec<_> = told
            .iter()
            .map(|d| [d.longest, d.total, d.sure].map(|time| time.as_micros() as f64 / 1e3))
            .collect();
        let others: Vec<u64> = told.iter().map(|d| d.others).collect();
        assert_eq!(format!("slow: {}", told[0].who), slow.unwrap());
        assert_eq!(others, [3, 2, 1], "seed {seed}");
        assert_eq!(ms, [[7.0, 21.0, 14.0], [2.0, 4.0, 2.0], [2.0, 2.0, 0.0]], "seed {seed}");
        let mut text = Vec::new();
        reactor.hub().trace().write_chrome(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let named = |at_most: bool| {
            let who = told[0].who;
            let args = format!("\"for\":\"{who}\",\"for_us\":7000.000,\"at_most\":{at_most}");
            text.matches(&args).count()
        };
        assert_eq!((named(false), named(true)), (2, 1), "seed {seed}");
    }
}

#[test]
fn who_comes_while_the_loop_sleeps_has_not_waited() {
    let mut reactor = world(Script::default(), 1, recording());
    let clock = reactor.net().clock();
    let (data, sleep) = (clock.clone(), clock);
    reactor.protocol().data = Box::new(move |_, input| {
        input.take_all();
        data.advance(7 * MS);
        Ok(())
    });
    let clients = [reactor.net().client(), reactor.net().client()];
    settle(&mut reactor);
    for client in clients {
        reactor.net().send(client, b"x");
        reactor.net().deliver_all();
        sleep.advance(MS);
        reactor.turn().unwrap();
    }
    assert_eq!(values(&mut reactor, What::Data), [7_000_000; 2]);
    assert_eq!(reactor.hub().trace().delays(), []);
}

/// A world in which much happens, and takes its time.
fn busy(seed: u64, trace: usize) -> Reactor<Script, Sim> {
    let config = Config { read_max: 40, write_max: 30, idle: Some(MS), trace, ..Config::default() };
    let mut reactor = world(Script::default(), seed, config);
    let [data, eof, stopping] = std::array::from_fn(|_| reactor.net().clock());
    let script = reactor.protocol();
    script.data = Box::new(move |peer, input| {
        data.advance(Duration::from_nanos(if input.len() == 40 { 25_700 } else { 700 }));
        peer.send(input.take_all());
        Ok(())
    });
    script.eof = Box::new(move |peer| {
        eof.advance(Duration::from_nanos(300));
        peer.finish();
        Ok(())
    });
    script.stopping = Box::new(move |peer| {
        stopping.advance(Duration::from_nanos(500));
        peer.close();
        Ok(())
    });
    // One that the kernel will not watch is released, and no callback tells.
    reactor.net().faults = Faults { unwatched: 0, ..Faults::all(100) };
    for n in 0..10 {
        let client = reactor.net().client();
        let window = 1 + reactor.net().random(200);
        reactor.net().set_window(client, window);
        reactor.net().send(client, &vec![n as u8; n * 50]);
        if n % 3 == 0 {
            reactor.net().finish_client(client);
        }
        if n == 4 {
            reactor.hub().connect(([127, 0, 0, 1], 9));
        }
        // An endless sleep is an error, and the end of this part.
        for _ in 0..reactor.net().random(10) {
            let _ = reactor.turn();
        }
        reactor.net().receive(client);
    }
    if seed.is_multiple_of(2) {
        reactor.hub().stop();
        for _ in 0..10 {
            let _ = reactor.turn();
        }
    }
    reactor
}

#[test]
fn the_same_seed_gives_the_same_hash_and_another_seed_another() {
    let hash = |seed, trace| busy(seed, trace).hub().trace().hash();
    let all: BTreeSet<u64> = (0..200).map(|seed| hash(seed, 64)).collect();
    assert_eq!(all.len(), 200);
    for seed in 0..20 {
        assert_eq!(hash(seed, 64), hash(seed, 64));
        // It is of all that ever was, and not of what is kept.
        assert_eq!(hash(seed, 64), hash(seed, 1 << 16));
    }
}

#[test]
fn the_sums_are_those_of_the_statistics() {
    for seed in 0..100 {
        let mut reactor = busy(seed, 1 << 16);
        let stats = reactor.hub().stats();
        let trace = reactor.hub().trace();
        let of = |what| trace.iter().filter(move |record| record.what() == what);
        let sum = |what| of(what).map(|record| record.value()).sum::<u64>();
        let count = |what| of(what).count() as u64;
        assert_eq!((sum(What::Read), sum(What::Write)), (stats.bytes_in, stats.bytes_out));
        assert_eq!(
            (count(What::Accept), count(What::Connected)),
            (stats.accepted, stats.connected)
        );
        assert_eq!((count(What::Close), count(What::Turn)), (stats.released, stats.turns));
        assert_eq!(count(What::Closed) + count(What::ConnectFailed), stats.released);
        assert!(trace.iter().is_sorted_by_key(|record| record.at()), "time went back");
        let reads = [What::Read, What::ReadBlocked, What::ReadEnd, What::ReadError];
        assert_eq!(reads.map(count).iter().sum::<u64>(), stats.reads);
    }
}

/// Times of one event, in nanoseconds.
struct Shown<'a> {
    phase: &'a str,
    track: &'a str,
    begin: u64,
    end: u64,
    name: &'a str,
}

fn shown(line: &str) -> Option<Shown<'_>> {
    let field = |name: &str| {
        let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
        let rest = rest.trim_start_matches('"');
        rest.split(['"', ',', '}']).next()
    };
    let ns = |name: &str| {
        let (us, ns) = field(name)?.split_once('.')?;
        Some(us.parse::<u64>().unwrap() * 1000 + ns.parse::<u64>().unwrap())
    };
    let begin = ns("ts")?;
    Some(Shown {
        phase: field("ph")?,
        track: field("local").unwrap_or("thread"),
        begin,
        end: begin + ns("dur").unwrap_or(0),
        name: field("name")?,
    })
}

/// Whatever the ring still holds: callbacks lie in turns, turns and callbacks one after the other;
/// a track begins once, ends once, and nothing of it is outside; times never go back.
#[test]
fn a_chrome_trace_is_well_nested_wherever_the_ring_was_cut() {
    let (mut tracks, mut waits) = (0, 0);
    for seed in 0..300 {
        let mut reactor = busy(seed, 1 << (seed % 12));
        let mut text = Vec::new();
        reactor.hub().trace().write_chrome(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let (mut turn_end, mut callback_end, mut last) = (0, 0, BTreeMap::new());
        let (mut open, mut over) = (BTreeSet::new(), BTreeSet::new());
        for event in text.lines().filter_map(shown) {
            let before = last.insert(event.track, event.begin).unwrap_or(0);
            assert!(before <= event.begin, "seed {seed}: {} goes back", event.name);
            match event.phase {
                "X" if event.name == "turn" => {
                    assert!(turn_end.max(callback_end) <= event.begin, "seed {seed}");
                    (turn_end, callback_end) = (event.end, event.begin);
                }
                "X" => {
                    assert!(callback_end <= event.begin && event.end <= turn_end, "seed {seed}");
                    callback_end = event.end;
                }
                "b" => {
                    assert!(open.insert((event.track, event.name)), "seed {seed}");
                    assert!(!over.contains(event.track), "seed {seed}");
                    waits += u32::from(event.name == "waited");
                }
                "e" => {
                    assert!(open.remove(&(event.track, event.name)), "seed {seed}");
                    if event.name != "waited" {
                        over.insert(event.track);
                    }
                }
                phase => {
                    assert_eq!(phase, "n");
                    assert!(open.iter().any(|(track, _)| *track == event.track), "seed {seed}");
                }
            }
        }
        assert!(open.is_empty(), "seed {seed}: {open:?}");
        tracks += over.len();
    }
    assert!(tracks > 1000 && waits > 100, "{tracks} and {waits} are not worth a test");
}
