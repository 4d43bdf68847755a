//! Codes of close frames: why a conversation ends.
/// The server stops, or the page is left.
pub(super) const GOING_AWAY: u16 = 1001;
/// A frame that may not be.
pub(super) const PROTOCOL_ERROR: u16 = 1002;
/// A text that is none.
pub(super) const NOT_UTF8: u16 = 1007;
/// What is allowed to others was overdone.
pub(super) const POLICY: u16 = 1008;
/// A message that is too long.
pub(super) const TOO_BIG: u16 = 1009;
/// Not now.
pub(super) const TRY_AGAIN: u16 = 1013;

/// May a client send it? Some codes are for one's own use (1005: none was sent; 1006: the
/// connection broke; 1015: so did TLS), and others are nobody's.
pub(super) fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
