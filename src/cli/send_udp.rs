//! `charkh send --udp`: datagrams, and the answer to each.
use std::{
    io::{self, BufRead, ErrorKind, Read},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use super::{
    address::Address,
    args::SendArgs,
    send::Shown,
    units::{Maybe, Span, reason},
};

/// The longest that IPv4 has room for.
const LONGEST: usize = 65_507;

pub(crate) fn run(args: &SendArgs, address: &Address) -> Result<(), String> {
    if args.proxy_header().is_some() {
        return Err(format!("--proxy-header is for connections, not for udp:{address}"));
    }
    let (addrs, silence) = (address.resolve()?, args.timeouts().silence);
    let mut server = Server { address, addrs, socket: None, silence };
    let mut shown = Shown::new(args);
    let mut ask = |message: &[u8]| {
        let answer = server.ask(message)?;
        shown.show(&answer).and_then(|()| shown.end()).map_err(|e| reason(&e))
    };
    let result = match &args.message {
        Some(text) => ask(text.as_encoded_bytes()),
        None => each_line(io::stdin().lock(), ask),
    };
    if shown.nobody_reads { Ok(()) } else { result }
}

/// What is before each end of a line, and what is after the last. No more of a line is read than a
/// datagram can hold.
fn each_line(
    mut input: impl BufRead,
    mut each: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut line);
        match read.map_err(|e| format!("cannot read standard input: {}", reason(&e)))? {
            0 => return Ok(()),
            _ => each(line.strip_suffix(b"\n").unwrap_or(&line))?,
        }
    }
}

struct Server<'a> {
    address: &'a Address,
    /// Those that have not failed; the first is the one that is asked.
    addrs: Vec<SocketAddr>,
    socket: Option<UdpSocket>,
    silence: Option<Duration>,
}

impl Server<'_> {
    /// One datagram there, and one back. An address that says at once that nobody is there gives
    /// way to the next, until one has answered.
    fn ask(&mut self, message: &[u8]) -> Result<Vec<u8>, String> {
        if message.len() > LONGEST {
            return Err(format!("a datagram holds at most {LONGEST} bytes: this message has more"));
        }
        loop {
            match self.ask_first(message) {
                Ok(answer) => {
                    self.addrs.truncate(1);
                    return Ok(answer);
                }
                Err(e) if is_silence(&e) || self.addrs.len() <= 1 => return Err(self.explain(&e)),
                Err(_) => {
                    self.addrs.remove(0);
                    self.socket = None;
                }
            }
        }
    }

    fn ask_first(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => {
                let &to = self.addrs.first().ok_or(ErrorKind::InvalidInput)?;
                none.insert(open(to, self.silence)?)
            }
        };
        socket.send(message)?;
        let mut answer = vec![0; LONGEST + 1];
        let size = loop {
            match socket.recv(&mut answer) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        answer.truncate(size);
        Ok(answer)
    }

    fn explain(&self, e: &io::Error) -> String {
        let address = self.address;
        match e.kind() {
            _ if is_silence(e) => {
                let limit = Maybe(self.silence.map(Span));
                format!(
                    "no answer from udp:{address} for {limit} (--timeout): a datagram may be lost, \
                     and servers need not answer"
                )
            }
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => {
                format!("nobody listens on udp:{address}: the port is closed")
            }
            _ => format!("cannot send to udp:{address}: {}", reason(e)),
        }
    }
}

/// A socket that hears nobody but this server, and of ICMP messages about it.
fn open(to: SocketAddr, silence: Option<Duration>) -> io::Result<UdpSocket> {
    let socket = match to {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
    socket.connect(to)?;
    socket.set_read_timeout(silence.map(|silence| silence.max(Duration::from_millis(1))))?;
    Ok(socket)
}

/// Unix says of a timeout that the call would block, Windows that it timed out.
fn is_silence(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> (Vec<usize>, Result<(), String>) {
        let mut sizes = Vec::new();
        let result = each_line(input, |line| {
            sizes.push(line.len());
            if line.len() > LONGEST { Err("too long".into()) } else { Ok(()) }
        });
        (sizes, result)
    }

    #[test]
    fn a_line_is_a_datagram_and_one_that_is_too_long_is_not_read_to_its_end() {
        assert_eq!(lines(b""), (vec![], Ok(())));
        assert_eq!(lines(b"one\n\nthree"), (vec![3, 0, 5], Ok(())));
        let longest = [&vec![b'x'; LONGEST][..], b"\nend"].concat();
        assert_eq!(lines(&longest), (vec![LONGEST, 3], Ok(())));
        let (sizes, result) = lines(&vec![b'x'; 10 * LONGEST]);
        assert_eq!((sizes, result.is_err()), (vec![LONGEST + 1], true));
    }
}
