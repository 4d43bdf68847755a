//! TLS 1.2 and 1.3 by rustls, as a [`Layer`]: bytes to bytes, for both sides of a connection.
//!
//! ```no_run
//! use charkh::{Input, Peer, Protocol, Reactor, Result, tls};
//!
//! struct Greeter;
//! impl Protocol for Greeter {
//!     type Session = ();
//!     fn open(&mut self, peer: &mut Peer) {
//!         // The handshake is over: what it told is known.
//!         let name = peer.layer::<tls::Tls>().and_then(tls::Tls::server_name);
//!         println!("somebody came for {}", name.unwrap_or("nobody"));
//!     }
//!     fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
//!         peer.send(input.take_all());
//!         Ok(())
//!     }
//! }
//!
//! let config = tls::ServerConfig {
//!     cert: std::fs::read("cert.pem")?,
//!     key: std::fs::read("key.pem")?,
//!     ..tls::ServerConfig::default()
//! };
//! let server = tls::Server::new(&config)?;
//! let mut reactor = Reactor::new(Greeter)?;
//! let listening = reactor.listen("127.0.0.1:4433")?;
//! let maker = server.clone(); // `server.reload(..)` is for those who come from then on
//! reactor.layer(listening.id, move |_| maker.layer());
//! reactor.run()?;
//! # std::io::Result::Ok(())
//! ```
//!
//! Outbound, [`Client::layer`] is what
//! [`Hub::connect_through`](crate::Hub::connect_through) takes.
//!
//! # What a connection costs
//! An idle one keeps no buffer of ours: what was decrypted is with the protocol at once, and
//! nothing of it is ever left here. What rustls keeps for each is written in `docs/tls.md`. A
//! record whose rest has not come is kept, at most [`RECORD_MAX`] bytes of it; a handshake message
//! that was cut into several records is kept as a whole, up to as much from a client, or
//! [`CHAIN_MAX`] where a certificate chain may come.
//!
//! # How it ends
//! The peer's `close_notify` is its end ([`eof`](crate::Protocol::eof)); ours goes out before our
//! own half ends, and each half ends alone. A stream that ends without `close_notify` may have been
//! cut short by anybody: the connection ends with [`Reason::Fault`](crate::Reason::Fault), and
//! [`Truncated`] in it. Whatever else is wrong is told to the peer, as an alert, before the
//! connection ends with [`Failed`] as its fault; but for our own limits ([`RECORD_MAX`],
//! [`CHAIN_MAX`], records that say nothing), about which nobody is told.
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use rustls::{
    CommonState, Error, HandshakeKind, ProtocolVersion,
    client::{ClientConnectionData, UnbufferedClientConnection},
    crypto::ring,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{
        ConnectionState, EncodeError, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus,
    },
};

use crate::{Layer, Result};

mod client;
mod pem;
mod server;
mod words;

pub use client::{Client, ClientConfig, Trust};
pub use server::{Server, ServerConfig};
pub use words::Failed;

/// The longest record there may be, with its header: what a connection keeps at most of one that is
/// not whole yet.
pub const RECORD_MAX: usize = HEADER + (16 << 10) + 2048;

/// What a connection keeps at most of a handshake message that is not whole yet, where the peer may
/// show certificates: a chain of 64 KiB, with what the records around its parts take.
pub const CHAIN_MAX: usize = 80 << 10;

/// What a connection takes beside that, in bytes of memory: this layer, and the state that rustls
/// keeps, which cannot be asked; it was measured (`tests/tls/memory.rs`). A handshake that waits
/// for its end takes up to a kilobyte more.
pub const CONN_SIZE: usize = 3400;

/// Records that may come, once the handshake is over, without saying anything to the protocol: keys
/// that change, session tickets, nothing at all. Each KiB that does say something allows one more,
/// up to this many.
const SILENT_MAX: u32 = 64;

/// Records given to rustls at once; then it is asked whether they were worth it.
const RECORDS_AT_ONCE: usize = 32;

/// The kind of a record, its version, and its length.
const HEADER: usize = 5;

/// Bytes that a record may add to what it carries: the header, a nonce, a tag, a type, and some.
const OVERHEAD: usize = 64;

/// The stream ended without the peer's `close_notify`: it may have been cut short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Truncated;

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the TLS stream was cut short: it ended without close_notify")
    }
}

impl std::error::Error for Truncated {}

/// One connection's TLS. It is made by a [`Server`] or by a [`Client`]; a protocol finds it with
/// [`Peer::layer`](crate::Peer::layer), and asks it who the peer is.
pub struct Tls {
    side: Side,
    /// What came and is not dealt with: a part of a record, or records with a part of a handshake
    /// message in them. Empty, and without storage, most of the time.
    kept: Vec<u8>,
    /// Of these, the records that are whole. rustls has seen them, and changed what it likes there.
    whole: usize,
    kept_max: usize,
    /// How many records may come that say nothing.
    silent_left: u32,
    ready: bool,
    over: bool,
    finished: bool,
    failed: bool,
    server_name: Option<Box<str>>,
    /// Where the handshake leaves the name that the client asks for.
    asked_for: Option<Arc<OnceLock<Box<str>>>>,
}

// Either is in its place in the one box that the layer is.
#[allow(clippy::large_enum_variant)]
enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What rustls' two kinds of connections have in common.
trait Records {
    type Data;

    fn process<'c, 'w>(&'c mut self, wire: &'w mut [u8]) -> UnbufferedStatus<'c, 'w, Self::Data>;

    /// Something waits to be encoded.
    fn has_words(&self) -> bool;
}

impl Records for UnbufferedConnectionCommon<ClientConnectionData> {
    type Data = ClientConnectionData;

    fn process<'c, 'w>(&'c mut self, wire: &'w mut [u8]) -> UnbufferedStatus<'c, 'w, Self::Data> {
        self.process_tls_records(wire)
    }

    fn has_words(&self) -> bool {
        CommonState::wants_write(self)
    }
}

impl Records for UnbufferedConnectionCommon<ServerConnectionData> {
    type Data = ServerConnectionData;

    fn process<'c, 'w>(&'c mut self, wire: &'w mut [u8]) -> UnbufferedStatus<'c, 'w, Self::Data> {
        self.process_tls_records(wire)
    }

    fn has_words(&self) -> bool {
        CommonState::wants_write(self)
    }
}

/// What comes of records: for the protocol, for the wire, and for us.
struct Heard<'a> {
    plain: &'a mut Vec<u8>,
    answer: &'a mut Vec<u8>,
    /// Records that were for the protocol.
    spoken: usize,
    over: bool,
}

/// What goes out.
#[derive(Clone, Copy)]
enum Say<'a> {
    Data(&'a [u8]),
    CloseNotify,
}

impl Tls {
    fn new(side: Side, kept_max: usize, asked_for: Option<Arc<OnceLock<Box<str>>>>) -> Self {
        Self {
            side,
            kept: Vec::new(),
            whole: 0,
            kept_max,
            silent_left: SILENT_MAX,
            ready: false,
            over: false,
            finished: false,
            failed: false,
            server_name: None,
            asked_for,
        }
    }

    /// The protocol that both sides agreed on (ALPN).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.state().alpn_protocol()
    }

    /// The name that the client asked for (SNI). `None` on the client's own side.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The peer's certificates, DER, its own first; none if it showed none. They were checked, but
    /// for a client's that accepts anyone.
    pub fn peer_certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.state().peer_certificates().unwrap_or_default().iter().map(AsRef::as_ref)
    }

    /// `TLS 1.2` or `TLS 1.3`; `None` as long as neither is agreed on.
    pub fn version(&self) -> Option<&'static str> {
        match self.state().protocol_version()? {
            ProtocolVersion::TLSv1_3 => Some("TLS 1.3"),
            ProtocolVersion::TLSv1_2 => Some("TLS 1.2"),
            _ => None,
        }
    }

    /// The cipher suite's registered name, like `TLS_AES_128_GCM_SHA256`; `None` as long as none is
    /// agreed on.
    pub fn cipher_suite(&self) -> Option<&'static str> {
        Some(match self.state().negotiated_cipher_suite()?.suite().as_str()? {
            "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
            "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
            "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
            registered => registered,
        })
    }

    /// The handshake took up an earlier session, and was short.
    pub fn was_resumed(&self) -> bool {
        self.state().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    fn state(&self) -> &CommonState {
        match &self.side {
            Side::Client(conn) => conn,
            Side::Server(conn) => conn,
        }
    }
}

/// SHA-256 of a certificate (DER), by which it can be known again.
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    if let Some(suite) = ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13() {
        digest.copy_from_slice(suite.common.hash_provider.hash(certificate).as_ref());
    }
    digest
}

impl Layer for Tls {
    fn start(&mut self, wire: &mut Vec<u8>) -> Result {
        let mut heard = Heard { plain: &mut Vec::new(), answer: wire, spoken: 0, over: false };
        Ok(self.side.hear(&mut [], &mut heard).map(drop).map_err(Failed)?)
    }

    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, answer: &mut Vec<u8>) -> Result {
        if self.failed {
            return Err("the TLS connection has failed".into());
        }
        let before = answer.len();
        let result = self.take(wire, plain, answer);
        self.failed = result.is_err();
        if self.failed || self.over {
            (self.kept, self.whole) = (Vec::new(), 0);
        }
        if self.finished {
            answer.truncate(before); // nothing follows `close_notify`
        }
        result
    }

    fn held(&self) -> usize {
        self.kept.capacity()
    }

    fn size(&self) -> usize {
        CONN_SIZE
    }

    fn is_ready(&self) -> bool {
        self.ready
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
        match self.failed {
            true => Err("the TLS connection has failed".into()),
            false => self.side.say(Say::Data(plain), &mut self.kept, wire),
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn eof(&mut self) -> Result {
        match self.over || !self.ready {
            true => Ok(()),
            false => Err(Truncated.into()),
        }
    }

    fn finish(&mut self, wire: &mut Vec<u8>) {
        if self.ready && !self.failed && !self.finished {
            self.finished = true;
            if let Err(fault) = self.side.say(Say::CloseNotify, &mut self.kept, wire) {
                log::debug!("no close_notify: {fault}");
            }
        }
    }
}

impl Tls {
    /// Whole records are dealt with where they lie. The part of one goes to `kept`, and so do those
    /// that are a part of a handshake message; from there on each is added as it gets whole.
    fn take(&mut self, mut wire: &mut [u8], plain: &mut Vec<u8>, answer: &mut Vec<u8>) -> Result {
        while !wire.is_empty() && !self.over {
            if self.kept.is_empty() {
                let (size, records) = whole_records(wire);
                let at_once = if records < RECORDS_AT_ONCE { wire.len() } else { size };
                let (now, rest) = wire.split_at_mut(at_once);
                let used = self.deal(now, records, plain, answer)?;
                self.kept.extend_from_slice(&now[used..]);
                self.whole = size.saturating_sub(used);
                wire = rest;
            } else {
                let missing = missing(&self.kept[self.whole..]);
                let (now, rest) = wire.split_at_mut(missing.min(wire.len()));
                self.keep(now, missing);
                wire = rest;
                if now.len() == missing {
                    self.take_kept(plain, answer)?;
                }
            }
            if self.kept.len() > self.kept_max {
                return Err("a TLS handshake message is longer than it may be".into());
            }
        }
        Ok(())
    }

    /// Storage follows what came, at most twice as much, and never beyond the end of a record, or
    /// of what may be kept of a message.
    fn keep(&mut self, part: &[u8], missing: usize) {
        let len = self.kept.len();
        if len + part.len() > self.kept.capacity() {
            let most = if self.whole == 0 { missing } else { self.kept_max.saturating_sub(len) };
            self.kept.reserve_exact(len.min(most).max(part.len()));
        }
        self.kept.extend_from_slice(part);
    }

    /// A record in `kept`, or its header, is whole.
    fn take_kept(&mut self, plain: &mut Vec<u8>, answer: &mut Vec<u8>) -> Result {
        let is_whole = missing(&self.kept[self.whole..]) == 0;
        if is_whole {
            self.whole = self.kept.len();
        }
        let mut kept = std::mem::take(&mut self.kept);
        let used = self.deal(&mut kept, usize::from(is_whole), plain, answer)?;
        if used < kept.len() {
            kept.drain(..used);
            self.kept = kept;
        }
        self.whole = self.whole.saturating_sub(used);
        Ok(())
    }

    /// Give this to rustls, so many whole records. Returns how many of its bytes are done with.
    fn deal(
        &mut self,
        wire: &mut [u8],
        records: usize,
        plain: &mut Vec<u8>,
        answer: &mut Vec<u8>,
    ) -> Result<usize> {
        let before = plain.len();
        let mut heard = Heard { plain, answer, spoken: 0, over: false };
        let used = self.side.hear(wire, &mut heard).map_err(Failed)?;
        self.over |= heard.over;
        if self.ready {
            let silent = records.saturating_sub(heard.spoken) as u32;
            let earned = (plain.len() - before) as u32 >> 10;
            let left = self.silent_left.saturating_add(earned).min(SILENT_MAX);
            let left = left.checked_sub(silent);
            self.silent_left = left.ok_or("too many TLS records that say nothing")?;
        } else if !self.state().is_handshaking() {
            self.ready = true;
            let name = self.asked_for.take().and_then(|name| name.get().cloned());
            self.server_name = name;
        }
        Ok(used)
    }
}

/// Bytes that these are short of a header, or of the record behind it.
fn missing(part: &[u8]) -> usize {
    match part {
        [_, _, _, high, low, body @ ..] => {
            let size = usize::from(u16::from_be_bytes([*high, *low]));
            size.saturating_sub(body.len())
        }
        _ => HEADER - part.len(),
    }
}

/// The size of the whole records at the front, and how many these are; a bounded number.
fn whole_records(wire: &[u8]) -> (usize, usize) {
    let (mut size, mut records) = (0, 0);
    while records < RECORDS_AT_ONCE
        && let [_, _, _, high, low, body @ ..] = &wire[size..]
        && let length = usize::from(u16::from_be_bytes([*high, *low]))
        && length <= body.len()
    {
        (size, records) = (size + HEADER + length, records + 1);
    }
    (size, records)
}

impl Side {
    fn hear(&mut self, wire: &mut [u8], heard: &mut Heard<'_>) -> Result<usize, Error> {
        match self {
            Side::Client(conn) => hear(&mut **conn, wire, heard),
            Side::Server(conn) => hear(&mut **conn, wire, heard),
        }
    }

    fn say(&mut self, what: Say<'_>, kept: &mut [u8], wire: &mut Vec<u8>) -> Result {
        match self {
            Side::Client(conn) => say(&mut **conn, what, kept, wire),
            Side::Server(conn) => say(&mut **conn, what, kept, wire),
        }
    }
}

/// Until rustls wants more than there is. Nothing that was decrypted stays behind. Returns how many
/// bytes are done with. After an error the answer ends with the alert about it.
fn hear<R: Records>(conn: &mut R, wire: &mut [u8], heard: &mut Heard<'_>) -> Result<usize, Error> {
    let mut used = 0;
    loop {
        let UnbufferedStatus { mut discard, state, .. } = conn.process(&mut wire[used..]);
        let goes_on = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    heard.plain.extend_from_slice(record.payload);
                    heard.spoken += 1;
                    discard += record.discard;
                }
                true
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(heard.answer, 0, |room| data.encode(room).map_err(short_for_encoding))?;
                true
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                true
            }
            Ok(ConnectionState::PeerClosed) => {
                heard.over = true;
                true
            }
            Ok(
                ConnectionState::BlockedHandshake
                | ConnectionState::WriteTraffic(_)
                | ConnectionState::Closed,
            ) => false,
            // Early data, which is not allowed.
            Ok(_) => return Err(Error::General("TLS has come to where it cannot be".into())),
            Err(e) => {
                last_words(conn, &mut wire[used..], heard.answer);
                return Err(e);
            }
        };
        used = (used + discard).min(wire.len());
        if !goes_on {
            return Ok(used);
        }
    }
}

/// What rustls has to say after an error. It looks at no byte of the wire before it has said it.
fn last_words<R: Records>(conn: &mut R, wire: &mut [u8], answer: &mut Vec<u8>) {
    while conn.has_words()
        && let Ok(ConnectionState::EncodeTlsData(mut data)) = conn.process(wire).state
        && append(answer, 0, |room| data.encode(room).map_err(short_for_encoding)).is_ok()
    {}
}

/// `kept` is what rustls has seen of a message that is not whole.
fn say<R: Records>(conn: &mut R, what: Say<'_>, kept: &mut [u8], wire: &mut Vec<u8>) -> Result {
    loop {
        match conn.process(kept).state.map_err(Failed)? {
            ConnectionState::EncodeTlsData(mut data) => {
                append(wire, 0, |room| data.encode(room).map_err(short_for_encoding))?;
            }
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::WriteTraffic(mut traffic) => {
                let data = if let Say::Data(data) = what { data } else { &[] };
                let records = 1 + data.len() / (16 << 10);
                let guess = data.len() + records * OVERHEAD;
                append(wire, guess, |room| {
                    let written = match what {
                        Say::Data(data) => traffic.encrypt(data, room),
                        Say::CloseNotify => traffic.queue_close_notify(room),
                    };
                    written.map_err(short_for_encryption)
                })?;
                return Ok(());
            }
            _ => return Err("TLS takes nothing to send now".into()),
        }
    }
}

/// Let `write` write to the end of `wire`, at first with room for as many bytes as guessed. It
/// answers how many it wrote, or needs.
fn append(
    wire: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Short>,
) -> Result<(), Error> {
    let start = wire.len();
    wire.resize(start + guess, 0);
    loop {
        match write(&mut wire[start..]) {
            Ok(size) => {
                wire.truncate(start + size);
                return Ok(());
            }
            Err(Short::Of(size)) if size > wire.len() - start => wire.resize(start + size, 0),
            Err(short) => {
                wire.truncate(start);
                return Err(Error::General(format!("TLS cannot send this: {short:?}")));
            }
        }
    }
}

/// Why nothing was written.
#[derive(Debug)]
enum Short {
    /// That many bytes are needed.
    Of(usize),
    /// The keys have encrypted all that they may.
    OfKeys,
    /// It was written before.
    OfNews,
}

fn short_for_encoding(e: EncodeError) -> Short {
    match e {
        EncodeError::InsufficientSize(e) => Short::Of(e.required_size),
        EncodeError::AlreadyEncoded => Short::OfNews,
    }
}

fn short_for_encryption(e: EncryptError) -> Short {
    match e {
        EncryptError::InsufficientSize(e) => Short::Of(e.required_size),
        EncryptError::EncryptExhausted => Short::OfKeys,
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("version", &self.version())
            .field("cipher_suite", &self.cipher_suite())
            .field("server_name", &self.server_name)
            .field("ready", &self.ready)
            .field("over", &self.over)
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}
