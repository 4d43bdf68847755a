//! Bytes in, the same bytes out, however they are cut and whoever is slow.
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    process::{Command, Stdio},
    thread::{self, JoinHandle},
};

use crate::support::{
    BINARY, Pattern, Server, connect_from, echo, read, read_line, read_to_end, scratch,
};

#[test]
fn case_017_one_byte_at_a_time_is_the_same_as_all_at_once() {
    let server = Server::new("--protocol echo");
    let mut client = server.connect();
    let all = Pattern::bytes(17, 3000);
    // Each byte in a segment of its own, and answered before the next.
    all[..1000].iter().for_each(|byte| echo(&mut client, &[*byte]));
    // And without waiting.
    all[1000..].iter().for_each(|byte| client.write_all(&[*byte]).unwrap());
    assert_eq!(read(&mut client, 2000), all[1000..]);
    drop(client);
    server.stop();
}

#[test]
fn case_017_a_line_that_comes_byte_by_byte_is_one_line() {
    let server = Server::new("--protocol chat");
    let (mut a, mut b) = (server.connect(), server.connect());
    read_line(&mut a);
    read_line(&mut b);
    let lines = ["/nick ann\r\n", "سلام\n", "a longer line, to be sure\r\n", "bye"];
    for byte in lines.concat().bytes() {
        a.write_all(&[byte]).unwrap();
    }
    a.shutdown(Shutdown::Write).unwrap();
    let mut heard = || loop {
        let line = read_line(&mut b);
        // Who came first is not told.
        if !line.ends_with(" joined") {
            return line;
        }
    };
    assert!(heard().ends_with(" is now ann"));
    assert_eq!(heard(), "ann: سلام");
    assert_eq!(heard(), "ann: a longer line, to be sure");
    assert_eq!(heard(), "ann: bye");
    assert_eq!(heard(), "* ann left");
    drop((a, b));
    server.stop();
}

#[test]
fn case_018_ten_thousand_lines_in_one_write_come_back_in_order() {
    let server = Server::new("--protocol echo");
    let lines: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
    let mut client = server.connect();
    client.write_all(lines.as_bytes()).unwrap();
    assert!(read(&mut client, lines.len()) == lines.as_bytes());
    drop(client);
    server.stop();
}

#[test]
fn case_018_ten_thousand_lines_in_one_write_are_heard_in_order() {
    let server = Server::new("--protocol chat");
    let (mut b, mut a) = (server.connect(), server.connect());
    read_line(&mut a);
    let hearing = thread::spawn(move || {
        let mut all = Vec::new();
        b.read_to_end(&mut all).unwrap();
        String::from_utf8(all).unwrap()
    });
    let lines: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
    a.write_all(format!("/nick ann\n{lines}/quit\n").as_bytes()).unwrap();
    let end = String::from_utf8(read_to_end(&mut a)).unwrap();
    assert!(end.ends_with("* goodbye\n"), "{end}");
    drop(a);
    server.stop();
    let heard = hearing.join().unwrap();
    let heard: Vec<&str> = heard.lines().filter(|line| line.starts_with("ann: ")).collect();
    let expected: Vec<String> = (0..10_000).map(|n| format!("ann: line {n}")).collect();
    assert!(heard == expected, "{} lines were heard", heard.len());
}

/// Sends from a thread of its own, so that nothing waits for what waits for it.
fn sending(client: &TcpStream, bytes: Vec<u8>) -> JoinHandle<()> {
    let mut client = client.try_clone().unwrap();
    thread::spawn(move || {
        client.write_all(&bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    })
}

#[test]
fn case_025_all_that_was_sent_before_the_end_comes_back_before_the_end() {
    let server = Server::new("--protocol echo");
    let k = 1 << 10;
    for size in [0, 1, 2, 1000, 64 * k - 1, 64 * k, 64 * k + 1, 128 * k, k * k, 5_000_000] {
        let mut client = server.connect();
        let bytes = Pattern::bytes(size as u64, size);
        let sender = sending(&client, bytes.clone());
        assert!(read_to_end(&mut client) == bytes, "{size} bytes");
        sender.join().unwrap();
    }
    server.stop();
}

#[test]
fn case_025_many_halves_at_once() {
    let server = Server::new("--protocol echo");
    let mut all = Vec::new();
    for n in 0..200 {
        let mut client = server.connect();
        let bytes = Pattern::bytes(n, 1 + n as usize * 37);
        client.write_all(&bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        all.push((client, bytes));
    }
    for (mut client, bytes) in all {
        assert!(read_to_end(&mut client) == bytes);
    }
    server.stop();
}

#[test]
fn case_035_a_message_of_whole_reads_is_answered_without_one_byte_more() {
    // The smallest budgets, so that every one of them is used up all the time.
    for options in [
        "",
        "--read-per-turn 1024 --write-per-turn 512 --output-high 1024 \
                         --output-low 0",
    ] {
        let server = Server::new(&format!("--protocol echo {options}"));
        let mut client = server.connect();
        for size in [1024, 2048, 64 << 10, 128 << 10, 192 << 10] {
            echo(&mut client, &Pattern::bytes(size, size as usize));
        }
        drop(client);
        server.stop();
    }
}

#[test]
fn case_039_a_client_with_a_small_buffer_and_small_reads_gets_all() {
    let server = Server::new("--protocol echo --output-high 4096 --output-low 1024");
    let mut client = connect_from("127.0.0.1", server.addr, 16 << 10);
    let bytes = Pattern::bytes(39, 2 << 20);
    let sender = sending(&client, bytes.clone());
    let (mut got, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        match client.read(&mut piece).unwrap() {
            0 => break,
            size => got.extend_from_slice(&piece[..size]),
        }
    }
    assert!(got == bytes);
    sender.join().unwrap();
    server.stop();
}

#[test]
fn case_040_a_hundred_megabytes_come_back_byte_by_byte_the_same() {
    const PIECE: usize = 64 << 10;
    const PIECES: usize = 1600;
    let server = Server::new("--protocol echo");
    let mut client = server.connect();
    let mut writer = client.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let (mut pattern, mut piece) = (Pattern::new(40), vec![0; PIECE]);
        for _ in 0..PIECES {
            pattern.fill(&mut piece);
            writer.write_all(&piece).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let (mut pattern, mut wanted, mut got) = (Pattern::new(40), vec![0; PIECE], vec![0; PIECE]);
    for n in 0..PIECES {
        pattern.fill(&mut wanted);
        client.read_exact(&mut got).unwrap();
        assert!(got == wanted, "piece {n} differs");
    }
    assert!(read_to_end(&mut client).is_empty());
    sender.join().unwrap();
    let log = server.stop();
    let bytes = PIECE * PIECES;
    let total = format!("{bytes} bytes in, {bytes} bytes out");
    assert!(log.iter().any(|line| line.contains(&total)), "{log:#?}");
}

#[test]
fn case_040_a_file_through_send_and_back_is_the_same_file() {
    let server = Server::new("--protocol echo");
    let (original, copy) = (scratch("original"), scratch("copy"));
    let bytes = Pattern::bytes(41, 20 << 20);
    fs::write(&original, &bytes).unwrap();
    let status = Command::new(BINARY)
        .args(["send", "--raw", "--to", &server.addr.to_string()])
        .stdin(Stdio::from(File::open(&original).unwrap()))
        .stdout(Stdio::from(File::create(&copy).unwrap()))
        .status()
        .unwrap();
    assert!(status.success());
    let same = fs::read(&copy).unwrap() == bytes;
    fs::remove_file(&original).unwrap();
    fs::remove_file(&copy).unwrap();
    assert!(same);
    server.stop();
}

#[test]
#[cfg(target_os = "linux")]
fn case_030_bytes_around_an_urgent_one_are_served_and_nothing_spins() {
    let server = Server::new("--protocol echo");
    let mut client = server.connect();
    for _ in 0..100 {
        client.write_all(b"before ").unwrap();
        socket2::SockRef::from(&client).send_out_of_band(b"!").unwrap();
        client.write_all(b"behind").unwrap();
        assert_eq!(read(&mut client, 13), b"before behind");
    }
    // The urgent byte last, and nobody takes it.
    socket2::SockRef::from(&client).send_out_of_band(b"!").unwrap();
    server.running.assert_rests();
    echo(&mut client, b"still here");
    server.check_echo();
    drop(client);
    server.stop();
}
