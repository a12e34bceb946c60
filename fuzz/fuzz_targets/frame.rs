//! `wire::fuzz::frame` on whatever libFuzzer comes up with.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::fuzz::frame(data));
