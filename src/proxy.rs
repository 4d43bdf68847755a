//! The PROXY protocol, versions 1 and 2: a balancer in front says whom it speaks for.
//!
//! Whoever stands behind a balancer has one client, the balancer. So that it knows the true ones,
//! each connection begins with a header that names them. [`AcceptProxy`] reads it: from then on
//! [`Peer::addr`](crate::Peer::addr) is the true client, and limits per address count that.
//!
//! Anybody can write such a header, so it is required from those who are trusted and refused from
//! all others, and nobody's first bytes are looked at to guess which it is:
//!
//! ```
//! # use charkh::{Input, Peer, Protocol, Reactor, Result};
//! # struct Echo;
//! # impl Protocol for Echo {
//! #     type Session = ();
//! #     fn open(&mut self, _: &mut Peer) {}
//! #     fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
//! #         peer.send(input.take_all());
//! #         Ok(())
//! #     }
//! # }
//! use charkh::proxy::TrustedProxies;
//!
//! let mut reactor = Reactor::new(Echo)?;
//! let listening = reactor.listen("127.0.0.1:0")?;
//! let trusted: TrustedProxies = "10.1.0.0/16,fd00:1::/64".parse()?;
//! reactor.layer(listening.id, move |addr| Ok(Box::new(trusted.accept(addr)?)));
//! # Ok::<(), charkh::Fault>(())
//! ```
//!
//! [`SendProxy`] is the other side of it: it says whom a connection to another server is for.
//!
//! The protocol is HAProxy's: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use crc::{CRC_32_ISCSI, Crc};
use ipnet::IpNet;
use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader};

use crate::{
    Result,
    addr::Addr,
    layer::{Layer, Next, Origin},
};

/// How a header of version 1 begins, which is a line of text.
const V1_START: &[u8] = b"PROXY ";

/// How long such a line may be, its CRLF included: the longest that there can be.
const V1_MAX: usize = 107;

/// How a header of version 2 begins: nothing that another protocol begins with.
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The part of it that says how long the rest is.
const V2_FIXED: usize = 16;

/// What a header of version 2 may carry beside addresses: a checksum of all of it.
const TLV_CRC32C: u8 = 3;

static CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Those whose word on the client's address is taken, as networks: `10.0.0.0/8,fd00::/8,192.0.2.1`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Whether one of the networks has this address. An IPv4 address in its IPv6 form is an IPv4
    /// address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// The layer for a connection from this address, to be made in
    /// [`Reactor::layer`](crate::Reactor::layer).
    ///
    /// # Errors
    /// Whoever is there is not trusted: the connection is to be refused.
    pub fn accept(&self, addr: &Addr) -> Result<AcceptProxy> {
        match addr.ip().is_some_and(|ip| self.contains(ip)) {
            true => Ok(AcceptProxy::new()),
            false => Err("it is not a trusted proxy".into()),
        }
    }
}

/// Networks and single addresses, with commas in between.
impl FromStr for TrustedProxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|part| network(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

/// All that are trusted by one or another.
impl FromIterator<TrustedProxies> for TrustedProxies {
    fn from_iter<T: IntoIterator<Item = TrustedProxies>>(all: T) -> Self {
        Self(all.into_iter().flat_map(|trusted| trusted.0).collect())
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(IpNet::to_string).collect();
        f.write_str(&all.join(","))
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let none = || format!("{text:?} is no network: write 10.0.0.0/8, fd00::/8 or 192.0.2.1");
    let network = match text.contains('/') {
        true => text.parse().map_err(|_| none())?,
        false => IpNet::from(text.parse::<IpAddr>().map_err(|_| none())?),
    };
    let instead = match (network, network.addr().to_canonical()) {
        // Clients of an IPv6 listener that have IPv4 addresses are known by those.
        (IpNet::V6(network), IpAddr::V4(ip)) if network.prefix_len() >= 96 => {
            IpNet::new(ip.into(), network.prefix_len() - 96).map_err(|_| none())?.trunc()
        }
        _ => network.trunc(),
    };
    match instead == network {
        true => Ok(network),
        false => Err(format!("{text:?} says more than a network: write {instead}")),
    }
}

/// Reads the header that a connection begins with, and gives way to what comes after it.
///
/// Either version will do. One that is not as it should be ends the connection, at the first byte
/// that shows it; so does a checksum that does not fit. Nothing is given to anybody before the
/// header is whole. Where the header names nobody (health checks of the balancer itself, `LOCAL`;
/// clients of a unix socket, `UNKNOWN`) the address stays the balancer's, and is not counted
/// against [`Config::conns_per_ip`](crate::Config::conns_per_ip).
///
/// How long a header may take is [`Config::handshake`](crate::Config::handshake).
pub struct AcceptProxy {
    header_max: usize,
    next: Option<Box<dyn Layer>>,
    /// What has come of the header.
    seen: Vec<u8>,
    origin: Origin,
}

impl AcceptProxy {
    /// The default of [`header_max`](AcceptProxy::header_max).
    pub const HEADER_MAX: usize = 4096;

    /// Believes whoever is there: for connections that only a proxy can have made. Others ask
    /// [`TrustedProxies::accept`].
    pub fn new() -> Self {
        Self { header_max: Self::HEADER_MAX, next: None, seen: Vec::new(), origin: Origin::Unknown }
    }

    /// How many bytes a header of version 2 may have, its first 16 included. One that says that it
    /// is longer ends the connection. Default 4096: addresses take 232 at most, and what else a
    /// balancer tells of a TLS client has room. (Version 1 has at most 107.)
    pub fn header_max(self, bytes: usize) -> Self {
        Self { header_max: bytes, ..self }
    }

    /// What reads all that comes after the header: TLS, for instance. Without it that is the
    /// protocol.
    pub fn then(self, next: Box<dyn Layer>) -> Self {
        Self { next: Some(next), ..self }
    }
}

impl Default for AcceptProxy {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AcceptProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptProxy").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Layer for AcceptProxy {
    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, _: &mut Vec<u8>) -> Result {
        if self.is_ready() {
            plain.extend_from_slice(wire);
            return Ok(());
        }
        self.seen.extend_from_slice(wire);
        if let Some(size) = header_size(&self.seen, self.header_max)?
            && let Some((header, rest)) = self.seen.split_at_checked(size)
        {
            self.origin = read(header)?.map_or(Origin::Wire, |addr| Origin::Named(addr.into()));
            plain.extend(rest);
            self.seen = Vec::new();
        }
        Ok(())
    }

    fn held(&self) -> usize {
        self.seen.capacity()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.next.as_ref().map_or(0, |next| next.size())
    }

    fn is_ready(&self) -> bool {
        self.origin != Origin::Unknown
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
        wire.extend(plain);
        Ok(())
    }

    fn eof(&mut self) -> Result {
        match (self.is_ready(), self.seen.is_empty()) {
            (true, _) => Ok(()),
            (false, true) => Err("the peer ended without a PROXY header".into()),
            (false, false) => Err("the peer ended within its PROXY header".into()),
        }
    }

    fn next(&mut self) -> Next {
        match self.is_ready() {
            true => self.next.take().map_or(Next::Nothing, Next::Layer),
            false => Next::Same,
        }
    }

    fn origin(&self) -> Origin {
        self.origin.clone()
    }
}

/// How long the header is that begins like this, as soon as that can be told.
fn header_size(seen: &[u8], max: usize) -> Result<Option<usize>> {
    let begins = |start: &[u8]| seen.iter().zip(start).all(|(a, b)| a == b);
    if begins(V2_START) {
        return v2_size(seen, max);
    }
    if begins(V1_START) {
        return v1_size(seen);
    }
    Err("no PROXY header came first".into())
}

fn v1_size(seen: &[u8]) -> Result<Option<usize>> {
    let line = &seen[..seen.len().min(V1_MAX)];
    let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(line.len());
    match &line[end..] {
        [b'\r', b'\n', ..] => Ok(Some(end + 2)),
        [] | [b'\r'] if line.len() < V1_MAX => Ok(None),
        [] | [b'\r'] => Err("a PROXY header without CRLF in its first 107 bytes".into()),
        _ => Err("a PROXY header whose line does not end with CRLF".into()),
    }
}

fn v2_size(seen: &[u8], max: usize) -> Result<Option<usize>> {
    let Some(&[version, _, high, low]) = seen.get(V2_START.len()..V2_FIXED) else {
        return Ok(None);
    };
    let size = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    match version {
        0x20 | 0x21 if size > max => {
            Err(format!("a PROXY header of {size} bytes, where {max} may be").into())
        }
        0x20 | 0x21 => Ok(Some(size)),
        _ => Err(format!("a PROXY header of unknown version or command {version:#04x}").into()),
    }
}

/// Whom a whole header names, if anybody.
fn read(header: &[u8]) -> Result<Option<SocketAddr>> {
    let malformed = || "a PROXY header that is malformed";
    let names_one = match header.starts_with(V2_START) {
        true => v2_names_one(header)?,
        false => v1_names_one(header).ok_or_else(malformed)?,
    };
    if !names_one {
        return Ok(None);
    }
    let parsed = ProxyHeader::parse(header, ParseConfig::default()).map_err(|_| malformed())?;
    Ok(parsed.0.proxied_address().map(|addresses| addresses.source))
}

/// Whether this line is to be read on; `None` if it is none. The parser is content with less: it
/// takes `+80` for a number, and any byte for a blank.
fn v1_names_one(line: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(V1_START)?.strip_suffix(b"\r\n")?;
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Some(false);
    }
    let is_port = |text: &[u8]| {
        let digits = matches!(text.len(), 1..=5) && text.iter().all(u8::is_ascii_digit);
        digits && (text.len() == 1 || text[0] != b'0')
    };
    let fields: Vec<&[u8]> = rest.split(|&byte| byte == b' ').collect();
    match fields[..] {
        [b"TCP4" | b"TCP6", _, _, from, to] if is_port(from) && is_port(to) => Some(true),
        _ => None,
    }
}

/// Whether the addresses of this header count, all else in it being in order. Where it stands for
/// the balancer itself they do not, whatever they are.
fn v2_names_one(header: &[u8]) -> Result<bool> {
    let (is_local, family) = (header[12] == 0x20, header[13] >> 4);
    let addresses = match family {
        0 => Some(0),
        1 => Some(12),
        2 => Some(36),
        3 => Some(216),
        _ => None,
    };
    let checksum = match addresses {
        Some(size) => checksum_at(header, V2_FIXED + size),
        None => Err("a PROXY header with an unknown family of addresses"),
    };
    match checksum {
        Ok(Some(at)) if !fits(header, at) => Err("a PROXY header with a wrong checksum")?,
        Ok(_) => Ok(!is_local),
        Err(_) if is_local => Ok(false),
        Err(fault) => Err(fault)?,
    }
}

/// Where the checksum stands among what follows the addresses, if it is there: types, lengths and
/// values, of which all others are nothing to us.
fn checksum_at(header: &[u8], mut at: usize) -> Result<Option<usize>, &'static str> {
    let mut found = None;
    while at < header.len() {
        let fixed = header.get(at..at + 3).ok_or("a PROXY header with a cut field")?;
        let size = usize::from(u16::from_be_bytes([fixed[1], fixed[2]]));
        at += 3;
        if size > header.len() - at {
            return Err("a PROXY header with a cut field");
        }
        if fixed[0] == TLV_CRC32C {
            if size != 4 || found.is_some() {
                return Err("a PROXY header with a malformed checksum");
            }
            found = Some(at);
        }
        at += size;
    }
    Ok(found)
}

/// The checksum is of the header in which it is zero.
fn fits(header: &[u8], at: usize) -> bool {
    let mut digest = CRC32C.digest();
    digest.update(&header[..at]);
    digest.update(&[0; 4]);
    digest.update(&header[at + 4..]);
    header[at..at + 4] == digest.finalize().to_be_bytes()
}

/// Which form a header has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// A line of text, which old servers know.
    V1,
    /// Binary.
    V2,
}

/// Sends a header before all else, and gives way: the side of a balancer, for
/// [`Hub::connect_through`](crate::Hub::connect_through).
///
/// ```
/// # use charkh::{Hub, Peer};
/// use charkh::proxy::{SendProxy, Version};
///
/// /// For this client, a connection to the server behind us.
/// fn pass_on(peer: &mut Peer, server: std::net::SocketAddr) {
///     let header = match peer.addr().socket_addr() {
///         Some(client) => SendProxy::new(Version::V2, client, server),
///         None => SendProxy::local(Version::V2), // it came by a unix socket
///     };
///     peer.hub().connect_through(server, Box::new(header));
/// }
/// ```
pub struct SendProxy {
    header: Vec<u8>,
    next: Option<Box<dyn Layer>>,
}

impl SendProxy {
    /// For this client, which had connected to that address. Where only one of them is of IPv4 it
    /// is sent in its IPv6 form; and for a client that came by a unix socket, which has no address
    /// elsewhere, it is sent for nobody.
    pub fn new(version: Version, client: impl Into<Addr>, connected_to: impl Into<Addr>) -> Self {
        match (client.into(), connected_to.into()) {
            (Addr::Ip(client), Addr::Ip(connected_to)) => {
                let addresses = in_one_family(client, connected_to);
                Self::of(version, &ProxyHeader::with_address(addresses))
            }
            _ => Self::local(version),
        }
    }

    /// For nobody: a connection of our own, such as a health check.
    pub fn local(version: Version) -> Self {
        Self::of(version, &ProxyHeader::with_local())
    }

    fn of(version: Version, header: &ProxyHeader<'_>) -> Self {
        let mut bytes = Vec::new();
        let written = match version {
            Version::V1 => header.encode_v1(&mut bytes),
            Version::V2 => header.encode_v2(&mut bytes),
        };
        debug_assert!(written.is_ok(), "both addresses are of one family");
        Self { header: bytes, next: None }
    }

    /// What is spoken after the header: TLS, for instance.
    pub fn then(self, next: Box<dyn Layer>) -> Self {
        Self { next: Some(next), ..self }
    }

    /// The header, as it is sent: for a socket without a loop.
    pub fn header(&self) -> &[u8] {
        &self.header
    }
}

fn in_one_family(client: SocketAddr, connected_to: SocketAddr) -> ProxiedAddress {
    let in_ipv6 = |ip| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        ip => ip,
    };
    let (from, to) = (client.ip().to_canonical(), connected_to.ip().to_canonical());
    let (from, to) = match from.is_ipv4() == to.is_ipv4() {
        true => (from, to),
        false => (in_ipv6(from), in_ipv6(to)),
    };
    ProxiedAddress::stream((from, client.port()).into(), (to, connected_to.port()).into())
}

impl fmt::Debug for SendProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendProxy").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Layer for SendProxy {
    fn size(&self) -> usize {
        let next = self.next.as_ref().map_or(0, |next| next.size());
        size_of_val(self) + self.header.capacity() + next
    }

    fn start(&mut self, wire: &mut Vec<u8>) -> Result {
        wire.extend(&self.header);
        Ok(())
    }

    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, _: &mut Vec<u8>) -> Result {
        plain.extend_from_slice(wire);
        Ok(())
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
        wire.extend(plain);
        Ok(())
    }

    fn next(&mut self) -> Next {
        self.next.take().map_or(Next::Nothing, Next::Layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr_of(text: &str) -> Addr {
        let addr: SocketAddr = text.parse().unwrap();
        addr.into()
    }

    /// What comes of these first bytes: whom they name and what is left, or what is wrong.
    fn reads(bytes: &[u8]) -> Result<(Option<SocketAddr>, Vec<u8>), String> {
        let (mut layer, mut plain) = (AcceptProxy::new(), Vec::new());
        layer
            .receive(&mut bytes.to_vec(), &mut plain, &mut Vec::new())
            .map_err(|e| e.to_string())?;
        match layer.origin() {
            Origin::Named(addr) => Ok((addr.socket_addr(), plain)),
            Origin::Wire => Ok((None, plain)),
            Origin::Unknown => Err(layer.eof().unwrap_err().to_string()),
        }
    }

    fn names(bytes: &[u8], client: &str) {
        assert_eq!(reads(bytes), Ok((Some(client.parse().unwrap()), b"Hello".to_vec())));
    }

    fn v2(head: [u8; 2], block: &[u8]) -> Vec<u8> {
        let size = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2_START, &head, &size, block, b"Hello"].concat()
    }

    const IPV4: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0xc7, 0x38, 1, 0xbb];

    #[test]
    fn case_117_lines() {
        names(b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\nHello", "203.0.113.7:51000");
        names(b"PROXY TCP6 2001:DB8:0::7 ::1 0 65535\r\nHello", "[2001:db8::7]:0");
        let longest = [&b"PROXY UNKNOWN "[..], &[b'x'; 91], b"\r\nHello"].concat();
        for line in [&b"PROXY UNKNOWN\r\nHello"[..], b"PROXY UNKNOWN \xff\0 1\r\nHello", &longest] {
            assert_eq!(reads(line), Ok((None, b"Hello".to_vec())));
        }
        for fields in [
            "TCP4 203.0.113.7 192.0.2.1 +80 443",
            "TCP4 203.0.113.7 192.0.2.1 080 443",
            "TCP4 203.0.113.7 192.0.2.1 80 65536",
            "TCP4 203.0.113.7 192.0.2.1 80 0x1b",
            "TCP4 203.0.113.7 192.0.2.1 80",
            "TCP4 203.0.113.7 192.0.2.1 80 443 ",
            "TCP4  203.0.113.7 192.0.2.1 80 443",
            "TCP4\t203.0.113.7 192.0.2.1 80 443",
            "TCP4 203.0.113.07 192.0.2.1 80 443",
            "TCP4 203.0.113.256 192.0.2.1 80 443",
            "TCP4 ::1 ::1 80 443",
            "TCP6 203.0.113.7 192.0.2.1 80 443",
            "TCP6 fe80::1%lo fe80::2 80 443",
            "UDP4 203.0.113.7 192.0.2.1 80 443",
            "UNKNOWNS",
            "",
        ] {
            let line = format!("PROXY {fields}\r\nHello");
            assert_eq!(reads(line.as_bytes()), Err("a PROXY header that is malformed".into()));
        }
    }

    #[test]
    fn case_117_ends_of_lines() {
        let too_long = "a PROXY header without CRLF in its first 107 bytes";
        for end in [&b"xx"[..], b"x\r"] {
            let line = [&b"PROXY UNKNOWN "[..], &[b'x'; 91], end].concat();
            assert_eq!(reads(&line), Err(too_long.into()));
        }
        for line in ["PROXY UNKNOWN\nHello", "PROXY UNKNOWN\rHello", "PROXY UNKNOWN\r\r\n"] {
            let says = "a PROXY header whose line does not end with CRLF";
            assert_eq!(reads(line.as_bytes()), Err(says.into()));
        }
    }

    #[test]
    fn case_117_blocks() {
        names(&v2([0x21, 0x11], &IPV4), "203.0.113.7:51000");
        names(&v2([0x21, 0x12], &IPV4), "203.0.113.7:51000");
        let ipv6 = [&[0xfd; 16][..], &[0xfe; 16], &[0, 1, 0, 2]].concat();
        names(&v2([0x21, 0x21], &ipv6), "[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:1");
        for (head, block) in [
            ([0x20, 0x00], &b""[..]),
            ([0x20, 0x11], &IPV4),
            ([0x20, 0x21], &IPV4),
            ([0x20, 0xff], b"rubbish"),
            ([0x21, 0x00], b""),
            ([0x21, 0x00], b"\x05\0\x02id"),
            ([0x21, 0x31], &[b'/'; 216]),
        ] {
            assert_eq!(reads(&v2(head, block)), Ok((None, b"Hello".to_vec())), "{head:?}");
        }
        for (head, block, says) in [
            ([0x11, 0x11], &IPV4[..], "of unknown version or command 0x11"),
            ([0x31, 0x11], &IPV4, "of unknown version or command 0x31"),
            ([0x22, 0x11], &IPV4, "of unknown version or command 0x22"),
            ([0x21, 0x41], &IPV4, "with an unknown family of addresses"),
            ([0x21, 0x13], &IPV4, "that is malformed"),
            ([0x21, 0x10], &IPV4, "that is malformed"),
            ([0x21, 0x01], b"", "that is malformed"),
            ([0x21, 0x11], &IPV4[..11], "that is malformed"),
            ([0x21, 0x00], b"rubbish", "with a cut field"),
            ([0x21, 0x00], b"\x05\0", "with a cut field"),
            ([0x21, 0x11], &[0; 4081], "of 4097 bytes, where 4096 may be"),
        ] {
            assert_eq!(reads(&v2(head, block)), Err(format!("a PROXY header {says}")));
        }
    }

    /// Its length is known, and its refusal too, before it has come.
    #[test]
    fn case_117_a_length_of_65535_is_not_waited_for() {
        let head = [V2_START, &[0x21, 0x11, 0xff, 0xff]].concat();
        let says = "a PROXY header of 65551 bytes, where 4096 may be";
        assert_eq!(reads(&head), Err(says.into()));
        let mut layer = AcceptProxy::new().header_max(65_551);
        layer.receive(&mut head.clone(), &mut Vec::new(), &mut Vec::new()).unwrap();
        assert!(!layer.is_ready());
    }

    #[test]
    fn case_117_a_checksum_is_of_all() {
        let field = |sum: [u8; 4]| [&IPV4[..], &[3, 0, 4], &sum].concat();
        let wrong = Err("a PROXY header with a wrong checksum".to_string());
        let zero = v2([0x21, 0x11], &field([0; 4]));
        let sum = CRC32C.checksum(&zero[..zero.len() - 5]).to_be_bytes();
        assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283); // RFC 3720 calls it that
        names(&v2([0x21, 0x11], &field(sum)), "203.0.113.7:51000");
        assert_eq!(reads(&zero), wrong);
        assert_eq!(reads(&v2([0x21, 0x12], &field(sum))), wrong);
        assert_eq!(reads(&v2([0x20, 0x11], &field(sum))), wrong);
        let malformed = Err("a PROXY header with a malformed checksum".to_string());
        for field in [&[3, 0, 3, 0, 0, 0][..], &[3, 0, 5, 0, 0, 0, 0, 0]] {
            assert_eq!(reads(&v2([0x21, 0x00], field)), malformed);
        }
        assert_eq!(
            reads(&v2([0x21, 0x11], &[field(sum), field(sum)[12..].into()].concat())),
            malformed
        );
    }

    #[test]
    fn case_116_what_is_no_header_is_known_by_its_first_byte_that_differs() {
        for text in ["GET / HTTP/1.0\r\n\r\n", "P ", "\r\n\r\nQ", "\x16\x03\x01", "proxy"] {
            assert_eq!(reads(text.as_bytes()), Err("no PROXY header came first".into()));
        }
        for (text, says) in [("", "without a"), ("P", "within its"), ("\r\n\r\n", "within its")] {
            assert_eq!(reads(text.as_bytes()), Err(format!("the peer ended {says} PROXY header")));
        }
    }

    #[test]
    fn case_116_who_is_trusted() {
        let trusted: TrustedProxies = "10.0.0.0/8, 192.0.2.1,fd00::/8,::1".parse().unwrap();
        assert_eq!(trusted.to_string(), "10.0.0.0/8,192.0.2.1/32,fd00::/8,::1/128");
        let is_trusted = |ip: &str| trusted.contains(ip.parse().unwrap());
        for ip in ["10.255.0.1", "192.0.2.1", "fd12::1", "::1", "::ffff:10.0.0.1"] {
            assert!(is_trusted(ip), "{ip}");
        }
        for ip in ["11.0.0.1", "192.0.2.2", "fe80::1", "::2", "::ffff:11.0.0.1", "::10.0.0.1"] {
            assert!(!is_trusted(ip), "{ip}");
        }
        let all: TrustedProxies =
            ["0.0.0.0/0", "::1"].map(|text| text.parse().unwrap()).into_iter().collect();
        assert!(all.contains([8, 8, 8, 8].into()) && !all.contains("::2".parse().unwrap()));
        for stranger in ["[::2]:7", "11.0.0.1:7"] {
            let says = trusted.accept(&addr_of(stranger)).unwrap_err().to_string();
            assert_eq!(says, "it is not a trusted proxy");
        }
    }

    #[test]
    fn networks_that_are_none_are_told_what_to_write_instead() {
        for (text, instead) in [
            ("", "\"\" is no network: write 10.0.0.0/8, fd00::/8 or 192.0.2.1"),
            ("10.0.0.0/33", "is no network"),
            ("10.0.0/8", "is no network"),
            ("10.0.0.0/255.0.0.0", "is no network"),
            ("localhost", "is no network"),
            ("10.0.0.0/8,", "\"\" is no network"),
            ("10.1.0.0/8", "\"10.1.0.0/8\" says more than a network: write 10.0.0.0/8"),
            ("fd00::1/64", "write fd00::/64"),
            ("::ffff:10.1.0.0/104", "write 10.0.0.0/8"),
            ("::ffff:10.1.0.0", "write 10.1.0.0/32"),
            ("::ffff:10.1.0.0/64", "write ::/64"),
        ] {
            let says = text.parse::<TrustedProxies>().unwrap_err();
            assert!(says.contains(instead), "{text}: {says}");
        }
    }

    #[test]
    fn what_is_sent() {
        let sent = |version, client: &str, to: &str| {
            let mut layer = SendProxy::new(version, addr_of(client), addr_of(to));
            let mut wire = Vec::new();
            layer.start(&mut wire).unwrap();
            assert_eq!(wire, layer.header());
            assert!(matches!(layer.next(), Next::Nothing));
            wire
        };
        let text = |client, to| String::from_utf8(sent(Version::V1, client, to)).unwrap();
        let of_v4 = text("203.0.113.7:51000", "192.0.2.1:443");
        assert_eq!(of_v4, "PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n");
        let of_mapped = text("[::ffff:203.0.113.7]:51000", "[::ffff:192.0.2.1]:443");
        assert_eq!(of_mapped, of_v4);
        let of_both = text("203.0.113.7:51000", "[2001:db8::1]:443");
        assert_eq!(of_both, "PROXY TCP6 ::ffff:203.0.113.7 2001:db8::1 51000 443\r\n");
        let binary = sent(Version::V2, "203.0.113.7:51000", "192.0.2.1:443");
        assert_eq!([&binary[..], b"Hello"].concat(), v2([0x21, 0x11], &IPV4));
        assert_eq!(SendProxy::local(Version::V1).header(), b"PROXY UNKNOWN\r\n");
        let nobody = SendProxy::local(Version::V2);
        assert_eq!([nobody.header(), b"Hello"].concat(), v2([0x20, 0x00], b""));
        let of_unix = SendProxy::new(Version::V2, crate::UnixAddr::Unnamed, ([192, 0, 2, 1], 443));
        assert_eq!(of_unix.header(), nobody.header());
    }
}
