//! What is counted: `instructions FIGURE` does one thing many times, and prints how many times.
//! `benches/instructions/run` runs it under callgrind and says what one of them costs.
//!
//! The reactor and its clients share one thread, and real sockets: what clients have to say is with
//! the kernel before the wheel turns, so the number of turns is nobody's luck. Only what happens
//! within `counted` is counted, and that is turns.
use std::{
    env,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use charkh::{Config, Input, Peer, Protocol, Reactor, Result, Stats};

#[path = "../../../examples/echo.rs"]
#[allow(dead_code, unreachable_pub)]
mod echo;

use echo::Echo;

/// Rounds that are not counted: tables and buffers grow to their size in them.
const WARM_UP: u64 = 3;

struct Figure {
    name: &'static str,
    what: &'static str,
    run: fn() -> io::Result<u64>,
}

#[rustfmt::skip]
const FIGURES: [Figure; 7] = [
    Figure { name: "echo", what: "64 bytes echoed, one at a time on 64 connections",
        run: || exchange(Echo, 300, &[b'x'; 64], 1) },
    Figure { name: "pipeline", what: "64 bytes echoed, 16 in flight on 64 connections",
        run: || exchange(Echo, 100, &[b'x'; 64], 16) },
    Figure { name: "bulk", what: "16 KiB echoed, one at a time on 64 connections",
        run: || exchange(Echo, 50, &[b'x'; 16 << 10], 1) },
    Figure { name: "line", what: "a line of 64 bytes answered, 16 in flight on each of 64",
        run: || exchange(Lines, 100, &line(), 16) },
    Figure { name: "accept", what: "a connection accepted, and closed by its client",
        run: accept_and_close },
    Figure { name: "timer", what: "a timer armed with wake_in, until it has called",
        run: fire },
    Figure { name: "broadcast", what: "100 bytes sent_shared to 1000, for each of them",
        run: broadcast },
];

fn main() -> io::Result<()> {
    let wanted = env::args().nth(1);
    for Figure { name, what, run } in FIGURES {
        match &wanted {
            None => println!("{name}\t{what}"),
            Some(wanted) if wanted == name => println!("{}", run()?),
            Some(_) => {}
        }
    }
    Ok(())
}

/// One turn. The run looks for this name: what is called from here counts, and nothing else.
#[inline(never)]
fn counted<P: Protocol>(reactor: &mut Reactor<P>) -> io::Result<()> {
    reactor.turn()
}

type Turn<P> = fn(&mut Reactor<P>) -> io::Result<()>;

struct World<P: Protocol> {
    reactor: Reactor<P>,
    addr: SocketAddr,
    clients: Vec<TcpStream>,
    turn: Turn<P>,
}

impl<P: Protocol> World<P> {
    fn new(protocol: P, clients: usize) -> io::Result<Self> {
        // Under callgrind every turn is slow, and to say so would count.
        let config = Config { slow_turn: Duration::MAX, ..Config::default() };
        let mut reactor = Reactor::with_config(protocol, config)?;
        let addr = reactor.listen("127.0.0.1:0")?.addr.socket_addr();
        let addr = addr.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut world = Self { reactor, addr, clients: Vec::new(), turn: Reactor::turn };
        world.connect(clients)?;
        world.turns(clients as u64, |stats| stats.accepted)?;
        Ok(world)
    }

    fn connect(&mut self, clients: usize) -> io::Result<()> {
        for _ in 0..clients {
            self.clients.push(TcpStream::connect(self.addr)?);
        }
        Ok(())
    }

    /// Turn the wheel until `figure` is what it was, and `more`.
    fn turns(&mut self, more: u64, figure: fn(&Stats) -> u64) -> io::Result<()> {
        let wanted = figure(&self.reactor.hub().stats()) + more;
        while figure(&self.reactor.hub().stats()) < wanted {
            (self.turn)(&mut self.reactor)?;
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        rounds: u64,
        mut round: impl FnMut(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        self.turn = Reactor::turn;
        (0..WARM_UP).try_for_each(|_| round(self))?;
        self.turn = counted;
        (0..rounds).try_for_each(|_| round(self))
    }
}

/// Every client says so many of these, and reads as much.
fn exchange<P: Protocol>(
    protocol: P,
    rounds: u64,
    message: &[u8],
    in_flight: usize,
) -> io::Result<u64> {
    const CLIENTS: usize = 64;
    let mut world = World::new(protocol, CLIENTS)?;
    let messages = message.repeat(in_flight);
    let mut answers = vec![0; messages.len()];
    world.repeat(rounds, |world| {
        for client in &mut world.clients {
            client.write_all(&messages)?;
        }
        world.turns((CLIENTS * messages.len()) as u64, |stats| stats.bytes_out)?;
        for client in &mut world.clients {
            client.read_exact(&mut answers)?;
        }
        Ok(())
    })?;
    Ok(rounds * (CLIENTS * in_flight) as u64)
}

struct Lines;

impl Protocol for Lines {
    type Session = ();

    fn open(&mut self, _: &mut Peer) {}

    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        while let Some(line) = input.line(1024)? {
            peer.send(line);
            peer.send(b"\n");
        }
        Ok(())
    }
}

fn line() -> Vec<u8> {
    [&[b'x'; 63][..], b"\n"].concat()
}

fn accept_and_close() -> io::Result<u64> {
    const ROUNDS: u64 = 20;
    const CLIENTS: usize = 256;
    let mut world = World::new(Echo, 0)?;
    world.repeat(ROUNDS, |world| {
        world.connect(CLIENTS)?;
        world.turns(CLIENTS as u64, |stats| stats.accepted)?;
        for client in &world.clients {
            client.shutdown(Shutdown::Write)?;
        }
        world.turns(CLIENTS as u64, |stats| stats.released)?;
        world.clients.clear();
        Ok(())
    })?;
    Ok(ROUNDS * CLIENTS as u64)
}

struct Alarm;

impl Alarm {
    const AFTER: Duration = Duration::from_millis(80);
}

impl Protocol for Alarm {
    type Session = ();

    fn open(&mut self, peer: &mut Peer) {
        peer.wake_in(Self::AFTER);
    }

    fn data(&mut self, _: &mut Peer, _: &mut (), _: &mut Input) -> Result {
        Ok(())
    }

    fn timer(&mut self, peer: &mut Peer, _: &mut ()) -> Result {
        peer.wake_in(Self::AFTER);
        Ok(())
    }
}

/// The finest wheel goes round in 64 ms. All are armed near the beginning of four such times, for
/// the second or, where this machine was slow, the third, and looked at when the four are over: so
/// each falls from the second wheel to the first, once.
fn fire() -> io::Result<u64> {
    const ROUNDS: u64 = 10;
    const CLIENTS: usize = 250;
    const PERIOD: Duration = Duration::from_millis(4 * 64);
    const NEAR: Duration = Duration::from_millis(4);
    let began = Instant::now();
    let mut world = World::new(Alarm, CLIENTS)?;
    world.repeat(ROUNDS, |world| {
        let periods = began.elapsed().div_duration_f64(PERIOD).ceil() as u32;
        thread::sleep((PERIOD * periods + NEAR).saturating_sub(began.elapsed()));
        world.turns(CLIENTS as u64, |stats| stats.timers)
    })?;
    Ok(ROUNDS * CLIENTS as u64)
}

/// What anyone says, everyone is told.
struct Herald(Arc<[u8]>);

impl Protocol for Herald {
    type Session = ();

    fn open(&mut self, _: &mut Peer) {}

    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        input.take_all();
        peer.hub().each(|mut peer| {
            peer.send_shared(&self.0);
        });
        Ok(())
    }
}

fn broadcast() -> io::Result<u64> {
    const ROUNDS: u64 = 20;
    const CLIENTS: usize = 1000;
    const SIZE: usize = 100;
    let mut world = World::new(Herald(Arc::new([b'x'; SIZE])), CLIENTS)?;
    world.repeat(ROUNDS, |world| {
        world.clients[0].write_all(b"!")?;
        world.turns((CLIENTS * SIZE) as u64, |stats| stats.bytes_out)?;
        for client in &mut world.clients {
            client.read_exact(&mut [0; SIZE])?;
        }
        Ok(())
    })?;
    Ok(ROUNDS * CLIENTS as u64)
}
