//! Any bytes at the server's TLS, or a client's, cut and changed.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| charkh_fuzz::tls::server(data));
