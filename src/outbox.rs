//! Datagrams that callbacks have sent and that have not left yet, and how often each address was
//! answered.
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Names one UDP socket of a reactor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct UdpId(pub(crate) u16);

/// They wait until the reactor has given them to the kernel, or thrown them away: never longer than
/// a turn. They lie one after the other in one piece of memory.
#[derive(Default)]
pub(crate) struct Outbox {
    /// The sockets that there are to send from; none once they are closed.
    pub(crate) sockets: u16,
    letters: Vec<Letter>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Letter {
    socket: UdpId,
    to: SocketAddr,
    size: usize,
}

impl Outbox {
    /// Many at once must not keep their memory for ever.
    const KEEP_MAX: usize = 256 << 10;

    pub(crate) fn push(&mut self, socket: UdpId, to: SocketAddr, bytes: &[u8]) {
        self.letters.push(Letter { socket, to, size: bytes.len() });
        self.bytes.extend_from_slice(bytes);
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (UdpId, SocketAddr, &[u8])> {
        let mut rest = &self.bytes[..];
        self.letters.iter().map(move |&Letter { socket, to, size }| {
            let (bytes, after) = rest.split_at(size);
            rest = after;
            (socket, to, bytes)
        })
    }

    pub(crate) fn clear(&mut self) {
        self.letters.clear();
        self.bytes.clear();
        self.letters.shrink_to(Self::KEEP_MAX / size_of::<Letter>());
        self.bytes.shrink_to(Self::KEEP_MAX);
    }

    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }
}

/// How many answers went to each address in this second. Addresses that share one of the places
/// share its number: neither memory nor time grows with what strangers invent. Whoever wants to use
/// up another's place can as well use the other's address.
#[derive(Default)]
pub(crate) struct Replies {
    second: u64,
    counts: Vec<u32>,
}

impl Replies {
    const PLACES: usize = 4096;

    /// May one more go there, of at most `max` in a second?
    pub(crate) fn allow(&mut self, to: IpAddr, now: Duration, max: u32) -> bool {
        if self.second != now.as_secs() || self.counts.is_empty() {
            self.second = now.as_secs();
            self.counts.clear();
            self.counts.resize(Self::PLACES, 0);
        }
        // The same in every run, or a seeded world would not be the same again.
        let mut hasher = DefaultHasher::new();
        to.hash(&mut hasher);
        let count = &mut self.counts[hasher.finish() as usize % Self::PLACES];
        let allowed = *count < max;
        *count += u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn what_goes_in_comes_out_in_its_order_and_nothing_is_left() {
        let mut outbox = Outbox::default();
        for round in 0..3 {
            assert!(outbox.is_empty() && outbox.iter().next().is_none(), "{round}");
            outbox.push(UdpId(1), addr(1), b"one");
            outbox.push(UdpId(0), addr(2), b"");
            outbox.push(UdpId(1), addr(3), b"three");
            assert_eq!((outbox.len(), outbox.size()), (3, 8));
            let all: Vec<_> = outbox.iter().collect();
            let wanted = [(1, 1, &b"one"[..]), (0, 2, b""), (1, 3, b"three")];
            assert_eq!(all, wanted.map(|(id, port, bytes)| (UdpId(id), addr(port), bytes)));
            outbox.clear();
        }
        outbox.push(UdpId(0), addr(1), &vec![0; 10 << 20]);
        outbox.clear();
        assert!(outbox.bytes.capacity() <= Outbox::KEEP_MAX);
    }

    #[test]
    fn case_106_each_address_has_its_number_of_answers_in_each_second() {
        let (mut replies, secs) = (Replies::default(), Duration::from_secs);
        let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        for second in [0, 1, 7] {
            let mut of = |ip| (0..9).filter(|_| replies.allow(ip, secs(second), 5)).count();
            assert_eq!((of(one), of(other)), (5, 5));
        }
        assert!(!replies.allow(one, secs(7), 5));
        // A million invented addresses take no more room than one.
        for ip in 0..1_000_000_u32 {
            replies.allow(IpAddr::from(ip.to_be_bytes()), secs(8), 5);
        }
        assert_eq!(replies.counts.len(), Replies::PLACES);
    }
}
