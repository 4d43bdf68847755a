//! Codecs: however a stream is cut, it is the same frames and the same error; no frame is over
//! the limit; what a frame took is that frame and its framing; nothing panics.
use charkh::{
    Input,
    codec::{Decode, Delimited, LengthPrefixed, Lines, Status, Width},
};

use super::Script;

/// Frames in their order, and what ended them if something did.
type Outcome = (Vec<Vec<u8>>, Option<String>);

pub fn run(data: &[u8]) {
    let mut script = Script(data);
    let (kind, flags) = (script.number(4), script.byte());
    let max = script.number(40);
    let pieces = script.number(8);
    let pieces = script.take(pieces);
    match kind {
        0 => check(Lines { max }, max, 1, pieces, script.0, |frame, wire| {
            assert!(!frame.contains(&b'\n'));
            assert!(wire == [frame, b"\n"].concat() || wire == [frame, b"\r\n"].concat());
            // Of both ends the longer one is meant.
            assert!(wire.ends_with(b"\r\n") || !frame.ends_with(b"\r"));
        }),
        1 => {
            let size = script.number(4);
            let end = script.take(size);
            let codec = Delimited { end, max };
            check(codec, max, end.len().saturating_sub(1), pieces, script.0, |frame, wire| {
                assert_eq!(wire, [frame, end].concat());
                let first = wire.windows(end.len()).position(|window| window == end);
                assert_eq!(first, Some(frame.len()));
            });
        }
        _ => {
            let widths = [Width::U8, Width::U16, Width::U24, Width::U32, Width::U64];
            let codec = LengthPrefixed {
                max,
                width: widths[usize::from(flags >> 2) % widths.len()],
                little_endian: flags & 1 != 0,
                includes_header: flags & 2 != 0,
            };
            check(codec, max, codec.width as usize, pieces, script.0, |frame, wire| {
                let mut again = Vec::new();
                codec.encode(frame, &mut again).expect("a frame that came can be sent");
                assert_eq!(wire, again);
            });
        }
    }
}

/// `around`: how much of what is no frame yet may be kept, over `max`. `is_whole`: what a frame
/// took is what it should be.
fn check<D>(
    codec: D,
    max: usize,
    around: usize,
    pieces: &[u8],
    stream: &[u8],
    is_whole: impl Fn(&[u8], &[u8]),
) where
    D: Decode + Clone,
    for<'a> D::Frame<'a>: AsRef<[u8]>,
{
    let cut = |sizes: &[u8]| {
        let cut = in_pieces(codec.clone(), max, sizes, stream, &is_whole);
        assert!(cut.1.is_some() || cut.2 <= max + around, "{} bytes are kept", cut.2);
        (cut.0, cut.1)
    };
    let whole = cut(&[]);
    assert_eq!(whole, cut(pieces), "pieces of {pieces:?}");
    assert_eq!(whole, cut(&[0]), "byte by byte");
    assert_eq!(whole, through_input(codec, stream), "as an Input gives them");
}

/// As the reactor would: what is not taken is kept, and the search goes on where it ended. Returns
/// what was left, too. Sizes are one less than they say, and used in turn.
fn in_pieces<D>(
    mut codec: D,
    max: usize,
    sizes: &[u8],
    mut stream: &[u8],
    is_whole: &impl Fn(&[u8], &[u8]),
) -> (Vec<Vec<u8>>, Option<String>, usize)
where
    D: Decode,
    for<'a> D::Frame<'a>: AsRef<[u8]>,
{
    let (mut kept, mut scanned, mut frames) = (Vec::new(), 0, Vec::new());
    let mut sizes = sizes.iter().cycle();
    while !stream.is_empty() {
        let size = sizes.next().map_or(stream.len(), |&size| usize::from(size) + 1);
        let (piece, rest) = stream.split_at(size.min(stream.len()));
        stream = rest;
        kept.extend_from_slice(piece);
        while !kept.is_empty() {
            let taken = match codec.decode(&kept, scanned) {
                Ok(Status::Complete { frame, size }) => {
                    let frame = frame.as_ref();
                    assert!(frame.len() <= max, "a frame of {} bytes", frame.len());
                    is_whole(frame, &kept[..size]);
                    frames.push(frame.to_vec());
                    size
                }
                Ok(Status::Partial { scanned: next }) => {
                    assert!(scanned <= next && next <= kept.len(), "{scanned} to {next}");
                    scanned = next;
                    break;
                }
                Err(e) => return (frames, Some(e.to_string()), kept.len()),
            };
            kept.drain(..taken);
            scanned = 0;
        }
    }
    (frames, None, kept.len())
}

fn through_input<D>(mut codec: D, stream: &[u8]) -> Outcome
where
    D: Decode,
    for<'a> D::Frame<'a>: AsRef<[u8]>,
{
    let (mut input, mut frames) = (Input::new(stream), Vec::new());
    while !input.is_empty() {
        match input.frame(&mut codec) {
            Ok(Some(frame)) => frames.push(frame.as_ref().to_vec()),
            Ok(None) => break,
            Err(e) => return (frames, Some(e.to_string())),
        }
    }
    (frames, None)
}
