//! A new version takes over from the old while clients come and go all the time. Who inherits the
//! socket loses none of them; who only shares the port loses those whom the kernel had given to
//! the old and the old could not accept any more.
use std::{
    env, fmt,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::support::{BINARY, PATIENCE, Running, Server, is_reset, until};

/// Clients that come all the time, and how many visits they make from one takeover to the next.
const CLIENTS: usize = 8;
const VISITS: u64 = 500;

/// In a row; `CHARKH_TAKEOVERS=100` asks for more.
fn times() -> u64 {
    env::var("CHARKH_TAKEOVERS").map_or(5, |times| times.parse().unwrap())
}

/// A listener of the test's own, which plays the service manager. An address of its own too: ports
/// are many then.
pub(crate) fn listener() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let addr: SocketAddr = "127.86.86.1:0".parse().unwrap();
    socket.bind(&addr.into()).unwrap();
    socket.listen(4096).unwrap();
    socket.into()
}

/// A server that inherits a socket, with these variables besides: a shell makes descriptor 3 of its
/// standard input, and becomes the server.
pub(crate) fn heir(socket: OwnedFd, variables: &str, options: &str) -> Running {
    let script = format!(
        "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$ {variables}; exec \"$0\" \"$@\""
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script, BINARY, "serve"]).args(options.split_whitespace());
    Running::given(command.env_remove("RUST_LOG"), Stdio::from(socket))
}

/// How visits came out.
#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    refused: AtomicU64,
    reset: AtomicU64,
    /// The end came in the place of an answer.
    unanswered: AtomicU64,
    /// The same, of those who took so long to ask that nobody would wait for them.
    too_slow: AtomicU64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, refused, reset, unanswered, too_slow } = self;
        let [answered, refused, reset] = [answered, refused, reset].map(|n| n.load(Relaxed));
        let [unanswered, too_slow] = [unanswered, too_slow].map(|n| n.load(Relaxed));
        write!(
            f,
            "{answered} answered, {refused} refused, {reset} reset, {unanswered} unanswered, \
             {too_slow} too slow to ask"
        )
    }
}

impl Counts {
    fn lost(&self) -> u64 {
        self.refused.load(Relaxed) + self.reset.load(Relaxed) + self.unanswered.load(Relaxed)
    }

    /// Connect, ask after some time, hear the answer, go.
    fn visit(&self, addr: SocketAddr, thinks: Duration, request: &[u8]) {
        let count = match Self::exchange(addr, thinks, request) {
            Ok(true) => &self.answered,
            Ok(false) => &self.too_slow,
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => &self.refused,
            Err(e) if is_reset(&e) => &self.reset,
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => &self.unanswered,
            Err(e) => panic!("neither an answer nor an end: {e}"),
        };
        count.fetch_add(1, Relaxed);
    }

    /// `false`, if nothing can be said of the server.
    fn exchange(addr: SocketAddr, thinks: Duration, request: &[u8]) -> std::io::Result<bool> {
        let mut client = TcpStream::connect(addr)?;
        let came = Instant::now();
        client.set_read_timeout(Some(PATIENCE))?;
        thread::sleep(thinks);
        let asked = client.write_all(request);
        let slow = came.elapsed() > Duration::from_millis(300);
        let mut answer = vec![0; request.len()];
        match asked.and_then(|()| client.read_exact(&mut answer)) {
            Err(_) if slow => return Ok(false),
            heard => heard?,
        }
        assert_eq!(answer, request, "somebody else's answer");
        Ok(true)
    }
}

/// Clients that come and go until they are told to stop.
struct Crowd {
    counts: Arc<Counts>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn at(addr: SocketAddr) -> Self {
        let (counts, over) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let thread = |n| {
            let (counts, over) = (counts.clone(), over.clone());
            thread::spawn(move || {
                // Some think what to ask when they are connected.
                let thinks = Duration::from_millis(if n % 2 == 0 { 0 } else { 5 });
                for visit in 0_u64.. {
                    if over.load(Relaxed) {
                        return;
                    }
                    let request = format!("client {n}, visit {visit}");
                    counts.visit(addr, thinks, request.as_bytes());
                }
            })
        };
        let threads = (0..CLIENTS).map(thread).collect();
        Self { counts, over, threads }
    }

    /// Until so many more were answered.
    fn until_served(&self, more: u64) {
        let before = self.counts.answered.load(Relaxed);
        until("the clients are served", || {
            (self.counts.answered.load(Relaxed) >= before + more).then_some(())
        });
    }

    fn end(self) -> Arc<Counts> {
        self.over.store(true, Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.counts
    }
}

/// It is told to stop, and everybody was done.
fn retire(mut old: Server) {
    old.running.signal("TERM");
    let log = old.ended(0);
    assert!(!log.iter().any(|line| line.contains("not done")), "{log:#?}");
}

/// Under load, some servers one after the other; the next is there before the last goes, or
/// comes when it has gone.
fn takeovers(addr: SocketAddr, next_comes_first: bool, next: impl Fn() -> Server) -> Arc<Counts> {
    let mut server = Some(next());
    let crowd = Crowd::at(addr);
    for _ in 0..times() {
        crowd.until_served(VISITS);
        let successor = next_comes_first.then(&next);
        server.take().into_iter().for_each(retire);
        server = Some(successor.unwrap_or_else(&next));
    }
    crowd.until_served(VISITS);
    let counts = crowd.end();
    server.into_iter().for_each(retire);
    eprintln!("{} takeovers: {counts}", times());
    counts
}

#[test]
fn case_086_who_inherits_the_socket_loses_nobody() {
    for next_comes_first in [true, false] {
        let listener = listener();
        let addr = listener.local_addr().unwrap();
        let next = || {
            let socket = listener.try_clone().unwrap().into();
            Server::of(heir(socket, "", "--protocol echo --grace 1h"))
        };
        let counts = takeovers(addr, next_comes_first, next);
        assert_eq!(counts.lost(), 0, "{counts}");
    }
}

/// Linux resets whoever waits in the queue of a listener that is closed. The queue is emptied just
/// before; what comes in between is lost, and nothing else is.
#[test]
fn case_086_who_shares_the_port_loses_few() {
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    held.set_reuse_port(true).unwrap();
    let any: SocketAddr = "127.86.86.2:0".parse().unwrap();
    held.bind(&any.into()).unwrap(); // so that nobody else is given the port
    let addr = held.local_addr().unwrap().as_socket().unwrap();
    let options = "--protocol echo --reuse-port --grace 1h";
    let counts = takeovers(addr, true, || Server::at(&addr.to_string(), options));
    let answered = counts.answered.load(Relaxed);
    assert!(counts.lost() * 100 < answered, "{counts}");
    assert_eq!(counts.unanswered.load(Relaxed), 0, "{counts}");
}
