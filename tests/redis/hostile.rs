//! Those who mean harm, and those who are broken.
use std::{
    io::{ErrorKind, Read, Write},
    iter, thread,
    time::Instant,
};

use super::{
    redis::Settings,
    support::{Client, EPOCH, PATIENCE, Server},
};

/// What is said, and all that is heard until the end of the connection.
fn ends_with(server: &Server, says: &[u8], wanted: &str) {
    let heard = server.hears(says);
    assert_eq!(heard, wanted, "after {}", says[..says.len().min(80)].escape_ascii());
}

#[test]
fn case_125_what_is_no_request_is_told_so_in_the_words_of_redis() {
    let server = Server::new();
    let long = "x".repeat(70_000);
    for (says, error) in [
        ("*3000000000\r\n", "invalid multibulk length"),
        ("*abc\r\n", "invalid multibulk length"),
        ("*1\r\n$2000000000\r\n", "invalid bulk length"),
        ("*1\r\n$-10\r\n", "invalid bulk length"),
        ("*1\r\n$blabla\r\n", "invalid bulk length"),
        ("*1\r\nfoo\r\n", "expected '$', got 'f'"),
        (&"*1\r\n".repeat(1_000_000), "expected '$', got '*'"),
        (&long, "too big inline request"),
        (&format!("*{long}"), "too big mbulk count string"),
        (&format!("*1\r\n${long}"), "too big bulk count string"),
        ("SET \"a b\r\n", "unbalanced quotes in request"),
        ("SET 'a'b\r\n", "unbalanced quotes in request"),
    ] {
        // What came before it is answered, and what comes behind it is not.
        let says = format!("PING\r\n{says}PING\r\n");
        ends_with(&server, says.as_bytes(), &format!("+PONG\r\n-ERR Protocol error: {error}\r\n"));
    }
    server.client().asks("PING", "+PONG\r\n");
}

#[test]
fn case_125_counts_below_one_ask_for_nothing() {
    let server = Server::new();
    let mut client = server.client();
    client.say(b"*0\r\n*-10\r\n\r\n  \r\nPING\r\n");
    client.hear("+PONG\r\n");
}

/// A page in a browser can make it send requests to any port of its machine.
#[test]
fn case_125_http_is_not_listened_to() {
    let server = Server::new();
    let post = "POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\nSET pwned 1\r\n";
    ends_with(&server, post.as_bytes(), "");
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nSET pwned 1\r\n";
    ends_with(&server, get.as_bytes(), "-ERR wrong number of arguments for 'get' command\r\n");
    server.client().asks("EXISTS pwned", ":0\r\n");
}

#[test]
fn case_125_a_million_empty_arguments_are_one_request() {
    let server = Server::new();
    let mut client = server.client();
    client.say(&[&b"*1048576\r\n"[..], &b"$0\r\n\r\n".repeat(1 << 20)].concat());
    client.hear("-ERR unknown command '', with args beginning with: '' '' ''");
    client.say(b"PING\r\n");
    assert!(client.answer().ends_with("'' \r\n"));
    client.hear("+PONG\r\n");
}

/// All are answered, in order, though the client reads only when all is said.
#[test]
fn case_125_a_hundred_thousand_in_one_go_are_answered_in_order() {
    let server = Server::new();
    let mut client = server.client();
    let mut writer = client.stream.try_clone().unwrap();
    let says: String = (0..100_000).map(|n| format!("SET k {n}\r\nGET k\r\n")).collect();
    let writing = thread::spawn(move || writer.write_all(says.as_bytes()).unwrap());
    let wants: String =
        (0..100_000).map(|n| format!("+OK\r\n${}\r\n{n}\r\n", n.to_string().len())).collect();
    client.hear(&wants);
    writing.join().unwrap();
}

/// It is asked for far more than it reads: it is kept waiting, and costs no more than one answer.
#[test]
fn whoever_asks_for_much_and_reads_nothing_is_waited_for() {
    let server = Server::new();
    let mut client = server.client();
    let value = "x".repeat(1 << 20);
    client.say(format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{value}\r\n", value.len()).as_bytes());
    client.hear("+OK\r\n");
    client.say("GET a\r\n".repeat(300).as_bytes());
    let answer = format!("${}\r\n{value}\r\n", value.len());
    // Others are served meanwhile.
    server.client().asks("PING", "+PONG\r\n");
    (0..300).for_each(|_| client.hear(&answer));
}

#[test]
fn a_request_that_comes_byte_by_byte_is_one() {
    let server = Server::new();
    let mut client = server.client();
    for byte in b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\nGET \"k\"\r\n" {
        client.say(&[*byte]);
    }
    client.hear("+OK\r\n$5\r\nhello\r\n");
}

#[test]
fn more_memory_than_may_be_is_answered_and_what_frees_it_is_not_refused() {
    let server = Server::new();
    let mut client = server.client();
    client.asks("CONFIG SET maxmemory 1mb", "+OK\r\n");
    let oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let big = "x".repeat(60_000);
    let refused = (0..100).find(|n| client.ask(&format!("SET k{n} {big}")) == oom);
    assert!(refused.is_some_and(|n| (10..20).contains(&n)), "{refused:?}");
    for line in ["SET a 1", "LPUSH l x", "HSET h a b", "APPEND k0 x", "INCR n", "SETRANGE x 1 y"] {
        client.asks(line, oom);
    }
    client.asks("STRLEN k0", ":60000\r\n");
    client.asks("MULTI", "+OK\r\n");
    client.asks("SET a 1", oom);
    client.asks("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    client.asks("DEL k0 k1", ":2\r\n");
    client.asks("SET a 1", "+OK\r\n");
    // A few bytes that ask for many.
    client.asks("SETRANGE huge 500000000 x", oom);
    client.asks("EXISTS huge", ":0\r\n");
    client.asks("FLUSHALL", "+OK\r\n");
    assert!(client.ask("INFO memory").contains("used_memory:0\r\n"));
}

/// Each command's change of memory is undone by the one that undoes the command.
#[test]
fn the_books_of_memory_are_even_at_the_end() {
    let server = Server::new();
    let mut client = server.client();
    let long = "y".repeat(50);
    for line in [
        format!("SET a {long}"),
        format!("APPEND a {long}{long}"),
        "SET a 1".into(),
        format!("SETRANGE r 10 {long}"),
        "INCR n".into(),
        "RENAME n m".into(),
        "COPY a b".into(),
        format!("RPUSH l {long} x y {long}"),
        "LSET l 0 z".into(),
        format!("LSET l 1 {long}"),
        format!("LINSERT l BEFORE y {long}"),
        format!("LREM l 1 {long}"),
        "LPOP l".into(),
        "LTRIM l 1 -1".into(),
        format!("HSET h f {long} g 1"),
        format!("HSET h g {long}"),
        "HDEL h f".into(),
        "HINCRBY h n 5".into(),
        format!("SADD s {long} a b"),
        "SPOP s".into(),
        format!("SADD s {long}"),
        "SUNIONSTORE t s".into(),
        "SMOVE t s a".into(),
        "SET h x".into(),
    ] {
        assert!(!client.ask(&line).starts_with('-'), "{line}");
    }
    assert!(!client.ask("INFO memory").contains("used_memory:0\r\n"));
    client.ask("DEL a b r m l h s t");
    client.asks("DBSIZE", ":0\r\n");
    assert!(client.ask("INFO memory").contains("used_memory:0\r\n"));
}

/// Whoever is over its limit is told so, not everybody.
#[test]
fn what_waits_for_exec_has_a_limit() {
    let server = Server::new();
    let mut client = server.client();
    let value = "x".repeat(60_000);
    client.asks("MULTI", "+OK\r\n");
    for _ in 0..1200 {
        client.asks(&format!("SET a {value}"), "+QUEUED\r\n");
    }
    client.asks("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    client.asks("EXISTS a", ":0\r\n");
}

#[test]
fn a_pattern_of_stars_takes_no_more_than_its_length_times_that_of_the_key() {
    let server = Server::new();
    let mut client: Client = server.client();
    client.asks(&format!("SET {} 1", "a".repeat(5000)), "+OK\r\n");
    client.asks(&format!("KEYS {}b", "a*".repeat(2500)), "*0\r\n");
}

const MIB: usize = 1 << 20;

/// A server whose answers have 8 MiB, and a client that has put a string of 1 MiB there.
fn with_a_large_string(line: &str) -> (Server, Client) {
    let server = Server::new();
    let mut client = server.client();
    client.asks("CONFIG SET client-output-buffer-limit \"normal 8mb 0 0\"", "+OK\r\n");
    let words: Vec<&str> = line.split(' ').collect();
    let mut says = format!("*{}\r\n", words.len() + 1).into_bytes();
    for word in words {
        says.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
    says.extend(format!("${MIB}\r\n{}\r\n", "x".repeat(MIB)).bytes());
    client.say(&says);
    client.answer();
    (server, client)
}

const TOO_LONG: &str = "-ERR the answer is longer than answers may be\r\n";

#[test]
fn a_few_bytes_that_ask_for_gigabytes_are_refused_and_closed() {
    let many_keys = format!("MGET{}", " k".repeat(20_000));
    for (setup, asks) in [
        ("HSET k f", "HRANDFIELD k -1000000 WITHVALUES"),
        ("SADD k", "SRANDMEMBER k -1000000"),
        ("SET k", &many_keys),
    ] {
        let (server, mut client) = with_a_large_string(setup);
        client.say(format!("PING\r\n{asks}\r\nPING\r\n").as_bytes());
        assert_eq!(client.rest(), format!("+PONG\r\n{TOO_LONG}"), "{setup}");
        server.client().asks("PING", "+PONG\r\n");
    }
}

#[test]
fn exec_answers_no_more_than_one_command_may_and_all_is_done() {
    let (server, mut client) = with_a_large_string("SET k");
    client.say(format!("MULTI\r\n{}INCR n\r\nEXEC\r\n", "GET k\r\n".repeat(20_000)).as_bytes());
    assert!(client.rest().ends_with(&format!("+QUEUED\r\n{TOO_LONG}")));
    server.client().asks("GET n", "$1\r\n1\r\n");
}

/// Nothing of that is kept for the next.
#[test]
fn who_is_answered_after_one_that_asked_for_too_much_is_answered() {
    let (server, mut client) = with_a_large_string("SET k");
    let mut other = server.client();
    client.say(format!("MGET{}\r\n", " k".repeat(9)).as_bytes());
    assert_eq!(client.rest(), TOO_LONG);
    other.asks("STRLEN k", &format!(":{MIB}\r\n"));
    let seven = format!("MGET{}", " k".repeat(7));
    assert!(other.ask(&seven).len() > 7 * MIB);
}

#[test]
fn who_hears_itself_a_thousand_times_is_cut_off() {
    let (server, mut client) = with_a_large_string("SET k");
    client.ask("HELLO 3");
    let patterns: String = (1..300).map(|n| format!(" c{}", "*".repeat(n))).collect();
    client.say(format!("PSUBSCRIBE{patterns}\r\n").as_bytes());
    (1..300).for_each(|_| drop(client.answer()));
    let message = "x".repeat(MIB);
    client.say(format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n${MIB}\r\n{message}\r\n").as_bytes());
    let mut heard = Vec::new();
    // Cut off it may be with a reset.
    let _ = client.stream.take(40 * MIB as u64).read_to_end(&mut heard);
    assert!(heard.len() <= 33 * MIB, "{}", heard.len());
    server.client().asks("PING", "+PONG\r\n");
}

fn used_memory(client: &mut Client) -> usize {
    let info = client.ask("INFO memory");
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    line.unwrap().parse().unwrap()
}

/// What was large takes the memory of what is left, and is counted as that.
#[test]
fn collections_that_shrink_give_their_memory_back() {
    let server = Server::new();
    let mut client = server.client();
    let all: Vec<String> = (0..50_000).map(|n| n.to_string()).collect();
    let pairs: String = all.iter().map(|n| format!(" {n} {n}")).collect();
    let (all, but_one) = (all.join(" "), all[1..].join(" "));
    for (grow, shrink) in [
        (format!("RPUSH k {all}"), "LTRIM k 0 0".into()),
        (format!("RPUSH k {all}"), "LPOP k 49999".into()),
        (format!("SADD k {all}"), "SPOP k 49999".into()),
        (format!("SADD k {all}"), format!("SREM k {but_one}")),
        (format!("HSET k{pairs}"), format!("HDEL k {but_one}")),
    ] {
        // More than an inline request may have.
        let ask = |client: &mut Client, line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let mut says = format!("*{}\r\n", words.len());
            words.iter().for_each(|word| says += &format!("${}\r\n{word}\r\n", word.len()));
            client.say(says.as_bytes());
            client.answer()
        };
        assert_eq!(ask(&mut client, &grow), ":50000\r\n");
        let large = used_memory(&mut client);
        assert!(large > 50_000 * 24, "{large}");
        ask(&mut client, &shrink);
        let small = used_memory(&mut client);
        assert!(small < 4096, "{} {small} of {large}", &shrink[..8]);
        client.asks("DEL k", ":1\r\n");
        assert_eq!(used_memory(&mut client), 0);
    }
}

/// One field costs what a table with one field takes, which is far more than its bytes.
#[test]
fn small_hashes_are_counted_as_what_they_take() {
    let server = Server::new();
    let mut client = server.client();
    client.asks("HSET k f v", ":1\r\n");
    assert!((400..700).contains(&used_memory(&mut client)));
}

/// What connections keep is counted with what keys keep, and given back in each way in which it can
/// end.
#[test]
fn what_connections_keep_is_memory_too() {
    let server = Server::new();
    let mut watcher = server.client();
    watcher.asks("CONFIG SET maxmemory 1mb", "+OK\r\n");
    let oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let long = "x".repeat(60_000);
    for (before, fills, ends) in [
        ("MULTI", format!("GET {long}"), "DISCARD"),
        ("MULTI", format!("GET {long}"), "EXEC"),
        ("MULTI", format!("GET {long}"), "RESET"),
        ("HELLO 3", format!("SUBSCRIBE N{long}"), "UNSUBSCRIBE"),
        ("HELLO 3", format!("PSUBSCRIBE N{long}"), "RESET"),
        ("PING", format!("WATCH N{long}"), "UNWATCH"),
        ("PING", format!("WATCH N{long}"), "QUIT"),
    ] {
        let mut client = server.client();
        assert!(!client.ask(before).starts_with('-'));
        let refused = (0..100).find(|n| client.ask(&fills.replace('N', &n.to_string())) == oom);
        assert!(refused.is_some_and(|n| (5..20).contains(&n)), "{before} {refused:?}");
        assert!(used_memory(&mut watcher) > 500_000, "{before}");
        // No matter who has it.
        if before == "MULTI" {
            watcher.asks("SET k x", oom);
        }
        client.say(format!("{ends}\r\n").as_bytes());
        client.line();
        let end = Instant::now() + PATIENCE;
        while used_memory(&mut watcher) > 0 {
            assert!(Instant::now() < end, "{before} {ends} keeps its memory");
        }
    }
}

/// A million arguments that are nothing take more memory than their bytes do.
#[test]
fn case_066_requests_that_never_end_have_a_limit_together() {
    let clients_max = 8 << 20;
    let settings = Settings { clients_max, ..Settings::default() };
    let server = Server::with(EPOCH, settings);
    let mut polite = server.client();
    let known = "*2\r\n$17\r\nmaxmemory-clients\r\n$7\r\n8388608\r\n";
    polite.asks("CONFIG GET maxmemory-clients", known);
    let half = [&b"*1000000\r\n"[..], &b"$0\r\n\r\n".repeat(100_000)].concat();
    // Each has a MiB of bytes, and a MiB of places where arguments begin and end.
    let mut crowd: Vec<Client> = (0..12).map(|_| server.client()).collect();
    for client in &mut crowd {
        client.say(&half);
        polite.asks("PING", "+PONG\r\n");
    }
    only_four_stay(&mut crowd);
    assert!(polite.ask("CONFIG SET maxmemory-clients 1").ends_with("set immutable config\r\n"));
}

fn only_four_stay(crowd: &mut [Client]) {
    let is_here = |client: &mut Client| {
        client.stream.set_nonblocking(true).unwrap();
        let end = iter::repeat_with(|| client.stream.read(&mut [0; 4096]))
            .find(|read| !matches!(read, Ok(1..)));
        end.unwrap().is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
    };
    let end = Instant::now() + PATIENCE;
    while crowd.iter_mut().filter_map(|client| is_here(client).then_some(())).count() > 4 {
        assert!(Instant::now() < end, "more than four have a place");
    }
}

/// Two MiB each, in requests that are whole: those who keep them go, and nobody else is refused.
#[test]
fn case_066_what_waits_for_exec_and_names_have_a_limit_together() {
    let text = "x".repeat(50_000);
    for (first, more, times) in
        [("MULTI", "SET k N", 40), ("PING", "WATCH N", 20), ("PING", "SUBSCRIBE N", 20)]
    {
        let (clients_max, maxmemory) = (8 << 20, 64 << 20);
        let settings = Settings { clients_max, maxmemory, ..Settings::default() };
        let server = Server::with(EPOCH, settings);
        let mut polite = server.client();
        let requests = (0..times).map(|n| more.replace('N', &format!("{n}{text}\r\n")));
        let says = format!("{first}\r\n{}", requests.collect::<String>());
        let mut crowd: Vec<Client> = (0..12).map(|_| server.client()).collect();
        for client in &mut crowd {
            client.say(says.as_bytes());
            polite.asks("SET a b", "+OK\r\n");
        }
        only_four_stay(&mut crowd);
        polite.asks("SET a b", "+OK\r\n");
    }
}

#[test]
fn a_key_is_watched_once_however_often_that_is_said() {
    let server = Server::new();
    let mut client = server.client();
    client.asks("WATCH k k k", "+OK\r\n");
    let once = used_memory(&mut client);
    client.asks("WATCH k k k", "+OK\r\n");
    assert_eq!(used_memory(&mut client), once);
    client.asks("UNWATCH", "+OK\r\n");
    assert_eq!(used_memory(&mut client), 0);
}

#[test]
fn names_of_clients_are_short() {
    let server = Server::new();
    let mut client = server.client();
    let wrong = "-ERR Client names cannot be longer than 256 bytes.\r\n";
    client.asks(&format!("CLIENT SETNAME {}", "n".repeat(257)), wrong);
    client.asks(&format!("HELLO 2 SETNAME {}", "n".repeat(257)), wrong);
    client.asks(&format!("CLIENT SETNAME {}", "n".repeat(256)), "+OK\r\n");
}

/// Of a million items only those are looked at that are asked for: all of them each time would take
/// minutes.
#[test]
fn changes_at_the_ends_of_a_long_list_do_not_look_at_all_of_it() {
    let server = Server::new();
    let mut client = server.client();
    let items = "$1\r\nx\r\n".repeat(1_000_000);
    client.say(format!("*1000002\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n{items}").as_bytes());
    client.hear(":1000000\r\n");
    let start = Instant::now();
    for _ in 0..60 {
        let round = "LTRIM l 0 -1\r\nLREM l 1 x\r\nLREM l -1 x\r\nLINSERT l BEFORE x x\r\n\
                     LINSERT l BEFORE x x\r\n";
        client.say(round.repeat(1000).as_bytes());
        client.hear(&"+OK\r\n:1\r\n:1\r\n:999999\r\n:1000000\r\n".repeat(1000));
        assert!(start.elapsed() < PATIENCE);
    }
}
