//! Whole runs in seeded worlds: chaos, and after each turn and each run the same questions.
mod chaos;
mod common;

use std::time::Duration;

use chaos::Dice;
use charkh::{
    Config, Reason,
    net::{
        Faults, Net,
        sim::{self, Sim},
    },
};
use common::{Echo, pattern, read_all};

/// Worlds by themselves, and what one is made of; `CHARKH_SEEDS` runs more of them.
const WORLDS: u64 = 2_000;
const STEPS: usize = 1_200;

#[test]
fn chaos_keeps_the_laws() {
    let ended = std::sync::Mutex::new([0; Reason::KINDS]);
    let began = std::time::Instant::now();
    let tally = sim::worlds(WORLDS, |net| {
        let (seed, twin) = (net.seed(), net.twin());
        let outcome = chaos::run(net, Dice::seed(seed), STEPS);
        // Of a million, one in ten is enough.
        if seed < WORLDS || seed % 10 == 0 {
            let again = chaos::run(twin, Dice::seed(seed), STEPS);
            assert_eq!(outcome.hash, again.hash, "the same world is another");
        }
        for (sum, count) in ended.lock().unwrap().iter_mut().zip(outcome.ended) {
            *sum += count;
        }
    });
    let ended = ended.into_inner().unwrap();
    println!("{tally}and connections ended");
    for (name, count) in Reason::NAMES.iter().zip(ended) {
        println!("{count:12} {name}");
    }
    let took = began.elapsed().as_secs_f64();
    println!("{:.0} turns a second, second runs not counted", tally.looks as f64 / took);
    if tally.worlds >= WORLDS {
        // A world in which something never happens tests nothing of it.
        for (name, count) in Faults::NAMES.iter().zip(tally.struck) {
            assert!(count > 0, "{name} never struck");
        }
        for (name, count) in Reason::NAMES.iter().zip(ended) {
            assert!(count > 0, "no connection ended {name}");
        }
    }
}

#[test]
fn another_seed_is_another_world() {
    let run = |seed| chaos::run(Sim::new(seed), Dice::seed(seed), 300).hash;
    assert_eq!(run(42), run(42));
    assert_ne!(run(42), run(43));
}

#[test]
fn case_040_echo_gives_back_every_byte_whatever_the_pieces() {
    sim::worlds(500, |mut net| {
        // Between two looks of the client virtual hours may pass.
        let limits = Config { read_max: 64, write_max: 50, ..Config::default() };
        let config = Config { write_stall: None, ..limits };
        let seed = net.seed();
        net.faults = Faults::harmless((seed % 5 * 100) as u32);
        let mut reactor = charkh::Reactor::with(Echo, net, config).unwrap();
        reactor.listen("127.0.0.1:1").unwrap();
        let client = reactor.net().client();
        let window = 1 + reactor.net().random(100);
        reactor.net().set_window(client, window);
        let size = reactor.net().random(2000);
        let bytes = pattern(size, 1);
        reactor.net().send(client, &bytes);
        reactor.net().finish_client(client);
        assert_eq!(read_all(&mut reactor, client), bytes);
        assert!(reactor.net().sees_end(client) && !reactor.net().sees_reset(client));
        assert!(reactor.hub().is_empty());
    });
}

/// A day of this world: somebody comes every four seconds or so, most are rude, things go wrong.
/// What is held never grows from hour to hour, and when they have gone nothing is left.
#[test]
fn case_064_a_day_leaves_nothing() {
    const HOUR: Duration = Duration::from_secs(3600);
    let second = Duration::from_secs(1);
    let mut net = Sim::new(24);
    net.looks_max = u64::MAX;
    let faults = Faults::harmless(20);
    net.faults = Faults { aborted: 20, reset: 5, half_close: 5, slow: 5, ..faults };
    let idle = Some(60 * second);
    let config = Config { idle, lifetime: Some(HOUR), ..Config::default() };
    let mut reactor = charkh::Reactor::with(Echo, net, config).unwrap();
    reactor.listen("127.0.0.1:1").unwrap();
    let mut inside = Vec::new();
    let mut hours = [0; 24];
    while let Some(most) = hours.get_mut((reactor.net().now().as_secs() / 3600) as usize) {
        *most = reactor.hub().stats().memory.max(*most);
        let net = reactor.net();
        inside.retain(|&client| !net.sees_end(client) && !net.was_reset(client));
        inside.push(net.client());
        for _ in 0..3 {
            let who = inside[net.random(inside.len())];
            match net.random(8) {
                0 => net.reset_client(who),
                1 => net.finish_client(who),
                2 => net.set_window(who, 0),
                3 | 4 => drop(net.receive(who)),
                _ => {
                    let size = net.random(5000);
                    net.send(who, &pattern(size, 7));
                }
            }
        }
        let pause = Duration::from_millis(net.random(8000) as u64);
        let until = net.now() + pause;
        while reactor.net().now() < until {
            let left = until - reactor.net().now();
            reactor.turn_within(left).unwrap();
        }
    }
    println!("most bytes held, hour by hour: {hours:?}");
    let (first, last) = (&hours[1..5], &hours[20..]);
    assert!(last.iter().max() <= first.iter().max().map(|most| most * 2).as_ref(), "{hours:?}");

    // Nobody says anything any more.
    let end = reactor.net().now() + 2 * HOUR;
    while reactor.net().now() < end && reactor.turn_within(HOUR).is_ok() {}
    let stats = reactor.hub().stats();
    assert!(reactor.hub().is_empty() && stats.accepted > 15_000, "{:?}", reactor.hub());
    assert_eq!((stats.memory, stats.armed, reactor.net().open_streams()), (0, 0, 0));
    assert_eq!((stats.released, stats.ended.iter().sum()), (stats.accepted, stats.accepted));
}
