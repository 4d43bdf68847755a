//! The generator's own account of itself: what its threads had of the processors, and whether its
//! figures can be trusted. A load generator that is short of something measures itself and calls
//! it the target.
use std::{fs, time::Instant};

use super::{
    distribution::Distribution,
    figures::{counted, grouped, percent, time},
    results::{Results, Trust, Verdict},
};

/// What the generator adds to a reply's latency at p99 (late sends, and replies that waited for
/// their turn here) matters from here on if it is also a good part of the whole. Below, it is what
/// any program in user space adds: a wake-up and a turn of the loop.
const OURS_SUSPECT_NS: u64 = 200_000;
const OURS_INVALID_NS: u64 = 1_000_000;
/// A fifth of it hides differences between targets that people compare; at a half, p99 says as
/// much about us as about them.
const OURS_SUSPECT_PERCENT: u64 = 20;
const OURS_INVALID_PERCENT: u64 = 50;

/// Of what was planned, this much may go unsent by our own doing: with more, p99 is a quantile of
/// another load than the one that was asked for.
const UNSENT_INVALID: f64 = 0.01;

/// Ready to run, but without a processor. A tenth of the time is felt at p90 and beyond; from a
/// third on it is in most of what is measured. So it is from a tenth on, if the generator waited
/// longer than it ran: then what it does between two sleeps is waiting, in the main.
const WAITED_SUSPECT: f64 = 0.10;
const WAITED_INVALID: f64 = 0.30;

/// Shares of less time than this say nothing: one slice that somebody else had is most of it.
const JUDGED_S: f64 = 0.1;

/// Processor time that the host gave to others comes in slices of milliseconds: rare ones are in
/// the tail alone, but a fifth of all stops everything, ours and theirs, again and again.
const STEAL_SUSPECT: f64 = 0.05;
const STEAL_INVALID: f64 = 0.20;

/// A thread that is hardly ever idle: whatever comes faster waits for it. Some slack for the sleep
/// that even a full loop takes between two turns.
const BUSY_SUSPECT: f64 = 0.95;

/// What the calling thread has had so far. Two of them, from the same thread, tell what it had
/// between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadClock {
    at: Instant,
    cpu_s: Option<f64>,
    waited_s: Option<f64>,
}

/// Between two readings, in seconds. What the system does not tell is `None`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spent {
    pub(crate) wall_s: f64,
    /// On a processor.
    pub(crate) cpu_s: Option<f64>,
    /// Ready to run, waiting for a processor.
    pub(crate) waited_s: Option<f64>,
}

impl ThreadClock {
    pub(crate) fn read() -> Self {
        let schedstat = fs::read_to_string("/proc/thread-self/schedstat");
        Self {
            at: Instant::now(),
            cpu_s: cpu_s(),
            waited_s: schedstat.ok().and_then(|text| waited_s(&text)),
        }
    }

    pub(crate) fn since(&self, earlier: &Self) -> Spent {
        let less = |now: Option<f64>, then: Option<f64>| Some((now? - then?).max(0.0));
        Spent {
            wall_s: self.at.saturating_duration_since(earlier.at).as_secs_f64(),
            cpu_s: less(self.cpu_s, earlier.cpu_s),
            waited_s: less(self.waited_s, earlier.waited_s),
        }
    }
}

#[cfg(target_os = "linux")]
fn cpu_s() -> Option<f64> {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

#[cfg(not(target_os = "linux"))]
fn cpu_s() -> Option<f64> {
    None
}

/// From `/proc/thread-self/schedstat`: nanoseconds on a processor, nanoseconds waiting for one,
/// and turns on one.
fn waited_s(schedstat: &str) -> Option<f64> {
    let mut fields = schedstat.split_whitespace().map(str::parse::<u64>);
    match (fields.next(), fields.next(), fields.next()) {
        (Some(Ok(_)), Some(Ok(waited)), Some(Ok(_))) => Some(waited as f64 / 1e9),
        _ => None,
    }
}

/// What all processors of the machine have done so far, in ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Processors {
    all: u64,
    stolen: u64,
}

impl Processors {
    pub(crate) fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// From `/proc/stat`.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Option<Vec<u64>> =
            line.split_whitespace().map(|field| field.parse().ok()).collect();
        // Guests' time, which follows steal, is in user's and nice's already.
        let ticks = ticks?;
        let own = ticks.get(..8)?;
        Some(Self { all: own.iter().fold(0, |all, &n| all.saturating_add(n)), stolen: own[7] })
    }

    /// The share of the machine's processor time that its host gave to others, 0 to 1.
    pub(crate) fn steal_since(&self, earlier: &Self) -> Option<f64> {
        // Some counters step back at times.
        let all = self.all.checked_sub(earlier.all).filter(|&all| all > 0)?;
        Some((self.stolen.saturating_sub(earlier.stolen) as f64 / all as f64).min(1.0))
    }
}

/// All that a verdict is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Requests were wanted: this is no run that only holds connections.
    pub(crate) asks: bool,
    /// Sent by plan, not when the reply before was here.
    pub(crate) is_open: bool,
    /// p99 of latency; none if nothing was measured.
    pub(crate) latency_ns: Option<u64>,
    /// p99 of how late sends were, and of how long replies waited here.
    pub(crate) lateness_ns: u64,
    pub(crate) handling_ns: u64,
    /// Sends that were due while measuring, and those of them that were never made though a
    /// connection was free.
    pub(crate) planned: u64,
    pub(crate) unsent_by_us: u64,
    /// Shares, 0 to 1: time on a processor, time without one, time that the host took, the busiest
    /// thread.
    pub(crate) ran: f64,
    pub(crate) waited: Option<f64>,
    pub(crate) steal: Option<f64>,
    pub(crate) busiest: f64,
    pub(crate) threads: u32,
    /// Limits of this machine that were met, and how often.
    pub(crate) limits: Vec<(String, u64)>,
}

impl Facts {
    /// `asks` as in the field; `unsent_by_us` is that part of what was not sent for which a
    /// connection was free.
    pub(crate) fn of(results: &Results, asks: bool, unsent_by_us: u64) -> Self {
        let said = &results.testimony;
        let p99 = |all: &Distribution| all.quantile_ns(0.99);
        Self {
            asks,
            is_open: results.planned_rate.is_some(),
            latency_ns: Some(&results.latency).filter(|all| all.count() > 0).map(p99),
            lateness_ns: p99(&said.lateness),
            handling_ns: p99(&said.handling),
            planned: results.requests.max(said.lateness.count()).saturating_add(results.unsent),
            unsent_by_us,
            ran: said.cpu_s / said.wall_s.max(1e-9),
            waited: said.waited_s.filter(|_| said.wall_s >= JUDGED_S).map(|s| s / said.wall_s),
            steal: said.steal,
            busiest: said.busiest,
            threads: results.threads,
            limits: said.limits.iter().map(|(name, &count)| (name.clone(), count)).collect(),
        }
    }
}

/// The mean latency in two, in nanoseconds: at most so much is ours (late sends, and replies that
/// waited for their turn here), at least so much is theirs. Means add up; quantiles do not.
pub(crate) fn split(results: &Results) -> Option<(f64, f64)> {
    let all = Some(&results.latency).filter(|all| all.count() > 0)?.mean_ns();
    // In a closed loop nothing is late.
    let late = Some(&results.testimony.lateness).filter(|late| late.count() > 0);
    let late = late.map_or(0.0, Distribution::mean_ns);
    let ours = (late + results.testimony.handling.mean_ns()).min(all);
    Some((ours, all - ours))
}

/// Whether the figures tell of the target. That nothing was measured is for others to say.
pub(crate) fn verdict(facts: &Facts) -> Verdict {
    let mut found = vec![waited(facts), limits(facts)];
    if facts.asks {
        found.extend([ours(facts), unsent(facts), steal(facts)]);
    }
    // Another thread is no help to one that waits for a processor.
    if facts.asks && found[0].is_none() {
        found.push(busiest(facts));
    }
    let mut found: Vec<(Trust, String)> = found.into_iter().flatten().collect();
    // The worst first.
    found.sort_by_key(|&(trust, _)| std::cmp::Reverse(trust));
    Verdict {
        trust: found.first().map_or(Trust::Valid, |&(trust, _)| trust),
        reasons: found.into_iter().map(|(_, reason)| reason).collect(),
    }
}

/// How far a share has gone, against its two limits.
fn grade(share: f64, suspect: f64, invalid: f64) -> Option<Trust> {
    match share {
        share if share >= invalid => Some(Trust::Invalid),
        share if share >= suspect => Some(Trust::Suspect),
        _ => None,
    }
}

fn ours(facts: &Facts) -> Option<(Trust, String)> {
    let total = facts.latency_ns.filter(|_| facts.is_open)?;
    let ours = facts.lateness_ns.saturating_add(facts.handling_ns);
    let is_part = |percent| u128::from(ours) * 100 >= u128::from(total) * u128::from(percent);
    let trust = if ours >= OURS_INVALID_NS && is_part(OURS_INVALID_PERCENT) {
        Trust::Invalid
    } else if ours >= OURS_SUSPECT_NS && is_part(OURS_SUSPECT_PERCENT) {
        Trust::Suspect
    } else {
        return None;
    };
    let reason = format!(
        "Of the p99 latency of {}, {} may be ours, the generator's: sends were up to {} late, and \
         replies waited up to {} for their turn here; only the rest is theirs, the target's.",
        time(total),
        time(ours.min(total)),
        time(facts.lateness_ns),
        time(facts.handling_ns)
    );
    Some((trust, reason))
}

fn unsent(facts: &Facts) -> Option<(Trust, String)> {
    let share = facts.unsent_by_us as f64 / facts.planned.max(1) as f64;
    let reason = || {
        format!(
            "{} of what was planned ({} of {}) was never sent though connections were free: ours, \
             the generator was too slow for this rate.",
            percent(share),
            grouped(facts.unsent_by_us),
            counted(facts.planned, "request", "requests")
        )
    };
    (facts.is_open && share > UNSENT_INVALID).then(|| (Trust::Invalid, reason()))
}

fn waited(facts: &Facts) -> Option<(Trust, String)> {
    let share = facts.waited?;
    let mut trust = grade(share, WAITED_SUSPECT, WAITED_INVALID)?;
    if facts.asks && share > facts.ran {
        trust = Trust::Invalid;
    }
    let reason = format!(
        "The generator was ready to run but had no processor for {} of the time: that wait is \
         ours, and is in theirs; run fewer threads, or the target on another machine.",
        percent(share)
    );
    Some((trust, reason))
}

fn steal(facts: &Facts) -> Option<(Trust, String)> {
    let share = facts.steal?;
    let trust = grade(share, STEAL_SUSPECT, STEAL_INVALID)?;
    let reason = format!(
        "The host of this virtual machine gave {} of its processor time to others: what is ours \
         and what is theirs stood still meanwhile.",
        percent(share)
    );
    Some((trust, reason))
}

fn busiest(facts: &Facts) -> Option<(Trust, String)> {
    let trust = grade(facts.busiest, BUSY_SUSPECT, f64::INFINITY)?;
    let reason = format!(
        "The generator's busiest thread used {} of a processor: it was itself at its limit, and \
         the target may be faster than this; try --threads {}.",
        percent(facts.busiest),
        facts.threads.saturating_mul(2).max(2)
    );
    Some((trust, reason))
}

fn limits(facts: &Facts) -> Option<(Trust, String)> {
    let met = facts.limits.iter().filter(|(_, count)| *count > 0);
    let met: Vec<String> =
        met.map(|(name, count)| format!("{name} ({})", counted(*count, "time", "times"))).collect();
    let reason = format!(
        "This machine, not the target, was at a limit: {}; what failed for it is ours.",
        met.join(", ")
    );
    (!met.is_empty()).then_some((Trust::Suspect, reason))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::results::{Connections, Fairness, Series, Testimony, VERSION},
        Trust::*,
        *,
    };

    const US: u64 = 1_000;
    const MS: u64 = 1_000_000;

    fn judged(facts: Facts) -> Trust {
        let verdict = verdict(&facts);
        assert_eq!(verdict.reasons.is_empty(), verdict.trust == Valid, "{verdict:?}");
        for reason in &verdict.reasons {
            assert!(reason.ends_with('.') && reason.starts_with(char::is_alphanumeric), "{reason}");
        }
        verdict.trust
    }

    fn open() -> Facts {
        Facts {
            asks: true,
            is_open: true,
            latency_ns: Some(100 * MS),
            planned: 1_000,
            ran: 0.5,
            waited: Some(0.0),
            steal: Some(0.0),
            busiest: 0.5,
            threads: 1,
            ..Facts::default()
        }
    }

    #[test]
    fn an_open_loop_is_judged_by_how_much_of_its_p99_is_ours() {
        for (lateness_ns, handling_ns, total, trust) in [
            (0, 0, 0, Valid),
            (500 * US, 500 * US, 2 * MS, Invalid),
            (500 * US, 500 * US, 2 * MS + 1, Suspect), // not half
            (500 * US, 500 * US - 1, MS, Suspect),     // not a millisecond
            (MS, 0, 5 * MS, Suspect),
            (MS, 0, 5 * MS + 1, Valid), // not a fifth
            (100 * US, 100 * US, MS, Suspect),
            (100 * US, 100 * US, MS + 1, Valid),
            (100 * US, 99_999, 200 * US, Valid), // not enough to be felt
            (u64::MAX, u64::MAX, u64::MAX, Invalid),
        ] {
            let facts = Facts { lateness_ns, handling_ns, latency_ns: Some(total), ..open() };
            assert_eq!(judged(facts.clone()), trust, "{facts:?}");
            // Neither can be told from the target's slowness when it sets the pace.
            assert_eq!(judged(Facts { is_open: false, ..facts.clone() }), Valid);
            assert_eq!(judged(Facts { latency_ns: None, ..facts }), Valid);
        }
    }

    #[test]
    fn an_open_loop_that_left_out_more_than_one_in_a_hundred_is_another_load() {
        for (unsent_by_us, planned, trust) in
            [(10, 1_000, Valid), (11, 1_000, Invalid), (0, 0, Valid), (1, 99, Invalid)]
        {
            let facts = Facts { unsent_by_us, planned, ..open() };
            assert_eq!(judged(facts.clone()), trust, "{facts:?}");
            assert_eq!(judged(Facts { is_open: false, ..facts }), Valid);
        }
    }

    #[test]
    fn any_loop_is_judged_by_what_it_had_of_the_processors() {
        let closed = || Facts { is_open: false, ..open() };
        for (share, trust) in
            [(0.0999, Valid), (0.1, Suspect), (0.2999, Suspect), (0.3, Invalid), (1.0, Invalid)]
        {
            assert_eq!(judged(Facts { waited: Some(share), ..closed() }), trust, "{share}");
            let hold = Facts { asks: false, waited: Some(share), ..Facts::default() };
            assert_eq!(judged(hold), trust, "{share}");
        }
        for (share, trust) in
            [(0.0499, Valid), (0.05, Suspect), (0.1999, Suspect), (0.2, Invalid), (1.0, Invalid)]
        {
            assert_eq!(judged(Facts { steal: Some(share), ..closed() }), trust, "{share}");
        }
        for (busiest, trust) in [(0.9499, Valid), (0.95, Suspect), (1.01, Suspect)] {
            assert_eq!(judged(Facts { busiest, ..closed() }), trust, "{busiest}");
        }
        assert_eq!(judged(Facts { waited: None, steal: None, ..closed() }), Valid);
        for (ran, waited, trust) in
            [(0.11, 0.1, Suspect), (0.09, 0.1, Invalid), (0.01, 0.0999, Valid)]
        {
            let facts = Facts { ran, waited: Some(waited), ..closed() };
            assert_eq!(judged(facts), trust, "{ran} {waited}");
        }
    }

    #[test]
    fn limits_that_were_met_are_named() {
        let limits = vec![
            ("descriptors".to_string(), 12),
            ("memory".to_string(), 0),
            ("ports".to_string(), 1),
        ];
        let verdict = verdict(&Facts { limits, ..open() });
        assert_eq!(verdict.trust, Suspect);
        assert_eq!(
            verdict.reasons,
            ["This machine, not the target, was at a limit: descriptors (12 times), ports (1 \
              time); what failed for it is ours."]
        );
        let never = vec![("ports".to_string(), 0)];
        assert_eq!(judged(Facts { limits: never, ..open() }), Valid);
    }

    #[test]
    fn a_run_that_only_holds_is_judged_by_limits_and_waiting_alone() {
        let hold = Facts {
            asks: false,
            lateness_ns: MS,
            latency_ns: Some(MS),
            unsent_by_us: 1_000,
            steal: Some(1.0),
            busiest: 1.0,
            ..open()
        };
        assert_eq!(judged(hold.clone()), Valid);
        assert_eq!(judged(Facts { limits: vec![("ports".into(), 1)], ..hold }), Suspect);
    }

    #[test]
    fn a_run_without_a_reply_is_not_less_trusted_for_it() {
        let nothing = Facts { latency_ns: None, lateness_ns: 9 * MS, planned: 0, ..open() };
        assert_eq!(judged(nothing), Valid);
    }

    #[test]
    fn the_worst_reason_is_first_and_says_the_figures() {
        let facts = Facts {
            lateness_ns: MS,
            handling_ns: 200 * US,
            latency_ns: Some(2 * MS),
            unsent_by_us: 50,
            waited: Some(0.12),
            steal: Some(0.25),
            busiest: 0.97,
            threads: 2,
            ..open()
        };
        let Verdict { trust, reasons } = verdict(&facts);
        assert_eq!((trust, reasons.len()), (Invalid, 4));
        let told = reasons.join("\n");
        // Who waits for a processor is not told to take another.
        let calm = verdict(&Facts { waited: Some(0.01), ..facts }).reasons.join("\n");
        let busy = "used 97 % of a processor: it was itself at its limit, and the target may be \
                    faster than this; try --threads 4.";
        assert!(calm.contains(busy) && !told.contains("--threads 4"), "{calm}");
        for part in [
            "Of the p99 latency of 2.00 ms, 1.20 ms may be ours, the generator's: sends were up \
             to 1.00 ms late, and replies waited up to 200 µs",
            "5.0 % of what was planned (50 of 1 000 requests) was never sent",
            "gave 25 % of its processor time",
            "had no processor for 12 % of the time",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let worst = |reason: &String| reason.contains("12 %") || reason.contains("97 %");
        assert!(!reasons[..3].iter().any(worst) && reasons[3..].iter().all(worst), "{told}");
    }

    fn all_at(count: u64, ns: u64) -> Distribution {
        let mut all = Distribution::default();
        (0..count).for_each(|_| all.record_ns(ns));
        all
    }

    fn results() -> Results {
        Results {
            version: VERSION,
            program: String::new(),
            commands: Vec::new(),
            target: String::new(),
            began_unix: 0.0,
            generators: 1,
            threads: 3,
            measured_from_s: 1.0,
            measured_s: 10.0,
            planned_rate: Some(100.0),
            connections: Connections::default(),
            requests: 900,
            bytes_in: 0,
            bytes_out: 0,
            unsent: 60,
            latency: all_at(900, 1_000),
            service: Distribution::default(),
            first_byte: Distribution::default(),
            connect: Distribution::default(),
            handshake: Distribution::default(),
            tls: Default::default(),
            errors: BTreeMap::new(),
            examples: BTreeMap::new(),
            series: Series::default(),
            fairness: Fairness::default(),
            testimony: Testimony {
                lateness: all_at(940, 100),
                handling: all_at(900, 10),
                cpu_s: 9.0,
                waited_s: Some(6.0),
                wall_s: 30.0,
                busiest: 0.7,
                steal: Some(0.01),
                limits: BTreeMap::from([("ports".into(), 4)]),
                ..Testimony::default()
            },
            verdict: Verdict { trust: Valid, reasons: Vec::new() },
            search: None,
        }
    }

    #[test]
    fn facts_are_those_of_the_results() {
        let mut results = results();
        let facts = Facts::of(&results, true, 7);
        assert!(facts.asks && facts.is_open);
        assert_eq!(facts.latency_ns, Some(1_000));
        assert_eq!((facts.lateness_ns, facts.handling_ns), (100, 10));
        assert_eq!((facts.planned, facts.unsent_by_us, facts.threads), (1_000, 7, 3));
        assert_eq!((facts.waited, facts.steal, facts.busiest), (Some(0.2), Some(0.01), 0.7));
        assert_eq!(facts.ran, 0.3);
        assert_eq!(facts.limits, [("ports".to_string(), 4)]);
        results.latency = Distribution::default();
        results.planned_rate = None;
        results.testimony.wall_s = 0.0;
        let facts = Facts::of(&results, false, 0);
        assert!(!facts.asks && !facts.is_open);
        assert_eq!((facts.latency_ns, facts.waited), (None, None));
    }

    #[test]
    fn times_of_a_thread_are_read() {
        assert_eq!(waited_s("169889 39354 1\n"), Some(39_354e-9));
        for garbage in ["", "1", "1 x 1", "1 2", "-1 -2 -3", "1 99999999999999999999 1"] {
            assert_eq!(waited_s(garbage), None, "{garbage:?}");
        }
        let first = ThreadClock::read();
        // Until the clock that counts this moves: some work, however fast the machine.
        let spent = loop {
            let spent = ThreadClock::read().since(&first);
            if spent.wall_s > 0.0 && spent.cpu_s.is_none_or(|cpu_s| cpu_s > 0.0) {
                break spent;
            }
        };
        assert_eq!(spent.cpu_s.is_some(), cfg!(target_os = "linux"));
        let swapped = first.since(&ThreadClock::read());
        assert_eq!(swapped.wall_s, 0.0);
        assert!(swapped.cpu_s.is_none_or(|cpu_s| cpu_s == 0.0));
    }

    #[test]
    fn steal_is_a_share_of_all_time_between_two_readings() {
        let parse = Processors::parse;
        let first =
            parse("cpu  1028451 1255132 466643 1714638 9423 0 75822 620 0 0\ncpu0 1 2 3 4\n");
        let first = first.unwrap();
        assert_eq!(first, Processors { all: 4_550_729, stolen: 620 });
        let later = parse("cpu  1028491 1255132 466653 1714668 9423 0 75822 640 30 0\n").unwrap();
        assert_eq!(later.steal_since(&first), Some(0.2));
        assert_eq!(first.steal_since(&later), None);
        assert_eq!(first.steal_since(&first), None);
        let back = Processors { all: first.all + 10, stolen: 600 };
        assert_eq!(back.steal_since(&first), Some(0.0));
        for garbage in ["", "cpu0 1 2 3 4 5 6 7 8", "cpu  1 2 3 4 5 6 7", "cpu  1 2 x 4 5 6 7 8"] {
            assert_eq!(parse(garbage), None, "{garbage:?}");
        }
        assert_eq!(Processors::read().is_some(), cfg!(target_os = "linux"));
    }

    #[test]
    fn the_mean_latency_is_split_in_two_that_add_up() {
        let mut results = results();
        (results.latency, results.testimony) = Default::default();
        assert_eq!(split(&results), None);
        results.latency.record_ns(500);
        results.latency.record_ns(1_500);
        results.testimony.handling.record_ns(100);
        assert_eq!(split(&results), Some((100.0, 900.0)));
        results.testimony.lateness.record_ns(400);
        assert_eq!(split(&results), Some((500.0, 500.0)));
        results.testimony.lateness.record_ns(60_000);
        assert_eq!(split(&results).map(|(_, theirs)| theirs), Some(0.0));
    }
}
