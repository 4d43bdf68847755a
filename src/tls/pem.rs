//! Certificates and keys out of PEM files, with a sentence about what is wrong with them.
use std::{io, sync::Arc};

use rustls::{
    CertificateError, Error, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};

/// What is wrong with what somebody configured.
pub(super) fn wrong(says: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, says.into())
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// `name` is what the sentences call it.
pub(super) fn certificates(name: &str, pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates
        .map_err(|e| wrong(format!("the {name} is not well-formed PEM: {}", why(&e))))?;
    match certificates.is_empty() {
        true => Err(wrong(format!("there is no certificate in the {name}"))),
        false => Ok(certificates),
    }
}

/// A chain and the key of its first certificate.
pub(super) fn identity(
    cert: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> io::Result<Arc<CertifiedKey>> {
    let chain = certificates("certificate chain", cert)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| match e {
        pem::Error::NoItemsFound if holds(key, b"BEGIN ENCRYPTED PRIVATE KEY") => {
            wrong("the private key is encrypted: only one without a passphrase can be used")
        }
        pem::Error::NoItemsFound => wrong("there is no private key"),
        e => wrong(format!("the private key is not well-formed PEM: {}", why(&e))),
    })?;
    match CertifiedKey::from_der(chain, key, provider) {
        Ok(identity) => Ok(Arc::new(identity)),
        Err(Error::InconsistentKeys(_)) => {
            Err(wrong("the private key is not that of the first certificate in the chain"))
        }
        Err(Error::InvalidCertificate(e)) => Err(wrong(format!(
            "the first certificate of the chain cannot be used: {}",
            unusable(&e)
        ))),
        Err(e) => Err(wrong(format!("the private key cannot be used: {e}"))),
    }
}

/// What is wrong with a file, in words for whoever has made it.
fn why(e: &pem::Error) -> String {
    match e {
        pem::Error::MissingSectionEnd { .. } => "a part of it has no END line".into(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line of it is broken".into(),
        pem::Error::Base64Decode(_) => "what stands between BEGIN and END is no base64".into(),
        e => e.to_string(),
    }
}

fn unusable(e: &CertificateError) -> String {
    match e {
        CertificateError::BadEncoding => "it is no certificate that can be read".into(),
        e => e.to_string(),
    }
}

fn says(e: &Error) -> String {
    match e {
        Error::InvalidCertificate(e) => unusable(e),
        e => e.to_string(),
    }
}

fn holds(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

pub(super) fn roots(name: &str, pem: &[u8]) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(name, pem)? {
        roots.add(certificate).map_err(|e| {
            wrong(format!("a certificate of the {name} cannot be used: {}", says(&e)))
        })?;
    }
    Ok(roots)
}

/// The names of protocols, as they go over the wire: each has 1 to 255 bytes.
pub(super) fn check_alpn(names: &[Vec<u8>]) -> io::Result<()> {
    match names.iter().all(|name| (1..=255).contains(&name.len())) {
        true => Ok(()),
        false => Err(wrong("the name of a protocol (ALPN) must have 1 to 255 bytes")),
    }
}

/// What the system trusts. Those of its certificates that cannot be read are left out, as long as
/// one is left.
#[cfg(feature = "system-roots")]
pub(super) fn system_roots() -> io::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    log::debug!("certificates that this system trusts: {added}, and {ignored} that are of no use");
    match (roots.is_empty(), found.errors.first()) {
        (false, _) => Ok(roots),
        (true, None) => Err(wrong("this system trusts no certificate")),
        (true, Some(e)) => Err(wrong(format!("this system's certificates cannot be read: {e}"))),
    }
}
