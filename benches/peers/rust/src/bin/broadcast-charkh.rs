//! Broadcast on charkh: whatever anyone says, everyone is sent the same payload.
use charkh::{Config, Input, Peer, Protocol, Reactor, Result};
use std::{env, sync::Arc};

struct Broadcast {
    payload: Arc<[u8]>,
}

impl Protocol for Broadcast {
    type Session = ();

    fn open(&mut self, _: &mut Peer) {}

    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        input.take_all();
        let payload = &self.payload;
        peer.hub().each(|mut peer| {
            peer.send_shared(payload);
        });
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let asked = env::args().skip_while(|arg| arg != "--size").nth(1);
    let size = asked.and_then(|bytes| bytes.parse().ok()).unwrap_or(100);
    let protocol = Broadcast { payload: vec![b'x'; size].into() };
    let mut reactor = Reactor::with_config(protocol, Config::default())?;
    println!("{}", reactor.listen("127.0.0.1:0")?.addr.port());
    reactor.run().map(drop)
}
