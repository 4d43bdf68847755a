//! What two servers could read differently: each is refused, and nothing behind it is read. Raw
//! bytes, whole and cut at each place.
use crate::world::{HELLO, answers, greeter, heard, hears, hears_of, turn, world};

/// Everything up to the answer to `bad` is one answer with `status`, which says that it is the
/// last. What follows would be answered, if it were read; and however it is cut, all is the same.
#[track_caller]
fn refused(status: u16, bad: impl AsRef<[u8]>) {
    let bad = bad.as_ref();
    let says = [HELLO.as_bytes(), bad, HELLO.as_bytes()].concat();
    let whole = hears(&says);
    let shown = String::from_utf8_lossy(bad);
    let got = answers(&whole, &[]);
    let statuses: Vec<u16> = got.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, status], "{shown:?}: {whole}");
    assert_eq!(got[1].header("Connection"), Some("close"), "{shown:?}");
    // Longer ones are cut where it matters elsewhere.
    let cuts = if says.len() < 1000 { 0..says.len() } else { 0..0 };
    for at in cuts {
        let (front, rest) = says.split_at(at);
        assert_eq!(hears_of(greeter(), &[front, rest]), whole, "{shown:?} cut at {at}");
    }
    if says.len() < 1000 {
        let bytes: Vec<&[u8]> = says.chunks(1).collect();
        assert_eq!(hears_of(greeter(), &bytes), whole, "{shown:?} byte by byte");
    }
}

/// The same for a head with these headers.
#[track_caller]
fn headers_refused(status: u16, headers: &str) {
    refused(
        status,
        format!("POST /echo HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    );
}

/// The same for what comes instead of chunks.
#[track_caller]
fn chunks_refused(status: u16, chunks: impl AsRef<[u8]>) {
    let head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    refused(status, [head, chunks.as_ref()].concat());
}

#[test]
fn case_118_a_length_and_chunks() {
    headers_refused(400, "Content-Length: 5\r\nTransfer-Encoding: chunked");
    headers_refused(400, "Transfer-Encoding: chunked\r\nContent-Length: 5");
    headers_refused(400, "content-length: 0\r\ntransfer-encoding: chunked");
}

#[test]
fn case_118_two_lengths_and_lengths_that_are_none() {
    headers_refused(400, "Content-Length: 5\r\nContent-Length: 5");
    headers_refused(400, "Content-Length: 5\r\nContent-Length: 6");
    for length in [
        "+5",
        "5,5",
        "5, 5",
        "0x5",
        "-1",
        "18446744073709551616",
        "99999999999999999999999",
        "",
        "5 5",
        "5.0",
        "5e1",
        "\u{665}",
        "_5",
        "five",
    ] {
        headers_refused(400, &format!("Content-Length: {length}"));
    }
    headers_refused(413, "Content-Length: 18446744073709551615");
    // Blanks around a value belong to nobody: this is a five.
    let says = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: \t 5 \r\n\r\nhello";
    assert_eq!(answers(&hears(says), &[])[0].body, "hello");
}

#[test]
fn case_118_transfer_encodings_other_than_chunked() {
    for encoding in [
        "xchunked",
        "chunked, identity",
        "identity",
        "gzip, chunked",
        "chunked, chunked",
        "",
        "\u{b}chunked",
        "\"chunked\"",
        "chunked;q=1",
        "chunke",
        "chunked,",
    ] {
        let status = if encoding.starts_with('\u{b}') { 400 } else { 501 };
        headers_refused(status, &format!("Transfer-Encoding: {encoding}"));
    }
    headers_refused(400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked");
    headers_refused(501, "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked");
    refused(400, "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let says = "POST /echo HTTP/1.1\r\nHost: a\r\ntransfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n";
    assert_eq!(answers(&hears(says), &[])[0].status, 200);
}

#[test]
fn case_118_lines_that_are_read_differently() {
    headers_refused(400, "X: a\r\n b"); // obs-fold
    headers_refused(400, " X: a");
    headers_refused(400, "X : a");
    headers_refused(400, "X\t: a");
    headers_refused(400, "Content-Length : 5");
    headers_refused(400, "Transfer-Encoding : chunked");
    headers_refused(400, ": a"); // an empty name, CVE-2023-25725
    headers_refused(400, ":");
    headers_refused(400, "X");
    headers_refused(400, "X a");
    headers_refused(400, "X(y): a");
    headers_refused(400, "X\u{e9}: a");
    for value in ["a\0b", "a\rb", "\r", "a\r", "a\x0bb", "a\x7fb", "a\x1fb", "a\x08"] {
        headers_refused(400, &format!("X: {value}"));
        headers_refused(400, &format!("Content-Length: 5{value}"));
    }
    headers_refused(400, "X: a\nY: b");
    headers_refused(400, "X: a\n\r");
    refused(400, "GET / HTTP/1.1\nHost: a\r\n\r\n");
    refused(400, "GET / HTTP/1.1\r\nHost: a\n\r\n");
    refused(400, "GET / HTTP/1.1\r\nHost: a\r\n\n");
    refused(400, "GET / HTTP/1.1\nHost: a\n\n");
    refused(400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    refused(400, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    // One empty line before a request is an old client's habit, and can be read one way only.
    let says = format!("{HELLO}\r\n{HELLO}");
    assert_eq!(answers(&hears(says), &[]).len(), 2);
}

#[test]
fn case_118_request_lines_that_are_none() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1\t",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.1.1",
        "GET / HTTP/11",
        "GET / HTTP/01.1",
        "GET / HTTPS/1.1",
        "GET /",
        "GET",
        "GET /a b HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /\r HTTP/1.1",
        "GET /#x HTTP/1.1",
        "GET a HTTP/1.1",
        "GET  HTTP/1.1",
        "GET ? HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "\u{16}\u{3}\u{1}",
        "GET ftp://a/ HTTP/1.1",
        "GET http:///a HTTP/1.1",
        "GET http://a\\b/ HTTP/1.1",
        "GET http://u@a/ HTTP/1.1",
        "GET http://a?b HTTP/1.1",
    ] {
        refused(400, format!("{line}\r\nHost: a\r\n\r\n"));
    }
}

#[test]
fn case_118_chunks_that_are_none() {
    for line in [
        "0x5",
        "+5",
        "-5",
        "_5",
        "5_",
        " 5",
        "5 ",
        "5\t",
        "5 ;a=b",
        "",
        ";a",
        "g",
        "5,5",
        "\u{665}",
        "10000000000000005",
        "00000000000000005",
        "5;a\0",
        "5;a\rb",
        "5;\x0b",
        "5;",
        "5;=a",
        "5;;a",
        "5; a",
        "5;\u{e9}=a",
        "5;a=",
        "5;a=b c",
        "5;a=\"b",
        "5;a=\"b\"c",
        "5;a=\"\\\"",
        "5;a\t=b",
        "5;a;",
        "5;a=b=c",
        "5;a\x7f",
        "5\r",
    ] {
        chunks_refused(400, format!("{line}\r\nhello\r\n0\r\n\r\n"));
    }
    chunks_refused(413, "ffffffffffffffff\r\nhello");
    chunks_refused(413, "7fffffffffffffff\r\nhello");
    chunks_refused(400, "5\nhello\r\n0\r\n\r\n");
    chunks_refused(400, "5;a\nhello\r\n0\r\n\r\n");
    chunks_refused(400, "5\r\nhello0\r\n\r\n"); // no CRLF behind it
    for end in ["XX", "\r\r", "\n\r", "\nX", "\rX", "\n\n", "  "] {
        chunks_refused(400, format!("5\r\nhello{end}0\r\n\r\n"));
    }
    chunks_refused(400, "5\r\nhello\n0\r\n\r\n");
    chunks_refused(400, "5\r\nhello\r0\r\n\r\n");
    chunks_refused(400, "5\r\nhello!\r\n0\r\n\r\n"); // one byte more than was said
    chunks_refused(400, "5\r\nhello\r\n0\n\r\n");
    chunks_refused(400, "5\r\nhello\r\n0\r\n\n");
    chunks_refused(400, "5\r\nhello\r\n\r\n0\r\n\r\n");
}

#[test]
fn case_118_extensions_of_chunks_have_a_limit() {
    let chunk = |extension: usize| format!("1;{}\r\na\r\n", "x".repeat(extension - 1));
    chunks_refused(400, format!("5;{}", "x".repeat(1 << 20)));
    chunks_refused(400, format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(253)));
    chunks_refused(400, chunk(200).repeat(21));
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let says = format!("{head}{}0;{}\r\n\r\n", chunk(253).repeat(16), "x".repeat(47));
    assert_eq!(answers(&hears(says), &[])[0].body, "a".repeat(16));
}

#[test]
fn case_118_trailers_that_belong_into_the_head() {
    for trailer in [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: b",
        "host:",
        "X : a",
        ": a",
        "X",
        " X: a",
        "X: a\r\n b",
        "X: a\0",
        "X: a\rb",
        "X: a\nY: b",
        "\nX: a",
    ] {
        chunks_refused(400, format!("0\r\n{trailer}\r\n\r\n"));
        chunks_refused(400, format!("0\r\nA: b\r\n{trailer}\r\n\r\n"));
    }
    chunks_refused(431, format!("0\r\n{}\r\n", "X: a\r\n".repeat(101)));
    chunks_refused(431, format!("0\r\nX: {}", "a".repeat(16 << 10)));
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let says = format!("{head}2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n{HELLO}");
    let got = answers(&hears(says), &[]);
    assert_eq!((got.len(), &*got[0].body, &*got[1].body), (2, "hi", "Hello, wheel!"));
}

#[test]
fn case_119_a_body_that_nobody_wanted_is_no_request() {
    let inner = HELLO;
    for (head, status) in [
        ("POST /nothing HTTP/1.1\r\nHost: a", 404),
        ("POST / HTTP/1.1\r\nHost: a", 405),
        ("BREW / HTTP/1.1\r\nHost: a", 501),
        ("GET / HTTP/1.1\r\nHost: a", 200),
        ("HEAD / HTTP/1.1\r\nHost: a", 200),
        ("OPTIONS * HTTP/1.1\r\nHost: a", 204),
    ] {
        let status = if head.starts_with("POST /nothing") { 405 } else { status };
        let plain = format!("{head}\r\nContent-Length: {}\r\n\r\n{inner}", inner.len());
        let chunked = format!(
            "{head}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n",
            inner.len()
        );
        for says in [plain, chunked] {
            let says = format!("{says}{HELLO}");
            let method = says.split(' ').next().unwrap();
            let got = answers(&hears(&says), &[method]);
            assert_eq!(got.len(), 2, "{says}: {got:?}");
            assert_eq!((got[0].status, got[1].status), (status, 200));
            for at in 0..says.len() {
                let (front, rest) = says.as_bytes().split_at(at);
                let cut = hears_of(greeter(), &[front, rest]);
                assert_eq!(answers(&cut, &[method]), got, "cut at {at}");
            }
        }
    }
}

#[test]
fn case_119_too_long_a_body_is_refused_at_its_head_and_never_read() {
    refused(
        413,
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n{HELLO}"),
    );
    chunks_refused(413, "100001\r\n");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    chunks_refused(413, format!("{}1\r\nx\r\n0\r\n\r\n", chunk.repeat(16)));
}

#[test]
fn case_120_an_upgrade_that_is_refused_opens_no_tunnel() {
    for upgrade in ["websocket", "h2c", "TLS/1.0", "anything"] {
        let says = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n{HELLO}"
        );
        let got = answers(&hears(&says), &[]);
        assert_eq!(got.len(), 2);
        assert!(got.iter().all(|answer| answer.body == "Hello, wheel!"));
        let says = says.replace(HELLO, "\x01\x02 not HTTP\r\n") + HELLO;
        let got = answers(&hears(&says), &[]);
        assert_eq!((got.len(), got[0].status, got[1].status), (2, 200, 400));
    }
}

#[test]
fn case_121_the_host_is_there_once_and_is_one() {
    let with = |host: &str| format!("GET / HTTP/1.1\r\n{host}\r\n");
    refused(400, with(""));
    refused(400, with("Host: a\r\nHost: a\r\n"));
    refused(400, with("Host: a\r\nhost: b\r\n"));
    refused(400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n");
    for host in [
        "a b", "a/b", "a:b", "a:123456", "a,b", "a@b", "[::1", "::1", "[::g]", "a\u{e9}",
        "http://a", "a?b", "a#b", "a\"", "[]", ":80", "a:80:80", "a\\b",
    ] {
        refused(400, with(&format!("Host: {host}\r\n")));
    }
    for host in ["a", "a:80", "127.0.0.1:8080", "[::1]", "[::1]:80", "xn--a-b.example.", "", "a:"] {
        let got = answers(&hears(with(&format!("Host: {host}\r\n"))), &[]);
        assert_eq!(got[0].status, 200, "{host}");
    }
    let got = answers(&hears("GET / HTTP/1.0\r\n\r\n"), &[]);
    assert_eq!((got[0].status, got[0].header("Connection")), (200, Some("close")));
}

#[test]
fn case_121_a_target_names_the_same_host() {
    for target in ["http://b/", "http://a:80/", "https://a.b/", "http://b"] {
        refused(400, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    for (target, host) in [
        ("http://a/", "a"),
        ("http://A", "a"),
        ("https://a:80/?b", "a:80"),
        ("http://[::1]/", "[::1]"),
    ] {
        let says = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(answers(&hears(says), &[])[0].body, "Hello, wheel!");
    }
}

#[test]
fn case_121_connect_trace_and_the_star() {
    refused(501, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    refused(501, "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n");
    refused(501, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n");
    refused(501, "TRACE /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    refused(400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n");
    refused(400, "OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n");
    let got = answers(&hears("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), &[]);
    assert_eq!((got[0].status, got[0].header("Content-Length")), (204, None));
    assert_eq!(got[0].header("Allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn case_122_heads_have_limits() {
    let head = |headers: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    let status = |says: &str| answers(&hears(says), &[])[0].status;
    // With the host there are 100, or one more.
    assert_eq!(status(&head(&"X: a\r\n".repeat(99))), 200);
    refused(431, head(&"X: a\r\n".repeat(100)));
    refused(431, head(&"X: a\r\n".repeat(100_000)));
    // 16 KiB in all, or one byte more.
    let filler =
        |size: usize| head(&format!("X: {}\r\n", "a".repeat(size - head("X: \r\n").len())));
    assert_eq!(status(&filler(16 << 10)), 200);
    refused(431, filler((16 << 10) + 1));
    refused(431, format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(1 << 20)));
    // A target of 8 KiB, or one byte more.
    let target = |size: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(size - 1));
    assert_eq!(status(&target(8 << 10)), 404);
    refused(414, target((8 << 10) + 1));
    refused(414, format!("GET /{}", "a".repeat(1 << 20)));
    // A method has 32 bytes at most.
    assert_eq!(status(&format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(32))), 501);
    refused(501, format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(33)));
    refused(501, "A".repeat(1 << 20));
}

/// As soon as no end can come that is in time.
#[test]
fn case_122_what_is_too_long_is_refused_at_its_last_byte() {
    let chunks = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let exactly = |front: &str, size: usize| front.to_string() + &"x".repeat(size);
    for (says, status) in [
        (exactly("GET / HTTP/1.1\r\nX: ", (16 << 10) - 19), 431),
        (exactly("GET /", (8 << 10) + 39), 414),
        (exactly("", 32 + (8 << 10) + 12), 501),
        (exactly(&format!("{chunks}1;"), 254), 400),
        (exactly(&format!("{chunks}0\r\nX: "), (16 << 10) - 3), 431),
    ] {
        let mut reactor = world(greeter());
        let client = reactor.net().client();
        let (front, last) = says.split_at(says.len() - 1);
        reactor.net().send(client, front.as_bytes());
        turn(&mut reactor);
        assert_eq!(heard(&mut reactor, client), "", "{:.90}", says);
        reactor.net().send(client, last.as_bytes());
        turn(&mut reactor);
        assert_eq!(answers(&heard(&mut reactor, client), &[])[0].status, status, "{:.90}", says);
    }
}

#[test]
fn case_122_limits_are_the_same_wherever_a_head_is_cut() {
    let says = [
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8 << 10)),
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat((8 << 10) + 60)),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(16 << 10)),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(101)),
    ];
    for says in says {
        let whole = hears(&says);
        for at in (0..says.len()).step_by(41) {
            let (front, rest) = says.as_bytes().split_at(at);
            assert_eq!(hears_of(greeter(), &[front, rest]), whole, "cut at {at}");
        }
    }
}

#[test]
fn case_122_other_versions_and_other_protocols() {
    refused(400, "GET /\r\n"); // HTTP/0.9
    for version in ["HTTP/0.9", "HTTP/9.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3.0", "HTTP/0.0"] {
        refused(505, format!("GET / {version}\r\nHost: a\r\n\r\n"));
    }
    refused(505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    refused(400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    refused(400, "EHLO there\r\n");
    refused(400, "*1\r\n$4\r\nPING\r\n");
}
