//! The first lesson in sockets, finished: it says who connected and what was received, and answers
//! `Hello Client!`; not to one client, but to all of them at once.
//!
//! Try it with `charkh send "Hello Server!"`.
use charkh::{Escaped, Input, Peer, Protocol, Result, Throttle};

/// Log lines a second, of each kind. A stranger must not be able to fill the disk.
const LINES_PER_SECOND: u32 = 10;

/// Bytes of a message that are shown.
const SHOWN_MAX: usize = 200;

/// Answers every message with a greeting. A message is what one read brings.
#[derive(Debug)]
pub struct Greet {
    connections: Throttle,
    messages: Throttle,
}

impl Default for Greet {
    fn default() -> Self {
        let throttle = Throttle::new(LINES_PER_SECOND);
        Self { connections: throttle.clone(), messages: throttle }
    }
}

impl Protocol for Greet {
    type Session = ();

    fn open(&mut self, peer: &mut Peer) {
        if let Some(suppressed) = self.connections.allow(peer.now()) {
            let more = more(suppressed);
            log::info!("Connection from {} has been established!{more}", peer.addr());
        }
    }

    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        let message = input.take_all();
        if let Some(suppressed) = self.messages.allow(peer.now()) {
            let (text, more) = (Escaped::new(message, SHOWN_MAX), more(suppressed));
            log::info!("Received from client: {text}{more}");
        }
        peer.send(b"Hello Client!");
        Ok(())
    }
}

/// The lines that were not written are counted in the next one that is.
fn more(suppressed: u64) -> String {
    match suppressed {
        0 => String::new(),
        n => format!(" (and {n} more like it)"),
    }
}

fn main() -> Result {
    simple_logger::SimpleLogger::new().with_level(log::LevelFilter::Info).init()?;
    charkh::serve("localhost:12345", Greet::default())?;
    Ok(())
}
