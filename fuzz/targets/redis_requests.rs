//! Any bytes at the redis example's parser, cut in any way.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| charkh_fuzz::redis::requests(data));
