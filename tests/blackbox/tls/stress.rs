//! Clients that are rude, or very many; and ends that lose nothing.
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use charkh::{client::Client, tls::Trust};

use super::{
    ByHand, Files, TIMEOUTS, a_line_later, check_echo, client, dial, echo, failures, serve,
};
use crate::{
    load,
    support::{Pattern, Running, connect, ends_well, memory_is_its_own, until},
};

/// What comes until there is an end of any kind.
fn all_that_comes(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(e) if e.kind() == ErrorKind::WouldBlock => panic!("it did not end: {all:?}"),
        _ => all,
    }
}

/// A fatal alert, and nothing else; or nothing, if a reset has overtaken it.
fn is_an_alert(bytes: &[u8]) -> bool {
    bytes.is_empty() || matches!(bytes, [21, 3, _, 0, 2, 2, _])
}

#[test]
fn case_089_what_is_no_tls_is_refused_and_told_once_a_second() {
    let (server, addr) = serve("--protocol echo --tls-self-signed");
    for _ in 0..50 {
        let mut stream = connect(addr);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(is_an_alert(&all_that_comes(&mut stream)));
    }
    a_line_later();
    let mut stream = connect(addr);
    stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    assert!(is_an_alert(&all_that_comes(&mut stream)));
    server.log().find("more like it)");
    server.check_echo();
    let log = server.stop();
    let failures = failures(&log);
    assert!(failures.iter().all(|why| why.starts_with("what came is not TLS")), "{failures:?}");
    assert!(failures.len() < 10, "{failures:?}");
}

#[test]
fn case_095_hellos_of_the_last_century_are_refused() {
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    // SSL 2, and SSL 3 with two ciphers.
    let ssl2 = [&[0x80, 0x1f, 1, 0, 2, 0, 6, 0, 0, 0, 16][..], &[1, 0, 0x80, 2, 0, 0x80], &[7; 16]]
        .concat();
    let hello = [&[3, 0][..], &[7; 32], &[0, 0, 4, 0, 5, 0, 10, 1, 0]].concat();
    let size = u8::try_from(hello.len()).unwrap();
    let ssl3 = [&[22, 3, 0, 0, size + 4, 1, 0, 0, size][..], &hello].concat();
    for bytes in [ssl2, ssl3] {
        let mut stream = connect(addr);
        stream.write_all(&bytes).unwrap();
        assert!(is_an_alert(&all_that_comes(&mut stream)));
    }
    check_echo(&files, addr);
    server.stop();
}

#[test]
fn case_091_whatever_comes_meanwhile_a_handshake_has_an_end() {
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo --handshake-timeout 300ms");
    let (mut slow, hello) = ByHand::new(&files.client(), addr);
    for byte in hello.iter().cycle() {
        // A byte at a time, as long as anybody listens; in good time it would be a whole one.
        if slow.stream.write_all(&[*byte]).is_err() {
            break;
        }
        slow.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        match slow.stream.read(&mut [0; 100]) {
            Ok(0) => break,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
            Ok(_) => panic!("it answered"),
        }
    }
    server.log().find(": it was not over in time");
    check_echo(&files, addr);
    server.stop();
}

#[test]
fn case_092_a_goodbye_in_the_midst_of_a_handshake_is_one() {
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo --handshake-timeout off");
    let close_notify = [21, 3, 3, 0, 2, 1, 0];
    // In the place of a hello it is nothing yet, and only the end of the stream is an end.
    for (hello_first, fin) in [(true, true), (true, false), (false, true)] {
        let (mut rude, hello) = ByHand::new(&files.client(), addr);
        if hello_first {
            rude.write(&hello);
        }
        rude.write(&close_notify);
        if fin {
            rude.stream.shutdown(Shutdown::Write).unwrap();
        }
        all_that_comes(&mut rude.stream);
    }
    server.running.assert_rests();
    check_echo(&files, addr);
    server.stop();
}

#[test]
fn case_093_ten_thousand_half_open_handshakes_cost_little() {
    const MANY: usize = 10_000;
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo --handshake-timeout off");
    let mut established = dial(&files.client(), addr);
    echo(&mut established, b"I was here before");
    // They wait for an answer to half of a hello; in a process, for its descriptors.
    let (_silent, hello) = ByHand::new(&files.client(), addr);
    let half = files.write("half", &hello[..hello.len() / 2]);
    let mut there = server.running.descriptors();
    let mut open = |count: usize| {
        there += count;
        let options = format!("-c {count} --message-file {half} --reply size:1 --timeout 1h -d 1h");
        let load = Running::new(&mut load::command(addr, &options, &load::fresh("json")));
        until("all are there", || (server.running.descriptors() >= there).then_some(()));
        server.running.until_asleep();
        (load, server.running.memory())
    };
    // As much memory as a few take is not theirs.
    let (few, before) = open(100);
    let (many, after) = open(MANY);
    let each = after.saturating_sub(before) / MANY;
    println!("{each} bytes for each handshake that is half open");
    assert!(each < 6 << 10 || !memory_is_its_own(), "{each} bytes for each");
    server.running.assert_sleeps();
    echo(&mut established, b"I am still here");
    check_echo(&files, addr);
    drop((few, many));
    server.stop();
}

#[test]
fn case_094_a_flood_of_handshakes_stops_nobody() {
    let files = Files::new();
    let options = "--protocol echo --handshakes-per-turn 1 --stats 1h";
    let (server, addr) = files.serve(options);
    let mut established = dial(&files.client(), addr);
    let json = load::fresh("json");
    let ca = files.path("ca.pem");
    let options = format!("--tls --ca {ca} -c 60 -n 1500 --per-connection 1 --quiet");
    let mut flood = Running::new(&mut load::command(addr, &options, &json));
    let mut rounds = 0;
    while flood.is_running() {
        echo(&mut established, b"and in between");
        rounds += 1;
    }
    load::Loaded::ended(flood, &json).assert_well();
    assert!(rounds > 10, "{rounds}");
    drop(established);
    let (stdout, log) = server.stop_and_tell();
    assert_eq!(failures(&log), [""; 0]);
    let last = stdout.last().unwrap();
    assert!(last.contains(" handshake_budget "), "{last}");
}

#[test]
fn case_098_records_of_one_byte_are_records() {
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    let mut client = dial(&files.client(), addr);
    for message in Pattern::bytes(3, 20_000).chunks(1000) {
        message.iter().for_each(|byte| client.send_all(&[*byte]).unwrap());
        let mut back = vec![0; message.len()];
        client.read_exact(&mut back).unwrap();
        assert_eq!(back, message);
    }
    // One that is longer than any may be.
    let (mut long, hello) = ByHand::new(&files.client(), addr);
    long.write(&hello);
    let answer = long.read();
    long.take(answer);
    long.echo(b"hello");
    long.write(&[23, 3, 3, 0x48, 1]);
    all_that_comes(&mut long.stream);
    echo(&mut client, b"that was somebody else");
    drop((client, long));
    server.stop();
}

#[test]
fn case_100_after_our_goodbye_everything_still_comes() {
    let files = Files::new();
    let (server, addr) = files.serve("--protocol echo");
    let everything = Pattern::bytes(5, 3_000_000);
    let mut back = Vec::new();
    let exchange = dial(&files.client(), addr)
        .exchange(std::io::Cursor::new(everything.clone()), |piece| back.write_all(piece));
    exchange.unwrap();
    assert!(back == everything);
    // All of it waits for a reader who has said goodbye.
    let mut client = dial(&files.client(), addr);
    client.send_all(&everything[..100_000]).unwrap();
    client.finish().unwrap();
    server.running.until_asleep();
    assert!(client.read_to_end(200_000).unwrap() == everything[..100_000]);
    server.stop();
}

/// Ask and hear until the server says goodbye; tell how many were answered.
fn keep_asking(mut client: Client, salt: usize) -> usize {
    for n in 0.. {
        let request = format!("{salt:4} {n:8}\n");
        // The server may have ended its half; it still lets us talk.
        client.send_all(request.as_bytes()).unwrap();
        let mut answer = [0; 14];
        // An end in the place of an answer is clear. One within it, or without a goodbye, is not.
        if client.receive(&mut answer[..1]).unwrap() == 0 {
            client.finish().unwrap();
            return n;
        }
        client.read_exact(&mut answer[1..]).unwrap();
        assert_eq!(answer, request.as_bytes());
    }
    unreachable!()
}

#[test]
fn case_081_a_stop_under_load_is_a_goodbye_to_everyone() {
    let files = Files::new();
    for round in 0..5 {
        let (mut server, addr) = files.serve("--protocol echo --grace 1h --linger 1h");
        let one = files.client();
        let asking: Vec<_> = (0..8)
            .map(|salt| {
                let client = dial(&one, addr);
                thread::spawn(move || keep_asking(client, salt))
            })
            .collect();
        // Others come meanwhile; from some moment on they are refused.
        let coming = thread::spawn(move || until_refused(&one, addr));
        for _ in 0..round * 10 {
            server.check_echo();
        }
        server.running.signal("TERM");
        let answered: usize = asking.into_iter().map(|thread| thread.join().unwrap()).sum();
        coming.join().unwrap();
        server.ended(0);
        println!("round {round}: {answered} answers");
    }
}

fn until_refused(client: &charkh::tls::Client, addr: SocketAddr) {
    while let Ok(stream) = TcpStream::connect(addr) {
        drop(stream); // so that the loop ends with the listener, and not in a handshake
        let layer = client.layer("localhost").unwrap();
        let Ok(mut client) = Client::connect_through(addr, layer, &TIMEOUTS) else { continue };
        let asked = client.send_all(b"x").and_then(|()| client.receive(&mut [0]));
        match asked {
            Ok(0 | 1) => {}
            // It came after the last look at the queue.
            Err(e) if crate::support::is_reset(&e) => {}
            other => panic!("{other:?} in the place of an answer"),
        }
    }
}

#[test]
fn case_084_a_handshake_does_not_hold_up_the_end() {
    let files = Files::new();
    let options = "--protocol echo --handshake-timeout off --grace 300ms";
    let (mut server, addr) = files.serve(options);
    let (mut half, hello) = ByHand::new(&files.client(), addr);
    half.write(&hello[..hello.len() / 2]);
    let mut silent = connect(addr);
    check_echo(&files, addr);
    server.running.signal("TERM");
    server.ended(0);
    ends_well(&mut silent);
    ends_well(&mut half.stream);
}

#[test]
fn greet_serves_both_kinds_of_clients_at_once() {
    let (server, addr) = serve("--protocol greet --tls-self-signed");
    let mut secured = dial(&client(Trust::AcceptAnyone), addr);
    let mut plain = server.connect();
    for _ in 0..3 {
        secured.send_all(b"Hello Server!").unwrap();
        let mut answer = [0; 13];
        secured.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"Hello Client!");
        plain.write_all(b"Hello Server!").unwrap();
        assert_eq!(crate::support::read(&mut plain, 13), b"Hello Client!");
    }
    drop((secured, plain));
    server.stop();
}
