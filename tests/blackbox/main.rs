//! The program from outside: real processes, real sockets, raw bytes. What a test claims here a
//! stranger with a terminal could check. The numbers are those of the list of hostile cases.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]
#![cfg_attr(not(target_os = "linux"), allow(unused))]

mod support;

#[cfg(target_os = "linux")]
mod calls;
mod chat;
mod deadlines;
#[cfg(target_os = "linux")]
mod inherited;
#[cfg(target_os = "linux")]
mod kernel;
mod limits;
mod load;
#[cfg(unix)]
mod load_faults;
#[cfg(target_os = "linux")]
mod many;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod proxy;
mod resets;
mod send;
#[cfg(unix)]
mod signals;
mod startup;
mod streams;
#[cfg(target_os = "linux")]
mod takeover;
mod tls;
mod trace;
mod tutorial;
#[cfg(unix)]
mod udp;
#[cfg(target_os = "linux")]
mod unix;
