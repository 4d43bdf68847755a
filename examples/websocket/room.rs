//! The room: who is in it, and what they tell each other.
//!
//! All of it is text. The page says `name NAME` and `say TEXT`. It hears `you NAME`, `here` with a
//! name on each line that follows, `joined NAME`, `left NAME`, `renamed OLD` and `said NAME` with
//! the new name or the text on the lines that follow, and `no WORD`: why something was not done.
use std::{collections::BTreeMap, sync::Arc};

use charkh::{ConnId, Hub, Peer, Throttle};

use super::frame;

/// The longest name, in bytes.
const NAME_MAX: usize = 40;

/// Everybody who is here, by name. Ordered, so that the same things happen in the same order every
/// time.
#[derive(Debug)]
pub struct Room {
    /// People at once; one more is refused with 503. Everybody hears of everybody, so what a
    /// message costs grows with them. Default 1000.
    pub people_max: usize,
    /// Bytes that somebody may have unread. Whoever reads so slowly is cut off. Default 1 MiB.
    pub backlog_max: usize,
    /// Messages of one person in a second; one more is not passed on. Default 10.
    pub per_second: u32,
    people: BTreeMap<String, ConnId>,
    guests: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Person {
    name: String,
    throttle: Throttle,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            people_max: 1000,
            backlog_max: 1 << 20,
            per_second: 10,
            people: BTreeMap::new(),
            guests: 0,
        }
    }
}

impl Room {
    /// Nobody else may come in.
    pub(super) fn is_full(&self) -> bool {
        self.people.len() >= self.people_max
    }

    /// Somebody comes in, and hears who is here.
    pub(super) fn enter(&mut self, peer: &mut Peer) -> Person {
        let name = self.next_guest();
        tell(peer, &format!("you {name}"));
        self.tell_all(peer.hub(), &format!("joined {name}"));
        self.people.insert(name.clone(), peer.id());
        let names: Vec<&str> = self.people.keys().map(String::as_str).collect();
        tell(peer, &format!("here\n{}", names.join("\n")));
        Person { name, throttle: Throttle::new(self.per_second) }
    }

    /// What somebody says.
    pub(super) fn hear(&mut self, peer: &mut Peer, person: &mut Person, text: &str) {
        if person.throttle.allow(peer.now()).is_none() {
            return tell(peer, "no too-fast");
        }
        match text.split_once(' ') {
            Some(("name", name)) => self.rename(peer, person, name.trim()),
            Some(("say", text)) if !text.trim().is_empty() => {
                let text = printable(text.trim());
                self.tell_all(peer.hub(), &format!("said {}\n{text}", person.name));
            }
            _ => tell(peer, "no such-thing"),
        }
    }

    /// Somebody is gone. It may have been known before.
    pub(super) fn leave(&mut self, hub: &mut Hub, id: ConnId, person: &Person) {
        if self.people.get(&person.name) == Some(&id) {
            self.people.remove(&person.name);
            self.tell_all(hub, &format!("left {}", person.name));
        }
    }

    fn rename(&mut self, peer: &mut Peer, person: &mut Person, name: &str) {
        let old = person.name.clone();
        if old == name {
            return tell(peer, &format!("you {name}"));
        }
        if !is_name(name) {
            return tell(peer, "no name");
        }
        if self.people.contains_key(name) {
            return tell(peer, "no free-name");
        }
        self.people.remove(&old);
        self.people.insert(name.into(), peer.id());
        person.name = name.into();
        tell(peer, &format!("you {name}"));
        self.tell_all(peer.hub(), &format!("renamed {old}\n{name}"));
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

    /// One frame, however many hear it.
    fn tell_all(&mut self, hub: &mut Hub, text: &str) {
        let frame = frame::shared(text);
        for &id in self.people.values() {
            if let Some(mut peer) = hub.peer(id) {
                hand(&mut peer, &frame, self.backlog_max);
            }
        }
    }
}

/// Give a frame to somebody who reads; whoever does not is gone.
fn hand(peer: &mut Peer, frame: &Arc<[u8]>, backlog_max: usize) {
    match peer.unsent() + frame.len() > backlog_max {
        true => peer.abort(),
        false => drop(peer.send_shared(frame)),
    }
}

fn tell(peer: &mut Peer, text: &str) {
    let mut out = Vec::new();
    frame::put(&mut out, frame::Opcode::Text, text.as_bytes());
    peer.send(&out);
}

/// Letters of any script, digits, and what joins them: nothing that cannot be seen, that moves what
/// stands beside it, or that could be taken for the end of the name. The non-joiner is a part of
/// many a Persian word, but not its beginning or end.
fn is_name(name: &str) -> bool {
    const NON_JOINER: char = '\u{200c}';
    let is_inner = |c: char| c.is_alphanumeric() || "-_. ".contains(c) || c == NON_JOINER;
    name.len() <= NAME_MAX
        && name.chars().all(is_inner)
        && name.starts_with(char::is_alphanumeric)
        && name.ends_with(char::is_alphanumeric)
}

/// Without what moves another's cursor or paints another's screen. A page shows it as text,
/// whatever it is; others may be less careful.
fn printable(text: &str) -> String {
    let is_control = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.chars().map(|c| if is_control(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
