//! `charkh load`: a load, and what came of it.
//!
//! The options become a [`spec`]; a [`plan`] says what this machine allows; a [`run`] has threads,
//! each a [`worker`] on a reactor of its own, and its results are shown, written and judged.
mod bands;
mod board;
mod distribution;
mod faults;
mod figures;
mod files;
mod html;
mod links;
mod machine;
mod merge;
mod message;
pub(crate) mod options;
mod plan;
mod promise;
mod reading;
mod reply;
mod results;
mod run;
mod search;
mod secured;
mod show;
mod sources;
mod spec;
mod stops;
mod tally;
mod testimony;
mod worker;

use std::{env, fs, path::Path, time::Duration};

use charkh::{
    Addr,
    client::{Client, Timeouts},
};

use super::{
    address::Endpoint,
    tls::{ServerIs, explain},
    units::{self, Count, Size, Span, reason},
};
use machine::Machine;
use message::Message;
use options::{Files, LoadArgs, Merge, Messages};
use plan::Wanted;
use promise::Promise;
use reply::Reply;
use results::{Results, Trust};
use search::Trial;
use show::Live;
use sources::Sources;
use spec::{Pace, Spec};
use stops::Stops;

/// Exit statuses, but for 1: wrong usage.
const TARGET_FAILED: u8 = 2;
const SUSPECT: u8 = 3;
const INVALID: u8 = 4;

/// How long the target is asked in a closed loop, before a search for its edge.
const GUESS: Duration = Duration::from_secs(1);

/// How often a trial is made that the generator, and not the target, may have broken, because its
/// verdict is not VALID.
const TRIES: u32 = 3;

pub(crate) fn run(args: &LoadArgs) -> Result<u8, String> {
    if let Some(Merge::Merge { files, files_out }) = &args.merge {
        return add_up(files, files_out);
    }
    args.reports.files.try_out()?;
    let text = args.address.as_deref().unwrap_or_default();
    let endpoint = args.tls.applied(text.parse()?);
    let mut addrs = addrs_of(&endpoint)?;
    if let Some(sources) = &args.shape.source {
        let used = sources.len().min(args.shape.connections.0.into());
        let missing = (0..used).map(|n| sources.get(n)).find(|&source| !machine::is_local(source));
        if let Some(source) = missing {
            return Err(format!("--source: {source} is no address of this machine"));
        }
        let fits = |addr: &Addr| match addr.ip() {
            Some(ip) => sources.check(ip),
            None => Err("--source: nobody comes to a unix socket from an address".into()),
        };
        if let Some(Err(why)) = addrs.iter().map(fits).reduce(Result::or) {
            return Err(why);
        }
        addrs.retain(|addr| fits(addr).is_ok());
    }
    let mut spec = spec(args, &addrs, &endpoint)?;
    spec.tls = args.tls.to(&endpoint, args.shape.resume)?;
    if args.shape.resume && spec.tls.is_none() {
        return Err("--resume is for TLS: add --tls".into());
    }
    let target = endpoint.to_string();
    let plan = plan::plan(&wanted(&spec, args), &Machine::read())?;
    match reach(&addrs, &spec) {
        Ok(target) => spec.target = target,
        Err(why) => {
            eprint(&format!("cannot connect to {target}: {why}"));
            return Ok(TARGET_FAILED);
        }
    }
    // Until here Ctrl-C ends the program, whatever it waits for.
    let stops = Stops::watch().map_err(|e| format!("cannot start: {}", reason(&e)))?;
    if !args.reports.quiet {
        show::print(&plan.to_string());
    }
    let interval = (!args.reports.quiet).then_some(args.reports.interval.0);
    let mut live = Live::new(stops, interval);
    let results = match args.shape.find_max {
        None => run::run(spec, &target, commands(), &mut live)?,
        Some(promise) => match find_max(&spec, &target, promise, &mut live) {
            Ok(Some(results)) => results,
            Err(why) => {
                live.end();
                return Err(why);
            }
            Ok(None) => {
                live.end();
                eprint(&format!("{target} keeps {promise} at no rate at all"));
                return Ok(TARGET_FAILED);
            }
        },
    };
    live.end();
    finish(&results, &args.reports.files)
}

fn addrs_of(target: &Endpoint) -> Result<Vec<Addr>, String> {
    match target {
        Endpoint::Tcp(address) | Endpoint::Tls(address) => {
            Ok(address.resolve()?.into_iter().map(Addr::from).collect())
        }
        Endpoint::Unix(path) => Ok(vec![Endpoint::unix(path).into()]),
        _ => Err(format!("cannot load {target}: this is not spoken yet")),
    }
}

fn add_up(files: &[impl AsRef<Path>], files_out: &Files) -> Result<u8, String> {
    let all = files.iter().map(|path| files::read(path.as_ref()));
    let all = all.collect::<Result<Vec<Results>, _>>()?;
    for (n, one) in all.iter().enumerate() {
        let same =
            |other: &Results| other.began_unix == one.began_unix && other.commands == one.commands;
        if let Some(first) = all[..n].iter().position(same) {
            let (one, two) = (files[first].as_ref().display(), files[n].as_ref().display());
            return Err(format!("{one} and {two} are of the same run: it would count twice"));
        }
    }
    let Some(results) = merge::merge(all) else { return Err("there is nothing to merge".into()) };
    finish(&results, files_out)
}

/// Show it, write it, and say in one number how it went.
fn finish(results: &Results, files: &Files) -> Result<u8, String> {
    show::print(&show::report(results));
    files.write(results)?;
    let nothing_up = results.connections.up_max == 0;
    let nothing_said = results.bytes_out > 0 && results.requests == 0;
    let failed = nothing_up || nothing_said || !results.errors.is_empty() || results.unsent > 0;
    Ok(match results.verdict.trust {
        Trust::Invalid => INVALID,
        _ if failed => TARGET_FAILED,
        Trust::Suspect => SUSPECT,
        Trust::Valid => 0,
    })
}

fn eprint(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "charkh: {why}");
}

fn commands() -> Vec<String> {
    vec![env::args().collect::<Vec<_>>().join(" ")]
}

fn spec(args: &LoadArgs, addrs: &[Addr], address: &Endpoint) -> Result<Spec, String> {
    let shape = &args.shape;
    let Some(target) = addrs.first().cloned() else {
        return Err(format!("{address} has no address"));
    };
    let Count(connections) = shape.connections;
    let pace = match (shape.hold, shape.heartbeat, shape.rate) {
        (true, None, _) => Pace::Hold,
        (true, Some(Span(every)), _) => Pace::Open(f64::from(connections) / every.as_secs_f64()),
        (false, _, Some(rate)) => Pace::Open(rate),
        (false, _, None) => Pace::Closed,
    };
    let said = &args.messages;
    let says = said.message.is_some() || said.message_file.is_some();
    if pace == Pace::Hold && (says || said.size.is_some()) {
        return Err("--hold sends nothing: leave the message out, or give a --heartbeat".into());
    }
    if said.size.is_some() && matches!(said.reply, Reply::Http { .. } | Reply::Resp) {
        return Err("--size makes patterns, which are no request: give a --message".into());
    }
    let message = message(said, address)?;
    let reply = args.messages.reply.clone().for_message(message.bytes(0, 0));
    Ok(Spec {
        target,
        tls: None,
        resume: shape.resume,
        sources: shape.source.clone(),
        connections,
        threads: shape.threads.min(connections),
        ramp: shape.ramp,
        connecting_max: shape.connecting.0,
        pace,
        depth: shape.depth,
        per_connection: shape.per_connection.map(|Count(replies)| replies),
        warmup: shape.warmup(),
        duration: shape.duration(),
        requests: shape.requests,
        timeout: shape.timeout.0,
        message,
        reply,
        reset: shape.reset,
    })
}

fn message(messages: &Messages, address: &Endpoint) -> Result<Message, String> {
    match (&messages.message, &messages.message_file, messages.size, &messages.reply) {
        (Some(text), ..) => Message::text(text).map_err(|why| format!("--message: {why}")),
        (None, Some(path), ..) => {
            let failed = |why: String| format!("--message-file {}: {why}", path.display());
            let bytes = fs::read(path).map_err(|e| failed(reason(&e)))?;
            Message::fixed(bytes).map_err(failed)
        }
        (None, None, Some(Size(size)), _) => Ok(Message::patterns(size)),
        (None, None, None, Reply::Http { .. }) => {
            let host = match address {
                Endpoint::Unix(_) => "localhost".into(),
                Endpoint::Tcp(address) | Endpoint::Tls(address) | Endpoint::Udp(address) => {
                    address.to_string()
                }
            };
            Message::fixed(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into())
        }
        (None, None, None, Reply::Resp) => Message::fixed(b"PING\r\n".into()),
        (None, None, None, _) => Ok(Message::patterns(64)),
    }
}

/// What the plan is about.
fn wanted(spec: &Spec, args: &LoadArgs) -> Wanted {
    let depth = spec.depth.into();
    Wanted {
        target: spec.target.ip(),
        target_is_local: spec.target.ip().is_none_or(machine::is_local),
        secured: spec.tls.is_some(),
        connections: spec.connections.into(),
        sources: spec.sources.as_ref().map_or(1, Sources::len),
        threads: spec.threads.into(),
        connecting: spec.connecting_max.into(),
        pace: match spec.pace {
            Pace::Hold => plan::Pace::Hold,
            Pace::Closed => plan::Pace::Closed { depth },
            Pace::Open(rate) => plan::Pace::Open { rate, depth },
        },
        messages: format!("{} messages", figures::bytes(spec.message.size() as u64)),
        size: spec.message.size() as u64,
        lasts: lasts(spec, args),
        warm_up: args.shape.warmup(),
    }
}

/// How long it goes on, in words.
fn lasts(spec: &Spec, args: &LoadArgs) -> String {
    let requests = spec.requests.map(figures::grouped);
    match (spec.duration.map(Span), requests, &args.shape.find_max) {
        (Some(span), _, Some(promise)) => format!("trials of {span} in search of {promise}"),
        (Some(span), Some(requests), _) => {
            format!("{span}, or until {requests} requests are done")
        }
        (Some(span), None, _) => span.to_string(),
        (None, Some(requests), _) => format!("until {requests} requests are done"),
        (None, None, _) => "until it is stopped".into(),
    }
}

/// The first address of the target that takes a connection, and shakes hands if it must.
fn reach(addrs: &[Addr], spec: &Spec) -> Result<Addr, String> {
    let mut why = "it has no address".to_string();
    let timeouts = Timeouts { connect: Some(spec.timeout), silence: Some(spec.timeout) };
    for addr in addrs {
        let layer = spec.tls.as_ref().map(ServerIs::layer).transpose()?;
        let reached = match (addr, layer) {
            (Addr::Ip(addr), None) => Client::connect(addr, &timeouts).map_err(|e| reason(&e)),
            (Addr::Ip(addr), Some(layer)) => {
                let mut client = Client::connect_through(addr, layer, &timeouts);
                if let Ok(client) = &mut client {
                    let _ = client.finish(); // a good end, if the server has not gone before
                }
                client.map_err(|e| format!("{}{}", reason(&e), explain(&e)))
            }
            #[cfg(unix)]
            (Addr::Unix(addr), _) => {
                Client::connect_unix(addr, &timeouts).map_err(|e| units::unix_reason(&e))
            }
            #[cfg(not(unix))]
            (Addr::Unix(_), _) => Err("this system has no unix sockets".into()),
        };
        match reached {
            Ok(_) => return Ok(addr.clone()),
            Err(e) => why = e,
        }
    }
    Err(why)
}

/// Trials until the edge is known. `None`: the promise is kept at no rate.
fn find_max(
    spec: &Spec,
    target: &str,
    promise: Promise,
    live: &mut Live,
) -> Result<Option<Results>, String> {
    let once = |spec: Spec, live: &mut Live| -> Result<Results, String> {
        live.again();
        run::run(spec, target, commands(), live)
    };
    let closed = Spec { pace: Pace::Closed, duration: Some(GUESS), ..spec.clone() };
    let first = once(closed, live)?;
    let guess = first.requests as f64 / first.measured_s.max(1e-9);
    if guess < 1.0 && !live.was_stopped() {
        return Ok(None);
    }
    let (mut last, mut ours) = (None, 0);
    let found = search::search(guess, |rate| {
        if live.was_stopped() {
            return Err(String::new());
        }
        let mut tried = 1;
        loop {
            let results = once(Spec { pace: Pace::Open(rate), ..spec.clone() }, live)?;
            let kept = promise.is_kept_by(&results.latency)
                && results.errors.is_empty()
                && results.unsent == 0;
            let doubtful = results.verdict.trust != Trust::Valid;
            let value_ms = promise.of(&results.latency).as_secs_f64() * 1e3;
            let how = if kept { "kept" } else { "broken" };
            let whose = if doubtful && !kept { ", perhaps by the generator" } else { "" };
            live.say(&format!("trial rate {rate:.1} value {value_ms:.3}ms {how}{whose}"));
            if doubtful && !kept && tried < TRIES {
                tried += 1;
                continue;
            }
            ours += usize::from(doubtful && !kept);
            if kept || last.is_none() {
                last = Some(results);
            }
            return Ok(Trial { rate, kept, value_ms });
        }
    });
    if live.was_stopped() {
        let mut results = last.unwrap_or(first);
        results.verdict.doubt("The search was stopped: these are of one trial of it.".into());
        return Ok(Some(results));
    }
    let (Some(mut found), Some(mut results)) = (found?, last) else { return Ok(None) };
    if ours > 0 {
        results.verdict.doubt(format!(
            "{ours} of {} trials were broken when the generator was not at its best: the target \
             may be better than this.",
            found.trials.len()
        ));
    }
    found.promise = promise.to_string();
    results.search = Some(found);
    Ok(Some(results))
}
