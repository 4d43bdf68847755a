//! The outside of the chaos: clients that are rude, and what is asked of the server from there.
use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

use charkh::{
    WhenFull,
    net::{ClientId, Event, Net, Token, sim::Moved},
};

use super::{World, account::MEMORY_MANY, envelope::Envelope, mail, server::byte_of};

#[derive(Default)]
pub struct Clients {
    all: Vec<Client>,
    /// Those that something may still happen to, as indices.
    active: Vec<usize>,
    clogged: Vec<usize>,
    rounds: u32,
    /// Of each turn, whether those who had much before did not all get theirs.
    short: Vec<bool>,
    cut_short: u64,
    /// Connections at once, so far.
    alive_max: u64,
}

struct Client {
    id: ClientId,
    addr: SocketAddr,
    layered: bool,
    greeted: bool,
    /// It ended before it had said hello, or came so long ago.
    finished_first: bool,
    came_at: Duration,
    /// Without what the layer adds.
    sent: usize,
    finished: bool,
    wire: Envelope,
    /// How much of what the server promised has come.
    got: usize,
    /// Nobody listened any more when it came.
    too_late: bool,
    /// When it saw that it would not be let in.
    turned_away: Option<Duration>,
    /// What the server had read of it when it began to linger.
    lingers_at: Option<usize>,
}

/// Active at a time.
const ACTIVE_MAX: usize = 24;

impl Clients {
    /// One thing that the outside does.
    pub fn act(&mut self, reactor: &mut World) {
        self.meet(reactor);
        let (action, chosen) = {
            let dice = &mut reactor.protocol().dice;
            (dice.below(27), dice.below(self.active.len()))
        };
        match action {
            0 | 1 => self.connect(reactor),
            2 => self.crowd(reactor),
            22 => Self::ask_from_elsewhere(reactor),
            23 => {
                let ms = reactor.protocol().dice.below(50) as u64;
                reactor.net().clock().advance(Duration::from_millis(ms));
            }
            24 => Self::say_something_stale(reactor),
            26 => mail::post(reactor),
            25 if reactor.protocol().dice.one_in(4) => self.clog(reactor),
            _ => {
                if let Some(&index) = self.active.get(chosen) {
                    self.act_of(reactor, index, action);
                }
            }
        }
    }

    /// Some come at once.
    pub fn crowd(&mut self, reactor: &mut World) {
        (0..4).for_each(|_| self.connect(reactor));
    }

    fn act_of(&mut self, reactor: &mut World, index: usize, action: usize) {
        let amount = reactor.protocol().dice.below(150);
        let client = &mut self.all[index];
        match action {
            3..=9 => client.send(reactor, amount),
            10..=16 => client.receive(reactor, amount),
            17 => client.finish(reactor),
            18 if amount < 15 => reactor.net().reset_client(client.id),
            19 => reactor.net().set_window(client.id, amount),
            20 => reactor.net().deliver_all(),
            21 => self.release(reactor),
            _ => {}
        }
        let client = &self.all[index];
        let net = reactor.net();
        let over = net.sees_end(client.id) && (client.finished || net.was_reset(client.id));
        if over && net.looks_owed(client.id) == 0 && self.active.len() > ACTIVE_MAX / 2 {
            self.active.retain(|&other| other != index);
        }
    }

    fn connect(&mut self, reactor: &mut World) {
        if self.active.len() >= ACTIVE_MAX {
            return;
        }
        let port = 10_000 + self.all.len() as u16;
        let dice = &mut reactor.protocol().dice;
        let layered = dice.one_in(3);
        let addr = match dice.below(4) {
            0 | 1 => SocketAddr::from(([127, 0, 0, 1], port)),
            2 => SocketAddr::from(([127, 0, 0, 2], port)),
            n => {
                let ip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, n as u16, 0, 0, port);
                SocketAddr::from((ip, port))
            }
        };
        let id = reactor.net().client_from(addr, usize::from(layered));
        self.add(reactor, id, addr, layered);
    }

    fn add(&mut self, reactor: &mut World, id: ClientId, addr: SocketAddr, layered: bool) {
        let too_late = reactor.net().sees_reset(id);
        self.active.push(self.all.len());
        self.all.push(Client {
            id,
            addr,
            layered,
            greeted: false,
            finished_first: false,
            came_at: reactor.net().now(),
            sent: 0,
            finished: false,
            wire: Envelope::default(),
            got: 0,
            too_late,
            turned_away: None,
            lingers_at: None,
        });
    }

    /// Those whom the server has dialed.
    fn meet(&mut self, reactor: &mut World) -> bool {
        let mut met = false;
        while let Some(id) = reactor.net().dialed() {
            let addr = reactor.net().addr(id).and_then(|addr| addr.socket_addr());
            let addr = addr.expect("nobody was dialed");
            let layered = reactor.protocol().accounts[&addr].layered;
            self.add(reactor, id, addr, layered);
            met = true;
        }
        met
    }

    /// Some connections stop moving, one after the other; later they go on, in another order.
    fn clog(&mut self, reactor: &mut World) {
        for _ in 0..3 {
            let chosen = reactor.protocol().dice.below(self.active.len());
            if let Some(&index) = self.active.get(chosen) {
                reactor.net().clog(self.all[index].id);
                self.clogged.push(index);
            }
        }
    }

    fn release(&mut self, reactor: &mut World) {
        if !self.clogged.is_empty() {
            let index = reactor.protocol().dice.below(self.clogged.len());
            let index = self.clogged.swap_remove(index);
            reactor.net().release(self.all[index].id);
        }
    }

    fn ask_from_elsewhere(reactor: &mut World) {
        let count = 1 + reactor.protocol().dice.below(4);
        reactor.protocol().ask_for_jobs(count);
    }

    /// An event for a connection that may be gone, or may never have been.
    fn say_something_stale(reactor: &mut World) {
        let dice = &mut reactor.protocol().dice;
        let token = Token::Conn { slot: dice.below(30) as u32, serial: 1 + dice.below(200) as u32 };
        let [readable, writable, ending, failed] = [true, true, dice.one_in(2), false];
        reactor.net().inject(Event { token, readable, writable, ending, failed });
    }
}

/// What must hold.
impl Clients {
    /// After every turn: nobody waits for more than two, but for those that were too short for all
    /// who had much before. In each of them one of these was served.
    pub fn ask(&mut self, reactor: &mut World) {
        let stats = reactor.hub().stats();
        let cut_short = stats.share_budget + stats.handshake_budget;
        self.short.push(cut_short > self.cut_short);
        self.cut_short = cut_short;
        self.alive_max = self.alive_max.max(reactor.hub().len() as u64);
        for &index in &self.active {
            let client = &mut self.all[index];
            client.is_not_heard_for_ever(reactor);
            client.notes_a_closed_door(reactor);
            let looks = reactor.net().looks_owed(client.id);
            if looks == 0 {
                continue;
            }
            let (server, addr) = (reactor.protocol(), client.addr);
            let Some(account) = server.accounts.get(&addr) else {
                // Of those in a handshake only some are served in each turn.
                let most = if client.layered { 2 + self.alive_max } else { 2 };
                assert!(looks <= most, "{addr} has waited for {looks} turns to be opened");
                continue;
            };
            let (id, turn) = (account.id, server.turn);
            let (deaf, paused, both_ways) = (account.closing, account.paused, account.both_ways);
            let changed = account.changed;
            // Whoever is over is released at the end of the next turn.
            let Some(peer) = reactor.hub().peer(id) else { continue };
            if !deaf && (paused || peer.is_full() && !both_ways) {
                reactor.protocol().note_change(addr);
            } else {
                let waited = looks.min(turn - changed) as usize;
                let whole = self.short.iter().rev().take(waited).filter(|&&short| !short).count();
                assert!(
                    whole <= 2 && waited <= 2 + self.alive_max as usize,
                    "{addr} {id} has waited for {waited} turns, {whole} of them not short"
                );
            }
        }
        reactor.protocol().turn += 1;
    }

    /// The wheel would sleep for ever. Then there must be nothing that it could do.
    pub fn ask_the_sleeper(&self, reactor: &mut World) {
        for &index in &self.active {
            let client = &self.all[index];
            let addr = client.addr;
            let looks = reactor.net().looks_owed(client.id);
            let room = reactor.net().room(client.id);
            let Some(account) = reactor.protocol().accounts.get(&addr) else { continue };
            let (id, paused, deaf) = (account.id, account.paused, account.closing);
            let Some(peer) = reactor.hub().peer(id) else { continue };
            assert!(deaf || !paused, "{addr} is paused for ever");
            assert!(looks == 0 || peer.is_full(), "{addr} has something to say, and no turn");
            let held_back = client.layered && (!client.greeted || self.clogged.contains(&index));
            let unsent = peer.unsent();
            assert!(
                unsent == 0 || room == 0 || held_back,
                "{addr} {id}: {unsent} unsent, and room for {room}"
            );
        }
        assert_eq!(reactor.protocol().jobs_left(), 0, "jobs wait, and nobody runs them");
        assert_eq!(reactor.net().datagrams_waiting(), 0, "datagrams wait, and nobody looks");
        let (waiting, stopping) = (reactor.net().waiting(), reactor.hub().is_stopping());
        let full = reactor.hub().len() >= reactor.hub().config().conns_max;
        assert!(waiting == 0 || full || stopping, "{waiting} could be accepted");
    }

    /// Everybody goes on, reads what there is, and ends. `true` when nothing came any more.
    pub fn end(&mut self, reactor: &mut World) -> bool {
        self.rounds += 1;
        while !self.clogged.is_empty() {
            self.release(reactor);
        }
        let mut quiet = !self.meet(reactor);
        for &index in &self.active {
            let client = &mut self.all[index];
            let got = client.got;
            reactor.net().set_window(client.id, 1 << 20);
            client.receive(reactor, usize::MAX);
            client.greet(reactor);
            if !client.finished {
                client.say_goodbye(reactor);
            }
            quiet &= client.got == got;
        }
        quiet && self.rounds > 3
    }

    /// In the end: who was promised what, who got what, and who is to blame.
    pub fn compare_notes(&mut self, reactor: &mut World) {
        // Those of whom nothing more was expected may have something to read.
        for client in &mut self.all {
            reactor.net().release(client.id);
            client.receive(reactor, usize::MAX);
        }
        let server = reactor.protocol();
        assert!(server.alive.is_empty() && server.dials_left() == 0, "somebody never ended");
        assert_eq!(server.opened, server.closed, "opened and closed");
        for client in &self.all {
            let (id, addr) = (client.id, client.addr);
            let [reset, refused] = [reactor.net().was_reset(id), reactor.net().sees_reset(id)];
            let (sent, harmed) = (reactor.net().sent(id), reactor.net().was_harmed(id));
            let Some(account) = reactor.protocol().accounts.get(&addr) else {
                assert_eq!(client.got, 0, "a stranger spoke to {addr}");
                client.was_turned_away_justly(reactor);
                continue;
            };
            let ended = account.ended.expect("it ended");
            if ended == "broken" {
                assert!(reset || harmed, "{addr} broke by itself");
            }
            client.was_ended_justly(reactor, ended);
            let account = &reactor.protocol().accounts[&addr];
            if ended == "closed" && !reset && !refused {
                assert_eq!(client.got, account.promised.len(), "{addr} lost its last bytes");
            }
            match account.whole {
                Some(whole) if !client.layered => {
                    assert_eq!(whole, sent, "{addr} was heard in part");
                }
                Some(whole) => assert!(whole == client.sent || harmed, "{addr} heard in part"),
                None => {}
            }
        }
    }
}

/// What must hold of one of them.
impl Client {
    /// What is thrown away while lingering has a limit, give or take one read.
    fn is_not_heard_for_ever(&mut self, reactor: &mut World) {
        let Some(account) = reactor.protocol().accounts.get(&self.addr) else { return };
        if account.linger_by.is_none() || account.ended.is_some() {
            return; // it does not linger
        }
        let read = reactor.net().moved(self.id).read;
        let since = *self.lingers_at.get_or_insert(read);
        let config = reactor.hub().config();
        let max = config.linger_bytes as usize + config.read_max;
        assert!(read - since <= max, "{} is heard and heard while it lingers", self.addr);
    }

    /// A deadline that bytes have moved was kept; a close waits for the client's end, as long as
    /// it may; and a reset is for whoever takes nothing, or was too slow to end.
    fn was_ended_justly(&self, reactor: &mut World, ended: &str) {
        // Others had the processor between a call and the reading of the clock that counts for it.
        const SLACK: Duration = Duration::from_millis(100);
        let config = reactor.hub().config().clone();
        let Moved { read, read_at, written_at, end_read, .. } = reactor.net().moved(self.id);
        let [reset, harmed] = [reactor.net().sees_reset(self.id), reactor.net().was_reset(self.id)];
        let (addr, account) = (self.addr, &reactor.protocol().accounts[&self.addr]);
        let dialed = addr.port() >= 20_000;
        let kept = |moved: Option<Duration>, patience: Option<Duration>| {
            let until = moved.zip(patience).map(|(moved, patience)| moved + patience);
            until.is_some_and(|until| account.ended_at + SLACK < until)
        };
        let lingered = account.closing
            && (account.ended_at >= account.closed_at + config.linger
                || read > config.linger_bytes as usize);
        match ended {
            // Where a first byte is waited for, nothing else counts.
            "idle" if (read == 0 || self.layered) && config.first_byte.is_some() && !dialed => {}
            "idle" => assert!(!kept(read_at.max(written_at), config.idle), "{addr} was not idle"),
            "write stalled" => assert!(!kept(written_at, config.write_stall), "{addr} took bytes"),
            "first byte" if self.layered => {} // it said hello
            "first byte" => assert_eq!(read, 0, "{addr} had said something"),
            "closed" if account.opened && !harmed => {
                assert!(end_read || lingered, "{addr} was not waited for");
                assert!(!reset || lingered, "{addr} was reset, and had done nothing");
            }
            _ => {}
        }
    }

    fn notes_a_closed_door(&mut self, reactor: &mut World) {
        let known = reactor.protocol().accounts.contains_key(&self.addr);
        if !known && self.turned_away.is_none() && reactor.net().sees_reset(self.id) {
            self.turned_away = Some(reactor.hub().now());
        }
    }

    /// Whoever came before a stop is let in, but for limits, faults, and the end of patience.
    fn was_turned_away_justly(&self, reactor: &mut World) {
        let config = reactor.hub().config().clone();
        let limited = config.when_full == WhenFull::Refuse || config.conns_per_ip.is_some();
        let reset = reactor.net().sees_reset(self.id);
        if !reset || self.too_late || limited || reactor.net().was_harmed(self.id) {
            return;
        }
        let (now, stops) = (reactor.hub().now(), &reactor.protocol().stops);
        let then = self.turned_away.unwrap_or(now);
        let patience =
            [config.handshake, config.idle, config.first_byte].into_iter().flatten().min();
        let no_handshake = !self.greeted
            || self.finished_first
            || config.memory_max < MEMORY_MANY
            // Who has said nothing that has come is not waited for.
            || stops.iter().any(|&at| then >= at)
            || patience.is_some_and(|patience| then >= self.came_at + patience);
        if self.layered && no_handshake {
            return;
        }
        let impatient = stops.len() > 1 || stops.iter().any(|&at| then >= at + config.grace);
        assert!(impatient, "{} came in time, and was turned away", self.addr);
    }
}

impl Client {
    fn greet(&mut self, reactor: &mut World) {
        if self.layered && !self.greeted {
            self.greeted = true;
            self.finished_first = self.finished;
            reactor.net().send(self.id, &Envelope::hello());
        }
    }

    fn send(&mut self, reactor: &mut World, amount: usize) {
        if self.finished {
            return;
        }
        self.greet(reactor);
        let bytes = (self.sent..self.sent + amount).map(|place| byte_of(self.addr, place));
        let plain: Vec<u8> = bytes.collect();
        self.sent += amount;
        let mut wire = Vec::new();
        if self.layered {
            Envelope::wrap(&plain, &mut wire);
        }
        reactor.net().send(self.id, if self.layered { &wire } else { &plain });
    }

    fn receive(&mut self, reactor: &mut World, amount: usize) {
        let wire = reactor.net().receive_some(self.id, amount);
        if wire.is_empty() {
            return;
        }
        let mut plain = Vec::new();
        match self.layered {
            true => self.wire.unwrap(&wire, &mut plain),
            false => plain = wire,
        }
        let account = reactor.protocol().accounts.get(&self.addr);
        let promised = account.map_or(&[][..], |account| &account.promised);
        let next = promised.get(self.got..self.got + plain.len());
        assert_eq!(next, Some(&plain[..]), "{} got what it was never sent", self.addr);
        self.got += plain.len();
    }

    /// In good order, or not.
    fn finish(&mut self, reactor: &mut World) {
        if reactor.protocol().dice.one_in(3) {
            self.finished = true;
            reactor.net().finish_client(self.id);
        } else {
            self.say_goodbye(reactor);
        }
    }

    fn say_goodbye(&mut self, reactor: &mut World) {
        if self.layered && !self.finished {
            reactor.net().send(self.id, &Envelope::goodbye());
        }
        self.finished = true;
        reactor.net().finish_client(self.id);
    }
}
