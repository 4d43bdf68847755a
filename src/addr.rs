//! Who is at the other end of a connection, and where a server listens: [`Addr`].
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs},
    option,
    path::Path,
    sync::Arc,
};

use crate::logging::Escaped;

/// One end of a connection: of the internet, or of this machine alone.
///
/// ```
/// use charkh::{Addr, UnixAddr};
/// let here = Addr::from(([127, 0, 0, 1], 80));
/// assert_eq!(here.to_string(), "127.0.0.1:80");
/// let there = Addr::from(UnixAddr::path("/run/x.sock"));
/// assert_eq!(there.to_string(), "unix:/run/x.sock");
/// assert_eq!((here.port(), there.port()), (Some(80), None));
/// ```
///
/// It compares with a [`SocketAddr`], and is one wherever std wants one (`TcpStream::connect`),
/// unless it is of a unix socket.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Addr {
    /// TCP.
    Ip(SocketAddr),
    /// A unix socket.
    Unix(UnixAddr),
}

/// The name of a unix socket, if it has one. Most clients have none.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum UnixAddr {
    /// None was asked for.
    Unnamed,
    /// A file, as the path was given: a relative one says nothing to whoever is elsewhere.
    Path(Arc<Path>),
    /// A name without a file, which is gone with its socket (Linux). Any bytes.
    Abstract(Arc<[u8]>),
}

impl Addr {
    /// The address of the machine; `None` for a unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_addr().map(|addr| addr.ip())
    }

    /// The port; `None` for a unix socket.
    pub fn port(&self) -> Option<u16> {
        self.socket_addr().map(|addr| addr.port())
    }

    /// Both; `None` for a unix socket.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Addr::Ip(addr) => Some(*addr),
            Addr::Unix(_) => None,
        }
    }
}

impl UnixAddr {
    /// That of a file.
    pub fn path(path: impl AsRef<Path>) -> Self {
        Self::Path(path.as_ref().into())
    }

    /// That of a name which has no file.
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Self {
        Self::Abstract(name.as_ref().into())
    }
}

/// Bytes of a name that are shown: all that one can have.
const SHOWN_MAX: usize = 128;

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Ip(addr) => addr.fmt(f),
            Addr::Unix(addr) => addr.fmt(f),
        }
    }
}

/// `unix:/run/x.sock`, `unix:@name`, `unix`. A stranger chooses what its own is called, so it is
/// [`Escaped`].
impl fmt::Display for UnixAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, name) = match self {
            UnixAddr::Unnamed => return f.write_str("unix"),
            UnixAddr::Path(path) => ("", path.as_os_str().as_encoded_bytes()),
            UnixAddr::Abstract(name) => ("@", &name[..]),
        };
        write!(f, "unix:{mark}{}", Escaped::new(name, SHOWN_MAX))
    }
}

impl From<UnixAddr> for Addr {
    fn from(addr: UnixAddr) -> Self {
        Addr::Unix(addr)
    }
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Self {
        Addr::Ip(addr)
    }
}

impl From<SocketAddrV4> for Addr {
    fn from(addr: SocketAddrV4) -> Self {
        Addr::Ip(addr.into())
    }
}

impl From<SocketAddrV6> for Addr {
    fn from(addr: SocketAddrV6) -> Self {
        Addr::Ip(addr.into())
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Addr {
    fn from(addr: (I, u16)) -> Self {
        Addr::Ip(addr.into())
    }
}

impl PartialEq<SocketAddr> for Addr {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.socket_addr() == Some(*other)
    }
}

impl ToSocketAddrs for Addr {
    type Iter = option::IntoIter<SocketAddr>;

    /// # Errors
    /// `InvalidInput` for that of a unix socket.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match self.socket_addr() {
            Some(addr) => Ok(Some(addr).into_iter()),
            None => {
                let text = format!("{self} is no address of the internet");
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_shown_as_it_is_written() {
        let v6: SocketAddr = "[::1]:80".parse().unwrap();
        for (addr, shown) in [
            (Addr::from(v6), "[::1]:80"),
            (Addr::from(UnixAddr::Unnamed), "unix"),
            (Addr::from(UnixAddr::path("/run/چرخ.sock")), "unix:/run/چرخ.sock"),
            (Addr::from(UnixAddr::abstract_name("name")), "unix:@name"),
            (Addr::from(UnixAddr::abstract_name(b"a\0\xff")), r"unix:@a\u{0}\xff"),
        ] {
            assert_eq!(addr.to_string(), shown);
        }
    }

    #[test]
    fn case_070_a_name_that_a_stranger_chose_starts_no_new_line() {
        let shown = Addr::from(UnixAddr::path("/tmp/x\n[ERROR] \x1b[2J\u{202e}")).to_string();
        assert_eq!(shown, r"unix:/tmp/x\n[ERROR] \u{1b}[2J\u{202e}");
    }

    #[test]
    fn it_is_a_socket_address_where_it_can_be() {
        let tcp: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let (addr, unix) = (Addr::from(tcp), Addr::from(UnixAddr::Unnamed));
        assert!(addr == tcp && unix != tcp);
        assert_eq!((addr.ip(), addr.port()), (Some(tcp.ip()), Some(80)));
        assert_eq!(unix.socket_addr(), None);
        assert!(addr.to_socket_addrs().unwrap().eq([tcp]));
        assert_eq!(unix.to_socket_addrs().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn it_is_no_larger_than_a_socket_address() {
        assert_eq!(size_of::<Addr>(), size_of::<SocketAddr>());
    }
}
