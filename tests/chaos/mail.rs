//! Datagrams in the chaos: what was sent and what came of it, on either side.
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use charkh::{Config, Datagram, Hub, Stats, UdpId};

use super::{World, dice::Dice};

/// Where the server takes them.
pub const PORT: u16 = 7000;

/// Whose it is, and what it says.
type Letter = (SocketAddr, Vec<u8>);

#[derive(Default)]
pub struct Mail {
    /// The server's socket.
    pub socket: Option<UdpId>,
    /// What clients have sent, and how often.
    sent: BTreeMap<Letter, u32>,
    came: BTreeMap<Letter, u32>,
    /// What the server was let send, and nobody has received.
    promised: BTreeMap<Letter, u32>,
    accepted: u64,
    /// Answers of this second.
    second: u64,
    answers: BTreeMap<IpAddr, u32>,
}

/// Two have ports of servers.
const CLIENTS: [(u8, u16); 5] = [(3, 50_000), (3, 50_001), (4, 50_000), (4, 99), (5, PORT)];

fn clients() -> [SocketAddr; 5] {
    CLIENTS.map(|(host, port)| SocketAddr::from(([127, 0, 0, host], port)))
}

/// Some come, some of them too long.
pub fn post(reactor: &mut World) {
    let dice = &mut reactor.protocol().dice;
    let longest = 80;
    let letters: Vec<Letter> = (0..1 + dice.below(8))
        .map(|_| (clients()[dice.below(5)], vec![dice.below(256) as u8; dice.below(longest)]))
        .collect();
    for letter in letters {
        reactor.net().send_datagram(letter.0, 0, &letter.1);
        *reactor.protocol().mail.sent.entry(letter).or_default() += 1;
    }
}

impl Mail {
    /// The server is shown one, and answers it in one way or another.
    pub fn came(&mut self, dice: &mut Dice, datagram: &mut Datagram) {
        let letter = (datagram.addr(), datagram.bytes().to_vec());
        let config = datagram.hub().config().clone();
        assert!(letter.1.len() <= config.datagram_size, "datagram_size");
        assert_eq!(Some(datagram.socket()), self.socket);
        let sent = self.sent.get(&letter).copied().unwrap_or_default();
        let came = self.came.entry(letter).or_default();
        *came += 1;
        // The network may double one.
        assert!(*came <= 2 * sent, "a datagram that nobody has sent");
        let bytes = datagram.bytes();
        match dice.below(5) {
            0 | 1 => self.answer(&config, datagram, bytes),
            2 => self.answer(&config, datagram, &bytes[..bytes.len() / 2]),
            3 => assert!(!datagram.reply(&[bytes, b"!"].concat()), "longer than what it answers"),
            _ => self.write(dice, datagram.hub()),
        }
    }

    fn answer(&mut self, config: &Config, datagram: &mut Datagram, bytes: &[u8]) {
        let (to, now) = (datagram.addr(), datagram.now());
        if !datagram.reply(bytes) {
            return;
        }
        assert!(to.port() >= 1024 && to.port() != PORT, "servers would answer each other");
        if self.second != now.as_secs() {
            (self.second, self.answers) = (now.as_secs(), BTreeMap::new());
        }
        let count = self.answers.entry(to.ip()).or_default();
        *count += 1;
        assert!(config.replies_per_ip.is_none_or(|max| *count <= max), "replies_per_ip");
        self.promise(to, bytes);
    }

    /// To anybody, from any callback.
    pub fn write(&mut self, dice: &mut Dice, hub: &mut Hub) {
        let Some(socket) = self.socket else { return };
        let (to, bytes) = (clients()[dice.below(5)], vec![b'w'; dice.below(60)]);
        if hub.send_datagram(socket, to, &bytes) {
            self.promise(to, &bytes);
        }
    }

    fn promise(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.accepted += 1;
        *self.promised.entry((to, bytes.into())).or_default() += 1;
    }
}

/// After every turn: not more than may be was received, and all that was sent has left, or is lost.
pub fn ask(reactor: &mut World, before: &Stats) {
    let (now, max) = (reactor.hub().stats(), reactor.hub().config().datagrams_max);
    let calls =
        |stats: &Stats| stats.datagrams_in + stats.datagrams_truncated + stats.datagram_errors;
    assert!(calls(&now) - calls(before) <= max.into(), "datagrams_max");
    assert_eq!(now.datagrams_out + now.datagrams_unsent, reactor.protocol().mail.accepted);
    for at in clients() {
        while let Some((from, bytes)) = reactor.net().receive_datagram(at) {
            assert_eq!(from.port(), PORT);
            let left = reactor.protocol().mail.promised.get_mut(&(at, bytes));
            let left = left.expect("it got what it was never sent");
            *left = left.checked_sub(1).expect("it got it more often than it was sent");
        }
    }
}
