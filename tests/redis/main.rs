//! The redis example: under Redis' own clients, beside Redis itself, and under those who mean harm.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../../examples/redis/main.rs"]
#[allow(dead_code)]
mod redis;

mod beside;
mod clients;
mod command_line;
mod hostile;
mod keys;
mod messages;
mod parser;
mod support;
