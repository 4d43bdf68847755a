//! Responses of HTTP/1.0 and 1.1: where they end.
use std::mem::MaybeUninit;

use charkh::{Escaped, Input};
use httparse::{ParserConfig, Response, Status};
use memchr::memchr_iter;

use super::{LINE_MAX, Phase, State, Verdict, Wrong, number};

/// More header lines than this are an error.
pub(super) const HEADERS_MAX: usize = 128;

/// What the header lines say about the body and the connection.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    /// There is a transfer coding.
    coded: bool,
    /// It is `chunked`.
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

/// Whether the response is whole.
pub(super) fn advance(state: &mut State, head: bool, input: &mut Input) -> Result<bool, Wrong> {
    loop {
        let moved = match state.phase {
            Phase::Start => read_head(state, head, input)?,
            Phase::ChunkSize => read_chunk_size(state, input)?,
            Phase::Chunk => {
                state.left = state.skip_ended(state.left, input)?;
                state.phase = if state.left == 0 { Phase::ChunkSize } else { Phase::Chunk };
                state.left == 0
            }
            Phase::Trailers => read_trailer(state, input)?,
            Phase::ToTheEnd => {
                state.skip(u64::MAX, input);
                false
            }
            Phase::Body | Phase::Bulk => return Ok(state.body(input)),
            Phase::Done => return Ok(true),
        };
        if !moved {
            return Ok(false);
        }
    }
}

/// Take a head, if all of it is here. After that of an interim response comes another.
fn read_head(state: &mut State, head: bool, input: &mut Input) -> Result<bool, Wrong> {
    let bytes = input.peek();
    let wrong = |why: &dyn std::fmt::Display| Wrong::malformed(state.at, why);
    match bytes.first() {
        None => return Ok(false),
        // The parser would pass over empty lines, which no server has reason to send.
        Some(b'H') => {}
        Some(_) => {
            let front = &bytes[..bytes.len().min(16)];
            return Err(wrong(&format!("no HTTP/1.x response: {}", Escaped::new(front, 16))));
        }
    }
    // A head that comes in small pieces is not parsed once for each.
    let worth_parsing = state.mark == 0 || has_blank_line(bytes, state.mark as usize);
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = Response::new(&mut []);
    let config = ParserConfig::default();
    let size = match worth_parsing {
        false => None,
        true => match config.parse_response_with_uninit_headers(&mut response, bytes, &mut headers)
        {
            Ok(Status::Complete(size)) => Some(size),
            Ok(Status::Partial) => None,
            Err(e) => return Err(wrong(&format!("no HTTP/1.x head: {e}"))),
        },
    };
    if size.unwrap_or(bytes.len()) > LINE_MAX {
        return Err(Wrong::too_long(state.at, "a head of more than 64 KiB"));
    }
    let Some(size) = size else {
        state.mark = bytes.len() as u32;
        return Ok(false);
    };
    let framing = framing(&response).map_err(|why| wrong(&why))?;
    state.mark = 0;
    state.skip(size as u64, input);
    begin_body(state, response.code.unwrap_or_default(), head, &framing);
    Ok(true)
}

/// Whether there is a blank line that was not whole in the first `looked` bytes.
fn has_blank_line(bytes: &[u8], looked: usize) -> bool {
    let bytes = bytes.get(looked.saturating_sub(2)..).unwrap_or_default();
    memchr_iter(b'\n', bytes).any(|at| matches!(bytes[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

/// Who closes, and how long the body is: RFC 9112, section 6.3.
fn begin_body(state: &mut State, code: u16, head: bool, framing: &Framing) {
    state.verdict = match code {
        101 => Verdict::Http101,
        100..=199 => return,
        200..=399 => Verdict::Good,
        400..=499 => Verdict::Http4xx,
        // Codes that are none are to be taken for the server's fault.
        _ => Verdict::Http5xx,
    };
    state.closes = framing.close || code == 101;
    state.phase = if head || matches!(code, 101 | 204 | 304) {
        Phase::Done
    } else if framing.chunked {
        Phase::ChunkSize
    } else if let Some(length) = framing.length {
        state.left = length;
        Phase::Body
    } else {
        state.closes = true;
        Phase::ToTheEnd
    };
}

/// What the header lines say, unless they contradict one another.
fn framing(response: &Response) -> Result<Framing, &'static str> {
    let mut framing = Framing::default();
    for header in response.headers.iter() {
        let values = header.value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        if header.name.eq_ignore_ascii_case("content-length") {
            for value in values {
                let length = number(value).ok_or("a Content-Length that is no number")?;
                if framing.length.is_some_and(|other| other != length) {
                    return Err("two lengths in Content-Length");
                }
                framing.length = Some(length);
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            for coding in values.filter(|coding| !coding.is_empty()) {
                if framing.chunked {
                    return Err("a transfer coding after chunked");
                }
                framing.coded = true;
                framing.chunked = coding.eq_ignore_ascii_case(b"chunked");
            }
        } else if header.name.eq_ignore_ascii_case("connection") {
            for option in values {
                framing.close |= option.eq_ignore_ascii_case(b"close");
                framing.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
    }
    let old = response.version == Some(0);
    framing.close |= old && !framing.keep_alive;
    match framing {
        Framing { coded: true, length: Some(_), .. } => {
            Err("both Content-Length and Transfer-Encoding")
        }
        Framing { coded: true, .. } if old => Err("Transfer-Encoding in HTTP/1.0"),
        _ => Ok(framing),
    }
}

/// Take a chunk's size, with whatever extensions there are.
fn read_chunk_size(state: &mut State, input: &mut Input) -> Result<bool, Wrong> {
    let at = state.at;
    let Some(line) = state.line(input)? else { return Ok(false) };
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    let add = |size: u64, &byte: &u8| {
        let digit = char::from(byte).to_digit(16)?;
        size.checked_mul(16)?.checked_add(digit.into())
    };
    let size = digits.iter().try_fold(0, add).filter(|_| !digits.is_empty());
    // The CR LF behind it counts too.
    let Some((size, ended)) = size.and_then(|size| Some((size, size.checked_add(2)?))) else {
        let what = format!("no size of a chunk: {}", Escaped::new(line, 32));
        return Err(Wrong::malformed(at, what));
    };
    (state.phase, state.left) =
        if size == 0 { (Phase::Trailers, 0) } else { (Phase::Chunk, ended) };
    Ok(true)
}

/// Take a line behind the last chunk, of which an empty one is the last.
fn read_trailer(state: &mut State, input: &mut Input) -> Result<bool, Wrong> {
    let at = state.at;
    let Some(line) = state.line(input)? else { return Ok(false) };
    match line.iter().position(|&byte| byte == b':') {
        _ if line.is_empty() => state.phase = Phase::Done,
        Some(name) if name > 0 => {}
        _ => {
            let what = format!("no trailer: {}", Escaped::new(line, 32));
            return Err(Wrong::malformed(at, what));
        }
    }
    Ok(true)
}
