//! Outbound connections that come back: when to try again, and whoever does.
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use fastrand::Rng;

use crate::{
    Fault, Result,
    addr::Addr,
    hub::{ConnId, Hub},
    layer::Layer,
    peer::Peer,
};

/// How long to wait before the next try: each time longer, up to a limit, and never quite as long
/// as anybody else. A state without a clock: the same seed gives the same delays, so there is no
/// `Clone`, whose twins would try in step.
///
/// ```
/// use std::time::Duration;
/// use charkh::Backoff;
///
/// let mut backoff = Backoff::new(7);
/// (backoff.first, backoff.max) = (Duration::from_millis(200), Duration::from_secs(1));
/// for most in [200, 400, 800, 1000, 1000] {
///     let (delay, most) = (backoff.next_delay(), Duration::from_millis(most));
///     assert!(most / 2 <= delay && delay <= most);
/// }
/// ```
#[derive(Debug)]
pub struct Backoff {
    /// The longest that the first delay can be; a millisecond at least. Default 200 ms.
    pub first: Duration,
    /// The longest that any can be. Default 30 s.
    pub max: Duration,
    /// How many times as long as the one before each is, but for chance; at least 1. Default 2.
    pub factor: u32,
    /// A connection that came up, and ended this long after it was begun, was a good one: the next
    /// delay is a first one. Default 10 s.
    pub settled: Duration,
    /// The longest that the next can be; `None`: as the first.
    next: Option<Duration>,
    random: Rng,
}

impl Backoff {
    /// With the defaults. Those who must not try in step have different seeds; in a simulated
    /// world that is `Sim::random`, in the real one [`Backoff::default`] finds one.
    pub fn new(seed: u64) -> Self {
        Self {
            first: Duration::from_millis(200),
            max: Duration::from_secs(30),
            factor: 2,
            settled: Duration::from_secs(10),
            next: None,
            random: Rng::with_seed(seed),
        }
    }

    /// How long to wait before the next try. One half of it is certain, the other is chance: who
    /// lost the same server in the same instant is spread out from the first try on.
    pub fn next_delay(&mut self) -> Duration {
        let least = Duration::from_millis(1); // or the wheel would turn without pause
        let most = self.next.unwrap_or(self.first).min(self.max).max(least);
        self.next = Some(most.saturating_mul(self.factor.max(1)));
        let half = most / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(self.random.u64(0..=nanos))
    }

    /// A connection had come up, and lasted for this long. If it had
    /// [`settled`](Backoff::settled), what came before it no longer counts.
    pub fn was_up(&mut self, lasted: Duration) {
        if lasted >= self.settled {
            self.next = None;
        }
    }
}

/// With a seed that no other has: for the real world.
impl Default for Backoff {
    fn default() -> Self {
        // What protects std's maps from strangers is random enough for this.
        Self::new(RandomState::new().hash_one(()))
    }
}

type LayerMaker = Box<dyn FnMut() -> Result<Box<dyn Layer>> + Send>;

/// Keeps a connection to one place: when it is lost, or does not come up, the next is on its way,
/// after a [`Backoff`]. It has no timer of its own ([`Hub::connect_in`] has), so a protocol may
/// have thousands.
///
/// A protocol tells it of two things, and may forget about them: it knows its own connections by
/// their names. Each try is a connection of its own, with a new name.
///
/// ```no_run
/// use charkh::{Backoff, ConnId, Hub, Input, Keeper, Peer, Protocol, Reactor, Reason, Result};
///
/// /// Counts what a feed says, however often it goes away.
/// struct Count { feed: Keeper, bytes: usize }
///
/// impl Protocol for Count {
///     type Session = ();
///
///     fn open(&mut self, peer: &mut Peer) {
///         peer.send(b"subscribe\n"); // each time anew
///     }
///
///     fn data(&mut self, _: &mut Peer, _: &mut (), input: &mut Input) -> Result {
///         self.bytes += input.take_all().len();
///         Ok(())
///     }
///
///     fn closed(&mut self, hub: &mut Hub, id: ConnId, _: (), _: Reason) {
///         self.feed.closed(hub, id);
///     }
///
///     fn connect_failed(&mut self, hub: &mut Hub, id: ConnId, _: Reason) {
///         self.feed.connect_failed(hub, id);
///     }
/// }
///
/// let feed = Keeper::new(([192, 0, 2, 7], 4000), Backoff::default());
/// let reactor = Reactor::new(Count { feed, bytes: 0 })?;
/// reactor.handle().run(|count, hub| count.feed.connect(hub))?; // in the first turn
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Keeper {
    /// Where it connects the next time.
    pub addr: Addr,
    /// How long it waits until then.
    pub backoff: Backoff,
    layer: Option<LayerMaker>,
    id: ConnId,
    /// When that one began, or will.
    began: Duration,
    keeps: bool,
}

impl Keeper {
    /// It does nothing before [`connect`](Keeper::connect).
    pub fn new(addr: impl Into<Addr>, backoff: Backoff) -> Self {
        let (addr, id, began) = (addr.into(), ConnId::NOBODY, Duration::ZERO);
        Self { addr, backoff, layer: None, id, began, keeps: false }
    }

    /// The same, with a [`Layer`] between the wire and the protocol, made anew for each try. If
    /// that is an error, the try fails with it as its [`Reason`](crate::Reason). A handshake that
    /// fails is a try that did.
    pub fn through(
        addr: impl Into<Addr>,
        backoff: Backoff,
        layer: impl FnMut() -> Result<Box<dyn Layer>> + Send + 'static,
    ) -> Self {
        Self { layer: Some(Box::new(layer)), ..Self::new(addr, backoff) }
    }

    /// Connect now, and keep it so. If there is a connection, on its way or up, it stays.
    pub fn connect(&mut self, hub: &mut Hub) {
        self.keeps = true;
        // Of one that has just ended we are still to be told, and connect again then.
        if !hub.is_taken(self.id) {
            self.dial(hub, Duration::ZERO);
        }
    }

    /// Keep it no more: it is closed ([`Peer::close`]). One that is not up is given up, unless
    /// something was sent, which is delivered first.
    pub fn leave(&mut self, hub: &mut Hub) {
        self.keeps = false;
        if let Some(mut peer) = hub.peer(self.id) {
            peer.close();
        }
    }

    /// To be told by [`Protocol::closed`](crate::Protocol::closed). Says after which time the next
    /// is begun; `None` if that was not its connection, or if there is no next, because it was
    /// [left](Keeper::leave) or the reactor is stopping.
    pub fn closed(&mut self, hub: &mut Hub, id: ConnId) -> Option<Duration> {
        if id == self.id {
            self.backoff.was_up(hub.now().saturating_sub(self.began));
        }
        self.connect_failed(hub, id)
    }

    /// To be told by [`Protocol::connect_failed`](crate::Protocol::connect_failed). As
    /// [`closed`](Keeper::closed).
    pub fn connect_failed(&mut self, hub: &mut Hub, id: ConnId) -> Option<Duration> {
        if id != self.id || !self.keeps || hub.is_stopping() {
            return None;
        }
        let delay = self.backoff.next_delay();
        self.dial(hub, delay);
        Some(delay)
    }

    /// The name of its connection, which may be on its way: what it is sent then leaves when it is
    /// up, and is lost with it if it never is.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Its connection, if it is up.
    pub fn peer<'a>(&self, hub: &'a mut Hub) -> Option<Peer<'a>> {
        hub.peer(self.id).filter(|peer| peer.is_up())
    }

    fn dial(&mut self, hub: &mut Hub, delay: Duration) {
        self.began = hub.now() + delay;
        self.id = hub.connect_in(self.addr.clone(), delay);
        if let Some(make) = &mut self.layer {
            let layer = make().unwrap_or_else(|fault| Box::new(Unmade(Some(fault))));
            hub.put_layer(self.id.slot, layer);
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, backoff, id, keeps, .. } = self;
        f.debug_struct("Keeper")
            .field("addr", addr)
            .field("backoff", backoff)
            .field("id", id)
            .field("keeps", keeps)
            .finish_non_exhaustive()
    }
}

/// In the place of a layer that could not be made: the try takes its time, and fails.
struct Unmade(Option<Fault>);

impl Layer for Unmade {
    fn start(&mut self, _: &mut Vec<u8>) -> Result {
        Err(self.0.take().unwrap_or_else(|| "there is no layer".into()))
    }

    fn receive(&mut self, _: &mut [u8], _: &mut Vec<u8>, _: &mut Vec<u8>) -> Result {
        Ok(())
    }

    fn is_ready(&self) -> bool {
        false
    }

    fn send(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result {
        Ok(())
    }
}
