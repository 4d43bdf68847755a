//! Beside Redis itself, where it is installed: the same bytes, the same answers.
use std::{net::Shutdown, time::SystemTime};

use super::redis::Settings;
use super::support::{Client, Server, real_redis};

/// One command a line. `~` before it: in any order. Blank lines and `#` are for the reader.
const SCRIPT: &str = include_str!("commands.txt");

/// The same commands to both; each answer is compared.
fn compare(first: &str, script: &str) {
    let Some((_running, addr)) = real_redis() else { return };
    let server = Server::with(SystemTime::UNIX_EPOCH.elapsed().unwrap(), Settings::default());
    let (mut ours, mut theirs) = (server.client(), Client::to(addr));
    let lines = script.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut differences = Vec::new();
    for line in [first, "FLUSHALL"].into_iter().chain(lines) {
        let (any_order, line) = match line.strip_prefix('~') {
            Some(line) => (true, line),
            None => (false, line),
        };
        let answers = [&mut ours, &mut theirs].map(|client| {
            let answer = client.ask(line);
            let mut parts: Vec<String> = answer.split("\r\n").map(String::from).collect();
            if any_order {
                parts.sort();
            }
            parts.join(" ")
        });
        if answers[0] != answers[1] && !line.starts_with("HELLO") {
            differences.push(format!("{line}\n   ours {}\n  Redis {}", answers[0], answers[1]));
        }
    }
    assert!(differences.is_empty(), "\n{}\n", differences.join("\n"));
}

#[test]
fn every_command_answers_as_redis_does_in_resp2() {
    compare("HELLO 2", SCRIPT);
}

#[test]
fn every_command_answers_as_redis_does_in_resp3() {
    compare("HELLO 3", SCRIPT);
}

/// Requests with a few bytes changed, of all kinds: whoever of the two finds an error, both do,
/// with the same words, and what is answered before it is the same.
#[test]
fn mutated_requests_are_taken_as_redis_takes_them() {
    let Some((_running, addr)) = real_redis() else { return };
    let server = Server::new();
    let mut rng = fastrand::Rng::with_seed(125);
    for round in 0..3000 {
        let said = mutated(&mut rng);
        let answers = [server.addr, addr].map(|addr| {
            let mut client = Client::to(addr);
            // What is half said at the end is never answered; so the end of the connection is.
            client.say(&[b"FLUSHALL\r\n", &said[..]].concat());
            client.stream.shutdown(Shutdown::Write).unwrap();
            client.rest()
        });
        let shown = said.escape_ascii().to_string();
        assert_eq!(answers[0], answers[1], "round {round}: ours, Redis', to {shown}");
    }
}

const WHOLE: &[&str] = &[
    "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhowdy\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n*2\r\n$6\r\nSTRLEN\r\n$1\r\nk\r\n",
    "SET k \"a b\\x41\\n\" \r\nGET k\nECHO 'it\\'s'\r\n\r\n  PING  \r\n",
    "*0\r\n*-1\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\nPING\r\n*1\r\n$0\r\n\r\n",
    "*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$0\r\n\r\n\
     *3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n",
];

/// Bytes that mean something here. Not NUL, at which Redis ends some of its searches.
const SIGNS: &[u8] = b"*$\r\n0123456789-+ '\"\\xkGETS\xff";

fn mutated(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = rng.choice(WHOLE).map_or("", |whole| whole).as_bytes().to_vec();
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..bytes.len());
        let sign = SIGNS[rng.usize(..SIGNS.len())];
        match rng.u8(..4) {
            0 => bytes[at] = sign,
            1 => bytes.insert(at, sign),
            2 if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

/// What is said of the whole server is not the same, but has the same shape.
#[test]
fn what_clients_ask_at_first_has_the_shape_that_redis_gives_it() {
    let server = Server::new();
    let mut client = server.client();
    assert!(client.ask("COMMAND COUNT").starts_with(':'));
    assert!(
        client.ask("COMMAND DOCS get").starts_with("*2\r\n$3\r\nget\r\n*4\r\n$7\r\nsummary\r\n")
    );
    client.asks("COMMAND INFO nothing", "*1\r\n*-1\r\n");
    let get = client.ask("COMMAND INFO GET");
    assert!(get.starts_with(
        "*1\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
    ));
    let info = client.ask("INFO");
    for line in ["redis_version:7.", "role:master", "loading:0", "used_memory:0", "# Keyspace"] {
        assert!(info.contains(&format!("\n{line}")), "{line} in {info}");
    }
    assert!(client.ask("HELLO 3").starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"));
    assert!(client.ask("CLIENT LIST").starts_with('='));
}
