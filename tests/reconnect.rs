//! Connections that come back: when they try again, and what becomes of those that wait.
#![allow(clippy::unwrap_used)]
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use charkh::{
    Backoff, Config, ConnId, Hub, Input, Keeper, Layer, Peer, Protocol, Reactor, Reason, Result,
    net::{
        ClientId, Faults, Net,
        sim::{self, Sim},
    },
    trace::What,
};

mod common;
use common::{MS, Script, on_data, run_for, settle, world};

const SECOND: Duration = Duration::from_secs(1);

fn place() -> SocketAddr {
    "10.0.0.1:80".parse().unwrap()
}

/// Keeps connections, and remembers what became of each.
struct Feed {
    keepers: Vec<Keeper>,
    opened: Vec<ConnId>,
    /// How it ended, and after which time the next is begun.
    lost: Vec<(String, Option<Duration>)>,
    heard: Vec<u8>,
    ticks: u32,
}

impl Feed {
    fn new(keepers: impl IntoIterator<Item = Keeper>) -> Self {
        let keepers = keepers.into_iter().collect();
        Self { keepers, opened: Vec::new(), lost: Vec::new(), heard: Vec::new(), ticks: 0 }
    }

    fn of(seed: u64) -> Self {
        Self::new([Keeper::new(place(), Backoff::new(seed))])
    }

    fn delays(&self) -> Vec<Duration> {
        self.lost.iter().filter_map(|&(_, delay)| delay).collect()
    }
}

impl Protocol for Feed {
    type Session = ();

    fn open(&mut self, peer: &mut Peer) {
        self.opened.push(peer.id());
        peer.send(b"hello");
    }

    fn data(&mut self, _: &mut Peer, (): &mut (), input: &mut Input) -> Result {
        self.heard.extend(input.take_all());
        Ok(())
    }

    fn closed(&mut self, hub: &mut Hub, id: ConnId, (): (), reason: Reason) {
        let next: Vec<_> = self.keepers.iter_mut().filter_map(|k| k.closed(hub, id)).collect();
        assert!(next.len() <= 1, "two have lost the same connection");
        self.lost.push((reason.to_string(), next.first().copied()));
    }

    fn connect_failed(&mut self, hub: &mut Hub, id: ConnId, reason: Reason) {
        let next: Vec<_> =
            self.keepers.iter_mut().filter_map(|k| k.connect_failed(hub, id)).collect();
        assert!(next.len() <= 1, "two have lost the same connection");
        self.lost.push((format!("failed: {reason}"), next.first().copied()));
    }

    /// Nobody's but the protocol's own.
    fn tick(&mut self, hub: &mut Hub) {
        self.ticks += 1;
        hub.tick_in(SECOND);
    }
}

type Feeding = Reactor<Feed, Sim>;

fn feeding(feed: Feed, net: Sim) -> Feeding {
    let config = Config { trace: 1 << 14, conns_max: 2000, ..Config::default() };
    let reactor = Reactor::with(feed, net, config).unwrap();
    let connect = |feed: &mut Feed, hub: &mut Hub| {
        feed.keepers.iter_mut().for_each(|keeper| keeper.connect(hub));
    };
    reactor.handle().run(connect).unwrap();
    reactor
}

/// All that can happen without that time goes by.
fn at_once<P: Protocol>(reactor: &mut Reactor<P, Sim>) {
    (0..50).for_each(|_| reactor.turn_within(Duration::ZERO).unwrap());
}

/// The end that was reached.
fn reached<P: Protocol>(reactor: &mut Reactor<P, Sim>) -> ClientId {
    for _ in 0..10_000 {
        if let Some(client) = reactor.net().dialed() {
            at_once(reactor);
            return client;
        }
        reactor.turn().unwrap();
    }
    panic!("it does not come");
}

fn turn_until_opened(reactor: &mut Feeding, times: usize) {
    while reactor.protocol().opened.len() < times {
        reactor.turn().unwrap();
    }
}

fn turn_until_lost(reactor: &mut Feeding, times: usize) {
    while reactor.protocol().lost.len() < times {
        reactor.turn().unwrap();
    }
}

/// When each connect was begun.
fn dials(reactor: &mut Feeding) -> Vec<Duration> {
    let trace = reactor.hub().trace();
    assert_eq!(trace.lost(), 0);
    trace.iter().filter(|r| r.what() == What::Connect).map(|r| r.at()).collect()
}

#[test]
fn one_that_is_asked_to_connect_before_it_knows_of_the_end_keeps_its_patience() {
    let mut reactor = feeding(Feed::of(1), Sim::new(1));
    reached(&mut reactor);
    turn_until_opened(&mut reactor, 1);
    let again = |feed: &mut Feed, hub: &mut Hub| {
        let id = feed.keepers[0].id();
        hub.peer(id).unwrap().abort();
        feed.keepers[0].connect(hub);
        assert_eq!(feed.keepers[0].id(), id, "another was dialed at once");
    };
    reactor.handle().run(again).unwrap();
    turn_until_lost(&mut reactor, 1);
    assert_eq!(reactor.protocol().delays().len(), 1, "{:?}", reactor.protocol().lost);
    turn_until_opened(&mut reactor, 2);
}

mod delays {
    use super::*;

    #[test]
    fn they_grow_to_a_limit_and_no_two_seeds_go_in_step() {
        let mut columns: Vec<Vec<Duration>> = vec![Vec::new(); 12];
        for seed in 0..1000 {
            let mut backoff = Backoff::new(seed);
            let mut most = backoff.first;
            for column in &mut columns {
                let delay = backoff.next_delay();
                assert!(most / 2 <= delay && delay <= most, "seed {seed}: {delay:?} of {most:?}");
                column.push(delay);
                most = (2 * most).min(backoff.max);
            }
            assert_eq!(most, Duration::from_secs(30));
        }
        for mut column in columns {
            let all = column.len();
            column.sort();
            let spread = *column.last().unwrap() - column[0];
            assert!(spread > column[0] / 2, "{spread:?} apart, of {:?}", column[0]);
            column.dedup();
            assert_eq!(column.len(), all, "two seeds have the same delay");
        }
    }

    #[test]
    fn the_same_seed_is_the_same_again_and_the_usual_is_never() {
        let first = |mut backoff: Backoff| [(); 4].map(|()| backoff.next_delay());
        assert_eq!(first(Backoff::new(7)), first(Backoff::new(7)));
        assert_ne!(first(Backoff::default()), first(Backoff::default()));
    }

    #[test]
    fn case_077_no_limits_are_nonsense() {
        let drawn = |change: fn(&mut Backoff)| {
            let mut backoff = Backoff::new(1);
            change(&mut backoff);
            [(); 100].map(|()| backoff.next_delay())
        };
        let least = |delays: &[Duration]| *delays.iter().min().unwrap();
        assert!(least(&drawn(|backoff| backoff.first = Duration::ZERO)) >= MS / 2);
        assert!(least(&drawn(|backoff| backoff.max = Duration::ZERO)) >= MS / 2);
        assert!(drawn(|b| b.factor = 0).iter().all(|delay| (100 * MS..=200 * MS).contains(delay)));
        let endless = drawn(|b| (b.first, b.max, b.factor) = (Duration::MAX, Duration::MAX, 9));
        assert!(least(&endless) >= Duration::MAX / 2);
    }

    #[test]
    fn a_connection_that_settled_makes_the_next_delay_a_first_one() {
        let mut backoff = Backoff::new(1);
        for _ in 0..5 {
            backoff.next_delay();
        }
        backoff.was_up(backoff.settled - MS);
        assert!(backoff.next_delay() > 3 * SECOND);
        backoff.was_up(backoff.settled);
        assert!(backoff.next_delay() <= backoff.first);
    }
}

#[test]
fn a_server_that_goes_away_is_there_again() {
    let mut reactor = feeding(Feed::of(1), Sim::new(1));
    for times in 1..=3 {
        let server = reached(&mut reactor);
        assert_eq!(reactor.net().receive(server), b"hello");
        reactor.net().send(server, b"news ");
        at_once(&mut reactor);
        assert_eq!(reactor.protocol().heard, b"news ".repeat(times));
        assert_eq!(reactor.protocol().opened.len(), times);
        let (id, last) = (reactor.protocol().keepers[0].id(), reactor.protocol().opened[times - 1]);
        assert_eq!(id, last, "it has another name");
        match times {
            1 => reactor.net().reset_client(server),
            _ => reactor.net().finish_client(server),
        }
    }
    let delays = reactor.protocol().delays();
    assert!(delays.len() == 2 && delays.iter().all(|&delay| delay >= 100 * MS), "{delays:?}");
}

#[test]
fn a_server_that_refuses_for_minutes_is_asked_less_and_less_and_found_when_it_is_back() {
    for seed in 0..50 {
        let mut net = Sim::new(seed);
        net.faults.refused = 1000;
        let mut reactor = feeding(Feed::of(seed), net);
        reactor.hub().tick_in(SECOND);
        run_for(&mut reactor, 300 * SECOND);
        let (delays, dials) = (reactor.protocol().delays(), dials(&mut reactor));
        assert_eq!(dials.len(), delays.len(), "one waits");
        assert!(dials.len() < 30, "{} tries in five minutes", dials.len());
        let mut most = 200 * MS;
        for (n, &delay) in delays.iter().enumerate() {
            assert!(most / 2 <= delay && delay <= most, "seed {seed}: {delay:?}, {n} in a row");
            most = (2 * most).min(30 * SECOND);
        }
        for (dial, delay) in dials.windows(2).zip(&delays) {
            assert!(dial[1] - dial[0] >= *delay, "too early");
        }
        // It has no tick of its own: that of the protocol goes on.
        assert!((299..=300).contains(&reactor.protocol().ticks));
        let away = reactor.protocol().lost.iter().all(|(how, _)| how.contains("refused"));
        assert!(away, "{:?}", reactor.protocol().lost);
        reactor.net().faults.refused = 0;
        let before = reactor.net().now();
        turn_until_opened(&mut reactor, 1);
        assert!(reactor.net().now() <= before + 30 * SECOND);
    }
}

#[test]
fn whoever_never_answers_is_given_up_and_asked_again() {
    let mut net = Sim::new(1);
    net.faults.unanswered = 1000;
    let mut reactor = feeding(Feed::of(1), net);
    run_for(&mut reactor, 100 * SECOND);
    let lost = &reactor.protocol().lost;
    assert!(lost.iter().all(|(how, _)| how == "failed: connect timeout"), "{lost:?}");
    // Ten seconds each, and delays that grow though none of them was quick.
    assert!((6..10).contains(&lost.len()), "{lost:?}");
    assert!(reactor.protocol().delays().windows(2).all(|two| two[0] < two[1]), "they do not grow");
}

#[test]
fn after_a_good_connection_the_delays_begin_again_and_after_short_ones_they_grow() {
    let mut reactor = feeding(Feed::of(3), Sim::new(3));
    for (n, up) in (1..).zip([0, 0, 0, 0, 0, 9, 0, 11, 0]) {
        let server = reached(&mut reactor);
        reactor.net().clock().advance(up * SECOND);
        reactor.net().finish_client(server);
        turn_until_lost(&mut reactor, n);
    }
    let bounds = [200, 400, 800, 1600, 3200, 6400, 12_800, 200, 400].map(Duration::from_millis);
    for (delay, most) in reactor.protocol().delays().into_iter().zip(bounds) {
        assert!(most / 2 <= delay && delay <= most, "{delay:?} of {most:?}");
    }
    assert_eq!(reactor.protocol().delays().len(), 9);
}

#[test]
fn a_thousand_that_lose_one_server_do_not_come_back_as_a_crowd() {
    let keepers = (0..1000).map(|seed| Keeper::new(place(), Backoff::new(seed)));
    let mut reactor = feeding(Feed::new(keepers), Sim::new(1));
    turn_until_opened(&mut reactor, 1000);
    let gone = reactor.net().now();
    while let Some(server) = reactor.net().dialed() {
        reactor.net().reset_client(server);
    }
    turn_until_opened(&mut reactor, 2000);
    let mut crowds: BTreeMap<u128, u32> = BTreeMap::new();
    for at in dials(&mut reactor).split_off(1000) {
        *crowds.entry((at - gone).as_millis()).or_default() += 1;
    }
    let (first, last) = (*crowds.keys().next().unwrap(), *crowds.keys().last().unwrap());
    let most = *crowds.values().max().unwrap();
    let spread = (100..110).contains(&first) && (191..=202).contains(&last);
    assert!(spread, "from {first} to {last} ms");
    assert!(most < 30, "{most} in the same millisecond");
}

mod stops {
    use super::*;

    #[test]
    fn nobody_waits_for_whoever_waits() {
        for times in [1, 2] {
            let mut net = Sim::new(1);
            net.faults.refused = 1000;
            let keepers = (0..10).map(|seed| Keeper::new(place(), Backoff::new(seed)));
            let mut reactor = feeding(Feed::new(keepers), net);
            run_for(&mut reactor, 60 * SECOND);
            let (begun, before) = (reactor.protocol().lost.len(), reactor.net().now());
            (0..times).for_each(|_| reactor.hub().stop());
            settle(&mut reactor);
            assert!(reactor.is_done());
            assert!(reactor.net().now() <= before + MS, "it took until {:?}", reactor.net().now());
            // Each is told of its own, once, and there is no next.
            let told = reactor.protocol().lost.split_off(begun);
            assert_eq!(told, vec![("failed: stopped".to_owned(), None); 10]);
        }
    }

    #[test]
    fn whoever_is_up_is_closed_and_not_replaced() {
        let mut reactor = feeding(Feed::of(1), Sim::new(1));
        let server = reached(&mut reactor);
        reactor.hub().stop();
        at_once(&mut reactor);
        reactor.net().finish_client(server);
        settle(&mut reactor);
        assert!(reactor.is_done());
        assert_eq!(reactor.protocol().lost, [("closed".to_owned(), None)]);
        let Feed { keepers, .. } = reactor.protocol();
        let id = keepers[0].id();
        assert!(reactor.hub().peer(id).is_none());
    }
}

#[test]
fn what_is_left_is_not_kept_and_can_be_taken_up_again() {
    let mut reactor = feeding(Feed::of(1), Sim::new(1));
    let server = reached(&mut reactor);
    // On its way or up, there is one, however often that is asked.
    reactor.handle().run(|feed, hub| feed.keepers[0].connect(hub)).unwrap();
    settle(&mut reactor);
    assert_eq!(reactor.hub().len(), 1);
    reactor.handle().run(|feed, hub| feed.keepers[0].leave(hub)).unwrap();
    settle(&mut reactor);
    assert!(reactor.net().sees_end(server));
    reactor.net().finish_client(server);
    settle(&mut reactor);
    assert_eq!(reactor.protocol().lost, [("closed".to_owned(), None)]);
    // One that waits is given up.
    reactor.net().faults.refused = 1000;
    reactor.handle().run(|feed, hub| feed.keepers[0].connect(hub)).unwrap();
    run_for(&mut reactor, SECOND);
    reactor.handle().run(|feed, hub| feed.keepers[0].leave(hub)).unwrap();
    settle(&mut reactor);
    assert!(reactor.hub().is_empty());
    let (how, next) = reactor.protocol().lost.last().unwrap();
    assert_eq!((how.as_str(), *next), ("failed: closed", None));
    reactor.net().faults.refused = 0;
    reactor.handle().run(|feed, hub| feed.keepers[0].connect(hub)).unwrap();
    reached(&mut reactor);
    assert_eq!(reactor.protocol().opened.len(), 2);
}

/// Ready when the other end has said `ok`; anything else is none of its words.
struct Hello(bool);

impl Layer for Hello {
    fn start(&mut self, wire: &mut Vec<u8>) -> Result {
        wire.extend(b"hi");
        Ok(())
    }

    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, _: &mut Vec<u8>) -> Result {
        match &*wire {
            _ if self.0 => plain.extend(&*wire),
            b"ok" => self.0 = true,
            _ => return Err("that is no hello".into()),
        }
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
fn through_a_layer_each_try_has_its_own_and_a_failed_handshake_is_a_failed_try() {
    let make = || Ok(Box::new(Hello(false)) as Box<dyn Layer>);
    let keeper = Keeper::through(place(), Backoff::new(1), make);
    let mut reactor = feeding(Feed::new([keeper]), Sim::new(1));
    for (n, answer) in (1..).zip(["no", "ha", "ok", "no", "ok"]) {
        let server = reached(&mut reactor);
        assert_eq!(reactor.net().receive(server), b"hi");
        reactor.net().send(server, answer.as_bytes());
        reactor.net().deliver_all();
        if answer == "ok" {
            at_once(&mut reactor);
            assert_eq!(reactor.net().receive(server), b"hello");
            reactor.net().reset_client(server);
        }
        turn_until_lost(&mut reactor, n);
    }
    let said = |(how, _): &(String, _)| how.split(':').next_back().unwrap().trim().to_owned();
    let lost: Vec<String> = reactor.protocol().lost.iter().map(said).collect();
    let no = "that is no hello";
    assert_eq!(lost[..2], [no, no]);
    assert_eq!(lost[3], no);
    assert_eq!(reactor.protocol().opened.len(), 2);
    assert!(reactor.protocol().delays().windows(2).all(|two| two[0] < two[1]), "they do not grow");
}

#[test]
fn a_layer_that_cannot_be_made_is_a_failed_try_that_says_why() {
    let mut tries = 0;
    let make = move || {
        tries += 1;
        match tries {
            1..=3 => Err("the key is not there yet".into()),
            _ => Ok(Box::new(Hello(true)) as Box<dyn Layer>),
        }
    };
    let keeper = Keeper::through(place(), Backoff::new(1), make);
    let mut reactor = feeding(Feed::new([keeper]), Sim::new(1));
    run_for(&mut reactor, 10 * SECOND);
    let Feed { lost, opened, .. } = reactor.protocol();
    assert_eq!((lost.len(), opened.len()), (3, 1), "{lost:?}");
    assert!(lost.iter().all(|(how, _)| how == "failed: fault: the key is not there yet"));
    assert!(reactor.net().now() > 600 * MS, "it did not wait");
}

/// Whatever goes wrong: each name ends once, and when nothing goes wrong any more, it is up.
#[test]
fn in_a_thousand_worlds_it_comes_back() {
    sim::worlds(1000, |mut net| {
        net.faults.jump = 0;
        let seed = net.seed();
        let keepers = (0..3).map(|n| Keeper::new(place(), Backoff::new(seed * 3 + n)));
        let mut reactor = feeding(Feed::new(keepers), net);
        for _ in 0..300 {
            if let Some(client) = reactor.net().dialed() {
                match reactor.net().random(4) {
                    0 => reactor.net().reset_client(client),
                    1 => reactor.net().finish_client(client),
                    _ => reactor.net().send(client, b"news"),
                }
            }
            let _ = reactor.turn();
        }
        reactor.net().faults = Faults::NONE;
        run_for(&mut reactor, 120 * SECOND);
        let stats = reactor.hub().stats();
        let ended = reactor.protocol().lost.len() as u64;
        assert_eq!(ended, stats.released, "an end that nobody was told of");
        assert_eq!(reactor.hub().len(), 3);
        let Feed { keepers, .. } = reactor.protocol();
        let ids: Vec<ConnId> = keepers.iter().map(Keeper::id).collect();
        assert!(ids.iter().all(|&id| reactor.hub().peer(id).is_some_and(|peer| peer.is_up())));
    });
}

/// `Hub::connect_in`, by itself.
mod later {
    use super::*;

    #[test]
    fn it_begins_at_its_time_and_what_it_was_sent_before_leaves_then() {
        for after in [Duration::ZERO, MS / 3, 5 * MS, 3600 * SECOND] {
            let mut reactor = world(Script::default(), 1, Config::default());
            let before = reactor.net().now();
            let id = reactor.hub().connect_in(place(), after);
            let mut peer = reactor.hub().peer(id).unwrap();
            assert!(peer.send(b"early ") && !peer.is_up());
            assert_eq!((peer.unsent(), peer.addr()), (6, place().into()));
            let client = reached(&mut reactor);
            let took = reactor.net().now() - before;
            assert_eq!(reactor.net().receive(client), b"early ");
            assert!(after.max(MS) <= took && took <= after + 2 * MS, "{after:?}: {took:?}");
        }
    }

    #[test]
    fn it_can_be_given_up_and_nobody_is_called() {
        let mut reactor = world(Script::default(), 1, Config::default());
        let id = reactor.hub().connect_in(place(), SECOND);
        reactor.turn_within(MS).unwrap();
        reactor.hub().peer(id).unwrap().close();
        settle(&mut reactor);
        assert_eq!(reactor.protocol().diary.lines(), ["connect failed: closed"]);
        assert!(reactor.net().dialed().is_none() && reactor.hub().is_empty());
        assert!(reactor.net().now() < SECOND, "its timer was left behind");
        // What was to be sent is worth the wait.
        let id = reactor.hub().connect_in(place(), SECOND);
        let mut peer = reactor.hub().peer(id).unwrap();
        peer.send(b"last words");
        peer.close();
        settle(&mut reactor);
        let client = reactor.net().dialed().unwrap();
        assert_eq!(reactor.net().receive(client), b"last words");
    }

    #[test]
    fn its_limits_count_from_when_it_begins_and_a_deadline_of_its_own_at_once() {
        let limits = Config { connect: Some(SECOND), ..Config::default() };
        let mut reactor = world(Script::default(), 1, limits.clone());
        reactor.net().faults.unanswered = 1000;
        reactor.hub().connect_in(place(), 9 * SECOND);
        settle(&mut reactor);
        assert_eq!(reactor.protocol().diary.lines(), ["connect failed: connect timeout"]);
        let now = reactor.net().now();
        assert!(10 * SECOND <= now && now <= 10 * SECOND + 3 * MS, "{now:?}");

        let limits = Config { lifetime: Some(2 * SECOND), ..limits };
        let mut reactor = world(Script::default(), 1, limits);
        reactor.hub().connect_in(place(), 9 * SECOND);
        settle(&mut reactor);
        assert_eq!(reactor.protocol().diary.lines(), ["open", "deadline"]);
        let now = reactor.net().now();
        assert!(11 * SECOND <= now && now <= 11 * SECOND + 3 * MS, "{now:?}");

        let id = reactor.hub().connect_in(place(), 9 * SECOND);
        reactor.hub().peer(id).unwrap().deadline_in(SECOND);
        settle(&mut reactor);
        assert_eq!(reactor.protocol().diary.lines()[2..], ["connect failed: deadline"]);
        assert!(reactor.net().now() <= now + SECOND + 2 * MS);
    }

    #[test]
    fn it_has_a_place_among_all_others() {
        let mut reactor = world(Script::default(), 1, Config { conns_max: 2, ..Config::default() });
        for _ in 0..3 {
            reactor.hub().connect_in(place(), SECOND);
        }
        settle(&mut reactor);
        let lines = reactor.protocol().diary.lines();
        assert_eq!(lines, ["connect failed: out of room", "open", "open"]);
    }

    #[test]
    fn where_there_is_no_room_each_try_waits_its_time() {
        let config = Config { conns_max: 1, ..Config::default() };
        let mut reactor = Reactor::with(Feed::of(1), Sim::new(1), config).unwrap();
        reactor.hub().connect(place()); // somebody else has the place
        let id = reached(&mut reactor);
        reactor.handle().run(|feed, hub| feed.keepers[0].connect(hub)).unwrap();
        turn_until_lost(&mut reactor, 6);
        let Feed { lost, .. } = reactor.protocol();
        assert!(lost.iter().all(|(why, _)| why == "failed: out of room"), "{lost:?}");
        // The last delay has begun, the first try had none.
        let waited: Duration = reactor.protocol().delays()[..5].iter().sum();
        let now = reactor.net().now();
        assert!(waited <= now && now <= waited + 12 * MS, "{now:?} and not {waited:?}");
        reactor.net().finish_client(id);
        turn_until_opened(&mut reactor, 2);
    }

    #[test]
    fn a_thousand_that_are_due_at_once_are_begun_a_few_in_each_turn() {
        let config = Config { connects_max: 10, ..Config::default() };
        let mut reactor = world(Script::default(), 1, config);
        for _ in 0..1000 {
            reactor.hub().connect_in(place(), SECOND);
        }
        settle(&mut reactor);
        assert_eq!(reactor.hub().stats().connected, 1000);
        assert!(reactor.hub().stats().connect_budget >= 99);
    }

    #[test]
    fn while_all_stops_nothing_is_begun_and_nobody_is_told() {
        // It waits for its peer, so that there is a while.
        let mut reactor = world(on_data(|_, _| Ok(())), 1, Config::default());
        let client = reactor.net().client();
        reactor.net().send(client, b"half a ques");
        settle(&mut reactor);
        reactor.hub().stop();
        reactor.turn_within(MS).unwrap();
        assert!(!reactor.is_done());
        let id = reactor.hub().connect_in(place(), Duration::ZERO);
        assert!(reactor.hub().peer(id).is_none());
        let before = reactor.protocol().diary.lines().len();
        reactor.net().finish_client(client);
        settle(&mut reactor);
        assert!(reactor.is_done());
        let lines = reactor.protocol().diary.lines().split_off(before);
        assert!(!lines.iter().any(|line| line.contains("connect")), "{lines:?}");
    }
}
