//! Who waited for whom, read from the records when somebody asks: the loop does nothing for it.
//!
//! A turn is cut into stretches, one after the other without a gap: each is the time in which one
//! connection, job or tick had the wheel. What lies between two records is the earlier one's, but
//! the time of a callback is its own.
use std::{cmp::Reverse, collections::HashMap, fmt, mem, time::Duration};

use super::{Record, What};

/// A poll that took longer than this has slept, and nobody was waiting when it began.
const POLL_MAX_NS: u64 = 10_000;

/// Beside that, for each connection that it told of.
const TOLD_NS: u64 = 100;

/// Who had the wheel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Who {
    /// A connection, by slot and serial as [`Record::conn`] has them.
    Conn(u32, u32),
    /// Datagrams: [`What::Datagram`].
    Datagram,
    /// Jobs of other threads: [`What::Job`].
    Job,
    /// [`Protocol::tick`](crate::Protocol::tick).
    Tick,
}

impl Who {
    fn of(record: &Record) -> Self {
        match record.conn() {
            Some((slot, serial)) => Self::Conn(slot, serial),
            None if record.what == What::Tick => Self::Tick,
            None if record.what == What::Datagram => Self::Datagram,
            None => Self::Job,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conn(slot, serial) => write!(f, "#{slot}.{serial}"),
            Self::Datagram => f.write_str(What::Datagram.name()),
            Self::Job => f.write_str(What::Job.name()),
            Self::Tick => f.write_str(What::Tick.name()),
        }
    }
}

/// How one of those that were served delayed the others: [`Trace::delays`](super::Trace::delays).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delay {
    /// Who was served.
    pub who: Who,
    /// How often another connection waited while it was: two that waited for the same visit are
    /// two.
    pub others: u64,
    /// The longest visit that another waited for. As [`total`](Delay::total), an upper bound for
    /// those that became ready in it.
    pub longest: Duration,
    /// The time that others waited for it, all of them together: at most this.
    pub total: Duration,
    /// The part of it that is no upper bound: the kernel had told of them before.
    pub sure: Duration,
}

/// Adds them up.
#[derive(Default)]
pub(super) struct Delays(HashMap<Who, Delay>);

impl Delays {
    /// `others` waited for this. Long sums end at the greatest, and do not begin again.
    fn add(&mut self, stretch: &Stretch, others: u64, sure: bool) {
        let took = Duration::from_nanos(stretch.took());
        if took.is_zero() || others == 0 {
            return;
        }
        let none = Duration::ZERO;
        let blank = Delay { who: stretch.who, others: 0, longest: none, total: none, sure: none };
        let delay = self.0.entry(stretch.who).or_insert(blank);
        let all = Duration::from_nanos(stretch.took().saturating_mul(others));
        delay.others += others;
        delay.longest = delay.longest.max(took);
        delay.total = delay.total.saturating_add(all);
        delay.sure = delay.sure.saturating_add(if sure { all } else { none });
    }

    /// Those that cost the others most come first.
    pub(super) fn sorted(self) -> Vec<Delay> {
        let mut all: Vec<Delay> = self.0.into_values().collect();
        all.sort_unstable_by_key(|delay| (Reverse(delay.total), delay.who));
        all
    }
}

/// One had the wheel.
struct Stretch {
    who: Who,
    began: u64,
    ended: u64,
    /// Waits that end where this begins, or, once its turn is over, that begin there.
    waits: u64,
    /// The place of the longest of its turn up to this, or, once that is over, from this on.
    longest: usize,
}

impl Stretch {
    fn took(&self) -> u64 {
        self.ended.saturating_sub(self.began)
    }
}

/// A connection waited from when it was ready, as far as is known, until it was served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wait {
    pub(super) conn: (u32, u32),
    pub(super) began: u64,
    pub(super) ended: u64,
    /// Whose visit was the longest of those that it waited for, and how long that took.
    pub(super) longest: (Who, u64),
    /// It may have become ready later than it `began` to wait.
    pub(super) at_most: bool,
}

impl Wait {
    pub(super) fn took(&self) -> u64 {
        self.ended.saturating_sub(self.began)
    }
}

/// A connection that this turn was told of.
struct Told {
    conn: (u32, u32),
    /// The first stretch of the turn before that it may have waited for.
    from: usize,
    /// The first of its own; `None`: it was not served.
    until: Option<usize>,
}

/// What is known of a connection: the last turn that was told of it, the last that served it, and
/// its places there.
#[derive(Clone, Copy, Default)]
struct Seen {
    told: u64,
    told_place: usize,
    served: u64,
    stretch: usize,
}

/// Reads records turn by turn, in their order.
///
/// A connection that a turn is told of waits from the beginning of that turn to the next record
/// about it. If the poll did not sleep, it may have become ready at any time since its own last
/// visit or the poll before, whichever was later: what had the wheel meanwhile is an upper bound.
/// However many wait, each record and each stretch is looked at a fixed number of times.
#[derive(Default)]
pub(super) struct Turns {
    /// Of this turn. The first is 1, so that 0 is none.
    number: u64,
    /// Its last record; `None`: it has not ended.
    record: Option<Record>,
    began: u64,
    told: Vec<Told>,
    stretches: Vec<Stretch>,
    /// Of the turn before.
    earlier: Vec<Stretch>,
    seen: HashMap<(u32, u32), Seen>,
}

impl Turns {
    /// Go on to the next turn, and read all of it. `false` if there is none.
    pub(super) fn read<'a>(&mut self, records: &mut impl Iterator<Item = &'a Record>) -> bool {
        let end_of_last = self.record.take().map_or(0, |turn| turn.at);
        self.number += 1;
        self.told.clear();
        self.earlier.clear();
        mem::swap(&mut self.earlier, &mut self.stretches);
        let mut any = false;
        for record in records {
            if !mem::replace(&mut any, true) {
                self.began = record.span().0;
            }
            match record.what {
                What::Turn => self.record = Some(*record),
                What::Ready => self.hear(record),
                _ => self.serve(record),
            }
            if self.record.is_some() {
                break;
            }
        }
        self.end(end_of_last);
        any
    }

    /// The record of this turn itself, if it has ended.
    pub(super) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    fn hear(&mut self, record: &Record) {
        let Some(conn) = record.conn() else { return };
        let seen = self.seen.entry(conn).or_default();
        if seen.told != self.number {
            (seen.told, seen.told_place) = (self.number, self.told.len());
            let from = if seen.served + 1 == self.number { seen.stretch + 1 } else { 0 };
            self.told.push(Told { conn, from, until: None });
        }
    }

    fn serve(&mut self, record: &Record) {
        let (who, (mut began, _)) = (Who::of(record), record.span());
        match self.stretches.last_mut() {
            Some(last) if last.who == who => last.ended = record.at,
            last => {
                if let Some(last) = last {
                    began = began.max(last.ended);
                    last.ended = began;
                }
                let ended = record.at;
                self.stretches.push(Stretch { who, began, ended, waits: 0, longest: 0 });
            }
        }
        let Some(conn) = record.conn() else { return };
        let (seen, place) = (self.seen.entry(conn).or_default(), self.stretches.len() - 1);
        if seen.told == self.number {
            self.told[seen.told_place].until.get_or_insert(place);
        }
        (seen.served, seen.stretch) = (self.number, place);
    }

    /// All of its records are known.
    fn end(&mut self, end_of_last: u64) {
        if let Some(turn) = self.record {
            // Of the oldest turn a part may be lost, and with it whoever was served then.
            if self.number > 1 {
                self.began = turn.span().0;
                if let Some(first) = self.stretches.first_mut() {
                    first.began = self.began;
                }
            }
            if let Some(last) = self.stretches.last_mut() {
                last.ended = turn.at;
            }
        }
        let poll = self.began.saturating_sub(end_of_last);
        if poll > POLL_MAX_NS + TOLD_NS * self.told.len() as u64 {
            self.earlier.clear(); // it slept: nobody had waited before
        }
        let served = self.told.iter().filter_map(|told| Some((told.from, told.until?)));
        self.earlier.iter_mut().for_each(|stretch| stretch.waits = 0);
        for (from, until) in served {
            self.stretches[until].waits += 1;
            if let Some(stretch) = self.earlier.get_mut(from) {
                stretch.waits += 1;
            }
        }
        let places = 0..self.stretches.len();
        find_longest(&mut self.stretches, places);
        let places = (0..self.earlier.len()).rev();
        find_longest(&mut self.earlier, places);
    }

    /// What each delayed the others in this turn, and what it may have in the one before.
    pub(super) fn add_to(&self, delays: &mut Delays) {
        let mut waiting = 0;
        for stretch in &self.earlier {
            waiting += stretch.waits;
            delays.add(stretch, waiting, false);
        }
        let mut waiting = self.stretches.iter().map(|stretch| stretch.waits).sum();
        for stretch in &self.stretches {
            waiting -= stretch.waits;
            delays.add(stretch, waiting, true);
        }
    }

    /// Who waited for anybody in this turn, in the order in which it was told of them.
    pub(super) fn waits(&self) -> impl Iterator<Item = Wait> + '_ {
        let end_of_earlier = self.earlier.last().map_or(0, |last| last.ended);
        self.told.iter().filter_map(move |told| {
            let until = told.until?;
            let before = self.earlier.get(told.from).filter(|from| from.began < end_of_earlier);
            let longest_before = before.map(|from| &self.earlier[from.longest]);
            let last = until.checked_sub(1).map(|last| &self.stretches[last]);
            let longest = last.map(|last| &self.stretches[last.longest]);
            let longest = longest.into_iter().chain(longest_before).max_by_key(|one| one.took())?;
            Some(Wait {
                conn: told.conn,
                began: before.map_or(self.began, |from| from.began),
                ended: self.stretches[until].began,
                longest: (longest.who, longest.took()),
                at_most: before.is_some(),
            })
        })
    }
}

/// Of those up to each, in this order.
fn find_longest(stretches: &mut [Stretch], places: impl Iterator<Item = usize>) {
    let mut longest = None;
    for place in places {
        let best = longest.unwrap_or(place);
        let best = if stretches[place].took() > stretches[best].took() { place } else { best };
        stretches[place].longest = best;
        longest = Some(best);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Trace;

    fn ns(ns: u64) -> Duration {
        Duration::from_nanos(ns)
    }

    /// Records as the loop makes them. A connection is named by its slot alone.
    struct Tape(Trace);

    impl Tape {
        fn new() -> Self {
            Self(Trace::new(1 << 12, &[]))
        }

        fn begin(&mut self, at: u64, told: &[u32]) {
            self.0.set_now(ns(at));
            for &slot in told {
                self.0.note(What::Ready, slot, 1, 3);
            }
        }

        fn visit(&mut self, slot: u32, until: u64) {
            self.0.note(What::Read, slot, 1, 5);
            self.0.took(What::Data, slot, 1, || ns(until));
            self.0.note(What::Write, slot, 1, 5);
        }

        fn end(&mut self, began: u64, at: u64) {
            self.0.set_now(ns(at));
            self.0.end_turn(ns(began));
        }

        /// Who, others, longest, total, sure.
        fn delays(&self) -> Vec<(String, u64, u64, u64, u64)> {
            let ns = |time: Duration| time.as_nanos() as u64;
            let each =
                |d: Delay| (d.who.to_string(), d.others, ns(d.longest), ns(d.total), ns(d.sure));
            self.0.delays().into_iter().map(each).collect()
        }

        fn waits(&self) -> Vec<Wait> {
            let (mut turns, mut records, mut waits) = (Turns::default(), self.0.iter(), vec![]);
            while turns.read(&mut records) {
                waits.extend(turns.waits());
            }
            waits
        }
    }

    fn line(
        who: &str,
        others: u64,
        [longest, total, sure]: [u64; 3],
    ) -> (String, u64, u64, u64, u64) {
        (who.into(), others, longest, total, sure)
    }

    #[test]
    fn each_waits_for_those_before_it_and_the_dearest_comes_first() {
        let mut tape = Tape::new();
        tape.begin(1000, &[1, 2, 3]);
        tape.visit(1, 1100);
        tape.visit(2, 1600);
        tape.visit(3, 1700);
        tape.end(1000, 1800);
        let expected = [line("#2.1", 1, [500, 500, 500]), line("#1.1", 2, [100, 200, 200])];
        assert_eq!(tape.delays(), expected);
        let waits = tape.waits();
        let wait = Wait {
            conn: (3, 1),
            began: 1000,
            ended: 1600,
            longest: (Who::Conn(2, 1), 500),
            at_most: false,
        };
        assert_eq!((waits.len(), waits[1]), (2, wait));
    }

    #[test]
    fn after_a_poll_that_did_not_sleep_all_of_the_last_turn_may_have_been_waited_for() {
        let run = |poll: u64| {
            let mut tape = Tape::new();
            tape.begin(1000, &[]);
            tape.visit(9, 5000);
            tape.end(1000, 6000); // its write is its own
            tape.begin(6000 + poll, &[1]);
            tape.visit(1, 6100 + poll);
            tape.visit(9, 9000 + poll);
            tape.end(6000 + poll, 9000 + poll);
            (tape.delays(), tape.waits())
        };
        let (delays, waits) = run(POLL_MAX_NS + TOLD_NS);
        assert_eq!(delays, [line("#9.1", 1, [5000, 5000, 0])]);
        let longest = (Who::Conn(9, 1), 5000);
        let wait = Wait { conn: (1, 1), began: 1000, ended: 16_100, longest, at_most: true };
        assert_eq!(waits, [wait]);
        assert_eq!(run(POLL_MAX_NS + TOLD_NS + 1), (vec![], vec![]));
    }

    /// What came before its own visit was read there; and nobody waits for himself.
    #[test]
    fn nobody_waited_before_his_own_last_visit() {
        let mut tape = Tape::new();
        tape.begin(0, &[]);
        tape.visit(1, 100);
        tape.visit(2, 1100);
        tape.visit(9, 5100);
        tape.end(0, 5100);
        tape.begin(5100, &[9, 2]);
        tape.visit(2, 5200);
        tape.visit(9, 9200);
        tape.end(5100, 9200);
        let expected = [line("#9.1", 1, [4000, 4000, 0]), line("#2.1", 1, [100, 100, 100])];
        assert_eq!(tape.delays(), expected);
        let waits: Vec<_> = tape.waits().iter().map(|w| (w.conn.0, w.began, w.at_most)).collect();
        assert_eq!(waits, [(9, 5100, false), (2, 1100, true)]);
    }

    #[test]
    fn what_took_no_time_makes_no_wait_longer() {
        let mut tape = Tape::new();
        tape.begin(0, &[]);
        tape.visit(1, 100);
        tape.visit(2, 100);
        tape.end(0, 100);
        tape.begin(100, &[1]);
        tape.visit(9, 200);
        tape.visit(1, 300);
        tape.end(100, 300);
        assert_eq!(tape.delays(), [line("#9.1", 1, [100, 100, 100])]);
        assert!(!tape.waits()[0].at_most);
    }

    #[test]
    fn jobs_ticks_and_timers_are_named_and_what_comes_after_the_last_one_is_nobodys_loss() {
        let mut tape = Tape::new();
        tape.begin(1000, &[1]);
        tape.0.took(What::Job, u32::MAX, 0, || ns(1200));
        tape.0.took(What::Job, u32::MAX, 0, || ns(1300));
        tape.0.took(What::Tick, u32::MAX, 0, || ns(1350));
        tape.0.took(What::Timer, 7, 1, || ns(1370));
        tape.visit(1, 1500);
        tape.0.note(What::Close, 8, 1, 0);
        tape.0.took(What::Closed, 8, 1, || ns(1900));
        tape.end(1000, 1900);
        let expected = [
            line("job()", 1, [300, 300, 300]),
            line("tick()", 1, [50, 50, 50]),
            line("#7.1", 1, [20, 20, 20]),
        ];
        assert_eq!(tape.delays(), expected);
        // Who comes next may have waited for the rest, and for the end of a connection.
        tape.begin(1900, &[2]);
        tape.visit(2, 2000);
        tape.end(1900, 2000);
        assert_eq!(tape.delays()[0], line("job()", 2, [300, 600, 300]));
        assert_eq!(tape.delays()[1], line("#8.1", 1, [400, 400, 0]));
    }

    #[test]
    fn who_is_told_of_and_not_served_did_not_wait_for_anybody() {
        let mut tape = Tape::new();
        tape.begin(1000, &[1, 2]);
        tape.visit(1, 2000);
        tape.end(1000, 2000);
        tape.begin(100_000, &[3]);
        tape.visit(3, 100_100);
        tape.visit(2, 100_200);
        tape.end(100_000, 100_200);
        assert_eq!((tape.delays(), tape.waits()), (vec![], vec![]));
    }

    /// After a visit without a callback the loop reads the clock, and nothing is recorded.
    #[test]
    fn what_lies_between_two_records_is_the_earlier_ones() {
        let mut tape = Tape::new();
        tape.begin(1000, &[1, 2, 3]);
        tape.0.note(What::ReadBlocked, 1, 1, 0);
        tape.0.set_now(ns(1700));
        tape.0.note(What::Read, 2, 1, 5);
        tape.0.took(What::Data, 2, 1, || ns(1800));
        tape.0.mark(|| ns(1850)); // after the write, which is still its own
        tape.0.took(What::Eof, 3, 1, || ns(9000));
        tape.end(1000, 9000);
        let expected = [line("#1.1", 2, [700, 1400, 1400]), line("#2.1", 1, [150, 150, 150])];
        assert_eq!(tape.delays(), expected);
    }

    #[test]
    fn of_a_turn_that_is_cut_the_lost_part_is_nobodys() {
        let mut trace = Trace::new(8, &[]);
        for n in 0..9 {
            trace.set_now(ns(n * 1000));
            trace.note(What::Read, n as u32, 1, 0);
        }
        trace.set_now(ns(10_000));
        trace.end_turn(ns(0));
        trace.note(What::Ready, 77, 1, 3);
        trace.took(What::Data, 77, 1, || ns(11_000));
        // The end is missing: it was asked for in the middle of a turn.
        let delays = trace.delays();
        assert_eq!(delays.len(), 5);
        assert_eq!((delays[0].who, delays[0].total), (Who::Conn(8, 1), ns(2000)));
        assert!(delays[1..].iter().all(|delay| delay.total == ns(1000)));
    }

    #[test]
    fn no_record_no_delay_and_a_sum_that_is_too_long_ends_at_the_greatest() {
        assert_eq!(Trace::new(0, &[]).delays(), []);
        assert_eq!(Trace::new(8, &[]).delays(), []);
        let (who, mut delays) = (Who::Job, Delays::default());
        let long = Stretch { who, began: 0, ended: u64::MAX, waits: 0, longest: 0 };
        for _ in 0..3 {
            delays.add(&long, u64::MAX / 8, true);
        }
        assert!(delays.sorted()[0].total >= ns(u64::MAX));
    }

    /// Each of those that wait, with each that it waits for: what nobody would want to wait for.
    fn plainly(turns: &Turns, sums: &mut HashMap<Who, (u64, u64, u64)>) {
        for told in &turns.told {
            let Some(until) = told.until else { continue };
            let before = turns.earlier.iter().skip(told.from).map(|stretch| (stretch, 0));
            let now = turns.stretches[..until].iter().map(|stretch| (stretch, 1));
            for (stretch, sure) in before.chain(now).filter(|(stretch, _)| stretch.took() > 0) {
                assert_ne!(stretch.who, Who::Conn(told.conn.0, told.conn.1), "it is its own");
                let sum = sums.entry(stretch.who).or_default();
                *sum = (sum.0 + 1, sum.1 + stretch.took(), sum.2 + sure * stretch.took());
            }
        }
    }

    #[test]
    fn the_sums_are_those_of_whoever_looks_at_each_pair() {
        let mut dice = 1u64;
        let mut draw = |below: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % below
        };
        for _ in 0..300 {
            let (mut tape, mut now) = (Tape::new(), 0);
            for _ in 0..draw(20) {
                let began = now;
                let told: Vec<u32> = (0..draw(8)).map(|_| draw(8) as u32).collect();
                tape.begin(began, &told);
                for _ in 0..draw(12) {
                    now += draw(3) * 1000;
                    match draw(9) {
                        8 => tape.0.took(What::Job, u32::MAX, 0, || ns(now)),
                        slot => tape.visit(slot as u32, now),
                    }
                }
                tape.end(began, now);
                now += draw(2) * 20_000;
            }
            let (mut turns, mut records) = (Turns::default(), tape.0.iter());
            let mut plain = HashMap::new();
            while turns.read(&mut records) {
                plainly(&turns, &mut plain);
            }
            let mut plain: Vec<_> = plain.into_iter().collect();
            plain.sort_by_key(|&(who, (_, total, _))| (Reverse(total), who));
            let found = tape.0.delays();
            let ns = |time: Duration| time.as_nanos() as u64;
            let sums = found.iter().map(|d| (d.who, (d.others, ns(d.total), ns(d.sure))));
            assert_eq!(sums.collect::<Vec<_>>(), plain);
        }
    }
}
