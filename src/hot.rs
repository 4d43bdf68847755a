//! The reply of the connection that is being served. It is gathered here rather than in a buffer of
//! that connection's own: most replies are taken by the kernel at once and never need one.
//!
//! A reply that begins with a long piece of what was just read is sent from where it lies, in the
//! buffer that all reads go to. Nobody reads again before it has left or was parked.
use std::{io::IoSlice, ops::Range};

/// Pieces below this many bytes are copied, which costs less than a second slice in a write.
const LEND_MIN: usize = 1 << 10;

#[derive(Default)]
pub(crate) struct Hot {
    /// Whose reply it is.
    pub(crate) slot: Option<u32>,
    /// It begins with this part of the read buffer,
    lent: Range<usize>,
    /// and goes on with these.
    bytes: Vec<u8>,
    /// The addresses at which a callback sees what was just read; empty while there is none.
    read_at: Range<usize>,
}

impl Hot {
    /// One long reply must not keep its memory for ever.
    pub(crate) const KEEP_MAX: usize = 256 << 10;

    /// A callback is about to be shown this front of the read buffer.
    #[inline]
    pub(crate) fn show(&mut self, read: &[u8]) {
        let at = read.as_ptr().addr();
        self.read_at = at..at + read.len();
    }

    /// It has returned.
    #[inline]
    pub(crate) fn shown(&mut self) {
        self.read_at = 0..0;
    }

    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match self.part_of_read(bytes) {
            Some(part) if self.is_empty() => self.lent = part,
            _ => self.bytes.extend_from_slice(bytes),
        }
    }

    /// Bytes within the addresses of the read buffer are its own: nothing else can be there.
    #[inline]
    fn part_of_read(&self, bytes: &[u8]) -> Option<Range<usize>> {
        if bytes.len() < LEND_MIN {
            return None;
        }
        let from = bytes.as_ptr().addr().checked_sub(self.read_at.start)?;
        let part = from..from + bytes.len();
        (part.end <= self.read_at.len()).then_some(part)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.lent.is_empty()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.lent.len() + self.bytes.len()
    }

    /// It cannot be told without the read buffer, which is in a callback's hands.
    pub(crate) fn is_lent(&self) -> bool {
        !self.lent.is_empty()
    }

    /// The two parts; `read` is the read buffer.
    #[inline]
    pub(crate) fn parts<'a>(&'a self, read: &'a [u8]) -> [&'a [u8]; 2] {
        let lent = if self.is_lent() { &read[self.lent.clone()] } else { &[] };
        [lent, &self.bytes]
    }

    /// Show `write` at most `max` bytes of it; not at all if there are none.
    #[inline]
    pub(crate) fn front<R>(
        &self,
        read: &[u8],
        max: usize,
        write: impl FnOnce(&[IoSlice<'_>]) -> R,
    ) -> Option<R> {
        let [lent, bytes] = self.parts(read);
        let lent = &lent[..lent.len().min(max)];
        let bytes = &bytes[..bytes.len().min(max - lent.len())];
        match (lent.is_empty(), bytes.is_empty()) {
            (true, true) => None,
            (true, false) => Some(write(&[IoSlice::new(bytes)])),
            (false, true) => Some(write(&[IoSlice::new(lent)])),
            (false, false) => Some(write(&[IoSlice::new(lent), IoSlice::new(bytes)])),
        }
    }

    /// The kernel took `n` bytes of it.
    #[inline]
    pub(crate) fn consume(&mut self, n: usize) {
        let of_lent = n.min(self.lent.len());
        self.lent.start += of_lent;
        match n - of_lent == self.bytes.len() {
            true => self.bytes.clear(),
            false => drop(self.bytes.drain(..n - of_lent)),
        }
    }

    /// The reply has left, or is kept elsewhere.
    pub(crate) fn clear(&mut self) {
        self.lent = 0..0;
        self.bytes.clear();
        self.bytes.shrink_to(Self::KEEP_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(hot: &Hot, read: &[u8], max: usize) -> Vec<Vec<u8>> {
        let copy = |slices: &[IoSlice<'_>]| slices.iter().map(|slice| slice.to_vec()).collect();
        hot.front(read, max, copy).unwrap_or_default()
    }

    #[test]
    fn what_was_read_is_sent_from_where_it_lies_and_the_rest_follows() {
        let read: Vec<u8> = (0..5000_u32).map(|n| n as u8).collect();
        let mut hot = Hot::default();
        hot.show(&read);
        hot.push(&read[100..4100]);
        hot.push(b"and more");
        hot.push(&read[..2000]); // no longer the beginning: copied
        hot.shown();
        assert_eq!((hot.len(), hot.bytes.len()), (6008, 2008));
        let expected = [&read[100..4100], b"and more", &read[..2000]].concat();
        for step in [1, 7, 3999, 4000, 4001, 9000] {
            let (mut hot, mut got) = (clone(&hot), Vec::new());
            while !hot.is_empty() {
                let slices = all(&hot, &read, step).concat();
                assert!(!slices.is_empty() && slices.len() <= step);
                hot.consume(slices.len());
                got.extend(slices);
            }
            assert_eq!(got, expected, "{step} at a time");
            assert!(all(&hot, &read, step).is_empty());
        }
        assert_eq!(hot.parts(&read).concat(), expected);
        hot.clear();
        assert!(hot.is_empty() && !hot.is_lent() && hot.parts(&read).concat().is_empty());
    }

    fn clone(hot: &Hot) -> Hot {
        let (lent, bytes) = (hot.lent.clone(), hot.bytes.clone());
        Hot { lent, bytes, ..Hot::default() }
    }

    #[test]
    fn short_pieces_and_strangers_are_copied() {
        let read = vec![7; 3000];
        let other = vec![8; 3000];
        let lent = |bytes: &[u8], shown: &[u8]| {
            let mut hot = Hot::default();
            hot.show(shown);
            hot.push(bytes);
            assert_eq!(hot.parts(&read).concat(), bytes);
            hot.is_lent()
        };
        assert!(lent(&read, &read) && lent(&read[..LEND_MIN], &read));
        assert!(lent(&read[3000 - LEND_MIN..], &read));
        assert!(!lent(&read[..LEND_MIN - 1], &read));
        assert!(!lent(&other, &read) && !lent(&read, &other));
        // Not all of it is what was read.
        assert!(!lent(&read, &read[..2999]) && !lent(&read, &[]));
    }
}
