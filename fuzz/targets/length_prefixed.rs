//! Any length, any width and order of its bytes, any limit, any cuts; and the encoder.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| charkh_fuzz::codecs::length_prefixed(data));
