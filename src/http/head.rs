//! Heads of requests: found byte after byte, parsed once, and held to every rule of framing.
use std::{mem::MaybeUninit, net::Ipv6Addr};

use super::{Error, Limits, Status};
use crate::codec;

/// A request's head.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET`, `POST` or any other token, in the case in which it came. Never `CONNECT` or `TRACE`.
    pub method: &'a str,
    /// What is asked for, as it was sent: `/path?query`, `http://host/path?query`, or `*`.
    pub target: &'a str,
    /// The target's path: begins with `/`, or is `*`. As it was sent: escapes (`%20`) are there,
    /// and so are dots.
    pub path: &'a str,
    /// What stands behind the first `?` of the target.
    pub query: Option<&'a str>,
    /// 1.1 or 1.0.
    pub version: Version,
    /// The `Host` header, or the host of a target that names one: the two never differ. `None` only
    /// in HTTP/1.0.
    pub host: Option<&'a str>,
    /// How its body is framed.
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body
    /// ([`Responses::go_on`](super::Responses::go_on)), or for a final answer.
    pub expects_continue: bool,
    keep_alive: bool,
    /// Lines that were found in order, each with its CRLF, and the empty one.
    lines: &'a [u8],
}

/// Versions that are spoken here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// HTTP/1.0: no chunks, and a connection for each request unless it says otherwise.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Where a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes; at most [`Limits::body_max`].
    Length(u64),
    /// With the chunk of no bytes.
    Chunked,
}

/// What of a request decides how an answer may be framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The version that was asked with.
    pub version: Version,
    /// The method is HEAD: headers as for GET, and no body.
    pub is_head: bool,
    /// Other requests may follow. What sets it to `false` adds `Connection: close` to the answer.
    pub keep_alive: bool,
}

impl Terms {
    /// For an answer to what could not be read, after which the connection ends.
    pub const LAST: Self = Self { version: Version::Http11, is_head: false, keep_alive: false };
}

impl<'a> Request<'a> {
    /// How an answer to it may be framed.
    pub fn terms(&self) -> Terms {
        let Self { version, keep_alive, .. } = *self;
        Terms { version, is_head: self.method == "HEAD", keep_alive }
    }

    /// All headers, in their order.
    pub fn headers(&self) -> Headers<'a> {
        Headers { lines: self.lines }
    }

    /// The value of the first header of this name, in whatever case, without blanks around it.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// How many headers have this name.
    pub fn count(&self, name: &str) -> usize {
        self.headers().filter(|(own, _)| own.eq_ignore_ascii_case(name)).count()
    }

    /// A header of this name, which is a list with commas, has this word in it, in whatever case:
    /// `request.lists("Connection", "upgrade")`.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        let same = |(own, _): &(&str, _)| own.eq_ignore_ascii_case(name);
        let mut values = self.headers().filter(same).flat_map(|(_, value)| words(value));
        values.any(|own| own.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// The headers of a request, name and value: an iterator.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    lines: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr::memchr(b'\n', self.lines)?;
        let (line, rest) = self.lines.split_at(end + 1);
        self.lines = rest;
        let colon = memchr::memchr(b':', line)?;
        let name = std::str::from_utf8(&line[..colon]).ok()?;
        Some((name, line[colon + 1..].trim_ascii()))
    }
}

/// The words of a list with commas.
fn words(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|word| !word.is_empty())
}

/// The longest method that is looked at.
const METHOD_MAX: usize = 32;

/// The search for the end of a head, between two reads.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Search {
    /// Ends of lines that were found, and are in order.
    lines: u32,
}

impl Search {
    /// The head at the front of `bytes`, of which `scanned` were looked at before.
    ///
    /// Faults are found in the order in which they come, whatever the pieces that a head comes in:
    /// first each line's end, and the first line when it has ended; then, of a whole head, the
    /// headers.
    pub(super) fn head<'a>(
        &mut self,
        limits: &Limits,
        bytes: &'a [u8],
        scanned: usize,
    ) -> Result<codec::Status<Request<'a>>, Error> {
        let window = &bytes[..bytes.len().min(limits.head_max)];
        // One empty line before a request is an old client's habit.
        let begin = if window.starts_with(b"\r\n") { 2 } else { 0 };
        let mut at = scanned.max(begin);
        while let Some(found) = memchr::memchr(b'\n', window.get(at..).unwrap_or_default()) {
            let end = at + found + 1;
            if self.lines == 0 {
                begin_of_line(limits, &window[begin..end])?;
            }
            if end < 2 || window[end - 2] != b'\r' {
                return Err(Error::bad("a line that ends with LF alone"));
            }
            if self.lines == 0 {
                first_line(limits, &window[begin..end])?;
            } else if window[..end].ends_with(b"\n\r\n") {
                let request = whole(limits, &window[begin..end])?;
                *self = Self::default();
                return Ok(codec::Status::Complete { frame: request, size: end });
            } else if self.lines as usize > limits.headers_max.min(Limits::HEADERS_CEILING) {
                return Err(Error::new(Status::HEADERS_TOO_LARGE, "too many headers"));
            }
            self.lines += 1;
            at = end;
        }
        if self.lines == 0 {
            begin_of_line(limits, &window[begin.min(window.len())..])?;
        }
        match bytes.len() >= limits.head_max {
            true => Err(Error::new(Status::HEADERS_TOO_LARGE, "a head that is too long")),
            false => Ok(codec::Status::Partial { scanned: window.len() }),
        }
    }
}

/// What can be said of a first line before its end has come; it says the same when it has.
fn begin_of_line(limits: &Limits, line: &[u8]) -> Result<(), Error> {
    // A CR may be half of an empty line.
    if line.first().is_some_and(|&byte| !is_token(byte) && byte != b'\r') {
        return Err(Error::bad("a method that is none"));
    }
    match line.len() >= longest_line(limits) {
        true => first_line(limits, line),
        false => Ok(()),
    }
}

/// The longest request line that can be in order, with its CRLF.
fn longest_line(limits: &Limits) -> usize {
    limits.uri_max.saturating_add(METHOD_MAX + " ".len() + " HTTP/1.1\r\n".len())
}

/// Check a request line, or the front of one that is too long.
fn first_line(limits: &Limits, line: &[u8]) -> Result<(), Error> {
    let line = &line[..line.len().min(longest_line(limits))];
    let method_end = line.iter().take(METHOD_MAX + 1).position(|&byte| !is_token(byte));
    let target = match method_end {
        None => return Err(Error::new(Status::NOT_IMPLEMENTED, "a method that is too long")),
        Some(end) if end > 0 && line[end] == b' ' => &line[end + 1..],
        Some(_) => return Err(Error::bad("a method that is none")),
    };
    let target_end = memchr::memchr(b' ', target);
    if target_end.unwrap_or(target.len()) > limits.uri_max {
        return Err(Error::new(Status::URI_TOO_LONG, "a target that is too long"));
    }
    let Some(end) = target_end else {
        return Err(Error::bad("a request line without a version"));
    };
    match &target[end + 1..] {
        b"HTTP/1.1\r\n" | b"HTTP/1.0\r\n" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, b'\r', b'\n']
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Error::new(Status::VERSION_NOT_SUPPORTED, "a version that is not spoken here"))
        }
        _ => Err(Error::bad("a version that is none")),
    }
}

/// What may be in methods and in names of headers.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Parse a head whose lines all end with CRLF, from its first line to the empty one.
fn whole<'a>(limits: &Limits, bytes: &'a [u8]) -> Result<Request<'a>, Error> {
    let mut space = [const { MaybeUninit::uninit() }; Limits::HEADERS_CEILING];
    let mut head = httparse::Request::new(&mut []);
    match head.parse_with_uninit_headers(bytes, &mut space) {
        Ok(httparse::Status::Complete(size)) if size == bytes.len() => {}
        Ok(_) => return Err(Error::bad("a head that ends twice")),
        Err(e) => return Err(Error::bad(words_for(e))),
    }
    let (Some(method), Some(target)) = (head.method, head.path) else {
        return Err(Error::bad("a head without a request"));
    };
    let version = match head.version {
        Some(0) => Version::Http10,
        _ => Version::Http11,
    };
    let mut found = Found::default();
    for header in head.headers.iter() {
        found.note(header.name, header.value)?;
    }
    let (authority, path) = split_target(method, target)?;
    let host = found.host(version, authority)?;
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let lines_at = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
    Ok(Request {
        method,
        target,
        path,
        query,
        version,
        host,
        framing: found.framing(version, limits)?,
        expects_continue: found.expects_continue && version == Version::Http11,
        keep_alive: !found.close && (version == Version::Http11 || found.keep_alive),
        lines: &bytes[lines_at..],
    })
}

fn words_for(e: httparse::Error) -> &'static str {
    match e {
        httparse::Error::HeaderName => "a header's name that is none",
        httparse::Error::HeaderValue => "a header's value that is none",
        httparse::Error::NewLine => "a line that does not end with CRLF",
        _ => "a head that is none",
    }
}

/// What the headers say about framing, each at most once.
#[derive(Default)]
struct Found<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl<'a> Found<'a> {
    fn note(&mut self, name: &'a str, value: &'a [u8]) -> Result<(), Error> {
        // Most headers are told from these by their length.
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        match name.len() {
            4 if is("Host") && self.host.replace(value).is_some() => {
                return Err(Error::bad("two hosts"));
            }
            6 if is("Expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Error::new(Status::EXPECTATION_FAILED, "an unknown expectation"));
                }
                self.expects_continue = true;
            }
            10 if is("Connection") => {
                for word in words(value) {
                    self.close |= word.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if is("Content-Length") => {
                let length = content_length(value)?;
                if self.length.replace(length).is_some() {
                    return Err(Error::bad("two lengths"));
                }
            }
            17 if is("Transfer-Encoding") => {
                if std::mem::replace(&mut self.chunked, true) {
                    return Err(Error::bad("two transfer encodings"));
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    let why = "a transfer encoding other than chunked";
                    return Err(Error::new(Status::NOT_IMPLEMENTED, why));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, version: Version, limits: &Limits) -> Result<Framing, Error> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Error::bad("a length and chunks")),
            (None, true) if version == Version::Http10 => Err(Error::bad("chunks in HTTP/1.0")),
            (None, true) => Ok(Framing::Chunked),
            (Some(length), false) if length > limits.body_max => {
                Err(Error::new(Status::CONTENT_TOO_LARGE, "a body that is too long"))
            }
            (Some(length), false) => Ok(Framing::Length(length)),
            (None, false) => Ok(Framing::None),
        }
    }

    fn host(&self, version: Version, authority: Option<&'a str>) -> Result<Option<&'a str>, Error> {
        let host = match self.host {
            None if version == Version::Http11 => return Err(Error::bad("no host")),
            None => return Ok(authority),
            Some(host) => {
                std::str::from_utf8(host).map_err(|_| Error::bad("a host that is none"))?
            }
        };
        if !host.is_empty() && !is_authority(host) {
            return Err(Error::bad("a host that is none"));
        }
        match authority {
            Some(authority) if !authority.eq_ignore_ascii_case(host) => {
                Err(Error::bad("a target that is another host's"))
            }
            _ => Ok(Some(host)),
        }
    }
}

/// Digits alone; more than 64 bits can say is no number.
fn content_length(value: &[u8]) -> Result<u64, Error> {
    const WRONG: Error = Error::bad("a length that is none");
    if value.is_empty() {
        return Err(WRONG);
    }
    value.iter().try_fold(0_u64, |sum, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0')).ok_or(WRONG)?;
        sum.checked_mul(10).and_then(|sum| sum.checked_add(digit)).ok_or(WRONG)
    })
}

/// The host that a target names, if it does, and the rest of it.
fn split_target<'a>(method: &str, target: &'a str) -> Result<(Option<&'a str>, &'a str), Error> {
    const WRONG: Error = Error::bad("a target that is none");
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(Error::new(Status::NOT_IMPLEMENTED, "a method that is not served here"));
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(WRONG);
    }
    if target.starts_with('/') {
        return Ok((None, target));
    }
    if target == "*" {
        return if method == "OPTIONS" { Ok((None, target)) } else { Err(WRONG) };
    }
    let scheme_end = target.find("://").ok_or(WRONG)?;
    let (scheme, rest) = (&target[..scheme_end], &target[scheme_end + 3..]);
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(WRONG);
    }
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => (&rest[..at], &rest[at..]),
        // A query alone is a path's; there is no room to write its `/`, so it is not served.
        Some(_) => return Err(WRONG),
        None => (rest, "/"),
    };
    match is_authority(authority) {
        true => Ok((Some(authority), path)),
        false => Err(WRONG),
    }
}

/// A host, and perhaps a port: a name, an IPv4 address, or an IPv6 address in brackets.
fn is_authority(text: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~%!$&'()*+;=".contains(&byte);
    let (is_host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host.parse::<Ipv6Addr>().is_ok(), ""),
            Some((host, port)) if port.starts_with(':') => {
                (host.parse::<Ipv6Addr>().is_ok(), &port[1..])
            }
            _ => return false,
        },
        None => {
            let (host, port) = text.split_once(':').unwrap_or((text, ""));
            (!host.is_empty() && host.bytes().all(is_name), port)
        }
    };
    is_host && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
}
