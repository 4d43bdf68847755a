//! Messages out of frames, without I/O: fragments put together, text checked as it comes.
use charkh::{
    Input,
    codec::{self, Decode},
};

use super::{
    close,
    frame::{Error, Head, Mask, Opcode},
};

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one message, all its fragments together. More is refused with 1009 as soon as it is
    /// announced. Default 16 MiB.
    pub message_max: usize,
    /// Fragments of one message. Each costs work, however little it brings; nothing is kept of them
    /// but their number. One more is refused with 1008. Default 100 000.
    pub fragments_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_max: 16 << 20, fragments_max: 100_000 }
    }
}

/// What a client has said. Bytes are those of the buffer that was lent to
/// [`next`](Messages::next).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'b> {
    /// A message; UTF-8, if it is text.
    Message {
        /// It is text.
        is_text: bool,
        /// All of it.
        bytes: &'b [u8],
    },
    /// To be answered with a pong that says the same.
    Ping(&'b [u8]),
    /// Nobody needs to do anything.
    Pong(&'b [u8]),
    /// The last that it says: to be answered with the same code, and the connection ends.
    Close(Option<u16>),
}

/// Reads what one client sends, after the handshake. Its place is in a session.
///
/// The message that is under way is in a buffer that the caller lends. It holds no more than has
/// come, and is empty between two messages: then it may be another each time.
#[derive(Clone, Copy, Default, Debug)]
pub struct Messages {
    frame: Frame,
    /// The message under way.
    message: Option<Message>,
}

/// Where in a frame the next byte is.
#[derive(Clone, Copy, Default, Debug)]
enum Frame {
    #[default]
    Head,
    Payload {
        head: Head,
        left: u64,
        mask: Mask,
    },
    /// Nothing is read any more.
    Over,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    is_text: bool,
    fragments: u32,
    /// So many bytes of it are whole characters.
    checked: usize,
}

impl Messages {
    /// The next thing that was said; `None` until it is here, or if nothing is read any more. The
    /// buffer has to be the same until it was empty.
    ///
    /// A piece of a frame is a frame of [`Input::frame`]: the budget of a turn counts it.
    ///
    /// # Errors
    /// What is wrong, at the first byte that shows it. From then on it is `Ok(None)`.
    pub fn next<'b>(
        &mut self,
        limits: &Limits,
        input: &mut Input<'_>,
        buffer: &'b mut Buffer,
    ) -> Result<Option<Event<'b>>, Error> {
        buffer.begin();
        loop {
            let piece = input.frame(&mut Reader { messages: self, limits, held: buffer.held() });
            let piece = piece.map_err(|fault| {
                fault.downcast().map_or(Error::protocol("a frame that is none"), |error| *error)
            });
            let found = match piece {
                Ok(Some(piece)) => self.take(piece, buffer),
                Ok(None) => return Ok(None),
                Err(error) => Err(error),
            };
            match found {
                Ok(None) => {}
                Ok(Some(found)) => {
                    if let Found::Close(_) = found {
                        self.stop();
                    }
                    return Ok(Some(buffer.show(found)));
                }
                Err(error) => {
                    self.stop();
                    buffer.is_done = true;
                    return Err(error);
                }
            }
        }
    }

    /// Read no more.
    pub fn stop(&mut self) {
        self.frame = Frame::Over;
    }

    /// A message has begun, and has no end yet.
    pub fn is_within(&self) -> bool {
        self.message.is_some()
    }

    /// What a piece completes.
    fn take(&mut self, piece: Piece<'_>, buffer: &mut Buffer) -> Result<Option<Found>, Error> {
        let Piece { head, mask, masked, is_last } = piece;
        if head.opcode.is_control() {
            if !is_last {
                return Ok(None);
            }
            buffer.control.clear();
            mask.take_off(masked, &mut buffer.control);
            return control(head.opcode, &buffer.control).map(Some);
        }
        let Some(message) = &mut self.message else { return Ok(None) };
        mask.take_off(masked, &mut buffer.message);
        let is_over = is_last && head.is_final;
        if message.is_text {
            message.check(&buffer.message, is_over)?;
        }
        Ok(match is_over {
            false => None,
            true => self.message.take().map(|message| Found::Message { is_text: message.is_text }),
        })
    }

    /// A data frame begins: it must fit to what was before, and into the limits.
    fn begin(&mut self, limits: &Limits, head: &Head, held: usize) -> Result<(), Error> {
        match (head.opcode, &mut self.message) {
            (Opcode::Continuation, Some(message)) => message.fragments += 1,
            (Opcode::Continuation, None) => {
                return Err(Error::protocol("more of a message that has not begun"));
            }
            (_, Some(_)) => return Err(Error::protocol("a message within another")),
            (opcode, message) => {
                let is_text = opcode == Opcode::Text;
                *message = Some(Message { is_text, fragments: 1, checked: 0 });
            }
        }
        let fragments = self.message.map_or(0, |message| message.fragments);
        if fragments > limits.fragments_max {
            return Err(Error { code: close::POLICY, why: "too many fragments" });
        }
        match head.len > limits.message_max.saturating_sub(held) as u64 {
            true => Err(Error { code: close::TOO_BIG, why: "a message that is too long" }),
            false => Ok(()),
        }
    }
}

impl Message {
    /// Check what was not checked: bytes are looked at once, but for three of an unfinished
    /// character.
    fn check(&mut self, text: &[u8], is_over: bool) -> Result<(), Error> {
        match std::str::from_utf8(&text[self.checked..]) {
            Ok(_) => self.checked = text.len(),
            Err(e) if e.error_len().is_none() && !is_over => self.checked += e.valid_up_to(),
            Err(_) => return Err(Error { code: close::NOT_UTF8, why: "a text that is no UTF-8" }),
        }
        Ok(())
    }
}

/// What is said of a control frame.
fn control(opcode: Opcode, payload: &[u8]) -> Result<Found, Error> {
    let (code, reason) = match (opcode, payload) {
        (Opcode::Ping, _) => return Ok(Found::Ping),
        (Opcode::Close, []) => return Ok(Found::Close(None)),
        (Opcode::Close, [high, low, reason @ ..]) => (u16::from_be_bytes([*high, *low]), reason),
        (Opcode::Close, _) => return Err(Error::protocol("half of a code")),
        _ => return Ok(Found::Pong),
    };
    if !close::may_be_sent(code) {
        return Err(Error::protocol("a code that may not be sent"));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Found::Close(Some(code))),
        Err(_) => Err(Error { code: close::NOT_UTF8, why: "a reason that is no UTF-8" }),
    }
}

/// Where messages are put together: one for all who are not in the middle of one.
#[derive(Default, Debug)]
pub struct Buffer {
    message: Vec<u8>,
    /// What is in it was shown, or will be no message.
    is_done: bool,
    control: Vec<u8>,
}

impl Buffer {
    /// Memory that is kept for the next message.
    const KEPT_MAX: usize = 64 << 10;

    /// Bytes of a message that is under way.
    pub fn held(&self) -> usize {
        if self.is_done { 0 } else { self.message.len() }
    }

    /// Bytes of memory for messages.
    pub fn capacity(&self) -> usize {
        self.message.capacity()
    }

    fn begin(&mut self) {
        if std::mem::take(&mut self.is_done) {
            self.message.clear();
            self.message.shrink_to(Self::KEPT_MAX);
        }
    }

    fn show(&mut self, found: Found) -> Event<'_> {
        match found {
            Found::Message { is_text } => {
                self.is_done = true;
                Event::Message { is_text, bytes: &self.message }
            }
            Found::Ping => Event::Ping(&self.control),
            Found::Pong => Event::Pong(&self.control),
            Found::Close(code) => {
                self.is_done = true;
                Event::Close(code)
            }
        }
    }
}

/// An [`Event`] without its bytes.
enum Found {
    Message { is_text: bool },
    Ping,
    Pong,
    Close(Option<u16>),
}

/// As much of a frame's payload as is here; all of it, if it is a control frame.
struct Piece<'a> {
    head: Head,
    mask: Mask,
    masked: &'a [u8],
    /// The frame ends with it.
    is_last: bool,
}

struct Reader<'r> {
    messages: &'r mut Messages,
    limits: &'r Limits,
    held: usize,
}

impl Decode for Reader<'_> {
    type Frame<'a> = Piece<'a>;

    fn decode<'a>(
        &mut self,
        bytes: &'a [u8],
        _: usize,
    ) -> charkh::Result<codec::Status<Piece<'a>>> {
        let (head, left, mask, skip) = match self.messages.frame {
            Frame::Over => return Ok(codec::Status::Partial { scanned: bytes.len() }),
            Frame::Payload { head, left, mask } => (head, left, mask, 0),
            Frame::Head => match Head::parse(bytes)? {
                None => return Ok(codec::Status::Partial { scanned: bytes.len() }),
                Some((head, size)) => {
                    if !head.opcode.is_control() {
                        self.messages.begin(self.limits, &head, self.held)?;
                    }
                    (head, head.len, head.mask, size)
                }
            },
        };
        let here = &bytes[skip..];
        let size = usize::try_from(left).map_or(here.len(), |left| left.min(here.len()));
        // A control frame comes whole, and what has come of it is not looked at before.
        let size = if head.opcode.is_control() && (size as u64) < left { 0 } else { size };
        let left = left - size as u64;
        if skip + size == 0 && left > 0 {
            return Ok(codec::Status::Partial { scanned: bytes.len() });
        }
        self.messages.frame = match left {
            0 => Frame::Head,
            _ => Frame::Payload { head, left, mask: mask.turned(size) },
        };
        let piece = Piece { head, mask, masked: &here[..size], is_last: left == 0 };
        Ok(codec::Status::Complete { frame: piece, size: skip + size })
    }
}
