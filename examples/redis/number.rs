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

/// In units of the last exact place; `None` if it is not a whole number of them, or too many.
fn fixed(text: &[u8]) -> Option<i128> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let end = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
    let exponent: i64 = match text.get(end + 1..) {
        Some(digits) => std::str::from_utf8(digits).ok()?.parse().ok()?,
        None => 0,
    };
    let (mut number, mut digits, mut behind, mut has_point) = (0_i128, 0, 0_i64, false);
    for &byte in &text[..end] {
        match byte {
            b'.' if !has_point => has_point = true,
            b'0'..=b'9' => {
                number = number.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
                digits += 1;
                behind += i64::from(has_point);
            }
            _ => return None,
        }
    }
    if digits == 0 {
        return None;
    }
    let zeros = exponent.checked_add(PLACES as i64)?.checked_sub(behind)?;
    let unit = 10_i128.checked_pow(u32::try_from(zeros.unsigned_abs()).ok()?);
    let number = match unit {
        _ if number == 0 => 0,
        Some(unit) if zeros >= 0 => number.checked_mul(unit)?,
        Some(unit) if number % unit == 0 => number / unit,
        _ => return None,
    };
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn exponents_are_exact() {
        for (a, b, wanted) in [
            ("9007199254740993", "1e0", "9007199254740994"),
            ("0.1", "2e-05", "0.10002"),
            ("-9223372036854775808", "1e3", "-9223372036854774808"),
            ("1.50E+2", "-150.0", "0"),
            ("0e400", "0.1", "0.1"),
            ("3.0e3", "200", "3200"),
            ("1e-17", "0", "0.00000000000000001"),
            ("1e300", "1", &1e300.to_string()),
        ] {
            assert_eq!(sum(a.as_bytes(), b.as_bytes()).as_deref(), Some(wanted), "{a} + {b}");
        }
        assert_eq!(sum(b"1e", b"1"), None);
    }
}
