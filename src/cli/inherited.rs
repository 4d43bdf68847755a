//! Sockets that a service manager hands over, as systemd does: LISTEN_FDS says how many there are,
//! from descriptor 3 on, LISTEN_PID whose they are, LISTEN_FDNAMES what they are called.
use std::{fmt, io, net::TcpListener};

use charkh::{Listening, Protocol, Reactor};

use super::address::Endpoint;

#[cfg(unix)]
pub(crate) use unix::take;

/// What was handed over.
#[derive(Default)]
pub(crate) struct Inherited {
    pub(crate) sockets: Vec<Inheritance>,
    /// Sockets were announced to this other process: they are left alone.
    pub(crate) of_another: Option<u32>,
}

/// One of them. It listens, or the reactor will say that it does not.
pub(crate) struct Inheritance {
    socket: Socket,
    pub(crate) name: Name,
}

/// The how many-th it is, and what the manager calls it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Name(usize, Option<String>);

/// `socket 1 ("http")`
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, called) = self;
        match called {
            Some(called) => write!(f, "socket {number} ({called:?})"),
            None => write!(f, "socket {number}"),
        }
    }
}

enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

impl Inheritance {
    /// It is called `tls`, so TLS is spoken there.
    pub(crate) fn is_secured(&self) -> bool {
        self.name.1.as_deref() == Some("tls")
    }

    /// As an address, if TLS is spoken there.
    pub(crate) fn secured(&self) -> Option<Endpoint> {
        match &self.socket {
            Socket::Tcp(socket) if self.is_secured() => {
                format!("tls:{}", socket.local_addr().ok()?).parse().ok()
            }
            _ => None,
        }
    }

    pub(crate) fn serve<P: Protocol>(self, reactor: &mut Reactor<P>) -> io::Result<Listening> {
        match self.socket {
            Socket::Tcp(socket) => reactor.listen_on(socket),
            #[cfg(unix)]
            Socket::Unix(socket) => reactor.listen_on_unix(socket),
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn take() -> Result<Inherited, String> {
    Ok(Inherited::default())
}

#[cfg(unix)]
mod unix {
    use std::{env, process};

    use listenfd::ListenFd;

    use super::{Inheritance, Inherited, Name, Socket};

    /// More cannot be named by a reactor.
    const SOCKETS_MAX: usize = 65_000;

    /// All of them, closed in programs that are started from here. A second call finds none: the
    /// variables are gone. To be called while there is one thread, for the same reason, and before
    /// anything is opened that could be taken for a socket that was announced and not handed over.
    pub(crate) fn take() -> Result<Inherited, String> {
        let variable = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let announced = Announced {
            fds: variable("LISTEN_FDS"),
            pid: variable("LISTEN_PID"),
            names: variable("LISTEN_FDNAMES"),
        };
        let names = match announced.read(process::id())? {
            Whose::Ours(names) => names,
            Whose::Another(pid) => {
                return Ok(Inherited { of_another: Some(pid), ..Inherited::default() });
            }
        };
        let mut fds = ListenFd::from_env();
        let take = |(n, name)| {
            let tcp = fds.take_tcp_listener(n).map(|taken| taken.map(Socket::Tcp));
            // What is neither is said of the first: it is what most people mean.
            let taken = tcp.or_else(|e| {
                let unix = fds.take_unix_listener(n).map(|taken| taken.map(Socket::Unix));
                unix.map_err(|_| e)
            });
            match taken {
                Ok(Some(socket)) => Ok(Inheritance { socket, name }),
                Ok(None) => Err(format!("cannot serve inherited {name}: it was not handed over")),
                Err(e) => Err(match fds.take_udp_socket(n) {
                    Ok(Some(_)) => format!("cannot serve inherited {name}: it is one of UDP"),
                    _ => format!("cannot serve inherited {name}: {e}"),
                }),
            }
        };
        let sockets = names.into_iter().enumerate().map(take).collect::<Result<_, _>>()?;
        Ok(Inherited { sockets, of_another: None })
    }

    /// The three variables.
    #[derive(Clone, Default)]
    struct Announced {
        fds: Option<String>,
        pid: Option<String>,
        names: Option<String>,
    }

    #[derive(PartialEq, Eq, Debug)]
    enum Whose {
        /// What to call each.
        Ours(Vec<Name>),
        Another(u32),
    }

    impl Announced {
        /// Strictly: whoever gets this wrong has not started the server that was meant.
        fn read(&self, own: u32) -> Result<Whose, String> {
            let Some(fds) = &self.fds else { return Ok(Whose::Ours(Vec::new())) };
            let Some(pid) = &self.pid else {
                return Err(
                    "LISTEN_FDS is set and LISTEN_PID is not: whose sockets are they?".into()
                );
            };
            let pid = pid.parse().map_err(|_| format!("LISTEN_PID={pid:?} is no process"))?;
            if pid != own {
                return Ok(Whose::Another(pid));
            }
            let count: usize =
                fds.parse().map_err(|_| format!("LISTEN_FDS={fds:?} is no number of sockets"))?;
            if count > SOCKETS_MAX {
                return Err(format!("LISTEN_FDS={fds} is more than {SOCKETS_MAX} sockets"));
            }
            let names = self.names.as_deref().filter(|names| !names.is_empty());
            let names: Vec<&str> =
                names.map(|names| names.split(':').collect()).unwrap_or_default();
            if !names.is_empty() && names.len() != count {
                let named = names.len();
                return Err(format!(
                    "LISTEN_FDNAMES names {named} sockets, LISTEN_FDS says {count}"
                ));
            }
            let name = |n: usize| Name(n + 1, names.get(n).map(|&name| name.into()));
            Ok(Whose::Ours((0..count).map(name).collect()))
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn read(fds: &str, pid: &str, names: &str) -> Result<Whose, String> {
            let some = |text: &str| (text != "-").then(|| text.to_owned());
            Announced { fds: some(fds), pid: some(pid), names: some(names) }.read(42)
        }

        #[test]
        fn case_016_what_is_announced_to_this_process_is_ours_by_name_and_number() {
            let ours = |fds, names, all: &[&str]| {
                let Ok(Whose::Ours(found)) = read(fds, "42", names) else { panic!("not ours") };
                assert_eq!(found.iter().map(Name::to_string).collect::<Vec<_>>(), all);
            };
            ours("-", "a:b", &[]);
            ours("0", "-", &[]);
            ours("2", "-", &["socket 1", "socket 2"]);
            ours("1", "", &["socket 1"]);
            let names = "http:\u{1b}[2J";
            ours("2", names, &["socket 1 (\"http\")", "socket 2 (\"\\u{1b}[2J\")"]);
            assert_eq!(read("-", "-", "-"), Ok(Whose::Ours(Vec::new())));
            assert_eq!(read("2", "43", "whatever"), Ok(Whose::Another(43)));
        }

        #[test]
        fn case_016_what_is_wrong_is_one_sentence() {
            for (fds, pid, names, says) in [
                ("1", "-", "-", "LISTEN_PID is not"),
                ("1", "", "-", "LISTEN_PID=\"\" is no process"),
                ("1", "-42", "-", "LISTEN_PID=\"-42\" is no process"),
                ("", "42", "-", "LISTEN_FDS=\"\" is no number"),
                ("garbage", "42", "-", "LISTEN_FDS=\"garbage\" is no number"),
                ("-1", "42", "-", "LISTEN_FDS=\"-1\" is no number"),
                ("99999999999999999999", "42", "-", "is no number"),
                ("4000000000", "42", "-", "more than 65000"),
                ("2", "42", "http", "names 1 sockets, LISTEN_FDS says 2"),
                ("1", "42", "a:b", "names 2 sockets, LISTEN_FDS says 1"),
            ] {
                let said = read(fds, pid, names).unwrap_err();
                assert!(said.contains(says), "{said}");
            }
        }
    }
}
