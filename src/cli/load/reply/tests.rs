//! Replies of every kind, whole and at every cut; right, wrong and hostile.
use super::{http::HEADERS_MAX, *};

const GOOD: Outcome = Outcome { refused: None, closes: false };
const CLOSES: Outcome = Outcome { refused: None, closes: true };

/// What became of a stream: replies with where each ended, and how it came out.
type Run = (Vec<(Outcome, usize)>, Result<Progress, Wrong>);

fn refused(kind: &'static str) -> Outcome {
    Outcome { refused: Some(kind), closes: false }
}

fn reply(text: &str) -> Reply {
    text.parse().unwrap()
}

/// Do what the reactor does: what is not taken is offered again, with more behind it.
fn run(reply: &Reply, messages: &[&[u8]], stream: &[u8], cuts: &[usize]) -> Run {
    let (mut state, mut wholes) = (State::default(), Vec::new());
    let mut taken = 0;
    for &end in cuts.iter().chain([&stream.len()]) {
        let mut input = Input::new(&stream[taken..end]);
        loop {
            let before = input.len();
            let expected = messages.get(wholes.len()).copied().unwrap_or(b"?");
            let progress = reply.advance(&mut state, expected, &mut input);
            taken = end - input.len();
            match progress {
                Err(wrong) => return (wholes, Err(wrong)),
                Ok(Progress::More) => break,
                Ok(Progress::Whole(outcome)) => {
                    let start = wholes.last().map_or(0, |&(_, end)| end);
                    assert!(before > input.len() && taken > start, "a reply made of nothing");
                    assert_eq!(state, State::default());
                    wholes.push((outcome, taken));
                }
            }
        }
    }
    let end = reply.eof(&mut state, &stream[taken..]);
    (wholes, end)
}

/// Replies with what becomes of each: uncut, at every cut, at every two, and byte by byte.
#[track_caller]
fn holds_at_every_cut(reply: &Reply, replies: &[(&[u8], Outcome)]) {
    let stream: Vec<u8> = replies.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
    let mut at = 0;
    let wholes: Vec<(Outcome, usize)> = replies
        .iter()
        .map(|(bytes, outcome)| {
            at += bytes.len();
            (*outcome, at)
        })
        .collect();
    let messages: Vec<&[u8]> = replies.iter().map(|(bytes, _)| *bytes).collect();
    let wanted = (wholes, Ok(Progress::More));
    let every: Vec<usize> = (0..stream.len()).collect();
    assert_eq!(run(reply, &messages, &stream, &[]), wanted);
    assert_eq!(run(reply, &messages, &stream, &every), wanted);
    for one in every {
        assert_eq!(run(reply, &messages, &stream, &[one]), wanted, "cut at {one}");
        for two in (one..stream.len()).take(90) {
            assert_eq!(run(reply, &messages, &stream, &[one, two]), wanted, "{one}, {two}");
        }
    }
}

/// Numbers that are random, and the same each time: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, max: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % max
    }

    fn cuts(&mut self, len: usize) -> Vec<usize> {
        let mut cuts: Vec<usize> = (0..self.below(8)).map(|_| self.below(len + 1)).collect();
        cuts.sort_unstable();
        cuts
    }
}

#[test]
fn echo_line_and_size_at_every_cut() {
    let echo = [(&b"one"[..], GOOD), (b"x", GOOD), (b"one\n\0more", GOOD)];
    holds_at_every_cut(&reply("echo"), &echo);
    let lines = [(&b"one\n"[..], GOOD), (b"\n", GOOD), (b"\r\n", GOOD), (b"two\rthree\r\n", GOOD)];
    holds_at_every_cut(&reply("line"), &lines);
    holds_at_every_cut(&reply("size:3"), &[(b"one", GOOD), (b"\n\n\n", GOOD), (b"two", GOOD)]);
    holds_at_every_cut(&reply("size:1"), &[(b"1", GOOD), (b"2", GOOD)]);
}

#[test]
fn lengths_of_every_width_at_every_cut() {
    for (kind, header) in [
        ("1", &b"\x05"[..]),
        ("1be", b"\x05"),
        ("1le", b"\x05"),
        ("2be", b"\0\x05"),
        ("2le", b"\x05\0"),
        ("4be", b"\0\0\0\x05"),
        ("4le", b"\x05\0\0\0"),
        ("8be", b"\0\0\0\0\0\0\0\x05"),
        ("8le", b"\x05\0\0\0\0\0\0\0"),
    ] {
        let five = [header, b"hello"].concat();
        let none = vec![0; header.len()];
        let replies = [(&five[..], GOOD), (&none, GOOD), (&none, GOOD), (&five, GOOD)];
        holds_at_every_cut(&reply(&format!("length:{kind}")), &replies);
    }
    let long = [&b"\x01\x02"[..], &[7; 0x102]].concat();
    let (wholes, end) = run(&reply("length:2be"), &[], &[&long[..], &long].concat(), &[100, 261]);
    assert_eq!((wholes, end), (vec![(GOOD, 260), (GOOD, 520)], Ok(Progress::More)));
}

#[test]
fn delimiters_at_every_cut() {
    let blank = [(&b"\r\n\r\n"[..], GOOD), (b"a\r\n\r\r\n\r\n", GOOD), (b"\r\r\n\r\n", GOOD)];
    holds_at_every_cut(&reply("until:0d0a0d0a"), &blank);
    holds_at_every_cut(&reply("until:00"), &[(b"\0", GOOD), (b"ab\0", GOOD), (b"\0", GOOD)]);
    let overlaps = [(&b"aabaabaaabaabaac"[..], GOOD), (b"aabaac", GOOD), (b"aaaabaac", GOOD)];
    holds_at_every_cut(&reply("until:616162616163"), &overlaps);
    let long = [&[7; 63][..], b"!"].concat();
    let hex: String = long.iter().map(|byte| format!("{byte:02X}")).collect();
    let more = [&[7; 30], &long[..]].concat();
    holds_at_every_cut(&reply(&format!("until:{hex}")), &[(&long, GOOD), (&more, GOOD)]);
}

#[test]
fn a_delimiter_is_found_where_a_plain_search_finds_it() {
    let mut random = Random(1);
    let mut found = 0;
    for _ in 0..20_000 {
        let delimiter: Vec<u8> = (0..=random.below(6)).map(|_| random.below(2) as u8).collect();
        let stream: Vec<u8> = (0..random.below(60)).map(|_| random.below(2) as u8).collect();
        let mut wanted = Vec::new();
        let mut start = 0;
        for end in 1..=stream.len() {
            if stream[start..end].ends_with(&delimiter) {
                wanted.push((GOOD, end));
                start = end;
            }
        }
        let cuts = random.cuts(stream.len());
        let reply = Reply::Until(Box::new(Delimiter::new(&delimiter)));
        let (wholes, _) = run(&reply, &[], &stream, &cuts);
        assert_eq!(wholes, wanted, "{delimiter:?} in {stream:?} cut at {cuts:?}");
        found += wanted.len();
    }
    assert!(found > 10_000, "{found}");
}

#[test]
fn http_bodies_with_a_length_at_every_cut() {
    let replies = [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"[..], GOOD),
        (b"HTTP/1.1 301\r\ncontent-length:0\r\n\r\n", GOOD),
        (
            b"HTTP/1.1 404 Not Found\ncontent-LENGTH: 2, 2\nContent-Length: 2\n\nno",
            refused("http 4xx"),
        ),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", GOOD),
        (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", GOOD),
        (b"HTTP/1.1 503 \r\nContent-Length: 1\r\n\r\n\n", refused("http 5xx")),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx", GOOD),
        (b"HTTP/1.1 999 ?\r\nContent-Length: 0\r\n\r\n", refused("http 5xx")),
    ];
    holds_at_every_cut(&reply("http"), &replies);
    let replies = [
        (&b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx"[..], CLOSES),
        (b"HTTP/1.1 200 OK\r\nConnection: foo , Close\r\nContent-Length: 1\r\n\r\nx", CLOSES),
        (b"HTTP/1.0 204 OK\r\nConnection: close, keep-alive\r\n\r\n", CLOSES),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            Outcome { refused: Some("http 101"), closes: true },
        ),
    ];
    holds_at_every_cut(&reply("http"), &replies);
}

#[test]
fn http_chunks_and_interim_responses_at_every_cut() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
    let plain = [chunked, &b"5\r\nhello\r\n0\r\n\r\n"[..]].concat();
    let rich = b"A;name=\"x\" ; y\r\n0123\r\n0\r\n9\r\n00b \r\n01234567890\r\n000;end\r\n\
        X-Sum: 1\r\nEmpty:\r\n\r\n";
    let rich = [chunked, &rich[..]].concat();
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\
        Content-Length: 7\r\n\r\nHTTP/1.1 500 Oh\r\nContent-Length: 1\r\n\r\n!";
    let coded = b"HTTP/1.1 400 No\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: , chunked\r\n\
        \r\n1\r\n?\r\n0\r\n\r\n";
    let replies = [
        (&plain[..], GOOD),
        (&rich, GOOD),
        (interim, refused("http 5xx")),
        (coded, refused("http 4xx")),
        (&plain, GOOD),
    ];
    holds_at_every_cut(&reply("http"), &replies);
}

#[test]
fn http_responses_to_head_have_no_body() {
    let http = reply("http").for_message(b"HEAD / HTTP/1.1\r\n\r\n");
    let replies = [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"[..], GOOD),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", GOOD),
        (b"HTTP/1.1 404 No\r\n\r\n", refused("http 4xx")),
    ];
    holds_at_every_cut(&http, &replies);
    let get = http.for_message(b"HEADER / HTTP/1.1\r\n\r\n");
    holds_at_every_cut(&get, &[(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!", GOOD)]);
}

#[test]
fn a_http_body_without_a_length_ends_with_the_connection() {
    let first = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!";
    for head in [
        "HTTP/1.1 500 OK\r\n\r\n",
        "HTTP/1.0 500 OK\r\nConnection: keep-alive\r\n\r\n",
        "HTTP/1.1 500 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        for body in ["", "x", "HTTP/1.1 200 OK\r\n\r\n"] {
            let stream = [first, head.as_bytes(), body.as_bytes()].concat();
            let outcome = Outcome { refused: Some("http 5xx"), closes: true };
            let wanted = (vec![(GOOD, first.len())], Ok(Progress::Whole(outcome)));
            for cut in 0..=stream.len() {
                assert_eq!(run(&reply("http"), &[], &stream, &[cut]), wanted, "{head}{body} {cut}");
            }
        }
    }
}

#[test]
fn resp_at_every_cut() {
    let replies = [
        (&b"+OK\r\n"[..], GOOD),
        (b"-ERR unknown command\r\n", refused("redis error")),
        (b":-42\r\n", GOOD),
        (b"$5\r\nhe\r\no\r\n", GOOD),
        (b"$0\r\n\r\n", GOOD),
        (b"$-1\r\n", GOOD),
        (b"*-1\r\n", GOOD),
        (b"*0\r\n", GOOD),
        (b"*3\r\n*2\r\n+a\r\n*0\r\n$1\r\nb\r\n-not me\r\n", GOOD),
        (b"!5\r\nERR x\r\n", refused("redis error")),
    ];
    holds_at_every_cut(&reply("resp"), &replies);
    let replies = [
        (&b"%2\r\n+a\r\n:1\r\n+b\r\n~2\r\n#t\r\n#f\r\n"[..], GOOD),
        (b"_\r\n", GOOD),
        (b",-1.5e9\r\n", GOOD),
        (b",inf\r\n", GOOD),
        (b"(-3492890328409238509324850943850943825024385\r\n", GOOD),
        (b"=7\r\ntxt:a\r\n\r\n", GOOD),
        (b"|1\r\n+ttl\r\n*1\r\n-x\r\n-ERR\r\n", refused("redis error")),
        (b"*1\r\n|1\r\n+a\r\n+b\r\n:1\r\n", GOOD),
        (b">2\r\n+message\r\n-x\r\n>0\r\n|0\r\n>1\r\n*1\r\n_\r\n-ERR\r\n", refused("redis error")),
    ];
    holds_at_every_cut(&reply("resp"), &replies);
}

#[test]
fn resp_values_made_at_random_end_where_they_were_made_to() {
    fn value(random: &mut Random, depth: usize, out: &mut Vec<u8>) {
        let several = if depth < 5 { 12 } else { 8 };
        let parts = match random.below(several) {
            0 => return out.extend(b"+OK\r\n"),
            1 => return out.extend(b":7\r\n"),
            2 => return out.extend(b"_\r\n"),
            3 => return out.extend(b"-ERR\r\n"),
            n @ 4..8 => {
                let size = random.below(20);
                out.extend(format!("{}{size}\r\n", ["$", "!", "=", "$"][n - 4]).bytes());
                out.extend((0..size).map(|_| b"\r\n*1a"[random.below(5)]));
                return out.extend(b"\r\n");
            }
            n => {
                let count = random.below(4);
                out.extend(format!("{}{count}\r\n", ["*", "~", "%", "|"][n - 8]).bytes());
                // An attribute is followed by what it is about.
                count * [1, 1, 2, 2][n - 8] + usize::from(n == 11)
            }
        };
        (0..parts).for_each(|_| value(random, depth + 1, out));
    }
    let mut random = Random(2);
    for _ in 0..5_000 {
        let (mut stream, mut wanted) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            value(&mut random, 0, &mut stream);
            wanted.push(stream.len());
        }
        let cuts = random.cuts(stream.len());
        let (wholes, end) = run(&reply("resp"), &[], &stream, &cuts);
        let ends: Vec<usize> = wholes.iter().map(|&(_, end)| end).collect();
        assert_eq!((ends, end), (wanted, Ok(Progress::More)), "{:?}", stream.escape_ascii());
    }
}

#[test]
fn resp_is_followed_however_deep_it_is() {
    let deep = [&b"*2\r\n:1\r\n".repeat(100_000)[..], b":2\r\n"].concat();
    let twice = [&deep[..], &deep].concat();
    let wanted = (vec![(GOOD, deep.len()), (GOOD, 2 * deep.len())], Ok(Progress::More));
    assert_eq!(run(&reply("resp"), &[], &twice, &[77_777]), wanted);
}

#[test]
fn a_wrong_byte_is_named_wherever_it_is() {
    let message = b"what was sent";
    for at in 0..message.len() {
        let mut stream = [&message[..], message].concat();
        stream[message.len() + at] ^= 0x81;
        let (found, wanted) = (message[at] ^ 0x81, message[at]);
        let what =
            format!("the byte at offset {at} of the reply is 0x{found:02x}, not 0x{wanted:02x}");
        let wanted = (vec![(GOOD, 13)], Err(Wrong { kind: "wrong byte", what }));
        for cut in 0..=stream.len() {
            assert_eq!(run(&reply("echo"), &[message, message], &stream, &[cut]), wanted);
        }
    }
}

/// Streams that are no reply of their kind, with what is wrong, and where.
#[track_caller]
fn malformed(kind: &str, cases: &[(String, usize, &str)]) {
    for (stream, at, what) in cases {
        let what = format!("at offset {at} of the reply: {what}");
        let (wholes, end) = run(&reply(kind), &[], stream.as_bytes(), &[]);
        let wrong = end.unwrap_err();
        assert!(wrong.what.starts_with(&what), "{stream:?}: {wrong:?}");
        assert_eq!((wholes, wrong.kind), (vec![], "malformed reply"));
        let every: Vec<usize> = (0..stream.len()).collect();
        let (wholes, end) = run(&reply(kind), &[], stream.as_bytes(), &every);
        assert_eq!((wholes, end.unwrap_err().kind), (vec![], "malformed reply"), "{stream:?}");
    }
}

#[test]
fn malformed_http_is_named() {
    let http = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
    let chunks = |chunks: &str| http("Transfer-Encoding: chunked") + chunks;
    let cases = [
        ("SSH-2.0-OpenSSH_9\r\n\r\n".into(), 0, "no HTTP/1.x response: SSH-2.0"),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n".into(), 0, "no HTTP/1.x response: \\r\\n"),
        ("HTTP/2.0 200 OK\r\n\r\n".into(), 0, "no HTTP/1.x head: invalid HTTP version"),
        ("HTTP/1.1 2x0 OK\r\n\r\n".into(), 0, "no HTTP/1.x head: invalid response status"),
        (http("a b: c"), 0, "no HTTP/1.x head: invalid header name"),
        (http(&"a: b\r\n".repeat(129)), 0, "no HTTP/1.x head: too many headers"),
        (http("Content-Length: +1"), 0, "a Content-Length that is no number"),
        (http("Content-Length:"), 0, "a Content-Length that is no number"),
        (http(&format!("Content-Length: {}0", u64::MAX)), 0, "a Content-Length that is no"),
        (http("Content-Length: 1, 2"), 0, "two lengths in Content-Length"),
        (http("Content-Length: 1\r\nContent-Length: 2"), 0, "two lengths in"),
        (
            http("Transfer-Encoding: chunked\r\nContent-Length: 2"),
            0,
            "both Content-Length and Transfer-Encoding",
        ),
        (http("Transfer-Encoding: chunked, gzip"), 0, "a transfer coding after chunked"),
        (
            http("Transfer-Encoding: chunked").replace("1.1", "1.0"),
            0,
            "Transfer-Encoding in HTTP/1.0",
        ),
        (chunks("x\r\n"), 47, "no size of a chunk: x"),
        (chunks("\r\n"), 47, "no size of a chunk: "),
        (chunks(";\r\n"), 47, "no size of a chunk: ;"),
        (chunks("-1\r\n"), 47, "no size of a chunk: -1"),
        (chunks("FFFFFFFFFFFFFFFE\r\n"), 47, "no size of a chunk: FFFFFFFFFFFFFFFE"),
        (chunks("10000000000000000\r\n"), 47, "no size of a chunk: 10000000000000000"),
        (chunks("1\n"), 47, "a line that no CR LF ends"),
        (chunks("1\r\nab\r\n"), 51, "0x62 where CR LF should be"),
        (chunks("1\r\na\rb"), 52, "0x62 where CR LF should be"),
        (chunks("0\r\nab\r\n"), 50, "no trailer: ab"),
        (chunks("0\r\n:b\r\n"), 50, "no trailer: :b"),
    ];
    malformed("http", &cases);
}

#[test]
fn malformed_resp_is_named() {
    let cases = [
        ("HTTP/1.1 400".into(), 0, "no type of RESP: HTTP/1.1 400"),
        ("*1\r\n;".into(), 4, "no type of RESP: ;"),
        ("+OK\n".into(), 0, "a line that no CR LF ends"),
        ("$?\r\n".into(), 0, "a streamed string, which is not read: $?"),
        ("*?\r\n".into(), 0, "streamed elements, which are not read: *?"),
        ("*1\r\n%?\r\n".into(), 4, "streamed elements, which are not read: %?"),
        ("$\r\n".into(), 0, "no length: $"),
        ("=-1\r\n".into(), 0, "no length: =-1"),
        ("*+1\r\n".into(), 0, "no number of elements: *+1"),
        ("~-1\r\n".into(), 0, "no number of elements: ~-1"),
        ("$1\r\nab\r\n".into(), 5, "0x62 where CR LF should be"),
        ("*1\r\n>1\r\n".into(), 4, "a push within a reply: >1"),
        ("|1\r\n>1\r\n".into(), 4, "a push within a reply: >1"),
        (format!("%{}\r\n", u64::MAX), 0, "more elements than can be counted: %184"),
        (format!("*{}\r\n", u64::MAX), 0, "more elements than can be counted: *184"),
    ];
    malformed("resp", &cases);
    for value in [":", ":+", ":1.5", ":9223372036854775808", "(", "(1x", ",", ",x", "#", "#true"] {
        let (_, end) = run(&reply("resp"), &[], format!("{value}\r\n").as_bytes(), &[]);
        let what = format!("at offset 0 of the reply: no value of its type: {value}");
        assert_eq!(end, Err(Wrong { kind: "malformed reply", what }));
    }
    assert_eq!(run(&reply("resp"), &[], b"_x\r\n", &[]).1.unwrap_err().kind, "malformed reply");
}

#[test]
fn heads_and_lines_have_a_limit() {
    let head = |size: usize| {
        let front = "HTTP/1.1 204 OK\r\nX: ";
        format!("{front}{}\r\n\r\n", "x".repeat(size - front.len() - 4))
    };
    let line = |size: usize| format!("+{}\r\n", "x".repeat(size - 3));
    let chunk = |size: usize| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0;";
        format!("{head}{}\r\n\r\n", "x".repeat(size - 4))
    };
    let pair = |text: &dyn Fn(usize) -> String| (text(LINE_MAX), text(LINE_MAX + 1));
    let cases = [
        ("http", pair(&head), 0, "a head of more than 64 KiB"),
        ("resp", pair(&line), 0, "a line of more than 64 KiB"),
        ("http", pair(&chunk), 47, "a line of more than 64 KiB"),
    ];
    for (kind, (long, longer), at, what) in cases {
        let what = format!("at offset {at} of the reply: {what}");
        let wrong = Err(Wrong { kind: "too long", what });
        for cuts in [vec![], (0..LINE_MAX).collect(), (0..LINE_MAX).step_by(1000).collect()] {
            let (wholes, end) = run(&reply(kind), &[], long.as_bytes(), &cuts);
            assert_eq!((wholes, end), (vec![(GOOD, long.len())], Ok(Progress::More)));
            let (wholes, end) = run(&reply(kind), &[], longer.as_bytes(), &cuts);
            assert_eq!((wholes, end), (vec![], wrong.clone()));
        }
        // It is too long before its end is seen.
        let cuts = [LINE_MAX / 2];
        let (_, end) = run(&reply(kind), &[], &longer.as_bytes()[..at + LINE_MAX + 1], &cuts);
        assert_eq!(end, wrong);
    }
    let lines = "a: b\r\n".repeat(HEADERS_MAX - 1);
    let most = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n");
    assert_eq!(run(&reply("http"), &[], most.as_bytes(), &[]).0, [(GOOD, most.len())]);
}

#[test]
fn bodies_have_a_limit() {
    let wrong = |what: &str| {
        Err(Wrong { kind: "too long", what: format!("at offset 0 of the reply: {what}") })
    };
    let ends = |kind: &str, stream: &[u8]| run(&reply(kind), &[], stream, &[]).1;
    let cut = |came: usize| {
        let what = format!("the connection ended {came} bytes into the reply");
        Err(Wrong { kind: "cut short", what })
    };
    assert_eq!(ends("length:4be", b"\x40\0\0\0"), cut(4));
    assert_eq!(
        ends("length:4be", b"\x40\0\0\x01"),
        wrong("a body of 1073741825 bytes, over 1 GiB")
    );
    assert_eq!(
        ends("length:8le", &[0xff; 8]),
        wrong("a body of 18446744073709551615 bytes, over 1 GiB")
    );
    assert_eq!(ends("resp", b"$1073741824\r\n"), cut(13));
    assert_eq!(ends("resp", b"$1073741825\r\n"), wrong("a string of 1073741825 bytes, over 1 GiB"));
    // Nothing has to be kept of these.
    let most = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nx", u64::MAX);
    assert_eq!(ends("http", most.as_bytes()), cut(most.len()));
    let chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFD\r\nxx";
    assert_eq!(ends("http", chunk.as_bytes()), cut(chunk.len()));
    assert_eq!(ends("resp", b"*18446744073709551614\r\n+a\r\n"), cut(27));
}

#[test]
fn an_end_within_a_reply_is_not_its_end() {
    for (kind, stream) in [
        ("echo", &b"message"[..]),
        ("size:9", b"12345678\n"),
        ("line", b"hello\n"),
        ("length:4be", b"\0\0\0\x02hi"),
        ("until:0d0a", b"hello\r\n"),
        ("http", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
        ("http", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 OK\r\n\r\n"),
        ("http", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n!\r\n0\r\n\r\n"),
        ("resp", b"*2\r\n$2\r\nhi\r\n:1\r\n"),
    ] {
        let messages = [stream, stream];
        let end = |size: usize, cut: usize| run(&reply(kind), &messages, &stream[..size], &[cut]).1;
        assert_eq!(end(0, 0), Ok(Progress::More));
        assert_eq!(end(stream.len(), 1), Ok(Progress::More));
        for size in 1..stream.len() {
            let what = format!("the connection ended {size} bytes into the reply");
            assert_eq!(end(size, size / 2), Err(Wrong { kind: "cut short", what }), "{kind}");
        }
    }
    // What is pushed is no reply.
    assert_eq!(run(&reply("resp"), &[], b">1\r\n+x\r\n", &[]), (vec![], Ok(Progress::More)));
}

#[test]
fn hostile_bytes_come_to_the_same_however_they_are_cut() {
    let words = "HTTP/1.1 200 OK\r\n^HTTP/1.0 404 No\r\n^HTTP/1.1 100 Continue\r\n\r\n^\
        HTTP/1.1 204 \n\n^Content-Length: ^Transfer-Encoding: chunked\r\n^\
        Transfer-Encoding: gzip\r\n^Connection: close\r\n^\r\n^\r\n\r\n^\n^\r^0^1^2^5^-1^\
        99999999999999999999^$^*^+OK\r\n^-ERR\r\n^:1\r\n^%1\r\n^|1\r\n^>1\r\n^$2\r\n^*2\r\n^_\r\n^\
        !0\r\n\r\n^#t\r\n^,1\r\n^=^~2\r\n^?^\0\0\0\x03^ab^abc^0\r\n\r\n^1\r\nx\r\n";
    let words: Vec<&[u8]> = words.split('^').map(str::as_bytes).collect();
    let kinds = "echo size:3 line length:1 length:4be length:8le until:0d0a until:616261 http http \
                 http resp resp resp";
    let kinds: Vec<Reply> = kinds.split(' ').map(reply).collect();
    let mut random = Random(3);
    let (mut wholes, mut wrongs) = (0, 0);
    for _ in 0..100_000 {
        let mut stream = Vec::new();
        for _ in 0..random.below(14) {
            match random.below(10) {
                0 => stream.push(random.below(256) as u8),
                _ => stream.extend_from_slice(words[random.below(words.len())]),
            }
        }
        let kind = &kinds[random.below(kinds.len())];
        let cuts = random.cuts(stream.len());
        let uncut = run(kind, &[b"ab".as_slice(); 9], &stream, &[]);
        let cut = run(kind, &[b"ab".as_slice(); 9], &stream, &cuts);
        let shown = stream.escape_ascii();
        assert_eq!(cut.0, uncut.0, "{kind:?} {cuts:?} {shown}");
        assert_eq!(cut.1.is_err(), uncut.1.is_err(), "{kind:?} {cuts:?} {shown}");
        wholes += uncut.0.len();
        wrongs += usize::from(uncut.1.is_err());
    }
    assert!(wholes > 50_000 && wrongs > 10_000, "{wholes} {wrongs}");
}

#[test]
fn nothing_is_allocated_for_a_reply() {
    let replies = [
        ("echo", &b"message"[..]),
        ("size:7", b"message"),
        ("line", b"hello\n"),
        ("length:1", b"\x02hi"),
        ("until:0d0a", b"hello\r\n"),
        ("http", b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nhi"),
        ("resp", b"*2\r\n$2\r\nhi\r\n:1\r\n"),
    ];
    for (kind, stream) in replies {
        let reply = reply(kind);
        let mut state = State::default();
        let counted = allocation_counter::measure(|| {
            for bytes in [stream, &stream[..1], stream] {
                let mut input = Input::new(bytes);
                let progress = reply.advance(&mut state, b"message", &mut input);
                assert_eq!(progress == Ok(Progress::Whole(GOOD)), bytes.len() > 1);
                state = State::default();
            }
        });
        assert_eq!(counted.count_total, 0, "{kind}");
    }
}

#[test]
fn kinds_are_read_and_what_is_none_is_answered_with_what_there_is() {
    let says = |text: &str| text.parse::<Reply>().unwrap_err();
    assert!(matches!(reply("size:64KiB"), Reply::Size(65_536)));
    assert!(matches!(reply("http"), Reply::Http { head: false }));
    for text in ["", "echo:", "Echo", "http:1", "size", "length", "until", "lines", "resp3"] {
        let kinds = "write echo, size:512, line, length:4be, until:0d0a, http or resp";
        assert_eq!(says(text), format!("it is no kind of reply: {kinds}"), "{text}");
    }
    for text in ["size:", "size:0", "size:x", "size:-1"] {
        let sentence = "a size is at least one byte: write size:512 or size:64KiB";
        assert_eq!(says(text), sentence, "{text}");
    }
    for text in ["length:", "length:2", "length:3be", "length:4", "length:4BE", "length:be"] {
        let sentence = "a length has 1, 2, 4 or 8 bytes and, but for 1, an order: write length:1, \
                        length:2be, length:4be, length:8be, or le for be";
        assert_eq!(says(text), sentence, "{text}");
    }
    let long = format!("until:{}", "00".repeat(65));
    for text in ["until:", "until:0", "until:0d0", "until:0x", "until:+1", "until:é", &long] {
        let sentence = "the end of a reply is 1 to 64 bytes in hex: write until:0a or until:0d0a";
        assert_eq!(says(text), sentence, "{text}");
    }
}
