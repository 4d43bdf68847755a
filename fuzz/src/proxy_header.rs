//! PROXY headers, against a model that is given one byte more at a time. However a stream is cut,
//! the layer says the same at the same byte; nothing of a header is taken for data, and nothing of
//! the data is lost; whatever is sent is read again.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use charkh::{
    Layer, Next, Origin,
    proxy::{AcceptProxy, SendProxy, Version},
};

use super::Script;

/// Of the bytes so far, when of all that are fewer it was said that they are not enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Says {
    NotYet,
    Never,
    /// They are the header of this client, or of nobody.
    Client(Option<SocketAddr>),
}

pub fn run(data: &[u8]) {
    let mut script = Script(data);
    let max = [15, 16, 52, 107, 536, AcceptProxy::HEADER_MAX, 70_000][script.number(7)];
    let sizes = script.take(4);
    match script.number(4) {
        0 => there_and_back(&mut script, sizes),
        // No fuzzer finds a sum by itself.
        1 => check(&summed(script.0), max, sizes),
        _ => check(script.0, max, sizes),
    }
}

fn check(stream: &[u8], max: usize, sizes: &[u8]) {
    let expected = (0..=stream.len()).map(|size| (size, says(&stream[..size], max)));
    let expected = expected.into_iter().find(|&(_, says)| says != Says::NotYet);
    for sizes in [&[][..], &[0], sizes] {
        in_pieces(stream, max, sizes, expected);
    }
}

/// Sizes are one less than they say, and used in turn; without any it is one piece.
fn in_pieces(stream: &[u8], max: usize, sizes: &[u8], expected: Option<(usize, Says)>) {
    let mut layer = AcceptProxy::new().header_max(max);
    let (mut plain, mut answer, mut to) = (Vec::new(), Vec::new(), 0);
    let mut sizes = sizes.iter().cycle();
    while to < stream.len() {
        let from = to;
        to += sizes.next().map_or(stream.len(), |&size| usize::from(size) + 1);
        to = to.min(stream.len());
        let mut wire = stream[from..to].to_vec();
        let result = layer.receive(&mut wire, &mut plain, &mut answer);
        assert!(answer.is_empty(), "it has nothing to say");
        match expected.filter(|&(size, _)| size <= to) {
            None => {
                assert!(result.is_ok() && plain.is_empty() && !layer.is_ready());
                assert_eq!(layer.origin(), Origin::Unknown);
                assert!(matches!(layer.next(), Next::Same));
            }
            Some((_, Says::Client(client))) => {
                result.expect("a good header");
                assert_eq!(layer.origin(), client.map_or(Origin::Wire, Origin::Named));
                assert!(layer.is_ready() && matches!(layer.next(), Next::Nothing));
                assert_eq!(plain, stream[expected.map_or(0, |(size, _)| size)..to]);
            }
            Some(_) => {
                assert!(result.is_err() && plain.is_empty() && !layer.is_ready());
                return;
            }
        }
    }
    assert_eq!(layer.eof().is_ok(), layer.is_ready());
}

fn says(bytes: &[u8], max: usize) -> Says {
    let same = |start: &[u8]| {
        let common = bytes.len().min(start.len());
        bytes[..common] == start[..common]
    };
    match (same(b"PROXY "), same(b"\r\n\r\n\0\r\nQUIT\n")) {
        (_, true) => v2_says(bytes, max),
        (true, false) => v1_says(bytes),
        _ => Says::Never,
    }
}

fn v1_says(bytes: &[u8]) -> Says {
    let inner = &bytes[..bytes.len().saturating_sub(1)];
    match bytes {
        [.., b'\r', b'\n'] if bytes.len() <= 107 => {
            let line = String::from_utf8_lossy(&bytes[..bytes.len() - 2]);
            line_says(&line).map_or(Says::Never, Says::Client)
        }
        // Either half of the end, without the other.
        [.., b'\n'] => Says::Never,
        _ if inner.contains(&b'\r') || bytes.len() >= 107 => Says::Never,
        _ => Says::NotYet,
    }
}

fn line_says(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let words: Vec<&str> = words.collect();
    let [from, to, from_port, to_port] = words[..] else { return None };
    let ip = |text: &str| -> Option<IpAddr> {
        let ip = text.parse().ok()?;
        (family == if matches!(ip, IpAddr::V4(_)) { "TCP4" } else { "TCP6" }).then_some(ip)
    };
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| port.to_string() == text);
    let (from, _) = (ip(from)?, ip(to)?);
    let (from_port, _) = (port(from_port)?, port(to_port)?);
    Some(Some(SocketAddr::new(from, from_port)))
}

fn v2_says(bytes: &[u8], max: usize) -> Says {
    if bytes.len() < 16 {
        return Says::NotYet;
    }
    let size = 16 + usize::from(bytes[14]) * 256 + usize::from(bytes[15]);
    if !matches!(bytes[12], 0x20 | 0x21) || size > max {
        return Says::Never;
    }
    if bytes.len() < size {
        return Says::NotYet;
    }
    block_says(bytes).map_or(Says::Never, Says::Client)
}

/// `None`: there is something wrong with it.
fn block_says(header: &[u8]) -> Option<Option<SocketAddr>> {
    let is_local = header[12] == 0x20;
    let block = &header[16..];
    let place = sum_place(header);
    let sum_is_right = |at: usize| summed(header)[at..at + 4] == header[at..at + 4];
    match place {
        Some(Some(at)) if !sum_is_right(at) => return None,
        _ if is_local => return Some(None),
        None => return None,
        _ => {}
    }
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    match (header[13], block.len()) {
        (0x00, _) | (0x31 | 0x32, 216..) => Some(None),
        (0x11 | 0x12, 12..) => {
            let ip: [u8; 4] = block[..4].try_into().ok()?;
            Some(Some((Ipv4Addr::from(ip), port(8)).into()))
        }
        (0x21 | 0x22, 36..) => {
            let ip: [u8; 16] = block[..16].try_into().ok()?;
            Some(Some((Ipv6Addr::from(ip), port(32)).into()))
        }
        _ => None,
    }
}

/// Where the sum of a header stands, if it has one; `None` if what it has is not in order.
fn sum_place(header: &[u8]) -> Option<Option<usize>> {
    let addresses = *[0, 12, 36, 216].get(usize::from(header[13] / 16))?;
    let mut places = Vec::new();
    let mut rest = header[16..].get(addresses..).unwrap_or_default();
    while let [kind, high, low, after @ ..] = rest {
        let size = usize::from(*high) * 256 + usize::from(*low);
        if *kind == 3 {
            places.push((header.len() - after.len(), size));
        }
        rest = after.get(size..)?;
    }
    match (rest, &places[..]) {
        ([], []) => Some(None),
        ([], &[(at, 4)]) => Some(Some(at)),
        _ => None,
    }
}

/// The stream with the right sum, where a header with a sum begins it.
fn summed(stream: &[u8]) -> Vec<u8> {
    let mut all = stream.to_vec();
    if stream.len() < 16 {
        return all;
    }
    let size = 16 + usize::from(stream[14]) * 256 + usize::from(stream[15]);
    if let Some(header) = stream.get(..size)
        && let Some(Some(at)) = sum_place(header)
    {
        all[at..at + 4].fill(0);
        let sum = crc32c(&all[..size]);
        all[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    }
    all
}

/// A bit at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
        }
    }
    !sum
}

/// Whatever addresses there are.
fn there_and_back(script: &mut Script, sizes: &[u8]) {
    let version = [Version::V1, Version::V2][script.number(2)];
    let [client, server] = [address(script), address(script)];
    let sent = SendProxy::new(version, client, server);
    let stream = [sent.header(), script.0].concat();
    let mut layer = AcceptProxy::new();
    let mut plain = Vec::new();
    layer
        .receive(&mut stream.clone(), &mut plain, &mut Vec::new())
        .expect("what we send can be read");
    assert_eq!(plain, script.0);
    let Origin::Named(named) = layer.origin() else { panic!("nobody, for {client}") };
    assert_eq!(named.ip().to_canonical(), client.ip().to_canonical());
    assert_eq!(named.port(), client.port());
    check(&stream, AcceptProxy::HEADER_MAX, sizes);
}

fn address(script: &mut Script) -> SocketAddr {
    let is_v4 = script.number(2) == 0;
    let mut octets = [0; 16];
    octets.iter_mut().for_each(|octet| *octet = script.byte());
    let port = u16::from_be_bytes([script.byte(), script.byte()]);
    match is_v4 {
        true => (Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), port).into(),
        false => (Ipv6Addr::from(octets), port).into(),
    }
}
