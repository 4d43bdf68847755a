//! The requests of the redis example: however they are cut, they are the same; they are those of a
//! model that was written for itself; and no byte is looked at more often than it must be.
use charkh::codec::{Decode, Status};

#[path = "../../examples/redis/number.rs"]
#[allow(dead_code)]
mod number;
#[path = "../../examples/redis/request.rs"]
#[allow(dead_code)]
mod request;

use request::{BULK_MAX, Parser, ProtocolError};

type Request = Vec<Vec<u8>>;
type Found = (Vec<Request>, Option<ProtocolError>);

/// The first byte says how many bytes come at a time, the rest is what comes.
pub fn requests(bytes: &[u8]) {
    let Some((&step, stream)) = bytes.split_first() else { return };
    let whole = parse(stream, stream.len().max(1));
    assert_eq!(whole, model(stream), "the model finds other requests");
    for step in [1, usize::from(step).max(1)] {
        assert_eq!(parse(stream, step), whole, "{step} bytes at a time");
    }
}

/// All requests, with so many bytes more each time.
fn parse(stream: &[u8], step: usize) -> Found {
    let (mut parser, mut found, mut taken, mut calls) = (Parser::default(), Vec::new(), 0, 0);
    let mut end = 0;
    let mut error = None;
    while end < stream.len() && error.is_none() {
        end = (end + step).min(stream.len());
        loop {
            calls += 1;
            match parser.decode(&stream[taken..end], 0) {
                Ok(Status::Complete { frame, size }) => {
                    found.push(parser.args(frame).from(0).map(<[u8]>::to_vec).collect());
                    assert_eq!((frame.len(), parser.is_midway()), (size, false));
                    taken += size;
                }
                Ok(Status::Partial { .. }) => break,
                Err(e) => {
                    error = e.downcast_ref().copied();
                    assert!(error.is_some(), "{e}");
                    break;
                }
            }
        }
    }
    check_work(&parser, stream.len(), calls);
    (found, error)
}

/// Eight digits may be read again for each call, and nothing else.
fn check_work(parser: &Parser, bytes: usize, calls: usize) {
    #[cfg(debug_assertions)]
    assert!(parser.looked_at <= 2 * bytes + 10 * calls, "{} bytes, {calls} calls", bytes);
    let _ = (parser, bytes, calls);
}

/// All at once, from the words of the protocol's page, with no thought of speed.
fn model(mut rest: &[u8]) -> Found {
    let mut found = Vec::new();
    loop {
        match one(&mut rest) {
            Ok(Some(request)) => found.push(request),
            Ok(None) => return (found, None),
            Err(error) => return (found, Some(error)),
        }
    }
}

fn one(rest: &mut &[u8]) -> Result<Option<Request>, ProtocolError> {
    let mut at = *rest;
    if at.first() != Some(&b'*') {
        let Some(end) = at.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
        *rest = &at[end + 1..];
        let line = &at[..end];
        return split(line.strip_suffix(b"\r").unwrap_or(line)).map(Some);
    }
    let Some(first) = head(&mut at) else { return Ok(None) };
    let count = parsed(&first[1..]).filter(|&count| count <= i64::from(i32::MAX));
    let mut request = Vec::new();
    for _ in 0..count.ok_or(ProtocolError::MultibulkLength)? {
        let Some(dollar) = head(&mut at) else { return Ok(None) };
        match dollar.first() {
            Some(b'$') => {}
            // An empty one ends where the next thing was expected.
            other => return Err(ProtocolError::Expected(other.copied().unwrap_or(b'\r'))),
        }
        let length = parsed(&dollar[1..]).filter(|length| (0..=BULK_MAX).contains(length));
        let length = length.ok_or(ProtocolError::BulkLength)? as usize;
        let Some(bulk) = at.get(..length + 2) else { return Ok(None) };
        request.push(bulk[..length].to_vec());
        at = &at[length + 2..];
    }
    *rest = at;
    Ok(Some(request))
}

/// Up to a carriage return that one byte more follows.
fn head<'a>(at: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = at.iter().position(|&byte| byte == b'\r').filter(|&end| end + 2 <= at.len())?;
    let (head, after) = at.split_at(end);
    *at = &after[2..];
    Some(head)
}

/// A number is what is written again in the same way.
fn parsed(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

fn split(line: &[u8]) -> Result<Request, ProtocolError> {
    let blank = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b;
    let ends = |byte: u8| blank(byte) && !matches!(byte, 0x0b | 0x0c);
    let (mut words, mut at) = (Vec::new(), 0);
    while at < line.len() {
        if blank(line[at]) {
            at += 1;
            continue;
        }
        let mut word = Vec::new();
        let mut quote = None;
        while at < line.len() {
            let (byte, next) = (line[at], line.get(at + 1).copied());
            at += 1;
            match quote {
                None if ends(byte) => break,
                None if byte == b'"' || byte == b'\'' => quote = Some(byte),
                None => word.push(byte),
                Some(mark) if byte == mark => {
                    if next.is_some_and(|next| !blank(next)) {
                        return Err(ProtocolError::Quotes);
                    }
                    quote = None;
                    break;
                }
                Some(b'"') if byte == b'\\' && next.is_some() => {
                    at += escaped(&line[at..], &mut word)
                }
                Some(b'\'') if byte == b'\\' && next == Some(b'\'') => {
                    word.push(b'\'');
                    at += 1;
                }
                Some(_) => word.push(byte),
            }
        }
        if quote.is_some() {
            return Err(ProtocolError::Quotes);
        }
        words.push(word);
    }
    Ok(words)
}

/// What stands behind a backslash; how many bytes it was.
fn escaped(rest: &[u8], word: &mut Vec<u8>) -> usize {
    if let [b'x', a, b, ..] = rest
        && let Some(byte) = std::str::from_utf8(&[*a, *b]).ok().filter(|text| !text.contains('+'))
        && let Ok(byte) = u8::from_str_radix(byte, 16)
    {
        word.push(byte);
        return 3;
    }
    word.push(match rest[0] {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    });
    1
}
