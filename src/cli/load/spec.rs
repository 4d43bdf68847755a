//! What a load is to be, once every option has been understood.
use std::time::Duration;

use charkh::Addr;

use super::{message::Message, reply::Reply, sources::Sources};

#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) target: Addr,
    pub(crate) sources: Option<Sources>,
    pub(crate) connections: u32,
    pub(crate) threads: u32,
    /// Connects begun in a second; `None`: as fast as they are accepted.
    pub(crate) ramp: Option<f64>,
    /// Connects under way at once, of all threads.
    pub(crate) connecting_max: u32,
    pub(crate) pace: Pace,
    /// Messages under way on one connection.
    pub(crate) depth: u16,
    pub(crate) warmup: Duration,
    /// How long to measure; `None`: until so many requests are done, or somebody stops it.
    pub(crate) duration: Option<Duration>,
    pub(crate) requests: Option<u64>,
    /// How long a connect and how long a reply may take.
    pub(crate) timeout: Duration,
    pub(crate) message: Message,
    pub(crate) reply: Reply,
    /// Connections end with a reset, and leave nothing behind.
    pub(crate) reset: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Pace {
    /// Connections are held, and nothing is sent.
    Hold,
    /// Each reply is followed by the next request.
    Closed,
    /// So many requests a second, each at its time, whatever the target does.
    Open(f64),
}

impl Spec {
    /// Which connections are this thread's: the first, and how many.
    pub(crate) fn links(&self, thread: u32) -> u32 {
        let (all, threads) = (self.connections, self.threads);
        all / threads + u32::from(thread < all % threads)
    }

    /// The part of `all` requests that is this thread's.
    pub(crate) fn share(&self, all: u64, thread: u32) -> u64 {
        let threads = u64::from(self.threads);
        all / threads + u64::from(u64::from(thread) < all % threads)
    }
}
