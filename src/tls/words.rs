//! What rustls finds wrong, as people read it: in a log, and at a terminal.
use std::{error, fmt};

use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible,
    pki_types::UnixTime,
};

use crate::Escaped;

/// Names of a certificate that are told, and how much of each.
const NAMES_MAX: usize = 4;
const NAME_SHOWN_MAX: usize = 100;

/// What ended a connection, in plain words. [`source`](error::Error::source) is rustls' own error.
#[derive(Clone, Debug)]
pub struct Failed(pub(super) Error);

impl error::Error for Failed {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.0)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use InvalidMessage::{
            CertificatePayloadTooLarge, HandshakePayloadTooLarge, InvalidContentType,
            MessageTooLarge,
        };
        match &self.0 {
            Error::InvalidMessage(InvalidContentType) => f.write_str("what came is not TLS"),
            Error::InvalidMessage(MessageTooLarge) | Error::PeerSentOversizedRecord => {
                f.write_str("the peer sent a record that is longer than TLS allows")
            }
            Error::InvalidMessage(CertificatePayloadTooLarge | HandshakePayloadTooLarge) => {
                f.write_str("the peer sent a handshake message that is longer than it may be")
            }
            Error::InvalidMessage(e) => write!(f, "what came is no TLS that can be read: {e:?}"),
            Error::InappropriateMessage { got_type, .. } => {
                write!(f, "the peer sent what has no place there: {got_type:?}")
            }
            Error::InappropriateHandshakeMessage { got_type, .. } => {
                write!(f, "the peer sent what has no place there: {got_type:?}")
            }
            Error::PeerIncompatible(e) => differ(e, f),
            Error::PeerMisbehaved(e) => write!(f, "the peer breaks the rules of TLS: {e:?}"),
            Error::AlertReceived(alert) => refuse(*alert, f),
            Error::InvalidCertificate(e) => distrust(e, f),
            Error::NoCertificatesPresented => f.write_str("the peer showed no certificate"),
            Error::DecryptError => f.write_str("what came cannot be decrypted"),
            Error::NoApplicationProtocol => {
                f.write_str("none of the protocols that the client offers is spoken here (ALPN)")
            }
            other => other.fmt(f),
        }
    }
}

/// The two have nothing in common.
fn differ(why: &PeerIncompatible, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use PeerIncompatible::{
        ServerDoesNotSupportTls12Or13, SignatureAlgorithmsExtensionRequired,
        SupportedVersionsExtensionRequired, Tls12NotOffered, Tls12NotOfferedOrEnabled,
    };
    match why {
        ServerDoesNotSupportTls12Or13
        // Before TLS 1.2 there was none, and since then all have it.
        | SignatureAlgorithmsExtensionRequired
        | SupportedVersionsExtensionRequired
        | Tls12NotOffered
        | Tls12NotOfferedOrEnabled => f.write_str("the peer speaks neither TLS 1.2 nor TLS 1.3"),
        other => write!(f, "the peer has too little in common with this side: {other:?}"),
    }
}

/// The peer said that it cannot go on.
fn refuse(alert: AlertDescription, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(match alert {
        AlertDescription::ProtocolVersion => "the peer speaks none of the versions of TLS here",
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "the peer found nothing to agree on in what it was offered"
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => {
            "the peer does not accept the certificate that it was shown"
        }
        AlertDescription::CertificateExpired => {
            "the peer says that the certificate that it was shown has expired"
        }
        AlertDescription::CertificateRevoked => {
            "the peer says that the certificate that it was shown was revoked"
        }
        AlertDescription::UnknownCA => {
            "the peer trusts nobody who has signed the certificate that it was shown"
        }
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "the peer wants to be shown a certificate"
        }
        AlertDescription::UnrecognisedName => "the peer does not go by that name",
        AlertDescription::NoApplicationProtocol => {
            "the peer speaks none of the protocols that it was offered (ALPN)"
        }
        AlertDescription::UserCanceled => "the peer gave up",
        other => return write!(f, "the peer reported {other:?}"),
    })
}

/// The peer's certificate is no good.
fn distrust(why: &CertificateError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("the peer's certificate ")?;
    match why {
        // The second: somebody of that name is trusted, whose key this cannot be.
        CertificateError::UnknownIssuer
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            f.write_str("was signed by nobody who is trusted here")
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            write!(f, "is not for {}, but for ", expected.to_str())?;
            let names = presented.iter().take(NAMES_MAX).map(|name| bare(name));
            let names = names.map(|name| Escaped::new(name.as_bytes(), NAME_SHOWN_MAX).to_string());
            let names = names.collect::<Vec<_>>().join(", ");
            f.write_str(if names.is_empty() { "nobody" } else { &names })?;
            match presented.len().saturating_sub(NAMES_MAX) {
                0 => Ok(()),
                more => write!(f, " and {more} more"),
            }
        }
        CertificateError::ExpiredContext { time, not_after } => {
            write!(f, "has expired, {} ago", span(*not_after, *time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            write!(f, "is not valid yet, but in {}", span(*time, *not_before))
        }
        CertificateError::Expired => f.write_str("has expired"),
        CertificateError::NotValidYet => f.write_str("is not valid yet"),
        CertificateError::NotValidForName => f.write_str("is for another name"),
        CertificateError::Revoked => f.write_str("was revoked"),
        CertificateError::BadSignature => f.write_str("has a signature that is wrong"),
        CertificateError::BadEncoding => f.write_str("cannot be read"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            f.write_str("is not meant for this side of a connection")
        }
        // What `openssl req -x509` makes, if nobody tells it otherwise.
        CertificateError::Other(e) if e.to_string().contains("CaUsedAsEndEntity") => {
            f.write_str("is an authority's own (CA:TRUE), which can sign others but serve nobody")
        }
        other => write!(f, "cannot be accepted: {other}"),
    }
}

/// `DnsName("a.b")` is `a.b`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner.trim_end_matches(')'));
    inner.trim_matches('"')
}

/// Roughly how long that is.
fn span(from: UnixTime, to: UnixTime) -> String {
    let secs = to.as_secs().saturating_sub(from.as_secs());
    let (n, unit) = match secs {
        0..120 => (secs, "second"),
        120..7_200 => (secs / 60, "minute"),
        7_200..172_800 => (secs / 3_600, "hour"),
        _ => (secs / 86_400, "day"),
    };
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use rustls::pki_types::ServerName;

    fn says(e: impl Into<Error>) -> String {
        Failed(e.into()).to_string()
    }

    #[test]
    fn what_people_meet_first_is_said_in_their_words() {
        assert_eq!(says(InvalidMessage::InvalidContentType), "what came is not TLS");
        assert_eq!(
            says(PeerIncompatible::Tls12NotOffered),
            "the peer speaks neither TLS 1.2 nor TLS 1.3"
        );
        assert_eq!(
            says(Error::AlertReceived(AlertDescription::CertificateRequired)),
            "the peer wants to be shown a certificate"
        );
        assert_eq!(
            says(CertificateError::UnknownIssuer),
            "the peer's certificate was signed by nobody who is trusted here"
        );
    }

    #[test]
    fn a_certificate_for_others_names_them_but_not_all() {
        let wrong = |presented: &[&str]| {
            let presented = presented.iter().map(|name| name.to_string()).collect();
            let expected = ServerName::try_from("a.example").unwrap();
            says(CertificateError::NotValidForNameContext { expected, presented })
        };
        let begins = "the peer's certificate is not for a.example, but for ";
        assert_eq!(wrong(&[]), format!("{begins}nobody"));
        assert_eq!(wrong(&["DnsName(\"b.c\")", "IpAddress(::1)"]), format!("{begins}b.c, ::1"));
        // Whoever made the certificate chose them.
        assert_eq!(wrong(&["DnsName(\"a\u{1b}[2J\nb\")"]), format!("{begins}a\\u{{1b}}[2J\\nb"));
        assert_eq!(wrong(&["a"; 7]), format!("{begins}a, a, a, a and 3 more"));
    }

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        let at = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let expired = |secs: u64| {
            says(CertificateError::ExpiredContext {
                time: at(1_000_000 + secs),
                not_after: at(1_000_000),
            })
        };
        assert_eq!(expired(1), "the peer's certificate has expired, 1 second ago");
        assert_eq!(expired(150), "the peer's certificate has expired, 2 minutes ago");
        assert_eq!(expired(7_200), "the peer's certificate has expired, 2 hours ago");
        assert_eq!(expired(86_400 * 3), "the peer's certificate has expired, 3 days ago");
    }
}
