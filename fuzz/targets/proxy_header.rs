//! Any first bytes, any limit, any cuts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| charkh_fuzz::proxy_header::run(data));
