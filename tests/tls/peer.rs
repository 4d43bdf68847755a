//! The other side: rustls, driven by hand.
use std::{io::Read, io::Write, sync::Arc, time::Duration};

use charkh::{
    Protocol, Reactor,
    net::{ClientId, Sim},
};
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, RootCertStore, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::ca::{Authority, Identity};

pub struct Peer {
    pub id: ClientId,
    pub conn: Connection,
    pub heard: Vec<u8>,
    pub over: bool,
    pub error: Option<Error>,
}

impl Peer {
    pub fn client(id: ClientId, ca: &Authority, name: &str) -> Self {
        Self::with(id, client_config(ca), name)
    }

    pub fn with(id: ClientId, config: Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let conn = Connection::Client(ClientConnection::new(config, name).unwrap());
        Self { id, conn, heard: Vec::new(), over: false, error: None }
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.conn.writer().write_all(bytes).unwrap();
    }

    pub fn wire(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.conn.wants_write() {
            self.conn.write_tls(&mut wire).unwrap();
        }
        wire
    }

    pub fn hear(&mut self, mut wire: &[u8]) {
        while !wire.is_empty() && self.error.is_none() {
            self.conn.read_tls(&mut wire).unwrap();
            match self.conn.process_new_packets() {
                Ok(state) => self.over |= state.peer_has_closed(),
                Err(e) => self.error = Some(e),
            }
            let _ = self.conn.reader().read_to_end(&mut self.heard);
        }
    }
}

pub fn client_config(ca: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&ca.pem()).unwrap()).unwrap();
    Arc::new(
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// Without any time passing, until nothing moves any more.
pub fn pump<P: Protocol>(reactor: &mut Reactor<P, Sim>, peer: &mut Peer) {
    loop {
        let out = peer.wire();
        reactor.net().send(peer.id, &out);
        turns(reactor);
        let wire = reactor.net().receive(peer.id);
        if out.is_empty() && wire.is_empty() {
            return;
        }
        peer.hear(&wire);
    }
}

/// The reactor alone, until it rests.
pub fn turns<P: Protocol>(reactor: &mut Reactor<P, Sim>) {
    let mut still = 0;
    while still < 3 {
        let seen = |reactor: &mut Reactor<P, Sim>| {
            let stats = reactor.hub().stats();
            (stats.accepted, stats.bytes_in, stats.bytes_out, stats.served, stats.released)
        };
        let before = seen(reactor);
        reactor.turn_within(Duration::ZERO).unwrap();
        still = if seen(reactor) == before { still + 1 } else { 0 };
    }
}
