//! Bytes at the server's TLS: any bytes at all, or those of a client that are cut in any way, with
//! one of them changed. Nothing panics; no more is kept than may be; and nothing is heard that was
//! not said.
use std::{
    io::{Read, Write},
    sync::{Arc, OnceLock},
};

use charkh::{Layer, tls};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, Error, NamedGroup,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::{TLS12, TLS13},
};

use super::Script;

struct World {
    server: tls::Server,
    /// One that asks for certificates.
    mutual: tls::Server,
    clients: [Arc<ClientConfig>; 2],
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (own.cert.pem().into_bytes(), own.signing_key.serialize_pem());
        let mut provider = ring::default_provider();
        provider.kx_groups = vec![&ScalarOne];
        provider.cipher_suites.retain(|suite| QUICK.contains(&suite.suite()));
        let provider = Arc::new(provider);
        let clients = [&TLS13, &TLS12].map(|version| {
            let builder = ClientConfig::builder_with_provider(provider.clone());
            let builder = builder.with_protocol_versions(&[version]).unwrap();
            let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Believes));
            Arc::new(builder.with_no_client_auth())
        });
        let client_ca = Some(cert.clone());
        let config = tls::ServerConfig { cert, key: key.into(), ..tls::ServerConfig::default() };
        let server = tls::Server::new(&config).unwrap();
        let mutual = tls::Server::new(&tls::ServerConfig { client_ca, ..config }).unwrap();
        World { server, mutual, clients }
    })
}

/// Those of the client: SHA-384 takes several times as long as SHA-256, and says no more here.
const QUICK: [CipherSuite; 2] =
    [CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];

/// A client's half of a key exchange on P-256 that costs nothing, for the server's is what is asked
/// here: its secret is 1, so that its key is the base point, and what both know the server's key.
#[derive(Debug)]
struct ScalarOne;

/// The base point (SEC 2, 2.4.2), uncompressed.
const BASE: [u8; 65] = *b"\x04\
    \x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\
    \x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96\
    \x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\
    \x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5";

impl SupportedKxGroup for ScalarOne {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Self))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }
}

impl ActiveKeyExchange for ScalarOne {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        let x = peer_pub_key.get(1..33);
        x.map(SharedSecret::from).ok_or_else(|| Error::General("no point".into()))
    }

    fn pub_key(&self) -> &[u8] {
        &BASE
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }
}

/// A client that believes whatever it is shown, for what it looks at is not asked here either.
#[derive(Debug)]
struct Believes;

impl ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// One connection, seen from the reactor.
struct Conn {
    layer: Box<dyn Layer>,
    kept_max: usize,
    plain: Vec<u8>,
    answer: Vec<u8>,
    failed: bool,
}

impl Conn {
    fn receive(&mut self, piece: &[u8]) {
        if self.failed || self.layer.is_over() || piece.is_empty() {
            return;
        }
        let (was_ready, before) = (self.layer.is_ready(), self.plain.len());
        let mut wire = piece.to_vec();
        self.failed = self.layer.receive(&mut wire, &mut self.plain, &mut self.answer).is_err();
        let ready = self.layer.is_ready();
        assert!(ready || !was_ready, "ready, and then no longer");
        assert!(ready || self.failed || self.plain.len() == before, "heard before the handshake");
        assert!(self.plain.len() - before <= piece.len() + self.kept_max, "out of nothing");
        let held = self.layer.held();
        assert!(held <= self.kept_max && !(self.failed && held > 0), "{held} bytes are kept");
    }
}

pub fn server(data: &[u8]) {
    let mut script = Script(data);
    let world = world();
    let mode = script.number(4);
    let (server, kept_max) = match mode {
        0 => (&world.mutual, tls::CHAIN_MAX),
        _ => (&world.server, tls::RECORD_MAX),
    };
    let layer = server.layer().unwrap();
    let mut conn = Conn { layer, kept_max, plain: vec![], answer: vec![], failed: false };
    match mode {
        0 | 1 => anything(&mut conn, script),
        n => client(&mut conn, world.clients[n - 2].clone(), script),
    }
}

/// Pieces of these bytes, each as long as the byte before it says, or a thousand times that.
fn anything(conn: &mut Conn, mut script: Script<'_>) {
    while !script.is_empty() {
        let size = usize::from(script.byte());
        let piece = script.take(size);
        let times = if size > 250 { 1000 } else { 1 };
        conn.receive(&piece.repeat(times));
    }
    assert!(conn.plain.is_empty() && !conn.layer.is_ready(), "nobody here has a key");
    assert!(conn.answer.len() < 10_000, "so much for nothing");
}

/// A handshake, some text, an end: cut in pieces, with a byte of it changed, or none.
fn client(conn: &mut Conn, config: Arc<ClientConfig>, mut script: Script<'_>) {
    let name = ServerName::try_from("localhost").unwrap();
    let mut peer = ClientConnection::new(config, name).unwrap();
    let place = script.number(256) << 3 | script.number(8);
    let change = script.byte();
    let text: Vec<u8> = (0..script.number(256) * 100).map(|n| n as u8).collect();
    let mut sent = 0;
    for round in 0..6 {
        if round == 1 {
            let _ = peer.writer().write_all(&text); // it may know that all is over
        }
        if round == 4 {
            peer.send_close_notify();
        }
        let mut wire = Vec::new();
        while peer.wants_write() {
            peer.write_tls(&mut wire).unwrap();
        }
        if let Some(byte) = place.checked_sub(sent).and_then(|place| wire.get_mut(place)) {
            *byte ^= change;
        }
        sent += wire.len();
        let mut left = &wire[..];
        while !left.is_empty() {
            // Where the script is over, the rest comes whole: byte by byte is most of the work.
            let size =
                if script.is_empty() { left.len() } else { 1 + usize::from(script.byte()) * 8 };
            let (piece, rest) = left.split_at(size.min(left.len()));
            conn.receive(piece);
            left = rest;
        }
        let mut answer = &std::mem::take(&mut conn.answer)[..];
        while !answer.is_empty() && peer.read_tls(&mut answer).is_ok() {
            if peer.process_new_packets().is_err() {
                break;
            }
            let _ = peer.reader().read_to_end(&mut Vec::new());
        }
    }
    assert!(text.starts_with(&conn.plain), "heard what was not said");
    if change == 0 || place >= sent {
        assert!(!conn.failed && conn.layer.is_over() && conn.plain == text, "not all was heard");
    }
    assert_eq!(conn.layer.eof().is_ok(), conn.layer.is_over() || !conn.layer.is_ready());
}
