//! Values of the Redis protocol, RESP2 and RESP3: where they end. However deep they are, one
//! number says what is still to come: an array of `n` adds `n` elements, each element is one less.
use charkh::{Escaped, Input};

use super::{BODY_MAX, Phase, State, Verdict, Wrong, number};

/// What an element's line says of it.
enum Element {
    /// The line is all of it.
    Line,
    /// So many bytes follow, and CR LF.
    Bulk(u64),
    /// So many elements follow, which are parts of it.
    Parts(u64),
    /// So many elements follow, and then what they are about.
    Attributes(u64),
}

/// Whether the value is whole. What a server pushes between two replies is none, and passed over.
pub(super) fn advance(state: &mut State, input: &mut Input) -> Result<bool, Wrong> {
    loop {
        let ended = match state.phase {
            Phase::Bulk => {
                state.mark = state.skip_ended(state.mark.into(), input)? as u32;
                if state.mark > 0 {
                    return Ok(false);
                }
                state.phase = Phase::Start;
                true
            }
            _ => match read_element(state, input)? {
                Some(ended) => ended,
                None => return Ok(false),
            },
        };
        state.left -= u64::from(ended);
        if state.left == 0 {
            if state.verdict != Verdict::Aside {
                return Ok(true);
            }
            *state = State::default();
        }
    }
}

/// Take an element's line, if all of it is here; whether it is one less to come.
fn read_element(state: &mut State, input: &mut Input) -> Result<Option<bool>, Wrong> {
    let at = state.at;
    let Some(&kind) = input.peek().first() else { return Ok(None) };
    if !b"+-:$*_#,(!=%~>|".contains(&kind) {
        let front = &input.peek()[..input.len().min(16)];
        let what = format!("no type of RESP: {}", Escaped::new(front, 16));
        return Err(Wrong::malformed(at, what));
    }
    let Some(line) = state.line(input)? else { return Ok(None) };
    state.left = state.left.max(1);
    let outermost = state.left == 1 && !state.nested;
    if outermost && matches!(kind, b'-' | b'!') {
        state.verdict = Verdict::RedisError;
    }
    if outermost && kind == b'>' {
        state.verdict = Verdict::Aside;
    }
    let wrong = |what| Wrong::malformed(at, format!("{what}: {}", Escaped::new(line, 32)));
    let element = match kind {
        b'>' if !outermost => return Err(wrong("a push within a reply")),
        _ => element(line).map_err(wrong)?,
    };
    let (more, ended) = match element {
        Element::Line => (0, true),
        Element::Bulk(size) if size > BODY_MAX => {
            return Err(Wrong::too_long(at, format_args!("a string of {size} bytes, over 1 GiB")));
        }
        Element::Bulk(size) => {
            (state.phase, state.mark) = (Phase::Bulk, size as u32 + 2);
            (0, false)
        }
        Element::Parts(count) => {
            state.nested |= outermost;
            (count, true)
        }
        Element::Attributes(count) => (count, false),
    };
    let left = state.left.checked_add(more);
    state.left = left.ok_or_else(|| wrong("more elements than can be counted"))?;
    Ok(Some(ended))
}

/// What a line of at least one byte says.
fn element(line: &[u8]) -> Result<Element, &'static str> {
    let value = &line[1..];
    let unsigned = value.strip_prefix(b"-").or(value.strip_prefix(b"+")).unwrap_or(value);
    let text = || std::str::from_utf8(value).unwrap_or_default();
    let all_digits = !unsigned.is_empty() && unsigned.iter().all(u8::is_ascii_digit);
    let right = match line[0] {
        b'$' | b'*' if value == b"-1" => true,
        b'$' | b'!' | b'=' => return size(value).map(Element::Bulk),
        b'*' | b'~' | b'>' => return count(value, 1).map(Element::Parts),
        b'%' => return count(value, 2).map(Element::Parts),
        b'|' => return count(value, 2).map(Element::Attributes),
        b'(' => all_digits,
        b':' => all_digits && text().parse::<i64>().is_ok(),
        b',' => text().parse::<f64>().is_ok(),
        b'#' => value == b"t" || value == b"f",
        b'_' => value.is_empty(),
        _ => true,
    };
    if right { Ok(Element::Line) } else { Err("no value of its type") }
}

fn size(value: &[u8]) -> Result<u64, &'static str> {
    match number(value) {
        Some(size) => Ok(size),
        None if value == b"?" => Err("a streamed string, which is not read"),
        None => Err("no length"),
    }
}

fn count(value: &[u8], each: u64) -> Result<u64, &'static str> {
    match number(value) {
        Some(count) => count.checked_mul(each).ok_or("more elements than can be counted"),
        None if value == b"?" => Err("streamed elements, which are not read"),
        None => Err("no number of elements"),
    }
}
