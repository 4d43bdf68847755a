//! What the loop costs: echo by charkh beside echo by a bare mio loop, and beside charkh with its
//! flight recorder on, in processor time of the server per request, kernel included.
//! `cargo bench --bench echo`; about a minute and a half, on Linux.
//!
//! Each server is a process of its own, so that its time is its own. The load comes from this
//! process: every connection has so many requests in flight, and sends the next one when an answer
//! is whole. Rounds of the servers alternate, and medians are printed, so that what else the
//! machine does hits all alike.
use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use charkh::{Config, Reactor};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

#[path = "../examples/echo.rs"]
#[allow(dead_code, unreachable_pub)]
mod echo;

use echo::Echo;

const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(200);
const MEASURED: Duration = Duration::from_secs(1);
/// What `charkh serve --trace` keeps.
const RECORDS: usize = 65536;
/// In this order, beside each other.
const ROLES: [&str; 3] = ["serve-with-charkh", "serve-with-mio", "serve-with-charkh-recording"];

struct Case {
    name: &'static str,
    conns: usize,
    size: usize,
    in_flight: usize,
}

#[rustfmt::skip]
const CASES: [Case; 4] = [
    Case { name: "50 connections, 64 B", conns: 50, size: 64, in_flight: 1 },
    Case { name: "1000 connections, 64 B", conns: 1000, size: 64, in_flight: 1 },
    Case { name: "50 connections, 64 B, 16 in flight", conns: 50, size: 64, in_flight: 16 },
    Case { name: "50 connections, 16 KiB", conns: 50, size: 16 << 10, in_flight: 1 },
];

fn main() -> io::Result<()> {
    match env::args().nth(1).as_deref() {
        Some("serve-with-charkh") => serve_with_charkh(0),
        Some("serve-with-charkh-recording") => serve_with_charkh(RECORDS),
        Some("serve-with-mio") => serve_with_mio(),
        // `cargo test` runs benches too, without this argument, and wants none of them.
        _ if !env::args().any(|arg| arg == "--bench") => Ok(()),
        _ if !cfg!(target_os = "linux") => {
            println!("processor time of another process is read from Linux' /proc: not run");
            Ok(())
        }
        _ => compare(),
    }
}

fn compare() -> io::Result<()> {
    let servers = ROLES.iter().map(|role| Server::start(role)).collect::<io::Result<Vec<_>>>()?;
    let mut costs = CASES.map(|_| ROLES.map(|_| Vec::new()));
    for round in 0..ROUNDS {
        for (case, costs) in CASES.iter().zip(&mut costs) {
            for turn in 0..ROLES.len() {
                let server = (round + turn) % ROLES.len();
                costs[server].push(servers[server].measure(case)?);
            }
        }
    }
    println!(
        "\nserver's processor time per request, ns: median (least to most) of {ROUNDS} rounds"
    );
    println!(
        "{:36} {:>22} {:>22} {:>7} {:>22} {:>7}",
        "", "charkh", "bare mio", "ratio", "charkh recording", "on/off"
    );
    for (case, costs) in CASES.iter().zip(costs) {
        let [charkh, mio, recording] = costs.map(|mut costs| {
            costs.sort_unstable();
            costs
        });
        let middle = ROUNDS / 2;
        let show =
            |costs: &[u64]| format!("{} ({} to {})", costs[middle], costs[0], costs[ROUNDS - 1]);
        let ratio = |a: &[u64], b: &[u64]| a[middle] as f64 / b[middle] as f64;
        println!(
            "{:36} {:>22} {:>22} {:>7.2} {:>22} {:>7.3}",
            case.name,
            show(&charkh),
            show(&mio),
            ratio(&charkh, &mio),
            show(&recording),
            ratio(&recording, &charkh)
        );
    }
    Ok(())
}

/// A server in a process of its own, as long as this lives.
struct Server {
    process: Child,
    addr: SocketAddr,
}

impl Server {
    fn start(role: &str) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(role).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let mut line = String::new();
        if let Some(stdout) = &mut process.stdout {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let addr = line.trim().parse().map_err(io::Error::other)?;
        Ok(Self { process, addr })
    }

    /// Nanoseconds of processor time per request.
    fn measure(&self, case: &Case) -> io::Result<u64> {
        let mut load = Load::new(self.addr, case)?;
        load.run(WARM_UP)?;
        let before = self.time_used()?;
        let requests = load.run(MEASURED)?;
        let used = self.time_used()? - before;
        load.end()?;
        Ok(used / requests.max(1))
    }

    /// In nanoseconds: the scheduler's own account of the one thread that serves, or, where the
    /// kernel keeps none, its ticks of ten milliseconds.
    fn time_used(&self) -> io::Result<u64> {
        let proc = format!("/proc/{}", self.process.id());
        let number = |text: &str| text.parse::<u64>().map_err(io::Error::other);
        if let Ok(text) = fs::read_to_string(format!("{proc}/schedstat")) {
            return number(text.split(' ').next().unwrap_or_default());
        }
        let text = fs::read_to_string(format!("{proc}/stat"))?;
        // After the name, which may hold anything, come the state and ten more; then user, system.
        let after = text.rsplit(')').next().unwrap_or_default();
        let mut times = after.split_whitespace().skip(11);
        let mut next = || number(times.next().unwrap_or_default());
        Ok((next()? + next()?) * 10_000_000)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// In a server: go when the load goes, however it does.
fn end_with_parent() {
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        process::exit(0);
    });
}

/// Connections that always have so many requests in flight.
struct Load {
    poll: Poll,
    events: Events,
    conns: Vec<Conn>,
    request: Vec<u8>,
    size: usize,
    scratch: Vec<u8>,
}

struct Conn {
    stream: TcpStream,
    /// Of an answer that is not whole.
    got: usize,
}

impl Load {
    fn new(addr: SocketAddr, case: &Case) -> io::Result<Self> {
        let Case { size, in_flight, .. } = *case;
        let mut load = Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            conns: Vec::new(),
            request: vec![b'x'; size * in_flight],
            size,
            scratch: vec![0; 64 << 10],
        };
        for n in 0..case.conns {
            let stream = std::net::TcpStream::connect(addr)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            load.poll.registry().register(&mut stream, Token(n), Interest::READABLE)?;
            stream.write_all(&load.request)?;
            load.conns.push(Conn { stream, got: 0 });
        }
        Ok(load)
    }

    /// How many answers came in this time.
    fn run(&mut self, time: Duration) -> io::Result<u64> {
        let Self { poll, events, conns, request, size, scratch } = self;
        let end = Instant::now() + time;
        let mut answers = 0;
        while Instant::now() < end {
            poll.poll(events, Some(Duration::from_millis(100)))?;
            for event in events.iter() {
                let conn = &mut conns[event.token().0];
                loop {
                    let read = match conn.stream.read(scratch) {
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(read) => read,
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                        Err(e) => return Err(e),
                    };
                    conn.got += read;
                    let whole = conn.got / *size;
                    conn.got -= whole * *size;
                    answers += whole as u64;
                    // What is in flight fits into any socket's buffer.
                    conn.stream.write_all(&request[..whole * *size])?;
                    if read < scratch.len() {
                        break;
                    }
                }
            }
        }
        Ok(answers)
    }

    /// Until the server has closed them all: the next case's connections need the descriptors.
    fn end(mut self) -> io::Result<()> {
        for conn in &self.conns {
            conn.stream.shutdown(Shutdown::Write)?;
        }
        let mut left: BTreeSet<usize> = (0..self.conns.len()).collect();
        while !left.is_empty() {
            self.poll.poll(&mut self.events, None)?;
            for event in self.events.iter() {
                let conn = &mut self.conns[event.token().0];
                while conn.stream.read(&mut self.scratch).is_ok_and(|read| read > 0) {}
                if event.is_read_closed() {
                    left.remove(&event.token().0);
                }
            }
        }
        Ok(())
    }
}

fn serve_with_charkh(trace: usize) -> io::Result<()> {
    end_with_parent();
    let mut reactor = Reactor::with_config(Echo, Config { trace, ..Config::default() })?;
    println!("{}", reactor.listen("127.0.0.1:0")?.addr);
    reactor.run().map(drop)
}

/// Accept, read, write, and nothing else: no limits, no deadlines, no answer to anything unusual.
fn serve_with_mio() -> io::Result<()> {
    end_with_parent();
    const LISTENER: Token = Token(usize::MAX);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("{}", listener.local_addr()?);
    let mut conns = slab::Slab::new();
    let mut scratch = vec![0; 64 << 10];
    loop {
        poll.poll(&mut events, None)?;
        for event in events.iter() {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let entry = conns.vacant_entry();
                    let token = Token(entry.key());
                    poll.registry().register(&mut stream, token, Interest::READABLE)?;
                    entry.insert(stream);
                }
                continue;
            }
            let Token(key) = event.token();
            while let Some(stream) = conns.get_mut(key) {
                match TcpStream::read(stream, &mut scratch) {
                    Ok(0) => drop(conns.remove(key)),
                    Ok(read) => {
                        if stream.write_all(&scratch[..read]).is_err() {
                            drop(conns.remove(key));
                        } else if read < scratch.len() && !event.is_read_closed() {
                            break;
                        }
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => drop(conns.remove(key)),
                }
            }
        }
    }
}
