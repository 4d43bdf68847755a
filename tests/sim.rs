//! Whole runs in seeded worlds: chaos, and after each turn and each run the same questions.
mod chaos;
mod common;

use chaos::Dice;
use charkh::{
    Config, Reason,
    net::{
        Faults,
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
