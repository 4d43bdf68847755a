//! The request that asks for WebSocket, and what it is answered with.
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use charkh::http::{Error, Framing, Request, Response, Status, Version};
use sha1::{Digest as _, Sha1};

/// The version that is spoken here, and the only one there is.
pub(super) const VERSION: &str = "13";

/// What RFC 6455 lays behind a key, for nobody would say it by chance.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Proof that the key was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accept([u8; 28]);

impl Accept {
    fn new(key: &[u8]) -> Option<Self> {
        let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
        let mut text = [0; 28];
        let size = BASE64.encode_slice(digest, &mut text).ok()?;
        (size == text.len()).then_some(Self(text))
    }
}

/// Whether a request asks to change the protocol to WebSocket. Others go on in HTTP.
pub(super) fn is_asked_for(request: &Request) -> bool {
    request.version == Version::Http11
        && request.lists("Connection", "upgrade")
        && request.lists("Upgrade", "websocket")
}

/// Check one that does.
///
/// # Errors What it is to be refused with, and the connection closed: whatever the client sends
/// behind it may be frames, and must not be taken for requests.
pub(super) fn check(request: &Request) -> Result<Accept, Error> {
    let refuse = |status, why| Err(Error { status, why });
    if request.method != "GET" || request.framing != Framing::None {
        return refuse(Status::BAD_REQUEST, "WebSocket is asked for with GET, and without a body");
    }
    if request.count("Sec-WebSocket-Version") > 1 {
        return refuse(Status::BAD_REQUEST, "more than one version of WebSocket");
    }
    if request.header("Sec-WebSocket-Version") != Some(VERSION.as_bytes()) {
        return refuse(Status::UPGRADE_REQUIRED, "a version of WebSocket that is not spoken here");
    }
    let mut nonce = [0; 18];
    let key = match request.header("Sec-WebSocket-Key") {
        // Sixteen bytes are 24 letters of Base64.
        Some(key) if key.len() == 24 && BASE64.decode_slice(key, &mut nonce) == Ok(16) => key,
        _ => return refuse(Status::BAD_REQUEST, "no key that is one"),
    };
    match Accept::new(key).filter(|_| request.count("Sec-WebSocket-Key") == 1) {
        Some(accept) => Ok(accept),
        None => refuse(Status::BAD_REQUEST, "more than one key"),
    }
}

/// A page of this very host asks, or one of those that may, or no page at all: whoever is no
/// browser has no other's cookies or network to abuse.
pub(super) fn is_from_here(request: &Request, others: &[String]) -> bool {
    let Some(origin) = request.header("Origin") else { return true };
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    let host = ["http://", "https://"].iter().find_map(|scheme| origin.strip_prefix(scheme));
    request.count("Origin") == 1
        && (host.zip(request.host).is_some_and(|(own, host)| own.eq_ignore_ascii_case(host))
            || others.iter().any(|other| other == origin))
}

/// The headers of a 101, behind which frames follow.
pub(super) fn accept(response: Response, accept: Accept) {
    response
        .header("Upgrade", b"websocket")
        .header("Connection", b"Upgrade")
        .header("Sec-WebSocket-Accept", &accept.0)
        .no_body();
}

/// What belongs to a refusal with 426: what would be accepted.
pub(super) fn require(response: Response) -> Response {
    response
        .header("Upgrade", b"websocket")
        .header("Connection", b"Upgrade")
        .header("Sec-WebSocket-Version", VERSION.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_of_rfc_6455() {
        let accept = Accept::new(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(&accept.0, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
