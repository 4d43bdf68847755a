//! What one connection sends, part by part: a head, its body, its end, the next head.
use super::{
    Error, Limits, Request,
    body::{Body, Piece},
    head::Search,
};
use crate::{
    Input,
    codec::{self, Decode},
};

/// What comes next of a connection's requests.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// The head of a request.
    Head(Request<'a>),
    /// A piece of its body, without what frames chunks; it may be empty.
    Data(&'a [u8]),
    /// The end of the request, also of one without a body: after each [`Head`](Part::Head), once.
    End,
}

/// Reads one connection's requests; its place is in a [`Session`](crate::Protocol::Session).
///
/// A body that is not wanted is read all the same, or the connection closed: what is left of it can
/// never be taken for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Requests {
    state: State,
    /// Bytes of what comes next that were looked at, and are no whole part. `state` has counted
    /// what is in them, so it is kept beside it.
    scanned: u32,
    is_last: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Head(Search),
    Body(Body),
    Over,
}

impl Default for Requests {
    fn default() -> Self {
        Self { state: State::Head(Search::default()), scanned: 0, is_last: false }
    }
}

impl Requests {
    /// Take the next part of `input`; `None` until it is here, or if nothing is read any more,
    /// because of an error or of a request that was the last.
    ///
    /// A part is a frame of [`Input::frame`]: the budget of a turn counts it. Whoever cannot answer
    /// yet does not ask for the next, and pauses the [`Peer`](crate::Peer).
    ///
    /// # Errors
    /// What is wrong with these bytes, whatever follows. From then on it is `Ok(None)`.
    pub fn next<'a>(
        &mut self,
        limits: &Limits,
        input: &mut Input<'a>,
    ) -> Result<Option<Part<'a>>, Error> {
        if self.state == State::Over {
            return Ok(None);
        }
        input.frame(&mut Reader { requests: self, limits }).map_err(|fault| {
            self.state = State::Over;
            fault.downcast().map_or(Error::bad("a frame that is none"), |error| *error)
        })
    }

    /// The request that was shown last ends the connection; behind its [`End`](Part::End) nothing
    /// is read.
    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// A request has begun and is not over: a deadline is due.
    pub fn is_within(&self, rest: &Input<'_>) -> bool {
        match self.state {
            // An empty line before a request may be all that comes.
            State::Head(_) => !matches!(rest.peek(), b"" | b"\r\n"),
            State::Body(_) => true,
            State::Over => false,
        }
    }

    /// The head was read, and its body is not over.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body(_))
    }

    /// Read no more: an answer that ends the connection was given, or it speaks another protocol
    /// now, for which `input` stands at the first byte.
    pub fn stop(&mut self) {
        self.state = State::Over;
    }
}

struct Reader<'r> {
    requests: &'r mut Requests,
    limits: &'r Limits,
}

impl Decode for Reader<'_> {
    type Frame<'a> = Part<'a>;

    fn decode<'a>(&mut self, bytes: &'a [u8], _: usize) -> crate::Result<codec::Status<Part<'a>>> {
        let found = self.requests.find(self.limits, bytes)?;
        self.requests.scanned = match found {
            codec::Status::Partial { scanned } => scanned as u32,
            codec::Status::Complete { .. } => 0,
        };
        Ok(found)
    }
}

impl Requests {
    fn find<'a>(
        &mut self,
        limits: &Limits,
        bytes: &'a [u8],
    ) -> Result<codec::Status<Part<'a>>, Error> {
        let scanned = self.scanned as usize;
        Ok(match &mut self.state {
            State::Head(search) => match search.head(limits, bytes, scanned)? {
                codec::Status::Partial { scanned } => codec::Status::Partial { scanned },
                codec::Status::Complete { frame: request, size } => {
                    self.is_last = !request.terms().keep_alive;
                    self.state = State::Body(Body::new(request.framing, limits));
                    codec::Status::Complete { frame: Part::Head(request), size }
                }
            },
            State::Body(body) => match body.piece(limits, bytes, scanned)? {
                codec::Status::Partial { scanned } => codec::Status::Partial { scanned },
                codec::Status::Complete { frame: Piece::Data(data), size } => {
                    codec::Status::Complete { frame: Part::Data(data), size }
                }
                codec::Status::Complete { frame: Piece::End, size } => {
                    self.state = match self.is_last {
                        true => State::Over,
                        false => State::Head(Search::default()),
                    };
                    codec::Status::Complete { frame: Part::End, size }
                }
            },
            State::Over => codec::Status::Partial { scanned: bytes.len() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What there is to read, as words.
    fn parts(requests: &mut Requests, stream: &str) -> Vec<String> {
        let (limits, mut input) = (Limits::default(), Input::new(stream.as_bytes()));
        let mut parts = Vec::new();
        loop {
            match requests.next(&limits, &mut input) {
                Ok(Some(Part::Head(request))) => parts.push(request.path.to_string()),
                Ok(Some(Part::Data(bytes))) => {
                    parts.push(String::from_utf8_lossy(bytes).into_owned());
                }
                Ok(Some(Part::End)) => parts.push(".".into()),
                Ok(None) => break,
                Err(error) => parts.push(error.to_string()),
            }
        }
        parts.push(format!("{} left", input.len()));
        parts
    }

    #[test]
    fn behind_the_last_request_nothing_is_read() {
        let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
        for head in ["PUT /last HTTP/1.1\r\nHost: a\r\nConnection: close", "PUT /last HTTP/1.0"] {
            let stream = format!("{next}{head}\r\nContent-Length: 2\r\n\r\nok{next}");
            let mut requests = Requests::default();
            let left = format!("{} left", next.len());
            let all = ["/next", ".", "/last", "ok", ".", &left];
            assert_eq!(parts(&mut requests, &stream), all);
            assert!(requests.is_last() && !requests.is_within(&Input::new(b"more")));
        }
    }

    #[test]
    fn case_118_behind_an_error_nothing_is_read() {
        let mut requests = Requests::default();
        let got = parts(&mut requests, "GET / HTTP/1.1\nHost: a\r\n\r\nGET / HTTP/1.1\r\n");
        assert_eq!(got[0], "400 Bad Request: a line that ends with LF alone");
        assert_eq!(got.len(), 2);
        let got = parts(&mut requests, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(got, ["27 left"]);
    }

    #[test]
    fn case_120_whoever_speaks_something_else_stands_behind_the_head() {
        let mut requests = Requests::default();
        let (limits, bytes) = (Limits::default(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x81\x00");
        let mut input = Input::new(bytes);
        assert!(matches!(requests.next(&limits, &mut input), Ok(Some(Part::Head(_)))));
        requests.stop();
        assert!(matches!(requests.next(&limits, &mut input), Ok(None)));
        assert_eq!(input.peek(), b"\x81\x00");
    }
}
