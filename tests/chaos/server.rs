//! The server in the chaos: it does, at random, everything that a callback may do, to its own
//! connection and to others, and keeps an account of each to judge it by.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use charkh::{
    Config, ConnId, Datagram, Handle, Hub, Input, Peer, Protocol, Reason, Result,
    codec::{Decode, Status},
    net::Clock,
};

use super::{
    account::{Account, FAULT, INPUT, Sending},
    dice::Dice,
    envelope::Envelope,
    mail::Mail,
};

/// The byte that the client of this address sends in this place.
pub fn byte_of(client: SocketAddr, place: usize) -> u8 {
    ((place * 31 + usize::from(client.port()) * 7) % 251) as u8
}

fn addr_of(peer: &Peer) -> SocketAddr {
    peer.addr().socket_addr().expect("a client of another kind")
}

pub struct Server {
    pub dice: Dice,
    /// How wild, in thousandths.
    violence: usize,
    manner: usize,
    /// Where outbound connections go: each to a port of its own.
    next_port: u16,
    pub alive: BTreeSet<ConnId>,
    dialing: BTreeSet<ConnId>,
    /// The addresses of both.
    addrs: BTreeMap<ConnId, SocketAddr>,
    /// Of every connection that ever was, by the other end's address.
    pub accounts: BTreeMap<SocketAddr, Account>,
    pub opened: u64,
    pub closed: u64,
    /// Those that had ended after the last turn, and were not closed, and what they keep.
    pub dead: BTreeMap<ConnId, usize>,
    pub mail: Mail,
    pub jobs_sent: u64,
    jobs_run: u64,
    /// The door for threads is open to callbacks too.
    pub handle: Option<Handle<Server>>,
    tick_at: Option<Duration>,
    /// After which it is late.
    pub tick_by: Option<Duration>,
    /// When it was asked to stop.
    pub stops: Vec<Duration>,
    pub turn: u64,
    clock: Clock,
    config: Config,
}

/// Frames of five bytes, for the budget of frames.
struct Five;

impl Decode for Five {
    type Frame<'a> = &'a [u8];

    fn decode<'a>(&mut self, bytes: &'a [u8], scanned: usize) -> Result<Status<&'a [u8]>> {
        assert!(scanned <= bytes.len(), "it says that it has seen what has not come");
        Ok(match bytes.get(..5) {
            Some(frame) => Status::Complete { frame, size: 5 },
            None => Status::Partial { scanned: bytes.len() },
        })
    }
}

impl Server {
    pub fn new(mut dice: Dice, config: &Config, clock: Clock) -> Self {
        let violence = [0, 0, 30, 100, 300][dice.below(5)];
        let manner = dice.below(3);
        Self {
            dice,
            violence,
            manner,
            next_port: 20_000,
            alive: BTreeSet::new(),
            dialing: BTreeSet::new(),
            addrs: BTreeMap::new(),
            accounts: BTreeMap::new(),
            opened: 0,
            closed: 0,
            dead: BTreeMap::new(),
            mail: Mail::default(),
            jobs_sent: 0,
            jobs_run: 0,
            handle: None,
            tick_at: None,
            tick_by: None,
            stops: Vec::new(),
            turn: 0,
            clock,
            config: config.clone(),
        }
    }

    /// Those that were opened and are not closed, and what their sessions say they keep.
    pub fn sessions(&self) -> BTreeMap<ConnId, usize> {
        self.alive.iter().map(|&id| (id, self.accounts[&self.addrs[&id]].keeps)).collect()
    }

    /// From here on it behaves.
    pub fn calm(&mut self) {
        self.violence = 0;
    }

    /// Sent, and run.
    pub fn jobs(&self) -> [u64; 2] {
        [self.jobs_sent, self.jobs_run]
    }

    pub fn jobs_left(&self) -> u64 {
        self.jobs_sent - self.jobs_run
    }

    pub fn ask_for_jobs(&mut self, count: usize) {
        let handle = self.handle.clone().expect("it was given one");
        for _ in 0..count {
            let number = self.jobs_sent;
            self.jobs_sent += 1;
            handle.run(move |server, hub| server.job(number, hub)).expect("the reactor is here");
        }
    }

    pub fn stop(&mut self, hub: &mut Hub) {
        self.note_stop(hub.now());
        hub.stop();
    }

    pub fn note_stop(&mut self, now: Duration) {
        if self.stops.is_empty() {
            for addr in self.addrs.values() {
                let account = self.accounts.get_mut(addr).expect("each has one");
                account.was_there = account.opened;
            }
        }
        self.stops.push(now);
    }

    /// Those that are not over.
    pub fn known(&self) -> impl Iterator<Item = (SocketAddr, ConnId)> + '_ {
        self.addrs.iter().map(|(&id, &addr)| (addr, id))
    }

    /// When something is late that is wanted after this time: never before the next millisecond.
    fn late_after(&self, now: Duration, wait: Duration) -> Duration {
        let at = (self.clock.now() + wait).max(now + Duration::from_millis(1));
        Duration::from_millis(at.as_nanos().div_ceil(1_000_000) as u64) // as timers are rounded
    }

    fn add(&mut self, addr: SocketAddr, account: Account) {
        assert!(self.addrs.insert(account.id, addr).is_none(), "a name twice");
        assert!(self.accounts.insert(addr, account).is_none(), "accepted twice");
    }

    pub fn ticks_later(&self) -> bool {
        self.tick_at.is_some()
    }

    pub fn dials_left(&self) -> usize {
        self.dialing.len()
    }

    pub fn most_from_one_address(&self) -> usize {
        let mut counts = BTreeMap::<IpAddr, usize>::new();
        for (addr, account) in &self.accounts {
            let is_alive = self.alive.contains(&account.id) && !self.dead.contains_key(&account.id);
            if addr.port() < 20_000 && is_alive {
                let network = match addr.ip() {
                    IpAddr::V6(ip) => IpAddr::from((ip.to_bits() >> 64 << 64).to_be_bytes()),
                    ip => ip,
                };
                *counts.entry(network).or_default() += 1;
            }
        }
        counts.into_values().max().unwrap_or(0)
    }

    /// What another thread asks for, in the order in which it was asked.
    pub fn job(&mut self, number: u64, hub: &mut Hub) {
        assert_eq!(number, self.jobs_run, "jobs in disorder");
        self.jobs_run += 1;
        hub.each(|peer| assert!(self.alive.contains(&peer.id()), "a stranger"));
        if self.dice.strikes(self.violence) {
            self.rude_to_all(hub);
        }
    }

    fn account(&mut self, addr: SocketAddr) -> &mut Account {
        self.accounts.get_mut(&addr).expect("a connection without an account")
    }

    pub fn note_change(&mut self, addr: SocketAddr) {
        let turn = self.turn;
        self.account(addr).changed = turn;
    }

    /// Every callback about one connection begins here.
    fn enter(&mut self, peer: &mut Peer) {
        let id = peer.id();
        assert!(peer.to(id).is_some(), "called for one that is over");
        let (turn, unsent, max) = (self.turn, peer.unsent(), self.config.output_max);
        let account = self.account(addr_of(peer));
        // On the wire an envelope doubles it.
        assert!(unsent <= max || account.layered && unsent <= 2 * max, "output_max");
        assert_eq!(account.id, id, "called by another's name");
        assert!(!account.closing, "called after close");
        account.changed = turn;
    }

    fn say(&mut self, peer: &mut Peer, bytes: &[u8], shared: bool) {
        match shared {
            true => self.say_with(peer, bytes, |peer| peer.send_shared(&Arc::from(bytes))),
            false => self.say_with(peer, bytes, |peer| peer.send(bytes)),
        }
    }

    fn say_with(
        &mut self,
        peer: &mut Peer,
        bytes: &[u8],
        send: impl FnOnce(&mut Peer<'_>) -> bool,
    ) {
        let id = peer.id();
        let was_alive = peer.to(id).is_some();
        let before = Sending::to(peer);
        let sent = send(peer);
        let is_alive = peer.to(id).is_some();
        let account = self.account(addr_of(peer));
        if sent {
            account.promised.extend(bytes);
        }
        if was_alive && (sent || !is_alive) {
            account.was_sent(peer, &before, bytes.len());
        } else {
            assert!(!was_alive || account.closing || account.finishing, "not sent");
        }
    }

    /// The session says that it keeps something, or nothing any more.
    fn keep(&mut self, peer: &mut Peer) {
        let (before, addr, id) = (Sending::to(peer), addr_of(peer), peer.id());
        let bytes = self.dice.below(3) * self.dice.below(900);
        let was_alive = peer.to(id).is_some();
        if was_alive {
            self.account(addr).keeps = bytes;
        }
        peer.set_held(bytes);
        if was_alive && peer.to(id).is_none() {
            let most = self.config.memory_max;
            self.account(addr).ran_out(&before, bytes, most);
        }
    }

    /// Something rude, if it is time for it, to this connection or to another, or to all.
    fn misbehave(&mut self, peer: &mut Peer) -> Result {
        if !self.dice.strikes(self.violence) {
            return Ok(());
        }
        match self.dice.below(8) {
            0..=3 => self.rude_to(peer),
            4 | 5 => {
                let known: Vec<ConnId> = self.alive.union(&self.dialing).copied().collect();
                let other = known.get(self.dice.below(known.len())).copied();
                if let Some(mut other) = other.and_then(|id| peer.to(id)) {
                    self.rude_to(&mut other);
                }
            }
            6 => self.rude_to_all(peer.hub()),
            _ => {
                let id = peer.id();
                if peer.to(id).is_some() {
                    self.account(addr_of(peer)).doomed.get_or_insert(FAULT);
                }
                return Err("because".into());
            }
        }
        Ok(())
    }

    fn rude_to(&mut self, peer: &mut Peer) {
        let id = peer.id();
        let (now, is_alive) = (peer.now(), peer.to(id).is_some());
        let ms = Duration::from_millis(self.dice.below(60) as u64);
        let what = self.dice.below(14);
        let turn = self.turn;
        let [late, too_late] = [ms, ms * 10].map(|wait| self.late_after(now, wait));
        let account = self.account(addr_of(peer));
        account.changed = turn;
        match what {
            0 => {
                let nothing_sent = peer.unsent() == 0;
                if is_alive && !account.opened && nothing_sent {
                    account.doomed.get_or_insert(&["closed"]);
                }
                account.close(now);
                peer.close();
                assert!(!peer.send(b"to one that is closed"));
            }
            1 => {
                if is_alive {
                    account.doomed.get_or_insert(&["aborted"]);
                }
                peer.abort();
                assert!(!peer.send(b"to the dead") && peer.to(id).is_none());
            }
            2 => {
                account.finishing = true;
                peer.finish();
                assert!(!peer.send(b"to one that is finished"));
            }
            3 | 4 if !account.closing => {
                (account.paused, account.wake_at) = (true, Some(now + ms));
                account.wake_by = Some(late);
                peer.pause();
                peer.wake_in(ms);
            }
            5 if account.whole.is_none() => {
                (account.wake_at, account.wake_by) = (None, None);
                peer.cancel_wake();
                account.resume(peer);
            }
            6 if !account.closing => {
                (account.wake_at, account.wake_by) = (Some(now + ms), Some(late));
                peer.wake_in(ms);
            }
            7 => {
                (account.deadline, account.end_by) = (Some(now + ms * 10), Some(too_late));
                peer.deadline_in(ms * 10);
            }
            8 => {
                (account.deadline, account.end_by) = (None, None);
                peer.clear_deadline();
            }
            9 => {
                account.both_ways = !account.both_ways;
                peer.read_while_full(account.both_ways);
            }
            10 => {
                let flood = vec![b'f'; 1 + self.dice.below(3000)];
                self.say(peer, &flood, false);
            }
            what => {
                let gossip = vec![b'g'; 1 + self.dice.below(150)];
                self.say(peer, &gossip, what == 11);
            }
        }
    }

    fn rude_to_all(&mut self, hub: &mut Hub) {
        match self.dice.below(14) {
            0..=4 => self.dial(hub),
            5 | 6 => {
                let ms = Duration::from_millis(self.dice.below(30) as u64);
                self.tick_at = Some(hub.now() + ms);
                self.tick_by = Some(self.late_after(hub.now(), ms));
                hub.tick_in(ms);
            }
            7 => {
                let at = hub.now() + Duration::from_nanos(self.dice.below(30_000_000) as u64);
                self.tick_at = Some(at);
                self.tick_by = Some(at.max(hub.now() + Duration::from_nanos(1)));
                hub.tick_at(at);
            }
            8 if self.dice.one_in(50) => self.stop(hub),
            10 => self.mail.write(&mut self.dice, hub),
            12 | 13 => {
                let count = 1 + self.dice.below(4);
                self.ask_for_jobs(count);
            }
            9 => {
                let ids: Vec<ConnId> = hub.ids().collect();
                for id in ids {
                    if let Some(mut peer) = hub.peer(id) {
                        self.rude_to(&mut peer);
                    }
                }
            }
            _ => {
                let payload: Arc<[u8]> = vec![b'p'; 1 + self.dice.below(200)].into();
                hub.each(|mut peer| {
                    self.say_with(&mut peer, &payload, |peer| peer.send_shared(&payload));
                });
            }
        }
    }

    fn dial(&mut self, hub: &mut Hub) {
        if self.next_port > 40_000 {
            return;
        }
        let addr = SocketAddr::from(([127, 0, 0, 9], self.next_port));
        self.next_port += 1;
        let room = hub.len() < self.config.conns_max;
        let (layered, later) = (self.dice.one_in(3), self.dice.one_in(4));
        let after = match later && !layered {
            true => Duration::from_millis(1 + self.dice.below(200) as u64),
            false => Duration::ZERO,
        };
        let id = match layered {
            true => hub.connect_through(addr, Box::new(Envelope::default())),
            false if after.is_zero() => hub.connect(addr),
            false => hub.connect_in(addr, after),
        };
        if id.to_string().starts_with("#4294967295.") {
            return; // after a second stop nothing is begun, and after the first not later
        }
        let (now, clock) = (hub.now() + after, self.clock.now() + after);
        let account = Account::new(id, now, clock, &self.config);
        let mut account = Account { layered, ..account };
        if !after.is_zero() {
            account.up_by = Duration::MAX / 2; // it may begin late
            account.placeless = !room;
        }
        if !room && after.is_zero() {
            assert!(hub.peer(id).is_none(), "more than there is room for");
            account.doomed = Some(&["out of room"]);
        }
        self.dialing.insert(id);
        self.add(addr, account);
        if room && self.dice.one_in(2) {
            let early = vec![b'e'; 1 + self.dice.below(90)];
            if let Some(mut peer) = hub.peer(id) {
                self.say(&mut peer, &early, false);
            }
        }
    }

    fn end(&mut self, hub: &mut Hub, id: ConnId, reason: &Reason) {
        assert!(hub.peer(id).is_none(), "a dead name names somebody");
        let name = Reason::NAMES.into_iter().find(|name| reason.to_string().starts_with(name));
        let name = name.expect("a reason without a name");
        let addr = self.addrs.remove(&id).expect("ended twice, or never begun");
        let (account, stops) = (self.accounts.get_mut(&addr), &self.stops);
        let account = account.expect("a connection without an account");
        account.judge(hub, name, stops);
        (account.ended, account.ended_at) = (Some(name), hub.now());
        // Longer than all the ends of a turn may take, now and then: others wait for the next.
        if self.dice.one_in(4) {
            self.clock.advance(Duration::from_millis(2));
        }
        if self.dice.strikes(self.violence / 4) {
            self.rude_to_all(hub);
        }
    }
}

impl Protocol for Server {
    type Session = ();

    fn open(&mut self, peer: &mut Peer) {
        self.opened += 1;
        let (id, addr) = (peer.id(), addr_of(peer));
        assert!(self.alive.insert(id), "opened twice");
        assert_eq!(self.dialing.remove(&id), peer.listener().is_none());
        if let Some(listener) = peer.listener() {
            let layered = format!("{listener:?}").contains('1');
            let mut account = Account::new(id, peer.now(), self.clock.now(), &self.config);
            if layered {
                // Its life began before its handshake: when, only the wheel knows.
                account.deadline = account.deadline.map(|_| Duration::ZERO);
            }
            self.add(addr, Account { layered, ..account });
        }
        let turn = self.turn;
        let account = self.account(addr);
        (account.opened, account.changed) = (true, turn);
        if self.dice.one_in(3) {
            self.say(peer, b"welcome", false);
        }
        if self.dice.strikes(self.violence) {
            self.rude_to(peer);
        }
    }

    fn data(&mut self, peer: &mut Peer, (): &mut (), input: &mut Input) -> Result {
        self.enter(peer);
        let (now, addr) = (peer.now(), addr_of(peer));
        assert!(!input.is_empty(), "called for nothing");
        let account = self.account(addr);
        assert!(!account.paused, "offered while paused");
        assert_eq!(account.whole, None, "offered after the end");
        account.owed = None;
        let from = account.taken;
        let offered = input.peek();
        let (kept, fresh) = (account.left, offered.len().checked_sub(account.left));
        if offered.len() > account.left {
            account.heard = Some(now);
        }
        let in_order = |(n, &byte): (usize, &u8)| byte == byte_of(addr, from + n);
        assert!(offered.iter().enumerate().all(in_order), "bytes in disorder");
        assert!(kept <= self.config.input_max, "input_max");
        assert!(
            fresh.is_some_and(|fresh| fresh <= self.config.read_max),
            "more than one read, or less"
        );

        let result = self.take(peer, input);
        let taken = offered.len() - input.len();
        self.account(addr).taken += taken;
        self.account(addr).left = input.len();
        if result.is_err() {
            self.account(addr).doomed.get_or_insert(FAULT);
        }
        if self.dice.one_in(16) {
            self.keep(peer);
        }
        let result = result.and_then(|()| self.misbehave(peer));
        // What is left is looked at before the error is.
        let max = self.config.input_max;
        let account = self.account(addr);
        let too_much = input.len() > max && !account.closing;
        if too_much && account.doomed.is_none_or(|doomed| doomed == FAULT) {
            account.doomed = Some(INPUT);
        }
        result
    }

    fn eof(&mut self, peer: &mut Peer, (): &mut (), rest: &mut Input) -> Result {
        self.enter(peer);
        let (now, addr) = (peer.now(), addr_of(peer));
        let account = self.account(addr);
        assert_eq!(account.whole, None, "two ends");
        let whole_frame = self.manner == 1 && rest.len() >= 5;
        let account = self.account(addr);
        assert!(!whole_frame || account.broke_off, "a whole frame was not offered again");
        account.whole = Some(account.taken + rest.len());
        let from = account.taken;
        let in_order = |(n, &byte): (usize, &u8)| byte == byte_of(addr, from + n);
        assert!(rest.take_all().iter().enumerate().all(in_order), "bytes in disorder");
        if self.dice.strikes(self.violence) {
            // Half-closed for a while: the answer takes its time.
            let ms = Duration::from_millis(20);
            let late = self.late_after(now, ms);
            let account = self.account(addr);
            (account.wake_at, account.wake_by) = (Some(now + ms), Some(late));
            peer.wake_in(ms);
            return Ok(());
        }
        self.say(peer, b"bye", false);
        self.account(addr).finishing = true;
        peer.finish();
        self.misbehave(peer)
    }

    fn drained(&mut self, peer: &mut Peer, (): &mut ()) -> Result {
        self.enter(peer);
        assert!(!peer.is_full(), "drained, and full");
        let account = self.account(addr_of(peer));
        assert!(std::mem::take(&mut account.full) || account.layered, "drained, and was not full");
        // It may have stopped taking input because it was full.
        account.owed = Some(0);
        self.misbehave(peer)
    }

    fn timer(&mut self, peer: &mut Peer, (): &mut ()) -> Result {
        self.enter(peer);
        let now = peer.now();
        let account = self.account(addr_of(peer));
        let wake_at = account.wake_at.take().expect("woken without having asked");
        assert!(now >= wake_at, "woken early");
        account.wake_by = None;
        if account.paused {
            account.resume(peer);
        }
        if account.whole.is_some() {
            account.finishing = true;
            peer.finish();
        }
        self.misbehave(peer)
    }

    fn stopping(&mut self, peer: &mut Peer, (): &mut ()) -> Result {
        self.enter(peer);
        assert!(!std::mem::replace(&mut self.account(addr_of(peer)).told, true), "told twice");
        if !self.dice.strikes(self.violence) {
            let now = peer.now();
            self.account(addr_of(peer)).close(now);
            peer.close();
        }
        Ok(())
    }

    fn closed(&mut self, hub: &mut Hub, id: ConnId, (): (), reason: Reason) {
        self.closed += 1;
        assert!(self.alive.remove(&id), "closed, and never opened");
        self.end(hub, id, &reason);
    }

    fn connect_failed(&mut self, hub: &mut Hub, id: ConnId, reason: Reason) {
        assert!(self.dialing.remove(&id), "failed, and never dialed");
        self.end(hub, id, &reason);
    }

    fn datagram(&mut self, datagram: &mut Datagram) {
        self.mail.came(&mut self.dice, datagram);
        if self.dice.strikes(self.violence) {
            self.rude_to_all(datagram.hub());
        }
    }

    fn tick(&mut self, hub: &mut Hub) {
        let at = self.tick_at.take().expect("a tick that nobody asked for");
        assert!(hub.now() >= at, "a tick too early");
        self.tick_by = None;
        if self.dice.strikes(self.violence) {
            self.rude_to_all(hub);
        }
    }
}

impl Server {
    /// Some of what is offered, and an answer to it.
    fn take(&mut self, peer: &mut Peer, input: &mut Input) -> Result {
        match self.manner {
            0 => {
                let some = self.dice.one_in(4);
                let n = if some { self.dice.below(input.len()) } else { input.len() };
                let bytes = input.take(n).unwrap_or_default();
                let shared = self.dice.one_in(3);
                self.say(peer, bytes, shared);
            }
            1 => {
                self.account(addr_of(peer)).broke_off = false;
                let mut frames = 0;
                while let Some(frame) = input.frame(&mut Five)? {
                    frames += 1;
                    self.say(peer, frame, false);
                    if self.dice.one_in(20) {
                        // The rest waits for more bytes, or for the end.
                        self.account(addr_of(peer)).broke_off = true;
                        break;
                    }
                }
                let cut = frames == self.config.frames_max && input.len() >= 5;
                if cut && !self.account(addr_of(peer)).broke_off {
                    self.account(addr_of(peer)).owed = Some(0); // the rest, in its next turn
                }
                assert!(frames <= self.config.frames_max, "frames_max");
            }
            _ => {
                while let Some(line) = input.line(300)? {
                    self.say(peer, line, false);
                }
            }
        }
        Ok(())
    }
}
