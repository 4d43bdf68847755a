//! A chat: one line is one message, and everyone hears everyone else.
//!
//! `/nick NAME` takes a name, `/who` tells who is here, `/quit` leaves. Try it with several
//! `charkh send --to localhost:7000`, or with `nc`.
use std::{collections::BTreeMap, sync::Arc};

use charkh::{ConnId, Escaped, Hub, Input, Peer, Protocol, Reason, Result};

/// The longest line, in bytes.
const LINE_MAX: usize = 1000;

/// The longest name, in bytes.
const NAME_MAX: usize = 32;

/// Everybody, by name. Ordered, so that the same things happen in the same order every time.
#[derive(Debug, Default)]
pub struct Chat {
    people: BTreeMap<String, ConnId>,
    guests: u64,
}

impl Protocol for Chat {
    /// The name.
    type Session = String;

    fn open(&mut self, peer: &mut Peer) -> String {
        let name = self.next_guest();
        peer.send(format!("* you are {name}; /nick NAME, /who, /quit\n").as_bytes());
        self.people.insert(name.clone(), peer.id());
        self.tell_others(peer.id(), peer.hub(), &format!("* {name} joined\n"));
        name
    }

    fn data(&mut self, peer: &mut Peer, name: &mut String, input: &mut Input) -> Result {
        loop {
            match input.line(LINE_MAX) {
                Ok(Some(line)) if line.trim_ascii() == b"/quit" => {
                    break self.dismiss(peer, name, "goodbye");
                }
                Ok(Some(line)) => self.hear(peer, name, line),
                Ok(None) => break,
                Err(_) => {
                    let why = format!("a line has at most {LINE_MAX} bytes; goodbye");
                    break self.dismiss(peer, name, &why);
                }
            }
        }
        Ok(())
    }

    /// A last line without an end is a line too.
    fn eof(&mut self, peer: &mut Peer, name: &mut String, rest: &mut Input) -> Result {
        if !rest.is_empty() {
            self.hear(peer, name, rest.take_all());
        }
        peer.finish();
        Ok(())
    }

    fn closed(&mut self, hub: &mut Hub, id: ConnId, name: String, _: Reason) {
        self.leave(id, hub, &name);
    }
}

impl Chat {
    fn hear(&mut self, peer: &mut Peer, name: &mut String, line: &[u8]) {
        let Ok(text) = std::str::from_utf8(line) else {
            peer.send(b"* that was no UTF-8; nobody heard it\n");
            return;
        };
        match text.trim_end().split_once(' ').unwrap_or((text.trim_end(), "")) {
            ("/nick", new) => self.rename(peer, name, new.trim()),
            ("/who", "") => {
                let names: Vec<&str> = self.people.keys().map(String::as_str).collect();
                peer.send(format!("* {}: {}\n", names.len(), names.join(", ")).as_bytes());
            }
            ("", "") => {}
            (word, _) if word.starts_with('/') => {
                peer.send(b"* there are /nick NAME, /who and /quit\n");
            }
            _ => {
                // Nobody may send what moves another's cursor or paints another's screen.
                let text = Escaped::new(line, LINE_MAX);
                self.tell_others(peer.id(), peer.hub(), &format!("{name}: {text}\n"));
            }
        }
    }

    fn dismiss(&mut self, peer: &mut Peer, name: &str, why: &str) {
        peer.send(format!("* {why}\n").as_bytes());
        peer.close();
        self.leave(peer.id(), peer.hub(), name);
    }

    /// A connection can outlive the leave. By then the name may be another's.
    fn leave(&mut self, id: ConnId, hub: &mut Hub, name: &str) {
        if self.people.get(name) == Some(&id) {
            self.people.remove(name);
            self.tell_others(id, hub, &format!("* {name} left\n"));
        }
    }

    fn rename(&mut self, peer: &mut Peer, name: &mut String, new: &str) {
        if let Err(why) = self.check(new) {
            peer.send(format!("* {why}\n").as_bytes());
            return;
        }
        self.people.remove(name);
        self.people.insert(new.into(), peer.id());
        peer.send(format!("* you are {new}\n").as_bytes());
        self.tell_others(peer.id(), peer.hub(), &format!("* {name} is now {new}\n"));
        *name = new.into();
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let plain = Escaped::new(name.as_bytes(), NAME_MAX).to_string() == name;
        match name {
            "" => Err("write /nick and a name".into()),
            name if name.len() > NAME_MAX => Err(format!("a name has at most {NAME_MAX} bytes")),
            name if !plain || name.contains(char::is_whitespace) => {
                Err("a name is one word, of signs that can be seen".into())
            }
            name if self.people.contains_key(name) => Err(format!("{name} is taken")),
            _ => Ok(()),
        }
    }

    fn next_guest(&mut self) -> String {
        loop {
            self.guests += 1;
            let name = format!("guest-{}", self.guests);
            if !self.people.contains_key(&name) {
                return name;
            }
        }
    }

    /// One payload, however many hear it.
    fn tell_others(&self, from: ConnId, hub: &mut Hub, text: &str) {
        let payload: Arc<[u8]> = text.as_bytes().into();
        for &id in self.people.values().filter(|&&id| id != from) {
            if let Some(mut peer) = hub.peer(id) {
                peer.send_shared(&payload);
            }
        }
    }
}

fn main() -> std::io::Result<()> {
    charkh::serve("localhost:7000", Chat::default()).map(drop)
}
