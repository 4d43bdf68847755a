//! Takes everything and answers nothing.
use charkh::{Input, Peer, Protocol, Result};

pub(crate) struct Discard;

impl Protocol for Discard {
    type Session = ();

    fn open(&mut self, _: &mut Peer<'_>) {}

    fn data(&mut self, _: &mut Peer<'_>, _: &mut (), input: &mut Input<'_>) -> Result {
        input.take_all();
        Ok(())
    }
}
