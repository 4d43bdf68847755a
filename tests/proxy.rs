//! The PROXY protocol in the simulated world: headers cut anywhere, wrong ones, those of strangers.
#![allow(clippy::field_reassign_with_default)] // a script is the usual one, but for a line

mod common;

use std::{net::SocketAddr, time::Duration};

use charkh::{
    Addr, Config, Layer, Peer, Reactor, Result,
    net::{
        ClientId, Sim,
        sim::{self, Faults},
    },
    proxy::{AcceptProxy, SendProxy, TrustedProxies, Version},
};
use common::{Diary, MS, Script, read_all, settle};

type World = Reactor<Script, Sim>;

const BALANCER: &str = "10.0.0.1:4000";
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 80);
const CLIENT: &str = "203.0.113.7:51000";
const CLIENT_V6: &str = "[2001:db8::7]:51000";

/// An echo server behind balancers of 10.0.0.0/8, that notes who each client is.
fn behind(net: Sim, config: Config) -> (World, Diary) {
    let mut script = Script::default();
    let diary = script.diary.clone();
    let notes = diary.clone();
    script.open = Box::new(move |peer| {
        notes.note(peer.addr().to_string());
        Ok(())
    });
    let mut reactor = Reactor::with(script, net, config).unwrap();
    let listening = reactor.listen("10.0.0.9:1").unwrap();
    let trusted: TrustedProxies = "10.0.0.0/8".parse().unwrap();
    reactor.layer(listening.id, move |addr| Ok(Box::new(trusted.accept(addr)?)));
    (reactor, diary)
}

fn from(reactor: &mut World, addr: &str) -> ClientId {
    reactor.net().client_from(addr.parse::<SocketAddr>().unwrap(), 0)
}

fn header(version: Version, client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    SendProxy::new(version, client, ([192, 0, 2, 1], 443)).header().to_vec()
}

/// With a field that says nothing to us.
fn header_with_fields() -> Vec<u8> {
    let mut header = [&header(Version::V2, CLIENT)[..], b"\x05\0\x02id\xea\0\x01x"].concat();
    header[15] += 9;
    header
}

/// What has been sent arrives, and is served. No time passes.
fn pass(reactor: &mut World) {
    for _ in 0..4 {
        reactor.net().deliver_all();
        reactor.turn_within(Duration::ZERO).unwrap();
    }
}

#[test]
fn case_117_a_header_may_be_cut_at_each_byte() {
    let nobody = SendProxy::local(Version::V2).header().to_vec();
    for (header, client) in [
        (header(Version::V1, CLIENT), CLIENT),
        (header(Version::V1, CLIENT_V6), CLIENT_V6),
        (header(Version::V2, CLIENT), CLIENT),
        (header(Version::V2, CLIENT_V6), CLIENT_V6),
        (header_with_fields(), CLIENT),
        (nobody, BALANCER),
        (SendProxy::local(Version::V1).header().to_vec(), BALANCER),
    ] {
        let stream = [&header[..], b"Hello"].concat();
        for cut in 0..=stream.len() {
            let (mut reactor, diary) = behind(Sim::new(cut as u64), Config::default());
            let balancer = from(&mut reactor, BALANCER);
            pass(&mut reactor);
            reactor.net().send(balancer, &stream[..cut]);
            pass(&mut reactor);
            let whole = cut >= header.len();
            assert_eq!(diary.count("open"), usize::from(whole), "{cut}");
            // What lies behind the header is nobody's before it is whole.
            let said = reactor.net().receive(balancer);
            assert_eq!(said, stream[header.len().min(cut)..cut]);
            reactor.net().send(balancer, &stream[cut..]);
            reactor.net().finish_client(balancer);
            let said = [said, read_all(&mut reactor, balancer)].concat();
            assert_eq!(said, b"Hello", "{cut}");
            assert_eq!(diary.lines()[..2], ["open", client], "{cut}");
            assert_eq!(diary.lines().last().unwrap(), "closed");
        }
    }
}

/// Pieces, faults and late edges as they come; only what loses bytes is left out.
#[test]
fn case_117_a_header_in_any_world_names_its_client() {
    sim::worlds(300, |mut net| {
        net.faults = Faults { jump: 0, slow: 0, ..Faults::harmless(60) };
        let version = [Version::V1, Version::V2][net.random(2)];
        let client = [CLIENT, CLIENT_V6][net.random(2)];
        let (mut reactor, diary) = behind(net, Config::default());
        let balancer = from(&mut reactor, BALANCER);
        let data = common::pattern(3000, 1);
        reactor.net().send(balancer, &[&header(version, client)[..], &data].concat());
        reactor.net().finish_client(balancer);
        assert!(read_all(&mut reactor, balancer) == data);
        assert_eq!(diary.lines()[..2], ["open", client]);
        assert_eq!(reactor.hub().stats().handshakes_failed, 0);
    });
}

#[test]
fn case_117_a_header_and_then_the_end() {
    for version in [Version::V1, Version::V2] {
        let header = header(version, CLIENT);
        for size in 0..=header.len() {
            let (mut reactor, diary) = behind(Sim::new(1), Config::default());
            let balancer = from(&mut reactor, BALANCER);
            reactor.net().send(balancer, &header[..size]);
            reactor.net().finish_client(balancer);
            settle(&mut reactor);
            let whole = size == header.len();
            let lines: &[&str] =
                if whole { &["open", CLIENT, "eof with 0", "closed"] } else { &[] };
            assert_eq!(diary.lines(), lines, "{size}");
            let stats = reactor.hub().stats();
            assert_eq!(stats.handshakes_failed, u64::from(!whole));
            assert_eq!((stats.released, stats.memory), (1, 0));
        }
    }
}

/// All of it is closed at the byte that shows it, and nothing behind that is heard.
#[test]
fn case_117_a_wrong_header_ends_the_connection() {
    let v2 = header(Version::V2, CLIENT);
    let changed = |at: usize, to: u8| {
        let mut header = v2.clone();
        header[at] = to;
        header
    };
    let mut bad_sum = [&v2[..], &[3, 0, 4, 0, 0, 0, 0]].concat();
    bad_sum[15] += 7;
    for wrong in [
        [&b"PROXY UNKNOWN "[..], &[b'x'; 93]].concat(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 443 \r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 +51000 443\r\n".to_vec(),
        changed(11, b'\r'),
        changed(12, 0x31)[..16].to_vec(),
        changed(12, 0x22)[..16].to_vec(),
        changed(13, 0x41),
        [&changed(14, 0xff)[..15], b"\xff"].concat(),
        changed(15, 11)[..27].to_vec(),
        [&changed(15, 14)[..], b"\x05\0"].concat(),
        bad_sum,
    ] {
        let (mut reactor, diary) = behind(Sim::new(1), Config::default());
        let balancer = from(&mut reactor, BALANCER);
        let last = wrong.len() - 1;
        if !wrong.starts_with(b"\r\n\r\n\0\r\nQUIT\r") {
            reactor.net().send(balancer, &wrong[..last]);
            pass(&mut reactor);
            assert_eq!(reactor.hub().len(), 1, "{wrong:?}");
            reactor.net().send(balancer, &wrong[last..]);
        } else {
            reactor.net().send(balancer, &wrong);
        }
        reactor.net().send(balancer, b"Hello");
        pass(&mut reactor);
        assert!(reactor.hub().is_empty() && diary.lines().is_empty(), "{wrong:?}");
        assert_eq!(reactor.net().receive(balancer), b"");
        let stats = reactor.hub().stats();
        assert_eq!((stats.handshakes_failed, stats.ended_by("fault")), (1, 1));
    }
}

#[test]
fn case_116_a_strangers_header_is_not_even_read() {
    for version in [Version::V1, Version::V2] {
        for stranger in [CLIENT, CLIENT_V6, "11.0.0.1:7", "[::10.0.0.1]:7"] {
            let (mut reactor, diary) = behind(Sim::new(1), Config::default());
            let spoofer = from(&mut reactor, stranger);
            reactor.net().send(spoofer, &header(version, "127.0.0.1:7"));
            reactor.net().send(spoofer, b"Hello");
            settle(&mut reactor);
            assert!(diary.lines().is_empty() && reactor.net().receive(spoofer).is_empty());
            let stats = reactor.hub().stats();
            assert_eq!((stats.refused_by_layer, stats.accepted, stats.bytes_in), (1, 0, 0));
        }
    }
    // Who is trusted and comes by IPv6 with an IPv4 address is trusted.
    let (mut reactor, diary) = behind(Sim::new(1), Config::default());
    let balancer = from(&mut reactor, "[::ffff:10.0.0.1]:4000");
    reactor.net().send(balancer, &header(Version::V2, CLIENT));
    settle(&mut reactor);
    assert_eq!(diary.lines()[..2], ["open", CLIENT]);
}

#[test]
fn case_116_a_balancer_that_says_nothing_of_its_client_is_closed() {
    for first in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"Hello", b"\x16\x03\x01\x02\0", b"\r\n\r\nx"] {
        let (mut reactor, diary) = behind(Sim::new(1), Config::default());
        let balancer = from(&mut reactor, BALANCER);
        reactor.net().send(balancer, first);
        pass(&mut reactor);
        assert!(reactor.hub().is_empty() && diary.lines().is_empty());
        assert_eq!(reactor.hub().stats().ended_by("fault"), 1);
    }
}

/// However much of it comes meanwhile.
#[test]
fn case_117_a_header_has_ten_seconds() {
    let header = header(Version::V1, CLIENT);
    let (mut reactor, diary) = behind(Sim::new(1), Config::default());
    let (slow, silent) = (from(&mut reactor, BALANCER), from(&mut reactor, BALANCER));
    let clock = reactor.net().clock();
    let begun = clock.now();
    pass(&mut reactor);
    for (n, byte) in header.iter().take(12).enumerate() {
        reactor.net().send(slow, &[*byte]);
        pass(&mut reactor);
        let left = if n < 10 { 2 } else { 0 };
        assert_eq!(reactor.hub().len(), left, "after {:?}", clock.now() - begun);
        clock.advance(1001 * MS);
    }
    assert!(diary.lines().is_empty() && reactor.net().sees_end(silent));
    assert_eq!(reactor.hub().stats().ended_by("handshake"), 2);
}

#[test]
fn case_116_limits_count_the_true_client() {
    let config = Config { conns_per_ip: Some(1), ..Config::default() };
    let (mut reactor, diary) = behind(Sim::new(1), config);
    let begin = |reactor: &mut World, header: &[u8]| {
        let balancer = from(reactor, BALANCER);
        reactor.net().send(balancer, header);
        reactor.net().send(balancer, b"Hello");
        pass(reactor);
        (balancer, reactor.net().receive(balancer) == b"Hello")
    };
    // Each of these once, all through one balancer; and a network of IPv6 is one client's.
    let first = begin(&mut reactor, &header(Version::V1, CLIENT)).0;
    for client in ["203.0.113.8:1", CLIENT_V6, "[2001:db8:0:1::7]:1"] {
        assert!(begin(&mut reactor, &header(Version::V2, client)).1, "{client}");
    }
    for (n, client) in ["203.0.113.7:2", "[2001:db8::8]:1", "203.0.113.8:2"].iter().enumerate() {
        assert!(!begin(&mut reactor, &header(Version::V2, client)).1, "{client}");
        assert_eq!(reactor.hub().stats().refused_per_ip, n as u64 + 1);
    }
    assert_eq!((reactor.hub().len(), diary.count("open")), (4, 4));
    // The balancer itself is nobody's client.
    for _ in 0..3 {
        assert!(begin(&mut reactor, SendProxy::local(Version::V2).header()).1);
        assert!(begin(&mut reactor, b"PROXY UNKNOWN\r\n").1);
    }
    // When one goes, there is room for another.
    reactor.net().finish_client(first);
    pass(&mut reactor);
    assert!(begin(&mut reactor, &header(Version::V1, "203.0.113.7:3")).1);
    assert!(!begin(&mut reactor, &header(Version::V1, "203.0.113.7:4")).1);
}

#[test]
fn a_longer_header_is_taken_where_that_was_said() {
    let mut header =
        [&header(Version::V2, CLIENT)[..], &[0xea, 0x13, 0x85], &[b'x'; 4997]].concat();
    header[14..16].copy_from_slice(&5012_u16.to_be_bytes());
    for (max, opened) in [(5027, 0), (5028, 1)] {
        let script = Script::default();
        let diary = script.diary.clone();
        let mut reactor = Reactor::with(script, Sim::new(1), Config::default()).unwrap();
        let listening = reactor.listen("127.0.0.1:1").unwrap();
        reactor.layer(listening.id, move |_| Ok(Box::new(AcceptProxy::new().header_max(max))));
        let client = reactor.net().client();
        reactor.net().send(client, &header);
        settle(&mut reactor);
        assert_eq!(diary.count("open"), opened);
    }
}

/// Hides nothing from anybody, but says first what it is.
struct Xor;

impl Layer for Xor {
    fn start(&mut self, wire: &mut Vec<u8>) -> Result {
        wire.extend(b"xor\n");
        Ok(())
    }
    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, _: &mut Vec<u8>) -> Result {
        plain.extend(wire.iter().map(|byte| byte ^ 32));
        Ok(())
    }
    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
        wire.extend(plain.iter().map(|byte| byte ^ 32));
        Ok(())
    }
}

#[test]
fn another_layer_reads_all_that_comes_after_the_header() {
    let stream = [&header(Version::V2, CLIENT)[..], b"hELLO"].concat();
    for cut in 0..=stream.len() {
        let mut script = Script::default();
        script.data = Box::new(|peer, input| {
            assert_eq!(peer.addr(), CLIENT.parse::<SocketAddr>()?);
            peer.send(&input.take_all().repeat(2));
            Ok(())
        });
        let mut reactor = Reactor::with(script, Sim::new(1), Config::default()).unwrap();
        let listening = reactor.listen("127.0.0.1:1").unwrap();
        reactor.layer(listening.id, |_| Ok(Box::new(AcceptProxy::new().then(Box::new(Xor)))));
        let client = reactor.net().client();
        reactor.net().send(client, &stream[..cut]);
        pass(&mut reactor);
        let said = reactor.net().receive(client);
        // Not a word before the other side has named its client.
        assert_eq!(said.starts_with(b"xor\n"), cut >= stream.len() - 5, "{cut}");
        reactor.net().send(client, &stream[cut..]);
        let mut said = [said, read_all(&mut reactor, client)].concat();
        said.retain(|byte| byte.is_ascii_alphabetic());
        assert_eq!(said.len(), 13, "{cut}: {said:?}");
    }
}

/// Asks for a connection to a server behind, and says something at once.
fn dials(through: impl Fn(Addr) -> SendProxy + 'static) -> (World, Diary) {
    let mut script = Script::default();
    script.data = Box::new(move |peer: &mut Peer, input| {
        let bytes = input.take_all().to_vec();
        if peer.listener().is_some() {
            let layer = through(peer.addr());
            let id = peer.hub().connect_through(SERVER, Box::new(layer));
            peer.to(id).ok_or("it is gone")?.send(&bytes);
        } else {
            assert_eq!(peer.addr(), Addr::from(SERVER), "who is dialed is who it is");
            peer.send(&[b"heard ", &bytes[..]].concat());
        }
        Ok(())
    });
    let diary = script.diary.clone();
    (common::world(script, 1, Config::default()), diary)
}

#[test]
fn what_is_sent_on_begins_with_a_header() {
    for version in [Version::V1, Version::V2] {
        let to = ([192, 0, 2, 1], 443);
        let (mut reactor, diary) = dials(move |client| SendProxy::new(version, client, to));
        let client = from(&mut reactor, CLIENT);
        reactor.net().send(client, b"Hello");
        for _ in 0..20 {
            pass(&mut reactor);
        }
        let server = reactor.net().dialed().unwrap();
        let expected = [&header(version, CLIENT)[..], b"Hello"].concat();
        assert_eq!(reactor.net().receive(server), expected);
        reactor.net().send(server, b"you");
        assert_eq!(read_all(&mut reactor, server), b"heard you");
        assert_eq!(diary.count("open"), 2);
    }
}

#[test]
fn what_is_sent_on_through_another_layer_begins_with_a_header_too() {
    let nobody = || SendProxy::local(Version::V2).then(Box::new(Xor));
    let (mut reactor, _) = dials(move |_| nobody());
    let client = from(&mut reactor, CLIENT);
    reactor.net().send(client, b"Hello");
    for _ in 0..20 {
        pass(&mut reactor);
    }
    let server = reactor.net().dialed().unwrap();
    let expected = [SendProxy::local(Version::V2).header(), b"xor\nhELLO"].concat();
    assert_eq!(reactor.net().receive(server), expected);
    reactor.net().send(server, b"YOU");
    assert_eq!(read_all(&mut reactor, server), b"HEARD\0YOU");
}
