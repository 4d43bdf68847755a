//! The other side: rustls' own connections, driven by hand.
use std::{
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use charkh::{
    Config, Protocol, Reactor,
    net::{ClientId, Sim},
    tls,
};
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::ca::{Authority, Identity};
use crate::common::{Diary, Script};

pub const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// One reactor that speaks TLS, and whom its clients believe.
pub struct Scene {
    pub reactor: Reactor<Script, Sim>,
    pub diary: Diary,
    pub server: tls::Server,
    pub ca: Authority,
}

pub fn scene(seed: u64, script: Script, config: Config) -> Scene {
    scene_with(seed, script, config, |_, _| ())
}

pub fn scene_with(
    seed: u64,
    script: Script,
    config: Config,
    change: impl FnOnce(&mut tls::ServerConfig, &Authority),
) -> Scene {
    let ca = Authority::new("the authority");
    let mut server = server_config(&ca.sign(&["localhost"]));
    change(&mut server, &ca);
    let server = tls::Server::new(&server).unwrap();
    let diary = script.diary.clone();
    let mut reactor = Reactor::with(script, Sim::new(seed), config).unwrap();
    let listening = reactor.listen("127.0.0.1:1").unwrap();
    let maker = server.clone();
    reactor.layer(listening.id, move |_| maker.layer());
    Scene { reactor, diary, server, ca }
}

pub fn server_config(identity: &Identity) -> tls::ServerConfig {
    let Identity { cert, key } = identity.clone();
    tls::ServerConfig { cert, key, ..tls::ServerConfig::default() }
}

impl Scene {
    /// A client of this version connects, and believes the authority.
    pub fn client(&mut self, version: &'static SupportedProtocolVersion) -> Peer {
        let config = client_config(&self.ca, version, None);
        self.client_with(config)
    }

    pub fn client_with(&mut self, config: ClientConfig) -> Peer {
        self.client_for(Arc::new(config), "localhost")
    }

    pub fn client_for(&mut self, config: Arc<ClientConfig>, name: &str) -> Peer {
        let id = self.reactor.net().client();
        Peer::new(id, Connection::Client(bare_client(config, name)))
    }

    /// A client whose handshake is over.
    pub fn shaken(&mut self, version: &'static SupportedProtocolVersion) -> Peer {
        let mut peer = self.client(version);
        self.pump(&mut peer);
        assert!(!peer.conn.is_handshaking(), "{:?}, {:?}", peer.error, self.diary.lines());
        peer
    }

    pub fn pump(&mut self, peer: &mut Peer) {
        pump(&mut self.reactor, peer);
    }

    pub fn turns(&mut self) {
        turns(&mut self.reactor);
    }

    /// These bytes arrive, in one piece, and are dealt with.
    pub fn deliver(&mut self, id: ClientId, wire: &[u8]) {
        self.reactor.net().send(id, wire);
        self.reactor.net().deliver_all();
        self.turns();
    }

    /// How the only connection ended.
    pub fn end(&self) -> String {
        self.diary.lines().pop().unwrap_or_default()
    }
}

pub struct Peer {
    pub id: ClientId,
    pub conn: Connection,
    pub heard: Vec<u8>,
    pub over: bool,
    pub error: Option<Error>,
}

impl Peer {
    pub fn new(id: ClientId, conn: Connection) -> Self {
        Self { id, conn, heard: Vec::new(), over: false, error: None }
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.conn.set_buffer_limit(None);
        self.conn.writer().write_all(bytes).unwrap();
    }

    /// What it has for the wire.
    pub fn wire(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.conn.wants_write() {
            self.conn.write_tls(&mut wire).unwrap();
        }
        wire
    }

    pub fn hear(&mut self, mut wire: &[u8]) {
        while !wire.is_empty() && self.error.is_none() && !self.over {
            self.conn.read_tls(&mut wire).unwrap();
            match self.conn.process_new_packets() {
                Ok(state) => self.over = state.peer_has_closed(),
                Err(e) => self.error = Some(e),
            }
            let _ = self.conn.reader().read_to_end(&mut self.heard);
        }
    }

    pub fn take_heard(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.heard)
    }
}

pub fn roots(ca: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&ca.pem()).unwrap()).unwrap();
    roots
}

fn chain(identity: &Identity) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(&identity.cert).map(Result::unwrap).collect();
    (chain, PrivateKeyDer::from_pem_slice(&identity.key).unwrap())
}

pub fn client_config(
    ca: &Authority,
    version: &'static SupportedProtocolVersion,
    identity: Option<&Identity>,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots(ca));
    let mut config = match identity.map(chain) {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
    };
    config.enable_secret_extraction = true;
    config
}

pub fn bare_client(config: Arc<ClientConfig>, name: &str) -> ClientConnection {
    ClientConnection::new(config, ServerName::try_from(name.to_owned()).unwrap()).unwrap()
}

/// A server that our own client connects to.
pub fn server_peer(
    id: ClientId,
    identity: &Identity,
    version: &'static SupportedProtocolVersion,
    change: impl FnOnce(&mut ServerConfig),
) -> Peer {
    let (chain, key) = chain(identity);
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.enable_secret_extraction = true;
    change(&mut config);
    Peer::new(id, Connection::Server(ServerConnection::new(Arc::new(config)).unwrap()))
}

/// Without any time passing, until nothing moves any more.
pub fn pump<P: Protocol>(reactor: &mut Reactor<P, Sim>, peer: &mut Peer) {
    pump_by(reactor, peer, |_| ());
}

/// The same, with nothing cut: what is sent in one piece comes in one.
pub fn pump_whole<P: Protocol>(reactor: &mut Reactor<P, Sim>, peer: &mut Peer) {
    pump_by(reactor, peer, Sim::deliver_all);
}

fn pump_by<P: Protocol>(
    reactor: &mut Reactor<P, Sim>,
    peer: &mut Peer,
    deliver: impl Fn(&mut Sim),
) {
    loop {
        let out = peer.wire();
        if !out.is_empty() {
            reactor.net().send(peer.id, &out);
            deliver(reactor.net());
        }
        turns(reactor);
        let wire = reactor.net().receive(peer.id);
        if out.is_empty() && wire.is_empty() {
            return;
        }
        peer.hear(&wire);
    }
}

/// The reactor alone, until it rests. No time passes.
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
