//! Who asks for little waits for one of many who ask for much, whatever else they do.

mod common;

use std::{
    io::{self, IoSlice},
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use charkh::{
    Addr, Config, Peer, Reactor,
    net::{ClientId, Clock, Event, Net, Sim, SocketOptions, Token, Wake, sim},
};
use common::{Script, on_data, pattern, settle, world};

const US: Duration = Duration::from_micros(1);

type Passing = Arc<Mutex<Option<Clock>>>;

/// Like `case_053` of `ways_out`, with another way to answer.
fn takes_time(mut answer: impl FnMut(&mut Peer, &[u8]) + 'static) -> (Script, Passing) {
    let clock = Passing::default();
    let passes = clock.clone();
    let script = on_data(move |peer, input| {
        let bytes = input.take_all();
        answer(peer, bytes);
        let took = Duration::from_nanos(40 * bytes.len() as u64);
        passes.lock().unwrap().as_ref().unwrap().advance(took);
        Ok(())
    });
    (script, clock)
}

/// Sixteen who have sent much, and have had their first visits, and one who has said nothing.
fn flooded(script: Script, clock: &Passing, config: Config) -> (Reactor<Script, Sim>, ClientId) {
    let mut reactor = world(script, 1, config);
    *clock.lock().unwrap() = Some(reactor.net().clock());
    let flooders = [(); 16].map(|()| reactor.net().client());
    let polite = reactor.net().client();
    settle(&mut reactor);
    flooders.iter().for_each(|&client| reactor.net().send(client, &pattern(30_000, 0)));
    reactor.net().deliver_all();
    reactor.turn().unwrap();
    (reactor, polite)
}

/// Sixteen flooders, one who asks for a byte; says how long the longest turn was.
fn longest_turn_beside_flooders(answer: impl FnMut(&mut Peer, &[u8]) + 'static) -> Duration {
    let (script, clock) = takes_time(answer);
    let (mut reactor, polite) =
        flooded(script, &clock, Config { read_max: 1000, ..Config::default() });
    reactor.hub().take_longest_turn();
    for round in 0..20 {
        reactor.net().send(polite, b"x");
        reactor.net().deliver_all();
        reactor.turn().unwrap();
        assert!(!reactor.net().receive(polite).is_empty(), "round {round}");
    }
    reactor.hub().take_longest_turn()
}

#[test]
fn flooders_who_are_answered_with_send_are_behind() {
    let longest = longest_turn_beside_flooders(|peer, bytes| _ = peer.send(bytes));
    assert!(longest < 2 * 40 * US, "{longest:?}");
}

/// A shared payload puts whoever has its turn into the queue, if it is not there already.
#[test]
fn flooders_who_are_answered_with_shared_payloads_are_behind_too() {
    let payload: Arc<[u8]> = Arc::from([b's'; 100]);
    let longest = longest_turn_beside_flooders(move |peer, _| _ = peer.send_shared(&payload));
    assert!(longest < 2 * 40 * US, "{longest:?}");
}

/// The same with every limit as it is at first: lines, `frames_max` of them in a visit, each
/// answered with a line that others are sent too.
#[test]
fn flooders_of_lines_are_behind_too_with_the_default_limits() {
    for shared in [false, true] {
        let clock = Passing::default();
        let passes = clock.clone();
        let answer: Arc<[u8]> = Arc::from([b's'; 70]);
        let script = on_data(move |peer, input| {
            while input.line(80)?.is_some() {
                match shared {
                    true => peer.send_shared(&answer),
                    false => peer.send(&answer),
                };
                passes.lock().unwrap().as_ref().unwrap().advance(US);
            }
            Ok(())
        });
        let mut reactor = world(script, 1, Config::default());
        *clock.lock().unwrap() = Some(reactor.net().clock());
        let flooders = [(); 16].map(|()| reactor.net().client());
        let polite = reactor.net().client();
        settle(&mut reactor);
        let lines = b"PUBLISH\n".repeat(6000);
        flooders.iter().for_each(|&client| reactor.net().send(client, &lines));
        reactor.net().deliver_all();
        reactor.turn().unwrap();
        reactor.hub().take_longest_turn();
        for _ in 0..20 {
            reactor.net().send(polite, b"x\n");
            reactor.net().deliver_all();
            reactor.turn().unwrap();
            assert_eq!(reactor.net().receive(polite).len(), 70);
        }
        let longest = reactor.hub().take_longest_turn();
        assert!(longest < 2 * 257 * US, "shared: {shared}, {longest:?}");
    }
}

/// So does a callback.
#[test]
fn flooders_who_are_drained_are_behind_too() {
    let (script, clock) = takes_time(|peer, bytes| _ = peer.send(bytes));
    let config = Config { read_max: 1000, output_high: 500, output_low: 100, ..Config::default() };
    let (mut reactor, polite) = flooded(script, &clock, config);
    reactor.hub().take_longest_turn();
    for _ in 0..20 {
        reactor.net().send(polite, b"x");
        reactor.net().deliver_all();
        reactor.turn().unwrap();
        assert_eq!(reactor.net().receive(polite), b"x");
    }
    let longest = reactor.hub().take_longest_turn();
    assert!(longest < 2 * 40 * US, "{longest:?}");
}

/// The visit after `resume` reads nothing: whoever has asked meanwhile is not done after it, and
/// had
/// little.
#[test]
fn whoever_is_paused_and_resumed_is_not_behind_flooders() {
    let (script, clock) = takes_time(|peer, bytes| {
        if bytes.len() < 10 {
            peer.pause(); // its answer was in the cache after all
            peer.resume();
        }
        peer.send(bytes);
    });
    let (mut reactor, polite) =
        flooded(script, &clock, Config { read_max: 1000, ..Config::default() });
    let mut waits = Vec::new();
    for _ in 0..10 {
        reactor.net().send(polite, b"x");
        reactor.net().deliver_all();
        let mut turns = 0;
        while reactor.net().receive(polite).is_empty() {
            turns += 1;
            reactor.turn().unwrap();
        }
        waits.push(turns);
    }
    assert!(waits.iter().all(|&turns| turns <= 2), "turns until the answer: {waits:?}");
}

/// Whoever asks while the reactor stops is looked at once more.
#[test]
fn whoever_is_quiet_is_told_to_stop_before_the_flooders_are_done() {
    let (mut script, clock) = takes_time(|peer, bytes| _ = peer.send(bytes));
    let told = Arc::new(Mutex::new(0));
    let tells = told.clone();
    script.stopping = Box::new(move |peer| {
        *tells.lock().unwrap() += 1;
        peer.close();
        Ok(())
    });
    let (mut reactor, polite) =
        flooded(script, &clock, Config { read_max: 1000, ..Config::default() });
    reactor.hub().stop();
    reactor.turn().unwrap();
    reactor.net().send(polite, b"x");
    reactor.net().deliver_all();
    let mut turns = 0;
    while *told.lock().unwrap() == 0 {
        turns += 1;
        reactor.turn().unwrap();
    }
    assert!(turns <= 3, "{turns} turns until it was told");
}

/// Where only `WouldBlock` says that there is no more (Windows), nobody is done after a read.
#[test]
fn whoever_asks_for_little_does_not_wait_where_short_does_not_mean_done() {
    let (script, clock) = takes_time(|peer, bytes| _ = peer.send(bytes));
    let config = Config { read_max: 1000, ..Config::default() };
    let mut reactor = Reactor::with(script, Long(Sim::new(1)), config).unwrap();
    reactor.listen("127.0.0.1:1").unwrap();
    *clock.lock().unwrap() = Some(reactor.net().0.clock());
    let flooders = [(); 16].map(|()| reactor.net().0.client());
    let polite = reactor.net().0.client();
    while reactor.turn().is_ok() {}
    flooders.iter().for_each(|&client| reactor.net().0.send(client, &pattern(30_000, 0)));
    reactor.net().0.deliver_all();
    reactor.turn().unwrap();
    let mut waits = Vec::new();
    for _ in 0..10 {
        reactor.net().0.send(polite, b"x");
        reactor.net().0.deliver_all();
        let mut turns = 0;
        loop {
            turns += 1;
            reactor.turn().unwrap();
            if reactor.net().0.receive(polite) == b"x" {
                break;
            }
        }
        waits.push(turns);
    }
    assert!(waits.iter().all(|&turns| turns <= 2), "turns until the answer: {waits:?}");
}

/// The same on any system, for who sends a question and its end at once (`nc -N`).
#[test]
fn a_question_that_comes_with_its_end_is_not_behind_flooders() {
    let (mut script, clock) = takes_time(|peer, bytes| {
        if bytes.len() > 10 {
            peer.send(bytes);
        }
    });
    script.eof = Box::new(|peer| {
        peer.send(b"the answer");
        peer.finish();
        Ok(())
    });
    let mut reactor = world(script, 1, Config { read_max: 1000, ..Config::default() });
    *clock.lock().unwrap() = Some(reactor.net().clock());
    let flooders = [(); 16].map(|()| reactor.net().client());
    settle(&mut reactor);
    flooders.iter().for_each(|&client| reactor.net().send(client, &pattern(30_000, 0)));
    reactor.net().deliver_all();
    reactor.turn().unwrap();
    let polite = reactor.net().client();
    reactor.net().send(polite, b"x");
    reactor.net().finish_client(polite);
    reactor.net().deliver_all();
    let mut turns = 0;
    while reactor.net().receive(polite).is_empty() {
        turns += 1;
        reactor.turn().unwrap();
    }
    assert!(turns <= 3, "{turns} turns until the answer");
}

/// A simulated world in which only `WouldBlock` says that there is no more.
struct Long(Sim);

impl Net for Long {
    type Listener = sim::SimListener;
    type Stream = sim::SimStream;
    const SHORT_MEANS_DONE: bool = false;

    fn now(&mut self) -> Duration {
        self.0.now()
    }
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.0.wait(timeout, events)
    }
    fn waker(&mut self) -> io::Result<Wake> {
        self.0.waker()
    }
    fn listen(
        &mut self,
        addr: &Addr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<(Self::Listener, Addr)> {
        self.0.listen(addr, options, token)
    }
    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, Addr)> {
        self.0.accept(listener)
    }
    fn refuse(&mut self, listener: &mut Self::Listener) -> io::Result<()> {
        self.0.refuse(listener)
    }
    fn connect(
        &mut self,
        addr: &Addr,
        source: Option<IpAddr>,
        options: &SocketOptions,
    ) -> io::Result<Self::Stream> {
        self.0.connect(addr, source, options)
    }
    fn watch(&mut self, stream: &mut Self::Stream, token: Token) -> io::Result<()> {
        self.0.watch(stream, token)
    }
    fn connected(&mut self, stream: &mut Self::Stream) -> io::Result<()> {
        self.0.connected(stream)
    }
    fn take_error(&mut self, stream: &mut Self::Stream) -> io::Result<()> {
        self.0.take_error(stream)
    }
    fn read(&mut self, stream: &mut Self::Stream, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(stream, into)
    }
    fn write(&mut self, stream: &mut Self::Stream, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write(stream, bytes)
    }
    fn finish(&mut self, stream: &mut Self::Stream) -> io::Result<()> {
        self.0.finish(stream)
    }
    fn reset(&mut self, stream: Self::Stream) {
        self.0.reset(stream);
    }
}
