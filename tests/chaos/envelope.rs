//! A layer with everything a layer may have: a greeting before which nothing may be sent, answers
//! of its own, last words, and a sense of truncation. On the wire each byte is two: what it is,
//! and the byte.
use charkh::{Layer, Result};

const HELLO: u8 = b'?';
const PLAIN: u8 = b'=';
const ANSWER: u8 = b'!';
const GOODBYE: u8 = b'.';

/// One end of it; the server's is a [`Layer`], the client's is used by hand.
#[derive(Default, Debug)]
pub struct Envelope {
    half: Option<u8>,
    greeted: bool,
    goodbye: bool,
    finished: bool,
    heard: usize,
}

impl Envelope {
    pub fn hello() -> [u8; 2] {
        [HELLO; 2]
    }

    pub fn goodbye() -> [u8; 2] {
        [GOODBYE; 2]
    }

    pub fn wrap(plain: &[u8], wire: &mut Vec<u8>) {
        wire.extend(plain.iter().flat_map(|&byte| [PLAIN, byte]));
    }

    /// What the other end said with these bytes.
    pub fn unwrap(&mut self, wire: &[u8], plain: &mut Vec<u8>) {
        for &byte in wire {
            let Some(what) = self.half.take() else {
                self.half = Some(byte);
                continue;
            };
            assert!(!self.goodbye, "something after the last words");
            match what {
                HELLO => self.greeted = true,
                PLAIN => plain.push(byte),
                ANSWER => {}
                GOODBYE => self.goodbye = true,
                _ => panic!("the wire says {what} {byte}"),
            }
        }
    }
}

impl Layer for Envelope {
    fn receive(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, answer: &mut Vec<u8>) -> Result {
        assert!(!wire.is_empty(), "called for nothing");
        self.heard += 1;
        if self.heard.is_multiple_of(3) && !self.finished {
            answer.extend([ANSWER, b'a', ANSWER, b'b']);
        }
        self.unwrap(wire, plain);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.greeted
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result {
        assert!(self.greeted, "sent before the greeting");
        assert!(!self.finished, "sent after the last words");
        Self::wrap(plain, wire);
        Ok(())
    }

    fn eof(&mut self) -> Result {
        if self.goodbye { Ok(()) } else { Err("cut short".into()) }
    }

    fn finish(&mut self, wire: &mut Vec<u8>) {
        assert!(!self.finished, "last words twice");
        self.finished = true;
        wire.extend(Self::goodbye());
    }
}
