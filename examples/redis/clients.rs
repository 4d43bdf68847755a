//! Who is connected: what a connection remembers, and what others may know of it.
use charkh::{Addr, ConnId};
use indexmap::{IndexMap, IndexSet};

use super::{
    commands::Transaction,
    request::Parser,
    store::Store,
    text::Text,
    value::{Hasher, Set},
};

/// One connection.
#[derive(Debug)]
pub struct Session {
    pub id: u64,
    pub resp3: bool,
    pub mute: Mute,
    /// Nothing more is answered.
    pub is_closing: bool,
    db: u8,
    /// A request that is not whole.
    pub partial: Option<Box<Parser>>,
    /// Between MULTI and EXEC.
    pub transaction: Option<Box<Transaction>>,
    pub watched: Vec<Watch>,
    /// Channels and patterns; none for nearly everybody.
    pub topics: Option<Box<Topics>>,
}

/// A key that must not have changed when EXEC comes.
#[derive(Debug)]
pub struct Watch {
    pub db: usize,
    pub key: Text,
    pub changes: u64,
}

#[derive(Default, Debug)]
pub struct Topics {
    pub channels: Set,
    pub patterns: Set,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Mute {
    #[default]
    Off,
    On,
    /// The next request is not answered.
    Next,
}

impl Session {
    pub fn new(id: u64) -> Self {
        Self {
            id,
            resp3: false,
            mute: Mute::Off,
            is_closing: false,
            db: 0,
            partial: None,
            transaction: None,
            watched: Vec::new(),
            topics: None,
        }
    }

    pub fn db(&self) -> usize {
        usize::from(self.db)
    }

    /// One that [`Store::db`] has.
    pub fn select(&mut self, db: usize) {
        self.db = db as u8;
    }

    pub fn is_subscribed(&self) -> bool {
        self.topics.is_some()
    }

    /// Channels and patterns.
    pub fn topics_len(&self) -> (usize, usize) {
        let topics = self.topics.as_ref();
        topics.map_or((0, 0), |topics| (topics.channels.len(), topics.patterns.len()))
    }

    /// No key is watched any more; whether one has changed.
    pub fn unwatch(&mut self, store: &mut Store, now: u64) -> bool {
        let mut changed = false;
        for watch in self.watched.drain(..) {
            changed |= store.db(watch.db).unwatch(&watch.key, now) != watch.changes;
        }
        changed
    }
}

/// What CLIENT LIST tells of one, and what those need to know who send it something.
#[derive(Debug)]
pub struct Client {
    pub conn: ConnId,
    pub addr: Addr,
    pub name: Text,
    pub lib_name: Text,
    pub lib_ver: Text,
    pub since_ms: u64,
    pub active_ms: u64,
    pub db: usize,
    pub resp3: bool,
    pub channels: usize,
    pub patterns: usize,
    /// Requests that wait for EXEC; -1 outside of MULTI.
    pub queued: i64,
}

/// All of them, by their number.
#[derive(Default, Debug)]
pub struct Clients {
    pub all: IndexMap<u64, Client, Hasher>,
    last_id: u64,
}

impl Clients {
    pub fn add(&mut self, conn: ConnId, addr: Addr, now: u64) -> u64 {
        self.last_id += 1;
        let nameless = Text::default;
        self.all.insert(
            self.last_id,
            Client {
                conn,
                addr,
                name: nameless(),
                lib_name: nameless(),
                lib_ver: nameless(),
                since_ms: now,
                active_ms: now,
                db: 0,
                resp3: false,
                channels: 0,
                patterns: 0,
                queued: -1,
            },
        );
        self.last_id
    }

    pub fn remove(&mut self, id: u64) -> Option<Client> {
        self.all.swap_remove(&id)
    }

    /// What others may see of a session, as it is now.
    pub fn note(&mut self, session: &Session, now: u64) {
        let Some(client) = self.all.get_mut(&session.id) else { return };
        client.active_ms = now;
        client.db = session.db();
        client.resp3 = session.resp3;
        (client.channels, client.patterns) = session.topics_len();
        let transaction = session.transaction.as_ref();
        client.queued = transaction.map_or(-1, |transaction| transaction.queued() as i64);
    }
}

/// Those who hear something, in the order in which they came.
pub type Ids = IndexSet<u64, Hasher>;
