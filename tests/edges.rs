//! What holds at the edges: the exact limit, the last one, nothing at all.
mod common;

use charkh::{Config, Stopped, codec::FrameError};
use common::{Echo, world};

#[test]
fn errors_say_what_is_wrong() {
    assert_eq!(Stopped.to_string(), "the reactor has stopped");
    assert_eq!(FrameError::TooLong { max: 7 }.to_string(), "a frame of more than 7 bytes");
    assert_eq!(FrameError::BadLength.to_string(), "a length less than its own header");
    assert_eq!(FrameError::NoDelimiter.to_string(), "nothing to end a frame");
}

#[test]
fn a_handle_stops_an_idle_reactor() {
    let mut reactor = world(Echo, 1, Config::default());
    reactor.handle().stop().unwrap();
    reactor.turn().unwrap();
    assert!(reactor.hub().is_stopping());
}
