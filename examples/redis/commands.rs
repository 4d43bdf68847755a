//! All commands, and what is asked before one of them is run.
use std::collections::HashMap;

use charkh::{Peer, Throttle};
use log::warn;

use super::{
    clients::{Clients, Mute, Session},
    config::Settings,
    pubsub::Channels,
    reply::{Error, Reply, Result},
    request::Args,
    store::{Db, Store},
    value::Hasher,
};

mod connection;
mod generic;
mod hashes;
mod lists;
mod messages;
pub mod scan;
mod server;
mod sets;
mod strings;
mod table;
mod transactions;

pub use table::{Command, GROUPS};
pub use transactions::Transaction;

/// Lines of the log in a second that strangers can cause.
const COMPLAINTS_PER_SECOND: u32 = 10;

/// What all connections share.
#[derive(Debug)]
pub struct State {
    pub store: Store,
    pub settings: Settings,
    pub clients: Clients,
    pub channels: Channels,
    pub stats: Stats,
    pub rng: fastrand::Rng,
    pub complaints: Throttle,
    by_name: HashMap<u128, &'static Command, Hasher>,
}

/// What INFO tells.
#[derive(Default, Debug)]
pub struct Stats {
    pub commands: u64,
    pub connections: u64,
    pub hits: u64,
    pub misses: u64,
}

impl State {
    /// `seed` decides what RANDOMKEY and its kin choose.
    pub fn new(settings: Settings, seed: u64) -> Self {
        let all = GROUPS.iter().flat_map(|(_, commands)| commands.iter());
        let named = all.filter_map(|command| Some((pack(command.name.as_bytes())?, command)));
        Self {
            store: Store::default(),
            settings,
            clients: Clients::default(),
            channels: Channels::default(),
            stats: Stats::default(),
            rng: fastrand::Rng::with_seed(seed),
            complaints: Throttle::new(COMPLAINTS_PER_SECOND),
            by_name: named.collect(),
        }
    }
}

/// One request, while it is answered.
#[derive(Debug)]
pub struct Call<'a, 'p> {
    pub args: Args<'a>,
    pub command: &'static Command,
    pub out: &'a mut Reply,
    pub state: &'a mut State,
    pub session: &'a mut Session,
    pub peer: &'a mut Peer<'p>,
    /// Milliseconds since 1970.
    pub now: u64,
}

/// A name of at most 16 bytes, in lower case, as one number.
#[inline]
fn pack(name: &[u8]) -> Option<u128> {
    if name.len() > 16 {
        return None;
    }
    Some(name.iter().fold(0, |packed, byte| packed << 8 | u128::from(byte.to_ascii_lowercase())))
}

impl State {
    #[inline]
    pub fn command(&self, name: &[u8]) -> Option<&'static Command> {
        // A zero in front of a name is lost when it is packed.
        let command = self.by_name.get(&pack(name)?).copied();
        command.filter(|command| command.name.len() == name.len())
    }

    /// Answer one request. It has a name at least.
    #[inline]
    pub fn answer(
        &mut self,
        args: Args,
        out: &mut Reply,
        session: &mut Session,
        peer: &mut Peer,
        now: u64,
    ) {
        self.stats.commands += 1;
        let before = out.bytes.len();
        out.is_over = false;
        out.max = before + self.settings.reply_max();
        let mute = session.mute;
        let Some(command) = self.command(&args[0]) else {
            out.error(&unknown(args));
            transactions::spoil(session);
            return mute_from(before, mute, session, out);
        };
        let mut call = Call { args, command, out, state: self, session, peer, now };
        if let Err(error) = call.check_and_run() {
            call.out.error(&error);
        }
        if mute != Mute::Off {
            mute_from(before, mute, session, out);
        }
        // What it said to itself comes behind the answer, never within one.
        if !self.channels.own.is_empty() {
            out.bytes.append(&mut self.channels.own);
            self.channels.own.shrink_to(Reply::KEEP_MAX);
        }
        if out.is_over {
            out.bytes.truncate(before);
            (out.is_over, out.max) = (false, usize::MAX);
            out.error(&TOO_LONG);
            session.is_closing = true;
            self.complain_of_answer(command, peer);
        }
    }
}

const TOO_LONG: Error = Error::new("ERR the answer is longer than answers may be");

impl State {
    #[cold]
    fn complain_of_answer(&mut self, command: &Command, peer: &Peer) {
        if let Some(more) = self.complaints.allow(peer.now()) {
            let (addr, name) = (peer.addr(), command.name);
            warn!("{addr} is closed: the answer to {name} passes the limit (+{more})");
        }
    }
}

/// CLIENT REPLY: what was written from there on is not sent.
#[cold]
fn mute_from(before: usize, mute: Mute, session: &mut Session, out: &mut Reply) {
    match mute {
        Mute::Off => {}
        Mute::On if session.mute == Mute::Off => {}
        Mute::On => out.bytes.truncate(before),
        Mute::Next => {
            out.bytes.truncate(before);
            if session.mute == Mute::Next {
                session.mute = Mute::Off;
            }
        }
    }
}

impl Call<'_, '_> {
    pub fn db(&mut self) -> &mut Db {
        self.state.store.db(self.session.db())
    }

    /// What most commands need: the database, where the answer goes, and the time.
    #[inline]
    pub fn parts(&mut self) -> (&mut Db, &mut Reply, u64) {
        (self.state.store.db(self.session.db()), self.out, self.now)
    }

    /// Is there room for so many bytes that no request has brought?
    pub fn has_room(&self, more: usize) -> Result {
        match self.state.settings.maxmemory {
            0 => Ok(()),
            max if self.state.store.memory().saturating_add(more) <= max => Ok(()),
            _ => Err(Error::OOM),
        }
    }

    /// Is there more in use than may be?
    #[inline]
    pub fn is_out_of_memory(&self) -> bool {
        self.state.store.is_over(self.state.settings.maxmemory)
    }

    #[inline]
    fn check_and_run(&mut self) -> Result {
        if let Err(error) = self.check() {
            transactions::spoil(self.session);
            return Err(transactions::explained(self, error));
        }
        if self.session.transaction.is_some() && !self.command.is(table::NO_MULTI) {
            return transactions::queue(self);
        }
        (self.command.run)(self)
    }

    #[inline]
    fn check(&mut self) -> Result {
        if self.command.is(table::CONTAINER) && self.args.len() >= 2 {
            self.command = self.subcommand()?;
        }
        if !self.command.takes(self.args.len()) {
            return Err(self.wrong_number());
        }
        // What is queued takes memory, whatever it is.
        let is_queued = self.session.transaction.is_some() && !self.command.is(table::NO_MULTI);
        if (self.command.is(table::DENY_OOM) || is_queued) && self.is_out_of_memory() {
            return Err(Error::OOM);
        }
        if self.session.is_subscribed() && !self.out.resp3 && !self.command.is(table::PUBSUB) {
            return Err(Error::built(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                 RESET are allowed in this context",
                self.command.name
            )));
        }
        Ok(())
    }

    /// `CLIENT LIST` is a command of its own, `client|list`.
    fn subcommand(&self) -> Result<&'static Command> {
        let name = &self.args[1];
        let found = self.command.subcommands.iter().find(|command| {
            let (_, sub) = command.name.split_once('|').unwrap_or_default();
            sub.as_bytes().eq_ignore_ascii_case(name)
        });
        found.ok_or_else(|| {
            let shown = &name[..name.len().min(128)];
            let help = self.command.name.to_uppercase();
            Error::built(
                [b"ERR unknown subcommand '", shown, b"'. Try ", help.as_bytes(), b" HELP."]
                    .concat(),
            )
        })
    }

    pub fn wrong_number(&self) -> Error {
        let name = self.command.name;
        Error::built(format!("ERR wrong number of arguments for '{name}' command"))
    }
}

/// With the beginning of what was said, so that a mistake can be seen.
#[cold]
fn unknown(args: Args) -> Error {
    const SHOWN_MAX: usize = 128;
    let cut = |bytes: &[u8], max: usize| bytes[..bytes.len().min(max)].to_vec();
    let mut said = Vec::new();
    for arg in args.from(1) {
        if said.len() >= SHOWN_MAX {
            break;
        }
        let shown = cut(arg, SHOWN_MAX - said.len());
        said.extend([&b"'"[..], &shown, b"' "].concat());
    }
    let name = cut(&args[0], SHOWN_MAX);
    Error::built(
        [b"ERR unknown command '", &name[..], b"', with args beginning with: ", &said].concat(),
    )
}
