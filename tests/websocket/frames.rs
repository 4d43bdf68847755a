//! Case 124, byte for byte: what is no frame, no text or no end is answered with a code and an end,
//! wherever the bytes are cut, and nothing behind it is heard.
use charkh::Input;

use crate::{
    example::{Buffer, Error, Event, Limits, Messages},
    world::{
        BINARY, CLOSE, FINAL, Heard, MORE, PING, PONG, TEXT, frame, frames, hears_of, request,
        server, split, text,
    },
};

/// What the echo says to these bytes behind a handshake; the same, wherever they are cut.
fn echo(bytes: &[u8]) -> Vec<Heard> {
    let head = request("/echo");
    let all = [head.as_bytes(), bytes].concat();
    let (answer, heard) = split(&hears_of(server(), &[&all]));
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    // Long ones are cut where heads are.
    for at in (0..=bytes.len()).filter(|at| *at < 200 || *at + 200 > bytes.len()) {
        let (front, back) = all.split_at(head.len() + at);
        assert_eq!(split(&hears_of(server(), &[front, back])).1, heard, "cut at {at}");
    }
    let one_by_one: Vec<&[u8]> = bytes.chunks(1).take(400).collect();
    let rest = bytes.get(400..).unwrap_or_default();
    let pieces = [&[head.as_bytes()], &one_by_one[..], &[rest]].concat();
    assert_eq!(split(&hears_of(server(), &pieces)).1, heard, "byte by byte");
    frames(&heard)
}

/// It is refused, and a message before it is heard, but none behind it.
#[track_caller]
fn refused(code: u16, why: &str, bytes: &[u8]) {
    let all = [&text("before"), bytes, &text("behind"), &frame(FINAL | CLOSE, b"")].concat();
    assert_eq!(echo(&all), [Heard::text("before"), Heard::close(code, why)]);
}

#[test]
fn case_124_a_frame_without_a_mask() {
    refused(1002, "a frame without a mask", b"\x81\x05hello");
    refused(1002, "a frame without a mask", b"\x81\x00");
    refused(1002, "a frame without a mask", b"\x88\x7f");
}

#[test]
fn case_124_reserved_bits() {
    for bits in 1..8 {
        let why = "a reserved bit, and no extension to mean something by it";
        refused(1002, why, &frame(FINAL | bits << 4 | TEXT, b"hello"));
        refused(1002, why, &frame(FINAL | bits << 4 | PING, b""));
    }
}

#[test]
fn case_124_unknown_opcodes() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        refused(1002, "an unknown opcode", &frame(FINAL | opcode, b""));
        refused(1002, "an unknown opcode", &frame(opcode, b"hello"));
    }
}

#[test]
fn case_124_control_frames_in_fragments_or_too_long() {
    for opcode in [CLOSE, PING, PONG] {
        refused(1002, "a control frame in fragments", &frame(opcode, b""));
        let long = frame(FINAL | opcode, &[b'x'; 126]);
        refused(1002, "a control frame that is too long", &long);
        let long = [FINAL | opcode, 0x80 | 127];
        refused(1002, "a control frame that is too long", &long);
    }
    let longest = frame(FINAL | PING, &[b'x'; 125]);
    assert_eq!(echo(&longest), [Heard { opcode: PONG, payload: vec![b'x'; 125] }]);
}

#[test]
fn case_124_fragments_in_the_wrong_order() {
    let (none, within) = ("more of a message that has not begun", "a message within another");
    refused(1002, none, &frame(FINAL | MORE, b"x"));
    refused(1002, none, &frame(MORE, b"x"));
    refused(1002, within, &[frame(TEXT, b"x"), text("y")].concat());
    refused(1002, within, &[frame(TEXT, b"x"), frame(BINARY, b"y")].concat());
    let whole = [frame(TEXT, b"x"), frame(FINAL | MORE, b"y")].concat();
    let more = [&whole[..], &frame(FINAL | MORE, b"z"), &text("behind")].concat();
    assert_eq!(echo(&more), [Heard::text("xy"), Heard::close(1002, none)]);
}

#[test]
fn fragments_are_put_together_and_control_frames_stand_between_them() {
    let message = [
        frame(TEXT, "سل".as_bytes()),
        frame(FINAL | PING, b"there?"),
        frame(MORE, b""),
        // Half of a character.
        frame(MORE, &"ام".as_bytes()[..3]),
        frame(FINAL | PONG, b"nobody asked"),
        frame(FINAL | MORE, &"ام".as_bytes()[3..]),
        frame(FINAL | BINARY, b"\xff\xfe"),
        frame(FINAL | TEXT, b""),
        frame(FINAL | CLOSE, &[&1000_u16.to_be_bytes(), "خدا".as_bytes()].concat()),
        text("behind"),
    ];
    let heard = [
        Heard { opcode: PONG, payload: b"there?".into() },
        Heard::text("سلام"),
        Heard { opcode: BINARY, payload: b"\xff\xfe".into() },
        Heard::text(""),
        Heard::close(1000, ""),
    ];
    assert_eq!(echo(&message.concat()), heard);
}

/// Texts that are none, and how many bytes of each are enough to know.
const NO_UTF8: [(&[u8], usize); 13] = [
    (b"ab\xffcd", 3),
    (b"\x80", 1),
    (b"\xc0\xaf", 1),
    (b"\xc1\x81", 1),
    (b"\xc3\x28", 2),
    (b"\xe0\x80\xaf", 2),
    (b"\xed\xa0\x80", 2),
    (b"\xed\xbf\xbf", 2),
    (b"\xe2\x28\xa1", 2),
    (b"\xe2\x82\x28", 3),
    (b"\xf0\x80\x80\xaf", 2),
    (b"\xf4\x90\x80\x80", 2),
    (b"\xf5\x80\x80\x80", 1),
];

#[test]
fn case_124_a_text_that_is_no_utf_8() {
    let why = "a text that is no UTF-8";
    for (bytes, enough) in NO_UTF8 {
        refused(1007, why, &frame(FINAL | TEXT, bytes));
        // In a message that has no end yet, in a frame that has none either: at the very byte.
        let whole = frame(TEXT, &[bytes, &[b'x'; 50]].concat());
        let head = whole.len() - bytes.len() - 50;
        let begun = [request("/echo").as_bytes(), &frame(TEXT, b"ok")].concat();
        let more = [&[MORE], &whole[1..]].concat();
        let until = |size: usize| {
            let heard = hears_of(server(), &[&begun, &more[..head + size]]);
            frames(&split(&heard).1)
        };
        assert_eq!(until(enough), [Heard::close(1007, why)], "{bytes:?}");
        assert_eq!(until(enough - 1), [], "{bytes:?}");
        // And in fragments of a byte each.
        let mut fragments: Vec<Vec<u8>> = bytes.chunks(1).map(|byte| frame(MORE, byte)).collect();
        fragments.insert(0, frame(TEXT, b""));
        refused(1007, why, &fragments.concat());
    }
    for unfinished in ["é", "€", "😀"] {
        for end in 1..unfinished.len() {
            refused(1007, why, &frame(FINAL | TEXT, &unfinished.as_bytes()[..end]));
        }
    }
}

#[test]
fn case_124_close_frames() {
    let close = |payload: &[u8]| echo(&[frame(FINAL | CLOSE, payload), text("behind")].concat());
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999_u16] {
        assert_eq!(close(&code.to_be_bytes()), [Heard::close(code, "")]);
        let reason = [&code.to_be_bytes(), &[b'r'; 123][..]].concat();
        assert_eq!(close(&reason), [Heard::close(code, "")]);
    }
    let wrong = "a code that may not be sent";
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 0xffff_u16] {
        refused(1002, wrong, &frame(FINAL | CLOSE, &code.to_be_bytes()));
    }
    assert_eq!(close(b""), [Heard { opcode: CLOSE, payload: vec![] }]);
    refused(1002, "half of a code", &frame(FINAL | CLOSE, b"\x03"));
    refused(1007, "a reason that is no UTF-8", &frame(FINAL | CLOSE, b"\x03\xe8\xff"));
    // In the middle of a message, too.
    let within = [frame(TEXT, b"never"), frame(FINAL | CLOSE, b"\x03\xe9")].concat();
    assert_eq!(echo(&within), [Heard::close(1001, "")]);
}

#[test]
fn case_124_lengths_that_lie() {
    let announce = |second: u8, len: &[u8]| [&[FINAL | BINARY, 0x80 | second], len].concat();
    let long = |len: u64| announce(127, &len.to_be_bytes());
    let bits = "a length of more than 63 bits";
    refused(1002, bits, &long(1 << 63));
    refused(1002, bits, &long(u64::MAX));
    let shorter = "a length that could be shorter";
    for len in [0, 1, 125, 126, 0xffff_u64] {
        refused(1002, shorter, &long(len));
    }
    for len in [0, 125_u16] {
        refused(1002, shorter, &announce(126, &len.to_be_bytes()));
    }
    for len in [(16 << 20) + 1, 1 << 40, u64::MAX >> 1] {
        refused(1009, "a message that is too long", &[&long(len)[..], b"mask"].concat());
    }
    let begun = frame(BINARY, &[7; 1000]);
    let rest = announce(127, &((16_u64 << 20) - 999).to_be_bytes());
    let more = [&begun[..], &[FINAL | MORE], &rest[1..], b"mask"].concat();
    refused(1009, "a message that is too long", &more);
}

/// What a parser says to all of these bytes, without a server.
fn parse(limits: &Limits, bytes: &[u8], buffer: &mut Buffer) -> (usize, Option<Error>) {
    let (mut messages, mut input, mut count) = (Messages::default(), Input::new(bytes), 0);
    loop {
        match messages.next(limits, &mut input, buffer) {
            Ok(Some(Event::Message { .. })) => count += 1,
            Ok(Some(_)) => {}
            Ok(None) => return (count, None),
            Err(error) => return (count, Some(error)),
        }
    }
}

#[test]
fn case_124_memory_follows_what_came_not_what_was_announced() {
    let limits = Limits { message_max: usize::MAX, ..Limits::default() };
    let promise = [&[FINAL | BINARY, 0xff, 0x7f], &[0xff; 7][..], b"mask", b"ten bytes!"].concat();
    let info = allocation_counter::measure(|| {
        let mut buffer = Buffer::default();
        assert_eq!(parse(&limits, &promise, &mut buffer), (0, None));
        assert_eq!(buffer.held(), 10);
    });
    assert!(info.bytes_max < 100, "{info:?}");
}

#[test]
fn case_124_a_million_fragments_of_a_byte() {
    let mut stream = frame(TEXT, b"x");
    (0..1_000_000).for_each(|_| stream.extend(frame(MORE, b"x")));
    let error = Error { code: 1008, why: "too many fragments" };
    let mut buffer = Buffer::default();
    let info = allocation_counter::measure(|| {
        let limits = Limits::default();
        assert_eq!(parse(&limits, &stream, &mut buffer), (0, Some(error)));
    });
    assert!(info.bytes_max < 1 << 20, "nothing but the bytes is kept: {info:?}");
    let mut empty = frame(BINARY, b"");
    (0..1_000_000).for_each(|_| empty.extend(frame(MORE, b"")));
    let info = allocation_counter::measure(|| {
        let limits = Limits::default();
        assert_eq!(parse(&limits, &empty, &mut Buffer::default()), (0, Some(error)));
    });
    assert!(info.bytes_max < 1000, "{info:?}");
}

#[test]
fn limits_hold_to_the_byte_and_the_fragment() {
    let limits = Limits { message_max: 10, fragments_max: 3 };
    let parse = |bytes: &[u8]| parse(&limits, bytes, &mut Buffer::default());
    let three = |last: usize| {
        let last = frame(FINAL | MORE, &vec![b'x'; last]);
        [frame(TEXT, b"xxx"), frame(MORE, b"xxx"), last].concat()
    };
    let too_long = Some(Error { code: 1009, why: "a message that is too long" });
    assert_eq!(parse(&three(4).repeat(3)), (3, None));
    assert_eq!(parse(&three(5)), (0, too_long));
    assert_eq!(parse(&text("0123456789").repeat(3)), (3, None));
    assert_eq!(parse(&text("0123456789x")), (0, too_long));
    let four = [frame(TEXT, b""), frame(MORE, b"").repeat(2), frame(FINAL | MORE, b"")].concat();
    assert_eq!(parse(&four), (0, Some(Error { code: 1008, why: "too many fragments" })));
}

#[test]
fn messages_of_every_length_under_every_turn_of_the_mask() {
    for len in (0..300).chain([65_535, 65_536, 70_000]) {
        let payload = crate::common::pattern(len, 3);
        let bytes = frame(FINAL | BINARY, &payload);
        for cut in (0..bytes.len()).filter(|cut| len < 40 || cut % (1 + len / 30) == 7) {
            let (mut messages, mut buffer) = (Messages::default(), Buffer::default());
            let limits = Limits::default();
            let mut input = Input::new(&bytes[..cut]);
            assert_eq!(messages.next(&limits, &mut input, &mut buffer), Ok(None));
            let rest = [input.peek(), &bytes[cut..]].concat();
            let found = messages.next(&limits, &mut Input::new(&rest), &mut buffer);
            assert_eq!(found, Ok(Some(Event::Message { is_text: false, bytes: &payload })));
        }
    }
}

#[test]
fn messages_allocate_nothing_once_the_buffer_has_grown() {
    let stream = [text("hello"), frame(FINAL | PING, b"x"), text(&"long".repeat(500))].concat();
    let mut buffer = Buffer::default();
    assert_eq!(parse(&Limits::default(), &stream, &mut buffer), (2, None));
    let info = allocation_counter::measure(|| {
        assert_eq!(parse(&Limits::default(), &stream.repeat(1), &mut buffer), (2, None));
    });
    assert_eq!(info.count_total, 1, "the one above, of `repeat`");
}
