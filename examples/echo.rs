//! Sends back what comes. All of a server is here.
use charkh::{Datagram, Input, Peer, Protocol, Result};

/// It remembers nothing, neither of itself nor of a connection.
#[derive(Debug)]
pub struct Echo;

impl Protocol for Echo {
    type Session = ();
    fn open(&mut self, _: &mut Peer) {}
    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        peer.send(input.take_all());
        Ok(())
    }
    fn datagram(&mut self, datagram: &mut Datagram) {
        datagram.reply(datagram.bytes());
    }
}

fn main() -> std::io::Result<()> {
    charkh::serve("localhost:7000", Echo).map(drop)
}
