//! What a server sent, shown to somebody at a terminal.
use std::io::{self, Write};

use charkh::Escaped;

/// Shows text as it comes, whatever the pieces: a character that was cut in two is shown when the
/// rest of it is here. Line ends and tabs do what they do; whatever else could move a cursor or
/// paint a screen is escaped.
pub(crate) struct Text<W> {
    out: W,
    /// The front of a character that is not whole.
    cut: Vec<u8>,
    in_line: bool,
}

impl<W: Write> Text<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, cut: Vec::new(), in_line: false }
    }

    pub(crate) fn show(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.cut);
        bytes.extend_from_slice(piece);
        self.cut = bytes.split_off(bytes.len() - cut_len(&bytes));
        self.write(&bytes)?;
        self.out.flush()
    }

    /// Nothing more comes: show what never became whole, and end the line.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        let cut = std::mem::take(&mut self.cut);
        self.write(&cut)?;
        if std::mem::take(&mut self.in_line) {
            self.out.write_all(b"\n")?;
        }
        self.out.flush()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.split_inclusive(|byte| b"\n\t".contains(byte)) {
            let (text, end) = match part.split_last() {
                Some((b'\n' | b'\t', text)) => (text, &part[text.len()..]),
                _ => (part, &b""[..]),
            };
            write!(self.out, "{}", Escaped::new(text, usize::MAX))?;
            self.out.write_all(end)?;
            self.in_line = end != b"\n";
        }
        Ok(())
    }
}

/// How many bytes at the end are the front of a character that may still become whole.
fn cut_len(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let start = tail.iter().rposition(|&byte| byte >= 0xc0);
    let tail = start.map_or(&b""[..], |start| &tail[start..]);
    match std::str::from_utf8(tail) {
        Err(e) if e.error_len().is_none() => tail.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let mut text = Text::new(&mut out);
        pieces.iter().for_each(|piece| text.show(piece).unwrap());
        text.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_ended_once() {
        assert_eq!(shown(&[b"Hello Client!"]), "Hello Client!\n");
        assert_eq!(shown(&[b"Hello Client!\n"]), "Hello Client!\n");
        assert_eq!(shown(&[b"one\n", b"two"]), "one\ntwo\n");
        assert_eq!(shown(&[b"a\n\n"]), "a\n\n");
        assert_eq!(shown(&[]), "");
    }

    #[test]
    fn every_split_shows_the_same() {
        let all = "a\té\n€𝄞\u{1b}[31m\r\nسلام\u{202e}x".as_bytes();
        let all = [all, b"\xff\xf0\x9d\xc3("].concat();
        let whole = shown(&[&all]);
        assert!(whole.starts_with("a\té\n€𝄞\\u{1b}[31m\\r\nسلام\\u{202e}x\\xff\\xf0\\x9d\\xc3("));
        for one in 0..=all.len() {
            for two in one..=all.len() {
                let pieces = [&all[..one], &all[one..two], &all[two..]];
                assert_eq!(shown(&pieces), whole, "split at {one} and {two}");
            }
        }
    }

    #[test]
    fn a_character_that_never_became_whole_is_shown_at_the_end() {
        assert_eq!(shown(&[b"a\xe2", b"\x82"]), "a\\xe2\\x82\n");
    }
}
