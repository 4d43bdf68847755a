//! Twice the bytes take twice the work, in whatever pieces they come: counted in instructions, by
//! valgrind, in this very program.
use std::{env, fs};

use charkh::{
    Input,
    http::{Limits, Part, Requests},
};

use crate::common::says;

/// A name, and what is sent, of about so many bytes.
type Shape = (&'static str, fn(usize) -> String);

const SHAPES: [Shape; 7] = [
    ("one header", |size| head(&format!("X: {}\r\n", "a".repeat(size)))),
    ("a target", |size| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(size))),
    ("headers", |size| head(&"X: a\r\n".repeat(size / 6))),
    ("requests", |size| head("").repeat(size / head("").len())),
    ("chunks", |size| chunked(&"1\r\na\r\n".repeat(size / 6), "")),
    ("an extension", |size| chunked(&format!("1;{}\r\na\r\n", "x".repeat(size)), "")),
    ("trailers", |size| chunked("", &"X: a\r\n".repeat(size / 6))),
];

fn head(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

fn chunked(chunks: &str, trailers: &str) -> String {
    head("Transfer-Encoding: chunked\r\n") + chunks + "0\r\n" + trailers + "\r\n"
}

/// Read `text` in pieces of so many bytes, as a reactor offers them.
fn read(text: &str, piece: usize) {
    let limits = Limits {
        head_max: 1 << 20,
        uri_max: 1 << 20,
        chunk_line_max: 1 << 20,
        extensions_max: 1 << 20,
        headers_max: 100_000,
        ..Limits::default()
    };
    let (mut requests, mut taken, mut ends) = (Requests::default(), 0, 0);
    for end in (1..=text.len()).filter(|end| end % piece == 0 || *end == text.len()) {
        let mut input = Input::new(&text.as_bytes()[taken..end]);
        while let Ok(Some(part)) = requests.next(&limits, &mut input) {
            ends += usize::from(matches!(part, Part::End));
        }
        taken = end - input.len();
    }
    assert!(ends > 0 && taken == text.len(), "{ends} {taken}");
}

/// More headers than some are refused.
fn size_of(shape: &str) -> usize {
    if shape == "headers" { 600 } else { 12_000 }
}

/// All that is counted, in its order: a shape, a piece, a size.
fn works() -> Vec<(&'static str, usize, usize)> {
    let mut works = Vec::new();
    for (shape, _) in SHAPES {
        let size = size_of(shape);
        works.extend([(shape, 1, size), (shape, 1, 2 * size)]);
        works.extend([(shape, size, size), (shape, size, 2 * size)]);
    }
    works
}

/// One of them. After each call valgrind writes down what it has counted since the last.
#[inline(never)]
fn counted(text: &str, piece: usize) {
    read(text, piece);
}

#[test]
#[ignore = "the next test runs it under valgrind"]
fn work() {
    let texts: Vec<_> = works()
        .into_iter()
        .map(|(shape, piece, size)| {
            let (_, text) = SHAPES.iter().find(|(name, _)| *name == shape).unwrap();
            (text(size), piece)
        })
        .collect();
    counted(&head(""), 1);
    texts.iter().for_each(|(text, piece)| counted(text, *piece));
}

#[test]
fn twice_the_bytes_are_at_most_2_3_times_the_work() {
    let Some(version) = says("valgrind", &["--version"], b"") else { return };
    assert!(version.starts_with("valgrind-"), "{version}");
    let folder = env::temp_dir().join(format!("charkh-linear-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let program = env::current_exe().unwrap();
    let out = format!("--callgrind-out-file={}/out", folder.display());
    let args = ["--tool=callgrind", &out, "--dump-after=http::linear::counted"];
    let test = [program.to_str().unwrap(), "--exact", "linear::work", "--ignored"];
    let said = says("valgrind", &[&args[..], &test].concat(), b"").unwrap();
    assert!(said.contains("1 passed"), "{said}");
    let count = |n: usize| -> f64 {
        let dump = fs::read_to_string(folder.join(format!("out.{n}"))).unwrap();
        let totals = dump.lines().find_map(|line| line.strip_prefix("totals: "));
        totals.unwrap_or_else(|| panic!("{n}: {dump:.1000}")).parse().unwrap()
    };
    // The first is what there was before.
    for (n, pair) in works().chunks(2).enumerate() {
        let (shape, piece, _) = pair[0];
        let (once, twice) = (count(2 + 2 * n), count(3 + 2 * n));
        println!("{shape} in pieces of {piece}: {once}, then {twice}");
        assert!(twice < 2.3 * once, "{shape} in pieces of {piece}: {once}, then {twice}");
    }
    fs::remove_dir_all(&folder).unwrap();
}
