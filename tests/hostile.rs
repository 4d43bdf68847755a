//! The program under attack: `benches/hostile/`, each attack small. What it asks of charkh must be
//! so, whatever else this machine does; the figures are of the long runs (docs/reliability.md).
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::unwrap_used)]
use std::{
    env,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

/// Two processors are no more than one attack needs.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn attack(name: &str) {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR"));
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(env::var_os("CI").is_none(), "python3 is not installed");
        eprintln!("not tested: python3 is not installed");
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let script = ours.join("benches/hostile/run.py");
    let mut command = Command::new("python3");
    command.arg(script).args([name, "--quick"]).env("CHARKH", env!("CARGO_BIN_EXE_charkh"));
    let done = command.output().unwrap();
    let [said, why] =
        [done.stdout, done.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    assert!(done.status.success(), "{said}\n{why}");
    println!("{said}");
}

#[test]
fn case_002_003_032_040_every_call_fails_in_every_way() {
    attack("sweep");
}

#[test]
fn case_001_out_of_descriptors_with_others_waiting() {
    attack("descriptors");
}

#[test]
fn case_008_a_flood_of_syns() {
    attack("syns");
}

#[test]
fn case_091_clients_that_are_slow() {
    attack("slow");
}

#[test]
fn case_037_038_066_clients_that_never_read_and_that_promise_much() {
    attack("hoarders");
}

#[test]
fn case_046_119_a_refusal_is_seen_by_those_who_are_still_sending() {
    attack("refusals");
}

#[test]
fn case_052_a_lossy_network_and_those_who_vanish_in_it() {
    attack("lossy");
}

#[test]
fn case_064_092_they_come_and_go_in_all_ways() {
    attack("churn");
}

#[test]
fn case_068_less_memory_than_the_machine_has() {
    attack("cage");
}

#[test]
fn case_081_086_087_stops_at_random_moments_takeovers_and_kills() {
    attack("stops");
}

#[test]
fn a_soak_with_rude_clients() {
    attack("soak");
}
