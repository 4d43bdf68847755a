//! Redis' own clients, unchanged. Where one is not installed, that is said; `.ci/run` installs all.
use std::{
    ffi::OsStr,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    time::SystemTime,
};

use super::{
    redis::Settings,
    support::{Server, is_installed, tools},
};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis");

/// A server whose clock is right.
fn server() -> Server {
    Server::with(SystemTime::UNIX_EPOCH.elapsed().unwrap(), Settings::default())
}

/// A program that is ended when it takes so long that it has failed.
fn patient(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.arg("60").arg(program);
    command
}

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

fn is_there(path: &Path) -> bool {
    let there = path.exists();
    if !there {
        eprintln!("LEFT OUT: {} is not installed", path.display());
    }
    there
}

#[test]
fn redis_cli() {
    if !is_installed("redis-cli") {
        return;
    }
    let server = server();
    let port = server.addr.port().to_string();
    let cli = |args: &[&str]| run(patient("redis-cli").args(["-p", &port]).args(args));
    assert_eq!(cli(&["SET", "a", "b"]), "OK\n");
    assert_eq!(cli(&["GET", "a"]), "b\n");
    assert_eq!(cli(&["HSET", "h", "f", "v"]), "1\n");
    assert_eq!(cli(&["-3", "HGETALL", "h"]), "f v\n");
    assert_eq!(cli(&["-3", "--json", "HGETALL", "h"]), "{\"f\":\"v\"}\n");
    assert_eq!(cli(&["BOGUS"]), "ERR unknown command 'BOGUS', with args beginning with: \n\n");
    assert_eq!(cli(&["--scan"]).lines().count(), 2);
    assert!(cli(&["INFO"]).contains("connected_clients:1"));
    assert!(cli(&["--bigkeys", "-i", "0"]).contains("Biggest string found"));
    assert!(cli(&["MULTI"]).contains("OK"));
    let mut pipe = patient("redis-cli")
        .args(["-p", &port, "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let many: String = (0..5000).map(|n| format!("SET p{n} {n}\r\n")).collect();
    pipe.stdin.take().unwrap().write_all(many.as_bytes()).unwrap();
    let said = pipe.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("errors: 0, replies: 5000"), "{said}");
}

#[test]
fn redis_benchmark_with_pipelines() {
    if !is_installed("redis-benchmark") {
        return;
    }
    let server = server();
    let port = server.addr.port().to_string();
    let tests = "ping_inline,ping_mbulk,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,\
                 lrange_100,lrange_600,mset";
    for depth in ["1", "16", "200"] {
        let args = ["-p", &port, "-t", tests, "-n", "2000", "-r", "500", "-q", "-P", depth];
        let said = run(patient("redis-benchmark").args(args));
        let done = said.matches("requests per second").count();
        assert_eq!(done, 16, "{said}");
        assert!(!said.contains("ERR"), "{said}");
    }
}

#[test]
fn redis_py_with_both_of_its_parsers_in_both_protocols() {
    let python = tools().join("redis-py/bin/python");
    if !is_there(&python) {
        return;
    }
    let server = server();
    let port = server.addr.port().to_string();
    for parser in ["python", "hiredis"] {
        for protocol in ["2", "3"] {
            let script = [&format!("{HERE}/client.py"), &port, protocol, parser];
            assert_eq!(run(patient(&python).args(script)), "");
        }
    }
}

#[test]
fn ioredis() {
    let folder = tools().join("ioredis");
    if !is_installed("node") || !is_there(&folder.join("node_modules/ioredis")) {
        return;
    }
    let server = server();
    let port = server.addr.port().to_string();
    let script = format!("{HERE}/client.js");
    assert_eq!(run(patient("node").arg(script).arg(&folder).arg(port)), "");
}
