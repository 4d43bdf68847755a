//! A certificate for trying out. It is written nowhere, and ends with the server.
use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// How long it is valid: what browsers take, and with the hour before, less than 366 days.
const LASTS: Duration = Duration::from_secs(365 * 86_400);

/// A certificate and its key (ECDSA over P-256), PEM: for this machine, and for these hosts.
pub(super) fn make<'a>(hosts: impl Iterator<Item = &'a str>) -> Result<(Vec<u8>, Vec<u8>), String> {
    let failed = |e: rcgen::Error| format!("cannot make a certificate: {e}");
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.subject_alt_names = names(hosts);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "charkh, for trying out");
    // Other machines' clocks may be a little behind.
    params.not_before = (now - HOUR).into();
    params.not_after = (now + LASTS).into();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(failed)?;
    let cert = params.self_signed(&key).map_err(failed)?;
    Ok((cert.pem().into_bytes(), key.serialize_pem().into_bytes()))
}

/// What it is for: `localhost`, its addresses, and what is listened at. A name that cannot stand in
/// a certificate is left out.
fn names<'a>(hosts: impl Iterator<Item = &'a str>) -> Vec<SanType> {
    let mut names: Vec<SanType> = Vec::new();
    for host in ["localhost", "127.0.0.1", "::1"].into_iter().chain(hosts) {
        // What follows a `%` names an interface of this machine.
        let host = host.split_once('%').map_or(host, |(host, _)| host);
        let name = match host.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => continue,
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => match host.to_string().try_into() {
                Ok(name) => SanType::DnsName(name),
                Err(_) => continue,
            },
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_this_machine_and_for_where_it_is_shown() {
        let text = |hosts: &[&str]| {
            let names = names(hosts.iter().copied()).into_iter().map(|name| match name {
                SanType::DnsName(name) => name.to_string(),
                SanType::IpAddress(ip) => ip.to_string(),
                other => panic!("{other:?}"),
            });
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(&[]), "localhost 127.0.0.1 ::1");
        assert_eq!(
            text(&["0.0.0.0", "::", "localhost", "a.b", "10.0.0.1", "fe80::1%eth0", "ü"]),
            "localhost 127.0.0.1 ::1 a.b 10.0.0.1 fe80::1"
        );
    }
}
