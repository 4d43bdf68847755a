//! What the loop has done so far.
use std::{fmt, time::Duration};

use crate::conn::Reason;

/// Counters since the start, copied out whole. Each limit of [`Config`](crate::Config) has one
/// that says how often it was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Turns of the wheel.
    pub turns: u64,
    /// Events that the kernel told.
    pub events: u64,
    /// Times the kernel would not tell, but failed.
    pub poll_errors: u64,
    /// Of the events, those for a connection that was gone.
    pub stale_events: u64,
    /// Turns given to connections.
    pub served: u64,
    /// Jobs that came through a [`Handle`](crate::Handle) and ran.
    pub jobs: u64,
    /// Timers that called the protocol or ended a connection.
    pub timers: u64,

    /// Connections accepted, those included whose handshake failed.
    pub accepted: u64,
    /// Outbound connections opened.
    pub connected: u64,
    /// Outbound connections that did not come up.
    pub connect_failed: u64,
    /// Connections released, whatever they were.
    pub released: u64,
    /// How connections ended, by [`Reason`]; the names are [`Reason::NAMES`].
    pub ended: [u64; Reason::KINDS],

    /// Bytes read from connections.
    pub bytes_in: u64,
    /// Bytes that the kernel took.
    pub bytes_out: u64,
    /// Messages: frames that a codec found, or one for each call that took bytes without.
    pub messages: u64,
    /// Calls of read.
    pub reads: u64,
    /// Calls of write.
    pub writes: u64,

    /// Datagrams given to the protocol.
    pub datagrams_in: u64,
    /// Datagrams that the kernel took.
    pub datagrams_out: u64,
    /// Bytes of the first.
    pub datagram_bytes_in: u64,
    /// Bytes of the second.
    pub datagram_bytes_out: u64,
    /// Datagrams dropped because they were longer than
    /// [`datagram_size`](crate::Config::datagram_size).
    pub datagrams_truncated: u64,
    /// Receives that failed: most tell of a datagram that was sent before and found nobody.
    pub datagram_errors: u64,
    /// Datagrams that the kernel did not take: it had no room, or they were too long for it, or
    /// there is no way there. They are gone.
    pub datagrams_unsent: u64,
    /// Datagrams that callbacks were refused because of
    /// [`datagrams_out_max`](crate::Config::datagrams_out_max) or
    /// [`datagrams_out_bytes`](crate::Config::datagrams_out_bytes).
    pub datagrams_out_full: u64,
    /// Answers refused because they were longer than what they answer, or to a port of servers: see
    /// [`Datagram::reply`](crate::Datagram::reply).
    pub replies_refused: u64,
    /// Answers refused because of [`replies_per_ip`](crate::Config::replies_per_ip).
    pub replies_limited: u64,

    /// Connections refused because [`conns_max`](crate::Config::conns_max) was reached, the system
    /// had no descriptor left, or layers took half of [`memory_max`](crate::Config::memory_max).
    pub refused_full: u64,
    /// Connections refused because of [`conns_per_ip`](crate::Config::conns_per_ip).
    pub refused_per_ip: u64,
    /// Connections refused by the function that makes layers; see
    /// [`Reactor::layer`](crate::Reactor::layer).
    pub refused_by_layer: u64,
    /// Connections that ended before their [`Layer`](crate::Layer) was ready.
    pub handshakes_failed: u64,
    /// Times accepting found no room and left connections with the kernel.
    pub accept_waits: u64,
    /// Times accepting paused because the system was short of descriptors or memory.
    pub accept_pauses: u64,
    /// Errors of single connections that `accept` reported.
    pub accept_errors: u64,
    /// Times reading or writing paused because the system was short of memory.
    pub io_pauses: u64,

    /// Times [`accepts_max`](crate::Config::accepts_max) ended a listener's share of a turn.
    pub accept_budget: u64,
    /// The same for [`connects_max`](crate::Config::connects_max).
    pub connect_budget: u64,
    /// The same for [`datagrams_max`](crate::Config::datagrams_max), of a UDP socket.
    pub datagram_budget: u64,
    /// The same for [`handshakes_max`](crate::Config::handshakes_max).
    pub handshake_budget: u64,
    /// The same for [`read_max`](crate::Config::read_max).
    pub read_budget: u64,
    /// The same for [`write_max`](crate::Config::write_max).
    pub write_budget: u64,
    /// The same for [`frames_max`](crate::Config::frames_max).
    pub frame_budget: u64,
    /// Turns in which not all of those who had much before had theirs: what they had took longer
    /// than all else did.
    pub share_budget: u64,
    /// The same of those that had ended: some were closed in a later turn.
    pub close_budget: u64,
    /// The same for [`jobs_max`](crate::Config::jobs_max).
    pub job_budget: u64,
    /// The same for [`timers_max`](crate::Config::timers_max).
    pub timer_budget: u64,

    /// Times output went above [`output_high`](crate::Config::output_high).
    pub output_full: u64,
    /// Closed connections given up because the peer never ended its half within
    /// [`linger`](crate::Config::linger).
    pub linger_expired: u64,
    /// The same because it sent more than [`linger_bytes`](crate::Config::linger_bytes).
    pub linger_overflow: u64,
    /// Bytes held now: unread and unsent, what sessions say they keep
    /// ([`Peer::set_held`](crate::Peer::set_held)), what layers have of records, and 184 for each
    /// connection that holds something.
    pub memory: usize,
    /// Bytes that layers take themselves now ([`Layer::size`](crate::Layer::size)).
    pub layer_memory: usize,
    /// Bytes that nobody holds now, and that are kept for whoever needs them next: at most a
    /// mebibyte of blocks and the books of 16 384 connections, 4 MB together, and within
    /// [`memory_max`](crate::Config::memory_max).
    pub spare_memory: usize,
    /// Connections that have a timer armed now.
    pub armed: usize,

    /// Turns that worked longer than [`slow_turn`](crate::Config::slow_turn).
    pub slow_turns: u64,
    /// Time spent working, sleeps not counted.
    pub busy: Duration,
    /// The longest turn, its sleep not counted.
    pub longest_turn: Duration,
    /// How long turns took, their sleep not counted.
    pub turn_times: Histogram,
}

impl Stats {
    /// How many connections ended for a reason of this name; see [`Reason::NAMES`].
    pub fn ended_by(&self, name: &str) -> u64 {
        Reason::NAMES.iter().position(|&n| n == name).map_or(0, |index| self.ended[index])
    }
}

/// Durations, counted by powers of two of a microsecond: bucket `n` counts those of less than
/// `2^n` microseconds that no bucket before it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; 32],
}

impl Histogram {
    pub(crate) fn record(&mut self, duration: Duration) {
        let us = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        let bucket = (u32::BITS - us.leading_zeros()) as usize;
        self.buckets[bucket.min(self.buckets.len() - 1)] += 1;
    }

    /// What was counted since `earlier` was copied.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut buckets = self.buckets;
        for (now, then) in buckets.iter_mut().zip(earlier.buckets) {
            *now = now.saturating_sub(then);
        }
        Self { buckets }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// A duration that a share of `q` (0.5: half) of those counted is not above; up to twice the
    /// true one. Zero if none was counted.
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = (self.count() as f64 * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (n, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(1 << n);
            }
        }
        Duration::ZERO
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (half, most) = (self.quantile(0.5), self.quantile(0.99));
        write!(f, "p50 <{half:?} p99 <{most:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_bounds() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        (0..90).for_each(|_| histogram.record(Duration::from_micros(3)));
        let earlier = histogram;
        (0..10).for_each(|_| histogram.record(Duration::from_secs(1)));
        histogram.record(Duration::MAX);
        assert_eq!(histogram.quantile(0.5), Duration::from_micros(4));
        assert!(histogram.quantile(0.95) >= Duration::from_secs(1));
        assert_eq!(histogram.since(&earlier).count(), 11);
    }
}
