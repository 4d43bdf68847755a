//! The server in the chaos: it does, at random, everything that a callback may do, to its own
//! connection and to others, and keeps an account of each to judge it by.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use charkh::{
    Config, ConnId, Hub, Input, Peer, Protocol, Reason, Result,
    codec::{Decode, Status},
};

use super::{dice::Dice, envelope::Envelope};

/// The byte that the client of this address sends in this place.
pub fn byte_of(client: SocketAddr, place: usize) -> u8 {
    ((place * 31 + usize::from(client.port()) * 7) % 251) as u8
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
    /// Of every connection that ever was, by the other end's address.
    pub accounts: BTreeMap<SocketAddr, Account>,
    pub opened: u64,
    pub closed: u64,
    pub jobs_sent: u64,
    jobs_run: u64,
    tick_at: Option<Duration>,
    /// When it was asked to stop.
    pub stops: Vec<Duration>,
    pub turn: u64,
    conns_max: usize,
    input_max: usize,
    read_max: usize,
    frames_max: u32,
    output_max: usize,
}

/// What the server knows of one connection, and what it promised.
pub struct Account {
    pub id: ConnId,
    layered: bool,
    opened: bool,
    taken: usize,
    /// Offered, and not taken.
    left: usize,
    pub promised: Vec<u8>,
    pub paused: bool,
    pub both_ways: bool,
    pub closing: bool,
    finishing: bool,
    told: bool,
    /// It has left whole frames, by its own will.
    broke_off: bool,
    /// All that the client had sent when its end came.
    pub whole: Option<usize>,
    /// The last turn in which it was called, or had a reason not to be.
    pub changed: u64,
    wake_at: Option<Duration>,
    deadline: Option<Duration>,
    begun: Duration,
    heard: Option<Duration>,
    /// What has ended it; nothing later may claim that.
    doomed: Option<&'static [&'static str]>,
    /// The name of its reason.
    pub ended: Option<&'static str>,
}

const FULL: &[&str] = &["output overflow", "out of memory"];
const FAULT: &[&str] = &["fault"];
const INPUT: &[&str] = &["input overflow"];

impl Account {
    fn new(id: ConnId, now: Duration) -> Self {
        Self {
            id,
            layered: false,
            opened: false,
            taken: 0,
            left: 0,
            promised: Vec::new(),
            paused: false,
            both_ways: false,
            closing: false,
            finishing: false,
            told: false,
            broke_off: false,
            whole: None,
            changed: 0,
            wake_at: None,
            deadline: None,
            begun: now,
            heard: None,
            doomed: None,
            ended: None,
        }
    }

    pub fn is_layered(&self) -> bool {
        self.layered
    }

    /// Is this a right reason for its end?
    fn judge(&self, hub: &Hub, name: &str, stops: &[Duration]) {
        let grace = hub.config().grace;
        let stopped_well = stops.len() > 1 || stops.iter().any(|&at| hub.now() >= at + grace);
        let (now, config) = (hub.now(), hub.config());
        let memory_is_short = config.memory_max < 1 << 30 && name == "out of memory";
        if let Some(doomed) = self.doomed {
            // What a callback leaves is kept before its error is looked at.
            let sooner = memory_is_short && [FAULT, INPUT].contains(&doomed);
            assert!(sooner || doomed.contains(&name), "{doomed:?} ended it, not {name}");
            return;
        }
        let after = |from: Duration, patience: Option<Duration>| {
            patience.is_some_and(|patience| now >= from + patience)
        };
        let right = match name {
            "closed" => self.closing || self.finishing,
            // Whether the other end did that is known outside.
            "broken" => true,
            "fault" | "output overflow" => self.layered,
            "out of memory" => memory_is_short,
            "idle" => after(self.heard.unwrap_or(self.begun), config.idle),
            "first byte" => {
                (self.heard.is_none() || self.layered) && after(self.begun, config.first_byte)
            }
            "write stalled" => after(self.begun, config.write_stall),
            "deadline" => {
                self.deadline.is_some_and(|at| now >= at) || after(self.begun, config.lifetime)
            }
            "connect timeout" => !self.opened && after(self.begun, config.connect),
            "stopped" => stopped_well,
            _ => false,
        };
        assert!(right, "{name} is not how this connection ended");
    }
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
    pub fn new(mut dice: Dice, config: &Config) -> Self {
        let violence = [0, 0, 30, 100, 300][dice.below(5)];
        let manner = dice.below(3);
        Self {
            dice,
            violence,
            manner,
            next_port: 20_000,
            alive: BTreeSet::new(),
            dialing: BTreeSet::new(),
            accounts: BTreeMap::new(),
            opened: 0,
            closed: 0,
            jobs_sent: 0,
            jobs_run: 0,
            tick_at: None,
            stops: Vec::new(),
            turn: 0,
            conns_max: config.conns_max,
            input_max: config.input_max,
            read_max: config.read_max,
            frames_max: config.frames_max,
            output_max: config.output_max,
        }
    }

    /// From here on it behaves.
    pub fn calm(&mut self) {
        self.violence = 0;
    }

    pub fn jobs_left(&self) -> u64 {
        self.jobs_sent - self.jobs_run
    }

    pub fn stop(&mut self, hub: &mut Hub) {
        self.stops.push(hub.now());
        hub.stop();
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
            if addr.port() < 20_000 && self.alive.contains(&account.id) {
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
        let (turn, unsent, max) = (self.turn, peer.unsent(), self.output_max);
        let account = self.account(peer.addr());
        // On the wire an envelope doubles it.
        assert!(unsent <= max || account.layered && unsent <= 2 * max, "output_max");
        assert_eq!(account.id, id, "called by another's name");
        assert!(!account.closing, "called after close");
        account.changed = turn;
    }

    fn say(&mut self, peer: &mut Peer, bytes: &[u8], shared: bool) {
        let id = peer.id();
        let was_alive = peer.to(id).is_some();
        let sent = if shared { peer.send_shared(&Arc::from(bytes)) } else { peer.send(bytes) };
        let is_alive = peer.to(id).is_some();
        let account = self.account(peer.addr());
        match sent {
            true => account.promised.extend(bytes),
            false if was_alive && !is_alive => drop(account.doomed.get_or_insert(FULL)),
            false => assert!(!was_alive || account.closing || account.finishing, "not sent"),
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
                    self.account(peer.addr()).doomed.get_or_insert(FAULT);
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
        let account = self.account(peer.addr());
        account.changed = turn;
        match what {
            0 => {
                let nothing_sent = peer.unsent() == 0;
                if is_alive && !account.opened && nothing_sent {
                    account.doomed.get_or_insert(&["closed"]);
                }
                account.closing = true;
                account.wake_at = None;
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
                peer.pause();
                peer.wake_in(ms);
            }
            5 if account.whole.is_none() => {
                (account.paused, account.wake_at) = (false, None);
                peer.cancel_wake();
                peer.resume();
            }
            6 if !account.closing => {
                account.wake_at = Some(now + ms);
                peer.wake_in(ms);
            }
            7 => {
                account.deadline = Some(now + ms * 10);
                peer.deadline_in(ms * 10);
            }
            8 => {
                account.deadline = None;
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
        match self.dice.below(12) {
            0..=4 => self.dial(hub),
            5 | 6 => {
                let ms = Duration::from_millis(self.dice.below(30) as u64);
                self.tick_at = Some(hub.now() + ms);
                hub.tick_in(ms);
            }
            7 => {
                let at = hub.now() + Duration::from_nanos(self.dice.below(30_000_000) as u64);
                self.tick_at = Some(at);
                hub.tick_at(at);
            }
            8 if self.dice.one_in(50) => self.stop(hub),
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
                    let (id, addr) = (peer.id(), peer.addr());
                    let sent = peer.send_shared(&payload);
                    let is_alive = peer.to(id).is_some();
                    let account = self.account(addr);
                    match sent {
                        true => account.promised.extend(&payload[..]),
                        false if is_alive => assert!(account.closing || account.finishing),
                        false => drop(account.doomed.get_or_insert(FULL)),
                    }
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
        let room = hub.len() < self.conns_max;
        let layered = self.dice.one_in(3);
        let id = match layered {
            true => hub.connect_through(addr, Box::new(Envelope::default())),
            false => hub.connect(addr),
        };
        if id.to_string().starts_with("#4294967295.") {
            return; // after a second stop nothing is begun
        }
        let mut account = Account { layered, ..Account::new(id, hub.now()) };
        if !room {
            assert!(hub.peer(id).is_none(), "more than there is room for");
            account.doomed = Some(&["out of room"]);
        }
        assert!(self.dialing.insert(id), "a name twice");
        self.accounts.insert(addr, account);
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
        let account = self.accounts.values_mut().find(|account| account.id == id);
        let account = account.expect("a connection without an account");
        assert_eq!(account.ended, None, "ended twice");
        account.judge(hub, name, &self.stops);
        account.ended = Some(name);
        if self.dice.strikes(self.violence / 4) {
            self.rude_to_all(hub);
        }
    }
}

impl Protocol for Server {
    type Session = ();

    fn open(&mut self, peer: &mut Peer) {
        self.opened += 1;
        let (id, addr) = (peer.id(), peer.addr());
        assert!(self.alive.insert(id), "opened twice");
        assert_eq!(self.dialing.remove(&id), peer.listener().is_none());
        if let Some(listener) = peer.listener() {
            let layered = format!("{listener:?}").contains('1');
            let account = Account { layered, ..Account::new(id, peer.now()) };
            assert!(self.accounts.insert(addr, account).is_none(), "accepted twice");
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
        let (now, addr) = (peer.now(), peer.addr());
        assert!(!input.is_empty(), "called for nothing");
        let account = self.account(addr);
        assert!(!account.paused, "offered while paused");
        assert_eq!(account.whole, None, "offered after the end");
        let from = account.taken;
        let offered = input.peek();
        let (kept, fresh) = (account.left, offered.len().checked_sub(account.left));
        if offered.len() > account.left {
            account.heard = Some(now);
        }
        let in_order = |(n, &byte): (usize, &u8)| byte == byte_of(addr, from + n);
        assert!(offered.iter().enumerate().all(in_order), "bytes in disorder");
        assert!(kept <= self.input_max, "input_max");
        assert!(fresh.is_some_and(|fresh| fresh <= self.read_max), "more than one read, or less");

        let result = self.take(peer, input);
        let taken = offered.len() - input.len();
        self.account(addr).taken += taken;
        self.account(addr).left = input.len();
        if result.is_err() {
            self.account(addr).doomed.get_or_insert(FAULT);
        }
        let result = result.and_then(|()| self.misbehave(peer));
        // What is left is looked at before the error is.
        let max = self.input_max;
        let account = self.account(addr);
        let too_much = input.len() > max && !account.closing;
        if too_much && account.doomed.is_none_or(|doomed| doomed == FAULT) {
            account.doomed = Some(INPUT);
        }
        result
    }

    fn eof(&mut self, peer: &mut Peer, (): &mut (), rest: &mut Input) -> Result {
        self.enter(peer);
        let (now, addr) = (peer.now(), peer.addr());
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
            self.account(addr).wake_at = Some(now + Duration::from_millis(20));
            peer.wake_in(Duration::from_millis(20));
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
        self.misbehave(peer)
    }

    fn timer(&mut self, peer: &mut Peer, (): &mut ()) -> Result {
        self.enter(peer);
        let now = peer.now();
        let account = self.account(peer.addr());
        let wake_at = account.wake_at.take().expect("woken without having asked");
        assert!(now >= wake_at, "woken early");
        if std::mem::take(&mut account.paused) {
            peer.resume();
        }
        if account.whole.is_some() {
            account.finishing = true;
            peer.finish();
        }
        self.misbehave(peer)
    }

    fn stopping(&mut self, peer: &mut Peer, (): &mut ()) -> Result {
        self.enter(peer);
        assert!(!std::mem::replace(&mut self.account(peer.addr()).told, true), "told twice");
        if !self.dice.strikes(self.violence) {
            self.account(peer.addr()).closing = true;
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

    fn tick(&mut self, hub: &mut Hub) {
        let at = self.tick_at.take().expect("a tick that nobody asked for");
        assert!(hub.now() >= at, "a tick too early");
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
                self.account(peer.addr()).broke_off = false;
                let mut frames = 0;
                while let Some(frame) = input.frame(&mut Five)? {
                    frames += 1;
                    self.say(peer, frame, false);
                    if self.dice.one_in(20) {
                        // The rest waits for more bytes, or for the end.
                        self.account(peer.addr()).broke_off = true;
                        break;
                    }
                }
                assert!(frames <= self.frames_max, "frames_max");
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
