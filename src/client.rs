//! The small blocking client, for tests, tools and first lessons: `std` and nothing else.
//!
//! A [`Client`] is one connection with patience: [`Timeouts`] say how long it waits. It sends,
//! ends its half, and receives until the server has ended its own:
//!
//! ```
//! use charkh::client::{Client, Timeouts};
//! # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let addr = server.local_addr()?;
//! # let server = std::thread::spawn(move || {
//! #     let (mut stream, _) = server.accept().unwrap();
//! #     std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
//! # });
//!
//! // An echo server listens at `addr`.
//! let mut client = Client::connect(addr, &Timeouts::default())?;
//! client.send_all(b"Hello Server!")?;
//! client.finish()?;
//! assert_eq!(client.read_to_end(1024)?, b"Hello Server!");
//! # server.join().unwrap();
//! # std::io::Result::Ok(())
//! ```
//!
//! Whoever sends much and is answered meanwhile must do both at once, or the two sides wait for
//! each other, each with full buffers: [`Client::exchange`] does.
#[cfg(unix)]
use std::os::{fd::OwnedFd, unix::net::UnixStream};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::{linux::net::SocketAddrExt, unix::net};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

#[cfg(unix)]
use crate::UnixAddr;

/// Bytes moved at once by [`Client::exchange`], in each direction.
const PIECE: usize = 64 << 10;

/// How long a client waits. `None` is for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// For a connection, all addresses of the server together. Default 5 s.
    pub connect: Option<Duration>,
    /// For the server to send a byte that is waited for, or to take one. Default 10 s.
    pub silence: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Some(Duration::from_secs(5)), silence: Some(Duration::from_secs(10)) }
    }
}

/// One connection to a server, on a thread that may wait.
///
/// A wait that takes longer than [`Timeouts::silence`] ends with
/// [`TimedOut`](ErrorKind::TimedOut).
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    silence: Option<Duration>,
}

impl Client {
    /// Connect to the first address that `addr` resolves to and that answers. Each address is
    /// given a fair part of the time that is left, so that a dead one does not use it up.
    ///
    /// # Errors
    /// That of the last address tried; `InvalidInput` if there was none.
    pub fn connect(addr: impl ToSocketAddrs, timeouts: &Timeouts) -> io::Result<Self> {
        let addrs: Vec<SocketAddr> = addr.to_socket_addrs()?.collect();
        let began = Instant::now();
        let mut failed = io::Error::new(ErrorKind::InvalidInput, "no address to connect to");
        for (tried, addr) in addrs.iter().enumerate() {
            let connected = match timeouts.connect {
                None => TcpStream::connect(addr),
                Some(limit) => {
                    let left = limit.saturating_sub(began.elapsed());
                    let part = left / u32::try_from(addrs.len() - tried).unwrap_or(u32::MAX);
                    // A timeout of zero is refused as a mistake; here it is one that has passed.
                    TcpStream::connect_timeout(addr, part.max(Duration::from_millis(1)))
                }
            };
            match connected {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Self::over(stream, timeouts.silence);
                }
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }

    /// Connect to a unix socket. [`local_addr`](Client::local_addr) and
    /// [`peer_addr`](Client::peer_addr) are errors then, as is what else only TCP has.
    ///
    /// # Errors
    /// What the system says; `TimedOut` if the server's backlog is full and stays so.
    #[cfg(unix)]
    pub fn connect_unix(addr: &UnixAddr, timeouts: &Timeouts) -> io::Result<Self> {
        let (told, result) = mpsc::channel();
        let addr = addr.clone();
        // Std cannot wait for this with a limit. Whoever has waited too long leaves a thread behind,
        // which waits on.
        thread::Builder::new().name("charkh-connect".into()).spawn(move || {
            let _ = told.send(connect_unix(&addr));
        })?;
        let limit = timeouts.connect.unwrap_or(Duration::MAX);
        let stream = result.recv_timeout(limit).map_err(|_| ErrorKind::TimedOut)??;
        Self::over(stream, timeouts.silence)
    }

    fn over(stream: TcpStream, silence: Option<Duration>) -> io::Result<Self> {
        let silence = silence.map(|silence| silence.max(Duration::from_millis(1)));
        stream.set_read_timeout(silence)?;
        stream.set_write_timeout(silence)?;
        Ok(Self { stream, silence })
    }

    /// Send all of `bytes`.
    ///
    /// # Errors
    /// A broken connection, or a server that takes nothing for too long.
    pub fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    /// End our half: the server reads an end after what was sent, and can still answer.
    ///
    /// # Errors
    /// A connection that is broken already.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Wait for bytes, and take those that are here. 0 is the server's end.
    ///
    /// # Errors
    /// A broken connection, or a server that is silent for too long.
    pub fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(into) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return result.map_err(in_time),
            }
        }
    }

    /// Receive exactly as many bytes as `into` has room for.
    ///
    /// # Errors
    /// Those of [`receive`](Client::receive), and `UnexpectedEof` if the server ends before.
    pub fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        Read::read_exact(self, into)
    }

    /// Receive until the server ends, at most `max` bytes.
    ///
    /// # Errors
    /// Those of [`receive`](Client::receive), and `FileTooLarge` if more than `max` bytes come.
    pub fn read_to_end(&mut self, max: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut piece = vec![0; PIECE];
        loop {
            match self.receive(&mut piece)? {
                0 => return Ok(all),
                n if n > max - all.len() => {
                    let text = format!("the server sent more than {max} bytes");
                    return Err(io::Error::new(ErrorKind::FileTooLarge, text));
                }
                n => all.extend_from_slice(&piece[..n]),
            }
        }
    }

    /// Send all of `input` and end our half, while `output` is given what comes, piece by piece;
    /// until both sides have ended. Memory is bounded, whatever the length of either.
    ///
    /// A second thread reads `input` and sends it. Silence is counted from the last byte that
    /// moved in either direction, while there is something to wait for: an answer, once all was
    /// sent, or room for what is to be sent. An `input` or an `output` that takes its time is
    /// waited for.
    ///
    /// ```
    /// # use charkh::client::{Client, Timeouts};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let addr = server.local_addr()?;
    /// # let server = std::thread::spawn(move || {
    /// #     let (mut stream, _) = server.accept().unwrap();
    /// #     std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
    /// # });
    /// // 10 MB to an echo server and back: more than all buffers between the two can hold.
    /// let client = Client::connect(addr, &Timeouts::default())?;
    /// let input = std::io::Cursor::new(vec![7; 10_000_000]);
    /// let mut back = Vec::new();
    /// client.exchange(input, |piece| std::io::Write::write_all(&mut back, piece))?;
    /// assert_eq!(back.len(), 10_000_000);
    /// # server.join().unwrap();
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// Those of `input`, of `output` and of the connection; `BrokenPipe` if the server closes
    /// before everything was sent.
    pub fn exchange(
        self,
        input: impl Read + Send + 'static,
        output: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let sender = self.run_both(input, output)?;
        // Whoever sends on after our end is heard no more, but may still be listening.
        sender.recv().unwrap_or_else(|_| Err(io::Error::other("the sending thread died")))
    }

    /// [`exchange`](Client::exchange), but it ends as soon as the server does, even if `input`
    /// has not: for somebody at a keyboard. The thread that waits for `input` is left behind; it
    /// ends with the next that comes, or with the program.
    ///
    /// # Errors
    /// Those of [`exchange`](Client::exchange), as far as they are known by then.
    pub fn converse(
        self,
        input: impl Read + Send + 'static,
        output: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.run_both(input, output)?.try_recv().unwrap_or(Ok(()))
    }

    /// The address of our end.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// The server's address, as it was reached.
    ///
    /// # Errors
    /// What the system says of a connection that is broken.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// The socket, for what is not here.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Read for Client {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.receive(into)
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes).map_err(in_time)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nothing here asks for more than any socket has, so it passes for one of TCP.
#[cfg(unix)]
fn connect_unix(addr: &UnixAddr) -> io::Result<TcpStream> {
    let stream = match addr {
        UnixAddr::Path(path) => UnixStream::connect(path)?,
        #[cfg(any(target_os = "linux", target_os = "android"))]
        UnixAddr::Abstract(name) => {
            UnixStream::connect_addr(&net::SocketAddr::from_abstract_name(name)?)?
        }
        _ => {
            let text = format!("there is no way to connect to {addr}");
            return Err(io::Error::new(ErrorKind::InvalidInput, text));
        }
    };
    Ok(OwnedFd::from(stream).into())
}

/// Unix says of a timeout that the call would block, Windows that it timed out.
fn in_time(e: io::Error) -> io::Error {
    match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            io::Error::new(ErrorKind::TimedOut, "the server was silent for too long")
        }
        _ => e,
    }
}

/// The exchange: this thread receives, another sends.
impl Client {
    /// Until the server ends. How the sending came out is in the channel, as soon as it has.
    fn run_both(
        self,
        input: impl Read + Send + 'static,
        output: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Receiver<io::Result<()>>> {
        let watch = Arc::new(Watch::new(self.silence));
        let sending = Sending { stream: self.stream.try_clone()?, watch: watch.clone() };
        let (told, result) = mpsc::channel();
        thread::Builder::new()
            .name("charkh-send".into())
            .spawn(move || sending.run(input, told))?;
        self.show(&watch, output)?;
        Ok(result)
    }

    fn show(
        &self,
        watch: &Watch,
        mut output: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut stream = &self.stream;
        let mut piece = vec![0; PIECE];
        loop {
            match stream.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    watch.showing.store(true, Ordering::Release);
                    output(&piece[..n])?;
                    watch.touch();
                    watch.showing.store(false, Ordering::Release);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    let e = in_time(e);
                    if e.kind() != ErrorKind::TimedOut {
                        return Err(e);
                    }
                    // As long as there is more to send, the sender is the one that waits.
                    let left = match watch.sent.load(Ordering::Acquire) {
                        true => watch.left().ok_or(e)?,
                        false => watch.silence,
                    };
                    stream.set_read_timeout(left)?;
                }
            }
        }
    }
}

/// The sending half of an exchange.
struct Sending {
    stream: TcpStream,
    watch: Arc<Watch>,
}

impl Sending {
    fn run(mut self, mut input: impl Read, told: Sender<io::Result<()>>) {
        let result = self.send_all_of(&mut input);
        let hopeless = result.as_ref().is_err_and(|e| e.kind() != ErrorKind::BrokenPipe);
        // Nobody may be there to hear it: `converse` does not wait.
        let _ = told.send(result);
        if hopeless {
            // Ends the other thread's wait. If it was the connection that broke, it knows.
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }

    fn send_all_of(&mut self, input: &mut impl Read) -> io::Result<()> {
        // A write that was taken in part says so only when its time is over: short times keep it
        // from hiding for long that nothing moves.
        let tick = self.watch.silence.map(|silence| silence / 8);
        self.stream.set_write_timeout(tick.map(|tick| tick.max(Duration::from_millis(1))))?;
        let mut piece = vec![0; PIECE];
        loop {
            let n = match input.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            self.watch.touch();
            self.send_piece(&piece[..n])?;
        }
        // It fails if the connection is broken, and then whoever receives meets that too.
        let _ = self.stream.shutdown(Shutdown::Write);
        self.watch.touch();
        self.watch.sent.store(true, Ordering::Release);
        Ok(())
    }

    fn send_piece(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes).map_err(in_time) {
                Ok(n) => {
                    bytes = &bytes[n..];
                    self.watch.touch();
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::TimedOut => drop(self.watch.left().ok_or(e)?),
                Err(_) => {
                    let text = "the server closed before everything was sent";
                    return Err(io::Error::new(ErrorKind::BrokenPipe, text));
                }
            }
        }
        Ok(())
    }
}

/// What the two threads of an exchange know of each other.
struct Watch {
    silence: Option<Duration>,
    began: Instant,
    /// When a byte last moved, either way, in milliseconds since it began.
    moved_ms: AtomicU64,
    /// Everything, and our end.
    sent: AtomicBool,
    /// The output is at work: the server may well be waiting for us.
    showing: AtomicBool,
}

impl Watch {
    fn new(silence: Option<Duration>) -> Self {
        let (sent, showing) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { silence, began: Instant::now(), moved_ms: AtomicU64::new(0), sent, showing }
    }

    fn touch(&self) {
        let ms = self.began.elapsed().as_millis();
        self.moved_ms.store(ms.try_into().unwrap_or(u64::MAX), Ordering::Release);
    }

    /// How long it may still be silent, never zero; `None` if that is over. Without a limit it is
    /// `Some(None)`, as the socket wants to be told.
    fn left(&self) -> Option<Option<Duration>> {
        let Some(silence) = self.silence else { return Some(None) };
        if self.showing.load(Ordering::Acquire) {
            return Some(Some(silence));
        }
        let moved = Duration::from_millis(self.moved_ms.load(Ordering::Acquire));
        let quiet = self.began.elapsed().saturating_sub(moved);
        let left = silence.checked_sub(quiet).filter(|left| !left.is_zero())?;
        Some(Some(left.max(Duration::from_millis(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Cursor,
        net::TcpListener,
        thread::{JoinHandle, spawn},
    };

    const SOON: Timeouts = Timeouts {
        connect: Some(Duration::from_secs(5)),
        silence: Some(Duration::from_millis(50)),
    };

    fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        (addr, spawn(move || serve(listener.accept().unwrap().0)))
    }

    fn echo(mut stream: TcpStream) {
        io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
    }

    /// Nothing but pauses, until it is dropped.
    struct Idle(Receiver<()>);

    impl Read for Idle {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.0.recv().map_or(Ok(0), |()| Ok(0))
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn an_exchange_is_larger_than_all_buffers() {
        let (addr, server) = server(echo);
        let client = Client::connect(addr, &Timeouts::default()).unwrap();
        let all: Vec<u8> = (0..30_000_000_u32).map(|n| (n / 7) as u8).collect();
        let mut back = Vec::new();
        let keep = |piece: &[u8]| back.write_all(piece);
        client.exchange(Cursor::new(all.clone()), keep).unwrap();
        assert!(back == all);
        server.join().unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn too_much_is_an_error_and_exactly_enough_is_not() {
        for (max, fits) in [(2, false), (3, true)] {
            let (addr, server) = server(echo);
            let mut client = Client::connect(addr, &Timeouts::default()).unwrap();
            client.send_all(b"abc").unwrap();
            client.finish().unwrap();
            assert_eq!(client.read_to_end(max).is_ok(), fits);
            server.join().unwrap();
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn silence_is_a_timeout_once_all_is_sent() {
        let e = to_the_deaf(Cursor::new("a"));
        assert_eq!(e.kind(), ErrorKind::TimedOut);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn a_server_that_takes_nothing_is_a_timeout() {
        let e = to_the_deaf(io::repeat(7));
        assert_eq!(e.kind(), ErrorKind::TimedOut);
    }

    fn to_the_deaf(input: impl Read + Send + 'static) -> io::Error {
        let (done, wait) = mpsc::channel::<()>();
        let (addr, server) = server(move |stream| {
            let _ = wait.recv();
            drop(stream);
        });
        let client = Client::connect(addr, &SOON).unwrap();
        let e = client.exchange(input, |_| Ok(())).unwrap_err();
        drop(done);
        server.join().unwrap();
        e
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn an_idle_input_is_not_silence_and_the_end_of_a_talk_does_not_wait_for_it() {
        let (addr, server) = server(|mut stream| {
            thread::sleep(Duration::from_millis(300)); // several times the silence allowed
            stream.write_all(b"bye").unwrap();
        });
        let (input, idle) = mpsc::channel();
        let client = Client::connect(addr, &SOON).unwrap();
        let mut heard = Vec::new();
        let hear = |piece: &[u8]| heard.write_all(piece);
        client.converse(Idle(idle), hear).unwrap();
        assert_eq!(heard, b"bye");
        drop(input);
        server.join().unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn a_server_that_leaves_early_is_an_error() {
        let (addr, server) = server(|mut stream| {
            stream.read_exact(&mut [0; 10]).unwrap();
        });
        let client = Client::connect(addr, &Timeouts::default()).unwrap();
        let e = client.exchange(io::repeat(7), |_| Ok(())).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{e:?}");
        server.join().unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn errors_of_input_and_output_come_back() {
        struct Bad;
        impl Read for Bad {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("bad input"))
            }
        }
        let (addr, input) = server(echo);
        let client = Client::connect(addr, &Timeouts::default()).unwrap();
        let e = client.exchange(Bad, |_| Ok(())).unwrap_err();
        assert_eq!(e.to_string(), "bad input");
        input.join().unwrap();

        let (addr, output) = server(echo);
        let client = Client::connect(addr, &Timeouts::default()).unwrap();
        let bad = |_: &[u8]| Err(io::Error::other("bad output"));
        let e = client.exchange(Cursor::new("a"), bad).unwrap_err();
        assert_eq!(e.to_string(), "bad output");
        output.join().unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn every_address_is_tried() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (addr, server) = server(echo);
        let client = Client::connect(&[closed, addr][..], &Timeouts::default()).unwrap();
        assert_eq!(client.peer_addr().unwrap(), addr);
        drop(client);
        server.join().unwrap();
        let e = Client::connect(&[][..], &Timeouts::default()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput);
    }
}
