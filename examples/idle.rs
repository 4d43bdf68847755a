//! What a connection costs that does nothing.
//!
//! ```text
//! $ cargo run --release --example idle     # as many as there are descriptors; or: idle COUNT
//! 19968 connections, each said one thing and heard it echoed
//! 63 bytes of resident memory for each
//! 210µs of CPU time in a second of doing nothing
//! ```
//! This process serves, and starts itself a second time for the clients: their memory is not
//! counted. Nor is what the kernel holds for a connection, some kilobytes. It shows `turn_within`,
//! for a program that has something to do beside the loop, and a protocol that dials out.
use std::{
    env, fs, io,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use charkh::{ConnId, Hub, Input, Peer, Protocol, Reactor, Reason, Result};

/// Connections to one port. Above half of the ports there are to come from, Linux looks for a
/// free one for long.
const PER_PORT: usize = 10_000;
/// Connections on their way up at once: fewer than may wait for a listener.
const DIALING: usize = 256;
/// Descriptors that are not connections.
const RESERVE: u64 = 32;
/// Nothing for so long, and nothing more will come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both sides of it: an accepted connection echoes, a dialed one speaks first.
#[derive(Debug, Default)]
pub struct Idle {
    /// One address for each client that is still to be started.
    dials: Vec<SocketAddr>,
    heard: usize,
    lost: usize,
}

impl Protocol for Idle {
    type Session = ();

    fn open(&mut self, peer: &mut Peer) {
        if peer.listener().is_none() {
            peer.send(b"hello\n");
            self.dial(peer.hub(), 1);
        }
    }

    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        let bytes = input.take_all();
        if peer.listener().is_some() {
            peer.send(bytes);
        }
        self.heard += 1;
        Ok(())
    }

    fn closed(&mut self, hub: &mut Hub, _: ConnId, _: (), _: Reason) {
        self.lost += 1;
        if hub.is_empty() {
            hub.stop();
        }
    }

    fn connect_failed(&mut self, hub: &mut Hub, _: ConnId, reason: Reason) {
        if !hub.is_stopping() {
            eprintln!("a client cannot connect: {reason}");
            self.dials.clear();
            hub.stop();
        }
    }
}

impl Idle {
    fn dial(&mut self, hub: &mut Hub, count: usize) {
        let keep = self.dials.len().saturating_sub(count);
        for addr in self.dials.drain(keep..) {
            hub.connect(addr);
        }
    }
}

/// Be `count` clients of these addresses, until the server ends them.
pub fn call(count: usize, addrs: &[SocketAddr]) -> io::Result<()> {
    let dials = addrs.iter().copied().cycle().take(count).collect();
    let reactor = Reactor::new(Idle { dials, ..Idle::default() })?;
    // Not all at once: each that is up dials the next.
    let started = reactor.handle().run(|idle, hub| idle.dial(hub, DIALING));
    started.map_err(io::Error::other)?;
    reactor.run().map(drop)
}

/// Be the server of `count` clients, which `start` sends to the addresses it is given. Answers
/// with bytes for each connection, and CPU time; `None` where a process cannot ask this.
pub fn serve(
    count: usize,
    start: impl FnOnce(&[SocketAddr]) -> io::Result<()>,
) -> io::Result<(Option<u64>, Option<Duration>)> {
    let mut reactor = Reactor::new(Idle::default())?;
    let mut addrs = Vec::new();
    for _ in 0..count.div_ceil(PER_PORT) {
        addrs.extend(reactor.listen("127.0.0.1:0")?.addr.socket_addr());
    }
    let memory_before = resident();
    start(&addrs)?;
    while reactor.protocol().heard < count {
        let turned = Instant::now();
        reactor.turn_within(PATIENCE)?;
        if reactor.protocol().lost > 0 || turned.elapsed() >= PATIENCE {
            let came = reactor.protocol().heard;
            return Err(io::Error::other(format!("only {came} of {count} clients came")));
        }
    }
    let (memory, cpu_before) = (resident(), cpu_time());
    let rested = Instant::now() + Duration::from_secs(1);
    while let Some(left) = rested.checked_duration_since(Instant::now()) {
        reactor.turn_within(left)?;
    }
    let cpu = cpu_time();
    reactor.hub().stop();
    reactor.run()?;
    let each = |(now, before): (u64, u64)| now.saturating_sub(before) / count as u64;
    let spent = |(now, before): (Duration, Duration)| now.saturating_sub(before);
    Ok((memory.zip(memory_before).map(each), cpu.zip(cpu_before).map(spent)))
}

/// Bytes of this process. `smaps_rollup` counts them; `statm` is off by up to a megabyte.
fn resident() -> Option<u64> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let size = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    size.trim_end_matches("kB").trim().parse().ok().map(|kib: u64| kib << 10)
}

/// Of this thread.
fn cpu_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// How many descriptors this process may have, as many as possible.
pub fn descriptors() -> io::Result<u64> {
    #[cfg(feature = "cli")]
    return rlimit::increase_nofile_limit(u64::MAX);
    #[cfg(not(feature = "cli"))]
    Ok(256) // no system gives fewer
}

fn main() -> Result {
    let args: Vec<String> = env::args().skip(1).collect();
    let most = descriptors()?.saturating_sub(RESERVE).min(1_000_000) as usize;
    let count = match &args[..] {
        [] => most,
        [count] => count.parse::<usize>().map_err(|_| "COUNT is a number")?.clamp(1, most),
        [flag, count, addrs @ ..] if flag == "--clients" => {
            let addrs = addrs.iter().map(|addr| addr.parse()).collect::<Result<Vec<_>, _>>()?;
            return Ok(call(count.parse()?, &addrs)?);
        }
        _ => return Err("usage: idle [COUNT]".into()),
    };
    let mut clients = Command::new(env::current_exe()?);
    clients.args(["--clients", &count.to_string()]);
    let (memory, cpu) = serve(count, |addrs| {
        clients.args(addrs.iter().map(SocketAddr::to_string)).spawn().map(drop)
    })?;
    println!("{count} connections, each said one thing and heard it echoed");
    match (memory, cpu) {
        (Some(bytes), Some(cpu)) => {
            println!("{bytes} bytes of resident memory for each");
            println!("{cpu:?} of CPU time in a second of doing nothing");
        }
        _ => println!("their cost cannot be measured on this system"),
    }
    Ok(())
}
