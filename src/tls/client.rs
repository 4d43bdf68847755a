//! The client's side: whom it believes, and what it shows.
use std::{fmt, io, sync::Arc};

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme, SupportedCipherSuite,
    client::{
        Resumption, UnbufferedClientConnection, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{CHAIN_MAX, Side, Tls, pem};

/// What a [`Client`] is made of. Files are given as their contents, PEM.
#[derive(Clone)]
pub struct ClientConfig {
    /// Whom to believe.
    pub trust: Trust,
    /// The certificate chain to show a server that asks, the client's own first, and its private
    /// key; both empty: none.
    pub cert: Vec<u8>,
    /// See [`cert`](ClientConfig::cert).
    pub key: Vec<u8>,
    /// The protocols that the client speaks (ALPN), the preferred one first.
    pub alpn: Vec<Vec<u8>>,
    /// Take earlier sessions up again: up to eight of each of 256 servers are remembered. Default
    /// on.
    pub resume: bool,
}

/// Which servers are believed to be who they say they are.
#[derive(Clone)]
pub enum Trust {
    /// Those whose certificate was signed by one of these (PEM), for the name that is asked for.
    Ca(Vec<u8>),
    /// Those whose certificate was signed by one that this system trusts.
    #[cfg(feature = "system-roots")]
    System,
    /// Anyone: what is sent can be read, and changed, by whoever stands in between. For tests.
    AcceptAnyone,
}

impl ClientConfig {
    /// A client that believes these, shows nothing, and speaks no protocol in particular.
    pub fn new(trust: Trust) -> Self {
        Self { trust, cert: Vec::new(), key: Vec::new(), alpn: Vec::new(), resume: true }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        let Self { trust, alpn, resume, .. } = self;
        f.debug_struct("ClientConfig")
            .field("trust", trust)
            .field("alpn", alpn)
            .field("resume", resume)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trust::Ca(_) => "Ca",
            #[cfg(feature = "system-roots")]
            Trust::System => "System",
            Trust::AcceptAnyone => "AcceptAnyone",
        })
    }
}

/// Makes the layers of outbound connections. Clones are one client, and remember sessions together.
#[derive(Clone)]
pub struct Client(Arc<rustls::ClientConfig>);

impl Client {
    /// A client like this.
    ///
    /// # Errors
    /// `InvalidInput`, with one sentence about what is wrong: no certificate to believe, or what
    /// cannot be read.
    pub fn new(config: &ClientConfig) -> io::Result<Self> {
        pem::check_alpn(&config.alpn)?;
        let provider = Arc::new(in_order_of_cost(pem::provider()));
        let algorithms = provider.signature_verification_algorithms;
        let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| pem::wrong(e.to_string()))?;
        let roots = match &config.trust {
            Trust::Ca(pem) => Some(pem::roots("file of authorities", pem)?),
            #[cfg(feature = "system-roots")]
            Trust::System => Some(pem::system_roots()?),
            Trust::AcceptAnyone => None,
        };
        let builder = match roots {
            Some(roots) => {
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                let verifier = verifier.build().map_err(|e| pem::wrong(e.to_string()))?;
                builder.with_webpki_verifier(verifier)
            }
            None => {
                let verifier = Arc::new(AcceptAnyone { algorithms });
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
        };
        let mut made = match config.cert.is_empty() && config.key.is_empty() {
            true => builder.with_no_client_auth(),
            false => {
                let identity = pem::identity(&config.cert, &config.key, &provider)?;
                let resolver = rustls::sign::SingleCertAndKey::from(identity);
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        made.alpn_protocols.clone_from(&config.alpn);
        if !config.resume {
            made.resumption = Resumption::disabled();
        }
        Ok(Self(Arc::new(made)))
    }

    /// The layer of one connection, for
    /// [`Hub::connect_through`](crate::Hub::connect_through), or for the blocking
    /// [`client`](crate::client): to the server of this name, which its certificate must show, or to
    /// one of this IP address.
    ///
    /// # Errors
    /// `InvalidInput`, if it is neither a name nor an address.
    pub fn layer(&self, name: &str) -> io::Result<Box<Tls>> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| pem::wrong(format!("{name:?} is neither a host's name nor an address")))?;
        let conn = UnbufferedClientConnection::new(self.0.clone(), name)
            .map_err(|e| pem::wrong(e.to_string()))?;
        Ok(Box::new(Tls::new(Side::Client(conn), CHAIN_MAX, None)))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// AES-128 before AES-256, which costs more and is no safer here.
fn in_order_of_cost(provider: Arc<CryptoProvider>) -> CryptoProvider {
    let mut provider = CryptoProvider::clone(&provider);
    let is_long = |suite: &SupportedCipherSuite| {
        suite.suite().as_str().is_some_and(|name| name.contains("AES_256"))
    };
    let is_old = |suite: &SupportedCipherSuite| suite.tls13().is_none();
    provider.cipher_suites.sort_by_key(|suite| (is_old(suite), is_long(suite)));
    provider
}

/// Believes whatever certificate it is shown. Signatures are checked all the same: whoever shows it
/// has its key.
#[derive(Debug)]
struct AcceptAnyone {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AcceptAnyone {
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
