//! Keys, whatever they hold.
use super::super::{
    glob,
    reply::{Error, Result},
    store::{DATABASES, NEVER},
    value::Value,
};
use super::{Call, scan, strings::int};

/// When something expires, in milliseconds since 1970; `unit` says whether the time that was
/// given is in seconds, and whether it counts from 1970.
pub fn expiry_time(call: &Call, time: &[u8], unit: (bool, bool)) -> Result<u64> {
    let time = int(time)?;
    match milliseconds(call, time, unit) {
        Some(at) if time > 0 => Ok(at as u64),
        _ => Err(invalid_time(call)),
    }
}

fn invalid_time(call: &Call) -> Error {
    Error::built(format!("ERR invalid expire time in '{}' command", call.command.name))
}

fn milliseconds(call: &Call, time: i64, (seconds, absolute): (bool, bool)) -> Option<i64> {
    let time = if seconds { time.checked_mul(1000)? } else { time };
    if absolute { Some(time) } else { time.checked_add(call.now as i64) }
}

pub fn del(call: &mut Call) -> Result {
    let args = call.args;
    let (db, out, now) = call.parts();
    out.len(args.from(1).filter(|key| db.remove(key, now).is_some()).count());
    Ok(())
}

pub fn exists(call: &mut Call) -> Result {
    let args = call.args;
    let (db, out, now) = call.parts();
    out.len(args.from(1).filter(|key| db.contains(key, now)).count());
    Ok(())
}

pub fn type_of(call: &mut Call) -> Result {
    let key = call.args.at(1);
    let (db, out, now) = call.parts();
    out.status(db.get(key, now).map_or("none", Value::type_name));
    Ok(())
}

pub fn keys(call: &mut Call) -> Result {
    let pattern = call.args.at(1);
    let (db, out, now) = call.parts();
    let found: Vec<&[u8]> = db.keys(now).filter(|key| glob::matches(pattern, key)).collect();
    out.array(found.len());
    found.into_iter().for_each(|key| out.bulk(key));
    Ok(())
}

pub fn randomkey(call: &mut Call) -> Result {
    let now = call.now;
    let db = call.state.store.db(call.session.db());
    call.out.bulk_or_null(db.random(&mut call.state.rng, now));
    Ok(())
}

pub fn rename(call: &mut Call) -> Result {
    move_to_name(call, false)?;
    call.out.ok();
    Ok(())
}

pub fn renamenx(call: &mut Call) -> Result {
    let moved = move_to_name(call, true)?;
    call.out.flag(moved);
    Ok(())
}

fn move_to_name(call: &mut Call, if_absent: bool) -> Result<bool> {
    let (from, to) = (call.args.at(1), call.args.at(2));
    let (db, _, now) = call.parts();
    if !db.contains(from, now) {
        return Err(Error::NO_KEY);
    }
    if from == to {
        return Ok(!if_absent);
    }
    if if_absent && db.contains(to, now) {
        return Ok(false);
    }
    if let Some((value, expires_at)) = db.remove(from, now) {
        db.put(to, value, expires_at);
    }
    Ok(true)
}

pub fn copy(call: &mut Call) -> Result {
    let (from, to) = (call.args.at(1), call.args.at(2));
    let (mut index, mut replace) = (call.session.db(), false);
    let mut words = call.args.from(3);
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if word.eq_ignore_ascii_case(b"DB") {
            index = database(words.next().ok_or(Error::SYNTAX)?)?;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    if from == to && index == call.session.db() {
        return Err(Error::new("ERR source and destination objects are the same"));
    }
    let (db, _, now) = call.parts();
    let Some(size) = db.get(from, now).map(Value::size) else {
        call.out.flag(false);
        return Ok(());
    };
    if !replace && call.state.store.db(index).contains(to, now) {
        call.out.flag(false);
        return Ok(());
    }
    call.has_room(size)?;
    let db = call.db();
    let expires_at = db.expires_at(from, now).unwrap_or(NEVER);
    if let Some(value) = db.get(from, now).cloned() {
        call.state.store.db(index).put(to, value, expires_at);
    }
    call.out.flag(true);
    Ok(())
}

pub fn database(text: &[u8]) -> Result<usize> {
    let index = i32::try_from(int(text)?).map_err(|_| {
        Error::new("ERR value is out of range, value must between -2147483648 and 2147483647")
    })?;
    let index = usize::try_from(index).ok().filter(|&index| index < DATABASES);
    index.ok_or(Error::new("ERR DB index is out of range"))
}

pub fn move_to(call: &mut Call) -> Result {
    let (key, from) = (call.args.at(1), call.session.db());
    let to = database(call.args.at(2))?;
    if from == to {
        return Err(Error::new("ERR source and destination objects are the same"));
    }
    let moved = call.state.store.move_key(key, from, to, call.now);
    call.out.flag(moved);
    Ok(())
}

pub fn expire(call: &mut Call) -> Result {
    set_expiry(call, (true, false))
}

pub fn pexpire(call: &mut Call) -> Result {
    set_expiry(call, (false, false))
}

pub fn expireat(call: &mut Call) -> Result {
    set_expiry(call, (true, true))
}

pub fn pexpireat(call: &mut Call) -> Result {
    set_expiry(call, (false, true))
}

#[derive(Default)]
struct When {
    has_none: bool,
    has_one: bool,
    greater: bool,
    less: bool,
}

/// Which changes of an expiry are wanted.
fn when(call: &Call) -> Result<When> {
    let mut when = When::default();
    for word in call.args.from(3) {
        match &word.to_ascii_uppercase()[..] {
            b"NX" => when.has_none = true,
            b"XX" => when.has_one = true,
            b"GT" => when.greater = true,
            b"LT" => when.less = true,
            _ => return Err(Error::built([b"ERR Unsupported option ", word].concat())),
        }
    }
    if when.has_none && (when.has_one || when.greater || when.less) {
        let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
        return Err(Error::new(text));
    }
    if when.greater && when.less {
        let text = "ERR GT and LT options at the same time are not compatible";
        return Err(Error::new(text));
    }
    Ok(when)
}

fn set_expiry(call: &mut Call, unit: (bool, bool)) -> Result {
    let (key, when) = (call.args.at(1), when(call)?);
    let time = int(call.args.at(2))?;
    // What is past deletes the key; so far in the past that it cannot be said is an error.
    let seconds_fit = !unit.0 || time.checked_mul(1000).is_some();
    let at = milliseconds(call, time, unit).filter(|_| seconds_fit);
    let at = at.ok_or_else(|| invalid_time(call))?.max(0) as u64;
    let (db, out, now) = call.parts();
    let wanted = db.expires_at(key, now).is_some_and(|old| {
        let never = old == NEVER;
        !(when.has_none && !never
            || when.has_one && never
            || when.greater && (never || at <= old)
            || when.less && !never && at >= old)
    });
    out.flag(wanted && db.expire_at(key, at, now));
    Ok(())
}

pub fn persist(call: &mut Call) -> Result {
    let key = call.args.at(1);
    let (db, out, now) = call.parts();
    let expires = db.expires_at(key, now).is_some_and(|at| at != NEVER);
    out.flag(expires && db.expire_at(key, NEVER, now));
    Ok(())
}

pub fn ttl(call: &mut Call) -> Result {
    expiry_of(call, |at, now| (at - now).saturating_add(500) / 1000)
}

pub fn pttl(call: &mut Call) -> Result {
    expiry_of(call, |at, now| at - now)
}

pub fn expiretime(call: &mut Call) -> Result {
    expiry_of(call, |at, _| at.saturating_add(500) / 1000)
}

pub fn pexpiretime(call: &mut Call) -> Result {
    expiry_of(call, |at, _| at)
}

fn expiry_of(call: &mut Call, show: fn(u64, u64) -> u64) -> Result {
    let key = call.args.at(1);
    let (db, out, now) = call.parts();
    out.int(match db.expires_at(key, now) {
        None => -2,
        Some(NEVER) => -1,
        Some(at) => show(at, now) as i64,
    });
    Ok(())
}

pub fn scan(call: &mut Call) -> Result {
    let cursor = scan::cursor(call.args.at(1))?;
    let options = scan::Options::read(call.args, 2, true)?;
    let (db, out, now) = call.parts();
    let (range, next) = scan::page(cursor, db.len(), options.count);
    let found: Vec<&[u8]> = range
        .filter_map(|index| db.at(index, now))
        .filter(|(key, value)| options.wants(key) && options.wants_type(value.type_name()))
        .map(|(key, _)| key)
        .collect();
    out.array(2);
    out.bulk_int(next as i64);
    out.array(found.len());
    found.into_iter().for_each(|key| out.bulk(key));
    Ok(())
}

pub fn object_encoding(call: &mut Call) -> Result {
    about_object(call, |call, key| {
        let (db, out, now) = call.parts();
        out.bulk(db.get(key, now).map_or("", Value::encoding).as_bytes());
        Ok(())
    })
}

pub fn object_refcount(call: &mut Call) -> Result {
    about_object(call, |call, _| {
        call.out.int(1);
        Ok(())
    })
}

/// It is not known when a key was last used.
pub fn object_idletime(call: &mut Call) -> Result {
    about_object(call, |call, _| {
        call.out.int(0);
        Ok(())
    })
}

pub fn object_freq(call: &mut Call) -> Result {
    about_object(call, |_, _| {
        Err(Error::new(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please \
             note that when switching between policies at runtime LRU and LFU data will take some \
             time to adjust.",
        ))
    })
}

fn about_object(call: &mut Call, tell: fn(&mut Call, &[u8]) -> Result) -> Result {
    let key = call.args.at(2);
    let (db, out, now) = call.parts();
    if !db.contains(key, now) {
        out.null();
        return Ok(());
    }
    tell(call, key)
}
