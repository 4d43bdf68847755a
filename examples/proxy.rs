//! A TCP proxy: what a client says goes upstream, and what upstream says comes back.
//!
//! ```text
//! $ cargo run --example kv &
//! $ cargo run --example proxy localhost:7002 localhost:7001
//! $ nc localhost 7002
//! COUNT
//! +0 keys, 1 commands
//! ```
//! It shows outbound connections, and two connections that act on each other: back-pressure (a
//! side is not read while the other is full), half-closes (an end is passed on as an end, behind
//! the bytes before it) and failures (a stream that was cut off ends as a reset, never as if it
//! were whole).
use std::{
    collections::HashMap,
    env,
    net::{SocketAddr, ToSocketAddrs},
};

use charkh::{ConnId, Hub, Input, Peer, Protocol, Reason, Result, Throttle};

/// Pairs every client with a connection of its own to `upstream`.
#[derive(Debug)]
pub struct Proxy {
    upstream: SocketAddr,
    /// Connections on their way up, which have no session yet, and the clients they are for.
    dialing: HashMap<ConnId, ConnId>,
    /// While upstream is down every client would be a line.
    complaints: Throttle,
}

/// One half of a pair.
#[derive(Debug)]
pub struct Half {
    other: ConnId,
    /// It has finished sending, so the other half is told all of it.
    whole: bool,
}

impl Proxy {
    /// To this address.
    pub fn new(upstream: SocketAddr) -> Self {
        Self { upstream, dialing: HashMap::new(), complaints: Throttle::new(1) }
    }
}

impl Protocol for Proxy {
    type Session = Half;

    fn open(&mut self, peer: &mut Peer) -> Half {
        let other = self.dialing.remove(&peer.id()).unwrap_or_else(|| {
            // A client. What it says from now on is queued until its upstream is up.
            let upstream = peer.hub().connect(self.upstream);
            self.dialing.insert(upstream, peer.id());
            upstream
        });
        // What goes up and what comes down are two streams: one that is full must not stop the
        // other. Each pauses whoever fills it.
        peer.read_while_full(true);
        Half { other, whole: false }
    }

    fn data(&mut self, peer: &mut Peer, half: &mut Half, input: &mut Input) -> Result {
        // No other: it has ended, and `closed` is about to tell us.
        let Some(mut other) = peer.to(half.other) else { return Ok(()) };
        other.send(input.take_all());
        if other.is_full() {
            peer.pause();
        }
        Ok(())
    }

    fn drained(&mut self, peer: &mut Peer, half: &mut Half) -> Result {
        if let Some(mut other) = peer.to(half.other) {
            other.resume();
        }
        Ok(())
    }

    fn eof(&mut self, peer: &mut Peer, half: &mut Half, _: &mut Input) -> Result {
        half.whole = true;
        if let Some(mut other) = peer.to(half.other) {
            other.finish();
        }
        Ok(())
    }

    /// A pair that is silent may be a question on its way to its answer; only the two ends know.
    /// So it is left to them, and to the end of the grace.
    fn stopping(&mut self, _: &mut Peer, _: &mut Half) -> Result {
        Ok(())
    }

    fn closed(&mut self, hub: &mut Hub, _: ConnId, half: Half, _: Reason) {
        match hub.peer(half.other) {
            // What it had to say is queued there, and is not lost to what came after.
            Some(mut other) if half.whole => other.close(),
            Some(mut other) => other.abort(),
            None => {}
        }
    }

    fn connect_failed(&mut self, hub: &mut Hub, id: ConnId, reason: Reason) {
        if self.complaints.allow(hub.now()).is_some() {
            eprintln!("cannot connect to {}: {reason}", self.upstream);
        }
        let client = self.dialing.remove(&id);
        if let Some(mut client) = client.and_then(|client| hub.peer(client)) {
            client.close();
        }
    }
}

fn main() -> Result {
    let args: Vec<String> = env::args().skip(1).collect();
    let [listen, upstream] = &args[..] else {
        return Err("usage: proxy LISTEN UPSTREAM".into());
    };
    let mut addrs = upstream.to_socket_addrs().map_err(|e| format!("{upstream}: {e}"))?;
    let upstream = addrs.next().ok_or_else(|| format!("{upstream} has no address"))?;
    charkh::serve(listen, Proxy::new(upstream)).map_err(|e| format!("{listen}: {e}"))?;
    Ok(())
}
