//! What is said on the command line, and what is wrong with it.
use std::net::TcpListener;

use crate::redis::{Asked, arguments, run};

fn asked(line: &str) -> Result<Asked, String> {
    arguments(line.split_whitespace().map(String::from))
}

#[test]
fn mistakes_are_one_sentence() {
    for (line, wanted) in [
        ("--nope", "--nope is no option"),
        ("--nope 1", "--nope is no option"),
        ("--maxmemory", "--maxmemory needs a value"),
        ("--maxmemory x", "--maxmemory x: argument must be a memory value"),
        ("--maxmemory-clients x", "--maxmemory-clients x: argument must be a memory value"),
        ("-v", "-v is no option"),
        ("localhost:1 localhost:2", "localhost:2 is one address too many"),
    ] {
        let wrong = asked(line).unwrap_err();
        assert!(wrong.starts_with(wanted) && !wrong.contains('\n'), "{line}: {wrong}");
    }
    assert!(matches!(asked("--help"), Ok(Asked::Help)));
    let Ok(Asked::Serve(addr, settings)) = asked("localhost:1 --maxmemory 1mb") else { panic!() };
    assert_eq!((&*addr, settings.maxmemory), ("localhost:1", 1 << 20));
    let Ok(Asked::Serve(_, settings)) = asked("--maxmemory-clients 3mb") else { panic!() };
    assert_eq!(settings.clients_max, 3 << 20);
}

#[test]
fn an_address_that_cannot_be_listened_at_is_named() {
    let holds_it = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holds_it.local_addr().unwrap().to_string();
    for addr in [&*taken, "127.0.0.1:99999"] {
        let wrong = run(addr, Default::default()).unwrap_err().to_string();
        assert!(wrong.starts_with(&format!("cannot listen at {addr}: ")), "{wrong}");
    }
}
