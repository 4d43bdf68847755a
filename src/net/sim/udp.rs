//! Datagrams in a simulated world: they come one by one and whole, and nothing else is promised.
use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Event, Kind, Received, SHORTAGES, Sim, Token};

/// The longest that IPv4 has room for.
const LONGEST: usize = 65_507;

/// EMSGSIZE: a datagram is too long for a network.
const TOO_LONG: i32 = if cfg!(windows) {
    10040
} else if cfg!(any(target_os = "linux", target_os = "android")) {
    90
} else {
    40
};

/// A UDP socket of the simulated world.
#[derive(Debug)]
pub struct SimUdp {
    index: usize,
    open: Arc<AtomicBool>,
}

impl Drop for SimUdp {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Relaxed);
    }
}

/// All of them, seen from above, and what has come for those outside.
#[derive(Debug, Default)]
pub(super) struct Mail {
    boxes: Vec<Letterbox>,
    delivered: BTreeMap<SocketAddr, VecDeque<Letter>>,
}

#[derive(Debug)]
struct Letterbox {
    token: Token,
    addr: SocketAddr,
    open: Arc<AtomicBool>,
    in_flight: VecDeque<Letter>,
    arrived: VecDeque<Letter>,
    /// An ICMP message has come back: the next call on the socket is told of it.
    unreachable: bool,
    edge: bool,
}

/// A datagram, and who sent it.
type Letter = (SocketAddr, Vec<u8>);

impl Letterbox {
    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
}

/// The outside.
impl Sim {
    /// Somebody with this address sends a datagram to the UDP socket of that index.
    pub fn send_datagram(&mut self, from: SocketAddr, socket: usize, bytes: &[u8]) {
        if let Some(letterbox) = self.mail.boxes.get_mut(socket).filter(|one| one.is_open()) {
            letterbox.in_flight.push_back((from, bytes.into()));
        }
    }

    /// The next datagram that has come for this address, and the address it came from.
    pub fn receive_datagram(&mut self, at: SocketAddr) -> Option<(SocketAddr, Vec<u8>)> {
        self.mail.delivered.get_mut(&at)?.pop_front()
    }

    /// Datagrams that have arrived at sockets that are open, and were not received.
    pub fn datagrams_waiting(&self) -> usize {
        let open = self.mail.boxes.iter().filter(|letterbox| letterbox.is_open());
        open.map(|letterbox| letterbox.arrived.len()).sum()
    }

    /// UDP sockets that the server holds.
    pub fn open_udp(&self) -> usize {
        self.mail.boxes.iter().filter(|letterbox| letterbox.is_open()).count()
    }
}

/// What the world does by itself.
impl Sim {
    pub(super) fn deliver_all_datagrams(&mut self) {
        for letterbox in &mut self.mail.boxes {
            letterbox.edge |= !letterbox.in_flight.is_empty();
            letterbox.arrived.append(&mut letterbox.in_flight);
        }
    }

    /// Some of what is in flight arrives: once, as a rule, and in its order, as a rule.
    pub(super) fn deliver_datagrams(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.mail.boxes.len() {
            let flying = self.mail.boxes[index].in_flight.len();
            if flying == 0 || !self.mail.boxes[index].is_open() {
                continue;
            }
            moved = true;
            for _ in 0..1 + self.random(flying) {
                self.deliver_one(index);
            }
        }
        moved
    }

    fn deliver_one(&mut self, index: usize) {
        let Some(letter) = self.mail.boxes[index].in_flight.pop_front() else { return };
        if self.strikes(Kind::Lost, None) {
            return;
        }
        let again = self.strikes(Kind::Duplicated, None).then(|| letter.clone());
        let overtakes = self.strikes(Kind::Reordered, None);
        let arrived = self.mail.boxes[index].arrived.len();
        let place = if overtakes { self.luck.below(arrived) } else { arrived };
        let letterbox = &mut self.mail.boxes[index];
        letterbox.arrived.insert(place, letter);
        letterbox.arrived.extend(again);
        letterbox.edge = true;
    }

    pub(super) fn tell_of_datagrams(&mut self, events: &mut Vec<Event>) {
        for index in 0..self.mail.boxes.len() {
            if !self.mail.boxes[index].is_open() {
                continue;
            }
            let spurious = self.strikes(Kind::Spurious, None);
            let changed = self.mail.boxes[index].edge;
            if !spurious && (!changed || self.strikes(Kind::Late, None)) {
                continue;
            }
            let letterbox = &mut self.mail.boxes[index];
            letterbox.edge = false;
            let failed = letterbox.unreachable;
            let (token, [readable, writable, ending]) = (letterbox.token, [true, true, failed]);
            events.push(Event { token, readable, writable, ending, failed });
        }
    }

    /// There is something to tell.
    pub(super) fn has_news_of_datagrams(&self) -> bool {
        self.mail.boxes.iter().any(|letterbox| letterbox.is_open() && letterbox.edge)
    }

    pub(super) fn open_udp_at(&mut self, addr: SocketAddr, token: Token) -> (SimUdp, SocketAddr) {
        let (open, index) = (Arc::new(AtomicBool::new(true)), self.mail.boxes.len());
        self.mail.boxes.push(Letterbox {
            token,
            addr,
            open: open.clone(),
            in_flight: VecDeque::new(),
            arrived: VecDeque::new(),
            unreachable: false,
            edge: false,
        });
        (SimUdp { index, open }, addr)
    }

    pub(super) fn try_recv_from(
        &mut self,
        socket: &SimUdp,
        into: &mut [u8],
    ) -> io::Result<Received> {
        let index = socket.index;
        self.hinder_datagram(index)?;
        if self.strikes(Kind::NoMemory, None) {
            return Err(self.shortage(&SHORTAGES[2..]));
        }
        if self.strikes(Kind::Empty, None) {
            self.mail.boxes[index].edge = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let letter = self.mail.boxes[index].arrived.pop_front();
        let (from, bytes) = letter.ok_or(ErrorKind::WouldBlock)?;
        let mut size = bytes.len().min(into.len());
        let truncated = bytes.len() > size || self.strikes(Kind::Truncated, None);
        if truncated && bytes.len() == size {
            size = self.luck.below(size);
        }
        into[..size].copy_from_slice(&bytes[..size]);
        Ok(Received { size, from, truncated })
    }

    pub(super) fn try_send_to(
        &mut self,
        socket: &SimUdp,
        to: SocketAddr,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.hinder_datagram(socket.index)?;
        if bytes.len() > LONGEST {
            return Err(io::Error::from_raw_os_error(TOO_LONG));
        }
        if self.strikes(Kind::Untaken, None) {
            return Err(match self.luck.below(3) {
                0 => ErrorKind::WouldBlock.into(),
                1 => io::Error::from_raw_os_error(TOO_LONG),
                _ => self.shortage(&SHORTAGES[3..]),
            });
        }
        let letterbox = &mut self.mail.boxes[socket.index];
        let from = letterbox.addr;
        if self.strikes(Kind::Unreachable, None) {
            let letterbox = &mut self.mail.boxes[socket.index];
            (letterbox.unreachable, letterbox.edge) = (true, true);
        } else if !self.strikes(Kind::Lost, None) {
            self.mail.delivered.entry(to).or_default().push_back((from, bytes.into()));
        }
        Ok(())
    }

    /// What may be in the way of a call, whichever it is.
    fn hinder_datagram(&mut self, index: usize) -> io::Result<()> {
        if std::mem::take(&mut self.mail.boxes[index].unreachable) {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        if self.strikes(Kind::Slow, None) {
            self.clock.advance(Duration::from_millis(1 + self.luck.below(20) as u64));
        }
        if self.strikes(Kind::Interrupted, None) {
            return Err(ErrorKind::Interrupted.into());
        }
        Ok(())
    }
}
