//! Keys: what SCAN promises, how they expire, and who watches them.
use std::collections::BTreeSet;

use super::{
    redis::{
        commands::scan,
        store::{Expiry, NEVER, Store},
        value::Value,
    },
    support::Server,
};

/// Whatever comes and goes during a scan, those that stay are all seen.
#[test]
fn a_scan_returns_all_that_was_there_from_its_beginning_to_its_end() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut store = Store::default();
        let db = store.db(0);
        let staying: BTreeSet<String> =
            (0..rng.usize(1..60)).map(|n| format!("stays{n}")).collect();
        let mut names: Vec<String> = (0..60).map(|n| format!("goes{n}")).collect();
        names.extend(staying.iter().cloned());
        rng.shuffle(&mut names);
        names.iter().for_each(|name| db.set(name.as_bytes(), b"1", Expiry::At(NEVER), 0));
        let (mut seen, mut cursor) = (BTreeSet::new(), 0);
        loop {
            let (range, next) = scan::page(cursor, db.len(), rng.usize(1..9));
            let page = range.filter_map(|index| db.at(index, 0));
            seen.extend(page.map(|(key, _)| String::from_utf8_lossy(key).into_owned()));
            if next == 0 {
                break;
            }
            cursor = next;
            for _ in 0..rng.usize(..20) {
                let name = format!("goes{}", rng.u8(..80));
                match rng.u8(..4) {
                    0 => db.set(name.as_bytes(), b"1", Expiry::At(NEVER), 0),
                    1 => db.put(
                        format!("stays{}", rng.u8(..60)).as_bytes(),
                        Value::string(b""),
                        NEVER,
                    ),
                    _ => drop(db.remove(name.as_bytes(), 0)),
                }
            }
        }
        assert!(staying.is_subset(&seen), "seed {seed}");
    }
}

#[test]
fn a_scan_of_a_hash_and_of_a_set_ends_and_has_everything() {
    let server = Server::new();
    let mut client = server.client();
    for n in 0..500 {
        client.ask(&format!("HSET h f{n} {n}"));
        client.ask(&format!("SADD s m{n}"));
        client.ask(&format!("SET k{n} {n}"));
    }
    for (command, sign) in [("HSCAN h", 'f'), ("SSCAN s", 'm'), ("SCAN", 'k')] {
        let (mut cursor, mut seen) = ("0".to_string(), BTreeSet::new());
        loop {
            let answer = client.ask(&format!("{command} {cursor} COUNT 7 MATCH {sign}*"));
            let mut words = answer.split("\r\n").filter(|word| !word.starts_with(['*', '$']));
            cursor = words.next().unwrap().to_string();
            seen.extend(words.filter(|word| word.starts_with(sign)).map(String::from));
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 500, "{command}");
    }
}

/// No key is seen once its time has come, and those that nobody asks for go too, some in each tick.
#[test]
fn keys_expire_to_the_millisecond_and_are_swept_up_in_bounded_steps() {
    let mut store = Store::default();
    let db = store.db(0);
    for n in 0..1000_u64 {
        let at = if n % 2 == 0 { 500 } else { NEVER };
        db.set(format!("k{n}").as_bytes(), b"1", Expiry::At(at), 0);
    }
    assert!(db.contains(b"k0", 499) && !db.contains(b"k0", 500));
    assert_eq!((db.len(), db.expiring(), db.keys(500).count()), (999, 499, 500));
    store.sweep(500, 100);
    let left = store.db(0).len();
    assert!((899..999).contains(&left), "{left}");
    (0..10).for_each(|_| store.sweep(500, 100));
    assert_eq!((store.db(0).len(), store.has_expiring()), (500, false));
}

/// Without anybody asking for them.
#[test]
fn expired_keys_leave_the_real_server_too() {
    let server = Server::new();
    let mut client = server.client();
    for n in 0..100 {
        client.asks(&format!("SET k{n} {n} PX 30"), "+OK\r\n");
    }
    let end = std::time::Instant::now() + super::support::PATIENCE;
    while client.ask("DBSIZE") != ":0\r\n" {
        assert!(std::time::Instant::now() < end, "they stay");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(client.ask("INFO stats").contains("expired_keys:100\r\n"));
}

#[test]
fn a_transaction_sees_what_others_have_changed() {
    let server = Server::new();
    let (mut one, mut other) = (server.client(), server.client());
    one.asks("WATCH a", "+OK\r\n");
    other.asks("SET a 1", "+OK\r\n");
    one.asks("MULTI", "+OK\r\n");
    one.asks("SET a 2", "+QUEUED\r\n");
    one.asks("EXEC", "*-1\r\n");
    one.asks("GET a", "$1\r\n1\r\n");
    // Expiry is a change as well, though nobody looked.
    other.asks("SET b 1 PX 20", "+OK\r\n");
    one.asks("WATCH b", "+OK\r\n");
    let end = std::time::Instant::now() + super::support::PATIENCE;
    while other.ask("EXISTS b") != ":0\r\n" {
        assert!(std::time::Instant::now() < end);
    }
    one.asks("MULTI", "+OK\r\n");
    one.asks("EXEC", "*-1\r\n");
    // Who has gone watches nothing.
    one.asks("WATCH c", "+OK\r\n");
    drop(one);
    other.asks("SET c 1", "+OK\r\n");
}

#[test]
fn clients_are_named_listed_and_ended() {
    let server = Server::new();
    let (mut one, mut other) = (server.client(), server.client());
    one.asks("CLIENT SETNAME one", "+OK\r\n");
    one.asks("CLIENT SETINFO LIB-NAME charkh", "+OK\r\n");
    let id = one.ask("CLIENT ID")[1..].trim_end().to_string();
    let list = other.ask("CLIENT LIST");
    assert!(list.contains(&format!("id={id} ")) && list.contains(" name=one "), "{list}");
    assert!(list.contains(" lib-name=charkh "), "{list}");
    other.asks(&format!("CLIENT KILL ID {id}"), ":1\r\n");
    assert_eq!(one.rest(), "");
    let addr = other.stream.local_addr().unwrap();
    other.asks(&format!("CLIENT KILL {addr}"), "+OK\r\n");
    assert_eq!(other.rest(), "");
    let mut third = server.client();
    third.say(b"CLIENT REPLY OFF\r\nPING\r\nSET a 1\r\nCLIENT REPLY ON\r\nPING\r\n");
    third.hear("+OK\r\n+PONG\r\n");
    third.say(b"CLIENT REPLY SKIP\r\nPING\r\nGET a\r\nQUIT\r\nPING\r\n");
    assert_eq!(third.rest(), "$1\r\n1\r\n+OK\r\n");
}

/// As in Redis: these look like changes, and change nothing.
#[test]
fn what_changes_nothing_does_not_stop_exec() {
    let server = Server::new();
    let (mut client, mut other) = (server.client(), server.client());
    for (setup, act, goes_on) in [
        ("SET k 1", "GETEX k PERSIST", true),
        ("SET k 1 EX 100", "GETEX k PERSIST", false),
        ("RPUSH k a", "LPOP k 0", true),
        ("RPUSH k a b", "LPOP k 1", false),
        ("SADD k a", "SPOP k 0", true),
        ("SADD k a b", "SPOP k 1", false),
        ("SADD k a", "SMOVE z k a", true),
        ("SADD k b", "SMOVE z k a", false),
    ] {
        client.asks("FLUSHALL", "+OK\r\n");
        client.asks("SADD z a", ":1\r\n");
        assert!(!client.ask(setup).starts_with('-'));
        client.asks("WATCH k", "+OK\r\n");
        assert!(!other.ask(act).starts_with('-'));
        client.say(b"MULTI\r\nPING\r\nEXEC\r\n");
        client.hear("+OK\r\n+QUEUED\r\n");
        let wanted = if goes_on { "*1\r\n+PONG\r\n" } else { "*-1\r\n" };
        assert_eq!(client.answer(), wanted, "{setup}, {act}");
    }
}

#[test]
fn items_are_removed_from_either_end() {
    let server = Server::new();
    let mut client = server.client();
    for (count, removed, left) in [
        (1, 1, "b a c a"),
        (2, 2, "b c a"),
        (-1, 1, "a b a c"),
        (-2, 2, "a b c"),
        (0, 3, "b c"),
        (9, 3, "b c"),
        (i64::MIN, 3, "b c"),
    ] {
        client.ask("DEL k");
        client.asks("RPUSH k a b a c a", ":5\r\n");
        client.asks(&format!("LREM k {count} a"), &format!(":{removed}\r\n"));
        let items: Vec<&str> = left.split(' ').collect();
        let wanted: String = items.iter().map(|item| format!("$1\r\n{item}\r\n")).collect();
        client.asks("LRANGE k 0 -1", &format!("*{}\r\n{wanted}", items.len()));
    }
    client.asks("LREM k 0 z", ":0\r\n");
}

#[test]
fn what_is_out_of_range_is_told_in_the_words_of_redis() {
    let server = Server::new();
    let mut client = server.client();
    client.asks("RPUSH l a", ":1\r\n");
    let (index, int) = ("DB index is out of range", "value is not an integer or out of range");
    let range = "value is out of range, value must between -2147483648 and 2147483647";
    let wrong_type = "WRONGTYPE Operation against a key holding the wrong kind of value";
    for command in ["SELECT", "MOVE l", "COPY l b DB"] {
        client.asks(&format!("{command} 16"), &format!("-ERR {index}\r\n"));
        client.asks(&format!("{command} -1"), &format!("-ERR {index}\r\n"));
        client.asks(&format!("{command} x"), &format!("-ERR {int}\r\n"));
        client.asks(&format!("{command} 99999999999"), &format!("-ERR {range}\r\n"));
    }
    client.asks("SWAPDB 0 99", &format!("-ERR {index}\r\n"));
    client.asks("SWAPDB -1 0", &format!("-ERR {index}\r\n"));
    client.asks("SWAPDB x 0", "-ERR invalid first DB index\r\n");
    client.asks("SWAPDB 0 99999999999", "-ERR invalid second DB index\r\n");
    client.asks("GETEX l EX 0", &format!("-{wrong_type}\r\n"));
    client.asks("GETEX l EX x", &format!("-{wrong_type}\r\n"));
    client.asks("GETEX l NOPE", "-ERR syntax error\r\n");
    client.asks("GETEX none EX 0", "$-1\r\n");
    client.asks("COMMAND GETKEYS OBJECT ENCODING x", "*1\r\n$1\r\nx\r\n");
    client.asks("COMMAND GETKEYS OBJECT NOPE x", "-ERR Invalid command specified\r\n");
    client.asks("CONFIG SET client-output-buffer-limit \"normal 0 0 0\"", "+OK\r\n");
    let limits = client.ask("CONFIG GET client-output-buffer-limit");
    assert!(limits.contains("pubsub 33554432 0 0"), "{limits}");
    let limit =
        "-ERR CONFIG SET failed (possibly related to argument 'client-output-buffer-limit')";
    for (value, why) in [
        ("normal 0 0", "Wrong number of arguments in buffer limit configuration."),
        ("nope 0 0 0", "Invalid client class specified in buffer limit configuration."),
    ] {
        let line = format!("CONFIG SET client-output-buffer-limit \"{value}\"");
        client.asks(&line, &format!("{limit} - {why}\r\n"));
    }
}
