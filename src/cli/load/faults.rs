//! What ended a connection, or kept it from coming up: the target's doing, or a wall of this
//! machine.
use std::{io, time::Duration};

use charkh::Reason;

use crate::cli::units::reason as words;

pub(crate) enum Lost {
    InGoodOrder,
    /// Of the target: the kind, and this one in words.
    Error(&'static str, String),
    /// Of this machine: what it is short of.
    Limit(&'static str),
}

/// A connection was up and is gone. `owed`: a reply was; `announced`: the target had said so.
pub(crate) fn lost(reason: &Reason, owed: bool, announced: bool) -> Lost {
    let error = |kind, what: &str| Lost::Error(kind, what.into());
    match reason {
        Reason::Closed if owed => {
            error("closed early", "the target closed before its reply was whole")
        }
        Reason::Closed | Reason::Aborted if announced => Lost::InGoodOrder,
        Reason::Closed => error("closed", "the target closed a connection that owed nothing"),
        Reason::Broken(e) => match short_of(e) {
            Some(limit) => Lost::Limit(limit),
            None if is_reset(e) => error("reset", "the target reset a connection"),
            None => Lost::Error("io error", words(e)),
        },
        Reason::OutOfMemory | Reason::OutputOverflow => {
            error("unread", "the target does not read what it is sent")
        }
        // Nothing else here has faults.
        Reason::Fault(e) => Lost::Error("tls error", e.to_string()),
        other => Lost::Error("lost", other.to_string()),
    }
}

/// A connection never came up. `shook`: it was there, but the handshake failed.
pub(crate) fn not_connected(reason: &Reason, timeout: Duration, shook: bool) -> Lost {
    match reason {
        Reason::Handshake => {
            Lost::Error("handshake timeout", format!("a handshake was not over within {timeout:?}"))
        }
        Reason::Fault(e) => Lost::Error("handshake failed", e.to_string()),
        Reason::Broken(e) if shook && short_of(e).is_none() => {
            Lost::Error("handshake failed", words(e))
        }
        Reason::ConnectTimeout => {
            Lost::Error("connect timeout", format!("no answer to a connect within {timeout:?}"))
        }
        Reason::Broken(e) => match short_of(e) {
            Some(limit) => Lost::Limit(limit),
            None if e.kind() == io::ErrorKind::ConnectionRefused => {
                Lost::Error("connect refused", words(e))
            }
            None => Lost::Error("connect failed", words(e)),
        },
        Reason::Stopped => Lost::InGoodOrder,
        other => Lost::Error("connect failed", other.to_string()),
    }
}

fn is_reset(e: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(e.kind(), ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// The wall that an error is, if it is one of this machine.
fn short_of(e: &io::Error) -> Option<&'static str> {
    match e.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => Some("ports"),
        io::ErrorKind::OutOfMemory => Some("memory"),
        // ENFILE, EMFILE; ENOBUFS on Linux and on BSD.
        _ => match e.raw_os_error() {
            Some(23 | 24) => Some("descriptors"),
            Some(105 | 55) => Some("memory"),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(lost: Lost) -> &'static str {
        match lost {
            Lost::InGoodOrder => "",
            Lost::Error(kind, what) => {
                assert!(!what.is_empty());
                kind
            }
            Lost::Limit(limit) => limit,
        }
    }

    #[test]
    fn what_ended_a_connection_has_its_kind() {
        let broken = |code| Reason::Broken(io::Error::from_raw_os_error(code));
        assert_eq!(kind(lost(&Reason::Closed, false, true)), "");
        assert_eq!(kind(lost(&Reason::Closed, false, false)), "closed");
        assert_eq!(kind(lost(&Reason::Closed, true, true)), "closed early");
        assert_eq!(kind(lost(&Reason::OutOfMemory, true, false)), "unread");
        assert_eq!(kind(lost(&Reason::Idle, true, false)), "lost");
        let second = Duration::from_secs(1);
        assert_eq!(kind(not_connected(&Reason::ConnectTimeout, second, false)), "connect timeout");
        assert_eq!(kind(not_connected(&Reason::Stopped, second, false)), "");
        #[cfg(target_os = "linux")]
        for (code, up, down) in [
            (104, "reset", "connect failed"),
            (32, "reset", "connect failed"),
            (113, "io error", "connect failed"),
            (111, "io error", "connect refused"),
            (99, "ports", "ports"),
            (24, "descriptors", "descriptors"),
            (23, "descriptors", "descriptors"),
            (12, "memory", "memory"),
            (105, "memory", "memory"),
        ] {
            assert_eq!(kind(lost(&broken(code), true, false)), up, "{code}");
            assert_eq!(kind(not_connected(&broken(code), second, false)), down, "{code}");
        }
        #[cfg(not(target_os = "linux"))]
        let _ = broken;
    }
}
