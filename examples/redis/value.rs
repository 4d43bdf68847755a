//! What a key holds, and how much memory that is.
use std::{collections::VecDeque, ops::Range};

use indexmap::{IndexMap, IndexSet};

use super::{
    reply::{Error, Result},
    text::Text,
};

/// Keys are chosen by strangers, so each map hashes with a key of its own.
pub type Hasher = foldhash::fast::RandomState;
pub type Map<V> = IndexMap<Text, V, Hasher>;
pub type Hash = Map<Text>;
pub type Set = IndexSet<Text, Hasher>;
pub type List = VecDeque<Text>;

/// 24 bytes. Maps and sets keep their elements in a row, in which the last takes the place of one
/// that goes: any of them can be had by number, which is what SCAN and RANDOMKEY are made of.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string that needs no memory of its own,
    Short(Short),
    /// and one that does.
    String(Vec<u8>),
    List(Box<Counted<List>>),
    Hash(Box<Counted<Hash>>),
    Set(Box<Counted<Set>>),
}

const _: () = assert!(size_of::<Value>() <= 24);

#[derive(Clone, Copy, Debug)]
pub struct Short {
    len: u8,
    bytes: [u8; SHORT_MAX],
}

/// What is left of 24 bytes beside what tells one kind from another.
const SHORT_MAX: usize = 15;

impl Short {
    #[inline]
    fn new(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; SHORT_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self { len: text.len() as u8, bytes })
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Elements, and the bytes of all of them.
#[derive(Clone, Default, Debug)]
pub struct Counted<T> {
    pub all: T,
    bytes: usize,
}

/// Room for so many is too much for that few.
fn is_wide(capacity: usize, len: usize) -> bool {
    capacity > 16 && len < capacity / 4
}

/// What a map of indexmap takes that has room for so many: a row of elements with their hashes, and
/// a table of places with a byte for each.
fn table(capacity: usize, element: usize) -> usize {
    if capacity == 0 {
        return 0;
    }
    let places = (capacity * 8 / 7).next_power_of_two();
    allocated(capacity * (size_of::<u64>() + element))
        + allocated(places * (size_of::<usize>() + 1) + 16)
}

/// Memory has a head of its own, and comes in steps of 16 bytes: about what malloc does.
pub fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
}

impl Value {
    #[inline]
    pub fn string(text: &[u8]) -> Self {
        match Short::new(text) {
            Some(short) => Value::Short(short),
            None => Value::String(text.to_vec()),
        }
    }

    /// Another string in its place; in its memory, if it fits.
    #[inline]
    pub fn replace(&mut self, text: &[u8]) {
        match self {
            Value::String(old) if fits(old.capacity(), text.len()) => {
                old.clear();
                old.extend_from_slice(text);
            }
            value => *value = Value::string(text),
        }
    }

    pub fn list() -> Self {
        Value::List(Box::default())
    }

    pub fn hash() -> Self {
        Value::Hash(Box::default())
    }

    pub fn set() -> Self {
        Value::Set(Box::default())
    }

    /// Bytes of memory, about.
    pub fn size(&self) -> usize {
        match self {
            Value::Short(_) => 0,
            Value::String(bytes) => allocated(bytes.capacity()),
            Value::List(list) => {
                allocated(size_of::<Counted<List>>())
                    + list.bytes
                    + allocated(list.all.capacity() * size_of::<Text>())
            }
            Value::Hash(hash) => {
                let table = table(hash.all.capacity(), size_of::<(Text, Text)>());
                allocated(size_of::<Counted<Hash>>()) + hash.bytes + table
            }
            Value::Set(set) => {
                let table = table(set.all.capacity(), size_of::<Text>());
                allocated(size_of::<Counted<Set>>()) + set.bytes + table
            }
        }
    }

    /// What was large once must not keep its memory for ever. Seldom: each time it has become half
    /// as large at least.
    pub fn shrink(&mut self) {
        let len = self.elements();
        match self {
            Value::List(list) if is_wide(list.all.capacity(), len) => list.all.shrink_to(2 * len),
            Value::Hash(hash) if is_wide(hash.all.capacity(), len) => hash.all.shrink_to(2 * len),
            Value::Set(set) if is_wide(set.all.capacity(), len) => set.all.shrink_to(2 * len),
            _ => {}
        }
    }

    /// Its elements; of a string, none.
    pub fn elements(&self) -> usize {
        match self {
            Value::Short(_) | Value::String(_) => 0,
            Value::List(list) => list.all.len(),
            Value::Hash(hash) => hash.all.len(),
            Value::Set(set) => set.all.len(),
        }
    }

    /// There are no empty lists, hashes and sets.
    pub fn is_gone(&self) -> bool {
        !matches!(self, Value::Short(_) | Value::String(_)) && self.elements() == 0
    }

    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Short(_) | Value::String(_) => "string",
            Value::List(_) => "list",
            Value::Hash(_) => "hash",
            Value::Set(_) => "set",
        }
    }

    /// The name of what Redis would keep it in.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::Short(short) if super::number::int(short.as_bytes()).is_some() => "int",
            Value::Short(_) => "embstr",
            Value::String(bytes) if super::number::int(bytes).is_some() => "int",
            Value::String(bytes) if bytes.len() <= 44 => "embstr",
            Value::String(_) => "raw",
            Value::List(_) => "quicklist",
            Value::Hash(_) | Value::Set(_) => "hashtable",
        }
    }

    #[inline]
    pub fn as_string(&self) -> Result<&[u8]> {
        match self {
            Value::Short(short) => Ok(short.as_bytes()),
            Value::String(bytes) => Ok(bytes),
            _ => Err(Error::WRONG_TYPE),
        }
    }

    pub fn as_list(&self) -> Result<&List> {
        match self {
            Value::List(list) => Ok(&list.all),
            _ => Err(Error::WRONG_TYPE),
        }
    }

    pub fn as_hash(&self) -> Result<&Hash> {
        match self {
            Value::Hash(hash) => Ok(&hash.all),
            _ => Err(Error::WRONG_TYPE),
        }
    }

    pub fn as_set(&self) -> Result<&Set> {
        match self {
            Value::Set(set) => Ok(&set.all),
            _ => Err(Error::WRONG_TYPE),
        }
    }

    /// For changes that may make it longer.
    pub fn string_mut(&mut self) -> Result<&mut Vec<u8>> {
        if let Value::Short(short) = self {
            *self = Value::String(short.as_bytes().to_vec());
        }
        match self {
            Value::String(bytes) => Ok(bytes),
            _ => Err(Error::WRONG_TYPE),
        }
    }

    pub fn list_mut(&mut self) -> Result<&mut Counted<List>> {
        match self {
            Value::List(list) => Ok(list),
            _ => Err(Error::WRONG_TYPE),
        }
    }

    pub fn hash_mut(&mut self) -> Result<&mut Counted<Hash>> {
        match self {
            Value::Hash(hash) => Ok(hash),
            _ => Err(Error::WRONG_TYPE),
        }
    }

    pub fn set_mut(&mut self) -> Result<&mut Counted<Set>> {
        match self {
            Value::Set(set) => Ok(set),
            _ => Err(Error::WRONG_TYPE),
        }
    }
}

impl Counted<List> {
    pub fn push(&mut self, left: bool, item: Text) {
        self.bytes += item.size();
        if left { self.all.push_front(item) } else { self.all.push_back(item) }
    }

    pub fn pop(&mut self, left: bool) -> Option<Text> {
        let item = if left { self.all.pop_front() } else { self.all.pop_back() }?;
        self.bytes -= item.size();
        Some(item)
    }

    pub fn insert(&mut self, at: usize, item: Text) {
        self.bytes += item.size();
        self.all.insert(at, item);
    }

    /// All are removed that are not at these places.
    pub fn keep(&mut self, places: Range<usize>) {
        let behind = self.all.drain(places.end..).map(|item| item.size());
        self.bytes -= behind.sum::<usize>();
        let before = self.all.drain(..places.start).map(|item| item.size());
        self.bytes -= before.sum::<usize>();
    }

    /// Up to so many that are like this one are removed, from one end on: how many. Whatever is
    /// behind the last of them is left where it is.
    pub fn remove_like(&mut self, like: &[u8], most: usize, left: bool) -> usize {
        let is_like = |&place: &usize| *self.all[place] == *like;
        let len = self.all.len();
        let places = (0..len).map(|n| if left { n } else { len - 1 - n });
        let Some(last) = places.filter(is_like).take(most).last() else { return 0 };
        let (mut removed, mut others) = (0, Vec::new());
        for _ in 0..if left { last + 1 } else { len - last } {
            match self.pop(left) {
                Some(item) if *item == *like => removed += 1,
                item => others.extend(item),
            }
        }
        others.into_iter().rev().for_each(|item| self.push(left, item));
        removed
    }

    /// Set the item at a place that there is.
    pub fn replace(&mut self, at: usize, item: Text) {
        self.bytes += item.size();
        self.bytes -= std::mem::replace(&mut self.all[at], item).size();
    }
}

impl Counted<Hash> {
    /// Whether it is new.
    pub fn insert(&mut self, field: &[u8], value: &[u8]) -> bool {
        let value = Text::from(value);
        self.bytes += value.size();
        if let Some(old) = self.all.get_mut(field) {
            self.bytes -= old.size();
            *old = value;
            return false;
        }
        let field = Text::from(field);
        self.bytes += field.size();
        self.all.insert(field, value).is_none()
    }

    pub fn remove(&mut self, field: &[u8]) -> bool {
        let Some((field, value)) = self.all.swap_remove_entry(field) else { return false };
        self.bytes -= field.size() + value.size();
        true
    }
}

impl Counted<Set> {
    /// Whether it is new.
    pub fn insert(&mut self, member: &[u8]) -> bool {
        if self.all.contains(member) {
            return false;
        }
        let member = Text::from(member);
        self.bytes += member.size();
        self.all.insert(member)
    }

    pub fn remove(&mut self, member: &[u8]) -> bool {
        let removed = self.all.swap_take(member);
        self.bytes -= removed.as_ref().map_or(0, Text::size);
        removed.is_some()
    }

    pub fn remove_at(&mut self, index: usize) -> Option<Text> {
        let member = self.all.swap_remove_index(index)?;
        self.bytes -= member.size();
        Some(member)
    }
}

/// May a string of this length be kept in that much memory?
fn fits(capacity: usize, len: usize) -> bool {
    len <= capacity && capacity <= 2 * len + 64
}
