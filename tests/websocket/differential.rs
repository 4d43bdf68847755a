//! A parser that others wrote, on frames that are almost in order: what we take for a message they
//! take for the same message, and what is refused is refused for the same reason.
use charkh::Input;

use crate::{
    clients::python,
    example::{Buffer, Event, Limits, Messages},
    world::{BINARY, CLOSE, FINAL, MORE, PING, PONG, TEXT, frame, text},
};

/// As in `differential.py`.
const LIMITS: Limits = Limits { message_max: 100_000, fragments_max: u32::MAX };

/// Where it is known why the two differ: what ends the stream to us, and to them.
const ON_PURPOSE: &[(&str, &str, &str)] = &[
    ("1002 a length that could be shorter", "", "they take it, though the RFC does not"),
    ("1002 a length of more than 63 bits", "1009", "it is too long, too"),
    (
        "1002 a control frame that is too long",
        "",
        "a short one that says so in more bytes: the same",
    ),
    (
        "1002 a reserved bit, and no extension to mean something by it",
        "more",
        "here it is known at once",
    ),
    ("1007 a text that is no UTF-8", "more", "here it is known before the frame is over"),
    ("1002 more of a message that has not begun", "more", "the same"),
    ("1002 a message within another", "more", "the same"),
    ("1002 a code that may not be sent", "1007", "nor may the reason; here the code comes first"),
    ("1002 more of a message that has not begun", "1009", "they look at the length first"),
    ("1002 a message within another", "1009", "the same"),
    ("1007 a text that is no UTF-8", "1009", "the same, of what is left of the message"),
];

fn seeds() -> Vec<Vec<u8>> {
    let close = |code: u16, reason: &str| {
        frame(FINAL | CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
    };
    vec![
        [text("hello"), text(""), frame(FINAL | BINARY, b"\0\xff")].concat(),
        [frame(TEXT, "سل".as_bytes()), frame(FINAL | PING, b"p"), frame(FINAL | MORE, b"x")]
            .concat(),
        [frame(TEXT, b"\xf0\x9f"), frame(MORE, b"\x98"), frame(FINAL | MORE, b"\x80")].concat(),
        [frame(FINAL | PONG, b""), close(1000, "bye"), text("behind")].concat(),
        [close(4999, "خدا"), close(1001, "")].concat(),
        [frame(FINAL | CLOSE, b""), text("behind")].concat(),
        [frame(FINAL | BINARY, &[7; 126]), frame(FINAL | PING, &[b'x'; 125])].concat(),
        [frame(BINARY, &[1; 300]), frame(MORE, b""), frame(FINAL | MORE, &[2; 70_000])].concat(),
    ]
}

/// Heads that may stand anywhere.
const WORDS: [&[u8]; 14] = [
    b"\x81\x80mask",
    b"\x01\x81mask\xad",
    b"\x80\x80mask",
    b"\x00\x80mask",
    b"\x89\x80mask",
    b"\x88\x81maskx",
    b"\x88\x82\0\0\0\0\x03\xed",
    b"\x82\xfe\x00\x05mask",
    b"\x82\xff\0\0\0\0\0\0\0\x05mask",
    b"\x82\xff\x80\0\0\0\0\0\0\0mask",
    b"\x82\xff\0\0\0\0\0\x01\x86\xa1mask",
    b"\xc1\x80mask",
    b"\x83\x80mask",
    b"\x81\x00",
];

fn mutate(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut stream = rng.choice(seeds()).unwrap();
    for _ in 0..rng.usize(0..4) {
        // Near the front, or the long ones are all payload.
        let at = rng.usize(0..=stream.len().min(60));
        let end = (at + rng.usize(0..6)).min(stream.len());
        match rng.usize(0..6) {
            0 => drop(stream.drain(at..end)),
            1 => drop(stream.splice(at..at, rng.choice(WORDS).unwrap().iter().copied())),
            2 => drop(stream.splice(at..end, rng.choice(WORDS).unwrap().iter().copied())),
            3 if at < stream.len() => stream[at] = rng.u8(..),
            4 if at < stream.len() => stream[at] ^= 1 << rng.usize(0..8),
            _ => stream.truncate(end.max(1)),
        }
    }
    // A head that is wrong to both, so that they come to an end.
    stream.extend([0; 200]);
    stream
}

/// What is in `stream`, as `differential.py` writes it, and how it ends.
fn ours(stream: &[u8]) -> (String, String) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (mut messages, mut input) = (Messages::default(), Input::new(stream));
    let (mut buffer, mut done) = (Buffer::default(), String::new());
    loop {
        match messages.next(&LIMITS, &mut input, &mut buffer) {
            Ok(Some(Event::Message { is_text: true, bytes })) => {
                done += &format!("t{};", hex(bytes))
            }
            Ok(Some(Event::Message { bytes, .. })) => done += &format!("b{};", hex(bytes)),
            Ok(Some(Event::Ping(bytes))) => done += &format!("p{};", hex(bytes)),
            Ok(Some(Event::Pong(bytes))) => done += &format!("o{};", hex(bytes)),
            Ok(Some(Event::Close(code))) => {
                return (done, format!("close {}", code.unwrap_or(1005)));
            }
            Ok(None) => return (done, "more".into()),
            Err(error) => return (done, format!("{} {}", error.code, error.why)),
        }
    }
}

#[test]
fn websockets_reads_the_same_messages() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut streams = seeds();
    streams.extend((0..4000).map(|_| mutate(&mut rng)));
    let input: Vec<u8> = streams
        .iter()
        .flat_map(|stream| [&(stream.len() as u32).to_be_bytes(), &stream[..]].concat())
        .collect();
    let Some(said) = python(include_str!("differential.py"), &[], &input) else { return };
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), streams.len(), "{said:.1000}");
    let (mut accepted, mut refused, mut apart, mut complaints) = (0, 0, 0, Vec::new());
    for (stream, line) in streams.iter().zip(lines) {
        let (done, end) = ours(stream);
        let (their_done, their_end) = line.split_once(' ').unwrap();
        accepted += done.matches(';').count();
        refused += usize::from(end.starts_with('1'));
        let same = done == their_done && end.starts_with(their_end);
        let known = |(our, their, _): &(&str, &str, _)| {
            end == *our && their_end.starts_with(their) && their_done.starts_with(&done)
        };
        match ON_PURPOSE.iter().any(known) {
            _ if same => {}
            true => apart += 1,
            false => {
                complaints.push(format!("ours {done:.99} {end}\n  theirs {line:.99}\n  {stream:?}"))
            }
        }
    }
    println!("{accepted} accepted, {refused} refused, {apart} on purpose otherwise");
    assert!(accepted > 2000 && refused > 2000, "{accepted} {refused}");
    let shown: Vec<String> = complaints.iter().take(9).map(|it| format!("{it:.500}")).collect();
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), shown.join("\n"));
}
