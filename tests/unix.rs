//! Unix sockets: the file of one that is listened at, and what is different on the wire.
#![cfg(unix)]

mod common;

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Barrier,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use charkh::{
    Addr, Config, Layer, Origin, Peer, Protocol, Reactor, Result, UnixAddr,
    net::{Sim, SocketOptions},
};
use common::{Echo, MS, Script, on_data, pattern, settle};

/// A directory that is gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("charkh-unix.{}.{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A socket whose server has died.
    fn stale(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        drop(UnixListener::bind(&path).unwrap());
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn reactor<P: Protocol>(protocol: P) -> Reactor<P> {
    Reactor::new(protocol).unwrap()
}

fn echo_at(path: &Path) -> io::Result<Reactor<Echo>> {
    let mut reactor = reactor(Echo);
    reactor.listen_at(UnixAddr::path(path)).map(|_| reactor)
}

fn refused(path: &Path) -> io::Error {
    match echo_at(path) {
        Ok(_) => panic!("it listens at {}", path.display()),
        Err(e) => e,
    }
}

/// Turn until `done`.
fn turn<P: Protocol>(reactor: &mut Reactor<P>, mut done: impl FnMut(&mut Reactor<P>) -> bool) {
    for _ in 0..10_000 {
        if done(reactor) {
            return;
        }
        reactor.turn_within(MS).unwrap();
    }
    panic!("it never comes true");
}

fn connect(path: &Path) -> UnixStream {
    let client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client
}

/// Serve on this thread while `clients` do what they do on another.
fn serve<P: Protocol, T: Send>(reactor: &mut Reactor<P>, clients: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let clients = scope.spawn(clients);
        turn(reactor, |_| clients.is_finished());
        clients.join().unwrap()
    })
}

fn echoes(reactor: &mut Reactor<Echo>, path: &Path) {
    serve(reactor, || {
        let (mut client, mut got) = (connect(path), [0; 5]);
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
    });
}

#[test]
fn case_112_a_stale_file_is_replaced_and_the_new_one_goes_with_its_server() {
    let folder = Folder::new();
    for path in [folder.path("new"), folder.stale("stale")] {
        let mut reactor = echo_at(&path).unwrap();
        echoes(&mut reactor, &path);
        drop(reactor);
        assert!(!path.exists());
    }
}

#[test]
fn case_112_a_stale_socket_of_another_kind_is_replaced_too() {
    let folder = Folder::new();
    let path = folder.path("datagrams");
    drop(std::os::unix::net::UnixDatagram::bind(&path).unwrap());
    echoes(&mut echo_at(&path).unwrap(), &path);
}

#[test]
fn case_112_a_live_server_is_left_alone() {
    let folder = Folder::new();
    let path = folder.path("live");
    let live = UnixListener::bind(&path).unwrap();
    let before = fs::metadata(&path).unwrap().ino();
    let e = refused(&path);
    assert_eq!((e.kind(), &*e.to_string()), (ErrorKind::AddrInUse, "another server listens there"));
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    drop(live.accept().unwrap()); // the probe
    connect(&path).write_all(b"x").unwrap();
    let mut got = [0];
    live.accept().unwrap().0.read_exact(&mut got).unwrap();
    // Nor one of ours, nor one of another kind.
    let ours = folder.path("ours");
    let mut reactor = echo_at(&ours).unwrap();
    assert_eq!(refused(&ours).kind(), ErrorKind::AddrInUse);
    echoes(&mut reactor, &ours);
    let other = folder.path("datagrams");
    let _live = std::os::unix::net::UnixDatagram::bind(&other).unwrap();
    assert_eq!(refused(&other).kind(), ErrorKind::AddrInUse);
}

/// Whose backlog is full does not answer, and lives.
#[cfg(target_os = "linux")]
fn full_backlog(path: &Path) -> (socket2::Socket, Vec<UnixStream>) {
    let server = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    server.bind(&socket2::SockAddr::unix(path).unwrap()).unwrap();
    server.listen(0).unwrap();
    (server, vec![UnixStream::connect(path).unwrap()])
}

#[cfg(target_os = "linux")]
#[test]
fn case_112_a_live_server_that_does_not_accept_is_left_alone() {
    let folder = Folder::new();
    let path = folder.path("full");
    let _full = full_backlog(&path);
    assert_eq!(refused(&path).kind(), ErrorKind::AddrInUse);
    assert!(path.exists());
}

#[test]
fn case_112_what_is_no_socket_is_never_replaced() {
    let folder = Folder::new();
    let [file, dir, link, dangling] = ["file", "dir", "link", "dangling"].map(|n| folder.path(n));
    fs::write(&file, "precious").unwrap();
    fs::create_dir(&dir).unwrap();
    let stale = folder.stale("stale");
    symlink(&stale, &link).unwrap();
    symlink(folder.path("nothing"), &dangling).unwrap();
    for (path, what) in [
        (&file, "a file that is no socket"),
        (&dir, "a directory"),
        (&link, "a symbolic link"),
        (&dangling, "a symbolic link"),
    ] {
        let e = refused(path);
        assert_eq!(e.kind(), ErrorKind::AlreadyExists);
        let text = format!("there is {what} of that name, which is left alone");
        assert_eq!(e.to_string(), text);
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert!(dir.is_dir() && stale.exists());
    assert!(link.is_symlink() && dangling.is_symlink());
}

#[test]
fn case_112_of_those_who_find_a_stale_file_at_once_one_has_it() {
    const SERVERS: usize = 8;
    let folder = Folder::new();
    for round in 0..150 {
        let path = folder.stale(&format!("round {round}"));
        let barrier = Barrier::new(SERVERS);
        let start = || {
            barrier.wait();
            let mine = echo_at(&path);
            barrier.wait();
            // Whoever has it is found under its name.
            mine.map(|mut reactor| echoes(&mut reactor, &path)).map_err(|e| e.kind())
        };
        let results: Vec<_> = thread::scope(|scope| {
            let all = [(); SERVERS].map(|()| scope.spawn(start));
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let won = results.iter().filter(|result| result.is_ok()).count();
        let lost = results.iter().filter(|&result| *result == Err(ErrorKind::AddrInUse)).count();
        assert_eq!((won, lost), (1, SERVERS - 1), "in round {round}: {results:?}");
    }
}

#[test]
fn case_112_the_file_goes_when_the_server_is_told_to_stop_and_those_in_the_queue_are_served() {
    let folder = Folder::new();
    let path = folder.path("x");
    let mut reactor = echo_at(&path).unwrap();
    let (mut served, mut queued) = (connect(&path), Vec::new());
    served.write_all(b"half").unwrap();
    turn(&mut reactor, |reactor| reactor.hub().stats().bytes_in == 4);
    for _ in 0..3 {
        queued.push(connect(&path));
        queued.last_mut().unwrap().write_all(b"queued").unwrap();
    }
    reactor.hub().stop();
    reactor.turn_within(Duration::ZERO).unwrap();
    assert!(!path.exists());
    // Somebody else may take its place, and keeps it.
    let successor = UnixListener::bind(&path).unwrap();
    drop(served);
    queued.iter().for_each(|client| client.shutdown(Shutdown::Write).unwrap());
    turn(&mut reactor, |reactor| reactor.is_done());
    for mut client in queued {
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"queued");
    }
    drop(reactor);
    connect(&path);
    successor.accept().unwrap();
}

#[test]
fn case_112_the_file_of_a_successor_stays() {
    let folder = Folder::new();
    let path = folder.path("x");
    let reactor = echo_at(&path).unwrap();
    // As some do: bind elsewhere, and move it there.
    let aside = folder.path("aside");
    let successor = UnixListener::bind(&aside).unwrap();
    fs::rename(&aside, &path).unwrap();
    drop(reactor);
    connect(&path);
    successor.accept().unwrap();
    // And one that is gone already is missed by nobody.
    let reactor = echo_at(&folder.path("gone")).unwrap();
    fs::remove_file(folder.path("gone")).unwrap();
    drop(reactor);
}

#[test]
fn case_113_what_is_wrong_with_a_path_is_one_sentence() {
    let folder = Folder::new();
    let long = |size: usize| {
        let used = folder.0.as_os_str().len() + 1;
        folder.path(&"x".repeat(size - used))
    };
    let max = if cfg!(target_os = "linux") { 107 } else { 103 };
    echoes(&mut echo_at(&long(max)).unwrap(), &long(max));
    fs::write(folder.path("file"), "").unwrap();
    let missing = folder.path("missing");
    for (path, kind, says) in [
        (
            long(max + 1),
            ErrorKind::InvalidInput,
            format!("its path has {} bytes, and may have {max} at most", max + 1),
        ),
        (
            missing.join("x"),
            ErrorKind::NotFound,
            format!("there is no directory {}", missing.display()),
        ),
        (folder.path("file").join("x"), ErrorKind::NotADirectory, "Not a directory".into()),
        ("".into(), ErrorKind::InvalidInput, "its path is empty".into()),
        ("a\0b".into(), ErrorKind::InvalidInput, "its path has a zero byte in it".into()),
    ] {
        let e = refused(&path);
        assert_eq!(e.kind(), kind, "{e}");
        assert!(e.to_string().starts_with(&says), "{e}");
    }
    let e = reactor(Echo).listen_at(UnixAddr::Unnamed).unwrap_err();
    assert_eq!(e.to_string(), "nobody can find a socket without a name");
    assert!(fs::read_dir(&folder.0).unwrap().count() == 1, "something stays");
}

#[test]
fn case_113_who_may_connect_is_settled_before_anybody_can() {
    let folder = Folder::new();
    for mode in [0o600, 0o660, 0o777] {
        let path = folder.path(&format!("{mode:o}"));
        let sockets = SocketOptions { unix_mode: Some(mode), ..SocketOptions::default() };
        let config = Config { sockets, ..Config::default() };
        let mut reactor = Reactor::with_config(Echo, config).unwrap();
        reactor.listen_at(UnixAddr::path(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        echoes(&mut reactor, &path);
    }
    let sockets = SocketOptions { unix_mode: Some(0o600), ..SocketOptions::default() };
    let config = Config { sockets, ..Config::default() };
    let mut reactor = Reactor::with_config(Echo, config).unwrap();
    let e = reactor.listen_at(UnixAddr::abstract_name("charkh-mode")).unwrap_err();
    assert_eq!(e.to_string(), "a name without a file has no permissions");
}

#[cfg(target_os = "linux")]
#[test]
fn case_114_an_abstract_name_has_no_file_and_goes_with_its_socket() {
    use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    let name = format!("charkh\0{}\u{1b}", std::process::id());
    let addr = UnixAddr::abstract_name(&name);
    let mut first = reactor(Echo);
    let listening = first.listen_at(addr.clone()).unwrap();
    let shown = format!(r"unix:@charkh\u{{0}}{}\u{{1b}}", std::process::id());
    assert_eq!(listening.addr.to_string(), shown);
    serve(&mut first, || {
        let there = SocketAddr::from_abstract_name(&name).unwrap();
        let (mut client, mut got) = (UnixStream::connect_addr(&there).unwrap(), [0; 5]);
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut got).unwrap();
    });
    let e = reactor(Echo).listen_at(addr.clone()).unwrap_err();
    assert_eq!((e.kind(), &*e.to_string()), (ErrorKind::AddrInUse, "another server listens there"));
    drop(first);
    reactor(Echo).listen_at(addr).unwrap();
    let e = reactor(Echo).listen_at(UnixAddr::abstract_name("x".repeat(108))).unwrap_err();
    assert_eq!(e.to_string(), "its name has 108 bytes, and may have 107 at most");
}

/// What each of these clients is called.
#[test]
fn whoever_has_a_name_is_called_by_it() {
    let folder = Folder::new();
    let path = folder.path("x");
    let script = Script::default();
    let diary = script.diary.clone();
    let on_open = move |peer: &mut Peer| {
        diary.note(peer.addr().to_string());
        assert_eq!((peer.addr().ip(), peer.addr().port()), (None, None));
        Ok(())
    };
    let mut reactor = reactor(Script { open: Box::new(on_open), ..script });
    // Who has no address is in nobody's way.
    let config = Config { conns_per_ip: Some(1), ..Config::default() };
    let script = std::mem::take(reactor.protocol());
    let diary = script.diary.clone();
    let mut reactor = Reactor::with_config(script, config).unwrap();
    reactor.listen_at(UnixAddr::path(&path)).unwrap();
    let named = |name: &Path| {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&socket2::SockAddr::unix(name).unwrap()).unwrap();
        socket.connect(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        socket
    };
    let mine = folder.path("mine\n");
    let clients = (connect(&path), connect(&path), named(&mine), connect(&path));
    turn(&mut reactor, |reactor| reactor.hub().len() == 4);
    #[cfg(target_os = "linux")]
    let _another = {
        let another = named(Path::new("\0charkh-client"));
        turn(&mut reactor, |reactor| reactor.hub().len() == 5);
        another
    };
    drop(clients);
    turn(&mut reactor, |reactor| reactor.hub().len() <= 1);
    let shown = format!("unix:{}", folder.path("mine").display()) + r"\n";
    let mut wanted = vec!["unix", "unix", &shown, "unix"];
    if cfg!(target_os = "linux") {
        wanted.push("unix:@charkh-client");
    }
    let lines = diary.lines();
    let names: Vec<&String> = lines.iter().filter(|line| line.starts_with("unix")).collect();
    assert_eq!(names, wanted);
}

#[test]
fn whoever_reads_late_gets_everything_in_order() {
    const SIZE: usize = 20_000_000;
    let folder = Folder::new();
    let path = folder.path("x");
    let mut reactor = echo_at(&path).unwrap();
    serve(&mut reactor, || {
        let mut client = connect(&path);
        let mut half = client.try_clone().unwrap();
        let all = pattern(SIZE, 1);
        thread::scope(|scope| {
            scope.spawn(|| {
                half.write_all(&all).unwrap();
                half.shutdown(Shutdown::Write).unwrap();
            });
            let (mut got, mut piece) = (Vec::new(), vec![0; 70_000]);
            loop {
                match client.read(&mut piece).unwrap() {
                    0 => break,
                    n => got.extend_from_slice(&piece[..n]),
                }
                if got.len() % 16 == 0 {
                    thread::sleep(Duration::from_micros(100));
                }
            }
            assert!(got == all);
        });
    });
}

#[test]
fn an_end_and_an_abort_are_an_end() {
    let folder = Folder::new();
    let path = folder.path("x");
    let mut reactor = reactor(on_data(|peer, input| {
        match input.take_all() {
            b"finish" => peer.finish(),
            b"close" => peer.close(),
            _ => peer.abort(),
        }
        Ok(())
    }));
    reactor.listen_at(UnixAddr::path(&path)).unwrap();
    let diary = reactor.protocol().diary.clone();
    serve(&mut reactor, || {
        for says in ["finish", "close", "abort"] {
            let mut client = connect(&path);
            client.write_all(says.as_bytes()).unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "{says}");
        }
    });
    turn(&mut reactor, |reactor| reactor.hub().is_empty());
    assert_eq!((diary.count("closed"), diary.count("aborted")), (2, 1));
}

fn dials(addr: &Addr, reactor: &mut Reactor<Script>) -> Vec<String> {
    let diary = reactor.protocol().diary.clone();
    let seen = diary.lines().len();
    reactor.hub().connect(addr.clone());
    turn(reactor, |_| diary.lines().len() > seen);
    diary.lines()[seen..].to_vec()
}

#[test]
fn connections_to_others_come_up_or_say_why_not() {
    let folder = Folder::new();
    let path = folder.path("x");
    let there = Addr::from(UnixAddr::path(&path));
    let mut reactor = reactor(Script::default());
    let failed = |says: &str| vec![format!("connect failed: broken: {says}")];
    assert_eq!(dials(&there, &mut reactor), failed("No such file or directory (os error 2)"));
    let server = UnixListener::bind(&path).unwrap();
    assert_eq!(dials(&there, &mut reactor), ["open"]);
    let (mut accepted, _) = server.accept().unwrap();
    accepted.write_all(b"hello").unwrap();
    turn(&mut reactor, |reactor| reactor.hub().stats().bytes_out == 5);
    let mut got = [0; 5];
    accepted.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
    drop((server, accepted));
    turn(&mut reactor, |reactor| reactor.hub().is_empty());
    let said = dials(&there, &mut reactor).remove(0);
    assert!(said.starts_with("connect failed: broken: Connection refused"), "{said}");
    let said = dials(&UnixAddr::Unnamed.into(), &mut reactor);
    assert_eq!(said, failed("nobody can find a socket without a name"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_backlog_is_a_failure_that_says_so() {
    let folder = Folder::new();
    let path = folder.path("full");
    let _full = full_backlog(&path);
    let said = dials(&UnixAddr::path(&path).into(), &mut reactor(Script::default()));
    assert_eq!(said, ["connect failed: broken: the server's backlog is full"]);
}

#[test]
fn in_a_simulated_world_too_nobody_is_counted_against_an_address() {
    let config = Config { conns_per_ip: Some(1), ..Config::default() };
    let mut reactor = Reactor::with(Script::default(), Sim::new(1), config).unwrap();
    let server = UnixAddr::path("/run/x.sock");
    let listening = reactor.listen_at(server.clone()).unwrap();
    assert_eq!(listening.addr, Addr::from(server));
    let all = [UnixAddr::Unnamed, UnixAddr::Unnamed, UnixAddr::path("/a"), UnixAddr::path("/a")];
    let clients = all.map(|addr| reactor.net().client_from(addr, 0));
    settle(&mut reactor);
    assert_eq!(reactor.hub().len(), 4);
    reactor.hub().connect(UnixAddr::path("/b"));
    settle(&mut reactor);
    clients.into_iter().for_each(|client| reactor.net().finish_client(client));
    settle(&mut reactor);
    assert_eq!(reactor.hub().stats().refused_per_ip, 0);
}

/// What stands behind a descriptor in the stream.
#[cfg(target_os = "linux")]
mod descriptors {
    use std::os::fd::AsRawFd;

    use socket2::{MsgHdr, SockRef};

    use super::*;

    /// Send these bytes, and with the first of them as many copies of this descriptor.
    fn send_with(client: &UnixStream, bytes: &[u8], fd: &impl AsRawFd, copies: usize) {
        const SOL_SOCKET: i32 = 1;
        const SCM_RIGHTS: i32 = 1;
        let mut control = (16 + 4 * copies).to_ne_bytes().to_vec();
        control.extend(SOL_SOCKET.to_ne_bytes());
        control.extend(SCM_RIGHTS.to_ne_bytes());
        (0..copies).for_each(|_| control.extend(fd.as_raw_fd().to_ne_bytes()));
        let bytes = [io::IoSlice::new(bytes)];
        let message = MsgHdr::new().with_buffers(&bytes).with_control(&control);
        SockRef::from(client).sendmsg(&message, 0).unwrap();
    }

    /// Whether all that were sent of this one are closed.
    fn is_closed(mut pipe: io::PipeReader) {
        let mut got = Vec::new();
        pipe.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"");
    }

    #[test]
    fn case_115_descriptors_are_closed_and_what_is_sent_after_them_is_heard() {
        let folder = Folder::new();
        let path = folder.path("x");
        // An answer that is read would be an event, and show what is there. So there is none before
        // all has come.
        let mut reactor = reactor(on_data(|peer, input| {
            if input.peek().ends_with(b"four") || input.peek() == b"five" {
                peer.send(input.take_all());
            }
            Ok(())
        }));
        reactor.listen_at(UnixAddr::path(&path)).unwrap();
        for copies in [1, 3, 253] {
            let (pipe, held) = io::pipe().unwrap();
            let mut client = connect(&path);
            // All is there before the first of it is read.
            turn(&mut reactor, |reactor| reactor.hub().len() == 1);
            client.write_all(b"one ").unwrap();
            send_with(&client, b"two ", &held, copies);
            send_with(&client, b"three ", &held, copies);
            client.write_all(b"four").unwrap();
            drop(held);
            serve(&mut reactor, || {
                let mut got = [0; 18];
                client.read_exact(&mut got).unwrap();
                assert_eq!(&got, b"one two three four");
                is_closed(pipe);
                // Not even an end that stands behind one is missed.
                let (pipe, held) = io::pipe().unwrap();
                send_with(&client, b"five", &held, copies);
                drop(held);
                client.shutdown(Shutdown::Write).unwrap();
                let mut rest = Vec::new();
                client.read_to_end(&mut rest).unwrap();
                assert_eq!(rest, b"five");
                is_closed(pipe);
            });
            turn(&mut reactor, |reactor| reactor.hub().is_empty());
        }
    }

    #[test]
    fn case_115_those_that_were_never_read_are_closed_with_the_connection() {
        let folder = Folder::new();
        let path = folder.path("x");
        let mut reactor = reactor(on_data(|peer, _| {
            peer.abort();
            Ok(())
        }));
        reactor.listen_at(UnixAddr::path(&path)).unwrap();
        let (pipe, held) = io::pipe().unwrap();
        let client = connect(&path);
        turn(&mut reactor, |reactor| reactor.hub().len() == 1);
        (0..9).for_each(|_| send_with(&client, b"x", &held, 5));
        drop(held);
        serve(&mut reactor, || is_closed(pipe));
    }

    /// The layer says that somebody else is behind this wire, and it is the same wire.
    #[test]
    fn case_115_whoever_a_layer_says_it_is() {
        struct Named;
        impl Layer for Named {
            fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, _: &mut Vec<u8>) -> Result {
                plain.extend(&*wire);
                Ok(())
            }
            fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
                wire.extend(plain);
                Ok(())
            }
            fn origin(&self) -> Origin {
                Origin::Named(([10, 0, 0, 1], 1).into())
            }
        }
        let folder = Folder::new();
        let path = folder.path("x");
        let mut reactor = reactor(on_data(|peer, input| {
            assert_eq!(peer.addr(), Addr::from(([10, 0, 0, 1], 1)));
            peer.send(input.take_all());
            Ok(())
        }));
        let listening = reactor.listen_at(UnixAddr::path(&path)).unwrap();
        reactor.layer(listening.id, |_| Ok(Box::new(Named)));
        let (_pipe, held) = io::pipe().unwrap();
        let mut client = connect(&path);
        turn(&mut reactor, |reactor| reactor.hub().len() == 1);
        send_with(&client, b"one ", &held, 1);
        client.write_all(b"two").unwrap();
        serve(&mut reactor, || {
            let mut got = [0; 7];
            client.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"one two");
        });
        assert_eq!(client.shutdown(Shutdown::Both).ok(), Some(()));
        turn(&mut reactor, |reactor| reactor.hub().is_empty());
    }

    /// Urgent bytes are read like others or not at all; what comes after them is heard.
    #[test]
    fn urgent_data_stops_nobody() {
        let folder = Folder::new();
        let path = folder.path("x");
        let mut reactor = echo_at(&path).unwrap();
        let mut client = connect(&path);
        turn(&mut reactor, |reactor| reactor.hub().len() == 1);
        client.write_all(b"one ").unwrap();
        // Not every kernel knows this of unix sockets.
        let urgent = SockRef::from(&client).send_out_of_band(b"!").is_ok();
        client.write_all(b"two").unwrap();
        serve(&mut reactor, || {
            let mut got = Vec::new();
            while !got.ends_with(b"two") {
                let mut piece = [0; 16];
                let n = client.read(&mut piece).unwrap();
                got.extend_from_slice(&piece[..n]);
            }
            assert_eq!(got, b"one two", "{urgent}");
        });
    }
}
