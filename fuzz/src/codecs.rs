//! Codecs, each against a model that is given one byte more at a time, which is slow and plainly
//! right. However a stream is cut, the codec says the same at the same byte; no frame is over the
//! limit, and no more than that is kept; nothing is searched twice; nothing panics.
use charkh::{
    Fault, Input,
    codec::{Decode, Delimited, FrameError, LengthPrefixed, Lines, Status, Width},
};

use super::Script;

/// Of the bytes since the last frame, when of all that are shorter it has said "not yet": not yet,
/// a frame, or never.
type Model<'m> = &'m dyn for<'a> Fn(&'a [u8]) -> Result<Option<&'a [u8]>, FrameError>;

pub fn lines(data: &[u8]) {
    let mut script = Script(data);
    let (max, sizes) = (limit(&mut script), script.take(4));
    let model: Model = &|bytes| {
        let line = bytes.strip_suffix(b"\n");
        // A CR may be half of an end.
        let content = line.unwrap_or(bytes);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        if content.len() > max {
            return Err(FrameError::TooLong { max });
        }
        Ok(line.is_some().then_some(content))
    };
    Trial { codec: Lines { max }, model, end: b"\n", max, around: 1 }.run(sizes, script.0);
}

pub fn delimited(data: &[u8]) {
    let mut script = Script(data);
    let (max, sizes) = (limit(&mut script), script.take(4));
    let size = script.number(6);
    let end = script.take(size);
    let model: Model = &|bytes| match bytes.strip_suffix(end) {
        _ if end.is_empty() => Err(FrameError::NoDelimiter),
        Some(frame) => Ok(Some(frame)),
        // The next byte may complete an end, none before it.
        None if bytes.len() + 1 > max.saturating_add(end.len()) => Err(FrameError::TooLong { max }),
        None => Ok(None),
    };
    let around = end.len().saturating_sub(1);
    Trial { codec: Delimited { end, max }, model, end, max, around }.run(sizes, script.0);
}

pub fn length_prefixed(data: &[u8]) {
    let mut script = Script(data);
    let (max, sizes) = (limit(&mut script), script.take(4));
    let widths = [Width::U8, Width::U16, Width::U24, Width::U32, Width::U64];
    let codec = LengthPrefixed {
        max,
        width: widths[script.number(widths.len())],
        little_endian: script.number(2) == 1,
        includes_header: script.number(2) == 1,
    };
    let width = codec.width as usize;
    let own = if codec.includes_header { width } else { 0 };
    let model: Model = &|bytes| {
        let Some((header, frame)) = bytes.split_at_checked(width) else { return Ok(None) };
        let mut says = 0;
        for (n, &byte) in header.iter().enumerate() {
            let place = if codec.little_endian { n } else { width - 1 - n };
            says += u128::from(byte) * 256_u128.pow(place as u32);
        }
        match says.checked_sub(own as u128) {
            None => Err(FrameError::BadLength),
            Some(size) if size > max as u128 => Err(FrameError::TooLong { max }),
            Some(size) => Ok((size == frame.len() as u128).then_some(frame)),
        }
    };
    match script.number(4) {
        0 => encode(codec, own, model, &mut script),
        _ => Trial { codec, model, end: b"", max, around: width }.run(sizes, script.0),
    }
}

/// Near nothing, past what one byte can say, or near everything.
fn limit(script: &mut Script) -> usize {
    let (near, value) = (script.number(4), usize::from(script.byte()));
    [value % 32, value % 32, 128 + value, usize::MAX - value][near]
}

/// In what was encoded the model finds the frame; what cannot be said leaves no trace.
fn encode(codec: LengthPrefixed, own: usize, model: Model, script: &mut Script) {
    let (near, size) = (script.number(3), usize::from(script.byte()));
    let size = [size, 128 + size, (1 << 16) - 128 + size][near];
    let mut frame = script.0.to_vec();
    frame.resize(size, b'x');
    let fits = size <= codec.max && (size + own) as u128 >> (8 * codec.width as u32) == 0;
    let mut wire = b"before".to_vec();
    match codec.encode(&frame, &mut wire) {
        Ok(()) => {
            assert!(fits, "{codec:?} says a frame of {size} bytes");
            let wire = wire.strip_prefix(b"before").expect("what was there is kept");
            assert_eq!(model(wire), Ok(Some(&frame[..])));
        }
        Err(e) => {
            assert!(!fits, "{codec:?} does not say a frame of {size} bytes");
            assert_eq!((e, &wire[..]), (FrameError::TooLong { max: codec.max }, &b"before"[..]));
        }
    }
}

/// A codec and what it is held against.
struct Trial<'t, D> {
    codec: D,
    model: Model<'t>,
    /// What the codec searches for; nothing if it does not search.
    end: &'t [u8],
    max: usize,
    /// How much of what is no frame yet may be kept, over `max`.
    around: usize,
}

impl<D> Trial<'_, D>
where
    for<'a> D: Decode<Frame<'a> = &'a [u8]> + Clone,
{
    fn run(&self, sizes: &[u8], stream: &[u8]) {
        self.in_pieces(&[], stream);
        self.in_pieces(&[0], stream);
        self.in_pieces(sizes, stream);
        self.through_input(sizes, stream);
    }

    /// What is to be said first of these bytes, and how many of them it takes to say it.
    fn expected<'a>(&self, bytes: &'a [u8]) -> Option<(usize, Result<&'a [u8], FrameError>)> {
        (1..=bytes.len()).find_map(|size| Some((size, (self.model)(&bytes[..size]).transpose()?)))
    }

    /// As the reactor does: what is not taken is kept, and the search goes on where it ended. Sizes
    /// are one less than they say, and used in turn; without any it is one piece.
    fn in_pieces(&self, sizes: &[u8], stream: &[u8]) {
        let mut codec = self.codec.clone();
        let (mut from, mut to, mut scanned) = (0, 0, 0);
        let mut expected = self.expected(stream);
        let mut sizes = sizes.iter().cycle();
        while to < stream.len() {
            to += sizes.next().map_or(stream.len(), |&size| usize::from(size) + 1);
            to = to.min(stream.len());
            while from < to {
                let kept = &stream[from..to];
                let says = codec.decode(kept, scanned);
                self.searches_nothing_twice(kept, scanned, &says);
                match expected.filter(|&(size, _)| size <= kept.len()) {
                    Some((size, Ok(frame))) => {
                        assert!(frame.len() <= self.max);
                        assert_eq!(says.ok(), Some(Status::Complete { frame, size }));
                        (from, scanned) = (from + size, 0);
                        expected = self.expected(&stream[from..]);
                    }
                    Some((_, Err(e))) => {
                        assert_eq!(error(says), e);
                        let again = codec.decode(&stream[from..], scanned);
                        return assert_eq!(error(again), e, "whatever follows");
                    }
                    None => {
                        let Ok(Status::Partial { scanned: next }) = says else {
                            panic!("{says:?} of {kept:?}");
                        };
                        assert!(kept.len() <= self.max.saturating_add(self.around));
                        assert!(scanned <= next && next <= kept.len(), "{scanned} to {next}");
                        scanned = next;
                        break;
                    }
                }
            }
        }
    }

    /// The codec says the same of bytes that are nothing but ends as far as it has looked; and it
    /// has looked as far as can be.
    fn searches_nothing_twice(
        &self,
        kept: &[u8],
        scanned: usize,
        says: &Result<Status<&[u8]>, Fault>,
    ) {
        if self.end.is_empty() {
            return;
        }
        let mut bait = kept.to_vec();
        // One look back is due: at a CR that may be half of an end.
        let looked = scanned - usize::from(kept[..scanned].ends_with(b"\r"));
        bait[..looked].iter_mut().zip(self.end.iter().cycle()).for_each(|(to, by)| *to = *by);
        let outline = |says: &Result<Status<&[u8]>, Fault>| match says {
            Ok(Status::Complete { size, .. }) => Ok(*size),
            Ok(Status::Partial { scanned: next }) => {
                assert!(next + self.end.len() > kept.len(), "{next} of {}", kept.len());
                Err(None)
            }
            Err(e) => Err(e.downcast_ref::<FrameError>().copied()),
        };
        let of_bait = self.codec.clone().decode(&bait, scanned);
        assert_eq!(outline(&of_bait), outline(says), "{scanned} of {kept:?}");
    }

    /// As a protocol does, that also takes bytes by hand.
    fn through_input(&self, acts: &[u8], stream: &[u8]) {
        let mut codec = Watched { codec: self.codec.clone(), mark: 0, waits: None };
        let (mut input, mut from) = (Input::new(stream), 0);
        // Of the acts one takes something, or this would never end.
        let mut acts = acts.iter().chain(&[0]).cycle();
        while from < stream.len() {
            let left = &stream[from..];
            assert_eq!((input.peek(), input.len()), (left, left.len()));
            let act = acts.next().map_or(0, |&act| usize::from(act));
            let by_hand = match (act % 8, self.expected(left)) {
                (3, _) => {
                    codec.waits = Some(act);
                    assert_eq!(input.frame(&mut codec).ok(), Some(None));
                    0
                }
                (4, _) => {
                    input.rescan();
                    codec.mark = 0;
                    0
                }
                (5 | 6, _) => act / 8,
                (7, _) if act == 255 => break,
                (_, Some((size, Ok(frame)))) => {
                    assert_eq!(input.frame(&mut codec).ok(), Some(Some(frame)));
                    from += size;
                    0
                }
                (_, Some((_, Err(e)))) => return assert_eq!(error(input.frame(&mut codec)), e),
                (_, None) => {
                    assert_eq!(input.frame(&mut codec).ok(), Some(None));
                    (1 + act / 8).min(left.len())
                }
            };
            let taken = stream[from..].get(..by_hand);
            assert_eq!(input.take(by_hand), taken);
            let taken = taken.map_or(0, <[u8]>::len);
            (from, codec.mark) = (from + taken, codec.mark.saturating_sub(taken));
        }
        assert_eq!(input.take_all(), &stream[from..]);
        assert!(input.is_empty());
        codec.mark = 0;
        let _ = input.frame(&mut codec);
    }
}

/// Knows the mark that it is to be given, because it gave it; and may say "not yet" of anything.
struct Watched<D> {
    codec: D,
    mark: usize,
    waits: Option<usize>,
}

impl<D: Decode> Decode for Watched<D> {
    type Frame<'a> = D::Frame<'a>;

    fn decode<'a>(
        &mut self,
        bytes: &'a [u8],
        scanned: usize,
    ) -> Result<Status<D::Frame<'a>>, Fault> {
        assert_eq!(scanned, self.mark, "how far one has looked");
        let says = match self.waits.take() {
            Some(scanned) => Status::Partial { scanned },
            None => self.codec.decode(bytes, 0)?,
        };
        self.mark = match says {
            Status::Partial { scanned } => scanned.min(bytes.len()),
            Status::Complete { .. } => 0,
        };
        Ok(says)
    }
}

#[track_caller]
fn error<T: std::fmt::Debug>(says: Result<T, Fault>) -> FrameError {
    *says.unwrap_err().downcast_ref().expect("an error of the codecs")
}
