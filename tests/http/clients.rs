//! The server over sockets, under the clients that people have. What is not installed is said.
use std::{
    env, fs,
    net::SocketAddr,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use charkh::{Handle, Reactor};

use crate::{
    common::{pattern, says},
    example::{Http, config},
    files::Folder,
};

/// A server on a thread of its own, until the test is over.
struct Server {
    addr: SocketAddr,
    handle: Handle<Http>,
    thread: Option<JoinHandle<()>>,
    folder: Folder,
}

impl Server {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(set: impl FnOnce(&mut Http) + Send + 'static) -> Self {
        let folder = Folder::new();
        fs::write(folder.0.join("big.bin"), pattern(300_000, 1)).unwrap();
        let files = folder.files();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut http = Http::new(Some(files));
            http.http.limits.body_max = 8 << 20;
            set(&mut http);
            let mut reactor = Reactor::with_config(http, config()).unwrap();
            let addr = reactor.listen("127.0.0.1:0").unwrap().addr.socket_addr().unwrap();
            tell.send((addr, reactor.handle())).unwrap();
            reactor.run().unwrap();
        });
        let (addr, handle) = told.recv().unwrap();
        Self { addr, handle, thread: Some(thread), folder }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    fn file(&self, name: &str) -> String {
        self.folder.0.join(name).to_str().unwrap().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.handle.stop();
        let _ = self.handle.stop();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the server has panicked");
    }
}

#[test]
fn curl_asks_for_everything() {
    let server = Server::new();
    let curl = |args: &[&str], input: &[u8]| says("curl", &[&["-sS"], args].concat(), input);
    let Some(index) = curl(&[&server.url("/")], b"") else { return };
    assert_eq!(index, "<h1>index</h1>\n");
    let big = server.file("big.bin");
    let copy = server.file("copy.bin");
    let same = |args: &[&str]| {
        let said = curl(&[args, &["-o", &copy]].concat(), b"").unwrap();
        assert_eq!(said, "", "{args:?}");
        assert!(fs::read(&copy).unwrap() == fs::read(&big).unwrap(), "{args:?}");
    };
    let (file, echo) = (server.url("/big.bin"), server.url("/echo"));
    let data = format!("@{big}");
    same(&[&file]);
    same(&["-0", &file]);
    same(&["--data-binary", &data, "-H", "Expect: 100-continue", &echo]);
    same(&["--data-binary", &data, "-H", "Transfer-Encoding: chunked", &echo]);
    same(&["-0", "--data-binary", &data, &echo]);
    same(&["-X", "BREW", "-T", &big, &echo]);
    // The second half, behind the first that is there.
    fs::write(&copy, &fs::read(&big).unwrap()[..100_000]).unwrap();
    same(&["-C", "-", &file]);
    let said = curl(&["-r", "2-4", &server.url("/digits.txt")], b"").unwrap();
    assert_eq!(said, "234");
    let code = ["-w", "%{http_code} %{num_connects}\n", "-o", "/dev/null"];
    let said = curl(&[&code[..], &[&file], &code, &[&file]].concat(), b"").unwrap();
    assert_eq!(said, "200 1\n200 0\n", "the connection is kept");
    let tag = server.file("tag");
    curl(&["--etag-save", &tag, "-o", "/dev/null", &file], b"").unwrap();
    let said = curl(&[&["--etag-compare", &tag], &code[..], &[&file]].concat(), b"").unwrap();
    assert_eq!(said, "304 1\n");
    let said = curl(&["-L", &server.url("/sub%20dir")], b"").unwrap();
    assert_eq!(said, "<h1>sub</h1>\n");
    let said = curl(&["-T", "-", &echo], b"from a pipe, in chunks").unwrap();
    assert_eq!(said, "from a pipe, in chunks");
    let numbers: String = (1..=50_000).map(|n| format!("{n}\n")).collect();
    assert!(curl(&[&server.url("/numbers/50000")], b"").unwrap() == numbers);
    let said = curl(&["-I", &file], b"").unwrap();
    assert!(said.contains("Content-Length: 300000\r\n"), "{said}");
}

#[test]
fn wrk_ab_and_h2load_miss_nothing() {
    let server = Server::new();
    let url = server.url("/digits.txt");
    if let Some(said) = says("wrk", &["-t1", "-c20", "-d1s", &url], b"") {
        assert!(said.contains("Requests/sec"), "{said}");
        assert!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}");
    }
    for keep in [&["-k"][..], &[]] {
        let args = [keep, &["-n1000", "-c20", "-q", &url]].concat();
        if let Some(said) = says("ab", &args, b"") {
            let line = |name: &str| {
                let line = said.lines().find_map(|line| line.strip_prefix(name));
                line.map(|value| value.trim().to_string())
            };
            assert_eq!(line("Complete requests:").as_deref(), Some("1000"), "{said}");
            assert_eq!(line("Failed requests:").as_deref(), Some("0"), "{said}");
            let kept = (!keep.is_empty()).then_some("1000");
            assert_eq!(line("Keep-Alive requests:").as_deref(), kept, "{said}");
        }
    }
    if let Some(said) = says("h2load", &["--h1", "-n2000", "-c10", "-m16", &url], b"") {
        assert!(said.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
    }
}

/// While they are at it, others are served.
#[test]
fn case_080_slowhttptest_holds_no_connection() {
    let server = Server::with(|http| {
        http.http.head_time = Duration::from_secs(1);
        http.http.body_time = Duration::from_secs(1);
    });
    for (mode, url) in [("-H", server.url("/")), ("-B", server.url("/echo"))] {
        let args = [mode, "-c50", "-r50", "-i1", "-l20", "-p2", "-x10", "-u", &url];
        let Some(said) = says("slowhttptest", &args, b"") else { return };
        assert!(said.contains("No open connections left"), "{mode}: {said}");
        assert!(!said.contains("service available:   NO"), "{mode}: {said}");
    }
}

#[test]
fn python_reads_what_it_wrote() {
    let server = Server::new();
    let script = include_str!("clients.py");
    let addr = server.addr.to_string();
    let Some(said) = says(&python(), &["-c", script, &addr], b"") else { return };
    if said.contains("ModuleNotFoundError") {
        return eprintln!("not tested: h11 and requests are not installed");
    }
    assert_eq!(said, "h11 and requests agree\n");
}

/// The one that has what tests need.
pub fn python() -> String {
    env::var("CHARKH_PYTHON").unwrap_or_else(|_| "python3".into())
}

#[test]
fn a_browser_shows_a_page_with_all_that_belongs_to_it() {
    let server = Server::new();
    let page = include_str!("page.html");
    fs::write(server.file("page.html"), page).unwrap();
    fs::write(server.file("page.css"), "h1 { color: rgb(1, 2, 3) }").unwrap();
    fs::write(server.file("page.mjs"), "export default 'a module'").unwrap();
    let picture = "<svg xmlns='http://www.w3.org/2000/svg' width='37' height='7'/>";
    fs::write(server.file("picture.svg"), picture).unwrap();
    let profile = format!("--user-data-dir={}", server.file("profile"));
    let args = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--virtual-time-budget=20000",
        "--dump-dom",
        &profile,
        &server.url("/page.html"),
    ];
    let Some(said) = says("chromium", &args, b"") else { return };
    let text = said.split_once("<pre>").and_then(|(_, rest)| rest.split_once("</pre>"));
    let (text, _) = text.unwrap_or_else(|| panic!("no page: {said:.2000}"));
    let expected = "style rgb(1, 2, 3)\npicture 37\na module\necho 500000\nrange 206 234\n\
                    numbers 1000\nagain 304\nmissing 404\ndone";
    assert_eq!(text, expected);
}
