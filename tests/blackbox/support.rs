//! Starting programs, talking to them, and looking at them from outside.
#![allow(dead_code)]
use std::{
    fmt::Debug,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, SockRef, Socket, Type};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_charkh");

/// A test that waits this long has failed. Nothing waits for it to pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Until `get` says `Some`.
pub(crate) fn until<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = get() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "it never came true that {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Until what `get` says is `wanted`.
pub(crate) fn until_equal<T: PartialEq + Debug>(what: &str, wanted: T, mut get: impl FnMut() -> T) {
    let start = Instant::now();
    loop {
        let got = get();
        if got == wanted {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {got:?} and not {wanted:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The lines of a pipe, read by a thread of their own so that it never fills.
pub(crate) struct Lines(Arc<(Mutex<Seen>, Condvar)>);

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Only so many; then the pipe is closed, as if whoever read it had gone.
    fn first(lines: usize, pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        let ours = shared.clone();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let (mut line, mut left) = (Vec::new(), lines);
            while left > 0 && matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line);
                ours.0.lock().unwrap().lines.push(text.trim_end_matches('\n').into());
                ours.1.notify_all();
                line.clear();
                left -= 1;
            }
            drop(pipe);
            ours.0.lock().unwrap().ended = true;
            ours.1.notify_all();
        });
        Self(shared)
    }

    fn wait<T>(&self, what: &str, mut get: impl FnMut(&Seen) -> Option<T>) -> T {
        let (seen, more) = &*self.0;
        let (mut seen, start) = (seen.lock().unwrap(), Instant::now());
        loop {
            if let Some(value) = get(&seen) {
                return value;
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            let lines = seen.lines.join("\n");
            assert!(!left.is_zero() && !seen.ended, "no {what} in these lines:\n{lines}");
            seen = more.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// The first line that contains this, as soon as it has come.
    pub(crate) fn find(&self, part: &str) -> String {
        self.find_after(0, part)
    }

    /// The first such line of those after the first `seen`.
    pub(crate) fn find_after(&self, seen: usize, part: &str) -> String {
        self.wait(&format!("{part:?}"), |all| {
            all.lines.iter().skip(seen).find(|line| line.contains(part)).cloned()
        })
    }

    /// All lines so far.
    pub(crate) fn so_far(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    /// All lines, when the pipe has ended.
    pub(crate) fn to_end(&self) -> Vec<String> {
        self.wait("end", |seen| seen.ended.then(|| seen.lines.clone()))
    }
}

/// A program that runs, and is gone when this is.
pub(crate) struct Running {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

impl Running {
    pub(crate) fn new(command: &mut Command) -> Self {
        Self::heard(command, usize::MAX, usize::MAX)
    }

    /// So many lines are read from its standard output and its standard error; then they are
    /// closed.
    pub(crate) fn heard(command: &mut Command, stdout: usize, stderr: usize) -> Self {
        let mut running = Self::with_stderr(command, Stdio::piped(), stdout);
        running.stderr = Lines::first(stderr, running.child.stderr.take().unwrap());
        running
    }

    /// Its standard error goes elsewhere.
    pub(crate) fn with_stderr(
        command: &mut Command,
        stderr: impl Into<Stdio>,
        stdout: usize,
    ) -> Self {
        Self::spawn(command, Stdio::piped(), stderr.into(), stdout)
    }

    /// With this as its standard input.
    pub(crate) fn given(command: &mut Command, stdin: impl Into<Stdio>) -> Self {
        let mut running = Self::spawn(command, stdin.into(), Stdio::piped(), usize::MAX);
        running.stderr = Lines::first(usize::MAX, running.child.stderr.take().unwrap());
        running
    }

    fn spawn(command: &mut Command, stdin: Stdio, stderr: Stdio, stdout: usize) -> Self {
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
        let stdout = Lines::first(stdout, child.stdout.take().unwrap());
        let stderr = Lines::first(0, std::io::empty());
        Self { stdin: child.stdin.take(), child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit code, as soon as there is one; -1 if a signal ended it.
    pub(crate) fn exit_code(&mut self) -> i32 {
        let child = &mut self.child;
        let status = until("the program ended", || child.try_wait().unwrap());
        status.code().unwrap_or(-1)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// With a signal that cannot be caught.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own `kill`: not every machine has the program.
        let kill = format!("kill -{name} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program that has ended said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Run it to its end, with this on its standard input.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Said {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    // From here on it is ended even if this test fails.
    let nothing = || Lines::first(0, std::io::empty());
    let mut running = Running { child, stdin: None, stdout: nothing(), stderr: nothing() };
    let child = &mut running.child;
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may end without having read all of it.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = read_aside(child.stdout.take().unwrap());
    let stderr = read_aside(child.stderr.take().unwrap());
    let code = running.exit_code();
    writer.join().unwrap();
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    Said { code, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
}

fn read_aside(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).unwrap();
        all
    })
}

/// `charkh` with these arguments, to its end.
pub(crate) fn charkh(args: &[&str]) -> Said {
    run(Command::new(BINARY).args(args), b"")
}

/// A Python script. They stand for the programs that everybody's first lesson has.
pub(crate) fn python(script: &str, args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(["-u", "-c", script]).args(args);
    command
}

/// Whoever has a Rust toolchain and nothing else does without the tests that need this program;
/// where it is decided what lands (`CI` is set) they are not to be done without.
pub(crate) fn is_without(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "{program} is not installed");
    if !there {
        eprintln!("not tested: {program} is not installed");
    }
    !there
}

/// `charkh serve`, listening.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) addr: SocketAddr,
}

impl Server {
    /// At a free port of 127.0.0.1.
    pub(crate) fn new(options: &str) -> Self {
        Self::at("127.0.0.1:0", options)
    }

    pub(crate) fn at(address: &str, options: &str) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["serve", address]).args(options.split_whitespace());
        Self::from(&mut command)
    }

    /// With at most this many descriptors.
    #[cfg(unix)]
    pub(crate) fn with_descriptors(descriptors: u32, options: &str) -> Self {
        let script = format!("ulimit -n {descriptors}; exec \"$0\" serve 127.0.0.1:0 {options}");
        Self::from(Command::new("sh").args(["-c", &script, BINARY]))
    }

    pub(crate) fn from(command: &mut Command) -> Self {
        // Tests count on the usual log.
        Self::of(Running::new(command.env_remove("RUST_LOG")))
    }

    pub(crate) fn of(running: Running) -> Self {
        // The tests themselves hold the other ends.
        #[cfg(unix)]
        rlimit::increase_nofile_limit(u64::MAX).unwrap();
        let addr = address_in(&running.stdout.find("listening on tcp "));
        Self { running, addr }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.addr)
    }

    pub(crate) fn log(&self) -> &Lines {
        &self.running.stderr
    }

    /// Say this and hear it again: only for a server that echoes.
    pub(crate) fn check_echo(&self) {
        echo(&mut self.connect(), b"are you well?");
    }

    /// Stop it in good order, and look back at its log.
    pub(crate) fn stop(self) -> Vec<String> {
        self.stop_and_tell().1
    }

    /// And at its standard output.
    #[cfg(unix)]
    pub(crate) fn stop_and_tell(mut self) -> (Vec<String>, Vec<String>) {
        self.running.signal("TERM");
        let log = self.ended(0);
        assert!(log.iter().any(|line| line.contains("stopped after")), "{log:#?}");
        (self.running.stdout.to_end(), log)
    }

    #[cfg(not(unix))]
    pub(crate) fn stop_and_tell(mut self) -> (Vec<String>, Vec<String>) {
        self.running.kill();
        (self.running.stdout.to_end(), self.running.stderr.to_end())
    }

    /// It ends by itself, with this code, and never panicked.
    pub(crate) fn ended(&mut self, code: i32) -> Vec<String> {
        let ended = self.running.exit_code();
        let log = self.running.stderr.to_end();
        assert_eq!(ended, code, "{log:#?}");
        assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
        log
    }
}

pub(crate) fn address_in(line: &str) -> SocketAddr {
    let last = line.rsplit(' ').next().unwrap();
    last.parse().unwrap_or_else(|e| panic!("no address at the end of {line:?}: {e}"))
}

/// A client that does not wait for ever.
pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE);
    patient(stream.unwrap_or_else(|e| panic!("cannot connect to {addr}: {e}")))
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A client from this address, with a receive buffer of this size (0: the system's own).
pub(crate) fn connect_from(from: &str, addr: SocketAddr, recv_buffer: usize) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    if recv_buffer > 0 {
        socket.set_recv_buffer_size(recv_buffer).unwrap();
    }
    let from: SocketAddr = format!("{from}:0").parse().unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&addr.into()).unwrap();
    patient(socket.into())
}

/// Whether this machine speaks IPv6, at least to itself.
pub(crate) fn has_ipv6() -> bool {
    let has = std::net::TcpListener::bind("[::1]:0").is_ok();
    if !has {
        println!("not tested: this machine has no IPv6");
    }
    has
}

/// An address where nobody listens, and nobody can as long as the socket is held.
pub(crate) fn nobody() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// The server is told nothing more but a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Exactly so many bytes.
pub(crate) fn read(stream: &mut TcpStream, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    stream.read_exact(&mut bytes).unwrap_or_else(|e| panic!("not {size} bytes: {e}"));
    bytes
}

/// All until the end, which must be a good one.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let result = stream.read_to_end(&mut bytes);
    result.unwrap_or_else(|e| panic!("an error after {} bytes: {e}", bytes.len()));
    bytes
}

/// One line, without its end.
pub(crate) fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    loop {
        match read(stream, 1)[0] {
            b'\n' => return String::from_utf8(line).unwrap(),
            byte => line.push(byte),
        }
    }
}

pub(crate) fn echo(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    assert_eq!(read(stream, message.len()), message);
}

/// Read until there is an end of some kind; `true` if it was a good one.
pub(crate) fn ends_well(stream: &mut TcpStream) -> bool {
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if is_reset(&e) => return false,
            Err(e) => panic!("neither an end nor a reset: {e}"),
        }
    }
}

pub(crate) fn is_reset(e: &std::io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}

/// Nothing has come.
pub(crate) fn is_silent(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let silent = stream.peek(&mut [0]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    silent
}

/// Bytes that no shift, loss or repetition leaves as they are.
pub(crate) struct Pattern(u64);

impl Pattern {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }

    pub(crate) fn bytes(seed: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        Self::new(seed).fill(&mut bytes);
        bytes
    }
}

/// A file for one test.
pub(crate) fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{memory_is_its_own, memory_of};

/// What the kernel says of a process.
#[cfg(target_os = "linux")]
mod linux {
    use std::{fs, thread, time::Duration};

    use super::{Running, Server, echo, until_equal};

    /// Under a sanitizer freed memory waits, and all of it has room around: what the kernel counts
    /// then is not the server's. `.ci/sanitize` says that it is so.
    pub(crate) fn memory_is_its_own() -> bool {
        std::env::var_os("CHARKH_SANITIZED").is_none()
    }

    pub(crate) fn memory_of(pid: u32) -> usize {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }

    impl Running {
        pub(crate) fn descriptors(&self) -> usize {
            self.descriptors_below(usize::MAX)
        }

        /// Whoever starts the tests may leave them descriptors with high numbers.
        pub(crate) fn descriptors_below(&self, limit: usize) -> usize {
            let all = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
            let numbers = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            numbers.filter(|number| number.parse::<usize>().unwrap() < limit).count()
        }

        /// Memory of its own that is in use, in bytes.
        pub(crate) fn memory(&self) -> usize {
            memory_of(self.pid())
        }

        /// What follows its name in `/proc/PID/stat`.
        fn stat(&self) -> Vec<String> {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
            // The name may hold anything, but it is in brackets.
            let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
            fields.map(String::from).collect()
        }

        /// `R` if it runs or would, `S` if it sleeps, `T` if it was stopped.
        pub(crate) fn state(&self) -> String {
            self.stat().swap_remove(0)
        }

        /// It stands still, until it is sent the signal `CONT`.
        pub(crate) fn halt(&self) {
            self.signal("STOP");
            until_equal("state of the program", "T".into(), || self.state());
        }

        /// What it had to do is done.
        pub(crate) fn until_asleep(&self) {
            until_equal("state of the program", "S".into(), || self.state());
        }

        /// Hundredths of a second that it has worked.
        pub(crate) fn ticks(&self) -> u64 {
            let stat = self.stat();
            stat[11].parse::<u64>().unwrap() + stat[12].parse::<u64>().unwrap()
        }

        /// How often it left a processor, all its threads together: each waking is one more.
        fn switches(&self) -> u64 {
            let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
            let statuses = threads.map(|thread| thread.unwrap().path().join("status"));
            let text: String = statuses.map(|status| fs::read_to_string(status).unwrap()).collect();
            let counts = text.lines().filter_map(|line| line.split_once("ctxt_switches:"));
            counts.map(|(_, count)| count.trim().parse::<u64>().unwrap()).sum()
        }

        /// Nothing at all happens, so it must not wake: no timer, no system call, no instruction.
        /// The kernel counts, so that no noise can be taken for work.
        pub(crate) fn assert_sleeps(&self) {
            // What it was last asked for, the kernel or a thread of its own may still have in hand.
            super::until("it is at rest for a moment", || {
                let before = self.switches();
                assert!(before > 0, "the kernel does not count");
                thread::sleep(Duration::from_millis(100));
                (self.switches() == before).then_some(())
            });
            let before = self.switches();
            thread::sleep(Duration::from_secs(1));
            assert_eq!(self.switches() - before, 0, "it woke so often in an idle second");
        }

        /// Nothing useful arrives, so it must not work. This is the one thing that only a look
        /// at the clock can tell; a loop that spins works through most of it, if not all.
        pub(crate) fn assert_rests(&self) {
            let before = self.ticks();
            thread::sleep(Duration::from_secs(1));
            let worked = self.ticks() - before;
            assert!(worked < 10, "it worked {worked} hundredths of an idle second");
        }
    }

    impl Server {
        /// How many descriptors it has when nobody is connected: only for a server that echoes.
        pub(crate) fn baseline(&self) -> usize {
            let mut client = self.connect();
            echo(&mut client, b"hello");
            let descriptors = self.running.descriptors();
            drop(client);
            self.assert_baseline(descriptors - 1);
            descriptors - 1
        }

        pub(crate) fn assert_baseline(&self, descriptors: usize) {
            until_equal("descriptors", descriptors, || self.running.descriptors());
        }
    }
}
