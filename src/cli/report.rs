//! Lines of numbers: `name value`, for people and for scripts.
use std::{fmt::Write, time::Duration};

use charkh::{Hub, Reason, Stats};

/// A line at every interval, counted from the start: being late once does not move those after it.
pub(crate) struct Report {
    interval: Option<Duration>,
    next: Duration,
    /// The interval that runs: when it began, and what had been counted by then.
    began: Duration,
    earlier: Stats,
}

impl Report {
    pub(crate) fn new(interval: Option<Duration>, now: Duration) -> Self {
        let next = interval.map_or(Duration::MAX, |interval| now + interval);
        Self { interval, next, began: now, earlier: Stats::default() }
    }

    /// How long until the next line.
    pub(crate) fn left(&self, now: Duration) -> Duration {
        match self.interval {
            Some(_) => self.next.saturating_sub(now),
            None => Duration::MAX,
        }
    }

    /// The line of the interval that has ended, if one has.
    pub(crate) fn due(&mut self, hub: &mut Hub, now: Duration) -> Option<String> {
        let interval = self.interval.filter(|_| self.next <= now)?;
        let missed = (now - self.next).as_nanos() / interval.as_nanos();
        self.next += interval * u32::try_from(missed + 1).unwrap_or(u32::MAX);
        Some(self.cut(hub, now))
    }

    /// The line of the interval that has not ended, if lines were asked for.
    pub(crate) fn last(&mut self, hub: &mut Hub, now: Duration) -> Option<String> {
        self.interval.map(|_| self.cut(hub, now))
    }

    fn cut(&mut self, hub: &mut Hub, now: Duration) -> String {
        let (stats, longest) = (hub.stats(), hub.take_longest_turn());
        let line = line(&self.earlier, &stats, hub.len(), now.saturating_sub(self.began), longest);
        (self.earlier, self.began) = (stats, now);
        line
    }
}

/// Since the start.
pub(crate) fn totals(hub: &Hub, now: Duration) -> String {
    let stats = hub.stats();
    line(&Stats::default(), &stats, hub.len(), now, stats.longest_turn)
}

fn line(
    earlier: &Stats,
    stats: &Stats,
    connections: usize,
    span: Duration,
    longest: Duration,
) -> String {
    let times = stats.turn_times.since(&earlier.turn_times);
    // A quantile is a bound, up to twice too high; the longest is exact.
    let quantile = |q| micros(times.quantile(q).min(longest));
    let mut line = format!("seconds {:.3} connections {connections}", span.as_secs_f64());
    for (name, count) in [
        ("accepts", stats.accepted - earlier.accepted),
        ("messages", stats.messages - earlier.messages),
        ("bytes_in", stats.bytes_in - earlier.bytes_in),
        ("bytes_out", stats.bytes_out - earlier.bytes_out),
        ("turns", stats.turns - earlier.turns),
    ] {
        push(&mut line, name, count);
    }
    push(&mut line, "turn_p50", quantile(0.5));
    push(&mut line, "turn_p99", quantile(0.99));
    push(&mut line, "turn_max", micros(longest));
    push(&mut line, "memory", stats.memory);
    for (name, bytes) in
        [("layer_memory", stats.layer_memory), ("spare_memory", stats.spare_memory)]
    {
        if bytes > 0 {
            push(&mut line, name, bytes);
        }
    }
    push(&mut line, "timers_armed", stats.armed);
    for ((name, now), (_, then)) in limits(stats).into_iter().zip(limits(earlier)) {
        if now > then {
            push(&mut line, name, now - then);
        }
    }
    for ((name, now), then) in Reason::NAMES.into_iter().zip(stats.ended).zip(earlier.ended) {
        // In good order is no news.
        if now > then && name != "closed" {
            push(&mut line, &format!("ended_{}", name.replace(' ', "_")), now - then);
        }
    }
    line
}

fn push(line: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = write!(line, " {name} {value}");
}

fn micros(duration: Duration) -> String {
    format!("{}us", duration.as_micros())
}

/// What counts datagrams, which not everybody has, how often a limit was reached, or something went
/// wrong.
fn limits(stats: &Stats) -> [(&'static str, u64); 34] {
    [
        ("datagrams_in", stats.datagrams_in),
        ("datagrams_out", stats.datagrams_out),
        ("datagram_bytes_in", stats.datagram_bytes_in),
        ("datagram_bytes_out", stats.datagram_bytes_out),
        ("connect_failed", stats.connect_failed),
        ("refused_full", stats.refused_full),
        ("refused_per_ip", stats.refused_per_ip),
        ("refused_by_layer", stats.refused_by_layer),
        ("handshakes_failed", stats.handshakes_failed),
        ("accept_waits", stats.accept_waits),
        ("accept_pauses", stats.accept_pauses),
        ("accept_errors", stats.accept_errors),
        ("io_pauses", stats.io_pauses),
        ("poll_errors", stats.poll_errors),
        ("datagrams_truncated", stats.datagrams_truncated),
        ("datagram_errors", stats.datagram_errors),
        ("datagrams_unsent", stats.datagrams_unsent),
        ("datagrams_out_full", stats.datagrams_out_full),
        ("replies_refused", stats.replies_refused),
        ("replies_limited", stats.replies_limited),
        ("accept_budget", stats.accept_budget),
        ("connect_budget", stats.connect_budget),
        ("datagram_budget", stats.datagram_budget),
        ("handshake_budget", stats.handshake_budget),
        ("read_budget", stats.read_budget),
        ("write_budget", stats.write_budget),
        ("frame_budget", stats.frame_budget),
        ("share_budget", stats.share_budget),
        ("close_budget", stats.close_budget),
        ("job_budget", stats.job_budget),
        ("timer_budget", stats.timer_budget),
        ("output_full", stats.output_full),
        ("linger_given_up", stats.linger_expired + stats.linger_overflow),
        ("slow_turns", stats.slow_turns),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn lines_keep_their_times_and_missed_ones_are_left_out() {
        let mut reactor = charkh::Reactor::new(super::super::protocols::Echo).unwrap();
        let hub = reactor.hub();
        let mut report = Report::new(Some(ms(100)), ms(7));
        let mut begins = |at| report.due(hub, ms(at)).map(|line| line[..14].to_string());
        assert_eq!(begins(106), None);
        assert_eq!(begins(107), Some("seconds 0.100 ".into()));
        assert_eq!(begins(230), Some("seconds 0.123 ".into())); // late
        assert_eq!(begins(306), None);
        assert_eq!(begins(307), Some("seconds 0.077 ".into())); // but the next is not
        assert_eq!(begins(755), Some("seconds 0.448 ".into()));
        assert_eq!(begins(806), None);
        assert_eq!(report.left(ms(806)), ms(1));
        assert_eq!(Report::new(None, ms(7)).left(ms(9)), Duration::MAX);
    }

    #[test]
    fn a_line_is_pairs_and_says_what_moved() {
        let (earlier, mut stats) = (Stats::default(), Stats::default());
        stats.accepted = 3;
        stats.refused_full = 2;
        stats.ended[4] = 1;
        let line = line(&earlier, &stats, 5, ms(1000), ms(1));
        assert!(line.starts_with("seconds 1.000 connections 5 accepts 3 messages 0 "), "{line}");
        assert!(line.ends_with("refused_full 2 ended_output_overflow 1"), "{line}");
        assert_eq!(line.split(' ').count() % 2, 0);
        assert!(!line.contains("slow_turns"));
    }
}
