//! `net::sim::worlds`: a test that fails in one world of many says which, why, and how little of
//! what went wrong in it is enough; and says the same again when it is asked again.
use std::{env, panic, process::Command};

use charkh::{
    Config, Input, Peer, Protocol, Reactor, Result,
    net::sim::{self, Faults, Sim},
};

/// Takes for granted that a message of five bytes comes in one piece.
struct Naive;

impl Protocol for Naive {
    type Session = ();

    fn open(&mut self, _: &mut Peer) {}

    fn data(&mut self, peer: &mut Peer, (): &mut (), input: &mut Input) -> Result {
        let message = input.take(5).ok_or("half a message")?;
        peer.send(message);
        Ok(())
    }
}

fn greet(mut net: Sim) {
    net.faults = Faults { short_read: 100, interrupted: 100, ..Faults::NONE };
    let mut reactor = Reactor::with(Naive, net, Config::default()).unwrap();
    reactor.listen("127.0.0.1:1").unwrap();
    let client = reactor.net().client();
    for _ in 0..20 {
        reactor.net().send(client, b"hello");
        reactor.net().deliver_all();
        while reactor.turn().is_ok() {}
        assert_eq!(reactor.net().receive(client), b"hello", "no answer");
    }
}

/// What `worlds` says of a test that fails.
fn verdict(test: impl Fn(Sim) + Sync + panic::UnwindSafe) -> String {
    let failure = panic::catch_unwind(|| sim::worlds(100, test)).unwrap_err();
    *failure.downcast::<String>().unwrap()
}

/// The words after `before`, up to the next space.
fn word<'a>(text: &'a str, before: &str) -> &'a str {
    let at = text.find(before).unwrap_or_else(|| panic!("no {before:?} in {text}"));
    text[at + before.len()..].split_whitespace().next().unwrap_or_default()
}

#[test]
fn a_failing_world_is_named_and_shrunk() {
    let text = verdict(greet);
    let seed = word(&text, "world ");
    assert!(text.contains("no answer"), "{text}");
    assert!(text.contains(file!()), "the place is not told: {text}");
    // The last of the faults that are needed is the one that did it.
    let needed: usize = word(&text, "the first ").parse().unwrap();
    let all: usize = word(&text, "of its ").parse().unwrap();
    assert!(needed <= all, "{text}");
    let strikes: Vec<&str> = text.lines().filter(|line| line.starts_with("  look ")).collect();
    assert_eq!(strikes.len(), needed, "{text}");
    assert!(strikes[needed - 1].ends_with("short read, connection 0"), "{text}");
    let name = "a_failing_world_is_named_and_shrunk";
    let again =
        format!("CHARKH_SEED={seed} CHARKH_FAULTS={needed} cargo test --test worlds {name}");
    assert!(text.ends_with(&again), "{text}");
}

#[test]
fn a_world_that_fails_by_itself_needs_none_of_its_faults() {
    let text = verdict(|net| {
        let mut reactor = Reactor::with(Naive, net, Config::default()).unwrap();
        while reactor.turn().is_ok() {}
        panic!("whatever happens");
    });
    assert!(text.contains("world 0 fails: "), "{text}");
    assert!(text.contains("none of its "), "{text}");
    assert!(text.contains("CHARKH_SEED=0 CHARKH_FAULTS=0 "), "{text}");
}

#[test]
fn the_lowest_seed_that_fails_is_the_one_that_is_told() {
    let text = verdict(|net| assert!(net.seed() < 37, "too many"));
    assert!(text.starts_with("world 37 fails: "), "{text}");
}

/// Run by the test below alone, with a seed.
#[test]
fn once_more() {
    if env::var("CHARKH_SEED").is_ok() {
        sim::worlds(1, greet);
    }
}

#[test]
fn the_command_that_is_told_fails_again_in_the_same_way_and_with_one_fault_less_does_not() {
    let text = verdict(greet);
    let needed: u64 = word(&text, "CHARKH_FAULTS=").parse().unwrap();
    let run = |faults: u64| {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "once_more"]);
        command.env("CHARKH_SEED", word(&text, "CHARKH_SEED="));
        command.env("CHARKH_FAULTS", faults.to_string());
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (passes, said) = run(needed);
    assert!(!passes && said.contains("no answer"), "{said}");
    let last = text.lines().rfind(|line| line.starts_with("  look ")).unwrap();
    assert!(said.contains(last), "another fault: {said}");
    let (passes, said) = run(needed - 1);
    assert!(passes, "{said}");
}

#[test]
fn worlds_that_end_well_are_counted_with_what_struck_in_them() {
    let tally = sim::worlds(50, |mut net| {
        net.faults = Faults { spurious: 300, ..Faults::NONE };
        let mut reactor = Reactor::with(Naive, net, Config::default()).unwrap();
        reactor.listen("127.0.0.1:1").unwrap();
        let client = reactor.net().client();
        reactor.net().send(client, b"hello");
        reactor.net().deliver_all();
        while reactor.turn().is_ok() {}
    });
    // Somebody may ask for more of them, or for one.
    assert!(tally.worlds >= 1 && tally.looks > tally.worlds, "{tally}");
    for (name, count) in Faults::NAMES.iter().zip(tally.struck) {
        assert_eq!(count > 0, *name == "spurious edge", "{tally}");
    }
}

#[test]
#[should_panic(expected = "never comes to rest: it has turned 1000 times")]
fn a_wheel_that_never_comes_to_rest_is_stopped() {
    struct Restless;
    impl Protocol for Restless {
        type Session = ();
        fn open(&mut self, peer: &mut Peer) {
            peer.send(b"x");
        }
        fn data(&mut self, _: &mut Peer, (): &mut (), _: &mut Input) -> Result {
            Ok(())
        }
        fn closed(&mut self, hub: &mut charkh::Hub, _: charkh::ConnId, (): (), _: charkh::Reason) {
            hub.connect(([127, 0, 0, 1], 2));
        }
        fn connect_failed(&mut self, hub: &mut charkh::Hub, _: charkh::ConnId, _: charkh::Reason) {
            hub.connect(([127, 0, 0, 1], 2));
        }
    }
    let mut net = Sim::new(1);
    (net.looks_max, net.faults.refused) = (1000, 1000);
    let mut reactor = Reactor::with(Restless, net, Config::default()).unwrap();
    reactor.hub().connect(([127, 0, 0, 1], 2));
    for _ in 0..2000 {
        reactor.turn().unwrap();
    }
}

#[test]
fn a_test_that_is_not_the_same_again_is_told_so() {
    let calls = std::sync::atomic::AtomicU64::new(0);
    let once = panic::AssertUnwindSafe(&calls);
    let text = verdict(move |_| {
        assert!(once.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0, "at first")
    });
    assert!(text.contains("not when it was asked again") && text.contains("at first"), "{text}");
}

#[test]
fn a_twin_is_the_same_world_from_its_beginning() {
    let mut world = Sim::new(9);
    world.faults = Faults::drawn(9);
    let mut twin = world.twin();
    assert_eq!(twin.faults, world.faults);
    let numbers = |world: &mut Sim| (0..10).map(|_| world.random(1000)).collect::<Vec<_>>();
    let first = numbers(&mut world);
    assert_eq!(numbers(&mut twin), first);
    assert_eq!(numbers(&mut world.twin()), first, "a twin begins where its world began");
}
