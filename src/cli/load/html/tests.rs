//! The page of a load that was, and of loads that hardly were.
use std::{env, fs};

use super::page;
use crate::cli::load::{
    bands,
    distribution::Distribution,
    results::{Connections, Fairness, Results, Series, Slice, Testimony, Trust, VERSION, Verdict},
};

#[path = "../../../../tests/browser/look.rs"]
mod look;

/// Nothing happened.
fn nothing() -> Results {
    Results {
        version: VERSION,
        program: "charkh 0.1.0".into(),
        commands: Vec::new(),
        target: "127.0.0.1:4000".into(),
        began_unix: 0.0,
        generators: 1,
        threads: 1,
        measured_from_s: 0.0,
        measured_s: 0.0,
        planned_rate: None,
        connections: Connections::default(),
        requests: 0,
        bytes_in: 0,
        bytes_out: 0,
        unsent: 0,
        latency: Distribution::default(),
        service: Distribution::default(),
        first_byte: Distribution::default(),
        connect: Distribution::default(),
        handshake: Distribution::default(),
        tls: Default::default(),
        errors: Default::default(),
        examples: Default::default(),
        series: Series::default(),
        fairness: Fairness::default(),
        testimony: Testimony::default(),
        verdict: Verdict { trust: Trust::Valid, reasons: Vec::new() },
        search: None,
    }
}

/// Numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    /// From 0 to 1, without either.
    fn part(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as f64 + 0.5) / (1u64 << 31) as f64
    }

    /// Most are some 300 µs; few are far longer.
    fn service_ns(&mut self) -> u64 {
        let body = 180_000.0 + 90_000.0 * (-self.part().ln()) + 60_000.0 * self.part();
        let tail = if self.part() < 0.004 { 900_000.0 * (-self.part().ln()) } else { 0.0 };
        (body + tail) as u64
    }
}

const STALL: std::ops::Range<f64> = 15.0..16.2;
const SLICES: usize = 62;

/// Thirty seconds of an open loop after two of connecting and warm-up, and a second that the
/// server stood still in.
fn stalled() -> Results {
    let mut results = nothing();
    let mut dice = Dice(7);
    let rate = 2_000;
    results.series = Series { slice_ms: 500, slices: vec![Slice::default(); SLICES + 1] };
    for n in (rate * 3 / 5)..rate * 31 {
        let planned = n as f64 / rate as f64;
        let stalled = if STALL.contains(&planned) { STALL.end - planned } else { 0.0 };
        // Those that waited are served one after the other.
        let waited = stalled * (1.0 + 0.25 * (planned - STALL.start));
        let service =
            dice.service_ns() + if stalled > 0.0 { (40e6 * dice.part()) as u64 } else { 0 };
        let latency = service.max((waited * 1e9) as u64 + service / 2);
        let slice = ((planned + latency as f64 / 1e9) / 0.5) as usize;
        let slice = &mut results.series.slices[slice.min(SLICES)];
        slice.requests += 1;
        *slice.latency.entry(bands::band(latency) as u8).or_default() += 1;
        if (2.0..30.5).contains(&planned) {
            results.requests += 1;
            results.latency.record_ns(latency);
            results.service.record_ns(service);
            results.first_byte.record_ns(service * 9 / 10);
            results.testimony.lateness.record_ns((4_000.0 * dice.part()) as u64);
            results.testimony.handling.record_ns((30_000.0 * dice.part()) as u64);
        }
    }
    for (n, slice) in results.series.slices.iter_mut().enumerate() {
        slice.up = [180, 430, 500][n.min(2)] - if n >= SLICES { 500 } else { 0 };
    }
    for (n, errors) in [(31, 3), (32, 17), (33, 1), (47, 1)] {
        results.series.slices[n].errors = errors;
        results.series.slices[n].up -= errors;
    }
    (0..522).for_each(|_| results.connect.record_ns(dice.service_ns() / 2));
    describe(&mut results);
    results
}

fn describe(results: &mut Results) {
    results.commands = vec![
        "charkh load --rate 2000 --connections 500 --for 28.5s --html load.html 127.0.0.1:4000"
            .into(),
    ];
    results.began_unix = 1_795_381_270.0;
    results.threads = 2;
    (results.measured_from_s, results.measured_s) = (2.0, 28.5);
    results.planned_rate = Some(2_000.0);
    results.connections = Connections { asked: 500, up_max: 500, opened: 522, connecting_s: 0.6 };
    (results.bytes_in, results.bytes_out, results.unsent) = (58_368_000, 3_648_000, 214);
    results.errors = [("reset".into(), 21), ("wrong reply".into(), 1)].into();
    results.examples = [
        ("reset".into(), "connection reset by the server, 512 bytes into a reply of 1024".into()),
        ("wrong reply".into(), "byte 17 of the reply is 0x00 and not 0x61".into()),
    ]
    .into();
    results.fairness = Fairness {
        jain: 0.9973,
        connections: 500,
        sum: 57_000,
        sum_of_squares: 6_515_592.0,
        longest_gap_ms: 1_204.0,
        most_starved: 317,
        most_starved_requests: 71,
    };
    let testimony = &mut results.testimony;
    (testimony.longest_turn_ms, testimony.turn_p99_ms) = (3.4, 0.31);
    (testimony.cpu_s, testimony.wall_s, testimony.busiest) = (9.2, 57.0, 0.21);
    (testimony.waited_s, testimony.steal) = (Some(0.18), Some(0.012));
    testimony.limits = [("connections at once".into(), 214)].into();
    let why = "214 requests were planned but never sent: no connection was free while the target \
               stood still.";
    results.verdict = Verdict { trust: Trust::Suspect, reasons: vec![why.into()] };
}

/// Hardly any, in hardly any time.
fn little() -> Vec<Results> {
    let one_slice = |requests: u64| {
        let slice = Slice { requests, latency: [(20, requests)].into(), up: 1, ..Slice::default() };
        Results { series: Series { slice_ms: 500, slices: vec![slice] }, ..nothing() }
    };
    let mut one = one_slice(1);
    one.latency.record_ns(50_000);
    (one.requests, one.measured_s) = (1, 0.5);
    let zeros = Series { slice_ms: 0, slices: vec![Slice::default(); 3] };
    let mut unsound = Results { planned_rate: Some(0.0), measured_s: f64::NAN, ..stalled() };
    unsound.fairness.jain = f64::NAN;
    (unsound.began_unix, unsound.measured_from_s) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut instant = one_slice(0);
    instant.series.slices[0].latency.clear();
    instant.latency.record_ns(0);
    vec![
        nothing(),
        one_slice(0),
        one,
        instant,
        unsound,
        Results { series: zeros, ..nothing() },
        Results { planned_rate: Some(1e9), ..one_slice(3) },
    ]
}

/// A day of it: more slices than columns, more connections than digits.
fn long() -> Results {
    let mut results = stalled();
    let slices = std::mem::take(&mut results.series.slices);
    results.series.slices = slices.iter().cycle().take(SLICES * 2_800).cloned().collect();
    results.measured_s = 86_000.0;
    results.connections.asked = 100_000;
    for _ in 0..100 {
        let all = results.latency.clone();
        results.latency.add(&all);
        if results.latency.count() > 1_000_000_000 {
            break;
        }
    }
    results.latency.record_ns(u64::MAX);
    results.latency.record_ns(1);
    results
}

/// Opened and closed in order, by whoever reads no HTML but XML.
fn assert_balanced(page: &str) {
    let page = page.strip_prefix("<!DOCTYPE html>").unwrap();
    let (before, rest) = page.split_once("<style>").unwrap();
    let (_, after) = rest.split_once("</style>").unwrap();
    let mut open = Vec::new();
    let markup = [before, after].concat();
    for part in markup.split('<').skip(1) {
        let (tag, _) = part.split_once('>').unwrap_or_else(|| panic!("no end: <{part}"));
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (_, true) => {}
            _ => open.push(name),
        }
    }
    assert_eq!(open, [""; 0]);
}

fn all() -> impl Iterator<Item = Results> {
    little().into_iter().chain([stalled(), long()])
}

#[test]
fn every_page_is_sound() {
    for results in all() {
        let page = page(&results);
        assert_balanced(&page);
        for wrong in ["NaN", "inf", "infinity"] {
            let whole = |c: char| !c.is_alphanumeric();
            assert!(!page.split(whole).any(|word| word == wrong), "{wrong}: {page}");
        }
        assert!(!page.contains("e+") && page.len() < 4_000_000, "{} bytes", page.len());
    }
}

#[test]
fn a_page_needs_nothing_else() {
    let page = page(&stalled());
    for way_out in ["<script", "<link", "<img", "src=", "href=", "url(", "@import", "//"] {
        assert!(!page.contains(way_out), "{way_out}");
    }
}

#[test]
fn what_comes_from_outside_is_text() {
    let evil = "<script>alert(\"'1'\")</script>&amp;\u{202e}\0";
    let mut results = stalled();
    results.target = evil.into();
    results.program = evil.into();
    results.commands = vec![evil.into(); 2];
    results.errors = [(evil.into(), 1)].into();
    results.examples = [(evil.into(), evil.into())].into();
    results.verdict.reasons = vec![evil.into()];
    results.testimony.limits = [(evil.into(), 1)].into();
    let page = page(&results);
    let safe =
        "&lt;script&gt;alert(&quot;&#39;1&#39;&quot;)&lt;/script&gt;&amp;amp;\\u{202e}\\u{0}";
    assert_eq!(page.matches(safe).count(), 10);
    assert!(!page.contains("<script") && !page.contains('\u{202e}') && !page.contains('\0'));
    assert_balanced(&page);
}

#[test]
fn the_curves_only_rise() {
    let page = page(&stalled());
    for class in ["latency", "service"] {
        let begin = format!("<path class='{class}' d='M");
        for (_, curve) in
            page.split(&begin).skip(1).map(|rest| ("", rest.split_once('\'').unwrap().0))
        {
            let points: Vec<(f64, f64)> = curve
                .split('L')
                .map(|point| point.split_once(' ').unwrap())
                .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
                .collect();
            assert!(points.len() > 100, "{} points", points.len());
            let rises = |pair: &[(f64, f64)]| pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1;
            assert!(points.windows(2).all(rises), "{points:?}");
        }
    }
    assert_eq!(page.matches("<path class='service'").count(), 2);
}

#[test]
fn a_closed_loop_has_one_line() {
    let page = page(&Results { planned_rate: None, ..stalled() });
    assert!(!page.contains("<path class='service'") && page.contains("closed loop"));
}

#[test]
fn the_page_says_what_was_found() {
    let page = page(&stalled()).replace(['\u{a0}', '\u{202f}'], " ");
    for words in [
        "! SUSPECT",
        "no connection was free",
        "2000 planned",
        "99.99 %",
        "connecting, warm-up",
        "byte 17 of the reply",
        "1 if all had as many, 0.002 if one",
        "1.20 s",
        "214 times",
        "2026-11-22",
        "15.5–16.0 s: 3 errors",
        "asked 500",
        "50 %",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("There is nothing to show"));
}

/// `CHARKH_PAGE=load.html` keeps the page.
#[test]
fn a_browser_lays_it_out() {
    let example = page(&stalled());
    if let Some(path) = env::var_os("CHARKH_PAGE") {
        fs::write(path, &example).unwrap();
    }
    for (n, results) in [stalled(), long()].iter().enumerate() {
        let Some(found) = look::layout(&page(results)) else { return };
        let widths = [1200, 821, 800, 360];
        assert_eq!(found, widths.map(|at| format!("at {at}: 4 charts seen")), "page {n}");
    }
}
