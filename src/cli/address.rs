//! Addresses as people write them: `host:port`, `[v6]:port`, or a port of this machine; with what
//! is spoken there in front of it, where that is not plain TCP.
use std::{
    fmt, io,
    net::{Ipv6Addr, SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    str::FromStr,
};

use charkh::UnixAddr;

/// Where the server listens, and where the client connects, if nothing else is said.
pub(crate) const DEFAULT: &str = "localhost:12345";

/// Where to listen or to connect, and what is spoken there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Endpoint {
    Tcp(Address),
    /// `tls:host:port`
    Tls(Address),
    /// `udp:host:port`
    Udp(Address),
    /// `unix:path`; `unix:@name` has no file (Linux).
    Unix(PathBuf),
}

impl Endpoint {
    /// The name, or the address without brackets, of the machine that it is at.
    pub(crate) fn host(&self) -> Option<&str> {
        match self {
            Endpoint::Tcp(address) | Endpoint::Tls(address) | Endpoint::Udp(address) => {
                Some(&address.host)
            }
            Endpoint::Unix(_) => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "{address}"),
            Endpoint::Tls(address) => write!(f, "tls:{address}"),
            Endpoint::Udp(address) => write!(f, "udp:{address}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((kind @ ("tcp" | "tls" | "udp"), rest)) if rest.starts_with("unix:") => {
                Err(format!("{text:?} is two kinds of address: write {rest} without {kind}:"))
            }
            Some(("tcp", rest)) => rest.parse().map(Self::Tcp),
            Some(("tls", rest)) => rest.parse().map(Self::Tls),
            Some(("udp", rest)) => rest.parse().map(Self::Udp),
            Some(("unix", "" | "@")) => {
                Err(format!("{text:?} has no path: write unix:/run/charkh.sock"))
            }
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            _ => text.parse().map(Self::Tcp),
        }
    }
}

impl Endpoint {
    /// That of a unix socket, which has a file unless it begins with `@`.
    pub(crate) fn unix(path: &Path) -> UnixAddr {
        match path.to_str().and_then(|path| path.strip_prefix('@')) {
            Some(name) => UnixAddr::abstract_name(name),
            None => UnixAddr::path(path),
        }
    }
}

/// A host, which is a name or an address without brackets, and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// All socket addresses of it, each once: a name may be found in several places.
    pub(crate) fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        let failed = |e: io::Error| {
            let detail = e.to_string();
            // The system's words come after these, which say nothing to anybody.
            let detail = detail.trim_start_matches("failed to lookup address information: ");
            format!(
                "cannot find the host of {self}: {detail}; write a name that this machine knows, \
                 or an address such as 127.0.0.1:{}",
                self.port
            )
        };
        let found = (self.host.as_str(), self.port).to_socket_addrs().map_err(failed)?;
        let mut addrs = Vec::new();
        for addr in found {
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        Ok(addrs)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str, instead: &str| Err(format!("{text:?} {what}: write {instead}"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let (host, port) = if text.is_empty() {
            return wrong("is no address", DEFAULT);
        } else if digits(text) {
            ("localhost", text)
        } else if let Some(rest) = text.strip_prefix('[') {
            let Some((host, port)) = rest.split_once(']') else {
                return wrong("has a bracket that is not closed", "[::1]:12345");
            };
            // What follows a `%` names an interface; the system knows which there are.
            let ip = host.split_once('%').map_or(host, |(ip, _)| ip);
            if ip.parse::<Ipv6Addr>().is_err() {
                return wrong("has no IPv6 address in its brackets", "[::1]:12345");
            }
            match port.strip_prefix(':') {
                Some(port) => (host, port),
                None if port.is_empty() => {
                    return wrong("has no port", &format!("[{host}]:12345"));
                }
                None => return wrong("goes on after its bracket", &format!("[{host}]:12345")),
            }
        } else if let Some((scheme, rest)) = text.split_once("://") {
            let rest = rest.trim_end_matches('/');
            return wrong(&format!("begins with {scheme}://, which has no place here"), rest);
        } else {
            match text.rsplit_once(':') {
                None => return wrong("has no port", &format!("{text}:12345")),
                Some((host, port)) if host.contains(':') => {
                    let all = format!("[{text}]:12345");
                    let part = format!("[{host}]:{port}");
                    return match text.parse::<Ipv6Addr>() {
                        Ok(_) => wrong("is an IPv6 address without brackets and a port", &all),
                        Err(_) => wrong("is an IPv6 address without brackets", &part),
                    };
                }
                Some(("", port)) => {
                    let all = format!("localhost:{port}, or 0.0.0.0:{port} for every interface");
                    return wrong("has no host", &all);
                }
                Some((host, port)) => (host, port),
            }
        };
        match port {
            "" => wrong("has no port", &format!("{text}12345")),
            port if !digits(port) => {
                let all = Self { host: host.into(), port: 12345 };
                wrong("has a port that is no number", &all.to_string())
            }
            port => match port.parse() {
                Ok(port) => Ok(Self { host: host.into(), port }),
                Err(_) => wrong("has a port that is too large", "one of at most 65535"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> String {
        text.parse::<Address>().unwrap_err()
    }

    #[test]
    fn what_people_write() {
        for (text, shown) in [
            ("localhost:12345", "localhost:12345"),
            ("12345", "localhost:12345"),
            ("0", "localhost:0"),
            ("127.0.0.1:65535", "127.0.0.1:65535"),
            ("[::1]:80", "[::1]:80"),
            ("[fe80::1%eth0]:080", "[fe80::1%eth0]:80"),
            ("example.org:7", "example.org:7"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_spoken_stands_in_front() {
        for (text, shown) in [
            ("7000", "localhost:7000"),
            ("tcp:7000", "localhost:7000"),
            ("tls:7000", "tls:localhost:7000"),
            ("tls:[::1]:443", "tls:[::1]:443"),
            ("udp:0.0.0.0:53", "udp:0.0.0.0:53"),
            ("unix:/run/x.sock", "unix:/run/x.sock"),
            ("unix:a:b", "unix:a:b"),
            ("unix:@name", "unix:@name"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        for text in ["unix:", "unix:@"] {
            let says = text.parse::<Endpoint>().unwrap_err();
            assert!(says.ends_with("has no path: write unix:/run/charkh.sock"), "{says}");
        }
        assert!("tls:".parse::<Endpoint>().is_err());
        let says = "tls:unix:x".parse::<Endpoint>().unwrap_err();
        assert_eq!(says, "\"tls:unix:x\" is two kinds of address: write unix:x without tls:");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_write_instead() {
        for (text, what, instead) in [
            ("", "is no address", "write localhost:12345"),
            ("localhost", "has no port", "write localhost:12345"),
            ("localhost:", "has no port", "write localhost:12345"),
            ("localhost:http", "no number", "write localhost:12345"),
            ("127.0.0.1:+80", "no number", "write 127.0.0.1:12345"),
            ("[::1]:80x", "no number", "write [::1]:12345"),
            ("localhost:65536", "too large", "at most 65535"),
            ("99999999999999999999", "too large", "at most 65535"),
            (":8080", "has no host", "write localhost:8080, or 0.0.0.0:8080"),
            ("[::1", "not closed", "write [::1]:12345"),
            ("[::1]", "has no port", "write [::1]:12345"),
            ("[::1]80", "goes on", "write [::1]:12345"),
            ("[::1]:", "has no port", "write [::1]:12345"),
            ("[localhost]:80", "no IPv6 address", "write [::1]:12345"),
            ("::1", "without brackets and a port", "write [::1]:12345"),
            ("::1:x", "without brackets", "write [::1]:x"),
        ] {
            let says = says(text);
            assert!(says.starts_with(&format!("{text:?} ")), "{says}");
            assert!(says.contains(what) && says.contains(instead), "{says}");
        }
    }

    #[test]
    fn a_name_is_resolved_and_an_unknown_one_is_named() {
        let addrs = "127.0.0.1:7".parse::<Address>().unwrap().resolve().unwrap();
        assert_eq!(addrs, ["127.0.0.1:7".parse().unwrap()]);
        let says = "no such host:7".parse::<Address>().unwrap().resolve().unwrap_err();
        assert!(says.starts_with("cannot find the host of no such host:7: "), "{says}");
    }
}
