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
//!
//! Between it and the wire there may be a [`Layer`], such as TLS: [`Client::connect_through`].
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

use crate::Layer;
#[cfg(unix)]
use crate::UnixAddr;
use sealed::Sealed;

mod sealed;

/// Bytes moved at once by [`Client::exchange`], in each direction.
const PIECE: usize = 64 << 10;

/// How long a client waits. `None` is for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// For a connection, all addresses of the server and the handshake of a layer together. Default
    /// 5 s.
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
    through: Option<Through>,
}

/// What a client has whose bytes do not pass as they are.
#[derive(Debug)]
struct Through {
    sealed: Arc<Sealed>,
    /// What came off the wire, piece by piece.
    wire: Vec<u8>,
    /// What it said, and how much of that was taken.
    plain: Vec<u8>,
    taken: usize,
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
        // Std cannot wait for this with a limit. Whoever has waited too long leaves a thread
        // behind, which waits on.
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
        Ok(Self { stream, silence, through: None })
    }

    /// [`connect`](Client::connect), and have `layer` between the wire and what is sent and
    /// received; its handshake is over when this returns. It may be one of two kinds that a reactor
    /// knows: one that stays, or one that gives way to nothing; not one that gives way to another.
    ///
    /// What the layer has to say later by itself leaves with what is sent next, before the next
    /// wait for bytes, or, in an [`exchange`](Client::exchange), at once.
    ///
    /// # Errors
    /// Those of [`connect`](Client::connect); the fault of the layer, in an error of the kind
    /// `InvalidData`; `UnexpectedEof` if the server ends before the handshake is over, and
    /// `TimedOut` if it is not over in time.
    pub fn connect_through(
        addr: impl ToSocketAddrs,
        layer: Box<dyn Layer + Send>,
        timeouts: &Timeouts,
    ) -> io::Result<Self> {
        let until = timeouts.connect.map(|limit| (Instant::now(), limit));
        Self::connect(addr, timeouts)?.put_layer(layer, until)
    }

    /// Speak through this layer from now on; what was sent before, a header of the PROXY protocol
    /// for instance, was plain.
    ///
    /// # Errors
    /// Those of [`connect_through`](Client::connect_through), but for the connection's.
    pub fn through(self, layer: Box<dyn Layer + Send>, timeouts: &Timeouts) -> io::Result<Self> {
        let until = timeouts.connect.map(|limit| (Instant::now(), limit));
        self.put_layer(layer, until)
    }

    fn put_layer(
        mut self,
        layer: Box<dyn Layer + Send>,
        until: Option<(Instant, Duration)>,
    ) -> io::Result<Self> {
        let sealed = Arc::new(Sealed::new(layer));
        let wire = vec![0; PIECE];
        self.through = Some(Through { sealed, wire, plain: Vec::new(), taken: 0 });
        self.shake_hands(until)?;
        self.stream.set_read_timeout(self.silence)?;
        self.stream.set_write_timeout(self.silence)?;
        Ok(self)
    }

    fn shake_hands(&mut self, until: Option<(Instant, Duration)>) -> io::Result<()> {
        let late = || io::Error::new(ErrorKind::TimedOut, "the handshake was not over in time");
        let Some(through) = &self.through else { return Ok(()) };
        let sealed = through.sealed.clone();
        sealed.start()?;
        loop {
            if let Some((began, limit)) = until {
                let left = limit.saturating_sub(began.elapsed());
                let left = Some(left).filter(|left| !left.is_zero()).ok_or_else(late)?;
                self.stream.set_read_timeout(Some(left))?;
                self.stream.set_write_timeout(Some(left))?;
            }
            let timed_out = |e: &io::Error| e.kind() == ErrorKind::TimedOut;
            self.flush_layer().map_err(|e| if timed_out(&e) { late() } else { e })?;
            if sealed.is_ready() {
                return Ok(());
            }
            match self.receive_some() {
                Ok(true) => {}
                Ok(false) => {
                    let text = "the server ended before the handshake did";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
                }
                Err(e) if timed_out(&e) => return Err(late()),
                Err(e) => return Err(self.give_up(e)),
            }
        }
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
        if let Some(through) = &self.through {
            through.sealed.finish();
            self.flush_layer()?;
        }
        self.stream.shutdown(Shutdown::Write)
    }

    /// Wait for bytes, and take those that are here. 0 is the server's end.
    ///
    /// # Errors
    /// A broken connection, or a server that is silent for too long. Through a layer, its fault:
    /// `InvalidData` for what cannot be right, `UnexpectedEof` for a stream that was cut short.
    pub fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(through) = &mut self.through {
            let rest = &through.plain[through.taken..];
            let n = rest.len().min(into.len());
            if n > 0 || into.is_empty() {
                into[..n].copy_from_slice(&rest[..n]);
                through.taken += n;
                return Ok(n);
            }
            self.flush_layer()?;
            if !self.receive_some().map_err(|e| self.give_up(e))? {
                return Ok(0);
            }
        }
        read(&self.stream, into)
    }

    /// Wait for bytes of the wire, and have the layer read them. `false` at the end. What was there
    /// before must have been taken.
    fn receive_some(&mut self) -> io::Result<bool> {
        let Some(Through { sealed, wire, plain, taken }) = &mut self.through else {
            return Ok(false);
        };
        *taken = 0;
        plain.clear();
        if sealed.is_over() {
            return Ok(false);
        }
        match read(&self.stream, wire)? {
            0 => sealed.eof().map(|()| false),
            n => sealed.receive(&mut wire[..n], plain).map(|()| true),
        }
    }

    /// The layer has met its end. What it says to that (an alert) is worth one try.
    fn give_up(&self, e: io::Error) -> io::Error {
        let _ = self.flush_layer();
        e
    }

    /// Send what the layer has made.
    fn flush_layer(&self) -> io::Result<()> {
        let Some(Through { sealed, .. }) = &self.through else { return Ok(()) };
        let mut bytes = Vec::new();
        sealed.take(&mut bytes);
        let mut left = &bytes[..];
        while !left.is_empty() {
            match (&self.stream).write(left) {
                Ok(n) => left = &left[n..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    sealed.put_back(left);
                    return Err(in_time(e));
                }
            }
        }
        Ok(())
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

    /// What the layer knows, if there is one of this kind.
    pub fn with_layer<L: Layer, T>(&self, look: impl FnOnce(&L) -> T) -> Option<T> {
        self.through.as_ref()?.sealed.look(look)
    }

    /// The socket, for what is not here. What is written to it passes no layer.
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
        let Some(Through { sealed, .. }) = &self.through else {
            return self.stream.write(bytes).map_err(in_time);
        };
        let piece = &bytes[..bytes.len().min(PIECE)];
        sealed.send(piece)?;
        self.flush_layer()?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read(mut stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(into) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            result => return result.map_err(in_time),
        }
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

/// The exchange: this thread receives, another sends. If there is a layer, a third reads what is to
/// be sent and has it sealed, so that neither the wire nor the input holds up what the layer says.
impl Client {
    /// Until the server ends. How the sending came out is in the channel, as soon as it has.
    fn run_both(
        mut self,
        input: impl Read + Send + 'static,
        output: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Receiver<io::Result<()>>> {
        let watch = Arc::new(Watch::new(self.silence));
        let sealed = self.through.as_ref().map(|through| through.sealed.clone());
        let sending = Sending { stream: self.stream.try_clone()?, watch: watch.clone(), sealed };
        let (told, result) = mpsc::channel();
        thread::Builder::new()
            .name("charkh-send".into())
            .spawn(move || sending.run(input, told))?;
        self.show(&watch, output)?;
        Ok(result)
    }

    fn show(
        &mut self,
        watch: &Watch,
        mut output: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            match self.next_piece(&mut piece) {
                Ok(None) => return Ok(()),
                Ok(Some([])) => watch.touch(),
                Ok(Some(bytes)) => {
                    watch.showing.store(true, Ordering::Release);
                    output(bytes)?;
                    watch.touch();
                    watch.showing.store(false, Ordering::Release);
                }
                Err(e) if e.kind() == ErrorKind::TimedOut => {
                    // As long as there is more to send, the sender is the one that waits.
                    let left = match watch.sent.load(Ordering::Acquire) {
                        true => watch.left().ok_or(e)?,
                        false => watch.silence,
                    };
                    self.stream.set_read_timeout(left)?;
                }
                // The sender has its reasons.
                Err(_) if watch.given_up.load(Ordering::Acquire) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    /// What comes next, which may be nothing if it was all for the layer. `None` at the end.
    fn next_piece<'a>(&'a mut self, piece: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        let has_rest = match &self.through {
            Some(through) => through.taken < through.plain.len(),
            None => {
                let n = read(&self.stream, piece)?;
                return Ok((n > 0).then_some(&piece[..n]));
            }
        };
        if !has_rest && !self.receive_some()? {
            return Ok(None);
        }
        Ok(self.through.as_mut().map(|Through { plain, taken, .. }| {
            let from = std::mem::replace(taken, plain.len());
            &plain[from..]
        }))
    }
}

/// The sending half of an exchange.
struct Sending {
    stream: TcpStream,
    watch: Arc<Watch>,
    sealed: Option<Arc<Sealed>>,
}

impl Sending {
    fn run(mut self, input: impl Read + Send + 'static, told: Sender<io::Result<()>>) {
        let result = self.send_all_of(input);
        let hopeless = result.as_ref().is_err_and(|e| e.kind() != ErrorKind::BrokenPipe);
        // Nobody may be there to hear it: `converse` does not wait.
        let _ = told.send(result);
        if hopeless {
            // Ends the other thread's wait. If it was the connection that broke, it knows.
            self.watch.given_up.store(true, Ordering::Release);
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }

    fn send_all_of(&mut self, mut input: impl Read + Send + 'static) -> io::Result<()> {
        // A write that was taken in part says so only when its time is over: short times keep it
        // from hiding for long that nothing moves.
        let tick = self.watch.silence.map(|silence| silence / 8);
        self.stream.set_write_timeout(tick.map(|tick| tick.max(Duration::from_millis(1))))?;
        match self.sealed.clone() {
            Some(sealed) => self.send_sealed(sealed, input)?,
            None => {
                let mut piece = vec![0; PIECE];
                while let Some(bytes) = self.watch.take_from(&mut input, &mut piece)? {
                    self.send_piece(bytes)?;
                }
            }
        }
        // It fails if the connection is broken, and then whoever receives meets that too.
        let _ = self.stream.shutdown(Shutdown::Write);
        self.watch.touch();
        self.watch.sent.store(true, Ordering::Release);
        Ok(())
    }

    /// What a third thread seals.
    fn send_sealed(
        &mut self,
        sealed: Arc<Sealed>,
        input: impl Read + Send + 'static,
    ) -> io::Result<()> {
        let sealing = Sealing { sealed: sealed.clone(), watch: self.watch.clone() };
        thread::Builder::new().name("charkh-seal".into()).spawn(move || sealing.run(input))?;
        let mut bytes = Vec::new();
        let result = loop {
            match sealed.wait(&mut bytes).map(|more| more.then_some(&bytes)) {
                Ok(None) => break Ok(()),
                Err(e) => break Err(e),
                Ok(Some(bytes)) => match self.send_piece(bytes) {
                    Ok(()) => {}
                    Err(e) => break Err(e),
                },
            }
        };
        sealed.abandon();
        result
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

/// The part of an exchange that may have to wait for the input.
struct Sealing {
    sealed: Arc<Sealed>,
    watch: Arc<Watch>,
}

impl Sealing {
    fn run(self, mut input: impl Read) {
        let mut piece = vec![0; PIECE];
        loop {
            let goes_on = match self.watch.take_from(&mut input, &mut piece) {
                Ok(None) => return self.sealed.finish(),
                Ok(Some(bytes)) => self.sealed.send_in_turn(bytes, PIECE),
                Err(e) => Err(e),
            };
            match goes_on {
                Ok(true) => {}
                Ok(false) => return,
                Err(e) => return self.sealed.fail(e),
            }
        }
    }
}

impl Drop for Sealing {
    fn drop(&mut self) {
        // Nobody may wait for one that has died. After an end that was told this is nothing.
        self.sealed.fail(io::Error::other("the sending thread died"));
    }
}

/// What the threads of an exchange know of each other.
struct Watch {
    silence: Option<Duration>,
    began: Instant,
    /// When a byte last moved, either way, in milliseconds since it began.
    moved_ms: AtomicU64,
    /// Everything, and our end.
    sent: AtomicBool,
    /// The output is at work: the server may well be waiting for us.
    showing: AtomicBool,
    /// The sender has ended it all.
    given_up: AtomicBool,
}

impl Watch {
    fn new(silence: Option<Duration>) -> Self {
        let [sent, showing, given_up] = std::array::from_fn(|_| AtomicBool::new(false));
        let (began, moved_ms) = (Instant::now(), AtomicU64::new(0));
        Self { silence, began, moved_ms, sent, showing, given_up }
    }

    /// The next piece of the input; `None` at its end.
    fn take_from<'a>(
        &self,
        input: &mut impl Read,
        piece: &'a mut [u8],
    ) -> io::Result<Option<&'a [u8]>> {
        loop {
            match input.read(piece) {
                Ok(0) => return Ok(None),
                Ok(n) => {
                    self.touch();
                    return Ok(Some(&piece[..n]));
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
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

    fn server<T: Send + 'static>(
        serve: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> (SocketAddr, JoinHandle<T>) {
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

    /// Records: a kind, a number that counts those of one side, the size of what follows, and that,
    /// with each bit the other way round. A hello is answered by a hello; `?` asks for an `!`; the
    /// last is `.`. With an attitude, it does something wrong.
    #[derive(Default)]
    struct Toy {
        attitude: &'static str,
        part: Vec<u8>,
        sent: u8,
        received: u8,
        ready: bool,
        over: bool,
        /// Of which each of them asked the other for an answer.
        asks: bool,
        answers: u32,
    }

    impl Toy {
        fn put(&mut self, kind: u8, plain: &[u8], wire: &mut Vec<u8>) {
            let size = u16::try_from(plain.len()).unwrap().to_be_bytes();
            wire.extend_from_slice(&[kind, self.sent, size[0], size[1]]);
            wire.extend(plain.iter().map(|byte| !byte));
            self.sent = self.sent.wrapping_add(1);
        }
    }

    impl Layer for Toy {
        fn start(&mut self, wire: &mut Vec<u8>) -> crate::Result {
            self.put(b'h', b"", wire);
            Ok(())
        }

        fn receive(
            &mut self,
            wire: &mut [u8],
            plain: &mut Vec<u8>,
            answer: &mut Vec<u8>,
        ) -> crate::Result {
            self.part.extend_from_slice(wire);
            while let [kind, number, high, low, body @ ..] = &self.part[..]
                && let size = usize::from(u16::from_be_bytes([*high, *low]))
                && body.len() >= size
            {
                let (kind, number) = (*kind, *number);
                plain.extend(body[..size].iter().map(|byte| !byte));
                self.part.drain(..4 + size);
                if number != self.received {
                    return Err(format!("record {number} in the place of {}", self.received).into());
                }
                self.received = self.received.wrapping_add(1);
                match kind {
                    b'h' if self.attitude == "deny" => {
                        self.put(b'x', b"", answer);
                        return Err("you are nobody".into());
                    }
                    b'h' => self.ready = true,
                    b'?' => self.put(b'!', b"", answer),
                    b'!' => self.answers += 1,
                    b'.' => self.over = true,
                    b'x' => return Err("the other side says that it has failed".into()),
                    _ => {}
                }
            }
            Ok(())
        }

        fn is_ready(&self) -> bool {
            self.ready && self.attitude != "never"
        }

        fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> crate::Result {
            for piece in plain.chunks(10_000) {
                self.put(if self.asks { b'?' } else { b'd' }, piece, wire);
            }
            Ok(())
        }

        fn is_over(&self) -> bool {
            self.over
        }

        fn eof(&mut self) -> crate::Result {
            Err("cut short".into())
        }

        fn finish(&mut self, wire: &mut Vec<u8>) {
            if self.attitude != "rude" {
                self.put(b'.', b"", wire);
            }
        }
    }

    /// The other side, which is a client too once it is there.
    fn behind(stream: TcpStream, toy: Toy) -> io::Result<Client> {
        let mut client = Client::over(stream, Timeouts::default().silence)?;
        let through = Through {
            sealed: Arc::new(Sealed::new(Box::new(toy))),
            wire: vec![0; PIECE],
            plain: Vec::new(),
            taken: 0,
        };
        client.through = Some(through);
        client.shake_hands(None)?;
        Ok(client)
    }

    fn toy_echo(stream: TcpStream, toy: Toy) -> io::Result<u32> {
        let (mut client, mut piece) = (behind(stream, toy)?, vec![0; PIECE]);
        loop {
            match client.receive(&mut piece)? {
                0 => break client.finish()?,
                n => client.send_all(&piece[..n])?,
            }
        }
        Ok(client.with_layer(|toy: &Toy| toy.answers).unwrap())
    }

    fn connect_toy(addr: SocketAddr, toy: Toy) -> io::Result<Client> {
        Client::connect_through(addr, Box::new(toy), &Timeouts::default())
    }

    fn asking() -> Toy {
        Toy { asks: true, ..Toy::default() }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn through_a_layer_an_exchange_is_larger_than_all_buffers_and_records_keep_their_order() {
        let (addr, server) = server(|stream| toy_echo(stream, asking()));
        let client = connect_toy(addr, asking()).unwrap();
        let all: Vec<u8> = (0..30_000_000_u32).map(|n| (n / 7) as u8).collect();
        let mut back = Vec::new();
        client.exchange(Cursor::new(all.clone()), |piece| back.write_all(piece)).unwrap();
        assert!(back == all);
        // Each of them answered while it sent.
        assert!(server.join().unwrap().unwrap() > 1000);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn a_layer_s_answer_waits_for_no_input() {
        let (addr, server) = server(|stream| {
            let mut client = behind(stream, asking()).unwrap();
            client.send_all(b"hello").unwrap();
            while client.with_layer(|toy: &Toy| toy.answers) == Some(0) {
                assert!(client.receive_some().unwrap());
            }
            client.finish().unwrap();
        });
        let (input, idle) = mpsc::channel();
        let (client, mut heard) = (connect_toy(addr, Toy::default()).unwrap(), Vec::new());
        client.converse(Idle(idle), |piece| heard.write_all(piece)).unwrap();
        assert_eq!(heard, b"hello");
        drop(input);
        server.join().unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn through_a_layer_each_half_ends_alone() {
        let (addr, server) = server(|stream| {
            let mut client = behind(stream, Toy::default()).unwrap();
            client.finish().unwrap();
            client.read_to_end(100).unwrap()
        });
        let mut client = connect_toy(addr, Toy::default()).unwrap();
        assert_eq!(client.receive(&mut [0; 9]).unwrap(), 0);
        assert_eq!(client.receive(&mut [0; 9]).unwrap(), 0);
        client.send_all(b"still here").unwrap();
        client.finish().unwrap();
        assert_eq!(server.join().unwrap(), b"still here");
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn a_stream_that_was_cut_short_is_no_end() {
        for exchange in [false, true] {
            let (addr, server) = server(|stream| {
                let toy = Toy { attitude: "rude", ..Toy::default() };
                let mut client = behind(stream, toy).unwrap();
                client.send_all(b"abc").unwrap();
                client.finish().unwrap();
                let _ = client.read_to_end(100);
            });
            let mut client = connect_toy(addr, Toy::default()).unwrap();
            let mut heard = Vec::new();
            let e = match exchange {
                true => client.exchange(io::empty(), |piece| heard.write_all(piece)).unwrap_err(),
                false => {
                    heard.resize(3, 0);
                    client.read_exact(&mut heard).unwrap();
                    let e = client.read_to_end(100).unwrap_err();
                    drop(client); // the other side waits for it
                    e
                }
            };
            assert_eq!(heard, b"abc");
            assert_eq!((e.kind(), e.to_string()), (ErrorKind::UnexpectedEof, "cut short".into()));
            server.join().unwrap();
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn a_handshake_may_fail_in_many_ways() {
        // The layer does not like what it sees, and says so to the other side.
        let (addr, denied) = server(|stream| toy_echo(stream, Toy::default()));
        let e = connect_toy(addr, Toy { attitude: "deny", ..Toy::default() }).unwrap_err();
        assert_eq!((e.kind(), e.to_string()), (ErrorKind::InvalidData, "you are nobody".into()));
        let e = denied.join().unwrap().unwrap_err();
        assert_eq!(e.to_string(), "the other side says that it has failed");

        let (addr, leaver) = server(|mut stream| stream.read_exact(&mut [0; 4]).unwrap());
        let e = connect_toy(addr, Toy::default()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::UnexpectedEof);
        leaver.join().unwrap();

        let late = Timeouts { connect: SOON.silence, ..Timeouts::default() };
        let (addr, chatter) = server(|mut stream| {
            // Whatever comes meanwhile.
            let mut toy = Toy::default();
            let mut record = Vec::new();
            while stream.write_all(&record).is_ok() {
                record.clear();
                toy.put(b'h', b"", &mut record);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let patient = Box::new(Toy { attitude: "never", ..Toy::default() });
        let e = Client::connect_through(addr, patient, &late).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::TimedOut);
        chatter.join().unwrap();

        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = silent.local_addr().unwrap();
        let e = Client::connect_through(addr, Box::new(Toy::default()), &late).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::TimedOut);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn through_a_layer_a_server_that_takes_nothing_is_a_timeout_and_a_dead_input_an_error() {
        struct Dies;
        impl Read for Dies {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("on purpose");
            }
        }
        fn to_the_deaf(input: impl Read + Send + 'static) -> io::Error {
            let (done, wait) = mpsc::channel::<()>();
            let (addr, server) = server(move |stream| {
                let client = behind(stream, Toy::default());
                let _ = wait.recv();
                drop(client);
            });
            let mut client = connect_toy(addr, Toy::default()).unwrap();
            client.silence = SOON.silence;
            client.stream.set_read_timeout(SOON.silence).unwrap();
            let e = client.exchange(input, |_| Ok(())).unwrap_err();
            drop(done);
            server.join().unwrap();
            e
        }
        assert_eq!(to_the_deaf(io::repeat(7)).kind(), ErrorKind::TimedOut);
        assert_eq!(to_the_deaf(Cursor::new("a")).kind(), ErrorKind::TimedOut);
        assert_eq!(to_the_deaf(Dies).to_string(), "the sending thread died");
    }

    /// Says something, and is gone.
    struct Prologue;

    impl Layer for Prologue {
        fn start(&mut self, wire: &mut Vec<u8>) -> crate::Result {
            wire.extend_from_slice(b"PROLOGUE\n");
            Ok(())
        }

        fn receive(&mut self, _: &mut [u8], _: &mut Vec<u8>, _: &mut Vec<u8>) -> crate::Result {
            Err("nothing is for me".into())
        }

        fn send(&mut self, _: &[u8], _: &mut Vec<u8>) -> crate::Result {
            Err("nothing is for me".into())
        }

        fn next(&mut self) -> crate::Next {
            crate::Next::Nothing
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs real sockets")]
    fn a_prologue_gives_way_to_nothing() {
        let (addr, server) = server(echo);
        let client = Client::connect_through(addr, Box::new(Prologue), &Timeouts::default());
        let mut back = Vec::new();
        let exchange = client.unwrap().exchange(Cursor::new("abc"), |piece| back.write_all(piece));
        exchange.unwrap();
        assert_eq!(back, b"PROLOGUE\nabc");
        server.join().unwrap();
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
