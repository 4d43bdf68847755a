//! Bodies: so many bytes, or chunks with trailers. Pieces are shown as they come, and none is kept.
use super::{Error, Framing, Limits, Status, head::is_token};
use crate::codec;

/// What is still to come of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Body {
    next: Next,
    /// What the chunks may still have, all together.
    room: u64,
    /// And their extensions.
    extension_room: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// So many bytes, and then the end.
    Plain { left: u64 },
    /// The line that says how long the next chunk is.
    ChunkLine,
    /// So much of a chunk.
    Chunk { left: u64 },
    /// The CRLF behind a chunk, then the next one's line.
    ChunkEnd,
    /// Behind the last chunk: headers that are of no use here, and an empty line.
    Trailers { lines: usize },
}

/// A piece of a body, or its end.
pub(super) enum Piece<'a> {
    Data(&'a [u8]),
    End,
}

type Found<'a> = Result<codec::Status<Piece<'a>>, Error>;

impl Body {
    pub(super) fn new(framing: Framing, limits: &Limits) -> Self {
        let next = match framing {
            Framing::None => Next::Plain { left: 0 },
            Framing::Length(left) => Next::Plain { left },
            Framing::Chunked => Next::ChunkLine,
        };
        Self { next, room: limits.body_max, extension_room: limits.extensions_max }
    }

    /// The next piece of it at the front of `bytes`, of which `scanned` were looked at before.
    pub(super) fn piece<'a>(
        &mut self,
        limits: &Limits,
        bytes: &'a [u8],
        scanned: usize,
    ) -> Found<'a> {
        match self.next {
            Next::Plain { left: 0 } => Ok(codec::Status::Complete { frame: Piece::End, size: 0 }),
            Next::Plain { left } => Ok(self.data(bytes, 0, left, |left| Next::Plain { left })),
            Next::Chunk { left } => Ok(self.data(bytes, 0, left, after_chunk)),
            Next::ChunkLine => self.chunk(limits, bytes, 0, scanned),
            Next::ChunkEnd => {
                let wrong = bytes.iter().zip(b"\r\n").any(|(byte, wanted)| byte != wanted);
                match wrong {
                    true => Err(Error::bad("no CRLF behind a chunk")),
                    false => self.chunk(limits, bytes, 2, scanned),
                }
            }
            Next::Trailers { lines } => self.trailers(limits, bytes, scanned, lines),
        }
    }

    /// As much as there is of the `left` bytes behind the first `skip`.
    fn data<'a>(
        &mut self,
        bytes: &'a [u8],
        skip: usize,
        left: u64,
        next: fn(u64) -> Next,
    ) -> codec::Status<Piece<'a>> {
        let here = bytes.len() - skip;
        let size = usize::try_from(left).map_or(here, |left| left.min(here));
        if size == 0 {
            return codec::Status::Partial { scanned: bytes.len() };
        }
        self.next = next(left - size as u64);
        let data = &bytes[skip..skip + size];
        codec::Status::Complete { frame: Piece::Data(data), size: skip + size }
    }

    /// A chunk's line behind the first `skip` bytes, together with what there is of the chunk.
    fn chunk<'a>(
        &mut self,
        limits: &Limits,
        bytes: &'a [u8],
        skip: usize,
        scanned: usize,
    ) -> Found<'a> {
        let max = limits.chunk_line_max.saturating_add(skip);
        let window = &bytes[..bytes.len().min(max)];
        let from = scanned.max(skip).min(window.len());
        let Some(found) = memchr::memchr(b'\n', &window[from..]) else {
            return match bytes.len() >= max {
                true => Err(Error::bad("a chunk's line that is too long")),
                false => Ok(codec::Status::Partial { scanned: window.len() }),
            };
        };
        let end = from + found;
        let Some(line) = window[skip..end].strip_suffix(b"\r") else {
            return Err(Error::bad("a chunk's line that ends with LF alone"));
        };
        let (size, extension) = chunk_line(line)?;
        if size > self.room {
            return Err(Error::new(Status::CONTENT_TOO_LARGE, "a body that is too long"));
        }
        if extension > self.extension_room {
            return Err(Error::bad("extensions of chunks that are too long"));
        }
        self.room -= size;
        self.extension_room -= extension;
        self.next = match size {
            0 => Next::Trailers { lines: 0 },
            left => Next::Chunk { left },
        };
        let line_end = end + 1;
        if size > 0 && line_end < bytes.len() {
            return Ok(self.data(bytes, line_end, size, after_chunk));
        }
        // The line is taken by itself, so that it is not looked at again.
        Ok(codec::Status::Complete { frame: Piece::Data(&[]), size: line_end })
    }

    /// Lines are checked as they come, so that faults are found in the order in which they came.
    fn trailers<'a>(
        &mut self,
        limits: &Limits,
        bytes: &'a [u8],
        scanned: usize,
        mut lines: usize,
    ) -> Found<'a> {
        const TOO_LARGE: Error =
            Error::new(Status::HEADERS_TOO_LARGE, "trailers that are too long");
        let window = &bytes[..bytes.len().min(limits.head_max)];
        let mut at = scanned;
        while let Some(found) = memchr::memchr(b'\n', &window[at..]) {
            let end = at + found;
            let begin = memchr::memrchr(b'\n', &window[..end]).map_or(0, |at| at + 1);
            match window[begin..end].strip_suffix(b"\r") {
                None => return Err(Error::bad("a line that ends with LF alone")),
                Some(b"") => {
                    return Ok(codec::Status::Complete { frame: Piece::End, size: end + 1 });
                }
                Some(_) if lines >= limits.headers_max => return Err(TOO_LARGE),
                Some(line) => trailer(line)?,
            }
            lines += 1;
            at = end + 1;
        }
        if bytes.len() >= limits.head_max {
            return Err(TOO_LARGE);
        }
        self.next = Next::Trailers { lines };
        Ok(codec::Status::Partial { scanned: window.len() })
    }
}

fn after_chunk(left: u64) -> Next {
    match left {
        0 => Next::ChunkEnd,
        left => Next::Chunk { left },
    }
}

/// A chunk's size, and how long its extensions are: hexadecimal digits, and what may follow. Blanks
/// between the two are a way to be read differently.
fn chunk_line(line: &[u8]) -> Result<(u64, usize), Error> {
    const WRONG: Error = Error::bad("a chunk's size that is none");
    let digits = memchr::memchr(b';', line).unwrap_or(line.len());
    let (size, extension) = line.split_at(digits);
    if size.is_empty() || size.len() > 16 {
        return Err(WRONG);
    }
    let size = size.iter().try_fold(0_u64, |sum, &byte| {
        let digit = char::from(byte).to_digit(16).ok_or(WRONG)?;
        Ok(sum << 4 | u64::from(digit))
    })?;
    match are_extensions(extension) {
        true => Ok((size, extension.len())),
        false => Err(Error::bad("an extension of a chunk that is none")),
    }
}

/// Each is `;name`, `;name=value` or `;name="any \"text\""`, and there may be none.
fn are_extensions(mut rest: &[u8]) -> bool {
    while let [b';', after @ ..] = rest {
        let Some(after) = behind_token(after) else { return false };
        rest = after;
        if let [b'=', value @ ..] = after {
            let behind = match value {
                [b'"', text @ ..] => behind_quoted(text),
                value => behind_token(value),
            };
            let Some(behind) = behind else { return false };
            rest = behind;
        }
    }
    rest.is_empty()
}

fn behind_token(bytes: &[u8]) -> Option<&[u8]> {
    let size = bytes.iter().position(|&byte| !is_token(byte)).unwrap_or(bytes.len());
    (size > 0).then(|| &bytes[size..])
}

fn behind_quoted(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        text = match text {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', byte, rest @ ..] if is_text(*byte) => rest,
            [byte, rest @ ..] if is_text(*byte) && *byte != b'\\' => rest,
            _ => return None,
        };
    }
}

/// What may be in a header's value.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

/// Trailers are thrown away. Those that would change how the message is read are refused.
fn trailer(line: &[u8]) -> Result<(), Error> {
    const FORBIDDEN: [&str; 3] = ["Content-Length", "Host", "Transfer-Encoding"];
    let colon = memchr::memchr(b':', line).unwrap_or(0);
    let (name, value) = line.split_at(colon);
    if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
        return Err(Error::bad("a trailer's name that is none"));
    }
    if !value.iter().all(|&byte| is_text(byte)) {
        return Err(Error::bad("a trailer's value that is none"));
    }
    match FORBIDDEN.iter().any(|word| name.eq_ignore_ascii_case(word.as_bytes())) {
        true => Err(Error::bad("a trailer that belongs into the head")),
        false => Ok(()),
    }
}
