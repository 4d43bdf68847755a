//! When to look at a connection again: a hierarchical timing wheel (Varghese and Lauck, 1987).
//!
//! Seven wheels of 64 slots. A slot of the first is one millisecond wide, a slot of each next is
//! as wide as the whole wheel before it. A timer goes into the finest wheel that can tell it from
//! now, and falls to finer ones as its time comes near. To arm, to move and to cancel costs O(1),
//! each connection has at most one timer, and nothing is left of one that was cancelled: a
//! million connections that come and go leave no trace.
//!
//! Times are whole milliseconds since the start, as many as the last wheel can tell apart: 2^42,
//! which are 139 years. What a timer means is not known here.

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 7;
/// The lists' own nodes; a connection's node comes after them, at its slot.
const HEADS: usize = SLOTS * LEVELS;

pub(crate) struct Timers {
    /// Everything due before this has been given out.
    elapsed: u64,
    /// Which slots may have timers: a bit each, cleared when a look finds none.
    occupied: [u64; LEVELS],
    /// Circular doubly linked lists, threaded through indices.
    nodes: Vec<Node>,
    armed: usize,
}

#[derive(Clone, Copy)]
struct Node {
    when: u64,
    next: u32,
    prev: u32,
}

/// What one step of [`Timers::step`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// This connection's time has come; its timer is no longer armed.
    Due(u32),
    /// A timer moved to a finer wheel.
    Moved,
    /// Nothing more is due.
    Done,
}

impl Timers {
    pub(crate) fn new() -> Self {
        let alone = |i| Node { when: 0, next: i, prev: i };
        let nodes = (0..HEADS as u32).map(alone).collect();
        Self { elapsed: 0, occupied: [0; LEVELS], nodes, armed: 0 }
    }

    /// How many are armed.
    pub(crate) fn len(&self) -> usize {
        self.armed
    }

    /// When this connection's timer is due, if one is armed.
    pub(crate) fn armed_at(&self, slot: u32) -> Option<u64> {
        let node = self.nodes.get(HEADS + slot as usize)?;
        (node.next as usize != HEADS + slot as usize).then_some(node.when)
    }

    /// Arm, or move, the timer of a connection.
    pub(crate) fn arm(&mut self, slot: u32, when: u64) {
        let node = HEADS + slot as usize;
        while self.nodes.len() <= node {
            let i = self.nodes.len() as u32;
            self.nodes.push(Node { when: 0, next: i, prev: i });
        }
        self.cancel(slot);
        self.nodes[node].when = when;
        self.armed += 1;
        self.link(node);
    }

    pub(crate) fn cancel(&mut self, slot: u32) {
        if self.armed_at(slot).is_some() {
            self.unlink(HEADS + slot as usize);
            self.armed -= 1;
        }
    }

    /// Not later than the first timer that is due: a coarse slot is looked at when it begins, so
    /// that its timers fall to finer wheels.
    pub(crate) fn next(&mut self) -> Option<u64> {
        self.first().map(|(_, _, start)| start)
    }

    /// One step towards `now`, in O(1). Called until [`Step::Done`], or as long as a turn allows.
    pub(crate) fn step(&mut self, now: u64) -> Step {
        let Some((level, slot, start)) = self.first().filter(|&(_, _, start)| start <= now) else {
            self.elapsed = self.elapsed.max(now);
            return Step::Done;
        };
        self.elapsed = self.elapsed.max(start);
        let node = self.nodes[level * SLOTS + slot].next as usize;
        self.unlink(node);
        if self.nodes[node].when <= now {
            self.armed -= 1;
            return Step::Due((node - HEADS) as u32);
        }
        self.link(node);
        Step::Moved
    }

    /// The occupied slot that begins first; of several that begin together, the coarsest, because
    /// the finer ones are waiting for what is in it.
    fn first(&mut self) -> Option<(usize, usize, u64)> {
        let mut first: Option<(usize, usize, u64)> = None;
        for level in 0..LEVELS {
            while self.occupied[level] != 0 {
                let slot = self.occupied[level].trailing_zeros() as usize;
                let head = level * SLOTS + slot;
                if self.nodes[head].next as usize == head {
                    self.occupied[level] &= !(1 << slot);
                    continue;
                }
                let width = BITS * level as u32;
                let start = (self.elapsed >> (width + BITS) << BITS | slot as u64) << width;
                if first.is_none_or(|(_, _, earliest)| start <= earliest) {
                    first = Some((level, slot, start));
                }
                break;
            }
        }
        first
    }

    /// The level is that of the highest group of bits in which `when` differs from now.
    fn link(&mut self, node: usize) {
        let when = self.nodes[node].when.max(self.elapsed);
        let differs = (when ^ self.elapsed) | 1;
        let level = (differs.ilog2() / BITS) as usize;
        let slot = (when >> (BITS * level as u32)) as usize % SLOTS;
        let head = level * SLOTS + slot;
        let last = self.nodes[head].prev as usize;
        self.nodes[node].prev = last as u32;
        self.nodes[node].next = head as u32;
        self.nodes[last].next = node as u32;
        self.nodes[head].prev = node as u32;
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, node: usize) {
        let Node { next, prev, .. } = self.nodes[node];
        self.nodes[prev as usize].next = next;
        self.nodes[next as usize].prev = prev;
        self.nodes[node].next = node as u32;
        self.nodes[node].prev = node as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn due(timers: &mut Timers, now: u64) -> Vec<u32> {
        let mut due = Vec::new();
        // Each falls at most once to each finer wheel.
        for _ in 0..=timers.len() * LEVELS {
            match timers.step(now) {
                Step::Due(slot) => due.push(slot),
                Step::Moved => {}
                Step::Done => return due,
            }
        }
        panic!("the wheel does not come to rest");
    }

    /// Against a plain sorted map, over all widths, with moves and cancellations (cases 73, 76).
    #[test]
    fn case_073_never_early_and_none_forgotten() {
        let mut seed = 9_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 11) % below
        };
        let (mut timers, mut model, mut now) = (Timers::new(), BTreeMap::new(), 0_u64);
        let rounds = if cfg!(miri) { 500 } else { 200_000 };
        for _ in 0..rounds {
            let slot = random(200) as u32;
            match random(10) {
                0..=4 => {
                    let width = random(34);
                    let when = now + random(1 << width);
                    timers.arm(slot, when);
                    model.insert(slot, when);
                }
                5 => {
                    timers.cancel(slot);
                    model.remove(&slot);
                }
                _ => {
                    // As a loop does: to the next time that was named, or a little on.
                    now = if random(2) == 0 {
                        timers.next().unwrap_or(now).max(now)
                    } else {
                        now + random(300)
                    };
                    let mut got = due(&mut timers, now);
                    got.sort_unstable();
                    let expected: Vec<u32> =
                        model.iter().filter(|&(_, &w)| w <= now).map(|(&s, _)| s).collect();
                    assert_eq!(got, expected, "at {now}");
                    model.retain(|_, when| *when > now);
                }
            }
            assert_eq!(timers.len(), model.len());
            assert_eq!(timers.armed_at(slot), model.get(&slot).copied());
            if let (Some(next), Some(&first)) = (timers.next(), model.values().min()) {
                assert!(next <= first, "would oversleep");
            }
        }
    }

    #[test]
    fn case_056_a_hundred_thousand_due_at_once_come_in_slices() {
        let mut timers = Timers::new();
        (0..100_000).for_each(|slot| timers.arm(slot, 5_000));
        let mut steps = 0_u32;
        // An interrupted cascade leaves a wheel that still takes and gives timers.
        while timers.len() > 50_000 {
            steps += 1;
            timers.step(5_000);
        }
        timers.arm(200_000, 5_001);
        let mut rest = due(&mut timers, 5_000).len() as u32;
        assert_eq!(rest, 50_000);
        rest += due(&mut timers, 5_001).len() as u32;
        assert_eq!((rest, timers.len()), (50_001, 0));
        assert!(steps <= 100_000 * LEVELS as u32);
    }

    #[test]
    fn case_079_a_million_timers_armed_again_and_again_leave_one_each() {
        let mut timers = Timers::new();
        for round in 0..3 {
            (0..1_000_000).for_each(|slot| timers.arm(slot, 60_000 + round));
        }
        assert_eq!(timers.len(), 1_000_000);
        (0..1_000_000).for_each(|slot| timers.cancel(slot));
        assert_eq!((timers.len(), timers.next()), (0, None));
    }

    #[test]
    fn the_last_wheel_s_last_timer_is_told_from_those_before_it() {
        let last = (1 << 42) - 1;
        for start in [0, last / 2, last - 100, last - 1] {
            let mut timers = Timers::new();
            assert_eq!(timers.step(start), Step::Done);
            timers.arm(0, last);
            assert_eq!(due(&mut timers, last - 1), []);
            assert_eq!(due(&mut timers, last), [0]);
        }
    }

    #[test]
    fn case_075_a_jump_over_years_fires_each_once() {
        let mut timers = Timers::new();
        (0..100).for_each(|slot| timers.arm(slot, u64::from(slot) * 1_000_000_000));
        assert_eq!(due(&mut timers, 100_000_000_000).len(), 100);
        assert_eq!(due(&mut timers, 200_000_000_000).len(), 0);
    }
}
