//! Connections through TLS: how long a handshake takes from when the connection is there.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use charkh::{Layer, Next, Result};

use super::worker::Clock;

/// When it was; 0 before.
pub(crate) type When = Arc<AtomicU64>;

/// Notes when the connection is there, and gives way to the layer that it is for.
pub(crate) struct Stopwatch {
    clock: Clock,
    up_at: When,
    then: Option<Box<dyn Layer>>,
}

impl Stopwatch {
    pub(crate) fn new(clock: Clock, then: Box<dyn Layer>) -> (Self, When) {
        let up_at = When::default();
        (Self { clock, up_at: up_at.clone(), then: Some(then) }, up_at)
    }
}

impl Layer for Stopwatch {
    fn start(&mut self, _: &mut Vec<u8>) -> Result {
        self.up_at.store((self.clock)(), Ordering::Relaxed);
        Ok(())
    }

    fn receive(&mut self, _: &mut [u8], _: &mut Vec<u8>, _: &mut Vec<u8>) -> Result {
        Err("it has given way when the first byte comes".into())
    }

    fn is_ready(&self) -> bool {
        false
    }

    fn send(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result {
        Err("it has given way when the first byte goes".into())
    }

    fn next(&mut self) -> Next {
        self.then.take().map_or(Next::Nothing, Next::Layer)
    }
}
