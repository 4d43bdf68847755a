//! The connection itself: who is there, which protocol it speaks, and those of others.
use std::{collections::HashSet, fmt::Write};

use charkh::Escaped;
use log::warn;

use super::super::{
    clients::{Client, Mute},
    number,
    reply::{Error, Result},
    text::Text,
};
use super::{Call, generic::database, server::VERSION};

pub fn ping(call: &mut Call) -> Result {
    let args = call.args;
    if args.len() > 2 {
        return Err(call.wrong_number());
    }
    match (args.get(1), call.session.is_subscribed() && !call.out.resp3) {
        (text, true) => {
            call.out.array(2);
            call.out.bulk(b"pong");
            call.out.bulk(text.unwrap_or_default());
        }
        (Some(text), false) => call.out.bulk(text),
        (None, false) => call.out.status("PONG"),
    }
    Ok(())
}

pub fn echo(call: &mut Call) -> Result {
    call.out.bulk(call.args.at(1));
    Ok(())
}

pub fn select(call: &mut Call) -> Result {
    let index = database(call.args.at(1))?;
    call.session.select(index);
    call.out.ok();
    Ok(())
}

pub fn quit(call: &mut Call) -> Result {
    call.out.ok();
    call.session.is_closing = true;
    Ok(())
}

/// A browser can be made to send anything in the body of a request to any port. No client of ours
/// begins a request so.
pub fn not_http(call: &mut Call) -> Result {
    let addr = call.peer.addr();
    let said = Escaped::new(&call.args[0], 16);
    if let Some(more) = call.state.complaints.allow(call.peer.now()) {
        warn!("{addr} speaks HTTP ({said}): possibly somebody else's browser; closed (+{more})");
    }
    call.session.is_closing = true;
    Ok(())
}

pub fn reset(call: &mut Call) -> Result {
    let (session, state) = (&mut *call.session, &mut *call.state);
    session.forget_all(state, call.now);
    session.select(0);
    (session.resp3, call.out.resp3, session.mute) = (false, false, Mute::Off);
    if let Some(client) = state.clients.all.get_mut(&session.id) {
        client.name = Text::default();
    }
    call.out.status("RESET");
    Ok(())
}

pub fn auth(call: &mut Call) -> Result {
    match call.args.len() {
        2 => Err(Error::new(
            "ERR AUTH <password> called without any password configured for the default user. Are \
             you sure your configuration is correct?",
        )),
        3 => {
            log_in(call.args.at(1))?;
            call.out.ok();
            Ok(())
        }
        _ => Err(Error::SYNTAX),
    }
}

/// There is one user, with any password.
fn log_in(user: &[u8]) -> Result {
    match user {
        b"default" => Ok(()),
        _ => Err(Error::new("WRONGPASS invalid username-password pair or user is disabled.")),
    }
}

pub fn hello(call: &mut Call) -> Result {
    let resp3 = match call.args.get(1) {
        None => call.session.resp3,
        Some(text) => match number::int(text) {
            Some(2) => false,
            Some(3) => true,
            Some(_) => return Err(Error::new("NOPROTO unsupported protocol version")),
            None => {
                let text = "ERR Protocol version is not an integer or out of range";
                return Err(Error::new(text));
            }
        },
    };
    let mut name = None;
    let mut words = call.args.from(2);
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"AUTH") && words.len() >= 2 {
            log_in(words.next().unwrap_or_default())?;
            words.next();
        } else if word.eq_ignore_ascii_case(b"SETNAME") && words.len() >= 1 {
            name = words.next();
            checked_name(name.unwrap_or_default(), CLIENT_NAME)?;
        } else {
            let text = [b"ERR Syntax error in HELLO option '", word, b"'"].concat();
            return Err(Error::built(text));
        }
    }
    if let Some(name) = name {
        with_client(call, |client| client.name = name.into());
    }
    (call.session.resp3, call.out.resp3) = (resp3, resp3);
    let out = &mut *call.out;
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(VERSION.as_bytes());
    out.bulk(b"proto");
    out.int(if resp3 { 3 } else { 2 });
    out.bulk(b"id");
    out.int(call.session.id as i64);
    out.bulk(b"mode");
    out.bulk(b"standalone");
    out.bulk(b"role");
    out.bulk(b"master");
    out.bulk(b"modules");
    out.array(0);
    Ok(())
}

const CLIENT_NAME: &str = "Client names";

/// Bytes of a client's name, and of that of its library: each connection may keep them for ever.
const NAME_MAX: usize = 256;

/// One short word, for it stands in lists.
fn checked_name<'a>(name: &'a [u8], what: &str) -> Result<&'a [u8]> {
    if name.len() > NAME_MAX {
        let text = format!("ERR {what} cannot be longer than {NAME_MAX} bytes.");
        return Err(Error::built(text));
    }
    match name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        true => Ok(name),
        false => Err(Error::built(format!(
            "ERR {what} cannot contain spaces, newlines or special characters."
        ))),
    }
}

fn with_client<R>(call: &mut Call, with: impl FnOnce(&mut Client) -> R) -> Option<R> {
    call.state.clients.all.get_mut(&call.session.id).map(with)
}

pub fn client_id(call: &mut Call) -> Result {
    call.out.int(call.session.id as i64);
    Ok(())
}

pub fn client_getname(call: &mut Call) -> Result {
    let name = with_client(call, |client| client.name.clone()).unwrap_or_default();
    call.out.bulk_or_null(Some(&*name).filter(|name| !name.is_empty()));
    Ok(())
}

pub fn client_setname(call: &mut Call) -> Result {
    let name = checked_name(call.args.at(2), CLIENT_NAME)?;
    with_client(call, |client| client.name = name.into());
    call.out.ok();
    Ok(())
}

pub fn client_setinfo(call: &mut Call) -> Result {
    let (option, value) = (call.args.at(2), call.args.at(3));
    match &option.to_ascii_uppercase()[..] {
        b"LIB-NAME" => {
            checked_name(value, "lib-name")?;
            with_client(call, |client| client.lib_name = value.into());
        }
        b"LIB-VER" => {
            checked_name(value, "lib-ver")?;
            with_client(call, |client| client.lib_ver = value.into());
        }
        _ => return Err(Error::built([b"ERR Unrecognized option '", option, b"'"].concat())),
    }
    call.out.ok();
    Ok(())
}

fn describe(text: &mut String, id: u64, client: &Client, now: u64) {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let Client { addr, db, channels, patterns, queued, .. } = client;
    let (age, idle) = ((now - client.since_ms) / 1000, (now - client.active_ms) / 1000);
    let flags = if channels + patterns > 0 { "P" } else { "N" };
    let resp = if client.resp3 { 3 } else { 2 };
    let (name, lib_name) = (shown(&client.name), shown(&client.lib_name));
    let lib_ver = shown(&client.lib_ver);
    // To a string, which takes all.
    let _ = writeln!(
        text,
        "id={id} addr={addr} name={name} age={age} idle={idle} flags={flags} db={db} \
         sub={channels} psub={patterns} ssub=0 multi={queued} user=default redir=-1 resp={resp} \
         lib-name={lib_name} lib-ver={lib_ver}"
    );
}

pub fn client_info(call: &mut Call) -> Result {
    call.state.clients.note(call.session, call.now);
    let (id, now, mut text) = (call.session.id, call.now, String::new());
    with_client(call, |client| describe(&mut text, id, client, now));
    call.out.verbatim(&text);
    Ok(())
}

pub fn client_list(call: &mut Call) -> Result {
    call.state.clients.note(call.session, call.now);
    let (args, mut kind, mut ids) = (call.args, None, None);
    match args.get(2) {
        None => {}
        Some(word) if word.eq_ignore_ascii_case(b"TYPE") && args.len() == 4 => {
            kind = Some(client_type(args.at(3))?);
        }
        Some(word) if word.eq_ignore_ascii_case(b"ID") && args.len() > 3 => {
            ids = Some(args.from(3).map(client_number).collect::<Result<HashSet<u64>>>()?);
        }
        Some(_) => return Err(Error::SYNTAX),
    }
    let wanted = |id: &u64, client: &Client| {
        kind.is_none_or(|kind| is_of(client, kind))
            && ids.as_ref().is_none_or(|ids| ids.contains(id))
    };
    let mut text = String::new();
    for (id, client) in call.state.clients.all.iter().filter(|(id, client)| wanted(id, client)) {
        describe(&mut text, *id, client, call.now);
    }
    call.out.verbatim(&text);
    Ok(())
}

fn client_number(text: &[u8]) -> Result<u64> {
    let id = number::int(text).and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0);
    id.ok_or(Error::new("ERR Invalid client ID"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientType {
    Normal,
    Subscriber,
    /// There are none here.
    Replication,
}

fn client_type(text: &[u8]) -> Result<ClientType> {
    match &text.to_ascii_lowercase()[..] {
        b"normal" => Ok(ClientType::Normal),
        b"pubsub" => Ok(ClientType::Subscriber),
        b"master" | b"replica" | b"slave" => Ok(ClientType::Replication),
        _ => Err(Error::built([b"ERR Unknown client type '", text, b"'"].concat())),
    }
}

fn is_of(client: &Client, kind: ClientType) -> bool {
    let subscriber = client.channels + client.patterns > 0;
    kind == if subscriber { ClientType::Subscriber } else { ClientType::Normal }
}

/// Which clients are meant to go.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    addr: Option<&'a [u8]>,
    kind: Option<ClientType>,
    nobody: bool,
    skip_me: bool,
}

impl<'a> Filter<'a> {
    fn read(call: &Call<'a, '_>) -> Result<Self> {
        let mut filter = Self { skip_me: true, ..Self::default() };
        let mut words = call.args.from(2);
        while let Some(word) = words.next() {
            let value = words.next().ok_or(Error::SYNTAX)?;
            match &word.to_ascii_uppercase()[..] {
                b"ID" => {
                    let wrong = Error::new("ERR client-id should be greater than 0");
                    filter.id = Some(client_number(value).map_err(|_| wrong)?);
                }
                b"ADDR" => filter.addr = Some(value),
                b"TYPE" => filter.kind = Some(client_type(value)?),
                b"USER" => filter.nobody |= value != b"default",
                b"SKIPME" if value.eq_ignore_ascii_case(b"YES") => filter.skip_me = true,
                b"SKIPME" if value.eq_ignore_ascii_case(b"NO") => filter.skip_me = false,
                _ => return Err(Error::SYNTAX),
            }
        }
        Ok(filter)
    }

    fn means(&self, id: u64, client: &Client, me: u64) -> bool {
        let spared = self.nobody || self.skip_me && id == me;
        !spared
            && self.id.is_none_or(|wanted| wanted == id)
            && self.addr.is_none_or(|addr| client.addr.to_string().as_bytes() == addr)
            && self.kind.is_none_or(|kind| is_of(client, kind))
    }
}

pub fn client_kill(call: &mut Call) -> Result {
    call.state.clients.note(call.session, call.now);
    // In the old form there is an address alone, and it may be one's own.
    let is_old = call.args.len() == 3;
    let filter = match is_old {
        true => Filter { addr: call.args.get(2), ..Filter::default() },
        false => Filter::read(call)?,
    };
    let (clients, me) = (&call.state.clients.all, call.session.id);
    let meant = clients.iter().filter(|(id, client)| filter.means(**id, client, me));
    let meant: Vec<_> = meant.map(|(&id, client)| (id, client.conn)).collect();
    for &(id, conn) in &meant {
        if id == me {
            call.session.is_closing = true;
        } else if let Some(mut peer) = call.peer.to(conn) {
            peer.close();
        }
    }
    match (is_old, meant.len()) {
        (true, 0) => return Err(Error::new("ERR No such client")),
        (true, _) => call.out.ok(),
        (false, killed) => call.out.len(killed),
    }
    Ok(())
}

/// Nobody is evicted here.
pub fn client_no_evict(call: &mut Call) -> Result {
    on_or_off(call.args.at(2))?;
    call.out.ok();
    Ok(())
}

fn on_or_off(word: &[u8]) -> Result<bool> {
    match &word.to_ascii_uppercase()[..] {
        b"ON" => Ok(true),
        b"OFF" => Ok(false),
        _ => Err(Error::SYNTAX),
    }
}

pub fn client_reply(call: &mut Call) -> Result {
    let mute = &mut call.session.mute;
    match &call.args[2].to_ascii_uppercase()[..] {
        b"ON" => {
            *mute = Mute::Off;
            call.out.ok();
        }
        b"OFF" => *mute = Mute::On,
        b"SKIP" if *mute == Mute::Off => *mute = Mute::Next,
        b"SKIP" => {}
        _ => return Err(Error::SYNTAX),
    }
    Ok(())
}
