//! The connections of one thread: what is remembered of each, whether it is up or not.
use charkh::ConnId;

use super::reply::State;

/// A place for one connection after the other. A hundred thousand idle ones are held: see the
/// assertion, and what those have that ask for something in [`Links`].
pub(crate) struct Link {
    /// The connection that is up now.
    pub(crate) id: Option<ConnId>,
    /// Requests that were answered while measuring.
    pub(crate) served: u32,
    /// The message that is sent next.
    pub(crate) seq: u32,
    /// The last reply, and the longest time without one though one was owed.
    pub(crate) last: Tenths,
    pub(crate) gap: Tenths,
    /// The oldest request that has no reply yet, in the ring of this link, and how many there are.
    head: u16,
    flying: u16,
    /// The first byte of the oldest one's reply is here.
    pub(crate) answering: bool,
    /// Its timer runs.
    pub(crate) armed: bool,
    /// It stands in the queue of those that may be given a request.
    pub(crate) queued: bool,
    /// It came up, or failed to: since then nobody waits for it.
    pub(crate) settled: bool,
    /// Nothing more is sent: the target said that it will close, or has done so.
    pub(crate) closing: bool,
    /// It said so.
    pub(crate) announced: bool,
    /// This connection brought a reply.
    pub(crate) useful: bool,
    /// What ended it has been counted.
    pub(crate) judged: bool,
}

const _: () = assert!(size_of::<Link>() <= 40);

/// Tenths of a millisecond since the beginning: a clock of four bytes, for five days.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Tenths(u32);

impl Tenths {
    pub(crate) fn of(ns: u64) -> Self {
        Self(u32::try_from(ns / 100_000).unwrap_or(u32::MAX))
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn ms(self) -> f64 {
        f64::from(self.0) / 10.0
    }
}

/// A request under way: nanoseconds since the beginning.
#[derive(Clone, Copy, Default)]
pub(crate) struct Flight {
    pub(crate) planned: u64,
    pub(crate) sent: u64,
}

pub(crate) struct Links {
    pub(crate) all: Vec<Link>,
    /// A ring of so many for each link; none if nothing is sent.
    flights: Vec<Flight>,
    /// How far the reply of each has been read; none if nothing is sent.
    replies: Vec<State>,
    depth: u16,
    /// How many requests may be sent on one connection, and how many are left on that of each; none
    /// if there is no end to them.
    per_connection: Option<u32>,
    left: Vec<u32>,
}

impl Links {
    pub(crate) fn new(count: usize, depth: u16, per_connection: Option<u32>) -> Self {
        let blank = || Link {
            id: None,
            served: 0,
            seq: 0,
            last: Tenths::default(),
            gap: Tenths::default(),
            head: 0,
            flying: 0,
            answering: false,
            armed: false,
            queued: false,
            settled: false,
            closing: false,
            announced: false,
            useful: false,
            judged: false,
        };
        let flights = vec![Flight::default(); count * usize::from(depth)];
        let replies = vec![State::default(); if depth == 0 { 0 } else { count }];
        let left = per_connection.map_or(Vec::new(), |most| vec![most; count]);
        let all = (0..count).map(|_| blank()).collect();
        Self { all, flights, replies, depth, per_connection, left }
    }

    pub(crate) fn get(&mut self, n: u32) -> &mut Link {
        &mut self.all[n as usize]
    }

    /// Only while a request is under way: then there is one.
    pub(crate) fn reply(&mut self, n: u32) -> &mut State {
        &mut self.replies[n as usize]
    }

    /// Another connection takes its place.
    pub(crate) fn refresh(&mut self, n: u32) {
        if let Some(reply) = self.replies.get_mut(n as usize) {
            *reply = State::default();
        }
        if let Some(left) = self.left.get_mut(n as usize) {
            *left = self.per_connection.unwrap_or(0);
        }
        let link = self.get(n);
        link.answering = false;
        link.armed = false;
        link.closing = false;
        link.announced = false;
        link.useful = false;
        link.judged = false;
    }

    /// It is up, and has room for one more request.
    pub(crate) fn has_room(&self, n: u32) -> bool {
        let link = &self.all[n as usize];
        link.id.is_some() && !link.closing && link.flying < self.depth && self.may_send(n)
    }

    fn may_send(&self, n: u32) -> bool {
        self.left.get(n as usize).is_none_or(|&left| left > 0)
    }

    /// All that may be sent on its connection was sent, and answered.
    pub(crate) fn is_spent(&self, n: u32) -> bool {
        !self.may_send(n) && self.flying(n) == 0
    }

    pub(crate) fn flying(&self, n: u32) -> u16 {
        self.all[n as usize].flying
    }

    /// Another request is under way.
    pub(crate) fn push(&mut self, n: u32, flight: Flight) {
        let link = &mut self.all[n as usize];
        let at = (link.head + link.flying) % self.depth;
        self.flights[n as usize * usize::from(self.depth) + usize::from(at)] = flight;
        link.flying += 1;
        if let Some(left) = self.left.get_mut(n as usize) {
            *left -= 1;
        }
    }

    /// The oldest one.
    pub(crate) fn oldest(&self, n: u32) -> Option<Flight> {
        let link = &self.all[n as usize];
        let at = n as usize * usize::from(self.depth) + usize::from(link.head);
        (link.flying > 0).then(|| self.flights[at])
    }

    /// The oldest one is over.
    pub(crate) fn pop(&mut self, n: u32) -> Option<Flight> {
        let oldest = self.oldest(n)?;
        let link = &mut self.all[n as usize];
        link.head = (link.head + 1) % self.depth;
        link.flying -= 1;
        Some(oldest)
    }

    /// How long this one has been owed a reply.
    pub(crate) fn owed(&self, n: u32, now: u64) -> Tenths {
        let last = self.all[n as usize].last;
        match self.oldest(n) {
            Some(oldest) => Tenths::of(now).since(last.max(Tenths::of(oldest.sent))),
            None => Tenths::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_in_their_order_round_and_round() {
        let mut links = Links::new(2, 3, None);
        let flight = |n: u64| Flight { planned: n, sent: n };
        let (mut sent, mut answered) = (0, 0);
        for round in 0..100_u64 {
            for _ in 0..round % 4 {
                if links.flying(1) < 3 {
                    links.push(1, flight(sent));
                    sent += 1;
                }
            }
            for _ in 0..round % 3 {
                assert_eq!(links.oldest(1).map(|f| f.sent), links.pop(1).map(|f| f.sent));
                answered = (answered + 1).min(sent);
                assert_eq!(u64::from(links.flying(1)), sent - answered);
                assert!(links.oldest(1).is_none_or(|next| next.sent == answered));
            }
        }
        assert!(sent > 50 && links.flying(0) == 0);
    }

    #[test]
    fn a_reply_is_owed_from_the_sending_or_from_the_reply_before() {
        let ms = |ms: u64| ms * 1_000_000;
        let mut links = Links::new(1, 2, None);
        assert_eq!(links.owed(0, ms(100)).ms(), 0.0);
        links.push(0, Flight { planned: 0, sent: ms(50) });
        assert_eq!(links.owed(0, ms(100)).ms(), 50.0);
        links.get(0).last = Tenths::of(ms(80));
        assert_eq!(links.owed(0, ms(100)).ms(), 20.0);
    }
}
