//! Where one message ends and the next begins: [`Lines`], [`LengthPrefixed`], [`Delimited`], and
//! the trait for your own.
//!
//! A codec is given bytes and says "a frame, this long" or "not yet, I have looked this far". It
//! does no I/O and keeps no bytes. Memory therefore follows the bytes that have come, never the
//! length that somebody promised, and a frame that comes one byte at a time is searched once.
//!
//! A codec's `max` should not be above [`Config::input_max`](crate::Config::input_max) (by default
//! 1 MiB), which bounds what a connection keeps of a frame that is not whole.
use std::fmt;

use crate::Result;

/// Finds frames in bytes.
pub trait Decode {
    /// What one frame is; usually `&'a [u8]`.
    type Frame<'a>;

    /// The frame at the front of `bytes`.
    ///
    /// The first `scanned` bytes are what an earlier call answered [`Status::Partial`] about, in
    /// its own words; the search may go on from there.
    ///
    /// # Errors
    /// These bytes can never become a frame, whatever follows. The connection ends with it.
    fn decode<'a>(&mut self, bytes: &'a [u8], scanned: usize) -> Result<Status<Self::Frame<'a>>>;
}

/// What a codec found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status<F> {
    /// A whole frame.
    Complete {
        /// What it says.
        frame: F,
        /// Its size on the wire, in bytes, with everything around it.
        size: usize,
    },
    /// Not yet.
    Partial {
        /// Bytes from the front that need not be looked at again.
        scanned: usize,
    },
}

/// Why bytes can never become a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is longer than the codec allows.
    TooLong {
        /// The codec's limit, in bytes.
        max: usize,
    },
    /// A length that counts its own header is less than that header.
    BadLength,
    /// [`Delimited`] with nothing to end a frame.
    NoDelimiter,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong { max } => write!(f, "a frame of more than {max} bytes"),
            FrameError::BadLength => f.write_str("a length less than its own header"),
            FrameError::NoDelimiter => f.write_str("nothing to end a frame"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Lines ended by LF or CRLF; a CR elsewhere is content. The frame is the line without its end.
///
/// ```
/// use charkh::{Input, codec::Lines};
/// let mut input = Input::new(b"one\r\ntwo\nthr");
/// let mut lines = Lines { max: 80 };
/// assert_eq!(input.frame(&mut lines)?, Some(&b"one"[..]));
/// assert_eq!(input.frame(&mut lines)?, Some(&b"two"[..]));
/// assert_eq!(input.frame(&mut lines)?, None);
/// # Ok::<(), charkh::Fault>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// The longest line, in bytes, without its end.
    pub max: usize,
}

impl Decode for Lines {
    type Frame<'a> = &'a [u8];

    fn decode<'a>(&mut self, bytes: &'a [u8], scanned: usize) -> Result<Status<&'a [u8]>> {
        let newline = bytes[scanned..].iter().position(|&byte| byte == b'\n');
        let line = &bytes[..newline.map_or(bytes.len(), |at| scanned + at)];
        // A CR that is the last byte so far may turn out to be half of the end.
        let content = line.strip_suffix(b"\r").unwrap_or(line);
        if content.len() > self.max {
            return Err(FrameError::TooLong { max: self.max }.into());
        }
        Ok(match newline {
            Some(_) => Status::Complete { frame: content, size: line.len() + 1 },
            None => Status::Partial { scanned: bytes.len() },
        })
    }
}

/// Frames that end with the same bytes, such as `"\r\n\r\n"` or a NUL. The frame is what comes
/// before them.
///
/// ```
/// use charkh::{Input, codec::Delimited};
/// let mut input = Input::new(b"one--two--");
/// let mut codec = Delimited { end: b"--", max: 80 };
/// assert_eq!(input.frame(&mut codec)?, Some(&b"one"[..]));
/// assert_eq!(input.frame(&mut codec)?, Some(&b"two"[..]));
/// # Ok::<(), charkh::Fault>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Delimited<'d> {
    /// What ends a frame; not empty.
    pub end: &'d [u8],
    /// The longest frame, in bytes, without its end.
    pub max: usize,
}

impl Decode for Delimited<'_> {
    type Frame<'a> = &'a [u8];

    fn decode<'a>(&mut self, bytes: &'a [u8], scanned: usize) -> Result<Status<&'a [u8]>> {
        let end = self.end;
        let found = match end {
            [] => return Err(FrameError::NoDelimiter.into()),
            &[byte] => bytes[scanned..].iter().position(|&b| b == byte),
            end => bytes[scanned..].windows(end.len()).position(|window| window == end),
        };
        // The last bytes may be the beginning of an end that is not all here.
        let safe = bytes.len().saturating_sub(end.len().saturating_sub(1)).max(scanned);
        if found.map_or(safe, |at| scanned + at) > self.max {
            return Err(FrameError::TooLong { max: self.max }.into());
        }
        Ok(match found.map(|at| scanned + at) {
            Some(at) => Status::Complete { frame: &bytes[..at], size: at + end.len() },
            None => Status::Partial { scanned: safe },
        })
    }
}

/// How many bytes a [`LengthPrefixed`] length has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// One byte: up to 255.
    U8 = 1,
    /// Two bytes.
    U16 = 2,
    /// Three bytes.
    U24 = 3,
    /// Four bytes.
    U32 = 4,
    /// Eight bytes.
    U64 = 8,
}

/// A length, then that many bytes. The frame is those bytes.
///
/// A length over `max` is refused when it is read, before a byte of the frame is kept.
///
/// ```
/// use charkh::{Input, codec::LengthPrefixed};
/// let mut input = Input::new(b"\0\0\0\x05hello\0\0");
/// let mut codec = LengthPrefixed::new(1024); // four bytes, big-endian
/// assert_eq!(input.frame(&mut codec)?, Some(&b"hello"[..]));
/// assert_eq!(input.frame(&mut codec)?, None);
/// # Ok::<(), charkh::Fault>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LengthPrefixed {
    /// The longest frame, in bytes, without the length.
    pub max: usize,
    /// How many bytes the length has.
    pub width: Width,
    /// The length's first byte is its least significant.
    pub little_endian: bool,
    /// The length counts its own bytes too.
    pub includes_header: bool,
}

impl LengthPrefixed {
    /// Four bytes, big-endian, the length alone not counted: what most protocols have.
    pub fn new(max: usize) -> Self {
        Self { max, width: Width::U32, little_endian: false, includes_header: false }
    }

    /// Append `frame`, with its length before it.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] if the frame is over `max`, or over what the width can say.
    pub fn encode(&self, frame: &[u8], out: &mut Vec<u8>) -> std::result::Result<(), FrameError> {
        let width = self.width as usize;
        let length = frame.len() as u64 + if self.includes_header { width as u64 } else { 0 };
        let bytes = length.to_be_bytes();
        let (high, low) = bytes.split_at(bytes.len() - width);
        if frame.len() > self.max || high.iter().any(|&byte| byte != 0) {
            return Err(FrameError::TooLong { max: self.max });
        }
        match self.little_endian {
            true => out.extend(low.iter().rev()),
            false => out.extend_from_slice(low),
        }
        out.extend_from_slice(frame);
        Ok(())
    }
}

impl Decode for LengthPrefixed {
    type Frame<'a> = &'a [u8];

    fn decode<'a>(&mut self, bytes: &'a [u8], _: usize) -> Result<Status<&'a [u8]>> {
        let width = self.width as usize;
        let Some((header, rest)) = bytes.split_at_checked(width) else {
            return Ok(Status::Partial { scanned: 0 });
        };
        let add = |length: u64, &byte: &u8| length << 8 | u64::from(byte);
        let length = match self.little_endian {
            true => header.iter().rev().fold(0, add),
            false => header.iter().fold(0, add),
        };
        let own = if self.includes_header { width as u64 } else { 0 };
        let size = length.checked_sub(own).ok_or(FrameError::BadLength)?;
        if size > self.max as u64 {
            return Err(FrameError::TooLong { max: self.max }.into());
        }
        Ok(match rest.get(..size as usize) {
            Some(frame) => Status::Complete { frame, size: width + frame.len() },
            None => Status::Partial { scanned: 0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Input;

    const WIDTHS: [Width; 5] = [Width::U8, Width::U16, Width::U24, Width::U32, Width::U64];

    fn all_frames<D>(codec: &mut D, bytes: &[u8]) -> Vec<Vec<u8>>
    where
        for<'a> D: Decode<Frame<'a> = &'a [u8]>,
    {
        let mut input = Input::new(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = input.frame(codec).unwrap() {
            frames.push(frame.to_vec());
        }
        frames
    }

    /// Cut anywhere, twice, the frames are those of the whole (case 17).
    fn survives_every_cut<D>(codec: &mut D, bytes: &[u8], expected: &[&[u8]])
    where
        for<'a> D: Decode<Frame<'a> = &'a [u8]>,
    {
        assert_eq!(all_frames(codec, bytes), expected);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let (mut taken, mut scanned, mut frames) = (0, 0, Vec::new());
                for end in [first, second, bytes.len()] {
                    let mut input = Input::with_budget(&bytes[taken..end], scanned, u32::MAX);
                    while let Some(frame) = input.frame(codec).unwrap() {
                        frames.push(frame.to_vec());
                    }
                    taken += input.taken();
                    scanned = input.scanned();
                }
                assert_eq!(frames, expected, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn case_017_frames_survive_every_cut() {
        let lines: [&[u8]; 5] = [b"one", b"", b"t\rwo", b"\xff\0", b"\r"];
        survives_every_cut(&mut Lines { max: 9 }, b"one\r\n\nt\rwo\n\xff\0\n\r\r\n", &lines);
        let ends: [&[u8]; 4] = [b"one", b"", b"--", b"-"];
        let mut delimited = Delimited { end: b"--.", max: 9 };
        survives_every_cut(&mut delimited, b"one--.--.----.---.", &ends);
        let mut zero = Delimited { end: b"\0", max: 9 };
        survives_every_cut(&mut zero, b"one\0\0--\0-\0", &ends);
        for width in WIDTHS {
            for bits in 0..4 {
                let codec = LengthPrefixed {
                    max: 200,
                    width,
                    little_endian: bits & 1 != 0,
                    includes_header: bits & 2 != 0,
                };
                let mut bytes = Vec::new();
                let frames: [&[u8]; 3] = [b"", b"hello", b"\0\0"];
                frames.iter().for_each(|frame| codec.encode(frame, &mut bytes).unwrap());
                survives_every_cut(&mut codec.clone(), &bytes, &frames);
            }
        }
    }

    #[test]
    fn case_021_an_endless_line_is_refused_at_its_limit() {
        for max in 0..20_usize {
            let mut codec = Lines { max };
            let fits = [&vec![b'x'; max][..], b"\r\n"].concat();
            assert_eq!(all_frames(&mut codec, &fits).len(), 1);
            assert!(codec.decode(&vec![b'x'; max + 1], 0).is_err());
            assert!(codec.decode(&[&vec![b'x'; max][..], b"\r"].concat(), 0).is_ok());
            let mut codec = Delimited { end: b"\r\n\r\n", max };
            assert!(codec.decode(&vec![b'x'; max + 3], 0).is_ok());
            assert!(codec.decode(&vec![b'x'; max + 4], 0).is_err());
            let fits = [&vec![b'x'; max][..], b"\r\n\r\n"].concat();
            assert_eq!(all_frames(&mut codec, &fits).len(), 1);
            // Wherever an earlier search ended.
            let over = [b"x", &fits[..]].concat();
            for scanned in 0..=max {
                assert!(codec.decode(&fits, scanned).is_ok());
                assert!(codec.decode(&over, scanned).is_err());
            }
        }
    }

    /// Byte by byte, each byte is looked at once: a search from the front would never end.
    #[test]
    fn case_021_nothing_is_searched_twice() {
        let max = if cfg!(miri) { 4 << 10 } else { 4 << 20 };
        let bytes = vec![b'x'; max];
        let mut scanned = 0;
        for end in 1..=max {
            let Status::Partial { scanned: next } =
                Lines { max }.decode(&bytes[..end], scanned).unwrap()
            else {
                panic!("no end was sent");
            };
            assert_eq!(next, end);
            scanned = next;
        }
        let Ok(Status::Partial { scanned }) =
            (Delimited { end: b"1234", max }).decode(&bytes, scanned - 3)
        else {
            panic!("no end was sent");
        };
        assert_eq!(scanned, max - 3);
    }

    #[test]
    fn case_022_lengths_that_lie_are_refused_from_the_header_alone() {
        for (width, header) in [
            (Width::U32, &b"\x7f\xff\xff\xff"[..]),
            (Width::U32, b"\xff\xff\xff\xff"),
            (Width::U64, b"\x80\0\0\0\0\0\0\0"),
            (Width::U64, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ] {
            let mut codec = LengthPrefixed { width, ..LengthPrefixed::new(1 << 20) };
            let error = codec.decode(header, 0).unwrap_err();
            assert_eq!(
                error.downcast_ref::<FrameError>(),
                Some(&FrameError::TooLong { max: 1 << 20 })
            );
        }
        let mut codec = LengthPrefixed { includes_header: true, ..LengthPrefixed::new(99) };
        let error = codec.decode(&[0, 0, 0, 3], 0).unwrap_err();
        assert_eq!(error.downcast_ref::<FrameError>(), Some(&FrameError::BadLength));
    }

    #[test]
    fn case_023_lengths_at_the_limit() {
        for (size, fits) in [(99, true), (100, true), (101, false)] {
            let wide = LengthPrefixed::new(1000);
            let mut bytes = Vec::new();
            wide.encode(&vec![7; size], &mut bytes).unwrap();
            assert_eq!(LengthPrefixed::new(100).decode(&bytes, 0).is_ok(), fits);
            assert_eq!(LengthPrefixed::new(100).encode(&vec![7; size], &mut bytes).is_ok(), fits);
        }
        let byte = LengthPrefixed { width: Width::U8, ..LengthPrefixed::new(1000) };
        assert!(byte.encode(&[7; 255], &mut Vec::new()).is_ok());
        assert!(byte.encode(&[7; 256], &mut Vec::new()).is_err());
        // A size that three bytes just say, and one more byte or the length's own is too much.
        let three = LengthPrefixed { width: Width::U24, ..LengthPrefixed::new(usize::MAX) };
        let own = LengthPrefixed { includes_header: true, ..three };
        let frame = vec![7; 1 << 24];
        assert!(three.encode(&frame[1..], &mut Vec::new()).is_ok());
        assert!(three.encode(&frame, &mut Vec::new()).is_err());
        assert!(own.encode(&frame[4..], &mut Vec::new()).is_ok());
        assert!(own.encode(&frame[3..], &mut Vec::new()).is_err());
    }

    #[test]
    fn case_024_any_bytes_have_a_defined_result() {
        let mut seed = 1_u32;
        let rounds = if cfg!(miri) { 100 } else { 20_000 };
        for _ in 0..rounds {
            let bytes: Vec<u8> = (0..seed % 40)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    b"\0\r\n\xff\xc3x-\x01"[seed as usize >> 29]
                })
                .collect();
            seed = seed.wrapping_add(1);
            let _ = Lines { max: 8 }.decode(&bytes, 0);
            let _ = Delimited { end: b"\r\n", max: 8 }.decode(&bytes, 0);
            for width in WIDTHS {
                let _ = LengthPrefixed { width, ..LengthPrefixed::new(8) }.decode(&bytes, 0);
            }
        }
    }
}
