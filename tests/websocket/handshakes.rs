//! The request before the frames: what is accepted, what is refused, and that what is refused is no
//! tunnel.
use crate::world::{Heard, frames, hears, hears_of, request, server, split, text};

/// What stands behind the head of the answer to a request with a frame and a request behind it;
/// the same, wherever it is cut.
fn answer(request: &str) -> (String, Vec<u8>) {
    let behind = [&text("tunnel")[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let all = [request.as_bytes(), &behind].concat();
    let heard = hears_of(server(), &[&all]);
    for at in 0..=all.len() {
        let (front, back) = all.split_at(at);
        assert_eq!(hears_of(server(), &[front, back]), heard, "cut at {at}: {request}");
    }
    split(&heard)
}

/// It is refused with this status, and nothing behind it is heard: neither as frames nor as
/// requests.
#[track_caller]
fn refused(status: &str, request: &str) -> String {
    let (head, body) = answer(request);
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    assert!(head.contains("Connection: close\r\n"), "{head}");
    let length = format!("Content-Length: {}\r\n", body.len());
    assert!(head.contains(&length), "{head}{body:?}");
    head
}

#[test]
fn the_handshake_of_rfc_6455() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nServer: charkh\r\n\
                Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nUpgrade: websocket\r\n\
                Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    for variant in [
        request("/echo"),
        request("/echo").replace("keep-alive, Upgrade", "uPGRADE"),
        request("/echo").replace("Upgrade: websocket", "upgrade: h2c, WebSocket"),
        request("/echo?query"),
        request("/echo").replace("Host: a", "Host: a\r\nOrigin: https://anybody"),
        request("/echo").replace("Host: a", "Host: a\r\nSec-WebSocket-Protocol: x, y"),
        request("/echo")
            .replace("Host: a", "Host: a\r\nSec-WebSocket-Extensions: permessage-deflate"),
    ] {
        let (answer, frames_) = answer(&variant);
        assert_eq!(answer, head);
        // A request is no frame.
        let no_frame =
            Heard::close(1002, "a reserved bit, and no extension to mean something by it");
        assert_eq!(frames(&frames_), [Heard::text("tunnel"), no_frame]);
    }
}

#[test]
fn case_124_bad_keys() {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let with = |other: &str| request("/echo").replace(key, other);
    refused("400", &with(""));
    for bad in [
        "",
        "x",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ==, x",
        "!!!!!!!!!!!!!!!!!!!!!!==",
    ] {
        refused("400", &with(&format!("Sec-WebSocket-Key: {bad}\r\n")));
    }
    // Fifteen bytes, seventeen, eighteen; and bits behind the last.
    for bad in [
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZWU=",
        "dGhlIHNhbXBsZSBub25jZWVl",
        "dGhlIHNhbXBsZSBub25jZR==",
    ] {
        refused("400", &with(&format!("Sec-WebSocket-Key: {bad}\r\n")));
    }
    refused("400", &with(&key.repeat(2)));
}

#[test]
fn case_124_bad_versions() {
    let version = "Sec-WebSocket-Version: 13\r\n";
    for bad in [
        "",
        "Sec-WebSocket-Version: 8\r\n",
        "Sec-WebSocket-Version: 13, 8\r\n",
        "Sec-WebSocket-Version: 013\r\n",
    ] {
        let head = refused("426", &request("/echo").replace(version, bad));
        assert!(head.contains(version) && head.contains("Upgrade: websocket\r\n"), "{head}");
    }
    refused("400", &request("/echo").replace(version, &version.repeat(2)));
}

#[test]
fn case_124_cross_origin() {
    let from = |origin: &str| {
        request("/chat").replace("Host: a\r\n", &format!("Host: a:8081\r\n{origin}"))
    };
    for foreign in [
        "http://b:8081",
        "http://a",
        "http://a:80810",
        "https://a:8081.b",
        "null",
        "",
        "a:8081",
        "ftp://a:8081",
        "http://b/http://a:8081",
    ] {
        refused("403", &from(&format!("Origin: {foreign}\r\n")));
    }
    refused("403", &from("Origin: http://a:8081\r\nOrigin: http://b\r\n"));
    for own in ["", "Origin: http://a:8081\r\n", "Origin: https://A:8081\r\n"] {
        assert!(hears(from(own)).starts_with("HTTP/1.1 101 "), "{own}");
    }
    let mut open = server();
    open.origins = vec!["https://b".into()];
    let heard = hears_of(open, &[from("Origin: https://b\r\n").as_bytes()]);
    assert!(heard.starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn case_120_what_is_refused_is_no_tunnel() {
    refused("404", &request("/"));
    refused("404", &request("/nothing"));
    refused("400", &request("/echo").replace("GET", "POST"));
    refused("413", &request("/echo").replace("Host: a", "Host: a\r\nContent-Length: 5"));
    let chunks = request("/echo").replace("Host: a", "Host: a\r\nTransfer-Encoding: chunked");
    refused("400", &chunks);
    let mut full = server();
    full.room.people_max = 0;
    let all = [request("/chat").as_bytes(), &text("tunnel")].concat();
    let (head, _) = split(&hears_of(full, &[&all]));
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Connection: close"), "{head}");
}

/// Who does not ask for WebSocket, or for something else, goes on in HTTP: what follows is
/// requests.
#[test]
fn case_120_an_upgrade_that_is_not_taken_up_changes_nothing() {
    let plain = [
        request("/echo").replace("Upgrade: websocket", "Upgrade: h2c"),
        request("/echo").replace("keep-alive, Upgrade", "keep-alive"),
        request("/echo").replace("Upgrade: websocket\r\n", ""),
    ];
    for plain in plain {
        let heard = hears(format!("{plain}GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"));
        let status: Vec<&str> = heard.lines().filter(|line| line.starts_with("HTTP/")).collect();
        assert_eq!(status, ["HTTP/1.1 426 Upgrade Required", "HTTP/1.1 404 Not Found"]);
        assert!(heard.contains("Upgrade: websocket\r\nConnection: Upgrade\r\n"), "{heard}");
        let (_, body) = answer(&plain);
        assert!(String::from_utf8_lossy(&body).contains("HTTP/1.1 400 "), "a frame is no request");
    }
    let old = request("/echo").replace("HTTP/1.1", "HTTP/1.0");
    assert!(hears(old).starts_with("HTTP/1.1 426 "));
}

#[test]
fn the_page_comes_with_its_policy() {
    let heard = hears("GET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD /?x HTTP/1.1\r\nHost: a\r\n\r\n");
    let page = include_str!("../../examples/websocket/page.html");
    let (head, rest) = heard.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && rest.starts_with(page));
    assert!(head.contains("Content-Type: text/html; charset=utf-8\r\n"));
    assert!(head.contains("Content-Security-Policy: default-src 'none'; script-src 'sha256-"));
    assert!(!head.contains("unsafe"), "{head}");
    assert_eq!(&rest[page.len()..], format!("{head}\r\n\r\n"));
    // No handler that the policy would not run, and nothing that reads words as markup.
    for never in
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " on", "style="]
    {
        let found = page.match_indices(never).find(|(at, _)| match never {
            // `onclick=` within a tag.
            " on" => page[at + 3..].split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase())
            }),
            _ => true,
        });
        assert_eq!(found, None);
    }
    let others = "POST / HTTP/1.1\r\nHost: a\r\n\r\nGET /favicon.ico HTTP/1.1\r\nHost: a\r\n\r\n";
    let heard = hears(others);
    assert!(heard.starts_with("HTTP/1.1 405 ") && heard.contains("\nHTTP/1.1 404 "), "{heard}");
}
