//! Answers, written into a `Vec<u8>`.
use std::{
    fmt,
    io::Write,
    time::{Duration, UNIX_EPOCH},
};

use super::{Error, Status, Terms, Version};

/// Writes answers: what is the same in all of them is made once. One for a whole server.
///
/// ```
/// use charkh::http::{Responses, Status, Terms};
/// let (responses, mut out) = (Responses::new("me"), Vec::new());
/// responses.begin(&mut out, Status::NOT_FOUND, Terms::LAST).body(b"no such thing\n");
/// let text = String::from_utf8_lossy(&out);
/// assert!(text.starts_with("HTTP/1.1 404 Not Found\r\nServer: me\r\n"));
/// assert!(text.ends_with("Connection: close\r\nContent-Length: 14\r\n\r\nno such thing\n"));
/// ```
#[derive(Clone, Debug)]
pub struct Responses {
    server: &'static str,
    /// The lines that are the same for a second.
    common: Vec<u8>,
    /// The second, on the loop's clock.
    second: Option<u64>,
}

impl Responses {
    /// `server` is what the header of this name says.
    pub fn new(server: &'static str) -> Self {
        let mut responses = Self { server, common: Vec::new(), second: None };
        responses.write_common(None);
        responses
    }

    /// Keep `Date` up to date: `now` is the loop's time ([`Peer::now`](crate::Peer::now)), and
    /// `unix_time`, which is asked at most once a second of it, the time of day. An origin server
    /// with a clock has to send it.
    #[inline]
    pub fn set_time(&mut self, now: Duration, unix_time: impl FnOnce() -> Duration) {
        let second = Some(now.as_secs());
        if self.second != second {
            self.second = second;
            self.write_common(Some(unix_time()));
        }
    }

    fn write_common(&mut self, date: Option<Duration>) {
        self.common.clear();
        put_header(&mut self.common, "Server", self.server.as_bytes());
        if let Some(date) = date {
            let _ = write!(self.common, "Date: {}\r\n", HttpDate(date)); // a `Vec` takes all
        }
    }

    /// Begin an answer at the end of `out`. How it ends is said by one of [`Response`]'s last
    /// words: [`body`](Response::body), [`length`](Response::length),
    /// [`stream`](Response::stream), [`no_body`](Response::no_body).
    #[inline]
    pub fn begin<'o>(&self, out: &'o mut Vec<u8>, status: Status, terms: Terms) -> Response<'o> {
        put_status(out, status);
        out.extend_from_slice(&self.common);
        Response { out, status, terms }
    }

    /// Answer what could not be read: a line of text that says why, and the connection ends. The
    /// terms are those of the request, if its head could be, or else [`Terms::LAST`].
    pub fn refuse(&self, out: &mut Vec<u8>, error: Error, terms: Terms) {
        let text = format!("{error}\n");
        let response = self.begin(out, error.status, Terms { keep_alive: false, ..terms });
        response.header("Content-Type", b"text/plain").body(text.as_bytes());
    }

    /// Ask for the body of a request that [expects](super::Request::expects_continue) to be asked.
    pub fn go_on(out: &mut Vec<u8>) {
        put_status(out, Status::CONTINUE);
        out.extend_from_slice(b"\r\n");
    }
}

/// An answer whose head is being written.
#[derive(Debug)]
#[must_use = "its head has no end yet"]
pub struct Response<'o> {
    out: &'o mut Vec<u8>,
    status: Status,
    terms: Terms,
}

impl Response<'_> {
    /// One header more. What would end its line (CR, LF, NUL) is written as a blank: nobody can
    /// smuggle a second one in. `Date`, `Server`, `Connection`, `Content-Length` and
    /// `Transfer-Encoding` are written by themselves.
    #[inline]
    pub fn header(self, name: &str, value: &[u8]) -> Self {
        put_header(self.out, name, value);
        self
    }

    /// The whole body.
    #[inline]
    pub fn body(self, bytes: &[u8]) {
        let Self { out, status, terms } = self;
        put_connection(out, status, terms);
        put_length(out, status, bytes.len() as u64);
        out.extend_from_slice(b"\r\n");
        if !terms.is_head && !status.is_bodiless() {
            out.extend_from_slice(bytes);
        }
    }

    /// A body of so many bytes, which the caller sends after this head, unless the answer is
    /// `false`: then there is none.
    #[must_use]
    pub fn length(self, length: u64) -> bool {
        let Self { out, status, terms } = self;
        put_connection(out, status, terms);
        put_length(out, status, length);
        out.extend_from_slice(b"\r\n");
        !terms.is_head && !status.is_bodiless()
    }

    /// A body whose length is not known yet: in chunks, or, in HTTP/1.0, up to the end of the
    /// connection, which then has to be closed.
    pub fn stream(self) -> Encoding {
        let Self { out, status, terms } = self;
        let encoding = match (terms.version, status.is_bodiless()) {
            (_, true) => Encoding::None,
            (Version::Http11, _) => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                if terms.is_head { Encoding::None } else { Encoding::Chunked }
            }
            (Version::Http10, _) if terms.is_head => Encoding::None,
            (Version::Http10, _) => Encoding::UntilClosed,
        };
        // Where the connection is the end, none follows on it.
        let keep_alive = terms.keep_alive && encoding != Encoding::UntilClosed;
        put_connection(out, status, Terms { keep_alive, ..terms });
        out.extend_from_slice(b"\r\n");
        encoding
    }

    /// No body, and no length: for 101, 204 and 304; others would never end.
    pub fn no_body(self) {
        debug_assert!(self.status.is_bodiless());
        put_connection(self.out, self.status, self.terms);
        self.out.extend_from_slice(b"\r\n");
    }
}

/// How the pieces of a body are written whose length is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// There is no body.
    None,
    /// In chunks.
    Chunked,
    /// As it is; the end is the connection's.
    UntilClosed,
}

impl Encoding {
    /// Append a piece of the body. An empty one is nothing, not the end.
    pub fn write(self, out: &mut Vec<u8>, bytes: &[u8]) {
        match self {
            _ if bytes.is_empty() => {}
            Encoding::None => {}
            Encoding::UntilClosed => out.extend_from_slice(bytes),
            Encoding::Chunked => {
                put_number(out, bytes.len() as u64, 16);
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// The end of the body. `false` if the connection has to say it, by its own.
    #[must_use]
    pub fn end(self, out: &mut Vec<u8>) -> bool {
        if self == Encoding::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        self != Encoding::UntilClosed
    }
}

/// A time of day, since 1970, as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(unix_time: Duration) -> String {
    HttpDate(unix_time).to_string()
}

struct HttpDate(Duration);

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // To where the format ends, which has four digits for the year.
        let last = Duration::from_secs(253_402_300_799);
        httpdate::HttpDate::from(UNIX_EPOCH + self.0.min(last)).fmt(f)
    }
}

#[inline]
fn put_status(out: &mut Vec<u8>, status: Status) {
    if status == Status::OK {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    put_number(out, status.code().into(), 10);
    out.push(b' ');
    out.extend_from_slice(status.reason().as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn put_connection(out: &mut Vec<u8>, status: Status, terms: Terms) {
    out.extend_from_slice(match terms {
        _ if status == Status::SWITCHING_PROTOCOLS => b"",
        Terms { keep_alive: false, .. } => b"Connection: close\r\n",
        Terms { version: Version::Http10, .. } => b"Connection: keep-alive\r\n",
        _ => b"",
    });
}

#[inline]
fn put_length(out: &mut Vec<u8>, status: Status, length: u64) {
    // Neither 1xx nor 204 may have one.
    if !status.is_bodiless() {
        out.extend_from_slice(b"Content-Length: ");
        put_number(out, length, 10);
        out.extend_from_slice(b"\r\n");
    }
}

#[inline]
fn put_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let from = out.len();
    out.extend_from_slice(value);
    for byte in &mut out[from..] {
        if matches!(byte, b'\r' | b'\n' | 0) {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn put_number(out: &mut Vec<u8>, mut number: u64, base: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(number % base) as usize];
        number /= base;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Terms = Terms { keep_alive: true, ..Terms::LAST };

    fn said(write: impl FnOnce(&Responses, &mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&Responses::new("x"), &mut out);
        String::from_utf8(out).unwrap().replace("HTTP/1.1 ", "").replace("Server: x\r\n", "")
    }

    #[test]
    fn case_122_a_body_where_there_may_be_one() {
        let all = |status, terms| {
            said(|responses, out| responses.begin(out, status, terms).body(b"body"))
        };
        let head = Terms { is_head: true, ..KEPT };
        assert_eq!(all(Status::OK, KEPT), "200 OK\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(all(Status::OK, head), "200 OK\r\nContent-Length: 4\r\n\r\n");
        assert_eq!(all(Status::NO_CONTENT, KEPT), "204 No Content\r\n\r\n");
        assert_eq!(all(Status::NOT_MODIFIED, KEPT), "304 Not Modified\r\n\r\n");
        assert_eq!(all(Status::new(299).unwrap(), head), "299 \r\nContent-Length: 4\r\n\r\n");
        assert_eq!((Status::new(99), Status::new(1000)), (None, None));
    }

    #[test]
    fn the_version_and_the_status_say_what_becomes_of_the_connection() {
        let says =
            |status, terms| said(|responses, out| responses.begin(out, status, terms).body(b""));
        let old = Terms { version: Version::Http10, ..KEPT };
        let end = "Content-Length: 0\r\n\r\n";
        assert_eq!(says(Status::OK, old), format!("200 OK\r\nConnection: keep-alive\r\n{end}"));
        assert_eq!(says(Status::OK, Terms::LAST), format!("200 OK\r\nConnection: close\r\n{end}"));
        let switch = says(Status::SWITCHING_PROTOCOLS, Terms::LAST);
        assert_eq!(switch, "101 Switching Protocols\r\n\r\n");
    }

    #[test]
    fn a_body_without_a_length_is_in_chunks_or_ends_with_the_connection() {
        let stream = |status, terms| {
            let mut is_framed = false;
            let text = said(|responses, out| {
                let encoding = responses.begin(out, status, terms).stream();
                encoding.write(out, b"");
                encoding.write(out, &[b'a'; 26]);
                is_framed = encoding.end(out);
            });
            (text, is_framed)
        };
        let chunks = "Transfer-Encoding: chunked\r\n\r\n";
        let body = "a".repeat(26);
        let whole = format!("200 OK\r\n{chunks}1a\r\n{body}\r\n0\r\n\r\n");
        assert_eq!(stream(Status::OK, KEPT), (whole, true));
        let head = Terms { is_head: true, ..KEPT };
        assert_eq!(stream(Status::OK, head), (format!("200 OK\r\n{chunks}"), true));
        assert_eq!(stream(Status::NO_CONTENT, KEPT), ("204 No Content\r\n\r\n".into(), true));
        let old = Terms { version: Version::Http10, ..Terms::LAST };
        let whole = format!("200 OK\r\nConnection: close\r\n\r\n{body}");
        assert_eq!(stream(Status::OK, old), (whole, false));
    }

    #[test]
    fn nothing_in_a_value_ends_its_line() {
        let text = said(|responses, out| {
            let response = responses.begin(out, Status::OK, KEPT);
            response.header("X", b"a\r\nY: b\0").body(b"");
        });
        assert_eq!(text, "200 OK\r\nX: a  Y: b \r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn the_date_is_asked_for_once_a_second_and_has_an_end() {
        let (mut responses, mut asked) = (Responses::new("x"), 0);
        for ms in [0, 999, 1000, 1500, 7000] {
            responses.set_time(Duration::from_millis(ms), || {
                asked += 1;
                Duration::from_secs(784_111_777 + asked)
            });
        }
        let mut out = Vec::new();
        responses.begin(&mut out, Status::OK, KEPT).body(b"");
        assert!(
            String::from_utf8(out).unwrap().contains("\r\nDate: Sun, 06 Nov 1994 08:49:40 GMT\r\n")
        );
        assert_eq!(asked, 3);
        assert_eq!(http_date(Duration::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
