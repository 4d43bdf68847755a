//! Unix sockets from outside: files, permissions, and the clients that everybody has.
use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    load::{Loaded, fresh},
    support::{BINARY, PATIENCE, Running, Said, Server, charkh, is_without, python, run, until},
};

/// A directory for one test, with a short name: a path of a socket has 107 bytes at most.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("charkh-blackbox.{pid}.{count}"));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn address(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// It listens at this path too.
fn server(path: &Path, options: &str) -> Server {
    let server = Server::new(&format!("{} {options}", address(path)));
    server.running.stdout.find(&format!("listening on unix:{}", path.display()));
    server
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn echo(stream: &mut UnixStream, message: &[u8]) {
    let mut heard = vec![0; message.len()];
    stream.write_all(message).unwrap();
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, message);
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket())
}

/// It did not start, and said why in one line.
fn refused(address: &str) -> String {
    refusal(charkh(&["serve", address]))
}

fn refusal(said: Said) -> String {
    assert_eq!((said.code, &said.stdout[..]), (1, &b""[..]), "{said:?}");
    let line = said.stderr.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{line}");
    line.into()
}

#[test]
fn case_112_who_was_killed_leaves_a_file_and_the_next_one_replaces_it() {
    let folder = Folder::new();
    let path = folder.path("x");
    for _ in 0..3 {
        let mut server = server(&path, "--protocol echo");
        echo(&mut connect(&path), b"hello");
        server.running.kill();
        assert!(is_socket(&path));
    }
    let server = server(&path, "--protocol echo");
    let says = server.log().find("it is replaced");
    assert!(says.contains(&format!("{} is of a server that has ended", path.display())), "{says}");
    server.stop();
    assert!(!path.exists());
}

#[test]
fn case_112_what_is_served_or_is_no_socket_is_left_alone() {
    let folder = Folder::new();
    let path = folder.path("x");
    let server = server(&path, "--protocol echo");
    let cannot = |path: &Path, why: &str| {
        assert_eq!(
            refused(&address(path)),
            format!("charkh: cannot listen on {}: {why}", address(path))
        );
    };
    cannot(&path, "another server listens there");
    echo(&mut connect(&path), b"hello");
    server.stop();
    let file = folder.path("file");
    fs::write(&file, "precious").unwrap();
    cannot(&file, "there is a file that is no socket of that name, which is left alone");
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    cannot(&folder.0, "there is a directory of that name, which is left alone");
}

#[test]
fn case_112_the_file_goes_with_the_first_signal_and_with_every_failure() {
    let folder = Folder::new();
    let path = folder.path("x");
    for signal in ["TERM", "INT"] {
        let mut server = server(&path, "--protocol discard --grace 1h");
        let mut half = connect(&path);
        half.write_all(b"half").unwrap();
        let more = connect(&path);
        until("both are there", || {
            server.running.signal("USR1");
            server
                .running
                .stdout
                .so_far()
                .iter()
                .any(|l| l.contains(" connections 2 "))
                .then_some(())
        });
        server.running.signal("STOP");
        half.write_all(b" and more").unwrap();
        server.running.signal(signal);
        server.running.signal("CONT");
        until("the file is gone", || (!path.exists()).then_some(()));
        // It is there, and would be for an hour: a second signal ends it at once.
        drop(more);
        server.running.signal(signal);
        let code = server.running.exit_code();
        assert!(code == 130 || code == 0, "{code}");
        assert!(!path.exists());
    }
    // The second of two addresses is no good, so the first is not listened at.
    let bad = address(&folder.path("none/y"));
    let said = refusal(charkh(&["serve", &address(&path), &bad]));
    assert!(said.ends_with(&format!("there is no directory {}", folder.path("none").display())));
    assert!(!path.exists());
}

#[test]
fn case_112_a_successor_has_the_path_while_the_old_one_still_serves() {
    let folder = Folder::new();
    let path = folder.path("x");
    let mut old = server(&path, "--protocol chat --grace 1h");
    let mut member = connect(&path);
    let mut greeting = [0; 9];
    member.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"* you are");
    member.write_all(b"/wh").unwrap(); // half of it is waited for
    until("it came", || {
        old.running.signal("USR1");
        old.running.stdout.so_far().iter().any(|l| l.contains(" bytes_in 3 ")).then_some(())
    });
    old.running.signal("TERM");
    until("the file is gone", || (!path.exists()).then_some(()));
    let new = server(&path, "--protocol echo");
    echo(&mut connect(&path), b"hello");
    assert!(old.running.is_running());
    member.write_all(b"o\n").unwrap();
    let mut rest = String::new();
    member.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("guest"), "{rest}");
    drop(member);
    old.ended(0);
    echo(&mut connect(&path), b"hello");
    new.stop();
    assert!(!path.exists());
}

/// The program, run by nobody in particular, whom files stop: not so the superuser.
fn by_nobody(folder: &Folder, args: &[&str]) -> Option<Said> {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        return Some(charkh(args));
    }
    if is_without("setpriv") {
        return None;
    }
    // Where everybody may run it.
    let program = folder.path("charkh");
    if !program.exists() {
        fs::copy(BINARY, &program).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).args(args);
    Some(run(&mut command, b""))
}

#[test]
fn case_113_a_path_that_does_not_do_is_one_sentence() {
    let folder = Folder::new();
    let says = refused(&address(&folder.path(&"x".repeat(200))));
    assert!(says.ends_with(" bytes, and may have 107 at most"), "{says}");
    fs::write(folder.path("file"), "").unwrap();
    let says = refused(&address(&folder.path("file/x")));
    assert!(says.ends_with(": Not a directory"), "{says}");
    let closed = folder.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    let path = address(&closed.join("x"));
    let Some(said) = by_nobody(&folder, &["serve", &path]) else { return };
    assert_eq!(
        refusal(said),
        format!(
            "charkh: cannot listen on {path}: permission denied: no file can be made in {}",
            closed.display()
        )
    );
    for bad in ["888", "1000", "rw", "", "+77"] {
        let said = charkh(&["serve", "unix:x", "--unix-mode", bad]);
        assert!(said.stderr.contains("it must be octal, from 0 to 777"), "{said:?}");
    }
}

#[test]
fn case_113_the_mode_says_who_may_connect() {
    let folder = Folder::new();
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
    let id = Command::new("id").arg("-u").output().unwrap();
    for (mode, may) in [("600", false), ("666", true)] {
        let path = folder.path(mode);
        let server = server(&path, &format!("--unix-mode {mode}"));
        let bits = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(format!("{bits:o}"), mode);
        if id.stdout == b"0\n" {
            let to = address(&path);
            let Some(said) = by_nobody(&folder, &["send", "--to", &to, "hi"]) else { return };
            let wanted = match may {
                true => (0, "Received from server: Hello Client!\n", String::new()),
                false => (1, "", format!("charkh: cannot connect to {to}: Permission denied\n")),
            };
            let stdout = String::from_utf8_lossy(&said.stdout).into_owned();
            assert_eq!((said.code, &*stdout, said.stderr), wanted);
        }
        server.stop();
    }
    // Without an option it is the umask's.
    let path = folder.path("masked");
    let script = format!("umask 027; exec \"$0\" serve 127.0.0.1:0 {}", address(&path));
    let server = Server::from(Command::new("sh").args(["-c", &script, BINARY]));
    let bits = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(bits, 0o750);
    server.stop();
}

#[test]
fn case_114_an_abstract_name_is_found_by_everybody_and_is_gone_with_its_server() {
    let name = format!("charkh-{}", std::process::id());
    let server = Server::new(&format!("unix:@{name} --protocol echo"));
    server.running.stdout.find(&format!("listening on unix:@{name}"));
    let to = format!("unix:@{name}");
    let said = charkh(&["send", "--to", &to, "hello"]);
    assert_eq!(String::from_utf8_lossy(&said.stdout), "Received from server: hello\n");
    assert_eq!(
        refused(&to),
        format!("charkh: cannot listen on {to}: another server listens there")
    );
    if !is_without("socat") {
        let mut socat = Command::new("socat");
        let said = run(socat.args(["-", &format!("ABSTRACT-CONNECT:{name}")]), b"hello");
        assert_eq!((said.code, &said.stdout[..]), (0, &b"hello"[..]), "{said:?}");
    }
    server.stop();
    let said = charkh(&["send", "--to", &to, "hello"]);
    assert!(said.stderr.contains("connection refused (is the server running?)"), "{said:?}");
}

/// Descriptors that it sends by the hundred, in all ways: alone, between bytes, and unread.
const SENDER: &str = r#"
import array, os, socket, sys
fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
for n in range(50):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect(sys.argv[1])
    s.sendall(b"before ")
    socket.send_fds(s, [b"with "], fds)
    socket.send_fds(s, [b"and with "], fds[:1])
    s.sendall(b"after")
    if n % 5 == 4:
        continue
    s.shutdown(socket.SHUT_WR)
    said = b""
    while more := s.recv(1024):
        said += more
    assert said == b"before with and with after", said
print("done")
"#;

#[test]
fn case_115_descriptors_that_a_client_sends_are_not_kept() {
    if is_without("python3") {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("x");
    let server = server(&path, "--protocol echo");
    echo(&mut connect(&path), b"hello");
    let baseline = server.baseline();
    let said = run(&mut python(SENDER, &[path.to_str().unwrap()]), b"");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "done\n", "{said:?}");
    server.assert_baseline(baseline);
    echo(&mut connect(&path), b"hello");
    server.stop();
}

const CLIENT: &str = r#"
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.connect(sys.argv[1])
s.sendall(b"Hello Server!")
data = s.recv(1024)
print("Received from server:", data.decode())
s.close()
"#;

const SERVER: &str = r#"
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.bind(sys.argv[1])
s.listen(5)
print("listening")
client, address = s.accept()
data = client.recv(1024)
print("Received from client:", data.decode())
client.sendall(b"Hello Client!")
client.close()
s.close()
"#;

#[test]
fn the_first_lesson_works_without_a_network() {
    if is_without("python3") {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("x");
    let greet = server(&path, "");
    let said = run(&mut python(CLIENT, &[path.to_str().unwrap()]), b"");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "Received from server: Hello Client!\n");
    greet.log().find("Connection from unix has been established!");
    greet.log().find("Received from client: Hello Server!");
    greet.stop();
    let mut classic = Running::new(&mut python(SERVER, &[path.to_str().unwrap()]));
    classic.stdout.find("listening");
    let said = charkh(&["send", "--to", &address(&path), "Hello Server!"]);
    assert_eq!(String::from_utf8_lossy(&said.stdout), "Received from server: Hello Client!\n");
    assert_eq!((said.stderr.as_str(), said.code), ("", 0));
    assert_eq!(classic.exit_code(), 0);
    classic.stdout.find("Received from client: Hello Server!");
}

#[test]
fn socat_is_served_and_called() {
    if is_without("socat") {
        return;
    }
    let folder = Folder::new();
    let (path, mine) = (folder.path("x"), folder.path("mine"));
    let server = server(&path, "--log-level debug --protocol echo");
    let all: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    let mut socat = Command::new("socat");
    let to = format!("UNIX-CONNECT:{},bind={}", path.display(), mine.display());
    // It gives the rest of the answer so long to come.
    let said = run(socat.args(["-t", "30", "-", &to]), &all);
    assert!(said.code == 0 && said.stdout == all, "{} {}", said.code, said.stderr);
    server.log().find(&format!("is up, with unix:{}", mine.display()));
    server.stop();
    let mut socat = Command::new("socat");
    let at = format!("UNIX-LISTEN:{}", path.display());
    let mut socat = Running::new(socat.args([&at, "EXEC:cat"]));
    until("it listens", || path.exists().then_some(()));
    let mut send = Command::new(BINARY);
    let said = run(send.args(["send", "--raw", "--to", &address(&path)]), &all);
    assert!(said.code == 0 && said.stdout == all, "{} {}", said.code, said.stderr);
    assert_eq!(socat.exit_code(), 0);
}

#[test]
fn what_cannot_be_reached_is_said() {
    let folder = Folder::new();
    let path = folder.path("x");
    let says = |more: &[&str]| {
        let said = charkh(&[&["send", "--to", &address(&path)], more].concat());
        assert_eq!(said.code, 1);
        said.stderr
    };
    let cannot = format!("charkh: cannot connect to {}: ", address(&path));
    assert_eq!(
        says(&["hello"]),
        format!("{cannot}there is no such socket (is the server running?)\n")
    );
    let server = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    server.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    assert_eq!(says(&["hello"]), format!("{cannot}connection refused (is the server running?)\n"));
    // Nobody is accepted, and one place is not enough.
    server.listen(0).unwrap();
    let _first = connect(&path);
    assert_eq!(
        says(&["hello", "--connect-timeout", "50ms"]),
        format!("{cannot}no answer for 50ms\n")
    );
    drop(server);
    fs::remove_file(&path).unwrap();
    let _silent = UnixListener::bind(&path).unwrap();
    assert_eq!(
        says(&["hello", "--timeout", "50ms"]),
        format!("charkh: {} was silent for 50ms (--timeout)\n", address(&path))
    );
}

fn load(to: &str, options: &str) -> Loaded {
    let json = fresh("json");
    let mut command = Command::new(BINARY);
    command.args(["load", to, "--json"]).arg(&json).args(options.split_whitespace());
    Loaded::of(run(&mut command, b""), &json)
}

#[test]
fn a_load_needs_no_ports_and_checks_every_byte() {
    let folder = Folder::new();
    let path = folder.path("x");
    let server = server(&path, "--protocol echo");
    let to = address(&path);
    for options in
        ["-c 20 -n 2000 --size 5000", "-c 8 -n 800 --depth 16 --reset", "-c 5 --hold -d 50ms"]
    {
        let loaded = load(&to, options);
        loaded.assert_well();
        assert_eq!(loaded.json["target"], *to);
        let text = String::from_utf8_lossy(&loaded.said.stdout);
        assert!(text.contains("walls: descriptors ") && !text.contains("ports"), "{text}");
        assert!(!text.contains(" from 1 address"), "{text}");
    }
    let said = charkh(&["load", &to, "--source", "127.0.0.1"]);
    let why = "charkh: --source: nobody comes to a unix socket from an address\n";
    assert_eq!((said.code, &*said.stderr), (1, why));
    server.stop();
    let said = charkh(&["load", &to, "-d", "1s"]);
    let why = format!(
        "charkh: cannot connect to {to}: there is no such socket (is the server running?)\n"
    );
    assert_eq!((said.code, said.stderr), (2, why));
}

/// A server that stands still, and holds fewer than come: they are refused, and say why.
#[test]
fn a_load_says_when_the_backlog_is_full() {
    let folder = Folder::new();
    let path = folder.path("x");
    let server = server(&path, "--protocol echo --backlog 4 --max-connections 2");
    let loaded = load(&address(&path), "-c 20 --hold -d 300ms --timeout 1s");
    let text = String::from_utf8_lossy(&loaded.said.stdout);
    assert!(text.contains("the server's backlog is full"), "{text}");
    server.stop();
}

#[test]
fn the_trace_and_the_log_call_them_by_their_names() {
    let folder = Folder::new();
    let (path, trace) = (folder.path("x"), folder.path("trace.json"));
    let server =
        server(&path, &format!("--protocol echo --slow-turn 1us --trace {}", trace.display()));
    let mut client = connect(&path);
    // There is such a line a second, of one turn: sooner or later of one that served it.
    let served =
        || server.log().so_far().iter().any(|line| line.contains("for connection #0.1 with unix"));
    while !served() {
        echo(&mut client, b"hello");
    }
    drop(client);
    server.stop();
    let trace = fs::read_to_string(&trace).unwrap();
    serde_json::from_str::<serde_json::Value>(&trace).unwrap();
}

#[test]
fn case_064_five_thousand_at_once_cost_no_more_than_others() {
    const CONNECTIONS: usize = 5000;
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap() as usize;
    let connections = CONNECTIONS.min(descriptors.saturating_sub(3000));
    let folder = Folder::new();
    let path = folder.path("x");
    let server = server(&path, "--protocol echo --max-per-ip 1");
    let baseline = server.baseline();
    let mut clients: Vec<UnixStream> = Vec::new();
    let mut before = 0;
    for n in 0..connections {
        clients.push(connect(&path));
        echo(&mut clients[n], b"hello");
        if n == connections / 10 {
            before = server.running.memory();
        }
    }
    let grown = server.running.memory().saturating_sub(before) as f64;
    let each = grown / (connections - connections / 10) as f64;
    println!("{each:.1} bytes of memory for each idle connection");
    let most = if cfg!(debug_assertions) { 200.0 } else { 80.0 };
    assert!(each <= most || !crate::support::memory_is_its_own(), "{each:.1} bytes for each");
    assert_eq!(server.running.descriptors(), baseline + connections);
    server.running.assert_sleeps();
    clients.iter_mut().for_each(|client| client.write_all(b"all at once").unwrap());
    for client in &mut clients {
        let mut heard = [0; 11];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"all at once");
    }
    drop(clients);
    server.assert_baseline(baseline);
    server.stop();
}
