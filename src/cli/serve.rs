//! `charkh serve`.
use std::{env, io};

use charkh::{
    Addr, ListenerId, Protocol, Reactor,
    net::{Net, Os},
    proxy::TrustedProxies,
    tls,
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
    tls::Shown,
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
    let endpoints = args.addresses.iter().map(|text| text.parse());
    let endpoints: Vec<Endpoint> = endpoints.collect::<Result<_, String>>()?;
    let mut udp = endpoints.iter().filter(|endpoint| matches!(endpoint, Endpoint::Udp(_)));
    if let (ProtocolName::Chat, Some(endpoint)) = (args.protocol, udp.next()) {
        let why = "chat is for those who are connected; greet, echo and discard serve UDP";
        return Err(format!("cannot listen on {endpoint}: {why}"));
    }
    let tls = Shown::at(&endpoints, &args.tls)?;
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
    for (kind, addr) in listen(&mut reactor, &endpoints, args.proxies()?, tls.as_ref())? {
        info!("listening on {kind}{addr}");
        out.line(format!("listening on {kind}{addr}"));
    }
    if let Some(tls) = &tls {
        tls.tell();
        let fingerprint = tls.fingerprint_of_its_own();
        fingerprint.into_iter().for_each(|text| out.line(format!("fingerprint sha256 {text}")));
    }
    let began = reactor.net().now();
    let interval = args.reports.stats.map(|Span(interval)| interval);
    let report = Report::new(interval, began);
    let reloads = || match &tls {
        Some(tls) => tls.reload(),
        None => info!("SIGHUP: there is nothing to load again"),
    };
    let result = run_loop(&mut reactor, &signals, &out, report, trace.as_ref(), reloads);
    let stats = reactor.hub().stats();
    info!(
        "stopped after {:.1?}: {} connections, {} messages, {} bytes in, {} bytes out{}",
        reactor.net().now() - began,
        stats.accepted,
        stats.messages,
        stats.bytes_in,
        stats.bytes_out,
        match (stats.datagrams_in, stats.datagrams_out) {
            (0, 0) => String::new(),
            (come, gone) => format!("; {come} datagrams in, {gone} datagrams out"),
        }
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
    reload: impl Fn(),
) -> io::Result<()> {
    while !reactor.is_done() {
        let now = reactor.net().now();
        reactor.turn_within(report.left(now))?;
        for wish in signals.take(reactor.net()) {
            let now = reactor.net().now();
            match wish {
                Wish::Stop if reactor.hub().is_stopping() => {}
                Wish::Stop => reactor.hub().stop(),
                Wish::Reload => reload(),
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
    endpoints: &[Endpoint],
    proxies: Option<Proxies>,
    tls: Option<&Shown>,
) -> Result<Vec<(&'static str, Addr)>, String> {
    // All are found before the first is listened at.
    let mut found = Vec::new();
    for endpoint in endpoints {
        let addrs = match endpoint {
            Endpoint::Tcp(address) | Endpoint::Tls(address) | Endpoint::Udp(address) => {
                address.resolve()?
            }
            Endpoint::Unix(_) => Vec::new(),
        };
        found.push((endpoint, addrs));
    }
    let mut all = Vec::new();
    for (endpoint, addrs) in found {
        let failed = |why| format!("cannot listen on {endpoint}: {why}");
        let listening = match endpoint {
            Endpoint::Udp(_) => {
                let bound = reactor.bind_udp_all(&addrs[..]).map_err(|e| failed(reason(&e)))?;
                all.extend(bound.into_iter().map(|bound| ("udp ", bound.addr.into())));
                continue;
            }
            Endpoint::Unix(path) => {
                let listening = reactor.listen_at(Endpoint::unix(path));
                listening.map(|one| vec![one]).map_err(|e| words(&e))
            }
            _ => reactor.listen_all(&addrs[..]).map_err(|e| reason(&e)),
        };
        for listening in listening.map_err(failed)? {
            let kind = match endpoint {
                Endpoint::Tls(_) => "tls ",
                Endpoint::Unix(_) => "", // its address says so
                _ => "tcp ",
            };
            if !matches!(endpoint, Endpoint::Unix(_)) {
                let tls = tls.filter(|_| matches!(endpoint, Endpoint::Tls(_))).map(Shown::server);
                put_layer(reactor, listening.id, proxies.clone(), tls);
            }
            all.push((kind, listening.addr));
        }
    }
    Ok(all)
}

/// Whom a header of the PROXY protocol is believed, and how long it may be.
type Proxies = (TrustedProxies, usize);

/// What stands between the wire and the protocol for those who come by this listener: what a
/// balancer says of its client, then TLS.
fn put_layer<P: Protocol>(
    reactor: &mut Reactor<P>,
    listener: ListenerId,
    proxies: Option<Proxies>,
    tls: Option<tls::Server>,
) {
    match (proxies, tls) {
        (None, None) => {}
        (None, Some(tls)) => reactor.layer(listener, move |_| tls.layer()),
        (Some((trusted, header_max)), tls) => reactor.layer(listener, move |addr| {
            let proxy = trusted.accept(addr)?.header_max(header_max);
            Ok(Box::new(match &tls {
                Some(tls) => proxy.then(tls.layer()?),
                None => proxy,
            }))
        }),
    }
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
