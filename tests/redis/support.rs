//! A server on a thread of its own, and those who talk to it.
use std::{
    env,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use charkh::{Handle, Reactor};

use crate::redis::{Redis, Settings, limits};

/// After that a test has failed. Nothing that works takes a part of it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// When the servers of the tests began, in milliseconds since 1970.
pub const EPOCH: Duration = Duration::from_secs(1_700_000_000);

pub struct Server {
    pub addr: SocketAddr,
    handle: Handle<Redis>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn new() -> Self {
        Self::with(EPOCH, Settings::default())
    }

    pub fn with(epoch: Duration, settings: Settings) -> Self {
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let config = limits(&settings);
            let redis = Redis::new(settings, epoch, 7);
            let mut reactor = Reactor::with_config(redis, config).unwrap();
            let addr = reactor.listen("127.0.0.1:0").unwrap().addr.socket_addr().unwrap();
            tell.send((addr, reactor.handle())).unwrap();
            reactor.run().unwrap();
        });
        let (addr, handle) = told.recv().unwrap();
        Self { addr, handle, thread: Some(thread) }
    }

    pub fn client(&self) -> Client {
        Client::to(self.addr)
    }

    /// What somebody hears who says this and reads until the end.
    pub fn hears(&self, says: &[u8]) -> String {
        let mut client = self.client();
        client.say(says);
        client.rest()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Twice: nobody is waited for.
        let _ = self.handle.stop();
        let _ = self.handle.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the server has panicked");
    }
}

pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub fn to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn hear(&mut self, wanted: &str) {
        let mut bytes = vec![0; wanted.len()];
        let result = self.stream.read_exact(&mut bytes);
        assert_eq!(String::from_utf8_lossy(&bytes), wanted, "{result:?}");
    }

    /// A command as a line, and its whole answer.
    pub fn ask(&mut self, line: &str) -> String {
        self.say(format!("{line}\r\n").as_bytes());
        self.answer()
    }

    pub fn asks(&mut self, line: &str, wanted: &str) {
        assert_eq!(self.ask(line), wanted, "{line}");
    }

    /// One answer, with all that is in it.
    pub fn answer(&mut self) -> String {
        let head = self.line();
        let mut text = head.clone();
        let number = head[1..].trim_end().parse().unwrap_or(0_i64).max(0) as usize;
        match head.as_bytes()[0] {
            b'$' | b'=' if !head.starts_with("$-") => {
                let mut bytes = vec![0; number + 2];
                self.stream.read_exact(&mut bytes).unwrap();
                text += &String::from_utf8_lossy(&bytes);
            }
            b'*' | b'~' | b'>' => (0..number).for_each(|_| text += &self.answer()),
            b'%' => (0..2 * number).for_each(|_| text += &self.answer()),
            _ => {}
        }
        text
    }

    pub fn line(&mut self) -> String {
        let (mut bytes, mut byte) = (Vec::new(), [0]);
        while !bytes.ends_with(b"\r\n") {
            let result = self.stream.read_exact(&mut byte);
            assert!(result.is_ok(), "{result:?} after {}", String::from_utf8_lossy(&bytes));
            bytes.push(byte[0]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Up to the end of the connection, whichever end.
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::ConnectionReset, "{bytes:?}"),
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A process that is ended with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Redis itself; `None` where it is not installed.
pub fn real_redis() -> Option<(Running, SocketAddr)> {
    if !is_installed("redis-server") {
        return None;
    }
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = probe.local_addr().unwrap();
    drop(probe);
    let port = addr.port().to_string();
    let args = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    let mut command = Command::new("redis-server");
    command.args(args).args(["--dir", "/tmp"]).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().unwrap());
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(addr).is_err() {
        assert!(Instant::now() < end, "redis-server does not listen");
        thread::sleep(Duration::from_millis(5));
    }
    Some((running, addr))
}

/// Whether there is such a program. That there is none is said, for a test that is left out looks
/// like one that has passed.
pub fn is_installed(program: &str) -> bool {
    let found = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).is_file());
    if !found {
        eprintln!("LEFT OUT: {program} is not installed");
    }
    found
}

/// Where `.ci/run` puts what it installs.
pub fn tools() -> PathBuf {
    let folder = env::var_os("CHARKH_TOOLS").map(PathBuf::from);
    folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"))
}
