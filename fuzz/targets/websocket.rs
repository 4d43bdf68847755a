//! Any frames, any limits, any cuts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| charkh_fuzz::websocket::messages(data));
