//! Short bytes in place, long ones elsewhere: most keys and elements need no memory of their own.
use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
};

use super::value::allocated;

/// Bytes that do not change; 24 bytes long.
#[derive(Clone)]
pub struct Text(Kept);

#[derive(Clone)]
enum Kept {
    Here { len: u8, bytes: [u8; HERE_MAX] },
    Elsewhere(Box<[u8]>),
}

/// The longest that are kept in place.
const HERE_MAX: usize = 22;

const _: () = assert!(size_of::<Text>() == 24);

impl Text {
    /// Bytes of memory elsewhere.
    pub fn size(&self) -> usize {
        match &self.0 {
            Kept::Here { .. } => 0,
            Kept::Elsewhere(bytes) => allocated(bytes.len()),
        }
    }
}

impl From<&[u8]> for Text {
    #[inline]
    fn from(from: &[u8]) -> Self {
        let mut bytes = [0; HERE_MAX];
        Self(match bytes.get_mut(..from.len()) {
            Some(place) => {
                place.copy_from_slice(from);
                Kept::Here { len: from.len() as u8, bytes }
            }
            None => Kept::Elsewhere(from.into()),
        })
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::from(&b""[..])
    }
}

impl Deref for Text {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kept::Here { len, bytes } => &bytes[..usize::from(*len)],
            Kept::Elsewhere(bytes) => bytes,
        }
    }
}

/// It is found by the bytes that it has, so it compares and hashes as they do.
impl Borrow<[u8]> for Text {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Text {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl Hash for Text {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Text").field(&self.escape_ascii().to_string()).finish()
    }
}
