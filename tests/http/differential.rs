//! Two parsers that others wrote, on requests that are almost in order. What we take for a request
//! they take for the same request; what we refuse and they take, we refuse on purpose.
use charkh::{
    Input,
    http::{Limits, Part, Requests},
};

use crate::{clients::python, common::says};

/// One after the other; each is in order.
const SEEDS: [&str; 9] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b?c=d HTTP/1.1\r\nHost: a:80\r\nAccept: */*\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
     GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /e HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1a;b=c\r\n\
     abcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "PUT /e HTTP/1.1\r\ntransfer-encoding: Chunked\r\nhost: a\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "DELETE /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok\
     GET / HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\nHost:a\r\nX-A:\t b \t\r\nX-B:\r\n\r\n\
     HEAD /x HTTP/1.1\r\nHost: [::1]\r\n\r\n",
    "GET http://a/b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
];

const WORDS: [&str; 30] = [
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\0",
    ":",
    ";",
    ",",
    "+",
    "-",
    "0x",
    "0",
    "5",
    "ffffffffffffffff",
    "\r\n\r\n",
    "0\r\n\r\n",
    "\u{b}",
    "\u{7f}",
    "\u{e9}",
    "Content-Length: 5\r\n",
    "Host: b\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "HTTP/1.1",
    "HTTP/1.0",
    " chunked",
    "X : y\r\n",
    " folded\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// What is refused here on purpose, though others read it.
const ON_PURPOSE: &[(&str, &str)] = &[
    ("no host", "RFC 9112 asks for it; llhttp leaves hosts to the server"),
    ("two hosts", "the same"),
    ("a host that is none", "the same"),
    ("a target that is another host's", "the same"),
    (
        "a target that is none",
        "fragments, and what is neither a path nor a URL; both let them pass",
    ),
    ("a version that is not spoken here", "llhttp reads HTTP/2.0 and HTTP/0.9 with such lines"),
    ("a version that is none", "h11 takes any two digits"),
    ("a method that is not served here", "CONNECT and TRACE"),
    ("a request line without a version", "llhttp reads HTTP/0.9"),
    ("a method that is none", "h11 skips empty lines before a request, llhttp also LF alone"),
    ("an unknown expectation", "417"),
    ("a body that is too long", "a limit"),
    ("two lengths", "h11 takes them if they are equal"),
    ("a length that is none", "h11 takes 5,5 for 5"),
    ("a length and chunks", "h11 drops the length, as RFC 9112 allows"),
    ("chunks in HTTP/1.0", "both read them"),
    ("a transfer encoding other than chunked", "llhttp reads bodies without an end"),
    ("a line that ends with LF alone", "h11 takes them, and RFC 9112 allows it"),
    ("a header's name that is none", "h11 unfolds lines"),
    ("a header's value that is none", "llhttp takes some control bytes, h11 a CR before CRLF"),
    ("a chunk's size that is none", "both take blanks behind it"),
    ("a chunk's line that ends with LF alone", "h11 takes them"),
    ("an extension of a chunk that is none", "h11 takes any bytes"),
    ("a trailer that belongs into the head", "both throw them away"),
    ("a trailer's name that is none", "h11 unfolds lines"),
    ("a trailer's value that is none", "as in headers"),
];

/// What others refuse on purpose, or cannot do, though we read it.
const OTHERS_ON_PURPOSE: &[(&str, &str)] = &[
    ("Invalid method encountered", "llhttp knows methods by name"),
    ("Expected space after method", "the same"),
    ("no request line received", "h11 takes no empty line before a request"),
    ("Request has invalid `Transfer-Encoding`", "llhttp takes no tab behind it"),
    ("Expected HTTP/", "llhttp knows some methods in other protocols only"),
    ("last", "h11 keeps no connection in HTTP/1.0"),
    ("Data after `Connection: close`", "here nothing behind it is looked at"),
];

/// The requests in `stream`, as `differential.py` writes them, and how it ends.
fn ours(stream: &[u8]) -> (Vec<String>, String) {
    let (mut requests, mut input) = (Requests::default(), Input::new(stream));
    let (mut done, mut head, mut body) = (Vec::new(), String::new(), Vec::new());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    loop {
        match requests.next(&Limits::default(), &mut input) {
            Ok(Some(Part::Head(request))) => {
                head = format!(
                    "{}:{}",
                    hex(request.method.as_bytes()),
                    hex(request.target.as_bytes())
                );
                body.clear();
            }
            Ok(Some(Part::Data(bytes))) => body.extend_from_slice(bytes),
            Ok(Some(Part::End)) => done.push(format!("{head}:{}", hex(&body))),
            Ok(None) => return (done, "more".into()),
            Err(error) => return (done, error.why.into()),
        }
    }
}

fn mutate(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut stream = rng.choice(SEEDS).unwrap().as_bytes().to_vec();
    for _ in 0..rng.usize(0..4) {
        let at = rng.usize(0..=stream.len());
        let end = (at + rng.usize(0..6)).min(stream.len());
        match rng.usize(0..6) {
            0 => drop(stream.drain(at..end)),
            1 => drop(stream.splice(at..at, rng.choice(WORDS).unwrap().bytes())),
            2 => drop(stream.splice(at..end, rng.choice(WORDS).unwrap().bytes())),
            3 if at < stream.len() => stream[at] = rng.u8(..),
            4 if at < stream.len() => stream[at] ^= 1 << rng.usize(0..8),
            _ => {
                let again = stream[at..end].to_vec();
                drop(stream.splice(at..at, again));
            }
        }
    }
    stream
}

#[test]
fn two_other_parsers_read_the_same_requests() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut streams: Vec<Vec<u8>> = SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    streams.extend((0..6000).map(|_| mutate(&mut rng)));
    let input: Vec<u8> = streams
        .iter()
        .flat_map(|stream| [&(stream.len() as u32).to_be_bytes(), &stream[..]].concat())
        .collect();
    let script = include_str!("differential.py");
    let Some(said) = says(&python(), &["-c", script], &input) else { return };
    if said.contains("ModuleNotFoundError") {
        return eprintln!("not tested: h11 and httptools are not installed");
    }
    let mut lines = said.lines();
    let (mut accepted, mut refused, mut complaints) = (0, 0, Vec::new());
    for stream in &streams {
        let (done, end) = ours(stream);
        accepted += done.len();
        refused += usize::from(end != "more");
        for line in lines.by_ref().take(2) {
            if let Some(complaint) = compare(&done, &end, line) {
                let shown = String::from_utf8_lossy(stream);
                complaints
                    .push(format!("{complaint}\n  {shown:?}\n  ours {done:?} {end}\n  {line}"));
            }
        }
    }
    assert!(lines.next().is_none() && accepted > 3000 && refused > 1000, "{accepted} {refused}");
    assert!(
        complaints.is_empty(),
        "{}: {}",
        complaints.len(),
        complaints[..3.min(complaints.len())].join("\n")
    );
}

/// What is wrong between us and one line of another.
fn compare(done: &[String], end: &str, line: &str) -> Option<&'static str> {
    let mut fields = line.splitn(3, ' ').skip(1);
    let theirs = fields.next().unwrap_or_default();
    let theirs: Vec<&str> = theirs.split(';').filter(|request| *request != "-").collect();
    let their_end = fields.next().unwrap_or_default();
    let listed =
        |list: &[(&str, &str)], text: &str| list.iter().any(|(name, _)| text.contains(name));
    for (n, own) in done.iter().enumerate() {
        match theirs.get(n) {
            Some(their) if their == own => {}
            None if listed(OTHERS_ON_PURPOSE, their_end) => return None,
            Some(_) => return Some("another request"),
            None => return Some("no request to them"),
        }
    }
    match theirs.len() > done.len() && !listed(ON_PURPOSE, end) {
        true => Some("no request to us"),
        false => None,
    }
}
