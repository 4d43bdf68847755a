//! `examples/proxy.rs` with TLS in front of it: what nginx's `stream` module does with `ssl`.
//! `tls-proxy UPSTREAM CERT KEY`; it says where it listens.
use std::{env, fs};

use charkh::{Reactor, Result, tls};

#[path = "../../../../../examples/proxy.rs"]
#[allow(dead_code)]
mod proxy;

fn main() -> Result {
    let args: Vec<String> = env::args().skip(1).collect();
    let [upstream, cert, key] = &args[..] else {
        return Err("usage: tls-proxy UPSTREAM CERT KEY".into());
    };
    let (cert, key) = (fs::read(cert)?, fs::read(key)?);
    let server = tls::Server::new(&tls::ServerConfig { cert, key, ..Default::default() })?;
    let mut reactor = Reactor::new(proxy::Proxy::new(upstream.parse()?))?;
    let listening = reactor.listen("127.0.0.1:0")?;
    reactor.layer(listening.id, move |_| server.layer());
    println!("{}", listening.addr);
    reactor.run()?;
    Ok(())
}
