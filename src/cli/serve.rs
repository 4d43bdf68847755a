//! `charkh serve`.
use std::{
    env, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use charkh::{
    Addr, Bound, Handle, Listening, Protocol, Reactor, Stats,
    net::{Net, Os},
    proxy::TrustedProxies,
    tls::CONN_SIZE,
};
use log::{LevelFilter, error, info};

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

fn serve<P: Protocol + 'static>(args: &ServeArgs, protocol: P) -> Result<(), String> {
    let cannot_start = |e: io::Error| format!("cannot start: {}", reason(&e));
    // First of all: what is opened before might be taken for one of these.
    let Inherited { sockets, of_another } = inherited::take()?;
    let addresses = match &args.addresses[..] {
        [] if sockets.is_empty() => &[address::DEFAULT.into()],
        addresses => addresses,
    };
    let mut config = args.config();
    let endpoints = endpoints(addresses, args.protocol)?;
    let secured = endpoints.iter().cloned().chain(sockets.iter().filter_map(Inheritance::secured));
    let tls = Shown::at(&secured.collect::<Vec<_>>(), &args.tls)?.map(Arc::new);
    let least = 2 * CONN_SIZE;
    if tls.is_some() && config.memory_max < least {
        return Err(format!("--memory-max: TLS may take half of it, and wants {least} bytes"));
    }
    let own = limits::of_its_own(addresses.len());
    config.conns_max = limits::max_connections(args.max_connections(), config.conns_max, own)?;
    // The log has the first of the other threads.
    limits::make_room(args.max_connections(), config.conns_max, own);
    output::log_to_stderr(&log_directives(args.reports.log_level)).map_err(cannot_start)?;
    if let Some(pid) = of_another {
        info!("the sockets of LISTEN_FDS are for process {pid}: they are left alone");
    }
    let out = Output::new().map_err(cannot_start)?;
    let manager = Manager::new().map_err(cannot_start)?;
    let trace = args.reports.trace.as_deref().map(TraceFile::new).transpose()?;
    let mut net = Os::new().map_err(cannot_start)?;
    // Before anybody is told that we listen, so that whoever then stops us stops us well.
    let signals = Signals::watch(&mut net).map_err(cannot_start)?;
    let mut reactor = Reactor::with(protocol, net, config).map_err(|e| in_options(&e))?;
    let layers = Layers { proxies: args.proxies()?, tls: tls.as_deref() };
    let mut all = listen_on(&mut reactor, sockets, &layers)?;
    all.extend(listen(&mut reactor, &endpoints, &layers)?);
    for Listens { kind, addr } in &all {
        info!("listening on {kind}{addr}");
        out.line(format!("listening on {kind}{addr}"));
    }
    if let Some(tls) = &tls {
        tls.tell();
        let fingerprint = tls.fingerprint_of_its_own();
        fingerprint.into_iter().for_each(|text| out.line(format!("fingerprint sha256 {text}")));
    }
    manager.ready(&status(&all));
    let began = reactor.net().now();
    let interval = args.reports.stats.map(|Span(interval)| interval);
    let report = Report::new(interval, began);
    let mut around = Around { signals, out: &out, report, trace: trace.as_ref(), manager };
    let result = run_loop(&mut reactor, &mut around, Reload::of(tls));
    let Around { manager, .. } = around;
    let lasted = reactor.net().now() - began;
    log_totals(&reactor.hub().stats(), lasted);
    // Not least if the loop failed.
    let traced = trace.map_or(Ok(()), |file| file.finish(reactor.hub()));
    out.flush();
    manager.flush();
    result.map_err(|e| format!("the loop cannot go on: {}", reason(&e)))?;
    traced
}

fn endpoints(addresses: &[String], protocol: ProtocolName) -> Result<Vec<Endpoint>, String> {
    let endpoints = addresses.iter().map(|text| text.parse());
    let endpoints: Vec<Endpoint> = endpoints.collect::<Result<_, String>>()?;
    let mut udp = endpoints.iter().filter(|endpoint| matches!(endpoint, Endpoint::Udp(_)));
    if let (ProtocolName::Chat, Some(endpoint)) = (protocol, udp.next()) {
        let why = "chat is for those who are connected; greet, echo and discard serve UDP";
        return Err(format!("cannot listen on {endpoint}: {why}"));
    }
    Ok(endpoints)
}

fn log_totals(stats: &Stats, lasted: Duration) {
    info!(
        "stopped after {lasted:.1?}: {} connections, {} messages, {} bytes in, {} bytes out{}",
        stats.accepted,
        stats.messages,
        stats.bytes_in,
        stats.bytes_out,
        match (stats.datagrams_in, stats.datagrams_out) {
            (0, 0) => String::new(),
            (come, gone) => format!("; {come} datagrams in, {gone} datagrams out"),
        }
    );
}

/// Whoever speaks to the loop, and hears of it.
struct Around<'a> {
    signals: Signals,
    out: &'a Output,
    report: Report,
    trace: Option<&'a TraceFile>,
    manager: Manager,
}

/// The loop of the program: a turn, and then whatever signals and the clock ask for.
fn run_loop<P: Protocol + 'static>(
    reactor: &mut Reactor<P>,
    around: &mut Around<'_>,
    mut reload: Reload,
) -> io::Result<()> {
    let Around { signals, out, report, trace, manager } = around;
    while !reactor.is_done() {
        let now = reactor.net().now();
        reactor.turn_within(report.left(now).min(manager.left(now)))?;
        for wish in signals.take(reactor.net()) {
            let now = reactor.net().now();
            match wish {
                Wish::Stop if reactor.hub().is_stopping() => {}
                Wish::Stop => reactor.hub().stop(),
                Wish::Reload if reactor.hub().is_stopping() => {}
                Wish::Reload => reload.begin(reactor.handle(), manager),
                Wish::Trace => match trace {
                    Some(file) => file.save(reactor.hub()),
                    None => info!("SIGUSR2: there is no trace to write, it takes --trace FILE"),
                },
                Wish::Report => out.line(report::totals(reactor.hub(), now)),
            }
        }
        reload.end(|| reactor.handle(), manager);
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

/// The files of TLS, loaded again on a thread: they may be where reading takes long, or never ends.
struct Reload {
    tls: Option<Arc<Shown>>,
    /// There is a thread. It says here that it has ended.
    running: Option<Arc<AtomicBool>>,
    /// Asked for meanwhile: the files may have changed since they were read.
    again: bool,
}

impl Reload {
    fn of(tls: Option<Arc<Shown>>) -> Self {
        Self { tls, running: None, again: false }
    }

    fn begin<P: Protocol + 'static>(&mut self, handle: Handle<P>, manager: &Manager) {
        let Some(tls) = self.tls.clone() else {
            manager.reloading();
            info!("SIGHUP: there is nothing to load again");
            return manager.reloaded();
        };
        if self.running.is_some() {
            self.again = true;
            return info!("SIGHUP: the files of TLS are still being read; once more after that");
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = is_over.clone();
        let load = move || {
            tls.reload();
            ends.store(true, Ordering::Release);
            let _ = handle.run(|_, _| ()); // a turn, in which the end is seen
        };
        match thread::Builder::new().name("charkh-reload".into()).spawn(load) {
            Ok(_) => {
                manager.reloading();
                self.running = Some(is_over);
            }
            Err(e) => error!("SIGHUP: the certificate stays what it was: {e}"),
        }
    }

    fn end<P: Protocol + 'static>(
        &mut self,
        handle: impl FnOnce() -> Handle<P>,
        manager: &Manager,
    ) {
        if self.running.as_ref().is_some_and(|is_over| is_over.load(Ordering::Acquire)) {
            self.running = None;
            manager.reloaded();
            if std::mem::take(&mut self.again) {
                self.begin(handle(), manager);
            }
        }
    }
}

/// Somewhere where clients may come.
struct Listens {
    /// `tcp `, `tls `, or nothing if its address says so.
    kind: &'static str,
    addr: Addr,
}

/// For whoever asks the service manager.
fn status(all: &[Listens]) -> String {
    let all: Vec<String> =
        all.iter().map(|Listens { kind, addr }| format!("{kind}{addr}")).collect();
    format!("listening on {}", all.join(", "))
}

/// At every socket that was handed over, or nowhere.
fn listen_on<P: Protocol>(
    reactor: &mut Reactor<P>,
    sockets: Vec<Inheritance>,
    layers: &Layers<'_>,
) -> Result<Vec<Listens>, String> {
    let mut all = Vec::new();
    for inheritance in sockets {
        let (name, is_secured) = (inheritance.name.clone(), inheritance.is_secured());
        let failed = |why| format!("cannot serve inherited {name}: {why}");
        let listening = inheritance.serve(reactor).map_err(|e| failed(words(&e)))?;
        if matches!(listening.addr, Addr::Unix(_)) {
            layers.may_be_missed().map_err(|why| failed(why.into()))?;
            if is_secured {
                return Err(failed("it is called tls, and TLS is for TCP".into()));
            }
        }
        info!("inherited {name}");
        all.push(layers.put(reactor, listening, is_secured));
    }
    Ok(all)
}

/// At every address of everything that was asked for, or nowhere.
fn listen<P: Protocol>(
    reactor: &mut Reactor<P>,
    endpoints: &[Endpoint],
    layers: &Layers<'_>,
) -> Result<Vec<Listens>, String> {
    // All are found before the first is listened at.
    let mut found = Vec::new();
    for endpoint in endpoints {
        if matches!(endpoint, Endpoint::Unix(_) | Endpoint::Udp(_)) {
            layers.may_be_missed().map_err(|why| format!("cannot listen on {endpoint}: {why}"))?;
        }
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
                let told = |bound: Bound| Listens { kind: "udp ", addr: bound.addr.into() };
                all.extend(bound.into_iter().map(told));
                continue;
            }
            Endpoint::Unix(path) => {
                let listening = reactor.listen_at(Endpoint::unix(path));
                listening.map(|one| vec![one]).map_err(|e| words(&e))
            }
            _ => reactor.listen_all(&addrs[..]).map_err(|e| reason(&e)),
        };
        for listening in listening.map_err(failed)? {
            all.push(layers.put(reactor, listening, matches!(endpoint, Endpoint::Tls(_))));
        }
    }
    Ok(all)
}

/// What stands between the wire and the protocol: what a balancer says of its client, then TLS.
struct Layers<'a> {
    /// Whom a header of the PROXY protocol is believed, and how long it may be.
    proxies: Option<(TrustedProxies, usize)>,
    tls: Option<&'a Shown>,
}

impl Layers<'_> {
    /// Where clients come by other ways than TCP, whoever demands a header would not have it.
    fn may_be_missed(&self) -> Result<(), &'static str> {
        match self.proxies {
            Some(_) => Err("--proxy-protocol is for TCP and TLS, and would be missed there"),
            None => Ok(()),
        }
    }

    /// Neither is for a unix socket.
    fn put<P: Protocol>(
        &self,
        reactor: &mut Reactor<P>,
        Listening { id, addr }: Listening,
        is_secured: bool,
    ) -> Listens {
        if matches!(addr, Addr::Unix(_)) {
            return Listens { kind: "", addr };
        }
        let tls = self.tls.filter(|_| is_secured).map(Shown::server);
        match (self.proxies.clone(), tls) {
            (None, None) => {}
            (None, Some(tls)) => reactor.layer(id, move |_| tls.layer()),
            (Some((trusted, header_max)), tls) => reactor.layer(id, move |addr| {
                let proxy = trusted.accept(addr)?.header_max(header_max);
                Ok(Box::new(match &tls {
                    Some(tls) => proxy.then(tls.layer()?),
                    None => proxy,
                }))
            }),
        }
        Listens { kind: if is_secured { "tls " } else { "tcp " }, addr }
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
