//! Any lines, any limit, any cuts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| charkh_fuzz::codecs::lines(data));
