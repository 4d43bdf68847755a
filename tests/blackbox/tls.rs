//! TLS of the program, under the clients that people have.
#[path = "../tls/ca.rs"]
#[allow(dead_code, unreachable_pub)]
mod ca;
mod clients;
mod ours;
mod python;
#[cfg(unix)]
mod reload;
mod startup;
#[cfg(target_os = "linux")]
mod stress;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use ca::{Authority, Identity};
use charkh::{
    Layer,
    client::{Client, Timeouts},
    tls::{self, Tls, Trust},
};

use crate::support::{PATIENCE, Server, address_in, connect};

/// An authority, and files for one test.
struct Files {
    folder: PathBuf,
    ca: Authority,
}

impl Files {
    /// With `ca.pem`, and `cert.pem` and `key.pem` of a server that goes by `localhost` and
    /// 127.0.0.1.
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("charkh-tls.{pid}.{count}"));
        fs::create_dir(&folder).unwrap();
        let files = Self { folder, ca: Authority::new("the tests' authority") };
        files.write("ca.pem", &files.ca.pem());
        files.show(&files.ca.sign(&["localhost", "127.0.0.1"]));
        files
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.folder.join(name), bytes).unwrap();
        self.path(name)
    }

    /// This is what the server is to show.
    fn show(&self, identity: &Identity) {
        self.write("cert.pem", &identity.cert);
        self.write("key.pem", &identity.key);
    }

    /// Somebody's certificate and key: where they are.
    fn keep(&self, name: &str, identity: &Identity) -> [String; 2] {
        let cert = self.write(&format!("{name}.pem"), &identity.cert);
        [cert, self.write(&format!("{name}.key"), &identity.key)]
    }

    /// A server that shows what is there. At its other address no TLS is spoken.
    fn serve(&self, options: &str) -> (Server, SocketAddr) {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        serve(&format!("--tls-cert {cert} --tls-key {key} {options}"))
    }

    /// Who believes this authority alone.
    fn client(&self) -> tls::Client {
        client(Trust::Ca(self.ca.pem()))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn serve(options: &str) -> (Server, SocketAddr) {
    let server = Server::new(&format!("tls:127.0.0.1:0 {options}"));
    let addr = address_in(&server.running.stdout.find("listening on tls "));
    (server, addr)
}

fn client(trust: Trust) -> tls::Client {
    tls::Client::new(&tls::ClientConfig::new(trust)).unwrap()
}

const TIMEOUTS: Timeouts = Timeouts { connect: Some(PATIENCE), silence: Some(PATIENCE) };

fn dial(client: &tls::Client, addr: SocketAddr) -> Client {
    Client::connect_through(addr, client.layer("localhost").unwrap(), &TIMEOUTS).unwrap()
}

fn echo(client: &mut Client, message: &[u8]) {
    client.send_all(message).unwrap();
    let mut back = vec![0; message.len()];
    client.read_exact(&mut back).unwrap();
    assert!(back == message, "{} bytes came back as others", message.len());
}

/// Nothing about this is wrong, whoever else misbehaves.
fn check_echo(files: &Files, addr: SocketAddr) {
    let mut client = dial(&files.client(), addr);
    echo(&mut client, b"are you well?");
    client.finish().unwrap();
    assert_eq!(client.read_to_end(1).unwrap(), b"");
}

/// A client whose bytes go over the wire when the test says so.
struct ByHand {
    stream: TcpStream,
    layer: Box<Tls>,
    plain: Vec<u8>,
}

impl ByHand {
    /// What it says first is in the other.
    fn new(client: &tls::Client, addr: SocketAddr) -> (Self, Vec<u8>) {
        let mut layer = client.layer("localhost").unwrap();
        let mut hello = Vec::new();
        layer.start(&mut hello).unwrap();
        (Self { stream: connect(addr), layer, plain: Vec::new() }, hello)
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// What comes from the wire, without a look at it.
    fn read(&mut self) -> Vec<u8> {
        let mut piece = vec![0; 1 << 16];
        let size = self.stream.read(&mut piece).unwrap();
        piece.truncate(size);
        piece
    }

    /// Have it look at that, and answer.
    fn take(&mut self, mut bytes: Vec<u8>) {
        let mut answer = Vec::new();
        self.layer.receive(&mut bytes, &mut self.plain, &mut answer).unwrap();
        self.write(&answer);
    }

    fn echo(&mut self, message: &[u8]) {
        let mut sealed = Vec::new();
        self.layer.send(message, &mut sealed).unwrap();
        self.write(&sealed);
        self.plain.clear();
        while self.plain.len() < message.len() {
            let bytes = self.read();
            assert!(!bytes.is_empty(), "the server has ended");
            self.take(bytes);
        }
        assert_eq!(self.plain, message);
    }
}

/// Lines about handshakes that failed.
fn failures(log: &[String]) -> Vec<&str> {
    let failures = log.iter().filter_map(|line| line.split_once("no handshake with "));
    failures.filter_map(|(_, rest)| rest.split_once(": ")).map(|(_, why)| why).collect()
}

/// The log has one line a second about handshakes: a second ago is another.
fn a_line_later() {
    std::thread::sleep(Duration::from_millis(1100));
}
