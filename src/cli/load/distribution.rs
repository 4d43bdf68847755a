//! Times, as an HDR histogram: three digits of each, from a nanosecond to an hour.
use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer, V2DeflateSerializer},
};
use serde::{Deserialize, Serialize};

/// Nothing is waited for longer; what takes longer is counted as this.
const MAX_NS: u64 = 3_600_000_000_000;

/// What is shown of each.
pub(crate) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub(crate) struct Distribution(Histogram<u64>);

impl Default for Distribution {
    fn default() -> Self {
        let Ok(histogram) = Histogram::new_with_bounds(1, MAX_NS, 3) else {
            unreachable!("these bounds are sound");
        };
        Self(histogram)
    }
}

impl Distribution {
    pub(crate) fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// So many that took as long.
    pub(crate) fn record_many_ns(&mut self, ns: u64, count: u64) {
        self.0.saturating_record_n(ns, count);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds, or were read from a file and are stretched to hold it.
        if self.0.add(&other.0).is_err() {
            for value in other.0.iter_recorded() {
                self.0.saturating_record_n(value.value_iterated_to(), value.count_at_value());
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn mean_ns(&self) -> f64 {
        self.0.mean()
    }

    pub(crate) fn min_ns(&self) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.min() }
    }

    pub(crate) fn max_ns(&self) -> u64 {
        self.0.max()
    }

    /// As many of all are no longer than this: `q` is 0 to 1. Zero if there is none.
    pub(crate) fn quantile_ns(&self, q: f64) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.value_at_quantile(q).min(self.0.max()) }
    }

    pub(crate) fn quantile(&self, q: f64) -> Duration {
        Duration::from_nanos(self.quantile_ns(q))
    }

    /// For formats that want all of it.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// In JSON: what people want to see, and all of it, compressed, as HdrHistogram's other
/// implementations read it too.
#[derive(Serialize, Deserialize)]
struct Written {
    count: u64,
    mean_ns: f64,
    min_ns: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p99_9_ns: u64,
    p99_99_ns: u64,
    max_ns: u64,
    hdr: String,
}

impl From<Distribution> for Written {
    fn from(distribution: Distribution) -> Self {
        let [p50_ns, p90_ns, p99_ns, p99_9_ns, p99_99_ns] =
            QUANTILES.map(|(_, q)| distribution.quantile_ns(q));
        let mut bytes = Vec::new();
        // Into memory; nothing there can fail.
        let _ = V2DeflateSerializer::new().serialize(&distribution.0, &mut bytes);
        Self {
            count: distribution.count(),
            mean_ns: distribution.mean_ns(),
            min_ns: distribution.min_ns(),
            p50_ns,
            p90_ns,
            p99_ns,
            p99_9_ns,
            p99_99_ns,
            max_ns: distribution.max_ns(),
            hdr: BASE64_STANDARD.encode(bytes),
        }
    }
}

impl TryFrom<Written> for Distribution {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let wrong = || "a histogram in it cannot be read".to_string();
        let bytes = BASE64_STANDARD.decode(written.hdr).map_err(|_| wrong())?;
        let read: Histogram<u64> =
            Deserializer::new().deserialize(&mut &bytes[..]).map_err(|_| wrong())?;
        let mut all = Self::default();
        all.add(&Self(read));
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut all = Distribution::default();
        for n in 1..=10_000 {
            all.record_ns(n * 1000);
        }
        all.record_ns(u64::MAX);
        let text = serde_json::to_string(&all).unwrap();
        assert!(text.contains("\"count\":10001"), "{text}");
        let read: Distribution = serde_json::from_str(&text).unwrap();
        assert_eq!(read.count(), 10_001);
        for (_, q) in QUANTILES {
            assert_eq!(read.quantile_ns(q), all.quantile_ns(q));
        }
        assert_eq!((read.min_ns(), read.max_ns()), (all.min_ns(), all.max_ns()));
        let off = read.quantile_ns(0.5).abs_diff(5_000_000);
        assert!(off <= 5_000, "{off}");
        assert!(
            serde_json::from_str::<Distribution>(&text.replace("\"hdr\":\"", "\"hdr\":\"?"))
                .is_err()
        );
    }

    #[test]
    fn sums_are_those_of_all() {
        let (mut one, mut two) = (Distribution::default(), Distribution::default());
        one.record_ns(10);
        two.record_ns(30);
        one.add(&two);
        assert_eq!((one.count(), one.min_ns(), one.max_ns()), (2, 10, 30));
        assert_eq!(Distribution::default().quantile_ns(0.99), 0);
    }
}
