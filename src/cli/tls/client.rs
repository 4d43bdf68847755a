//! The client's side: whom `send` and `load` believe, and what they say of those they do not.
use std::{error::Error, io, path::PathBuf};

use charkh::tls::{self, Tls, Trust};
use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::{Endpoint, contents, reason};

#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct ClientTls {
    /// Speak TLS, as an address that begins with tls: says too.
    #[arg(long)]
    tls: bool,
    /// Believe servers whose certificate one of these (PEM) has signed [default: those that this
    /// system believes].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Believe anyone: whoever stands in between can read and change what is sent.
    #[arg(long)]
    insecure: bool,
    /// Whom to ask for, and whose name the certificate must show [default: the host of the address].
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// The certificate chain to show a server that asks for one (PEM), the client's own first.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM), which may stand in the same file.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

/// A server that speaks TLS, and who it must be.
#[derive(Clone)]
pub(crate) struct ServerIs {
    client: tls::Client,
    name: String,
}

impl ServerIs {
    /// The layer of one connection to it.
    pub(crate) fn layer(&self) -> Result<Box<Tls>, String> {
        self.client.layer(&self.name).map_err(|e| format!("cannot speak TLS: {}", reason(&e)))
    }
}

impl ClientTls {
    /// The address with what is spoken there, if an option says so.
    pub(crate) fn applied(&self, endpoint: Endpoint) -> Endpoint {
        match endpoint {
            Endpoint::Tcp(address) if self.tls => Endpoint::Tls(address),
            endpoint => endpoint,
        }
    }

    /// `None` if no TLS is spoken there. `resume`: take earlier sessions up again.
    pub(crate) fn to(&self, endpoint: &Endpoint, resume: bool) -> Result<Option<ServerIs>, String> {
        if !matches!(endpoint, Endpoint::Tls(_)) {
            return self.are_unused(endpoint).map(|()| None);
        }
        let trust = match (&self.ca, self.insecure) {
            (Some(_), true) => {
                return Err("--insecure believes anyone: leave it out, or --ca".into());
            }
            (Some(path), false) => Trust::Ca(contents("--ca", path)?),
            (None, true) => Trust::AcceptAnyone,
            (None, false) => Trust::System,
        };
        let mut config = tls::ClientConfig { resume, ..tls::ClientConfig::new(trust) };
        match (&self.tls_cert, &self.tls_key) {
            (None, None) => {}
            (Some(cert), Some(key)) => {
                config.cert = contents("--tls-cert", cert)?;
                config.key = contents("--tls-key", key)?;
            }
            (Some(_), None) => return Err("--tls-cert needs its --tls-key".into()),
            (None, Some(_)) => return Err("--tls-key needs its --tls-cert".into()),
        }
        let client = tls::Client::new(&config)
            .map_err(|e| format!("cannot speak TLS: {}{}", reason(&e), self.named()))?;
        let name = match (&self.server_name, endpoint.host()) {
            (Some(name), _) => name.as_str(),
            // What follows a `%` names an interface of this machine.
            (None, Some(host)) => host.split_once('%').map_or(host, |(ip, _)| ip),
            (None, None) => "localhost",
        };
        let server = ServerIs { client, name: name.into() };
        // A name that is none is told now, not of each connection.
        server.layer().map(|_| Some(server))
    }

    /// The files that a sentence is about.
    fn named(&self) -> String {
        let Self { ca, tls_cert, tls_key, .. } = self;
        let files = [("--ca", ca), ("--tls-cert", tls_cert), ("--tls-key", tls_key)];
        let files = files.into_iter().filter_map(|(option, path)| {
            path.as_ref().map(|path| format!("{option} {}", path.display()))
        });
        let files = files.collect::<Vec<_>>().join(", ");
        if files.is_empty() { files } else { format!(" ({files})") }
    }

    /// Fails if somebody counts on TLS where there is none.
    fn are_unused(&self, endpoint: &Endpoint) -> Result<(), String> {
        let Self { tls, ca, insecure, server_name, tls_cert, tls_key } = self;
        if *tls {
            return Err(format!("--tls is spoken over TCP alone, not at {endpoint}"));
        }
        let given = [
            (ca.is_some(), "--ca"),
            (*insecure, "--insecure"),
            (server_name.is_some(), "--server-name"),
            (tls_cert.is_some(), "--tls-cert"),
            (tls_key.is_some(), "--tls-key"),
        ];
        match given.into_iter().find(|(is_given, _)| *is_given) {
            Some((_, name)) => Err(format!("{name} is for TLS: add --tls")),
            None => Ok(()),
        }
    }
}

/// What to do about an error, if TLS has met one that often has the same reason; after the sentence
/// that says what it is.
pub(crate) fn explain(e: &io::Error) -> &'static str {
    let failed = e.get_ref().and_then(|e| e.downcast_ref::<tls::Failed>());
    let source = failed.and_then(|failed| failed.source());
    match source.and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            " (a server without TLS? then leave --tls and tls: out)"
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            " (--ca FILE says whom to trust, --insecure that it may be anyone)"
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName,
        )) => " (--server-name says who it must be)",
        Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)) => {
            " (--tls-cert and --tls-key)"
        }
        _ => "",
    }
}
