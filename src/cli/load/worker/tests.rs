//! The generator against targets in a simulated world, where time is exact: what it must measure
//! is known beforehand.
use std::{collections::HashMap, sync::mpsc, time::Duration};

use charkh::{
    Config, Reactor,
    net::{ClientId, Faults, Net, Sim, sim::worlds},
};

use super::*;
use crate::cli::load::{message::Message, reply::Reply, results::Series};

const MS: u64 = 1_000_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn spec(pace: Pace) -> Spec {
    Spec {
        target: ([10, 0, 0, 1], 80).into(),
        tls: None,
        sources: None,
        connections: 20,
        threads: 1,
        ramp: None,
        connecting_max: 8,
        pace,
        depth: 1,
        per_connection: None,
        warmup: Duration::ZERO,
        duration: Some(ms(1000)),
        requests: None,
        timeout: ms(5000),
        message: Message::patterns(64),
        reply: Reply::Echo,
        reset: false,
    }
}

/// What the outside does: it is asked once a millisecond.
struct Outside {
    ends: Vec<ClientId>,
    dialed: usize,
    unread: HashMap<ClientId, Vec<u8>>,
}

/// What it answers, at this time in milliseconds, to whom, with what had come; what is left comes
/// again.
type Answer<'a> = &'a mut dyn FnMut(u64, &mut Sim, ClientId, &mut Vec<u8>);

fn run(spec: Spec, answer: Answer<'_>) -> (Worker, usize) {
    run_in(Sim::new(1), spec, answer)
}

fn run_in(sim: Sim, spec: Spec, answer: Answer<'_>) -> (Worker, usize) {
    let time = sim.clock();
    let (words, heard) = mpsc::channel();
    let clock = Arc::new(move || nanos(time.now()));
    let worker = Worker::new(&Arc::new(spec), 0, clock, &Arc::new(Board::new(1)), words);
    let config = Config { linger: ms(300), grace: ms(1000), slow_turn: ms(1), ..Config::default() };
    let config = Config { connect: Some(ms(5000)), ..config };
    let mut reactor = Reactor::with(worker, sim, config).unwrap();
    let _ = reactor.handle().run(|worker, hub| worker.launch(hub));
    let mut outside = Outside { ends: Vec::new(), dialed: 0, unread: HashMap::new() };
    let began = reactor.net().now();
    while !reactor.is_done() {
        reactor.turn_within(ms(1)).unwrap();
        if let Ok(Word::Settled) = heard.try_recv() {
            let _ = reactor.handle().run(|worker, hub| {
                let start = worker.now() + MS;
                worker.begin(hub, start);
            });
        }
        let now = (reactor.net().now() - began).as_millis() as u64;
        outside.act(now, reactor.net(), answer);
        let turns = reactor.hub().stats().turns;
        assert!(turns < 100_000, "it never ends");
        if turns == 20_000 {
            reactor.net().faults = Faults::NONE; // some worlds keep the clock from moving
        }
    }
    (reactor.into_protocol(), outside.dialed)
}

impl Outside {
    fn act(&mut self, now: u64, sim: &mut Sim, answer: Answer<'_>) {
        while let Some(end) = sim.dialed() {
            self.dialed += 1;
            self.ends.push(end);
        }
        for &end in &self.ends {
            let unread = self.unread.entry(end).or_default();
            unread.extend(sim.receive(end));
            answer(now, sim, end, unread);
            if sim.sees_end(end) && unread.is_empty() {
                sim.finish_client(end);
            }
        }
        self.ends.retain(|&end| !sim.sees_end(end) && !sim.sees_reset(end));
        sim.deliver_all();
    }
}

fn echo(_: u64, sim: &mut Sim, end: ClientId, unread: &mut Vec<u8>) {
    let bytes = std::mem::take(unread);
    if !bytes.is_empty() {
        sim.send(end, &bytes);
    }
}

fn errors(worker: &Worker) -> Vec<(&'static str, u64)> {
    worker.tally.errors.0.iter().map(|(&kind, &(count, _))| (kind, count)).collect()
}

#[test]
fn a_closed_loop_makes_as_many_requests_as_were_asked_for() {
    let closed = Spec { requests: Some(1234), duration: None, depth: 3, ..spec(Pace::Closed) };
    let (worker, dialed) = run(closed, &mut echo);
    let tally = &worker.tally;
    assert_eq!((tally.requests, tally.opened, tally.up_max, dialed), (1234, 20, 20, 20));
    assert_eq!(
        (tally.latency.count(), tally.bytes_in, tally.bytes_out),
        (1234, 1234 * 64, 1234 * 64)
    );
    let served: u32 = worker.links.all.iter().map(|link| link.served).sum();
    assert_eq!((errors(&worker), served, worker.up), (vec![], 1234, 0));
}

#[test]
fn a_target_that_stops_for_200_ms_is_seen_with_all_who_would_have_come() {
    let mut stopped = |now: u64, sim: &mut Sim, end: ClientId, unread: &mut Vec<u8>| {
        if !(300..500).contains(&now) {
            echo(now, sim, end, unread);
        }
    };
    let (worker, _) = run(spec(Pace::Open(1000.0)), &mut stopped);
    let tally = &worker.tally;
    assert_eq!((tally.requests, tally.unsent, errors(&worker)), (1000, 0, vec![]));
    let between = |from: u64, to: u64| tally.latency.histogram().count_between(from * MS, to * MS);
    assert!((195..=205).contains(&between(3, 300)), "{}", between(3, 300));
    for from in [20, 60, 100, 140] {
        let count = between(from, from + 39);
        assert!((38..=42).contains(&count), "{count} from {from} ms");
    }
    // Those 20 connections sent what they could: from the sending, most waited for nothing.
    assert!(tally.service.histogram().count_between(3 * MS, 300 * MS) <= 20);
    // And none of it was our doing.
    assert!(tally.lateness.quantile(1.0) <= ms(1), "{:?}", tally.lateness.quantile(1.0));
}

#[test]
fn what_is_never_answered_times_out_and_counts_with_the_time_it_waited() {
    let slow = Spec { timeout: ms(200), connections: 5, ..spec(Pace::Open(100.0)) };
    let (worker, dialed) = run(slow, &mut |_, _, _, unread| unread.clear());
    let tally = &worker.tally;
    let [("timeout", timeouts)] = errors(&worker)[..] else { panic!("{:?}", errors(&worker)) };
    assert_eq!((tally.requests, timeouts + tally.unsent), (0, 100));
    assert_eq!(tally.latency.count(), 100);
    assert!(tally.latency.quantile(0.0001) >= ms(199), "{:?}", tally.latency.quantile(0.0001));
    assert!(dialed as u64 >= timeouts.min(10));
}

#[test]
fn a_rate_is_of_what_came_while_measuring() {
    // Each is answered 900 ms after it was sent, a second is measured: one round of two.
    let mut asked = HashMap::new();
    let mut slow = |now: u64, sim: &mut Sim, end: ClientId, unread: &mut Vec<u8>| {
        if !unread.is_empty() && now >= *asked.entry(end).or_insert(now) + 900 {
            asked.remove(&end);
            echo(now, sim, end, unread);
        }
    };
    let (worker, _) = run(spec(Pace::Closed), &mut slow);
    assert_eq!((worker.tally.requests, worker.tally.latency.count()), (20, 40));
}

#[test]
fn what_comes_twice_answers_nothing_that_was_sent_after_it() {
    let mut twice = |now: u64, sim: &mut Sim, end: ClientId, unread: &mut Vec<u8>| {
        unread.extend_from_within(..);
        echo(now, sim, end, unread);
        sim.deliver_all();
    };
    let line = Spec {
        message: Message::text("x\n").unwrap(),
        reply: "line".parse::<Reply>().unwrap(),
        requests: Some(100),
        duration: None,
        ..spec(Pace::Closed)
    };
    let (worker, _) = run(line, &mut twice);
    let [("unasked bytes", count)] = errors(&worker)[..] else { panic!("{:?}", errors(&worker)) };
    assert_eq!(count, worker.tally.latency.count());
}

#[test]
fn whoever_is_closed_at_once_is_not_dialed_without_pause() {
    let hold = Spec { connections: 3, ..spec(Pace::Hold) };
    let (worker, dialed) = run(hold, &mut |_, sim, end, _| sim.finish_client(end));
    assert!((3 * 3..=3 * 6).contains(&dialed), "{dialed}");
    let [("closed", count)] = errors(&worker)[..] else { panic!("{:?}", errors(&worker)) };
    assert!(count as usize >= dialed - 3);
}

#[test]
fn a_wrong_byte_is_found_and_the_rest_goes_on() {
    let mut seen = 0;
    let mut wrong = |now: u64, sim: &mut Sim, end: ClientId, unread: &mut Vec<u8>| {
        if unread.len() == 64 {
            seen += 1;
            if seen == 100 {
                unread[17] ^= 1;
            }
        }
        echo(now, sim, end, unread);
    };
    let (worker, dialed) = run(spec(Pace::Open(500.0)), &mut wrong);
    assert_eq!(
        (errors(&worker), worker.tally.requests, dialed),
        (vec![("wrong byte", 1)], 499, 21)
    );
    let (_, what) = &worker.tally.errors.0["wrong byte"];
    assert!(what.contains("17"), "{what}");
}

#[test]
fn the_warm_up_is_not_counted_and_a_ramp_takes_its_time() {
    let warm = Spec { warmup: ms(500), ramp: Some(100.0), ..spec(Pace::Open(200.0)) };
    let (worker, _) = run(warm, &mut echo);
    assert_eq!((worker.tally.requests, errors(&worker)), (200, vec![]));
    assert!((190 * MS..=200 * MS).contains(&worker.settled_at), "{}", worker.settled_at);
    let series = Series { slice_ms: 100, slices: worker.tally.series.slices() };
    let all: u64 = series.slices.iter().map(|slice| slice.requests).sum();
    assert_eq!((worker.tally.series.slice_ms, all), (100, 300));
    assert!(series.slices[0].up < 20 && series.slices[3].up == 20);
}

#[test]
fn in_a_hundred_worlds_where_things_go_wrong_everything_ends_and_is_accounted_for() {
    worlds(100, |mut sim| {
        sim.faults = Faults::drawn(sim.seed());
        // A closed loop here takes no time at all: it ends when it has made its requests.
        let kinds = [
            Spec { requests: Some(300), duration: None, ..spec(Pace::Closed) },
            spec(Pace::Open(300.0)),
        ];
        let kind = kinds[sim.random(2)].clone();
        let depth = 1 + sim.random(3) as u16;
        let rude = Spec { depth, timeout: ms(400), connections: 6, ..kind };
        let (worker, _) = run_in(sim, rude, &mut echo);
        assert_eq!((worker.flying, worker.up, worker.dialing.len()), (0, 0, 0));
        let (tally, measured) = (&worker.tally, worker.planned);
        assert!(tally.requests + tally.unsent <= measured, "more came than was sent");
        assert!(tally.latency.count() <= measured);
        assert_eq!(tally.errors.0.get("unasked bytes"), None);
        assert_eq!(tally.errors.0.get("wrong byte"), None);
    });
}
