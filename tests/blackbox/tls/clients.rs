//! openssl, gnutls-cli, curl and sslyze.
use std::{io::Write, net::SocketAddr, process::Command};

use super::{Files, a_line_later, check_echo, failures};
use crate::support::{Running, Said, is_without, run};

/// `openssl s_client` that believes the tests' authority alone.
fn s_client(files: &Files, addr: SocketAddr, options: &str) -> Command {
    let mut command = Command::new("openssl");
    let (addr, ca) = (addr.to_string(), files.path("ca.pem"));
    command.args(["s_client", "-connect", &addr, "-CAfile", &ca, "-verify_return_error"]);
    command.args(["-verify_hostname", "localhost"]);
    if !options.contains("servername") {
        command.args(["-servername", "localhost"]);
    }
    command.args(options.split_whitespace());
    command
}

/// It says something, hears it again, and ends. What it told meanwhile.
fn talks(command: &mut Command) -> String {
    let mut client = Running::new(command);
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(b"it is me\n").unwrap();
    client.stdout.find("it is me");
    drop(stdin);
    assert_eq!(client.exit_code(), 0, "{:#?}", client.stderr.to_end());
    [client.stdout.to_end(), client.stderr.to_end()].concat().join("\n")
}

/// It is refused.
fn fails(command: &mut Command) -> Said {
    let said = run(command, b"");
    assert_ne!(said.code, 0, "{said:?}");
    said
}

#[test]
fn case_095_openssl_speaks_both_versions_and_none_that_is_older() {
    if is_without("openssl") {
        return;
    }
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    for (option, name) in [("", "TLSv1.3"), ("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let told = talks(&mut s_client(&files, addr, option));
        assert!(told.contains(&format!("New, {name}, Cipher is ")), "{told}");
        assert!(told.contains("Verification: OK") && told.contains("Compression: NONE"), "{told}");
    }
    for (options, alert) in [
        ("-tls1_1 -cipher DEFAULT@SECLEVEL=0", "alert"),
        ("-tls1 -cipher DEFAULT@SECLEVEL=0", "alert"),
        // CBC, no forward secrecy, no encryption at all.
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA", "alert handshake"),
        ("-tls1_2 -cipher AES128-GCM-SHA256:AES256-SHA:DHE-RSA-AES128-SHA", "alert handshake"),
        ("-tls1_2 -cipher NULL:aNULL:@SECLEVEL=0", "alert handshake"),
        ("-tls1_3 -ciphersuites TLS_AES_128_CCM_8_SHA256", "alert handshake"),
    ] {
        let said = fails(&mut s_client(&files, addr, options));
        assert!(said.stderr.contains(alert), "{options}: {said:?}");
    }
    check_echo(&files, addr);
    let log = server.stop();
    assert!(failures(&log)[0].starts_with("the peer speaks neither TLS 1.2 nor TLS 1.3"));
}

#[test]
fn case_096_nothing_is_negotiated_again() {
    if is_without("openssl") {
        return;
    }
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    let mut other = super::dial(&files.client(), addr);
    super::echo(&mut other, b"before");
    // A line with an R alone asks for it.
    let mut client = Running::new(&mut s_client(&files, addr, "-tls1_2 -tlsextdebug"));
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(b"first\n").unwrap();
    client.stdout.find("first");
    stdin.write_all(b"R\n").unwrap();
    client.exit_code();
    let told = [client.stdout.to_end(), client.stderr.to_end()].concat().join("\n");
    assert!(told.contains("RENEGOTIATING") && told.contains("no renegotiation"), "{told}");
    assert!(told.contains("Secure Renegotiation IS supported"), "{told}");
    assert!(!told.contains("heartbeat"), "{told}");
    super::echo(&mut other, b"after");
    drop(other);
    server.stop();
}

#[test]
fn sessions_are_taken_up_again_in_both_versions() {
    if is_without("openssl") {
        return;
    }
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    for version in ["-tls1_2", "-tls1_3", "-tls1_2 -no_ticket"] {
        let session = files.path("session");
        let first = talks(&mut s_client(&files, addr, &format!("{version} -sess_out {session}")));
        assert!(first.contains("New, TLSv1"), "{version}: {first}");
        let again = talks(&mut s_client(&files, addr, &format!("{version} -sess_in {session}")));
        assert!(again.contains("Reused, TLSv1"), "{version}: {again}");
    }
    let five_times = run(&mut s_client(&files, addr, "-tls1_2 -reconnect"), b"");
    let told = String::from_utf8_lossy(&five_times.stdout).into_owned();
    assert_eq!((five_times.code, told.matches("Reused, TLSv1.2").count()), (0, 5), "{told}");
    server.stop();
}

#[test]
fn case_101_names_and_protocols() {
    if is_without("openssl") {
        return;
    }
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo --tls-alpn echo/2,echo/1");
    // There is one certificate, whatever they ask for.
    let long = format!("-servername {}", vec!["a".repeat(49); 5].join("."));
    for name in ["-servername nobody.example", "-servername 127.0.0.1", "-noservername", &long] {
        talks(&mut s_client(&files, addr, name));
    }
    // The server's first choice of those that are offered.
    let told = talks(&mut s_client(&files, addr, "-alpn smtp,echo/1,echo/2"));
    assert!(told.contains("ALPN protocol: echo/2"), "{told}");
    let told = talks(&mut s_client(&files, addr, ""));
    assert!(told.contains("No ALPN negotiated"), "{told}");
    let said = fails(&mut s_client(&files, addr, "-alpn smtp,imap"));
    assert!(said.stderr.contains("alert no application protocol"), "{said:?}");
    let log = server.stop();
    let why = "none of the protocols that the client offers is spoken here (ALPN)";
    assert_eq!(failures(&log), [why]);
}

#[test]
fn case_103_clients_show_who_they_are() {
    if is_without("openssl") {
        return;
    }
    let files = Files::new();
    let clients = super::ca::Authority::new("the clients' authority");
    let ca = files.write("clients.pem", &clients.pem());
    let (server, addr) = files.serve(&format!("--protocol echo --tls-client-ca {ca}"));
    let shows = |[cert, key]: [String; 2]| format!("-cert {cert} -key {key}");
    let known = shows(files.keep("known", &clients.sign(&["me"])));
    for version in ["-tls1_2", "-tls1_3"] {
        talks(&mut s_client(&files, addr, &format!("{version} {known}")));
    }
    let stranger = shows(files.keep("stranger", &files.ca.sign(&["me"])));
    let late = shows(files.keep("late", &clients.sign_expired(&["me"])));
    for (shown, alert, why) in [
        ("", "alert certificate required", "the peer showed no certificate"),
        (
            &stranger,
            "alert unknown ca",
            "the peer's certificate was signed by nobody who is trusted",
        ),
        (&late, "alert certificate expired", "the peer's certificate has expired, "),
    ] {
        a_line_later();
        // In TLS 1.3 the client has long begun to talk when it is refused.
        let mut client = Running::new(&mut s_client(&files, addr, &format!("-ign_eof {shown}")));
        assert_ne!(client.exit_code(), 0);
        let told = client.stderr.to_end().join("\n");
        assert!(told.contains(alert), "{shown}: {told}");
        server.log().find(&format!(": {why}"));
    }
    let log = server.stop();
    assert_eq!(failures(&log).len(), 3, "{log:#?}");
}

#[test]
fn gnutls_cli_talks() {
    if is_without("gnutls-cli") {
        return;
    }
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    for priority in ["NORMAL", "NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3"] {
        let mut command = Command::new("gnutls-cli");
        let (ca, port) = (files.path("ca.pem"), addr.port().to_string());
        command.args(["--x509cafile", &ca, "--priority", priority, "--port", &port, "localhost"]);
        let told = talks(&mut command);
        assert!(told.contains("The certificate is trusted"), "{told}");
        assert!(told.contains("Handshake was completed"), "{told}");
    }
    let mut command = Command::new("gnutls-cli");
    let port = addr.port().to_string();
    command.args(["--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.1:%COMPAT", "--port", &port]);
    command.arg("localhost");
    fails(&mut command);
    check_echo(&files, addr);
    server.stop();
}

#[test]
fn curl_believes_it_and_reads_to_the_end() {
    if is_without("curl") {
        return;
    }
    let files = Files::new();
    let (mut server, addr) = files.serve("--protocol echo");
    let curl = |host: &str| {
        let mut command = Command::new("curl");
        // What comes back is its own request, which is no answer that has a head.
        command.args(["--silent", "--show-error", "--no-buffer", "--http0.9"]);
        command.args(["--cacert", &files.path("ca.pem"), "--max-time", "30"]);
        command.args(["--write-out", "verified %{ssl_verify_result}\n"]);
        command.arg(format!("https://{host}:{}/is/it/you", addr.port()));
        command
    };
    let mut good = Running::new(&mut curl("127.0.0.1"));
    good.stdout.find("GET /is/it/you HTTP/1.1");
    // Another name than those of the certificate.
    let wrong = run(
        curl("ip6-localhost")
            .args(["--resolve", &format!("ip6-localhost:{}:127.0.0.1", addr.port())]),
        b"",
    );
    assert!(wrong.code == 60 && wrong.stderr.contains("subject name"), "{wrong:?}");
    let plain = run(Command::new("curl").args(["-sS", &format!("http://{addr}/")]), b"");
    assert_ne!(plain.code, 0, "{plain:?}");
    // It ends in good order, with a goodbye: to curl an end without one is an error.
    #[cfg(unix)]
    server.running.signal("TERM");
    assert_eq!(good.exit_code(), 0, "{:?}", good.stderr.to_end());
    good.stdout.find("verified 0");
    server.ended(0);
}

/// `.ci/run` installs it, from PyPI.
#[test]
fn sslyze_finds_nothing() {
    if is_without("sslyze") {
        return;
    }
    let files = Files::new();
    // The rules are for certificates of at most a year.
    files.show(&files.ca.sign_for_days(&["localhost"], 365));
    let (server, addr) = files.serve("--protocol echo");
    let target = format!("localhost:{}", addr.port());
    let sslyze = |ca: &str| {
        let mut command = Command::new("sslyze");
        command.args(["--mozilla_config=intermediate", "--certinfo_ca_file", ca, &target]);
        let said = run(&mut command, b"");
        (said.code, String::from_utf8(said.stdout).unwrap())
    };
    let (code, told) = sslyze(&files.path("ca.pem"));
    assert!(code == 0 && told.contains(&format!("{target}: OK - Compliant")), "{code} {told}");
    assert!(!told.contains("ERROR") || told.contains("Symantec"), "{told}");
    // Its eyes are open: another authority is a finding.
    let other = files.write("other.pem", &super::ca::Authority::new("another").pem());
    let (code, told) = sslyze(&other);
    assert!(code != 0 && told.contains("certificate_path_validation"), "{code} {told}");
    check_echo(&files, addr);
    server.stop();
}

/// But that nobody else has signed it.
#[test]
fn sslyze_finds_one_thing_in_what_is_self_signed() {
    if is_without("sslyze") {
        return;
    }
    let (server, addr) = super::serve("--protocol echo --tls-self-signed");
    let target = format!("localhost:{}", addr.port());
    let said = run(Command::new("sslyze").args(["--mozilla_config=intermediate", &target]), b"");
    let told = String::from_utf8(said.stdout).unwrap();
    let findings: Vec<&str> = told.lines().filter(|line| line.trim().starts_with("* ")).collect();
    let last = findings.last().unwrap_or_else(|| panic!("{told}"));
    assert!(last.contains("certificate_path_validation"), "{told}");
    let from = told.find("FAILED - Not compliant.").unwrap_or_else(|| panic!("{told}"));
    assert_eq!(told[from..].matches("* ").count(), 1, "{told}");
    server.stop();
}
