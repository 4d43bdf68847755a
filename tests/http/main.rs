//! The `http` example: in the simulated world, byte for byte; and over sockets, under the clients
//! that people have.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../examples/http/main.rs"]
#[allow(dead_code, unreachable_pub)]
mod example;

#[cfg(unix)]
mod clients;
mod deadlines;
mod differential;
mod files;
mod framing;
mod linear;
mod serving;
mod world;
