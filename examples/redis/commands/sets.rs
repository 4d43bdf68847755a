//! Sets.
use indexmap::IndexSet;

use super::super::{
    reply::{Error, Reply, Result},
    text::Text,
    value::{Hasher, Set, Value},
};
use super::{Call, lists::positive, scan, strings::int};

/// Members that are chosen at random with repeats (a negative count) in one answer: a few bytes
/// must not ask for gigabytes.
pub const REPEATS_MAX: i64 = 1 << 20;

pub fn sadd(call: &mut Call) -> Result {
    let args = call.args;
    let (db, out, now) = call.parts();
    let new = db.resize_or(args.at(1), now, Value::set, |value| {
        let set = value.set_mut()?;
        Ok(args.from(2).filter(|member| set.insert(member)).count())
    })?;
    out.len(new);
    Ok(())
}

pub fn srem(call: &mut Call) -> Result {
    let args = call.args;
    let (db, out, now) = call.parts();
    let removed = db.resize(args.at(1), now, |value| {
        let set = value.set_mut()?;
        Ok(args.from(2).filter(|member| set.remove(member)).count())
    })?;
    out.len(removed.unwrap_or(0));
    Ok(())
}

/// What is told of a set, or of none.
fn tell(call: &mut Call, tell: impl FnOnce(Option<&Set>, &mut Reply)) -> Result {
    let key = call.args.at(1);
    let (db, out, now) = call.parts();
    let set = db.get(key, now).map(Value::as_set).transpose()?;
    tell(set, out);
    Ok(())
}

pub fn scard(call: &mut Call) -> Result {
    tell(call, |set, out| out.len(set.map_or(0, Set::len)))
}

pub fn smembers(call: &mut Call) -> Result {
    tell(call, |set, out| {
        out.set(set.map_or(0, Set::len));
        set.into_iter().flatten().for_each(|member| out.bulk(member));
    })
}

pub fn sismember(call: &mut Call) -> Result {
    let member = call.args.at(2);
    tell(call, |set, out| out.flag(set.is_some_and(|set| set.contains(member))))
}

pub fn smismember(call: &mut Call) -> Result {
    let members = call.args.from(2);
    tell(call, |set, out| {
        out.array(members.len());
        for member in members {
            out.flag(set.is_some_and(|set| set.contains(member)));
        }
    })
}

pub fn smove(call: &mut Call) -> Result {
    let (from, to, member) = (call.args.at(1), call.args.at(2), call.args.at(3));
    let (db, out, now) = call.parts();
    let Some(set) = db.get(from, now).map(Value::as_set).transpose()? else {
        out.flag(false);
        return Ok(());
    };
    let is_there = set.contains(member);
    db.get(to, now).map(Value::as_set).transpose()?;
    if is_there && from != to {
        db.change(from, now, |value| Ok(value.set_mut()?.remove(member)))?;
        db.resize_or(to, now, Value::set, |value| Ok(value.set_mut()?.insert(member)))?;
    }
    out.flag(is_there);
    Ok(())
}

/// Places among `len`: so many different ones, or, of a negative number, so many of any.
pub fn sample(count: i64, len: usize, rng: &mut fastrand::Rng) -> Vec<usize> {
    let most = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if len == 0 {
        return Vec::new();
    }
    if count < 0 {
        return (0..most).map(|_| rng.usize(..len)).collect();
    }
    if most >= len {
        return (0..len).collect();
    }
    // Floyd's: of each step one place that was not chosen before.
    let mut chosen: IndexSet<usize, Hasher> = IndexSet::default();
    for last in len - most..len {
        let place = rng.usize(..=last);
        if !chosen.insert(place) {
            chosen.insert(last);
        }
    }
    chosen.into_iter().collect()
}

pub fn srandmember(call: &mut Call) -> Result {
    let args = call.args;
    if args.len() > 3 {
        return Err(Error::SYNTAX);
    }
    let count = args.get(2).map(int).transpose()?;
    if count.is_some_and(|count| count < -REPEATS_MAX) {
        return Err(Error::new("ERR value is out of range"));
    }
    let db = call.state.store.db(call.session.db());
    let set = db.get(args.at(1), call.now).map(Value::as_set).transpose()?;
    let (out, rng) = (&mut *call.out, &mut call.state.rng);
    match (set, count) {
        (None, None) => out.null(),
        (None, Some(_)) => out.array(0),
        (Some(set), None) => {
            let chosen = set.get_index(rng.usize(..set.len()));
            out.bulk_or_null(chosen.map(|member| &**member));
        }
        (Some(set), Some(count)) => {
            let chosen = sample(count, set.len(), rng);
            out.array(chosen.len());
            let members = chosen.into_iter().filter_map(|index| set.get_index(index));
            for member in members {
                out.bulk(member);
                if out.is_over {
                    break;
                }
            }
        }
    }
    Ok(())
}

pub fn spop(call: &mut Call) -> Result {
    let args = call.args;
    if args.len() > 3 {
        return Err(Error::SYNTAX);
    }
    let wrong = Error::new("ERR value is out of range, must be positive");
    let many = args.get(2).map(|count| positive(count, wrong)).transpose()?;
    let db = call.state.store.db(call.session.db());
    let (out, rng) = (&mut *call.out, &mut call.state.rng);
    let popped = db.resize(args.at(1), call.now, |value| {
        let set = value.set_mut()?;
        let count = many.unwrap_or(1).min(set.all.len());
        if many.is_some() {
            out.set(count);
        }
        for _ in 0..count {
            let index = rng.usize(..set.all.len());
            set.remove_at(index).iter().for_each(|member| out.bulk(member));
        }
        Ok(())
    })?;
    match (popped, many) {
        (Some(()), _) => {}
        (None, None) => out.null(),
        (None, Some(_)) => out.set(0),
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Inter,
    Union,
    Diff,
}

/// The members of sets put together. At most `limit` of them; 0: all.
fn combine(call: &mut Call, keys: &[&[u8]], how: How, limit: usize) -> Result<Vec<Text>> {
    let (db, _, now) = call.parts();
    for key in keys {
        db.get(key, now).map(Value::as_set).transpose()?;
    }
    let none = Set::default();
    let of = |key: &&[u8]| match db.peek(key, now) {
        Some(Value::Set(set)) => &set.all,
        _ => &none,
    };
    let sets: Vec<&Set> = keys.iter().map(of).collect();
    let limit = if limit == 0 { usize::MAX } else { limit };
    Ok(match how {
        How::Union => {
            let all: IndexSet<&Text, Hasher> = sets.iter().flat_map(|set| set.iter()).collect();
            all.into_iter().cloned().collect()
        }
        How::Diff => {
            let others = &sets[1..];
            let only =
                sets[0].iter().filter(|member| !others.iter().any(|s| s.contains(&***member)));
            only.cloned().collect()
        }
        How::Inter => {
            let smallest = sets.iter().min_by_key(|set| set.len()).copied().unwrap_or(&none);
            let common =
                smallest.iter().filter(|member| sets.iter().all(|s| s.contains(&***member)));
            common.take(limit).cloned().collect()
        }
    })
}

fn show(call: &mut Call, how: How) -> Result {
    let keys: Vec<&[u8]> = call.args.from(1).collect();
    let members = combine(call, &keys, how, 0)?;
    call.out.set(members.len());
    members.iter().for_each(|member| call.out.bulk(member));
    Ok(())
}

fn store(call: &mut Call, how: How) -> Result {
    let keys: Vec<&[u8]> = call.args.from(2).collect();
    let target = call.args.at(1);
    let members = combine(call, &keys, how, 0)?;
    call.has_room(members.iter().map(Text::size).sum())?;
    let (db, out, now) = call.parts();
    out.len(members.len());
    if members.is_empty() {
        db.remove(target, now);
        return Ok(());
    }
    let mut value = Value::set();
    let set = value.set_mut()?;
    for member in &members {
        set.insert(member);
    }
    db.put(target, value, super::super::store::NEVER);
    Ok(())
}

pub fn sinter(call: &mut Call) -> Result {
    show(call, How::Inter)
}

pub fn sunion(call: &mut Call) -> Result {
    show(call, How::Union)
}

pub fn sdiff(call: &mut Call) -> Result {
    show(call, How::Diff)
}

pub fn sinterstore(call: &mut Call) -> Result {
    store(call, How::Inter)
}

pub fn sunionstore(call: &mut Call) -> Result {
    store(call, How::Union)
}

pub fn sdiffstore(call: &mut Call) -> Result {
    store(call, How::Diff)
}

pub fn sintercard(call: &mut Call) -> Result {
    let wrong = Error::new("ERR numkeys should be greater than 0");
    let count = positive(call.args.at(1), wrong.clone())?;
    if count == 0 {
        return Err(wrong);
    }
    if count > call.args.len() - 2 {
        return Err(Error::new("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = 0;
    let mut words = call.args.from(2 + count);
    while let Some(word) = words.next() {
        let value = words.next().filter(|_| word.eq_ignore_ascii_case(b"LIMIT"));
        limit = positive(value.ok_or(Error::SYNTAX)?, Error::new("ERR LIMIT can't be negative"))?;
    }
    let keys: Vec<&[u8]> = call.args.from(2).take(count).collect();
    let members = combine(call, &keys, How::Inter, limit)?;
    call.out.len(members.len());
    Ok(())
}

pub fn sscan(call: &mut Call) -> Result {
    let cursor = scan::cursor(call.args.at(2))?;
    let options = scan::Options::read(call.args, 3, false)?;
    tell(call, |set, out| {
        let (range, next) = scan::page(cursor, set.map_or(0, Set::len), options.count);
        let page = range.filter_map(|index| set?.get_index(index));
        let found: Vec<_> = page.filter(|member| options.wants(member)).collect();
        out.array(2);
        out.bulk_int(next as i64);
        out.array(found.len());
        found.into_iter().for_each(|member| out.bulk(member));
    })
}
