//! MULTI and EXEC: commands that are run together. WATCH: keys that must not change until then.
use std::mem;

use super::super::{
    clients::Session,
    reply::{Error, Result},
    request::{Args, Span},
};
use super::{
    Call, Command,
    table::{DENY_OOM, WRITE},
};

/// What waits for EXEC.
#[derive(Default, Debug)]
pub struct Transaction {
    requests: Vec<Queued>,
    bytes: usize,
    /// One could not be queued, so none will be run.
    is_spoiled: bool,
}

#[derive(Debug)]
struct Queued {
    command: &'static Command,
    bytes: Box<[u8]>,
    spans: Box<[Span]>,
}

/// Bytes that may wait for EXEC on one connection.
const QUEUE_MAX: usize = 64 << 20;

impl Transaction {
    pub fn queued(&self) -> usize {
        self.requests.len()
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A request that should have been queued was wrong.
pub fn spoil(session: &mut Session) {
    if let Some(transaction) = &mut session.transaction {
        transaction.is_spoiled = true;
    }
}

/// An EXEC that cannot be run is the end of its transaction, and says so.
pub fn explained(call: &mut Call, error: Error) -> Error {
    if call.command.name != "exec" {
        return error;
    }
    call.session.end_transaction(&mut call.state.store);
    call.session.unwatch(&mut call.state.store, call.now);
    let why = error.bytes().strip_prefix(b"ERR ").unwrap_or(error.bytes());
    Error::built([b"EXECABORT Transaction discarded because of: ", why].concat())
}

pub fn queue(call: &mut Call) -> Result {
    let args = call.args;
    let Some(transaction) = &mut call.session.transaction else { return Ok(()) };
    let more = args.bytes().len() + args.len() * size_of::<Span>() + size_of::<Queued>();
    if transaction.bytes + more > QUEUE_MAX {
        transaction.is_spoiled = true;
    }
    if transaction.is_spoiled {
        // Nothing will come of it: it need not be kept.
        call.state.store.held -= mem::take(&mut transaction.bytes);
        transaction.requests = Vec::new();
    } else {
        transaction.bytes += more;
        call.state.store.held += more;
        transaction.requests.push(Queued {
            command: call.command,
            bytes: args.bytes().into(),
            spans: args.spans().into(),
        });
    }
    call.out.status("QUEUED");
    Ok(())
}

pub fn multi(call: &mut Call) -> Result {
    if call.session.transaction.is_some() {
        return Err(Error::new("ERR MULTI calls can not be nested"));
    }
    call.session.transaction = Some(Box::default());
    call.out.ok();
    Ok(())
}

pub fn discard(call: &mut Call) -> Result {
    if call.session.end_transaction(&mut call.state.store).is_none() {
        return Err(Error::new("ERR DISCARD without MULTI"));
    }
    call.session.unwatch(&mut call.state.store, call.now);
    call.out.ok();
    Ok(())
}

pub fn exec(call: &mut Call) -> Result {
    let transaction = call.session.end_transaction(&mut call.state.store);
    let transaction = transaction.ok_or(Error::new("ERR EXEC without MULTI"))?;
    let changed = call.session.unwatch(&mut call.state.store, call.now);
    if transaction.is_spoiled {
        let text = "EXECABORT Transaction discarded because of previous errors.";
        return Err(Error::new(text));
    }
    if changed {
        call.out.null_array();
        return Ok(());
    }
    if call.is_out_of_memory() && transaction.requests.iter().any(|r| r.command.is(DENY_OOM)) {
        return Err(explained(call, Error::OOM));
    }
    call.out.array(transaction.requests.len());
    for request in &transaction.requests {
        // Nobody will read an answer that is too long, but all is changed that was to be.
        if call.out.is_over && !request.command.is(WRITE) {
            continue;
        }
        let mut one = Call {
            args: Args::new(&request.bytes, &request.spans),
            command: request.command,
            out: call.out,
            state: call.state,
            session: call.session,
            peer: call.peer,
            now: call.now,
        };
        if let Err(error) = (request.command.run)(&mut one) {
            one.out.error(&error);
        }
    }
    Ok(())
}

pub fn watch(call: &mut Call) -> Result {
    if call.session.transaction.is_some() {
        return Err(Error::new("ERR WATCH inside MULTI is not allowed"));
    }
    for key in call.args.from(1) {
        call.has_room(key.len())?;
        call.session.watch(&mut call.state.store, key, call.now);
    }
    call.out.ok();
    Ok(())
}

pub fn unwatch_all(call: &mut Call) -> Result {
    call.session.unwatch(&mut call.state.store, call.now);
    call.out.ok();
    Ok(())
}
