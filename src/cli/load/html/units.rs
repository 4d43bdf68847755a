//! Numbers for people: three digits and a unit, on text that comes from outside no markup.
use charkh::Escaped;

/// Between a number and its unit, where no line may be broken.
const GAP: char = '\u{a0}';
/// For what cannot be told, which is not the same as zero.
pub(super) const NONE: &str = "–";

const TIMES: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
const COUNTS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
const BYTES: [(f64, &str); 5] = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")];

/// Fit for text and for attributes. What would be invisible or turn the text around is shown as
/// an escape.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::new();
    for c in Escaped::new(text.as_bytes(), usize::MAX).to_string().chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

pub(super) fn time(ns: f64) -> String {
    with_unit(ns, &TIMES)
}

pub(super) fn bytes(bytes: f64) -> String {
    with_unit(bytes, &BYTES)
}

/// A rate, or a count of which nobody needs the last digit.
pub(super) fn rate(number: f64) -> String {
    with_unit(number, if number < 9_999.5 { &[] } else { &COUNTS })
}

/// All digits of what is small enough to be read digit by digit.
pub(super) fn count(number: u64) -> String {
    if number >= 10_000_000 {
        return rate(number as f64);
    }
    let digits = number.to_string();
    let mut grouped = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && digits.len() > 4 && (digits.len() - n).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// The same number of things, in words: `1 error`, `2 errors`.
pub(super) fn things(number: u64, thing: &str) -> String {
    format!("{}{GAP}{thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A part of one, in percent.
pub(super) fn share(part: f64) -> String {
    match part * 100.0 {
        percent if !percent.is_finite() => NONE.into(),
        percent if percent > 0.0 && percent < 0.01 => format!("<{GAP}0.01{GAP}%"),
        percent => format!("{}{GAP}%", three(percent)),
    }
}

/// On an axis, where round numbers stand: without the zeros that say nothing.
pub(super) fn bare(shown: &str) -> String {
    let (number, unit) = shown.split_once(GAP).unwrap_or((shown, ""));
    let number = match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    };
    format!("{number}{}{unit}", if unit.is_empty() { "" } else { "\u{a0}" })
}

fn with_unit(number: f64, units: &[(f64, &str)]) -> String {
    if !number.is_finite() {
        return NONE.into();
    }
    // A number that would be rounded up to the next unit's one belongs there.
    match units.iter().find(|(unit, _)| number >= unit * 0.9995).or(units.last()) {
        Some((unit, name)) => format!("{}{GAP}{name}", three(number / unit)),
        None => three(number),
    }
}

/// Three digits, or as many as stand before the point.
fn three(number: f64) -> String {
    match number.abs() {
        0.0 => "0".into(),
        size if size < 9.995 => format!("{number:.2}"),
        size if size < 99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_the_unit_that_suits() {
        let plain = |text: String| text.replace(['\u{a0}', '\u{202f}'], " ");
        let times = [0.0, 850.0, 999.6, 1_234.0, 99_960.0, 1e6, 12_345_678.0, 3.6e12];
        let shown = ["0 ns", "850 ns", "1.00 µs", "1.23 µs", "100 µs", "1.00 ms", "12.3 ms"];
        assert_eq!(times.map(|ns| plain(time(ns)))[..7], shown);
        assert_eq!(plain(time(3.6e12)), "3600 s");
        assert_eq!([0.5, 9_999.0, 20_000.0, 1.5e6].map(|n| plain(rate(n))).join(", "), {
            "0.50, 9999, 20.0 k, 1.50 M"
        });
        assert_eq!([0, 9_999, 10_000, 1_234_567].map(|n| plain(count(n))).join(", "), {
            "0, 9999, 10 000, 1 234 567"
        });
        assert_eq!(plain(bytes(1_500_000.0)), "1.50 MB");
        assert_eq!([0.0, 0.000_01, 0.5, 1.0].map(|n| plain(share(n))).join(", "), {
            "0 %, < 0.01 %, 50.0 %, 100 %"
        });
        assert_eq!((time(f64::NAN), rate(f64::INFINITY)), (NONE.into(), NONE.into()));
        assert_eq!(plain(things(1, "error") + &things(2, "error")), "1 error2 errors");
    }

    #[test]
    fn on_an_axis_there_are_no_zeros_for_show() {
        assert_eq!(bare(&time(5e6)), "5\u{a0}ms");
        assert_eq!(bare(&rate(20_000.0)), "20\u{a0}k");
        assert_eq!((bare(&rate(100.0)), bare(&rate(2.5))), ("100".into(), "2.5".into()));
    }

    #[test]
    fn nothing_from_outside_is_markup() {
        assert_eq!(escape("<a b=\"c\">&'"), "&lt;a b=&quot;c&quot;&gt;&amp;&#39;");
        assert_eq!(escape("\0\u{202e}é"), "\\u{0}\\u{202e}é");
    }
}
