//! The server's side: what it shows, whom it asks for a certificate, and how that changes while it
//! runs.
use std::{
    fmt, io,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use rustls::{
    crypto::ring,
    server::{
        ClientHello, ResolvesServerCert, ServerSessionMemoryCache, UnbufferedServerConnection,
        WebPkiClientVerifier,
    },
    sign::CertifiedKey,
};

use super::{CHAIN_MAX, RECORD_MAX, Side, Tls, pem};
use crate::{Layer, Result};

/// Sessions without tickets that can be taken up again: those of TLS 1.2 clients that know none.
const SESSIONS_MAX: usize = 1024;

/// What a [`Server`] is made of. Files are given as their contents, PEM.
#[derive(Clone, Default)]
pub struct ServerConfig {
    /// The certificate chain, the server's own certificate first.
    pub cert: Vec<u8>,
    /// The private key of the first certificate: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: Vec<u8>,
    /// The certificates that sign those of clients (mutual TLS). Whoever shows none, or another,
    /// has no handshake. `None`: clients are not asked.
    pub client_ca: Option<Vec<u8>>,
    /// The protocols that are spoken here (ALPN), the preferred one first. A client that names
    /// some, and none of these, has no handshake. Empty: what clients name is not looked at.
    pub alpn: Vec<Vec<u8>>,
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_struct("ServerConfig").field("alpn", &self.alpn).finish_non_exhaustive()
    }
}

/// Makes the layers of accepted connections. Clones are one server: [`reload`](Server::reload)
/// changes them all.
///
/// TLS 1.3 and 1.2, the cipher suites with AEAD and forward secrecy alone, in the order that the
/// client prefers. Sessions are taken up again by tickets, whose keys change every six hours and
/// are never written down, or by a cache of 1024; neither outlives a reload.
#[derive(Clone)]
pub struct Server(Arc<RwLock<Arc<Base>>>);

struct Base {
    config: Arc<rustls::ServerConfig>,
    identity: Arc<CertifiedKey>,
    kept_max: usize,
}

impl Server {
    /// A server of this certificate.
    ///
    /// # Errors
    /// `InvalidInput`, with one sentence about what is wrong: no certificate, no key, not the key
    /// of this certificate, or what cannot be read. A certificate whose time is over is loaded:
    /// clients will say so.
    pub fn new(config: &ServerConfig) -> io::Result<Self> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(Base::new(config)?)))))
    }

    /// Use these from the next connection on. Those that are there, and those that are shaking
    /// hands, keep what they began with. Sessions from before are not taken up again.
    ///
    /// # Errors
    /// As for [`new`](Server::new); everything stays as it was.
    pub fn reload(&self, config: &ServerConfig) -> io::Result<()> {
        let base = Arc::new(Base::new(config)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = base;
        Ok(())
    }

    /// The layer of one connection, for [`Reactor::layer`](crate::Reactor::layer).
    ///
    /// # Errors
    /// None that is known.
    pub fn layer(&self) -> Result<Box<dyn Layer>> {
        let base = self.base();
        let asked_for = Arc::new(OnceLock::new());
        let mut config = rustls::ServerConfig::clone(&base.config);
        let identity = base.identity.clone();
        config.cert_resolver = Arc::new(Named { identity, asked_for: asked_for.clone() });
        let conn = UnbufferedServerConnection::new(Arc::new(config))?;
        Ok(Box::new(Tls::new(Side::Server(conn), base.kept_max, Some(asked_for))))
    }

    /// The certificate that is shown, DER.
    pub fn certificate(&self) -> Vec<u8> {
        self.base().identity.cert.first().map_or(Vec::new(), |cert| cert.to_vec())
    }

    /// SHA-256 of the certificate that is shown.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.base().identity.cert.first().map_or([0; 32], |cert| super::fingerprint(cert))
    }

    fn base(&self) -> Arc<Base> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Base {
    fn new(config: &ServerConfig) -> io::Result<Self> {
        pem::check_alpn(&config.alpn)?;
        let provider = pem::provider();
        let identity = pem::identity(&config.cert, &config.key, &provider)?;
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| pem::wrong(e.to_string()))?;
        let builder = match &config.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let roots = Arc::new(pem::roots("file of clients' authorities", ca)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|e| pem::wrong(e.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        // Each connection has a resolver of its own, in its copy of this.
        let nameless = Named { identity: identity.clone(), asked_for: Arc::default() };
        let mut made = builder.with_cert_resolver(Arc::new(nameless));
        made.alpn_protocols.clone_from(&config.alpn);
        made.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        made.ticketer = ring::Ticketer::new().map_err(|e| pem::wrong(e.to_string()))?;
        let kept_max = if config.client_ca.is_some() { CHAIN_MAX } else { RECORD_MAX };
        Ok(Self { config: Arc::new(made), identity, kept_max })
    }
}

/// Shows everybody the same certificate, and remembers what name was asked for: the connection does
/// not tell.
struct Named {
    identity: Arc<CertifiedKey>,
    asked_for: Arc<OnceLock<Box<str>>>,
}

impl ResolvesServerCert for Named {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            self.asked_for.get_or_init(|| name.into());
        }
        Some(self.identity.clone())
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").field("asked_for", &self.asked_for).finish_non_exhaustive()
    }
}
