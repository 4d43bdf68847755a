//! `charkh serve`.
use std::{env, io};

use charkh::{
    Listening, Protocol, Reactor,
    net::{Net, Os},
};
use log::{LevelFilter, info};

use super::{
    address::Endpoint,
    args::{ProtocolName, ServeArgs},
    limits,
    output::{self, Output},
    protocols::{Chat, Discard, Echo, Greet},
    report::{self, Report},
    signals::{Signals, Wish},
    trace::TraceFile,
    units::{Span, reason, words},
};

pub(crate) fn run(args: &ServeArgs) -> Result<(), String> {
    match args.protocol {
        ProtocolName::Greet => serve(args, Greet::default()),
        ProtocolName::Echo => serve(args, Echo),
        ProtocolName::Discard => serve(args, Discard),
        ProtocolName::Chat => serve(args, Chat::default()),
    }
}

fn serve<P: Protocol>(args: &ServeArgs, protocol: P) -> Result<(), String> {
    let cannot_start = |e: io::Error| format!("cannot start: {}", reason(&e));
    let mut config = args.config();
    let own = limits::of_its_own(args.addresses.len());
    config.conns_max = limits::max_connections(args.max_connections(), config.conns_max, own)?;
    // The log has the first of the other threads.
    limits::make_room(args.max_connections(), config.conns_max, own);
    output::log_to_stderr(&log_directives(args.reports.log_level)).map_err(cannot_start)?;
    let out = Output::new().map_err(cannot_start)?;
    let trace = args.reports.trace.as_deref().map(TraceFile::new).transpose()?;
    let mut net = Os::new().map_err(cannot_start)?;
    // Before anybody is told that we listen, so that whoever then stops us stops us well.
    let signals = Signals::watch(&mut net).map_err(cannot_start)?;
    let mut reactor = Reactor::with(protocol, net, config).map_err(|e| in_options(&e))?;
    for listening in listen(&mut reactor, &args.addresses)? {
        let kind = if listening.addr.ip().is_some() { "tcp " } else { "" };
        info!("listening on {kind}{}", listening.addr);
        out.line(format!("listening on {kind}{}", listening.addr));
    }
    let began = reactor.net().now();
    let interval = args.reports.stats.map(|Span(interval)| interval);
    let report = Report::new(interval, began);
    let result = run_loop(&mut reactor, &signals, &out, report, trace.as_ref());
    let stats = reactor.hub().stats();
    info!(
        "stopped after {:.1?}: {} connections, {} messages, {} bytes in, {} bytes out",
        reactor.net().now() - began,
        stats.accepted,
        stats.messages,
        stats.bytes_in,
        stats.bytes_out
    );
    // Not least if the loop failed.
    let traced = trace.map_or(Ok(()), |file| file.finish(reactor.hub()));
    out.flush();
    result.map_err(|e| format!("the loop cannot go on: {}", reason(&e)))?;
    traced
}

/// The loop of the program: a turn, and then whatever signals and the clock ask for.
fn run_loop<P: Protocol>(
    reactor: &mut Reactor<P>,
    signals: &Signals,
    out: &Output,
    mut report: Report,
    trace: Option<&TraceFile>,
) -> io::Result<()> {
    while !reactor.is_done() {
        let now = reactor.net().now();
        reactor.turn_within(report.left(now))?;
        for wish in signals.take(reactor.net()) {
            let now = reactor.net().now();
            match wish {
                Wish::Stop if reactor.hub().is_stopping() => {}
                Wish::Stop => reactor.hub().stop(),
                Wish::Reload => info!("SIGHUP: there is nothing to load again"),
                Wish::Trace => match trace {
                    Some(file) => file.save(reactor.hub()),
                    None => info!("SIGUSR2: there is no trace to write, it takes --trace FILE"),
                },
                Wish::Report => out.line(report::totals(reactor.hub(), now)),
            }
        }
        let now = reactor.net().now();
        report.due(reactor.hub(), now).into_iter().for_each(|line| out.line(line));
    }
    let now = reactor.net().now();
    report.last(reactor.hub(), now).into_iter().for_each(|line| out.line(line));
    Ok(())
}

/// At every address of everything that was asked for, or nowhere.
fn listen<P: Protocol>(
    reactor: &mut Reactor<P>,
    addresses: &[String],
) -> Result<Vec<Listening>, String> {
    // All are read before the first is listened at.
    let mut found = Vec::new();
    for text in addresses {
        let endpoint: Endpoint = text.parse()?;
        let addrs = match &endpoint {
            Endpoint::Tcp(address) => address.resolve()?,
            Endpoint::Unix(_) => Vec::new(),
            _ => return Err(format!("cannot listen on {endpoint}: this is not served yet")),
        };
        found.push((endpoint, addrs));
    }
    let mut all = Vec::new();
    for (endpoint, addrs) in found {
        let listening = match &endpoint {
            Endpoint::Unix(path) => {
                let listening = reactor.listen_at(Endpoint::unix(path));
                listening.map(|one| vec![one]).map_err(|e| words(&e))
            }
            _ => reactor.listen_all(&addrs[..]).map_err(|e| reason(&e)),
        };
        let failed = |why| format!("cannot listen on {endpoint}: {why}");
        all.extend(listening.map_err(failed)?);
    }
    Ok(all)
}

/// The library names its limits as fields; here they are options.
fn in_options(e: &io::Error) -> String {
    let text = e.to_string();
    let words = text.split(' ').map(|word| match word.contains('_') {
        true => format!("--{}", word.replace('_', "-")),
        false => word.into(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn log_directives(asked: Option<LevelFilter>) -> String {
    let asked = asked.map(|level| level.to_string());
    asked.or_else(|| env::var("RUST_LOG").ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use charkh::Config;

    #[test]
    fn limits_that_contradict_each_other_are_named_as_options() {
        let config = Config { output_low: 99 << 20, ..Config::default() };
        let e = Reactor::with_config(Echo, config).unwrap_err();
        assert_eq!(in_options(&e), "--output-low must not be above --output-high");
    }
}
