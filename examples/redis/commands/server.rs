//! The server: its keys as a whole, its settings, its commands, and what it tells of itself.
use std::fmt::Write;

use super::super::{
    glob, number,
    reply::{Error, Reply, Result},
    store::Db,
    text::Text,
};
use super::{
    Call, Command, GROUPS, State,
    generic::database,
    table::{FLAG_NAMES, MOVABLE},
};

/// The Redis that clients may take this for.
pub const VERSION: &str = "7.0.15";

pub fn dbsize(call: &mut Call) -> Result {
    let (db, out, _) = call.parts();
    out.len(db.len());
    Ok(())
}

/// ASYNC and SYNC are the same here.
fn check_flush(call: &Call) -> Result {
    let is = |word: &[u8], name: &[u8]| word.eq_ignore_ascii_case(name);
    match call.args.get(1) {
        None => Ok(()),
        Some(word) if call.args.len() == 2 && (is(word, b"ASYNC") || is(word, b"SYNC")) => Ok(()),
        Some(_) => Err(Error::SYNTAX),
    }
}

pub fn flushdb(call: &mut Call) -> Result {
    check_flush(call)?;
    call.db().clear();
    call.out.ok();
    Ok(())
}

pub fn flushall(call: &mut Call) -> Result {
    check_flush(call)?;
    call.state.store.clear();
    call.out.ok();
    Ok(())
}

pub fn swapdb(call: &mut Call) -> Result {
    let index = |n: usize, wrong: &'static str| {
        let text = call.args.at(n);
        number::int(text).and_then(|n| i32::try_from(n).ok()).ok_or(Error::new(wrong))?;
        database(text)
    };
    let first = index(1, "ERR invalid first DB index")?;
    let second = index(2, "ERR invalid second DB index")?;
    call.state.store.swap(first, second);
    call.out.ok();
    Ok(())
}

pub fn time(call: &mut Call) -> Result {
    call.out.array(2);
    call.out.bulk_int((call.now / 1000) as i64);
    call.out.bulk_int((call.now % 1000 * 1000) as i64);
    Ok(())
}

pub fn memory_usage(call: &mut Call) -> Result {
    let key = call.args.at(2);
    let (db, out, now) = call.parts();
    match db.get(key, now) {
        Some(value) => out.len(value.size() + Text::from(key).size() + super::super::store::ENTRY),
        None => out.null(),
    }
    Ok(())
}

pub fn config_get(call: &mut Call) -> Result {
    let all = call.state.settings.all();
    let patterns: Vec<Vec<u8>> = call.args.from(2).map(<[u8]>::to_ascii_lowercase).collect();
    let wanted = |name: &str| patterns.iter().any(|p| glob::matches(p, name.as_bytes()));
    let found: Vec<_> = all.into_iter().filter(|(name, _)| wanted(name)).collect();
    call.out.map(found.len());
    for (name, value) in found {
        call.out.bulk(name.as_bytes());
        call.out.bulk(value.as_bytes());
    }
    Ok(())
}

/// All or none.
pub fn config_set(call: &mut Call) -> Result {
    if !call.args.len().is_multiple_of(2) {
        return Err(call.wrong_number());
    }
    let mut settings = call.state.settings.clone();
    for n in (2..call.args.len()).step_by(2) {
        settings.set(call.args.at(n), call.args.at(n + 1))?;
    }
    call.state.settings = settings;
    call.out.ok();
    Ok(())
}

pub fn config_resetstat(call: &mut Call) -> Result {
    call.state.stats = Default::default();
    call.out.ok();
    Ok(())
}

fn all() -> impl Iterator<Item = &'static Command> {
    GROUPS.iter().flat_map(|(_, commands)| commands.iter())
}

/// Also by the name of one within another: `config|get`.
fn by_name(state: &State, name: &[u8]) -> Option<&'static Command> {
    let Some(bar) = name.iter().position(|&byte| byte == b'|') else {
        return state.command(name);
    };
    let within = state.command(&name[..bar])?.subcommands.iter();
    within.into_iter().find(|command| command.name.as_bytes().eq_ignore_ascii_case(name))
}

pub fn command(call: &mut Call) -> Result {
    call.out.array(all().count());
    all().for_each(|command| describe(command, call.out));
    Ok(())
}

pub fn command_count(call: &mut Call) -> Result {
    call.out.len(all().count());
    Ok(())
}

pub fn command_info(call: &mut Call) -> Result {
    let names = call.args.from(2);
    if names.len() == 0 {
        return command(call);
    }
    call.out.array(names.len());
    for name in names {
        match by_name(call.state, name) {
            Some(command) => describe(command, call.out),
            None => call.out.null_array(),
        }
    }
    Ok(())
}

/// As Redis 7 does, with no tips and no key specifications.
fn describe(command: &Command, out: &mut Reply) {
    out.array(10);
    out.bulk(command.name.as_bytes());
    out.int(command.arity.into());
    let flags = FLAG_NAMES.iter().filter(|(flag, _)| command.is(*flag));
    out.set(flags.clone().count());
    flags.for_each(|(_, name)| out.status(name));
    let (first, last, step) = command.keys;
    [first, last, step].into_iter().for_each(|number| out.int(number.into()));
    out.set(0);
    out.set(0);
    out.set(0);
    out.array(command.subcommands.len());
    command.subcommands.iter().for_each(|command| describe(command, out));
}

pub fn command_docs(call: &mut Call) -> Result {
    let names = call.args.from(2);
    let found: Vec<&Command> = match names.len() {
        0 => all().collect(),
        _ => names.filter_map(|name| by_name(call.state, name)).collect(),
    };
    call.out.map(found.len());
    found.into_iter().for_each(|command| document(command, call.out));
    Ok(())
}

fn document(command: &Command, out: &mut Reply) {
    let top = command.name.split('|').next().unwrap_or_default();
    let is_in = |commands: &[Command]| commands.iter().any(|command| command.name == top);
    let group = GROUPS.iter().find(|(_, commands)| is_in(commands));
    out.bulk(command.name.as_bytes());
    out.map(if command.subcommands.is_empty() { 2 } else { 3 });
    out.bulk(b"summary");
    out.bulk(format!("as in Redis 7: https://redis.io/commands/{top}").as_bytes());
    out.bulk(b"group");
    out.bulk(group.map_or("generic", |(name, _)| name).as_bytes());
    if !command.subcommands.is_empty() {
        out.bulk(b"subcommands");
        out.map(command.subcommands.len());
        command.subcommands.iter().for_each(|command| document(command, out));
    }
}

pub fn command_list(call: &mut Call) -> Result {
    if call.args.len() > 2 {
        return Err(Error::SYNTAX);
    }
    call.out.array(all().count());
    all().for_each(|command| call.out.bulk(command.name.as_bytes()));
    Ok(())
}

pub fn command_getkeys(call: &mut Call) -> Result {
    let args = call.args;
    let unknown = Error::new("ERR Invalid command specified");
    let mut command = call.state.command(args.at(2)).ok_or(unknown.clone())?;
    if let (false, Some(sub)) = (command.subcommands.is_empty(), args.get(3)) {
        let name = [command.name.as_bytes(), b"|", sub].concat();
        command = by_name(call.state, &name).ok_or(unknown)?;
    }
    let len = args.len() - 2;
    if !command.takes(len) {
        return Err(Error::new("ERR Invalid number of arguments specified for command"));
    }
    let (first, last, step) = command.keys;
    if first == 0 || command.is(MOVABLE) {
        return Err(Error::new("ERR The command has no key arguments"));
    }
    let last = if last < 0 { len as i64 + i64::from(last) } else { last.into() };
    let places: Vec<i64> = (first.into()..=last).step_by(step as usize).collect();
    call.out.array(places.len());
    places.into_iter().for_each(|place| call.out.bulk(args.at(2 + place as usize)));
    Ok(())
}

type Section = (&'static str, fn(&Call, &mut String) -> std::fmt::Result);

const SECTIONS: &[Section] = &[
    ("Server", |call, text| {
        let (up, pid) = (call.peer.now().as_secs(), std::process::id());
        writeln!(text, "redis_version:{VERSION}\r\nserver_name:charkh\r\nredis_mode:standalone\r")?;
        writeln!(text, "process_id:{pid}\r\nuptime_in_seconds:{up}\r")?;
        writeln!(text, "uptime_in_days:{}\r", up / 86_400)
    }),
    ("Clients", |call, text| {
        let clients = &call.state.clients.all;
        let subscribed = clients.values().filter(|c| c.channels + c.patterns > 0).count();
        writeln!(text, "connected_clients:{}\r\npubsub_clients:{subscribed}\r", clients.len())?;
        writeln!(text, "blocked_clients:0\r")
    }),
    ("Memory", |call, text| {
        writeln!(text, "used_memory:{}\r", call.state.store.memory())?;
        writeln!(text, "maxmemory:{}\r", call.state.settings.maxmemory)?;
        writeln!(text, "maxmemory_policy:noeviction\r")
    }),
    ("Persistence", |_, text| writeln!(text, "loading:0\r\nrdb_bgsave_in_progress:0\r")),
    ("Stats", |call, text| {
        let stats = &call.state.stats;
        let expired: u64 = call.state.store.dbs().map(Db::expired).sum();
        writeln!(text, "total_connections_received:{}\r", stats.connections)?;
        writeln!(text, "total_commands_processed:{}\r", stats.commands)?;
        writeln!(text, "expired_keys:{expired}\r\nevicted_keys:0\r")?;
        writeln!(text, "keyspace_hits:{}\r\nkeyspace_misses:{}\r", stats.hits, stats.misses)?;
        writeln!(text, "pubsub_channels:{}\r", call.state.channels.by_name.len())?;
        writeln!(text, "pubsub_patterns:{}\r", call.state.channels.by_pattern.len())
    }),
    ("Replication", |_, text| writeln!(text, "role:master\r\nconnected_slaves:0\r")),
    ("Cluster", |_, text| writeln!(text, "cluster_enabled:0\r")),
    ("Keyspace", |call, text| {
        for (n, db) in call.state.store.dbs().enumerate().filter(|(_, db)| !db.is_empty()) {
            let (keys, expires) = (db.len(), db.expiring());
            writeln!(text, "db{n}:keys={keys},expires={expires},avg_ttl=0\r")?;
        }
        Ok(())
    }),
];

pub fn info(call: &mut Call) -> Result {
    let names: Vec<Vec<u8>> = call.args.from(1).map(<[u8]>::to_ascii_lowercase).collect();
    let everything = |name: &Vec<u8>| matches!(&name[..], b"all" | b"default" | b"everything");
    let all = names.is_empty() || names.iter().any(everything);
    let mut text = String::new();
    for (name, write) in SECTIONS {
        if all || names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name.as_bytes())) {
            let gap = if text.is_empty() { "" } else { "\r\n" };
            // To a string, which takes all.
            let _ = write!(text, "{gap}# {name}\r\n").and_then(|()| write(call, &mut text));
        }
    }
    call.out.verbatim(&text);
    Ok(())
}
