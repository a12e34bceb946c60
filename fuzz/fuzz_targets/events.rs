//! `wire::fuzz::events` on whatever libFuzzer comes up with.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::fuzz::events(data));
