//! `charkh send`.
use std::io::{self, Cursor, ErrorKind, IsTerminal, Read, StdoutLock, Write};

use charkh::{
    client::{Client, Timeouts},
    proxy::SendProxy,
};

use super::{
    address::Endpoint,
    args::SendArgs,
    send_udp,
    text::Text,
    tls::{self, ServerIs},
    units::{self, Maybe, Span, reason},
};

pub(crate) fn run(args: &SendArgs) -> Result<(), String> {
    let endpoint = match args.to.parse()? {
        Endpoint::Tcp(address) if args.udp => Endpoint::Udp(address),
        Endpoint::Udp(address) => Endpoint::Udp(address),
        endpoint if args.udp => return Err(format!("--udp sends no datagrams to {endpoint}")),
        endpoint => args.tls.applied(endpoint),
    };
    if let (Endpoint::Unix(_), Some(_)) = (&endpoint, args.proxy_header()) {
        return Err(format!("--proxy-header speaks of addresses of TCP, and {endpoint} has none"));
    }
    let server = args.tls.to(&endpoint, false)?;
    if let Endpoint::Udp(address) = &endpoint {
        return send_udp::run(args, address);
    }
    let timeouts = args.timeouts();
    let client = connect(args, &endpoint, server.as_ref(), &timeouts)?;
    let mut shown = Shown::new(args, server.is_none());
    let show = |piece: &[u8]| shown.show(piece);
    let result = match &args.message {
        Some(text) => client.exchange(Cursor::new(text.as_encoded_bytes().to_vec()), show),
        // Somebody at a keyboard should not have to end a talk that the server has ended.
        None if io::stdin().is_terminal() => client.converse(Input(io::stdin()), show),
        None => client.exchange(Input(io::stdin()), show),
    };
    let result = result.and(shown.end());
    if shown.nobody_reads {
        return Ok(());
    }
    result.map_err(|e| match e.kind() {
        ErrorKind::TimedOut => {
            let limit = Maybe(timeouts.silence.map(Span));
            format!("{endpoint} was silent for {limit} (--timeout)")
        }
        _ => format!("{}{}", reason(&e), tls::explain(&e)),
    })?;
    match args.message.is_some() && !args.raw && !shown.began {
        true => Err("the server closed without an answer".into()),
        false => Ok(()),
    }
}

/// What a balancer says before its client's first byte, if that was asked for.
fn send_header(args: &SendArgs, client: &mut Client) -> io::Result<()> {
    let Some(version) = args.proxy_header() else { return Ok(()) };
    let named = args.proxy_client.map_or_else(|| client.local_addr(), Ok)?;
    let header = SendProxy::new(version, named, client.peer_addr()?);
    client.send_all(header.header())
}

fn connect(
    args: &SendArgs,
    endpoint: &Endpoint,
    server: Option<&ServerIs>,
    timeouts: &Timeouts,
) -> Result<Client, String> {
    let layer = server.map(ServerIs::layer).transpose()?;
    let (connected, reason): (_, fn(&io::Error) -> String) = match endpoint {
        Endpoint::Tcp(address) | Endpoint::Tls(address) => {
            (Client::connect(&address.resolve()?[..], timeouts), reason)
        }
        #[cfg(unix)]
        Endpoint::Unix(path) => {
            (Client::connect_unix(&Endpoint::unix(path), timeouts), units::unix_reason)
        }
        _ => return Err(format!("cannot connect to {endpoint}: this is not spoken yet")),
    };
    let connected = connected.and_then(|mut client| {
        send_header(args, &mut client)?;
        match layer {
            Some(layer) => client.through(layer, timeouts),
            None => Ok(client),
        }
    });
    connected.map_err(|e| {
        let limit = Maybe(timeouts.connect.map(Span));
        match e.kind() {
            // The system's own error has nothing in it.
            ErrorKind::TimedOut if e.get_ref().is_none() => {
                format!("cannot connect to {endpoint}: no answer for {limit}")
            }
            ErrorKind::TimedOut => {
                format!("cannot connect to {endpoint}: no handshake of TLS within {limit}")
            }
            _ => format!("cannot connect to {endpoint}: {}{}", reason(&e), tls::explain(&e)),
        }
    })
}

/// Standard input, with errors that say so.
struct Input<R>(R);

impl<R: Read> Read for Input<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).map_err(|e| match e.kind() {
            ErrorKind::Interrupted => e,
            _ => io::Error::other(format!("cannot read standard input: {}", reason(&e))),
        })
    }
}

/// What came, on standard output.
pub(crate) struct Shown {
    out: Out,
    label: &'static str,
    /// No TLS is spoken.
    plain: bool,
    began: bool,
    pub(crate) nobody_reads: bool,
}

enum Out {
    Raw(StdoutLock<'static>),
    Text(Text<StdoutLock<'static>>),
}

impl Shown {
    pub(crate) fn new(args: &SendArgs, plain: bool) -> Self {
        let stdout = io::stdout().lock();
        let out = if args.raw { Out::Raw(stdout) } else { Out::Text(Text::new(stdout)) };
        // An answer to one message is told apart from it; a talk reads better without.
        let label = if args.message.is_some() { "Received from server: " } else { "" };
        Self { out, label, plain, began: false, nobody_reads: false }
    }

    pub(crate) fn show(&mut self, piece: &[u8]) -> io::Result<()> {
        // An alert about what it was sent, which is no TLS.
        if self.plain && !self.began && matches!(piece, [21, 3, _, 0, 2, _, _]) {
            return Err(io::Error::other("the server speaks TLS: add --tls"));
        }
        let label = if self.began { "" } else { self.label };
        self.began = true;
        let written = match &mut self.out {
            Out::Raw(out) => out.write_all(piece).and_then(|()| out.flush()),
            Out::Text(text) => text.show(label.as_bytes()).and_then(|()| text.show(piece)),
        };
        self.check(written)
    }

    /// End the line, if one was begun.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        let written = match &mut self.out {
            Out::Raw(out) => out.flush(),
            Out::Text(text) => text.end(),
        };
        self.check(written)
    }

    fn check(&mut self, written: io::Result<()>) -> io::Result<()> {
        written.map_err(|e| {
            self.nobody_reads |= e.kind() == ErrorKind::BrokenPipe;
            io::Error::other(format!("cannot write to standard output: {}", reason(&e)))
        })
    }
}
