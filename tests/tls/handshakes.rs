//! Handshakes that are slow, wrong, old, many, or with the wrong one.
use std::{cell::RefCell, rc::Rc, time::Duration};

use charkh::{Config, Reactor, net::Sim, tls};
use rustls::{AlertDescription, Error};

use super::{
    ca::{Authority, Identity},
    common::{Echo, MS, Script, on_data, run_for, swallow, world},
    peer::{
        BOTH, Scene, client_config, pump_whole, scene, scene_with, server_config, server_peer,
        turns,
    },
    raw::{self, Hello, Sealer},
};

fn plain_scene() -> Scene {
    scene(1, Script::default(), Config::default())
}

/// What comes back to these first bytes. Whatever it is, the protocol never heard of it.
fn answer_to(wire: &[u8]) -> Vec<u8> {
    let mut scene = plain_scene();
    let id = scene.reactor.net().client();
    scene.deliver(id, wire);
    assert_eq!(scene.diary.lines(), [""; 0]);
    scene.reactor.net().receive(id)
}

#[test]
fn case_089_plain_http_gets_an_alert_and_the_end() {
    for (request, heard) in [
        (&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], 7),
        (b"SSH-2.0-OpenSSH_9.6\r\n", 7),
        (&[0; 100], 7),
        (b"hello", 7),
        (b"h", 7),
        (&[raw::HANDSHAKE, 3, 3, 0], 0), // may yet become a record
    ] {
        let mut scene = plain_scene();
        let id = scene.reactor.net().client();
        scene.deliver(id, request);
        let answer = scene.reactor.net().receive(id);
        assert_eq!(answer.len(), heard);
        if heard > 0 {
            assert_eq!(raw::alert(&answer), Some(raw::DECODE_ERROR));
            assert!(scene.reactor.net().sees_end(id));
            // Whoever sends on does not lose it to a reset.
            scene.deliver(id, &[b'x'; 100_000]);
            assert!(!scene.reactor.net().sees_reset(id));
            scene.reactor.net().finish_client(id);
            scene.reactor.net().deliver_all();
            scene.turns();
        }
        assert_eq!(scene.reactor.hub().len(), usize::from(heard == 0));
        assert_eq!(scene.diary.lines(), [""; 0]);
        assert_eq!(scene.reactor.hub().stats().handshakes_failed, u64::from(heard > 0));
    }
}

/// Those who never stop are not waited for without end.
#[test]
fn case_046_after_an_alert_a_stranger_has_a_time_and_so_many_bytes() {
    for (wait, size) in [(6, 1), (0, 70 << 10)] {
        let config = Config { linger_bytes: 64 << 10, ..Config::default() };
        let mut scene = scene(1, Script::default(), config);
        let id = scene.reactor.net().client();
        scene.deliver(id, b"GET / HTTP/1.1\r\n");
        scene.deliver(id, &vec![b'x'; size]);
        scene.deliver(id, b"x");
        run_for(&mut scene.reactor, Duration::from_secs(wait));
        let stats = scene.reactor.hub().stats();
        assert_eq!((scene.reactor.hub().len(), stats.handshakes_failed), (0, 1), "{wait} {size}");
        let (time, bytes) = (stats.linger_expired, stats.linger_overflow);
        assert_eq!((time, bytes), (u64::from(wait > 0), u64::from(wait == 0)));
        assert_eq!(scene.diary.lines(), [""; 0]);
    }
}

#[test]
fn case_090_tls_to_a_protocol_in_the_clear_is_answered_as_it_answers() {
    let hello = Hello::default().wire();
    let mut reactor = world(Echo, 1, Config::default());
    let id = reactor.net().client();
    reactor.net().send(id, &hello);
    turns(&mut reactor);
    assert_eq!(reactor.net().receive(id), hello);

    // One that wants lines gives up on it.
    let script = on_data(|_, input| input.line(80).map(drop));
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let id = reactor.net().client();
    let long = Hello { name: Some(vec![b'x'; 200]), ..Hello::default() };
    reactor.net().send(id, &long.wire());
    turns(&mut reactor);
    assert_eq!(diary.lines().last().unwrap(), "fault: a frame of more than 80 bytes");
}

#[test]
fn case_090_our_client_says_that_what_answers_is_no_tls() {
    let client = client(&Authority::new("anybody"));
    let (mut reactor, diary) = outbound(&client, "localhost");
    let id = reactor.net().dialed().unwrap();
    assert_eq!(raw::records(&reactor.net().receive(id))[0].0, raw::HANDSHAKE);
    reactor.net().send(id, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    reactor.net().deliver_all();
    turns(&mut reactor);
    assert_eq!(diary.lines(), ["connect failed: fault: what came is not TLS"]);
    assert_eq!(raw::alert(&reactor.net().receive(id)), Some(raw::DECODE_ERROR));
}

#[test]
fn case_091_a_client_hello_at_a_byte_a_second_meets_the_deadline() {
    let hello = Hello::default().wire();
    for wire in [hello.clone(), raw::in_pieces(&hello, 1)] {
        let mut scene = plain_scene();
        let id = scene.reactor.net().client();
        let clock = scene.reactor.net().clock();
        for byte in wire {
            scene.deliver(id, &[byte]);
            if scene.reactor.hub().is_empty() {
                break;
            }
            clock.advance(Duration::from_secs(1));
        }
        let now = clock.now();
        assert!((10_000..11_001).contains(&now.as_millis()), "{now:?}");
        assert_eq!(scene.reactor.hub().stats().ended_by("handshake"), 1);
        assert_eq!(scene.diary.lines(), [""; 0]);
    }
}

#[test]
fn case_092_close_notify_after_client_hello_is_an_end() {
    for version in BOTH {
        for finishes in [false, true] {
            let mut scene = plain_scene();
            let mut peer = scene.client(version);
            let hello = peer.wire();
            let wire = [hello, raw::record(raw::ALERT, &raw::CLOSE_NOTIFY)].concat();
            scene.reactor.net().send(peer.id, &wire);
            if finishes {
                scene.reactor.net().finish_client(peer.id);
            }
            scene.reactor.net().deliver_all();
            scene.turns();
            let before = scene.reactor.hub().stats().turns;
            while scene.reactor.turn().is_ok() {} // until the deadline at the latest
            assert!(scene.reactor.hub().stats().turns < before + 50, "it spins");
            assert!(scene.reactor.hub().is_empty());
            assert_eq!(scene.diary.lines(), [""; 0]);
        }
    }
}

#[test]
fn case_094_few_handshakes_in_a_turn_and_those_who_are_there_are_served() {
    let config = Config { handshakes_max: 3, ..Config::default() };
    let mut scene = scene(1, Script::default(), config);
    let mut friend = scene.shaken(BOTH[0]);
    let mut others: Vec<_> = (0..50).map(|_| scene.client(BOTH[0])).collect();
    scene.turns();
    for other in &mut others {
        let hello = other.wire();
        scene.reactor.net().send(other.id, &hello);
    }
    friend.say(b"hello");
    let wire = friend.wire();
    scene.reactor.net().send(friend.id, &wire);
    scene.reactor.net().deliver_all();
    let answered = |scene: &mut Scene| {
        others
            .iter()
            .filter(|other| scene.reactor.net().moved(other.id).written_at.is_some())
            .count()
    };
    let mut done = 0;
    for turn in 1.. {
        scene.reactor.turn_within(Duration::ZERO).unwrap();
        let now = answered(&mut scene);
        assert!(now <= done + 3, "{now} after {done}");
        done = now;
        if turn == 1 {
            let answer = scene.reactor.net().receive(friend.id);
            friend.hear(&answer);
            assert_eq!(friend.heard, b"hello", "it was not served in the first turn");
        }
        if done == others.len() {
            assert!(turn >= 50 / 3);
            break;
        }
    }
    assert!(scene.reactor.hub().stats().handshake_budget >= 16);
}

#[test]
fn case_095_versions_and_suites_of_the_past_are_refused() {
    assert_eq!(raw::records(&answer_to(&Hello::default().wire()))[0].0, raw::HANDSHAKE);
    for version in [0x0300, 0x0301, 0x0302] {
        let answer = answer_to(&Hello { version, ..Hello::default() }.wire());
        assert_eq!(raw::alert(&answer), Some(raw::PROTOCOL_VERSION), "{version:x}");
    }
    // SSL 2.0, which has no records.
    let sslv2 = [&[0x80, 0x1c, 1, 0, 2, 0, 3, 0, 0, 0, 16, 7, 0, 0xc0][..], &[7; 16]].concat();
    assert_eq!(raw::alert(&answer_to(&sslv2)), Some(raw::DECODE_ERROR));
    // NULL, EXPORT, RC4, 3DES, CBC, static RSA, DHE, anonymous.
    for suite in [0x0002, 0x0003, 0x0005, 0x000a, 0xc009, 0xc013, 0x009c, 0x009e, 0x006c] {
        let answer = answer_to(&Hello { suites: vec![suite], ..Hello::default() }.wire());
        assert_eq!(raw::alert(&answer), Some(raw::HANDSHAKE_FAILURE), "{suite:x}");
    }
}

#[test]
fn case_096_no_compression() {
    let answer = answer_to(&Hello { compression: vec![1], ..Hello::default() }.wire());
    assert_eq!(raw::alert(&answer), Some(raw::ILLEGAL_PARAMETER));
    let answer = answer_to(&Hello { compression: vec![1, 0], ..Hello::default() }.wire());
    let (kind, server_hello) = &raw::records(&answer)[0];
    assert_eq!((*kind, server_hello[0]), (raw::HANDSHAKE, 2));
    let session = usize::from(server_hello[38]);
    assert_eq!(server_hello[39 + session + 2], 0, "it compresses");
}

#[test]
fn case_096_no_heartbeat() {
    let extensions = vec![(15, vec![1])];
    let answer = answer_to(&Hello { extensions, ..Hello::default() }.wire());
    let server_hello = &raw::records(&answer)[0].1;
    assert!(!server_hello.windows(5).any(|ext| ext == [0, 15, 0, 1, 1]), "it offers heartbeats");
    for version in BOTH {
        let mut scene = plain_scene();
        let peer = scene.shaken(version);
        let id = peer.id;
        let beat = Sealer::of(peer.conn).seal(24, &[1, 0x40, 0, 7]);
        scene.deliver(id, &beat);
        assert!(scene.end().starts_with("fault: "), "{}", scene.end());
    }
}

#[test]
fn case_096_no_renegotiation() {
    let mut scene = plain_scene();
    let peer = scene.shaken(BOTH[1]);
    let id = peer.id;
    let mut sealer = Sealer::of(peer.conn);
    let hello = Hello::default().message();
    let wire = sealer.seal(raw::HANDSHAKE, &hello);
    scene.deliver(id, &wire);
    let answer = raw::records(&scene.reactor.net().receive(id));
    assert_eq!(answer.iter().map(|record| record.0).collect::<Vec<_>>(), [raw::ALERT]); // no
    // It goes on as before. To ask again is too much.
    let data = sealer.seal(raw::DATA, b"hello");
    scene.deliver(id, &data);
    assert_eq!(raw::records(&scene.reactor.net().receive(id))[0].0, raw::DATA);
    let wire = sealer.seal(raw::HANDSHAKE, &hello);
    scene.deliver(id, &wire);
    assert!(scene.end().starts_with("fault: "), "{}", scene.end());
}

/// What a protocol is told of its peer.
type Told = Rc<RefCell<Vec<String>>>;

fn curious() -> (Script, Told) {
    let told = Told::default();
    let book = told.clone();
    let script = Script {
        open: Box::new(move |peer| {
            let tls = peer.layer::<tls::Tls>().unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            book.borrow_mut().push(format!(
                "{:?} {:?} {} {} {} {}",
                tls.server_name(),
                tls.alpn().map(text),
                tls.version().unwrap(),
                tls.cipher_suite().unwrap(),
                tls.peer_certificates().count(),
                tls.was_resumed(),
            ));
            Ok(())
        }),
        ..Script::default()
    };
    (script, told)
}

#[test]
fn case_101_whatever_name_is_asked_for_the_protocol_is_told() {
    for name in ["localhost", "elsewhere.example", "10.1.2.3"] {
        let (script, told) = curious();
        let mut scene = scene_with(1, script, Config::default(), |server, ca| {
            *server = server_config(&ca.sign(&["localhost", "elsewhere.example", "10.1.2.3"]));
        });
        let config = client_config(&scene.ca, BOTH[0], None);
        let mut peer = scene.client_for(config.into(), name);
        scene.pump(&mut peer);
        assert_eq!(peer.error, None);
        let told = told.borrow();
        let name = (name != "10.1.2.3").then_some(name); // addresses are no names
        assert!(told[0].starts_with(&format!("{name:?} None TLS 1.3 TLS_AES_")), "{told:?}");
    }
}

#[test]
fn case_101_an_unknown_name_is_shown_the_one_certificate() {
    let mut scene = plain_scene();
    let config = client_config(&scene.ca, BOTH[0], None);
    let mut peer = scene.client_for(config.into(), "unknown.example");
    scene.pump(&mut peer);
    let error = peer.error.unwrap().to_string();
    assert!(error.contains("not valid for name"), "{error}");
    assert_eq!(scene.diary.lines(), [""; 0]);
    assert!(scene.reactor.hub().is_empty());
}

#[test]
fn case_101_names_that_are_none() {
    let too_long = vec![b'a'; 300];
    for name in [&too_long[..], b"", b"a\0b", b"10.1.2.3", "گربه".as_bytes()] {
        let answer = answer_to(&Hello { name: Some(name.to_vec()), ..Hello::default() }.wire());
        let records = raw::records(&answer);
        let refused = [raw::DECODE_ERROR, raw::ILLEGAL_PARAMETER].map(|alert| vec![2, alert]);
        let answered = records[0].0 == raw::HANDSHAKE || refused.contains(&records[0].1);
        assert!(answered, "{name:?}: {records:?}");
    }
}

#[test]
fn case_101_protocols_are_agreed_on_or_there_is_no_handshake() {
    let alpn = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
    for (ours, theirs, agreed) in [
        (&["h2", "http/1.1"][..], &["http/1.1", "h2"][..], Ok("Some(\"h2\")")),
        (&["http/1.1"], &["h2", "http/1.1"], Ok("Some(\"http/1.1\")")),
        (&["http/1.1"], &[], Ok("None")),
        (&[], &["h2"], Ok("None")),
        (&["http/1.1"], &["h2"], Err(AlertDescription::NoApplicationProtocol)),
    ] {
        for version in BOTH {
            let (script, told) = curious();
            let change = |server: &mut tls::ServerConfig, _: &Authority| server.alpn = alpn(ours);
            let mut scene = scene_with(1, script, Config::default(), change);
            let mut config = client_config(&scene.ca, version, None);
            config.alpn_protocols = alpn(theirs);
            let mut peer = scene.client_with(config);
            scene.pump(&mut peer);
            match agreed {
                Ok(agreed) => assert!(told.borrow()[0].contains(&format!(" {agreed} TLS 1"))),
                Err(alert) => assert_eq!(peer.error, Some(Error::AlertReceived(alert))),
            }
            assert_eq!(told.borrow().is_empty(), agreed.is_err());
        }
    }
}

#[test]
fn case_102_a_reload_is_for_those_who_come_after_it() {
    let mut scene = plain_scene();
    let before = scene.server.fingerprint();
    let (mut early, mut late) = (scene.client(BOTH[0]), scene.client(BOTH[0]));
    let wire = early.wire();
    scene.deliver(early.id, &wire[..50]);
    let mut there = scene.shaken(BOTH[0]);

    let broken = tls::ServerConfig::default();
    assert!(scene.server.reload(&broken).is_err());
    assert_eq!(scene.server.fingerprint(), before);
    let renewed = server_config(&scene.ca.sign(&["localhost"]));
    scene.server.reload(&renewed).unwrap();
    let after = scene.server.fingerprint();
    assert_ne!(after, before);

    scene.deliver(early.id, &wire[50..]);
    for (peer, shown) in [(&mut early, before), (&mut there, before), (&mut late, before)] {
        peer.say(b"hello");
        scene.pump(peer);
        assert_eq!(peer.heard, b"hello");
        assert_eq!(tls::fingerprint(&peer.conn.peer_certificates().unwrap()[0]), shown);
    }
    let latest = scene.shaken(BOTH[0]);
    assert_eq!(tls::fingerprint(&latest.conn.peer_certificates().unwrap()[0]), after);
}

#[test]
fn sessions_are_taken_up_again_but_not_after_a_reload() {
    for version in BOTH {
        let (script, told) = curious();
        let mut scene = scene(1, script, Config::default());
        let config = std::sync::Arc::new(client_config(&scene.ca, version, None));
        let visit = |scene: &mut Scene| {
            let mut peer = scene.client_for(config.clone(), "localhost");
            peer.say(b"hello");
            scene.pump(&mut peer);
            assert_eq!(peer.heard, b"hello");
            told.borrow().last().unwrap().ends_with("true")
        };
        assert_eq!([0; 3].map(|_| visit(&mut scene)), [false, true, true], "{version:?}");
        let renewed = server_config(&scene.ca.sign(&["localhost"]));
        scene.server.reload(&renewed).unwrap();
        assert_eq!([0; 2].map(|_| visit(&mut scene)), [false, true], "{version:?}");
    }
}

fn mutual(script: Script, clients: &Authority) -> Scene {
    scene_with(1, script, Config::default(), |server, _| server.client_ca = Some(clients.pem()))
}

/// What a client with this certificate is told, if it is refused.
fn shown(clients: &Authority, identity: Option<&Identity>, version: usize) -> Option<Error> {
    let (script, told) = curious();
    let mut scene = mutual(script, clients);
    let config = client_config(&scene.ca, BOTH[version], identity);
    let mut peer = scene.client_with(config);
    peer.say(b"hello");
    // An alert may be overtaken by the reset that unread bytes bring.
    pump_whole(&mut scene.reactor, &mut peer);
    let stats = scene.reactor.hub().stats();
    match &peer.error {
        None => {
            assert_eq!(peer.heard, b"hello");
            assert!(told.borrow()[0].ends_with(" 1 false"), "{told:?}");
        }
        Some(_) => assert_eq!((told.borrow().len(), stats.handshakes_failed), (0, 1)),
    }
    peer.error
}

#[test]
fn case_103_clients_with_the_wrong_certificate_or_none() {
    let clients = Authority::new("clients");
    let alert = |alert| Some(Error::AlertReceived(alert));
    for version in [0, 1] {
        let shown = |identity| shown(&clients, identity, version);
        let good = clients.sign(&["somebody"]);
        assert_eq!(shown(Some(&good)), None);
        assert_eq!(shown(None), alert(AlertDescription::CertificateRequired));
        let expired = clients.sign_expired(&["somebody"]);
        assert_eq!(shown(Some(&expired)), alert(AlertDescription::CertificateExpired));
        let stranger = Authority::new("others").sign(&["somebody"]);
        assert_eq!(shown(Some(&stranger)), alert(AlertDescription::UnknownCA));
    }
}

#[test]
fn case_103_a_long_chain_is_read_and_a_huge_one_is_not() {
    let clients = Authority::new("clients");
    for (version, count, lasts) in [(0, 60, true), (1, 60, true), (0, 300, false), (1, 300, false)]
    {
        let mut identity = clients.sign(&["somebody"]);
        let more = identity.cert.clone();
        (1..count).for_each(|_| identity.cert.extend(&more));
        let (script, told) = curious();
        let mut scene = mutual(script, &clients);
        let config = client_config(&scene.ca, BOTH[version], Some(&identity));
        let mut peer = scene.client_with(config);
        let mut most = 0;
        for _ in 0..3 {
            for piece in peer.wire().chunks(1000) {
                scene.deliver(peer.id, piece);
                most = most.max(scene.reactor.hub().stats().memory);
            }
            let answer = scene.reactor.net().receive(peer.id);
            peer.hear(&answer);
        }
        assert!(most > 15_000 && most <= tls::CHAIN_MAX, "{most}");
        assert_eq!(told.borrow().len(), usize::from(lasts), "{count}: {:?}", peer.error);
        assert_eq!(scene.reactor.hub().stats().memory, 0);
    }
}

#[test]
fn case_093_without_certificates_to_come_no_handshake_is_long() {
    let mut scene = plain_scene();
    let id = scene.reactor.net().client();
    // A ClientHello of 60 000 bytes is promised, and comes.
    let message = raw::handshake(1, &vec![0; 60_000]);
    let wire = raw::in_pieces(&raw::record(raw::HANDSHAKE, &message[..16_000]), 16_000);
    scene.deliver(id, &wire);
    assert!(scene.reactor.hub().stats().memory >= 16_000);
    scene.deliver(id, &raw::record(raw::HANDSHAKE, &message[16_000..20_000]));
    assert!(scene.reactor.hub().is_empty());
    assert_eq!(scene.reactor.hub().stats().memory, 0);
}

fn client(ca: &Authority) -> tls::Client {
    tls::Client::new(&tls::ClientConfig::new(tls::Trust::Ca(ca.pem()))).unwrap()
}

/// Our client, which has said its first words.
fn outbound(client: &tls::Client, name: &str) -> (Reactor<Script, Sim>, super::common::Diary) {
    let script = on_data(swallow);
    let diary = script.diary.clone();
    let mut reactor = world(script, 1, Config::default());
    let layer = client.layer(name).unwrap();
    reactor.hub().connect_through(([10, 0, 0, 1], 443), layer);
    turns(&mut reactor);
    (reactor, diary)
}

#[test]
fn our_client_believes_whom_it_should() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let accept_anyone = tls::ClientConfig::new(tls::Trust::AcceptAnyone);
    let accept_anyone = tls::Client::new(&accept_anyone).unwrap();
    let good = ours.sign(&["localhost", "10.0.0.1"]);
    for (client, name, identity, says) in [
        (client(&ours), "localhost", &good, "open"),
        (client(&ours), "10.0.0.1", &good, "open"),
        (client(&ours), "example.org", &good, "is not for example.org, but for localhost"),
        (client(&others), "localhost", &good, "signed by nobody who is trusted"),
        (client(&ours), "localhost", &ours.sign_expired(&["localhost"]), "expired"),
        (accept_anyone.clone(), "example.org", &others.sign_expired(&["localhost"]), "open"),
    ] {
        for version in BOTH {
            let (mut reactor, diary) = outbound(&client, name);
            let id = reactor.net().dialed().unwrap();
            let mut peer = server_peer(id, identity, version, |_| ());
            let hello = reactor.net().receive(id);
            peer.hear(&hello);
            super::peer::pump(&mut reactor, &mut peer);
            let line = diary.lines().remove(0);
            assert!(line.contains(says), "{line}, not {says}");
            assert_eq!(peer.error.is_none(), says == "open", "{:?}", peer.error);
        }
    }
}

#[test]
fn nobody_waits_for_a_handshake_for_ever() {
    let (mut reactor, diary) = outbound(&client(&Authority::new("anybody")), "localhost");
    let start = reactor.net().clock().now();
    while !reactor.hub().is_empty() {
        reactor.turn().unwrap();
    }
    let took = reactor.net().clock().now() - start;
    assert!(took <= Duration::from_secs(10) + 2 * MS, "{took:?}");
    assert_eq!(diary.lines(), ["connect failed: handshake"]);
}
