//! `charkh load` against servers that misbehave, and against what is done to it: each fault has
//! its name and its number, nothing hangs, and the results are there.
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::{
    load::{Each, Loaded, Then, command, fresh, load, running},
    support::{BINARY, Running, Server, nobody, reset, run, until},
};

/// Nothing may depend on this running out; if it did, a test would.
const FOR_EVER: &str = "--timeout 1h";

type Serve = Box<dyn Fn(TcpStream) + Send + Sync>;

/// At an address of its own: when it is dead, no server of another test takes its port.
#[cfg(target_os = "linux")]
fn alone() -> Server {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let own = std::process::id() % 256;
    let nth = COUNT.fetch_add(1, Ordering::Relaxed);
    Server::at(&format!("127.77.{own}.{}:0", nth + 1), "--protocol echo")
}

fn one(kind: &str, count: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([(kind.into(), count)])
}

#[test]
fn a_wrong_byte_is_told_with_its_offset_and_the_next_connection_starts_anew() {
    let server = Each::new(|mut stream| {
        let mut at = 0;
        let mut piece = [0; 64];
        while let Ok(size @ 1..) = stream.read(&mut piece) {
            // The hundred and first byte of a connection is one bit off.
            if let Some(wrong) = piece[..size].get_mut(100_usize.wrapping_sub(at)) {
                *wrong ^= 1;
            }
            at += size;
            if stream.write_all(&piece[..size]).is_err() {
                break;
            }
        }
    });
    let loaded = load(server.addr, "-c 1 -n 4 --size 64");
    loaded.assert_failed();
    assert_eq!(loaded.errors(), one("wrong byte", 2));
    assert_eq!((loaded.count("/requests"), loaded.count("/latency/count")), (2, 2));
    assert_eq!(loaded.count("/connections/opened"), 2);
    let example = loaded.example("wrong byte");
    assert!(example.starts_with("the byte at offset 36 of the reply is 0x"), "{example}");
    assert!(loaded.said.stdout().contains("errors       2 wrong byte; the first: the byte at"));
}

#[test]
fn a_reply_that_is_none_or_too_much_has_its_own_kind() {
    for (kind, reply, error) in [
        ("http", &b"SSH-2.0-OpenSSH_9.6\r\n\r\n"[..], "malformed reply"),
        ("resp", b"what?\r\n", "malformed reply"),
        ("length:4be", b"\xff\xff\xff\xffabc", "too long"),
        ("size:3", b"12345", "unasked bytes"),
    ] {
        let server = Each::answering(reply, Then::GoOn);
        let options = format!("-c 1 -n 2 --reply {kind} --message ask\\r\\n\\r\\n");
        let loaded = load(server.addr, &options);
        loaded.assert_failed();
        assert_eq!(loaded.kinds(), [error], "{kind}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_that_dies_in_the_middle_is_missed_by_every_connection_and_dialed_in_vain() {
    let mut server = alone();
    let json = fresh("json");
    let load = running(&mut command(
        server.addr,
        &format!("-c 8 --depth 2 --threads 2 -d 1500ms {FOR_EVER}"),
        &json,
    ));
    server.running.kill();
    let loaded = Loaded::ended(load, &json);
    loaded.assert_failed();
    let errors = loaded.errors();
    let count = |kind: &str| errors.get(kind).copied().unwrap_or(0);
    let lost = count("reset") + count("closed early") + count("closed") + count("cut short");
    assert_eq!(lost, 8, "{errors:?}");
    assert!(count("connect refused") > 0, "{errors:?}");
    assert_eq!(errors.values().sum::<u64>(), lost + count("connect refused"), "{errors:?}");
    assert!(loaded.count("/requests") > 0);
    assert_eq!(loaded.count("/connections/opened"), 8);
}

#[test]
#[cfg(target_os = "linux")]
fn requests_that_nobody_will_answer_are_given_up_when_there_is_no_connection_for_long() {
    let mut server = alone();
    let json = fresh("json");
    let options = "-c 4 --threads 2 -n 1000000000 --timeout 400ms";
    let load = running(&mut command(server.addr, options, &json));
    server.running.kill();
    let loaded = Loaded::ended(load, &json);
    loaded.assert_failed();
    let requests = loaded.count("/requests");
    assert!(requests > 0 && requests < 1_000_000_000);
    assert!(loaded.errors().contains_key("connect refused"), "{}", loaded.told());
}

#[test]
fn a_connection_that_takes_the_place_of_another_is_as_deep() {
    let lost = AtomicU64::new(0);
    let server = Each::new(move |mut stream| {
        let mut four = [0; 4 * 64];
        if stream.read_exact(&mut four).is_err() {
            return; // who only looked
        }
        if lost.fetch_add(1, Ordering::Relaxed) == 0 {
            return;
        }
        // It answers four at a time, and has to have them for that.
        while stream.write_all(&four).and_then(|()| stream.read_exact(&mut four)).is_ok() {}
    });
    let loaded = load(server.addr, "-c 1 --depth 4 -n 44 --timeout 5s");
    assert_eq!((loaded.count("/requests"), loaded.count("/connections/opened")), (40, 2));
    let errors = loaded.errors();
    assert!(errors == one("closed early", 1) || errors == one("reset", 1), "{errors:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_that_comes_back_is_used_again() {
    let mut server = alone();
    let (addr, json) = (server.addr, fresh("json"));
    let options = format!("-c 4 -d 60s {FOR_EVER}");
    let load = running(&mut command(addr, &options, &json));
    server.running.kill();
    let again = Server::at(&addr.to_string(), "--protocol echo");
    until("all are up again", || {
        let lines = load.stdout.so_far();
        let all_up = |line: &&String| line.contains(" connections 4 ");
        lines.last().filter(all_up).filter(|line| !line.ends_with(" errors 0")).map(drop)
    });
    load.signal("INT");
    let loaded = Loaded::ended(load, &json);
    loaded.assert_failed();
    assert!(loaded.count("/connections/opened") >= 8, "{}", loaded.told());
    drop(again);
}

#[test]
fn resets_and_ends_have_their_kinds_and_nobody_is_dialed_without_pause() {
    let reads_one = |stream: &mut TcpStream| stream.read(&mut [0; 64]).is_ok_and(|size| size > 0);
    let refuses: [(&str, Serve); 3] = [
        (
            "reset",
            Box::new(move |mut stream| {
                if reads_one(&mut stream) {
                    reset(stream);
                }
            }),
        ),
        // At once, and then it waits for our end.
        (
            "closed early",
            Box::new(|mut stream| {
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            }),
        ),
        (
            "cut short",
            Box::new(move |mut stream| {
                let mut piece = [0; 64];
                if let Ok(size @ 1..) = stream.read(&mut piece) {
                    let _ = stream.write_all(&piece[..size / 2]);
                }
            }),
        ),
    ];
    let loads = refuses.map(|(kind, serve)| {
        thread::spawn(move || {
            let server = Each::new(serve);
            let (began, links) = (Instant::now(), 3);
            let options = format!("-c {links} -d 1s {FOR_EVER}");
            let loaded = load(server.addr, &options);
            let took = began.elapsed().as_secs_f64();
            loaded.assert_failed();
            // Before all are up nothing is owed, and that is another kind.
            let fits =
                |other: &String| other == kind || kind == "closed early" && other == "closed";
            assert!(loaded.kinds().iter().all(fits), "{kind}: {:?}", loaded.errors());
            let dials = loaded.count("/connections/opened");
            assert!(dials as f64 <= links as f64 * (took / 0.25 + 1.0), "{kind}: {dials}");
            assert!(dials >= 2 * links, "{kind}: it was not dialed again: {dials}");
            assert_eq!((loaded.count("/requests"), server.accepted()), (0, dials + 1));
        })
    });
    loads.into_iter().for_each(|load| load.join().unwrap());
}

#[test]
fn who_answers_too_slowly_is_given_up_when_the_timeout_is_over() {
    let server = Each::new(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let began = Instant::now();
    let loaded = load(server.addr, "-c 2 -n 4 --timeout 200ms");
    assert!(began.elapsed() >= Duration::from_millis(400));
    loaded.assert_failed();
    assert_eq!(loaded.errors(), one("timeout", 4));
    assert_eq!(loaded.example("timeout"), "no whole reply within 200ms");
    // What was never answered has waited at least as long, and is not left out.
    let latency = loaded.histogram("latency");
    assert_eq!((loaded.count("/requests"), latency.len()), (0, 4));
    assert!(latency.min() >= 198_000_000, "{}", latency.min());
}

#[test]
fn half_a_reply_does_not_put_the_timeout_off() {
    let server = Each::new(|mut stream| {
        let mut byte = [0];
        while let Ok(1) = stream.read(&mut byte) {
            // One byte of sixty-four at a time, for more than three seconds.
            thread::sleep(Duration::from_millis(50));
            if stream.write_all(&byte).is_err() {
                break;
            }
        }
    });
    let loaded = load(server.addr, "-c 2 -n 2 --timeout 200ms");
    loaded.assert_failed();
    assert_eq!(loaded.errors(), one("timeout", 2));
}

/// It listens, and its queue has room for so many more.
fn never_accepting(room: usize) -> (Socket, SocketAddr, Vec<TcpStream>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(2).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    // A backlog of two holds three.
    let clients = (room..3).map(|_| TcpStream::connect(addr).unwrap()).collect();
    (socket, addr, clients)
}

#[test]
#[cfg(target_os = "linux")]
fn who_never_accepts_is_counted_by_connects_that_timed_out() {
    let (_socket, addr, _clients) = never_accepting(2);
    let loaded = load(addr, "-c 6 -d 300ms --timeout 300ms");
    loaded.assert_failed();
    let errors = loaded.errors();
    assert!(errors.get("connect timeout").is_some_and(|&count| count >= 3), "{errors:?}");
    assert!(errors.keys().all(|kind| kind == "timeout" || kind == "connect timeout"), "{errors:?}");
    assert_eq!(loaded.example("connect timeout"), "no answer to a connect within 300ms");
    assert_eq!(loaded.count("/requests"), 0);
}

#[test]
fn who_cannot_be_reached_at_all_is_told_in_a_sentence_before_anything_is_opened() {
    let (_socket, addr) = nobody();
    let said = run(Command::new(BINARY).args(["load", &addr.to_string()]), b"");
    assert_eq!((said.code, said.stdout.len()), (2, 0), "{said:?}");
    let says = "connection refused (is the server running?)";
    assert_eq!(said.stderr, format!("charkh: cannot connect to {addr}: {says}\n"));
}

#[test]
#[cfg(target_os = "linux")]
fn whose_queue_is_full_from_the_start_is_told_too_within_the_timeout() {
    let (_socket, addr, _clients) = never_accepting(0);
    let mut command = Command::new(BINARY);
    let said = run(command.args(["load", &addr.to_string(), "--timeout", "200ms"]), b"");
    assert_eq!((said.code, said.stdout.len()), (2, 0), "{said:?}");
    assert!(said.stderr.starts_with(&format!("charkh: cannot connect to {addr}: ")), "{said:?}");
    assert!(said.stderr.contains("timed out") && said.stderr.lines().count() == 1, "{said:?}");
}

/// Frozen for this long, and a bit; `then` is done at the end of it.
fn freeze(running: &Running, time: Duration, then: impl FnOnce()) {
    running.signal("STOP");
    thread::sleep(time);
    then();
    running.signal("CONT");
}

#[test]
fn a_server_that_stood_still_has_delayed_all_that_was_planned_meanwhile() {
    let server = Server::new("--protocol echo");
    let json = fresh("json");
    // Not much, so that a busy machine keeps up with it.
    let options = format!("-c 10 --rate 200 -d 2s {FOR_EVER}");
    let load = running(&mut command(server.addr, &options, &json));
    freeze(&server.running, Duration::from_millis(400), || ());
    let loaded = Loaded::ended(load, &json);
    loaded.assert_well();
    assert_eq!(loaded.count("/requests"), 400);
    let ms = 1_000_000;
    let within =
        |name, from: u64, to: u64| loaded.histogram(name).count_between(from * ms, to * ms - 1);
    let latency = |from, to| within("latency", from, to);
    assert!(latency(380, 60_000) > 0, "{}", loaded.told());
    assert!(latency(10, 60_000) >= 60, "{}", loaded.told());
    // Spread evenly, and not one for each connection.
    let quarters = [1, 100, 200, 300].map(|from| latency(from, from / 100 * 100 + 100));
    assert!(quarters.iter().filter(|&&count| count >= 10).count() >= 3, "{quarters:?}");
    // From the sending it looks as if there had been one slow reply for each connection.
    let (service, latency) = (within("service", 200, 60_000), latency(200, 60_000));
    assert!(service < latency, "{service} {latency}");
}

/// `busy`: when it is stopped, all its connections wait for a reply.
fn stand_still(shape: &str, busy: bool) {
    let server = Server::new("--protocol echo");
    let json = fresh("json");
    // Not much: what a busy machine cannot catch up with would be the target's.
    let options = format!("{shape} --rate 100 -d 2s {FOR_EVER}");
    let load = running(&mut command(server.addr, &options, &json));
    if busy {
        freeze(&server.running, Duration::from_millis(100), || load.signal("STOP"));
    }
    freeze(&load, Duration::from_millis(400), || ());
    let loaded = Loaded::ended(load, &json);
    loaded.assert_well();
    assert_eq!(loaded.said.code, 4, "{shape} {busy}: {}", loaded.told());
    let reasons = loaded.reasons();
    assert!(reasons.contains("may be ours, the generator's: sends were up to "), "{reasons}");
    assert!(loaded.histogram("lateness").max() >= 250_000_000, "{shape} {busy}");
}

#[test]
fn a_generator_that_stood_still_says_that_it_was_its_own_fault() {
    // However few of them can be sent at once when it goes on.
    let shapes = [("-c 50", false), ("-c 2", false), ("-c 1 --depth 400", false), ("-c 2", true)];
    let stand = |(shape, busy)| thread::spawn(move || stand_still(shape, busy));
    shapes.map(stand).into_iter().for_each(|test| test.join().unwrap());
}

#[test]
fn ctrl_c_ends_it_and_the_results_are_there() {
    let server = Server::new("--protocol echo");
    for signal in ["INT", "TERM"] {
        let (json, html) = (fresh("json"), fresh("html"));
        let options = format!("-c 4 -d 60s {FOR_EVER} --html {}", html.display());
        let load = running(&mut command(server.addr, &options, &json));
        load.signal(signal);
        let loaded = Loaded::ended(load, &json);
        loaded.assert_well();
        assert!(loaded.count("/requests") > 0 && loaded.seconds("/measured_s") < 50.0);
        assert!(loaded.said.stdout().contains("\nrequests     "), "{}", loaded.told());
        assert!(std::fs::read_to_string(&html).unwrap().ends_with("</html>\n"));
    }
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_a_server_that_is_frozen() {
    let server = Server::new("--protocol echo");
    let json = fresh("json");
    let options = format!("-c 4 --threads 2 -d 1h {FOR_EVER}");
    let mut load = running(&mut command(server.addr, &options, &json));
    server.running.signal("STOP");
    load.signal("INT");
    // Four replies are owed.
    thread::sleep(Duration::from_millis(200));
    assert!(load.is_running(), "the first waits for them");
    // Two that come before anybody has looked are one.
    until("the second is heard", || {
        load.signal("INT");
        thread::sleep(Duration::from_millis(100));
        (!load.is_running()).then_some(())
    });
    let loaded = Loaded::ended(load, &json);
    loaded.assert_failed();
    assert_eq!(loaded.errors(), one("unanswered", 4));
    assert!(loaded.count("/requests") > 0);
    server.running.signal("CONT");
}

#[test]
fn ctrl_c_while_it_connects_ends_it_too() {
    let server = Each::echoing();
    let json = fresh("json");
    let load = Running::new(&mut command(server.addr, "-c 1000 --ramp 2 -d 1h", &json));
    until("two are up", || (server.accepted() > 2).then_some(()));
    load.signal("INT");
    let loaded = Loaded::ended(load, &json);
    loaded.assert_well();
    assert_eq!(loaded.count("/requests"), 0);
    assert!(loaded.count("/connections/up_max") >= 2);
}

#[test]
fn connections_are_ended_as_it_was_asked_for() {
    for (options, resets) in [("", 0), ("--reset", 3)] {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let seen = ends.clone();
        let server = Each::new(move |mut stream| {
            let well = stream.read_to_end(&mut Vec::new()).is_ok();
            seen.lock().unwrap().push(well);
        });
        load(server.addr, &format!("-c 3 --hold -d 50ms {options}")).assert_well();
        // With the one that only looked whether somebody listens.
        let ends = until("all have ended", || {
            let ends = ends.lock().unwrap().clone();
            (ends.len() == 4).then_some(ends)
        });
        assert_eq!(ends.iter().filter(|&&well| !well).count(), resets, "{options}");
    }
}
