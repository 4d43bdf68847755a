//! What the real world does that a simulated one cannot: sleeps, addresses to come from, sockets
//! that others made.

mod common;

#[cfg(all(target_os = "linux", feature = "fine-sleep"))]
mod sleep {
    use std::{fs, net::TcpStream, time::Duration};

    use charkh::net::{Event, Net, Os, SocketOptions, Token};

    const US: Duration = Duration::from_micros(1);
    const TRIES: usize = 100;

    /// How long one sleep took, and what ended it.
    fn sleep(os: &mut Os, timeout: Duration) -> (Duration, Vec<Event>) {
        let (start, mut events) = (os.now(), Vec::new());
        os.wait(Some(timeout), &mut events).unwrap();
        (os.now() - start, events)
    }

    #[test]
    fn case_078_a_fine_sleep_is_never_early_and_need_not_take_a_millisecond() {
        let mut os = Os::new().unwrap();
        for fine in [false, true, false] {
            os.sleep_finely(fine);
            let mut least = Duration::MAX;
            for timeout in [100 * US, 900 * US, 100 * US, 1300 * US].repeat(TRIES) {
                let (took, events) = sleep(&mut os, timeout);
                assert!(took >= timeout && events.is_empty(), "{timeout:?}: {took:?}, {events:?}");
                least = least.min(took);
            }
            assert_eq!(least < 1000 * US, fine, "{least:?}");
        }
    }

    #[test]
    fn a_long_sleep_is_short_of_its_time_at_first_and_then_never_early() {
        let mut os = Os::new().unwrap();
        os.sleep_finely(true);
        let (start, timeout) = (os.now(), 30_300 * US);
        let mut sleeps = 0;
        while let left = timeout.saturating_sub(os.now() - start)
            && !left.is_zero()
        {
            assert!(sleep(&mut os, left).1.is_empty());
            sleeps += 1;
        }
        assert!(sleeps <= 8, "{sleeps} sleeps");
    }

    /// The least time that a sleep took which something was to end at once.
    fn least(os: &mut Os, token: Token, mut something: impl FnMut(&mut Os)) -> Duration {
        let sleeps = (0..TRIES).map(|_| {
            something(os);
            let (took, events) = sleep(os, 7900 * US);
            assert!(events.iter().any(|event| event.token == token), "{events:?}");
            took
        });
        sleeps.min().unwrap()
    }

    #[test]
    fn what_comes_ends_a_fine_sleep() {
        let mut os = Os::new().unwrap();
        os.sleep_finely(true);
        let wake = os.waker().unwrap();
        assert!(least(&mut os, Token::Wake, |_| wake()) < 7900 * US);
        let (addr, options) = (([127, 0, 0, 1], 0).into(), SocketOptions::default());
        let (mut listener, addr) = os.listen(&addr, &options, Token::Listener(0)).unwrap();
        let least = least(&mut os, Token::Listener(0), |os| {
            while os.accept(&mut listener).is_ok() {}
            TcpStream::connect(&addr).unwrap();
        });
        assert!(least < 7900 * US, "{least:?}");
    }

    #[test]
    fn the_slack_of_the_thread_goes_and_comes_back() {
        let thread = fs::read_link("/proc/thread-self").unwrap();
        let id = thread.file_name().unwrap().to_str().unwrap();
        let slack = || fs::read_to_string(format!("/proc/{id}/timerslack_ns")).unwrap();
        let (before, mut os) = (slack(), Os::new().unwrap());
        os.sleep_finely(true);
        assert_eq!(slack(), "1\n");
        os.sleep_finely(false);
        assert_eq!(slack(), before);
    }
}

/// All of 127.0.0.0/8 is Linux' own.
#[cfg(target_os = "linux")]
mod source {
    use std::{
        io::{self, Read, Write},
        net::{IpAddr, SocketAddr, TcpListener},
    };

    use charkh::Reactor;
    #[cfg(feature = "late-ports")]
    use charkh::net::{Net, Os, SocketOptions};
    #[cfg(feature = "late-ports")]
    use nix::sys::socket::{getsockopt, sockopt::IpBindAddressNoPort};

    use super::common::{Diary, MS, Script};

    fn reactor() -> (Reactor<Script>, Diary) {
        let script = Script::default();
        let diary = script.diary.clone();
        (Reactor::new(script).unwrap(), diary)
    }

    fn turn_until(reactor: &mut Reactor<Script>, done: impl Fn(&mut Reactor<Script>) -> bool) {
        for _ in 0..1000 {
            if done(reactor) {
                return;
            }
            reactor.turn_within(10 * MS).unwrap();
        }
        panic!("it never comes");
    }

    #[test]
    fn each_connection_comes_from_its_address() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = server.local_addr().unwrap();
        let (mut reactor, _) = reactor();
        let sources: [IpAddr; 2] = ["127.0.0.2", "127.0.0.3"].map(|ip| ip.parse().unwrap());
        for source in sources.repeat(3) {
            reactor.hub().connect_from(addr, source);
        }
        turn_until(&mut reactor, |reactor| reactor.hub().stats().connected == 6);
        let mut clients: Vec<_> = (0..6).map(|_| server.accept().unwrap()).collect();
        let mut from: Vec<SocketAddr> = clients.iter().map(|(_, from)| *from).collect();
        from.sort();
        from.dedup();
        let ips: Vec<IpAddr> = from.iter().map(|from| from.ip()).collect();
        assert_eq!(ips, [[sources[0]; 3], [sources[1]; 3]].concat());
        // What is said comes back: they are connections like all others.
        let (client, _) = &mut clients[0];
        client.write_all(b"hello").unwrap();
        turn_until(&mut reactor, |reactor| reactor.hub().stats().bytes_out == 5);
        let mut echo = [0; 5];
        client.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"hello");
    }

    #[test]
    fn a_source_that_cannot_be_fails_by_itself_and_says_why() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = server.local_addr().unwrap();
        let (mut reactor, diary) = reactor();
        reactor.hub().connect_from(addr, "192.0.2.1".parse().unwrap());
        reactor.hub().connect_from(addr, "::1".parse().unwrap());
        reactor.hub().connect_from(addr, "127.0.0.2".parse().unwrap());
        turn_until(&mut reactor, |reactor| reactor.hub().stats().connected == 1);
        let failed = |code| {
            let error = io::Error::from_raw_os_error(code);
            format!("connect failed: broken: {error}")
        };
        // EADDRNOTAVAIL, EAFNOSUPPORT.
        assert_eq!(diary.lines(), [failed(99), failed(97), "open".to_owned()]);
        assert_eq!(reactor.hub().len(), 1);
    }

    #[test]
    fn a_connect_from_somewhere_that_nobody_wants_is_refused() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (mut reactor, diary) = reactor();
        reactor.hub().connect_from(gone, "127.0.0.2".parse().unwrap());
        turn_until(&mut reactor, |reactor| reactor.hub().is_empty());
        let lines = diary.lines();
        assert!(lines.len() == 1 && lines[0].contains("refused"), "{lines:?}");
    }

    #[cfg(feature = "late-ports")]
    #[test]
    fn a_port_is_chosen_as_it_connects() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, source) = (server.local_addr().unwrap(), "127.0.0.2".parse().unwrap());
        let mut os = Os::new().unwrap();
        let stream = os.connect(&addr.into(), Some(source), &SocketOptions::default()).unwrap();
        assert!(getsockopt(&stream, IpBindAddressNoPort).unwrap());
        assert_eq!(stream.local_addr().unwrap().ip(), source);
    }
}

/// Sockets that listen already.
#[cfg(unix)]
mod inherited {
    use std::{
        io::{ErrorKind, Read, Write},
        net::{SocketAddr, TcpListener, TcpStream},
        os::{
            fd::OwnedFd,
            unix::net::{UnixListener, UnixStream},
        },
    };

    use charkh::{Config, Reactor, UnixAddr, net::SocketOptions};
    use socket2::{Domain, SockRef, Socket, Type};

    use super::common::{Echo, MS};

    /// Until this client is answered.
    fn ask(reactor: &mut Reactor<Echo>, client: &mut TcpStream) {
        client.write_all(b"hello").unwrap();
        let before = reactor.hub().stats().bytes_out;
        while reactor.hub().stats().bytes_out < before + 5 {
            reactor.turn_within(10 * MS).unwrap();
        }
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
    }

    #[test]
    fn a_socket_is_taken_with_its_queue_and_set_up_as_our_own() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let mut early = TcpStream::connect(addr).unwrap();
        let sockets = SocketOptions { keepalive: Some(60_000 * MS), ..SocketOptions::default() };
        let config = Config { sockets, ..Config::default() };
        let mut reactor = Reactor::with_config(Echo, config).unwrap();
        let other = reactor.listen("127.0.0.1:0").unwrap();
        let listening = reactor.listen_on(socket.try_clone().unwrap()).unwrap();
        assert_eq!(listening.addr, addr);
        assert_ne!(listening.id, other.id);
        ask(&mut reactor, &mut early);
        let socket = SockRef::from(&socket);
        assert!(socket.nonblocking().unwrap() && socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
    }

    #[test]
    fn case_086_the_next_has_it_before_the_last_lets_go_and_nobody_is_refused() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let next = |socket: &TcpListener| {
            let config = Config { linger: 10 * MS, ..Config::default() };
            let mut reactor = Reactor::with_config(Echo, config).unwrap();
            reactor.listen_on(socket.try_clone().unwrap()).unwrap();
            reactor
        };
        let mut old = next(&socket);
        for _ in 0..3 {
            ask(&mut old, &mut TcpStream::connect(addr).unwrap());
            let mut new = next(&socket);
            // Who comes before the old one stops is let in by it.
            let mut waits = TcpStream::connect(addr).unwrap();
            old.hub().stop();
            waits.write_all(b"hello").unwrap();
            old.run().unwrap();
            ask(&mut new, &mut TcpStream::connect(addr).unwrap());
            let mut answer = [0; 5];
            waits.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"hello");
            old = new;
        }
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let mut reactor = Reactor::new(Echo).unwrap();
        let mut says = |socket: OwnedFd| {
            let e = reactor.listen_on(socket.into()).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::InvalidInput);
            e.to_string()
        };
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let stream = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        stream.bind(&any.into()).unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(says(stream.into()), "it does not listen");
        }
        let datagrams = std::net::UdpSocket::bind(any).unwrap();
        assert_eq!(says(datagrams.into()), "it is no stream of bytes");
    }

    #[test]
    fn a_unix_socket_is_taken_too_and_its_file_left_to_whoever_made_it() {
        let path = std::env::temp_dir().join(format!("charkh-os-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixListener::bind(&path).unwrap();
        let mut reactor = Reactor::new(Echo).unwrap();
        let listening = reactor.listen_on_unix(socket).unwrap();
        assert_eq!(listening.addr, charkh::Addr::from(UnixAddr::path(&path)));
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"hello").unwrap();
        while reactor.hub().stats().bytes_out < 5 {
            reactor.turn_within(10 * MS).unwrap();
        }
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
        drop(client);
        reactor.hub().stop();
        reactor.run().unwrap();
        assert!(path.exists());
        std::fs::remove_file(&path).unwrap();
    }
}

#[cfg(all(unix, feature = "signals"))]
mod signals {
    use std::{io::Read, net::TcpStream, process::Command, time::Duration};

    use charkh::{Input, Peer, Protocol, Reactor, Result};

    /// Never done, even with who has gone.
    struct Stubborn;

    impl Protocol for Stubborn {
        type Session = ();
        fn open(&mut self, _: &mut Peer) {}
        fn data(&mut self, _: &mut Peer, _: &mut (), _: &mut Input) -> Result {
            Ok(())
        }
        fn stopping(&mut self, peer: &mut Peer, _: &mut ()) -> Result {
            peer.send(b"wait");
            Ok(())
        }
    }

    fn signal(name: &str) {
        let kill = format!("kill -{name} {}", std::process::id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// The only test of this program that may use the signals: they are for the whole process.
    #[test]
    fn case_081_case_082_the_first_stops_in_good_order_and_the_second_at_once() {
        for (first, second) in [("TERM", "INT"), ("INT", "INT")] {
            let mut reactor = Reactor::new(Stubborn).unwrap();
            reactor.net().stop_at_signals().unwrap();
            let addr = reactor.listen("127.0.0.1:0").unwrap().addr.socket_addr().unwrap();
            let mut client = TcpStream::connect(addr).unwrap();
            signal(first);
            while !reactor.hub().is_stopping() {
                reactor.turn().unwrap();
            }
            let mut told = [0; 4];
            client.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            while client.read_exact(&mut told).is_err() {
                reactor.turn_within(Duration::from_millis(1)).unwrap();
            }
            assert_eq!(&told, b"wait");
            assert!(!reactor.is_done());
            signal(second);
            reactor.run().unwrap(); // or this never ends
        }
    }
}

#[cfg(target_os = "linux")]
mod retired {
    use std::{
        io::{ErrorKind, Read, Write},
        net::{SocketAddr, TcpListener, TcpStream},
        time::Duration,
    };

    use charkh::{
        Reactor,
        net::{Net, Os, SocketOptions, Token},
    };

    use super::common::Echo;

    const SOON: Duration = Duration::from_millis(200);

    #[test]
    fn case_086_who_is_queued_is_let_in_and_nobody_else() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let mut os = Os::new().unwrap();
            let (any, options) = (any.parse::<SocketAddr>().unwrap(), SocketOptions::default());
            let listening = os.listen(&any.into(), &options, Token::Listener(0));
            let Ok((mut listener, addr)) = listening else { continue }; // without IPv6
            let addr = addr.socket_addr().unwrap();
            let early = [(); 3].map(|()| TcpStream::connect(addr).unwrap());
            os.retire(&mut listener);
            let late = TcpStream::connect_timeout(&addr, SOON).unwrap_err();
            assert_eq!(late.kind(), ErrorKind::TimedOut);
            for mut client in early {
                let (mut stream, _) = os.accept(&mut listener).unwrap();
                client.write_all(b"hello").unwrap();
                let mut heard = [0; 5];
                while stream.read_exact(&mut heard).is_err() {}
                assert_eq!(&heard, b"hello");
            }
            assert_eq!(os.accept(&mut listener).unwrap_err().kind(), ErrorKind::WouldBlock);
            drop(listener);
            let refused = TcpStream::connect(addr).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        }
    }

    /// A socket that was handed over is for those who come after us, too.
    #[test]
    fn case_086_at_a_socket_of_others_everybody_is_let_in_for_ever() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut reactor = Reactor::new(Echo).unwrap();
        reactor.listen_on(socket.try_clone().unwrap()).unwrap();
        reactor.hub().stop();
        reactor.run().unwrap();
        let client = TcpStream::connect_timeout(&socket.local_addr().unwrap(), SOON).unwrap();
        assert_eq!(socket.accept().unwrap().1, client.local_addr().unwrap());
    }
}
