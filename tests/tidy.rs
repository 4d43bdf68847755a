//! Style, as tests: who may import whom, what is absent, how long things are, what is reachable,
//! and what the documents promise. Each check is a function from text to complaints, so that each
//! can be shown a text that it must complain about.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Who may import whom, within the library; unit tests aside, which may look at anything.
/// `Result` and `Fault` live in lib.rs and are everybody's. A module may name its own children.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("addr", &["logging"]),
    ("buf", &[]),
    ("client", &["addr", "layer"]),
    ("client/sealed", &["layer"]),
    ("codec", &[]),
    ("hot", &[]),
    ("http", &[]),
    ("http/body", &["codec", "http", "http/head"]),
    ("http/head", &["codec", "http"]),
    ("http/requests", &["codec", "http", "http/body", "http/head", "input"]),
    ("http/response", &["http"]),
    ("http/server", &["http", "hub", "input", "peer"]),
    ("http/status", &[]),
    ("layer", &["addr"]),
    ("logging", &[]),
    ("net", &["addr"]),
    ("outbox", &[]),
    ("timers", &[]),
    ("tls", &["layer"]),
    ("tls/client", &["tls", "tls/pem"]),
    ("tls/pem", &[]),
    ("tls/server", &["layer", "tls", "tls/pem"]),
    ("tls/words", &["logging"]),
    ("trace", &[]),
    ("trace/delays", &["trace"]),
    ("weights", &[]),
    ("input", &["codec"]),
    ("net/os", &["addr", "net"]),
    ("net/os/unix", &["addr", "net"]),
    ("net/sim", &["addr", "net"]),
    ("net/sim/faults", &[]),
    ("net/sim/udp", &["net/sim"]),
    ("net/sim/worlds", &["net/sim"]),
    ("conn", &["buf", "layer"]),
    ("config", &["conn", "net"]),
    ("stats", &["conn"]),
    (
        "hub",
        &[
            "addr", "buf", "config", "conn", "hot", "layer", "outbox", "peer", "stats", "timers",
            "trace", "weights",
        ],
    ),
    ("peer", &["addr", "conn", "hub", "layer"]),
    ("datagram", &["hub", "outbox"]),
    ("handle", &["hub", "net"]),
    ("protocol", &["conn", "datagram", "hub", "input", "peer"]),
    ("proxy", &["addr", "layer"]),
    ("reconnect", &["addr", "hub", "layer", "peer"]),
    ("reactor", EVERYTHING_BUT_CLIENT),
    (
        "reactor/datagrams",
        &["datagram", "hub", "logging", "net", "outbox", "protocol", "reactor", "trace"],
    ),
];

const EVERYTHING_BUT_CLIENT: &[&str] = &[
    "addr", "buf", "codec", "config", "conn", "datagram", "handle", "hub", "input", "layer",
    "logging", "net", "outbox", "peer", "protocol", "stats", "timers", "trace", "weights",
];

/// What the library does without, and where it does not.
const ABSENT: &[(&str, &str)] = &[
    ("unsafe", ""),
    ("Rc<", ""),
    ("RefCell", ""),
    ("thread_local", ""),
    (".unwrap()", ""),
    (".expect(", ""),
    ("println!", ""),
    ("eprintln!", ""),
    ("reregister", ""),
    ("deregister", ""),
    ("mio", "src/net/os.rs src/net/os/unix.rs"),
    ("signal_hook_mio", "src/net/os.rs"),
    ("socket2", "src/net/os.rs src/net/os/unix.rs"),
    ("rustix", "src/net/os.rs src/net/os/unix.rs"),
    ("nix", "src/net/os.rs"),
    ("rustls", "src/tls.rs src/tls/client.rs src/tls/pem.rs src/tls/server.rs src/tls/words.rs"),
    // The blocking client has no loop, and so no loop's time.
    ("Instant::now", "src/net/os.rs src/client.rs"),
    // Strangers choose what is hashed: each process has a secret of its own.
    ("BuildHasherDefault", ""),
    ("with_hasher", ""),
    // Somebody can set them.
    ("SystemTime", ""),
    ("ClockId::Realtime", ""),
];

/// What is nowhere, neither in code nor in a comment.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!", "TODO", "FIXME", "XXX"];

const LINE_MAX: usize = 100;
const FUNCTION_MAX: usize = 70;
const ARCHITECTURE_MAX: usize = 200;
const FOLDERS: &[&str] = &["src", "examples", "tests", "benches", "fuzz"];

// The checks.

#[test]
fn each_module_imports_only_what_it_may() {
    agree(&tree(), imports);
}

#[test]
fn imports_complains() {
    let lib = Source::new("src/lib.rs", "mod hub;\nmod input;\npub use hub::{ConnId, Hub};\n");
    let says = |path: &str, code: &str| imports(&[lib.clone(), Source::new(path, code)]);
    assert_eq!(says("src/input.rs", "use crate::{Result, codec::{Lines, Status}};"), [""; 0]);
    assert_eq!(says("src/hub.rs", "use crate::{\n    Result,\n    hub,\n};"), [""; 0]);
    assert_eq!(
        says("src/codec.rs", "//! [`x`](crate::Hub)\nconst S: &str = \"crate::hub\";"),
        [""; 0]
    );
    let in_tests = "#[cfg(test)]\nmod tests {\n    use crate::Hub;\n}";
    assert_eq!(says("src/codec.rs", in_tests), [""; 0]);
    assert_eq!(
        says("src/buf.rs", "use crate::{\n    Result,\n    hub::{A, B as C},\n};"),
        ["src/buf.rs:3: buf may not import hub"]
    );
    assert_eq!(
        says("src/buf.rs", "fn f() -> crate::ConnId {}"),
        ["src/buf.rs:1: buf may not import hub"]
    );
    assert_eq!(
        says("src/net/os.rs", "\nuse super::super::hub::Hub;"),
        ["src/net/os.rs:2: net/os may not import hub"]
    );
    assert_eq!(
        says("src/net/os.rs", "use super::{Net, sim::Sim};"),
        ["src/net/os.rs:1: net/os may not import net/sim"]
    );
    assert_eq!(
        says("src/timers.rs", "use crate::*;"),
        ["src/timers.rs:1: timers imports everything"]
    );
    assert_eq!(says("src/new.rs", ""), ["src/new.rs:1: new is not in the table of imports"]);
}

#[test]
fn the_table_of_imports_has_no_row_for_nothing() {
    let paths: BTreeSet<String> = tree().into_iter().map(|source| source.path).collect();
    let stale = |(module, _): &&(&str, _)| !paths.contains(&format!("src/{module}.rs"));
    assert_eq!(MAY_IMPORT.iter().find(stale), None);
}

#[test]
fn the_program_and_the_examples_see_the_public_face() {
    agree(&tree(), faces);
}

#[test]
fn faces_complains() {
    let says = |path: &str, code: &str| faces(&[Source::new(path, code)]);
    assert_eq!(says("src/cli/serve.rs", "use charkh::Hub;\nuse crate::cli::args;"), [""; 0]);
    assert_eq!(
        says("src/cli/serve.rs", "use std::io;\nuse crate::{hub::Hub, cli};"),
        ["src/cli/serve.rs:2: crate::hub"]
    );
    assert_eq!(
        says("examples/echo.rs", "use crate::cli::args;"),
        ["examples/echo.rs:1: crate::cli"]
    );
    assert_eq!(says("examples/http/server.rs", "use super::{files::Files, routes};"), [""; 0]);
    assert_eq!(says("examples/shop/a/b.rs", "use super::super::c;\nuse super::d;"), [""; 0]);
    assert_eq!(
        says("examples/shop.rs", "use super::other;"),
        ["examples/shop.rs:1: crate::examples"]
    );
    assert_eq!(
        says("src/main.rs", "#[path = \"hub.rs\"]\nmod hub;"),
        ["src/main.rs:2: src/hub.rs"]
    );
}

#[test]
fn lines_are_short_and_clean() {
    agree(&tree(), lines);
}

#[test]
fn lines_complains() {
    let says = |text: &str| lines(&[Source::new("a.rs", text)]);
    assert_eq!(says(&format!("//! a\n// {}\n", "é".repeat(97))), [""; 0]);
    assert_eq!(says(&format!("//! a\n// {}\n", "é".repeat(98))), ["a.rs:2: more than 100 columns"]);
    assert_eq!(says("//! a\n\tb\n"), ["a.rs:2: a tab"]);
    assert_eq!(says("//! a\nb \n"), ["a.rs:2: blanks at the end"]);
    assert_eq!(says("//! a\r\n"), ["a.rs:1: a carriage return"]);
    assert_eq!(says("//! a"), ["a.rs:1: no newline at the end"]);
    assert_eq!(says("//! a\n\n"), ["a.rs:2: more than one newline at the end"]);
    assert_eq!(says("// a\n"), ["a.rs:1: does not open with //!"]);
}

#[test]
fn functions_are_short() {
    agree(&tree(), functions);
}

#[test]
fn functions_complains() {
    let says = |text: &str| functions(&[Source::new("a.rs", text)]);
    let long = |inner: &str| format!("\nfn f(a: [u8; 3]) {{\n{}}}\n", inner.repeat(69));
    assert_eq!(says(&long("x\n")), ["a.rs:2: f has 71 lines"]);
    assert_eq!(says(&long("x\n").replacen("x\n", "", 1)), [""; 0]);
    // Braces that are none, and a body that is none.
    let tricks = "'}'; '\\''; b'}'; \"}\"; r#\"\"}\"#; // }\n";
    assert_eq!(says(&long(tricks)), ["a.rs:2: f has 71 lines"]);
    assert_eq!(says(&long("fn g(f: fn(u8)) -> &'static [u8; 2];\n")), ["a.rs:2: f has 71 lines"]);
}

#[test]
fn every_file_is_reached() {
    agree(&tree(), unreached);
}

#[test]
fn unreached_complains() {
    let file = |path: &str, text: &str| Source::new(path, text);
    let mut files = vec![
        file("src/lib.rs", "mod a;\npub mod b { pub(crate) mod c; }\n"),
        file("src/a.rs", "mod d;\n"),
        file("src/a/d.rs", "#[path = \"../e.rs\"]\nmod other;\n"),
        file("src/b/c.rs", ""),
        file("src/e.rs", ""),
        file("tests/examples.rs", "mod common;\n#[path = \"../examples/echo.rs\"]\nmod echo;\n"),
        file("tests/common/mod.rs", "fn run() { start(\"chat\") }"),
        file("examples/echo.rs", ""),
        file("examples/chat.rs", ""),
    ];
    assert_eq!(unreached(&files), [""; 0]);
    files.push(file("src/d.rs", "mod a;"));
    files.push(file("tests/common/more.rs", ""));
    files.push(file("examples/lost.rs", ""));
    assert_eq!(
        unreached(&files),
        [
            "src/d.rs:1: no `mod` leads here",
            "tests/common/more.rs:1: no `mod` leads here",
            "examples/lost.rs:1: no test runs it",
        ]
    );
}

#[test]
fn case_071_074_the_library_does_without() {
    agree(&tree(), absences);
}

#[test]
fn absences_complains() {
    let says = |path: &str, text: &str| absences(&[Source::new(path, text)]);
    for (word, allowed) in ABSENT {
        let text = format!("\nlet a = b.{word} c;").replace("b..", "b.");
        let complaint = format!("src/hub.rs:2: {word}");
        assert_eq!(says("src/hub.rs", &text), [complaint]);
        assert_eq!(says("src/main.rs", &text), [""; 0]);
        assert_eq!(says("src/cli/serve.rs", &text), [""; 0]);
        if let Some(file) = allowed.split(' ').find(|file| !file.is_empty()) {
            assert_eq!(says(file, &text), [""; 0]);
        }
    }
    let in_tests = "/// a.unwrap()\n#[cfg(test)]\nmod tests {\n    fn f() { a.unwrap() }\n}\n";
    assert_eq!(says("src/hub.rs", in_tests), [""; 0]);
    assert_eq!(says("src/hub.rs", "permion(); let immio = \"mio\"; Arc<RcX>"), [""; 0]);
}

#[test]
fn nothing_is_unfinished() {
    agree(&tree(), unfinished);
}

#[test]
fn unfinished_complains() {
    for word in UNFINISHED {
        let says = |text: &str| unfinished(&[Source::new("a.rs", text)]);
        assert_eq!(says(&format!("\n{word}")), [format!("a.rs:2: {word}")]);
        assert_eq!(says(&format!("\"{word}\"")), [""; 0]);
    }
    assert_eq!(unfinished(&[Source::new("a.rs", "// FIXME: later")]), ["a.rs:1: FIXME"]);
}

#[test]
fn the_documents_hold() {
    let exists = |path: &str| root().join(path).exists();
    let mut complaints = Vec::new();
    for name in ["README.md", "ARCHITECTURE.md"] {
        match fs::read_to_string(root().join(name)) {
            Ok(text) => complaints.extend(document(name, &text, &exists)),
            Err(e) => complaints.push(format!("{name}: {e}")),
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn document_complains() {
    let exists = |path: &str| ["src", "src/hub.rs", "tests/sim.rs"].contains(&path);
    let says = |text: &str| document("README.md", text, &exists);
    assert_eq!(says("`src/hub.rs`, src/ and [sim](tests/sim.rs). See http://a.b/src/c."), [""; 0]);
    assert_eq!(says("\nSee `hub.rs:12`.\n"), ["README.md:2: a line number"]);
    assert_eq!(says("# A\n\nRead src/hubs.rs."), ["README.md:3: src/hubs.rs does not exist"]);
    let long = "a\n".repeat(201);
    assert_eq!(says(&long), [""; 0]);
    assert_eq!(
        document("ARCHITECTURE.md", &long, &exists),
        ["ARCHITECTURE.md:201: more than 200 lines"]
    );
}

/// docs/hostile-cases.md is what `tests/cases.py` makes of the tests.
#[test]
fn each_hostile_case_has_its_test() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases.py");
    let Ok(done) = std::process::Command::new("python3").args([script, "--check"]).output() else {
        assert!(std::env::var_os("CI").is_none(), "python3 is not installed");
        return;
    };
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md"));
    let architecture = architecture.expect("ARCHITECTURE.md says what each dependency is for");
    let complaints = unexplained(&manifest, &architecture);
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn unexplained_complains() {
    let manifest = "[package]\nname = \"charkh\"\n\n[dependencies]\nlog = \"1\"\n# a = b\n\
        mio-x.a = 1\n\n[target.'cfg(unix)'.dependencies]\n\
        slab = { version = \"1\",\n features = []\n}\n\
        [dev-dependencies]\ncharkh = { path = \".\" }\n[features]\ncli = []\n";
    assert_eq!(unexplained(manifest, "`log` and mio-x and slab."), [""; 0]);
    assert_eq!(
        unexplained(manifest, "`mio-x`: blogs, slabs"),
        ["Cargo.toml: log is not in ARCHITECTURE.md", "Cargo.toml: slab is not in ARCHITECTURE.md",]
    );
}

/// Every path within the crate, resolved to the module it leads to, against the table.
fn imports(files: &[Source]) -> Vec<String> {
    let homes = files.iter().find(|file| file.path == "src/lib.rs").map(homes).unwrap_or_default();
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_library() && file.path != "src/lib.rs") {
        let module = file.path.trim_start_matches("src/").trim_end_matches(".rs");
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
            complaints.push(file.complain(0, &format!("{module} is not in the table of imports")));
            continue;
        };
        for (at, path) in file.crate_paths() {
            let mut names: Vec<&str> = path.iter().map(String::as_str).collect();
            if let Some(&home) = homes.get(names[0]).as_ref() {
                names.insert(0, home);
            }
            let deep = names.get(1).map(|name| format!("{}/{name}", names[0]));
            let deep = deep.filter(|deep| MAY_IMPORT.iter().any(|(name, _)| name == deep));
            let target = deep.unwrap_or(names[0].to_string());
            let free = ["Result", "Fault", module].contains(&&*target) || target.is_empty();
            if target == "*" {
                complaints.push(file.complain(at, &format!("{module} imports everything")));
            } else if !free && !allowed.contains(&&*target) {
                complaints.push(file.complain(at, &format!("{module} may not import {target}")));
            }
        }
        complaints.dedup();
    }
    complaints
}

/// What lib.rs shows of its modules, and which module each name is from.
fn homes(lib: &Source) -> BTreeMap<String, String> {
    let mut homes = BTreeMap::new();
    for at in words(&lib.code, "pub use ") {
        let mut leaves = Vec::new();
        use_tree(&lib.code, at + "pub use ".len(), &mut Vec::new(), &mut leaves);
        for (_, path) in leaves {
            if let [home, .., name] = &path[..] {
                homes.insert(name.clone(), home.clone());
            }
        }
    }
    homes
}

/// Whoever is not the library knows it as `charkh`.
fn faces(files: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_program() || file.is_in("examples/")) {
        for (at, path) in file.crate_paths() {
            // A folder is one example, whose files know each other.
            let folder = || file.path.split('/').nth(1) == path.get(1).map(String::as_str);
            let beside = path[0] == "examples" && file.path.matches('/').count() > 1 && folder();
            if !(file.is_program() && path[0] == "cli" || beside) {
                complaints.push(file.complain(at, &format!("crate::{}", path[0])));
            }
        }
        for (at, target) in file.modules() {
            if target.iter().any(|path| Source::new(path, "").is_library()) {
                complaints.push(file.complain(at, &target[0]));
            }
        }
    }
    complaints
}

fn lines(files: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        let mut at = 0;
        for line in file.text.split_inclusive('\n') {
            let bare = line.trim_end_matches('\n');
            let faults = [
                (bare.chars().count() > LINE_MAX, "more than 100 columns"),
                (bare.contains('\t'), "a tab"),
                (bare.ends_with([' ', '\t']), "blanks at the end"),
                (bare.ends_with('\r'), "a carriage return"),
            ];
            let found = faults.iter().filter(|(found, _)| *found);
            complaints.extend(found.map(|(_, says)| file.complain(at, says)));
            at += line.len();
        }
        let last = file.text.len().saturating_sub(1);
        if !file.text.ends_with('\n') {
            complaints.push(file.complain(last, "no newline at the end"));
        } else if file.text.ends_with("\n\n") {
            complaints.push(file.complain(last, "more than one newline at the end"));
        }
        if !file.text.starts_with("//!") {
            complaints.push(file.complain(0, "does not open with //!"));
        }
    }
    complaints
}

fn functions(files: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        for at in words(&file.code, "fn ") {
            let name = identifier(&file.code[at + 3..]);
            let Some(end) = body_end(&file.code, at) else { continue };
            let size = 1 + file.code[at..end].matches('\n').count();
            if !name.is_empty() && size > FUNCTION_MAX {
                complaints.push(file.complain(at, &format!("{name} has {size} lines")));
            }
        }
    }
    complaints
}

/// Files that no `mod` leads to from a crate's root, and examples that no test knows.
fn unreached(files: &[Source]) -> Vec<String> {
    let by_path: BTreeMap<&str, &Source> = files.iter().map(|file| (&*file.path, file)).collect();
    let walk = |mut open: Vec<String>| {
        let mut reached = BTreeSet::new();
        while let Some(path) = open.pop() {
            if let Some(file) = by_path.get(&*path)
                && reached.insert(path)
            {
                open.extend(file.modules().into_iter().flat_map(|(_, targets)| targets));
            }
        }
        reached
    };
    let roots = by_path.keys().filter(|path| is_root(path)).map(|path| path.to_string()).collect();
    let reached = walk(roots);
    let tests: Vec<&Source> = files.iter().filter(|file| file.is_in("tests/")).collect();
    let tested = walk(tests.iter().map(|file| file.path.clone()).collect());
    let mut complaints = Vec::new();
    for file in files {
        if !reached.contains(&file.path) {
            complaints.push(file.complain(0, "no `mod` leads here"));
        }
        let Some(name) = file.path.strip_prefix("examples/") else { continue };
        let quoted = format!("\"{}\"", name.trim_end_matches(".rs"));
        let run = |test: &&Source| !test.path.ends_with("tidy.rs") && test.text.contains(&quoted);
        if !tested.contains(&file.path) && !tests.iter().any(run) {
            complaints.push(file.complain(0, "no test runs it"));
        }
    }
    complaints
}

fn absences(files: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_library()) {
        for (word, allowed) in ABSENT {
            if !allowed.split(' ').any(|path| path == file.path) {
                let found = words(&file.code, word);
                complaints.extend(found.map(|at| file.complain(at, word)));
            }
        }
    }
    complaints
}

fn unfinished(files: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        for word in UNFINISHED {
            let found = words(&file.whole_code, word).chain(words(&file.comments, word));
            complaints.extend(found.map(|at| file.complain(at, word)));
        }
    }
    complaints
}

/// Prose about files: those that are named exist, and no line of them is, because lines move.
fn document(name: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    let in_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    for (n, line) in text.lines().enumerate() {
        let mut complain = |says: &str| complaints.push(format!("{name}:{}: {says}", n + 1));
        let numbered = line
            .match_indices(".rs:")
            .any(|(at, found)| line[at + found.len()..].starts_with(|c: char| c.is_ascii_digit()));
        if numbered {
            complain("a line number");
        }
        for path in line.split(|c| !in_path(c)) {
            let path = path.trim_end_matches(['.', '/', '-']);
            let folder = path.split_once('/').map(|(folder, _)| folder);
            if folder.is_some_and(|folder| FOLDERS.contains(&folder)) && !exists(path) {
                complain(&format!("{path} does not exist"));
            }
        }
        if name == "ARCHITECTURE.md" && n == ARCHITECTURE_MAX {
            complain("more than 200 lines");
        }
    }
    complaints
}

/// Dependencies that the document does not name.
fn unexplained(manifest: &str, architecture: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut wanted = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            wanted = section.trim_end_matches(']').ends_with("dependencies");
        }
        let name = line.split(['=', '.']).next().unwrap_or_default().trim_end();
        let is_entry = wanted && line.contains('=') && !line.starts_with(['[', '#', ' ']);
        let mut names = architecture.split(|c: char| !c.is_alphanumeric() && !"-_".contains(c));
        if is_entry && name != "charkh" && !names.any(|found| found == name) {
            complaints.push(format!("Cargo.toml: {name} is not in ARCHITECTURE.md"));
        }
    }
    complaints
}

// What they share.

#[track_caller]
fn agree(files: &[Source], check: impl Fn(&[Source]) -> Vec<String>) {
    let complaints = check(files);
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file that is ours.
fn tree() -> Vec<Source> {
    let mut files = Vec::new();
    let mut open: Vec<PathBuf> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() && path.file_name() != Some("target".as_ref()) {
                open.push(path);
            } else if path.extension() == Some("rs".as_ref()) {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy();
                let text = fs::read_to_string(&path).unwrap();
                files.push(Source::new(&name.replace('\\', "/"), &text));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 20, "these are not all: {files:?}");
    files
}

/// A file, and what is left of it without this and that. Offsets are the same in all.
#[derive(Clone, Debug)]
struct Source {
    path: String,
    text: String,
    /// Without comments and the contents of strings.
    whole_code: String,
    /// The same, without unit tests.
    code: String,
    comments: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let (whole_code, comments) = split(text);
        let code = without_tests(&whole_code);
        Self { path: path.into(), text: text.into(), whole_code, code, comments }
    }

    fn complain(&self, at: usize, says: &str) -> String {
        let line = 1 + self.text[..at.min(self.text.len())].matches('\n').count();
        format!("{}:{line}: {says}", self.path)
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    fn is_program(&self) -> bool {
        self.path == "src/main.rs" || self.is_in("src/cli/")
    }

    fn is_library(&self) -> bool {
        self.is_in("src/") && !self.is_program()
    }

    /// Paths that begin at the crate's root, each without that beginning. `super` is followed as
    /// far as this file says it.
    fn crate_paths(&self) -> Vec<(usize, Vec<String>)> {
        let own = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut parents: Vec<&str> = own.split('/').collect();
        parents.pop();
        let mut found = Vec::new();
        for at in words(&self.code, "crate::") {
            use_tree(&self.code, at + "crate::".len(), &mut Vec::new(), &mut found);
        }
        for at in words(&self.code, "super::") {
            if self.code[..at].ends_with("super::") {
                continue;
            }
            let (mut from, mut start) = (parents.clone(), at + "super::".len());
            while self.code[start..].starts_with("super::") {
                from.pop();
                start += "super::".len();
            }
            let mut prefix = from.iter().map(|name| name.to_string()).collect();
            use_tree(&self.code, start, &mut prefix, &mut found);
        }
        found.retain(|(_, path)| !path.is_empty());
        found
    }

    /// Files that this one's `mod name;` lead to: of each, all the places where it may be.
    fn modules(&self) -> Vec<(usize, Vec<String>)> {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let stem = name.trim_end_matches(".rs");
        let beside = stem == "mod" || is_root(&self.path);
        let base = if beside { folder.to_string() } else { format!("{folder}/{stem}") };
        let mut found = Vec::new();
        for at in words(&self.whole_code, "mod ") {
            let rest = &self.whole_code[at + 4..];
            let name = identifier(rest);
            if name.is_empty() || !rest[name.len()..].trim_start().starts_with(';') {
                continue;
            }
            let inner = self.modules_around(at);
            let targets = match self.path_attribute(at) {
                Some(path) if inner.is_empty() => vec![normal(&format!("{folder}/{path}"))],
                Some(path) => vec![normal(&format!("{base}/{inner}/{path}"))],
                None => [".rs", "/mod.rs"]
                    .map(|end| normal(&format!("{base}/{inner}/{name}{end}")))
                    .to_vec(),
            };
            found.push((at, targets));
        }
        found
    }

    /// The `mod a { mod b {` that this place is in, as `a/b`.
    fn modules_around(&self, at: usize) -> String {
        let code = &self.whole_code;
        let around = words(code, "mod ").filter(|&outer| outer < at).filter_map(|outer| {
            let name = identifier(&code[outer + 4..]);
            let opens = code[outer + 4 + name.len()..].trim_start().starts_with('{');
            (opens && body_end(code, outer)? > at).then_some(name)
        });
        around.collect::<Vec<_>>().join("/")
    }

    /// The `#[path = ".."]` just before this place.
    fn path_attribute(&self, at: usize) -> Option<&str> {
        let from = self.whole_code[..at].rfind([';', '}', '{']).map_or(0, |end| end + 1);
        let start = from + self.whole_code[from..at].find("#[path")?;
        self.text[start..at].split('"').nth(1)
    }
}

/// Where cargo begins to read a crate.
fn is_root(path: &str) -> bool {
    match path.split('/').collect::<Vec<_>>()[..] {
        ["src", name] => name == "lib.rs" || name == "main.rs",
        ["tests" | "benches" | "examples", _] => true,
        ["tests" | "benches" | "examples", _, name] => name == "main.rs",
        ["benches", _, "src", name] => name == "main.rs",
        ["fuzz", "src", "lib.rs"] | ["fuzz", "targets", _] => true,
        ["benches", "peers", "rust", "src", "bin", _] => true,
        _ => false,
    }
}

/// `a/./b/../c` is `a/c`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Where `word` stands by itself.
fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].ends_with(in_word) && word.starts_with(in_word);
        let after = text[at + word.len()..].starts_with(in_word) && word.ends_with(in_word);
        !before && !after
    })
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The end of the block that belongs to what begins here; `None` if it ends without one.
fn body_end(code: &str, from: usize) -> Option<usize> {
    let (mut braces, mut others) = (0_u32, 0_u32);
    for (at, c) in code[from..].char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            ';' if braces == 0 && others == 0 => return None,
            '{' => braces += 1,
            '}' if braces <= 1 => return (braces == 1).then_some(from + at + 1),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

/// The leaves of `a::{b, c::{D, E as F}}`, from `at` on, each with the names that lead to it.
/// Returns where the tree ends.
fn use_tree(
    code: &str,
    mut at: usize,
    prefix: &mut Vec<String>,
    leaves: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let blank = |at: usize| at + code[at..].len() - code[at..].trim_start().len();
    let depth = prefix.len();
    loop {
        at = blank(at);
        let begin = at;
        if code[at..].starts_with('{') {
            at = blank(at + 1);
            while at < code.len() && !code[at..].starts_with('}') {
                at = blank(use_tree(code, at, prefix, leaves));
                at = blank(at + usize::from(code[at..].starts_with(',')));
            }
            at = (at + 1).min(code.len());
            break;
        }
        let name = match code[at..].starts_with('*') {
            true => "*",
            false => identifier(&code[at..]),
        };
        if name.is_empty() {
            // Something that is no path: step over it, or a brace would never be left.
            at += code[at..].chars().next().map_or(0, char::len_utf8);
            break;
        }
        at += name.len();
        if name != "self" {
            prefix.push(name.to_string());
        }
        if !code[at..].starts_with("::") {
            leaves.push((begin, prefix.clone()));
            break;
        }
        at += 2;
        if code[at..].starts_with('<') {
            leaves.push((begin, prefix.clone()));
            break;
        }
    }
    let renamed = code[blank(at)..].strip_prefix("as ");
    if let Some(rest) = renamed {
        at = code.len() - rest.len();
        at = blank(at) + identifier(&code[blank(at)..]).len();
    }
    prefix.truncate(depth);
    at
}

/// The code without comments and the contents of literals, and the comments without the code.
/// What is left out becomes blanks, byte for byte, so that places stay what they are.
fn split(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let comment = comment_len(rest);
        let literal = literal_len(rest, code.chars().next_back());
        let size = match (comment, literal) {
            (0, 0) => c.len_utf8(),
            (0, size) | (size, _) => size,
        };
        let (part, after) = rest.split_at(size);
        let blank: String = part
            .chars()
            .flat_map(|c| [if c == '\n' { '\n' } else { ' ' }].repeat(c.len_utf8()))
            .collect();
        code.push_str(if comment + literal == 0 { part } else { &blank });
        comments.push_str(if comment > 0 { part } else { &blank });
        rest = after;
    }
    (code, comments)
}

/// The size of the comment that begins here, if one does.
fn comment_len(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if !text.starts_with("/*") {
        return 0;
    }
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The size of the string or character that begins here, if one does. A lifetime is none.
fn literal_len(text: &str, before: Option<char>) -> usize {
    let bytes = text.as_bytes();
    let escaped_end = |quote: u8| {
        let mut at = 1;
        while at < bytes.len() && bytes[at] != quote {
            at += if bytes[at] == b'\\' { 2 } else { 1 };
        }
        (at + 1).min(bytes.len())
    };
    match bytes[0] {
        b'"' => escaped_end(b'"'),
        b'\'' => {
            let mut chars = text[1..].chars();
            match (chars.next(), chars.next()) {
                (Some('\\'), _) | (Some(_), Some('\'')) => escaped_end(b'\''),
                _ => 0,
            }
        }
        b'r' if !before.is_some_and(|c| c.is_alphanumeric() && c != 'b' || c == '_') => {
            let hashes = text[1..].len() - text[1..].trim_start_matches('#').len();
            if bytes.get(1 + hashes) != Some(&b'"') {
                return 0;
            }
            let end = format!("\"{}", "#".repeat(hashes));
            let from = 2 + hashes;
            text[from..].find(&end).map_or(text.len(), |at| from + at + end.len())
        }
        _ => 0,
    }
}

/// Blanks for every item that is compiled for tests alone.
fn without_tests(code: &str) -> String {
    let mut left = code.to_string();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let end = body_end(code, at + 1 + "[cfg(test)]".len());
        let end = end.or_else(|| code[at..].find(';').map(|n| at + n + 1)).unwrap_or(code.len());
        let blank: String =
            code[at..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        if blank.len() == end - at {
            left.replace_range(at..end, &blank);
        }
    }
    left
}

/// The tests' own tools have corners too.
#[test]
fn literals_and_comments_are_told_from_code() {
    let text = "a('\\'', b'\"', \"\\\"{\", r#\"\"{\"#, &'a b) /* { /* { */ é */ + c // {\n- r#fn";
    let (code, comments) = split(text);
    assert_eq!(code.split_whitespace().collect::<String>(), "a(,b,,,&'ab)+c-r#fn");
    assert_eq!(comments.split_whitespace().collect::<String>(), "/*{/*{*/é*///{");
    assert_eq!((code.len(), comments.len()), (text.len(), text.len()));
    assert_eq!(normal("a/./b/../c"), "a/c");
    assert!(Path::new(&root()).is_absolute());
}
