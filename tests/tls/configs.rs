//! What servers and clients are made of, and the one sentence about what is wrong with it.
use std::io::ErrorKind;

use charkh::tls::{Client, ClientConfig, Server, ServerConfig, Trust};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use super::{ca::Authority, peer::server_config};

#[track_caller]
fn says(config: &ServerConfig, sentence: &str) {
    let error = Server::new(config).expect_err("it is wrong, and was accepted");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(text.starts_with(sentence), "{text}");
    assert!(!text.contains('\n') && text.len() < 200, "{text}");
}

#[test]
fn what_is_wrong_with_a_server_is_one_sentence() {
    let ca = Authority::new("the authority");
    let good = server_config(&ca.sign(&["localhost"]));
    let with_cert = |cert: &[u8]| ServerConfig { cert: cert.to_vec(), ..good.clone() };
    let with_key = |key: &[u8]| ServerConfig { key: key.to_vec(), ..good.clone() };
    assert!(Server::new(&good).is_ok());

    says(&ServerConfig::default(), "there is no certificate in the certificate chain");
    says(&with_cert(&good.key), "there is no certificate in the certificate chain");
    let half = &good.cert[..good.cert.len() / 2];
    let no_end = "is not well-formed PEM: a part of it has no END line";
    says(&with_cert(half), &format!("the certificate chain {no_end}"));
    let garbled = b"-----BEGIN CERTIFICATE-----\n-?-\n-----END CERTIFICATE-----\n";
    says(&with_cert(garbled), "the certificate chain is not well-formed PEM: what stands between");
    let nonsense = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let unusable = "the first certificate of the chain cannot be used: it is no certificate";
    says(&with_cert(nonsense), unusable);

    says(&with_key(b""), "there is no private key");
    says(&with_key(&good.cert), "there is no private key");
    let half = &good.key[..good.key.len() / 2];
    says(&with_key(half), &format!("the private key {no_end}"));
    let nonsense = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    says(&with_key(nonsense), "the private key cannot be used: ");
    let locked =
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    says(&with_key(locked), "the private key is encrypted: ");
    let other = ca.sign(&["localhost"]).key;
    says(&with_key(&other), "the private key is not that of the first certificate in the chain");

    let with_ca = |ca: &[u8]| ServerConfig { client_ca: Some(ca.to_vec()), ..good.clone() };
    says(&with_ca(b""), "there is no certificate in the file of clients' authorities");
    let nonsense = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    says(&with_ca(nonsense), "a certificate of the file of clients' authorities cannot be used: ");

    for alpn in [vec![], vec![b'x'; 256]] {
        let config = ServerConfig { alpn: vec![b"h2".to_vec(), alpn], ..good.clone() };
        says(&config, "the name of a protocol (ALPN) must have 1 to 255 bytes");
    }
}

#[test]
fn all_kinds_of_keys_that_are_in_use_can_be_used_and_an_expired_certificate_too() {
    let ca = Authority::new("the authority");
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        assert!(Server::new(&server_config(&ca.sign_key(&["localhost"], &key))).is_ok());
    }
    assert!(Server::new(&server_config(&ca.sign_expired(&["localhost"]))).is_ok());
    // One file for both, as some tools write it.
    let mut config = server_config(&ca.sign(&["localhost"]));
    config.cert.extend_from_slice(&config.key.clone());
    config.key.clone_from(&config.cert);
    assert!(Server::new(&config).is_ok());
}

#[test]
fn what_is_wrong_with_a_client_is_one_sentence() {
    let ca = Authority::new("the authority");
    let says = |config: &ClientConfig, sentence: &str| {
        let error = Client::new(config).expect_err("it is wrong, and was accepted");
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::InvalidInput, sentence.into()));
    };
    let nobody = ClientConfig::new(Trust::Ca(Vec::new()));
    says(&nobody, "there is no certificate in the file of authorities");
    let good = ClientConfig::new(Trust::Ca(ca.pem()));
    let keyless = ClientConfig { cert: ca.sign(&["somebody"]).cert, ..good.clone() };
    says(&keyless, "there is no private key");
    let certless = ClientConfig { key: ca.sign(&["somebody"]).key, ..good.clone() };
    says(&certless, "there is no certificate in the certificate chain");

    let client = Client::new(&good).unwrap();
    for name in ["localhost", "10.0.0.1", "::1", "xn--mgbah1a3hjkrd.example"] {
        assert!(client.layer(name).is_ok(), "{name}");
    }
    for name in ["", "local host", "گربه", "[::1]", "a..b"] {
        let Err(error) = client.layer(name) else { panic!("{name} is none") };
        let sentence = format!("{name:?} is neither a host's name nor an address");
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::InvalidInput, sentence));
    }
}

/// What is written into logs must not hold a key.
#[test]
fn keys_are_not_shown() {
    let ca = Authority::new("the authority");
    let config = server_config(&ca.sign(&["localhost"]));
    let mut client = ClientConfig::new(Trust::Ca(ca.pem()));
    (client.cert, client.key) = (config.cert.clone(), config.key.clone());
    let server = Server::new(&config).unwrap();
    let texts = [format!("{config:?}"), format!("{client:?}"), format!("{server:?}")];
    for text in texts {
        assert!(!text.contains("PRIVATE") && text.len() < 200, "{text}");
    }
}

#[cfg(feature = "system-roots")]
#[test]
fn the_system_may_be_asked_whom_it_trusts() {
    match Client::new(&ClientConfig::new(Trust::System)) {
        Ok(client) => assert!(client.layer("localhost").is_ok()),
        Err(e) => assert!(e.to_string().starts_with("this system"), "{e}"),
    }
}
