//! What makes a log safe to keep on: [`Throttle`] and [`Escaped`].
use std::{fmt, time::Duration};

/// At most so many lines a second for one cause; the rest are counted, not written.
///
/// A log line per bad client is a weapon in the hands of bad clients.
///
/// ```
/// use std::time::Duration;
/// let mut throttle = charkh::Throttle::new(1);
/// assert_eq!(throttle.allow(Duration::from_secs(5)), Some(0));
/// assert_eq!(throttle.allow(Duration::from_secs(5)), None);
/// assert_eq!(throttle.allow(Duration::from_secs(6)), Some(1)); // one was kept back
/// ```
#[derive(Clone, Debug)]
pub struct Throttle {
    per_second: u32,
    second: u64,
    used: u32,
    suppressed: u64,
}

impl Throttle {
    /// At most `per_second` lines.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, second: 0, used: 0, suppressed: 0 }
    }

    /// May a line be written at this time ([`Hub::now`](crate::Hub::now))? `Some` if so, with
    /// the number of those kept back since the last one.
    pub fn allow(&mut self, now: Duration) -> Option<u64> {
        if now.as_secs() != self.second {
            (self.second, self.used) = (now.as_secs(), 0);
        }
        if self.used >= self.per_second {
            self.suppressed += 1;
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Bytes that a stranger sent, made fit for a terminal and for one line of a log.
///
/// Text stays text; control characters, invisible ones that change direction, and bytes that are
/// no UTF-8 are escaped; what is longer than `max` bytes is cut, and the line says so.
///
/// ```
/// use charkh::Escaped;
/// assert_eq!(Escaped::new(b"Hello\x1b[31m\r\n\xff", 99).to_string(), r"Hello\u{1b}[31m\r\n\xff");
/// assert_eq!(Escaped::new("سلام".as_bytes(), 99).to_string(), "سلام");
/// assert_eq!(Escaped::new(b"0123456789", 4).to_string(), "0123... (10 bytes)");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a> {
    bytes: &'a [u8],
    max: usize,
}

impl<'a> Escaped<'a> {
    /// Of `bytes`, show at most `max`.
    pub fn new(bytes: &'a [u8], max: usize) -> Self {
        Self { bytes, max }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut end = self.bytes.len().min(self.max);
        // Not in the middle of a character.
        while end < self.bytes.len() && end > 0 && self.bytes[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        for chunk in self.bytes[..end].utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    // Marks that reorder or hide what stands beside them.
                    '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => {
                        write!(f, "{}", c.escape_unicode())?
                    }
                    c if c.is_control() => write!(f, "{}", c.escape_default())?,
                    c => write!(f, "{c}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if end < self.bytes.len() {
            write!(f, "... ({} bytes)", self.bytes.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_069_the_suppressed_are_counted() {
        let mut throttle = Throttle::new(10);
        let written = (0..100_000).filter(|_| throttle.allow(Duration::ZERO).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(throttle.allow(Duration::from_secs(1)), Some(99_990));
        assert_eq!(throttle.allow(Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn case_070_nothing_a_client_sends_starts_a_new_line() {
        let all: Vec<u8> = (0..=255).chain("\u{202e}\u{85}\u{2028}é".bytes()).collect();
        let line = Escaped::new(&all, 999).to_string();
        assert!(!line.chars().any(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)));
        assert!(line.contains(r"\u{202e}") && line.ends_with('é'));
    }

    #[test]
    fn a_cut_leaves_whole_characters() {
        for max in 0..9 {
            let line = Escaped::new("سلام".as_bytes(), max).to_string();
            assert!(!line.contains('\\'), "{line}");
        }
    }
}
