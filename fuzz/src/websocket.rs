//! Frames of WebSocket, against a model that is given all that has come, once more for each byte,
//! which is slow and plainly right. However a stream is cut, the same is said at the same byte; no
//! more is kept than has come; nothing panics.
use charkh::Input;

use super::Script;

#[path = "../../examples/websocket/close.rs"]
#[allow(dead_code)]
mod close;
#[path = "../../examples/websocket/frame.rs"]
#[allow(dead_code, unreachable_pub)]
mod frame;
#[path = "../../examples/websocket/messages.rs"]
#[allow(dead_code, unreachable_pub)]
mod messages;

use messages::{Buffer, Event, Limits, Messages};

/// One thing that was said.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Said {
    Message(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
    /// Nothing more is read, and why.
    Wrong(u16),
}

/// The bytes choose limits, the cuts of a stream, and the stream.
pub fn messages(data: &[u8]) {
    let mut script = Script(data);
    let limits = Limits {
        message_max: [usize::from(script.byte()), usize::MAX][script.number(2)],
        fragments_max: [1 + u32::from(script.byte()) % 8, u32::MAX][script.number(2)],
    };
    let sizes = script.take(4);
    // Valid streams are rare among any: with a mask of zeros, what is said is what is sent.
    let stream = script.0;
    let expected = expected(&limits, stream);
    for sizes in [&[][..], &[0], sizes] {
        in_pieces(&limits, sizes, stream, &expected);
    }
}

/// Sizes are one less than they say, and used in turn; without any it is one piece.
fn in_pieces(limits: &Limits, sizes: &[u8], stream: &[u8], expected: &[(usize, Said)]) {
    let (mut messages, mut buffer) = (Messages::default(), Buffer::default());
    let (mut from, mut to, mut at) = (0, 0, 0);
    let mut sizes = sizes.iter().cycle();
    while to < stream.len() {
        to += sizes.next().map_or(stream.len(), |&size| usize::from(size) + 1);
        to = to.min(stream.len());
        let mut input = Input::new(&stream[from..to]);
        loop {
            let said = match messages.next(limits, &mut input, &mut buffer) {
                Ok(None) => break,
                Ok(Some(event)) => of(event),
                Err(error) => Said::Wrong(error.code),
            };
            let (size, wanted) = expected.get(at).expect("nothing more was said");
            assert_eq!(&said, wanted);
            assert!(*size <= to, "said before it was there");
            at += 1;
        }
        from = to - input.len();
        let soon = expected.get(at).map_or(usize::MAX, |(size, _)| *size);
        assert!(soon > to, "not said when it was there");
        assert!(buffer.held() <= to && buffer.held() <= limits.message_max, "more than has come");
    }
}

fn of(event: Event) -> Said {
    match event {
        Event::Message { is_text, bytes } => Said::Message(is_text, bytes.to_vec()),
        Event::Ping(bytes) => Said::Ping(bytes.to_vec()),
        Event::Pong(bytes) => Said::Pong(bytes.to_vec()),
        Event::Close(code) => Said::Close(code),
    }
}

/// All that is said, and how many bytes it takes to say it.
fn expected(limits: &Limits, stream: &[u8]) -> Vec<(usize, Said)> {
    let mut found = Vec::new();
    for size in 1..=stream.len() {
        let all = model(limits, &stream[..size]);
        assert!(all.len() >= found.len());
        for said in all.into_iter().skip(found.len()) {
            found.push((size, said));
        }
        if let Some((_, Said::Close(_) | Said::Wrong(_))) = found.last() {
            break;
        }
    }
    found
}

/// What these bytes say, read from the first one on.
fn model(limits: &Limits, bytes: &[u8]) -> Vec<Said> {
    let mut said = Vec::new();
    let mut message: Option<(bool, u32, Vec<u8>)> = None;
    let mut rest = bytes;
    loop {
        match one(limits, rest, &mut message, &mut said) {
            Ok(Some(size)) => rest = &rest[size..],
            Ok(None) => return said,
            Err(code) => {
                said.push(Said::Wrong(code));
                return said;
            }
        }
        if let Some(Said::Close(_)) = said.last() {
            return said;
        }
    }
}

/// One frame at the front: its size, if all of it is here.
fn one(
    limits: &Limits,
    bytes: &[u8],
    message: &mut Option<(bool, u32, Vec<u8>)>,
    said: &mut Vec<Said>,
) -> Result<Option<usize>, u16> {
    let at = |n: usize| bytes.get(n).copied();
    let Some(first) = at(0) else { return Ok(None) };
    let (opcode, is_control, is_final) = (first % 16, first % 16 >= 8, first >= 128);
    if first / 16 % 8 != 0 || ![0, 1, 2, 8, 9, 10].contains(&opcode) || is_control && !is_final {
        return Err(1002);
    }
    let Some(second) = at(1) else { return Ok(None) };
    if second < 128 || is_control && second > 128 + 125 {
        return Err(1002);
    }
    let width = [0, 2, 8][usize::from(second.max(253) - 253)];
    let number = (2..2 + width).try_fold(0_u64, |sum, n| Some(sum << 8 | u64::from(at(n)?)));
    if width == 8 && at(2).is_some_and(|byte| byte >= 128) {
        return Err(1002);
    }
    let Some(number) = number else { return Ok(None) };
    if width == 2 && number < 126 || width == 8 && number < 65_536 {
        return Err(1002);
    }
    let len = if width == 0 { u64::from(second - 128) } else { number };
    let head = 2 + width + 4;
    if bytes.len() < head {
        return Ok(None);
    }
    let here = bytes.len().min(head.saturating_add(usize::try_from(len).unwrap_or(usize::MAX)));
    let is_whole = (here - head) as u64 == len;
    let unmasked: Vec<u8> =
        (head..here).map(|n| bytes[n] ^ bytes[head - 4 + (n - head) % 4]).collect();
    match is_control {
        true if is_whole => said.push(control(opcode, unmasked)?),
        true => {}
        false => {
            begin(limits, opcode, len, message)?;
            let (is_text, _, payload) = message.as_mut().expect("it has begun");
            payload.extend(unmasked);
            let is_over = is_whole && is_final;
            if *is_text && !is_front_of_text(payload, is_over) {
                return Err(1007);
            }
            if is_over {
                let (is_text, _, payload) = message.take().expect("it has begun");
                said.push(Said::Message(is_text, payload));
            }
        }
    }
    Ok(is_whole.then_some(here))
}

fn begin(
    limits: &Limits,
    opcode: u8,
    len: u64,
    message: &mut Option<(bool, u32, Vec<u8>)>,
) -> Result<(), u16> {
    match (opcode, &mut *message) {
        (0, Some((_, fragments, _))) => *fragments += 1,
        (0, None) | (_, Some(_)) => return Err(1002),
        (_, None) => *message = Some((opcode == 1, 1, Vec::new())),
    }
    let (_, fragments, payload) = message.as_ref().expect("it has begun");
    match u128::from(len) + payload.len() as u128 {
        _ if *fragments > limits.fragments_max => Err(1008),
        all if all > limits.message_max as u128 => Err(1009),
        _ => Ok(()),
    }
}

fn control(opcode: u8, payload: Vec<u8>) -> Result<Said, u16> {
    match (opcode, &payload[..]) {
        (9, _) => Ok(Said::Ping(payload)),
        (10, _) => Ok(Said::Pong(payload)),
        (_, []) => Ok(Said::Close(None)),
        (_, [_]) => Err(1002),
        (_, [high, low, reason @ ..]) => {
            let code = u16::from(*high) * 256 + u16::from(*low);
            let registered =
                [1000, 1001, 1002, 1003].contains(&code) || (1007..1015).contains(&code);
            match registered || (3000..5000).contains(&code) {
                false => Err(1002),
                true if std::str::from_utf8(reason).is_err() => Err(1007),
                true => Ok(Said::Close(Some(code))),
            }
        }
    }
}

/// It may become a text, or is one: the table of RFC 3629, byte by byte.
fn is_front_of_text(text: &[u8], is_over: bool) -> bool {
    let mut rest = text;
    while let [first, ..] = *rest {
        let (size, low, high) = match first {
            0..=0x7f => (1, 0, 0),
            0xc2..=0xdf => (2, 0x80, 0xbf),
            0xe0 => (3, 0xa0, 0xbf),
            0xed => (3, 0x80, 0x9f),
            0xe1..=0xef => (3, 0x80, 0xbf),
            0xf0 => (4, 0x90, 0xbf),
            0xf1..=0xf3 => (4, 0x80, 0xbf),
            0xf4 => (4, 0x80, 0x8f),
            _ => return false,
        };
        let here = &rest[..rest.len().min(size)];
        let second = here.get(1).is_none_or(|byte| (low..=high).contains(byte));
        if !second || here.iter().skip(2).any(|byte| byte & 0xc0 != 0x80) {
            return false;
        }
        if here.len() < size {
            return !is_over;
        }
        rest = &rest[size..];
    }
    true
}
