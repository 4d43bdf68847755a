//! The room: who hears what of whom, and who is cut off.
use charkh::net::sim::ClientId;

use crate::world::{FINAL, Heard, TEXT, World, enter, frame, listen, server, text, turn, world};

fn say(reactor: &mut World, client: ClientId, words: &str) {
    reactor.net().send(client, &text(words));
    turn(reactor);
}

fn hears(reactor: &mut World, client: ClientId) -> Vec<String> {
    listen(reactor, client).iter().map(|heard| heard.words().to_string()).collect()
}

#[test]
fn everybody_hears_everybody() {
    let mut reactor = world(server());
    let ada = enter(&mut reactor, "/chat");
    let zahra = reactor.net().client();
    reactor.net().send(zahra, crate::world::request("/chat").as_bytes());
    turn(&mut reactor);
    let (_, first) = crate::world::split(&reactor.net().receive(zahra));
    let first = crate::world::frames(&first);
    assert_eq!(first, ["you guest-2", "here\nguest-1\nguest-2"].map(Heard::text));
    assert_eq!(hears(&mut reactor, ada), ["joined guest-2"]);
    say(&mut reactor, zahra, "name زهرا");
    assert_eq!(hears(&mut reactor, ada), ["renamed guest-2\nزهرا"]);
    assert_eq!(hears(&mut reactor, zahra), ["you زهرا", "renamed guest-2\nزهرا"]);
    say(&mut reactor, zahra, "say سلام <b>\n\x1b[31m ");
    for client in [ada, zahra] {
        assert_eq!(hears(&mut reactor, client), ["said زهرا\nسلام <b>\n\u{fffd}[31m"]);
    }
    reactor.net().finish_client(zahra);
    assert_eq!(hears(&mut reactor, ada), ["left زهرا"]);
    // The name is free again.
    say(&mut reactor, ada, "name زهرا");
    assert_eq!(hears(&mut reactor, ada), ["you زهرا", "renamed guest-1\nزهرا"]);
}

#[test]
fn names_that_are_none_or_taken() {
    let mut reactor = world(server());
    let (one, two) = (enter(&mut reactor, "/chat"), enter(&mut reactor, "/chat"));
    hears(&mut reactor, one);
    reactor.protocol().room.per_second = 1000;
    let long = "n".repeat(41);
    for (name, answer) in [
        ("guest-1", "no free-name"),
        ("", "no name"),
        (" ", "no name"),
        ("a\nb", "no name"),
        ("\u{202e}evil", "no name"),
        ("-x", "no name"),
        ("<b>", "no name"),
        (&long, "no name"),
    ] {
        let two = if answer == "no name" { two } else { enter(&mut reactor, "/chat") };
        say(&mut reactor, two, &format!("name {name}"));
        assert_eq!(hears(&mut reactor, two).last().map(String::as_str), Some(answer), "{name:?}");
    }
    let late = enter(&mut reactor, "/chat");
    say(&mut reactor, late, "name علی‌رضا");
    assert_eq!(hears(&mut reactor, late)[0], "you علی‌رضا");
    for nonsense in ["", "say", "say ", "say \n ", "sing la", "said guest-1\nfalse"] {
        say(&mut reactor, late, nonsense);
        assert_eq!(hears(&mut reactor, late), ["no such-thing"], "{nonsense:?}");
    }
    reactor.net().send(late, &frame(FINAL | 2, b"say bytes"));
    assert_eq!(hears(&mut reactor, late), ["no such-thing"]);
}

#[test]
fn who_talks_too_fast_or_too_long_is_not_passed_on() {
    let mut reactor = world(server());
    let (one, two) = (enter(&mut reactor, "/chat"), enter(&mut reactor, "/chat"));
    hears(&mut reactor, one);
    (0..15).for_each(|_| say(&mut reactor, two, "say x"));
    assert_eq!(hears(&mut reactor, one).len(), 10);
    assert_eq!(hears(&mut reactor, two)[10..], ["no too-fast"; 5]);
    reactor.net().send(two, &text(&format!("say {}", "x".repeat(4096))));
    let end = [Heard::close(1009, "a message that is too long")];
    assert_eq!(listen(&mut reactor, two), end);
    assert_eq!(hears(&mut reactor, one), ["left guest-2"]);
    let three = enter(&mut reactor, "/chat");
    (0..17).for_each(|n| reactor.net().send(three, &frame(u8::from(n == 0) * TEXT, b"")));
    assert_eq!(listen(&mut reactor, three), [Heard::close(1008, "too many fragments")]);
}

#[test]
fn case_126_who_does_not_read_is_cut_off() {
    let mut server = server();
    server.room.backlog_max = 20_000;
    server.room.per_second = u32::MAX;
    let mut reactor = world(server);
    let slow = enter(&mut reactor, "/chat");
    let (talks, reads) = (enter(&mut reactor, "/chat"), enter(&mut reactor, "/chat"));
    reactor.net().set_window(slow, 100);
    let message = format!("say {}", "x".repeat(1000));
    let mut heard = Vec::new();
    for _ in 0..40 {
        say(&mut reactor, talks, &message);
        reactor.hub().each(|peer| assert!(peer.unsent() <= 20_000));
        heard.extend(hears(&mut reactor, reads));
        hears(&mut reactor, talks);
    }
    assert!(reactor.net().sees_reset(slow));
    assert_eq!(heard.iter().filter(|line| line.starts_with("said guest-2\n")).count(), 40);
    assert_eq!(heard.iter().filter(|line| *line == "left guest-1").count(), 1);
}

/// The connection may outlive it: by then the name may be another's.
#[test]
fn who_has_said_goodbye_leaves_once() {
    let mut reactor = world(server());
    let (old, new) = (enter(&mut reactor, "/chat"), enter(&mut reactor, "/chat"));
    reactor.net().send(old, &frame(FINAL | 8, b""));
    assert_eq!(hears(&mut reactor, new), ["left guest-1"]);
    say(&mut reactor, new, "name guest-1");
    reactor.net().finish_client(old);
    assert_eq!(hears(&mut reactor, new), ["you guest-1", "renamed guest-2\nguest-1"]);
    say(&mut reactor, new, "say still here");
    assert_eq!(hears(&mut reactor, new), ["said guest-1\nstill here"]);
}

#[test]
fn a_message_to_many_is_there_once() {
    let mut server = server();
    server.room.per_second = u32::MAX;
    let mut reactor = world(server);
    let clients: Vec<_> = (0..300).map(|_| enter(&mut reactor, "/chat")).collect();
    for &client in &clients {
        hears(&mut reactor, client);
        reactor.net().set_window(client, 0);
    }
    let said = text(&format!("say {}", "x".repeat(3000)));
    let info = allocation_counter::measure(|| {
        reactor.net().send(clients[0], &said);
        turn(&mut reactor);
    });
    // Three hundred copies would be a megabyte.
    assert!(info.bytes_max < 200_000, "{info:?}");
    for &client in &clients {
        reactor.net().set_window(client, 10_000);
    }
    for &client in &clients {
        assert_eq!(hears(&mut reactor, client).len(), 1);
    }
}
