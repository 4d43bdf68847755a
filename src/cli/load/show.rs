//! What is seen of a load: while it runs, and when it is over.
use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    bands::{self, BANDS},
    board::Progress,
    distribution::{Distribution, QUANTILES},
    figures::{bytes, counted, grouped, percent, time},
    results::{Results, Trust},
    run::{Moment, Watch},
    search::Search,
    spec::Spec,
    stops::Stops,
    testimony,
};

/// While it runs: a bar on a terminal, else a line at every interval, or nothing.
pub(crate) struct Live {
    stops: Stops,
    interval: Option<Duration>,
    bar: Option<ProgressBar>,
    next: Duration,
    shown_at: Duration,
    earlier: Progress,
}

impl Live {
    pub(crate) fn new(stops: Stops, interval: Option<Duration>) -> Self {
        let bar = interval.filter(|_| io::stdout().is_terminal()).map(|_| bar());
        let interval = if bar.is_some() { Some(Duration::from_millis(250)) } else { interval };
        Self {
            stops,
            interval,
            bar,
            next: interval.unwrap_or(Duration::MAX),
            shown_at: Duration::ZERO,
            earlier: Progress::default(),
        }
    }

    /// For another run, from its beginning.
    pub(crate) fn again(&mut self) {
        self.next = self.interval.unwrap_or(Duration::MAX);
        (self.shown_at, self.earlier) = (Duration::ZERO, Progress::default());
    }

    /// The bar goes; what is printed then stands.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A line that stays, unless nothing is to be seen.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print(line)),
            None if self.interval.is_some() => print(line),
            None => {}
        }
    }

    pub(crate) fn was_stopped(&self) -> bool {
        self.stops.count() > 0
    }

    fn show(&mut self, moment: &Moment<'_>) {
        let progress = moment.progress();
        let span = (moment.elapsed - self.shown_at).as_secs_f64().max(1e-9);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / span;
        let mut latency = [0; BANDS];
        for (at, count) in latency.iter_mut().enumerate() {
            *count = progress.latency[at] - self.earlier.latency[at];
        }
        let quantile = |q| bands::quantile(&latency, q).as_nanos() as u64;
        let figures = Figures {
            connects: rate(progress.opened, self.earlier.opened),
            requests: rate(progress.requests, self.earlier.requests),
            p50: quantile(0.5),
            p99: quantile(0.99),
        };
        match &self.bar {
            Some(bar) => {
                let (position, length) = position(moment, &progress);
                bar.set_length(length);
                bar.set_position(position);
                bar.set_message(figures.for_people(&progress));
            }
            None => print(&figures.line(moment, &progress)),
        }
        (self.shown_at, self.earlier) = (moment.elapsed, progress);
    }
}

impl Watch for Live {
    fn look(&mut self, moment: Moment<'_>) -> usize {
        if moment.elapsed >= self.next
            && let Some(interval) = self.interval
        {
            self.show(&moment);
            while self.next <= moment.elapsed {
                self.next += interval;
            }
        }
        self.stops.count()
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:24} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Of the part that is under way: connecting, or running.
fn position(moment: &Moment<'_>, progress: &Progress) -> (u64, u64) {
    let spec = moment.spec;
    match (moment.running, spec.duration, spec.requests) {
        (None, ..) => (progress.up, spec.connections.into()),
        (_, _, Some(requests)) => (progress.requests, requests),
        (Some(running), Some(duration), _) => {
            let whole = (spec.warmup + duration).as_millis() as u64;
            ((running.as_millis() as u64).min(whole), whole)
        }
        (Some(_), None, None) => (0, 1),
    }
}

/// When measuring ends, from when running began.
fn end(spec: &Spec) -> Duration {
    spec.duration.map_or(Duration::MAX, |duration| spec.warmup + duration)
}

/// Since the line before.
struct Figures {
    connects: f64,
    requests: f64,
    p50: u64,
    p99: u64,
}

impl Figures {
    fn for_people(&self, progress: &Progress) -> String {
        let Self { connects, requests, p50, p99 } = self;
        let mut text = format!("{} up", grouped(progress.up));
        if *connects > 0.0 {
            text += &format!(", {} connects/s", grouped(*connects as u64));
        }
        if *requests > 0.0 {
            text += &format!(
                ", {} requests/s, p50 {}, p99 {}",
                grouped(*requests as u64),
                time(*p50),
                time(*p99)
            );
        }
        for (kind, (count, _)) in &progress.errors.0 {
            text += &format!(", {} {kind}", grouped(*count));
        }
        text
    }

    /// `name value`, for people and for scripts.
    fn line(&self, moment: &Moment<'_>, progress: &Progress) -> String {
        let phase = match moment.running {
            None => "connecting",
            Some(running) if running < moment.spec.warmup => "warmup",
            Some(running) if running > end(moment.spec) => "draining",
            Some(_) => "running",
        };
        let mut line = format!(
            "seconds {:.3} phase {phase} connections {} connects_per_s {:.0} requests_per_s {:.0} \
             p50 {:.1}us p99 {:.1}us errors {}",
            moment.elapsed.as_secs_f64(),
            progress.up,
            self.connects,
            self.requests,
            self.p50 as f64 / 1e3,
            self.p99 as f64 / 1e3,
            progress.errors.sum(),
        );
        for (kind, (count, _)) in &progress.errors.0 {
            line += &format!(" {} {count}", kind.replace(' ', "_"));
        }
        line
    }
}

/// A reader that has gone is no reason to end a run.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// All of it, for people.
pub(crate) fn report(results: &Results) -> String {
    let mut lines = Vec::new();
    lines.extend(results.search.as_ref().map(search));
    let seconds = results.measured_s.max(1e-9);
    let connections = &results.connections;
    lines.push(format!(
        "connections  {} of {} at once, {} opened; up after {}",
        grouped(connections.up_max),
        grouped(connections.asked),
        grouped(connections.opened),
        time((connections.connecting_s * 1e9) as u64)
    ));
    lines.extend(secured(results));
    let rate = |count: u64| count as f64 / seconds;
    let planned = results.planned_rate.map(|rate| format!(" of {rate} planned"));
    lines.push(format!(
        "requests     {} in {}: {:.1} a second{}; in {}/s, out {}/s",
        grouped(results.requests),
        time((results.measured_s * 1e9) as u64),
        rate(results.requests),
        planned.unwrap_or_default(),
        bytes(rate(results.bytes_in) as u64),
        bytes(rate(results.bytes_out) as u64)
    ));
    if results.unsent > 0 {
        lines.push(format!("never sent   {}", grouped(results.unsent)));
    }
    lines.push(String::new());
    lines.extend(table(results));
    lines.push(String::new());
    lines.extend(errors(results));
    lines.extend(itself(results));
    lines.push(String::new());
    let trust = match results.verdict.trust {
        Trust::Valid => "VALID",
        Trust::Suspect => "SUSPECT",
        Trust::Invalid => "INVALID",
    };
    lines.push(trust.into());
    lines.extend(results.verdict.reasons.iter().map(|reason| format!("  {reason}")));
    lines.join("\n")
}

/// What TLS came to.
fn secured(results: &Results) -> Option<String> {
    let tls = &results.tls;
    let agreed = tls.agreed.iter().map(|(agreed, count)| format!("{} {agreed}", grouped(*count)));
    let agreed = agreed.collect::<Vec<_>>().join(", ");
    (!tls.is_empty())
        .then(|| format!("handshakes   {agreed}; {} of them resumed", grouped(tls.resumed)))
}

fn search(found: &Search) -> String {
    format!(
        "find-max     {} is kept up to {:.1} requests a second, from {:.1} to {:.1} with 97 % \
         confidence, after {}; what follows is of the last trial that kept it",
        found.promise,
        found.rate,
        found.low,
        found.high,
        counted(found.trials.len() as u64, "trial", "trials")
    )
}

fn table(results: &Results) -> Vec<String> {
    let mut head = format!("{:12} {:>9}", "", "min");
    for (name, _) in QUANTILES {
        head += &format!(" {name:>9}");
    }
    let mut lines = vec![head + &format!(" {:>9}", "max")];
    let mut row = |name: &str, all: &Distribution| {
        if all.count() == 0 {
            return;
        }
        let mut line = format!("{name:12} {:>9}", time(all.min_ns()));
        for (_, q) in QUANTILES {
            line += &format!(" {:>9}", time(all.quantile_ns(q)));
        }
        lines.push(line + &format!(" {:>9}", time(all.max_ns())));
    };
    row("latency", &results.latency);
    if results.planned_rate.is_some() {
        row("from sending", &results.service);
    }
    row("first byte", &results.first_byte);
    row("connect", &results.connect);
    row("handshake", &results.handshake);
    lines
}

fn errors(results: &Results) -> Vec<String> {
    if results.errors.is_empty() {
        return vec!["errors       none".into()];
    }
    let mut lines = Vec::new();
    for (kind, count) in &results.errors {
        let first = results.examples.get(kind).map_or("", String::as_str);
        lines.push(format!("errors       {} {kind}; the first: {first}", grouped(*count)));
    }
    lines
}

fn itself(results: &Results) -> Vec<String> {
    let (fairness, own) = (&results.fairness, &results.testimony);
    let mut lines = Vec::new();
    if fairness.sum > 0 {
        lines.push(format!(
            "fairness     Jain's index {:.4}; longest without a reply {:.1} ms; least served: \
             connection {}, {}",
            fairness.jain,
            fairness.longest_gap_ms,
            fairness.most_starved,
            counted(fairness.most_starved_requests, "reply", "replies")
        ));
    }
    if let Some((ours, theirs)) = testimony::split(results) {
        lines.push(format!(
            "split        of the mean latency at least {} are theirs, at most {} ours",
            time(theirs as u64),
            time(ours as u64)
        ));
    }
    let mut ours = Vec::new();
    if own.lateness.count() > 0 {
        ours.push(format!("sends late by {} (p99)", time(own.lateness.quantile_ns(0.99))));
    }
    if own.handling.count() > 0 {
        ours.push(format!("replies waited {} (p99)", time(own.handling.quantile_ns(0.99))));
    }
    let share = |s: f64| percent(s / own.wall_s.max(1e-9));
    if own.wall_s > 0.0 {
        ours.push(format!("processor {}", share(own.cpu_s)));
        ours.extend(own.waited_s.map(|waited| format!("waited for one {}", share(waited))));
        ours.push(format!("longest turn {:.1} ms", own.longest_turn_ms));
    }
    ours.extend(own.steal.map(|steal| format!("host took {}", percent(steal))));
    ours.extend(own.limits.iter().map(|(name, count)| format!("short of {name} {count} times")));
    lines.push(format!("ours         {}", ours.join("; ")));
    lines
}
