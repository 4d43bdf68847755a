//! Strings, and the numbers that they may be.
use super::super::{
    number::{self, Digits},
    reply::{Error, Result},
    request::BULK_MAX,
    store::{Expiry, NEVER},
    value::Value,
};
use super::{Call, generic::expiry_time};

const TOO_LONG: Error = Error::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

pub fn get(call: &mut Call) -> Result {
    let key = call.args.at(1);
    let value = call.state.store.db(call.session.db()).get(key, call.now);
    match value {
        Some(value) => {
            call.out.bulk(value.as_string()?);
            call.state.stats.hits += 1;
        }
        None => {
            call.out.null();
            call.state.stats.misses += 1;
        }
    }
    Ok(())
}

/// What SET and GETEX are told behind their arguments.
#[derive(Default)]
struct Options {
    expiry: Option<Expiry>,
    if_absent: bool,
    if_present: bool,
    get: bool,
}

/// From the `n`th argument on.
fn options(call: &Call, n: usize) -> Result<Options> {
    let (options, time) = words(call, n, true)?;
    with_time(call, options, time)
}

/// A time that was not looked at yet, and its unit.
type Time<'a> = Option<(&'a [u8], (bool, bool))>;

/// None may contradict another.
fn words<'a>(call: &Call<'a, '_>, n: usize, is_set: bool) -> Result<(Options, Time<'a>)> {
    let (mut options, mut time) = (Options::default(), None);
    let mut words = call.args.from(n);
    while let Some(word) = words.next() {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let has_time = time.is_some();
        if is_set && is("NX") && !options.if_present {
            options.if_absent = true;
        } else if is_set && is("XX") && !options.if_absent {
            options.if_present = true;
        } else if is_set && is("GET") {
            options.get = true;
        } else if is_set && is("KEEPTTL") && !has_time {
            options.expiry = Some(Expiry::Keep);
        } else if !is_set && is("PERSIST") && !has_time {
            options.expiry = Some(Expiry::At(NEVER));
        } else if let Some(unit) = unit(word)
            && options.expiry.is_none()
            && time.is_none_or(|(_, other)| unit == other)
        {
            time = Some((words.next().ok_or(Error::SYNTAX)?, unit));
        } else {
            return Err(Error::SYNTAX);
        }
    }
    Ok((options, time))
}

fn with_time(call: &Call, mut options: Options, time: Time) -> Result<Options> {
    if let Some((time, unit)) = time {
        options.expiry = Some(Expiry::At(expiry_time(call, time, unit)?));
    }
    Ok(options)
}

/// Of a time: whether it is in seconds, and whether it counts from 1970.
fn unit(word: &[u8]) -> Option<(bool, bool)> {
    let mut name = [0; 4];
    name.get_mut(..word.len())?.copy_from_slice(word);
    name.make_ascii_uppercase();
    match &name {
        b"EX\0\0" => Some((true, false)),
        b"PX\0\0" => Some((false, false)),
        b"EXAT" => Some((true, true)),
        b"PXAT" => Some((false, true)),
        _ => None,
    }
}

pub fn set(call: &mut Call) -> Result {
    let args = call.args;
    if args.len() == 3 {
        let (db, out, now) = call.parts();
        db.set(args.at(1), args.at(2), Expiry::At(NEVER), now);
        out.ok();
        return Ok(());
    }
    let options = options(call, 3)?;
    let (key, text) = (args.at(1), args.at(2));
    let (db, out, now) = call.parts();
    let old = db.get(key, now);
    let is_there = old.is_some();
    if options.get {
        out.bulk_or_null(old.map(Value::as_string).transpose()?);
    }
    if options.if_absent && is_there || options.if_present && !is_there {
        if !options.get {
            out.null();
        }
        return Ok(());
    }
    db.set(key, text, options.expiry.unwrap_or(Expiry::At(NEVER)), now);
    if !options.get {
        out.ok();
    }
    Ok(())
}

pub fn setex(call: &mut Call) -> Result {
    set_with(call, (true, false))
}

pub fn psetex(call: &mut Call) -> Result {
    set_with(call, (false, false))
}

fn set_with(call: &mut Call, unit: (bool, bool)) -> Result {
    let args = call.args;
    let at = expiry_time(call, args.at(2), unit)?;
    let (db, out, now) = call.parts();
    db.set(args.at(1), args.at(3), Expiry::At(at), now);
    out.ok();
    Ok(())
}

pub fn setnx(call: &mut Call) -> Result {
    let args = call.args;
    let (db, out, now) = call.parts();
    let free = !db.contains(args.at(1), now);
    if free {
        db.set(args.at(1), args.at(2), Expiry::At(NEVER), now);
    }
    out.flag(free);
    Ok(())
}

pub fn getset(call: &mut Call) -> Result {
    let args = call.args;
    let (db, out, now) = call.parts();
    out.bulk_or_null(db.get(args.at(1), now).map(Value::as_string).transpose()?);
    db.set(args.at(1), args.at(2), Expiry::At(NEVER), now);
    Ok(())
}

pub fn getdel(call: &mut Call) -> Result {
    let key = call.args.at(1);
    let (db, out, now) = call.parts();
    out.bulk_or_null(db.get(key, now).map(Value::as_string).transpose()?);
    db.remove(key, now);
    Ok(())
}

pub fn getex(call: &mut Call) -> Result {
    let key = call.args.at(1);
    // The time is looked at last.
    let (options, time) = words(call, 2, false)?;
    let now = call.now;
    if call.db().get(key, now).map(Value::as_string).transpose()?.is_none() {
        call.out.null();
        return Ok(());
    }
    let options = with_time(call, options, time)?;
    let (db, out, now) = call.parts();
    out.bulk_or_null(db.get(key, now).map(Value::as_string).transpose()?);
    if let Some(Expiry::At(at)) = options.expiry
        && (at != NEVER || db.expires_at(key, now) != Some(NEVER))
    {
        db.expire_at(key, at, now);
    }
    Ok(())
}

pub fn strlen(call: &mut Call) -> Result {
    let key = call.args.at(1);
    let (db, out, now) = call.parts();
    let text = db.get(key, now).map(Value::as_string).transpose()?;
    out.len(text.map_or(0, <[u8]>::len));
    Ok(())
}

pub fn append(call: &mut Call) -> Result {
    let (key, more) = (call.args.at(1), call.args.at(2));
    let (db, out, now) = call.parts();
    let len = db.change_or(
        key,
        now,
        || Value::string(b""),
        |value| {
            let text = value.string_mut()?;
            if text.len() + more.len() > BULK_MAX as usize {
                return Err(TOO_LONG);
            }
            text.extend_from_slice(more);
            Ok(text.len())
        },
    )?;
    out.len(len);
    Ok(())
}

pub fn getrange(call: &mut Call) -> Result {
    let (key, from, to) = (call.args.at(1), int(call.args.at(2))?, int(call.args.at(3))?);
    let (db, out, now) = call.parts();
    let text = db.get(key, now).map(Value::as_string).transpose()?.unwrap_or_default();
    let both_from_the_end = from < 0 && to < 0 && from > to;
    // Before the beginning is the first byte, in strings; in lists it is nowhere.
    let to = if to < 0 { to.max(-(text.len() as i64)) } else { to };
    match range(from, to, text.len()).filter(|_| !both_from_the_end) {
        Some((from, to)) => out.bulk(&text[from..=to]),
        None => out.bulk(b""),
    }
    Ok(())
}

/// Places from `from` to `to`, both within `len`; those below 0 count from the end.
pub fn range(from: i64, to: i64, len: usize) -> Option<(usize, usize)> {
    let len = len as i64;
    let place = |at: i64| if at < 0 { (at + len).max(0) } else { at };
    let (from, to) = (place(from), if to < -len { -1 } else { place(to).min(len - 1) });
    (from <= to && from < len).then_some((from as usize, to as usize))
}

pub fn setrange(call: &mut Call) -> Result {
    let (key, offset, patch) = (call.args.at(1), int(call.args.at(2))?, call.args.at(3));
    if offset < 0 {
        return Err(Error::new("ERR offset is out of range"));
    }
    let now = call.now;
    let len = match call.db().get(key, now) {
        Some(value) => value.as_string()?.len(),
        None => 0,
    };
    if patch.is_empty() {
        call.out.len(len);
        return Ok(());
    }
    let end = (offset as usize).saturating_add(patch.len());
    if end > BULK_MAX as usize {
        return Err(TOO_LONG);
    }
    // It may be asked for with a few bytes.
    call.has_room(end.saturating_sub(len))?;
    let (db, out, now) = call.parts();
    let len = db.change_or(
        key,
        now,
        || Value::string(b""),
        |value| {
            let text = value.string_mut()?;
            if text.len() < end {
                text.resize(end, 0);
            }
            text[end - patch.len()..end].copy_from_slice(patch);
            Ok(text.len())
        },
    )?;
    out.len(len);
    Ok(())
}

pub fn mget(call: &mut Call) -> Result {
    let args = call.args;
    let (db, out, now) = call.parts();
    out.array(args.len() - 1);
    for key in args.from(1) {
        out.bulk_or_null(db.get(key, now).and_then(|value| value.as_string().ok()));
        if out.is_over {
            break;
        }
    }
    Ok(())
}

pub fn mset(call: &mut Call) -> Result {
    set_pairs(call)?;
    call.out.ok();
    Ok(())
}

pub fn msetnx(call: &mut Call) -> Result {
    let args = call.args;
    if args.len().is_multiple_of(2) {
        return Err(call.wrong_number());
    }
    let (db, _, now) = call.parts();
    let free = !args.from(1).step_by(2).any(|key| db.contains(key, now));
    if free {
        set_pairs(call)?;
    }
    call.out.flag(free);
    Ok(())
}

fn set_pairs(call: &mut Call) -> Result {
    let args = call.args;
    if args.len().is_multiple_of(2) {
        return Err(call.wrong_number());
    }
    let (db, _, now) = call.parts();
    for n in (1..args.len()).step_by(2) {
        db.set(args.at(n), args.at(n + 1), Expiry::At(NEVER), now);
    }
    Ok(())
}

pub fn int(text: &[u8]) -> Result<i64> {
    number::int(text).ok_or(Error::NOT_INT)
}

pub fn incr(call: &mut Call) -> Result {
    add(call, 1)
}

pub fn decr(call: &mut Call) -> Result {
    add(call, -1)
}

pub fn incrby(call: &mut Call) -> Result {
    let by = int(call.args.at(2))?;
    add(call, by)
}

pub fn decrby(call: &mut Call) -> Result {
    let by = int(call.args.at(2))?;
    add(call, by.checked_neg().ok_or(Error::new("ERR decrement would overflow"))?)
}

fn add(call: &mut Call, by: i64) -> Result {
    let key = call.args.at(1);
    let (db, out, now) = call.parts();
    let number = db.change_or(
        key,
        now,
        || Value::string(b"0"),
        |value| {
            let text = value.string_mut()?;
            let number = int(text)?.checked_add(by).ok_or(Error::OVERFLOW)?;
            text.clear();
            text.extend_from_slice(Digits::new(number).as_bytes());
            Ok(number)
        },
    )?;
    out.int(number);
    Ok(())
}

pub fn incrbyfloat(call: &mut Call) -> Result {
    let (key, by) = (call.args.at(1), call.args.at(2));
    let now = call.now;
    let old = match call.db().get(key, now) {
        Some(value) => value.as_string()?,
        None => b"0",
    };
    let sum = sum(old, by, Error::NOT_FLOAT)?;
    let (db, out, now) = call.parts();
    db.set(key, sum.as_bytes(), Expiry::Keep, now);
    out.bulk(sum.as_bytes());
    Ok(())
}

/// `wrong` is what is said if the first is no number.
pub fn sum(old: &[u8], by: &[u8], wrong: Error) -> Result<String> {
    number::float(old).ok_or(wrong)?;
    number::float(by).ok_or(Error::NOT_FLOAT)?;
    number::sum(old, by).ok_or(Error::new("ERR increment would produce NaN or Infinity"))
}
