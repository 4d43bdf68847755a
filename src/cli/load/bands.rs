//! Bands of latency: four for each doubling, from a microsecond up. Coarse, cheap and small: what
//! is shown while a load runs, and the rows of the heat map.
use std::time::Duration;

/// The last band takes whatever is longer: some two minutes.
pub(crate) const BANDS: usize = 108;

/// Which band a time belongs to.
pub(crate) fn band(ns: u64) -> usize {
    let us4 = (ns / 250).max(4); // quarters of a microsecond, so that the first doubling has four
    let doubling = us4.ilog2() - 2;
    let quarter = (us4 >> doubling) - 4;
    (4 * doubling as usize + quarter as usize).min(BANDS - 1)
}

/// The times below this are in this band or in one before it.
pub(crate) fn upper(band: usize) -> Duration {
    let (doubling, quarter) = (band / 4, band as u64 % 4);
    Duration::from_nanos(250 * ((quarter + 5) << doubling))
}

/// No more than `1 - q` of all are above this; zero if there is none.
pub(crate) fn quantile(counts: &[u64; BANDS], q: f64) -> Duration {
    let all: u64 = counts.iter().sum();
    let wanted = (q * all as f64).ceil().max(1.0) as u64;
    let mut seen = 0;
    for (band, count) in counts.iter().enumerate() {
        seen += count;
        if seen >= wanted {
            return upper(band);
        }
    }
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_below_its_band_s_end_and_not_below_the_one_before() {
        for ns in (0..5_000).chain((0..60).map(|n| 1 << (n / 2 + 10) | n)) {
            let at = band(ns);
            let time = Duration::from_nanos(ns);
            assert!(time < upper(at) || at == BANDS - 1, "{ns}");
            assert!(at == 0 || time >= upper(at - 1), "{ns}");
        }
        assert_eq!(band(u64::MAX), BANDS - 1);
        assert!(upper(BANDS - 1) > Duration::from_secs(100));
    }

    #[test]
    fn a_quantile_is_a_band_s_end() {
        let mut counts = [0; BANDS];
        assert_eq!(quantile(&counts, 0.5), Duration::ZERO);
        counts[3] = 99;
        counts[7] = 1;
        assert_eq!(quantile(&counts, 0.5), upper(3));
        assert_eq!(quantile(&counts, 0.99), upper(3));
        assert_eq!(quantile(&counts, 0.995), upper(7));
    }
}
