//! The door for other threads: a function, to be run on the loop's own.
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
};

use crate::{hub::Hub, net::Wake};

type Job<P> = Box<dyn FnOnce(&mut P, &mut Hub) + Send>;

/// A way into a running reactor from any thread. Clone it freely.
///
/// ```
/// # use charkh::{Hub, Input, Peer, Protocol, Reactor, Result};
/// # struct Echo;
/// # impl Protocol for Echo {
/// #     type Session = ();
/// #     fn open(&mut self, _: &mut Peer) {}
/// #     fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
/// #         peer.send(input.take_all());
/// #         Ok(())
/// #     }
/// # }
/// let reactor = Reactor::new(Echo)?;
/// let handle = reactor.handle();
/// let stopper = std::thread::spawn(move || handle.stop());
/// reactor.run()?; // until the other thread stops it
/// # stopper.join().unwrap().unwrap();
/// # std::io::Result::Ok(())
/// ```
pub struct Handle<P> {
    jobs: Sender<Job<P>>,
    wake: Wake,
    woken: Arc<AtomicBool>,
}

/// The reactor's end of it.
pub(crate) struct Jobs<P> {
    queue: Receiver<Job<P>>,
    woken: Arc<AtomicBool>,
    /// The last look was cut short: there may be more.
    more: bool,
}

/// The reactor is gone, and the job with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reactor has stopped")
    }
}

impl std::error::Error for Stopped {}

pub(crate) fn channel<P>(wake: Wake) -> (Handle<P>, Jobs<P>) {
    let (jobs, queue) = mpsc::channel();
    let woken = Arc::new(AtomicBool::new(false));
    (Handle { jobs, wake, woken: woken.clone() }, Jobs { queue, woken, more: false })
}

impl<P> Handle<P> {
    /// Run `job` on the reactor's thread, in its next turn. Jobs of one thread run in the order
    /// in which they were given, at most [`Config::jobs_max`](crate::Config::jobs_max) a turn.
    /// The queue has no limit of its own: it is your threads that fill it.
    ///
    /// # Errors
    /// [`Stopped`], if the reactor is gone. A reactor that goes before the job's turn comes drops
    /// the job.
    pub fn run(&self, job: impl FnOnce(&mut P, &mut Hub) + Send + 'static) -> Result<(), Stopped> {
        self.jobs.send(Box::new(job)).map_err(|_| Stopped)?;
        // Push, then wake. One wake-up serves all who push before the loop looks.
        if !self.woken.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
        Ok(())
    }

    /// [`Hub::stop`], from here.
    ///
    /// # Errors
    /// [`Stopped`], if the reactor is gone. While it is stopping, asking again ends it at once.
    pub fn stop(&self) -> Result<(), Stopped> {
        self.run(|_, hub| hub.stop())
    }
}

impl<P> Clone for Handle<P> {
    fn clone(&self) -> Self {
        let Self { jobs, wake, woken } = self;
        Self { jobs: jobs.clone(), wake: wake.clone(), woken: woken.clone() }
    }
}

impl<P> fmt::Debug for Handle<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl<P> Jobs<P> {
    /// A new look at the queue. Clear, then drain: whoever pushes from here on wakes again.
    pub(crate) fn begin(&mut self) {
        // A swap, not a store: what was pushed before it by others is seen by what follows.
        self.woken.swap(false, Ordering::AcqRel);
        self.more = false;
    }

    pub(crate) fn next(&mut self) -> Option<Job<P>> {
        self.queue.try_recv().ok()
    }

    /// The look ended before the queue did.
    pub(crate) fn cut_short(&mut self) {
        self.more = true;
    }

    pub(crate) fn has_more(&self) -> bool {
        self.more
    }
}
