//! `charkh load` from outside: against servers that count what they are asked, and that answer as
//! each kind of reply says. What it claims in its files is held against what they have seen.
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use hdrhistogram::{Histogram, serialization::Deserializer};
use serde_json::Value;

use crate::support::{BINARY, Running, Said, Server, run, scratch, until, until_equal};

#[path = "../browser/look.rs"]
mod look;

/// A file that no other test has.
pub(crate) fn fresh(kind: &str) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    scratch(&format!("load-{}-{kind}", COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// `charkh load`, which will write its results to this file.
pub(crate) fn command(addr: SocketAddr, options: &str, json: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["load", &addr.to_string(), "--json"]).arg(json).args(options.split_whitespace());
    command
}

/// A load that has ended: what it said, and what it wrote.
pub(crate) struct Loaded {
    pub(crate) said: Said,
    pub(crate) json: Value,
}

pub(crate) fn load(addr: SocketAddr, options: &str) -> Loaded {
    let json = fresh("json");
    Loaded::of(run(&mut command(addr, options, &json), b""), &json)
}

impl Loaded {
    pub(crate) fn of(said: Said, json: &Path) -> Self {
        assert!(!said.stderr.contains("panicked"), "{said:?}");
        let text = fs::read_to_string(json).unwrap_or_else(|e| panic!("{e}: {said:?}"));
        let json = serde_json::from_str(&text);
        Self { json: json.unwrap_or_else(|e| panic!("{e}: {said:?}")), said }
    }

    /// One that was started, when it has ended.
    pub(crate) fn ended(mut running: Running, json: &Path) -> Self {
        let code = running.exit_code();
        let stdout = running.stdout.to_end().join("\n").into_bytes();
        Self::of(Said { code, stdout, stderr: running.stderr.to_end().join("\n") }, json)
    }

    /// `/requests`, `/connections/opened`.
    pub(crate) fn count(&self, pointer: &str) -> u64 {
        self.get(pointer).as_u64().unwrap()
    }

    pub(crate) fn seconds(&self, pointer: &str) -> f64 {
        self.get(pointer).as_f64().unwrap()
    }

    fn get(&self, pointer: &str) -> &Value {
        self.json.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}: {:#}", self.json))
    }

    /// How often what went wrong.
    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.get("/errors").clone()).unwrap()
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        self.errors().into_keys().collect()
    }

    /// The first of a kind, in words.
    pub(crate) fn example(&self, kind: &str) -> &str {
        self.get(&format!("/examples/{kind}")).as_str().unwrap()
    }

    pub(crate) fn reasons(&self) -> String {
        let reasons = self.get("/verdict/reasons").as_array().unwrap().iter();
        reasons.map(|reason| reason.as_str().unwrap()).collect::<Vec<_>>().join("\n")
    }

    /// All latencies that a distribution holds.
    pub(crate) fn histogram(&self, name: &str) -> Histogram<u64> {
        let all = self.json.get(name).unwrap_or_else(|| &self.json["testimony"][name]);
        let text = all["hdr"].as_str().unwrap();
        let bytes = BASE64_STANDARD.decode(text).unwrap();
        Deserializer::new().deserialize(&mut &bytes[..]).unwrap()
    }

    /// Requests of the whole run, warm-up and all.
    fn of_series(&self) -> u64 {
        let slices = self.get("/series/slices").as_array().unwrap().iter();
        slices.map(|slice| slice["requests"].as_u64().unwrap()).sum()
    }

    /// The exit status of a target that did well; how well the machine did is not ours to say.
    pub(crate) fn assert_well(&self) {
        assert_eq!(self.errors(), BTreeMap::new(), "{}", self.told());
        self.assert_status(0, 3);
    }

    /// The exit status of a target that failed.
    pub(crate) fn assert_failed(&self) {
        assert_ne!(self.errors(), BTreeMap::new(), "{}", self.told());
        self.assert_status(2, 2);
    }

    /// For a message.
    pub(crate) fn told(&self) -> String {
        format!("status {}\n{}{}", self.said.code, self.said.stdout(), self.said.stderr)
    }

    fn assert_status(&self, valid: i32, suspect: i32) {
        let trust = self.get("/verdict/trust").as_str().unwrap();
        let wanted = match trust {
            "VALID" => valid,
            "SUSPECT" => suspect,
            "INVALID" => 4,
            other => panic!("{other}"),
        };
        assert_eq!(self.said.code, wanted, "{}", self.told());
        let stdout = self.said.stdout();
        assert!(stdout.contains(&format!("\n{trust}")), "{stdout}");
    }
}

impl Said {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A load that has been answered.
pub(crate) fn running(command: &mut Command) -> Running {
    let running = Running::new(command.args(["--interval", "100ms"]));
    let is_answered =
        |line: &String| line.contains(" phase running ") && !line.contains(" requests_per_s 0 ");
    until("it is answered", || running.stdout.so_far().iter().any(is_answered).then_some(()));
    running
}

/// A server in this process: a thread for each connection.
pub(crate) struct Each {
    pub(crate) addr: SocketAddr,
    /// Connections so far. The first is the generator's look whether there is a server.
    pub(crate) accepted: Arc<AtomicU64>,
    /// Bytes so far, of what `answering` and `echoing` read.
    pub(crate) bytes: Arc<AtomicU64>,
}

impl Each {
    pub(crate) fn new(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::counting(move |stream, _| serve(stream))
    }

    fn counting(serve: impl Fn(TcpStream, &AtomicU64) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (accepted, bytes) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let (count, read, serve) = (accepted.clone(), bytes.clone(), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, serve, read) = (stream.unwrap(), serve.clone(), read.clone());
                stream.set_nodelay(true).unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                thread::spawn(move || serve(stream, &read));
            }
        });
        Self { addr, accepted, bytes }
    }

    pub(crate) fn echoing() -> Self {
        Self::counting(|mut stream, read| {
            let mut piece = [0; 8192];
            while let Ok(size @ 1..) = stream.read(&mut piece) {
                read.fetch_add(size as u64, Ordering::Relaxed);
                if stream.write_all(&piece[..size]).is_err() {
                    break;
                }
            }
        })
    }

    /// Each request, which ends in an empty line, is answered with this, in two pieces.
    pub(crate) fn answering(reply: &'static [u8], then: Then) -> Self {
        Self::counting(move |mut stream, read| {
            let (mut last, mut byte) = (Vec::new(), [0]);
            while let Ok(1) = stream.read(&mut byte) {
                read.fetch_add(1, Ordering::Relaxed);
                last.push(byte[0]);
                if !last.ends_with(b"\r\n\r\n") {
                    continue;
                }
                last.clear();
                let (one, two) = reply.split_at(reply.len() / 2);
                if stream.write_all(one).and_then(|()| stream.write_all(two)).is_err() {
                    break;
                }
                if then == Then::Close {
                    break;
                }
            }
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Then {
    GoOn,
    Close,
}

#[test]
fn a_closed_loop_asks_exactly_as_often_as_it_is_told_and_counts_as_the_server_does() {
    for (options, requests, size) in [
        ("-c 1 -n 1", 1, 64),
        ("-c 7 -n 1000", 1000, 64),
        ("-c 3 --depth 16 -n 2000 --size 1000", 2000, 1000),
        ("-c 5 --threads 3 --depth 4 -n 1001 --size 1", 1001, 1),
        ("-c 1 -n 3 --size 1MiB", 3, 1 << 20),
    ] {
        let server = Each::echoing();
        let loaded = load(server.addr, options);
        loaded.assert_well();
        assert_eq!(server.bytes(), requests * size, "{options}");
        for pointer in ["/requests", "/latency/count", "/service/count", "/fairness/sum"] {
            assert_eq!(loaded.count(pointer), requests, "{options}: {pointer}");
        }
        assert_eq!(loaded.of_series(), requests, "{options}");
        for pointer in ["/bytes_in", "/bytes_out"] {
            assert_eq!(loaded.count(pointer), requests * size, "{options}: {pointer}");
        }
        assert_eq!(loaded.count("/unsent"), 0);
        // And the one that looked whether somebody listens.
        assert_eq!(server.accepted(), loaded.count("/connections/opened") + 1);
    }
}

#[test]
fn what_warms_up_is_sent_and_not_counted() {
    let server = Each::echoing();
    let loaded = load(server.addr, "-c 2 -n 100 --warmup 200ms");
    loaded.assert_well();
    assert_eq!((loaded.count("/requests"), loaded.count("/latency/count")), (100, 100));
    assert_eq!(loaded.of_series() * 64, server.bytes());
    assert!(server.bytes() > 100 * 64);
    assert!(loaded.seconds("/measured_from_s") >= 0.2);
    let told = loaded.told();
    assert!(told.contains("64 B messages, until 100 requests are done after 200ms of warm-up"));
}

#[test]
fn each_kind_of_reply_ends_where_it_says() {
    for (kind, reply) in [
        ("size:5", &b"12345"[..]),
        ("line", b"a line\n"),
        ("length:4be", b"\0\0\0\x03abc"),
        ("length:2le", b"\x03\0abc"),
        ("until:0d0a2e", b"one\r\n\r\r\n."),
        ("http", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        (
            "http",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
              5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
        ),
        ("resp", b"*2\r\n$5\r\nhello\r\n:7\r\n"),
    ] {
        let server = Each::answering(reply, Then::GoOn);
        let options = format!("-c 2 --depth 3 -n 60 --reply {kind} --message ask\\r\\n\\r\\n");
        let loaded = load(server.addr, &options);
        loaded.assert_well();
        assert_eq!(loaded.count("/requests"), 60, "{kind}");
        assert_eq!(loaded.count("/bytes_in"), 60 * reply.len() as u64, "{kind}");
        assert_eq!(server.bytes(), 60 * 7, "{kind}");
        assert_eq!(loaded.count("/connections/opened"), 2, "{kind}");
    }
}

#[test]
fn a_server_of_http_that_says_it_will_close_is_dialed_again_and_that_is_no_error() {
    let announced: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nas long as it is",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ];
    for reply in announced {
        let server = Each::answering(reply, Then::Close);
        let loaded = load(server.addr, "-c 2 -n 30 --reply http");
        loaded.assert_well();
        assert_eq!(loaded.count("/requests"), 30);
        assert!(loaded.count("/connections/opened") >= 30);
        // Nobody waits a quarter of a second thirty times.
        assert!(loaded.count("/connections/opened") <= 32);
    }
}

#[test]
fn replies_that_say_no_are_errors_of_their_own_kind() {
    for (kind, reply, error) in [
        ("http", &b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"[..], "http 4xx"),
        ("http", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "http 5xx"),
        ("resp", b"-ERR no\r\n", "redis error"),
    ] {
        let server = Each::answering(reply, Then::GoOn);
        let loaded =
            load(server.addr, &format!("-c 2 -n 20 --reply {kind} --message ask\\r\\n\\r\\n"));
        loaded.assert_failed();
        assert_eq!(loaded.errors(), BTreeMap::from([(error.to_string(), 20)]));
        assert_eq!(loaded.count("/requests"), 0);
        assert_eq!(loaded.count("/connections/opened"), 2, "they are of use still");
    }
}

#[test]
fn an_open_loop_plans_exactly_what_it_is_told() {
    let server = Server::new("--protocol echo");
    for options in ["-c 20", "-c 20 --threads 3 --depth 4"] {
        let loaded = load(server.addr, &format!("{options} --rate 1000 -d 1s"));
        loaded.assert_well();
        assert_eq!(loaded.of_series() + loaded.count("/unsent"), 1000, "{options}");
        assert!(loaded.count("/requests") <= 1000, "those that came in time");
        assert_eq!(loaded.count("/latency/count"), 1000, "{options}");
        assert_eq!(loaded.seconds("/planned_rate"), 1000.0);
        assert!((loaded.seconds("/measured_s") - 1.0).abs() < 1e-6);
    }
}

#[test]
fn connections_are_held_and_nothing_is_said_but_a_heartbeat() {
    let server = Each::echoing();
    let loaded = load(server.addr, "-c 5 --hold -d 200ms");
    loaded.assert_well();
    assert_eq!((loaded.count("/requests"), server.bytes()), (0, 0));
    assert_eq!((loaded.count("/connections/up_max"), server.accepted()), (5, 6));

    let loaded = load(server.addr, "-c 5 --hold --heartbeat 100ms -d 1s");
    loaded.assert_well();
    assert_eq!((loaded.count("/requests"), loaded.count("/unsent")), (50, 0));
    assert_eq!(server.bytes(), 50 * 64);
    assert!(loaded.count("/fairness/most_starved_requests") >= 5);
}

#[test]
#[cfg(target_os = "linux")]
fn sources_take_turns() {
    let peers = Arc::new(Mutex::new(BTreeMap::<IpAddr, u64>::new()));
    let seen = peers.clone();
    let server = Each::new(move |mut stream| {
        *seen.lock().unwrap().entry(stream.peer_addr().unwrap().ip()).or_default() += 1;
        let _ = stream.read(&mut [0]);
    });
    let options = "-c 6 --threads 2 --hold -d 50ms --source 127.0.0.2-127.0.0.4";
    let loaded = load(server.addr, options);
    loaded.assert_well();
    let wanted = [(1, 1), (2, 2), (3, 2), (4, 2)].map(|(n, count)| ([127, 0, 0, n].into(), count));
    until_equal("peers", BTreeMap::from(wanted), || peers.lock().unwrap().clone());
}

#[test]
fn a_ramp_takes_its_time() {
    let server = Each::echoing();
    let loaded = load(server.addr, "-c 26 --threads 2 --ramp 50 --hold -d 10ms");
    loaded.assert_well();
    assert_eq!(loaded.count("/connections/up_max"), 26);
    // The last of them begins after twenty-five fiftieths of a second.
    assert!(loaded.seconds("/connections/connecting_s") >= 0.5);
}

#[test]
fn results_of_several_are_added_up() {
    let server = Server::new("--protocol echo");
    let (one, two, sum) = (fresh("one"), fresh("two"), fresh("sum"));
    for (options, json) in [("-c 2 -n 100", &one), ("-c 3 --threads 2 -n 50 --size 10", &two)] {
        run(&mut command(server.addr, options, json), b"");
    }
    let mut merge = Command::new(BINARY);
    merge.args(["load", "merge"]).args([&one, &two]).arg("--json").arg(&sum);
    let merged = Loaded::of(run(&mut merge, b""), &sum);
    merged.assert_well();
    for (pointer, wanted) in [
        ("/generators", 2),
        ("/threads", 3),
        ("/connections/asked", 5),
        ("/connections/opened", 5),
        ("/requests", 150),
        ("/bytes_out", 6400 + 500),
        ("/latency/count", 150),
        ("/fairness/sum", 150),
        ("/fairness/connections", 5),
    ] {
        assert_eq!(merged.count(pointer), wanted, "{pointer}");
    }
    assert_eq!(merged.histogram("latency").len(), 150);
    assert_eq!(merged.of_series(), 150);
    assert_eq!(merged.get("/commands").as_array().unwrap().len(), 2);
}

#[test]
fn what_cannot_be_added_up_is_said_in_a_sentence() {
    let server = Server::new("--protocol echo");
    let good = fresh("good");
    run(&mut command(server.addr, "-c 1 -n 1", &good), b"");
    let text = fs::read_to_string(&good).unwrap();
    let newer = text.replacen("\"version\": 1", "\"version\": 9", 1);
    let broken = text.replace("\"hdr\": \"", "\"hdr\": \"?");
    let endless = text.replacen("\"measured_s\": ", "\"measured_s\": 1e300, \"old\": ", 1);
    for (bad, says) in [
        (Some("no results at all"), "it is no JSON"),
        (Some(&text[..text.len() / 2]), "it is no JSON"),
        (Some(""), "it is no JSON"),
        (Some("{}"), "it is not what `charkh load --json` writes"),
        (Some("[1]"), "it is not what `charkh load --json` writes"),
        (Some(&newer), "its version is 9, not 1"),
        (Some("{\"version\": 1}"), "missing field"),
        (Some(&broken), "a histogram in it cannot be read"),
        (Some(&endless), "its numbers are out of all bounds"),
        (None, "No such file"),
    ] {
        let path = fresh("bad");
        if let Some(bad) = bad {
            fs::write(&path, bad).unwrap();
        }
        let said = run(Command::new(BINARY).args(["load", "merge"]).args([&good, &path]), b"");
        assert_eq!(said.code, 1, "{said:?}");
        let named = format!("charkh: cannot read {}: ", path.display());
        assert!(said.stderr.starts_with(&named) && said.stderr.contains(says), "{said:?}");
        assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
        assert!(said.stdout.is_empty());
    }
    let twice = run(Command::new(BINARY).args(["load", "merge"]).args([&good, &good]), b"");
    assert!(twice.code == 1 && twice.stderr.contains("are of the same run"), "{twice:?}");
}

#[test]
fn the_table_of_percentiles_is_what_plotters_read() {
    let server = Server::new("--protocol echo");
    let hdr = fresh("hdr");
    load(server.addr, &format!("-c 2 -n 500 --hdr {}", hdr.display())).assert_well();
    let text = fs::read_to_string(&hdr).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let head: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(head, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
    assert_eq!(lines[1], "");
    assert!(lines[lines.len() - 1].starts_with("#[Buckets"), "{text}");
    assert!(lines[lines.len() - 2].ends_with("500]"), "{text}");
    let rows = lines[2..].iter().take_while(|line| !line.starts_with('#'));
    let rows: Vec<Vec<f64>> = rows
        .map(|line| line.split_whitespace().map(|number| number.parse().unwrap()).collect())
        .collect();
    assert!(rows.is_sorted_by(|one, two| (0..3).all(|n| one[n] <= two[n])), "{text}");
    let last = &rows[rows.len() - 1];
    assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 500.0));
}

#[test]
fn the_page_of_a_real_run_looks_right_in_a_browser() {
    let server = Server::new("--protocol echo");
    let html = fresh("html");
    let options = format!("-c 10 --rate 2000 -d 500ms --html {}", html.display());
    load(server.addr, &options).assert_well();
    let page = fs::read_to_string(&html).unwrap();
    let Some(found) = look::layout(&page) else { return };
    let (seen, wrong): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|line| line.starts_with("at ") && line.ends_with(" seen"));
    assert_eq!(wrong, [""; 0]);
    assert!(!seen.is_empty() && !seen.iter().any(|line| line.contains(": 0 ")), "{seen:#?}");
}

#[test]
fn where_standard_output_is_no_terminal_a_line_tells_how_it_goes() {
    let server = Server::new("--protocol echo");
    let loaded = load(server.addr, "-c 2 -d 400ms --warmup 300ms --interval 100ms");
    loaded.assert_well();
    let stdout = loaded.said.stdout();
    let lines: Vec<&str> = stdout.lines().filter(|line| line.starts_with("seconds ")).collect();
    assert!(lines.iter().any(|line| line.contains(" phase warmup ")), "{stdout}");
    assert!(lines.iter().any(|line| line.contains(" phase running ")), "{stdout}");
    for line in lines {
        let names: Vec<&str> = line.split(' ').step_by(2).collect();
        let wanted = [
            "seconds",
            "phase",
            "connections",
            "connects_per_s",
            "requests_per_s",
            "p50",
            "p99",
            "errors",
        ];
        assert_eq!(names, wanted, "{line}");
    }
    assert!(stdout.starts_with("plan: 2 connections from 1 address"), "{stdout}");

    let quiet = load(server.addr, "-c 2 -d 400ms --interval 100ms --quiet");
    assert!(quiet.said.stdout().starts_with("connections  2 of 2"), "{}", quiet.told());
    assert!(!quiet.said.stdout().contains("phase"), "{}", quiet.told());
}

#[test]
fn a_run_goes_on_when_nobody_reads_its_output_any_more() {
    let server = Server::new("--protocol echo");
    let json = fresh("json");
    let mut command = command(server.addr, "-c 2 -d 500ms --interval 100ms", &json);
    let mut running = Running::heard(&mut command, 1, usize::MAX);
    let code = running.exit_code();
    let stderr = running.stderr.to_end().join("\n");
    assert!(matches!(code, 0 | 3 | 4) && stderr.is_empty(), "{code} {stderr}");
    assert!(fs::read_to_string(&json).unwrap().contains("\"measured_s\": 0.5"));
}

#[test]
#[cfg(target_os = "linux")]
fn on_a_terminal_a_bar_is_shown_and_taken_away() {
    if Command::new("script").arg("--version").output().is_err() {
        return eprintln!("not tested: util-linux's script is not installed");
    }
    let server = Server::new("--protocol echo");
    let load = format!("{BINARY} load {} -c 3 -d 1s", server.addr);
    let said = run(Command::new("script").args(["-qec", &load, "/dev/null"]), b"");
    let stdout = said.stdout();
    assert!(matches!(said.code, 0 | 3 | 4), "{said:?}");
    let bar = stdout.find("3 up, ").unwrap_or_else(|| panic!("no bar: {stdout:?}"));
    assert!(stdout[bar..].contains("requests/s, p50 "), "{stdout:?}");
    let report = stdout.find("connections  3 of 3").unwrap();
    assert!(bar < report, "{stdout:?}");
    // The line is wiped before the results take its place.
    let last = stdout.rfind("requests/s, p50 ").unwrap();
    assert!(stdout[last..report].contains("\r\x1b[2K"), "{stdout:?}");
    assert!(!stdout.contains("phase running") && !stdout[report..].contains("requests/s, p50"));
}

#[test]
fn wrong_usage_is_one_sentence_and_status_1() {
    let server = Server::new("--protocol echo");
    let port = server.addr.port().to_string();
    let missing = "/no/such/directory/a.json";
    for (args, says) in [
        (&[][..], "required arguments were not provided"),
        (&["merge"], "required arguments were not provided"),
        (&["nowhere:x"], "nowhere:x"),
        (&[&port, "--rate", "fast"], "it is no rate: write 10000, 2.5k or 1M, a second"),
        (&[&port, "--rate", "0"], "from 0.001 to 1000M a second"),
        (&[&port, "--source", "127.0.0.9-127.0.0.2"], "write 127.0.0.2-127.0.0.9"),
        (&["127.0.0.1:9", "--source", "::1"], "both must be of one family"),
        (&[&port, "--hold", "--rate", "5"], "cannot be used with"),
        (&[&port, "--heartbeat", "5s"], "--hold"),
        (&[&port, "--find-max", "p99"], "such as p99<5ms"),
        (&[&port, "--find-max", "p99<5ms", "--rate", "5"], "cannot be used with"),
        (&[&port, "-d", "5"], "write 5s or 5ms"),
        (&[&port, "-n", "0"], "0 is not in 1.."),
        (&[&port, "-c", "0"], "it must be at least 1"),
        (&[&port, "--reply", "xml"], "it is no kind of reply"),
        (&[&port, "--message", "\\q"], "\\q is no escape"),
        (&[&port, "--message", ""], "a message has at least one byte"),
        (&[&port, "--message-file", "/no/such/file"], "--message-file /no/such/file: No such file"),
        (&[&port, "--json", missing], "cannot write /no/such/directory/a.json"),
        (&[&port, "--json", "same", "--html", "same"], "same cannot be two reports at once"),
        (&[&port, "--hold", "--message", "x"], "--hold sends nothing"),
        (&[&port, "--reply", "http", "--size", "9"], "patterns, which are no request"),
        (&[&port, "--source", "10.255.0.9"], "10.255.0.9 is no address of this machine"),
        (&[&port, "-c", "4000000000"], "4 000 000 000 connections need as many"),
    ] {
        let said = run(Command::new(BINARY).arg("load").args(args), b"");
        assert_eq!(said.code, 1, "{args:?}: {said:?}");
        assert!(said.stderr.contains(says), "{args:?}: {said:?}");
        // What the parser of options says has the usage below it.
        let sentence = said.stderr.split("\n\n").next().unwrap();
        let lines = sentence.lines().count();
        let listed = lines == 2 && sentence.contains("not provided:");
        assert!(lines == 1 || listed, "{args:?}: {said:?}");
        assert!(said.stdout.is_empty(), "{args:?}: {said:?}");
    }
}

#[test]
#[cfg(unix)]
fn more_connections_than_descriptors_are_refused_with_what_to_do() {
    let server = Each::echoing();
    let script = format!("ulimit -n 64; exec \"$0\" load {} -c 100", server.addr);
    let said = run(Command::new("sh").args(["-c", &script, BINARY]), b"");
    assert_eq!((said.code, said.stdout.len()), (1, 0), "{said:?}");
    for part in [
        "charkh: 100 connections need as many descriptors, and this process may open 64",
        "each with ",
        "`charkh load merge`",
        "RLIMIT_NOFILE",
    ] {
        assert!(said.stderr.contains(part), "{said:?}");
    }
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    assert_eq!(server.accepted(), 0, "nothing was opened");
}

#[test]
#[cfg(target_os = "linux")]
fn a_limit_that_is_met_on_the_way_is_counted_and_no_exit() {
    let server = Each::echoing();
    let json = fresh("json");
    let options = "-c 40 --ramp 40 --hold -d 300ms";
    let running = Running::new(&mut command(server.addr, options, &json));
    until("five are up", || (server.accepted() > 5).then_some(()));
    // No more than there are now.
    let (pid, now) = (running.pid() as i32, running.descriptors() as u64);
    let hard = rlimit::getrlimit(rlimit::Resource::NOFILE).unwrap().1;
    rlimit::prlimit(pid, rlimit::Resource::NOFILE, Some((now, hard)), None).unwrap();
    let loaded = Loaded::ended(running, &json);
    loaded.assert_well();
    assert!(loaded.count("/testimony/limits/descriptors") > 0, "{}", loaded.told());
    assert!(loaded.reasons().contains("was at a limit: descriptors ("), "{}", loaded.reasons());
    assert!(loaded.count("/connections/up_max") < 40);
}
