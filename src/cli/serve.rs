//! `charkh serve`.
use std::{env, io};

use charkh::{
    Listening, Protocol, Reactor,
    net::{Net, Os},
};
use log::{LevelFilter, info};

use super::{
    address::{self, Endpoint},
    args::{ProtocolName, ServeArgs},
    inherited::{self, Inheritance, Inherited},
    limits,
    manager::Manager,
    output::{self, Output},
    protocols::{Chat, Discard, Echo, Greet},
    report::{self, Report},
    signals::{Signals, Wish},
    trace::TraceFile,
    units::{Span, reason},
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
    // First of all: what is opened before might be taken for one of these.
    let Inherited { sockets, of_another } = inherited::take()?;
    let addresses = match &args.addresses[..] {
        [] if sockets.is_empty() => &[address::DEFAULT.into()],
        addresses => addresses,
    };
    let mut config = args.config();
    let own = limits::of_its_own(addresses.len());
    config.conns_max = limits::max_connections(args.max_connections(), config.conns_max, own)?;
    // The log has the first of the other threads.
    limits::make_room(args.max_connections(), config.conns_max, own);
    output::log_to_stderr(&log_directives(args.reports.log_level)).map_err(cannot_start)?;
    if let Some(pid) = of_another {
        info!("the sockets of LISTEN_FDS are for process {pid}: they are left alone");
    }
    let out = Output::new().map_err(cannot_start)?;
    let mut manager = Manager::new().map_err(cannot_start)?;
    let trace = args.reports.trace.as_deref().map(TraceFile::new).transpose()?;
    let mut net = Os::new().map_err(cannot_start)?;
    // Before anybody is told that we listen, so that whoever then stops us stops us well.
    let signals = Signals::watch(&mut net).map_err(cannot_start)?;
    let mut reactor = Reactor::with(protocol, net, config).map_err(|e| in_options(&e))?;
    let mut listening = listen_on(&mut reactor, sockets)?;
    listening.extend(listen(&mut reactor, addresses)?);
    for Listening { addr, .. } in &listening {
        info!("listening on tcp {addr}");
        out.line(format!("listening on tcp {addr}"));
    }
    manager.ready(&status(&listening));
    let began = reactor.net().now();
    let interval = args.reports.stats.map(|Span(interval)| interval);
    let report = Report::new(interval, began);
    let result = run_loop(&mut reactor, &signals, &out, report, trace.as_ref(), &mut manager);
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
    manager.flush();
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
    manager: &mut Manager,
) -> io::Result<()> {
    while !reactor.is_done() {
        let now = reactor.net().now();
        reactor.turn_within(report.left(now).min(manager.left(now)))?;
        for wish in signals.take(reactor.net()) {
            let now = reactor.net().now();
            match wish {
                Wish::Stop if reactor.hub().is_stopping() => {}
                Wish::Stop => reactor.hub().stop(),
                Wish::Reload => {
                    manager.reloading();
                    info!("SIGHUP: there is nothing to load again");
                    manager.reloaded();
                }
                Wish::Trace => match trace {
                    Some(file) => file.save(reactor.hub()),
                    None => info!("SIGUSR2: there is no trace to write, it takes --trace FILE"),
                },
                Wish::Report => out.line(report::totals(reactor.hub(), now)),
            }
        }
        if reactor.hub().is_stopping() {
            manager.stopping(reactor.hub().len());
        }
        let now = reactor.net().now();
        manager.turned(now);
        report.due(reactor.hub(), now).into_iter().for_each(|line| out.line(line));
    }
    let now = reactor.net().now();
    report.last(reactor.hub(), now).into_iter().for_each(|line| out.line(line));
    Ok(())
}

/// At every socket that was handed over, or nowhere.
fn listen_on<P: Protocol>(
    reactor: &mut Reactor<P>,
    sockets: Vec<Inheritance>,
) -> Result<Vec<Listening>, String> {
    let mut all = Vec::new();
    for Inheritance { socket, name } in sockets {
        let listening = reactor.listen_on(socket);
        let failed = |e| format!("cannot serve inherited {name}: {}", reason(&e));
        all.push(listening.map_err(failed)?);
        info!("inherited {name}");
    }
    Ok(all)
}

/// For whoever asks the service manager.
fn status(listening: &[Listening]) -> String {
    let addrs: Vec<String> = listening.iter().map(|at| at.addr.to_string()).collect();
    format!("listening on tcp {}", addrs.join(", "))
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
            _ => return Err(format!("cannot listen on {endpoint}: this is not served yet")),
        };
        found.push((endpoint, addrs));
    }
    let mut all = Vec::new();
    for (endpoint, addrs) in found {
        let listening = reactor.listen_all(&addrs[..]);
        let failed = |e| format!("cannot listen on {endpoint}: {}", reason(&e));
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
