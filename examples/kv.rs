//! A key-value store: lines in, lines out, one map for everybody.
//!
//! ```text
//! $ cargo run --example kv                 # or: kv ADDRESS
//! $ nc localhost 7001
//! SET colour deep blue
//! +ok
//! GET colour
//! +deep blue
//! DEL colour
//! +ok
//! COUNT
//! +0 keys, 4 commands
//! QUIT
//! +bye
//! ```
//! It shows state that all connections share (`&mut self`), state of one (`Session`), framing by
//! lines, and how to refuse a client so that it can read why.
use std::{collections::HashMap, io::Write};

use charkh::{Input, Peer, Protocol, Result};

const LINE_MAX: usize = 1024;
const KEYS_MAX: usize = 1 << 20;

/// The store, and its protocol.
#[derive(Debug, Default)]
pub struct Kv {
    map: HashMap<Vec<u8>, Vec<u8>>,
}

impl Protocol for Kv {
    /// How many commands this connection has sent.
    type Session = u64;

    fn open(&mut self, _: &mut Peer) -> u64 {
        0
    }

    fn data(&mut self, peer: &mut Peer, count: &mut u64, input: &mut Input) -> Result {
        if let Err(e) = self.commands(peer, count, input) {
            // To return the error would end the connection at once, with its last answer perhaps
            // still on the way. `close` lets everything arrive first.
            writeln!(peer, "-{e}")?;
            peer.close();
        }
        Ok(())
    }
}

impl Kv {
    fn commands(&mut self, peer: &mut Peer, count: &mut u64, input: &mut Input) -> Result {
        while let Some(line) = input.line(LINE_MAX)? {
            *count += 1;
            let mut words = line.splitn(3, |&byte| byte == b' ');
            match (words.next(), words.next(), words.next()) {
                (Some(b"GET"), Some(key), None) => match self.map.get(key) {
                    Some(value) => say(peer, &[b"+", value]),
                    None => say(peer, &[b"-none"]),
                },
                (Some(b"SET"), Some(key), Some(value)) => {
                    if self.map.len() == KEYS_MAX && !self.map.contains_key(key) {
                        return Err("full".into());
                    }
                    self.map.insert(key.into(), value.into());
                    say(peer, &[b"+ok"]);
                }
                (Some(b"DEL"), Some(key), None) => match self.map.remove(key) {
                    Some(_) => say(peer, &[b"+ok"]),
                    None => say(peer, &[b"-none"]),
                },
                (Some(b"COUNT"), None, None) => {
                    writeln!(peer, "+{} keys, {count} commands", self.map.len())?;
                }
                (Some(b"QUIT"), None, None) => {
                    say(peer, &[b"+bye"]);
                    peer.close();
                    return Ok(());
                }
                _ => return Err("what? SET key value, GET key, DEL key, COUNT or QUIT".into()),
            }
        }
        Ok(())
    }
}

/// Sends are gathered, and leave together when `data` returns.
fn say(peer: &mut Peer, parts: &[&[u8]]) {
    for part in parts {
        peer.send(part);
    }
    peer.send(b"\n");
}

fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "localhost:7001".into());
    charkh::serve(addr, Kv::default()).map(drop)
}
