//! Numbers as Redis reads and writes them.

/// A whole number, written in the one way that there is: no `+`, no zeros before it, no blanks.
pub fn int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [] | [b'0', ..] => return None,
        _ if digits.len() > 19 => return None,
        _ => {}
    }
    let mut number = 0_i64;
    for &byte in digits {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        // Downwards, for the lowest number has no positive one.
        number = number.checked_mul(10)?.checked_sub(digit)?;
    }
    if negative { Some(number) } else { number.checked_neg() }
}

/// The digits of a number, at the end of a buffer that is long enough for all.
#[derive(Debug)]
pub struct Digits {
    bytes: [u8; 20],
    start: usize,
}

impl Digits {
    pub fn new(number: i64) -> Self {
        let (mut bytes, mut start, mut left) = ([0; 20], 20, number.unsigned_abs());
        loop {
            start -= 1;
            bytes[start] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        if number < 0 {
            start -= 1;
            bytes[start] = b'-';
        }
        Self { bytes, start }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// `None` for what is no number, and for NaN.
pub fn float(text: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!number.is_nan()).then_some(number)
}

/// Digits behind the point that are exact.
const PLACES: usize = 17;

/// The sum of two decimal numbers, exact as far as they have no more than 17 digits behind the
/// point: 0.1 and 0.2 are 0.3. `None` if it is no finite number.
pub fn sum(a: &[u8], b: &[u8]) -> Option<String> {
    if let (Some(a), Some(b)) = (fixed(a), fixed(b))
        && let Some(sum) = a.checked_add(b)
    {
        let unit = 10_u128.pow(PLACES as u32);
        let (whole, part) = (sum.unsigned_abs() / unit, sum.unsigned_abs() % unit);
        let sign = if sum < 0 { "-" } else { "" };
        let text = format!("{sign}{whole}.{part:017}");
        return Some(text.trim_end_matches('0').trim_end_matches('.').into());
    }
    let sum = float(a)? + float(b)?;
    sum.is_finite().then(|| sum.to_string())
}

/// In units of the last exact place.
fn fixed(text: &[u8]) -> Option<i128> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let point = text.iter().position(|&byte| byte == b'.');
    let whole = &text[..point.unwrap_or(text.len())];
    let part = point.map_or(&[][..], |at| &text[at + 1..]);
    if part.len() > PLACES || whole.len() > 20 || whole.len() + part.len() == 0 {
        return None;
    }
    let zeros = [b'0'; PLACES];
    let mut number = 0_i128;
    for &byte in whole.iter().chain(part).chain(&zeros[part.len()..]) {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i128::from(byte - b'0');
    }
    Some(if negative { -number } else { number })
}
