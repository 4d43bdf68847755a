//! The program under attack: `benches/hostile/`, each attack small. What it asks of charkh must be so,
//! whatever else this machine does; the figures are those of the long runs (docs/reliability.md).
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
fn case_008_a_flood_of_syns() {
    attack("syns");
}

#[test]
fn case_068_less_memory_than_the_machine_has() {
    attack("cage");
}

#[test]
fn a_soak_with_rude_clients() {
    attack("soak");
}
