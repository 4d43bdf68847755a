//! What the wheel has promised its server, asked after every turn: that what is due comes in time,
//! and that whoever may go on is told so.
use std::time::Duration;

use charkh::{
    Config, Stats,
    net::{Faults, Net, Sim},
    trace::What,
};

use super::{World, account::Account, server::Server};

/// How things stood before a turn.
pub struct Before {
    pub stats: Stats,
    clock: Duration,
    /// Of the turn before.
    turn: Duration,
    jumps: u64,
    first_due: Option<Duration>,
    jobs: [u64; 2],
    recorded: u64,
}

const MS: Duration = Duration::from_millis(1);

impl Before {
    pub fn of(reactor: &mut World) -> Self {
        let server = reactor.protocol();
        let (first_due, jobs) = (server.first_due(), server.jobs());
        Self {
            stats: reactor.hub().stats(),
            clock: reactor.net().now(),
            turn: reactor.hub().now(),
            jumps: jumps(reactor.net()),
            first_due,
            jobs,
            recorded: recorded(reactor),
        }
    }
}

fn jumps(net: &Sim) -> u64 {
    let kind = Faults::NAMES.iter().position(|&name| name == "clock jump");
    net.struck()[kind.expect("such a fault")]
}

fn recorded(reactor: &mut World) -> u64 {
    let trace = reactor.hub().trace();
    trace.lost() + trace.len() as u64
}

pub fn ask(reactor: &mut World, before: &Before) {
    nobody_oversleeps(reactor, before);
    jobs_are_run(reactor, before);
    connects_are_few(reactor, before);
    the_dead_keep_no_more_than_there_is(reactor);
    let config = reactor.hub().config().clone();
    let stats = reactor.hub().stats();
    let cut_short = stats.timer_budget > before.stats.timer_budget;
    // Not everyone in the queue had a turn.
    let short = stats.share_budget > before.stats.share_budget;
    let (now, stopping) = (reactor.hub().now(), reactor.hub().is_stopping());
    // In the same millisecond it is not looked at again.
    let counts = !short && (cut_short || now >= before.turn + MS);
    let server = reactor.protocol();
    assert!(server.tick_by.is_none_or(|by| by > now), "no tick, and it was due");
    let known: Vec<_> = server.known().collect();
    let clock = reactor.net().now();
    for (addr, id) in known {
        let Some(peer) = reactor.hub().peer(id) else { continue };
        let (full, unsent) = (peer.is_full(), peer.unsent());
        let account = reactor.protocol().accounts.get_mut(&addr).expect("it is known");
        let served = !short && now > account.closed_at;
        if account.closing && !account.layered && unsent == 0 && served {
            // It was served after it was closed, and has sent its end.
            account.linger_by.get_or_insert(clock + config.linger);
        }
        account.is_on_time(&config, now, counts);
        account.is_told_of_room(full, unsent, config.output_low);
        account.is_offered_again(full, short);
        if stopping {
            account.is_told_to_stop(unsent, now);
        }
    }
}

/// The sleep ends when something is due. Only a fault moves the clock on from there.
fn nobody_oversleeps(reactor: &mut World, before: &Before) {
    let (now, jumped) = (reactor.hub().now(), jumps(reactor.net()) > before.jumps);
    if let Some(due) = before.first_due.filter(|_| !jumped) {
        // A stamp that would be zero is a millisecond off, and so is who was looked at in vain.
        let latest = due.max(before.clock) + MS;
        assert!(now <= latest, "asleep until {now:?}, and something was due at {due:?}");
    }
}

/// In the next turn, as many as one may run; the wake-up of a sleeper may be late, a turn is not.
fn jobs_are_run(reactor: &mut World, before: &Before) {
    let jobs_max = u64::from(reactor.hub().config().jobs_max);
    let [sent, run] = before.jobs;
    let [_, now_run] = reactor.protocol().jobs();
    assert!(now_run >= sent.min(run + jobs_max), "jobs wait, and could have been run");
}

fn connects_are_few(reactor: &mut World, before: &Before) {
    let fresh = (recorded(reactor) - before.recorded) as usize;
    let connects_max = reactor.hub().config().connects_max as usize;
    let trace = reactor.hub().trace();
    let fresh = trace.iter().skip(trace.len().saturating_sub(fresh));
    let begun = fresh.filter(|record| record.what() == What::Connect).count();
    assert!(begun <= connects_max, "connects_max");
}

/// What those keep that ended before this turn, or in it but not in the `closed` of another, fits
/// beside what the living hold, or they would be closed.
fn the_dead_keep_no_more_than_there_is(reactor: &mut World) {
    let mut dead = reactor.protocol().sessions();
    dead.retain(|&id, _| reactor.hub().peer(id).is_none());
    let before = std::mem::replace(&mut reactor.protocol().dead, dead.clone());
    let kept: usize = dead.iter().filter(|(id, _)| before.contains_key(id)).map(|(_, n)| n).sum();
    let (stats, most) = (reactor.hub().stats(), reactor.hub().config().memory_max);
    let all = stats.memory + stats.layer_memory + stats.spare_memory + kept;
    assert!(kept == 0 || all <= most, "the dead keep {kept} bytes, of {all} in all");
}

impl Server {
    /// The first time after which something is late.
    fn first_due(&self) -> Option<Duration> {
        let accounts = self.known().map(|(addr, _)| &self.accounts[&addr]);
        accounts.filter_map(|account| account.first_due()).chain(self.tick_by).min()
    }
}

impl Account {
    /// A turn that had the time lets nothing pass that is due. What it may: as many as a turn's
    /// slice of timers leaves behind, each of which may fall through every wheel; and a deadline
    /// that what the kernel told may yet keep is judged after the next look, its own or that of any
    /// whose timer comes before its.
    fn is_on_time(&mut self, config: &Config, now: Duration, counts: bool) {
        const WHEELS: u32 = 7;
        const LOOKS: u32 = 8;
        let due = self.first_due().filter(|&due| due <= now);
        self.late = if due.is_some() { self.late + u32::from(counts) } else { 0 };
        let all = config.conns_max as u32 + 2;
        let most = LOOKS + (WHEELS + LOOKS) * all / config.timers_max;
        assert!(self.late <= most, "{} was due at {due:?}, and it is {now:?}", self.id);
    }

    /// `drained` is called in the turn in which output falls to the low watermark.
    fn is_told_of_room(&mut self, full: bool, unsent: usize, low: usize) {
        assert!(!full || unsent > low, "{} is full with {unsent} unsent", self.id);
        let deaf = self.closing || self.finishing;
        assert!(deaf || !self.full || full, "{} has room, and was not told", self.id);
    }

    /// Within two turns from when it may be offered something; those that were too short for all do
    /// not count.
    fn is_offered_again(&mut self, full: bool, short: bool) {
        let blocked = self.paused || full && !self.both_ways;
        if self.left == 0 || self.closing || self.whole.is_some() {
            self.owed = None;
        }
        if let Some(turns) = &mut self.owed {
            *turns = if blocked { 0 } else { *turns + u32::from(!short) };
            assert!(*turns <= 2, "{} could take what is left, and is not asked", self.id);
        }
    }

    /// Whoever is idle is told that all stops, as soon as the kernel has been asked once more; what
    /// is in the way of that (interrupted calls, no memory) passes.
    fn is_told_to_stop(&mut self, unsent: usize, now: Duration) {
        let busy = self.paused || self.closing || self.left > 0 || unsent > 0;
        // Before its handshake a layer holds back the last words too; and whoever has said nothing
        // may have come just now.
        let spared = self.layered && self.finishing || self.heard.is_none();
        if busy || self.told || !self.was_there || spared {
            self.quiet = None;
            return;
        }
        let (turns, since) = self.quiet.get_or_insert((0, now));
        *turns += 1;
        let soon = *turns <= 20 || now < *since + 100 * MS;
        assert!(soon, "{} is idle, and was not told to stop", self.id);
    }
}
