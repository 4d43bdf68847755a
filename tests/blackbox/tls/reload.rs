//! SIGHUP: other files, the same server.
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use charkh::tls::{self, Trust};

use super::{ByHand, Files, TIMEOUTS, ca::Authority, client, dial, echo, serve};
use crate::support::{Server, until};

/// Have the server load its files, and wait for what the log says of it.
fn reload(server: &Server, says: &str) -> String {
    let seen = server.log().so_far().len();
    server.running.signal("HUP");
    server.log().find_after(seen, says)
}

const LOADED: &str = "SIGHUP: loaded the certificate again";
const KEPT: &str = "SIGHUP: the certificate stays what it was: ";

#[test]
fn case_083_the_old_go_on_the_new_see_the_new_and_bad_files_change_nothing() {
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    let (first, second) = (files.client(), Authority::new("the second authority"));
    let mut old = dial(&first, addr);
    echo(&mut old, b"before");

    files.show(&second.sign(&["localhost"]));
    reload(&server, LOADED);
    let seen = client(Trust::Ca(second.pem()));
    let mut new = dial(&seen, addr);
    echo(&mut new, b"after");
    let layer = first.layer("localhost").unwrap();
    let e = charkh::client::Client::connect_through(addr, layer, &TIMEOUTS).unwrap_err();
    assert!(e.to_string().contains("nobody who is trusted here"), "{e}");

    // A key that came before its certificate; files that are gone, or are half written.
    let key = fs::read(files.path("key.pem")).unwrap();
    let cert = fs::read(files.path("cert.pem")).unwrap();
    files.write("key.pem", &files.ca.sign(&["localhost"]).key);
    let says = reload(&server, KEPT);
    assert!(says.contains("not that of the first certificate"), "{says}");
    assert!(says.contains(&files.path("key.pem")), "{says}");
    files.write("key.pem", &key);
    files.write("cert.pem", &cert[..cert.len() / 2]);
    reload(&server, KEPT);
    fs::remove_file(files.path("cert.pem")).unwrap();
    let says = reload(&server, KEPT);
    assert!(says.contains(&format!("cannot read --tls-cert {}", files.path("cert.pem"))), "{says}");
    echo(&mut dial(&seen, addr), b"still the second");

    files.write("cert.pem", &cert);
    reload(&server, LOADED);
    echo(&mut old, b"all the time");
    echo(&mut new, b"all the time");
    drop((old, new));
    server.stop();
}

#[test]
fn case_102_who_shakes_hands_goes_on_with_what_was_begun() {
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    let second = Authority::new("the second authority");
    // One has an answer that it has not read, one has said a half, one has said nothing.
    let (mut answered, hello) = ByHand::new(&files.client(), addr);
    answered.write(&hello);
    let answer = answered.read();
    let (mut half, hello) = ByHand::new(&files.client(), addr);
    half.write(&hello[..hello.len() / 2]);
    let (mut silent, greeting) = ByHand::new(&files.client(), addr);
    server.running.until_asleep();

    files.show(&second.sign(&["localhost"]));
    reload(&server, LOADED);
    answered.take(answer);
    half.write(&hello[hello.len() / 2..]);
    silent.write(&greeting);
    for begun in [&mut half, &mut silent] {
        let answer = begun.read();
        begun.take(answer);
    }
    for mut begun in [answered, half, silent] {
        begun.echo(b"we have met before");
    }
    echo(&mut dial(&client(Trust::Ca(second.pem())), addr), b"I have not");
    server.stop();
}

#[test]
fn case_102_nobody_who_comes_meanwhile_is_turned_away() {
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    let second = Authority::new("the second authority");
    let identities = [files.ca.sign(&["localhost"]), second.sign(&["localhost"])];
    let either = [files.ca.pem(), second.pem()].concat();
    let over = Arc::new(AtomicBool::new(false));
    let coming: Vec<_> = (0..3)
        .map(|_| {
            let (over, either) = (over.clone(), client(Trust::Ca(either.clone())));
            thread::spawn(move || {
                let mut met = 0;
                while !over.load(Ordering::Relaxed) {
                    echo(&mut dial(&either, addr), b"hello");
                    met += 1;
                }
                met
            })
        })
        .collect();
    for round in 0..20 {
        files.show(&identities[round % 2]);
        reload(&server, LOADED);
    }
    over.store(true, Ordering::Relaxed);
    let met: usize = coming.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(met > 0);
    server.stop();
}

#[test]
fn who_is_no_longer_trusted_is_not_let_in_by_an_old_session() {
    let files = Files::new();
    let clients = Authority::new("the clients' authority");
    let client_ca = files.write("clients.pem", &clients.pem());
    let (server, addr) = files.serve(&format!("--protocol echo --tls-client-ca {client_ca}"));
    let identity = clients.sign(&["me"]);
    let config = tls::ClientConfig {
        cert: identity.cert,
        key: identity.key,
        ..tls::ClientConfig::new(Trust::Ca(files.ca.pem()))
    };
    let me = tls::Client::new(&config).unwrap();
    let mut inside = dial(&me, addr);
    echo(&mut inside, b"it is me"); // and here is a ticket
    let mut again = dial(&me, addr);
    assert_eq!(again.with_layer(|tls: &tls::Tls| tls.was_resumed()), Some(true));
    echo(&mut again, b"it is me again");

    files.write("clients.pem", &Authority::new("others").pem());
    reload(&server, LOADED);
    echo(&mut inside, b"I was here before");
    let mut late = dial(&me, addr); // in TLS 1.3 the refusal comes after this
    let refused = late.send_all(b"x").and_then(|()| late.read_exact(&mut [0]));
    let e = refused.unwrap_err();
    assert!(e.to_string().contains("trusts nobody who has signed"), "{e:?}");
    drop((inside, again, late));
    server.stop();
}

/// A network's file system may be as slow as this.
#[test]
fn case_083_files_that_are_read_for_ever_hold_nobody_up() {
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    let key = fs::read(files.path("key.pem")).unwrap();
    fs::remove_file(files.path("key.pem")).unwrap();
    let mkfifo = std::process::Command::new("mkfifo").arg(files.path("key.pem")).status();
    assert!(mkfifo.unwrap().success());
    server.running.signal("HUP");
    echo(&mut dial(&files.client(), addr), b"hello");
    reload(&server, "once more after that");
    // Somebody writes to it at last. What was asked for meanwhile is done then.
    let seen = server.log().so_far().len();
    fs::write(files.path("key.pem"), &key).unwrap();
    server.log().find_after(seen, LOADED);
    fs::write(files.path("key.pem"), &key).unwrap();
    until("it is loaded twice", || {
        let log = server.log().so_far();
        (log[seen..].iter().filter(|line| line.contains(LOADED)).count() == 2).then_some(())
    });
    // It does not hold up the end either.
    server.running.signal("HUP");
    reload(&server, "once more after that");
    server.stop();
}

#[test]
fn what_is_self_signed_stays() {
    let (server, addr) = serve("--protocol echo --tls-self-signed");
    reload(&server, "SIGHUP: there is nothing to load again");
    echo(&mut dial(&client(Trust::AcceptAnyone), addr), b"hello");
    server.stop();
    let files = Files::new();
    let client_ca = files.path("ca.pem");
    let (server, _) = serve(&format!("--tls-self-signed --tls-client-ca {client_ca}"));
    let before = server.running.stdout.find("fingerprint sha256 ");
    let fingerprint = before.rsplit(' ').next().unwrap();
    reload(&server, LOADED);
    reload(&server, &format!("its SHA-256 is {fingerprint}"));
    server.stop();
}
