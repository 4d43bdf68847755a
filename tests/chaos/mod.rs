//! Chaos, and what must hold in it. A server that does everything a callback may do, clients that
//! are rude, a world in which things go wrong; and after every turn, at every end, and at the end
//! of all, the same questions. Decisions come from a seed (`tests/sim.rs`) or from a fuzzer's bytes
//! (`fuzz/`).
#![allow(dead_code, unreachable_pub)]
use std::time::Duration;

use charkh::{
    Config, Reactor, Stats, WhenFull,
    net::{Net, Sim},
};

mod account;
mod clients;
mod dice;
mod envelope;
mod mail;
mod promises;
mod server;

use clients::Clients;
pub use dice::Dice;
use envelope::Envelope;
use promises::Before;
use server::Server;

type World = Reactor<Server, Sim>;

/// What a whole run came to.
pub struct Outcome {
    /// Of everything the wheel did.
    pub hash: u64,
    /// How connections ended, as in [`Stats::ended`].
    pub ended: [u64; charkh::Reason::KINDS],
    pub turns: u64,
}

/// Everything that was begun must be over this much simulated time after the last fault: pauses,
/// lingering, connects that nobody answers, and the grace of a stop.
const OVER_WITHIN: Duration = Duration::from_secs(4);

/// A world that is asked for by itself, because it fails, tells what its wheel did last.
struct Witness(World);

impl Drop for Witness {
    fn drop(&mut self) {
        const LAST: usize = 20;
        if std::thread::panicking() && std::env::var_os("CHARKH_SEED").is_some() {
            eprintln!("{} turns, and the last that was done:", self.0.hub().stats().turns);
            let trace = self.0.hub().trace();
            let shown = trace.iter().skip(trace.len().saturating_sub(LAST));
            shown.for_each(|record| eprintln!("  {record}"));
        }
    }
}

/// A whole run, of so many things that the outside does (fewer if the dice run out), a turn after
/// each.
pub fn run(sim: Sim, mut dice: Dice, steps: usize) -> Outcome {
    let config = limits(&mut dice);
    let stop_at = dice.one_in(4).then(|| dice.below(steps));
    let server = Server::new(dice, &config, sim.clock());
    let reactor = Reactor::with(server, sim, config).expect("these limits are sound");
    let mut witness = Witness(reactor);
    let reactor = &mut witness.0;
    let handle = reactor.handle();
    reactor.protocol().handle = Some(handle);
    for layered in [false, true] {
        let listening = reactor.listen("127.0.0.1:1").expect("this world has every address");
        if layered {
            reactor.layer(listening.id, |_| Ok(Box::new(Envelope::default())));
        }
    }
    let bound = reactor.bind_udp(("127.0.0.1", mail::PORT)).expect("and every port");
    reactor.protocol().mail.socket = Some(bound.id);
    let mut clients = Clients::default();
    for step in 0..steps {
        if reactor.is_done() || reactor.protocol().dice.are_spent() {
            break;
        }
        clients.act(reactor);
        if stop_at == Some(step) {
            let now = reactor.hub().now();
            clients.crowd(reactor); // they wait at the door
            reactor.protocol().note_stop(now);
            reactor.hub().stop();
        }
        turn(reactor, &mut clients);
    }
    finish(reactor, &mut clients);
    let stats = reactor.hub().stats();
    Outcome { hash: reactor.hub().trace().hash(), ended: stats.ended, turns: stats.turns }
}

/// Small, so that each is reached; and some worlds have more patience than others.
fn limits(dice: &mut Dice) -> Config {
    let ms = Duration::from_millis;
    let read_max = 16 + dice.below(100);
    let output_high = 60 + dice.below(200);
    Config {
        conns_max: 3 + dice.below(12),
        conns_per_ip: dice.one_in(4).then(|| 2 + dice.below(6) as u32),
        when_full: if dice.one_in(4) { WhenFull::Refuse } else { WhenFull::Wait },
        accepts_max: 1 + dice.below(4) as u32,
        connects_max: 1 + dice.below(3) as u32,
        handshakes_max: 1 + dice.below(3) as u32,
        timers_max: 1 + dice.below(4) as u32,
        jobs_max: 1 + dice.below(3) as u32,
        frames_max: 1 + dice.below(5) as u32,
        read_max,
        write_max: 10 + dice.below(100),
        input_max: 40 + dice.below(400),
        output_high,
        output_low: dice.below(output_high),
        output_max: if dice.one_in(3) { output_high + 300 } else { 1 << 20 },
        memory_max: if dice.one_in(4) { 3_000 + dice.below(6_000) } else { 1 << 30 },
        idle: dice.one_in(4).then_some(ms(2_000)),
        first_byte: dice.one_in(4).then_some(ms(700)),
        write_stall: dice.one_in(3).then_some(ms(1_500)),
        lifetime: dice.one_in(6).then_some(ms(3_000)),
        connect: Some(ms(400)),
        handshake: Some(ms(if dice.one_in(2) { 500 } else { 2_500 })),
        linger: ms(300),
        linger_bytes: 500,
        grace: ms(900),
        slow_turn: Duration::MAX,
        trace: 256,
        datagrams_max: 1 + dice.below(4) as u32,
        datagram_size: 30 + dice.below(40),
        datagrams_out_max: 1 + dice.below(4) as u32,
        datagrams_out_bytes: 40 + dice.below(100),
        replies_per_ip: dice.one_in(3).then(|| 1 + dice.below(5) as u32),
        ..Config::default()
    }
}

/// A turn, and the questions after it. `false` if nothing can happen any more.
fn turn(reactor: &mut World, clients: &mut Clients) -> bool {
    let before = Before::of(reactor);
    match reactor.turn() {
        Ok(()) => {
            promises::ask(reactor, &before);
            within_limits(reactor, &before.stats);
            mail::ask(reactor, &before.stats);
            clients.ask(reactor);
            true
        }
        Err(e) if e.kind() == std::io::ErrorKind::Deadlock => {
            assert_eq!(
                reactor.hub().stats().turns,
                before.stats.turns,
                "something ran after the sleep"
            );
            clients.ask_the_sleeper(reactor);
            false
        }
        Err(e) => panic!("a turn failed: {e}"),
    }
}

fn within_limits(reactor: &mut World, before: &Stats) {
    let config = reactor.hub().config().clone();
    let now = reactor.hub().stats();
    let more = |what: fn(&Stats) -> u64| what(&now) - what(before);
    let listeners = 2;
    assert!(more(|s| s.accepted) <= listeners * u64::from(config.accepts_max), "accepts_max");
    assert!(more(|s| s.jobs) <= config.jobs_max.into(), "jobs_max");
    assert!(more(|s| s.timers) <= config.timers_max.into(), "timers_max");
    let served = more(|s| s.served);
    assert!(more(|s| s.reads) <= served, "more than one read each");
    assert!(more(|s| s.bytes_in) <= served * config.read_max as u64, "read_max");
    // Two writes each, and one for the last words of whoever is at fault then or when woken.
    let writes = 3 * served + more(|s| s.timers);
    assert!(more(|s| s.bytes_out) <= writes * config.write_max as u64, "write_max");
    // What layers take is nobody's to give back.
    let all = now.memory + now.layer_memory + now.spare_memory;
    assert!(now.memory == 0 || all <= config.memory_max, "memory_max");
    let len = reactor.hub().len();
    let server = reactor.protocol();
    let opened = server.alive.len() - server.dead.len();
    assert!(opened <= len && len <= config.conns_max, "conns_max");
    if let Some(max) = config.conns_per_ip {
        assert!(server.most_from_one_address() <= max as usize, "conns_per_ip");
    }
}

/// The faults stop, everybody reads and ends; then, within bounded time, nothing may be left.
fn finish(reactor: &mut World, clients: &mut Clients) {
    reactor.net().faults = charkh::net::Faults::NONE;
    reactor.protocol().calm();
    let began = reactor.net().now();
    let turns = reactor.hub().stats().turns;
    loop {
        let quiet = clients.end(reactor);
        while turn(reactor, clients) && !reactor.is_done() {
            assert!(reactor.hub().stats().turns - turns < 100_000, "the wheel never rests");
        }
        if quiet {
            break;
        }
    }
    let took = reactor.net().now() - began;
    assert!(took <= OVER_WITHIN, "it took {took:?} to end");
    assert!(reactor.hub().is_empty(), "{:?} never ends", reactor.hub());
    assert_eq!(reactor.net().open_streams(), 0, "a socket leaks");
    let stats = reactor.hub().stats();
    assert_eq!((stats.memory, stats.armed), (0, 0), "bytes and timers");
    assert_eq!(stats.released, stats.accepted + stats.connected + stats.connect_failed);
    assert_eq!(stats.ended.iter().sum::<u64>(), stats.released, "ended once, released once");
    if !reactor.is_done() {
        assert_eq!(reactor.net().waiting(), 0, "a client was forgotten");
        assert_eq!(reactor.net().datagrams_waiting(), 0, "a datagram was forgotten");
        assert_eq!(reactor.protocol().jobs_left(), 0, "a job was forgotten");
        assert!(!reactor.protocol().ticks_later(), "a tick was forgotten");
    }
    clients.compare_notes(reactor);
    if !reactor.hub().is_stopping() {
        reactor.hub().stop();
    }
    while !reactor.is_done() {
        assert!(turn(reactor, clients), "it does not stop");
    }
    assert_eq!(reactor.net().open_udp(), 0, "a UDP socket leaks");
}
