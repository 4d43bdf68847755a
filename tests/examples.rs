//! The examples, on real sockets of this machine.
#![allow(clippy::unwrap_used)]
use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use charkh::{Config, Handle, Hub, Protocol, Reactor, Stats, net::SocketOptions};
use socket2::{Domain, SockRef, Socket, Type};

#[path = "../examples/chat.rs"]
#[allow(dead_code, unreachable_pub)]
mod chat;
#[path = "../examples/echo.rs"]
#[allow(dead_code, unreachable_pub)]
mod echo;
#[cfg(feature = "cli")]
#[path = "../examples/greet.rs"]
#[allow(dead_code, unreachable_pub)]
mod greet;
#[path = "../examples/idle.rs"]
#[allow(dead_code, unreachable_pub)]
mod idle;
#[path = "../examples/kv.rs"]
#[allow(dead_code, unreachable_pub)]
mod kv;
#[path = "../examples/offload.rs"]
#[allow(dead_code, unreachable_pub)]
mod offload;
#[path = "../examples/proxy.rs"]
#[allow(dead_code, unreachable_pub)]
mod proxy;
#[path = "../examples/relay.rs"]
#[allow(dead_code, unreachable_pub)]
mod relay;

use echo::Echo;
use kv::Kv;
use offload::Offload;
use proxy::Proxy;

/// After that a test has failed. Nothing that works takes a part of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A reactor on a thread of its own.
struct Server<P: Protocol> {
    addr: SocketAddr,
    handle: Handle<P>,
    thread: JoinHandle<P>,
    /// Cut off when the thread ends.
    alive: Receiver<()>,
}

impl<P: Protocol + Send + 'static> Server<P> {
    fn of(protocol: P) -> Self {
        Self::with(move || Reactor::new(protocol))
    }

    fn with(make: impl FnOnce() -> io::Result<Reactor<P>> + Send + 'static) -> Self {
        let (tell, told) = mpsc::channel();
        let (living, alive) = mpsc::channel();
        let thread = thread::spawn(move || {
            let _living = living;
            let mut reactor = make().unwrap();
            let addr = reactor.listen("127.0.0.1:0").unwrap().addr.socket_addr().unwrap();
            tell.send((addr, reactor.handle())).unwrap();
            reactor.run().unwrap()
        });
        let (addr, handle) = told.recv().unwrap();
        Self { addr, handle, thread, alive }
    }

    fn client(&self) -> TcpStream {
        connect(self.addr)
    }

    fn ask<T: Send + 'static>(&self, ask: impl FnOnce(&mut Hub) -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.handle.run(move |_, hub| tell.send(ask(hub)).unwrap()).unwrap();
        told.recv_timeout(PATIENCE).expect("the loop does not turn")
    }

    /// A few turns, so that what has come is looked at.
    fn turn(&self) {
        (0..3).for_each(|_| self.ask(|_| ()));
    }

    fn wait_until(&self, what: &str, holds: impl Fn(&mut Hub) -> bool + Send + Copy + 'static) {
        let end = Instant::now() + PATIENCE;
        while !self.ask(holds) {
            assert!(Instant::now() < end, "never happened: {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Everybody leaves by themselves, and the server ends in good order.
    fn end(self) -> P {
        self.wait_until("all connections are released", |hub| hub.is_empty());
        self.handle.stop().unwrap();
        self.join()
    }

    fn join(self) -> P {
        let end = self.alive.recv_timeout(PATIENCE);
        assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected), "the server does not end");
        self.thread.join().unwrap()
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(addr).unwrap())
}

/// What somebody hears who says this and then nothing more.
fn hears(addr: SocketAddr, says: &str) -> String {
    let mut client = connect(addr);
    client.write_all(says.as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    read_text(&mut client)
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn read_text(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn hear(stream: &mut TcpStream, wanted: &str) {
    assert_eq!(String::from_utf8_lossy(&read_exactly(stream, wanted.len())), wanted);
}

fn read_exactly(stream: &mut TcpStream, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn read_to_end(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}

/// Close, and let the other side know that it was no good end.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// The port is taken, and refuses.
fn bound_socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket
}

/// No `assert_eq`: nobody wants to read megabytes.
fn assert_same(got: &[u8], sent: &[u8]) {
    let differs = got.iter().zip(sent).position(|(a, b)| a != b);
    assert_eq!((got.len(), differs), (sent.len(), None));
}

fn pattern(size: usize, salt: u32) -> Vec<u8> {
    let mut x = salt;
    (0..size)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect()
}

mod for_kv {
    use super::*;

    const SCRIPT: &str = "SET a deep blue\r\nSET b \nGET a\nGET b\nGET c\nDEL a\nDEL a\nGET a\n\
                          COUNT\nQUIT\nGET b\n";
    const ANSWERS: &str =
        "+ok\n+ok\n+deep blue\n+\n-none\n+ok\n-none\n-none\n+1 keys, 9 commands\n+bye\n";

    #[test]
    fn case_017_one_byte_at_a_time_or_all_at_once_is_the_same() {
        let server = Server::of(Kv::default());
        let mut client = server.client();
        for (sent, byte) in (1..).zip(SCRIPT.bytes()) {
            client.write_all(&[byte]).unwrap();
            server.wait_until("the byte is read", move |hub| hub.stats().bytes_in == sent);
        }
        assert_eq!(read_text(&mut client), ANSWERS);
        assert_eq!(hears(server.addr, SCRIPT), ANSWERS);
        drop(client);
        server.end();
    }

    #[test]
    fn case_018_ten_thousand_commands_in_one_go_are_answered_in_order() {
        let server = Server::of(Kv::default());
        let (mut says, mut wants) = (String::new(), String::new());
        for i in 0..10_000 {
            says += &format!("SET key {i}\nGET key\n");
            wants += &format!("+ok\n+{i}\n");
        }
        assert_same(hears(server.addr, &says).as_bytes(), wants.as_bytes());
        server.end();
    }

    #[test]
    fn the_map_is_everybodys_and_the_count_is_ones_own() {
        let server = Server::of(Kv::default());
        assert_eq!(hears(server.addr, "SET a 1\nCOUNT\n"), "+ok\n+1 keys, 2 commands\n");
        assert_eq!(hears(server.addr, "GET a\nDEL a\nCOUNT\n"), "+1\n+ok\n+0 keys, 3 commands\n");
        server.end();
    }

    #[test]
    fn case_046_whoever_is_refused_can_read_why_though_it_goes_on_talking() {
        let server = Server::of(Kv::default());
        for (bad, why) in [
            ("HELLO?\n".into(), "-what? SET key value, GET key, DEL key, COUNT or QUIT\n"),
            ("\n".into(), "-what? SET key value, GET key, DEL key, COUNT or QUIT\n"),
            ("x".repeat(1025), "-a frame of more than 1024 bytes\n"),
        ] {
            let more = "GET b\n".repeat(100_000);
            let said = hears(server.addr, &format!("GET a\n{bad}{more}"));
            assert_eq!(said, format!("-none\n{why}"));
        }
        server.end();
    }

    #[test]
    fn case_026_half_a_command_is_none() {
        let server = Server::of(Kv::default());
        assert_eq!(hears(server.addr, "SET a 1"), "");
        assert_eq!(hears(server.addr, "GET a\n"), "-none\n");
        server.end();
    }
}

mod for_proxy {
    use super::*;

    /// A proxy, and where its upstream connections come out.
    struct World {
        proxy: Server<Proxy>,
        upstream: TcpListener,
    }

    impl World {
        fn new(config: Config) -> Self {
            let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = upstream.local_addr().unwrap();
            Self { proxy: proxy_to(addr, config), upstream }
        }

        fn pair(&self) -> (TcpStream, TcpStream) {
            (self.proxy.client(), self.accept())
        }

        fn accept(&self) -> TcpStream {
            let end = Instant::now() + PATIENCE;
            self.upstream.set_nonblocking(true).unwrap();
            loop {
                match self.upstream.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        return patient(stream);
                    }
                    Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
                }
                assert!(Instant::now() < end, "the proxy does not come");
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn proxy_to(upstream: SocketAddr, config: Config) -> Server<Proxy> {
        Server::with(move || Reactor::with_config(Proxy::new(upstream), config))
    }

    /// The kernel shall not hide what the proxy does.
    fn small_buffers() -> Config {
        let size = Some(32 << 10);
        let sockets =
            SocketOptions { recv_buffer: size, send_buffer: size, ..SocketOptions::default() };
        Config { sockets, ..Config::default() }
    }

    /// A client that the kernel takes little for.
    fn slow_client(addr: SocketAddr) -> TcpStream {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(32 << 10).unwrap();
        socket.set_send_buffer_size(32 << 10).unwrap();
        socket.connect(&addr.into()).unwrap();
        patient(socket.into())
    }

    /// Until nothing has moved for a while. On a slow machine that may be too early, and the test
    /// that waits for it sees less.
    fn until_still(proxy: &Server<Proxy>, check: impl Fn(&Stats)) -> Stats {
        let (mut before, mut still) = (proxy.ask(|hub| hub.stats()), 0);
        while still < 50 {
            thread::sleep(Duration::from_millis(1));
            let now = proxy.ask(|hub| hub.stats());
            check(&now);
            still = if now.bytes_in == before.bytes_in { still + 1 } else { 0 };
            before = now;
        }
        before
    }

    fn say_all(mut stream: &TcpStream, bytes: &[u8]) {
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }

    #[test]
    fn five_megabytes_both_ways_at_once() {
        let world = World::new(Config::default());
        let (mut client, mut upstream) = world.pair();
        let (up, down) = (pattern(5 << 20, 1), pattern(5 << 20, 2));
        let (from, to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| say_all(&from, &up));
            scope.spawn(|| say_all(&to, &down));
            scope.spawn(|| assert_same(&read_to_end(&mut upstream).unwrap(), &up));
            assert_same(&read_to_end(&mut client).unwrap(), &down);
        });
        world.proxy.end();
    }

    #[test]
    fn case_025_a_client_that_has_finished_still_hears_all() {
        let world = World::new(Config::default());
        let (mut client, mut upstream) = world.pair();
        let (question, answer) = (pattern(100_000, 3), pattern(3 << 20, 4));
        say_all(&client, &question);
        assert_same(&read_to_end(&mut upstream).unwrap(), &question);
        thread::scope(|scope| {
            scope.spawn(|| say_all(&upstream, &answer));
            assert_same(&read_to_end(&mut client).unwrap(), &answer);
        });
        world.proxy.end();
    }

    #[test]
    fn an_upstream_that_has_finished_still_hears_all() {
        let world = World::new(Config::default());
        let (mut client, mut upstream) = world.pair();
        say_all(&upstream, b"go ahead");
        assert_eq!(read_to_end(&mut client).unwrap(), b"go ahead");
        let story = pattern(3 << 20, 5);
        thread::scope(|scope| {
            scope.spawn(|| say_all(&client, &story));
            assert_same(&read_to_end(&mut upstream).unwrap(), &story);
        });
        world.proxy.end();
    }

    #[test]
    fn an_upstream_that_is_not_there_closes_the_client() {
        // Bound and not listening: the port is taken, and refuses.
        let nobody = bound_socket();
        let addr = nobody.local_addr().unwrap().as_socket().unwrap();
        let proxy = proxy_to(addr, Config::default());
        for _ in 0..20 {
            let mut client = proxy.client();
            client.write_all(b"anybody?").unwrap();
            assert_eq!(read_to_end(&mut client).unwrap(), b"");
        }
        assert_eq!(proxy.ask(|hub| hub.stats().connect_failed), 20);
        assert!(format!("{:?}", proxy.end()).contains("dialing: {}"));
    }

    #[test]
    fn case_028_a_reset_is_passed_on_as_a_reset() {
        let world = World::new(Config::default());
        for client_resets in [true, false] {
            let (mut client, mut upstream) = world.pair();
            client.write_all(&pattern(10_000, 6)).unwrap();
            upstream.write_all(&pattern(10_000, 7)).unwrap();
            read_exactly(&mut client, 10_000);
            read_exactly(&mut upstream, 10_000);
            let mut other = if client_resets {
                reset(client);
                upstream
            } else {
                reset(upstream);
                client
            };
            let end = read_to_end(&mut other).unwrap_err();
            assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
        }
        world.proxy.end();
    }

    #[test]
    fn case_034_a_client_that_is_not_read_can_still_reset() {
        let world = World::new(small_buffers());
        let client = slow_client(world.proxy.addr);
        let mut upstream = world.accept();
        client.set_nonblocking(true).unwrap();
        // Upstream takes nothing, so in the end nobody does.
        let story = pattern(5 << 20, 8);
        let (mut written, end) = (0, Instant::now() + PATIENCE);
        while world.proxy.ask(|hub| hub.stats().memory) < 64 << 10 {
            assert!(Instant::now() < end, "the proxy is never full");
            match (&client).write(&story[written..]) {
                Ok(size) => written += size,
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
            assert!(written < story.len(), "the proxy takes everything");
        }
        reset(client);
        world.proxy.wait_until("both halves are gone", |hub| hub.is_empty());
        let end = read_to_end(&mut upstream).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
        world.proxy.end();
    }

    #[test]
    fn case_123_what_was_said_in_whole_survives_a_reset_behind_it() {
        let world = World::new(small_buffers());
        let mut client = slow_client(world.proxy.addr);
        let mut upstream = world.accept();
        // More than the client's kernel takes, less than makes the proxy stop reading.
        let story = pattern(100_000, 9);
        upstream.write_all(&story).unwrap();
        world.proxy.wait_until("it is read", |hub| hub.stats().bytes_in == 100_000);
        world.proxy.turn();
        let reads = world.proxy.ask(|hub| hub.stats().reads);
        upstream.shutdown(Shutdown::Write).unwrap();
        world.proxy.wait_until("its end is read", move |hub| hub.stats().reads > reads);
        reset(upstream);
        // To whoever is not there any more: so the proxy meets the reset.
        client.write_all(b"hello?").unwrap();
        world.proxy.wait_until("upstream is released", |hub| hub.len() == 1);
        assert_same(&read_to_end(&mut client).unwrap(), &story);
        drop(client);
        world.proxy.end();
    }

    #[test]
    fn case_037_a_client_that_does_not_read_costs_a_watermark() {
        const TOTAL: usize = 5 << 20;
        let world = World::new(small_buffers());
        let mut client = slow_client(world.proxy.addr);
        let upstream = world.accept();
        let story = pattern(TOTAL, 10);
        thread::scope(|scope| {
            scope.spawn(|| say_all(&upstream, &story));
            let stats = until_still(&world.proxy, |stats| {
                // The watermark, and one read, for each of the two.
                assert!(stats.memory <= 256 << 10, "holds {} bytes", stats.memory);
            });
            assert!(stats.bytes_in < TOTAL as u64, "everything was read");
            assert_same(&read_to_end(&mut client).unwrap(), &story);
        });
        client.shutdown(Shutdown::Write).unwrap();
        world.proxy.end();
    }

    /// A listener that answers nobody: its queue is full, and the kernel drops who comes.
    #[cfg(target_os = "linux")]
    fn silent_listener() -> (TcpListener, Vec<TcpStream>) {
        let socket = bound_socket();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let addr = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
            waiting.push(stream);
        }
        (listener, waiting)
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_clients_do_before_upstream_is_there() {
        let (upstream, waiting) = silent_listener();
        let proxy = proxy_to(upstream.local_addr().unwrap(), Config::default());
        let world = World { proxy, upstream };
        let [gone, eager, silent] = [(); 3].map(|()| world.proxy.client());
        world.proxy.wait_until("three pairs", |hub| hub.len() == 6);
        reset(gone);
        world.proxy.wait_until("whoever is gone is not dialed for", |hub| hub.len() == 4);
        silent.shutdown(Shutdown::Write).unwrap();
        let story = pattern(10 << 20, 11);
        let writer = eager.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| say_all(&writer, &story));
            world.proxy.wait_until("enough is queued", |hub| hub.stats().memory >= 64 << 10);
            let memory = world.proxy.ask(|hub| hub.stats().memory);
            assert!(memory <= 256 << 10, "holds {memory} bytes");
            // Now there is room. The kernel knocks again after a second.
            SockRef::from(&world.upstream).listen(128).unwrap();
            let strangers: Vec<_> = waiting.iter().map(|s| s.local_addr().unwrap()).collect();
            let mut heard = Vec::new();
            while heard.len() < 2 {
                let mut upstream = world.accept();
                if !strangers.contains(&upstream.peer_addr().unwrap()) {
                    heard.push(read_to_end(&mut upstream).unwrap());
                    upstream.write_all(b"thanks").unwrap();
                }
            }
            heard.sort_by_key(Vec::len);
            assert_same(&heard[0], b"");
            assert_same(&heard[1], &story);
        });
        for mut client in [eager, silent] {
            assert_eq!(read_text(&mut client), "thanks");
        }
        assert!(format!("{:?}", world.proxy.end()).contains("dialing: {}"));
    }

    #[test]
    fn case_081_a_stop_does_not_cut_into_a_silence() {
        let world = World::new(Config { grace: PATIENCE, ..Config::default() });
        let (mut client, mut upstream) = world.pair();
        client.write_all(b"question").unwrap();
        hear(&mut upstream, "question");
        world.proxy.handle.stop().unwrap();
        world.proxy.turn();
        upstream.write_all(b"answer").unwrap();
        hear(&mut client, "answer");
        drop(client);
        assert_eq!(read_text(&mut upstream), "");
        drop(upstream);
        world.proxy.join();
    }

    #[test]
    fn case_084_the_end_of_the_grace_ends_a_silence() {
        let world = World::new(Config { grace: Duration::from_millis(1), ..Config::default() });
        let (mut client, mut upstream) = world.pair();
        client.write_all(b"question").unwrap();
        hear(&mut upstream, "question");
        world.proxy.handle.stop().unwrap();
        assert_eq!(read_text(&mut client), "");
        assert_eq!(read_text(&mut upstream), "");
        world.proxy.join();
    }

    /// Each of the two connections could wait for the other to be read first.
    #[test]
    fn an_echo_that_is_full_behind_a_client_that_reads_late() {
        let size = Some(256 << 10);
        let sockets =
            SocketOptions { recv_buffer: size, send_buffer: size, ..SocketOptions::default() };
        let config = Config { sockets, ..Config::default() };
        let echo = Server::with(|| Reactor::with_config(Echo, config));
        let proxy = proxy_to(echo.addr, Config::default());
        let story = pattern(16 << 20, 12);
        for _ in 0..5 {
            let mut client = proxy.client();
            let writer = client.try_clone().unwrap();
            thread::scope(|scope| {
                scope.spawn(|| say_all(&writer, &story));
                until_still(&proxy, |_| ());
                assert_same(&read_to_end(&mut client).unwrap(), &story);
            });
        }
        proxy.end();
        echo.end();
    }
}

mod for_offload {
    use super::*;
    use offload::Job;

    /// Without workers: the test does their work, when it wants to.
    fn idle_server(jobs_max: usize) -> (Server<Offload>, Receiver<Job>) {
        let (give, take) = mpsc::channel();
        let server = Server::with(move || {
            let (reactor, queue) = offload::reactor(jobs_max)?;
            give.send(queue).unwrap();
            Ok(reactor)
        });
        (server, take.recv().unwrap())
    }

    fn working_server(workers: usize, jobs_max: usize) -> Server<Offload> {
        let (server, queue) = idle_server(jobs_max);
        offload::hire(workers, queue, &server.handle);
        server
    }

    fn take(queue: &Receiver<Job>) -> Job {
        queue.recv_timeout(PATIENCE).expect("no job came")
    }

    #[test]
    fn answers_come_in_the_order_of_the_questions() {
        let server = working_server(4, 64);
        let answers =
            hears(server.addr, "fib 25\nnonsense\nfib 90\nsleep 20\nfib 1\nfib 0\nfib 10\n");
        let what = "what? fib N (to 40) or sleep MS (to 10000)\n";
        let wanted =
            format!("fib 25 = 75025\n{what}{what}slept 20 ms\nfib 1 = 1\nfib 0 = 0\nfib 10 = 55\n");
        assert_eq!(answers, wanted);
        server.end();
    }

    #[test]
    fn twenty_clients_each_get_their_own_answers() {
        let server = working_server(2, 64);
        thread::scope(|scope| {
            for n in 0..20 {
                let addr = server.addr;
                scope.spawn(move || {
                    let says: String = (0..20).map(|i| format!("fib {}\n", (n + i) % 20)).collect();
                    let heard = hears(addr, &says);
                    let asked = heard.lines().map(|line| line.split(" =").next().unwrap());
                    assert!(asked.eq(says.lines()), "{heard}");
                });
            }
        });
        server.end();
    }

    #[test]
    fn a_full_queue_says_so_and_goes_on() {
        let (server, queue) = idle_server(1);
        let (mut first, mut second) = (server.client(), server.client());
        first.write_all(b"fib 10\n").unwrap();
        server.wait_until("the question is read", |hub| hub.stats().messages == 1);
        second.write_all(b"fib 11\nfib 12\n").unwrap();
        hear(&mut second, "busy\nbusy\n");
        take(&queue).run(&server.handle).unwrap();
        hear(&mut first, "fib 10 = 55\n");
        second.write_all(b"fib 9\n").unwrap();
        take(&queue).run(&server.handle).unwrap();
        hear(&mut second, "fib 9 = 34\n");
        drop((first, second));
        server.end();
    }

    #[test]
    fn a_client_that_does_not_wait_harms_nobody() {
        let (server, queue) = idle_server(64);
        let (mut gone, mut waits) = (server.client(), server.client());
        gone.write_all(b"fib 10\n").unwrap();
        let job = take(&queue);
        reset(gone);
        server.wait_until("it is gone", |hub| hub.len() == 1);
        // Its slot is free for this one, who must not hear what the other asked.
        let mut next = server.client();
        next.write_all(b"fib 11\n").unwrap();
        let other = take(&queue);
        job.run(&server.handle).unwrap();
        other.run(&server.handle).unwrap();
        hear(&mut next, "fib 11 = 89\n");
        waits.write_all(b"fib 1\n").unwrap();
        take(&queue).run(&server.handle).unwrap();
        hear(&mut waits, "fib 1 = 1\n");
        drop((next, waits));
        server.end();
    }

    #[test]
    fn case_081_a_stop_waits_for_the_answers_that_are_out() {
        let (server, queue) = idle_server(64);
        let (mut idle, mut busy) = (server.client(), server.client());
        busy.write_all(b"fib 10\nfib 11\n").unwrap();
        let job = take(&queue);
        server.handle.stop().unwrap();
        assert_eq!(read_text(&mut idle), "");
        drop(idle);
        server.wait_until("the idle one is gone", |hub| hub.len() == 1);
        job.run(&server.handle).unwrap();
        take(&queue).run(&server.handle).unwrap();
        assert_eq!(read_text(&mut busy), "fib 10 = 55\nfib 11 = 89\n");
        drop(busy);
        server.join();
    }

    #[test]
    fn workers_go_when_the_reactor_is_gone() {
        let (server, queue) = idle_server(64);
        let mut client = server.client();
        client.write_all(b"fib 10\n").unwrap();
        let (job, handle) = (take(&queue), server.handle.clone());
        reset(client);
        server.end();
        assert!(job.run(&handle).is_err());
        let end = queue.recv_timeout(PATIENCE).unwrap_err();
        assert_eq!(end, mpsc::RecvTimeoutError::Disconnected);
    }
}

mod for_relay {
    use super::*;
    use relay::Relay;

    fn relay_of(feed: SocketAddr) -> Server<Relay> {
        Server::with(move || {
            let reactor = Reactor::new(Relay::of(feed))?;
            reactor.handle().run(Relay::connect).unwrap();
            Ok(reactor)
        })
    }

    fn hear_that_it_is_away(client: &mut TcpStream) {
        hear(client, "* the feed is away: again in ");
        while read_exactly(client, 1) != b"\n" {}
    }

    #[test]
    fn the_feed_goes_and_comes_back_and_everybody_hears_it() {
        let feed = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = relay_of(feed.local_addr().unwrap());
        let mut upstream = patient(feed.accept().unwrap().0);
        let is_up = |hub: &mut Hub| hub.stats().connected == 1;
        server.wait_until("the feed is here", is_up);
        let mut clients = [(); 3].map(|()| server.client());
        clients.iter_mut().for_each(|client| hear(client, "* the feed is here\n"));
        for _ in 0..3 {
            upstream.write_all(b"news\nhalf a li").unwrap();
            clients.iter_mut().for_each(|client| hear(client, "news\n"));
            clients[0].write_all(b"what?\n").unwrap();
            hear(&mut upstream, "what?\n");
            drop(upstream);
            clients.iter_mut().for_each(hear_that_it_is_away);
            upstream = patient(feed.accept().unwrap().0);
            // Half a line of the one before is nobody's.
            clients.iter_mut().for_each(|client| hear(client, "* the feed is here\n"));
        }
        drop((clients, upstream));
        server.handle.stop().unwrap();
        server.join();
    }

    #[test]
    fn without_a_feed_it_serves_and_stops_at_once() {
        let nobody = bound_socket();
        let server = relay_of(nobody.local_addr().unwrap().as_socket().unwrap());
        server.wait_until("it has been refused", |hub| hub.stats().connect_failed >= 2);
        let mut client = server.client();
        client.write_all(b"is anybody there?\n").unwrap();
        hear(&mut client, "* the feed is away\n");
        drop(client);
        // It waits for its time to dial, and nobody waits for that.
        server.wait_until("the client is gone", |hub| hub.len() == 1);
        server.handle.stop().unwrap();
        server.join();
    }
}

mod for_the_others {
    use super::*;

    #[test]
    fn echo_says_it_back() {
        let server = Server::of(Echo);
        let (mut client, story) = (server.client(), pattern(5 << 20, 13));
        let writer = client.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                (&writer).write_all(&story).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            assert_same(&read_to_end(&mut client).unwrap(), &story);
        });
        server.end();
    }

    #[test]
    #[cfg(feature = "cli")]
    fn greet_answers_all_of_them_at_once() {
        let server = Server::of(greet::Greet::default());
        let mut clients = [(); 10].map(|()| server.client());
        for client in clients.iter_mut().rev() {
            client.write_all(b"Hello Server!").unwrap();
            assert_eq!(read_exactly(client, 13), b"Hello Client!");
        }
        drop(clients);
        server.end();
    }

    #[test]
    fn chat_tells_everyone_else() {
        let server = Server::of(chat::Chat::default());
        let mut ann = server.client();
        hear(&mut ann, "* you are guest-1; /nick NAME, /who, /quit\n");
        let mut bob = server.client();
        hear(&mut bob, "* you are guest-2; /nick NAME, /who, /quit\n");
        hear(&mut ann, "* guest-2 joined\n");
        ann.write_all(b"/nick ann\n").unwrap();
        hear(&mut ann, "* you are ann\n");
        hear(&mut bob, "* guest-1 is now ann\n");
        bob.write_all(b"hello\n").unwrap();
        hear(&mut ann, "guest-2: hello\n");
        ann.write_all(b"/quit\n").unwrap();
        assert_eq!(read_text(&mut ann), "* goodbye\n");
        drop(ann);
        hear(&mut bob, "* ann left\n");
        drop(bob);
        server.end();
    }

    #[test]
    fn idle_counts_who_comes() {
        let count = 500.min(idle::descriptors().unwrap() as usize / 4);
        let mut clients = None;
        let (memory, cpu) = idle::serve(count, |addrs| {
            let addrs = addrs.to_vec();
            clients = Some(thread::spawn(move || idle::call(count, &addrs)));
            Ok(())
        })
        .unwrap();
        clients.unwrap().join().unwrap().unwrap();
        assert_eq!((memory.is_some(), cpu.is_some()), [cfg!(target_os = "linux"); 2].into());
    }

    #[test]
    fn idle_does_not_wait_for_those_who_left() {
        let leave = |addrs: &[SocketAddr]| connect(addrs[0]).write_all(b"hello\n");
        let error = idle::serve(2, leave).unwrap_err();
        assert_eq!(error.to_string(), "only 1 of 2 clients came");
    }
}
