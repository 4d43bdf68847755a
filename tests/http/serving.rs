//! Requests that are in order, and their answers.
use std::time::Duration;

use charkh::{Config, Reactor, net::sim};

use crate::{
    common::{read_all, run_for},
    example::config,
    world::{HELLO, answer, answers, greeter, heard, hears, hears_of, turn, world, world_with},
};

#[test]
fn a_greeting_byte_for_byte() {
    let says = "HTTP/1.1 200 OK\r\nServer: charkh\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                Content-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n\r\nHello, wheel!";
    assert_eq!(hears(HELLO), says);
    assert_eq!(hears(HELLO.repeat(3)), says.repeat(3));
}

#[test]
fn the_echo_gives_back_any_body_of_any_method() {
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "BREW", "get"] {
        let got =
            answer(&format!("{method} /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"));
        assert_eq!((got.status, &*got.body), (200, "abc"), "{method}");
        let got = answer(&format!("{method} /echo HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((got.status, &*got.body), (200, ""), "{method}");
    }
    let chunks = "1\r\na\r\n0000b;x=\"; \\\"=\";y;z=w\r\nbcdefghijkl\r\n0\r\nX: y\r\n\r\n";
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(answer(&format!("{head}{chunks}")).body, "abcdefghijkl");
}

#[test]
fn case_017_requests_are_the_same_wherever_they_are_cut() {
    let says = format!(
        "{HELLO}POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
         HEAD / HTTP/1.1\r\nHost: a\r\n\r\n\
         PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         2;x\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n\
         GET /numbers/3 HTTP/1.1\r\nHost: a\r\n\r\n\r\n{HELLO}"
    );
    let whole = hears(&says);
    let bodies: Vec<String> = answers(&whole, &["GET", "POST", "HEAD", "PUT", "GET", "GET"])
        .into_iter()
        .map(|answer| answer.body)
        .collect();
    assert_eq!(bodies, ["Hello, wheel!", "abc", "", "hello", "1\n2\n3\n", "Hello, wheel!"]);
    for first in 0..says.len() {
        let (front, rest) = says.as_bytes().split_at(first);
        assert_eq!(hears_of(greeter(), &[front, rest]), whole, "cut at {first}");
        let (middle, rest) = rest.split_at(rest.len() / 2);
        assert_eq!(
            hears_of(greeter(), &[front, middle, rest]),
            whole,
            "cut at {first}, and behind"
        );
    }
    let bytes: Vec<&[u8]> = says.as_bytes().chunks(1).collect();
    assert_eq!(hears_of(greeter(), &bytes), whole);
}

#[test]
fn case_122_ten_thousand_requests_in_one_go_are_answered_in_order() {
    let says: String = (0..10_000)
        .map(|n| format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{n:05}"))
        .collect();
    let got = answers(&hears(says), &[]);
    assert_eq!(got.len(), 10_000);
    for (n, answer) in got.iter().enumerate() {
        assert_eq!(answer.body, format!("{n:05}"));
    }
}

#[test]
fn case_122_a_client_that_does_not_read_is_not_answered_without_end() {
    let mut reactor = world(greeter());
    let client = reactor.net().client();
    reactor.net().set_window(client, 1000);
    let says =
        "GET /numbers/100000000 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2) + &HELLO.repeat(20_000);
    reactor.net().send(client, says.as_bytes());
    run_for(&mut reactor, Duration::from_secs(5));
    assert!(reactor.hub().stats().memory < 1 << 20);
    // It reads a little, and a little comes.
    for _ in 0..100 {
        assert!(!reactor.net().receive(client).is_empty());
        turn(&mut reactor);
    }
    assert!(reactor.hub().stats().memory < 1 << 20);
    reactor.net().reset_client(client);
    run_for(&mut reactor, Duration::from_secs(1));
    assert!(reactor.hub().is_empty());
}

#[test]
fn bodies_of_all_connections_together_have_a_limit() {
    let mut http = greeter();
    http.bodies_max = 1000;
    let mut reactor = world(http);
    let post =
        |size: usize| format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
    let [first, second] = [(); 2].map(|()| reactor.net().client());
    reactor.net().send(first, (post(900) + &"x".repeat(800)).as_bytes());
    turn(&mut reactor);
    // What nobody keeps is not counted.
    reactor.net().send(second, (post(900).replace("echo", "") + &"x".repeat(900)).as_bytes());
    turn(&mut reactor);
    assert_eq!(answers(&heard(&mut reactor, second), &[])[0].status, 405);
    reactor.net().send(second, (post(201) + &"x".repeat(201)).as_bytes());
    turn(&mut reactor);
    assert_eq!(answers(&heard(&mut reactor, second), &[])[0].status, 503);
    // Whoever goes leaves room, and so does whoever is answered.
    reactor.net().reset_client(first);
    run_for(&mut reactor, Duration::from_secs(10));
    let third = reactor.net().client();
    for _ in 0..3 {
        reactor.net().send(third, (post(1000) + &"x".repeat(1000)).as_bytes());
        turn(&mut reactor);
        assert_eq!(answers(&heard(&mut reactor, third), &[])[0].body.len(), 1000);
    }
}

/// A body that is put together is memory of its connection, until it is answered.
#[test]
fn case_066_bodies_count_with_what_connections_hold() {
    let config = Config { memory_max: 100_000, ..config() };
    let mut reactor = world_with(greeter(), config);
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 45000\r\n\r\n";
    let clients = [(); 9].map(|()| reactor.net().client());
    for client in clients {
        reactor.net().send(client, (post.to_owned() + &"x".repeat(20_000)).as_bytes());
        turn(&mut reactor);
    }
    let memory = reactor.hub().stats().memory;
    assert!((60_000..=100_000).contains(&memory), "{memory}");
    let is_gone = |&client: &_| reactor.net().sees_reset(client);
    let (gone, stay): (Vec<_>, Vec<_>) = clients.into_iter().partition(is_gone);
    assert!(gone.len() >= 4 && !stay.is_empty(), "{gone:?}");
    let stays = stay[0];
    stay[1..].iter().for_each(|&client| reactor.net().reset_client(client));
    turn(&mut reactor);
    reactor.net().send(stays, "x".repeat(25_000).as_bytes());
    turn(&mut reactor);
    assert_eq!(answers(&heard(&mut reactor, stays), &[])[0].body.len(), 45_000);
    assert_eq!(reactor.hub().stats().memory, 0);
}

#[test]
fn case_122_neither_head_nor_204_nor_304_has_a_body() {
    let get = answer(HELLO);
    let head = answer(&HELLO.replace("GET", "HEAD"));
    assert_eq!((head.status, &head.head), (200, &get.head));
    let head = answer("HEAD /numbers/9 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head.header("Transfer-Encoding"), Some("chunked"));
    let head = answer("HEAD /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(head.header("Content-Length"), Some("3"));
    let head = answer("HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head.status, 404);
    // Nor has it one when what comes behind its head is refused.
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n";
    assert!(hears(head).ends_with("\r\n\r\n"));
    assert_eq!(answer(head).status, 400);
    let options = answer("OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((options.status, options.header("Content-Length")), (204, None));
}

#[test]
fn case_122_a_body_is_asked_for_or_refused_before_it_is_sent() {
    let head =
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n";
    let mut reactor = world(greeter());
    let client = reactor.net().client();
    reactor.net().send(client, head.as_bytes());
    turn(&mut reactor);
    assert_eq!(heard(&mut reactor, client), "HTTP/1.1 100 Continue\r\n\r\n");
    reactor.net().send(client, b"abc");
    turn(&mut reactor);
    assert_eq!(answers(&heard(&mut reactor, client), &[])[0].body, "abc");
    // Refused, and what comes instead of the body is no request.
    for (head, status) in [
        (head.replace("/echo", "/"), 405),
        (head.replace("POST /echo", "GET /nothing"), 404),
        (head.replace("Length: 3", "Length: 3000000"), 413),
        (head.replace("100-Continue", "a miracle"), 417),
    ] {
        let got = answers(&hears(format!("{head}{HELLO}")), &[]);
        assert_eq!((got.len(), got[0].status), (1, status));
        assert_eq!(got[0].header("Connection"), Some("close"));
    }
    // HTTP/1.0 knows nothing of it.
    let old = head.replace("HTTP/1.1", "HTTP/1.0");
    assert!(hears(format!("{old}abc")).starts_with("HTTP/1.1 200 OK\r\n"));
    // Whom nobody refuses may have sent it already.
    let got = answers(&hears(format!("{head}abc{HELLO}")), &[]);
    let statuses: Vec<u16> = got.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [100, 200, 200]);
}

#[test]
fn connections_are_kept_or_ended_as_was_asked() {
    let twice = |head: &str| {
        let heard = hears(format!("{head}\r\n\r\n{HELLO}"));
        let got = answers(&heard, &[]);
        (got.len(), got[0].header("Connection").map(String::from))
    };
    let (close, keep) = (Some("close".to_string()), Some("keep-alive".to_string()));
    assert_eq!(twice("GET / HTTP/1.1\r\nHost: a"), (2, None));
    assert_eq!(twice("GET / HTTP/1.1\r\nHost: a\r\nConnection: close"), (1, close.clone()));
    assert_eq!(twice("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close"), (1, close.clone()));
    assert_eq!(twice("GET / HTTP/1.0"), (1, close.clone()));
    assert_eq!(twice("GET / HTTP/1.0\r\nConnection: Keep-Alive"), (2, keep));
    // Of what has no length the end is the connection's.
    let heard = hears("GET /numbers/2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(
        heard.contains("\r\nConnection: close\r\n") && !heard.contains("keep-alive"),
        "{heard}"
    );
    assert!(heard.ends_with("\r\n\r\n1\n2\n"), "{heard}");
}

#[test]
fn methods_and_paths_that_are_not_there() {
    for (says, status) in [
        ("GET /nothing", 404),
        ("GET /echo/more", 404),
        ("GET /numbers/", 404),
        ("GET /numbers/x", 404),
        ("GET /numbers/100000001", 404),
        ("POST /numbers/3", 405),
        ("DELETE /", 405),
        ("BREW /", 501),
        ("get /", 501),
    ] {
        let got = answer(&format!("{says} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(got.status, status, "{says}");
        assert_eq!(got.header("Allow").is_some(), status == 405);
    }
    assert_eq!(answer("GET /?query HTTP/1.1\r\nHost: a\r\n\r\n").body, "Hello, wheel!");
}

#[test]
fn long_answers_come_whole_through_small_windows() {
    let expected: String = (1..=60_000).map(|n| format!("{n}\n")).collect();
    for window in [100, 5_000, 1 << 20] {
        let limits = Config { output_high: 8 << 10, output_low: 1 << 10, ..config() };
        let mut reactor = world_with(greeter(), Config { idle: None, write_stall: None, ..limits });
        let client = reactor.net().client();
        reactor.net().set_window(client, window);
        let says = "GET /numbers/60000 HTTP/1.1\r\nHost: a\r\n\r\n";
        reactor.net().send(client, format!("{says}{HELLO}{says}").as_bytes());
        reactor.net().finish_client(client);
        let heard = read_all(&mut reactor, client);
        let got = answers(std::str::from_utf8(&heard).unwrap(), &[]);
        let bodies: Vec<&str> = got.iter().map(|answer| &*answer.body).collect();
        assert!(bodies == [&*expected, "Hello, wheel!", &*expected], "window {window}");
        assert!(reactor.net().sees_end(client));
    }
}

#[test]
fn case_040_in_any_world_the_answers_are_the_same_or_their_front() {
    let says = format!(
        "{HELLO}GET /numbers/3000 HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n{HELLO}GET / HTTP/1.1\r\nConnection: close\r\nHost: a\r\n\r\n"
    );
    let expected = hears(&says);
    sim::worlds(300, |mut net| {
        // Hours may pass, and are not what is asked here.
        let never = Duration::from_secs(1 << 30);
        let mut http = greeter();
        (http.http.head_time, http.http.body_time) = (never, never);
        let limits = Config { output_high: 4000, output_low: 1000, write_max: 700, ..config() };
        let limits = Config { idle: None, first_byte: None, write_stall: None, ..limits };
        let window = 1 + net.random(5000);
        let mut reactor = Reactor::with(http, net, limits).unwrap();
        reactor.listen("127.0.0.1:1").unwrap();
        let client = reactor.net().client();
        reactor.net().set_window(client, window);
        reactor.net().send(client, says.as_bytes());
        reactor.net().finish_client(client);
        let heard = read_all(&mut reactor, client);
        let heard = String::from_utf8_lossy(&heard);
        match reactor.net().was_harmed(client) {
            false => assert!(heard == expected, "{heard}"),
            true => assert!(expected.starts_with(&*heard), "{heard}"),
        }
        assert!(reactor.hub().is_empty(), "somebody was left behind");
    });
}

#[test]
fn a_server_that_stops_answers_what_it_was_asked() {
    let mut reactor = world(greeter());
    let client = reactor.net().client();
    let says = "GET /numbers/100000 HTTP/1.1\r\nHost: a\r\n\r\n";
    reactor.net().set_window(client, 1000);
    reactor.net().send(client, says.as_bytes());
    turn(&mut reactor);
    reactor.hub().stop();
    // What comes now is the last that is answered.
    reactor.net().send(client, HELLO.repeat(3).as_bytes());
    let mut text = String::new();
    while !reactor.is_done() {
        text += &heard(&mut reactor, client);
        reactor.turn_within(Duration::ZERO).unwrap();
        if text.ends_with("wheel!") {
            reactor.net().finish_client(client);
        }
    }
    let got = answers(&text, &[]);
    assert!(got[0].body.ends_with("\n100000\n"));
    assert_eq!((got.len(), got[1].header("Connection")), (2, Some("close")));
}
