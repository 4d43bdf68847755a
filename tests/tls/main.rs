//! TLS in the simulated world: our layer on one side, rustls driven by hand on the other.
#[path = "../common/mod.rs"]
mod common;

mod ca;
mod peer;

use ca::Authority;
use charkh::{Config, tls};
use common::{Echo, world};
use peer::{Peer, pump};

#[test]
fn smoke() {
    let ca = Authority::new("ca");
    let id = ca.sign(&["localhost"]);
    let config = tls::ServerConfig { cert: id.cert, key: id.key, ..Default::default() };
    let server = tls::Server::new(&config).unwrap();
    let mut reactor = world(Echo, 1, Config::default());
    let listening = reactor.listen("127.0.0.1:2").unwrap();
    reactor.layer(listening.id, move |_| server.layer());
    let client = reactor.net().client_of(1);
    let mut peer = Peer::client(client, &ca, "localhost");
    peer.say(b"hello");
    pump(&mut reactor, &mut peer);
    assert_eq!(peer.heard, b"hello");
}
