//! The server over sockets, under clients that others wrote. What is not installed is said.
use std::{
    env, fs,
    net::SocketAddr,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use charkh::{Handle, Reactor};

use crate::{
    common::says,
    example::{WebSocket, config},
};

/// A server on a thread of its own, until the test is over.
struct Server {
    addr: SocketAddr,
    handle: Handle<WebSocket>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn new() -> Self {
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut reactor = Reactor::with_config(WebSocket::default(), config()).unwrap();
            let addr = reactor.listen("127.0.0.1:0").unwrap().addr.socket_addr().unwrap();
            tell.send((addr, reactor.handle())).unwrap();
            reactor.run().unwrap();
        });
        let (addr, handle) = told.recv().unwrap();
        Self { addr, handle, thread: Some(thread) }
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

/// What a script in Python says, if it and all that it imports are there.
pub fn python(script: &str, args: &[&str], input: &[u8]) -> Option<String> {
    let python = env::var("CHARKH_PYTHON").unwrap_or_else(|_| "python3".into());
    let said = says(&python, &[&["-c", script], args].concat(), input)?;
    if said.contains("ModuleNotFoundError") {
        eprintln!("not tested: websockets is not installed");
        return None;
    }
    Some(said)
}

#[test]
fn python_talks_and_echoes() {
    let server = Server::new();
    let addr = server.addr.to_string();
    let Some(said) = python(include_str!("clients.py"), &[&addr], b"") else { return };
    assert_eq!(said, "websockets agrees\n");
}

/// Two windows of the page, by the keyboard; and what a screen reader is told.
#[test]
fn a_browser_talks_to_itself() {
    if says("chromium", &["--version"], b"").is_none() {
        return;
    }
    let server = Server::new();
    let folder = env::temp_dir().join(format!("charkh-page-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let addr = server.addr.to_string();
    let script = include_str!("page.py");
    let said = python(script, &[&addr, folder.to_str().unwrap()], b"");
    let _ = fs::remove_dir_all(&folder); // the browser may still be writing there
    let Some(said) = said else { return };
    assert_eq!(said, "the page works\n");
}
