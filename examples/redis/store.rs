//! The keys. No sockets and no clock: whoever asks says what time it is, in milliseconds since
//! 1970.
//!
//! All changes go through few functions of [`Db`], which keep the books: how much memory there is
//! in use, how many keys will expire, and who watches what.
use std::{collections::HashMap, mem};

use super::{
    reply::Result,
    rows::{Row, Rows},
    text::Text,
    value::{Hasher, Value},
};

/// Databases that can be selected.
pub const DATABASES: usize = 16;

/// A hundred bytes each: what is near the processor is full of them.
const LARGE: usize = 10_000;

/// Keys of one database, give or take those of one request.
const KEYS_MAX: usize = 4_000_000_000;

/// When a key expires that does not.
pub const NEVER: u64 = u64::MAX;

/// What a key costs beside the memory of its own and its value's, about.
pub const ENTRY: usize = 80;

#[derive(Debug)]
pub struct Store {
    /// Those that were selected once, and all before them.
    dbs: Vec<Db>,
    /// Bytes that connections keep: what waits for EXEC, what they watch and listen to.
    pub held: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self { dbs: vec![Db::default()], held: 0 }
    }
}

impl Store {
    /// # Panics
    /// If there is no such database.
    pub fn db(&mut self, index: usize) -> &mut Db {
        assert!(index < DATABASES, "database {index}");
        if index >= self.dbs.len() {
            self.dbs.resize_with(index + 1, Db::default);
        }
        &mut self.dbs[index]
    }

    /// More memory is in use than that, or there are as many keys as can be.
    #[inline]
    pub fn is_over(&self, memory_max: usize) -> bool {
        memory_max > 0 && self.memory() > memory_max
            || self.dbs.iter().any(|db| db.keys.len() > KEYS_MAX)
    }

    /// Bytes of memory in use, about.
    pub fn memory(&self) -> usize {
        self.held + self.dbs.iter().map(|db| db.memory).sum::<usize>()
    }

    pub fn has_expiring(&self) -> bool {
        self.dbs.iter().any(|db| db.expiring > 0)
    }

    /// There are more keys than a cache of the processor holds.
    #[inline]
    pub fn is_large(&self, db: usize) -> bool {
        self.dbs.get(db).is_some_and(|db| db.keys.len() > LARGE)
    }

    pub fn dbs(&self) -> impl Iterator<Item = &Db> {
        self.dbs.iter()
    }

    pub fn clear(&mut self) {
        self.dbs.iter_mut().for_each(Db::clear);
    }

    /// Look at up to so many keys of each database, and remove those that have expired.
    pub fn sweep(&mut self, now: u64, keys_max: usize) {
        self.dbs.iter_mut().for_each(|db| db.sweep(now, keys_max));
    }

    /// Move a key, unless there is one of that name there.
    pub fn move_key(&mut self, key: &[u8], from: usize, to: usize, now: u64) -> bool {
        if self.db(to).find(key, now).is_some() {
            return false;
        }
        let Some((value, expires_at)) = self.db(from).remove(key, now) else { return false };
        self.db(to).put(key, value, expires_at);
        true
    }

    pub fn swap(&mut self, a: usize, b: usize) {
        self.db(a.max(b));
        // Whoever watches a name watches it in a database, not the keys that are there now.
        self.dbs[a].touch_all();
        self.dbs[b].touch_all();
        self.dbs.swap(a, b);
        let (a, b) = (a.min(b), a.max(b));
        if a < b {
            let (left, right) = self.dbs.split_at_mut(b);
            std::mem::swap(&mut left[a].watched, &mut right[0].watched);
        }
        self.dbs[a].touch_all();
        self.dbs[b].touch_all();
    }
}

/// With its key and that key's hash 64 bytes, one line of the processor's cache.
#[derive(Debug)]
struct Entry {
    value: Value,
    expires_at: u64,
}

const _: () = assert!(size_of::<Row<Entry>>() == 64);

/// One database.
#[derive(Default, Debug)]
pub struct Db {
    keys: Rows<Entry>,
    expiring: usize,
    expired: u64,
    memory: usize,
    watched: HashMap<Text, Watched, Hasher>,
    /// Keys below this number are still to be looked at by [`sweep`](Db::sweep).
    swept: usize,
}

/// How often a key has changed that somebody watches.
#[derive(Default, Debug)]
struct Watched {
    watchers: usize,
    changes: u64,
}

/// When those who watch a key are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touch {
    Always,
    IfResized,
}

/// What becomes of a key's expiry when it is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    At(u64),
    Keep,
}

impl Db {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn expiring(&self) -> usize {
        self.expiring
    }

    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// The number of a key that is there; one that has expired goes now.
    #[inline]
    fn find(&mut self, key: &[u8], now: u64) -> Option<usize> {
        let index = self.keys.find(key)?;
        if self.keys.at(index).expires_at > now {
            return Some(index);
        }
        self.expire(index);
        None
    }

    pub fn hash(&self, key: &[u8]) -> u64 {
        self.keys.hash(key)
    }

    /// Have the memory at hand that keys of these hashes take.
    pub fn fetch(&self, hashes: &[u64]) {
        self.keys.fetch(hashes);
    }

    #[cold]
    fn expire(&mut self, index: usize) {
        self.expired += 1;
        self.remove_at(index);
    }

    #[inline]
    pub fn get(&mut self, key: &[u8], now: u64) -> Option<&Value> {
        self.find(key, now).map(|index| &self.keys.at(index).value)
    }

    /// The same, of one that was found before in the same command.
    pub fn peek(&self, key: &[u8], now: u64) -> Option<&Value> {
        let row = self.keys.get(self.keys.find(key)?)?;
        (row.value.expires_at > now).then_some(&row.value.value)
    }

    pub fn contains(&mut self, key: &[u8], now: u64) -> bool {
        self.find(key, now).is_some()
    }

    /// [`NEVER`] for a key that does not expire.
    pub fn expires_at(&mut self, key: &[u8], now: u64) -> Option<u64> {
        self.find(key, now).map(|index| self.keys.at(index).expires_at)
    }

    /// Set a string, in the memory of the one before if it fits.
    #[inline]
    pub fn set(&mut self, key: &[u8], text: &[u8], expiry: Expiry, now: u64) {
        let hash = self.keys.hash(key);
        let Some(index) = self.keys.find_hashed(hash, key) else {
            let at = if let Expiry::At(at) = expiry { at } else { NEVER };
            return self.insert(hash, key, Value::string(text), at);
        };
        let entry = self.keys.at(index);
        let before = entry.value.size();
        entry.value.replace(text);
        self.memory = self.memory + entry.value.size() - before;
        let kept = if entry.expires_at > now { entry.expires_at } else { NEVER };
        self.expire_entry(index, if let Expiry::At(at) = expiry { at } else { kept });
        self.touch(key);
    }

    /// A key that is not there.
    fn insert(&mut self, hash: u64, key: &[u8], value: Value, expires_at: u64) {
        let kept = Text::from(key);
        self.memory += value.size() + kept.size() + ENTRY;
        self.expiring += usize::from(expires_at != NEVER);
        self.keys.insert(hash, kept, Entry { value, expires_at });
        self.touch(key);
    }

    /// Set a key, whatever was there. A key that is there keeps its place: a SCAN that is under way
    /// would miss one that moves.
    pub fn put(&mut self, key: &[u8], value: Value, expires_at: u64) {
        let hash = self.keys.hash(key);
        let Some(index) = self.keys.find_hashed(hash, key) else {
            return self.insert(hash, key, value, expires_at);
        };
        self.expire_entry(index, expires_at);
        self.memory += value.size();
        let old = mem::replace(&mut self.keys.at(index).value, value);
        self.memory -= old.size();
        self.touch(key);
    }

    /// Change what is there; a list, hash or set that becomes empty is gone. `None` if it is not
    /// there.
    pub fn change<R>(
        &mut self,
        key: &[u8],
        now: u64,
        change: impl FnOnce(&mut Value) -> Result<R>,
    ) -> Result<Option<R>> {
        match self.find(key, now) {
            Some(index) => self.change_at(index, key, Touch::Always, change).map(Some),
            None => Ok(None),
        }
    }

    /// The same, where nothing has changed if there are as many elements as before.
    pub fn resize<R>(
        &mut self,
        key: &[u8],
        now: u64,
        change: impl FnOnce(&mut Value) -> Result<R>,
    ) -> Result<Option<R>> {
        match self.find(key, now) {
            Some(index) => self.change_at(index, key, Touch::IfResized, change).map(Some),
            None => Ok(None),
        }
    }

    /// [`change`](Db::change), of a value that is made if there is none.
    pub fn change_or<R>(
        &mut self,
        key: &[u8],
        now: u64,
        make: fn() -> Value,
        change: impl FnOnce(&mut Value) -> Result<R>,
    ) -> Result<R> {
        self.make_and_change(key, now, Touch::Always, make, change)
    }

    /// [`resize`](Db::resize), of a value that is made if there is none.
    pub fn resize_or<R>(
        &mut self,
        key: &[u8],
        now: u64,
        make: fn() -> Value,
        change: impl FnOnce(&mut Value) -> Result<R>,
    ) -> Result<R> {
        self.make_and_change(key, now, Touch::IfResized, make, change)
    }

    fn make_and_change<R>(
        &mut self,
        key: &[u8],
        now: u64,
        touch: Touch,
        make: fn() -> Value,
        change: impl FnOnce(&mut Value) -> Result<R>,
    ) -> Result<R> {
        if let Some(index) = self.find(key, now) {
            return self.change_at(index, key, touch, change);
        }
        let mut value = make();
        let result = change(&mut value)?;
        if !value.is_gone() {
            self.put(key, value, NEVER);
        }
        Ok(result)
    }

    fn change_at<R>(
        &mut self,
        index: usize,
        key: &[u8],
        touch: Touch,
        change: impl FnOnce(&mut Value) -> Result<R>,
    ) -> Result<R> {
        let value = &mut self.keys.at(index).value;
        let (size, len) = (value.size(), value.elements());
        let result = change(value);
        if value.elements() < len {
            value.shrink();
        }
        self.memory = self.memory + value.size() - size;
        let has_changed = touch == Touch::Always || value.elements() != len;
        if value.is_gone() {
            self.remove_at(index);
        } else if result.is_ok() && has_changed {
            self.touch(key);
        }
        result
    }

    pub fn remove(&mut self, key: &[u8], now: u64) -> Option<(Value, u64)> {
        let index = self.find(key, now)?;
        Some(self.remove_at(index))
    }

    fn remove_at(&mut self, index: usize) -> (Value, u64) {
        let (key, entry) = self.keys.remove(index);
        self.memory -= entry.value.size() + key.size() + ENTRY;
        self.expiring -= usize::from(entry.expires_at != NEVER);
        self.touch(&key);
        (entry.value, entry.expires_at)
    }

    /// Whether the key is there.
    pub fn expire_at(&mut self, key: &[u8], at: u64, now: u64) -> bool {
        let Some(index) = self.find(key, now) else { return false };
        if at <= now {
            self.remove_at(index);
        } else {
            self.expire_entry(index, at);
            self.touch(key);
        }
        true
    }

    #[inline]
    fn expire_entry(&mut self, index: usize, at: u64) {
        let expires_at = &mut self.keys.at(index).expires_at;
        if *expires_at != at {
            self.expiring -= usize::from(*expires_at != NEVER);
            self.expiring += usize::from(at != NEVER);
            *expires_at = at;
        }
    }

    pub fn clear(&mut self) {
        self.touch_all();
        self.keys = Rows::default();
        (self.expiring, self.memory, self.swept) = (0, 0, 0);
    }

    /// Keys that have not expired.
    pub fn keys(&self, now: u64) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().filter(move |row| row.value.expires_at > now).map(|row| &*row.key)
    }

    /// Any key, or none if there is none.
    pub fn random(&mut self, rng: &mut fastrand::Rng, now: u64) -> Option<&[u8]> {
        while !self.keys.is_empty() {
            let index = rng.usize(..self.keys.len());
            if self.keys.at(index).expires_at > now {
                return self.keys.get(index).map(|row| &*row.key);
            }
            self.expire(index);
        }
        None
    }

    /// Whatever is at this place among all keys; `None` also for what has expired.
    pub fn at(&self, index: usize, now: u64) -> Option<(&[u8], &Value)> {
        let row = self.keys.get(index)?;
        (row.value.expires_at > now).then_some((&row.key, &row.value.value))
    }

    fn sweep(&mut self, now: u64, keys_max: usize) {
        if self.expiring == 0 {
            return;
        }
        if self.swept == 0 {
            self.swept = self.keys.len();
        }
        // Downwards, as SCAN goes: what takes the place of one that is removed was looked at.
        for _ in 0..keys_max.min(self.swept) {
            self.swept = (self.swept - 1).min(self.keys.len());
            if self.keys.get(self.swept).is_some_and(|row| row.value.expires_at <= now) {
                self.expire(self.swept);
            }
            if self.swept == 0 {
                break;
            }
        }
    }

    /// Begin to watch: how often it has changed. What has expired is not there when this returns.
    pub fn watch(&mut self, key: &[u8], now: u64) -> u64 {
        self.find(key, now);
        let watched = self.watched.entry(key.into()).or_default();
        watched.watchers += 1;
        watched.changes
    }

    /// Stop watching: how often it has changed.
    pub fn unwatch(&mut self, key: &[u8], now: u64) -> u64 {
        self.find(key, now); // to expire is a change
        let Some(watched) = self.watched.get_mut(key) else { return 0 };
        let changes = watched.changes;
        watched.watchers -= 1;
        if watched.watchers == 0 {
            self.watched.remove(key);
        }
        changes
    }

    #[inline]
    fn touch(&mut self, key: &[u8]) {
        if !self.watched.is_empty()
            && let Some(watched) = self.watched.get_mut(key)
        {
            watched.changes += 1;
        }
    }

    /// All keys that are there will change.
    fn touch_all(&mut self) {
        for (key, watched) in &mut self.watched {
            watched.changes += u64::from(self.keys.find(key).is_some());
        }
    }
}
