//! Who is connected: what a connection remembers, and what others may know of it.
use charkh::{Addr, ConnId};
use indexmap::{IndexMap, IndexSet, map::Entry};

use super::{
    commands::{State, Transaction},
    pubsub::Kind,
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
    /// Keys that must not have changed when EXEC comes, by their database and name: how often each
    /// had when it was first watched.
    pub watched: IndexMap<(usize, Text), u64, Hasher>,
    /// Channels and patterns; none for nearly everybody.
    pub topics: Option<Box<Topics>>,
    /// Bytes of memory that the names of those keys, channels and patterns take, about.
    names: usize,
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
            watched: IndexMap::default(),
            topics: None,
            names: 0,
        }
    }

    /// Bytes of memory that it keeps: a part of a request, what waits for EXEC, names.
    pub fn memory(&self) -> usize {
        let partial = self.partial.as_ref().map_or(0, |parser| parser.memory());
        let queued = self.transaction.as_ref().map_or(0, |transaction| transaction.bytes());
        partial + queued + self.names
    }

    fn keeps(&mut self, name: &Text, store: &mut Store) {
        self.names += held(name);
        store.held += held(name);
    }

    fn keeps_no_more(&mut self, name: &Text, store: &mut Store) {
        self.names -= held(name);
        store.held -= held(name);
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

    /// Twice is as good as once.
    pub fn watch(&mut self, store: &mut Store, key: &[u8], now: u64) {
        let db = self.db();
        if let Entry::Vacant(place) = self.watched.entry((db, key.into())) {
            place.insert(store.db(db).watch(key, now));
            self.keeps(&key.into(), store);
        }
    }

    /// No key is watched any more; whether one has changed.
    pub fn unwatch(&mut self, store: &mut Store, now: u64) -> bool {
        let mut changed = false;
        for ((db, key), changes) in std::mem::take(&mut self.watched) {
            self.keeps_no_more(&key, store);
            changed |= store.db(db).unwatch(&key, now) != changes;
        }
        changed
    }

    /// What was to be run by EXEC; it is counted no more.
    pub fn end_transaction(&mut self, store: &mut Store) -> Option<Box<Transaction>> {
        let transaction = self.transaction.take()?;
        store.held -= transaction.bytes();
        Some(transaction)
    }

    /// Whether it was not subscribed to that before.
    pub fn subscribe(&mut self, state: &mut State, kind: Kind, topic: &[u8]) -> bool {
        let topics = self.topics.get_or_insert_with(Box::default);
        let topic = Text::from(topic);
        let is_new = topics.of(kind).insert(topic.clone());
        if is_new {
            self.keeps(&topic, &mut state.store);
            state.channels.add(kind, &topic, self.id);
        }
        is_new
    }

    pub fn unsubscribe(&mut self, state: &mut State, kind: Kind, topic: &[u8]) {
        let Some(topics) = &mut self.topics else { return };
        if let Some(topic) = topics.of(kind).swap_take(topic) {
            self.keeps_no_more(&topic, &mut state.store);
            state.channels.remove(kind, &topic, self.id);
        }
        if self.topics_len() == (0, 0) {
            self.topics = None;
        }
    }

    /// As it was when it began: nothing queued, watched or subscribed to.
    pub fn forget_all(&mut self, state: &mut State, now: u64) {
        self.end_transaction(&mut state.store);
        self.unwatch(&mut state.store, now);
        let Some(topics) = self.topics.take() else { return };
        for (kind, all) in [(Kind::Name, topics.channels), (Kind::Pattern, topics.patterns)] {
            for topic in all {
                self.keeps_no_more(&topic, &mut state.store);
                state.channels.remove(kind, &topic, self.id);
            }
        }
    }
}

/// What a name costs that a connection keeps, about: it stands in two tables.
fn held(name: &Text) -> usize {
    const TWO_PLACES: usize = 256;
    TWO_PLACES + 2 * name.size()
}

impl Topics {
    pub fn of(&mut self, kind: Kind) -> &mut Set {
        match kind {
            Kind::Name => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
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
