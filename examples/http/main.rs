//! A server of HTTP/1.1: keep-alive and pipelines, chunks both ways, files with ranges.
//!
//! ```text
//! $ cargo run --release --example http                       # or: http ADDRESS FOLDER
//! $ curl http://localhost:8080/
//! Hello, wheel!
//! $ curl -d 'any body' http://localhost:8080/echo
//! any body
//! $ curl http://localhost:8080/numbers/3
//! 1
//! 2
//! 3
//! ```
//! With a folder, its files are served, and `index.html` where a folder is asked for.
//!
//! What is read and written stands in the library (`charkh::http`); `server.rs` shows how it goes
//! into a `Protocol`: deadlines that a slow sender does not move, answers that are produced as fast
//! as the client reads, and an error that the client can read before the connection ends.
mod files;
mod range;
mod routes;
mod server;

use std::{env, io, time::Duration};

use charkh::{Config, Reactor};

pub use files::Files;
pub use server::Http;

/// How long a connection may rest between two requests.
const IDLE: Duration = Duration::from_secs(75);

/// What the reactor is asked for.
pub fn config() -> Config {
    Config { idle: Some(IDLE), first_byte: Some(IDLE), ..Config::default() }
}

fn main() -> io::Result<()> {
    let mut args = env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| "localhost:8080".into());
    let files = args.next().map(Files::new).transpose()?;
    let mut reactor = Reactor::with_config(Http::new(files), config())?;
    reactor.listen_all(addr)?;
    reactor.run().map(drop)
}
