//! One run: its threads, from the first connect to the last word.
use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use charkh::{Config, Handle, Reactor, net::Os};

use crate::cli::units::reason;

use super::{
    board::{Board, Progress},
    results::{Connections, Fairness, Results, Series, Slice, Testimony, Trust, VERSION, Verdict},
    spec::{Pace, Spec},
    tally::Tally,
    testimony::{self, Facts, Processors},
    worker::{Word, Worker, nanos},
};

/// Somebody who looks on, and may end it.
pub(crate) trait Watch {
    /// Called often. How many times somebody has asked for the end so far.
    fn look(&mut self, now: Moment<'_>) -> usize;
}

/// How far a run has come.
pub(crate) struct Moment<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) elapsed: Duration,
    /// Since measuring or warming up began; none while connections are made.
    pub(crate) running: Option<Duration>,
    pub(crate) board: &'a Board,
}

impl Moment<'_> {
    pub(crate) fn progress(&self) -> Progress {
        self.board.sum()
    }
}

/// How often somebody who looks on is called.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// All threads begin this much after the last of them was ready.
const HEAD_START: Duration = Duration::from_millis(2);

pub(crate) fn run(
    spec: Spec,
    target: &str,
    commands: Vec<String>,
    watch: &mut dyn Watch,
) -> Result<Results, String> {
    let began_unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
    let began = Instant::now();
    let board = Arc::new(Board::new(spec.threads));
    let before = Processors::read();
    let (words, heard) = mpsc::channel();
    let threads = (0..spec.threads)
        .map(|n| Thread::start(&spec, n, began, &board, words.clone()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|e| format!("cannot start: {}", reason(&e)))?;

    let (mut settled, mut asked, mut started) = (0, 0, None);
    while !threads.iter().all(|thread| thread.ends.is_finished()) {
        match heard.recv_timeout(LOOK_EVERY) {
            Ok(Word::Settled) => settled += 1,
            Ok(Word::Ended) | Err(_) => {}
        }
        if settled == threads.len() && started.is_none() {
            let start = began.elapsed() + HEAD_START;
            started = Some(start);
            for thread in &threads {
                // One that has ended has its reasons, and tells them below.
                let _ = thread.handle.run(move |w, hub| w.begin(hub, nanos(start)));
            }
        }
        let elapsed = began.elapsed();
        let running = started.and_then(|start| elapsed.checked_sub(start));
        let wishes = watch.look(Moment { spec: &spec, elapsed, running, board: &board });
        while asked < wishes {
            asked += 1;
            for thread in &threads {
                let _ = thread.handle.run(|worker, hub| worker.stop(hub));
            }
        }
    }
    let steal = before.and_then(|then| Processors::read()?.steal_since(&then));
    let workers = threads.into_iter().map(Thread::join).collect::<Result<Vec<_>, String>>()?;
    let mut results = gather(&spec, &workers);
    results.target = target.into();
    results.commands = commands;
    results.began_unix = began_unix;
    results.testimony.steal = steal;
    let unsent_by_us = workers.iter().map(|worker| worker.tally.unsent_by_us).sum();
    let facts = Facts::of(&results, spec.pace != Pace::Hold, unsent_by_us);
    results.verdict = testimony::verdict(&facts);
    Ok(results)
}

struct Thread {
    handle: Handle<Worker>,
    ends: JoinHandle<io::Result<Worker>>,
}

impl Thread {
    fn start(
        spec: &Spec,
        n: u32,
        began: Instant,
        board: &Arc<Board>,
        words: Sender<Word>,
    ) -> io::Result<Self> {
        // A copy for each: what is shared is fought for.
        let clock = Arc::new(move || nanos(began.elapsed()));
        let worker = Worker::new(&Arc::new(spec.clone()), n, clock, board, words.clone());
        let (config, fine) = (config(spec), matches!(spec.pace, Pace::Open(_)));
        let (handles, handle) = mpsc::sync_channel(1);
        let work = move || {
            let mut net = Os::new()?;
            net.sleep_finely(fine);
            let reactor = Reactor::with(worker, net, config)?;
            let _ = handles.send(reactor.handle());
            let _ = reactor.handle().run(|worker, hub| worker.launch(hub));
            reactor.run()
        };
        let ends = thread::Builder::new().name(format!("charkh-load-{n}")).spawn(move || {
            let result = work();
            let _ = words.send(Word::Ended);
            result
        })?;
        match handle.recv() {
            Ok(handle) => Ok(Self { handle, ends }),
            // It has failed before it had one.
            Err(_) => Err(match ends.join() {
                Ok(Err(e)) => e,
                _ => io::Error::other("a thread of the load has panicked"),
            }),
        }
    }

    fn join(self) -> Result<Worker, String> {
        match self.ends.join() {
            Ok(Ok(worker)) => Ok(worker),
            Ok(Err(e)) => Err(format!("the loop cannot go on: {}", reason(&e))),
            Err(_) => Err("a thread of the load has panicked: that is a defect of charkh".into()),
        }
    }
}

/// Nothing but the options of the load limits it.
fn config(spec: &Spec) -> Config {
    Config {
        conns_max: (1 << 30) - 1,
        connects_max: 256,
        output_max: usize::MAX >> 1,
        output_high: usize::MAX >> 1,
        output_low: 0,
        memory_max: usize::MAX >> 1,
        connect: Some(spec.timeout),
        handshake: Some(spec.timeout),
        // Here handshakes are the load.
        handshakes_max: 256,
        write_stall: None,
        linger: Duration::from_millis(300),
        grace: Duration::from_secs(1),
        ..Config::default()
    }
}

/// What all threads have counted. What only the whole program knows is left blank.
fn gather(spec: &Spec, workers: &[Worker]) -> Results {
    let mut sum = Tally::default();
    workers.iter().for_each(|worker| sum.add(&worker.tally));
    let Tally { latency, service, first_byte, connect, handshake, .. } = sum;
    let Tally { lateness, handling, .. } = sum;
    let limits = sum.limits.into_iter().map(|(name, count)| (name.into(), count)).collect();
    let errors = sum.errors.0;
    let seconds = |ns: u64| ns as f64 / 1e9;
    let from = workers.iter().map(|w| w.window.from).min().unwrap_or(0);
    let until = workers.iter().map(|w| w.window.until).max().unwrap_or(0);
    let settled = workers.iter().map(|w| w.settled_at).max().unwrap_or(0);
    Results {
        version: VERSION,
        program: concat!("charkh ", env!("CARGO_PKG_VERSION")).into(),
        commands: Vec::new(),
        target: String::new(),
        began_unix: 0.0,
        generators: 1,
        threads: spec.threads,
        measured_from_s: seconds(from),
        measured_s: seconds(until.saturating_sub(from)),
        planned_rate: match spec.pace {
            Pace::Open(rate) => Some(rate),
            Pace::Hold | Pace::Closed => None,
        },
        connections: Connections {
            asked: spec.connections.into(),
            up_max: sum.up_max,
            opened: sum.opened,
            connecting_s: seconds(settled),
        },
        requests: sum.requests,
        bytes_in: sum.bytes_in,
        bytes_out: sum.bytes_out,
        unsent: sum.unsent,
        latency,
        service,
        first_byte,
        connect,
        handshake,
        tls: sum.secured,
        errors: errors.iter().map(|(&kind, (count, _))| (kind.into(), *count)).collect(),
        examples: errors.into_iter().map(|(kind, (_, first))| (kind.into(), first)).collect(),
        series: series(workers),
        fairness: fairness(workers),
        testimony: Testimony { lateness, handling, limits, ..spent(workers) },
        verdict: Verdict { trust: Trust::Valid, reasons: Vec::new() },
        search: None,
    }
}

fn series(workers: &[Worker]) -> Series {
    let all = workers.iter().map(|worker| Series {
        slice_ms: worker.tally.series.slice_ms,
        slices: worker.tally.series.slices(),
    });
    all.reduce(Series::and).unwrap_or_default()
}

fn fairness(workers: &[Worker]) -> Fairness {
    let mut all = Fairness::default();
    let threads = workers.len();
    for (thread, worker) in workers.iter().enumerate() {
        for (n, link) in worker.links.all.iter().enumerate() {
            let served = u64::from(link.served);
            all.connections += 1;
            all.sum += served;
            all.sum_of_squares += served as f64 * served as f64;
            all.longest_gap_ms = all.longest_gap_ms.max(link.gap.ms());
            if all.connections == 1 || served < all.most_starved_requests {
                all.most_starved_requests = served;
                all.most_starved = (n * threads + thread) as u64;
            }
        }
    }
    all.judge();
    all
}

/// What the threads had of the processors while measuring.
fn spent(workers: &[Worker]) -> Testimony {
    let mut all = Testimony { waited_s: Some(0.0), ..Testimony::default() };
    for worker in workers {
        let [Some(first), Some(last)] = &worker.readings else { continue };
        let spent = last.clock.since(&first.clock);
        let cpu = spent.cpu_s.unwrap_or(0.0);
        all.cpu_s += cpu;
        all.wall_s += spent.wall_s;
        all.waited_s = all.waited_s.zip(spent.waited_s).map(|(sum, one)| sum + one);
        all.busiest = all.busiest.max(cpu / spent.wall_s.max(1e-9));
        all.longest_turn_ms = all.longest_turn_ms.max(last.longest_turn_ms);
        let p99 = last.turns.since(&first.turns).quantile(0.99);
        all.turn_p99_ms = all.turn_p99_ms.max(p99.as_secs_f64() * 1e3);
    }
    all
}

impl Fairness {
    /// The index, from the sums.
    pub(crate) fn judge(&mut self) {
        let (n, sum) = (self.connections as f64, self.sum as f64);
        self.jain = if self.sum == 0 { 1.0 } else { sum * sum / (n * self.sum_of_squares) };
    }
}

impl Series {
    /// Both, slice by slice, in the wider slices of the two.
    pub(crate) fn and(self, other: Self) -> Self {
        let slice_ms = self.slice_ms.max(other.slice_ms);
        let (mut one, other) = (self.widened(slice_ms), other.widened(slice_ms));
        let len = one.slices.len().max(other.slices.len());
        one.slices.resize(len, Slice::default());
        for (sum, slice) in one.slices.iter_mut().zip(&other.slices) {
            sum.add(slice);
            sum.up += slice.up;
        }
        one
    }

    fn widened(self, slice_ms: u64) -> Self {
        let factor = slice_ms.checked_div(self.slice_ms).unwrap_or(1).max(1) as usize;
        let join = |slices: &[Slice]| {
            let mut sum = Slice::default();
            for slice in slices {
                sum.add(slice);
                sum.up = slice.up;
            }
            sum
        };
        Self { slice_ms, slices: self.slices.chunks(factor).map(join).collect() }
    }
}

impl Slice {
    /// All but who is up: that is added where they are others, and replaced where it is later.
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.errors += other.errors;
        for (&band, count) in &other.latency {
            *self.latency.entry(band).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_different_widths_are_added_in_the_wider() {
        let slice = |requests, up| Slice { requests, up, ..Slice::default() };
        let one = Series { slice_ms: 100, slices: [1, 2, 3].map(|n| slice(n, n)).into() };
        let two = Series { slice_ms: 200, slices: vec![slice(10, 5)] };
        let both = one.and(two);
        let requests: Vec<u64> = both.slices.iter().map(|slice| slice.requests).collect();
        let up: Vec<u64> = both.slices.iter().map(|slice| slice.up).collect();
        assert_eq!((both.slice_ms, requests, up), (200, vec![13, 3], vec![7, 3]));
    }

    #[test]
    fn jain_s_index_is_one_for_all_alike_and_a_share_for_one_that_has_all() {
        let index = |served: &[u64]| {
            let mut fairness = Fairness {
                connections: served.len() as u64,
                sum: served.iter().sum(),
                sum_of_squares: served.iter().map(|&x| (x * x) as f64).sum(),
                ..Fairness::default()
            };
            fairness.judge();
            fairness.jain
        };
        assert_eq!((index(&[3, 3, 3, 3]), index(&[8, 0, 0, 0]), index(&[])), (1.0, 0.25, 1.0));
        assert!(index(&[1, 2]) < 1.0);
    }
}
