//! What is answered to whom.
use std::{
    fs::File,
    io::{self, Read, Write},
};

use charkh::{
    Peer,
    http::{Conn, Encoding, Request, Response, Server, Status},
};

use super::files::{FileReply, Files};

/// Bytes of a file that are read in one go.
const PIECE: u64 = 32 << 10;

/// The most that is counted to.
const NUMBERS_MAX: u64 = 100_000_000;

/// What a request is answered with, once all of it has come.
#[derive(Debug, Default)]
pub(super) enum Reply {
    /// Nothing was asked.
    #[default]
    None,
    /// A text.
    Text(Status, &'static str),
    /// The methods that there are: with 204 if they were asked for, or with what is wrong.
    Methods(Status, Methods),
    /// What came.
    Echo(Vec<u8>),
    /// The numbers from one to this one.
    Numbers(u64),
    /// Something of a file.
    File(Box<FileReply>),
    /// It is elsewhere.
    Moved(String),
}

/// What the rest of a long answer is made of.
#[derive(Debug)]
pub(super) enum Source {
    /// So many bytes of a file.
    File {
        /// Where the first of them is next.
        file: File,
        /// How many are left.
        left: u64,
    },
    /// Numbers, one a line.
    Numbers {
        /// The next.
        next: u64,
        /// The last.
        last: u64,
        /// How they are written.
        encoding: Encoding,
    },
}

type Handler = fn(&Request, rest: &str) -> Reply;

/// Paths, with what may be asked there. A path that ends with `/` is the front of those it means.
const ROUTES: &[(&str, Methods, Handler)] = &[
    ("/echo", ANY, |_, _| Reply::Echo(Vec::new())),
    ("/numbers/", GET, |_, rest| match rest.parse() {
        Ok(last) if last <= NUMBERS_MAX => Reply::Numbers(last),
        _ => NOT_FOUND,
    }),
];

/// The methods that may be asked for; none: any.
type Methods = &'static [&'static str];

const ANY: Methods = &[];
const GET: Methods = &["GET", "HEAD"];

/// Methods that are known, and may be none of a path's.
const KNOWN: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

/// Nothing is there.
pub(super) const NOT_FOUND: Reply = Reply::Text(Status::NOT_FOUND, "There is nothing here.\n");

/// Find what a request is answered with.
pub(super) fn reply(request: &Request, files: Option<&Files>) -> Reply {
    let method = request.method;
    if request.path == "*" {
        return Reply::Methods(Status::NO_CONTENT, GET);
    }
    for &(path, methods, handler) in ROUTES {
        let rest = request.path.strip_prefix(path);
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || path.ends_with('/')) {
            return match may(method, methods) {
                true => handler(request, rest),
                false => refusal(method, methods),
            };
        }
    }
    match files {
        _ if !may(method, GET) => refusal(method, GET),
        Some(files) => files.reply(request),
        None if request.path == "/" => Reply::Text(Status::OK, "Hello, wheel!"),
        None => NOT_FOUND,
    }
}

fn may(method: &str, methods: Methods) -> bool {
    methods.is_empty() || methods.contains(&method)
}

fn refusal(method: &str, methods: Methods) -> Reply {
    match method {
        "OPTIONS" => Reply::Methods(Status::NO_CONTENT, methods),
        _ if KNOWN.contains(&method) => Reply::Methods(Status::METHOD_NOT_ALLOWED, methods),
        _ => Reply::Text(Status::NOT_IMPLEMENTED, "This method is not served here.\n"),
    }
}

impl Reply {
    /// Bytes of a body that is kept.
    pub(super) fn memory(&self) -> usize {
        match self {
            Reply::Echo(body) => body.capacity(),
            _ => 0,
        }
    }

    /// Write it, or its head. What it returns is to be sent behind that.
    pub(super) fn write(
        &mut self,
        http: &mut Server,
        peer: &Peer,
        conn: &mut Conn,
    ) -> Option<Box<Source>> {
        let text = |response: Response, text: &str| {
            response.header("Content-Type", b"text/plain; charset=utf-8").body(text.as_bytes());
        };
        match self {
            Reply::None => {}
            Reply::Text(status, words) => text(http.answer(peer, conn, *status), words),
            Reply::Methods(status, methods) => {
                let methods = format!("{}, OPTIONS", methods.join(", "));
                let response = http.answer(peer, conn, *status);
                text(response.header("Allow", methods.as_bytes()), &methods);
            }
            Reply::Echo(body) => {
                let response = http.answer(peer, conn, Status::OK);
                response.header("Content-Type", b"application/octet-stream").body(body);
            }
            Reply::Numbers(last) => {
                let response = http.answer(peer, conn, Status::OK);
                let encoding = response.header("Content-Type", b"text/plain").stream();
                let source = Source::Numbers { next: 1, last: *last, encoding };
                return (encoding != Encoding::None).then(|| Box::new(source));
            }
            Reply::File(reply) => return reply.write(http, peer, conn),
            Reply::Moved(path) => {
                let response = http.answer(peer, conn, Status::PERMANENT_REDIRECT);
                text(response.header("Location", path.as_bytes()), "It has moved.\n");
            }
        }
        None
    }
}

impl Source {
    /// Append the next piece; `true` if it was the last.
    ///
    /// # Errors
    /// A file that cannot be read, or has become shorter than was announced.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        match self {
            Source::File { file, left } => {
                let wanted = PIECE.min(*left);
                let got = file.take(wanted).read_to_end(out)? as u64;
                if got < wanted {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= got;
                Ok(*left == 0)
            }
            Source::Numbers { next, last, encoding } => {
                let mut lines = Vec::new();
                while next <= last && lines.len() < PIECE as usize {
                    writeln!(lines, "{next}")?;
                    *next += 1;
                }
                encoding.write(out, &lines);
                let is_over = next > last;
                if is_over {
                    let _ = encoding.end(out); // `is_framed` says it
                }
                Ok(is_over)
            }
        }
    }

    /// Its end can be told without the connection's.
    pub(super) fn is_framed(&self) -> bool {
        !matches!(self, Source::Numbers { encoding: Encoding::UntilClosed, .. })
    }
}
