//! What a client wants of a file: a part of it, or nothing if it has it already.

/// What a `Range` header asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// All of it; also what several ranges are answered with, or what is none.
    All,
    /// So many bytes from there.
    Part {
        /// The first of them.
        from: u64,
        /// How many; at least one.
        size: u64,
    },
    /// Bytes that are not there.
    Nothing,
}

/// Of `len` bytes: `bytes=2-5`, `bytes=2-` or, the last ones, `bytes=-5`.
pub(super) fn wanted(header: &[u8], len: u64) -> Wanted {
    let range = std::str::from_utf8(header).ok().and_then(|text| text.split_once('='));
    let Some((_, range)) = range.filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes")) else {
        return Wanted::All;
    };
    let Some((first, last)) = range.trim().split_once('-') else { return Wanted::All };
    let (from, end) = match (number(first), number(last)) {
        (None, Some(size)) if first.is_empty() => (len.saturating_sub(size), len),
        (Some(from), None) if last.is_empty() => (from, len),
        (Some(from), Some(last)) if from <= last => (from, last.saturating_add(1).min(len)),
        _ => return Wanted::All,
    };
    match from < end {
        true => Wanted::Part { from, size: end - from },
        false => Wanted::Nothing,
    }
}

/// Digits alone. What is too large for a number is past every end.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// A list of tags, as in `If-None-Match`, has this one: `*` is any, and `W/` makes no difference.
pub(super) fn matches(list: &[u8], tag: &str) -> bool {
    let own = |word: &[u8]| {
        let word = word.trim_ascii();
        word == b"*" || word.strip_prefix(b"W/").unwrap_or(word) == tag.as_bytes()
    };
    list.split(|&byte| byte == b',').any(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_single_open_suffix_and_none() {
        let part = |from, size| Wanted::Part { from, size };
        for (header, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-5", part(2, 4)),
            ("Bytes=2-", part(2, 8)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-10", part(0, 10)),
            ("bytes=-11", part(0, 10)),
            ("bytes=9-99999999999999999999999", part(9, 1)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=99999999999999999999999-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-2", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=", Wanted::All),
            ("lines=1-2", Wanted::All),
            ("bytes", Wanted::All),
        ] {
            assert_eq!(wanted(header.as_bytes(), 10), expected, "{header}");
        }
        assert_eq!(wanted(b"bytes=0-", 0), Wanted::Nothing);
    }

    #[test]
    fn tags_are_found_in_lists() {
        for (list, found) in
            [("\"a\"", true), ("W/\"a\"", true), ("\"b\", \"a\"", true), ("*", true), ("a", false)]
        {
            assert_eq!(matches(list.as_bytes(), "\"a\""), found, "{list}");
        }
    }
}
