//! What is sent: a text, the bytes of a file, or patterns that can be told from one another.
use std::sync::Arc;

/// How many places of the table a pattern may begin at.
const STARTS: u64 = 1 << 16;

/// From one message of a connection to the next; odd, so that all places have their turn.
const STEP: u64 = 0x9e37;

/// What each request says. Nothing is made or copied when it is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    /// A fixed message, and nothing else, or the table that patterns are slices of.
    table: Arc<[u8]>,
    size: usize,
}

impl Message {
    /// Patterns of `size` bytes, at least one: slices of one table of random bytes. Where a
    /// pattern begins depends on the connection and on the message's number, so that a byte that
    /// is lost, doubled, swapped or somebody else's is noticed in the reply.
    pub(crate) fn patterns(size: usize) -> Self {
        let size = size.max(1);
        let random = (0..).flat_map(|n| scatter(n).to_le_bytes());
        let table = random.take(size + STARTS as usize - 1).collect();
        Self { table, size }
    }

    /// Always these bytes.
    ///
    /// # Errors
    /// There are none: no reply could be asked for.
    pub(crate) fn fixed(bytes: Vec<u8>) -> Result<Self, String> {
        match bytes.len() {
            0 => Err("a message has at least one byte".into()),
            size => Ok(Self { table: bytes.into(), size }),
        }
    }

    /// Always this text, with escapes for what is hard to type.
    ///
    /// # Errors
    /// It is empty, or has an escape that is none; said in a sentence.
    pub(crate) fn text(text: &str) -> Result<Self, String> {
        Self::fixed(unescape(text)?)
    }

    /// Message number `seq` of connection `link`. No two patterns of a connection begin at the
    /// same place of the table, unless 65 536 messages lie between them.
    pub(crate) fn bytes(&self, link: u32, seq: u32) -> &[u8] {
        if self.table.len() == self.size {
            return &self.table;
        }
        let start = scatter(link.into()).wrapping_add(u64::from(seq) * STEP) % STARTS;
        &self.table[start as usize..][..self.size]
    }

    /// How many bytes each message has.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

/// The `n`th of a sequence of random numbers: SplitMix64.
fn scatter(n: u64) -> u64 {
    let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

/// The bytes that a text with escapes stands for.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (code, after) = split_first(escape);
        rest = after;
        match code {
            "n" => bytes.push(b'\n'),
            "r" => bytes.push(b'\r'),
            "t" => bytes.push(b'\t'),
            "0" => bytes.push(0),
            "\\" => bytes.push(b'\\'),
            "x" => {
                let digits = rest.get(..2).filter(|digits| is_hex(digits));
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or("\\x has two digits from 0 to f after it: write \\x0a")?);
                rest = &rest[2..];
            }
            "u" => {
                let inner = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
                let char = inner.and_then(|(digits, _)| scalar(digits));
                let (Some((_, after)), Some(char)) = (inner, char) else {
                    return Err(
                        "\\u has a character's number in braces after it: write \\u{1f600}".into(),
                    );
                };
                bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
            }
            other => {
                return Err(format!(
                    "\\{} is no escape: write \\n, \\r, \\t, \\0, \\\\, \\xHH or \\u{{...}}",
                    other.escape_debug()
                ));
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// The first character, if there is one, and the rest.
fn split_first(text: &str) -> (&str, &str) {
    text.split_at(text.chars().next().map_or(0, char::len_utf8))
}

/// The character with this number, in at most six digits.
fn scalar(digits: &str) -> Option<char> {
    let number = u32::from_str_radix(digits, 16).ok()?;
    char::from_u32(number).filter(|_| is_hex(digits) && digits.len() <= 6)
}

/// Digits alone: what the standard library parses may have a sign.
fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_fixed_message_is_always_the_same() {
        let message = Message::fixed(b"GET / HTTP/1.1\r\n\r\n".to_vec()).unwrap();
        for (link, seq) in [(0, 0), (1, 0), (0, 1), (u32::MAX, u32::MAX)] {
            assert_eq!(message.bytes(link, seq), b"GET / HTTP/1.1\r\n\r\n");
        }
        assert_eq!(message.size(), 18);
        assert_eq!(Message::fixed(vec![]).unwrap_err(), "a message has at least one byte");
    }

    #[test]
    fn patterns_have_their_size_and_are_the_same_when_asked_again() {
        for size in [1, 2, 7, 8, 9, 1500, 1 << 20] {
            let message = Message::patterns(size);
            assert_eq!(message, Message::patterns(size));
            assert_eq!(message.size(), size);
            for (link, seq) in [(0, 0), (0, 1), (1, 0), (7, 1 << 20), (u32::MAX, u32::MAX)] {
                assert_eq!(message.bytes(link, seq).len(), size);
            }
        }
        assert_eq!(Message::patterns(0).size(), 1);
    }

    #[test]
    fn sixty_five_thousand_messages_in_a_row_are_all_different() {
        let message = Message::patterns(8);
        for (link, first) in [(0, 0), (1, 17), (99_999, u32::MAX - (1 << 16) + 1)] {
            let seqs = first..=first + ((1 << 16) - 1);
            let all: HashSet<&[u8]> = seqs.map(|seq| message.bytes(link, seq)).collect();
            assert_eq!(all.len(), 1 << 16);
        }
    }

    #[test]
    fn connections_say_different_things() {
        let message = Message::patterns(64);
        let firsts: HashSet<&[u8]> = (0..1000).map(|link| message.bytes(link, 0)).collect();
        // Of 65 536 places, a thousand random ones meet a few times.
        assert!(firsts.len() > 950, "{}", firsts.len());
    }

    #[test]
    fn a_pattern_that_is_shifted_or_swapped_is_another() {
        let message = Message::patterns(1000);
        let bytes = message.bytes(3, 5);
        let same = bytes.iter().zip(&bytes[1..]).filter(|(a, b)| a == b).count();
        assert!(same < 20, "{same} of 999 bytes are like the next one");
        assert!(bytes[..500] != bytes[500..]);
        let mut seen = [0; 256];
        message.table.iter().for_each(|&byte| seen[usize::from(byte)] += 1);
        assert!(seen.iter().all(|&times| times > 128), "{seen:?}");
    }

    #[test]
    fn text_stands_for_its_bytes() {
        let says = |text: &str| Message::text(text).unwrap().bytes(0, 0).to_vec();
        assert_eq!(says("hello"), b"hello");
        assert_eq!(says(r"a\r\n\t\0\\n"), b"a\r\n\t\0\\n");
        assert_eq!(says(r"\x00\xff\xAbc"), b"\x00\xff\xabc");
        assert_eq!(says(r"\u{e9}é\u{1F600}\u{0}\u{00000a}"), "éé😀\0\n".as_bytes());
    }

    #[test]
    fn a_wrong_escape_is_a_sentence() {
        let says = |text: &str| Message::text(text).unwrap_err();
        let list = r"write \n, \r, \t, \0, \\, \xHH or \u{...}";
        assert_eq!(says(r"a\q"), format!(r"\q is no escape: {list}"));
        assert_eq!(says("\\é"), format!(r"\é is no escape: {list}"));
        assert_eq!(says("\\\n"), format!(r"\\n is no escape: {list}"));
        assert_eq!(says("\\"), format!(r"\ is no escape: {list}"));
        for text in [r"\x", r"\xa", r"\xg0", r"\x+1", r"\x-1", "\\xé", "\\x1é"] {
            assert_eq!(says(text), r"\x has two digits from 0 to f after it: write \x0a", "{text}");
        }
        let unicode = [r"\u", r"\u{", r"\u{}", r"\u{d800}", r"\u{110000}", r"\u{+a}", r"\u00e9"];
        for text in unicode.into_iter().chain([r"\u{g}", r"\u{0000041}", "\\u{é}", r"\u{41"]) {
            let sentence = r"\u has a character's number in braces after it: write \u{1f600}";
            assert_eq!(says(text), sentence, "{text}");
        }
        assert_eq!(says(""), "a message has at least one byte");
    }
}
