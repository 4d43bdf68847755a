//! A server of HTTP/1.1: keep-alive and pipelines, chunks both ways, files with ranges.
//!
//! ```text
//! $ cargo run --release --example http    # or: http ADDRESS FOLDER --memory-max BYTES
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

use std::{env, process::ExitCode, time::Duration};

use charkh::{Config, Reactor};

pub use files::Files;
pub use server::Http;

/// How long a connection may rest between two requests.
const IDLE: Duration = Duration::from_secs(75);

/// What the reactor is asked for.
pub fn config() -> Config {
    Config { idle: Some(IDLE), first_byte: Some(IDLE), ..Config::default() }
}

const USAGE: &str = "usage: http [ADDRESS [FOLDER]] [--memory-max BYTES]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("http: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut args: Vec<String> = env::args().skip(1).collect();
    let (mut http, mut config) = (Http::new(None), config());
    if let [.., option, bytes] = &args[..]
        && option == "--memory-max"
    {
        let number = bytes.parse();
        config.memory_max =
            number.map_err(|_| format!("{option} {bytes}: not a number of bytes"))?;
        http.bodies_max = config.memory_max; // which counts bodies too
        args.truncate(args.len() - 2);
    }
    let (addr, folder) = match &args[..] {
        [option, ..] if option.starts_with('-') => return Err(USAGE.into()),
        [] => ("localhost:8080", None),
        [addr] => (&addr[..], None),
        [addr, folder] => (&addr[..], Some(folder)),
        _ => return Err(USAGE.into()),
    };
    let files = folder.map(Files::new).transpose();
    let files = files.map_err(|e| format!("{}: {e}", folder.map_or("", |folder| folder)))?;
    http.files = files;
    let mut reactor = Reactor::with_config(http, config).map_err(|e| e.to_string())?;
    reactor.net().stop_at_signals().map_err(|e| e.to_string())?;
    let listening = reactor.listen_all(addr).map_err(|e| format!("{addr}: {e}"))?;
    listening.iter().for_each(|listening| println!("listening on {}", listening.addr));
    reactor.run().map_err(|e| e.to_string())?;
    Ok(())
}
