//! Records made by hand, for what no well-behaved library would send.
use rustls::{
    Connection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
    crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage},
};

pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const DATA: u8 = 23;

pub const CLOSE_NOTIFY: [u8; 2] = [1, 0];

// Descriptions of alerts.
pub const HANDSHAKE_FAILURE: u8 = 40;
pub const ILLEGAL_PARAMETER: u8 = 47;
pub const DECODE_ERROR: u8 = 50;
pub const PROTOCOL_VERSION: u8 = 70;

pub fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let size = (body.len() as u16).to_be_bytes();
    [&[kind, 3, 3][..], &size, body].concat()
}

/// The same record as many, of so many bytes each.
pub fn in_pieces(wire: &[u8], size: usize) -> Vec<u8> {
    let whole = records(wire);
    whole.iter().flat_map(|(kind, body)| body.chunks(size).flat_map(|c| record(*kind, c))).collect()
}

/// Kinds and bodies of these whole records.
pub fn records(mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut records = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = wire {
        let (body, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        records.push((*kind, body.to_vec()));
        wire = rest;
    }
    assert!(wire.is_empty(), "half a record");
    records
}

/// The one alert that these are, if they are: its description.
pub fn alert(wire: &[u8]) -> Option<u8> {
    match &records(wire)[..] {
        [(ALERT, alert)] if alert.len() == 2 => Some(alert[1]),
        _ => None,
    }
}

fn with_size(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

pub fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

/// A ClientHello. Any that has nothing wrong with it is answered.
pub struct Hello {
    pub version: u16,
    pub suites: Vec<u16>,
    pub compression: Vec<u8>,
    pub name: Option<Vec<u8>>,
    pub extensions: Vec<(u16, Vec<u8>)>,
}

impl Default for Hello {
    fn default() -> Self {
        Self {
            version: 0x0303,
            suites: vec![0xc02b, 0xc02f], // ECDHE with AES-128-GCM
            compression: vec![0],
            name: None,
            extensions: Vec::new(),
        }
    }
}

impl Hello {
    pub fn message(&self) -> Vec<u8> {
        let suites: Vec<u8> = self.suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
        let mut extensions = vec![
            (10, with_size(&[0, 29, 0, 23])),     // X25519, P-256
            (13, with_size(&[4, 3, 8, 4, 4, 1])), // ECDSA, RSA-PSS, RSA
            (11, vec![1, 0]),
        ];
        if let Some(name) = &self.name {
            extensions.push((0, with_size(&[&[0][..], &with_size(name)].concat())));
        }
        extensions.extend(self.extensions.iter().cloned());
        let extensions: Vec<u8> = extensions
            .iter()
            .flat_map(|(kind, body)| [&kind.to_be_bytes()[..], &with_size(body)].concat())
            .collect();
        let body = [
            &self.version.to_be_bytes()[..],
            &[7; 32],
            &[0],
            &with_size(&suites),
            &[self.compression.len() as u8],
            &self.compression,
            &with_size(&extensions),
        ];
        handshake(1, &body.concat())
    }

    pub fn wire(&self) -> Vec<u8> {
        record(HANDSHAKE, &self.message())
    }
}

/// What encrypts for a peer whose handshake is over.
pub struct Sealer {
    encrypter: Box<dyn MessageEncrypter>,
    seq: u64,
}

impl Sealer {
    /// The rest of this connection is made by hand.
    pub fn of(conn: Connection) -> Self {
        let suite = conn.negotiated_cipher_suite().unwrap();
        let (seq, secrets) = conn.dangerous_extract_secrets().unwrap().tx;
        let (key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
            _ => panic!("what cipher is that?"),
        };
        let encrypter = match (suite.tls13(), suite) {
            (Some(suite), _) => suite.aead_alg.encrypter(key, iv),
            (None, rustls::SupportedCipherSuite::Tls12(suite)) => {
                let (fixed, explicit) = iv.as_ref().split_at(4);
                suite.aead_alg.encrypter(key, fixed, explicit)
            }
            _ => panic!("what suite is that?"),
        };
        Self { encrypter, seq }
    }

    pub fn seal(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: ContentType::from(kind),
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(body),
        };
        let sealed = self.encrypter.encrypt(message, self.seq).unwrap();
        self.seq += 1;
        sealed.encode()
    }
}
