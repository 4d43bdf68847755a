//! What takes too long: a byte a second does not make it longer.
use std::time::Duration;

use charkh::{
    Config, Input, Peer, Protocol, Reactor, Result,
    http::{Conn, Part, Server},
    net::Sim,
};

use crate::{
    common::run_for,
    world::{HELLO, answers, greeter, heard, turn, world},
};

const SECOND: Duration = Duration::from_secs(1);

/// Says `front`, then one `x` a second. When it is answered, and how.
fn drip(front: &str) -> (u64, u16) {
    let mut reactor = world(greeter());
    let client = reactor.net().client();
    reactor.net().send(client, front.as_bytes());
    turn(&mut reactor);
    let mut text = heard(&mut reactor, client);
    for second in 0..200 {
        if let Some(last) = answers(&text, &[]).last()
            && last.header("Connection") == Some("close")
        {
            assert!(reactor.net().sees_end(client));
            return (second, last.status);
        }
        reactor.net().send(client, b"x");
        run_for(&mut reactor, SECOND);
        text += &heard(&mut reactor, client);
    }
    panic!("never answered: {front}");
}

#[test]
fn case_019_080_a_head_has_ten_seconds_whatever_comes_meanwhile() {
    assert_eq!(drip("G"), (10, 408));
    assert_eq!(drip("GET / HTTP/1.1\r\nHost: a\r\nX: "), (10, 408));
    // The second head has its own.
    assert_eq!(drip(&format!("{HELLO}GET / HTTP/1.1\r\nHost: a\r\nX: ")), (10, 408));
}

#[test]
fn case_020_080_a_body_has_a_minute() {
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\n";
    assert_eq!(drip(&format!("{head}Content-Length: 1000\r\n\r\n")), (60, 408));
    assert_eq!(drip(&format!("{head}Transfer-Encoding: chunked\r\n\r\nffff\r\n")), (60, 408));
    assert_eq!(drip(&format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\nX")), (60, 408));
}

#[test]
fn deadlines_count_from_each_request_and_end_with_it() {
    let mut reactor = world(greeter());
    let client = reactor.net().client();
    let (front, rest) = HELLO.split_at(5);
    // Nine seconds for each head, a long rest between them, and all are answered.
    for _ in 0..20 {
        reactor.net().send(client, front.as_bytes());
        run_for(&mut reactor, 9 * SECOND);
        reactor.net().send(client, rest.as_bytes());
        turn(&mut reactor);
        assert_eq!(answers(&heard(&mut reactor, client), &[])[0].status, 200);
        run_for(&mut reactor, 60 * SECOND);
        assert_eq!(heard(&mut reactor, client), "");
    }
    // An empty line behind a body is an old client's habit, and begins nothing.
    reactor.net().send(client, b"\r\n");
    run_for(&mut reactor, 30 * SECOND);
    assert_eq!(heard(&mut reactor, client), "");
    // The end of a head and the front of the next in one piece, each in time.
    reactor.net().send(client, front.as_bytes());
    for _ in 0..20 {
        run_for(&mut reactor, 9 * SECOND);
        reactor.net().send(client, format!("{rest}{front}").as_bytes());
        turn(&mut reactor);
        assert_eq!(answers(&heard(&mut reactor, client), &[])[0].status, 200);
    }
    run_for(&mut reactor, 10 * SECOND);
    assert_eq!(answers(&heard(&mut reactor, client), &[])[0].status, 408);
}

#[test]
fn whoever_asks_for_nothing_is_shown_out() {
    let mut reactor = world(greeter());
    let silent = reactor.net().client();
    let rested = reactor.net().client();
    reactor.net().send(rested, HELLO.as_bytes());
    run_for(&mut reactor, 74 * SECOND);
    assert_eq!(reactor.hub().len(), 2);
    run_for(&mut reactor, 2 * SECOND);
    assert!(reactor.hub().is_empty());
    assert_eq!(heard(&mut reactor, silent), "");
    assert_eq!(answers(&heard(&mut reactor, rested), &[]).len(), 1);
}

/// Answers when it is told to, as one does that asks somebody else.
struct Later(Server);

impl Protocol for Later {
    type Session = Conn;

    fn open(&mut self, _: &mut Peer) -> Conn {
        Conn::default()
    }

    fn data(&mut self, peer: &mut Peer, conn: &mut Conn, input: &mut Input) -> Result {
        let mut is_asked = false;
        while !is_asked && let Some(part) = self.0.next(peer, conn, input) {
            is_asked = matches!(part, Part::End);
        }
        if is_asked {
            peer.pause();
        }
        self.0.end_of_data(peer, conn, input, is_asked);
        Ok(())
    }

    fn timer(&mut self, peer: &mut Peer, conn: &mut Conn) -> Result {
        self.0.timer(peer, conn);
        Ok(())
    }
}

#[test]
fn no_deadline_is_due_while_an_answer_is_thought_of() {
    let http = Later(Server::new("later", || Duration::ZERO));
    let mut reactor = Reactor::with(http, Sim::new(1), Config::default()).unwrap();
    reactor.listen("127.0.0.1:1").unwrap();
    let client = reactor.net().client();
    // The front of the next is here, and nobody asks for the rest.
    reactor.net().send(client, format!("{HELLO}{}", &HELLO[..9]).as_bytes());
    run_for(&mut reactor, 100 * SECOND);
    assert!(reactor.net().receive(client).is_empty());
    let id = reactor.hub().ids().next().unwrap();
    reactor.hub().peer(id).unwrap().resume();
    run_for(&mut reactor, 9 * SECOND);
    assert!(reactor.net().receive(client).is_empty());
    run_for(&mut reactor, 2 * SECOND);
    let text = String::from_utf8_lossy(&reactor.net().receive(client)).into_owned();
    assert_eq!(answers(&text, &[])[0].status, 408);
}

#[test]
fn no_deadline_is_due_while_a_long_answer_is_read() {
    let mut reactor = world(greeter());
    let client = reactor.net().client();
    reactor.net().set_window(client, 30_000);
    let says = format!("GET /numbers/100000 HTTP/1.1\r\nHost: a\r\n\r\n{}", &HELLO[..9]);
    reactor.net().send(client, says.as_bytes());
    let mut text = String::new();
    while !text.ends_with("0\r\n\r\n") {
        run_for(&mut reactor, 7 * SECOND);
        text += &heard(&mut reactor, client);
    }
    assert!(answers(&text, &[])[0].body.ends_with("\n100000\n"));
    // Now it counts.
    run_for(&mut reactor, 11 * SECOND);
    assert_eq!(answers(&heard(&mut reactor, client), &[])[0].status, 408);
}
