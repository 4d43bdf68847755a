//! The `websocket` example: in the simulated world, byte for byte; and over sockets, under clients
//! that others wrote, a browser among them.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../examples/websocket/main.rs"]
#[allow(dead_code, unreachable_pub)]
mod example;

#[cfg(unix)]
mod clients;
mod conversations;
#[cfg(unix)]
mod differential;
mod frames;
mod handshakes;
#[cfg(unix)]
mod linear;
mod room;
mod world;
