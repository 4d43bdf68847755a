//! TLS of the program: what `serve` shows, what `send` and `load` believe.
mod client;
mod self_signed;
mod validity;

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use charkh::tls;
use log::{error, info, warn};

use super::{
    address::Endpoint,
    units::{reason, words},
};

pub(crate) use client::{ClientTls, ServerIs, explain};

#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS, at addresses that begin with tls:")]
pub(crate) struct ServerTls {
    /// The certificate chain (PEM), the server's own certificate first. SIGHUP loads this and the
    /// other files again.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The private key of the first certificate (PEM), which may stand in the same file.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Make a certificate for trying out, which is signed by nobody else and ends with the server;
    /// its fingerprint is printed.
    #[arg(long)]
    tls_self_signed: bool,
    /// Clients must show a certificate that one of these (PEM) has signed.
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Protocols spoken here, the preferred one first; clients that offer some must offer one of
    /// these (ALPN).
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', value_parser = alpn)]
    tls_alpn: Vec<String>,
}

fn alpn(text: &str) -> Result<String, String> {
    match text.len() {
        1..=255 => Ok(text.into()),
        _ => Err("the name of a protocol has 1 to 255 bytes".into()),
    }
}

/// What is shown at the `tls:` addresses.
pub(crate) struct Shown {
    server: tls::Server,
    source: Source,
    client_ca: Option<PathBuf>,
    alpn: Vec<Vec<u8>>,
}

/// Where the certificate comes from.
enum Source {
    Files { cert: PathBuf, key: PathBuf },
    SelfSigned { cert: Vec<u8>, key: Vec<u8> },
}

impl Shown {
    /// `None` if there is no TLS at any of these.
    pub(crate) fn at(endpoints: &[Endpoint], args: &ServerTls) -> Result<Option<Self>, String> {
        let secured: Vec<&Endpoint> =
            endpoints.iter().filter(|endpoint| matches!(endpoint, Endpoint::Tls(_))).collect();
        let Some(&first) = secured.first() else { return args.are_unused().map(|()| None) };
        let source = match (&args.tls_cert, &args.tls_key, args.tls_self_signed) {
            (None, None, true) => {
                let hosts = secured.iter().filter_map(|endpoint| endpoint.host());
                let (cert, key) = self_signed::make(hosts)?;
                Source::SelfSigned { cert, key }
            }
            (Some(cert), Some(key), false) => {
                Source::Files { cert: cert.clone(), key: key.clone() }
            }
            (None, None, false) => {
                return Err(format!(
                    "cannot listen on {first} without a certificate: give --tls-cert and \
                     --tls-key, or --tls-self-signed to try it out"
                ));
            }
            (Some(_), None, false) => return Err("--tls-cert needs its --tls-key".into()),
            (None, Some(_), false) => return Err("--tls-key needs its --tls-cert".into()),
            (_, _, true) => {
                return Err("--tls-self-signed makes a certificate: leave --tls-cert and \
                     --tls-key out, or it"
                    .into());
            }
        };
        let alpn: Vec<_> = args.tls_alpn.iter().map(|name| name.clone().into_bytes()).collect();
        let client_ca = args.tls_client_ca.clone();
        let config = read(&source, client_ca.as_deref(), &alpn)?;
        let server = tls::Server::new(&config).map_err(|e| {
            format!("cannot serve TLS: {}{}", reason(&e), named(&source, client_ca.as_deref()))
        })?;
        Ok(Some(Self { server, source, client_ca, alpn }))
    }

    /// For those that are accepted.
    pub(crate) fn server(&self) -> tls::Server {
        self.server.clone()
    }

    /// Only of a certificate that nobody can know yet.
    pub(crate) fn fingerprint_of_its_own(&self) -> Option<String> {
        let is_own = matches!(self.source, Source::SelfSigned { .. });
        is_own.then(|| colons(&self.server.fingerprint()))
    }

    /// Say what is shown.
    pub(crate) fn tell(&self) {
        let fingerprint = colons(&self.server.fingerprint());
        let until = validity::valid_until(&self.server.certificate());
        let text = until.map_or("an unknown day".into(), |until| {
            humantime::format_rfc3339_seconds(until).to_string()
        });
        match until.is_some_and(|until| until < SystemTime::now()) {
            true => warn!("the certificate has expired on {text}: clients will refuse it"),
            false => info!("the certificate is valid until {text}; its SHA-256 is {fingerprint}"),
        }
    }

    /// Load the files again. What cannot be used leaves all as it was.
    pub(crate) fn reload(&self) {
        if matches!(self.source, Source::SelfSigned { .. }) && self.client_ca.is_none() {
            return info!("SIGHUP: there is nothing to load again");
        }
        let client_ca = self.client_ca.as_deref();
        let loaded = read(&self.source, client_ca, &self.alpn).and_then(|config| {
            let named = |e| format!("{}{}", reason(&e), named(&self.source, client_ca));
            self.server.reload(&config).map_err(named)
        });
        match loaded {
            Ok(()) => {
                info!("SIGHUP: loaded the certificate again");
                self.tell();
            }
            Err(why) => error!("SIGHUP: the certificate stays what it was: {why}"),
        }
    }
}

impl ServerTls {
    /// Fails if somebody counts on TLS where there is none.
    fn are_unused(&self) -> Result<(), String> {
        let Self { tls_cert, tls_key, tls_self_signed, tls_client_ca, tls_alpn } = self;
        let given = [
            (tls_cert.is_some(), "--tls-cert"),
            (tls_key.is_some(), "--tls-key"),
            (*tls_self_signed, "--tls-self-signed"),
            (tls_client_ca.is_some(), "--tls-client-ca"),
            (!tls_alpn.is_empty(), "--tls-alpn"),
        ];
        match given.into_iter().find(|(is_given, _)| *is_given) {
            Some((_, name)) => Err(format!(
                "{name} is for addresses that begin with tls:, and there is none: write \
                 tls:localhost:12345"
            )),
            None => Ok(()),
        }
    }
}

fn read(
    source: &Source,
    client_ca: Option<&Path>,
    alpn: &[Vec<u8>],
) -> Result<tls::ServerConfig, String> {
    let (cert, key) = match source {
        Source::Files { cert, key } => (contents("--tls-cert", cert)?, contents("--tls-key", key)?),
        Source::SelfSigned { cert, key } => (cert.clone(), key.clone()),
    };
    let client_ca = client_ca.map(|path| contents("--tls-client-ca", path)).transpose()?;
    Ok(tls::ServerConfig { cert, key, client_ca, alpn: alpn.to_vec() })
}

/// The files that a sentence is about.
fn named(source: &Source, client_ca: Option<&Path>) -> String {
    let mut names = Vec::new();
    if let Source::Files { cert, key } = source {
        names.push(format!("--tls-cert {}", cert.display()));
        names.push(format!("--tls-key {}", key.display()));
    }
    names.extend(client_ca.map(|path| format!("--tls-client-ca {}", path.display())));
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

fn contents(option: &str, path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("cannot read {option} {}: {}", path.display(), words(&e)))
}

/// As `openssl x509 -fingerprint` writes it.
fn colons(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}
