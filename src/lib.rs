//! charkh (چرخ, *wheel*): one thread, one `mio::Poll`, one slab. An event-driven TCP server to
//! read, to stress and to build on.
//!
//! A [`Protocol`] is what you write: plain `&mut self`, no `async`, no locks. A [`Reactor`] turns
//! it: one turn is *sleep; note readiness; run jobs; fire timers; accept; connect; receive
//! datagrams; serve; release; send datagrams*.
//!
//! ```no_run
//! use charkh::{Input, Peer, Protocol, Result};
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     type Session = ();
//!
//!     fn open(&mut self, _: &mut Peer) {}
//!
//!     fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
//!         peer.send(input.take_all());
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     charkh::serve("localhost:7000", Echo).map(drop)
//! }
//! ```
//!
//! # Where to go on
//! - Framing: [`Input`], [`codec`].
//! - Answering, closing, back-pressure, timers: [`Peer`]; other connections: [`Hub`].
//! - UDP, beside connections or instead of them: [`Reactor::bind_udp`], [`Datagram`].
//! - Limits and deadlines, each with a default: [`Config`]; how a connection ended: [`Reason`];
//!   what was counted: [`Stats`].
//! - Other threads: [`Handle`]. Encryption and the like: [`Layer`]. Behind a balancer: `proxy`.
//!   Connections that come back: [`Keeper`]. Sockets that others made: [`Reactor::listen_on`].
//! - HTTP/1.1: [`http`].
//! - A blocking client, for tests and tools: [`client`].
//! - Other worlds than the kernel's: [`net`]. What the loop did last, turn by turn: [`trace`].
//!
//! # Features
//! - `cli` (default): the `charkh` program. A library user turns it off with
//!   `default-features = false`; what is left needs mio, slab, log, socket2, fastrand and, on
//!   Linux, rustix.
//! - `fine-sleep`: [`net::Os`] can sleep to the microsecond, on Linux: `Os::sleep_finely`.
//! - `http`: [`http`], the server's side of HTTP/1.1, without I/O.
//! - `late-ports`: [`Hub::connect_from`] leaves the port to be chosen as it connects, on Linux, so
//!   that one address has its whole range of ports for each place that it connects to.
//! - `proxy`: the PROXY protocol, as layers.
//! - `signals`: [`net::Os`] can watch signals, as events of the loop, and have SIGTERM and Ctrl-C
//!   stop it.
//! - `sim`: `net::sim`, worlds made of seeds, without sockets, to test protocols in; its page
//!   begins with an example.
//! - `tls`: [`tls`], TLS by rustls, for both sides. `system-roots`: it may believe what the system
//!   trusts.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::unwrap_used, clippy::expect_used)]

mod addr;
mod buf;
pub mod client;
pub mod codec;
mod config;
mod conn;
mod datagram;
mod handle;
mod hot;
#[cfg(feature = "http")]
pub mod http;
mod hub;
mod input;
mod layer;
mod logging;
pub mod net;
mod outbox;
mod peer;
mod protocol;
#[cfg(feature = "proxy")]
pub mod proxy;
mod reactor;
mod reconnect;
mod stats;
mod timers;
#[cfg(feature = "tls")]
pub mod tls;
pub mod trace;
mod weights;

pub use addr::{Addr, UnixAddr};
pub use config::{Config, WhenFull};
pub use conn::Reason;
pub use datagram::Datagram;
pub use handle::{Handle, Stopped};
pub use hub::{ConnId, Hub, ListenerId};
pub use input::Input;
pub use layer::{Layer, Next, Origin};
pub use logging::{Escaped, Throttle};
pub use outbox::UdpId;
pub use peer::Peer;
pub use protocol::Protocol;
pub use reactor::{Bound, Listening, Reactor};
pub use reconnect::{Backoff, Keeper};
pub use stats::{Histogram, Stats};

/// Why a protocol gave up on a connection: any error will do.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What a callback returns. `Err` ends that one connection and nothing else.
pub type Result<T = (), E = Fault> = std::result::Result<T, E>;

/// Serve `protocol` at every address that `addr` resolves to, on this thread, until a callback or
/// a job of another thread calls [`Hub::stop`]; then give the protocol back.
///
/// # Errors
/// An address that cannot be listened at, or a system without what a loop needs.
pub fn serve<P: Protocol>(addr: impl std::net::ToSocketAddrs, protocol: P) -> std::io::Result<P> {
    let mut reactor = Reactor::new(protocol)?;
    reactor.listen_all(addr)?;
    reactor.run()
}
