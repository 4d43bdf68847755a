//! What a protocol reads from: a cursor over the bytes that have arrived.
use crate::{
    Result,
    codec::{Decode, Lines, Status},
};

/// The bytes that a peer has sent and the protocol has not taken.
///
/// What is not taken is kept, and offered again together with whatever comes next. Bytes live as
/// long as the callback they were given to.
///
/// ```
/// let mut input = charkh::Input::new(b"GET x\nGET ");
/// assert_eq!(input.line(80)?, Some(&b"GET x"[..]));
/// assert_eq!(input.line(80)?, None); // the rest of it has not come
/// assert_eq!(input.peek(), b"GET ");
/// # Ok::<(), charkh::Fault>(())
/// ```
#[derive(Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
    taken: usize,
    /// Of what is left, the front in which a codec has found no end.
    scanned: usize,
    frames: u32,
    frames_max: u32,
    /// The budget ended; there may be more.
    cut: bool,
}

impl<'a> Input<'a> {
    /// Over `bytes`, with no limit to the frames that may be taken: for tests of a protocol's
    /// own parser.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::with_budget(bytes, 0, u32::MAX)
    }

    pub(crate) fn with_budget(bytes: &'a [u8], scanned: usize, frames_max: u32) -> Self {
        debug_assert!(scanned <= bytes.len());
        Self { bytes, taken: 0, scanned, frames: 0, frames_max, cut: false }
    }

    /// Take the next `n` bytes, or none if they are not all here.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let bytes = self.peek().get(..n)?;
        self.taken += n;
        self.scanned = self.scanned.saturating_sub(n);
        Some(bytes)
    }

    /// Take everything that is here.
    pub fn take_all(&mut self) -> &'a [u8] {
        let bytes = self.peek();
        self.taken = self.bytes.len();
        self.scanned = 0;
        bytes
    }

    /// Take the next frame; `None` until all of it is here.
    ///
    /// It is also `None` when this turn's budget of frames
    /// ([`Config::frames_max`](crate::Config::frames_max)) is used up: what is left is offered
    /// again in the next turn, after everybody else had theirs. A loop
    /// `while let Some(frame) = input.frame(..)?` therefore is fair as it stands.
    ///
    /// A codec that finds no whole frame says how far it has looked, and the next one to try
    /// these bytes begins there: nothing is searched twice. Whoever changes the codec in the
    /// middle of a frame calls [`rescan`](Input::rescan) first.
    ///
    /// # Errors
    /// What the codec says of bytes that can never become a frame.
    pub fn frame<D: Decode>(&mut self, codec: &mut D) -> Result<Option<D::Frame<'a>>> {
        if self.frames == self.frames_max {
            self.cut = !self.peek().is_empty();
            return Ok(None);
        }
        match codec.decode(self.peek(), self.scanned)? {
            Status::Complete { frame, size } => {
                self.taken += size;
                self.scanned = 0;
                self.frames += 1;
                Ok(Some(frame))
            }
            Status::Partial { scanned } => {
                self.scanned = scanned.min(self.len());
                Ok(None)
            }
        }
    }

    /// Take the next line, of at most `max` bytes, without its LF or CRLF. (A line, like any frame,
    /// longer than [`Config::input_max`](crate::Config::input_max) never becomes whole.)
    ///
    /// # Errors
    /// [`FrameError::TooLong`](crate::codec::FrameError::TooLong), as soon as that many bytes
    /// have come without an end.
    pub fn line(&mut self, max: usize) -> Result<Option<&'a [u8]>> {
        self.frame(&mut Lines { max })
    }

    /// Forget how far a codec has looked.
    pub fn rescan(&mut self) {
        self.scanned = 0;
    }

    /// Look without taking.
    pub fn peek(&self) -> &'a [u8] {
        &self.bytes[self.taken..]
    }

    /// How many bytes are here.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Nothing is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    pub(crate) fn scanned(&self) -> usize {
        self.scanned
    }

    pub(crate) fn was_cut(&self) -> bool {
        self.cut
    }

    /// Frames, or one for bytes that were taken without a codec.
    pub(crate) fn messages(&self) -> u64 {
        u64::from(self.frames.max(u32::from(self.taken > 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_in_order_or_not_at_all() {
        let mut input = Input::new(b"abcdef");
        assert_eq!(input.take(2), Some(&b"ab"[..]));
        assert_eq!(input.take(5), None);
        assert_eq!(input.len(), 4);
        assert!(!input.is_empty());
        assert_eq!(input.take_all(), b"cdef");
        assert!(input.is_empty());
        assert_eq!(input.take(0), Some(&b""[..]));
        assert_eq!(input.taken(), 6);
    }

    #[test]
    fn the_budget_of_frames_ends_the_usual_loop() {
        let mut input = Input::with_budget(b"a\nb\nc\nd", 0, 2);
        let mut lines = Vec::new();
        while let Some(line) = input.line(9).unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, [b"a", b"b"]);
        assert!(input.was_cut());
        assert_eq!((input.peek(), input.messages()), (&b"c\nd"[..], 2));
    }

    #[test]
    fn bytes_taken_without_a_codec_are_one_message() {
        let mut input = Input::new(b"abc");
        assert_eq!(input.messages(), 0);
        input.take(1);
        input.take(1);
        assert_eq!(input.messages(), 1);
    }

    #[test]
    fn a_budget_that_fits_exactly_is_not_cut() {
        let mut input = Input::with_budget(b"a\nb\n", 0, 2);
        while input.line(9).unwrap().is_some() {}
        assert!(!input.was_cut());
    }

    #[test]
    fn taking_by_hand_keeps_what_was_scanned_behind_it() {
        let mut input = Input::new(b"abc");
        assert_eq!(input.line(9).unwrap(), None);
        assert_eq!(input.scanned(), 3);
        input.take(1);
        assert_eq!(input.scanned(), 2);
        input.rescan();
        assert_eq!(input.scanned(), 0);
    }
}
