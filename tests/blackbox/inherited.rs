//! Sockets that somebody else has made, and a service manager that wants to hear of us.
use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::{
    support::{
        BINARY, PATIENCE, Running, Server, address_in, charkh, connect, echo, is_without, scratch,
        until,
    },
    takeover::{heir, listener},
};

/// What it says where it listens, in the order in which it says so.
fn listening(server: &Server) -> Vec<SocketAddr> {
    server.running.stdout.so_far().iter().map(|line| address_in(line)).collect()
}

#[test]
fn case_016_an_inherited_socket_is_served_and_nothing_else_is() {
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    // It came before there was a server.
    let mut early = connect(addr);
    let server = Server::of(heir(of(&listener), "", "--protocol echo"));
    echo(&mut early, b"hello");
    server.check_echo();
    assert_eq!(listening(&server), [addr]);
    // Programs that it starts, if it ever does, are not given it.
    let info = fs::read_to_string(format!("/proc/{}/fdinfo/3", server.running.pid())).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
    assert_ne!(flags & 0o2_000_000, 0, "O_CLOEXEC: {flags:o}");
    assert_ne!(flags & 0o4_000, 0, "O_NONBLOCK: {flags:o}");
    drop(early);
    let log = server.stop();
    assert!(log.iter().any(|line| line.contains("inherited socket 1")), "{log:#?}");
    // Its maker has it still.
    let mut late = connect(addr);
    let server = Server::of(heir(of(&listener), "", "--protocol echo"));
    echo(&mut late, b"hello again");
    drop(late);
    server.stop();
}

#[test]
fn case_016_where_addresses_are_given_both_are_served() {
    let listener = listener();
    let server = Server::of(heir(of(&listener), "", "127.0.0.1:0 --protocol echo"));
    let all = until("two addresses are told", || {
        let all = listening(&server);
        (all.len() == 2).then_some(all)
    });
    assert_eq!(all[0], listener.local_addr().unwrap());
    all.iter().for_each(|&addr| echo(&mut connect(addr), b"hello"));
    server.stop();
}

/// For a server; the test has its own.
fn of(listener: &TcpListener) -> OwnedFd {
    listener.try_clone().unwrap().into()
}

/// It ends with one sentence that has these parts.
#[track_caller]
fn assert_refuses(descriptor: impl Into<OwnedFd>, variables: &str, parts: &[&str]) {
    let script = format!("exec 3<&0 0</dev/null; export {variables}; exec \"$0\" serve $OPTIONS");
    let mut command = Command::new("sh");
    command.args(["-c", &script, BINARY]);
    let mut server = Running::given(&mut command, Stdio::from(descriptor.into()));
    let (code, stderr) = (server.exit_code(), server.stderr.to_end());
    assert_eq!((code, server.stdout.to_end().len()), (1, 0), "{variables}: {stderr:?}");
    assert!(stderr.len() == 1 && stderr[0].starts_with("charkh: "), "{stderr:?}");
    assert!(parts.iter().all(|part| stderr[0].contains(part)), "{stderr:?} and not {parts:?}");
    assert!(!stderr[0].contains("os error"), "{stderr:?}");
}

#[test]
fn case_016_what_was_not_handed_over_as_announced_is_refused() {
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let ours = "LISTEN_PID=$$ LISTEN_FDS";
    for (variables, part) in [
        (format!("{ours}=garbage"), "LISTEN_FDS=\"garbage\" is no number of sockets"),
        (format!("{ours}=-1"), "LISTEN_FDS=\"-1\" is no number of sockets"),
        (format!("{ours}=4000000000"), "more than"),
        (format!("{ours}=2"), "inherited socket 2: fd 4 is not a socket"),
        (format!("{ours}=1 LISTEN_FDNAMES=a:b"), "LISTEN_FDNAMES names 2 sockets"),
        ("LISTEN_FDS=1".into(), "LISTEN_PID is not"),
        ("LISTEN_FDS=1 LISTEN_PID=me".into(), "LISTEN_PID=\"me\" is no process"),
    ] {
        assert_refuses(listener(), &variables, &[part]);
    }
    let one = format!("{ours}=1 LISTEN_FDNAMES=http");
    let guarded = format!("{ours}=1 OPTIONS='--proxy-protocol --proxy-from ::/0'");
    let path = env::temp_dir().join(format!("charkh-guarded-{}", std::process::id()));
    let unix = UnixListener::bind(&path).unwrap();
    assert_refuses(unix, &guarded, &["inherited socket 1", "--proxy-protocol is for TCP"]);
    let unix = UnixListener::bind(path.with_extension("tls")).unwrap();
    let secured = format!("{ours}=1 LISTEN_FDNAMES=tls");
    assert_refuses(unix, &secured, &["inherited socket 1 (\"tls\")", "TLS is for TCP"]);
    fs::remove_file(path.with_extension("tls")).unwrap();
    fs::remove_file(path).unwrap();
    let name = "cannot serve inherited socket 1 (\"http\"): ";
    assert_refuses(fs::File::open("/dev/null").unwrap(), &one, &[name, "not a socket"]);
    assert_refuses(UdpSocket::bind("127.0.0.1:0").unwrap(), &one, &[name, "it is one of UDP"]);
    let bound = socket();
    bound.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    assert_refuses(bound, &one, &[name, "it does not listen"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_refuses(connected, &one, &[name, "it does not listen"]);
}

#[test]
fn case_016_what_is_another_process_s_is_left_alone() {
    let listener = listener();
    let script =
        "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=1; exec \"$0\" serve \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, BINARY, "127.0.0.1:0", "--protocol", "echo"]);
    command.env_remove("RUST_LOG");
    let server = Server::of(Running::given(&mut command, Stdio::from(of(&listener))));
    server.log().find("are for process 1: they are left alone");
    server.check_echo();
    assert_eq!(listening(&server).len(), 1);
    assert_ne!(server.addr, listener.local_addr().unwrap());
    server.stop();
}

#[test]
fn an_inherited_unix_socket_is_served_and_its_file_is_not_ours() {
    let path = env::temp_dir().join(format!("charkh-handed-over-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let server = heir(listener.into(), "", "--protocol echo");
    server.stdout.find(&format!("listening on unix:{}", path.display()));
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    drop(client);
    server.signal("TERM");
    let mut server = server;
    assert_eq!(server.exit_code(), 0);
    assert!(path.exists());
    fs::remove_file(&path).unwrap();
}

#[test]
fn what_is_called_tls_speaks_tls_and_wants_a_certificate() {
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let socket = || of(&listener);
    let server = heir(socket(), "LISTEN_FDNAMES=tls", "--protocol echo --tls-self-signed");
    assert_eq!(server.stdout.find("listening on"), format!("listening on tls {addr}"));
    let fingerprint = server.stdout.find("fingerprint sha256 ");
    assert!(fingerprint.len() > 90, "{fingerprint}");
    let said =
        charkh(&["send", "--tls", "--insecure", "--raw", "--to", &addr.to_string(), "hello"]);
    assert_eq!((said.code, said.stdout.as_slice()), (0, &b"hello"[..]), "{said:?}");
    drop(server);
    let mut server = heir(socket(), "LISTEN_FDNAMES=tls", "--protocol echo");
    assert_eq!(server.exit_code(), 1);
    let says = server.stderr.to_end();
    assert!(says.len() == 1 && says[0].contains("without a certificate"), "{says:?}");
}

/// A header of the PROXY protocol is wanted of those who come by it, as everywhere.
#[test]
fn case_116_an_inherited_socket_is_behind_the_balancer_too() {
    let listener = listener();
    let options = "--protocol echo --proxy-protocol --proxy-from 127.0.0.0/8";
    let server = Server::of(heir(listener.into(), "", options));
    let mut client = server.connect();
    client.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhello").unwrap();
    assert_eq!(crate::support::read(&mut client, 5), b"hello");
    let mut rude = server.connect();
    rude.write_all(b"hello, I am nobody's client\r\n").unwrap();
    assert!(!matches!(rude.read(&mut [0; 9]), Ok(1..)), "it was answered");
    drop((client, rude));
    server.stop();
}

/// The real one, if without the rest of systemd.
#[test]
fn a_service_manager_hands_over_its_sockets_with_their_names() {
    if is_without("systemd-socket-activate") {
        return;
    }
    let free = [(); 2].map(|()| TcpListener::bind("127.86.86.3:0").unwrap());
    let addrs = free.map(|free| free.local_addr().unwrap()); // and is nobody's from here on
    let mut command = Command::new("systemd-socket-activate");
    for addr in addrs {
        command.args(["-l", &addr.to_string()]);
    }
    command.args(["--fdname=one:two", BINARY, "serve", "--protocol", "echo"]);
    let running = Running::new(command.env_remove("RUST_LOG"));
    running.stderr.find(&format!("Listening on {}", addrs[1]));
    // The server is started when somebody comes, who is then served.
    let mut first = connect(addrs[0]);
    echo(&mut first, b"hello");
    let server = Server::of(running);
    echo(&mut connect(addrs[1]), b"hello");
    server.log().find("inherited socket 1 (\"one\")");
    server.log().find("inherited socket 2 (\"two\")");
    drop(first);
    server.stop();
}

/// The end of the socket at which a service manager listens.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(name: &str) -> Self {
        // Such a path must be short.
        let path = env::temp_dir().join(format!("charkh-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    fn serves(&self, variables: &[(&str, &str)]) -> Server {
        let mut command = Command::new(BINARY);
        command.args(["serve", "127.0.0.1:0", "--protocol", "echo"]);
        command.env("NOTIFY_SOCKET", &self.path).envs(variables.iter().copied());
        Server::from(&mut command)
    }

    fn hear(&self) -> String {
        let mut message = [0; 4096];
        let size = self.socket.recv(&mut message).unwrap();
        String::from_utf8(message[..size].to_vec()).unwrap()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[test]
fn a_service_manager_hears_what_becomes_of_the_server() {
    let manager = Manager::new("manager");
    let server = manager.serves(&[]);
    let ready = format!("READY=1\nSTATUS=listening on tcp {}\n", server.addr);
    assert_eq!(manager.hear(), ready);
    let micros = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        now.tv_sec * 1_000_000 + now.tv_nsec / 1000
    };
    let before = micros();
    server.running.signal("HUP");
    let said = manager.hear();
    let since =
        said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{said}"));
    assert!((before..=micros()).contains(&since.trim().parse().unwrap()), "{said}");
    assert_eq!(manager.hear(), "READY=1\n");
    let client = server.connect();
    server.running.signal("USR1"); // when that is answered the client is in
    until("the client is in", || {
        server.running.signal("USR1");
        let lines = server.running.stdout.so_far();
        lines.iter().any(|line| line.contains("accepts 1 ")).then_some(())
    });
    server.running.signal("TERM");
    assert_eq!(manager.hear(), "STOPPING=1\nSTATUS=stopping: connections that are open: 1\n");
    drop(client);
    let mut server = server;
    server.ended(0);
    // Nothing more.
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 99]).is_err());
}

#[test]
fn a_watchdog_hears_of_the_loop_as_long_as_it_turns() {
    let manager = Manager::new("watchdog");
    let server = manager.serves(&[("WATCHDOG_USEC", "100000")]);
    assert!(manager.hear().starts_with("READY=1\n"));
    // Nobody is there, and nothing else wakes it.
    (0..10).for_each(|_| assert_eq!(manager.hear(), "WATCHDOG=1\n"));
    server.running.halt();
    while manager
        .socket
        .set_nonblocking(true)
        .and_then(|()| manager.socket.recv(&mut [0; 99]))
        .is_ok()
    {}
    std::thread::sleep(Duration::from_millis(200));
    assert!(
        manager.socket.recv(&mut [0; 99]).is_err(),
        "a loop that stands still was said to turn"
    );
    manager.socket.set_nonblocking(false).unwrap();
    server.running.signal("CONT");
    assert_eq!(manager.hear(), "WATCHDOG=1\n");
    server.stop();
    // What is asked of another process is not this one's.
    let server = manager.serves(&[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")]);
    while !manager.hear().starts_with("READY=1\n") {}
    server.stop();
    assert!(manager.hear().starts_with("STOPPING=1\n"));
}

#[test]
fn a_service_manager_that_does_not_listen_holds_nobody_up() {
    // Its queue is full after some of these.
    let manager = Manager::new("deaf");
    let server = manager.serves(&[("WATCHDOG_USEC", "1000")]);
    (0..300).for_each(|_| {
        server.check_echo();
        std::thread::sleep(Duration::from_millis(1));
    });
    server.stop();
    // And where nobody is at all, that is a line in the log.
    fs::remove_file(&manager.path).unwrap();
    let server = manager.serves(&[]);
    server.log().find("cannot tell the service manager");
    server.check_echo();
    server.stop();
}

mod units {
    use super::*;

    fn unit(name: &str) -> String {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name);
        fs::read_to_string(path).unwrap()
    }

    fn value<'a>(unit: &'a str, key: &str) -> &'a str {
        let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let value = values.next().unwrap_or_else(|| panic!("no {key}="));
        assert_eq!(values.next(), None, "{key} twice");
        value
    }

    #[test]
    fn what_they_start_serves_the_socket_that_it_is_given() {
        let service = unit("charkh.service");
        let command: Vec<&str> = value(&service, "ExecStart").split(' ').collect();
        assert_eq!(command[..2], ["/usr/local/bin/charkh", "serve"]);
        let (listener, options) = (listener(), command[2..].join(" "));
        let server = Server::of(heir(of(&listener), "", &options));
        assert_eq!(listening(&server), [listener.local_addr().unwrap()]);
        server.check_echo();
        server.stop();
        // Who is given time to finish is not killed before it has passed.
        let help = String::from_utf8(charkh(&["serve", "--help"]).stdout).unwrap();
        assert!(help.contains("--grace"), "{help}");
        let seconds = |text: &str| text.trim_end_matches('s').parse::<u32>().unwrap();
        let grace = command.iter().skip_while(|word| **word != "--grace").nth(1).unwrap();
        assert!(seconds(value(&service, "TimeoutStopSec")) > seconds(grace));
    }

    #[test]
    fn systemd_understands_them() {
        if is_without("systemd-analyze") {
            return;
        }
        let folder = scratch("units");
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no"]);
        for name in ["charkh.service", "charkh.socket"] {
            // It wants to see the program.
            let text = unit(name).replace("/usr/local/bin/charkh", BINARY);
            fs::write(folder.join(name), text).unwrap();
            command.arg(folder.join(name));
        }
        let said = command.output().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let stderr = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && stderr.trim().is_empty(), "{stderr}");
    }
}
