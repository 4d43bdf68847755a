//! A server that Redis' own clients take for Redis: keys in memory, expiry, transactions, pub/sub.
//!
//! ```text
//! $ cargo run --release --example redis    # or: redis ADDRESS --maxmemory 100mb
//! $ redis-cli -p 7006
//! 127.0.0.1:7006> SET colour blue EX 60
//! OK
//! 127.0.0.1:7006> TTL colour
//! (integer) 60
//! $ redis-benchmark -p 7006 -P 16
//! ```
//! `request.rs` cuts requests from bytes and `reply.rs` writes answers: neither does any I/O.
//! `store.rs` has the keys, `commands/table.rs` all commands, and each group of them is a file.
//! Nothing is written to a disk.
#![allow(missing_docs, unreachable_pub)] // what is `pub` is so for the files beside this one
use std::{
    mem,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use charkh::{Config, ConnId, Hub, Input, Peer, Protocol, Reactor, Reason, Result};
use log::debug;

mod clients;
pub mod commands;
mod config;
mod glob;
mod number;
mod pubsub;
mod reply;
pub mod request;
mod rows;
pub mod store;
mod text;
pub mod value;

use clients::Session;
use commands::State;
pub use config::Settings;
use reply::Reply;
use request::{Parser, ProtocolError};

/// Bytes of answers that are gathered before they are given to the connection.
const GATHERED_MAX: usize = 64 << 10;

/// How often keys that have expired are looked for, and at how many keys. Whoever asks for one that
/// has expired never sees it, whether it was found or not.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
const SWEPT_MAX: usize = 10_000;

/// Requests of a pipeline that are looked at ahead.
const AHEAD: usize = 16;

/// The server.
#[derive(Debug)]
pub struct Redis {
    state: State,
    /// Between two reads it belongs to nobody: who has sent half a request has one of its own.
    parser: Parser,
    /// Reads ahead; see [`Redis::look_ahead`].
    scout: Parser,
    reply: Reply,
    /// What time it was, since 1970, when the reactor's clock was at zero.
    epoch: Duration,
    sweeps: bool,
}

impl Redis {
    /// The same time and seed, the same server: it has no other clock and no other chance.
    pub fn new(settings: Settings, epoch: Duration, seed: u64) -> Self {
        Self {
            state: State::new(settings, seed),
            parser: Parser::default(),
            scout: Parser::default(),
            reply: Reply::default(),
            epoch,
            sweeps: false,
        }
    }

    /// Milliseconds since 1970. It goes on evenly, whoever sets the clock of the machine.
    fn now(&self, since_start: Duration) -> u64 {
        (self.epoch + since_start).as_millis() as u64
    }
}

/// A request may have 512 MiB, and so may an answer.
pub fn limits(settings: &Settings) -> Config {
    Config {
        input_max: 1 << 30,
        output_max: 1 << 30,
        memory_max: match settings.clients_max {
            0 => usize::MAX,
            max => max,
        },
        frames_max: 1024,
        ..Config::default()
    }
}

impl Protocol for Redis {
    type Session = Session;

    fn open(&mut self, peer: &mut Peer) -> Session {
        self.state.stats.connections += 1;
        let now = self.now(peer.now());
        Session::new(self.state.clients.add(peer.id(), peer.addr(), now))
    }

    fn data(&mut self, peer: &mut Peer, session: &mut Session, input: &mut Input) -> Result {
        let mut parser = match session.partial.take() {
            Some(parser) => *parser,
            None => mem::take(&mut self.parser),
        };
        let now = self.now(peer.now());
        if let Err(e) = self.answer_all(&mut parser, peer, session, input, now) {
            debug!("{}: protocol error: {e}", peer.addr());
            let words = e.downcast_ref().map_or_else(Vec::new, |e: &ProtocolError| e.words());
            self.reply.error(&reply::Error::built([b"ERR Protocol error: ", &words[..]].concat()));
            session.is_closing = true;
        }
        self.flush(peer);
        if session.is_closing {
            peer.close();
        }
        if parser.is_midway() {
            session.partial = Some(Box::new(parser));
        } else {
            parser.shrink();
            self.parser = parser;
        }
        peer.set_held(session.memory());
        self.state.clients.note(session, now);
        if !self.sweeps && self.state.store.has_expiring() {
            self.sweeps = true;
            peer.hub().tick_in(SWEEP_EVERY);
        }
        Ok(())
    }

    fn closed(&mut self, hub: &mut Hub, _: ConnId, mut session: Session, reason: Reason) {
        let now = self.now(hub.now());
        session.forget_all(&mut self.state, now);
        let id = session.id;
        self.state.clients.remove(id);
        debug!("client {id} is gone: {reason}");
    }

    fn tick(&mut self, hub: &mut Hub) {
        let now = self.now(hub.now());
        self.state.store.sweep(now, SWEPT_MAX);
        self.sweeps = self.state.store.has_expiring();
        if self.sweeps {
            hub.tick_in(SWEEP_EVERY);
        }
    }
}

impl Redis {
    /// Answers are gathered, and leave together. What is left of the input of someone who does not
    /// read them is offered again when they do.
    fn answer_all(
        &mut self,
        parser: &mut Parser,
        peer: &mut Peer,
        session: &mut Session,
        input: &mut Input,
        now: u64,
    ) -> Result {
        self.reply.resp3 = session.resp3;
        let mut until_scouted = 0;
        loop {
            if until_scouted == 0 && !parser.is_midway() {
                until_scouted = AHEAD;
                self.look_ahead(session, input.peek());
            }
            until_scouted -= until_scouted.min(1);
            let Some(request) = input.frame(parser)? else { break };
            let args = parser.args(request);
            if !args.is_empty() {
                self.state.answer(args, &mut self.reply, session, peer, now);
            }
            if session.is_closing {
                break;
            }
            if self.reply.bytes.len() > GATHERED_MAX {
                self.flush(peer);
                if peer.is_full() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next requests of a pipeline are looked at before the first is answered, and their keys
    /// are searched for together. Where the keys are more than the processor's caches hold, each
    /// search is three walks to memory, and those that need not wait for each other overlap.
    fn look_ahead(&mut self, session: &Session, bytes: &[u8]) {
        if !self.state.store.is_large(session.db()) {
            return;
        }
        let db = self.state.store.db(session.db());
        let (mut ahead, mut hashes) = (Input::new(bytes), [0; AHEAD]);
        for hash in &mut hashes {
            let Ok(Some(request)) = ahead.frame(&mut self.scout) else { break };
            *hash = self.scout.args(request).get(1).map_or(0, |key| db.hash(key));
        }
        self.scout.reset();
        db.fetch(&hashes);
    }

    fn flush(&mut self, peer: &mut Peer) {
        if !self.reply.bytes.is_empty() {
            peer.send(&self.reply.bytes);
            self.reply.bytes.clear();
            self.reply.bytes.shrink_to(Reply::KEEP_MAX);
        }
    }
}

const USAGE: &str = "\
usage: redis [ADDRESS] [--NAME VALUE]...

ADDRESS is localhost:7006 if none is given.
Each NAME is one that CONFIG SET knows, such as
  --maxmemory 100mb
  --client-output-buffer-limit \"pubsub 32mb 0 0\"
or, at the start only, what all clients may have unread and unsent before the heaviest goes:
  --maxmemory-clients 2gb
";

/// What was asked for on the command line.
#[derive(Debug)]
pub enum Asked {
    Serve(String, Settings),
    Help,
}

/// What is said to someone who has mistyped.
///
/// # Errors
/// One sentence.
pub fn arguments(mut args: impl Iterator<Item = String>) -> std::result::Result<Asked, String> {
    let (mut settings, mut addr) = (Settings::default(), None);
    while let Some(arg) = args.next() {
        match arg.strip_prefix("--") {
            Some("help") => return Ok(Asked::Help),
            Some(name) if !settings.has(name.as_bytes()) => {
                return Err(format!("{arg} is no option"));
            }
            Some(name) => {
                let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
                settings.set_at_start(name.as_bytes(), value.as_bytes()).map_err(|e| {
                    let text = String::from_utf8_lossy(e.bytes());
                    format!("{arg} {value}: {}", text.rsplit(" - ").next().unwrap_or(&text))
                })?;
            }
            None if arg == "-h" => return Ok(Asked::Help),
            None if arg.starts_with('-') => return Err(format!("{arg} is no option")),
            None if addr.is_some() => return Err(format!("{arg} is one address too many")),
            None => addr = Some(arg),
        }
    }
    Ok(Asked::Serve(addr.unwrap_or_else(|| "localhost:7006".into()), settings))
}

/// # Errors
/// One sentence. With [`arguments`] that is all that can be wrong before there are clients.
pub fn run(addr: &str, settings: Settings) -> Result {
    let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let limits = limits(&settings);
    let redis = Redis::new(settings, epoch, epoch.as_nanos() as u64);
    let mut reactor = Reactor::with_config(redis, limits)?;
    reactor.net().stop_at_signals()?;
    let all = reactor.listen_all(addr).map_err(|e| format!("cannot listen at {addr}: {e}"))?;
    for listening in all {
        log::info!("listening on {}", listening.addr);
    }
    reactor.run()?;
    Ok(())
}

fn main() -> ExitCode {
    let (addr, settings) = match arguments(std::env::args().skip(1)) {
        Ok(Asked::Serve(addr, settings)) => (addr, settings),
        Ok(Asked::Help) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("redis: {wrong}; --help says what there is");
            return ExitCode::from(2);
        }
    };
    let logger = simple_logger::SimpleLogger::new().with_level(log::LevelFilter::Info).init();
    match logger.map_err(Into::into).and_then(|()| run(&addr, settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("redis: {wrong}");
            ExitCode::FAILURE
        }
    }
}
