//! What the fuzz targets ask of any bytes. `tests/corpus.rs` includes this file, so that every
//! `cargo test` asks the same of the inputs that were kept.

pub mod codecs;
pub mod connection;
#[cfg(feature = "http")]
pub mod http;
pub mod proxy_header;
pub mod redis;
#[cfg(feature = "tls")]
pub mod tls;
pub mod websocket;

/// Bytes read as decisions. When they run out every decision is zero.
#[derive(Debug)]
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// Less than `below`, which is not zero.
    pub fn number(&mut self, below: usize) -> usize {
        usize::from(self.byte()) % below
    }

    /// The next `n` bytes, or as many as there are.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
