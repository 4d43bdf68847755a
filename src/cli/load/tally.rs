//! What one thread of a load has counted.
use std::collections::BTreeMap;

use super::{
    bands::{self, BANDS},
    distribution::Distribution,
    results::{Secured, Slice},
};

/// Slices of the series; twice as many are joined two by two.
const SLICES_MAX: usize = 300;

/// The first width of a slice.
const SLICE_MS: u64 = 100;

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Planned and never sent; and of these, those for which a connection was free.
    pub(crate) unsent: u64,
    pub(crate) unsent_by_us: u64,
    pub(crate) opened: u64,
    pub(crate) up_max: u64,
    pub(crate) latency: Distribution,
    pub(crate) service: Distribution,
    pub(crate) first_byte: Distribution,
    pub(crate) connect: Distribution,
    pub(crate) handshake: Distribution,
    pub(crate) secured: Secured,
    pub(crate) lateness: Distribution,
    pub(crate) handling: Distribution,
    pub(crate) errors: Errors,
    pub(crate) limits: BTreeMap<&'static str, u64>,
    pub(crate) series: Series,
}

impl Tally {
    /// Another thread's, but for its series: that has slices of its own width.
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.unsent += other.unsent;
        self.unsent_by_us += other.unsent_by_us;
        self.opened += other.opened;
        self.up_max += other.up_max;
        self.latency.add(&other.latency);
        self.service.add(&other.service);
        self.first_byte.add(&other.first_byte);
        self.connect.add(&other.connect);
        self.handshake.add(&other.handshake);
        self.secured.add(&other.secured);
        self.lateness.add(&other.lateness);
        self.handling.add(&other.handling);
        self.errors.add(&other.errors);
        for (name, count) in &other.limits {
            *self.limits.entry(name).or_default() += count;
        }
    }
}

/// What went wrong, by kind, with the first of each in words.
#[derive(Clone, Default)]
pub(crate) struct Errors(pub(crate) BTreeMap<&'static str, (u64, String)>);

impl Errors {
    pub(crate) fn note(&mut self, kind: &'static str, what: impl FnOnce() -> String) {
        self.0.entry(kind).or_insert_with(|| (0, what())).0 += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (kind, (count, first)) in &other.0 {
            self.0.entry(kind).or_insert_with(|| (0, first.clone())).0 += count;
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.values().map(|(count, _)| count).sum()
    }
}

/// Slices of time from the beginning. As they become too many, their width doubles.
pub(crate) struct Series {
    pub(crate) slice_ms: u64,
    slices: Vec<Cell>,
    /// Where the last slice ends: the usual question, without a division.
    last_ends_ns: u64,
}

#[derive(Clone)]
struct Cell {
    requests: u64,
    bytes_in: u64,
    bytes_out: u64,
    errors: u64,
    up: u64,
    latency: [u32; BANDS],
}

impl Default for Series {
    fn default() -> Self {
        Self { slice_ms: SLICE_MS, slices: Vec::new(), last_ends_ns: 0 }
    }
}

impl Series {
    pub(crate) fn answered(&mut self, now: u64, latency: u64) {
        let cell = self.now(now);
        cell.requests += 1;
        let count = &mut cell.latency[bands::band(latency)];
        *count = count.saturating_add(1);
    }

    pub(crate) fn moved(&mut self, now: u64, bytes_in: u64, bytes_out: u64) {
        let cell = self.now(now);
        cell.bytes_in += bytes_in;
        cell.bytes_out += bytes_out;
    }

    pub(crate) fn failed(&mut self, now: u64) {
        self.now(now).errors += 1;
    }

    /// So many connections are up.
    pub(crate) fn up(&mut self, now: u64, up: u64) {
        self.now(now).up = up;
    }

    fn now(&mut self, now: u64) -> &mut Cell {
        if now >= self.last_ends_ns || self.slices.is_empty() {
            self.begin(now);
        }
        let last = self.slices.len() - 1;
        &mut self.slices[last]
    }

    /// The slice that `now` is in, and all before it that nothing happened in.
    fn begin(&mut self, now: u64) {
        let up = self.slices.last().map_or(0, |last| last.up);
        let blank =
            Cell { requests: 0, bytes_in: 0, bytes_out: 0, errors: 0, up, latency: [0; BANDS] };
        let mut wanted = (now / (self.slice_ms * 1_000_000)) as usize + 1;
        while wanted > 2 * SLICES_MAX {
            self.slices.resize(self.slices.len().next_multiple_of(2), blank.clone());
            self.slices = self.slices.chunks(2).map(|two| joined(&two[0], &two[1])).collect();
            self.slice_ms *= 2;
            wanted = wanted.div_ceil(2);
        }
        let len = self.slices.len().max(wanted);
        self.slices.resize(len, blank);
        self.last_ends_ns = len as u64 * self.slice_ms * 1_000_000;
    }

    pub(crate) fn slices(&self) -> Vec<Slice> {
        self.slices.iter().map(Cell::shown).collect()
    }
}

fn joined(one: &Cell, two: &Cell) -> Cell {
    let latency = std::array::from_fn(|at| one.latency[at].saturating_add(two.latency[at]));
    Cell {
        requests: one.requests + two.requests,
        bytes_in: one.bytes_in + two.bytes_in,
        bytes_out: one.bytes_out + two.bytes_out,
        errors: one.errors + two.errors,
        up: two.up,
        latency,
    }
}

impl Cell {
    fn shown(&self) -> Slice {
        let latency = self.latency.iter().enumerate().filter(|&(_, &count)| count > 0);
        Slice {
            requests: self.requests,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            errors: self.errors,
            up: self.up,
            latency: latency.map(|(band, &count)| (band as u8, count.into())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn slices_follow_time_and_what_is_empty_keeps_its_connections() {
        let mut series = Series::default();
        series.up(0, 7);
        series.answered(50 * MS, 1_000);
        series.answered(420 * MS, 2_000);
        series.failed(420 * MS);
        series.moved(499 * MS, 3, 4);
        let slices = series.slices();
        assert_eq!(slices.iter().map(|s| s.requests).collect::<Vec<_>>(), [1, 0, 0, 0, 1]);
        assert_eq!(slices.iter().map(|s| s.up).collect::<Vec<_>>(), [7; 5]);
        let last = &slices[4];
        assert_eq!((last.errors, last.bytes_in, last.bytes_out), (1, 3, 4));
        assert_eq!(last.latency.iter().collect::<Vec<_>>(), [(&4, &1)]);
    }

    #[test]
    fn a_long_run_has_wider_slices_and_loses_nothing() {
        let mut series = Series::default();
        for n in 0..100_000 {
            series.answered(n * 37 * MS, 1_000_000);
            series.up(n * 37 * MS, n);
        }
        let slices = series.slices();
        assert!(slices.len() <= 2 * SLICES_MAX && slices.len() >= SLICES_MAX, "{}", slices.len());
        assert_eq!(slices.iter().map(|s| s.requests).sum::<u64>(), 100_000);
        assert_eq!(slices.iter().flat_map(|s| s.latency.values()).sum::<u64>(), 100_000);
        let covered = slices.len() as u64 * series.slice_ms;
        assert!(covered >= 3_700_000 - 37 && covered < 3_700_000 + 2 * series.slice_ms);
        assert!(slices.windows(2).all(|two| two[0].up <= two[1].up));
        // One leap over hours.
        series.answered(1 << 50, 1);
        assert!(series.slices().len() <= 2 * SLICES_MAX);
    }

    #[test]
    fn errors_are_counted_and_the_first_of_a_kind_is_kept() {
        let mut errors = Errors::default();
        errors.note("reset", || "the first".into());
        errors.note("reset", || panic!("that is the second"));
        assert_eq!((errors.sum(), &errors.0["reset"]), (2, &(2, "the first".into())));
    }
}
