//! Floods, silence, ends: what a conversation may cost, and how long it may last.
use std::time::Duration;

use charkh::Config;

use crate::{
    common::run_for,
    example::config,
    world::{
        BINARY, CLOSE, FINAL, Heard, MORE, PING, PONG, TEXT, enter, frame, listen, listen_on,
        server, text, turn, world, world_with,
    },
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn case_124_a_flood_of_pings_that_nobody_reads() {
    let mut reactor = world(server());
    let client = enter(&mut reactor, "/echo");
    reactor.net().set_window(client, 1000);
    let pings = 50_000_u32;
    for n in 0..pings {
        let payload = [&n.to_be_bytes()[..], &[b'x'; 121]].concat();
        reactor.net().send(client, &frame(FINAL | PING, &payload));
    }
    let mut most = 0;
    for _ in 0..2000 {
        reactor.turn_within(Duration::ZERO).unwrap();
        reactor.hub().each(|peer| most = most.max(peer.unsent()));
    }
    // One read's pings are answered as they come, and then one for each read.
    assert!(most <= 2 * config().output_high, "{most} bytes wait");
    reactor.net().set_window(client, 1 << 20);
    let heard = listen_on(&mut reactor, client);
    assert!(heard.iter().all(|frame| frame.opcode == PONG));
    let number = |frame: &Heard| u32::from_be_bytes(*frame.payload.first_chunk().unwrap());
    assert!(heard.is_sorted_by_key(number));
    assert_eq!(heard.last().map(number), Some(pings - 1));
    assert!(heard.len() < 1000, "{} pongs", heard.len());
    println!("{} pongs to {pings} pings, {most} bytes at most", heard.len());
    // Whoever reads is answered every one.
    let four: Vec<Vec<u8>> = (0..4).map(|n| frame(FINAL | PING, &[n])).collect();
    reactor.net().send(client, &four.concat());
    let payloads: Vec<_> =
        listen(&mut reactor, client).into_iter().map(|heard| heard.payload).collect();
    assert_eq!(payloads, [[0], [1], [2], [3]]);
}

#[test]
fn an_echo_that_nobody_reads_stays_with_who_sends() {
    let mut reactor = world(server());
    let client = enter(&mut reactor, "/echo");
    reactor.net().set_window(client, 1000);
    let message = frame(FINAL | BINARY, &[7; 10_000]);
    (0..300).for_each(|_| reactor.net().send(client, &message));
    turn(&mut reactor);
    reactor.hub().each(|peer| assert!(peer.unsent() <= 3 * config().output_high));
    reactor.net().set_window(client, 1 << 20);
    assert_eq!(listen_on(&mut reactor, client).len(), 300);
}

#[test]
fn unfinished_messages_have_a_limit_together() {
    let mut server = server();
    server.unfinished_max = 25_000;
    let mut reactor = world(server);
    let clients: Vec<_> = (0..3).map(|_| enter(&mut reactor, "/echo")).collect();
    for &client in &clients[..2] {
        reactor.net().send(client, &frame(TEXT, &[b'x'; 10_000]));
        assert_eq!(listen(&mut reactor, client), []);
    }
    reactor.net().send(clients[2], &frame(TEXT, &[b'x'; 10_000]));
    let full = [Heard::close(1013, "too many unfinished messages")];
    assert_eq!(listen(&mut reactor, clients[2]), full);
    // What one gives up others may have.
    reactor.net().reset_client(clients[0]);
    turn(&mut reactor);
    let late = enter(&mut reactor, "/echo");
    reactor.net().send(late, &frame(TEXT, &[b'y'; 10_000]));
    assert_eq!(listen(&mut reactor, late), []);
    for (client, letter) in [(late, b'y'), (clients[1], b'x')] {
        reactor.net().send(client, &frame(FINAL | MORE, b"."));
        let payload = [&[letter; 10_000][..], b"."].concat();
        assert_eq!(listen(&mut reactor, client), [Heard { opcode: TEXT, payload }]);
    }
}

#[test]
fn who_is_silent_is_asked_and_then_gone() {
    let mut reactor = world(server());
    let (silent, alive) = (enter(&mut reactor, "/echo"), enter(&mut reactor, "/chat"));
    let ping = [Heard { opcode: PING, payload: vec![] }];
    run_for(&mut reactor, 26 * SECOND);
    assert_eq!(listen(&mut reactor, silent), ping);
    assert_eq!(listen(&mut reactor, alive), ping);
    reactor.net().send(alive, &frame(FINAL | PONG, b""));
    run_for(&mut reactor, 25 * SECOND);
    assert!(reactor.net().sees_reset(silent));
    assert_eq!(listen(&mut reactor, alive), ping);
    assert!(!reactor.net().sees_end(alive));
}

#[test]
fn a_handshake_that_takes_too_long() {
    let mut reactor = world(server());
    let client = reactor.net().client();
    reactor.net().send(client, b"GET /chat HTTP/1.1\r\nUpgr");
    run_for(&mut reactor, 11 * SECOND);
    assert!(reactor.net().receive(client).starts_with(b"HTTP/1.1 408 "));
}

/// Bytes do not move its deadline, nor do pings; a message that ends in time may be followed by
/// another that begins with the same bytes.
#[test]
fn a_message_that_takes_too_long() {
    let mut reactor = world(server());
    let (slow, steady) = (enter(&mut reactor, "/echo"), enter(&mut reactor, "/echo"));
    let end = [frame(FINAL | MORE, b""), frame(TEXT, b"")].concat();
    reactor.net().send(slow, &frame(TEXT, b""));
    reactor.net().send(steady, &frame(TEXT, b""));
    let mut heard = Vec::new();
    for _ in 0..20 {
        run_for(&mut reactor, 4 * SECOND);
        heard.extend(listen(&mut reactor, slow));
        reactor.net().send(slow, &[frame(MORE, b"x"), frame(FINAL | PONG, b"")].concat());
        reactor.net().send(steady, &end);
    }
    assert_eq!(heard.last(), Some(&Heard::close(1008, "a message took too long")));
    assert!(reactor.net().sees_end(slow) && !reactor.net().sees_end(steady));
}

#[test]
fn a_stop_is_told() {
    let mut reactor = world_with(server(), Config { grace: SECOND, ..config() });
    let clients = [enter(&mut reactor, "/echo"), enter(&mut reactor, "/chat")];
    let waiting = reactor.net().client();
    turn(&mut reactor);
    reactor.hub().stop();
    turn(&mut reactor);
    run_for(&mut reactor, SECOND / 2);
    for client in clients {
        assert_eq!(listen(&mut reactor, client), [Heard::close(1001, "the server stops")]);
        assert!(reactor.net().sees_end(client));
    }
    assert!(reactor.net().sees_end(waiting));
}

#[test]
fn an_end_without_a_close_frame_is_an_end() {
    let mut reactor = world(server());
    let client = enter(&mut reactor, "/echo");
    reactor.net().send(client, &[text("last"), frame(TEXT, b"never")].concat());
    reactor.net().finish_client(client);
    assert_eq!(listen(&mut reactor, client), [Heard::text("last")]);
    assert!(reactor.net().sees_end(client) && reactor.hub().is_empty());
}

#[test]
fn case_124_data_behind_the_close_is_thrown_away() {
    let mut reactor = world(server());
    let client = enter(&mut reactor, "/echo");
    reactor.net().send(client, &frame(FINAL | CLOSE, &1000_u16.to_be_bytes()));
    assert_eq!(listen(&mut reactor, client), [Heard::close(1000, "")]);
    assert!(reactor.net().sees_end(client), "our half is finished");
    (0..100).for_each(|_| reactor.net().send(client, &text("more and more")));
    assert_eq!(listen(&mut reactor, client), []);
    reactor.net().finish_client(client);
    turn(&mut reactor);
    assert!(reactor.hub().is_empty() && !reactor.net().sees_reset(client));
}
