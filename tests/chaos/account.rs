//! What the server in the chaos knows of one connection, to judge it by.
use std::time::Duration;

use charkh::{Config, ConnId, Hub, Peer};

/// What the server knows of one connection, and what it promised.
pub struct Account {
    pub id: ConnId,
    pub layered: bool,
    pub opened: bool,
    pub taken: usize,
    /// Offered, and not taken.
    pub left: usize,
    pub promised: Vec<u8>,
    pub paused: bool,
    pub both_ways: bool,
    pub closing: bool,
    pub finishing: bool,
    pub told: bool,
    /// What the session says it keeps.
    pub keeps: usize,
    /// It has left whole frames, by its own will.
    pub broke_off: bool,
    /// All that the client had sent when its end came.
    pub whole: Option<usize>,
    /// The last turn in which it was called, or had a reason not to be.
    pub changed: u64,
    pub wake_at: Option<Duration>,
    pub deadline: Option<Duration>,
    pub begun: Duration,
    /// There was no room for it when it was asked for; it begins later.
    pub placeless: bool,
    pub heard: Option<Duration>,
    /// What has ended it; nothing later may claim that.
    pub doomed: Option<&'static [&'static str]>,
    /// The name of its reason, and when.
    pub ended: Option<&'static str>,
    pub ended_at: Duration,
    pub closed_at: Duration,
    /// Times after which they are late: with what a callback took before it asked.
    pub wake_by: Option<Duration>,
    pub end_by: Option<Duration>,
    pub up_by: Duration,
    pub linger_by: Option<Duration>,
    /// It was up when the first stop was asked for.
    pub was_there: bool,
    /// Turns that let something pass that was due.
    pub late: u32,
    /// Its output went above the watermark, and `drained` is owed.
    pub full: bool,
    /// What is left is owed to it once more; turns in which it was not offered.
    pub owed: Option<u32>,
    /// While stopping: for how many turns, and since when, nobody would miss an answer of it.
    pub quiet: Option<(u32, Duration)>,
}

/// How things stood before something was sent.
pub struct Sending {
    unsent: usize,
    full: bool,
    /// What all hold, where that has a limit.
    memory: usize,
}

impl Sending {
    pub fn to(peer: &mut Peer) -> Self {
        let limited = peer.hub().config().memory_max < MEMORY_MANY;
        let stats = limited.then(|| peer.hub().stats());
        let memory = stats.map_or(0, |stats| stats.memory + stats.layer_memory);
        Self { unsent: peer.unsent(), full: peer.is_full(), memory }
    }
}

pub const OVERFLOW: &[&str] = &["output overflow"];
pub const MEMORY: &[&str] = &["out of memory"];
pub const FAULT: &[&str] = &["fault"];
pub const INPUT: &[&str] = &["input overflow"];

/// Above this, memory is as good as without a limit.
pub const MEMORY_MANY: usize = 1 << 30;

impl Account {
    pub fn new(id: ConnId, now: Duration, clock: Duration, config: &Config) -> Self {
        Self {
            id,
            layered: false,
            opened: false,
            taken: 0,
            left: 0,
            promised: Vec::new(),
            paused: false,
            both_ways: false,
            closing: false,
            finishing: false,
            told: false,
            keeps: 0,
            broke_off: false,
            whole: None,
            changed: 0,
            wake_at: None,
            deadline: config.lifetime.map(|after| now + after),
            begun: now,
            heard: None,
            doomed: None,
            placeless: false,
            ended: None,
            ended_at: Duration::ZERO,
            closed_at: Duration::ZERO,
            wake_by: None,
            end_by: config.lifetime.map(|after| clock + after),
            // From the millisecond that begins after it was asked for.
            up_by: clock + config.connect.unwrap_or(Duration::MAX / 2) + Duration::from_millis(1),
            was_there: false,
            linger_by: None,
            late: 0,
            full: false,
            owed: None,
            quiet: None,
        }
    }

    pub fn close(&mut self, now: Duration) {
        if !std::mem::replace(&mut self.closing, true) {
            self.closed_at = now;
        }
        (self.wake_at, self.wake_by) = (None, None);
    }

    pub fn resume(&mut self, peer: &mut Peer) {
        if std::mem::take(&mut self.paused) {
            self.owed = Some(0);
        }
        peer.resume();
    }

    /// The first time after which something about it is late.
    pub fn first_due(&self) -> Option<Duration> {
        // Once it lingers, only that counts; when a layer has said its last words is not known.
        let end = match self.closing {
            true => self.linger_by,
            false => self.end_by,
        };
        let wake = self.wake_by.filter(|_| self.opened && !self.closing);
        // When a handshake began only the wheel knows.
        let up = (!self.opened && !self.layered).then_some(self.up_by);
        [end, wake, up].into_iter().flatten().min()
    }

    /// The watermark was crossed, or not; and what is above the hard limit, or is too much for
    /// all, ends it.
    pub fn was_sent(&mut self, peer: &mut Peer, before: &Sending, more: usize) {
        let id = peer.id();
        let config = peer.hub().config().clone();
        let unsent = before.unsent + more;
        let too_much = unsent > config.output_max;
        if peer.to(id).is_none() {
            // A block is at least a kibibyte, and not twice what was wanted, which is what waits or
            // twice the block before.
            let memory = 3 * before.memory + 2 * unsent + 2048;
            assert!(too_much || memory > config.memory_max, "below every limit");
            self.doomed.get_or_insert(if too_much { OVERFLOW } else { MEMORY });
            return;
        }
        assert!(!too_much, "output_max");
        let crossed = unsent > config.output_high;
        assert_eq!(peer.is_full(), before.full || crossed, "full when the watermark is crossed");
        self.full |= crossed;
    }

    /// It kept so much more, and was the heaviest of those who together hold too much.
    pub fn ran_out(&mut self, before: &Sending, more: usize, memory_max: usize) {
        // The books, and what was spare, are within a kibibyte.
        assert!(before.memory + more + 1024 > memory_max, "below every limit");
        self.doomed.get_or_insert(MEMORY);
    }

    /// Is this a right reason for its end?
    pub fn judge(&self, hub: &Hub, name: &str, stops: &[Duration]) {
        let grace = hub.config().grace;
        let stopped_well = stops.len() > 1 || stops.iter().any(|&at| hub.now() >= at + grace);
        let (now, config) = (hub.now(), hub.config());
        let memory_is_short = config.memory_max < MEMORY_MANY && name == "out of memory";
        if let Some(doomed) = self.doomed {
            // What a callback leaves is kept before its error is looked at.
            let sooner = memory_is_short && [FAULT, INPUT].contains(&doomed);
            assert!(sooner || doomed.contains(&name), "{doomed:?} ended it, not {name}");
            return;
        }
        let after = |from: Duration, patience: Option<Duration>| {
            patience.is_some_and(|patience| now >= from + patience)
        };
        let right = match name {
            "closed" => self.closing || self.finishing,
            "out of room" => self.placeless && now >= self.begun,
            // Whether the other end did that is known outside.
            "broken" => true,
            "fault" | "output overflow" => self.layered,
            // What came with its handshake was kept, for it paused as soon as it was met.
            "input overflow" => self.layered && self.paused && self.taken == 0,
            "out of memory" => memory_is_short,
            // What came with a handshake may have been kept for a while.
            "idle" if self.layered => after(self.begun, config.idle),
            "idle" => after(self.heard.unwrap_or(self.begun), config.idle),
            "first byte" => {
                (self.heard.is_none() || self.layered) && after(self.begun, config.first_byte)
            }
            "write stalled" => after(self.begun, config.write_stall),
            "deadline" => self.deadline.is_some_and(|at| now >= at),
            "connect timeout" => !self.opened && after(self.begun, config.connect),
            "handshake" => self.layered && !self.opened && after(self.begun, config.handshake),
            // Whoever was to begin later need not be waited for, nor who was to begin since the
            // last turn, which may be some milliseconds ago.
            "stopped" => {
                let waited = |at: &Duration| self.begun + Duration::from_millis(20) >= *at;
                stopped_well || !self.opened && stops.first().is_some_and(waited)
            }
            _ => false,
        };
        assert!(right, "{name} is not how this connection ended");
    }
}
