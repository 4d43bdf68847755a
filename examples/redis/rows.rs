//! Keys in a row, found by their hash: 64 bytes each, and 4 more for where it is.
//!
//! It is what the crate indexmap makes, with numbers of half the size, of which a cache holds twice
//! as many; and the memory of many keys can be asked for at once ([`Rows::fetch`]).
use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::{text::Text, value::Hasher};

/// The last row takes the place of one that is removed; nothing else ever moves.
#[derive(Debug)]
pub struct Rows<T> {
    rows: Vec<Row<T>>,
    places: HashTable<u32>,
    hasher: Hasher,
}

#[derive(Debug)]
pub struct Row<T> {
    hash: u64,
    pub key: Text,
    pub value: T,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), places: HashTable::new(), hasher: Hasher::default() }
    }
}

impl<T> Rows<T> {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        self.find_hashed(self.hash(key), key)
    }

    #[inline]
    pub fn find_hashed(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let is_it = |&at: &u32| *self.rows[at as usize].key == *key;
        self.places.find(hash, is_it).map(|&at| at as usize)
    }

    /// Have the memory at hand that keys of these hashes take: none of these steps waits for the
    /// one before.
    pub fn fetch(&self, hashes: &[u64]) {
        let mut seen = 0;
        for &hash in hashes {
            seen ^= self.places.find(hash, |_| true).map_or(0, |&at| self.rows[at as usize].hash);
        }
        std::hint::black_box(seen);
    }

    #[inline]
    pub fn get(&self, at: usize) -> Option<&Row<T>> {
        self.rows.get(at)
    }

    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn at(&mut self, at: usize) -> &mut T {
        &mut self.rows[at].value
    }

    pub fn iter(&self) -> impl Iterator<Item = &Row<T>> {
        self.rows.iter()
    }

    /// Of a key that is not there.
    ///
    /// # Panics
    /// If there are 2^32 keys: whoever fills it asks before.
    #[inline]
    pub fn insert(&mut self, hash: u64, key: Text, value: T) {
        let at = u32::try_from(self.rows.len()).expect("fewer than 2^32 keys");
        self.rows.push(Row { hash, key, value });
        if self.places.len() == self.places.capacity() {
            return self.place_all();
        }
        self.places.insert_unique(hash, at, |_| 0); // there is room, so none is hashed again
    }

    /// The rows in their order: no walk to each of them in the order of the hashes.
    #[cold]
    fn place_all(&mut self) {
        self.places = HashTable::with_capacity(2 * self.rows.len());
        for (at, row) in self.rows.iter().enumerate() {
            self.places.insert_unique(row.hash, at as u32, |_| 0);
        }
    }

    /// # Panics
    /// If there is no such row.
    pub fn remove(&mut self, at: usize) -> (Text, T) {
        let last = self.rows.len() - 1;
        self.take_place(self.rows[at].hash, at);
        if at != last {
            let moved = self.places.find_mut(self.rows[last].hash, |&place| place as usize == last);
            moved.into_iter().for_each(|place| *place = at as u32);
        }
        let row = self.rows.swap_remove(at);
        // What was large once must not keep its memory for ever.
        if self.rows.len() < self.rows.capacity() / 8 && self.rows.capacity() > 1024 {
            self.rows.shrink_to(2 * self.rows.len());
            self.place_all();
        }
        (row.key, row.value)
    }

    fn take_place(&mut self, hash: u64, at: usize) {
        if let Ok(place) = self.places.find_entry(hash, |&place| place as usize == at) {
            place.remove();
        }
    }
}
