//! Any bytes as requests, with any limits. In whatever pieces they come, the same is read, and the
//! same is refused; what is read keeps the limits and can be read one way only; and an answer has
//! the lines that were asked for, whatever is put into it.
use charkh::{
    Input,
    http::{Framing, Limits, Part, Request, Requests, Responses, Status, Terms},
};

use super::Script;

pub fn run(data: &[u8]) {
    let mut script = Script(data);
    let limits = match script.number(4) {
        0 => Limits {
            head_max: 30 + usize::from(script.byte()),
            headers_max: script.number(6),
            uri_max: script.number(40),
            body_max: script.number(40) as u64,
            chunk_line_max: script.number(20),
            extensions_max: script.number(20),
        },
        _ => Limits::default(),
    };
    let sizes = script.take(4);
    let stream = script.0;
    let whole = read(&limits, stream, &[]);
    assert_eq!(read(&limits, stream, &[0]), whole, "byte by byte");
    assert_eq!(read(&limits, stream, sizes), whole, "in pieces of {sizes:?}, less one");
    answer(stream);
}

/// What is read of a stream, as text, with the bodies put together; then what is refused, or where
/// it stops. Sizes are one less than they say, and used in turn; without any it is one piece.
fn read(limits: &Limits, stream: &[u8], sizes: &[u8]) -> String {
    let (mut requests, mut said) = (Requests::default(), String::new());
    let (mut from, mut to, mut body, mut kept_max) = (0, 0, 0, 0);
    let mut sizes = sizes.iter().cycle();
    while to < stream.len() {
        to += sizes.next().map_or(stream.len(), |&size| usize::from(size) + 1);
        to = to.min(stream.len());
        let mut input = Input::new(&stream[from..to]);
        loop {
            let before = input.len();
            match requests.next(limits, &mut input) {
                Ok(Some(Part::Head(request))) => {
                    assert!(before - input.len() <= limits.head_max);
                    check(limits, &request);
                    said += &format!("{request:?}\n");
                    (body, kept_max) = (0, 0);
                }
                Ok(Some(Part::Data(bytes))) => {
                    body += bytes.len() as u64;
                    said += &bytes.escape_ascii().to_string();
                }
                Ok(Some(Part::End)) => {
                    assert!(body <= limits.body_max);
                    said += &format!("\nend, {} after it\n", requests.is_last());
                }
                Ok(None) => break,
                Err(error) => {
                    assert!((400..=505).contains(&error.status.code()));
                    let again = requests.next(limits, &mut input);
                    assert!(matches!(again, Ok(None)), "after an error nothing is read");
                    return said + &error.to_string();
                }
            }
        }
        kept_max = kept_max.max(input.len());
        from = to - input.len();
        let is_over = requests.is_last() && !requests.is_in_body();
        let kept = limits.head_max.max(limits.chunk_line_max + 2);
        assert!(is_over || kept_max <= kept, "{kept_max} bytes are kept");
        if is_over {
            return said;
        }
    }
    said + &format!("{} {}", requests.is_in_body(), stream.len() - from)
}

fn check(limits: &Limits, request: &Request) {
    let Request { method, target, path, query, host, framing, .. } = *request;
    assert!(!method.is_empty() && method.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!matches!(method, "CONNECT" | "TRACE"));
    assert!(target.len() <= limits.uri_max && target.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(path.starts_with('/') || path == "*" && method == "OPTIONS");
    assert!(!path.contains(['?', '#']));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    assert!(target.ends_with(&format!("{path}{query}")) || path == "/");
    assert!(host.is_none_or(|host| !host.contains([' ', '/', '@', ','])));
    assert!(request.headers().count() <= limits.headers_max);
    for (name, value) in request.headers() {
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!name.contains([':', ' ']) && value == value.trim_ascii());
        assert!(!value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n' | 0x7f)));
        assert_eq!(request.header(name).is_some(), request.count(name) > 0);
    }
    let (lengths, encodings) =
        (request.count("Content-Length"), request.count("Transfer-Encoding"));
    let framed = match framing {
        Framing::None => (0, 0),
        Framing::Length(length) => {
            assert!(length <= limits.body_max);
            (1, 0)
        }
        Framing::Chunked => (0, 1),
    };
    assert_eq!((lengths, encodings), framed);
    assert!(request.count("Host") <= 1);
}

/// Whatever a value is made of, it is one line; and a body is as long as its head says.
fn answer(bytes: &[u8]) {
    let (responses, mut out) = (Responses::new("x"), Vec::new());
    responses.begin(&mut out, Status::OK, Terms::LAST).header("X", bytes).body(bytes);
    let head = out.strip_suffix(bytes).expect("the body");
    assert_eq!(head.iter().filter(|&&byte| byte == b'\n').count(), 6);
    assert_eq!(head.iter().filter(|&&byte| byte == b'\r').count(), 6);
    assert!(head.ends_with(format!("\r\nContent-Length: {}\r\n\r\n", bytes.len()).as_bytes()));
    let mut chunks = Vec::new();
    let encoding = responses.begin(&mut chunks, Status::OK, TERMS).stream();
    let head = chunks.len();
    encoding.write(&mut chunks, bytes);
    assert!(encoding.end(&mut chunks));
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let stream = [request, &chunks[head..]].concat();
    let said = read(&Limits { body_max: u64::MAX, ..Limits::default() }, &stream, &[]);
    let body = said.split('\n').nth(1).unwrap_or_default();
    assert_eq!(body, bytes.escape_ascii().to_string());
}

const TERMS: Terms = Terms { keep_alive: true, ..Terms::LAST };
