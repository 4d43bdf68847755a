//! The table of connections, as callbacks see it. Everything that a callback can do is an edit of
//! this table; the reactor alone makes the kernel agree with it.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use slab::Slab;

use crate::{
    Fault, Peer, Result,
    addr::{Addr, UnixAddr},
    buf::{Buf, Held, Pool},
    config::Config,
    conn::{
        Conn, DELAY_MAX, Ours, Patience, Reason, Stamp, State, ms_between, stamp, stamp_now,
        whole_ms,
    },
    hot::Hot,
    layer::{Layer, Layered},
    outbox::{Outbox, Replies, UdpId},
    stats::Stats,
    timers::Timers,
    trace::{Trace, What},
    weights::Weights,
};

/// Names one connection. A slot of the table is reused, a name is not, until four thousand million
/// connections later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConnId {
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

impl ConnId {
    /// Names nothing, now and for ever.
    pub(crate) const NOBODY: Self = Self { slot: u32::MAX, serial: 0 };
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.slot, self.serial)
    }
}

/// Names one listener of a reactor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ListenerId(pub(crate) u16);

/// All connections of a reactor, in the hands of a callback.
pub struct Hub {
    pub(crate) conns: Slab<Conn>,
    /// Slots of those that wait to be begun and found no room when they were asked for.
    placeless: BTreeSet<u32>,
    /// Connections with work, oldest first.
    pub(crate) queue: VecDeque<ConnId>,
    /// Those of them who had much in their last visit: a whole budget, or many bytes. They are
    /// served after the others.
    pub(crate) heavy: VecDeque<ConnId>,
    /// Those of them whose layer is not ready. Each is in one of the three queues, once.
    pub(crate) shaking: VecDeque<ConnId>,
    /// Connections that are over, to be released at the end of the turn, or of one of the next.
    pub(crate) ended: VecDeque<Ended>,
    /// Bytes that their sessions say they keep: not free before these are released.
    hoarded: usize,
    /// Why layers gave up on strangers, by the slots of those to whom that was said.
    faults: BTreeMap<u32, Fault>,
    /// Connections that callbacks asked for.
    pub(crate) dials: VecDeque<Dial>,
    /// Datagrams that callbacks have sent; empty at the end of each turn.
    pub(crate) outbox: Outbox,
    pub(crate) replies: Replies,
    pub(crate) timers: Timers,
    pub(crate) pool: Pool,
    pub(crate) weights: Weights,
    /// Bytes that all layers take themselves.
    pub(crate) layers: usize,
    pub(crate) hot: Hot,
    pub(crate) stats: Stats,
    pub(crate) trace: Trace,
    pub(crate) config: Config,
    pub(crate) stopping: Stopping,
    /// When `Protocol::tick` is wanted.
    pub(crate) tick_at: Option<Duration>,
    /// The longest turn since somebody asked.
    pub(crate) longest_turn: Duration,
    patience: Patience,
    now: Duration,
    /// The last time that was read in this turn: deadlines count from it, or a callback that took
    /// its time would make those that are armed after it come early.
    clock: Duration,
    /// The same, as connections keep it.
    stamp: Stamp,
    serial: u32,
    /// What the layer of the connection that is being served has made of its output, for the length
    /// of one write: one buffer for all, as `hot` is.
    sealed: Vec<u8>,
    /// Addresses that do not fit into a connection's entry.
    long_addrs: Slab<Addr>,
    per_ip: HashMap<IpAddr, u32>,
}

/// A connection that is over, and still in its slot.
pub(crate) struct Ended {
    pub(crate) slot: u32,
    pub(crate) reason: Reason,
    /// Bytes that its session says it keeps.
    keeps: usize,
}

/// A connection that a callback asked for.
pub(crate) struct Dial {
    pub(crate) id: ConnId,
    pub(crate) addr: Addr,
    /// The local address to come from; `None`: the kernel's choice.
    pub(crate) source: Option<IpAddr>,
}

/// Payloads up to this many bytes are copied rather than shared.
const SHARED_MIN: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stopping {
    No,
    /// Asked for, not begun.
    Asked,
    /// Answers are leaving. Of the slots up to `end`, those up to `swept` were looked at; at
    /// `again_ms` all are, because some had only just come.
    Draining {
        until_ms: u64,
        again_ms: u64,
        swept: u32,
        end: u32,
    },
    /// Asked for a second time.
    AtOnce,
    /// Everybody was shown out.
    Over,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { conns, queue, heavy, shaking, stopping, now, .. } = self;
        f.debug_struct("Hub")
            .field("connections", &conns.len())
            .field("queued", &(queue.len() + heavy.len() + shaking.len()))
            .field("stopping", stopping)
            .field("now", now)
            .finish_non_exhaustive()
    }
}

impl Hub {
    pub(crate) fn new(config: Config, now: Duration) -> Self {
        Self {
            conns: Slab::new(),
            placeless: BTreeSet::new(),
            queue: VecDeque::new(),
            heavy: VecDeque::new(),
            shaking: VecDeque::new(),
            ended: VecDeque::new(),
            hoarded: 0,
            faults: BTreeMap::new(),
            dials: VecDeque::new(),
            outbox: Outbox::default(),
            replies: Replies::default(),
            timers: Timers::new(),
            pool: Pool::default(),
            weights: Weights::default(),
            layers: 0,
            hot: Hot::default(),
            stats: Stats::default(),
            trace: Trace::new(config.trace, &Reason::NAMES),
            patience: config.patience(),
            config,
            stopping: Stopping::No,
            tick_at: None,
            longest_turn: Duration::ZERO,
            now,
            clock: now,
            stamp: stamp(now.as_millis() as u64 + 1),
            serial: 0,
            sealed: Vec::new(),
            long_addrs: Slab::new(),
            per_ip: HashMap::new(),
        }
    }

    /// The connection of that name, if it is still here.
    ///
    /// ```
    /// # use charkh::{ConnId, Hub};
    /// fn poke(hub: &mut Hub, friend: ConnId) {
    ///     if let Some(mut peer) = hub.peer(friend) {
    ///         peer.send(b"psst\n");
    ///     }
    /// }
    /// ```
    pub fn peer(&mut self, id: ConnId) -> Option<Peer<'_>> {
        let conn = self.conns.get(id.slot as usize)?;
        (conn.serial == id.serial && conn.is_known()).then(|| Peer::new(self, id))
    }

    /// It is in the table, or still in it.
    pub(crate) fn is_taken(&self, id: ConnId) -> bool {
        self.conns.get(id.slot as usize).is_some_and(|conn| conn.serial == id.serial)
    }

    /// Call `each` for every connection that is up: a broadcast. Costs O(connections).
    ///
    /// ```
    /// # use charkh::Hub;
    /// fn tell_all(hub: &mut Hub, text: &str) {
    ///     let payload: std::sync::Arc<[u8]> = text.as_bytes().into();
    ///     hub.each(|mut peer| {
    ///         peer.send_shared(&payload); // one payload, copied for nobody
    ///     });
    /// }
    /// ```
    pub fn each(&mut self, mut each: impl FnMut(Peer<'_>)) {
        // Slots, not an iterator: a callback may end connections, or ask for one, as it goes.
        for slot in 0..self.end_of_slots() {
            if let Some(conn) = self.conns.get(slot as usize)
                && conn.state == State::Up
            {
                let id = ConnId { slot, serial: conn.serial };
                each(Peer::new(self, id));
            }
        }
    }

    /// Open a connection. [`Protocol::open`](crate::Protocol::open) or
    /// [`Protocol::connect_failed`](crate::Protocol::connect_failed) will tell, exactly once.
    /// What is sent before that leaves when the connection is up. Beyond
    /// [`Config::conns_max`] it fails with [`Reason::OutOfRoom`].
    ///
    /// Whoever tries again when it failed waits in between, with [`connect_in`](Hub::connect_in)
    /// or a [`Keeper`](crate::Keeper), or turns the wheel without pause. After a second
    /// [`stop`](Hub::stop) nothing is begun any more, and no callback follows: the name that is
    /// returned is nobody's.
    pub fn connect(&mut self, addr: impl Into<Addr>) -> ConnId {
        self.dial(addr.into(), None)
    }

    /// [`connect`](Hub::connect), but begin only after this time: rounded up to the next
    /// millisecond, never early, in 24 days at most. Until then it is a connection like one on its
    /// way: it has a name and a place in [`Config::conns_max`], what it is sent is kept, and
    /// [`Peer::close`](Peer::close) gives it up unless something was sent. Where there is no place
    /// for it, there must be one when it begins, or it fails with [`Reason::OutOfRoom`] then.
    /// [`Config::connect`] and [`Config::lifetime`] count from when it begins.
    ///
    /// A stop does not wait for it: it ends with [`Reason::Stopped`]. Once there was one, nothing
    /// is begun any more, and no callback follows: the name that is returned is nobody's.
    pub fn connect_in(&mut self, addr: impl Into<Addr>, after: Duration) -> ConnId {
        if self.is_stopping() {
            return ConnId::NOBODY;
        }
        let id = self.insert(State::Waiting, Conn::OUTBOUND, &addr.into());
        let after = after.min(DELAY_MAX);
        let at = self.ms_after(after).unwrap_or(u64::MAX);
        let life = self.config.lifetime.map(|life| life.saturating_add(after));
        let deadline = life.and_then(|life| self.ms_after(life)).map(stamp);
        let conn = &mut self.conns[id.slot as usize];
        (conn.active, conn.deadline) = (stamp(at), deadline);
        if self.len() > self.config.conns_max {
            self.placeless.insert(id.slot);
        }
        self.rearm(id.slot);
        id
    }

    /// [`connect`](Hub::connect), from this local address: each has its own range of ports, so
    /// that who has many can have more connections to one place. One that is not this machine's,
    /// or of another family than `addr`, fails with [`Reason::Broken`] and the system's error.
    pub fn connect_from(&mut self, addr: SocketAddr, source: IpAddr) -> ConnId {
        self.dial(addr.into(), Some(source))
    }

    fn dial(&mut self, addr: Addr, source: Option<IpAddr>) -> ConnId {
        if matches!(self.stopping, Stopping::AtOnce | Stopping::Over) {
            return ConnId::NOBODY;
        }
        let id = self.insert(State::Dialing, Conn::OUTBOUND, &addr);
        if self.len() > self.config.conns_max {
            self.end(id.slot, Reason::OutOfRoom);
        } else {
            self.dials.push_back(Dial { id, addr, source });
        }
        id
    }

    /// [`connect`](Hub::connect), with a [`Layer`] between the wire and the protocol.
    pub fn connect_through(&mut self, addr: impl Into<Addr>, layer: Box<dyn Layer>) -> ConnId {
        let id = self.connect(addr);
        self.put_layer(id.slot, layer);
        id
    }

    /// [`connect_through`](Hub::connect_through) and [`connect_from`](Hub::connect_from) in one.
    pub fn connect_from_through(
        &mut self,
        addr: SocketAddr,
        source: IpAddr,
        layer: Box<dyn Layer>,
    ) -> ConnId {
        let id = self.connect_from(addr, source);
        self.put_layer(id.slot, layer);
        id
    }

    /// On one that is not up yet, and has none.
    pub(crate) fn put_layer(&mut self, slot: u32, layer: Box<dyn Layer>) {
        let size = layer.size();
        if let Some(conn) = self.conns.get_mut(slot as usize) {
            if conn.state == State::Ended {
                return; // there was no room for it
            }
            conn.layer = Some(Box::new(Layered { layer, until: None, size }));
            self.layers += size;
            self.fit();
        }
    }

    /// Whether there is memory for a layer more. They may take half of what all may: nobody can be
    /// ended for what each of them takes alike, and those who hold something need the rest.
    pub(crate) fn has_memory_for(&self, layer: &dyn Layer) -> bool {
        self.layers + layer.size() <= self.config.memory_max / 2
    }

    /// What a layer takes itself is another now: it has given way to the next, or is over.
    pub(crate) fn weigh_layer(&mut self, layered: &mut Layered, size: usize) {
        self.layers = self.layers - layered.size + size;
        layered.size = size;
    }

    /// Send a datagram from this socket, in this turn; from any callback, to whom you please. For
    /// an answer [`Datagram::reply`](crate::Datagram::reply) is safer.
    ///
    /// `false` if the socket is closed or another reactor's, or if what callbacks have sent, and
    /// has not left yet, is [`Config::datagrams_out_max`] or [`Config::datagrams_out_bytes`].
    /// `true` promises nothing: what the kernel does not take at once is thrown away
    /// ([`Stats::datagrams_unsent`]), and so may the network do.
    pub fn send_datagram(&mut self, socket: UdpId, to: SocketAddr, bytes: &[u8]) -> bool {
        let Self { outbox, config, stats, .. } = self;
        if socket.0 >= outbox.sockets {
            return false;
        }
        let has_room = outbox.len() < config.datagrams_out_max as usize
            && outbox.size().saturating_add(bytes.len()) <= config.datagrams_out_bytes;
        match has_room {
            true => outbox.push(socket, to, bytes),
            false => stats.datagrams_out_full += 1,
        }
        has_room
    }

    /// Call [`Protocol::tick`](crate::Protocol::tick) after this time, unless asked again before:
    /// a timer of the whole server. Rounded up to the next millisecond; never early. Longer than
    /// 24 days is never.
    pub fn tick_in(&mut self, after: Duration) {
        self.tick_at = self.ms_after(after).map(Duration::from_millis);
    }

    /// The same, at an exact time on the clock of [`now`](Hub::now): not rounded, never early. A
    /// time that has come is the next turn's, never this one's. More than 24 days away is never.
    ///
    /// How exactly [`net::Os`](crate::net::Os) sleeps is the kernel's: to the millisecond, or, with
    /// the feature `fine-sleep`, as `sleep_finely` says.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use charkh::Hub;
    /// # struct Metronome { next: Duration }
    /// # impl Metronome {
    /// fn tick(&mut self, hub: &mut Hub) {
    ///     // Counted from the last time, not from now: what is late does not add up.
    ///     self.next += Duration::from_micros(250);
    ///     hub.tick_at(self.next);
    /// }
    /// # }
    /// ```
    pub fn tick_at(&mut self, at: Duration) {
        let soonest = self.now + Duration::from_nanos(1);
        let is_near = at.saturating_sub(self.now) <= DELAY_MAX;
        self.tick_at = is_near.then(|| at.max(soonest));
    }

    /// Stop in good order: accept what the kernel has queued already and no more, let answers
    /// leave, close what is idle ([`Protocol::stopping`](crate::Protocol::stopping)), wait for the
    /// rest at most [`Config::grace`], then end. Whoever came less than half a second ago and has
    /// said nothing is not idle yet: its request may be on its way. Asked a second time, end at
    /// once.
    pub fn stop(&mut self) {
        self.stopping = match self.stopping {
            Stopping::No => Stopping::Asked,
            _ => Stopping::AtOnce,
        };
    }

    /// The longest turn since this was last called, its sleep not counted.
    pub fn take_longest_turn(&mut self) -> Duration {
        std::mem::take(&mut self.longest_turn)
    }

    /// [`stop`](Hub::stop) was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping != Stopping::No
    }

    /// The names of all connections that were opened or asked for, and are not over. Costs
    /// O(connections).
    pub fn ids(&self) -> impl Iterator<Item = ConnId> + '_ {
        let known = self.conns.iter().filter(|(_, conn)| conn.is_known());
        known.map(|(slot, conn)| ConnId { slot: slot as u32, serial: conn.serial })
    }

    /// How many connections there are, those on their way up and down included, and those whose
    /// layer is not ready; but not those that are over and still to be closed, nor those that wait
    /// ([`connect_in`](Hub::connect_in)) without a place.
    pub fn len(&self) -> usize {
        self.places() - self.ended.len()
    }

    /// The same with those that are over, whose descriptors are still open.
    pub(crate) fn places(&self) -> usize {
        self.conns.len() - self.placeless.len()
    }

    /// There is none at all, not even one of those.
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// The time of this turn, the same for every callback in it: monotonic, since the reactor's
    /// world began.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        let Self { stats, weights, layers, pool, timers, .. } = self;
        Stats {
            memory: weights.total(),
            layer_memory: *layers,
            spare_memory: pool.spare(),
            armed: timers.len(),
            ..stats.clone()
        }
    }

    /// What the loop did last, as far as [`Config::trace`] lets it remember.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The limits that this reactor was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// Time.
impl Hub {
    pub(crate) fn set_now(&mut self, now: Duration) {
        self.now = now;
        self.set_clock(now);
    }

    #[inline]
    pub(crate) fn set_clock(&mut self, clock: Duration) {
        self.clock = clock;
        self.stamp = stamp(clock.as_millis() as u64 + 1);
        self.trace.set_now(clock);
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now.as_millis() as u64
    }

    /// The millisecond that begins at, or first after, this much later, and is never now
    /// itself: what a timer arms is not due before the next turn. `None`: never.
    pub(crate) fn ms_after(&self, after: Duration) -> Option<u64> {
        whole_ms(after)?;
        let at = self.clock + after;
        let part = !at.subsec_nanos().is_multiple_of(1_000_000);
        let at = at.as_millis() as u64 + u64::from(part);
        Some(at.max(self.now_ms() + 1))
    }

    /// A time of something that happens now.
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What is due now.
    pub(crate) fn due(&self, slot: u32) -> Option<crate::conn::Due> {
        self.conns[slot as usize].due(&self.patience, stamp_now(self.now_ms()))
    }

    /// See to it that a timer looks at this connection no later than its first deadline. One that
    /// is armed for earlier is left alone: it will find nothing due and be armed again, so that
    /// moving a deadline further away costs nothing here.
    #[inline]
    pub(crate) fn rearm(&mut self, slot: u32) {
        if !self.conns[slot as usize].is_in_no_hurry(&self.patience) {
            self.rearm_for_the_first(slot);
        }
    }

    fn rearm_for_the_first(&mut self, slot: u32) {
        let Some(due) = self.conns[slot as usize].next_due(&self.patience) else { return };
        let now = self.now_ms();
        let at = now.saturating_add_signed(ms_between(stamp_now(now), due).into());
        if self.timers.armed_at(slot).is_none_or(|armed| at < armed) {
            self.timers.arm(slot, at);
        }
    }
}

/// The recorder.
impl Hub {
    #[inline]
    pub(crate) fn note(&mut self, what: What, slot: u32, value: usize) {
        if self.trace.is_on() {
            let serial = self.conns[slot as usize].serial;
            self.trace.note(what, slot, serial, value as u64);
        }
    }

    #[inline]
    pub(crate) fn was_written(&mut self, slot: u32, result: &io::Result<usize>) {
        if self.trace.is_on() {
            let serial = self.conns[slot as usize].serial;
            self.trace.was_written(slot, serial, result);
        }
    }

    /// A callback that began with a mark has returned.
    #[inline]
    pub(crate) fn took(&mut self, what: What, id: ConnId, clock: impl FnOnce() -> Duration) {
        self.trace.took(what, id.slot, id.serial, clock);
    }
}

/// The life of a connection.
impl Hub {
    pub(crate) fn insert(&mut self, state: State, listener: u16, addr: &Addr) -> ConnId {
        // Zero is what an event says that could not carry a serial.
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        let mut conn = Conn::new(self.serial, state, listener, self.stamp());
        let is_unix = matches!(addr, Addr::Unix(_));
        keep_addr(&mut conn, addr, is_unix, &mut self.long_addrs);
        conn.deadline = self.config.lifetime.and_then(|after| self.ms_after(after)).map(stamp);
        let slot = self.conns.insert(conn) as u32;
        if state == State::Dialing {
            self.rearm(slot);
        }
        ConnId { slot, serial: self.serial }
    }

    /// One more than the last slot that is taken.
    pub(crate) fn end_of_slots(&self) -> u32 {
        self.conns.iter().next_back().map_or(0, |(last, _)| last as u32 + 1)
    }

    /// It has waited for as long as was asked. Whoever found no place then must find one now: had
    /// it been told at once, it would not have waited between its tries.
    pub(crate) fn begin_dial(&mut self, slot: u32) {
        if self.placeless.contains(&slot) {
            if self.len() >= self.config.conns_max {
                return self.end(slot, Reason::OutOfRoom);
            }
            self.placeless.remove(&slot);
        }
        let (id, addr, now) = (self.id(slot), self.addr(slot), self.stamp());
        let conn = &mut self.conns[slot as usize];
        (conn.state, conn.active) = (State::Dialing, now);
        self.dials.push_back(Dial { id, addr, source: None });
    }

    #[inline]
    pub(crate) fn id(&self, slot: u32) -> ConnId {
        ConnId { slot, serial: self.conns[slot as usize].serial }
    }

    pub(crate) fn addr(&self, slot: u32) -> Addr {
        match self.conns[slot as usize].addr() {
            Ok(addr) => Addr::Ip(addr),
            Err(Conn::UNNAMED) => Addr::Unix(UnixAddr::Unnamed),
            Err(key) => self.long_addrs[key as usize].clone(),
        }
    }

    /// Called after anything that may have given a connection work: the only way into the queue.
    #[inline]
    pub(crate) fn touch(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if conn.has_work() && !conn.queued() {
            conn.set_queued(true);
            let queue = match conn.state {
                State::Handshake => &mut self.shaking,
                _ if conn.is_heavy() => &mut self.heavy,
                _ => &mut self.queue,
            };
            queue.push_back(ConnId { slot, serial: conn.serial });
        }
    }

    /// Its visit is over. If it is not done, it waits for the next.
    #[inline]
    pub(crate) fn end_visit(&mut self, slot: u32) {
        self.conns[slot as usize].set_queued(false);
        self.touch(slot);
    }

    /// The connection is over. Its memory is free at once; its slot, at the end of a turn.
    pub(crate) fn end(&mut self, slot: u32, reason: Reason) {
        let conn = &mut self.conns[slot as usize];
        if conn.state == State::Ended {
            return;
        }
        let fault = self.faults.remove(&slot);
        if conn.state == State::Handshake && conn.layer.is_some() && fault.is_none() {
            self.stats.handshakes_failed += 1;
        }
        conn.state = State::Ended;
        if let Some(layered) = conn.layer.take() {
            self.layers -= layered.size;
        }
        let keeps = conn.session_holds();
        if let Some(mut held) = conn.held.take() {
            held.input.clear(&mut self.pool);
            self.give_back(slot, held);
        }
        let reason = fault.map_or(reason, Reason::Fault);
        self.stats.ended[reason.index()] += 1;
        self.hoarded += keeps;
        self.ended.push_back(Ended { slot, reason, keeps });
        self.placeless.remove(&slot);
        self.uncount(slot);
    }

    /// With what the sessions of those that have ended keep, it is more than there may be.
    pub(crate) fn is_short(&self) -> bool {
        let used = self.used() + self.pool.spare();
        self.hoarded > 0 && used + self.hoarded > self.config.memory_max
    }

    /// A layer gave up on a stranger and has said why, and our end was sent: wait for theirs, as
    /// after a close. The fault stays the reason.
    pub(crate) fn linger_with(&mut self, slot: u32, fault: Fault) {
        self.stats.handshakes_failed += 1;
        let conn = &mut self.conns[slot as usize];
        conn.set_deaf(true);
        conn.ours = Ours::Finished;
        if let Some(held) = conn.held.take() {
            self.give_back(slot, held);
        }
        self.faults.insert(slot, fault);
        self.linger(slot);
    }

    /// Our end was sent and nothing more is heard: wait for theirs, but not for ever.
    pub(crate) fn linger(&mut self, slot: u32) {
        let until = self.ms_after(self.config.linger).map(stamp);
        let conn = &mut self.conns[slot as usize];
        (conn.deadline, conn.bytes) = (until, 0);
        self.rearm(slot);
    }

    /// The end of a slot's connection, which was this one's. Nothing names it any more.
    pub(crate) fn remove(&mut self, Ended { slot, keeps, .. }: &Ended) -> Addr {
        let slot = *slot;
        self.timers.cancel(slot);
        self.hoarded -= keeps;
        let conn = self.conns.remove(slot as usize);
        debug_assert!(conn.held.is_none() && conn.layer.is_none());
        forget_addr(&conn, &mut self.long_addrs)
    }

    /// The peer's address is this one from now on. `false` if there are enough from there.
    pub(crate) fn learn_origin(&mut self, slot: u32, addr: Addr) -> bool {
        self.uncount(slot);
        let has_room = addr.ip().is_none_or(|ip| !self.has_enough_from(ip));
        let conn = &mut self.conns[slot as usize];
        forget_addr(conn, &mut self.long_addrs);
        keep_addr(conn, &addr, conn.is_unix(), &mut self.long_addrs);
        if has_room {
            self.count(slot);
        }
        has_room
    }

    /// One more from there would be more than may be.
    pub(crate) fn has_enough_from(&self, ip: IpAddr) -> bool {
        let max = self.config.conns_per_ip;
        max.is_some_and(|max| self.per_ip.get(&network(ip)).is_some_and(|&count| count >= max))
    }

    /// Count this connection for its address, if it has one.
    pub(crate) fn count(&mut self, slot: u32) {
        if self.config.conns_per_ip.is_some()
            && let Some(ip) = self.addr(slot).ip()
        {
            *self.per_ip.entry(network(ip)).or_default() += 1;
            self.conns[slot as usize].set_counted(true);
        }
    }

    fn uncount(&mut self, slot: u32) {
        if !self.conns[slot as usize].counted() {
            return;
        }
        let network = self.addr(slot).ip().map(network);
        self.conns[slot as usize].set_counted(false);
        if let Some(network) = network
            && let Some(count) = self.per_ip.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                self.per_ip.remove(&network);
            }
        }
    }

    /// The laws, after every turn. Only tables small enough to be a test's are walked.
    pub(crate) fn check(&self) {
        assert!(self.outbox.is_empty(), "a datagram waits for the next turn");
        const SMALL: usize = 256;
        if self.conns.len() > SMALL {
            return;
        }
        let (mut weight, mut layers, mut long, mut counted, mut queued) = (0, 0, 0, 0, 0);
        for (slot, conn) in &self.conns {
            assert!(!conn.has_work() || conn.queued(), "connection {slot} has work and no turn");
            let armed = self.timers.armed_at(slot as u32);
            if let Some(due) = conn.next_due(&self.patience) {
                let now = self.now_ms();
                let left = ms_between(stamp_now(now), due).max(1);
                let at = now.saturating_add_signed(left.into());
                // A stamp that would be zero is a millisecond off.
                let kept = conn.queued() || armed.is_some_and(|armed| armed <= at + 1);
                assert!(kept, "connection {slot} has a deadline at {at}, and a timer at {armed:?}");
            }
            long += usize::from(conn.addr().is_err_and(|key| key != Conn::UNNAMED));
            counted += u32::from(conn.counted());
            queued += usize::from(conn.queued());
            layers += conn.layer.as_ref().map_or(0, |layered| layered.size);
            let held = conn.held.as_ref();
            assert!(held.is_none_or(|held| !held.is_empty()), "connection {slot} hoards");
            weight += held.map_or(0, |held| held.capacity());
        }
        let queues = self.queue.iter().chain(&self.heavy).chain(&self.shaking);
        let names = queues.filter(|id| self.is_taken(**id)).count();
        assert_eq!(queued, names, "each is in one queue, once");
        assert_eq!((weight, layers), (self.weights.total(), self.layers));
        assert_eq!(long, self.long_addrs.len(), "addresses of nobody");
        assert_eq!(counted, self.per_ip.values().sum::<u32>(), "counts of nobody");
        assert!(self.hot.slot.is_none() && self.hot.is_empty(), "a reply has no owner");
        assert!(self.sealed.is_empty(), "what was sealed has no owner");
        let born = self.stats.accepted + self.stats.connected + self.stats.connect_failed;
        assert!(self.stats.released <= born, "more ends than beginnings");
    }
}

/// An address that does not fit into the connection's entry is kept apart. That of a unix socket
/// is never kept in the entry, so that there it can be seen what the wire is.
fn keep_addr(conn: &mut Conn, addr: &Addr, is_unix: bool, long: &mut Slab<Addr>) {
    match addr {
        Addr::Ip(SocketAddr::V4(addr)) if !is_unix => conn.set_v4(*addr.ip(), addr.port()),
        Addr::Unix(UnixAddr::Unnamed) => conn.set_long(Conn::UNNAMED, is_unix),
        addr => conn.set_long(long.insert(addr.clone()) as u32, is_unix),
    }
}

fn forget_addr(conn: &Conn, long: &mut Slab<Addr>) -> Addr {
    match conn.addr() {
        Ok(addr) => Addr::Ip(addr),
        Err(Conn::UNNAMED) => Addr::Unix(UnixAddr::Unnamed),
        Err(key) => long.remove(key as usize),
    }
}

/// Whom a limit per address counts together: a network of 64 bits is one customer's.
pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::from(u64::MAX)).into()),
        ip => ip,
    }
}

/// Bytes on their way in and out, and the memory they are in.
impl Hub {
    /// Bytes of `slot` that have not left.
    #[inline]
    pub(crate) fn unsent(&self, slot: u32) -> usize {
        let hot = if self.is_hot(slot) { self.hot.len() } else { 0 };
        self.conns[slot as usize].unsent() + hot
    }

    #[inline]
    fn is_hot(&self, slot: u32) -> bool {
        self.hot.slot == Some(slot)
    }

    /// Output was above the high watermark, and has fallen to the low one.
    #[inline]
    pub(crate) fn has_room_again(&self, slot: u32) -> bool {
        let conn = &self.conns[slot as usize];
        let full = conn.state == State::Up && conn.full();
        full && self.unsent(slot) <= self.config.output_low
    }

    /// Room for `more` bytes of output. Going above the hard limit ends the connection; going
    /// above the watermark pauses reading from it.
    pub(crate) fn admit(&mut self, slot: u32, more: usize) -> bool {
        let conn = &self.conns[slot as usize];
        if conn.state == State::Ended || conn.ours != Ours::Open {
            return false;
        }
        self.limit_output(slot, self.unsent(slot).saturating_add(more))
    }

    /// The hard limit and the watermark, for this much unsent. `false` if it was too much.
    #[inline]
    pub(crate) fn limit_output(&mut self, slot: u32, unsent: usize) -> bool {
        unsent <= self.config.output_high || self.admit_above_watermark(slot, unsent)
    }

    fn admit_above_watermark(&mut self, slot: u32, unsent: usize) -> bool {
        if unsent > self.config.output_max {
            self.end(slot, Reason::OutputOverflow);
            return false;
        }
        let conn = &mut self.conns[slot as usize];
        if !conn.full() {
            conn.set_full(true);
            self.stats.output_full += 1;
        }
        true
    }

    /// Output that was admitted. `false` if it was what was too much for all together.
    pub(crate) fn push_output(&mut self, slot: u32, bytes: &[u8]) -> bool {
        if self.is_hot(slot) && !self.conns[slot as usize].has_unsent() {
            self.hot.push(bytes);
            return true;
        }
        self.hold(slot, |held, pool| held.output.push(bytes, pool));
        self.touch(slot);
        self.conns[slot as usize].state != State::Ended
    }

    /// The same, of a payload that others are sent too.
    pub(crate) fn push_shared(&mut self, slot: u32, payload: &std::sync::Arc<[u8]>) -> bool {
        // To keep a place for so little would cost more than to copy it; and what goes before it
        // cannot be moved while it lies in a callback's hands.
        if payload.len() <= SHARED_MIN || self.is_hot(slot) && self.hot.is_lent() {
            return self.push_output(slot, payload);
        }
        // What was sent before goes before.
        self.park_hot(slot, &[]);
        self.hold(slot, |held, _| held.output.push_shared(payload.clone()));
        self.touch(slot);
        self.conns[slot as usize].state != State::Ended
    }

    /// The reply is no longer hot: what the kernel did not take of it moves to the connection's own
    /// buffer, and so does whatever is sent from here on. Nothing may stay behind in the shared
    /// buffer, or the next connection would send it as its own. `read` is the read buffer.
    #[inline]
    pub(crate) fn park_hot(&mut self, slot: u32, read: &[u8]) {
        if self.is_hot(slot) {
            self.hot.slot = None;
            if !self.hot.is_empty() {
                self.keep_hot(slot, read);
            }
        }
    }

    #[cold]
    fn keep_hot(&mut self, slot: u32, read: &[u8]) {
        let mut hot = std::mem::take(&mut self.hot);
        self.hold(slot, |held, pool| {
            hot.parts(read).into_iter().for_each(|part| held.output.push(part, pool));
        });
        hot.clear();
        self.hot = hot;
    }

    /// Change what a connection holds; lend it storage for that, take back what became empty, keep
    /// the books, and see to it that all together hold no more than they may.
    pub(crate) fn hold(&mut self, slot: u32, change: impl FnOnce(&mut Held, &mut Pool)) {
        let now = self.stamp().get();
        let conn = &mut self.conns[slot as usize];
        if conn.state == State::Ended {
            return;
        }
        let mut held = conn.held.take().unwrap_or_else(|| self.pool.held());
        let waited = held.has_unsent();
        change(&mut held, &mut self.pool);
        if !waited {
            held.moved = now;
        }
        if held.is_empty() {
            return self.give_back(slot, held);
        }
        let (after, waits) = (held.capacity(), held.has_unsent());
        self.weigh(slot, &mut held, after);
        let conn = &mut self.conns[slot as usize];
        conn.held = Some(held);
        // Whoever has work is served first, and most have nothing left to wait with then.
        if waits && !waited && !conn.has_work() {
            self.rearm(slot);
        }
        self.fit();
    }

    /// What connections hold, and what their layers take.
    fn used(&self) -> usize {
        self.weights.total() + self.layers
    }

    /// All together hold no more than they may: what is spare goes first, then whoever has most.
    fn fit(&mut self) {
        while self.used() + self.pool.spare() > self.config.memory_max {
            match self.weights.heaviest() {
                _ if self.pool.spare() > 0 => self.pool.let_go(),
                Some(heaviest) => self.end(heaviest, Reason::OutOfMemory),
                None => return,
            }
        }
    }

    /// Something was taken out of what a connection holds: the rest of it may be empty too.
    #[inline]
    pub(crate) fn reclaim(&mut self, slot: u32) {
        if self.conns[slot as usize].held.is_some() {
            self.hold(slot, |_, _| ());
        }
    }

    /// Input that was lent to a callback is spare after it. If its connection has ended meanwhile
    /// nobody counted it, and others may have taken its room.
    #[cold]
    pub(crate) fn give_input(&mut self, mut kept: Buf) {
        kept.clear(&mut self.pool);
        self.fit();
    }

    fn give_back(&mut self, slot: u32, mut held: Box<Held>) {
        self.weigh(slot, &mut held, 0);
        self.pool.give_held(held);
    }

    fn weigh(&mut self, slot: u32, held: &mut Held, after: usize) {
        let moved = self.weights.change(slot, held.place, held.weight, after);
        (held.place, held.weight) = (moved.place, after);
        if let Some((other, place)) = moved.other
            && let Some(held) = &mut self.conns[other as usize].held
        {
            held.place = place;
        }
    }

    /// Show `write` the bytes that should leave next, as slices of at most `write_max` bytes
    /// together; not at all if there are none. `read` is the read buffer.
    #[inline]
    pub(crate) fn front<R>(
        &self,
        slot: u32,
        read: &[u8],
        write: impl FnOnce(&[IoSlice<'_>]) -> R,
    ) -> Option<R> {
        let max = self.config.write_max;
        let conn = &self.conns[slot as usize];
        let single = match &conn.held {
            Some(held) if !held.wire.is_empty() => held.wire.pending(),
            // With a layer in place, only what it made may go out.
            _ if conn.layer.is_some() => match self.sealed.is_empty() {
                true => return None,
                false => &self.sealed,
            },
            Some(held) if !held.output.is_empty() => match held.output.only() {
                Some(only) => only,
                None => {
                    let mut slices = [IoSlice::new(&[]); Self::SLICES];
                    let used = held.output.front(&mut slices, max);
                    return Some(write(&slices[..used]));
                }
            },
            _ if self.is_hot(slot) => return self.hot.front(read, max, write),
            _ => return None,
        };
        let single = &single[..single.len().min(max)];
        Some(write(&[IoSlice::new(single)]))
    }

    /// Slices in one vectored write.
    const SLICES: usize = 64;

    /// Something waits to be written, or our half to be ended.
    #[inline(always)]
    pub(crate) fn wants_flush(&self, slot: u32) -> bool {
        self.is_hot(slot) && !self.hot.is_empty() || self.conns[slot as usize].wants_write()
    }

    /// The kernel took `n` bytes of those.
    pub(crate) fn wrote(&mut self, slot: u32, n: usize) {
        self.stats.bytes_out += n as u64;
        let now = self.stamp();
        let conn = &mut self.conns[slot as usize];
        // Where the peer's first byte is waited for, that clock runs from the beginning.
        let waited_for = !conn.heard() && conn.listener != Conn::OUTBOUND;
        if n > 0 && !(waited_for && self.config.first_byte.is_some()) {
            conn.active = now;
        }
        conn.has_moved(n);
        if conn.layer.is_some() && !self.sealed.is_empty() {
            self.sealed.drain(..n);
            return;
        }
        if !conn.has_unsent() {
            self.hot.consume(n);
            return;
        }
        self.hold(slot, |held, pool| {
            if n > 0 {
                held.moved = now.get();
            }
            match held.wire.is_empty() {
                false => held.wire.consume(n, pool),
                true => held.output.consume(n, pool),
            }
        });
    }

    /// Give what was sent to the layer, if there is one, a bounded part at a time; and its last
    /// words, when all else has been given. What it makes of that is sealed, and has to be parked
    /// when one write has been tried.
    #[inline]
    pub(crate) fn seal(&mut self, slot: u32) -> Result {
        match self.conns[slot as usize].layer.take() {
            Some(layer) => self.seal_by(layer, slot),
            None => Ok(()),
        }
    }

    fn seal_by(&mut self, mut layered: Box<Layered>, slot: u32) -> Result {
        let Self { conns, hot, sealed, .. } = self;
        let conn = &mut conns[slot as usize];
        let layer = &mut layered.layer;
        let up = conn.state == State::Up;
        let finishing = up && conn.ours == Ours::Finishing && !conn.layer_done();
        let is_free = conn.held.as_ref().is_none_or(|held| held.wire.is_empty());
        let held = conn.held.as_ref().filter(|held| !held.output.is_empty());
        let hot_part = if hot.slot == Some(slot) { hot.parts(&[])[1] } else { &[] };
        let unsealed = held.map_or(0, |held| held.output.len()) + hot_part.len();

        let mut slices = [IoSlice::new(&[]); 16];
        let used = match held {
            _ if !is_free || !layer.is_ready() => 0,
            Some(held) => held.output.front(&mut slices, Self::SEAL_MAX),
            None => {
                slices[0] = IoSlice::new(&hot_part[..hot_part.len().min(Self::SEAL_MAX)]);
                usize::from(!hot_part.is_empty())
            }
        };
        let (mut size, mut result) = (0, Ok(()));
        for slice in &slices[..used] {
            size += slice.len();
            result = result.and_then(|()| layer.send(slice, sealed));
        }
        let was_held = held.is_some();
        if finishing && unsealed == size {
            layer.finish(sealed);
            conn.set_layer_done(true);
        }
        conn.layer = Some(layered);
        match was_held {
            true => self.hold(slot, |held, pool| held.output.consume(size, pool)),
            false => self.hot.consume(size),
        }
        if !is_free {
            self.park_sealed(slot); // behind what waits
        }
        result
    }

    /// The write is over: what the kernel did not take of what was sealed waits for the next.
    #[inline]
    pub(crate) fn park_sealed(&mut self, slot: u32) {
        if !self.sealed.is_empty() {
            self.keep_sealed(slot);
        }
    }

    #[cold]
    fn keep_sealed(&mut self, slot: u32) {
        let mut sealed = std::mem::take(&mut self.sealed);
        self.hold(slot, |held, pool| held.wire.push(&sealed, pool));
        sealed.clear();
        sealed.shrink_to(Hot::KEEP_MAX);
        self.sealed = sealed;
    }

    /// Bytes given to a layer at once: a few records.
    const SEAL_MAX: usize = 64 << 10;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After four thousand million connections a name may be somebody's again, but never nobody's.
    #[test]
    fn case_063_serials_begin_again_at_one() {
        let mut hub = Hub::new(Config::default(), Duration::ZERO);
        hub.serial = u32::MAX - 1;
        let addr = Addr::Ip(([127, 0, 0, 1], 1).into());
        let ids = [(); 3].map(|()| hub.insert(State::Up, 0, &addr));
        assert_eq!(ids.map(|id| id.to_string()), ["#0.4294967295", "#1.1", "#2.2"]);
        assert!(ids.iter().all(|&id| hub.peer(id).is_some() && id != ConnId::NOBODY));
    }
}
