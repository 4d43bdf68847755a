//! Any bytes as requests, any limits, any cuts; and answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| charkh_fuzz::http::run(data));
