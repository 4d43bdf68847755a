//! A folder that is served, and everything beside it that is not.
use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{
    common::{pattern, read_all},
    example::{Files, config},
    world::{Answer, answers, hears_of, serving, turn, world, world_with},
};
use charkh::Config;

/// A folder of its own for each test, with a secret beside it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("charkh-http-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let base = std::env::temp_dir().join(name);
        let root = base.join("root");
        fs::create_dir_all(root.join("sub dir")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::create_dir_all(root.join(".well-known")).unwrap();
        for (path, text) in [
            ("index.html", "<h1>index</h1>\n"),
            ("digits.txt", "0123456789"),
            ("empty.bin", ""),
            ("sub dir/index.html", "<h1>sub</h1>\n"),
            ("sub dir/page.css", "a{}"),
            (".git/config", "secret"),
            (".hidden", "secret"),
            (".well-known/x", "shown"),
            ("a%b.txt", "percent"),
            ("../secret.txt", "secret"),
        ] {
            fs::write(root.join(path), text).unwrap();
        }
        Self(root)
    }

    pub fn files(&self) -> Files {
        Files::new(&self.0).unwrap()
    }

    fn hears(&self, says: &str) -> Answer {
        let method = says.split(' ').next().unwrap();
        let text = hears_of(serving(Some(self.files())), &[says.as_bytes()]);
        let mut answers = answers(&text, &[method]);
        assert_eq!(answers.len(), 1, "{says}: {text}");
        answers.remove(0)
    }

    fn get(&self, path: &str) -> Answer {
        self.hears(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }

    fn get_with(&self, path: &str, headers: &str) -> Answer {
        self.hears(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

#[test]
fn files_have_types_and_folders_an_index() {
    let folder = Folder::new();
    for (path, content_type, body) in [
        ("/", "text/html; charset=utf-8", "<h1>index</h1>\n"),
        ("/index.html?x=y", "text/html; charset=utf-8", "<h1>index</h1>\n"),
        ("/digits.txt", "text/plain; charset=utf-8", "0123456789"),
        ("/empty.bin", "application/octet-stream", ""),
        ("/sub%20dir/", "text/html; charset=utf-8", "<h1>sub</h1>\n"),
        ("/sub%20dir/page.css", "text/css; charset=utf-8", "a{}"),
        ("/%64igits.txt", "text/plain; charset=utf-8", "0123456789"),
        ("/a%25b.txt", "text/plain; charset=utf-8", "percent"),
        ("/.well-known/x", "application/octet-stream", "shown"),
    ] {
        let got = folder.get(path);
        assert_eq!((got.status, &*got.body), (200, body), "{path}");
        assert_eq!(got.header("Content-Type"), Some(content_type), "{path}");
        let head = folder.hears(&format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(head.head, got.head);
    }
    let moved = folder.get("/sub%20dir?a=b");
    assert_eq!((moved.status, moved.header("Location")), (308, Some("/sub%20dir/?a=b")));
    let got = folder.hears("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((got.status, got.header("Allow")), (405, Some("GET, HEAD, OPTIONS")));
    // What is served anyway comes first.
    assert_eq!(folder.get("/numbers/1").body, "1\n");
}

#[test]
fn nothing_outside_the_folder_and_nothing_hidden_is_seen() {
    let folder = Folder::new();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret.txt", folder.0.join("link.txt")).unwrap();
        std::os::unix::fs::symlink("..", folder.0.join("up")).unwrap();
        std::os::unix::fs::symlink("digits.txt", folder.0.join("inner.txt")).unwrap();
        assert_eq!(folder.get("/inner.txt").body, "0123456789");
    }
    for path in [
        "/../secret.txt",
        "/../../etc/passwd",
        "/sub%20dir/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2E%2e%2fsecret.txt",
        "/..%2fsecret.txt",
        "/..\\secret.txt",
        "/%5c..%5csecret.txt",
        "/.git/config",
        "/.hidden",
        "/%2egit/config",
        "/./digits.txt",
        "/link.txt",
        "/up/secret.txt",
        "/up/",
        "//etc/passwd",
        "//digits.txt",
        "/digits.txt/",
        "/digits.txt/x",
        "/digits.txt%00",
        "/digits.txt%00.html",
        "/%",
        "/%4",
        "/%zz",
        "/%+1",
        "/%ff",
        "/C:/x",
        "/nothing",
        "/sub%20dir/x",
        "/.well-known/",
        "/etc/passwd",
    ] {
        let got = folder.get(path);
        assert_eq!(got.status, 404, "{path}: {}", got.body);
        assert!(!got.body.contains("secret"), "{path}");
    }
}

#[test]
fn a_client_that_has_a_file_is_told_so() {
    let folder = Folder::new();
    let whole = folder.get("/digits.txt");
    let tag = whole.header("ETag").unwrap();
    let modified = whole.header("Last-Modified").unwrap();
    for headers in [
        format!("If-None-Match: {tag}"),
        format!("If-None-Match: \"x\", W/{tag}"),
        "If-None-Match: *".into(),
        format!("If-Modified-Since: {modified}"),
        "If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT".into(),
        // The tag knows better than the date.
        format!("If-None-Match: {tag}\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"),
    ] {
        let got = folder.get_with("/digits.txt", &headers);
        assert_eq!((got.status, &*got.body), (304, ""), "{headers}");
        assert_eq!((got.header("ETag"), got.header("Content-Length")), (Some(tag), None));
    }
    for headers in [
        "If-None-Match: \"x\"".to_string(),
        "If-None-Match: \"\"".into(),
        "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT".into(),
        "If-Modified-Since: yesterday".into(),
        format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {modified}"),
    ] {
        assert_eq!(folder.get_with("/digits.txt", &headers), whole, "{headers}");
    }
    fs::write(folder.0.join("digits.txt"), "01234").unwrap();
    let got = folder.get_with("/digits.txt", &format!("If-None-Match: {tag}"));
    assert_eq!((got.status, &*got.body), (200, "01234"));
}

#[test]
fn parts_of_files_are_sent_alone() {
    let folder = Folder::new();
    let tag = folder.get("/digits.txt").header("ETag").unwrap().to_string();
    for (range, status, content_range, body) in [
        ("bytes=2-4", 206, Some("bytes 2-4/10"), "234"),
        ("bytes=7-", 206, Some("bytes 7-9/10"), "789"),
        ("bytes=-2", 206, Some("bytes 8-9/10"), "89"),
        ("bytes=-99", 206, Some("bytes 0-9/10"), "0123456789"),
        ("bytes=9-99", 206, Some("bytes 9-9/10"), "9"),
        ("bytes=10-", 416, Some("bytes */10"), ""),
        ("bytes=-0", 416, Some("bytes */10"), ""),
        ("bytes=0-1,5-6", 200, None, "0123456789"),
        ("bytes=4-2", 200, None, "0123456789"),
        ("pages=1-2", 200, None, "0123456789"),
    ] {
        let got = folder.get_with("/digits.txt", &format!("Range: {range}"));
        assert_eq!((got.status, &*got.body), (status, body), "{range}");
        assert_eq!(got.header("Content-Range"), content_range, "{range}");
    }
    let part = |condition: &str| {
        folder.get_with("/digits.txt", &format!("Range: bytes=0-0\r\nIf-Range: {condition}")).status
    };
    assert_eq!((part(&tag), part("\"x\""), part(&format!("W/{tag}"))), (206, 200, 200));
    let head = "HEAD /digits.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=0-0\r\n\r\n";
    assert_eq!(folder.hears(head).status, 200);
    assert_eq!(folder.get_with("/empty.bin", "Range: bytes=0-").status, 416);
}

#[test]
fn a_long_file_takes_no_more_memory_than_a_short_one() {
    let folder = Folder::new();
    let bytes = pattern(5_000_000, 1);
    fs::write(folder.0.join("long.bin"), &bytes).unwrap();
    let limits = Config { idle: None, write_stall: None, ..config() };
    let mut reactor = world_with(serving(Some(folder.files())), limits);
    let client = reactor.net().client();
    reactor.net().set_window(client, 100_000);
    let says = "GET /long.bin HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2);
    reactor.net().send(client, says.as_bytes());
    reactor.net().finish_client(client);
    let mut heard = Vec::new();
    while !reactor.hub().is_empty() {
        turn(&mut reactor);
        assert!(reactor.hub().stats().memory < 400_000, "{}", reactor.hub().stats().memory);
        heard.extend(reactor.net().receive(client));
    }
    heard.extend(read_all(&mut reactor, client));
    let at = heard.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(heard.len(), 2 * (at + bytes.len()));
    assert!(heard[at..at + bytes.len()] == bytes && heard.ends_with(&bytes));
}

#[test]
fn many_files_in_one_go_wait_for_a_client_that_reads() {
    let folder = Folder::new();
    fs::write(folder.0.join("page.bin"), pattern(30_000, 1)).unwrap();
    let mut reactor = world(serving(Some(folder.files())));
    let client = reactor.net().client();
    reactor.net().set_window(client, 1000);
    let says = "GET /page.bin HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    reactor.net().send(client, says.as_bytes());
    for _ in 0..50 {
        turn(&mut reactor);
        assert!(reactor.hub().stats().memory < 300_000, "{}", reactor.hub().stats().memory);
        assert!(!reactor.net().receive(client).is_empty());
    }
}

#[test]
fn case_051_a_file_that_becomes_shorter_is_no_good_end() {
    let folder = Folder::new();
    let path = folder.0.join("long.bin");
    File::create(&path).unwrap().write_all(&pattern(1_000_000, 1)).unwrap();
    let mut reactor = world(serving(Some(folder.files())));
    let client = reactor.net().client();
    reactor.net().set_window(client, 10_000);
    reactor.net().send(client, b"GET /long.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    turn(&mut reactor);
    File::options().write(true).open(&path).unwrap().set_len(200_000).unwrap();
    let mut heard = 0;
    while !reactor.hub().is_empty() {
        heard += reactor.net().receive(client).len();
        reactor.turn_within(Duration::from_secs(1)).unwrap();
    }
    assert!(heard <= 201_000, "{heard}");
    assert!(reactor.net().sees_reset(client), "it looks whole");
    // What was read of it in vain is nobody else's.
    let other = reactor.net().client();
    reactor.net().send(other, b"GET /digits.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    turn(&mut reactor);
    let got = answers(&String::from_utf8_lossy(&reactor.net().receive(other)), &[]);
    assert_eq!(got[0].body, "0123456789");
}

/// It would hold the file open for as long as the body takes.
#[test]
fn a_file_is_asked_for_without_a_body() {
    let folder = Folder::new();
    let answer = folder.hears("GET /digits.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(answer.status, 400);
}

#[cfg(target_os = "linux")]
#[test]
fn what_leads_elsewhere_is_not_there_even_if_it_comes_between_two_looks() {
    let folder = Folder::new();
    let files = folder.files();
    // Links within are followed, those outside are not, nor are those that lead to each other.
    for (link, to, status) in [
        ("within", "digits.txt", 200),
        ("outside", "../secret.txt", 404),
        ("absolute", "/etc/passwd", 404),
        ("loop", "loop", 404),
        ("process", "/proc/self/exe", 404),
    ] {
        std::os::unix::fs::symlink(to, folder.0.join(link)).unwrap();
        assert_eq!(folder.get(&format!("/{link}")).status, status, "{link}");
    }
    // The folder itself is the one that was named at the start.
    fs::rename(&folder.0, folder.0.with_extension("old")).unwrap();
    fs::create_dir(&folder.0).unwrap();
    let text = hears_of(serving(Some(files)), &[b"GET /digits.txt HTTP/1.1\r\nHost: a\r\n\r\n"]);
    assert!(text.ends_with("0123456789"), "{text}");
}
