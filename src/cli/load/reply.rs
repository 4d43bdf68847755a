//! What a reply is: where it ends, and whether it is right. Nothing is kept of it but a few
//! numbers for each connection: bytes are looked at as they come, and forgotten.
mod http;
mod resp;

use std::{fmt::Display, str::FromStr};

use charkh::Input;
use memchr::{memchr, memmem::Finder};

use crate::cli::units::Size;

/// The longest head of HTTP, and the longest line that has to be whole before it can be read.
const LINE_MAX: usize = 64 << 10;

/// The longest body that a length before it may promise.
const BODY_MAX: u64 = 1 << 30;

/// What a server answers each message with.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// The message.
    Echo,
    /// This many bytes, at least one.
    Size(u64),
    /// What comes up to an LF.
    Line,
    /// A length, then that many bytes.
    Length(Prefix),
    /// What comes up to these bytes.
    Until(Box<Delimiter>),
    /// A response of HTTP/1.x.
    Http {
        /// The request is HEAD: whatever the response's head says, no body follows.
        head: bool,
    },
    /// A value of the Redis protocol, version 2 or 3.
    Resp,
}

/// The length before a body, which does not count itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prefix {
    /// 1, 2, 4 or 8 bytes.
    width: usize,
    little_endian: bool,
}

/// Bytes that end a reply.
#[derive(Clone, Debug)]
pub(crate) struct Delimiter {
    finder: Finder<'static>,
    /// For each number of bytes that were like the delimiter's, less one: how many of the last of
    /// them are like its first ones too.
    borders: Vec<u8>,
}

/// How far the reply has come that a connection waits for. `default()` is before its first byte.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct State {
    /// Bytes of it that were taken.
    at: u64,
    /// Bytes of a body or a chunk, or elements of RESP, that are still to come.
    left: u64,
    /// Of what was not taken, the front without an end; or bytes of a delimiter that have come;
    /// or bytes of a RESP string that are still to come.
    mark: u32,
    phase: Phase,
    verdict: Verdict,
    /// The server said, or will say, that the connection ends with this.
    closes: bool,
    /// The first element of RESP has elements of its own.
    nested: bool,
}

// A hundred thousand idle connections have one each.
const _: () = assert!(size_of::<State>() <= 24);

/// What comes next.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Phase {
    /// The reply's beginning; in RESP, that of an element.
    #[default]
    Start,
    /// `left` bytes, and the reply is whole.
    Body,
    ChunkSize,
    /// `left` bytes, of which the last two are CR LF.
    Chunk,
    Trailers,
    /// Everything up to the end of the connection.
    ToTheEnd,
    /// `mark` bytes, of which the last two are CR LF.
    Bulk,
    /// Nothing.
    Done,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Verdict {
    #[default]
    Good,
    /// No reply at all, but something that the server had to tell.
    Aside,
    Http101,
    Http4xx,
    Http5xx,
    RedisError,
}

/// Whether a reply is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// Not yet.
    More,
    /// Yes; whatever follows is the next one.
    Whole(Outcome),
}

/// What a whole reply comes to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    /// The server understood, and said no: `http 4xx`, `http 5xx`, `redis error`; or `http 101`,
    /// which is no refusal, but the end of HTTP on this connection.
    pub(crate) refused: Option<&'static str>,
    /// No reply will follow on this connection: the server closes it.
    pub(crate) closes: bool,
}

/// Bytes that are no reply. The connection is of no use after them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wrong {
    /// For counting: `wrong byte`, `malformed reply`, `too long` or `cut short`.
    pub(crate) kind: &'static str,
    /// For reading; offsets count from 0, within the reply.
    pub(crate) what: String,
}

impl Reply {
    /// The same, knowing the message that it answers: a HEAD request has no body in its response.
    pub(crate) fn for_message(self, message: &[u8]) -> Self {
        match self {
            Reply::Http { .. } => Reply::Http { head: message.starts_with(b"HEAD ") },
            other => other,
        }
    }

    /// Take what has come of the reply to `expected`, which is not empty, and no more: after
    /// `Whole` the state is that before a first byte, and `input` has what follows. After `More`,
    /// what is left in `input` is to be offered again, with more behind it.
    ///
    /// # Errors
    /// This can be no such reply, whatever follows.
    pub(crate) fn advance(
        &self,
        state: &mut State,
        expected: &[u8],
        input: &mut Input,
    ) -> Result<Progress, Wrong> {
        let whole = match self {
            Reply::Echo => echo(state, expected, input)?,
            Reply::Size(size) => {
                state.skip(size - state.at, input);
                state.at == *size
            }
            Reply::Line => {
                let end = memchr(b'\n', input.peek());
                state.skip(end.map_or(u64::MAX, |at| at as u64 + 1), input);
                end.is_some()
            }
            Reply::Length(prefix) => prefix.advance(state, input)?,
            Reply::Until(delimiter) => delimiter.advance(state, input),
            Reply::Http { head } => http::advance(state, *head, input)?,
            Reply::Resp => resp::advance(state, input)?,
        };
        Ok(if whole { state.finish() } else { Progress::More })
    }

    /// The server has ended the connection; `rest` is what `advance` has not taken. `More` is an
    /// end between two replies.
    ///
    /// # Errors
    /// It is in the midst of a reply.
    pub(crate) fn eof(&self, state: &mut State, rest: &[u8]) -> Result<Progress, Wrong> {
        if state.phase == Phase::ToTheEnd {
            return Ok(state.finish());
        }
        match state.at + rest.len() as u64 {
            0 => Ok(Progress::More),
            came => Err(Wrong {
                kind: "cut short",
                what: format!("the connection ended {came} bytes into the reply"),
            }),
        }
    }
}

impl FromStr for Reply {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        match (name, value) {
            ("echo", None) => Ok(Reply::Echo),
            ("line", None) => Ok(Reply::Line),
            ("http", None) => Ok(Reply::Http { head: false }),
            ("resp", None) => Ok(Reply::Resp),
            ("size", Some(value)) => match value.parse() {
                Ok(Size(size)) if size > 0 => Ok(Reply::Size(size as u64)),
                _ => Err("a size is at least one byte: write size:512 or size:64KiB".into()),
            },
            ("length", Some(value)) => value.parse().map(Reply::Length),
            ("until", Some(value)) => {
                value.parse().map(|delimiter| Reply::Until(Box::new(delimiter)))
            }
            _ => {
                Err("it is no kind of reply: write echo, size:512, line, length:4be, until:0d0a, \
                      http or resp"
                    .into())
            }
        }
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (width, little_endian) = match text {
            "1" | "1be" => (1, false),
            "2be" => (2, false),
            "4be" => (4, false),
            "8be" => (8, false),
            "1le" => (1, true),
            "2le" => (2, true),
            "4le" => (4, true),
            "8le" => (8, true),
            _ => {
                return Err("a length has 1, 2, 4 or 8 bytes and, but for 1, an order: write \
                            length:1, length:2be, length:4be, length:8be, or le for be"
                    .into());
            }
        };
        Ok(Self { width, little_endian })
    }
}

impl FromStr for Delimiter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let byte = |pair: &[u8]| match pair {
            &[high, low] => Some(hex_digit(high)? << 4 | hex_digit(low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
        match bytes {
            Some(bytes) if (1..=64).contains(&bytes.len()) => Ok(Self::new(&bytes)),
            _ => {
                Err("the end of a reply is 1 to 64 bytes in hex: write until:0a or until:0d0a"
                    .into())
            }
        }
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Every byte is that of the message.
fn echo(state: &mut State, expected: &[u8], input: &mut Input) -> Result<bool, Wrong> {
    let start = state.at as usize;
    let expected = &expected[start..];
    let came = &input.peek()[..input.len().min(expected.len())];
    if *came != expected[..came.len()]
        && let Some(n) = came.iter().zip(expected).position(|(a, b)| a != b)
    {
        return Err(Wrong {
            kind: "wrong byte",
            what: format!(
                "the byte at offset {} of the reply is 0x{:02x}, not 0x{:02x}",
                start + n,
                came[n],
                expected[n]
            ),
        });
    }
    let whole = came.len() == expected.len();
    state.skip(came.len() as u64, input);
    Ok(whole)
}

impl Prefix {
    fn advance(self, state: &mut State, input: &mut Input) -> Result<bool, Wrong> {
        if state.phase == Phase::Start {
            let Some(bytes) = input.take(self.width) else { return Ok(false) };
            let add = |length: u64, &byte: &u8| length << 8 | u64::from(byte);
            state.left = match self.little_endian {
                true => bytes.iter().rev().fold(0, add),
                false => bytes.iter().fold(0, add),
            };
            if state.left > BODY_MAX {
                let what = format_args!("a body of {} bytes, over 1 GiB", state.left);
                return Err(Wrong::too_long(state.at, what));
            }
            state.at += self.width as u64;
            state.phase = Phase::Body;
        }
        Ok(state.body(input))
    }
}

impl Delimiter {
    fn new(bytes: &[u8]) -> Self {
        let mut this = Self { finder: Finder::new(bytes).into_owned(), borders: vec![0] };
        for &byte in &bytes[1..] {
            let longest = usize::from(this.borders[this.borders.len() - 1]);
            let border = this.step(longest, byte);
            this.borders.push(border as u8);
        }
        this
    }

    fn advance(&self, state: &mut State, input: &mut Input) -> bool {
        let (size, matched) = self.find(state.mark as usize, input.peek());
        state.mark = matched as u32;
        state.skip(size as u64, input);
        matched == self.finder.needle().len()
    }

    /// After bytes of which the last `matched` may be the front of the delimiter: how many bytes
    /// there are up to its end, or all, and how many of the delimiter the last of them are.
    fn find(&self, mut matched: usize, bytes: &[u8]) -> (usize, usize) {
        let len = self.finder.needle().len();
        // What began in earlier bytes is followed by hand, at most for the delimiter's length.
        let mut taken = 0;
        while matched > taken {
            let Some(&byte) = bytes.get(taken) else { return (taken, matched) };
            matched = self.step(matched, byte);
            taken += 1;
            if matched == len {
                return (taken, len);
            }
        }
        let start = taken - matched;
        if let Some(at) = self.finder.find(&bytes[start..]) {
            return (start + at + len, len);
        }
        let tail = &bytes[start.max((bytes.len() + 1).saturating_sub(len))..];
        (bytes.len(), tail.iter().fold(0, |matched, &byte| self.step(matched, byte)))
    }

    /// `matched` bytes of the delimiter have come, not all, and now this one: how many are it
    /// now. (Knuth, Morris and Pratt.)
    fn step(&self, mut matched: usize, byte: u8) -> usize {
        let bytes = self.finder.needle();
        while matched > 0 && bytes[matched] != byte {
            matched = usize::from(self.borders[matched - 1]);
        }
        matched + usize::from(bytes[matched] == byte)
    }
}

impl State {
    /// Take up to `max` bytes.
    fn skip(&mut self, max: u64, input: &mut Input) -> u64 {
        let size = input.len().min(usize::try_from(max).unwrap_or(usize::MAX));
        input.take(size);
        self.at += size as u64;
        size as u64
    }

    /// Take bytes of the body; whether it is whole.
    fn body(&mut self, input: &mut Input) -> bool {
        self.left -= self.skip(self.left, input);
        self.left == 0
    }

    /// Take up to `left` bytes, of which the last two are CR LF; how many are still to come.
    fn skip_ended(&mut self, mut left: u64, input: &mut Input) -> Result<u64, Wrong> {
        left -= self.skip(left.saturating_sub(2), input);
        while left == 2 || left == 1 {
            let Some(&[byte]) = input.take(1) else { break };
            if byte != [b'\n', b'\r'][left as usize - 1] {
                let what = format!("0x{byte:02x} where CR LF should be");
                return Err(Wrong::malformed(self.at, what));
            }
            self.at += 1;
            left -= 1;
        }
        Ok(left)
    }

    /// Take a line, once all of it is here, without the CR LF that ends it.
    fn line<'a>(&mut self, input: &mut Input<'a>) -> Result<Option<&'a [u8]>, Wrong> {
        let looked = (self.mark as usize).min(input.len());
        let end = memchr(b'\n', &input.peek()[looked..]);
        let size = end.map_or(input.len(), |at| looked + at + 1);
        if size > LINE_MAX {
            return Err(Wrong::too_long(self.at, "a line of more than 64 KiB"));
        }
        self.mark = if end.is_some() { 0 } else { size as u32 };
        let Some(line) = end.and_then(|_| input.take(size)) else { return Ok(None) };
        let Some(text) = line.strip_suffix(b"\r\n") else {
            return Err(Wrong::malformed(self.at, "a line that no CR LF ends"));
        };
        self.at += size as u64;
        Ok(Some(text))
    }

    /// The reply is whole; the next one begins.
    fn finish(&mut self) -> Progress {
        let refused = match self.verdict {
            Verdict::Good | Verdict::Aside => None,
            Verdict::Http101 => Some("http 101"),
            Verdict::Http4xx => Some("http 4xx"),
            Verdict::Http5xx => Some("http 5xx"),
            Verdict::RedisError => Some("redis error"),
        };
        let outcome = Outcome { refused, closes: self.closes };
        *self = Self::default();
        Progress::Whole(outcome)
    }
}

impl Wrong {
    fn malformed(at: u64, what: impl Display) -> Self {
        Self { kind: "malformed reply", what: format!("at offset {at} of the reply: {what}") }
    }

    fn too_long(at: u64, what: impl Display) -> Self {
        Self { kind: "too long", what: format!("at offset {at} of the reply: {what}") }
    }
}

/// A number in decimal digits, and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let add = |sum: u64, byte| sum.checked_mul(10)?.checked_add(digit(byte)?);
    digits.iter().try_fold(0, add).filter(|_| !digits.is_empty())
}

#[cfg(test)]
mod tests;
