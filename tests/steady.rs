//! In the steady state of read, answer, write nothing is allocated, and connections that come and
//! go leave no memory behind. The reactor turns on the test's own thread, between a blocking-style
//! client's write and its read, and allocations are counted for that thread alone: the counts are
//! exact.
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream, UdpSocket},
    sync::Arc,
    time::Duration,
};

use allocation_counter::measure;
use charkh::{
    Config, Input, Layer, Peer, Protocol, Reactor, Result,
    codec::{LengthPrefixed, Lines},
};

#[path = "../examples/echo.rs"]
#[allow(dead_code, unreachable_pub)]
mod echo;

#[cfg(feature = "http")]
#[path = "../examples/http/main.rs"]
#[allow(dead_code, unreachable_pub)]
mod http;

use echo::Echo;

const WARM_UP: usize = 200;
const ROUNDS: usize = 3000;

/// A server and its clients, one thread.
struct World<P: Protocol> {
    reactor: Reactor<P>,
    addr: SocketAddr,
    clients: Vec<TcpStream>,
    got: Box<[u8]>,
}

impl<P: Protocol> World<P> {
    fn new(protocol: P, clients: usize) -> Self {
        Self::with(protocol, clients, Config::default())
    }

    fn with(protocol: P, clients: usize, config: Config) -> Self {
        // On a busy machine any turn may be a slow one, and the name of the culprit is a `String`.
        let config = Config { slow_turn: Duration::MAX, ..config };
        let mut reactor = Reactor::with_config(protocol, config).unwrap();
        let addr = reactor.listen("127.0.0.1:0").unwrap().addr.socket_addr().unwrap();
        let got = vec![0; 1 << 20].into_boxed_slice();
        let mut world = Self { reactor, addr, clients: Vec::new(), got };
        (0..clients).for_each(|_| world.connect());
        world
    }

    fn connect(&mut self) {
        let accepted = self.reactor.hub().stats().accepted;
        let client = TcpStream::connect(self.addr).unwrap();
        client.set_nodelay(true).unwrap();
        client.set_nonblocking(true).unwrap();
        self.clients.push(client);
        self.turn_until(|reactor| reactor.hub().stats().accepted > accepted);
    }

    fn turn_until(&mut self, mut done: impl FnMut(&mut Reactor<P>) -> bool) {
        for _ in 0..100_000 {
            if done(&mut self.reactor) {
                return;
            }
            self.reactor.turn_within(Duration::from_millis(1)).unwrap();
        }
        panic!("it never comes: {:?}", self.reactor.hub().stats());
    }

    fn send(&mut self, client: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.clients[client].write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.reactor.turn_within(Duration::ZERO).unwrap();
                }
                Err(e) => panic!("{e}"),
            }
        }
    }

    /// Turn until the server has read everything that was sent so far.
    fn deliver(&mut self, total: u64) {
        self.turn_until(|reactor| reactor.hub().stats().bytes_in == total);
    }

    /// Turn until `size` bytes of answers are here.
    fn receive(&mut self, client: usize, size: usize) -> &[u8] {
        let mut at = 0;
        let Self { reactor, clients, got, .. } = self;
        while at < size {
            match clients[client].read(&mut got[at..size]) {
                Ok(0) => panic!("the server hung up"),
                Ok(n) => at += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    reactor.turn_within(Duration::from_millis(1)).unwrap();
                }
                Err(e) => panic!("{e}"),
            }
        }
        &got[..size]
    }
}

/// How many allocations a few thousand rounds make, once everything has found its size.
fn allocations(mut round: impl FnMut()) -> u64 {
    (0..WARM_UP).for_each(|_| round());
    measure(|| (0..ROUNDS).for_each(|_| round())).count_total
}

#[test]
fn the_count_counts() {
    let mut world = World::new(Echo, 1);
    let count = allocations(|| {
        world.send(0, b"x");
        drop(world.receive(0, 1).to_vec());
    });
    assert_eq!(count, ROUNDS as u64);
}

#[test]
fn small_messages_one_by_one() {
    let mut world = World::new(Echo, 2);
    let count = allocations(|| {
        for client in 0..2 {
            world.send(client, &[7; 64]);
            assert_eq!(world.receive(client, 64), [7; 64]);
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn small_messages_while_all_is_recorded() {
    let mut world = World::with(Echo, 2, Config { trace: 1000, ..Config::default() });
    let count = allocations(|| {
        for client in 0..2 {
            world.send(client, &[7; 64]);
            assert_eq!(world.receive(client, 64), [7; 64]);
        }
    });
    assert!(world.reactor.hub().trace().lost() > 1000);
    assert_eq!(count, 0);
}

#[test]
fn sixteen_messages_in_flight() {
    let mut world = World::new(Echo, 2);
    let count = allocations(|| {
        for client in 0..2 {
            (0..16).for_each(|n| world.send(client, &[n; 64]));
        }
        for client in 0..2 {
            assert_eq!(world.receive(client, 16 * 64)[15 * 64..], [15; 64]);
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn messages_of_sixteen_kibibytes() {
    let mut world = World::new(Echo, 2);
    let bytes = [3; 16 << 10];
    let count = allocations(|| {
        for client in 0..2 {
            world.send(client, &bytes);
            assert_eq!(world.receive(client, bytes.len()), bytes);
        }
    });
    assert_eq!(count, 0);
}

#[cfg(feature = "http")]
#[test]
fn requests_of_http_and_their_answers() {
    let mut world = World::new(http::Http::new(None), 2);
    let get = "GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n".repeat(16);
    let length = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let chunks = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                  5\r\nhello\r\n0\r\n\r\n";
    // A head is as long as it was; a body, too.
    let [hello, echo] = ["text/plain; charset=utf-8", "application/octet-stream"].map(|kind| {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        format!("HTTP/1.1 200 OK\r\nServer: charkh\r\nDate: {date}\r\nContent-Type: {kind}\r\n")
    });
    let hello = format!("{hello}Content-Length: 13\r\n\r\nHello, wheel!").len();
    let echo = format!("{echo}Content-Length: 5\r\n\r\nhello").len();
    let count = allocations(|| {
        for client in 0..2 {
            for (says, size) in [(&*get, 16 * hello), (length, echo), (chunks, echo)] {
                // In two pieces, the first of which is no whole request.
                let (front, rest) = says.split_at(9);
                let before = world.reactor.hub().stats().bytes_in;
                world.send(client, front.as_bytes());
                world.deliver(before + 9);
                world.send(client, rest.as_bytes());
                assert!(world.receive(client, size).starts_with(b"HTTP/1.1 200 OK\r\n"));
            }
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn datagrams_and_their_answers() {
    let config = Config { replies_per_ip: Some(u32::MAX), ..Config::default() };
    let mut world = World::with(Echo, 0, config);
    let server = world.reactor.bind_udp("127.0.0.1:0").unwrap().addr;
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_nonblocking(true).unwrap();
    let mut got = [0; 2000];
    let count = allocations(|| {
        for size in [0, 64, 1400] {
            client.send_to(&[7; 2000][..size], server).unwrap();
            while client.recv(&mut got).map_or(true, |n| n != size) {
                world.reactor.turn_within(Duration::from_millis(1)).unwrap();
            }
        }
    });
    assert_eq!(count, 0);
    assert_eq!(world.reactor.hub().stats().datagrams_out, 3 * (WARM_UP + ROUNDS) as u64);
}

/// Answers each line.
struct Shout;

impl Protocol for Shout {
    type Session = ();

    fn open(&mut self, _: &mut Peer) {}

    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        while let Some(line) = input.frame(&mut Lines { max: 1000 })? {
            peer.send(line);
            peer.send(b"!\n");
        }
        Ok(())
    }
}

#[test]
fn lines_in_two_pieces() {
    let mut world = World::new(Shout, 3);
    let mut total = 0;
    let count = allocations(|| {
        // All of them hold a half at once, and more than half of what they send.
        for client in 0..3 {
            world.send(client, b"one\ntwo\nhello ");
            total += 14;
            world.deliver(total);
        }
        assert!(world.reactor.hub().stats().memory > 0, "nothing was kept");
        for client in 0..3 {
            world.send(client, b"world\n");
            total += 6;
            assert_eq!(world.receive(client, 23), b"one!\ntwo!\nhello world!\n");
        }
        assert_eq!(world.reactor.hub().stats().memory, 0);
    });
    assert_eq!(count, 0);
}

/// Whatever anybody says, all are told the same.
struct Tell(Arc<[u8]>);

impl Protocol for Tell {
    type Session = ();

    fn open(&mut self, _: &mut Peer) {}

    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        input.take_all();
        peer.hub().each(|mut peer| assert!(peer.send_shared(&self.0)));
        Ok(())
    }
}

#[test]
fn a_payload_for_fifty() {
    let mut world = World::new(Tell(Arc::from(&b"hear, hear"[..])), 50);
    let count = allocations(|| {
        world.send(0, b".");
        for client in 0..50 {
            assert_eq!(world.receive(client, 10), b"hear, hear");
        }
    });
    assert_eq!(count, 0);
}

/// Echoes, and wants to be woken this long after every message.
struct Alarm(Duration);

impl Protocol for Alarm {
    type Session = ();

    fn open(&mut self, _: &mut Peer) {}

    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        peer.wake_in(self.0);
        peer.send(input.take_all());
        Ok(())
    }
}

#[test]
fn a_timer_armed_by_every_message() {
    for after in [Duration::from_millis(1), Duration::from_secs(10)] {
        let mut world = World::new(Alarm(after), 3);
        let mut fired = 0;
        let count = allocations(|| {
            for client in 0..3 {
                world.send(client, &[7; 64]);
                world.receive(client, 64);
            }
            // Now and then all of them fire.
            let stats = world.reactor.hub().stats();
            if after.as_millis() == 1 && stats.turns.is_multiple_of(10) {
                world.turn_until(|reactor| reactor.hub().stats().armed == 0);
                fired += 1;
            }
        });
        assert_eq!(count, 0, "{after:?}");
        assert_eq!(fired > 0, after.as_millis() == 1);
    }
}

/// Long frames that come in pieces, each held until it is whole.
struct Frames(LengthPrefixed);

impl Protocol for Frames {
    type Session = ();

    fn open(&mut self, _: &mut Peer) {}

    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        while let Some(frame) = input.frame(&mut self.0)? {
            peer.send(&frame[..1]);
        }
        Ok(())
    }
}

/// A message that grows from block to larger block gives each back to the pool.
#[test]
fn long_frames_in_two_pieces() {
    let codec = LengthPrefixed::new(1 << 20);
    let mut bytes = Vec::new();
    codec.encode(&[7; 16 << 10], &mut bytes).unwrap();
    let mut world = World::new(Frames(codec), 1);
    let mut total = 0;
    let count = allocations(|| {
        for piece in bytes.chunks(9000) {
            world.send(0, piece);
            total += piece.len() as u64;
            world.deliver(total);
        }
        world.receive(0, 1);
    });
    assert_eq!(count, 0);
}

/// The least that a layer can be.
struct Mirror;

impl Layer for Mirror {
    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, _: &mut Vec<u8>) -> Result {
        plain.extend(wire.iter().map(|byte| !byte));
        Ok(())
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
        wire.extend(plain.iter().map(|byte| !byte));
        Ok(())
    }
}

#[test]
fn small_messages_through_a_layer() {
    let mut world = World::new(Echo, 0);
    let listening = world.reactor.listen("127.0.0.1:0").unwrap();
    world.addr = listening.addr.socket_addr().unwrap();
    world.reactor.layer(listening.id, |_| Ok(Box::new(Mirror)));
    (0..2).for_each(|_| world.connect());
    let count = allocations(|| {
        for client in 0..2 {
            world.send(client, &[7; 64]);
            assert_eq!(world.receive(client, 64), [7; 64]);
        }
    });
    assert_eq!(count, 0);
}

/// Connections that come, talk and go, in each of the usual ways.
#[test]
fn connections_leave_nothing_behind() {
    let mut world = World::new(Shout, 1);
    let mut round = || {
        let total = world.reactor.hub().stats().bytes_in;
        world.connect();
        world.send(1, b"hello\nhalf a ");
        assert_eq!(world.receive(1, 7), b"hello!\n");
        world.deliver(total + 13);
        let client = world.clients.pop().unwrap();
        let ended = world.reactor.hub().stats().released;
        match ended % 3 {
            0 => drop(client),
            1 => client.shutdown(Shutdown::Write).unwrap(),
            _ => client.shutdown(Shutdown::Both).unwrap(),
        }
        world.turn_until(|reactor| reactor.hub().stats().released > ended);
    };
    (0..WARM_UP).for_each(|_| round());
    let info = measure(|| (0..ROUNDS).for_each(|_| round()));
    assert_eq!((info.count_current, info.bytes_current), (0, 0), "{info:?}");
}
