//! HTTP/1.1, the server's side, without I/O: bytes in, [`Part`]s out; answers are written into a
//! `Vec<u8>`.
//!
//! [`Requests`] cuts what one connection sends into heads and pieces of bodies, strictly: whatever
//! two servers could read differently (two lengths, a length and chunks, a line that ends with LF
//! alone, a blank before a colon) is an [`Error`], which names the status to answer with, and
//! nothing behind it is read any more. [`Responses`] writes answers: the status line, `Date`,
//! `Server`, headers, and a body with a length or in chunks, or none where there may be none.
//!
//! [`Server`] and [`Conn`] put the two into a protocol:
//!
//! ```
//! use charkh::{Input, Peer, Protocol, Result, http::{Conn, Part, Server, Status}};
//!
//! struct Hello { http: Server }
//!
//! impl Protocol for Hello {
//!     type Session = Conn;
//!
//!     fn open(&mut self, _: &mut Peer) -> Conn {
//!         Conn::default()
//!     }
//!
//!     fn data(&mut self, peer: &mut Peer, conn: &mut Conn, input: &mut Input) -> Result {
//!         while let Some(part) = self.http.next(peer, conn, input) {
//!             match part {
//!                 Part::Head(_) | Part::Data(_) => {} // here everybody is told the same
//!                 Part::End => {
//!                     let response = self.http.answer(peer, conn, Status::OK);
//!                     response.header("Content-Type", b"text/plain").body(b"Hello!");
//!                     self.http.end_of_answer(peer, conn);
//!                 }
//!             }
//!         }
//!         self.http.end_of_data(peer, conn, input, false);
//!         Ok(())
//!     }
//!
//!     fn timer(&mut self, peer: &mut Peer, conn: &mut Conn) -> Result {
//!         self.http.timer(peer, conn);
//!         Ok(())
//!     }
//! }
//! ```
mod body;
mod head;
mod requests;
mod response;
mod server;
mod status;

use std::fmt;

pub use head::{Framing, Headers, Request, Terms, Version};
pub use requests::{Part, Requests};
pub use response::{Encoding, Response, Responses, http_date};
pub use server::{Conn, Server};
pub use status::Status;

/// What a client may send. Sizes are bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A request's head, from its first byte to the empty line; also the trailers of a chunked
    /// body. More is answered with 431. It should be less than
    /// [`Config::input_max`](crate::Config::input_max). Default 16 KiB.
    pub head_max: usize,
    /// Headers in one head, or trailers; there are never more than
    /// [`HEADERS_CEILING`](Limits::HEADERS_CEILING). One more is answered with 431. Default 100.
    pub headers_max: usize,
    /// The request's target, as it was sent. More is answered with 414. Default 8 KiB.
    pub uri_max: usize,
    /// A body, without what frames its chunks. More is answered with 413: as soon as it is
    /// promised, before any of it is read. Default 1 MiB.
    pub body_max: u64,
    /// The line that begins a chunk, with its extension. More is answered with 400. Default 256.
    pub chunk_line_max: usize,
    /// The extensions of all chunks of a body together, which say nothing that is wanted. More is
    /// answered with 400. Default 4 KiB.
    pub extensions_max: usize,
}

impl Limits {
    /// The most that [`headers_max`](Limits::headers_max) can be.
    pub const HEADERS_CEILING: usize = 256;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_max: 16 << 10,
            headers_max: 100,
            uri_max: 8 << 10,
            body_max: 1 << 20,
            chunk_line_max: 256,
            extensions_max: 4 << 10,
        }
    }
}

/// Why a request is not read. Nothing after it on the same connection can be believed: answer with
/// the status ([`Responses::refuse`]), then [`close`](crate::Peer::close).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    /// What to answer.
    pub status: Status,
    /// What was wrong, in a few words.
    pub why: &'static str,
}

impl Error {
    /// Answered with 400.
    pub(super) const fn bad(why: &'static str) -> Self {
        Self { status: Status::BAD_REQUEST, why }
    }

    pub(super) const fn new(status: Status, why: &'static str) -> Self {
        Self { status, why }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.why)
    }
}

impl std::error::Error for Error {}
