//! TLS in the simulated world: our layer on one side, rustls driven by hand on the other.
#![allow(unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;

mod ca;
mod configs;
mod endings;
mod handshakes;
mod kept;
mod memory;
mod peer;
mod raw;
mod records;
