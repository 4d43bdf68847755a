//! Any end of a frame, any limit, any cuts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| charkh_fuzz::codecs::delimited(data));
