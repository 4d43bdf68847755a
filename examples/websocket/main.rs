//! A chat room in a web page, over WebSocket.
//!
//! ```text
//! $ cargo run --release --example websocket                  # or: websocket ADDRESS ORIGIN...
//! $ chromium http://localhost:8081/
//! ```
//! Two windows of the page can talk to each other. `/echo` says what it is told, to clients of all
//! kinds: `python3 -m websockets ws://localhost:8081/echo`. In the room only pages of the server
//! itself may talk, and those of each ORIGIN, such as `https://example.org`.
//!
//! `frame.rs` and `messages.rs` are RFC 6455, without I/O, and without compression. `handshake.rs`
//! goes before them, in HTTP, by `charkh::http`; `server.rs` puts both into one `Protocol`, and
//! `room.rs` is what it is all for.
mod close;
mod frame;
mod handshake;
mod messages;
mod page;
mod room;
mod server;

use std::{env, process::ExitCode, time::Duration};

use charkh::{Config, Reactor};

pub use frame::{Error, Mask};
pub use messages::{Buffer, Event, Limits, Messages};
pub use server::WebSocket;

/// How long a connection may rest between two requests. In WebSocket nobody rests: they are pinged.
const IDLE: Duration = Duration::from_secs(75);

/// What the reactor is asked for: room for the longest echo, beside what is not read yet.
pub fn config() -> Config {
    let output_max = 2 * Limits::default().message_max;
    Config { idle: Some(IDLE), first_byte: Some(IDLE), output_max, ..Config::default() }
}

const USAGE: &str = "usage: websocket [ADDRESS [ORIGIN...]]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("websocket: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut args = env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| "localhost:8081".into());
    let mut server = WebSocket::default();
    server.origins = args.collect();
    if addr.starts_with('-') {
        return Err(USAGE.into());
    }
    let mut reactor = Reactor::with_config(server, config()).map_err(|e| e.to_string())?;
    reactor.net().stop_at_signals().map_err(|e| e.to_string())?;
    let listening = reactor.listen_all(&addr[..]).map_err(|e| format!("{addr}: {e}"))?;
    listening.iter().for_each(|listening| println!("listening on {}", listening.addr));
    reactor.run().map_err(|e| e.to_string())?;
    Ok(())
}
