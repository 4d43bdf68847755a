//! The parser by itself: limits, cuts, and how much work it is.
use charkh::codec::{Decode, Status};

use super::redis::request::{LINE_MAX, Parser, ProtocolError};

/// What becomes of these bytes when they come so many at a time: how many requests, how many bytes
/// were looked at, and the error that ended it.
fn parse(stream: &[u8], step: usize) -> (usize, usize, Option<ProtocolError>) {
    let (mut parser, mut requests, mut taken, mut end) = (Parser::default(), 0, 0, 0);
    while end < stream.len() {
        end = (end + step).min(stream.len());
        loop {
            match parser.decode(&stream[taken..end], 0) {
                Ok(Status::Complete { size, .. }) => {
                    (requests, taken) = (requests + 1, taken + size)
                }
                Ok(Status::Partial { .. }) => break,
                Err(e) => return (requests, looked_at(&parser), e.downcast_ref().copied()),
            }
        }
    }
    (requests, looked_at(&parser), None)
}

/// Counted where tests are built as they are by default.
fn looked_at(parser: &Parser) -> usize {
    #[cfg(debug_assertions)]
    return parser.looked_at;
    #[cfg(not(debug_assertions))]
    return parser.is_midway().into();
}

/// Makes an input of that many parts.
type Make<'a> = &'a dyn Fn(usize) -> Vec<u8>;

/// A slow writer must not be able to make work of few bytes: of each kind of input that can be made
/// long, twice as much takes twice the looks, however it is cut.
#[test]
fn case_125_twice_the_input_is_twice_the_work() {
    let long = |head: &str, part: &str, n: usize| [head, &part.repeat(n)].concat().into_bytes();
    let kinds: [(&str, Make); 7] = [
        ("pipeline", &|n| long("", "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", n)),
        ("arguments", &|n| long(&format!("*{}\r\n", n + 1), "$1\r\na\r\n", n)),
        ("empty arguments", &|n| long(&format!("*{}\r\n", n + 1), "$0\r\n\r\n", n)),
        ("one long argument", &|n| long(&format!("*2\r\n${}\r\n", 20 * n), "x", 19 * n)),
        ("lines", &|n| long("", "GET \"a b\"\r\n", n)),
        ("a line without an end", &|n| long("", "x", 10 * n)),
        ("digits without an end", &|n| long("*", "1", 10 * n)),
    ];
    for (kind, make) in kinds {
        for step in [1, 2, 7, 1000] {
            let [(.., once, none), (.., twice, _)] = [2000, 4000].map(|n| parse(&make(n), step));
            assert_eq!(none, None, "{kind}");
            // A head takes a few looks beside what comes after it.
            assert!(
                10 * twice <= 23 * (once + 20),
                "{kind}, {step} at a time: {once}, then {twice}"
            );
        }
    }
}

/// The limits are the same, whether all came at once or not.
#[test]
fn case_125_lines_and_heads_have_a_limit_of_64_kib() {
    let line = |first: &str, fill: &str, len: usize, end: &str| {
        [first, &fill.repeat(len - first.len()), end].concat().into_bytes()
    };
    for step in [1, 4096, usize::MAX >> 1] {
        let error = |bytes: &[u8]| parse(bytes, step).2;
        let fits = [line("G", "x", LINE_MAX - 1, "\r\n"), line("G", "x", LINE_MAX, "\n")];
        for bytes in fits {
            assert_eq!(error(&bytes), None);
        }
        for end in ["", "\n"] {
            assert_eq!(error(&line("", "x", LINE_MAX + 1, end)), Some(ProtocolError::LineTooBig));
        }
        for end in ["", "\r\n"] {
            let bytes = line("*", "1", LINE_MAX + 1, end);
            assert_eq!(error(&bytes), Some(ProtocolError::MultibulkTooBig));
            let bytes = [b"*1\r\n", &line("$", "1", LINE_MAX + 1, end)[..]].concat();
            assert_eq!(error(&bytes), Some(ProtocolError::BulkTooBig));
            let bytes = [b"*1\r\n", &line("f", "o", LINE_MAX + 1, end)[..]].concat();
            assert_eq!(error(&bytes), Some(ProtocolError::BulkTooBig));
        }
    }
}

/// Memory follows bytes that came: a million arguments that are promised are none.
#[test]
fn case_125_a_promise_takes_no_memory() {
    let mut parser = Parser::default();
    let info = allocation_counter::measure(|| {
        assert!(matches!(parser.decode(b"*2000000000\r\n", 0), Ok(Status::Partial { .. })));
        let more = b"*2000000000\r\n$500000000\r\nabc";
        assert!(matches!(parser.decode(more, 0), Ok(Status::Partial { .. })));
    });
    assert_eq!(info.bytes_total, 0);
}

/// What was needed once is used again.
#[test]
fn requests_take_no_memory_in_the_steady_state() {
    let requests = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\nSET \"a b\" 'c d'\r\n".repeat(100);
    let mut parser = Parser::default();
    let mut run = || {
        let mut at = 0;
        while let Ok(Status::Complete { size, .. }) = parser.decode(&requests[at..], 0) {
            at += size;
        }
        assert_eq!(at, requests.len());
    };
    run();
    assert_eq!(allocation_counter::measure(run).count_total, 0);
}
