//! Twice the input takes twice the work, however it comes: counted in instructions, which are the
//! same each time, and so want no quiet machine.
use std::{env, fs, process::Command};

use charkh::Input;

use crate::{
    example::{Buffer, Limits, Messages},
    world::{BINARY, FINAL, MORE, PING, TEXT, frame, text},
};

type Shape = (&'static str, usize, fn(usize) -> Vec<u8>);

/// Ways to send so many bytes, and the size of the pieces in which they come.
const SHAPES: [Shape; 6] = [
    ("one message, byte by byte", 1, |size| frame(FINAL | BINARY, &vec![7; size])),
    ("one text, byte by byte", 1, |size| text(&"€".repeat(size / 3))),
    ("fragments of a byte", 1, |size| {
        let more = frame(MORE, b"x").repeat(size / 7);
        [frame(TEXT, b""), more, frame(FINAL | MORE, b"")].concat()
    }),
    ("pings, byte by byte", 1, |size| frame(FINAL | PING, &[7; 125]).repeat(size / 131)),
    ("small messages at once", usize::MAX, |size| text("hello").repeat(size / 11)),
    ("a message in pieces of a read", 1000, |size| frame(FINAL | BINARY, &vec![7; size * 20])),
];
const SIZE: usize = 20_000;

/// What is counted: a process of its own does it, and nothing else.
#[test]
#[ignore = "asked for by the test below"]
fn work() {
    let size = env::var("CHARKH_SIZE").unwrap().parse().unwrap();
    let limits = Limits { fragments_max: u32::MAX, ..Limits::default() };
    for (name, piece, make) in SHAPES {
        let stream = make(size);
        let (mut messages, mut buffer) = (Messages::default(), Buffer::default());
        let (mut at, mut end) = (0, 0);
        while end < stream.len() {
            end = end.saturating_add(piece).min(stream.len());
            let mut input = Input::new(&stream[at..end]);
            while messages.next(&limits, &mut input, &mut buffer).unwrap().is_some() {}
            at = end - input.len();
        }
        assert_eq!(at, stream.len(), "{name}");
    }
}

/// Instructions, by valgrind. `None` if it is not installed.
fn instructions(size: usize) -> Option<u64> {
    let log = env::temp_dir().join(format!("charkh-linear-{}-{size}", std::process::id()));
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--log-file={}", log.display()))
        .arg(env::current_exe().unwrap())
        .args(["linear::work", "--exact", "--ignored", "--quiet"])
        .env("CHARKH_SIZE", size.to_string())
        .output();
    let Ok(output) = ran else {
        eprintln!("not tested: valgrind is not installed");
        return None;
    };
    let said = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stdout));
    let (_, count) = said.split_once("Collected : ").unwrap();
    count.split_whitespace().next().unwrap().parse().ok()
}

/// All together: whichever of them were not linear would soon be most of the work.
#[test]
fn twice_the_input_takes_twice_the_work() {
    let Some(nothing) = instructions(0) else { return };
    let count = |size| (instructions(size).unwrap() - nothing) as f64;
    let (once, twice) = (count(SIZE), count(2 * SIZE));
    println!("{once} and {twice} instructions: {:.2}", twice / once);
    assert!(twice <= 2.3 * once, "{once} and {twice}");
}
