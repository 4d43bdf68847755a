//! `docs/your-first-protocol.md`, word for word: its files are put where it says, and its commands
//! are run where they stand.
use std::{fs, path::Path, process::Command};

const GUIDE: &str = include_str!("../docs/your-first-protocol.md");

/// What the reader is asked to do next.
#[derive(PartialEq, Debug)]
enum Step<'a> {
    Write(&'a str, &'a str),
    Run(&'a str),
}

/// Blocks are files, named by the last line of text before them, or commands; `text` is to be read.
fn steps(guide: &str) -> Vec<Step<'_>> {
    let (mut steps, mut text) = (Vec::new(), "");
    let mut rest = guide;
    while let Some((before, block)) = rest.split_once("\n```") {
        text = before.trim_end().lines().last().unwrap_or(text);
        let (kind, block) = block.split_once('\n').unwrap();
        let (block, after) = block.split_once("```\n").unwrap();
        match kind {
            "text" => {}
            "sh" => steps.push(Step::Run(block)),
            _ => {
                let name = text.strip_prefix('`').and_then(|text| text.split_once('`'));
                let (name, _) = name.unwrap_or_else(|| panic!("a file without a name: {text}"));
                steps.push(Step::Write(name, block));
            }
        }
        rest = after;
    }
    steps
}

#[test]
fn whoever_follows_it_has_a_protocol_that_works() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    // The versions that are tested here; nothing is looked for elsewhere.
    fs::copy(here.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let steps = steps(GUIDE);
    let is_test = |step: &&Step| **step == Step::Run("cargo test\n");
    assert!(steps.iter().filter(is_test).count() > 3 && is_test(&steps.last().unwrap()));
    for step in steps {
        match step {
            Step::Write(name, text) => {
                let text = text.replace("\"../charkh\"", &format!("{here:?}"));
                fs::write(folder.join(name), text).unwrap_or_else(|e| panic!("{name}: {e}"));
            }
            Step::Run(command) => {
                let (is_well, told) = run(command, &folder);
                let is_test = command.contains("cargo test");
                assert!(is_well && (!is_test || told.contains("result: ok.")), "{told}");
                println!("$ {command}{told}");
            }
        }
    }
    // What it asks the reader to try.
    let path = folder.join("src/lib.rs");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("while let Some(line)", "if let Some(line)")).unwrap();
    let (is_well, told) = run("cargo test --test worlds", &folder);
    assert!(!is_well && told.contains("once more: CHARKH_SEED="), "{told}");
}

/// Whether it went well, and what it said.
fn run(command: &str, folder: &Path) -> (bool, String) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide-target");
    let output = Command::new("sh")
        .args(["-ec", command])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .env("RUSTFLAGS", "-D warnings")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}
