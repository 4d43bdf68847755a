//! Publish and subscribe.
use std::{
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use log::{Log, Metadata, Record};

use super::support::{Client, PATIENCE, Server};

#[test]
fn channels_and_patterns_are_heard_and_left_again() {
    let server = Server::new();
    let (mut hears, mut says) = (server.client(), server.client());
    hears.say(b"SUBSCRIBE news chat\r\nPSUBSCRIBE n?ws\r\n");
    hears.hear("*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    hears.hear("*3\r\n$9\r\nsubscribe\r\n$4\r\nchat\r\n:2\r\n");
    hears.hear("*3\r\n$10\r\npsubscribe\r\n$4\r\nn?ws\r\n:3\r\n");
    says.asks("PUBLISH news hello", ":2\r\n");
    hears.hear("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    hears.hear("*4\r\n$8\r\npmessage\r\n$4\r\nn?ws\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    says.asks("PUBSUB NUMSUB news none", "*4\r\n$4\r\nnews\r\n:1\r\n$4\r\nnone\r\n:0\r\n");
    says.asks("PUBSUB CHANNELS n*", "*1\r\n$4\r\nnews\r\n");
    says.asks("PUBSUB NUMPAT", ":1\r\n");
    // What may be said meanwhile, and what may not.
    hears.asks("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    hears.asks("PING x", "*2\r\n$4\r\npong\r\n$1\r\nx\r\n");
    let only = "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                RESET are allowed in this context\r\n";
    hears.asks("GET a", only);
    hears.asks("PUNSUBSCRIBE", "*3\r\n$12\r\npunsubscribe\r\n$4\r\nn?ws\r\n:2\r\n");
    hears.say(b"UNSUBSCRIBE\r\n");
    hears.answer();
    assert!(hears.answer().ends_with(":0\r\n"));
    hears.asks("GET a", "$-1\r\n");
    says.asks("PUBLISH news hello", ":0\r\n");
    hears.asks("SUBSCRIBE a", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    hears.asks("RESET", "+RESET\r\n");
    says.asks("PUBSUB CHANNELS", "*0\r\n");
}

#[test]
fn in_resp3_messages_are_pushed_and_all_commands_are_allowed() {
    let server = Server::new();
    let mut client = server.client();
    assert!(client.ask("HELLO 3").starts_with('%'));
    client.asks("SUBSCRIBE me", ">3\r\n$9\r\nsubscribe\r\n$2\r\nme\r\n:1\r\n");
    client.asks("PING", "+PONG\r\n");
    // What one says to oneself comes behind the answer, also of a whole transaction.
    let message = ">3\r\n$7\r\nmessage\r\n$2\r\nme\r\n$2\r\nhi\r\n";
    client.say(b"PUBLISH me hi\r\n");
    client.hear(&format!(":1\r\n{message}"));
    client.say(b"MULTI\r\nPUBLISH me hi\r\nPING\r\nEXEC\r\n");
    client.hear("+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    client.hear(&format!("*2\r\n:1\r\n+PONG\r\n{message}"));
}

#[test]
fn who_is_gone_is_not_spoken_to() {
    let server = Server::new();
    let (mut hears, mut says) = (server.client(), server.client());
    hears.ask("SUBSCRIBE a");
    hears.ask("PSUBSCRIBE *");
    drop(hears);
    until(&mut says, "PUBLISH a x", ":0\r\n");
    says.asks("PUBSUB NUMPAT", ":0\r\n");
}

fn until(client: &mut Client, line: &str, wanted: &str) {
    let end = Instant::now() + PATIENCE;
    while client.ask(line) != wanted {
        assert!(Instant::now() < end, "{line} never was {wanted}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// What was logged, by all servers of this process.
static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Keep;

impl Log for Keep {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            LOGGED.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// It is cut off, with its name in the log, and all others hear everything.
#[test]
fn case_126_a_subscriber_who_never_reads_is_cut_off() {
    log::set_logger(&Keep).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let server = Server::new();
    let (mut slow, mut reads, mut says) = (server.client(), server.client(), server.client());
    says.asks("CONFIG SET client-output-buffer-limit \"pubsub 1mb 0 0\"", "+OK\r\n");
    slow.asks("CLIENT SETNAME sleepy", "+OK\r\n");
    slow.ask("SUBSCRIBE news");
    reads.ask("SUBSCRIBE news");
    let text = "x".repeat(50_000);
    let message = format!("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$50000\r\n{text}\r\n");
    let mut heard_by = 2;
    let mut sent = 0;
    while heard_by == 2 {
        let answer = says.ask(&format!("PUBLISH news {text}"));
        heard_by = answer[1..].trim_end().parse().unwrap();
        reads.hear(&message);
        sent += 1;
        assert!(sent < 2000, "nobody is cut off");
    }
    assert_eq!(heard_by, 1);
    let logged = LOGGED.lock().unwrap().join("\n");
    assert!(logged.contains(" name=sleepy has left "), "{logged}");
    assert!(!says.ask("CLIENT LIST").contains("name=sleepy"));
    says.asks("PUBLISH news bye", ":1\r\n");
}
