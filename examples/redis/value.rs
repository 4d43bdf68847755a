//! What a key holds, and how much memory that is.
use std::collections::VecDeque;

use indexmap::{IndexMap, IndexSet};

use super::reply::{Error, Result};

pub type Bytes = Box<[u8]>;

/// Keys are chosen by strangers, so each map hashes with a key of its own.
pub type Hasher = foldhash::fast::RandomState;
pub type Map<V> = IndexMap<Bytes, V, Hasher>;
pub type Hash = Map<Bytes>;
pub type Set = IndexSet<Bytes, Hasher>;
pub type List = VecDeque<Bytes>;

/// 24 bytes. Maps and sets keep their elements in a row, in which the last takes the place of one
/// that goes: any of them can be had by number, which is what SCAN and RANDOMKEY are made of.
#[derive(Clone, Debug)]
pub enum Value {
    String(Vec<u8>),
    List(Box<Counted<List>>),
    Hash(Box<Counted<Hash>>),
    Set(Box<Counted<Set>>),
}

const _: () = assert!(size_of::<Value>() <= 24);

/// Elements, and the bytes of all of them.
#[derive(Clone, Default, Debug)]
pub struct Counted<T> {
    pub all: T,
    bytes: usize,
}

/// What an element costs beside its bytes, about.
const ELEMENT: usize = 32;

impl Value {
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
            Value::String(bytes) => bytes.capacity(),
            Value::List(list) => list.bytes + ELEMENT * list.all.len(),
            Value::Hash(hash) => hash.bytes + 2 * ELEMENT * hash.all.len(),
            Value::Set(set) => set.bytes + ELEMENT * set.all.len(),
        }
    }

    /// There are no empty lists, hashes and sets.
    pub fn is_gone(&self) -> bool {
        match self {
            Value::String(_) => false,
            Value::List(list) => list.all.is_empty(),
            Value::Hash(hash) => hash.all.is_empty(),
            Value::Set(set) => set.all.is_empty(),
        }
    }

    pub fn type_name(&self) -> &'static str {
        match self {
            Value::String(_) => "string",
            Value::List(_) => "list",
            Value::Hash(_) => "hash",
            Value::Set(_) => "set",
        }
    }

    /// The name of what Redis would keep it in.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::String(bytes) if super::number::int(bytes).is_some() => "int",
            Value::String(bytes) if bytes.len() <= 44 => "embstr",
            Value::String(_) => "raw",
            Value::List(_) => "quicklist",
            Value::Hash(_) | Value::Set(_) => "hashtable",
        }
    }

    pub fn as_string(&self) -> Result<&[u8]> {
        match self {
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

    pub fn string_mut(&mut self) -> Result<&mut Vec<u8>> {
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
    pub fn push(&mut self, left: bool, item: Bytes) {
        self.bytes += item.len();
        if left { self.all.push_front(item) } else { self.all.push_back(item) }
    }

    pub fn pop(&mut self, left: bool) -> Option<Bytes> {
        let item = if left { self.all.pop_front() } else { self.all.pop_back() }?;
        self.bytes -= item.len();
        // A queue that was long once must not keep its memory for ever.
        if self.all.len() < self.all.capacity() / 4 {
            self.all.shrink_to(2 * self.all.len());
        }
        Some(item)
    }

    /// Any other change.
    pub fn edit<R>(&mut self, edit: impl FnOnce(&mut List) -> R) -> R {
        let result = edit(&mut self.all);
        self.bytes = self.all.iter().map(|item| item.len()).sum();
        result
    }

    /// Set the item at a place that there is.
    pub fn replace(&mut self, at: usize, item: Bytes) {
        self.bytes += item.len();
        self.bytes -= std::mem::replace(&mut self.all[at], item).len();
    }
}

impl Counted<Hash> {
    /// Whether it is new.
    pub fn insert(&mut self, field: &[u8], value: &[u8]) -> bool {
        self.bytes += value.len();
        if let Some(old) = self.all.get_mut(field) {
            self.bytes -= old.len();
            *old = value.into();
            return false;
        }
        self.bytes += field.len();
        self.all.insert(field.into(), value.into()).is_none()
    }

    pub fn remove(&mut self, field: &[u8]) -> bool {
        let Some((field, value)) = self.all.swap_remove_entry(field) else { return false };
        self.bytes -= field.len() + value.len();
        true
    }
}

impl Counted<Set> {
    /// Whether it is new.
    pub fn insert(&mut self, member: &[u8]) -> bool {
        if self.all.contains(member) {
            return false;
        }
        self.bytes += member.len();
        self.all.insert(member.into())
    }

    pub fn remove(&mut self, member: &[u8]) -> bool {
        let removed = self.all.swap_remove(member);
        self.bytes -= if removed { member.len() } else { 0 };
        removed
    }

    pub fn remove_at(&mut self, index: usize) -> Option<Bytes> {
        let member = self.all.swap_remove_index(index)?;
        self.bytes -= member.len();
        Some(member)
    }
}
