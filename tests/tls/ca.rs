//! Certificates, made for each test: an authority, and whom it signs for.
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A chain and its key, PEM.
#[derive(Clone)]
pub struct Identity {
    pub cert: Vec<u8>,
    pub key: Vec<u8>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    /// For these names or addresses, for servers and clients.
    pub fn sign(&self, names: &[&str]) -> Identity {
        self.sign_with(names, |_| ())
    }

    pub fn sign_expired(&self, names: &[&str]) -> Identity {
        self.sign_with(names, |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        })
    }

    /// From an hour ago on, for so many days.
    #[allow(dead_code)] // the simulated world has no such rules
    pub fn sign_for_days(&self, names: &[&str], days: u64) -> Identity {
        self.sign_with(names, |params| {
            let from = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
            params.not_before = from.into();
            params.not_after = (from + std::time::Duration::from_secs(days * 86_400)).into();
        })
    }

    /// For this key.
    pub fn sign_key(&self, names: &[&str], key: &KeyPair) -> Identity {
        self.sign_params(names, key, |_| ())
    }

    fn sign_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        self.sign_params(names, &KeyPair::generate().unwrap(), change)
    }

    fn sign_params(
        &self,
        names: &[&str],
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let cert = params.signed_by(key, &self.0).unwrap();
        Identity { cert: cert.pem().into_bytes(), key: key.serialize_pem().into_bytes() }
    }
}
