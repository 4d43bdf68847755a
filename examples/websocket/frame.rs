//! Frames of WebSocket (RFC 6455), without I/O: what stands before a payload, the mask over it, and
//! frames to send.
use std::sync::Arc;

use super::close;

/// Why nothing more is read from a client: what it is told in a close frame, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    /// The code of the close frame.
    pub code: u16,
    /// What was wrong, in a few words: at most 123 bytes.
    pub why: &'static str,
}

impl Error {
    pub(super) const fn protocol(why: &'static str) -> Self {
        Self { code: close::PROTOCOL_ERROR, why }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.why)
    }
}

impl std::error::Error for Error {}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opcode {
    /// More of the message that has begun.
    Continuation = 0,
    /// A message of text begins.
    Text = 1,
    /// A message of bytes begins.
    Binary = 2,
    /// The end of the conversation.
    Close = 8,
    /// Are you there?
    Ping = 9,
    /// I am.
    Pong = 10,
}

impl Opcode {
    fn new(number: u8) -> Option<Self> {
        Some(match number {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    /// It stands by itself, between the fragments of a message, too.
    pub(super) fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// The most that the payload of a control frame may have.
pub(super) const CONTROL_MAX: usize = 125;

/// What stands before the payload of a client's frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// What it is.
    pub opcode: Opcode,
    /// No fragment follows.
    pub is_final: bool,
    /// Bytes of the payload: announced, not here.
    pub len: u64,
    /// What the payload is masked with.
    pub mask: Mask,
}

impl Head {
    /// The head at the front of `bytes`, and its size; `None` if it is not all here. What is wrong
    /// is said at the first byte that shows it.
    ///
    /// # Errors
    /// It is none that a client may send.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Error> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Error::protocol(
                "a reserved bit, and no extension to mean something by it",
            ));
        }
        let opcode = Opcode::new(first & 0x0f).ok_or(Error::protocol("an unknown opcode"))?;
        let is_final = first & 0x80 != 0;
        if opcode.is_control() && !is_final {
            return Err(Error::protocol("a control frame in fragments"));
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(Error::protocol("a frame without a mask"));
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > CONTROL_MAX {
            return Err(Error::protocol("a control frame that is too long"));
        }
        let Some((len, size)) = length(short, &bytes[2..])? else { return Ok(None) };
        let size = 2 + size;
        let Some(mask) = bytes[size..].first_chunk() else { return Ok(None) };
        Ok(Some((Self { opcode, is_final, len, mask: Mask(*mask) }, size + 4)))
    }
}

/// A payload's length: seven bits, or the two or eight bytes behind them, and how many these are.
fn length(short: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, Error> {
    const NOT_SHORTEST: Error = Error::protocol("a length that could be shorter");
    match short {
        126 => match bytes.first_chunk().map(|len| u16::from_be_bytes(*len)) {
            Some(..126) => Err(NOT_SHORTEST),
            len => Ok(len.map(|len| (len.into(), 2))),
        },
        127 if bytes.first().is_some_and(|&byte| byte >= 0x80) => {
            Err(Error::protocol("a length of more than 63 bits"))
        }
        127 => match bytes.first_chunk().map(|len| u64::from_be_bytes(*len)) {
            Some(..=0xffff) => Err(NOT_SHORTEST),
            len => Ok(len.map(|len| (len, 8))),
        },
        short => Ok(Some((short.into(), 0))),
    }
}

/// Four bytes that a client lays over its payload again and again, so that nobody between it and
/// the server takes it for something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mask(pub [u8; 4]);

impl Mask {
    /// Append `masked` to `out` without the mask, eight bytes at a time.
    pub fn take_off(self, masked: &[u8], out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(masked);
        let [a, b, c, d] = self.0;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, rest) = out[from..].as_chunks_mut();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        rest.iter_mut().zip([a, b, c, d, a, b, c]).for_each(|(byte, mask)| *byte ^= mask);
    }

    /// As it lies over what comes behind so many bytes.
    pub(super) fn turned(self, bytes: usize) -> Self {
        let Self(mut mask) = self;
        mask.rotate_left(bytes % 4);
        Self(mask)
    }
}

/// What stands before the payload of a server's frame: it has no mask, and is a whole message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announcement {
    bytes: [u8; 10],
    size: usize,
}

impl Announcement {
    /// For so many bytes.
    pub(super) fn new(opcode: Opcode, len: usize) -> Self {
        let mut bytes = [0x80 | opcode as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let size = match len {
            ..126 => {
                bytes[1] = len as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..].copy_from_slice(&(len as u64).to_be_bytes());
                10
            }
        };
        Self { bytes, size }
    }

    /// As it is sent.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.size]
    }
}

/// Append a frame to `out`. The payload of a control frame is cut where it has to be.
pub(super) fn put(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let payload = match opcode.is_control() {
        true => &payload[..payload.len().min(CONTROL_MAX)],
        false => payload,
    };
    out.extend_from_slice(Announcement::new(opcode, payload.len()).bytes());
    out.extend_from_slice(payload);
}

/// Append a close frame; without a code it has no payload. The reason is cut between two
/// characters.
pub(super) fn put_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let mut payload = Vec::new();
    if let Some(code) = code {
        let end =
            (0..=reason.len().min(CONTROL_MAX - 2)).rfind(|&end| reason.is_char_boundary(end));
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(&reason.as_bytes()[..end.unwrap_or(0)]);
    }
    put(out, Opcode::Close, &payload);
}

/// A message of text for many: one frame, made once.
pub(super) fn shared(text: &str) -> Arc<[u8]> {
    let mut out = Vec::with_capacity(text.len() + 10);
    put(&mut out, Opcode::Text, text.as_bytes());
    out.into()
}
