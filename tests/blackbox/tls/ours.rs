//! `charkh send` and `charkh load`, and servers that are not what they expect.
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    process::Command,
    thread,
};

use super::{Files, ca::Authority, check_echo, failures, serve};
use crate::{
    load::load,
    support::{BINARY, Pattern, Running, Said, Server, charkh, is_without, run},
};

fn to(addr: SocketAddr) -> String {
    format!("tls:{addr}")
}

fn send(addr: SocketAddr, options: &str) -> Said {
    let to = to(addr);
    charkh(
        &[&["send", "--to", &to, "hello"][..], &options.split_whitespace().collect::<Vec<_>>()]
            .concat(),
    )
}

#[track_caller]
fn assert_complains(said: &Said, parts: &[&str]) {
    assert_eq!((said.code, said.stdout.len()), (1, 0), "{said:?}");
    let lines: Vec<&str> = said.stderr.lines().collect();
    assert!(lines.len() == 1 && lines[0].starts_with("charkh: "), "{said:?}");
    assert!(parts.iter().all(|part| lines[0].contains(part)), "{said:?} and not {parts:?}");
}

#[track_caller]
fn assert_hears(said: &Said) {
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "Received from server: hello\n");
}

#[test]
fn send_believes_whom_it_is_told_to() {
    let files = Files::new();
    let ca = files.path("ca.pem");
    let (server, addr) = files.serve("--protocol echo");
    assert_hears(&send(addr, &format!("--ca {ca}")));
    assert_hears(&send(addr, "--insecure"));
    assert_hears(&send(addr, &format!("--ca {ca} --server-name localhost")));
    // --tls says the same as the address.
    let plain = addr.to_string();
    assert_hears(&charkh(&["send", "--to", &plain, "--tls", "--ca", &ca, "hello"]));

    // What this system trusts has nothing to do with the tests.
    assert_complains(&send(addr, ""), &["was signed by nobody who is trusted here", "--ca FILE"]);
    let other = files.write("other.pem", &Authority::new("another").pem());
    assert_complains(&send(addr, &format!("--ca {other}")), &["nobody who is trusted here"]);
    assert_complains(
        &send(addr, &format!("--ca {ca} --server-name example.org")),
        &["is not for example.org, but for localhost, 127.0.0.1 (--server-name"],
    );
    let log = server.stop();
    assert!(failures(&log).iter().all(|why| why.starts_with("the peer ")), "{log:#?}");
    // Tickets and a goodbye are no answer.
    let (server, addr) = files.serve("--protocol discard");
    assert_complains(&send(addr, &format!("--ca {ca}")), &["closed without an answer"]);
    server.stop();
}

#[test]
fn case_103_send_shows_a_certificate() {
    let files = Files::new();
    let clients = Authority::new("the clients' authority");
    let client_ca = files.write("clients.pem", &clients.pem());
    let (server, addr) = files.serve(&format!("--protocol echo --tls-client-ca {client_ca}"));
    let ca = format!("--ca {}", files.path("ca.pem"));
    let [cert, key] = files.keep("known", &clients.sign(&["me"]));
    assert_hears(&send(addr, &format!("{ca} --tls-cert {cert} --tls-key {key}")));
    assert_complains(&send(addr, &ca), &["wants to be shown a certificate (--tls-cert"]);
    server.log().find("no handshake with 127.0.0.1:");
    let [cert, key] = files.keep("stranger", &files.ca.sign(&["me"]));
    assert_complains(
        &send(addr, &format!("{ca} --tls-cert {cert} --tls-key {key}")),
        &["trusts nobody who has signed the certificate that it was shown"],
    );
    server.stop();
}

#[test]
fn case_090_a_server_without_tls_is_told_from_one_with_it() {
    let hint = "(a server without TLS? then leave --tls and tls: out)";
    // One sends back what it gets, one answers in words, one never does, one is never there.
    let echo = Server::new("--protocol echo");
    assert_complains(&send(echo.addr, "--insecure"), &["cannot connect to tls:", hint]);
    echo.check_echo();
    echo.stop();
    let greet = Server::new("--protocol greet");
    assert_complains(&send(greet.addr, "--insecure"), &["what came is not TLS", hint]);
    greet.stop();
    let discard = Server::new("--protocol discard");
    let said = send(discard.addr, "--insecure --connect-timeout 300ms");
    assert_complains(&said, &["no handshake of TLS within 300ms"]);
    discard.stop();
    let leaver = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = leaver.local_addr().unwrap();
    let leaver = thread::spawn(move || {
        let (mut stream, _) = leaver.accept().unwrap();
        let _ = stream.read(&mut [0; 1 << 14]);
    });
    assert_complains(&send(addr, "--insecure"), &["ended before the handshake did"]);
    leaver.join().unwrap();
}

#[test]
fn send_without_tls_to_a_server_with_it_is_told_so() {
    let (server, addr) = serve("--protocol greet --tls-self-signed");
    let said = charkh(&["send", "--to", &addr.to_string(), "hello"]);
    assert_complains(&said, &["the server speaks TLS: add --tls"]);
    assert_eq!(failures(&server.stop()), ["what came is not TLS"]);
}

#[test]
fn case_097_send_says_that_an_answer_was_cut_short() {
    if is_without("openssl") {
        return;
    }
    let files = Files::new();
    // This server dies before it has said goodbye.
    let mut command = Command::new("openssl");
    let (cert, key) = (files.path("cert.pem"), files.path("key.pem"));
    command.args([
        "s_server",
        "-accept",
        "127.0.0.1:0",
        "-cert",
        &cert,
        "-key",
        &key,
        "-naccept",
        "1",
    ]);
    let mut server = Running::new(&mut command);
    let accepts = server.stdout.find("ACCEPT 127.0.0.1:");
    let to = format!("tls:{}", accepts.strip_prefix("ACCEPT ").unwrap());
    let mut sending = Command::new(BINARY);
    let mut sending =
        Running::new(sending.args(["send", "--to", &to, "--ca", &files.path("ca.pem")]));
    sending.stdin.as_mut().unwrap().write_all(b"hello, said the client\n").unwrap();
    server.stdout.find("hello, said the client");
    server.stdin.as_mut().unwrap().write_all(b"hello, said the server\n").unwrap();
    sending.stdout.find("hello, said the server");
    server.kill();
    assert_eq!(sending.exit_code(), 1);
    let errors = sending.stderr.to_end().join("\n");
    assert!(errors.contains("cut short") || errors.contains("reset"), "{errors}");
}

#[test]
fn case_100_nothing_is_lost_of_twenty_megabytes_both_ways() {
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    let everything = Pattern::bytes(7, 20 << 20);
    let (to, ca) = (to(addr), files.path("ca.pem"));
    let said =
        run(Command::new(BINARY).args(["send", "--raw", "--to", &to, "--ca", &ca]), &everything);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert!(said.stdout == everything, "{} of {}", said.stdout.len(), everything.len());
    check_echo(&files, addr);
    server.stop();
}

#[test]
fn load_counts_handshakes() {
    let files = Files::new();
    let ca = files.path("ca.pem");
    let (server, addr) = files.serve("--protocol echo");
    let loaded = load(addr, &format!("--tls --ca {ca} -c 7 -n 500 --depth 3 --size 3k"));
    loaded.assert_well();
    assert_eq!((loaded.count("/requests"), loaded.count("/connections/opened")), (500, 7));
    assert_eq!(loaded.count("/bytes_in"), 500 * 3000);
    let suite = "/tls/agreed/TLS 1.3 TLS_AES_128_GCM_SHA256";
    assert_eq!((loaded.count(suite), loaded.count("/tls/resumed")), (7, 0));
    let [connects, handshakes] = ["connect", "handshake"].map(|name| loaded.histogram(name));
    assert_eq!((connects.len(), handshakes.len()), (7, 7));
    assert!(loaded.told().contains("handshakes   7 TLS 1.3 "), "{}", loaded.told());
    server.stop();
}

#[test]
fn load_makes_as_many_handshakes_as_requests_full_ones_or_short_ones() {
    let files = Files::new();
    let ca = files.path("ca.pem");
    let (server, addr) = files.serve("--protocol echo");
    for (option, resumed) in [("", 0), ("--resume", 200 - 5)] {
        let options = format!("--tls --ca {ca} -c 5 -n 200 --per-connection 1 {option}");
        let loaded = load(addr, &options);
        loaded.assert_well();
        assert_eq!(loaded.count("/requests"), 200);
        // The last five are opened, and have nothing to do.
        let opened = loaded.count("/connections/opened");
        assert!((200..=205).contains(&opened), "{opened}");
        let found = loaded.count("/tls/resumed");
        assert!((resumed..=resumed + 5).contains(&found), "{found} and not {resumed}");
    }
    server.stop();
}

#[test]
fn load_ends_connections_itself_without_tls_too() {
    let server = Server::new("--protocol echo");
    for (option, most) in [("--per-connection 7", 60), ("--per-connection 7 --reset", 60)] {
        let loaded = load(server.addr, &format!("-c 4 -n 300 {option}"));
        loaded.assert_well();
        let opened = loaded.count("/connections/opened");
        assert!((43..most).contains(&opened), "{option}: {opened}");
    }
    server.check_echo();
    server.stop();
}

#[test]
fn load_says_what_kept_it_from_a_handshake() {
    let files = Files::new();
    let clients = Authority::new("the clients' authority");
    let client_ca = files.write("clients.pem", &clients.pem());
    let (server, addr) = files.serve(&format!("--protocol echo --tls-client-ca {client_ca}"));
    let said = charkh(&["load", &to(addr), "-n", "10"]);
    assert!(said.code == 2 && said.stderr.contains("nobody who is trusted here"), "{said:?}");
    // Nobody is asked before the first request.
    let ca = files.path("ca.pem");
    let loaded = load(addr, &format!("--tls --ca {ca} -n 10 -c 2 --timeout 300ms"));
    loaded.assert_failed();
    assert_eq!(loaded.example("tls error"), "the peer wants to be shown a certificate");
    // With what it is asked for, all is well.
    let [cert, key] = files.keep("known", &clients.sign(&["me"]));
    let options = format!("--tls --ca {ca} --tls-cert {cert} --tls-key {key} -n 10 -c 2");
    load(addr, &options).assert_well();
    let plain = Server::new("--protocol greet");
    let said = charkh(&["load", &to(plain.addr), "--insecure", "-n", "10"]);
    assert!(said.code == 2 && said.stderr.contains("what came is not TLS"), "{said:?}");
    plain.stop();
    server.stop();
}
