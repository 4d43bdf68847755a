//! What a connection costs, in bytes of this process: ours and what rustls keeps. The counts are
//! exact, and those of `docs/tls.md`.
use std::sync::Arc;

use allocation_counter::measure;
use charkh::{Layer, tls};
use rustls::ClientConnection;

use super::{
    ca::Authority,
    peer::{BOTH, bare_client, client_config, server_config},
};

/// Connections of one server, and what they have taken so far.
struct Crowd {
    layers: Vec<Box<dyn Layer>>,
    bytes: i64,
}

impl Crowd {
    fn new(server: &tls::Server, count: usize) -> Self {
        let mut layers = Vec::with_capacity(count);
        let info = measure(|| layers.extend((0..count).map(|_| server.layer().unwrap())));
        Self { layers, bytes: info.bytes_current }
    }

    fn receive(&mut self, n: usize, wire: &[u8]) -> Vec<u8> {
        let mut wire = wire.to_vec();
        let [mut plain, mut answer] = [0; 2].map(|_| Vec::with_capacity(100_000));
        let layer = &mut self.layers[n];
        let info = measure(|| layer.receive(&mut wire, &mut plain, &mut answer).unwrap());
        self.bytes += info.bytes_current;
        answer
    }

    fn each(&self) -> i64 {
        self.bytes / self.layers.len() as i64
    }
}

fn say(conn: &mut ClientConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    conn.write_tls(&mut wire).unwrap();
    wire
}

#[test]
fn case_093_ten_thousand_half_open_handshakes_have_their_bound() {
    let ca = Authority::new("the authority");
    let server = tls::Server::new(&server_config(&ca.sign(&["localhost"]))).unwrap();
    let hello = say(&mut bare_client(client_config(&ca, BOTH[0], None).into(), "localhost"));

    // Nothing was said; then half a ClientHello.
    let mut crowd = Crowd::new(&server, 10_000);
    assert!(crowd.each() < 2500, "{} bytes", crowd.each());
    for n in 0..crowd.layers.len() {
        assert_eq!(crowd.receive(n, &hello[..hello.len() / 2]), b"");
    }
    assert!(crowd.each() < 2500 + hello.len() as i64 / 2, "{} bytes", crowd.each());
    assert!(crowd.layers.iter().all(|layer| layer.held() == hello.len() / 2));

    // We have answered, and wait for the rest.
    let mut crowd = Crowd::new(&server, 300);
    for n in 0..crowd.layers.len() {
        assert!(crowd.receive(n, &hello).len() > 500);
    }
    println!("{} bytes wait for the end of the handshake", crowd.each());
    assert!(crowd.each() < 4500, "{} bytes", crowd.each());
    assert!(crowd.layers.iter().all(|layer| layer.held() == 0));
}

#[test]
fn an_idle_connection_owns_no_buffer_and_costs_so_much() {
    let ca = Authority::new("the authority");
    let server = tls::Server::new(&server_config(&ca.sign(&["localhost"]))).unwrap();
    for (version, most) in [(BOTH[0], 3600), (BOTH[1], 3600)] {
        let config = Arc::new(client_config(&ca, version, None));
        let mut crowd = Crowd::new(&server, 200);
        for n in 0..crowd.layers.len() {
            let mut conn = bare_client(config.clone(), "localhost");
            while conn.wants_write() {
                let answer = crowd.receive(n, &say(&mut conn));
                conn.read_tls(&mut &answer[..]).unwrap();
                conn.process_new_packets().unwrap();
            }
            assert!(crowd.layers[n].is_ready() && crowd.layers[n].held() == 0);
        }
        println!("{version:?}: {} bytes each", crowd.each());
        assert!(crowd.each() < most, "{} bytes", crowd.each());
        let counted = crowd.layers[0].size() as i64;
        assert!((crowd.each()..crowd.each() * 5 / 4).contains(&counted), "{counted} are counted");
        assert!(size_of::<tls::Tls>() < 1300);
    }
}
