//! A test in many worlds; and of a world in which it fails, as little as still fails.
use std::{
    any::Any,
    env, fmt,
    panic::{self, AssertUnwindSafe, Location},
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
};

use super::{
    Sim,
    faults::{Faults, Strike, Struck},
};

/// What many worlds came to.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Tally {
    /// Worlds that ended well.
    pub worlds: u64,
    /// How often their reactors asked what happened: their turns.
    pub looks: u64,
    /// How often each kind of fault struck, in the order of [`Faults::NAMES`].
    pub struck: [u64; Faults::KINDS],
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} worlds, {} turns, and in them struck", self.worlds, self.looks)?;
        for (name, count) in Faults::NAMES.iter().zip(self.struck) {
            writeln!(f, "{count:12} {name}")?;
        }
        Ok(())
    }
}

/// Run `test` in the worlds of the seeds from 0 to `count`, on all processors. It fails by
/// panicking, as tests do. For each world the faults are drawn; `test` may set others before it
/// begins.
///
/// Three variables of the environment say otherwise: `CHARKH_SEEDS` how many worlds there are,
/// `CHARKH_SEED` which is the only one, and `CHARKH_FAULTS` how many faults may strike in it.
///
/// The same test must do the same in the same world: whatever is random in it comes from
/// [`Sim::random`], or from [`Sim::seed`].
///
/// # Panics
/// If `test` does: then it is run again in the same world with fewer faults, until the shortest
/// beginning of them with which it fails is known (or, where worlds are long, a short one), and
/// the text says how to have that once more. See the [module](super).
#[track_caller]
pub fn worlds(count: u64, test: impl Fn(Sim) + Sync) -> Tally {
    let again = Again { place: Location::caller(), test: thread::current().name().map(Into::into) };
    if let Some(seed) = variable("CHARKH_SEED") {
        let max = variable("CHARKH_FAULTS").unwrap_or(u64::MAX);
        return match attempt(&test, seed, max) {
            Ok(tally) => tally,
            Err(failure) => panic!("{}", Verdict { seed, max, of: None, failure, again }),
        };
    }
    assert!(variable("CHARKH_FAULTS").is_none(), "CHARKH_FAULTS goes with CHARKH_SEED");
    let count = variable("CHARKH_SEEDS").unwrap_or(count);
    assert!(count > 0, "no world was asked for");
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let first = Mutex::new(String::new());
    let tally = Mutex::new(Tally::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count.min(failed.load(Ordering::Relaxed)) {
                return;
            }
            match attempt(&test, seed, u64::MAX) {
                Ok(one) => lock(&tally).add(&one),
                Err(failure) => {
                    if failed.fetch_min(seed, Ordering::Relaxed) > seed {
                        *lock(&first) = failure.text;
                    }
                }
            }
        }
    };
    quietly(thread::available_parallelism().map_or(1, usize::from), work);
    match failed.into_inner() {
        u64::MAX => tally.into_inner().unwrap_or_else(PoisonError::into_inner),
        seed => {
            let verdict = Mutex::new(None);
            quietly(1, || *lock(&verdict) = shrink(&test, seed));
            match lock(&verdict).take() {
                Some((max, of, failure)) => {
                    panic!("{}", Verdict { seed, max, of: Some(of), failure, again })
                }
                None => panic!(
                    "world {seed} failed, but not when it was asked again: the test does not do \
                     the same in the same world (a HashMap? the real time? a static?). It said: {}",
                    lock(&first)
                ),
            }
        }
    }
}

/// Turns of one world, and those that may be spent on looking for the very shortest.
const LOOKS_MAX: u64 = 100_000;
const SEARCH_MAX: u64 = 20_000_000;

/// A short beginning of this world's faults with which it fails; of how many; and how.
fn shrink(test: &(impl Fn(Sim) + Sync), seed: u64) -> Option<(u64, u64, Failure)> {
    let all = attempt(test, seed, u64::MAX).err()?;
    let of = all.struck.total;
    // By halves, quickly, to one with which it fails and with one less does not.
    let (mut fails, mut passes) = ((of, all), None);
    while let middle = passes.map_or(0, |max: u64| max + (fails.0 - max) / 2)
        && middle < fails.0
        && passes != Some(middle)
    {
        match attempt(test, seed, middle) {
            Err(failure) => fails = (middle, failure),
            Ok(_) => passes = Some(middle),
        }
    }
    // Then one after the other from none: that it fails with ten says nothing of three.
    let mut looks = 0;
    for max in 0..fails.0 {
        match attempt(test, seed, max) {
            Err(failure) => return Some((max, of, failure)),
            Ok(tally) => looks += tally.looks,
        }
        if looks > SEARCH_MAX {
            break;
        }
    }
    Some((fails.0, of, fails.1))
}

/// One world.
fn attempt(test: &impl Fn(Sim), seed: u64, faults_max: u64) -> Result<Tally, Failure> {
    let report = Report::default();
    let mut sim = Sim::new(seed);
    sim.faults = Faults::drawn(seed);
    sim.struck = Struck { log: Some(Vec::new()), ..Struck::new(faults_max) };
    sim.report = Some(report.clone());
    sim.looks_max = LOOKS_MAX;
    let result = panic::catch_unwind(AssertUnwindSafe(|| test(sim)));
    let (looks, struck) = lock(&report.0).take().unwrap_or((0, Struck::new(0)));
    match result {
        Ok(()) => Ok(Tally { worlds: 1, looks, struck: struck.counts }),
        Err(panic) => {
            let text = heard().unwrap_or_else(|| text_of(&*panic));
            Err(Failure { text, struck: Box::new(struck) })
        }
    }
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.worlds += other.worlds;
        self.looks += other.looks;
        for (sum, count) in self.struck.iter_mut().zip(other.struck) {
            *sum += count;
        }
    }
}

/// Where a world leaves what struck in it: it ends inside the test, maybe in the middle of a panic.
#[derive(Clone, Default, Debug)]
pub(crate) struct Report(Arc<Mutex<Option<(u64, Struck)>>>);

impl Report {
    pub(crate) fn hand_in(self, looks: u64, struck: &Struck) {
        *lock(&self.0) = Some((looks, struck.clone()));
    }
}

struct Failure {
    text: String,
    struck: Box<Struck>,
}

/// The command that repeats a test.
struct Again {
    place: &'static Location<'static>,
    test: Option<String>,
}

/// What there is to say of a world that fails.
struct Verdict {
    seed: u64,
    max: u64,
    /// How many faults there were, before others were taken away.
    of: Option<u64>,
    failure: Failure,
    again: Again,
}

/// More faults, and more of a text, than anybody reads.
const SHOWN_MAX: usize = 40;
const TEXT_MAX: usize = 400;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, max, of, failure, again } = self;
        let Failure { text, struck } = failure;
        writeln!(f, "world {seed} fails: {text}")?;
        match of {
            Some(of) if struck.total == 0 => writeln!(f, "none of its {of} faults is needed")?,
            Some(of) => writeln!(f, "the first {} of its {of} faults are enough:", struck.total)?,
            None => writeln!(f, "faults that struck: {}", struck.total)?,
        }
        let log = struck.log.as_deref().unwrap_or_default();
        let hidden = log.len().saturating_sub(SHOWN_MAX);
        if hidden > 0 {
            writeln!(f, "  ... and {hidden} before these")?;
        }
        log[hidden..].iter().try_for_each(|strike: &Strike| writeln!(f, "  {strike}"))?;
        write!(f, "once more: CHARKH_SEED={seed} ")?;
        if *max < u64::MAX {
            write!(f, "CHARKH_FAULTS={max} ")?;
        }
        write!(f, "{again}")
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cargo test")?;
        // A file below `tests` is part of a target that has the name of the program, but for the
        // hash at its end; what is in `src` needs no name.
        let program = env::current_exe().unwrap_or_default();
        let target = program.file_stem().unwrap_or_default().to_string_lossy();
        let mut parts = self.place.file().split(['/', '\\']);
        if let Some((target, _)) = target.rsplit_once('-').filter(|_| parts.any(|p| p == "tests")) {
            write!(f, " --test {target}")?;
        }
        match self.test.as_deref() {
            Some("main") | None => Ok(()),
            Some(test) => write!(f, " {test}"),
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    match text.replace('_', "").parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name} is {text:?}, which is not a number"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads of this name are expected to panic, over and over: what they say is kept, not printed.
const QUIET: &str = "worlds";

static HEARD: Mutex<Vec<(ThreadId, String)>> = Mutex::new(Vec::new());

fn quietly(threads: usize, work: impl Fn() + Sync) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| match thread::current() {
            here if here.name() == Some(QUIET) => {
                let text = info.to_string().replace('\n', " ");
                lock(&HEARD).push((here.id(), text.chars().take(TEXT_MAX).collect()));
            }
            _ => loud(info),
        }));
    });
    thread::scope(|scope| {
        for _ in 0..threads {
            let spawned = thread::Builder::new().name(QUIET.into()).spawn_scoped(scope, &work);
            if spawned.is_err() {
                work(); // no thread to be had: then here, and aloud
            }
        }
    });
}

/// What this thread said when it panicked.
fn heard() -> Option<String> {
    let here = thread::current().id();
    let mut heard = lock(&HEARD);
    let mut first = None;
    heard.retain(|(thread, text)| {
        let mine = *thread == here;
        if mine && first.is_none() {
            first = Some(text.clone());
        }
        !mine
    });
    first
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").into()
}
