//! Requests, cut from bytes: `*2\r\n$3\r\nGET\r\n$1\r\na\r\n`, or a line such as `GET a`.
//!
//! The parser does no I/O, copies nothing and looks at no byte twice. Its arguments are ranges of
//! the request, in a vector that is used again; only a line with quotes in it is written anew.
use std::{fmt, ops::Index};

use charkh::{
    Result,
    codec::{Decode, Status},
};

/// The longest line, and the longest head of a length, in bytes.
pub const LINE_MAX: usize = 64 << 10;

/// The longest argument, in bytes.
pub const BULK_MAX: i64 = 512 << 20;

/// Part of a request. A request has less than 4 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }
}

/// The arguments of one request, the command's name first.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    pub fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Self { bytes, spans }
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// # Panics
    /// If there are not so many.
    pub fn at(&self, n: usize) -> &'a [u8] {
        let Span { start, end } = self.spans[n];
        &self.bytes[start as usize..end as usize]
    }

    pub fn get(&self, n: usize) -> Option<&'a [u8]> {
        (n < self.len()).then(|| self.at(n))
    }

    /// From the `n`th on.
    pub fn from(&self, n: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        let rest = self.spans.get(n..).unwrap_or_default();
        rest.iter().map(|span| &bytes[span.start as usize..span.end as usize])
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn spans(&self) -> &'a [Span] {
        self.spans
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    fn index(&self, n: usize) -> &[u8] {
        self.at(n)
    }
}

/// Why bytes are no request. The words are Redis'.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtocolError {
    MultibulkLength,
    MultibulkTooBig,
    BulkLength,
    BulkTooBig,
    Expected(u8),
    LineTooBig,
    Quotes,
}

impl ProtocolError {
    /// What is said of it, which may hold any byte.
    pub fn words(self) -> Vec<u8> {
        let text: &[u8] = match self {
            ProtocolError::MultibulkLength => b"invalid multibulk length",
            ProtocolError::MultibulkTooBig => b"too big mbulk count string",
            ProtocolError::BulkLength => b"invalid bulk length",
            ProtocolError::BulkTooBig => b"too big bulk count string",
            ProtocolError::Expected(byte) => {
                return [b"expected '$', got '", &[byte][..], b"'"].concat();
            }
            ProtocolError::LineTooBig => b"too big inline request",
            ProtocolError::Quotes => b"unbalanced quotes in request",
        };
        text.into()
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.words().escape_ascii().fmt(f)
    }
}

impl std::error::Error for ProtocolError {}

/// What is understood so far of one request. It is at its beginning again after each whole one.
#[derive(Debug, Default)]
pub struct Parser {
    spans: Vec<Span>,
    /// A line that had quotes in it, without them; the spans are of this.
    unquoted: Vec<u8>,
    is_unquoted: bool,
    /// Bytes of the request that are understood,
    at: usize,
    /// and up to where there is no end of a line behind them.
    searched: usize,
    /// Arguments that are still to come,
    left: u32,
    /// and the length of the next one, once it is known.
    bulk: Option<u32>,
    /// Bytes that were looked at, for those who check that none is twice.
    #[cfg(debug_assertions)]
    pub looked_at: usize,
}

impl Parser {
    /// One huge request must not keep its memory for ever.
    const KEEP_MAX: usize = 1 << 10;

    /// Bytes have come that are a part of a request.
    pub fn is_midway(&self) -> bool {
        self.at > 0 || self.searched > 0
    }

    /// Those of the request that was found last; none for an empty line.
    pub fn args<'a>(&'a self, request: &'a [u8]) -> Args<'a> {
        Args::new(if self.is_unquoted { &self.unquoted } else { request }, &self.spans)
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.spans.capacity() * size_of::<Span>() + self.unquoted.capacity()
    }

    pub fn shrink(&mut self) {
        if self.spans.capacity() > Self::KEEP_MAX {
            self.spans = Vec::new();
        }
    }

    /// At a beginning, whatever came.
    pub fn reset(&mut self) {
        self.shrink();
        (self.at, self.searched, self.left, self.bulk) = (0, 0, 0, None);
    }

    /// The number between the sign at `self.at` and the end of its line; `None` until that is here.
    #[inline(always)]
    fn number(
        &mut self,
        bytes: &[u8],
        invalid: ProtocolError,
        too_big: ProtocolError,
    ) -> Result<Option<i64>, ProtocolError> {
        let line = &bytes[self.at + 1..];
        let mut number = 0;
        // Nearly all are short, and a digit at first that is not 0, or one digit.
        for (n, &byte) in line[..line.len().min(8)].iter().enumerate() {
            self.count(1);
            match byte {
                b'0'..=b'9' => number = 10 * number + i64::from(byte - b'0'),
                b'\r' if n > 0 && line.len() > n + 1 && (line[0] != b'0' || n == 1) => {
                    self.at += n + 3;
                    self.searched = self.at;
                    return Ok(Some(number));
                }
                _ => break,
            }
        }
        self.long_number(bytes, invalid, too_big)
    }

    #[cold]
    fn long_number(
        &mut self,
        bytes: &[u8],
        invalid: ProtocolError,
        too_big: ProtocolError,
    ) -> Result<Option<i64>, ProtocolError> {
        let start = self.at + 1;
        let Some(end) = self.end_of_head(bytes, start, too_big)? else { return Ok(None) };
        let number = super::number::int(&bytes[start..end]).ok_or(invalid)?;
        (self.at, self.searched) = (end + 2, end + 2);
        Ok(Some(number))
    }

    /// Where the line of a length ends, if the byte behind is here too. What stands there is not
    /// looked at.
    fn end_of_head(
        &mut self,
        bytes: &[u8],
        start: usize,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let end = self.find(bytes, start, b'\r');
        if end.unwrap_or(bytes.len()) - self.at > LINE_MAX {
            return Err(too_big);
        }
        Ok(end.filter(|end| end + 1 < bytes.len()))
    }

    /// Where this byte is, from `start` on or from where the last search for it ended.
    fn find(&mut self, bytes: &[u8], start: usize, byte: u8) -> Option<usize> {
        let from = self.searched.max(start).min(bytes.len());
        let found = bytes[from..].iter().position(|&b| b == byte).map(|n| from + n);
        self.searched = found.unwrap_or(bytes.len());
        self.count(self.searched - from + 1);
        found
    }

    #[inline]
    fn count(&mut self, _looks: usize) {
        #[cfg(debug_assertions)]
        {
            self.looked_at += _looks;
        }
    }

    fn multibulk(&mut self, bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
        if self.left == 0 {
            let (invalid, too_big) =
                (ProtocolError::MultibulkLength, ProtocolError::MultibulkTooBig);
            let Some(count) = self.number(bytes, invalid, too_big)? else { return Ok(None) };
            if count > i64::from(i32::MAX) {
                return Err(invalid);
            }
            self.left = count.max(0) as u32;
        }
        while self.left > 0 {
            let Some(bulk) = self.bulk(bytes)? else { return Ok(None) };
            let end = self.at + bulk as usize;
            // What ends it is not looked at: Redis does not, either.
            if bytes.len() < end + 2 {
                return Ok(None);
            }
            self.spans.push(Span::new(self.at, end));
            (self.at, self.searched) = (end + 2, end + 2);
            (self.bulk, self.left) = (None, self.left - 1);
        }
        Ok(Some(self.at))
    }

    /// What begins no length is an error once its line is here, not sooner, as it is in Redis.
    #[cold]
    fn unexpected(&mut self, bytes: &[u8], byte: u8) -> Result<Option<u32>, ProtocolError> {
        match self.end_of_head(bytes, self.at, ProtocolError::BulkTooBig)? {
            Some(_) => Err(ProtocolError::Expected(byte)),
            None => Ok(None),
        }
    }

    #[inline]
    fn bulk(&mut self, bytes: &[u8]) -> Result<Option<u32>, ProtocolError> {
        if self.bulk.is_none() {
            match bytes.get(self.at) {
                None => return Ok(None),
                Some(b'$') => {}
                Some(&other) => return self.unexpected(bytes, other),
            }
            let (invalid, too_big) = (ProtocolError::BulkLength, ProtocolError::BulkTooBig);
            let Some(length) = self.number(bytes, invalid, too_big)? else { return Ok(None) };
            if !(0..=BULK_MAX).contains(&length) {
                return Err(invalid);
            }
            self.bulk = Some(length as u32);
        }
        Ok(self.bulk)
    }

    fn inline(&mut self, bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let end = self.find(bytes, 0, b'\n');
        if end.unwrap_or(bytes.len()) > LINE_MAX {
            return Err(ProtocolError::LineTooBig);
        }
        let Some(end) = end else { return Ok(None) };
        let line = &bytes[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.is_unquoted = line.iter().any(|byte| matches!(byte, b'"' | b'\''));
        match self.is_unquoted {
            true => unquote(line, &mut self.unquoted, &mut self.spans)?,
            false => words(line, &mut self.spans),
        }
        Ok(Some(end + 1))
    }
}

impl Decode for Parser {
    /// The bytes that [`Parser::args`] asks for.
    type Frame<'a> = &'a [u8];

    #[inline]
    fn decode<'a>(&mut self, bytes: &'a [u8], _: usize) -> Result<Status<&'a [u8]>> {
        let Some(&first) = bytes.first() else { return Ok(Status::Partial { scanned: 0 }) };
        if self.at == 0 {
            self.spans.clear();
            self.is_unquoted = false;
        }
        let size = match first {
            b'*' => self.multibulk(bytes)?,
            _ => self.inline(bytes)?,
        };
        let Some(size) = size else {
            self.searched = self.searched.max(1);
            return Ok(Status::Partial { scanned: 0 });
        };
        (self.at, self.searched) = (0, 0);
        Ok(Status::Complete { frame: &bytes[..size], size })
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Two kinds of blanks stand between words, and within one.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn words(line: &[u8], spans: &mut Vec<Span>) {
    let mut at = 0;
    while at < line.len() {
        if is_space(line[at]) {
            at += 1;
            continue;
        }
        let size = line[at..].iter().position(|&byte| ends_word(byte));
        let end = size.map_or(line.len(), |size| at + size);
        spans.push(Span::new(at, end));
        at = end;
    }
}

/// Words with quotes, as a shell has them: within `"..."` a backslash escapes, within `'...'` only
/// a quote. What follows a closing quote is a blank or the end.
fn unquote(line: &[u8], out: &mut Vec<u8>, spans: &mut Vec<Span>) -> Result<(), ProtocolError> {
    out.clear();
    let mut rest = line;
    loop {
        while let [byte, after @ ..] = rest
            && is_space(*byte)
        {
            rest = after;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let start = out.len();
        loop {
            match *rest {
                [] => break,
                [byte, ..] if ends_word(byte) => break,
                [quote @ (b'"' | b'\''), ref quoted @ ..] => {
                    rest = quoted_word(quote, quoted, out)?;
                    break;
                }
                [byte, ref after @ ..] => {
                    out.push(byte);
                    rest = after;
                }
            }
        }
        spans.push(Span::new(start, out.len()));
    }
}

/// The rest behind the closing quote.
fn quoted_word<'a>(
    quote: u8,
    mut rest: &'a [u8],
    out: &mut Vec<u8>,
) -> Result<&'a [u8], ProtocolError> {
    let hex = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    loop {
        match *rest {
            [] => return Err(ProtocolError::Quotes),
            [b'\\', b'x', high, low, ref after @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let [high, low] = [high, low].map(|byte| hex(byte).unwrap_or(0));
                out.push(high << 4 | low);
                rest = after;
            }
            [b'\\', byte, ref after @ ..] if quote == b'"' => {
                out.push(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
                rest = after;
            }
            [b'\\', b'\'', ref after @ ..] if quote == b'\'' => {
                out.push(b'\'');
                rest = after;
            }
            [byte, ref after @ ..] if byte == quote => {
                return match after.first() {
                    Some(&byte) if !is_space(byte) => Err(ProtocolError::Quotes),
                    _ => Ok(after),
                };
            }
            [byte, ref after @ ..] => {
                out.push(byte);
                rest = after;
            }
        }
    }
}
