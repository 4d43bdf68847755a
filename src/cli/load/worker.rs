//! One thread of a load: a protocol like any other, which dials out.
//!
//! Its life: connect, until every link is up or has failed; wait for the other threads; run, of
//! which a part is measured; wait for what is still owed; close. Whatever happens is an event:
//! [`tick`](Protocol::tick) does what has a time, and the replies do the rest.
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, mpsc::Sender},
    time::Duration,
};

use charkh::{ConnId, Hub, Input, Peer, Protocol, Reason, Result};

use super::{
    bands::{self, BANDS},
    board::Board,
    faults::{self, Lost},
    links::{Flight, Links, Tenths},
    reading::Reading,
    reply::{Outcome, Progress, Wrong},
    spec::{Pace, Spec},
    tally::Tally,
};

#[cfg(test)]
mod tests;

/// Links begun or given a request in one turn; the next turn goes on.
const PASS: usize = 1024;

/// How long a link waits that was lost before it had served, so that a dead target is not dialed
/// without pause.
const REDIAL_NS: u64 = 250_000_000;

/// How long replies are awaited when somebody has asked for the end.
const STOP_NS: u64 = 1_000_000_000;

/// How much longer than the timeout there may be no connection at all: for some redials.
const DOWN_NS: u64 = 4 * REDIAL_NS;

/// How often the board is written.
const TELL_NS: u64 = 50_000_000;

/// What is sent to the thread that waits for this one.
pub(crate) enum Word {
    /// Every link is up, or has failed once.
    Settled,
    /// The thread is about to end.
    Ended,
}

/// A simulated world has its own.
pub(crate) type Clock = Box<dyn Fn() -> u64 + Send>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Connecting,
    /// For the other threads.
    Waiting,
    Running,
    /// Nothing new is planned; replies are awaited until then.
    Draining(u64),
    Over,
}

/// What is measured: planned from here, and before there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

pub(crate) struct Worker {
    spec: Arc<Spec>,
    thread: u32,
    /// Nanoseconds since the load began, the same for all threads.
    clock: Clock,
    /// The hub's zero, in that time.
    hub_began: u64,
    pub(crate) links: Links,
    /// Connects under way: which link, and since when.
    dialing: HashMap<ConnId, (u32, u64)>,
    dialing_max: usize,
    /// Links that were dialed at least once: those up to here.
    dialed: u32,
    /// Links to dial again, and when; in the order of time.
    redials: VecDeque<(u64, u32)>,
    /// Links with room for a request, and since when there is one: who waited longest is first.
    free: VecDeque<u32>,
    free_since: u64,
    /// While there is none: until when there was one, or may have been.
    free_until: u64,
    phase: Phase,
    /// When running began.
    start: u64,
    pub(crate) window: Window,
    /// How long replies are awaited at the end.
    patience: u64,
    /// Requests that were planned, and in a limited run those that may still be.
    planned: u64,
    left: u64,
    /// Requests under way, on all links.
    flying: u64,
    settled: usize,
    /// When the last one was.
    pub(crate) settled_at: u64,
    up: u64,
    /// While none is: since when.
    down_since: u64,
    pub(crate) tally: Tally,
    requests: u64,
    latency: [u64; BANDS],
    /// At both ends of what is measured.
    pub(crate) readings: [Option<Reading>; 2],
    board: Arc<Board>,
    told_at: u64,
    words: Sender<Word>,
    /// When the next tick is due.
    due: u64,
}

impl Worker {
    pub(crate) fn new(
        spec: &Arc<Spec>,
        thread: u32,
        clock: Clock,
        board: &Arc<Board>,
        words: Sender<Word>,
    ) -> Self {
        let depth = if spec.pace == Pace::Hold { 0 } else { spec.depth };
        let links = spec.links(thread);
        Self {
            spec: spec.clone(),
            thread,
            clock,
            hub_began: 0,
            links: Links::new(links as usize, depth),
            dialing: HashMap::new(),
            dialing_max: spec.connecting_max.div_ceil(spec.threads) as usize,
            dialed: 0,
            redials: VecDeque::new(),
            free: VecDeque::new(),
            free_since: 0,
            free_until: 0,
            phase: Phase::Connecting,
            start: u64::MAX,
            window: Window { from: u64::MAX, until: u64::MAX },
            patience: nanos(spec.timeout),
            planned: 0,
            left: spec.requests.map_or(u64::MAX, |all| spec.share(all, thread)),
            flying: 0,
            settled: 0,
            settled_at: 0,
            up: 0,
            down_since: 0,
            tally: Tally::default(),
            requests: 0,
            latency: [0; BANDS],
            readings: [None, None],
            board: board.clone(),
            told_at: 0,
            words,
            due: u64::MAX,
        }
    }

    /// The first call: from now on there are ticks.
    pub(crate) fn launch(&mut self, hub: &mut Hub) {
        self.hub_began = self.now().saturating_sub(nanos(hub.now()));
        if self.links.all.is_empty() {
            self.settle_all();
        }
        self.wake_by(hub, self.now());
    }

    /// All threads are ready: this is when.
    pub(crate) fn begin(&mut self, hub: &mut Hub, start: u64) {
        if self.phase != Phase::Waiting {
            return;
        }
        self.phase = Phase::Running;
        self.start = start;
        self.down_since = self.down_since.max(start);
        let from = start + nanos(self.spec.warmup);
        let until = self.spec.duration.map_or(u64::MAX, |long| from.saturating_add(nanos(long)));
        self.window = Window { from, until };
        self.wake_by(hub, start);
    }

    /// End early: what is owed is waited for, a little; asked again, it is not.
    pub(crate) fn stop(&mut self, hub: &mut Hub) {
        let now = self.now();
        match self.phase {
            Phase::Running => {
                self.window.from = self.window.from.min(now);
                self.window.until = self.window.until.min(now);
                self.patience = self.patience.min(STOP_NS);
                self.wake_by(hub, now);
            }
            _ => self.close(hub, now),
        }
    }

    /// Since the load began.
    fn now(&self) -> u64 {
        (self.clock)()
    }

    fn wake_by(&mut self, hub: &mut Hub, at: u64) {
        if at < self.due {
            self.due = at;
            hub.tick_at(Duration::from_nanos(at.saturating_sub(self.hub_began)));
        }
    }

    fn measured(&self, planned: u64) -> bool {
        (self.window.from..self.window.until).contains(&planned)
    }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What has a time.
impl Worker {
    fn turn_phase(&mut self, hub: &mut Hub, now: u64) {
        if self.phase == Phase::Running {
            if now >= self.window.from && self.readings[0].is_none() {
                self.readings[0] = Some(Reading::take(hub));
            }
            let done = self.left == 0 && self.flying == 0;
            if now >= self.window.until || done || self.is_in_vain(now) {
                self.window.until = self.window.until.min(now);
                self.read_to_end(hub);
                self.phase = Phase::Draining(now + self.patience);
            }
        }
        if let Phase::Draining(until) = self.phase
            && (self.flying == 0 && self.next_plan() == u64::MAX || now >= until)
        {
            self.close(hub, now);
        }
    }

    /// Requests are counted, not time, and nobody is there to take them: that could go on for ever.
    fn is_in_vain(&self, now: u64) -> bool {
        let down = if self.up == 0 { now.saturating_sub(self.down_since) } else { 0 };
        self.spec.duration.is_none() && down >= nanos(self.spec.timeout) + DOWN_NS
    }

    fn read_to_end(&mut self, hub: &mut Hub) {
        if self.readings[0].is_some() && self.readings[1].is_none() {
            self.readings[1] = Some(Reading::take(hub));
        }
    }

    /// Nothing more is waited for.
    fn close(&mut self, hub: &mut Hub, now: u64) {
        if self.phase == Phase::Over {
            return;
        }
        self.window.until = self.window.until.min(now);
        self.window.from = self.window.from.min(self.window.until);
        self.read_to_end(hub);
        self.give_up_plans(now);
        self.phase = Phase::Over;
        self.settled_at = if self.settled_at == 0 { now } else { self.settled_at };
        for n in 0..self.links.all.len() as u32 {
            let gap = self.links.owed(n, self.window.until);
            let link = self.links.get(n);
            link.gap = link.gap.max(gap);
            for _ in 0..self.links.flying(n) {
                self.error(now, "unanswered", || "no whole reply when the run ended".into());
            }
            self.drop_flights(n, now, true);
        }
        hub.stop();
    }

    /// Those that were planned and never sent have waited too: left out, they would flatter. If
    /// they are very many, one stands for some that were planned next to it.
    fn give_up_plans(&mut self, now: u64) {
        let left = self.window.until.saturating_sub(self.next_plan());
        let Pace::Open(rate) = self.spec.pace else { return };
        let step = (left as f64 * rate / f64::from(self.spec.threads) / 1e9 / 10_000.0) as u64;
        while self.next_plan() < self.window.until {
            let planned = self.next_plan();
            let mut count = step.max(1);
            if self.spec.requests.is_some() {
                count = count.min(self.left);
                self.left -= count;
            }
            self.planned += count;
            if self.measured(planned) {
                self.tally.unsent += count;
                self.tally.unsent_by_us += if self.free.is_empty() { 0 } else { count };
                self.tally.latency.record_many_ns(now.saturating_sub(planned), count);
            }
        }
    }

    /// When the next request is planned; never, if none is.
    fn next_plan(&self) -> u64 {
        let (Phase::Running | Phase::Draining(_)) = self.phase else { return u64::MAX };
        let at = match self.spec.pace {
            Pace::Hold => u64::MAX,
            _ if self.left == 0 => u64::MAX,
            Pace::Closed if self.phase == Phase::Running => self.start,
            Pace::Closed => u64::MAX,
            Pace::Open(rate) => {
                // Of all threads' plans every `threads`th is ours.
                let nth = self.planned * u64::from(self.spec.threads) + u64::from(self.thread);
                self.start.saturating_add((nth as f64 * 1e9 / rate) as u64)
            }
        };
        if at < self.window.until { at } else { u64::MAX }
    }

    /// What is planned by now, to whoever waited longest.
    fn send_due(&mut self, hub: &mut Hub, now: u64) {
        for _ in 0..PASS {
            let planned = self.next_plan();
            if planned > now {
                return;
            }
            let Some(&n) = self.free.front() else { return };
            let id = self.links.get(n).id.filter(|_| self.links.has_room(n));
            let Some(mut peer) = id.and_then(|id| hub.peer(id)) else {
                self.leave_queue(now);
                continue;
            };
            if matches!(self.spec.pace, Pace::Open(_)) && self.measured(planned) {
                self.tally.lateness.record_ns(self.late(planned, now));
            }
            self.send(&mut peer, n, planned, now);
            self.leave_queue(now);
            self.queue(n, now);
        }
        self.wake_by(hub, now);
    }

    fn leave_queue(&mut self, now: u64) {
        if let Some(n) = self.free.pop_front() {
            self.links.get(n).queued = false;
        }
        if self.free.is_empty() {
            self.free_until = now;
        }
    }

    /// How long a request waited that somebody was free for until then. While nobody is, it waits
    /// for the target; but what we left undone before that is still ours.
    fn late(&self, planned: u64, until: u64) -> u64 {
        until.saturating_sub(planned.max(self.free_since))
    }

    /// It was to wake at `due`. From then on nobody looked who became free, so all that was
    /// planned since may have waited for us; unless what is to be sent next has waited longer.
    fn overslept(&mut self, due: u64, now: u64) {
        let known = self.late(self.next_plan(), self.free_until);
        if self.free.is_empty() && now.saturating_sub(due) > known {
            (self.free_since, self.free_until) = (due, now);
        }
    }

    /// It may have room for one more.
    fn queue(&mut self, n: u32, now: u64) {
        if self.links.has_room(n) && !self.links.get(n).queued {
            // Who leaves and comes back at once was never away.
            if self.free.is_empty() && self.free_until < now {
                self.free_since = now;
            }
            self.links.get(n).queued = true;
            self.free.push_back(n);
        }
    }

    fn send(&mut self, peer: &mut Peer<'_>, n: u32, planned: u64, now: u64) {
        let planned = if self.spec.pace == Pace::Closed { now } else { planned };
        self.planned += 1;
        if self.spec.requests.is_some() && self.measured(planned) {
            self.left -= 1;
        }
        self.links.push(n, Flight { planned, sent: now });
        self.flying += 1;
        let number = self.number(n);
        let link = self.links.get(n);
        let seq = link.seq;
        link.seq = seq.wrapping_add(1);
        if !std::mem::replace(&mut link.armed, true) {
            peer.wake_in(self.spec.timeout);
        }
        let message = self.spec.message.bytes(number, seq);
        self.tally.series.moved(now, 0, message.len() as u64);
        if self.measured(now) {
            self.tally.bytes_out += message.len() as u64;
        }
        peer.send(message);
    }

    /// Begin connects, as many as may be under way.
    fn dial(&mut self, hub: &mut Hub, now: u64) {
        if self.phase == Phase::Over {
            return;
        }
        for _ in 0..PASS {
            if self.dialing.len() >= self.dialing_max {
                return;
            }
            let n = if self.redials.front().is_some_and(|&(at, _)| at <= now) {
                let Some((_, n)) = self.redials.pop_front() else { return };
                n
            } else if self.next_dial() <= now {
                self.dialed += 1;
                self.dialed - 1
            } else {
                return;
            };
            let number = u64::from(self.number(n));
            let target = &self.spec.target;
            let id = match (&self.spec.sources, target.socket_addr()) {
                (Some(sources), Some(target)) => {
                    hub.connect_from(target, sources.get(number % sources.len()))
                }
                _ => hub.connect(target.clone()),
            };
            self.dialing.insert(id, (n, now));
        }
        self.wake_by(hub, now);
    }

    /// When the next link is dialed for the first time; never, if all were.
    fn next_dial(&self) -> u64 {
        if self.dialed as usize >= self.links.all.len() {
            return u64::MAX;
        }
        let nth = u64::from(self.dialed) * u64::from(self.spec.threads) + u64::from(self.thread);
        self.spec.ramp.map_or(0, |rate| (nth as f64 * 1e9 / rate) as u64)
    }

    /// When there is something to do next that no event will tell of.
    fn next_wake(&self) -> u64 {
        let (mut next, dialing) = (self.told_at + TELL_NS, self.dialing.len() < self.dialing_max);
        if dialing {
            let redial = self.redials.front().map_or(u64::MAX, |&(at, _)| at);
            next = next.min(redial).min(self.next_dial());
        }
        if !self.free.is_empty() {
            next = next.min(self.next_plan());
        }
        match self.phase {
            Phase::Running if self.readings[0].is_none() => next.min(self.window.from),
            Phase::Running => next.min(self.window.until),
            Phase::Draining(until) => next.min(until),
            _ => next,
        }
    }

    fn tell(&mut self, now: u64) {
        if now < self.told_at + TELL_NS && self.phase != Phase::Over {
            return;
        }
        self.told_at = now;
        self.board.write(self.thread, |progress| {
            progress.up = self.up;
            progress.opened = self.tally.opened;
            progress.requests = self.requests;
            progress.bytes_in = self.tally.bytes_in;
            progress.errors = self.tally.errors.clone();
            progress.latency = self.latency;
        });
    }
}

/// What replies do.
impl Worker {
    /// A request is answered, whole.
    fn answered(&mut self, peer: &mut Peer<'_>, n: u32, outcome: Outcome, now: u64) {
        let owed = self.links.owed(n, now);
        let Some(flight) = self.links.pop(n) else { return };
        self.flying -= 1;
        let latency = now.saturating_sub(flight.planned);
        let link = self.links.get(n);
        link.answering = false;
        link.closing |= outcome.closes;
        link.announced |= outcome.closes;
        link.useful = true;
        link.last = Tenths::of(now);
        match outcome.refused {
            Some(kind) => self.error(now, kind, || format!("the target answered with {kind}")),
            None => {
                self.requests += 1;
                self.latency[bands::band(latency)] += 1;
                self.tally.series.answered(now, latency);
                // A rate is of what comes in a time, a latency of what was planned in it. Where
                // requests are counted, and not time, they are those that were planned.
                let counted = self.spec.requests.map_or(now, |_| flight.planned);
                self.tally.requests += u64::from(self.measured(counted));
                if self.measured(flight.planned) {
                    let handling = now.saturating_sub(self.hub_began + nanos(peer.now()));
                    self.tally.latency.record_ns(latency);
                    self.tally.service.record_ns(now - flight.sent);
                    self.tally.handling.record_ns(handling);
                    let link = self.links.get(n);
                    link.served += 1;
                    link.gap = link.gap.max(owed);
                }
            }
        }
        self.next(peer, n, now);
    }

    /// This link has room.
    fn next(&mut self, peer: &mut Peer<'_>, n: u32, now: u64) {
        if !self.links.has_room(n) {
            return;
        }
        let mut planned = self.next_plan();
        // In an open loop whoever is queued has waited longer.
        if planned <= now && (self.free.is_empty() || self.spec.pace == Pace::Closed) {
            if matches!(self.spec.pace, Pace::Open(_)) && self.measured(planned) {
                self.tally.lateness.record_ns(self.late(planned, self.free_until));
            }
            self.send(peer, n, planned, now);
            // After a reply there is room for one; on a new connection for more.
            if !self.links.has_room(n) {
                return;
            }
            planned = self.next_plan();
        }
        self.queue(n, now);
        if planned < u64::MAX {
            self.wake_by(peer.hub(), planned);
        } else if self.flying == 0 {
            self.wake_by(peer.hub(), now); // that was the last
        }
    }

    fn error(&mut self, now: u64, kind: &'static str, what: impl FnOnce() -> String) {
        self.tally.errors.note(kind, what);
        self.tally.series.failed(now);
    }

    /// A connection is gone. At the end all are, and that is nobody's fault.
    fn judge(&mut self, now: u64, lost: Lost) {
        match lost {
            _ if self.phase == Phase::Over => {}
            Lost::InGoodOrder => {}
            Lost::Error(kind, what) => self.error(now, kind, || what),
            Lost::Limit(name) => *self.tally.limits.entry(name).or_default() += 1,
        }
    }

    /// It cannot go on with this connection.
    fn give_up(&mut self, peer: &mut Peer<'_>, n: u32, kind: &'static str, what: String) {
        let now = self.now();
        self.error(now, kind, || what);
        self.links.get(n).judged = true;
        peer.abort();
    }

    /// As many replies as there are in `input`.
    fn read(&mut self, peer: &mut Peer<'_>, n: u32, input: &mut Input<'_>, eof: bool) {
        let now = self.now();
        let before = input.len();
        // What a reply here lets us send was not sent when these bytes came.
        let mut owed = self.links.flying(n);
        while owed > 0 && (!input.is_empty() || eof) {
            let mut progress = Ok(Progress::More);
            if !input.is_empty() {
                progress = self.advance(n, input, now);
            }
            if eof && progress == Ok(Progress::More) {
                progress = self.spec.reply.eof(self.links.reply(n), input.take_all());
            }
            match progress {
                Ok(Progress::Whole(outcome)) => {
                    owed -= 1;
                    self.answered(peer, n, outcome, now);
                }
                Ok(Progress::More) => break,
                Err(wrong) => {
                    self.give_up(peer, n, wrong.kind, wrong.what);
                    break;
                }
            }
        }
        if owed == 0 && !input.is_empty() && !self.links.get(n).judged {
            // Whoever only holds connections does not mind a greeting, and at the end nobody does.
            input.take_all();
            if self.spec.pace != Pace::Hold && self.phase != Phase::Over {
                let what = "bytes came that no request had asked for";
                self.give_up(peer, n, "unasked bytes", what.into());
            }
        }
        let size = (before - input.len()) as u64;
        self.tally.series.moved(now, size, 0);
        if self.measured(now) {
            self.tally.bytes_in += size;
        }
    }

    /// One step of the oldest reply.
    fn advance(&mut self, n: u32, input: &mut Input<'_>, now: u64) -> Result<Progress, Wrong> {
        self.first_byte(n, now);
        let (number, flying) = (self.number(n), self.links.flying(n));
        let Self { spec, links, .. } = self;
        let seq = links.get(n).seq.wrapping_sub(flying.into());
        spec.reply.advance(links.reply(n), spec.message.bytes(number, seq), input)
    }

    /// What a link is called among those of all threads.
    fn number(&self, n: u32) -> u32 {
        n * self.spec.threads + self.thread
    }

    fn first_byte(&mut self, n: u32, now: u64) {
        let Some(flight) = self.links.oldest(n) else { return };
        if !std::mem::replace(&mut self.links.get(n).answering, true)
            && self.measured(flight.planned)
        {
            self.tally.first_byte.record_ns(now.saturating_sub(flight.sent));
        }
    }

    /// It came up, or failed: nobody waits for it any more.
    fn settle(&mut self, n: u32) {
        if !std::mem::replace(&mut self.links.get(n).settled, true) {
            self.settled += 1;
            if self.settled == self.links.all.len() {
                self.settle_all();
            }
        }
    }

    fn settle_all(&mut self) {
        self.settled_at = self.now();
        if self.phase == Phase::Connecting {
            self.phase = Phase::Waiting;
            // If nobody waits for it, nobody needs it.
            let _ = self.words.send(Word::Settled);
        }
    }

    fn redial(&mut self, hub: &mut Hub, n: u32, now: u64, after: u64) {
        if self.phase == Phase::Over {
            return;
        }
        let at = now + after;
        // Two waits only, so one step is enough: those at once go to the front.
        match after {
            0 => self.redials.push_front((at, n)),
            _ => self.redials.push_back((at, n)),
        }
        self.wake_by(hub, at);
    }

    /// The latency of those that will never be answered is at least what they have waited.
    fn drop_flights(&mut self, n: u32, now: u64, timed_out: bool) {
        while let Some(flight) = self.links.pop(n) {
            self.flying -= 1;
            if timed_out && self.measured(flight.planned) {
                self.tally.latency.record_ns(now - flight.planned);
            }
        }
    }
}

impl Protocol for Worker {
    /// The number of the link.
    type Session = u32;

    fn open(&mut self, peer: &mut Peer<'_>) -> u32 {
        let now = self.now();
        let Some((n, began)) = self.dialing.remove(&peer.id()) else {
            unreachable!("whoever is up was dialed");
        };
        self.tally.connect.record_ns(now - began);
        self.tally.opened += 1;
        self.up += 1;
        self.tally.up_max = self.tally.up_max.max(self.up);
        self.tally.series.up(now, self.up);
        self.links.refresh(n);
        let link = self.links.get(n);
        link.id = Some(peer.id());
        link.last = Tenths::of(now);
        self.settle(n);
        if self.phase == Phase::Over {
            peer.close();
        } else {
            self.next(peer, n, now);
            self.wake_by(peer.hub(), now); // another may be dialed
        }
        n
    }

    fn data(&mut self, peer: &mut Peer<'_>, n: &mut u32, input: &mut Input<'_>) -> Result {
        self.read(peer, *n, input, false);
        Ok(())
    }

    fn eof(&mut self, peer: &mut Peer<'_>, n: &mut u32, rest: &mut Input<'_>) -> Result {
        self.links.get(*n).closing = true;
        self.read(peer, *n, rest, true);
        peer.close();
        Ok(())
    }

    fn timer(&mut self, peer: &mut Peer<'_>, n: &mut u32) -> Result {
        let (n, now) = (*n, self.now());
        self.links.get(n).armed = false;
        let Some(oldest) = self.links.oldest(n) else { return Ok(()) };
        let left = (oldest.sent + nanos(self.spec.timeout)).saturating_sub(now);
        // The timer's own clock is a little coarser than ours.
        if left > 1_000_000 {
            self.links.get(n).armed = true;
            peer.wake_in(Duration::from_nanos(left));
            return Ok(());
        }
        self.drop_flights(n, now, true);
        let what = format!("no whole reply within {:?}", self.spec.timeout);
        self.give_up(peer, n, "timeout", what);
        Ok(())
    }

    fn stopping(&mut self, peer: &mut Peer<'_>, _: &mut u32) -> Result {
        match self.spec.reset {
            true => peer.abort(),
            false => peer.close(),
        }
        Ok(())
    }

    fn closed(&mut self, hub: &mut Hub, _: ConnId, n: u32, reason: Reason) {
        let now = self.now();
        self.up -= 1;
        self.down_since = now;
        self.tally.series.up(now, self.up);
        let owed = self.links.flying(n) > 0;
        self.drop_flights(n, now, false);
        let link = self.links.get(n);
        let (judged, useful, announced) = (link.judged, link.useful, link.announced);
        link.id = None;
        if !judged {
            self.judge(now, faults::lost(&reason, owed, announced));
        }
        self.redial(hub, n, now, if useful && !owed && !judged { 0 } else { REDIAL_NS });
    }

    fn connect_failed(&mut self, hub: &mut Hub, id: ConnId, reason: Reason) {
        let now = self.now();
        let Some((n, _)) = self.dialing.remove(&id) else { return };
        self.judge(now, faults::not_connected(&reason, self.spec.timeout));
        self.settle(n);
        self.redial(hub, n, now, REDIAL_NS);
        self.wake_by(hub, now); // another may be dialed
    }

    fn tick(&mut self, hub: &mut Hub) {
        let now = self.now();
        self.overslept(self.due, now);
        self.due = u64::MAX;
        self.turn_phase(hub, now);
        self.dial(hub, now);
        self.send_due(hub, now);
        self.tell(now);
        if self.phase != Phase::Over {
            let next = self.next_wake().max(now + 1);
            self.wake_by(hub, next);
        }
    }
}
