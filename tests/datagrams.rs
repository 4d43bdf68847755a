//! Datagrams: what comes that was never asked for, in the simulated world and on real sockets. The
//! numbers are those of the list of hostile cases.
#[path = "common/bent.rs"]
mod bent;
mod common;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
    time::Duration,
};

use bent::Bent;
use charkh::{
    Bound, Config, Datagram, Hub, Input, Peer, Protocol, Reactor, Result, UdpId,
    net::{ClientId, Faults, Net, Sim, sim},
    trace::{What, Who},
};
use common::{Diary, Echo, MS, settle};

type OnDatagram = Box<dyn FnMut(&mut Datagram)>;

/// Notes what came, and does what it is told.
struct Post {
    seen: Vec<(SocketAddr, Vec<u8>)>,
    act: OnDatagram,
}

impl Protocol for Post {
    type Session = ();

    fn open(&mut self, _: &mut Peer) {}

    fn data(&mut self, peer: &mut Peer, (): &mut (), input: &mut Input) -> Result {
        peer.send(input.take_all());
        Ok(())
    }

    fn datagram(&mut self, datagram: &mut Datagram) {
        self.seen.push((datagram.addr(), datagram.bytes().into()));
        (self.act)(datagram);
    }
}

impl Post {
    fn doing(act: impl FnMut(&mut Datagram) + 'static) -> Self {
        Self { seen: Vec::new(), act: Box::new(act) }
    }

    fn silent() -> Self {
        Self::doing(|_| ())
    }

    fn echo() -> Self {
        Self::doing(|datagram| {
            datagram.reply(datagram.bytes());
        })
    }

    fn sizes(&self) -> Vec<usize> {
        self.seen.iter().map(|(_, bytes)| bytes.len()).collect()
    }
}

/// The port of the first socket.
const PORT: u16 = 7000;

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A reactor with a listener and a UDP socket.
fn post_office<P: Protocol>(protocol: P, seed: u64, config: Config) -> Reactor<P, Sim> {
    let mut reactor = common::world(protocol, seed, config);
    let bound = reactor.bind_udp(addr(PORT)).unwrap();
    assert_eq!(bound.addr, addr(PORT));
    reactor
}

fn send_all<P: Protocol>(reactor: &mut Reactor<P, Sim>, from: u16, payloads: &[&[u8]]) {
    for payload in payloads {
        reactor.net().send_datagram(addr(from), 0, payload);
    }
    reactor.net().deliver_all();
}

/// All that has come there.
fn received<P: Protocol>(reactor: &mut Reactor<P, Sim>, at: u16) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| reactor.net().receive_datagram(addr(at)))
        .map(|(from, bytes)| {
            assert_eq!(from, addr(PORT), "an answer comes from where it was asked");
            bytes
        })
        .collect()
}

// --- answers ---

#[test]
fn case_106_an_answer_is_not_longer_than_what_it_answers() {
    let post = Post::doing(|datagram| {
        assert_eq!(datagram.reply(b"seven b"), datagram.bytes().len() >= 7);
    });
    let mut reactor = post_office(post, 1, Config::default());
    send_all(&mut reactor, 9000, &[b"", b"6 byte", b"7 bytes", b"many bytes"]);
    settle(&mut reactor);
    assert_eq!(received(&mut reactor, 9000), [b"seven b"; 2]);
    let stats = reactor.hub().stats();
    assert_eq!((stats.datagrams_in, stats.datagrams_out, stats.replies_refused), (4, 2, 2));
    assert_eq!((stats.datagram_bytes_in, stats.datagram_bytes_out), (23, 14));
}

#[test]
fn case_106_nothing_is_answered_that_may_come_from_a_server() {
    let mut reactor = post_office(Post::echo(), 1, Config::default());
    for port in [0, 7, 1023, 1024, PORT - 1, PORT, PORT + 1] {
        send_all(&mut reactor, port, &[b"who are you?"]);
    }
    settle(&mut reactor);
    for (port, answers) in
        [(0, 0), (7, 0), (1023, 0), (1024, 1), (PORT - 1, 1), (PORT, 0), (PORT + 1, 1)]
    {
        assert_eq!(received(&mut reactor, port).len(), answers, "{port}");
    }
    assert_eq!(reactor.hub().stats().replies_refused, 4);
}

#[test]
fn case_106_an_address_is_answered_so_often_in_a_second_and_others_do_not_feel_it() {
    let config = Config { replies_per_ip: Some(5), ..Config::default() };
    let mut reactor = post_office(Post::echo(), 1, config);
    let clock = reactor.net().clock();
    let strangers = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|ip| SocketAddr::from((ip, 9000)));
    for _ in 0..3 {
        for n in 0..18 {
            reactor.net().send_datagram(strangers[n % 2], 0, b"hello");
        }
        reactor.net().deliver_all();
        settle(&mut reactor);
        for stranger in strangers {
            let answers = std::iter::from_fn(|| reactor.net().receive_datagram(stranger));
            assert_eq!(answers.count(), 5);
        }
        clock.advance(Duration::from_secs(1));
    }
    let stats = reactor.hub().stats();
    assert_eq!((stats.datagrams_in, stats.replies_limited), (54, 24));
    // Other ports of one address are one address; who is known is sent what one likes.
    for port in 9000..9010 {
        send_all(&mut reactor, port, &[b"hello"]);
    }
    settle(&mut reactor);
    assert_eq!((9000..9010).map(|port| received(&mut reactor, port).len()).sum::<usize>(), 5);
    reactor.protocol().act = Box::new(|datagram| {
        let (socket, to) = (datagram.socket(), datagram.addr());
        assert!(datagram.hub().send_datagram(socket, to, b"a long story"));
    });
    send_all(&mut reactor, 80, &[b"", b"", b"", b"", b"", b"", b""]);
    settle(&mut reactor);
    assert_eq!(received(&mut reactor, 80), [b"a long story"; 7]);
}

#[test]
fn case_106_two_echoes_that_are_set_on_each_other_come_to_rest() {
    let mut reactor = post_office(Echo, 1, Config::default());
    reactor.bind_udp(addr(PORT + 1)).unwrap();
    // With the other's address in it.
    reactor.net().send_datagram(addr(PORT + 1), 0, b"echo");
    let mut bounces = 0;
    loop {
        settle(&mut reactor);
        let letters = [(addr(PORT), 0), (addr(PORT + 1), 1)].map(|(at, socket)| {
            let letter = reactor.net().receive_datagram(at);
            letter.map(|(from, bytes)| reactor.net().send_datagram(from, socket, &bytes))
        });
        if letters == [None, None] {
            break;
        }
        bounces += 1;
        assert!(bounces <= 1000, "for ever");
    }
    assert_eq!((bounces, reactor.hub().stats().replies_limited), (1000, 1));
}

#[test]
fn an_ipv4_sender_to_an_ipv6_socket_has_its_ipv4_address() {
    let mut reactor = common::world(Post::echo(), 1, Config::default());
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
    reactor.bind_udp(any).unwrap();
    let mapped = "[::ffff:10.0.0.1]:9000".parse().unwrap();
    let v6 = "[2001:db8::1]:9000".parse().unwrap();
    reactor.net().send_datagram(mapped, 0, b"four");
    reactor.net().send_datagram(v6, 0, b"six");
    settle(&mut reactor);
    let seen: Vec<String> = reactor.protocol().seen.iter().map(|(a, _)| a.to_string()).collect();
    assert_eq!(seen, ["10.0.0.1:9000", "[2001:db8::1]:9000"]);
    // The socket knows it by the other name.
    assert_eq!(reactor.net().receive_datagram(mapped), Some((any, b"four".into())));
    assert_eq!(reactor.net().receive_datagram(v6), Some((any, b"six".into())));
}

// --- what comes ---

#[test]
fn case_107_what_is_too_long_is_dropped_and_counted() {
    let config = Config { datagram_size: 100, ..Config::default() };
    let mut reactor = post_office(Post::echo(), 1, config);
    let sizes = [99, 100, 101, 102, 5000, 3];
    for size in sizes {
        send_all(&mut reactor, 9000, &[&vec![b'x'; size]]);
    }
    settle(&mut reactor);
    assert_eq!(reactor.protocol().sizes(), [99, 100, 3]);
    let stats = reactor.hub().stats();
    assert_eq!((stats.datagrams_truncated, stats.datagrams_in, stats.datagrams_out), (3, 3, 3));
    // What the kernel says that it cut is not shown, however short.
    reactor.net().faults.truncated = 1000;
    send_all(&mut reactor, 9000, &[b"", b"hello"]);
    settle(&mut reactor);
    assert_eq!(reactor.protocol().sizes().len(), 3);
    assert_eq!(reactor.hub().stats().datagrams_truncated, 5);
}

#[test]
fn case_108_an_empty_datagram_is_a_datagram() {
    let mut reactor = post_office(Echo, 1, Config { datagram_size: 0, ..Config::default() });
    send_all(&mut reactor, 9000, &[b"", b"x", b""]);
    settle(&mut reactor);
    assert_eq!(received(&mut reactor, 9000), [b""; 2]);
    let stats = reactor.hub().stats();
    assert_eq!((stats.datagrams_in, stats.datagrams_out, stats.datagrams_truncated), (2, 2, 1));
}

#[test]
fn case_109_an_error_is_about_another_datagram_and_the_next_is_received() {
    let mut reactor = post_office(Post::echo(), 1, Config::default());
    reactor.net().faults.unreachable = 1000;
    send_all(&mut reactor, 9000, &[b"nobody hears the answer to this"]);
    reactor.turn().unwrap();
    reactor.net().faults = Faults::NONE;
    send_all(&mut reactor, 9001, &[b"one", b"two"]);
    reactor.turn().unwrap();
    assert_eq!(received(&mut reactor, 9001), [&b"one"[..], b"two"]);
    let stats = reactor.hub().stats();
    assert_eq!((stats.datagram_errors, stats.datagrams_in), (1, 3));
}

/// ECONNREFUSED, EHOSTUNREACH, ENOBUFS, ENOMEM and one that nobody has heard of.
const ERRORS: [i32; 5] = [111, 113, 105, 12, 4000];

fn bent(protocol: Post, config: Config) -> Reactor<Post, Bent> {
    let mut reactor = Reactor::with(protocol, Bent::new(1), config).unwrap();
    reactor.listen(addr(1)).unwrap();
    reactor.bind_udp(addr(PORT)).unwrap();
    reactor
}

#[test]
fn case_109_whatever_fails_is_counted_and_not_fatal() {
    for code in ERRORS {
        let mut reactor = bent(Post::echo(), Config::default());
        reactor.net().sim.send_datagram(addr(9000), 0, b"hello");
        reactor.net().sim.deliver_all();
        reactor.net().failures.extend([("recv_from", code), ("recv_from", code)]);
        reactor.turn().unwrap();
        assert_eq!(reactor.protocol().sizes(), [5], "{code}");
        assert_eq!(reactor.hub().stats().datagram_errors, 2, "{code}");
    }
    // A call that was interrupted is no error.
    let mut reactor = bent(Post::echo(), Config::default());
    reactor.net().sim.send_datagram(addr(9000), 0, b"hello");
    reactor.net().failures.extend([("recv_from", 4)]);
    reactor.turn().unwrap();
    assert_eq!((reactor.protocol().sizes(), reactor.hub().stats().datagram_errors), (vec![5], 0));
}

#[test]
fn case_109_a_socket_that_does_nothing_but_fail_does_not_keep_the_loop_awake() {
    let mut reactor = bent(Post::echo(), Config { datagrams_max: 4, ..Config::default() });
    reactor.net().failures.extend([("recv_from", 113); 40]);
    reactor.net().sim.send_datagram(addr(9000), 0, b"hello");
    let (start, turns) = (reactor.net().now(), reactor.hub().stats().turns);
    while reactor.protocol().seen.is_empty() {
        reactor.turn().unwrap();
    }
    // Ten pauses of as many milliseconds.
    assert_eq!(reactor.net().now() - start, 100 * MS);
    let turns = reactor.hub().stats().turns - turns;
    assert!(turns < 30, "{turns} turns");
    assert_eq!(reactor.hub().stats().datagram_errors, 40);
}

#[test]
fn case_110_more_than_the_budget_then_silence() {
    let config = Config { datagrams_max: 4, ..Config::default() };
    let mut reactor = post_office(Post::echo(), 1, config);
    // The first turns of a world wait for nothing.
    settle(&mut reactor);
    send_all(&mut reactor, 9000, &[&b"x"[..]; 11]);
    let before = reactor.hub().stats();
    for seen in [4, 8, 11] {
        // No other edge comes, and no time passes.
        reactor.turn().unwrap();
        assert_eq!(reactor.protocol().seen.len(), seen);
    }
    let stats = reactor.hub().stats();
    assert_eq!(stats.datagram_budget - before.datagram_budget, 2);
    assert_eq!(stats.events - before.events, 1, "the bit was kept, not told again");
    assert_eq!(received(&mut reactor, 9000).len(), 11);
    assert_eq!(reactor.turn().unwrap_err().kind(), io::ErrorKind::Deadlock, "it sleeps");
}

#[test]
fn case_110_a_flood_keeps_nobody_waiting() {
    let config = Config { datagrams_max: 8, ..Config::default() };
    let mut reactor = post_office(Post::silent(), 1, config);
    let client = reactor.net().client();
    settle(&mut reactor);
    for _ in 0..100 {
        send_all(&mut reactor, 9000, &[&b"flood"[..]; 100]);
        reactor.net().send(client, b"ping");
        reactor.net().deliver_all();
        reactor.turn().unwrap();
        assert_eq!(reactor.net().receive(client), b"ping", "in the same turn");
    }
    let stats = reactor.hub().stats();
    assert_eq!(stats.datagrams_in, 800);
    assert!(stats.datagram_budget >= 100);
}

#[test]
fn a_datagram_may_speak_to_connections_and_they_hear_it_in_the_same_turn() {
    let post = Post::doing(|datagram| {
        let bytes = datagram.bytes();
        datagram.hub().each(|mut peer| {
            peer.send(bytes);
        });
    });
    let mut reactor = post_office(post, 1, Config::default());
    let client = reactor.net().client();
    settle(&mut reactor);
    send_all(&mut reactor, 9000, &[b"news"]);
    reactor.turn().unwrap();
    assert_eq!(reactor.net().receive(client), b"news");
}

// --- what is sent ---

#[test]
fn case_111_what_the_kernel_does_not_take_is_dropped_and_keeps_nobody_behind_it() {
    // EAGAIN, ENOBUFS, EMSGSIZE, EPERM (a firewall), ENETUNREACH.
    for code in [11, 105, 90, 1, 101] {
        let three = Post::doing(|datagram| {
            let (socket, to) = (datagram.socket(), datagram.addr());
            for payload in [&b"one"[..], b"two", b"three"] {
                assert!(datagram.hub().send_datagram(socket, to, payload));
            }
        });
        let mut reactor = bent(three, Config::default());
        reactor.net().sim.send_datagram(addr(9000), 0, b"go");
        reactor.net().failures.extend([("send_to", 0), ("send_to", code)]);
        reactor.turn().unwrap();
        let sim = &mut reactor.net().sim;
        let got: Vec<_> = std::iter::from_fn(|| sim.receive_datagram(addr(9000))).collect();
        assert_eq!(got, [&b"one"[..], b"three"].map(|b| (addr(PORT), b.to_vec())), "{code}");
        let stats = reactor.hub().stats();
        assert_eq!((stats.datagrams_out, stats.datagrams_unsent), (2, 1), "{code}");
    }
}

#[test]
fn case_111_an_error_that_is_anothers_costs_no_datagram() {
    // ECONNREFUSED, of one that was sent before; EINTR.
    for code in [111, 4] {
        let mut reactor = bent(Post::echo(), Config::default());
        reactor.net().sim.send_datagram(addr(9000), 0, b"one");
        reactor.net().failures.extend([("send_to", code)]);
        reactor.turn().unwrap();
        assert!(reactor.net().sim.receive_datagram(addr(9000)).is_some(), "{code}");
        assert_eq!(reactor.hub().stats().datagrams_unsent, 0);
        // One that goes on is.
        reactor.net().sim.send_datagram(addr(9000), 0, b"one");
        reactor.net().failures.extend([("send_to", code), ("send_to", code)]);
        reactor.turn().unwrap();
        assert_eq!(reactor.net().sim.receive_datagram(addr(9000)), None, "{code}");
        assert_eq!(reactor.hub().stats().datagrams_unsent, 1);
    }
}

#[test]
#[cfg_attr(miri, ignore = "it needs real sockets")]
fn case_111_nor_does_a_real_kernel_keep_anybody_waiting() {
    let mut reactor = Reactor::new(Post::silent()).unwrap();
    let id = reactor.bind_udp("127.0.0.1:0").unwrap().id;
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let to = client.local_addr().unwrap();
    // Too long, of another family, and to nowhere.
    let elsewhere = ["[::1]:9000", "127.0.0.1:0"].map(|addr| addr.parse().unwrap());
    assert!(reactor.hub().send_datagram(id, to, &vec![0; 65_508]));
    assert!(elsewhere.iter().all(|&to| reactor.hub().send_datagram(id, to, b"hello?")));
    assert!(reactor.hub().send_datagram(id, to, b"hello"));
    reactor.turn_within(Duration::ZERO).unwrap();
    let mut bytes = [0; 99];
    assert_eq!(client.recv(&mut bytes).unwrap(), 5);
    let stats = reactor.hub().stats();
    assert_eq!((stats.datagrams_unsent, stats.datagrams_out), (3, 1));
}

/// Sends as many of this size as it is let, and notes how many that were.
fn flooder(size: usize, count: usize, sent: Arc<Mutex<Vec<usize>>>) -> Post {
    Post::doing(move |datagram| {
        let (socket, to) = (datagram.socket(), datagram.addr());
        let all = (0..count).filter(|_| {
            let payload = vec![b'x'; size];
            datagram.hub().send_datagram(socket, to, &payload)
        });
        sent.lock().unwrap().push(all.count());
    })
}

#[test]
fn case_111_what_waits_to_leave_is_bounded_in_number_and_in_bytes() {
    let config = Config { datagrams_out_max: 10, datagrams_out_bytes: 100, ..Config::default() };
    for (size, fits) in [(0, 10), (1, 10), (10, 10), (11, 9), (50, 2), (100, 1), (101, 0)] {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let mut reactor = post_office(flooder(size, 12, sent.clone()), 1, config.clone());
        // Each has all the room: what the one before sent has left.
        send_all(&mut reactor, 9000, &[b"x", b"x"]);
        reactor.turn().unwrap();
        assert_eq!(*sent.lock().unwrap(), [fits; 2], "{size}");
        assert_eq!(received(&mut reactor, 9000).len(), 2 * fits);
        assert_eq!(reactor.hub().stats().datagrams_out_full, 2 * (12 - fits as u64));
    }
}

/// Sends a word from every callback that there is.
struct Talker {
    bound: Bound,
    said: Diary,
}

impl Talker {
    fn say(&mut self, hub: &mut Hub, word: &str) {
        let sent = hub.send_datagram(self.bound.id, addr(9000), word.as_bytes());
        self.said.note(format!("{word} {sent}"));
    }
}

impl Protocol for Talker {
    type Session = ();

    fn open(&mut self, peer: &mut Peer) {
        self.say(peer.hub(), "open");
    }

    fn data(&mut self, peer: &mut Peer, (): &mut (), input: &mut Input) -> Result {
        input.take_all();
        peer.wake_in(MS);
        self.say(peer.hub(), "data");
        Ok(())
    }

    fn timer(&mut self, peer: &mut Peer, (): &mut ()) -> Result {
        peer.abort();
        self.say(peer.hub(), "timer");
        Ok(())
    }

    fn closed(&mut self, hub: &mut Hub, _: charkh::ConnId, (): (), _: charkh::Reason) {
        hub.tick_in(MS);
        self.say(hub, "closed");
    }

    fn tick(&mut self, hub: &mut Hub) {
        self.say(hub, "tick");
    }
}

#[test]
fn what_any_callback_sends_leaves_in_its_turn() {
    let said = Diary::default();
    let bound = Bound { id: first_id(), addr: addr(PORT) };
    let mut reactor = post_office(Talker { bound, said: said.clone() }, 1, Config::default());
    let client = reactor.net().client();
    reactor.net().send(client, b"x");
    let handle = reactor.handle();
    handle.run(|talker, hub| talker.say(hub, "job")).unwrap();
    let mut got = Vec::new();
    while said.count("tick true") == 0 {
        reactor.turn().unwrap();
        let before = got.len();
        got.extend(received(&mut reactor, 9000).into_iter().map(|b| String::from_utf8(b).unwrap()));
        let lines = said.lines();
        assert_eq!(got.len(), lines.len(), "after {before}");
        assert!(got.iter().zip(&lines).all(|(word, line)| *line == format!("{word} true")));
    }
    assert_eq!(got, ["job", "open", "data", "timer", "closed", "tick"]);
    // What is sent between turns leaves without a sleep.
    let start = reactor.net().now();
    assert!(reactor.hub().send_datagram(bound.id, addr(9000), b"between"));
    reactor.turn().unwrap();
    assert_eq!((received(&mut reactor, 9000).len(), reactor.net().now()), (1, start));
}

fn first_id() -> UdpId {
    common::world(Echo, 1, Config::default()).bind_udp(addr(1)).unwrap().id
}

#[test]
fn a_socket_of_another_reactor_is_none_of_this_one() {
    let mut other = common::world(Echo, 1, Config::default());
    let ids = other.bind_udp_all(&[addr(1), addr(2), addr(1)][..]).unwrap();
    assert_eq!(ids.len(), 2, "what a name says twice is one");
    let mut reactor = post_office(Echo, 1, Config::default());
    assert!(reactor.hub().send_datagram(ids[0].id, addr(9000), b"x"));
    assert!(!reactor.hub().send_datagram(ids[1].id, addr(9000), b"x"));
    reactor.turn().unwrap();
    assert_eq!(received(&mut reactor, 9000).len(), 1);
}

#[test]
fn of_several_addresses_all_are_bound_or_none() {
    let mut reactor = Reactor::with(Post::echo(), Bent::new(1), Config::default()).unwrap();
    // EADDRINUSE.
    reactor.net().failures.extend([("bind_udp", 0), ("bind_udp", 98)]);
    assert!(reactor.bind_udp_all(&[addr(1), addr(2)][..]).is_err());
    assert_eq!(reactor.net().sim.open_udp(), 0);
    assert!(!reactor.hub().send_datagram(first_id(), addr(9000), b"x"));
    // EAFNOSUPPORT: a family that this machine has not.
    reactor.net().failures.extend([("bind_udp", 97), ("bind_udp", 0)]);
    let bound = reactor.bind_udp_all(&[addr(1), addr(2)][..]).unwrap();
    assert_eq!((bound.len(), bound[0].addr), (1, addr(2)));
    // Of one that is enough, the first that can be.
    reactor.net().failures.extend([("bind_udp", 98), ("bind_udp", 0)]);
    assert_eq!(reactor.bind_udp(&[addr(3), addr(4), addr(5)][..]).unwrap().addr, addr(4));
    assert!(reactor.bind_udp(&[][..]).is_err());
}

// --- stopping ---

#[test]
fn a_stop_answers_what_the_kernel_holds_and_closes() {
    let mut reactor = post_office(Post::echo(), 1, Config::default());
    settle(&mut reactor);
    send_all(&mut reactor, 9000, &[&b"last words"[..]; 10]);
    reactor.hub().stop();
    let start = reactor.net().now();
    while !reactor.is_done() {
        reactor.turn().unwrap();
    }
    assert_eq!(received(&mut reactor, 9000).len(), 10);
    assert_eq!((reactor.net().open_udp(), reactor.net().now()), (0, start));
    assert!(!reactor.hub().send_datagram(first_id(), addr(9000), b"too late"));
    // Even what the kernel has not told of yet.
    let mut reactor = post_office(Post::echo(), 1, Config::default());
    reactor.net().faults.late = 1000;
    send_all(&mut reactor, 9000, &[b"last words"]);
    reactor.hub().stop();
    while !reactor.is_done() {
        reactor.turn().unwrap();
    }
    assert_eq!(received(&mut reactor, 9000).len(), 1);
}

#[test]
fn what_was_sent_in_the_last_turn_leaves_before_the_socket_is_closed() {
    for stops in [1, 2] {
        let mut reactor = post_office(Post::echo(), 1, Config::default());
        let (id, handle) = (first_id(), reactor.handle());
        let send = move |_: &mut Post, hub: &mut Hub| {
            assert!(hub.send_datagram(id, addr(9000), b"goodbye"));
            (0..stops).for_each(|_| hub.stop());
        };
        handle.run(send).unwrap();
        while !reactor.is_done() {
            reactor.turn().unwrap();
        }
        assert_eq!(received(&mut reactor, 9000), [b"goodbye"]);
    }
}

#[test]
fn a_stop_does_not_wait_for_a_flood_to_end() {
    let mut reactor =
        post_office(Post::echo(), 1, Config { datagrams_max: 3, ..Config::default() });
    settle(&mut reactor);
    reactor.hub().stop();
    let mut turns = 0;
    while !reactor.is_done() {
        send_all(&mut reactor, 9000, &[&b"and another"[..]; 10]);
        reactor.turn().unwrap();
        turns += 1;
    }
    assert!(turns <= 2, "{turns} turns");
    assert!((3..=6).contains(&received(&mut reactor, 9000).len()));
}

/// A stop that waits for a client, which takes nothing.
fn stopping() -> (Reactor<Post, Sim>, ClientId) {
    let patient = Config { write_stall: None, ..Config::default() };
    let mut reactor = post_office(Post::echo(), 1, patient);
    let client = reactor.net().client();
    reactor.net().set_window(client, 0);
    reactor.net().send(client, b"hello");
    settle(&mut reactor);
    reactor.hub().stop();
    (reactor, client)
}

#[test]
fn while_connections_end_their_datagrams_are_served() {
    let (mut reactor, client) = stopping();
    for n in 1..10 {
        send_all(&mut reactor, 9000, &[b"still there?"]);
        reactor.turn().unwrap();
        assert_eq!(reactor.protocol().seen.len(), n);
        assert!(!reactor.is_done());
    }
    reactor.net().set_window(client, 100);
    reactor.net().finish_client(client);
    settle(&mut reactor);
    assert!(reactor.is_done());
    assert_eq!((received(&mut reactor, 9000).len(), reactor.net().open_udp()), (9, 0));
}

#[test]
fn a_second_stop_closes_at_once_and_so_does_the_end_of_patience() {
    for at_once in [true, false] {
        let (mut reactor, _) = stopping();
        reactor.turn().unwrap();
        if at_once {
            reactor.hub().stop();
        }
        settle(&mut reactor);
        assert!(reactor.is_done() && reactor.net().open_udp() == 0);
        let waited = reactor.net().now() >= Config::default().grace;
        assert_eq!(waited, !at_once);
    }
}

// --- what is told of it ---

#[test]
fn the_recorder_has_each_with_the_time_it_took() {
    let clock = Arc::new(Mutex::new(None::<charkh::net::Clock>));
    let moved = clock.clone();
    let post = Post::doing(move |_| moved.lock().unwrap().as_ref().unwrap().advance(3 * MS));
    let config = Config { trace: 100, slow_turn: 2 * MS, ..Config::default() };
    let mut reactor = post_office(post, 1, config);
    *clock.lock().unwrap() = Some(reactor.net().clock());
    let client = reactor.net().client();
    settle(&mut reactor);
    reactor.net().send(client, b"and me?");
    send_all(&mut reactor, 9000, &[b"x", b"y"]);
    settle(&mut reactor);
    let stats = reactor.hub().stats();
    assert_eq!((stats.slow_turns, stats.longest_turn), (1, 6 * MS));
    let trace = reactor.hub().trace();
    let all: Vec<_> = trace.iter().filter(|record| record.what() == What::Datagram).collect();
    assert_eq!(all.iter().map(|r| r.value()).collect::<Vec<_>>(), [3_000_000; 2]);
    assert!(all.iter().all(|record| record.conn().is_none()));
    let delay = trace.delays().into_iter().find(|delay| delay.who == Who::Datagram);
    assert_eq!(delay.map(|delay| (delay.others, delay.sure)), Some((1, 6 * MS)));
    assert_eq!(Who::Datagram.to_string(), "datagram()");
    let mut text = Vec::new();
    trace.write_chrome(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let count = |what| text.matches(what).count();
    assert_eq!((count(r#""name":"datagram()""#), count(r#""for":"datagram()""#)), (2, 1));
}

// --- worlds ---

/// What is sent says how long it is and which it is.
fn payload(number: u8, size: usize) -> Vec<u8> {
    let mut bytes = vec![number; size];
    if let [first, second, ..] = &mut bytes[..] {
        [*first, *second] = (size as u16).to_le_bytes();
    }
    bytes
}

#[test]
fn in_any_world_a_datagram_is_whole_or_not_shown_and_all_that_arrive_are_received() {
    sim::worlds(500, |mut net| {
        let config = Config {
            datagrams_max: 1 + net.random(5) as u32,
            datagram_size: 60,
            replies_per_ip: None,
            ..Config::default()
        };
        let seed = net.seed();
        let mut reactor = Reactor::with(Post::echo(), net, config).unwrap();
        reactor.bind_udp(addr(PORT)).unwrap();
        let mut sent = BTreeMap::new();
        for number in 0..40 {
            let net = reactor.net();
            let (from, size) = (addr(9000 + net.random(4) as u16), net.random(70));
            net.send_datagram(from, 0, &payload(number, size));
            *sent.entry((from, payload(number, size))).or_insert(0) += 1;
            if reactor.net().random(3) == 0 {
                let _ = reactor.turn(); // a sleep without end, if all are lost
            }
        }
        while reactor.turn().is_ok() {}
        assert_eq!(reactor.net().datagrams_waiting(), 0, "forgotten");
        let mut seen = BTreeMap::new();
        for letter in &reactor.protocol().seen {
            assert!(letter.1.len() <= 60 && sent.contains_key(letter), "never sent: {letter:?}");
            *seen.entry(letter.clone()).or_insert(0) += 1;
        }
        // A datagram may come twice, and no more often.
        assert!(seen.iter().all(|(letter, times)| *times <= 2 * sent[letter]));
        for at in (9000..9004).map(addr) {
            while let Some((_, bytes)) = reactor.net().receive_datagram(at) {
                let left = seen.get_mut(&(at, bytes)).expect("an answer to nothing");
                assert!(*left > 0, "answered too often");
                *left -= 1;
            }
        }
        let stats = reactor.hub().stats();
        assert_eq!(
            stats.datagrams_in,
            stats.datagrams_out + stats.datagrams_unsent,
            "world {seed}"
        );
        reactor.hub().stop();
        while !reactor.is_done() {
            reactor.turn().unwrap();
        }
        assert_eq!(reactor.net().open_udp(), 0);
    });
}
