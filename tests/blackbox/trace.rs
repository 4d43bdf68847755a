//! `--trace`: the file is whole whenever anybody looks, and nobody waits for it.
use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::Command,
    thread,
};

use crate::support::{Pattern, Server, charkh, echo, is_without, python, run, scratch};

/// What any reader of such files would stumble over; and one line of what there is.
const LOOK: &str = r#"
import collections, json, sys
trace = json.load(open(sys.argv[1]))
kinds, turns, tracks, ends = collections.Counter(), [], {}, collections.Counter()
waits, blamed = collections.Counter(), collections.Counter()
for e in trace["traceEvents"]:
    track = e.get("id2", {}).get("local")
    kinds[e["ph"]] += 1
    if e["ph"] == "X" and e["name"] == "turn":
        turns.append((e["ts"], e["ts"] + e["dur"]))
    elif e["ph"] == "X":
        assert turns and turns[-1][0] <= e["ts"] and e["ts"] + e["dur"] <= turns[-1][1] + 1e-3, e
        kinds[e["name"]] += 1
    elif e["name"] == "waited":
        assert track in tracks and track not in ends, e
        waits[track] += {"b": 1, "e": -1}[e["ph"]]
        assert waits[track] in (0, 1), e
        if e["ph"] == "b":
            blamed[e["args"]["for"]] += 1
            assert e["args"]["for_us"] >= 0 and e["args"]["at_most"] in (True, False), e
    elif e["ph"] == "b":
        assert track and track not in tracks, e
        tracks[track] = e["name"]
    elif e["ph"] == "n":
        assert track in tracks, e
        kinds[e["name"]] += 1
        kinds[e["name"] + " bytes"] += e["args"].get("bytes", 0)
    elif e["ph"] == "e":
        assert tracks[track] == e["name"], e
        ends[track] += 1
assert set(ends) == set(tracks) and all(n == 1 for n in ends.values()), (ends, tracks)
assert not any(waits.values()), waits
assert all(a[1] <= b[0] + 1e-3 for a, b in zip(turns, turns[1:]))
other = trace["otherData"]
print(other["lost"] > 0, len(tracks), kinds["accept"], kinds["data()"], kinds["read bytes"])
print("for:", blamed.most_common(1)[0][0] if blamed else "nobody")
"#;

/// `None` without Python, when only the outline is looked at.
#[track_caller]
fn look(path: &Path) -> Option<String> {
    look_twice(path).map(|(whole, _)| whole)
}

/// The same, and for whom the others waited most often.
#[track_caller]
fn look_twice(path: &Path) -> Option<(String, String)> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.starts_with("{\"displayTimeUnit\"") && text.ends_with("]}\n"), "it is torn");
    if is_without("python3") {
        return None;
    }
    let said = run(&mut python(LOOK, &[path.to_str().unwrap()]), b"");
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let said = String::from_utf8(said.stdout).unwrap();
    let (whole, blamed) = said.trim().split_once("\nfor: ").unwrap();
    Some((whole.into(), blamed.into()))
}

/// Nothing but the trace itself is left.
fn assert_alone(path: &Path) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let files = fs::read_dir(path.parent().unwrap()).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: Vec<String> = names.filter(|other| other.starts_with(name)).collect();
    assert_eq!(found, [name]);
}

#[test]
fn it_is_written_at_the_end() {
    let path = scratch("at-the-end.json");
    let server = Server::new(&format!("--protocol echo --trace {}", path.display()));
    for _ in 0..3 {
        echo(&mut server.connect(), b"hello");
    }
    assert!(!path.exists());
    let log = server.stop();
    assert!(log.iter().any(|line| line.contains("records written to")), "{log:#?}");
    if let Some(said) = look(&path) {
        assert_eq!(said, "False 3 3 3 15");
    }
    assert_alone(&path);
    fs::remove_file(path).unwrap();
}

#[test]
#[cfg(unix)]
fn it_is_written_when_asked_and_again_at_the_end() {
    let path = scratch("when-asked.json");
    let server = Server::new(&format!("--protocol echo --trace {}", path.display()));
    let mut client = server.connect();
    echo(&mut client, b"hello");
    server.running.signal("USR2");
    server.log().find("records written to");
    if let Some(said) = look(&path) {
        assert_eq!(said, "False 1 1 1 5");
    }
    echo(&mut client, b"hello, hello");
    drop(client);
    server.stop();
    if let Some(said) = look(&path) {
        assert_eq!(said, "False 1 1 2 17");
    }
    assert_alone(&path);
    fs::remove_file(path).unwrap();
}

#[test]
#[cfg(unix)]
fn under_a_storm_of_signals_whoever_looks_finds_a_whole_trace() {
    let path = scratch("storm.json");
    let options = format!("--protocol echo --trace {} --trace-records 2000", path.display());
    let server = Server::new(&options);
    let pid = server.running.pid();
    let storm = format!("i=0; while [ $i -lt 1000 ]; do kill -USR2 {pid}; i=$((i+1)); done");
    let mut storm = Command::new("sh").args(["-c", &storm]).spawn().unwrap();
    let (mut client, mut n) = (server.connect(), 0);
    while storm.try_wait().unwrap().is_none() {
        echo(&mut client, &Pattern::bytes(n, 1000));
        n += 1;
        if let Ok(text) = fs::read_to_string(&path) {
            assert!(text.starts_with('{') && text.ends_with("]}\n"), "it is torn");
        }
    }
    assert!(storm.wait().unwrap().success());
    drop(client);
    server.stop();
    if let Some(said) = look(&path) {
        assert!(said.starts_with("True 1 0 ") || said.starts_with("False 1 1 "), "{said}");
    }
    assert_alone(&path);
    fs::remove_file(path).unwrap();
}

/// One that pipelines without pause is told of first, with its address while it is open, and is the
/// one for whom the polite one waits.
#[test]
#[cfg(unix)]
fn who_delayed_the_others_is_named() {
    let path = scratch("flooded.json");
    let server = Server::new(&format!("--protocol echo --trace {}", path.display()));
    let mut polite = server.connect();
    echo(&mut polite, b"I was first");
    let flooder = server.connect();
    let addr = flooder.local_addr().unwrap();
    let (mut says, mut hears) = (flooder.try_clone().unwrap(), flooder.try_clone().unwrap());
    let says = thread::spawn(move || while says.write_all(&[7; 1 << 16]).is_ok() {});
    let hears = thread::spawn(move || while matches!(hears.read(&mut [0; 1 << 16]), Ok(1..)) {});
    for _ in 0..500 {
        echo(&mut polite, b"hello");
    }
    server.running.signal("USR2");
    server.log().find("records written to");
    let line = server.log().find("delayed others");
    let expected = format!("trace: connection #1.2 with {addr} delayed others ");
    assert!(line.contains(&expected), "{line}");
    // At once, or what it does alone takes the place of what is remembered.
    flooder.shutdown(std::net::Shutdown::Both).unwrap();
    says.join().unwrap();
    hears.join().unwrap();
    if let Some((_, blamed)) = look_twice(&path) {
        assert_eq!(blamed, "#1.2");
    }
    drop(polite);
    // Nobody knows the address of one that is gone.
    let log = server.stop();
    assert!(log.iter().any(|line| line.contains("connection #1.2 delayed others ")), "{log:#?}");
    fs::remove_file(path).unwrap();
}

#[test]
fn where_no_file_can_be_the_server_does_not_start() {
    let nowhere = scratch("no-such-directory").join("trace.json");
    let directory = env!("CARGO_TARGET_TMPDIR");
    for path in [nowhere.to_str().unwrap(), directory] {
        let said = charkh(&["serve", "127.0.0.1:0", "--trace", path]);
        assert_eq!((said.code, said.stdout.len()), (1, 0), "{said:?}");
        let start = format!("charkh: cannot write the trace to {path}: ");
        assert!(said.stderr.starts_with(&start) && said.stderr.lines().count() == 1, "{said:?}");
        assert!(!said.stderr.contains("os error") && !said.stderr.contains("port"), "{said:?}");
    }
    for args in [&["--trace-records", "7"][..], &["--trace", "x", "--trace-records", "2000000000"]]
    {
        let said = charkh(&[&["serve", "127.0.0.1:0"], args].concat());
        assert_eq!((said.code, said.stdout.len()), (2, 0), "{said:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_a_line_in_the_log_and_an_error_at_the_end() {
    let mut server = Server::new("--protocol echo --trace /dev/full");
    server.check_echo();
    server.running.signal("USR2");
    server.log().find("cannot write the trace to /dev/full: ");
    server.check_echo();
    server.running.signal("TERM");
    let log = server.ended(1);
    let last = log.last().unwrap();
    assert!(last.starts_with("charkh: cannot write the trace to /dev/full: "), "{log:#?}");
}

/// The reader comes when it likes; the server starts and serves meanwhile.
#[test]
#[cfg(target_os = "linux")]
fn into_a_pipe_it_goes_as_soon_as_somebody_reads() {
    let path = scratch("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut server = Server::new(&format!("--protocol echo --trace {}", path.display()));
    server.running.signal("USR2");
    server.check_echo();
    let copy = scratch("copy.json");
    fs::write(&copy, fs::read(&path).unwrap()).unwrap();
    look(&copy);
    server.running.signal("TERM");
    fs::write(&copy, fs::read(&path).unwrap()).unwrap();
    look(&copy);
    server.ended(0);
    fs::remove_file(path).unwrap();
    fs::remove_file(copy).unwrap();
}

#[test]
#[cfg(unix)]
fn what_a_link_leads_to_is_written_and_the_link_stays() {
    let (path, link) = (scratch("led-to.json"), scratch("link.json"));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let server = Server::new(&format!("--protocol echo --trace {}", link.display()));
    server.check_echo();
    server.stop();
    look(&path);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    fs::remove_file(path).unwrap();
    fs::remove_file(link).unwrap();
}

#[test]
#[cfg(unix)]
fn without_a_trace_the_signal_does_no_harm() {
    let server = Server::new("--protocol echo");
    server.running.signal("USR2");
    server.log().find("there is no trace to write");
    server.check_echo();
    server.stop();
}
