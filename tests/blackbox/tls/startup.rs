//! What can be wrong before the first client comes.
use std::process::Command;

use super::{Files, serve};
use crate::support::{BINARY, Said, address_in, charkh, is_without, run};

/// One sentence, on standard error alone.
#[track_caller]
fn assert_complains(args: &str, parts: &[&str]) -> Said {
    let said = charkh(&args.split_whitespace().collect::<Vec<_>>());
    assert_eq!((said.code, said.stdout.len()), (1, 0), "{said:?}");
    let lines: Vec<&str> = said.stderr.lines().collect();
    assert!(lines.len() == 1 && lines[0].starts_with("charkh: "), "{args}: {said:?}");
    assert!(parts.iter().all(|part| lines[0].contains(part)), "{args}: {said:?} and not {parts:?}");
    assert!(!lines[0].contains("os error"), "{said:?}");
    said
}

#[test]
fn what_contradicts_itself_is_one_sentence() {
    let at = "serve tls:127.0.0.1:0";
    for (args, parts) in [
        (at.to_string(), &["tls:127.0.0.1:0", "without a certificate", "--tls-self-signed"][..]),
        (format!("{at} --tls-cert a"), &["--tls-cert needs its --tls-key"]),
        (format!("{at} --tls-key a"), &["--tls-key needs its --tls-cert"]),
        (format!("{at} --tls-self-signed --tls-cert a --tls-key b"), &["leave --tls-cert"]),
        ("serve 127.0.0.1:0 --tls-self-signed".into(), &["--tls-self-signed is for", "tls:"]),
        (format!("{at} --tls-self-signed --memory-max 6799"), &["--memory-max", "6800 bytes"]),
        ("serve --tls-cert a --tls-key b".into(), &["--tls-cert is for addresses"]),
        ("serve --tls-alpn a".into(), &["--tls-alpn is for addresses"]),
        ("serve --tls-client-ca a".into(), &["--tls-client-ca is for addresses"]),
        ("send --insecure a".into(), &["--insecure is for TLS: add --tls"]),
        ("send --ca a b".into(), &["--ca is for TLS"]),
        ("send --tls --ca a --insecure b".into(), &["--insecure believes anyone"]),
        ("send --tls --insecure --tls-cert a b".into(), &["--tls-cert needs its --tls-key"]),
        ("send --tls --insecure --server-name no..name b".into(), &["no..name", "name"]),
        ("load 7000 --resume".into(), &["--resume is for TLS"]),
        ("load 7000 --ca a".into(), &["--ca is for TLS"]),
    ] {
        assert_complains(&args, parts);
    }
    let said = charkh(&["serve", "tls:127.0.0.1:0", "--tls-alpn", "a,,b"]);
    assert!(said.code == 2 && said.stderr.contains("1 to 255 bytes"), "{said:?}");
}

#[test]
fn files_that_cannot_be_used_are_named_with_what_is_wrong() {
    let files = Files::new();
    let [cert, key, nothing] = ["cert.pem", "key.pem", "nothing"].map(|name| files.path(name));
    let other = files.keep("other", &files.ca.sign(&["localhost"]));
    let text = files.write("text", b"this is no certificate\n");
    let at = "serve tls:127.0.0.1:0";
    for (args, parts) in [
        (
            format!("{at} --tls-cert {nothing} --tls-key {key}"),
            &["cannot read --tls-cert", &nothing, "No such file"][..],
        ),
        (format!("{at} --tls-cert {cert} --tls-key {}", other[1]), &["not that of", &other[1]]),
        (format!("{at} --tls-cert {text} --tls-key {key}"), &["no certificate", &text]),
        (format!("{at} --tls-cert {cert} --tls-key {cert}"), &["no private key", &cert]),
        (
            format!("{at} --tls-cert {cert} --tls-key {key} --tls-client-ca {text}"),
            &["no certificate", "clients' authorities", &text],
        ),
        (format!("send --tls --ca {nothing} a"), &["cannot read --ca", &nothing]),
        (format!("send --tls --ca {text} a"), &["no certificate", &text]),
        (
            format!("send --tls --insecure --tls-cert {cert} --tls-key {} a", other[1]),
            &["not that of", &other[1]],
        ),
        (format!("load tls:7000 --ca {nothing}"), &["cannot read --ca", &nothing]),
    ] {
        assert_complains(&args, parts);
    }
}

#[test]
fn one_file_may_hold_the_certificate_and_its_key() {
    let files = Files::new();
    let identity = files.ca.sign(&["localhost"]);
    let both = files.write("both.pem", &[identity.key, identity.cert].concat());
    let (server, addr) = serve(&format!("--protocol echo --tls-cert {both} --tls-key {both}"));
    super::check_echo(&files, addr);
    server.check_echo(); // without TLS, at the other address
    server.stop();
}

#[test]
fn a_self_signed_certificate_is_known_by_its_fingerprint() {
    if is_without("openssl") {
        return;
    }
    let (server, addr) = serve("--protocol echo --tls-self-signed");
    let printed = server.running.stdout.find("fingerprint sha256 ");
    let printed = printed.strip_prefix("fingerprint sha256 ").unwrap().to_string();
    let script = format!(
        "openssl s_client -connect {addr} </dev/null 2>/dev/null | openssl x509 \
        -noout -fingerprint -sha256 -subject -ext subjectAltName,basicConstraints -checkend 1000"
    );
    let said = run(Command::new("sh").args(["-c", &script]), b"");
    let seen = String::from_utf8(said.stdout).unwrap();
    assert!(seen.contains(&format!("ingerprint={printed}\n")), "{printed} and {seen}");
    for part in ["DNS:localhost", "IP Address:127.0.0.1", "CA:FALSE", "will not expire"] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    // After the addresses, on a line of its own.
    let lines = server.running.stdout.so_far();
    assert!(lines.len() == 3 && lines[2].starts_with("fingerprint "), "{lines:?}");
    let log = server.log().find("the certificate is valid until 20");
    assert!(log.ends_with(&printed), "{log}");
    // Nobody who asks for a proof believes it.
    let said = charkh(&["send", "--to", &format!("tls:{addr}"), "hello"]);
    assert!(said.code == 1 && said.stderr.contains("nobody who is trusted here (--ca"), "{said:?}");
    let said = charkh(&["send", "--to", &format!("tls:{addr}"), "--insecure", "hello"]);
    assert_eq!((said.code, &said.stdout[..]), (0, &b"Received from server: hello\n"[..]));
    server.stop();
}

#[test]
fn a_certificate_that_has_expired_is_served_and_said() {
    let files = Files::new();
    files.show(&files.ca.sign_expired(&["localhost"]));
    let (server, addr) = files.serve("--protocol echo");
    server.log().find("the certificate has expired on 2002-01-01T00:00:00Z");
    let said =
        charkh(&["send", "--to", &format!("tls:{addr}"), "--ca", &files.path("ca.pem"), "a"]);
    assert!(said.code == 1 && said.stderr.contains("has expired"), "{said:?}");
    server.stop();
}

#[test]
fn addresses_of_several_kinds_stand_beside_each_other() {
    let files = Files::new();
    let (cert, key) = (files.path("cert.pem"), files.path("key.pem"));
    let mut command = Command::new(BINARY);
    command.args(["serve", "127.0.0.1:0", "tls:127.0.0.1:0", "tls:127.0.0.1:0", "127.0.0.1:0"]);
    command.args(["--protocol", "chat", "--tls-cert", &cert, "--tls-key", &key]);
    let server = crate::support::Server::from(&mut command);
    let lines = crate::support::until("four lines", || {
        let lines = server.running.stdout.so_far();
        (lines.len() == 4).then_some(lines)
    });
    let kinds: Vec<&str> = lines.iter().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(kinds, ["tcp", "tls", "tls", "tcp"]);
    // One server: whoever came by one address hears who came by another.
    let mut plain = server.connect();
    crate::support::read_line(&mut plain); // the greeting
    let mut secured = super::dial(&files.client(), address_in(&lines[2]));
    secured.send_all(b"hello from behind the curtain\n").unwrap();
    while !crate::support::read_line(&mut plain).ends_with("hello from behind the curtain") {}
    drop((plain, secured));
    server.stop();
}
