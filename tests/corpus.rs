//! What the fuzz targets found worth keeping, asked again: one input after the other goes through
//! the same checks. How to find more of them is in the fuzz folder's README.
#[allow(dead_code, unreachable_pub)]
#[path = "../fuzz/src/lib.rs"]
mod oracles;

use std::{fs, path::Path};

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 10, "where is the corpus of {target}?");
    for path in paths {
        // Shown only if this one fails.
        println!("{}", path.display());
        run(&fs::read(path).unwrap());
    }
}

#[test]
fn lines() {
    replay("lines", oracles::codecs::lines);
}

#[test]
fn delimited() {
    replay("delimited", oracles::codecs::delimited);
}

#[test]
fn length_prefixed() {
    replay("length_prefixed", oracles::codecs::length_prefixed);
}

#[test]
fn connection() {
    replay("connection", oracles::connection::run);
}

#[cfg(feature = "http")]
#[test]
fn http() {
    replay("http", oracles::http::run);
}

#[test]
fn proxy_header() {
    replay("proxy_header", oracles::proxy_header::run);
}

#[test]
fn redis_requests() {
    replay("redis_requests", oracles::redis::requests);
}

#[cfg(feature = "tls")]
#[test]
fn tls_server() {
    replay("tls_server", oracles::tls::server);
}

#[test]
fn websocket() {
    replay("websocket", oracles::websocket::messages);
}
