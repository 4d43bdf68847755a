//! One connection to a feed, and everybody who is here hears it. The feed may go, and come back.
//!
//! ```text
//! $ charkh serve --protocol chat 7000 &
//! $ cargo run --example relay localhost:7004 localhost:7000
//! $ nc localhost 7004
//! * the feed is here
//! ```
//! What is said here goes to the feed, so all who are here are one guest of that chat. Stop the
//! chat, and start it again. It shows [`Keeper`]: it dials again, later and later and each relay at
//! a time of its own, for as long as it takes.
use std::{
    env,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use charkh::{Backoff, ConnId, Hub, Input, Keeper, Peer, Protocol, Reactor, Reason, Result};

/// The longest line, in bytes.
const LINE_MAX: usize = 1000;

/// Everybody here has one feed.
#[derive(Debug)]
pub struct Relay {
    feed: Keeper,
}

impl Relay {
    /// Of the feed at this address.
    pub fn of(feed: SocketAddr) -> Self {
        Self { feed: Keeper::new(feed, Backoff::default()) }
    }

    /// From now on, and as long as all this runs.
    pub fn connect(&mut self, hub: &mut Hub) {
        self.feed.connect(hub);
    }

    fn tell(&self, hub: &mut Hub, text: &[u8]) {
        let (feed, text): (ConnId, Arc<[u8]>) = (self.feed.id(), text.into());
        hub.each(|mut peer| {
            if peer.id() != feed {
                peer.send_shared(&text);
            }
        });
    }

    fn pass_on(&self, peer: &mut Peer, line: &[u8]) {
        if let Some(mut feed) = self.feed.peer(peer.hub()) {
            feed.send(line);
        } else {
            peer.send(b"* the feed is away\n");
        }
    }
}

impl Protocol for Relay {
    type Session = ();

    fn open(&mut self, peer: &mut Peer) {
        if peer.id() == self.feed.id() {
            self.tell(peer.hub(), b"* the feed is here\n");
        } else if self.feed.peer(peer.hub()).is_some() {
            peer.send(b"* the feed is here\n");
        }
    }

    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        while let Some(line) = input.line(LINE_MAX)? {
            let line = [line, b"\n"].concat();
            if peer.id() == self.feed.id() {
                self.tell(peer.hub(), &line);
            } else {
                self.pass_on(peer, &line);
            }
        }
        Ok(())
    }

    fn closed(&mut self, hub: &mut Hub, id: ConnId, _: (), _: Reason) {
        if let Some(delay) = self.feed.closed(hub, id) {
            self.tell(hub, format!("* the feed is away: again in {delay:.1?}\n").as_bytes());
        }
    }

    fn connect_failed(&mut self, hub: &mut Hub, id: ConnId, reason: Reason) {
        if let Some(delay) = self.feed.connect_failed(hub, id) {
            eprintln!("no feed at {}: {reason}: again in {delay:.1?}", self.feed.addr);
        }
    }
}

fn main() -> Result {
    let args: Vec<String> = env::args().skip(1).collect();
    let [listen, feed] = &args[..] else {
        return Err("usage: relay LISTEN FEED".into());
    };
    let mut addrs = feed.to_socket_addrs().map_err(|e| format!("{feed}: {e}"))?;
    let addr = addrs.next().ok_or_else(|| format!("{feed} has no address"))?;
    let mut reactor = Reactor::new(Relay::of(addr))?;
    reactor.listen_all(listen).map_err(|e| format!("{listen}: {e}"))?;
    reactor.handle().run(Relay::connect)?;
    reactor.run()?;
    Ok(())
}
