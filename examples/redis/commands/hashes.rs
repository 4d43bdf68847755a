//! Hashes.
use super::super::{
    number::{self, Digits},
    reply::{Error, Reply, Result},
    value::{Hash, Value},
};
use super::{
    Call, scan,
    sets::{REPEATS_MAX, sample},
    strings::{int, sum},
};

pub fn hset(call: &mut Call) -> Result {
    let new = set_all(call)?;
    call.out.len(new);
    Ok(())
}

pub fn hmset(call: &mut Call) -> Result {
    set_all(call)?;
    call.out.ok();
    Ok(())
}

/// How many fields are new.
fn set_all(call: &mut Call) -> Result<usize> {
    let args = call.args;
    if !args.len().is_multiple_of(2) {
        return Err(call.wrong_number());
    }
    let (db, _, now) = call.parts();
    db.change_or(args.at(1), now, Value::hash, |value| {
        let hash = value.hash_mut()?;
        let pairs = (2..args.len()).step_by(2);
        Ok(pairs.filter(|&n| hash.insert(args.at(n), args.at(n + 1))).count())
    })
}

pub fn hsetnx(call: &mut Call) -> Result {
    let args = call.args;
    let (db, out, now) = call.parts();
    if let Some(hash) = db.get(args.at(1), now).map(Value::as_hash).transpose()?
        && hash.contains_key(args.at(2))
    {
        out.flag(false);
        return Ok(());
    }
    db.change_or(args.at(1), now, Value::hash, |value| {
        Ok(value.hash_mut()?.insert(args.at(2), args.at(3)))
    })?;
    out.flag(true);
    Ok(())
}

/// What is told of a hash, or of none.
fn tell(call: &mut Call, tell: impl FnOnce(Option<&Hash>, &mut Reply)) -> Result {
    let key = call.args.at(1);
    let (db, out, now) = call.parts();
    let hash = db.get(key, now).map(Value::as_hash).transpose()?;
    tell(hash, out);
    Ok(())
}

pub fn hget(call: &mut Call) -> Result {
    let field = call.args.at(2);
    tell(call, |hash, out| {
        out.bulk_or_null(hash.and_then(|hash| hash.get(field)).map(|value| &**value));
    })
}

pub fn hmget(call: &mut Call) -> Result {
    let fields = call.args.from(2);
    tell(call, |hash, out| {
        out.array(fields.len());
        for field in fields {
            out.bulk_or_null(hash.and_then(|hash| hash.get(field)).map(|value| &**value));
        }
    })
}

pub fn hgetall(call: &mut Call) -> Result {
    tell(call, |hash, out| {
        out.map(hash.map_or(0, Hash::len));
        for (field, value) in hash.into_iter().flatten() {
            out.bulk(field);
            out.bulk(value);
        }
    })
}

pub fn hkeys(call: &mut Call) -> Result {
    tell(call, |hash, out| {
        out.array(hash.map_or(0, Hash::len));
        hash.into_iter().flat_map(Hash::keys).for_each(|field| out.bulk(field));
    })
}

pub fn hvals(call: &mut Call) -> Result {
    tell(call, |hash, out| {
        out.array(hash.map_or(0, Hash::len));
        hash.into_iter().flat_map(Hash::values).for_each(|value| out.bulk(value));
    })
}

pub fn hlen(call: &mut Call) -> Result {
    tell(call, |hash, out| out.len(hash.map_or(0, Hash::len)))
}

pub fn hexists(call: &mut Call) -> Result {
    let field = call.args.at(2);
    tell(call, |hash, out| out.flag(hash.is_some_and(|hash| hash.contains_key(field))))
}

pub fn hstrlen(call: &mut Call) -> Result {
    let field = call.args.at(2);
    tell(call, |hash, out| {
        out.len(hash.and_then(|hash| hash.get(field)).map_or(0, |value| value.len()));
    })
}

pub fn hdel(call: &mut Call) -> Result {
    let args = call.args;
    let (db, out, now) = call.parts();
    let removed = db.resize(args.at(1), now, |value| {
        let hash = value.hash_mut()?;
        Ok(args.from(2).filter(|field| hash.remove(field)).count())
    })?;
    out.len(removed.unwrap_or(0));
    Ok(())
}

pub fn hincrby(call: &mut Call) -> Result {
    let (key, field, by) = (call.args.at(1), call.args.at(2), int(call.args.at(3))?);
    let (db, out, now) = call.parts();
    let number = db.change_or(key, now, Value::hash, |value| {
        let hash = value.hash_mut()?;
        let old = match hash.all.get(field) {
            Some(old) => number::int(old).ok_or(Error::new("ERR hash value is not an integer"))?,
            None => 0,
        };
        let number = old.checked_add(by).ok_or(Error::OVERFLOW)?;
        hash.insert(field, Digits::new(number).as_bytes());
        Ok(number)
    })?;
    out.int(number);
    Ok(())
}

pub fn hincrbyfloat(call: &mut Call) -> Result {
    let (key, field, by) = (call.args.at(1), call.args.at(2), call.args.at(3));
    if number::float(by).ok_or(Error::NOT_FLOAT)?.is_infinite() {
        return Err(Error::new("ERR value is NaN or Infinity"));
    }
    let (db, out, now) = call.parts();
    let text = db.change_or(key, now, Value::hash, |value| {
        let hash = value.hash_mut()?;
        let old = hash.all.get(field).map_or(&b"0"[..], |old| old);
        let text = sum(old, by, Error::new("ERR hash value is not a float"))?;
        hash.insert(field, text.as_bytes());
        Ok(text)
    })?;
    out.bulk(text.as_bytes());
    Ok(())
}

pub fn hrandfield(call: &mut Call) -> Result {
    let args = call.args;
    let with_values = match args.get(3) {
        None => false,
        Some(word) if args.len() == 4 && word.eq_ignore_ascii_case(b"WITHVALUES") => true,
        Some(_) => return Err(Error::SYNTAX),
    };
    let count = args.get(2).map(int).transpose()?;
    if count.is_some_and(|count| count < -REPEATS_MAX) {
        return Err(Error::new("ERR value is out of range"));
    }
    let db = call.state.store.db(call.session.db());
    let hash = db.get(args.at(1), call.now).map(Value::as_hash).transpose()?;
    let (out, rng) = (&mut *call.out, &mut call.state.rng);
    let Some(hash) = hash else {
        if count.is_some() {
            out.array(0)
        } else {
            out.null()
        }
        return Ok(());
    };
    let Some(count) = count else {
        let chosen = hash.get_index(rng.usize(..hash.len()));
        out.bulk_or_null(chosen.map(|(field, _)| &**field));
        return Ok(());
    };
    let chosen = sample(count, hash.len(), rng);
    let flat = with_values && !out.resp3;
    out.array(chosen.len() * if flat { 2 } else { 1 });
    for (field, value) in chosen.into_iter().filter_map(|index| hash.get_index(index)) {
        if with_values && out.resp3 {
            out.array(2);
        }
        out.bulk(field);
        if with_values {
            out.bulk(value);
        }
        if out.is_over {
            break;
        }
    }
    Ok(())
}

pub fn hscan(call: &mut Call) -> Result {
    let cursor = scan::cursor(call.args.at(2))?;
    let options = scan::Options::read(call.args, 3, false)?;
    tell(call, |hash, out| {
        let (range, next) = scan::page(cursor, hash.map_or(0, Hash::len), options.count);
        let page = range.filter_map(|index| hash?.get_index(index));
        let found: Vec<_> = page.filter(|(field, _)| options.wants(field)).collect();
        out.array(2);
        out.bulk_int(next as i64);
        out.array(2 * found.len());
        for (field, value) in found {
            out.bulk(field);
            out.bulk(value);
        }
    })
}
