//! The first lesson in sockets, finished: it says who connected and what was received, and answers
//! `Hello Client!`; not to one client, but to all of them at once.
//!
//! Try it with `charkh send "Hello Server!"`.
use std::time::Duration;

use charkh::{Datagram, Escaped, Input, Peer, Protocol, Result, Throttle};

/// What everybody hears.
const GREETING: &[u8] = b"Hello Client!";

/// Log lines a second, of each kind. A stranger must not be able to fill the disk.
const LINES_PER_SECOND: u32 = 10;

/// Bytes of a message that are shown.
const SHOWN_MAX: usize = 200;

/// Answers every message with a greeting. A message is what one read brings, or one datagram.
#[derive(Debug)]
pub struct Greet {
    connections: Throttle,
    messages: Throttle,
    unanswered: Throttle,
}

impl Default for Greet {
    fn default() -> Self {
        let throttle = Throttle::new(LINES_PER_SECOND);
        Self { connections: throttle.clone(), messages: throttle.clone(), unanswered: throttle }
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
        self.note(input.take_all(), peer.now());
        peer.send(GREETING);
        Ok(())
    }

    /// Who asks in fewer bytes than the greeting has is not answered: the address may be somebody
    /// else's, who would be sent more than the asking cost. Nor is a greeting, or two servers like
    /// this one would greet each other for ever.
    fn datagram(&mut self, datagram: &mut Datagram) {
        let (message, from) = (datagram.bytes(), datagram.addr());
        self.note(message, datagram.now());
        if message != GREETING && datagram.reply(GREETING) {
            return;
        }
        if let Some(suppressed) = self.unanswered.allow(datagram.now()) {
            let (size, more) = (message.len(), more(suppressed));
            log::info!("Not answered: a datagram of {size} bytes from {from}{more}");
        }
    }
}

impl Greet {
    fn note(&mut self, message: &[u8], now: Duration) {
        if let Some(suppressed) = self.messages.allow(now) {
            let (text, more) = (Escaped::new(message, SHOWN_MAX), more(suppressed));
            log::info!("Received from client: {text}{more}");
        }
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
