//! `--find-max`: the highest rate that keeps a promise.
//!
//! A closed loop tells how fast the target is when nobody has to wait; from there a search by
//! halves finds the edge. One such search is one roll of dice, so it is made again, each from the
//! same bracket: the median of the searches is the answer, and the lowest and the highest of six
//! have the true median between them with a probability of 97 % (each falls on either side of it
//! like a coin: 1 - 2/2^6).
use serde::{Deserialize, Serialize};

/// Searches from one bracket.
const SEARCHES: usize = 6;

/// A search ends when its bracket is this narrow.
const NARROW: f64 = 1.01;

/// Steps from the first guess to a bracket.
const STEPS_MAX: usize = 12;

/// How often one search may leave it.
const MOVES_MAX: u32 = 3;

/// What was found, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Search {
    pub(crate) promise: String,
    /// Requests a second: the median of the searches, the lowest and the highest.
    pub(crate) rate: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) trials: Vec<Trial>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub(crate) rate: f64,
    pub(crate) kept: bool,
    /// The promised quantile, as it was.
    pub(crate) value_ms: f64,
}

/// Search around `guess` with `trial`. `Ok(None)`: not even a very low rate keeps the promise.
/// `Err` of a trial ends it.
pub(crate) fn search(
    guess: f64,
    mut trial: impl FnMut(f64) -> Result<Trial, String>,
) -> Result<Option<Search>, String> {
    let mut trials = Vec::new();
    let mut keeps = |rate: f64| -> Result<bool, String> {
        let trial = trial(rate)?;
        trials.push(trial);
        Ok(trial.kept)
    };
    let Some((low, high)) = bracket(guess, &mut keeps)? else { return Ok(None) };
    let mut found = Vec::new();
    for _ in 0..SEARCHES {
        found.push(halve(low, high, MOVES_MAX, &mut keeps)?);
    }
    found.sort_unstable_by(f64::total_cmp);
    let rate = (found[SEARCHES / 2 - 1] + found[SEARCHES / 2]) / 2.0;
    let (low, high) = (found[0], found[SEARCHES - 1]);
    Ok(Some(Search { promise: String::new(), rate, low, high, trials }))
}

/// A rate that was kept, and a higher one that was not; the same twice if none was too high.
fn bracket(
    guess: f64,
    keeps: &mut impl FnMut(f64) -> Result<bool, String>,
) -> Result<Option<(f64, f64)>, String> {
    let kept = keeps(guess)?;
    let mut edge = guess;
    for step in 0..STEPS_MAX {
        // Wider and wider: a quarter at first, in the end six times.
        let factor = 1.25_f64.powi(1 << step.min(3));
        let next = if kept { edge * factor } else { edge / factor };
        if keeps(next)? != kept {
            return Ok(Some((edge.min(next), edge.max(next))));
        }
        edge = next;
    }
    Ok(kept.then_some((edge, edge)))
}

/// Halve between a rate that was kept and one that was not. Either may have been luck: an end of
/// the bracket that everything speaks against is moved out, so many times.
fn halve(
    low: f64,
    high: f64,
    moves: u32,
    keeps: &mut impl FnMut(f64) -> Result<bool, String>,
) -> Result<f64, String> {
    let (mut below, mut above) = (low, high);
    while above / below > NARROW {
        let middle = (below * above).sqrt();
        match keeps(middle)? {
            true => below = middle,
            false => above = middle,
        }
    }
    if moves > 0 && below == low && !keeps(low)? {
        return halve(low / 1.1, low, moves - 1, keeps);
    }
    if moves > 0 && above == high && keeps(high)? {
        return halve(high, high * 1.1, moves - 1, keeps);
    }
    Ok((below * above).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn against(capacity: f64, noise: f64) -> impl FnMut(f64) -> Result<Trial, String> {
        let mut seed = 7_u64;
        move |rate| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let random = (seed >> 33) as f64 / (1_u64 << 31) as f64 - 0.5;
            let kept = rate <= capacity * (1.0 + noise * random);
            Ok(Trial { rate, kept, value_ms: 0.0 })
        }
    }

    #[test]
    fn the_edge_is_found_from_wherever_the_search_begins() {
        for guess in [20.0, 900.0, 1_000.0, 1_200.0, 200_000.0] {
            let found = search(guess, against(1_000.0, 0.0)).unwrap().unwrap();
            let off = (found.rate / 1_000.0 - 1.0).abs();
            assert!(off < 0.02, "{guess}: {}", found.rate);
            assert!(found.low <= found.rate && found.rate <= found.high);
        }
    }

    #[test]
    fn with_noise_the_interval_is_wider_and_the_answer_as_good() {
        let found = search(1_100.0, against(1_000.0, 0.06)).unwrap().unwrap();
        assert!((found.rate / 1_000.0 - 1.0).abs() < 0.03, "{}", found.rate);
        assert!(found.high > found.low);
        assert!(found.trials.len() < 80, "{}", found.trials.len());
    }

    #[test]
    fn a_target_that_keeps_nothing_is_given_up_and_an_error_ends_it() {
        let never = |rate| Ok(Trial { rate, kept: false, value_ms: 9.0 });
        assert_eq!(search(1_000.0, never), Ok(None));
        assert_eq!(search(1_000.0, |_| Err("gone".into())), Err("gone".into()));
        let always = |rate| Ok(Trial { rate, kept: true, value_ms: 1.0 });
        assert!(search(1_000.0, always).unwrap().is_some());
    }
}
