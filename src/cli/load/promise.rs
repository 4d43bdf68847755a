//! What `--find-max` is to keep: `p99<5ms`.
use std::{fmt, str::FromStr, time::Duration};

use crate::cli::units::Span;

use super::distribution::Distribution;

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Promise {
    /// 0 to 1; 1 is the longest of all.
    quantile: f64,
    below: Duration,
}

impl Promise {
    pub(crate) fn is_kept_by(&self, latency: &Distribution) -> bool {
        latency.count() > 0 && latency.quantile(self.quantile) < self.below
    }

    pub(crate) fn of(&self, latency: &Distribution) -> Duration {
        latency.quantile(self.quantile)
    }
}

impl FromStr for Promise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a quantile and a time, such as p99<5ms, p50<800us or max<1s";
        let (what, below) = text.split_once('<').ok_or_else(wrong)?;
        let Span(below) = below.trim().parse()?;
        let quantile = match what.trim() {
            "max" => 1.0,
            what => match what.strip_prefix('p').and_then(|digits| digits.parse::<f64>().ok()) {
                Some(percent) if percent > 0.0 && percent <= 100.0 => percent / 100.0,
                _ => return Err(wrong().into()),
            },
        };
        Ok(Self { quantile, below })
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.quantile {
            1.0 => write!(f, "max<{}", Span(self.below)),
            quantile => {
                // As it was written: 0.999 is 99.9 percent, whatever a float makes of that.
                let percent = (quantile * 1e8).round() / 1e6;
                write!(f, "p{percent}<{}", Span(self.below))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_read_kept_and_broken() {
        let mut latency = Distribution::default();
        let promise: Promise = "p99.9<5ms".parse().unwrap();
        assert!(!promise.is_kept_by(&latency), "nothing was measured");
        (0..1000).for_each(|_| latency.record_ns(4_900_000));
        assert!(promise.is_kept_by(&latency));
        (0..2).for_each(|_| latency.record_ns(9_000_000));
        assert!(!promise.is_kept_by(&latency));
        assert!("p50 < 5ms".parse::<Promise>().unwrap().is_kept_by(&latency));
        assert!(!"max<9ms".parse::<Promise>().unwrap().is_kept_by(&latency));
        for text in ["p99<5ms", "p99.9<1s", "p99.99<800us", "max<1s"] {
            assert_eq!(text.parse::<Promise>().unwrap().to_string(), text);
        }
        for text in ["", "p99", "p0<1s", "p101<1s", "99<1s", "p99<5", "p99>5ms", "mean<1s"] {
            assert!(text.parse::<Promise>().is_err(), "{text}");
        }
    }
}
