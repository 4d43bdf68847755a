//! Lists.
use super::super::{
    reply::{Error, Result},
    value::Value,
};
use super::{
    Call,
    strings::{int, range},
};

const NOT_POSITIVE: Error = Error::new("ERR value is out of range, must be positive");

/// A count that is not negative.
pub fn positive(text: &[u8], wrong: Error) -> Result<usize> {
    int(text).ok().and_then(|count| usize::try_from(count).ok()).ok_or(wrong)
}

pub fn lpush(call: &mut Call) -> Result {
    push(call, true, true)
}

pub fn rpush(call: &mut Call) -> Result {
    push(call, false, true)
}

pub fn lpushx(call: &mut Call) -> Result {
    push(call, true, false)
}

pub fn rpushx(call: &mut Call) -> Result {
    push(call, false, false)
}

fn push(call: &mut Call, left: bool, make: bool) -> Result {
    let args = call.args;
    let (db, out, now) = call.parts();
    let push = |value: &mut Value| {
        let list = value.list_mut()?;
        args.from(2).for_each(|item| list.push(left, item.into()));
        Ok(list.all.len())
    };
    let len = match make {
        true => db.change_or(args.at(1), now, Value::list, push)?,
        false => db.change(args.at(1), now, push)?.unwrap_or(0),
    };
    out.len(len);
    Ok(())
}

pub fn lpop(call: &mut Call) -> Result {
    pop(call, true)
}

pub fn rpop(call: &mut Call) -> Result {
    pop(call, false)
}

fn pop(call: &mut Call, left: bool) -> Result {
    let args = call.args;
    if args.len() > 3 {
        return Err(call.wrong_number());
    }
    let many = args.get(2).map(|count| positive(count, NOT_POSITIVE)).transpose()?;
    let (db, out, now) = call.parts();
    let popped = db.resize(args.at(1), now, |value| {
        let list = value.list_mut()?;
        let count = many.unwrap_or(1).min(list.all.len());
        if many.is_some() {
            out.array(count);
        }
        (0..count).filter_map(|_| list.pop(left)).for_each(|item| out.bulk(&item));
        Ok(())
    })?;
    match (popped, many) {
        (Some(()), _) => {}
        (None, None) => out.null(),
        (None, Some(_)) => out.null_array(),
    }
    Ok(())
}

pub fn llen(call: &mut Call) -> Result {
    let key = call.args.at(1);
    let (db, out, now) = call.parts();
    let list = db.get(key, now).map(Value::as_list).transpose()?;
    out.len(list.map_or(0, |list| list.len()));
    Ok(())
}

pub fn lrange(call: &mut Call) -> Result {
    let (key, from, to) = (call.args.at(1), int(call.args.at(2))?, int(call.args.at(3))?);
    let (db, out, now) = call.parts();
    let list = db.get(key, now).map(Value::as_list).transpose()?;
    let found = list.and_then(|list| Some((list, range(from, to, list.len())?)));
    match found {
        Some((list, (from, to))) => {
            out.array(to - from + 1);
            list.range(from..=to).for_each(|item| out.bulk(item));
        }
        None => out.array(0),
    }
    Ok(())
}

/// Below 0 counts from the end.
fn place(at: i64, len: usize) -> Option<usize> {
    let at = if at < 0 { at.checked_add(len as i64)? } else { at };
    usize::try_from(at).ok().filter(|&at| at < len)
}

pub fn lindex(call: &mut Call) -> Result {
    let (key, at) = (call.args.at(1), int(call.args.at(2)));
    let (db, out, now) = call.parts();
    let list = db.get(key, now).map(Value::as_list).transpose()?;
    match list {
        Some(list) => out.bulk_or_null(place(at?, list.len()).map(|at| &*list[at])),
        None => out.null(),
    }
    Ok(())
}

pub fn lset(call: &mut Call) -> Result {
    let (key, at, item) = (call.args.at(1), int(call.args.at(2)), call.args.at(3));
    let (db, out, now) = call.parts();
    let set = db.change(key, now, |value| {
        let list = value.list_mut()?;
        let at = place(at?, list.all.len()).ok_or(Error::new("ERR index out of range"))?;
        list.replace(at, item.into());
        Ok(())
    })?;
    set.ok_or(Error::NO_KEY)?;
    out.ok();
    Ok(())
}

pub fn linsert(call: &mut Call) -> Result {
    let (key, pivot, item) = (call.args.at(1), call.args.at(3), call.args.at(4));
    let after = match &call.args[2].to_ascii_uppercase()[..] {
        b"BEFORE" => 0,
        b"AFTER" => 1,
        _ => return Err(Error::SYNTAX),
    };
    let (db, out, now) = call.parts();
    let len = db.resize(key, now, |value| {
        let list = value.list_mut()?;
        let Some(at) = list.all.iter().position(|item| &**item == pivot) else { return Ok(-1) };
        list.insert(at + after, item.into());
        Ok(list.all.len() as i64)
    })?;
    out.int(len.unwrap_or(0));
    Ok(())
}

pub fn lrem(call: &mut Call) -> Result {
    let (key, count, item) = (call.args.at(1), int(call.args.at(2))?, call.args.at(3));
    let all = if count == 0 { u64::MAX } else { count.unsigned_abs() };
    let most = usize::try_from(all).unwrap_or(usize::MAX);
    let (db, out, now) = call.parts();
    let removed =
        db.resize(key, now, |value| Ok(value.list_mut()?.remove_like(item, most, count >= 0)))?;
    out.len(removed.unwrap_or(0));
    Ok(())
}

pub fn ltrim(call: &mut Call) -> Result {
    let (key, from, to) = (call.args.at(1), int(call.args.at(2))?, int(call.args.at(3))?);
    let (db, out, now) = call.parts();
    db.change(key, now, |value| {
        let list = value.list_mut()?;
        let kept = range(from, to, list.all.len());
        list.keep(kept.map_or(0..0, |(from, to)| from..to + 1));
        Ok(())
    })?;
    out.ok();
    Ok(())
}

fn side(word: &[u8]) -> Result<bool> {
    match &word.to_ascii_uppercase()[..] {
        b"LEFT" => Ok(true),
        b"RIGHT" => Ok(false),
        _ => Err(Error::SYNTAX),
    }
}

pub fn lmove(call: &mut Call) -> Result {
    let (from, to) = (side(call.args.at(3))?, side(call.args.at(4))?);
    move_item(call, from, to)
}

pub fn rpoplpush(call: &mut Call) -> Result {
    move_item(call, false, true)
}

fn move_item(call: &mut Call, from_left: bool, to_left: bool) -> Result {
    let (from, to) = (call.args.at(1), call.args.at(2));
    let (db, out, now) = call.parts();
    if db.get(from, now).map(Value::as_list).transpose()?.is_none() {
        out.null();
        return Ok(());
    }
    db.get(to, now).map(Value::as_list).transpose()?;
    if from == to {
        // It must not be gone in between, with its expiry.
        db.change(from, now, |value| {
            let list = value.list_mut()?;
            if let Some(item) = list.pop(from_left) {
                out.bulk(&item);
                list.push(to_left, item);
            }
            Ok(())
        })?;
        return Ok(());
    }
    let item = db.change(from, now, |value| Ok(value.list_mut()?.pop(from_left)))?.flatten();
    if let Some(item) = item {
        out.bulk(&item);
        db.change_or(to, now, Value::list, |value| {
            value.list_mut()?.push(to_left, item);
            Ok(())
        })?;
    }
    Ok(())
}

pub fn lpos(call: &mut Call) -> Result {
    let (mut rank, mut count, mut max) = (1, None, 0);
    let mut words = call.args.from(3);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(Error::SYNTAX)?;
        match &word.to_ascii_uppercase()[..] {
            b"RANK" => rank = int(value)?,
            b"COUNT" => count = Some(positive(value, Error::new("ERR COUNT can't be negative"))?),
            b"MAXLEN" => max = positive(value, Error::new("ERR MAXLEN can't be negative"))?,
            _ => return Err(Error::SYNTAX),
        }
    }
    if rank == 0 {
        return Err(Error::new(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or \
             use negative to start from the end of the list",
        ));
    }
    let (key, item) = (call.args.at(1), call.args.at(2));
    let (db, out, now) = call.parts();
    let list = db.get(key, now).map(Value::as_list).transpose()?;
    let (len, unlimited) =
        (list.map_or(0, |list| list.len()), |n| if n == 0 { usize::MAX } else { n });
    let places = (0..len).map(|n| if rank < 0 { len - 1 - n } else { n }).take(unlimited(max));
    let same = places.filter(|&at| list.is_some_and(|list| *list[at] == *item));
    let mut same = same.skip((rank.unsigned_abs() - 1) as usize);
    match count {
        None => match same.next() {
            Some(at) => out.len(at),
            None => out.null(),
        },
        Some(count) => {
            let found: Vec<usize> = same.take(unlimited(count)).collect();
            out.array(found.len());
            found.into_iter().for_each(|at| out.len(at));
        }
    }
    Ok(())
}
