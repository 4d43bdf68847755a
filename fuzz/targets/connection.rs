//! Any clients, any protocol, any faults, in the seeded world.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| charkh_fuzz::connection::run(data));
