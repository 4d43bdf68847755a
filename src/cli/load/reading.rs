//! A thread's own figures at one moment: where measuring begins, and where it ends.
use charkh::{Histogram, Hub};

use super::testimony::ThreadClock;

pub(crate) struct Reading {
    pub(crate) clock: ThreadClock,
    pub(crate) turns: Histogram,
    /// Since the reading before.
    pub(crate) longest_turn_ms: f64,
}

impl Reading {
    pub(crate) fn take(hub: &mut Hub) -> Self {
        Self {
            clock: ThreadClock::read(),
            turns: hub.stats().turn_times,
            longest_turn_ms: hub.take_longest_turn().as_secs_f64() * 1e3,
        }
    }
}
