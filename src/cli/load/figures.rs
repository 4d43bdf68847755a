//! Figures as they stand in sentences: `28 232`, `4.2 KiB`, `1.20 ms`.

/// By thousands.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// So many of these, by thousands: `1 address`, `2 addresses`.
pub(crate) fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(n), if n == 1 { one } else { many })
}

/// Two digits, the rest zeros; never more than there are.
pub(crate) fn roughly(n: u64) -> String {
    let unit = 10_u64.pow(n.max(1).ilog10().saturating_sub(1));
    grouped(n / unit * unit)
}

/// Bytes, to two digits or so.
pub(crate) fn bytes(n: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let Some((bits, unit)) = units.into_iter().find(|&(bits, _)| n >> bits > 0) else {
        return format!("{n} B");
    };
    let value = n as f64 / (1_u64 << bits) as f64;
    format!("{value:.*} {unit}", usize::from(value < 9.95))
}

/// Nanoseconds, to three digits.
pub(crate) fn time(ns: u64) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
    let Some((size, unit)) = units.into_iter().find(|&(size, _)| ns >= size) else {
        return format!("{ns} ns");
    };
    let value = ns as f64 / size as f64;
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {unit}")
}

/// A share, 0 to 1, in percent: whole above 10.
pub(crate) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    format!("{percent:.*} %", usize::from(percent < 9.95))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_right() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1 000"), (28_232, "28 232")] {
            assert_eq!(grouped(n), text);
        }
        assert_eq!(grouped(u64::MAX), "18 446 744 073 709 551 615");
        assert_eq!(counted(1, "address", "addresses"), "1 address");
        assert_eq!(counted(2_000, "address", "addresses"), "2 000 addresses");
        for (n, text) in [(0, "0"), (7, "7"), (99, "99"), (101, "100"), (5_678_901, "5 600 000")] {
            assert_eq!(roughly(n), text);
        }
        assert_eq!(roughly(u64::MAX), "18 000 000 000 000 000 000");
        for (n, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (4_260, "4.2 KiB"),
            (10_190, "10 KiB"),
            (21 << 30, "21 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        for (ns, text) in [
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (10_000, "10.0 µs"),
            (230_400, "230 µs"),
            (1_204_000, "1.20 ms"),
            (90_000_000_000, "90.0 s"),
        ] {
            assert_eq!(time(ns), text);
        }
        assert_eq!(
            (percent(0.051), percent(0.3), percent(1.0)),
            ("5.1 %".into(), "30 %".into(), "100 %".into())
        );
    }
}
